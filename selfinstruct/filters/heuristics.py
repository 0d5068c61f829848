"""Refuses English instructions whose wording alone shows that a text model cannot follow them.

The rules are those of Self-Instruct's published code (`bootstrap_instructions.py`, where a list of tasks is read). They
are made for English: whitespace separates words and the first character is ASCII. Chinese needs a filter of its own.
"""

from __future__ import annotations

import re
import string
from typing import TypeVar

from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, TaskInstance

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)


class Heuristics:
    """Refuses an instruction that is too short or long, asks for what text cannot give, or starts oddly.

    Lengths are counted in whitespace words, both limits included (4 to 150 in Self-Instruct). Words and phrases of the
    ``blacklist`` count only as whole words, in any case. An instruction is a program request when it starts with
    ``program_opening``: a plain prefix, so "Write programs" is kept and "Write a programme" is not. Self-Instruct
    capitalised every instruction before it compared, so there the case does not matter; Alpaca did not capitalise
    (``match_case=True``). Runs of whitespace count as one space. Checks run in the order of the reasons here, and the
    first that fails is the reason: ``too_short``, ``too_long``, ``blacklisted_word``, ``program_request``,
    ``starts_with_punctuation`` (ASCII), ``starts_non_ascii``.
    """

    def __init__(
        self,
        *,
        min_words: int = 4,
        max_words: int = 150,
        blacklist: tuple[str, ...],
        program_opening: str = "Write a program",
        match_case: bool = False,
    ) -> None:
        self.min_words = min_words
        self.max_words = max_words
        self.match_case = match_case
        self._opening = program_opening if match_case else program_opening.lower()
        # (?!) never matches: an empty list forbids nothing, where an empty alternation would match any text.
        words = "|".join(re.escape(word) for word in blacklist) or "(?!)"
        self._blacklisted = re.compile(rf"\b(?:{words})\b", re.IGNORECASE)

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first rule the instruction breaks, with the count, word or character that broke it."""
        words = record.instruction.split()
        if len(words) < self.min_words:
            return Drop("too_short", f"{len(words)} words, at least {self.min_words}")
        if len(words) > self.max_words:
            return Drop("too_long", f"{len(words)} words, at most {self.max_words}")
        return self._wording(" ".join(words))

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: these rules remember nothing."""
        return record

    def _wording(self, text: str) -> Drop | None:
        if found := self._blacklisted.search(text):
            return Drop("blacklisted_word", found.group())
        if self._opening and (text if self.match_case else text.lower()).startswith(self._opening):
            return Drop("program_request", text[: len(self._opening)])
        if text.startswith(tuple(string.punctuation)):
            return Drop("starts_with_punctuation", text[0])
        if not text[:1].isascii():
            return Drop("starts_non_ascii", text[0])
        return None
