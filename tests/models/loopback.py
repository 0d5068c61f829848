"""A server on a real socket of this machine, in a thread of its own, that answers what a function tells it to.

with Loopback(lambda path, body, n: (200, {}, chat("hello"))) as server:
    ...  # ask server.url, look at server.received
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Self

import orjson
from aiohttp import web

Reply = tuple[int, Mapping[str, str], bytes]


class Received(NamedTuple):
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)


Script = Callable[[str, Any, int], Reply | Awaitable[Reply | None] | None]
"""``(path, parsed body, how many requests came before) → (status, headers, bytes)``, or None to drop the connection.

May be a coroutine function: one that never returns is a server that never answers.
"""


class Loopback:
    """Starts on ``with``, stops at its end, whatever it is still doing. ``received`` is in order of arrival."""

    def __init__(self, script: Script) -> None:
        self.url = ""
        self.received: list[Received] = []
        self._script = script
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loopback", daemon=True)
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
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}  # scripts that never answer
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        number = len(self.received)
        self.received.append(Received(request.path_qs, request.headers, body))
        reply = self._script(request.path_qs, orjson.loads(body) if body else None, number)
        if inspect.isawaitable(reply):
            reply = await reply
        if reply is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        status, headers, answer = reply
        return web.Response(status=status, headers=headers, body=answer)


def chat(text: str | None, **message: Any) -> bytes:
    """A chat answer's body."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": "stop"}
    return _answer("chat.completion", choice)


def continuation(text: str) -> bytes:
    """A completion answer's body."""
    return _answer("text_completion", {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"})


def problem(message: str, **more: Any) -> bytes:
    """An error answer's body."""
    return orjson.dumps({"error": {"message": message} | more})


def _answer(kind: str, choice: dict[str, Any]) -> bytes:
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return orjson.dumps(
        {"id": "a-1", "object": kind, "created": 1, "model": "served", "choices": [choice], "usage": usage}
    )
