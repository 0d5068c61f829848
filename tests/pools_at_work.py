"""Pools at work: a user's pool file, a server whose models answer by what they are asked, vLLM stood in for.

Answers are functions of the body, so that two runs over the same pool can be compared byte for byte; and a body names
its model, so that a text says whose it is.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from aiohttp import web

from selfinstruct import call_path
from selfinstruct.admission.seats import Seats
from selfinstruct.engine import server as engine_server
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.schema import Draw
from tests.serving import Api
from tests.stub_engine import environment, model_folder
from tests.vllm_stub.vllm.answers import answer

Voice = Callable[[dict[str, Any], Random], tuple[str, str]]
"""``(body, generator seeded by it) → (text, finish reason)``."""


def says(body: dict[str, Any], rng: Random) -> tuple[str, str]:
    """What the stand-in for vLLM would say in that model's place: a sentence with its name, or a value of a schema."""
    asked = body.get("prompt") or "\n".join(str(message["content"]) for message in body["messages"])
    said = answer(asked, body["model"], body, 0, body.get("max_tokens") or 64)
    return said.text, said.finish_reason


USED = (10, 4)
"""Tokens in and out of each answer, as its usage says; fewer out where the body allows no more."""


class Voices(Api):
    """A server of many models. ``asked`` counts (model, hash of the body), ``keys`` (model, key).

    ``fault`` is asked first, with the model and how many calls came before: a status to answer with, or None.
    """

    def __init__(
        self, voice: Voice = says, *, latency: Callable[[Random], float] = lambda rng: 0.0, port: int = 0
    ) -> None:
        super().__init__(port)
        self.asked: Counter[tuple[str, str]] = Counter()
        self.keys: Counter[tuple[str, str]] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.in_flight = 0
        self.fault: Callable[[str, int], int | None] = lambda model, number: None
        self._voice, self._latency = voice, latency

    @property
    def posts(self) -> Counter[str]:
        """How many calls each model has had."""
        return Counter(model for model, _ in self.asked.elements())

    def by_body(self) -> Counter[str]:
        """How often each body was asked; it names its model itself."""
        return Counter(body for _, body in self.asked.elements())

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        sent = await request.read()
        if request.method != "POST":
            return web.json_response({"data": []})
        body = orjson.loads(sent)
        before, model = self.asked.total(), body["model"]
        self.asked[model, hashlib.sha256(sent).hexdigest()] += 1
        self.keys[model, request.headers.get("Authorization", "").removeprefix("Bearer ")] += 1
        self.bodies.append(body)
        if status := self.fault(model, before):
            return web.json_response({"error": {"message": "not now"}}, status=status)
        rng = Random(hashlib.sha256(sent).hexdigest())
        self.in_flight += 1
        try:
            await asyncio.sleep(self._latency(rng))
        finally:
            self.in_flight -= 1
        text, why = self._voice(body, rng)
        told = {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        choice = {"index": 0, **told, "finish_reason": why}
        usage = {"prompt_tokens": USED[0], "completion_tokens": min(USED[1], body.get("max_tokens") or USED[1])}
        return web.json_response({"model": model, "choices": [choice], "usage": usage})


# --- what a run has asked -------------------------------------------------------------------------------------------


def attempts(run: Path) -> Counter[tuple[str, str]]:
    """How many attempts a ledger has, by the model its body names and by how they ended."""
    with closing(sqlite3.connect(run / "ledger.sqlite3")) as ledger:
        found = ledger.execute("SELECT body, state FROM attempts JOIN calls ON calls.id = attempts.call").fetchall()
    return Counter((json.loads(body)["model"], state) for body, state in found)


def recorded(run: Path) -> Mapping[str, tuple[Draw, str]]:
    """The draw of every recorded call, and the model it asked, by its key."""
    with closing(LedgerReader(run / "ledger.sqlite3")) as rows:
        return {call.key: (call.draw, json.loads(call.body)["model"]) for call in rows.calls()}


def settled(run: Path) -> int:
    """How many answers a ledger holds; it may be in use, or not be there yet."""
    try:
        with closing(sqlite3.connect(f"file:{run / 'ledger.sqlite3'}?mode=ro", uri=True)) as ledger:
            return int(ledger.execute("SELECT count(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


# --- the file -------------------------------------------------------------------------------------------------------


def hurry(patch: pytest.MonkeyPatch) -> None:
    """No long waits between two looks at a server that starts, nor before an idle model goes."""
    patch.setattr(engine_server, "LOOK_EVERY", 0.02)
    patch.setattr(call_path, "Seats", functools.partial(Seats, linger=0.01))


def pool_file(path: Path, *models: Mapping[str, Any]) -> Path:
    """A pool of these models, as a user writes it down."""
    lines = [line for model in models for line in ("[[model]]", *(f"{key} = {_toml(model[key])}" for key in model), "")]
    path.write_text("\n".join(lines))
    return path


def remote(server: Api, name: str, **more: Any) -> dict[str, Any]:
    """A model of a server of the user's."""
    return {"name": name, "base_url": server.url, **more}


def local(folder: Path, **modes: Any) -> dict[str, Any]:
    """A model that a vLLM of ours serves: a folder of that name, which notes its starts in ``starts`` beside it."""
    made = model_folder(folder, starts=str(folder.parent / "starts"), **modes)
    return {"name": folder.name, "model": str(made), "context": 2048}


def at_home(place: Path) -> dict[str, str]:
    """The variables of a command that finds the stand-in for vLLM, and keeps its logs below ``place``."""
    return {**environment(), "XDG_STATE_HOME": str(place / "state")}


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)
