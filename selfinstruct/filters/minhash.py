"""Refuses near-duplicates found by MinHash-LSH, each checked exactly: nothing is refused wrongly, a few are missed.

`JaccardNear` misses none, is four times as fast and takes a third of the memory (its module has the figures), so it is
the default of the two. LSH, the method most pipelines use, was ahead nowhere that we measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, Neighbour, TaskInstance
from selfinstruct.similarity.jaccard_join import first_match
from selfinstruct.similarity.shingles import SHINGLE, Shingler, ShingleSets
from selfinstruct.similarity.thresholds import exactly
from selfinstruct.similarity.token_hashes import Hashes
from selfinstruct.similarity.tokens import Tokenizer

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

PERMUTATIONS = 128
"""Numbers in a sketch: datasketch's default."""

FOUND = 0.94
"""The least chance that a pair exactly at the threshold is found; at 0.8 it makes 16 bands of 8, which find 0.947."""


class MinHashNear:
    """Refuses an instruction whose Jaccard index with one admitted earlier is at least ``threshold``, if LSH finds it.

    Options, the index and the reason, ``near_duplicate``, are those of `JaccardNear`. Each candidate that LSH finds is
    measured exactly on its shingles; `bands` says how many it finds.
    """

    def __init__(self, threshold: str | Fraction = "0.8", tokenizer: Tokenizer = "auto", n: int = SHINGLE) -> None:
        from datasketch import MinHashLSH  # brings scipy, which is slow to load

        self.threshold = exactly("threshold", threshold)
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
        self._lsh: Any = MinHashLSH(num_perm=PERMUTATIONS, params=bands(float(self.threshold)))
        self._shingler = Shingler(tokenizer, n)
        self._admitted: list[Hashes] = []  # the shingles of each
        self._ids: list[str] = []
        self._foreseen: dict[str, _Measured] = {}

    def foresee(self, records: Sequence[Instruction | TaskInstance]) -> None:
        """Measure together the records that will be checked next; it changes no verdict, only the time they take.

        128 to 1 024 records at once are good; what was foreseen before and not checked yet is forgotten.
        """
        self._foreseen = self._measured(list(dict.fromkeys(record.instruction for record in records)))

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first admitted record, among those found, that this one is too like, or None."""
        shingles, sketch = self._measure(record.instruction)
        found = sorted(self._lsh.query(sketch)) if len(shingles) else []
        match = first_match(self.threshold, shingles, ((place, self._admitted[place]) for place in found))
        if match is None:
            return None
        id = self._ids[match.place]
        return Drop("near_duplicate", f"{match.score:.4f} with {id}", (Neighbour(id=id, score=match.score),))

    def admit(self, record: Instructed) -> Instructed:
        """Take the instruction into the memory; the record comes back as it was."""
        shingles, sketch = self._measure(record.instruction)
        if len(shingles):  # all empty sets have one sketch
            self._lsh.insert(len(self._ids), sketch, check_duplication=False)
            self._admitted.append(shingles.copy())  # without the rest of the block
            self._ids.append(record.id)
        return record

    def _measure(self, text: str) -> _Measured:
        """What is compared of a text; one that nobody foresaw is measured alone, once for `check` and `admit`."""
        if text not in self._foreseen:
            self._foreseen = self._measured([text])
        return self._foreseen[text]

    def _measured(self, texts: Sequence[str]) -> dict[str, _Measured]:
        sets = self._shingler(texts)
        return dict(zip(texts, map(_Measured, sets.split(), sketches(sets)), strict=True))


class _Measured(NamedTuple):
    """The shingles of a text, and its sketch, datasketch's LeanMinHash."""

    shingles: Hashes
    sketch: Any


def bands(threshold: float, permutations: int = PERMUTATIONS) -> tuple[int, int]:
    """How many bands of how many numbers a sketch is cut into, the longest bands that find what they must.

    Two sketches agree in at least one of b bands of r numbers with the chance 1 − (1 − s^r)^b, where s is the Jaccard
    index. With the longest r for which that is at least `FOUND` at the threshold, b being permutations // r, 0.985 or
    more of the pairs spread evenly between the threshold and 1 are found, at any threshold from 0.1 up. Longer bands
    bring fewer pairs that fail the exact check.
    """
    for length in range(permutations // 2, 1, -1):
        count = permutations // length
        if 1 - (1 - threshold**length) ** count >= FOUND:
            return count, length
    return permutations, 1


def sketches(sets: ShingleSets) -> list[Any]:
    """The sketch of each set, number by number that of datasketch's MinHash fed with the upper half of each shingle.

    Measured together: datasketch's own ``MinHash.bulk`` takes four times as long.
    """
    from datasketch import LeanMinHash, MinHash

    model = MinHash(num_perm=PERMUTATIONS)
    hashes = _premixed((sets.values >> np.uint64(32)).astype(np.uint32))
    filled = np.flatnonzero(sets.sizes())
    rows = np.full((PERMUTATIONS, len(sets)), 0xFFFFFFFF, np.uint32)  # an empty set stays at the largest number
    for row, factor, shift in zip(rows, *model.permutations, strict=True) if len(filled) else ():
        row[filled] = np.minimum.reduceat(hashes * factor + shift, sets.starts[filled])
    return [LeanMinHash(seed=model.seed, hashvalues=row, scheme=model.scheme) for row in np.ascontiguousarray(rows.T)]


def _premixed(hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """What datasketch's scheme "affine32" does to each hash first: the last step of MurmurHash3."""
    hashes = (hashes ^ hashes >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ hashes >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    return hashes ^ hashes >> np.uint32(16)
