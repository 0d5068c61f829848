"""A few refusals and the habits of providers tell a limit."""

from __future__ import annotations

from selfinstruct.admission.round_limits import likely_limit


def attempts(rate: float, burst: float, pace: float, clump: int) -> tuple[list[float], list[float]]:
    """A clump at once, then so many a second, up to the first that such a bucket refuses: all of them, and that one."""
    sent, level, now = [0.0] * clump, burst - clump, 0.0
    while level >= 0.0:
        now += 1.0 / pace
        level += rate / pace - 1.0
        sent.append(now)
    return sent, [now]


def test_a_round_limit_is_told_by_one_refusal() -> None:
    """100 a second with a burst of 20: no other usual bucket refuses the 35th attempt after 0.15 s at 160 a second."""
    limit = likely_limit(*attempts(100.0, 20.0, 160.0, 10))
    assert limit is not None
    assert limit.rate == 100.0
    assert 19.0 <= limit.burst <= 20.5


def test_two_episodes_tell_it_for_sure() -> None:
    """After a pause and a second refusal at another pace next to all belief is in the one limit left."""
    sent, refused = attempts(100.0, 20.0, 200.0, 10)
    later, again = attempts(100.0, 20.0, 130.0, 1)
    pause = sent[-1] + 1.0
    limit = likely_limit(sent + [at + pause for at in later], refused + [at + pause for at in again])
    assert limit is not None
    assert limit.rate == 100.0
    assert limit.share > 0.9


def test_a_clump_that_is_refused_tells_no_rate() -> None:
    """Five of ten sent at once: a burst of five, and any rate whatever."""
    assert likely_limit([0.0] * 10, [0.0] * 5) is None


def test_nothing_faster_than_the_attempts_themselves_is_believed() -> None:
    """Ten within 2 ms and the rest at 150 a second: a bucket that refills 13000 times a second was never empty."""
    sent, refused = attempts(100.0, 20.0, 150.0, 10)
    limit = likely_limit([0.0002 * place for place in range(10)] + sent[10:], refused)
    assert limit is None or limit.rate <= 225.0


def test_what_was_refused_and_is_not_in_the_log_tells_nothing() -> None:
    """Only so many attempts are remembered."""
    assert likely_limit([1.0, 2.0], [0.5]) is None
    assert likely_limit([], []) is None
