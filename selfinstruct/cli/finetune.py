"""`selfinstruct finetune`: tunes a model on runs and files: SFT, DPO, a reward model, a critique model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli.options import Json, OutputDir, Quiet
from selfinstruct.cli.tuning_options import (
    Answers,
    Batch,
    Beta,
    Data,
    DryRun,
    Epochs,
    GlobalBatch,
    HeldOut,
    LearningRate,
    Margin,
    MaxLength,
    MaxPrompt,
    MaxSteps,
    Mix,
    Model,
    Out,
    PeftOption,
    Preset,
    PrintLaunch,
    Resume,
    SaveSteps,
    Seed,
    Set,
    Template,
)
from selfinstruct.cli.tuning_report import print_report

if TYPE_CHECKING:
    from selfinstruct.training.recipe import Kind, Tuning
    from selfinstruct.training.record import Training
    from selfinstruct.training.running import Order


app = typer.Typer(no_args_is_help=True, help="Tune a model on runs and files: SFT, DPO, reward model, critique model.")


def _tune(context: typer.Context) -> None:
    """What the four commands do, once their options are read."""
    from selfinstruct.errors import UsageProblem
    from selfinstruct.training import extra

    given = dict(context.params)
    kind: Kind = context.info_name  # type: ignore[assignment]  # the four commands' names are the kinds
    tuning = _tuning(kind, given)
    _see_named(tuning)
    out = given["out"] or _default_out(kind, tuning, given["output_dir"])
    if given["print_launch"]:
        from selfinstruct.training import launching

        typer.echo(launching.command(tuning, given["print_launch"], out, sys.argv[1:]))
        return
    extra.required("matplotlib")
    _calm()
    order = _order(_with_weights(tuning), out, given)
    if given["dry_run"]:
        if given["json"]:
            raise UsageProblem("--dry-run is a report for people: leave --json out")
        from selfinstruct.training import dry_run

        for line in dry_run.lines(order):
            typer.echo(line)
        return
    _run(order, json=given["json"])


def _see_named(tuning: Tuning) -> None:
    """Raise what is wrong with the names of model and template before anything is read."""
    from selfinstruct.errors import UsageProblem
    from selfinstruct.training import templates

    if not tuning.base:
        made_for = f" (the preset was made for {tuning.made_for})" if tuning.made_for else ""
        raise UsageProblem(f"say which model to tune{made_for}: --model DIR|HUB_ID")
    if tuning.chat_template:
        templates.load(tuning.chat_template)


def _run(order: Order, *, json: bool) -> None:
    from importlib import import_module

    from selfinstruct.errors import RunLocked
    from selfinstruct.run_folder import held
    from selfinstruct.store_files import pretty
    from selfinstruct.training import record

    module = import_module(f"selfinstruct.training.{order.tuning.kind}")
    if order.rank:
        module.tune(order)
        return
    record.see_free(order.out)  # before a lock is left in a folder of somebody else's
    try:
        with held(order.out, allow_network=True):
            done: Training | None = module.tune(order)
    except RunLocked as error:
        raise RunLocked(f"{order.out}: another process tunes here; wait for it, or name another --out") from error
    if json:
        whole = done or record.read(order.out)  # what was done before is told as well
        typer.echo(pretty(whole.model_dump(mode="json") if whole else {}), nl=False)
    elif done is not None and not order.quiet:
        print_report(done, order.out)


def _tuning(kind: Kind, given: dict[str, Any]) -> Tuning:
    from selfinstruct.training import mixing, recipe

    flags = {name: given[name] for name in recipe.Tuning.model_fields if name in given and name != "preset"}
    flags["base"] = given["model"]
    if given["peft"]:
        flags["peft"] = given["peft"].value
    if given["mix"]:
        flags["mix"] = {name: float(share) for name, share in mixing.Mix.parse(given["mix"]).fractions.items()}
    return recipe.resolve(kind, given["preset"], given["set_"] or [], flags)


def _default_out(kind: Kind, tuning: Tuning, output_dir: Path | None) -> Path:
    from selfinstruct.config import settings
    from selfinstruct.model_digest import display_name
    from selfinstruct.run_folder import slug

    return settings({"output_dir": output_dir}).output_dir / f"{kind}-{slug(display_name(tuning.base))}"


def _with_weights(tuning: Tuning) -> Tuning:
    """``smollm2`` as the folder of the embedded model, made with this interpreter's packages where it is not there."""
    from selfinstruct.model_recipe import DEFAULT_MODELS
    from selfinstruct.models import conversion, weights
    from selfinstruct.served_model import EMBEDDED

    if tuning.base not in (EMBEDDED, DEFAULT_MODELS["local"]) or Path(tuning.base).is_dir():
        return tuning
    folder = conversion.default_folder()
    if not conversion.is_whole(folder):
        from selfinstruct.training import extra

        extra.required("gguf")
        folder = conversion.convert(weights.find() or weights.fetch(), folder, Path(sys.executable))
    return tuning.model_copy(update={"base": str(folder)})


