"""What a fault server knows for certain: who was billed how often, who came too early, how many were at work."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import IO, Any

import orjson

from tests.faults.fault_plan import Limits

_MOST_KEPT = 100_000


@dataclass
class Account:
    """What happened to one body. ``received`` counts all that came, ``attempts`` those that no limit turned away."""

    received: int = 0
    attempts: int = 0
    executed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Billing:
    """An account a body, by its sha256 (hex); each execution is also a line of ``file``, where there is one."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self.accounts: dict[str, Account] = {}
        self.executed = 0
        self._file = file

    def account(self, body: str) -> Account:
        """The body's account, opened by its first arrival."""
        account = self.accounts.get(body)
        if account is None:
            account = self.accounts[body] = Account()
        return account

    def execute(self, body: str, prompt_tokens: int, completion_tokens: int) -> None:
        """The model worked on this body, and its owner pays for it."""
        account = self.account(body)
        account.executed += 1
        account.prompt_tokens += prompt_tokens
        account.completion_tokens += completion_tokens
        self.executed += 1
        if self._file is not None:
            line = {"body": body, "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
            self._file.write(orjson.dumps(line) + b"\n")
            self._file.flush()


class Bucket:
    """A token bucket: ``rate`` a minute flow in, at most ``burst`` are held, full at the start. No rate, no limit."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._held, self._then = rate / 60, burst, burst, 0.0

    def flow(self, now: float, factor: float) -> None:
        """Let in what has come since the last time."""
        self._held = min(self._burst, self._held + (now - self._then) * self._rate * factor)
        self._then = now

    def holds(self, count: float) -> bool:
        """Whether so many could be taken."""
        return not self._rate or self._held >= count

    def take(self, count: float) -> None:
        """Take them."""
        self._held -= count


class Gate:
    """The key's limits. Times are seconds since the first request."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests = Bucket(limits.rate, limits.burst)
        self._tokens = Bucket(limits.token_rate, limits.token_burst)
        self._passed = 0

    def verdict(self, now: float, tokens: int, prompt_tokens: int) -> str:
        """Empty, or why this request is turned away: revoked, quota, context, 429."""
        limits = self._limits
        if limits.revoked and self._passed >= limits.revoked:
            return "revoked"
        if limits.quota and self._passed >= limits.quota:
            return "quota"
        if limits.context and prompt_tokens > limits.context:
            return "context"
        if limits.rate or limits.token_rate:
            factor = next((factor for at, factor in reversed(limits.changes) if at <= now), 1.0)
            self._requests.flow(now, factor)
            self._tokens.flow(now, factor)
            if not (self._requests.holds(1) and self._tokens.holds(tokens)):
                return "429"
            self._requests.take(1)
            self._tokens.take(tokens)
        self._passed += 1
        return ""


class Fences:
    """Every 429 that named a time put up a fence; who comes inside one is written down.

    ``inside`` holds, for each such arrival, the milliseconds since the oldest fence still standing was put up: small
    ones were on the wire at the time.
    """

    def __init__(self) -> None:
        self.given = 0
        self.inside: list[float] = []
        self._standing: deque[tuple[float, float]] = deque()

    def put_up(self, now: float, seconds: float) -> None:
        """A 429 left that asks for this wait."""
        self.given += 1
        self._standing.append((now, now + seconds))

    def arrived(self, now: float) -> None:
        """A request came."""
        while self._standing and self._standing[0][1] <= now:
            self._standing.popleft()
        if self._standing and len(self.inside) < _MOST_KEPT:
            self.inside.append(round((now - self._standing[0][0]) * 1000, 3))


@dataclass
class Load:
    """How many requests the model works on, over time; the average is from the last `mark` on."""

    in_flight: int = 0
    highest: int = 0
    _since: float = 0
    _then: float = 0
    _area: float = 0

    def change(self, now: float, by: int) -> None:
        """One more, or one less."""
        self._area += self.in_flight * (now - self._then)
        self._then = now
        self.in_flight += by
        self.highest = max(self.highest, self.in_flight)

    def mark(self, now: float) -> None:
        """Measure from here on."""
        self._since = self._then = now
        self._area = 0
        self.highest = self.in_flight

    def average(self, now: float) -> float:
        """Requests in flight, weighted by time, since the mark."""
        self.change(now, 0)
        return self._area / (now - self._since) if now > self._since else float(self.in_flight)


@dataclass
class Truth:
    """All of it; `stats` is what ``GET /__stats`` says."""

    billing: Billing
    fences: Fences = field(default_factory=Fences)
    load: Load = field(default_factory=Load)
    requests: int = 0
    connections: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def stats(self, now: float) -> dict[str, Any]:
        """Counts so far, as JSON can hold them."""
        accounts = self.billing.accounts.values()
        return {
            "requests": self.requests,
            "distinct": len(accounts),
            "executed": self.billing.executed,
            "most_executed": max((account.executed for account in accounts), default=0),
            "prompt_tokens": sum(account.prompt_tokens for account in accounts),
            "completion_tokens": sum(account.completion_tokens for account in accounts),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "faults": dict(sorted(self.faults.items())),
            "in_flight": self.load.in_flight,
            "highest_in_flight": self.load.highest,
            "average_in_flight": self.load.average(now),
            "connections": self.connections,
            "fences": self.fences.given,
            "inside_fences_ms": self.fences.inside,
        }
