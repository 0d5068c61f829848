"""The call path put together: caps over several starts, prices, the account of money, how it stops."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import call_path, wire
from selfinstruct.admission import gate as gates
from selfinstruct.admission.budget import Caps, Totals
from selfinstruct.admission.gate import Gate
from selfinstruct.call_path import CallPath
from selfinstruct.config import Settings, settings
from selfinstruct.errors import (
    AccessDenied,
    BadData,
    CapReached,
    ConfigProblem,
    Interrupted,
    LimitReached,
    MaybeExecuted,
    ModelError,
    NotSent,
    Rejected,
    RequestRefused,
    UnusableResponse,
    Withdrawn,
)
from selfinstruct.ledger import Ledger
from selfinstruct.models import retrying
from selfinstruct.models.opening import Opened
from selfinstruct.money import Amount, Price
from selfinstruct.schema import Completion, Endpoint, Request
from tests.models.scripted import ENDPOINT, Scripted, answer, request, until, without_naps

ROOT = Path(__file__).resolve().parents[1]
PRICE = "in=1,out=3"
BOUND, USED = 17 * 1_000_000 + 10 * 3_000_000, 5 * 1_000_000 + 2 * 3_000_000  # pico-usd of a `request`, of an `answer`
OPENAI = Endpoint(identity="https://api.openai.com/v1", model="gpt-4o-mini")  # in the table of prices
NO_SUCH = Endpoint(identity="https://api.example.com/v1", model="m")


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
    place: Path, model: Scripted | None = None, endpoint: Endpoint = ENDPOINT, limit: int = 4, **given: Any
) -> Iterator[tuple[CallPath, Ledger]]:
    """One start of a run: its ledger opened, a call path over it; ``given`` are settings as they are typed."""
    opened = Opened(model or Scripted(), endpoint, "completion", limit)
    with Ledger(place) as ledger:
        yield call_path.build(opened, ledger, settings(given), lambda completion: None), ledger


async def outcomes(path: CallPath, *requests: Request) -> list[Any]:
    """Ask for all of them at once; what came of each. As a run does, whatever stops one closes the gate."""

    async def ask(asked: Request) -> object:
        try:
            return await path.model.complete(asked)
        except (RequestRefused, Withdrawn, NotSent, Rejected, MaybeExecuted) as error:
            return error
        except Exception as error:
            path.gate.close(error)  # type: ignore[arg-type]  # a bug of ours would show in the assertions
            return error

    tasks = [asyncio.create_task(ask(asked)) for asked in requests]
    return list(await asyncio.wait_for(asyncio.gather(*tasks), 60))


def kinds(outcomes: list[Any]) -> dict[str, int]:
    """How many ended how."""
    names = [type(outcome).__name__ for outcome in outcomes]
    return {name: names.count(name) for name in sorted(set(names))}


def requests(count: int, first: int = 0) -> list[Request]:
    """So many requests, each its own draw."""
    return [request(slot) for slot in range(first, first + count)]


# --- put together ---------------------------------------------------------------------------------------------------


async def test_an_answer_comes_through_the_whole_path(place: Path) -> None:
    """Recorded, priced, counted, told; and everything is closed at the end."""
    model, told = Scripted(), list[Completion]()
    opened = Opened(model, ENDPOINT, "completion", 4)
    with Ledger(place) as ledger:
        path = call_path.build(opened, ledger, settings({"price": PRICE}), told.append)
        completion = await path.model.complete(request())
        assert completion.text == "echo of p"
        assert [one.text for one in told] == ["echo of p"]
        assert path.budget.spent == Totals(1, 7, USED)
        (row,) = ledger.rows.spending()
        assert (row.state, row.prompt_tokens, row.completion_tokens, row.cost) == ("settled", 5, 2, USED)
        await path.model.aclose()
    assert model.closed == 1


async def test_a_lost_answer_is_asked_for_again_and_both_attempts_are_counted(place: Path) -> None:
    """The one that may have been billed at its bound, the other at its usage; the slot is given back in between."""
    model = Scripted(lambda asked, n: MaybeExecuted("lost") if n == 0 else answer("fine"))
    with start(place, model, limit=1, price=PRICE) as (path, ledger):
        assert (await path.model.complete(request())).text == "fine"
        states = {(row.state, row.outcome, row.cost) for row in ledger.rows.spending()}
        assert states == {("ambiguous", "MaybeExecuted", BOUND), ("settled", None, USED)}
        assert path.budget.committed == Totals(2, 27 + 7, BOUND + USED)


async def test_without_a_price_and_without_a_cap_everything_goes(place: Path) -> None:
    """Also a request that sets no limit: its tokens are recorded, its cost is not known."""
    body = b'{"prompt":"Name a tree."}'
    with start(place, endpoint=NO_SUCH) as (path, ledger):
        asked = Request(draw=request().draw, path=wire.COMPLETIONS, body=body)
        await path.model.complete(asked)
        (row,) = ledger.rows.spending()
        assert (row.prompt_tokens, row.completion_tokens, row.cost, row.unpriced) == (5, 2, None, 1)
        assert path.budget.committed == call_path.spent_so_far(ledger.rows.spending()) == Totals(1, 7, 0)


async def test_with_a_cap_a_request_needs_a_bound(place: Path) -> None:
    """Else the cap would hold for the others only."""
    with start(place, max_calls=5) as (path, _):  # which rests on no bound
        asked = Request(draw=request().draw, path=wire.COMPLETIONS, body=b'{"prompt":"Name a tree."}')
        assert (await path.model.complete(asked)).call
    with start(place, max_tokens_total=500) as (path, _):
        asked = Request(draw=request(1).draw, path=wire.COMPLETIONS, body=b'{"prompt":"Name a tree."}')
        with pytest.raises(BadData, match="add max_tokens"):
            await path.model.complete(asked)


# --- caps -----------------------------------------------------------------------------------------------------------


def test_the_caps_are_those_of_the_settings() -> None:
    """None is no cap."""
    assert call_path.caps_of(Settings()) == Caps()
    given = settings({"max_cost": "20usd", "max_calls": 3, "max_tokens_total": 5})
    assert call_path.caps_of(given) == Caps(Amount("usd", 20 * 10**12), 3, 5)


@pytest.mark.parametrize(
    ("caps", "calls", "why"),
    [
        ({"max_calls": 3}, 3, "--max-calls 3 is reached: 3 calls made"),
        ({"max_tokens_total": 27 + 2 * 7}, 3, "--max-tokens-total 41 is reached: 21 tokens used"),
        ({"max_cost": "0.000069usd"}, 3, "--max-cost 0.000069 usd is reached: $0.000033 spent"),
    ],
)
async def test_a_cap_holds_and_can_be_used_to_the_last_call_that_fits(
    place: Path, caps: dict[str, Any], calls: int, why: str
) -> None:
    """All are asked for at once: what fits is sent, the others wait for what comes back; then the cap is reached."""
    model = Scripted()
    with start(place, model, limit=8, price=PRICE, **caps) as (path, ledger):
        results = await outcomes(path, *requests(9))
        assert kinds(results)["Completion"] == len(model.asked) == ledger.rows.attempts("settled") == calls
        assert set(kinds(results)) <= {"Completion", "CapReached", "Withdrawn"}
        assert all(str(end).startswith(why) for end in results if isinstance(end, CapReached))
        assert isinstance(path.gate.reason, CapReached)


async def test_a_cap_is_for_the_run_and_not_for_one_start(place: Path) -> None:
    """What the first start has spent counts in the second, which may raise the cap and go on."""
    for start_number, (cap, done) in enumerate([(3, 3), (3, 3), (5, 5)]):
        model = Scripted()
        with start(place, model, max_calls=cap) as (path, ledger):
            results = await outcomes(path, *requests(6))
            assert kinds(results)["Completion"] == ledger.rows.attempts("settled") == done
            assert isinstance(path.gate.reason, CapReached)
        assert len(model.asked) == (3, 0, 2)[start_number]


async def test_what_a_crash_left_in_flight_counts_at_its_bound(place: Path) -> None:
    """It may have been billed: the next start has that much less."""
    with start(place, Scripted(door=asyncio.Event()), max_tokens_total=60) as (path, ledger):
        call = asyncio.create_task(path.model.complete(request()))
        await until(lambda: ledger.rows.attempts("reserved") == 1)
        ledger.close()  # as if the process had died now
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    with start(place, max_tokens_total=60) as (path, ledger):
        assert ledger.rows.attempts("ambiguous") == 1
        assert path.budget.spent == Totals(1, 27, 0)
        results = await outcomes(path, *requests(2, first=1))
        assert kinds(results) == {"Completion": 1, "CapReached": 1}
        assert path.budget.committed.tokens == 27 + 7


async def test_an_attempt_made_without_a_price_is_priced_when_one_is_given(place: Path) -> None:
    """Else a cap on the cost would not count it; a recorded cost is never changed by another price."""
    with start(place, endpoint=NO_SUCH) as (path, ledger):
        await path.model.complete(request(0))
        assert [row.unpriced for row in ledger.rows.spending()] == [1]
    with start(place, endpoint=NO_SUCH, price=PRICE, max_cost="1usd") as (path, ledger):
        assert path.budget.spent == Totals(1, 7, USED)
        assert [(row.cost, row.unpriced) for row in ledger.rows.spending()] == [(USED, 0)]
    with start(place, endpoint=NO_SUCH, price="in=100,out=100") as (path, _):
        assert path.budget.spent == Totals(1, 7, USED)


async def test_usage_above_the_bound_keeps_the_answer_and_ends_the_run(place: Path) -> None:
    """No cap can hold if the server counts otherwise: one answer, then nothing more, and the reason is 78."""
    model = Scripted(lambda asked, n: answer("much", used=(5000, 2)))
    with start(place, model, limit=1, max_tokens_total=100_000) as (path, ledger):
        results = await outcomes(path, *requests(5))
        assert kinds(results) == {"Completion": 1, "Withdrawn": 4}
        assert isinstance(path.gate.reason, ConfigProblem)
        assert path.gate.reason.exit_code == 78
        assert "counts 5000 + 2 tokens" in str(path.gate.reason)
        assert (ledger.rows.attempts("settled"), path.budget.spent.tokens) == (1, 5002)


async def test_a_call_above_the_token_limit_of_a_minute_is_an_error(place: Path) -> None:
    """It would wait for ever; nothing is reserved or sent."""
    model = Scripted()
    with start(place, model, tpm="19") as (path, ledger):
        with pytest.raises(ConfigProblem, match="more than --tpm"):
            await path.model.complete(request())
        assert (model.asked, ledger.rows.spending()) == ([], [])


# --- the account of money -------------------------------------------------------------------------------------------


def anything(rng: random.Random) -> Callable[[Request, int], Completion | Exception]:
    """A server at its worst: every way an attempt can end."""
    ways: list[Callable[[], Completion | Exception]] = [
        lambda: answer("fine", used=(rng.randint(1, 17), rng.randint(0, 10))),
        lambda: answer("fine"),
        lambda: answer("not counted", used=(0, 0)),
        lambda: answer("half counted", used=(0, 4)),
        lambda: NotSent("no route"),
        lambda: MaybeExecuted("lost"),
        lambda: MaybeExecuted("oops", status=500),
        lambda: Rejected("busy", status=503),
        lambda: UnusableResponse("odd"),
        lambda: RequestRefused("too long", status=400),
    ]
    return lambda asked, n: rng.choice(ways)()


@pytest.mark.parametrize("seed", range(6))
async def test_the_budget_is_what_the_ledger_says_at_every_ending(place: Path, seed: int) -> None:
    """At the end of a start and when the next one opens it: the same calls, tokens and cents, and never above a cap."""
    rng = random.Random(seed)
    cap = 3_000_000_000
    for start_number in range(3):
        with start(place, Scripted(anything(rng)), limit=8, price=PRICE, max_cost="0.003usd") as (path, ledger):
            await outcomes(path, *requests(12, first=12 * start_number))
            assert path.budget.reserved == Totals()
            assert path.turns.in_flight == 0
            before = path.budget.committed
            assert call_path.spent_so_far(ledger.rows.spending()) == before
            assert sum(row.cost or 0 for row in ledger.rows.spending()) == before.cost <= cap
        with Ledger(place) as ledger:
            assert call_path.spent_so_far(ledger.rows.spending()) == before
    assert before.calls > 20


def test_nothing_was_spent_in_an_empty_ledger(place: Path) -> None:
    """Sums of no rows."""
    with Ledger(place) as ledger:
        assert call_path.spent_so_far(ledger.rows.spending()) == Totals(0, 0, 0)


# --- prices ---------------------------------------------------------------------------------------------------------


def test_the_users_own_price_comes_before_the_tables() -> None:
    """What they pay they know best; without either there is none."""
    own = Price(1_000_000, 3_000_000, "usd", "--price", "")
    given = settings({"price": PRICE})
    assert call_path.price_finder(OPENAI.identity, given)("gpt-4o-mini") == own
    listed = call_path.price_finder(OPENAI.identity, Settings())("gpt-4o-mini")
    assert listed is not None
    assert (listed.currency, listed.source != "--price") == ("usd", True)
    assert call_path.price_finder(NO_SUCH.identity, Settings())("m") is None


async def test_an_unknown_price_under_a_cap_on_the_cost_says_how_to_give_one(place: Path) -> None:
    """Before anything is sent; caps on calls and tokens need no price."""
    with (
        pytest.raises(ConfigProblem, match=r"the price of 'm' at https://api\.example\.com/v1 is not known: give --p"),
        start(place, endpoint=NO_SUCH, max_cost="20usd"),
    ):
        pass
    with start(place, endpoint=NO_SUCH, max_calls=5, max_tokens_total=1000):
        pass


@pytest.mark.parametrize(
    ("endpoint", "given"), [(OPENAI, {}), (NO_SUCH, {"price": "in=1,out=3,currency=usd"})], ids=["table", "own"]
)
async def test_cap_and_price_must_be_in_one_currency(place: Path, endpoint: Endpoint, given: dict[str, Any]) -> None:
    """We know no rates of exchange; the message names the price to give."""
    with (
        pytest.raises(ConfigProblem, match=r"--max-cost is in cny, the price of '.*' in usd: .*,currency=cny"),
        start(place, endpoint=endpoint, max_cost="100cny", **given),
    ):
        pass


async def test_a_run_counts_in_one_currency_for_ever(place: Path) -> None:
    """Sums of two are no sums. Without a price and a cap there is nothing to compare, and the run goes on as it was."""
    with start(place, endpoint=NO_SUCH, price="in=1,out=3,currency=cny") as (path, ledger):
        await path.model.complete(request())
        assert (path.budget.currency, ledger.rows.currency()) == ("cny", "cny")
    with start(place, endpoint=NO_SUCH) as (path, ledger):
        assert (path.budget.currency, ledger.rows.currency()) == ("cny", "cny")
        assert path.budget.spent == Totals(1, 7, USED)
    with pytest.raises(ConfigProblem, match="costs are counted in cny"), start(place, endpoint=NO_SUCH, price=PRICE):
        pass


async def test_a_run_that_has_spent_nothing_yet_may_change_its_currency(place: Path) -> None:
    """The first price was a slip of the pen."""
    for currency in ("cny", "eur"):
        with start(place, endpoint=NO_SUCH, price=f"in=1,out=3,currency={currency}") as (path, ledger):
            assert (path.budget.currency, ledger.rows.currency()) == (currency, currency)


async def test_a_file_of_many_models_has_the_price_of_each(place: Path) -> None:
    """With no model of its own an endpoint has no price; each body names its model, and an unknown one is an error."""
    endpoint = OPENAI.model_copy(update={"model": ""})
    finder = call_path.price_finder(endpoint.identity, Settings())
    with start(place, endpoint=endpoint, max_cost="1usd") as (path, _):
        costs = []
        for slot, model in enumerate(("gpt-4o-mini", "gpt-4o")):
            body = wire.canonical({"model": model, "prompt": "p", "max_tokens": 10})
            await path.model.complete(Request(draw=request(slot).draw, path=wire.COMPLETIONS, body=body))
            price = finder(model)
            assert price is not None
            costs.append(price.cost(5, 2))
        assert path.budget.spent == Totals(2, 14, sum(costs))
        assert costs[0] < costs[1]
        body = wire.canonical({"model": "nobody-knows", "prompt": "p", "max_tokens": 10})
        with pytest.raises(ConfigProblem, match="nobody-knows"):
            await path.model.complete(Request(draw=request(2).draw, path=wire.COMPLETIONS, body=body))


# --- how it stops ---------------------------------------------------------------------------------------------------


async def test_a_refused_key_ends_the_run_with_the_calls_in_flight(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the disk is in telling the caller: no slot that a refusal frees lets another call out."""
    door = asyncio.Event()
    model = Scripted(AccessDenied("quota used up"), door)
    with start(place, model, limit=8) as (path, ledger):
        fail, disk = ledger.fail, asyncio.Event()

        async def slow(*row: Any) -> None:
            await disk.wait()
            await fail(*row)

        monkeypatch.setattr(ledger, "fail", slow)
        run = asyncio.create_task(outcomes(path, *requests(40)))
        await until(lambda: model.in_flight == 8)
        door.set()
        await until(lambda: path.turns.in_flight == 0)
        await asyncio.sleep(0.02)
        disk.set()
        assert kinds(await run) == {"AccessDenied": 8, "Withdrawn": 32}
        assert len(model.asked) == 8
        assert isinstance(path.gate.reason, AccessDenied)
        assert ledger.rows.attempts("reserved") == 0