def _order(tuning: Tuning, out: Path, given: dict[str, Any]) -> Order:
    import os

    from selfinstruct.config import settings
    from selfinstruct.errors import UsageProblem
    from selfinstruct.training.running import Order

    data = given["data"] or list(tuning.mix)  # a mix names all of its sources
    if not data:
        raise UsageProblem("say what to learn from: runs and files, such as  finetune sft first talk.jsonl")
    rank, quiet = int(os.environ.get("RANK", "0")), given["quiet"]

    def tell(line: str) -> None:
        if not quiet and rank == 0:
            typer.echo(f"selfinstruct: {line}", err=True)

    output_dir = settings({"output_dir": given["output_dir"]}).output_dir
    return Order(
        tuning=tuning,
        data=tuple(data),
        out=out,
        output_dir=output_dir,
        tell=tell,
        restart=not given["resume"],
        quiet=quiet,
        rank=rank,
        answers=given.get("answers", 0),
    )


def _calm() -> None:
    """The libraries below say much that concerns their programmers, and one of them calls home."""
    import os
    import warnings

    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DATASETS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.simplefilter("ignore")
    from transformers.utils import logging

    logging.disable_progress_bar()


@app.command("sft", no_args_is_help=True)
def sft(
    context: typer.Context,
    data: Data = None,
    model: Model = None,
    preset: Preset = None,
    out: Out = None,
    chat_template: Template = None,
    mix: Mix = None,
    held_out: HeldOut = None,
    peft: PeftOption = None,
    answers: Answers = 0,
    packing: Annotated[
        bool | None, typer.Option("--packing/--no-packing", help="Fill each sequence with records.")
    ] = None,
    learning_rate: LearningRate = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    max_length: MaxLength = None,
    global_batch: GlobalBatch = None,
    batch: Batch = None,
    save_steps: SaveSteps = None,
    seed: Seed = None,
    set_: Set = None,
    resume: Resume = True,
    dry_run: DryRun = False,
    print_launch: PrintLaunch = None,
    output_dir: OutputDir = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn the assistant's answers of instructions and dialogues; all else is read, and not learned."""
    _tune(context)


@app.command("dpo", no_args_is_help=True)
def dpo(
    context: typer.Context,
    data: Data = None,
    model: Model = None,
    preset: Preset = None,
    out: Out = None,
    chat_template: Template = None,
    mix: Mix = None,
    held_out: HeldOut = None,
    peft: PeftOption = None,
    beta: Beta = None,
    learning_rate: LearningRate = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    max_length: MaxLength = None,
    max_prompt: MaxPrompt = None,
    global_batch: GlobalBatch = None,
    batch: Batch = None,
    save_steps: SaveSteps = None,
    seed: Seed = None,
    set_: Set = None,
    resume: Resume = True,
    dry_run: DryRun = False,
    print_launch: PrintLaunch = None,
    output_dir: OutputDir = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn to prefer the chosen answer of each pair (direct preference optimization)."""
    _tune(context)


@app.command("reward", no_args_is_help=True)
def reward(
    context: typer.Context,
    data: Data = None,
    model: Model = None,
    preset: Preset = None,
    out: Out = None,
    chat_template: Template = None,
    mix: Mix = None,
    held_out: HeldOut = None,
    peft: PeftOption = None,
    margin: Margin = None,
    learning_rate: LearningRate = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    max_length: MaxLength = None,
    global_batch: GlobalBatch = None,
    batch: Batch = None,
    save_steps: SaveSteps = None,
    seed: Seed = None,
    set_: Set = None,
    resume: Resume = True,
    dry_run: DryRun = False,
    print_launch: PrintLaunch = None,
    output_dir: OutputDir = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn to score an answer, from pairs of which one is better."""
    _tune(context)


@app.command("critique", no_args_is_help=True)
def critique(
    context: typer.Context,
    data: Data = None,
    model: Model = None,
    preset: Preset = None,
    out: Out = None,
    chat_template: Template = None,
    mix: Mix = None,
    held_out: HeldOut = None,
    peft: PeftOption = None,
    learning_rate: LearningRate = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    max_length: MaxLength = None,
    global_batch: GlobalBatch = None,
    batch: Batch = None,
    save_steps: SaveSteps = None,
    seed: Seed = None,
    set_: Set = None,
    resume: Resume = True,
    dry_run: DryRun = False,
    print_launch: PrintLaunch = None,
    output_dir: OutputDir = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn to criticize an answer and to score it, in the words a judge is asked in."""
    _tune(context)


@app.command("presets")
def presets(json: Json = False) -> None:
    """List the presets of --preset: for which kinds, and what they were published for."""
    from selfinstruct.store_files import pretty
    from selfinstruct.training import recipe

    rows = []
    for name in recipe.names():
        kinds = recipe.kinds_of(name)
        first = recipe.resolve(kinds[0], name, [], {})
        rows.append({"name": name, "kinds": kinds, "for": first.base or first.made_for, "source": first.source})
    if json:
        typer.echo(pretty(rows), nl=False)
        return
    for row in rows:
        typer.echo(f"{row['name']:<16} {', '.join(row['kinds']):<28} {row['for']:<28} {row['source']}")
