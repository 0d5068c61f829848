"""What stands between two tasks, or behind the last one, and belongs to neither: separators, titles, leave-taking."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from selfinstruct.parsing.block_headers import header_of, is_hashes, is_parting
from selfinstruct.parsing.chatter import is_closing, is_opening
from selfinstruct.parsing.markup import bare, fences, in_fence, simplified

# One "#" begins a comment in code without a fence.
_HEADING: Final = re.compile(r"\s{0,3}#{2,6}\s+\S")
_TITLE: Final = re.compile(
    r"\s{0,8}(?:#{1,6}\s{0,4}|[-*•]\s)?[*_【\[(（]{0,4}"
    r"(?:(?:\d{1,4}\s?[.、]\s?)?(?:(?:task )?(?:category|type)|(?:任务)?(?:类型|类别|种类))[*_]{0,3}\s?[:：]"
    r"|(?P<counted>(?:task|example|任务|示例)\s?(?:no\.\s?)?#?(?:\d{1,4}|[一二三四五六七八九十]{1,3})|第(?:\d{1,4}|[一二三四五六七八九十]{1,3})(?:题|个(?:任务|示例|题))"
    r"|#\d{1,4}))"
    r"(?P<more>(?:\s{0,2}[^\w\s]|\s*\Z).{0,80}|(?<=[:：.、．)）\]】*]).{0,80})",
    re.IGNORECASE,
)
_LONE_NUMBER: Final = re.compile(r"\s{0,8}(?:#{1,6}\s{0,4})?[*_(（]{0,3}(\d{1,4})\s?[.、．)）]?[*_]{0,3}\s*")
_FENCE: Final = re.compile(r"\s{0,8}`{3,}\w{0,12}\s*")
_GLUED_HASHES: Final = re.compile(r"(?<!#)#{3}\Z")
_LONGEST_TITLE: Final = 160  # characters
_LONGEST_REMARK: Final = 80  # characters of "Here are some more:"
# Talk about the list as a whole, or (but not in a letter or a dialogue) an offer to go on.
_OF_TASKS: Final = re.compile(r"\b(?:tasks|instructions|prompts|examples)\b|任务|指令|示例|例子", re.IGNORECASE)
_OFFERS_MORE: Final = re.compile(
    r"\b(?:these (?:help|are|meet|work)|modifications|adjustments|more|further|anything else|changes|any questions"
    r"|assistance|this helps)\b|这些|更多|其他|修改|调整|继续|帮助",
    re.IGNORECASE,
)
_ADDRESSES: Final = re.compile(
    r"\s*[*_]{0,3}(?:dear|hi|hello|hey|to whom|尊敬|敬爱|亲爱|您好|你好"
    r"|[^\W\d_][\w .]{0,20}[*_]{0,3}[:：][*_]{0,3}\s?\S)",
    re.IGNORECASE,
)
_OF_A_LETTER: Final = re.compile(
    r"\b(?:contact|reach out|reach me|call (?:me|us)|e-?mail|reply|hotline|store|order|purchase)\b"
    r"|联系|致电|拨打|来电|客服|邮件|订单|光临",
    re.IGNORECASE,
)
_CLOSES_LIST: Final = re.compile(
    r"(?:以上|这些)(?:就?是|为|即为|便是|都是).{0,60}(?:任务|指令|示例)|(?:以上|这些).{0,12}(?:任务|指令)"
    r"|(?:these|those|the above|above|that|this|all) .{0,80}\b(?:tasks|instructions|prompts)\b"
    r"|(?:i have|i've) (?:now )?(?:generated|provided|created|completed|listed)\b.{0,80}\b(?:tasks|instructions)\b",
    re.IGNORECASE,
)
_OFFERS: Final = re.compile(r"如果?(?:[你您])?(?:还|仍)?(?:需要|想要|有).{0,40}(?:告诉我|告知|提出|找我|随时)")
_END: Final = re.compile(
    r"(?P<mark>[(（\[【])?(?:the end|end(?: of (?:the )?(?:tasks|list))?|完毕?|结束|全文完)[)）\]】]?[.。]?",
    re.IGNORECASE,
)
_LONGEST_CLOSING: Final = 500  # characters of a paragraph


class Parting(NamedTuple):
    """What stands above most tasks of an answer: a title, a number alone, a separator (this one; "": none)."""

    titled: bool = False
    numbered: bool = False
    separator: str = ""

    def parts(self, line: str) -> bool:
        """Whether the line is such a separator or title."""
        return line.strip() == self.separator != "" or (self.titled and is_title(line))


NOTHING: Final = Parting()


def parting_of(above: Sequence[str]) -> Parting:
    """What parts the tasks, judged by the lines that stand ``above`` them; above the first, no separator is needed."""
    drawn = Counter(line.strip() for line in above[1:] if is_parting(line))
    return Parting(
        titled=sum(map(is_title, above)) * 2 > len(above),
        numbered=sum(lone_number(line) is not None for line in above) * 2 > len(above),
        separator=next((line for line, count in drawn.items() if count * 2 >= len(above)), ""),
    )


def is_title(line: str) -> bool:
    """True for a line that may title a task: "### Task 5: Summaries", "任务五", "类别：改写"."""
    return _title(line) is not None


def _title(line: str) -> re.Match[str] | None:
    return _TITLE.fullmatch(simplified(line.strip())) if len(line) <= _LONGEST_TITLE else None


def lone_number(line: str) -> int | None:
    """The number a line consists of ("5.", "**5**"), if it does."""
    found = _LONE_NUMBER.fullmatch(line) if len(line) < 40 else None
    return int(found[1]) if found else None


def without_parting(
    lines: Sequence[str], usual: Parting = NOTHING, number: int | None = None, *, last: bool = False
) -> list[str]:
    """A field's lines without what parts it from the next task.

    That is lines of hashes, marks of fences around tasks, one rule, and what leads on to the next task below any of
    these, or between two alike: titles, a remark. Headings above them are the field's own. Where nothing parts tasks,
    it is the next one's number alone on a line (behind the ``last`` task: this ``number``), its title where tasks have
    one, or a heading where there is no other and this is not the last task. The text on the header's own line, the
    first, is never one of them; nor is the only text there is, unless it only draws.
    """
    first = next((at for at, line in enumerate(lines) if line.strip()), 0)
    paired = {at for pair in fences(lines) if _shows(lines[pair[0] + 1 : pair[1]]) for at in pair}
    end, separator = _without_separators(lines, _end(lines, len(lines)), first, paired)
    while True:
        led, remarks = _without_lead(lines, end, first, "" if last or separator else usual.separator)
        above = lines[led - 1].strip() if led else ""
        likely = above == separator if separator else is_hashes(above) or not remarks or above == usual.separator
        parted, found = _without_separators(lines, led, first, paired)
        if led == end or parted == led or not likely:
            break
        end, separator = parted, found or separator
    kept = list(lines[:end])
    if not separator:
        kept = _without_title(kept, first, usual, number, last=last)
    if kept and _GLUED_HASHES.search(kept[-1]) and not _HEADING.match(kept[-1]):
        kept[-1] = kept[-1].rstrip("#").rstrip()
    return kept


def _without_separators(lines: Sequence[str], end: int, first: int, paired: set[int]) -> tuple[int, str]:
    """Where the lines end without separators and unpaired fences, and the uppermost separator ("": there is none).

    Of rules, one parts tasks; below it, or where the ``first`` text is one above another separator, a rule is text.
    """
    separator, ruled = "", False
    while end > 1:
        line, alone = lines[end - 1], first == end - 1
        if is_hashes(line) or (is_parting(line) and not (ruled or (alone and separator))):
            ruled = ruled or not is_hashes(line)
            separator = line.strip()
        elif not _FENCE.fullmatch(line) or end - 1 in paired:
            break
        end = _end(lines, end - 1)
    return end, separator


def _shows(code: Sequence[str]) -> bool:
    """Whether there is anything between two marks of a fence but separators."""
    return any(line.strip() and not is_parting(line) for line in code)


def _without_lead(lines: Sequence[str], end: int, first: int, separator: str) -> tuple[int, bool]:
    """Where the lines end without what leads on to the next task, and whether that holds a remark.

    A short line of its own right below the answer's usual ``separator`` is one, whatever it says.
    """
    remarks, bottom = False, end
    while end - 1 > first and end > 1:
        line, above = lines[end - 1], _end(lines, end - 1)
        if not _heads(line):
            below = separator and end == bottom and len(line) <= _LONGEST_REMARK
            if not (_announces(line) or (below and lines[above - 1].strip() == separator)):
                break
            remarks = True
        end = above
    return end, remarks


def _heads(line: str) -> bool:
    """Whether a line below a separator heads the next task: a heading, a title, a number."""
    return _HEADING.match(line) is not None or is_title(line) or lone_number(line) is not None


def _announces(line: str) -> bool:
    """Whether a line below a separator is a remark: about what comes, or in brackets, or to take leave."""
    said = bare(line)
    aside = said.endswith((":", "：")) or (said.startswith(("(", "（")) and said.endswith((")", "）")))
    return (aside and len(said) < _LONGEST_REMARK) or is_opening(line) or is_closing(line)


def _without_title(lines: list[str], first: int, usual: Parting, number: int | None, *, last: bool) -> list[str]:
    """The lines of a field without the next task's title or number at its end; never without the ``first`` text."""
    end = len(lines)
    counted = lone_number(lines[-1]) if end - 1 > first else None
    if counted is not None and (counted == number if last else usual.numbered):
        end = _end(lines, end - 1)
    while usual.titled and end - 1 > first and (title := _title(lines[end - 1])):
        if last and not title["counted"]:
            break
        end = _end(lines, end - 1)
        if title["counted"]:
            break  # a category stands below "Task 5", not above it
    headed = not last and end == len(lines) and end - 1 > first and _HEADING.match(lines[-1])
    if headed and not any(map(_HEADING.match, lines[:-1])):
        end = _end(lines, end - 1)
    return lines[:end]


