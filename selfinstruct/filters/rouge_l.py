"""Refuses an instruction too similar to one we already have: exact ROUGE-L F1, in English and in Chinese.

ROUGE-L asks how much of two texts is in common in the same order: with ``lcs`` tokens in their longest common
subsequence and ``m`` and ``n`` tokens in each, F1 = 2·lcs / (m + n). Self-Instruct refuses what is above 0.7 to any
seed or any instruction kept before. Decisions here are made in integers, so a text at exactly 0.7 is kept; in the
floats of Self-Instruct's code some of those come out as 0.7000000000000001 and are refused (LCS 7 of 7 and 13 tokens).

Every candidate is compared with the whole pool, except texts whose length alone rules them out. That takes time linear
in the pool and is meant for tens of thousands of instructions.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from selfinstruct.protocols import Drop
from selfinstruct.schema import ClassifiedInstruction, Instruction, Neighbour, Novelty, TaskInstance
from selfinstruct.similarity.tokens import Tokenizer, tokens

Instructed = TypeVar("Instructed", Instruction, ClassifiedInstruction, TaskInstance)
Spelling = str | list[int]

NEAREST = 10
"""How many neighbours are kept: Self-Instruct's ``most_similar`` holds ten."""

LAST_CHARACTER = 0x10FFFF


class RougeLNovelty:
    """Refuses an instruction whose ROUGE-L F1 with one in memory is above ``threshold``, or whose text equals one.

    ``threshold`` is exact, "0.7" or "7/10", above 0 and at most 1; ``tokenizer`` is explained at `tokens`. ``similar``
    says what is told of a record besides the decision, which is the same in all modes: "exact": the ten nearest of the
    whole pool and the mean over it; "above:0.5": up to ten nearest, of those whose F1 is above 0.5; "off": nothing.
    Nearest come best first, equal ones in the order they entered the pool; scores are rounded only when written.

    Reasons: ``duplicate_text`` (equal after stripping; the only one a text without tokens can have), ``too_similar``.
    Raises ValueError for a threshold, tokenizer or mode outside these.
    """

    def __init__(
        self, threshold: str | Fraction = "0.7", tokenizer: Tokenizer = "en", similar: str = "above:0.5"
    ) -> None:
        if tokenizer not in ("en", "zh", "auto"):
            raise ValueError(f"tokenizer must be en, zh or auto, not {tokenizer!r}")
        self.threshold = _fraction("threshold", threshold)
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
        self.tokenizer = tokenizer
        self.similar = similar
        self._floor = _shown_above(similar, self.threshold)
        self._alphabet = _Alphabet()
        self._ids: list[str] = []
        self._numbers: dict[str, int] = {}  # stripped text → place in _ids
        self._buckets: dict[int, _Bucket] = {}  # by length in tokens
        self._last: tuple[str, int, _Measured] | None = None

    def add(self, id: str, text: str) -> None:
        """Put a text into the memory unseen: seeds, which are never filtered, and what an earlier run kept."""
        spelling = self._alphabet.learn(tokens(text, self.tokenizer))
        bucket = self._buckets.setdefault(len(spelling), _Bucket([], []))
        bucket.spellings.append(spelling)
        bucket.numbers.append(len(self._ids))
        self._numbers.setdefault(text.strip(), len(self._ids))
        self._ids.append(id)

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """Why the instruction is not new, with its nearest neighbours, or None."""
        measured = self._measure(record.instruction)
        twin = self._numbers.get(record.instruction.strip())
        if twin is not None:
            return Drop("duplicate_text", f"equals {self._ids[twin]}", self._nearest(measured))
        if measured.hits and measured.hits[0].above(self.threshold):
            best = measured.hits[0]
            return Drop("too_similar", f"{best.score:.4f} with {self._ids[best.number]}", self._nearest(measured))
        return None

    def admit(self, record: Instructed) -> Instructed:
        """Take the instruction into the memory; return the record with how new it was before.

        A record that knows its novelty comes back from a shard: it is not measured a second time.
        """
        if record.novelty is not None:
            self.add(record.id, record.instruction)
            return record
        measured = self._measure(record.instruction)
        novelty = Novelty(mode=self.similar, nearest=self._nearest(measured), mean=measured.mean)
        self.add(record.id, record.instruction)
        return record.model_copy(update={"novelty": novelty})

    def _measure(self, text: str) -> _Measured:
        """Compare a text with the pool; asked twice in a row (check, then admit), it compares once."""
        if self._last is None or self._last[:2] != (text, len(self._ids)):
            self._last = (text, len(self._ids), self._compare(text))
        return self._last[2]

    def _compare(self, text: str) -> _Measured:
        spelling = self._alphabet.spell(tokens(text, self.tokenizer))
        search = None if self._floor is None else min(self._floor, self.threshold)
        hits: list[_Hit] = []
        sums: list[float] = []
        for length, bucket in self._buckets.items():
            lengths = len(spelling) + length
            needed = 0 if search is None else _lcs_above(search, lengths)
            if needed > min(len(spelling), length):
                continue  # even a text that is wholly part of the other would not reach it
            lcs = bucket.lcs(spelling, needed)
            found = np.flatnonzero(lcs >= needed)
            best = found[np.argsort(-lcs[found], kind="stable")][:NEAREST]
            hits += (_Hit(int(lcs[place]), lengths, bucket.numbers[place]) for place in best)
            sums.append(2 * int(lcs.sum(dtype=np.int64)) / max(lengths, 1))  # complete only where nothing is skipped
        hits.sort(key=lambda hit: (-hit.score, hit.number))
        # fsum is exact, so the mean does not depend on the order of the buckets.
        mean = round(math.fsum(sums) / len(self._ids), 4) if search is None and self._ids else None
        return _Measured(tuple(hits[:NEAREST]), mean)

    def _nearest(self, measured: _Measured) -> tuple[Neighbour, ...]:
        if self.similar == "off":
            return ()
        shown = [hit for hit in measured.hits if self._floor is None or hit.above(self._floor)]
        return tuple(Neighbour(id=self._ids[hit.number], score=round(hit.score, 4)) for hit in shown)


