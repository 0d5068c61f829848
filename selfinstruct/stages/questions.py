"""Openers about the world: questions on sub-topics or entities, and questions related to those (systems §5.1).

Jobs are numbered through all rounds. One in four asks for questions related to an accepted one, each of which is taken
once, in order; the others go through the sub-topics in an order of their own, again and again with other samples. So
the first hundred questions are of ten sub-topics all over the field rather than of the first meta topic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from selfinstruct.dialogue_seeds import Entities
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import Completion, Opener, Provenance, Record, Reject, Request, Topic
from selfinstruct.stages.lists import Lists


@dataclass(frozen=True)
class Subject:
    """What questions are asked about: a sub-topic, an entity (both without ``question``), or an earlier question."""

    id: str
    topic: str
    subtopic: str
    seeds: tuple[str, ...] = ()
    question: str = ""


@dataclass(frozen=True)
class Counts:
    """How many questions a job asks for, and which share of the jobs asks for related ones, 0 to below 1."""

    questions: int
    related: int
    related_share: Fraction


@dataclass(frozen=True)
class Questions:
    """Openers of the sector ``world``. Without ``entities`` the stage reads all sub-topics."""

    entities: Entities | None
    about: Prompt
    related: Prompt
    lists: Lists
    counts: Counts

    name = "openers"
    writes = Opener
    roles = ("teacher",)

    @property
    def reads(self) -> type[Record] | None:
        """Sub-topics, where it has no entities."""
        return Topic if self.entities is None else None

    def plan(self, round: int, inputs: Sequence[Topic], accepted: Sequence[Opener]) -> list[Job]:
        """``round_size`` jobs; there is always more to ask for, unless there is nothing to ask about."""
        many = len(inputs) if self.entities is None else len(self.entities)
        numbers = self.lists.numbers(round) if many else ()
        return [
            Job(self.name, round, slot, self._subject(number, many, inputs, accepted))
            for slot, number in enumerate(numbers)
        ]

    def _subject(self, number: int, many: int, inputs: Sequence[Topic], accepted: Sequence[Opener]) -> Subject:
        """Of the job with that number; where no question is there yet to relate to, the last sub-topics stand in."""
        order = self.lists.order(many)
        before = int(number * self.counts.related_share)  # so many of the jobs before asked for related questions
        if int((number + 1) * self.counts.related_share) == before:
            return self._fresh(order[(number - before) % many], inputs)
        if before >= len(accepted):
            return self._fresh(order[-1 - before % many], inputs)
        parent = accepted[before]
        return Subject(parent.id, parent.topic, parent.subtopic, parent.provenance.seeds, parent.instruction)

    def _fresh(self, place: int, inputs: Sequence[Topic]) -> Subject:
        if self.entities is not None:
            entity = self.entities[place]
            return Subject(entity.id, entity.entity, "", (entity.id,))
        topic = inputs[place]
        return Subject(topic.id, topic.topic, topic.subtopic, topic.provenance.seeds)

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Ask once; every item of the list is a candidate."""
        return self.parse(await models["teacher"].complete(self.prompt(job)), job)

    def prompt(self, job: Job) -> Request:
        """The subject, and how many questions are asked for."""
        subject: Subject = job.material
        if subject.question:
            named = {"question": subject.question, "subtopic": subject.subtopic or subject.topic}
            return self.lists.request(job, self.related, **named, count=self.counts.related)
        if self.entities is not None:
            return self.lists.request(job, self.about, entity=subject.topic, count=self.counts.questions)
        named = {"topic": subject.topic, "subtopic": subject.subtopic}
        return self.lists.request(job, self.about, **named, count=self.counts.questions)

    def parse(self, completion: Completion, job: Job) -> list[Record | Reject]:
        """Each item of the answer as an opener."""
        subject: Subject = job.material
        parents = () if subject.id in subject.seeds else (subject.id,)
        prompt = self.related if subject.question else self.about
        provenance = Provenance(seeds=subject.seeds, parents=parents).then(prompt.ref, completion)

        def make(id: str, text: str) -> Opener:
            return Opener(
                id=id,
                provenance=provenance,
                instruction=text,
                lang=self.lists.lang,
                sector="world",
                origin="related" if subject.question else "question",
                topic=subject.topic,
                subtopic=subject.subtopic,
            )

        return self.lists.candidates(completion, job, provenance, make)
