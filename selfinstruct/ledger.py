"""The ledger: one SQLite file a run, the truth about every call and every cent.

A call is ``reserved`` on disk, at the most it can cost, before its first byte leaves, and ``settled`` with the raw
answer when it is back; an attempt still reserved when the next process opens the ledger is ``ambiguous``: it may have
been executed, and counts at its bound for ever. Writes go in groups: whatever arrives during one commit goes into the
next, so a lone call waits for one flush and a hundred at once share it. Rows are written by the caller's thread
(microseconds) and committed by another one, which waits for the disk.

Each process that opens a ledger raises its epoch, and every commit checks it: a process that was frozen, lost its
lock and wakes up late writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple

from selfinstruct import ledger_file
from selfinstruct.errors import (
    ConfigProblem,
    RunLocked,
    SelfinstructError,
    Verdict,
)
from selfinstruct.failpoints import failpoint
from selfinstruct.ledger_reader import Call, LedgerReader, columns_of, digest_of
from selfinstruct.money import UNBOUNDED, Bound, Price
from selfinstruct.schema import Draw, Request

Ending = Literal["failed", "ambiguous", "unusable"]
"""How an attempt without an answer ended: surely not executed (free), perhaps executed, executed and no completion."""

_ADD_CALL = "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_ATTEMPT = "INSERT INTO attempts VALUES (?, ?, ?, ?, 'reserved', NULL, ?, ?, ?, ?, NULL)"
_ADD_ANSWER = "INSERT INTO answers VALUES (?, ?, ?, ?, ?)"
_END_ATTEMPT = (
    "UPDATE attempts SET state = ?, outcome = ?, prompt_tokens = ?, completion_tokens = ?, cost = ?, ended_at = ?"
    " WHERE id = ?"
)

_MOST = 2**53
"""Tokens in one row: a bound above comes of a request that names an absurd limit, and counts as unknown."""


class Reserved(NamedTuple):
    """An attempt under way: its rows, and the most it may use."""

    call: int
    attempt: int
    bound: Bound


class _Group:
    """Rows that become durable together, and who waits for them."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.attempts: list[tuple[Any, ...]] = []
        self.answers: list[tuple[Any, ...]] = []
        self.ended: list[tuple[Any, ...]] = []
        self.waiting: list[asyncio.Future[None]] = []

    def write(self, db: sqlite3.Connection, epoch: int) -> bool:
        """Write the rows, not yet durably; False when a later process has taken the ledger over."""
        failpoint("ledger.begin")
        db.execute("BEGIN IMMEDIATE")
        if db.execute("SELECT value FROM epoch").fetchone() != (epoch,):
            return False
        # Attempts and calls first: one that ended was reserved in this group or an earlier one.
        db.executemany(_ADD_CALL, self.calls)
        db.executemany(_ADD_ATTEMPT, self.attempts)
        db.executemany(_ADD_ANSWER, self.answers)
        db.executemany(_END_ATTEMPT, self.ended)
        return True


