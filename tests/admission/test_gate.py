"""The gate: what may leave, who is told when it closes, and how long calls in flight are waited for."""

from __future__ import annotations

import asyncio

import pytest

from selfinstruct.admission import gate as gates
from selfinstruct.admission.gate import DENIED_SECONDS, DRAIN_SECONDS, UNRECORDED_SECONDS, Gate
from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    LimitReached,
    OutputFailed,
    RunLocked,
    SelfinstructError,
    Withdrawn,
)
from selfinstruct.schema import Draw


def draw(round: int = 0, stage: str = "words") -> Draw:
    """Any call of that round."""
    return Draw(stage=stage, round=round, slot=0)


async def hang() -> str:
    """A call that never comes home."""
    await asyncio.Event().wait()
    return "never"


async def soon(text: str, turns: int = 1) -> str:
    """A call that comes home after some turns of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return text


# --- what may leave -------------------------------------------------------------------------------------------------


async def test_an_open_gate_lets_everything_out_and_a_closed_one_nothing() -> None:
    """Closing is for the whole run."""
    gate = Gate()
    assert (gate.lets(draw()), gate.closed, gate.reason, gate.patience) == (True, False, None, None)
    gate.close()
    assert (gate.lets(draw()), gate.closed, gate.reason) == (False, True, None)


@pytest.mark.parametrize(("stage", "round", "lets"), [("words", 4, True), ("words", 5, False), ("other", 5, True)])
def test_a_stage_that_has_ended_lets_out_its_rounds_up_to_the_last(stage: str, round: int, lets: bool) -> None:
    """Only that stage, and only its later rounds, are held back."""
    gate = Gate()
    gate.end("words", 4)
    assert gate.lets(draw(round, stage)) is lets


async def test_the_first_reason_to_close_stays() -> None:
    """What follows a failure is its consequence, and neither the reason nor the patience of the run."""
    gate = Gate()
    first = LimitReached("enough")
    gate.close(first)
    gate.close(AccessDenied("no"))
    gate.close()
    assert gate.reason is first
    assert gate.patience is not None
    assert gate.patience > DENIED_SECONDS


async def test_whoever_keeps_calls_waiting_is_told_of_every_change() -> None:
    """All of them, of a stage's end and of the closing; closing again is no change."""
    gate, told = Gate(), list[bool]()
    gate.watchers += [lambda: told.append(gate.closed)] * 2
    gate.end("words", 1)
    gate.close()
    gate.close()
    assert told == [False, False, True, True]


# --- sleeping -------------------------------------------------------------------------------------------------------


async def test_a_sleep_ends_by_itself_while_the_gate_is_open() -> None:
    """And leaves nothing behind that closing would have to wake."""
    gate = Gate()
    await gate.sleep(0.001)
    assert gate.closed is False
    gate.close()
    assert gate._sleepers == set()


async def test_closing_wakes_every_sleeper_at_once() -> None:
    """Nobody waits out an hour to learn that the run is over."""
    gate = Gate()
    sleepers = [asyncio.create_task(gate.sleep(3600.0)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.close()
    results = await asyncio.gather(*sleepers, return_exceptions=True)
    assert [type(result) for result in results] == [Withdrawn] * 3


async def test_nobody_falls_asleep_behind_a_closed_gate() -> None:
    """It is the same as being woken."""
    gate = Gate()
    gate.close()
    with pytest.raises(Withdrawn, match="the run is stopping"):
        await gate.sleep(3600.0)


async def test_a_sleep_that_ends_in_the_instant_of_the_closing_is_withdrawn_once() -> None:
    """Alarm and closing both wake the sleeper; the second finds it awake."""
    gate = Gate()
    sleeper = asyncio.create_task(gate.sleep(0.0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the alarm has rung, the sleeper has not yet run
    gate.close()
    with pytest.raises(Withdrawn):
        await sleeper


# --- waiting for what is in flight ----------------------------------------------------------------------------------


async def test_the_first_tasks_to_end_are_returned() -> None:
    """All that have ended by then, and none of the others."""
    gate = Gate()
    tasks = [asyncio.create_task(soon(text, turns)) for text, turns in (("a", 1), ("b", 1), ("c", 500))]
    ended = await gate.first_of(tasks)
    assert ended == set(tasks[:2])
    assert await tasks[2] == "c"


async def test_a_gate_that_closes_lets_what_is_in_flight_come_home() -> None:
    """Its answers are paid for; only the patience has an end."""
    gate = Gate()
    task = asyncio.create_task(soon("home", 20))
    asyncio.get_running_loop().call_soon(gate.close)
    assert await gate.first_of([task]) == {task}
    assert (task.result(), gate.closed) == ("home", True)
    task = asyncio.create_task(soon("home too", 20))
    assert await gate.first_of([task]) == {task}
    assert task.result() == "home too"


@pytest.mark.parametrize("close_first", [True, False])
async def test_what_does_not_come_home_in_time_is_cancelled(monkeypatch: pytest.MonkeyPatch, close_first: bool) -> None:
    """Whether the gate is closed before the wait begins or in the middle of it; all tasks are given up together."""
    monkeypatch.setattr(gates, "DRAIN_SECONDS", 0.02)
    gate = Gate()
    tasks = [asyncio.create_task(hang()) for _ in range(3)]
    if close_first:
        gate.close()
    else:
        asyncio.get_running_loop().call_later(0.005, gate.close)
    assert await gate.first_of(tasks) == set(tasks)
    assert [task.cancelled() for task in tasks] == [True] * 3
    assert gate.patience == 0


@pytest.mark.parametrize(
    ("reason", "longest"),
    [
        (AccessDenied("no key"), DENIED_SECONDS),
        (OutputFailed("disk full"), UNRECORDED_SECONDS),
        (RunLocked("taken over"), UNRECORDED_SECONDS),
        (ConfigProblem("odd"), DRAIN_SECONDS),
        (None, DRAIN_SECONDS),
    ],
)
async def test_the_reason_decides_how_long_is_waited(reason: SelfinstructError | None, longest: float) -> None:
    """What is in flight under a refused key will be refused, too; what cannot be recorded need not be waited for."""
    gate = Gate()
    gate.close(reason)
    assert gate.patience is not None
    assert longest / 2 < gate.patience <= longest
    assert UNRECORDED_SECONDS < DENIED_SECONDS <= 5 < DRAIN_SECONDS <= 30
