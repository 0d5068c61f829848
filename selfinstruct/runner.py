"""The loop: plan → run → screen → commit.

seeds/*.jsonl ─► stage.plan ─► prompts/**.md ─► model.complete ─► parse ─► filters ─► output/<run>/<stage>/shard-N.jsonl
    Seed            Job           Request          Completion     records   Drop?       + rejects-N.jsonl
                                                       │                      │
                                        output/<run>/ledger.sqlite3    every drop has a reason

A round is a unit of order, not a barrier: its prompts are drawn from the pool as it stood ``lag`` rounds before, so
``lag`` rounds are under way at once, and each feeds the next stage as soon as it is screened. Calls finish in any
order; screening runs in round and job order, so concurrency never reaches the data. A round whose answers are in the
ledger costs nothing to run again, which is all that resuming is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfinstruct.admission.gate import Gate
from selfinstruct.errors import REFUSALS, ConfigProblem, RequestRefused, SelfinstructError, Withdrawn
from selfinstruct.protocols import Filter, Foreseeing, Job, Model, Stage
from selfinstruct.schema import Provenance, Record, Reject
from selfinstruct.store import WINDOW, StageStore

EXHAUSTED_BELOW = WINDOW // 100
"""Fewer new candidates than this among the last `WINDOW` is exhaustion (1 %)."""

GIVE_UP_AFTER = 20
"""So many answers from the start, none of which could be read, mean a wrong model or format, not bad luck."""

_ADVICE = {
    "": "can this model follow the prompt? 'selfinstruct show' prints a call's prompt and answer",
    "request_refused": "the server refuses what it is asked; mend that, and run again",
    "truncated": "STAGE.max_tokens is too small for one whole answer",
    "thinking_cut": "STAGE.max_tokens leaves this model no room beside its thoughts; enlarge it, or turn them off",
    "not_json": "does this server keep to a schema? --format text needs none",
}
"""What to do about answers that cannot be read, by the reason of the last one."""

_BACKLOG = 16
"""Rounds the first stage may be ahead of the last one: bounds the memory of a chain with a slow end."""

Outcome = list[Record | Reject]


@dataclass
class StageRun:
    """A stage at work: what it asks, whom, what refuses, where it is kept, and which rounds are under way."""

    stage: Stage
    filters: Sequence[Filter[Any]]
    store: StageStore[Any]
    models: Mapping[str, Model]
    under_way: dict[int, asyncio.Task[list[Outcome]]] = field(default_factory=dict)
    last_round: int | None = None
    last_unusable: Reject | None = None

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

    def may_go_on(self, lag: int) -> bool:
        """True when the next round is not past the last one, and the round ``lag`` before it has been screened."""
        return len(self.under_way) < lag and (self.last_round is None or self.next_round <= self.last_round)


class Runner:
    """Runs a chain of stages until the first one has ``target`` accepted records and the others are through.

    A ``target`` of None is all that the first stage plans, however little of it is new.

    ``screened`` is called after each round, for progress. After `run`, ``exhausted`` tells whether new candidates ran
    out. Raises what stopped the run; every screened round is then in a shard or, for nothing, derived again from the
    ledger. Raises the gate's reason, or `Withdrawn`, when it was closed from outside before the end; a `ConfigProblem`
    in any case.
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
        self.exhausted = False
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
        for position, run in enumerate(self.chain):
            while not self._gate.closed and run.may_go_on(self._lag) and self._is_due(position):
                if not self._start(run, position):
                    break

    def _is_due(self, position: int) -> bool:
        """A later stage is fed by the one before it; the first starts a round when its yield is needed."""
        if position:
            return self.chain[position].next_round < self.chain[position - 1].screened
        first = self.chain[0]
        ahead = first.next_round - min(run.screened for run in self.chain)
        if ahead >= (self._lag if self._in_step else self._lag + _BACKLOG):
            return False
        if first.screened == 0:
            return not first.under_way  # the first round shows what a round yields
        expected = first.store.accepted + len(first.under_way) * first.store.accepted / first.screened
        return self._target is None or expected < self._target

    def _start(self, run: StageRun, position: int) -> bool:
        """Start the next round. False when the first stage has no more to ask: then the round before was the last."""
        number = run.next_round
        inputs = self.chain[position - 1].store.of_round(number) if position else ()
        jobs = run.stage.plan(number, inputs, run.store.upto(number + 1 - self._lag))
        if not jobs and not position:
            if not run.under_way:
                self._end_after(number - 1)
                self._look_for_the_end()
            return False
        run.under_way[number] = asyncio.create_task(self._run_round(run, jobs), name=f"{run.stage.name} round {number}")
        return True

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
            del run.under_way[run.screened]
            _foresee(run.filters, task.result())
            screened = [_screen(run.filters, outcome) for outcome in task.result()]
            unusable = [one for outcome in screened for one in outcome if isinstance(one, Reject) and one.unusable]
            run.last_unusable = unusable[-1] if unusable else run.last_unusable
            run.store.add_round(screened)
            self._look_for_the_end()
            self._screened()

    def _look_for_the_end(self) -> None:
        """After each round: is it the last one? Decided in round order, so the answer never depends on timing."""
        first = self.chain[0]
        if self._target is not None and first.last_round is None and first.screened:
            recent = first.store.recent()
            reached = first.store.accepted >= self._target
            self.exhausted = not reached and len(recent) == WINDOW and recent.count("1") < EXHAUSTED_BELOW
            if reached or self.exhausted:
                self._end_after(first.screened - 1)
        for run in self.chain:
            self._note(_unreadable(run))
            if run.done and run.store.manifest.state == "running":
                run.store.finish("exhausted" if self.exhausted else "complete")

    def _end_after(self, last_round: int) -> None:
        for run in self.chain:
            run.last_round = last_round
            self._gate.end(run.stage.name, last_round)
            for number in [n for n in run.under_way if n > last_round]:
                self._surplus.add(run.under_way.pop(number))

    # --- stop -------------------------------------------------------------------------------------------------------

    def _note(self, error: BaseException | None) -> None:
        """The first failure stops the run: nothing more leaves, what is in flight comes home."""
        if error is None or isinstance(error, Withdrawn) or self._failure is not None:
            return
        self._failure = error
        self._gate.close(error if isinstance(error, SelfinstructError) else None)


