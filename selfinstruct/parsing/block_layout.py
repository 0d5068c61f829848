"""Which of the lines that look like headers head the tasks of this answer, and which head their fields."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from selfinstruct.parsing.block_headers import Header, header_of, is_hashes, is_parting
from selfinstruct.parsing.block_style import Style, answered, style_of, usual_shape

_NUMBERED: Final = re.compile(
    r"\s{0,8}(?:#{1,6}\s{0,4})?[*_]{0,2}(?:(?:task|任务)\s?)?[#（(]?(\d{1,4})\s?[.．、)）:：][*_]{0,2}(?!\d)\s{0,4}",
    re.I,
)
_NO_INPUT_TAG: Final = re.compile(r"\s*<\s?(?:no\s?input|[无無][输輸]入)\s?>\s*", re.IGNORECASE)


class Block(NamedTuple):
    """One task's lines: from ``start`` to ``end``; a field without a header is None.

    ``merged`` says that headers of this very task, or of a next one, stand in its output and nobody can tell why.
    ``start`` is the line of the instruction's header, or, where it has none, the first line of its text.
    """

    start: int
    end: int
    instruction: Header | None
    input: Header | None
    output: Header | None
    merged: bool = False


class Edge(NamedTuple):
    """Where a task begins: at a header, or (without one) at a line of text."""

    line: int
    header: Header | None


def layout(lines: Sequence[str], headers: Sequence[Header]) -> list[Block]:
    """The answer's blocks in order; text before the first edge is a block if it holds an output."""
    style = style_of(headers)
    edges = _edges(lines, headers, style)
    bounds = [*(edge.line for edge in edges), len(lines)]
    inside: list[list[Header]] = [[] for _ in edges]
    at = 0
    for header in headers:
        while header.line >= bounds[at + 1]:
            at += 1
        if header is not edges[at].header:
            inside[at].append(header)
    for kind in ("input", "output"):
        style.shapes[kind] = usual_shape(inside, kind, style)
    blocks = []
    for edge, (start, end), found in zip(edges, pairwise(bounds), inside, strict=True):
        blocks.append(_fields(lines, Block(start, end, edge.header, None, None), found, style))
    return blocks


# --- where tasks begin ----------------------------------------------------------------------------------------------


def _edges(lines: Sequence[str], headers: Sequence[Header], style: Style) -> list[Edge]:
    """Where tasks begin: at instructions of the answer's style, and at text that only hashes or numbers set apart."""
    signs = _signs(lines, headers, style)
    edges = [Edge(0, None)]
    number = _numbered(next((line for line in lines if line.strip()), ""))
    seen = 0
    open_output = False
    dress: set[tuple[str, ...]] = set()
    usual = level = style.strengths["output"]
    for at, header in enumerate(headers):
        if header.kind == "instruction":
            if _begins(header, signs, style, number, open_output=open_output):
                edges.append(Edge(header.line, header))
                number, open_output = header.number if header.number is not None else number, False
                level = min(usual, header.strength)  # a plainer task has plainer fields
        else:
            behind = open_output and style.fits(header) and header.shape in dress
            told = _told(lines, range(seen, header.line), number, signs) if behind else None
            if told is not None or (behind and _goes_on(headers, at, number)):
                edges.append(Edge(header.line if told is None else told, None))
                number, open_output = header.number if told is None else _numbered(lines[told]), False
            number = header.number if number is None else number
            if not open_output:
                dress.add(header.shape)
                open_output = header.kind == "output" and style.named(header) and header.strength >= level
        seen = header.line + 1
    return _with_hashed(lines, headers, edges, style)


class _Signs(NamedTuple):
    """What else speaks for an instruction's header, as lines: an output follows, an input too, a separator, a blank.

    ``hashed``: hashes, or nothing at all, stand above it. ``mostly_apart``: separators or blank lines part most
    tasks of the answer.
    """

    answered: set[int]
    whole: set[int]
    parted: set[int]
    hashed: set[int]
    spaced: set[int]
    mostly_apart: bool


def _signs(lines: Sequence[str], headers: Sequence[Header], style: Style) -> _Signs:
    above = {header.line: _above(lines, header.line) for header in headers if header.kind == "instruction"}
    parted = {line for line, text in above.items() if not text or is_parting(text)}
    spaced = {line for line in above if not line or not lines[line - 1].strip()}
    told = {header.line for header in answered(headers, style.tiers)}
    return _Signs(
        answered=told,
        whole=_complete(headers, style),
        parted=parted,
        hashed={line for line, text in above.items() if not text or is_hashes(text)},
        spaced=spaced,
        mostly_apart=len(told & (parted | spaced)) * 2 > len(told) + 1,
    )


def _begins(header: Header, signs: _Signs, style: Style, number: int | None, *, open_output: bool) -> bool:
    """Whether a task begins at an instruction's header.

    In the answer's style, one of the usual name begins a task unless it lacks both the separator that others have and
    an output; another name needs such a sign, for "Task 2: …" may be a step. A plainer one needs an output, and either
    a separator or to stand behind the output of the task before.
    """
    if not style.named(header):
        return False
    line = header.line
    answered, parted = line in signs.answered, line in signs.parted
    if style.fits(header):
        runs_on = number is not None and header.number == number + 1 and line in signs.spaced
        usual = not header.tier and (header.strength == 2 or line in signs.spaced or not signs.mostly_apart)
        return answered or parted or runs_on or usual
    glued = parted or line in signs.whole or not header.tier
    return answered and glued and (open_output or line in signs.hashed)


