"""Preference pairs of what a judge has said. No model is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfinstruct.feedback_schema import PreferencePair, RatedInstruction, ScoreOf
from selfinstruct.pairing import Rejected, pairs_of
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import Provenance, Record, Reject


@dataclass(frozen=True)
class Binarize:
    """Pairs by ``score``; ``seed`` is the run's. Instructions from the sources ``exclude_source`` make none."""

    score: ScoreOf
    rejected: Rejected
    exclude_source: tuple[str, ...]
    seed: int

    name = "binarize"
    reads = RatedInstruction
    writes = PreferencePair
    roles = ()

    def plan(self, round: int, inputs: Sequence[RatedInstruction], accepted: Sequence[Record]) -> list[Job]:
        """One job for each annotated instruction of this round."""
        return [Job(self.name, round, slot, record) for slot, record in enumerate(inputs)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """The pairs, and a reject for whatever made none."""
        return self.pair(job)

    def pair(self, job: Job) -> list[Record | Reject]:
        """The same: nothing in it waits."""
        record: RatedInstruction = job.material
        before = record.provenance
        provenance = before.model_copy(update={"parents": (*before.parents, record.id)})
        if record.source in self.exclude_source:
            return [self._reject(job, 0, provenance, ("excluded_source", record.source))]
        pairs, unpaired = pairs_of(record, self.score, self.rejected, self.seed)
        made: list[Record | Reject] = [
            PreferencePair(
                id=job.id(index),
                provenance=provenance,
                instruction=record.instruction,
                lang=record.lang,
                source=record.source,
                history=record.history,
                score=self.score,
                **pair._asdict(),
            )
            for index, pair in enumerate(pairs)
        ]
        return made + [self._reject(job, index, provenance, why) for index, why in enumerate(unpaired, len(pairs))]

    def _reject(self, job: Job, index: int, provenance: Provenance, why: tuple[str, str]) -> Reject:
        reason, detail = why
        candidate = {"instruction": job.material.instruction}
        return Reject(
            id=job.id(index),
            provenance=provenance,
            stage=self.name,
            reason=reason,
            detail=detail,
            candidate=candidate,
        )
