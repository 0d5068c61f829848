"""How many tokens a text likely is, by a rule of thumb: cheap, the same everywhere, and no model's own count."""

from __future__ import annotations

from typing import NamedTuple


class TextSize(NamedTuple):
    """What the rule goes by; sizes of texts add up to that of all of them."""

    bytes: int
    characters: int
    ascii: int

    @property
    def tokens(self) -> int:
        """4 bytes a token where the text is mostly ASCII (at most 5 bytes for 4 characters).

        Elsewhere a token for each character that is not ASCII, and for 4 that are. Ours: English is about 4 bytes a
        token with the tokenizers of today's models, and Chinese somewhat less than a token a character.
        """
        if self.bytes * 4 <= self.characters * 5:
            return -(-self.bytes // 4)
        return self.characters - self.ascii - (-self.ascii // 4)

    def plus(self, other: TextSize) -> TextSize:
        """The size of both texts together."""
        return TextSize(self.bytes + other.bytes, self.characters + other.characters, self.ascii + other.ascii)


NOTHING = TextSize(0, 0, 0)
"""The size of an empty text."""


def size_of(text: str) -> TextSize:
    """The size of a text; half a surrogate pair, which UTF-8 cannot carry, counts like any other character."""
    length = len(text)
    if text.isascii():
        return TextSize(length, length, length)
    return TextSize(len(text.encode("utf-8", "surrogatepass")), length, len(text.encode("ascii", "ignore")))


def estimate(text: str) -> int:
    """Tokens of a text, about: see `TextSize.tokens` for the rule."""
    return size_of(text).tokens
