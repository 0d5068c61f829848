"""Refuses a text whose last code fence never closes: whatever follows it is shown as code, or was cut off."""

from __future__ import annotations

import re
from typing import Final, NamedTuple, TypeVar

from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, TaskInstance

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

_INDENT: Final = 3
"""A fence may be indented by up to three columns, and a tab is four (CommonMark 0.31, §4.5 and §2.2)."""

_FENCE: Final = re.compile(r"(`{3,}|~{3,})[^\S\n]*(.*)")
_CONTAINER: Final = re.compile(r" *(?:>|[-*+](?= )|\d{1,9}[.)](?= )) ?")
_RUN: Final = re.compile(r"(?m)^[ >]*(`{3,}|~{3,})|(?<![`~])(`{3,}+|~{3,}+)[\w+#.-]*[^\S\n]*$")


class _Fence(NamedTuple):
    """An opening fence: its marks, the column where they stand, and its line, counted from 1."""

    marks: str
    column: int
    line: int

    def is_like(self, run: re.Match[str]) -> bool:
        """True for a run of at least as many of the same marks."""
        return (run[1] or run[2]).startswith(self.marks)


class Fences:
    """Refuses a record in which a text has an odd number of code fences; the reason is ``unbalanced_fence``.

    Fences are those of CommonMark (0.31, §4.5): three or more backticks or tildes at the beginning of a line, perhaps
    behind the mark of a list or a quotation, closed by at least as many of the same on a line of their own. So an
    inline pair on one line is none, and shorter fences within a longer one do not count.

    A text in which as many such marks begin or end a line an even number of times is kept, also where CommonMark reads
    it otherwise: models nest equal fences, and close them behind the last line of code, and mean what they look like.
    """

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first text with a fence that never closes: its field, and the line that opens the fence."""
        for field, text in record.texts.items():
            fence = _left_open(text)
            if fence and sum(map(fence.is_like, _RUN.finditer(text))) % 2:
                return Drop("unbalanced_fence", f"{field}: {fence.marks} in line {fence.line} never closes")
        return None

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: this filter remembers nothing."""
        return record


def _left_open(text: str) -> _Fence | None:
    """The fence that is open at the end of a text."""
    if "```" not in text and "~~~" not in text:
        return None
    fence, item = None, 0  # ``item`` is the column where the text of the list item begins that we are in
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.expandtabs(4)
        if fence:
            fence = None if _closes(line, fence) else fence
            continue
        start = _behind_containers(line, item)
        content = line[start:].lstrip(" ")
        column = len(line) - len(content)
        if content:
            item = start if start else item if column >= item else 0
        if column - item <= _INDENT:
            fence = _opened(content, column, number)
    return fence


def _behind_containers(line: str, item: int) -> int:
    """The column behind the marks of quotations and list items that a line begins with; 0 where there are none."""
    start = 0
    while mark := _CONTAINER.match(line, start):
        if len(mark.group()) - len(mark.group().lstrip(" ")) > _INDENT + (0 if start else item):
            break
        start = mark.end()
    return start


def _opened(content: str, column: int, line: int) -> _Fence | None:
    found = _FENCE.fullmatch(content)
    if not found or (found[1].startswith("`") and "`" in found[2]):
        return None
    return _Fence(found[1], column, line)


def _closes(line: str, fence: _Fence) -> bool:
    """True for a line of enough marks and nothing else, not indented much deeper than the fence that it closes."""
    content = line.lstrip(" >")
    marks = content.rstrip()
    enough = len(marks) >= len(fence.marks) and set(marks) == {fence.marks[0]}
    return enough and len(line) - len(content) <= fence.column + _INDENT
