"""The sections of a judge's answer: what it says of each text, as it stands there, under the number that it gives.

What a reason quotes within a line, in a fence or behind ``>`` begins no section and no rating. Where two readings are
left, both show: a section or a rating comes twice, and the reader of ratings refuses it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from selfinstruct.errors import ParseError
from selfinstruct.parsing.chatter import is_closing
from selfinstruct.parsing.markup import clean, in_fence, is_rule
from selfinstruct.parsing.rating_lines import LOOKED_AT, Found, Kind, Line, line_read, texts_named
from selfinstruct.parsing.rating_values import plain, rating_of

_ASKED: Final = {"rating", "评分"}
_SUMS_UP: Final = re.compile(
    r"[\s#*_]*(?:(?:overall|final|general)\s+)?(?:summary|conclusions?|comparison|ranking|verdict|remarks|assessment|evaluation)[\s*_:]*$"
    r"|[\s#*_]*(?:总体|整体|综合|最终)?(?:总结|小结|结论|排名|比较|评价)[\s*_:]*$"
)
_IN_SUM: Final = re.compile(
    r"[\s*_]*(?:overall|in (?:summary|conclusion|sum)|to sum(?:mari[sz]e| up)"
    r"|总结|总的来说|综上(?:所述)?|总体(?:来看|而言|来说)?)[\s*_]*[,:]"
)
_NOTES: Final = re.compile(r"[\s*_]*(?:please\s+)?note|[\s*_]*请?注意")  # more often of the text than to the reader
_MARKS_ALONE: Final = re.compile(r"[#*_`]+(?:markdown)?|</[\w\s]{1,30}>")


@dataclass(slots=True)
class Label:
    """A rating, a type or a reason as it stands there: what follows on its line, then the lines after it."""

    kind: Kind
    word: str  # as the answer calls it
    lines: list[str]
    item: int | None = None  # the number of the list item that it begins ("2. Rating: 4")
    of: int | None = None  # the number of the text that it gives itself ("Rating for Text 2: 4")

    def value(self) -> str:
        """What stands on its line, or on the next one that has anything."""
        return next((line for line in self.lines if line.strip(" \t*_`")), "")

    def text(self) -> str:
        """All of it, without blank lines, rules and loose fences around it."""
        return "\n".join(_trimmed(self.lines)).strip()


@dataclass(slots=True)
class Section:
    """What stands below one header; ``number`` is None where no numbered header stands above it."""

    number: int | None
    labels: list[Label] = field(default_factory=list)
    by_label: bool = False  # whether the number is that of its first label ("Rating for Text 2: 4"), not a header's
    filled: bool = False  # whether anything stands in it
    asides: list[str] = field(default_factory=list)  # what is rated by another word than the one asked for


def sections(text: str, *, types: bool) -> list[Section]:
    """The answer in sections, in the order of the answer; the first is what stands before every header.

    ``types``: whether "Type:" is a label. Where a word that was asked for ("Rating:", "评分：") begins a rating
    anywhere, no other word does ("Score:"): such a line is part of a reason, and is kept in ``Section.asides``, too.

    Raises ParseError ``missing_section`` where a header and the label below it give different numbers.
    """
    lines = clean(text).split("\n")
    read = _without_values([line_read(line, types) for line in lines])
    quoted = _quoted(read, in_fence(lines), [line.lstrip().startswith(">") for line in lines])
    outside = [line for line, is_quoted in zip(read, quoted, strict=True) if not is_quoted]
    if not any(map(_names, outside)):
        read = [line._replace(header=line.bare) for line in read]
    found = [one for line in outside for one in line.found] or [one for line in read for one in line.found]
    rates = {one.word for one in found if one.kind == "rating" and _says_a_rating(one.said)}
    reasons = _usual(one.word for one in found if one.kind == "rationale")
    if not types:  # where there are types, the two reasons may go by different words
        reasons = {one.word for one in found} & {"rationale", "理由"} or reasons
    return _agreed(_Walk((rates & _ASKED or rates) | reasons).over(read, quoted))


def unquoted(text: str) -> str:
    """The text without the ``>`` that stands before each of its lines, if it does."""
    lines = clean(text).split("\n")
    if not all(line.lstrip().startswith(">") for line in lines if line.strip()):
        return text
    return "\n".join(line.lstrip()[1:].removeprefix(" ") for line in lines)


def _without_values(read: Sequence[Line]) -> list[Line]:
    """The lines, where one that follows a rating's empty label ("Rating:", "**3**") is its value and no header."""
    kept: list[Line] = []
    awaited = False
    for line in read:
        kept.append(line._replace(bare=None) if awaited and not line.raw.lstrip().startswith("#") else line)
        if line.raw.strip():
            last = line.found[-1] if line.found else None
            awaited = last is not None and last.kind == "rating" and not last.said.strip(" \t*_`")
    return kept


def _usual(words: Iterable[str]) -> set[str]:
    """The word that comes most often; several where they come as often."""
    counts = Counter(words)
    return {word for word, count in counts.items() if count == max(counts.values())}


def _says_a_rating(said: str) -> bool:
    """Whether a rating follows, be it a wrong one, or nothing, so that it may stand on the next line."""
    try:
        rating_of(said, na=True)
    except ParseError as error:
        return error.reason != "missing_rating" or not said.strip(" \t*_`")
    return True