def _goes_on(headers: Sequence[Header], at: int, number: int | None) -> bool:
    """Whether an input and the output after it both carry the next number: the next task's, without instruction."""
    header = headers[at]
    if header.kind != "input" or header.number is None or number is None or header.number != number + 1:
        return False
    return any(later.kind == "output" and later.number == header.number for later in headers[at + 1 : at + 2])


def _numbered(line: str) -> int | None:
    """The number that a line begins with, if it does."""
    found = _NUMBERED.match(line)
    return int(found[1]) if found else None


def _told(lines: Sequence[str], between: range, number: int | None, signs: _Signs) -> int | None:
    """The last line between two fields that begins with the next number, so that an instruction may stand there.

    Where the answer heads its instructions, it has to open the very paragraph above the second field.
    """
    for at in reversed(between):
        opens = at == between.start or not lines[at - 1].strip() or is_parting(lines[at - 1])
        found = _numbered(lines[at])
        if found is not None and found == (found if number is None else number + 1) and (opens or not signs.answered):
            return at if opens or number is not None else None
        if signs.answered and (opens or not lines[at].strip()):
            return None
    return None


def _complete(headers: Sequence[Header], style: Style) -> set[int]:
    """The lines of instructions that an input and then an output follow before the next instruction."""
    found = set()
    seen: list[Header] = []
    for header in headers:
        if header.kind == "instruction" and style.named(header):
            seen = [header]
        elif seen and header.kind == ("input", "output", "")[len(seen) - 1]:
            seen.append(header)
            if len(seen) == 3:
                found.add(seen[0].line)
    return found


def _above(lines: Sequence[str], line: int) -> str:
    """The nearest line above that says anything."""
    return next((lines[at] for at in range(line - 1, -1, -1) if lines[at].strip()), "")


def _with_hashed(lines: Sequence[str], headers: Sequence[Header], edges: Sequence[Edge], style: Style) -> list[Edge]:
    """The edges, with those of instructions that stand without a header below a line of hashes.

    Such a line counts behind an output, when an output follows it before the next edge or the next such line: without
    one, what follows is a section of the output.
    """
    outputs = {header.line for header in headers if header.kind == "output" and style.fits(header)}
    begun = {edge.line: edge for edge in edges}
    result: list[Edge] = []
    waiting: int | None = None
    open_output = False
    for at, line in enumerate(lines):
        if at in begun:
            result.append(begun[at])
            waiting, open_output = None, False
        elif is_hashes(line):
            waiting = at + 1 if open_output else None
        if at in outputs:
            if waiting is not None:
                result.append(Edge(waiting, None))
            waiting, open_output = None, True
    return result


# --- the fields of one task -----------------------------------------------------------------------------------------


def _fields(lines: Sequence[str], block: Block, headers: Sequence[Header], style: Style) -> Block:
    """The block with its input and its output: headers of its own number first, then those of the answer's style."""
    number = block.instruction.number if block.instruction else None
    outputs = [header for header in headers if header.kind == "output"]
    inputs = [header for header in headers if header.kind == "input"]
    tagged = next((header for header in inputs if _says_no_input(lines, header) and style.named(header)), None)
    if tagged:
        outputs = [header for header in outputs if header.line > tagged.line] or outputs
    elif number is None:
        closes = _closing_output(headers, style)
        outputs = [header for header in outputs if header.line >= closes]
    output = _best(outputs, number, style)
    inputs = [header for header in inputs if output is None or header.line < output.line]
    given = tagged if tagged in inputs else _best(inputs, number, style)
    if given and not style.fits(given) and any(given.line < header.line < (output or given).line for header in outputs):
        given = None  # "Input: 2" above "Output: 4": an example
    merged = any(_doubtful(header, number, style) for header in headers if output and header.line > output.line)
    return block._replace(input=given, output=output, merged=merged)


def _closing_output(headers: Sequence[Header], style: Style) -> int:
    """The line of the output that answers the first input: behind as many outputs as inputs, as brackets close.

    "Input: … Input: 1 Output: 2 Output: …" has a sample in its input; without such an output, any line will do.
    """
    depth = 0
    for header in headers:
        if style.fits(header) and header.kind != "instruction":
            depth += 1 if header.kind == "input" else -1
            if depth <= 0:
                return header.line
    return 0


def _doubtful(header: Header, number: int | None, style: Style) -> bool:
    """Whether a header in an output is of the answer's own style: the task's number again, or another instruction."""
    if header.tier or header.loose or not style.fits(header):
        return False
    again = number is not None and header.number == number and header.shape == style.shapes[header.kind]
    return header.kind == "instruction" or again


def _best(headers: Sequence[Header], number: int | None, style: Style) -> Header | None:
    """The header that a reader takes for the field's: the first of the block's own number, style and name."""
    return min(
        (header for header in headers if style.named(header) or header.kind == "output"),
        key=lambda header: (
            not style.named(header),
            not (number is not None and header.number == number),
            not style.fits(header),
            -header.strength if not style.fits(header) else header.shape != style.shapes[header.kind],
            header.line,
        ),
        default=None,
    )


def _says_no_input(lines: Sequence[str], header: Header) -> bool:
    """Whether our own tag for "no input" is all that the header's line, or the next one, says."""
    said = header.rest or (lines[header.line + 1] if header.line + 1 < len(lines) else "")
    return _NO_INPUT_TAG.fullmatch(said[:40]) is not None


def without_header(text: str) -> str:
    """The text of an instruction that has no header of the answer's style, without another header or its number."""
    first, newline, rest = text.lstrip("\n").partition("\n")
    header = header_of(first)
    if header and header.kind == "instruction" and (not header.tier or header.number is not None):
        first = header.rest
    elif number := _NUMBERED.match(first):
        first = first[number.end() :]
    return first + newline + rest
