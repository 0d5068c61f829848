"""What may be in flight grows in time, gives way once per burst and to queues, and to nothing else."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.admission.window import Window


def ramped(limit: int) -> Window:
    """A window past its slow start, at time 100."""
    window = Window(limit)
    window.allowed(0.0)
    assert window.allowed(100.0) == limit
    return window


def test_the_slow_start_takes_about_a_second_whatever_the_latency() -> None:
    """10 at first, doubled each 0.2 s, 256 after less than a second, without any answer."""
    window = Window(256)
    assert [window.allowed(now) for now in (5.0, 5.2, 5.4, 5.8, 5.95)] == [10, 20, 40, 160, 256]
    assert window.next_change(6.0) is None


def test_a_small_limit_has_no_slow_start() -> None:
    """With a limit of 4 all four may leave at once."""
    assert Window(4).allowed(0.0) == 4


def test_looking_again_when_told_sees_more() -> None:
    """From one look to the next more may be in flight, and the looks are few."""
    window, now, sizes = Window(256), 0.0, [10]
    window.allowed(now)
    while (wait := window.next_change(now)) is not None:
        now += wait + 1e-9
        sizes.append(window.allowed(now))
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 256
    assert len(sizes) <= 100


def test_after_an_outage_the_slow_start_begins_again() -> None:
    """Restarted at time 100, 10 may be in flight, and 20 at 100.2."""
    window = ramped(256)
    window.restart(100.0)
    assert [window.allowed(now) for now in (100.0, 100.2)] == [10, 20]


def test_a_burst_of_refusals_cuts_once() -> None:
    """64 in flight all refused: three quarters of 64 remain, not three quarters to the power of 64."""
    window = ramped(64)
    for number in range(64):
        window.rejected(101.0 + number / 1000.0, 100.5, 64 - number)
    assert window.allowed(102.0) == 48


def test_a_cut_leaves_at_least_one() -> None:
    """A limit of 1 stays 1."""
    window = ramped(1)
    window.rejected(101.0, 100.5, 1)
    assert window.allowed(101.0) == 1


def test_a_window_that_was_not_full_is_not_cut() -> None:
    """Refused at 20 in flight of 256, the pace was to blame."""
    window = ramped(256)
    window.rejected(101.0, 100.5, 20)
    assert window.allowed(101.0) == 256


def test_a_third_burst_in_a_row_cuts_a_window_that_was_not_full() -> None:
    """The pace had two bursts to give way; then what is in flight is cut: 20 to 15."""
    window = ramped(256)
    for now in (101.0, 102.0, 103.0):
        window.rejected(now, now - 0.1, 20)
    assert window.allowed(103.0) == 15


def test_cuts_in_vain_are_taken_back() -> None:
    """A server that still refuses at 27 what it refused at 64 does not count what is in flight."""
    window, sizes = ramped(64), []
    for now in (101.0, 102.0, 103.0, 104.0):
        window.rejected(now, now - 0.1, window.allowed(now))
        sizes.append(window.allowed(now))
    assert sizes == [48, 36, 27, 64]


def test_the_first_burst_of_a_slow_start_does_not_end_it() -> None:
    """Cut from 20 to 15 at 0.2 s, there are 30 again at 0.4 s."""
    window = Window(256)
    window.allowed(0.0)
    window.rejected(0.2, 0.1, 20)
    assert [window.allowed(now) for now in (0.2, 0.4)] == [15, 30]


def test_answers_add_one_per_25_up_to_the_limit() -> None:
    """Cut to 48 of 64, 16 · 25 answers bring 64 back, and more do not exceed it."""
    window = ramped(64)
    window.rejected(101.0, 100.5, 64)
    sizes = []
    for answers in (25, 25, 14 * 25, 1000):
        for _ in range(answers):
            window.answered(110.0, 109.0, 1.0)
        sizes.append(window.allowed(110.0))
    assert sizes == [49, 50, 64, 64]


def test_server_errors_pause_growth_without_a_cut() -> None:
    """Within a second of ten in twenty neither answers nor time add anything."""
    window = ramped(64)
    window.rejected(101.0, 100.5, 64)
    for _ in range(10):
        window.troubled(110.0)
    for _ in range(100):
        window.answered(110.5, 109.0, 1.0)
    assert window.allowed(110.5) == 48
    ramping = Window(256)
    ramping.allowed(0.0)
    for _ in range(10):
        ramping.troubled(0.2)
    assert [ramping.allowed(now) for now in (0.2, 1.2, 1.4)] == [20, 20, 40]


def test_a_few_server_errors_among_many_answers_hold_nothing_up() -> None:
    """Five in a hundred, all the time: at 250 attempts a second there is always one within the last second."""
    window = Window(256)
    for step in range(400):
        now = step / 250.0
        window.allowed(now)
        window.troubled(now) if step % 20 == 0 else window.answered(now, now - 0.05, 0.05)
    assert window.allowed(1.6) == 256


class Loop:
    """A caller that keeps the window full; ``latency(now)`` is asked when an attempt leaves."""

    def __init__(self, limit: int, latency: Callable[[float], float]) -> None:
        self.window, self.latency = Window(limit), latency
        self.now, self.answers, self.smallest = 0.0, 0, limit
        self._coming: list[tuple[float, float]] = []

    def run(self, *, answers: float = math.inf, until: float = math.inf) -> int:
        """Go on until so many answers or that time; returns the window at the end."""
        while self.answers < answers and self.now < until:
            while len(self._coming) < self.window.allowed(self.now):
                heapq.heappush(self._coming, (self.now + self.latency(self.now), self.now))
            change = self.window.next_change(self.now)
            self.now = min(self._coming[0][0], self.now + change if change else math.inf)
            while self._coming and self._coming[0][0] <= self.now:
                _, sent_at = heapq.heappop(self._coming)
                self.window.answered(self.now, sent_at, self.now - sent_at)
                self.answers += 1
            if self.now > 1.0:
                self.smallest = min(self.smallest, self.window.allowed(self.now))
        return self.window.allowed(self.now)


def queueing(slots: int, seconds: Callable[[], float]) -> Callable[[float], float]:
    """A server of so many slots; who finds none free waits."""
    free = [0.0] * slots

    def latency(now: float) -> float:
        done = max(now, heapq.heappop(free)) + seconds()
        heapq.heappush(free, done)
        return done - now

    return latency


@pytest.mark.parametrize(("service", "until"), [(0.5, 300.0), (2.0, 1500.0)])
@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_a_server_that_queues_gets_less_and_stays_busy(service: float, until: float, sigma: float) -> None:
    """16 slots, 256 configured: at most 96 in flight at the end, and at least 95 % of what the server can do."""
    rng = random.Random(1)
    loop = Loop(256, queueing(16, lambda: service * math.exp(sigma * rng.gauss(0.0, 1.0) - sigma * sigma / 2.0)))
    assert 16 <= loop.run(until=until) <= 96
    assert loop.answers >= 0.95 * until * 16.0 / service


@pytest.mark.parametrize(("median", "sigma"), [(0.05, 1.0), (0.3, 0.3), (0.3, 1.0), (2.0, 0.5), (2.0, 1.0)])
def test_scattered_latencies_alone_never_cut(median: float, sigma: float) -> None:
    """100000 log-normal answers in all, and never less than the limit in flight once it was reached."""
    rng = random.Random(7)
    loop = Loop(256, lambda now: median * math.exp(sigma * rng.gauss(0.0, 1.0)))
    loop.run(answers=20_000)
    assert loop.smallest == 256


def test_a_busy_processor_is_no_queue() -> None:
    """50 ms rising to 200 ms, as on a loopback test with one core, is below a second and cuts nothing."""
    loop = Loop(256, lambda now: 0.05 if now < 1.0 else 0.2)
    loop.run(answers=20_000)
    assert loop.smallest == 256


def test_slower_work_that_is_no_queue_gets_its_window_back() -> None:
    """Ten times the latency at any number in flight: half the window shows it, and all of it returns."""
    rng = random.Random(3)
    loop = Loop(256, lambda now: (0.3 if now < 20.0 else 3.0) * math.exp(0.3 * rng.gauss(0.0, 1.0)))
    assert loop.run(answers=40_000) == 256
    assert 100 <= loop.smallest < 256


@given(st.integers(1, 2000), st.lists(st.tuples(st.sampled_from("arstw"), st.floats(0.0, 5.0)), max_size=80))
def test_whatever_happens_the_window_is_between_one_and_the_limit(limit: int, steps: list[tuple[str, float]]) -> None:
    """Refusals, answers, errors, restarts and time in any order."""
    window, now = Window(limit), 0.0
    for kind, number in steps:
        if kind == "a":
            window.answered(now, max(0.0, now - number), number)
        elif kind == "r":
            window.rejected(now, max(0.0, now - number), window.allowed(now))
        elif kind == "s":
            window.restart(now)
        elif kind == "t":
            window.troubled(now)
        else:
            now += number
        assert 1 <= window.allowed(now) <= limit
        change = window.next_change(now)
        assert change is None or change > 0.0


def test_a_server_of_our_own_is_given_all_at_once_and_always() -> None:
    """It batches what it has: what looks like a queue from outside is the batch at work."""
    window = Window(256, own=True)
    assert window.allowed(0.0) == 256
    assert window.next_change(0.0) is None
    for number in range(2000):
        window.answered(float(number), number - 30.0, 0.1 if number < 100 else 30.0)
    window.restart(3000.0)
    assert window.allowed(3000.0) == 256
