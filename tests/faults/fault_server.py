"""A server of this machine that fails on purpose, and knows for certain what it was asked and what it billed.

What it answers and how it fails are functions of (sha256 of the request's body, how often that body was let in
before, seed), so a run over it can be repeated at any concurrency; see `fault_plan.Plan`. It speaks HTTP/1.1 with
keep-alive over raw TCP, because most faults cannot be said through a web framework.

    with FaultServer(Plan(seed=1, faults={"reset": 0.05, "429": 0.1})) as server:
        ...  # ask server.url; then server.stats(), server.billing()

As a process of its own, for benchmarks: `FaultProcess`, or
``python -m tests.faults.fault_server --port-file F --plan '{"latency": 0.05}'``. Beside the API it serves
``GET /__stats``, ``/__billing`` and ``/__mark``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Self, TypeVar, cast

import orjson

from tests.faults.fault_answers import BAD_BODIES, CREATED, Answer, Call, completion, error, refusal, whole
from tests.faults.fault_plan import FAULTS, Plan
from tests.faults.fault_truth import Billing, Gate, Truth
from tests.faults.fault_wire import Script, script

ROOT = Path(__file__).resolve().parents[2]
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.I)
_BEARER = re.compile(rb"\r\nauthorization:[ \t]*bearer[ \t]+([^\r]*)", re.I)
_BEFORE_RESET = 0.005  # so that what was written just before is on its way
T = TypeVar("T")


class Link(asyncio.Protocol):
    """One connection: requests one after the other, each answered before the next is read."""

    def __init__(self, service: Service) -> None:
        self.lost = False
        self.work: asyncio.TimerHandle | None = None  # the model's, on the request in hand
        self._service = service
        self._buffer = bytearray()
        self._busy = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._stream: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._service.joined(self)

    def connection_lost(self, problem: Exception | None) -> None:
        """It is gone; the model stops working for it, which is billed all the same."""
        self.lost = True
        if self._stream is not None:
            self._stream.cancel()
        self._service.left(self)

    def pause_writing(self) -> None:
        """It reads slower than we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, or of several."""
        self._buffer += data
        while not self._busy and not self.lost:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end])
            found = _LENGTH.search(head)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self._buffer) < size:
                return
            body = bytes(self._buffer[end + 4 : size])
            del self._buffer[:size]
            self._busy = True
            self._service.arrived(self, head, body)

    def send(self, response: bytes) -> None:
        """Answer the request in hand; the next one may come."""
        if not self.lost:
            self._transport.write(response)
            self._done()

    def play(self, script: Script) -> None:
        """Answer the request in hand as the script says."""
        self._stream = asyncio.get_running_loop().create_task(self._play(script))

    def reset(self) -> None:
        """Hang up with RST instead of FIN."""
        if not self.lost:
            peer = self._transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    async def _play(self, script: Script) -> None:
        for piece in script.pieces:
            self._transport.write(piece)
            await self._writable.wait()
            await asyncio.sleep(script.pause)
        if script.end == "keep":
            self._done()
        elif script.end == "close":
            self._transport.close()
        elif script.end == "reset":
            await asyncio.sleep(_BEFORE_RESET)
            self.reset()

    def _done(self) -> None:
        self._busy = False
        if self._buffer:
            self.data_received(b"")


class Service:
    """What all connections share: the plan, the key's limits, the truth. Lives on one event loop."""

    def __init__(self, plan: Plan, answer: Answer | None = None, billing_file: IO[bytes] | None = None) -> None:
        self.plan = plan
        self.truth = Truth(Billing(billing_file))
        self.port = 0
        self._answer = answer
        self._gate = Gate(plan.limits)
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None
        self._first: float | None = None
        self._outage_ends: float | None = None

    # --- listening ----------------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Take connections, on the port it had before if it had one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Link(self), "127.0.0.1", self.port, backlog=4096, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def hang_up(self) -> None:
        """Let nobody in, and reset who is there."""
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.reset()

    def joined(self, link: Link) -> None:
        """A connection was made."""
        self.truth.connections += 1
        self._links.add(link)

    def left(self, link: Link) -> None:
        """A connection ended, perhaps with the model at work for it."""
        self._links.discard(link)
        if link.work is not None:
            link.work.cancel()
            self._rested(link)

    # --- a request ----------------------------------------------------------------------------------------------------

    def arrived(self, link: Link, head: bytes, body: bytes) -> None:
        """A whole request."""
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        if method == b"POST" and path.endswith("/completions"):
            self._asked(link, head, body, path.endswith("/chat/completions"))
        else:
            link.send(self._look(path))

    def _asked(self, link: Link, head: bytes, body: bytes, chat: bool) -> None:
        now = asyncio.get_running_loop().time()
        if self._first is None:
            self._first = now
            self.truth.load.mark(now)
        self.truth.requests += 1
        call = _call(body, chat)
        key = _BEARER.search(head)
        if call is None:
            self._refuse(link, "400")
        elif self._in_outage(now):
            self._fail(link)
        elif self.plan.key and (key is None or key[1].decode("latin-1").strip() != self.plan.key):
            self._refuse(link, "unknown_key")
        else:
            self._admit(link, call, now)

    def _admit(self, link: Link, call: Call, now: float) -> None:
        account = self.truth.billing.account(call.digest.hex())
        account.received += 1
        self.truth.fences.arrived(now)
        prompt = call.prompt_tokens(self.plan.overhead)
        assert self._first is not None
        why = self._gate.verdict(now - self._first, prompt + call.n * call.max_tokens, prompt)
        if why:
            self._refuse(link, why)
            return
        attempt = account.attempts
        account.attempts += 1
        fault = self.plan.fault(call.digest, attempt)
        if fault:
            self.truth.faults[fault] += 1
        if fault and not FAULTS.get(fault, False):
            self._misbehave(link, fault, b"{}")
        else:
            self._work(link, call, attempt, fault)

    def _work(self, link: Link, call: Call, attempt: int, fault: str) -> None:
        answer, prompt_tokens, completion_tokens = completion(call, self.plan, self._answer)
        self.truth.billing.execute(call.digest.hex(), prompt_tokens, completion_tokens)
        loop = asyncio.get_running_loop()
        self.truth.load.change(loop.time(), 1)
        seconds = self.plan.seconds(call.digest, attempt)
        link.work = loop.call_later(seconds, self._worked, link, fault, orjson.dumps(answer))

    def _worked(self, link: Link, fault: str, answer: bytes) -> None:
        self._rested(link)
        if fault:
            self._misbehave(link, fault, answer)
        else:
            self.truth.statuses[200] += 1
            link.send(whole(200, answer))

    def _rested(self, link: Link) -> None:
        link.work = None
        self.truth.load.change(asyncio.get_running_loop().time(), -1)

    # --- failing ------------------------------------------------------------------------------------------------------

    def _misbehave(self, link: Link, fault: str, good: bytes) -> None:
        played = script(fault, good, self.plan)
        if played is not None:
            self.truth.statuses[307 if fault == "redirect" else 0] += 1
            link.play(played)
        elif fault in BAD_BODIES:
            self.truth.statuses[200] += 1
            link.send(whole(200, BAD_BODIES[fault](good)))
        else:
            self._refuse(link, fault)

    def _refuse(self, link: Link, name: str) -> None:
        response, fence = refusal(name, self.plan, time.time())
        self.truth.statuses[int(response[9:12])] += 1
        link.send(response)
        if fence:
            self.truth.fences.put_up(asyncio.get_running_loop().time(), fence)

    def _in_outage(self, now: float) -> bool:
        outage = self.plan.outage
        if outage is None or self.truth.requests < outage.at:
            return False
        if self._outage_ends is None:
            self._outage_ends = now + outage.seconds
            if outage.how == "refuse":
                asyncio.get_running_loop().call_later(outage.seconds, self._reopen)
        return now < self._outage_ends

    def _reopen(self) -> None:
        self._opening = asyncio.get_running_loop().create_task(self.listen())

    def _fail(self, link: Link) -> None:
        outage = self.plan.outage
        assert outage is not None
        if outage.how == "503":
            self._refuse(link, "503")
        elif outage.how == "refuse":
            self.truth.statuses[0] += 1
            self.hang_up()
        else:
            self.truth.statuses[0] += 1
            link.reset()

    # --- being looked at ----------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """The counts so far."""
        return self.truth.stats(asyncio.get_running_loop().time())

    def mark(self) -> None:
        """Measure requests in flight from here on."""
        self.truth.load.mark(asyncio.get_running_loop().time())

    def billing(self) -> dict[str, dict[str, int]]:
        """Each body's account, by the sha256 of its bytes."""
        return {body: asdict(account) for body, account in self.truth.billing.accounts.items()}

    def _look(self, path: str) -> bytes:
        if path.endswith("/models"):
            models = [{"id": name, "object": "model", "created": CREATED} for name in self.plan.models]
            return whole(200, orjson.dumps({"object": "list", "data": models}))
        if path == "/__mark":
            self.mark()
        look: dict[str, Callable[[], Any]] = {"/__billing": self.billing, "/health": dict}
        look |= dict.fromkeys(("/__stats", "/__mark"), self.stats)
        return whole(200, orjson.dumps(look[path]())) if path in look else error(404, f"nothing at {path}")


