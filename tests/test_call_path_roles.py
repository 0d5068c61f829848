"""The call path of several roles: what they share (ledger, gate, caps), and what each backend has for itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct import call_path, wire
from selfinstruct.admission.budget import Totals
from selfinstruct.call_path import CallPath
from selfinstruct.config import Settings, settings
from selfinstruct.errors import (
    CapReached,
    ConfigProblem,
    LimitReached,
    MaybeExecuted,
    ModelError,
    NotSent,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnusableResponse,
    Withdrawn,
)
from selfinstruct.ledger import Ledger
from selfinstruct.models.opening import Opened
from selfinstruct.schema import Completion, Endpoint, Request
from tests.models.scripted import Scripted, answer, request, until, without_naps

USER = Endpoint(identity="https://user.example.com/v1", model="small")
ASSISTANT = Endpoint(identity="https://assistant.example.com/v1", model="large")
TABLED = Endpoint(identity="https://api.openai.com/v1", model="gpt-4o-mini")  # in the table of prices
CHEAP, DEAR = "in=1,out=3", "in=10,out=30"
USED = 5 * 1_000_000 + 2 * 3_000_000  # pico-usd of an `answer`, at the cheap price


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the run's ledger is."""
    return tmp_path / "ledger.sqlite3"


@pytest.fixture(autouse=True)
def quick_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits."""
    without_naps(monkeypatch)


@contextmanager
def start(
    place: Path, user: Scripted | None = None, assistant: Scripted | None = None, limit: int = 4, **given: Any
) -> Iterator[tuple[CallPath, Ledger]]:
    """One start of a run of two models; ``given`` are settings as they are typed."""
    opened = {
        "user": Opened(user or Scripted(), USER, "completion", limit),
        "assistant": Opened(assistant or Scripted(), ASSISTANT, "completion", limit),
    }
    with Ledger(place) as ledger:
        yield call_path.build_roles(opened, ledger, settings(given), lambda completion: None), ledger


async def outcomes(path: CallPath, asked: Mapping[str, list[Request]]) -> list[Any]:
    """Ask every role all of its requests at once; what came of each. As a run does, what stops one closes the gate."""

    async def ask(role: str, one: Request) -> object:
        try:
            return await path.models[role].complete(one)
        except (RequestRefused, Withdrawn, NotSent, Rejected, MaybeExecuted) as error:
            return error
        except SelfinstructError as error:
            path.gate.close(error)
            return error

    tasks = [asyncio.create_task(ask(role, one)) for role, requests in asked.items() for one in requests]
    return list(await asyncio.wait_for(asyncio.gather(*tasks), 60))


def kinds(outcomes: list[Any]) -> dict[str, int]:
    """How many ended how."""
    names = [type(outcome).__name__ for outcome in outcomes]
    return {name: names.count(name) for name in sorted(set(names))}


def turns(count: int, **given: Any) -> dict[str, list[Request]]:
    """So many requests to each of both, each its own draw."""
    return {role: [request(slot, stage=role, **given) for slot in range(count)] for role in ("user", "assistant")}


# --- put together ---------------------------------------------------------------------------------------------------


async def test_each_role_asks_its_own_model_over_one_ledger_and_one_budget(place: Path) -> None:
    """Who answers, under whose name and address the call is kept, and what both come to."""
    user, assistant = Scripted(), Scripted()
    with start(place, user, assistant, user_price=CHEAP, assistant_price=DEAR) as (path, ledger):
        for role, endpoint, model in (("user", USER, user), ("assistant", ASSISTANT, assistant)):
            completion = await path.models[role].complete(request(stage=role))
            assert completion.call == wire.call_key(endpoint, request(stage=role))
            assert [orjson.loads(sent.body or b"")["model"] for sent in model.asked] == [endpoint.model]
        assert {row.stage: row.cost for row in ledger.rows.spending()} == {"user": USED, "assistant": 10 * USED}
        assert path.budget.spent == Totals(2, 14, 11 * USED)
        assert path.model is path.models["user"]
        assert path.turns is path.queues["user"]
        await path.aclose()
    assert (user.closed, assistant.closed) == (1, 1)


async def test_roles_of_one_backend_share_its_queue_and_it_is_closed_once(place: Path) -> None:
    """Two roles of one server must not put twice its limit in flight."""
    model = Scripted(door=asyncio.Event())
    one = Opened(model, USER, "completion", 4)
    with Ledger(place) as ledger:
        path = call_path.build_roles(
            {"teacher": one, "user": one, "assistant": one._replace(endpoint=ASSISTANT)},  # other words, same weights
            ledger,
            Settings(),
            lambda completion: None,
        )
        assert len({id(queue) for queue in path.queues.values()}) == 1
        asking = asyncio.create_task(outcomes(path, turns(6)))
        await until(lambda: model.in_flight == 4)
        await asyncio.sleep(0.01)
        assert model._door is not None
        model._door.set()
        assert kinds(await asking) == {"Completion": 12}
        assert model.most_in_flight == 4
        await path.aclose()
    assert model.closed == 1


async def test_each_backend_has_as_many_in_flight_as_its_limit(place: Path) -> None:
    """The limit is one server's, so two servers have twice as much on the wire."""
    door = asyncio.Event()
    user, assistant = Scripted(door=door), Scripted(door=door)
    with start(place, user, assistant, limit=3) as (path, _):
        asking = asyncio.create_task(outcomes(path, turns(9)))
        await until(lambda: user.in_flight == assistant.in_flight == 3)
        door.set()
        assert kinds(await asking) == {"Completion": 18}
    assert (user.most_in_flight, assistant.most_in_flight) == (3, 3)


