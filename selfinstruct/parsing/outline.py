"""Which markers are the list's own items, and which belong to an item: nested steps, bullets, numbered answers."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Sequence
from typing import Final

from selfinstruct.parsing.chatter import is_opening
from selfinstruct.parsing.markers import Marker, find_markers
from selfinstruct.parsing.markup import bare

_ANSWER: Final = re.compile(
    r"(?:(?:expected|sample|example|model|correct) )?(?:answer|output|solution|response)s?(?: \d{1,3})?"
    r"[*_]{0,3}\s?[:：]"
    r"|(?:参考|示例|样例|期望)?(?:答案|输出|回答|解答)\s?\d{0,3}[*_]{0,3}\s?[:：]",
    re.IGNORECASE,
)
# In the plural, for "# Output" may be a comment in code without a fence.
_ANSWERS: Final = re.compile(
    r"(?:(?:expected|sample|example|model|correct|suggested) )?(?:answers|outputs|solutions|responses|answer key)"
    r"|(?:参考)?(?:答案|解答)",
    re.IGNORECASE,
)
_INPUT: Final = re.compile(
    r"(?:[-*+•]\s)?[*_`]{0,3}(?:(?:(?:sample|example) )?inputs?(?: \d{1,3})?|(?:示例|样例)?输入\s?\d{0,3})"
    r"[*_]{0,3}\s?[:：]",
    re.IGNORECASE,
)
_UNFINISHED: Final = re.compile(
    r"\b(?:a|about|and|any|are|at|by|equals?|first|for|from|in|is|last|least|most|of|on|or|over|than|the|to|top|under"
    r"|until|with)\Z",
    re.IGNORECASE,
)


def answer_label(line: str) -> re.Match[str] | None:
    """The words that open an answer ("Answer: …", "**Output:**", "## Answers"), which is never part of a task."""
    return _ANSWER.match(bare(line)) or (_ANSWERS.fullmatch(bare(line)) if heads_answers(line) else None)


def heads_answers(line: str) -> bool:
    """True for a heading, in Markdown, over the answers to the whole list ("## Solutions")."""
    return line.lstrip().startswith(("#", "**")) and _ANSWERS.fullmatch(bare(line)) is not None


def input_label(line: str) -> bool:
    """True for a line that opens an example's input ("Input: …"), which is no part of what "Instruction:" labels."""
    return _INPUT.match(bare(line)) is not None


def promises_more(lines: Sequence[str], end: int) -> bool:
    """Whether the last line before ``end`` that says anything ends with a colon."""
    return next((bare(lines[at]) for at in range(end - 1, -1, -1) if bare(lines[at])), "").endswith((":", "："))


def outer_markers(lines: Sequence[str], fenced: Sequence[bool], *, continues: bool) -> list[Marker]:
    """The markers that open items, in order; empty if there are none.

    ``continues`` says that text before the first one may be an item of its own, begun by the prompt.
    """
    markers = find_markers(lines, fenced)
    if not markers:
        return []
    numbers = [marker for marker in markers if marker.kind == "number"]
    labels = [marker for marker in markers if marker.kind == "label"]
    bullets = [marker for marker in markers if marker.kind == "bullet"]
    if len(labels) > 1 and labels[0] is markers[0]:
        return _at(_margin(labels), labels)
    if numbers and not (bullets and _margin(bullets) < _margin(numbers) - 1):
        begun = continues and _says_something(lines[: numbers[0].line])
        answers = [at for at, line in enumerate(lines) if at and not fenced[at] and _heads_answers(line)]
        return _without_steps(_counted(numbers, lines, answers, begun), lines, begun)
    if labels:
        return _at(_margin(labels), labels)
    detail = continues and _says_something(lines[: bullets[0].line]) and promises_more(lines, bullets[0].line)
    return [] if detail else _at(_margin(bullets), bullets)


def _says_something(lines: Sequence[str]) -> bool:
    return any(bare(line) and not is_opening(line) for line in lines)


def _margin(markers: Sequence[Marker]) -> int:
    """How far the markers nearest to the left are indented, and one column more: a slip; two are a level."""
    return min(marker.indent for marker in markers) + 1


def _at(margin: int, markers: Sequence[Marker]) -> list[Marker]:
    return [marker for marker in markers if marker.indent <= margin]


def _heads_answers(line: str) -> bool:
    label = answer_label(line)
    return label is not None and not bare(bare(line)[label.end() :])


def _counted(numbers: Sequence[Marker], lines: Sequence[str], answers: Sequence[int], begun: bool) -> list[Marker]:
    """The numbers of the list itself.

    A deeper or differently written number belongs to the item it stands in (``inner`` counts along there) unless it is
    just the next one. Below a heading "Answers:" numbers count answers, until one goes beyond where the list stopped.
    """
    margin = _margin(numbers)
    model = max(numbers, key=lambda marker: marker.number) if begun and numbers[0].number == 1 else numbers[0]
    outer: list[Marker] = []
    last, inner, before, answered = -1, -2, 0, False
    for marker in numbers:
        answered = answered or bisect(answers, before) < bisect(answers, marker.line)
        before = marker.line
        along, following = marker.number == inner + 1, marker.number == last + 1
        if answered:
            nested = along or marker.number <= max(last, 1)
        elif marker.indent > margin or marker.style != model.style:
            nested = along or (not following and (marker.indent > margin or marker.number == 1))
        else:
            nested = not following and marker.line > 0 and _breaks_off(lines[marker.line - 1])
        if nested:
            inner = marker.number
        else:
            outer.append(marker)
            last, inner, answered = marker.number, -2, False
    return outer


def _breaks_off(line: str) -> bool:
    """Whether the next line goes on with the same sentence, so that a number there counts nothing ("less than")."""
    return _UNFINISHED.search(line.rstrip()[-12:]) is not None


def _without_steps(outer: Sequence[Marker], lines: Sequence[str], begun: bool) -> list[Marker]:
    """The items, less the steps 1, 2, 3 written flush left below "… these steps:" when the list goes on behind them."""
    kept: list[Marker] = []
    position = 0
    while position < len(outer):
        end = position + 1
        while outer[position].number == 1 and end < len(outer) and outer[end].number == outer[end - 1].number + 1:
            end += 1
        resumed = outer[end].number if end < len(outer) else 0
        expected = resumed == kept[-1].number + 1 if kept else begun and resumed > outer[end - 1].number + 1
        if outer[position].number == 1 and expected and promises_more(lines, outer[position].line):
            position = end
        else:
            kept.append(outer[position])
            position += 1
    return kept
