"""The ledger: one SQLite file a run, the truth about every call.

A call is ``reserved`` on disk before its first byte leaves and ``settled`` with the raw answer when it is back; an
attempt still reserved when the next process opens the ledger is ``ambiguous``: it may have been executed. Rows are
written by one thread in groups: whatever arrived during the last commit goes into the next one, so a lone call waits
for one fsync and a hundred at once share it. Look-ups read committed rows from the caller's thread.

Each process that opens a ledger raises its epoch, and every commit checks it: a process that was frozen, lost its
lock and wakes up late writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import queue
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from selfinstruct import wire
from selfinstruct.errors import (
    BadData,
    ConfigProblem,
    DamagedRun,
    OutputFailed,
    RequestRefused,
    RunLocked,
    SelfinstructError,
)
from selfinstruct.schema import Completion

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS epoch (value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, draw TEXT NOT NULL, stage TEXT NOT NULL, path TEXT NOT NULL, state TEXT NOT NULL,
    status INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER, digest TEXT,
    body BLOB NOT NULL, answer BLOB  -- last: counting calls then never reads through the long columns
);
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, epoch INTEGER NOT NULL, state TEXT NOT NULL, outcome TEXT,
    reserved_at REAL NOT NULL, ended_at REAL
);
CREATE INDEX IF NOT EXISTS attempts_open ON attempts (key) WHERE state = 'reserved';
"""
_RESERVE_CALL = "INSERT OR IGNORE INTO calls (key, draw, stage, path, body, state) VALUES (?, ?, ?, ?, ?, 'open')"
_RESERVE_ATTEMPT = "INSERT INTO attempts (key, epoch, state, reserved_at) VALUES (?, ?, 'reserved', ?)"
_CLOSE_ATTEMPT = "UPDATE attempts SET state = ?, outcome = ?, ended_at = ? WHERE key = ? AND state = 'reserved'"
_SETTLE = (
    "UPDATE calls SET state = ?, answer = ?, status = ?, prompt_tokens = ?, completion_tokens = ?, digest = ?"
    " WHERE key = ?"
)
_FIND = "SELECT key, draw, path, body, state, answer, status, digest FROM calls WHERE "
_GROUP = 512

Statement = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Call:
    """A call as recorded: ``body`` as sent, ``answer`` as received (the error's text where the call was refused).

    ``state`` is ``open`` (no answer yet), ``settled`` or ``refused`` (a verdict: the server will never answer this).
    """

    key: str
    draw: str
    path: str
    body: bytes
    state: str
    answer: bytes
    status: int | None

    def completion(self) -> Completion:
        """The answer, through the same gate as the first time. Raises `RequestRefused` for a refused call."""
        if self.state == "refused":
            refusal = RequestRefused(self.answer.decode(), status=self.status)
            refusal.call = self.key
            raise refusal
        completion = wire.completion(self.answer, chat=self.path == wire.CHAT)
        return completion.model_copy(update={"call": self.key})


class StageCalls(NamedTuple):
    """What a stage has been answered so far."""

    stage: str
    calls: int
    prompt_tokens: int
    completion_tokens: int


