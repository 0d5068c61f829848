"""The price of who answers in each role, as a plan reckons with it: of a pool, the mean of its models'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selfinstruct import call_path, pricing
from selfinstruct.config import Settings
from selfinstruct.launch import Plan
from selfinstruct.models.opening import Opened
from selfinstruct.money import Price


def of_plan(plan: Plan) -> dict[str, Price | None]:
    """The prices by role; a teacher that no stage asks needs none. Raises `ConfigProblem` as the run would.

    That of the role a pool stands for is the mean of its models', who are drawn evenly.
    """
    prices = of_roles(plan.asking, plan.settings)
    if plan.recipe.pool:
        prices[plan.recipe.pool_role] = mean([prices[role] for role in plan.recipe.pool_roles])
    return prices


def of_roles(opened: Mapping[str, Opened], settings: Settings) -> dict[str, Price | None]:
    """The price of each role's model; nothing, in the currency of the others, for what runs here."""
    priced = call_path.with_free(opened, settings)
    prices = {role: call_path.price_of_role(one, settings, role)(one.endpoint.model) for role, one in priced.items()}
    return {
        role: pricing.nothing("usd") if price is None and pricing.is_free(opened[role].endpoint.identity) else price
        for role, price in prices.items()
    }


def by_model(plan: Plan, prices: Mapping[str, Price | None]) -> dict[str, Price | None]:
    """The prices by the names of the models; that of a pool's role is a mean, and no model's.

    A model that costs something else in another role is named with it.
    """
    found: dict[str, Price | None] = {}
    for role, price in prices.items():
        if plan.recipe.pool and role == plan.recipe.pool_role:
            continue
        name = role.partition("/")[2] or plan.answering[role].endpoint.model
        found[name if found.get(name, price) == price else f"{name} as {role}"] = price
    return found


def mixed(prices: Mapping[str, Price | None]) -> list[str]:
    """What to say where prices are in several currencies, whose sum is nothing: the run would stop for it."""
    currencies = sorted({price.currency for price in prices.values() if price})
    told = f"prices in {' and '.join(currencies)} do not add up: give all of them in one currency"
    return [told] if len(currencies) > 1 else []


def mean(prices: Sequence[Price | None]) -> Price | None:
    """The mean of several prices, rounded up; None where one is not known, or they do not add up."""
    known = [price for price in prices if price]
    if len(known) < len(prices) or len({price.currency for price in known}) > 1:
        return None
    return Price(
        input=-(-sum(price.input for price in known) // len(known)),
        output=-(-sum(price.output for price in known) // len(known)),
        currency=known[0].currency,
        source="the mean of a pool",
        date="",
    )
