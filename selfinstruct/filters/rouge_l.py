"""Refuses an instruction too similar to one we already have: exact ROUGE-L F1, in English and in Chinese.

ROUGE-L asks how much of two texts is in common in the same order: with ``lcs`` tokens in their longest common
subsequence and ``m`` and ``n`` tokens in each, F1 = 2·lcs / (m + n). Self-Instruct refuses what is above 0.7 to any
seed or any instruction kept before. Decisions here are made in integers, so a text at exactly 0.7 is kept; in the
floats of Self-Instruct's code some of those come out as 0.7000000000000001 and are refused (LCS 7 of 7 and 13 tokens).

Every decision is that of a comparison with the whole pool, which `similarity.rouge_index` makes without doing so.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeVar

import numpy as np
from rapidfuzz.distance import LCSseq

from selfinstruct.protocols import Drop
from selfinstruct.schema import ClassifiedInstruction, Instruction, Neighbour, Novelty, TaskInstance
from selfinstruct.similarity.digests import Digests, Names, digest_of
from selfinstruct.similarity.rouge_index import BLOCK, Block, RougeIndex
from selfinstruct.similarity.thresholds import exactly
from selfinstruct.similarity.tokens import Tokenizer, tokens
from selfinstruct.similarity.whole_pool import WholePool

Instructed = TypeVar("Instructed", Instruction, ClassifiedInstruction, TaskInstance)

NEAREST = 10
"""How many neighbours are kept: Self-Instruct's ``most_similar`` holds ten."""

# When a line says that the data is slow. Postings looked at, as a share of the pool for each text (0.5 % in ordinary
# English, 3 % in Chinese); cells of common-subsequence tables, some seconds of them, and pairs for each text.
_STRAIN, _STRAIN_SHARE = 10**9, 0.1
_STRAIN_CELLS, _STRAIN_CELLS_EACH, _STRAIN_PAIRS_EACH = 10**10, 10**6, 50
_BLOCK_CHARACTERS = 1 << 18  # a block of long texts holds fewer of them, so that its arrays stay small


class RougeLNovelty:
    """Refuses an instruction whose ROUGE-L F1 with one in memory is above ``threshold``, or whose text equals one.

    ``threshold`` is exact, "0.7" or "7/10", above 0 and at most 1; ``tokenizer`` is explained at `tokens`. ``similar``
    says what is told of a record besides the decision, which is the same in all modes: "exact": the ten nearest of the
    whole pool and the mean over it, which takes a comparison with every text of it; "above:0.5": up to ten nearest, of
    those whose F1 is above 0.5; "off": nothing. Nearest come best first, equal ones in the order they entered the pool;
    the text by which a record was refused comes before them, in every mode. Scores are rounded only when written. The
    lower the floor, the more is compared: "off" is the fastest.

    Told by `foresee` what comes, it looks up many at once, which is some ten times as fast.

    Reasons: ``duplicate_text`` (equal after stripping; the only one a text without tokens can have), ``too_similar``.
    Raises ValueError for a threshold, tokenizer or mode outside these.
    """

    def __init__(
        self, threshold: str | Fraction = "0.7", tokenizer: Tokenizer = "en", similar: str = "above:0.5"
    ) -> None:
        if tokenizer not in ("en", "zh", "auto"):
            raise ValueError(f"tokenizer must be en, zh or auto, not {tokenizer!r}")
        self.threshold = exactly("threshold", threshold)
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
        self.tokenizer = tokenizer
        self.similar = similar
        self._floor = _shown_above(similar, self.threshold)
        self._pool: _Indexed | _Whole = (
            _Whole(tokenizer) if self._floor is None else _Indexed(min(self._floor, self.threshold), tokenizer)
        )
        self._ids = Names()
        self._known = Digests()  # of each text, with its place in _ids
        self._last: tuple[str, int, _Measured] | None = None

    def add(self, id: str, text: str) -> None:
        """Put a text into the memory unseen: seeds, which are never filtered, and what an earlier run kept."""
        self._pool.add(text)
        self._known.add(digest_of(text), len(self._ids))
        self._ids.append(id)

    def foresee(self, records: Sequence[Instruction | TaskInstance]) -> None:
        """Look up these records together, when the first of them is checked."""
        self._pool.foresee([record.instruction for record in records])

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """Why the instruction is not new, with its nearest neighbours, or None."""
        return self._judge(record.instruction)

    def _judge(self, text: str) -> Drop | None:
        measured = self._measure(text)
        twin = self._known.number_of(digest_of(text))
        if twin is not None:
            same = Neighbour(id=self._ids[twin], score=1.0)
            return Drop("duplicate_text", f"equals {same.id}", self._nearest(measured, same))
        if measured.hits and measured.hits[0].above(self.threshold):
            best = self._neighbour(measured.hits[0])
            return Drop("too_similar", f"{best.score:.4f} with {best.id}", self._nearest(measured, best))
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

    def strain(self) -> str:
        """A line for people where the texts are too much alike, or too long, to be told apart quickly; else empty."""
        return self._pool.strain()

    def _measure(self, text: str) -> _Measured:
        """Compare a text with the pool; asked twice in a row (check, then admit), it compares once."""
        if self._last is None or self._last[:2] != (text, len(self._ids)):
            self._last = (text, len(self._ids), self._pool.measure(text))
        return self._last[2]

    def _nearest(self, measured: _Measured, *decided: Neighbour) -> tuple[Neighbour, ...]:
        """What is told in this mode, behind the text that decided, where one did."""
        if self.similar == "off":
            return decided
        floor = self._floor if self._floor is not None and self._floor > self.threshold else None
        shown = [hit for hit in measured.hits if floor is None or hit.above(floor)]  # else all were searched above it
        others = [one for one in map(self._neighbour, shown) if one not in decided]
        return (*decided, *others)[:NEAREST]

    def _neighbour(self, hit: _Hit) -> Neighbour:
        return Neighbour(id=self._ids[hit.number], score=round(hit.score, 4))


