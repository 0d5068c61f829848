"""The nouns of feedback: an instruction, what several models answered, what a judge said of it, and the pairs it makes.

Each stage adds to the record of the one before: `SourcedInstruction` → `SampledInstruction` → `RatedInstruction` →
`CritiquedInstruction`; of the last two `PreferencePair` is made.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, get_args

from pydantic import Field

from selfinstruct.schema import Lang, Message, Noun, Record

Aspect = Literal["instruction_following", "honesty", "truthfulness", "helpfulness"]
Principle = Literal["helpfulness", "honesty", "truthfulness", "harmlessness", "verbalized_calibration"]
ScoreOf = Literal["mean", "overall"]
Flag = Literal["truncated", "refusal"]

ASPECTS: tuple[Aspect, ...] = get_args(Aspect)
"""The aspects in which answers are rated, in their order (systems §6.4)."""

WITH_TYPES: frozenset[Aspect] = frozenset({"truthfulness", "helpfulness"})
"""Those in which the judge also names types: of hallucination, of what makes a text informative (systems §6.4)."""


class SourcedInstruction(Record):
    """``instructions`` writes it: what several models will be asked.

    ``source`` is the data set it comes from, which decides the principles and what the judge is told of the world;
    ``where`` the file and line, or run and record. ``place`` counts the instructions of the run that were kept, from 0.
    ``history`` is what was said before it, of a dialogue. ``correct_answers`` and ``incorrect_answers`` are for the
    judge alone.
    """

    instruction: str
    lang: Lang
    source: str
    where: str
    place: int = 0
    history: tuple[Message, ...] = ()
    correct_answers: tuple[str, ...] = ()
    incorrect_answers: tuple[str, ...] = ()

    @property
    def texts(self) -> dict[str, str]:
        """What filters look at."""
        return {"instruction": self.instruction}


class Sample(Noun):
    """What one model of a pool answered. ``custom_system_prompt`` is the wording of its principle that it was given.

    ``flags`` mark an answer that was cut at the token limit, and one that only declines: both are kept.
    """

    model: str
    principle: Principle | None
    custom_system_prompt: str
    response: str
    flags: tuple[Flag, ...] = ()


class Replaced(Noun):
    """A model that the design had meant, and why another took its place: the reason of a reject, or ``down``."""

    model: str
    reason: str


class SampledInstruction(SourcedInstruction):
    """``sample`` writes it: the instruction with the answers of several models, in an order that tells nothing."""

    completions: tuple[Sample, ...]
    replaced: tuple[Replaced, ...] = ()


class Annotation(Noun):
    """What the judge said of one text in one aspect. A ``rating`` of None is N/A.

    ``types`` are the kinds of hallucination, or of informativeness, by their numbers; the empty ones say None.
    """

    rating: int | None = Field(ge=1, le=5)
    rationale: str
    types: tuple[int, ...] = ()
    types_rationale: str = ""


class RatedSample(Sample):
    """An answer with its annotations; one that is None is missing, since none of the judge's answers could be read.

    ``second_ratings`` are those of a swap check: the same texts in another order.
    """

    annotations: dict[Aspect, Annotation | None]
    second_ratings: dict[Aspect, int | None] = {}

    @property
    def exact_mean(self) -> Fraction | None:
        """The mean of the ratings there are, N/A and what is missing left out; None without any."""
        ratings = [one.rating for one in self.annotations.values() if one is not None and one.rating is not None]
        return Fraction(sum(ratings), len(ratings)) if ratings else None

    @property
    def mean(self) -> float | None:
        """The same as the nearest number there is."""
        exact = self.exact_mean
        return None if exact is None else float(exact)

    @property
    def lacks_annotation(self) -> bool:
        """Whether one of the aspects has no annotation; N/A is one."""
        return any(self.annotations.get(aspect) is None for aspect in ASPECTS)


class RatedInstruction(SampledInstruction):
    """``rate`` writes it. ``orders`` says for each aspect which completion stood at each slot of the judge's prompt."""

    completions: tuple[RatedSample, ...]
    orders: dict[Aspect, tuple[int, ...]]
    second_orders: dict[Aspect, tuple[int, ...]] = {}


class CritiquedSample(RatedSample):
    """An answer with a critique and an overall score from 1 to 10; None is missing.

    ``disagrees`` says that the score is far from the mean of the ratings, also where it was asked for a second time;
    ``first_score`` is then the one before.
    """

    critique: str | None
    overall_score: float | None = Field(ge=1, le=10)
    first_score: float | None = None
    disagrees: bool = False


class CritiquedInstruction(RatedInstruction):
    """``critique`` writes it: all there is to say of an instruction and the answers to it."""

    completions: tuple[CritiquedSample, ...]


class PairSide(Noun):
    """One of the two answers of a preference pair, and its score. ``flags`` are the answer's: cut off, or declining."""

    model: str
    response: str
    score: float
    flags: tuple[Flag, ...] = ()


class PreferencePair(Record):
    """``binarize`` writes it: of two answers to an instruction the better and the worse one, by ``score``."""

    instruction: str
    lang: Lang
    source: str
    history: tuple[Message, ...] = ()
    score: ScoreOf
    chosen: PairSide
    rejected: PairSide
    margin: float
