"""The ledger: what was acknowledged is on disk, what was cut off is known, and damage is seen, not read."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import orjson
import pytest

from selfinstruct import wire
from selfinstruct.errors import (
    BadData,
    ConfigProblem,
    DamagedRun,
    OutputFailed,
    RequestRefused,
    RunLocked,
)
from selfinstruct.ledger import Call, Ledger, LedgerReader, StageCalls
from selfinstruct.schema import Completion

ROOT = Path(__file__).resolve().parents[1]
KEY, OTHER = "0a" * 32, "0b" * 32
DRAW = "bootstrap/0/1/0/0"
BODY = b'{"prompt":"Name a tree."}'
ANSWER = orjson.dumps(
    {
        "model": "m",
        "choices": [{"text": " an oak", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 2},
    }
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's ledger is."""
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """An open ledger."""
    with Ledger(path) as ledger:
        yield ledger


async def record(ledger: Ledger, key: str = KEY, draw: str = DRAW, *, tokens: tuple[int, int] = (4, 2)) -> None:
    """A call from reservation to answer."""
    await ledger.reserve(key, draw, wire.COMPLETIONS, BODY)
    await ledger.settle(key, ANSWER, *tokens)


def alter(path: Path, sql: str) -> None:
    """Change a ledger behind its back."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(sql)


@contextmanager
def kept_waiting(path: Path) -> Iterator[None]:
    """Somebody else holds the write lock: what is written inside waits until the end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


def busy(ledger: Ledger) -> threading.Event:
    """Set as soon as the writer has a group in its hands, to which nothing is added any more."""
    begun = threading.Event()
    ledger._writer.set_trace_callback(lambda statement: begun.set())
    return begun