def _call(body: bytes, chat: bool) -> Call | None:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return Call(hashlib.sha256(body).digest(), fields, chat) if isinstance(fields, dict) else None


# --- in a thread ------------------------------------------------------------------------------------------------------


class FaultServer:
    """Starts on ``with``, in a thread of its own; stops at its end, whatever it is still doing. ``url`` has no path."""

    def __init__(self, plan: Plan | None = None, answer: Answer | None = None, billing_file: IO[bytes] | None = None):
        self.url = ""
        self._service = Service(plan or Plan(), answer, billing_file)
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._service.listen(), self._loop).result(30)
        self.url = f"http://127.0.0.1:{self._service.port}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(_stop(self._service), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def stats(self) -> dict[str, Any]:
        """What ``GET /__stats`` says."""
        return self._there(self._service.stats)

    def mark(self) -> None:
        """Measure requests in flight from here on."""
        self._there(self._service.mark)

    def billing(self) -> dict[str, dict[str, int]]:
        """Each body's account, by the sha256 of its bytes: received, attempts, executed, and the tokens billed."""
        return self._there(self._service.billing)

    def _there(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(30)


async def _stop(service: Service) -> None:
    service.hang_up()
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await asyncio.sleep(0)  # connections end on the loop's next turn


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed: it serves twice as many requests."""
    try:
        loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    except ImportError:
        return asyncio.new_event_loop()
    return loop


# --- as a process -----------------------------------------------------------------------------------------------------


class FaultProcess:
    """The same server and the same looks at it, but the client has its interpreter to itself.

    ``answer`` is given by name, ``module:function``; ``billing_file`` gets a JSON line for every execution.
    """

    def __init__(self, plan: Plan | None = None, answer: str = "", billing_file: Path | None = None) -> None:
        self.url = ""
        self._folder = tempfile.TemporaryDirectory()
        self._port_file = Path(self._folder.name) / "port"
        words = ["--port-file", str(self._port_file), "--plan", (plan or Plan()).to_json(), "--answer", answer]
        self._words = words + (["--billing-file", str(billing_file)] if billing_file else [])

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.faults.fault_server", *self._words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(command, env=environment, cwd=ROOT)
        for _ in range(30_000):
            if self._port_file.exists() or self._process.poll() is not None:
                break
            time.sleep(0.001)
        self.url = f"http://127.0.0.1:{self._port_file.read_text()}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._folder.cleanup()

    def stats(self) -> dict[str, Any]:
        """The counts so far."""
        return self._look("/__stats")

    def mark(self) -> None:
        """Measure requests in flight from here on."""
        self._look("/__mark")

    def billing(self) -> dict[str, dict[str, int]]:
        """Each body's account, by the sha256 of its bytes."""
        return self._look("/__billing")

    def _look(self, path: str) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, timeout=30) as response:
            seen: dict[str, Any] = orjson.loads(response.read())
        return seen


async def _serve(service: Service, port_file: Path, seconds: float) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await service.listen()
    written = port_file.with_suffix(".new")
    written.write_text(str(service.port))
    written.replace(port_file)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)
    await _stop(service)


def main() -> None:
    """The command line of the module's docstring; ends by a signal, or after ``--seconds``."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fault_server")
    parser.add_argument("--port-file", type=Path, required=True, help="gets the port once it listens")
    parser.add_argument("--plan", type=Plan.from_json, default=Plan(), help="a Plan as JSON")
    parser.add_argument("--answer", default="", help="module:function that writes the texts")
    parser.add_argument("--billing-file", type=Path, help="gets a JSON line for every execution")
    parser.add_argument("--seconds", type=float, default=3600, help="how long it lives at most")
    options = parser.parse_args()
    module, _, function = options.answer.partition(":")
    answer = getattr(importlib.import_module(module), function) if module else None
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(options.billing_file.open("ab")) if options.billing_file else None
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_serve(Service(options.plan, answer, file), options.port_file, options.seconds))


if __name__ == "__main__":
    main()
