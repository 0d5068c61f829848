"""An item's lines as one instruction: what the model meant, without the list's and Markdown's clothes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from selfinstruct.parsing.markup import bare, in_fence, indent, is_rule

_BOLD_START: Final = re.compile(r"(\*{1,3})(?=[^\s*])([^*]{1,300})\1")
_WHOLLY_BOLD: Final = re.compile(r"\*\*[^*]+\*\*")
_LABEL: Final = re.compile(
    r"(?:(?:new )?(?:task|instruction)(?: \d{1,3})?|(?:任务|指令)\s?\d{0,3})\s?[:：]\s*", re.IGNORECASE
)
_LONE_FENCE: Final = re.compile(r"\s*`{3,}[\w+#.-]*\s*")
_QUOTES: Final = {'"': '"', "'": "'", "“": "”", "‘": "’", "「": "」", "『": "』", "`": "`"}


def item_text(lines: Sequence[str], *, titled: bool = False) -> str:
    """The item as one line of text, except that a code fence keeps its own lines; empty if nothing is said.

    Rules, half fences, a label ("Task:"), and quotes or bold marks around the whole are taken off. A title stays, as
    plain text; one on a line of its own (bold, or ``titled``: a heading) is set off by a colon from what follows.
    """
    fenced = in_fence(lines)
    kept = [
        (line, inside)
        for line, inside in zip(lines, fenced, strict=True)
        if inside or (line.strip() and not is_rule(line) and not _LONE_FENCE.fullmatch(line))
    ]
    if len(kept) > 1 and (titled or _WHOLLY_BOLD.fullmatch(kept[0][0].strip())) and bare(kept[0][0])[-1:].isalnum():
        kept[0] = (bare(kept[0][0]) + ":", False)
    text = undress(_joined(kept))
    return text if any(map(str.isalnum, text)) else ""


def _joined(lines: Sequence[tuple[str, bool]]) -> str:
    """Words joined by single spaces; fenced lines by line breaks, moved left as far as the fence itself stood in."""
    parts = []
    for inside, group in groupby(lines, key=lambda entry: entry[1]):
        rows = [line for line, _ in group]
        margin = indent(rows[0])
        moved = (row[margin:] if not row[:margin].strip() else row.strip() for row in rows)
        parts.append("\n".join(moved) if inside else " ".join(" ".join(rows).split()))
    return "\n".join(parts)


def undress(text: str) -> str:
    """The text without label, and without quotes or bold marks around its whole or its first words."""
    text = text.strip()
    while True:
        inner = text
        if bold := _BOLD_START.match(inner):
            inner = bold[2] + inner[bold.end() :]
        if label := _LABEL.match(inner):
            inner = inner[label.end() :]
        if len(inner) > 2 and _QUOTES.get(inner[0]) == inner[-1] and not {inner[0], inner[-1]} & set(inner[1:-1]):
            inner = inner[1:-1]
        if inner == text:
            return text
        text = inner.strip()
