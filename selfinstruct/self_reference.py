"""Where a text speaks of itself as a language model: "As an AI language model, I …", 我的知识截止到….

The words are data, ``rules/declines.en.toml`` and ``rules/declines.zh.toml``; both always apply. Texts about such
models, and what stands in quotation marks or code, say nothing of their writer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from selfinstruct import rules
from selfinstruct.gated_pattern import GatedPattern
from selfinstruct.turn_text import unquoted

_LANGUAGES: Final = ("en", "zh")
_SHOWN: Final = 80


class SelfReference:
    """Finds the words by which a language model gives itself away.

    Some of them no other writer says, whatever the task ("my training data ends in 2021"); others are fine where the
    task names a thinking machine, whose voice the text may be in ("Write an essay as an AI from 2050").
    """

    def __init__(self) -> None:
        self._speaks = _any_of("speaks")
        self._as_one = _any_of("as_one")
        self._is_one = _any_of("is_one")
        self._about = _any_of("about")

    def first(self, text: str, task: str | None = None) -> re.Match[str] | None:
        """Where a text speaks of itself; ``task`` is what it follows, None where it follows nothing."""
        plain = unquoted(text)
        if said := self._speaks.search(plain):
            return said
        said = self._as_one.search(plain) or (None if task is None else self._is_one.search(plain))
        return None if said and task and self._about.search(task) else said

    def every(self, text: str) -> Iterator[re.Match[str]]:
        """Every place where a text speaks of itself, whatever it follows; the surest ones first."""
        plain = unquoted(text)
        for pattern in (self._speaks, self._as_one, self._is_one):
            yield from pattern.finditer(plain)


def shown(match: re.Match[str]) -> str:
    """What was found, with a few words behind it, short enough for a line."""
    start, end = match.span()
    return " ".join(match.string[start : max(end, start + 40)].split())[:_SHOWN]


def _any_of(key: str) -> GatedPattern:
    """A pattern of all the entries of a rule, in both languages; see rules/declines.en.toml."""
    entries: list[str] = []
    for lang in _LANGUAGES:
        values = {name: rule.value for name, rule in rules.explained(f"declines.{lang}").items()}
        entries += [entry.replace("SELF", f"(?:{'|'.join(values['self'])})") for entry in values[key]]
    return GatedPattern(entries, re.IGNORECASE | re.MULTILINE)
