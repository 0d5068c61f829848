"""The call path of a run: everything between a request and a backend, put together and taken apart again.

`Recorded(Retrying(Admitted(backend)))` over one ledger, one gate, one budget; signals and the deadline close the gate.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from selfinstruct import pricing
from selfinstruct.admission.breaker import Breaker
from selfinstruct.admission.budget import Budget, Caps, Totals
from selfinstruct.admission.gate import Gate
from selfinstruct.admission.pace import Pace
from selfinstruct.admission.tariff import Tariff
from selfinstruct.admission.turns import Turns
from selfinstruct.admission.window import Window
from selfinstruct.config import Settings
from selfinstruct.errors import ConfigProblem, Interrupted, LimitReached
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_reader import Spending
from selfinstruct.models.admitted import Admitted
from selfinstruct.models.opening import Opened
from selfinstruct.models.recorded import Recorded
from selfinstruct.models.retrying import Retrying
from selfinstruct.money import Price
from selfinstruct.schema import Completion


@dataclass(frozen=True)
class CallPath:
    """A way to a model. ``gate`` stops it, ``budget`` and ``turns`` are there to be looked at."""

    model: Recorded
    gate: Gate
    budget: Budget
    turns: Turns


def caps_of(settings: Settings) -> Caps:
    """The caps a user has set."""
    return Caps(cost=settings.max_cost, calls=settings.max_calls, tokens=settings.max_tokens_total)


def price_finder(base_url: str, settings: Settings) -> Callable[[str], Price | None]:
    """The price of a model at an address: the user's own, or the one in our table; None where it is not known.

    With a cap on cost, an unknown price and one in another currency raise `ConfigProblem`, which says how to give it.
    """

    def price_of(model: str) -> Price | None:
        price = settings.price or pricing.price_of(model, base_url)
        cap = settings.max_cost
        if cap is not None and price is None:
            raise pricing.unknown(model, base_url)
        if cap is not None and price is not None and cap.currency != price.currency:
            raise ConfigProblem(
                f"--max-cost is in {cap.currency}, the price of {model!r} in {price.currency}:"
                f" give --price in=…,out=…,currency={cap.currency} (per million tokens)"
            )
        return price

    return price_of


def tariff_of(opened: Opened, settings: Settings) -> Tariff:
    """What calls to a backend may come to; a bound is required where a cap rests on it."""
    price_of = price_finder(opened.endpoint.identity, settings)
    return Tariff(price_of, required=caps_of(settings).rest_on_bounds)


def build(opened: Opened, ledger: Ledger, settings: Settings, answered: Callable[[Completion], None]) -> CallPath:
    """Wrap a backend. What earlier starts and other stages have spent counts against the caps."""
    price_of = price_finder(opened.endpoint.identity, settings)
    price = price_of(opened.endpoint.model) if opened.endpoint.model else settings.price
    caps = caps_of(settings)
    known = price or caps.cost
    currency = known.currency if known else ledger.rows.currency()
    ledger.count_in(currency)
    if price is not None:
        ledger.price_unpriced(price)
    gate = Gate()
    budget = Budget(caps, spent_so_far(ledger.rows.spending()), ledger.rows.currency())
    limit = opened.concurrency
    breaker = Breaker(limit, settings.give_up_after)
    turns = Turns(gate, budget, Window(limit), Pace(settings.rpm, settings.tpm), breaker, limit)
    tariff = tariff_of(opened, settings)
    admitted = Admitted(opened.model, ledger, opened.endpoint, turns, tariff, budget)
    retrying = Retrying(admitted, gate.sleep, lambda: turns.provider_is_down)
    return CallPath(Recorded(retrying, ledger, opened.endpoint, answered), gate, budget, turns)


def spent_so_far(spending: Sequence[Spending]) -> Totals:
    """What the ledger counts already: answers at what they cost, everything that may have cost at its bound."""
    paid = [row for row in spending if row.state != "failed"]
    return Totals(
        calls=sum(row.attempts for row in paid),
        tokens=sum(row.prompt_tokens + row.completion_tokens for row in paid),
        cost=sum(row.cost or 0 for row in paid),
    )


@contextmanager
def stopping(gate: Gate, deadline: float | None, noticed: Callable[[], None]) -> Iterator[None]:
    """Close the gate at the first SIGINT, SIGTERM or SIGHUP, or after ``deadline`` seconds.

    The second signal ends at once. Under nohup, which ignores it, SIGHUP stays ignored.
    """
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def handle(number: int) -> None:
        if received:
            os._exit(128 + number)  # what is durable stays; what is in flight becomes ambiguous
        received.append(number)
        gate.close(Interrupted("stopped; every answer received is recorded, running again goes on", number))
        noticed()

    def time_is_up() -> None:
        gate.close(LimitReached("--deadline is reached; every answer received is recorded, running again goes on"))
        noticed()

    numbers = [signal.SIGINT, signal.SIGTERM]
    numbers += [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    for number in numbers:
        loop.add_signal_handler(number, handle, number)
    alarm = loop.call_later(deadline, time_is_up) if deadline is not None else None
    try:
        yield
    finally:
        if alarm is not None:
            alarm.cancel()
        for number in numbers:
            loop.remove_signal_handler(number)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it exists: less CPU a call."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
