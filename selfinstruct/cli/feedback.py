"""`selfinstruct feedback`: several models answer each instruction, a judge rates them, pairs are made of it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli import options, running
from selfinstruct.cli.options import Api, Lang, LogFormat, Rejected, Score
from selfinstruct.errors import UsageProblem

if TYPE_CHECKING:
    from selfinstruct.model_recipe import ModelRecipe
    from selfinstruct.recipe import Recipe

POOL = "ultrafeedback-17"
"""Who is asked, unless it is said: UltraFeedback's models (systems §6.2)."""


class Design(StrEnum):
    """Which models of the pool answer an instruction."""

    uniform = "uniform"
    balanced = "balanced"


class Principles(StrEnum):
    """What models are told beforehand."""

    readme = "readme"
    code = "code"
    none = "none"


class Format(StrEnum):
    """How the judge answers."""

    text = "text"
    json = "json"


class Until(StrEnum):
    """The stages to stop behind."""

    sample = "sample"
    rate = "rate"
    critique = "critique"


def feedback(
    context: typer.Context,
    instructions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What the models are asked: JSON Lines with instruction[, source, input, correct_answers,"
            " incorrect_answers], or with messages, whose last turn of the user is asked; or .txt, one a line.",
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="The accepted records of a run of generate or dialogue instead."),
    ] = None,
    num_instructions: Annotated[
        str | None,
        typer.Option(
            "--num-instructions",
            "-n",
            metavar="N|+N",
            help="Stop after the round that brings the instructions to N; +N extends a finished run. [default: all]",
        ),
    ] = None,
    lang: Annotated[Lang | None, typer.Option(help="The language of prompts and principles. [default: en]")] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml[:MODEL,…]",
            help="Who answers: ultrafeedback-17, modern-17 or a file of yours; ':a,b' takes some of it, ':-a,-b' all"
            " but those. Models that nobody can ask any more are left out. 'selfinstruct models check' says which can"
            f" be asked here. [default: the recipe's, or {POOL}]",
        ),
    ] = None,
    models: Annotated[
        int | None, typer.Option(min=2, help="How many models of the pool answer an instruction. [default: 4]")
    ] = None,
    design: Annotated[
        Design | None,
        typer.Option(
            help="uniform: drawn anew for each instruction; balanced: all models equally often, at any number of"
            " instructions, and every two of them about equally often together. [default: uniform]"
        ),
    ] = None,
    principles: Annotated[
        Principles | None,
        typer.Option(
            help="What a model is told beforehand, drawn by the source of the instruction: by the table of"
            " UltraFeedback's README, by that of its code, or nothing. [default: readme]"
        ),
    ] = None,
    engine: options.EngineOption = None,
    vllm_python: options.VllmPython = None,
    gpus: options.Gpus = None,
    judge_api: Annotated[Api | None, typer.Option(help="Who rates. [default: chat]")] = None,
    judge_model: Annotated[str | None, typer.Option(help="Its name. [default: gpt-4]")] = None,
    judge_endpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its provider, as 'selfinstruct models endpoints' lists them.")
    ] = None,
    judge_base_url: Annotated[
        str | None, typer.Option(help="Its address. [default: $OPENAI_BASE_URL, or OpenAI's own]")
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(help="How the judge answers: sections of text, or JSON by a schema. [default: text]"),
    ] = None,
    rationale_first: Annotated[
        bool, typer.Option("--rationale-first", help="Let the judge give its reasons before each rating.")
    ] = False,
    max_reasks: Annotated[
        int | None,
        typer.Option(min=0, help="How often an answer of the judge that cannot be read is asked again. [default: 2]"),
    ] = None,
    swap_check: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Rate this share of instructions, such as 0.05, a second time in reverse order; 'audit' compares them."
            " [default: 0]",
        ),
    ] = None,
    no_critique: Annotated[
        bool, typer.Option("--no-critique", help="Rate the answers, and leave critiques and overall scores out.")
    ] = False,
    score: Annotated[
        Score | None, typer.Option(help="Pairs by the mean of the ratings, or the overall score. [default: mean]")
    ] = None,
    rejected: Annotated[
        Rejected | None,
        typer.Option(
            help="Beside the best answer: a random lower one, the lowest, or all pairs there are. [default: random]"
        ),
    ] = None,
    exclude_source: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="Make no pairs of these instructions, such as truthful_qa."),
    ] = None,
    until: Annotated[
        Until | None,
        typer.Option(help="Stop behind this stage; the command without it goes on from there. [default: all stages]"),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="The run's name; running it again resumes it. [default: feedback-lang-judge]")
    ] = None,
    output_dir: options.OutputDir = None,
    seed: options.Seed = None,
    temperature: Annotated[float | None, typer.Option(help="Of the models' answers. [default: 1.0]")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of an answer of theirs. [default: 1024]")] = None,
    judge_max_tokens: Annotated[
        int | None, typer.Option(help="Of the judge's ratings of all answers in one aspect. [default: 2048]")
    ] = None,
    concurrency: options.Concurrency = None,
    rpm: options.Rpm = None,
    tpm: options.Tpm = None,
    timeout: options.Timeout = None,
    give_up_after: options.GiveUpAfter = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_tokens_total: options.MaxTokensTotal = None,
    price: Annotated[
        str | None,
        typer.Option(
            metavar="in=…,out=…",
            help="The price per million tokens of every model that has none in the pool or below:"
            " in=0.5,out=1.5[,currency=cny]. [default: the table's]",
        ),
    ] = None,
    judge_price: Annotated[str | None, typer.Option(metavar="in=…,out=…", help="As --price, of the judge.")] = None,
    answer_tokens: Annotated[
        int | None, typer.Option(min=1, help="For --dry-run: how long the models' answers are on average.")
    ] = None,
    deadline: options.Deadline = None,
    max_unusable: options.MaxUnusable = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.toml", help="A recipe of ours (ultrafeedback, demo-feedback), or a TOML file."),
    ] = None,
    set_: options.SetOption = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormatOption = LogFormat.text,
) -> None:
    """Let several models answer each instruction, let a judge rate and criticize the answers, and make pairs of them.

    The same command again resumes an interrupted run and does nothing for a finished one.
    """
    from selfinstruct import config, ultrafeedback

    settings = options.settings_of(context)
    asked_models = _pool(pool, engine, recipe, set_ or [], quiet=quiet)
    entry, source = _entry(settings.output_dir, instructions, from_)
    flags: dict[str, Any] = {
        "method": "ultrafeedback",
        "lang": lang.value if lang else None,
        "seed": seed,
        "pool": asked_models,
        "environment.base_url": settings.openai_base_url or None,
        "judge.api": judge_api.value if judge_api else None,
        "judge.name": judge_model,
        "judge.endpoint": judge_endpoint,
        "judge.base_url": judge_base_url or None,
        "instructions.entry": entry,
        "instructions.source": source,
        "sample.models": models,
        "sample.design": design.value if design else None,
        "sample.principles": principles.value if principles else None,
        "sample.temperature": temperature,
        "sample.max_tokens": max_tokens,
        "rate.max_tokens": judge_max_tokens,
        "rate.format": format.value if format else None,
        "rate.rationale_first": rationale_first or None,
        "rate.max_reasks": max_reasks,
        "rate.swap_check": swap_check,
        "critique.enabled": False if no_critique else None,
        "critique.format": format.value if format else None,
        "critique.max_reasks": max_reasks,
        "binarize.score": score.value if score else None,
        "binarize.rejected": rejected.value if rejected else None,
        "binarize.exclude_source": tuple(exclude_source) if exclude_source else None,
    }
    resolved = config.resolve(recipe, set_ or [], flags)
    if no_critique and until is Until.critique:
        raise UsageProblem("--until critique and --no-critique: leave one of them out")
    ultrafeedback.check(resolved)
    if not quiet:
        _tell_of_judge(resolved)
    running.check_who_answers(context, resolved, ())
    wanted, more = running.number_of(num_instructions, "--num-instructions") if num_instructions else (None, False)
    asked = running.Asked(run or "", wanted, more)
    if dry_run:
        running.show_plan(resolved, settings, asked, as_json=json)
    else:
        running.run_chain(resolved, settings, asked, running.Shows(json, quiet, log_format is LogFormat.json))


