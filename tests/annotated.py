"""Annotated answers, as tests of what comes after the judge build them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from selfinstruct.feedback_schema import (
    ASPECTS,
    Annotation,
    Aspect,
    CritiquedInstruction,
    CritiquedSample,
    RatedInstruction,
    RatedSample,
)
from selfinstruct.schema import Provenance

MODELS = ("owl-7b", "heron-13b", "山雀-7b", "crane-70b", "wren-1b", "stork-30b")
WORDS = ("tide tables list the hours of high water", "潮汐表列出每天高潮的时刻", "ebb", "涨潮之后是退潮")

NA = "N/A"
Rating = int | str | None
"""A rating from 1 to 5, `NA`, or None for an annotation that is missing."""


def sample(model: str, ratings: Sequence[Rating] | Rating, response: str = "", **more: Any) -> RatedSample:
    """An answer with a rating in each aspect, or the same in all; critiqued where an ``overall_score`` is given."""
    each = ratings if isinstance(ratings, (list, tuple)) else [ratings] * len(ASPECTS)
    annotations: dict[Aspect, Annotation | None] = {
        aspect: None if rating is None else Annotation(rating=rating if isinstance(rating, int) else None, rationale="")
        for aspect, rating in zip(ASPECTS, each, strict=True)
    }
    fields = {"principle": "helpfulness", "custom_system_prompt": "", "response": response or WORDS[0], **more}
    if "overall_score" in more:
        return CritiquedSample(model=model, annotations=annotations, critique="Name the port.", **fields)
    return RatedSample(model=model, annotations=annotations, **fields)


def record(number: int, completions: Sequence[RatedSample], **more: Any) -> RatedInstruction:
    """An instruction with its answers, which stood before the judge as they stand here unless ``orders`` are given."""
    kind = CritiquedInstruction if isinstance(completions[0], CritiquedSample) else RatedInstruction
    fields: Mapping[str, Any] = {
        "provenance": Provenance(),
        "instruction": f"When is high water on day {number}?",
        "lang": "en",
        "source": "sharegpt",
        "where": f"tides.jsonl:{number}",
        "place": number,
        "orders": dict.fromkeys(ASPECTS, tuple(range(len(completions)))),
        **more,
    }
    answers: Any = tuple(completions)
    stage = "critique" if kind is CritiquedInstruction else "rate"
    return kind(id=f"{stage}-{number // 8}-{number % 8}-0", completions=answers, **fields)


def at_random(count: int, seed: int = 8) -> list[RatedInstruction]:
    """Critiqued records in which everything happens that can: gaps, N/A, ties, short pools, second ratings."""
    rng = random.Random(seed)
    records = []
    for number in range(count):
        names = rng.sample(MODELS, rng.choice((2, 3, 4, 4)))
        swapped = rng.random() < 0.3
        answers = [_answer(rng, name, swapped) for name in names]
        orders = {aspect: tuple(rng.sample(range(len(names)), len(names))) for aspect in ASPECTS}
        gone = [name for name in MODELS if name not in names][: rng.choice((0, 0, 1))]
        replaced = [{"model": name, "reason": rng.choice(("down", "refused"))} for name in gone]
        source = rng.choice(("sharegpt", "evol_instruct", "自备"))
        records.append(record(number, answers, orders=orders, replaced=replaced, source=source))
    return records


def _answer(rng: random.Random, model: str, swapped: bool) -> RatedSample:
    ratings = [rng.choice((1, 2, 3, 3, 4, 5, NA, None)) for _ in ASPECTS]
    score = rng.choice((None, 1, 4, 7, 7.5, 8.25, 10))
    return sample(
        model,
        ratings,
        response=" ".join(rng.choices(WORDS, k=rng.randint(1, 40))),
        flags=[flag for flag in ("truncated", "refusal") if rng.random() < 0.1],
        second_ratings={aspect: rng.choice((1, 2, 3, 4, 5, None)) for aspect in ASPECTS} if swapped else {},
        overall_score=score,
        first_score=rng.choice((None, 2.0)),
        disagrees=score is not None and rng.random() < 0.2,
    )
