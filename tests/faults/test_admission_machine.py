"""Ledger, budget and admission together, through the real call path, against what the server knows.

Calls are asked for and end in whatever order, the disk may take its time, the process may die, and a run is started
again with more money. Time stands still between the steps; the server's bill is kept beside, at its worst.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from random import Random
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from selfinstruct import call_path, config
from selfinstruct.admission import turns
from selfinstruct.errors import (
    LimitReached,
    MaybeExecuted,
    ModelError,
    NotSent,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnusableResponse,
    Withdrawn,
)
from selfinstruct.ledger import Ledger
from selfinstruct.models import retrying
from selfinstruct.models.opening import Opened
from selfinstruct.schema import Completion, Draw, Request
from tests.models.scripted import ENDPOINT, answer, request

pytestmark = pytest.mark.faults

LIMIT = 4
AHEAD = max(1, LIMIT // 4)
PROMPT = 17  # the most tokens that the prompt of a `request` may be
INPUT, OUTPUT = 1_000_000, 3_000_000  # pico-usd a token
STEP = 50_000_000  # of a cap, in pico-usd: about one call


@dataclass
class Outcome:
    """What becomes of a call in flight; ``read`` and ``wrote`` are shares of what it may use."""

    which: int
    how: str
    read: float
    wrote: float

    def usage(self, tokens: int) -> tuple[int, int]:
        """Tokens read and written, at least one each."""
        return 1 + int(self.read * (PROMPT - 1)), 1 + int(self.wrote * (tokens - 1))


FAILURES: dict[str, ModelError] = {
    "too many": Rejected("slow down", status=429, retry_after=0.01),
    "not sent": NotSent("no route"),
    "lost": MaybeExecuted("lost"),
    "server error": MaybeExecuted("oops", status=500),
    "unusable": UnusableResponse("odd"),
    "refused": RequestRefused("too long", status=400),
}
FREE = ("too many", "not sent", "refused")
ANSWERS = ("told", "untold", "no prompt told")


@dataclass
class Held:
    """A call the server works on."""

    draw: Draw
    tokens: int  # the most it may write
    done: asyncio.Future[Completion]

    @property
    def bound(self) -> int:
        """The most it may be billed, in pico-usd."""
        return PROMPT * INPUT + self.tokens * OUTPUT


class Server:
    """Holds each call until it is told how it ends; over all starts of a run, with its own account."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.billed = self.answers = 0
        self.final: dict[Draw, str] = {}  # what the run was told for good
        self.asked_in_vain: list[Draw] = []

    async def complete(self, asked: Request) -> Completion:
        """Wait to be told."""
        if asked.draw in self.final:
            self.asked_in_vain.append(asked.draw)
        held = Held(asked.draw, tokens_of(asked.draw), asyncio.get_running_loop().create_future())
        self.held.append(held)
        return await held.done

    async def aclose(self) -> None:
        """Nothing to close."""

    def end(self, outcome: Outcome) -> None:
        """One call ends."""
        held = self.held.pop(outcome.which % len(self.held))
        used = outcome.usage(held.tokens)
        if outcome.how not in FREE:
            self.billed += used[0] * INPUT + used[1] * OUTPUT
        error = FAILURES.get(outcome.how)
        if error is not None:
            held.done.set_exception(type(error)(str(error), status=error.status, retry_after=error.retry_after))
            return
        told = {"told": used, "untold": (0, 0), "no prompt told": (0, used[1])}[outcome.how]
        self.answers += 1
        held.done.set_result(answer(f"answer {self.answers}", used=told))

    def swallow_all(self) -> None:
        """Nobody waits any longer; all of it is billed."""
        self.billed += sum(held.bound for held in self.held)
        self.held.clear()


class Disk:
    """Stands between a ledger and the thread that commits for it, and may take its time."""

    def __init__(self, ledger: Ledger) -> None:
        self._queue: SimpleQueue[Any] = ledger._groups
        self._kept: list[Any] = []
        self.slow = False
        ledger._groups = self  # type: ignore[assignment]

    def put(self, group: Any) -> None:
        """A group to be committed, or None at the end."""
        (self._kept.append if self.slow and group is not None else self._queue.put)(group)

    def get(self) -> Any:
        """The next one, for the thread."""
        return self._queue.get()

    def hurry(self) -> None:
        """Commit what was kept."""
        self.slow = False
        while self._kept:
            self._queue.put(self._kept.pop(0))


class Loop(asyncio.SelectorEventLoop):
    """An event loop in which time passes only when it is told to."""

    now = 1000.0

    def time(self) -> float:
        """Seconds."""
        return self.now


def tokens_of(draw: Draw) -> int:
    """The tokens a draw may write: not the same for all."""
    return 8 + draw.slot


