"""`selfinstruct export`: a run's records in a layout that trainers read."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli.exporting import Held, held, nothing_in, tell_unfinished, write
from selfinstruct.cli.options import OutputDir
from selfinstruct.errors import BadData, UsageProblem

if TYPE_CHECKING:
    from selfinstruct.dialogue_cuts import Cutter
    from selfinstruct.formats import Final
    from selfinstruct.store_manifest import Manifest


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
    trl = "trl"
    h4 = "h4"
    argilla = "argilla"
    ultrafeedback = "ultrafeedback"


def export(
    run: Annotated[str, typer.Argument(help="The run's name, or the path of its folder.")],
    format: Annotated[
        Format,
        typer.Option(
            help="jsonl: whole records; alpaca: a JSON array of instruction, input, output; belle: lines of input,"
            " target (Belle.train.json); belle-instruction: lines of instruction, input, output; belle-conversations:"
            " lines of turns; messages: lines of role and content, for chat trainers such as TRL's; sharegpt: lines of"
            " turns from human and gpt; ultrachat: lines of an id and the turns' texts; trl, h4, argilla: lines of"
            " preference pairs, as TRL, Zephyr's ultrafeedback_binarized and Argilla's have them; ultrafeedback: lines"
            " of an instruction with all answers and ratings. Tasks fit jsonl, alpaca, the belles, messages and"
            " sharegpt; dialogues fit jsonl, messages, sharegpt and ultrachat; a run of 'feedback' fits jsonl (its"
            " pairs), trl, h4, argilla and ultrafeedback."
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
    stages, folder, kind = _chosen(path, format.value)
    rows = writer_of(format.value, kind)
    if kind is not Dialogue and (option := "--split-long" if split_long else "--true-case" if true_case else ""):
        raise UsageProblem(f"{option} takes dialogues, and the run holds {KINDS[kind]}: leave it out")
    cutter = _cutter(split_long, tokenizer)
    tell_unfinished(run, stages)
    records: Iterable[Any] = map(kind.model_validate_json, islice(lines_of(folder, "shard"), limit))
    if true_case:
        records = map(in_true_case, records)
    if cutter:
        records = chain.from_iterable(map(cutter.pieces, records))
    write(out, rows(records))
    if cutter and cutter.too_long:
        _tell_too_long(cutter.too_long, split_long)


def _chosen(path: Path, format: str) -> tuple[list[Held], Path, type[Final]]:
    """The folder with the records to write, their kind, and the stages from there on.

    jsonl writes what the chain ends with; any other format what the last stage holds whose records it takes: pairs are
    made of annotated answers, and both can be had. Raises `BadData` where there are no records, or no final ones.
    """
    from selfinstruct.formats import FORMATS

    stages = held(path)
    places = range(len(stages) - 1, -1, -1) if format != "jsonl" else ()
    for place in places:
        folder, manifest = stages[place]
        kind = _kind(manifest) if manifest else None
        if kind in FORMATS[format].takes:
            return stages[place:], folder, kind
    folder, manifest = stages[-1]
    if manifest is None:
        raise nothing_in(path)
    if (kind := _kind(manifest)) is None:
        raise BadData(f"{folder}: holds records of an earlier stage ({manifest.kind}), and no final ones")
    return stages[-1:], folder, kind


def _kind(manifest: Manifest) -> type[Final] | None:
    """What the records of a stage are, where they can be written out."""
    from selfinstruct.formats import KINDS

    return next((kind for kind in KINDS if kind.__name__ == manifest.kind), None)


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
