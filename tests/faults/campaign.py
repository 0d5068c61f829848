"""What campaigns of faults share: a command that is killed and started again, and everything that must hold of it.

A `Campaign` is one command against one server. Kill it as often as you like, let it finish, then `prove` it:

* what it wrote is, byte for byte, what an undisturbed run over the same answers writes;
* no call whose answer was recorded was asked again, by the server's account;
* after each kill no more was open than was in flight, and the quarter of it that is reserved ahead;
* what the server bills, the ledger counts: call by call, in executions and in money;
* ``selfinstruct verify`` finds nothing.

A longer campaign is the same code with other numbers.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import orjson

from selfinstruct.money import parse_price
from tests.command import Ended, invoke, spawn, wait
from tests.faults.fault_server import FaultProcess, FaultServer

PRICE = "in=0.5,out=1.5"
TRANSIENT = {
    **{"429": 0.01, "429_ms": 0.01, "429_date": 0.005, "429_insane": 0.005, "503": 0.03, "500": 0.02, "502": 0.02},
    **{"reset": 0.02, "reset_headers": 0.01, "reset_body": 0.02, "truncated": 0.01, "unfinished": 0.01},
    **{"html": 0.01, "error_200": 0.01, "empty": 0.01, "no_choices": 0.01, "cut_json": 0.01, "usage_string": 0.01},
}
"""Faults that strike a body once: a fifth of all bodies meet one."""

_WORDS = "rivers bridges kettles maps clocks orchards violins ladders harbours letters".split()


# --- requests and commands ------------------------------------------------------------------------------------------


def write_requests(path: Path, count: int, *, seed: int = 0, max_tokens: int | None = 40, longest: int = 30) -> Path:
    """A file of ``count`` different requests in the Batch format, each prompt up to ``longest`` words long."""
    rng = Random(seed)
    with path.open("wb") as file:
        for number in range(count):
            text = f"Number {number}: {' '.join(rng.choices(_WORDS, k=rng.randint(1, longest)))}."
            body: dict[str, Any] = {"model": "served", "messages": [{"role": "user", "content": text}]}
            body |= {"max_tokens": max_tokens} if max_tokens else {}
            line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(orjson.dumps(line) + b"\n")
    return path


def complete(requests: Path, url: str, out: Path, **options: object) -> list[str]:
    """``selfinstruct complete`` of those requests; ``max_cost="1usd"`` becomes ``--max-cost 1usd``."""
    words = ["complete", str(requests), "--base-url", f"{url}/v1", "--out", str(out), "--quiet"]
    return words + [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def generate(url: str, out: Path, number: int, **options: object) -> list[str]:
    """``selfinstruct generate``; each draw's seed is sent, so that two draws never have the same body."""
    words = ["generate", "--api", "completion", "--base-url", f"{url}/v1", "--output-dir", str(out.parent)]
    words += ["--run", out.name, "-n", str(number), "--quiet", "--set", "model.send_seed=true"]
    words += ["--set", "rounds_per_shard=2", "--model", "served"]
    return words + [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


# --- what is on disk ------------------------------------------------------------------------------------------------


def written(folder: Path) -> Mapping[str, bytes]:
    """Everything a run has written but its ledger and its lock."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".sqlite3" not in path.name]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.name != ".lock"}


class Attempts(NamedTuple):
    """The attempts of one body: how many by state, and what all of them count for, in pico-units."""

    states: Mapping[str, int]
    cost: int

    @property
    def perhaps_executed(self) -> int:
        """How many a server may have worked on, by the ledger's account."""
        return sum(self.states.get(state, 0) for state in ("settled", "ambiguous", "unusable", "reserved"))


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Committed rows of a run's ledger; none where there is no ledger yet."""
    path = folder / "ledger.sqlite3"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        try:
            return db.execute(sql).fetchall()
        except sqlite3.OperationalError:  # killed before the tables were made
            return []


def attempts(folder: Path) -> dict[str, Attempts]:
    """What the ledger says of each body, by the sha256 of its bytes."""
    found: dict[str, Attempts] = {}
    for body, state, count, cost in rows(
        folder,
        "SELECT c.body, a.state, count(*), coalesce(sum(a.cost), 0) FROM attempts a JOIN calls c ON c.id = a.call"
        " GROUP BY c.body, a.state",
    ):
        before = found.get(digest(body), Attempts({}, 0))
        states = {**before.states, state: before.states.get(state, 0) + count}
        found[digest(body)] = Attempts(states, before.cost + cost)
    return found


def settled(folder: Path) -> list[str]:
    """The bodies that have an answer, by the sha256 of their bytes."""
    sql = "SELECT c.body FROM calls c JOIN answers a ON a.call = c.id WHERE a.state = 'settled'"
    return [digest(body) for (body,) in rows(folder, sql)]


def open_attempts(folder: Path) -> int:
    """How many attempts a process left behind that it neither saw the end of nor gave up."""
    counts = rows(folder, "SELECT count(*) FROM attempts WHERE state = 'reserved'")
    return int(counts[0][0]) if counts else 0


def digest(body: bytes) -> str:
    """How the server calls a body."""
    return hashlib.sha256(body).hexdigest()


def billed(server: FaultServer | FaultProcess, price: str = PRICE) -> int:
    """What the server's owner asks for all it has executed, in pico-units."""
    stats = server.stats()
    return parse_price(price).cost(stats["prompt_tokens"], stats["completion_tokens"])


def committed(folder: Path) -> int:
    """What the ledger counts for all attempts, in pico-units."""
    [(cost,)] = rows(folder, "SELECT coalesce(sum(cost), 0) FROM attempts")
    return int(cost)


# --- kill, go on, prove -----------------------------------------------------------------------------------------------


@dataclass
class Campaign:
    """One command over and over, against one server; ``folder`` is its run's, ``concurrency`` what it was given.

    ``at_rest`` holds, for each kill, the bodies that were settled then and how often each had been asked; ``left_open``
    how many attempts it left open.
    """

    server: FaultServer | FaultProcess
    words: Sequence[str]
    folder: Path
    concurrency: int
    at_rest: list[dict[str, int]] = field(default_factory=list)
    left_open: list[int] = field(default_factory=list)

    @property
    def most_open(self) -> int:
        """The most a kill may leave open: in flight, and the quarter of it that is reserved ahead."""
        return self.concurrency + max(1, self.concurrency // 4)

    def kill_when(self, ready: Callable[[], bool]) -> bool:
        """Start, SIGKILL as soon as ``ready``; False when the command ended before, done or at its cap."""
        process = spawn(*self.words)
        wait_until(ready, process)
        process.kill()
        return self._look(wait(process))

    def strike(self, failpoints: str) -> bool:
        """Start with failpoints that kill; False when none was reached."""
        return self._look(wait(spawn(*self.words, SELFINSTRUCT_FAILPOINTS=failpoints), 60))

    def asked(self) -> int:
        """How many requests the server has seen."""
        return int(self.server.stats()["requests"])

    def _look(self, ended: Ended) -> bool:
        if ended.code >= 0:
            assert ended.code in (0, 4), ended
            return False
        assert (ended.code, ended.err) == (-signal.SIGKILL, ""), ended
        billing = self.server.billing()
        self.at_rest.append({body: billing[body]["received"] for body in settled(self.folder)})
        self.left_open.append(open_attempts(self.folder))
        assert self.left_open[-1] <= self.most_open
        return True

    def prove(self, undisturbed: Sequence[str], folder: Path, price: str = PRICE) -> None:
        """Check all that must hold once the command has ended with 0; ``undisturbed`` is the same, into ``folder``.

        The server must have no faults left for these bodies: it strikes each one's first attempts only.
        """
        billing = self.server.billing()
        self._prove_nothing_was_asked_again(billing)
        self._prove_the_ledger_counts_what_was_billed(billing, parse_price(price).cost)
        assert open_attempts(self.folder) == 0
        prove_sound(self.folder)
        reference = invoke(*undisturbed)
        assert reference.code == 0, reference.err
        assert written(self.folder) == written(folder)

    def _prove_nothing_was_asked_again(self, billing: Mapping[str, Mapping[str, int]]) -> None:
        for known in self.at_rest:
            again = {body: billing[body]["received"] for body in known}
            assert again == known

    def _prove_the_ledger_counts_what_was_billed(
        self, billing: Mapping[str, Mapping[str, int]], cost: Callable[[int, int], int]
    ) -> None:
        ledger = attempts(self.folder)
        for body, account in billing.items():
            assert account["executed"] <= ledger[body].perhaps_executed, (account, ledger[body])
            assert cost(account["prompt_tokens"], account["completion_tokens"]) <= ledger[body].cost


def prove_sound(folder: Path) -> None:
    """``selfinstruct verify`` finds nothing."""
    if importlib.util.find_spec("selfinstruct.verifying") is None:
        return
    report = importlib.import_module("selfinstruct.verifying").check(folder)
    assert [str(finding) for finding in report.findings] == []


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str] | None = None, seconds: float = 60) -> None:
    """Until something is so, or the process has ended, or a minute is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not ready() and (process is None or process.poll() is None):
        time.sleep(0.002)
