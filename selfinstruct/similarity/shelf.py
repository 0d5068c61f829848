"""Texts side by side: their tokens, lengths and signatures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selfinstruct.similarity.lcs_bounds import Ints
from selfinstruct.similarity.signatures import Words, signatures
from selfinstruct.similarity.spelling import Texts


class Shelf:
    """Texts with their lengths and signatures."""

    def __init__(self, texts: Texts) -> None:
        self.texts = texts
        ends = texts.ends()
        self._lengths = np.diff(ends, prepend=0)
        self._signatures = signatures(texts.every_code(), ends)

    @property
    def lengths(self) -> Ints:
        """Tokens of each text, shape (texts,)."""
        return self._lengths[: len(self.texts)]

    @property
    def signatures(self) -> Words:
        """Shape (texts, `WORDS`)."""
        return self._signatures[: len(self.texts)]

    @property
    def memory(self) -> int:
        """Bytes of its arrays."""
        return self.texts.memory + self._lengths.nbytes + self._signatures.nbytes

    def extend(self, other: Shelf, places: Sequence[int]) -> None:
        """Take some texts of another shelf."""
        start, end = len(self.texts), len(self.texts) + len(places)
        if end > len(self._lengths):
            more = max(end, len(self._lengths) * 5 // 4) - len(self._lengths)
            self._lengths = np.pad(self._lengths, (0, more))
            self._signatures = np.pad(self._signatures, ((0, more), (0, 0)))
        for place in places:
            self.texts.append(other.texts.codes(place))
        self._lengths[start:end] = other.lengths[places]
        self._signatures[start:end] = other.signatures[places]
