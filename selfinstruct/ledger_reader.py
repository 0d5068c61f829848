"""The ledger, read: committed rows, for look-ups; any number of processes may read while one writes.

`Call` is a call as recorded, `Spending` what attempts that ended alike come to. See `ledger` for what the rows mean.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from selfinstruct import ledger_file, wire
from selfinstruct.errors import BadData, ConfigProblem, DamagedRun, RequestRefused, Verdict
from selfinstruct.schema import Completion, Draw

_FIND = (
    "SELECT c.id, c.stage, c.round, c.slot, c.step, c.k, c.key, c.path, c.body, a.state, a.answer, a.status, a.digest"
    " FROM calls c LEFT JOIN answers a ON a.call = c.id WHERE "
)
_DRAW = "c.stage = ? AND c.round = ? AND c.slot = ? AND c.step = ? AND c.k = ?"
_PAGE = (
    "SELECT id, round, slot, step, k, key FROM calls WHERE stage = ? AND id <= ?"
    " AND (round, slot, step, k, key) > (?, ?, ?, ?, ?) ORDER BY round, slot, step, k, key LIMIT 4096"
)

_PART = 10**9
"""Costs are summed as quotient and rest of it: SQLite's integers end at nine million units in pico-units."""

_COST = f"sum(cost / {_PART}), sum(cost % {_PART}), sum(cost IS NULL)"
# The index has all that is asked of a call: reading the calls themselves would read their prompts.
_BY_ROUND = (
    f"SELECT c.stage, c.round, count(*), {_COST} FROM calls c INDEXED BY calls_by_draw"
    " CROSS JOIN attempts a ON a.call = c.id WHERE a.state = 'settled' GROUP BY c.stage, c.round"
)


# A step of a dialogue is a turn. From the attempts to their calls: the other way all attempts are read for each call.
_BY_STEP = (
    "SELECT c.step, count(*), coalesce(sum(a.prompt_tokens), 0), coalesce(sum(a.completion_tokens), 0)"
    " FROM attempts a CROSS JOIN calls c ON c.id = a.call"
    " WHERE a.stage = ? AND c.round < ? AND a.state = 'settled' GROUP BY c.step ORDER BY c.step"
)


class StepUsage(NamedTuple):
    """What the answered calls of a step used, all jobs together."""

    step: int
    calls: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Call:
    """A call as recorded: ``body`` as sent, ``answer`` as received (the reason where there will never be one).

    ``state`` is ``open`` (no answer yet), ``settled``, or a `Verdict`.
    """

    id: int
    key: str
    draw: Draw
    path: str
    body: bytes
    state: str
    answer: bytes
    status: int | None

    def completion(self) -> Completion:
        """The answer, through the same gate as the first time. Raises `RequestRefused` for a verdict."""
        if self.state != "settled":
            refusal = RequestRefused(self.answer.decode(), status=self.status)
            refusal.call, refusal.verdict = self.key, cast(Verdict, self.state)
            raise refusal
        completion = wire.completion(self.answer, chat=self.path == wire.CHAT)
        return completion.model_copy(update={"call": self.key})


class Spending(NamedTuple):
    """What the attempts of a stage that ended alike come to; ``cost`` in pico-units, None where no price was known.

    ``state`` is that of the attempts, ``outcome`` the error that ended them.
    """

    stage: str
    state: str
    outcome: str | None
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cost: int | None
    unpriced: int


class RoundSpending(NamedTuple):
    """The answered calls of a round of a stage; ``cost`` and ``unpriced`` as in `Spending`."""

    stage: str
    round: int
    calls: int
    cost: int | None
    unpriced: int


