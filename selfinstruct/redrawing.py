"""The stages of a refiltered run: what they ask is what its parent asked, so that the answers are recorded already.

A call is found by its draw (stage, round, slot …) and its request, so a job needs the prompt and the slot that it had
in the parent. A first stage gets both from the parent's own pool; a later one goes by the ids of the records that feed
it, which are those they have in the parent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from selfinstruct.errors import Withdrawn
from selfinstruct.protocols import Job, Model, Stage
from selfinstruct.schema import Provenance, Record, Reject
from selfinstruct.store import StageStore

NOT_ASKED = "not_asked"
"""The reject reason of a record about which nobody has been asked what its stage asks."""


Slots = Callable[[int], dict[str, int]]
"""Of a round of a later stage: the slot of each record that fed it, by the record's id."""


def slots_of(fed: StageStore[Any], before: Slots | None = None) -> Slots:
    """The slots that a run gave to what fed a stage: its parent's ``before``, and behind them its own records'."""

    def slots(round: int) -> dict[str, int]:
        records = fed.of_round(round) if round < fed.rounds else ()
        return _placed((record.id for record in records), before(round) if before else {})

    return slots


def _placed(ids: Iterable[str], known: Mapping[str, int]) -> dict[str, int]:
    """Slots without gaps: the known ones, and behind them every other id in its turn."""
    places = dict(known)
    for id in ids:
        places.setdefault(id, len(places))
    return places


class Redrawn:
    """A first stage that plans the parent's jobs, and no more of them; ``recorded`` answers as it did there.

    ``pool`` is what the parent had accepted, ``lag`` how far behind its prompts were drawn from it.
    """

    def __init__(self, stage: Stage, pool: StageStore[Any], lag: int, recorded: Model) -> None:
        self.name, self.reads, self.writes, self.roles = stage.name, stage.reads, stage.writes, stage.roles
        self._stage = stage
        self._pool = pool
        self._lag = lag
        self._recorded = recorded

    def plan(self, round: int, inputs: Sequence[Any], accepted: Sequence[Any]) -> list[Job]:
        """The parent's jobs of a round that it has screened; none of a later one."""
        if round >= self._pool.rounds:
            return []
        return self._stage.plan(round, inputs, self._pool.upto(round + 1 - self._lag))

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """The candidates, as they were drawn."""
        return await self._stage.run(job, dict.fromkeys(self.roles, self._recorded))


class Renumbered:
    """A later stage. A record that has a slot keeps it, any other one stands behind them.

    With ``recorded``, that is asked instead of the run's own models, and a record whose answers it does not have is
    left out, as a reject called `NOT_ASKED`.
    """

    def __init__(self, stage: Stage, slots: Slots, recorded: Model | None) -> None:
        self.name, self.reads, self.writes, self.roles = stage.name, stage.reads, stage.writes, stage.roles
        self._stage = stage
        self._slots = slots
        self._recorded = recorded

    def plan(self, round: int, inputs: Sequence[Any], accepted: Sequence[Any]) -> list[Job]:
        """One job for each record of this round, by slot."""
        jobs = self._stage.plan(round, inputs, accepted)
        slots = _placed((job.material.id for job in jobs), self._slots(round))
        placed = [replace(job, slot=slots[job.material.id]) for job in jobs]
        return sorted(placed, key=lambda job: job.slot)

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """What the answers hold, or the record as a reject where they are not recorded."""
        if self._recorded is None:
            return await self._stage.run(job, models)
        try:
            return await self._stage.run(job, dict.fromkeys(self.roles, self._recorded))
        except Withdrawn:
            return [self._left_out(job)]

    def _left_out(self, job: Job) -> Reject:
        record: Record = job.material
        return Reject(
            id=job.id(),
            provenance=Provenance(seeds=record.provenance.seeds, parents=record.provenance.parents),
            stage=self.name,
            reason=NOT_ASKED,
            detail=f"no answer about {record.id} is recorded; refilter --pay asks for it",
            candidate=record.model_dump(exclude={"provenance"}),
        )
