"""Instructions that are there already: lines of the user's file, or what another run has accepted. Nobody is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from selfinstruct.feedback_schema import SourcedInstruction
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import Lang, Message, Provenance, Record, Reject


class ToAsk(Protocol):
    """What several models are to be asked, and where it stands."""

    @property
    def instruction(self) -> str:
        """What a user asks."""
        ...

    @property
    def source(self) -> str:
        """The data set it comes from."""
        ...

    @property
    def where(self) -> str:
        """``file:line``, or run and record; for people."""
        ...

    @property
    def history(self) -> tuple[Message, ...]:
        """What was said before it."""
        ...

    @property
    def correct_answers(self) -> tuple[str, ...]:
        """For the judge alone."""
        ...

    @property
    def incorrect_answers(self) -> tuple[str, ...]:
        """For the judge alone."""
        ...


@dataclass(frozen=True)
class Instructions:
    """Each text as a record, in the order of the file or run; what is kept gets its place when it is admitted."""

    brought: Sequence[ToAsk]
    lang: Lang
    round_size: int

    name = "instructions"
    reads = None
    writes = SourcedInstruction
    roles = ()

    def plan(self, round: int, inputs: Sequence[Record], accepted: Sequence[SourcedInstruction]) -> list[Job]:
        """The next ``round_size`` texts; ``[]`` behind the last one."""
        start = round * self.round_size
        many = min(self.round_size, len(self.brought) - start)
        return [Job(self.name, round, slot, self.brought[start + slot]) for slot in range(many)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """The instruction."""
        asked: ToAsk = job.material
        return [
            SourcedInstruction(
                id=job.id(0),
                provenance=Provenance(seeds=(asked.where,)),
                instruction=asked.instruction,
                lang=self.lang,
                source=asked.source,
                where=asked.where,
                history=asked.history,
                correct_answers=asked.correct_answers,
                incorrect_answers=asked.incorrect_answers,
            )
        ]
