"""What there is to know of annotated answers before anyone trains on them, counted record by record.

All sums are of integers, so the numbers are the same in whatever order the records come; none of them needs a record
again, so memory grows with models and aspects and not with records.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from selfinstruct import audit_lines, judge_baiting
from selfinstruct.audit_sums import Correlation, Slot, Within, mean_of
from selfinstruct.feedback_schema import (
    ASPECTS,
    Annotation,
    Aspect,
    CritiquedInstruction,
    CritiquedSample,
    RatedInstruction,
    RatedSample,
)
from selfinstruct.sources import for_evaluation

SHOWN: Final = 20
"""Completions that speak to the judge that are named: enough to see what they do. Ours."""

_RATINGS: Final = range(1, 6)
_MICRO: Final = 10**6  # logarithms and overall scores are whole millionths
_TWELFTHS: Final = math.lcm(*range(1, len(ASPECTS) + 1))  # what the mean of up to four ratings is a whole number of
_MOST_SOURCES: Final = 100  # that are told apart; a file may name another in every line
_OTHER: Final = "(others)"


class Audit:
    """Counts rated or critiqued instructions of one run; `row` is the outcome, `warnings` what speaks against it."""

    def __init__(self) -> None:
        self._instructions = 0
        self._sources: Counter[str] = Counter()
        self._models: dict[str, _Answers] = {}
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._length, self._length_within = Correlation(), Within()
        self._positions: dict[Aspect, dict[int, Slot]] = {aspect: {} for aspect in ASPECTS}
        self._swaps: dict[Aspect, Counter[tuple[int, int]]] = {aspect: Counter() for aspect in ASPECTS}
        self._overall = _Overall()
        self._by_mean, self._by_overall = _Comparisons(), _Comparisons()
        self._baits: list[dict[str, str]] = []

    def add(self, record: RatedInstruction | CritiquedInstruction) -> None:
        """Count one record."""
        self._instructions += 1
        known = record.source in self._sources or len(self._sources) < _MOST_SOURCES
        self._sources[record.source if known or for_evaluation(record.source) else _OTHER] += 1
        for replaced in record.replaced:
            self._of(replaced.model).replaced[replaced.reason] += 1
        for sample in record.completions:
            self._add_sample(record.id, sample)
        names = sorted({sample.model for sample in record.completions})
        self._pairs.update(combinations(names, 2))
        self._add_positions(record)
        means = [_mean(sample) for sample in record.completions]
        # As in pairing: by a mean over fewer aspects than its rivals' an answer is not compared.
        lacking = [sample.lacks_annotation for sample in record.completions]
        self._by_mean.add([None if lacks else mean for lacks, mean in zip(lacking, means, strict=True)])
        lengths = [_log_length(sample.response) for sample in record.completions]
        points = [(length, mean) for length, mean in zip(lengths, means, strict=True) if mean is not None]
        for point in points:
            self._length.add(*point)
        self._length_within.add(points)
        if isinstance(record, CritiquedInstruction):
            self._by_overall.add([_score(sample) for sample in record.completions])

    def _of(self, model: str) -> _Answers:
        return self._models.setdefault(model, _Answers())

    def _add_sample(self, record: str, sample: RatedSample) -> None:
        answers = self._of(sample.model)
        answers.add(sample)
        for aspect, second in sample.second_ratings.items():
            first = sample.annotations.get(aspect)
            if second is not None and first is not None and first.rating is not None:
                self._swaps[aspect][first.rating, second] += 1
        if isinstance(sample, CritiquedSample):
            self._overall.add(sample)
        if excerpt := judge_baiting.first(sample.response):
            answers.baits += 1
            if len(self._baits) < SHOWN:
                self._baits.append({"id": record, "model": sample.model, "excerpt": excerpt})

    def _add_positions(self, record: RatedInstruction) -> None:
        for aspect in ASPECTS:
            ratings: dict[int, int] = {}  # by slot; a slot whose text has none tells nothing
            for slot, index in enumerate(record.orders.get(aspect, ())):
                annotation = record.completions[index].annotations.get(aspect)
                if annotation is not None and annotation.rating is not None:
                    ratings[slot] = annotation.rating
            for slot, rating in ratings.items():
                self._positions[aspect].setdefault(slot, Slot()).add(rating, tuple(ratings.values()))

    # --- what came of it --------------------------------------------------------------------------------------------

    def warnings(self) -> list[str]:
        """A line for each thing that should stop someone from training on these records; none is good news."""
        return audit_lines.warnings(self.row())

    def row(self) -> dict[str, Any]:
        """All of it as JSON values, floats rounded to four digits; what cannot be told is None."""
        completions = sum(model.completions for model in self._models.values())
        return {
            "instructions": self._instructions,
            "completions": completions,
            "sources": dict(sorted(self._sources.items())),
            "models": {name: model.row() for name, model in sorted(self._models.items())},
            "aspects": {
                aspect: sum((model.ratings[aspect] for model in self._models.values()), _Ratings()).row()
                for aspect in ASPECTS
            },
            "overall": self._overall.row(),
            "length": {
                "completions": self._length.n,
                "correlation": self._length.r,
                "within_instructions": self._length_within.r,
            },
            "positions": {
                aspect: [{"slot": slot + 1, **of.row()} for slot, of in sorted(slots.items())]
                for aspect, slots in self._positions.items()
            },
            "swap": _agreement(self._swaps),
            "comparisons": {"mean": self._by_mean.row(), "overall": self._by_overall.row()},
            "pairs": self._pair_row(),
            "judge_baiting": {
                "completions": sum(model.baits for model in self._models.values()),
                "first": list(self._baits),
            },
        }

    def _pair_row(self) -> dict[str, Any]:
        """How often models met; each of them that was asked or meant to be should meet each other alike."""
        possible = math.comb(len(self._models), 2)
        counts = [self._pairs[pair] for pair in combinations(sorted(self._models), 2)]
        return {
            "models": len(self._models),
            "possible": possible,
            "never_met": counts.count(0),
            "expected": mean_of(sum(counts), possible),
            "min": min(counts, default=None),
            "max": max(counts, default=None),
            "spread": max(counts) - min(counts) if counts else None,
        }


class _Ratings:
    """How often each rating was given, and how often none was."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_RATINGS, 0)
        self.na = self.missing = 0

    def add(self, annotation: Annotation | None) -> None:
        if annotation is None:
            self.missing += 1
        elif annotation.rating is None:
            self.na += 1
        else:
            self.counts[annotation.rating] += 1

    def __add__(self, other: _Ratings) -> _Ratings:
        both = _Ratings()
        both.counts = {rating: self.counts[rating] + other.counts[rating] for rating in _RATINGS}
        both.na, both.missing = self.na + other.na, self.missing + other.missing
        return both

    def row(self) -> dict[str, Any]:
        rated = sum(self.counts.values())
        every = rated + self.na + self.missing
        return {
            "mean": mean_of(sum(rating * count for rating, count in self.counts.items()), rated),
            "ratings": {str(rating): count for rating, count in self.counts.items()},
            "na": self.na,
            "missing": self.missing,
            "na_share": mean_of(self.na, every),
            "missing_share": mean_of(self.missing, every),
        }


