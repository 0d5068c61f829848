"""The fields of worked examples: between our own tags, or between the labels models write instead of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Final, Literal, NamedTuple

from selfinstruct.parsing.markup import in_fence, is_rule

Kind = Literal["before", "example", "input", "output"]


class Field(NamedTuple):
    """A stretch of an answer: ``text`` stands behind its delimiter, ``after`` behind its closing tag, if it has one.

    An ``example`` field is what follows an example's heading, a ``before`` field what precedes the first delimiter;
    ``verbatim`` is the text with its label, empty behind one of our own tags (``tagged``), which are never text.
    """

    kind: Kind
    text: str
    verbatim: str = ""
    after: str | None = None
    tagged: bool = False


# --- our own tags ---------------------------------------------------------------------------------------------------

_OPENING: Final = r"<(?:example\b[^<>\n]{0,12}|input|output|label)\s?>"
_CLOSING: Final = r"</(?:example|input|output|label)\s?>"
_ADJACENT: Final = re.compile(rf"({_OPENING}|{_CLOSING})[^\S\n]{{0,8}}(?={_OPENING})", re.IGNORECASE)
_TAG: Final = re.compile(r"(?im:^)[^\S\n]{0,8}<(?i:(example)\b[^<>\n]{0,12}|(input|output|label)\s?)>(?:：|:(?=\s))?")
_HAN: Final = "一二三四五六七八九十"
# Our tags as a Chinese model may put them: <示例1> 【输入】 ＜output＞; an opening one stands at the start of a line.
_CHINESE: Final = re.compile(
    rf"(?:(?m:^)[^\S\n]{{0,8}}[*_`]{{0,3}}[<＜【]|[<＜【](?P<closes>/))(?:(?P<example>(?:示例|例子|样例|案例|example)\s?"
    rf"[\d{_HAN}]{{0,3}})|(?P<input>输入|input)|(?P<output>输出|output)|(?P<label>标签|类别|label))[>＞】][*_`]{{0,3}}",
    re.IGNORECASE,
)
_LIST_END: Final = re.compile(r"(?im:^)[^\S\n]*</?(?:examples|tasks?)\b[^<>\n]{0,12}>")
_LONE_TAG: Final = re.compile(
    rf"{_LIST_END.pattern}|(?im:^)[^\S\n]*(?:{_OPENING}|</(?:example|input|output)\s?>)[^\S\n]*(?m:$)", re.IGNORECASE
)
_DRESSED: Final = re.compile(
    rf"(?m:^)[^\S\n]{{0,8}}[*_`]{{1,3}}({_OPENING}|{_CLOSING}|</?tasks?\s?>)[*_`]{{1,3}}[^\S\n]{{0,8}}(?m:$)",
    re.IGNORECASE,
)
_BEGUN_TAG: Final = re.compile(r"(?m:^)[^\S\n]{0,8}<[/a-z]{0,8}(?:(?<=example)[^<>\n]{0,6})?\Z", re.IGNORECASE)
# Inside a line "<input>" can be an answer about HTML; behind the end of a sentence, or half written, it cannot.
_DANGLING_TAG: Final = re.compile(
    r"</?(?:example|task)s?[\s#]{0,2}\d{0,3}\s?>?|</?(?:exam?p?l?e?|task?|inpu?t?|outp?u?t?|labe?l?)"
    r"|(?:(?<=[.!?。！？>])|(?<=[.!?。！？>][^\S\n]))</?(?:input|output|label)\s?>",
    re.IGNORECASE,
)
_LONGEST_DANGLING: Final = 20  # characters, of the pattern above


def without_begun_tag(text: str) -> str:
    """The text without a last line that is the first half of a tag, and without tags that dangle at its end."""
    begun = _BEGUN_TAG.search(text)
    return _without_dangling_tags(text[: begun.start()] if begun else text)


def without_tags(text: str) -> str:
    """A field's text up to the first of our tags that has a line to itself, without tags that dangle at its end."""
    tag = _LONE_TAG.search(text)
    return _without_dangling_tags(text[: tag.start()] if tag else text)


def _without_dangling_tags(text: str) -> str:
    kept = end = len(text.rstrip())
    while (start := text.rfind("<", max(0, end - _LONGEST_DANGLING), end)) >= 0:
        if not _DANGLING_TAG.fullmatch(text, start, end):
            break
        kept = end = start
        while end and text[end - 1].isspace():
            end -= 1
    return text[:kept] if kept < len(text.rstrip()) else text


