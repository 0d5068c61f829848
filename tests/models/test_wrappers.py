"""What stands between a stage and a backend: the ledger's wrappers, a recorded run, the table of backends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct import wire
from selfinstruct.admission.breaker import Breaker
from selfinstruct.admission.budget import Budget, Caps, Totals
from selfinstruct.admission.gate import Gate
from selfinstruct.admission.pace import Pace
from selfinstruct.admission.tariff import Tariff
from selfinstruct.admission.turns import Turns
from selfinstruct.admission.window import Window
from selfinstruct.config import Settings
from selfinstruct.errors import (
    AccessDenied,
    BadData,
    ConfigProblem,
    MaybeExecuted,
    ModelError,
    NotSent,
    OutputFailed,
    RequestRefused,
    SelfinstructError,
    UnknownModel,
    UnusableResponse,
    Withdrawn,
)
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models import weights
from selfinstruct.models.admitted import Admitted
from selfinstruct.models.opening import open_model, rendering_of
from selfinstruct.models.recorded import Recorded
from selfinstruct.models.replay import ReplayModel
from selfinstruct.money import Price
from selfinstruct.naming import named
from selfinstruct.protocols import Model, Replaceable
from selfinstruct.schema import Completion, Endpoint, Request
from tests.models.scripted import ENDPOINT, Scripted, answer, request, until

PRICE = Price(1_000_000, 3_000_000, "usd", "--price", "")
BOUND = Totals(1, 17 + 10, 17 * 1_000_000 + 10 * 3_000_000)
"""What one `request` may use at most: 1 byte, 16 tokens for its frame, 10 to write."""

USED = Totals(1, 5 + 2, 5 * 1_000_000 + 2 * 3_000_000)
"""What one `answer` has used."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    with Ledger(tmp_path / "ledger.sqlite3") as opened:
        yield opened


class Around:
    """`Admitted` over a model, with everything around it that a test wants to look at."""

    def __init__(self, model: Model, ledger: Ledger, limit: int = 4, caps: Caps | None = None) -> None:
        self.gate = Gate()
        self.budget = Budget(caps or Caps(), Totals())
        self.turns = Turns(self.gate, self.budget, Window(limit), Pace(None, None), Breaker(limit, None), limit)
        tariff = Tariff(lambda model: PRICE, required=False)
        self.admitted = Admitted(model, ledger, ENDPOINT, self.turns, tariff, self.budget)
        self.recorded = Recorded(self.admitted, ledger, ENDPOINT)

    async def complete(self, request: Request) -> Completion:
        """One attempt."""
        return await self.admitted.complete(request)


def states(ledger: Ledger) -> dict[tuple[str, str | None], int]:
    """How many attempts ended how: by state and outcome."""
    return {(row.state, row.outcome): row.attempts for row in ledger.rows.spending()}


# --- Admitted -------------------------------------------------------------------------------------------------------


async def test_a_call_is_reserved_on_disk_before_it_leaves(ledger: Ledger) -> None:
    """Another connection sees the reservation, with draw, path, body and bound, at the moment the model is asked."""
    model = Scripted()
    seen: list[object] = []

    def look(asked: Request) -> None:
        with closing(LedgerReader(ledger.path)) as reader:
            call = reader.find(asked.draw, wire.call_key(ENDPOINT, asked))
            assert call is not None
            seen.extend((call.state, call.draw, call.path, call.body))
            seen.extend((row.state, row.prompt_tokens, row.completion_tokens, row.cost) for row in reader.spending())

    model.on_send = look
    await Around(model, ledger).complete(request(3))
    body = wire.canonical(wire.body(ENDPOINT, request(3)))
    assert seen == ["open", request(3).draw, wire.COMPLETIONS, body, ("reserved", 17, 10, BOUND.cost)]


async def test_the_bytes_that_were_recorded_are_the_bytes_that_are_sent(ledger: Ledger) -> None:
    """The body is written once: the backend gets it, with its path; what the request was made of stays beside it."""
    model = Scripted()
    await Around(model, ledger).complete(request())
    (asked,) = model.asked
    call = ledger.rows.find(asked.draw, wire.call_key(ENDPOINT, request()))
    assert call is not None
    assert (asked.body, asked.path, asked.prompt) == (call.body, wire.COMPLETIONS, "p")
    assert wire.call_key(ENDPOINT, asked) == call.key


