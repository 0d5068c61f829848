"""Instructions that are there already become records, and nobody is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from selfinstruct.feedback_schema import SourcedInstruction
from selfinstruct.instruction_file import Brought, InstructionFile
from selfinstruct.protocols import Job, Stage
from selfinstruct.schema import Message, Provenance
from selfinstruct.stages.brought import Instructions


@pytest.mark.parametrize(("many", "rounds"), [(1, [1, 0]), (4, [4, 0]), (9, [4, 4, 1, 0, 0])])
def test_each_instruction_is_a_job_in_the_order_of_the_file(tmp_path: Path, many: int, rounds: list[int]) -> None:
    """The last round is smaller, and behind it there is nothing."""
    path = tmp_path / "mine.txt"
    path.write_text("".join(f"What is {number}?\n" for number in range(many)))
    made = Instructions(InstructionFile.open(path), "en", 4)
    planned = [made.plan(number, (), ()) for number in range(len(rounds))]
    assert [len(jobs) for jobs in planned] == rounds
    jobs = [job for found in planned for job in found]
    assert [job.material.instruction for job in jobs] == [f"What is {number}?" for number in range(many)]
    assert [(job.round, job.slot) for job in jobs] == [(n // 4, n % 4) for n in range(many)]


async def test_an_instruction_becomes_a_record_without_a_model() -> None:
    """With all that was brought; it is its own seed, by file and line, and has no place yet."""
    history = (Message(role="user", content="海水为什么咸？"), Message(role="assistant", content="河水带来盐。"))
    brought: Sequence[Brought] = [Brought("雨呢？", "flan", "问.jsonl:7", history, ("盐不蒸发。",), ("雨也咸。",))]
    made: Stage = Instructions(brought, "zh", 8)
    assert (made.name, made.reads, made.writes, made.roles) == ("instructions", None, SourcedInstruction, ())
    [record] = await made.run(Job("instructions", 3, 2, brought[0]), {})
    assert record == SourcedInstruction(
        id="instructions-3-2-0",
        provenance=Provenance(seeds=("问.jsonl:7",)),
        instruction="雨呢？",
        lang="zh",
        source="flan",
        where="问.jsonl:7",
        place=0,
        history=history,
        correct_answers=("盐不蒸发。",),
        incorrect_answers=("雨也咸。",),
    )
