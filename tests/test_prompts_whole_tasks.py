"""The prompts for whole tasks, Alpaca's and BELLE's: what they show of real seeds, where they end, what they rule."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from selfinstruct import prompts, resources, seed_tasks
from selfinstruct.parsing.task_blocks import task_blocks
from selfinstruct.parsing.whole_task import WholeTask
from selfinstruct.schema import Rendering

ROOT = resources.prompts_dir()
TEXT = ["alpaca/en/tasks", "alpaca/zh/tasks", "belle/zh/tasks"]
JSON = [f"{name}_json" for name in TEXT]
HEADERS = {"en": ("Instruction:", "Input:", "Output:", "<noinput>"), "zh": ("指令：", "输入：", "输出：", "<无输入>")}
BELLE = ["头脑风暴", "开放式问答", "封闭式问答", "改写", "摘取", "生成", "分类", "闲聊", "总结"]

Task = dict[str, str]
RENDERINGS: list[Rendering] = ["completion", "chat"]
SEEDS: list[Task] = [
    {"instruction": seed.instruction, "input": seed.instances[0].input, "output": seed.instances[0].output}
    for path in sorted(resources.seeds_dir().glob("*_seed_tasks.jsonl"))
    for seed in seed_tasks.load(path)
]
SHORT = [
    {"instruction": "Name a <b>tree</b>.", "input": "", "output": 'An "oak".'},
    {"instruction": "把这句话改短。", "input": "今天的天气\n非常好。", "output": "今天天好。"},
]


def shown(name: str, rendering: Rendering, demos: Sequence[Task], tasks: int = 10, **more: Any) -> str:
    """The text that is sent, asked to go on to so many tasks in all."""
    prompt = prompts.load(ROOT, name)
    rendered = prompt.render(rendering, demos=demos, tasks=tasks, new_tasks=tasks - len(demos), **more)
    if rendered.messages is None:
        assert rendered.prompt is not None
        return rendered.prompt
    assert [message.role for message in rendered.messages] == ["user"]  # a system message for brevity cost BELLE length
    return rendered.messages[0].content


def read(answer: str) -> list[WholeTask]:
    """The tasks the parser finds in an answer of a chat model."""
    return task_blocks(answer, truncated=False, continues=False)


def block(lang: str, number: int, task: Task) -> str:
    """A task in the published form."""
    instruction, input, output, none = HEADERS[lang]
    return (
        f"###\n{number}. {instruction} {task['instruction']}\n".replace("： ", "：")
        + f"{number}. {input}\n{task['input'] or none}\n{number}. {output}\n{task['output']}\n"
    )


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("draw", range(20))
def test_real_seeds_are_shown_whole_in_the_published_form(name: str, draw: int) -> None:
    """Three drawn seeds, in order, numbered from one, nothing of them lost; then the open header of the fourth."""
    demos = Random(draw).sample(SEEDS, 3)
    lang = name.split("/")[1]
    blocks = "".join(block(lang, number, task) for number, task in enumerate(demos, 1))
    assert shown(name, "completion", demos).endswith(f"\n\n{blocks}###\n4. {HEADERS[lang][0]}")
    assert f"\n\n{blocks}\n" in shown(name, "chat", demos)


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("draw", range(20))
def test_the_parser_reads_back_what_a_prompt_shows(name: str, draw: int) -> None:
    """A model that copies the form is understood, the word for no input included."""
    demos = Random(draw).sample(SEEDS, 3)
    text = shown(name, "completion", demos)
    answer = text[text.index("###\n1. ") :].rpartition("###")[0]
    found = [dict(instruction=t.instruction, input=t.input, output=t.output) for t in read(answer)]
    assert found == demos


@pytest.mark.parametrize("name", JSON)
@pytest.mark.parametrize("draw", range(20))
def test_real_seeds_are_shown_whole_as_json(name: str, draw: int) -> None:
    """An object a line with exactly the three fields; a model that continues finds the array open behind a comma."""
    demos = Random(draw).sample(SEEDS, 3)
    _, opening, array = shown(name, "completion", demos).partition('\n{"tasks": [\n')
    assert opening and array.endswith("},")
    assert [json.loads(line.removesuffix(",")) for line in array.split("\n")] == demos
    chat = shown(name, "chat", demos)
    assert json.loads(chat[chat.index("\n[\n") : chat.index("\n]\n") + 2]) == demos


@pytest.mark.parametrize("name", JSON)
def test_json_shows_characters_as_themselves(name: str) -> None:
    """Escapes for Chinese or HTML would be copied, and cost tokens."""
    line = '{"instruction": "Name a <b>tree</b>.", "input": "", "output": "An \\"oak\\"."}'
    other = '{"instruction": "把这句话改短。", "input": "今天的天气\\n非常好。", "output": "今天天好。"}'
    assert shown(name, "completion", SHORT).endswith(f'{{"tasks": [\n{line},\n{other},')
    assert f"[\n{line},\n{other}\n]\n" in shown(name, "chat", SHORT)


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_the_stop_is_the_whole_next_header(name: str, rendering: Rendering) -> None:
    """Behind a real line break: "20." alone would end an answer at a year or a price."""
    prompt = prompts.load(ROOT, name)
    stop = prompt.render(rendering, demos=SHORT, tasks=20, new_tasks=18).stop
    assert stop == (f"\n21. {HEADERS[name.split('/')[1]][0]}",)


@pytest.mark.parametrize("name", JSON)
def test_a_continued_array_stops_where_it_closes(name: str) -> None:
    """A bracket at a line's start cannot stand inside a JSON string; an answering model closes its own object."""
    prompt = prompts.load(ROOT, name)
    assert prompt.render("completion", demos=SHORT, new_tasks=18).stop == ("\n]",)
    assert prompt.render("chat", demos=SHORT, new_tasks=18).stop == ()