def _unreadable(run: StageRun) -> ConfigProblem | None:
    tally = run.store.tally
    read = tally.accepted + sum(tally.rejects.values()) - tally.unusable
    if tally.unusable < GIVE_UP_AFTER or read:
        return None
    reasons = ", ".join(f"{reason} {count}" for reason, count in tally.rejects.items())
    latest = run.last_unusable
    said = f"; the last one: {latest.detail}" if latest and latest.detail else ""
    advice = _ADVICE.get(latest.reason if latest else "", _ADVICE[""]).replace("STAGE", run.stage.name)
    return ConfigProblem(
        f"{run.stage.name}: none of the first {tally.unusable} answers could be read ({reasons}){said}; {advice}"
    )


def _refused(job: Job, refusal: RequestRefused) -> Reject:
    return Reject(
        id=job.id(),
        provenance=Provenance(calls=(refusal.call,) if refusal.call else ()),
        stage=job.stage,
        reason=REFUSALS[refusal.verdict],
        detail=str(refusal),
        unusable=True,
    )


def _foresee(filters: Sequence[Filter[Any]], outcomes: Sequence[Outcome]) -> None:
    """Let filters that compare with a memory look at the whole round at once."""
    candidates = [record for outcome in outcomes for record in outcome if not isinstance(record, Reject)]
    for item in filters:
        if isinstance(item, Foreseeing):
            item.foresee(candidates)


def _screen(filters: Sequence[Filter[Any]], outcome: Outcome) -> Outcome:
    """One job's candidates through the chain, in order; a survivor is admitted before the next is looked at."""
    return [record if isinstance(record, Reject) else _judge(filters, record) for record in outcome]


def _judge(filters: Sequence[Filter[Any]], record: Record) -> Record | Reject:
    for item in filters:
        drop = item.check(record)
        if drop is not None:
            return Reject(
                id=record.id,
                provenance=record.provenance,
                stage=record.id.partition("-")[0],
                reason=drop.reason,
                detail=drop.detail,
                candidate=record.model_dump(exclude={"id", "provenance"}),
                nearest=drop.nearest,
            )
    for item in filters:
        record = item.admit(record)
    return record