def _agreed(found: list[Section]) -> list[Section]:
    """The sections, without the ratings of those that do not use the word that most of them use, if one is.

    What such a section rates by another word may be quoted, while its own rating is missing.
    """
    words = [{label.word for label in section.labels if label.kind == "rating"} for section in found]
    usual = _usual(word for one in words for word in one)
    for section, one in zip(found, words, strict=True):
        if not usual <= one:
            section.labels = [label for label in section.labels if label.kind != "rating"]
    return found


def _names(line: Line) -> bool:
    """Whether a line says in words which text it is about."""
    return line.header is not None or any(found.text for found in line.found)


def _quoted(read: Sequence[Line], fenced: Sequence[bool], marked: Sequence[bool]) -> list[bool]:
    """Which lines are quoted: in a fence or behind ``>``, unless all of the answer's skeleton is."""
    quoted = [False] * len(read)
    for flags, others in ((fenced, marked), (marked, quoted)):
        free = [(line, flag) for line, flag, other in zip(read, flags, others, strict=True) if not other]
        headers = [flag for line, flag in free if line.bare or _names(line)]
        if not all(headers or [flag for line, flag in free if line.found]):
            quoted = [one or other for one, other in zip(quoted, flags, strict=True)]
    return quoted


class _Walk:
    """Goes down the lines and keeps the section and the label they belong to."""

    def __init__(self, usual: set[str]) -> None:
        self._usual = usual
        self._sections = [Section(None)]
        self._label: Label | None = None

    def over(self, read: Sequence[Line], quoted: Sequence[bool]) -> list[Section]:
        """All sections. A quotation that begins within a reason is text of the reason, whatever it says."""
        before = text_only = False
        for line, is_quoted in zip(read, quoted, strict=True):
            if is_quoted and not before:
                text_only = self._label is not None and "rationale" in self._label.kind
            before = is_quoted
            self._take(line, is_quoted and text_only)
        if self._label:
            self._label.lines = _without_farewell(self._label.lines, self._sections[-1].number)
        return self._sections

    def _take(self, line: Line, text_only: bool) -> None:
        found = [] if text_only or not all(map(self._counts, line.found[:1])) else line.found
        if not found and not text_only:
            self._sections[-1].asides += [one.said for one in line.found if one.kind == "rating"]
        if line.header is not None and not text_only:
            self._open(line.header)
        elif line.nameless and not text_only:
            self._open(None)
        elif found:
            for label in found:
                self._add(label)
        elif line.raw.strip():
            self._sections[-1].filled = True
        if self._label and not found:
            self._label.lines.append(line.raw)

    def _counts(self, found: Found) -> bool:
        return found.kind not in ("rating", "rationale") or found.word in self._usual

    def _open(self, number: int | None) -> None:
        self._sections.append(Section(number))
        self._label = None

    def _add(self, found: Found) -> None:
        section = self._sections[-1]
        if found.text is not None and found.text != section.number:
            if section.number is not None and not section.filled:
                raise ParseError("missing_section", f"the header says text {section.number}, its label {found.text}")
            self._open(found.text)
            self._sections[-1].by_label = True
        last = self._label
        if last and last.kind == "rating" and not last.value() and (last.of is not None or found.kind == "rating"):
            self._take_for_heading(last)
        self._label = Label(found.kind, found.word, [found.said], found.item, found.text)
        self._sections[-1].labels.append(self._label)
        self._sections[-1].filled = True

    def _take_for_heading(self, label: Label) -> None:
        """Takes a label without a value for what stands above the next one ("Rating for Text 1:")."""
        section = self._sections[-1]
        section.labels.remove(label)
        section.by_label = False
        if section.labels and label.of is not None:
            self._open(label.of)


def _trimmed(lines: Sequence[str]) -> list[str]:
    """The lines without blank ones, rules, lone marks, and fences that close nothing, at their end."""
    kept = list(lines)
    fences = sum(line.strip().startswith("```") for line in kept)
    while kept and (not (last := kept[-1].strip()) or is_rule(last) or _MARKS_ALONE.fullmatch(last)):
        if last.startswith("```"):
            opened = any(line.strip() for line in kept[:-1]) and _opens_above(kept)
            if fences % 2 == 0 and not opened:
                break
            fences -= 1
        kept.pop()
    return kept


def _opens_above(lines: Sequence[str]) -> bool:
    """Whether the last line is a fence and the one above it, blank ones aside, is one too."""
    return next(line.strip() for line in reversed(lines[:-1]) if line.strip()).startswith("```")


def _sums_up(line: str, number: int | None) -> bool:
    """Whether a line begins a summary: the heading of one, or a sentence that sums up and names another text."""
    return _SUMS_UP.match(line) is not None or (_IN_SUM.match(line) is not None and bool(texts_named(line) - {number}))


def _without_farewell(lines: list[str], number: int | None) -> list[str]:
    """The last reason's lines without what is said to the reader behind a blank line: a farewell, a summary."""
    filled = [place for place, line in enumerate(lines) if line.strip()]
    starts = [start for start in filled[1:] if not lines[start - 1].strip()]
    end = next((start for start in starts if _sums_up(plain(lines[start][:LOOKED_AT]), number)), len(lines))
    starts = [start for start in starts if start < end]
    while starts and is_closing(lines[starts[-1]]) and not _NOTES.match(plain(lines[starts[-1]][:LOOKED_AT])):
        end = starts.pop()
    return lines[:end]