async def test_a_fence_holds_the_whole_run(place: Path) -> None:
    """One 429 with a wish: whoever has not left yet waits for the time that was meant for another."""
    left: list[tuple[int, float]] = []

    def script(asked: Request, n: int) -> Completion | Exception:
        left.append((asked.draw.slot, time.monotonic()))
        return Rejected("slow down", status=429, retry_after=0.1) if n == 0 else answer("fine")

    with start(place, Scripted(script), limit=1) as (path, _):
        assert kinds(await outcomes(path, *requests(2))) == {"Completion": 2}
    (first, refused_at), (second, left_at), *_ = left
    assert (first, second) == (0, 1)
    assert left_at >= refused_at + 0.1


async def test_an_outage_is_waited_out_with_probes_and_costs_no_call(place: Path) -> None:
    """Down in every way for forty attempts, twice what the calls could bear: probes end it, and all are answered."""

    def script(asked: Request, n: int) -> Completion | Exception:
        ways = NotSent("no route"), MaybeExecuted("lost"), Rejected("busy", status=503), UnusableResponse("odd")
        return ways[n % 4] if n < 40 else answer("fine")

    with start(place, Scripted(script), limit=8, price=PRICE) as (path, ledger):
        assert kinds(await outcomes(path, *requests(10))) == {"Completion": 10}
        assert path.turns.provider_is_down is False
        assert sum(row.attempts for row in ledger.rows.spending()) == 40 + 10
        assert call_path.spent_so_far(ledger.rows.spending()) == path.budget.committed


