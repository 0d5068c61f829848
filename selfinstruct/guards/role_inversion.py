"""Ends a dialogue where one side speaks as the other, or writes the script of both.

The words are data, ``rules/role_inversion.en.toml`` and ``rules/role_inversion.zh.toml``; both always apply.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from selfinstruct import rules
from selfinstruct.gated_pattern import GatedPattern
from selfinstruct.protocols import Drop, Turn
from selfinstruct.schema import Message
from selfinstruct.turn_text import LONGEST_SENTENCE, sentences, unquoted

_LANGUAGES: Final = ("en", "zh")
_LABEL: Final = (
    r"^[ \t]*(?:#{1,6}[ \t]*|>[ \t]?|[*_]{2,3})?(?:%s)(?:[ \t]?[(（][^()（）\n]{1,40}[)）])?[*_]{0,3}[ \t]?[:：]"
)
_TAG: Final = r"^[ \t]*(?:\[|【|<\|?|<\|im_start\|>)(?:%s)(?:\|?>|\]|】|(?=\n))"
_FIELD: Final = re.compile(r"[ \t]*[*_]{0,3}\w[\w \t-]{0,30}[*_]{0,3}[:：]")
_BULLET: Final = re.compile(r"[ \t]*[-*•+]\s")
_MARKS: Final = ".!?;。！？； "

_SHOWN: Final = 80
_READ: Final = 2000
"""Characters of a turn that are searched for what it is about, from each end."""
_SHORT: Final = 400
"""Characters of an assistant's turn that may be nothing but a user's request."""
_SHORT_TAIL: Final = 300
"""Characters of the paragraph in which a user asks about a script pasted above it."""

_Side = Literal["user", "assistant"]


class RoleInversion:
    """Refuses a turn in which a side speaks as the other; the reason is ``role_inversion``, the detail the words.

    * A user's turn must not offer help ("How can I assist you today?", 请问有什么可以帮您？), bear the label of a role
      ("Assistant: …", 【用户】), speak of the play ("As the user, I would say …"), or hold both sides of a script.
    * An assistant's turn must not go on with the user's next line ("User: …"), nor be a user's request or thanks.

    A text about such words is kept: what stands in quotation marks or code, what the user wants translated, rewritten
    or judged, a pasted log with a question about it, a script that was asked for. The opener is never judged.
    """

    def __init__(self) -> None:
        self._label = {side: _labels(side) for side in ("user", "assistant")}
        self._is = {key: _any_of(key) for key in _KEYS}

    def check(self, turn: Turn) -> Drop | None:
        """The first words that belong to the other side."""
        if not turn.history:
            return None
        plain = unquoted(turn.text).strip()
        said = self._user(plain, turn.history) if turn.role == "user" else self._assistant(plain, turn.history)
        return Drop("role_inversion", " ".join(said.split())[:_SHOWN]) if said else None

    def _user(self, text: str, history: Sequence[Message]) -> str | None:
        if label := self._script(text):
            return text[label.start() :]
        if played := self._is["played"].search(text[:LONGEST_SENTENCE]):
            return played.string
        said = self._service(text, history)
        if said and (self._about_material(text) or self._is["scenes"].search(_wishes(history))):
            return None
        return said

    def _service(self, text: str, history: Sequence[Message]) -> str | None:
        """What only the side that serves says, at the beginning of the turn or at its end."""
        if not any(self._is[key].may_be_in(text) for key in ("offers", "partings", "welcomes")):
            return None
        spoken = sentences(text)
        outer = spoken[:3] + spoken[3:][-3:]
        if offers := [sentence for sentence in outer if self._says("offers", sentence)]:
            return offers[0]
        return self._parting(text, outer, history)

    def _parting(self, text: str, outer: Sequence[str], history: Sequence[Message]) -> str | None:
        """What an assistant ends with, in a turn that asks for nothing and gives nothing that was asked for."""
        partings = [sentence for sentence in outer if self._says("partings", sentence)]
        if not partings and "thank" not in (before := history[-1].content.lower()) and "谢" not in before:
            partings = [sentence for sentence in outer if self._says("welcomes", sentence)]
        if not partings or self._asked(history[-1].content):
            return None
        rest = [sentence for sentence in sentences(text) if sentence not in partings]
        asks = any(sentence[-1] in "?？" or self._says("orders", sentence) for sentence in rest)
        return None if asks else partings[0]

    def _script(self, text: str) -> re.Match[str] | None:
        """The label of a role, unless the user asks about a script, or the labels are those of a form."""
        found = {side: list(label.finditer(text)) for side, label in self._label.items()}
        first = min((labels[0] for labels in found.values() if labels), key=lambda label: label.start(), default=None)
        if first is None or (first.start() > 0 and not found["assistant"]):
            return None
        lead = text[: first.start()].strip()
        if lead and (lead[-1] in ":：" or self._about_material(lead)):
            return None
        above, _, last = text[first.end() :].strip().rpartition("\n\n" if found["assistant"] else "\n")
        beside = above and len(last) <= _SHORT_TAIL and not any(label.search(last) for label in self._label.values())
        if beside and (any(mark in last for mark in "?？") or self._orders(last)):
            return None
        return None if self._in_form(text, first) else first

    def _assistant(self, text: str, history: Sequence[Message]) -> str | None:
        labels = self._label["user"].finditer(text)
        label = next((found for found in labels if not self._in_form(text, found)), None)
        if label and not self._is["staged"].search(_wishes(history)):
            return text[label.start() :]
        said = self._asking(text, history[-1].content) if len(text) <= _SHORT else None
        return None if said and self._is["wording"].search(_wishes(history)[-_READ:]) else said

    def _asking(self, text: str, wish: str) -> str | None:
        """A user's request, or a user's thanks and what comes after them."""
        if not any(self._is[key].may_be_in(text) for key in ("requests", "delight")):
            return None
        spoken = sentences(text)
        requests = [sentence for sentence in spoken if self._says("requests", sentence)]
        return requests[0] if requests and len(spoken) <= 3 else self._taken(spoken, wish)

    def _taken(self, spoken: Sequence[str], wish: str) -> str | None:
        """Delight or thanks for an answer, and a request or a promise after it, where an answer was wanted."""
        if not (2 <= len(spoken) <= 4 and self._says("delight", spoken[0])):
            return None
        wants = any(mark in wish for mark in "?？") or self._orders(wish)
        return spoken[0] if wants and any(self._says("more", sentence) for sentence in spoken[1:]) else None

    def _in_form(self, text: str, label: re.Match[str]) -> bool:
        """True where a list follows the label, or the line before or after has another: fields of a form."""
        before = text[: label.start()].rstrip("\n").rsplit("\n", 1)[-1]
        rest, _, below = text[label.end() :].partition("\n")
        after = below.lstrip("\n").partition("\n")[0]
        if not rest.strip("* ") and _BULLET.match(after):
            return True
        return any(_FIELD.match(line) and not self._names_a_side(line) for line in (before, after))

    def _names_a_side(self, line: str) -> bool:
        return any(label.search(line) for label in self._label.values())

    def _about_material(self, text: str) -> bool:
        return any(self._is["material"].search(part) for part in (text[:_READ], text[-_READ:]))

    def _orders(self, text: str) -> bool:
        return any(self._says("orders", sentence) for sentence in sentences(text[:_READ]))

    def _says(self, key: str, sentence: str) -> bool:
        return bool(self._is[key].search(sentence.rstrip(_MARKS)))

    def _asked(self, before: str) -> bool:
        """Whether the assistant's last turn wanted something of the user; its offers of help do not count."""
        for sentence in sentences(before)[-4:]:
            if self._says("asked", sentence):
                return True
            if sentence[-1] in "?？" and not (self._says("offers", sentence) or self._says("partings", sentence)):
                return True
        return False


_KEYS: Final = (
    *("played", "offers", "partings", "welcomes", "orders", "material", "scenes", "staged"),
    *("requests", "delight", "more", "wording", "asked"),
)


def _wishes(history: Sequence[Message]) -> str:
    """What the user said so far."""
    return "\n".join(message.content[:_READ] for message in history if message.role == "user")


def _labels(side: str) -> GatedPattern:
    names = "|".join(f"(?:{entry})" for lang in _LANGUAGES for entry in _entries(lang)[f"{side}_names"])
    return GatedPattern([_LABEL % names, _TAG % names], re.IGNORECASE | re.MULTILINE)


def _any_of(key: str) -> GatedPattern:
    """A pattern of all the entries of a rule, in both languages; see rules/role_inversion.en.toml."""
    entries: list[str] = []
    for lang in _LANGUAGES:
        values = _entries(lang)
        entries += [entry.replace("LEAD", values["lead"][0]) for entry in values[key]]
    return GatedPattern(entries)


def _entries(lang: str) -> dict[str, list[str]]:
    return {name: rule.value for name, rule in rules.explained(f"role_inversion.{lang}").items()}
