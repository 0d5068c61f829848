"""How fast is `selfinstruct complete` against a bare aiohttp loop that writes JSONL? Ratios within one run.

    make bench-client

Both send the same requests to the same lean server (tests/benchmarks/lean_server.py), ours with everything on:
ledger before wire, group commits, admission, gate, results in order. Rounds alternate; each client is a process of its
own, so CPU seconds and peak memory are its own. CPU a call is (CPU of LARGE - CPU of SMALL) / (LARGE - SMALL), which
leaves the start out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

BARE = """
import asyncio, sys, aiohttp, orjson, uvloop

async def main(requests, out, url, limit):
    connector = aiohttp.TCPConnector(limit=limit)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        with open(requests, "rb") as lines, open(out, "wb") as results:
            async def work():
                for line in lines:
                    request = orjson.loads(line)
                    async with session.post(url + request["url"], data=orjson.dumps(request["body"])) as response:
                        answer = orjson.loads(await response.read())
                    results.write(orjson.dumps({"custom_id": request["custom_id"], "body": answer}) + b"\\n")
            await asyncio.gather(*(work() for _ in range(limit)))

uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
"""


@contextmanager
def server(latency: float, sigma: float) -> Iterator[str]:
    """A lean server as a process; yields its address."""
    words = [sys.executable, "-m", "tests.benchmarks.lean_server", str(latency), str(sigma)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout and process.stdin
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def write_requests(folder: Path, count: int) -> Path:
    """A file of so many chat requests, 400 bytes each."""
    path = folder / f"{count}.jsonl"
    with path.open("w") as file:
        for number in range(count):
            messages = [{"role": "user", "content": f"Question {number}: " + "explain it well, " * 12}]
            body = {"model": "lean", "messages": messages, "max_tokens": 100}
            row = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(row) + "\n")
    return path


class Seen:
    """One client's process: wall and CPU seconds, peak memory, calls in flight at the server after two seconds."""

    def __init__(self, words: list[str], url: str, count: int, environment: Mapping[str, str]) -> None:
        started = time.monotonic()
        process = subprocess.Popen(words, env={**ENVIRONMENT, **environment}, stdout=subprocess.DEVNULL)
        self.in_flight: list[float] = []
        watcher = threading.Thread(target=self._watch, args=(process, url, count), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watcher.join()
        self.wall = time.monotonic() - started
        self.cpu = usage.ru_utime + usage.ru_stime
        self.mib = usage.ru_maxrss / 1024
        if process.returncode:
            raise SystemExit(f"{words[:4]} ended with {process.returncode}")

    def _watch(self, process: subprocess.Popen[bytes], url: str, count: int) -> None:
        """From two seconds after the first request on, the mean in flight of each second."""
        while process.poll() is None and not _ask(f"{url}/stats")["requests"]:
            time.sleep(0.02)
        time.sleep(2.0)
        _ask(f"{url}/mark")
        while process.poll() is None:
            time.sleep(0.5)
            seen = _ask(f"{url}/stats")
            if seen["requests"] >= count:
                return  # nothing is left to send: the last ones come home
            self.in_flight.append(seen["mean_in_flight"])


def _ask(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def ours(requests: Path, url: str, limit: int, *words: str, **environment: str) -> Seen:
    """`selfinstruct complete`."""
    with tempfile.TemporaryDirectory(dir=requests.parent) as out:
        command = "from selfinstruct.cli.start import main; main()"
        given = ["complete", str(requests), "--out", f"{out}/run", "--quiet", "--base-url", url]
        words = (sys.executable, "-c", command, *given, "--concurrency", str(limit), *words)
        return Seen([*words], url, int(requests.stem), environment)


def bare(requests: Path, url: str, limit: int) -> Seen:
    """The bare loop."""
    with tempfile.TemporaryDirectory(dir=requests.parent) as out:
        words = [sys.executable, "-c", BARE, str(requests), f"{out}/results.jsonl", url, str(limit)]
        return Seen(words, url, int(requests.stem), {})


def race(folder: Path, small: int, large: int, rounds: int) -> None:
    """256 in flight at 50 ms, both clients in turn."""
    print(f"256 in flight, 50 ms, {rounds} rounds, medians")
    seen: dict[str, dict[int, list[Seen]]] = {"bare": {}, "ours": {}}
    for count in (small, large):
        requests = write_requests(folder, count)
        for _ in range(rounds):
            for name, client in (("bare", bare), ("ours", ours)):
                with server(0.05, 0.0) as url:
                    seen[name].setdefault(count, []).append(client(requests, url, 256))
        ratio = median(b.wall / o.wall for b, o in zip(seen["bare"][count], seen["ours"][count], strict=True))
        print(f"  N = {count}: {ratio:.2f} of bare's requests a second")
        for name, runs in seen.items():
            rate, mib = median(count / run.wall for run in runs[count]), max(run.mib for run in runs[count])
            print(f"    {name}: {rate:.0f}/s, peak {mib:.0f} MiB{_flying(runs[count], 256)}")
    for name, by_count in seen.items():
        cpu = {count: median(run.cpu for run in runs) for count, runs in by_count.items()}
        print(f"  {name}: {(cpu[large] - cpu[small]) / (large - small) * 1000:.2f} ms CPU a call")


def in_flight(folder: Path, count: int) -> None:
    """How full the limit is kept, where the wire and not the processor is what a run waits for."""
    for limit, seconds, sigma in ((64, 0.05, 0.0), (64, 0.2, 0.5), (256, 0.2, 0.5), (256, 1.0, 1.0)):
        requests = write_requests(folder, max(count, int(limit * 12 / seconds)))
        with server(seconds, sigma) as url:
            print(f"median {seconds} s, sigma {sigma}{_flying([ours(requests, url, limit)], limit)}")


def durability(folder: Path, count: int, rounds: int) -> None:
    """The price of syncing, at 200 requests a second."""
    requests = write_requests(folder, count)
    walls: dict[str, list[float]] = {"1": [], "0": []}
    for _ in range(rounds):
        for sync, times in walls.items():
            with server(0.05, 0.0) as url:
                times.append(ours(requests, url, 64, "--rpm", "12000", SELFINSTRUCT_SYNC=sync).wall)
    ratio = median(on / off for on, off in zip(walls["1"], walls["0"], strict=True))
    print(f"200 requests a second: syncing takes {(ratio - 1) * 100:+.1f} % wall time")


def _flying(runs: list[Seen], limit: int) -> str:
    shares = [run.in_flight[-1] / limit for run in runs if run.in_flight]
    return f", {median(shares):.0%} of {limit} in flight" if shares else ""


def main() -> None:
    """Run everything and print it."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--small", type=int, default=5_000)
    options.add_argument("--large", type=int, default=50_000)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        race(Path(folder), given.small, given.large, given.rounds)
        in_flight(Path(folder), given.small)
        durability(Path(folder), given.small, given.rounds)


if __name__ == "__main__":
    main()
