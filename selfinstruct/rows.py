"""Rows of data that anybody may have written, one at a time: JSON Lines, a JSON array, Parquet, the records of a run.

A file of any size needs the memory of its longest row. Every row knows where it stands, and is kept as it came.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import orjson

from selfinstruct import identity, run_folder
from selfinstruct.errors import BadData
from selfinstruct.json_array import elements
from selfinstruct.store import lines_of
from selfinstruct.store_manifest import read_manifest

LONGEST = 2**26
"""Bytes of the longest row that is read, 64 MiB: a file without line ends must not fill the memory."""

_BUFFER = 2**18
_FIELDS_SHOWN = 20
_NO_OBJECT = {
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    type(None): "null",
}
_NOTHING = object()  # where there is no field; null is one


class Row(NamedTuple):
    """One row: the file and line it stands in, its line as it came (line end included), and the object it is.

    ``value`` is None where it is none, and ``problem`` then says why.
    """

    file: str
    line: int
    raw: bytes
    value: dict[str, Any] | None
    problem: str = ""

    @property
    def place(self) -> str:
        """``data.jsonl:12``."""
        return f"{self.file}:{self.line}"

    @property
    def name(self) -> str:
        """What others call it: its ``id`` where it has one (a text or a number), else its place."""
        own = self.value.get("id") if self.value else None
        if isinstance(own, str | int) and not isinstance(own, bool) and own != "":
            return str(own)
        return self.place


class Source(Protocol):
    """Where rows come from; read once. Iterating raises `BadData` for what holds no rows at all.

    A row that is none is a `Row` with a ``problem``; blank lines are no rows.
    """

    @property
    def label(self) -> str:
        """What its rows' places begin with."""
        ...

    @property
    def path(self) -> Path | None:
        """The file or folder; None for standard input."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes in all, where that is known."""
        ...

    @property
    def done(self) -> int:
        """Bytes read so far."""
        ...

    @property
    def sha256(self) -> str:
        """After the last row: the hex digest of everything that was read, of the file's own bytes, packed or not."""
        ...

    def __iter__(self) -> Iterator[Row]:
        """The rows, in order."""
        ...


def open_sources(names: Sequence[str], output_dir: Path) -> list[Source]:
    """The source behind each name: ``-`` is standard input, else a file, else a run, by name or folder.

    Files of one name in several folders are told apart by their paths. Raises `BadData` for a name that is nothing of
    these, and `ConfigProblem` for Parquet where its extra is missing.
    """
    files = [Path(name) for name in names if name != "-"]
    plain = {file.name for file in files if sum(file.name == other.name for other in files) == 1}
    return [_open_source(name, Path(name).name if Path(name).name in plain else name, output_dir) for name in names]


def _open_source(name: str, label: str, output_dir: Path) -> Source:
    path = Path(name)
    if name == "-":
        return TextRows("stdin", None)
    if path.suffix == ".parquet" and path.is_file():
        return ParquetRows(label, path)
    if path.exists() and not path.is_dir():
        return TextRows(label, path)
    try:
        run = run_folder.find(output_dir, name)
    except BadData:
        if path.is_dir():
            raise BadData(f"{path}: a folder that holds no run; name its files") from None
        raise BadData(f"{name}: no such file, and no run of that name below {output_dir}") from None
    return RunRecords(run)


def text_of(row: Row, fields: Sequence[str]) -> str:
    """The text of a row's fields, joined by line feeds; ``messages.0.content`` is a field of a field.

    Raises `BadData`, which names the row's place, where the row is none, or lacks a field, or one holds no text.
    """
    return "\n".join([_text(row, path) for path in fields])


def _text(row: Row, path: str) -> str:
    found = value_of(row, path)
    if isinstance(found, str):
        return found
    raise BadData(f"{row.place}: the field '{path}' is {_NO_OBJECT.get(type(found), 'an object')}, and no text")


def value_of(row: Row, path: str, option: str = "--field") -> Any:
    """What a row's field holds. Raises `BadData` where the row is none, or lacks it; ``option`` names another one."""
    if row.value is None:
        raise BadData(f"{row.place}: {row.problem}")
    found = row.value[path] if path in row.value else _below(row.value, path)
    if found is not _NOTHING:
        return found
    shown = [*list(row.value)[:_FIELDS_SHOWN], *(["…"] if len(row.value) > _FIELDS_SHOWN else [])]
    raise BadData(
        f"{row.place}: no field '{path}'; the row has: {', '.join(shown) or 'none at all'} (say {option} NAME)"
    )


