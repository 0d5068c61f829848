"""Every durable step, struck at its first, second, third … time: by a kill, by a full disk, by one that fails."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from selfinstruct import failpoints
from tests.command import Ended, invoke, spawn, wait
from tests.faults.answer_server import middling
from tests.faults.campaign import (
    PRICE,
    Campaign,
    complete,
    generate,
    open_attempts,
    prove_sound,
    settled,
    write_requests,
    written,
)
from tests.faults.fault_plan import Plan
from tests.faults.fault_server import FaultServer

pytestmark = pytest.mark.faults

CONCURRENCY = 8
KILLED_AT = {"complete": (1, 2, 7), "generate": (1, 6)}
FAILED_AT = (("ENOSPC", 1), ("EIO", 2), ("ENOSPC", 3), ("EIO", 8))
"""Occurrences of each step that are struck; a longer sweep counts on until a run gets through."""

Words = Callable[[str, Path], list[str]]


@pytest.fixture
def make(tmp_path: Path) -> dict[str, Words]:
    """Two small commands: 40 requests of a file, and 10 instructions through three stages."""
    requests = write_requests(tmp_path / "requests.jsonl", 40)
    return {
        "complete": lambda url, out: complete(requests, url, out, concurrency=CONCURRENCY, price=PRICE),
        "generate": lambda url, out: generate(url, out, 10, concurrency=CONCURRENCY, price=PRICE),
    }


def serving(command: str, latency: float = 0.002) -> FaultServer:
    """A server without a fault of its own; it plays a middling model where stages ask."""
    return FaultServer(Plan(latency=latency), middling if command == "generate" else None)


def failing(words: list[str], point: str, action: str, nth: int) -> Ended:
    """The command in this process, on a disk that fails at a step from its n-th time on."""
    failpoints._visits.cache_clear()
    return invoke(*words, SELFINSTRUCT_FAILPOINTS=f"{point}={action}@{nth}")


# --- kills ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("command", ["complete", "generate"])
def test_a_kill_at_any_durable_step_is_made_good(tmp_path: Path, make: dict[str, Words], command: str) -> None:
    """Nothing is asked again, nothing goes uncounted, and the next start ends with the bytes of an undisturbed run."""
    cases = [(point, nth) for point in failpoints.POINTS for nth in KILLED_AT[command]]
    with ExitStack() as servers, ThreadPoolExecutor(3) as pool:
        campaigns = []
        for point, nth in cases:
            server, out = servers.enter_context(serving(command)), tmp_path / f"{point}-{nth}"
            campaigns.append(Campaign(server, make[command](server.url, out), out, CONCURRENCY))
        died = list(pool.map(Campaign.strike, campaigns, [f"{point}=kill@{nth}" for point, nth in cases]))
        for case, campaign in zip(cases, campaigns, strict=True):
            resumed = invoke(*campaign.words)
            assert (resumed.code, resumed.err) == (0, ""), case
            whole = tmp_path / f"whole-{case[0]}-{case[1]}"
            campaign.prove(make[command](campaign.server.url, whole), whole)
    struck = {point for (point, _), dead in zip(cases, died, strict=True) if dead}
    assert struck == set(failpoints.POINTS)


# --- a disk that is full, or fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["complete", "generate"])
@pytest.mark.parametrize("point", failpoints.POINTS)
def test_a_disk_that_fails_at_a_durable_step_stops_the_run_in_one_line(
    tmp_path: Path, make: dict[str, Words], command: str, point: str
) -> None:
    """74, nothing torn, nothing settled asked again, and the next start ends with the bytes of an undisturbed run."""
    with serving(command) as server:
        whole = tmp_path / "whole"
        assert invoke(*make[command](server.url, whole)).code == 0
        expected, seen = written(whole), 0
        for action, nth in FAILED_AT:
            out = tmp_path / f"{nth}-{action}"
            ended = failing(make[command](server.url, out), point, action, nth)
            if ended.code == 0:
                continue
            seen += 1
            is_an_io_failure(ended, getattr(errno, action))
            known = {body: server.billing()[body]["received"] for body in settled(out)}
            resumed = invoke(*make[command](server.url, out))
            assert (resumed.code, resumed.err) == (0, "")
            assert {body: server.billing()[body]["received"] for body in known} == known
            assert written(out) == expected
            assert open_attempts(out) == 0
            prove_sound(out)
    assert seen >= 2


def is_an_io_failure(ended: Ended, number: int) -> None:
    """74, and a single line that says what could not be written and why."""
    assert ended.code == 74, ended.err
    assert (ended.out, ended.err.count("\n")) == ("", 1), ended.err
    assert os.strerror(number) in ended.err
    assert ended.err.endswith("nothing recorded is lost, run again\n")


@pytest.mark.parametrize("point", [point for point in failpoints.POINTS if point.startswith("ledger.")])
def test_a_ledger_that_fails_while_calls_are_in_flight_ends_the_run_at_once(tmp_path: Path, point: str) -> None:
    """One line, 74, and no wait for answers that could not be recorded: here they would take a minute."""
    requests = write_requests(tmp_path / "requests.jsonl", 200)
    plan = Plan(latency=0.02, faults={"silent": 0.2})
    with FaultServer(plan) as server:
        words = complete(requests, server.url, tmp_path / "out", concurrency=32, price=PRICE)
        process = spawn(*words, SELFINSTRUCT_FAILPOINTS=f"{point}=ENOSPC@6")
        ended = wait(process, 15)
        is_an_io_failure(ended, errno.ENOSPC)
        assert server.stats()["requests"] > 10


# --- a disk that is really full ---------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many KiB; skips where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mounted(kib: int) -> Path:
        umount()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a file system")
        return folder

    def umount() -> None:
        if os.path.ismount(folder):
            subprocess.run(["umount", str(folder)], check=True)

    yield mounted
    umount()


@pytest.mark.parametrize("kib", [64, 192, 448])
def test_a_full_disk_stops_the_run_in_one_line_and_room_lets_it_go_on(
    tmp_path: Path, small_disk: Callable[[int], Path], kib: int
) -> None:
    """74; with room, the same command ends with the bytes of an undisturbed run and repeats nothing settled."""
    requests = write_requests(tmp_path / "requests.jsonl", 600)
    with FaultServer() as server:
        disk = small_disk(kib)
        words = complete(requests, server.url, disk / "out", concurrency=CONCURRENCY, price=PRICE)
        ended = invoke(*words)
        assert ended.code == 74, ended.err
        assert (ended.out, ended.err.count("\n")) == ("", 1), ended.err
        known = {body: server.billing()[body]["received"] for body in settled(disk / "out")}
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        assert invoke(*words) == (0, "", "")
        assert {body: server.billing()[body]["received"] for body in known} == known
        whole = tmp_path / "whole"
        assert invoke(*complete(requests, server.url, whole, concurrency=CONCURRENCY, price=PRICE)).code == 0
        assert written(disk / "out") == written(whole)
        prove_sound(disk / "out")


_LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv[1:2] = []
from selfinstruct.cli.start import main
main()
"""


def test_a_file_that_may_not_grow_is_like_a_full_disk(tmp_path: Path) -> None:
    """EFBIG instead of ENOSPC: 74, and the next start without the limit goes on."""
    requests = write_requests(tmp_path / "requests.jsonl", 200)
    with FaultServer() as server:
        words = complete(requests, server.url, tmp_path / "out", concurrency=CONCURRENCY)
        command = [sys.executable, "-c", _LIMITED, str(96 * 1024), *words]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stderr.count("\n")) == (74, 1), ended.stderr
        assert invoke(*words).code == 0
        assert server.stats()["requests"] <= 200 + CONCURRENCY + 2
