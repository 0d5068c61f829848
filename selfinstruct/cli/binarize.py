"""`selfinstruct binarize`: preference pairs of a run's annotated answers, by other choices than the run's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfinstruct.cli.exporting import Held, held, tell_unfinished, write
from selfinstruct.cli.options import OutputDir, Rejected, Score
from selfinstruct.errors import BadData, DamagedRun, UsageProblem

if TYPE_CHECKING:
    from selfinstruct.feedback_schema import PreferencePair, RatedInstruction
    from selfinstruct.stages.binarize import Binarize


class Format(StrEnum):
    """What pairs are written as."""

    trl = "trl"
    h4 = "h4"
    argilla = "argilla"
    jsonl = "jsonl"


def binarize(
    run: Annotated[str, typer.Argument(help="The run's name, or the path of its folder.")],
    score: Annotated[
        Score,
        typer.Option(
            help="mean: of an answer's ratings, N/A left out, none where one is missing; overall: the critique's score."
        ),
    ] = Score.mean,
    rejected: Annotated[
        Rejected,
        typer.Option(
            help="random: one of the answers with a lower score than the best, drawn by --seed; lowest: the one with"
            " the lowest; all: a pair of every two answers whose scores differ."
        ),
    ] = Rejected.random,
    exclude_source: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Leave out the instructions of a source. Can be given several times."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draws. [default: the run's]")] = None,
    format: Annotated[
        Format,
        typer.Option(
            help="trl: TRL's preference format with an explicit prompt; h4: as Zephyr's ultrafeedback_binarized;"
            " argilla: as Argilla's ultrafeedback-binarized-preferences; jsonl: whole records."
        ),
    ] = Format.trl,
    out: Annotated[str, typer.Option(help="The file to write; - is standard output.")] = "-",
    limit: Annotated[
        int | None, typer.Option(min=0, help="Take at most this many of the run's instructions, pairs or not.")
    ] = None,
    output_dir: OutputDir = None,
) -> None:
    """Make preference pairs of a run's annotated answers anew; asks no model, changes nothing in the run."""
    from selfinstruct.config import settings
    from selfinstruct.feedback_schema import CritiquedInstruction, PreferencePair
    from selfinstruct.formats import writer_of
    from selfinstruct.run_folder import find
    from selfinstruct.stages.binarize import Binarize
    from selfinstruct.store import lines_of

    path = find(settings({"output_dir": output_dir}).output_dir, run)
    stages, folder, kind = _annotated(path)
    if score is Score.overall and not issubclass(kind, CritiquedInstruction):
        raise UsageProblem(f"--score overall: run '{run}' has no critiques, whose score that is; take --score mean")
    excluded = tuple(dict.fromkeys(exclude_source or ()))
    if excluded:
        _check_sources(excluded, lines_of(folder, "shard"))
    stage = Binarize(score.value, rejected.value, excluded, _seed_of(path) if seed is None else seed)
    tell_unfinished(run, [one for one in stages if one[0].name != stage.name])  # whose own pairs are not asked for
    counts: Counter[str] = Counter()
    records = map(kind.model_validate_json, islice(lines_of(folder, "shard"), limit))
    write(out, writer_of(format.value, PreferencePair)(_pairs(stage, records, counts)))
    typer.echo(f"selfinstruct: {_told(counts)}", err=True)


def _annotated(path: Path) -> tuple[list[Held], Path, type[RatedInstruction]]:
    """The stages from the last one on that holds annotated answers, its folder, and the kind of its records."""
    from selfinstruct.feedback_schema import CritiquedInstruction, RatedInstruction

    kinds = {kind.__name__: kind for kind in (CritiquedInstruction, RatedInstruction)}
    stages = held(path)
    for place in range(len(stages) - 1, -1, -1):
        folder, manifest = stages[place]
        if manifest and manifest.kind in kinds:
            return stages[place:], folder, kinds[manifest.kind]
    raise BadData(f"{path}: holds no answers that a judge has rated; 'selfinstruct feedback' makes them")


def _seed_of(path: Path) -> int:
    """The run's own. Raises `DamagedRun` where its files do not say."""
    from selfinstruct import identity

    seed = identity.of_run(path)[-1].identity.get("seed")
    if not isinstance(seed, int):
        raise DamagedRun(f"{path}: its stage.json files do not say the run's seed; give --seed")
    return seed


def _check_sources(excluded: Sequence[str], lines: Iterable[bytes]) -> None:
    """Raise `UsageProblem` for a source that no record has: a slip of the pen must not let a benchmark in."""
    import orjson

    from selfinstruct.sources import instead

    there = {orjson.loads(line)["source"] for line in lines}
    for name in excluded:
        if name not in there:
            raise UsageProblem(f"--exclude-source {name}: no instruction is from there; {instead(name, there)}")


def _pairs(stage: Binarize, records: Iterable[RatedInstruction], counts: Counter[str]) -> Iterator[PreferencePair]:
    """The pairs, with the ids that the run's own stage gives them, round by round; what makes none is counted."""
    from selfinstruct.feedback_schema import PreferencePair
    from selfinstruct.schema import Reject
    from selfinstruct.store import round_of

    for number, of_round in groupby(records, lambda record: round_of(record.id)):
        for job in stage.plan(number, list(of_round), ()):
            counts["instructions"] += 1
            for made in stage.pair(job):
                counts[made.reason if isinstance(made, Reject) else "pairs"] += 1
                if isinstance(made, PreferencePair):
                    yield made


def _told(counts: Counter[str]) -> str:
    return (
        f"pairs {counts['pairs']}; ties {counts['tie']}, without two scores {counts['no_score']}, of an excluded source"
        f" {counts['excluded_source']}; instructions {counts['instructions']}"
    )
