"""What a run still has to do: the records that are wanted, and the calls of each stage, at three guesses."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from selfinstruct.forecast import Forecast
from selfinstruct.launch import Plan, has_no_more
from selfinstruct.links import Link
from selfinstruct.store_manifest import Manifest, read_manifest

Manifests = Sequence[Manifest | None]
"""Those of a plan's stages, in their order; None for a stage that has not begun."""


class _Guess(NamedTuple):
    """How a run may go. ``kept`` of the candidates are accepted; ``surplus`` of a whole round comes on top in the last
    one; ``ahead`` of the rounds the lag allows are asked in vain; ``again`` of the allowed repeats of a verdict happen.
    """

    kept: Fraction
    surplus: Fraction
    ahead: int
    again: Fraction


_GUESSES = (
    _Guess(Fraction(1), Fraction(0), 0, Fraction(0)),
    _Guess(Fraction(1, 2), Fraction(1, 4), 0, Fraction(1, 40)),
    _Guess(Fraction(1, 5), Fraction(1), 1, Fraction(1)),
)
GUESSED = (
    "low: every candidate is kept; likely: half, and one verdict in twenty asked again; high: one in five, every"
    " verdict asked as often as it may be, and the last round whole"
)


def manifests_of(plan: Plan) -> Manifests:
    """How far each stage is."""
    return [read_manifest(plan.path / link.stage.name) for link in plan.links]


def records(plan: Plan, manifests: Manifests, target: int) -> int:
    """How many more records of the counted stage are asked for, or can be had."""
    counted = manifests[plan.counted]
    there_can_be = target if plan.most is None else min(target, plan.most)
    return max(0, there_can_be - (counted.accepted if counted else 0))


def finished(plan: Plan, manifests: Manifests, target: int) -> bool:
    """Is everything on disk that was asked for, or nothing more to be had? Then the next start sends nothing."""
    there = [manifest for manifest in manifests if manifest is not None and manifest.state != "running"]
    if len(there) < len(manifests) or len({manifest.rounds for manifest in there[plan.counted :]}) > 1:
        return False
    counted = there[plan.counted]
    return counted.accepted >= target or counted.state == "exhausted" or has_no_more(plan.links[plan.counted], counted)


def calls(plan: Plan, manifests: Manifests, forecast: Forecast) -> dict[str, tuple[int, ...]]:
    """Calls still to make, by stage, at each of the guesses: those of the whole run, less those recorded.

    Of the stage `dialogue`, where one job is many calls, it is the number of dialogues of the whole run.
    """
    recipe, head = plan.recipe, plan.links[plan.counted]
    first = manifests[plan.counted]
    given = not head.stage.roles
    whole_round = recipe.round_size * head.asks_for
    asked = sum(shard.jobs for shard in first.shards) if first else 0
    accepted = first.accepted if first else 0
    under_way = forecast.wanted > 0  # else only later stages have something left to do
    found: dict[str, tuple[int, ...]] = {}
    for position, link in enumerate(plan.links):
        name, each = link.stage.name, []
        for guess in _GUESSES:
            kept, surplus = (Fraction(1), Fraction(0)) if given else (guess.kept, guess.surplus)
            rounds = ceil(forecast.wanted / (whole_round * kept)) + under_way * guess.ahead * recipe.lag
            final = accepted + forecast.wanted + under_way * ceil(whole_round * surplus)
            again = recipe.classify.resamples * guess.again if name == "classify" else 0
            if position < plan.counted:
                whole = _jobs_of_all(link)
            elif position == plan.counted:
                whole = 0 if given else asked + rounds * recipe.round_size
            else:
                whole = ceil(final * (recipe.expand.share if name == "expand" else 1 + again))
            each.append(whole if name == "dialogue" else max(0, whole - forecast.recorded.get(name, 0)))
        found[name] = tuple(each)
    return found


def _jobs_of_all(link: Link) -> int:
    """How many jobs a stage has that ends by itself."""
    jobs = count = 0
    while found := len(link.stage.plan(count, (), ())):
        jobs, count = jobs + found, count + 1
    return jobs
