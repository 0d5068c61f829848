"""`Admitted`: lets an attempt out when it is its turn, and never before its reservation is on disk."""

from __future__ import annotations

import asyncio

from selfinstruct import wire
from selfinstruct.admission.budget import Budget
from selfinstruct.admission.tariff import Tariff
from selfinstruct.admission.turns import Turns
from selfinstruct.errors import (
    MaybeExecuted,
    ModelError,
    RequestRefused,
    SelfinstructError,
    UnusableResponse,
    Withdrawn,
)
from selfinstruct.ledger import Ending, Ledger
from selfinstruct.money import Bound
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Endpoint, Request


class Admitted:
    """One attempt: a turn to be reserved, the reservation, a turn to be sent, the answer.

    A slot is free when the answer arrives, not when it is durable, so the disk never idles the wire.
    """

    def __init__(
        self, inner: Model, ledger: Ledger, endpoint: Endpoint, turns: Turns, tariff: Tariff, budget: Budget
    ) -> None:
        self._inner = inner
        self._ledger = ledger
        self._endpoint = endpoint
        self._turns = turns
        self._tariff = tariff
        self._budget = budget

    async def complete(self, request: Request) -> Completion:
        """One attempt. Raises `Withdrawn` when the run no longer wants the call; nothing was sent then."""
        request = wire.written_down(self._endpoint, request)
        body = wire.written(self._endpoint, request)
        bound = self._tariff.bound(body)
        weight = self._tariff.weight(body, bound)
        await self._turns.reserve(request.draw, weight, bound)
        key = wire.key_of(body, self._endpoint, request)
        path = wire.path(request)
        try:
            await self._ledger.reserve(key, request.draw, path, body, bound)
            sent_at = await self._turns.send(request.draw, weight)
        except (SelfinstructError, asyncio.CancelledError) as error:
            self._budget.release(bound)
            self._turns.unsent()
            if isinstance(error, Withdrawn | ModelError | asyncio.CancelledError):  # else the ledger itself failed
                await self._ledger.fail(key, type(error).__name__, "failed")
            raise
        return await self._attempt(key, request, bound, weight, sent_at)

    async def _attempt(self, key: str, request: Request, bound: Bound, weight: int, sent_at: float) -> Completion:
        try:
            completion = await self._inner.complete(request)
        except SelfinstructError as error:
            await self._failed(key, bound, weight, sent_at, error)
            raise
        except asyncio.CancelledError as error:  # not waited for any longer: whoever reads the ledger must know
            self._budget.lose(bound)
            self._turns.returned(sent_at, weight, 0, Withdrawn("not waited for"))
            await self._ledger.fail(key, type(error).__name__, "ambiguous")
            raise
        # An answer that used more than its bound is recorded like any other; then the run ends. Both before the slot
        # is free: what this call gave back may let the next one out.
        self._turns.halt(self._budget.settle(bound, completion.prompt_tokens, completion.completion_tokens))
        self._turns.returned(sent_at, weight, completion.prompt_tokens + completion.completion_tokens, None)
        return completion

    async def _failed(self, key: str, bound: Bound, weight: int, sent_at: float, error: SelfinstructError) -> None:
        ending = _ending(error)
        if isinstance(error, RequestRefused):
            self._budget.refuse(bound)
        elif ending == "failed":
            self._budget.release(bound)
        else:
            self._budget.lose(bound)
        self._turns.returned(sent_at, weight, 0, error)
        if not isinstance(error, RequestRefused):  # a verdict: `Recorded` closes the attempt together with the call
            await self._ledger.fail(key, type(error).__name__, ending)

    async def aclose(self) -> None:
        """Close the model below."""
        await self._inner.aclose()


def _ending(error: SelfinstructError) -> Ending:
    """Was it executed? What cannot be known counts as executed."""
    if isinstance(error, UnusableResponse):
        return "unusable"
    return "ambiguous" if isinstance(error, MaybeExecuted) else "failed"
