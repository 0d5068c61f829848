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
    Withdrawn,
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


async def attempt(errors: Sequence[SelfinstructError], *, down: bool = False) -> tuple[Failing, list[float]]:
    """Ask once, through `Retrying`; the model asked and the naps taken."""
    model, naps = Failing(errors), Naps()
    retrying = Retrying(model, naps, lambda: down, rng=Highest())
    assert (await retrying.complete(REQUEST)).text == "done"
    return model, naps.seconds


async def gives_up(errors: Sequence[SelfinstructError], *, down: bool = False) -> tuple[ModelError, int, list[float]]:
    """Ask once, in vain; the error that comes out, how often the model was asked, the naps taken."""
    model, naps = Failing(errors), Naps()
    with pytest.raises(ModelError) as raised:
        await Retrying(model, naps, lambda: down, rng=Highest()).complete(REQUEST)
    return raised.value, model.asked, naps.seconds


# --- what is tried again, and how often ---------------------------------------------------------------------------

NOT_SENT = NotSent("no route")
SLOW_DOWN = Rejected("slow down", status=429)
OVERLOADED = Rejected("overloaded", status=503)
SERVER_ERROR = MaybeExecuted("oops", status=500)
LOST = MaybeExecuted("lost")
UNUSABLE = UnusableResponse("odd", status=200)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(NOT_SENT, 5), (SLOW_DOWN, 20), (OVERLOADED, 5), (SERVER_ERROR, 5), (LOST, 2), (UNUSABLE, 2)],
)
async def test_each_way_to_fail_has_its_own_number_of_attempts(error: ModelError, attempts: int) -> None:
    """Free ones many, rarely billed ones some, what was probably billed one more; then the last error comes out.

    Its kind, status and wish are kept: they decide how the run ends.
    """
    model, _ = await attempt([error] * (attempts - 1))
    assert model.asked == attempts
    last, asked, _ = await gives_up([error] * 99)
    assert (str(last), type(last), last.status) == (f"{error} ({attempts} attempts)", type(error), error.status)
    assert asked == attempts


async def test_the_budgets_do_not_eat_each_other() -> None:
    """A server restart and a rate limit in front of one lost answer are no reason to give up."""
    free = [*[NOT_SENT] * 4, *[SLOW_DOWN] * 19, *[OVERLOADED] * 2, *[SERVER_ERROR] * 2]
    model, _ = await attempt([*free, LOST, UNUSABLE])
    assert model.asked == len(free) + 3
    last, asked, _ = await gives_up([*free, LOST, UNUSABLE, MaybeExecuted("lost again")])
    assert (str(last), asked) == (f"lost again ({len(free) + 3} attempts)", len(free) + 3)


async def test_the_budgets_are_not_used_up_while_the_provider_is_down() -> None:
    """The whole run waits and probes; the call that happens to be the probe must not fail for it."""
    outage = [LOST, UNUSABLE, LOST, UNUSABLE]  # twice what either budget bears
    model, naps = await attempt(outage, down=True)
    assert (model.asked, len(naps)) == (len(outage) + 1, len(outage))


@pytest.mark.parametrize("error", [NOT_SENT, OVERLOADED, SERVER_ERROR, LOST])
async def test_a_call_that_fails_every_probe_is_to_blame_itself(error: ModelError) -> None:
    """Else one poisoned request at the end would look like an outage for ever."""
    last, asked, _ = await gives_up([error] * 99, down=True)
    assert (type(last), str(last), asked) == (type(error), f"{error} (5 attempts)", 5)


async def test_no_verdict_is_given_during_an_outage() -> None:
    """A login page with 200 may stand before everything: the call stays open for the next start."""
    last, asked, _ = await gives_up([UNUSABLE] * 99, down=True)
    assert (type(last), asked) == (MaybeExecuted, 5)


async def test_a_rate_limit_is_counted_even_then() -> None:
    """Whoever refuses for our pace is there."""
    last, asked, _ = await gives_up([SLOW_DOWN] * 99, down=True)
    assert (str(last), asked) == ("slow down (20 attempts)", 20)


