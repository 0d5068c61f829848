"""Numbered: a place for each instruction that is kept, the same on every start."""

from __future__ import annotations

from selfinstruct.feedback_schema import SourcedInstruction
from selfinstruct.filters.numbered import Numbered
from selfinstruct.protocols import Filter
from selfinstruct.schema import Provenance


def instruction(id: str) -> SourcedInstruction:
    """A record that has no place yet."""
    return SourcedInstruction(id=id, provenance=Provenance(), instruction="Sing.", lang="en", source="", where="")


def test_each_instruction_that_is_admitted_gets_the_next_place() -> None:
    """From 0, and nothing else of it changes; one that is only looked at takes none."""
    numbered: Filter[SourcedInstruction] = Numbered()
    records = [instruction(f"instructions-0-{slot}-0") for slot in range(3)]
    assert [numbered.check(record) for record in records] == [None, None, None]
    admitted = [numbered.admit(record) for record in records]
    assert [record.place for record in admitted] == [0, 1, 2]
    assert [record.model_copy(update={"place": 0}) for record in admitted] == records


def test_places_go_on_behind_those_of_an_earlier_start() -> None:
    """Records that come back keep their places, and the next ones get those they would have had."""
    first, again = Numbered(), Numbered()
    admitted = [first.admit(instruction(f"instructions-{round}-0-0")) for round in range(5)]
    assert [again.admit(record) for record in admitted[:3]] == admitted[:3]
    assert [again.admit(instruction(f"instructions-{round}-0-0")) for round in (3, 4)] == admitted[3:]
