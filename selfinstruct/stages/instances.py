"""Stage 3 of Self-Instruct: worked examples for an instruction.

Output first for classification (the label, then an input for it: asked the other way round, models write inputs of
one class only), input first otherwise. The invalid, conflict and at-most-five rules are the paper's (systems §1.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from selfinstruct import parsing
from selfinstruct.errors import ParseError
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import (
    ClassifiedInstruction,
    Completion,
    Provenance,
    Record,
    Reject,
    Rendering,
    Request,
    Sampling,
    TaskInstance,
)


@dataclass(frozen=True)
class Order:
    """One of the two ways to ask: its prompt, how many demos of it, and its sampling."""

    prompt_file: Prompt
    demos: int
    sampling: Sampling


@dataclass(frozen=True)
class Instances:
    """Inputs and outputs for a classified instruction."""

    output_first: Order
    input_first: Order
    rendering: Rendering
    max_instances: int
    keep: int
    seed: int

    name = "instances"
    reads = ClassifiedInstruction
    writes = TaskInstance
    roles = ("teacher",)

    def plan(self, round: int, inputs: Sequence[ClassifiedInstruction], accepted: Sequence[Record]) -> list[Job]:
        """One job for each instruction classified in this round."""
        return [Job(self.name, round, slot, record) for slot, record in enumerate(inputs)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Ask once; every example in the answer is a candidate."""
        return self.parse(await models["teacher"].complete(self.prompt(job)), job)

    def prompt(self, job: Job) -> Request:
        """The few-shot prompt of the order that fits the task."""
        order = self._order(job)
        shown = order.prompt_file.render(
            self.rendering,
            demos=order.prompt_file.demos[: order.demos],
            instruction=job.material.instruction,
            max_instances=self.max_instances,
        )
        return Request(
            draw=job.draw(), prompt=shown.prompt, messages=shown.messages, stop=shown.stop, sampling=order.sampling
        )

    def parse(self, completion: Completion, job: Job) -> list[Record | Reject]:
        """Valid examples as records, the others as rejects with the rule they break."""
        order = self._order(job)
        provenance = job.material.provenance.then(order.prompt_file.ref, completion)
        if completion.withheld:
            candidate = {"instruction": job.material.instruction, "text": completion.text}
            return [self._reject(job.id(), provenance, completion.withheld, candidate, unusable=True)]
        try:
            found = self._found(completion, job, order)
        except ParseError as error:
            candidate = {"instruction": job.material.instruction, "text": completion.text}
            return [self._reject(job.id(), provenance, error.reason, candidate, unusable=True)]
        rng = Random(f"{self.seed}/{self.name}/{job.round}/{job.slot}")
        valid, invalid = parsing.valid_instances(found, self.keep, rng)
        only_a_piece = not valid and all(reason == "truncated" for _, reason in invalid)
        outcome: list[Record | Reject] = [
            self._instance(job.id(i), job.material, provenance, parsed) for i, parsed in enumerate(valid)
        ]
        for i, (parsed, reason) in enumerate(invalid, len(valid)):
            candidate = {"instruction": job.material.instruction, "input": parsed.input, "output": parsed.output}
            outcome.append(self._reject(job.id(i), provenance, reason, candidate, unusable=only_a_piece))
        return outcome

    def _order(self, job: Job) -> Order:
        return self.output_first if job.material.is_classification else self.input_first

    def _found(self, completion: Completion, job: Job, order: Order) -> list[parsing.Parsed]:
        opened: Any = order.prompt_file.opens if self.rendering == "completion" else None
        read = parsing.classification_instances if job.material.is_classification else parsing.generation_instances
        return read(completion.text, truncated=completion.truncated, opened=opened)

    def _instance(
        self, id: str, task: ClassifiedInstruction, provenance: Provenance, parsed: parsing.Parsed
    ) -> TaskInstance:
        return TaskInstance(
            id=id,
            provenance=provenance,
            instruction=task.instruction,
            input=parsed.input,
            output=parsed.output,
            lang=task.lang,
            is_classification=task.is_classification,
            novelty=task.novelty,
        )

    def _reject(
        self, id: str, provenance: Provenance, reason: str, candidate: dict[str, Any], *, unusable: bool
    ) -> Reject:
        return Reject(
            id=id, provenance=provenance, stage=self.name, reason=reason, unusable=unusable, candidate=candidate
        )
