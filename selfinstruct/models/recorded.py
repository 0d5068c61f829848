"""`Recorded`: asks the ledger before it asks the model, and writes down what the model said."""

from __future__ import annotations

from collections.abc import Callable

from selfinstruct import wire
from selfinstruct.errors import RequestRefused, UnusableResponse
from selfinstruct.ledger import Ledger
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Endpoint, Request


class Recorded:
    """The outermost wrapper: a call already answered is served from the ledger, for nothing and without a wait.

    A refusal of the very request is an answer too, and so is the last of several answers that were no completions:
    each is recorded as a verdict and raised again the next time. ``answered`` is called for each new answer.
    """

    def __init__(
        self, inner: Model, ledger: Ledger, endpoint: Endpoint, answered: Callable[[Completion], None] = lambda _: None
    ) -> None:
        self._inner = inner
        self._ledger = ledger
        self._endpoint = endpoint
        self._answered = answered

    async def complete(self, request: Request) -> Completion:
        """The recorded answer, or a new one, durable before it is returned. Raises `RequestRefused` for a verdict."""
        request = wire.written_down(self._endpoint, request)  # once: a dialogue says all again that was said before
        key = wire.call_key(self._endpoint, request)
        call = self._ledger.find(request.draw, key)
        return call.completion() if call else await self._ask(key, request)

    async def _ask(self, key: str, request: Request) -> Completion:
        try:
            completion = await self._inner.complete(request)
        except RequestRefused as refusal:
            await self._ledger.refuse(key, str(refusal), refusal.status, refusal.verdict)
            refusal.call = key
            raise
        except UnusableResponse as problem:
            await self._ledger.refuse(key, str(problem), problem.status, "unusable")
            raise RequestRefused.unusable(str(problem), key) from problem
        await self._ledger.settle(key, completion.raw, completion.prompt_tokens, completion.completion_tokens)
        self._answered(completion)
        return completion.model_copy(update={"call": key})

    async def forgo(self, request: Request, reason: str) -> None:
        """Record that the call will not be asked: its model is away, and the stage has gone on without it."""
        request = wire.written_down(self._endpoint, request)
        key, body = wire.call_key(self._endpoint, request), wire.written(self._endpoint, request)
        await self._ledger.forgo(key, request.draw, wire.path(request), body, reason)

    async def aclose(self) -> None:
        """Close the model below; the ledger belongs to the run."""
        await self._inner.aclose()
