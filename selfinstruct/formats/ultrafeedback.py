"""UltraFeedback's published layout (systems §6.6): one JSON object an instruction, its answers and ratings inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from selfinstruct.feedback_schema import (
    ASPECTS,
    WITH_TYPES,
    Annotation,
    Aspect,
    CritiquedInstruction,
    CritiquedSample,
    RatedInstruction,
    RatedSample,
)
from selfinstruct.formats.transcript import transcript

_NONE = ["None"]
"""How the published set says that there is nothing: a list like any other, so that each column has one type."""


def ultrafeedback(records: Iterable[RatedInstruction | CritiquedInstruction]) -> Iterator[bytes]:
    """Keys as they were published, so that whatever reads that set reads this one.

    Ratings are strings, N/A among them; ``fine-grained_score`` is the mean of the ratings there are. What is missing
    is null: an annotation that is not there, a critique nobody asked for, the score of an answer without ratings,
    the principle of an answer that was given none. The layout knows no turns before the instruction: where there are
    some, ``instruction`` is a transcript of the whole conversation.
    """
    for record in records:
        row = {
            "source": record.source,
            "instruction": transcript(record.history, record.instruction, record.lang),
            "models": [sample.model for sample in record.completions],
            "completions": [_completion(sample) for sample in record.completions],
            "correct_answers": list(record.correct_answers) or _NONE,
            "incorrect_answers": list(record.incorrect_answers) or _NONE,
        }
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _completion(sample: RatedSample) -> dict[str, Any]:
    critiqued = sample if isinstance(sample, CritiquedSample) else None
    return {
        "model": sample.model,
        "principle": sample.principle,
        "custom_system_prompt": sample.custom_system_prompt,
        "response": sample.response,
        "annotations": {aspect: _annotation(aspect, sample.annotations.get(aspect)) for aspect in ASPECTS},
        "critique": critiqued.critique if critiqued else None,
        "overall_score": critiqued.overall_score if critiqued else None,
        "fine-grained_score": sample.mean,
    }


def _annotation(aspect: Aspect, said: Annotation | None) -> dict[str, Any] | None:
    if said is None:
        return None
    rating = "N/A" if said.rating is None else str(said.rating)
    if aspect not in WITH_TYPES:
        return {"Rating": rating, "Rationale": said.rationale}
    return {
        "Type": _types(said.types),
        "Rationale": said.types_rationale,
        "Rating": rating,
        "Rationale For Rating": said.rationale,
    }


def _types(numbers: Sequence[int]) -> list[str]:
    return [str(number) for number in numbers] or _NONE
