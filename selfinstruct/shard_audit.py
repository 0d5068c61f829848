"""The shards of a stage read line by line: do they, the manifest, the rules of rounds and the ledger agree?

The manifest's account of each shard is made anew from its two files and compared field by field, so a manifest that
was changed shows as well as a shard that was. Memory does not grow with the shards, but for 8 bytes a round.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from selfinstruct import feedback_schema, schema
from selfinstruct.findings import Report
from selfinstruct.identity import StageIdentity
from selfinstruct.ledger_audit import LedgerAudit
from selfinstruct.schema import Record, Reject
from selfinstruct.store import WINDOW
from selfinstruct.store_files import line_of
from selfinstruct.store_manifest import Manifest, Shard, manifest_bytes, read_manifest

DATA_FILE = re.compile(r"(shard|rejects)-(\d+)\.jsonl")
"""The names a stage's own files have."""

TEMPORARY_FILE = re.compile(r"\..+\.tmp")
"""The names of files being filled, which a crash leaves behind; the next start removes them."""

_STATES = ("running", "complete", "exhausted")
_ID = re.compile(r"([a-z_]+)-(\d+)-(\d+)(?:-(\d+))?")

_PASSES_ON = frozenset({"expand", "rate", "critique", "binarize"})
"""Stages that let some records through without an answer: then the last call is that of the stage before."""

_MANY = 2**62

Place = tuple[int, int, int]
"""Round, slot and index of a candidate, in whose order ids stand; index -1 is the whole answer."""


class _Line(NamedTuple):
    place: Place
    file: str
    number: int
    record: Record


class _BadLine(Exception):
    """A line that the store did not write so."""

    def __init__(self, file: str, number: int, why: str) -> None:
        super().__init__(f"line {number} {why}")
        self.file = file


