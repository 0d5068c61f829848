"""Instructions whose answers were judged, written down in a line: ``rated((4, "N/A", 5, 3), (1, 2, 1, 1))``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from selfinstruct.feedback_schema import (
    ASPECTS,
    Annotation,
    CritiquedInstruction,
    CritiquedSample,
    PairSide,
    PreferencePair,
    RatedInstruction,
    RatedSample,
)
from selfinstruct.schema import Message, Provenance

Said = int | Literal["N/A"] | None
"""A rating, N/A, or nothing: the annotation is missing."""

HISTORY = (Message(role="user", content="Name a lake."), Message(role="assistant", content="Baikal."))
"""What was said before, of a dialogue."""

_PROVENANCE = Provenance(seeds=("lakes.jsonl:1",), parents=("instructions-0-0-0",), calls=("0a" * 32,))


def rated(*said: Sequence[Said], **changes: Any) -> RatedInstruction:
    """An instruction with an answer for each of ``said``, its ratings by aspect; what is left out is missing."""
    completions = tuple(RatedSample(**_sample(number, ratings)) for number, ratings in enumerate(said))
    return RatedInstruction(**_record("rate-0-0-0", len(said)) | {"completions": completions} | changes)


def critiqued(*said: tuple[float | None, Sequence[Said]], **changes: Any) -> CritiquedInstruction:
    """The same with overall scores before the ratings; where there is no score there is no critique."""
    completions = tuple(
        CritiquedSample(
            **_sample(number, ratings),
            critique=None if overall is None else f"critique {number}",
            overall_score=overall,
        )
        for number, (overall, ratings) in enumerate(said)
    )
    return CritiquedInstruction(**_record("critique-0-0-0", len(said)) | {"completions": completions} | changes)


def pair(**changes: Any) -> PreferencePair:
    """Two answers, the first of them the better one."""
    fields: dict[str, Any] = {
        "id": "binarize-0-0-0",
        "provenance": _PROVENANCE,
        "instruction": "How deep is it?",
        "lang": "en",
        "source": "flan",
        "score": "mean",
        "chosen": PairSide(model="m0", response="1642 m", score=4.5),
        "rejected": PairSide(model="m1", response="Very.", score=3.25),
        "margin": 1.25,
    }
    return PreferencePair(**fields | changes)


def _record(id: str, answers: int) -> dict[str, Any]:
    return {
        "id": id,
        "provenance": _PROVENANCE,
        "instruction": "How deep is it?",
        "lang": "en",
        "source": "flan",
        "where": "lakes.jsonl:1",
        "orders": {aspect: tuple(range(answers)) for aspect in ASPECTS},
    }


def _sample(number: int, ratings: Sequence[Said]) -> dict[str, Any]:
    whole = [*ratings, *[None] * len(ASPECTS)]
    return {
        "model": f"m{number}",
        "principle": "honesty",
        "custom_system_prompt": "Say when you do not know.",
        "response": f"answer {number}",
        "annotations": {
            aspect: None if rating is None else _annotation(aspect, rating)
            for aspect, rating in zip(ASPECTS, whole, strict=False)
        },
    }


def _annotation(aspect: str, rating: int | Literal["N/A"]) -> Annotation:
    types = {"truthfulness": (), "helpfulness": (1, 2)}.get(aspect)
    return Annotation(
        rating=None if rating == "N/A" else rating,
        rationale=f"why {aspect}",
        types=types or (),
        types_rationale="" if types is None else f"types of {aspect}",
    )
