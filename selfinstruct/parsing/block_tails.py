"""What stands between two tasks, or behind the last one, and belongs to neither: separators, titles, leave-taking."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from selfinstruct.parsing.block_headers import header_of, is_hashes, is_parting
from selfinstruct.parsing.chatter import is_closing
from selfinstruct.parsing.markup import bare, fences, in_fence

# One "#" begins a comment in code without a fence.
_HEADING: Final = re.compile(r"\s{0,3}#{2,6}\s+\S")
_TITLE: Final = re.compile(
    r"\s{0,8}(?:#{1,6}\s{0,4}|[-*•]\s)?[*_【\[(（]{0,4}"
    r"(?:(?:\d{1,4}\s?[.、]\s?)?(?:(?:task )?(?:category|type)|(?:任务)?(?:类型|类别|种类))[*_]{0,3}\s?[:：]"
    r"|(?:task|example|任务|示例)\s?(?:no\.\s?)?#?(?:\d{1,4}|[一二三四五六七八九十]{1,3})|第(?:\d{1,4}|[一二三四五六七八九十]{1,3})[题个]"
    r"|#?\d{1,4}[.、．)）\]】*]|#\d{1,4})"
    r"(?P<more>.{0,80})",
    re.IGNORECASE,
)
_LONE_NUMBER: Final = re.compile(r"\s{0,8}(?:#{1,6}\s{0,4})?[*_(（]{0,3}(\d{1,4})\s?[.、．)）]?[*_]{0,3}\s*")
_FENCE: Final = re.compile(r"\s{0,8}`{3,}\w{0,12}\s*")
_INLINE_HASHES: Final = re.compile(r"(?<=[\s.!?。！？])#{3}\Z")
# Talk about the list as a whole, or an offer to go on; "Note: …", "I hope this helps" may be part of an answer.
_OF_THE_LIST: Final = re.compile(
    r"\b(?:tasks|instructions|prompts|these (?:help|are|meet|work)|examples|modifications|adjustments)\b|\bmore\b"
    r"|\bfurther\b|\banything else\b|\bchanges\b|\bany questions\b|\bassistance\b|\bthis helps\b"
    r"|任务|指令|示例|例子|这些|以上|更多|其他|修改|调整|继续|帮助",
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
    r"|(?:i have|i've) (?:now )?(?:generated|provided|created|completed|listed)\b.{0,80}\b(?:tasks|instructions)\b"
    r"|[(（\[]end(?: of (?:the )?(?:tasks|list))?[)）\]]\Z",
    re.IGNORECASE,
)
_OFFERS: Final = re.compile(r"如果?(?:[你您])?(?:还|仍)?(?:需要|想要|有).{0,40}(?:告诉我|告知|提出|找我|随时)")
_END: Final = re.compile(
    r"[(（\[]?(?:the end|end(?: of (?:the )?(?:tasks|list))?|完|结束|全文完)[)）\]]?[.。]?", re.IGNORECASE
)
_LONGEST_CLOSING: Final = 500  # characters of a paragraph
_MOST_CLOSINGS: Final = 3  # paragraphs: each costs a look at the whole output


def is_title(line: str) -> bool:
    """True for a line that may title a task: "### Task 5: Summaries", "任务五", "5.", "类别：改写"."""
    found = _TITLE.fullmatch(line.strip()[:160])
    if not found or len(line) > 160:
        return False
    plain_number = not re.search(r"[^\W\d_]", line[: found.start("more")])
    return not (plain_number and found["more"].strip(" *_)）】]"))


def lone_number(line: str) -> int | None:
    """The number a line consists of ("5.", "**5**"), if it does."""
    found = _LONE_NUMBER.fullmatch(line) if len(line) < 40 else None
    return int(found[1]) if found else None


def without_parting(lines: Sequence[str], *, titled: bool = False, number: int | None = None) -> list[str]:
    """A field's lines without what parts it from the next task.

    That is lines of hashes, marks of fences around tasks, one rule, a heading with nothing below it, the next task's
    ``number`` alone on a line and, where the answer's tasks are ``titled``, the next one's title. The text on the
    header's own line, the first, is never one of them; nor is the only text there is, unless it only draws.
    """
    end = _end(lines, len(lines))
    first = next((at for at, line in enumerate(lines) if line.strip()), 0)
    paired = {at for pair in fences(lines) if any(map(str.strip, lines[pair[0] + 1 : pair[1]])) for at in pair}
    hashed = ruled = False
    while end > 1:
        line = lines[end - 1]
        alone = first == end - 1
        heads = _HEADING.match(line) or (titled and is_title(line))
        if is_hashes(line) or (_FENCE.fullmatch(line) and end - 1 not in paired):
            hashed = True
        elif is_parting(line) and not ruled and not (alone and hashed):
            ruled = True
        elif alone or not (heads or (number is not None and lone_number(line) == number)):
            break
        end = _end(lines, end - 1)
    kept = list(lines[:end])
    if kept and _INLINE_HASHES.search(kept[-1]):
        kept[-1] = kept[-1][:-3].rstrip()
    return kept


def _end(lines: Sequence[str], end: int) -> int:
    """The end of what is said before ``end``."""
    while end and not lines[end - 1].strip():
        end -= 1
    return end


def without_closing(lines: Sequence[str]) -> tuple[list[str], bool]:
    """The last output's lines without the leave that a model takes from its list, and whether it took it.

    A paragraph at the end that takes leave and speaks of the list, or any that takes leave below a separator; never
    the whole output, nor what a letter says ("please contact us").
    """
    end = _end(lines, len(lines))
    taken = False
    for _ in range(_MOST_CLOSINGS):
        start = _paragraph(lines, end)
        above = _end(lines, start)
        said = " ".join(lines[start:end])[:_LONGEST_CLOSING]
        parted = above and is_parting(lines[above - 1])
        if not above or in_fence(lines[:end])[start] or not _closes(said, parted=bool(parted)):
            break
        taken, end = True, above
        if parted:
            end = _end(lines, above - 1) or above
    return list(lines[:end]), taken


def _paragraph(lines: Sequence[str], end: int) -> int:
    """Where the last paragraph before ``end`` starts: below a blank line or a separator (0: it is the first)."""
    start = end
    while (
        start and lines[start - 1].strip() and not (is_parting(lines[start - 1]) or _FENCE.fullmatch(lines[start - 1]))
    ):
        start -= 1
    return start if start < end else 0


def _closes(said: str, *, parted: bool) -> bool:
    plain = bare(said).strip("()（）[]【】 ")
    if header_of(said):
        return False
    if _CLOSES_LIST.match(plain) or (parted and _END.fullmatch(plain)):
        return True
    return (is_closing(plain) or _OFFERS.match(plain) is not None) and (
        parted or (bool(_OF_THE_LIST.search(plain)) and not _OF_A_LETTER.search(plain))
    )
