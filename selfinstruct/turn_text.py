"""A turn of a dialogue as the guards read it: without what is quoted, sentence by sentence, or folded for look-ups.

Several guards read the same turn one after the other, so the last few results are remembered.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_QUOTED: Final = re.compile(  # every branch begins with its own mark, by which the search jumps to it
    r"“[^“”]*”|‘[^‘’]*’|「[^「」]*」|『[^『』]*』|《[^《》]*》"
    r"|\"(?<!\A\")[^\"\n]*\"|'(?<![\w\n]')[^'\n]*'(?!\w)|```.*?(?:```|\Z)|`[^`\n]*`",
    re.S,
)
_SENTENCE: Final = re.compile(r"[^.!?。！？；\n]+(?:[.!?。！？；]+|$)?|\n", re.MULTILINE)
_ODD_CASE: Final = {"\u0130": "i", "\u0131": "i", "\u017f": "s", "\u212a": "k"}  # what a pattern takes for i, s and k

_REMEMBERED: Final = 64
"""Texts that are remembered: a turn, and the few parts of it and of its history that are read more than once."""

LONGEST_SENTENCE: Final = 400
"""Characters of a sentence that are read."""


@lru_cache(_REMEMBERED)
def unquoted(text: str) -> str:
    """The text with straight apostrophes, and a space for whatever stands in quotation marks or is code."""
    return _QUOTED.sub(" ", text.replace("’", "'"))


@lru_cache(_REMEMBERED)
def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text, each with its end mark and with single spaces."""
    found = (" ".join(match.group()[:LONGEST_SENTENCE].split()).strip('"“”*_ ') for match in _SENTENCE.finditer(text))
    return tuple(sentence for sentence in found if sentence)


@lru_cache(_REMEMBERED)
def folded(text: str) -> str:
    """The text in lower case and with single spaces; it holds the folded form of each of its sentences."""
    if not text.isascii():
        for odd, plain in _ODD_CASE.items():
            text = text.replace(odd, plain)
    return " ".join(text.lower().split())
