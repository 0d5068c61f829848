"""Money and time as commands print them: exact for machines, short for people."""

from __future__ import annotations

import pytest

from selfinstruct.cli import figures
from selfinstruct.ledger_reader import Spending

USD = 10**12


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 s"), (89, "89 s"), (90, "1 min"), (5399, "89 min"), (5400, "1.5 h"), (86400, "24.0 h")],
)
def test_a_time_is_told_in_the_unit_one_would_use(seconds: int, words: str) -> None:
    """Seconds, minutes, hours."""
    assert figures.duration(seconds) == words


def spent(
    state: str, attempts: int, cost: int | None = None, outcome: str | None = None, unpriced: int = 0
) -> Spending:
    """A line of a ledger's account."""
    return Spending("complete", state, outcome, attempts, 10 * attempts, attempts, cost, unpriced)


EVERYTHING = [
    spent("ambiguous", 2, 3 * USD // 100, "MaybeExecuted"),
    spent("ambiguous", 1, USD // 100),
    spent("ambiguous", 1, None, "CancelledError", unpriced=1),
    spent("failed", 9, 0, "Rejected"),
    spent("refused", 3, 0),
    spent("reserved", 2, USD // 4),
    spent("settled", 40, 3 * USD),
    spent("unusable", 5, USD // 2, "UnusableResponse"),
]


def test_money_is_told_by_where_it_went() -> None:
    """For answers, under way, and in vain by reason; what was free is not waste."""
    money = figures.money_of(EVERYTHING, "usd")
    assert (money.spent, money.reserved, money.ambiguous) == (3 * USD, USD // 4, USD // 2 + USD // 25)
    assert money.waste == {
        "lost answer or server error": (2, 3 * USD // 100),
        "cut off": (1, USD // 100),
        "given up while stopping": (1, 0),
        "unusable answer": (5, USD // 2),
    }
    assert money.unpriced == 1


def test_money_for_people_is_two_lines() -> None:
    """The sums, and the waste."""
    assert figures.money_lines(figures.money_of(EVERYTHING, "usd")) == [
        "spent $3.00; reserved $0.25; perhaps billed in vain, at most $0.54; 1 calls without a known price not counted",
        "attempts that may have been billed in vain: cut off 1 ($0.01), given up while stopping 1,"
        " lost answer or server error 2 ($0.03), unusable answer 5 ($0.50)",
    ]
    assert figures.money_lines(figures.money_of([spent("settled", 40, 3 * USD)], "cny")) == ["spent ¥3.00"]


def test_money_is_not_mentioned_where_there_is_none() -> None:
    """No price known, nothing lost; lost attempts are told without one, too."""
    assert figures.money_lines(figures.money_of([spent("settled", 40, None, unpriced=40)], "usd")) == []
    assert figures.money_lines(figures.money_of([], "usd")) == []
    assert figures.money_lines(figures.money_of([spent("ambiguous", 2, None, unpriced=2)], "usd")) == [
        "attempts that may have been billed in vain: cut off 2"
    ]


def test_money_for_machines_is_exact() -> None:
    """Decimal strings in whole units, to the last of twelve places."""
    money = figures.money_of(
        [spent("settled", 1, 1), spent("reserved", 1, 20 * USD), spent("ambiguous", 1, USD // 8)], "cny"
    )
    assert figures.money_json(money) == {
        "currency": "cny",
        "spent": "0.000000000001",
        "reserved": "20",
        "ambiguous": "0.125",
        "waste": {"cut off": {"attempts": 1, "cost": "0.125"}},
        "unpriced_calls": 0,
    }
