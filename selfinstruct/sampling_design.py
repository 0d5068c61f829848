"""Which models of a pool answer which instruction: drawn at random, or so that all have met equally often.

``uniform``    every instruction draws anew, without replacement, as UltraFeedback does (systems §6.2)
``balanced``   after any number of instructions no model has had more than one more than another; of 17 models and 4 an
               instruction, every two have met equally often after each 68 instructions; of other pools about equally

A design knows the order of *all* models at a place: the first are asked, and the others stand in for those that fail.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, combinations, islice
from operator import add
from random import Random
from typing import Final, Literal, NamedTuple

from selfinstruct.errors import ConfigProblem, UsageProblem

Kind = Literal["uniform", "balanced"]

COSETS: Final = {"A": (1, 4, 13, 16), "B": (3, 5, 12, 14), "C": (2, 8, 9, 15), "D": (6, 7, 10, 11)}
"""The cosets of the fourth powers among the numbers 1 to 16 modulo 17: among their differences each number is 3 times.

So their 68 shifts modulo 17 are a block design: every number is in 16 of them, every two are together in 3
(R. C. Bose, "On the construction of balanced incomplete block designs", 1939).
"""

ORDER: Final = """
D16 A16 B16 C16 C14 D9 D3 C9 D15 C8 C5 C10 C13 A3 A7 A13 A14 B13 B8 B12 B9 C11 B7 B3 B2 B6 D4 D6 D12
D14 A5 A1 A11 A12 B10 B14 B11 B15 C6 C4 D11 C1 D1 D7 D13 C7 C2 A9 A8 A15 A2 D2 D8 D0 D10 A4 A6 A0
A10 D5 B5 B1 B0 B4 C15 C3 C0 C12
"""
"""Those shifts, "D16" for D moved by 16, in an order in which no number is ever ahead of another by more than one.

Found by a search that tried the blocks in random order and went back where it was stuck.
"""

_SPREAD = 3
"""Blocks are tried until how often two models have met differs by no more than this between any pairs."""

_TRIES = 64
"""Nearly always the first few do it; where none does, the best is taken. No difference was ever above 4.

Measured: every pool of 4 to 40 models with 2 to 6 an instruction over 3000 instructions, the hardest over 60 000.
"""


class Uniform:
    """Every instruction draws its models anew, without replacement: UltraFeedback's ``random.sample``.

    The names may come in any order. Raises `UsageProblem` for fewer names than ``models``, and `ConfigProblem` for a
    name that is there twice.
    """

    def __init__(self, names: Sequence[str], models: int, seed: int) -> None:
        self._names = _checked(names, models)
        self._seed = seed

    def order(self, place: int) -> tuple[str, ...]:
        """All names in random order."""
        return tuple(Random(f"{self._seed}/uniform/{place}").sample(self._names, len(self._names)))


class Balanced:
    """After any number of instructions no model has been asked for more than one more than another.

    Of 17 models and 4 an instruction it is a block design of 68 instructions, again and again, each time with the
    models in other parts. Of other pools the models of the lowest count are taken that have met least, one instruction
    after the other. All places up to the one asked for are worked out, once, and kept: a byte a model that is asked.

    The names may come in any order. Raises as `Uniform` does.
    """

    def __init__(self, names: Sequence[str], models: int, seed: int) -> None:
        self._names = _checked(names, models)
        self._models = models
        self._made = array("B" if len(names) <= 256 else "H")
        rng = Random(f"{seed}/balanced")
        if (len(names), models) == (17, 4):
            self._blocks = _relabelled(rng)
        else:
            self._blocks = _least_met(rng, len(names), models)

    def order(self, place: int) -> tuple[str, ...]:
        """The block of this place, then the models of the following blocks that are not there yet."""
        found: dict[int, None] = {}
        at = place * self._models
        while len(found) < len(self._names):
            found.update(dict.fromkeys(self._upto(at + self._models)[at : at + self._models]))
            at += self._models
        return tuple(self._names[one] for one in found)

    def _upto(self, end: int) -> array[int]:
        """What has been made, and that is at least ``end`` models."""
        missing = (end - len(self._made)) // self._models
        self._made.extend(chain.from_iterable(islice(self._blocks, max(0, missing))))
        return self._made


def design(kind: Kind, names: Sequence[str], models: int, seed: int) -> Uniform | Balanced:
    """The design of a run: ``models`` of the pool's ``names`` for each instruction. Raises as `Uniform` does."""
    return (Uniform if kind == "uniform" else Balanced)(names, models, seed)


