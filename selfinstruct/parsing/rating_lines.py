"""One line of a judge's answer: does it begin the section of a text, or a rating, a type, a reason?

A line counts only by how it begins, so that what a reason quotes within a line is never taken for a section.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from selfinstruct.parsing.rating_values import plain

Kind = Literal["rating", "rationale", "rating_rationale", "type", "type_rationale"]
LOOKED_AT: Final = 300  # characters of a line: headers and labels are short, and no pattern sees more
_DIGITS_ZH: Final = "一二三四五六七八九十"
_SPELLED: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_TEXT: Final = r"(?:text|output|response|answer|completion|reply|candidate|passage|sample|generation)"
_TEXT_ZH: Final = r"(?:文本|输出|回答|回复|答案|回应|响应|文段|段落|答复|样本|候选)"
_N: Final = rf"(?:\d{{1,4}}(?!\d|\.\d)|[{_DIGITS_ZH}](?![{_DIGITS_ZH}])|(?:{'|'.join(_SPELLED)})\b)"


def _numbered(name: str) -> str:
    """A pattern for "text 1", "<text 1>", "文本1", "第一段文本"; its number is group ``name`` or ``name``zh."""
    return (
        rf"(?:(?:{_TEXT}|{_TEXT_ZH})s?\s*+(?:no\.?|number|\#|-|_|编号|第)?\s*+[<\[(〔]?\s*+(?P<{name}>{_N})\s*+[>\])〕]?"
        rf"|第\s*(?P<{name}zh>{_N})\s*(?:个|段|篇|份|条|则)?\s*{_TEXT_ZH})"
    )


_WHAT: Final = (
    r"(?:outputs?|evaluations?|assessments?|ratings?|scores?|annotations?|analysis|reviews?|results?|feedback"
    r"|judge?ments?)"
)
_WHAT_ZH: Final = r"(?:输出|评估|评价|评分|打分|分析|标注|结果|评审|反馈|评语|评判)"
_SYMBOLS: Final = "=~←-➿⬀-⯿\ufe0f\U0001f300-\U0001faff"  # arrows, ticks, dingbats and emoji
_OPENING: Final = rf"[\s>#*_`•·◦▪+\\{_SYMBOLS}-]*+(?:\(?(?:\d{{1,2}}|[{_DIGITS_ZH}])[.)、]\s*+)?[\s*_`\[(<《〔#]*+"
_HEADER: Final = (
    rf"{_OPENING}(?:(?:the\s+)?{_WHAT}\s*+[:–—-]?\s*+(?:(?:for|of|on)\s+)?(?:the\s+)?[<\[(*_`]*+"
    rf"|{_WHAT_ZH}\s*+[:(]?\s*+|(?:对|关于|针对)于?\s*+)?{_numbered('n')}(?:['’]s\b)?[\s\])>》〕*_`]*+"
)
_WHOLE_HEADER: Final = re.compile(
    rf"{_HEADER}(?:[:–—-]\s*+)?(?:的?\s*(?:{_WHAT}\b|{_WHAT_ZH}))*+[\s*_`\])>》〕:.。–—#{_SYMBOLS}-]*+$"
)
_TITLED_HEADER: Final = re.compile(rf"(?=\s*\#){_HEADER}[:(|–—-][^\n]{{0,100}}$")
_BARE_HEADER: Final = re.compile(
    rf"\s*(?:\#+\s*+\(?(?P<a>{_N})\)?|\*\*\(?(?P<b>{_N})\)?[.:]?\*\*|\[(?P<c>{_N})\]|\(?(?P<d>{_N})[.):])[.:)]?\s*$"
)
_NAMELESS: Final = re.compile(
    rf"\s*(?:\#+\s*|\*\*\s*)(?:{_WHAT}\s+(?:for|of)\s+)?(?:the\s+)?(?:{_TEXT}s?|{_TEXT_ZH}(?:的?{_WHAT_ZH})?)(?:\s+{_WHAT})?[\s:*#]*$"
)
_REASON: Final = r"(?:rationales?|reasons?|reasoning|justifications?|explanations?)"
_REASON_ZH: Final = r"(?:理由|解释|依据|原因|说明)"
_TYPE: Final = (
    r"(?:(?:(?:hallucination|informativeness|helpfulness|error)\s+)?types?(?:\(s\))?(?!\w)"
    r"|(?:幻觉|信息量?|错误)?类型|种类)"
)
_AGAIN: Final = (  # a rating said once more, in the end; not a list of all of them ("Final ratings: 4, 2")
    r"(?:(?:the\s+)?(?:final|revised|corrected|updated|adjusted|amended)\s+(?!\w+s\b)"
    r"|(?:最终|最后|(?:修改|修正|更正|调整|更新)后?)的?)?"
)
_NAME: Final = (
    rf"(?:(?P<rating_rationale>{_REASON}\s+(?:for|of|behind)\s+(?:the\s+|this\s+)?(?:rating|score)|(?:rating|score)\s+{_REASON}"
    rf"|(?:评分|打分|得分|评级)的?{_REASON_ZH}|{_REASON_ZH}\s*\((?:评分|rating)\))"
    rf"|(?P<type_rationale>{_REASON}\s+(?:for|of|behind)\s+(?:the\s+|this\s+)?(?:type\s+)?(?:types?(?:\(s\))?|identification)"
    rf"|(?:type|identification)s?\s+{_REASON}|(?:类型|种类|识别|幻觉)的?{_REASON_ZH}|{_REASON_ZH}\s*\((?:类型|type)\))"
    rf"|{_AGAIN}(?P<rating>ratings?|scores?|grades?|评分|评级|得分|分数|打分)"
    rf"|(?P<type>{_TYPE})|(?P<rationale>{_REASON}|{_REASON_ZH}))"
)
_LABEL: Final = re.compile(
    r"(?P<lead>(?:[\s>#•·◦▪+\\-]|\*(?=\s))*+)(?P<number>\(?\d{1,2}[.)、]\s*+)?"
    rf"(?:[*_`\[(<]*+(?:{_WHAT}\s+(?:for|of)\s+)?{_numbered('n')}(?:['’]s\b)?[\s\])>*_`]*+[:,.|–—-]*+\s*+的?)?"
    rf"(?P<open>[*_`]*+)(?P<bracket>[\[(]?){_NAME}(?P<of>\s+(?:for|of)\s+(?:the\s+)?{_numbered('m')})?"
    r"(?P<close>[*_`\])]*+)(?:\s*+\((?!\s*\d+\s*\))(?P<about>[^()\n]{0,40})\)(?P<late>[*_`]*+))?\s*+"
    r"(?:(?P<colon>[:=]\s*+|[–—-]+\s+)|(?P<end>$)|(?=(?P<loose>\S)))"
)
_INLINE: Final = re.compile(rf"[\s,;.|。、/)*_–—-]+[*_`\[(]*+{_NAME}[*_`\])]*+\s?:")
_LONE_RATING: Final = re.compile(r"[*_`\[(]*+\d{1,2}(?:\s*(?:/|out of)\s*\d+)?[*_`\])]*+\s*分?[\s.。]*$|n/a[\s.]*$")
_RATES: Final = re.compile(r"[\s*_`\[(]*+(?:\d|n/a|不适用)")
_KINDS: Final[tuple[Kind, ...]] = ("rating_rationale", "type_rationale", "rating", "type", "rationale")
_ABOUT: Final = re.compile(rf"\s*(?:(?:for|of)\s+)?(?:the\s+)?{_numbered('n')}\s*")
_NAMED_TEXT: Final = re.compile(_numbered("n"))


class Found(NamedTuple):
    """A label at the start of a line, or behind another one's value."""

    kind: Kind
    word: str
    said: str
    text: int | None
    item: int | None
    before: str = ""  # the line up to what it says


