"""Are refusals for our pace at all? Some servers refuse now and then whatever the pace: slowing down is then a crawl.

Between two bursts of refusals a server with a limit has let through what its limit allows, and no more; so it never
refuses while attempts leave much more slowly than it was seen to let through. One that does, several times, and refuses
but a small share of everything, is not limited by our pace. Then its fences are kept, and nothing else is done.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

LATEST = 240
"""Outcomes looked at: of a server that refuses two in a hundred, five bursts on average."""

BURSTS, CONTRADICTIONS = 4, 2
"""So many separate bursts among them, so many of which no limit explains, …"""

SHARE = 0.4
"""… and no more than this share refused, is chance: a burst against a limit is mostly refused."""

SLOWER = 0.7
"""A burst is unexplained if attempts left at less than this share of what the server was seen to let through, …"""

SEEN = 4
"""… in a stretch of at least so many: fewer make no rate."""

FLOOD, FLOODED, DISTRUST = 20, 12, 60.0
"""So many refused of the latest so many, while the pace is lifted: there is a limit after all, and for a
minute nothing else is believed."""


class _Burst(NamedTuple):
    number: int  # of its first refusal among all outcomes
    let_through: float  # a second, pauses included, since the burst before
    unexplained: bool


class Chance:
    """Judges the outcomes of attempts, told in the order in which they come back. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._latest: deque[bool] = deque(maxlen=LATEST)  # whether it was refused
        self._number = 0  # of outcomes
        self._accepted = 0  # since the last burst
        self._known_at = -math.inf  # when that was noticed; what was sent before belongs to it
        self._fence = 0.0  # and how long nothing left after it
        self._bursts: list[_Burst] = []
        self._since = math.inf  # when the verdict was chance
        self._distrust_until = -math.inf

    @property
    def at_random(self) -> bool:
        """True while refusals are not taken as a matter of pace."""
        return self._since < math.inf

    def accepted(self, now: float) -> None:
        """An attempt was answered."""
        self._count(refused=False)
        self._accepted += 1

    def fenced(self, seconds: float) -> None:
        """Nothing leaves for so long after the latest burst."""
        self._fence = max(self._fence, seconds)

    def refused(self, now: float, sent_at: float) -> bool:
        """An attempt was refused (429). True when this changed the verdict."""
        if self.at_random:
            if sent_at <= self._since:
                return False
            self._count(refused=True)
            flooded = sum(list(self._latest)[-FLOOD:]) >= FLOODED
            self._distrust_until = now + DISTRUST if flooded else self._distrust_until
            return flooded and self._begin_anew(math.inf)
        self._count(refused=True)
        if sent_at > self._known_at:
            self._note_burst(now)
        if now < self._distrust_until or not self._is_chance():
            return False
        return self._begin_anew(now)

    def _is_chance(self) -> bool:
        unexplained = sum(burst.unexplained for burst in self._bursts)
        few = sum(self._latest) <= SHARE * len(self._latest)
        return few and len(self._bursts) >= BURSTS and unexplained >= CONTRADICTIONS

    def _count(self, *, refused: bool) -> None:
        self._latest.append(refused)
        self._number += 1

    def _note_burst(self, now: float) -> None:
        seconds = now - self._known_at
        self._bursts = [burst for burst in self._bursts if burst.number > self._number - LATEST]
        if seconds < math.inf:
            pace = self._accepted / max(seconds - self._fence, 1e-3)
            most = max((burst.let_through for burst in self._bursts), default=0.0)
            let_through = self._accepted / seconds if self._accepted >= SEEN else 0.0
            self._bursts.append(_Burst(self._number, let_through, pace < SLOWER * most))
        self._known_at, self._fence, self._accepted = now, 0.0, 0

    def _begin_anew(self, since: float) -> bool:
        self._latest.clear()
        self._bursts.clear()
        self._accepted, self._since = 0, since
        return True
