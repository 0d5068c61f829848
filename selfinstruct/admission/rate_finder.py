"""Finds the rate a server allows from what it refused: a rate nobody told us, or one that is not what we were told.

The server is taken for a token bucket, as most are: ``burst`` requests at once, refilled at ``rate`` a second. It
refuses when the bucket is empty, so of every stretch of time that ends with a refusal we know

    accepted ≤ burst + rate · seconds,    and they are equal if the bucket was full when the stretch began.

Two episodes, each from a pause to the next refusal, then say both numbers: the one rate at which both demand the same
burst. So after the first refusal the pace *searches*: it starts low and doubles fast, the second refusal measures, and
from then on it *cruises* just below the measured rate, creeps for a while, and at last climbs, for limits rise, too.
Often one refusal is enough: limits are round numbers, and `round_limits` knows which of them explains what was sent.

The constants were tuned in simulation (``tests/admission/test_rate_finder.py``): 1 to 500 requests a second, bursts of
1 to 200, latencies of 10 ms to 1 s, refusals at once or as late as answers, Retry-After of 0 to 20 seconds or none.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from selfinstruct.admission.round_limits import Limit, likely_limit

Stretches = Sequence[tuple[float, float]]
"""(requests accepted, seconds) of stretches of time that end with the same refusal."""

# Searching: how the pace starts and doubles while little is known.
HOLDS = 0.3  # seconds' worth of its rate that a bucket is first taken to hold; doubled with every try that told nothing
UNKNOWN = 20.0  # requests a second, where the very first is refused: that tells nothing
SEARCH, FINE = 0.5, 2.5  # seconds in which the pace doubles, knowing nothing and knowing the rate roughly
FEW, LONGEST_DOUBLING = 8.0, 30.0  # a doubling takes that many requests, but no longer than so many seconds
DELAYS = 4.0  # ... and that many times the delay with which refusals reach us, or much is sent before we know
SPARE = 0.1  # seconds' worth of the rate that may leave at once, as timers are late; none after two tries in vain

# Measuring.
HORIZON = 10.0  # seconds before a refusal that count
POINTS = 64  # stretches looked at, which finds the rate to about one per cent
ENOUGH, SOME = 20.0, 3.0  # requests between two episodes that make the rate certain, or roughly known
REFUSED_LATE = 10  # so many accepted between the refusals of one burst measure the rate by themselves
CLOSE = 0.8  # of the highest rate possible: a lower bound that close is the rate
AGREED = 0.1  # of each other, three in a row: the bucket never filled in between, so that is the rate
PUBLISHED = 3  # bursts after which limits that providers publish are looked at; they need all that was sent
NEAR, LIKELY, SURELY = 0.05, 0.5, 0.9  # distance from a sure measure; shares of belief
LOGGED = 4096  # times kept; more than are ever in flight

# Cruising: a fence of a second is worth the gain of a minute, so certainty comes before speed.
MARGIN = 0.0075  # below the measured rate; doubled for each try after the second that did not last
CREEP, CLIMB = 0.001, 0.05  # growth a second while the measure is young, and later: twice the rate 29 s after a refusal
YOUNG, YOUNG_FENCES = 15.0, 15.0  # seconds, or so many fences
LASTED = 5.0  # seconds without a refusal that make a measure a good one

# A server that refuses at random is no bucket, and slowing down does not help: see `RateFinder._is_no_bucket`.
DISPROVED = 0.4  # refused at less than this share of a rate it has sustained
SHRUG = 10.0  # seconds without a pace then, doubled each time
MANY = 10  # refusals in one burst, and most of it, that end this
SLOWEST = 1.0 / 60.0


class _Knows(Enum):
    LITTLE = SEARCH
    ROUGHLY = FINE
    ENOUGH = math.inf


@dataclass
class _Burst:
    """Refusals that belong together: of attempts sent before we knew of the first. Times are monotonic seconds."""

    start: float  # the episode's first attempt
    first: float  # the first attempt refused
    last: float
    seen: float  # when we knew
    fence: float
    after: float  # the last refusal of the burst before; -inf for the first
    pace: float  # the rate when it came
    known: tuple[Stretches, float] | None  # an episode to compare with, and the pause that preceded it
    tries: int  # bursts since a measure lasted, this one included
    served: tuple[float, ...]  # the rates sustained up to the two bursts before


@dataclass
class _View:
    """What a burst and its episode show."""

    accepted: int
    seconds: float
    meanwhile: int  # accepted between the first refusal and the last
    stretches: Stretches
    whole: bool  # the episode is not longer than the horizon
    served: float  # a rate the server has sustained, pauses included
    certain: bool  # ... certainly: since the bucket was last seen empty
    most: float  # a rate it certainly does not exceed, if it is a bucket


class RateFinder:
    """The rate of one key's limit, in requests a second: infinite until something was refused.

    ``spare`` requests may leave at once. ``sent`` and ``rejected`` report; ``now`` never goes back.
    """

    def __init__(self) -> None:
        self._rate = math.inf
        self._knows = _Knows.LITTLE
        self._holds = math.inf  # the size of the bucket
        self._age = 0.0  # of the rate, in seconds in which it was used
        self._sent: list[float] = []
        self._refused: list[float] = []
        self._started = -math.inf
        self._bursts = 0
        self._burst: _Burst | None = None
        self._unread = False
        self._known: tuple[Stretches, float] | None = None
        self._sustained = self._served = 0.0
        self._shrugs, self._shrug_until = 0, -math.inf

    @property
    def rate(self) -> float:
        """Requests a second."""
        if self._unread:
            self._read()
        return self._rate

    @property
    def spare(self) -> float:
        """Requests that may leave at once."""
        rate = self.rate
        if self._knows is _Knows.ENOUGH:
            return self._holds / 2.0
        return SPARE * rate if self._burst is None or self._burst.tries <= 2 else 1.0

    def sent(self, now: float) -> None:
        """An attempt leaves. The rate grows while it is used, not while nobody asks for it."""
        if self._burst is not None:
            if self._started <= self._burst.seen:
                self._started = now
            elif self.rate < math.inf:
                self._grow(min(now - self._sent[-1], 2.0 / self._rate), self._burst)
        elif not self._sent:
            self._started = now
        self._sent.append(now)
        del self._sent[: -LOGGED if len(self._sent) > 2 * LOGGED else 0]

    def rejected(self, now: float, sent_at: float, fence: float) -> None:
        """The attempt sent at ``sent_at`` was refused; ``fence`` is how long nothing leaves."""
        if not self._sent:
            return
        insort(self._refused, sent_at)
        del self._refused[: -LOGGED if len(self._refused) > 2 * LOGGED else 0]
        burst = self._burst
        if burst is None or sent_at > burst.seen:
            self._burst = self._new_burst(now, sent_at, fence)
        elif sent_at >= burst.start:
            burst.first, burst.last = min(burst.first, sent_at), max(burst.last, sent_at)
        self._unread = True

    def _new_burst(self, now: float, sent_at: float, fence: float) -> _Burst:
        self._bursts += 1
        pace, before = self.rate, self._burst  # reads the burst before, if nobody did
        tries = before.tries + 1 if before else 1
        if self._knows is _Knows.ENOUGH and sent_at - self._started >= LASTED:
            tries, self._shrugs = 1, 0
        self._sustained = max(0.95 * self._sustained, self._served)
        after = before.last if before else -math.inf
        served = (*(before.served[-1:] if before else ()), self._served)
        return _Burst(self._started, sent_at, sent_at, now, fence, after, pace, self._known, tries, served)

    def _grow(self, seconds: float, burst: _Burst) -> None:
        self._age += seconds
        young = self._age < max(YOUNG, YOUNG_FENCES * burst.fence)
        growth = CREEP if young else CLIMB
        if self._knows is not _Knows.ENOUGH:
            doubling = max(
                self._knows.value * 2.0 ** min(max(0, burst.tries - 2), 5),
                min(FEW / self._rate, LONGEST_DOUBLING),
                DELAYS * (burst.seen - burst.first),
                min(burst.first - burst.start, LASTED),  # the next look must last longer than this one to tell more
            )
            growth = max(growth, math.log(2.0) / doubling)
        self._rate *= math.exp(seconds * growth)

    # --- reading a burst ----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Set the rate by the last burst, of which more refusals may have come in since it was last read."""
        self._unread = False
        burst = self._burst
        assert burst is not None
        view = self._view(burst)
        if self._is_no_bucket(burst, view):
            self._rate, self._knows, self._known, self._served = math.inf, _Knows.LITTLE, None, 0.0
            burst.tries = 0
            return
        rate, self._knows = _measure(burst, view)
        limit = self._published(burst, view, rate)
        measured = self._knows is _Knows.ENOUGH and limit is None
        if limit:
            rate, self._holds, self._knows = limit.rate, limit.burst, _Knows.ENOUGH
        elif measured:
            self._holds = max((n - rate * seconds for n, seconds in view.stretches), default=0.0)
        self._served = view.served if view.certain else 0.0
        self._age, self._known = 0.0, burst.known
        margin = MARGIN * 2.0 ** min(max(0, burst.tries - 2), 4) if self._knows is _Knows.ENOUGH else 0.0
        self._rate = max(SLOWEST, rate * (1.0 - margin))
        if view.whole and (measured or _tells_more(burst, view)):
            self._known = ([(self._holds, 0.0)] if measured else view.stretches), burst.start - burst.after

    def _published(self, burst: _Burst, view: _View, measured: float) -> Limit | None:
        """A published limit that explains all that was sent; None where the measure is the better guess."""
        if self._bursts > PUBLISHED or len(self._sent) > LOGGED / 2 or view.meanwhile >= REFUSED_LATE:
            return None
        limit = likely_limit(self._sent, self._refused)
        if limit is None or self._bursts == 1:
            return limit
        sure = self._knows is _Knows.ENOUGH
        agrees = abs(limit.rate / measured - 1.0) < NEAR
        return limit if limit.share > (SURELY if sure else LIKELY) or (sure and agrees) else None

    def _view(self, burst: _Burst) -> _View:
        start = max(burst.start, burst.first - HORIZON, self._sent[0])
        n, seconds = self._accepted(start, burst.first), burst.first - start
        low, high = bisect_left(self._sent, start), bisect_right(self._sent, burst.first)
        step = max(1, (high - low) // POINTS)
        stretches = [(self._accepted(at, burst.first), burst.first - at) for at in self._sent[low:high:step]]
        served = n / (seconds + HOLDS * 2.0 ** min(burst.tries - 1, 10))
        whole = start == burst.start
        certain = whole and burst.after >= max(start - HORIZON, self._sent[0])
        if certain:
            served = n / max(burst.first - burst.after, 1e-3)  # empty then, empty now: nothing accepted came from stock
        most = max((k / w for k, w in stretches if w > seconds / 4.0), default=math.inf)
        meanwhile = self._accepted(math.nextafter(burst.first, math.inf), burst.last)
        return _View(n, seconds, meanwhile, stretches, whole, served, certain, most)

    def _accepted(self, start: float, end: float) -> int:
        """Sent from ``start`` to ``end``, both included, and not refused as far as is known."""
        sent = bisect_right(self._sent, end) - bisect_left(self._sent, start)
        return sent - self._refused_between(start, end)

    def _refused_between(self, start: float, end: float) -> int:
        return bisect_right(self._refused, end) - bisect_left(self._refused, start)

    def _is_no_bucket(self, burst: _Burst, view: _View) -> bool:
        """True while refusals are not for our pace: they came far below a rate that was sustained before.

        No bucket does that, unless its limit fell as far, which is then seen as a burst that is mostly refused.
        """
        if burst.seen < self._shrug_until:
            refused = self._refused_between(burst.first, burst.last)
            if refused < MANY or refused < view.meanwhile:
                return True
            self._shrug_until = -math.inf
        if view.most < DISPROVED * self._sustained and burst.fence <= LASTED:
            self._shrug_until = burst.seen + SHRUG * 2.0 ** min(self._shrugs, 6)
            self._shrugs, self._sustained = self._shrugs + 1, 0.0
            return True
        return False


def _tells_more(burst: _Burst, view: _View) -> bool:
    """True when this episode is better to compare with: it is the first, began with a fuller bucket, or is shorter."""
    if burst.known is None:
        return True
    stretches, pause = burst.known
    return burst.start - burst.after > 1.1 * pause or view.seconds < stretches[0][1]


def _measure(burst: _Burst, view: _View) -> tuple[float, _Knows]:
    """The server's rate, and how well it is known; if little, a rate to search upwards from."""
    if view.accepted == 0:
        return (burst.pace / 2.0 if burst.pace < math.inf else UNKNOWN), _Knows.LITTLE
    if view.meanwhile >= REFUSED_LATE:
        rate = view.meanwhile / (burst.last - burst.first)
        return max(rate, view.served if view.certain else 0.0), _Knows.ENOUGH
    if burst.known and (not view.whole or burst.start - burst.after <= 1.1 * burst.known[1]):
        rate, more = _meet(burst.known[0], view.stretches, max(view.served, 1e-3), 1.1 * view.most)
        if more >= ENOUGH:
            return max(rate, view.served), _Knows.ENOUGH
        if more >= SOME:
            return max(rate * (1.0 - 1.0 / more), view.served), _Knows.ROUGHLY
    agreed = burst.tries >= 4 and all(abs(served / view.served - 1.0) < AGREED for served in burst.served)
    if agreed or view.served >= CLOSE * view.most:
        return view.served, _Knows.ENOUGH
    least = burst.pace / 2.0 if burst.tries >= 4 and burst.pace < math.inf else 0.0
    guess = view.accepted / (view.seconds + HOLDS * 2.0 ** min(max(0, burst.tries - 1), 10))
    return max(view.served, guess, least), _Knows.LITTLE


def _meet(before: Stretches, now: Stretches, least: float, most: float) -> tuple[float, float]:
    """The highest rate at which two episodes demand the same burst, and by how many requests the later one tells more.

    (0, 0) where there is none between ``least`` and ``most``.
    """

    def demand(stretches: Stretches, rate: float) -> tuple[float, float]:
        return max((accepted - rate * seconds, seconds) for accepted, seconds in stretches)

    def excess(rate: float) -> float:
        return demand(now, rate)[0] - demand(before, rate)[0]

    high = min(most, 1e5)
    low = high / 1.05
    while not excess(low) > 0.0 >= excess(high):
        high, low = low, low / 1.05
        if high < least:
            return 0.0, 0.0
    for _ in range(12):  # five per cent, halved so often
        rate = math.sqrt(low * high)
        low, high = (rate, high) if excess(rate) > 0.0 else (low, rate)
    return low, low * (demand(now, low)[1] - demand(before, low)[1])
