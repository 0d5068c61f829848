"""Texts as sets of shingles, the n-grams of their tokens: what the Jaccard index of two texts is measured on.

A shingle is kept as a number of 64 bits that depends on its tokens alone, so it is the same in every process. Two
different shingles share a number with a chance of 2⁻⁶⁴; within two texts of 1 000 shingles each, 5·10⁻¹⁴.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from selfinstruct.similarity.token_hashes import Hashes, Numbers, TokenHashes
from selfinstruct.similarity.tokens import Tokenizer

SHINGLE = 3
"""Tokens in a shingle: words in English, characters in Chinese, so that a corpus of both has one measure.

Of 8 000 real Chinese instructions (16 characters on average), 9 pairs of different texts are at 0.8 or above with
shingles of 2 characters, 6 with 3, 4 with 4 or 5. A reader takes all 6 for near-duplicates: longer shingles miss more.
"""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit of a token is lost; 2⁶⁴ over the golden ratio


@dataclass(frozen=True)
class ShingleSets:
    """The shingle sets of several texts: ``values[starts[i]:starts[i + 1]]`` are those of text i, ascending, unique.

    ``values`` has the shape (all shingles,), ``starts`` (texts + 1,).
    """

    values: Hashes
    starts: Numbers

    def __len__(self) -> int:
        return len(self.starts) - 1

    def sizes(self, rows: Numbers | slice = slice(None)) -> Numbers:
        """How many shingles each of these texts has, shape (rows,)."""
        sizes: Numbers = self.starts[1:][rows] - self.starts[:-1][rows]
        return sizes

    def split(self) -> list[Hashes]:
        """Each set alone."""
        return [self.values[start:end] for start, end in pairwise(self.starts.tolist())]

    @classmethod
    def of(cls, sets: Sequence[Hashes]) -> ShingleSets:
        """These sets in a row; what `split` took apart."""
        return cls(np.concatenate(sets), np.cumsum([0, *map(len, sets)]))

    def take(self, rows: Numbers) -> ShingleSets:
        """The sets of these texts, in this order."""
        sizes = self.sizes(rows)
        starts = np.concatenate(([0], np.cumsum(sizes)))
        return ShingleSets(self.values[ranges(self.starts[rows], sizes)], starts)


class Shingler:
    """Turns texts into sets of shingles: ``n`` tokens in a row, words in English, characters in Chinese.

    ``tokenizer`` is explained at `tokens`. A text of fewer than ``n`` tokens is one shingle, a text without tokens has
    none. Raises ValueError for another tokenizer and for an ``n`` below 1.
    """

    def __init__(self, tokenizer: Tokenizer = "auto", n: int = SHINGLE) -> None:
        if n < 1:
            raise ValueError(f"a shingle has at least one token, not {n}")
        self.n = n
        self._hashes = TokenHashes(tokenizer)

    def __call__(self, texts: Sequence[str]) -> ShingleSets:
        """The shingle sets of these texts, measured together."""
        hashes, counts = self._hashes(texts)
        padded = np.where(counts > 0, np.maximum(counts, self.n), 0)  # by zeros, up to one shingle
        first = np.cumsum(padded) - padded
        tokens = np.zeros(padded.sum(), np.uint64)
        tokens[ranges(first, counts)] = hashes
        sizes = np.maximum(padded - self.n + 1, 0)
        windows = ranges(first, sizes)
        values = tokens[windows]
        for step in range(1, self.n):
            values = values * _FACTOR + tokens[windows + step]
        return as_sets(values, np.repeat(np.arange(len(texts)), sizes), len(texts))


def ranges(starts: Numbers, sizes: Numbers) -> Numbers:
    """The places starts[i], starts[i] + 1, … of ``sizes[i]`` in a row, for each i, one after another."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + sizes, sizes)


def as_sets(values: Hashes, rows: Numbers, texts: int) -> ShingleSets:
    """Sets of what stands in each row, 0 to texts − 1; values may come in any order, and repeatedly.

    By sorting: `np.unique` puts integers into a hash table since numpy 2.3, which takes 30 times as long.
    """
    order = by_row(np.argsort(values), rows, texts)
    values, rows = values[order], rows[order]
    new = np.ones(len(values), bool)
    new[1:] = (values[1:] != values[:-1]) | (rows[1:] != rows[:-1])
    starts = np.concatenate(([0], np.cumsum(np.bincount(rows[new], minlength=texts))))
    return ShingleSets(values[new], starts)


def by_row(order: Numbers, rows: Numbers, texts: int) -> Numbers:
    """This order of values, within each row; rows ascend."""
    short = rows.astype(np.uint16) if texts <= 1 << 16 else rows  # numpy sorts 16 bits in linear time
    return order[np.argsort(short[order], kind="stable")]
