"""Is the provider there? When it is not, nothing but a probe now and then is sent, and at last the run gives up."""

from __future__ import annotations

import math
from collections import deque

FEWEST_IN_A_ROW, MOST_IN_A_ROW = 3, 20
"""Failures in a row that open the breaker: as many as may be in flight, within these. A server that fails three times
in ten at random fails twenty times in a row once in 10^10; three in a row now and then, and the first probe is soon."""

OUTCOMES, FEWEST_OUTCOMES, SECONDS = 200, 40, 60.0
"""More than half of the last 200 outcomes of a minute, if there are 40 (reliability row N8: half of 20 in 60 s)."""

CHANCE = 1.5
"""... and so many roots of their number more than half, which is three standard deviations: 30 of 40, 122 of 200."""

FIRST_GAP, LONGEST_GAP = 1.0, 30.0
"""Seconds until a probe may leave, doubled by each that fails."""

PATIENCE_AT_FIRST, PATIENCE = 15.0, 900.0
"""Seconds without an answer before giving up: a wrong address shows at once, an outage may pass (rows N1, N8)."""


class Breaker:
    """Closed while the provider answers, open while it does not.

    ``limit`` is the most attempts in flight, ``give_up_after`` the seconds of silence to bear (None: 15 before the
    first answer, 900 after). Time is monotonic seconds. An *answer* is anything the provider said for itself, a refusal
    (429, 4xx) too where it answers a probe; a *failure* is an attempt not sent, lost, unusable, or a 5xx.
    """

    def __init__(self, limit: int, give_up_after: float | None) -> None:
        self._in_a_row = max(FEWEST_IN_A_ROW, min(MOST_IN_A_ROW, limit))
        self._give_up_after = give_up_after
        self._row = 0
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=OUTCOMES)  # when, and whether it failed
        self._failed = 0  # of those
        self._ever_answered, self._answered_at = False, -math.inf
        self._silent_since = math.inf  # when the first attempt left that failed since the last answer
        self._error = ""
        self._opened_at = math.inf
        self._probe_from = math.inf  # when the next probe may leave
        self._probe_out = False
        self._gap = FIRST_GAP

    @property
    def is_open(self) -> bool:
        """True while only probes may leave."""
        return self._opened_at < math.inf

    def delay(self, now: float) -> float | None:
        """Seconds until an attempt, or a probe, may leave; None while a probe is out."""
        if not self.is_open:
            return 0.0
        return None if self._probe_out else max(0.0, self._probe_from - now)

    def probe(self, now: float) -> None:
        """A probe leaves. However it ends must be reported, or nothing will leave again."""
        self._probe_out = True
        self._probe_from = now

    def answered(self, now: float, sent_at: float) -> None:
        """An attempt was answered. When open, only the answer to a probe closes: others may have been on the way."""
        self._ever_answered, self._answered_at = True, now
        self._silent_since = math.inf
        self._row = 0
        if self._is_probes(sent_at):
            self._opened_at, self._probe_out, self._gap = math.inf, False, FIRST_GAP
            self._outcomes.clear()
            self._failed = 0
        elif not self.is_open:
            self._note(now, False)

    def failed(self, now: float, sent_at: float, error_text: str) -> None:
        """An attempt failed as in an outage."""
        self._error = error_text
        self._silent_since = min(self._silent_since, max(sent_at, self._answered_at))
        if self._is_probes(sent_at):
            self._gap = min(LONGEST_GAP, 2.0 * self._gap)
            self._probe_out, self._probe_from = False, now + self._gap
        elif not self.is_open:
            self._row += 1
            self._note(now, True)
            if self._row >= self._in_a_row or self._mostly_fails():
                self._opened_at, self._probe_from = now, now + self._gap

    def gave_up(self, now: float) -> str | None:
        """Why to stop waiting, once it is time to."""
        patience = self._give_up_after
        if patience is None:
            patience = PATIENCE if self._ever_answered else PATIENCE_AT_FIRST
        silence = now - self._silent_since
        if not self.is_open or silence <= patience:
            return None
        return f"the provider has not answered for {silence:.0f} s; the last error: {self._error}"

    def _is_probes(self, sent_at: float) -> bool:
        return self._probe_out and sent_at >= self._probe_from

    def _note(self, now: float, failed: bool) -> None:
        while self._outcomes and (len(self._outcomes) == OUTCOMES or self._outcomes[0][0] < now - SECONDS):
            self._failed -= self._outcomes.popleft()[1]
        self._outcomes.append((now, failed))
        self._failed += failed

    def _mostly_fails(self) -> bool:
        n = len(self._outcomes)
        return n >= FEWEST_OUTCOMES and self._failed > n / 2.0 + CHANCE * math.sqrt(n)
