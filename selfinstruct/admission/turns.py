"""Who may go next: the queue in which every attempt at a model waits, first for its reservation, then for its turn.

`reserve` lets a call be written down as reserved: a few ahead of those that fly, and never more than the caps can pay
for. `send` lets a reserved attempt leave: when there is room in flight, outside of every fence, at the pace of the
limits, and while the provider is there. `returned` says how it ended; limits, fences and pauses follow from that.

Models that a run asks side by side have a queue each, over one gate and one budget.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import insort
from collections import deque
from dataclasses import dataclass

from selfinstruct.admission.breaker import Breaker
from selfinstruct.admission.budget import Budget
from selfinstruct.admission.chance import Chance
from selfinstruct.admission.gate import Gate
from selfinstruct.admission.pace import Pace
from selfinstruct.admission.window import Window
from selfinstruct.errors import (
    CapReached,
    ConfigProblem,
    ModelError,
    Rejected,
    RequestRefused,
    SelfinstructError,
    Withdrawn,
)
from selfinstruct.money import UNBOUNDED, Bound
from selfinstruct.schema import Draw

GIVE_UP_LOOK = 1.0
"""Seconds after which to look again whether to give up on a provider that is away."""

SHORT_FENCE = 0.05
"""Seconds without a server's own wish, where refusals come by chance."""


@dataclass(eq=False)  # each is itself: a queue finds it without comparing what it holds
class Waiting:
    """A call that waits, and what it waits to be granted."""

    draw: Draw
    weight: int
    bound: Bound
    granted: asyncio.Future[float]


def _age(waiting: Waiting) -> tuple[int, int, int]:
    """By what calls that want to be reserved stand in line."""
    return waiting.draw.round, waiting.draw.slot, waiting.draw.step


