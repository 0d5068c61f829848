"""What dialogues would come to: every turn sends the history again, so tokens grow with the square of the rounds.

A dialogue of r rounds is r answers and r - 1 turns of the user (systems §17.4). What a call reads is its side's prompt,
the opening, and all turns before; how long those are is guessed, told by the user, or, as soon as a run has answered
`MEASURED` turns, what its ledger says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from selfinstruct.forecast import BYTES_A_TOKEN, Estimate, Use, use_of
from selfinstruct.launch import Plan
from selfinstruct.ledger_reader import LedgerReader, StepUsage
from selfinstruct.money import LIKELY_ANSWER, Price, TokenBound
from selfinstruct.protocols import Job
from selfinstruct.schema import Message, Opener, Provenance, Record, Topic
from selfinstruct.stages.dialogue import Cast, Dialogues, Side, Talk
from selfinstruct.stages.given import Given
from selfinstruct.stages.requests import Requests
from selfinstruct.store_manifest import Manifest
from selfinstruct.token_estimate import estimate

MEASURED = 50
"""Answered turns from which on a run's own lengths are reckoned with."""

_LOOKED_AT = 2000
"""Dialogues whose rounds are drawn to plan them; more come to the same on average."""

_MANY, _CUT = 100, 10
"""So many dialogues tell their mean length to some 5 %; with a turn refused in ten fewer tell more than the draw."""

LIKELY_TURN = 40
"""Tokens of a user's turn: a sentence or two."""

_QUESTION, _INSTRUCTION, _EXPANDED, _SAMPLE = 20, 35, 120, 200
_FRAME = 4  # tokens of a message beside its text

ASSUMPTIONS = (
    "dialogues: every turn reads what was said before it; rounds as they are drawn, or as they came out so far; high:"
    " turns as long as they may be, and each asked again as often as it may be"
)


class Lengths(NamedTuple):
    """Tokens of an opening, an answer, a turn of the user, and of what each side's prompt adds to the history."""

    opening: Fraction
    answer: Fraction
    turn: Fraction
    assistant_prompt: Fraction = Fraction(0)
    user_prompt: Fraction = Fraction(0)

    def said(self, step: int) -> Fraction:
        """What was said before a step, the opening included."""
        return self.opening + (step + 1) // 2 * self.answer + step // 2 * self.turn + _FRAME * (step + 1)


class SoFar(NamedTuple):
    """What a run's ledger says of its dialogues: of all of them by step, and of the ``jobs`` that are through.

    ``cut`` counts the turns that guards refused in those. ``open_calls`` are answered calls of dialogues that are not.
    """

    steps: Sequence[StepUsage] = ()
    through: Sequence[StepUsage] = ()
    jobs: int = 0
    cut: int = 0

    @property
    def open_calls(self) -> int:
        """Answered calls of dialogues that are not through."""
        return sum(step.calls for step in self.steps) - sum(step.calls for step in self.through)


NOTHING = SoFar()
"""A run that has not begun."""


def so_far(rows: LedgerReader, manifest: Manifest | None) -> SoFar:
    """What the ledger says, where the stage's manifest says how far it is."""
    rounds = manifest.rounds if manifest else 0
    jobs = sum(shard.jobs for shard in manifest.shards) if manifest else 0
    cut = sum(sum(shard.rejects.values()) for shard in manifest.shards) if manifest else 0
    return SoFar(rows.usage_by_step("dialogue"), rows.usage_by_step("dialogue", rounds), jobs, cut)


class Sides(NamedTuple):
    """The price of each side's model, where it is known."""

    assistant: Price | None
    user: Price | None


