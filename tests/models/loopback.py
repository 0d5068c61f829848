"""A server on a real socket of this machine, in a thread of its own, that answers what a function tells it to.

with Loopback(lambda path, body, n: (200, {}, chat("hello"))) as server:
    ...  # ask server.url, look at server.received
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Self

import orjson
from aiohttp import web

from tests.serving import Serving

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
        self._serving = Serving(self._handle)

    def __enter__(self) -> Self:
        self.url = self._serving.__enter__().url
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.__exit__()

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
