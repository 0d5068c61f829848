"""The ledger as a file: its tables, how it is opened, and how an older one is brought up to date."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from selfinstruct.errors import ConfigProblem, DamagedRun, OutputFailed, RunLocked, SelfinstructError

VERSION = 2

# A call's row is written once and its answer is another row, so settling never rewrites a long prompt. Calls are found
# by their draw, which grows with the run: an index over random keys would touch another page for every call. Long
# columns stand last, so that counting never reads through them.
SCHEMA = """
CREATE TABLE IF NOT EXISTS epoch (value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS currency (code TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, stage TEXT NOT NULL, round INTEGER NOT NULL, slot INTEGER NOT NULL, step INTEGER NOT NULL,
    k INTEGER NOT NULL, key BLOB NOT NULL, path TEXT NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS calls_by_draw ON calls (stage, round, slot, step, k, key);
CREATE TABLE IF NOT EXISTS answers (
    call INTEGER PRIMARY KEY, state TEXT NOT NULL, status INTEGER, digest BLOB NOT NULL, answer BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_state ON answers (state);
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, call INTEGER NOT NULL, epoch INTEGER NOT NULL, stage TEXT NOT NULL, state TEXT NOT NULL,
    outcome TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, cost INTEGER, reserved_at REAL NOT NULL,
    ended_at REAL
);
CREATE INDEX IF NOT EXISTS attempts_reserved ON attempts (call) WHERE state = 'reserved';
"""

_TAKE_CALLS = (
    "INSERT INTO main.calls SELECT * FROM parent.calls"
    " WHERE id <= ? AND id IN (SELECT call FROM parent.answers) ORDER BY id"
)
_TAKE_ANSWERS = "INSERT INTO main.answers SELECT * FROM parent.answers WHERE call IN (SELECT id FROM main.calls)"


def connect(path: Path, *, sync: bool = True) -> sqlite3.Connection:
    """Open the file, making it if need be, readable by its owner only. Raises what `failure` says."""
    try:
        _make_private(path)
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        db.execute("PRAGMA journal_mode = WAL")
        # NORMAL flushes only when the log is moved into the file: a power loss may take the last commits, no more. OFF
        # could take the file.
        db.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        (version,) = db.execute("PRAGMA user_version").fetchone()
    except (sqlite3.Error, OSError) as error:
        raise failure(path, error) from error
    if version > VERSION:
        raise ConfigProblem(f"{path}: written by a newer selfinstruct (ledger version {version}); upgrade")
    return db


def version_of(db: sqlite3.Connection) -> int:
    """The version of the tables; 0 before the first writer has made them."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def make_current(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring those of an older version up to date, a copy of the old file kept beside it."""
    if version_of(db) == 1:
        _from_version_1(db, path)
    if version_of(db) < VERSION:
        db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")


def take_over(path: Path, parent: Path, calls: int) -> None:
    """Copy into an empty ledger every answered call of another one up to that number, all at once or none.

    They keep their numbers and have no attempts here: an answer that was paid for there costs nothing a second time.
    """
    with contextlib.closing(connect(path)) as db:
        try:
            make_current(db, path)
            db.execute("ATTACH DATABASE ? AS parent", (str(parent),))
            db.execute("BEGIN IMMEDIATE")
            db.execute(_TAKE_CALLS, (calls,))
            db.execute(_TAKE_ANSWERS)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise failure(path, error) from error


def failure(path: Path, error: Exception) -> SelfinstructError:
    """What a failed read or write of the file means for the user."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return RunLocked(f"{path}: another process keeps the ledger locked")
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return DamagedRun(f"{path}: not a readable ledger: {error}")
    return OutputFailed(f"{path}: cannot write the ledger: {error}; nothing recorded is lost, run again")


def _make_private(path: Path) -> None:
    """Create the file, so that the prompts and answers in it are readable by their owner only.

    An existing file is left alone: closing a descriptor of it would let go of the locks SQLite holds on it in this
    process, and the next reader elsewhere would take itself for the last one and delete the write-ahead log in use.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _from_version_1(db: sqlite3.Connection, path: Path) -> None:
    """Version 1 kept a call and its answer in one row, the draw as text, and no cost.

    What an attempt that may have been billed came to is unknown there, and stays so.
    """
    kept = path.with_name(f"{path.stem}-version-1{path.suffix}")
    _make_private(kept)
    with contextlib.closing(sqlite3.connect(kept)) as copy:
        db.backup(copy)
    db.create_function("part", 2, lambda draw, n: draw.split("/")[n], deterministic=True)
    db.create_function("unhex_", 1, bytes.fromhex, deterministic=True)
    db.executescript(
        f"""
        BEGIN IMMEDIATE;
        DROP INDEX attempts_open;
        ALTER TABLE calls RENAME TO calls_1;
        ALTER TABLE attempts RENAME TO attempts_1;
        {SCHEMA}
        INSERT INTO calls SELECT rowid, stage, CAST(part(draw, 1) AS INTEGER), CAST(part(draw, 2) AS INTEGER),
            CAST(part(draw, 3) AS INTEGER), CAST(part(draw, 4) AS INTEGER), unhex_(key), path, body FROM calls_1;
        INSERT INTO answers SELECT rowid, state, status, unhex_(digest), answer FROM calls_1 WHERE state != 'open';
        UPDATE attempts_1 SET state = iif(outcome = 'MaybeExecuted', 'ambiguous', 'unusable')
            WHERE outcome IN ('MaybeExecuted', 'UnusableResponse');
        INSERT INTO attempts SELECT a.id, c.rowid, a.epoch, c.stage, a.state, a.outcome,
            iif(a.state = 'settled', nullif(c.prompt_tokens, 0), a.free),
            iif(a.state = 'settled', c.completion_tokens, a.free), a.free, a.reserved_at, a.ended_at
            FROM (SELECT *, iif(state IN ('failed', 'refused'), 0, NULL) free FROM attempts_1) a
            JOIN calls_1 c ON c.key = a.key;
        DROP TABLE attempts_1;
        DROP TABLE calls_1;
        PRAGMA user_version = {VERSION};
        COMMIT;
        """
    )
