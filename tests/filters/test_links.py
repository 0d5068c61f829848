"""Links: tasks that need a page, a file or a picture are refused, and tasks about such things are kept."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.filters.links import Links
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction, Provenance, TaskInstance
from tests.hostile_texts import read_in_time

LINKS = Links()


def _sentences(lang: str) -> list[dict[str, Any]]:
    path = Path(__file__).parent / f"sentences/links.{lang}.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _task(instruction: str, input: str = "", output: str = "Done.") -> TaskInstance:
    texts: dict[str, Any] = {"instruction": instruction, "input": input, "output": output}
    return TaskInstance(id="instances-0-0-0", provenance=Provenance(), lang="en", is_classification=False, **texts)


@pytest.mark.parametrize("row", _sentences("en") + _sentences("zh"), ids=lambda row: ascii(row["text"][:40]))
def test_each_task_has_the_verdict_written_beside_it(row: dict[str, Any]) -> None:
    """Whoever needs something that is not there is told from whoever talks about such things."""
    drop = LINKS.check(_task(row["text"], row.get("input", ""), row.get("output", "Done.")))
    assert (drop.reason if drop else None) == row["reason"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_there_are_forty_tasks_of_each_verdict(lang: str) -> None:
    """So that no rule stands on a handful of examples."""
    kept, dropped = Counter(row["reason"] is None for row in _sentences(lang)).values()
    assert min(kept, dropped) >= 40


@pytest.mark.parametrize("row", [row for row in _sentences("en") + _sentences("zh") if row["reason"]])
def test_the_detail_names_the_field(row: dict[str, Any]) -> None:
    """And what was found there, so that a reader sees at once whether it was right."""
    drop = LINKS.check(_task(row["text"], row.get("input", ""), row.get("output", "Done.")))
    assert drop is not None
    field, words = drop.detail.split(": ", maxsplit=1)
    where = {"instruction": row["text"], "input": row.get("input", ""), "output": row.get("output", "")}[field]
    assert words[:3] in " ".join(where.split())
    assert len(words) <= 80


@pytest.mark.parametrize(
    ("instruction", "input", "output", "drop"),
    [
        pytest.param("Read https://a.example/b", "", "", Drop("url", "instruction: https://a.example/b"), id="url"),
        pytest.param("Read it.", "http://a.example", "", Drop("url", "input: http://a.example"), id="input"),
        pytest.param("Name a page.", "", "https://a.example", None, id="output"),
        pytest.param("Read `http://a.example`", "", "", None, id="inline code"),
        pytest.param("Read ```\nhttp://a.example\n```", "", "", None, id="a fence"),
        pytest.param(
            "Describe this photo.", "", "", Drop("attachment_claim", "instruction: this photo."), id="no input"
        ),
        pytest.param("Describe this photo.", "A dog on a beach.", "", None, id="described"),
        pytest.param("Describe this photo: a dog.", "", "", None, id="described behind a colon"),
        pytest.param(
            "Describe this photo:", "N/A", "", Drop("attachment_claim", "instruction: this photo"), id="not available"
        ),
        pytest.param("Sum it up.", "[article]", "", Drop("attachment_claim", "input: [article]"), id="stand-in"),
        pytest.param(
            "Sum it up.", "&lt;article&gt;", "", Drop("attachment_claim", "input: &lt;article&gt;"), id="escaped"
        ),
    ],
)
def test_what_is_given_decides(instruction: str, input: str, output: str, drop: Drop | None) -> None:
    """An address counts in instruction and input, a claim only where neither of them holds what is claimed."""
    assert LINKS.check(_task(instruction, input, output)) == drop


@pytest.mark.parametrize(("letters", "given"), [(99, False), (100, True)])
def test_a_hundred_letters_behind_a_colon_are_what_was_attached(letters: int, given: bool) -> None:
    """Fewer are a question about it."""
    drop = LINKS.check(_task(f"Summarize the attached report: {'x' * letters}"))
    assert (drop is None) is given


@pytest.mark.parametrize(("letters", "given"), [(1, False), (2, True)])
def test_two_letters_behind_a_colon_describe_a_picture(letters: int, given: bool) -> None:
    """A name is enough."""
    drop = LINKS.check(_task(f"Rate this painting: {'x' * letters}"))
    assert (drop is None) is given
    assert LINKS.check(_task("求下图的面积：圆")) is None


def test_a_bare_instruction_is_judged_as_well() -> None:
    """It has no input, so nothing is given; the filter returns from ``admit`` what it was given."""
    plain = Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction="描述这张图片。", lang="zh")
    chain: Filter[Instruction] = Links()
    assert chain.check(plain) == Drop("attachment_claim", "instruction: 这张图片。")
    assert chain.admit(plain) is plain


HOSTILE = [
    *("a", "a.", "a-", "www.", "http", "http://", "[", "](", "[a](", "a/", "(", "“", '"', "'a ", "<a ", "= '", "curl "),
    *(
        "the ",
        "the attached ",
        "the following ",
        "how to ",
        "what is ",
        "in the ",
        "please find ",
        "describe ",
        "see the ",
    ),
    *(
        "图",
        "如图",
        "这",
        "这张",
        "请看",
        "附件",
        "上传",
        "写一个",
        "如何",
        "根据",
        "用户",
        "[图",
        "（",
        "：",
        "a b ",
        "shown in the ",
    ),
]


@pytest.mark.slow
def test_a_hostile_text_ends_at_once() -> None:
    """Texts of 100 000 characters, as instruction, as input and as output."""
    readers = """
from selfinstruct.filters.links import Links
from selfinstruct.schema import Provenance, TaskInstance
check = Links().check
def task(**texts):
    texts = {"instruction": "a", "input": "", "output": ""} | texts
    return check(TaskInstance(id="a", provenance=Provenance(), lang="en", is_classification=False, **texts))
READERS = [lambda text: task(instruction=text), lambda text: task(input=text), lambda text: task(output=text)]
"""
    read_in_time(HOSTILE, 100_000, ["x" * 100_000, " " * 100_000, "describe " + "a " * 50_000], readers)