draws = st.builds(Draw, stage=st.sampled_from("ab"), round=st.integers(0, 1), slot=st.integers(0, 4))
parts = st.floats(0, 1)
answers = st.lists(
    st.builds(Outcome, st.integers(0, 99), st.sampled_from(ANSWERS), parts, parts), min_size=1, max_size=LIMIT
)
failures = st.lists(
    st.builds(Outcome, st.integers(0, 99), st.sampled_from(list(FAILURES)), parts, parts), min_size=1, max_size=LIMIT
)
last: st.SearchStrategy[list[Outcome]] = st.one_of(st.just([]), answers, failures)
often = st.sampled_from([True, True, True, False])


class CallPathAndServer(RuleBasedStateMachine):
    """One run over all its starts."""

    def __init__(self) -> None:
        super().__init__()
        self.folders = TemporaryDirectory()
        self.crashes = 0
        self.steps = 0  # in which calls ended, since the run was last stopped
        self.loop = Loop()
        self.clock = mock.patch.object(turns, "time", SimpleNamespace(monotonic=self.loop.time))
        self.clock.start()
        # The jitter of retries decides who wakes up first: drawn anew each time, the same steps would end elsewhere.
        self.jitter = mock.patch.object(retrying, "random", SimpleNamespace(Random=lambda: Random(1)))
        self.jitter.start()
        self.server = Server()
        self.tasks: dict[Draw, asyncio.Task[None]] = {}

    @initialize(steps=st.integers(2, 20))
    def start(self, steps: int) -> None:
        """The first start, with its cap."""
        self.cap = steps * STEP
        self.open()

    def open(self) -> None:
        """A start of the run."""
        self.path.parent.mkdir(exist_ok=True)
        self.ledger = Ledger(self.path, sync=False)  # syncing is for power cuts, which are not played here
        self.disk = Disk(self.ledger)
        given = config.settings(
            {"price": "in=1,out=3", "max_cost": f"{self.cap / 10**12:.6f}usd", "give_up_after": "900000"}
        )
        opened = Opened(self.server, ENDPOINT, "completion", LIMIT)

        async def build() -> call_path.CallPath:
            return call_path.build(opened, self.ledger, given, lambda completion: None)

        self.calls = self.loop.run_until_complete(build())

    @property
    def path(self) -> Path:
        """The ledger of this start."""
        return Path(self.folders.name) / str(self.crashes) / "ledger.sqlite3"

    def teardown(self) -> None:
        """End in order, and let go of everything."""
        try:
            if hasattr(self, "calls"):
                self.serve_all()
                self.drain()
        finally:
            self.cancel_all()  # where the machine has failed
            self.clock.stop()
            self.jitter.stop()
            self.loop.close()
            self.folders.cleanup()

    # --- calls ------------------------------------------------------------------------------------------------------

    @rule(asked=st.lists(draws, min_size=1, max_size=8), flushed=often)
    def ask(self, asked: list[Draw], flushed: bool) -> None:
        """New draws, and old ones; never one that is being asked for, as no run does."""
        for draw in asked:
            if draw not in self.tasks:
                self.tasks[draw] = self.loop.create_task(self.complete(draw))
        self.turn(flushed)

    async def complete(self, draw: Draw) -> None:
        """One call, as a run makes it: what stops one closes the gate."""
        asked = request(draw.slot, round=draw.round, stage=draw.stage, tokens=tokens_of(draw))
        final = self.server.final
        try:
            said = (await self.calls.model.complete(asked)).text
        except RequestRefused as refusal:
            said = f"{refusal.verdict}: {refusal}"
        except (Withdrawn, NotSent, Rejected, MaybeExecuted):
            assert draw not in final, "an answered call is served even while the run is stopping"
            return
        except SelfinstructError as error:
            assert draw not in final, "an answered call costs nothing"
            self.calls.gate.close(error)
            return
        assert final.setdefault(draw, said) == said, "the same answer as the first time"

    @precondition(lambda self: self.server.held)
    @rule(outcomes=answers, flushed=often)
    def hear_answers(self, outcomes: list[Outcome], flushed: bool) -> None:
        """Calls in flight come home before anybody is told, with their usage or without."""
        self.end(outcomes)
        self.turn(flushed)

    @precondition(lambda self: self.server.held)
    @rule(outcomes=failures, flushed=often)
    def hear_failures(self, outcomes: list[Outcome], flushed: bool) -> None:
        """They do not come home, or with something else."""
        self.end(outcomes)
        self.turn(flushed)

    @precondition(lambda self: self.server.held)
    @rule(read=parts, wrote=parts, flushed=often)
    def answer_all(self, read: float, wrote: float, flushed: bool) -> None:
        """All is well, as it mostly is."""
        self.end([Outcome(0, "told", read, wrote)] * len(self.server.held))
        self.turn(flushed)

    def end(self, outcomes: list[Outcome]) -> None:
        """So many calls end, or all there are."""
        for outcome in outcomes[: len(self.server.held)]:
            self.server.end(outcome)
        self.steps += 1

    # --- what may happen to a run -----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 10.0, 60.0]))
    def wait(self, seconds: float) -> None:
        """Time passes: whoever slept wakes up, fences end, probes leave."""
        for _ in range(3):
            self.loop.now += seconds
            self.turn(True)

    @precondition(lambda self: self.waiting)
    @rule()
    def somebody_is_served(self) -> None:
        """Whatever happened before: fences, backoffs and an open breaker pass, and a cap that is reached says so."""
        waiting = len(self.tasks)
        for _ in range(60):
            self.loop.now += 30.0
            self.turn(True)
            if self.server.held or len(self.tasks) < waiting:
                return
        raise AssertionError("half an hour has passed, the gate is open, and nobody of those who wait was served")

    @precondition(lambda self: self.steps >= 3)
    @rule(how=st.sampled_from(["close", "crash", "crash", "more money"]), steps=st.integers(1, 10), last=last)
    def stop(self, how: str, steps: int, last: list[Outcome]) -> None:
        """One rule, and not before something has happened, so that not every other step is an end."""
        self.steps = 0
        if how == "close":
            self.close()
        elif how == "crash":
            self.crash(last)
        else:
            self.drain()
            self.cap += steps * STEP
            self.open()

    def close(self) -> None:
        """The gate lets nothing more out."""
        self.loop.call_soon(self.calls.gate.close, LimitReached("enough"))
        self.turn(True)
        waiting = self.tasks.keys() - {held.draw for held in self.server.held}
        assert waiting == set(), "whoever waits is sent away"

    def crash(self, last: list[Outcome]) -> None:
        """The process is gone: only the bytes on disk are left, here as a copy, and not what came ``last``."""
        self.end(last)
        self.turn(False)
        before, ledger = self.path, self.ledger
        self.crashes += 1
        self.path.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{before}{suffix}", f"{self.path}{suffix}")
        self.server.swallow_all()
        self.disk.hurry()
        self.cancel_all()
        ledger.close()
        assert self.server.held == [], "a call that nobody waits for is not sent"
        self.open()
        recorded = {call.draw for call in self.ledger.rows.calls() if call.state != "open"}
        assert self.server.final.keys() <= recorded, "what the run was told is on disk"
        assert self.ledger.rows.attempts("reserved") == 0

    @property
    def waiting(self) -> bool:
        """Whether there are calls that nothing but time holds back."""
        return bool(self.tasks) and not self.server.held and not self.calls.gate.closed

    def serve_all(self) -> None:
        """From here on all is well: every call ends."""
        for _ in range(200):
            if not self.tasks:
                break
            self.end([Outcome(0, "told", 0.5, 0.5)] * len(self.server.held))
            self.turn(True)
            if self.waiting:
                self.somebody_is_served()
        assert self.tasks == {} or self.calls.gate.closed

    def drain(self) -> None:
        """The gate is closed, what is in flight comes home, and nothing is left over."""
        self.close()
        while self.server.held:
            self.server.end(Outcome(0, "told", 1.0, 0.5))
        self.turn(True)
        assert self.tasks == {}
        assert self.calls.budget.reserved == (0, 0, 0)
        self.the_accounts_agree()
        self.loop.run_until_complete(self.calls.model.aclose())
        self.ledger.close()

    # --- always -----------------------------------------------------------------------------------------------------

    @invariant()
    def no_more_than_the_limit_is_in_flight(self) -> None:
        """Nor is more reserved on disk than that and a few ahead."""
        if hasattr(self, "calls"):
            assert self.calls.turns.in_flight == len(self.server.held) <= LIMIT
            assert len(self.server.held) <= self.ledger.rows.attempts("reserved") <= LIMIT + AHEAD

    @invariant()
    def the_accounts_agree(self) -> None:
        """The cap holds in memory and on disk; the disk counts at least what the server may have billed so far."""
        if not hasattr(self, "calls"):
            return
        recorded = call_path.spent_so_far(self.ledger.rows.spending())
        assert self.calls.budget.committed.cost <= self.cap
        assert recorded.cost <= self.cap
        assert self.server.billed + sum(held.bound for held in self.server.held) <= recorded.cost
        if not self.disk.slow:
            assert self.calls.budget.committed == recorded

    @invariant()
    def no_answered_call_is_sent_again(self) -> None:
        """It is served from the ledger."""
        assert self.server.asked_in_vain == []

    # --- inside -----------------------------------------------------------------------------------------------------

    def cancel_all(self) -> None:
        """Nobody waits for anything any longer."""

        async def cancelled() -> None:
            for task in self.tasks.values():
                task.cancel()
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)

        self.loop.run_until_complete(cancelled())
        self.tasks.clear()

    def turn(self, flushed: bool) -> None:
        """Let the loop turn until nothing happens any more; while the disk is slow, nothing becomes durable."""
        if flushed:
            self.disk.hurry()
        self.disk.slow = not flushed
        quiet = 0
        while quiet < 12:
            self.loop.run_until_complete(asyncio.sleep(0))
            busy = flushed and self.ledger._committing
            quiet = 0 if busy else quiet + 1
            if busy:
                time.sleep(0.0001)
        for draw in [draw for draw, task in self.tasks.items() if task.done()]:
            self.tasks.pop(draw).result()


TestCallPathAndServer = CallPathAndServer.TestCase
TestCallPathAndServer.settings = settings(max_examples=60, stateful_step_count=30)
