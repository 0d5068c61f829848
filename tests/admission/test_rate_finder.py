"""The rate a server allows is found from what it refuses: soon, closely, and again when it changes."""

from __future__ import annotations

import pytest

from selfinstruct.admission.pace import Pace
from selfinstruct.admission.rate_finder import RateFinder
from selfinstruct.admission.window import Window
from tests.admission.simulated import Caller, Outcome, Server, limited

AT_ONCE = 0.001  # seconds until a refusal is known, where it does not take as long as an answer


def run(server: Server, requests: int, *, late: float = 0.0, rpm: float | None = None, seed: int = 1) -> Outcome:
    """What ``requests`` come to with 256 in flight configured."""
    return Caller(server, Pace(rpm, None), Window(256), requests, late=late, seed=seed).run()


@pytest.mark.parametrize("late", [0.0, 0.002])
@pytest.mark.parametrize(
    ("latency", "refusal"),
    [(0.01, AT_ONCE), (0.01, None), (0.05, AT_ONCE), (0.05, None), (0.2, AT_ONCE), (0.2, None), (1.0, AT_ONCE)],
)
def test_an_unknown_limit_of_6000_a_minute_costs_little_time_and_few_refusals(
    latency: float, refusal: float | None, late: float
) -> None:
    """1500 requests at 100/s, burst 20, Retry-After 1: at most 1.13 of the ideal time, 4 % refused, none fenced."""
    outcome = run(limited(100.0, 20.0, latency, refusal, 1.0), 1500, late=late)
    assert len(outcome.served) == 1500
    assert outcome.wall <= 1.13 * (15.0 + latency)
    assert len(outcome.refused) <= 0.04 * 1500
    assert outcome.inside_fence == 0


def test_late_timers_and_other_bursts_do_not_spoil_it() -> None:
    """Over bursts of 17 to 24 and timers up to 20 ms late: on average 1.12 of the ideal time, at worst 1.14."""
    walls = []
    for seed in range(8):
        server = limited(100.0, 17.0 + seed, 0.05, None if seed % 2 else AT_ONCE, 1.0)
        walls.append(run(server, 1500, late=0.0025 * seed, seed=seed).wall / 15.05)
    assert sum(walls) / len(walls) <= 1.12
    assert max(walls) <= 1.14


def test_a_limit_as_providers_publish_them_is_mostly_found_by_one_refusal() -> None:
    """6000 a minute and a burst of 20, over latencies and late timers: on average 1.075 of the ideal time."""
    walls = []
    for seed, latency in enumerate([0.01, 0.05, 0.2] * 3):
        outcome = run(limited(100.0, 20.0, latency, AT_ONCE, 1.0), 1500, late=0.0025 * seed, seed=seed)
        walls.append(outcome.wall / (15.0 + latency))
    assert sum(walls) / len(walls) <= 1.075


def test_refusals_a_second_late_cost_more_attempts_yet_no_more_time() -> None:
    """With 256 in flight a limit of 100/s is overrun by 156 before the first refusal can be known: 11 % of 1500."""
    outcome = run(limited(100.0, 20.0, 1.0, None, 1.0), 1500)
    assert outcome.wall <= 1.13 * 16.0
    assert len(outcome.refused) <= 0.11 * 1500
    assert outcome.inside_fence == 0


@pytest.mark.parametrize("rate", [1.0, 5.0, 20.0, 100.0, 500.0])
@pytest.mark.parametrize("burst", [20.0, 200.0])
@pytest.mark.parametrize(("retry_after", "slack"), [(0.0, 1.2), (1.0, 1.2), (None, 1.2), (5.0, 1.5), (20.0, 3.5)])
def test_other_limits_are_found_too(rate: float, burst: float, retry_after: float | None, slack: float) -> None:
    """A minute's work at 1 to 500 a second takes at most 1.2 minutes; where a fence costs 5 s 1.5, where 20 s 3.5."""
    requests = int(60 * rate + burst)
    outcome = run(limited(rate, burst, 0.05, AT_ONCE, retry_after), requests, late=0.001)
    assert outcome.wall <= slack * 60.0
    assert outcome.inside_fence == 0
    assert len(outcome.refused) <= max(100, 0.04 * requests)


@pytest.mark.parametrize(("rate", "slack"), [(1.0, 1.6), (5.0, 1.6), (20.0, 1.5), (100.0, 1.7)])
def test_a_server_that_allows_no_burst_is_served_one_by_one(rate: float, slack: float) -> None:
    """With a burst of 1 every clump is refused; a minute's work still takes at most 1.7 minutes."""
    outcome = run(limited(rate, 1.0, 0.05, AT_ONCE, 1.0), int(60 * rate), late=0.001)
    assert outcome.wall <= slack * 60.0


@pytest.mark.parametrize("latency", [0.01, 0.05, 0.2, 1.0])
def test_a_limit_that_was_told_is_never_met(latency: float) -> None:
    """With rpm given and right, no attempt is refused, and the time is that of the limit."""
    outcome = run(limited(100.0, 20.0, latency, None, 1.0), 1500, rpm=6000.0, late=0.005)
    assert outcome.refused == []
    assert outcome.wall <= 1.02 * (15.0 + latency)


