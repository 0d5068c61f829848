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

_LOOKED_AT: Final = 400  # characters of a value that the patterns see
_WIDE: Final = str.maketrans(
    "０１２３４５６７８９：／．，；（）［］【】＃＝＊－～①②③④⑤⑥⑦⑧⑨評釋總級綜終饋餘鑑"
    "ＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ",
    "0123456789:/.,;()[][]#=*-~123456789评释总级综终馈余鉴ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
)
_MANY: Final = "two|three|four|five|six|seven|eight|nine|ten"
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
    r"\s*(?:[.,;:!()|。、，；：！…]|[-–—](?!\s*\Z)|(?:because|since|as|for|due|with)\b|因为|由于|因)|\s*\Z"
)
_SCALE_AGAIN: Final = re.compile(  # the denominator in a gloss: "满分5分", "(1-5)", "on a scale of 1 to 5", "out of 5"
    r"(?:满分\s*(?:为|是)?|(?:out\s+of|of)\s+(?:a\s+(?:possible\s+)?|the\s+)?|/)\s*(?P<a>\d+|five|ten)(?!\d|\.\d)\s*分?"
    r"|(?P<b>\d+)\s*分制|(?:\(|scale\s+(?:of|from)\s+)1\s*(?:[-–—~到至]|to)\s*(?P<c>\d+)(?=\s*\)|\D*$)"
)
_MORE: Final = re.compile(  # another number in a gloss, be it in words: "maybe three", "也许三分", "扣一分"
    r"\d|^\s*(?:plus|minus)\b"
    rf"|\b(?:maybe|perhaps|possibly|probably|or|no|rather|actually|reflection|minus|less|most|least|than|say|to|be)[\s,:;-]+(?:an?\s+)?(?:{_MANY})\b"
    r"|\b(?:minus|less)\s+one\b|[一二三四五六七八九两]\s*分|\bn/a\b"
)
_NA: Final = re.compile(r"\(?(?:n\s?/\s?a|n\.\s?a\.?|na|not[\s-]applicable|non-applicable|不适用|无法适用)(?![a-z/])")
_NONE: Final = re.compile(r"(?:none|no(?=\s|\Z)|n/a|not applicable|null|nil|无|没有|不适用|不存在)(?![a-z])")
_ASIDE: Final = re.compile(r"\([^()]*\)")
_COUNTS: Final = re.compile(r"\d\s*(?:times|cases|places|instances|types|examples|errors|points|处|次|个|例|种|点)")
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


_PLACE: Final = re.compile(
    r"[<＜〈‹][^<＜〈‹>＞〉›]*[>＞〉›]"
    r"|[\[【［]\s*(?:your|insert|write|why|give|explain|in (?:short|brief|one|a)|the (?:reason|rationale)"
    r"|(?:short |brief )?(?:rationale|reason|explanation|justification)"
    r"|你的|您的|此处|在此|填写|写出|请|简要|理由)[^\[\]【】［］]*[\]】］]",
    re.IGNORECASE,
)


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
    """Whether a rationale has words, and is not the place to be filled in, "<why this rating>", "[Your rationale]"."""
    return re.search(r"[^\W_]", said) is not None and _PLACE.fullmatch(said.strip()) is None


def rating_of(said: str, *, na: bool) -> int | None:
    """The rating that a label's value says; None for "N/A".

    Raises ParseError: ``missing_rating``, ``doubled_rating``, ``rating_out_of_range``, ``na_not_allowed``.
    """
    words = unmarked(said)
    absent = _NA.match(words)
    if absent:
        if _ANOTHER.match(words, absent.end()) or re.search(r"\d", _ASIDE.sub(" ", words[absent.end() :])):
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
    words = _ASIDE.sub(" ", unmarked(said)).strip(" .。,()")
    if _NONE.match(words):
        if re.search(r"\d", words):
            raise ParseError("type_out_of_range", f"none and a number: {_shown(said)}")
        return ()
    words = re.sub("[一二三](?=[和与及]|类|[\\W\\d_]|$)", lambda sign: str(_ZH[sign[0]]), words)
    if not words or not re.search(r"\d", words):
        raise ParseError("missing_type", _shown(said))
    numbers = re.findall(r"\d+(?:\.\d+)?", words)
    listed = _TYPE_LIST.fullmatch(words) and not _COUNTS.search(words)
    if not listed or not all(number in map(str, TYPES) for number in numbers):
        raise ParseError("type_out_of_range", _shown(said))
    return tuple(sorted({int(number) for number in numbers}))


def unmarked(said: str) -> str:
    """The start of a value or a line as `plain` text without emphasis, quotation marks and square brackets."""
    return _MARKS.sub("", plain(said[:_LOOKED_AT])).strip()


def _shown(said: str) -> str:
    """The value as a message shows it."""
    return said.strip()[:60]


class _Number(NamedTuple):
    """A number at the start of a value, its denominator, and the words behind both."""

    sign: str
    digits: str
    top: str | None
    rest: str


def _number(words: str, *, prose: bool) -> _Number | None:
    """The number that a value begins with. ``prose``: or that stands in brackets behind its name, "Full (5)"."""
    named = _NAMED.fullmatch(words) if prose else None
    words = named[1] if named else words
    if _SPELLED.match(words):
        words = _SPELLED.sub(lambda found: str(_WORDS.get(found[1]) or _ZH[found[2]]), words, count=1)
    number = _NUMBER.match(words)
    if not number:
        return None
    end = number.end()
    scale = _SCALE.match(words, end) or _ONE_UNIT.match(words, end)
    top = scale.groupdict().get("top") if scale else None
    return _Number(number["sign"], number["number"], top, words[scale.end() if scale else end :])


def behind_rating(said: str) -> str:
    """What a rating's value says besides: all of it where it gives none."""
    words = unmarked(said)
    absent = _NA.match(words)
    number = _number(words, prose=False)
    return (words[absent.end() :] if absent else number.rest if number else words) + said[_LOOKED_AT:]


def _value(said: str, what: Literal["rating", "score"], best: int, *, prose: bool) -> float:
    """A number from 1 to ``best`` at the start of ``said``; behind it only its scale, its unit and a gloss.

    The gloss has no number but the scale once more ("满分5分"), since that may be what is meant ("4, maybe 3").
    ``prose``: it may be words without a mark before them ("4 substantial compliance").
    """
    number = _number(unmarked(said), prose=prose)
    if not number:
        raise ParseError(f"missing_{what}", _shown(said))
    rest = number.rest
    if _ANOTHER.match(rest) and not re.match(r"\s*/\s*\d", rest):
        raise ParseError(f"doubled_{what}", _shown(said))
    value = float(number.digits) if len(number.digits) < 9 else float("inf")
    if (
        number.sign
        or not 1 <= value <= best
        or (number.top and _WORDS.get(number.top, number.top) not in (best, str(best)))
    ):
        raise ParseError(f"{what}_out_of_range", _shown(said))
    if not _GLOSS.match(rest) and not (prose and re.match(r"\s+[^\W\d_]", rest)):
        raise ParseError(f"missing_{what}", _shown(said))
    if _MORE.search(_SCALE_AGAIN.sub(lambda scale: _kept(scale, best), rest)) or re.search(r"\d", said[_LOOKED_AT:]):
        raise ParseError(f"doubled_{what}", _shown(said))
    return value


def _kept(scale: re.Match[str], best: int) -> str:
    """Nothing for the denominator that the number has; another one as it stands there."""
    top = next(filter(None, scale.groups()))
    return " " if _WORDS.get(top, top) in (best, str(best)) else scale[0]
