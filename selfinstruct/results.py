"""The files of results of `complete`: they appear whole, are private, and are known again by their bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfinstruct import __version__
from selfinstruct.errors import OutputFailed
from selfinstruct.schema import Noun
from selfinstruct.store_files import Spool, pretty, write_whole

ANSWERS, ERRORS = "results.jsonl", "errors.jsonl"

_BUFFER = 2**20
"""Bytes of lines that are written at once."""


class Mark(Noun):
    """What a file is known again by: its size, and the hex sha256 of its bytes."""

    size: int
    sha256: str


class Written(Noun):
    """``results.json``: what the results were last derived from, how many they are, and the mark of each file."""

    requests: str
    answered: int
    failed: int
    skipped: int = 0  # of those that failed: given up by hand
    files: dict[str, Mark]
    selfinstruct: str = __version__

    def holds(self, folder: Path, requests: str, done: int) -> bool:
        """Whether deriving them again gives the same bytes, and those are there.

        ``requests`` is the sha256 of the requests, ``done`` how many of them have an answer or a verdict now.
        """
        known = (self.selfinstruct, self.requests, self.answered + self.failed)
        if known != (__version__, requests, done):
            return False
        return all(_mark(folder / name) == self.files.get(name) for name in (ANSWERS, ERRORS))


def read(path: Path) -> Written | None:
    """What was written down when the results were; None where that cannot be read."""
    try:
        return Written.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def write(path: Path, written: Written) -> None:
    """Write it down. Raises `OutputFailed`."""
    write_whole(path, pretty(written.model_dump()))


class ResultFile:
    """A file of lines that appears whole, readable by its owner only, as the ledger is.

    The folder may be one that was there before, and open to others. Every method raises `OutputFailed`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._spool = Spool(path)
        self._buffer = bytearray()
        with self._reporting():
            self._spool.temporary.unlink(missing_ok=True)  # left behind by a kill
            os.close(os.open(self._spool.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    def add(self, line: bytes) -> None:
        """One more line."""
        self._buffer += line
        if len(self._buffer) >= _BUFFER:
            self._spill()

    def publish(self) -> Mark:
        """Let the file appear."""
        self._spill()
        digest = self._spool.publish()
        return Mark(size=self._spool.size, sha256=digest)

    def discard(self) -> None:
        """Let there be no such file."""
        with self._reporting():
            self._spool.temporary.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)

    def _spill(self) -> None:
        self._spool.append(bytes(self._buffer))
        self._buffer.clear()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputFailed(
                f"{self.path}: cannot write: {error.strerror}; nothing recorded is lost, run again"
            ) from error


def _mark(path: Path) -> Mark | None:
    """The mark of a file; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Mark(size=file.tell(), sha256=digest)
    except OSError:
        return None
