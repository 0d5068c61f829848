"""Whatever ends a run before its time ends it soon, with the right code, and loses nothing; the next start goes on."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from tests.command import Ended, invoke, spawn, wait
from tests.faults.campaign import (
    attempts,
    complete,
    open_attempts,
    prove_sound,
    rows,
    settled,
    wait_until,
    write_requests,
    written,
)
from tests.faults.fault_plan import Limits, Outage, Plan
from tests.faults.fault_server import FaultServer

pytestmark = pytest.mark.faults

CONCURRENCY = 32
SOON = 5
"""Seconds a process may take to end once it has to; only a hang takes longer."""


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    """Two hundred requests."""
    return write_requests(tmp_path / "requests.jsonl", 200)


def states(folder: Path) -> dict[str, int]:
    """How many attempts of a run are in each state."""
    return dict(rows(folder, "SELECT state, count(*) FROM attempts GROUP BY state"))


def is_one_line(ended: Ended, code: int, *words: str) -> None:
    """The code, and one line on standard error that holds the words."""
    assert (ended.code, ended.err.count("\n")) == (code, 1), ended.err
    assert [word for word in words if word not in ended.err] == [], ended.err


def goes_on(words: list[str], server: FaultServer, folder: Path) -> None:
    """The same command finishes, and repeats nothing that was settled."""
    known = {body: server.billing()[body]["received"] for body in settled(folder)}
    assert invoke(*words) == (0, "", "")
    assert {body: server.billing()[body]["received"] for body in known} == known
    prove_sound(folder)


# --- the account ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "status"), [("quota", "429"), ("revoked", "401")])
def test_an_account_that_ends_mid_run_ends_the_run(tmp_path: Path, requests: Path, what: str, status: str) -> None:
    """77 within seconds though some calls hang, and no more requests than were in flight."""
    limits = Limits(quota=60) if what == "quota" else Limits(revoked=60)
    faults = {"silent": 0.05} if what == "quota" else {}
    with FaultServer(Plan(latency=0.02, faults=faults, limits=limits)) as server:
        process = spawn(*complete(requests, server.url, tmp_path / "out", concurrency=CONCURRENCY))
        wait_until(lambda: status in server.stats()["statuses"], process)
        is_one_line(wait(process, SOON), 77, "top it up" if what == "quota" else "OPENAI_API_KEY")
        assert 60 < server.stats()["requests"] <= 60 + CONCURRENCY
        assert len(settled(tmp_path / "out")) == server.stats()["statuses"]["200"]


# --- the provider -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refuse", "reset"])
def test_an_outage_shorter_than_patience_is_sat_out(
    tmp_path: Path, requests: Path, how: Literal["refuse", "reset"]
) -> None:
    """Every request is answered by the one start, with little knocking at the closed door."""
    with FaultServer(Plan(latency=0.02, outage=Outage(80, 1.5, how))) as server:
        words = complete(requests, server.url, tmp_path / "out", concurrency=CONCURRENCY, give_up_after="60s")
        assert wait(spawn(*words), 60) == (0, "", "")
        stats = server.stats()
        assert (len(settled(tmp_path / "out")), stats["distinct"]) == (200, 200)
        assert stats["requests"] <= 200 + 2 * CONCURRENCY + 10
    prove_sound(tmp_path / "out")


def test_an_outage_longer_than_patience_ends_the_run_and_the_next_start_goes_on(tmp_path: Path, requests: Path) -> None:
    """75; when the provider is back, the rest is asked and nothing twice."""
    with FaultServer(Plan(latency=0.02, outage=Outage(80, 4.0, "503"))) as server:
        words = complete(requests, server.url, tmp_path / "out", concurrency=CONCURRENCY)
        ended = wait(spawn(*words, "--give-up-after", "1s"), 30)
        is_one_line(ended, 75, "the provider has not answered for", "503")
        assert 0 < len(settled(tmp_path / "out")) < 200
        goes_on([*words, "--give-up-after", "60s"], server, tmp_path / "out")
        assert len(settled(tmp_path / "out")) == 200


def test_a_provider_that_is_not_there_at_the_start_ends_the_run(tmp_path: Path, requests: Path) -> None:
    """75, with the address, and nothing to pay."""
    with FaultServer() as server:
        url = server.url
    ended = wait(spawn(*complete(requests, url, tmp_path / "out", give_up_after="1s")), 30)
    is_one_line(ended, 75, url, "no connection")
    assert states(tmp_path / "out").keys() == {"failed"}


# --- signals and time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_first_signal_waits_for_what_is_in_flight(tmp_path: Path, requests: Path, number: int, code: int) -> None:
    """Every answer under way comes home and is recorded; nothing more is sent."""
    with FaultServer(Plan(latency=1)) as server:
        words = complete(requests, server.url, tmp_path / "out", concurrency=8)
        process = spawn(*words)
        wait_until(lambda: server.stats()["in_flight"] == 8, process)
        process.send_signal(number)
        asked = server.stats()["requests"]
        ended = wait(process, SOON)
        assert (ended.code, ended.err.splitlines()[-1]) == (
            code,
            "selfinstruct: stopped; every answer received is recorded, running again goes on",
        )
        assert server.stats()["requests"] == asked
        assert len(settled(tmp_path / "out")) == server.stats()["statuses"]["200"] == asked
        assert states(tmp_path / "out").keys() <= {"settled", "failed"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_waits_for_nothing(tmp_path: Path, requests: Path, number: int) -> None:
    """What hangs is left open, and counts as perhaps executed from the next start on."""
    with FaultServer(Plan(faults={"silent": 1})) as server:
        process = spawn(*complete(requests, server.url, tmp_path / "out", concurrency=8))
        wait_until(lambda: server.stats()["requests"] == 8, process)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(number)
        assert wait(process, SOON).code == 128 + number
    assert 8 <= open_attempts(tmp_path / "out") <= 8 + 2


@pytest.mark.slow
def test_a_drain_ends_even_if_the_answers_never_come(tmp_path: Path, requests: Path) -> None:
    """Half a minute after the first signal; what hung is ambiguous, by our own account."""
    with FaultServer(Plan(faults={"silent": 1})) as server:
        process = spawn(*complete(requests, server.url, tmp_path / "out", concurrency=8))
        wait_until(lambda: server.stats()["requests"] == 8, process)
        process.send_signal(signal.SIGTERM)
        assert wait(process, 30 + SOON).code == 143
    assert (states(tmp_path / "out")["ambiguous"], open_attempts(tmp_path / "out")) == (8, 0)


def test_a_deadline_ends_the_run(tmp_path: Path, requests: Path) -> None:
    """4; what was in flight is recorded."""
    with FaultServer(Plan(latency=0.1)) as server:
        words = complete(requests, server.url, tmp_path / "out", concurrency=4)
        ended = wait(spawn(*words, "--deadline", "1s"), 1 + SOON)
        assert (ended.code, "--deadline is reached" in ended.err) == (4, True), ended.err
        assert 0 < len(settled(tmp_path / "out")) == server.stats()["executed"] < 200


# --- two at once ------------------------------------------------------------------------------------------------------


def test_of_fifty_starts_at_once_one_runs(tmp_path: Path, requests: Path) -> None:
    """The others exit 75, whatever the moment, and the server sees each request once."""
    with FaultServer(Plan(latency=0.05)) as server:
        words = complete(requests, server.url, tmp_path / "out", concurrency=4)
        processes = [spawn(*words) for _ in range(50)]
        with ThreadPoolExecutor(50) as pool:
            ended = list(pool.map(wait, processes))
        assert sorted(end.code for end in ended) == [0] + 49 * [75], {end.err for end in ended}
        lost = {end.err for end in ended if end.code == 75}
        assert lost == {f"selfinstruct: {tmp_path}/out: another process works on this run; nothing was sent\n"}
        assert (server.stats()["requests"], server.stats()["most_executed"]) == (200, 1)


def test_a_process_that_was_frozen_and_replaced_writes_nothing_when_it_wakes(tmp_path: Path, requests: Path) -> None:
    """Its commits are refused and it exits 75 by itself; the ledger is the second process's alone."""
    out = tmp_path / "out"
    with FaultServer(Plan(latency=0.1)) as server:
        words = complete(requests, server.url, out, concurrency=8)
        frozen = spawn(*words)
        wait_until(lambda: server.stats()["requests"] >= 60, frozen)
        _freeze_between_commits(frozen, out / "ledger.sqlite3")
        in_flight = open_attempts(out)
        (out / ".lock").unlink()  # as an impatient person would
        assert wait(spawn(*words), 60) == (0, "", "")
        before, results = attempts(out), written(out)
        frozen.send_signal(signal.SIGCONT)
        is_one_line(wait(frozen, 2 * SOON), 75, "took this run over")
        assert (attempts(out), written(out)) == (before, results)
        assert len(settled(out)) == 200
        assert states(out).get("ambiguous", 0) == in_flight <= 8 + 2
    prove_sound(out)


def _freeze_between_commits(process: subprocess.Popen[str], ledger: Path) -> None:
    """SIGSTOP at a moment when it holds no lock on the ledger; a frozen writer keeps everybody else out."""
    for _ in range(1000):
        process.send_signal(signal.SIGSTOP)
        with closing(sqlite3.connect(ledger, timeout=0, isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute("ROLLBACK")
                return
            except sqlite3.OperationalError:
                process.send_signal(signal.SIGCONT)
    raise AssertionError("it is always committing")
