"""`Seated`: a call gets to its model once that is loaded, and what needs no model loads none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from selfinstruct.admission.gate import Gate
from selfinstruct.admission.seats import Seats
from selfinstruct.errors import ConfigProblem, ModelError, RequestRefused, SelfinstructError, Withdrawn
from selfinstruct.ledger import Ledger
from selfinstruct.models.recorded import Recorded
from selfinstruct.models.seated import Seated
from selfinstruct.money import Bound, TokenBound
from selfinstruct.wire import call_key
from tests.models.scripted import ENDPOINT, Scripted, echo, request


class Guest:
    """Counts how often it came and went."""

    def __init__(self) -> None:
        self.came = self.went = 0
        self.problem: SelfinstructError | None = None

    async def arrive(self, place: int) -> None:
        """Come at once, or not at all."""
        if self.problem is not None:
            raise self.problem
        self.came += 1

    async def depart(self) -> None:
        """Go at once."""
        self.went += 1


async def test_a_call_waits_for_its_model_and_gives_its_seat_back() -> None:
    """Two models share a place: each is asked while it is there, and goes for the other."""
    a, b = Guest(), Guest()
    seats = Seats(1, [a, b], Gate(), 0)
    below = Scripted(lambda request, n: echo(request, n))
    below.on_send = lambda request: seen.append((a.came - a.went, b.came - b.went))
    seen: list[tuple[int, int]] = []
    models = [Seated(below, guest, seats) for guest in (a, b)]
    said = await asyncio.gather(*(models[n % 2].complete(request(n, prompt=f"p{n}")) for n in range(6)))
    assert [one.text for one in said] == [f"echo of p{n}" for n in range(6)]
    assert sorted(seen) == [(0, 1)] * 3 + [(1, 0)] * 3
    assert (a.came, b.came) == (1, 1)


@pytest.mark.parametrize("problem", [RequestRefused("never"), ModelError("down"), ValueError("a bug")])
async def test_a_failed_call_gives_its_seat_back_too(problem: Exception) -> None:
    """Else its model would stay for ever."""
    a, b = Guest(), Guest()
    seats = Seats(1, [a, b], Gate(), 0)
    with pytest.raises(type(problem)):
        await Seated(Scripted(problem), a, seats).complete(request())
    assert (await asyncio.wait_for(Seated(Scripted(), b, seats).complete(request()), 5)).text == "echo of p"
    assert (a.went, b.came) == (1, 1)


async def test_a_call_that_is_cancelled_at_work_gives_its_seat_back() -> None:
    """At the end of a run what is in flight is not waited for for ever."""
    a, b = Guest(), Guest()
    seats = Seats(1, [a, b], Gate(), 0)
    asked = Scripted(door=asyncio.Event())
    late = asyncio.create_task(Seated(asked, a, seats).complete(request()))
    while not asked.asked:
        await asyncio.sleep(0)
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert (await asyncio.wait_for(Seated(Scripted(), b, seats).complete(request()), 5)).text == "echo of p"


async def test_a_model_that_does_not_start_is_not_asked() -> None:
    """Its error is the call's."""
    guest, below = Guest(), Scripted()
    guest.problem = ModelError("out of memory")
    with pytest.raises(ModelError, match="out of memory"):
        await Seated(below, guest, Seats(1, [guest], Gate())).complete(request())
    assert below.asked == []


async def test_a_recorded_answer_loads_no_model(tmp_path: Path) -> None:
    """The ledger is asked first: a run that has all its answers starts nothing."""
    guest, below = Guest(), Scripted()
    gate = Gate()
    with Ledger(tmp_path / "ledger.sqlite3") as ledger:
        model = Recorded(Seated(below, guest, Seats(1, [guest], gate)), ledger, ENDPOINT)
        asked = request()
        key = call_key(ENDPOINT, asked)
        await ledger.reserve(key, asked.draw, "/v1/completions", b"{}", Bound(TokenBound(9, 9)))
        await ledger.settle(key, echo(asked, 0).raw, 5, 2)
        assert (await model.complete(asked)).text == "echo of p"
        gate.close()
        with pytest.raises(Withdrawn):
            await model.complete(request(1))
    assert (guest.came, below.asked) == (0, [])


async def test_closing_closes_the_model_below() -> None:
    """Once; the seats belong to the run."""
    below, guest = Scripted(), Guest()
    await Seated(below, guest, Seats(1, [guest], Gate())).aclose()
    assert (below.closed, guest.went) == (1, 0)


async def test_a_model_that_did_not_start_is_not_waited_for_again() -> None:
    """Every later call fails at once, with the same error; what is loaded beside it stays where it is."""
    broken, other = Guest(), Guest()
    seats = Seats(1, [broken, other], Gate(), 0)
    below, beside = Scripted(), Scripted()
    model = Seated(below, broken, seats)
    problem = broken.problem = ConfigProblem("out of memory")
    errors = await asyncio.gather(*(model.complete(request(n)) for n in range(3)), return_exceptions=True)
    broken.problem = None
    assert (await Seated(beside, other, seats).complete(request())).text == "echo of p"
    errors += await asyncio.gather(model.complete(request(4)), return_exceptions=True)
    assert errors == [problem] * 4
    assert (broken.came, other.came, other.went, below.asked) == (0, 1, 0, [])


async def test_a_call_that_is_withdrawn_says_nothing_of_its_model() -> None:
    """The run had no use for that one; the next call loads the model."""
    a, b = Guest(), Guest()
    gate = Gate()
    seats = Seats(1, [a, b], gate, 0)
    door = asyncio.Event()
    at_work = asyncio.create_task(Seated(Scripted(door=door), a, seats).complete(request()))
    while not a.came:
        await asyncio.sleep(0)
    model = Seated(Scripted(), b, seats)
    waits = asyncio.create_task(model.complete(request(round=9)))
    await asyncio.sleep(0)
    gate.end("words", 5)  # the stage of the calls that `request` makes
    with pytest.raises(Withdrawn):
        await waits
    door.set()
    await at_work
    assert (await asyncio.wait_for(model.complete(request(round=5)), 5)).text == "echo of p"
    assert (a.went, b.came) == (1, 1)


async def test_a_call_that_fails_says_nothing_of_its_model_either() -> None:
    """It had started: the next call is sent."""
    guest = Guest()
    below = Scripted(lambda asked, n: ModelError("a hiccup") if n == 0 else echo(asked, n))
    model = Seated(below, guest, Seats(1, [guest], Gate(), 0))
    with pytest.raises(ModelError, match="a hiccup"):
        await model.complete(request())
    assert (await model.complete(request())).text == "echo of p"
    assert (guest.came, len(below.asked)) == (1, 2)
