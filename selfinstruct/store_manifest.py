"""The manifest of a stage: which of its shards count, their hashes, what was kept and what was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfinstruct.schema import Noun
from selfinstruct.store_files import pretty


class Shard(Noun):
    """One line of the manifest. ``recent`` is the verdicts on the last candidates up to here, '1' for new."""

    number: int
    rounds: int
    jobs: int
    barren: int
    accepted: int
    rejects: dict[str, int]
    unusable: int
    recent: str
    sha256: str
    rejects_sha256: str


class Manifest(Noun):
    """What of a stage is on disk. ``state`` is ``running``, ``complete`` or ``exhausted``; no time, host or cost.

    ``audit`` is what a finished stage's filters have to tell of all its records, where one does.
    """

    stage: str
    kind: str
    state: str = "running"
    rounds_per_shard: int
    shards: tuple[Shard, ...] = ()
    audit: dict[str, Any] | None = None

    @property
    def rounds(self) -> int:
        """Rounds in the shards."""
        return sum(shard.rounds for shard in self.shards)

    @property
    def accepted(self) -> int:
        """Records in the shards."""
        return sum(shard.accepted for shard in self.shards)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a stage's folder; None when there is none, or none that can be read."""
    try:
        return Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return None  # shards are derived: without a manifest they are derived again


def manifest_bytes(manifest: Manifest) -> bytes:
    """A manifest as it is written: with ``audit`` only where there is one."""
    return pretty(manifest.model_dump(exclude={"audit"} if manifest.audit is None else set()))