async def test_a_path_for_one_model_is_a_path_of_one_role(place: Path) -> None:
    """As every run without a dialogue has it."""
    with Ledger(place) as ledger:
        path = call_path.build(Opened(Scripted(), USER, "completion", 2), ledger, Settings(), lambda completion: None)
        assert [*path.models] == [*path.queues] == ["teacher"]
        assert (await path.model.complete(request())).text == "echo of p"


# --- caps -----------------------------------------------------------------------------------------------------------


def at_its_worst(rng: random.Random) -> Any:
    """A server whose attempts end in every way."""

    def script(asked: Request, n: int) -> Completion | Exception:
        ways: list[Completion | Exception] = [
            answer("fine", used=(rng.randint(1, 17), rng.randint(0, 10))),
            answer("fine"),
            answer("not counted", used=(0, 0)),
            NotSent("no route"),
            MaybeExecuted("lost"),
            Rejected("busy", status=503),
            UnusableResponse("odd"),
            RequestRefused("too long", status=400),
        ]
        return rng.choice(ways)

    return script


@pytest.mark.parametrize("seed", range(6))
async def test_a_cap_over_two_models_of_different_prices_is_never_overshot(place: Path, seed: int) -> None:
    """Over two starts, whatever becomes of the calls: ledger and budget agree to the last digit, and stay below."""
    rng = random.Random(seed)
    cap = 4_000_000_000
    for start_number in range(2):
        user, assistant = Scripted(at_its_worst(rng)), Scripted(at_its_worst(rng))
        given: dict[str, Any] = {"user_price": CHEAP, "assistant_price": DEAR, "max_cost": "0.004usd"}
        with start(place, user, assistant, limit=8, **given) as (path, ledger):
            await outcomes(path, turns(12, round=start_number))
            assert path.budget.reserved == Totals()
            assert [queue.in_flight for queue in path.queues.values()] == [0, 0]
            spent = call_path.spent_so_far(ledger.rows.spending())
            assert spent == path.budget.committed
            assert spent.cost <= cap
    assert spent.calls > 10


