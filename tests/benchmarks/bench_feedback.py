"""What does `selfinstruct feedback` cost a call, does its memory stay flat, and are its bytes the same when killed?

    make bench-feedback [BENCH="--instructions 2000 --lang zh"]

Four of seventeen models, four aspects, four critiques: twelve calls an instruction, answered at once by a server in a
process of its own (tests/benchmarks/judging_server.py). A run of its own; a bare aiohttp loop that sends every sixth of
the same bodies and writes what comes back; and a run that is killed three times on the way, after each of which no call
that was answered may be sent again. CPU is of our process alone, its start and its end included.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.bench_client import BARE  # noqa: E402
from tests.benchmarks.judging_server import JUDGE, MARK, mark_of  # noqa: E402

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "none"}
WINDOW = 0.25
"""Seconds between two looks at the memory of a process."""
MODELS, CALLS = 17, 12
EVERY = 6
"""The bare loop sends each sixth of the bodies: they are as long on average, and it needs no more to be measured."""
SOURCES = ("evol_instruct", "sharegpt", "flan_v2_cot", "truthful_qa", "false_qa", "ultrachat")
QUESTIONS = {
    "en": "How does tide {} of the harbour change the price of copper kettles in week {}, and how do you know?",
    "zh": "第{}次涨潮会怎样影响第{}个星期的铜壶价格？你是怎么知道的？",
}
RIGHT = {"en": ["A high tide lowers it.", "The kettles get cheaper."], "zh": ["涨潮会让价格下降。", "铜壶会便宜一些。"]}


@contextmanager
def server(asked: Path) -> Iterator[str]:
    """A judging server as a process; yields its address."""
    words = [sys.executable, "-m", "tests.benchmarks.judging_server", str(asked)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout and process.stdin
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


class Seen:
    """One process: wall and CPU seconds, memory over its calls, peak; killed once it has had so many more calls."""

    def __init__(self, words: list[str], url: str, kill_after: int | None = None) -> None:
        started = time.monotonic()
        process = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        self.mib: list[tuple[int, float]] = []
        self.kill_after = kill_after
        watcher = threading.Thread(target=self._watch, args=(process, url), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watcher.join()
        self.wall, self.cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
        self.peak = usage.ru_maxrss / 1024
        if process.returncode != (0 if kill_after is None else -9):
            raise SystemExit(f"{' '.join(words[3:6])} ended with {process.returncode}")

    def _watch(self, process: subprocess.Popen[bytes], url: str) -> None:
        before = requests(url)
        while process.returncode is None:
            time.sleep(WINDOW)
            calls = requests(url) - before
            self.mib.append((calls, resident(process.pid)))
            if self.kill_after is not None and calls >= self.kill_after:
                process.kill()
                return

    def resident_at(self, share: float) -> float:
        """Memory once so great a share of the calls was made."""
        most = self.mib[-1][0]
        return next(mib for calls, mib in self.mib if calls >= share * most and mib)


def requests(url: str) -> int:
    """How many the server has had."""
    with urllib.request.urlopen(f"{url}/stats", timeout=30) as answer:
        return int(json.load(answer)["requests"])


def resident(pid: int) -> float:
    """Memory of a process, in MiB; 0 once it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


# --- what is run ----------------------------------------------------------------------------------------------------


def write_input(folder: Path, url: str, options: argparse.Namespace) -> None:
    """The instructions, of six sources in turn, and a pool of seventeen names."""
    with (folder / "in.jsonl").open("w", encoding="utf-8") as file:
        for n in range(options.instructions):
            row: dict[str, Any] = {"instruction": QUESTIONS[options.lang].format(n * 7919 % 1_000_003, n)}
            row |= {"source": SOURCES[n % len(SOURCES)]}
            row |= {"correct_answers": RIGHT[options.lang]} if n % len(SOURCES) in (2, 3) else {}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    models = (f'[[model]]\nname = "model-{n:02}"\nbase_url = "{url}/v1"\n' for n in range(MODELS))
    (folder / "pool.toml").write_text("\n".join(models))


def command(folder: Path, run: str, url: str, options: argparse.Namespace) -> list[str]:
    """`selfinstruct feedback` over the instructions."""
    program = [sys.executable, "-c", "from selfinstruct.cli.start import main; main()", "feedback"]
    what = ["--instructions", str(folder / "in.jsonl"), "--pool", str(folder / "pool.toml"), "--lang", options.lang]
    where = ["--output-dir", str(folder), "--run", run, "--concurrency", str(options.limit), "--quiet"]
    whom = ["--judge-model", JUDGE, "--judge-base-url", f"{url}/v1", "--design", options.design]
    return [*program, *what, *where, *whom]


