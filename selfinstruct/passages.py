"""Cuts a text into passages of at most so many tokens, where it hurts least.

A text becomes fragments, which are never cut: a sentence, or the part of one that stands on a line. Before each is a
`Border`, which says how much of a unit a cut there would tear. As many fragments as fit become a passage; where the
next one does not fit, the cut is made at the best border that the passage so far has, the last one of its kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from selfinstruct.text_lines import Line
from selfinstruct.token_estimate import NOTHING, estimate, size_of

SHORT = 30
"""Tokens of a passage that is too little to ask about. Ours: a heading, or a sentence or two."""


class Border(IntEnum):
    """What is torn by a cut before a fragment, from nothing on."""

    BLOCK = 0  # nothing: a paragraph, a list, a table or a block of code begins, or the heading before one
    PART = 1  # a block: at an item, at a row, where code begins or ends within a paragraph
    SENTENCE = 2  # a paragraph, between sentences; code, at a blank line
    DOUBTFUL = 3  # perhaps a sentence: behind "Dr.", or before a small letter
    LINE = 4  # a sentence, where its line ends; code, between lines
    TIED = 5  # a heading and what it is about; a line of code


class Fragment(NamedTuple):
    """Text without white space at its end; ``gap`` is the white space between it and the fragment before.

    ``start`` and ``end`` are the bytes it begins and ends at, ``line`` the number of its line.
    """

    text: str
    gap: str
    start: int
    end: int
    line: int
    border: Border


class Cut(NamedTuple):
    """A passage: its text, the bytes it begins and ends at, the number of its first line."""

    text: str
    start: int
    end: int
    line: int


_FENCE = re.compile(r"\s*(?:(`{3,})[^`]*|(~{3,}).*)$")
_HEADING = re.compile(r" {0,3}#{1,6}(?:\s|$)")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-{2,})$")
_ITEM = re.compile(r"\s*(?:[-*+•]\s|\d{1,9}(?:[.)]\s|[、．）])|[（(]\d{1,9}[)）])")
_ROW = re.compile(r"\s*\|")
_RULE_OF_TABLE = re.compile(r"\s*\|[\s:|-]++$")
_CLOSERS = "\"'”’»」』）》)\\]*_`"
_SENTENCE_END = re.compile(
    rf"(?<![.!?])[.!?]++[{_CLOSERS}]*+(?=\s|$|[\u3400-\u9fff])|[。！？；]++[{_CLOSERS}]*+"  # none is read twice
)
_SPACE = re.compile(r"\s*")
_CLOSED = re.compile(rf"[.!?:。！？；：…][{_CLOSERS}]*$")
_SHORTENED = re.compile(rf"(?:\b[A-Z][a-z]{{0,2}}|\b\d{{1,3}}|\.\w)\.[{_CLOSERS}]*$")
_LOOK_BACK = 8  # characters: as far as an abbreviation, or what closes a sentence, is looked for


def tidy(text: str) -> str:
    """The text of a passage as it is shown: no white space at the ends of lines, one blank line where there are more.

    ``text`` begins and ends with a line that holds something. Windows line ends become line feeds.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    return "\n".join(line for index, line in enumerate(lines) if line or lines[index - 1])


def pack(lines: Iterable[Line], tokens: int, too_long: Callable[[int, int], None]) -> Iterator[Cut]:
    """The passages of a text, in order, each of at most ``tokens`` tokens (`token_estimate`).

    One of less than `SHORT` tokens is joined to its neighbour where both fit into one. A fragment that is larger by
    itself is left out, after ``too_long`` was told its line and its tokens. Memory is that of two passages and a line.
    """
    before: list[Fragment] = []
    for window in _windows(_fragments(lines), tokens, too_long):
        both = before + window if before and window else []
        short = min(estimate(_text(before)), estimate(_text(window))) < SHORT if both else False
        if short and estimate(_text(both)) <= tokens:
            before = both
            continue
        if before:
            yield _cut(before)
        before = window
    if before:
        yield _cut(before)


