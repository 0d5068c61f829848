"""Stage 2: yes, no, and what is neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfinstruct.protocols import Job
from selfinstruct.schema import (
    ClassifiedInstruction,
    Completion,
    Instruction,
    Message,
    Novelty,
    Provenance,
    Reject,
    Sampling,
)
from selfinstruct.stages.classify import Classify
from tests.stages.prompt_files import Answers, prompt_file

DEMOS = [{"instruction": f"Demo {n}", "answer": "Yes"} for n in range(4)]
TASK = Instruction(
    id="bootstrap-4-1-2",
    provenance=Provenance(seeds=("s",), prompts=("list@1:00000000",), models=("first",), calls=("call-0",)),
    instruction="Is this text happy?",
    lang="en",
    novelty=Novelty(mode="off"),
)
JOB = Job("classify", 4, 0, TASK)


def _stage(folder: Path, **changes: Any) -> Classify:
    prompt = prompt_file(
        folder,
        r'stop = ["\n<"]',
        "{% for demo in demos %}\n{{ demo.instruction }}: {{ demo.answer }}\n{% endfor %}\n{{ instruction }}:",
        "Yes or no? {{ instruction }}",
        DEMOS,
    )
    options: dict[str, Any] = {"rendering": "completion", "demos": 2, "resamples": 2}
    sampling = Sampling(temperature=0.0, top_p=0.0, max_tokens=3)
    return Classify(prompt_file=prompt, sampling=sampling, resample_temperature=0.7, **options | changes)


def test_every_instruction_of_the_round_is_one_job(tmp_path: Path) -> None:
    """In the order in which the round accepted them; no instructions, no jobs."""
    stage = _stage(tmp_path)
    other = TASK.model_copy(update={"id": "bootstrap-4-3-0"})
    assert stage.plan(4, [TASK, other], []) == [Job("classify", 4, 0, TASK), Job("classify", 4, 1, other)]
    assert stage.plan(4, [], []) == []


def test_the_question_comes_after_as_many_demos_as_the_recipe_says(tmp_path: Path) -> None:
    """The first ones of the file, which are the most telling."""
    request = _stage(tmp_path).prompt(JOB)
    assert request.prompt == "Demo 0: Yes\nDemo 1: Yes\nIs this text happy?:"
    assert (request.stop, str(request.draw)) == (("\n<",), "classify/4/0/0/0")
    chat = _stage(tmp_path, rendering="chat").prompt(JOB)
    assert chat.messages == (Message(role="user", content="Yes or no? Is this text happy?"),)


@pytest.mark.parametrize(("text", "verdict"), [(" Yes", True), (" No", False), ("Yes.", True), ("no", False)])
async def test_a_clear_verdict_takes_one_call(tmp_path: Path, text: str, verdict: bool) -> None:
    """The record goes on as it came, with the verdict, and provenance one stage longer."""
    stage, teacher = _stage(tmp_path), Answers(text)
    (record,) = await stage.run(JOB, {"teacher": teacher})
    assert record == ClassifiedInstruction(
        id="classify-4-0-0",
        provenance=Provenance(
            seeds=("s",),
            prompts=("list@1:00000000", stage.prompt_file.ref),
            models=("first", "served"),
            calls=("call-0", "call-1"),
        ),
        instruction="Is this text happy?",
        lang="en",
        novelty=Novelty(mode="off"),
        is_classification=verdict,
    )
    assert len(teacher.asked) == 1


async def test_an_unknown_verdict_is_asked_again_warmer(tmp_path: Path) -> None:
    """Another draw, at a temperature above 0, or the same answer would come back; both calls are on the record."""
    teacher = Answers(" It depends", " Hard to say", " Yes")
    (record,) = await _stage(tmp_path).run(JOB, {"teacher": teacher})
    assert isinstance(record, ClassifiedInstruction)
    assert record.is_classification is True
    assert record.provenance.calls == ("call-0", "call-1", "call-2", "call-3")
    assert [(r.draw.k, r.sampling.temperature, r.sampling.top_p) for r in teacher.asked] == [
        (0, 0.0, 0.0),
        (1, 0.7, 1.0),
        (2, 1.0, 1.0),
    ]
    assert {request.prompt for request in teacher.asked} == {_stage(tmp_path).prompt(JOB).prompt}


async def test_a_withheld_answer_is_no_verdict(tmp_path: Path) -> None:
    """Even when it reads like one."""
    assert _stage(tmp_path).parse(Completion(text="No", finish_reason="content_filter")) is None


@pytest.mark.parametrize("resamples", [0, 2])
async def test_a_verdict_that_stays_unknown_is_a_reject_and_never_a_no(tmp_path: Path, resamples: int) -> None:
    """After 1 + resamples answers, all of which are kept with it."""
    texts = [" Maybe", " 42", ""][: 1 + resamples]
    teacher = Answers(*texts)
    (reject,) = await _stage(tmp_path, resamples=resamples).run(JOB, {"teacher": teacher})
    assert isinstance(reject, Reject)
    assert (reject.id, reject.stage, reject.reason) == ("classify-4-0-0", "classify", "unknown_verdict")
    assert reject.unusable is True
    assert reject.detail == f"neither yes nor no in {len(texts)} answers"
    assert reject.candidate == {"instruction": "Is this text happy?", "answers": texts}
    assert reject.provenance.calls == ("call-0", *(f"call-{n}" for n in range(1, len(texts) + 1)))
