"""Where does a text say the same thing over and over? Phrases back to back, lines that come again, runs of a character.

Small models end in such loops. English and Chinese are treated alike: a word is a run of letters and digits, or one
Chinese character, kana or hangul syllable. Tables, code, refrains and lists repeat themselves as well; the numbers
here were set on published model outputs so that those are kept. All of it takes time linear in the length of what
repeats, whatever the text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import eq
from typing import Final, NamedTuple

CJK: Final = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORD: Final = re.compile(rf"[{CJK}]|[^\W_{CJK}]+(?:['’][^\W_{CJK}]+)*")
HANZI: Final = re.compile(f"[{CJK}]")

GRAM: Final = 4
"""Loops show as runs of four words: shorter ones recur in any text."""

CHANTED: Final = 6
"""A Chinese phrase shorter than this may be said twice on purpose (恭喜发财，恭喜发财); three times is a loop."""

UNIT: Final = 8
"""The longest thing that is looked for wherever it comes: so many characters without a gap, or so many words."""

DRAWN: Final = 5
"""Ours: tables on published data are drawn with up to 73 marks in a row, and real ones may be wider."""

_LIST_MARK: Final = re.compile(r"(?m)^[^\S\n]*(?:(?:\d+[.)]|[-*•])\s|\d+、)")
_CODE_SIGN: Final = re.compile(r"[][(){}<>=\\|_]")
_RUN: Final = re.compile(rf"(\S{{1,{UNIT}}}?)\1{{7,}}")
_LINE_END: Final = re.compile(r"\n|(?<=[.!?。！？])\s*(?=\S)")


class Loop(NamedTuple):
    """Something said ``times`` times, in lower case and with single spaces."""

    times: int
    said: str


class _Stretch(NamedTuple):
    """``length`` words from ``start`` on, each equal to the one ``period`` words before it, once that is within."""

    start: int
    period: int
    length: int


def phrase_loop(text: str) -> Loop | None:
    """The phrase that a text says back to back so often that it cannot be meant, or None; see `_evident`."""
    text = unlisted(text)
    words = WORD.findall(text)
    matches: list[re.Match[str]] = []
    for stretch in _stretches(words):
        matches = matches or list(WORD.finditer(text))
        phrase = text[matches[stretch.start].start() : matches[stretch.start + stretch.period].start()]
        if _evident(stretch, phrase, len(words)):
            return Loop(stretch.length // stretch.period, " ".join(phrase.split()))
    return None


def endless_loop(text: str, times: int) -> Loop | None:
    """A phrase of at most `UNIT` words, not of digits alone, said back to back so often, however long the text is."""
    text = unlisted(text)
    words = WORD.findall(text)
    for period in range(1, UNIT + 1):
        least = (times - 1) * period
        if len(words) <= least or sum(map(eq, words, words[period:])) < least:
            continue
        start = 0
        for same, run in groupby(map(eq, words, words[period:])):
            count = len(list(run))
            phrase = " ".join(words[start : start + period])
            if same and count >= least and any(map(str.isalpha, phrase)):
                return Loop(count // period + 1, phrase)
            start += count
    return None


def gapless_run(text: str, characters: int) -> Loop | None:
    """A unit of at most `UNIT` characters that comes again without a gap over so many characters.

    It takes `DRAWN` times as many where the unit holds neither letter nor digit, because lines are drawn with it. The
    unit comes at least eight times.
    """
    for run in _RUN.finditer(text):
        said, length = run.group(1).casefold(), len(run.group())
        if length >= characters * (1 if any(map(str.isalnum, said)) else DRAWN):
            return Loop(length // len(said), said)
    return None


def repeated_line(text: str, characters: int, times: int, share: float) -> Loop | None:
    """A line or sentence of so many characters that comes so many times and is more than this share of the text.

    It need not come back to back. A Chinese character counts as two, list marks and lines of code do not count.
    """
    lines = Counter(" ".join(line.split()) for line in _LINE_END.split(unlisted(text)))
    total = sum(len(line) * count for line, count in lines.items())
    for line, count in lines.items():
        long = len(line) + len(HANZI.findall(line)) >= characters
        if count >= times and long and _plain(line) and len(line) * count > share * total:
            return Loop(count, line)
    return None


def unlisted(text: str) -> str:
    """The text in lower case and without its list marks: numbered lines that all say the same are a loop."""
    return _LIST_MARK.sub("", text).casefold()


def grams(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """Every run of so many words, in order."""
    return zip(*(words[start:] for start in range(length)), strict=False)


def _stretches(words: Sequence[str]) -> Iterator[_Stretch]:
    """Every stretch of at least a third of the words that says a phrase twice or more, shortest phrase first.

    No shorter one is evident. One of a third holds the first word, or the one behind the first third, or behind the
    second, so it is enough to look around these three.
    """
    last: dict[tuple[str, ...], int] = {}
    periods = set()
    for place, gram in enumerate(grams(words, GRAM)):
        if gram in last:
            periods.add(place - last[gram])
        last[gram] = place
    third = -(-len(words) // 3)
    for period in sorted(periods):
        places = {place - back for place in range(0, len(words), third) for back in (0, period)}
        found = {_around(words, place, period) for place in places if place >= 0}
        yield from sorted(stretch for stretch in found if stretch.length >= max(2 * period, third))


def _around(words: Sequence[str], place: int, period: int) -> _Stretch:
    """The longest stretch in which the word at ``place`` is said again ``period`` words on."""
    start, end = place, place
    while end + period < len(words) and words[end] == words[end + period]:
        end += 1
    while start > 0 and end > place and words[start - 1] == words[start - 1 + period]:
        start -= 1
    return _Stretch(start, period, end - start + period if end > place else 0)


def _evident(stretch: _Stretch, phrase: str, words: int) -> bool:
    """True when a stretch, in a text of so many words, cannot be meant.

    Either a phrase of at least four words is said at least twice and is the whole text (in Chinese `CHANTED`
    characters, or four said thrice); or it is said at least four times, over at least 16 words and a third of the text.
    A phrase of code or of digits alone has to be said eight times over 64 words and a third of the text, because
    matrices, tables and markup repeat themselves. Three times is a refrain. The numbers were set on published model
    outputs: they drop the loops found there and keep all else.
    """
    plain = _plain(phrase)
    chanted = stretch.period < CHANTED and stretch.length < 3 * stretch.period and HANZI.search(phrase)
    if plain and stretch.period >= GRAM and stretch.length == words and not chanted:
        return True
    times, least = (4, 16) if plain else (8, 64)
    return stretch.length >= max(times * stretch.period, least, words / 3)


def _plain(phrase: str) -> bool:
    """True for words; False for code, and for digits alone."""
    return any(map(str.isalpha, phrase)) and not _CODE_SIGN.search(phrase)
