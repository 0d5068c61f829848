"""Every text against every other: what the originals do, here for what needs all scores, such as a mean over all."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from selfinstruct.similarity.spelling import Alphabet, Spelling, spelling


class WholePool:
    """Texts in memory, compared one and all: time linear in the pool, some 50 million pairs of short texts a second."""

    def __init__(self) -> None:
        self._alphabet = Alphabet()
        self._spellings: list[Spelling] = []
        self._lengths: list[int] = []

    def add(self, tokens: Sequence[str]) -> None:
        """Keep a text."""
        self._spellings.append(spelling(array("I", self._alphabet.spell(tokens))))
        self._lengths.append(len(tokens))

    def compare(self, tokens: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The longest common subsequence with each text, and the tokens of both together; shapes (texts,)."""
        mine = [spelling(array("I", self._alphabet.spell(tokens)))]
        lcs = process.cdist(mine, self._spellings, scorer=LCSseq.similarity, dtype=np.int32)
        return lcs[0].astype(np.int64), np.array(self._lengths, np.int64) + len(tokens)
