"""Refuses instructions whose wording alone shows that a text model cannot follow them.

The rules are data, one set a stage and language (see `selfinstruct.rules`), so there is one filter for English and
Chinese. The English values are those of Self-Instruct's published code (`bootstrap_instructions.py`), or of Alpaca's.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TypeVar

from selfinstruct.protocols import Drop
from selfinstruct.rules import Rules
from selfinstruct.schema import Instruction, TaskInstance

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

_NEVER = "(?!)"  # an empty list forbids nothing, where an empty alternation would match any text
_SCRIPTS_MEET = re.compile(r"(?<=[\u4e00-\u9fff])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?=[\u4e00-\u9fff])")


class Heuristics:
    """Refuses an instruction that is too short or long, asks for what text cannot give, or starts oddly.

    Runs of white space count as one space. The rules are tried in the order of the reasons here, and the first that
    fails is the reason: ``too_short``, ``too_long``, ``blacklisted_word`` (with the field where it stands),
    ``program_request`` (a refused opening: a plain prefix, so "Write programs" is kept and "Write a programme" is not),
    ``starts_with_punctuation``, ``starts_non_ascii``. What each of them asks for is said at `Rules`.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        match_case = rules.openings_match_case
        self._openings = tuple(rules.openings if match_case else (opening.lower() for opening in rules.openings))
        if rules.blacklist_match == "word":
            spared, refused = (
                rf"\b(?:{_either(map(re.escape, words))})\b" for words in (rules.blacklist_except, rules.blacklist)
            )
        else:
            spared, refused = (_either(map(_spaced, words)) for words in (rules.blacklist_except, rules.blacklist))
        # What is spared is tried first: where it matches, the search for what is refused goes on behind it.
        self._blacklisted = re.compile(f"{spared}|(?P<refused>{refused})", re.IGNORECASE)

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first rule the record breaks, with the count, word or character that broke it."""
        text = " ".join(record.instruction.split())
        return self._length(text, record) or self._words(text, record) or self._beginning(text)

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: these rules remember nothing."""
        return record

    def _length(self, text: str, record: Instruction | TaskInstance) -> Drop | None:
        unit, least, most = self.rules.unit, self.rules.min_length, self._longest(text, record)
        spaces = text.count(" ")
        length = len(text) - spaces if unit == "characters" else spaces + bool(text)
        if length < least:
            return Drop("too_short", f"{length} {unit}, at least {least}")
        if most is not None and length > most:
            return Drop("too_long", f"{length} {unit}, at most {most}")
        return None

    def _longest(self, text: str, record: Instruction | TaskInstance) -> int | None:
        rules = self.rules
        if rules.max_length_with_input is None or not isinstance(record, TaskInstance) or not record.input:
            return rules.max_length
        if rules.max_length_with_example is not None and any(word in text for word in rules.example_words):
            return rules.max_length_with_example
        return rules.max_length_with_input

    def _words(self, text: str, record: Instruction | TaskInstance) -> Drop | None:
        for field, value in self._searched(text, record):
            for match in self._blacklisted.finditer(value):
                if match.lastgroup:
                    return Drop("blacklisted_word", f"{match.group()} in the {field}")
        return None

    def _searched(self, text: str, record: Instruction | TaskInstance) -> Iterator[tuple[str, str]]:
        yield "instruction", text
        if self.rules.blacklist_scope == "record" and isinstance(record, TaskInstance):
            yield "input", record.input
            yield "output", record.output

    def _beginning(self, text: str) -> Drop | None:
        if self._openings:
            for opening in self._openings:
                if (text if self.rules.openings_match_case else text.lower()).startswith(opening):
                    return Drop("program_request", text[: len(opening)])
        first = text[0]  # there is one: no rule asks for less than one word or character
        if self.rules.first_character == "ascii" and not first.isascii():
            return Drop("starts_non_ascii", first)
        if first not in self.rules.opening_marks and _is_punctuation(first):
            return Drop("starts_with_punctuation", first)
        return None


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _either(patterns: Iterable[str]) -> str:
    return "|".join(patterns) or _NEVER


def _spaced(entry: str) -> str:
    """The pattern of an entry; where Chinese and Latin letters meet, a writer may have put a space."""
    return " ?".join(re.escape(part) for part in _SCRIPTS_MEET.split(entry))
