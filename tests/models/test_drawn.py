"""`Drawn`: who of a pool answers is a function of the job's place in the run, and of nothing else."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from itertools import pairwise

import pytest

from selfinstruct.models.drawn import Drawn, drawn
from selfinstruct.schema import Draw, Request, Sampling
from tests.models.scripted import Scripted, answer

SEVENTEEN = [f"model-{number:02}" for number in range(17)]
A_THOUSANDTH = 39.3
"""Chi-square with 16 degrees of freedom: even draws exceed it once in a thousand times."""


def job(slot: int, round: int = 0, *, stage: str = "words", step: int = 0, k: int = 0) -> Draw:
    """A call of a job."""
    return Draw(stage=stage, round=round, slot=slot, step=step, k=k)


def asking(draw: Draw) -> Request:
    """A request of that draw."""
    return Request(draw=draw, prompt="p", sampling=Sampling(max_tokens=10))


def spread(counts: Counter[str], expected: float) -> float:
    """Chi-square against even counts."""
    return sum((counts[name] - expected) ** 2 / expected for name in SEVENTEEN)


@pytest.mark.parametrize("seed", [0, 42, 2**40])
def test_seventeen_models_are_drawn_evenly(seed: int) -> None:
    """17 000 jobs in rounds of eight: counts as of fair dice, and no rule from one job to the next."""
    chosen = [drawn(SEVENTEEN, job(n % 8, n // 8), seed) for n in range(17_000)]
    assert spread(Counter(chosen), 1000) < A_THOUSANDTH
    again = sum(one == following for one, following in pairwise(chosen))
    assert abs(again - 1000) < 4 * (1000 * 16 / 17) ** 0.5


def test_every_slot_of_a_round_is_drawn_evenly() -> None:
    """Nobody always gets the first prompt of a round."""
    for slot in range(3):
        counts = Counter(drawn(SEVENTEEN, job(slot, round), 42) for round in range(3400))
        assert spread(counts, 200) < A_THOUSANDTH


def test_all_calls_of_a_job_go_to_one_model() -> None:
    """A dialogue does not change who answers in it, nor who is asked again."""
    for slot in range(20):
        calls = [job(slot, 3, step=step, k=k) for step in range(6) for k in range(3)]
        assert len({drawn(SEVENTEEN, call, 42) for call in calls}) == 1


def test_seed_stage_round_and_slot_each_draw_anew() -> None:
    """Two draws that differ in one of them agree as often as chance has it: 1 in 17 of 1700, give or take."""
    base = [drawn(SEVENTEEN, job(n), 42) for n in range(1700)]
    others = {
        "seed": [drawn(SEVENTEEN, job(n), 43) for n in range(1700)],
        "stage": [drawn(SEVENTEEN, job(n, stage="others"), 42) for n in range(1700)],
        "round": [drawn(SEVENTEEN, job(n, 1), 42) for n in range(1700)],
        "slot": [drawn(SEVENTEEN, job(n + 1), 42) for n in range(1700)],
    }
    for name, other in others.items():
        same = sum(one == two for one, two in zip(base, other, strict=True))
        assert 60 < same < 140, name


def test_a_draw_is_written_down_for_ever() -> None:
    """The first eight bytes of a hash of seed, stage, round and slot: another formula would be other data."""
    number = int.from_bytes(hashlib.sha256(b"42/alpaca/3/5").digest()[:8], "big")
    assert drawn(SEVENTEEN, job(5, 3, stage="alpaca"), 42) == SEVENTEEN[number % 17] == "model-12"


async def test_neither_order_of_calls_nor_of_the_pool_changes_who_answers() -> None:
    """Forwards, backwards, all at once, and with the models named in another order."""

    def named(name: str) -> Scripted:
        return Scripted(lambda request, number: answer(name))

    models = {name: named(name) for name in SEVENTEEN}
    turned = dict(sorted(models.items(), reverse=True))
    forwards, backwards = Drawn(models, 42), Drawn(turned, 42)
    requests = [asking(job(n % 8, n // 8)) for n in range(64)]
    one = [(await forwards.complete(request)).text for request in requests]
    two = [(await backwards.complete(request)).text for request in reversed(requests)]
    three = [said.text for said in await asyncio.gather(*map(forwards.complete, requests))]
    assert one == two[::-1] == three == [drawn(SEVENTEEN, request.draw, 42) for request in requests]
    assert len(set(one)) > 10


async def test_closing_closes_every_model() -> None:
    """Each once."""
    models = {name: Scripted() for name in "ab"}
    await Drawn(models, 42).aclose()
    assert [model.closed for model in models.values()] == [1, 1]