def of_dialogues(plan: Plan, known: SoFar, prices: Sides, dialogues: int = 0) -> tuple[Estimate, str]:
    """What `SCALE` dialogues come to, and where their lengths come from, in words; ``dialogues`` are there in all."""
    stage = _stage(plan)
    measured = _measured(known.steps, stage.rounds[1])
    likely = measured or _guessed(plan, stage)
    told = plan.settings.answer_tokens is not None
    low = likely if measured or told else likely._replace(answer=likely.answer / 4, turn=likely.turn / 4)
    limits = [Fraction(side.sampling.max_tokens) for side in stage.sides]
    high = likely._replace(opening=likely.opening * 2, answer=limits[0], turn=limits[1])
    drawn = _as_they_will_be(plan, stage, known.jobs, dialogues) or list(_steps(stage.rounds))
    seen = _reached(known) or drawn
    uses = [_use(stage, lengths, steps, prices) for lengths, steps in ((low, seen), (likely, seen), (high, drawn))]
    uses[2] = uses[2].scaled(uses[2].calls * (1 + stage.resamples))
    guessed = "low: a quarter of that; --answer-tokens and --turn-tokens tell better"
    why = "as measured in this run" if measured else "as told" if told else guessed
    where = f"answers of {float(likely.answer):.0f} tokens, turns of the user of {float(likely.turn):.0f}: {why}"
    return Estimate(*uses), where


def still(thousand: Estimate, dialogues: Sequence[int], known: SoFar) -> Estimate:
    """What is left to do of so many dialogues, low, likely and high, where `SCALE` of them come to ``thousand``."""
    left = (
        max(0, ceil(use.calls * max(0, many - known.jobs) / SCALE) - known.open_calls)
        for use, many in zip(thousand, dialogues, strict=True)
    )
    return Estimate(*(use.scaled(calls) for use, calls in zip(thousand, left, strict=True)))


SCALE = 1000
"""Of so many dialogues `of_dialogues` speaks: their rounds are drawn, so one alone would be a fraction of a call."""


def first_job(plan: Plan) -> Job:
    """A dialogue of the plan's: with its first opener where that is given, else with one that only says so."""
    first = plan.links[plan.counted].stage
    text = first.texts[0].text if isinstance(first, Given) else "…"
    return _job(plan, text)


def like(kind: type[Record], plan: Plan) -> list[Record]:
    """Records that stand for those that feed a stage: as long as those are, and of no meaning."""
    if kind is Topic:
        topic, subtopic = {"en": ("a meta topic", "one of its parts"), "zh": ("一个领域", "其中一个方面")}[
            plan.recipe.lang
        ]
        return [
            Topic(id="topics-0-0-0", provenance=Provenance(), topic=topic, subtopic=subtopic, lang=plan.recipe.lang)
        ]
    return [_job(plan, "x" * 4 * _INSTRUCTION).material]


def _stage(plan: Plan) -> Dialogues:
    stage = plan.links[-1].stage
    assert isinstance(stage, Dialogues)
    return stage


def _use(stage: Dialogues, lengths: Lengths, steps: Sequence[tuple[int, Fraction]], prices: Sides) -> Use:
    total = Use()
    for step, share in steps:
        side = step % 2
        room = stage.sides[side].context - stage.sides[side].sampling.max_tokens
        beside = (lengths.assistant_prompt, lengths.user_prompt)[side]
        prompt = max(Fraction(0), min(lengths.said(step) + beside, Fraction(room)))
        tokens = TokenBound(ceil(prompt), ceil((lengths.answer, lengths.turn)[side]))
        one = use_of(tokens, prices[side], BYTES_A_TOKEN * tokens.prompt)
        total = total.plus(one.scaled(ceil(SCALE * share)))
    return total


def _steps(rounds: tuple[int, int]) -> Iterator[tuple[int, Fraction]]:
    """Each step a dialogue may have, and the share of dialogues that have it: rounds are drawn evenly."""
    least, most = rounds
    for step in range(2 * most - 1):
        needed = step // 2 + 1 + step % 2  # rounds of the dialogues that come so far
        having = most - max(least, needed) + 1
        yield step, Fraction(having, most - least + 1)


def _as_they_will_be(plan: Plan, stage: Dialogues, done: int, dialogues: int) -> list[tuple[int, Fraction]]:
    """The same of the dialogues to come whose openers are given: their ids are known, and with them their rounds."""
    if not isinstance(plan.links[plan.counted].stage, Given):
        return []
    places = (divmod(place, plan.recipe.round_size) for place in range(done, min(dialogues, done + _LOOKED_AT)))
    opener: Opener = _job(plan).material
    ids = (f"openers-{round}-{slot}-0" for round, slot in places)
    rounds = [stage.cast(opener.model_copy(update={"id": id})).rounds for id in ids]
    steps = range(2 * max(rounds, default=0) - 1)
    return [(step, Fraction(sum(2 * each - 1 > step for each in rounds), len(rounds))) for step in steps]


