"""Preference pairs: of the answers to an instruction which is better than which, by what the judge said of them.

Scores are compared exactly, as fractions: 11/3 is neither 3.67 nor a neighbour of itself. An answer without a score is
in no pair: by the mean that is also one of which an annotation is missing, since a mean over other aspects than its
rivals' would be a guess. An instruction that makes no pair is told, with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from random import Random
from typing import Literal, NamedTuple

from selfinstruct.feedback_schema import CritiquedSample, PairSide, RatedInstruction, RatedSample, ScoreOf

Rejected = Literal["random", "lowest", "all"]


class Pair(NamedTuple):
    """The better answer, the worse one, and how far apart their scores are; more than 0."""

    chosen: PairSide
    rejected: PairSide
    margin: float


class Unpaired(NamedTuple):
    """Answers that made no pair: equal scores (``tie``), or fewer than two answers that have one (``no_score``)."""

    reason: Literal["tie", "no_score"]
    detail: str


class _Scored(NamedTuple):
    sample: RatedSample
    score: Fraction


def pairs_of(
    record: RatedInstruction, score: ScoreOf, rejected: Rejected, seed: int
) -> tuple[list[Pair], list[Unpaired]]:
    """The pairs of a record, and what made none.

    ``random`` and ``lowest`` make at most one: chosen is the answer with the highest score, of equals the first in the
    record's order (which sampling has shuffled); rejected is any one with a lower score, drawn by the run's ``seed``
    and the record's id, or the one with the lowest, of equals the first. ``all`` makes one of every two answers whose
    scores differ, in the record's order: 6 of 4 answers, less the ties (systems §6.8, §17.3).
    """
    scored = [_Scored(one, value) for one in record.completions if (value := score_of(one, score)) is not None]
    if len(scored) < 2:
        return [], [_no_score(record, score, len(scored))]
    if rejected == "all":
        return _every_two(scored)
    best = max(scored, key=_by_score)  # the first of equals, as min
    lower = [one for one in scored if one.score < best.score]
    if not lower:
        return [], [_tie(scored)]
    if rejected == "lowest":
        return [_pair(best, min(lower, key=_by_score))], []
    return [_pair(best, Random(f"{seed}/binarize/{record.id}").choice(lower))], []


def score_of(sample: RatedSample, score: ScoreOf) -> Fraction | None:
    """The mean of an answer's ratings, 1 to 5, or its overall score, 1 to 10; None where there is none.

    N/A is left out of the mean: 5, N/A, 4 and 3 have the mean 4 (systems §17.3). Where an annotation is missing there
    is no mean: that of the others would silently put them in its place.
    """
    if score == "overall":
        overall = sample.overall_score if isinstance(sample, CritiquedSample) else None
        return None if overall is None else Fraction(repr(overall))  # the number as it is written: 8.3 is 83/10
    return None if sample.lacks_annotation else sample.exact_mean


def _every_two(scored: Sequence[_Scored]) -> tuple[list[Pair], list[Unpaired]]:
    pairs: list[Pair] = []
    ties: list[Unpaired] = []
    for one, other in combinations(scored, 2):
        if one.score == other.score:
            ties.append(_tie((one, other)))
        else:
            pairs.append(_pair(one, other) if one.score > other.score else _pair(other, one))
    return pairs, ties


def _pair(better: _Scored, worse: _Scored) -> Pair:
    return Pair(_side(better), _side(worse), float(better.score - worse.score))


def _side(one: _Scored) -> PairSide:
    sample = one.sample
    return PairSide(model=sample.model, response=sample.response, score=float(one.score), flags=sample.flags)


def _no_score(record: RatedInstruction, score: ScoreOf, scored: int) -> Unpaired:
    told = f"answers with a score: {scored} of {len(record.completions)}"
    lacking = sum(one.lacks_annotation for one in record.completions) if score == "mean" else 0
    return Unpaired("no_score", told + (f"; without all annotations: {lacking}" if lacking else ""))


def _tie(equals: Sequence[_Scored]) -> Unpaired:
    return Unpaired("tie", f"{', '.join(one.sample.model for one in equals)}: {float(equals[0].score):g}")


def _by_score(one: _Scored) -> Fraction:
    return one.score
