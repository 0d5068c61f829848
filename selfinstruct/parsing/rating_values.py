"""What a judge writes for a value: a rating from 1 to 5, the types of a text, an overall score from 1 to 10.

Nothing is rounded, scaled or completed: "4/5" is the rating 4, "4/10" is none, "3.5" is none, "3-4" is two.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from selfinstruct.errors import ParseError
from selfinstruct.parsing.markup import simplified

BEST_RATING: Final = 5  # UltraFeedback's aspects are rated from 1 to 5 (systems.md §6.4) …
BEST_SCORE: Final = 10  # … and its critiques end with a score from 1 to 10 (§6.5)
TYPES: Final = (1, 2, 3)  # both typed aspects have three types (§6.4)

_WIDE: Final = str.maketrans(
    "０１２３４５６７８９：／．，；（）［］【】＃＝＊－～①②③④⑤⑥⑦⑧⑨評釋總級綜終饋餘鑑",
    "0123456789:/.,;()[][]#=*-~123456789评释总级综终馈余鉴",
)
_MARKS: Final = re.compile(r"[*_`\[\]\"“”「」$<>]+|\\boxed\b|[{}]")
_WORDS: Final = dict(zip("one two three four five six seven eight nine ten".split(), range(1, 11), strict=True))
_ZH: Final = {**{sign: value for value, sign in enumerate("一二三四五六七八九十", 1)}, "两": 2}
_SPELLED: Final = re.compile(
    r"(?:(one|two|three|four|five|six|seven|eight|nine|ten)(?![a-z])|([一二三四五六七八九十两])(?=\s*(?:分|星|/|\(|\Z)))"
)
_UNIT: Final = r"(?:分|points?\b|stars?\b|星|[★⭐])"
_NUMBER: Final = re.compile(
    r"(?:(?:level|score|rating|等级|级别|打)\s*:?\s*)?\(?\s*(?P<sign>[-−+]?)(?P<number>\d+(?:\.\d+)?)(?:\s*\))?"
)
_NAMED: Final = re.compile(r"[^\d()]{1,80}\(\s*(\d+(?:\s*/\s*\d+)?)\s*\)\s*[.。]?")
_SCALE: Final = re.compile(
    rf"\s*{_UNIT}?\s*(?:/|out of|of)\s*(?:a possible\s*)?(?P<top>\d+(?:\.\d+)?|five|ten)\s*{_UNIT}?"
)
_ONE_UNIT: Final = re.compile(rf"\s*{_UNIT}")
_ANOTHER: Final = re.compile(
    r"\s*(?:(?:[-–—~,、/;|&+]|->|→|to\b|or\b|and\b|至|到|或者?|和)\s*)?(?:[-–—]?\d|n/a\b)|[^\n]{0,20}\bn/a\b"
)
_GLOSS: Final = re.compile(
    r"\s*(?:[.,;:!?()|。、，；：！？…]|[-–—](?!\s*\Z)|(?:because|since|as|for|due|with)\b|因为|由于|因)|\s*\Z"
)
_NA: Final = re.compile(r"\(?(?:n\s?/\s?a|n\.\s?a\.?|na|not[\s-]applicable|non-applicable|不适用|无法适用)(?![a-z/])")
_NONE: Final = re.compile(r"(?:none|no(?=\s|\Z)|n/a|not applicable|null|nil|无|没有|不适用|不存在)(?![a-z])")
_TYPE_LIST: Final = re.compile(
    r"(?:(?:types?|类型|第|#)\s*)?\d+(?:\.\d+)?"
    r"(?:(?:[^\d]*(?:[,、;/&+和与及类]|\band\b)\s*(?:types?|类型|第|#)?\s*|\s+)\d+(?:\.\d+)?)*[^\d]*"
)


class RatedText(NamedTuple):
    """What a judge said of one text in one aspect."""

    rating: int | None
    """1 to 5; None is the judge's "N/A"."""
    rationale: str
    types: tuple[int, ...]
    """A subset of 1 to 3 in ascending order, empty for "None" and where types are not asked for."""
    types_rationale: str


_PLACE: Final = re.compile(r"[<＜〈‹][^<＜〈‹>＞〉›]*[>＞〉›]")


class Wanted(NamedTuple):
    """What the judge was asked for."""

    texts: int
    types: bool
    na: bool


