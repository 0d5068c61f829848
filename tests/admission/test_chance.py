"""Refusals that no limit explains: fences are kept, and the pace is not; a limit is still met as one."""

from __future__ import annotations

import random

import pytest

from selfinstruct.admission.chance import FLOODED, Chance
from selfinstruct.admission.pace import Pace
from selfinstruct.admission.window import Window
from tests.admission.simulated import Caller, Outcome, Server, limited


def served(server: Server, seed: int = 1, requests: int = 1000, in_flight: int = 64) -> Outcome:
    """A run against a server, nothing told."""
    return Caller(server, Pace(None, None), Window(in_flight), requests, until=900.0, late=0.002, seed=seed).run()


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
@pytest.mark.parametrize(("retry_after", "seconds"), [(0.05, 8.0), (0.3, 20.0), (1.0, 60.0), (None, 25.0)])
def test_a_server_that_refuses_by_chance_is_not_answered_with_a_crawl(
    share: float, retry_after: float | None, seconds: float
) -> None:
    """1000 requests of 20 ms, 64 in flight: little more than its own fences take, and never one broken."""
    for seed in range(3):
        server = Server(latency=0.02, retry_after=retry_after, refuses=share, rng=random.Random(seed))
        outcome = served(server, seed)
        assert len(outcome.served) == 1000
        assert outcome.wall <= seconds
        assert outcome.inside_fence == 0


@pytest.mark.parametrize("rate", [20.0, 100.0])
def test_a_limit_is_not_taken_for_chance(rate: float) -> None:
    """What is above it is refused however often: at most one refusal in twenty of a minute's work."""
    requests = int(60 * rate)
    outcome = served(limited(rate, 20.0, 0.05, None, 1.0), requests=requests)
    assert len(outcome.refused) <= 0.05 * requests


def bursts(chance: Chance, now: float, each: list[tuple[int, float]]) -> float:
    """Bursts of one refusal without a fence, after so many answers in so many seconds each; returns the time."""
    for accepted, seconds in each:
        for _ in range(accepted):
            chance.accepted(now)
        now += seconds
        chance.refused(now, now - 0.01)
    return now


def test_four_bursts_of_which_a_limit_explains_but_two_are_chance() -> None:
    """Ten in a tenth of a second went through before; ten in a second cannot be too many."""
    chance = Chance()
    now = bursts(chance, 0.0, [(10, 0.1), (10, 0.1), (10, 0.1), (10, 1.0)])
    assert not chance.at_random
    now = bursts(chance, now, [(10, 1.0)])
    assert chance.at_random


def test_bursts_at_the_pace_a_limit_lets_through_are_the_limits() -> None:
    """Ten a second, and refused for more, again and again."""
    chance = Chance()
    bursts(chance, 0.0, [(10, 1.0)] * 20)
    assert not chance.at_random


def test_what_is_mostly_refused_is_no_chance() -> None:
    """However it is spread."""
    chance = Chance()
    bursts(chance, 0.0, [(10, 0.1), *[(1, 2.0)] * 30])
    assert not chance.at_random


def test_a_flood_of_refusals_ends_it_and_is_remembered() -> None:
    """There is a limit after all; what was sent before does not count, and for a minute no such verdict comes again."""
    chance = Chance()
    unlike = [(10, 0.1), (10, 0.1), (10, 0.1), (10, 1.0), (10, 1.0)]
    now = bursts(chance, 0.0, unlike)
    for _ in range(2 * FLOODED):
        assert not chance.refused(now + 0.1, now - 0.1)
    changed = [chance.refused(now + 0.2, now + 0.1) for _ in range(FLOODED)]
    assert changed == [False] * (FLOODED - 1) + [True]
    assert not chance.at_random
    bursts(chance, now + 1.0, unlike)
    assert not chance.at_random
    bursts(chance, now + 100.0, unlike)
    assert chance.at_random
