"""A provider that is gone is left alone but for probes; one that only errs now and then is not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.admission.breaker import Breaker


def fail(breaker: Breaker, times: int, now: float = 0.0) -> Breaker:
    """So many attempts fail at ``now``."""
    for _ in range(times):
        breaker.failed(now, now, "connection refused")
    return breaker


def down(limit: int = 256, give_up_after: float | None = None) -> Breaker:
    """A breaker that is open since time 0."""
    return fail(Breaker(limit, give_up_after), 20)


@pytest.mark.parametrize(("limit", "failures"), [(1, 3), (3, 3), (8, 8), (20, 20), (256, 20)])
def test_as_many_failures_in_a_row_as_may_be_in_flight_open_it(limit: int, failures: int) -> None:
    """At least 3, at most 20; one fewer does not."""
    breaker = fail(Breaker(limit, None), failures - 1)
    assert breaker.is_open is False
    assert fail(breaker, 1).is_open is True


def test_one_answer_ends_a_row() -> None:
    """19 failures, an answer, 19 failures: closed."""
    breaker = fail(Breaker(256, None), 19)
    breaker.answered(0.0, 0.0)
    assert fail(breaker, 19).is_open is False


@pytest.mark.parametrize(("spacing", "open_"), [(0.1, True), (2.0, False)])
def test_mostly_failing_within_a_minute_opens_it(spacing: float, open_: bool) -> None:
    """Three of four failed, never 20 in a row: open where 40 outcomes fall into 60 s, closed where only 30 do."""
    breaker = Breaker(256, None)
    for number in range(120):
        now = number * spacing
        if number % 4:
            breaker.failed(now, now, "HTTP 503")
        elif not breaker.is_open:
            breaker.answered(now, now)
    assert breaker.is_open is open_


@pytest.mark.parametrize("share", [0.04, 0.3])
@pytest.mark.parametrize("spacing", [0.001, 1.4])
def test_random_errors_never_open_it(share: float, spacing: float) -> None:
    """100000 outcomes of which 4 or 30 % fail, a thousand a second or 43 a minute."""
    rng, breaker = random.Random(2), Breaker(256, None)
    for number in range(100_000):
        now = number * spacing
        if rng.random() < share:
            breaker.failed(now, now, "HTTP 500")
        else:
            breaker.answered(now, now)
        assert breaker.is_open is False


def test_with_a_small_limit_a_chance_opening_lasts_until_the_first_probe() -> None:
    """30 % errors, one at a time: open now and then, and closed again in 1 to 31 s, never given up."""
    rng, breaker, now, lost = random.Random(2), Breaker(1, 60.0), 0.0, 0.0
    for _ in range(10_000):
        delay = breaker.delay(now)
        assert delay is not None
        lost, now = lost + delay, now + delay
        if breaker.is_open:
            breaker.probe(now)
        if rng.random() < 0.3:
            breaker.failed(now + 0.1, now, "HTTP 500")
        else:
            breaker.answered(now + 0.1, now)
        assert breaker.gave_up(now) is None
        now += 0.1
    assert 0.0 < lost <= 0.5 * 1000.0  # of 1000 s of work


def test_probes_leave_alone_and_at_growing_gaps() -> None:
    """One after 1 s, and after each that fails one after 2, 4 … 30 s; while one is out, none."""
    breaker, now, gaps = down(), 0.0, []
    for _ in range(8):
        gap = breaker.delay(now)
        assert gap is not None
        gaps.append(gap)
        now += gap
        assert breaker.delay(now) == 0.0
        breaker.probe(now)
        assert breaker.delay(now + 1000.0) is None
        breaker.failed(now + 5.0, now, "timed out")
        now += 5.0
    assert gaps == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_an_answered_probe_closes_it_and_everything_may_leave() -> None:
    """The next outage begins with a gap of 1 s again."""
    breaker = down()
    breaker.probe(1.0)
    breaker.failed(2.0, 1.0, "timed out")
    breaker.probe(4.0)
    breaker.answered(5.0, 4.0)
    assert (breaker.is_open, breaker.delay(5.0)) == (False, 0.0)
    fail(breaker, 20, 6.0)
    assert breaker.delay(6.0) == 1.0


def test_what_was_in_flight_when_it_opened_neither_closes_it_nor_widens_the_gap() -> None:
    """Late failures and answers of attempts sent before the probe are not the probe's."""
    breaker = fail(down(), 200, 0.5)
    assert breaker.delay(0.5) == 0.5
    breaker.probe(1.0)
    breaker.failed(1.5, 0.2, "reset")
    breaker.answered(1.6, 0.3)
    assert (breaker.is_open, breaker.delay(1.6)) == (True, None)


def test_a_provider_that_never_answered_is_given_up_after_15_seconds() -> None:
    """Before the first answer of the process; the text says how long it was silent, and the last error."""
    breaker = down()
    assert breaker.gave_up(15.0) is None
    assert breaker.gave_up(15.5) == ("the provider has not answered for 16 s; the last error: connection refused")


def test_a_provider_that_has_answered_is_given_15_minutes() -> None:
    """Silence counts from the first failure after the last answer, not from the answer: an idle hour is no outage."""
    breaker = Breaker(256, None)
    breaker.answered(0.0, 0.0)
    fail(breaker, 20, 5000.0)
    assert breaker.gave_up(5900.0) is None
    assert breaker.gave_up(5901.0) == ("the provider has not answered for 901 s; the last error: connection refused")


@pytest.mark.parametrize("answered_before", [True, False])
def test_an_explicit_patience_counts_before_the_first_answer_and_after(answered_before: bool) -> None:
    """60 s told: not after 60, but after 61."""
    breaker = Breaker(256, 60.0)
    if answered_before:
        breaker.answered(0.0, 0.0)
    fail(breaker, 20)
    assert [breaker.gave_up(now) is None for now in (60.0, 61.0)] == [True, False]


def test_a_closed_breaker_never_gives_up() -> None:
    """Two failures and then a long pause are no outage."""
    assert fail(Breaker(256, 1.0), 2).gave_up(1000.0) is None


@given(st.integers(1, 300), st.lists(st.tuples(st.sampled_from("afw"), st.floats(0.0, 40.0)), max_size=120))
def test_whatever_happens_it_lets_something_out_in_the_end(limit: int, steps: list[tuple[str, float]]) -> None:
    """Delays are never negative nor longer than 30 s, and None only while a probe is out."""
    breaker, now, probe = Breaker(limit, None), 0.0, False
    for kind, number in steps:
        delay = breaker.delay(now)
        assert (delay is None) == probe
        assert delay is None or 0.0 <= delay <= 30.0
        if kind == "w":
            now += number
        elif breaker.is_open and not probe and delay == 0.0:
            breaker.probe(now)
            probe = True
        else:
            if kind == "a":
                breaker.answered(now, now)
            else:
                breaker.failed(now, now, "x")
            probe = False


def test_silence_counts_from_the_last_answer() -> None:
    """Calls that left long ago and time out together say nothing of a time when others were answered."""
    breaker = Breaker(20, 300.0)
    breaker.answered(599.5, 599.0)
    for _ in range(20):
        breaker.failed(600.0, 0.0, "no answer within 600 s")
    assert breaker.is_open
    assert breaker.gave_up(601.0) is None
    assert breaker.gave_up(901.0) is not None
