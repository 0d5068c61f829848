"""Trying again: the one owner of retries, wrapped around a model that never retries itself."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable

from selfinstruct.errors import MaybeExecuted, ModelError, NotSent, Rejected, UnusableResponse
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Request

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0  # seconds; the official client's numbers
LONGEST_WISH = 900.0  # seconds a server may ask us to wait (reliability.md N1); for more, the run ends for now

BUDGETS: dict[str, int] = {
    "not sent": 5,  # nothing can have been billed
    "rejected": 20,  # neither; waiting for a turn is what slows these down (429)
    "server error": 5,  # the server answered with an error of its own, 503 among them: rarely billed
    "lost": 2,  # may have been billed: one more try, not four
    "unusable": 2,  # surely billed
    "probe": 5,  # of any kind, while the provider is away
}
"""Attempts of one call, by how they failed; each class has its own count."""


class Retrying:
    """A model that tries again when that is free, and once more when it probably cost.

    Other errors pass at once. The last error is raised with the number of attempts in its message; as a plain
    `ModelError` where the server asks for more than `LONGEST_WISH`. While ``provider_is_down`` says so, nothing is
    counted but rate limits: the whole run waits, and probes, and this call may be the probe. ``sleep`` and ``rng`` are
    the clock and the jitter.
    """

    def __init__(
        self,
        inner: Model,
        sleep: Callable[[float], Awaitable[object]],
        provider_is_down: Callable[[], bool] = lambda: False,
        rng: random.Random | None = None,
    ) -> None:
        self._inner = inner
        self._sleep = sleep
        self._provider_is_down = provider_is_down
        self._rng = rng or random.Random()

    async def complete(self, request: Request) -> Completion:
        """The first completion, or the last error."""
        failures: Counter[str] = Counter()
        while True:
            try:
                return await self._inner.complete(request)
            except (NotSent, Rejected, MaybeExecuted, UnusableResponse) as error:
                kind = _kind(error)
                # In an outage only the probes leave, each time another call's: one that fails them all is to blame.
                kind = kind if kind == "rejected" or not self._provider_is_down() else "probe"
                failures[kind] += 1
                if (error.retry_after or 0) > LONGEST_WISH:  # an outage announced, and no verdict on this call
                    raise _counted(ModelError, error, failures.total()) from error
                if failures[kind] >= BUDGETS[kind]:
                    lost = kind == "probe" and isinstance(error, UnusableResponse)  # of an outage, so no verdict
                    raise _counted(MaybeExecuted if lost else type(error), error, failures.total()) from error
                if kind != "rejected":  # whom the server slows down waits for a turn with everybody else
                    await self._sleep(self._wait(failures.total()))

    async def aclose(self) -> None:
        """Close the model inside."""
        await self._inner.aclose()

    def _wait(self, failures: int) -> float:
        """Doubles each time, half of it random: who failed together returns apart."""
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** max(0, failures - 1))
        return self._rng.uniform(longest / 2, longest)


def _kind(error: ModelError) -> str:
    if isinstance(error, NotSent):
        return "not sent"
    if isinstance(error, Rejected) and error.too_many:
        return "rejected"
    if isinstance(error, UnusableResponse):
        return "unusable"
    return "server error" if error.status else "lost"


def _counted(kind: type[ModelError], error: ModelError, attempts: int) -> ModelError:
    wait = f", the server asks to wait {error.retry_after:g} s" if error.retry_after else ""
    tries = "1 attempt" if attempts <= 1 else f"{attempts} attempts"
    return kind(f"{error} ({tries}{wait})", status=error.status, retry_after=error.retry_after)
