"""Read a file of any size line by line, each line with its number and its place, and read places again later.

A byte order mark, Windows line ends and a missing last line feed are tolerated; everything else that is wrong is one
`BadData` with file and line.
"""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import orjson

from selfinstruct.errors import BadData

LONGEST: Final = 2**26
"""Bytes of the longest line that is read, 64 MiB: a file without line ends must not fill the memory."""

_FIELDS_SHOWN = 20


class Line(NamedTuple):
    """A line with its line end: its text, the byte it begins at, and its number, counted from 1."""

    text: str
    offset: int
    number: int


class Places:
    """Where lines of a file stand, to read each of them again when it is asked for. Memory: 20 bytes a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets = array("Q")
        self._numbers = array("I")
        self._hashes = array("q")

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, line: Line) -> None:
        """Keep the place of a line."""
        self._offsets.append(line.offset)
        self._numbers.append(line.number)
        self._hashes.append(hash(line.text))

    def line(self, index: int) -> Line:
        """The line that was added as number ``index``. Raises `BadData` where it is no longer what it was."""
        line = Line(at(self._path, self._offsets[index]), self._offsets[index], self._numbers[index])
        if hash(line.text) != self._hashes[index]:
            raise changed(self._path)
        return line


def of_path(path: Path, what: str = "") -> Iterator[Line]:
    """The lines of a file, one after the other; ``what`` it is, for the message where it cannot be read.

    Raises `BadData` for what cannot be read, or is no text in UTF-8.
    """
    try:
        with path.open("rb") as file:
            yield from of_file(file, str(path))
    except OSError as error:
        raise cannot_read(path, error, what) from error


def of_file(file: IO[bytes], name: str) -> Iterator[Line]:
    """The lines of an open file; ``name`` is what messages call it. They end at line feeds only."""
    offset = number = 0
    while raw := file.readline(LONGEST + 1):
        number += 1
        if len(raw) > LONGEST:
            raise BadData(f"{name}:{number}: a line of more than {LONGEST} bytes; is this a file of text?")
        mark = len(codecs.BOM_UTF8) if number == 1 and raw.startswith(codecs.BOM_UTF8) else 0
        try:
            yield Line(raw[mark:].decode(), offset + mark, number)
        except UnicodeDecodeError as error:
            raise BadData(f"{name}:{number}: not UTF-8; convert the file, for instance with iconv -t UTF-8") from error
        offset += len(raw)


def at(path: Path, offset: int, size: int = -1) -> str:
    """The text at a place that was read before: ``size`` bytes, or the rest of the line without one.

    Raises `BadData` where that is no text any more.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return (file.readline() if size < 0 else file.read(size)).decode()
    except OSError as error:
        raise cannot_read(path, error) from error
    except UnicodeDecodeError as error:
        raise changed(path) from error


def row_of(text: str, place: str) -> dict[str, Any]:
    """The object that a line of JSON Lines is. Raises `BadData`, which names the ``place``, where it is none."""
    try:
        row = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadData(f"{place}: not JSON: {error.msg}; mend or drop the line") from error
    if not isinstance(row, dict):
        raise BadData(f"{place}: not a JSON object but {type(row).__name__}; one JSON object a line")
    return row


def keys_of(row: dict[str, Any]) -> str:
    """The names of a row's fields, for a message."""
    return ", ".join([*list(row)[:_FIELDS_SHOWN], *(["…"] if len(row) > _FIELDS_SHOWN else [])]) or "none at all"


def cannot_read(path: Path, error: OSError, what: str = "") -> BadData:
    """What to say of a file that cannot be read."""
    problem = f"cannot read the {what}" if what else "cannot be read"
    return BadData(f"{path}: {problem}: {error.strerror or error}")


def changed(path: Path) -> BadData:
    """What to say of a file that is not what it was when it was read first."""
    return BadData(f"{path}: was changed while it was in use; put it back as it was, or start anew with what it is now")