def rouge_l(left: str, right: str, tokenizer: Tokenizer = "auto") -> float:
    """ROUGE-L F1 of two texts, 0 to 1, as rouge-score has it; in English that is its default tokenizer."""
    one, other = tokens(left, tokenizer), tokens(right, tokenizer)
    return 2 * LCSseq.similarity(one, other) / max(len(one) + len(other), 1)


def deduplicate(texts: Iterable[str], threshold: str | Fraction = "0.7", tokenizer: Tokenizer = "auto") -> list[str]:
    """The texts that are new, in order: none equals, or has a ROUGE-L F1 above ``threshold`` with, one kept before it.

    Exact at any number of texts. Raises ValueError for a threshold or tokenizer that `RougeLNovelty` does not take.
    """
    novelty = RougeLNovelty(threshold, tokenizer, similar="off")
    kept: list[str] = []
    for block in _blocks(texts):
        novelty._pool.foresee(block)
        for text in block:
            if novelty._judge(text) is None:
                novelty.add(str(len(kept)), text)
                kept.append(text)
    return kept


class _Hit(NamedTuple):
    """A text of the pool compared with the candidate: ``lengths`` is the sum of both lengths."""

    number: int
    lcs: int
    lengths: int

    @property
    def score(self) -> float:
        """ROUGE-L F1; division rounds correctly, so unequal scores of texts below 2²⁵ tokens stay in order."""
        return 2 * self.lcs / max(self.lengths, 1)

    def above(self, floor: Fraction) -> bool:
        """True when the exact score is above the floor."""
        return 2 * floor.denominator * self.lcs > floor.numerator * self.lengths


class _Measured(NamedTuple):
    """The best hits, best first, and the mean score over the pool where it is known."""

    hits: tuple[_Hit, ...]
    mean: float | None = None


class _Whole:
    """A pool where each text is compared with all others."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._pool = WholePool()

    def add(self, text: str) -> None:
        """The next text of the pool."""
        self._pool.add(tokens(text, self._tokenizer))

    def foresee(self, texts: Sequence[str]) -> None:
        """Nothing is gained by it here."""

    def measure(self, text: str) -> _Measured:
        """The nearest of the pool, and the mean."""
        lcs, lengths = self._pool.compare(tokens(text, self._tokenizer))
        if not len(lcs):
            return _Measured(())
        scores = 2 * lcs / np.maximum(lengths, 1)
        best = np.argsort(-scores, kind="stable")[:NEAREST]
        hits = tuple(_Hit(int(one), int(lcs[one]), int(lengths[one])) for one in best)
        # fsum is exact, so the mean is the same on every machine.
        return _Measured(hits, round(math.fsum(scores.tolist()) / len(scores), 4))

    def strain(self) -> str:
        """This mode's cost is known: see the class that has it."""
        return ""


