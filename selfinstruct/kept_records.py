"""The records of another run of ours, to begin from: what openers and instructions of a run are made of.

Shards are read once to learn where each record stands; a record is read when it is asked for. Memory: 16 bytes each.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, overload

from pydantic import ValidationError

from selfinstruct import identity
from selfinstruct.errors import BadData, DamagedRun
from selfinstruct.schema import Instruction, Record, TaskInstance
from selfinstruct.store import lines_of
from selfinstruct.store_manifest import read_manifest

R = TypeVar("R", bound=Record)

_OFFSET_BITS = 40  # a place is the number of a shard in the upper 24 bits, and the offset in it


class KeptRecords(Sequence[R]):
    """The records of a run's last stage, in their order; ``run`` is its name.

    ``digest`` names the run and stage, and says how many records there are and the sha256 of their shards, one after
    the other.
    """

    def __init__(self, folder: Path, kind: type[R]) -> None:
        self._folder = folder
        self._kind = kind
        self._places = array("Q")
        self._hashes = array("q")
        self._sha256 = hashlib.sha256()

    @classmethod
    def open(cls, run: Path, kinds: Mapping[str, type[R]], option: str, instead: str) -> KeptRecords[R]:
        """The records of the run in this folder, which may be of these kinds, by name.

        ``option`` is what takes an unfinished run's records as a file, ``instead`` what to say of another kind's.

        Raises `BadData` where there are none, none of these kinds, or more to come, and `DamagedRun` for a shard that
        is not as it was written.
        """
        path = run.resolve()
        stages = [started.stage for started in identity.of_run(path)]
        manifest = read_manifest(path / stages[-1]) if stages else None
        if manifest is None or not manifest.accepted:
            raise BadData(f"{run}: no finished records here; 'selfinstruct status' lists the runs")
        if manifest.state == "running":
            raise BadData(
                f"{run}: is not finished, and what it will hold is not known yet: finish it first, or export what it"
                f" has and give that to {option}"
            )
        if manifest.kind not in kinds:
            raise BadData(f"{run}: its records are of the kind {manifest.kind}, {instead}")
        records = cls(path / stages[-1], kinds[manifest.kind])
        for shard in manifest.shards:
            records._index(shard.number, shard.number * manifest.rounds_per_shard)
        return records

    @property
    def run(self) -> str:
        """The name of the run's folder."""
        return self._folder.parent.name

    @property
    def digest(self) -> str:
        """What the records are, for the identity of a run that uses them."""
        return f"{len(self)} records of {self.run}/{self._folder.name}, sha256 {self._sha256.hexdigest()}"

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[R]: ...
    def __getitem__(self, index: int | slice) -> R | Sequence[R]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number, offset = divmod(self._places[index], 1 << _OFFSET_BITS)
        path = self._folder / f"shard-{number}.jsonl"
        try:
            with path.open("rb") as file:
                file.seek(offset)
                line = file.readline()
        except OSError as error:
            raise DamagedRun(f"{path}: cannot be read: {error.strerror}; run again to derive it anew") from error
        if hash(line) != self._hashes[index]:
            raise DamagedRun(f"{path}: was changed while it was in use; run again")
        try:
            return self._kind.model_validate_json(line)
        except ValidationError as error:
            raise DamagedRun(f"{path}: holds no {self._kind.__name__}: {error.errors()[0]['msg']}") from error

    def _index(self, number: int, round: int) -> None:
        offset = 0
        for line in lines_of(self._folder, "shard", round):
            self._places.append(number << _OFFSET_BITS | offset)
            self._hashes.append(hash(line))
            self._sha256.update(line)
            offset += len(line)


def request_of(record: Instruction | TaskInstance) -> str:
    """What a user would ask: the instruction, an input behind a blank line."""
    more = record.input if isinstance(record, TaskInstance) else ""
    return f"{record.instruction}\n\n{more}" if more.strip() else record.instruction
