"""Prompt files: found, checked, rendered both ways; what is missing is named, never left blank."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import prompts, resources
from selfinstruct.errors import ConfigProblem
from selfinstruct.prompts import Prompt, Rendered
from selfinstruct.schema import Message, Rendering

PROMPT = """\
+++
version = 3
stop = ["<item {{ demos|length + 2 }}>", "\\n\\n"]
opens = "item"
+++
{% block completion %}
A list about {{ topic }}.

{% for demo in demos %}
<item {{ loop.index }}> {{ demo.text }}
{% endfor %}
<item {{ demos|length + 1 }}>
{% endblock %}
{% block system %}
You write lists.
{% endblock %}
{% block user %}

Go on with this list about {{ topic }}: {{ demos|length }} items so far.

{% endblock %}
"""
DEMOS = '{"text": "An oak."}\n{"text": "一棵松树。"}\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of prompts with one prompt in it, ``stage/en/list``."""
    write(tmp_path, PROMPT)
    (tmp_path / "stage/en/list.jsonl").write_text(DEMOS, "utf-8")
    return tmp_path


def write(root: Path, text: str | bytes) -> None:
    """Make ``text`` the prompt file."""
    path = root / "stage/en/list.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def load(root: Path) -> Prompt:
    """The prompt of these tests."""
    return prompts.load(root, "stage/en/list")


# --- rendering ------------------------------------------------------------------------------------------------------


def test_a_prompt_is_rendered_for_a_model_that_continues(root: Path) -> None:
    """No line break after the open delimiter: the model is to fill that very line."""
    prompt = load(root)
    assert prompt.render("completion", demos=prompt.demos, topic="trees") == Rendered(
        prompt="A list about trees.\n\n<item 1> An oak.\n<item 2> 一棵松树。\n<item 3>",
        messages=None,
        stop=("<item 4>", "\n\n"),
        opens="item",
    )


def test_a_prompt_is_rendered_for_a_model_that_answers(root: Path) -> None:
    """As messages, stripped; nothing is left open for it."""
    prompt = load(root)
    assert prompt.render("chat", demos=prompt.demos[:1], topic="trees") == Rendered(
        prompt=None,
        messages=(
            Message(role="system", content="You write lists."),
            Message(role="user", content="Go on with this list about trees: 1 items so far."),
        ),
        stop=("<item 3>", "\n\n"),
        opens=None,
    )


def test_a_system_message_is_optional_and_so_is_the_rest_of_the_front_matter(root: Path) -> None:
    """Version alone will do."""
    write(root, "+++\nversion = 1\n+++\n{% block completion %}x{% endblock %}{% block user %}y{% endblock %}")
    prompt = load(root)
    assert prompt.render("chat") == Rendered(None, (Message(role="user", content="y"),), (), None)
    assert prompt.render("completion") == Rendered("x", None, (), None)


@pytest.mark.parametrize("rendering", ["completion", "chat"])
@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"demos": []}, "'topic' is undefined"),
        ({"topic": "trees"}, "'demos' is undefined"),
        ({"topic": "trees", "demos": [{"words": 1}]}, "'dict object' has no attribute 'text'"),
    ],
)
def test_a_missing_variable_is_an_error_that_names_it(
    root: Path, rendering: Rendering, variables: dict[str, Any], missing: str
) -> None:
    """A prompt with a hole would be sent a thousand times before anybody looks."""
    if rendering == "chat" and "attribute" in missing:
        write(root, PROMPT.replace("items so far", "items, {{ demos[0].text }}"))
    with pytest.raises(ConfigProblem, match=re.escape(f"prompt stage/en/list: {missing}")):
        load(root).render(rendering, **variables)


def test_the_json_filter_writes_any_text_as_one_json_string_and_names_a_missing_one(root: Path) -> None:
    """Chinese and HTML signs stay as they are, quotes and line breaks do not end the string."""
    write(root, PROMPT.replace("{{ topic }}.", "{{ topic|json }}."))
    hostile = "松 <b> & 'x' \"q\" \\ \n\u2028"
    shown = load(root).render("completion", demos=(), topic=hostile).prompt
    assert shown is not None
    quoted = shown.removeprefix("A list about ").removesuffix(".\n\n<item 1>")
    assert quoted == '"松 <b> & \'x\' \\"q\\" \\\\ \\n\u2028"'
    assert json.loads(quoted) == hostile
    with pytest.raises(ConfigProblem, match="prompt stage/en/list: 'topic' is undefined"):
        load(root).render("completion", demos=())