class Line(NamedTuple):
    """A line, and what it begins."""

    raw: str
    header: int | None  # the number of the text whose section it begins
    bare: int | None  # the same, of a line that is nothing but a number
    nameless: bool  # it begins a section and does not say whose
    found: Sequence[Found]


def line_read(raw: str, types: bool) -> Line:
    """What a line begins; ``types``: whether "Type:" is a label."""
    line = plain(raw[:LOOKED_AT])
    found = _labels(raw, line, types) if line.strip() else []
    if found or not line.strip():
        return Line(raw, None, None, False, found)
    header = _WHOLE_HEADER.match(line) or _TITLED_HEADER.match(line)
    bare = _BARE_HEADER.match(line)
    return Line(
        raw,
        _number(header["n"] or header["nzh"]) if header else None,
        _number(next(filter(None, bare.groups()))) if bare else None,
        not header and _NAMELESS.match(line) is not None,
        (),
    )


def _number(said: str) -> int:
    if said in _SPELLED:
        return _SPELLED.index(said) + 1
    return _DIGITS_ZH.index(said) + 1 if said in _DIGITS_ZH else int(said)


def _labels(raw: str, line: str, types: bool) -> list[Found]:
    """The label that begins the line, and those that follow a rating or a type on it; a reason ends with its line."""
    label = _LABEL.match(line)
    if not label or not _is_label(label, line):
        return []
    kind, word = _name_of(label)
    if not types and kind.startswith("type"):
        return []
    texts = {_number(said) for said in label.group("n", "nzh", "m", "mzh") if said}
    about = _ABOUT.fullmatch(label["about"] or "")
    texts |= {_number(about["n"] or about["nzh"])} if about else set()
    item = int(re.sub(r"\D", "", label["number"])) if label["number"] else None
    found = [
        Found(
            kind, word, _without_closing(raw[label.end() :], label), min(texts, default=None), item, raw[: label.end()]
        )
    ]
    start = label.end()
    while kind in ("rating", "type") and (following := _INLINE.search(line, start, start + 100)):
        kind, word = _name_of(following)
        found[-1] = found[-1]._replace(said=raw[start : following.start()])
        start = following.end()
        found.append(Found(kind, word, raw[start:].lstrip(" \t*_`"), found[0].text, None))
    return found if len(texts) < 2 else []


