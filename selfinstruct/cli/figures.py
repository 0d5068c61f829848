"""Money and time as commands print them, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from selfinstruct.admission.budget import Budget
    from selfinstruct.ledger_reader import Spending


def duration(seconds: float) -> str:
    """In the unit one would use: ``89 s``, ``5 min``, ``1.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds // 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Money(NamedTuple):
    """What a run came to, in pico-units: for answers, in calls under way, and for what may have been billed in vain."""

    currency: str
    spent: int
    reserved: int
    ambiguous: int
    waste: dict[str, tuple[int, int]]
    unpriced: int


def money_of(spending: Sequence[Spending], currency: str) -> Money:
    """Sum up a ledger's account. Waste is paid attempts without an answer, by reason: how many, and their cost."""
    waste: dict[str, tuple[int, int]] = {}
    for row in spending:
        if row.state in ("ambiguous", "unusable"):
            reason = _REASONS.get(row.outcome or "", row.outcome or "cut off")
            count, cost = waste.get(reason, (0, 0))
            waste[reason] = (count + row.attempts, cost + (row.cost or 0))

    def total(*states: str) -> int:
        return sum(row.cost or 0 for row in spending if row.state in states)

    unpriced = sum(row.unpriced for row in spending if row.state in ("settled", "ambiguous", "unusable"))
    return Money(currency, total("settled"), total("reserved"), total("ambiguous", "unusable"), waste, unpriced)


_REASONS = {
    "MaybeExecuted": "lost answer or server error",
    "UnusableResponse": "unusable answer",
    "CancelledError": "given up while stopping",
}


def money_lines(money: Money) -> list[str]:
    """The account for people; nothing where no price is known and nothing was lost."""
    from selfinstruct.money import show_money

    def shown(pico: int) -> str:
        return show_money(pico, money.currency)

    lines = []
    if money.spent or money.reserved or money.ambiguous:
        parts = [f"spent {shown(money.spent)}"]
        parts += [f"reserved {shown(money.reserved)}"] if money.reserved else []
        parts += [f"perhaps billed in vain, at most {shown(money.ambiguous)}"] if money.ambiguous else []
        parts += [f"{money.unpriced} calls without a known price not counted"] if money.unpriced else []
        lines.append("; ".join(parts))
    if money.waste:
        each = [
            f"{reason} {count}" + (f" ({shown(cost)})" if cost else "")
            for reason, (count, cost) in sorted(money.waste.items())
        ]
        lines.append("attempts that may have been billed in vain: " + ", ".join(each))
    return lines


def money_json(money: Money) -> dict[str, Any]:
    """The account for machines: decimal strings in whole units of the currency."""
    from selfinstruct.money import Amount

    def units(pico: int) -> str:
        return Amount(money.currency, pico).units

    return {
        "currency": money.currency,
        "spent": units(money.spent),
        "reserved": units(money.reserved),
        "ambiguous": units(money.ambiguous),
        "waste": {reason: {"attempts": count, "cost": units(cost)} for reason, (count, cost) in money.waste.items()},
        "unpriced_calls": money.unpriced,
    }


def live_cost(budget: Budget | None) -> str:
    """What is spent so far and what calls in flight may yet cost, to stand at the end of a line; empty for nothing."""
    if budget is None or not budget.committed.cost:
        return ""
    from selfinstruct.money import show_money

    at_risk = budget.reserved.cost + budget.ambiguous.cost
    return f", {show_money(budget.spent.cost, budget.currency)} spent, {show_money(at_risk, budget.currency)} reserved"
