"""Ends a dialogue where the user answers what it should have asked: the model that plays it fell back to serving.

The words are data, ``rules/answering.en.toml`` and ``rules/answering.zh.toml``; both always apply.
"""

from __future__ import annotations

import re
from typing import Final

from selfinstruct import rules
from selfinstruct.gated_pattern import GatedPattern
from selfinstruct.protocols import Drop, Turn
from selfinstruct.similarity.tokens import tokens
from selfinstruct.turn_text import sentences, unquoted

_LANGUAGES: Final = ("en", "zh")
_SYMBOL: Final = re.compile(r"[{}();=<>\\|_$]")
_MARKS: Final = ".!?;。！？； "
_TITLED: Final = re.compile(r"^[ \t]*(?:\d{1,2}[.)、．]|[-*•])[ \t]*[^\n:：]{2,60}[:：][^\n]*", re.MULTILINE)

_SHOWN: Final = 80
_HEAD: Final = 300
"""Characters at the beginning of a turn in which an answer opens."""
_PLAIN: Final = 12
"""Tokens that a turn needs to be more than a word of agreement."""
_LEAST: Final = 8
"""Tokens that a turn needs to be an answer at all."""
_LONG: Final = 30
"""Tokens from which a turn may be an exposition."""
_READ: Final = 4000
"""Characters of an exposition that are searched for its form."""
_ORDER: Final = 12
"""Tokens of an order at the end of a turn that hands something over ("Now rate it."); a longer one is handed over."""
_CODE: Final = 0.02
"""Share of the characters, from which on a text with so many symbols is code."""
_FORM, _MANNER, _ENOUGH = 2, 1, 3
"""What a sign of an exposition counts, and how many points make an answer.

At three, 11 of the 33 960 turns of people in 7 529 ShareGPT dialogues are refused, some of them real answers, and a
third of the assistants' answers when a user says them; at two it would be ten times as many turns, and half.
"""


class Answering:
    """Refuses a user's turn that answers and asks for nothing; the reason is ``answers``, the detail the words.

    An assistant's opening ("Certainly! Here are …", 好的，以下是…) or ending ("I hope this helps!", 希望对您有帮助)
    gives it away, and so does a long impersonal text after "Of course!". Where there is neither, a long text in which
    nobody says "I" is an answer if it has several signs of an exposition: a list with titles, "In conclusion, …", "You
    can …". Where the assistant asked for something, both an opening and an ending are needed, because there a user
    answers by right. A turn that asks or orders anything is kept, and the opener is never judged.
    """

    def __init__(self) -> None:
        self._is = {key: _any_of(key) for key in _KEYS}
        self._forms, self._manners = (
            [re.compile(entry, re.IGNORECASE) for entry in _every(key)] for key in _EXPOSITION
        )

    def check(self, turn: Turn) -> Drop | None:
        """The opening, the ending, or the form that gives an answer away."""
        if turn.role == "assistant" or not turn.history:
            return None
        plain, before = unquoted(turn.text).strip(), turn.history[-1].content
        opening, ending = self._opening(plain, before), self._ending(plain)
        said = opening or ending or self._exposition(plain)
        if not said or not sentences(plain) or len(tokens(plain, "auto")) < _LEAST:
            return None
        if self._wants(plain, bool(opening)) or (self._asked(before) and not (opening and ending)):
            return None
        return Drop("answers", said[:_SHOWN])

    def _opening(self, text: str, before: str) -> str:
        if not any(self._is[key].may_be_in(text) for key in ("openings", "agreements")):
            return ""
        head = " ".join(text[:_HEAD].split())
        if self._is["openings"].search(head):
            return head
        if before.rstrip()[-1:] in ("?", "？") or len(tokens(text, "auto")) < _PLAIN:
            return ""
        return head if self._is["agreements"].search(head) and not self._is["first_person"].search(text) else ""

    def _ending(self, text: str) -> str:
        if not any(self._is[key].may_be_in(text) for key in _SERVICE) or self._is["letters"].search(text):
            return ""
        return next(filter(self._served, sentences(text)[-2:]), "")

    def _exposition(self, text: str) -> str:
        """The beginning of a long impersonal text that has an answer's form."""
        if (
            self._is["first_person"].search(text)
            or len(tokens(text, "auto")) < _LONG
            or self._is["letters"].search(text)
        ):
            return ""
        read = text[:_READ] if len(text) <= 2 * _READ else f"{text[:_READ]}\n{text[-_READ:]}"
        forms = sum(_FORM for sign in self._forms if sign.search(read))
        if not forms or len(_SYMBOL.findall(read)) > _CODE * len(read):
            return ""
        manners = sum(_MANNER for sign in self._manners if sign.search(read))
        return " ".join(read[:_HEAD].split()) if forms + manners >= _ENOUGH else ""

    def _served(self, sentence: str) -> bool:
        return any(self._says(key, sentence) for key in _SERVICE)

    def _wants(self, text: str, opened: bool) -> bool:
        """Whether the turn asks or orders: in its first line or at its end, where it is not part of what is given."""
        untitled = _TITLED.sub(" ", text)
        first, last = sentences(untitled.partition("\n")[0])[:3], sentences(untitled)[-1 if opened else -3 :]
        for sentence in first + last:
            if self._served(sentence):
                continue
            given = opened and (sentence in sentences(text)[:2] or len(tokens(sentence, "auto")) > _ORDER)
            if sentence[-1] in "?？" or (self._says("orders", sentence) and not given):
                return True
        return False

    def _asked(self, before: str) -> bool:
        """Whether the assistant's last turn wanted something of the user; its offers of help do not count."""
        for sentence in sentences(before)[-4:]:
            if self._says("asked", sentence):
                return True
            if sentence[-1] in "?？" and not (self._served(sentence) or self._says("proposals", sentence)):
                return True
        return False

    def _says(self, key: str, sentence: str) -> bool:
        return bool(self._is[key].search(sentence.rstrip(_MARKS)))


_KEYS: Final = (
    *("openings", "agreements", "first_person", "endings", "letters"),
    *("offers", "partings", "orders", "asked", "proposals"),
)
_SERVICE: Final = ("endings", "offers", "partings")
_EXPOSITION: Final = ("forms", "manners")


def _any_of(key: str) -> GatedPattern:
    """A pattern of all the entries of a rule, in both languages."""
    return GatedPattern(_every(key))


def _every(key: str) -> list[str]:
    """The entries of a rule, in both languages; see rules/answering.en.toml."""
    entries: list[str] = []
    for lang in _LANGUAGES:
        values = {name: rule.value for name, rule in rules.explained(f"answering.{lang}").items()}
        named = [entry.replace("LEAD", values["lead"][0]) for entry in values[key]]
        entries += [entry.replace("OWN", values["own"][0]) for entry in named]
    return entries
