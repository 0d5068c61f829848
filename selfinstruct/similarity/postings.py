"""Which kept texts have a token and a length in range, and a signature near enough? Sorted runs, scanned in blocks.

A posting is one distinct token of one kept text: its key (token, length), the folded signature, the slack and the
number of the text, 25 bytes in all. Runs are sorted by key, so a token and a range of lengths is one slice; a run is
absorbed by the one before it as soon as it is half as large, so there are few.

Two ways to scan, both a handful of numpy calls over at most `TILE` postings, so that what they make stays in the cache:
short slices are gathered, many at once; long slices of one token are compared with several candidates where they lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from selfinstruct.similarity.lcs_bounds import Bounds

Ints = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.int64]
"""Candidate and kept text in one number each: ``candidate << 32 | number``."""

LENGTH_BITS = 10
TOKEN_MASK = (1 << 22) - 1
"""Tokens beyond share the keys of earlier ones, which costs time and changes nothing."""

TILE = 1 << 15
_LONG = 300  # from so many postings on, a slice is scanned where it lies: measured, 150 and 600 were slower
_TOGETHER = 8  # candidates that share a long slice: their ranges of lengths differ, and more of them overlap less


Column = npt.NDArray[Any]


class Run:
    """Postings in the order of their keys, one array for each of their parts."""

    __slots__ = ("high", "keys", "low", "numbers", "slack")

    def __init__(self, *, keys: Column, low: Column, high: Column, slack: Column, numbers: Column) -> None:
        self.keys = keys  # uint32
        self.low, self.high = low, high  # uint64, the signature
        self.slack = slack  # uint8
        self.numbers = numbers  # int32

    @property
    def memory(self) -> int:
        """Bytes of its arrays."""
        return sum(getattr(self, name).nbytes for name in self.__slots__)

    def of(self, which: Column, renumbered: Ints) -> Run:
        """Some of the postings, with other numbers."""
        return Run(
            keys=self.keys[which],
            low=self.low[which],
            high=self.high[which],
            slack=self.slack[which],
            numbers=renumbered[self.numbers[which]].astype(np.int32),
        )

    def absorb(self, other: Run) -> None:
        """Take in the postings of another run. Part by part, so that no more than one is there twice."""
        places = np.searchsorted(self.keys, other.keys, "right") + np.arange(len(other.keys))
        mine = np.ones(len(self.keys) + len(other.keys), np.bool_)
        mine[places] = False
        for name in self.__slots__:
            part = np.empty(len(mine), getattr(self, name).dtype)
            part[mine], part[places] = getattr(self, name), getattr(other, name)
            setattr(self, name, part)


class Lookups(NamedTuple):
    """Slices to be scanned, in the order of ``first``: keys from ``first`` to ``last``, for a candidate."""

    first: Column  # uint32
    last: Column  # uint32
    candidate: Ints
    length: Ints  # of the candidate
    low: Column  # uint64, as the next
    high: Column
    slack: Column  # uint8

    def of(self, which: Column) -> Lookups:
        """Some of them."""
        return Lookups(*(column[which] for column in self))


class Slices(NamedTuple):
    """Where in a run each lookup's postings lie."""

    start: Ints
    end: Ints

    @property
    def sizes(self) -> Ints:
        """Postings of each."""
        return self.end - self.start


def slices(run: Run, lookups: Lookups) -> Slices:
    """The slice of each lookup."""
    return Slices(np.searchsorted(run.keys, lookups.first, "left"), np.searchsorted(run.keys, lookups.last, "right"))


class Scanner:
    """Finds the pairs that pass the bounds. Owns the room it works in, so each thread needs one of its own."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._words = np.empty(TILE, np.uint64)
        self._counts = np.empty(TILE, np.uint8)
        self._others = np.empty(TILE, np.uint8)

    def short(self, run: Run, lookups: Lookups, where: Slices) -> Iterator[Pairs]:
        """The pairs of slices below `_LONG` postings, a tile at a time."""
        sizes = where.sizes
        chosen = np.flatnonzero((sizes > 0) & (sizes < _LONG))
        filled = np.cumsum(sizes[chosen])
        cuts = np.searchsorted(filled, np.arange(TILE, filled[-1] if len(filled) else 0, TILE))
        for piece in np.split(chosen, np.unique(cuts)):
            if len(piece):
                yield self._gathered(run, lookups.of(piece), where.start[piece], sizes[piece])

    def _gathered(self, run: Run, lookups: Lookups, start: Ints, sizes: Ints) -> Pairs:
        ends = np.cumsum(sizes)
        index = np.arange(ends[-1])
        index += np.repeat(start - (ends - sizes), sizes)
        low, high = run.low[index], run.high[index]
        low ^= np.repeat(lookups.low, sizes)
        high ^= np.repeat(lookups.high, sizes)
        distance = np.bitwise_count(low)
        distance += np.bitwise_count(high)
        passed = np.flatnonzero(distance <= np.repeat(lookups.slack, sizes) + run.slack[index])
        asked = lookups.of(np.searchsorted(ends, passed, "right"))
        return self._pairs(run, asked, index[passed], distance[passed])

    def long(self, run: Run, lookups: Lookups, where: Slices) -> Pairs:
        """The pairs of a few lookups of one token, whose slices overlap: each is compared with all of them.

        What lies outside its own slice passes no test wrongly: a pair is judged by both lengths and signatures.
        """
        begin, end, rows = int(where.start.min()), int(where.end.max()), len(lookups.first)
        low, high, slack = lookups.low[:, None], lookups.high[:, None], lookups.slack[:, None]
        width = TILE // rows
        found = []
        for start in range(begin, end, width):
            tile = slice(start, min(start + width, end))
            size = (tile.stop - start) * rows
            shape = (rows, tile.stop - start)
            counts, others = self._counts[:size], self._others[:size]
            words = self._words[:size].reshape(shape)
            np.bitwise_xor(run.low[tile], low, out=words)
            np.bitwise_count(words, out=counts.reshape(shape))
            np.bitwise_xor(run.high[tile], high, out=words)
            np.bitwise_count(words, out=others.reshape(shape))
            counts += others
            np.add(run.slack[tile], slack, out=others.reshape(shape))
            passed = np.flatnonzero(counts <= others)
            if len(passed):
                row, column = np.divmod(passed, shape[1])
                found.append(self._pairs(run, lookups.of(row), column + start, counts[passed]))
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _pairs(self, run: Run, asked: Lookups, index: Ints, distance: npt.NDArray[np.uint8]) -> Pairs:
        lengths = (run.keys[index] & np.uint32((1 << LENGTH_BITS) - 1)).astype(np.int64)
        near = distance <= self._bounds.distance(asked.length, lengths)
        pairs: Pairs = (asked.candidate[near] << 32) | run.numbers[index[near]]
        return pairs


def groups(lookups: Lookups, where: Slices) -> Iterable[Ints]:
    """The lookups with long slices, in groups of one token each, at most `_TOGETHER`, neighbours in length."""
    chosen = np.flatnonzero(where.sizes >= _LONG)
    token = lookups.first[chosen] >> np.uint32(LENGTH_BITS)
    for same in np.split(chosen, np.flatnonzero(token[1:] != token[:-1]) + 1):
        for start in range(0, len(same), _TOGETHER):
            yield same[start : start + _TOGETHER]
