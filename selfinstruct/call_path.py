"""The call path of a run: everything between a request and a backend, put together and taken apart again.

`Recorded(Retrying(Admitted(backend)))` for each role, over one ledger, one gate, one budget; signals and the deadline
close the gate.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import orjson

from selfinstruct import pricing, wire
from selfinstruct.admission.breaker import Breaker
from selfinstruct.admission.budget import Budget, Caps, Totals
from selfinstruct.admission.gate import Gate
from selfinstruct.admission.pace import Pace
from selfinstruct.admission.seats import Seats
from selfinstruct.admission.tariff import Tariff
from selfinstruct.admission.turns import Turns
from selfinstruct.admission.window import Window
from selfinstruct.config import Settings
from selfinstruct.errors import ConfigProblem, Interrupted, LimitReached
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_reader import Spending
from selfinstruct.models.admitted import Admitted
from selfinstruct.models.named import Named
from selfinstruct.models.opening import Opened
from selfinstruct.models.recorded import Recorded
from selfinstruct.models.retrying import Retrying
from selfinstruct.models.seated import Seated
from selfinstruct.money import Price
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Request


@dataclass(frozen=True)
class CallPath:
    """The ways to a run's models, by role. ``gate`` stops them, ``budget`` and ``queues`` are there to be looked at.

    Roles that are played by one backend have one queue.
    """

    models: Mapping[str, Recorded]
    gate: Gate
    budget: Budget
    queues: Mapping[str, Turns]
    seats: Seats

    @property
    def model(self) -> Recorded:
        """The model of a run that has one."""
        return next(iter(self.models.values()))

    @property
    def turns(self) -> Turns:
        """Its queue."""
        return next(iter(self.queues.values()))

    async def aclose(self) -> None:
        """Close every backend, each once."""
        await self.seats.aclose()
        ways = {self.queues[role]: model for role, model in self.models.items()}
        await asyncio.gather(*(model.aclose() for model in ways.values()))


def caps_of(settings: Settings) -> Caps:
    """The caps a user has set."""
    return Caps(cost=settings.max_cost, calls=settings.max_calls, tokens=settings.max_tokens_total)


def price_of_role(opened: Opened, settings: Settings, role: str = "teacher") -> Callable[[str], Price | None]:
    """The price of who plays a role: as `price_finder`, but for a model of a pool, whose price the pool may tell."""
    if opened.price is not None:
        settings = settings.model_copy(update={"price": opened.price})
    return price_finder(opened.endpoint.identity, settings, role)


def price_finder(base_url: str, settings: Settings, role: str = "teacher") -> Callable[[str], Price | None]:
    """The price of a role's model at an address: the user's own, or the one in our table; None where it is not known.

    ``--user-price``, ``--assistant-price`` and ``--judge-price`` are for their role, ``--price`` for every role without
    one. With a cap on cost, an unknown price and one in another currency raise `ConfigProblem`, which says how to give
    it.
    """
    options = {"user": "--user-price", "assistant": "--assistant-price", "judge": "--judge-price"}
    option = "a price in the pool, or --price" if "/" in role else options.get(role, "--price")

    def price_of(model: str) -> Price | None:
        price = _own_price(settings, role) or pricing.price_of(model, base_url)
        cap = settings.max_cost
        if cap is not None and price is None and pricing.is_free(base_url):
            return pricing.nothing(cap.currency)
        if cap is not None and price is None:
            raise pricing.unknown(model, base_url, option)
        if cap is not None and price is not None and cap.currency != price.currency:
            raise ConfigProblem(
                f"--max-cost is in {cap.currency}, the price of {model!r} in {price.currency}:"
                f" give {option} in=…,out=…,currency={cap.currency} (per million tokens)"
            )
        return price

    return price_of


def _own_price(settings: Settings, role: str) -> Price | None:
    own = {"user": settings.user_price, "assistant": settings.assistant_price, "judge": settings.judge_price}
    return own.get(role.partition("/")[0]) or settings.price


def with_free(opened: Mapping[str, Opened], settings: Settings) -> dict[str, Opened]:
    """The backends by role, those that run here at no price, where others have one: in the currency of those."""
    cost_nothing = {role for role, one in opened.items() if pricing.is_free(one.endpoint.identity)}
    others = (role for role, one in opened.items() if role not in cost_nothing and one.endpoint.model)
    prices = (price_of_role(opened[role], settings, role)(opened[role].endpoint.model) for role in others)
    currency = next((price.currency for price in prices if price), None)
    if currency is None:
        return dict(opened)
    return {
        role: one._replace(price=one.price or pricing.nothing(currency)) if role in cost_nothing else one
        for role, one in opened.items()
    }


def tariff_of(opened: Opened, settings: Settings, role: str = "teacher") -> Tariff:
    """What calls to a role's backend may come to; a bound is required where a cap rests on it."""
    price_of = price_of_role(opened, settings, role)
    return Tariff(price_of, required=caps_of(settings).rest_on_bounds)


