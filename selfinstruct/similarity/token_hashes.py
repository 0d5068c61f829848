"""The tokens of many texts at once, as numbers: what `tokens` gives, in a third of the time and without the strings."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt

from selfinstruct.similarity.tokens import Tokenizer, tokens

Numbers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_LAST = 0xFFFF  # no character; what lies beyond it is in no token
_FACTOR = np.uint64(0xD6E8FEB86659FD93)  # an arbitrary odd number
_MIXERS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # of SplitMix64


class TokenHashes:
    """Turns texts into the hashes of their tokens: 64 bits that depend on a token's characters alone.

    So they are the same in every process and on every machine; two tokens share one with a chance of about 2⁻⁶⁴.
    Raises ValueError for another tokenizer than those of `tokens`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer not in get_args(Tokenizer):
            raise ValueError(f"tokenizer must be en, zh or auto, not {tokenizer!r}")
        self.tokenizer = tokenizer
        # Every character is asked for alone; what comes back are those that texts consist of once they are plain.
        alone = "".join(token for token in tokens(" ".join(map(chr, range(_LAST))), tokenizer) if len(token) == 1)
        codes = np.frombuffer(alone.encode("utf-32-le"), "<u4")
        self._within = np.zeros(_LAST + 1, bool)  # tokens, by code point
        self._within[codes] = True
        self._joins = np.zeros(_LAST + 1, bool)  # the character before, where that joins too: ASCII runs
        self._joins[codes[codes < 0x80]] = True

    def __call__(self, texts: Sequence[str]) -> tuple[Hashes, Numbers]:
        """The hashes of all tokens in order, shape (tokens,), and how many each text has, shape (texts,)."""
        plain = [self._plain(text) for text in texts]
        codes = np.frombuffer("\n".join(plain).encode("utf-32-le", "surrogatepass"), "<u4")
        codes = np.minimum(codes, _LAST)
        joins = self._joins[codes]
        starts_token = np.ones(len(codes), bool)
        starts_token[1:] = ~(joins[1:] & joins[:-1])
        inside = np.flatnonzero(self._within[codes])
        starts = np.flatnonzero(starts_token[inside])
        hashes = _hashes(codes[inside], starts)
        ends = np.cumsum(np.fromiter((len(text) + 1 for text in plain), np.int64, len(plain)))
        return hashes, np.diff(np.searchsorted(inside[starts], ends), prepend=0)

    def _plain(self, text: str) -> str:
        """The text as its tokens spell it."""
        return text.lower() if self.tokenizer == "en" else unicodedata.normalize("NFKC", text).lower()


def _hashes(codes: npt.NDArray[np.uint32], starts: Numbers) -> Hashes:
    """The hash of each run of codes that begins at one of these places: a polynomial of the codes, then mixed."""
    if not len(starts):
        return np.zeros(0, np.uint64)
    sizes = np.diff(starts, append=len(codes))
    powers = np.cumprod(np.full(sizes.max(), _FACTOR))
    places = np.arange(len(codes)) - np.repeat(starts, sizes)
    values: Hashes = np.add.reduceat(codes * powers[places], starts)
    values = (values ^ values >> np.uint64(30)) * _MIXERS[0]
    values = (values ^ values >> np.uint64(27)) * _MIXERS[1]
    return values ^ values >> np.uint64(31)
