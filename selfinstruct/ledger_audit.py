"""A ledger read row by row: is each call, answer and attempt what it was when it was written?

It states anew what the writer guarantees, instead of sharing the writer's code, so that neither's mistake hides the
other's. Everything is read in one transaction: what another process commits meanwhile is not seen. Memory does not
grow with the ledger; the keys of its calls are copied into a temporary file for look-ups.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from selfinstruct import ledger_file, wire
from selfinstruct.errors import ConfigProblem, DamagedRun, OutputFailed, SelfinstructError
from selfinstruct.findings import Report
from selfinstruct.schema import Draw, Endpoint, Request

LEDGER = "ledger.sqlite3"
"""The file's name in a run's folder."""

_FROM_A_COPY = "put the file back from a copy of the run; what it recorded exists nowhere else"

_CALLS = (
    "SELECT c.key, c.stage, c.round, c.slot, c.step, c.k, c.path, c.body, a.state, a.digest, a.answer"
    " FROM calls c LEFT JOIN answers a ON a.call = c.id ORDER BY c.id"
)
_ATTEMPTS_OF_CALLS = (
    "WITH sums AS (SELECT call, sum(state = 'settled') AS settled, sum(state = 'refused') AS refused"
    " FROM attempts GROUP BY call)"
    " SELECT hex(c.key), coalesce(a.state, 'open'), coalesce(s.settled, 0), coalesce(s.refused, 0) FROM calls c"
    " LEFT JOIN answers a ON a.call = c.id LEFT JOIN sums s ON s.call = c.id"
    " WHERE (coalesce(s.settled, 0) != (a.state IS 'settled') OR coalesce(s.refused, 0) != (a.state IS 'refused'))"
    " AND NOT (c.id <= ? AND s.call IS NULL)"
)
_BAD_ATTEMPTS = (
    "SELECT t.id, CASE WHEN c.id IS NULL THEN 'belongs to no call'"
    " WHEN c.stage != t.stage THEN 'belongs to a call of another stage'"
    " WHEN t.epoch > (SELECT value FROM epoch) THEN 'was made by a process that never opened the ledger'"
    " WHEN t.state NOT IN ('reserved', 'settled', 'failed', 'ambiguous', 'refused', 'unusable', 'skipped')"
    " THEN 'is in no known state'"
    " WHEN t.cost < 0 OR t.prompt_tokens < 0 OR t.completion_tokens < 0 THEN 'counts less than nothing'"
    " END AS complaint FROM attempts t LEFT JOIN calls c ON c.id = t.call WHERE complaint IS NOT NULL"
)


class Known(NamedTuple):
    """A call as records name it: whose it is, and ``open``, ``settled`` or why it will never be answered."""

    stage: str
    round: int
    slot: int
    state: str


class LedgerAudit:
    """A ledger being checked. Use it in a ``with`` block; `check` first, then `call` for the calls records name."""

    def __init__(self, report: Report) -> None:
        self._path = report.path / LEDGER
        self._report = report
        self._db: sqlite3.Connection | None = None
        self._keys = sqlite3.connect("", isolation_level=None)  # a temporary file, gone with the connection
        self._keys.execute("CREATE TABLE known (key BLOB, stage TEXT, round INTEGER, slot INTEGER, state TEXT)")
        self.readable = False

    def __enter__(self) -> LedgerAudit:
        if not self._path.exists():
            self._damaged("is missing", _FROM_A_COPY)
            return self
        try:
            self._db = ledger_file.connect(self._path)
            self._db.text_factory = lambda data: data.decode("utf-8", "replace")  # damaged names are findings too
            self._db.execute("PRAGMA query_only = ON")
            self._db.execute("BEGIN")
            version = ledger_file.version_of(self._db)  # the first read: from here on, nothing changes
            self.readable = self._is_current(version)
        except (sqlite3.Error, DamagedRun, OutputFailed) as error:
            self._damaged(f"cannot be read: {error}", _FROM_A_COPY)
        return self

    def __exit__(self, *_: object) -> None:
        self._keys.close()
        if self._db is not None:
            self._db.close()

    def check(self, endpoints: Mapping[str, Sequence[Endpoint]], taken_over: int = 0) -> None:
        """Check every row. ``endpoints`` are those that each stage asks: a call's key must be made for one of them.

        Calls of other stages keep their keys unchecked.

        Calls up to the number ``taken_over`` were answered in another run's ledger: here they have no attempts.
        """
        if not self.readable:
            return
        try:
            self._check_file()
            self._check_calls(endpoints)
            self._check_attempts(taken_over)
        except sqlite3.Error as error:
            self.readable = False
            self._damaged(f"cannot be read to its end: {error}", _FROM_A_COPY)
        self._keys.execute("CREATE INDEX by_key ON known (key)")

    def call(self, key: str) -> Known | None:
        """The call of that key (hex); None when the ledger has none."""
        try:
            row = self._keys.execute(
                "SELECT stage, round, slot, state FROM known WHERE key = ?", (bytes.fromhex(key),)
            ).fetchone()
        except ValueError:  # no key at all
            return None
        return Known(*row) if row else None

    def stages(self) -> list[str]:
        """The stages whose calls it holds."""
        return [stage for (stage,) in self._keys.execute("SELECT DISTINCT stage FROM known ORDER BY stage")]

    # --- inside ----------------------------------------------------------------------------------------------------

    def _is_current(self, version: int) -> bool:
        if version == ledger_file.VERSION:
            return True
        if version:
            raise ConfigProblem(
                f"{self._path}: written by an older selfinstruct; run its command again to bring it up to date"
            )
        self._damaged("is empty", _FROM_A_COPY)
        return False

    def _check_file(self) -> None:
        # Indexes too, which quick_check leaves out: a call that its index does not find would be paid for again.
        complaints = [text for (text,) in self._rows("PRAGMA integrity_check(5)") if text != "ok"]
        if complaints:
            self._damaged("SQLite says: " + "; ".join(" ".join(text.split()) for text in complaints), _FROM_A_COPY)
        (lost,) = next(self._rows("SELECT count(*) FROM answers WHERE call NOT IN (SELECT id FROM calls)"))
        if lost:
            self._damaged(f"{lost} answers belong to no call", _FROM_A_COPY)

    def _check_calls(self, endpoints: Mapping[str, Sequence[Endpoint]]) -> None:
        others = 0
        for key, stage, round, slot, step, k, path, body, state, digest, answer in self._rows(_CALLS):
            self._report.counts["calls"] += 1
            name = _hex(key)
            self._keys.execute("INSERT INTO known VALUES (?, ?, ?, ?, ?)", (key, stage, round, slot, state or "open"))
            asked, draw = endpoints.get(stage, ()), (stage, round, slot, step, k)
            if asked and all(name != _key(endpoint, draw, path, body) for endpoint in asked):
                if state == "settled":
                    what = "body, path or draw is not what the key was made of"
                    self._damaged(what, _FROM_A_COPY, f"call {name[:12]}")
                others += state != "settled"
            if state is None:
                continue
            self._report.counts["answers"] += 1
            if digest != _digest(name, state, answer):
                self._damaged("the answer is not the one that was recorded", _FROM_A_COPY, f"call {name[:12]}")
            elif state == "settled" and (complaint := _gate(answer, path)):
                self._damaged(f"the answer is no completion: {complaint}", _FROM_A_COPY, f"call {name[:12]}")

        if others:
            self._report.notes.append(
                f"{LEDGER}: {others} calls without an answer were made for other settings than stage.json has now, as"
                " happens when settings are mended before the first answer (or were changed since); they are never used"
            )

    def _check_attempts(self, taken_over: int) -> None:
        (self._report.counts["attempts"],) = next(self._rows("SELECT count(*) FROM attempts"))
        for attempt, complaint in self._rows(_BAD_ATTEMPTS):
            self._damaged(complaint, _FROM_A_COPY, f"attempt {attempt}")
        for key, state, settled, refused in self._rows(_ATTEMPTS_OF_CALLS, taken_over):
            what = f"the call is {state}, its attempts say {settled} times settled and {refused} times refused"
            self._damaged(what, _FROM_A_COPY, f"call {key[:12].lower()}")
        (reserved,) = next(self._rows("SELECT count(*) FROM attempts WHERE state = 'reserved'"))
        if reserved and not self._report.in_use:
            self._report.notes.append(
                f"{LEDGER}: {reserved} attempts were under way when the last process died;"
                " the next start counts them as ambiguous"
            )

    def _rows(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        assert self._db is not None
        yield from self._db.execute(sql, values)

    def _damaged(self, what: str, hint: str, place: object = None) -> None:
        self._report.found(LEDGER, what, hint, place)


def _hex(key: object) -> str:
    return key.hex() if isinstance(key, bytes) else str(key)


def _key(endpoint: Endpoint, draw: tuple[Any, ...], path: Any, body: Any) -> str | None:
    """The key these columns make; None when they cannot be a call's at all."""
    names = ("stage", "round", "slot", "step", "k")
    try:
        request = Request(draw=Draw(**dict(zip(names, draw, strict=True))), path=path, body=body)
        return wire.key_of(body, endpoint, request)
    except (ValueError, TypeError):
        return None