class LedgerReader:
    """Committed rows, for look-ups; any number of processes may read while one writes."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise BadData(f"{path}: there is no ledger here")
        self.path = path
        self._db = _connect(path)
        self._db.execute("PRAGMA query_only = ON")
        if self._rows("PRAGMA user_version") == [(0,)]:  # set when the first writer has made the tables
            raise BadData(f"{path}: there is no ledger here")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def find(self, key: str) -> Call | None:
        """The call of that key. Raises `DamagedRun` when its answer is not what was recorded."""
        return self._one(_FIND + "key = ?", key)

    def find_prefix(self, prefix: str) -> Call | None:
        """The first call whose key starts with ``prefix`` (hex), for people who type."""
        return self._one(_FIND + "key >= ? AND key < ? ORDER BY key LIMIT 1", prefix, prefix + "g")

    def find_draw(self, draw: str) -> Call | None:
        """A call of that draw, under whatever settings it was made; a scan, for error messages."""
        return self._one(_FIND + "draw = ? LIMIT 1", draw)

    def has_answers(self) -> bool:
        """True as soon as one call has been answered or refused."""
        return bool(self._rows("SELECT 1 FROM calls WHERE state != 'open' LIMIT 1"))

    def by_stage(self) -> list[StageCalls]:
        """Answered calls and their tokens, stage by stage."""
        rows = self._rows(
            "SELECT stage, count(*), sum(prompt_tokens), sum(completion_tokens) FROM calls WHERE state != 'open'"
            " GROUP BY stage ORDER BY stage"
        )
        return [StageCalls(*row) for row in rows]

    def attempts(self, state: str) -> int:
        """How many attempts are in a state: ``reserved``, ``settled``, ``refused``, ``failed`` or ``ambiguous``."""
        [(count,)] = self._rows("SELECT count(*) FROM attempts WHERE state = ?", state)
        return int(count)

    def _one(self, sql: str, *values: str) -> Call | None:
        rows = self._rows(sql, *values)
        return self._call(rows[0]) if rows else None

    def _rows(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _failure(self.path, error) from error

    def _call(self, row: tuple[Any, ...]) -> Call:
        key, draw, path, body, state, answer, status, digest = row
        recorded = _digest(key, state, answer) if isinstance(answer, bytes) else None
        if digest != recorded or (recorded is None) != (state == "open"):
            raise DamagedRun(f"{self.path}: the answer of call {key[:12]} is not the one that was recorded")
        return Call(key, draw, path, body, state, answer or b"", status)


@dataclass
class _Write:
    statements: list[Statement]
    done: asyncio.Future[None]


class Ledger:
    """The writer, one process at a time; ``rows`` reads. Writes are awaited inside a running event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer = _connect(path)
        try:
            self.epoch = self._take_over()
        except sqlite3.Error as error:
            raise _failure(path, error) from error
        self.rows = LedgerReader(path)
        self._thread = threading.Thread(target=self._write_groups, name="ledger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is queued, then close. Safe to call twice."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self.rows.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- writing: each returns when the row is durable ------------------------------------------------------------

    async def reserve(self, key: str, draw: str, path: str, body: bytes) -> None:
        """Record that a call is about to be sent. The stage is the draw's first part."""
        stage = draw.partition("/")[0]
        await self._submit(
            (_RESERVE_CALL, (key, draw, stage, path, body)),
            (_RESERVE_ATTEMPT, (key, self.epoch, time.time())),
        )

    async def fail(self, key: str, outcome: str) -> None:
        """Close the open attempt: it brought no answer, and ``outcome`` says how."""
        await self._submit((_CLOSE_ATTEMPT, ("failed", outcome, time.time(), key)))

    async def settle(self, key: str, answer: bytes, prompt_tokens: int, completion_tokens: int) -> None:
        """Record the raw answer; from now on this call is never sent again."""
        await self._end(key, "settled", answer, None, prompt_tokens, completion_tokens)

    async def refuse(self, key: str, message: str, status: int | None) -> None:
        """Record the server's verdict that this very request will never be answered."""
        await self._end(key, "refused", message.encode(), status, 0, 0)

    async def _end(
        self, key: str, state: str, answer: bytes, status: int | None, prompt_tokens: int, completion_tokens: int
    ) -> None:
        digest = _digest(key, state, answer)
        await self._submit(
            (_SETTLE, (state, answer, status, prompt_tokens, completion_tokens, digest, key)),
            (_CLOSE_ATTEMPT, (state, None, time.time(), key)),
        )

    async def _submit(self, *statements: Statement) -> None:
        done = asyncio.get_running_loop().create_future()
        self._queue.put(_Write(list(statements), done))
        await done

    # --- inside ----------------------------------------------------------------------------------------------------

    def _take_over(self) -> int:
        """Raise the epoch; what an earlier process left reserved may have been executed."""
        db = self._writer
        db.executescript(_SCHEMA)
        db.execute("BEGIN IMMEDIATE")
        row = db.execute("SELECT value FROM epoch").fetchone()
        epoch = 1 if row is None else int(row[0]) + 1
        db.execute("DELETE FROM epoch")
        db.execute("INSERT INTO epoch VALUES (?)", (epoch,))
        db.execute("UPDATE attempts SET state = 'ambiguous' WHERE state = 'reserved'")
        db.execute("COMMIT")
        db.execute(f"PRAGMA user_version = {_VERSION}")
        return epoch

    def _write_groups(self) -> None:
        more = True
        while more:
            group, more = self._next_group()
            if group:
                _resolve(group, self._commit(self._writer, group))
        self._writer.close()

    def _next_group(self) -> tuple[list[_Write], bool]:
        """Wait for one write, then take what else is queued; False when the ledger is being closed."""
        group: list[_Write] = []
        item = self._queue.get()
        while item is not None:
            group.append(item)
            if len(group) >= _GROUP or self._queue.empty():
                return group, True
            item = self._queue.get()
        return group, False

    def _commit(self, db: sqlite3.Connection, group: list[_Write]) -> Exception | None:
        try:
            db.execute("BEGIN IMMEDIATE")
            if db.execute("SELECT value FROM epoch").fetchone() != (self.epoch,):
                db.execute("ROLLBACK")
                return RunLocked(f"{self.path}: another process took this run over; this one stops")
            for write in group:
                for sql, values in write.statements:
                    db.execute(sql, values)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                db.execute("ROLLBACK")
            return _failure(self.path, error)
        return None


def _resolve(group: list[_Write], failure: Exception | None) -> None:
    """Wake everybody who waited for this group, in one call into their event loop."""

    def wake(loop: asyncio.AbstractEventLoop) -> None:
        for write in group:
            if write.done.get_loop() is not loop or write.done.done():
                continue
            if failure is None:
                write.done.set_result(None)
            else:
                write.done.set_exception(failure)

    for loop in {write.done.get_loop() for write in group}:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody in it waits any more
            loop.call_soon_threadsafe(wake, loop)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        # Created by us first, so that the prompts and answers in it are readable by their owner only. An existing file
        # is left alone: closing a descriptor of it would let go of the locks SQLite holds on it in this process, and
        # the next reader elsewhere would take itself for the last one and delete the write-ahead log in use.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # WAL + NORMAL may lose the last commits on power loss
        (version,) = db.execute("PRAGMA user_version").fetchone()
    except (sqlite3.Error, OSError) as error:
        raise _failure(path, error) from error
    if version > _VERSION:
        raise ConfigProblem(f"{path}: written by a newer selfinstruct (ledger version {version}); upgrade")
    return db


def _failure(path: Path, error: Exception) -> SelfinstructError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return RunLocked(f"{path}: another process keeps the ledger locked")
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return DamagedRun(f"{path}: not a readable ledger: {error}")
    return OutputFailed(f"{path}: cannot write the ledger: {error}")


def _digest(key: str, state: str, answer: bytes) -> str:
    return hashlib.sha256(b"\n".join((key.encode(), state.encode(), answer))).hexdigest()
