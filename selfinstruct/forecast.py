"""What calls come to before they are made: the nouns of a plan, how one call is reckoned, how far caps reach."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from selfinstruct import call_path, money, wire
from selfinstruct.admission.budget import Budget, Caps, Totals
from selfinstruct.batch import DEFAULT_MAX_TOKENS
from selfinstruct.config import Settings
from selfinstruct.errors import BadData
from selfinstruct.ledger_reader import Spending
from selfinstruct.money import Bound, Price, TokenBound

SECONDS_TO_BEGIN, TOKENS_A_SECOND = 0.5, 50
"""How fast a model answers where only the concurrency is told: rules of thumb for hosted chat models."""

_ROW_BYTES = 450  # of an answered call in the ledger beside body and text: key, digest, indexes, JSON around it
BYTES_A_TOKEN = 4
_COPIES = 2  # an answer stands in the ledger, and once more in the results


class Use(NamedTuple):
    """What a number of calls come to: ``cost`` in pico-units, ``disk`` in bytes."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int = 0
    disk: int = 0

    def plus(self, other: Use) -> Use:
        """Both together."""
        return Use(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
            self.disk + other.disk,
        )

    def scaled(self, calls: int) -> Use:
        """So many calls of the same kind."""
        return Use(*(-(-value * calls // self.calls) for value in self)) if self.calls else Use()


class Estimate(NamedTuple):
    """The same calls, reckoned three times."""

    low: Use = Use()
    likely: Use = Use()
    high: Use = Use()

    def plus(self, other: Estimate) -> Estimate:
        """Both together."""
        return Estimate(self.low.plus(other.low), self.likely.plus(other.likely), self.high.plus(other.high))


@dataclass
class Forecast:
    """What is still to do. ``wanted`` counts what the user asked for and does not have yet, in ``unit``.

    ``used`` is what the run's ledger counts already, ``recorded`` its answered calls by stage. ``reach`` is how many
    of the wanted the caps allow at the low, the likely and the high reckoning; None without caps. ``unpriced`` calls
    are of models without a known price, and missing from the costs. ``queues`` are groups of stages whose calls go to
    so many backends side by side, each with limits of its own; without them all calls stand in one queue.
    """

    unit: str
    wanted: int
    stages: dict[str, Estimate]
    prices: dict[str, Price | None]
    caps: Caps
    settings: Settings
    used: Totals = field(default_factory=Totals)
    recorded: dict[str, int] = field(default_factory=dict)
    reach: tuple[int, int, int] | None = None
    unpriced: int = 0
    queues: Sequence[tuple[Collection[str], float]] = ()
    assumptions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count_recorded(self, spending: Sequence[Spending]) -> None:
        """Take in what a run's ledger holds already."""
        for row in spending:
            if row.state in ("settled", "refused"):
                self.recorded[row.stage] = self.recorded.get(row.stage, 0) + row.attempts
        self.used = call_path.spent_so_far(spending)

    @property
    def total(self) -> Estimate:
        """All stages together."""
        total = Estimate()
        for estimate in self.stages.values():
            total = total.plus(estimate)
        return total

    @property
    def currency(self) -> str:
        """The currency of all costs."""
        return next((price.currency for price in self.prices.values() if price), "usd")

    @property
    def seconds(self) -> tuple[float, ...] | None:
        """How long it takes at the limits the user has told; None where none is told."""
        settings = self.settings
        if not (settings.rpm or settings.tpm or settings.concurrency):
            return None
        slowest = [0.0, 0.0, 0.0]
        for stages, backends in self.queues or [(self.stages, 1)]:
            total = Estimate()
            for name in stages:
                total = total.plus(self.stages.get(name, Estimate()))
            each = (_seconds(use, settings) / backends for use in total)
            slowest = [max(pair) for pair in zip(slowest, each, strict=True)]
        return tuple(slowest)


# --- one call -------------------------------------------------------------------------------------------------------


class Measure:
    """Reckons calls, and remembers what it had to assume."""

    def __init__(self, *, capped: bool) -> None:
        self._capped = capped
        self._unlimited = self._unknown = 0

    def call(
        self, body: Mapping[str, Any], price: Price | None, where: str, answer: int = money.LIKELY_ANSWER
    ) -> Estimate:
        """A call with this body, and an answer of about so many tokens.

        Raises `BadData`, naming ``where``, if a cap needs a bound that the body does not have.
        """
        size = len(wire.canonical(dict(body)))
        try:
            tokens = _tokens(body, answer)
        except BadData as problem:
            if self._capped:
                raise BadData(f"{where}: {problem}") from problem
            tokens = self._without_bound(body, answer)
        return Estimate(*(use_of(each, price, size) for each in tokens))

    def assumptions(self) -> list[str]:
        """What the estimate rests on, for people."""
        lines = []
        if self._unlimited:
            limit = DEFAULT_MAX_TOKENS
            lines.append(f"{self._unlimited} requests set no token limit: reckoned with {limit}, as a cap would send")
        if self._unknown:
            lines.append(f"{self._unknown} requests cannot be measured beforehand: their tokens are not counted")
        return lines

    def _without_bound(self, body: Mapping[str, Any], answer: int) -> tuple[TokenBound, ...]:
        try:
            tokens = _tokens({**body, "max_tokens": DEFAULT_MAX_TOKENS}, answer)
        except BadData:
            self._unknown += 1
            return (TokenBound(0, 0),) * 3
        self._unlimited += 1
        return tokens


def _tokens(body: Mapping[str, Any], answer: int) -> tuple[TokenBound, ...]:
    """Low, likely, high. For low: tokenizers save up to a quarter, and short answers are an eighth of likely ones."""
    likely = money.likely_of(body, answer)
    return TokenBound(likely.prompt * 3 // 4, likely.completion // 8), likely, money.bound_of(body)


def use_of(tokens: TokenBound, price: Price | None, size: int) -> Use:
    """A call of so many tokens, whose body has ``size`` bytes."""
    disk = size + _ROW_BYTES + _COPIES * BYTES_A_TOKEN * tokens.completion
    return Use(1, tokens.prompt, tokens.completion, price.cost(*tokens) if price else 0, disk)


class Reach:
    """How many calls the caps let through, one after the other, at each of the three reckonings."""

    def __init__(self, caps: Caps, used: Totals) -> None:
        self._capped = caps.any
        self._budgets = [Budget(caps, used) for _ in range(3)]
        self._open = [True] * 3
        self._calls = [0] * 3

    @property
    def calls(self) -> tuple[int, int, int]:
        """At the low, the likely and the high reckoning."""
        return self._calls[0], self._calls[1], self._calls[2]

    def add(self, estimate: Estimate, price: Price | None) -> None:
        """The next call; as in a run, it leaves only if its upper bound still fits."""
        if not self._capped or not any(self._open):
            return
        bound = Bound(TokenBound(estimate.high.prompt_tokens, estimate.high.completion_tokens), price)
        for number, (budget, use) in enumerate(zip(self._budgets, estimate, strict=True)):
            self._open[number] = self._open[number] and budget.fits(bound)
            if self._open[number]:
                self._calls[number] += 1
                budget.spent = budget.spent.plus(Totals(1, use.prompt_tokens + use.completion_tokens, use.cost))


def _seconds(use: Use, settings: Settings) -> float:
    seconds = [0.0]
    if settings.rpm:
        seconds.append(60 * use.calls / settings.rpm)
    if settings.tpm:
        seconds.append(60 * (use.prompt_tokens + use.completion_tokens) / settings.tpm)
    if settings.concurrency:
        each = use.calls * SECONDS_TO_BEGIN + use.completion_tokens / TOKENS_A_SECOND
        seconds.append(each / settings.concurrency)
    return max(seconds)


def common_assumptions(settings: Settings) -> list[str]:
    """What every estimate rests on, for people."""
    lines = [
        "low and likely: about 4 bytes a token, answers about half as long as they may be, at most 400 tokens, or"
        " 150 for each whole task asked for; high: each byte a token, each answer as long as it may be; without"
        " repeated attempts"
    ]
    if settings.concurrency:
        lines.append(f"a model that writes {TOKENS_A_SECOND} tokens a second after {SECONDS_TO_BEGIN} s")
    return lines
