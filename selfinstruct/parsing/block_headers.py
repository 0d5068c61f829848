"""Lines that may head a field of a task ("4. Instruction: …", "**Input**", "指令4："), and lines that part tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from selfinstruct.parsing.markup import fences, in_fence, indent, simplified

Kind = Literal["instruction", "input", "output"]


class Header(NamedTuple):
    """A line that may head a field; ``rest`` is the text behind the header on that line.

    ``tier`` is how usual the name is (0: the one our prompts use), ``strength`` how much the line looks like a header:
    2 numbered, 1 bold or a heading, 0 plain. ``shape`` is its dress: marks, place of the number, colon. ``loose``
    headers have text behind the name without a colon.
    """

    line: int
    kind: Kind
    tier: int
    strength: int
    number: int | None
    rest: str
    indent: int
    shape: tuple[str, ...]
    loose: bool = False


# The names of each kind, best tier first.
_NAMES: Final[dict[Kind, tuple[str, ...]]] = {
    "instruction": (
        r"(?:task[ -])?instruction|(?:任务|问题|用户)?指令(?:内容)?",
        r"task(?: description)?|prompt|任务(?:描述|内容|说明)?|提示词?|题目|指示",
        r"question|问题|提问|问|要求",
    ),
    "input": (
        r"(?:task )?input(?: text| data)?|输入(?:内容|文本|数据|材料)?",
        r"context|text|passage|material|given|上下文|材料|内容|背景|文本|原文",
    ),
    "output": (
        r"(?:task )?output|输出(?:内容|结果|文本)?",
        r"response|completion|回答|回复|回应|响应|输出示例",
        r"answer|solution|result|expected output|(?:参考)?答案|答|(?:期望|参考)输出|结果",
    ),
}
_PLACES: Final[dict[str, tuple[Kind, int]]] = {
    f"{kind}_{tier}": (kind, tier) for kind, names in _NAMES.items() for tier in range(len(names))
}
_WORD: Final = "|".join(
    f"(?P<{group}>{_NAMES[kind][tier]})".replace(" ", r"\s") for group, (kind, tier) in _PLACES.items()
)
_COUNT: Final = r"\d{1,4}(?:\.\d)?(?!\d)|[一二三四五六七八九十]{1,3}"
_HEADER: Final = re.compile(
    rf"""\s{{0,12}}
        (?P<lead>\#{{1,6}}\s{{0,4}}|[-+•*]\s{{1,4}}|>\s?)?
        (?P<open>[*_`]{{0,3}}[【\[]?[*_]{{0,2}})
        (?:(?:(?:task|example|任务|示例)\s{{0,2}})?(?:第|no\.\s?)?[\#＃]?[（(\[]?(?P<before>{_COUNT})[题条]?[*_`]{{0,3}}
           \s{{0,2}}[.．、)）\]:：。–—-]{{0,2}}[*_`]{{0,3}}\s{{0,4}})?
        (?P<inner>[*_`]{{0,3}}[【\[]?)
        (?:{_WORD})(?P<many>(?:(?<=instruction)|(?<=input)|(?<=output))s|(?<=指示))?
        (?(before)|(?:\s{{0,2}}(?:\#|no\.\s?)?[（(]?(?P<after>{_COUNT})[)）]?)?)
        (?P<close>[】\]]?[*_`]{{0,3}}[】\]]?)
        (?:\s{{0,4}}(?P<colon>[:：﹕∶])|(?<=[】\]])(?P<boxed>\s{{0,4}})|\s{{0,4}}\Z|(?P<loose>\s{{1,4}}(?:[–—-]\s)?(?=\S)))
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LONGEST_HEADER: Final = 80  # characters; the pattern never needs more, a line may have a million
_LETTER: Final = re.compile(r"[^\W\d_]")
_HASHES: Final = re.compile(r"\s{0,4}(?:[#＃]\s?){2,8}\s*")
_DRAWN: Final = re.compile(r"(?:[-*=—－~～]\s?){3,}")  # not "____", a blank to fill in
_DIGITS: Final = {digit: value for value, digit in enumerate("零一二三四五六七八九")}
# A header in the middle of a line, behind its separator, or behind another field with the same number.
_BEHIND_HASHES: Final = re.compile(
    r"(?<=[^\n#])[^\S\n]{0,4}(\#{3})[^\S\n]{0,4}(?=[*_]{0,3}\d{1,4}\s{0,2}[.．、)）]\s{0,4}[*_]{0,3}(?:instruction|指令))",
    re.IGNORECASE,
)
_IN_LINE: Final = re.compile(
    r"(?<=[\s.!?。！？；…\"”'’」』)）])[*_]{0,3}(?P<number>\d{1,4})\s{0,2}[.．、)）]\s{0,4}[*_]{0,3}"
    r"(?:(?P<told>instruction|指令)|input|[输輸]入|(?P<said>output|[输輸]出))[*_]{0,3}\s{0,2}[:：]",
    re.IGNORECASE,
)


def is_hashes(line: str) -> bool:
    """True for a line of nothing but two or more ``#``: it parts tasks, never sections of a text."""
    return _HASHES.fullmatch(line[:_LONGEST_HEADER]) is not None and not line[_LONGEST_HEADER:].strip()


def is_parting(line: str) -> bool:
    """True for a line that only draws: hashes, dashes, stars."""
    return is_hashes(line) or _DRAWN.fullmatch(line.strip()) is not None


def header_of(line: str, position: int = 0) -> Header | None:
    """The header a line begins with, if it may be one."""
    start = simplified(line[:_LONGEST_HEADER])
    found = _HEADER.match(start) if _LETTER.search(start) else None
    if not found:
        return None
    count = found["before"] or found["after"]
    if found["many"] is not None and not found["before"]:
        return None  # "Instructions:" and 指示 are parts of a recipe
    loose = found["loose"] is not None
    kind, tier = next(place for group, place in _PLACES.items() if found[group] is not None)
    if loose and (tier or not found["before"]):
        return None  # "Input is …": the start of a sentence
    heading = (found["lead"] or "").startswith("#")
    strength = 2 if count else 1 if heading or found["open"] or found["inner"] else 0
    rest = line[found.end() :].strip() if loose else _undressed(line[found.end() :], found)
    margin = indent(line[: found.start("open")])
    return Header(position, kind, tier, strength, _value(count), rest, margin, _shape(found), loose)


def _undressed(rest: str, found: re.Match[str]) -> str:
    """What follows a header on its line, without the marks that end its own bold or italic behind the colon."""
    before = found.string[found.end("open") : found.start("inner")]  # with marks in it for "**4.** Input:"
    opened = (found["inner"] or ("" if set("*_`") & set(before) else found["open"])).strip("【[")
    rest = rest.lstrip(" \t")
    return rest if found["close"] else rest.removeprefix(opened[::-1]).lstrip(" \t")


def _shape(found: re.Match[str]) -> tuple[str, ...]:
    lead = (found["lead"] or "").strip()[:1]
    marks = "marked" if found["open"] or found["inner"] or found["close"] else ""
    counted = "before" if found["before"] else "after" if found["after"] else ""
    return lead, marks, counted, ":" if found["colon"] is not None else ""


def _value(count: str | None) -> int | None:
    """The number that digits or Chinese numerals up to 99 say."""
    if count is None or count[0].isascii():
        return int(count.split(".")[0]) if count else None
    tens, ten, units = count.rpartition("十")
    return (_DIGITS.get(tens, 1) * 10 if ten else 0) + _DIGITS.get(units, 0)


def split_lines(text: str) -> list[str]:
    """The lines, with headers that stand in the middle of one set apart ("4. Input: <noinput> 4. Output: yes").

    That is a numbered instruction anywhere, and a field of the task that has begun and has no output yet; before the
    first header the task may be any: the prompt may have begun it.
    """
    lines = _BEHIND_HASHES.sub(r"\n\1\n", text).split("\n")
    if not _IN_LINE.search(text):
        return lines
    pieces: list[str] = []
    number: int | None = None
    answered = False
    for line in lines:
        header = header_of(line)
        if header and not header.tier and header.number is not None:
            number, answered = header.number, header.kind == "output"
        start = 0
        for found in _IN_LINE.finditer(line, len(line) - len(header.rest) if header else 0):
            if found["told"] or (not answered and number in (None, int(found["number"]))):
                pieces.append(line[start : found.start()].rstrip())
                start, number, answered = found.start(), int(found["number"]), found["said"] is not None
        pieces.append(line[start:])
    return pieces


def find_headers(lines: Sequence[str]) -> list[Header]:
    """Every line that may be a header, in order; those in code fences are left out, unless the tasks are fenced."""
    headers = [header for at, line in enumerate(lines) if (header := header_of(line, at))]
    kept = _unfenced(lines, headers)
    if {"instruction", "output"} <= {header.kind for header in kept}:
        return kept
    opened = _without_wrapping(lines, {header.line for header in headers if header.kind == "instruction"})
    return _unfenced(opened, headers) if opened != list(lines) else kept


def _unfenced(lines: Sequence[str], headers: Sequence[Header]) -> list[Header]:
    """The headers outside code; no fence reaches over a plain one of a task, so a forgotten end hides nothing.

    That is an "Instruction" below a line of hashes, a numbered one below a blank line or with the next number, and
    "Input" or "Output" with its number.
    """
    edges = [0]
    number: int | None = None
    for header in headers:
        if header.tier or header.loose:
            continue
        if header.kind == "instruction":
            above = next((lines[at] for at in range(header.line - 1, max(-1, header.line - 4), -1) if lines[at]), "")
            spaced = not header.line or not lines[header.line - 1].strip()
            runs_on = number is not None and header.number == number + 1
            number = header.number
            if is_hashes(above) or (number is not None and (spaced or runs_on)):
                edges.append(header.line)
        elif number is not None and header.number == number:
            edges.append(header.line)
    fenced: list[bool] = []
    for start, end in zip(edges, [*edges[1:], len(lines)], strict=True):
        fenced += in_fence(lines[start:end])
    return [header for header in headers if not fenced[header.line]]


def _without_wrapping(lines: Sequence[str], starts: set[int]) -> list[str]:
    """The lines, emptied of the fences that wrap whole tasks: an instruction's header stands first in them."""
    result = list(lines)
    for first, last in fences(lines):
        inner = next((at for at in range(first + 1, last) if lines[at].strip()), last)
        if inner in starts:
            result[first] = result[last] = ""
    return result
