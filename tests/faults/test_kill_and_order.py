"""Kill it anywhere, run it again, get the same bytes; and at any concurrency. Real processes, a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from selfinstruct.ledger_reader import LedgerReader
from tests.command import ROOT, data_files, invoke, spawn, until, wait
from tests.faults.answer_server import AnswerServer, Latency, body_hash

pytestmark = pytest.mark.faults

STAGES = ("bootstrap", "classify", "instances")
WORDS = [first + second for first in "ba de ki lo mu na pe ri so tu".split() for second in "ro la mi ne fu".split()]


def quick(rng: Random) -> float:
    """Up to 20 ms, every tenth answer six times that: calls overtake each other."""
    return rng.uniform(0, 0.02) * (6 if rng.random() < 0.1 else 1)


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    """A server with latency."""
    with AnswerServer(latency=quick) as started:
        yield started


def command(server: AnswerServer, output: Path, run: str, number: object = 300, **options: object) -> list[str]:
    """``generate`` against the server. Each draw's seed is sent, so that two draws never have the same body."""
    sets = {"model.send_seed": "true", "rounds_per_shard": 2} | options.pop("sets", {})  # type: ignore[operator]
    words = ["generate", "--api", "completion", "--base-url", server.url, "--output-dir", str(output), "--run", run]
    words += ["--num-instructions", str(number)]
    words += [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    return words + [word for key, value in options.items() for word in (f"--{key}", str(value))]


def settled_bodies(run: Path) -> list[str]:
    """The hash of the body of every call the ledger holds an answer for."""
    reader = LedgerReader(run / "ledger.sqlite3")
    bodies = [call.body for call in reader.calls() if call.state == "settled"]
    reader.close()
    return [body_hash(body) for body in bodies]


def attempts(run: Path, state: str) -> int:
    """How many attempts of a run are in a state."""
    reader = LedgerReader(run / "ledger.sqlite3")
    count = reader.attempts(state)
    reader.close()
    return count


# --- SIGKILL --------------------------------------------------------------------------------------------------------


def test_a_run_killed_ten_times_ends_with_the_same_bytes_and_pays_for_nothing_twice(
    server: AnswerServer, tmp_path: Path
) -> None:
    """SIGKILL at ten random moments of a run of 300: shards as if undisturbed, no recorded call repeated."""
    whole = invoke(*command(server, tmp_path, "whole", concurrency=7))
    total = server.counts.requests
    server.asked.clear()
    moments = sorted(Random(20).sample(range(3, total - 30), 10))
    recorded: list[tuple[list[str], Counter[str]]] = []
    for moment in moments:
        process = spawn(*command(server, tmp_path, "killed", concurrency=7))
        until(lambda moment=moment: server.counts.bodies >= moment, process)  # type: ignore[misc]
        process.kill()
        assert wait(process).code == -signal.SIGKILL
        recorded.append((settled_bodies(tmp_path / "killed"), server.asked.copy()))
    last = invoke(*command(server, tmp_path, "killed", concurrency=7))

    assert (whole.code, last.code) == (0, 0)
    assert data_files(tmp_path / "killed") == data_files(tmp_path / "whole")
    for settled, asked in recorded:
        assert [server.asked[body] for body in settled] == [asked[body] for body in settled]
    repeats = server.counts.requests - server.counts.bodies
    assert repeats <= attempts(tmp_path / "killed", "ambiguous") <= 10 * (7 + 1)
    assert len({len(settled) for settled, _ in recorded}) == 10  # the moments were spread


def blocks(body: dict[str, Any], rng: Random) -> tuple[str, str]:
    """Four tasks in Alpaca's form, some near copies; every fifth answer is cut, every tenth holds none."""
    if rng.random() < 0.1:
        return "I would rather talk about the weather.", "stop"
    tasks = []
    for number in range(4, 8):
        words = rng.sample(WORDS, 6) if rng.random() < 0.8 else WORDS[:6]
        head = "" if number == 4 else f"{number}. Instruction:"
        tasks.append(f"{head} Explain {' '.join(words)}.\n{number}. Input:\n<noinput>\n{number}. Output:\n{words[0]}!")
    text = "\n###\n".join(tasks)
    return (text[: rng.randrange(40, len(text))], "length") if rng.random() < 0.2 else (text, "stop")


def test_whole_tasks_survive_kills_with_accepted_tasks_among_the_demos(tmp_path: Path) -> None:
    """Alpaca's one stage, showing its own pool: five SIGKILLs, equal bytes, and nothing recorded asked twice."""
    with AnswerServer(answer=blocks, latency=quick) as server:
        options: dict[str, Any] = {"method": "alpaca", "concurrency": 7, "sets": {"alpaca.machine_demos": 1}}
        whole = invoke(*command(server, tmp_path, "whole", **options))
        total = server.counts.requests
        server.asked.clear()
        recorded: list[tuple[list[str], Counter[str]]] = []
        for moment in sorted(Random(21).sample(range(3, total - 30), 5)):
            process = spawn(*command(server, tmp_path, "killed", **options))
            until(lambda moment=moment: server.counts.bodies >= moment, process)  # type: ignore[misc]
            process.kill()
            assert wait(process).code == -signal.SIGKILL
            recorded.append((settled_bodies(tmp_path / "killed"), server.asked.copy()))
        last = invoke(*command(server, tmp_path, "killed", **options))
    assert (whole.code, last.code) == (0, 0), whole.err + last.err
    files = data_files(tmp_path / "whole")
    assert data_files(tmp_path / "killed") == files
    assert b'"parents":["alpaca-' in b"".join(data for name, data in files.items() if "shard" in name)
    for settled, asked in recorded:
        assert [server.asked[body] for body in settled] == [asked[body] for body in settled]


# --- order ----------------------------------------------------------------------------------------------------------


def test_concurrency_never_reaches_the_data(server: AnswerServer, tmp_path: Path) -> None:
    """One call at a time, 7 and 64, over answers that overtake each other: identical files, and each call once."""
    written = []
    for concurrency in (1, 7, 64):
        server.asked.clear()
        ended = invoke(*command(server, tmp_path / str(concurrency), "run", 60, concurrency=concurrency))
        assert ended.code == 0
        assert server.counts.most == 1
        written.append(data_files(tmp_path / str(concurrency) / "run"))
    assert written[0] == written[1] == written[2]
    assert len(written[0]) >= 3 * 4


@pytest.mark.parametrize("rounds_per_shard", [1, 2, 128])
def test_a_run_extended_from_100_to_200_equals_a_direct_one(
    server: AnswerServer, tmp_path: Path, rounds_per_shard: int
) -> None:
    """Wherever the first run's last shard ended; and what the first run paid for is not asked again."""
    sets = {"rounds_per_shard": rounds_per_shard}
    assert invoke(*command(server, tmp_path, "direct", 200, sets=sets)).code == 0
    direct = server.counts
    server.asked.clear()
    for number in (100, 200):
        assert invoke(*command(server, tmp_path, "extended", number, sets=sets)).code == 0
    assert data_files(tmp_path / "extended") == data_files(tmp_path / "direct")
    assert server.counts.most == 1
    assert server.counts.bodies <= direct.bodies + 4 * 8  # rounds in flight when the first run ended


def test_one_hundred_instructions_cost_about_one_hundred_instructions_worth_of_calls(
    server: AnswerServer, tmp_path: Path
) -> None:
    """Whatever --concurrency would allow: at some 40 new ones a round, 100 takes three rounds of eight calls."""
    ended = invoke(*command(server, tmp_path, "run", 100, concurrency=64), "--json")
    stages = {stage["stage"]: stage for stage in orjson.loads(ended.out)["stages"]}
    assert stages["bootstrap"]["calls"] == 3 * 8
    assert 100 <= stages["bootstrap"]["accepted"] < 140
    assert stages["instances"]["calls"] == stages["classify"]["accepted"]


# --- SIGTERM, SIGINT ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drains_the_run_and_the_next_start_goes_on(
    server: AnswerServer, tmp_path: Path, number: int, code: int
) -> None:
    """Calls in flight come home and are recorded, the exit code names the signal, nothing is asked twice."""
    assert invoke(*command(server, tmp_path, "whole", 100)).code == 0
    server.asked.clear()
    process = spawn(*command(server, tmp_path, "drained", 100))
    until(lambda: server.counts.requests >= 60, process)
    process.send_signal(number)
    ended = wait(process)
    assert ended.code == code
    assert ended.err.splitlines() == [
        "stopping: waiting for the calls in flight, whose answers are paid for; a second signal ends at once",
        "selfinstruct: stopped; every answer received is recorded, running again goes on",
    ]
    assert "next     run the same command again to go on" in ended.out
    states = {state: attempts(tmp_path / "drained", state) for state in ("reserved", "ambiguous", "settled")}
    assert states == {"reserved": 0, "ambiguous": 0, "settled": server.counts.requests}

    assert invoke(*command(server, tmp_path, "drained", 100)).code == 0
    assert server.counts.most == 1
    assert data_files(tmp_path / "drained") == data_files(tmp_path / "whole")