@cache
def block_design() -> tuple[tuple[int, ...], ...]:
    """Which 4 of 17 models, by number, answer each of 68 instructions: `COSETS`, shifted, in the order of `ORDER`."""
    return tuple(tuple((number + int(code[1:])) % 17 for number in COSETS[code[0]]) for code in ORDER.split())


def _checked(names: Sequence[str], models: int) -> tuple[str, ...]:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ConfigProblem(
            f"the pool names {', '.join(map(repr, twice))} more than once; give each model its own name"
        )
    if not 1 <= models <= len(names):
        raise UsageProblem(
            f"{models} models are to answer each instruction, and the pool has {len(names)}; "
            "add models to it, or ask for fewer"
        )
    return tuple(sorted(names))


def _relabelled(rng: Random) -> Iterator[list[int]]:
    """The block design again and again, each time with other models in the parts of its numbers."""
    while True:
        parts = rng.sample(range(17), 17)
        for block in block_design():
            yield rng.sample([parts[number] for number in block], len(block))


class _Meetings:
    """How often every two models of a pool have met, and what it costs to let two of them meet again."""

    def __init__(self, models: int) -> None:
        self._met = [[0] * models for _ in range(models)]
        self._all = models * (models - 1) // 2
        self._pairs = Counter({0: self._all})  # by how often they have met
        self._least = self._most = self._total = 0
        self._costs: list[int] = []

    def weigh(self) -> None:
        """Set the cost of a pair that has met x times more than the mean: x + x³ / 6, the beginning of sinh x.

        In whole numbers, on which all machines agree: what has to be divided by is multiplied away.
        """
        above = [met * self._all - self._total for met in range(self._least, self._most + 1)]
        self._costs = [one * (6 * self._all**2 + one**2) for one in above]

    def costs(self, one: int, others: Sequence[int]) -> list[int]:
        """What it costs that ``one`` meets each of the others."""
        row, costs, least = self._met[one], self._costs, self._least
        return [costs[row[other] - least] for other in others]

    def within(self, models: Sequence[int]) -> list[int]:
        """How often every two of these have met."""
        return [self._met[one][other] for one, other in combinations(models, 2)]

    def spread_after(self, block: Sequence[int], due: Sequence[int]) -> int:
        """The most less the least, once all of ``block`` have met, and those too who must be in the next one."""
        counts = self.within(block)
        least = self._least + (counts.count(self._least) == self._pairs[self._least])
        return max([self._most, *(count + 1 for count in counts + self.within(due))]) - least

    def add(self, block: Sequence[int]) -> None:
        """All of a block have met."""
        for one, other in combinations(block, 2):
            count = self._met[one][other] + 1
            self._met[one][other] = self._met[other][one] = count
            self._pairs[count - 1] -= 1
            self._pairs[count] += 1
            self._total += 1
            self._most = max(self._most, count)
        while self._least < self._most and not self._pairs[self._least]:
            del self._pairs[self._least]
            self._least += 1


class _Tried(NamedTuple):
    """A block that could be next: the lesser tuple is the better. ``left`` are the free ones that are not in it."""

    spread: int
    cost: int
    block: list[int]
    left: list[int]


def _least_met(rng: Random, names: int, models: int) -> Iterator[list[int]]:
    """Blocks without end: the models of the lowest count are due, and of these the ones that have met least go."""
    meetings = _Meetings(names)
    due = list(range(names))
    while True:
        sure = due if len(due) <= models else []
        free = [one for one in range(names) if one not in sure] if sure else due
        meetings.weigh()
        best = _tried(rng, meetings, sure, free, models)
        for _ in range(_TRIES - 1):
            if best.spread <= _SPREAD:
                break
            best = min(best, _tried(rng, meetings, sure, free, models))
        meetings.add(best.block)
        due = sure + best.left
        rng.shuffle(best.block)
        yield best.block


def _tried(rng: Random, meetings: _Meetings, sure: list[int], free: list[int], models: int) -> _Tried:
    """Those who are sure to be in the block, and one by one the free model that has met them least, ties drawn.

    Where those that are due afterwards must all be in the next block, their meetings count as well.
    """
    left = rng.sample(free, len(free))
    block = list(sure)
    costs = [sum(meetings.costs(one, sure)) for one in left]
    cost = 0
    while len(block) < models:
        at = costs.index(min(costs))
        cost += costs.pop(at)
        block.append(left.pop(at))
        costs = list(map(add, costs, meetings.costs(block[-1], left)))
    due = sure + left if len(sure) + len(left) <= models else []
    cost += sum(sum(meetings.costs(one, due[:at])) for at, one in enumerate(due))
    return _Tried(max(_SPREAD, meetings.spread_after(block, due)), cost, block, left)
