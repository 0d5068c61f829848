"""Declines: refusals and models that speak of themselves are told from texts about such things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.filters.declines import Declines
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction, Provenance, TaskInstance
from tests.hostile_texts import read_in_time

DECLINES = Declines()


def _sentences(lang: str) -> list[dict[str, Any]]:
    path = Path(__file__).parent / f"sentences/declines.{lang}.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _task(**texts: str) -> TaskInstance:
    fields: dict[str, Any] = {"instruction": "Do as you are told.", "input": "", "output": "Done."} | texts
    return TaskInstance(id="instances-0-0-0", provenance=Provenance(), lang="en", is_classification=False, **fields)


@pytest.mark.parametrize("row", _sentences("en") + _sentences("zh"), ids=lambda row: ascii(row["text"][:40]))
def test_each_text_has_the_verdict_written_beside_it(row: dict[str, Any]) -> None:
    """An assistant's own voice is told from letters, stories, quotations, people in the trade, and texts about it."""
    texts = {"instruction": row.get("task", "Do it.")} | {row.get("field", "output"): row["text"]}
    drop = DECLINES.check(_task(**texts))
    assert (drop.reason if drop else None) == row["reason"]
    assert drop is None or drop.detail.startswith(row.get("field", "output") + ": ")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_there_are_forty_texts_of_each_verdict(lang: str) -> None:
    """So that no rule stands on a handful of examples."""
    kept = sum(row["reason"] is None for row in _sentences(lang))
    assert min(kept, len(_sentences(lang)) - kept) >= 40


@pytest.mark.parametrize(
    ("texts", "drop"),
    [
        pytest.param(
            {"output": "I can't help with that."}, Drop("refusal", "output: I can't help with that."), id="no"
        ),
        pytest.param({"instruction": "I can't help with that."}, None, id="an instruction never is a refusal"),
        pytest.param(
            {"output": "Two. As an AI, I can count."},
            Drop("as_an_ai", "output: As an AI, I can count."),
            id="where it begins",
        ),
        pytest.param(
            {"instruction": "What can an AI count?", "output": "Two. As an AI, I can count."}, None, id="in its voice"
        ),
        pytest.param(
            {"instruction": "What can an AI count?", "output": "As an AI, I cannot count. Here is a list:\n- one"},
            Drop("as_an_ai", "output: As an AI, I cannot count. Here is a list"),
            id="in its own voice",
        ),
        pytest.param({"instruction": "I am an AI assistant. Greet me."}, None, id="an instruction may set a scene"),
    ],
)
def test_where_it_is_said_decides(texts: dict[str, str], drop: Drop | None) -> None:
    """A refusal is a whole output; a machine's voice may be what was asked for."""
    assert DECLINES.check(_task(**texts)) == drop


def test_a_bare_instruction_is_judged_as_well() -> None:
    """The filter takes instructions and whole tasks, and returns from ``admit`` what it was given."""
    text = "作为一个人工智能语言模型，我不能画画。"
    plain = Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction=text, lang="zh")
    chain: Filter[Instruction] = Declines()
    assert chain.check(plain) == Drop("as_an_ai", f"instruction: {text}")
    assert chain.admit(plain) is plain


HOSTILE = [
    *(
        "as an ",
        "as an ai ",
        "as an ai, ",
        "I am ",
        "i'm a ",
        "my ",
        "a ",
        "a-",
        "language ",
        "i do not have ",
        "“",
        "'a ",
        '"',
    ),
    *(
        "作为",
        "作为AI",
        "作为一个",
        "我是",
        "我的",
        "我没有",
        "的",
        "人工智能",
        "我是由百度",
        "我，",
        "`",
        "```",
        "i have been ",
    ),
]


def test_a_hostile_text_ends_at_once() -> None:
    """Texts of 100 000 characters, as instruction and as output."""
    readers = """
from selfinstruct.filters.declines import Declines
from selfinstruct.schema import Provenance, TaskInstance
check = Declines().check
def task(**texts):
    texts = {"instruction": "a", "input": "", "output": ""} | texts
    return check(TaskInstance(id="a", provenance=Provenance(), lang="en", is_classification=False, **texts))
READERS = [lambda text: task(instruction=text), lambda text: task(output=text)]
"""
    read_in_time(HOSTILE, 100_000, ["x" * 100_000, " " * 100_000, "as an " + "a " * 50_000], readers)
