"""Finds what must not be passed on: patterns kept as data, each with tests that a mere look-alike fails.

A pattern is a table of a rule file (see `selfinstruct.rules`); the tests are functions of whoever looks, named in
the table. Full-width letters and digits are read as what they stand for. A text costs little where nothing is found:
a pattern is tried only where one of its hints stands.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

from selfinstruct.errors import UsageProblem
from selfinstruct.rules import Rule
from selfinstruct.schema import Noun

Test = Callable[[str], bool]
"""What a match has to pass: True where the characters found are the real thing."""

_WIDE: Final = re.compile("[\uff0b\uff10-\uff19\uff1d\uff20-\uff3a\uff41-\uff5a]")
_NARROW: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


class Pattern(Noun):
    """The value of one table of a rule file: one kind of thing to look for.

    ``pattern`` is read with ASCII classes, so that a Chinese character beside a token is its border; what counts is
    the group ``value``, where there is one, and a match without it is passed over, with all it spans. It is tried where
    one of the ``hints`` stands, in small letters here, or where there are none, and where the text has so many
    ``digits``. ``test`` names what a match has to pass, ``entropy`` is the least it must have in bits a character.
    ``examples`` are published numbers that everybody quotes; they are no finding. A kind that is not ``usual`` is
    looked for only where it is asked for.
    """

    pattern: str
    hints: tuple[str, ...] = ()
    digits: int = 0
    test: str = ""
    entropy: float = 0
    examples: tuple[str, ...] = ()
    usual: bool = True


class Found(NamedTuple):
    """What was found in a text: the kind, which is the name of its rule, and the characters."""

    kind: str
    value: str


class Finder:
    """Looks through texts for the kinds of a rule file, in the file's order.

    ``also`` names kinds to look for beyond the usual ones, ``keep`` those to leave alone; a name that is not in the
    file raises `UsageProblem`. Tables whose value is not a pattern are passed over: they are lists for the tests.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        tests: Mapping[str, Test],
        *,
        also: Collection[str] = (),
        keep: Collection[str] = (),
    ) -> None:
        kinds = {
            name: Pattern.model_validate(rule.value)
            for name, rule in rules.items()
            if isinstance(rule.value, dict) and "pattern" in rule.value
        }
        for name in (*also, *keep):
            if name not in kinds:
                raise UsageProblem(f"no kind '{name}' to look for; there are: {', '.join(kinds)}")
        self.kinds = {n: kind for n, kind in kinds.items() if n not in keep and (kind.usual or n in also)}
        self._compiled = {name: re.compile(kind.pattern, re.ASCII) for name, kind in self.kinds.items()}
        self._tests = {name: tests[kind.test] for name, kind in self.kinds.items() if kind.test}
        self._examples = {name: frozenset(map(_bare, kind.examples)) for name, kind in self.kinds.items()}

    def first(self, text: str, keep: Collection[str] = ()) -> Found | None:
        """The first finding of the first kind that has one, the kinds of ``keep`` left out; or None."""
        if not text.isascii() and _WIDE.search(text):
            text = text.translate(_NARROW)
        small = text.lower()
        digits = sum(map(text.count, string.digits))
        for name, kind in self.kinds.items():
            hinted = not kind.hints or any(hint in small for hint in kind.hints)
            if digits < kind.digits or not hinted or name in keep:
                continue
            for match in self._compiled[name].finditer(text):
                value = match["value"] if "value" in match.re.groupindex else match.group()
                if value and self._is_real(name, value):
                    return Found(name, value)
        return None

    def _is_real(self, name: str, value: str) -> bool:
        if _bare(value) in self._examples[name] or entropy(value) < self.kinds[name].entropy:
            return False
        test = self._tests.get(name)
        return test is None or test(value)


def entropy(text: str) -> float:
    """Shannon entropy of the characters, in bits a character: 0 for one repeated, 4.7 for random capital letters."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def masked(value: str) -> str:
    """So much of a finding as lets its owner know it: four characters and the last two; two of a short one."""
    shown = " ".join(value.split())
    return f"{shown[:4]}…{shown[-2:]}" if len(shown) > 10 else f"{shown[:2]}…"


def _bare(value: str) -> str:
    return re.sub(r"[\s-]", "", value)
