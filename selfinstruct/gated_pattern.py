"""A search for many expressions at once that costs next to nothing where none of them can be found.

An expression like ``\\b(?:can|could) you (?:please )?translat\\w*`` needs the letters "translat", whatever else it
allows. Such *stems* are derived from the expression itself, by Python's own parser of expressions, so that they follow
from the data and need no list of their own. A text in which no stem stands is not searched: of the turns of a
dialogue that is nearly every one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

from selfinstruct.turn_text import folded

# Python has no public reader of expressions. Whatever node these do not know has no stems, and is searched for always.
_REPEATS: Final = (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT)
_ZERO_WIDTH: Final = (ops.AT, ops.ASSERT, ops.ASSERT_NOT)

_MOST: Final = 8
"""Spellings of one run of letters that are told apart ("can you", "could you"); more cost more than they tell. Ours."""
_TELLING: Final = 4
"""Length from which a stem is rare enough; a Chinese character counts as two letters. Ours."""
_FEW: Final = 4
"""Characters of a class, such as ``[sz]``, that are told apart. Ours."""

_REMEMBERED: Final = 1024
"""Expressions whose stems are derived once: several guards go by the same rules."""

Stems = frozenset[str]
"""Any match holds one of them; none at all where that cannot be told."""


class GatedPattern:
    """Regular expressions of which any may be found, as if they were joined by ``|``."""

    def __init__(self, entries: Iterable[str], flags: int = re.IGNORECASE) -> None:
        self._entries = [_entry(entry, flags) for entry in entries]
        self._any = _Gate(_all_of([gate.stems for gate, _ in self._entries]))
        self._flags = flags

    @cached_property
    def _joined(self) -> re.Pattern[str]:
        return re.compile("|".join(f"(?:{pattern.pattern})" for _, pattern in self._entries), self._flags)

    def may_be_in(self, text: str) -> bool:
        """False where no expression matches anywhere in the text, nor in a sentence of it by itself."""
        return self._any.opens(folded(text))

    def search(self, text: str) -> re.Match[str] | None:
        """The leftmost match, and of those at one place the one of the first expression."""
        plain = folded(text)
        if not self._any.opens(plain):
            return None
        found = (pattern.search(text) for gate, pattern in self._entries if gate.opens(plain))
        return min(filter(None, found), key=lambda match: match.start(), default=None)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """All matches from left to right."""
        return self._joined.finditer(text) if self.may_be_in(text) else iter(())


class _Gate:
    """Opens for a folded text that holds one of the stems, and for any where there are none."""

    def __init__(self, needed: Stems) -> None:
        self.stems = needed
        self._every = sorted(stem for stem in needed if not any(other in stem for other in needed - {stem}))
        self._ascii = [stem for stem in self._every if stem.isascii()]

    def opens(self, plain: str) -> bool:
        """Whether a match is possible."""
        return not self.stems or any(map(plain.__contains__, self._ascii if plain.isascii() else self._every))


@lru_cache(_REMEMBERED)
def _entry(entry: str, flags: int) -> tuple[_Gate, re.Pattern[str]]:
    return _Gate(stems(entry, flags)), re.compile(entry, flags)


def stems(pattern: str, flags: int = 0) -> Stems:
    """Folded strings of which every text with a match of the pattern holds one; none where that cannot be told."""
    return _of_sequence(parser.parse(pattern, flags))[1]


def _of_sequence(nodes: Iterable[tuple[Any, Any]]) -> tuple[Stems, Stems]:
    """All there is to match, or nothing where that is too much; and the best stems of any part."""
    exact: Stems = frozenset({""})
    parts: list[Stems] = []
    whole = True
    for op, value in nodes:
        spelt, needed = _of_node(op, value)
        if spelt and len(exact) * len(spelt) <= _MOST:
            exact = frozenset(before + after for before in exact for after in spelt)
            continue
        whole = False
        parts += [_folded(exact), needed]
        exact = spelt or frozenset({""})
    best = max([*parts, _folded(exact)], key=_worth)
    return (exact if whole else frozenset()), best


def _of_node(op: Any, value: Any) -> tuple[Stems, Stems]:
    if op in _ZERO_WIDTH:
        return frozenset({""}), frozenset()
    if op is ops.LITERAL:
        return _of_character(chr(value)), frozenset()
    if op is ops.IN and len(value) <= _FEW and all(kind is ops.LITERAL for kind, _ in value):
        return _all_of([_of_character(chr(code)) for _, code in value]), frozenset()
    if op is ops.SUBPATTERN:
        return _of_sequence(value[-1])
    if op is ops.ATOMIC_GROUP:
        return _of_sequence(value)
    if op is ops.BRANCH:
        branches = [_of_sequence(branch) for branch in value[1]]
        return _all_of([spelt for spelt, _ in branches]), _all_of([needed for _, needed in branches])
    if op in _REPEATS:
        return _of_repeat(*value)
    return frozenset(), frozenset()


def _of_repeat(least: int, most: int, nodes: Iterable[tuple[Any, Any]]) -> tuple[Stems, Stems]:
    spelt, needed = _of_sequence(nodes)
    if least == 0:
        return (spelt | {""} if spelt and most == 1 else frozenset()), frozenset()
    return (spelt if least == most == 1 else frozenset()), needed


def _of_character(character: str) -> Stems:
    """The character as it stands in a folded text; none where that is not sure: white space, and letters like É."""
    sure = character == " " or (not character.isspace() and (character.isascii() or character.swapcase() == character))
    return frozenset({character.lower()}) if sure else frozenset()


def _folded(spelt: Stems) -> Stems:
    """As stems: folded texts have single spaces, and none at their ends."""
    found = frozenset(" ".join(entry.split()) for entry in spelt)
    return frozenset() if "" in found else found


def _all_of(parts: Sequence[Stems]) -> Stems:
    """Those of all the parts; nothing where one part has none."""
    return frozenset(chain.from_iterable(parts)) if all(parts) else frozenset()


def _worth(needed: Stems) -> tuple[int, int]:
    """How much stems tell: first the length of the shortest, then how few they are."""
    shortest = min((sum(1 if character.isascii() else 2 for character in stem) for stem in needed), default=0)
    return min(shortest, _TELLING), -len(needed)
