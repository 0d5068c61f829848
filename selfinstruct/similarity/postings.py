"""Which kept texts have a token and a length in range, and a signature near enough? Sorted runs, scanned in blocks.

A posting is one distinct token of one kept text: its key (token, length), the folded signature, the slack and the
number of the text, 25 bytes in all. Runs are sorted by key, so a token and a range of lengths is one slice; a run is
absorbed by the one before it as soon as it is half as large, so there are few.

Slices are gathered and compared many at once, about `TILE` postings at a time, so that what is made on the way stays in
the cache. Comparing long slices where they lie, with several candidates that share a token, was slower at every length.
"""

from __future__ import annotations

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


def tiles(where: Slices) -> list[Ints]:
    """The lookups that have postings, in groups of about `TILE` postings together; a longer slice is one of its own."""
    chosen = np.flatnonzero(where.end > where.start)
    filled = np.cumsum(where.sizes[chosen])
    cuts = np.searchsorted(filled, np.arange(TILE, filled[-1] if len(filled) else 0, TILE))
    return [piece for piece in np.split(chosen, np.unique(cuts)) if len(piece)]


def passing(run: Run, lookups: Lookups, where: Slices, bounds: Bounds) -> Pairs:
    """The pairs of these slices, none of them empty, that no bound rules out."""
    sizes = where.sizes
    ends = np.cumsum(sizes)
    index = np.arange(ends[-1])
    index += np.repeat(where.start - (ends - sizes), sizes)
    low, high = run.low[index], run.high[index]
    low ^= np.repeat(lookups.low, sizes)
    high ^= np.repeat(lookups.high, sizes)
    distance = np.bitwise_count(low)
    distance += np.bitwise_count(high)
    # Two bytes added here, and the exact bound for what is left: most pairs end at the first.
    passed = np.flatnonzero(distance <= np.repeat(lookups.slack, sizes) + run.slack[index])
    asked = np.searchsorted(ends, passed, "right")
    index = index[passed]
    lengths = (run.keys[index] & np.uint32((1 << LENGTH_BITS) - 1)).astype(np.int64)
    near = distance[passed] <= bounds.distance(lookups.length[asked], lengths)
    pairs: Pairs = (lookups.candidate[asked][near] << 32) | run.numbers[index[near]]
    return pairs