@pytest.mark.parametrize("name", TEXT + JSON)
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_the_numbers_asked_for_follow_the_variables(name: str, rendering: Rendering) -> None:
    """So many in all; an answering model is told which are left."""
    text = shown(name, rendering, SHORT, tasks=47)
    assert "47" in text
    if rendering == "chat":
        first, last = ("3", "47") if name in TEXT else ("45", "45")
        assert first in text.rpartition("今天天好。")[2] and last in text.rpartition("今天天好。")[2]


@pytest.mark.parametrize("name", TEXT + JSON)
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_the_bound_on_outputs_is_the_published_one_unless_told(name: str, rendering: Rendering) -> None:
    """A hundred words (Alpaca's prompt), two hundred characters in Chinese, or ``max_output_words``."""
    unit = (" words", "100") if "/en/" in name else ("字", "200")
    assert f"{unit[1]}{unit[0]}" in shown(name, rendering, SHORT)
    told = shown(name, rendering, SHORT, max_output_words=731)
    assert told == shown(name, rendering, SHORT).replace(f"{unit[1]}{unit[0]}", f"731{unit[0]}").replace(
        "at most 731 words. Where", "at most 100 words. Where"
    )


@pytest.mark.parametrize("name", TEXT + JSON)
def test_both_renderings_lay_down_the_same_rules(name: str) -> None:
    """Whatever the API, the same tasks are asked for."""
    prompt = prompts.load(ROOT, name)
    rules = "".join(prompt.template.blocks["rules"](prompt.template.new_context({})))
    assert len(rules.splitlines()) >= 7
    for rendering in RENDERINGS:
        assert shown(name, rendering, SHORT).count(rules) == 1


@pytest.mark.parametrize("name", TEXT)
def test_no_answer_may_hold_the_separator(name: str) -> None:
    """A line of three hashes, or in Chinese a Markdown heading, inside an answer would cut it in two."""
    rules = shown(name, "chat", SHORT).partition("\n\n###")[0]
    assert ("contains such a line" if "/en/" in name else "不要使用Markdown标题作为分隔") in rules
    assert "###" in rules


@pytest.mark.parametrize("name", ["belle/zh/tasks", "belle/zh/tasks_json"])
def test_belle_names_its_nine_categories(name: str) -> None:
    """In its own order (systems §3.1)."""
    text = shown(name, "chat", SHORT)
    places = [text.find(f"   {category}（") for category in BELLE]
    assert places == sorted(places) and places[0] > 0


@pytest.mark.parametrize("name", JSON)
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_the_json_form_says_json_and_names_the_keys(name: str, rendering: Rendering) -> None:
    """Some servers refuse JSON mode unless the prompt holds the word."""
    text = shown(name, rendering, SHORT)
    assert "JSON" in text
    assert '{"tasks": [' in text


def test_no_two_prompts_are_the_same() -> None:
    """A copied file would show as one prompt in every provenance but under two names."""
    texts = [path.read_text("utf-8") for path in sorted(ROOT.rglob("*.md"))]
    assert len(set(texts)) == len(texts) == 54


def test_the_seeds_these_tests_draw_from_are_the_shipped_ones() -> None:
    """At least one language's file, with inputs and without."""
    assert len(SEEDS) >= 175
    assert {bool(seed["input"]) for seed in SEEDS} == {True, False}
