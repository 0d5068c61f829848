"""The ledger: what was acknowledged is on disk, at its cost; what was cut off is known; damage is seen, not read."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest import mock

import orjson
import pytest

from selfinstruct import ledger_reader, wire
from selfinstruct.errors import BadData, ConfigProblem, DamagedRun, OutputFailed, RequestRefused, RunLocked, Verdict
from selfinstruct.failpoints import VARIABLE
from selfinstruct.ledger import Ending, Ledger
from selfinstruct.ledger_reader import Call, LedgerReader, RoundSpending, Spending
from selfinstruct.money import UNBOUNDED, Bound, Price, TokenBound
from selfinstruct.schema import Completion, Draw

ROOT = Path(__file__).resolve().parents[1]
KEY, OTHER = "0a" * 32, "0b" * 32
DRAW = Draw(stage="bootstrap", round=0, slot=1)
BODY = b'{"prompt":"Name a tree."}'
ANSWER = orjson.dumps(
    {
        "model": "m",
        "choices": [{"text": " an oak", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 2},
    }
)
PRICE = Price(input=2, output=6, currency="usd", source="--price", date="")
BOUND = Bound(TokenBound(100, 50), PRICE)  # 100 · 2 + 50 · 6 = 500 pico-usd
UNPRICED = Bound(TokenBound(100, 50))
STATES = ("reserved", "settled", "refused", "unusable", "skipped", "failed", "ambiguous")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's ledger is."""
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """An open ledger."""
    with Ledger(path) as ledger:
        yield ledger


def at(slot: int, stage: str = "bootstrap") -> Draw:
    """The draw of a slot in round 0."""
    return Draw(stage=stage, round=0, slot=slot)


async def reserve(ledger: Ledger, key: str = KEY, draw: Draw = DRAW, bound: Bound = UNBOUNDED) -> None:
    """A call about to be sent."""
    await ledger.reserve(key, draw, wire.COMPLETIONS, BODY, bound)


async def record(ledger: Ledger, key: str = KEY, draw: Draw = DRAW, bound: Bound = UNBOUNDED) -> None:
    """A call from reservation to answer: 4 tokens read, 2 written."""
    await reserve(ledger, key, draw, bound)
    await ledger.settle(key, ANSWER, 4, 2)


def settled(id: int = 1, key: str = KEY, draw: Draw = DRAW) -> Call:
    """What `record` leaves."""
    return Call(id, key, draw, wire.COMPLETIONS, BODY, "settled", ANSWER, None)


def counts(rows: LedgerReader) -> dict[str, int]:
    """Attempts by state, those that there are."""
    return {state: count for state in STATES if (count := rows.attempts(state))}


def alter(path: Path, sql: str) -> None:
    """Change a ledger behind its back."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(sql)


@contextmanager
def slow_disk(ledger: Ledger) -> Iterator[threading.Event]:
    """No commit ends before the block does; the event is set as soon as one has begun."""
    begun, go_on, commit = threading.Event(), threading.Event(), ledger._commit

    def slow() -> object:
        begun.set()
        go_on.wait()
        return commit()

    with mock.patch.object(ledger, "_commit", slow):
        try:
            yield begun
        finally:
            go_on.set()


@contextmanager
def commits(ledger: Ledger) -> Iterator[list[str]]:
    """The commits made inside the block."""
    made: list[str] = []
    ledger._db.set_trace_callback(lambda statement: made.append(statement) if statement == "COMMIT" else None)
    yield made
    ledger._db.set_trace_callback(None)


def elsewhere(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own; ``path`` is the ledger's, ``at(slot)`` a draw."""
    prelude = (
        "import asyncio, os, pathlib, sys; from selfinstruct.ledger import *; from selfinstruct.schema import Draw\n"
        "path = pathlib.Path(sys.argv[1]); at = lambda slot: Draw(stage='bootstrap', round=0, slot=slot)\n"
    )
    command = [sys.executable, "-c", prelude + code, str(path)]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


# --- durable --------------------------------------------------------------------------------------------------------


async def test_a_reservation_is_on_disk_before_it_is_acknowledged(ledger: Ledger, path: Path) -> None:
    """Another connection sees the call, open, with the body that is about to be sent; before the flush, nothing."""
    with slow_disk(ledger) as begun, closing(LedgerReader(path)) as reader:
        done = ledger.reserve(KEY, DRAW, wire.COMPLETIONS, BODY)
        await asyncio.to_thread(begun.wait)
        assert (done.done(), reader.find(DRAW, KEY)) == (False, None)
    await done
    with closing(LedgerReader(path)) as reader:
        assert reader.find(DRAW, KEY) == Call(1, KEY, DRAW, wire.COMPLETIONS, BODY, "open", b"", None)
        assert counts(reader) == {"reserved": 1}


async def test_a_settled_answer_comes_back_as_it_was(ledger: Ledger, path: Path) -> None:
    """The raw bytes are kept, and read through the same gate as the first time."""
    await record(ledger)
    with closing(LedgerReader(path)) as reader:
        call = reader.find(DRAW, KEY)
        assert call == settled()
        assert call is not None
        assert call.completion() == Completion(
            text=" an oak",
            finish_reason="stop",
            model="m",
            prompt_tokens=4,
            completion_tokens=2,
            raw=ANSWER,
            call=KEY,
        )
        assert counts(reader) == {"settled": 1}
    assert ledger.find(DRAW, KEY) == call