class _Answers:
    """One model's answers."""

    def __init__(self) -> None:
        self.completions = self.baits = 0
        self.ratings = {aspect: _Ratings() for aspect in ASPECTS}
        self.replaced: Counter[str] = Counter()
        self._flags: Counter[str] = Counter()
        self._means = self._with_mean = self._scores = self._with_score = 0

    def add(self, sample: RatedSample) -> None:
        self.completions += 1
        self._flags.update(sample.flags)
        for aspect, ratings in self.ratings.items():
            ratings.add(sample.annotations.get(aspect))
        if (mean := _mean(sample)) is not None:
            self._means += mean
            self._with_mean += 1
        if (score := _score(sample)) is not None:
            self._scores += score
            self._with_score += 1

    def row(self) -> dict[str, Any]:
        return {
            "completions": self.completions,
            "mean": mean_of(self._means, self._with_mean * _TWELFTHS),
            "overall_score": mean_of(self._scores, self._with_score * _MICRO),
            "aspects": {aspect: ratings.row() for aspect, ratings in self.ratings.items()},
            "refusals": self._flags["refusal"],
            "truncations": self._flags["truncated"],
            "replaced": dict(sorted(self.replaced.items())),
            "judge_baiting": self.baits,
        }


class _Overall:
    """Overall scores against twice the mean of the ratings, whose scale is half as long."""

    def __init__(self) -> None:
        self._asked = self._missing = self._disagree = self._reasked = self._scores = self._off = 0
        self._with_mean = Correlation()

    def add(self, sample: CritiquedSample) -> None:
        self._asked += 1
        self._disagree += sample.disagrees
        self._reasked += sample.first_score is not None
        score, mean = _score(sample), _mean(sample)
        if score is None:
            self._missing += 1
            return
        self._scores += score
        if mean is not None:
            self._with_mean.add(score, mean)
            self._off += score * _TWELFTHS - 2 * mean * _MICRO

    def row(self) -> dict[str, Any] | None:
        if not self._asked:
            return None
        return {
            "completions": self._asked,
            "missing": self._missing,
            "missing_share": mean_of(self._missing, self._asked),
            "mean": mean_of(self._scores, (self._asked - self._missing) * _MICRO),
            "compared": self._with_mean.n,
            "correlation": self._with_mean.r,
            "difference": mean_of(self._off, self._with_mean.n * _TWELFTHS * _MICRO),
            "disagree": self._disagree,
            "reasked": self._reasked,
        }


