"""The loop: plan → run → screen → commit.

seeds/*.jsonl ─► stage.plan ─► prompts/**.md ─► model.complete ─► parse ─► filters ─► output/<run>/<stage>/shard-N.jsonl
    Seed            Job           Request          Completion     records   Drop?       + rejects-N.jsonl
                                                       │                      │
                                        output/<run>/ledger.sqlite3    every drop has a reason

A round is a unit of order, not a barrier: its prompts are drawn from the pool as it stood ``lag`` rounds before, so
``lag`` rounds are under way at once, and each feeds the next stage as soon as it is screened. A stage that is fed so
does not draw from its own pool: as many of its rounds are under way as keep its models busy. A stage that waits reads
all of the stage before, once that is through. Calls finish in any order; screening runs in round and job order, so
concurrency never reaches the data. A round whose answers are in the ledger costs nothing to run again, which is all
that resuming is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfinstruct.admission.gate import Gate
from selfinstruct.errors import REFUSALS, ConfigProblem, RequestRefused, SelfinstructError, Withdrawn
from selfinstruct.protocols import Filter, Job, Model, Stage
from selfinstruct.runner_filters import foresee, screen, told
from selfinstruct.schema import Provenance, Record, Reject
from selfinstruct.store import WINDOW, StageStore

EXHAUSTED_BELOW = WINDOW // 100
"""Fewer new candidates than this among the last `WINDOW` is exhaustion (1 %)."""

GIVE_UP_AFTER = 20
"""So many answers from the start, none of which could be read, mean a wrong model or format, not bad luck."""

_ADVICE = {
    "": "can this model follow the prompt? 'selfinstruct show' prints a call's prompt and answer",
    "request_refused": "the server refuses what it is asked; mend that, and start a run of its own (--run NAME), since"
    " refusals are on record in this one",
    "truncated": "STAGE.max_tokens is too small for one whole answer",
    "thinking_cut": "STAGE.max_tokens leaves this model no room beside its thoughts; enlarge it, or turn them off",
    "not_json": "does this server keep to a schema? --format text needs none",
}
"""What to do about answers that cannot be read, by the reason of the last one."""

_REFUSED = frozenset(REFUSALS.values())

_BACKLOG = 16
"""Rounds the first stage may be ahead of what a later one has taken up: bounds the memory of a slow chain."""

Outcome = list[Record | Reject]


@dataclass
class StageRun:
    """A stage at work: what it asks, whom, what refuses, where it is kept, and which rounds are under way.

    ``waits`` for the stage before to be through, to read all of it; else a later stage is fed round by round, and
    starts a round while fewer than ``room`` of its jobs are not screened yet. ``spoiled`` counts the jobs of this start
    that had an unusable answer or were refused one.
    """

    stage: Stage
    filters: Sequence[Filter[Any]]
    store: StageStore[Any]
    models: Mapping[str, Model]
    waits: bool = False
    room: int = 1
    under_way: dict[int, asyncio.Task[list[Outcome]]] = field(default_factory=dict)
    jobs: dict[int, int] = field(default_factory=dict)
    last_round: int | None = None
    last_unusable: Reject | None = None
    spoiled: int = 0

    @property
    def screened(self) -> int:
        """Rounds screened so far."""
        return self.store.rounds

    @property
    def next_round(self) -> int:
        """The first round not yet started."""
        return self.screened + len(self.under_way)

    @property
    def done(self) -> bool:
        """True when the last round has been screened."""
        return self.last_round is not None and self.screened > self.last_round

    @property
    def has_room(self) -> bool:
        """True when its models may want more to do."""
        return not self.under_way or sum(map(self.jobs.__getitem__, self.under_way)) < self.room

    @property
    def is_over(self) -> bool:
        """True when its last round has been started."""
        return self.last_round is not None and self.next_round > self.last_round

    def note_unusable(self, screened: Sequence[Outcome]) -> None:
        """Count the jobs that were spoiled by an answer of no use, or by a refusal, however much was kept beside it."""
        for outcome in screened:
            bad = [one for one in outcome if isinstance(one, Reject) and (one.unusable or one.reason in _REFUSED)]
            self.spoiled += bool(bad)
            self.last_unusable = bad[-1] if bad else self.last_unusable

    def start(self, number: int, jobs: int, task: asyncio.Task[list[Outcome]]) -> None:
        """A round of so many jobs is under way."""
        self.under_way[number], self.jobs[number] = task, jobs

    def take(self, number: int) -> asyncio.Task[list[Outcome]]:
        """A round that is under way no longer."""
        del self.jobs[number]
        return self.under_way.pop(number)


class Runner:
    """Runs a chain of stages until the first one has ``target`` accepted records and the others are through.

    Where a stage waits, those before it end with their last job, and it is the first one for all that comes after.
    A ``target`` of None is all that the first stage plans, however little of it is new.

    ``screened`` is called after each round, for progress. After `run`, ``exhausted`` tells whether new candidates ran
    out, ``through`` whether there was nothing more to ask. Raises what stopped the run; every screened round is then
    in a shard or, for nothing, derived again from the ledger. Raises the gate's reason, or `Withdrawn`, when it was
    closed from outside before the end; a `ConfigProblem` in any case.
    """

    def __init__(
        self,
        chain: Sequence[StageRun],
        gate: Gate,
        *,
        target: int | None,
        lag: int,
        in_step: bool,
        screened: Callable[[], None],
    ) -> None:
        self.chain = chain
        self.exhausted = self.through = False
        self._heads = [place for place, run in enumerate(chain) if run.waits or not place]
        self._gate = gate
        self._target = target
        self._lag = lag
        self._in_step = in_step
        self._screened = screened
        self._failure: BaseException | None = None
        self._surplus: set[asyncio.Task[list[Outcome]]] = set()

    async def run(self) -> None:
        """The loop. A call in flight is paid for: its answer is waited for, and recorded, as long as the gate says."""
        self._look_for_the_end()
        while tasks := self._go_on():
            for task in await self._gate.first_of(tasks):
                self._note(None if task.cancelled() else task.exception())
        if self._failure is not None:
            raise self._failure
        reason = self._gate.reason
        # A server that counts otherwise voids the caps of this run: said, even where its answer was the last one.
        if isinstance(reason, ConfigProblem) or not all(run.done for run in self.chain):
            raise reason or Withdrawn("the run was asked to stop")

    def _go_on(self) -> set[asyncio.Task[list[Outcome]]]:
        """Screen the rounds that are whole, start those that may start; returns what is in flight.

        A full disk or a damaged shard stops the run like any failure: without losing what is in flight.
        """
        try:
            for run in self.chain:
                self._screen_finished_rounds(run)
            self._start_rounds()
        except SelfinstructError as error:
            self._note(error)
        self._surplus = {task for task in self._surplus if not task.done()}
        return self._surplus | {task for run in self.chain for task in run.under_way.values() if not task.done()}

    # --- plan and run -----------------------------------------------------------------------------------------------

    def _start_rounds(self) -> None:
        for place, run in enumerate(self.chain):
            while not self._gate.closed and not run.is_over and self._is_due(place):
                if not self._start(run, place):
                    break

    def _is_due(self, place: int) -> bool:
        """A stage that is fed starts what it can; the first of a part of the chain starts what is needed of it."""
        run = self.chain[place]
        if place not in self._heads:
            return run.next_round < self.chain[place - 1].screened and run.has_room
        if (place and not self.chain[place - 1].done) or len(run.under_way) >= self._lag:
            return False
        fed = self._part(place)
        if self._in_step and run.next_round - min(one.screened for one in fed) >= self._lag:
            return False
        if run.next_round - min(one.next_round for one in fed) >= self._lag + _BACKLOG:
            return False
        if self._target is None or place != self._heads[-1]:
            return True
        if run.screened == 0:
            return not run.under_way  # the first round shows what a round yields
        expected = run.store.accepted + len(run.under_way) * run.store.accepted / run.screened
        return expected < self._target

    def _part(self, place: int) -> Sequence[StageRun]:
        """The stages that a first one feeds, itself included: those up to the next that waits."""
        following = (head for head in self._heads if head > place)
        return self.chain[place : next(following, len(self.chain))]

    def _start(self, run: StageRun, place: int) -> bool:
        """Start the next round. False when a first stage has no more to ask: then the round before was the last."""
        number = run.next_round
        pool = run.store.upto(number + 1 - self._lag) if place in self._heads else ()
        jobs = run.stage.plan(number, self._inputs(place, number), pool)
        if not jobs and place in self._heads:
            if not run.under_way:
                self.through = place == self._heads[-1]
                self._end_after(number - 1, place)
                self._look_for_the_end()
            return False
        task = asyncio.create_task(self._run_round(run, jobs), name=f"{run.stage.name} round {number}")
        run.start(number, len(jobs), task)
        return True

    def _inputs(self, place: int, number: int) -> Sequence[Record]:
        if not place:
            return ()
        before = self.chain[place - 1].store
        return before.upto(before.rounds) if place in self._heads else before.of_round(number)

    async def _run_round(self, run: StageRun, jobs: Sequence[Job]) -> list[Outcome]:
        results = await asyncio.gather(*(self._run_job(run, job) for job in jobs), return_exceptions=True)
        outcomes = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            outcomes.append(result)
        return outcomes

    async def _run_job(self, run: StageRun, job: Job) -> Outcome:
        try:
            return await run.stage.run(job, run.models)
        except RequestRefused as refusal:
            return [_refused(job, refusal)]
        except SelfinstructError as error:
            self._note(error)  # now, not when the round is over: the next call would fail too, and may cost
            raise

    # --- screen and commit ------------------------------------------------------------------------------------------

    def _screen_finished_rounds(self, run: StageRun) -> None:
        while self._failure is None and (task := run.under_way.get(run.screened)) is not None and task.done():
            if task.cancelled() or task.exception() is not None:
                return
            run.take(run.screened)
            foresee(run.filters, task.result())
            screened = [screen(run.filters, outcome) for outcome in task.result()]
            run.note_unusable(screened)
            run.store.add_round(screened)
            self._look_for_the_end()
            self._screened()

    def _look_for_the_end(self) -> None:
        """After each round: is it the last one? Decided in round order, so the answer never depends on timing."""
        place = self._heads[-1]
        first = self.chain[place]
        if self._target is not None and first.last_round is None and first.screened:
            recent = first.store.recent()
            reached = first.store.accepted >= self._target
            barren = len(recent) == WINDOW and recent.count("1") < EXHAUSTED_BELOW
            self.exhausted = not reached and barren and bool(first.stage.roles)  # to read on costs nothing
            if reached or self.exhausted:
                self._end_after(first.screened - 1, place)
        for number, run in enumerate(self.chain):
            self._note(_unreadable(run))
            if run.done and run.store.manifest.state == "running":
                run.store.finish("exhausted" if self.exhausted and number >= place else "complete", told(run.filters))

    def _end_after(self, last_round: int, place: int) -> None:
        for run in self._part(place):
            run.last_round = last_round
            self._gate.end(run.stage.name, last_round)
            for number in [n for n in run.under_way if n > last_round]:
                self._surplus.add(run.take(number))

    # --- stop -------------------------------------------------------------------------------------------------------

    def _note(self, error: BaseException | None) -> None:
        """The first failure stops the run: nothing more leaves, what is in flight comes home."""
        if error is None or isinstance(error, Withdrawn) or self._failure is not None:
            return
        self._failure = error
        self._gate.close(error if isinstance(error, SelfinstructError) else None)


def _unreadable(run: StageRun) -> ConfigProblem | None:
    tally = run.store.tally
    if run.spoiled < max(GIVE_UP_AFTER, tally.jobs):
        return None
    reasons = ", ".join(f"{reason} {count}" for reason, count in tally.rejects.items())
    latest = run.last_unusable
    said = f"; the last one: {latest.detail}" if latest and latest.detail else ""
    advice = _ADVICE.get(latest.reason if latest else "", _ADVICE[""]).replace("STAGE", run.stage.name)
    what = f"none of the first {run.spoiled} answers could be read"
    if "judge" in run.stage.roles:  # who is asked several things about each
        what = f"each of the first {run.spoiled} instructions has an answer that could not be read"
    return ConfigProblem(f"{run.stage.name}: {what} ({reasons}){said}; {advice}")


def _refused(job: Job, refusal: RequestRefused) -> Reject:
    return Reject(
        id=job.id(),
        provenance=Provenance(calls=(refusal.call,) if refusal.call else ()),
        stage=job.stage,
        reason=REFUSALS[refusal.verdict],
        detail=str(refusal),
        unusable=True,
    )
