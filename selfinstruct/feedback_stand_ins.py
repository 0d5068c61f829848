"""Instructions that stand for all a run of feedback has left to do: how long they are, and what is asked about some.

Nobody has answered them yet: to a judge they are shown with empty answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from random import Random
from typing import NamedTuple

from selfinstruct.feedback_schema import ASPECTS, RatedInstruction, RatedSample, SourcedInstruction
from selfinstruct.launch import Plan
from selfinstruct.protocols import Job, Stage
from selfinstruct.schema import Endpoint, Provenance, Request
from selfinstruct.stages.brought import Instructions
from selfinstruct.stages.critique import Critiques
from selfinstruct.stages.rate import Ratings
from selfinstruct.stages.sample import Samples
from selfinstruct.token_estimate import TextSize, size_of

LOOKED_AT, _RENDERED = 1000, 24
"""Instructions whose lengths are looked up, and those that are asked about; more come to the same on average."""

_FRAME = 4  # tokens of a message beside its text


class StandIns(NamedTuple):
    """Some instructions, with empty answers; and what those that are looked up have more of than these, on average.

    ``tokens`` and ``bytes`` are that more, ``size`` the bytes of an instruction with what was said before it.
    """

    asked_about: Sequence[RatedInstruction]
    tokens: Fraction
    bytes: Fraction
    size: Fraction


def stand_ins(plan: Plan, start: int, end: int) -> StandIns:
    """Those for the instructions from one place to before another, evenly spread; at least one."""
    there = len(brought(plan).brought)
    end = min(max(end, 1), there)
    looked_at = [_record(plan, place) for place in _spread(min(start, end - 1), end, LOOKED_AT)]
    some = [looked_at[place] for place in _spread(0, len(looked_at), _RENDERED)]
    (tokens, size), (of_some, size_of_some) = _mean_size(looked_at), _mean_size(some)
    # Designs are even, and some reckon all places up to the one they are asked for.
    asked_about = [_answered(plan, one.model_copy(update={"place": number})) for number, one in enumerate(some)]
    return StandIns(asked_about, tokens - of_some, size - size_of_some, size)


def brought(plan: Plan) -> Instructions:
    """The stage that brings the instructions."""
    stage = plan.links[plan.counted].stage
    assert isinstance(stage, Instructions)
    return stage


def first_request(plan: Plan) -> tuple[str, Request]:
    """The role of the first model that is asked, and what it is asked about the first instruction."""
    stage, record = _samples(plan), _record(plan, 0)
    return f"assistant/{stage.asked(record)[0]}", stage.prompt(Job(stage.name, 0, 0, record))


def requests(plan: Plan, stage: Stage, record: RatedInstruction) -> list[tuple[Endpoint, Request]]:
    """Who is asked what in the first calls of a stage about an instruction; one critique stands for all."""
    job = Job(stage.name, 0, 0, record)
    if isinstance(stage, Samples):
        seats = enumerate(stage.asked(record))
        return [(plan.answering[f"assistant/{name}"].endpoint, stage.prompt(job, seat)) for seat, name in seats]
    judge = plan.answering["judge"].endpoint
    if isinstance(stage, Ratings):
        return [(judge, stage.prompt(job, turn)) for turn in stage.turns(record)[: len(ASPECTS)]]
    assert isinstance(stage, Critiques)
    return [(judge, stage.prompt(job))]


def _samples(plan: Plan) -> Samples:
    return next(link.stage for link in plan.links if isinstance(link.stage, Samples))


def _spread(start: int, end: int, many: int) -> list[int]:
    """So many places from ``start`` to before ``end``, evenly; all of them where there are no more."""
    count = min(many, end - start)
    return [start + number * (end - start) // count for number in range(count)]


def _record(plan: Plan, place: int) -> SourcedInstruction:
    """An instruction as it will be, if none before it is dropped."""
    asked, (round, slot) = brought(plan).brought[place], divmod(place, plan.recipe.round_size)
    return SourcedInstruction(
        id=f"instructions-{round}-{slot}-0",
        provenance=Provenance(),
        instruction=asked.instruction,
        lang=plan.recipe.lang,
        source=asked.source,
        where=asked.where,
        place=place,
        history=asked.history,
        correct_answers=asked.correct_answers,
        incorrect_answers=asked.incorrect_answers,
    )


def _answered(plan: Plan, record: SourcedInstruction) -> RatedInstruction:
    """An instruction with empty answers by its models, as every stage can read it."""
    stage, samples = _samples(plan), []
    for seat, name in enumerate(stage.asked(record)):
        told = stage.wording(record.source, Random(f"{record.id}/{seat}"))
        sample = {"model": name, "principle": told.principle, "custom_system_prompt": told.text}
        samples.append(RatedSample.model_validate({**sample, "response": "", "annotations": {}}))
    known = {name: getattr(record, name) for name in SourcedInstruction.model_fields}
    return RatedInstruction(**known, completions=tuple(samples), orders={})


def _mean_size(records: Sequence[SourcedInstruction]) -> tuple[Fraction, Fraction]:
    """Tokens and bytes of an instruction with what was said before it, on average."""
    tokens = written = 0
    for record in records:
        texts = [record.instruction, *(message.content for message in record.history)]
        size = reduce(TextSize.plus, map(size_of, texts))
        tokens, written = tokens + size.tokens + _FRAME * len(record.history), written + size.bytes
    return Fraction(tokens, len(records)), Fraction(written, len(records))
