"""`selfinstruct dialogue`: two models talk, from openers made, read or taken from another run."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from selfinstruct.cli import options, running
from selfinstruct.cli.options import Api, Lang, LogFormat
from selfinstruct.errors import UsageProblem


class Sector(StrEnum):
    """What dialogues are about."""

    world = "world"
    writing = "writing"
    materials = "materials"


def dialogue(
    context: typer.Context,
    num_dialogues: Annotated[
        str | None,
        typer.Option(
            "--num-dialogues",
            "-n",
            metavar="N|+N",
            help="Stop after the round that brings the openers to N, each of which becomes a dialogue or a reject; +N"
            " extends a finished run by N. [default: 100; --openers, --from: all]",
        ),
    ] = None,
    sector: Annotated[
        Sector | None,
        typer.Option(
            help="world: questions about anything; writing: texts to be written; materials: requests about the passages"
            " of --materials. It decides what the user is after. [default: world; --materials: materials]"
        ),
    ] = None,
    lang: Annotated[
        Lang | None, typer.Option(help="The language of prompts, personas and guards. [default: en]")
    ] = None,
    api: Annotated[
        Api | None, typer.Option(help="Who writes the openers and plays both sides. [default: local; --endpoint: chat]")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Its name. [default: as for generate]")] = None,
    endpoint: options.EndpointOption = None,
    base_url: options.BaseUrl = None,
    pool: options.PoolOption = None,
    engine: options.EngineOption = None,
    vllm_python: options.VllmPython = None,
    gpus: options.Gpus = None,
    user_api: Annotated[Api | None, typer.Option(help="Who plays the user. [default: --api]")] = None,
    user_model: Annotated[str | None, typer.Option(help="Its name. [default: --model]")] = None,
    user_endpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its provider. [default: --endpoint]")
    ] = None,
    user_base_url: Annotated[str | None, typer.Option(help="Its address. [default: --base-url]")] = None,
    assistant_api: Annotated[Api | None, typer.Option(help="Who answers. [default: --api]")] = None,
    assistant_model: Annotated[str | None, typer.Option(help="Its name. [default: --model]")] = None,
    assistant_endpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its provider. [default: --endpoint]")
    ] = None,
    assistant_base_url: Annotated[str | None, typer.Option(help="Its address. [default: --base-url]")] = None,
    replay_from: options.ReplayFrom = None,
    openers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Openers of your own: .txt, one a line, or .jsonl.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="RUN", help="The accepted instructions of a run as openers.")
    ] = None,
    materials: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="A .txt, .md or .jsonl file, or a folder of them; may come several times."),
    ] = None,
    entities: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Things to ask about, one a line, in place of topics.")
    ] = None,
    topics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Meta topics of your own. [default: the 30 shipped ones]")
    ] = None,
    personas: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Personas of your own, a JSON Lines file. [default: the 72 shipped ones]"),
    ] = None,
    rounds: Annotated[
        str | None,
        typer.Option(metavar="N|N-M", help="Rounds of a dialogue, drawn for each. [default: 3-7; other sectors: 2-4]"),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(help="The run's name; running it again resumes it. [default: dialogue-sector-lang-model]"),
    ] = None,
    output_dir: options.OutputDir = None,
    seed: options.Seed = None,
    threshold: Annotated[
        str | None, typer.Option(help="Reject openers at this ROUGE-L F1 and above, an exact fraction. [default: 0.7]")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="The assistant's. [default: 0.7]")] = None,
    user_temperature: Annotated[float | None, typer.Option(help="The user's. [default: 1.0]")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of an answer. [default: 1024; writing: 2048]")] = None,
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
            help="The price per million tokens of every model that is given none of its own below:"
            " in=0.5,out=1.5[,currency=cny]. [default: the table's]",
        ),
    ] = None,
    user_price: Annotated[
        str | None, typer.Option(metavar="in=…,out=…", help="As --price, of the user's model.")
    ] = None,
    assistant_price: Annotated[
        str | None, typer.Option(metavar="in=…,out=…", help="As --price, of the assistant's model.")
    ] = None,
    answer_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="For --dry-run: how long answers are on average. [default: 400, or measured]"),
    ] = None,
    turn_tokens: Annotated[
        int | None, typer.Option(min=1, help="The same of the user's turns. [default: 40, or measured]")
    ] = None,
    deadline: options.Deadline = None,
    max_unusable: options.MaxUnusable = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.toml", help="A recipe of ours (ultrachat), or a TOML file.")
    ] = None,
    set_: options.SetOption = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormatOption = LogFormat.text,
) -> None:
    """Let two models talk: one answers, one plays a user, and each dialogue is kept as far as it is good.

    The same command again resumes an interrupted run and does nothing for a finished one.
    """
    from selfinstruct import config

    settings = options.settings_of(context)
    entry, source = _entry(settings.output_dir, openers, from_, materials, entities)
    for option, sectors in (("materials", ("materials",)), ("entities", ("world",))):
        if entry == option and sector not in (None, *sectors):
            raise UsageProblem(f"--{option} is not for --sector {sector}")
    if topics and entry:
        raise UsageProblem("--topics is for openers that a model makes up, and these are given")
    flags: dict[str, Any] = {
        "method": "ultrachat",
        "lang": lang.value if lang else None,
        "seed": seed,
        "model.api": api.value if api else None,
        "model.name": model,
        "model.endpoint": endpoint,
        "model.base_url": base_url or None,
        "model.engine": running.engine_of(engine) if pool is None else None,
        "pool": running.pool_of(pool, engine),
        "environment.base_url": settings.openai_base_url or None,
        "user.api": user_api.value if user_api else None,
        "user.name": user_model,
        "user.endpoint": user_endpoint,
        "user.base_url": user_base_url or None,
        "assistant.api": assistant_api.value if assistant_api else None,
        "assistant.name": assistant_model,
        "assistant.endpoint": assistant_endpoint,
        "assistant.base_url": assistant_base_url or None,
        "dialogue.sector": sector.value if sector else "materials" if materials else None,
        "openers.entry": entry,
        "openers.source": source,
        "openers.threshold": threshold,
        "topics.threshold": threshold,
        "topics.file": str(topics) if topics else None,
        "dialogue.personas": str(personas) if personas else None,
        "dialogue.rounds": _rounds(rounds) if rounds is not None else None,
        "dialogue.temperature": temperature,
        "dialogue.user_temperature": user_temperature,
        "dialogue.max_tokens": max_tokens,
    }
    resolved = config.resolve(recipe, set_ or [], flags)
    of_assistant = "assistant_api", "assistant_model", "assistant_endpoint", "assistant_base_url"
    running.check_who_answers(context, resolved, of_assistant)
    wanted, more = running.number_of(num_dialogues, "--num-dialogues") if num_dialogues else (None, False)
    asked = running.Asked(run or "", wanted, more)
    if dry_run:
        running.show_plan(resolved, settings, asked, as_json=json)
    else:
        running.run_chain(resolved, settings, asked, running.Shows(json, quiet, log_format is LogFormat.json))


def _entry(
    output_dir: Path, openers: Path | None, run: str | None, materials: list[Path] | None, entities: Path | None
) -> tuple[str | None, tuple[str, ...] | None]:
    """Where openers come from, where an option says it. Raises `UsageProblem` for two of them."""
    from selfinstruct.run_folder import find

    if run is not None and not run.strip():
        raise UsageProblem("--from '': names no run")
    given = {
        "--openers": ("file", [openers] if openers else []),
        "--from": ("run", [find(output_dir, run)] if run else []),
        "--materials": ("materials", materials or []),
        "--entities": ("entities", [entities] if entities else []),
    }
    said = [option for option, (_, paths) in given.items() if paths]
    if len(said) > 1:
        raise UsageProblem(f"{said[0]} and {said[1]} both say what dialogues begin with: give one of them")
    if not said:
        return None, None
    entry, paths = given[said[0]]
    return entry, tuple(map(str, paths))


def _rounds(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]+)(?:\s?(?:-|–|\.\.)\s?([0-9]+))?", text.strip())
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise UsageProblem(f"--rounds '{text}': expected a number of rounds from 1 on, or least and most, such as 3-7")
    return least, most