def bare(folder: Path, run: str, url: str, limit: int) -> tuple[int, Seen]:
    """The bare loop over every sixth call of a run; how many they are, and what was seen."""
    with closing(ledger_of(folder, run)) as ledger, (folder / "bare.jsonl").open("wb") as file:
        count = 0
        for path, body in ledger.execute(f"SELECT path, body FROM calls WHERE id % {EVERY} = 0"):
            file.write(b'{"custom_id":"r%d","url":"%b","body":%b}\n' % (count, path.encode(), body))
            count += 1
    words = [sys.executable, "-c", BARE, str(folder / "bare.jsonl"), str(folder / "bare.out"), url, str(limit)]
    return count, Seen(words, url)


# --- what came of it ------------------------------------------------------------------------------------------------


def settled(folder: Path, run: str) -> set[bytes]:
    """The marks of the bodies that a ledger has an answer to."""
    with closing(ledger_of(folder, run)) as ledger:
        rows = ledger.execute("SELECT body FROM calls JOIN answers ON answers.call = calls.id")
        return {mark_of(body) for (body,) in rows}


def ledger_of(folder: Path, run: str) -> sqlite3.Connection:
    """The ledger of a run, only to be read: what a kill has left stays as it is."""
    return sqlite3.connect(f"file:{folder / run / 'ledger.sqlite3'}?mode=ro", uri=True)


def sent_since(asked: Path, offset: int) -> list[bytes]:
    """The marks of what came to the server behind an offset of its file."""
    data = asked.read_bytes()[offset:]
    return [data[at : at + MARK] for at in range(0, len(data), MARK)]


def digest(folder: Path) -> str:
    """One hash over everything a run has written but its ledger."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    parts = (path.relative_to(folder).as_posix().encode() + path.read_bytes() for path in files)
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def alone(folder: Path, url: str, options: argparse.Namespace) -> int:
    """A run that nobody disturbs, and the bare loop beside it; returns how many calls it was."""
    seen = Seen(command(folder, "alone", url, options), url)
    calls = requests(url)
    print(f"  alone: {calls} calls in {seen.wall:.0f} s, {calls / seen.wall:.0f} a second, {each(seen.cpu, calls)}")
    print(
        f"    {seen.resident_at(0.25):.0f} MiB after a quarter of them, {seen.resident_at(0.95):.0f} MiB near the end,"
        f" {seen.peak:.0f} MiB at most"
    )
    count, peer = bare(folder, "alone", url, options.limit)
    ratio = (seen.cpu / calls) / (peer.cpu / count)
    print(
        f"  a bare loop, {count} of the same bodies: {count / peer.wall:.0f} a second, {each(peer.cpu, count)}:"
        f" {ratio:.1f} times as much is ours, {calls / seen.wall / (count / peer.wall):.2f} of its calls a second"
    )
    return calls


def each(cpu: float, calls: int) -> str:
    """CPU a call, told."""
    return f"{1000 * cpu / calls:.2f} ms of CPU each"


def killed(folder: Path, asked: Path, url: str, calls: int, options: argparse.Namespace) -> bool:
    """The same run, killed three times at moments drawn by lot; whether what was settled was never sent again."""
    words, rng = command(folder, "killed", url, options), Random(options.seed)
    known: set[bytes] = set()
    starts, sent, again = [], 0, 0
    for start in range(4):
        offset = asked.stat().st_size
        starts.append(Seen(words, url, rng.randint(calls // 20, calls // 4) if start < 3 else None))
        came = sent_since(asked, offset)
        sent += len(came)
        again += sum(mark in known for mark in came)
        known |= settled(folder, "killed")
    print(
        f"  killed after {', '.join(str(one.mib[-1][0]) for one in starts[:3])} calls: {sent - calls} calls more than"
        f" alone, of which {again} had an answer on record; {sum(one.wall for one in starts):.0f} s,"
        f" {each(sum(one.cpu for one in starts), calls)}"
    )
    return not again


def main() -> None:
    """Print the figures of all, and whether the bytes are the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--instructions", type=int, default=10_000)
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("--lang", choices=("en", "zh"), default="en")
    parser.add_argument("--design", choices=("uniform", "balanced"), default="uniform")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, asked = Path(name), Path(name) / "asked"
        print(f"{options.instructions} instructions x {CALLS} calls, {options.lang}, {options.limit} a model in flight")
        with server(asked) as url:  # one for all: its address is a part of every call's key
            write_input(folder, url, options)
            calls = alone(folder, url, options)
            fine = killed(folder, asked, url, calls, options)
        same = digest(folder / "alone") == digest(folder / "killed")
        print(f"  the same bytes: {same}")
        if not (same and fine and calls == CALLS * options.instructions):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
