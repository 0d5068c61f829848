"""`selfinstruct generate`: instruction data from seed tasks."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from selfinstruct.cli import options, running
from selfinstruct.cli.options import Api, Lang, LogFormat
from selfinstruct.errors import ConfigProblem


class Method(StrEnum):
    """Which chain of stages."""

    self_instruct = "self-instruct"
    alpaca = "alpaca"
    belle = "belle"


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
            help="Who answers: the embedded model, vLLM on your GPUs, an OpenAI-compatible chat or completion API, a"
            " script (fake), or a recorded run (replay). [default: local; --endpoint: chat]"
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            "--model-name",
            "--model_name",
            help="The model's name; for --api local also a .gguf file, for vllm a Hub id or a folder. [default:"
            " smollm2-135m-instruct, gpt-3.5-turbo, gpt-3.5-turbo-instruct for local, chat, completion; --endpoint: the"
            " preset's]",
        ),
    ] = None,
    endpoint: options.EndpointOption = None,
    base_url: options.BaseUrl = None,
    pool: options.PoolOption = None,
    engine: options.EngineOption = None,
    vllm_python: options.VllmPython = None,
    gpus: options.Gpus = None,
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
    seed: options.Seed = None,
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
    set_: options.SetOption = None,
    dry_run: options.DryRun = False,
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
        "model.engine": running.engine_of(engine) if pool is None else None,
        "pool": running.pool_of(pool, engine),
        "environment.base_url": settings.openai_base_url or None,
        "first.format": format.value if format else None,
        "first.bootstrap": bootstrap,
        "first.threshold": threshold,
        "first.temperature": temperature,
        "first.top_p": top_p,
        "first.max_tokens": max_tokens,
    }
    resolved = config.resolve(recipe, set_ or [], flags)
    running.check_who_answers(context, resolved, ("api", "model", "endpoint", "base_url"))
    if resolved.method == "ultrachat":
        raise ConfigProblem(f"{recipe or '--set'}: talks of dialogues; 'selfinstruct dialogue' makes them")
    wanted, more = running.number_of(num_instructions, "--num-instructions")
    asked = running.Asked(run or "", wanted, more)
    if dry_run:
        running.show_plan(resolved, settings, asked, as_json=json)
    else:
        running.run_chain(resolved, settings, asked, running.Shows(json, quiet, log_format is LogFormat.json))