def before_next_task(text: str) -> str:
    """What a continued answer says before it ends the examples or goes on to another task."""
    end = _LIST_END.search(text)
    return text[: end.start()] if end and text[: end.start()].strip() else text


def tagged_fields(text: str, kinds: Mapping[str, Kind]) -> list[Field]:
    """The fields between our tags (``kinds`` says what each tag's name stands for); none if only examples are tagged.

    A tag counts at the start of a line or right behind another tag; code fences do not hide it. Tags that follow the
    end of the list, or the next task, do not count.
    """
    text = _ADJACENT.sub(r"\1\n", text)
    tags = [tag for tag in _TAG.finditer(text) if _name(tag) in kinds]
    if all(_name(tag) == "example" for tag in tags):
        return []
    list_end = _LIST_END.search(text, tags[0].end())
    tags = [tag for tag in tags if not list_end or tag.start() < list_end.start()]
    fields = [Field("before", text[: tags[0].start()])]
    for tag, following in zip_longest(tags, tags[1:]):
        inner, after = split_closed(text[tag.end() : following.start() if following else None], _name(tag))
        fields.append(Field(kinds[_name(tag)], inner.lstrip(" \t"), after=after, tagged=True))
    return fields


def undressed(text: str) -> str:
    """The text with our tags freed from bold marks and backticks, where such a tag has its line to itself."""
    return _DRESSED.sub(r"\1", text)


def in_english(text: str) -> str:
    """The text with our tags as we write them, where they stand in Chinese or between full-width brackets."""
    return _CHINESE.sub(lambda tag: f"<{tag['closes'] or ''}{tag.lastgroup}>", text)


def _name(tag: re.Match[str]) -> str:
    return str(tag[1] or tag[2]).lower()


def split_closed(body: str, name: str) -> tuple[str, str | None]:
    """What stands before the closing tag, and what stands behind it (None: it is not closed)."""
    closing = re.search(rf"</(?:{name}|examples?)\s?>", body, re.IGNORECASE)
    return (body[: closing.start()], body[closing.end() :]) if closing else (body, None)


# --- the labels models write ----------------------------------------------------------------------------------------


class Names(NamedTuple):
    """What a field is called. Once a label of one tier says something in an answer, labels of later tiers are text."""

    kind: Kind
    tier: int
    pattern: re.Pattern[str]


class _Mark(NamedTuple):
    """A delimiter at the start of a line, and the text behind it on that line."""

    line: int
    kind: Kind
    rest: str
    tier: int = 0
    number: int = 0


# One "#" is left out: in code without a fence it begins a comment, and "# Output: 3" is a usual one.
_LEAD: Final = (
    r"(?:\#{2,6}\s{0,4}|>\s?|[-*+•]\s{1,4}|\d{1,2}[.)]\s{1,4}|(?:\d{1,2}[、．）]|[（(]\d{1,2}[)）])\s{0,4})?[*_`]{0,3}"
)
_NUMBER: Final = rf"(?:\d{{1,3}}|[{_HAN}])"
_EXAMPLE: Final = re.compile(
    rf"(?:<example\b\s?(?P<tagged>\d{{1,3}})?\s?>|{_LEAD}(?:第\s?(?P<ordinal>{_NUMBER})\s?[个组]?(?:示例|例子|样例|案例)"
    rf"|(?:example|instance|示例|例子|样例|案例|例(?=\s?{_NUMBER}))\s{{0,2}}[（(\#]?(?P<number>{_NUMBER})?[）)]?)"
    r"[*_`]{0,3}(?:\s?[:：.)、][*_`]{0,3}|\s*$))\s*",
    re.IGNORECASE,
)
_SAME_LINE: Final = re.compile(
    r"(?m:^)(.{0,40}?(?:\binput|输入)\s?\d{0,3}\s?[:：].{0,2000}?)(?:[^\S\n]{1,4}|(?<=[。！？；，]))"
    r"(?=(?:output|输出)\s?\d{0,3}\s?[:：])",
    re.IGNORECASE,
)
_NEXT_TASK: Final = re.compile(
    rf"{_LEAD}(?:task|任务)\s?\d{{0,3}}[*_`]{{0,3}}\s?[:：]|{_LIST_END.pattern}", re.IGNORECASE
)


