"""Whole tasks from an answer written as text: blocks of headers, however the model dresses them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from selfinstruct.errors import ParseError
from selfinstruct.parsing.block_headers import Header, find_headers, header_of, is_hashes, is_parting, split_lines
from selfinstruct.parsing.block_layout import Block, layout, without_header
from selfinstruct.parsing.block_tails import Parting, lone_number, parting_of, without_closing, without_parting
from selfinstruct.parsing.chatter import is_apology, is_greeting, is_opening
from selfinstruct.parsing.markup import bare, clean, indent, unwrap
from selfinstruct.parsing.whole_task import WholeTask, whole_task

_NAME_BEGUN: Final = re.compile(
    r"(?:\#{1,6}\s?|[-+•]\s?)?[*_【]{0,3}(?:(?P<number>\d{1,4})\s?(?P<mark>[.、．)）])?\s?[*_]{0,3})?(?P<name>[^\W\d]{0,12})",
    re.X,
)
_BULLETS: Final = ("-", "*", "+", "•")
_FENCE: Final = re.compile(r"\s*`{3,}\w{0,12}\s*")


def task_blocks(text: str, *, truncated: bool, continues: bool) -> list[WholeTask]:
    """The tasks of an answer in order; at least one.

    ``truncated`` says that the token limit ended the answer: its last task is flawed then, unless the answer had
    visibly gone on to the next. ``continues`` says that the prompt ended in an open instruction, so the answer begins
    inside one; in a chat answer, too, text before the first input or output is an instruction unless it is chatter.

    Every field keeps its lines and its spaces, without white space around it.
    Raises ParseError ``no_tasks`` when the answer holds none.
    """
    shown = clean(text)
    lines = split_lines(unwrap(shown.strip("\n")).rstrip())
    headers = find_headers(lines)
    strict = [header for header in headers if not header.loose]
    if {"instruction", "output"} <= {header.kind for header in strict} or not any(
        h.kind == "output" for h in headers if h.loose
    ):
        headers = strict
    blocks = layout(lines, headers)
    tasks, finished = _tasks(lines, blocks, continues, in_line=not shown.rstrip(" \t").endswith("\n"))
    if truncated and not finished and tasks:
        tasks[-1] = WholeTask(tasks[-1].instruction, tasks[-1].input, tasks[-1].output, "truncated")
    if not tasks:
        raise ParseError("no_tasks", "no task found" if text.strip() else "the answer is empty")
    return tasks


def _tasks(
    lines: Sequence[str], blocks: Sequence[Block], continues: bool, *, in_line: bool
) -> tuple[list[WholeTask], bool]:
    """The tasks of the blocks, and whether the answer had gone on behind the last one; it ends ``in_line`` or below."""
    usual = parting_of([_above(lines, block.start) if block.instruction else "" for block in blocks])
    if any(_number(block) is not None for block in blocks):
        usual = usual._replace(numbered=False)
    tasks: list[WholeTask] = []
    finished = False
    for position, block in enumerate(blocks):
        parts = _parts(lines, block)
        if not block.instruction:
            parts[0] = _told(parts[0], block, continues and not position)
        last = position == len(blocks) - 1
        number, alone = _number(block), lone_number(_above(lines, block.start))
        begun = False
        if last:
            parts[-1], begun = _begun(
                parts[-1], alone if number is None else number, usual, header_alone=len(parts) == 1
            )
        said = parts[-1]
        parts[-1] = without_parting(said, usual, alone + 1 if alone and number is None else None, last=last)
        beyond = said[len(parts[-1]) : -1 if in_line and last else None]
        closed = False
        if last and len(parts) > 1:
            parts[-1], closed = without_closing(parts[-1])
            parts[-1] = without_parting(parts[-1], last=True)
        task = _task(block, parts)
        finished = begun or closed or task is None or any(map(usual.parts, beyond))
        tasks += [task] if task else []
    return tasks, finished


def _above(lines: Sequence[str], line: int) -> str:
    return next((lines[at] for at in range(line - 1, -1, -1) if lines[at].strip()), "")


def _number(block: Block) -> int | None:
    """The number a block's headers carry."""
    headers = (block.instruction, block.input, block.output)
    return next((header.number for header in headers if header and header.number is not None), None)


