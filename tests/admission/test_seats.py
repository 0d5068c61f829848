"""Seats: a place has one model at a time, each is loaded once while it is wanted, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.admission.gate import Gate
from selfinstruct.admission.seats import LINGER, Guest, Seats
from selfinstruct.errors import ConfigProblem, ModelError, OutputFailed, SelfinstructError, Withdrawn
from selfinstruct.schema import Draw


def draw(slot: int = 0, round: int = 0) -> Draw:
    """Any call."""
    return Draw(stage="words", round=round, slot=slot)


async def turns(count: int = 20) -> None:
    """Let everything happen that needs no time."""
    for _ in range(count):
        await asyncio.sleep(0)


class House:
    """The places, which notice when two are at one; ``log`` is who came and went."""

    def __init__(self) -> None:
        self.at: dict[int, Model] = {}
        self.log: list[str] = []


class Model:
    """A guest that takes so many turns of the loop to load, or waits for its ``door``."""

    def __init__(self, house: House, name: str, *, load: int = 3, door: asyncio.Event | None = None) -> None:
        self.name = name
        self.loads = self.inside = self.served = 0
        self.problem: SelfinstructError | None = None
        self.stays: SelfinstructError | None = None
        self._house, self._load, self._door = house, load, door

    async def arrive(self, place: int) -> None:
        """Load; being cancelled, or failing, it holds the place until it is told to depart, as a process would."""
        assert place not in self._house.at, f"{self.name} comes to {self._house.at[place].name}"
        self._house.at[place] = self
        self._house.log.append(f"{self.name} to {place}")
        await turns(self._load)
        if self._door is not None:
            await self._door.wait()
        if self.problem is not None:
            raise self.problem
        self.loads += 1

    async def depart(self) -> None:
        """Go."""
        await turns(2)
        assert self.inside == 0, f"{self.name} goes while {self.inside} are inside"
        if self.stays is not None:
            raise self.stays
        for place in self.places:
            del self._house.at[place]
        self._house.log.append(f"{self.name} goes")

    @property
    def places(self) -> list[int]:
        """Where it is."""
        return [place for place, there in self._house.at.items() if there is self]


async def call(seats: Seats, model: Model, number: int = 0, work: int = 2) -> None:
    """One call: in, so many turns of work at a loaded model, out."""
    await seats.enter(model, draw(number))
    model.inside += 1
    try:
        assert model.places, "let in before it was there"
        await turns(work)
        model.served += 1
    finally:
        model.inside -= 1
        seats.leave(model)


def models(house: House, names: str = "abc", load: int = 3) -> list[Model]:
    """A model for each letter."""
    return [Model(house, name, load=load) for name in names]


def seated(places: int, guests: Sequence[Model], gate: Gate | None = None, linger: float = 0.0) -> Seats:
    """Seats where an idle model goes at once."""
    return Seats(places, list[Guest](guests), gate or Gate(), linger)


def leaves_at(seats: Seats, model: Model) -> float:
    """When a model that was asked to leave will, by the loop's clock."""
    timer = seats._of[id(model)].leaves
    assert timer is not None
    return timer.when()


async def all_of(calls: Sequence[Awaitable[None]]) -> list[BaseException | None]:
    """How each ended; a call that never ends fails the test."""
    return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)


# --- one place ----------------------------------------------------------------------------------------------------


async def test_of_three_models_at_one_place_each_is_loaded_once_where_all_is_known() -> None:
    """Sixty calls in mixed order: three loads, those most are waiting for first, and never two at a time."""
    house = House()
    a, b, c = guests = models(house)
    seats = seated(1, guests)
    wanted = [a] * 10 + [b] * 30 + [c] * 20
    Random(7).shuffle(wanted)
    first = wanted[0]
    assert await all_of([call(seats, model, n) for n, model in enumerate(wanted)]) == [None] * 60
    assert [model.served for model in guests] == [10, 30, 20]
    assert [model.loads for model in guests] == [1, 1, 1]
    assert sum(" to " in line for line in house.log) == 3
    came = [line[0] for line in house.log if " to " in line]
    rest = [model.name for model in (b, c, a) if model is not first]
    assert came == [first.name, *rest]  # who was asked first was there before others were known