async def test_a_request_that_was_written_before_is_sent_as_it_is(ledger: Ledger) -> None:
    """A line of somebody's file: not a byte of it changes, and its own bytes are its key."""
    body = b'{"prompt": "hello",  "model": "other", "max_tokens": 3}'
    asked = Request(draw=request(1).draw, path=wire.COMPLETIONS, body=body)
    model = Scripted()
    completion = await Around(model, ledger).recorded.complete(asked)
    assert completion.text == "echo of hello"
    assert model.asked == [asked]
    call = ledger.rows.find(asked.draw, wire.call_key(ENDPOINT, asked))
    assert call is not None
    assert (call.body, call.state) == (body, "settled")


@pytest.mark.parametrize(("limit", "reserved"), [(1, 2), (4, 5), (8, 10)])
async def test_the_limit_holds_and_a_few_more_are_reserved_ahead(ledger: Ledger, limit: int, reserved: int) -> None:
    """``limit`` calls fly, a quarter more (at least one) are on disk already, the rest wait in memory."""
    door = asyncio.Event()
    model = Scripted(door=door)
    path = Around(model, ledger, limit)
    calls = [asyncio.create_task(path.complete(request(slot))) for slot in range(3 * limit + 4)]
    await until(lambda: ledger.rows.attempts("reserved") >= reserved and model.in_flight >= limit)
    await asyncio.sleep(0.02)
    assert (ledger.rows.attempts("reserved"), model.in_flight) == (reserved, limit)
    assert (path.turns.in_flight, path.budget.reserved.calls) == (limit, reserved)
    door.set()
    await asyncio.gather(*calls)
    assert model.most_in_flight == limit
    assert len(model.asked) == 3 * limit + 4
    assert path.budget.spent == Totals(*(len(calls) * part for part in USED))


async def test_a_call_that_is_not_wanted_leaves_no_trace(ledger: Ledger) -> None:
    """Neither a row nor a request."""
    model = Scripted()
    path = Around(model, ledger)
    path.gate.close()
    with pytest.raises(Withdrawn):
        await path.complete(request())
    assert model.asked == []
    assert ledger.rows.find(request().draw, wire.call_key(ENDPOINT, request())) is None


async def test_a_call_withdrawn_after_its_reservation_is_closed_as_such(ledger: Ledger) -> None:
    """It waited for a slot when the gate closed: nothing was sent, so the attempt is not ambiguous later."""
    door = asyncio.Event()
    model = Scripted(door=door)
    path = Around(model, ledger, 1)
    calls = [asyncio.create_task(path.complete(request(slot))) for slot in range(2)]
    await until(lambda: ledger.rows.attempts("reserved") == 2 and model.in_flight == 1)
    path.gate.close()
    door.set()
    first, second = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(first, Completion)
    assert isinstance(second, Withdrawn)
    assert [asked.draw.slot for asked in model.asked] == [0]
    assert states(ledger) == {("reserved", None): 1, ("failed", "Withdrawn"): 1}  # the first is `Recorded`'s to settle
    assert (path.budget.reserved, path.budget.committed) == (Totals(), USED)


async def test_a_reserved_call_is_closed_when_the_provider_is_given_up(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never left, so it is not ambiguous and costs nothing: `ModelError` closes it like a withdrawal."""
    path = Around(Scripted(), ledger)

    async def given_up(*_: object) -> float:
        raise ModelError("no answer for 15 minutes")

    monkeypatch.setattr(path.turns, "send", given_up)
    with pytest.raises(ModelError, match="15 minutes"):
        await path.recorded.complete(request())
    assert states(ledger) == {("failed", "ModelError"): 1}
    assert path.budget.committed == Totals()


async def test_a_call_whose_reservation_cannot_be_written_is_not_sent(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is the ledger's own failure: nothing can be written about it, and the next call has its place."""

    async def disk_full(*_: object) -> None:
        raise OutputFailed("disk full")

    model = Scripted()
    path = Around(model, ledger, 1)
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "reserve", disk_full)
        with pytest.raises(OutputFailed):
            await path.complete(request())
    assert (model.asked, states(ledger), path.budget.committed) == ([], {}, Totals())
    assert (await path.complete(request())).text == "echo of p"


