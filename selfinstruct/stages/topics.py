"""The upper level of the world: meta topics → sub-topics (UltraChat, systems §5.1). Each meta topic is asked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfinstruct.dialogue_seeds import MetaTopic
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import Completion, Provenance, Record, Reject, Request, Topic
from selfinstruct.stages.lists import Lists


@dataclass(frozen=True)
class Topics:
    """Sub-topics of all meta topics. Filters, not this stage, decide which are kept."""

    metas: Sequence[MetaTopic]
    prompt_file: Prompt
    lists: Lists
    count: int

    name = "topics"
    reads = None
    writes = Topic
    roles = ("teacher",)

    def plan(self, round: int, inputs: Sequence[Record], accepted: Sequence[Topic]) -> list[Job]:
        """The next ``round_size`` meta topics."""
        numbers = self.lists.numbers(round)
        return [Job(self.name, round, slot, meta) for slot, meta in enumerate(self.metas[numbers.start : numbers.stop])]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Ask once; every item of the list is a candidate."""
        return self.parse(await models["teacher"].complete(self.prompt(job)), job)

    def prompt(self, job: Job) -> Request:
        """The meta topic, and how many parts of it are asked for."""
        meta: MetaTopic = job.material
        return self.lists.request(job, self.prompt_file, topic=meta.topic, scope=meta.scope, count=self.count)

    def parse(self, completion: Completion, job: Job) -> list[Record | Reject]:
        """Each item of the answer as a sub-topic."""
        meta: MetaTopic = job.material
        provenance = Provenance(seeds=(meta.id,)).then(self.prompt_file.ref, completion)

        def make(id: str, text: str) -> Topic:
            subtopic = text.rstrip(".。;； ")
            return Topic(id=id, provenance=provenance, topic=meta.topic, subtopic=subtopic, lang=self.lists.lang)

        return self.lists.candidates(completion, job, provenance, make)
