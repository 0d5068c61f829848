"""`selfinstruct plan`: any command's `--dry-run`, under the name people look for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer


class Planned(StrEnum):
    """What can be planned."""

    generate = "generate"
    dialogue = "dialogue"
    feedback = "feedback"
    complete = "complete"


# Options end where the command's name stands: all behind it is the command's own, --help included.
SETTINGS: dict[str, Any] = {"allow_extra_args": True, "allow_interspersed_args": False}


def plan(
    context: typer.Context,
    command: Annotated[
        Planned,
        typer.Argument(
            metavar="generate|dialogue|feedback|complete", help="The command; its own arguments and options follow."
        ),
    ],
) -> Any:
    """Print what a command would come to: calls, tokens, cost, disk and time. Nothing is sent, nothing written."""
    program = context.find_root()
    words = [command.value, "--dry-run", *context.args]
    return program.command.main(words, prog_name=program.info_name, standalone_mode=False)
