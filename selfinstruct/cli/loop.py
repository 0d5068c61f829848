"""`selfinstruct loop`: generate with a model, tune it on what was kept, generate with the tuned one, and so on."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfinstruct.cli import options
from selfinstruct.cli.servers import BackendOption, Server
from selfinstruct.errors import UnusableAnswers, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from selfinstruct.looping import Round
    from selfinstruct.serving import Served, Wish


class On(StrEnum):
    """Which records a round is tuned on."""

    all = "all"
    new = "new"


def loop(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="The base, from which every round is tuned: a folder, a Hub id, or smollm2."
        ),
    ],
    rounds: Annotated[int, typer.Option(min=1, help="How many; more of them extend a loop that is done.")] = 2,
    num_instructions: Annotated[
        int, typer.Option("--num-instructions", "-n", min=1, help="Accepted instructions of each round.")
    ] = 100,
    on: Annotated[On, typer.Option(help="Tune on the records of all rounds so far, or on the new ones.")] = On.all,
    run: Annotated[
        str | None, typer.Option(help="The loop's name: runs are NAME-r1, NAME-r2, … [default: loop-MODEL]")
    ] = None,
    output_dir: options.OutputDir = None,
    recipe: Annotated[str | None, typer.Option(metavar="NAME|FILE.toml", help="The recipe of `generate`.")] = None,
    generate: Annotated[
        str, typer.Option(metavar="WORDS", help="More of `generate`'s options, such as '--lang zh --max-calls 500'.")
    ] = "",
    finetune: Annotated[
        str, typer.Option(metavar="WORDS", help="More of `finetune sft`'s, such as '--peft lora --max-steps 20'.")
    ] = "",
    backend: BackendOption = Server.auto,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where a new loop's servers listen. [default: a free port]")
    ] = 0,
    engine: options.EngineOption = None,
    vllm_python: options.VllmPython = None,
    json: options.Json = False,
) -> None:
    """Generate with a model, tune the base on what was kept, generate with the tuned one, and so on.

    Each round is a run of its own and a model of its own. A loop that was ended goes on where it was: run it again.
    """
    from selfinstruct import looping, run_folder, serving
    from selfinstruct.cli import running

    settings = options.settings_of(context)
    base = str(Path(model).expanduser().resolve()) if Path(model).expanduser().exists() else model
    name = run or f"loop-{run_folder.slug(base.rpartition('/')[2])}"
    wish = serving.Wish(
        backend=backend.value,
        vllm_python=settings.vllm_python,
        engine=running.engine_of(engine) or {},
        patience=settings.vllm_start_timeout,
        threads=settings.threads or 0,
    )
    words = (*(["--recipe", recipe] if recipe else []), *_words("--generate", generate))
    tuning = _words("--finetune", finetune)
    plan = looping.Plan(name, base, rounds, num_instructions, on.value, words, tuple(tuning))

    @contextmanager
    def serve(asked: str, at: int) -> Iterator[Served]:
        with serving.started(asked, _at(wish, at), _say) as server:
            yield server.served

    means = looping.Means(serve, looping.command, _say)
    done = looping.run(plan, settings.output_dir, port or serving.free_port(), means)
    _print(done, settings.output_dir, as_json=json)
    doubtful = [one.run for one in done if one.unusable]
    if doubtful:
        raise UnusableAnswers(f"done, but too many answers could not be used in {', '.join(doubtful)}")


def _at(wish: Wish, port: int) -> Wish:
    from dataclasses import replace

    return replace(wish, port=port)


def _words(option: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageProblem(f"{option} {text!r}: {error}") from error


def _say(line: str) -> None:
    typer.echo(f"selfinstruct: {line}", err=True)


def _print(rounds: Sequence[Round], output_dir: Path, *, as_json: bool) -> None:
    from selfinstruct import looping

    models = [str(looping.model_of(one, output_dir)) for one in rounds]
    if as_json:
        import orjson

        rows = [{**one.model_dump(), "model": model} for one, model in zip(rounds, models, strict=True)]
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(f"{'round':<6} {'accepted':>8} {'rejected':>8} {'loss before':>11} {'after':>7}  model")
    for number, (one, model) in enumerate(zip(rounds, models, strict=True), start=1):
        before, after = _loss(one.loss_before), _loss(one.loss_after)
        typer.echo(f"{number:<6} {one.accepted or 0:>8} {one.rejected or 0:>8} {before:>11} {after:>7}  {model}")


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
