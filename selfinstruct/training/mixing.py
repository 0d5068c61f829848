"""How much of each source is learnt from, in which order, and what is held out to measure by."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, Protocol, TypeVar

from selfinstruct.errors import UsageProblem


class Example(Protocol):
    """What can be mixed and split: it says where it comes from, and which prompt it has."""

    @property
    def source(self) -> str:
        """The label of its source."""
        ...

    @property
    def group(self) -> str:
        """The same for all examples with the same prompt."""
        ...


E = TypeVar("E", bound=Example)
T = TypeVar("T")


class Mix(NamedTuple):
    """Which fraction of each source is taken, from 0 to 1, by its label; all of a source that is not named."""

    fractions: dict[str, Fraction]

    @classmethod
    def parse(cls, text: str) -> Mix:
        """Of ``seeds.jsonl:1.0,dialogue:0.5``. Raises `UsageProblem` for anything that is none."""
        shares: dict[str, float] = {}
        for part in filter(None, map(str.strip, text.split(","))):
            label, colon, number = part.rpartition(":")
            if not colon or not label:
                raise UsageProblem(f"--mix '{part}': expected a source and its fraction, such as dialogue:0.5")
            if label in shares:
                raise UsageProblem(f"--mix: '{label}' stands there twice")
            try:
                shares[label] = float(number)
            except ValueError:
                raise UsageProblem(f"--mix '{part}': '{number}' is no number from 0 to 1") from None
        return cls.from_shares(shares)

    @classmethod
    def from_shares(cls, shares: Mapping[str, float]) -> Mix:
        """Of a fraction for each label. Raises `UsageProblem` for one that is not from 0 to 1.

        Each counts as it is written: 0.29 of 100 rows are 29, and 28 by the value of the floating-point number.
        """
        for label, share in shares.items():
            if share > 1:
                raise UsageProblem(
                    f"--mix '{label}:{share:g}': at most 1, which is all of it; to learn it more often raise the epochs"
                )
            if not share >= 0:
                raise UsageProblem(f"--mix '{label}:{share:g}': a fraction is a number from 0 to 1, and never negative")
        return cls({label: Fraction(str(share)) for label, share in shares.items()})

    def check(self, labels: Sequence[str]) -> None:
        """Raises `UsageProblem` for a fraction of what is no source, and where nothing at all is taken."""
        for label in self.fractions:
            if label not in labels:
                raise UsageProblem(f"--mix: no source is called '{label}'; there are: {', '.join(labels)}")
        if labels and all(self.of(label) == 0 for label in labels):
            raise UsageProblem("--mix: takes nothing of any source")

    def of(self, label: str) -> Fraction:
        """The fraction of the source with this label."""
        return self.fractions.get(label, Fraction(1))

    def take(self, examples: Sequence[E]) -> list[E]:
        """The first fraction of each source's examples (systems §8.2), rounded down, but one at least unless it is 0.

        They stay in order. What is held out is no business of a mix: split first.
        """
        sizes = Counter(one.source for one in examples)
        wanted = {
            source: max(math.floor(self.of(source) * size), int(self.of(source) > 0)) for source, size in sizes.items()
        }
        taken: Counter[str] = Counter()
        kept = []
        for one in examples:
            if taken[one.source] < wanted[one.source]:
                taken[one.source] += 1
                kept.append(one)
        return kept


def split(examples: Sequence[E], held_out: Fraction | float | int, seed: int) -> tuple[list[E], list[E]]:
    """What is learnt and what is held out, each in order; no prompt is on both sides.

    ``held_out`` is a count of examples where it is a whole number from 1 on, else a share below 1; 0 holds out
    nothing. Examples with the same prompt go together, so the count is met as nearly as whole groups allow without
    passing it; one group at least is held out and one is learnt, where there are two. Which ones go by a digest of
    seed and prompt, so most of what is held out stays so when data are added.

    Raises `UsageProblem` for a negative number, and for a count that leaves nothing to learn from.
    """
    wanted = _wanted(held_out, len(examples))
    groups: defaultdict[str, int] = defaultdict(int)
    keys = [one.group for one in examples]
    for key in keys:
        groups[key] += 1
    held = _held(groups, wanted, seed) if wanted and len(groups) > 1 else set()
    learnt = [one for one, key in zip(examples, keys, strict=True) if key not in held]
    return learnt, [one for one, key in zip(examples, keys, strict=True) if key in held]


def _wanted(held_out: Fraction | float | int, total: int) -> int:
    if not 0 <= held_out < math.inf:
        raise UsageProblem(f"held out: {held_out:g} is neither a share from 0 to 1 nor a number of rows")
    if held_out < 1:
        return max(round(held_out * total), int(held_out > 0))
    if held_out != int(held_out):
        raise UsageProblem(f"held out: {held_out:g} is neither a share from 0 to 1 nor a number of rows")
    if held_out >= total:
        raise UsageProblem(f"held out: {held_out:g} of {total} rows leaves nothing to learn from")
    return int(held_out)


def _held(groups: dict[str, int], wanted: int, seed: int) -> set[str]:
    """The groups that are held out: in the order of their digests, those that still fit; the smallest if none does."""
    order = sorted(groups, key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).digest())
    held: set[str] = set()
    left = wanted
    for group in order:
        if groups[group] <= left and len(held) + 1 < len(groups):
            held.add(group)
            left -= groups[group]
    return held or {min(order, key=lambda group: groups[group])}
