"""Two guards against turns that bring a dialogue no further: one that says nothing, one that was said before.

The words are data, ``rules/nothing_new.en.toml`` and ``rules/nothing_new.zh.toml``; both always apply.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from selfinstruct import rules
from selfinstruct.protocols import Drop, Turn
from selfinstruct.similarity.loops import CJK

LONG: Final = 20
"""From so many words (Chinese: characters) on, a turn that differs in function words alone counts as the same."""

BRIEF: Final = 3
"""So many words are a label, a move or a nod, which may come again."""

BRIEF_CHARACTERS: Final = 5
"""The same for a turn of Chinese characters."""

_SHOWN: Final = 80
_HEAD: Final = 60
"""Characters in which most texts already differ."""
_REMEMBERED: Final = 1024
"""Heads that are remembered, because each turn is compared with the turns before it."""
_LANGUAGES: Final = ("en", "zh")
_HAN: Final = re.compile(f"[{CJK}]")
_BESIDE_HAN: Final = re.compile(f"(?<=[{CJK}]) | (?=[{CJK}])")
# Words, and the signs that make another sum or another name of them: 5-3 is not 5+3, C# is not C.
_PIECE: Final = re.compile(rf"[{CJK}]|[^\W_{CJK}]+|[+=<>/\\%^&@$|~]|(?<=\w)#|(?<=\d)[-*]|[-*](?=\d)")
_PIECE_OF_CODE: Final = re.compile(rf"[{CJK}]|[^\W_{CJK}]+|[^\w\s]|_")
# Braces, a statement's end, a call, a comparison, an assignment; every branch begins with the mark a search jumps to.
_CODE: Final = re.compile(r"\{|\}|\\|;[^\S\n]*(?:\n|\Z)|\((?<=\w\()|=(?:(?<=[=!<>]=)|(?<=\w =) )")
_WORD_END: Final = re.compile(r"[ \u4e00-\u9fff]")
_ENDED: Final = re.compile(r"[.!?。！？…:：;；)）\]】}”\"’'*`|~]\s*\Z")


class Empty:
    """Refuses a turn in which nothing is said: reason ``empty``.

    Nothing is said where there is no letter and no digit of any script: "", "...", "👍". A user's question mark asks,
    though, and signs are an answer where signs were asked for ("Say it in emoji").
    """

    def __init__(self) -> None:
        self._wants_signs = _words("wants_signs")

    def check(self, turn: Turn) -> Drop | None:
        """Why the dialogue cannot go on with this turn, or None."""
        if any(map(str.isalnum, turn.text)):
            return None
        said = turn.text.strip()
        if turn.role == "user" and {"?", "？"} & set(said):
            return None
        if turn.role == "assistant" and said and self._wants_signs.search(_last(turn)):
            return None
        return Drop("empty", f"{turn.role}: {said[:_SHOWN]!r}")


class Repeated:
    """Refuses a turn that was said before: reason ``repeated``.

    A turn is compared with what the same side said before, and with what the other side just said. It is that turn
    again where both are equal but for case, space and punctuation; from `LONG` words on also where only function words
    differ. In code everything but white space counts. Not refused are:

    * A user's brief turn (`BRIEF`; "yes", "B") and call for more ("tell me more"), but the third in a row is, unless
      the last answer broke off in the middle of a sentence. A bare "continue" may come as long as it brings something.
    * A user's short order about the last answer ("make it shorter"), but the second in a row is.
    * An assistant's brief turn, and another answer shorter than `LONG`, but the third of those in a row is.
    * An answer in the same words where the user asked for a text again, corrected or laid out otherwise.
    """

    def __init__(self) -> None:
        self._go_on = re.compile("|".join(f"(?:{entry})" for entry in _entries("go_on")))
        self._carry_on = re.compile("|".join(f"(?:{entry})" for entry in _entries("carry_on")))
        self._function_words = frozenset(_entries("function_words"))
        self._refers = _words("points_back")
        self._asks_again = _words("asks_again")
        self._standing_orders = _words("standing_orders")

    def check(self, turn: Turn) -> Drop | None:
        """Why the dialogue cannot go on with this turn, or None."""
        if not self._may_be_repeated(turn):
            return None
        pieces = _pieces(turn.text)
        if not pieces or (turn.role == "assistant" and (_is_brief(pieces) or self._was_asked_again(turn))):
            return None
        own = [message.content for message in turn.history if message.role == turn.role]
        if self._may_come_again(turn, pieces):
            third = len(own) >= 2 and all(self._is_same(turn, pieces, text) for text in own[-2:])
            if third and (turn.role == "assistant" or not self._brings_more(turn, pieces)):
                return _drop(turn, "the third time in a row")
        elif any(self._is_same(turn, pieces, text) for text in (own[-1:] if self._points_back(turn, pieces) else own)):
            return _drop(turn, "again")
        if self._calls_for_more(pieces) or _is_brief(pieces) or not turn.history:
            return None
        return _drop(turn, "after the other side") if self._is_same(turn, pieces, _last(turn)) else None

    def _may_be_repeated(self, turn: Turn) -> bool:
        """False for nearly every turn that says something new, after a look at lengths and at first words."""
        own = [message.content for message in turn.history if message.role == turn.role]
        alike = [before for before in (*own, _last(turn)) if _are_as_long(turn.text, before)]
        if not alike:
            return False
        said = self._content(_first_pieces(turn.text))
        others = (self._content(_first_pieces(before)) for before in alike)
        return any(all(map(operator.eq, said, other)) for other in others)

    def _may_come_again(self, turn: Turn, pieces: Sequence[str]) -> bool:
        if turn.role == "assistant":
            return len(pieces) < LONG
        return _is_brief(pieces) or self._calls_for_more(pieces)

    def _calls_for_more(self, pieces: Sequence[str]) -> bool:
        return len(pieces) < LONG and bool(self._go_on.fullmatch(_joined(pieces)))

    def _brings_more(self, turn: Turn, pieces: Sequence[str]) -> bool:
        """Whether a user has reason to go on as before: the answer broke off, or saying so brought another one."""
        if not _ENDED.search(turn.history[-1].content):
            return True
        answers = [message.content for message in turn.history if message.role == "assistant"]
        carries_on = self._carry_on.fullmatch(_joined(pieces)) is not None
        return carries_on and _pieces(answers[-1]) != _pieces(answers[-2])

    def _points_back(self, turn: Turn, pieces: Sequence[str]) -> bool:
        """Whether a short order or complaint is about the last answer, by now another one: "make it shorter"."""
        if turn.role != "user" or len(pieces) >= LONG or {"?", "？"} & set(turn.text):
            return False
        return self._refers.search(turn.text) is not None

    def _was_asked_again(self, turn: Turn) -> bool:
        if self._asks_again.search(_last(turn)):
            return True
        asked = (message.content for message in turn.history if message.role == "user")
        return any(map(self._standing_orders.search, asked))

    def _is_same(self, turn: Turn, pieces: Sequence[str], before: str) -> bool:
        if not _are_as_long(turn.text, before):
            return False
        others = _pieces(before)
        if pieces == others or min(len(pieces), len(others)) < LONG:
            return pieces == others
        return self._content(pieces) == self._content(others)

    def _content(self, pieces: Sequence[str]) -> list[str]:
        return [piece for piece in pieces if piece not in self._function_words]


def _joined(pieces: Sequence[str]) -> str:
    """The words of a turn as the patterns are written: with spaces, but not between Chinese characters."""
    return _BESIDE_HAN.sub("", " ".join(pieces))


def _pieces(text: str) -> list[str]:
    """What of a text counts when it is compared: words and characters, in code the signs as well."""
    if _CODE.search(text):
        return _PIECE_OF_CODE.findall(text)
    return _PIECE.findall(unicodedata.normalize("NFKC", text).casefold())


@lru_cache(_REMEMBERED)
def _first_pieces(text: str) -> list[str]:
    """Those of the text's pieces that stand in its head, which ends where a piece does."""
    end = _WORD_END.search(text, _HEAD)
    head = text[: end.start()] if end else text
    if _CODE.search(text):
        return _PIECE_OF_CODE.findall(head)
    return _PIECE.findall(unicodedata.normalize("NFKC", head).casefold())


