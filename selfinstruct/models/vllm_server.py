"""vLLM as a managed server in a process of its own: started when it is first wanted, ended with the run.

Its continuous batching does the rest: calls are sent as they come, and it works on as many at once as fit.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

from selfinstruct.engine.server import Address, EngineServer
from selfinstruct.errors import MaybeExecuted, NotSent, Rejected, SelfinstructError
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Request

_SCHEMA_ASKED = b'"json_schema"'
_LOOPBACK = re.compile(r" ?\(?'?127\.0\.0\.1'?(?:, |:)\d+\)?")


class ServerAt(Protocol):
    """Makes the server for a place: a set of GPUs, by number."""

    def __call__(self, place: int) -> EngineServer:
        """A server that has not been started."""
        ...


class VllmModel:
    """A model on one server or several, each on GPUs of its own; a call goes to the one with the least to do.

    ``arrive`` starts it at a place and ``depart`` frees all of them: between the two it can be asked. Whoever asks
    sooner starts it at the first place. A server that ends while it works is started again, and the calls it held are
    `NotSent`: nothing of them was billed, and nobody will hear their answers. ``tell`` is told how starts get on.
    """

    def __init__(self, server_at: ServerAt, client_at: Callable[[Address], Model], name: str) -> None:
        self.name = name
        self.tell: Callable[[str], None] = lambda line: None
        self._server_at = server_at
        self._client_at = client_at
        self._servers: dict[int, EngineServer] = {}
        self._in_flight: dict[EngineServer, int] = {}
        self._clients: dict[Address, Model] = {}

    async def arrive(self, place: int) -> None:
        """Start the server at a place, and see it answer. Raises what its log says where it does not start."""
        if place not in self._servers:
            server = self._server_at(place)
            self._servers[place], self._in_flight[server] = server, 0
        await self._servers[place].address()

    async def depart(self) -> None:
        """End every server of this model, and free what they hold."""
        servers, self._servers, self._in_flight = self._servers, {}, {}
        clients, self._clients = self._clients, {}
        try:
            await asyncio.gather(*(client.aclose() for client in clients.values()))
        finally:
            await asyncio.gather(*(server.stop() for server in servers.values()))

    async def complete(self, request: Request) -> Completion:
        """One attempt. Raises as `OpenAIModel` does; `NotSent` where the server had ended, and why."""
        if not self._servers:
            await self.arrive(0)
        server = min(self._in_flight, key=self._in_flight.__getitem__)
        self._in_flight[server] += 1
        try:
            return await self._complete(server, request)
        finally:
            if server in self._in_flight:
                self._in_flight[server] -= 1

    async def aclose(self) -> None:
        """Free everything; a second time does nothing."""
        await self.depart()

    async def _complete(self, server: EngineServer, request: Request) -> Completion:
        address = await self._address_of(server)
        if _asks_for_schema(request):
            await server.check_schema(address)
        try:
            return await self._client(address).complete(request)
        except SelfinstructError as problem:
            problem.args = (self._without_port(problem, address),)
            why = await server.ended(address) if isinstance(problem, NotSent | MaybeExecuted | Rejected) else None
            if why is None:
                raise
            raise NotSent(f"{self.name}: vLLM went away: {why}; it is started again") from problem

    async def _address_of(self, server: EngineServer) -> Address:
        """Where it answers. One that cannot be started again is given up, as long as another is left."""
        try:
            return await server.address()
        except SelfinstructError as problem:
            if not self._in_flight.keys() - {server}:
                raise
            if self._in_flight.pop(server, None) is not None:
                self.tell(f"{problem}; the other servers go on")
            raise NotSent(f"{self.name}: a vLLM has been given up, the others go on") from problem

    def _without_port(self, problem: SelfinstructError, address: Address) -> str:
        """What it says; a port of ours says nothing to anybody, and must not get into a reject."""
        return _LOOPBACK.sub("", str(problem).replace(address.url, f"vLLM ({self.name})"))

    def _client(self, address: Address) -> Model:
        """The connections to a server; one that was started again is another."""
        if address not in self._clients:
            self._clients[address] = self._client_at(address)
        return self._clients[address]


def _asks_for_schema(request: Request) -> bool:
    return _SCHEMA_ASKED in request.body if request.body is not None else request.answer_schema is not None