def elsewhere(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own; ``path`` is the ledger's."""
    prelude = "import asyncio, os, sys, pathlib; from selfinstruct.ledger import *; path = pathlib.Path(sys.argv[1])\n"
    command = [sys.executable, "-c", prelude + code, str(path)]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


# --- durable --------------------------------------------------------------------------------------------------------


async def test_a_reservation_is_on_disk_before_reserve_returns(ledger: Ledger, path: Path) -> None:
    """Another connection sees the call, open, with the body that is about to be sent."""
    await ledger.reserve(KEY, DRAW, wire.COMPLETIONS, BODY)
    with closing(LedgerReader(path)) as reader:
        assert reader.find(KEY) == Call(KEY, DRAW, wire.COMPLETIONS, BODY, "open", b"", None)
        assert reader.attempts("reserved") == 1


async def test_a_settled_answer_comes_back_as_it_was(ledger: Ledger, path: Path) -> None:
    """The raw bytes are kept, and read through the same gate as the first time."""
    await record(ledger)
    with closing(LedgerReader(path)) as reader:
        call = reader.find(KEY)
        assert call == Call(KEY, DRAW, wire.COMPLETIONS, BODY, "settled", ANSWER, None)
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
        assert (reader.attempts("reserved"), reader.attempts("settled")) == (0, 1)


async def test_a_chat_answer_is_read_as_chat(ledger: Ledger) -> None:
    """The path of the call decides how its answer is read."""
    answer = orjson.dumps({"choices": [{"message": {"content": "an elm"}}]})
    await ledger.reserve(KEY, DRAW, wire.CHAT, BODY)
    await ledger.settle(KEY, answer, 0, 0)
    call = ledger.rows.find(KEY)
    assert call is not None
    assert call.completion().text == "an elm"


async def test_a_refused_call_is_refused_again(ledger: Ledger) -> None:
    """The server's words and status are the answer; nobody is asked twice."""
    await ledger.reserve(KEY, DRAW, wire.COMPLETIONS, BODY)
    await ledger.refuse(KEY, "上下文太长", 400)
    call = ledger.rows.find(KEY)
    assert call is not None
    with pytest.raises(RequestRefused, match="上下文太长") as refusal:
        call.completion()
    assert refusal.value.status == 400
    assert ledger.rows.attempts("refused") == 1


async def test_a_failed_attempt_leaves_the_call_open(ledger: Ledger, path: Path) -> None:
    """It may be tried again: two attempts, one call, and the reason of the failure is kept."""
    await ledger.reserve(KEY, DRAW, wire.COMPLETIONS, BODY)
    await ledger.fail(KEY, "NotSent")
    call = ledger.rows.find(KEY)
    assert call is not None
    assert call.state == "open"
    await record(ledger)
    counts = {state: ledger.rows.attempts(state) for state in ("reserved", "failed", "settled", "ambiguous")}
    assert counts == {"reserved": 0, "failed": 1, "settled": 1, "ambiguous": 0}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT outcome FROM attempts ORDER BY id").fetchall() == [("NotSent",), (None,)]


async def test_commits_survive_a_power_loss(ledger: Ledger) -> None:
    """The log is flushed at every commit: WAL with synchronous = FULL (2)."""
    assert ledger._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ledger._writer.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.faults
async def test_what_a_dead_process_left_reserved_is_ambiguous(path: Path) -> None:
    """It may have been executed. What it had settled is settled, what it had closed is closed."""
    died = elsewhere(
        "async def main():\n"
        "    ledger = Ledger(path)\n"
        "    for key in ('a', 'b', 'c'):\n"
        "        await ledger.reserve(key, 's/0/0/0/0', '/v1/completions', b'{}')\n"
        "    await ledger.settle('a', b'answer', 1, 1)\n"
        "    await ledger.fail('c', 'NotSent')\n"
        "    os._exit(9)\n"
        "asyncio.run(main())\n",
        path,
    )
    assert died.returncode == 9, died.stderr
    with Ledger(path) as ledger:
        assert ledger.epoch == 2
        found = {key: call.state for key in ("a", "b", "c") if (call := ledger.rows.find(key))}
        assert found == {"a": "settled", "b": "open", "c": "open"}
        counts = {state: ledger.rows.attempts(state) for state in ("reserved", "settled", "failed", "ambiguous")}
        assert counts == {"reserved": 0, "settled": 1, "failed": 1, "ambiguous": 1}
        await record(ledger, "b")
        assert ledger.rows.attempts("ambiguous") == 1


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


# --- groups ---------------------------------------------------------------------------------------------------------


async def test_writes_that_arrive_together_share_a_commit(ledger: Ledger, path: Path) -> None:
    """1200 at once wait for three or four flushes, 512 at most in each; all are there."""
    statements: list[str] = []
    ledger._writer.set_trace_callback(statements.append)
    writes = [asyncio.ensure_future(ledger.reserve(f"{i:064x}", DRAW, wire.CHAT, BODY)) for i in range(1200)]
    with kept_waiting(path):
        await asyncio.sleep(0)  # all of them are in the queue now
    await asyncio.gather(*writes)
    ledger._writer.set_trace_callback(None)
    assert statements.count("COMMIT") in (3, 4)
    assert ledger.rows.attempts("reserved") == 1200


async def test_a_lone_write_waits_for_nobody(ledger: Ledger) -> None:
    """One after the other, each has a commit of its own."""
    statements: list[str] = []
    ledger._writer.set_trace_callback(statements.append)
    await record(ledger)
    ledger._writer.set_trace_callback(None)
    assert statements.count("COMMIT") == 2


async def test_a_caller_who_gave_up_does_not_disturb_the_others(ledger: Ledger, path: Path) -> None:
    """Its row is written all the same, and who still waits is woken."""
    with kept_waiting(path):
        given_up = asyncio.ensure_future(ledger.reserve(KEY, DRAW, wire.CHAT, BODY))
        waiting = asyncio.ensure_future(ledger.reserve(OTHER, DRAW, wire.CHAT, BODY))
        await asyncio.sleep(0)
        given_up.cancel()
    await waiting
    assert given_up.cancelled()
    assert ledger.rows.attempts("reserved") == 2


def test_writes_outlive_the_event_loop_that_asked_for_them(ledger: Ledger, path: Path) -> None:
    """A loop that is gone when its rows are durable neither ends the writer nor keeps the next loop waiting."""

    async def ask_and_go(key: str) -> None:
        asyncio.ensure_future(ledger.reserve(key, DRAW, wire.CHAT, BODY)).add_done_callback(lambda _: None)
        await asyncio.sleep(0)

    async def ask_and_stay(locked: ExitStack) -> None:
        settled = asyncio.ensure_future(ledger.settle(KEY, ANSWER, 4, 2))
        await asyncio.sleep(0)
        locked.close()
        await settled

    with ExitStack() as locked:
        locked.enter_context(kept_waiting(path))
        begun = busy(ledger)
        asyncio.run(ask_and_go(OTHER))
        begun.wait()
        asyncio.run(ask_and_go(KEY))
        asyncio.run(ask_and_stay(locked))  # in one group with the one before
    found = {key: call.state for key in (KEY, OTHER) if (call := ledger.rows.find(key))}
    assert found == {KEY: "settled", OTHER: "open"}


async def test_closing_writes_what_is_queued(path: Path) -> None:
    """Also what was asked for a moment before; closing twice is once."""
    ledger = Ledger(path)
    with kept_waiting(path):
        begun = busy(ledger)
        first = asyncio.ensure_future(ledger.reserve(KEY, DRAW, wire.CHAT, BODY))
        await asyncio.to_thread(begun.wait)
        second = asyncio.ensure_future(ledger.reserve(OTHER, DRAW, wire.CHAT, BODY))
        await asyncio.sleep(0)
        closer = threading.Thread(target=ledger.close)
        closer.start()
        while ledger._queue.qsize() < 2:  # the second write, and the wish to close
            await asyncio.sleep(0.001)
    await asyncio.gather(first, second)
    closer.join()
    ledger.close()
    with closing(LedgerReader(path)) as reader:
        assert reader.attempts("reserved") == 2


# --- one writer -----------------------------------------------------------------------------------------------------


async def test_a_process_that_was_overtaken_writes_nothing(ledger: Ledger, path: Path) -> None:
    """Frozen, overtaken, woken up: its next write is refused, and so are all after it; the newer one works on."""
    await ledger.reserve(KEY, DRAW, wire.COMPLETIONS, BODY)
    with Ledger(path) as newer:
        assert (ledger.epoch, newer.epoch) == (1, 2)
        for late in (ledger.settle(KEY, ANSWER, 4, 2), ledger.reserve(OTHER, DRAW, wire.COMPLETIONS, BODY)):
            with pytest.raises(RunLocked, match="another process took this run over"):
                await late
        assert newer.rows.find(OTHER) is None
        assert newer.rows.by_stage() == []
        await record(newer)
        assert newer.rows.by_stage() == [StageCalls("bootstrap", 1, 4, 2)]


async def test_a_ledger_that_stays_locked_is_a_locked_run(ledger: Ledger, path: Path) -> None:
    """Somebody's open transaction is no broken disk: try again later (75); then it works."""
    ledger._writer.execute("PRAGMA busy_timeout = 0")
    with kept_waiting(path), pytest.raises(RunLocked, match="keeps the ledger locked"):
        await ledger.reserve(KEY, DRAW, wire.COMPLETIONS, BODY)
    assert ledger.rows.find(KEY) is None
    await record(ledger)
    assert ledger.rows.attempts("settled") == 1


async def test_a_reader_cannot_write(ledger: Ledger) -> None:
    """Look-ups change nothing, by SQLite's own word."""
    await record(ledger)
    with pytest.raises(OutputFailed, match="readonly"):
        ledger.rows._rows("DELETE FROM calls")
    assert ledger.rows.attempts("settled") == 1


# --- trouble --------------------------------------------------------------------------------------------------------


@pytest.mark.faults
async def test_a_full_disk_fails_the_group_and_records_none_of_it(ledger: Ledger, path: Path) -> None:
    """Everybody in the group is told; when there is room again, writing goes on."""
    await record(ledger)
    ledger._writer.execute("PRAGMA max_page_count = 10")
    big = BODY * 4000
    with kept_waiting(path):
        writes = [asyncio.ensure_future(ledger.reserve(key * 32, DRAW, wire.CHAT, big)) for key in ("1a", "1b")]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OutputFailed, OutputFailed]
    assert str(outcomes[0]) == f"{path}: cannot write the ledger: database or disk is full"
    assert (ledger.rows.attempts("reserved"), ledger.rows.find("1a" * 32)) == (0, None)
    ledger._writer.execute("PRAGMA max_page_count = 10000")
    await ledger.reserve("1a" * 32, DRAW, wire.CHAT, big)
    assert ledger.rows.attempts("reserved") == 1


