"""`selfinstruct complete`: a file of requests, answered in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli import options
from selfinstruct.cli.options import Api, LogFormat
from selfinstruct.errors import SelfinstructError, UnknownModel, UsageProblem

if TYPE_CHECKING:
    from selfinstruct.batch import Batch
    from selfinstruct.config import Settings
    from selfinstruct.models.opening import Opened
    from selfinstruct.recipe import Recipe


def complete(
    context: typer.Context,
    requests: Annotated[
        Path, typer.Argument(metavar="REQUESTS.jsonl", help="Requests in the OpenAI Batch format, one a line.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="The folder of the ledger and the results; resumes there. Needed, but for --dry-run.",
        ),
    ] = None,
    api: Annotated[
        Api,
        typer.Option(help="Who answers: an OpenAI-compatible API (each line's url says which), or as for generate."),
    ] = Api.chat,
    endpoint: options.EndpointOption = None,
    base_url: options.BaseUrl = None,
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool",
            metavar="NAME|FILE.toml[:MODEL,…]",
            help="Several models: each body's own 'model' names who of the pool answers it. See 'models check'.",
        ),
    ] = None,
    engine: options.EngineOption = None,
    vllm_python: options.VllmPython = None,
    gpus: options.Gpus = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model for every request. [default: each body's own]")
    ] = None,
    replay_from: options.ReplayFrom = None,
    extra_body: Annotated[
        str | None, typer.Option(metavar="JSON", help="Fields laid over every body, such as '{\"temperature\": 0}'.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="For bodies that set no limit. [default: none; 1024 where a cap is set]"),
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print calls, tokens, cost and disk; send nothing.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormatOption = LogFormat.text,
) -> None:
    """Answer every request of a file; write DIR/results.jsonl, and DIR/errors.jsonl for what cannot be answered.

    The same command again resumes: nothing recorded is sent twice. Lines may be appended in between.
    """
    from selfinstruct.cli import running
    from selfinstruct.model_recipe import ModelRecipe
    from selfinstruct.recipe import Recipe

    settings = options.settings_of(context)
    recipe = ModelRecipe(
        api=api.value,
        name=model or "",
        endpoint=endpoint or "",
        base_url=base_url or ("" if endpoint else settings.openai_base_url),
        extra_body=_object(extra_body),
        engine=(running.engine_of(engine) if pool is None else None) or {},
    )
    unnamed = Recipe(model=recipe, pool=running.pool_of(pool, engine) or ())
    running.check_who_answers(context, unnamed, ("api", "model", "endpoint", "base_url"))
    asked = unnamed.model_copy(update={"model": _named(recipe)})
    if dry_run:
        _plan((requests, out or Path()), asked, settings, max_tokens, json)
    elif out is None:
        raise UsageProblem("--out is missing: name the folder of the ledger and the results; see --help")
    else:
        _complete(_batch((requests, out), asked, settings, max_tokens), json, quiet, log_format)


def _object(text: str | None) -> dict[str, Any]:
    import orjson

    if text is None:
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageProblem(f"--extra-body: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageProblem("--extra-body: expected a JSON object, such as '{\"temperature\": 0}'")
    for field in ("stream", "messages", "prompt"):
        if value.get(field):
            raise UsageProblem(f"--extra-body: '{field}' is not for every request; a stream cannot be recorded")
    return value


def _batch(paths: tuple[Path, Path], recipe: Recipe, settings: Settings, max_tokens: int | None) -> Batch:
    from selfinstruct import naming
    from selfinstruct.models import opening

    pool = naming.named_roles(recipe).pool
    opened = opening.open_models(recipe.model_copy(update={"pool": pool}), settings, recipe.pool_roles or ("teacher",))
    return _batch_of(paths, recipe, settings, max_tokens, opened)


def _batch_of(
    paths: tuple[Path, Path], recipe: Recipe, settings: Settings, max_tokens: int | None, opened: dict[str, Opened]
) -> Batch:
    from selfinstruct.batch import Batch

    first = next(iter(opened.values()))
    pool = {role.partition("/")[2]: one for role, one in opened.items() if role in recipe.pool_roles}
    return Batch(*paths, recipe.model, max_tokens, settings, first, pool)


def _named(recipe: Any) -> Any:
    from selfinstruct import naming

    named = naming.named(recipe)
    if recipe.api in ("chat", "completion"):
        # The bodies name their models and are what somebody wrote down: nothing of a preset is laid over them.
        own = recipe.model_dump(include={"name", "omit", "extra_body", "limits", "json_mode"})
        named = named.model_copy(update=own)
    return named


def _complete(batch: Batch, as_json: bool, quiet: bool, log_format: LogFormat) -> None:
    from selfinstruct import completing
    from selfinstruct.cli import report, running

    account = completing.Account(batch.out)
    stop: SelfinstructError | None = None
    with report.Progress(str(batch.out), "request", quiet=quiet, as_json=log_format is LogFormat.json) as progress:
        running.tell_starts(batch.answering.values(), progress)

        def watch() -> None:
            progress.update(lambda: report.completing(account), stopping=account.stopping)

        try:
            completing.run(batch, account, watch)
        except UnknownModel as error:
            stop = UnknownModel(f"{error}{options.offered(batch.recipe, batch.settings)}")
        except SelfinstructError as error:
            stop = error
        progress.stopped(stop)
    if account.total and (as_json or not quiet):
        report.print_completed(account, stop, as_json=as_json)
    if stop is not None:
        if log_format is LogFormat.json:
            raise typer.Exit(stop.exit_code)  # the last event has said why
        raise stop


def _plan(paths: tuple[Path, Path], recipe: Recipe, settings: Settings, max_tokens: int | None, as_json: bool) -> None:
    """--dry-run: what the requests without an answer would come to."""
    from selfinstruct import estimating, naming
    from selfinstruct.cli import estimates

    pool = naming.named_roles(recipe).pool
    named = recipe.model_copy(update={"pool": pool})
    opened = estimating.unopened_roles(named, settings, recipe.pool_roles or ("teacher",))
    batch = _batch_of(paths, recipe, settings, max_tokens, opened)
    estimates.print_forecast(estimating.of_batch(batch), as_json=as_json)
