"""A chain's parts: one stage with its prompts and filters, and what every stage is built from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfinstruct import prompts
from selfinstruct.money import LIKELY_ANSWER
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Filter, Stage
from selfinstruct.recipe import Recipe
from selfinstruct.schema import Rendering, Sampling, SeedTask


@dataclass(frozen=True)
class Link:
    """One stage of a chain, the prompts it sends and the filters its records pass, in order.

    ``asks_for`` is how many records one answer is asked to hold, ``answer`` about how many tokens it then has.
    ``data`` is what the recipe's ``use`` filters go by, and what else the stage is made of: digests of rules and files.
    ``most`` is how many records the stage can have; None where a model makes up ever more. ``waits`` where it reads all
    of the one before, once that is through, and not round by round. ``notes`` are lines for people.
    """

    stage: Stage
    prompts: tuple[Prompt, ...]
    filters: Sequence[Filter[Any]]
    asks_for: int = 1
    answer: int = LIKELY_ANSWER
    data: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None
    waits: bool = False
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        """The recipe table of this stage: its name."""
        return self.stage.name


@dataclass(frozen=True)
class Parts:
    """What every method is built from. ``roles`` are how those are asked who are asked otherwise than the teacher."""

    recipe: Recipe
    seeds: Sequence[SeedTask]
    rendering: Rendering
    prompts_dir: Path
    roles: Mapping[str, Rendering] = field(default_factory=dict)

    def prompt(self, stage: str, name: str) -> Prompt:
        """The prompt file of a stage in the recipe's language."""
        return prompts.load(self.prompts_dir, f"{stage}/{self.recipe.lang}/{name}")


def counted(waiting: Iterable[object]) -> int:
    """The place in a chain of the stage whose records its target counts: the last that waits, else the first."""
    return max((place for place, waits in enumerate(waiting) if waits), default=0)


def sampling_of(recipe: Sampling) -> Sampling:
    """The sampling part of a stage's table."""
    return Sampling(**{name: getattr(recipe, name) for name in Sampling.model_fields})
