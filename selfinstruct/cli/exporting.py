"""What `export` and `binarize` share: which stage of a run holds the records they write, and how these are written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from selfinstruct.errors import BadData, OutputFailed

if TYPE_CHECKING:
    from selfinstruct.store_manifest import Manifest

Held = tuple[Path, "Manifest | None"]
"""The folder of a stage, and its manifest, where there is one yet."""


def held(path: Path) -> list[Held]:
    """The stages of a run, in the chain's order. Raises `BadData` where the run has none."""
    from selfinstruct import identity
    from selfinstruct.batch import STAGE as COMPLETE
    from selfinstruct.store_manifest import read_manifest

    stages = [started.stage for started in identity.of_run(path)]
    if stages == [COMPLETE]:
        raise BadData(f"{path}: a run of 'selfinstruct complete'; its answers are in {path / 'results.jsonl'}")
    if not stages:
        raise nothing_in(path)
    return [(path / stage, read_manifest(path / stage)) for stage in stages]


def nothing_in(path: Path) -> BadData:
    """What is said of a run that has no records to write, so far."""
    return BadData(f"{path}: no finished records here; 'selfinstruct status' lists the runs")


def tell_unfinished(run: str, stages: Sequence[Held]) -> None:
    """Say that records will come where one of these stages is not through."""
    if any(manifest is None or manifest.state == "running" for _, manifest in stages):
        typer.echo(f"selfinstruct: run '{run}' is not finished; exporting the shards it has", err=True)


def write(out: str, chunks: Iterable[bytes]) -> None:
    """Write to a file, which appears whole, or to standard output (``-``). Raises `OutputFailed`."""
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