@pytest.mark.parametrize(
    ("error", "state", "kept"),
    [
        (NotSent("no route"), "failed", Totals()),
        (ConfigProblem("wrong address"), "failed", Totals()),
        (MaybeExecuted("gone"), "ambiguous", BOUND),
        (UnusableResponse("odd"), "unusable", BOUND),
    ],
)
async def test_a_failed_attempt_is_closed_with_its_kind_and_the_call_stays_open(
    ledger: Ledger, error: SelfinstructError, state: str, kept: Totals
) -> None:
    """The next start may ask again; what may have been billed counts at its bound, in the ledger and before caps."""
    path = Around(Scripted(error), ledger)
    with pytest.raises(type(error), match=str(error)):
        await path.complete(request())
    assert states(ledger) == {(state, type(error).__name__): 1}
    (row,) = ledger.rows.spending()
    assert (row.prompt_tokens + row.completion_tokens, row.cost) == (kept.tokens, kept.cost)
    assert (path.budget.ambiguous, path.budget.reserved) == (kept, Totals())
    call = ledger.rows.find(request().draw, wire.call_key(ENDPOINT, request()))
    assert call is not None
    assert call.state == "open"


async def test_a_call_in_flight_that_is_not_waited_for_is_ambiguous(ledger: Ledger) -> None:
    """It may have been executed; the slot is free, the money is not."""
    model = Scripted(door=asyncio.Event())
    path = Around(model, ledger)
    call = asyncio.create_task(path.complete(request()))
    await until(lambda: model.in_flight == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert states(ledger) == {("ambiguous", "CancelledError"): 1}
    assert (path.budget.ambiguous, path.budget.reserved, path.turns.in_flight) == (BOUND, Totals(), 0)


async def test_a_reserved_call_that_is_cancelled_before_it_left_is_free(ledger: Ledger) -> None:
    """Nothing was sent, so nothing is ambiguous, and the next call has its place."""
    door = asyncio.Event()
    model = Scripted(door=door)
    path = Around(model, ledger, 1)
    calls = [asyncio.create_task(path.complete(request(slot))) for slot in range(3)]
    await until(lambda: ledger.rows.attempts("reserved") == 2 and model.in_flight == 1)
    calls[1].cancel()
    door.set()
    first, second, third = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in (first, second, third)] == [Completion, asyncio.CancelledError, Completion]
    assert states(ledger) == {("reserved", None): 2, ("failed", "CancelledError"): 1}
    assert [asked.draw.slot for asked in model.asked] == [0, 2]


@pytest.mark.parametrize("victim", [1, 2], ids=["sent", "reserved"])
async def test_a_call_cancelled_in_the_moment_of_its_grant_leaves_nothing_set_aside(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, victim: int
) -> None:
    """Of three calls the second waits to be sent, the third to be reserved; the grant of either is taken back once."""
    door = asyncio.Event()
    model = Scripted(door=door)
    path = Around(model, ledger, 1)
    look = path.turns.look
    calls: list[asyncio.Task[Completion]] = []
    armed: list[bool] = []

    def look_and_cancel() -> None:
        before = path.turns.in_flight, path.budget.reserved.calls
        look()
        if armed and before != (path.turns.in_flight, path.budget.reserved.calls):
            armed.clear()
            calls[victim].cancel()

    monkeypatch.setattr(path.turns, "look", look_and_cancel)  # before an alarm is set, which would keep the old one
    calls += [asyncio.create_task(path.complete(request(slot))) for slot in range(3)]
    await until(lambda: ledger.rows.attempts("reserved") == 2 and model.in_flight == 1)
    armed.append(True)
    door.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    cancelled = [place for place, end in enumerate(ends) if isinstance(end, asyncio.CancelledError)]
    assert (cancelled, len(model.asked)) == ([victim], 2)
    assert (path.budget.reserved, path.turns.in_flight) == (Totals(), 0)
    await path.complete(request(3))
    assert len(model.asked) == 3


