"""`Balanced`: one model behind several addresses; a call goes where the least is in flight, away from what is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from selfinstruct.errors import MaybeExecuted, NotSent, Rejected
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Request

FIRST_REST, LONGEST_REST = 1.0, 30.0
"""Seconds an address is left alone after a failure, doubled by each that follows: the breaker's own."""


class _Replica:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.in_flight = 0
        self.failures = 0
        self.rest = FIRST_REST
        self.rests_until = 0.0


class Balanced:
    """Replicas of one model. What surely was not sent to one goes on to the next within the same attempt.

    An attempt that may have been executed fails as any other: whoever retries it gets to another replica, since the one
    that failed rests. Calls that were in flight there together fail as one, so that a rest is doubled by a failure that
    comes after it. Where all of them rest, the one whose rest ends first is tried.
    """

    def __init__(self, models: Sequence[Model], clock: Callable[[], float] = time.monotonic) -> None:
        self._replicas = [_Replica(model) for model in models]
        self._clock = clock

    async def complete(self, request: Request) -> Completion:
        """One attempt. Raises what the last replica raised that was tried."""
        tried: list[_Replica] = []
        while True:
            replica = self._next(tried)
            tried.append(replica)
            replica.in_flight += 1
            seen = replica.failures
            try:
                completion = await replica.model.complete(request)
            except NotSent:
                self._failed(replica, seen)
                if len(tried) == len(self._replicas):
                    raise
            except (MaybeExecuted, Rejected) as error:
                if not (isinstance(error, Rejected) and error.too_many):  # too many is no failure
                    self._failed(replica, seen)
                raise
            else:
                if replica.failures == seen:
                    replica.rest, replica.rests_until = FIRST_REST, 0.0
                return completion
            finally:
                replica.in_flight -= 1

    async def aclose(self) -> None:
        """Close the connections to all of them."""
        await asyncio.gather(*(replica.model.aclose() for replica in self._replicas))

    def _next(self, tried: Sequence[_Replica]) -> _Replica:
        now = self._clock()
        left = [replica for replica in self._replicas if replica not in tried]
        awake = [replica for replica in left if replica.rests_until <= now]
        if awake:
            return min(awake, key=lambda replica: replica.in_flight)
        return min(left, key=lambda replica: replica.rests_until)

    def _failed(self, replica: _Replica, seen: int) -> None:
        """Let it rest, unless what failed had left before the failure it rests for."""
        if replica.failures == seen:
            replica.failures += 1
            replica.rests_until = self._clock() + replica.rest
            replica.rest = min(LONGEST_REST, 2 * replica.rest)
