"""Openers that are there already: lines of the user's file, or what another run has accepted. Nobody is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from selfinstruct.protocols import Job, Model
from selfinstruct.schema import Lang, Opener, Provenance, Record, Reject, Sector


class Text(Protocol):
    """A text, and where it stands: ``file:line``, or run and record."""

    @property
    def text(self) -> str:
        """What a user asks first."""
        ...

    @property
    def where(self) -> str:
        """For people."""
        ...


@dataclass(frozen=True)
class Given:
    """Each text as an opener, in the order of the file or run."""

    texts: Sequence[Text]
    origin: Literal["given", "run"]
    sector: Sector
    lang: Lang
    round_size: int

    name = "openers"
    reads = None
    writes = Opener
    roles = ()

    def plan(self, round: int, inputs: Sequence[Record], accepted: Sequence[Opener]) -> list[Job]:
        """The next ``round_size`` texts; ``[]`` behind the last one."""
        start = round * self.round_size
        many = min(self.round_size, len(self.texts) - start)
        return [Job(self.name, round, slot, self.texts[start + slot]) for slot in range(many)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """The opener."""
        text: Text = job.material
        return [
            Opener(
                id=job.id(0),
                provenance=Provenance(seeds=(text.where,)),
                instruction=text.text,
                lang=self.lang,
                sector=self.sector,
                origin=self.origin,
                topic=text.where,
            )
        ]
