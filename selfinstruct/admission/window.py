"""How many attempts may be in flight: a slow start, cuts when the server refuses or queues, growth when it does not."""

from __future__ import annotations

import math
from collections import deque

FIRST, DOUBLING, STEP = 10, 0.2, 0.01
"""The first attempts, the seconds in which they double (256 after about one, whatever the latency is), and those after
which it is worth to look again. An unknown limit meets a small burst first; connections are not all opened at once."""

CUT, ANSWERS_PER_SLOT = 0.75, 25
"""A burst of refusals cuts to three quarters of what was in flight, as the best existing clients do; so many answers
then add one, which is four per cent a round trip at any size."""

FULL, LATELY, NOT_THE_PACE = 0.8, 10.0, 3
"""A window less full than 0.8 did not cause the refusals: the pace did, and gives way. Unless it is the third burst
within ten seconds of another: then the pace has had its chance, and the server seems to count what is in flight."""

HELD, IN_VAIN = 0.9, 3
"""Refused again at less than 0.9 of what was in flight before, a cut was in vain; after three the window is not it."""

CALM, TROUBLED, OF = 1.0, 10, 20
"""Seconds without growth where so many of the latest so many attempts ended in a server error, which is no reason to
cut (reliability row N7). A few among many answers are none to wait, either: they would hold a slow start for ever."""

BLOCK, BLOCKS = 20, 5
"""Answers that make a baseline, and blocks of them that make a verdict."""

QUEUED, SLOW, SCATTER = math.log(4.0), math.log(1.0), 3.5
"""A server queues when the logarithm of its latency exceeds the baseline by that of 4, and by 3.5 standard deviations
(the quickest 20 of 1000 are 2.4 below the mean), and a second in all: a busy processor on loopback is no queue."""

SQUEEZE, FLOOR = 0.9, 8
"""A verdict's cut; never below an eighth of the limit, for latency alone harms no one."""

AGEING = math.log(2.0) / 86_400.0
"""The baseline doubles in a day: one lucky night is not the truth for ever."""


