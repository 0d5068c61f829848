"""Openers about existing material: the order of passages, the request, and the template that joins both."""

from __future__ import annotations

from pathlib import Path

from selfinstruct.dialogue_seeds import Join
from selfinstruct.materials import Materials
from selfinstruct.protocols import Job
from selfinstruct.schema import Message, Opener, Provenance, Reject
from selfinstruct.stages.requests import Piece, Requests
from tests.stages.asking import lists
from tests.stages.dialogue_parts import Script
from tests.stages.prompt_files import answer, prompt_file

JOINS = tuple(Join(id=f"join-{n}", text="{passage}" + " " * n + "{request}") for n in range(1, 5))


def materials(folder: Path, many: int) -> Materials:
    """So many files of one passage each."""
    paths = []
    for number in range(many):
        paths.append(folder / f"file-{number}.txt")
        paths[-1].write_text(f"Passage {number} is about the river of that number.\n")
    return Materials.open(paths, tokens=60)


def stage(folder: Path, many: int = 10, seed: int = 1) -> Requests:
    """Four passages a round."""
    return Requests(
        materials=materials(folder, many),
        joins=JOINS,
        prompt_file=prompt_file(folder, "", "{{ passage }}\n1.", "{{ count }} requests about: {{ passage }}"),
        lists=lists(60, seed=seed),
        count=2,
    )


PIECE = Piece(7, "Passage 7 is about {braces}.", "file-7.txt:1")


def places(made: Requests) -> list[list[int]]:
    """Which passages each of the first rounds is about."""
    return [[job.material.place for job in made.plan(number, (), ())] for number in range(5)]


def test_each_passage_is_asked_about_once(tmp_path: Path) -> None:
    """All of them, none twice, the last round smaller, and then nothing more."""
    rounds = places(stage(tmp_path))
    assert [len(found) for found in rounds] == [4, 4, 2, 0, 0]
    assert sorted(place for found in rounds for place in found) == list(range(10))


def test_the_order_goes_all_over_the_files_and_is_the_seeds(tmp_path: Path) -> None:
    """The same each time, another with another seed."""
    assert places(stage(tmp_path)) == places(stage(tmp_path))
    assert places(stage(tmp_path)) != places(stage(tmp_path, seed=2))
    assert [place for found in places(stage(tmp_path)) for place in found] != list(range(10))


def test_a_job_carries_the_passage_and_where_it_stands(tmp_path: Path) -> None:
    """What the prompt and the record need; the file is not read again for them."""
    made = stage(tmp_path)
    for job in made.plan(0, (), ()):
        passage = made.materials[job.material.place]
        assert (job.material.text, job.material.where) == (passage.text, passage.where)
        assert job.material.text.startswith(f"Passage {job.material.place} ")


def test_the_prompt_holds_the_passage_as_it_is(tmp_path: Path) -> None:
    """Braces and all; and how many requests are asked for."""
    request = stage(tmp_path).prompt(Job("openers", 1, 3, PIECE))
    assert request.messages == (Message(role="user", content="2 requests about: Passage 7 is about {braces}."),)
    assert str(request.draw) == "openers/1/3/0/0"


async def test_each_item_of_the_answer_is_a_request_about_the_passage(tmp_path: Path) -> None:
    """The record keeps both apart, so that only the request is compared with others."""
    made = stage(tmp_path)
    script = Script({(0, 0): "1. Sum it up.\n2. Where is it?"})
    first, second = await made.run(Job("openers", 1, 3, PIECE), {"teacher": script})
    assert isinstance(first, Opener)
    assert first == Opener(
        id="openers-1-3-0",
        provenance=Provenance(
            seeds=("passage-7",), prompts=(made.prompt_file.ref,), models=("m",), calls=("call-0.0",)
        ),
        instruction="Sum it up.",
        lang="en",
        sector="materials",
        origin="request",
        topic="file-7.txt:1",
        passage=PIECE.text,
        join=first.join,
    )
    assert first.texts == {"instruction": "Sum it up."}
    assert second.id == "openers-1-3-1"


def test_templates_are_drawn_for_each_request_and_all_of_them_are_used(tmp_path: Path) -> None:
    """By the request's id alone: the same in every run, whatever else the answer holds."""
    made = stage(tmp_path)
    many = [made.parse(answer("1. A is it?\n2. B is it?"), Job("openers", n, 0, PIECE)) for n in range(30)]
    joins = [opener.join for pair in many for opener in pair if isinstance(opener, Opener)]
    assert set(joins) == {join.id for join in JOINS}
    [alone] = made.parse(answer("1. Something else?"), Job("openers", 3, 0, PIECE))
    assert isinstance(alone, Opener)
    assert alone.join == joins[6]
    assert len({joins[2 * n] == joins[2 * n + 1] for n in range(30)}) == 2


def test_an_answer_that_is_no_list_is_an_unusable_reject(tmp_path: Path) -> None:
    """With the passage it was asked about as its seed."""
    [reject] = stage(tmp_path).parse(answer(""), Job("openers", 1, 3, PIECE))
    assert isinstance(reject, Reject)
    assert (reject.id, reject.reason, reject.unusable) == ("openers-1-3", "no_list", True)
    assert reject.provenance.seeds == ("passage-7",)
