"""The results of a batch: derived from its requests and the ledger; they appear whole, and are private.

What they were derived from last is written down with the marks of the files, so nothing is derived twice.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfinstruct import __version__, batch_file
from selfinstruct.batch import STAGE, Batch, Requests, answered
from selfinstruct.batch_file import RequestLine
from selfinstruct.errors import REFUSALS, OutputFailed
from selfinstruct.ledger_reader import Call, LedgerReader
from selfinstruct.schema import Noun
from selfinstruct.store_files import Spool, pretty, write_whole

ANSWERS, ERRORS, MARKS = "results.jsonl", "errors.jsonl", "results.json"

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


def read(folder: Path) -> Written | None:
    """What was written down in a stage's folder when the results were; None where that cannot be read."""
    try:
        return Written.model_validate_json((folder / MARKS).read_bytes())
    except (OSError, ValueError):
        return None


def line_of(line: RequestLine, call: Call) -> tuple[bool, bytes]:
    """The line of an answered request, and whether it is a result, and no error."""
    if call.state == "settled":
        return True, batch_file.result_line(line.custom_id, call.key, call.answer)
    code, why = REFUSALS[call.state], call.answer.decode()
    return False, batch_file.error_line(line.custom_id, call.key, code, why, call.status)


def derive(batch: Batch, rows: LedgerReader, requests: Requests) -> Written:
    """Write ``results.jsonl`` and ``errors.jsonl`` from the requests and the ledger, then their marks.

    Only the bytes that were checked are read: somebody may add lines while the run goes on. Without errors there is no
    file of them. Raises `OutputFailed`, or `DamagedRun` for a damaged answer.
    """
    answers, errors = ResultFile(batch.out / ANSWERS), ResultFile(batch.out / ERRORS)
    counts: Counter[str] = Counter()
    for line, call in answered(batch, rows, requests.size):
        is_result, row = line_of(line, call)
        (answers if is_result else errors).add(row)
        counts[call.state] += 1
    failed = counts.total() - counts["settled"]
    files = {ANSWERS: answers.publish()}
    if failed:
        files[ERRORS] = errors.publish()
    else:
        errors.discard()
    written = Written(
        requests=requests.sha256,
        answered=counts["settled"],
        failed=failed,
        skipped=counts["skipped"],
        files=files,
    )
    write_whole(batch.out / STAGE / MARKS, pretty(written.model_dump()))
    return written


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