def plain(text: str) -> str:
    """The text with ASCII digits and punctuation for full-width ones, simplified characters, and in lower case.

    One character for each, so that a place in it is the same place in the text.
    """
    if text.isascii():
        return text.lower()
    folded = simplified(text).translate(_WIDE)
    lower = folded.lower()
    return lower if len(lower) == len(folded) else "".join(c.lower() if len(c.lower()) == 1 else c for c in folded)


def is_reason(said: str) -> bool:
    """Whether a rationale says anything: more than white space, or the place to be filled in, "<why this rating>"."""
    return bool(said.strip()) and _PLACE.fullmatch(said.strip()) is None


def rating_of(said: str, *, na: bool) -> int | None:
    """The rating that a label's value says; None for "N/A".

    Raises ParseError: ``missing_rating``, ``doubled_rating``, ``rating_out_of_range``, ``na_not_allowed``.
    """
    words = unmarked(said)
    absent = _NA.match(words)
    if absent:
        if _ANOTHER.match(words, absent.end()):
            raise ParseError("doubled_rating", f"N/A and a number: {_shown(said)}")
        if not na:
            raise ParseError("na_not_allowed", _shown(said))
        return None
    value = _value(said, "rating", BEST_RATING, prose=True)
    if value != int(value):
        raise ParseError("rating_out_of_range", f"no whole number: {_shown(said)}")
    return int(value)


def score_of(said: str) -> float:
    """The overall score that a label's value, or a line alone, says; 7.5 is 7.5, and 1 is 1.

    Raises ParseError: ``missing_score``, ``doubled_score``, ``score_out_of_range``.
    """
    return _value(said, "score", BEST_SCORE, prose=False)


def types_of(said: str) -> tuple[int, ...]:
    """The types that a label's value lists, in ascending order; empty for "None".

    Raises ParseError: ``missing_type`` where it lists nothing, ``type_out_of_range`` for what is no type, or in doubt.
    """
    words = re.sub(r"\([^()]*\)", " ", unmarked(said)).strip(" .。,()")
    if _NONE.match(words):
        if re.search(r"\d", words):
            raise ParseError("type_out_of_range", f"none and a number: {_shown(said)}")
        return ()
    words = re.sub("[一二三](?![^\\W\\d_])", lambda sign: str(_ZH[sign[0]]), words)
    if not words or not re.search(r"\d", words):
        raise ParseError("missing_type", _shown(said))
    numbers = re.findall(r"\d+(?:\.\d+)?", words)
    if not _TYPE_LIST.fullmatch(words) or not all(number in map(str, TYPES) for number in numbers):
        raise ParseError("type_out_of_range", _shown(said))
    return tuple(sorted({int(number) for number in numbers}))


def unmarked(said: str) -> str:
    """The start of a value or a line as `plain` text without emphasis, quotation marks and square brackets."""
    return _MARKS.sub("", plain(said[:400])).strip()


def _shown(said: str) -> str:
    """The value as a message shows it."""
    return said.strip()[:60]


def _value(said: str, what: Literal["rating", "score"], best: int, *, prose: bool) -> float:
    """A number from 1 to ``best`` at the start of ``said``; behind it only its scale, its unit and a gloss.

    ``prose``: the gloss may be words without a mark before them ("4 substantial compliance").
    """
    words = unmarked(said)
    named = _NAMED.fullmatch(words) if prose else None
    words = named[1] if named else words
    words = (
        _SPELLED.sub(lambda found: str(_WORDS.get(found[1]) or _ZH[found[2]]), words, count=1)
        if _SPELLED.match(words)
        else words
    )
    number = _NUMBER.match(words)
    if not number:
        raise ParseError(f"missing_{what}", _shown(said))
    end = number.end()
    scale = _SCALE.match(words, end) or _ONE_UNIT.match(words, end)
    top = scale.groupdict().get("top") if scale else None
    end = scale.end() if scale else end
    if _ANOTHER.match(words, end) and not re.match(r"\s*/\s*\d", words[end:]):
        raise ParseError(f"doubled_{what}", _shown(said))
    value = float(number["number"]) if len(number["number"]) < 9 else float("inf")
    if number["sign"] or not 1 <= value <= best or (top and _WORDS.get(top, top) not in (best, str(best))):
        raise ParseError(f"{what}_out_of_range", _shown(said))
    if not _GLOSS.match(words, end) and not (prose and re.match(r"\s+[^\W\d_]", words[end:])):
        raise ParseError(f"missing_{what}", _shown(said))
    return value
