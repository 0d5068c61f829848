"""The tasks that a prompt shows, drawn from the seeds and from what the machine has made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from selfinstruct.schema import Instruction, Provenance, SeedTask, TaskInstance


@dataclass(frozen=True)
class Demo:
    """A task shown in a prompt: a seed with its first instance, or one the machine made, with as much as it has."""

    id: str
    instruction: str
    input: str = ""
    output: str = ""
    machine: bool = False


def draw(
    rng: Random, seeds: Sequence[SeedTask], pool: Sequence[Instruction | TaskInstance], count: int, machine: int
) -> list[Demo]:
    """``count`` demos, none twice, in any order: up to ``machine`` of them from the pool, the others seeds."""
    many = min(machine, count, len(pool))
    made = [pool[i] for i in rng.sample(range(len(pool)), many)]
    demos = [
        Demo(seed.id, seed.instruction, seed.instances[0].input, seed.instances[0].output)
        for seed in rng.sample(seeds, count - many)
    ]
    demos += [
        Demo(task.id, task.instruction, task.input, task.output, machine=True)
        if isinstance(task, TaskInstance)
        else Demo(task.id, task.instruction, machine=True)
        for task in made
    ]
    rng.shuffle(demos)
    return demos


def lineage(demos: Sequence[Demo]) -> Provenance:
    """Which seeds and machine-made parents were shown."""
    return Provenance(
        seeds=tuple(demo.id for demo in demos if not demo.machine),
        parents=tuple(demo.id for demo in demos if demo.machine),
    )
