"""Stage 1: which instructions a prompt shows, how the list reads, what becomes of the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfinstruct import parsing
from selfinstruct.errors import ParseError
from selfinstruct.protocols import Job
from selfinstruct.schema import Instance, Instruction, Message, Provenance, Reject, Sampling, SeedTask
from selfinstruct.stages.bootstrap import Bootstrap
from selfinstruct.stages.demos import Demo
from tests.stages.prompt_files import Answers, answer, prompt_file

SEEDS = [
    SeedTask(id=f"seed-{n}", instruction=f"Seed task {n}", instances=(Instance(input="", output="x"),))
    for n in range(20)
]
SAMPLING = Sampling(temperature=0.7, max_tokens=99)
DEMOS = [Demo("seed-1", "Name a  river\nof Asia:", machine=False), Demo("bootstrap-0-1-2", "Sing.", machine=True)]
JOB = Job("bootstrap", 4, 1, DEMOS)


@pytest.fixture
def stage(tmp_path: Path) -> Bootstrap:
    """The stage, continuing a list."""
    return _stage(tmp_path)


def _stage(folder: Path, **changes: Any) -> Bootstrap:
    prompt = prompt_file(
        folder,
        'stop = ["<task {{ demos|length + new_tasks + 1 }}>"]\nopens = "task"',
        "{% for demo in demos %}\n<task {{ loop.index }}> {{ demo }}\n{% endfor %}\n<task {{ demos|length + 1 }}>",
        "{{ new_tasks }} more: {{ demos|join(' / ') }}",
    )
    options: dict[str, Any] = {"rendering": "completion", "seed": 42, "num_demos": 8, "machine_demos": 2}
    fixed: dict[str, Any] = {"sampling": SAMPLING, "lang": "en", "round_size": 5, "new_tasks": 7}
    return Bootstrap(seeds=SEEDS, prompt_file=prompt, **fixed | options | changes)


def pool(count: int) -> list[Instruction]:
    """Accepted instructions."""
    return [
        Instruction(id=f"bootstrap-0-0-{n}", provenance=Provenance(), instruction=f"Made {n}", lang="en")
        for n in range(count)
    ]


@pytest.mark.parametrize(("accepted", "machine"), [(0, 0), (1, 1), (2, 2), (50, 2)])
def test_a_prompt_shows_six_seeds_and_two_machine_made_ones_as_soon_as_there_are_any(
    stage: Bootstrap, accepted: int, machine: int
) -> None:
    """Eight in all, none twice; what the pool cannot give yet, seeds give."""
    for job in stage.plan(3, (), pool(accepted)):
        assert [demo.machine for demo in job.material].count(True) == machine
        assert len({demo.id for demo in job.material}) == 8
        texts = {task.id: task.instruction for task in SEEDS} | {made.id: made.instruction for made in pool(accepted)}
        assert all(demo.instruction == texts[demo.id] for demo in job.material)


def test_a_round_is_as_many_jobs_as_the_recipe_says(stage: Bootstrap) -> None:
    """Each with its place in the round, which is its draw."""
    jobs = stage.plan(3, (), ())
    assert [(job.stage, job.round, job.slot) for job in jobs] == [("bootstrap", 3, slot) for slot in range(5)]


def test_the_draw_depends_on_seed_and_round_alone(stage: Bootstrap, tmp_path: Path) -> None:
    """The same round again is the same draw; another round or another seed is another."""
    assert stage.plan(3, (), pool(9)) == stage.plan(3, (), pool(9))
    ids = [
        [demo.id for job in plan for demo in job.material]
        for plan in (
            stage.plan(3, (), pool(9)),
            stage.plan(4, (), pool(9)),
            _stage(tmp_path, seed=43).plan(3, (), pool(9)),
        )
    ]
    assert len({tuple(drawn) for drawn in ids}) == 3


def test_machine_made_ones_stand_anywhere_in_the_list(stage: Bootstrap) -> None:
    """Shuffled among the seeds, or a model would learn that the last ones are the odd ones."""
    places = {
        place
        for job in (job for round in range(20) for job in stage.plan(round, (), pool(9)))
        for place, demo in enumerate(job.material)
        if demo.machine
    }
    assert places == set(range(8))


def test_the_list_has_one_line_a_task_and_no_promise_of_an_input(stage: Bootstrap) -> None:
    """Line breaks become spaces and a trailing colon goes; the stop string is the first task too many."""
    request = stage.prompt(JOB)
    assert request.prompt == "<task 1> Name a river of Asia\n<task 2> Sing.\n<task 3>"
    assert request.stop == ("<task 10>",)
    assert (request.messages, request.sampling, str(request.draw)) == (None, SAMPLING, "bootstrap/4/1/0/0")


def test_a_model_that_answers_is_asked_in_a_message(tmp_path: Path) -> None:
    """The other rendering of the same prompt file."""
    request = _stage(tmp_path, rendering="chat").prompt(JOB)
    assert request.prompt is None
    assert request.messages == (Message(role="user", content="7 more: Name a river of Asia / Sing."),)


async def test_every_item_of_the_answer_is_a_candidate_that_says_where_it_came_from(stage: Bootstrap) -> None:
    """One call; ids count the items; seeds, parents, prompt, model and call are on each."""
    teacher = Answers(" Describe the smell of rain.\n<task 4> Rank these fruits by weight.")
    outcome = await stage.run(JOB, {"teacher": teacher})
    provenance = Provenance(
        seeds=("seed-1",),
        parents=("bootstrap-0-1-2",),
        prompts=(stage.prompt_file.ref,),
        models=("served",),
        calls=("call-1",),
    )
    texts = ["Describe the smell of rain.", "Rank these fruits by weight."]
    assert outcome == [
        Instruction(id=f"bootstrap-4-1-{n}", provenance=provenance, instruction=text, lang="en")
        for n, text in enumerate(texts)
    ]
    assert [request.prompt for request in teacher.asked] == [stage.prompt(JOB).prompt]


def test_an_item_the_token_limit_cut_is_a_reject_and_the_answer_still_usable(stage: Bootstrap) -> None:
    """The last one only; the item before it is kept."""
    whole, cut = stage.parse(answer(" Describe the smell of rain.\n<task 4> Rank these fr", "length"), JOB)
    assert isinstance(whole, Instruction)
    assert isinstance(cut, Reject)
    assert (cut.id, cut.reason, cut.unusable) == ("bootstrap-4-1-1", "truncated", False)
    assert cut.candidate == {"instruction": "Rank these fr"}


def test_an_answer_that_is_only_a_piece_is_unusable(stage: Bootstrap) -> None:
    """Nothing of it could be kept, and not because of its content."""
    (cut,) = stage.parse(answer(" Describe the sm", "length"), JOB)
    assert isinstance(cut, Reject)
    assert (cut.reason, cut.unusable) == ("truncated", True)


@pytest.mark.parametrize("reason", ["content_filter", "refusal"])
def test_an_answer_the_provider_withheld_is_no_list(stage: Bootstrap, reason: str) -> None:
    """What it shows until it breaks off is not looked at: its end is nobody's."""
    (reject,) = stage.parse(answer(" Describe the smell of rain.\n<task 4> Rank th", reason), JOB)
    assert isinstance(reject, Reject)
    assert (reject.id, reject.reason, reject.unusable) == ("bootstrap-4-1", reason, True)


