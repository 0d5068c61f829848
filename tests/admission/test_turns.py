"""Turns: who is reserved, who may leave, who is sent away, and what an answer changes for those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from selfinstruct.admission import turns
from selfinstruct.admission.breaker import Breaker
from selfinstruct.admission.budget import Budget, Caps, Totals
from selfinstruct.admission.chance import FLOODED
from selfinstruct.admission.gate import Gate
from selfinstruct.admission.pace import Pace
from selfinstruct.admission.turns import Turns
from selfinstruct.admission.window import Window
from selfinstruct.errors import (
    AccessDenied,
    CapReached,
    ConfigProblem,
    MaybeExecuted,
    ModelError,
    NotSent,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnknownModel,
    UnusableResponse,
    Withdrawn,
)
from selfinstruct.money import UNBOUNDED, Bound, TokenBound
from selfinstruct.schema import Draw


class Switch:
    """A breaker that the test opens and closes. A probe stays out until it is answered or fails."""

    def __init__(self) -> None:
        self.is_open = False
        self.why: str | None = None
        self.probing = False
        self.told: list[str] = []

    def answered(self, now: float, sent_at: float) -> None:
        """The provider is there."""
        self.told.append("answered")
        self.is_open = self.probing = False

    def failed(self, now: float, sent_at: float, error: str) -> None:
        """It may not be."""
        self.told.append(f"failed: {error}")
        self.probing = False

    def delay(self, now: float) -> float | None:
        """Nobody may leave while a probe is out."""
        return None if self.probing else 0.0

    def probe(self, now: float) -> None:
        """One leaves."""
        self.told.append("probe")
        self.probing = True

    def gave_up(self, now: float) -> str | None:
        """As the test says."""
        return self.why


class Noted:
    """Passes every call on, and notes its name and arguments."""

    def __init__(self, real: object) -> None:
        self._real = real
        self.lifted = False  # set on a pace
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            self.calls.append((name, given))
            return getattr(self._real, name)(*given)

        return call

    def told(self, *names: str) -> list[str]:
        """Which of these were called, in order."""
        return [name for name, _ in self.calls if name in names]


class Desk:
    """The turns of a run and everything around them."""

    def __init__(self, limit: int = 8, caps: Caps | None = None, tpm: float | None = None) -> None:
        self.gate = Gate()
        self.budget = Budget(caps or Caps(), Totals())
        self.window = Noted(Window(limit))
        self.pace = Noted(Pace(None, tpm))
        self.breaker = Switch()
        breaker = cast(Breaker, self.breaker)
        self.turns = Turns(self.gate, self.budget, cast(Window, self.window), cast(Pace, self.pace), breaker, limit)

    def reserve(self, slot: int, tokens: int = 0, round: int = 0) -> asyncio.Task[None]:
        """A call that asks to be reserved, at a bound of so many tokens."""
        bound = Bound(TokenBound(tokens, 0)) if tokens else UNBOUNDED
        return asyncio.create_task(self.turns.reserve(draw(slot, round), tokens, bound))

    async def reserved(self, *slots: int) -> None:
        """Calls that are reserved, one after the other."""
        for slot in slots:
            await self.turns.reserve(draw(slot), 0, UNBOUNDED)

    def send(self, slot: int, round: int = 0) -> asyncio.Task[float]:
        """A reserved call that asks to leave."""
        return asyncio.create_task(self.turns.send(draw(slot, round), 0))

    async def sent(self, slot: int = 0) -> float:
        """A call that is in flight; when it left."""
        await self.reserved(slot)
        return await self.turns.send(draw(slot), 0)


def draw(slot: int, round: int = 0) -> Draw:
    """One call of the stage."""
    return Draw(stage="words", round=round, slot=slot)


async def rest() -> None:
    """Let everything happen that needs no time."""
    for _ in range(5):
        await asyncio.sleep(0)


async def granted(*waiting: asyncio.Task[Any]) -> list[int]:
    """The places of those that were granted what they wait for, after a rest."""
    await rest()
    done = [task.done() and not task.cancelled() and not task.exception() for task in waiting]
    return [place for place, granted in enumerate(done) if granted]


async def ends(*waiting: asyncio.Task[Any]) -> list[BaseException | str]:
    """How each of them ended, "granted" or with what exception."""
    results = await asyncio.gather(*waiting, return_exceptions=True)
    return [result if isinstance(result, BaseException) else "granted" for result in results]


def wrong(result: BaseException | str) -> tuple[type[Any], str]:
    """Kind and words of an error."""
    return type(result), str(result)


# --- reserved ahead -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "ahead"), [(1, 1), (3, 1), (4, 1), (8, 2), (11, 2), (256, 64)])
async def test_never_more_than_a_quarter_of_the_limit_is_reserved_and_unsent(limit: int, ahead: int) -> None:
    """That is all a crash makes ambiguous beyond what flies; each that leaves makes room for the next."""
    desk = Desk(limit)
    waiting = [desk.reserve(slot) for slot in range(ahead + 3)]
    assert await granted(*waiting) == list(range(ahead))
    await desk.turns.send(draw(0), 0)
    assert await granted(*waiting) == list(range(ahead + 1))
    desk.turns.unsent()  # one was not wanted any more
    assert await granted(*waiting) == list(range(ahead + 2))


async def test_what_was_begun_first_is_reserved_first() -> None:
    """A later turn of an old dialogue goes before the first of a new one, whichever asked earlier."""
    desk = Desk(limit=4)  # one ahead
    first = desk.reserve(0)
    assert await granted(first) == [0]
    waiting = [desk.reserve(slot, round=round) for round, slot in ((7, 0), (1, 3), (1, 2), (0, 5))]
    order: list[int] = []
    await rest()
    for _ in waiting:
        desk.turns.unsent()
        order += [place for place in await granted(*waiting) if place not in order]
    assert order == [3, 2, 1, 0]


async def test_who_is_cancelled_while_waiting_is_passed_over() -> None:
    """Nothing is reserved for it, and the next one is."""
    desk = Desk(limit=4)
    await desk.reserved(0)
    gone, next_one = desk.reserve(1), desk.reserve(2)
    await rest()
    gone.cancel()
    await desk.turns.send(draw(0), 0)
    assert await granted(gone, next_one) == [1]


async def test_a_reserved_call_that_is_cancelled_takes_nobodys_turn() -> None:
    """Whoever is next leaves in its place."""
    desk = Desk(limit=1)
    left = await desk.sent(0)
    await desk.reserved(1)
    gone = desk.send(1)
    await rest()
    gone.cancel()
    await rest()
    desk.turns.unsent()
    await desk.reserved(2)
    last = desk.send(2)
    desk.turns.returned(left, 0, 0, None)
    assert (await ends(last), desk.turns.in_flight) == (["granted"], 1)


async def test_a_reservation_granted_to_one_who_is_cancelled_meanwhile_is_taken_back() -> None:
    """Neither its bound nor its place stays set aside; the next in line is reserved instead."""
    desk = Desk(limit=4, caps=Caps(tokens=100))
    await desk.reserved(0)
    gone, next_one = desk.reserve(1, 80), desk.reserve(2, 70)
    await rest()
    await desk.turns.send(draw(0), 0)  # which lets one more be reserved
    gone.cancel()
    assert await granted(gone, next_one) == [1]
    assert gone.cancelled()
    assert desk.budget.reserved == Totals(2, 70, 0)
    waiting = desk.reserve(3)
    assert await granted(waiting) == []  # one is reserved ahead, as before
    waiting.cancel()


async def test_a_turn_granted_to_one_who_is_cancelled_meanwhile_is_taken_back() -> None:
    """It did not fly: its slot is free, and it is reserved until its caller says that it will not be sent."""
    desk = Desk(limit=1)
    left = await desk.sent(0)
    await desk.reserved(1)
    gone = desk.send(1)
    await rest()
    desk.turns.returned(left, 0, 0, None)
    gone.cancel()
    await rest()
    assert (gone.cancelled(), desk.turns.in_flight) == (True, 0)
    behind = desk.reserve(2)
    assert await granted(behind) == []
    desk.turns.unsent()
    assert await granted(behind) == [0]
    await desk.turns.send(draw(2), 0)
    assert desk.turns.in_flight == 1


async def test_who_is_sent_away_and_cancelled_at_once_gives_nothing_back() -> None:
    """There was no grant; a second call of the same kind keeps what it was granted."""
    desk = Desk(limit=4, caps=Caps(tokens=100))
    kept, gone = desk.reserve(0, 60), desk.reserve(1, 60)
    assert await granted(kept, gone) == [0]
    desk.gate.close()
    gone.cancel()
    await rest()
    assert gone.cancelled()
    assert desk.budget.reserved == Totals(1, 60, 0)


async def test_a_probe_that_nobody_waits_for_any_more_is_followed_by_another() -> None:
    """Cancelled on the way, or when it was just about to leave: otherwise nothing would ever leave again."""
    desk = Desk(limit=8)
    await desk.reserved(0, 1)
    desk.breaker.is_open = True
    left = await desk.turns.send(draw(0), 0)
    waiting = desk.send(1)
    assert await granted(waiting) == []
    desk.turns.returned(left, 0, 0, Withdrawn("not waited for"))
    waiting.cancel()  # granted by now
    await rest()
    assert (waiting.cancelled(), desk.breaker.probing, desk.turns.in_flight) == (True, False, 0)
    desk.turns.unsent()
    await desk.sent(2)
    assert desk.breaker.told == ["probe", "failed: not waited for"] * 2 + ["probe"]


# --- in flight ------------------------------------------------------------------------------------------------------


async def test_the_window_limits_what_flies_and_an_answer_frees_a_slot() -> None:
    """The limit holds whatever is reserved; who waits longest goes first."""
    desk = Desk(limit=2)
    left = [await desk.sent(0), await desk.sent(1)]
    waiting = []
    for slot in (2, 3):
        waiting.append(desk.send(slot))
    assert (await granted(*waiting), desk.turns.in_flight) == ([], 2)
    desk.turns.returned(left[0], 0, 0, None)
    assert (await granted(*waiting), desk.turns.in_flight) == ([0], 2)
    desk.turns.returned(left[1], 0, 0, NotSent("no route"))
    assert (await granted(*waiting), desk.turns.in_flight) == ([0, 1], 2)


async def test_a_window_that_grows_by_itself_lets_out_without_an_answer() -> None:
    """The slow start: more than its first handful are out although nobody has answered."""
    desk = Desk(limit=24)
    left = [desk.send(slot) for slot in range(24)]
    assert len(await granted(*left)) < 24
    assert await ends(*left) == ["granted"] * 24
    assert desk.turns.in_flight == 24


# --- fences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [Rejected("slow down", status=429, retry_after=0.05), Rejected("busy", status=503, retry_after=0.05)],
    ids=["429", "503"],
)
async def test_a_fence_holds_everybody(error: ModelError) -> None:
    """Whom the server told to wait spoke for all: nobody leaves before, and nobody has to ask again after."""
    desk = Desk(limit=8)
    left = await desk.sent(0)
    told_at = asyncio.get_running_loop().time()
    desk.turns.returned(left, 0, 0, error)
    waiting = [desk.send(slot) for slot in range(1, 4)]
    assert await granted(*waiting) == []
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert min(task.result() for task in done) >= told_at + 0.05
    desk.gate.close()
    await ends(*waiting)


async def test_a_longer_fence_takes_the_place_of_a_shorter_one() -> None:
    """Somebody looks again when the later one is over, and not before."""
    desk = Desk(limit=8)
    left = [await desk.sent(0), await desk.sent(1)]
    start = asyncio.get_running_loop().time()
    desk.turns.returned(left[0], 0, 0, Rejected("a", status=429, retry_after=0.02))
    waiting = desk.send(2)
    await rest()
    desk.turns.returned(left[1], 0, 0, Rejected("b", status=429, retry_after=0.08))
    assert await waiting >= start + 0.08


# --- caps -----------------------------------------------------------------------------------------------------------


async def test_the_first_that_fits_under_a_cap_is_reserved() -> None:
    """A large call in front of the queue does not waste what a small one can use."""
    desk = Desk(limit=16, caps=Caps(tokens=100))
    sizes = (70, 60, 20, 50, 10)
    waiting = [desk.reserve(slot, tokens) for slot, tokens in enumerate(sizes)]
    assert await granted(*waiting) == [0, 2, 4]
    assert desk.budget.reserved == Totals(3, 100, 0)
    assert [task.done() for task in waiting] == [True, False, True, False, True]


async def test_a_cap_is_reached_only_when_nothing_is_reserved_any_more() -> None:
    """An answer may free most of its bound: who does not fit waits for it, and is then let in or sent away."""
    desk = Desk(limit=16, caps=Caps(tokens=100))
    first, second, third = (desk.reserve(slot, 80) for slot in range(3))
    assert await granted(first, second, third) == [0]
    left = await desk.turns.send(draw(0), 0)
    desk.budget.settle(Bound(TokenBound(80, 0)), 20, 0)
    desk.turns.returned(left, 80, 20, None)
    assert await granted(first, second, third) == [0, 1]
    left = await desk.turns.send(draw(1), 0)
    desk.budget.settle(Bound(TokenBound(80, 0)), 30, 0)
    desk.turns.returned(left, 80, 30, None)
    (end,) = await ends(third)
    reached = "--max-tokens-total 100 is reached: 50 tokens used, and the next call may use up to 80"
    assert wrong(end) == (CapReached, reached)
    assert desk.gate.closed is False  # whoever started the call decides what ends with it


async def test_a_call_larger_than_the_whole_cap_says_so() -> None:
    """It waits for what is reserved like any other; that nothing was spent would be a strange reason."""
    desk = Desk(limit=16, caps=Caps(tokens=100))
    small, large = desk.reserve(0, 100), desk.reserve(1, 101)
    assert await granted(small, large) == [0]
    assert large.done() is False
    desk.budget.release(Bound(TokenBound(100, 0)))
    desk.turns.unsent()
    (end,) = await ends(large)
    less = "--max-tokens-total 100 is less than one call may use (101); raise it, or lower max_tokens"
    assert wrong(end) == (CapReached, less)


async def test_a_call_without_a_bound_is_a_call() -> None:
    """Nothing is known of its tokens, but it is one."""
    desk = Desk(limit=16, caps=Caps(calls=2))
    waiting = [desk.reserve(0, 5), desk.reserve(1), desk.reserve(2)]
    assert await granted(*waiting) == [0, 1]
    assert desk.budget.reserved == Totals(2, 5, 0)
    desk.gate.close()
    await ends(*waiting)


# --- limits of the pace ---------------------------------------------------------------------------------------------


async def test_a_call_larger_than_a_minutes_tokens_is_an_error_at_once() -> None:
    """To wait for it would be for ever."""
    desk = Desk(tpm=100.0)
    with pytest.raises(ConfigProblem, match=r"words/0/3/0/0 may need 101 tokens, more than --tpm.*lower max_tokens"):
        await desk.turns.reserve(draw(3), 101, UNBOUNDED)
    await desk.turns.reserve(draw(3), 100, UNBOUNDED)


async def test_tokens_that_were_not_used_are_given_back() -> None:
    """An answer that does not count its tokens gives back nothing, one that used more than was reckoned neither."""
    desk = Desk()
    for used, back in ((30, 70), (0, None), (130, 0)):
        left = await desk.sent()
        desk.turns.returned(left, 100, used, None)
        refunds = [given for name, given in desk.pace.calls if name == "refund"]
        desk.pace.calls.clear()
        assert refunds == ([] if back is None else [(back,)])


# --- what an ending means -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "pace", "window", "breaker"),
    [
        (None, ["accepted"], ["answered"], ["answered"]),
        (RequestRefused("no"), ["accepted"], ["answered"], ["answered"]),
        (Rejected("slow", status=429), ["rejected"], ["rejected"], ["answered"]),
        (Rejected("slow", status=409), ["rejected"], ["rejected"], ["answered"]),
        (Rejected("busy", status=503), [], ["troubled"], ["failed: busy"]),
        (Rejected("busy", status=529, retry_after=0.001), ["fence"], ["troubled"], ["failed: busy"]),
        (NotSent("no route"), [], ["troubled"], ["failed: no route"]),
        (MaybeExecuted("lost", status=502), [], ["troubled"], ["failed: lost"]),
        (UnusableResponse("odd"), [], ["troubled"], ["failed: odd"]),
        (AccessDenied("key"), [], [], []),
        (Withdrawn("not waited for"), [], [], []),
    ],
)
async def test_each_ending_is_told_to_whom_it_concerns(
    error: SelfinstructError | None, pace: list[str], window: list[str], breaker: list[str]
) -> None:
    """Refusals for our pace slow us down, trouble is for the breaker, answers are good news for all."""
    desk = Desk()
    left = await desk.sent()
    desk.turns.returned(left, 0, 0, error)
    assert desk.pace.told("accepted", "rejected", "fence") == pace
    assert desk.window.told("answered", "rejected", "troubled") == window
    assert desk.breaker.told == breaker
    assert desk.turns.in_flight == 0


class Clock:
    """Monotonic seconds that pass when the test says so."""

    now = 1000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which turns are granted."""
    clock = Clock()
    monkeypatch.setattr(turns, "time", clock)
    return clock


