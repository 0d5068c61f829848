"""Which earlier sets of shingles share at least a given part with a new one? Exact, for blocks of sets at once.

The Jaccard index of two sets of a and b shingles, o of them in common, is o / (a + b − o). It is at least p/q exactly
where o·(p + q) ≥ p·(a + b), in integers; ``need`` is the least such o. To count o for all pairs would take quadratic
time. Three tests that no pair at the threshold fails leave a handful of pairs (x is the new set, y an earlier one):

1. **Prefix.** o ≥ p/q · |x ∪ y| ≥ p/q · a, so at least ⌈a·p/q⌉ shingles of x are in y and at most a − ⌈a·p/q⌉ are not.
   Of any a − ⌈a·p/q⌉ + 1 shingles of x, one is thus in y. The rarest are taken, and only these looked up. Any choice is
   right, so it is enough to know about how often a shingle came: how often any did with the same first bits. Where none
   did, nothing is there to look up; most new texts have so many such shingles that nothing is looked up at all.
2. **Length.** o ≤ min(a, b), so need ≤ min(a, b).
3. **Signature.** A set's signature is 64 bits, each the parity of the shingles that fall on it. In the exclusive or of
   two signatures a shingle of both sets leaves no trace, and each of the a + b − 2·o others changes one bit. So it has
   at most a + b − 2·o ≤ a + b − 2·need bits.

The index is a few sorted arrays ("runs") of numbers of 64 bits: 32 bits of a shingle, then the 32 bits of a set's
place, so that the sets with one shingle stand in a row. Shingles that agree in these 32 bits bring pairs that fail
later, nothing more. Each block is a new run; one of at least half the length of the one before is merged with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from selfinstruct.similarity.shingles import ShingleSets, as_sets, by_row, ranges
from selfinstruct.similarity.token_hashes import Hashes, Numbers

Kind = TypeVar("Kind", bound=np.generic)
Count = TypeVar("Count", int, Numbers)

KEY_BITS = 32
"""How much of a shingle is its key in the index, at most 32; with less the same pairs are found, more slowly."""

COUNTED_BITS = 16
"""By how many of its first bits a shingle is counted in the beginning: 2¹⁶ counters of one byte, later more."""

MOST_COUNTED = 255

SIGNATURE_BITS = 64
"""On how many bits of a signature shingles fall, a power of two, at most 64."""

LONGEST_RUN = 1 << 24
"""Numbers in a merged run at most, so that merging takes little memory: 128 MiB."""

MOST_MET = 1 << 20
"""Pairs looked at together, so that a shingle that very many sets have takes time, not memory."""

_PLACE = np.uint64(0xFFFFFFFF)  # the lower half of a number in a run


class Pairs(NamedTuple):
    """Pairs of sets by their places: ``new`` in the block, ``kept`` among those in the index; shapes (pairs,)."""

    new: Numbers
    kept: Numbers

    def where(self, mask: npt.NDArray[np.bool_]) -> Pairs:
        """The pairs for which the mask, of shape (pairs,), is true."""
        return Pairs(self.new[mask], self.kept[mask])


class Similar(NamedTuple):
    """Pairs at or above a threshold, in order: how many shingles both sets have, and how many one of them has."""

    pairs: Pairs
    common: Numbers
    union: Numbers


class Match(NamedTuple):
    """An earlier set at or above a threshold: its place, and how many shingles both have, and how many one of them."""

    place: int
    common: int
    union: int

    @property
    def score(self) -> float:
        """The Jaccard index, rounded to four decimals."""
        return round(self.common / self.union, 4)


class _KeptSets:
    """Sets of shingles in the order they were added, in 8 bytes a shingle and 16 a set (and room to grow)."""

    def __init__(self) -> None:
        self._values = _Growing(np.zeros(0, np.uint64))
        self._starts = _Growing(np.zeros(1, np.int64))
        self._signatures = _Growing(np.zeros(0, np.uint64))

    def __len__(self) -> int:
        return len(self._signatures.array)

    def add(self, sets: ShingleSets) -> None:
        """Take these sets in behind the others."""
        self._starts.add(sets.starts[1:] + len(self._values.array))
        self._values.add(sets.values)
        self._signatures.add(signatures(sets))

    @property
    def sets(self) -> ShingleSets:
        """All of them, without a copy; good until the next `add`."""
        return ShingleSets(self._values.array, self._starts.array)

    @property
    def signatures(self) -> Hashes:
        """Their signatures, shape (sets,); good until the next `add`."""
        return self._signatures.array


class JaccardJoin:
    """An index of shingle sets that finds every one whose Jaccard index with a new set is at least ``threshold``.

    ``threshold`` is exact, above 0 and at most 1. A set without shingles is like no other. Memory is 16 bytes a shingle
    and 16 a set, and as much again for a moment when it grows. Raises ValueError for a threshold outside these.
    """

    def __init__(self, threshold: Fraction) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
        self.threshold = threshold
        self._kept = _KeptSets()
        self._runs: list[Hashes] = []  # the longest first
        self._counts = _Counts()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, sets: ShingleSets) -> None:
        """Take these sets in: the first gets the place ``len(self)``, the others follow."""
        places = np.repeat(np.arange(len(self), len(self) + len(sets), dtype=np.uint64), sets.sizes())
        run = _keys(sets.values) | places
        run.sort()
        self._kept.add(sets)
        self._counts.add(run, self._runs)
        while self._runs and len(self._runs[-1]) <= min(2 * len(run), LONGEST_RUN - len(run)):
            run = np.concatenate((self._runs.pop(), run))
            run.sort(kind="stable")  # merges two sorted halves in linear time
        self._runs.append(run)

    def similar(self, sets: ShingleSets) -> Similar:
        """Every pair of one of these sets and one in the index that reaches the threshold."""
        pairs = self.candidates(sets)
        count = len(pairs.new)
        new, kept = sets.take(pairs.new), self._kept.sets.take(pairs.kept)
        lengths = new.sizes() + kept.sizes()
        rows = np.concatenate([np.repeat(np.arange(count), side.sizes()) for side in (new, kept)])
        union = as_sets(np.concatenate((new.values, kept.values)), rows, count).sizes()
        common = lengths - union
        near = common >= _needed(self.threshold, lengths)
        return Similar(pairs.where(near), common[near], union[near])

    def candidates(self, sets: ShingleSets) -> Pairs:
        """The pairs of one of these sets and one in the index that pass all three tests, by their places."""
        shingles, rows = self._looked_up(sets)
        marks = signatures(sets)
        found = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64))
        for run in self._runs:
            for pairs in _met(run, shingles, rows):
                lengths = sets.sizes(pairs.new), self._kept.sets.sizes(pairs.kept)
                both = lengths[0] + lengths[1]
                need = _needed(self.threshold, both)
                bits = np.bitwise_count(marks[pairs.new] ^ self._kept.signatures[pairs.kept])
                found = _united(found, pairs.where((need <= np.minimum(*lengths)) & (bits <= both - 2 * need)))
        return found

    def _looked_up(self, sets: ShingleSets) -> tuple[Hashes, Numbers]:
        """The shingles of each set that test 1 asks for, in their order, and the set each belongs to."""
        sizes = sets.sizes()
        rows = np.repeat(np.arange(len(sets)), sizes)
        keys = _keys(sets.values)
        often = self._counts.of(keys)
        order = by_row(np.argsort(often, kind="stable"), rows, len(sets))
        p, q = self.threshold.numerator, self.threshold.denominator
        prefix = np.minimum(sizes - -(-sizes * p // q) + 1, sizes)
        chosen = order[ranges(sets.starts[:-1], prefix)]
        chosen = chosen[often[chosen] > 0]
        chosen = chosen[np.argsort(keys[chosen])]
        return keys[chosen], rows[chosen]


class _Counts:
    """About how many of the kept sets have a shingle, or others with the same first bits; 0 is exact.

    There are as many counters as shingles, or more, of one byte each. They stop at `MOST_COUNTED`.
    """

    def __init__(self) -> None:
        self._bits = COUNTED_BITS
        self._table = np.zeros(1 << self._bits, np.uint8)
        self._shingles = 0

    def of(self, keys: Hashes) -> npt.NDArray[np.uint8]:
        """The count of each key, shape (keys,)."""
        counts: npt.NDArray[np.uint8] = self._table[keys >> np.uint64(64 - self._bits)]
        return counts

    def add(self, run: Hashes, runs: Sequence[Hashes]) -> None:
        """Count a new run; where the table gets too small, count those of before again in a larger one."""
        self._shingles += len(run)
        if self._shingles > len(self._table):
            self._bits = self._shingles.bit_length()
            self._table = np.zeros(1 << self._bits, np.uint8)
            for earlier in runs:
                self._count(earlier)
        self._count(run)

    def _count(self, run: Hashes) -> None:
        buckets = run >> np.uint64(64 - self._bits)
        firsts = np.flatnonzero(np.concatenate(([True], buckets[1:] != buckets[:-1])))[: len(run)]
        counts = np.diff(firsts, append=len(run)) + self._table[buckets[firsts]]
        self._table[buckets[firsts]] = np.minimum(counts, MOST_COUNTED)


def first_match(threshold: Fraction, shingles: Hashes, earlier: Iterable[tuple[int, Hashes]]) -> Match | None:
    """The first of these sets, given with their places, that is near enough to one set of shingles, or None."""
    for place, others in earlier:
        both = np.concatenate((shingles, others))
        both.sort()
        common = int(np.count_nonzero(both[1:] == both[:-1]))
        if common and common >= _needed(threshold, len(both)):
            return Match(place, common, len(both) - common)
    return None


def signatures(sets: ShingleSets) -> Hashes:
    """The signature of each set (test 3), shape (sets,)."""
    bits = np.uint64(1) << (sets.values & np.uint64(SIGNATURE_BITS - 1))
    marks = np.zeros(len(sets), np.uint64)
    filled = np.flatnonzero(sets.sizes())
    if len(filled):  # reduceat has no result for an empty stretch
        marks[filled] = np.bitwise_xor.reduceat(bits, sets.starts[filled])
    return marks


def _needed(threshold: Fraction, lengths: Count) -> Count:
    """The least number of common shingles at the threshold, for the sum of both sets' sizes."""
    need: Count = -(-lengths * threshold.numerator // (threshold.numerator + threshold.denominator))
    return need


def _met(run: Hashes, keys: Hashes, rows: Numbers) -> Iterator[Pairs]:
    """The pairs of a set that looks up a key and one in the run that has it; the same pair may come again.

    ``keys`` ascend, so that each search finds in the cache what the one before has read.
    """
    first = np.searchsorted(run, keys)
    here = np.flatnonzero(first < len(run))
    here = here[(run[first[here]] ^ keys[here]) <= _PLACE]
    first, rows = first[here], rows[here]
    sizes = np.searchsorted(run, keys[here] | _PLACE, side="right") - first
    parts = np.searchsorted(np.cumsum(sizes), np.arange(MOST_MET, sizes.sum(), MOST_MET))
    for part in np.split(np.arange(len(here)), parts):
        kept = run[ranges(first[part], sizes[part])] & _PLACE
        yield Pairs(np.repeat(rows[part], sizes[part]), kept.astype(np.int64))


def _united(one: Pairs, other: Pairs) -> Pairs:
    """Each pair of both once, by the place of its new set, then by that of its earlier one."""
    both = np.sort(np.concatenate([pairs.new << 32 | pairs.kept for pairs in (one, other)]))
    fresh = np.ones(len(both), bool)
    fresh[1:] = both[1:] != both[:-1]
    both = both[fresh]
    return Pairs(both >> 32, both & 0xFFFFFFFF)


def _keys(shingles: Hashes) -> Hashes:
    """The key of each shingle, above room for a place."""
    return shingles >> np.uint64(64 - KEY_BITS) << np.uint64(32)


class _Growing(Generic[Kind]):
    """An array that can be added to; room doubles, so each number is copied about once."""

    def __init__(self, start: npt.NDArray[Kind]) -> None:
        self._room = start
        self._length = len(start)

    @property
    def array(self) -> npt.NDArray[Kind]:
        """What was added so far, without a copy."""
        return self._room[: self._length]

    def add(self, values: npt.NDArray[Kind]) -> None:
        """Put these numbers behind the others."""
        end = self._length + len(values)
        if end > len(self._room):
            room = np.empty(max(end, 2 * len(self._room)), self._room.dtype)
            room[: self._length] = self.array
            self._room = room
        self._room[self._length : end] = values
        self._length = end
