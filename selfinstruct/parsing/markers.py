"""Where items of a list begin: numbers, bullets and labels at the start of lines, and numbers inside a line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal
from unicodedata import numeric

from selfinstruct.parsing.chatter import is_opening
from selfinstruct.parsing.markup import indent, is_rule

Kind = Literal["number", "bullet", "label"]


@dataclass(frozen=True)
class Marker:
    """A line that may begin an item. ``style`` tells ``9.`` from ``9)``; ``titled`` marks headings and bold lines."""

    line: int
    kind: Kind
    rest: str
    indent: int
    number: int = 0
    style: str = ""
    titled: bool = False


# 9. 9) (9) 9: 9 . 9 - **9.** ### 9. > 9. - 9. Task 9: #9 第9题; never a decimal (9.5), a time (9:30), a year (2020.)
_NUMBERED: Final = re.compile(
    r"""(?P<lead>(?:[-*+•>]\s{1,4}|\#{1,6}\s{1,4})?)
        (?P<bold>[*_`]{0,3})
        (?P<word>(?:(?:task|instruction|prompt|question|exercise|任务|指令|题目|问题)\s{0,2}(?:no\.\s?)?|第\s?)?\#?)
        (?P<paren>[(（]?)
        (?P<number>\d{1,3})(?!\d)
        (?:(?P<close>[*_`]{0,3})
           (?P<end>\s?\\?\.[)）]?(?!\d)|\s?[)）]|\s?[:：](?!\d)|[、．]|\s[-–—](?=\s[^\W\d]))
           (?P<closer>[*_`]{0,3})
          |(?P<named>[题项条]?[*_`]{0,3}(?:\s{0,2}(?:[:：、]|[-–—.](?=\s))|\s?$|\s)))
    """,
    re.VERBOSE | re.IGNORECASE,
)
_BULLET: Final = re.compile(r"[-*+•‣◦·●▪–—]\s+(?:\[[ xX]?\]\s+)?")
_LABEL: Final = re.compile(r"[*_#]{0,6}\s?(?:task|instruction|任务|指令)\s?[*_]{0,3}[:：][*_]{0,3}\s*", re.IGNORECASE)
_INLINE: Final = re.compile(r"(?:(?<=\s)|(?<=[。！？；]))[(*]{0,3}(\d{1,3})[.)、][*)]{0,2}(?=\s|[^\x00-\x7f])\s*")
_HAN_DIGITS: Final = "一二三四五六七八九"
# Ways to count that may be text as well, so that only a run of them counts: [9] [task 9] <task_9> 【任务9】 九、 ⑨ a)
_RUNS: Final = (
    re.compile(r"\s{0,8}[*_`]{0,3}\[(?:task\s?#?)?(\d{1,3})\][*_`]{0,3}(?!\()[:.]?\s*", re.IGNORECASE),
    re.compile(r"\s{0,8}[*_`]{0,3}<task_(\d{1,3})>[*_`]{0,3}\s*", re.IGNORECASE),
    re.compile(r"\s{0,8}[*_`]{0,3}[【<＜]任务\s?(\d{1,3})[】>＞][*_`]{0,3}[:：]?\s*"),
    re.compile(
        rf"\s{{0,8}}(?:\#{{1,6}}\s)?[*_`]{{0,3}}[（(【]?(?:第|任务|指令|题目?)?([十{_HAN_DIGITS}]{{1,3}})[条题项]?"
        r"(?:[、．.：:）)】][*_`]{0,3}|[*_`]{0,3}\s?$)\s*"
    ),
    re.compile(r"\s{0,8}[*_`]{0,3}([①-⑳])[*_`]{0,3}[.、：:]?\s*"),
)
_LETTERS: Final = re.compile(r"\s{0,8}([a-z])\)\s{1,4}")
_BEGUN_RUN: Final = re.compile(r"\s{0,8}[\[【<＜](?:task\s?#?|任务\s?)?(\d{0,3})", re.IGNORECASE)
_SHORTEST_RUN: Final = 3  # items, the one that the prompt began included
_SENTENCE_END: Final = frozenset(".!?:;。！？：；…\"'”’)*")
_ABBREVIATIONS: Final = frozenset("no nr vol ch chap fig sec eq p pp art vs approx ca e.g i.e cf step part".split())


def numbered(line: str, position: int = 0) -> Marker | None:
    """The number a line begins with, if it begins with one that may count items."""
    text = line.lstrip()
    found = _NUMBERED.match(text)
    if not found:
        return None
    word, end, named = found["word"], found["end"] or "", found["named"]
    if named is not None and (not word or (named.isspace() and word != "#")):
        return None  # "9 apples", "Task 9 is …": the start of a sentence
    if found["paren"] and not end.endswith((")", "）")):
        return None
    rest = text[found.end() :].lstrip()
    if found["bold"] and not (found["close"] or found["closer"] or "*" in (named or "")):
        rest = found["bold"] + rest  # "**9. Title** text": the marks close later
    style = "word" if word else found["paren"] + end.strip("\\ ")
    return Marker(position, "number", rest, indent(line), int(found["number"]), style, found["lead"].startswith("#"))


def find_markers(lines: Sequence[str], fenced: Sequence[bool]) -> list[Marker]:
    """The marker of every line that has one, code fences left out; a number beats a label beats a bullet."""
    found = []
    for position, line in enumerate(lines):
        if fenced[position] or is_rule(line):
            continue
        text = line.lstrip()
        if marker := numbered(line, position):
            found.append(marker)
        elif label := _LABEL.match(text):
            found.append(Marker(position, "label", text[label.end() :], indent(line)))
        elif bullet := _BULLET.match(text):
            found.append(Marker(position, "bullet", text[bullet.end() :], indent(line), style=text[0]))
    return found


def spelled_out(lines: Sequence[str], fenced: Sequence[bool]) -> list[str]:
    """The lines with rare marks ("[9]", "<task_9>", "九、", "a)") in plain words ("Task 9:"), where they count items.

    That is a run without gap or repeat, before any plain mark, of three items with the one that the prompt began. From
    1 on below other text they count what belongs to that text: sources, choices. Marks of headings ("二、学习") over
    plainly numbered items count nothing; those lines are left blank.
    """
    first = next((at for at, line in enumerate(lines) if line.strip() and not is_opening(line)), 0)
    for pattern in (*_RUNS, _LETTERS):
        found = {at: match for at, line in enumerate(lines) if not fenced[at] and (match := pattern.match(line))}
        numbers = [_count(match[1]) for match in found.values()]
        if len(numbers) < 2 or any(later != number + 1 for number, later in pairwise(numbers)):
            continue
        if all(_heads_items(lines, at) for at in found):
            return ["" if at in found else line for at, line in enumerate(lines)]
        if pattern is _LETTERS and numbers[0] > 2:
            continue  # choices of which the first are written otherwise
        start = next(iter(found))
        reach = len(lines) if pattern is _LETTERS else start
        alone = not find_markers(lines[:reach], fenced[:reach]) and not (first < start and numbers[0] == 1)
        if alone and len(numbers) + (numbers[0] > 1) >= _SHORTEST_RUN:
            words = {at: f"Task {n}: {lines[at][found[at].end() :]}" for at, n in zip(found, numbers, strict=True)}
            if begun := _BEGUN_RUN.fullmatch(lines[-1]):
                words[len(lines) - 1] = f"Task {begun[1]}"
            return [words.get(at, line) for at, line in enumerate(lines)]
    return list(lines)


def _count(mark: str) -> int:
    """The number a rare mark stands for: 9, ⑨, 九, 十九, or a letter's place in the alphabet."""
    if mark.isdecimal():
        return int(mark)
    if mark.isascii():
        return ord(mark) - 96
    tens, ten, ones = mark.rpartition("十")
    return int(numeric(mark)) if len(mark) == 1 else 10 * _han_digit(tens, 1 if ten else 0) + _han_digit(ones, 0)