async def refused_by_chance(desk: Desk, clock: Clock) -> None:
    """Five refusals, each after ten answers: three of them after a tenth of a second, so two at a slow pace."""
    for seconds in (0.1, 0.1, 0.1, 1.0, 1.0):
        for _ in range(10):
            desk.turns.in_flight += 1
            desk.turns.returned(clock.now, 0, 0, None)
        clock.now += seconds
        desk.turns.in_flight += 1
        desk.turns.returned(clock.now - 0.01, 0, 0, Rejected("slow", status=429, retry_after=0.01))


async def test_refusals_by_chance_change_neither_the_pace_nor_what_flies(clock: Clock) -> None:
    """From the fifth burst on: pace and window are let go, and what is left of a refusal is a fence, if a short one."""
    desk = Desk()
    await refused_by_chance(desk, clock)
    assert desk.pace.lifted is True
    for wish in (3.0, None):
        desk.turns.in_flight += 1
        desk.turns.returned(clock.now + 0.1, 0, 0, Rejected("slow", status=429, retry_after=wish))
    assert desk.window.told("rejected", "lift", "restart") == ["rejected"] * 4 + ["lift"]
    assert desk.pace.told("rejected", "fence") == ["rejected"] * 4 + ["fence"] * 3
    assert [given for name, given in desk.pace.calls if name == "fence"] == [
        (clock.now, 0.01),
        (clock.now, 3.0),
        (clock.now, 0.05),
    ]