def test_a_limit_told_ten_times_too_high_is_found_like_an_unknown_one() -> None:
    """60000 a minute told, 6000 allowed: 1.15 of the ideal time, 4 % refused."""
    outcome = run(limited(100.0, 20.0, 0.05, AT_ONCE, 1.0), 1500, rpm=60_000.0)
    assert outcome.wall <= 1.15 * 15.05
    assert len(outcome.refused) <= 0.04 * 1500


def limit_of(now: float) -> float:
    """600 a minute, halved after 40 s, as before after 80 s."""
    return 5.0 if 40.0 <= now < 80.0 else 10.0


@pytest.mark.parametrize("rpm", [None, 600.0])
@pytest.mark.parametrize("latency", [0.05, 1.0])
def test_a_limit_is_found_again_when_it_is_halved_and_doubled(rpm: float | None, latency: float) -> None:
    """30 s after each change at least 92 % of the allowed rate is used; at most 1.5 % of the attempts are refused."""
    server = Server(limit_of, 20.0, latency, AT_ONCE, 1.0)
    outcome = Caller(server, Pace(rpm, None), Window(64), 10**6, until=140.0, late=0.002).run()
    assert outcome.rate(60.0, 80.0) >= 0.92 * 5.0  # 20 s after the halving
    assert outcome.rate(110.0, 140.0) >= 0.92 * 10.0
    assert len(outcome.refused) <= 0.015 * len(outcome.sent)
    assert outcome.inside_fence == 0


def test_a_server_that_refuses_at_random_is_not_answered_with_a_crawl() -> None:
    """One in fifty refused whatever the pace: 2000 requests take 46 fences of 0.1 s and some, not hours."""
    server = Server(latency=0.05, refusal=AT_ONCE, retry_after=0.1, refuses=0.02)
    outcome = Caller(server, Pace(None, None), Window(64), 2000).run()
    assert len(outcome.served) == 2000
    assert outcome.wall <= 120.0


def test_a_server_that_limits_what_is_in_flight_is_used_well() -> None:
    """16 at a time, refused above: at least 60 % of its capacity, at most 5 % refused."""
    server = Server(latency=0.5, refusal=AT_ONCE, retry_after=1.0, at_once=16)
    outcome = Caller(server, Pace(None, None), Window(256), 10**6, until=120.0).run()
    assert outcome.rate(20.0, 119.0) >= 0.6 * 32.0
    assert len(outcome.refused) <= 0.05 * len(outcome.sent)


def test_the_rate_does_not_grow_while_nobody_uses_it() -> None:
    """After ten idle minutes the measured rate is what it was, not a number that a burst could follow."""
    finder = RateFinder()
    for number in range(100):
        finder.sent(number / 100.0)
    for number in range(50, 100):
        if number % 2:
            finder.rejected(1.0, number / 100.0, 1.0)
    measured = finder.rate
    assert 45.0 <= measured <= 50.0  # every second one was accepted
    finder.sent(2.0)
    finder.sent(602.0)
    assert finder.rate <= 1.01 * measured


def test_a_refusal_of_something_never_sent_changes_nothing() -> None:
    """The finder speaks only of attempts it saw leave."""
    finder = RateFinder()
    finder.rejected(1.0, 0.5, 1.0)
    assert finder.rate == float("inf")


def test_a_refusal_that_comes_an_episode_late_changes_no_measure() -> None:
    """It tells of a stretch that was read; one of the last stretch, however late, makes its measure another."""
    finder, start = RateFinder(), 0.0
    for gap in (0.05, 0.055, 0.06, 0.065):
        begin, last = start, start + 39 * gap
        for number in range(40):
            finder.sent(begin + number * gap)
        finder.rejected(last + 0.1, last, 1.0)
        measured, start = finder.rate, last + 1.2  # asked for, as a pace does before it lets another out
    assert 10.0 < measured < 1.0 / 0.05
    finder.rejected(last + 0.2, begin - 1.5, 1.0)
    assert finder.rate == measured
    finder.rejected(last + 0.3, begin + 10 * gap, 1.0)
    assert finder.rate != measured


def test_what_is_refused_far_below_a_sustained_rate_is_not_followed_down() -> None:
    """90 a second were served for 10 s; refusals at 2 a second are nobody's limit, until most of a burst is refused."""
    finder, now = RateFinder(), 0.0
    for _ in range(4):
        for number in range(300):
            finder.sent(now + number * 0.01)
        now += 3.0
        finder.rejected(now, now - 0.01, 0.2)
        assert finder.rate < 140.0
        now += 0.3
    for _ in range(3):
        for number in range(6):
            finder.sent(now + number * 0.5)
        now += 2.5
        finder.rejected(now, now, 0.2)
        assert finder.rate == float("inf")
        now += 0.3
    for number in range(20):
        finder.sent(now + number * 0.01)
    for number in range(5, 20):
        finder.rejected(now + 0.3, now + number * 0.01, 0.2)
    assert finder.rate < 100.0
