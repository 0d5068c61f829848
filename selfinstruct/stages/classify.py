"""Stage 2 of Self-Instruct: is the task classification? Decides whether stage 3 writes outputs or inputs first.

Few-shot, at temperature 0. An answer that is neither yes nor no is asked again, at a temperature above 0 since the same
question would give the same answer; a task whose verdict stays unknown is rejected, never taken as "no".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfinstruct import parsing
from selfinstruct.errors import ParseError
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import (
    ClassifiedInstruction,
    Completion,
    Instruction,
    Record,
    Reject,
    Rendering,
    Request,
    Sampling,
)


@dataclass(frozen=True)
class Classify:
    """One yes or no an instruction."""

    prompt_file: Prompt
    rendering: Rendering
    sampling: Sampling
    demos: int
    resamples: int
    resample_temperature: float

    name = "classify"
    reads = Instruction
    writes = ClassifiedInstruction
    roles = ("teacher",)

    def plan(self, round: int, inputs: Sequence[Instruction], accepted: Sequence[Record]) -> list[Job]:
        """One job for each instruction accepted in this round."""
        return [Job(self.name, round, slot, record) for slot, record in enumerate(inputs)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Ask until the verdict is known, at most ``1 + resamples`` times."""
        answers: list[Completion] = []
        for k in range(1 + self.resamples):
            answers.append(await models["teacher"].complete(self.prompt(job, k)))
            verdict = self.parse(answers[-1])
            if verdict is not None:
                return [self._classified(job, verdict, answers)]
        provenance = job.material.provenance.then(self.prompt_file.ref, *answers)
        candidate = {"instruction": job.material.instruction, "answers": [a.text for a in answers]}
        return [
            Reject(
                id=job.id(0),
                provenance=provenance,
                stage=self.name,
                reason="unknown_verdict",
                detail=f"neither yes nor no in {len(answers)} answers",
                unusable=True,
                candidate=candidate,
            )
        ]

    def prompt(self, job: Job, k: int = 0) -> Request:
        """The few-shot question; ``k`` counts the times it has been asked before."""
        shown = self.prompt_file.render(
            self.rendering, demos=self.prompt_file.demos[: self.demos], instruction=job.material.instruction
        )
        # Warmer each time, so that no two of the questions are the same and neither need their answers be.
        warmer = {"temperature": min(2.0, self.resample_temperature + 0.3 * (k - 1)), "top_p": 1.0}
        return Request(
            draw=job.draw(k=k),
            prompt=shown.prompt,
            messages=shown.messages,
            stop=shown.stop,
            sampling=self.sampling.model_copy(update=warmer) if k else self.sampling,
        )

    def parse(self, completion: Completion) -> bool | None:
        """True for classification, None when the answer does not say."""
        if completion.withheld:
            return None
        try:
            return parsing.yes_no(completion.text)
        except ParseError:
            return None

    def _classified(self, job: Job, verdict: bool, answers: list[Completion]) -> ClassifiedInstruction:
        record: Instruction = job.material
        return ClassifiedInstruction(
            id=job.id(0),
            provenance=record.provenance.then(self.prompt_file.ref, *answers),
            instruction=record.instruction,
            lang=record.lang,
            novelty=record.novelty,
            is_classification=verdict,
        )
