"""Servers with limits, and a caller that obeys `Pace` and `Window`, in virtual time."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from selfinstruct.admission.chance import Chance
from selfinstruct.admission.pace import Pace
from selfinstruct.admission.turns import SHORT_FENCE
from selfinstruct.admission.window import Window


@dataclass
class Server:
    """A token bucket of ``burst`` requests, filled at ``rate(now)`` a second; it may refuse at random or by load, too.

    ``refusal`` is the latency of a 429 (None: that of an answer), ``at_once`` the most it serves at a time.
    """

    rate: Callable[[float], float] = lambda now: 1e9
    burst: float = 1e9
    latency: float = 0.05
    refusal: float | None = None
    retry_after: float | None = 1.0
    at_once: float = math.inf
    refuses: float = 0.0  # this share, at random
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    _level: float = math.nan
    _now: float = 0.0

    def takes(self, now: float, busy: int) -> tuple[bool, float]:
        """Whether it takes a request while busy with so many others, and after how long that is known."""
        full = self.burst if math.isnan(self._level) else self._level + (now - self._now) * self.rate(now)
        self._level, self._now = min(self.burst, full), now
        if self._level < 1.0 - 1e-9 or busy >= self.at_once or self.rng.random() < self.refuses:
            return False, self.latency if self.refusal is None else self.refusal
        self._level -= 1.0
        return True, self.latency


@dataclass
class Outcome:
    """What a run came to: when attempts left, those that were served, and those that were refused."""

    wall: float = 0.0
    sent: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    inside_fence: int = 0
    in_flight: int = 0

    def rate(self, start: float, end: float) -> float:
        """Requests served a second, of those sent between two times."""
        return sum(start <= at < end for at in self.served) / (end - start)


@dataclass
class Caller:
    """Keeps ``requests`` in flight until all are served, or until a time; timers are up to ``late`` seconds late."""

    server: Server
    pace: Pace
    window: Window
    requests: int
    until: float = math.inf
    late: float = 0.0
    seed: int = 1
    chance: Chance = field(default_factory=Chance)

    def run(self) -> Outcome:
        """Everything that happened."""
        self._out, self._coming, self._fence, self._busy = Outcome(), list[tuple[float, int, float, bool]](), 0.0, 0
        self._rng, self._number, now = random.Random(self.seed), itertools.count(), 0.0
        while (self.requests or self._coming) and now < self.until:
            wake = self._send(now)
            now = max(now, min(wake, self._coming[0][0] if self._coming else math.inf))
            while self._coming and self._coming[0][0] <= now:
                self._receive(now)
        return self._out

    def _send(self, now: float) -> float:
        """Send what may leave now; returns when to look again."""
        while self.requests:
            if len(self._coming) >= self.window.allowed(now):
                change = self.window.next_change(now)
                return math.inf if change is None else now + change
            delay = self.pace.delay(now, 0.0)
            if delay > 0.0:
                return now + delay + self.late * self._rng.random()
            self.pace.take(now, 0.0)
            self._out.inside_fence += now < self._fence
            taken, after = self.server.takes(now, self._busy)
            self._busy += taken
            heapq.heappush(self._coming, (now + after, next(self._number), now, taken))
            self._out.sent.append(now)
            self.requests -= 1
        return math.inf

    def _receive(self, now: float) -> None:
        in_flight = len(self._coming)
        _, _, sent_at, taken = heapq.heappop(self._coming)
        if taken:
            self._busy -= 1
            self.chance.accepted(now)
            self.pace.accepted(now, sent_at)
            self.window.answered(now, sent_at, now - sent_at)
            self._out.served.append(sent_at)
            self._out.wall = now
            return
        self.requests += 1
        self._out.refused.append(sent_at)
        self._too_many(now, sent_at, in_flight)
        self._fence = max(self._fence, now + (self.server.retry_after or 0.0))

    def _too_many(self, now: float, sent_at: float, in_flight: int) -> None:
        """As `Turns` does it."""
        wish = self.server.retry_after
        if self.chance.refused(now, sent_at):
            self.pace.lifted = self.chance.at_random
            if self.pace.lifted:
                self.window.lift()
            else:
                self.window.restart(now)
        if self.pace.lifted:
            self.pace.fence(now, wish or SHORT_FENCE)
            return
        self.pace.rejected(now, sent_at, wish)
        self.chance.fenced(self.pace.fenced(now))
        self.window.rejected(now, sent_at, in_flight)


def limited(rate: float, burst: float, latency: float, refusal: float | None, retry_after: float | None) -> Server:
    """A server with a constant limit."""
    return Server(lambda now: rate, burst, latency, refusal, retry_after)
