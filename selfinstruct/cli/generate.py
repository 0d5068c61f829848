"""`selfinstruct generate`: instruction data from seed tasks."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli import options
from selfinstruct.cli.options import Api, LogFormat
from selfinstruct.errors import SelfinstructError, UnknownModel, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from selfinstruct.config import Settings
    from selfinstruct.launch import Plan
    from selfinstruct.models.opening import Opened
    from selfinstruct.recipe import Recipe
    from selfinstruct.runner import StageRun


class Method(StrEnum):
    """Which chain of stages."""

    self_instruct = "self-instruct"
    alpaca = "alpaca"
    belle = "belle"


class Lang(StrEnum):
    """What is written."""

    en = "en"
    zh = "zh"


class AnswerForm(StrEnum):
    """How whole tasks are asked for."""

    text = "text"
    json = "json"


def generate(
    context: typer.Context,
    num_instructions: Annotated[
        str,
        typer.Option(
            "--num-instructions",
            "-n",
            "--num-instructions-to-generate",
            metavar="N|+N",
            help="Stop after the round that brings the accepted instructions to N; +N extends a finished run by N.",
        ),
    ] = "100",
    method: Annotated[
        Method | None,
        typer.Option(
            help="self-instruct: instructions, then their instances, stage by stage; alpaca: whole tasks in one call;"
            " belle: the same in Chinese, BELLE's way. [default: self-instruct]"
        ),
    ] = None,
    lang: Annotated[
        Lang | None, typer.Option(help="The language of seeds, prompts and filters. [default: en; belle: zh]")
    ] = None,
    api: Annotated[
        Api | None,
        typer.Option(
            help="Who answers: the embedded model, an OpenAI-compatible chat or completion API, a script (fake),"
            " or a recorded run (replay). [default: local; --endpoint: chat]"
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            "--model-name",
            "--model_name",
            help="The model's name; for --api local also a .gguf file. [default: smollm2-135m-instruct, gpt-3.5-turbo,"
            " gpt-3.5-turbo-instruct for local, chat, completion; --endpoint: the preset's]",
        ),
    ] = None,
    endpoint: options.EndpointOption = None,
    base_url: options.BaseUrl = None,
    replay_from: options.ReplayFrom = None,
    seed_tasks: Annotated[
        Path | None,
        typer.Option(
            "--seed-tasks", "--seed-tasks-path", help="A seed file (JSON Lines). [default: the 175 shipped ones]"
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="The run's name; running it again resumes it. [default: method-lang-model]")
    ] = None,
    output_dir: options.OutputDir = None,
    bootstrap: Annotated[
        bool | None,
        typer.Option(
            "--bootstrap/--seeds-only",
            help="Show accepted tasks among the examples, or seed tasks only. [default: self-instruct: two of eight;"
            " alpaca, belle: seeds only]",
        ),
    ] = None,
    format: Annotated[
        AnswerForm | None,
        typer.Option(help="For alpaca and belle: ask for blocks of text, or for JSON under a schema. [default: text]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw. [default: 42]")] = None,
    threshold: Annotated[
        str | None, typer.Option(help="Reject above this ROUGE-L F1, an exact fraction. [default: 0.7]")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the first stage; others by --set. [default: 0.7; alpaca, belle: 1.0]")
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Of the first stage. [default: 0.5; alpaca, belle: 1.0]")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Of the first stage. [default: 1024; alpaca, belle: 3072]")
    ] = None,
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
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml", help="A recipe of ours (self-instruct, alpaca, belle, demo), or a TOML file."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one recipe key, such as lag=8.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the first prompt, and calls, tokens, cost and disk; send nothing.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormatOption = LogFormat.text,
) -> None:
    """Make instruction data from seed tasks: new instructions, with inputs and outputs.

    The same command again resumes an interrupted run and does nothing for a finished one.
    """
    from selfinstruct import config

    settings = options.settings_of(context)
    flags: dict[str, Any] = {
        "method": method.value if method else None,
        "lang": lang.value if lang else None,
        "seed": seed,
        "seed_tasks": str(seed_tasks) if seed_tasks else None,
        "model.api": api.value if api else None,
        "model.name": model,
        "model.endpoint": endpoint,
        "model.base_url": base_url or None,
        "environment.base_url": settings.openai_base_url or None,
        "first.format": format.value if format else None,
        "first.bootstrap": bootstrap,
        "first.threshold": threshold,
        "first.temperature": temperature,
        "first.top_p": top_p,
        "first.max_tokens": max_tokens,
    }
    resolved = config.resolve(recipe, set_ or [], flags)
    wanted, more = _number(num_instructions)
    if dry_run:
        _show_plan(resolved, settings, (run, wanted, more), json)
    else:
        _generate(resolved, settings, (run, wanted, more), (json, quiet, log_format is LogFormat.json))


def _number(text: str) -> tuple[int, bool]:
    if not re.fullmatch(r"\+?[0-9]+", text) or int(text) == 0:
        raise UsageProblem(f"--num-instructions '{text}': expected a number above 0, or +N to extend a run by N")
    return int(text), text.startswith("+")


def _generate(
    recipe: Recipe, settings: Settings, asked: tuple[str | None, int, bool], show: tuple[bool, bool, bool]
) -> None:
    from selfinstruct import launch
    from selfinstruct.cli import report
    from selfinstruct.models import opening
    from selfinstruct.run_folder import run_path

    name, wanted, more = asked
    as_json, quiet, as_events = show
    recipe = recipe.model_copy(update={"model": opening.named(recipe.model)})
    opened = opening.open_model(recipe.model, settings)
    run = name or _default_run(recipe, opened)
    plan = launch.plan(recipe, settings, opened, run_path(settings.output_dir, run))
    account = launch.Account(run, launch.target_of(plan, wanted, more=more))
    if not quiet and not as_events:
        _note_idle_concurrency(plan)
    stop: SelfinstructError | None = None
    with report.Progress(run, "task", quiet=quiet, as_json=as_events) as progress:

        def watch(chain: Sequence[StageRun]) -> None:
            if chain:
                progress.update(lambda: report.generating(account, chain), stopping=account.stopping)

        try:
            launch.run(plan, account, watch)
        except UnknownModel as error:
            stop = UnknownModel(f"{error}{options.offered(recipe.model, settings)}")
        except SelfinstructError as error:
            stop = error
        progress.stopped(stop)
    if account.tallies and (as_json or not quiet):
        report.print_account(account, plan, stop, as_json=as_json)
    if stop is not None:
        if as_events:
            raise typer.Exit(stop.exit_code)  # the last event has said why
        raise stop


def _note_idle_concurrency(plan: Plan) -> None:
    most = plan.recipe.round_size * plan.recipe.lag
    asked = plan.settings.concurrency
    if asked and asked > most:
        typer.echo(
            f"selfinstruct: --concurrency {asked}, but the first stage has at most {most} calls in flight"
            f" (round_size {plan.recipe.round_size} x lag {plan.recipe.lag}); a new run with"
            f" --set lag={-(-asked // plan.recipe.round_size)} keeps more",
            err=True,
        )


def _show_plan(recipe: Recipe, settings: Settings, asked: tuple[str | None, int, bool], as_json: bool) -> None:
    """--dry-run: what would be sent first, and what all that is left to do would come to."""
    from selfinstruct import estimating, launch, wire
    from selfinstruct.cli import estimates
    from selfinstruct.models import opening
    from selfinstruct.run_folder import run_path

    name, wanted, more = asked
    recipe = recipe.model_copy(update={"model": opening.named(recipe.model)})
    opened = estimating.unopened(recipe.model, settings)
    plan = launch.plan(recipe, settings, opened, run_path(settings.output_dir, name or _default_run(recipe, opened)))
    first = plan.links[0].stage
    request = first.prompt(first.plan(0, (), ())[0])  # type: ignore[attr-defined]
    forecast = estimating.of_run(plan, launch.target_of(plan, wanted, more=more))
    estimates.print_forecast(forecast, wire.body(opened.endpoint, request), as_json=as_json)


def _default_run(recipe: Recipe, opened: Opened) -> str:
    from selfinstruct.run_folder import slug

    replayed = "-replay" if recipe.model.api == "replay" else ""
    return f"{recipe.method}-{recipe.lang}-{slug(opened.endpoint.model)}{replayed}"
