"""The records of another run of ours as what dialogues begin with: an instruction, its input behind a blank line.

Shards are read once to learn where each record stands; a record is read when it is asked for. Memory: 16 bytes each.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Final, overload

from pydantic import ValidationError

from selfinstruct import identity
from selfinstruct.errors import BadData, DamagedRun
from selfinstruct.opener_file import Given
from selfinstruct.schema import ClassifiedInstruction, Instruction, TaskInstance
from selfinstruct.store import lines_of, read_manifest

_KINDS: Final = {kind.__name__: kind for kind in (TaskInstance, Instruction, ClassifiedInstruction)}
_OFFSET_BITS = 40  # a place is the number of a shard in the upper 24 bits, and the offset in it


class OpenerRun(Sequence[Given]):
    """The records of a run's last stage, in their order; ``where`` is "<run>:<record id>".

    ``digest`` names the run and stage, and says how many records there are and the sha256 of their shards, one after
    the other.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._kind = _KINDS[kind]
        self._places = array("Q")
        self._hashes = array("q")
        self._sha256 = hashlib.sha256()

    @classmethod
    def open(cls, run: Path) -> OpenerRun:
        """The records of the run in this folder.

        Raises `BadData` where there are none, none that a dialogue can begin with, or more to come, and `DamagedRun`
        for a shard that is not as it was written.
        """
        path = run.resolve()
        stages = [started.stage for started in identity.of_run(path)]
        manifest = read_manifest(path / stages[-1]) if stages else None
        if manifest is None or not manifest.accepted:
            raise BadData(f"{run}: no finished records here; 'selfinstruct status' lists the runs")
        if manifest.state == "running":
            raise BadData(
                f"{run}: is not finished, and what it will hold is not known yet: finish it first, or export what it"
                " has and give that to --openers"
            )
        if manifest.kind not in _KINDS:
            raise BadData(
                f"{run}: its records are of the kind {manifest.kind}, and no instructions; name a run of"
                " 'selfinstruct generate'"
            )
        openers = cls(path / stages[-1], manifest.kind)
        for shard in manifest.shards:
            openers._index(shard.number, shard.number * manifest.rounds_per_shard)
        return openers

    @property
    def digest(self) -> str:
        """What the openers are, for the identity of a run that uses them."""
        stage = f"{self._folder.parent.name}/{self._folder.name}"
        return f"{len(self)} records of {stage}, sha256 {self._sha256.hexdigest()}"

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Given: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Given]: ...
    def __getitem__(self, index: int | slice) -> Given | Sequence[Given]:
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
        return self._given(line, path)

    def _index(self, number: int, round: int) -> None:
        offset = 0
        for line in lines_of(self._folder, "shard", round):
            self._places.append(number << _OFFSET_BITS | offset)
            self._hashes.append(hash(line))
            self._sha256.update(line)
            offset += len(line)

    def _given(self, line: bytes, path: Path) -> Given:
        try:
            record = self._kind.model_validate_json(line)
        except ValidationError as error:
            raise DamagedRun(f"{path}: holds no {self._kind.__name__}: {error.errors()[0]['msg']}") from error
        more = record.input if isinstance(record, TaskInstance) else ""
        text = f"{record.instruction}\n\n{more}" if more.strip() else record.instruction
        return Given(text, f"{self._folder.parent.name}:{record.id}")