async def test_an_answer_that_used_more_than_its_bound_is_kept_and_closes_the_gate(ledger: Ledger) -> None:
    """It was paid for; but caps rest on bounds, so not one more call may leave, also none that waits in line."""
    model = Scripted(lambda asked, n: answer("long", used=(17, 11)))
    path = Around(model, ledger, 1, Caps(tokens=1000))
    calls = [asyncio.create_task(path.recorded.complete(request(slot))) for slot in range(4)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [Completion, Withdrawn, Withdrawn, Withdrawn]
    assert isinstance(path.gate.reason, ConfigProblem)
    assert "counts 17 + 11 tokens (prompt + completion) for a call of at most 17 + 10" in str(path.gate.reason)
    assert ledger.rows.attempts("settled") == len(model.asked) == 1
    assert path.budget.spent == Totals(1, 28, PRICE.cost(17, 11))


async def test_what_an_answer_gives_back_lets_the_next_call_out(ledger: Ledger) -> None:
    """A cap with room for one bound at a time: each answer uses less, so all are sent, one after the other."""
    model = Scripted()
    path = Around(model, ledger, 4, Caps(tokens=27 + 3 * 7))
    calls = [path.recorded.complete(request(slot)) for slot in range(4)]
    completions = await asyncio.wait_for(asyncio.gather(*calls), 60)
    assert [completion.text for completion in completions] == ["echo of p"] * 4
    assert path.budget.spent == Totals(*(4 * part for part in USED))


async def test_what_a_failure_gives_back_lets_the_next_call_out(ledger: Ledger) -> None:
    """Nobody waits for money that nobody holds."""
    model = Scripted(lambda asked, n: NotSent("no route") if n == 0 else answer("fine"))
    path = Around(model, ledger, 4, Caps(calls=1))
    calls = [asyncio.create_task(path.recorded.complete(request(slot))) for slot in range(2)]
    first, second = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
    assert isinstance(first, NotSent)
    assert isinstance(second, Completion)


async def test_what_a_call_that_was_not_sent_gives_back_lets_the_next_one_in(ledger: Ledger) -> None:
    """At once, and not only with the next answer: its place ahead, and its share of the cap."""
    model = Scripted(door=asyncio.Event())
    path = Around(model, ledger, 1, Caps(calls=2))
    calls = [asyncio.create_task(path.complete(request(slot))) for slot in range(3)]
    await until(lambda: ledger.rows.attempts("reserved") == 2 and model.in_flight == 1)
    calls[1].cancel()
    await until(lambda: ledger.rows.attempts("failed") == 1 and ledger.rows.attempts("reserved") == 2)
    assert (ledger.rows.attempts("failed"), ledger.rows.attempts("reserved"), model.in_flight) == (1, 2, 1)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_closing_a_wrapper_closes_the_model_inside(ledger: Ledger) -> None:
    """Once, through both wrappers."""
    model = Scripted()
    await Around(model, ledger).recorded.aclose()
    assert model.closed == 1


# --- Recorded -------------------------------------------------------------------------------------------------------


async def test_a_recorded_call_is_never_asked_again(ledger: Ledger) -> None:
    """The second time the whole completion comes from the ledger, and progress is told of new answers only."""
    model, told = Scripted(), list[Completion]()
    recorded = Recorded(Around(model, ledger).admitted, ledger, ENDPOINT, told.append)
    first = await recorded.complete(request(prompt="hello"))
    second = await recorded.complete(request(prompt="hello"))
    assert first == second == answer("echo of hello").model_copy(update={"call": first.call})
    assert first.call == wire.call_key(ENDPOINT, request(prompt="hello"))
    assert (len(model.asked), len(told)) == (1, 1)
    assert ledger.rows.attempts("settled") == 1


async def test_the_same_words_in_another_draw_are_another_call(ledger: Ledger) -> None:
    """Two samples of one prompt are two calls."""
    model = Scripted()
    recorded = Around(model, ledger).recorded
    calls = {(await recorded.complete(request(slot))).call for slot in (0, 1, 0)}
    assert (len(calls), len(model.asked)) == (2, 2)


async def test_other_words_in_the_same_draw_are_another_call(ledger: Ledger) -> None:
    """A changed prompt is never served the answer to the old one."""
    model = Scripted()
    recorded = Around(model, ledger).recorded
    texts = [(await recorded.complete(request(prompt=prompt))).text for prompt in ("a", "b", "a")]
    assert (texts, len(model.asked)) == (["echo of a", "echo of b", "echo of a"], 2)


async def test_a_refusal_is_recorded_and_raised_again(ledger: Ledger) -> None:
    """A verdict on the request costs one call, ever; message and status are kept."""
    model = Scripted(RequestRefused("too long", status=400))
    path = Around(model, ledger)
    for _ in range(2):
        with pytest.raises(RequestRefused, match=r"\Atoo long\Z") as refusal:
            await path.recorded.complete(request())
        assert (refusal.value.status, refusal.value.verdict) == (400, "refused")
        assert refusal.value.call == wire.call_key(ENDPOINT, request())  # so its reject can name the call
    assert len(model.asked) == 1
    assert states(ledger) == {("refused", None): 1}
    assert path.budget.committed == Totals(1, 0, 0)  # a refusal is not billed, and a call all the same


async def test_answers_that_are_no_completions_become_a_verdict(ledger: Ledger) -> None:
    """It was asked as often as the budget of `Retrying` allows; from now on it is a verdict, and costs nothing more."""
    model = Scripted(UnusableResponse("HTML with 200 (2 attempts)", status=200))
    path = Around(model, ledger)
    for _ in range(2):
        with pytest.raises(RequestRefused, match=r"\AHTML with 200 \(2 attempts\)\Z") as refusal:
            await path.recorded.complete(request())
        assert (refusal.value.verdict, refusal.value.call) == ("unusable", wire.call_key(ENDPOINT, request()))
    assert len(model.asked) == 1
    assert states(ledger) == {("unusable", "UnusableResponse"): 1}
    assert path.budget.committed == BOUND  # the server counted something; what, it did not say


@pytest.mark.parametrize("asked_before", [False, True])
async def test_a_call_that_is_forgone_is_never_asked_again(ledger: Ledger, asked_before: bool) -> None:
    """Never sent, or sent in vain: from now on it is a verdict, found by the very request, and costs nothing."""
    model = Scripted(NotSent("connection refused"))
    path = Around(model, ledger)
    if asked_before:
        with pytest.raises(NotSent):
            await path.recorded.complete(request())
    await path.recorded.forgo(request(), "down for 900 s")
    again = Scripted()
    with pytest.raises(RequestRefused, match=r"\Adown for 900 s\Z") as refusal:
        await Around(again, ledger).recorded.complete(request())
    key = wire.call_key(ENDPOINT, request())
    assert (refusal.value.verdict, refusal.value.call, again.asked) == ("replaced", key, [])
    call = ledger.rows.find(request().draw, key)
    assert call is not None
    assert (call.state, call.path, call.body) == (
        "replaced",
        wire.COMPLETIONS,
        wire.canonical(wire.body(ENDPOINT, request())),
    )
    assert states(ledger) == ({("failed", "NotSent"): 1} if asked_before else {})
    assert path.budget.reserved == path.budget.committed == Totals()


async def test_only_that_call_is_forgone(ledger: Ledger) -> None:
    """Other draws, and the same words to another model, are asked as ever; a run that goes on knows."""
    model = Scripted()
    path = Around(model, ledger)
    await path.recorded.forgo(request(1), "down")
    assert (await path.recorded.complete(request(0))).text == (await path.recorded.complete(request(2))).text
    other = Recorded(path.admitted, ledger, Endpoint(identity="tests", model="another"))
    assert (await other.complete(request(1))).text == "echo of p"
    assert [asked.draw.slot for asked in model.asked] == [0, 2, 1]
    with Ledger(ledger.path) as later, pytest.raises(RequestRefused, match="down"):
        await Recorded(model, later, ENDPOINT).complete(request(1))
    assert len(model.asked) == 3


async def test_recorded_is_a_model_that_can_be_replaced(ledger: Ledger) -> None:
    """What stands below it is not: nobody there keeps records."""
    path = Around(Scripted(), ledger)
    assert isinstance(path.recorded, Replaceable)
    assert not isinstance(path.admitted, Replaceable)


async def test_a_call_skipped_by_hand_is_not_asked(ledger: Ledger) -> None:
    """A person's verdict, given while no run was going on, counts like the server's."""
    asked = request()
    key = wire.call_key(ENDPOINT, asked)
    await ledger.reserve(key, asked.draw, wire.COMPLETIONS, b"{}")
    await ledger.fail(key, "MaybeExecuted", "ambiguous")
    await ledger.refuse(key, "poisoned", None, "skipped")
    model = Scripted()
    with pytest.raises(RequestRefused, match="poisoned") as refusal:
        await Around(model, ledger).recorded.complete(asked)
    assert (refusal.value.verdict, model.asked) == ("skipped", [])


async def test_a_call_cut_off_by_a_crash_is_asked_again(ledger: Ledger, tmp_path: Path) -> None:
    """Reserved by a process that died: ambiguous, and the one kind of call that may be paid for twice."""
    asked = request()
    await ledger.reserve(wire.call_key(ENDPOINT, asked), asked.draw, wire.COMPLETIONS, b"{}")
    ledger.close()
    with Ledger(ledger.path) as reopened:
        model = Scripted()
        completion = await Around(model, reopened).recorded.complete(asked)
        assert completion.text == "echo of p"
        assert len(model.asked) == 1
        assert (reopened.rows.attempts("ambiguous"), reopened.rows.attempts("settled")) == (1, 1)


async def test_a_slot_is_free_when_the_answer_is_there_not_when_it_is_on_disk(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first answer waits for its commit, the second call flies although the limit is one."""
    model, disk, settle = Scripted(), asyncio.Event(), ledger.settle

    async def slow_settle(*row: Any) -> None:
        await disk.wait()
        await settle(*row)

    monkeypatch.setattr(ledger, "settle", slow_settle)
    recorded = Around(model, ledger, 1).recorded
    calls = [asyncio.create_task(recorded.complete(request(slot))) for slot in range(2)]
    await until(lambda: len(model.asked) == 2)
    assert (len(model.asked), any(call.done() for call in calls)) == (2, False)
    disk.set()
    assert [completion.text for completion in await asyncio.gather(*calls)] == ["echo of p", "echo of p"]


# --- replay ---------------------------------------------------------------------------------------------------------


async def _replay_of(ledger: Ledger, *requests: Request) -> ReplayModel:
    recorded = Around(Scripted(), ledger).recorded
    for asked in requests:
        await recorded.complete(asked)
    return ReplayModel(ENDPOINT, LedgerReader(ledger.path))


async def test_a_replay_gives_the_recorded_answer(ledger: Ledger) -> None:
    """Word for word, tokens and raw bytes included; also to a request that was written down before."""
    replay = await _replay_of(ledger, request(prompt="hello"))
    body = wire.written(ENDPOINT, request(prompt="hello"))
    for asked in (request(prompt="hello"), Request(draw=request().draw, path=wire.COMPLETIONS, body=body)):
        completion = await replay.complete(asked)
        assert completion.model_copy(update={"call": ""}) == answer("echo of hello")
    await replay.aclose()


async def test_a_replay_of_a_changed_prompt_shows_the_line_that_changed(ledger: Ledger) -> None:
    """One line out, one line in, and not the whole prompt."""
    long = "\n".join(f"line {n}" for n in range(50))
    replay = await _replay_of(ledger, request(prompt=long))
    with pytest.raises(ConfigProblem) as problem:
        await replay.complete(request(prompt=long.replace("line 25", "row 25")))
    lines = str(problem.value).splitlines()
    assert lines[0].endswith("holds no answer for words/0/0/0/0; the call recorded there differs:")
    assert [line for line in lines[3:] if line[0] in "-+"] == ["-line 25", "+row 25"]
    assert len(lines) < 10


async def test_a_replay_of_a_draw_that_was_never_made_says_so(ledger: Ledger) -> None:
    """Most likely the recorded run was smaller."""
    replay = await _replay_of(ledger, request())
    with pytest.raises(ConfigProblem, match="no answer for words/9/0/0/0, nor any call of that draw"):
        await replay.complete(request(round=9))


async def test_a_replay_has_no_answer_for_a_call_that_was_cut_off(ledger: Ledger) -> None:
    """Reserved is not answered."""
    asked = request()
    body = wire.canonical(wire.body(ENDPOINT, asked))
    await ledger.reserve(wire.call_key(ENDPOINT, asked), asked.draw, wire.COMPLETIONS, body)
    with pytest.raises(ConfigProblem, match="holds no answer for words/0/0/0/0"):
        await ReplayModel(ENDPOINT, LedgerReader(ledger.path)).complete(asked)


# --- opening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name", "base_url"),
    [
        ({"api": "local", "base_url": "http://ignored.example"}, "smollm2-135m-instruct", ""),
        ({"api": "chat"}, "gpt-3.5-turbo", "https://api.openai.com/v1"),
        ({"api": "completion", "name": "x"}, "x", "https://api.openai.com/v1"),
        ({"api": "chat", "base_url": "http://LOCALHOST:80/"}, "gpt-3.5-turbo", "http://localhost/v1"),
        ({"api": "fake"}, "fake", ""),
        ({"api": "replay"}, "", ""),
    ],
)
def test_an_api_fills_in_its_defaults(given: dict[str, Any], name: str, base_url: str) -> None:
    """Model and address as they are written into stage.json and compared on resume."""
    resolved = named(ModelRecipe(**given))
    assert (resolved.name, resolved.base_url) == (name, base_url)


@pytest.mark.parametrize(
    ("api", "rendering"),
    [("local", "completion"), ("completion", "completion"), ("chat", "chat"), ("fake", "completion")],
)
def test_only_a_chat_api_gets_messages(api: Any, rendering: str) -> None:
    """Everything else continues a text."""
    assert rendering_of(ModelRecipe(api=api)) == rendering


@pytest.mark.parametrize("key", ["", "   "])
def test_openai_without_a_key_is_refused_before_any_call(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """The message names the variable and the two ways around it."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(AccessDenied, match=r"OPENAI_API_KEY.*--base-url.*embedded model"):
        open_model(named(ModelRecipe(api="chat")), Settings())


async def test_a_server_of_ones_own_needs_no_key() -> None:
    """What may change an answer is in the endpoint; concurrency is not, and falls back to 32."""
    recipe = named(
        ModelRecipe(
            api="chat",
            name="mine",
            base_url="http://127.0.0.1:9/v1",
            token_field="max_completion_tokens",
            omit=("stop",),
            extra_body={"k": 1},
            send_seed=True,
        )
    )
    opened = open_model(recipe, Settings())
    assert opened.endpoint == Endpoint(
        identity="http://127.0.0.1:9/v1",
        model="mine",
        token_field="max_completion_tokens",
        omit=("stop",),
        extra_body={"k": 1},
        send_seed=True,
    )
    assert (opened.rendering, opened.concurrency) == ("chat", 32)
    assert open_model(recipe, Settings(concurrency=7)).concurrency == 7
    await opened.model.aclose()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("gpt-4o", UnknownModel, "--api local has no model 'gpt-4o'.*--api chat"),
        ("/no/such/model.gguf", UnknownModel, "/no/such/model.gguf: no such file"),
        ("", ConfigProblem, "selfinstruct models fetch"),
    ],
)
def test_an_embedded_model_that_is_not_here_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception], message: str
) -> None:
    """A name of somebody's API, a path to nothing, weights not yet fetched."""
    monkeypatch.setattr(weights, "find", lambda: None)
    with pytest.raises(error, match=message):
        open_model(named(ModelRecipe(api="local", name=name)), Settings())


