"""Stage 3: which of the two prompts a task gets, and what becomes of the examples in the answer."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from selfinstruct import parsing
from selfinstruct.errors import ParseError
from selfinstruct.protocols import Job
from selfinstruct.schema import ClassifiedInstruction, Message, Novelty, Provenance, Reject, Sampling, TaskInstance
from selfinstruct.stages.instances import Instances, Order
from tests.stages.prompt_files import Answers, answer, prompt_file

BEFORE = Provenance(
    seeds=("s",), parents=("b",), prompts=("list@1", "clf@1"), models=("one", "two"), calls=("call-a", "call-b")
)
LABELS = Sampling(temperature=0.0, max_tokens=300)
WRITING = Sampling(temperature=0.0, max_tokens=350)


def task(*, is_classification: bool) -> ClassifiedInstruction:
    """A classified instruction."""
    return ClassifiedInstruction(
        id="classify-4-1-0",
        provenance=BEFORE,
        instruction="Is this text happy?",
        lang="en",
        novelty=Novelty(mode="off"),
        is_classification=is_classification,
    )


def job(*, is_classification: bool = False) -> Job:
    """The second job of round 4."""
    return Job("instances", 4, 1, task(is_classification=is_classification))


def _stage(folder: Path, **changes: Any) -> Instances:
    orders = []
    for name, opens, count, sampling in (("label", "label", 1, LABELS), ("input", "input", 2, WRITING)):
        (folder / name).mkdir(exist_ok=True)
        prompt = prompt_file(
            folder / name,
            f'stop = ["<example {{{{ max_instances + 1 }}}}>"]\nopens = "{opens}"',
            "{% for demo in demos %}\n{{ demo.instruction }}\n{% endfor %}\n{{ instruction }}\n<" + opens + ">",
            name + " first, {{ max_instances }} of: {{ instruction }}",
            [{"instruction": f"{name} demo {n}"} for n in range(3)],
        )
        orders.append(Order(prompt, count, sampling))
    options: dict[str, Any] = {"rendering": "completion", "max_instances": 5, "keep": 5, "seed": 42}
    return Instances(output_first=orders[0], input_first=orders[1], **options | changes)


def parsed(number: int) -> Any:
    """An example as the parser gives it."""
    return SimpleNamespace(input=f"in {number}", output=f"out {number}")


def found(monkeypatch: pytest.MonkeyPatch, valid: list[Any], invalid: list[tuple[Any, str]]) -> list[tuple[int, float]]:
    """Let the parser find these; returns what the choice among the valid ones is made with."""
    chosen_with: list[tuple[int, float]] = []

    def choose(instances: Any, keep: int, rng: Random) -> Any:
        chosen_with.append((keep, rng.random()))
        return valid, invalid

    monkeypatch.setattr(parsing, "generation_instances", lambda text, **options: [])
    monkeypatch.setattr(parsing, "classification_instances", lambda text, **options: [])
    monkeypatch.setattr(parsing, "valid_instances", choose)
    return chosen_with


def test_every_classified_instruction_is_one_job(tmp_path: Path) -> None:
    """In order; none, no jobs."""
    tasks = [task(is_classification=True), task(is_classification=False)]
    jobs = _stage(tmp_path).plan(4, tasks, [])
    assert jobs == [Job("instances", 4, slot, task) for slot, task in enumerate(tasks)]
    assert _stage(tmp_path).plan(4, [], []) == []


@pytest.mark.parametrize(
    ("is_classification", "prompt", "sampling"),
    [
        (True, "label demo 0\nIs this text happy?\n<label>", LABELS),
        (False, "input demo 0\ninput demo 1\nIs this text happy?\n<input>", WRITING),
    ],
)
def test_classification_is_asked_output_first_and_everything_else_input_first(
    tmp_path: Path, is_classification: bool, prompt: str, sampling: Sampling
) -> None:
    """Each with its own prompt, its own number of demos and its own limit."""
    request = _stage(tmp_path).prompt(job(is_classification=is_classification))
    assert (request.prompt, request.sampling, request.stop) == (prompt, sampling, ("<example 6>",))
    assert str(request.draw) == "instances/4/1/0/0"


def test_a_model_that_answers_is_asked_in_a_message(tmp_path: Path) -> None:
    """The other rendering of the same file."""
    request = _stage(tmp_path, rendering="chat", max_instances=3).prompt(job())
    assert request.messages == (Message(role="user", content="input first, 3 of: Is this text happy?"),)


async def test_an_example_becomes_the_final_record(tmp_path: Path) -> None:
    """Everything known of the task goes with it, and provenance has the calls of all three stages."""
    stage = _stage(tmp_path)
    teacher = Answers("\nWhat a lovely day it is.\n<output>\nIt is a happy text, as far as one sentence can tell.")
    (record,) = await stage.run(job(), {"teacher": teacher})
    assert record == TaskInstance(
        id="instances-4-1-0",
        provenance=Provenance(
            seeds=("s",),
            parents=("b",),
            prompts=("list@1", "clf@1", stage.input_first.prompt_file.ref),
            models=("one", "two", "served"),
            calls=("call-a", "call-b", "call-1"),
        ),
        instruction="Is this text happy?",
        input="What a lovely day it is.",
        output="It is a happy text, as far as one sentence can tell.",
        lang="en",
        is_classification=False,
        novelty=Novelty(mode="off"),
    )
    assert len(teacher.asked) == 1


async def test_a_label_becomes_the_output(tmp_path: Path) -> None:
    """Asked label first, kept as input and output like any other."""
    (record,) = await _stage(tmp_path).run(
        job(is_classification=True), {"teacher": Answers("\nHappy\n<input>\nWhat a lovely day it is.")}
    )
    assert isinstance(record, TaskInstance)
    assert (record.input, record.output) == ("What a lovely day it is.", "Happy")
    assert record.is_classification is True


def test_valid_and_invalid_examples_share_one_numbering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept ones first, then a reject with its reason for each of the others; the answer was usable."""
    found(monkeypatch, [parsed(0), parsed(1)], [(parsed(2), "conflict"), (parsed(3), "truncated")])
    outcome = _stage(tmp_path).parse(answer("whatever"), job())
    assert [(record.id, type(record)) for record in outcome] == [
        ("instances-4-1-0", TaskInstance),
        ("instances-4-1-1", TaskInstance),
        ("instances-4-1-2", Reject),
        ("instances-4-1-3", Reject),
    ]
    rejects = [record for record in outcome if isinstance(record, Reject)]
    assert [(reject.reason, reject.unusable) for reject in rejects] == [("conflict", False), ("truncated", False)]
    assert rejects[0].candidate == {"instruction": "Is this text happy?", "input": "in 2", "output": "out 2"}
    assert rejects[0].provenance.calls == ("call-a", "call-b", "call-1")


