"""Finds a passage again inside other texts, also where a few of its words were changed, among many passages at once.

Every run of `GRAM` tokens of every passage lies in one table. The runs that a text has in common with a passage say
where in the text the passage may stand; only there are the two compared. The hash is ours and made of integers, so the
same passages give the same answers in every process; what it brings together by chance is compared and put aside.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import LCSseq

Numbers = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]

GRAM: Final = 4
"""Tokens in a run that is looked up: short enough to survive between two edits, long enough to be rare."""

WORD: Final = 3
"""What a word weighs …"""

IDEOGRAPH: Final = 2
"""… and what an ideograph. In 7 000 published tasks a language, runs of 9 characters and of 6 words are found in an
unrelated text equally often (9 %), and so are runs of 15 characters and 8 words (1 %): 1.5 to 2 characters a word."""

FAMILIAR: Final = 32
"""A run found in more passages than these says nothing about one of them: it is the form they are asked in …"""

FAMILIAR_SHARE: Final = 0.002
"""… or in more than this share of all passages, where they are many. Ours: few texts have so many questions asked."""

CROWDED: Final = 512
"""No run leads to more passages than these, so that a phrase that all of them hold costs no more than another."""

RAREST: Final = 8
"""So many runs of a passage, the rarest, are looked up however familiar they are."""

TRIED: Final = 32
"""At most so many passages, those with the largest share of common runs, are compared with a stretch of text."""

LEAST: Final = 0.2
"""One run less than this share of a passage's must be hit, or it is not compared: of a short one, any. With one edit in
six tokens more are left; higher shares lost planted edits, lower ones found no more."""

RUNS: Final = 6
"""Long unbroken stretches are looked for where so many runs, or all of a shorter passage's, point to one place."""

SHIFTS: Final = 16
"""Unbroken stretches are looked for at so many places, those that most runs point to."""

STRETCH: Final = 8192
"""Longer texts are read in stretches of so many tokens, or of four times the longest passage."""

_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio: spreads neighbouring numbers
_BLOCK: Final = 2**20
_LOWER_HALF: Final = 2**32 - 1
_HALF: Final = np.uint64(32)
_LAST_CHARACTER: Final = 0x10FFFF
_ROUNDING: Final = 1e-9


class Found(NamedTuple):
    """A passage, and how much of it a text holds.

    ``start`` is the token of the text where the passage begins (below 0 where its beginning is cut off). ``whole`` is
    True when all of its tokens stand there one after the other. ``runs`` is the share of its weight, familiar runs left
    out, that stands in the text in unbroken stretches of at least the asked weight. ``order`` is the share of its
    tokens found in order in a window of about its length, where a number that is not counts as two, because with other
    numbers a question is another one; or the same without familiar runs, if that is smaller.
    """

    passage: int
    start: int
    whole: bool
    runs: float
    order: float


def weight(tokens: Iterable[str]) -> int:
    """How much a text says, in thirds of a word: `WORD` for each word or number, `IDEOGRAPH` for each ideograph."""
    return sum(WORD if token.isascii() else IDEOGRAPH for token in tokens)


