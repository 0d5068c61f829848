"""A guard against turns in another language than the dialogue's.

Languages are told by `selfinstruct.languages`. The words by which a user asks for another one are data,
``rules/drift.en.toml`` and ``rules/drift.zh.toml``; both always apply.
"""

from __future__ import annotations

import re
from typing import Final

from selfinstruct import rules
from selfinstruct.languages import CLAUSE, NAMES, Language, Languages
from selfinstruct.protocols import Drop, Turn
from selfinstruct.schema import Lang

PASTED: Final = 400
"""From so many characters on, a user's turn is taken for a text that was pasted, in whatever language."""

_LANGUAGES: Final = ("en", "zh")
_HAN: Final = r"[\u3400-\u4dbf\u4e00-\u9fff]"
_NOT_LATIN: Final = re.compile(r"[^\W\d_A-Za-z\u00aa-\u024f]")
_NOT_CHINESE: Final = re.compile(r"[^\W\d_\u3400-\u4dbf\u4e00-\u9fff]")  # a letter
_OF: Final[dict[Language, re.Pattern[str]]] = {
    "en": re.compile(r"(?<![A-Za-z])[A-Za-z]++(?:[,;:]? [A-Za-z']++){3}"),  # a phrase, not a name or a term
    "zh": re.compile(f"{_HAN}{{2}}"),
    "other": re.compile(r"[^\W\d_A-Za-z\u00aa-\u024f\u0370-\u03ff\u3400-\u4dbf\u4e00-\u9fff\uff21-\uff5a]{2}"),
}
"""So much of a language in a user's turn, and a turn in it is no drift."""


class Drift:
    """Refuses a turn written in another language than the dialogue's: reason ``language``.

    Only prose counts, from some five English words or four Chinese characters on, and in a user's turn only the words
    that frame what is quoted or pasted; from `PASTED` characters on, it is all pasted. Names, code and formulas never
    count, nor does a turn with a clause in the dialogue's language. A user may ask for another language ("in English,
    please", 翻译), now or before, or bring it in by writing in it; in a Chinese dialogue about code, English passes as
    well. As `selfinstruct.languages` cannot, the guard does not tell English from French.
    """

    def __init__(self, lang: Lang) -> None:
        self.lang = lang
        self._languages = Languages()
        self._asks: dict[Language, re.Pattern[str]] = {
            "en": _words("asks_for_english"),
            "zh": _words("asks_for_chinese"),
            "other": _words("asks_for_another_language"),
        }
        self._about_code = _words("about_code")

    def check(self, turn: Turn) -> Drop | None:
        """Why the dialogue cannot go on with this turn, or None."""
        if self.lang == "en" and turn.text.isascii():
            return None  # surely not in another language that we could tell
        if self.lang == "zh" and not _NOT_CHINESE.search(turn.text):
            return None  # nor this one
        language = self._language_of(turn)
        if language in (None, self.lang) or self._is_mixed(turn.text, language) or self._is_asked_for(language, turn):
            return None
        return Drop("language", f"the {turn.role}'s turn is {NAMES[language]}")

    def _language_of(self, turn: Turn) -> Language | None:
        prose = self._languages.of_prose(turn.text)
        if turn.role == "assistant":
            return prose
        if len(turn.text) >= PASTED:
            return None
        if prose is None:
            return "en" if self._languages.is_english_request(turn.text) else None
        return prose if self._languages.of_request(turn.text) == prose else None

    def _is_mixed(self, text: str, language: Language) -> bool:
        """True where the text holds a clause in the dialogue's language, too."""
        if self.lang == "en":
            return self._languages.of_prose(_NOT_LATIN.sub(" ", text)) == "en"
        return language == "en" and len(re.findall(_HAN, text)) >= CLAUSE

    def _is_asked_for(self, language: Language, turn: Turn) -> bool:
        asked = [message.content for message in turn.history if message.role == "user"]
        if any(self._asks[language].search(text) or _OF[language].search(text) for text in asked):
            return True
        if turn.role == "user" and self._asks[language].search(turn.text):
            return True
        if language != "en":
            return False
        near = [*asked[-1:], *(message.content for message in turn.history[-1:])]
        return any(map(self._about_code.search, [*asked[:1], *near]))


def _words(key: str) -> re.Pattern[str]:
    """A pattern of the entries of both languages: Chinese ones anywhere, English ones as whole words."""
    entries = [entry for lang in _LANGUAGES for entry in rules.explained(f"drift.{lang}")[key].value]
    chinese = [re.escape(entry) for entry in entries if not entry.isascii()]
    english = [re.escape(entry).replace(r"\*", "[a-z]*") for entry in entries if entry.isascii()]
    return re.compile(rf"{'|'.join(chinese)}|(?<![a-z0-9])(?:{'|'.join(english)})(?![a-z0-9])", re.IGNORECASE)