async def test_a_model_stays_as_long_as_nobody_else_is_waiting() -> None:
    """Idle for as long as you like: nothing is unloaded for nobody."""
    house = House()
    a, b = guests = models(house, "ab")
    seats = seated(1, guests)
    await call(seats, a)
    await asyncio.sleep(0.005)
    await call(seats, a)
    assert house.log == ["a to 0"]
    await call(seats, b)
    assert house.log == ["a to 0", "a goes", "b to 0"]


async def test_a_model_stays_while_calls_come_one_after_the_other() -> None:
    """Others wait the while: a change costs far more than they do."""
    house = House()
    a, b = guests = models(house, "ab")
    seats = seated(1, guests, linger=60)
    await call(seats, a)
    other = asyncio.create_task(call(seats, b))
    for number in range(30):
        await turns(5)
        await call(seats, a, number)
    assert (a.served, a.loads, b.loads) == (31, 1, 0)
    await seats.aclose()
    assert [type(end) for end in await all_of([other])] == [Withdrawn]


async def test_the_time_of_an_idle_model_is_counted_from_its_last_call() -> None:
    """It has been asked to leave, a call comes, and with its end the wait begins anew."""
    house = House()
    a, b = guests = models(house, "ab")
    seats = seated(1, guests, linger=60)
    await call(seats, a)
    other = asyncio.create_task(call(seats, b))
    await turns()
    times = [leaves_at(seats, a)]
    inside = asyncio.create_task(call(seats, a, work=9))
    await turns(3)
    assert seats._of[id(a)].leaves is None
    await inside
    times.append(leaves_at(seats, a))
    assert times[0] < times[1]
    await seats.aclose()
    await all_of([other])


async def test_a_model_that_has_just_left_is_not_the_next_to_come() -> None:
    """More calls for it while it leaves do not send away whom it made room for."""
    house = House()
    a, b = guests = models(house, "ab")
    seats = seated(1, guests)
    await call(seats, a)
    other = asyncio.create_task(call(seats, b))
    while seats._of[id(a)].state != "departing":
        await asyncio.sleep(0)
    more = [asyncio.create_task(call(seats, a, n)) for n in range(5)]
    assert await all_of([other, *more]) == [None] * 6
    assert house.log == ["a to 0", "a goes", "b to 0", "b goes", "a to 0"]


def test_an_idle_model_is_waited_for_a_second() -> None:
    """A next call may be about to come, and a load takes minutes."""
    assert LINGER == 1.0


# --- several places -----------------------------------------------------------------------------------------------


async def test_as_many_places_as_models_give_each_its_own() -> None:
    """Nobody ever leaves."""
    house = House()
    guests = models(house)
    seats = seated(3, guests)
    await all_of([call(seats, guests[n % 3], n) for n in range(30)])
    assert [model.places for model in guests] == [[0], [1], [2]]
    assert ([model.loads for model in guests], [model.served for model in guests]) == ([1, 1, 1], [10, 10, 10])


async def test_more_places_than_models_give_each_several() -> None:
    """Five places for two models: three for the first, two for the second."""
    house = House()
    a, b = guests = models(house, "ab")
    seats = seated(5, guests)
    await all_of([call(seats, guests[n % 2], n) for n in range(8)])
    assert (a.places, b.places) == ([0, 2, 4], [1, 3])


async def test_only_as_many_leave_as_places_are_needed() -> None:
    """Two are idle, one waits, however many calls it has: one goes, and the other keeps its place."""
    house = House()
    a, b, c = guests = models(house)
    seats = seated(2, guests, linger=0.005)
    await all_of([call(seats, a), call(seats, b)])
    await all_of([call(seats, c, n) for n in range(9)])
    await asyncio.sleep(0.02)
    assert [line for line in house.log if line.endswith("goes")] == ["a goes"]
    assert (b.places, c.places) == ([1], [0])


