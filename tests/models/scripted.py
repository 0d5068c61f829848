"""What tests of the call path ask, and a model that answers as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pytest

from selfinstruct import wire
from selfinstruct.admission import breaker
from selfinstruct.models import retrying
from selfinstruct.schema import Completion, Draw, Endpoint, Request, Sampling

ENDPOINT = Endpoint(identity="tests", model="m")

Script = Callable[[Request, int], Completion | Exception]
"""``(request, how many came before) → answer``, or the exception to raise."""


def request(slot: int = 0, *, round: int = 0, prompt: str = "p", stage: str = "words", tokens: int = 10) -> Request:
    """A request of one draw. With a prompt of one byte it may use 17 tokens and write ``tokens``."""
    draw = Draw(stage=stage, round=round, slot=slot)
    return Request(draw=draw, prompt=prompt, sampling=Sampling(max_tokens=tokens))


def answer(text: str, used: tuple[int, int] = (5, 2)) -> Completion:
    """A completion with the bytes a server would have sent; ``used`` is its usage, (0, 0) for none."""
    choice = {"text": text, "finish_reason": "stop"}
    usage = dict(zip(("prompt_tokens", "completion_tokens"), used, strict=True))
    return wire.completion(orjson.dumps({"model": "served", "choices": [choice], "usage": usage}), chat=False)


def echo(request: Request, n: int) -> Completion:
    """Says the prompt again."""
    prompt = request.prompt if request.body is None else orjson.loads(request.body)["prompt"]
    return answer(f"echo of {prompt}")


class Scripted:
    """Answers by its script; waits for ``door`` where there is one. Counts what it sees."""

    def __init__(self, script: Script | Exception = echo, door: asyncio.Event | None = None) -> None:
        self.asked: list[Request] = []
        self.in_flight = self.most_in_flight = self.closed = 0
        self.on_send: Callable[[Request], None] = lambda request: None
        self._script, self._door = script, door

    async def complete(self, request: Request) -> Completion:
        """What the script says."""
        number = len(self.asked)
        self.asked.append(request)
        self.on_send(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await (self._door.wait() if self._door else asyncio.sleep(0))
        finally:
            self.in_flight -= 1
        said = self._script if isinstance(self._script, Exception) else self._script(request, number)
        if isinstance(said, Exception):
            raise said
        return said

    async def aclose(self) -> None:
        """Count."""
        self.closed += 1


def without_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and probes without the waits that are meant for real servers."""
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(breaker, "FIRST_GAP", 0.001)
    monkeypatch.setattr(breaker, "LONGEST_GAP", 0.004)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; the test's own assertions say what it should have been."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
