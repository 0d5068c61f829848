"""The bytes of a store: how a record becomes a line, and how a file appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import orjson

from selfinstruct.errors import OutputFailed
from selfinstruct.failpoints import failpoint
from selfinstruct.schema import Record


class Spool:
    """A file that is being filled out of sight and appears by one rename: after a crash it is there whole, or not.

    The temporary file is in the same folder (a rename across file systems copies), and the folder is flushed too, or
    the rename itself could be lost. Every method that writes raises `OutputFailed`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}.tmp")
        self.size = 0
        self._hash = hashlib.sha256()
        self._mode = "wb"

    def append(self, data: bytes) -> None:
        """Add bytes; they can be read from ``temporary`` at once. No file stays open in between."""
        try:
            failpoint("store.append")
            with self.temporary.open(self._mode) as file:
                file.write(data)
        except OSError as error:
            raise _failed(self.path, error) from error
        self._mode = "ab"
        self._hash.update(data)
        self.size += len(data)

    def publish(self) -> str:
        """Let the file appear, on disk for good; returns the hex sha256 of its bytes."""
        self.append(b"")  # a file of nothing is a file too
        try:
            if self.temporary.stat().st_size != self.size:
                raise OutputFailed(
                    f"{self.temporary}: was changed behind our back; nothing recorded is lost, run again"
                )
            failpoint("store.flush")
            flush(self.temporary)
            failpoint("store.rename")
            self.temporary.replace(self.path)
            failpoint("store.renamed")
            flush(self.path.parent)
        except OSError as error:
            raise _failed(self.path, error) from error
        return self._hash.hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file by one rename: after a crash it holds the old bytes or the new, never a part."""
    spool = Spool(path)
    spool.append(data)
    spool.publish()


def line_of(record: Record) -> bytes:
    """A record as its line: all keys, in the schema's order but for ``provenance``, which readers want last; UTF-8."""
    row = record.model_dump()
    row["provenance"] = row.pop("provenance")
    return orjson.dumps(row) + b"\n"


def pretty(value: object) -> bytes:
    """JSON for people: two spaces, keys in order, a final line feed."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n"


def flush(path: Path) -> None:
    """See a file's or a folder's bytes on disk. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(path: Path, error: OSError) -> OutputFailed:
    return OutputFailed(f"{path}: cannot write: {error.strerror}; nothing recorded is lost, run again")
