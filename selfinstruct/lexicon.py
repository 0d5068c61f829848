"""Finds the entries of word lists in a text: phrases with alternatives, in English and Chinese, thousands at once.

A text is read as atoms: words, single Chinese characters, and what ends a clause or opens a quotation. An entry is a
pattern over atoms. Patterns are dear, so an entry is looked up by its rarest word or pair of neighbouring atoms first,
and most texts are done with after that glance.

How an entry is written: words in a row (Chinese needs no spaces); ``{name}`` for any member of a class, ``(a|b)`` for
one of those, ``[a|b]`` for one of those or nothing, ``~3`` for at most three atoms of the same clause, and, in a
choice, ``.`` for the end of a clause.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice, pairwise, product
from operator import add
from typing import Any, Final, NamedTuple

Unit = tuple[str, ...]
"""One atom, or two in a row: what entries are looked up by."""

ZIPF: Final = 20_000
"""The commonest word costs as much to look up as so many pairs of words, the second half of that, and so on."""

LONE: Final = 10
"""A word that is not among the commonest costs as much as so many pairs of words."""

MOST_LOOKS: Final = 40
"""To look for more than this costs as much as the pattern itself."""

MOST_PAIRS: Final = 400
"""More pairs than this are no key: they would find as much as they spare."""

HAN: Final = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
QUOTES: Final = '"“”«»「」『』'
BORDERS: Final = f".!?;:,，！？；：、。…\n{QUOTES}"
"""What ends a clause or opens a quotation; a full stop and a comma only where they do not join letters."""

_EMOJI: Final = r"\U0001f000-\U0001faff"
_LETTER: Final = r"a-z0-9\u00aa-\u1fff\u2070-\u23ff\u2c00-\u2dff\u3040-\u30ff\uac00-\ud7ff"  # of scripts with words
_WORD: Final = re.compile(f"[{_LETTER}]+(?:'[{_LETTER}]+)?")
_ATOM: Final = re.compile(
    rf"[{HAN}{_EMOJI}]|[{_LETTER}]+(?:'[{_LETTER}]+)?|[!?;:，！？；：、。…\n{QUOTES}]"
    rf"|(?<![{HAN}])\.(?![{_LETTER}])|\.(?![{_LETTER}{HAN}])|(?<=[{HAN}]),|,(?=[{HAN}])"
)
_DIVIDERS: Final = re.compile(r"[ *_.·~|/-]+")  # what a disguise may put between two Chinese characters
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
_COMPATIBLE: Final = re.compile(
    "[\u0300-\u036f\u1d2c-\u1d6a\u2071-\u209c\u2102-\u214f\u24b6-\u24e9\u2e80-\u2fdf\uf900-\ufaff\ufb00-\ufb06"
    "\uff04\uff0a\uff10-\uff19\uff20-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff\U0001f110-\U0001f189]"
)
_PART: Final = re.compile(r"\{(\w+)\}|\[([^\]]*)\]|\(([^)]*)\)|~(\d{1,2})|([^\s{}\[\]()~]+)")


def fold(text: str) -> str:
    """The text without case, full-width and other compatibility forms of letters, and invisible characters."""
    if text.isascii():
        return text.lower()
    if _COMPATIBLE.search(text):
        text = unicodedata.normalize("NFKC", text)
    return _INVISIBLE.sub("", text).casefold().replace("’", "'")


def in_atoms(folded: str) -> str:
    """A folded text as patterns read it: a space before every atom, and the end of a clause at the end."""
    return f" {' '.join(_ATOM.findall(folded))} . "


class Reading(NamedTuple):
    """The pattern of an entry, and its keys: sets of units, of each of which any match holds one; the rarest first.

    ``first`` and ``last`` are the atoms that a match may begin and end with, none where that cannot be said.
    """

    pattern: str
    keys: Sequence[frozenset[Unit]]
    first: frozenset[str] = frozenset()
    last: frozenset[str] = frozenset()


class Entry:
    """A line of a list under the name of its list: how it is looked up, what else must be there, and its pattern."""

    def __init__(self, name: str, strength: str, reading: Reading) -> None:
        self.name, self.strength = name, strength
        self.units = reading.keys[0]
        short = sorted((key for key in reading.keys if len(key) <= MOST_LOOKS), key=len)
        self._needed = [frozenset(map("".join, key)) for key in short]
        self._source = reading.pattern

    def may_be_in(self, words: set[str], characters: str) -> bool:
        """False where a text of these words, pairs of words and characters cannot hold it: cheaper than the pattern."""
        return all(not words.isdisjoint(key) or any(map(characters.__contains__, key)) for key in self._needed)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """To be searched for in a text as `in_atoms` gives it; compiled when it is first needed."""
        return re.compile(f"{self._source}(?= )")


class Grammar:
    """Reads entries by the ``classes``, ``variants`` and ``common`` words of all lists; classes of one name add up.

    ``variants`` are the other forms of a character; ``common`` are frequent words and characters, the commonest first.
    ``words`` are the words met so far, for whoever wants to see through disguises.
    """

    def __init__(self, tables: Iterable[Mapping[str, Any]]) -> None:
        self._classes: dict[str, list[str]] = defaultdict(list)
        self._variants: dict[str, str] = {}
        self._frequency: dict[str, float] = {}
        self._known: dict[str, Reading] = {}
        self._open: set[str] = set()
        self.words: set[str] = set()
        for table in tables:
            for name, members in table.get("classes", {}).items():
                self._classes[name].extend(members)
            self._variants.update(table.get("variants", {}))
            self._frequency |= {word: ZIPF / rank for rank, word in enumerate(table.get("common", ()), start=1)}

    def read(self, entry: str) -> Reading:
        """What an entry says; raises ValueError, with why, where it is not written as one."""
        if rest := _PART.sub("", entry).strip():
            raise ValueError(f"'{entry}': '{rest}' is not opened or not closed")
        parts: list[Reading] = []
        for name, optional, choice, gap, literal in _PART.findall(entry):
            if gap:
                parts.append(Reading(rf"(?: \w[^ ]*){{0,{gap}}}", ()))
            elif optional:
                parts.append(Reading(f"{self._choice(optional.split('|')).pattern}?", ()))
            elif literal:
                parts.append(self.literal(literal))
            else:
                parts.append(self._class(name) if name else self._choice(choice.split("|")))
        keys = [key for part in parts for key in part.keys]
        for one, other in pairwise(parts):  # what the end of one makes with the beginning of the next is a key, too
            if 0 < len(one.last) * len(other.first) <= MOST_PAIRS:
                keys.append(frozenset(product(one.last, other.first)))
        if not keys:
            raise ValueError(f"'{entry}': nothing in it must be there")
        pattern = "".join(part.pattern for part in parts)
        return Reading(pattern, sorted(keys, key=self._cost), parts[0].first, parts[-1].last)

    def literal(self, text: str) -> Reading:
        """The same for a text without any syntax."""
        atoms = [atom for atom in _ATOM.findall(fold(text)) if atom not in BORDERS]
        if not atoms:
            raise ValueError(f"'{text}' holds no letter and no character")
        self.words.update(atom for atom in atoms if atom.isascii())
        forms = [(atom, *self._variants.get(atom, "")) for atom in atoms]
        keys = [frozenset[Unit](product(*two)) for two in pairwise(forms)] or [frozenset(product(forms[0]))]
        pattern = "".join(map(self._atom, atoms))
        return Reading(pattern, sorted(keys, key=self._cost), frozenset(forms[0]), frozenset(forms[-1]))

    def frequency(self, atom: str) -> float:
        """How common a word or character is: 0 for all that are not among the commonest."""
        return self._frequency.get(atom, 0)

    def _class(self, name: str) -> Reading:
        if name not in self._classes:
            raise ValueError(f"no class '{name}'; there are: {', '.join(sorted(self._classes))}")
        if name in self._open:
            raise ValueError(f"the class '{name}' holds itself")
        if name not in self._known:
            self._open.add(name)
            self._known[name] = self._choice(self._classes[name])
            self._open.remove(name)
        return self._known[name]

    def _choice(self, alternatives: Iterable[str]) -> Reading:
        parts = []
        for alternative in alternatives:
            if alternative == ".":  # no unit to look an entry up by
                parts.append(Reading(f" [{BORDERS}]", ()))
            else:
                parts.append(self.read(alternative) if "{" in alternative else self.literal(alternative))
        keys = [frozenset[Unit]().union(*(part.keys[0] for part in parts))] if all(part.keys for part in parts) else []
        first, last = (
            frozenset[str]().union(*ends) if all(ends) else frozenset[str]()
            for ends in ([part.first for part in parts], [part.last for part in parts])
        )
        return Reading(f"(?:{'|'.join(part.pattern for part in parts)})", keys, first, last)

    def _cost(self, key: Iterable[Unit]) -> tuple[float, list[Unit]]:
        """How often a key is met, by Zipf's law; the key itself makes the order certain."""
        return sum(map(self._unit_cost, key)), sorted(key)

    def _unit_cost(self, unit: Unit) -> float:
        if len(unit) == 1:
            return LONE + self.frequency(unit[0])
        return 1 + max(self.frequency("".join(unit)), min(map(self.frequency, unit)) / LONE)

    def _atom(self, atom: str) -> str:
        return f" [{atom}{self._variants[atom]}]" if atom in self._variants else f" {re.escape(atom)}"


