"""The records of another run of ours as what dialogues begin with: an instruction, its input behind a blank line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, overload

from selfinstruct.kept_records import KeptRecords, request_of
from selfinstruct.opener_file import Given
from selfinstruct.schema import ClassifiedInstruction, Instruction, TaskInstance

_KINDS: Final[dict[str, type[Instruction | TaskInstance]]] = {
    kind.__name__: kind for kind in (TaskInstance, Instruction, ClassifiedInstruction)
}


class OpenerRun(Sequence[Given]):
    """The records of a run's last stage, in their order; ``where`` is "<run>:<record id>".

    ``digest`` is that of the records.
    """

    def __init__(self, records: KeptRecords[Instruction | TaskInstance]) -> None:
        self._records = records

    @classmethod
    def open(cls, run: Path) -> OpenerRun:
        """The records of the run in this folder.

        Raises `BadData` where there are none, none that a dialogue can begin with, or more to come, and `DamagedRun`
        for a shard that is not as it was written.
        """
        instead = "and no instructions; name a run of 'selfinstruct generate'"
        return cls(KeptRecords.open(run, _KINDS, "--openers", instead))

    @property
    def digest(self) -> str:
        """What the openers are, for the identity of a run that uses them."""
        return self._records.digest

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Given: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Given]: ...
    def __getitem__(self, index: int | slice) -> Given | Sequence[Given]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        record = self._records[index]
        return Given(request_of(record), f"{self._records.run}:{record.id}")
