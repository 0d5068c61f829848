"""Recall on answers that real models gave, where a sample of them lies beside the repository; skipped elsewhere.

What a reader finds in an answer without chatter, restarts or nesting is what stands between its line-start numbers, so
on those answers a split at ``newline number dot`` is the reader's list. The others are read by hand, not here.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.errors import ParseError
from selfinstruct.parsing import task_list, yes_no

DATA = Path(__file__).parents[2] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no sample of real answers beside the repository")

NUMBER = re.compile(r"\n(\d+)\. ")


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of one file of the sample."""
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def plain_lists() -> dict[str, list[str]]:
    """Answers that go on from item 9 line by line, and the tasks a reader finds in them."""
    found = {}
    for row in rows("list_of_tasks"):
        text = row["raw_text"]
        lines = text.split("\n")
        numbers = [int(number) for number in NUMBER.findall(text)]
        if numbers == list(range(10, 10 + len(lines) - 1)) and not lines[0].endswith(":"):  # else perhaps an intro
            found[text] = [" ".join(task.split()) for task in NUMBER.sub("\n", text).split("\n")]
    return found


@pytest.mark.parametrize("continues", [True, False])
def test_every_task_of_a_plain_list_is_found_and_nothing_else(continues: bool) -> None:
    """In both renderings, over hundreds of answers in two languages, no task is lost, glued, cut up or invented."""
    lists = plain_lists()
    assert len(lists) > 250
    wrong = {
        text: tasks
        for text, tasks in lists.items()
        if [item.text for item in task_list(text, truncated=False, continues=continues)] != tasks
    }
    assert wrong == {}


def test_a_plain_list_in_other_clothes_is_still_found() -> None:
    """Numbers that jump, repeat or restart, other marks, Markdown and chatter around the list lose no task."""
    clothes = ["{n}) {t}", "**{n}.** {t}", "### {n}. {t}", "Task {n}: {t}", "- {t}", "#{n} {t}", "<task {n}> {t}"]
    found = expected = 0
    for count, tasks in enumerate(plain_lists().values()):
        style = clothes[count % len(clothes)]
        numbers = [range(9, 99), (1, 2, 3) * 9, (9, 9, 12, 13, 20, 21, 22, 1, 2, 3)][count % 3]
        lines = [style.format(n=n, t=t) for n, t in zip(numbers, tasks, strict=False)]
        text = "Sure! Here are the next tasks:\n\n" + "\n".join(lines) + "\n\nLet me know if you need more!"
        items = [item.text for item in task_list(text, truncated=False, continues=False)]
        found += sum(task in items for task in tasks[: len(lines)])
        expected += len(lines)
    assert found >= 0.999 * expected


def test_every_verdict_is_read_as_its_first_word_says() -> None:
    """An answer that opens with yes or no says so; the others, a reader agrees, say neither."""
    for text in {row["raw_is_classification"] or "" for row in rows("clf_raw")}:
        first = re.match(r"\W*(yes|no)\b", text.lower())
        try:
            verdict = "yes" if yes_no(text) else "no"
        except ParseError:
            verdict = None
        assert verdict == (first[1] if first else None), text
