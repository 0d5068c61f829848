"""`selfinstruct export`: a run's final records in a layout that trainers read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli.options import OutputDir
from selfinstruct.errors import BadData, OutputFailed, UsageProblem

if TYPE_CHECKING:
    from selfinstruct.dialogue_cuts import Cutter
    from selfinstruct.formats import Final
    from selfinstruct.store import Manifest


class Format(StrEnum):
    """What can be written."""

    jsonl = "jsonl"
    alpaca = "alpaca"
    belle = "belle"
    belle_instruction = "belle-instruction"
    belle_conversations = "belle-conversations"
    messages = "messages"
    sharegpt = "sharegpt"
    ultrachat = "ultrachat"


def export(
    run: Annotated[str, typer.Argument(help="The run's name, or the path of its folder.")],
    format: Annotated[
        Format,
        typer.Option(
            help="jsonl: whole records; alpaca: a JSON array of instruction, input, output; belle: lines of input,"
            " target (Belle.train.json); belle-instruction: lines of instruction, input, output; belle-conversations:"
            " lines of turns; messages: lines of role and content, for chat trainers such as TRL's; sharegpt: lines of"
            " turns from human and gpt; ultrachat: lines of an id and the turns' texts. Tasks fit all but ultrachat,"
            " dialogues fit jsonl, messages, sharegpt and ultrachat."
        ),
    ] = Format.jsonl,
    out: Annotated[str, typer.Option(help="The file to write; - is standard output.")] = "-",
    limit: Annotated[
        int | None, typer.Option(min=0, help="Write at most this many of the run's records, counted before splitting.")
    ] = None,
    split_long: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="TOKENS",
            help="Cut dialogues that are longer into pieces of whole rounds, a turn counting with 6 tokens more than"
            " its text has. A round that is longer by itself is kept whole.",
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For --split-long: count by this tokenizer.json of a Hugging Face model. [default: an estimate]",
        ),
    ] = None,
    true_case: Annotated[
        bool,
        typer.Option("--true-case", help="In English dialogues, begin sentences with a capital where they lack it."),
    ] = False,
    output_dir: OutputDir = None,
) -> None:
    """Write a run's final records, all of them or the first --limit."""
    from selfinstruct.config import settings
    from selfinstruct.formats import KINDS, writer_of
    from selfinstruct.run_folder import find
    from selfinstruct.schema import Dialogue
    from selfinstruct.store import lines_of
    from selfinstruct.true_case import in_true_case

    path = find(settings({"output_dir": output_dir}).output_dir, run)
    folder, manifest = _final(path)
    kind = _kind(folder, manifest)
    write = writer_of(format.value, kind)
    if kind is not Dialogue and (option := "--split-long" if split_long else "--true-case" if true_case else ""):
        raise UsageProblem(f"{option} takes dialogues, and the run holds {KINDS[kind]}: leave it out")
    cutter = _cutter(split_long, tokenizer)
    if manifest.state == "running":
        typer.echo(f"selfinstruct: run '{run}' is not finished; exporting the shards it has", err=True)
    records: Iterable[Any] = map(kind.model_validate_json, islice(lines_of(folder, "shard"), limit))
    if true_case:
        records = map(in_true_case, records)
    if cutter:
        records = chain.from_iterable(map(cutter.pieces, records))
    _write(out, write(records))
    if cutter and cutter.too_long:
        _tell_too_long(cutter.too_long, split_long)


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


def _kind(folder: Path, manifest: Manifest) -> type[Final]:
    """What the final records are. Raises `BadData` for a chain that ends with others."""
    from selfinstruct.formats import KINDS

    for kind in KINDS:
        if kind.__name__ == manifest.kind:
            return kind
    raise BadData(f"{folder}: holds records of an earlier stage ({manifest.kind}), and no final ones")


def _cutter(most: int | None, tokenizer: Path | None) -> Cutter | None:
    """What --split-long asks for. Raises `UsageProblem` where it is missing, and what reading the tokenizer raises."""
    if most is None:
        if tokenizer:
            raise UsageProblem("--tokenizer counts for --split-long: say --split-long TOKENS too, or leave it out")
        return None
    from selfinstruct.dialogue_cuts import Cutter
    from selfinstruct.token_estimate import estimate

    if tokenizer is None:
        return Cutter(most, estimate)
    from selfinstruct.tokenizer_file import counter

    return Cutter(most, counter(tokenizer))


def _tell_too_long(rounds: int, most: int | None) -> None:
    told = "1 round is" if rounds == 1 else f"{rounds} rounds are"
    typer.echo(f"selfinstruct: {told} longer than {most} tokens, and kept whole, each as a piece of its own", err=True)


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