def _are_as_long(text: str, other: str) -> bool:
    """True unless one is more than twice as long."""
    return len(text) <= 2 * len(other) <= 4 * len(text)


def _is_brief(pieces: Sequence[str]) -> bool:
    return len(pieces) <= (BRIEF_CHARACTERS if _HAN.search("".join(pieces)) else BRIEF)


def _last(turn: Turn) -> str:
    """What the other side just said."""
    return turn.history[-1].content if turn.history else ""


def _drop(turn: Turn, when: str) -> Drop:
    return Drop("repeated", f"{turn.role}, {when}: {' '.join(turn.text.split())[:_SHOWN]}")


def _entries(key: str) -> list[str]:
    return [entry for lang in _LANGUAGES for entry in rules.explained(f"nothing_new.{lang}")[key].value]


def _words(key: str) -> re.Pattern[str]:
    """A pattern of the entries of both languages: Chinese ones anywhere, English ones as whole words."""
    entries = _entries(key)
    chinese = [re.escape(entry) for entry in entries if not entry.isascii()]
    english = [re.escape(entry).replace(r"\*", "[a-z]*") for entry in entries if entry.isascii()]
    return re.compile(rf"{'|'.join(chinese)}|(?<![a-z0-9])(?:{'|'.join(english)})(?![a-z0-9])", re.IGNORECASE)