async def test_a_provider_that_stays_away_ends_the_run(place: Path) -> None:
    """Every call that waits is told at once, and each attempt that was reserved ahead is closed as never sent."""
    with start(place, Scripted(NotSent("no route")), limit=8, give_up_after="0.05") as (path, ledger):
        results = await outcomes(path, *requests(20))
        assert set(kinds(results)) <= {"ModelError", "Withdrawn"}  # who naps when the run ends is withdrawn
        ends = [str(end) for end in results if type(end) is ModelError]
        said = re.compile(r"the provider has not answered for \d+ s; the last error: no route")
        assert len(ends) > 0
        assert all(said.fullmatch(end) for end in ends)
        assert {row.state for row in ledger.rows.spending()} == {"failed"}
        assert path.budget.committed == Totals()
        assert type(path.gate.reason) is ModelError


async def test_what_does_not_come_home_is_ambiguous(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain has its end: the calls are cancelled, and the ledger says that they may have been executed."""
    monkeypatch.setattr(gates, "DRAIN_SECONDS", 0.05)
    model = Scripted(door=asyncio.Event())
    with start(place, model, limit=4, price=PRICE, max_calls=100) as (path, ledger):
        tasks = {asyncio.create_task(path.model.complete(asked)) for asked in requests(6)}
        await until(lambda: model.in_flight == 4)
        path.gate.close(Interrupted("stopped", signal.SIGINT))
        ended = set[asyncio.Task[Completion]]()
        while ended != tasks:
            ended |= await path.gate.first_of(tasks - ended)
        assert sorted(task.cancelled() for task in tasks) == [False] * 2 + [True] * 4
        withdrawn = [task.exception() for task in tasks if not task.cancelled()]
        assert [type(error) for error in withdrawn] == [Withdrawn] * 2
        counts = {state: ledger.rows.attempts(state) for state in ("reserved", "ambiguous", "settled")}
        assert counts == {"reserved": 0, "ambiguous": 4, "settled": 0}
        assert path.budget.ambiguous == path.budget.committed == call_path.spent_so_far(ledger.rows.spending())
        assert path.budget.ambiguous == Totals(4, 4 * 27, 4 * BOUND)


async def test_what_is_given_up_in_the_middle_of_its_settling_is_settled(place: Path) -> None:
    """The answer was there: cancelled while it waits for the disk, it is on disk all the same."""
    model = Scripted()
    with start(place, model) as (path, ledger):
        call = asyncio.create_task(path.model.complete(request()))
        await until(lambda: path.turns.in_flight == 0 and len(model.asked) == 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    with Ledger(place) as ledger:
        assert (ledger.rows.attempts("settled"), ledger.rows.attempts("ambiguous")) == (1, 0)


async def test_verdicts_are_given_again_for_nothing_by_the_next_start(place: Path) -> None:
    """Refused by the server, or no completion each time it was asked."""
    script = {0: RequestRefused("too long", status=400), 1: UnusableResponse("HTML with 200")}
    model = Scripted(lambda asked, n: script[asked.draw.slot])
    with start(place, model) as (path, _):
        first = await outcomes(path, *requests(2))
    assert len(model.asked) == 1 + retrying.BUDGETS["unusable"]
    untouched = Scripted()
    with start(place, untouched) as (path, _):
        second = await outcomes(path, *requests(2))
    assert untouched.asked == []
    for verdicts in (first, second):
        assert [(type(one), one.verdict, str(one)) for one in verdicts] == [
            (RequestRefused, "refused", "too long"),
            (RequestRefused, "unusable", "HTML with 200 (2 attempts)"),
        ]


# --- deadline and signals -------------------------------------------------------------------------------------------


async def test_the_deadline_closes_the_gate_as_a_limit_that_is_reached() -> None:
    """Exit 4, and running again goes on."""
    gate, told = Gate(), list[bool]()
    with call_path.stopping(gate, 0.01, lambda: told.append(gate.closed)):
        await until(lambda: gate.closed)
    assert isinstance(gate.reason, LimitReached)
    assert "--deadline is reached" in str(gate.reason)
    assert told == [True]


async def test_a_deadline_that_is_not_reached_changes_nothing() -> None:
    """Nor does it strike when the run is over."""
    gate, told = Gate(), list[bool]()
    with call_path.stopping(gate, 0.01, lambda: told.append(True)):
        pass
    await asyncio.sleep(0.03)
    assert (gate.closed, told) == (False, [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_the_first_signal_closes_the_gate(number: signal.Signals, code: int) -> None:
    """What is in flight comes home; the exit code is the shell's own; afterwards the signal means what it did."""
    before = signal.getsignal(number)
    gate, told = Gate(), list[bool]()
    with call_path.stopping(gate, None, lambda: told.append(gate.closed)):
        os.kill(os.getpid(), number)
        await until(lambda: gate.closed)
    assert isinstance(gate.reason, Interrupted)
    assert gate.reason.exit_code == code
    assert told == [True]
    signal.signal(number, before)


async def test_a_second_signal_is_not_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is another one; the gate stays closed for the first."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    gate = Gate()
    with call_path.stopping(gate, 60.0, lambda: None):
        os.kill(os.getpid(), signal.SIGINT)
        await until(lambda: gate.closed)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: bool(codes))
    assert codes[:1] == [143]
    assert isinstance(gate.reason, Interrupted)
    assert gate.reason.exit_code == 130
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGTERM, before[1])


