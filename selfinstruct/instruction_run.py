"""The records of another run of ours as instructions: what it generated, or what a user asks last in a dialogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, overload

from selfinstruct import identity
from selfinstruct.errors import BadData
from selfinstruct.instruction_file import Brought
from selfinstruct.kept_records import KeptRecords, request_of
from selfinstruct.schema import ClassifiedInstruction, Dialogue, Instruction, TaskInstance

_Kind = Instruction | TaskInstance | Dialogue
_KINDS: Final[dict[str, type[_Kind]]] = {
    kind.__name__: kind for kind in (TaskInstance, Instruction, ClassifiedInstruction, Dialogue)
}
_COMMANDS: Final = {"complete": "complete", "ultrafeedback": "feedback"}  # whose runs have nothing to ask
_NAME_ANOTHER: Final = "name a run of 'selfinstruct generate' or 'selfinstruct dialogue'"


class InstructionRun(Sequence[Brought]):
    """The records of a run's last stage, in their order; ``where`` is "<run>:<record id>", ``source`` its method.

    Of a dialogue the last turn of the user is the instruction, and what was said before it the history.

    ``digest`` is that of the records, and names the source.
    """

    def __init__(self, records: KeptRecords[_Kind], source: str) -> None:
        self._records = records
        self._source = source

    @classmethod
    def open(cls, run: Path) -> InstructionRun:
        """The records of the run in this folder.

        Raises `BadData` where there are none, none that ask anything, or more to come, and `DamagedRun` for a shard
        that is not as it was written.
        """
        chain = identity.of_run(run.resolve())
        source = chain[0].identity.get("method", "self-instruct") if chain else ""  # which was the only one once
        if source in _COMMANDS:
            raise BadData(f"{run}: is a run of 'selfinstruct {_COMMANDS[source]}', and not taken: {_NAME_ANOTHER}")
        instead = f"which ask nothing; {_NAME_ANOTHER}"
        return cls(KeptRecords.open(run, _KINDS, "--instructions", instead), source)

    @property
    def sources(self) -> Counter[str]:
        """How many instructions are of each source: all of them of one."""
        return Counter({self._source: len(self)})

    @property
    def digest(self) -> str:
        """What the instructions are, for the identity of a run that uses them."""
        return f"{self._records.digest}, {self._source}"

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Brought: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Brought]: ...
    def __getitem__(self, index: int | slice) -> Brought | Sequence[Brought]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        record = self._records[index]
        where = f"{self._records.run}:{record.id}"
        if isinstance(record, Dialogue):
            *before, asked, _ = record.messages
            return Brought(asked.content, self._source, where, tuple(before))
        return Brought(request_of(record), self._source, where)