async def test_a_cap_can_be_used_to_the_last_call_that_fits_whoever_it_is_for(place: Path) -> None:
    """A dear answer that comes back last leaves room for cheap ones, and the run ends after them."""
    assistant = Scripted(door=asyncio.Event())
    bound = 17 * 1_000_000 + 10 * 3_000_000  # of a `request`, at the cheap price
    cap = f"{(10 * bound + bound - 1) / 1e12:.12f}usd"  # one dear call, and less than one cheap one beside it
    given: dict[str, Any] = {"user_price": CHEAP, "assistant_price": DEAR, "max_cost": cap}
    with start(place, None, assistant, **given) as (path, ledger):
        dear = asyncio.create_task(path.models["assistant"].complete(request(stage="assistant")))
        await until(lambda: assistant.in_flight == 1)
        cheap = asyncio.create_task(outcomes(path, {"user": [request(slot, stage="user") for slot in range(60)]}))
        await asyncio.sleep(0.01)
        assert ledger.rows.attempts("settled") == 0  # it waits, though nothing of its own model is out
        assert assistant._door is not None
        assistant._door.set()
        assert (await dear).text == "echo of p"
        ends = kinds(await cheap)
        left = 10 * bound + bound - 1 - 10 * USED
        assert ends["Completion"] == 1 + (left - bound) // USED
        assert isinstance(path.gate.reason, CapReached)


async def test_calls_and_tokens_are_capped_over_both(place: Path) -> None:
    """Caps are the run's."""
    with start(place, max_calls=5) as (path, ledger):
        assert kinds(await outcomes(path, turns(6)))["Completion"] == ledger.rows.attempts("settled") == 5
        assert isinstance(path.gate.reason, CapReached)


# --- how it stops ---------------------------------------------------------------------------------------------------


async def test_a_drain_brings_home_what_flies_for_either_and_sends_nothing_more(place: Path) -> None:
    """A deadline, a signal: one gate."""
    door = asyncio.Event()
    user, assistant = Scripted(door=door), Scripted(door=door)
    with start(place, user, assistant, limit=2) as (path, ledger):
        asking = asyncio.create_task(outcomes(path, turns(7)))
        await until(lambda: user.in_flight == assistant.in_flight == 2)
        path.gate.close(LimitReached("enough"))
        door.set()
        assert kinds(await asking) == {"Completion": 4, "Withdrawn": 10}
        assert (len(user.asked), len(assistant.asked), ledger.rows.attempts("reserved")) == (2, 2, 0)


async def test_one_model_that_stays_away_ends_the_run_while_the_other_answers(place: Path) -> None:
    """A dialogue needs both. Only the one that is down is probed for, and the reason is its own."""
    user, assistant = Scripted(), Scripted(NotSent("assistant.example.com: no route"))
    with start(place, user, assistant, give_up_after="0.05") as (path, _):
        ends = await outcomes(path, turns(8))
        assert kinds(ends[:8]) == {"Completion": 8}
        assert "ModelError" in kinds(ends[8:])
        assert type(path.gate.reason) is ModelError
        assert "the last error: assistant.example.com: no route" in str(path.gate.reason)
        assert path.queues["user"].provider_is_down is False
        assert path.queues["assistant"].provider_is_down is True