class Window:
    """How many attempts may be in flight, ``limit`` at most. Time is monotonic seconds.

    A server of our ``own`` is given all at once, always: it batches what it has, and its latency grows with that.
    """

    def __init__(self, limit: int, *, own: bool = False) -> None:
        self._own = own
        self._limit = float(limit)
        self._size = self._limit if own else min(self._limit, FIRST)
        self._ramping = not own
        self._ramped = math.inf  # until when the ramp is reckoned; inf before the first attempt
        self._calm_from = self._cut_at = -math.inf
        self._trouble: deque[bool] = deque(maxlen=OF)
        self._answers = self._bursts = 0
        self._vain, self._blamed, self._before = 0, 0, self._size
        self._queue = _Queue()

    def allowed(self, now: float) -> int:
        """How many may be in flight; the first call begins the slow start."""
        if self._ramping:
            since = max(self._ramped, self._calm_from)
            if now > since:
                self._size *= 2.0 ** min((now - since) / DOUBLING, 64.0)
            self._ramped = now
            if self._size >= self._limit:
                self._size, self._ramping = self._limit, False
        return max(1, int(self._size + 1e-9))  # ten doubled is twenty, not 19.999

    def next_change(self, now: float) -> float | None:
        """Seconds until more may be in flight by time alone; None when time changes nothing."""
        allowed = self.allowed(now)
        if not self._ramping:
            return None
        return max(0.0, self._calm_from - now) + max(STEP, DOUBLING * math.log2((allowed + 1) / self._size))

    def restart(self, now: float) -> None:
        """Begin the slow start again, after an outage."""
        if self._own:
            return
        self._size, self._ramping, self._ramped = min(self._limit, FIRST), True, now

    def lift(self) -> None:
        """Open fully: what was refused was not for how many are in flight."""
        self._size, self._ramping, self._vain, self._blamed = self._limit, False, 0, 0

    def answered(self, now: float, sent_at: float, seconds: float) -> None:
        """An attempt was answered after ``seconds``."""
        if self._own:
            return
        self._trouble.append(False)
        allowed = self.allowed(now)
        size = self._queue.size_for(now, sent_at, seconds, self._size)
        if size is not None and (size > allowed or self._size > self._limit / FLOOR):
            self._size, self._ramping, self._answers = max(1.0, size, min(self._size, self._limit / FLOOR)), False, 0
        if self._ramping or self._queue.waits or sent_at <= self._cut_at or now < self._calm_from:
            return
        self._answers += 1
        if self._answers >= ANSWERS_PER_SLOT:
            self._size, self._answers = min(self._limit, self._size + 1.0), 0

    def troubled(self, now: float) -> None:
        """A server error (5xx): no cut, but no growth for a moment where it is one of many."""
        self._trouble.append(True)
        if sum(self._trouble) >= min(TROUBLED, self._limit):
            self.allowed(now)
            self._calm_from, self._answers = now + CALM, 0

    def rejected(self, now: float, sent_at: float, in_flight: int) -> None:
        """An attempt was refused (429); ``in_flight`` counts it. One cut for all that left before the first was known.

        The first burst of a slow start does not end it: far more often than not it was the pace.
        """
        if sent_at <= self._cut_at:
            return
        self._bursts = self._bursts + 1 if now - self._cut_at < LATELY else 1
        full = in_flight >= FULL * self.allowed(now)
        self._cut_at, self._answers = now, 0
        if not full and self._bursts < NOT_THE_PACE:
            return
        self._vain = self._vain + 1 if in_flight < HELD * self._blamed else 0
        self._blamed = in_flight
        if self._vain == 0:
            self._before = self._size
        if self._vain >= IN_VAIN:
            self._size, self._vain, self._blamed = self._before, 0, 0
        else:
            self._size, self._ramping = max(1.0, CUT * in_flight), self._ramping and self._bursts == 1


class _Queue:
    """Tells a server that queues from one that is slow, by logarithms, as latencies are log-normal."""

    def __init__(self) -> None:
        self._baseline, self._aged = math.inf, 0.0
        self._block: list[float] = []
        self._latest: list[float] = []
        self._since = -math.inf  # when the window was last squeezed
        self._began: tuple[float, float] | None = None  # the window and the latency when squeezing began

    @property
    def waits(self) -> bool:
        """True from the first squeeze until latencies are as they were."""
        return self._began is not None

    def size_for(self, now: float, sent_at: float, seconds: float, size: float) -> float | None:
        """The size the window should have after this answer; None for no change."""
        if sent_at < self._since:
            return None
        self._block.append(math.log(max(seconds, 1e-6)))
        if len(self._block) < BLOCK:
            return None
        self._latest += self._block
        self._baseline = min(self._baseline + AGEING * max(0.0, now - self._aged), sum(self._block) / BLOCK)
        self._aged, self._block = now, []
        if len(self._latest) < BLOCK * BLOCKS:
            return None
        mean = sum(self._latest) / len(self._latest)
        scatter = math.sqrt(sum((value - mean) ** 2 for value in self._latest) / len(self._latest))
        self._latest = []
        if mean <= SLOW or mean - self._baseline <= max(QUEUED, SCATTER * scatter):
            self._began = None
            return None
        return self._squeezed(now, mean, size)

    def _squeezed(self, now: float, mean: float, size: float) -> float:
        """A smaller window; or the old one, if half of it waits about as long, for then the queue is not ours."""
        self._since = now
        size_before, slowest = self._began or (size, mean)
        slowest = max(slowest, mean)  # the first verdict may come while the queue still grows
        if size <= size_before / 2.0:
            if mean > slowest - math.log(2.0) / 2.0:
                self._baseline, self._began = mean, None
                return size_before
            size_before, slowest = size, mean
        self._began = size_before, slowest
        return size * SQUEEZE
