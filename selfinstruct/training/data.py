"""Rows of data to learn from: files of anybody's, and runs of ours, named as they are on the command line.

name ─► file, or stage of a run ─► rows ─► shape ─► examples, each with its source and place
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from selfinstruct import identity, rows
from selfinstruct.errors import BadData, UsageProblem
from selfinstruct.rows import Row, RunRecords
from selfinstruct.store import lines_of
from selfinstruct.store_manifest import Manifest, read_manifest
from selfinstruct.training import shapes
from selfinstruct.training.examples import Conversation, Critiqued, Preference
from selfinstruct.training.shapes import Reading, Shape

__all__ = [
    "Conversation",
    "Critiqued",
    "Preference",
    "Source",
    "read_conversations",
    "read_critiques",
    "read_preferences",
]

T = TypeVar("T", Conversation, Preference, Critiqued)

_RECORDS: Final[dict[str, Shape]] = {
    "TaskInstance": "conversation",
    "Dialogue": "conversation",
    "PreferencePair": "preference",
    "CritiquedInstruction": "critique",
    "RatedInstruction": "ratings",
}
"""What the records of a stage are, by their kind; of other kinds nothing can be learnt."""


class Rows(Protocol):
    """Rows that can be iterated, and after the last one the hex sha256 of all that was read."""

    @property
    def sha256(self) -> str:
        """Empty before the last row."""
        ...

    def __iter__(self) -> Iterator[Row]:
        """The rows, in order."""
        ...


class Source(Generic[T]):
    """The examples of a file, or of a run, whose ``manifest`` it then has.

    ``label`` is the file's or run's name, told apart by the path where two have the same. ``skipped`` counts, while
    rows are read, those that were left out or cut, by reason (`shapes.Reading`).
    """

    def __init__(
        self, label: str, found: Rows, read: Callable[[Row, Reading], Iterator[T]], manifest: Manifest | None = None
    ) -> None:
        self.label = label
        self.manifest: dict[str, Any] | None = manifest.model_dump() if manifest else None
        self.skipped: Counter[str] = Counter()
        self._rows = found
        self._read: Callable[[Row, Reading], Iterator[T]] = read

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes that were read, once all of them were: a file's, or those of a run's shards."""
        return self._rows.sha256

    def rows(self) -> Iterator[T]:
        """The examples, in order; a file or run can be read again, standard input cannot.

        Raises `BadData` for the first row that nothing can be learnt from as it is, and where there is none, or none
        is left; and `DamagedRun` for a shard that is not as it was written.
        """
        self.skipped.clear()
        seen = kept = 0
        for row in self._rows:
            seen += 1
            place = row.name if self.manifest else row.place
            for example in self._read(row, Reading(self.label, place, self.skipped)):
                kept += 1
                yield example
        if not seen:
            raise BadData(f"{self.label}: holds no rows")
        if not kept:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.most_common())
            raise BadData(f"{self.label}: nothing is left to learn from in its {seen} rows: {reasons}")


def read_conversations(names: Sequence[str], output_dir: Path) -> list[Source[Conversation]]:
    """What to learn by imitation, a source for each name: of a feedback run the best answer to each instruction.

    A name is a file (``-``: standard input), else a run, by its name below ``output_dir`` or by its folder.

    Raises `BadData` for a name that is neither, and for a run of other records; `UsageProblem` for a name given twice.
    """
    readers: Mapping[Shape, Callable[[Row, Reading], Iterator[Conversation]]] = {
        "conversation": shapes.conversations,
        "preference": shapes.chosen_side,
    }
    return _sources(names, output_dir, shapes.conversations, readers)


def read_preferences(names: Sequence[str], output_dir: Path) -> list[Source[Preference]]:
    """Pairs of answers, a source for each name; names and errors are those of `read_conversations`."""
    return _sources(names, output_dir, shapes.preferences, {"preference": shapes.preferences})


def read_critiques(names: Sequence[str], output_dir: Path) -> list[Source[Critiqued]]:
    """Answers with critiques, a source for each name; names and errors are those of `read_conversations`."""
    return _sources(names, output_dir, shapes.critiques, {"critique": shapes.critiques})


def _sources(
    names: Sequence[str],
    output_dir: Path,
    of_file: Callable[[Row, Reading], Iterator[T]],
    of_run: Mapping[Shape, Callable[[Row, Reading], Iterator[T]]],
) -> list[Source[T]]:
    opened = rows.open_sources(names, output_dir)
    short = [one.path.resolve().parent.name if isinstance(one, RunRecords) else one.label for one in opened]
    labels = [label if short.count(label) == 1 else name for label, name in zip(short, names, strict=True)]
    places = Counter(one.path and one.path.resolve() for one in opened)
    if twice := [name for name, one in zip(names, opened, strict=True) if places[one.path and one.path.resolve()] > 1]:
        raise UsageProblem(f"'{twice[-1]}' is given twice: name each file and run once")
    return [
        _of_run(label, one.path.parent, of_run) if isinstance(one, RunRecords) else Source(label, one, of_file)
        for label, one in zip(labels, opened, strict=True)
    ]


def _of_run(label: str, run: Path, readers: Mapping[Shape, Callable[[Row, Reading], Iterator[T]]]) -> Source[T]:
    """The last of its stages that has records of a shape that is wanted."""
    found = [(run / started.stage, read_manifest(run / started.stage)) for started in identity.of_run(run)]
    stages = [(folder, manifest, _RECORDS.get(manifest.kind)) for folder, manifest in found if manifest]
    for folder, manifest, shape in reversed(stages):
        if shape is not None and shape in readers:
            best_only = shape == "preference" and "conversation" in readers
            return Source(label, _StageRows(folder, best_only), readers[shape], manifest)
    _, last, shape = stages[-1]
    if shape is None:
        raise BadData(f"{run}: its last records are of the kind {last.kind}, and nothing can be learnt from them")
    raise BadData(f"{run}: its records are {shapes.WHAT[shape]}: {shapes.WHERE_TO[shape]}")


class _StageRows:
    """The records of a stage as rows. ``best_only``: of pairs with one prompt, the one whose chosen side is best."""

    def __init__(self, folder: Path, best_only: bool) -> None:
        self.sha256 = ""
        self._folder = folder
        self._best_only = best_only

    def __iter__(self) -> Iterator[Row]:
        digest = hashlib.sha256()
        found = self._all(digest)
        yield from _best_of_each(found) if self._best_only else found
        self.sha256 = digest.hexdigest()

    def _all(self, digest: hashlib._Hash) -> Iterator[Row]:
        label = f"{self._folder.resolve().parent.name}/{self._folder.name}"
        for number, line in enumerate(lines_of(self._folder, "shard"), start=1):
            digest.update(line)
            yield rows.row_of(label, number, line)


def _best_of_each(pairs: Iterable[Row]) -> Iterator[Row]:
    """Of pairs that follow each other and have the same prompt, the first with the best chosen side.

    `binarize --rejected all` makes several of an instruction, and in most of them the chosen answer is not the best.
    """
    for _, same in groupby(pairs, lambda row: (rows.value_of(row, "history"), rows.value_of(row, "instruction"))):
        yield max(same, key=lambda row: float(rows.value_of(row, "chosen.score")))
