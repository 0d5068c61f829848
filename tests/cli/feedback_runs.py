"""Runs of feedback as they are on disk, from records that a test gives: what `export` and `binarize` are tried on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfinstruct import identity
from selfinstruct.feedback_schema import PreferencePair, RatedInstruction
from selfinstruct.identity import StageIdentity
from selfinstruct.protocols import Job
from selfinstruct.schema import Record, Reject
from selfinstruct.stages.binarize import Binarize
from selfinstruct.store import StageStore

SEED = 11
"""The run's."""


def started(run: Path, *stages: str) -> None:
    """A run that was started with these stages, and has no records yet."""
    before = None
    for stage in stages:
        seeded = {"seed": SEED, "upstream": before}
        now = StageIdentity(stage=stage, selfinstruct="0", target=0, seed_tasks="", identity=seeded, prompts={})
        (run / stage).mkdir(parents=True, exist_ok=True)
        identity.write(run / stage, now)
        before = now.digest


def filled(
    run: Path, stage: str, rounds: Sequence[Sequence[Record | Reject]], state: str = "complete", *, like: Record
) -> None:
    """The records and rejects of a stage, round by round, each outcome a job of its own, two rounds a shard."""
    store: StageStore[Record] = StageStore(run / stage, type(like), rounds_per_shard=2)
    for outcomes in rounds:
        store.add_round([[outcome] for outcome in outcomes])
    if state == "complete":
        store.finish(state)


def binarized(stage: Binarize, rounds: Sequence[Sequence[RatedInstruction]]) -> list[list[Record | Reject]]:
    """What the run's own stage makes of the annotated records, round by round."""
    return [
        [made for slot, record in enumerate(records) for made in stage.pair(Job("binarize", number, slot, record))]
        for number, records in enumerate(rounds)
    ]


def pairs_in(rounds: Sequence[Sequence[Record | Reject]]) -> list[PreferencePair]:
    """The pairs alone."""
    return [made for outcomes in rounds for made in outcomes if isinstance(made, PreferencePair)]
