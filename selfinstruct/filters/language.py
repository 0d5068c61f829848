"""Refuses an instruction written in another language than the run's, and an answer in a language nobody asked for.

How a language is told, and what that misses, is said at `selfinstruct.languages`.
"""

from __future__ import annotations

from typing import TypeVar

from selfinstruct.languages import NAMES, Languages
from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, Lang, TaskInstance

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)


class LanguageMatch:
    """Refuses what is not in the run's language; works on instructions and on whole tasks.

    * ``wrong_language``: the instruction is written in another language. What is quoted and what is code does not
      count: a Chinese sentence around English terms is Chinese, an English sentence that quotes 你好 is English. Where
      nothing tells (numbers, a bare mixture), it passes.
    * ``output_language``: the output is prose in another language, though neither the instruction nor the input names
      a language or code, or holds text in that other language. Only whole sentences count, see
      `selfinstruct.languages.SENTENCE` and ``CLAUSE``; labels, names, numbers and code never do.
    """

    def __init__(self, lang: Lang) -> None:
        self.lang = lang
        self._languages = Languages()

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """Why not, with the language that was found, or None."""
        language = self._languages.of_request(record.instruction)
        if language not in (None, self.lang):
            return Drop("wrong_language", f"the instruction is {NAMES[language]}")
        if not isinstance(record, TaskInstance):
            return None
        if self.lang == "en" and record.output.isascii():
            return None  # surely not in another language that we could tell
        answered = self._languages.of_prose(record.output)
        task = f"{record.instruction}\n{record.input}"
        if answered in (None, self.lang) or self._languages.may_answer_in(answered, task):
            return None
        return Drop("output_language", f"the output is {NAMES[answered]}")

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: this filter remembers nothing."""
        return record