async def test_a_model_stays_whose_place_is_no_longer_wanted() -> None:
    """One of two who waited for the places of two goes before either is free: one model leaves, the other stays."""
    house = House()
    a, b, c, d = guests = models(house, "abcd")
    seats = seated(2, guests, linger=0.005)
    await all_of([call(seats, a), call(seats, b)])
    waiting = [asyncio.create_task(call(seats, model)) for model in (c, d)]
    await turns()
    assert None not in (seats._of[id(a)].leaves, seats._of[id(b)].leaves)
    waiting[1].cancel()
    await all_of(waiting)
    await asyncio.sleep(0.01)
    assert house.log == ["a to 0", "b to 1", "a goes", "c to 0"]


async def test_a_model_stays_where_nobody_waits_any_more_when_its_time_comes() -> None:
    """It was asked to leave for a call that was cancelled since."""
    house = House()
    a, b = guests = models(house, "ab")
    seats = seated(1, guests, linger=0.005)
    await call(seats, a)
    waiting = asyncio.create_task(call(seats, b))
    await turns()
    waiting.cancel()
    await asyncio.sleep(0.02)
    assert (house.log, seats._of[id(a)].leaves) == (["a to 0"], None)


async def test_a_model_that_is_the_same_in_two_roles_is_one_guest() -> None:
    """One place for it, and no change between its roles."""
    house = House()
    a, b = models(house, "ab")
    seats = seated(2, [a, b, a])
    await all_of([call(seats, a), call(seats, b), call(seats, a)])
    assert (a.places, b.places) == ([0], [1])


# --- what goes wrong ----------------------------------------------------------------------------------------------


async def test_a_start_that_fails_is_told_to_all_who_wait_for_it_and_the_others_go_on() -> None:
    """The place is free again, whatever was half loaded; a later call tries anew."""
    house = House()
    a, b = guests = models(house, "ab")
    seats = seated(1, guests)
    a.problem = ConfigProblem("no room for it")
    ends = await all_of([*(call(seats, a, n) for n in range(3)), *(call(seats, b, n) for n in range(2))])
    assert [str(end) for end in ends] == ["no room for it"] * 3 + ["None"] * 2
    assert (b.served, b.places) == (2, [0])
    a.problem = None
    await call(seats, a)
    assert (a.served, house.at) == (1, {0: a})


async def test_a_start_that_fails_at_one_of_two_places_frees_the_other() -> None:
    """All its servers end, and it is waited for until they have: then the place is another's."""
    house = House()

    class Half(Model):
        async def arrive(self, place: int) -> None:
            """At the second place it does not start."""
            self.problem = ModelError("gone") if place else None
            await super().arrive(place)

    half = Half(house, "h")
    seats = seated(2, [half])
    (end,) = await all_of([call(seats, half)])
    assert (str(end), house.at) == ("gone", {})


@pytest.mark.parametrize("problem", [OSError(28, "disk full"), ValueError("a bug")])
async def test_what_is_no_error_of_ours_reaches_the_calls_too(problem: Exception) -> None:
    """Nobody is left waiting for a start that broke."""
    house = House()
    (a,) = models(house, "a")
    a.problem = problem  # type: ignore[assignment]
    ends = await all_of([call(seated(1, [a]), a)])
    assert ends == [problem]


async def test_a_model_that_cannot_leave_is_told_to_those_who_wait_for_its_place() -> None:
    """They end with its error instead of never."""
    house = House()
    a, b = guests = models(house, "ab")
    seats = seated(1, guests)
    await call(seats, a)
    a.stays = OutputFailed("it does not end")
    ends = await all_of([call(seats, b), call(seats, b, 1)])
    assert list(map(str, ends)) == ["it does not end"] * 2