async def test_what_failed_before_the_outage_still_counts_after_it() -> None:
    """Down for a while in between: the one attempt before and the one after are the two there are."""
    model, down = Failing([LOST] * 9), [False, True, True, True, False]
    with pytest.raises(MaybeExecuted, match=r"lost \(5 attempts\)"):
        await Retrying(model, Naps(), lambda: down.pop(0)).complete(REQUEST)
    assert model.asked == 5


@pytest.mark.parametrize("error", [RequestRefused("no"), AccessDenied("no key"), ConfigProblem("no such thing")])
async def test_what_trying_again_cannot_mend_passes_at_once(error: SelfinstructError) -> None:
    """The very same object, after one attempt and without a nap."""
    model, naps = Failing([error]), Naps()
    with pytest.raises(SelfinstructError) as raised:
        await Retrying(model, naps).complete(REQUEST)
    assert raised.value is error
    assert (model.asked, naps.seconds) == (1, [])


# --- how long it waits ----------------------------------------------------------------------------------------------


async def test_the_wait_doubles_and_stops_growing_at_eight_seconds() -> None:
    """An outage is waited out by the whole run together, not by ever longer sleeps of each call."""
    _, naps = await attempt([NOT_SENT] * 4 + [SERVER_ERROR] * 4)
    assert naps == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]


@pytest.mark.parametrize("error", [SLOW_DOWN, Rejected("slow", status=409), Rejected("slow", status=425)])
async def test_whom_the_server_slows_down_waits_for_a_turn_and_not_twice(error: ModelError) -> None:
    """Limits and fences hold everybody back alike, with or without a wish of the server's."""
    _, naps = await attempt([error, Rejected("wait", status=429, retry_after=60.0)])
    assert naps == []


@pytest.mark.parametrize("status", [503, 529])
async def test_an_overloaded_server_is_given_a_moment(status: int) -> None:
    """No limit of ours is at fault, so nothing else would slow the next attempts down: all could be over in no time."""
    _, naps = await attempt([Rejected("busy", status=status)] * 4)
    assert naps == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("kind", [Rejected, MaybeExecuted, UnusableResponse, NotSent])
async def test_a_wish_of_more_than_a_quarter_of_an_hour_ends_it_at_once(kind: type[ModelError]) -> None:
    """Nobody is served by a run that sleeps for an hour; the message says how long to stay away.

    It comes out as a plain "no completion": with such a wish, bytes that are none are no verdict on the call.
    """
    last, asked, naps = await gives_up([kind("busy", status=429, retry_after=901.0)])
    assert str(last) == "busy (1 attempt, the server asks to wait 901 s)"
    assert (type(last), last.retry_after, asked, naps) == (ModelError, 901.0, 1, [])


async def test_a_wish_of_a_quarter_of_an_hour_is_granted() -> None:
    """By waiting for a turn behind the fence that it set."""
    model, naps = await attempt([Rejected("busy", status=429, retry_after=900.0)])
    assert (model.asked, naps) == (2, [])


async def test_a_nap_can_be_the_end() -> None:
    """The run is over while the call sleeps: what woke it comes out, and nothing is asked again."""

    async def withdrawn(seconds: float) -> None:
        raise Withdrawn("the run is stopping")

    model = Failing([NOT_SENT] * 3)
    with pytest.raises(Withdrawn):
        await Retrying(model, withdrawn).complete(REQUEST)
    assert model.asked == 1


async def test_the_jitter_spreads_over_half_the_wait() -> None:
    """From half of the doubled wait to all of it: with less, five attempts could be over in no time."""
    naps = Naps()
    for seed in range(200):
        await Retrying(Failing([NOT_SENT]), naps, rng=random.Random(seed)).complete(REQUEST)
    assert 0.25 <= min(naps.seconds) < 0.27
    assert 0.48 < max(naps.seconds) <= 0.5


async def test_closing_closes_the_model_inside() -> None:
    """Wrappers hold nothing of their own."""
    model = Failing([])
    await Retrying(model, Naps()).aclose()
    assert model.closed == 1
