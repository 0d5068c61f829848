"""Whether a line speaks of a text other than the one at whose place it stands, in whatever words.

Only asked where nothing but its place says which text a part of an answer is about: there every number, ordinal and
lone letter is a doubt, so what is no text's name at all ("3 mistakes") counts as well.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from selfinstruct.parsing.rating_values import plain

_LOOKED_AT: Final = 2000  # characters of a line; a longer one is in doubt as it is
_HARMLESS: Final = re.compile(r"\b(?:e\.\s?g|i\.\s?e)\b\.?|\bn/a\b")
_NUMBER: Final = re.compile(r"\d+")
_WORDS: Final = {
    word: place
    for words in (
        "one two three four five six seven eight nine ten",
        "first second third fourth fifth sixth seventh eighth ninth tenth",
        "alpha beta gamma delta epsilon",
        "firstly secondly thirdly fourthly",
        "1 ii iii iv v vi vii viii",  # "i" is mostly the pronoun: see _ROMAN and _FIRST
    )
    for place, word in enumerate(words.split(), 1)
}
_WORD: Final = re.compile(r"(?<![^\W\d_])[^\W\d_]+(?![^\W\d_])")
_ENDS: Final = re.compile(
    r"\b(?:last|final|former|latter|penultimate)\b|前者|后者|最后|末|首[段篇个条]|[上下前后]一[段篇个条]"
)
_FIRST: Final = re.compile(
    r"\([ia]\)|\b(?:text|output|response|answer|completion|reply|candidate|passage|sample|generation|model|option"
    r"|assistant|essay|item|article|version|choice|system)s?[\s#_-]+[ia]\b"
)
_ROMAN: Final = re.compile(r"(?<![\w'’])I(?!['’\w]|\s+[a-z])")  # the numeral, and not "I would"
_LETTER: Final = re.compile(r"(?<![a-z'’])[a-h](?![a-z'’])", re.IGNORECASE)
_ARTICLE: Final = re.compile(r"\s+[a-z]|\s*$")
_SIGN: Final = re.compile(
    r"[二三四五六七八九两]|[甲乙丙丁戊己庚辛]|(?<=[第本出答复案应选项篇段(（〔《])[一十]|[一十](?=[号)）〕》、.,:：])"
)
_SIGNS: Final = {
    sign: place for signs in ("一二三四五六七八九十", "甲乙丙丁戊己庚辛") for place, sign in enumerate(signs, 1)
}


def names_another(line: str, place: int) -> bool:
    """Whether a number, an ordinal, a letter or a sign in the line may name another text than number ``place``."""
    if len(line) > _LOOKED_AT:
        return True
    whole = unicodedata.normalize("NFKC", line)
    said = _HARMLESS.sub(" ", plain(whole))
    return (
        _ENDS.search(said) is not None
        or (place != 1 and (_FIRST.search(said) or _ROMAN.search(whole)) is not None)
        or any(int(number[-9:]) != place for number in _NUMBER.findall(said))
        or any(_WORDS.get(word, place) != place for word in _WORD.findall(said))
        or any(_SIGNS.get(sign, 2) != place for sign in _SIGN.findall(said))
        or any(
            ord(letter[0]) - ord("a") + 1 != place for letter in _LETTER.finditer(said) if not _is_word(letter, said)
        )
    )


def _is_word(letter: re.Match[str], said: str) -> bool:
    """Whether a letter is the article: "a" with a word behind it."""
    return letter[0] == "a" and _ARTICLE.match(said, letter.end()) is not None
