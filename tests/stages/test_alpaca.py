"""Whole tasks in one call: which tasks a prompt shows, in which form it asks, what becomes of the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct.protocols import Job
from selfinstruct.schema import Instance, Provenance, Record, Reject, Sampling, SeedTask, TaskInstance
from selfinstruct.stages.alpaca import ANSWER_SCHEMA, Alpaca
from selfinstruct.stages.demos import Demo
from tests.stages.prompt_files import Answers, answer, prompt_file

SEEDS = [
    SeedTask(
        id=f"seed-{n}",
        instruction=f"Seed task {n}",
        instances=(Instance(input=f"in {n}", output=f"out {n}"), Instance(input="second", output="never shown")),
    )
    for n in range(20)
]
SAMPLING = Sampling(temperature=1.0, max_tokens=99)
DEMOS = [
    Demo("seed-1", "Name a river.", "", "Po"),
    Demo("alpaca-0-1-2", "Sing.", "low", "Hum", machine=True),
]
JOB = Job("alpaca", 4, 1, DEMOS)
TWO_TASKS = (
    " Describe the smell of rain.\n4. Input:\n<noinput>\n4. Output:\nEarthy and fresh.\n###\n"
    "5. Instruction: Rank these fruits by weight.\n5. Input:\nplum, melon\n5. Output:\n1. melon\n2. plum"
)


def _stage(folder: Path, **changes: Any) -> Alpaca:
    prompt = prompt_file(
        folder,
        'stop = ["\\n{{ tasks + 1 }}. Instruction:"]\nopens = "instruction"',
        "{% for demo in demos %}\n{{ loop.index }}. Instruction: {{ demo.instruction }} / {{ demo.input }} /"
        " {{ demo.output }}\n{% endfor %}\n{{ demos|length + 1 }}. Instruction:",
        "{{ new_tasks }} more, up to {{ tasks }}: {{ demos|map(attribute='instruction')|join(' / ') }}",
    )
    options: dict[str, Any] = {"rendering": "completion", "form": "text", "machine_demos": 0, "phrases": ()}
    fixed: dict[str, Any] = {"sampling": SAMPLING, "lang": "en", "seed": 42, "round_size": 5, "num_demos": 3}
    return Alpaca(name="alpaca", seeds=SEEDS, prompt_file=prompt, tasks=20, **fixed | options | changes)


@pytest.fixture
def stage(tmp_path: Path) -> Alpaca:
    """The stage as Alpaca has it: blocks of text, seeds only."""
    return _stage(tmp_path)


def pool(count: int) -> list[TaskInstance]:
    """Accepted tasks."""
    fields: dict[str, Any] = {"input": "i", "output": "o", "lang": "en", "is_classification": None}
    return [
        TaskInstance(id=f"alpaca-0-0-{n}", provenance=Provenance(), instruction=f"Made {n}", **fields)
        for n in range(count)
    ]


def rejected(outcome: list[Record | Reject]) -> list[tuple[str, str, bool]]:
    """Id, reason and verdict of those that are rejects."""
    return [(one.id, one.reason, one.unusable) for one in outcome if isinstance(one, Reject)]


# --- what is shown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("accepted", "allowed", "machine"), [(0, 1, 0), (9, 0, 0), (9, 1, 1), (1, 2, 1), (9, 5, 3)])
def test_accepted_tasks_are_shown_only_where_the_recipe_allows_them(
    tmp_path: Path, accepted: int, allowed: int, machine: int
) -> None:
    """Three in all, none twice; Alpaca itself showed seeds only."""
    for job in _stage(tmp_path, machine_demos=allowed).plan(3, (), pool(accepted)):
        assert [demo.machine for demo in job.material].count(True) == machine
        assert len({demo.id for demo in job.material}) == 3


def test_a_seed_is_shown_with_its_first_instance(stage: Alpaca) -> None:
    """As Alpaca does; a machine-made task with its own."""
    for job in stage.plan(0, (), ()):
        for demo in job.material:
            number = demo.id.removeprefix("seed-")
            assert demo == Demo(f"seed-{number}", f"Seed task {number}", f"in {number}", f"out {number}")
    made = Alpaca.plan(_with_pool(stage), 0, (), pool(1))[0].material
    assert Demo("alpaca-0-0-0", "Made 0", "i", "o", machine=True) in made


def _with_pool(stage: Alpaca) -> Alpaca:
    return Alpaca(**vars(stage) | {"machine_demos": 3})


def test_the_draw_depends_on_seed_stage_and_round_alone(stage: Alpaca) -> None:
    """The same round again is the same draw; another round, seed or name is another."""
    assert stage.plan(3, (), pool(9)) == stage.plan(3, (), pool(9))
    others = [stage.plan(4, (), ())] + [
        Alpaca(**vars(stage) | change).plan(3, (), ()) for change in ({"seed": 43}, {"name": "belle"})
    ]
    drawn = [[demo.id for job in plan for demo in job.material] for plan in (stage.plan(3, (), ()), *others)]
    assert len({tuple(ids) for ids in drawn}) == 4
    assert [(job.stage, job.round, job.slot) for job in others[2]] == [("belle", 3, slot) for slot in range(5)]


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_text_is_asked_for_without_a_schema(stage: Alpaca) -> None:
    """The list so far; the stop string is the whole header of the first task too many, never a bare number."""
    request = stage.prompt(JOB)
    assert request.prompt == "1. Instruction: Name a river. /  / Po\n2. Instruction: Sing. / low / Hum\n3. Instruction:"
    assert (request.stop, request.answer_schema) == (("\n21. Instruction:",), None)
    assert (request.messages, request.sampling, str(request.draw)) == (None, SAMPLING, "alpaca/4/1/0/0")


def test_json_is_asked_for_under_a_schema_of_the_three_fields(tmp_path: Path) -> None:
    """An object at the top, as strict servers want it, and nothing optional in it."""
    request = _stage(tmp_path, rendering="chat", form="json").prompt(JOB)
    assert request.messages is not None
    assert request.messages[0].content == "18 more, up to 20: Name a river. / Sing."
    assert request.answer_schema == ANSWER_SCHEMA
    assert list(ANSWER_SCHEMA["properties"]) == ANSWER_SCHEMA["required"] == ["tasks"]
    assert ANSWER_SCHEMA["properties"]["tasks"]["items"]["required"] == ["instruction", "input", "output"]


# --- what comes back ------------------------------------------------------------------------------------------------


async def test_every_task_of_the_answer_is_a_candidate_that_says_where_it_came_from(stage: Alpaca) -> None:
    """One call; ids count the tasks; seeds, parents, prompt, model and call are on each."""
    teacher = Answers(TWO_TASKS)
    first, second = await stage.run(JOB, {"teacher": teacher})
    assert isinstance(first, TaskInstance) and isinstance(second, TaskInstance)
    assert (first.id, first.instruction, first.input, first.output) == (
        *("alpaca-4-1-0", "Describe the smell of rain.", "", "Earthy and fresh."),
    )
    assert (second.id, second.input, second.output) == ("alpaca-4-1-1", "plum, melon", "1. melon\n2. plum")
    assert (first.lang, first.is_classification, first.novelty) == ("en", None, None)
    assert first.provenance == Provenance(
        seeds=("seed-1",),
        parents=("alpaca-0-1-2",),
        prompts=(stage.prompt_file.ref,),
        models=("served",),
        calls=("call-1",),
    )
    assert len(teacher.asked) == 1


def test_a_json_answer_is_read_as_json(tmp_path: Path) -> None:
    """The same candidates from the other form."""
    tasks = [{"instruction": "Name a sea.", "input": "", "output": "Aral"}, {"instruction": "Add.", "output": "3"}]
    found = _stage(tmp_path, rendering="chat", form="json").parse(answer(orjson.dumps({"tasks": tasks}).decode()), JOB)
    assert [(one.instruction, one.input, one.output) for one in found if isinstance(one, TaskInstance)] == [
        ("Name a sea.", "", "Aral"),
        ("Add.", "", "3"),
    ]


def test_a_task_the_token_limit_cut_is_a_reject_and_the_answer_still_usable(stage: Alpaca) -> None:
    """The last one only, with what was there of it."""
    whole, cut = stage.parse(answer(TWO_TASKS, "length"), JOB)
    assert isinstance(whole, TaskInstance)
    assert isinstance(cut, Reject)
    assert rejected([cut]) == [("alpaca-4-1-1", "truncated", False)]
    assert cut.candidate["instruction"] == "Rank these fruits by weight."


def test_an_answer_without_a_whole_task_is_unusable(stage: Alpaca) -> None:
    """Nothing of it could be kept, and not because of its content."""
    assert rejected(stage.parse(answer(" Describe the smell of rain.\n4. Inp", "length"), JOB)) == [
        ("alpaca-4-1-0", "truncated", True)
    ]


@pytest.mark.parametrize("reason", ["content_filter", "refusal"])
def test_an_answer_the_provider_withheld_is_no_list(stage: Alpaca, reason: str) -> None:
    """What it shows until it breaks off is not looked at."""
    assert rejected(stage.parse(answer(TWO_TASKS, reason), JOB)) == [("alpaca-4-1", reason, True)]


def test_an_answer_that_ended_in_its_thoughts_says_so(stage: Alpaca) -> None:
    """No text, but reasoning: more max_tokens would help, so it is not told as a list without tasks."""
    thought = answer("", "length").model_copy(update={"reasoning": "First I consider"})
    assert rejected(stage.parse(thought, JOB)) == [("alpaca-4-1", "thinking_cut", True)]


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_answer_that_holds_no_task_is_kept_whole(tmp_path: Path, form: str) -> None:
    """As one unusable reject, named by the job."""
    (reject,) = _stage(tmp_path, rendering="chat", form=form).parse(answer(" \n"), JOB)
    assert isinstance(reject, Reject)
    assert (reject.id, reject.unusable, reject.candidate) == ("alpaca-4-1", True, {"text": " \n"})


def test_phrases_are_taken_out_before_anything_judges_the_instruction(tmp_path: Path) -> None:
    """BELLE's clean-up; an instruction that was nothing else is a reject, the others of its answer stand."""
    text = (
        " 让模型写一首诗。\n4. 输入：\n<无输入>\n4. 输出：\n白日依山尽\n###\n"
        "5. 指令：让模型\n5. 输入：\n<无输入>\n5. 输出：\n好的"
    )
    kept, dropped = _stage(tmp_path, lang="zh", phrases=("让模型",)).parse(answer(text), JOB)
    assert isinstance(kept, TaskInstance)
    assert (kept.instruction, kept.output) == ("写一首诗。", "白日依山尽")
    assert rejected([dropped]) == [("alpaca-4-1-1", "no_instruction", False)]
