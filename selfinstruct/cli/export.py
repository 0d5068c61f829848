"""`selfinstruct export`: a run's final records in a layout that trainers read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfinstruct.cli.options import OutputDir
from selfinstruct.errors import BadData, OutputFailed

if TYPE_CHECKING:
    from selfinstruct.store import Manifest


class Format(StrEnum):
    """What can be written."""

    jsonl = "jsonl"
    alpaca = "alpaca"
    belle = "belle"
    belle_instruction = "belle-instruction"
    belle_conversations = "belle-conversations"


def export(
    run: Annotated[str, typer.Argument(help="The run's name, or the path of its folder.")],
    format: Annotated[
        Format,
        typer.Option(
            help="jsonl: whole records; alpaca: a JSON array of instruction, input, output; belle: lines of input,"
            " target (Belle.train.json); belle-instruction: lines of instruction, input, output; belle-conversations:"
            " lines of turns."
        ),
    ] = Format.jsonl,
    out: Annotated[str, typer.Option(help="The file to write; - is standard output.")] = "-",
    limit: Annotated[int | None, typer.Option(min=0, help="Write at most this many records.")] = None,
    output_dir: OutputDir = None,
) -> None:
    """Write a run's final records, all of them or the first --limit."""
    from selfinstruct.config import settings
    from selfinstruct.formats import FORMATS
    from selfinstruct.run_folder import find
    from selfinstruct.schema import TaskInstance
    from selfinstruct.store import lines_of

    path = find(settings({"output_dir": output_dir}).output_dir, run)
    folder, manifest = _final(path)
    if manifest.state == "running":
        typer.echo(f"selfinstruct: run '{run}' is not finished; exporting the shards it has", err=True)
    records = (TaskInstance.model_validate_json(line) for line in islice(lines_of(folder, "shard"), limit))
    _write(out, FORMATS[format.value](records))


def _final(path: Path) -> tuple[Path, Manifest]:
    """The folder of the chain's last stage, and its manifest. Raises `BadData` where there are no records."""
    from selfinstruct import identity
    from selfinstruct.batch import STAGE as COMPLETE
    from selfinstruct.store import read_manifest

    stages = [started.stage for started in identity.of_run(path)]
    if stages == [COMPLETE]:
        raise BadData(f"{path}: a run of 'selfinstruct complete'; its answers are in {path / 'results.jsonl'}")
    manifest = read_manifest(path / stages[-1]) if stages else None
    if manifest is None:
        raise BadData(f"{path}: no finished records here; 'selfinstruct status' lists the runs")
    return path / stages[-1], manifest


def _write(out: str, chunks: Iterable[bytes]) -> None:
    try:
        if out == "-":
            sys.stdout.buffer.writelines(chunks)
            sys.stdout.buffer.flush()
        elif Path(out).exists() and not Path(out).is_file():  # a pipe or a device: written to, never replaced
            with Path(out).open("wb") as file:
                file.writelines(chunks)
        else:
            _replace(Path(out).resolve(), chunks)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"{'standard output' if out == '-' else out}: cannot write: {error.strerror}") from error


def _replace(path: Path, chunks: Iterable[bytes]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