def test_an_embedded_model_is_known_by_its_bytes(tmp_path: Path) -> None:
    """The same file elsewhere is the same model; the seed of each draw is always sent."""
    pytest.importorskip("xllamacpp")
    identities = []
    for folder in ("here", "there"):
        path = tmp_path / folder / "m.gguf"
        path.parent.mkdir()
        path.write_bytes(b"weights")
        opened = open_model(named(ModelRecipe(api="local", name=str(path))), Settings())
        identities.append(opened.endpoint.identity)
        assert (opened.endpoint.send_seed, opened.rendering, opened.concurrency) == (True, "completion", 1)
    # printf weights | sha256sum
    assert identities == ["gguf:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"] * 2


def test_the_script_is_opened_for_what_it_is() -> None:
    """Its identity says that nothing it wrote is data."""
    opened = open_model(named(ModelRecipe(api="fake")), Settings())
    assert (opened.endpoint.identity, opened.endpoint.model, opened.rendering) == ("fake", "fake", "completion")


def test_a_replay_needs_the_folder_of_a_recorded_run(tmp_path: Path) -> None:
    """Not named, or nothing recorded there."""
    with pytest.raises(ConfigProblem, match="--replay-from"):
        open_model(named(ModelRecipe(api="replay")), Settings())
    with pytest.raises(BadData, match="no run is recorded here"):
        open_model(named(ModelRecipe(api="replay")), Settings(replay_from=tmp_path))


async def test_a_replay_takes_endpoint_and_rendering_from_the_recorded_run(tmp_path: Path) -> None:
    """Both are part of every call's key, so the user does not have to spell them again."""
    Ledger(tmp_path / "ledger.sqlite3").close()
    (tmp_path / "words").mkdir()
    model = {"api": "chat", **ENDPOINT.model_dump(mode="json"), "rendering": "chat"}
    (tmp_path / "words" / "stage.json").write_bytes(orjson.dumps({"identity": {"model": model}}))
    opened = open_model(named(ModelRecipe(api="replay")), Settings(replay_from=tmp_path))
    assert (opened.endpoint, opened.rendering) == (ENDPOINT, "chat")
    await opened.model.aclose()
