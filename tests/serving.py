"""A real socket on 127.0.0.1, served by an event loop of its own in a thread, until the block ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Serving:
    """Starts on ``with``; stops at its end, whatever it is still doing. ``url`` has no path; a port of 0 is any one."""

    def __init__(self, handle: Handler, port: int = 0) -> None:
        self.url = ""
        self._handle, self._port = handle, port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="serving", daemon=True)
        self._runner: web.ServerRunner

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _start(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}  # answers still waiting for their time, or for ever
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


class Api:
    """A server of an API; ``url`` is its base URL, which ends with ``/v1``. Who inherits says what it answers."""

    def __init__(self, port: int = 0) -> None:
        self.url = ""
        self._serving = Serving(self._handle, port)

    def __enter__(self) -> Self:
        self.url = f"{self._serving.__enter__().url}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.__exit__()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raise NotImplementedError