def _digest(key: str, state: str, answer: object) -> bytes | None:
    if not isinstance(answer, bytes):
        return None
    return hashlib.sha256(b"\n".join((key.encode(), state.encode(), answer))).digest()


def _gate(answer: bytes, path: str) -> str | None:
    """Why the response gate would not let this answer through; None when it does."""
    try:
        wire.completion(answer, chat=path == wire.CHAT)
    except SelfinstructError as error:
        return str(error)
    return None


def answers_by_state(path: Path) -> dict[str, int]:
    """How many calls of a ledger are ``settled``, and how many ended in each verdict."""
    with contextlib.closing(ledger_file.connect(path)) as db:
        try:
            return dict(db.execute("SELECT state, count(*) FROM answers GROUP BY state").fetchall())
        except sqlite3.Error as error:
            raise ledger_file.failure(path, error) from error


def calls_with(path: Path, prefix: str, most: int = 5) -> list[tuple[str, Draw, str]]:
    """Key, draw and state of the first calls whose key begins with ``prefix`` (hex digits)."""
    first, last = (bytes.fromhex(prefix.ljust(64, pad)) for pad in "0f")
    return _found(path, "c.key BETWEEN ? AND ?", (first, last), most)


def calls_of(path: Path, draw: Draw, most: int = 5) -> list[tuple[str, Draw, str]]:
    """Key, draw and state of the calls of a draw: more than one where its request was changed in between."""
    columns = (draw.stage, draw.round, draw.slot, draw.step, draw.k)
    return _found(path, "c.stage = ? AND c.round = ? AND c.slot = ? AND c.step = ? AND c.k = ?", columns, most)


def _found(path: Path, where: str, values: tuple[object, ...], most: int) -> list[tuple[str, Draw, str]]:
    sql = (
        "SELECT hex(c.key), coalesce(a.state, 'open'), c.stage, c.round, c.slot, c.step, c.k"
        f" FROM calls c LEFT JOIN answers a ON a.call = c.id WHERE {where} ORDER BY c.key LIMIT {most}"
    )
    with contextlib.closing(ledger_file.connect(path)) as db:
        try:
            rows = db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise ledger_file.failure(path, error) from error
    names = ("stage", "round", "slot", "step", "k")
    return [(key.lower(), Draw(**dict(zip(names, draw, strict=True))), state) for key, state, *draw in rows]
