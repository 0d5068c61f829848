"""How the executed checks read an output: as code, as a table, as words, as numbers, as times of the day."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any


def code_of(output: str) -> str:
    """Return the code of an output: its first fenced block, or the whole text when it has none."""
    fence = re.search(r"```[^\n]*\n(.*?)```", output, re.DOTALL)
    return fence.group(1) if fence else output


def run_code(code: str) -> dict[str, Any]:
    """Execute Python code as an imported module would be, and return its global names."""
    names: dict[str, Any] = {"__name__": "seed"}
    exec(compile(code, "<seed>", "exec"), names)
    return names


def printed_by(code: str) -> str:
    """Return what Python code prints when it is executed."""
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        run_code(code)
    return shown.getvalue()


def cells_of(markdown: str) -> list[list[str]]:
    """Return the stripped cells of each row of a Markdown table, its header and rule included."""
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in markdown.splitlines()]


def numbers_in(text: str) -> list[str]:
    """Return the unsigned decimal numbers in a text as they are written, thousands commas removed."""
    return re.findall(r"\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3})", "", text))


def words_of(text: str) -> list[str]:
    """Return the words of a text: what stands between spaces and holds a letter or a digit."""
    return [word for word in text.split() if re.search(r"\w", word)]


def sentences_in(text: str) -> int:
    """Count the sentences of a text by the full stops, question and exclamation marks before a space or the end."""
    return len(re.findall(r"[.!?](?=\s|$)", text))


def minutes_of(clock: str) -> int:
    """Return the minutes from midnight to a time such as 7:05 or 17:05."""
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def clock_of(minutes: int) -> str:
    """Return the time as HH:MM, so many minutes after midnight."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
