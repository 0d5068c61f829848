"""`Named`: a model of a pool, whose mistakes are told with its name: which of seventeen has no key?"""

from __future__ import annotations

from selfinstruct.errors import AccessDenied, ConfigProblem
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Request


class Named:
    """Puts its name before what only a person can mend; everything else passes as it is."""

    def __init__(self, inner: Model, name: str) -> None:
        self._inner = inner
        self._name = name

    async def complete(self, request: Request) -> Completion:
        """The answer of the model below."""
        try:
            return await self._inner.complete(request)
        except (AccessDenied, ConfigProblem) as error:
            raise type(error)(f"{self._name}: {error}") from error

    async def aclose(self) -> None:
        """Close the model below."""
        await self._inner.aclose()
