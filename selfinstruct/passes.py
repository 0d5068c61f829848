"""Local models one after the other: each is loaded once, asked all there is for it to answer, and makes room.

A run that asks several models of this machine for each instruction would load each of them anew for every few
instructions. Here the answers of one model are asked for as far as the instructions go, and left in the ledger; then
those of the next. The run itself finds them there, and decides what becomes of each, in the order it always has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from selfinstruct.admission.gate import Gate
from selfinstruct.errors import SelfinstructError, Withdrawn
from selfinstruct.feedback_schema import SourcedInstruction
from selfinstruct.models.opening import Opened
from selfinstruct.protocols import Job, Model
from selfinstruct.stages.sample import Away, Samples
from selfinstruct.stages.together import all_of
from selfinstruct.store import StageStore

_AHEAD = 2
"""Calls under way for each that may be in flight: some are only looked up."""


@dataclass(frozen=True)
class Passes:
    """``opened`` are the models of a pool by role, ``places`` how many of the local ones are at work side by side."""

    stage: Samples
    instructions: StageStore[SourcedInstruction]
    models: Mapping[str, Model]
    opened: Mapping[str, Opened]
    places: int
    gate: Gate

    async def run(self, from_round: int) -> None:
        """Every local model, all its answers from a round on. A model that is away raises nothing: the run replaces it.

        Raises what stops a run, once what is in flight has come home, as long as the gate waits for it.
        """
        free = asyncio.Semaphore(self.places)
        local = [role for role, one in self.opened.items() if "/" in role and one.guest is not None]
        tasks = {asyncio.create_task(self._pass(role, free, from_round)) for role in local}
        failure: BaseException | None = None
        while tasks:
            for task in await self.gate.first_of(tasks):
                tasks.remove(task)
                error = None if task.cancelled() else task.exception()
                if error is not None:
                    failure = failure or error
                    self.gate.close()
        if failure is not None:
            raise failure

    async def _pass(self, role: str, free: asyncio.Semaphore, from_round: int) -> None:
        name = role.partition("/")[2]
        async with free:
            jobs = self._jobs(name, from_round)
            workers = max(1, _AHEAD * self.opened[role].concurrency)
            await all_of(self._work(jobs, name) for _ in range(workers))

    async def _work(self, jobs: Iterator[tuple[Job, int]], name: str) -> None:
        for job, seat in jobs:  # all workers draw from one iterator: the next job is whoever's is free
            try:
                if isinstance(await self.stage.ask(job, seat, name, self.models), Away):
                    return  # the run itself finds somebody for its seats
            except Withdrawn:
                return  # the run is stopping, and whoever stops it says why
            except SelfinstructError as error:
                self.gate.close(error)  # now, not when the pass is over: the next call may fail too, and may cost
                raise

    def _jobs(self, name: str, from_round: int) -> Iterator[tuple[Job, int]]:
        """The jobs in which this model has a seat, and which."""
        for round in range(from_round, self.instructions.rounds):
            records: Sequence[SourcedInstruction] = self.instructions.of_round(round)
            for job in self.stage.plan(round, records, ()):
                asked = self.stage.asked(job.material)
                if name in asked:
                    yield job, asked.index(name)


def needed(opened: Mapping[str, Opened], places: int) -> bool:
    """Whether the models of this machine, pool and judge, are more than can be at work side by side."""
    guests = {id(one.guest) for one in opened.values() if one.guest is not None}
    return len(guests) > places and any("/" in role and one.guest is not None for role, one in opened.items())
