"""vLLM as a model: calls go to the server with the least to do, and the death of one is no harm to any of them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engine.launch import Launch
from selfinstruct.engine.server import Address, EngineServer
from selfinstruct.errors import ConfigProblem, MaybeExecuted, ModelError, NotSent, RequestRefused
from selfinstruct.models.openai_api import OpenAIModel
from selfinstruct.models.vllm_server import VllmModel
from selfinstruct.protocols import Model
from selfinstruct.schema import Completion, Draw, Endpoint, Message, Request, Sampling
from tests.stub_engine import model_folder, stands_in, starts

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc"),
]

ENDPOINT = Endpoint(identity="vllm:tiny@main", model="tiny")
SCHEMA = {"type": "object", "properties": {"kept": {"const": 1}}, "required": ["kept"]}


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is vLLM, state is the test's own, and looks come often."""
    stands_in(monkeypatch, tmp_path / "state")


class Client:
    """The connections to one server; says which GPUs have been asked."""

    def __init__(self, address: Address, asked: Counter[str]) -> None:
        self._inner = OpenAIModel(ENDPOINT, address.url, address.key, timeout=20)
        self._url, self._asked = address.url, asked

    async def complete(self, request: Request) -> Completion:
        """Count, and ask."""
        self._asked[self._url] += 1
        return await self._inner.complete(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class Rig:
    """A model of the stand-in's, what was asked where, and what people were told."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.starts = folder.parent / "starts"
        self.asked: Counter[str] = Counter()
        self.told: list[str] = []
        self.servers: list[EngineServer] = []

        def server_at(place: int) -> EngineServer:
            launch = Launch(Path(sys.executable), str(folder), "tiny", gpus=str(place), **options)
            self.servers.append(EngineServer(launch, self.told.append))
            return self.servers[-1]

        def client_at(address: Address) -> Model:
            return Client(address, self.asked)

        self.model = VllmModel(server_at, client_at, "tiny")
        self.model.tell = self.told.append

    def pids(self) -> dict[str, int]:
        """The process of the last start on each GPU."""
        return {start.gpus or "": start.pid for start in starts(self.starts)}


@asynccontextmanager
async def rig(tmp_path: Path, **modes: Any) -> AsyncIterator[Rig]:
    """Closed after the block, and then none of its servers is left."""
    options = modes.pop("options", {})
    one = Rig(model_folder(tmp_path / "m", starts=tmp_path / "starts", **modes), **options)
    try:
        yield one
    finally:
        await one.model.aclose()
    assert [pid for pid in one.pids().values() if Path(f"/proc/{pid}").exists()] == []


def request(slot: int = 0, prompt: str = "One, two, three,", **fields: Any) -> Request:
    """A short one."""
    draw = Draw(stage="s", round=0, slot=slot)
    return Request(draw=draw, prompt=prompt, sampling=Sampling(max_tokens=12), **fields)


async def ask_all(model: VllmModel, number: int) -> list[str]:
    """So many answers at once, each asked for again while that is free."""

    async def ask(slot: int) -> str:
        for _ in range(5):
            try:
                return (await model.complete(request(slot))).text
            except NotSent:
                continue
        return "given up"

    return await asyncio.gather(*(ask(slot) for slot in range(number)))


# --- two places -------------------------------------------------------------------------------------------------------


async def test_calls_go_to_the_server_with_the_least_to_do(tmp_path: Path) -> None:
    """Half of them to each, where each takes as long."""
    async with rig(tmp_path, delay=0.2) as one:
        await asyncio.gather(one.model.arrive(0), one.model.arrive(1))
        assert await ask_all(one.model, 12) == [" four, five, six"] * 12
        assert sorted(one.asked.values()) == [6, 6]
        assert sorted(one.pids()) == ["0", "1"]


async def test_a_model_that_is_asked_before_it_arrived_starts_at_the_first_place(tmp_path: Path) -> None:
    """Once, however many ask; arriving there afterwards changes nothing."""
    async with rig(tmp_path) as one:
        assert await ask_all(one.model, 5) == [" four, five, six"] * 5
        await one.model.arrive(0)
        assert [start.gpus for start in starts(one.starts)] == ["0"]


async def test_a_server_that_dies_is_started_again_while_the_other_goes_on(tmp_path: Path) -> None:
    """What it held was not sent, as far as anybody is concerned: every call has its answer in the end."""
    async with rig(tmp_path, delay=0.2) as one:
        await asyncio.gather(one.model.arrive(0), one.model.arrive(1))
        asking = asyncio.create_task(ask_all(one.model, 12))
        await asyncio.sleep(0.1)
        before = one.pids()
        os.kill(before["1"], signal.SIGKILL)
        assert await asking == [" four, five, six"] * 12
        after = one.pids()
    assert after["0"] == before["0"]
    assert after["1"] != before["1"]
    assert len(one.asked) == 3


async def test_of_two_servers_one_that_cannot_be_started_again_is_given_up(tmp_path: Path) -> None:
    """The other answers everything; people are told once. The last one is not given up, but raises."""
    async with rig(tmp_path, options={"restarts": 0}) as one:
        await asyncio.gather(one.model.arrive(0), one.model.arrive(1))
        os.kill(one.pids()["0"], signal.SIGKILL)
        assert await ask_all(one.model, 12) == [" four, five, six"] * 12
        (told,) = [line for line in one.told if "the other servers go on" in line]
        assert told.startswith("tiny: vLLM ended 1 times in this run")
        os.kill(one.pids()["1"], signal.SIGKILL)
        with pytest.raises(NotSent, match="vLLM went away"):
            await one.model.complete(request())
        for _ in range(2):
            with pytest.raises(ModelError, match="vLLM ended 1 times") as stop:
                await one.model.complete(request())
            assert type(stop.value) is ModelError


async def test_a_start_that_fails_at_one_place_is_told_before_any_call(tmp_path: Path) -> None:
    """Whoever lets it arrive hears why."""
    async with rig(tmp_path, start="missing-weights") as one:
        with pytest.raises(ConfigProblem, match="files of the model are missing or broken"):
            await one.model.arrive(1)


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_a_model_that_departs_frees_all_it_holds_and_can_come_back(tmp_path: Path) -> None:
    """Somewhere else; a second time departing or closing does nothing."""
    async with rig(tmp_path) as one:
        await asyncio.gather(one.model.arrive(0), one.model.arrive(1))
        await one.model.complete(request())
        held = one.pids()
        await one.model.depart()
        assert [Path(f"/proc/{pid}").exists() for pid in held.values()] == [False, False]
        await one.model.depart()
        await one.model.arrive(3)
        assert (await one.model.complete(request())).text == " four, five, six"
        assert sorted(one.pids()) == ["0", "1", "3"]
        assert one.servers[-1].starts == 1


async def test_a_model_that_departs_while_it_answers_loses_those_calls_only(tmp_path: Path) -> None:
    """They are not sent; the next one finds a server again."""
    async with rig(tmp_path, delay=0.5) as one:
        waiting = asyncio.create_task(one.model.complete(request()))
        while not one.asked:
            await asyncio.sleep(0.01)
        await one.model.depart()
        with pytest.raises((NotSent, MaybeExecuted)) as stop:
            await waiting
        assert "127.0.0.1" not in str(stop.value)


# --- errors -----------------------------------------------------------------------------------------------------------


async def test_what_the_server_refuses_is_told_without_its_port(tmp_path: Path) -> None:
    """The port is another at each start, and would be in a reject."""
    async with rig(tmp_path, context=64) as one:
        with pytest.raises(RequestRefused, match=r"maximum context length is 64 tokens") as stop:
            await one.model.complete(request(prompt="word " * 100))
        assert str(stop.value).startswith("vLLM (tiny)/completions answered 400: ")
        assert one.servers[0].starts == 1
        assert not re.search(r"\d{5}|127", str(stop.value))


@pytest.mark.parametrize(
    ("completions", "said"),
    [("die-after:1", "its engine died"), ("dead-engine-after:1", r"it no longer answered \(a probe was answered 500")],
)
async def test_a_call_that_met_the_death_of_its_server_was_not_sent(
    tmp_path: Path, completions: str, said: str
) -> None:
    """Whatever the server said: nothing was billed, and nobody will hear the answer. It says what happened."""
    async with rig(tmp_path, completions=completions) as one:
        with pytest.raises(NotSent, match=rf"tiny: vLLM went away: ({said}|it no longer)") as stop:
            await one.model.complete(request())
        assert "127.0.0.1" not in str(stop.value)
        assert str(stop.value).endswith("; it is started again")


async def test_a_server_in_trouble_that_still_answers_a_probe_keeps_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not started again for that."""

    async def in_trouble(self: Client, request: Request) -> Completion:
        raise MaybeExecuted("http://127.0.0.1:4711/v1: ('127.0.0.1', 4711) the connection was lost", status=502)

    monkeypatch.setattr(Client, "complete", in_trouble)
    async with rig(tmp_path) as one:
        with pytest.raises(MaybeExecuted, match="the connection was lost") as stop:
            await one.model.complete(request())
        assert (stop.value.status, "4711" in str(stop.value)) == (502, False)
        assert one.servers[0].starts == 1


async def test_a_schema_that_is_not_kept_to_stops_the_first_call_that_needs_it(tmp_path: Path) -> None:
    """Recorded bodies and new requests alike; text is answered all the same."""
    async with rig(tmp_path, schema="ignored") as one:
        form = b'{"model": "tiny", "prompt": "x", "response_format": {"type": "json_schema", "json_schema": {}}}'
        draw = Draw(stage="s", round=0, slot=0)
        for asked in (request(answer_schema=SCHEMA), Request(draw=draw, path="/completions", body=form)):
            with pytest.raises(ConfigProblem, match="answers past the JSON schema"):
                await one.model.complete(asked)
        assert (await one.model.complete(request())).text == " four, five, six"


async def test_a_schema_that_is_kept_to_is_answered_by_it(tmp_path: Path) -> None:
    """As a chat, too."""
    async with rig(tmp_path) as one:
        asked = Request(
            draw=Draw(stage="s", round=0, slot=0),
            messages=(Message(role="user", content="x"),),
            sampling=Sampling(max_tokens=64),
            answer_schema=SCHEMA,
        )
        assert (await one.model.complete(asked)).text == '{"kept": 1}'
