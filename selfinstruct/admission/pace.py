"""How fast attempts may leave for one key: the limits we were told, the fence, and the limit a server lets us find."""

from __future__ import annotations

import math

from selfinstruct.admission.rate_finder import RateFinder

BURST = 0.1
"""Seconds' worth of a limit that may leave at once: late timers cost no pace, and a server's own bucket holds more."""

FIRST, RAMP, DOUBLING, RAMPED = 10.0, 100.0, 0.25, 4.0
"""Where no limit was told: requests at once, then so many a second, doubled in so many seconds, and no limit after so
many doublings. Slow enough that the first refusal tells how fast a server's bucket fills, not only its size."""

LONGEST_FENCE = 86_400.0
"""Seconds; a wish for more is a mistake (reliability row N1 lists the wishes seen)."""

BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
"""Seconds of fence where a server names none, doubled per burst until one is answered; the official client's start."""


class Pace:
    """When the next attempt may leave, under ``rpm`` requests and ``tpm`` tokens a minute (None: not told).

    Time is monotonic seconds. Before each attempt ask `delay`, then report `take`; when it ends, `accepted` or
    `rejected`, and `refund` what it did not use. A limit not told, or told too high, is found from the rejections.
    """

    def __init__(self, rpm: float | None, tpm: float | None) -> None:
        self._told = rpm / 60.0 if rpm else math.inf
        self._tpm = tpm or math.inf
        self._largest = 0.0  # tokens of one request
        self._requests, self._tokens = _Bucket(), _Bucket()
        self._found = RateFinder()
        self._fenced_until = self._cut_at = -math.inf
        self._bursts = 0  # since an attempt was answered
        self._began = math.inf  # when the first attempt left
        self.lifted = False
        """True while refusals are known not to be for our pace: then only fences and what was told hold."""

    def too_large(self, tokens: float) -> bool:
        """True when a request is larger than a minute's tokens: it could wait for ever."""
        return tokens > self._tpm

    def fence(self, now: float, seconds: float) -> None:
        """Let nothing leave for so long. A fence that ends later stays."""
        self._fenced_until = max(self._fenced_until, now + min(max(seconds, 0.0), LONGEST_FENCE))

    def fenced(self, now: float) -> float:
        """Seconds until the fence ends."""
        return max(0.0, self._fenced_until - now)

    def delay(self, now: float, tokens: float) -> float:
        """Seconds until an attempt of so many tokens may leave; 0 means now. Ask again then: a fence may have come."""
        if now < self._fenced_until:
            return self._fenced_until - now
        rate, per_second = self._refill(now, tokens)
        return max(self._requests.wait(1.0, rate), self._tokens.wait(min(tokens, self._tpm), per_second))

    def take(self, now: float, tokens: float) -> None:
        """An attempt leaves."""
        self._refill(now, tokens)
        self._requests.take(1.0)
        self._began = min(self._began, now)
        self._tokens.take(min(tokens, self._tpm))
        self._found.sent(now)

    def refund(self, tokens: float) -> None:
        """Give back tokens that were estimated and not used."""
        self._tokens.give(tokens)

    def accepted(self, now: float, sent_at: float) -> None:
        """An attempt was not refused for its pace."""
        if sent_at > self._cut_at:
            self._bursts = 0

    def rejected(self, now: float, sent_at: float, retry_after: float | None) -> None:
        """An attempt was refused (429); ``retry_after`` is the server's wish in seconds, where 0 is none.

        All refusals of attempts that were sent before the first of them was known are one burst.
        """
        if sent_at > self._cut_at:
            self._cut_at, self._bursts = now, self._bursts + 1
            own = min(LONGEST_BACKOFF, BACKOFF * 2.0 ** min(self._bursts - 1, 16))
            self.fence(now, retry_after or own)
        elif retry_after:
            self.fence(now, retry_after)
        self._found.rejected(now, sent_at, self.fenced(now))

    def _refill(self, now: float, tokens: float) -> tuple[float, float]:
        """Bring both buckets up to date; returns their rates a second."""
        found = math.inf if self.lifted else self._found.rate
        rate, per_second = min(self._told, found), self._tpm / 60.0
        burst = BURST * rate if found == math.inf else min(BURST * rate, self._found.spare)
        if rate == math.inf:
            rate = self._ramp(now)
            burst = max(FIRST, BURST * rate)
        self._requests.refill(now, rate, max(1.0, burst))
        self._largest = max(self._largest, min(tokens, self._tpm))
        self._tokens.refill(now, per_second, max(self._largest, BURST * per_second))
        return rate, per_second

    def _ramp(self, now: float) -> float:
        """The rate where nothing is known yet."""
        doublings = max(0.0, now - self._began) / DOUBLING
        return RAMP * 2.0**doublings if doublings < RAMPED else math.inf


class _Bucket:
    """Fills at a rate up to a capacity, and starts full, which is little."""

    def __init__(self) -> None:
        self._level = self._capacity = math.inf
        self._at = math.inf  # when it was last brought up to date

    def refill(self, now: float, rate: float, capacity: float) -> None:
        if now > self._at:
            self._level += (now - self._at) * rate
        self._at, self._capacity = now, capacity
        self._level = min(self._level, capacity)

    def wait(self, amount: float, rate: float) -> float:
        missing = amount - self._level
        return missing / rate if missing > 1e-6 * amount else 0.0  # a float's rounding must not cost a wake-up

    def take(self, amount: float) -> None:
        self._level = max(0.0, self._level - amount)

    def give(self, amount: float) -> None:
        self._level = min(self._level + max(0.0, amount), self._capacity)
