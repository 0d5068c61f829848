"""The records of another run are instructions: generated ones as they are, of a dialogue what the user asks last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from selfinstruct.errors import BadData, DamagedRun
from selfinstruct.feedback_schema import SourcedInstruction
from selfinstruct.instruction_file import Brought
from selfinstruct.instruction_run import InstructionRun
from selfinstruct.schema import Dialogue, Instruction, Lineage, Message, Provenance, Record, TaskInstance, Topic
from tests.runs_on_disk import a_run

NOWHERE = Provenance()
Stages = Mapping[str, Sequence[Sequence[Record]]]


def instruction(id: str, text: str) -> Instruction:
    """A record of a first stage."""
    return Instruction(id=id, provenance=NOWHERE, instruction=text, lang="en")


def instance(id: str, text: str, input: str) -> TaskInstance:
    """A record of a last stage."""
    return TaskInstance(
        id=id, provenance=NOWHERE, instruction=text, input=input, output="松。", lang="zh", is_classification=None
    )


def dialogue(id: str, *texts: str) -> Dialogue:
    """A dialogue of these turns, user first."""
    said = [Message(role="assistant" if place % 2 else "user", content=text) for place, text in enumerate(texts)]
    return Dialogue(
        id=id,
        provenance=NOWHERE,
        messages=tuple(said),
        lang="zh",
        sector="world",
        persona="p",
        opener=Lineage(id="openers-0-0-0", origin="question"),
        rounds=len(said) // 2,
        planned=2,
    )


TASKS: Stages = {
    "bootstrap": [[instruction("bootstrap-0-0-0", "Name a tree.")]],
    "instances": [
        [instance("instances-0-0-0", "说出一种树。", "")],
        [],
        [instance("instances-2-0-0", "把下面的词译成中文。", "oak\ntree")],
    ],
}


@pytest.mark.parametrize("method", ["self-instruct", "alpaca", "belle"])
def test_generated_tasks_are_instructions_of_their_method(tmp_path: Path, method: str) -> None:
    """Over all shards of the last stage, an input behind a blank line; the method is the source."""
    brought = InstructionRun.open(a_run(tmp_path / "trees", TASKS, method=method))
    assert list(brought) == [
        Brought("说出一种树。", method, "trees:instances-0-0-0"),
        Brought("把下面的词译成中文。\n\noak\ntree", method, "trees:instances-2-0-0"),
    ]
    assert (brought[-1], brought[:1]) == (brought[1], [brought[0]])
    with pytest.raises(IndexError):
        brought[2]


def test_a_run_that_does_not_tell_its_method_is_of_the_oldest(tmp_path: Path) -> None:
    """There was a time when there was no other; its instructions alone are taken, too."""
    stages = {"bootstrap": [[instruction("bootstrap-0-0-0", "Name a bird.")]]}
    brought = InstructionRun.open(a_run(tmp_path / "birds", stages))
    assert list(brought) == [Brought("Name a bird.", "self-instruct", "birds:bootstrap-0-0-0")]


def test_what_a_dialogue_s_user_asks_last_is_an_instruction(tmp_path: Path) -> None:
    """All that was said before is its history; the answer that ends it is left out."""
    stages = {
        "dialogue": [
            [dialogue("dialogue-0-0-0", "海水为什么咸？", "河水带来盐。", "雨呢？", "盐不会蒸发。")],
            [dialogue("dialogue-1-0-0", "Why is tea green?", "It is not fermented.")],
        ]
    }
    brought = InstructionRun.open(a_run(tmp_path / "talk", stages, method="ultrachat"))
    before = (Message(role="user", content="海水为什么咸？"), Message(role="assistant", content="河水带来盐。"))
    assert list(brought) == [
        Brought("雨呢？", "ultrachat", "talk:dialogue-0-0-0", before),
        Brought("Why is tea green?", "ultrachat", "talk:dialogue-1-0-0"),
    ]


def test_the_digest_of_a_run_names_it_its_records_and_its_method(tmp_path: Path) -> None:
    """Another name, record or method is another."""
    first = InstructionRun.open(a_run(tmp_path / "trees", TASKS, method="belle")).digest
    assert first.startswith("2 records of trees/instances, sha256 ")
    assert first.endswith(", belle")
    others = [
        InstructionRun.open(a_run(tmp_path / "others", TASKS, method="belle")).digest,
        InstructionRun.open(a_run(tmp_path / "a" / "trees", TASKS, method="alpaca")).digest,
        InstructionRun.open(
            a_run(tmp_path / "b" / "trees", {"instances": TASKS["instances"][:1]}, method="belle")
        ).digest,
    ]
    assert len({first, *others}) == 4


@pytest.mark.parametrize(("method", "command"), [("complete", "complete"), ("ultrafeedback", "feedback")])
def test_a_run_that_has_nothing_to_ask_is_refused(tmp_path: Path, method: str, command: str) -> None:
    """Before anything else is said of it: to finish it would not help."""
    record = SourcedInstruction(id="i-0-0-0", provenance=NOWHERE, instruction="Sing.", lang="en", source="", where="")
    path = a_run(tmp_path / "other", {method: [[record]]}, state="running", method=method)
    why = rf"^{path}: is a run of 'selfinstruct {command}', and not taken: name a run of 'selfinstruct generate' or '"
    with pytest.raises(BadData, match=why):
        InstructionRun.open(path)


def test_a_run_whose_records_ask_nothing_is_refused(tmp_path: Path) -> None:
    """Such as one that came no further than its topics."""
    topic = Topic(id="topics-0-0-0", provenance=NOWHERE, topic="Art", subtopic="Dance", lang="en")
    path = a_run(tmp_path / "early", {"topics": [[topic]]}, method="ultrachat")
    with pytest.raises(BadData, match=r"early: its records are of the kind Topic, which ask nothing; name a run of"):
        InstructionRun.open(path)


def test_a_run_that_goes_on_or_has_no_records_gives_no_instructions(tmp_path: Path) -> None:
    """Each with what to do."""
    path = a_run(tmp_path / "trees", TASKS, state="running", method="belle")
    with pytest.raises(BadData, match=r"trees: is not finished.*finish it first, or export .* to --instructions$"):
        InstructionRun.open(path)
    not_begun = a_run(tmp_path / "early", {"bootstrap": TASKS["bootstrap"], "instances": []})
    for path in (tmp_path / "missing", tmp_path, not_begun):
        with pytest.raises(BadData, match=rf"^{path}: no finished records here; 'selfinstruct status' lists the runs$"):
            InstructionRun.open(path)


def test_a_damaged_shard_gives_no_instructions(tmp_path: Path) -> None:
    """At the start by its hash, later by that of the record."""
    path = a_run(tmp_path / "trees", TASKS, method="belle")
    brought = InstructionRun.open(path)
    shard = path / "instances" / "shard-1.jsonl"
    shard.write_bytes(shard.read_bytes().replace(b"oak", b"ash"))
    with pytest.raises(DamagedRun, match=r"shard-1\.jsonl: is not as its manifest says; run again to derive it anew"):
        InstructionRun.open(path)
    with pytest.raises(DamagedRun, match=r"shard-1\.jsonl: was changed while it was in use; run again"):
        brought[1]