def _pool(
    source: str | None, engine: list[str] | None, recipe: str | None, sets: list[str], *, quiet: bool
) -> tuple[ModelRecipe, ...] | None:
    """The models that are asked, less those that cannot be any more, and are told; None where a recipe has its own."""
    from selfinstruct import config, pool_recipes

    source = source or config.pool_named_by(recipe, sets, POOL)
    if source is None:
        return None
    if (gone := pool_recipes.retired(source)) and not quiet:
        typer.echo(
            f"selfinstruct: pool '{source}' without {', '.join(gone)}, which cannot be asked any more"
            f" ('selfinstruct models check {source}' says why)",
            err=True,
        )
    return pool_recipes.pooled(source, running.engine_of(engine), without_retired=True)


def _tell_of_judge(recipe: Recipe) -> None:
    """Say so where the judge is one that its maker has shut down: the published one has been."""
    from selfinstruct import naming, pool_recipes
    from selfinstruct.model_recipe import DEFAULT_BASE_URL

    judge = naming.named_roles(recipe).judge
    if judge is None or judge.base_url != DEFAULT_BASE_URL:
        return
    if gone := pool_recipes.retired(POOL).get(judge.name):
        typer.echo(f"selfinstruct: the judge {judge.name}: {gone}; --judge-model names another", err=True)


def _entry(output_dir: Path, instructions: Path | None, run: str | None) -> tuple[str | None, str | None]:
    """Where instructions come from, where an option says it. Raises `UsageProblem` for two of them."""
    from selfinstruct.run_folder import find

    if run is not None and not run.strip():
        raise UsageProblem("--from '': names no run")
    if run and instructions:
        raise UsageProblem("--instructions and --from both say what the models are asked: give one of them")
    if run:
        return "run", str(find(output_dir, run))
    return ("file", str(instructions)) if instructions else (None, None)