def _end(lines: Sequence[str], end: int) -> int:
    """The end of what is said before ``end``."""
    while end and not lines[end - 1].strip():
        end -= 1
    return end


def without_closing(lines: Sequence[str]) -> tuple[list[str], bool]:
    """The last output's lines without the leave that a model takes from its list, and whether it took it.

    A paragraph at the end that takes leave and speaks of the list, or any that takes leave below a separator; never
    the whole output, nor what a letter says ("please contact us") or the last speaker in a dialogue.
    """
    end = _end(lines, len(lines))
    addresses = _ADDRESSES.match(next((line for line in lines if line.strip()), ""))
    offers = _OF_TASKS if addresses else _OFFERS_MORE
    taken = False
    fenced = in_fence(lines)
    while True:
        start = _paragraph(lines, end)
        above = _end(lines, start)
        said = " ".join(lines[start:end])[:_LONGEST_CLOSING]
        parted = above and is_parting(lines[above - 1])
        if not above or fenced[start] or not _closes(said, offers, parted=bool(parted)):
            return list(lines[:end]), taken
        taken, end = True, above
        if parted:
            end = _end(lines, above - 1) or above


def _paragraph(lines: Sequence[str], end: int) -> int:
    """Where the last paragraph before ``end`` starts: below a blank line or a separator (0: it is the first)."""
    start = end
    while (
        start and lines[start - 1].strip() and not (is_parting(lines[start - 1]) or _FENCE.fullmatch(lines[start - 1]))
    ):
        start -= 1
    return start if start < end else 0


def _closes(said: str, offers: re.Pattern[str], *, parted: bool) -> bool:
    """Whether a paragraph takes leave from the list of tasks; ``offers`` tells that from leave within an output."""
    plain = bare(said).strip("()（）[]【】 ")
    if header_of(said):
        return False
    ends = _END.fullmatch(bare(said))
    if _CLOSES_LIST.match(plain) or (ends and (parted or ends["mark"])):
        return True
    return (is_closing(plain) or _OFFERS.match(plain) is not None) and (
        parted or bool(_OF_TASKS.search(plain) or (offers.search(plain) and not _OF_A_LETTER.search(plain)))
    )