class Ledger:
    """The writer, one process at a time; ``rows`` reads. Writes are awaited in one event loop, before `close`.

    ``sync`` off leaves the flushing to the operating system: faster on a slow disk, and a power cut may lose the last
    answers (a kill does not).
    """

    def __init__(self, path: Path, *, sync: bool = True) -> None:
        self.path = path
        self._db = ledger_file.connect(path, sync=sync)
        try:
            ledger_file.make_current(self._db, path)
            self.epoch = self._take_over()
        except (sqlite3.Error, OSError) as error:
            self._db.close()  # a transaction it has begun would keep everybody else out
            raise ledger_file.failure(path, error) from error
        self.rows = LedgerReader(path)
        self._open: dict[str, int] = {}  # calls known to be without an answer, by key
        self._reserved: dict[str, Reserved] = {}
        self._last_draw: dict[str, tuple[int, int]] = {}  # the furthest round and slot of each stage
        self._next = _Group()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._committing = False
        self._closed = False
        self._groups: SimpleQueue[tuple[_Group, asyncio.AbstractEventLoop] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._commit_groups, name="ledger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is waiting, then close. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._groups.put(None)
        self._thread.join()
        if self._next.waiting:
            self._wake(self._next, self._write(self._next) or self._commit())
        self.rows.close()
        self._db.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find(self, draw: Draw, key: str) -> Call | None:
        """The answered call of that draw and key, or None; remembers an open one for its next reservation."""
        if self._is_ahead(draw):
            return None
        call = self.rows.find(draw, key)
        if call is None or call.state != "open":
            return call
        self._open[key] = call.id
        return None

    # --- writing: each returns when the row is durable ------------------------------------------------------------

    def reserve(self, key: str, draw: Draw, path: str, body: bytes, bound: Bound = UNBOUNDED) -> asyncio.Future[None]:
        """Record that a call is about to be sent, and the most it may cost."""
        call = self._call(key, draw, path, body)
        self._last_attempt += 1
        self._reserved[key] = Reserved(call, self._last_attempt, bound)
        self._next.attempts.append((self._last_attempt, call, self.epoch, draw.stage, *_counted(bound), time.time()))
        return self._submit()

    def fail(self, key: str, outcome: str, ending: Ending) -> asyncio.Future[None]:
        """Close the attempt: it brought no answer. ``outcome`` says how; one that surely was not executed is free."""
        reserved = self._reserved.pop(key)
        self._open[key] = reserved.call
        counted = (0, 0, 0) if ending == "failed" else _counted(reserved.bound)
        self._next.ended.append((ending, outcome, *counted, time.time(), reserved.attempt))
        return self._submit()

    def settle(self, key: str, answer: bytes, prompt_tokens: int, completion_tokens: int) -> asyncio.Future[None]:
        """Record the raw answer; from now on this call is never sent again. No tokens at all mean: not told."""
        reserved = self._reserved.pop(key)
        self._next.answers.append((reserved.call, "settled", None, digest_of(key, "settled", answer), answer))
        counted = _counted(reserved.bound.charged(prompt_tokens, completion_tokens))
        self._next.ended.append(("settled", None, *counted, time.time(), reserved.attempt))
        return self._submit()

    def refuse(self, key: str, reason: str, status: int | None, verdict: Verdict = "refused") -> asyncio.Future[None]:
        """Record that this very call will never be answered. An attempt under way ends with it, for free."""
        reserved = self._reserved.pop(key, None)
        call = reserved.call if reserved else self._open.pop(key)
        said = reason.encode("utf-8", "replace")
        self._next.answers.append((call, verdict, status, digest_of(key, verdict, said), said))
        if reserved:
            self._next.ended.append((verdict, None, 0, 0, 0, time.time(), reserved.attempt))
        return self._submit()

    def forgo(self, key: str, draw: Draw, path: str, body: bytes, reason: str) -> asyncio.Future[None]:
        """Record that this call will never be sent, or not again: its model is away, and another took its place."""
        call = self._call(key, draw, path, body)
        said = reason.encode("utf-8", "replace")
        self._next.answers.append((call, "replaced", None, digest_of(key, "replaced", said), said))
        return self._submit()

    def count_in(self, currency: str) -> None:
        """Fix the currency of all costs. Raises `ConfigProblem` when some are counted in another one already."""
        before = self.rows.currency()
        if currency == before:
            return
        try:
            if self._db.execute("SELECT 1 FROM attempts WHERE cost > 0 LIMIT 1").fetchone():
                raise ConfigProblem(
                    f"{self.path}: this run's costs are counted in {before}; give the price in {before}"
                )
            self._db.execute("DELETE FROM currency")
            self._db.execute("INSERT INTO currency VALUES (?)", (currency,))
        except sqlite3.Error as error:
            raise ledger_file.failure(self.path, error) from error

    def price_unpriced(self, price: Price) -> None:
        """Give the attempts made before a price was known their cost, now that a cap has to count them."""
        self._price("prompt_tokens * ? + completion_tokens * ?", price.input, price.output)

    def price_each_unpriced(self, prices_of: Callable[[str, Request], Iterable[Price]]) -> None:
        """The same where models have prices of their own.

        ``prices_of`` names those a call may have had, by its key and what was sent: the dearest counts, none leaves it.
        """

        def cost(prompt: int, completion: int, key: bytes, path: str, body: bytes, *draw: Any) -> int | None:
            stage, round, slot, step, k = draw
            sent = Request(draw=Draw(stage=stage, round=round, slot=slot, step=step, k=k), path=path, body=body)
            most = max((price.cost(prompt, completion) for price in prices_of(key.hex(), sent)), default=None)
            return most if most is None or most < 2**63 else None

        self._db.create_function("cost_of", 10, cost)
        self._price(
            "(SELECT cost_of(prompt_tokens, completion_tokens, c.key, c.path, c.body, c.stage, c.round, c.slot, c.step,"
            " c.k) FROM calls c WHERE c.id = call)"
        )

    # --- inside ----------------------------------------------------------------------------------------------------

    def _price(self, cost: str, *values: int) -> None:
        """Set the cost of what has none and could have one, by an SQL expression."""
        try:
            self._db.execute(
                f"UPDATE attempts SET cost = {cost} WHERE cost IS NULL AND prompt_tokens IS NOT NULL", values
            )
        except sqlite3.Error as error:
            raise ledger_file.failure(self.path, error) from error

    def _is_ahead(self, draw: Draw) -> bool:
        """True for a draw past all recorded ones of its stage, as most are: there is nothing to look up."""
        last = self._last_draw.get(draw.stage)
        if last is None:
            last = self._last_draw[draw.stage] = self.rows.last_draw(draw.stage)
        return (draw.round, draw.slot) > last

    def _call(self, key: str, draw: Draw, path: str, body: bytes) -> int:
        """The row of a call without an answer: its own, or a new one."""
        call = self._open.pop(key, None) or self._known_id(draw, key)
        if call is None:
            self._last_call += 1
            call = self._last_call
            self._last_draw[draw.stage] = max(self._last_draw[draw.stage], (draw.round, draw.slot))
            self._next.calls.append((call, *columns_of(draw), bytes.fromhex(key), path, body))
        return call

    def _known_id(self, draw: Draw, key: str) -> int | None:
        call = None if self._is_ahead(draw) else self.rows.find(draw, key)
        return call.id if call else None

    def _take_over(self) -> int:
        """Raise the epoch; what an earlier process left reserved may have been executed."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        row = db.execute("SELECT value FROM epoch").fetchone()
        epoch = 1 if row is None else int(row[0]) + 1
        db.execute("DELETE FROM epoch")
        db.execute("INSERT INTO epoch VALUES (?)", (epoch,))
        db.execute("UPDATE attempts SET state = 'ambiguous' WHERE state = 'reserved'")
        (self._last_call,) = db.execute("SELECT coalesce(max(id), 0) FROM calls").fetchone()
        (self._last_attempt,) = db.execute("SELECT coalesce(max(id), 0) FROM attempts").fetchone()
        db.execute("COMMIT")
        return epoch

    def _submit(self) -> asyncio.Future[None]:
        """A future that is done when the rows added last are durable."""
        if self._closed:
            raise RuntimeError(f"{self.path}: the ledger is closed")
        loop = self._loop
        if loop is None or loop.is_closed():
            loop = self._loop = asyncio.get_running_loop()  # asked once: asking is a system call
        done: asyncio.Future[None] = loop.create_future()
        self._next.waiting.append(done)
        if len(self._next.waiting) == 1 and not self._committing:
            loop.call_soon(self._flush, loop)
        return done

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write what has gathered and hand it to the thread that waits for the disk; one group at a time."""
        if self._committing or not self._next.waiting or self._closed:
            return
        group, self._next = self._next, _Group()
        failed = self._write(group)
        if failed is not None:
            self._wake(group, failed)
            return
        self._committing = True
        self._groups.put((group, loop))

    def _write(self, group: _Group) -> SelfinstructError | None:
        try:
            if group.write(self._db, self.epoch):
                return None
            failed: SelfinstructError = RunLocked(f"{self.path}: another process took this run over; this one stops")
        except (sqlite3.Error, OSError) as error:
            failed = ledger_file.failure(self.path, error)
        with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            self._db.execute("ROLLBACK")
        return failed

    def _commit_groups(self) -> None:
        while (item := self._groups.get()) is not None:
            group, loop = item
            failed = self._commit()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody in it waits any more
                loop.call_soon_threadsafe(self._committed, group, failed, loop)

    def _commit(self) -> SelfinstructError | None:
        try:
            failpoint("ledger.commit")
            self._db.execute("COMMIT")
            failpoint("ledger.committed")
        except (sqlite3.Error, OSError) as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            return ledger_file.failure(self.path, error)
        return None

    def _committed(self, group: _Group, failed: SelfinstructError | None, loop: asyncio.AbstractEventLoop) -> None:
        self._committing = False
        self._wake(group, failed)
        self._flush(loop)

    def _wake(self, group: _Group, failed: SelfinstructError | None) -> None:
        for done in group.waiting:
            if done.done() or done.get_loop().is_closed():
                continue  # who waited was cancelled, or is gone
            if failed is None:
                done.set_result(None)
            else:
                done.set_exception(failed)


def _counted(bound: Bound) -> tuple[int | None, int | None, int | None]:
    """The columns of what an attempt counts for; unknown without a bound, or with one out of all proportion."""
    if bound.tokens is None:
        return None, None, None
    prompt, completion = bound.tokens
    cost = bound.cost
    return (prompt, completion, cost) if max(prompt, completion) < _MOST and (cost or 0) < 2**63 else (None, None, None)