async def test_a_chat_answer_is_read_as_chat(ledger: Ledger) -> None:
    """The path of the call decides how its answer is read."""
    await ledger.reserve(KEY, DRAW, wire.CHAT, BODY)
    await ledger.settle(KEY, orjson.dumps({"choices": [{"message": {"content": "an elm"}}]}), 0, 0)
    call = ledger.find(DRAW, KEY)
    assert call is not None
    assert call.completion().text == "an elm"


async def test_a_failed_attempt_leaves_the_call_open(ledger: Ledger, path: Path) -> None:
    """It may be tried again: two attempts, one call, and the reason of the failure is kept."""
    await reserve(ledger)
    await ledger.fail(KEY, "NotSent", "failed")
    assert ledger.find(DRAW, KEY) is None
    await record(ledger)
    assert counts(ledger.rows) == {"settled": 1, "failed": 1}
    assert ledger.find(DRAW, KEY) == settled()
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT call, outcome, ended_at >= reserved_at FROM attempts ORDER BY id").fetchall()
    assert rows == [(1, "NotSent", 1), (1, None, 1)]


async def test_a_failed_attempt_may_be_tried_again_without_a_look_up(ledger: Ledger) -> None:
    """As a retry does, which never asks the ledger: the row of the call is remembered."""
    await reserve(ledger)
    await ledger.fail(KEY, "Rejected", "failed")
    with mock.patch.object(ledger.rows, "find", side_effect=AssertionError):
        await record(ledger)
    assert ledger.find(DRAW, KEY) == settled()


@pytest.mark.parametrize(("sync", "level"), [(True, 2), (False, 1)])
async def test_commits_survive_a_power_loss_unless_told_otherwise(path: Path, sync: bool, level: int) -> None:
    """WAL with synchronous = FULL flushes each commit; NORMAL may lose the last ones, but never the file."""
    with Ledger(path, sync=sync) as ledger:
        assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert ledger._db.execute("PRAGMA synchronous").fetchone() == (level,)
        await record(ledger)
    with closing(LedgerReader(path)) as reader:
        assert reader.find(DRAW, KEY) == settled()


@pytest.mark.faults
@pytest.mark.parametrize("sync", [True, False])
async def test_what_a_dead_process_left_reserved_is_ambiguous(path: Path, sync: bool) -> None:
    """It may have been executed. What it had settled is settled, what it had closed is closed; so without syncing."""
    died = elsewhere(
        "async def main():\n"
        f"    ledger = Ledger(path, sync={sync})\n"
        "    for slot in range(3):\n"
        "        await ledger.reserve(f'{slot:064x}', at(slot), '/v1/completions', b'{}')\n"
        "    await ledger.settle(f'{0:064x}', b'answer', 1, 1)\n"
        "    await ledger.fail(f'{2:064x}', 'NotSent', 'failed')\n"
        "    os._exit(9)\n"
        "asyncio.run(main())\n",
        path,
    )
    assert died.returncode == 9, died.stderr
    with Ledger(path) as ledger:
        assert ledger.epoch == 2
        assert [call.state for call in ledger.rows.calls()] == ["settled", "open", "open"]
        assert counts(ledger.rows) == {"settled": 1, "failed": 1, "ambiguous": 1}
        await record(ledger, f"{1:064x}", at(1))
        assert counts(ledger.rows) == {"settled": 2, "failed": 1, "ambiguous": 1}


@pytest.mark.parametrize("looked_up", [True, False])
async def test_an_open_call_is_found_again_after_a_crash(path: Path, looked_up: bool) -> None:
    """The next start makes another attempt of the same call, not another call, whether it looks first or not."""
    with Ledger(path) as ledger:
        await reserve(ledger, bound=BOUND)
    with Ledger(path) as ledger:
        if looked_up:
            assert ledger.find(DRAW, KEY) is None
        await record(ledger)
        await record(ledger, OTHER, at(2))
        assert list(ledger.rows.calls()) == [settled(), settled(2, OTHER, at(2))]
        assert counts(ledger.rows) == {"settled": 2, "ambiguous": 1}


async def test_a_reader_in_another_process_takes_nothing_away(ledger: Ledger, path: Path) -> None:
    """`selfinstruct status` on a working run: when it closes, the log in use stays, with what is written next."""
    await record(ledger)
    seen = elsewhere("reader = LedgerReader(path); print(reader.attempts('settled')); reader.close()", path)
    assert (seen.stdout, seen.stderr) == ("1\n", "")
    await record(ledger, OTHER)
    seen = elsewhere("print(LedgerReader(path).attempts('settled'))", path)
    assert (seen.stdout, seen.stderr) == ("2\n", "")


async def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    """Prompts and answers are private, in the log too, whatever the umask."""
    before = os.umask(0)
    try:
        with Ledger(tmp_path / "ledger.sqlite3") as ledger:
            await record(ledger)
            modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {f"ledger.sqlite3{suffix}": 0o600 for suffix in ("", "-wal", "-shm")}


# --- costs ----------------------------------------------------------------------------------------------------------


async def test_a_reservation_counts_at_its_bound_and_an_answer_at_its_usage(ledger: Ledger) -> None:
    """500 pico-usd set aside; 4 tokens read and 2 written are 4 · 2 + 2 · 6 = 20."""
    await reserve(ledger, bound=BOUND)
    assert ledger.rows.spending() == [Spending("bootstrap", "reserved", None, 1, 100, 50, 500, 0)]
    await ledger.settle(KEY, ANSWER, 4, 2)
    assert ledger.rows.spending() == [Spending("bootstrap", "settled", None, 1, 4, 2, 20, 0)]


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ((0, 0), (100, 50, 500)),  # not told: the bound stays
        ((0, 2), (100, 2, 212)),  # half told: the other half stays
        ((4, 0), (4, 0, 8)),  # told: an empty answer
        ((400, 200), (400, 200, 2000)),  # more than the bound: as the server says
    ],
)
async def test_usage_that_is_not_told_counts_as_the_bound(
    ledger: Ledger, usage: tuple[int, int], counted: tuple[int, int, int]
) -> None:
    """A server that gives no usage is not a server that gives for nothing."""
    await reserve(ledger, bound=BOUND)
    await ledger.settle(KEY, ANSWER, *usage)
    assert ledger.rows.spending() == [Spending("bootstrap", "settled", None, 1, *counted, 0)]


