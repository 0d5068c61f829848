"""`Balanced`: several addresses of one model are one model, which goes on while one of them does."""

from __future__ import annotations

import asyncio

import pytest

from selfinstruct.errors import (
    MaybeExecuted,
    ModelError,
    NotSent,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnusableResponse,
)
from selfinstruct.models.balanced import FIRST_REST, LONGEST_REST, Balanced
from tests.models.scripted import Scripted, answer, request, until


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class Replica:
    """Says its name, or fails with its ``trouble``; while it has a ``door``, calls wait in front of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.trouble: SelfinstructError | None = None
        self.model = Scripted(lambda request, number: self.trouble or answer(name))

    @property
    def asked(self) -> int:
        """How many calls have come."""
        return len(self.model.asked)


def replicas(names: str = "ab") -> tuple[list[Replica], Balanced, Clock]:
    """A replica for each letter, and all of them as one."""
    clock = Clock()
    all_of_them = [Replica(name) for name in names]
    return all_of_them, Balanced([one.model for one in all_of_them], clock), clock


async def says(model: Balanced, times: int = 1) -> str:
    """Who answers calls that come one after the other; ``-`` for one that failed."""
    said = []
    for _ in range(times):
        try:
            said.append((await model.complete(request())).text)
        except SelfinstructError:
            said.append("-")
    return "".join(said)


async def at_once(model: Balanced, number: int) -> list[asyncio.Task[object]]:
    """So many calls, all under way."""
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(model.complete(request(n))) for n in range(number)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


# --- where a call goes ----------------------------------------------------------------------------------------------


async def test_calls_go_where_the_least_is_in_flight() -> None:
    """Thirty at once over three replicas are ten each; then those go where answers have come."""
    doors = [asyncio.Event() for _ in range(3)]
    models = [Scripted(door=door) for door in doors]
    model = Balanced(models)
    first = await at_once(model, 30)
    assert [one.in_flight for one in models] == [10, 10, 10]
    doors[1].set()
    await until(lambda: models[1].in_flight == 0)
    doors[1].clear()
    more = await at_once(model, 6)
    assert [one.in_flight for one in models] == [10, 6, 10]
    for door in doors:
        door.set()
    await asyncio.gather(*first, *more)
    assert [one.in_flight for one in models] == [0, 0, 0]


async def test_a_cancelled_call_is_in_flight_no_longer() -> None:
    """Else its replica would look busy for ever."""
    door = asyncio.Event()
    models = [Scripted(door=door), Scripted(door=door)]
    model = Balanced(models)
    for task in await at_once(model, 3):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    rest = await at_once(model, 4)
    assert [one.in_flight for one in models] == [2, 2]
    door.set()
    await asyncio.gather(*rest)


# --- failing --------------------------------------------------------------------------------------------------------


async def test_what_was_surely_not_sent_goes_to_the_next_within_the_attempt() -> None:
    """The caller sees an answer, and who could not be reached rests."""
    (a, b, c), model, _ = replicas("abc")
    a.trouble, b.trouble = NotSent("refused"), NotSent("refused")
    assert await says(model, 4) == "cccc"
    assert (a.asked, b.asked, c.asked) == (1, 1, 4)


async def test_where_none_can_be_reached_the_last_error_is_raised_and_each_was_tried_once() -> None:
    """An attempt ends; whoever retries has the waits."""
    (a, b, c), model, _ = replicas("abc")
    a.trouble, b.trouble, c.trouble = NotSent("a down"), NotSent("b down"), NotSent("c down")
    with pytest.raises(NotSent, match="c down"):
        await model.complete(request())
    assert (a.asked, b.asked, c.asked) == (1, 1, 1)


@pytest.mark.parametrize("error", [MaybeExecuted("lost"), MaybeExecuted("oops", status=500), Rejected("n", status=503)])
async def test_what_may_have_been_executed_or_was_turned_away_is_not_sent_again(error: ModelError) -> None:
    """It fails as any attempt does, and the next one goes elsewhere."""
    (a, b), model, _ = replicas()
    a.trouble = error
    with pytest.raises(type(error)):
        await model.complete(request())
    assert (a.asked, b.asked) == (1, 0)
    assert await says(model, 3) == "bbb"


@pytest.mark.parametrize(
    "error", [Rejected("slow down", status=429), RequestRefused("policy", status=400), UnusableResponse("html")]
)
async def test_a_server_that_says_no_to_a_request_is_not_down(error: ModelError) -> None:
    """Too many requests, a verdict, an answer of no use: it goes on being asked."""
    (a, b), model, _ = replicas()
    a.trouble = error
    assert await says(model, 3) == "---"
    a.trouble = None
    assert await says(model) == "a"
    assert (a.asked, b.asked) == (4, 0)


# --- resting --------------------------------------------------------------------------------------------------------


async def rest_of(replica: Replica, model: Balanced, clock: Clock) -> float:
    """Seconds until it is asked again, looked at every half second."""
    asked, since = replica.asked, clock.now
    while replica.asked == asked:
        clock.now += 0.5
        await says(model)
    return clock.now - since


async def test_a_rest_doubles_with_each_failure_up_to_the_longest_and_an_answer_ends_it() -> None:
    """1, 2, 4, 8, 16, 30 and 30 seconds; after an answer a second again."""
    (a, _), model, clock = replicas()
    a.trouble = NotSent("refused")
    assert await says(model) == "b"
    rests = [await rest_of(a, model, clock) for _ in range(7)]
    assert rests == [FIRST_REST, 2, 4, 8, 16, LONGEST_REST, LONGEST_REST]
    a.trouble = None
    assert (await rest_of(a, model, clock), await says(model, 2)) == (LONGEST_REST, "aa")
    a.trouble = NotSent("refused")
    assert await says(model) == "b"
    assert await rest_of(a, model, clock) == FIRST_REST


async def test_calls_that_fail_together_are_one_failure() -> None:
    """Five in flight as a server goes: it rests for a second, and not for the longest there is."""
    door = asyncio.Event()
    broken, whole, clock = Scripted(NotSent("refused"), door), Scripted(), Clock()
    model = Balanced([broken, whole], clock)
    tasks = await at_once(model, 10)
    fell = broken.in_flight
    door.set()
    await asyncio.gather(*tasks)
    asked = len(broken.asked)
    await model.complete(request())
    assert (fell > 1, len(broken.asked)) == (True, asked)
    clock.now += FIRST_REST
    await model.complete(request())
    assert len(broken.asked) == asked + 1


async def test_an_answer_from_before_a_failure_ends_no_rest() -> None:
    """Of two calls in flight as a server goes one is still answered."""
    door = asyncio.Event()
    going = Scripted(lambda request, number: answer("late") if number else MaybeExecuted("lost"), door)
    other, clock = Replica("b"), Clock()
    model = Balanced([going, other.model], clock)
    first, _, third = await at_once(model, 3)
    door.set()
    with pytest.raises(MaybeExecuted):
        await first
    await third
    assert len(going.asked) == 2
    assert await says(model, 3) == "bbb"


async def test_where_all_rest_the_one_whose_rest_ends_first_is_tried() -> None:
    """A call is not held up: what is up again answers at once."""
    (a, b), model, clock = replicas()
    a.trouble = MaybeExecuted("lost")
    assert await says(model) == "-"
    clock.now += FIRST_REST
    assert await says(model) == "-"  # until 2 seconds from now
    clock.now += 0.25
    b.trouble = MaybeExecuted("lost")
    assert await says(model) == "-"  # until 1 second from now
    a.trouble = b.trouble = None
    assert await says(model, 2) == "bb"
    assert (a.asked, b.asked) == (2, 3)


async def test_where_all_rest_each_is_tried_once() -> None:
    """The one that rests for long, too, where the other cannot be reached."""
    (a, b), model, clock = replicas()
    a.trouble = b.trouble = NotSent("refused")
    for _ in range(6):
        assert await says(model) == "-"
        clock.now += 2 * LONGEST_REST
    assert await says(model) == "-"
    a.trouble = None
    assert await says(model) == "a"
    a.trouble, b.trouble = NotSent("refused"), None
    assert await says(model) == "b"  # which would have rested on
    assert (a.asked, b.asked) == (9, 8)


async def test_closing_closes_every_replica() -> None:
    """Each once."""
    all_of_them, model, _ = replicas("abc")
    await model.aclose()
    assert [one.model.closed for one in all_of_them] == [1, 1, 1]
