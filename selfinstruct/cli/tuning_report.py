"""What is printed at the end of a tuning: figures, answers, where everything is, and what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from selfinstruct.training.record import Training

_SHOWN = 160  # characters of an answer


def print_report(done: Training, out: Path) -> None:
    """What became of it, and the next command."""
    from selfinstruct.training import answers

    results = done.results
    for key, value in results.items():
        if isinstance(value, dict) and value.keys() == {"first", "last"}:
            typer.echo(f"{key:<28}{value['first']:>10.4f} →{value['last']:>10.4f}")
    for source, figures in results.get("held_out", {}).items():
        typer.echo(f"held out of {source}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))
    for answered in answers.read(out):
        where = "held out" if answered.held_out else "learned"
        typer.echo(f"\nprompt ({where}): {_short(answered.prompt[-1].content)}")
        typer.echo(f"  before: {_short(answered.before)}\n  after:  {_short(answered.after)}")
    steps = "1 optimizer step" if results["steps"] == 1 else f"{results['steps']} optimizer steps"
    typer.echo(f"{steps} in {results['seconds']:.0f} s; global batch {done.global_batch}")
    typer.echo(f"\nmodel    {out}\ncard     {out}/README.md\ncurve    {out}/loss.png")
    if done.tuning.peft == "adaption-prompt":
        typer.echo("peft's AutoPeftModelForCausalLM loads it; it cannot be merged, and no server knows its kind")
        return
    following = "best-of-n PROMPTS --reward-model" if done.tuning.kind == "reward" else "serve"
    typer.echo(f"next: selfinstruct {following} {shlex.quote(str(out))}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]} …"
