"""A list without marks: items that stand one a line, as a model writes them that left the numbers out."""

from __future__ import annotations

import re
from typing import Final

from selfinstruct.parsing.chatter import is_apology, is_closing, is_greeting
from selfinstruct.parsing.markup import clean

LEAST: Final = 3
"""Fewer lines than this are as likely a sentence or two about the list as the list."""

LONGEST: Final = 300
"""Characters of an item; a longer line is a paragraph."""

_LABEL: Final = re.compile(r"(?:q|question|sub-?topic|topic|问题|小?话题)\s?\d{1,3}\s?[.:：、]\s*", re.IGNORECASE)
_LEADS: Final = re.compile(r".{0,200}[:：]")


def bare_lines(text: str) -> list[str]:
    """The lines of an answer that are items; ``[]`` where it does not look like a list of short ones.

    A first line that greets or ends in a colon, and a last one that takes leave, are none. Labels such as "Q1:" are
    taken off.
    """
    lines = [line.strip() for line in clean(text).split("\n") if line.strip()]
    if lines and (_LEADS.fullmatch(lines[0]) or is_greeting(lines[0])):
        lines = lines[1:]
    if lines and is_closing(lines[-1]):
        lines = lines[:-1]
    items = [_LABEL.sub("", line, count=1) if _LABEL.match(line) else line for line in lines]
    if len(items) < LEAST or any(not item or len(item) > LONGEST for item in items) or is_apology(items[0]):
        return []
    return items
