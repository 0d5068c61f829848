"""Instructions for texts, expanded with detail: which are, and what becomes of the answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.protocols import Job
from selfinstruct.schema import Completion, Message, Novelty, Opener, Provenance, Record, Reject, Rendering
from selfinstruct.stages.expand import Expand
from tests.stages.asking import lists
from tests.stages.dialogue_parts import Script
from tests.stages.prompt_files import answer, prompt_file

BEFORE = Provenance(seeds=("type-1", "topic-2"), prompts=("i@1:aa",), models=("old",), calls=("c0",))


def stage(folder: Path, share: float = 1.0, rendering: Rendering = "chat", seed: int = 1) -> Expand:
    """Expands so many of the openers."""
    file = prompt_file(folder, "", "{{ instruction }} in detail:", "Expand this {{ type }}: {{ instruction }}")
    return Expand(file, lists(80, rendering=rendering, seed=seed), share)


def opener(number: int = 0) -> Opener:
    """An instruction for a poem, judged to be new."""
    return Opener(
        id=f"openers-2-{number}-1",
        provenance=BEFORE,
        instruction="Write a poem on rowing.",
        lang="en",
        sector="writing",
        origin="writing",
        topic="poem",
        subtopic="Sport",
        novelty=Novelty(mode="above:0.5", mean=0.1),
    )


def job(number: int = 0) -> Job:
    """The job of an opener."""
    return Job("expand", 2, 3, opener(number))


async def expanded(made: Expand, number: int = 0) -> bool:
    """Whether an opener is asked about."""
    script = Script()
    await made.run(job(number), {"teacher": script})
    return len(script.asked) == 1


def as_it_was() -> Opener:
    """The opener as it leaves the stage where nothing was done with it."""
    passed_on = BEFORE.model_copy(update={"parents": ("openers-2-0-1",)})
    return opener().model_copy(update={"id": "expand-2-3-0", "provenance": passed_on})


def test_a_round_has_one_job_an_opener(tmp_path: Path) -> None:
    """In their order; of none there is none."""
    one, other = opener(0), opener(1)
    assert stage(tmp_path).plan(7, [one, other], ()) == [Job("expand", 7, 0, one), Job("expand", 7, 1, other)]
    assert stage(tmp_path).plan(7, [], ()) == []


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.8, 370, 430), (1.0, 500, 500)])
async def test_a_share_of_the_openers_is_expanded(tmp_path: Path, share: float, least: int, most: int) -> None:
    """None at 0, all at 1, about four of five at UltraChat's 0.8."""
    made = stage(tmp_path, share)
    assert least <= sum([await expanded(made, number) for number in range(500)]) <= most


async def test_which_openers_are_expanded_is_drawn_by_seed_and_opener_alone(tmp_path: Path) -> None:
    """Not by place: a resumed run and an extension ask about the same ones."""
    chosen = [await expanded(stage(tmp_path, 0.5), number) for number in range(60)]
    assert chosen == [await expanded(stage(tmp_path, 0.5), number) for number in range(60)]
    assert chosen != [await expanded(stage(tmp_path, 0.5, seed=2), number) for number in range(60)]


async def test_an_opener_that_is_not_chosen_goes_on_as_it_is(tmp_path: Path) -> None:
    """Under an id of this stage, with the opener as its parent and not a call more."""
    assert await stage(tmp_path, 0.0).run(job(), {}) == [as_it_was()]


def test_the_prompt_holds_the_instruction_and_its_type(tmp_path: Path) -> None:
    """As every other request."""
    request = stage(tmp_path).prompt(job())
    assert request.messages == (Message(role="user", content="Expand this poem: Write a poem on rowing."),)
    assert (str(request.draw), request.sampling.max_tokens) == ("expand/2/3/0/0", 80)


async def test_the_answer_is_the_new_instruction(tmp_path: Path) -> None:
    """Without label or quotation marks; what it is about stays, what was measured of the old wording does not."""
    made = stage(tmp_path)
    script = Script({(0, 0): 'User: "Write a poem of\n\nfour lines on rowing."'})
    [record] = await made.run(job(), {"teacher": script})
    assert record == Opener(
        id="expand-2-3-0",
        provenance=Provenance(
            seeds=BEFORE.seeds,
            parents=("openers-2-0-1",),
            prompts=("i@1:aa", made.prompt_file.ref),
            models=("old", "m"),
            calls=("c0", "call-0.0"),
        ),
        instruction="Write a poem of\n\nfour lines on rowing.",
        lang="en",
        sector="writing",
        origin="writing",
        topic="poem",
        subtopic="Sport",
        novelty=None,
    )


def test_what_a_base_model_makes_an_assistant_say_is_no_part_of_it(tmp_path: Path) -> None:
    """The turn ends before the next label."""
    [record] = stage(tmp_path, rendering="completion").parse(answer(" Rhyme it.\nAssistant: Row, row"), job())
    assert isinstance(record, Opener)
    assert record.instruction == "Rhyme it."


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (answer("Write a poem of", finish_reason="length"), "truncated"),
        (answer("Write", finish_reason="content_filter"), "content_filter"),
        (Completion(text="", reasoning="Hm", finish_reason="length"), "thinking_cut"),
        (answer("I'm sorry, but I can't help with that."), "refusal"),
        (answer(" \n"), "empty"),
        (answer('""'), "empty"),
    ],
    ids=["cut", "filtered", "only-thought", "declined", "blank", "nothing-quoted"],
)
def test_an_opener_whose_expansion_failed_goes_on_as_it_was(
    tmp_path: Path, completion: Completion, reason: str
) -> None:
    """A failed expansion costs no opener; the answer is a reject beside it, and not an answer of no use."""
    made: list[Record | Reject] = stage(tmp_path).parse(completion, job())
    assert made[0] == as_it_was()
    [reject] = made[1:]
    assert isinstance(reject, Reject)
    assert (reject.id, reject.stage, reject.reason, reject.unusable) == ("expand-2-3-1", "expand", reason, False)
    assert reject.candidate == {"text": completion.text}
    assert reject.provenance.parents == ("openers-2-0-1",)
