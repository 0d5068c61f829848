"""`selfinstruct refilter`: the candidates of a run, judged anew by other filters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli import options
from selfinstruct.cli.options import LogFormat
from selfinstruct.errors import SelfinstructError, UnknownModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from selfinstruct.cli.report import Shown
    from selfinstruct.config import Settings
    from selfinstruct.forecast import Forecast
    from selfinstruct.launch import Account
    from selfinstruct.refiltering import Refilter
    from selfinstruct.runner import StageRun


def refilter(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="The run whose candidates are judged anew: its name, or its folder's path."),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="RUN2",
            help="The new run: its name, or its folder's path. The same command goes on with it.",
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a filter: threshold=0.6, rules.min_length=4; of a later stage with its table before it,"
            " instances.min_output_words=2.",
        ),
    ] = None,
    pay: Annotated[
        bool,
        typer.Option(
            "--pay", help="Ask the model about records that no answer is recorded for; without it they are left out."
        ),
    ] = False,
    output_dir: options.OutputDir = None,
    replay_from: options.ReplayFrom = None,
    concurrency: options.Concurrency = None,
    rpm: options.Rpm = None,
    tpm: options.Tpm = None,
    timeout: options.Timeout = None,
    give_up_after: options.GiveUpAfter = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_tokens_total: options.MaxTokensTotal = None,
    price: options.PriceOption = None,
    deadline: options.Deadline = None,
    max_unusable: options.MaxUnusable = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormatOption = LogFormat.text,
) -> None:
    """Judge a run's recorded candidates by other filters, as they were drawn; write a new run. RUN is only read.

    Not equal to a fresh run at these settings: rounds and prompts stay those of RUN. Without --pay nothing is sent.
    """
    from selfinstruct import refiltering
    from selfinstruct.run_folder import find

    settings = options.settings_of(context)
    parent = find(settings.output_dir, run)
    prepared = refiltering.prepare(parent, _folder(settings, out), set_ or [], settings, pay=pay)
    _refilter(prepared, as_json=json, quiet=quiet, as_events=log_format is LogFormat.json)


def _folder(settings: Settings, out: str) -> Path:
    from selfinstruct.run_folder import run_path

    return Path(out) if "/" in out else run_path(settings.output_dir, out, "--out")


def _refilter(prepared: Refilter, *, as_json: bool, quiet: bool, as_events: bool) -> None:
    from selfinstruct import refiltering
    from selfinstruct.cli import report
    from selfinstruct.launch import Account

    account = Account(prepared.plan.path.name, 0)
    stop: SelfinstructError | None = None
    with report.Progress(account.run, "round", quiet=quiet, as_json=as_events) as progress:

        def watch(chain: Sequence[StageRun]) -> None:
            if chain:
                rounds = prepared.plan.refiltered[0].rounds
                progress.update(lambda: _shown(account, chain, rounds), stopping=account.stopping)

        try:
            refiltering.run(prepared, account, watch)
        except UnknownModel as error:
            stop = UnknownModel(f"{error}{options.offered(prepared.plan.recipe.model, prepared.plan.settings)}")
        except SelfinstructError as error:
            stop = error
        progress.stopped(stop)
    if account.tallies and (as_json or not quiet):
        _print(prepared, account, stop, as_json=as_json)
    if stop is not None:
        if as_events:
            raise typer.Exit(stop.exit_code)  # the last event has said why
        raise stop


def _shown(account: Account, chain: Sequence[StageRun], rounds: int) -> Shown:
    """How many of the parent's rounds are through the whole chain; those not yet in its shards come on top."""
    from selfinstruct.cli import report

    return report.generating(account, chain)._replace(done=chain[-1].screened, total=max(rounds, chain[0].screened))


# --- what it ends with ------------------------------------------------------------------------------------------------


def _print(prepared: Refilter, account: Account, stop: SelfinstructError | None, *, as_json: bool) -> None:
    from selfinstruct import estimating, refiltering
    from selfinstruct.cli import estimates, report
    from selfinstruct.redrawing import NOT_ASKED

    plan = prepared.plan
    left_out = [record.id for _, record in refiltering.waiting(plan)]
    forecast = estimating.of_refiltered(plan, refiltering.waiting(plan)) if left_out else None
    if as_json:
        import orjson

        row = report.account_json(account, plan, stop) | _row(prepared, left_out, forecast)
        typer.echo(orjson.dumps(row, option=orjson.OPT_INDENT_2).decode())
        return
    report.print_account(account, plan, stop, as_json=False)
    told = plan.refiltered[0]
    typer.echo(f"parent   {prepared.parent}; {told.meaning}")
    if forecast is not None:
        stages = [stage for stage, tally in account.tallies.items() if NOT_ASKED in tally.rejects]
        files = ", ".join(f"{plan.path}/{stage}/rejects-*.jsonl" for stage in stages)
        typer.echo(f"left out {len(left_out)} for which {told.run} has no later answers: '{NOT_ASKED}' in {files}\n")
        typer.echo("The same command with --pay asks about them:")
        estimates.print_forecast(forecast, as_json=False)


def _row(prepared: Refilter, left_out: list[str], forecast: Forecast | None) -> dict[str, Any]:
    from selfinstruct.cli import estimates

    told = prepared.plan.refiltered[0]
    return {
        "parent": {"run": told.run, "path": str(prepared.parent)},
        "changed": told.changed,
        "meaning": told.meaning,
        "left_out": left_out,
        "to_pay": estimates.as_row(forecast) if forecast else None,
    }
