"""No attempt leaves inside a fence or above a limit, and nothing waits without need."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.admission.pace import BACKOFF, LONGEST_BACKOFF, Pace


def departures(pace: Pace, until: float, tokens: float = 0.0, now: float = 0.0) -> list[float]:
    """When attempts leave if each leaves as soon as it may."""
    times = []
    while now < until:
        delay = pace.delay(now, tokens)
        if delay > 0.0:
            now += delay
        else:
            pace.take(now, tokens)
            times.append(now)
    return times


def test_requests_leave_at_the_rate_told() -> None:
    """600 a minute are 10 a second, of which at most one more leaves at the start."""
    times = departures(Pace(600.0, None), 9.95)
    assert len(times) == 100
    assert times[:2] == [0.0, pytest.approx(0.1)]


def test_a_tenth_of_a_second_may_leave_at_once() -> None:
    """Of 6000 a minute ten leave at the start, then one each 10 ms."""
    times = departures(Pace(6000.0, None), 0.0101)
    assert times == [0.0] * 10 + [pytest.approx(0.01)]


def test_tokens_leave_at_the_rate_told() -> None:
    """60000 tokens a minute let a request of 500 leave each half second."""
    assert departures(Pace(None, 60_000.0), 2.1, 500.0) == [pytest.approx(at) for at in (0.0, 0.5, 1.0, 1.5, 2.0)]


def test_tokens_given_back_let_the_next_attempt_leave() -> None:
    """Half of an estimate not used is half of the wait saved."""
    pace = Pace(None, 60_000.0)
    pace.take(0.0, 500.0)
    pace.refund(250.0)
    assert pace.delay(0.0, 500.0) == pytest.approx(0.25)


def test_a_request_larger_than_a_minute_is_too_large() -> None:
    """Exactly a minute's tokens may still leave; without a limit anything may."""
    assert [Pace(None, 1000.0).too_large(tokens) for tokens in (1000.0, 1000.5)] == [False, True]
    assert Pace(None, None).too_large(1e12) is False


def test_without_limits_attempts_leave_faster_and_faster() -> None:
    """Ten at once, then 100 a second, doubled each quarter of a second: some 43 in 0.2 s, 420 in 1 s."""
    times = departures(Pace(None, None), 1.0)
    assert times[:10] == [0.0] * 10
    assert times[10] == pytest.approx(0.01, abs=0.001)
    assert 30 <= sum(at < 0.2 for at in times) <= 45
    assert 380 <= len(times) <= 560


def test_a_ramp_that_met_no_refusal_ends() -> None:
    """Three seconds after the first attempt ten thousand may leave in the same instant."""
    pace = Pace(None, None)
    pace.take(0.0, 1e6)
    delays = set()
    for _ in range(10_000):
        delays.add(pace.delay(3.0, 1e6))
        pace.take(3.0, 1e6)
    assert delays == {0.0}


def test_a_shorter_wish_does_not_shorten_the_fence() -> None:
    """After 5 s at time 0, a wish for 1 s at time 1 changes nothing, one for 9 s does."""
    pace = Pace(None, None)
    pace.fence(0.0, 5.0)
    pace.fence(1.0, 1.0)
    assert pace.delay(1.0, 0.0) == 4.0
    pace.fence(1.0, 9.0)
    assert [pace.delay(now, 0.0) for now in (1.0, 10.0)] == [9.0, 0.0]


def test_a_burst_of_refusals_without_a_wish_makes_one_fence_of_our_own() -> None:
    """64 attempts refused one after the other, all sent before the first was known: one fence, from the first."""
    pace = Pace(None, None)
    for number in range(64):
        pace.take(number / 1000.0, 0.0)
    for number in range(64):
        pace.rejected(0.1 + number / 1000.0, number / 1000.0, None)
    assert pace.delay(0.163, 0.0) == pytest.approx(0.1 + BACKOFF - 0.163)


@pytest.mark.parametrize("wish", [None, 0.0])
def test_our_own_fence_doubles_per_burst_until_an_attempt_is_answered(wish: float | None) -> None:
    """0.5, 1, 2 … 30 s; after an answer 0.5 again. A wish for 0 s is no wish."""
    pace, now, fences = Pace(None, None), 0.0, []
    for _ in range(8):
        pace.take(now, 0.0)
        pace.rejected(now + 0.1, now, wish)
        fences.append(pace.delay(now + 0.1, 0.0))
        now += 100.0
    assert fences == [pytest.approx(min(LONGEST_BACKOFF, BACKOFF * 2**k)) for k in range(8)]
    pace.take(now, 0.0)
    pace.accepted(now + 0.1, now)
    pace.take(now + 50.0, 0.0)
    pace.rejected(now + 50.1, now + 50.0, wish)
    assert pace.delay(now + 50.1, 0.0) == pytest.approx(BACKOFF)


steps = st.lists(
    st.tuples(
        st.sampled_from(["send", "wait", "fence", "reject", "accept", "refund"]),
        st.floats(0.0, 100.0),
        st.one_of(st.none(), st.floats(0.0, 50.0)),
    ),
    max_size=60,
)
limits = st.one_of(st.none(), st.floats(0.5, 1e6))


@given(limits, limits, steps)
def test_whatever_happens_no_delay_is_negative_and_no_fence_is_broken_or_shortened(
    rpm: float | None, tpm: float | None, steps: list[tuple[str, float, float | None]]
) -> None:
    """Delays are finite and not below 0, waiting one out lets the attempt leave, and fences end when they said."""
    pace, now, sent, fence = Pace(rpm, tpm), 0.0, [0.0], -math.inf
    for kind, number, wish in steps:
        if kind == "wait":
            now += number
        elif kind == "fence":
            pace.fence(now, number)
            fence = max(fence, now + number)
        elif kind == "reject":
            pace.rejected(now, sent[int(number) % len(sent)], wish)
            fence = max(fence, now + (wish or 0.0))
        elif kind == "accept":
            pace.accepted(now, sent[int(number) % len(sent)])
        elif kind == "refund":
            pace.refund(number)
        else:
            delay = pace.delay(now, number)
            assert 0.0 <= delay < math.inf
            assert now + delay >= fence - 1e-9
            now += delay
            while (more := pace.delay(now, number)) > 0.0:  # the pace may follow the fence
                assert 0.0 < more < math.inf
                now += more
            pace.take(now, number)
            sent.append(now)


@given(st.floats(1.0, 1e5), st.floats(0.0, 10.0), st.lists(st.floats(0.0, 3.0), max_size=40))
def test_no_stretch_of_time_holds_more_than_the_rate_and_the_burst(
    rpm: float, start: float, pauses: list[float]
) -> None:
    """Attempts taken as soon as they may leave, with pauses between, never exceed rate · time + burst."""
    pace, now, times = Pace(rpm, None), start, []
    for pause in pauses:
        now += pause
        for _ in range(3):
            while (delay := pace.delay(now, 0.0)) > 0.0:
                now += delay
            pace.take(now, 0.0)
            times.append(now)
    burst = max(1.0, rpm / 600.0)
    for first in range(0, len(times), 7):
        allowed = burst + (times[-1] - times[first]) * rpm / 60.0
        assert len(times) - first <= allowed + 1e-3 * len(times)