def build(opened: Opened, ledger: Ledger, settings: Settings, answered: Callable[[Completion], None]) -> CallPath:
    """Wrap the backend of a run that has one model. See `build_roles`."""
    return build_roles({"teacher": opened}, ledger, settings, answered)


def build_roles(
    opened: Mapping[str, Opened], ledger: Ledger, settings: Settings, answered: Callable[[Completion], None]
) -> CallPath:
    """Wrap the backends of a run's roles: one ledger, one gate and one budget for all, a queue for each backend.

    Limits (in flight, ``--rpm``, ``--tpm``) hold for each backend. What earlier starts and other stages have spent
    counts against the caps. Raises `ConfigProblem` where a cap rests on a price that is not known, or prices are in
    several currencies.
    """
    opened = with_free(opened, settings)
    _settle_prices(opened, ledger, settings)
    gate = Gate()
    budget = Budget(caps_of(settings), spent_so_far(ledger.rows.spending()), ledger.rows.currency())
    seats = Seats(max(1, len(settings.gpus)), [one.guest for one in opened.values() if one.guest], gate)
    of_backends: dict[int, Turns] = {}
    models, queues = {}, {}
    for role, one in opened.items():
        turns = of_backends.get(id(one.model)) or _queue(one, gate, budget, settings)
        of_backends[id(one.model)] = queues[role] = turns
        backend: Model = Named(one.model, role.partition("/")[2]) if "/" in role else one.model
        admitted = Admitted(backend, ledger, one.endpoint, turns, tariff_of(one, settings, role), budget)
        asked: Model = _retrying(admitted, gate, turns)
        models[role] = Recorded(Seated(asked, one.guest, seats) if one.guest else asked, ledger, one.endpoint, answered)
    return CallPath(models, gate, budget, queues, seats)


def _queue(one: Opened, gate: Gate, budget: Budget, settings: Settings) -> Turns:
    limit = one.concurrency
    breaker = Breaker(limit, settings.give_up_after or one.patience)
    window = Window(limit, own=one.guest is not None)
    return Turns(gate, budget, window, Pace(settings.rpm, settings.tpm), breaker, limit)


def _retrying(admitted: Admitted, gate: Gate, turns: Turns) -> Retrying:
    return Retrying(admitted, gate.sleep, lambda: turns.provider_is_down)


def _settle_prices(opened: Mapping[str, Opened], ledger: Ledger, settings: Settings) -> None:
    """Fix the currency of the ledger, and price what was asked before there was a price."""
    prices: dict[str, Price | None] = {}
    for role, one in opened.items():
        price_of, model = price_of_role(one, settings, role), one.endpoint.model
        prices[role] = price_of(model) if model else _own_price(settings, role)
    known = [price for price in prices.values() if price]
    currencies = sorted({price.currency for price in known})
    if len(currencies) > 1:
        raise _do_not_add_up(opened, prices, currencies)
    cap = settings.max_cost
    ledger.count_in(currencies[0] if known else cap.currency if cap else ledger.rows.currency())
    if len(set(prices.values())) > 1:
        ledger.price_each_unpriced(partial(_prices_of, opened, prices))
    elif known:
        ledger.price_unpriced(known[0])


def _do_not_add_up(
    opened: Mapping[str, Opened], prices: Mapping[str, Price | None], currencies: Sequence[str]
) -> ConfigProblem:
    """Names the models that cost something, one of a pool by its name there, and what puts them in one currency."""
    costing = [role for role, price in prices.items() if price and (price.input or price.output)]
    names = dict.fromkeys(role.partition("/")[2] or opened[role].endpoint.model or role for role in costing)
    in_pool = "a price in the pool, or " if any("/" in role for role in costing) else ""
    return ConfigProblem(
        f"the prices of {', '.join(names)} are in {' and '.join(currencies)}, which do not add up: give all of them in"
        f" one currency ({in_pool}--price, --user-price, --assistant-price, --judge-price in=…,out=…,currency=…)"
    )


def _prices_of(
    opened: Mapping[str, Opened], prices: Mapping[str, Price | None], key: str, sent: Request
) -> list[Price]:
    """What a recorded call may have cost: the prices of the roles that could have made it, of all where none could."""
    body = sent.body or b""
    model = orjson.loads(body).get("model")
    made_by = [
        role
        for role, one in opened.items()
        if one.endpoint.model == model and wire.key_of(body, one.endpoint, sent) == key
    ]
    return [price for role in made_by or opened if (price := prices[role])]


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