class _Comparisons:
    """How many pairs of answers a score tells apart."""

    def __init__(self) -> None:
        self._asked = self._theoretical = self._made = self._ties = self._scored = self._all_tied = 0

    def add(self, scores: Sequence[int | None]) -> None:
        known = [score for score in scores if score is not None]
        counts = Counter(known)
        ties = sum(math.comb(count, 2) for count in counts.values())
        self._asked += 1
        self._theoretical += math.comb(len(scores), 2)
        self._ties += ties
        self._made += math.comb(len(known), 2) - ties
        self._scored += len(known) > 1
        self._all_tied += len(known) > 1 and len(counts) == 1

    def row(self) -> dict[str, Any] | None:
        if not self._asked:
            return None
        return {
            "theoretical": self._theoretical,
            "made": self._made,
            "ties": self._ties,
            "missing": self._theoretical - self._made - self._ties,
            "tie_share": mean_of(self._ties, self._made + self._ties),
            "all_tied": self._all_tied,
            "all_tied_share": mean_of(self._all_tied, self._scored),
        }


def _agreement(swaps: Mapping[Aspect, Counter[tuple[int, int]]]) -> dict[str, Any]:
    """What a judge said of the same texts in another order: over all aspects, then of each."""
    every: Counter[tuple[int, int]] = Counter()
    for counts in swaps.values():
        every += counts
    return {**_agreement_of(every), "aspects": {aspect: _agreement_of(counts) for aspect, counts in swaps.items()}}


def _agreement_of(counts: Counter[tuple[int, int]]) -> dict[str, Any]:
    both, n = Correlation(), sum(counts.values())
    for (first, second), times in counts.items():
        both.add(first, second, times)
    return {
        "ratings": n,
        "exact": mean_of(sum(times for (a, b), times in counts.items() if a == b), n),
        "within_one": mean_of(sum(times for (a, b), times in counts.items() if abs(a - b) <= 1), n),
        "difference": mean_of(sum((b - a) * times for (a, b), times in counts.items()), n),
        "correlation": both.r,
    }


def _mean(sample: RatedSample) -> int | None:
    """The mean of a sample's ratings, in twelfths, which it is a whole number of."""
    mean = sample.exact_mean
    return None if mean is None else int(mean * _TWELFTHS)


def _score(sample: RatedSample) -> int | None:
    """The overall score, in millionths."""
    score = sample.overall_score if isinstance(sample, CritiquedSample) else None
    return None if score is None else round(score * _MICRO)


def _log_length(text: str) -> int:
    """The natural logarithm of the length in characters, in millionths; an empty text counts as one character."""
    return round(math.log(max(1, len(text))) * _MICRO)
