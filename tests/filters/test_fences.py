"""Fences: an open code fence is refused wherever it stands, and whatever only looks like one is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.filters.fences import Fences
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction, Provenance, TaskInstance
from tests.hostile_texts import read_in_time


def _sentences(lang: str) -> list[dict[str, Any]]:
    path = Path(__file__).parent / f"sentences/fences.{lang}.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _task(**texts: str) -> TaskInstance:
    fields: dict[str, Any] = {"instruction": "Do as you are told.", "input": "", "output": "Done."} | texts
    return TaskInstance(id="instances-0-0-0", provenance=Provenance(), lang="en", is_classification=False, **fields)


@pytest.mark.parametrize("row", _sentences("en") + _sentences("zh"), ids=lambda row: ascii(row["text"][:30]))
@pytest.mark.parametrize("field", ["instruction", "input", "output"])
def test_each_text_has_the_verdict_written_beside_it(row: dict[str, Any], field: str) -> None:
    """In any field: nested, indented, quoted, listed, inline and broken fences."""
    drop = Fences().check(_task(**{field: row["text"]}))
    assert (drop.reason if drop else None) == row["reason"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_there_are_forty_texts_of_each_verdict(lang: str) -> None:
    """So that no rule stands on a handful of examples."""
    reasons = [row["reason"] for row in _sentences(lang)]
    assert min(reasons.count("unbalanced_fence"), reasons.count(None)) >= 40


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("```\na\n", "``` in line 1 never closes"),
        ("a\n\n~~~~ sh\nb\n", "~~~~ in line 3 never closes"),
        ("```\na\n```\nb\n```\nc", "``` in line 5 never closes"),
    ],
)
def test_the_detail_names_field_marks_and_line(text: str, detail: str) -> None:
    """The line is that of the fence which is open at the end."""
    assert Fences().check(_task(input=text)) == Drop("unbalanced_fence", f"input: {detail}")


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        pytest.param("   ```\na", True, id="three columns"),
        pytest.param("    ```\na", False, id="four columns"),
        pytest.param("-    ```\n     a", True, id="in a list item, four columns behind its mark"),
        pytest.param("- a\n\n     ```\n     b", True, id="three columns within a list item"),
        pytest.param("- a\n\n      ```\n      b", False, id="four columns within a list item"),
        pytest.param("- a\n\nb\n\n     ```\n     c", False, id="behind the list"),
        pytest.param("```\na\n   ```\n```", True, id="closed at three columns, opened again"),
        pytest.param("```\na\n    ```\n```", False, id="not closed at four columns, but then"),
        pytest.param("``` a`b\nc", False, id="a backtick in the info string"),
        pytest.param("~~~ a`b\nc", True, id="a backtick behind tildes"),
        pytest.param("```\na\n``` b\n", False, id="an info string does not close, and two are even"),
        pytest.param("```\na\n``` b\n```", False, id="so the third closes"),
        pytest.param("1)```\na", False, id="a list mark needs a blank"),
        pytest.param(">```\na", True, id="a quotation mark does not"),
    ],
)
def test_the_rules_of_commonmark_hold_at_their_edges(text: str, is_open: bool) -> None:
    """One example on each side of every number in the rule."""
    assert (Fences().check(_task(output=text)) is not None) is is_open


def test_a_bare_instruction_is_judged_as_well() -> None:
    """The filter takes instructions and whole tasks, and returns from ``admit`` what it was given."""
    plain = Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction="```\na", lang="en")
    chain: Filter[Instruction] = Fences()
    assert chain.check(plain) == Drop("unbalanced_fence", "instruction: ``` in line 1 never closes")
    assert chain.admit(plain) is plain


def test_a_hostile_text_ends_at_once() -> None:
    """Texts of 100 000 characters: marks, containers in containers, and blanks."""
    readers = """
from selfinstruct.filters.fences import Fences
from selfinstruct.schema import Instruction, Provenance
check = Fences().check
READERS = [lambda text: check(Instruction(id="a", provenance=Provenance(), instruction=text, lang="en"))]
"""
    repeated = ["`", "~", "```", "```\n", "``` ", "> ", ">", "- ", "1. ", "- \n", "\t", " ", "\n", "~~~ `\n", "> ```\n"]
    read_in_time(
        repeated, 100_000, ["```" + " " * 100_000 + "`", "`" * 100_000 + "x y", "```\n" + "> " * 50_000], readers
    )