@pytest.mark.parametrize(
    "change",
    [
        "answer = x'7b7d'",
        "answer = CAST(answer AS TEXT)",
        "answer = NULL",
        "answer = NULL, digest = NULL",
        "digest = NULL",
        "digest = '00'",
        "state = 'refused'",
        "state = 'open'",
        "state = 'open', digest = NULL",
        "state = 'sett1ed'",
    ],
)
async def test_a_damaged_answer_is_not_believed(ledger: Ledger, path: Path, change: str) -> None:
    """Neither another answer nor another verdict, and above all not "no answer yet", which would pay again."""
    await record(ledger)
    await record(ledger, OTHER)
    alter(path, f"UPDATE calls SET {change} WHERE key = '{KEY}'")
    with pytest.raises(DamagedRun, match=f"call {KEY[:12]} is not the one that was recorded"):
        ledger.rows.find(KEY)
    assert ledger.rows.find(OTHER) == Call(OTHER, DRAW, wire.COMPLETIONS, BODY, "settled", ANSWER, None)


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
            await record(ledger, f"{number:064x}")
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * 40960)
    with closing(LedgerReader(path)) as reader:
        with pytest.raises(DamagedRun, match="not a readable ledger"):
            reader.find(f"{3:064x}")
        with pytest.raises(DamagedRun, match="not a readable ledger"):
            reader.by_stage()
    with pytest.raises(DamagedRun, match="not a readable ledger"):
        Ledger(path)


