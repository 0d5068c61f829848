"""Texts as numbers, one for each distinct token, in few bytes; spelled out only when two of them are compared."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Spelling = str | list[int]

FIRST = 0
"""The number of the first token."""

_CODEC = f"utf-32-{'le' if sys.byteorder == 'little' else 'be'}"


class Alphabet:
    """Gives each distinct token a number, in the order they are first seen."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def spell(self, tokens: Sequence[str]) -> list[int]:
        """The numbers of a text's tokens."""
        codes = self._codes
        try:
            return [codes[token] for token in tokens]
        except KeyError:
            return [codes.setdefault(token, FIRST + len(codes)) for token in tokens]


class Texts:
    """Any number of texts as token numbers: four bytes a token, and eight a text."""

    def __init__(self, texts: Iterable[Sequence[int]] = ()) -> None:
        self._codes = array("I")
        self._ends = array("Q", [0])
        for text in texts:
            self.append(text)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def memory(self) -> int:
        """Bytes of its arrays."""
        return self._codes.itemsize * len(self._codes) + self._ends.itemsize * len(self._ends)

    def append(self, codes: Sequence[int]) -> None:
        """Take a text."""
        self._codes.extend(codes)
        self._ends.append(len(self._codes))

    def codes(self, number: int) -> array[int]:
        """The token numbers of a text."""
        return self._codes[self._ends[number] : self._ends[number + 1]]

    def every_code(self) -> npt.NDArray[np.int64]:
        """The token numbers of all texts, one text after the other."""
        return np.array(self._codes, np.int64)

    def ends(self) -> npt.NDArray[np.int64]:
        """Where each text ends among them."""
        return np.array(self._ends[1:], np.int64)

    def spelled(self, numbers: Iterable[int]) -> dict[int, Spelling]:
        """Some of the texts, spelled for rapidfuzz."""
        return {number: spelling(self.codes(number)) for number in set(numbers)}


def spelling(codes: array[int]) -> Spelling:
    """A string with one character a token: what rapidfuzz compares fastest.

    There are about 1.1 million characters (surrogates serve too, as nothing here is ever encoded); a text with a token
    beyond them is spelled as the list of its numbers, which rapidfuzz compares with a string as it would two strings.
    """
    try:
        return codes.tobytes().decode(_CODEC, "surrogatepass")
    except UnicodeDecodeError:
        return codes.tolist()