def _windows(
    fragments: Iterable[Fragment], tokens: int, too_long: Callable[[int, int], None]
) -> Iterator[list[Fragment]]:
    """The fragments in runs that fit, cut where it hurts least; an empty run stands for one that was left out."""
    window: list[Fragment] = []
    size = NOTHING
    for fragment in fragments:
        own = size_of(fragment.text)
        if own.tokens > tokens:
            too_long(fragment.line, own.tokens)
            yield window
            yield []
            window, size = [], NOTHING
            continue
        size = size.plus(size_of(fragment.gap)).plus(own) if window else own
        window.append(fragment)
        while size.tokens > tokens:
            best = min(range(1, len(window)), key=lambda index: (window[index].border, -index))
            yield window[:best]
            window = window[best:]
            size = size_of(_text(window))
    yield window


def _text(fragments: list[Fragment]) -> str:
    return fragments[0].text + "".join(fragment.gap + fragment.text for fragment in fragments[1:])


def _cut(fragments: list[Fragment]) -> Cut:
    return Cut(_text(fragments), fragments[0].start, fragments[-1].end, fragments[0].line)


# --- fragments, and the borders between them --------------------------------------------------------------------------


def _fragments(lines: Iterable[Line]) -> Iterator[Fragment]:
    """The fragments of a text; together with their gaps they are the text, made `tidy`."""
    layout = _Layout()
    blank = False
    for line in lines:
        body = line.text.rstrip()
        if not body:
            blank = True
            continue
        border, within = layout.read(body, blank)
        lead = "\n\n" if blank else "\n"
        blank = False
        at = line.offset
        for gap, text, is_doubtful in _sentences(body):
            start = at + len(gap.encode())
            at = start + len(text.encode())
            yield Fragment(text, lead + gap, start, at, line.number, border)
            lead, border = "", max(within, Border.DOUBTFUL if is_doubtful else Border.SENTENCE)


def _sentences(body: str) -> Iterator[tuple[str, str, bool]]:
    """The sentences of a line, each with the white space before it, and whether its end may not be one.

    The indent of a line belongs to its first sentence.
    """
    gap, start = "", 0
    for found in _SENTENCE_END.finditer(body):
        end = found.end()
        following = _SPACE.match(body, end).end()  # type: ignore[union-attr]  # it always matches
        if following == len(body):
            break
        shortened = _SHORTENED.search(body[max(start, end - _LOOK_BACK) : end])
        yield gap, body[start:end], bool(shortened) or body[following].islower()
        gap, start = body[end:following], following
    yield gap, body[start:], False


class _Layout:
    """What the lines so far were, as far as the border before the next one depends on it."""

    def __init__(self) -> None:
        self._started = False
        self._fence = ""  # what ends the block of code we are in
        self._left_code = False
        self._in_list = False
        self._tied = False  # what comes next belongs to the last line
        self._closed = False  # the last line ended with a sentence

    def read(self, body: str, blank: bool) -> tuple[Border, Border]:
        """The border before this line, and the least there is between its sentences. ``blank`` lines were before it."""
        if self._fence:
            return self._code(body, blank), Border.TIED
        starts = blank or not self._started
        self._started = True
        fence = _FENCE.match(body)
        is_heading = bool(_HEADING.match(body))
        is_item = bool(_ITEM.match(body))
        underlines = not starts and bool(_UNDERLINE.match(body))
        goes_on = self._in_list and (is_item or body[0].isspace())
        begins = is_heading or (starts and not goes_on)
        if self._tied or underlines or _RULE_OF_TABLE.match(body):
            border = Border.TIED
        elif begins:
            border = Border.BLOCK
        elif fence or is_item or self._left_code or _ROW.match(body):
            border = Border.PART
        else:
            border = Border.SENTENCE if self._closed or starts else Border.LINE
        self._fence = (fence[1] or fence[2]) if fence else ""
        self._tied = is_heading or underlines or bool(fence)
        self._in_list = is_item or (self._in_list and not begins)
        self._left_code = False
        self._closed = bool(_CLOSED.search(body[-_LOOK_BACK:]))
        return border, Border.TIED if is_heading else Border.SENTENCE

    def _code(self, body: str, blank: bool) -> Border:
        """The border before a line of code, or before the fence that ends it."""
        mark = body.strip()
        ends = len(mark) >= len(self._fence) and set(mark) == {self._fence[0]}
        border = Border.TIED if self._tied or ends else Border.SENTENCE if blank else Border.LINE
        self._tied = False
        if ends:
            self._fence = ""
            self._left_code = True
        return border
