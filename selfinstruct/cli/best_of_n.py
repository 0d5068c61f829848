"""`selfinstruct best-of-n`: n answers to each prompt, and the one that a reward model likes best."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfinstruct.cli import options
from selfinstruct.cli.options import Api, LogFormat
from selfinstruct.errors import SelfinstructError, UnknownModel, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Callable

    from selfinstruct.cli.report import Progress
    from selfinstruct.completing import Account
    from selfinstruct.config import Settings
    from selfinstruct.model_recipe import ModelRecipe
    from selfinstruct.sampling_n import Sought
    from selfinstruct.schema import Sampling
    from selfinstruct.training.best_of_n import Outcome


def best_of_n(
    context: typer.Context,
    prompts: Annotated[
        str,
        typer.Argument(metavar="PROMPTS", help="What to ask: a .txt or .jsonl file of instructions, or a run of ours."),
    ],
    reward_model: Annotated[
        Path, typer.Option(metavar="DIR", help="Who judges: a folder that 'finetune reward' has written.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder of the ledger and of what comes of it.")
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="Answers a prompt. [default: 16, as UltraRM's best-of-16]")] = 16,
    api: Annotated[Api, typer.Option(help="Who answers.")] = Api.local,
    endpoint: options.EndpointOption = None,
    base_url: options.BaseUrl = None,
    engine: options.EngineOption = None,
    vllm_python: options.VllmPython = None,
    gpus: options.Gpus = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model that answers. [default: the API's]")
    ] = None,
    replay_from: options.ReplayFrom = None,
    temperature: Annotated[
        float, typer.Option(min=0, max=2, help="How far answers differ. [default: 0.7, as UltraLM was sampled]")
    ] = 0.7,
    top_p: Annotated[float | None, typer.Option(min=0, max=1, help="Nucleus sampling.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer; one that is cut is not kept.")] = 1024,
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
    output_dir: options.OutputDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print calls, tokens, cost and disk; send nothing.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormatOption = LogFormat.text,
) -> None:
    """Ask each prompt n times, score the answers, and keep the best of each in DIR/kept.jsonl, for 'finetune sft'.

    DIR/samples.jsonl holds all of them, DIR/curve.json and DIR/best-of-n.png what fewer would have come to. The same
    command again resumes: nothing is asked or scored twice, and a larger -n, or more prompts, asks for what is new.
    """
    from selfinstruct.cli import running
    from selfinstruct.model_recipe import ModelRecipe
    from selfinstruct.schema import Sampling

    if n > 1 and temperature == 0:
        raise UsageProblem(f"--temperature 0 gives the same answer {n} times: raise it, or take -n 1")
    settings = options.settings_of(context)
    recipe = ModelRecipe(
        api=api.value,
        name=model or "",
        endpoint=endpoint or "",
        base_url=base_url or ("" if endpoint else settings.openai_base_url),
        engine=running.engine_of(engine) or {},
    )
    if recipe.api == "completion":
        raise UsageProblem("--api completion continues a text, and prompts here are messages: take --api chat")
    sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens)
    sought = _sought((prompts, out, reward_model), (n, sampling), recipe, settings, dry_run)
    if dry_run:
        _plan(sought, json)
    else:
        _run(sought, json, quiet, log_format)


def _sought(
    paths: tuple[str, Path, Path], asked: tuple[int, Sampling], recipe: ModelRecipe, settings: Settings, dry: bool
) -> Sought:
    """What is to be done. What would stop it later is found here, before anything is asked or paid for."""
    from selfinstruct import estimating, naming
    from selfinstruct.models import opening
    from selfinstruct.sampling_n import Prompts, Sought
    from selfinstruct.training import extra, scoring

    name, out, reward_model = paths
    extra.required("matplotlib")
    scoring.check(reward_model)
    brought = Prompts.open(name, settings.output_dir)
    named = naming.named(recipe)
    opened = (estimating.unopened if dry else opening.open_model)(named, settings)
    if named.api == "local":  # whose seeds are always sent: requests that are recorded must be known again
        opened = opened._replace(endpoint=opened.endpoint.model_copy(update={"send_seed": True}))
    return Sought(brought, *asked, out, reward_model, named, settings, opened)


def _plan(sought: Sought, as_json: bool) -> None:
    """--dry-run: what the answers that are still to be drawn would come to."""
    import tempfile

    from selfinstruct import estimating, sampling_n
    from selfinstruct.cli import estimates

    with tempfile.TemporaryDirectory() as folder:
        forecast = estimating.of_batch(sampling_n.planned(sought, Path(folder)))
    estimates.print_forecast(forecast, as_json=as_json)


def _run(sought: Sought, as_json: bool, quiet: bool, log_format: LogFormat) -> None:
    """Ask, score, tell. Raises what stopped it, once what was done is told."""
    from selfinstruct import completing, sampling_n
    from selfinstruct.cli import report, running

    account = completing.Account(sought.out)
    stop: SelfinstructError | None = None
    outcome: Outcome | None = None
    as_events = log_format is LogFormat.json
    with report.Progress(str(sought.out), "answer", quiet=quiet, as_json=as_events) as progress:
        running.tell_starts([sought.opened], progress)

        def watch() -> None:
            progress.update(lambda: report.completing(account), stopping=account.stopping)

        try:
            sampling_n.sample(sought, account, watch)
            outcome = sampling_n.choose(sought, _scored(sought, progress))
            sampling_n.check_usable(sought, outcome)
        except UnknownModel as error:
            stop = UnknownModel(f"{error}{options.offered(sought.recipe, sought.settings)}")
        except SelfinstructError as error:
            stop = error
        progress.stopped(stop)
    if outcome is not None and as_json:
        _print_json(sought, account, outcome, stop)
    elif outcome is not None and not quiet:
        _print(sought, account, outcome)
    elif account.total and (as_json or not quiet):
        report.print_completed(account, stop, as_json=as_json)
    if stop is not None:
        if as_events:
            raise typer.Exit(stop.exit_code)  # the last event has said why
        raise stop


# --- what is told ---------------------------------------------------------------------------------------------------


def _scored(sought: Sought, progress: Progress) -> Callable[[int], None]:
    """What hears how many prompts are scored."""
    from selfinstruct.cli.report import Shown

    total = len(sought.prompts)
    progress.say(f"scoring the answers to {total} prompts")

    def done(prompts: int) -> None:
        progress.update(lambda: Shown(prompts * sought.n, total * sought.n, "scored", {"prompts_scored": prompts}))

    return done


def _print(sought: Sought, account: Account, outcome: Outcome) -> None:
    from selfinstruct.cli import figures

    unusable = ", ".join(f"{count} {reason}" for reason, count in outcome.problems.items())
    again = f", {sought.prompts.repeated} that stand there again left out" if sought.prompts.repeated else ""
    typer.echo(f"{outcome.prompts} prompts{again}, {outcome.answers} answers{f': {unusable}' if unusable else ''}")
    typer.echo(f"{account.seconds:.1f} s, {account.new_calls} new calls, {account.new_tokens} tokens")
    for line in figures.money_lines(figures.money_of(account.spending, account.currency)):
        typer.echo(line)
    typer.echo("     n  expected best score  prompts answered")
    for point in outcome.curve:
        score = "-" if point.score is None else f"{point.score:.4f}"
        typer.echo(f"{point.n:>6}  {score:>19}  {point.answered:>16.1%}")
    typer.echo(f"kept     {sought.out}/kept.jsonl, the best answer to {outcome.kept} of {outcome.prompts} prompts")
    typer.echo(f"samples  {sought.out}/samples.jsonl")
    typer.echo(f"curve    {sought.out}/best-of-n.png")
    if outcome.kept:
        typer.echo(f"next     {_next(sought)}")


def _next(sought: Sought) -> str:
    return f"selfinstruct finetune sft {shlex.quote(str(sought.out / 'kept.jsonl'))} --model MODEL"


def _print_json(sought: Sought, account: Account, outcome: Outcome, stop: SelfinstructError | None) -> None:
    import orjson

    from selfinstruct.cli import figures
    from selfinstruct.training.best_of_n import as_json

    row = {
        "path": str(sought.out),
        "n": sought.n,
        "repeated": sought.prompts.repeated,
        **as_json(outcome),
        "new_calls": account.new_calls,
        "new_tokens": account.new_tokens,
        "seconds": round(account.seconds, 3),
        "money": figures.money_json(figures.money_of(account.spending, account.currency)),
        "stopped_by": str(stop) if stop else None,
        "next": _next(sought) if outcome.kept else "",
    }
    typer.echo(orjson.dumps(row, option=orjson.OPT_INDENT_2).decode())
