"""The Chinese prompts of Self-Instruct and their worked examples, which are checked as seeds are."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Any

import pytest
from rapidfuzz.distance import LCSseq

from selfinstruct import parsing, prompts, resources, seed_tasks
from selfinstruct.parsing import Parsed
from selfinstruct.prompts import Prompt
from selfinstruct.schema import Rendering
from selfinstruct.similarity.tokens import tokens

ROOT = resources.prompts_dir()
STAGES = ("bootstrap", "classify", "instances", "alpaca", "belle")
NAMES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix() for stage in STAGES for path in ROOT.glob(f"{stage}/zh/*.md")
)
TWINS = [name for name in NAMES if (ROOT / f"{name.replace('/zh/', '/en/')}.md").exists()]
CLASSIFY = prompts.load(ROOT, "classify/zh/is_classification").demos
INPUT_FIRST = prompts.load(ROOT, "instances/zh/input_first").demos
OUTPUT_FIRST = prompts.load(ROOT, "instances/zh/output_first").demos
DEMOS = [*CLASSIFY, *INPUT_FIRST, *OUTPUT_FIRST]
HALF_WIDTH = re.compile(r"[\u4e00-\u9fff][,.;:!?()][\u4e00-\u9fff]|[\u4e00-\u9fff][,.;:!?(\"']\s*$", re.MULTILINE)
SPACED = re.compile(r"[\u4e00-\u9fff] [A-Za-z0-9\u4e00-\u9fff]|[A-Za-z0-9] [\u4e00-\u9fff]")
VARIABLES: dict[str, Any] = {"instruction": "给外婆写一封短信。", "new_tasks": 7, "tasks": 10, "max_instances": 5}


def rouge_l(one: str, other: str) -> Fraction:
    """F1 over characters, as the novelty filter has it."""
    a, b = tokens(one, "zh"), tokens(other, "zh")
    return Fraction(2 * LCSseq.similarity(a, b), len(a) + len(b))


def shown(prompt: Prompt, rendering: Rendering, **changes: Any) -> str:
    """What is sent, with the prompt's own demos, or none."""
    rendered = prompt.render(rendering, **{"demos": prompt.demos, **VARIABLES, **changes})
    return rendered.prompt or "".join(message.content for message in rendered.messages or ())


# --- the texts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_chinese_prompts_use_chinese_punctuation(name: str) -> None:
    """No half-width mark between or behind ideographs, no space around them; list marks and tags excepted."""
    prompt = prompts.load(ROOT, name)
    for rendering in ("completion", "chat"):
        text = shown(prompt, rendering, demos=())
        assert HALF_WIDTH.findall(text) == []
        assert [line for line in text.split("\n") if SPACED.search(re.sub(r"<[a-z_]+> |^\d+\. |^# ", "", line))] == []
        assert len(re.findall(r"[\u4e00-\u9fff]", text)) > 45


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rendering", ["completion", "chat"])
def test_a_chinese_prompt_speaks_no_english(name: str, rendering: Rendering) -> None:
    """But for tags, keys of JSON and the names of things."""
    text = re.sub(
        r"</?[a-z_]+( \d+)?>|\"(tasks|instruction|input|output)\"", "", shown(prompts.load(ROOT, name), rendering)
    )
    known = {"ai", "json", "markdown", "instruction", "input", "output"} | (
        {"python", "sql"} if "/zh/t" not in name else set()
    )
    english = {word.lower() for word in re.findall(r"[A-Za-z]+", re.sub(r"(?s)def .*?分\"|x[íì]ng|háng", "", text))}
    assert english - known == set()


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("rendering", ["completion", "chat"])
def test_a_prompt_uses_the_same_tags_and_stops_in_both_languages(name: str, rendering: Rendering) -> None:
    """The parsers know one set of tags; the whole tasks' headers are words and differ."""
    zh, en = prompts.load(ROOT, name), prompts.load(ROOT, name.replace("/zh/", "/en/"))
    same = {"demos": [], **VARIABLES}
    tags = [set(re.findall(r"</?[a-z_]+(?: \d+)?>", shown(prompt, rendering, **same))) for prompt in (zh, en)]
    assert tags[0] == tags[1] - {"<noinput>"}
    assert zh.opens == en.opens
    stops = [prompt.render(rendering, **same).stop for prompt in (zh, en)]
    assert stops[0] == tuple(stop.replace("Instruction:", "指令：") for stop in stops[1])


# --- worked examples: classification or not -------------------------------------------------------------------------


def test_there_are_as_many_verdicts_as_published() -> None:
    """Twelve yes, nineteen no (systems §1.2), in words the parser reads, mixed so that no answer comes four times."""
    answers = [demo["answer"] for demo in CLASSIFY]
    assert Counter(answers) == {"是": 12, "否": 19}
    assert [parsing.yes_no(answer) for answer in answers] == [answer == "是" for answer in answers]
    assert re.search(r"(.)\1{3}", "".join(answers)) is None


@pytest.mark.parametrize("rendering", ["completion", "chat"])
def test_every_verdict_stands_below_its_task(rendering: Rendering) -> None:
    """One word, behind its tag."""
    text = shown(prompts.load(ROOT, "classify/zh/is_classification"), rendering)
    for demo in CLASSIFY:
        assert text.count(f"<task> {demo['instruction']}\n<is_classification> {demo['answer']}\n") == 1


def test_all_worked_examples_are_new_to_each_other() -> None:
    """Over the three files, by the measure that keeps the generated tasks apart, and more strictly."""
    instructions = [demo["instruction"] for demo in DEMOS]
    close = [pair for pair in combinations(instructions, 2) if rouge_l(*pair) > Fraction(55, 100)]
    assert len(instructions) == 31 + 11 + 16
    assert close == []