HISTORY = (
    Message(role="user", content="Name a tree. {{ topic }}"),
    Message(role="assistant", content="  An oak.\n"),
    Message(role="user", content="Another."),
)


def test_the_history_stands_between_the_system_and_the_user_block(root: Path) -> None:
    """As it is, every message on its own: what a dialogue's model is told comes first, what it is asked last."""
    shown = load(root).render("chat", HISTORY, demos=(), topic="trees").messages
    asked = Message(role="user", content="Go on with this list about trees: 0 items so far.")
    assert shown == (Message(role="system", content="You write lists."), *HISTORY, asked)


@pytest.mark.parametrize("empty", ["", "\n  \n", "{% if topic == 'trees' %}{% else %}x{% endif %}"])
def test_a_block_that_comes_out_empty_sends_no_message(root: Path, empty: str) -> None:
    """A model that is to answer the history's last message is asked nothing beyond it."""
    write(root, re.sub(r"(?s)({% block user %}).*({% endblock %})", rf"\1{empty}\2", PROMPT))
    told = Message(role="system", content="You write lists.")
    assert load(root).render("chat", HISTORY, demos=(), topic="trees").messages == (told, *HISTORY)
    write(root, re.sub(r"You write lists\.", empty, PROMPT))
    shown = load(root).render("chat", HISTORY, demos=(), topic="trees").messages
    assert shown is not None
    assert shown[:-1] == HISTORY


def test_the_completion_rendering_writes_the_history_out(root: Path) -> None:
    """As a variable of the template; none is an empty one."""
    write(
        root,
        PROMPT.replace(
            "{% for demo", "{% for said in history %}{{ said.role }}: {{ said.content }}|{% endfor %}{% for demo"
        ),
    )
    shown = load(root).render("completion", HISTORY, demos=(), topic="trees").prompt
    said = "user: Name a tree. {{ topic }}|assistant:   An oak.\n|user: Another.|"
    assert shown == f"A list about trees.\n\n{said}<item 1>"
    assert load(root).render("completion", demos=(), topic="trees").prompt == "A list about trees.\n\n<item 1>"


def test_blocks_of_other_names_serve_both_renderings(root: Path) -> None:
    """What both have to say is written once and filled in with self."""
    block = "{% block rules %}\n- Short {{ topic }}.\n{% endblock %}\n{% block "
    write(root, PROMPT.replace("{% block ", block, 1).replace("Go on", "{{ self.rules() }}Go on"))
    shown = load(root).render("chat", demos=(), topic="trees")
    assert shown.messages is not None
    assert [message.role for message in shown.messages] == ["system", "user"]
    assert shown.messages[1].content.startswith("- Short trees.\nGo on with this list")


def test_what_a_variable_holds_is_text_and_never_a_template(root: Path) -> None:
    """Braces and tags of a seed reach the model as they are; nothing is escaped as if it were HTML."""
    hostile = '{{ 7 * 7 }} {% raw %} <b> & "q" {# c #}'
    prompt = load(root)
    assert prompt.render("completion", demos=(), topic=hostile).prompt == f"A list about {hostile}.\n\n<item 1>"
    shown = prompt.render("chat", demos=(), topic=hostile)
    assert shown.messages is not None
    assert shown.messages[-1].content == f"Go on with this list about {hostile}: 0 items so far."


# --- name, version, hash --------------------------------------------------------------------------------------------


def test_provenance_carries_name_version_and_hash(root: Path) -> None:
    """Of the whole source, demos included."""
    digest = hashlib.sha256((PROMPT + DEMOS).encode()).hexdigest()
    prompt = load(root)
    assert (prompt.name, prompt.version, prompt.text) == ("stage/en/list", 3, PROMPT + DEMOS)
    assert (prompt.digest, prompt.ref) == (digest, f"stage/en/list@3:{digest[:8]}")


