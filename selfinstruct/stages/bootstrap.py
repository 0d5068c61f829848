"""Stage 1 of Self-Instruct: show a few instructions, let the model continue the list (paper §2.2; systems: bootstrap).

A round's jobs each show ``num_demos`` instructions: up to ``machine_demos`` from the pool of accepted ones, the rest
seeds, all without replacement and shuffled, drawn by a generator seeded from (seed, stage, round).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from selfinstruct import parsing
from selfinstruct.errors import ParseError
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import (
    Completion,
    Instruction,
    Lang,
    Provenance,
    Record,
    Reject,
    Rendering,
    Request,
    Sampling,
    SeedTask,
)
from selfinstruct.stages.demos import draw, lineage


@dataclass(frozen=True)
class Bootstrap:
    """New instructions from old ones. Filters, not this stage, decide which are kept."""

    seeds: Sequence[SeedTask]
    prompt_file: Prompt
    rendering: Rendering
    sampling: Sampling
    lang: Lang
    seed: int
    round_size: int
    num_demos: int
    machine_demos: int
    new_tasks: int

    name = "bootstrap"
    reads = None
    writes = Instruction
    roles = ("teacher",)

    def plan(self, round: int, inputs: Sequence[Record], accepted: Sequence[Instruction]) -> list[Job]:
        """``round_size`` jobs, each with its own draw of demos; there is always more to ask for."""
        rng = Random(f"{self.seed}/{self.name}/{round}")
        shown = (self.seeds, accepted, self.num_demos, self.machine_demos)
        return [Job(self.name, round, slot, draw(rng, *shown)) for slot in range(self.round_size)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Ask once; every item of the list is a candidate."""
        return self.parse(await models["teacher"].complete(self.prompt(job)), job)

    def prompt(self, job: Job) -> Request:
        """The list so far, to be continued."""
        # One line each: the list's delimiters stand at line starts. A trailing colon would promise an input.
        texts = [" ".join(demo.instruction.split()).rstrip(":：") for demo in job.material]
        shown = self.prompt_file.render(self.rendering, demos=texts, new_tasks=self.new_tasks)
        return Request(
            draw=job.draw(), prompt=shown.prompt, messages=shown.messages, stop=shown.stop, sampling=self.sampling
        )

    def parse(self, completion: Completion, job: Job) -> list[Record | Reject]:
        """Each item of the answer as a candidate; an item cut by the token limit is a reject."""
        provenance = lineage(job.material).then(self.prompt_file.ref, completion)
        if completion.withheld:
            return [self._reject(job.id(), provenance, completion.withheld, completion.text, unusable=True)]
        try:
            items = parsing.task_list(
                completion.text, truncated=completion.truncated, continues=self.rendering == "completion"
            )
        except ParseError as error:
            return [self._reject(job.id(), provenance, error.reason, completion.text, unusable=True)]
        only_a_piece = all(item.cut for item in items)
        return [
            self._reject(job.id(i), provenance, "truncated", item.text, unusable=only_a_piece)
            if item.cut
            else Instruction(id=job.id(i), instruction=item.text, lang=self.lang, provenance=provenance)
            for i, item in enumerate(items)
        ]

    def _reject(self, id: str, provenance: Provenance, reason: str, text: str, *, unusable: bool) -> Reject:
        candidate = {"instruction": text}
        return Reject(
            id=id, provenance=provenance, stage=self.name, reason=reason, unusable=unusable, candidate=candidate
        )
