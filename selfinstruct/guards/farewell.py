"""Ends a dialogue where its user has nothing left to ask: thanks, praise, good intentions, goodbye, and no more.

The words are data, ``rules/farewell.en.toml`` and ``rules/farewell.zh.toml``; both always apply. UltraChat took
over-polite user turns out and never published by what rule, so this one is ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Final, NamedTuple

from selfinstruct import rules
from selfinstruct.protocols import Drop, Turn

LONGEST: Final = 1500
"""A turn of more characters is material to work on, or an essay, whatever it says of thanks. Ours."""

_LANGUAGES: Final = ("en", "zh")
_SHOWN: Final = 80
_REMEMBERED: Final = 4096
"""Characters whose sound is remembered."""
_BARE: Final = {"en": "{}", "zh": "{}"}
_ENDED: Final = {"en": "{}(?![a-z0-9_])", "zh": "{}"}  # Chinese does not mark where a word ends
_UNQUOTED: Final = {"en": r"(?<!\")\b{}(?![a-z0-9_])", "zh": '(?<!"){}'}
_LEADS: Final = r"(?:and|but|so|also|now|then|just|next|ok|okay|well|please|maybe|instead|first|btw)"
_READ_AS: Final = dict.fromkeys("“”„「」『』", '"') | {"、": " ", "~": ".", "*": " ", "_": " "}
_UNHEARD: Final = frozenset("'`´‘’\u200d\ufe0f")
_EMOTICON: Final = re.compile(r"(?<!\w)(?:[:;=8]['-]?[()\[\]DdPpOo03*/|]{1,3}(?!\w)|\^_*\^)")
_NAME: Final = re.compile(
    r"\b((?i:thanks|thank you|thx|bye|goodbye|good night),? (?:(?:Mr|Mrs|Ms|Dr|Prof)\b\.? ?)?)"
    r"([A-Z][a-z]+(?: [A-Z][a-z]+)?)(?=\s*(?:[.!\n]|\Z))"
)
_PAUSE: Final = re.compile(r"[\s,.!;:()。/\-–—+^]+")

_SUFFICE: Final = ("thanks", "goodbyes", "done", "trying")
_OTHERS: Final = ("accepts", "understood", "lauds", "praise", "plans", "fillers", "comments", "loose")
_TALK: Final = ("plans", "comments", "loose")


class Farewell:
    """Refuses a user's turn that closes the conversation (``farewell``): "Thank you, I'll try that!", 好的，谢谢，再见.

    Every sentence of it has to be one that closes: thanks, goodbye, "that's all", what the user is going to do with the
    answer, praise of it, a comment on it. A turn that also asks, orders, complains or states a fact to work on goes on;
    so does a bare "ok" or "wow", and a letter or a text about thanking.
    """

    def __init__(self) -> None:
        words = _Words()
        self._harmless = words.anywhere("harmless")
        self._letters = words.anywhere("letters")
        self._goes_on = [words.anywhere("asks"), words.anywhere("complains"), words.opening("orders")]
        self._facts = words.anywhere("facts")
        self._kinds = {kind: words.next(kind) for kind in (*_SUFFICE, *_OTHERS)}

    def check(self, turn: Turn) -> Drop | None:
        """The words that close the conversation; the assistant's turns are not looked at."""
        if turn.role != "user" or len(turn.text) > LONGEST:
            return None
        text = _EMOTICON.sub(lambda face: "." * len(face[0]), turn.text)
        heard = _heard(_NAME.sub(lambda named: named[1] + "." * len(named[2]), text))
        if not (said := self._said(heard.text)):
            return None  # nearly every turn, and what is left to ask costs more
        return None if self._is_serious(_heard(text).text) else Drop("farewell", _shown(turn.text, heard, said))

    def _is_serious(self, text: str) -> bool:
        """Whether the turn is a letter, or asks, complains or orders."""
        if self._letters.search(text):
            return True
        serious = self._harmless.sub("·", text)  # no space: no word begins there
        return any(pattern.search(serious) for pattern in self._goes_on)

    def _said(self, text: str) -> tuple[int, int] | None:
        """Where the turn closes; None where one of its sentences is none that closes, or they do not add up to it."""
        parts: list[tuple[str, tuple[int, int]]] = []
        at = 0
        while (at := _after_pause(text, at)) < len(text):
            part = self._part(text, at)
            if part is None or (part[0] in _TALK and self._facts.search(text, *part[1])):
                return None
            parts.append(part)
            at = part[1][1]
        return _closing(parts)

    def _part(self, text: str, at: int) -> tuple[str, tuple[int, int]] | None:
        for kind, pattern in self._kinds.items():
            if (match := pattern.match(text, at)) and match.end() > at:
                return kind, match.span()
        return None


