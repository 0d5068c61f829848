"""Two real servers answer two roles of one run: whose key each sees, how many at once, one cap and one drain."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from aiohttp import web

from selfinstruct import call_path
from selfinstruct.call_path import CallPath
from selfinstruct.config import settings
from selfinstruct.errors import AccessDenied, CapReached, ConfigProblem, LimitReached, SelfinstructError
from selfinstruct.ledger import Ledger
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models.opening import open_models
from selfinstruct.money import parse_price
from selfinstruct.naming import named_roles
from selfinstruct.recipe import Recipe
from selfinstruct.schema import Draw, Message, Request, Sampling
from tests.serving import Api

USER_PRICE, ASSISTANT_PRICE = "in=1,out=2", "in=20,out=60"


class Server(Api):
    """A chat server that takes one key, and counts who asks it and how many at once."""

    def __init__(self, key: str, seconds: float = 0.0, used: tuple[int, int] = (20, 8)) -> None:
        super().__init__()
        self.keys: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.fault: tuple[int, dict[str, Any]] | None = None
        self._key, self._seconds, self._used = key, seconds, used

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        sent = request.headers.get("Authorization", "")
        self.keys[sent] += 1
        self.models[body["model"]] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(self._seconds)
        self.in_flight -= 1
        if sent != f"Bearer {self._key}":
            return web.json_response({"error": {"message": "who are you?"}}, status=401)
        if self.fault is not None:
            return web.json_response(self.fault[1], status=self.fault[0])
        prompt, completion = self._used
        choice = {"message": {"role": "assistant", "content": "Hm."}, "finish_reason": "stop"}
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        return web.json_response({"model": body["model"], "choices": [choice], "usage": usage})


class Talk(NamedTuple):
    """A start of a run over both servers."""

    path: CallPath
    ledger: Ledger


@contextmanager
def start(place: Path, user: Server, assistant: Server, **given: Any) -> Iterator[Talk]:
    """Who plays the user has an address and a key of their own; the assistant is the run's model."""
    recipe = named_roles(
        Recipe(
            model=ModelRecipe(api="chat", base_url=assistant.url, name="large"),
            user=ModelRecipe(api="chat", base_url=user.url, name="small"),
        )
    )
    chosen = settings({"concurrency": 4, **given})
    with Ledger(place / "ledger.sqlite3") as ledger:
        opened = open_models(recipe, chosen, ("user", "assistant"))
        yield Talk(call_path.build_roles(opened, ledger, chosen, lambda completion: None), ledger)


def turn(role: str, slot: int) -> Request:
    """What a role is asked: 36 tokens to read at most, and 10 to write."""
    return Request(
        draw=Draw(stage=role, round=0, slot=slot),
        messages=(Message(role="user", content="And what comes next?"),),
        sampling=Sampling(max_tokens=10),
    )


async def talk(path: CallPath, rounds: int) -> list[Any]:
    """So many dialogues of two turns, all at once, the second turn after the first; what ended each, None for none."""

    async def one(slot: int) -> object:
        try:
            for role in ("assistant", "user"):
                await path.models[role].complete(turn(role, slot))
        except SelfinstructError as error:
            path.gate.close(error)
            return error
        return None

    return list(await asyncio.wait_for(asyncio.gather(*(one(slot) for slot in range(rounds))), 60))


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the run's, one of the user's."""
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-run")
    monkeypatch.setenv("SELFINSTRUCT_USER_API_KEY", "key-of-the-user")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


async def test_each_server_sees_its_own_key_and_its_own_model_and_no_more_than_the_limit_at_once(
    tmp_path: Path,
) -> None:
    """Both are busy at the same time; connections are closed at the end."""
    with Server("key-of-the-user", 0.02) as user, Server("key-of-the-run", 0.02) as assistant:
        with start(tmp_path, user, assistant) as (path, ledger):
            assert await talk(path, 12) == [None] * 12
            await path.aclose()
            assert ledger.rows.attempts("settled") == 24
        assert user.keys == {"Bearer key-of-the-user": 12}
        assert assistant.keys == {"Bearer key-of-the-run": 12}
        assert (user.models, assistant.models) == ({"small": 12}, {"large": 12})
        assert assistant.most_in_flight == 4
        assert user.most_in_flight <= 4


async def test_a_key_that_is_not_given_for_a_server_is_not_sent_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's key stays away from the other address, on one machine, too; the refusal names the variable to set."""
    monkeypatch.delenv("SELFINSTRUCT_USER_API_KEY")
    with Server("key-of-the-user") as user, Server("key-of-the-run") as assistant:
        with start(tmp_path, user, assistant) as (path, _):
            ends = await talk(path, 1)
            await path.aclose()
        assert user.keys == {"": 1}
        assert type(ends[0]) is AccessDenied
        assert "is SELFINSTRUCT_USER_API_KEY set, right" in str(ends[0])
        assert path.gate.reason is ends[0]


@pytest.mark.parametrize("cap", [2_000_000_000, 15_000_000_000, 33_333_333_333])
async def test_a_cap_over_both_prices_is_never_overshot_and_can_be_used_up(tmp_path: Path, cap: int) -> None:
    """By what the servers count, at the price of each; and no call of the dearer model would have fitted any more."""
    with Server("key-of-the-user", 0.005) as user, Server("key-of-the-run", 0.005) as assistant:
        given = {"user_price": USER_PRICE, "assistant_price": ASSISTANT_PRICE, "max_cost": f"{cap / 1e12:.12f}usd"}
        with start(tmp_path, user, assistant, **given) as (path, ledger):
            ends = await talk(path, 60)
            await path.aclose()
            spent = sum(row.cost or 0 for row in ledger.rows.spending())
        small, large = parse_price(USER_PRICE), parse_price(ASSISTANT_PRICE)
        assert spent == user.models["small"] * small.cost(20, 8) + assistant.models["large"] * large.cost(20, 8)
        assert spent <= cap
        assert spent + large.cost(36, 10) > cap
        assert isinstance(path.gate.reason, CapReached)
        assert any(isinstance(end, CapReached) for end in ends)


async def test_a_drain_lets_nothing_more_out_to_either(tmp_path: Path) -> None:
    """What flies comes home and is recorded."""
    with Server("key-of-the-user", 0.1) as user, Server("key-of-the-run", 0.1) as assistant:
        with start(tmp_path, user, assistant) as (path, ledger):
            talking = asyncio.create_task(talk(path, 20))
            while not (user.in_flight and assistant.in_flight):
                await asyncio.sleep(0.01)
            path.gate.close(LimitReached("enough"))
            await talking
            await path.aclose()
            settled = ledger.rows.attempts("settled")
            assert ledger.rows.attempts("reserved") == 0
        assert settled == user.models.total() + assistant.models.total() < 40


async def test_a_model_without_a_chat_template_ends_the_run_at_its_first_answer(tmp_path: Path) -> None:
    """And not turn by turn, each refused; the other model's answers stay."""
    with Server("key-of-the-user") as user, Server("key-of-the-run") as assistant:
        message = "default chat template is no longer allowed, so you must provide a chat template"
        user.fault = 400, {"object": "error", "message": message, "type": "BadRequestError", "code": 400}
        with start(tmp_path, user, assistant, concurrency=2) as (path, ledger):
            ends = await talk(path, 30)
            await path.aclose()
            assert ledger.rows.attempts("refused") == 0
        assert type(path.gate.reason) is ConfigProblem
        assert "--api completion" in str(path.gate.reason)
        assert path.gate.reason in ends
        assert user.models.total() <= 2
