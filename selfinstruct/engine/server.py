"""One vLLM server: started on a port of its own, proved to answer, watched, started again, ended.

`EngineServer.address` starts it where it is not running. ``/health`` is not believed: it says 200 while the engine
behind it is dead, so one token is asked for before any call goes out, and again when calls begin to fail.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import tenacity

from selfinstruct.base_url import ApiKey
from selfinstruct.engine import last_words
from selfinstruct.engine.guarded import Guarded, end_stale
from selfinstruct.engine.launch import KEY_VARIABLE, Launch, forget_old_logs
from selfinstruct.errors import ConfigProblem, ModelError, Withdrawn
from selfinstruct.wire_errors import one_line

LOOK_EVERY = 0.5
"""Seconds between two looks at a server that is starting."""

STILL_SECONDS = 60.0
"""So long a start may go on without a word to people."""

PROBE_SECONDS = 300.0
"""How long one token may take: it may stand behind a few hundred whole answers."""

PROBES = 5
"""So many probes a healthy server may fail in a row before it is believed to be dead."""

STOP_SECONDS = 10.0
"""How long a server may take to end by itself, before it is killed."""

GIVE_UP_SECONDS = 1.0
"""The same while it starts: there is nothing to be lost, and loading can be deaf to signals for long."""

_HEALTH_SECONDS = 5.0
_PORT_TRIES = 3
_SCHEMA_TOKENS = 16


@dataclass(frozen=True)
class Address:
    """Where a started server answers, and to whom. Each start has its own."""

    url: str
    key: ApiKey


class EngineServer:
    """A server that runs while it is wanted. ``tell`` is given a line for people now and then, while it starts."""

    def __init__(self, launch: Launch, tell: Callable[[str], None] = lambda line: None) -> None:
        self.starts = 0
        self._launch = launch
        self._tell = tell
        self._child: Guarded | None = None
        self._address: Address | None = None
        self._starting: asyncio.Task[Address] | None = None
        self._looking = asyncio.Lock()
        self._keeps_to_schema: bool | None = None
        self._begins_at = 0  # the byte of the log where the present start begins
        self._why = ""  # it ended the last time
        self._started_at = self._told_at = 0.0

    async def address(self) -> Address:
        """Where it answers; it is started where it does not run.

        Raises what `last_words` reads from its log, `ModelError` once it has ended too often, and `Withdrawn` where it
        is stopped meanwhile.
        """
        if self._address is not None:
            return self._address
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name=f"start of {self._launch.served_as}")
            self._starting.add_done_callback(self._started)
        starting = self._starting
        # Whoever stops waiting does not stop the start for all; so it is waited for, and not awaited.
        await asyncio.wait([starting])
        if starting.cancelled():
            raise Withdrawn(f"{self._launch.served_as}: vLLM is stopped")
        return starting.result()

    def _started(self, starting: asyncio.Task[Address]) -> None:
        self._starting = None
        if not starting.cancelled():
            starting.exception()  # nobody may be waiting for it any more

    async def ended(self, address: Address) -> str | None:
        """After a failed call: what became of the server at that address; None where it still answers.

        Of calls that fail together one looks, and the others go by what it found.
        """
        async with self._looking:
            if self._address != address:
                return "it had ended"
            assert self._child is not None
            if self._child.poll() is None:
                try:
                    await self._probe(address)
                    return None
                except _NotYet as silence:
                    self._why = f"it no longer answered ({silence}){last_words.why(self._said())}"
            else:
                self._why = last_words.of_end(self._child.poll(), self._said())
            self._tell(f"{self._launch.served_as}: vLLM went away: {self._why}")
            await self._end()
            return self._why

    async def check_schema(self, address: Address) -> None:
        """Raise `ConfigProblem` where an answer does not keep to a schema; asked once, of a schema no prose fits."""
        async with self._looking:
            if self._keeps_to_schema is None:
                self._keeps_to_schema = await self._keeps_to(address)
        if self._keeps_to_schema is False:
            raise ConfigProblem(
                f"{self._launch.served_as}: this vLLM answers past the JSON schema it is given, so that what it says"
                " cannot be relied on; ask for text (--format text), or install the vLLM this was tested with"
            )

    async def stop(self) -> None:
        """End it and free what it holds. Safe to call twice, and at any time."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._end()

    # --- start ------------------------------------------------------------------------------------------------------

    async def _start(self) -> Address:
        if self.starts > self._launch.restarts:
            last = f", the last time so: {self._why}" if self._why else ""
            raise ModelError(
                f"{self._launch.served_as}: vLLM ended {self.starts} times in this run{last}; its log is {self.log};"
                " running again goes on"
            )
        for line in await asyncio.to_thread(end_stale, self._launch.state):
            self._tell(line)
        forget_old_logs(self._launch.state)
        for attempt in range(_PORT_TRIES):
            self.starts += not attempt
            try:
                return await self._start_once()
            except last_words.PortTaken as problem:  # somebody took it between our look and the server's
                if attempt == _PORT_TRIES - 1:
                    raise ModelError(f"{self._launch.served_as}: {problem}") from problem
        raise AssertionError("the loop returns or raises")

    async def _start_once(self) -> Address:
        port, key = _free_port(), secrets.token_hex(16)
        address = Address(f"http://127.0.0.1:{port}/v1", ApiKey(key, KEY_VARIABLE))
        launch, served_as = self._launch, self._launch.served_as
        at = f" on GPU {launch.gpus}" if launch.gpus else ""
        self._tell(f"{served_as}: starting vLLM{at}; its log is {self.log}")
        self._begins_at = last_words.size(self.log)
        self._started_at = self._told_at = time.monotonic()
        # Not in a thread: whoever cancels this would leave the thread behind, and with it a server that is nobody's.
        self._child = Guarded.start(launch.command(port), launch.environment(key), self.log, launch.state, served_as)
        try:
            await self._until_it_answers(address)
            self._address = address
        finally:
            if self._address is None:
                await self._end()
        self._tell(f"{served_as}: vLLM answers after {time.monotonic() - self._started_at:.0f} s")
        return address

    async def _until_it_answers(self, address: Address) -> None:
        """Wait for ``/health``, which takes as long as loading does, and then for one token, which does not."""
        shown = ""
        try:
            async for attempt in _looks(tenacity.stop_after_delay(self._launch.patience)):
                with attempt:
                    self._raise_if_ended()
                    shown = self._tell_progress(shown)
                    await _healthy(address)
            async for attempt in _looks(tenacity.stop_after_attempt(PROBES)):
                with attempt:
                    self._raise_if_ended()
                    await self._probe(address)
        except _NotYet as silence:
            self._raise_if_ended()
            raise self._gave_up(silence) from silence

    def _gave_up(self, silence: _NotYet) -> ModelError:
        last = last_words.last_line(self._said()) or "none"
        what = f"{self._launch.served_as}: vLLM"
        if silence.listens:
            return ModelError(
                f"{what} says it is healthy, but {silence}; its last words: {last}; its log is {self.log}"
            )
        return ModelError(
            f"{what} did not answer within {self._launch.patience:g} s ({silence}); its last words: {last};"
            f" SELFINSTRUCT_VLLM_START_TIMEOUT gives it longer; its log is {self.log}"
        )

    def _raise_if_ended(self) -> None:
        assert self._child is not None
        status = self._child.poll()
        if status is not None:
            raise last_words.of_start(self._launch.served_as, status, self._said(), self.log)

    def _tell_progress(self, shown: str) -> str:
        line = last_words.news(self._said())
        now = time.monotonic()
        at = f" (GPU {self._launch.gpus})" if self._launch.gpus else ""
        if line and line != shown:
            self._tell(f"{self._launch.served_as}{at}: {line}")
        elif now - self._told_at > STILL_SECONDS:
            self._tell(f"{self._launch.served_as}{at}: still starting, for {now - self._started_at:.0f} s")
        else:
            return line
        self._told_at = now
        return line

    # --- ask --------------------------------------------------------------------------------------------------------

    async def _probe(self, address: Address) -> None:
        """Ask for one token. Raises `_NotYet` where none comes."""
        await self._ask(address, {"prompt": "1", "max_tokens": 1})

    async def _keeps_to(self, address: Address) -> bool | None:
        schema = {"type": "object", "properties": {"kept": {"const": 7}}, "required": ["kept"]}
        form = {"type": "json_schema", "json_schema": {"name": "kept", "strict": True, "schema": schema}}
        body = {"prompt": "Once upon a time", "max_tokens": _SCHEMA_TOKENS, "temperature": 0, "response_format": form}
        try:
            said = (await self._ask(address, body))["choices"][0]["text"]
        except (_NotYet, LookupError, TypeError):
            return None  # that it fails will be said of the call itself
        return str(said).lstrip().startswith("{")

    async def _ask(self, address: Address, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {address.key.value}"}
        try:
            async with _client(PROBE_SECONDS, headers) as client:
                answer = await client.post(f"{address.url}/completions", json={"model": self._launch.served_as, **body})
        except httpx.HTTPError as problem:
            said = one_line(str(problem)) or type(problem).__name__
            raise _NotYet(f"a probe has no answer: {said}", listens=True) from problem
        if answer.status_code != httpx.codes.OK:
            said = one_line(answer.text, 200)
            raise _NotYet(f"a probe was answered {answer.status_code}: {said}", listens=True)
        try:
            return orjson.loads(answer.content)
        except orjson.JSONDecodeError as problem:
            raise _NotYet("a probe's answer is not JSON", listens=True) from problem

    # --- end --------------------------------------------------------------------------------------------------------

    @property
    def log(self) -> Path:
        """Where its output goes, one start after the other."""
        return self._launch.log

    async def _end(self) -> None:
        address, self._address = self._address, None
        child, self._child = self._child, None
        if child is not None:
            await asyncio.to_thread(child.stop, STOP_SECONDS if address else GIVE_UP_SECONDS)

    def _said(self) -> str:
        return last_words.tail(self.log, self._begins_at)


class _NotYet(Exception):
    """The server does not answer, for now; why. ``listens`` once it was healthy."""

    def __init__(self, why: str, *, listens: bool = False) -> None:
        super().__init__(why)
        self.listens = listens


def _looks(stop: tenacity.stop.stop_base) -> tenacity.AsyncRetrying:
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(_NotYet), wait=tenacity.wait_fixed(LOOK_EVERY), stop=stop, reraise=True
    )


async def _healthy(address: Address) -> None:
    url = address.url.removesuffix("/v1") + "/health"
    try:
        async with _client(_HEALTH_SECONDS) as client:
            answer = await client.get(url)
    except httpx.HTTPError as problem:
        raise _NotYet("it does not listen yet") from problem
    if answer.status_code != httpx.codes.OK:
        raise _NotYet(f"/health says {answer.status_code}")


def _client(seconds: float, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
    """Asks this machine alone: by no proxy, and with no certificates to trust, which would take long to load."""
    none = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(headers=headers, timeout=seconds, trust_env=False, verify=none)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
