"""A list of tasks, read from a model's answer to "continue this list".

Our prompts open each task with ``<task 9>`` at the start of a line: nothing in Markdown looks like it, so where it
stands it alone delimits. Models fall back to what they have read most; then the list is found as a reader finds it:
numbers, bullets or labels at the start of lines, nested steps and fenced code left to the item they stand in, the
chatter around the list dropped. Numbers are evidence, never a condition: gaps, repeats and restarts lose nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Final, NamedTuple

from selfinstruct.errors import ParseError
from selfinstruct.parsing.chatter import is_apology, is_closing, is_echo, is_opening
from selfinstruct.parsing.item_text import item_text
from selfinstruct.parsing.markers import Marker, numbered, spelled_out, split_lines
from selfinstruct.parsing.markup import bare, clean, fences, in_fence, is_rule, trim, unwrap
from selfinstruct.parsing.outline import answer_label, heads_answers, input_label, outer_markers, promises_more

# At a line's start the number may be missing; elsewhere it may not: "<task>" can be a placeholder inside a task.
_TAG: Final = re.compile(
    r"(?P<opens>(?m:^)[^\S\n]{0,8}<task\s{0,2}>"
    r"|(?P<marks>[*_`]{1,3})?<task\b[^<>\n\d]{0,12}(?P<number>\d{1,4})[^<>\n\d]{0,4}>(?(marks)[*_`]{0,3}))"
    r"|(?P<ends></tasks\s?>)|</task(?:\b|_)[^<>\n]{0,12}>|(?m:^)[^\S\n]{0,8}<tasks>",
    re.IGNORECASE,
)
# A list mark before a tag says the same twice: "9. <task 9> …", "- **<task 9>** …".
_MARKED_TAG: Final = re.compile(
    r"(?m:^)[^\S\n]{0,8}(?:[-*+•>]|#{1,6}|\d{1,3}[.)])[^\S\n]{1,4}"
    r"(?=[*_`]{0,3}<(?:task[\s#]{1,2}\d{1,4}[^<>\n\d]{0,4}>|(?:t(?:a(?:s(?:k[\s#]{0,2}\d{0,4})?)?)?)?\Z))",
    re.IGNORECASE,
)
_BEGUN_MARKED_TAG: Final = re.compile(r"(?<=\n)[^\S\n]{0,8}(?:[-*+•>]|#{1,6}|\d{1,3}[.)]?)\Z")
# At a line's start or behind a sentence one "<" is enough; elsewhere half the word, since "x <t" may be a formula.
_BEGUN_TAG: Final = re.compile(
    r"(?m:^)[^\S\n]{0,8}<(?:/?t(?:a(?:s(?:k(?:s?[^<>\n]{0,12})?)?)?)?)?\Z"
    r"|(?<=[.!?。！？])[^\S\n]{0,8}<(?:/?t(?:a(?:s(?:k(?:s?[^<>\n]{0,12}>?)?)?)?)?)?\Z"
    r"|</?tas(?:ks?[\s#]{0,2}\d{0,4})?\Z",
    re.IGNORECASE,
)
_BEGUN_MARKER: Final = re.compile(r"(?:[#*•(-]{1,6}\s{0,2})?(?:task\s{0,2})?(\d{1,3})?\s?[-–—]?", re.IGNORECASE)
_BEGUN_INLINE: Final = re.compile(r"(?<=[.!?。！？])\s{0,4}(\d{1,3})\.?\Z")
_INSTRUCTION: Final = re.compile(r"[*_#\s]{0,6}(?:instruction|指令)[*_]{0,3}\s?[:：]", re.IGNORECASE)
_DETAIL: Final = re.compile(r"\s*[-*+•]\s")
_STARTS_SENTENCE: Final = re.compile(r"[\"'“‘(]?[^a-z\W]")
_ENDS_SENTENCE: Final = re.compile(r"[.?!。？！][\"'”’)]{0,2}\Z")


@dataclass(frozen=True)
class ListItem:
    """A task as the model wrote it; ``cut`` when the token limit ended the answer in its middle."""

    text: str
    cut: bool = False


class _Block(NamedTuple):
    """The lines of one item; ``titled`` when the first is a heading, ``labelled`` when "Instruction:" opens it."""

    lines: list[str]
    titled: bool = False
    labelled: bool = False


class _Reading(NamedTuple):
    """The items found; ``finished`` when the answer had gone on behind the last one."""

    blocks: list[_Block]
    finished: bool


def task_list(text: str, *, truncated: bool, continues: bool = True) -> list[ListItem]:
    """The tasks of an answer, in order; at least one.

    ``truncated`` says that the token limit ended the answer: its last task is marked ``cut``, unless the answer had
    already gone on to the next marker. ``continues`` says that the prompt ended inside a list, so text before the
    first marker is a task unless it reads like chatter; in a chat answer it is chatter unless it reads like a task.
    An item's text is one line, except that fenced code inside it keeps its lines.

    Raises ParseError ``no_list`` when the answer holds no task.
    """
    text, marked = _MARKED_TAG.subn("", unwrap(clean(text)).rstrip())
    text = _without_repeated_tag(text)
    begun = _BEGUN_TAG.search(text) or (_BEGUN_MARKED_TAG.search(text) if marked else None)
    text, ended = _list_only(text[: begun.start()] if begun else text)
    tagged = any(tag["opens"] for tag in _TAG.finditer(text))
    blocks, finished = _tagged(text, continues) if tagged else _listed(_TAG.sub("\n", text), continues)
    texts = [item_text(block.lines, titled=block.titled) for block in blocks]
    cut = len(texts) - 1 if truncated and not (finished or begun or ended) else None
    items = [ListItem(text, position == cut) for position, text in enumerate(texts) if text]
    if not items:
        raise ParseError("no_list", "no task found" if text.strip() else "the answer is empty")
    return items


# --- our own delimiters ---------------------------------------------------------------------------------------------


def _without_repeated_tag(text: str) -> str:
    """The text behind a single tag that only says again where the prompt ended, when plain numbers go on from it."""
    tag = _TAG.match(text.lstrip())
    if not tag or not tag["number"]:
        return text
    rest = text.lstrip()[tag.end() :]
    markers = map(numbered, rest.split("\n"))
    goes_on = any(marker and marker.number == int(tag["number"]) + 1 for marker in markers)
    return rest if goes_on and not _TAG.search(rest) else text


def _list_only(text: str) -> tuple[str, bool]:
    """The text up to the tag that ends the list, and whether there is one."""
    end = next((tag.start() for tag in _TAG.finditer(text) if tag["ends"]), None)
    return text[:end], end is not None


def _tagged(text: str, continues: bool) -> _Reading:
    """The items between our tags; text behind a closing tag belongs to none."""
    tags = list(_TAG.finditer(text))
    first = next((int(tag["number"]) for tag in tags if tag["number"]), 0)
    blocks = _begun(text[: tags[0].start()].removesuffix("\n").split("\n"), continues, first)
    for tag, following in zip_longest(tags, tags[1:]):
        if tag["opens"]:
            blocks.append(_Block(text[tag.end() : following.start() if following else None].split("\n")))
    return _without_parting(blocks, finished=not tags[-1]["opens"], compact=_compact(blocks))


# --- what models write otherwise ------------------------------------------------------------------------------------


def _listed(text: str, continues: bool) -> _Reading:
    """The items between the markers a reader sees."""
    lines, begun_marker = _without_begun_marker(_split(text), continues)
    outer = outer_markers(lines, in_fence(lines), continues=continues)
    blocks = _marked(lines, outer, continues) if outer else _unmarked(lines, continues)
    labelled = any(block.labelled for block in blocks)
    asked = [_Block(_before_answer(block.lines, labelled), block.titled) for block in blocks]
    answered = any(len(block.lines) < len(whole.lines) for block, whole in zip(asked[-1:], blocks[-1:], strict=True))
    return _without_parting(asked, finished=begun_marker or answered, compact=_compact(asked))


def _split(text: str) -> list[str]:
    """The lines; a fence is dissolved when the list stands inside it, and items that share a line are set apart."""
    lines = text.split("\n")
    lines = spelled_out(lines, in_fence(lines))
    if not outer_markers(lines, in_fence(lines), continues=False):
        marks = {at for pair in fences(lines) for at in pair}
        opened = ["" if at in marks else line for at, line in enumerate(lines)]
        if len(outer_markers(opened, [False] * len(opened), continues=False)) > 1:
            lines = opened
    return split_lines(lines, in_fence(lines))


def _without_begun_marker(lines: list[str], continues: bool) -> tuple[list[str], bool]:
    """The lines without a last marker that has no item yet ("15.", "15", "-"), and whether there was one."""
    end = next((at for at in range(len(lines) - 1, -1, -1) if lines[at].strip()), 0)
    outer = outer_markers(lines[:end], in_fence(lines[:end]), continues=continues)
    if begun := _BEGUN_MARKER.fullmatch(lines[end].strip()):
        if end and (not begun[1] or not outer or str(outer[-1].number + 1).startswith(begun[1])):
            return lines[:end], True
    elif begun := _BEGUN_INLINE.search(lines[end].rstrip()):
        last = numbered(lines[end]) or (outer[-1] if outer else None)
        if last and int(begun[1]) == last.number + 1:
            return [*lines[:end], lines[end][: begun.start()]], True
    return lines, False


def _marked(lines: Sequence[str], outer: Sequence[Marker], continues: bool) -> list[_Block]:
    """The text before the first marker, if it is an item, and the text from each marker to the next."""
    blocks = _begun(lines[: outer[0].line], continues, outer[0].number)
    for marker, following in zip_longest(outer, outer[1:]):
        body = [marker.rest, *lines[marker.line + 1 : following.line if following else None]]
        if following and marker.number >= following.number > 0 and is_echo(" ".join(body)):
            continue  # "15. Come up with a series of tasks:", and the whole list from 1 again
        body = _without_heading(body) if following else body
        labelled = _INSTRUCTION.match(lines[marker.line] if marker.kind == "label" else marker.rest) is not None
        blocks.append(_Block(body, marker.titled and bool(marker.rest.strip()), labelled))
    return blocks


def _begun(lines: Sequence[str], continues: bool, first: int) -> list[_Block]:
    """The item before the first marker, whose number is ``first`` (0: unknown); none if that text is chatter."""
    start = next((at for at, line in enumerate(lines) if bare(line) and not is_opening(line)), len(lines))
    said = [line for line in lines[start:] if line.strip() and not is_rule(line)]
    headed = all(_is_heading(line.strip()) for line in said) or promises_more(said, len(said))
    if continues:
        chatter = not said or (headed and first == 1)
    else:
        chatter = headed or first < 2 or not all(line.strip() for line in lines[start:])
    return [] if chatter else [_Block(list(lines[start:]))]


def _unmarked(lines: Sequence[str], continues: bool) -> list[_Block]:
    """An answer without any marker: one task, or a task a line when every line is a sentence of its own.

    A chat answer of several lines that are not all sentences is talk, not a list.
    """
    start = next((at for at, line in enumerate(lines) if bare(line) and not is_opening(line)), len(lines))
    lines, opening = lines[start : start + _parting(lines[start:], compact=False)], lines[:start]
    said = [line for line in lines if line.strip() and not is_rule(line)]
    if any(map(is_apology, opening)):
        return []
    if len(said) > 1 and not any(map(_DETAIL.match, said)) and _are_sentences(list(map(bare, said))):
        return [_Block([line]) for line in said]
    return [_Block(list(lines))] if continues or len(said) == 1 else []


def _are_sentences(lines: Sequence[str]) -> bool:
    """Whether every line starts as a sentence does, is long enough to be one, and more than half also end so."""
    starts = all(_STARTS_SENTENCE.match(line) and (len(line.split()) > 2 or not line.isascii()) for line in lines)
    return starts and sum(_ENDS_SENTENCE.search(line[-3:]) is not None for line in lines) * 2 > len(lines)


def _before_answer(lines: list[str], labelled: bool) -> list[str]:
    """The lines of a task that some models solve on the spot, up to "Answer:" or "Output:".

    Where "Instruction:" labels the tasks, "Input:" ends them too.
    """
    fenced = in_fence(lines)
    ends = (at for at, line in enumerate(lines) if answer_label(line) or (labelled and input_label(line)))
    return lines[: next((at for at in ends if at and not fenced[at]), len(lines))]


def _compact(blocks: Sequence[_Block]) -> bool:
    """Whether the items are known not to have paragraphs; the last one tells nothing, for chatter may follow it."""
    return len(blocks) > 1 and not any(_has_paragraphs(block.lines) for block in blocks[:-1])


def _has_paragraphs(lines: Sequence[str]) -> bool:
    return any(not line.strip() for line in trim("\n".join(lines)).split("\n"))


def _without_heading(lines: list[str]) -> list[str]:
    """The lines of an item without a last one that is the heading of what comes next."""
    end = next((at for at in range(len(lines) - 1, 0, -1) if lines[at].strip()), 0)
    line, apart = lines[end].strip(), not lines[end - 1].strip()
    heading = _is_heading(line) or (apart and bare(line).endswith((":", "：")))
    follows_text = any(line.strip() for line in lines[:end])
    return lines[:end] if heading and follows_text and not in_fence(lines)[end] else lines


def _is_heading(line: str) -> bool:
    return line.startswith(("# ", "##")) or (line.startswith("**") and line.rstrip(":").endswith("**"))


def _without_parting(blocks: list[_Block], *, finished: bool, compact: bool) -> _Reading:
    """The items without the chatter that follows the last one.

    That is what takes leave or stands below a rule; and in a ``compact`` list, of items without paragraphs, any
    paragraph flush left.
    """
    if not blocks:
        return _Reading([], finished)
    lines = blocks[-1].lines
    end = _parting(lines, compact)
    return _Reading([*blocks[:-1], _Block(lines[:end], blocks[-1].titled)], finished or end < len(lines))


def _parting(lines: Sequence[str], compact: bool) -> int:
    """The line where the last item ends and chatter begins."""
    fenced = in_fence(lines)
    said = [at for at, line in enumerate(lines) if line.strip()]
    for above, at in pairwise(said):
        apart = compact and at > above + 1 and not lines[at][0].isspace() and not promises_more(lines, at)
        parts = is_closing(lines[at]) or is_rule(lines[at]) or heads_answers(lines[at])
        if not fenced[at] and (apart or parts):
            return at
    return len(lines)
