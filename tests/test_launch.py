"""What a run counts, what it is asked for, and what it takes up of what is on disk: chains that wait, and others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import launch
from selfinstruct.config import settings
from selfinstruct.errors import LimitReached
from selfinstruct.launch import Account, Plan
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models import opening
from selfinstruct.recipe import Recipe
from selfinstruct.runner import StageRun
from selfinstruct.schema import Opener
from selfinstruct.store import StageStore
from selfinstruct.store_manifest import read_manifest
from tests.command import data_files

FAKE = ModelRecipe(api="fake", name="fake")
FEW: dict[str, Any] = {
    "topics": {"subtopics": 2},
    "openers": {"questions": 2},
    "dialogue": {"rounds": (2, 2)},
    "rounds_per_shard": 4,
}


def plan(path: Path, **tables: Any) -> Plan:
    """A run of scripted answers; dialogues from topics, unless another method is named."""
    recipe = Recipe.model_validate({"method": "ultrachat", "model": FAKE, **tables})
    told = settings({"max_unusable": 1})
    roles = opening.open_models(recipe, told) if recipe.method == "ultrachat" else {}
    return launch.plan(recipe, told, opening.open_model(FAKE, told), path, roles)


def from_lines(path: Path, lines: int, **tables: Any) -> Plan:
    """Dialogues from the lines of a file."""
    path.parent.mkdir(exist_ok=True, parents=True)
    file = path.parent / "openers.txt"
    file.write_text("".join(f"What is behind the door with the number {n}?\n" for n in range(lines)))
    return plan(path, openers={"entry": "file", "source": [str(file)]}, dialogue=FEW["dialogue"], **tables)


def run(planned: Plan, target: int) -> Account:
    """The account of a run to that target."""
    account = Account(planned.path.name, target, counted=planned.links[planned.counted].stage.name)
    launch.run(planned, account, lambda chain: None)
    return account


def accepted(planned: Plan) -> list[int]:
    """How many records each stage has on disk."""
    manifests = [read_manifest(planned.path / link.stage.name) for link in planned.links]
    return [manifest.accepted for manifest in manifests if manifest]


# --- what is counted ------------------------------------------------------------------------------------------------


def test_the_first_stage_is_counted_or_the_last_that_waits(tmp_path: Path) -> None:
    """Questions wait for topics, so questions are counted; elsewhere the openers come first anyway."""
    world, writing = plan(tmp_path / "a"), plan(tmp_path / "b", dialogue={"sector": "writing"})
    tasks = plan(tmp_path / "c", method="self-instruct")
    assert [one.counted for one in (world, writing, tasks, from_lines(tmp_path / "d", 1))] == [1, 0, 0, 0]


def test_all_there_is_are_the_lines_of_a_file_and_a_hundred_where_a_model_writes(tmp_path: Path) -> None:
    """What is asked for where nothing is said."""
    assert from_lines(tmp_path / "a", 7).all_there_is == 7
    assert plan(tmp_path / "b").all_there_is == 100


def test_the_account_counts_the_counted_stage(tmp_path: Path) -> None:
    """Topics have more records than were asked for, and that says nothing."""
    planned = plan(tmp_path / "r", **FEW)
    account = run(planned, 5)
    assert account.main is account.tallies["openers"]
    assert 5 <= account.main.accepted == accepted(planned)[1]
    assert account.tallies["topics"].accepted > 20
    assert (account.through, account.exhausted) == (False, False)
    assert account.tallies["topics"].jobs == 30


def test_a_file_that_ends_before_the_target_is_through(tmp_path: Path) -> None:
    """And not exhausted: the next start is nothing to do and no error."""
    planned = from_lines(tmp_path / "r", 5)
    first, again = run(planned, 50), run(planned, 50)
    assert (first.through, first.exhausted, first.main.accepted) == (True, False, 5)
    assert (again.through, again.new_calls, first.new_calls) == (True, 0, 15)


def test_a_file_with_many_lines_that_come_again_is_read_to_its_end(tmp_path: Path) -> None:
    """To read on costs nothing: 600 repeats in a row exhaust nobody, and what stands behind them is not lost."""
    file = tmp_path / "openers.txt"
    file.write_text("Go on.\n" * 601 + "Why do bees dance?\n")
    tables = {"openers": {"entry": "file", "source": [str(file)]}, "dialogue": {"rounds": (1, 1)}}
    account = run(plan(tmp_path / "r", **tables), 602)
    assert (account.through, account.exhausted, account.main.accepted, account.new_calls) == (True, False, 2, 2)


# --- how many are asked for -----------------------------------------------------------------------------------------


def test_more_is_counted_from_what_is_there_once_that_is_finished(tmp_path: Path) -> None:
    """The counted stage's records, not the topics'; before the first start more is all."""
    planned = plan(tmp_path / "r", **FEW)
    assert launch.target_of(planned, 5, more=True) == 5
    run(planned, 5)
    there = accepted(planned)[1]
    assert launch.target_of(planned, 7, more=True) == there + 7
    assert launch.target_of(planned, 7, more=False) == 7


def test_more_of_an_unfinished_run_is_what_it_was_asked_for(tmp_path: Path) -> None:
    """So a nightly +N that was cut short does not pile up."""
    planned = plan(tmp_path / "r", **FEW)
    run(planned, 20)
    for name in ("shard-0.jsonl", "manifest.json"):
        (tmp_path / "r" / "dialogue" / name).unlink()
    assert launch.target_of(planned, 7, more=True) == 20


# --- what is taken up -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [False, True], ids=["topics", "lines"])
def test_an_extended_run_has_the_bytes_of_a_direct_one_and_asks_nothing_twice(tmp_path: Path, lines: bool) -> None:
    """5, then 9, then 20 is 20 at once; what is before the counted stage is not even read again."""

    def planned(name: str) -> Plan:
        return from_lines(tmp_path / name, 25, rounds_per_shard=4) if lines else plan(tmp_path / name, **FEW)

    whole = run(planned("whole"), 20)
    calls = [run(planned("run"), target).new_calls for target in (5, 9, 20, 20)]
    assert data_files(tmp_path / "run") == data_files(tmp_path / "whole")
    assert sum(calls) == whole.new_calls
    assert calls[3] == 0


@pytest.mark.parametrize("lost", ["topics", "openers", "dialogue"])
@pytest.mark.parametrize("what", ["shard-0.jsonl", "manifest.json"])
def test_what_was_lost_is_derived_again_without_a_call(tmp_path: Path, lost: str, what: str) -> None:
    """Of any stage of a chain that waits: the ledger knows all answers."""
    planned = plan(tmp_path / "r", **FEW)
    run(planned, 12)
    before = data_files(tmp_path / "r")
    (tmp_path / "r" / lost / what).unlink()
    assert run(plan(tmp_path / "r", **FEW), 12).new_calls == 0
    assert data_files(tmp_path / "r") == before


def test_topics_that_were_lost_behind_an_exhausted_run_are_what_they_were(tmp_path: Path) -> None:
    """Only what ran dry is exhausted."""
    dry = {**FEW, "openers": {"questions": 30, "threshold": "0.02"}}
    with pytest.raises(LimitReached, match="exhausted at "):
        run(plan(tmp_path / "r", **dry), 1000)
    before = data_files(tmp_path / "r")
    states = {link: read_manifest(tmp_path / "r" / link) for link in ("topics", "openers", "dialogue")}
    assert [manifest and manifest.state for manifest in states.values()] == ["complete", "exhausted", "exhausted"]
    (tmp_path / "r" / "topics" / "shard-0.jsonl").unlink()
    with pytest.raises(LimitReached, match="exhausted at "):
        run(plan(tmp_path / "r", **dry), 1000)
    assert data_files(tmp_path / "r") == before


def test_dialogues_have_room_for_as_many_as_both_models_take(tmp_path: Path) -> None:
    """Eight for each call that may be in flight at the busier one; a stage that waits says so to the runner."""
    planned = plan(tmp_path / "r", **FEW)
    seen: list[Sequence[StageRun]] = []
    account = Account("r", 2, counted="openers")
    launch.run(planned, account, lambda chain: seen.append(list(chain)))
    [*_, last] = seen
    most = max(opened.concurrency for opened in planned.answering.values())
    assert {one.room for one in last} == {8 * most}
    assert [one.waits for one in last] == [False, True, False]


def test_every_dialogue_has_its_opener_among_the_records_before(tmp_path: Path) -> None:
    """In their order, round for round."""
    planned = plan(tmp_path / "r", **FEW)
    run(planned, 6)
    openers: StageStore[Opener] = StageStore(tmp_path / "r" / "openers", Opener, 4)
    openers.load(whole_shards_only=False)
    dialogues: StageStore[Any] = StageStore(tmp_path / "r" / "dialogue", planned.links[2].stage.writes, 4)
    dialogues.load(whole_shards_only=False)
    ids = [record.id for record in openers.upto(openers.rounds)]
    assert [record.opener.id for record in dialogues.upto(dialogues.rounds)] == ids
    assert [record.messages[0].content for record in dialogues.upto(dialogues.rounds)] == [
        record.instruction for record in openers.upto(openers.rounds)
    ]