def _is_label(label: re.Match[str], line: str) -> bool:
    """Whether a name at the start of a line is a label: a colon, marks around it, or nothing but a rating behind it."""
    if label["colon"]:
        return True
    if label["end"] is not None:
        return not any(label.group("n", "nzh", "m", "mzh"))
    rates = label["rating"] is not None
    if rates and _LONE_RATING.match(line, label.end()):
        return True
    closed = (label["open"] and (label["close"] or label["late"])) or (label["bracket"] and label["close"])
    return bool(closed) and (not rates or _RATES.match(line, label.end()) is not None)


def _name_of(label: re.Match[str]) -> tuple[Kind, str]:
    """What a label is for, and its word."""
    kind = next(kind for kind in _KINDS if label[kind] is not None)
    return kind, label[kind].rstrip("s")


def _without_closing(said: str, label: re.Match[str]) -> str:
    """What follows a label, without the marks that close what was opened before the label."""
    opened = label["open"]
    if opened and not label["close"] and not label["late"]:
        return said[len(opened) :].lstrip() if said.startswith(opened) else said.rstrip().removesuffix(opened)
    if label["bracket"] == "[" and not label["close"]:
        return said.rstrip().removesuffix("]").removesuffix("】")
    return said


def texts_named(line: str) -> set[int]:
    """The numbers of the texts that a line, as `plain` text, mentions."""
    return {_number(match["n"] or match["nzh"]) for match in _NAMED_TEXT.finditer(line)}
