"""Runs as they are on disk once they are over, for what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from selfinstruct import identity
from selfinstruct.identity import StageIdentity
from selfinstruct.schema import Record
from selfinstruct.store import StageStore


def a_run(
    path: Path,
    stages: Mapping[str, Sequence[Sequence[Record]]],
    state: str = "complete",
    rounds_per_shard: int = 2,
    **settings: object,
) -> Path:
    """A run with these stages, each given by the records of its rounds, and settings in its identity."""
    upstream = None
    for stage, rounds in stages.items():
        folder = path / stage
        folder.mkdir(parents=True)
        started = StageIdentity(
            stage=stage,
            selfinstruct="0",
            target=9,
            seed_tasks="",
            identity={"lang": "en", "upstream": upstream, **settings},
            prompts={},
        )
        identity.write(folder, started)
        upstream = started.digest
        if rounds:
            store = StageStore(folder, type(rounds[0][0]), rounds_per_shard)
            for records in rounds:
                store.add_round([[record] for record in records])
            store.finish(state)
    return path