@pytest.mark.parametrize("opened", [Ledger, LedgerReader])
def test_a_newer_ledger_wants_a_newer_selfinstruct(path: Path, opened: type[Ledger | LedgerReader]) -> None:
    """We do not guess what its tables mean."""
    Ledger(path).close()
    alter(path, "PRAGMA user_version = 2")
    with pytest.raises(ConfigProblem, match=r"newer selfinstruct \(ledger version 2\); upgrade"):
        opened(path)


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
        await ledger.reserve(KEY, DRAW, wire.COMPLETIONS, BODY)


# --- look-ups -------------------------------------------------------------------------------------------------------


async def test_a_call_is_found_by_what_people_type(ledger: Ledger) -> None:
    """By the first digits of its key, the first in order where several begin alike; letters up to f count."""
    keys = ["0a" * 32, "0a" + "f" * 62, "ff" * 32]
    for key in keys:
        await record(ledger, key)
    prefixes = ["0a0a", "0af", "0a", "f", "ffff", keys[1], "0b", "a", keys[2] + "f"]
    found = [call.key if (call := ledger.rows.find_prefix(prefix)) else None for prefix in prefixes]
    assert found == [keys[0], keys[1], keys[0], keys[2], keys[2], keys[1], None, None, None]


async def test_a_call_is_found_by_its_draw(ledger: Ledger) -> None:
    """Whatever settings it was made with; another draw is not it."""
    await record(ledger, KEY, "classify/3/1/0/0")
    call = ledger.rows.find_draw("classify/3/1/0/0")
    assert call is not None
    assert call.key == KEY
    assert ledger.rows.find_draw("classify/3/1/0/1") is None
    assert ledger.rows.find(OTHER) is None


async def test_answers_are_counted_by_stage(ledger: Ledger) -> None:
    """Settled and refused calls and their tokens; an open call has brought nothing yet."""
    assert ledger.rows.by_stage() == []
    await record(ledger, "01" * 32, "instances/0/0/0/0", tokens=(10, 20))
    await record(ledger, "02" * 32, "bootstrap/0/0/0/0", tokens=(1, 2))
    await record(ledger, "03" * 32, "bootstrap/0/1/0/0", tokens=(3, 4))
    await ledger.reserve("04" * 32, "bootstrap/0/2/0/0", wire.CHAT, BODY)
    await ledger.refuse("04" * 32, "no", 400)
    await ledger.reserve("05" * 32, "bootstrap/0/3/0/0", wire.CHAT, BODY)
    assert ledger.rows.by_stage() == [StageCalls("bootstrap", 3, 4, 6), StageCalls("instances", 1, 10, 20)]