class _Indexed:
    """A pool behind the index. A block is looked up, its texts are asked for and partly added, then it is settled."""

    def __init__(self, floor: Fraction, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # Above a floor of 1 there is no score; just below it, equal texts are found, and nothing more is paid.
        self._index = RougeIndex(min(floor, Fraction(999_999, 1_000_000)), best=NEAREST)
        self._ahead: deque[list[str]] = deque()
        self._block: _LookedUp | None = None
        self._unseen: list[str] = []

    def foresee(self, texts: Sequence[str]) -> None:
        """Texts that will be asked for next; what was foreseen before and not asked for is forgotten."""
        self._ahead = deque(_blocks(texts))

    def add(self, text: str) -> None:
        """The next text of the pool."""
        if self._block is not None and self._block.admit(text):
            return
        if self._block is not None or len(self._unseen) == BLOCK:
            self._settle()
        self._unseen.append(text)

    def measure(self, text: str) -> _Measured:
        """The nearest above the floor, of all that was added."""
        if self._block is None or text not in self._block.places:
            self._block = self._opened(text)
        return _Measured(self._block.hits(text))

    def strain(self) -> str:
        """See `RougeLNovelty.strain`."""
        index = self._index
        each = max(index.looked_up, 1)
        if index.scanned >= _STRAIN and index.scanned >= len(index) * each * _STRAIN_SHARE:
            return (
                f"texts of so few different tokens are slow to tell apart: {index.scanned // each} of {len(index)} had"
                " to be looked at for each; the time grows with the square of their number"
            )
        if index.cells < _STRAIN_CELLS or index.cells < _STRAIN_CELLS_EACH * each:
            return ""
        if index.compared >= _STRAIN_PAIRS_EACH * each:
            return (
                f"texts so alike are slow to tell apart: {index.compared // each} comparisons in full for each so far;"
                " the time grows with the square of their number"
            )
        return f"texts so long are slow to compare: {index.cells // max(index.compared, 1)} steps for a pair"

    def _opened(self, text: str) -> _LookedUp:
        self._settle()
        while self._ahead and text not in self._ahead[0]:
            self._ahead.popleft()
        texts = list(dict.fromkeys(self._ahead.popleft() if self._ahead else [text]))
        block = self._index.look([tokens(one, self._tokenizer) for one in texts])
        return _LookedUp(block, {one: place for place, one in enumerate(texts)}, len(self._index))

    def _settle(self) -> None:
        """What was added becomes part of the index."""
        if self._block is not None:
            self._index.take(self._block.block, list(self._block.numbers))
            self._block = None
        for texts in _blocks(self._unseen):
            self._index.load([tokens(one, self._tokenizer) for one in texts])
        self._unseen.clear()


class _LookedUp:
    """A block of different texts, and those of them that were added since, by place, with their numbers."""

    def __init__(self, block: Block, places: dict[str, int], next_number: int) -> None:
        self.block = block
        self.places = places
        self.numbers: dict[int, int] = {}
        self._next = next_number
        self._kept = block.kept.by_text()
        self._taken = np.zeros(len(places), np.bool_)
        self._has_inside = np.zeros(len(places), np.bool_)
        self._has_inside[block.inside.text] = True

    def admit(self, text: str) -> bool:
        """Note that a text was added, if it can stay what it is here: not known, or added before, is False."""
        place = self.places.get(text)
        if place is None or place in self.numbers:
            return False
        self.numbers[place] = self._next + len(self.numbers)
        self._taken[place] = True
        return True

    def hits(self, text: str) -> tuple[_Hit, ...]:
        """The best of what was kept before this block, and of what of it was added since."""
        place = self.places[text]
        hits = [_Hit(*hit) for hit in self._kept.get(place, ())]
        hits += self._inside_hits(place)
        return tuple(sorted(hits, key=lambda hit: (-hit.score, hit.number))[:NEAREST])

    def _inside_hits(self, place: int) -> Iterator[_Hit]:
        if self._has_inside[place]:
            for other, lcs, lengths in self.block.inside.of(place, self._taken):
                yield _Hit(self.numbers[other], lcs, lengths)
        length = int(self.block.shelf.lengths[place])
        if place in self.numbers and length:
            yield _Hit(self.numbers[place], length, 2 * length)


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in blocks that can be looked up at once."""
    block: list[str] = []
    size = 0
    for text in texts:
        if block and (len(block) == BLOCK or size + len(text) > _BLOCK_CHARACTERS):
            yield block
            block, size = [], 0
        block.append(text)
        size += len(text)
    if block:
        yield block


def _shown_above(similar: str, threshold: Fraction) -> Fraction | None:
    """The score above which neighbours matter in this mode; None: all matter."""
    if similar == "exact":
        return None
    if similar == "off":
        return threshold
    kind, _, value = similar.partition(":")
    if kind == "above" and 0 <= (floor := exactly(f"the floor of {similar!r}", value)) < 1:
        return floor
    raise ValueError(f"similar must be exact, off, or above: and a number from 0 to below 1, not {similar!r}")
