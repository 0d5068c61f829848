"""What a text is made of when it is compared with another: words in English, characters in Chinese."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Tokenizer = Literal["en", "zh", "auto"]

_ENGLISH = re.compile(r"[a-z0-9]+")
_CHINESE = re.compile(r"[a-z0-9]+|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")


def tokens(text: str, tokenizer: Tokenizer = "en") -> list[str]:
    """The tokens of a text, in order.

    ``en``: runs of a-z and 0-9 in the lower-cased text, as the rouge-score package has them without a stemmer; a
    Chinese text has none. ``zh``: after NFKC (full-width letters become plain ones) and lower-casing, the same runs,
    and each ideograph, kana or hangul syllable alone. ``auto`` is for pools of several languages: both sides of a
    comparison need one tokenizer, so every text, English too, gets ``zh``, which equals ``en`` on ASCII.
    """
    if tokenizer == "en":
        return _ENGLISH.findall(text.lower())
    return _CHINESE.findall(unicodedata.normalize("NFKC", text).lower())
