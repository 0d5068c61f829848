"""Lines that may head a field of a task ("4. Instruction: …", "**Input**", "指令4："), and lines that part tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from selfinstruct.parsing.markup import fences, in_fence, indent

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


# The names of each kind, best tier first. Recipes say "Instructions:" and 指示, so those are left out.
_NAMES: Final[dict[Kind, tuple[str, ...]]] = {
    "instruction": (
        r"(?:task[ -])?instruction|(?:任务|问题)?指令(?:内容)?",
        r"task(?: description)?|prompt|任务(?:描述|内容|说明)?|提示词?|题目",
        r"question|问题|提问",
    ),
    "input": (
        r"(?:task )?input|输入(?:内容|文本|数据)?",
        r"context|上下文|材料|内容|背景|文本|输入材料",
    ),
    "output": (
        r"(?:task )?output|输出(?:内容|结果|文本)?",
        r"response|completion|回答|回复|响应|输出示例",
        r"answer|(?:参考)?答案",
    ),
}
_TIERS: Final[list[tuple[Kind, int]]] = [(kind, tier) for kind, names in _NAMES.items() for tier in range(len(names))]
_WORD: Final = "|".join(f"(?P<{kind}_{tier}>{_NAMES[kind][tier]})" for kind, tier in _TIERS)
_COUNT: Final = r"\d{1,4}(?:\.\d)?(?!\d)|[一二三四五六七八九十]{1,3}"
_HEADER: Final = re.compile(
    rf"""\s{{0,12}}
        (?P<lead>\#{{1,6}}\s{{0,4}}|[-+•*]\s{{1,4}}|>\s?)?
        (?P<open>[*_`]{{0,3}}[【\[]?[*_]{{0,2}})
        (?:(?:(?:task|example|任务|示例)\s{{0,2}})?(?:第|no\.\s?)?[\#＃]?[（(\[]?(?P<before>{_COUNT})[题条]?[*_`]{{0,3}}
           \s{{0,2}}[.．、)）\]:：。–—-]{{0,2}}[*_`]{{0,3}}\s{{0,4}})?
        (?P<inner>[*_`]{{0,3}}[【\[]?)
        (?:{_WORD})(?P<plural>(?<=instruction)s)?
        (?(before)|(?:\s{{0,2}}(?:\#|no\.\s?)?[（(]?(?P<after>{_COUNT})[)）]?)?)
        (?P<close>[】\]]?[*_`]{{0,3}}[】\]]?)
        (?:\s{{0,4}}[:：﹕∶][*_`]{{0,3}}(?P<colon>[^\S\n]*)|(?<=[】\]])(?P<boxed>\s{{0,4}})|\s{{0,4}}\Z|(?P<loose>\s{{1,4}}(?:[–—-]\s)?(?=\S)))
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LONGEST_HEADER: Final = 80  # characters; the pattern never needs more, a line may have a million
_HASHES: Final = re.compile(r"\s{0,4}(?:[#＃]\s?){2,8}\s*")
_DRAWN: Final = re.compile(r"(?:[-*=—－~～]\s?){3,}")  # not "____", a blank to fill in
_DIGITS: Final = {digit: value for value, digit in enumerate("零一二三四五六七八九")}
# A header in the middle of a line, behind its separator, or behind another field with the same number.
_BEHIND_HASHES: Final = re.compile(
    r"(?<=[^\n#])[^\S\n]{0,4}(\#{3})[^\S\n]{0,4}(?=[*_]{0,3}\d{1,4}\s{0,2}[.．、)）]\s{0,4}[*_]{0,3}(?:instruction|指令))",
    re.IGNORECASE,
)
_SAME_NUMBER: Final = re.compile(
    r"[^\S\n]{1,4}(?=(?P<number>\d{1,4})\s{0,2}[.．、]\s{0,4}(?:input|output|输入|输出)\s{0,2}[:：])", re.IGNORECASE
)


def is_hashes(line: str) -> bool:
    """True for a line of nothing but two or more ``#``: it parts tasks, never sections of a text."""
    return _HASHES.fullmatch(line[:_LONGEST_HEADER]) is not None and not line[_LONGEST_HEADER:].strip()


def is_parting(line: str) -> bool:
    """True for a line that only draws: hashes, dashes, stars."""
    return is_hashes(line) or _DRAWN.fullmatch(line.strip()) is not None


def header_of(line: str, position: int = 0) -> Header | None:
    """The header a line begins with, if it may be one."""
    found = _HEADER.match(line[:_LONGEST_HEADER])
    if not found:
        return None
    count = found["before"] or found["after"]
    if found["plural"] and not found["before"]:
        return None  # "Instructions:" is part of a recipe
    if found["colon"] is None and found["boxed"] is None and found["loose"] is None and len(line) > _LONGEST_HEADER:
        return None
    loose = found["loose"] is not None
    kind, tier = next(place for place in _TIERS if found[f"{place[0]}_{place[1]}"] is not None)
    if loose and (tier or not found["before"]):
        return None  # "Input is …": the start of a sentence
    heading = (found["lead"] or "").startswith("#")
    strength = 2 if count else 1 if heading or found["open"] or found["inner"] else 0
    rest = line[found.end() :].strip() if loose else line[found.end() :].lstrip(" \t")
    shape = _shape(found)
    return Header(
        position, kind, tier, strength, _value(count), rest, indent(line[: found.start("open")]), shape, loose
    )


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
    """The lines, with headers that stand in the middle of one set apart ("4. Input: <noinput> 4. Output: yes")."""
    lines: list[str] = []
    for line in _BEHIND_HASHES.sub(r"\n\1\n", text).split("\n"):
        lines += _apart(line)
    return lines


def _apart(line: str) -> Iterator[str]:
    header = header_of(line)
    start = 0
    if header and header.number is not None and header.kind != "output":
        for found in _SAME_NUMBER.finditer(line, len(line) - len(header.rest)):
            if int(found["number"]) == header.number:
                yield line[start : found.start()]
                start = found.end()
    yield line[start:]


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