@pytest.mark.parametrize(
    ("ending", "counted"), [("failed", (0, 0, 0)), ("ambiguous", (100, 50, 500)), ("unusable", (100, 50, 500))]
)
async def test_an_attempt_without_an_answer_is_free_only_if_it_was_surely_not_executed(
    ledger: Ledger, ending: Ending, counted: tuple[int, int, int]
) -> None:
    """A lost answer and an answer that is no completion keep their bound."""
    await reserve(ledger, bound=BOUND)
    await ledger.fail(KEY, "Why", ending)
    assert ledger.rows.spending() == [Spending("bootstrap", ending, "Why", 1, *counted, 0)]


async def test_what_a_crash_left_reserved_keeps_its_bound(path: Path) -> None:
    """It may have been billed, and counts for ever."""
    with Ledger(path) as ledger:
        await reserve(ledger, bound=BOUND)
    for _ in range(2):
        with Ledger(path) as ledger:
            assert ledger.rows.spending() == [Spending("bootstrap", "ambiguous", None, 1, 100, 50, 500, 0)]


async def test_without_a_bound_or_a_price_nothing_is_made_up(ledger: Ledger) -> None:
    """Tokens are counted where the server tells them, a cost never; what was free is known to be."""
    await record(ledger, f"{1:064x}", at(1), UNPRICED)
    await record(ledger, f"{2:064x}", at(2))
    await reserve(ledger, f"{3:064x}", at(3))
    await ledger.settle(f"{3:064x}", ANSWER, 0, 0)
    for number, ending in enumerate(("failed", "ambiguous"), 4):
        await reserve(ledger, f"{number:064x}", at(number))
        await ledger.fail(f"{number:064x}", "Why", ending)  # type: ignore[arg-type]
    assert ledger.rows.spending() == [
        Spending("bootstrap", "ambiguous", "Why", 1, 0, 0, None, 1),
        Spending("bootstrap", "failed", "Why", 1, 0, 0, 0, 0),
        Spending("bootstrap", "settled", None, 3, 8, 4, None, 3),
    ]


async def test_a_bound_out_of_all_proportion_is_none(ledger: Ledger) -> None:
    """A body may ask for 10^18 tokens; no column holds their cost, and the calls beside it must not suffer."""
    huge = Bound(TokenBound(5, 10**18), PRICE)
    writes = [
        ledger.reserve(KEY, DRAW, wire.CHAT, BODY, huge),
        ledger.reserve(OTHER, at(2), wire.CHAT, BODY, BOUND),
    ]
    await asyncio.gather(*writes)
    assert ledger.rows.spending() == [Spending("bootstrap", "reserved", None, 2, 100, 50, 500, 1)]
    await ledger.settle(KEY, ANSWER, 4, 2)
    assert ledger.rows.spending()[1] == Spending("bootstrap", "settled", None, 1, 4, 2, 20, 0)


async def test_spending_is_summed_by_stage_state_and_outcome(ledger: Ledger) -> None:
    """One line for each, with its attempts, tokens and cost."""
    for number in range(3):
        await record(ledger, f"{number:064x}", at(number), BOUND)
    await record(ledger, KEY, at(0, "classify"), BOUND)
    for number, outcome in enumerate(("Rejected", "NotSent", "Rejected")):
        await reserve(ledger, OTHER, at(5), BOUND)
        await ledger.fail(OTHER, outcome, "failed" if number else "ambiguous")
    await record(ledger, OTHER, at(5), UNPRICED)
    assert ledger.rows.spending() == [
        Spending("bootstrap", "ambiguous", "Rejected", 1, 100, 50, 500, 0),
        Spending("bootstrap", "failed", "NotSent", 1, 0, 0, 0, 0),
        Spending("bootstrap", "failed", "Rejected", 1, 0, 0, 0, 0),
        Spending("bootstrap", "settled", None, 4, 16, 8, 60, 1),
        Spending("classify", "settled", None, 1, 4, 2, 20, 0),
    ]


async def test_answered_calls_are_counted_and_priced_by_round(ledger: Ledger) -> None:
    """By stage and round, whatever order they came in; what brought no answer is in none."""
    for number, (stage, round, bound) in enumerate(
        [
            ("classify", 0, BOUND),
            *(
                ("bootstrap", 2, BOUND),
                ("bootstrap", 0, UNPRICED),
                ("bootstrap", 2, UNPRICED),
                ("bootstrap", 10, BOUND),
            ),
            ("bootstrap", 2, BOUND),
        ]
    ):
        await record(ledger, f"{number:064x}", Draw(stage=stage, round=round, slot=number), bound)
    for number, ending in enumerate(("failed", "ambiguous", "unusable")):
        await reserve(ledger, OTHER, at(20 + number), BOUND)
        await ledger.fail(OTHER, "Why", ending)  # type: ignore[arg-type]
    await reserve(ledger, KEY, at(30), BOUND)
    assert list(ledger.rows.spending_by_round()) == [
        RoundSpending("bootstrap", 0, 1, None, 1),
        RoundSpending("bootstrap", 2, 3, 40, 1),
        RoundSpending("bootstrap", 10, 1, 20, 0),
        RoundSpending("classify", 0, 1, 20, 0),
    ]