class Passages:
    """Many passages, each a list of tokens, ready to be found in texts.

    Memory is about 25 bytes a token of theirs, and 40 while it is made; texts are not kept. Passages of fewer than
    `GRAM` tokens are never found. ``run`` is the weight of the shortest stretch that `Found.runs` counts.
    """

    def __init__(self, passages: Iterable[Sequence[str]], run: int) -> None:
        self._run = run
        self._numbers: dict[str, int] = {}
        self._read(passages)
        self._weights = np.array([0, *map(_weight, self._numbers)], np.int32)
        self._figures = np.array([False, *(any(map(str.isdigit, token)) for token in self._numbers)], bool)
        self._longest = int(np.diff(self._starts).max(initial=0))
        self._index()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def find(self, tokens: Sequence[str], order: float) -> list[Found]:
        """The passages of which the text may hold something, and how much of each it does, stretch by stretch.

        A share of order below ``order`` is told as 0, which spares the work of measuring it.
        """
        text = np.fromiter(map(self._numbers.get, tokens, repeat(0)), np.int32, len(tokens))
        return [
            found._replace(start=found.start + first)
            for first, last in self._stretches(len(text))
            for found in self._in(text[first:last], order)
        ]

    def _read(self, passages: Iterable[Sequence[str]]) -> None:
        ids, starts = array("i"), array("q", [0])
        for passage in passages:
            ids.extend(self._numbers.setdefault(token, len(self._numbers) + 1) for token in passage)
            starts.append(len(ids))
        self._ids: Numbers = np.frombuffer(ids, np.int32) if ids else np.empty(0, np.int32)
        self._starts: Places = np.frombuffer(starts, np.int64)

    def _index(self) -> None:
        """Lay the place of each telling run into the table, in order, and mark the tokens of familiar runs."""
        places = self._run_places()
        bits = max(10, len(places).bit_length())
        self._shift = np.uint64(64 - bits)
        bucket = self._buckets(self._ids)[places]
        crowd = np.bincount(bucket).astype(np.int32)[bucket]
        common = crowd > max(FAMILIAR, FAMILIAR_SHARE * len(self))
        self._familiar = np.zeros(len(self._ids), bool)
        for offset in range(GRAM):
            self._familiar[places[common] + offset] = True
        passage = np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self._starts))[places]
        kept = ~common
        kept[_rarest(passage, crowd, self._counted(passage, kept))] = True
        self._kept = self._counted(passage, kept)
        keys = bucket[kept].astype(np.int64)
        keys <<= 32
        keys |= places[kept]
        del places, bucket, crowd, common, passage, kept  # as large as all passages, and so is what comes
        self._fill(keys, 1 << bits)

    def _run_places(self) -> Numbers:
        """Where a run begins: at each token that `GRAM` - 1 others of its passage follow."""
        begins = np.ones(len(self._ids), bool)
        for offset in range(1, GRAM):
            ends = self._starts[1:] - offset
            begins[ends[ends >= self._starts[:-1]]] = False
        return np.flatnonzero(begins).astype(np.int32)

    def _counted(self, passage: Numbers, kept: npt.NDArray[np.bool_]) -> Numbers:
        """How many runs of each passage are kept."""
        return np.bincount(passage[kept], minlength=len(self)).astype(np.int32)

    def _fill(self, keys: Places, buckets: int) -> None:
        """A key is a bucket and a place; ``_places[_table[b] : _table[b + 1]]`` are the places in bucket b, and in the
        same entries of ``_owners`` are their passages."""
        keys.sort()
        count = np.bincount(keys >> 32, minlength=buckets).astype(np.int32)
        kept = np.ones(len(keys), bool)
        for crowded in np.flatnonzero(count > CROWDED).tolist():
            first = int(np.searchsorted(keys, crowded << 32))
            kept[first + CROWDED : first + count[crowded]] = False
        self._places = keys[kept].astype(np.int32)  # the lower half
        self._owners = (np.searchsorted(self._starts, self._places, side="right") - 1).astype(np.int32)
        self._table = np.zeros(buckets + 1, np.int32)
        np.cumsum(np.minimum(count, CROWDED, out=count), dtype=np.int32, out=self._table[1:])

    def _buckets(self, ids: Numbers) -> Numbers:
        """The bucket of the run at each place but the last ``GRAM - 1``."""
        count = max(0, len(ids) - GRAM + 1)
        buckets = np.empty(count, np.int32)
        for first in range(0, count, _BLOCK):  # the numbers between are four times as large as what comes out
            last = min(first + _BLOCK, count)
            mixed = np.zeros(last - first, np.uint64)
            for offset in range(GRAM):
                mixed += ids[first + offset : last + offset].astype(np.uint64)
                mixed *= _MULTIPLIER
                mixed ^= mixed >> _HALF
            buckets[first:last] = (mixed * _MULTIPLIER) >> self._shift
        return buckets

    def _stretches(self, length: int) -> Iterator[tuple[int, int]]:
        """First and last token of each stretch; they overlap, so that every passage lies in one of them whole."""
        overlap = 2 * (self._longest + GRAM)
        stretch = max(STRETCH, 2 * overlap)
        for first in range(0, max(1, length - overlap), stretch - overlap):
            yield first, first + stretch

    def _in(self, text: Numbers, order: float) -> Iterator[Found]:
        passages, begins = self._hits(text)
        keys = np.sort((passages << 32) + begins + self._longest)
        passages, begins = keys >> 32, (keys & _LOWER_HALF) - self._longest
        spelled = _spelled(text) if len(keys) else ""
        for passage, first, last in self._promising(passages):
            yield self._compared(passage, text, spelled, begins[first:last].tolist(), order)

    def _hits(self, text: Numbers) -> tuple[Places, Places]:
        """Of each run the text has of a passage: which, and where it begins if nothing before the run was changed."""
        bucket = self._buckets(text)
        first = self._table[bucket]
        count = self._table[bucket + 1] - first
        at = np.repeat(np.arange(len(bucket)), count)
        nth = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
        entry = np.repeat(first, count) + nth
        places = self._places[entry]
        same = np.ones(len(at), bool)
        for offset in range(GRAM):  # two runs may share a bucket
            same &= text[at + offset] == self._ids[places + offset]
        passages = self._owners[entry[same]].astype(np.int64)
        return passages, at[same] - places[same] + self._starts[passages]

    def _promising(self, passages: Places) -> list[tuple[int, int, int]]:
        """The passages with the largest shares of runs hit, at most `TRIED`, and where each stands in the list."""
        edges = np.flatnonzero(np.diff(passages, prepend=-1, append=-1))
        hit, count = passages[edges[:-1]], np.diff(edges)
        best = np.flatnonzero(count + 1 >= LEAST * self._kept[hit])
        best = best[np.argsort(-count[best] / self._kept[hit[best]], kind="stable")[:TRIED]]
        return list(zip(hit[best].tolist(), edges[best].tolist(), edges[best + 1].tolist(), strict=True))

    def _compared(self, passage: int, text: Numbers, spelled: str, begins: list[int], order: float) -> Found:
        """``begins``: where the passage begins in the text by each run that was hit, in order."""
        own = slice(self._starts[passage], self._starts[passage + 1])
        ids, telling = self._ids[own], ~self._familiar[own]
        start, end = _densest(begins, len(ids) // 6 + 2)
        window = spelled[max(0, start - 2) : max(0, end + len(ids) + 2)]
        ordered = self._in_order(ids, window, order)
        if ordered and not telling.all() and telling.any():
            ordered = min(ordered, self._in_order(ids[telling], window, order))
        likely = Counter(begins).most_common(SHIFTS)
        if not ordered and likely[0][1] < min(RUNS, self._kept[passage]):
            return Found(passage, start, False, 0.0, 0.0)
        stretches = _unbroken(ids, text, [begin for begin, _ in likely])
        covered = np.zeros(len(ids), bool)
        for first, last in stretches:
            covered[first:last] |= self._weights[ids[first:last]].sum() >= self._run
        told = self._weights[ids] * (telling if telling.any() else 1)
        return Found(passage, start, (0, len(ids)) in stretches, float(told[covered].sum() / told.sum()), ordered)

    def _in_order(self, ids: Numbers, window: str, least: float) -> float:
        """The share of the tokens that the window holds in this order, a lost number counted twice; 0 below least."""
        enough = math.ceil(least * len(ids) - _ROUNDING)
        kept = LCSseq.similarity(_spelled(ids), window, score_cutoff=enough)
        figures = ids[self._figures[ids]]
        if kept and len(figures):
            kept -= len(figures) - LCSseq.similarity(_spelled(figures), window)
        return kept / len(ids) if kept >= enough else 0.0


def _weight(token: str) -> int:
    return WORD if token.isascii() else IDEOGRAPH


def _rarest(passage: Numbers, crowd: Numbers, kept: Numbers) -> Places:
    """The `RAREST` runs of each passage of which fewer are kept, as indices; equal ones in their order."""
    needy = np.flatnonzero((kept < RAREST)[passage])
    needy = needy[np.lexsort((crowd[needy], passage[needy]))]
    first = np.searchsorted(passage[needy], passage[needy])
    return needy[np.arange(len(needy)) - first < RAREST]


def _densest(begins: list[int], slack: int) -> tuple[int, int]:
    """The first and the last of those begins that lie within ``slack`` of each other where most of them do."""
    best, first = (0, 0, 0), 0
    for last, begin in enumerate(begins):
        while begins[first] < begin - slack:
            first += 1
        best = max(best, (last - first + 1, -first, last))
    return begins[-best[1]], begins[best[2]]


def _unbroken(ids: Numbers, text: Numbers, begins: list[int]) -> list[tuple[int, int]]:
    """The stretches of the passage that stand unchanged in the text, where it begins at one of these places."""
    stretches = []
    for begin in begins:
        first, last = max(0, -begin), min(len(ids), len(text) - begin)
        same = np.zeros(len(ids) + 2, np.int8)
        same[first + 1 : last + 1] = ids[first:last] == text[begin + first : begin + last]
        edges = np.flatnonzero(np.diff(same)).tolist()
        stretches += list(zip(edges[::2], edges[1::2], strict=True))
    return stretches


def _spelled(ids: Numbers) -> str:
    """One character a token: strings are what is compared fastest."""
    return (ids.astype("<u4") % _LAST_CHARACTER).tobytes().decode("utf-32-le", "surrogatepass")
