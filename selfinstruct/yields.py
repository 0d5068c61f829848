"""A run's yield over time: what its calls brought at first and what they bring now, so that a user sees when to stop.

Time is the run's own, its rounds: a round of a stage feeds the same round of the next one, so what all stages spent on
a round and what came of it belong together. Memory does not grow with the records.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfinstruct.errors import DamagedRun
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.store import lines_of
from selfinstruct.store_manifest import read_manifest

MOST_SPANS = 10
"""A table of more lines is not taken in at a glance."""

UNIT = 10**12
"""Pico-units in a unit of money."""

_START = {
    "shard": re.compile(rb'\{"id":"[^"-]+-(\d+)-()'),
    "rejects": re.compile(rb'\{"id":"[^"-]+-(\d+)-[^"]*","stage":"[^"]*","reason":"([^"]*)"'),
}
"""How a line of each kind of file starts: the round in its id, and the reason. The rest of it is not read."""


@dataclass
class Span:
    """The rounds ``first`` to ``last`` and what they came to; ``accepted`` by the first stage, ``final`` by the last.

    ``calls`` are the answered ones of all stages, ``cost`` is theirs in pico-units, None where no price was known;
    ``unpriced`` of them are not in it. ``rejects`` are those of the first stage, by reason.
    """

    first: int
    last: int
    calls: int = 0
    cost: int | None = None
    unpriced: int = 0
    accepted: int = 0
    final: int = 0
    rejects: Counter[str] = field(default_factory=Counter)

    @property
    def per_100_calls(self) -> float | None:
        """Accepted per 100 calls; None without a call."""
        return 100 * self.accepted / self.calls if self.calls else None

    @property
    def per_unit(self) -> float | None:
        """Accepted per unit of money; None where it was free or a price is missing."""
        return self.accepted * UNIT / self.cost if self.cost and not self.unpriced else None

    @property
    def largest_reject(self) -> tuple[str, int, float] | None:
        """The most frequent reason, how often it was given, and its share of all candidates (0 to 1)."""
        if not self.rejects:
            return None
        reason, count = min(self.rejects.items(), key=lambda item: (-item[1], item[0]))
        return reason, count, count / (self.accepted + self.rejects.total())


def spans(run: Path, stages: Sequence[str], ledger: LedgerReader) -> list[Span]:
    """The rounds that are in shards of every stage, in at most `MOST_SPANS` spans of one length; the last may be short.

    ``stages`` are the names in the chain's order. Raises `DamagedRun` for a shard that is not as its manifest says.
    """
    manifests = [read_manifest(run / stage) for stage in stages]
    rounds = min((manifest.rounds if manifest else 0 for manifest in manifests), default=0)
    size = max(1, -(-rounds // MOST_SPANS))
    found = [Span(first, min(first + size, rounds) - 1) for first in range(0, rounds, size)]
    if not found:
        return []
    for round, counts in _counts(run / stages[0], "shard", size, rounds):
        found[round // size].accepted += sum(counts.values())
    for round, counts in _counts(run / stages[-1], "shard", size, rounds):
        found[round // size].final += sum(counts.values())
    for round, counts in _counts(run / stages[0], "rejects", size, rounds):
        found[round // size].rejects.update(counts)
    for spent in ledger.spending_by_round():
        if spent.round < rounds:
            span = found[spent.round // size]
            span.calls += spent.calls
            span.unpriced += spent.unpriced
            span.cost = span.cost if spent.cost is None else (span.cost or 0) + spent.cost
    return found


def _counts(folder: Path, prefix: str, size: int, rounds: int) -> Iterator[tuple[int, Mapping[str, int]]]:
    """Records or rejects by reason, each time with a round in whose span they are; of the first ``rounds`` rounds.

    A shard within one span is counted by its manifest. Of the others, which are fewer than spans, the lines are read.
    """
    manifest = read_manifest(folder)
    first = 0
    for shard in manifest.shards if manifest else ():
        last = first + shard.rounds - 1
        if first // size == last // size and last < rounds:
            yield first, shard.rejects if prefix == "rejects" else {"": shard.accepted}
        elif first < rounds:
            for line in lines_of(folder, prefix, first):
                start = _START[prefix].match(line)
                if start is None:
                    raise DamagedRun(f"{folder}/{prefix}-{shard.number}.jsonl: has a line that is none of ours")
                if int(start[1]) < rounds:
                    yield int(start[1]), {start[2].decode(): 1}
        first += shard.rounds