class Scout:
    """Sees by a glance which entries a text may hold."""

    def __init__(self, entries: Sequence[Entry], frequency: Callable[[str], float]) -> None:
        self._entries = entries
        self._by_unit: dict[Unit, set[int]] = defaultdict(set)
        for place, entry in enumerate(entries):
            for unit in entry.units:
                self._by_unit[tuple(filter(_WORD.fullmatch, unit)) or unit].add(place)
        self._of_word: dict[str, list[Unit]] = defaultdict(list)
        characters, pairs = {"-"}, [("-", "-")]  # a class of characters must not be empty
        for unit in self._by_unit:
            if _WORD.fullmatch(unit[0]):
                self._of_word[min(unit, key=lambda word: (frequency(word), -len(word)))].append(unit)
            elif len(unit) == 1:
                characters.add(unit[0])
            else:
                pairs.append((unit[0], unit[1]))
        self._words = frozenset(self._of_word)
        firsts, seconds = ("".join(sorted(set(each))) for each in zip(*pairs, strict=True))
        self._pair = re.compile(f"(?=([{firsts}])[ *_.·~|/-]{{0,3}}([{seconds}]))")
        self._character = re.compile(f"[{''.join(sorted(characters))}]")

    def entries(self, folded: str) -> list[Entry]:
        """What the folded text may hold, in the order of the list."""
        words = _WORD.findall(folded)
        seen: set[Unit] = set()
        if not folded.isascii():
            seen.update(zip(self._character.findall(folded)), self._pair.findall(folded))
            seen &= self._by_unit.keys()
        if hot := self._words.intersection(words):
            present = frozenset(words)
            seen.update(unit for word in hot for unit in self._of_word[word] if present.issuperset(unit))
        if not seen:
            return []
        words_and_pairs = {*words, *map(add, words, islice(words, 1, None))}
        characters = "" if folded.isascii() else _DIVIDERS.sub("", folded)
        places = sorted(set[int]().union(*map(self._by_unit.__getitem__, seen)))
        return [
            entry for entry in map(self._entries.__getitem__, places) if entry.may_be_in(words_and_pairs, characters)
        ]
