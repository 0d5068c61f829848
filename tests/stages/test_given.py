"""Openers that are there already become records, and nobody is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.opener_file import OpenerFile
from selfinstruct.protocols import Job
from selfinstruct.schema import Opener, Provenance
from selfinstruct.stages.given import Given


def stage(folder: Path, many: int, round_size: int = 4) -> Given:
    """The openers of a file with so many lines."""
    path = folder / "openers.txt"
    path.write_text("".join(f"What is {number}?\n" for number in range(many)))
    return Given(OpenerFile.open(path), "given", "writing", "en", round_size)


@pytest.mark.parametrize(("many", "rounds"), [(1, [1, 0]), (4, [4, 0]), (9, [4, 4, 1, 0, 0])])
def test_each_text_is_a_job_in_the_order_of_the_file(tmp_path: Path, many: int, rounds: list[int]) -> None:
    """The last round is smaller, and behind it there is nothing."""
    made = stage(tmp_path, many)
    planned = [made.plan(number, (), ()) for number in range(len(rounds))]
    assert [len(jobs) for jobs in planned] == rounds
    jobs = [job for found in planned for job in found]
    assert [job.material.text for job in jobs] == [f"What is {number}?" for number in range(many)]
    assert [(job.round, job.slot) for job in jobs] == [(n // 4, n % 4) for n in range(many)]


async def test_a_text_becomes_an_opener_without_a_model(tmp_path: Path) -> None:
    """It is its own seed, by file and line; the sector is the run's."""
    made = stage(tmp_path, 3)
    assert made.roles == ()
    [opener] = await made.run(made.plan(0, (), ())[2], {})
    assert opener == Opener(
        id="openers-0-2-0",
        provenance=Provenance(seeds=("openers.txt:3",)),
        instruction="What is 2?",
        lang="en",
        sector="writing",
        origin="given",
        topic="openers.txt:3",
    )


async def test_what_another_run_accepted_says_so(tmp_path: Path) -> None:
    """Only the origin tells it from a line of a file."""
    texts = stage(tmp_path, 1).texts
    made = Given(texts, "run", "world", "zh", 8)
    [opener] = await made.run(Job("openers", 0, 0, texts[0]), {})
    assert isinstance(opener, Opener)
    assert (opener.origin, opener.sector, opener.lang) == ("run", "world", "zh")
