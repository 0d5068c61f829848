"""Which language is a text in, and does a task ask for another one? Told by letters and a few function words.

No model is asked: this is enough to tell Chinese from English, and both from Japanese, Korean, Russian and whatever
else has letters of its own. It does not tell English from French. The words are data, ``rules/languages.toml``.
Traditional and simplified characters are Chinese alike; none is converted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from selfinstruct import rules

Language = Literal["en", "zh", "other"]

NAMES: Final = {"en": "English", "zh": "Chinese", "other": "neither English nor Chinese"}
"""What a `Language` is called in a sentence."""

_HANZI: Final = r"\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HAN: Final = re.compile(f"[{_HANZI}]")
_WORD: Final = re.compile(r"[A-Za-z\u00c0-\u024f]+")
_OTHER: Final = re.compile(rf"[^\W\d_A-Za-zªµºÀ-\u024f\u0370-\u03ff\uff21-\uff5a{_HANZI}]")  # Greek is mathematics, too
_JAPANESE: Final = re.compile(rf"[{_HANZI}][のをはがにでと][{_HANZI}\u3040-\u30ff]")
_CODE: Final = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]+`|\$[^$\n]+\$|<[^<>\n]{1,200}>"
    r"|(?:https?://|www\.)[^\s\u4e00-\u9fff]+|[\w.+-]{1,64}@[\w.-]+",
    re.S | re.A,
)
_CODE_SIGN: Final = re.compile(
    r"[{}\\]|;\s*(?:\n|\Z)|\w\(|[=!<>]=|\w = |\bSELECT\b|^[^\S\n]*(?:def|import|class|#include) ", re.M
)
_QUOTED: Final = re.compile(
    r"“[^“”]*”|‘[^‘’]*’|「[^「」]*」|『[^『』]*』|《[^《》]*》|«[^«»]*»|\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)"
)
_FIRST_WORD: Final = re.compile(r"(?:^|[.!?:]\s)(?:[^\S\n]|[\"'“-])*([A-Z][a-z]+)", re.M)
_LEAD: Final = re.compile(r"[^:：\n]*")

SENTENCE: Final = 5
"""So many English words, two of them function words, are prose; fewer may be a name, a label or a term."""

CLAUSE: Final = 4
"""So many Chinese characters are a clause; fewer may be a name."""


class Languages:
    """Tells the language of a request and of an answer, and whether the one explains the other."""

    def __init__(self) -> None:
        words = {name: rule.value for name, rule in rules.explained("languages").items()}
        self._english = frozenset(words["english_words"])
        self._openings = frozenset(words["english_openings"])
        self._asks = _any_of([*words["asks_for_another_language"], *words["asks_for_code"]])

    def of_request(self, text: str) -> Language | None:
        """The language of the sentence that frames everything else, or None where that cannot be told."""
        prose = _CODE.sub(" ", text)
        frame = _QUOTED.sub(" ", prose)
        if not any(map(str.isalpha, frame)):
            frame = prose
        han, words = len(_HAN.findall(frame)), _WORD.findall(frame)
        if not frame.isascii() and _is_other(frame, han, len(words)):
            return "other"
        if not (han and words):
            return "zh" if han else "en" if words else None
        return self._of_mixed(frame, han, words)

    def _of_mixed(self, frame: str, han: int, words: Sequence[str]) -> Language | None:
        functional = sum(word.lower() in self._english for word in words[1:])
        lead = _LEAD.match(frame.strip())
        in_lead = len(_HAN.findall(lead.group())) if lead else 0
        opens_chinese = len(_HAN.findall(frame[: frame.index(words[0])]))
        if not opens_chinese and words[0].lower() in self._openings:
            return "en" if functional or not in_lead else None
        if opens_chinese >= min(CLAUSE, max(in_lead, 2)):  # a clause, or all there is before a colon
            return "zh"
        if functional >= 2 and len(words) > han and not _HAN.search(frame[-3:]):
            return "en"
        return "zh" if han >= 2 * len(words) or (han > len(words) and not functional) else None

    def of_prose(self, text: str) -> Language | None:
        """The language of a text of whole sentences; None for anything else, and for a mixture."""
        prose = _CODE.sub(" ", text)
        han, words = len(_HAN.findall(prose)), _WORD.findall(prose)
        if not prose.isascii() and _is_other(prose, han, len(words)):
            return "other" if len(_OTHER.findall(prose)) >= 2 * CLAUSE else None
        if han >= CLAUSE and han >= 2 * len(words):
            return "zh"
        if len(words) >= SENTENCE and len(words) > 4 * han and not _CODE_SIGN.search(prose):
            # Titles and names are capitalised, so capitals count at the beginning of a line or sentence only.
            functional = sum(word in self._english for word in words)
            functional += sum(word.lower() in self._english for word in _FIRST_WORD.findall(prose))
            in_small = sum(map(str.islower, words))
            return "en" if functional >= 2 and 6 * functional >= len(words) and 2 * in_small > len(words) else None
        return None

    def is_english_request(self, text: str) -> bool:
        """True for an order or question in English, even one too short for prose: "List three uses of tin"."""
        prose = _CODE.sub(" ", text)
        words = _WORD.findall(prose)
        if (
            len(words) < CLAUSE
            or words[0].lower() not in self._openings
            or 2 * sum(map(str.islower, words)) <= len(words)
        ):
            return False
        return not _HAN.search(prose) and not _CODE_SIGN.search(prose)

    def may_answer_in(self, language: Language, task: str) -> bool:
        """True where the task asks for that language, or holds some of it."""
        if self._asks.search(task):
            return True
        if language == "en":
            return len(_WORD.findall(task)) >= 3
        return len((_HAN if language == "zh" else _OTHER).findall(task)) >= 2


def _is_other(text: str, han: int, words: int) -> bool:
    """True for kana, hangul, Cyrillic and the like, where they are more than a name in a Chinese or English text."""
    others = len(_OTHER.findall(text))
    if others >= 3 and 2 * others >= han and _JAPANESE.search(text):
        return True
    return others > han and others > 3 * words


def _any_of(entries: Sequence[str]) -> re.Pattern[str]:
    """A pattern of all entries: Chinese ones anywhere, English ones as whole words."""
    chinese = [re.escape(entry) for entry in entries if not entry.isascii()]
    english = [re.escape(entry).replace(r"\*", "[a-z]*") for entry in entries if entry.isascii()]
    return re.compile(rf"{'|'.join(chinese)}|(?<![a-z0-9])(?:{'|'.join(english)})(?![a-z0-9])", re.IGNORECASE)