class LedgerReader:
    """Committed rows, for look-ups; any number of processes may read while one writes."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise BadData(f"{path}: there is no ledger here")
        self.path = path
        self._db = ledger_file.connect(path)
        self._db.execute("PRAGMA query_only = ON")
        version = self._rows("PRAGMA user_version")[0][0]
        if version == 0:  # set when the first writer has made the tables
            raise BadData(f"{path}: there is no ledger here")
        if version < ledger_file.VERSION:
            raise ConfigProblem(
                f"{path}: written by an older selfinstruct; run its command again to bring it up to date"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def find(self, draw: Draw, key: str) -> Call | None:
        """The call of that draw and key. Raises `DamagedRun` when its answer is not what was recorded."""
        return self._one(_FIND + _DRAW + " AND c.key = ?", *columns_of(draw), bytes.fromhex(key))

    def find_prefix(self, prefix: str) -> Call | None:
        """The first call whose key starts with ``prefix`` (hex), for people who type; a scan."""
        if not re.fullmatch("[0-9a-f]{1,64}", prefix):
            return None
        first, last = (bytes.fromhex(prefix.ljust(64, pad)) for pad in "0f")
        return self._one(_FIND + "c.key BETWEEN ? AND ? ORDER BY c.key LIMIT 1", first, last)

    def find_draw(self, draw: Draw) -> Call | None:
        """The latest call of that draw, under whatever settings it was made."""
        return self._one(_FIND + _DRAW + " ORDER BY c.id DESC LIMIT 1", *columns_of(draw))

    def last_draw(self, stage: str) -> tuple[int, int]:
        """The furthest round of a stage that has a call, and the furthest slot in it; (-1, -1) before the first."""
        rows = self._rows("SELECT round, slot FROM calls WHERE stage = ? ORDER BY round DESC, slot DESC LIMIT 1", stage)
        return (int(rows[0][0]), int(rows[0][1])) if rows else (-1, -1)

    def last_call(self) -> int:
        """The number of the last call that has been answered or refused; 0 before the first."""
        return int(self._rows("SELECT coalesce(max(call), 0) FROM answers")[0][0])

    def is_empty(self) -> bool:
        """True until the first call."""
        return not self._rows("SELECT 1 FROM calls LIMIT 1")

    def has_answers(self) -> bool:
        """True as soon as one call has been answered or refused."""
        return bool(self._rows("SELECT 1 FROM answers LIMIT 1"))

    def answered(self, stage: str) -> Iterator[tuple[Draw, str]]:
        """Draw and key of every call of a stage that has an answer or a verdict, by draw; reads no long column.

        Writing may go on meanwhile: it reads page by page, since an open query would keep the write-ahead log growing.
        """
        (last,) = self._rows("SELECT coalesce(max(id), 0) FROM calls")[0]
        known = bytearray(last + 1)
        for (call,) in self._stream("SELECT call FROM answers INDEXED BY answers_by_state WHERE call <= ?", last):
            known[call] = 1
        after = (-1, -1, -1, -1, b"")
        while page := self._rows(_PAGE, stage, last, *after):
            for id, round, slot, step, k, key in page:
                if known[id]:
                    yield Draw(stage=stage, round=round, slot=slot, step=step, k=k), key.hex()
            after = page[-1][1:]

    def calls(self, stage: str | None = None) -> Iterator[Call]:
        """Every call, or every one of a stage, by draw. Raises `DamagedRun` like `find`."""
        where, values = ("c.stage = ?", (stage,)) if stage else ("1", ())
        order = " ORDER BY c.stage, c.round, c.slot, c.step, c.k, c.id"
        for row in self._stream(_FIND + where + order, *values):
            yield self._call(row)

    def spending(self) -> list[Spending]:
        """What was done and spent, by stage, state and outcome."""
        rows = self._rows(
            "SELECT stage, state, outcome, count(*), coalesce(sum(prompt_tokens), 0),"
            f" coalesce(sum(completion_tokens), 0), {_COST}"
            " FROM attempts GROUP BY stage, state, outcome ORDER BY stage, state, outcome"
        )
        found = []
        for stage, state, outcome, count, prompt, completion, high, low, unpriced in rows:
            found.append(Spending(stage, state, outcome, count, prompt, completion, _cost(high, low), unpriced))
        return found

    def spending_by_round(self) -> Iterator[RoundSpending]:
        """What was answered and its cost, by stage and round."""
        for stage, round, calls, high, low, unpriced in self._stream(_BY_ROUND):
            yield RoundSpending(stage, round, calls, _cost(high, low), unpriced)

    def usage_by_step(self, stage: str, rounds: int = 2**62) -> list[StepUsage]:
        """What the answered calls of a stage's first ``rounds`` used, by the step of a job that they are."""
        return [StepUsage(*row) for row in self._stream(_BY_STEP, stage, rounds)]

    def currency(self) -> str:
        """The currency that costs are counted in."""
        rows = self._rows("SELECT code FROM currency")
        return str(rows[0][0]) if rows else "usd"

    def attempts(self, state: str) -> int:
        """How many attempts are in a state: ``reserved``, ``settled``, a `Verdict` or an `Ending`."""
        [(count,)] = self._rows("SELECT count(*) FROM attempts WHERE state = ?", state)
        return int(count)

    def _one(self, sql: str, *values: object) -> Call | None:
        rows = self._rows(sql, *values)
        return self._call(rows[0]) if rows else None

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return list(self._stream(sql, *values))

    def _stream(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise ledger_file.failure(self.path, error) from error

    def _call(self, row: tuple[Any, ...]) -> Call:
        id, stage, round, slot, step, k, key, path, body, state, answer, status, digest = row
        key = key.hex()
        if state is not None and (type(answer) is not bytes or digest != digest_of(key, state, answer)):
            raise DamagedRun(f"{self.path}: the answer of call {key[:12]} is not the one that was recorded")
        draw = Draw(stage=stage, round=round, slot=slot, step=step, k=k)
        return Call(id, key, draw, path, body, state or "open", answer or b"", status)


def _cost(high: int | None, low: int) -> int | None:
    return None if high is None else high * _PART + low


def columns_of(draw: Draw) -> tuple[str, int, int, int, int]:
    """A draw as its columns."""
    return draw.stage, draw.round, draw.slot, draw.step, draw.k


def digest_of(key: str, state: str, answer: bytes) -> bytes:
    """What an answer, or a verdict and its reason, is known again by."""
    return hashlib.sha256(b"\n".join((key.encode(), state.encode(), answer))).digest()
