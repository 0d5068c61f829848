"""Openers about existing material: passages of the user's files → requests (UltraChat, systems §5.1).

Each passage is asked about once, in an order that goes all over the files, so that a small run has seen all of them.
The request is put before or behind its passage by one of several templates; only the request is compared with others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from selfinstruct.dialogue_seeds import Join
from selfinstruct.materials import Materials
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import Completion, Opener, Provenance, Record, Reject, Request
from selfinstruct.stages.lists import Lists


class Piece(NamedTuple):
    """A passage, by its place among all, and where it stands."""

    place: int
    text: str
    where: str


@dataclass(frozen=True)
class Requests:
    """Openers of the sector ``materials``."""

    materials: Materials
    joins: Sequence[Join]
    prompt_file: Prompt
    lists: Lists
    count: int

    name = "openers"
    reads = None
    writes = Opener
    roles = ("teacher",)

    def plan(self, round: int, inputs: Sequence[Record], accepted: Sequence[Opener]) -> list[Job]:
        """The next ``round_size`` passages; ``[]`` behind the last one."""
        numbers = self.lists.numbers(round)
        places = self.lists.order(len(self.materials))[numbers.start : numbers.stop]
        return [Job(self.name, round, slot, self._piece(place)) for slot, place in enumerate(places)]

    def _piece(self, place: int) -> Piece:
        passage = self.materials[place]
        return Piece(place, passage.text, passage.where)

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Ask once; every item of the list is a candidate."""
        return self.parse(await models["teacher"].complete(self.prompt(job)), job)

    def prompt(self, job: Job) -> Request:
        """The passage, and how many requests are asked for."""
        return self.lists.request(job, self.prompt_file, passage=job.material.text, count=self.count)

    def parse(self, completion: Completion, job: Job) -> list[Record | Reject]:
        """Each item of the answer as an opener."""
        piece: Piece = job.material
        provenance = Provenance(seeds=(f"passage-{piece.place}",)).then(self.prompt_file.ref, completion)

        def make(id: str, text: str) -> Opener:
            return Opener(
                id=id,
                provenance=provenance,
                instruction=text,
                lang=self.lists.lang,
                sector="materials",
                origin="request",
                topic=piece.where,
                passage=piece.text,
                join=Random(f"{self.lists.seed}/openers/{id}").choice(self.joins).id,
            )

        return self.lists.candidates(completion, job, provenance, make)