def test_no_worked_example_repeats_a_seed() -> None:
    """The model sees seeds and examples in the same run; one that is both would be given away."""
    seeds = [seed for path in resources.seeds_dir().glob("*_seed_tasks.jsonl") for seed in seed_tasks.load(path)]
    assert len(seeds) >= 175
    for demo in DEMOS:
        closest = max(seeds, key=lambda seed: rouge_l(demo["instruction"], seed.instruction))
        assert rouge_l(demo["instruction"], closest.instruction) <= Fraction(55, 100), (demo, closest.id)


def test_instructions_are_one_line_of_chinese_that_ends_as_a_sentence() -> None:
    """Full-width marks, no stray space, and none repeats the prompt's own example."""
    for demo in DEMOS:
        text = demo["instruction"]
        assert re.fullmatch(r"[\u4e00-\u9fff“].{5,60}[。？]", text), text
        assert not HALF_WIDTH.search(text) and not SPACED.search(text), text


# --- worked examples: instances -------------------------------------------------------------------------------------


def test_input_first_shows_eleven_tasks_with_inputs_and_without() -> None:
    """As published (systems §1.3): a task without input has one example, one with input several that differ."""
    assert len(INPUT_FIRST) == 11
    bare = [demo for demo in INPUT_FIRST if not demo["examples"][0]["input"]]
    assert len(bare) == 5
    assert [len(demo["examples"]) for demo in bare] == [1] * 5
    for demo in INPUT_FIRST:
        inputs = [example["input"] for example in demo["examples"]]
        assert len(set(inputs)) == len(inputs)
        assert demo in bare or (len(inputs) in (2, 3) and all(inputs))


def test_output_first_shows_sixteen_tasks_whose_labels_are_named_and_not_given_away() -> None:
    """A label stands in its instruction and not in its input; every demo but the bare ones shows two labels."""
    assert len(OUTPUT_FIRST) == 16
    bare = [demo for demo in OUTPUT_FIRST if not demo["examples"][0]["input"]]
    assert [len(demo["examples"]) for demo in bare] == [1] * 3
    for demo in OUTPUT_FIRST:
        labels = [example["label"] for example in demo["examples"]]
        assert [label for label in labels if label not in demo["instruction"]] == []
        assert [e for e in demo["examples"] if e["label"] in e["input"]] == []
        assert demo in bare or len(set(labels)) > 1
        inputs = [example["input"] for example in demo["examples"]]
        assert len(set(inputs)) == len(inputs)


def test_worked_examples_use_chinese_punctuation() -> None:
    """Code aside."""
    for demo in (*INPUT_FIRST, *OUTPUT_FIRST):
        for example in demo["examples"]:
            for text in example.values():
                assert text == text.strip()
                assert "def " in text or not HALF_WIDTH.search(text), text


@pytest.mark.parametrize("rendering", ["completion", "chat"])
@pytest.mark.parametrize("name", ["input_first", "output_first"])
def test_the_parser_reads_back_what_a_prompt_shows(name: str, rendering: Rendering) -> None:
    """A model that copies the form is understood, 无 as no input."""
    prompt = prompts.load(ROOT, f"instances/zh/{name}")
    parts = re.split(r"<task>\n", shown(prompt, rendering))[1 : 1 + len(prompt.demos)]
    for demo, part in zip(prompt.demos, parts, strict=True):
        instruction, _, answer = part.partition("\n")
        answer = answer.partition("\n\n现在")[0]
        assert instruction == demo["instruction"]
        examples = [Parsed(e["input"], e.get("output") or e["label"]) for e in demo["examples"]]
        read = parsing.generation_instances if name == "input_first" else parsing.classification_instances
        assert read(answer, truncated=False) == examples


def test_the_arithmetic_of_the_bill_is_right() -> None:
    """Every equation shown holds, and the last is what one pays."""
    bill = next(demo for demo in INPUT_FIRST if "该付多少钱" in demo["instruction"])
    for example in bill["examples"]:
        equations = re.findall(r"([\d.+×÷]+)=(\d+)元", example["output"])
        for left, right in equations:
            assert eval(left.replace("×", "*").replace("÷", "/")) == int(right)
        assert f"每人付{equations[-1][1]}元" in example["output"]


def test_the_code_shown_runs() -> None:
    """And does what its docstring says."""
    code = next(demo for demo in INPUT_FIRST if "Python" in demo["instruction"])["examples"][0]["output"]
    space: dict[str, Any] = {}
    exec(code, space)
    assert [space["yuan_jiao_fen"](fen) for fen in (0, 7, 1205, 99990)] == [
        "0元0角0分",
        "0元0角7分",
        "12元0角5分",
        "999元9角0分",
    ]


def test_labels_that_can_be_computed_are_right() -> None:
    """Primes, the leap year, the stations and the rhyme's lines."""
    labels = {demo["instruction"]: demo["examples"] for demo in OUTPUT_FIRST}
    for example in labels["这个数是质数还是合数？"]:
        number = int(example["input"])
        prime = all(number % divisor for divisor in range(2, number))
        assert example["label"] == ("质数" if prime else "合数")
    assert labels["公元2100年是闰年吗？回答是或否。"][0]["label"] == "否"
    stations = next(demo for demo in INPUT_FIRST if "车站" in demo["instruction"])
    for example in stations["examples"]:
        places = [example["input"].index(name) for name in example["output"].split("、")]
        assert len(places) == 3 and all(one < other for one, other in pairwise(places))
    rhyme = next(demo for demo in INPUT_FIRST if "儿歌" in demo["instruction"])["examples"][0]["output"]
    assert [len(re.sub(r"[，。]", "", line)) for line in rhyme.split("\n")] == [7, 7, 7, 7]