# --- who is no longer wanted --------------------------------------------------------------------------------------


async def test_a_closed_gate_sends_away_who_waits_and_loads_nothing_for_them() -> None:
    """At once, while another model is still at work; and nobody gets in afterwards."""
    house, gate = House(), Gate()
    a, b = guests = models(house, "ab")
    seats = seated(1, guests, gate)
    working = asyncio.create_task(call(seats, a, work=50))
    waiting = [asyncio.create_task(call(seats, b, n)) for n in range(3)]
    await turns()
    gate.close()
    ends = await all_of(waiting)
    assert [type(end) for end in ends] == [Withdrawn] * 3
    assert not working.done()
    with pytest.raises(Withdrawn):
        await seats.enter(a, draw())
    await working
    await asyncio.sleep(0.005)
    assert house.log == ["a to 0"]


async def test_rounds_that_are_no_longer_needed_are_sent_away_alone() -> None:
    """The target is reached after round 1: calls of round 2 go, and their model is not loaded for them."""
    house, gate = House(), Gate()
    a, b = guests = models(house, "ab")
    seats = seated(1, guests, gate)
    inside = asyncio.create_task(call(seats, a, work=60))
    await turns()
    later = asyncio.create_task(seats.enter(b, draw(round=2)))
    needed = asyncio.create_task(seats.enter(a, draw(round=1)))
    await turns()
    gate.end("words", 1)
    assert [type(end) for end in await all_of([later])] == [Withdrawn]
    await needed
    seats.leave(a)
    await inside
    await asyncio.sleep(0.005)
    assert house.log == ["a to 0"]


async def test_a_call_cancelled_while_it_waits_loads_nothing() -> None:
    """Whoever waited for a place and went is not waited for in turn."""
    house = House()
    a, b = guests = models(house, "ab")
    seats = seated(1, guests)
    inside = asyncio.create_task(call(seats, a, work=40))
    await turns()
    waiting = asyncio.create_task(call(seats, b))
    await turns()
    waiting.cancel()
    await asyncio.gather(waiting, inside, return_exceptions=True)
    await asyncio.sleep(0.005)
    assert (house.log, b.loads) == (["a to 0"], 0)


@pytest.mark.parametrize("moment", range(12))
async def test_a_call_may_be_cancelled_at_any_moment_of_a_load(moment: int) -> None:
    """Before the door opens, as it lets the call in, and inside: the seat is free for others, who all get theirs."""
    house, door = House(), asyncio.Event()
    a, b = Model(house, "a", load=0, door=door), Model(house, "b")
    seats = seated(1, [a, b])
    late, other = (asyncio.create_task(call(seats, a)) for _ in range(2))
    await turns()
    door.set()
    await turns(moment)
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert await all_of([other, call(seats, b), call(seats, a)]) == [None] * 3
    assert [chair.inside for chair in seats._of.values()] == [0, 0]


async def test_closing_ends_a_load_and_sends_away_who_waits_for_it() -> None:
    """In the middle of a start that would take for ever."""
    house = House()
    a, b = Model(house, "a", door=asyncio.Event()), Model(house, "b")
    seats = seated(1, [a, b])
    waiting = [asyncio.create_task(call(seats, model)) for model in (a, a, b)]
    await turns()
    await asyncio.wait_for(seats.aclose(), 5)
    assert [type(end) for end in await all_of(waiting)] == [Withdrawn] * 3
    assert (a.loads, b.loads, house.log) == (0, 0, ["a to 0"])
    await seats.aclose()


# --- any schedule -------------------------------------------------------------------------------------------------

Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["call", "call", "call", "cancel", "turns", "nap", "break", "mend"]), st.integers(0, 11)),
    max_size=40,
)


