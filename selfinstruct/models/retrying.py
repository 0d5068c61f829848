"""Trying again: the one owner of retries, wrapped around a model that never retries itself."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from selfinstruct.errors import MaybeExecuted, ModelError, NotSent, Rejected, UnusableResponse
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Request

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0  # seconds; the official client's numbers
LONGEST_WISH = 60.0  # seconds a server may ask us to wait; for more, give up: the run can be started again
PAID_ATTEMPTS = 2  # a lost or unusable answer was probably billed: one more try, not four


class Retrying:
    """A model that tries again when that is free, and once more when it probably cost.

    ``attempts`` counts the first try, for requests that were not sent or that the server answered with an error of its
    own (429, any 5xx); an answer that was lost on the way, and a 200 that is no completion, share `PAID_ATTEMPTS`.
    Other errors pass at once. The last error is raised with the number of
    attempts in its message. ``sleep`` and ``rng`` are the clock and the jitter.
    """

    def __init__(
        self,
        inner: Model,
        *,
        attempts: int = 5,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._inner = inner
        self._attempts = attempts
        self._sleep = sleep
        self._rng = rng or random.Random()

    async def complete(self, request: Request) -> Completion:
        """The first completion, or the last error."""
        failures: Counter[bool] = Counter()  # by "may have cost"
        while True:
            try:
                return await self._inner.complete(request)
            except (NotSent, Rejected, MaybeExecuted, UnusableResponse) as error:
                costly = isinstance(error, MaybeExecuted | UnusableResponse) and (error.status or 200) < 400
                failures[costly] += 1
                spent = failures[costly] >= (PAID_ATTEMPTS if costly else self._attempts)
                if spent or (error.retry_after or 0) > LONGEST_WISH:
                    raise _counted(error, failures.total()) from error
                await self._sleep(self._wait(failures.total(), error.retry_after))

    async def aclose(self) -> None:
        """Close the model inside."""
        await self._inner.aclose()

    def _wait(self, failures: int, wish: float | None) -> float:
        """The server's wish and a part that doubles each time, half of it random: who waits together returns apart."""
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1))
        return (wish or 0.0) + self._rng.uniform(longest / 2, longest)


def _counted(error: ModelError, attempts: int) -> ModelError:
    wait = f", the server asks to wait {error.retry_after:g} s" if error.retry_after else ""
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return type(error)(f"{error} ({tries}{wait})", status=error.status, retry_after=error.retry_after)