def _below(value: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part in map(str, range(len(value))):
            value = value[int(part)]
        else:
            return _NOTHING
    return value


# --- text: JSON Lines or one JSON array -------------------------------------------------------------------------------


class TextRows:
    """The rows of a file of text, or of standard input where there is no ``path``: plain or packed by gzip.

    It holds an object a line; a file named ``.json`` and standard input may hold one array of objects instead, which
    its first character tells.
    """

    def __init__(self, label: str, path: Path | None) -> None:
        self.label = label
        self.path = path
        self.size = path.stat().st_size if path and path.is_file() else None
        self.done = 0
        self.sha256 = ""

    def __iter__(self) -> Iterator[Row]:
        """The rows, in order; blank lines are none."""
        if self.path is None and sys.stdin is None:  # a shell's <&-
            raise BadData(f"{self.label}: is closed; pipe the rows into it, or name a file")
        try:
            with self.path.open("rb") if self.path else nullcontext(sys.stdin.buffer) as file:
                tap = _Tap(file, self)
                yield from self._rows(io.BufferedReader(tap, _BUFFER))
                self.sha256 = tap.hash.hexdigest()
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise BadData(f"{self.label}: damaged gzip: {error}; fetch the file again") from error
        except OSError as error:
            raise BadData(f"{self.label}: cannot read: {error.strerror or error}") from error

    def _rows(self, file: io.BufferedReader) -> Iterator[Row]:
        if file.peek(2)[:2] == b"\x1f\x8b":
            file = io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER)
        start = file.peek(4)[: len(codecs.BOM_UTF8) + 1]
        if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise BadData(f"{self.label}: is UTF-16; write it as UTF-8")
        may_be_array = self.path is None or self.path.name.removesuffix(".gz").endswith(".json")
        if may_be_array and self._opens_array(file):
            for line, text in elements(file, self.label, LONGEST):
                yield row_of(self.label, line, text)
        else:
            yield from self._lines(file)

    def _opens_array(self, file: io.BufferedReader) -> bool:
        return file.peek(1).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["

    def _lines(self, file: io.BufferedReader) -> Iterator[Row]:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise BadData(f"{self.label}:{number}: a row of more than {LONGEST} bytes")
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not line.isspace() and line:
                yield row_of(self.label, number, line)


class _Tap(io.RawIOBase):
    """Counts and hashes what is read through it."""

    def __init__(self, file: IO[bytes], source: TextRows) -> None:
        self.hash = hashlib.sha256()
        self._file = file
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._file.readinto1(buffer)  # type: ignore[attr-defined]
        self.hash.update(memoryview(buffer)[:count])
        self._source.done += count
        return count


def row_of(file: str, line: int, raw: bytes) -> Row:
    """The row that a line of JSON is."""
    raw = raw if raw.endswith(b"\n") else raw + b"\n"
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return Row(file, line, raw, None, _why_not_json(raw, error))
    if isinstance(value, dict):
        return Row(file, line, raw, value)
    return Row(file, line, raw, None, f"a row must be an object, and this is {_NO_OBJECT[type(value)]}")


def _why_not_json(raw: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "not UTF-8; convert the file, for instance with iconv -t UTF-8"
    return f"not JSON: {error.msg} (character {error.pos + 1} of the row)"


# --- Parquet ----------------------------------------------------------------------------------------------------------


class ParquetRows:
    """The rows of a Parquet file, each as the line of JSON it is. Raises `ConfigProblem` where the extra is missing."""

    def __init__(self, label: str, path: Path) -> None:
        from selfinstruct import parquet_file

        self.label = label
        self.path = path
        self.size = path.stat().st_size
        self.done = 0
        self.sha256 = ""
        self._lines = parquet_file.lines

    def __iter__(self) -> Iterator[Row]:
        """The rows, in order. Raises `BadData` for a file that is not Parquet."""
        for number, (share, line) in enumerate(self._lines(self.path, self.label), start=1):
            self.done = int(self.size * share)
            yield row_of(self.label, number, line)
        with self.path.open("rb") as file:
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()


# --- the records of a run ---------------------------------------------------------------------------------------------


class RunRecords:
    """The kept records of a run's last stage, in their order. Raises `BadData` where there are none."""

    def __init__(self, path: Path) -> None:
        stages = [started.stage for started in identity.of_run(path)]
        manifest = read_manifest(path / stages[-1]) if stages else None
        if manifest is None:
            raise BadData(f"{path}: no finished records here; 'selfinstruct status' lists the runs")
        self.label = f"{path.name}/{stages[-1]}"
        self.path = path / stages[-1]
        self.size = sum(file.stat().st_size for file in (path / stages[-1]).glob("shard-*.jsonl"))
        self.done = 0
        self.sha256 = ""

    def __iter__(self) -> Iterator[Row]:
        """The rows, in order. Raises `DamagedRun` for a shard that is not as it was written."""
        digest = hashlib.sha256()
        for number, line in enumerate(lines_of(self.path, "shard"), start=1):
            digest.update(line)
            self.done += len(line)
            yield row_of(self.label, number, line)
        self.sha256 = digest.hexdigest()
