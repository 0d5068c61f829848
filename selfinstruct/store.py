"""Shards, rejects and the manifest of one stage: ``output/<run>/<stage>/``.

A shard is ``rounds_per_shard`` rounds, written whole by one rename, its rejects first. The manifest names the shards
that count, with their hashes; it is written after them, so whatever a crash leaves behind is either complete or not
named. A file the manifest does not name, or that differs from it, is derived again from the ledger, which is free.

    shard-N.jsonl      accepted records, in job order      manifest.json   counts, hashes, state
    rejects-N.jsonl    everything else, with its reason    stage.json      what the stage was started with
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import orjson

from selfinstruct.errors import DamagedRun
from selfinstruct.schema import Record, Reject
from selfinstruct.store_files import Spool, line_of, write_whole
from selfinstruct.store_manifest import Manifest, Shard, manifest_bytes, read_manifest

T = TypeVar("T", bound=Record)

WINDOW = 500
"""How many of the latest candidates the exhaustion rule looks at (design: fewer than 1 % of 500 new)."""


Outcome = Sequence[Record | Reject]
"""One job's screened candidates, in order: the record where it was kept, its reject where not."""


class Tally:
    """Counts of a stage, over committed shards and open rounds alike. ``barren`` jobs gave no record at all."""

    def __init__(self) -> None:
        self.rounds = self.jobs = self.barren = self.accepted = self.unusable = 0
        self.rejects: dict[str, int] = {}

    def add(self, shard: Shard) -> None:
        """Count a committed shard."""
        self.rounds += shard.rounds
        self.jobs += shard.jobs
        self.barren += shard.barren
        self.accepted += shard.accepted
        self.unusable += shard.unusable
        for reason, count in shard.rejects.items():
            self.rejects[reason] = self.rejects.get(reason, 0) + count

    def add_job(self, outcome: Outcome) -> None:
        """Count one job's screened candidates."""
        rejects = [o for o in outcome if isinstance(o, Reject)]
        kept = len(outcome) - len(rejects)
        self.jobs += 1
        self.barren += kept == 0
        self.accepted += kept
        for reject in rejects:
            self.unusable += reject.unusable
            self.rejects[reject.reason] = self.rejects.get(reject.reason, 0) + 1


class StageStore(Generic[T]):
    """The records of one stage, on disk and in the shard being filled. Memory: a few bytes a record."""

    def __init__(self, folder: Path, kind: type[T], rounds_per_shard: int) -> None:
        self.folder = folder
        self.kind = kind
        self.tally = Tally()
        self.manifest = Manifest(stage=folder.name, kind=kind.__name__, rounds_per_shard=rounds_per_shard)
        self._offsets = array("Q")  # shard number in the upper 24 bits, byte offset in the lower 40
        self._ends = array("Q")  # accepted records up to and including each round
        self._open = _OpenShard(folder, 0)

    # --- reading ----------------------------------------------------------------------------------------------------

    @property
    def rounds(self) -> int:
        """How many rounds have been screened."""
        return len(self._ends)

    @property
    def accepted(self) -> int:
        """How many records have been kept."""
        return self._ends[-1] if self._ends else 0

    def upto(self, rounds: int) -> Sequence[T]:
        """The records of the first ``rounds`` rounds, read from disk one by one as they are asked for."""
        return _View(self, 0, self._ends[rounds - 1] if rounds > 0 else 0)

    def of_round(self, number: int) -> Sequence[T]:
        """The records of one round."""
        return _View(self, self._ends[number - 1] if number else 0, self._ends[number])

    def record(self, index: int) -> T:
        """The ``index``-th accepted record."""
        return self.kind.model_validate_json(self._read_line(self._offsets[index]))

    def recent(self) -> str:
        """The verdicts on the latest candidates (at most `WINDOW`), '1' for a new one."""
        return self._open.recent

    def _read_line(self, place: int) -> bytes:
        number, offset = place >> 40, place & ((1 << 40) - 1)
        path = self._open.records.temporary if number == self._open.number else self._shard(number)
        with _opened(path) as file:
            file.seek(offset)
            line = file.readline()
        if not line.endswith(b"\n"):
            raise DamagedRun(f"{self._shard(number)}: was cut short behind our back; run again to derive it anew")
        return line

    # --- writing ----------------------------------------------------------------------------------------------------

    def add_round(self, jobs: Sequence[Outcome]) -> None:
        """Take a screened round; the shard is written when it holds enough of them."""
        shard = self._open
        self._index(shard.number, shard.records.size, shard.add_round(jobs))
        for outcome in jobs:
            self.tally.add_job(outcome)
        self.tally.rounds += 1
        self._ends.append(len(self._offsets))
        if shard.rounds == self.manifest.rounds_per_shard:
            self._commit("running")

    def finish(self, state: str, audit: dict[str, Any] | None = None) -> None:
        """Write what is left as a last, shorter shard, the final state, and what is to be told of all records."""
        self._commit(state, audit)

    def _commit(self, state: str, audit: dict[str, Any] | None = None) -> None:
        shards = self.manifest.shards
        if self._open.rounds:
            shards = (*shards, self._open.publish())
            self._open = _OpenShard(self.folder, len(shards), self._open.recent)
        self.manifest = self.manifest.model_copy(update={"state": state, "shards": shards, "audit": audit})
        write_whole(self.folder / "manifest.json", manifest_bytes(self.manifest))

    def _index(self, number: int, offset: int, lines: Sequence[bytes]) -> None:
        for line in lines:
            self._offsets.append(number << 40 | offset)
            offset += len(line)

    def _shard(self, number: int) -> Path:
        return self.folder / f"shard-{number}.jsonl"

    # --- coming back ------------------------------------------------------------------------------------------------

    def load(self, *, whole_shards_only: bool) -> list[str]:
        """Take up what is on disk; returns a line for every shard that has to be derived again.

        ``whole_shards_only`` leaves out a last, shorter shard: a run that goes on past it derives its rounds again.
        """
        for stale in self.folder.glob(".*.tmp"):
            stale.unlink()
        manifest = read_manifest(self.folder)
        if manifest is None:
            return []
        kept: list[Shard] = []
        notes: list[str] = []
        for shard in manifest.shards:
            if whole_shards_only and shard.rounds < self.manifest.rounds_per_shard:
                break
            if not self._take(shard):
                notes.append(f"{self._shard(shard.number)} is not as its manifest says: derived again from the ledger")
                break
            kept.append(shard)
        as_it_ended = len(kept) == len(manifest.shards) and not whole_shards_only
        self.manifest = self.manifest.model_copy(
            update={
                "shards": tuple(kept),
                "state": manifest.state if as_it_ended else "running",
                "audit": manifest.audit if as_it_ended else None,
            }
        )
        self._open = _OpenShard(self.folder, len(kept), kept[-1].recent if kept else "")
        return notes

    def _take(self, shard: Shard) -> bool:
        try:
            records = self._shard(shard.number).read_bytes()
            rejects = (self.folder / f"rejects-{shard.number}.jsonl").read_bytes()
        except OSError:
            return False
        if _sha256(records) != shard.sha256 or _sha256(rejects) != shard.rejects_sha256:
            return False
        lines = records.splitlines(keepends=True)
        first = len(self._ends)
        counts = Counter(round_of(orjson.loads(line)["id"]) - first for line in lines)
        if len(lines) != shard.accepted or not counts.keys() <= set(range(shard.rounds)):
            return False  # the files are whole, so it is the manifest that is damaged
        total = self.accepted
        for number in range(shard.rounds):
            total += counts[number]
            self._ends.append(total)
        self._index(shard.number, 0, lines)
        self.tally.add(shard)
        return True


