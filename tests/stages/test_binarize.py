"""The stage that makes preference pairs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from selfinstruct.feedback_schema import PairSide, PreferencePair, RatedInstruction
from selfinstruct.protocols import Job
from selfinstruct.schema import Record, Reject
from selfinstruct.stages.binarize import Binarize
from tests.judged_answers import HISTORY, critiqued, rated

RECORD = rated((4, 4, 4, 4), (4, 4, 4, 4), (2, 2, 2, 2), history=HISTORY)
PROVENANCE = RECORD.provenance.model_copy(update={"parents": ("instructions-0-0-0", "rate-0-0-0")})


def stage(**changes: Any) -> Binarize:
    """One that pairs all, by the mean."""
    return Binarize(**{"score": "mean", "rejected": "all", "exclude_source": (), "seed": 42, **changes})


def made(by: Binarize, record: RatedInstruction) -> list[Record | Reject]:
    """What becomes of a record that is the third of the fifth round."""
    return asyncio.run(by.run(Job("binarize", 4, 2, record), {}))


def test_every_annotated_instruction_is_a_job() -> None:
    """In the order they come in, of whatever kind they are."""
    records = [RECORD, critiqued((7.0, (1, 1, 1, 1)))]
    assert stage().plan(3, records, []) == [Job("binarize", 3, 0, records[0]), Job("binarize", 3, 1, records[1])]
    assert stage().plan(3, [], []) == []


def test_pairs_come_first_and_then_what_made_none() -> None:
    """Under one numbering, each with the annotated record as its last parent."""
    common: dict[str, Any] = {"instruction": "How deep is it?", "lang": "en", "source": "flan", "history": HISTORY}
    worse = PairSide(model="m2", response="answer 2", score=2.0)
    assert made(stage(), RECORD) == [
        *(
            PreferencePair(
                **common,
                score="mean",
                id=f"binarize-4-2-{number}",
                provenance=PROVENANCE,
                chosen=PairSide(model=f"m{number}", response=f"answer {number}", score=4.0),
                rejected=worse,
                margin=2.0,
            )
            for number in (0, 1)
        ),
        Reject(
            id="binarize-4-2-2",
            provenance=PROVENANCE,
            stage="binarize",
            reason="tie",
            detail="m0, m1: 4",
            candidate={"instruction": "How deep is it?"},
        ),
    ]


def test_an_excluded_source_is_a_reject_of_its_own() -> None:
    """It says which, and is no answer that could not be used."""
    assert made(stage(exclude_source=("truthful_qa", "flan")), RECORD) == [
        Reject(
            id="binarize-4-2-0",
            provenance=PROVENANCE,
            stage="binarize",
            reason="excluded_source",
            detail="flan",
            candidate={"instruction": "How deep is it?"},
        )
    ]
    assert len(made(stage(exclude_source=("fla", "flan_v2")), RECORD)) == 3


@pytest.mark.parametrize(("score", "detail"), [("mean", "; without all annotations: 2"), ("overall", "")])
def test_answers_without_scores_are_a_reject(score: str, detail: str) -> None:
    """Of a record nobody rated, and by overall scores of one that has no critique."""
    record = rated((), ()) if score == "mean" else rated((5, 5, 5, 5), (1, 1, 1, 1))
    rejects = made(stage(score=score), record)
    assert [(one.id, one.reason, one.detail, one.unusable) for one in rejects if isinstance(one, Reject)] == [
        ("binarize-4-2-0", "no_score", f"answers with a score: 0 of 2{detail}", False)
    ]


def test_the_draw_does_not_depend_on_the_job() -> None:
    """The seed and the record's id decide: pairs made anew in another order are the same."""
    record = rated((5, 5, 5, 5), (4, 4, 4, 4), (3, 3, 3, 3), (2, 2, 2, 2))
    drawn = set()
    for slot in range(20):
        (pair,) = stage(rejected="random").pair(Job("binarize", 0, slot, record))
        assert isinstance(pair, PreferencePair)
        drawn.add(pair.rejected.model)
    assert len(drawn) == 1
