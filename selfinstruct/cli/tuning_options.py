"""Options that the four ways of tuning share: their types here, their meaning once for all."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Peft(StrEnum):
    """What of the model is tuned."""

    none = "none"
    lora = "lora"
    qlora = "qlora"
    adaption_prompt = "adaption-prompt"


Data = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILE|RUN…", help="Runs of ours, by name, and JSON Lines, .json arrays or .parquet."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="DIR|HUB_ID",
        help="The model to tune: a folder (a tuned one, too), a Hub id, or smollm2, the embedded one.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE.toml", help="Values of a published model; 'finetune presets' lists them."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="The folder of the tuned model. [default: OUTPUT/KIND-MODEL]"),
]
Template = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="alpaca, belle, chatml, openchat or zephyr. [default: the model's own]"),
]
Mix = Annotated[
    str | None,
    typer.Option(
        metavar="NAME:SHARE,…",
        help="The first share of each source's rows, by its name (first:1.0,talk:0.5) or by the command that made it"
        " (generate:1.0,dialogue:0.5).",
    ),
]
HeldOut = Annotated[
    float | None, typer.Option(min=0, help="A share below 1, or a number of rows, to measure by; split by prompt.")
]
PeftOption = Annotated[Peft | None, typer.Option(help="Tune everything (none), or an adapter. [default: none]")]
LearningRate = Annotated[
    float | None,
    typer.Option("--learning-rate", "--lr", help="The schedule's highest; adapters want about ten times more."),
]
Epochs = Annotated[float | None, typer.Option(help="How often each row is learned. [default: 3]")]
MaxSteps = Annotated[int | None, typer.Option(min=0, help="Optimizer steps, in place of --epochs.")]
MaxLength = Annotated[int | None, typer.Option(min=8, help="Tokens of a record. [default: 1024]")]
GlobalBatch = Annotated[
    int | None, typer.Option(min=1, help="Records of an optimizer step, over all processes. [default: 8]")
]
Batch = Annotated[
    int | None, typer.Option(min=1, help="Records in memory at once, per process; what is learned stays the same.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Draws what is held out, the order, and new weights.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other value; repeat it.")]
SaveSteps = Annotated[int | None, typer.Option(min=1, help="Steps from checkpoint to checkpoint. [default: 100]")]
Resume = Annotated[
    bool, typer.Option("--resume/--restart", help="Go on after the last checkpoint, or throw it away and begin anew.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done: tokens, steps, memory, the first example; load nothing."),
]
PrintLaunch = Annotated[
    int | None,
    typer.Option("--print-launch", metavar="PROCESSES", min=1, help="Print the command for so many GPUs, and exit."),
]
Answers = Annotated[int, typer.Option(min=0, help="Show the model's answers to so many prompts, before and after.")]
Beta = Annotated[float | None, typer.Option(help="How dear it is to leave the untuned model. [default: 0.1]")]
MaxPrompt = Annotated[
    int | None, typer.Option(min=0, help="Tokens of a prompt, cut from its beginning; 0 is any. [default: 512]")
]
Margin = Annotated[
    bool | None, typer.Option("--margin/--no-margin", help="Ask for as much difference as a pair's margin says.")
]
