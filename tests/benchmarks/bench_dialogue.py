"""Does `selfinstruct dialogue` keep the wire full, its memory flat, and its bytes the same when it is killed?

    make bench-dialogue [BENCH="--dialogues 2000 --limit 64"]

Dialogues of 3 to 7 rounds against a server that talks (tests/benchmarks/talking_server.py), answers log-normal around
50 ms: a run of its own, and one that is killed three times on the way. Calls in flight are means of half seconds as the
server sees them, from two seconds after the first call on, without the last 3 s, in which the dialogues end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "none"}
WINDOW, FIRST, LAST = 0.5, 2.0, 3.0
SIGMA = 0.5
OPENERS = {
    "en": "How does tide {} of the harbour change the price of copper kettles in week {}?",
    "zh": "第{}次涨潮会怎样影响第{}个星期的铜壶价格？",
}


@contextmanager
def server(lang: str) -> Iterator[str]:
    """A talking server as a process; yields its address."""
    words = [sys.executable, "-m", "tests.benchmarks.talking_server", "0.05", str(SIGMA), lang]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout and process.stdin
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


class Seen:
    """One start of the command: wall and CPU seconds, memory, calls in flight; ended early where ``kill`` says when."""

    def __init__(self, words: list[str], url: str, kill: float | None = None) -> None:
        started = time.monotonic()
        process = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        self.in_flight: list[tuple[float, float]] = []
        self.mib: list[float] = []
        self.first: float | None = None
        watcher = threading.Thread(target=self._watch, args=(process, url), daemon=True)
        watcher.start()
        if kill is not None:
            time.sleep(kill)
            process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watcher.join()
        self.wall, self.cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
        self.peak = usage.ru_maxrss / 1024
        if process.returncode not in (0, -9):
            raise SystemExit(f"{' '.join(words[3:])} ended with {process.returncode}")

    def _watch(self, process: subprocess.Popen[bytes], url: str) -> None:
        before = asked(f"{url}/stats")["requests"]
        while process.poll() is None:
            time.sleep(WINDOW)
            seen, now = asked(f"{url}/mark"), time.monotonic()
            if seen["requests"] == before:
                continue
            self.first = self.first or now
            self.in_flight.append((now, seen["mean_in_flight"]))
            self.mib.append(resident(process.pid))

    @property
    def steady(self) -> list[float]:
        """Means of calls in flight of the windows that count."""
        if not self.in_flight:
            return []
        begin, end = self.in_flight[0][0] + FIRST, self.in_flight[-1][0] - LAST
        return [value for at, value in self.in_flight if begin < at < end]


def asked(url: str) -> dict[str, Any]:
    """What the server has counted."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def resident(pid: int) -> float:
    """Memory of a process, in MiB; 0 once it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


def command(folder: Path, run: str, url: str, options: argparse.Namespace) -> list[str]:
    """`selfinstruct dialogue` over the file of openers."""
    program = [sys.executable, "-c", "from selfinstruct.cli.start import main; main()", "dialogue"]
    where = [
        "--openers",
        str(folder / "openers.txt"),
        "--output-dir",
        str(folder),
        "--run",
        run,
        "--lang",
        options.lang,
    ]
    whom = ["--api", "chat", "--model", "talking", "--base-url", f"{url}/v1", "--concurrency", str(options.limit)]
    return [*program, *where, *whom, "--quiet"]


def digest(folder: Path) -> str:
    """One hash over everything a run has written but its ledger."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def told(name: str, seen: list[Seen], options: argparse.Namespace) -> None:
    """A line of figures."""
    steady = [value for one in seen for value in one.steady]
    full = [value / options.limit for value in steady] or [0.0]
    memory = [value for value in seen[-1].mib if value]
    middle = f"{memory[len(memory) // 4]:.0f} MiB after a quarter, " if memory else ""
    print(
        f"  {name}: {sum(one.wall for one in seen):.0f} s, {sum(one.cpu for one in seen):.0f} s of CPU;"
        f" in flight {mean(full):.1%} of {options.limit} on average, {min(full):.1%} in the emptiest half second;"
        f" {middle}{max(one.peak for one in seen):.0f} MiB at most"
    )


def main() -> None:
    """Print the figures of both runs, and whether their bytes are the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialogues", type=int, default=10_000)
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("--lang", choices=("en", "zh"), default="en")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = (OPENERS[options.lang].format(n * 7919 % 1_000_003, n) for n in range(options.dialogues))
        (folder / "openers.txt").write_text("\n".join(lines) + "\n", "utf-8")
        print(f"{options.dialogues} dialogues, {options.lang}, answers log-normal around 50 ms")
        with server(options.lang) as url:  # one for both: its address is a part of every call's key
            alone = Seen(command(folder, "alone", url, options), url)
            told("alone", [alone], options)
            calls = asked(f"{url}/stats")["requests"]
            print(
                f"    {calls} calls, {calls / alone.wall:.0f} a second, {1000 * alone.cpu / calls:.2f} ms of CPU each"
            )
            killed = command(folder, "killed", url, options)
            starts = [Seen(killed, url, alone.wall * share) for share in (0.2, 0.3, 0.2)]
            starts.append(Seen(killed, url))
            told("killed three times", starts, options)
            again = asked(f"{url}/stats")["requests"] - 2 * calls
            print(
                f"    {again} calls more than alone, at most {3 * (options.limit + options.limit // 4)} were in flight"
            )
        same = digest(folder / "alone") == digest(folder / "killed")
        print(f"  the same bytes: {same}")
        if not same:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
