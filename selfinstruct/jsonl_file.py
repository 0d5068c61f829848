"""Read a JSON Lines file that a person wrote, line by line, into records of one kind.

Blank lines, Windows line ends and a byte order mark are tolerated (published files have them); everything else that is
wrong is one `BadData` with file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import jsonlines
from pydantic import ValidationError

from selfinstruct import text_lines
from selfinstruct.errors import BadData
from selfinstruct.schema import Noun

N = TypeVar("N", bound=Noun)


def records(path: Path, noun: type[N], what: str) -> list[tuple[int, N]]:
    """The records of a file, each with the number of its line, in the file's order; [] where all lines are blank.

    ``what`` names the file in the message when it cannot be read. Raises `BadData` naming file, line and what to do.
    """
    return [(number, _record(path, number, row, noun)) for number, row in _rows(path, what)]


def lines(path: Path, what: str) -> list[tuple[int, str]]:
    """The lines of a file that hold more than white space, stripped, each with its number. Raises `BadData`."""
    stripped = ((line.number, line.text.strip()) for line in text_lines.of_path(path, what))
    return [(number, text) for number, text in stripped if text]


def refuse_twins(path: Path, ids: Iterable[tuple[int, str]]) -> None:
    """Raise `BadData` where an id, given with the number of its line, stands in an earlier line already."""
    seen: dict[str, int] = {}
    for number, name in ids:
        first = seen.setdefault(name, number)
        if first != number:
            raise BadData(
                f"{path}:{number}: the id '{name}' stands in line {first} already;"
                " records tell by ids what they were made from, so give each line its own"
            )


def _rows(path: Path, what: str) -> list[tuple[int, object]]:
    rows: list[tuple[int, object]] = []
    for number, line in lines(path, what):
        try:
            with jsonlines.Reader([line]) as reader:
                rows.append((number, reader.read()))
        except jsonlines.InvalidLineError as error:
            reason = re.sub(r":? (?:line|\(line) \d+.*", "", str(error))  # its "line 1" is not the file's
            raise BadData(f"{path}:{number}: not a JSON object: {reason}; mend or drop the line") from error
    return rows


def _record(path: Path, number: int, row: object, noun: type[N]) -> N:
    if not isinstance(row, dict):
        raise BadData(f"{path}:{number}: not a JSON object but {type(row).__name__}; one JSON object a line")
    try:
        return noun.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadData(f"{path}:{number}: '{where}': {first['msg']}; mend or drop the line") from error