async def test_a_flood_of_refusals_brings_pace_and_window_back(clock: Clock) -> None:
    """There is a limit after all: from then on a refusal is a matter of our pace again."""
    desk = Desk()
    await refused_by_chance(desk, clock)
    clock.now += 10.0
    for number in range(FLOODED):
        assert desk.pace.lifted is True
        desk.turns.in_flight += 1
        desk.turns.returned(clock.now + 0.001 * number, 0, 0, Rejected("slow", status=429))
    assert desk.pace.lifted is False
    assert desk.window.told("rejected", "lift", "restart") == ["rejected"] * 4 + ["lift", "restart", "rejected"]
    assert desk.pace.told("rejected") == ["rejected"] * 5


async def test_a_burst_of_refusals_is_told_with_all_that_were_in_flight() -> None:
    """The refused attempt itself counts: a window of two that was full was full."""
    desk = Desk(limit=2)
    left = [await desk.sent(0), await desk.sent(1)]
    for sent_at in left:
        desk.turns.returned(sent_at, 0, 0, Rejected("slow", status=429))
    assert [given[2] for name, given in desk.window.calls if name == "rejected"] == [2, 1]


@pytest.mark.parametrize("error", [AccessDenied("key"), ConfigProblem("address"), UnknownModel("model")])
async def test_what_a_person_has_to_mend_closes_the_gate_at_once(error: SelfinstructError) -> None:
    """Not when the caller hears of it: the slot of a refused call must not let the next one out."""
    desk = Desk(limit=1)
    left = await desk.sent(0)
    await desk.reserved(1)
    waiting, behind = desk.send(1), desk.reserve(2)
    await rest()
    desk.turns.returned(left, 0, 0, error)
    assert [type(end) for end in await ends(waiting, behind)] == [Withdrawn, Withdrawn]
    assert (desk.gate.reason, desk.turns.in_flight) == (error, 0)


