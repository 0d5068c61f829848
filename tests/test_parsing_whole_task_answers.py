"""Whole tasks as a careful reader finds them in answers that were written, and read, without knowing the parser.

Every line of ``answers/whole_tasks_*.jsonl`` is one answer (``text``, ``finish_reason``, ``rendering``) with ``why`` it
is there, the ``tasks`` a reader would train on, and the ``flawed`` ones, each with its reason and some of its text;
``flawed`` is null where two readers may differ on whether a scrap counts as a task. A field that is no string in
``tasks`` stands for JSON text of that value, however it is laid out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.errors import ParseError
from selfinstruct.parsing.task_array import task_array
from selfinstruct.parsing.task_blocks import task_blocks
from selfinstruct.parsing.whole_task import WholeTask

FIELDS = ("instruction", "input", "output")
ENOUGH = 0.98  # of the tasks that a reader finds, over all answers


def read(kind: str) -> list[dict[str, Any]]:
    """The answers of one kind: ``en``, ``zh`` or ``json``."""
    path = Path(__file__).parent / "answers" / f"whole_tasks_{kind}.jsonl"
    return [{**json.loads(line), "kind": kind} for line in path.read_text(encoding="utf-8").split("\n") if line]


CASES = [case for kind in ("en", "zh", "json") for case in read(kind)]


def parsed(case: dict[str, Any]) -> list[WholeTask]:
    """What the parser for this kind of answer returns."""
    truncated = case["finish_reason"] == "length"
    if case["kind"] == "json":
        return task_array(case["text"], truncated=truncated)
    return task_blocks(case["text"], truncated=truncated, continues=case["rendering"] == "completion")


def kept(tasks: list[WholeTask], expected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fields of the tasks without a flaw; JSON text as its value where a value is what is expected there."""
    rows: list[dict[str, Any]] = [
        {field: getattr(task, field) for field in FIELDS} for task in tasks if task.flaw is None
    ]
    for row, wanted in zip(rows, expected, strict=False):
        for field in FIELDS:
            if not isinstance(wanted[field], str):
                row[field] = json.loads(row[field])
    return rows


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_parser_reads_an_answer_as_a_careful_reader_does(case: dict[str, Any]) -> None:
    """The same tasks to the letter, and the same scraps set aside for the same reasons; without either, ParseError."""
    if not case["tasks"] and case["flawed"] == []:
        with pytest.raises(ParseError):
            parsed(case)
        return
    tasks = parsed(case)
    assert kept(tasks, case["tasks"]) == case["tasks"]
    if case["flawed"] is not None:
        flawed = [task for task in tasks if task.flaw is not None]
        assert [task.flaw for task in flawed] == [scrap["reason"] for scrap in case["flawed"]]
        for task, scrap in zip(flawed, case["flawed"], strict=True):
            assert scrap["contains"] in "\n".join(getattr(task, field) for field in FIELDS)


def test_nearly_every_task_that_a_reader_finds_is_found_and_nothing_is_invented() -> None:
    """Over all answers, 98 of 100 tasks of the reader are found to the letter, and 98 of 100 found are the reader's."""
    wanted = found = given = 0
    for case in CASES:
        try:
            tasks = kept(parsed(case), case["tasks"])
        except ParseError:
            tasks = []
        wanted += len(case["tasks"])
        given += len(tasks)
        left = list(tasks)
        for task in case["tasks"]:
            if task in left:
                left.remove(task)
                found += 1
    assert wanted > 700
    assert found >= ENOUGH * wanted
    assert found >= ENOUGH * given