def _han_digit(digit: str, absent: int) -> int:
    """The value of a Chinese digit, ``absent`` where there is none; out of any run when it is no single digit."""
    return _HAN_DIGITS.find(digit) + 1 if digit else absent


def _heads_items(lines: Sequence[str], position: int) -> bool:
    """Whether the next line that says anything begins a plainly numbered item, so that this one only heads it."""
    return numbered(next((line for line in lines[position + 1 :] if line.strip()), "")) is not None


def split_lines(lines: Sequence[str], fenced: Sequence[bool]) -> list[str]:
    """The lines, with several items on one line set apart ("9. Do this. 10. Do that.").

    Only where it is plain: numbers that run on, each before a capital, at least two of them or one behind a sentence's
    end. A list's begun item has a number nobody knows; there the run has to lead up to the
    number of the next marked line.
    """
    markers = [None if inside else numbered(line) for line, inside in zip(lines, fenced, strict=True)]
    following = next((marker.number for marker in markers if marker), 0)
    last: int | None = None
    result = []
    for line, inside, marker in zip(lines, fenced, markers, strict=True):
        last = marker.number if marker else last
        cuts = [] if inside else _cuts(line, last)
        if cuts and last is None and following > 1 and cuts[-1][1] + 1 != following:
            cuts = []
        edges = [0, *(start for start, _ in cuts), len(line)]
        pieces = [line[start:end].rstrip() for start, end in pairwise(edges)]
        result += [pieces[0], *(" " * indent(line) + piece for piece in pieces[1:])]
        last = cuts[-1][1] if cuts else last
    return result


def _cuts(line: str, last: int | None) -> list[tuple[int, int]]:
    """Where a line has to be cut, and the number that stands there."""
    found = [
        (match.start(), int(match[1]))
        for match in _INLINE.finditer(line)
        if _begins(line, match.end()) and not _abbreviated(line[max(0, match.start() - 12) : match.start()])
    ]
    plain = {start: n for start, n in found if line[max(0, start - 9) : start].rstrip()[-1:] in _SENTENCE_END}
    if last is None:
        known = [n for start, n in plain.items() if n > 1 or (start < 400 and is_opening(line[:start]))]
        known += [n for _, n in found if n > 1]
        last = known[0] - 1 if known else 0
    run: list[tuple[int, int]] = []
    sure = set(plain.values())
    for start, number in found:
        if number == last + 1 + len(run) and (start in plain or number not in sure):
            run.append((start, number))
    return run if len(run) > 1 or any(start in plain for start, _ in run) else []


def _begins(line: str, position: int) -> bool:
    """Whether a sentence may begin there: a capital, a letter of a script without capitals, a quote, a mark."""
    character = line[position : position + 1]
    return (character.isalpha() and not character.islower()) or (character != "" and character in "\"'“‘「*")


def _abbreviated(before: str) -> bool:
    """Whether the words before a number belong to it ("fig. 3.", "No. 5.")."""
    words = before.lower().replace(".", " ").split()
    return bool(words) and before.rstrip().endswith(".") and words[-1] in _ABBREVIATIONS
