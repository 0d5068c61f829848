"""`Seated`: lets a call through once its model is at work; what is loaded one at a time is waited for here."""

from __future__ import annotations

from selfinstruct.admission.seats import Guest, Seats
from selfinstruct.errors import SelfinstructError, Withdrawn
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Request


class Seated:
    """Between the ledger and the attempts: an answer that is recorded loads no model, and a call that waits for one is
    not reserved yet, so that nothing is ambiguous because of it. A model that did not start is not waited for again.
    """

    def __init__(self, inner: Model, guest: Guest, seats: Seats) -> None:
        self._inner = inner
        self._guest = guest
        self._seats = seats
        self._problem: SelfinstructError | None = None

    async def complete(self, request: Request) -> Completion:
        """The answer of the model below, once it is there. Raises why it did not start, each time."""
        if self._problem is not None:
            raise self._problem
        try:
            await self._seats.enter(self._guest, request.draw)
        except Withdrawn:
            raise
        except SelfinstructError as problem:
            self._problem = problem
            raise
        try:
            return await self._inner.complete(request)
        finally:
            self._seats.leave(self._guest)

    async def aclose(self) -> None:
        """Close the model below."""
        await self._inner.aclose()