@pytest.mark.parametrize("reason", ["content_filter", "refusal"])
def test_an_answer_the_provider_withheld_gives_no_example(tmp_path: Path, reason: str) -> None:
    """Half an output would look like a whole one."""
    (reject,) = _stage(tmp_path).parse(answer("<output>\nThe tide is pulled by the", reason), job())
    assert isinstance(reject, Reject)
    assert (reject.id, reject.reason, reject.unusable) == ("instances-4-1", reason, True)
    assert reject.candidate == {"instruction": "Is this text happy?", "text": "<output>\nThe tide is pulled by the"}


@pytest.mark.parametrize(("reason", "unusable"), [("truncated", True), ("conflict", False)])
def test_an_answer_is_unusable_when_all_it_held_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, unusable: bool
) -> None:
    """A verdict on the content of an example is no verdict on the answer."""
    found(monkeypatch, [], [(parsed(0), reason)])
    (reject,) = _stage(tmp_path).parse(answer("whatever"), job())
    assert isinstance(reject, Reject)
    assert (reject.id, reject.reason, reject.unusable) == ("instances-4-1-0", reason, unusable)


def test_an_answer_without_any_example_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unusable reject with the parser's reason, named by the job."""

    def nothing(text: str, **_: object) -> Any:
        raise ParseError("no_instance")

    monkeypatch.setattr(parsing, "generation_instances", nothing)
    (reject,) = _stage(tmp_path).parse(answer("I would rather not."), job())
    assert isinstance(reject, Reject)
    assert (reject.id, reject.reason, reject.unusable) == ("instances-4-1", "no_instance", True)
    assert reject.candidate == {"instruction": "Is this text happy?", "text": "I would rather not."}


@pytest.mark.parametrize(("rendering", "opened"), [("completion", "input"), ("chat", None)])
def test_the_parser_is_told_which_tag_the_prompt_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rendering: str, opened: str | None
) -> None:
    """A continued text begins inside it, an answer does not."""
    told: list[Any] = []

    def spy(text: str, **options: object) -> Any:
        told.append((text, options))
        return []

    monkeypatch.setattr(parsing, "generation_instances", spy)
    _stage(tmp_path, rendering=rendering).parse(answer("text", "length"), job())
    assert told == [("text", {"truncated": True, "opened": opened})]


def test_the_examples_to_keep_are_drawn_by_the_place_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same job chooses alike every time, another slot or seed otherwise; ``keep`` goes to the parser."""
    drawn = found(monkeypatch, [parsed(0)], [])
    other = Job("instances", 4, 2, job().material)
    for stage, what in ((_stage(tmp_path, keep=3), job()),) * 2 + (
        (_stage(tmp_path, keep=3), other),
        (_stage(tmp_path, keep=3, seed=43), job()),
    ):
        stage.parse(answer("whatever"), what)
    assert {keep for keep, _ in drawn} == {3}
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3