class _OpenShard:
    """The shard being filled: its rounds are in temporary files, so that memory does not grow with it."""

    def __init__(self, folder: Path, number: int, recent: str = "") -> None:
        self.number = number
        self.rounds = 0
        self.recent = recent
        self.records = Spool(folder / f"shard-{number}.jsonl")
        self.rejects = Spool(folder / f"rejects-{number}.jsonl")
        self._tally = Tally()

    def add_round(self, jobs: Sequence[Outcome]) -> list[bytes]:
        """Take a round; returns the lines of its accepted records."""
        lines: list[bytes] = []
        reject_lines: list[bytes] = []
        for outcome in jobs:
            for record in outcome:
                (reject_lines if isinstance(record, Reject) else lines).append(line_of(record))
            self._tally.add_job(outcome)
            self.recent += "".join("0" if isinstance(record, Reject) else "1" for record in outcome)
        self.rejects.append(b"".join(reject_lines))
        self.records.append(b"".join(lines))
        self.recent = self.recent[-WINDOW:]
        self.rounds += 1
        return lines

    def publish(self) -> Shard:
        """Let both files appear, rejects first; returns the manifest's line."""
        rejects_sha256 = self.rejects.publish()
        tally = self._tally
        return Shard(
            number=self.number,
            rounds=self.rounds,
            jobs=tally.jobs,
            barren=tally.barren,
            accepted=tally.accepted,
            rejects=dict(sorted(tally.rejects.items())),
            unusable=tally.unusable,
            recent=self.recent,
            sha256=self.records.publish(),
            rejects_sha256=rejects_sha256,
        )


class _View(Sequence[T]):
    """A slice of a stage's records that reads each one when it is asked for."""

    def __init__(self, store: StageStore[T], start: int, end: int) -> None:
        self._store = store
        self._start = start
        self._end = end

    def __len__(self) -> int:
        return self._end - self._start

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._store.record(self._start + index % len(self))


# --- what is on disk ------------------------------------------------------------------------------------------------


def round_of(record_id: str) -> int:
    """The round a record's id names: 12 of ``bootstrap-12-3-5``."""
    return int(record_id.split("-")[1])


def lines_of(folder: Path, prefix: str, round: int | None = None) -> Iterator[bytes]:
    """The lines of the committed shards (``prefix`` "shard") or rejects ("rejects") of a stage, in order.

    With ``round``, of the shard alone that this round is in.

    Raises `DamagedRun` for a file that the manifest names and that is not there, or not as it was written.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return
    for shard in manifest.shards:
        if round is not None and round // manifest.rounds_per_shard != shard.number:
            continue
        path = folder / f"{prefix}-{shard.number}.jsonl"
        written = shard.sha256 if prefix == "shard" else shard.rejects_sha256
        with _opened(path) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != written:
                raise DamagedRun(f"{path}: is not as its manifest says; run again to derive it anew")
            file.seek(0)
            yield from file


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise DamagedRun(f"{path}: cannot be read: {error.strerror}; run again to derive it anew") from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
