"""A guard against turns in which a model declines, or speaks of itself as a model.

The words are data: ``rules/declining.en.toml`` and ``rules/declining.zh.toml`` for a user's turn, those of
`selfinstruct.self_reference` for both sides'. Both languages always apply.
"""

from __future__ import annotations

import re
from typing import Final

from selfinstruct import parsing, rules
from selfinstruct.gated_pattern import GatedPattern
from selfinstruct.parsing.markup import simplified
from selfinstruct.protocols import Drop, Turn
from selfinstruct.self_reference import SelfReference, shown
from selfinstruct.turn_text import unquoted

LONGEST: Final = 800
"""Characters of a user's turn that is looked at: a longer one is text that somebody pasted, and may be a chat."""

_SHOWN: Final = 80
_LANGUAGES: Final = ("en", "zh")
_PARTS: Final = {"cannot", "play", "part", "somebody"}
_SENTENCE_START: Final = re.compile(r"[.!?。！？\n](?=[^.!?。！？\n]*\Z)")


class Declining:
    """Refuses a turn that declines, or that says that a model speaks.

    * ``refusal``: an assistant's turn that as a whole only declines ("I'm sorry, but I can't help with that"), or a
      user's turn in which the model that plays the user gives up ("As an AI, I cannot pretend to be the user").
    * ``as_an_ai``: the turn speaks of itself as a language model ("As an AI, I have no feelings").

    What is quoted or code does not count, nor an answer in a machine's voice where a user's turn named a machine. A
    person may well say that an AI is spoken to ("As an AI, what do you think?"), or that a bot of his own says so.
    """

    def __init__(self) -> None:
        self._self_reference = SelfReference()
        english, chinese = _values("en"), _values("zh")
        self._gives_up = _any_of([_either(english["opens"]) + _either(english["gives_up"]), *chinese["gives_up"]])
        sorry = (
            rf"\A\W*(?:{_either([*english['sorry'], *chinese['sorry']])}[^\w.?]{{0,3}}(?:(?:but|that|however),? )?)?"
        )
        self._at_once = _any_of([sorry + _either([*english["gives_up_at_once"], *chinese["gives_up_at_once"]])])
        self._person_says = _any_of([*english["person_says"], *chinese["person_says"]])
        self._speaks_to_it = _any_of([*english["speaks_to_it"], *chinese["speaks_to_it"]])
        self._lacks = _any_of([*english["lacks"], *chinese["lacks"]])
        self._reports = _any_of([*english["reports"], *chinese["reports"]])

    def check(self, turn: Turn) -> Drop | None:
        """Why the dialogue cannot go on with this turn, or None."""
        if turn.role == "user":
            return self._of_user(turn.text)
        task = "\n".join(message.content for message in turn.history if message.role == "user")
        said = self._self_reference.first(turn.text, task)
        if parsing.is_refusal(turn.text) and not (said and self._lacks.search(unquoted(turn.text))):
            return Drop("refusal", f"assistant: {' '.join(turn.text.split())[:_SHOWN]}")
        return Drop("as_an_ai", f"assistant: {shown(said)}") if said else None

    def _of_user(self, text: str) -> Drop | None:
        if len(text) > LONGEST:
            return None
        plain = simplified(unquoted(text))
        if said := self._gives_up.search(plain) or self._at_once.search(plain):
            return Drop("refusal", f"user: {shown(said).lstrip('.!?,; –—-')}")
        own = (match for match in self._self_reference.every(text) if not self._is_a_person_s(match))
        return Drop("as_an_ai", f"user: {shown(match)}") if (match := next(own, None)) else None

    def _is_a_person_s(self, match: re.Match[str]) -> bool:
        """True where a person may say so, or reports what somebody says."""
        text, start = match.string, match.start()
        begun = _SENTENCE_START.search(text[:start])
        before = text[begun.end() if begun else 0 : start]
        if self._reports.search(before) or self._person_says.search(match.group()):
            return True
        return self._speaks_to_it.search(text[start : match.end() + _SHOWN]) is not None


def _values(lang: str) -> dict[str, list[str]]:
    """The patterns of a language's rules, with what the words in capitals stand for."""
    values = {name: rule.value for name, rule in rules.explained(f"declining.{lang}").items()}
    for part in _PARTS & values.keys():
        stands_for = _either(values.pop(part))
        values = {
            name: [entry.replace(part.upper(), stands_for) for entry in entries] for name, entries in values.items()
        }
    return values


def _either(entries: list[str]) -> str:
    return f"(?:{'|'.join(f'(?:{entry})' for entry in entries)})"


def _any_of(entries: list[str]) -> GatedPattern:
    return GatedPattern(entries, re.IGNORECASE | re.MULTILINE)
