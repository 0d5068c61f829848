"""What every parser here needs to know of Markdown: line ends, code fences, rules, and the text under the marks."""

from __future__ import annotations

import re
from collections.abc import Sequence

_INVISIBLE = re.compile("[\ufeff\u200b\u200e\u200f]")
_OPENS = re.compile(r"`{3,}[^`]*|.*[\s:：]`{3,}[\w+#.-]*")
_RULE = re.compile(r"(?:[-*_=]\s?){3,}")
# The traditional characters in names of fields ("輸入", "問題") and in words for "no input" ("無需", "沒有").
_SIMPLIFIED = str.maketrans(
    "輸問題務內覆應類別種詞說無沒該適暫額數據為結響遺對這請協執滿處議語網訪視覺圖獲"
    "實時參話讓給幫體驗個們樣違規則設計訓練鏈傳開聽畫觀點親關談論創資權會過還讀覽歡",
    "输问题务内复应类别种词说无没该适暂额数据为结响遗对这请协执满处议语网访视觉图获"
    "实时参话让给帮体验个们样违规则设计训练链传开听画观点亲关谈论创资权会过还读览欢",
)


def clean(text: str) -> str:
    """The text with plain line ends and without characters nobody sees (byte order mark, zero-width space)."""
    return _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def simplified(text: str) -> str:
    """The text with simplified characters for those that the patterns have, one for one; for comparing only."""
    return text.translate(_SIMPLIFIED)


def indent(line: str) -> int:
    """How far a line is indented, in columns; a tab counts as four."""
    return len(line[: len(line) - len(line.lstrip())].expandtabs(4))


def is_rule(line: str) -> bool:
    """True for a line that only draws: ``---``, ``***``, ``===``."""
    return _RULE.fullmatch(line.strip()) is not None


def bare(line: str) -> str:
    """A line without the Markdown around it: heading marks, quote marks, emphasis."""
    return line.strip().lstrip("#>").strip(" \t*_`")


def fences(lines: Sequence[str]) -> list[tuple[int, int]]:
    """The first and last line of every code fence.

    A fence that never closes is none: one forgotten line must not swallow the rest of an answer. A fence may open
    behind a list marker (``9. ```python``) and close behind code (``}``` ``), as models write it.
    """
    found: list[tuple[int, int]] = []
    start = -1
    for number, line in enumerate(map(str.strip, lines)):
        if line.count("```") % 2 == 0:
            continue
        if start >= 0 and line.endswith("```"):
            found.append((start, number))
            start = -1
        elif _OPENS.fullmatch(line):
            start = number
    return found


def in_fence(lines: Sequence[str]) -> list[bool]:
    """For each line, whether it is code: the lines of a fence, its own two included where nothing else is on them."""
    inside = [False] * len(lines)
    for first, last in fences(lines):
        first += not lines[first].lstrip().startswith("```")
        inside[first : last + 1] = [True] * (last + 1 - first)
    return inside


def unwrap(text: str) -> str:
    """The text without the one code fence that wraps all of it, if one does."""
    lines = text.strip().split("\n")
    return "\n".join(lines[1:-1]) if fences(lines) == [(0, len(lines) - 1)] else text


def trim(text: str) -> str:
    """The text without blank lines and spaces after it and blank lines before it; the first indentation stays."""
    lines = text.rstrip().split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    return "\n".join(lines[first:])