def _reached(known: SoFar) -> list[tuple[int, Fraction]]:
    """How many calls each step has had for each dialogue that is through; empty where their draw tells better.

    Rounds are drawn, so a few dialogues tell little of how many come next, unless it is guards that end them.
    """
    few = known.jobs < _MANY and _CUT * known.cut < known.jobs
    if few or sum(step.calls for step in known.through) < MEASURED:
        return []
    return [(step.step, Fraction(step.calls, known.jobs)) for step in known.through]


def _measured(steps: Sequence[StepUsage], rounds: int) -> Lengths | None:
    """The lengths that answered calls had; None for too few, or where turns of the user are to come and none came yet.

    What a side's prompt adds is what its calls have read beside turns of the mean length.
    """
    sides = [step for step in steps if step.step % 2 == 0], [step for step in steps if step.step % 2]
    if sum(step.calls for step in steps) < MEASURED or (rounds > 1 and not sides[1]):
        return None
    first = sides[0][0]
    lengths = Lengths(Fraction(first.prompt_tokens, first.calls), _mean(sides[0]), _mean(sides[1]))
    beside = [
        sum((step.prompt_tokens - step.calls * lengths.said(step.step) for step in side), Fraction(0))
        / max(1, sum(step.calls for step in side))
        for side in sides
    ]
    return lengths._replace(assistant_prompt=beside[0], user_prompt=beside[1])


def _mean(steps: Sequence[StepUsage]) -> Fraction:
    return Fraction(sum(step.completion_tokens for step in steps), max(1, sum(step.calls for step in steps)))


def _guessed(plan: Plan, stage: Dialogues) -> Lengths:
    talk, told = plan.recipe.dialogue, plan.settings
    assistant, user = (_prompt(stage, side, plan) for side in stage.sides)
    return Lengths(
        opening=_opening(plan),
        answer=Fraction(told.answer_tokens or min(-(-talk.max_tokens // 2), LIKELY_ANSWER)),
        turn=Fraction(told.turn_tokens or min(-(-talk.user_max_tokens // 2), LIKELY_TURN)),
        assistant_prompt=assistant,
        user_prompt=user,
    )


def _prompt(stage: Dialogues, side: Side, plan: Plan) -> Fraction:
    """What a side's prompt adds to an empty history."""
    said = [Message(role="user", content="")] * (1 if side.role == "assistant" else 2)
    request = stage.request(Talk(_job(plan), Cast(stage.personas[0], stage.rounds[1]), said), said)
    texts = [request.prompt] if request.prompt else [message.content for message in request.messages or ()]
    return Fraction(sum(estimate(text) for text in texts) + _FRAME * (len(texts) - len(said)))


def _job(plan: Plan, text: str = "") -> Job:
    talk = plan.recipe.dialogue
    opener = Opener(
        id="", provenance=Provenance(), instruction=text, lang=plan.recipe.lang, sector=talk.sector, origin="given"
    )
    return Job("dialogue", 0, 0, opener)


def _opening(plan: Plan) -> Fraction:
    """Tokens of a first turn: of those that are there a sample's, of others about what they will be."""
    first = plan.links[plan.counted].stage
    if isinstance(first, Given):
        return _mean_of([text.text for text in first.texts[:: max(1, len(first.texts) // _SAMPLE)]])
    if isinstance(first, Requests):
        places = range(0, len(first.materials), max(1, len(first.materials) // _SAMPLE))
        return _QUESTION + _mean_of([first.materials[place].text for place in places])
    if plan.recipe.openers.entry == "types":
        share = Fraction(str(plan.recipe.expand.share))
        return share * _EXPANDED + (1 - share) * _INSTRUCTION
    return Fraction(_QUESTION)


def _mean_of(texts: Sequence[str]) -> Fraction:
    return Fraction(sum(map(estimate, texts)), max(1, len(texts)))
