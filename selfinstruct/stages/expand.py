"""Instructions for texts, most of them expanded with detail before they are used (UltraChat: 80 %; systems §5.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from selfinstruct import parsing
from selfinstruct.errors import REFUSALS, RequestRefused
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import Completion, Opener, Provenance, Record, Reject, Request
from selfinstruct.stages.lists import Lists


@dataclass(frozen=True)
class Expand:
    """Openers with more detail; ``share`` of them, 0 to 1, the others as they are."""

    prompt_file: Prompt
    lists: Lists
    share: float

    name = "expand"
    reads = Opener
    writes = Opener
    roles = ("teacher",)

    def plan(self, round: int, inputs: Sequence[Opener], accepted: Sequence[Record]) -> list[Job]:
        """One job for each opener of this round."""
        return [Job(self.name, round, slot, record) for slot, record in enumerate(inputs)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Ask once, or not at all. An opener that was not expanded goes on as it is."""
        if Random(f"{self.lists.seed}/{self.name}/{job.material.id}").random() >= self.share:
            return [self._as_it_was(job)]
        try:
            return self.parse(await models["teacher"].complete(self.prompt(job)), job)
        except RequestRefused as refusal:
            return [self._as_it_was(job), self._refused(job, refusal)]

    def prompt(self, job: Job) -> Request:
        """The instruction, to be rewritten."""
        opener: Opener = job.material
        return self.lists.request(job, self.prompt_file, instruction=opener.instruction, type=opener.topic)

    def parse(self, completion: Completion, job: Job) -> list[Record | Reject]:
        """The opener with the new instruction; where there is none, as it was, beside the reject of the answer."""
        opener: Opener = job.material
        text = parsing.spoken(completion.text, "user", continues=self.lists.rendering == "completion")
        reason = completion.withheld or ("truncated" if completion.truncated else _flaw(text))
        provenance = self._descent(opener).then(self.prompt_file.ref, completion)
        if reason is None:
            new = {"id": job.id(0), "instruction": text, "provenance": provenance, "novelty": None}
            return [opener.model_copy(update=new)]
        reject = Reject(
            id=job.id(1), provenance=provenance, stage=self.name, reason=reason, candidate={"text": completion.text}
        )
        return [self._as_it_was(job), reject]

    def _refused(self, job: Job, refusal: RequestRefused) -> Reject:
        calls = (refusal.call,) if refusal.call else ()
        provenance = self._descent(job.material).model_copy(update={"calls": calls})
        reason = REFUSALS[refusal.verdict]
        return Reject(id=job.id(1), provenance=provenance, stage=self.name, reason=reason, detail=str(refusal))

    def _as_it_was(self, job: Job) -> Opener:
        opener: Opener = job.material
        return opener.model_copy(update={"id": job.id(0), "provenance": self._descent(opener)})

    def _descent(self, opener: Opener) -> Provenance:
        before = opener.provenance
        return before.model_copy(update={"parents": (*before.parents, opener.id)})


def _flaw(text: str) -> str | None:
    if not text:
        return "empty"
    return "refusal" if parsing.is_refusal(text) else None
