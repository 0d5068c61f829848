"""Queues of models that a run asks side by side: one gate and one budget, and money that comes back to either."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from selfinstruct.admission.breaker import Breaker
from selfinstruct.admission.budget import Budget, Caps, Totals
from selfinstruct.admission.gate import Gate
from selfinstruct.admission.pace import Pace
from selfinstruct.admission.turns import Turns
from selfinstruct.admission.window import Window
from selfinstruct.errors import CapReached, MaybeExecuted, NotSent, RequestRefused, SelfinstructError, Withdrawn
from selfinstruct.money import UNBOUNDED, Bound, TokenBound
from selfinstruct.schema import Draw


class Desks:
    """Two queues over one gate and one budget of tokens."""

    def __init__(self, tokens: int | None = None, rpm: float | None = None) -> None:
        self.gate = Gate()
        self.budget = Budget(Caps(tokens=tokens), Totals())
        self.user, self.assistant = (
            Turns(self.gate, self.budget, Window(limit), Pace(rpm, None), Breaker(limit, None), limit)
            for limit in (16, 4)
        )


def draw(slot: int = 0) -> Draw:
    """One call."""
    return Draw(stage="talk", round=0, slot=slot)


def of(tokens: int) -> Bound:
    """A call that may use so many tokens."""
    return Bound(TokenBound(tokens, 0))


def wants(turns: Turns, tokens: int) -> asyncio.Task[None]:
    """A call that asks to be reserved."""
    return asyncio.create_task(turns.reserve(draw(), 0, of(tokens)))


async def flies(turns: Turns, tokens: int) -> float:
    """A call that is in flight; when it left."""
    await turns.reserve(draw(), 0, of(tokens))
    return await turns.send(draw(), 0)


async def rest() -> None:
    """Let everything happen that needs no time."""
    for _ in range(5):
        await asyncio.sleep(0)


async def ends(*tasks: asyncio.Task[Any]) -> list[str]:
    """What has come of each after a rest: ``waits``, ``goes``, or the name of its error."""
    await rest()
    return [
        "waits" if not task.done() else type(task.exception()).__name__ if task.exception() else "goes"
        for task in tasks
    ]


@pytest.mark.parametrize("way", ["settled", "refused", "not sent", "unsent"])
async def test_what_a_call_gives_back_lets_out_one_that_waits_in_the_other_queue(way: str) -> None:
    """However it ended: nobody there knows of it otherwise, and nothing of their own is on its way."""
    desks = Desks(tokens=100)
    left = await flies(desks.user, 80)
    waiting = wants(desks.assistant, 60)
    assert await ends(waiting) == ["waits"]
    error: SelfinstructError | None = None
    match way:
        case "settled":
            desks.budget.settle(of(80), 30, 0)
        case "refused":
            desks.budget.refuse(of(80))
            error = RequestRefused("no")
        case _:
            desks.budget.release(of(80))
            error = NotSent("no route")
    if way == "unsent":  # a reservation given back before it was sent
        desks.user._unsent += 1
        desks.user.unsent()
    else:
        desks.user.returned(left, 80, 0, error)
    assert await ends(waiting) == ["goes"]
    assert desks.budget.reserved == Totals(1, 60)


async def test_a_cap_is_reached_only_when_no_queue_awaits_an_answer() -> None:
    """What flies for one model may come back with money for the other."""
    desks = Desks(tokens=100)
    first, second = await flies(desks.user, 50), await flies(desks.user, 50)
    waiting = wants(desks.assistant, 90)
    for left, expected in ((first, "waits"), (second, "CapReached")):
        desks.budget.settle(of(50), 10, 0)
        desks.user.returned(left, 50, 10, None)
        assert await ends(waiting) == [expected]
    why = waiting.exception()
    assert isinstance(why, CapReached)
    assert "--max-tokens-total 100 is reached: 20 tokens used, and the next call may use up to 90" in str(why)


async def test_the_last_call_that_fits_is_sent_before_any_queue_gives_up() -> None:
    """A dear call of the model that just answered must not end a run in which a cheap one of the other still fits."""
    desks = Desks(tokens=100)
    left = await flies(desks.user, 90)
    dear, cheap = wants(desks.user, 60), wants(desks.assistant, 20)
    assert await ends(dear, cheap) == ["waits", "waits"]
    desks.budget.settle(of(90), 70, 0)
    desks.user.returned(left, 90, 70, None)
    assert await ends(dear, cheap) == ["waits", "goes"]
    sent_at = await desks.assistant.send(draw(), 0)
    desks.budget.settle(of(20), 20, 0)
    desks.assistant.returned(sent_at, 20, 20, None)
    assert await ends(dear) == ["CapReached"]


async def test_a_lost_answer_keeps_its_money_from_both() -> None:
    """It may have been billed."""
    desks = Desks(tokens=100)
    left = await flies(desks.user, 60)
    waiting = wants(desks.assistant, 50)
    assert await ends(waiting) == ["waits"]
    desks.budget.lose(of(60))
    desks.user.returned(left, 60, 0, MaybeExecuted("lost"))
    assert await ends(waiting) == ["CapReached"]
    assert desks.budget.committed == Totals(1, 60)


async def test_whoever_is_not_short_of_money_is_not_looked_at_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue whose calls wait for their turn gains nothing from another model's answer."""
    desks = Desks(tokens=1000)
    left = await flies(desks.user, 10)
    waiting = [wants(desks.assistant, 10) for _ in range(3)]  # one is reserved ahead of the four that may fly
    assert await ends(*waiting) == ["goes", "waits", "waits"]
    looked: list[str] = []
    monkeypatch.setattr(desks.assistant, "look", lambda: looked.append("assistant"))
    desks.budget.settle(of(10), 10, 0)
    desks.user.returned(left, 10, 10, None)
    assert looked == []
    monkeypatch.undo()
    desks.gate.close()
    assert await ends(*waiting) == ["goes", "Withdrawn", "Withdrawn"]


async def test_closing_the_gate_sends_away_who_waits_in_every_queue() -> None:
    """One drain for the whole run."""
    desks = Desks()
    waiting = [asyncio.create_task(turns.reserve(draw(), 0, UNBOUNDED)) for turns in (desks.user, desks.assistant) * 9]
    await rest()
    desks.gate.close()
    counts = await ends(*waiting)
    assert counts[0::2] == ["goes"] * 4 + ["Withdrawn"] * 5  # a quarter of each limit was reserved ahead
    assert counts[1::2] == ["goes"] + ["Withdrawn"] * 8
    with pytest.raises(Withdrawn):
        await desks.assistant.send(draw(), 0)


async def test_each_queue_has_its_own_pace_and_its_own_window() -> None:
    """A limit that one model's server sets holds for that model."""
    desks = Desks(rpm=60)
    await flies(desks.user, 0)
    await asyncio.wait_for(flies(desks.assistant, 0), 5)
    second = asyncio.create_task(flies(desks.user, 0))
    assert await ends(second) == ["waits"]  # for a second: its minute has sixty requests, and one has left
    assert (desks.user.in_flight, desks.assistant.in_flight) == (1, 1)
    desks.gate.close()
    assert await ends(second) == ["Withdrawn"]