def test_every_change_of_a_prompt_changes_its_hash(root: Path) -> None:
    """A word, the stops, a demo; but not how the editor ends its lines."""
    digests = [load(root).digest]
    write(root, PROMPT.replace("\n", "\r\n"))
    assert load(root).digest == digests[0]
    for changed in (PROMPT.replace("Go on", "Carry on"), PROMPT.replace("\\n\\n", "\\n")):
        write(root, changed)
        digests.append(load(root).digest)
    (root / "stage/en/list.jsonl").unlink()
    digests.append(load(root).digest)
    assert len(set(digests)) == 4


def test_demos_are_optional_and_keep_their_order(root: Path) -> None:
    """One JSON object a line; U+2028 within a string ends no line, nor does a missing last line feed matter."""
    assert load(root).demos == ({"text": "An oak."}, {"text": "一棵松树。"})
    (root / "stage/en/list.jsonl").write_text('{"text": "a\u2028b\x85"}\n{"n": 1}', "utf-8")
    assert load(root).demos == ({"text": "a\u2028b\x85"}, {"n": 1})
    (root / "stage/en/list.jsonl").unlink()
    assert load(root).demos == ()


# --- broken files ---------------------------------------------------------------------------------------------------

BROKEN: list[tuple[str, str | bytes, str]] = [
    ("empty", "", "starts with front matter between two '+++' lines"),
    ("no front matter", PROMPT.partition("+++\n{%")[2], "starts with front matter between two '+++' lines"),
    ("text before the front matter", "Hello\n" + PROMPT, "starts with front matter between two '+++' lines"),
    ("front matter that does not end", "+++\nversion = 1\n", "starts with front matter between two '+++' lines"),
    ("front matter that is no TOML", PROMPT.replace("version =", "version:"), "front matter: "),
    ("no version", PROMPT.replace("version = 3\n", ""), "that holds 'version = <integer>'"),
    ("a version that is no number", PROMPT.replace("version = 3", 'version = "3"'), "'version = <integer>'"),
    ("a version that is a truth", PROMPT.replace("version = 3", "version = true"), "'version = <integer>'"),
    ("an unknown key", PROMPT.replace("opens", "open"), "unknown front matter key 'open'; known: opens, stop, version"),
    ("one stop that is no list", re.sub(r"stop = .*", 'stop = "x"', PROMPT), "'stop' is a list of strings"),
    ("a stop that is a number", re.sub(r"stop = .*", "stop = [1]", PROMPT), "'stop' is a list of strings"),
    ("opens that is a list", PROMPT.replace('"item"', "[]"), "'opens' a string"),
    ("no completion", PROMPT.replace("block completion", "block raw"), "has no block 'completion'"),
    ("no user", PROMPT.replace("block user", "block assistant"), "has no block 'user'"),
    ("a tag that is not closed", PROMPT.replace("{% endfor %}", ""), "template line 8: "),
    ("an unknown filter", PROMPT.replace("{{ topic }}", "{{ topic|shout }}"), "No filter named 'shout'"),
    ("a stop that is no template", PROMPT.replace("+ 2 }}", "+ 2"), "template line 1: "),
    ("not UTF-8", PROMPT.replace("You write", "你写").encode("gb18030"), "not UTF-8; convert the file"),
]


@pytest.mark.parametrize(("text", "why"), [broken[1:] for broken in BROKEN], ids=[broken[0] for broken in BROKEN])
def test_a_broken_prompt_is_refused_when_it_is_read(root: Path, text: str | bytes, why: str) -> None:
    """Before the first call, with the file's name and the reason."""
    write(root, text)
    with pytest.raises(ConfigProblem) as problem:
        load(root)
    assert str(problem.value).startswith(f"{root}/stage/en/list.md: ")
    assert why in str(problem.value)


@pytest.mark.parametrize(
    ("demos", "why"),
    [
        (b'{"text": "a"}\n{"text": \n', ":2: not a JSON object: "),
        (b'{"text": "a"}\n\n{"text": "b"}\n', ":2: not a JSON object: "),
        (b'["a"]\n', ":1: not a JSON object but list"),
        (b'{"text": "\xff"}\n', ": not UTF-8; convert the file"),
    ],
)
def test_a_broken_demo_names_its_line(root: Path, demos: bytes, why: str) -> None:
    """Demos are written by hand too."""
    (root / "stage/en/list.jsonl").write_bytes(demos)
    with pytest.raises(ConfigProblem) as problem:
        load(root)
    assert str(problem.value).startswith(f"{root}/stage/en/list.jsonl{why}")


