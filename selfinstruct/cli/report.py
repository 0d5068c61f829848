"""What people see of a run: the bar while it works, the table when it stops."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from selfinstruct.cli import figures
from selfinstruct.errors import AccessDenied, CapReached, ConfigProblem, SelfinstructError, UnusableAnswers

if TYPE_CHECKING:
    from tqdm import tqdm

    from selfinstruct import completing as completing_
    from selfinstruct.launch import Account, Plan
    from selfinstruct.runner import StageRun
    from selfinstruct.store import Tally

_LINE_EVERY_SECONDS = 60.0
_BAR_EVERY_SECONDS = 0.1


class Shown(NamedTuple):
    """How far a run is: done of how many, the rest in words, and all of it for machines."""

    done: int
    total: int
    words: str
    fields: dict[str, Any]


class Progress:
    """A bar on a terminal, one line a minute otherwise (cron mails what is printed), nothing when quiet.

    ``as_json`` writes each line as one JSON object, the start and the stop included.
    """

    def __init__(self, run: str, unit: str, *, quiet: bool, as_json: bool = False) -> None:
        self._run = run
        self._unit = unit
        self._quiet = quiet
        self._as_json = as_json
        self._bar: tqdm[Any] | None = None
        self._next = time.monotonic() + _LINE_EVERY_SECONDS
        self._first: tuple[float, int] | None = None  # when the first update came, and how much was done then
        self._said_stopping = False

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and not self._quiet and not self._as_json:
            from tqdm import tqdm

            self._bar = tqdm(unit=self._unit, dynamic_ncols=True, desc="accepted" if self._unit == "task" else "done")
            self._next = time.monotonic()
        self._event("started", {})
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away. Safe to call twice."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def update(self, look: Callable[[], Shown], *, stopping: bool = False) -> None:
        """Show how far the run is, when it is time to; ``look`` is called only then, and the first time."""
        if stopping and not self._said_stopping:
            self._said_stopping = True
            self._event("stopping", {})
            line = "stopping: waiting for the calls in flight, whose answers are paid for; a second signal ends at once"
            if not self._quiet and not self._as_json:
                typer.echo(f"\n{line}" if self._bar is not None else line, err=True)
        if self._quiet and not self._as_json:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = now, look().done  # what earlier starts have done says nothing of this one's pace
        if now < self._next:
            return
        shown = look()
        if self._bar is not None:
            self._next = now + _BAR_EVERY_SECONDS
            self._bar.initial = self._first[1]  # its pace, too, is that of this start
            self._bar.total, self._bar.n = shown.total, min(shown.done, shown.total)
            self._bar.set_postfix_str(shown.words, refresh=False)
            self._bar.refresh()
            return
        self._next = now + _LINE_EVERY_SECONDS
        eta = self._eta(now, shown)
        if self._as_json:
            self._event("progress", {"done": shown.done, "total": shown.total, "eta_seconds": eta, **shown.fields})
        else:
            left = f", about {figures.duration(eta)} left" if eta else ""
            typer.echo(f"{self._run}: {shown.done}/{shown.total} {self._unit}s, {shown.words}{left}", err=True)

    def say(self, line: str) -> None:
        """A line for people, above the bar: what is waited for. Pace is reckoned from the end of the wait."""
        self._first = None
        if self._as_json:
            self._event("news", {"line": line})
        elif self._bar is not None:
            self._bar.start_t = self._bar._time()
            self._bar.write(line, file=sys.stderr)
        elif not self._quiet:
            typer.echo(f"{self._run}: {line}", err=True)

    def stopped(self, stop: SelfinstructError | None) -> None:
        """The last event: what ended the run, if anything did."""
        self._event("stopped", {"exit_code": stop.exit_code if stop else 0, "reason": str(stop) if stop else None})

    def _eta(self, now: float, shown: Shown) -> int | None:
        since, done = self._first or (now, shown.done)
        if shown.done <= done or shown.done >= shown.total:
            return None
        return round((now - since) / (shown.done - done) * (shown.total - shown.done))

    def _event(self, event: str, fields: dict[str, Any]) -> None:
        if not self._as_json:
            return
        import orjson

        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        typer.echo(orjson.dumps({"time": stamp, "event": event, "run": self._run, **fields}).decode(), err=True)


# --- generate -------------------------------------------------------------------------------------------------------


def generating(account: Account, chain: Sequence[StageRun]) -> Shown:
    """How far a chain of stages is."""
    tally = account.main
    seen = tally.accepted + sum(tally.rejects.values())
    rate = f"{tally.accepted / seen:.0%} kept" if seen else "nothing screened yet"
    final = chain[-1].store.accepted
    fields = {"candidates": seen, "new_calls": account.new_calls, "new_tokens": account.new_tokens}
    if chain[0].stage.name == "instructions":
        return _comparing(account, chain, fields)
    if chain[-1].stage.name != "dialogue":
        words = f"{final} instances, {account.new_calls} calls, {account.new_tokens} tokens, {rate}"
        done = Shown(tally.accepted, account.target, words, {"instances": final, **fields})
    else:  # an opener is soon there; what takes time is the dialogue
        through = chain[-1].store.tally.jobs
        words = f"{final} kept, {tally.accepted} openers, {account.new_calls} calls, {account.new_tokens} tokens"
        done = Shown(through, max(account.target, through), words, {"dialogues": final, **fields})
    return done._replace(words=done.words + figures.live_cost(account.budget))


def _comparing(account: Account, chain: Sequence[StageRun], fields: dict[str, int]) -> Shown:
    """How far a chain is whose instructions are there already: what takes time is all that is asked about them."""
    first, *asking = [run for run in chain if run.stage.name != "binarize"]
    through = asking[-1].store.tally.jobs
    total = account.target if first.store.manifest.state == "running" else first.store.accepted
    told = {run.stage.name: run.store.tally.jobs for run in asking}
    words = ", ".join(f"{name} {count}" for name, count in told.items())
    words += f", {account.new_calls} calls, {account.new_tokens} tokens{figures.live_cost(account.budget)}"
    return Shown(through, max(total, through), words, told | fields)


def print_account(account: Account, plan: Plan, stop: SelfinstructError | None, *, as_json: bool) -> None:
    """The table every stop ends with, or its JSON; ``stop`` is what ended the run before its time."""
    if as_json:
        import orjson

        typer.echo(orjson.dumps(account_json(account, plan, stop), option=orjson.OPT_INDENT_2).decode())
        return
    for note in account.notes:
        typer.echo(f"selfinstruct: {note}", err=True)
    for line in account_table(account):
        typer.echo(line)
    typer.echo("")
    final = plan.path / plan.links[-1].stage.name
    if (final / "manifest.json").exists():
        typer.echo(f"records  {final}/shard-*.jsonl")
    typer.echo(f"next     {_next(account, stop)}")


def account_table(account: Account) -> list[str]:
    """Accepted, rejects by reason, calls, tokens and seconds, stage by stage."""
    lines = [f"{'stage':<12}{'accepted':>9}{'rejects':>9}{'calls':>8}{'tokens in':>11}{'tokens out':>11}"]
    for stage, tally in account.tallies.items():
        calls, tokens_in, tokens_out = account.calls_of(stage)
        rejects = sum(tally.rejects.values())
        lines.append(f"{stage:<12}{tally.accepted:>9}{rejects:>9}{calls:>8}{tokens_in:>11}{tokens_out:>11}")
    for stage, tally in account.tallies.items():
        reasons = sorted(tally.rejects.items(), key=lambda item: (-item[1], item[0]))
        if reasons:
            lines.append(f"{stage} rejects: " + ", ".join(f"{reason} {count}" for reason, count in reasons))
    last, tally = list(account.tallies.items())[-1]
    whose = "instructions have no valid record of" if len(account.tallies) > 1 else "answers gave no new record of"
    whose = "openers have no valid record of" if last == "dialogue" else whose
    whose = "instructions make no pair in" if last == "binarize" else whose
    lines.append(f"{tally.barren} of {tally.jobs} {whose} {last}")
    lines += _cut_short(tally) if last == "dialogue" else []
    took = f"{account.seconds:.1f} s, {account.new_calls} new calls" if account.seconds else ""
    return [*lines, took, *figures.money_lines(figures.money_of(account.spending, account.currency))]


def _cut_short(tally: Tally) -> list[str]:
    """A line where most dialogues end before their rounds, with the most frequent reason."""
    once = sum(tally.rejects.get(reason, 0) for reason in ("farewell", "context", "request_refused"))
    # Any other turn is asked for again, as a rule once, before it ends a dialogue.
    if once + sum(tally.rejects.values()) <= tally.jobs:
        return []
    reason, count = min(tally.rejects.items(), key=lambda item: (-item[1], item[0]))
    hint = {
        "truncated": "raise dialogue.user_max_tokens or dialogue.max_tokens",
        "context": "raise dialogue.user_context or dialogue.assistant_context, if the models can read more",
    }.get(reason, "'selfinstruct show' has what was asked and said; another --user-model may play better")
    return [f"note: many dialogues end before their rounds, most of all by '{reason}' ({count}): {hint}"]


def _next_after(stop: SelfinstructError | None) -> str:
    """What comes before running it again, where something does."""
    if isinstance(stop, ConfigProblem) and "--run NAME" in str(stop):
        return "do what the last line says"
    if isinstance(stop, ConfigProblem | AccessDenied):
        return "mend what the last line says; then the same command goes on"
    return "raise the cap, and the same command goes on" if isinstance(stop, CapReached) else ""


def _next(account: Account, stop: SelfinstructError | None) -> str:
    if account.exhausted:
        other = "other topics or openers" if "dialogue" in account.tallies else "other seed tasks"
        return f"more from {other}, a stronger model or a warmer recipe, as a run of its own (--run NAME)"
    if hint := _next_after(stop):
        return hint
    first = account.main
    after = list(account.tallies)[list(account.tallies.values()).index(first) :]
    cut = stop is not None and not isinstance(stop, UnusableAnswers)
    short = first.accepted < account.target and not account.through
    if cut or short or any(account.tallies[stage].rounds < first.rounds for stage in after):
        return "run the same command again to go on"
    if "sample" in account.tallies:
        return _next_of_feedback(account)
    if "dialogue" in account.tallies:
        return f"selfinstruct export {account.run} --format messages --out {account.run}.jsonl"
    layout, file = ("belle", "Belle.train.json") if "belle" in account.tallies else ("alpaca", f"{account.run}.json")
    return f"selfinstruct export {account.run} --format {layout} --out {file}"


def account_json(account: Account, plan: Plan, stop: SelfinstructError | None) -> dict[str, Any]:
    """The same for machines."""
    stages = []
    for stage, tally in account.tallies.items():
        calls, tokens_in, tokens_out = account.calls_of(stage)
        stages.append(
            {
                "stage": stage,
                "accepted": tally.accepted,
                "rejects": dict(sorted(tally.rejects.items())),
                "jobs": tally.jobs,
                "barren": tally.barren,
                "calls": calls,
                "prompt_tokens": tokens_in,
                "completion_tokens": tokens_out,
            }
        )
    return {
        "run": account.run,
        "path": str(plan.path),
        "target": account.target,
        "stages": stages,
        "new_calls": account.new_calls,
        "money": figures.money_json(figures.money_of(account.spending, account.currency)),
        "seconds": round(account.seconds, 3),
        "exhausted": account.exhausted,
        "notes": account.notes,
        "stopped_by": str(stop) if stop else None,
        "next": _next(account, stop),
    }


# --- complete -------------------------------------------------------------------------------------------------------


def completing(account: completing_.Account) -> Shown:
    """How far a file of requests is."""
    fields = {"new_calls": account.new_calls, "new_tokens": account.new_tokens, "failed": account.new_failures}
    words = f"{account.new_calls} calls, {account.new_tokens} tokens"
    if account.new_failures:
        words += f", {account.new_failures} failed"
    return Shown(account.done, account.total, words + figures.live_cost(account.budget), fields)


def print_completed(account: completing_.Account, stop: SelfinstructError | None, *, as_json: bool) -> None:
    """What `complete` ends with, or its JSON."""
    money = figures.money_of(account.spending, account.currency)
    waiting = account.total - account.answered - account.failed
    next_step = _next_of_completed(waiting, stop)
    if as_json:
        import orjson

        row = {
            "path": str(account.path),
            "requests": account.total,
            "answered": account.answered,
            "failed": account.failed,
            "waiting": waiting,
            "new_calls": account.new_calls,
            "new_tokens": account.new_tokens,
            "seconds": round(account.seconds, 3),
            "money": figures.money_json(money),
            "stopped_by": str(stop) if stop else None,
            "next": next_step,
        }
        typer.echo(orjson.dumps(row, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(f"{account.answered} of {account.total} requests answered, {account.failed} failed, {waiting} waiting")
    typer.echo(f"{account.seconds:.1f} s, {account.new_calls} new calls, {account.new_tokens} tokens")
    for line in figures.money_lines(money):
        typer.echo(line)
    typer.echo(f"results  {account.path}/results.jsonl")
    if account.failed:
        typer.echo(f"errors   {account.path}/errors.jsonl")
    if next_step:
        typer.echo(f"next     {next_step}")


def _next_of_completed(waiting: int, stop: SelfinstructError | None) -> str:
    if hint := _next_after(stop):
        return hint
    return "run the same command again to go on" if waiting else ""


def _next_of_feedback(account: Account) -> str:
    if "binarize" not in account.tallies:
        return "the same command without --until, for the stages that are left"
    pairs = f"selfinstruct export {account.run} --format trl --out {account.run}.jsonl"
    return f"selfinstruct audit {account.run}  and then  {pairs}"
