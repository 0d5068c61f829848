"""The leanest server that can be measured against: one process, one answer, a latency; it counts what is in flight.

python -m tests.benchmarks.lean_server MEDIAN_SECONDS SIGMA     prints its port, then serves until its stdin closes
GET /stats    requests, and the mean number in flight since the last GET /mark
GET /mark     the same, and starts measuring anew
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import time
from typing import cast

import orjson

ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "lean",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "word " * 60}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 40, "completion_tokens": 60, "total_tokens": 100},
    }
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
REPLY = HEAD % len(ANSWER) + ANSWER


class State:
    """What is counted: requests, those in flight, and the area under them."""

    def __init__(self, median: float, sigma: float) -> None:
        self.median, self.sigma = median, sigma
        self.rng = random.Random(1)
        self.requests = self.in_flight = self.most = 0
        self.area, self.since = 0.0, time.monotonic()
        self.started = self.since

    def change(self, by: int) -> None:
        """One more, or one less, in flight."""
        now = time.monotonic()
        self.area += self.in_flight * (now - self.since)
        self.since = now
        self.in_flight += by
        self.most = max(self.most, self.in_flight)

    def mark(self) -> None:
        """Start measuring the mean anew."""
        self.change(0)
        self.area, self.started = 0.0, self.since

    def stats(self) -> bytes:
        """As JSON."""
        self.change(0)
        mean = self.area / max(1e-9, self.since - self.started)
        return orjson.dumps({"requests": self.requests, "mean_in_flight": mean, "most_in_flight": self.most})

    def latency(self) -> float:
        """Seconds before the next answer: fixed, or log-normal around the median."""
        return self.median * math.exp(self.rng.gauss(0, self.sigma)) if self.sigma else self.median


class Answering(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as much of it as a client needs."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.buffer = b""
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            sent, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            if head.startswith(b"post"):
                self.state.requests += 1
                self.state.change(1)
                asyncio.get_running_loop().call_later(self.state.latency(), self.answer, sent)
                continue
            body = self.state.stats()
            if head.startswith(b"get /mark"):
                self.state.mark()
            self.transport.write(HEAD % len(body) + body)

    def answer(self, sent: bytes) -> None:
        """Reply to a body, if anybody is still there."""
        self.state.change(-1)
        if not self.transport.is_closing():
            self.transport.write(self.reply(sent))

    def reply(self, sent: bytes) -> bytes:
        """Always the same."""
        return REPLY


async def serve(median: float, sigma: float) -> None:
    """Until stdin closes."""
    loop = asyncio.get_running_loop()
    state = State(median, sigma)
    server = await loop.create_server(lambda: Answering(state), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(float(sys.argv[1]), float(sys.argv[2])))
