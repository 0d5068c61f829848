"""Which language a text is written in, and the filter that refuses every language but those allowed.

Scripts decide first, the model only where a script leaves a doubt. Letters are counted by script: Thai or Hangul is one
language; kana, and characters that only Japan or only China writes, tell Japanese from Chinese; Latin words with two
function words of English among them are English. The rest goes to py3langid, a naive Bayes model over bytes that its
wheel carries: BSD, 4.6 MB, no dependency but numpy. Code, addresses, formulas and numbers are no language.

Measured by ``tests/benchmarks/bench_language_id.py FOLDER`` on sentences of encyclopaedias and news, 1 000 a language
and length class (up to 20, 21 to 80, more than 80 characters; short ones are cut from longer ones). `LanguageId`
refuses of French, German, Spanish, Portuguese, Italian, Dutch, Polish, Swedish and Turkish 72–89, 98–100, 99–100 %, of
Russian, Arabic, Korean, Thai, Hindi and Vietnamese 98–100 %, of Japanese 94–99 %; of English 0.4, 0.1, 0 %, of Chinese
none. `detect` takes 0.5 % or fewer of the English and Chinese texts for another language, and no program or number for
any; py3langid alone 15.6, 1.2, 0 % of English, 9.4, 3.8, 4.3 % of Chinese, and 61 % of programs and numbers. Of 23 000
published tasks one is refused, rightly. The model loads in 0.5 s and some 100 MB; a text takes 20 µs where the model is
not asked, 100 µs where it is.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

from selfinstruct import rules
from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, TaskInstance

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

READ: Final = 2_000
"""So many characters of a text are looked at: they tell as much as the rest, in bounded time."""

SENTENCE: Final = 8
"""So many words that begin with a small letter, or other letters than Latin, are prose; fewer may be names or terms."""

WORDS: Final = 80
"""So many words of Latin script, or five times as many characters of another, are shown to the model."""

LIKELY: Final = 0.5
"""Below this the best guess is none."""

BLIND: Final = 0.1
"""Where no language of the Latin script is as probable as this, the model has seen nothing that it knows."""

TEMPERATURE: Final = 4.0
"""What the model's scores are divided by before they become probabilities; naive Bayes is far too sure of itself."""

HINT: Final = 8.0
"""What an English function word adds to the model's score of English, in natural logarithms of odds."""

CLAUSE: Final = 4
"""So many ideographs are a clause; fewer may be a name."""

