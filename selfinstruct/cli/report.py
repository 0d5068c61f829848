"""What people see of a run: the bar while it works, the table when it stops."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from selfinstruct.errors import AccessDenied, ConfigProblem, SelfinstructError

if TYPE_CHECKING:
    from tqdm import tqdm

    from selfinstruct.config import Recipe
    from selfinstruct.launch import Account, Plan
    from selfinstruct.runner import StageRun
    from selfinstruct.schema import Request

_LINE_EVERY_SECONDS = 60.0


class Progress:
    """A bar on a terminal, one plain line a minute otherwise (cron mails what is printed), nothing when quiet."""

    def __init__(self, account: Account, *, quiet: bool) -> None:
        self._account = account
        self._quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._next_line = time.monotonic() + _LINE_EVERY_SECONDS
        self._said_stopping = False

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and not self._quiet:
            from tqdm import tqdm

            self._bar = tqdm(total=self._account.target, unit="task", dynamic_ncols=True, desc="accepted")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away. Safe to call twice."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def update(self, chain: Sequence[StageRun]) -> None:
        """Show how far the chain is."""
        if self._quiet or not chain:
            return
        if self._account.stopping and not self._said_stopping:
            self._said_stopping = True
            line = "stopping: waiting for the calls in flight, whose answers are paid for; a second signal ends at once"
            typer.echo(f"\n{line}" if self._bar is not None else line, err=True)
        if self._bar is not None:
            self._bar.n = min(chain[0].store.accepted, self._account.target)
            self._bar.set_postfix_str(self._words(chain), refresh=False)
            self._bar.update(0)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY_SECONDS
            accepted = f"accepted {chain[0].store.accepted}/{self._account.target}"
            typer.echo(f"{self._account.run}: {accepted}, {self._words(chain)}", err=True)

    def _words(self, chain: Sequence[StageRun]) -> str:
        tally = chain[0].store.tally
        seen = tally.accepted + sum(tally.rejects.values())
        rate = f"{tally.accepted / seen:.0%} kept" if seen else "nothing screened yet"
        final = f"{chain[-1].store.accepted} instances"
        return f"{final}, {self._account.new_calls} calls, {self._account.new_tokens} tokens, {rate}"


def print_account(account: Account, plan: Plan, stop: SelfinstructError | None, *, as_json: bool) -> None:
    """The table every stop ends with, or its JSON; ``stop`` is what ended the run before its time."""
    if as_json:
        import orjson

        typer.echo(orjson.dumps(_account_json(account, plan, stop), option=orjson.OPT_INDENT_2).decode())
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
        _, calls, tokens_in, tokens_out = account.calls_of(stage)
        rejects = sum(tally.rejects.values())
        lines.append(f"{stage:<12}{tally.accepted:>9}{rejects:>9}{calls:>8}{tokens_in:>11}{tokens_out:>11}")
    for stage, tally in account.tallies.items():
        reasons = sorted(tally.rejects.items(), key=lambda item: (-item[1], item[0]))
        if reasons:
            lines.append(f"{stage} rejects: " + ", ".join(f"{reason} {count}" for reason, count in reasons))
    last, tally = list(account.tallies.items())[-1]
    lines.append(f"{tally.barren} of {tally.jobs} instructions have no valid record of {last}")
    took = f"{account.seconds:.1f} s, {account.new_calls} new calls" if account.seconds else ""
    lost = f"{account.ambiguous} attempts cut off (may have been billed)" if account.ambiguous else ""
    return [*lines, "; ".join(part for part in (took, lost) if part)]


def _next(account: Account, stop: SelfinstructError | None) -> str:
    if account.exhausted:
        return "more from other seed tasks, a stronger model or a warmer recipe, as a run of its own (--run NAME)"
    if isinstance(stop, ConfigProblem | AccessDenied):
        return "mend what the last line says; then the same command goes on"
    first, *others = account.tallies.values()
    if first.accepted < account.target or any(tally.rounds < first.rounds for tally in others):
        return "run the same command again to go on"
    return f"selfinstruct export {account.run} --format alpaca --out {account.run}.json"


def _account_json(account: Account, plan: Plan, stop: SelfinstructError | None) -> dict[str, Any]:
    stages = []
    for stage, tally in account.tallies.items():
        _, calls, tokens_in, tokens_out = account.calls_of(stage)
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
        "ambiguous": account.ambiguous,
        "seconds": round(account.seconds, 3),
        "exhausted": account.exhausted,
        "notes": account.notes,
        "stopped_by": str(stop) if stop else None,
        "next": _next(account, stop),
    }


def print_plan(request: Request, recipe: Recipe, wanted: int, model: str, *, as_json: bool) -> None:
    """--dry-run: the first prompt as it would be sent, and the planned calls at half and at full yield."""
    # Whole rounds are screened, so a few more are accepted than asked for, and each of them is followed up.
    yields = [recipe.round_size * recipe.bootstrap.new_tasks / share for share in (1, 2)]
    rounds = [math.ceil(wanted / kept) for kept in yields]
    bootstrap = [count * recipe.round_size for count in rounds]
    follow = [round(count * kept) for count, kept in zip(rounds, yields, strict=True)]
    if as_json:
        import orjson

        planned = {"bootstrap": bootstrap, "classify": follow, "instances": follow}
        row = {"model": model, "request": request.model_dump(exclude={"draw"}), "planned_calls": planned}
        typer.echo(orjson.dumps(row, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(request.prompt if request.prompt is not None else _transcript(request))
    typer.echo(f"\n--- stop at {list(request.stop)}; {request.sampling.model_dump(exclude_none=True)}")
    typer.echo(
        f"--- {wanted} instructions of a new run from {model}: {bootstrap[0]} bootstrap, {follow[0]} classify and"
        f" {follow[0]} instances calls if every candidate is kept; {bootstrap[1]}, {follow[1]} and {follow[1]} if half"
        " are. Nothing was sent."
    )


def _transcript(request: Request) -> str:
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in request.messages or ())