class Turns:
    """The queue. ``limit`` is the most attempts in flight; up to a quarter of it is reserved ahead of them.

    After a crash at most the attempts in flight and those reserved ahead are ambiguous.
    """

    def __init__(self, gate: Gate, budget: Budget, window: Window, pace: Pace, breaker: Breaker, limit: int) -> None:
        self.in_flight = 0
        self.short = False  # a call could be reserved, were there money for it
        self._gate = gate
        self._budget = budget
        self._window = window
        self._pace = pace
        self._breaker = breaker
        self._chance = Chance()
        self._ahead = max(1, limit // 4)
        self._unsent = 0  # reserved, or being reserved, and not yet on the wire
        self._wanting: list[Waiting] = []  # the oldest round first, so that what was begun is finished first
        self._ready: deque[Waiting] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()  # asked once: asking is a system call
        gate.watchers.append(self._gate_changed)
        budget.queues.append(self)

    @property
    def provider_is_down(self) -> bool:
        """True while nothing but probes leaves."""
        return self._breaker.is_open

    async def reserve(self, draw: Draw, weight: int, bound: Bound) -> None:
        """Wait until this call may be reserved. ``weight`` is its estimated tokens, ``bound`` the most it may cost.

        Raises `Withdrawn` when the run no longer wants it, `CapReached` when a cap cannot pay for it any more,
        `ConfigProblem` for a call larger than ``--tpm``, `ModelError` when the provider stays away.
        """
        if self._pace.too_large(weight):
            raise ConfigProblem(
                f"call {draw} may need {weight} tokens, more than --tpm lets through in a minute;"
                " raise --tpm, or lower max_tokens"
            )
        await self._wait(self._wanting, Waiting(draw, weight, bound, self._loop.create_future()))

    async def send(self, draw: Draw, weight: int) -> float:
        """Wait until this reserved attempt may leave; returns when it did. Raises like `reserve`."""
        return await self._wait(self._ready, Waiting(draw, weight, UNBOUNDED, self._loop.create_future()))

    def halt(self, problem: SelfinstructError | None) -> None:
        """Let nothing more out, if there is a problem."""
        if problem is not None:
            self._gate.close(problem)

    def unsent(self) -> None:
        """A reserved attempt will not be sent after all."""
        self._unsent -= 1
        self._budget.freed(self)

    def returned(self, sent_at: float, weight: int, used: int, error: SelfinstructError | None) -> None:
        """An attempt came back: with an answer of ``used`` tokens (0: unknown), or with an error."""
        now = time.monotonic()
        self.in_flight -= 1
        if used:
            self._pace.refund(max(0, weight - used))
        if error is None or isinstance(error, RequestRefused):
            self._chance.accepted(now)
            self._pace.accepted(now, sent_at)
            self._window.answered(now, sent_at, now - sent_at)
            self._breaker_answered(now, sent_at)
        elif isinstance(error, Rejected) and error.too_many:
            self._too_many(now, sent_at, error.retry_after)
            self._breaker_answered(now, sent_at)  # whoever refuses for our pace is there
        elif isinstance(error, ModelError):  # not there, lost on the way, odd
            if error.retry_after:
                self._pace.fence(now, error.retry_after)
            self._window.troubled(now)
            self._breaker.failed(now, sent_at, str(error))
        elif isinstance(error, Withdrawn):
            if self._breaker.is_open:  # a probe that nobody waits for any more tells nothing, but must be followed
                self._breaker.failed(now, sent_at, str(error))
        else:
            self._gate.close(error)  # a wrong key, a wrong address: now, or each answer would let the next one out
        self._budget.freed(self)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _too_many(self, now: float, sent_at: float, retry_after: float | None) -> None:
        """A 429: a matter of pace and of how many are in flight, unless it comes by chance; a fence in any case."""
        if self._chance.refused(now, sent_at):
            self._pace.lifted = self._chance.at_random
            if self._pace.lifted:
                self._window.lift()
            else:
                self._window.restart(now)
        if self._chance.at_random:
            self._pace.fence(now, retry_after or SHORT_FENCE)
            return
        self._pace.rejected(now, sent_at, retry_after)
        self._chance.fenced(self._pace.fenced(now))
        self._window.rejected(now, sent_at, self.in_flight + 1)

    def _breaker_answered(self, now: float, sent_at: float) -> None:
        was_open = self._breaker.is_open
        self._breaker.answered(now, sent_at)
        if was_open and not self._breaker.is_open:
            self._window.restart(now)  # who just came back is not met by everything at once

    async def _wait(self, queue: deque[Waiting] | list[Waiting], waiting: Waiting) -> float:
        if not self._gate.lets(waiting.draw):
            raise Withdrawn(f"call {waiting.draw} is no longer needed")
        if (
            queue is self._wanting and not self._breaker.is_open
        ):  # then all take turns: a probe may cost a call its life
            insort(self._wanting, waiting, key=_age)
        else:
            queue.append(waiting)
        self.look()
        self.give_up()
        try:
            return await waiting.granted
        except asyncio.CancelledError:
            if not waiting.granted.cancelled():  # granted in this very turn of the loop, and nobody takes it up
                self._undo(queue, waiting)
            raise

    def _undo(self, queue: deque[Waiting] | list[Waiting], waiting: Waiting) -> None:
        """Take a grant back: all is as it was before, but for the pace, which has counted an attempt."""
        if waiting.granted.exception() is not None:
            return
        if queue is self._wanting:
            self._budget.release(waiting.bound)
            self.unsent()
        else:
            self._unsent += 1  # reserved still; who reserved it gives it back
            self.returned(waiting.granted.result(), waiting.weight, 0, Withdrawn("not waited for"))

    def _gate_changed(self) -> None:
        for queue in (self._ready, self._wanting):
            for item in [item for item in queue if not self._gate.lets(item.draw)]:
                queue.remove(item)
                _refuse(item, Withdrawn(f"call {item.draw} is no longer needed"))
        self.look()

    def look(self) -> None:
        """Grant what can be granted now; see to it that somebody looks again when time alone changes that."""
        if not self._wanting and not self._ready:
            return
        now = time.monotonic()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        gave_up = self._breaker.gave_up(now)
        if gave_up:
            self._send_all_away(gave_up)
            return
        later = self._let_out(now)
        self._let_reserve()
        if self._breaker.is_open:  # when to give up is for time to say, whatever else is waited for
            later = min(GIVE_UP_LOOK, GIVE_UP_LOOK if later is None else later)
        if later is not None:
            self._alarm = self._loop.call_later(max(later, 0.001), self.look)

    def _send_all_away(self, why: str) -> None:
        waiting = [*self._ready, *self._wanting]
        self._ready.clear()
        self._wanting.clear()
        for item in waiting:
            _refuse(item, ModelError(why))

    def _let_out(self, now: float) -> float | None:
        """Send reserved attempts; returns after how many seconds to look again, None if time alone changes nothing."""
        while self._ready:
            if self.in_flight >= self._window.allowed(now):
                return self._window.next_change(now)
            delay = self._breaker.delay(now)
            if delay is None:
                return None
            delay = max(delay, self._pace.delay(now, self._ready[0].weight))
            if delay > 0:
                return delay
            item = self._ready.popleft()
            if item.granted.done():
                continue
            if self._breaker.is_open:
                self._breaker.probe(now)
            self._pace.take(now, item.weight)
            self._unsent -= 1
            self.in_flight += 1
            item.granted.set_result(now)
        return None

    def _let_reserve(self) -> None:
        ahead = 1 if self._breaker.is_open else self._ahead
        self.short = False
        while self._wanting and self._unsent < ahead:
            item = self._first_that_fits()
            if item is None:
                self.short = True
                return
            if item.granted.done():
                continue
            self._budget.reserve(item.bound)
            self._unsent += 1
            item.granted.set_result(math.nan)

    def _first_that_fits(self) -> Waiting | None:
        """The first waiting call that the caps can pay for, taken out of the queue."""
        for item in self._wanting:
            if self._budget.fits(item.bound):
                self._wanting.remove(item)  # nearly always the first one
                return item
        return None

    def give_up(self) -> None:
        """Calls that come back free what they did not use; when none is out, anywhere, the cap is reached."""
        if not self.short or self._budget.reserved.calls:
            return
        for item, why in [(item, why) for item in self._wanting if (why := self._budget.exhausted(item.bound))]:
            self._wanting.remove(item)
            _refuse(item, CapReached(self._budget.never_fits(item.bound) or why))


def _refuse(item: Waiting, error: SelfinstructError) -> None:
    if not item.granted.done():
        item.granted.set_exception(error)