class _Hit(NamedTuple):
    """A text of the pool compared with the candidate: ``lengths`` is the sum of both lengths."""

    lcs: int
    lengths: int
    number: int

    @property
    def score(self) -> float:
        """ROUGE-L F1; division rounds correctly, so unequal scores of texts below 2²⁵ tokens stay in order."""
        return 2 * self.lcs / max(self.lengths, 1)

    def above(self, floor: Fraction) -> bool:
        """True when the exact score is above the floor."""
        return self.lcs >= _lcs_above(floor, self.lengths)


class _Measured(NamedTuple):
    """The best hits, best first, and the mean score over the pool where it is known."""

    hits: tuple[_Hit, ...]
    mean: float | None


class _Bucket(NamedTuple):
    """The texts of one length, and the place of each in the pool."""

    spellings: list[Spelling]
    numbers: list[int]

    def lcs(self, spelling: Spelling, needed: int) -> npt.NDArray[np.int32]:
        """The LCS with each text, shape (texts,); 0 stands for anything below ``needed``."""
        row: npt.NDArray[np.int32] = process.cdist(
            [spelling], self.spellings, scorer=LCSseq.similarity, score_cutoff=needed, dtype=np.int32
        )[0]
        return row


class _Alphabet:
    """Spells token lists as strings, one character a distinct token: what rapidfuzz compares fastest.

    There are about 1.1 million characters (surrogates serve too, as nothing here is ever encoded); a text with a token
    beyond them is spelled as the list of its numbers, which rapidfuzz compares with a string as it would two strings.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def learn(self, words: list[str]) -> Spelling:
        """Spell a text of the pool, giving new words new characters."""
        for word in words:
            if word not in self._codes:
                self._codes[word] = len(self._codes) + 1  # 0 is every unknown word
        return self.spell(words)

    def spell(self, words: list[str]) -> Spelling:
        """Spell a candidate: words the pool does not have can match nothing and share one character."""
        codes = [self._codes.get(word, 0) for word in words]
        return "".join(map(chr, codes)) if max(codes, default=0) <= LAST_CHARACTER else codes


def _lcs_above(floor: Fraction, lengths: int) -> int:
    """The shortest LCS whose F1 = 2·lcs / lengths is above the floor."""
    return floor.numerator * lengths // (2 * floor.denominator) + 1


def _shown_above(similar: str, threshold: Fraction) -> Fraction | None:
    """The score above which neighbours matter in this mode; None: all matter."""
    if similar == "exact":
        return None
    if similar == "off":
        return threshold
    kind, _, value = similar.partition(":")
    if kind == "above" and 0 <= (floor := _fraction(f"the floor of {similar!r}", value)) < 1:
        return floor
    raise ValueError(f"similar must be exact, off, or above: and a number from 0 to below 1, not {similar!r}")


def _fraction(what: str, value: str | Fraction) -> Fraction:
    """An exact number; floats are refused, since 0.7 as a float is not seven tenths."""
    if not isinstance(value, str | Fraction):
        raise ValueError(f"{what} must be text such as '0.7' or '7/10', or a Fraction, not {value!r}")
    try:
        return Fraction(value)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{what} must be a number such as '0.7' or '7/10', not {value!r}") from None
