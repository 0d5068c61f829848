"""Trying again: what is tried again, how often, and after how long."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    MaybeExecuted,
    ModelError,
    NotSent,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnusableResponse,
)
from selfinstruct.models.retrying import Retrying
from selfinstruct.schema import Completion, Draw, Request

REQUEST = Request(draw=Draw(stage="s", round=0, slot=0), prompt="p")


class Failing:
    """Raises the errors in turn, then answers."""

    def __init__(self, errors: Sequence[SelfinstructError]) -> None:
        self._errors = list(errors)
        self.asked = 0
        self.closed = 0

    async def complete(self, request: Request) -> Completion:
        """The next error, or "done"."""
        self.asked += 1
        if self._errors:
            raise self._errors.pop(0)
        return Completion(text="done")

    async def aclose(self) -> None:
        """Count."""
        self.closed += 1


class Naps:
    """A clock that only writes down how long it was asked to sleep."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Write it down."""
        self.seconds.append(seconds)


class Highest(random.Random):
    """Jitter that always takes the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        """The upper end."""
        return b


async def attempt(errors: Sequence[SelfinstructError], **options: int) -> tuple[Failing, list[float]]:
    """Ask once, through `Retrying`; the model asked and the naps taken."""
    model, naps = Failing(errors), Naps()
    retrying = Retrying(model, sleep=naps, rng=Highest(), **options)
    assert (await retrying.complete(REQUEST)).text == "done"
    return model, naps.seconds


async def test_what_surely_cost_nothing_is_tried_five_times() -> None:
    """Not sent and rejected share one budget; the wait doubles each time."""
    model, naps = await attempt([NotSent("a"), Rejected("b"), NotSent("c"), Rejected("d")])
    assert model.asked == 5
    assert naps == [0.5, 1.0, 2.0, 4.0]


async def test_the_wait_stops_growing_at_eight_seconds() -> None:
    """An outage is waited out by running again, not by ever longer sleeps."""
    _, naps = await attempt([NotSent("a")] * 7, attempts=8)
    assert naps == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


@pytest.mark.parametrize("errors", [[MaybeExecuted("a")], [UnusableResponse("a")]])
async def test_what_may_have_cost_is_tried_once_more(errors: list[ModelError]) -> None:
    """An answer lost or unusable may have been billed."""
    model, naps = await attempt(errors)
    assert (model.asked, naps) == (2, [0.5])


async def test_the_two_budgets_do_not_eat_each_other() -> None:
    """A server restart in front of one lost answer is no reason to give up."""
    model, _ = await attempt([NotSent("a"), NotSent("b"), MaybeExecuted("c"), NotSent("d"), NotSent("e")])
    assert model.asked == 6


@pytest.mark.parametrize(
    ("errors", "message", "asked"),
    [
        ([Rejected("busy", status=429)] * 9, "busy (5 attempts)", 5),
        ([MaybeExecuted("lost")] * 9, "lost (2 attempts)", 2),
        ([UnusableResponse("odd", status=200), MaybeExecuted("lost")], "lost (2 attempts)", 2),
        ([Rejected("busy", status=429), MaybeExecuted("a"), MaybeExecuted("b")], "b (3 attempts)", 3),
        ([MaybeExecuted("oops", status=500)] * 9, "oops (5 attempts)", 5),
    ],
)
async def test_the_last_error_comes_out_with_the_number_of_attempts(
    errors: list[ModelError], message: str, asked: int
) -> None:
    """Its kind and status are kept: they decide how the run ends."""
    model = Failing(errors)
    with pytest.raises(ModelError) as raised:
        await Retrying(model, sleep=Naps()).complete(REQUEST)
    last = errors[-1]
    assert (str(raised.value), type(raised.value), raised.value.status) == (message, type(last), last.status)
    assert model.asked == asked


@pytest.mark.parametrize("error", [RequestRefused("no"), AccessDenied("no key"), ConfigProblem("no such thing")])
async def test_what_trying_again_cannot_mend_passes_at_once(error: SelfinstructError) -> None:
    """The very same object, after one attempt and without a nap."""
    model, naps = Failing([error]), Naps()
    with pytest.raises(SelfinstructError) as raised:
        await Retrying(model, sleep=naps).complete(REQUEST)
    assert raised.value is error
    assert (model.asked, naps.seconds) == (1, [])


async def test_the_servers_wish_is_a_lower_bound() -> None:
    """Jitter comes on top, so that those who were sent away together do not return together."""
    _, naps = await attempt([Rejected("a", retry_after=3.0), Rejected("b", retry_after=60.0)])
    assert naps == [3.5, 61.0]


async def test_a_wish_of_more_than_a_minute_ends_it_at_once() -> None:
    """Nobody is served by a run that sleeps for an hour; the message says how long to stay away."""
    naps = Naps()
    with pytest.raises(Rejected, match=r"busy \(1 attempt, the server asks to wait 61 s\)"):
        await Retrying(Failing([Rejected("busy", retry_after=61.0)]), sleep=naps).complete(REQUEST)
    assert naps.seconds == []


async def test_the_jitter_spreads_over_half_the_wait() -> None:
    """From half of the doubled wait to all of it: with less, five attempts could be over in no time."""
    naps = Naps()
    for seed in range(200):
        await Retrying(Failing([NotSent("a")]), sleep=naps, rng=random.Random(seed)).complete(REQUEST)
    assert 0.25 <= min(naps.seconds) < 0.27
    assert 0.48 < max(naps.seconds) <= 0.5


async def test_closing_closes_the_model_inside() -> None:
    """Wrappers hold nothing of their own."""
    model = Failing([])
    await Retrying(model).aclose()
    assert model.closed == 1
