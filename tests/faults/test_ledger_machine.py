"""Ledger and budget against a plain model of both: whatever happens in whatever order, and wherever it is cut off.

Calls are reserved, answered, lost and refused as `Admitted` and `Recorded` do it. What has been written waits until it
is flushed; a crash in between loses it, and a disk that fails loses the group or all knowledge of it. The server's bill
is kept beside, in money that only the server knows.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from selfinstruct.admission.budget import Budget, Caps, Totals
from selfinstruct.call_path import spent_so_far
from selfinstruct.errors import OutputFailed, Verdict
from selfinstruct.failpoints import VARIABLE
from selfinstruct.ledger import Ending, Ledger
from selfinstruct.money import Amount, Bound, Price, TokenBound
from selfinstruct.schema import Draw

pytestmark = pytest.mark.faults

PRICE = Price(input=3, output=7, currency="usd", source="--price", date="")
FREE = ("failed",)  # a refused call costs nothing, and is a call
COUNTED = ("attempts", "prompt tokens", "completion tokens", "cost")


@dataclass
class Attempt:
    """An attempt as it should be in the ledger; ``bill`` is what the server takes for it."""

    call: str
    stage: str
    state: str
    bound: Bound
    tokens: tuple[int, int]
    bill: int = 0

    @property
    def cost(self) -> int:
        """In pico-usd."""
        return PRICE.cost(*self.tokens)


@dataclass
class Truth:
    """What must be on disk: every attempt, and the end of every call that has one, as (state, answer)."""

    attempts: list[Attempt] = field(default_factory=list)
    ends: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def spent(self) -> Totals:
        """What counts against the caps."""
        counted = [attempt for attempt in self.attempts if attempt.state not in FREE]
        return Totals(len(counted), sum(sum(a.tokens) for a in counted), sum(a.cost for a in counted))


@dataclass
class Outcome:
    """What becomes of an attempt: how it ends, and its usage as shares of its bound. Only the server knows it all."""

    which: int
    how: str
    read: float
    wrote: float

    def usage(self, bound: Bound) -> tuple[int, int]:
        """Tokens read (at least one) and written."""
        prompt, completion = tokens_of(bound)
        return 1 + int(self.read * (prompt - 1)), int(self.wrote * completion)


def tokens_of(bound: Bound) -> TokenBound:
    """The tokens of a bound that has some."""
    assert bound.tokens is not None
    return bound.tokens


HOW = ("told", "told", "untold", "failed", "ambiguous", "unusable", "refused")
parts = st.floats(0, 1)
draws = st.builds(Draw, stage=st.sampled_from("ab"), round=st.integers(0, 1), slot=st.integers(0, 3))
bounds = st.builds(Bound, st.builds(TokenBound, st.integers(1, 40), st.integers(0, 40)), st.just(PRICE))
asked = st.lists(st.tuples(draws, st.sampled_from(["cold", "warm"]), bounds), min_size=1, max_size=5)
outcomes = st.lists(st.builds(Outcome, st.integers(0, 99), st.sampled_from(HOW), parts, parts), min_size=1)
often = st.sampled_from([True, True, True, False])


class LedgerAndBudget(RuleBasedStateMachine):
    """One run over all its starts."""

    def __init__(self) -> None:
        super().__init__()
        self.folders = TemporaryDirectory()
        self.crashes = 0
        self.loop = asyncio.new_event_loop()
        self.truth = Truth()
        self.draws: dict[str, Draw] = {}
        self.sent: dict[str, Attempt] = {}  # reserved on disk, no answer yet
        self.written: list[tuple[asyncio.Future[None], str, Callable[[], None]]] = []  # not yet on disk
        self.ledger = self.opened()

    @initialize(
        cost=st.integers(300, 3000), calls=st.none() | st.integers(5, 30), tokens=st.none() | st.integers(80, 900)
    )
    def start(self, cost: int, calls: int | None, tokens: int | None) -> None:
        """The first start, with its caps."""
        self.caps = Caps(Amount("usd", cost), calls, tokens)
        self.budget = Budget(self.caps, spent_so_far(self.ledger.rows.spending()))

    @property
    def path(self) -> Path:
        """The ledger of this start."""
        return Path(self.folders.name) / str(self.crashes) / "ledger.sqlite3"

    def opened(self) -> Ledger:
        """The ledger. Syncing is for power cuts, which are not played here."""
        self.path.parent.mkdir(exist_ok=True)
        return Ledger(self.path, sync=False)

    def teardown(self) -> None:
        """Let go of everything."""
        self.ledger.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
        self.folders.cleanup()

    # --- calls ------------------------------------------------------------------------------------------------------

    @rule(asked=asked, flushed=often)
    def ask(self, asked: list[tuple[Draw, str, Bound]], flushed: bool) -> None:
        """`Recorded` looks each call up; if it has no answer, `Admitted` reserves it, where it fits."""
        for draw, temperature, bound in asked:
            call = hashlib.sha256(f"{draw} {temperature}".encode()).hexdigest()
            if call in self.sent or call in self.busy:
                continue
            self.draws[call] = draw
            found = self.ledger.find(draw, call)
            end = self.truth.ends.get(call)
            assert (found and (found.state, found.answer)) == end, "an answered call is found, any other is not"
            if not found and self.budget.fits(bound):
                self.reserve(call, draw, bound)
        self.flush_if(flushed)

    def reserve(self, call: str, draw: Draw, bound: Bound) -> None:
        """Once that is durable, the call is sent."""
        self.budget.reserve(bound)
        attempt = Attempt(call, draw.stage, "reserved", bound, tokens_of(bound))

        def durable() -> None:
            self.truth.attempts.append(attempt)
            self.sent[call] = attempt

        self.write(call, durable, lambda: self.ledger.reserve(call, draw, "/v1/completions", b"{}", bound))

    @precondition(lambda self: self.in_flight)
    @rule(read=parts, wrote=parts)
    def answer_all(self, read: float, wrote: float) -> None:
        """All is well, as it mostly is."""
        self.hear([Outcome(0, "told", read, wrote) for _ in self.in_flight], True)

    @precondition(lambda self: self.in_flight)
    @rule(outcomes=outcomes, flushed=often)
    def hear(self, outcomes: list[Outcome], flushed: bool) -> None:
        """Calls in flight come home, or do not."""
        for outcome in outcomes:
            waiting = self.in_flight
            if waiting:
                call = waiting[outcome.which % len(waiting)]
                attempt = self.sent.pop(call)
                {"told": self.settle, "untold": self.settle, "refused": self.refuse}.get(outcome.how, self.fail)(
                    call, attempt, outcome
                )
        self.flush_if(flushed)

    def settle(self, call: str, attempt: Attempt, outcome: Outcome) -> None:
        """An answer; the server bills its usage, or, where it tells none, what it likes up to the bound."""
        bound = attempt.bound
        usage, answer = outcome.usage(bound), f"{outcome}".encode()
        told = usage if outcome.how == "told" else (0, 0)
        attempt.bill = PRICE.cost(*usage)
        assert self.budget.settle(bound, *told) is None

        def durable() -> None:
            attempt.state, attempt.tokens = "settled", usage if any(told) else tokens_of(bound)
            self.truth.ends[call] = ("settled", answer)

        self.write(call, durable, lambda: self.ledger.settle(call, answer, *told))

    def fail(self, call: str, attempt: Attempt, outcome: Outcome) -> None:
        """No answer; the server may have billed it, unless it surely did not execute it."""
        ending = cast(Ending, outcome.how)
        free = ending == "failed"
        attempt.bill = 0 if free else PRICE.cost(*outcome.usage(attempt.bound))
        (self.budget.release if free else self.budget.lose)(attempt.bound)

        def durable() -> None:
            attempt.state, attempt.tokens = ending, (0, 0) if free else attempt.tokens

        self.write(call, durable, lambda: self.ledger.fail(call, "Why", ending))

    def refuse(self, call: str, attempt: Attempt, _: Outcome) -> None:
        """The server's verdict; the attempt ends with it."""
        self.budget.refuse(attempt.bound)

        def durable() -> None:
            attempt.state, attempt.tokens = "refused", (0, 0)
            self.truth.ends[call] = ("refused", b"no")

        self.write(call, durable, lambda: self.ledger.refuse(call, "no", 400))

    @precondition(lambda self: self.idle)
    @rule(which=st.integers(0, 99), verdict=st.sampled_from(["unusable", "skipped"]))
    def give_up(self, which: int, verdict: Verdict) -> None:
        """A verdict between attempts: the last unusable answer, or a person."""
        call = self.idle[which % len(self.idle)]
        assert self.ledger.find(self.draws[call], call) is None

        def durable() -> None:
            self.truth.ends[call] = (verdict, b"given up")

        self.write(call, durable, lambda: self.ledger.refuse(call, "given up", None, verdict))
        self.flush()

    # --- what may happen to a run -----------------------------------------------------------------------------------

    def flush_if(self, now: bool) -> None:
        """The disk takes its time, or not."""
        if now and self.written:
            self.flush()

    @precondition(lambda self: self.written)
    @rule()
    def flush(self) -> None:
        """The disk takes what was written, and everybody is told."""
        self.loop.run_until_complete(asyncio.gather(*(future for future, _, _ in self.written)))
        self.all_is_durable()

    @precondition(lambda self: self.in_flight or self.written)
    @rule(how=st.sampled_from(["crash", "begin", "commit", "committed", "more money"]), more=st.integers(1, 2000))
    def stop(self, how: str, more: int) -> None:
        """One rule, so that not every other step is an end."""
        if how == "crash":
            self.crash()
        elif how == "more money":
            self.raise_the_cap(more)
        elif self.written:
            self.fill_the_disk(how)

    def fill_the_disk(self, point: str) -> None:
        """Everybody who waits is told of a failure, so the run ends; what had been flushed by then is there."""
        waiting = asyncio.gather(*(future for future, _, _ in self.written), return_exceptions=True)
        with mock.patch.dict(os.environ, {VARIABLE: f"ledger.{point}=ENOSPC"}):
            outcomes = self.loop.run_until_complete(waiting)
        assert {type(outcome) for outcome in outcomes} == {OutputFailed}
        if point == "committed":
            self.all_is_durable()
        self.ledger.close()
        self.start_again()

    def raise_the_cap(self, more: int) -> None:
        """The run ends in order, writing what waits, and is started again with more money."""
        self.ledger.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.all_is_durable()
        assert self.caps.cost is not None
        self.caps = Caps(Amount("usd", self.caps.cost.pico + more), self.caps.calls, self.caps.tokens)
        self.start_again()

    def crash(self) -> None:
        """The process is gone: only the bytes on disk are left, here as a copy of them."""
        before, old = self.path, self.ledger
        self.crashes += 1
        self.path.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{before}{suffix}", f"{self.path}{suffix}")
        self.start_again()
        old.close()
        self.loop.run_until_complete(asyncio.sleep(0))

    # --- always -----------------------------------------------------------------------------------------------------

    @invariant()
    def every_call_is_in_exactly_one_state(self) -> None:
        """Open, or with one answer or verdict; and each attempt counts what it should."""
        rows = self.ledger.rows
        found = {call.key: (call.state, call.answer) for call in rows.calls()}
        asked = [attempt.call for attempt in self.truth.attempts]
        assert found == {call: self.truth.ends.get(call, ("open", b"")) for call in asked}
        assert sum(1 for _ in rows.calls()) == len(found)
        recorded: Counter[tuple[str, str, str]] = Counter()
        for row in rows.spending():
            counts = (row.attempts, row.prompt_tokens, row.completion_tokens, row.cost or 0)
            recorded += Counter({(row.stage, row.state, what): n for what, n in zip(COUNTED, counts, strict=True)})
        expected: Counter[tuple[str, str, str]] = Counter()
        for attempt in self.truth.attempts:
            counts = (1, *attempt.tokens, attempt.cost)
            place = attempt.stage, attempt.state
            expected += Counter({(*place, what): n for what, n in zip(COUNTED, counts, strict=True)})
        assert recorded == expected

    @invariant()
    def the_cap_holds(self) -> None:
        """In memory and on disk, and over the server's own bill."""
        recorded, cap = spent_so_far(self.ledger.rows.spending()), self.caps
        for totals in (self.budget.committed, recorded):
            assert cap.cost is not None
            assert totals.cost <= cap.cost.pico
            assert cap.calls is None or totals.calls <= cap.calls
            assert cap.tokens is None or totals.tokens <= cap.tokens
        assert sum(attempt.bill for attempt in self.truth.attempts) <= recorded.cost
        assert recorded == self.truth.spent()
        if not self.written:
            assert self.budget.committed == recorded

    # --- inside -----------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> set[str]:
        """Calls about which something waits to be flushed; nobody asks anything of them until it is."""
        return {call for _, call, _ in self.written}

    @property
    def in_flight(self) -> list[str]:
        """Calls that were sent and have not ended."""
        return sorted(self.sent)

    @property
    def idle(self) -> list[str]:
        """Calls that were tried and have neither an answer nor an attempt under way."""
        asked = {attempt.call for attempt in self.truth.attempts}
        return sorted(asked - self.truth.ends.keys() - self.sent.keys() - self.busy)

    def write(self, call: str, durable: Callable[[], None], write: Callable[[], asyncio.Future[None]]) -> None:
        """Write to the ledger; ``durable`` tells the truth once it has been flushed."""

        asyncio._set_running_loop(self.loop)  # it does not run, so it has no time to flush
        try:
            self.written.append((write(), call, durable))
        finally:
            asyncio._set_running_loop(None)

    def all_is_durable(self) -> None:
        """What was written is on disk."""
        for _, _, durable in self.written:
            durable()
        self.written.clear()

    def start_again(self) -> None:
        """The next start: what was under way may have been executed, and counts at its bound."""
        self.written.clear()
        self.sent.clear()
        before = self.truth.spent()
        for attempt in self.truth.attempts:
            attempt.state = "ambiguous" if attempt.state == "reserved" else attempt.state
        self.ledger = self.opened()
        assert spent_so_far(self.ledger.rows.spending()) == before, (
            "nothing that was committed is forgotten, or counted again"
        )
        self.budget = Budget(self.caps, spent_so_far(self.ledger.rows.spending()))


TestLedgerAndBudget = LedgerAndBudget.TestCase
TestLedgerAndBudget.settings = settings(max_examples=100, stateful_step_count=40)