def test_an_answer_that_holds_no_list_is_kept_whole_with_the_parsers_reason(
    stage: Bootstrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one unusable reject, named by the job, since no candidate has a number."""

    def nothing(text: str, **_: object) -> Any:
        raise ParseError("no_tasks", "nothing like a list")

    monkeypatch.setattr(parsing, "task_list", nothing)
    (reject,) = stage.parse(answer("I would rather not."), JOB)
    assert isinstance(reject, Reject)
    assert (reject.id, reject.stage, reject.reason, reject.unusable) == ("bootstrap-4-1", "bootstrap", "no_tasks", True)
    assert reject.candidate == {"instruction": "I would rather not."}
    assert reject.provenance.calls == ("call-1",)


@pytest.mark.parametrize(("rendering", "continues"), [("completion", True), ("chat", False)])
def test_the_parser_is_told_whether_the_first_item_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rendering: str, continues: bool
) -> None:
    """A continued list starts in the middle of an item, an answered one at its beginning."""
    told: list[dict[str, object]] = []

    def spy(text: str, **options: object) -> Any:
        told.append(options)
        return []

    monkeypatch.setattr(parsing, "task_list", spy)
    _stage(tmp_path, rendering=rendering).parse(answer("text", "length"), JOB)
    assert told == [{"truncated": True, "continues": continues}]