class _Heard(NamedTuple):
    """A turn as the rules read it; ``origin`` is where each character stood."""

    text: str
    origin: list[int]


def _heard(said: str) -> _Heard:
    """Lower case and half width, without apostrophes; an emoji ends a sentence, and what is quoted is part of one."""
    text: list[str] = []
    origin: list[int] = []
    for place, written in enumerate(said):
        for plain in _plain(written):
            if not (plain in " \n" and text and text[-1] in (plain, "\n")):
                text.append(plain)
                origin.append(place)
    return _Heard("".join(text), origin)


@lru_cache(_REMEMBERED)
def _plain(written: str) -> str:
    """What is heard of a character."""
    return "".join(map(_sound, unicodedata.normalize("NFKC", written).lower()))


def _sound(char: str) -> str:
    if char in _UNHEARD:
        return ""
    if char in _READ_AS:
        return _READ_AS[char]
    if char.isspace():
        return "\n" if char == "\n" else " "
    return "." if unicodedata.category(char) in ("So", "Sk", "Cs", "Co", "Cn") else char


def _after_pause(text: str, at: int) -> int:
    pause = _PAUSE.match(text, at)
    return pause.end() if pause else at


def _closing(parts: list[tuple[str, tuple[int, int]]]) -> tuple[int, int] | None:
    """Where it closes. Small talk may be half of it, "Yes, thanks" takes an offer, praise alone needs another sign."""
    count = Counter(kind for kind, _ in parts)
    enough = sum(count[kind] for kind in _SUFFICE)
    signs = enough + sum(count[kind] for kind in ("understood", "lauds", "praise", "plans"))
    if count["loose"] and (not enough or count["loose"] > signs):
        return None
    if count["accepts"] and set(count) <= {"accepts", "thanks", "fillers"}:
        return None
    if not enough and (not count["lauds"] or signs < 2):
        return None
    telling = _SUFFICE if enough else ("lauds",)
    return next(span for kind, span in parts if kind in telling)


def _shown(said: str, heard: _Heard, span: tuple[int, int]) -> str:
    words = said[heard.origin[span[0]] : heard.origin[span[1] - 1] + 1]
    return " ".join(words.split())[:_SHOWN]


class _Words:
    """The rules of both languages, as patterns."""

    def __init__(self) -> None:
        self._rules = {lang: rules.explained(f"farewell.{lang}") for lang in _LANGUAGES}
        self._filled: dict[str, dict[str, str]] = {}
        self._filled = {lang: {"WARM": self._entries(lang, "warm")} for lang in _LANGUAGES}
        rest = rf"(?:(?!{self._joined('cuts', _UNQUOTED)})[^.!?。;\n]|\.(?=\w))*"  # the point in 3.8 ends no sentence
        for filled in self._filled.values():
            filled |= {"REST": rest, "CLAUSE": r"[^,.!?。;\n]*"}

    def anywhere(self, kind: str) -> re.Pattern[str]:
        """All entries of a rule, wherever they stand."""
        return re.compile(self._joined(kind, _BARE))

    def opening(self, kind: str) -> re.Pattern[str]:
        """All entries of a rule, at the beginning of a clause."""
        return re.compile(rf"(?:^|[.!,;:\n])\s*(?:{_LEADS} )*{self._joined(kind, _ENDED)}")

    def next(self, kind: str) -> re.Pattern[str]:
        """All entries of a rule, where a part of the turn begins."""
        return re.compile(self._joined(kind, _ENDED))

    def _joined(self, kind: str, form: dict[str, str]) -> str:
        entries = {lang: self._entries(lang, kind) for lang in _LANGUAGES if kind in self._rules[lang]}
        return f"(?:{'|'.join(form[lang].replace('{}', found) for lang, found in entries.items())})"

    def _entries(self, lang: str, kind: str) -> str:
        entries = "|".join(self._rules[lang][kind].value)
        for name, pattern in self._filled.get(lang, {}).items():
            entries = entries.replace(name, pattern)
        return f"(?:{entries})"
