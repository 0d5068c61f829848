"""Openers that ask for a text: types of text x subjects → instructions (UltraChat, systems §5.1).

Each job pairs a type of text with a meta topic to draw subjects from, in an order of its own, so that no prompt comes
twice before all pairs have come: 20 types and 30 topics make 600 prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from selfinstruct.dialogue_seeds import MetaTopic, TextType
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import Completion, Opener, Provenance, Record, Reject, Request
from selfinstruct.stages.lists import Lists


class Pair(NamedTuple):
    """What to write, and where its subjects come from."""

    type: TextType
    about: MetaTopic


@dataclass(frozen=True)
class Writings:
    """Openers of the sector ``writing``."""

    types: Sequence[TextType]
    topics: Sequence[MetaTopic]
    prompt_file: Prompt
    lists: Lists
    count: int

    name = "openers"
    reads = None
    writes = Opener
    roles = ("teacher",)

    def plan(self, round: int, inputs: Sequence[Record], accepted: Sequence[Opener]) -> list[Job]:
        """The next ``round_size`` pairs; there is always more to ask for."""
        numbers = self.lists.numbers(round)
        return [Job(self.name, round, slot, self._pair(number)) for slot, number in enumerate(numbers)]

    def _pair(self, number: int) -> Pair:
        """Types take turns; each meets the topics in an order of its own."""
        turn, place = divmod(number, len(self.types))
        topics = self.lists.order(len(self.topics), place)
        return Pair(self.types[place], self.topics[topics[turn % len(topics)]])

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Ask once; every item of the list is a candidate."""
        return self.parse(await models["teacher"].complete(self.prompt(job)), job)

    def prompt(self, job: Job) -> Request:
        """The type of text, the subjects, and how many instructions are asked for."""
        type, about = job.material
        colon = "：" if self.lists.lang == "zh" else ": "
        area = f"{about.topic}{colon}{about.scope}" if about.scope else about.topic
        named = {"type": type.type, "purpose": type.purpose, "about": area}
        return self.lists.request(job, self.prompt_file, **named, count=self.count)

    def parse(self, completion: Completion, job: Job) -> list[Record | Reject]:
        """Each item of the answer as an opener."""
        type, about = job.material
        provenance = Provenance(seeds=(type.id, about.id)).then(self.prompt_file.ref, completion)

        def make(id: str, text: str) -> Opener:
            return Opener(
                id=id,
                provenance=provenance,
                instruction=text,
                lang=self.lists.lang,
                sector="writing",
                origin="writing",
                topic=type.type,
                subtopic=about.topic,
            )

        return self.lists.candidates(completion, job, provenance, make)
