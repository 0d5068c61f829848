"""Refuses nothing, and counts: an instruction that is kept gets its place among those that are."""

from __future__ import annotations

from selfinstruct.feedback_schema import SourcedInstruction
from selfinstruct.protocols import Drop


class Numbered:
    """Gives each instruction that is admitted its ``place``, from 0; the last filter of a chain.

    Which models are asked is decided by place, so that what a filter before refuses leaves no gap. Records that earlier
    starts admitted are admitted again, in their order, and keep their places.
    """

    def __init__(self) -> None:
        self._next = 0

    def check(self, record: SourcedInstruction) -> Drop | None:
        """None: every instruction has a place."""
        return None

    def admit(self, record: SourcedInstruction) -> SourcedInstruction:
        """The record with the next place."""
        place, self._next = self._next, self._next + 1
        return record.model_copy(update={"place": place})