def test_a_prompt_that_is_not_there_says_where_it_should_be(root: Path) -> None:
    """A language without prompts, for instance."""
    with pytest.raises(ConfigProblem, match=r"stage/zh/list\.md: cannot read the prompt: No such file"):
        prompts.load(root, "stage/zh/list")


# --- the prompts we ship --------------------------------------------------------------------------------------------

ROOT = resources.prompts_dir()
ELSEWHERE = ("topics", "openers", "expand", "dialogue", "sample", "rate", "critique")  # tests in files of their own
SHIPPED = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.md"))
SHIPPED = [name for name in SHIPPED if not name.startswith(ELSEWHERE)]
INSTRUCTION = "Say why {{ braces }} are kept."
LISTED = ("Name a tree.", "写一首关于雨的诗。", "Sort these words.")
WHOLE = tuple({"instruction": text, "input": text.upper() * n, "output": "好。"} for n, text in enumerate(LISTED))
LAST_LINES = {  # by what is open, and for the whole tasks' header by language
    "task": "<task 4>",
    "input": "<input>",
    "label": "<label>",
    "is_classification": "<is_classification>",
    "instruction/en": "4. Instruction:",
    "instruction/zh": "4. 指令：",
    None: '{"instruction": "Sort these words.", "input": "SORT THESE WORDS.SORT THESE WORDS.", "output": "好。"},',
}


def variables(prompt: Prompt) -> dict[str, Any]:
    """What the stages fill in; a prompt without demos of its own shows instructions, or whole tasks."""
    demos = prompt.demos or (WHOLE if "/tasks" in prompt.name else LISTED)
    return {"demos": demos, "instruction": INSTRUCTION, "new_tasks": 7, "tasks": 10, "max_instances": 5}


def test_every_stage_has_its_prompts() -> None:
    """In both languages, under the same names; BELLE is Chinese."""
    stages = ["bootstrap/{}/list", "classify/{}/is_classification", "instances/{}/input_first"]
    stages += ["instances/{}/output_first", "alpaca/{}/tasks", "alpaca/{}/tasks_json"]
    served = [stage.format(lang) for stage in stages for lang in ("en", "zh")]
    assert sorted([*served, "belle/zh/tasks", "belle/zh/tasks_json"]) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("rendering", ["completion", "chat"])
def test_a_shipped_prompt_shows_all_its_demos_and_the_task(name: str, rendering: Rendering) -> None:
    """In either rendering, with nothing of the template left, in the stops neither."""
    prompt = prompts.load(ROOT, name)
    shown = prompt.render(rendering, **variables(prompt))
    text = shown.prompt if shown.messages is None else "\n".join(message.content for message in shown.messages)
    assert text is not None
    demos = [demo if isinstance(demo, str) else demo["instruction"] for demo in variables(prompt)["demos"]]
    assert [demo for demo in demos if demo not in text] == []
    assert (INSTRUCTION in text) == name.startswith(("classify/", "instances/"))  # the others ask for more tasks
    assert not re.search(r"\{[{%#]|[}%#]\}", text.replace(INSTRUCTION, ""))
    stops_itself = rendering == "chat" and name.endswith(("/is_classification", "/tasks_json"))
    assert bool(shown.stop) != stops_itself  # one word needs no stop, nor does an object that closes
    assert "" not in shown.stop
    assert not re.search(r"[{}]", "".join(shown.stop))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_completion_ends_in_the_delimiter_it_says_it_opens(name: str) -> None:
    """The parser is told what is open; prompt and front matter must agree, or every first item is misread."""
    prompt = prompts.load(ROOT, name)
    shown = prompt.render("completion", **variables(prompt))
    assert shown.prompt is not None
    opens = f"instruction/{name.split('/')[1]}" if shown.opens == "instruction" else shown.opens
    assert shown.prompt.splitlines()[-1] == LAST_LINES[opens]