class Schedule:
    """Steps done one after the other; after each, what must always hold does."""

    def __init__(self, places: int, count: int, linger: float) -> None:
        self.house, self.places = House(), places
        self.guests = models(self.house, "abcd"[:count])
        self.seats = seated(places, self.guests, linger=linger)
        self.tasks: list[asyncio.Task[None]] = []
        self.do: dict[str, Callable[[int], Awaitable[None]]] = {
            name: getattr(self, f"_{name}") for name in ("call", "cancel", "turns", "nap", "break", "mend")
        }

    async def run(self, steps: Sequence[Step]) -> Counter[str]:
        """How all calls ended."""
        for name, number in steps:
            await self.do[name](number)
            self.check()
        for model in self.guests:
            model.problem = None
        ends = await all_of(self.tasks)
        self.check()
        assert all(not chair.calls and not chair.inside for chair in self.seats._of.values())
        again = await all_of([call(self.seats, model) for model in self.guests])
        assert again == [None] * len(self.guests), "a place is blocked"
        await self.seats.aclose()
        return Counter(type(end).__name__ for end in ends)

    def check(self) -> None:
        """Nobody is where another is (`Model.arrive` sees to that), and nobody inside of what is not there."""
        assert len(self.house.at) <= self.places
        for model in self.guests:
            chair = self.seats._of[id(model)]
            assert chair.inside >= model.inside >= 0
            assert not chair.inside or chair.state == "there"
            assert not (chair.calls and chair.state == "there")

    async def _call(self, number: int) -> None:
        model = self.guests[number % len(self.guests)]
        self.tasks.append(asyncio.create_task(call(self.seats, model, work=number)))

    async def _cancel(self, number: int) -> None:
        if self.tasks:
            self.tasks[-1 - number % len(self.tasks)].cancel()

    async def _turns(self, number: int) -> None:
        await turns(number)

    async def _nap(self, number: int) -> None:
        await asyncio.sleep(number / 10_000)

    async def _break(self, number: int) -> None:
        self.guests[number % len(self.guests)].problem = ModelError("out of memory")

    async def _mend(self, number: int) -> None:
        self.guests[number % len(self.guests)].problem = None


@given(STEPS, st.integers(1, 5), st.integers(1, 4), st.sampled_from([0.0, 0.0005]))
def test_whatever_happens_everybody_is_served_in_the_end(
    steps: list[Step], places: int, count: int, linger: float
) -> None:
    """Calls, cancellations and failing starts in any order: each call ends, and no place is blocked afterwards."""

    async def scheduled() -> Counter[str]:
        return await Schedule(places, count, linger).run(steps)

    ends = asyncio.run(scheduled())
    assert ends.keys() <= {"NoneType", "CancelledError", "ModelError"}
    assert ends.total() == sum(name == "call" for name, _ in steps)
    if not {"cancel", "break"} & {name for name, _ in steps}:
        assert ends["NoneType"] == ends.total()


@pytest.mark.parametrize("way", ["the gate", "the end"])
async def test_a_call_given_up_in_the_turn_in_which_it_is_sent_away_is_given_up(way: str) -> None:
    """By who waited for it; it is told nothing a second time."""
    house, gate = House(), Gate()
    model = Model(house, "a", door=asyncio.Event())
    seats = seated(1, [model], gate)
    task = asyncio.create_task(call(seats, model))
    await turns()
    task.cancel()
    if way == "the gate":
        gate.close()
    await seats.aclose()
    (ended,) = await all_of([task])
    assert isinstance(ended, asyncio.CancelledError)
    assert seats._of[id(model)].inside == 0


async def test_of_those_who_wait_only_the_unwanted_are_sent_away() -> None:
    """The round after the last is; the last one is served."""
    house, gate = House(), Gate()
    model = Model(house, "a", door=(door := asyncio.Event()))
    seats = seated(1, [model], gate)
    wanted, late = (asyncio.create_task(seats.enter(model, draw(round=number))) for number in (0, 1))
    await turns()
    gate.end("words", 0)
    door.set()
    ended = await all_of([wanted, late])
    assert [type(one) for one in ended] == [type(None), Withdrawn]
    seats.leave(model)
    await seats.aclose()