# --- the provider is down -------------------------------------------------------------------------------------------


async def test_while_the_provider_is_down_one_probe_leaves_at_a_time() -> None:
    """The next one when the last has failed, all when one is answered; and no more is reserved than the next probe."""
    desk = Desk(limit=8)
    await desk.reserved(0, 1)
    desk.breaker.is_open = True
    assert desk.turns.provider_is_down is True
    probes, behind = [desk.send(0), desk.send(1)], [desk.reserve(slot) for slot in (2, 3)]
    assert await granted(*probes, *behind) == [0]
    desk.turns.returned(await probes[0], 0, 0, MaybeExecuted("lost"))
    assert await granted(*probes, *behind) == [0, 1, 2]
    probes.append(desk.send(2))
    assert await granted(*probes) == [0, 1]
    desk.turns.returned(await probes[1], 0, 0, None)
    assert desk.turns.provider_is_down is False
    assert await granted(*probes, *behind) == [0, 1, 2, 3, 4]
    assert desk.breaker.told == ["probe", "failed: lost", "probe", "answered"]
    assert desk.window.told("restart") == ["restart"]  # who just came back is not met by everything at once


async def test_a_provider_that_refuses_for_our_pace_is_there() -> None:
    """A probe that meets a rate limit has found somebody: the breaker must not wait for it for ever."""
    desk = Desk(limit=8)
    desk.breaker.is_open = True
    left = await desk.sent(0)
    desk.turns.returned(left, 0, 0, Rejected("slow down", status=429, retry_after=0.01))
    assert desk.turns.provider_is_down is False
    await desk.sent(1)


