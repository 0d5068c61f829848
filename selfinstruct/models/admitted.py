"""`Admitted`: lets an attempt out when there is room, and never before its reservation is on disk."""

from __future__ import annotations

import asyncio

from selfinstruct import wire
from selfinstruct.errors import RequestRefused, SelfinstructError, Withdrawn
from selfinstruct.ledger import Ledger
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Draw, Endpoint, Request


class Gate:
    """What may still be sent. Closing it drains a run: calls in flight come home, no new one leaves.

    Nothing is ever cancelled in mid-flight, since a cancelled call may have been billed and its answer lost.
    """

    def __init__(self) -> None:
        self.closed = False
        self._last: dict[str, int] = {}

    def close(self) -> None:
        """Let nothing more out."""
        self.closed = True

    def end(self, stage: str, last_round: int) -> None:
        """Let nothing more out for rounds of ``stage`` after ``last_round``: the target is reached."""
        self._last[stage] = last_round

    def lets(self, draw: Draw) -> bool:
        """True when a call of that draw may still leave."""
        return not self.closed and draw.round <= self._last.get(draw.stage, draw.round)


class Admitted:
    """At most ``limit`` attempts in flight; up to a quarter more are reserved on disk while those fly.

    A slot is free when the answer arrives, not when it is durable, so the disk never idles the wire. After a crash at
    most the attempts in flight and those reserved ahead are ambiguous.
    """

    def __init__(self, inner: Model, ledger: Ledger, endpoint: Endpoint, gate: Gate, limit: int) -> None:
        self._inner = inner
        self._ledger = ledger
        self._endpoint = endpoint
        self._gate = gate
        self._slots = asyncio.Semaphore(limit)
        # One group commit's worth: what may be reserved while `limit` calls are out.
        self._reservations = asyncio.Semaphore(limit + max(1, limit // 4))

    async def complete(self, request: Request) -> Completion:
        """One attempt. Raises `Withdrawn` when the run no longer wants the call; nothing was sent then."""
        async with self._reservations:
            if not self._gate.lets(request.draw):
                raise Withdrawn(f"call {request.draw} is no longer needed")
            # Rendered only now: hundreds may wait here, and a body is long.
            body = wire.canonical(wire.body(self._endpoint, request))
            key = wire.key_of(body, self._endpoint, request)
            await self._ledger.reserve(key, str(request.draw), wire.path(request), body)
            async with self._slots:
                return await self._attempt(key, request)

    async def _attempt(self, key: str, request: Request) -> Completion:
        if not self._gate.lets(request.draw):
            await self._ledger.fail(key, "withdrawn")
            raise Withdrawn(f"call {request.draw} is no longer needed")
        try:
            return await self._inner.complete(request)
        except RequestRefused:
            raise  # a verdict: `Recorded` closes the attempt together with the call
        except SelfinstructError as error:
            await self._ledger.fail(key, type(error).__name__)
            raise

    async def aclose(self) -> None:
        """Close the model below."""
        await self._inner.aclose()