def _parts(lines: Sequence[str], block: Block) -> list[list[str]]:
    """The lines of the block's fields, in the order in which it has them; always the instruction's."""
    fields = [header for header in (block.input, block.output) if header]
    edges = [*(header.line for header in fields), block.end]
    head = block.instruction
    parts = [_below(lines, head, edges[0]) if head else list(lines[block.start : edges[0]])]
    return parts + [_below(lines, header, end) for header, end in zip(fields, edges[1:], strict=True)]


def _below(lines: Sequence[str], header: Header, end: int) -> list[str]:
    """A field's lines; moved left as a whole where its header is indented, or an item of a list."""
    body = lines[header.line + 1 : end]
    margin = min((indent(line) for line in body if line.strip()), default=0)
    if header.rest:
        beyond = margin - header.indent  # of code that goes on below its first line; odd where code begins at the left
        margin = header.indent if beyond >= 0 and not beyond % 2 else 0
    elif not header.indent and header.shape[0] not in _BULLETS:
        margin = 0
    if margin > 1:
        body = [line.lstrip() if line[:margin].strip() else line[margin:] for line in body]
    return [header.rest, *body]


def _told(lines: list[str], block: Block, continues: bool) -> list[str]:
    """An instruction without header: the text before the first field, less what a model says before it begins.

    Without a field behind it, only a prompt that ended in an open instruction makes it one.
    """
    start = 0
    while start < len(lines) and _leads(lines[start]):
        start += 1
    told = lines[start:]
    if not (block.input or block.output):
        said = [line for line in told if line.strip()]
        chatter = not continues or not said or start > 0 or bare(said[-1]).endswith((":", "："))
        return [] if chatter else told
    return without_header("\n".join(told)).split("\n")


def _leads(line: str) -> bool:
    """Whether a line before an instruction is none: blank, drawn, a fence, a greeting, the heading of the list."""
    if not bare(line) or is_parting(line) or is_hashes(line) or _FENCE.fullmatch(line[:40]):
        return True
    return header_of(line) is None and (is_greeting(line) or is_apology(line) or is_opening(line))


def _begun(lines: list[str], number: int | None, usual: Parting, *, header_alone: bool) -> tuple[list[str], bool]:
    """The last field's lines without a header that the answer only began ("###", "5. Instr"), and whether it did."""
    if header_alone and not any(map(str.strip, lines)):
        return lines, True
    end = len(lines) - 1
    begun = _NAME_BEGUN.fullmatch(lines[end].strip()) if end > 0 else None
    if not begun or not any(map(str.strip, lines[:end])):
        return lines, False
    above, name = _above(lines, end), begun["name"].lower()
    named = name != "" and ("instruction".startswith(name) or "指令".startswith(name))
    runs_on = number is not None and begun["number"] is not None and int(begun["number"]) == number + 1
    listed = runs_on and any(lone_number(line.strip()[:3].rstrip()) == number for line in lines[:end])
    counted = begun["mark"] is not None and not name and not listed
    parted = is_hashes(above) or usual.parts(above)
    begins = (parted and (not name or named)) or (runs_on and (named or counted))
    return (lines[:end], True) if begins else (lines, False)


def _task(block: Block, parts: Sequence[Sequence[str]]) -> WholeTask | None:
    """The block's task, or nothing where the block says nothing at all."""
    texts = ["\n".join(part) for part in parts]
    told = texts[0]
    given = texts[1] if block.input else ""
    answer = texts[-1] if block.output else ""
    if not any(text.strip() for text in texts):
        return None
    return whole_task(told, given, answer, "merged_tasks" if block.merged else None)