async def test_when_the_provider_stays_away_everybody_is_told() -> None:
    """Who waits to be reserved, who waits to leave, and who comes later."""
    desk = Desk(limit=8)
    left = [await desk.sent(0), await desk.sent(1)]
    await desk.reserved(2, 3)
    desk.breaker.is_open = desk.breaker.probing = True
    waiting = [desk.send(2), desk.send(3), desk.reserve(4), desk.reserve(5)]
    assert await granted(*waiting) == []
    desk.breaker.why = "no answer for 15 minutes"
    desk.turns.returned(left[0], 0, 0, NotSent("no route"))
    waiting.append(desk.reserve(6))
    assert [wrong(end) for end in await ends(*waiting)] == [(ModelError, "no answer for 15 minutes")] * 5


# --- the gate -------------------------------------------------------------------------------------------------------


async def test_closing_the_gate_sends_away_everybody_who_waits_at_once() -> None:
    """Behind a fence of an hour as before a reservation; what flies comes home, and nobody new gets in line."""
    desk = Desk(limit=4)
    left = await desk.sent(0)
    await desk.reserved(1)
    desk.turns.returned(await desk.turns.send(draw(1), 0), 0, 0, Rejected("later", status=429, retry_after=3600.0))
    await desk.reserved(2)
    waiting = [desk.send(2), desk.reserve(3), desk.reserve(4)]
    assert await granted(*waiting) == []
    desk.gate.close()
    waiting.append(desk.reserve(5))
    assert [wrong(end) for end in await ends(*waiting)] == [
        (Withdrawn, f"call words/0/{slot}/0/0 is no longer needed") for slot in (2, 3, 4, 5)
    ]
    desk.turns.returned(left, 0, 0, None)
    assert desk.turns.in_flight == 0


