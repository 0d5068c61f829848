"""Refuses an output that declines, and any text in which a language model speaks of itself.

The words are data, ``rules/declines.en.toml`` and ``rules/declines.zh.toml``; both always apply. Whether a whole answer
declines is told by `selfinstruct.parsing.is_refusal`.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

from selfinstruct import parsing, rules
from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, TaskInstance

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

_LANGUAGES: Final = ("en", "zh")
_QUOTED: Final = re.compile(
    r"“[^“”]*”|‘[^‘’]*’|「[^「」]*」|『[^『』]*』|《[^《》]*》|(?<!\A)\"[^\"\n]*\"|(?<![\w\n])'[^'\n]*'(?!\w)|```.*?(?:```|\Z)|`[^`\n]*`",
    re.S,
)
_SHOWN: Final = 80


class Declines:
    """Refuses what an assistant says instead of, or beside, doing the task.

    * ``refusal``: the whole output only declines: "I'm sorry, but I can't help with that." An output that delivers
      after all, and a letter that declines an invitation, are kept.
    * ``as_an_ai``: a text speaks of itself as a language model: "As an AI language model, I …", "I don't have personal
      experiences", 作为一个人工智能语言模型，我…, 我的知识截止到…. It is looked for in every text, because such answers
      slip into instructions and inputs too.

    A text about such models ("AI language models are trained on …") and what stands in quotation marks or code is kept.
    So is an output in a machine's voice where the instruction names one ("Write an essay as an AI from 2050"), unless
    it says what only a model says of itself.
    """

    def __init__(self) -> None:
        self._speaks = _any_of("speaks")
        self._as_one = _any_of("as_one")
        self._is_one = _any_of("is_one")
        self._about = _any_of("about")

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first text that declines or speaks of itself, with its field and its words."""
        output = record.texts.get("output", "")
        if parsing.is_refusal(output):
            return Drop("refusal", f"output: {' '.join(output.split())[:_SHOWN]}")
        for field, text in record.texts.items():
            if said := self._said(text, record.instruction if field == "output" else None):
                return Drop("as_an_ai", f"{field}: {_shown(said)}")
        return None

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: this filter remembers nothing."""
        return record

    def _said(self, text: str, task: str | None) -> re.Match[str] | None:
        """Where a text speaks of itself; ``task`` is the instruction that an output follows."""
        plain = _QUOTED.sub(" ", text.replace("’", "'"))
        if said := self._speaks.search(plain):
            return said
        said = self._as_one.search(plain) or (None if task is None else self._is_one.search(plain))
        return None if said and task and self._about.search(task) else said


def _any_of(key: str) -> re.Pattern[str]:
    """A pattern of all the entries of a rule, in both languages; see rules/declines.en.toml."""
    entries: list[str] = []
    for lang in _LANGUAGES:
        values = {name: rule.value for name, rule in rules.explained(f"declines.{lang}").items()}
        entries += [entry.replace("SELF", f"(?:{'|'.join(values['self'])})") for entry in values[key]]
    return re.compile("|".join(f"(?:{entry})" for entry in entries), re.IGNORECASE | re.MULTILINE)


def _shown(match: re.Match[str]) -> str:
    start, end = match.span()
    return " ".join(match.string[start : max(end, start + 40)].split())[:_SHOWN]
