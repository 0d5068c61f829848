"""`selfinstruct generate`: instruction data from seed tasks."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli.options import Json, OutputDir
from selfinstruct.errors import SelfinstructError, UnknownModel, UsageProblem

if TYPE_CHECKING:
    from selfinstruct.config import Recipe, Settings
    from selfinstruct.launch import Plan


class Api(StrEnum):
    """Who answers."""

    local = "local"
    chat = "chat"
    completion = "completion"
    fake = "fake"
    replay = "replay"


class Method(StrEnum):
    """Which chain of stages."""

    self_instruct = "self-instruct"


def generate(
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
    method: Annotated[Method | None, typer.Option(help="The chain of stages. [default: self-instruct]")] = None,
    lang: Annotated[str | None, typer.Option(help="The language of seeds and prompts: en. [default: en]")] = None,
    api: Annotated[
        Api | None,
        typer.Option(
            help="Who answers: the embedded model, an OpenAI-compatible chat or completion API, a script (fake),"
            " or a recorded run (replay). [default: local]"
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
            " gpt-3.5-turbo-instruct for local, chat, completion]",
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="The API's address. [default: $OPENAI_BASE_URL, or OpenAI's own]")
    ] = None,
    replay_from: Annotated[Path | None, typer.Option(help="For --api replay: the folder of the recorded run.")] = None,
    seed_tasks: Annotated[
        Path | None,
        typer.Option(
            "--seed-tasks", "--seed-tasks-path", help="A seed file (JSON Lines). [default: the 175 shipped ones]"
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="The run's name; running it again resumes it. [default: method-lang-model]")
    ] = None,
    output_dir: OutputDir = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw. [default: 42]")] = None,
    threshold: Annotated[
        str | None, typer.Option(help="Reject above this ROUGE-L F1, an exact fraction. [default: 0.7]")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the first stage; others by --set. [default: 0.7]")
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Of the first stage. [default: 0.5]")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of the first stage. [default: 1024]")] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Calls in flight; never changes the data. [default: 32 for an API, 1 local]"),
    ] = None,
    max_unusable: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit 3 when a larger share of answers is unusable. [default: 0.2]"),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.toml", help="A recipe: 'demo', or a TOML file of yours.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one recipe key, such as lag=8.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print a rendered prompt and the planned calls; call nobody.")
    ] = False,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Make new instructions from seed tasks, decide which are classification, and write instances for them.

    The same command again resumes an interrupted run and does nothing for a finished one.
    """
    from selfinstruct import config

    settings = config.settings(
        {
            "output_dir": output_dir,
            "concurrency": concurrency,
            "max_unusable": max_unusable,
            "replay_from": replay_from,
        }
    )
    flags: dict[str, Any] = {
        "method": method.value if method else None,
        "lang": lang,
        "seed": seed,
        "seed_tasks": str(seed_tasks) if seed_tasks else None,
        "model.api": api.value if api else None,
        "model.name": model,
        "model.base_url": base_url or settings.openai_base_url or None,
        "bootstrap.threshold": threshold,
        "bootstrap.temperature": temperature,
        "bootstrap.top_p": top_p,
        "bootstrap.max_tokens": max_tokens,
    }
    resolved = config.resolve(recipe, set_ or [], flags)
    wanted, more = _number(num_instructions)
    if dry_run:
        _show_plan(resolved, settings, wanted, json)
    else:
        _generate(resolved, settings, (run, wanted, more), (json, quiet))


def _number(text: str) -> tuple[int, bool]:
    if not re.fullmatch(r"\+?[0-9]+", text) or int(text) == 0:
        raise UsageProblem(f"--num-instructions '{text}': expected a number above 0, or +N to extend a run by N")
    return int(text), text.startswith("+")


def _generate(recipe: Recipe, settings: Settings, asked: tuple[str | None, int, bool], show: tuple[bool, bool]) -> None:
    from selfinstruct import launch
    from selfinstruct.cli import report
    from selfinstruct.models import opening
    from selfinstruct.run_folder import run_path, slug

    name, wanted, more = asked
    as_json, quiet = show
    recipe = recipe.model_copy(update={"model": opening.named(recipe.model)})
    opened = opening.open_model(recipe.model, settings)
    replayed = "-replay" if recipe.model.api == "replay" else ""
    run = name or f"{recipe.method}-{recipe.lang}-{slug(opened.endpoint.model)}{replayed}"
    plan = launch.plan(recipe, settings, opened, run_path(settings.output_dir, run))
    account = launch.Account(run, launch.target_of(plan, wanted, more=more))
    if not quiet:
        _note_idle_concurrency(plan)
    stop: SelfinstructError | None = None
    with report.Progress(account, quiet=quiet) as progress:
        try:
            launch.run(plan, account, progress.update)
        except UnknownModel as error:
            stop = UnknownModel(f"{error}{_offered(recipe, settings)}")
        except SelfinstructError as error:
            stop = error
    if account.tallies and (as_json or not quiet):
        report.print_account(account, plan, stop, as_json=as_json)
    if stop is not None:
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


def _offered(recipe: Recipe, settings: Settings) -> str:
    """What the server offers instead of an unknown model, where it tells."""
    import asyncio
    import difflib

    from selfinstruct.models.listing import served_models

    if not recipe.model.base_url:
        return ""
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    names = asyncio.run(served_models(recipe.model.base_url, key))
    close = difflib.get_close_matches(recipe.model.name, names, n=5) or names[:5]
    return f"; the server offers {', '.join(close)}" if close else ""


def _show_plan(recipe: Recipe, settings: Settings, wanted: int, as_json: bool) -> None:
    """--dry-run: what would be sent first, and how often."""
    from selfinstruct.cli import report
    from selfinstruct.launch import load_seeds
    from selfinstruct.methods import METHODS, Parts
    from selfinstruct.models.opening import named, open_model, rendering_of
    from selfinstruct.resources import prompts_dir

    model = named(recipe.model)
    # A model is opened only where the recording alone knows how it was asked: a dry run needs no key and no weights.
    rendering = open_model(model, settings).rendering if model.api == "replay" else rendering_of(model)
    parts = Parts(recipe, load_seeds(recipe), rendering, prompts_dir())
    first = METHODS[recipe.method](parts)[0].stage
    job = first.plan(0, (), ())[0]
    report.print_plan(first.prompt(job), recipe, wanted, model.name, as_json=as_json)  # type: ignore[attr-defined]