@pytest.mark.faults
def test_the_second_signal_ends_at_once(place: Path) -> None:
    """Whatever is still awaited: what is durable stays, what is in flight is ambiguous when the run is opened again."""
    died = subprocess.run(
        [sys.executable, "-c", SECOND_SIGNAL, str(place)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (died.returncode, died.stdout, died.stderr) == (130, "closed\n", "")
    with Ledger(place) as ledger:
        counts = {state: ledger.rows.attempts(state) for state in ("reserved", "ambiguous", "settled")}
        assert counts == {"reserved": 0, "ambiguous": 1, "settled": 1}


SECOND_SIGNAL = """
import asyncio, os, pathlib, signal, sys
from selfinstruct import call_path
from selfinstruct.config import Settings
from selfinstruct.ledger import Ledger
from selfinstruct.models.opening import Opened
from tests.models.scripted import ENDPOINT, Scripted, request, until

async def main():
    door = asyncio.Event()
    door.set()
    model = Scripted(door=door)
    with Ledger(pathlib.Path(sys.argv[1])) as ledger:
        path = call_path.build(Opened(model, ENDPOINT, "completion", 4), ledger, Settings(), lambda completion: None)
        with call_path.stopping(path.gate, None, lambda: print("closed", flush=True)):
            await path.model.complete(request(0))
            door.clear()
            call = asyncio.create_task(path.model.complete(request(1)))
            await until(lambda: model.in_flight == 1)
            os.kill(os.getpid(), signal.SIGINT)
            await until(lambda: path.gate.closed)
            os.kill(os.getpid(), signal.SIGINT)
            await call

asyncio.run(main())
"""


# --- the event loop -------------------------------------------------------------------------------------------------


def test_uvloop_runs_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere asyncio's own loop does."""
    uvloop = pytest.importorskip("uvloop")
    assert call_path.loop_factory() is uvloop.new_event_loop
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert call_path.loop_factory() is None
