"""Local models one after the other: each is loaded, asked all there is for it to answer, and makes room.

A run that asks several models of this machine for each instruction would load each of them anew for every few
instructions. Here the answers of one model are asked for as far as the instructions go, and left in the ledger; then
those of the next, while the models of an API answer beside them. What failed is given to the design's next in the same
way, wave by wave: a model is loaded once in each. The run itself finds all that in the ledger, and decides what becomes
of it, in the order it always has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from selfinstruct.admission.gate import Gate
from selfinstruct.call_path import CallPath
from selfinstruct.errors import SelfinstructError, Withdrawn
from selfinstruct.feedback_schema import SourcedInstruction
from selfinstruct.models.opening import Opened
from selfinstruct.protocols import Job, Model
from selfinstruct.runner import Runner, StageRun
from selfinstruct.stages.sample import Samples, Taken
from selfinstruct.stages.together import all_of
from selfinstruct.store import StageStore

Place = tuple[int, int]
"""Round and slot of a job."""

_AHEAD = 2
"""Calls under way for each that may be in flight: some are only looked up."""


class _Seats:
    """Who has the seats of a job after some of its models have failed."""

    def __init__(self, order: Sequence[str], seats: int) -> None:
        self.names = list(order[:seats])
        self.following = list(order[seats:])

    def give_away(self, seats: Iterable[int]) -> Iterator[tuple[str, int]]:
        """The next names for these seats, in their order, as the stage itself gives them; none where nobody is left."""
        for seat in sorted(seats):
            if self.following:
                self.names[seat] = self.following.pop(0)
                yield self.names[seat], seat


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
        """Every model, all its answers from a round on; then the seats that stayed empty, until none can be filled.

        Raises what stops a run, once what is in flight has come home, as long as the gate waits for it.
        """
        taken: dict[Place, _Seats] = {}
        wave = {name: self._first(name, from_round) for name in self._names()}
        while wave and not self.gate.closed:
            empty: dict[Place, set[int]] = {}
            await self._wave(wave, empty)
            given: dict[str, list[tuple[Place, int]]] = {}
            for place in sorted(empty):
                seats = taken.setdefault(place, _Seats(self._order(place), self.stage.models))
                for name, seat in seats.give_away(empty[place]):
                    given.setdefault(name, []).append((place, seat))
            wave = {name: self._jobs(seats) for name, seats in given.items()}

    async def _wave(self, wave: Mapping[str, Iterator[tuple[Job, int]]], empty: dict[Place, set[int]]) -> None:
        """Ask the models that have something to be asked, the local ones one after the other."""
        free = asyncio.Semaphore(self.places)
        tasks = {asyncio.create_task(self._pass(name, jobs, free, empty)) for name, jobs in wave.items()}
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

    async def _pass(
        self, name: str, jobs: Iterator[tuple[Job, int]], free: asyncio.Semaphore, empty: dict[Place, set[int]]
    ) -> None:
        opened = self.opened[f"assistant/{name}"]
        workers = max(1, _AHEAD * opened.concurrency)
        async with free if opened.guest is not None else nullcontext():
            await all_of(self._work(name, jobs, empty) for _ in range(workers))

    async def _work(self, name: str, jobs: Iterator[tuple[Job, int]], empty: dict[Place, set[int]]) -> None:
        for job, seat in jobs:  # all workers draw from one iterator: the next job is whoever's is free
            try:
                answer = await self.stage.ask(job, seat, name, self.models)
            except Withdrawn:
                return  # the run is stopping, and whoever stops it says why
            except SelfinstructError as error:
                self.gate.close(error)  # now, not when the pass is over: the next call may fail too, and may cost
                raise
            if not isinstance(answer, Taken):
                empty.setdefault((job.round, job.slot), set()).add(seat)

    def _names(self) -> list[str]:
        return [role.partition("/")[2] for role in self.opened if "/" in role]

    def _first(self, name: str, from_round: int) -> Iterator[tuple[Job, int]]:
        """The jobs in which this model has a seat from the beginning, and which."""
        for round in range(from_round, self.instructions.rounds):
            for job in self.stage.plan(round, self.instructions.of_round(round), ()):
                asked = self.stage.asked(job.material)
                if name in asked:
                    yield job, asked.index(name)

    def _jobs(self, seats: Iterable[tuple[Place, int]]) -> Iterator[tuple[Job, int]]:
        """The jobs of these places, each with its seat."""
        for (round, slot), seat in seats:
            yield self.stage.plan(round, self.instructions.of_round(round), ())[slot], seat

    def _order(self, place: Place) -> tuple[str, ...]:
        round, slot = place
        return self.stage.design.order(self.instructions.of_round(round)[slot].place)


async def ask_ahead(
    chain: Sequence[StageRun],
    runner_of: Callable[[Sequence[StageRun]], Runner],
    path: CallPath,
    opened: Mapping[str, Opened],
    places: int,
) -> None:
    """Ask the models of a chain's second stage in passes, where local ones cannot all be at work side by side."""
    first, second = chain[:2]
    if not needed(opened, places) or second.store.manifest.state == "complete":
        return
    await runner_of([first]).run()  # what is asked is known before anybody is
    first.last_round = None  # where the whole chain ends its own runner finds out
    assert isinstance(second.stage, Samples)
    await Passes(second.stage, first.store, path.models, opened, places, path.gate).run(second.screened)


def needed(opened: Mapping[str, Opened], places: int) -> bool:
    """Whether the models of this machine, pool and judge, are more than can be at work side by side."""
    guests = {id(one.guest) for one in opened.values() if one.guest is not None}
    return len(guests) > places and any("/" in role and one.guest is not None for role, one in opened.items())