async def test_the_cost_of_a_round_may_be_more_than_an_integer_of_sqlite_holds(ledger: Ledger) -> None:
    """Nine million units are; each of these calls is billed at its bound of 9·10^18 pico-units."""
    dear = Bound(TokenBound(9, 0), Price(input=10**18, output=0, currency="usd", source="--price", date=""))
    for number in range(3):
        await reserve(ledger, f"{number:064x}", at(number), dear)
        await ledger.settle(f"{number:064x}", ANSWER, 0, 2)
    assert list(ledger.rows.spending_by_round()) == [RoundSpending("bootstrap", 0, 3, 27 * 10**18, 0)]


async def test_counting_by_round_reads_no_prompt(ledger: Ledger, path: Path) -> None:
    """A page for each call would be gigabytes: the index alone is read, and the attempts, once."""
    await record(ledger)
    with closing(sqlite3.connect(path)) as db:
        of_calls, of_attempts = (row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {ledger_reader._BY_ROUND}"))
    assert of_calls.endswith(" USING COVERING INDEX calls_by_draw")
    assert of_attempts.startswith("SEARCH a USING AUTOMATIC ")


async def test_what_was_spent_before_a_price_was_known_is_priced_later(ledger: Ledger) -> None:
    """At its tokens, where they are known; what has a cost keeps it, and what is unknown stays so."""
    await record(ledger, f"{1:064x}", at(1), BOUND)
    await record(ledger, f"{2:064x}", at(2), UNPRICED)
    await record(ledger, f"{3:064x}", at(3))
    await reserve(ledger, f"{4:064x}", at(4), UNPRICED)
    await ledger.fail(f"{4:064x}", "MaybeExecuted", "ambiguous")
    await reserve(ledger, f"{5:064x}", at(5))
    dear = Price(input=20, output=60, currency="usd", source="--price", date="")
    for _ in range(2):
        ledger.price_unpriced(dear)
        assert ledger.rows.spending() == [
            Spending("bootstrap", "ambiguous", "MaybeExecuted", 1, 100, 50, 5000, 0),
            Spending("bootstrap", "reserved", None, 1, 0, 0, None, 1),
            Spending("bootstrap", "settled", None, 3, 12, 6, 20 + 200 + 200, 0),
        ]


async def test_costs_are_counted_in_one_currency(path: Path) -> None:
    """It is usd until something else is said, and stays what it is once something has been spent."""
    with Ledger(path) as ledger:
        assert ledger.rows.currency() == "usd"
        ledger.count_in("usd")
        await reserve(ledger, KEY, DRAW, BOUND)
        await ledger.fail(KEY, "NotSent", "failed")
        ledger.count_in("cny")
        assert ledger.rows.currency() == "cny"
        await record(ledger, KEY, DRAW, BOUND)
    with Ledger(path) as ledger:
        ledger.count_in("cny")
        with pytest.raises(ConfigProblem, match="costs are counted in cny; give the price in cny"):
            ledger.count_in("usd")
        assert ledger.rows.currency() == "cny"


async def test_the_same_currency_again_is_not_written_again(ledger: Ledger, path: Path) -> None:
    """A crash between two writes could forget it."""
    ledger.count_in("cny")
    before = path.with_name(f"{path.name}-wal").read_bytes()
    ledger.count_in("cny")
    assert path.with_name(f"{path.name}-wal").read_bytes() == before


async def test_prices_that_cannot_be_written_are_an_io_failure(ledger: Ledger) -> None:
    """Currency and prices are written at once, outside of any group."""
    await record(ledger, bound=UNPRICED)
    ledger._db.execute("PRAGMA query_only = ON")
    with pytest.raises(OutputFailed, match="cannot write the ledger"):
        ledger.count_in("cny")
    with pytest.raises(OutputFailed, match="cannot write the ledger"):
        ledger.price_unpriced(PRICE)


# --- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["refused", "unusable", "skipped"])
async def test_a_call_with_a_verdict_is_refused_again(ledger: Ledger, verdict: Verdict) -> None:
    """The words and the status are the answer; nobody is asked twice. The attempt under way ends with it, for free."""
    await reserve(ledger, bound=BOUND)
    await ledger.refuse(KEY, "上下文太长", 400, verdict)
    call = ledger.find(DRAW, KEY)
    assert call == Call(1, KEY, DRAW, wire.COMPLETIONS, BODY, verdict, "上下文太长".encode(), 400)
    assert call is not None
    with pytest.raises(RequestRefused, match="上下文太长") as refusal:
        call.completion()
    assert (refusal.value.status, refusal.value.call, refusal.value.verdict) == (400, KEY, verdict)
    assert ledger.rows.spending() == [Spending("bootstrap", verdict, None, 1, 0, 0, 0, 0)]


@pytest.mark.parametrize("verdict", ["refused", "unusable", "skipped"])
async def test_a_verdict_between_attempts_changes_none_of_them(ledger: Ledger, verdict: Verdict) -> None:
    """The last attempt is over, and keeps the bound it may have been billed at."""
    await reserve(ledger, bound=BOUND)
    await ledger.fail(KEY, "UnusableResponse", "unusable")
    await ledger.refuse(KEY, "no JSON", None, verdict)
    call = ledger.find(DRAW, KEY)
    assert call == Call(1, KEY, DRAW, wire.COMPLETIONS, BODY, verdict, b"no JSON", None)
    assert ledger.rows.spending() == [Spending("bootstrap", "unusable", "UnusableResponse", 1, 100, 50, 500, 0)]


async def test_a_call_that_an_earlier_process_left_open_can_be_skipped(path: Path) -> None:
    """By a person, who looks it up by the digits that were printed."""
    with Ledger(path) as ledger:
        await reserve(ledger, bound=BOUND)
    with Ledger(path) as ledger:
        call = ledger.rows.find_prefix(KEY[:12])
        assert call is not None
        assert ledger.find(call.draw, call.key) is None
        await ledger.refuse(call.key, "skipped by hand", None, "skipped")
        assert [call.state for call in ledger.rows.calls()] == ["skipped"]
        assert counts(ledger.rows) == {"ambiguous": 1}


@pytest.mark.parametrize("asked_before", [False, True])
async def test_a_call_that_is_forgone_is_refused_from_then_on(ledger: Ledger, path: Path, asked_before: bool) -> None:
    """Never sent, or sent in vain: it has its row, no attempt more, and the verdict that its model was replaced."""
    if asked_before:
        await reserve(ledger)
        await ledger.fail(KEY, "NotSent", "failed")
    await ledger.forgo(KEY, DRAW, wire.COMPLETIONS, BODY, "no answer for 900 s")
    assert counts(ledger.rows) == ({"failed": 1} if asked_before else {})
    call = ledger.rows.find(DRAW, KEY)
    assert call is not None and (call.state, call.body, call.path) == ("replaced", BODY, wire.COMPLETIONS)
    with pytest.raises(RequestRefused, match="no answer for 900 s") as refusal:
        call.completion()
    assert (refusal.value.verdict, refusal.value.call) == ("replaced", KEY)
    ledger.close()
    with Ledger(path) as again:
        assert again.find(DRAW, KEY) == call


async def test_a_reason_that_utf8_cannot_carry_is_recorded_all_the_same(ledger: Ledger) -> None:
    """Half a surrogate pair in a server's message becomes a question mark."""
    await reserve(ledger)
    await ledger.refuse(KEY, "bad \ud83d text", 400)
    call = ledger.find(DRAW, KEY)
    assert call is not None
    assert call.answer == b"bad ? text"


# --- groups ---------------------------------------------------------------------------------------------------------


async def test_writes_that_arrive_together_share_a_commit(ledger: Ledger) -> None:
    """1200 at once wait for one flush; all are there."""
    with commits(ledger) as made:
        await asyncio.gather(*(ledger.reserve(f"{i:064x}", at(i), wire.CHAT, BODY) for i in range(1200)))
    assert (len(made), ledger.rows.attempts("reserved")) == (1, 1200)


async def test_what_arrives_during_a_commit_shares_the_next(ledger: Ledger) -> None:
    """One flush is under way, ten times ten writes gather: one more."""
    with commits(ledger) as made:
        with slow_disk(ledger) as begun:
            writes = [ledger.reserve(f"{0:064x}", at(0), wire.CHAT, BODY)]
            await asyncio.to_thread(begun.wait)
            for tens in range(10):
                await asyncio.sleep(0)
                slots = range(10 * tens + 1, 10 * tens + 11)
                writes += [ledger.reserve(f"{i:064x}", at(i), wire.CHAT, BODY) for i in slots]
        await asyncio.gather(*writes)
    assert (len(made), ledger.rows.attempts("reserved")) == (2, 101)


async def test_a_lone_write_waits_for_nobody(ledger: Ledger) -> None:
    """One after the other, each has a commit of its own."""
    with commits(ledger) as made:
        await record(ledger)
    assert len(made) == 2


async def test_a_reservation_is_never_durable_before_the_answer_it_rests_on(ledger: Ledger, path: Path) -> None:
    """What was written first is in the same group or an earlier one."""
    await reserve(ledger)
    seen: list[list[str]] = []
    begun, go_on, commit = threading.Event(), threading.Event(), ledger._commit

    def watched() -> object:
        begun.set()
        go_on.wait()
        failed = commit()
        with closing(LedgerReader(path)) as reader:
            seen.append([call.state for call in reader.calls()])
        return failed

    with mock.patch.object(ledger, "_commit", watched):
        first = ledger.settle(KEY, ANSWER, 4, 2)
        await asyncio.to_thread(begun.wait)
        second = ledger.reserve(OTHER, at(2), wire.CHAT, BODY)
        go_on.set()
        await asyncio.gather(first, second)
    assert seen == [["settled"], ["settled", "open"]]


async def test_a_caller_who_gave_up_does_not_disturb_the_others(ledger: Ledger) -> None:
    """Its row is written all the same, and who still waits is woken."""
    given_up = ledger.reserve(KEY, DRAW, wire.CHAT, BODY)
    waiting = ledger.reserve(OTHER, at(2), wire.CHAT, BODY)
    given_up.cancel()
    await waiting
    assert given_up.cancelled()
    assert ledger.rows.attempts("reserved") == 2


@pytest.mark.parametrize("point", ["", "ledger.commit=EIO"])
def test_writes_outlive_the_event_loop_that_asked_for_them(
    path: Path, point: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A loop that is gone when its rows are durable does not end the writer; who is gone is told nothing."""

    async def ask_and_go(ledger: Ledger, begun: threading.Event) -> None:
        for number in (1, 2):  # the second gathers while the first is committed
            ledger.reserve(f"{number:064x}", at(number), wire.CHAT, BODY)
            await asyncio.to_thread(begun.wait)

    with Ledger(path) as ledger, slow_disk(ledger) as begun:
        asyncio.run(ask_and_go(ledger, begun))
        monkeypatch.setenv(VARIABLE, point)
    monkeypatch.delenv(VARIABLE)
    gc.collect()
    with closing(LedgerReader(path)) as reader:
        assert reader.attempts("reserved") == (0 if point else 2)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_closing_writes_what_is_waiting_and_wakes_who_waits(path: Path) -> None:
    """Also what was asked for a moment before; closing twice is once."""
    ledger = Ledger(path)
    with slow_disk(ledger) as begun:
        first = ledger.reserve(KEY, DRAW, wire.CHAT, BODY)
        await asyncio.to_thread(begun.wait)
        second = ledger.reserve(OTHER, at(2), wire.CHAT, BODY)
    ledger.close()
    await asyncio.gather(first, second)
    ledger.close()
    with closing(LedgerReader(path)) as reader:
        assert reader.attempts("reserved") == 2


async def test_closing_before_the_first_group_was_handed_over_loses_nothing(path: Path) -> None:
    """The wish to flush is still in the loop's queue when the ledger closes; it finds nothing left to do."""
    ledger = Ledger(path)
    done = ledger.reserve(KEY, DRAW, wire.CHAT, BODY)
    ledger.close()
    await asyncio.wait_for(done, 10)
    with closing(LedgerReader(path)) as reader:
        assert reader.attempts("reserved") == 1


async def test_who_waits_when_closing_fails_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was recorded, and nobody hangs."""
    ledger = Ledger(path)
    done = ledger.reserve(KEY, DRAW, wire.CHAT, BODY)
    monkeypatch.setenv(VARIABLE, "ledger.begin=ENOSPC")
    ledger.close()
    with pytest.raises(OutputFailed, match="No space left on device"):
        await done
    with closing(LedgerReader(path)) as reader:
        assert counts(reader) == {}


async def test_writing_after_closing_is_an_error_and_no_wait(path: Path) -> None:
    """Nobody would ever wake who waited."""
    ledger = Ledger(path)
    await reserve(ledger)
    ledger.close()
    with pytest.raises(RuntimeError, match=r"ledger\.sqlite3: the ledger is closed"):
        await ledger.settle(KEY, ANSWER, 4, 2)
    with pytest.raises(RuntimeError, match="the ledger is closed"):
        await reserve(ledger, OTHER, at(2))


# --- one writer -----------------------------------------------------------------------------------------------------


async def test_a_process_that_was_overtaken_writes_nothing(ledger: Ledger, path: Path) -> None:
    """Frozen, overtaken, woken up: its next write is refused, and so are all after it; the newer one works on."""
    await reserve(ledger)
    with Ledger(path) as newer:
        assert (ledger.epoch, newer.epoch) == (1, 2)
        with pytest.raises(RunLocked, match="another process took this run over"):
            await ledger.settle(KEY, ANSWER, 4, 2)
        with pytest.raises(RunLocked, match="another process took this run over"):
            await reserve(ledger, OTHER, at(2))
        assert [call.state for call in newer.rows.calls()] == ["open"]
        await record(newer)
        assert list(newer.rows.calls()) == [settled()]


async def test_a_ledger_that_stays_locked_is_a_locked_run(ledger: Ledger, path: Path) -> None:
    """Somebody's open transaction is no broken disk: try again later (75); then it works."""
    ledger._db.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(RunLocked, match="keeps the ledger locked"):
            await reserve(ledger)
    assert ledger.find(DRAW, KEY) is None
    await record(ledger)
    assert counts(ledger.rows) == {"settled": 1}


async def test_a_reader_cannot_write(ledger: Ledger) -> None:
    """Look-ups change nothing, by SQLite's own word."""
    await record(ledger)
    with pytest.raises(OutputFailed, match="readonly"):
        ledger.rows._rows("DELETE FROM calls")
    assert ledger.find(DRAW, KEY) == settled()


# --- trouble --------------------------------------------------------------------------------------------------------


@pytest.mark.faults
async def test_a_full_disk_fails_the_group_and_records_none_of_it(ledger: Ledger, path: Path) -> None:
    """Everybody in the group is told; when there is room again, writing goes on."""
    await record(ledger)
    (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")
    writes = [ledger.reserve(key * 32, at(2), wire.CHAT, BODY * 4000) for key in ("1a", "1b")]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OutputFailed, OutputFailed]
    full = "database or disk is full; nothing recorded is lost, run again"
    assert str(outcomes[0]) == f"{path}: cannot write the ledger: {full}"
    assert list(ledger.rows.calls()) == [settled()]
    ledger._db.execute("PRAGMA max_page_count = 10000")
    await ledger.reserve("1a" * 32, at(2), wire.CHAT, BODY * 4000)
    assert counts(ledger.rows) == {"settled": 1, "reserved": 1}


@pytest.mark.faults
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize(("point", "durable"), [("begin", False), ("commit", False), ("committed", True)])
async def test_a_disk_that_fails_at_any_step_fails_the_group_whole(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, point: str, durable: bool, error: str
) -> None:
    """Nothing of it is recorded, or all of it; and the next group is written when the disk is well again."""
    await reserve(ledger)
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, f"ledger.{point}={error}")
        writes = [ledger.settle(KEY, ANSWER, 4, 2), ledger.reserve(OTHER, at(2), wire.CHAT, BODY)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [OutputFailed, OutputFailed]
    assert counts(ledger.rows) == ({"settled": 1, "reserved": 1} if durable else {"reserved": 1})
    await record(ledger, "0c" * 32, at(3))
    assert ledger.find(at(3), "0c" * 32) is not None


@pytest.mark.parametrize(
    "change",
    [
        "answer = x'7b7d'",
        "answer = CAST(answer AS TEXT)",
        "answer = 5",
        "digest = x'00'",
        "state = 'refused'",
        "state = 'sett1ed'",
        "call = 3",
    ],
)
async def test_a_damaged_answer_is_not_believed(ledger: Ledger, path: Path, change: str) -> None:
    """Neither another answer nor another verdict, nor the answer to another call."""
    await record(ledger)
    await record(ledger, OTHER, at(2))
    await reserve(ledger, "0c" * 32, at(3))
    alter(path, f"UPDATE answers SET {change} WHERE call = 1")
    key, draw = ("0c" * 32, at(3)) if change.startswith("call") else (KEY, DRAW)
    with pytest.raises(DamagedRun, match=f"call {key[:12]} is not the one that was recorded"):
        ledger.find(draw, key)
    with pytest.raises(DamagedRun, match=f"call {key[:12]} is not the one that was recorded"):
        list(ledger.rows.calls())
    assert ledger.find(at(2), OTHER) == settled(2, OTHER, at(2))


@pytest.mark.parametrize("opened", [Ledger, LedgerReader])
def test_a_file_that_is_no_ledger_is_damage(path: Path, opened: type[Ledger | LedgerReader]) -> None:
    """It is neither used nor overwritten."""
    content = b"These are notes, not a ledger.\n" * 400
    path.write_bytes(content)
    with pytest.raises(DamagedRun, match="not a readable ledger"):
        opened(path)
    assert path.read_bytes() == content


async def test_a_torn_page_is_damage_for_reader_and_writer(path: Path) -> None:
    """SQLite's complaint becomes exit code 5, wherever it is first met."""
    with Ledger(path) as ledger:
        for number in range(8):
            await record(ledger, f"{number:064x}", at(number))
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * 61440)
    with closing(LedgerReader(path)) as reader:
        with pytest.raises(DamagedRun, match="not a readable ledger"):
            reader.find(at(3), f"{3:064x}")
        with pytest.raises(DamagedRun, match="not a readable ledger"):
            reader.spending()
    with pytest.raises(DamagedRun, match="not a readable ledger"):
        Ledger(path)


def test_a_reader_makes_no_ledger(path: Path) -> None:
    """A run that does not exist, or that died before its first table, is bad data and no crash."""
    with pytest.raises(BadData, match="there is no ledger here"):
        LedgerReader(path)
    assert not path.exists()
    path.touch()
    with pytest.raises(BadData, match="there is no ledger here"):
        LedgerReader(path)
    with Ledger(path) as ledger:
        assert ledger.epoch == 1


def test_a_place_where_nothing_can_be_written_is_an_io_failure(tmp_path: Path) -> None:
    """A folder that is not there, or a folder in the file's place."""
    for path in (tmp_path / "nowhere" / "ledger.sqlite3", tmp_path):
        with pytest.raises(OutputFailed, match="cannot write the ledger"):
            Ledger(path)


def test_an_interrupted_first_start_is_no_damage(path: Path) -> None:
    """Tables without an epoch: the process died between the two."""
    Ledger(path).close()
    alter(path, "DELETE FROM epoch")
    with Ledger(path) as ledger:
        assert ledger.epoch == 1


async def test_a_ledger_without_an_epoch_is_not_written_to(ledger: Ledger, path: Path) -> None:
    """Whoever emptied it, it is no longer ours; the writer says so instead of dying in silence."""
    alter(path, "DELETE FROM epoch")
    with pytest.raises(RunLocked, match="another process took this run over"):
        await reserve(ledger)


# --- look-ups -------------------------------------------------------------------------------------------------------


async def test_a_call_is_found_by_what_people_type(ledger: Ledger) -> None:
    """By the first digits of its key, the first in order where several begin alike; what is no hex finds nothing."""
    keys = ["0a" + "f" * 62, "0a" * 32, "ff" * 32]
    for slot, key in enumerate(keys):
        await record(ledger, key, at(slot))
    prefixes = ["0a0a", "0af", "0a", "f", "ffff", keys[0], "0b", "a", keys[2] + "f", "", "zz", "0x", "é"]
    found = [call.key if (call := ledger.rows.find_prefix(prefix)) else None for prefix in prefixes]
    assert found == [keys[1], keys[0], keys[1], keys[2], keys[2], keys[0], *[None] * 7]


async def test_a_draw_may_have_several_calls(ledger: Ledger) -> None:
    """Made under different settings, each with its own key and answer; the latest is the one to compare with."""
    await record(ledger, OTHER, at(3))
    await reserve(ledger, KEY, at(3))
    assert ledger.find(at(3), OTHER) == settled(1, OTHER, at(3))
    assert ledger.find(at(3), KEY) is None
    assert ledger.rows.find_draw(at(3)) == Call(2, KEY, at(3), wire.COMPLETIONS, BODY, "open", b"", None)
    await ledger.refuse(KEY, "no", 400)
    assert list(ledger.rows.answered("bootstrap")) == [(at(3), KEY), (at(3), OTHER)]


async def test_another_part_of_a_draw_is_another_call(ledger: Ledger) -> None:
    """Stage, round, slot, step and sample all count; the key alone finds nothing."""
    draw = Draw(stage="classify", round=3, slot=1, step=1, k=2)
    await record(ledger, KEY, draw)
    others = [draw.model_copy(update={name: value}) for name, value in {**dict.fromkeys(("step", "k"), 0)}.items()]
    others += [draw.model_copy(update={"stage": "bootstrap"}), Draw(stage="classify", round=3, slot=0, step=1, k=2)]
    others += [draw.model_copy(update={name: 2}) for name in ("round", "slot")]
    assert ledger.find(draw, KEY) == settled(1, KEY, draw)
    assert [ledger.find(other, KEY) for other in others] == [None] * 6
    assert [ledger.rows.find(other, KEY) for other in others] == [None] * 6
    assert [ledger.rows.find_draw(other) for other in others] == [None] * 6


async def test_calls_behind_the_furthest_one_are_found(path: Path) -> None:
    """Only what lies ahead of all recorded draws of its stage is new without a look; rounds count before slots."""
    behind, furthest = Draw(stage="bootstrap", round=1, slot=9), Draw(stage="bootstrap", round=2, slot=0)
    with Ledger(path) as ledger:
        assert ledger.rows.last_draw("bootstrap") == (-1, -1)
        await record(ledger, KEY, furthest)
        await reserve(ledger, OTHER, behind)
        assert ledger.find(furthest, KEY) == settled(1, KEY, furthest)
    with Ledger(path) as ledger:
        assert ledger.rows.last_draw("bootstrap") == (2, 0)
        await record(ledger, "0c" * 32, Draw(stage="bootstrap", round=3, slot=0))
        assert ledger.find(furthest, KEY) == settled(1, KEY, furthest)
        await record(ledger, OTHER, behind)
        assert ledger.find(behind, OTHER) == settled(2, OTHER, behind)


async def test_answered_calls_are_listed_in_the_order_of_their_draws(ledger: Ledger) -> None:
    """Slot 9 before slot 10, as numbers; open calls and other stages are left out, verdicts are not."""
    assert (ledger.rows.has_answers(), list(ledger.rows.answered("bootstrap"))) == (False, [])
    draws = [
        Draw(stage="bootstrap", round=round, slot=slot, step=step, k=k)
        for round, slot, step, k in [
            (10, 0, 0, 0),
            (9, 10, 0, 0),
            (9, 9, 10, 0),
            (9, 9, 9, 1),
            (9, 9, 9, 0),
            (2, 0, 0, 0),
        ]
    ]
    for number, draw in enumerate(draws):
        await record(ledger, f"{number:064x}", draw)
    await reserve(ledger, KEY, Draw(stage="bootstrap", round=9, slot=11))
    await reserve(ledger, OTHER, Draw(stage="bootstrap", round=11, slot=0))
    await ledger.refuse(OTHER, "no", 400)
    await record(ledger, "0c" * 32, at(0, "classify"))
    expected = [(draw, f"{number:064x}") for number, draw in enumerate(draws)][::-1]
    expected.append((Draw(stage="bootstrap", round=11, slot=0), OTHER))
    assert list(ledger.rows.answered("bootstrap")) == expected
    assert list(ledger.rows.answered("complete")) == []
    assert ledger.rows.has_answers()


async def test_answered_calls_are_listed_while_others_are_written(ledger: Ledger, path: Path) -> None:
    """As a resumed run does, over thousands: none is missed, none comes twice, what is new may be left out."""
    total = 9000
    for slot in range(total):
        ledger.reserve(f"{slot:064x}", at(slot), wire.CHAT, b"{}")
    await reserve(ledger, KEY, at(total))
    for slot in range(total):
        ledger.settle(f"{slot:064x}", b"{}", 1, 1)
    await ledger.settle(KEY, b"{}", 1, 1)

    seen = []
    with closing(LedgerReader(path)) as reader:
        for number, (draw, _) in enumerate(reader.answered("bootstrap")):
            seen.append(draw.slot)
            if number % 3000 == 0:
                await record(ledger, f"{10**6 + number:064x}", at(20_000 + number))
                # Nothing keeps the log from being emptied into the file.
                assert ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    assert seen == list(range(total + 1))


async def test_answers_that_come_between_two_queries_are_left_out(ledger: Ledger, path: Path) -> None:
    """The list is as it was when it was begun."""
    await record(ledger)
    with closing(LedgerReader(path)) as reader:
        stream = reader._stream

        def slow(sql: str, *values: object) -> Iterator[tuple[object, ...]]:
            if "answers" in sql:
                db = sqlite3.connect(path)
                db.execute("INSERT INTO calls SELECT 2, stage, round, 2, step, k, key, path, body FROM calls")
                db.execute("INSERT INTO answers SELECT 2, state, status, digest, answer FROM answers")
                db.commit()
                db.close()
            yield from stream(sql, *values)

        with mock.patch.object(reader, "_stream", slow):
            assert list(reader.answered("bootstrap")) == [(DRAW, KEY)]
        assert list(reader.answered("bootstrap")) == [(DRAW, KEY), (at(2), KEY)]


async def test_all_calls_are_read_in_order(ledger: Ledger) -> None:
    """By stage and draw, the earlier of two of one draw first, open ones too; or those of one stage."""
    await record(ledger, f"{1:064x}", at(0, "instances"))
    await reserve(ledger, f"{2:064x}", at(10))
    await record(ledger, f"{9:064x}", at(9))
    await record(ledger, f"{4:064x}", at(9))
    calls = [(call.id, call.key, call.draw, call.state) for call in ledger.rows.calls()]
    assert calls == [
        (3, f"{9:064x}", at(9), "settled"),
        (4, f"{4:064x}", at(9), "settled"),
        (2, f"{2:064x}", at(10), "open"),
        (1, f"{1:064x}", at(0, "instances"), "settled"),
    ]
    assert [call.id for call in ledger.rows.calls("bootstrap")] == [3, 4, 2]
    assert list(ledger.rows.calls("classify")) == []
