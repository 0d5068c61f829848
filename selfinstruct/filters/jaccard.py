"""Refuses near-duplicates exactly: whatever shares too many shingles with an earlier record, none missed.

The default of the two near-duplicate filters. On 100 000 texts of 63 tokens, at 0.8, it took 24 µs and 1.9 kB a text,
where `MinHashNear` took 92 µs and 5.2 kB and missed 8 refusals of 1 000 (tests/benchmarks/bench_near.py); it was ahead
too with 400 000 texts, with texts of 1 500 tokens, and at thresholds from 0.3 up.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, islice, pairwise
from operator import itemgetter
from typing import TypeVar

import numpy as np

from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, Neighbour, TaskInstance
from selfinstruct.similarity.jaccard_join import JaccardJoin, Match, first_match
from selfinstruct.similarity.shingles import SHINGLE, Shingler, ShingleSets
from selfinstruct.similarity.thresholds import exactly
from selfinstruct.similarity.tokens import Tokenizer

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

BLOCK = 1024
"""Texts measured together at most; and their characters:"""

BLOCK_LENGTH = 1 << 18


class JaccardNear:
    """Refuses an instruction whose Jaccard index with one admitted earlier is at least ``threshold``.

    The index is the part of the shingles (``n`` tokens in a row) of either text that both have; decided in integers.
    ``threshold`` is exact: text such as "0.8" or "4/5", or a Fraction, above 0 and at most 1. ``tokenizer`` and ``n``
    are explained at `Shingler`. An instruction without tokens is like no other.

    Reason: ``near_duplicate``, with the first admitted of the records it is too like and their Jaccard index, rounded
    to four decimals. Raises ValueError for a threshold, tokenizer or ``n`` outside these.
    """

    def __init__(self, threshold: str | Fraction = "0.8", tokenizer: Tokenizer = "auto", n: int = SHINGLE) -> None:
        self._join = JaccardJoin(exactly("threshold", threshold))
        self._shingler = Shingler(tokenizer, n)
        self._ids: list[str] = []
        self._ahead: list[str] = []
        self._places_ahead: dict[str, int] = {}
        self._block = self._measured([])

    def foresee(self, records: Sequence[Instruction | TaskInstance]) -> None:
        """Measure together the records that will be checked next; it changes no verdict, only the time they take.

        128 to 1 024 records at once are good; what was foreseen before and not checked yet is forgotten.
        """
        self._ahead = list(dict.fromkeys(record.instruction for record in records))
        self._places_ahead = {text: place for place, text in enumerate(self._ahead)}

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first admitted record that this one is too like, or None."""
        row = self._row(record.instruction)
        match = self._block.first_match_of(row)
        if match is None:
            return None
        id = self._ids[match.place]
        return Drop("near_duplicate", f"{match.score:.4f} with {id}", (Neighbour(id=id, score=match.score),))

    def admit(self, record: Instructed) -> Instructed:
        """Take the instruction into the memory; the record comes back as it was."""
        row = self._row(record.instruction)
        if self._block.admit(row):
            self._ids.append(record.id)
        return record

    def _row(self, text: str) -> int:
        """The place of the text in the block; where it is in none yet, the next block begins with it."""
        if text not in self._block.rows:
            if len(self._ids) > len(self._join):
                self._join.add(self._block.admitted)
            self._block = self._measured(self._upcoming(text))
        return self._block.rows[text]

    def _upcoming(self, text: str) -> list[str]:
        """The text and those foreseen behind it, up to a block's size; a text that nobody foresaw is alone."""
        if text not in self._places_ahead:
            return [text]
        ahead = self._ahead[self._places_ahead[text] :][:BLOCK]
        ends = accumulate(map(len, ahead))
        return [
            text,
            *(each for each, end in zip(ahead[1:], islice(ends, 1, None), strict=True) if end <= BLOCK_LENGTH),
        ]

    def _measured(self, texts: Sequence[str]) -> _Block:
        return _Block(self._join, texts, self._shingler(texts))


class _Block:
    """Different texts measured together: compared with the index at once, with each other when it turns out who stays.

    What is admitted here enters the index, where ``join`` is it, together with the next block.
    """

    def __init__(self, join: JaccardJoin, texts: Sequence[str], sets: ShingleSets) -> None:
        self.rows = {text: row for row, text in enumerate(texts)}
        self._join = join
        self._first = len(join)
        self._sets = sets
        self._shingles = sets.split()
        self._places: dict[int, int] = {}  # of rows, in the order of admission

    @property
    def admitted(self) -> ShingleSets:
        """What is to enter the index, in order."""
        return self._sets.take(np.fromiter(self._places, np.int64, len(self._places)))

    def admit(self, row: int) -> bool:
        """Give the row a place; False where it has one already."""
        if row in self._places:
            return False
        self._places[row] = self._first + len(self._places)
        return True

    def first_match_of(self, row: int) -> Match | None:
        """The first admitted text that this one is too like; those of the index were all admitted earlier."""
        return self._earlier.get(row) or self._match_within(row)

    def _match_within(self, row: int) -> Match | None:
        partners = [
            (self._places[other], self._shingles[other]) for other in self._partners[row] if other in self._places
        ]
        partners.sort(key=itemgetter(0))
        return first_match(self._join.threshold, self._shingles[row], partners)

    @cached_property
    def _earlier(self) -> dict[int, Match]:
        """For each row that has any: the first text of the index that it is too like."""
        near = self._join.similar(self._sets)
        hits: dict[int, Match] = {}
        for row, *hit in zip(*(column.tolist() for column in (*near.pairs, near.common, near.union)), strict=True):
            hits.setdefault(row, Match(*hit))
        return hits

    @cached_property
    def _partners(self) -> dict[int, list[int]]:
        """For each row that is not too like a text of the index: rows that it may be too like, itself among them."""
        fresh = np.array([row for row in range(len(self.rows)) if row not in self._earlier], np.int64)
        alone = JaccardJoin(self._join.threshold)
        alone.add(self._sets)
        pairs = alone.candidates(self._sets.take(fresh))
        ends = np.searchsorted(pairs.new, np.arange(len(fresh)), side="right").tolist()
        return {
            row: pairs.kept[start:end].tolist()
            for row, (start, end) in zip(fresh.tolist(), pairwise([0, *ends]), strict=True)
        }
