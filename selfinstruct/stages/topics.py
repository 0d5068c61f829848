"""The upper level of the world: meta topics → sub-topics (UltraChat, systems §5.1). Each meta topic is asked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfinstruct.dialogue_seeds import MetaTopic
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import Completion, Lang, Provenance, Record, Reject, Rendering, Request, Sampling, Topic
from selfinstruct.stages.lists import asked, candidates


@dataclass(frozen=True)
class Topics:
    """Sub-topics of all meta topics. Filters, not this stage, decide which are kept."""

    metas: Sequence[MetaTopic]
    prompt_file: Prompt
    rendering: Rendering
    sampling: Sampling
    lang: Lang
    round_size: int
    count: int

    name = "topics"
    reads = None
    writes = Topic
    roles = ("teacher",)

    def plan(self, round: int, inputs: Sequence[Record], accepted: Sequence[Topic]) -> list[Job]:
        """The next ``round_size`` meta topics."""
        start = round * self.round_size
        return [Job(self.name, round, slot, meta) for slot, meta in enumerate(self.metas[start:][: self.round_size])]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Ask once; every item of the list is a candidate."""
        return self.parse(await models["teacher"].complete(self.prompt(job)), job)

    def prompt(self, job: Job) -> Request:
        """The meta topic, and how many parts of it are asked for."""
        meta: MetaTopic = job.material
        shown = self.prompt_file.render(self.rendering, topic=meta.topic, scope=meta.scope, count=self.count)
        return asked(job, shown, self.sampling)

    def parse(self, completion: Completion, job: Job) -> list[Record | Reject]:
        """Each item of the answer as a sub-topic."""
        meta: MetaTopic = job.material
        provenance = Provenance(seeds=(meta.id,)).then(self.prompt_file.ref, completion)

        def make(id: str, text: str) -> Topic:
            subtopic = text.rstrip(".。;； ")
            return Topic(id=id, provenance=provenance, topic=meta.topic, subtopic=subtopic, lang=self.lang)

        return candidates(completion, job, provenance, self.rendering, make)
