"""Lists: the orders in which stages go through what they ask about, which resumed and extended runs rest on."""

from __future__ import annotations

from tests.stages.asking import lists


def test_orders_are_the_seeds_and_stay_what_they_are() -> None:
    """Another order would ask other things under the same numbers: a run that goes on tomorrow needs today's."""
    orders = [[*lists(10, seed=seed).order(6, what)] for seed in (1, 2) for what in ("order", 0)]
    assert orders == [[3, 0, 5, 1, 4, 2], [4, 2, 1, 3, 5, 0], [4, 0, 1, 5, 2, 3], [3, 1, 5, 0, 4, 2]]


def test_rounds_follow_one_another() -> None:
    """No job's number twice, and none left out."""
    asked = lists(10, round_size=3)
    assert [number for round in range(3) for number in asked.numbers(round)] == list(range(9))
