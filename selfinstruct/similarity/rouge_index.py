"""Exact ROUGE-L over millions of texts: which of those kept are more similar than a floor to each of a block of texts?

Nothing is missed and nothing is estimated: token, length and signature rule out what cannot be similar (proved in
`lcs_bounds`), and of the few pairs left rapidfuzz measures the longest common subsequence. A block is looked up at
once, among what is kept and among itself; then the caller says which of it to keep.

What a candidate costs grows with the kept texts that hold one of its rarest tokens. A pool whose texts are all made of
the same few tokens defeats any index: the counts of `RougeIndex` tell.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from selfinstruct.similarity import postings
from selfinstruct.similarity.lcs_bounds import LONGEST, Bounds, Ints
from selfinstruct.similarity.postings import LENGTH_BITS, TOKEN_MASK, Lookups, Pairs, Run, Slices
from selfinstruct.similarity.shelf import Shelf
from selfinstruct.similarity.signatures import distances, folded
from selfinstruct.similarity.spelling import Alphabet, Texts

BLOCK = 1024
"""Texts looked up at once, at most."""

_AT_ONCE = 1 << 20  # pairs waiting to be measured: where everything resembles everything, memory stays bounded
_SMALL = 1 << 14  # a run of fewer postings is cheaper to write anew than to look through
_MANY = 16  # so many others make it worth a call of its own
_LOW = np.uint64((1 << 32) - 1)
_MOST_FREQUENT = (1 << 22) - 1


class Hits(NamedTuple):
    """Pairs above the floor, best first for each text: F1 = 2·lcs / lengths. All arrays have the same length."""

    text: Ints
    number: Ints
    lcs: Ints
    lengths: Ints

    def by_text(self) -> dict[int, list[tuple[int, int, int]]]:
        """(number, lcs, lengths) of the hits of each text that has some."""
        found: dict[int, list[tuple[int, int, int]]] = {}
        for text, *hit in zip(*(column.tolist() for column in self), strict=True):
            found.setdefault(text, []).append((hit[0], hit[1], hit[2]))
        return found

    def of(self, text: int, among: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
        """(number, lcs, lengths) of the hits of one text, of those numbers that are ``among`` these."""
        start, end = np.searchsorted(self.text, [text, text + 1])
        chosen = start + np.flatnonzero(among[self.number[start:end]])
        return list(zip(*(column[chosen].tolist() for column in self[1:]), strict=True))


class Block(NamedTuple):
    """Texts that were looked up: their hits among what is ``kept`` and, by place, ``inside`` the block itself."""

    shelf: Shelf
    run: Run
    kept: Hits
    inside: Hits


class RougeIndex:
    """Texts in memory, and the postings to find them by.

    ``floor`` (0 ≤ floor < 1) is the similarity above which pairs are found; of each text's hits among the kept ones the
    ``best`` are returned. ``workers`` threads look postings up where there are many (numpy lets go of the interpreter
    meanwhile); results do not depend on them. For ``looked_up`` texts it has looked at ``scanned`` postings so far and
    measured ``compared`` pairs, in tables of together ``cells`` cells. A kept English text takes half a kilobyte.
    """

    def __init__(self, floor: Fraction, *, best: int = 10, workers: int | None = None) -> None:
        self.looked_up = self.scanned = self.compared = self.cells = 0
        self._bounds = Bounds(floor, LONGEST)
        self._best = best
        self._alphabet = Alphabet()
        self._shelf = Shelf(Texts())
        self._frequency = np.zeros(1 << 12, np.int64)  # kept texts that hold a token: orders tokens, decides nothing
        self._runs: list[Run] = []
        self._workers = workers or _cores()
        self._threads: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._shelf.texts)

    @property
    def memory(self) -> int:
        """Bytes of its arrays; the tokens' own spellings, some 150 bytes a distinct token, are not among them."""
        return self._shelf.memory + self._frequency.nbytes + sum(run.memory for run in self._runs)

    # --- keep -------------------------------------------------------------------------------------------------------

    def take(self, block: Block, places: Sequence[int]) -> None:
        """Keep these texts of the block looked up last, in this order; they get the next numbers."""
        renumbered = np.full(len(block.shelf.texts), -1, np.int64)
        renumbered[places] = len(self) + np.arange(len(places))
        self._shelf.extend(block.shelf, places)
        self._add(block.run.of(renumbered[block.run.numbers] >= 0, renumbered))

    def load(self, texts: Sequence[Sequence[str]]) -> None:
        """Keep texts, given as tokens, without looking anything up; at most `BLOCK` of them."""
        shelf = self._shelved(texts)
        self.take(Block(shelf, self._postings(self._by_rarity(shelf), shelf), _NO_HITS, _NO_HITS), range(len(texts)))

    def _add(self, run: Run) -> None:
        np.add.at(self._frequency, run.keys >> np.uint32(LENGTH_BITS), 1)
        self._runs.append(run)
        while len(self._runs) > 1 and len(self._runs[-2].keys) < max(2 * len(self._runs[-1].keys), _SMALL):
            newer = self._runs.pop()
            self._runs[-1].absorb(newer)

    # --- look up ----------------------------------------------------------------------------------------------------

    def look(self, texts: Sequence[Sequence[str]]) -> Block:
        """Compare texts, given as tokens, with everything kept and with each other; at most `BLOCK` of them."""
        self.looked_up += len(texts)
        shelf = self._shelved(texts)
        occurrences = self._by_rarity(shelf)
        run = self._postings(occurrences, shelf)
        lookups, in_pool = self._lookups(occurrences, shelf)
        kept = self._hits(self._runs, lookups.of(in_pool), shelf, self._shelf)
        return Block(shelf, run, kept, self._hits([run], lookups, shelf, shelf))

    def _shelved(self, texts: Sequence[Sequence[str]]) -> Shelf:
        if len(texts) > BLOCK:
            raise ValueError(f"a block has at most {BLOCK} texts, not {len(texts)}")
        shelf = Shelf(Texts(map(self._alphabet.spell, texts)))
        missing = min(len(self._alphabet), TOKEN_MASK + 1) - len(self._frequency)
        if missing > 0:
            self._frequency = np.pad(self._frequency, (0, max(missing, len(self._frequency))))
        return shelf

    def _by_rarity(self, shelf: Shelf) -> _Occurrences:
        """Each text's tokens, those of the fewest kept texts first, with their rank; of equal ones the first."""
        tokens = shelf.texts.every_code()
        text = np.repeat(np.arange(len(shelf.texts)), shelf.lengths).astype(np.uint64)
        frequency = np.minimum(self._frequency[tokens & TOKEN_MASK], _MOST_FREQUENT).astype(np.uint64)
        packed = text << np.uint64(54) | frequency << np.uint64(32) | tokens.astype(np.uint64)
        packed.sort()
        first = np.append(True, packed[1:] != packed[:-1])[: len(packed)]
        places = (packed >> np.uint64(54)).astype(np.int64)
        rank = np.arange(len(packed)) - (np.cumsum(shelf.lengths) - shelf.lengths)[places]
        return _Occurrences(places[first], (packed & _LOW).astype(np.int64)[first] & TOKEN_MASK, rank[first])

    def _postings(self, occurrences: _Occurrences, shelf: Shelf) -> Run:
        """The block's own postings, numbered by place."""
        length = np.minimum(shelf.lengths, LONGEST)[occurrences.text]
        keys = (occurrences.token << LENGTH_BITS | length).astype(np.uint64)
        packed = keys << np.uint64(32) | occurrences.text.astype(np.uint64)
        packed.sort()
        text = (packed & _LOW).astype(np.int64)
        low, high = folded(shelf.signatures)
        slack = self._bounds.slack_of_kept(shelf.lengths)
        return Run(
            keys=(packed >> np.uint64(32)).astype(np.uint32),
            low=low[text],
            high=high[text],
            slack=slack[text],
            numbers=text.astype(np.int32),
        )

    def _lookups(self, occurrences: _Occurrences, shelf: Shelf) -> tuple[Lookups, npt.NDArray[np.bool_]]:
        """What to look for, in the order of the postings; and which of it the pool has at all."""
        text, token, rank = occurrences
        length = shelf.lengths[text]
        least = np.minimum(self._bounds.shortest(length), LONGEST)
        most = np.minimum(self._bounds.longest(length, rank), LONGEST)
        order = np.flatnonzero(most >= least)
        order = order[np.argsort((token << LENGTH_BITS | least)[order], kind="stable")]
        text, key = text[order], token[order] << LENGTH_BITS
        first, last = ((key | end[order]).astype(np.uint32) for end in (least, most))
        low, high = folded(shelf.signatures)
        slack = self._bounds.slack_of_candidate(shelf.lengths)
        lookups = Lookups(first, last, text, shelf.lengths[text], low[text], high[text], slack[text])
        return lookups, self._frequency[token[order]] > 0

    # --- measure ----------------------------------------------------------------------------------------------------

    def _hits(self, runs: Sequence[Run], lookups: Lookups, block: Shelf, others: Shelf) -> Hits:
        """The hits in these runs: every pair that passes is measured exactly, a bounded number of pairs at a time."""
        hits = _NO_HITS
        waiting: list[Pairs] = []
        size = 0
        for pairs in self._passing(runs, lookups):
            waiting.append(pairs)
            size += len(pairs)
            if size >= _AT_ONCE:
                hits = self._joined(hits, waiting, block, others)
                waiting, size = [], 0
        return self._joined(hits, waiting, block, others) if waiting else hits

    def _passing(self, runs: Sequence[Run], lookups: Lookups) -> Iterator[Pairs]:
        for run in runs:
            where = postings.slices(run, lookups)
            size = int(where.sizes.sum())
            self.scanned += size
            scan, tiles = partial(self._scanned, run, lookups, where), postings.tiles(where)
            yield from self._in_threads(scan, tiles) if size >= _AT_ONCE else map(scan, tiles)

    def _scanned(self, run: Run, lookups: Lookups, where: Slices, tile: Ints) -> Pairs:
        some = Slices(where.start[tile], where.end[tile])
        return postings.passing(run, lookups.of(tile), some, self._bounds)

    def _in_threads(self, scan: Callable[[Ints], Pairs], tiles: Sequence[Ints]) -> Iterator[Pairs]:
        """The same on all cores, a few tiles each at a time: what they find has to be measured before more is."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._workers, "rouge-index")
        for start in range(0, len(tiles), step := 16 * self._workers):
            yield from self._threads.map(scan, tiles[start : start + step])

    def _joined(self, hits: Hits, waiting: Sequence[Pairs], block: Shelf, others: Shelf) -> Hits:
        """These hits, and those among the waiting pairs, which may hold a pair more than once."""
        pairs = np.sort(np.concatenate(waiting))
        pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]]
        text, number = pairs >> 32, pairs & int(_LOW)
        inside = others is block
        if inside:  # both ways are one pair, and none is with itself
            once = text > number
            text, number = text[once], number[once]
        lengths = block.lengths[text] + others.lengths[number]
        least = self._bounds.least_lcs(lengths)
        apart = distances(block.signatures[text], others.signatures[number])
        # The bounds again, now with whole signatures, and with the true lengths of long texts.
        possible = least <= np.minimum(block.lengths[text], others.lengths[number])
        near = np.flatnonzero(possible & (apart <= lengths - 2 * least))
        text, number, lengths, least = text[near], number[near], lengths[near], least[near]
        lcs = _lcs(block.texts, text, others.texts, number, least)
        self.compared += len(text)
        self.cells += int((block.lengths[text] * others.lengths[number]).sum())
        above = lcs >= least
        found = Hits(text[above], number[above], lcs[above], lengths[above])
        if inside:
            return _in_order(hits, found, found._replace(text=found.number, number=found.text))
        return _in_order(hits, found, best=self._best)


class _Occurrences(NamedTuple):
    """Tokens of texts: in which text, which token, at which rank of it."""

    text: Ints
    token: Ints
    rank: Ints


def _lcs(left: Texts, text: Ints, right: Texts, number: Ints, least: Ints) -> Ints:
    """The longest common subsequence of each pair, in the order of ``text``; 0 stands for any below ``least``.

    A text that is compared with many others is compared with all of them at once, which is many times as fast.
    """
    lcs = np.empty(len(text), np.int64)
    spelled, others = left.spelled(text.tolist()), right.spelled(number.tolist())
    singly = []
    for pairs in np.split(np.arange(len(text)), np.flatnonzero(text[1:] != text[:-1]) + 1):
        if len(pairs) < _MANY:
            singly += pairs.tolist()
            continue
        one, many = spelled[int(text[pairs[0]])], [others[other] for other in number[pairs].tolist()]
        lcs[pairs] = process.cdist([one], many, scorer=LCSseq.similarity, score_cutoff=least[pairs].min())[0]
    one_side, other_side = (
        [spelled[one] for one in text[singly].tolist()],
        [others[one] for one in number[singly].tolist()],
    )
    lcs[singly] = process.cpdist(one_side, other_side, scorer=LCSseq.similarity)
    return lcs


def _in_order(*parts: Hits, best: int | None = None) -> Hits:
    """All hits, each once, by text and best first; equal ones by number; of each text at most ``best``."""
    every = Hits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    # Division rounds correctly, so unequal scores of texts below 2²⁵ tokens stay in order.
    order = np.lexsort((every.number, -every.lcs / np.maximum(every.lengths, 1), every.text))
    text, number = every.text[order], every.number[order]
    once = np.ones(len(order), np.bool_)
    once[1:] = (text[1:] != text[:-1]) | (number[1:] != number[:-1])
    order, text = order[once], text[once]
    if best is not None:
        rank = np.arange(len(text)) - np.searchsorted(text, text)
        order = order[rank < best]
    return Hits(*(column[order] for column in every))


def _cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_NO_HITS = Hits(*(np.empty(0, np.int64) for _ in range(4)))