async def test_the_end_of_a_stage_sends_away_its_later_rounds_only() -> None:
    """The others keep their places."""
    desk = Desk(limit=1)
    left = await desk.sent(0)
    waiting = [desk.send(1, round=2), desk.send(2, round=1), desk.send(3, round=3)]
    await rest()
    desk.gate.end("words", 1)
    assert await granted(*waiting) == []
    desk.turns.returned(left, 0, 0, None)
    first, second, third = await ends(*waiting)
    assert (type(first), second, type(third)) == (Withdrawn, "granted", Withdrawn)


async def test_who_was_cancelled_before_is_not_told_of_the_closing() -> None:
    """Nobody listens any more."""
    desk = Desk(limit=1)
    await desk.sent(0)
    waiting = desk.send(1)
    await rest()
    waiting.cancel()
    desk.gate.close()
    (end,) = await ends(waiting)
    assert isinstance(end, asyncio.CancelledError)


async def test_a_run_is_halted_for_a_problem_and_for_nothing_else() -> None:
    """No problem, no change."""
    desk = Desk()
    desk.turns.halt(None)
    assert desk.gate.closed is False
    problem = ConfigProblem("the server counts otherwise")
    desk.turns.halt(problem)
    assert (desk.gate.closed, desk.gate.reason) == (True, problem)