class StageAudit:
    """The folder of one stage. Its manifest is read at once, before the ledger that has to hold what it names.

    ``ends`` counts, once it was checked, the accepted records up to each round; ``whole`` is False when it cannot.
    """

    def __init__(self, folder: Path, started: StageIdentity | None, report: Report) -> None:
        self.name = folder.name
        self.ends = array("Q")
        self.whole = True
        self._folder = folder
        self._started = started
        self._report = report
        self._manifest = read_manifest(folder)
        self._last: Place = (-1, -1, -1)

    def check(self, ledger: LedgerAudit, upstream: StageAudit | None) -> None:
        """Check manifest, shards, and what else lies in the folder; ``upstream`` has been checked before."""
        if self._manifest is None:
            self.whole = False
            if (self._folder / "manifest.json").exists():
                self._damaged("manifest.json", "cannot be read")
                return
        else:
            self._check_manifest(self._manifest)
            if self._manifest.shards and upstream is not None and not (upstream._folder / "manifest.json").exists():
                upstream._damaged("manifest.json", f"is missing, while {self.name} has shards")
            self._check_shards(self._manifest, ledger, upstream)
        if not self._report.in_use:
            self._check_other_files()

    def _check_shards(self, manifest: Manifest, ledger: LedgerAudit, upstream: StageAudit | None) -> None:
        recent = ""
        for shard in manifest.shards:
            recount = self._recounted(shard, recent, ledger)
            if recount is not None:
                self._compare(shard, recount, upstream)
            recent = shard.recent

    # --- the manifest ------------------------------------------------------------------------------------------------

    def _check_manifest(self, manifest: Manifest) -> None:
        says: list[str] = []
        if (self._folder / "manifest.json").read_bytes() != manifest_bytes(manifest):
            says.append("is not written as we write it")
        if manifest.stage != self.name:
            says.append(f"is of stage '{manifest.stage}'")
        if manifest.state not in _STATES:
            says.append(f"knows of a state '{manifest.state}'")
        if _kind(manifest.kind) is None:
            says.append(f"knows of records called '{manifest.kind}'")
        if self._started and manifest.rounds_per_shard != self._started.identity.get("rounds_per_shard"):
            says.append(f"has {manifest.rounds_per_shard} rounds a shard, stage.json another number")
        if [shard.number for shard in manifest.shards] != list(range(len(manifest.shards))):
            says.append("does not number its shards 0, 1, 2 …")
        *others, last = [shard.rounds for shard in manifest.shards] or [manifest.rounds_per_shard]
        full = manifest.rounds_per_shard
        if any(rounds != full for rounds in others) or not 0 < last <= full:
            says.append("has a shard of more or fewer rounds than it should hold")
        elif last < full and manifest.state == "running":
            says.append("has a shorter last shard, and is 'running'")
        if says:
            self._damaged("manifest.json", ", ".join(says))

    def _compare(self, shard: Shard, recount: Shard, upstream: StageAudit | None) -> None:
        said, true = shard.model_dump(), recount.model_dump()
        wrong = [f"{name} {said[name]!r}, its files {true[name]!r}" for name in said if said[name] != true[name]]
        planned = self._planned_jobs(shard, upstream)
        if planned is not None and planned != shard.jobs:
            wrong.append(f"jobs {shard.jobs}, the plan {planned}")
        if wrong:
            self._damaged("manifest.json", f"says of shard {shard.number}: {'; '.join(wrong)}")

    def _planned_jobs(self, shard: Shard, upstream: StageAudit | None) -> int | None:
        """How many jobs the rounds of a shard have; None where what they are planned from is damaged itself."""
        if self._started is None:
            return None
        if self._started.identity.get("upstream") is None or self._started.identity.get("waits"):
            whole = int(self._started.identity["round_size"]) * shard.rounds
            ended = self._manifest is not None and self._manifest.state != "running"
            last = ended and self._manifest is not None and shard.number == len(self._manifest.shards) - 1
            # A stage that has asked for all there is ends with a smaller round.
            return shard.jobs if last and 0 <= whole - shard.jobs < int(self._started.identity["round_size"]) else whole
        if upstream is None or not upstream.whole:
            return None
        end = len(self.ends)
        first = end - shard.rounds
        if end > len(upstream.ends):
            return 0  # rounds that nothing fed
        return upstream.ends[end - 1] - (upstream.ends[first - 1] if first else 0)

    # --- a shard -----------------------------------------------------------------------------------------------------

    def _recounted(self, shard: Shard, recent: str, ledger: LedgerAudit) -> Shard | None:
        """What the manifest should say of a shard; None where its files are not those that the manifest names."""
        first = len(self.ends)
        end = first + shard.rounds
        if self._report.in_use and self._manifest and shard.rounds < self._manifest.rounds_per_shard:
            self._report.notes.append(f"{self.name}: shard {shard.number} may be replaced meanwhile: not checked")
            self.whole = False
            return None
        lengths = {name: self._length(name, shard, end) for name in _files_of(shard)}
        damaged = {name: "" for name, length in lengths.items() if length is None}
        recount = _Recount(shard, recent)
        counts = [0] * shard.rounds
        try:
            for line in self._merged(lengths, first, end):
                recount.add(line)
                counts[line.place[0] - first] += not isinstance(line.record, Reject)
                if not damaged:
                    self._check_calls(line, ledger)
        except _BadLine as bad:
            damaged[bad.file] = f": {bad}"
        except OSError as error:
            damaged[Path(error.filename).name] = f": {error.strerror}"
        for count in counts:
            self.ends.append((self.ends[-1] if self.ends else 0) + count)
        self._last = (end - 1, _MANY, 0)  # the next shard is judged by itself
        for name, why in damaged.items():
            self._damaged(name, f"is not what {self.name}/manifest.json says it is{why}")
        self.whole = self.whole and not damaged
        return None if damaged else recount.shard()

    def _length(self, name: str, shard: Shard, end: int) -> int | None:
        """How many lines of a file count; None when they are not those that the manifest names.

        All of them do, but where a run was being extended: then a longer file may have taken the place of the last
        one, and the manifest not yet have been written.
        """
        sha256, lines = shard.sha256, shard.accepted
        if name.startswith("rejects"):
            sha256, lines = shard.rejects_sha256, sum(shard.rejects.values())
        try:
            with (self._folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                    return _MANY
                if self._manifest is None or shard.rounds == self._manifest.rounds_per_shard:
                    return None
                file.seek(0)
                digest = hashlib.sha256()
                for raw in islice(file, lines):
                    digest.update(raw)
                rest = [_ID.match(raw[7:99].decode("utf-8", "replace")) for raw in islice(file, 1)]
        except OSError:
            return None
        if digest.hexdigest() != sha256 or not all(id and int(id[2]) >= end for id in rest) or not rest:
            return None
        self._report.notes.append(
            f"{self.name}/{name}: was being replaced by a longer one when the process died;"
            " run the run's command again to go on"
        )
        return lines

    def _merged(self, lengths: dict[str, int | None], first: int, end: int) -> Iterator[_Line]:
        """The lines of a shard and of its rejects, in the order in which the candidates were judged."""
        files = (self._lines(name, _MANY if length is None else length) for name, length in lengths.items())
        for line in heapq.merge(*files, key=lambda line: line.place):
            if not first <= line.place[0] < end:
                raise _BadLine(line.file, line.number, "belongs to a round of another shard")
            if line.place <= self._last:
                raise _BadLine(line.file, line.number, "stands twice, or out of order")
            self._last = line.place
            yield line

    def _lines(self, name: str, length: int) -> Iterator[_Line]:
        assert self._manifest is not None
        kind = Reject if name.startswith("rejects") else _kind(self._manifest.kind) or Record
        last: Place = (-1, -1, -2)
        with (self._folder / name).open("rb") as file:
            for number, raw in enumerate(islice(file, length), 1):
                try:
                    record = kind.model_validate_json(raw)
                except ValidationError as error:
                    why = f"is no {kind.__name__} ({error.errors()[0]['msg']})"
                    raise _BadLine(name, number, why) from error
                id = _ID.fullmatch(record.id)
                if id is None or id[1] != self.name or line_of(record) != raw:
                    raise _BadLine(name, number, f"is not a line of {self.name} as we write it")
                place = int(id[2]), int(id[3]), int(id[4] or -1)
                if place <= last:
                    raise _BadLine(name, number, "stands twice, or out of order")
                last = place
                yield _Line(place, name, number, record)

    def _check_calls(self, line: _Line, ledger: LedgerAudit) -> None:
        """The calls that made a record are in the ledger, answered; the last of them is its own job's."""
        rejected = isinstance(line.record, Reject)
        self._report.counts["rejects" if rejected else "records"] += 1
        if not ledger.readable:
            return
        known = None
        for key in line.record.provenance.calls:
            known = ledger.call(key)
            state = known.state if known else "missing"
            if state == "open" or (state != "settled" and not rejected) or known is None:
                self._damaged(line.file, f"names call {key[:12]}, which is {state} in the ledger", line.number)
        if known is None or (self.name in _PASSES_ON and known.stage != self.name):
            return
        if (known.stage, known.round, known.slot) != (self.name, *line.place[:2]):
            self._damaged(line.file, f"names call {known.stage}/{known.round}/{known.slot} as its own", line.number)

    # --- what else lies there ----------------------------------------------------------------------------------------

    def _check_other_files(self) -> None:
        shards = self._manifest.shards if self._manifest else ()
        named = {"stage.json", "manifest.json"} | {name for shard in shards for name in _files_of(shard)}
        unfinished = self._manifest is None or self._manifest.state == "running"
        following = {f"{kind}-{len(shards)}.jsonl" for kind in ("shard", "rejects")} if unfinished else set()
        for name in sorted(path.name for path in self._folder.iterdir()):
            if TEMPORARY_FILE.fullmatch(name):
                self._report.notes.append(f"{self.name}/{name}: left behind by a crash; the next start removes it")
            elif name in following:
                self._report.notes.append(
                    f"{self.name}/{name}: no manifest names it yet; run the run's command again to go on"
                )
            elif DATA_FILE.fullmatch(name) and name not in named:
                self._damaged(name, "is in no manifest")
            elif name not in named:
                self._report.found(f"{self.name}/{name}", "is none of the run's files", "move it elsewhere")

    def _damaged(self, name: str, what: str, line: int | None = None) -> None:
        self._report.found(f"{self.name}/{name}", what, self._report.rebuild, line)


class _Recount:
    """A shard's line of the manifest, made anew; ``recent`` are the verdicts before it."""

    def __init__(self, shard: Shard, recent: str) -> None:
        self._shard = shard
        self._recent = recent
        self._jobs = self._barren = self._accepted = self._unusable = 0
        self._rejects: Counter[str] = Counter()
        self._job: tuple[int, int] | None = None
        self._kept = False

    def add(self, line: _Line) -> None:
        """The next candidate, in the order in which they were judged."""
        if line.place[:2] != self._job:
            self._job, self._kept = line.place[:2], False
            self._jobs += 1
            self._barren += 1
        if isinstance(line.record, Reject):
            self._rejects[line.record.reason] += 1
            self._unusable += line.record.unusable
        else:
            self._accepted += 1
            self._barren -= not self._kept
            self._kept = True
        self._recent = (self._recent + ("0" if isinstance(line.record, Reject) else "1"))[-WINDOW:]

    def shard(self) -> Shard:
        """The line as it should be."""
        return self._shard.model_copy(
            update={
                "jobs": self._jobs,
                "barren": self._barren,
                "accepted": self._accepted,
                "rejects": dict(sorted(self._rejects.items())),
                "unusable": self._unusable,
                "recent": self._recent,
            }
        )


def _files_of(shard: Shard) -> tuple[str, str]:
    return f"shard-{shard.number}.jsonl", f"rejects-{shard.number}.jsonl"


def _kind(name: str) -> type[Record] | None:
    """The record class of that name."""
    found = getattr(schema, name, None) or getattr(feedback_schema, name, None)
    return found if isinstance(found, type) and issubclass(found, Record) else None