def names(kind: Kind, *tiers: str) -> list[Names]:
    """Patterns for a field's labels (``Output:``, ``**Output:**``, ``Output 2:``, ``### Output``), best tier first."""
    return [
        Names(
            kind,
            tier,
            re.compile(
                rf"(?:{_LEAD}(?:{label})\s?(?:\d{{1,3}})?[*_`]{{0,3}}\s?[:：][*_`]{{0,3}}"
                rf"|(?:\#{{2,6}}\s{{0,4}}\**|\*\*)(?:{label})\s?(?:\d{{1,3}})?\**\s*$)[^\S\n]*",
                re.IGNORECASE,
            ),
        )
        for tier, label in enumerate(tiers)
    ]


def labelled_fields(text: str, layout: Sequence[Names]) -> list[Field]:
    """The fields between labels at the start of lines, code fences left out; always at least the text ``before``."""
    lines = text.split("\n")
    marks = _structural(_marks(lines, layout), lines)
    answered = next((mark.line for mark in marks if mark.kind == "output"), len(lines))
    fenced = in_fence(lines)
    end = next(
        (at for at in range(answered + 1, len(lines)) if not fenced[at] and _NEXT_TASK.match(lines[at].lstrip())),
        len(lines),
    )
    marks = [mark for mark in marks if mark.line < end]
    fields = [Field("before", "\n".join(lines[: marks[0].line if marks else end]))]
    for mark, following in zip_longest(marks, marks[1:]):
        edge = following.line if following else end
        body = [mark.rest, *lines[mark.line + 1 : edge]]
        if not following or following.kind == "example":
            body = _without_last_rule(body)
        fields.append(Field(mark.kind, "\n".join(body), "\n".join(lines[mark.line : edge])))
    return fields


def _without_last_rule(lines: list[str]) -> list[str]:
    """The lines without a rule of dashes at the end, which sets off what follows; stars may be an output."""
    last = next((at for at in range(len(lines) - 1, 0, -1) if lines[at].strip()), 0)
    return lines[:last] if is_rule(lines[last]) and "-" in lines[last] else lines


def apart(text: str) -> str:
    """The text with an output on its input's line ("Input: 2 Output: 4") set on a line of its own."""
    return _SAME_LINE.sub(r"\1\n", text)


def _marks(lines: Sequence[str], layout: Sequence[Names]) -> list[_Mark]:
    """Every delimiter, less the labels that are text because the answer has better ones that say something."""
    found: list[_Mark] = []
    for at, (line, inside) in enumerate(zip(lines, in_fence(lines), strict=True)):
        text = "" if inside else line.lstrip()
        if example := _EXAMPLE.match(text):
            text = text[example.end() :]
            found.append(_Mark(at, "example", text, number=_count(example)))
        for kind, tier, pattern in layout:
            if label := pattern.match(text):
                if example:
                    found[-1] = found[-1]._replace(rest="")
                found.append(_Mark(at, kind, text[label.end() :], tier))
                break
    best: dict[Kind, int] = {}
    for mark, following in zip_longest(found, found[1:]):
        below = lines[mark.line + 1 : following.line if following else None]
        if mark.rest.strip() or any(line.strip() for line in below):
            best[mark.kind] = min(mark.tier, best.get(mark.kind, mark.tier))
    return [mark for mark in found if mark.tier <= best.get(mark.kind, mark.tier)]


def _count(example: re.Match[str]) -> int:
    """The number of an example, 0 if it has none."""
    number = example["number"] or example["ordinal"] or example["tagged"] or "0"
    return int(number) if number.isdigit() else _HAN.index(number) + 1


def _structural(marks: Sequence[_Mark], lines: Sequence[str]) -> list[_Mark]:
    """The marks without examples that an output merely speaks of ("Example: a bird.").

    A numbered example delimits before the first output, where it counts on, and where a field follows it; one without a
    number where a field follows it behind an output, or where it opens the answer.
    """
    kept: list[_Mark] = []
    last, answered = 0, False
    opening = next((at for at, line in enumerate(lines) if line.strip()), 0)
    for mark, following in zip_longest(marks, marks[1:]):
        answered = answered or mark.kind == "output"
        leads = following is not None and following.kind != "example"
        if mark.kind != "example" or lines[mark.line].lstrip().startswith("<"):
            counts = True
        elif mark.number:
            counts = not answered or leads or mark.number > last > 0
        else:
            counts = (answered and leads) or mark.line == opening
        if counts:
            kept.append(mark)
            last = mark.number or last
    return kept