_LATIN: Final = "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\u0300-\u036f"
_HAN: Final = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CODE: Final = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]+`|\$[^$\n]+\$|<[^<>\n]{1,200}>"
    rf"|(?:https?://|www\.)[^\s{_HAN}]+|[\w.+-]{{1,64}}@[\w.-]+",
    re.S | re.A,
)
_CODE_LINE: Final = re.compile(
    r"[;{}]\s*\Z|\A\s*(?:(?:def|class) \w+\s*[(:]|import \w|from [\w.]+ import |#include|return\b|SELECT .* FROM)"
    r"|\A\s*(?://|}|@\w|(?:for|if|elif|else|while|with|try|except)\b.*:\s*\Z)"
)
_CODE_SIGN: Final = re.compile(r"[{}\\]|\w\([^()\n]*\)|[-+*/|&=!<>]=|\w = |=>|->|\w\.\w+\(|\A\s*#")
_QUOTED: Final = re.compile(
    r"“[^“”]*”|‘[^‘’]*’|「[^「」]*」|『[^『』]*』|《[^《》]*》|«[^«»]*»|„[^“”„]*[“”]|\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)"
)
_WORD: Final = re.compile(rf"(?<![\w.@#/])[{_LATIN}]++(?:['’-][{_LATIN}]++)*+(?![\w@(/]|\.\w)")
_PLAIN_WORD: Final = re.compile(rf"(?<![\w.({{\[])[{_LATIN}]{{2,}}+(?![\w(\[.=])")
_CAMEL: Final = re.compile(r"[a-z][A-Z]")
_LEAD: Final = re.compile(r"[:：\n]")
_HANZI: Final = re.compile(f"[{_HAN}]")
_KANA: Final = re.compile(r"[\u3041-\u3096\u30a1-\u30fa]")
_PINYIN: Final = re.compile(  # syllable by syllable, the longest each time, never going back
    r"(?>(?:[bpmfdtnlgkhjqxryw]|[zcs]h?)?"
    r"(?:[iu]?a(?:ng?|o|i)?|u?e(?:ng?|i|r)?|i(?:ng?|ong|u)?|ong|ou?|u[ino]?|v)['-]?)++"
)
_GREEK_TERM: Final = re.compile(r"(?<![\u0370-\u03ff])[\u0370-\u03ff]{1,2}(?![\u0370-\u03ff])")


class LanguageId:
    """Refuses a record in a language that is none of the allowed ones (``language_not_allowed``).

    * The instruction's language counts. What is quoted and what is code does not count, and what stands before a colon
      or the first line end goes first: "Translate into English: Je suis là" is English. An instruction that tells
      nothing (numbers, code, a name) is judged by the whole record.
    * The output of a whole task counts where it is prose, and the task neither names another language, a place where
      one is spoken, or code, nor hands over a text in another language.

    In doubt a record passes: it is refused if one language that is not allowed is, beside all that are, at least as
    probable as ``min_confidence`` (0.5 to 1). ``allowed`` are ISO 639-1 codes; one it does not know is a
    ValueError.
    """

    def __init__(self, allowed: Sequence[str] = ("en", "zh"), min_confidence: float = 0.95) -> None:
        self.allowed = frozenset(allowed)
        if not allowed or not self.allowed <= _known_languages():
            known = " ".join(sorted(_known_languages()))
            raise ValueError(f"{', '.join(allowed) or 'nothing'} cannot be allowed; languages known: {known}")
        self.min_confidence = min_confidence

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """Why not, with the language that was found and the probability that no allowed one was, or None."""
        found = languages(record.instruction)
        if not found:
            return self._verdict("record", languages("\n".join(record.texts.values())))
        if self._refused(found) >= self.min_confidence and self._refused(_framed(record.instruction, found)) >= LIKELY:
            return self._verdict("instruction", found)
        if isinstance(record, TaskInstance) and _has_sentences(record.output):
            verdict = self._verdict("output", languages(record.output))
            return verdict if verdict and not self._asked(record) else None
        return None

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: this filter remembers nothing."""
        return record

    def _verdict(self, field: str, found: dict[str, float]) -> Drop | None:
        confidence = self._refused(found)
        if confidence < self.min_confidence:
            return None
        return Drop("language_not_allowed", f"the {field} is {_likeliest(found)} ({confidence:.2f})")

    def _asked(self, record: TaskInstance) -> bool:
        """True where the task names a language or a place, or hands over a text that is not in an allowed language."""
        task = f"{record.instruction[:READ]}\n{record.input[:READ]}"
        return bool(_knowledge().asks.search(task)) or self._refused(languages(record.input)) >= LIKELY

    def _refused(self, found: dict[str, float]) -> float:
        """How probable the likeliest refused language is beside all that are allowed."""
        allowed = sum(share for language, share in found.items() if language in self.allowed)
        refused = max((share for language, share in found.items() if language not in self.allowed), default=0.0)
        return refused / (refused + allowed) if refused else 0.0


def detect(text: str) -> tuple[str, float] | None:
    """The language a text is written in as an ISO 639-1 code, and how probable it is; None where none is likely.

    What stands before a colon or the first line end decides where it tells: 翻译：I see. is Chinese. Traditional and
    simplified Chinese are ``zh`` alike.
    """
    found = _framed(text, languages(text))
    language = _likeliest(found)
    return (language, found[language]) if found.get(language, 0.0) >= LIKELY else None


def languages(text: str) -> dict[str, float]:
    """The probability of each language a text may be written in, by ISO 639-1 code; empty where nothing tells.

    A text of several scripts is shared out among them, an ideograph counting as half a word, another letter as a third;
    Latin words that nothing shows to be English are borrowed terms where another script has at least as much.
    """
    prose = _prose(text[:READ])
    words = [word for word in _WORD.findall(prose) if not _CAMEL.search(word)]
    if prose.isascii():
        return _of_latin(words) if words else {}
    counts = Counter(map(_script, filter(str.isalpha, _GREEK_TERM.sub(" ", prose))))
    weights = {script: count / (2 if script == "CJK" else 3) for script, count in counts.items() if script}
    latin = _of_latin(words) if words and not _framed_in_ideographs(prose, words[0]) else {}
    told = max(latin.values(), default=0.0) >= LIKELY and len(words) > max(weights.values(), default=0.0)
    if latin and (told or not weights or _hints(words)):
        weights["LATIN"] = len(words)
    total = sum(weights.values())
    found: dict[str, float] = {}
    for script, weight in weights.items():
        shares = latin if script == "LATIN" else _of_script(script, prose)
        for language, share in shares.items():
            found[language] = found.get(language, 0.0) + share * weight / total
    return found


def _framed(text: str, found: dict[str, float]) -> dict[str, float]:
    """The languages of what stands before a colon or the first line end, where it tells; else those found in all."""
    prose = _prose(text[:READ]).strip()
    lead = _LEAD.split(prose, maxsplit=1)[0]
    in_lead = languages(lead) if len(lead) < len(prose) else {}
    language = _likeliest(in_lead)
    if in_lead.get(language, 0.0) < LIKELY or (language, _likeliest(found)) == ("zh", "ja"):  # kanji alone
        return found
    return in_lead


def _likeliest(found: dict[str, float]) -> str:
    return max(found, key=found.__getitem__, default="")


def _framed_in_ideographs(prose: str, first_word: str) -> bool:
    """True where a clause stands before the first Latin word, or ideographs begin and end the text: they frame it."""
    opening = _HANZI.findall(prose[: prose.index(first_word)])
    return len(opening) >= CLAUSE or bool(opening and _HANZI.search(prose.rstrip()[-3:]))


def _of_script(script: str, prose: str) -> dict[str, float]:
    if script == "CJK":
        return _of_ideographs(prose)
    expected = _knowledge().expected[script]
    return _modelled(prose[: 5 * WORDS], expected) if len(expected) > 1 else {expected[0]: 1.0}


def _of_latin(words: Sequence[str]) -> dict[str, float]:
    words = words[:WORDS]
    hints = _hints(words)
    if len(set(hints)) >= 2 and 7 * len(hints) >= len(words):
        return {"en": 1.0}
    if (len(words) == 1 and not hints) or (len(words) >= CLAUSE and _is_pinyin(words)):
        return {}  # one word is a name as often as not
    found = _modelled(" ".join(words), _knowledge().expected["LATIN"], len(set(hints)))
    return found if max(found.values()) >= BLIND else {}


def _of_ideographs(prose: str) -> dict[str, float]:
    """Chinese, unless kana and characters that only Japan writes outweigh those that only China writes."""
    known, han = _knowledge(), _HANZI.findall(prose)
    kana, forms = len(_KANA.findall(prose)), len(known.japanese.intersection(han))
    if not kana and not forms:
        return {"zh": 1.0}
    japanese = kana + 6 * forms
    chinese = 6 * sum(map(known.chinese.__contains__, han)) + len(han) / 60
    return {"ja": japanese / (japanese + chinese), "zh": chinese / (japanese + chinese)}


def _modelled(text: str, expected: Iterable[str], english_hints: int = 0) -> dict[str, float]:
    """The model's probabilities of the languages expected in a script."""
    ranked = dict(_ranker()(text))
    scores = {language: ranked[language] for language in expected}
    if english_hints:
        scores["en"] += HINT * english_hints
    best = max(scores.values())
    odds = {language: math.exp((score - best) / TEMPERATURE) for language, score in scores.items()}
    total = sum(odds.values())
    return {language: share / total for language, share in odds.items()}


def _has_sentences(output: str) -> bool:
    """True for more than names, labels and terms: they stand in any text, and the model takes them for anything."""
    text = output[:READ]
    words = _WORD.findall(text)
    small = sum(map(str.islower, words))
    others = 0 if text.isascii() else sum(map(bool, map(_script, filter(str.isalpha, text))))
    return (small >= SENTENCE and 2 * small > len(words)) or others >= SENTENCE


def _is_pinyin(words: Sequence[str]) -> bool:
    """True for romanised Chinese, which the model takes for Vietnamese, Tagalog or anything else."""
    if not any(word[0] in "qxzQXZ" for word in words):
        return False
    marks_apart = (unicodedata.normalize("NFD", word.lower()) for word in words)
    return all(_PINYIN.fullmatch("".join(filter(str.isascii, word))) for word in marks_apart)


def _hints(words: Sequence[str]) -> list[str]:
    """The words that only English uses often, an imperative at the beginning standing for itself."""
    known, small = _knowledge(), [word.lower() for word in words]
    opening = [f"{small[0]} …"] if small[0] in known.openings else []
    return [word for word in small if word in known.english] + opening


def _prose(text: str) -> str:
    """What the text says itself: without code, addresses, formulas, and quotations unless they are all there is.

    Full-width letters become plain ones.
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    prose = "\n".join(line for line in _CODE.sub(" ", plain).splitlines() if not _is_code(line))
    frame = _QUOTED.sub(" ", prose)
    return frame if any(map(str.isalpha, frame)) else prose


def _is_code(line: str) -> bool:
    """True for a line of a program or a formula; a sentence may hold an ``f(x) = 3``."""
    if _CODE_LINE.search(line):
        return line.isascii() or not _HANZI.search(line)
    if not _CODE_SIGN.search(line):
        return False
    return len(_PLAIN_WORD.findall(line)) < 3 and sum(not char.isascii() and char.isalpha() for char in line) < 2


@functools.lru_cache(maxsize=1 << 15)
def _script(letter: str) -> str:
    """``CJK`` for ideographs and kana, else the script's Unicode name; empty for Latin and what we know nothing of."""
    script = unicodedata.name(letter, "").partition(" ")[0]
    if script in ("CJK", "HIRAGANA", "KATAKANA"):
        return "CJK"
    return script if script != "LATIN" and script in _knowledge().expected else ""


class _Knowledge(NamedTuple):
    asks: re.Pattern[str]
    expected: dict[str, tuple[str, ...]]
    english: frozenset[str]
    openings: frozenset[str]
    japanese: frozenset[str]
    chinese: frozenset[str]


def _known_languages() -> set[str]:
    return {"ja", "zh"}.union(*_knowledge().expected.values())


@functools.cache
def _knowledge() -> _Knowledge:
    """The rules, and what national character sets say: an ideograph that JIS X 0208 alone has is Japanese."""
    values = {name: rule.value for name, rule in rules.explained("language_id").items()}
    japan = _characters("shift_jis")
    china = _characters("gb2312") | _characters("big5")
    shared = rules.explained("languages")
    asks = [*shared["asks_for_another_language"].value, *shared["asks_for_code"].value]
    return _Knowledge(
        _any_of([*asks, *values["excuses_another_language"]]),
        {script: tuple(expected) for script, expected in values["scripts"].items()},
        frozenset(values["english_words"]),
        frozenset(values["english_openings"]),
        japan - china - set(values["chinese_variants"]),
        china - japan,
    )


def _any_of(entries: Sequence[str]) -> re.Pattern[str]:
    """A pattern of all entries: Chinese ones anywhere, English ones as whole words, * standing for any ending."""
    chinese = [re.escape(entry) for entry in entries if not entry.isascii()]
    english = [re.escape(entry).replace(r"\*", "[a-z]*") for entry in entries if entry.isascii()]
    return re.compile(rf"{'|'.join(chinese)}|(?<![a-z0-9])(?:{'|'.join(english)})(?![a-z0-9])", re.IGNORECASE)


def _characters(charset: str) -> frozenset[str]:
    """The ideographs a character set has, among the 20 992 of Unicode's first block."""
    block = map(chr, range(0x4E00, 0xA000))
    return frozenset(char for char in block if char.encode(charset, "ignore"))


@functools.cache
def _ranker() -> Callable[[str], list[tuple[str, float]]]:
    """The model, loaded once for all and kept to the languages that the rules expect: text → (language, score)s."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # half a second and 90 MB, so only where it is needed

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(_known_languages())
    rank: Callable[[str], list[tuple[str, float]]] = identifier.rank
    return rank
