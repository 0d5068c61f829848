"""Which of the limits that providers publish explains best what a server took and what it refused.

A first refusal leaves a whole line of token buckets open: a large burst with a slow refill, a small one with a fast
refill. But people set limits to round numbers, and few round buckets lie on such a line. Each bucket is believed as
far as it is usual; of the likely ones that is taken which is expected to cost the least time: a rate too high costs a
fence, one too low costs until the pace has climbed to the limit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

MINUTE, SECOND = (1.0, 2.0, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0), (1.0, 2.0, 5.0)
ROUND_RATES = sorted(
    {n * 10.0**k / 60.0 for n in MINUTE for k in range(1, 6)} | {n * 10.0**k for n in SECOND for k in range(4)}
)
"""Requests a second: what providers' pages say, 10 to 800 000 a minute, and 1 to 5000 a second."""

OTHER_RATES = [0.5 * 1.08**k for k in range(112)]
"""Any other limit, in steps of 8 per cent up to 2500 a second."""

ROUND_BURSTS, LARGEST = sorted(n * 10.0**k for n in (1, 2, 3, 4, 5, 6, 8) for k in range(4)), 1000.0
"""Requests at once; other bursts are taken for equally usual on a logarithmic scale, up to the largest."""

ROUND = 0.7
"""The share of round rates among all, and of round bursts."""

JITTER, ROUNDING = 0.004, 0.2
"""Seconds by which a request arrives earlier or later than others, and requests by which a bucket may be misjudged."""

TOGETHER = 0.2
"""Seconds after a refusal in which attempts say nothing about the burst."""

LAST, FASTER = 10, 1.5
"""A bucket that fills so much faster than the last attempts left before the first refusal was not empty then."""

SURE = 0.13
"""The least share of all belief with which a limit is taken: 6000 a minute with a burst of 20 has 0.13 and more."""

CLIMBING = 6.0
"""Fences' worth of time lost for each e-fold by which a rate is too low: the pace stays below for fifteen of them."""


class Limit(NamedTuple):
    """A token bucket: requests a second, requests at once, and the share of all belief, 0 to 1."""

    rate: float
    burst: float
    share: float


def likely_limit(sent: Sequence[float], refused: Sequence[float]) -> Limit | None:
    """The limit to go by; None if none is likely enough.

    ``sent`` are the times of all attempts since the bucket was full, ``refused`` those of the refused ones, in seconds
    and in order.
    """
    log = _log(sent, refused)
    if not any(refused for _, refused in log):
        return None  # what was refused is not in the log any more
    believed = _believed(log, ROUND_RATES, ROUND)
    everything = believed + _believed(log, OTHER_RATES, 1.0 - ROUND)
    total = sum(limit.share for limit in everything)
    best, least = None, total  # without a limit to go by the search costs one more fence
    for mine in believed:
        if mine.share >= SURE * total:
            loss = sum(other.share * _cost(mine.rate, other.rate) for other in everything)
            if loss < least:
                best, least = mine, loss
    return best and best._replace(share=best.share / total)


def _cost(mine: float, true: float) -> float:
    """Fences that taking one rate for another costs."""
    if mine == true:
        return 0.0
    return 1.0 if mine > true else CLIMBING * math.log(true / mine)


def _log(sent: Sequence[float], refused: Sequence[float]) -> list[tuple[float, bool]]:
    """(when, refused?) of each attempt; of those sent at the same time the last were refused."""
    left, log = Counter(refused), []
    for at in reversed(sent):
        log.append((at, left[at] > 0))
        left[at] -= 1
    return log[::-1]


def _believed(log: list[tuple[float, bool]], rates: Sequence[float], share: float) -> list[Limit]:
    """The limits with these rates that are possible, each with its belief."""
    found = []
    fastest = _fastest(log)
    for rate in rates:
        if rate > fastest:
            continue
        low, high = _bursts(log, rate)
        slack = min(JITTER * rate, 0.1 * high) + ROUNDING
        belief = _usual(max(1.0, low - slack), high + slack) * share / len(rates)
        if belief > 0.0:
            found.append(Limit(rate, max(1.0, min(low, high)), belief))
    return found


def _fastest(log: list[tuple[float, bool]]) -> float:
    """No limit refills faster than that, in requests a second."""
    first = next((place for place, (_, refused) in enumerate(log) if refused), 0)
    return FASTER * LAST / max(log[first][0] - log[first - LAST][0], 1e-9) if first >= LAST else math.inf


def _bursts(log: list[tuple[float, bool]], rate: float) -> tuple[float, float]:
    """The least and the largest burst that explain what was taken and refused, if the bucket is filled at this rate.

    The first refusal of several counts: after it the order in which attempts arrive decides, and that is not known.
    """
    used, least, largest, before, refused_at = 0.0, 0.0, math.inf, log[0][0], -math.inf
    for at, refused in log:
        used = max(0.0, used - rate * (at - before))
        before = at
        alone = at > refused_at + TOGETHER
        if refused:
            largest = min(largest, used + 1.0) if alone else largest
            refused_at = at
        else:
            used += 1.0
            least = max(least, used) if alone else least
    return least, largest


def _usual(low: float, high: float) -> float:
    """How usual a burst between these is, 0 to 1."""
    if low >= high:
        return 0.0
    others = math.log(high / low) / math.log(LARGEST)
    return ROUND * sum(low <= burst <= high for burst in ROUND_BURSTS) / len(ROUND_BURSTS) + (1.0 - ROUND) * others