# --- prices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "prices"),
    [
        ({"price": CHEAP}, (1, 1, 1)),
        ({"price": CHEAP, "assistant_price": DEAR}, (1, 1, 10)),
        ({"user_price": DEAR, "assistant_price": CHEAP}, (None, 10, 1)),
    ],
    ids=["one for all", "one of its own", "two"],
)
def test_a_roles_own_price_comes_before_the_one_for_all(given: dict[str, str], prices: tuple[int | None, ...]) -> None:
    """In units per million tokens read."""
    found = [
        call_path.price_finder(USER.identity, settings(given), role)("small")
        for role in ("teacher", "user", "assistant")
    ]
    assert tuple(price and price.input // 10**6 for price in found) == prices


def test_a_role_without_a_price_has_that_of_the_table() -> None:
    """As the run's own model has; what the user says they pay they know better."""
    listed = call_path.price_finder(TABLED.identity, Settings(), "user")(TABLED.model)
    own = call_path.price_finder(TABLED.identity, settings({"user_price": CHEAP}), "user")(TABLED.model)
    assert listed is not None
    assert own is not None
    assert (listed.source != "--price", own.input) == (True, 1_000_000)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (
            {"assistant_price": DEAR},
            r"'small' at https://user\.example\.com/v1 is not known: give --user-price in=",
        ),
        (
            {"user_price": DEAR},
            r"'large' at https://assistant\.example\.com/v1 is not known: give --assistant-p",
        ),
        (
            {"user_price": DEAR, "assistant_price": "in=1,out=3,currency=cny"},
            "the price of 'large' in cny: give --assistant-price in=…,out=…,currency=usd",
        ),
    ],
    ids=["user", "assistant", "currency"],
)
async def test_a_cap_on_the_cost_asks_for_the_price_of_the_role_that_has_none(
    place: Path, given: dict[str, Any], option: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigProblem, match=option), start(place, max_cost="1usd", **given):
        pass


async def test_prices_in_two_currencies_are_no_sum(place: Path) -> None:
    """Without a cap, too: the account of the run would add yuan to dollars."""
    given: dict[str, Any] = {"user_price": "in=1,out=3,currency=cny", "assistant_price": DEAR}
    with (
        pytest.raises(ConfigProblem, match="prices of small, large are in cny and usd, which do not add up"),
        start(place, **given),
    ):
        pass
    with start(place, user_price="in=1,out=3,currency=cny") as (path, ledger):  # the other has none: nothing to add
        assert (path.budget.currency, ledger.rows.currency()) == ("cny", "cny")


async def test_what_was_asked_before_there_were_prices_is_priced_at_those_of_who_answered(place: Path) -> None:
    """Each call's by its address and model. One that neither could have made counts at the dearer: a cap must hold."""
    with start(place) as (path, ledger):
        await outcomes(path, turns(2))
        other = Endpoint(identity="https://old.example.com/v1", model="small")
        old = call_path.build(Opened(Scripted(), other, "completion", 1), ledger, Settings(), lambda completion: None)
        await old.model.complete(request(stage="old"))
        assert {row.stage: row.unpriced for row in ledger.rows.spending()} == {"user": 2, "assistant": 2, "old": 1}
    with start(place, assistant_price=DEAR) as (path, ledger):
        costs = {row.stage: (row.cost, row.unpriced) for row in ledger.rows.spending()}
        assert costs == {"user": (None, 2), "assistant": (20 * USED, 0), "old": (10 * USED, 0)}
    with start(place, user_price=CHEAP, assistant_price=DEAR, max_cost="1usd") as (path, ledger):
        costs = {row.stage: (row.cost, row.unpriced) for row in ledger.rows.spending()}
        assert costs == {"user": (2 * USED, 0), "assistant": (20 * USED, 0), "old": (10 * USED, 0)}
        assert path.budget.spent == Totals(5, 35, 32 * USED)


async def test_two_models_at_one_address_have_their_own_prices(place: Path) -> None:
    """The key of a call names the address, its body the model."""
    small, large = (Endpoint(identity=USER.identity, model=name) for name in ("small", "large"))
    for given in ({}, {"user_price": CHEAP, "assistant_price": DEAR}):
        with Ledger(place) as ledger:
            opened = {
                "user": Opened(Scripted(), small, "completion", 2),
                "assistant": Opened(Scripted(), large, "completion", 2),
            }
            path = call_path.build_roles(opened, ledger, settings(given), lambda completion: None)
            await outcomes(path, turns(1))
            costs = {row.stage: row.cost for row in ledger.rows.spending()}
    assert costs == {"user": USED, "assistant": 10 * USED}