def test_a_second_signal_ends_the_run_at_once(tmp_path: Path) -> None:
    """The first waits for answers that never come; the second does not, and what was in flight is ambiguous."""
    never: Latency = lambda rng: 3600.0  # noqa: E731
    with AnswerServer(latency=never) as server:
        process = spawn(*command(server, tmp_path, "run"))
        until(lambda: server.in_flight == 8, process)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert wait(process, 30).code == 143
    assert attempts(tmp_path / "run", "reserved") == 8  # the next start calls them ambiguous


# --- a long run -----------------------------------------------------------------------------------------------------

_MEASURED = """
import pathlib, re, sys
from selfinstruct.cli.app import _run
target = pathlib.Path(sys.argv.pop(1))
code = _run()
target.write_text(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


def _peak_kib(server: AnswerServer, folder: Path, number: int) -> int:
    """Peak resident memory of a whole run, measured by its own process (a child's rusage counts its parent's too)."""
    peak = folder / f"peak-{number}"
    words = command(server, folder, f"run-{number}", number, concurrency=32, sets={"rounds_per_shard": 128, "lag": 8})
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [sys.executable, "-c", _MEASURED, str(peak), *words, "--quiet"], env=environment, check=True, timeout=360
    )
    return int(peak.read_text())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_run(tmp_path: Path) -> None:
    """10 000 accepted instructions, their classes and instances, need at most 1.3 times the memory of 2 000."""
    with AnswerServer() as server:
        small, large = (_peak_kib(server, tmp_path, number) for number in (2_000, 10_000))
    print(f"peak memory over HTTP: {small / 1024:.0f} MiB at 2 000 accepted, {large / 1024:.0f} MiB at 10 000")
    assert large <= 1.3 * small, f"{small} KiB at 2 000, {large} KiB at 10 000"
    lines = (tmp_path / "run-10000" / "bootstrap").glob("shard-*.jsonl")
    assert sum(path.read_bytes().count(b"\n") for path in lines) >= 10_000
