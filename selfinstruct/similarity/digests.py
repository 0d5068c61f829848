"""Which texts are known already? A table of digests and a list of names, in few bytes each."""

from __future__ import annotations

import hashlib
from array import array

DIGEST = 16
"""Bytes of a text's digest: of 10⁹ different texts, two have the same one with a chance of 10⁻²¹."""

FIRST_SLOTS = 1 << 10


def digest_of(text: str) -> bytes:
    """The digest of a text, white space at both ends aside."""
    return hashlib.blake2b(text.strip().encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


class Digests:
    """Digests with the number of the first text that had each: some 30 bytes a digest."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._numbers = array("I")
        self._slots = array("I", bytes(4 * FIRST_SLOTS))  # 0, or the place of a digest, from 1

    def number_of(self, digest: bytes) -> int | None:
        """The number under which it is known, or None."""
        place = self._slots[self._slot(digest)]
        return self._numbers[place - 1] if place else None

    def add(self, digest: bytes, number: int) -> None:
        """Remember the number of a digest that is not known yet."""
        slot = self._slot(digest)
        if self._slots[slot]:
            return
        self._digests += digest
        self._numbers.append(number)
        self._slots[slot] = len(self._numbers)
        if 3 * len(self._numbers) > 2 * len(self._slots):
            self._enlarge()

    def _slot(self, digest: bytes) -> int:
        """The slot of this digest, or the empty one where it belongs."""
        last = len(self._slots) - 1
        slot = int.from_bytes(digest[:8], "little") & last
        while (place := self._slots[slot]) and self._at(place) != digest:
            slot = (slot + 1) & last
        return slot

    def _at(self, place: int) -> bytes:
        return bytes(self._digests[DIGEST * (place - 1) : DIGEST * place])

    def _enlarge(self) -> None:
        """Twice as many slots: at most two thirds are taken, so a search ends after a few steps."""
        self._slots = array("I", bytes(8 * len(self._slots)))
        for place in range(1, len(self._numbers) + 1):
            self._slots[self._slot(self._at(place))] = place


class Names:
    """A list of short texts in one piece of memory: their UTF-8 bytes and 8 more each, where a string takes 50 more."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> str:
        return self._bytes[self._ends[number] : self._ends[number + 1]].decode("utf-8", "surrogatepass")

    def append(self, name: str) -> None:
        """Put a name behind the others."""
        self._bytes += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))
