"""Read an evaluation set: JSON Lines, a JSON array, CSV or plain text, packed by gzip or not, one item at a time.

Only the questions are read, not the answers. Everything that is wrong with a file is one `BadData` with file and line.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

import orjson

from selfinstruct.errors import BadData
from selfinstruct.json_array import elements

FIELDS: Final = ("question", "prompt", "instruction", "problem", "query", "input", "text", "ctx")
"""Where published sets keep the question, tried in this order."""

LONGEST: Final = 2**26
"""Characters of the longest item that is read."""


class EvalItem(NamedTuple):
    """One item of an evaluation set: ``where`` is "<file name>:<line>", ``text`` the question as it stands there."""

    where: str
    text: str


Values = Iterator[tuple[int, object]]


def load(source: str) -> Iterator[EvalItem]:
    """The items of ``FILE``, or of ``FILE#FIELD`` where the question stands in a field of another name than `FIELDS`.

    ``.json`` holds an array, ``.csv`` and ``.tsv`` a header and rows, ``.jsonl`` and ``.ndjson`` an object or a text a
    line; any other name is plain text, one item a line. Blank lines are passed over. A row of a table counts as on its
    last line. Of an object that has both, the
    ``instruction`` and the ``input`` together are the item. Raises `BadData` while it reads.
    """
    path, field = _parted(source)
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    line = 0
    try:
        with path.open("rb") as file:
            for line, value in _READERS.get(suffix, _text_lines)(_unpacked(file), path):
                yield EvalItem(f"{path.name}:{line}", _question(value, field, f"{path}:{line}"))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadData(f"{path}: damaged gzip: {error}; fetch the file again") from error
    except OSError as error:
        raise BadData(f"{path}: cannot read the evaluation set: {error.strerror or error}") from error
    if not line:
        raise BadData(f"{path}: holds no evaluation item, so nothing would be refused; name a file that does")


def _parted(source: str) -> tuple[Path, str | None]:
    name, mark, field = source.rpartition("#")
    if not mark or Path(source).exists():  # a file's name may hold the mark
        return Path(source), None
    return Path(name), field


def _unpacked(file: io.BufferedReader) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=file)) if file.peek(2)[:2] == b"\x1f\x8b" else file


def _lines(file: IO[bytes], path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    while raw := file.readline(LONGEST + 1):
        number += 1
        if len(raw) > LONGEST:
            raise BadData(f"{path}:{number}: a line of more than {LONGEST} bytes; is this a file of items?")
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BadData(f"{path}:{number}: not UTF-8; convert the file, for instance with iconv -t UTF-8") from error


def _text_lines(file: IO[bytes], path: Path) -> Values:
    return ((number, line.strip()) for number, line in _lines(file, path) if line.strip())


def _json_lines(file: IO[bytes], path: Path) -> Values:
    return ((number, _json(line, f"{path}:{number}")) for number, line in _text_lines(file, path))


def _json_array(file: IO[bytes], path: Path) -> Values:
    return ((line, _json(raw, f"{path}:{line}")) for line, raw in elements(file, str(path), LONGEST))


def _json(text: object, place: str) -> object:
    try:
        return orjson.loads(cast(str, text))
    except orjson.JSONDecodeError as error:
        raise BadData(f"{place}: not JSON: {error.msg}; mend or drop it, or name the file .txt") from error


def _table(delimiter: str) -> Callable[[IO[bytes], Path], Values]:
    def rows(file: IO[bytes], path: Path) -> Values:
        reader = csv.DictReader((line for _, line in _lines(file, path)), delimiter=delimiter, strict=True)
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise BadData(
                f"{path}:{reader.reader.line_num}: not a row of the table: {error}; mend the quotes"
            ) from error

    return rows


_READERS: Final = {
    **{".json": _json_array, ".jsonl": _json_lines, ".ndjson": _json_lines},
    **{".csv": _table(","), ".tsv": _table("\t")},
}


def _question(value: object, field: str | None, place: str) -> str:
    """The text that is the item. Raises `BadData` where there is none, or it says nothing."""
    texts = [value] if isinstance(value, str) and field is None else _fields(value, field, place)
    question = "\n".join(text for text in texts if text.strip())
    if not any(map(str.isalnum, question)):
        raise BadData(f"{place}: an item without a letter or digit; mend or drop it")
    return question


def _fields(value: object, field: str | None, place: str) -> list[str]:
    if not isinstance(value, dict):
        raise BadData(f"{place}: an item must be an object{' or a text' if field is None else ''}")
    wanted = [field] if field else [name for name in FIELDS if value.get(name) not in (None, "")][:1]
    if wanted == ["instruction"] and not field and value.get("input"):
        wanted.append("input")
    texts = [value.get(name) for name in wanted]
    if not texts or not all(isinstance(text, str) for text in texts):
        asked = f"text in the field '{wanted[0]}'" if wanted else f"field {', '.join(FIELDS)}"
        raise BadData(f"{place}: no {asked}; the fields are {', '.join(map(str, value))}; name one: FILE#FIELD")
    return cast(list[str], texts)
