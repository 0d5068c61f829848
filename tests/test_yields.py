"""The yield over time: every count is that of the files and of the ledger, whatever shards the rounds are in."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import wire, yields
from selfinstruct.errors import DamagedRun
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.money import Bound, Price, TokenBound
from selfinstruct.schema import Draw, Instruction, Provenance, Record, Reject
from selfinstruct.store import StageStore
from selfinstruct.store_files import pretty
from selfinstruct.store_manifest import Manifest, Shard
from selfinstruct.yields import Span

CHAIN = ("bootstrap", "instances")
USD = 10**12
PRICED = Bound(TokenBound(9, 9), Price(input=USD // 1000, output=USD // 100, currency="usd", source="", date=""))
FREE = Bound(TokenBound(9, 9), Price(input=0, output=0, currency="usd", source="", date=""))
UNPRICED = Bound(TokenBound(9, 9))

Round = tuple[int, Sequence[str]]  # how many were accepted, and the reasons of the others


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with a ledger of nothing."""
    Ledger(tmp_path / "ledger.sqlite3").close()
    return tmp_path


def stage(folder: Path, rounds: Sequence[Round], rounds_per_shard: int = 2, state: str = "complete") -> None:
    """Shards as a run writes them."""
    folder.mkdir()
    store = StageStore(folder, Instruction, rounds_per_shard)
    for number, (accepted, reasons) in enumerate(rounds):
        jobs: list[list[Record | Reject]] = [[]]
        for index in range(accepted):
            id = f"{folder.name}-{number}-0-{index}"
            text = f'Say "reason" {number}-{index}'
            jobs[0].append(Instruction(id=id, provenance=Provenance(), instruction=text, lang="en"))
        for slot, reason in enumerate(reasons, 1):  # whole answers: ids without an index
            id = f"{folder.name}-{number}-{slot}"
            jobs.append([Reject(id=id, provenance=Provenance(), stage=folder.name, reason=reason)])
        store.add_round(jobs)
    store.finish(state)


def calls(run: Path, *of: tuple[str, int, Bound]) -> None:
    """Answered calls in the ledger, each of a stage and round, 1 token read and 2 written: 0.021 usd where priced."""

    async def record() -> None:
        with Ledger(run / "ledger.sqlite3") as ledger:
            for slot, (name, round, bound) in enumerate(of):
                draw = Draw(stage=name, round=round, slot=slot)
                reserved = ledger.reserve(f"{slot:064x}", draw, wire.COMPLETIONS, b"{}", bound)
                await asyncio.gather(reserved, ledger.settle(f"{slot:064x}", b"{}", 1, 2))

    asyncio.run(record())


def spans(run: Path, stages: Sequence[str] = CHAIN) -> list[Span]:
    """What is to be tested, with the run's ledger."""
    with closing(LedgerReader(run / "ledger.sqlite3")) as ledger:
        return yields.spans(run, stages, ledger)


# --- spans ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "ends"),
    [
        (0, []),
        (1, [(0, 0)]),
        (2, [(0, 0), (1, 1)]),
        (10, [(number, number) for number in range(10)]),
        (11, [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 10)]),
        (21, [(0, 2), (3, 5), (6, 8), (9, 11), (12, 14), (15, 17), (18, 20)]),
        (1000, [(first, first + 99) for first in range(0, 1000, 100)]),
    ],
)
def test_rounds_are_split_into_at_most_ten_spans(run: Path, rounds: int, ends: list[tuple[int, int]]) -> None:
    """All of one length, but for the last, which may be shorter."""
    for name in CHAIN:
        stage(run / name, [(0, ())] * rounds, rounds_per_shard=128)
    assert [(span.first, span.last) for span in spans(run)] == ends


@pytest.mark.parametrize("rounds_per_shard", [1, 2, 3, 5, 12, 128])
def test_the_shards_do_not_matter(run: Path, rounds_per_shard: int) -> None:
    """Counted by the manifest or line by line, it is the same: here two rounds a span."""
    stage(
        run / "bootstrap",
        [(n, ["too_similar"] * (12 - n) + ["too_short"] * (n % 2)) for n in range(12)][::-1],
        rounds_per_shard,
    )
    stage(run / "instances", [(2 * n, ["empty_output"] * 50) for n in range(12)][::-1], rounds_per_shard)
    calls(
        run,
        *((name, round, PRICED) for name in ("bootstrap", "classify", "instances") for round in range(12)),
        *(("instances", 3, PRICED), ("instances", 12, PRICED)),
    )
    pairs = [(11, 10), (9, 8), (7, 6), (5, 4), (3, 2), (1, 0)]
    cents = USD // 1000
    assert spans(run) == [
        Span(
            first=2 * number,
            last=2 * number + 1,
            calls=7 if number == 1 else 6,
            cost=(7 if number == 1 else 6) * 21 * cents,
            accepted=sum(pair),
            final=2 * sum(pair),
            rejects=Counter(too_similar=24 - sum(pair), too_short=1),
        )
        for number, pair in enumerate(pairs)
    ]


def test_what_is_not_in_shards_of_every_stage_is_not_counted(run: Path) -> None:
    """Here the last stage has four rounds in shards, the first six, and the ledger eight."""
    stage(run / "bootstrap", [(1, ["too_short"])] * 6, rounds_per_shard=6, state="running")
    stage(run / "instances", [(1, ())] * 4, rounds_per_shard=4, state="running")
    calls(run, *(("bootstrap", round, FREE) for round in range(8)))
    assert spans(run) == [
        Span(round, round, calls=1, cost=0, accepted=1, final=1, rejects=Counter(too_short=1)) for round in range(4)
    ]


@pytest.mark.parametrize("rounds_per_shard", [1, 10])
def test_the_last_span_ends_where_the_last_stage_does(run: Path, rounds_per_shard: int) -> None:
    """Round 19 of the first stage, a shard of its own or part of one, is not counted; shards past it are not read."""
    stage(run / "bootstrap", [(1, ["too_short"])] * 22, rounds_per_shard)
    (run / "bootstrap" / f"shard-{21 // rounds_per_shard}.jsonl").unlink()
    stage(run / "instances", [(1, ())] * 19, rounds_per_shard=19)
    found = [(span.first, span.last, span.accepted, span.rejects.total()) for span in spans(run)]
    assert found == [*((first, first + 1, 2, 2) for first in range(0, 18, 2)), (18, 18, 1, 1)]


def test_a_stage_without_a_shard_leaves_nothing_to_show(run: Path) -> None:
    """No folder, or one without a manifest, as it is when a run has begun; nor is there a yield of no stage."""
    assert (spans(run), spans(run, ())) == ([], [])
    stage(run / "bootstrap", [(1, ())] * 6)
    (run / "instances").mkdir()
    assert spans(run) == []


def test_the_records_of_a_lone_stage_are_final(run: Path) -> None:
    """Alpaca's whole tasks."""
    stage(run / "alpaca", [(5, ()), (2, ["too_similar"])])
    calls(run, ("alpaca", 0, FREE), ("alpaca", 1, FREE), ("alpaca", 1, FREE))
    assert [(s.calls, s.accepted, s.final, s.per_100_calls) for s in spans(run, ["alpaca"])] == [
        (1, 5, 5, 500),
        (2, 2, 2, 100),
    ]


# --- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "cost", "unpriced", "per_unit"),
    [
        ((PRICED, PRICED), 42 * USD // 1000, 0, pytest.approx(3 / 0.042)),
        ((FREE, FREE), 0, 0, None),
        ((UNPRICED, UNPRICED), None, 2, None),
        ((PRICED, UNPRICED), 21 * USD // 1000, 1, None),
        ((), None, 0, None),
    ],
)
def test_a_rate_is_known_where_every_price_is(
    run: Path, bounds: Sequence[Bound], cost: int | None, unpriced: int, per_unit: float | None
) -> None:
    """What was free, or costs an unknown sum, has no yield by money: it is not infinite."""
    stage(run / "alpaca", [(3, ())])
    calls(run, *((name, 0, bound) for name, bound in zip(("alpaca", "check"), bounds, strict=False)))
    (span,) = spans(run, ["alpaca"])
    assert (span.cost, span.unpriced, span.per_unit) == (cost, unpriced, per_unit)
    assert span.per_100_calls == (150 if bounds else None)


def test_a_span_without_a_record_brought_nothing_for_its_money() -> None:
    """Zero, which is a number: the time to stop has come."""
    span = Span(0, 0, calls=8, cost=USD)
    assert (span.per_100_calls, span.per_unit, span.largest_reject) == (0, 0, None)


def test_the_largest_reject_is_told_with_its_share_of_all_candidates() -> None:
    """Of two that are equally frequent, the first of the alphabet."""
    span = Span(0, 0, accepted=2, rejects=Counter(too_short=3, too_similar=4, blacklisted=1, banned=4))
    assert span.largest_reject == ("banned", 4, 4 / 14)


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds_per_shard", [1, 3])
def test_a_shard_within_one_span_is_counted_without_reading_it(run: Path, rounds_per_shard: int) -> None:
    """The shards of a long run are shorter than its spans, and their counts are in the manifest."""
    for name in CHAIN:
        stage(run / name, [(1, ["too_short"])] * 30, rounds_per_shard)
        for file in (run / name).glob("*.jsonl"):
            file.unlink()
    assert spans(run) == [
        Span(first, first + 2, accepted=3, final=3, rejects=Counter(too_short=3)) for first in range(0, 30, 3)
    ]


@pytest.mark.parametrize("file", ["bootstrap/shard-0", "bootstrap/rejects-0", "instances/shard-0"])
def test_a_shard_that_was_changed_is_not_counted(run: Path, file: str) -> None:
    """The user is told which."""
    for name in CHAIN:
        stage(run / name, [(1, ["too_short"])] * 2)
    path = run / f"{file}.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedRun, match=rf"{file}\.jsonl: is not as its manifest says"):
        spans(run)


def shard_of(folder: Path, records: Iterator[bytes], rejects: Iterator[bytes], rounds: int) -> None:
    """A stage of one shard with any lines, and a manifest that agrees."""
    folder.mkdir()
    digests = []
    for name, lines in (("shard-0.jsonl", records), ("rejects-0.jsonl", rejects)):
        with (folder / name).open("wb") as file:
            file.writelines(lines)
        digests.append(hashlib.sha256((folder / name).read_bytes()).hexdigest())
    sha256, rejects_sha256 = digests
    counts: dict[str, Any] = {"number": 0, "rounds": rounds, "jobs": 0, "barren": 0, "accepted": 0, "rejects": {}}
    shard = Shard(**counts, unusable=0, recent="", sha256=sha256, rejects_sha256=rejects_sha256)
    manifest = Manifest(stage=folder.name, kind="TaskInstance", rounds_per_shard=rounds, shards=(shard,))
    (folder / "manifest.json").write_bytes(pretty(manifest.model_dump()))


@pytest.mark.parametrize(
    ("records", "rejects", "file"),
    [(b"[]\n", b"", "shard"), (b'{"id":"alpaca"}\n', b"", "shard"), (b"", b'{"id":"alpaca-0-0"}\n', "rejects")],
)
def test_a_line_that_names_no_round_or_reason_is_damage(run: Path, records: bytes, rejects: bytes, file: str) -> None:
    """Even where the manifest agrees with the file."""
    shard_of(run / "alpaca", iter([records]), iter([rejects]), rounds=2)
    with pytest.raises(DamagedRun, match=rf"alpaca/{file}-0\.jsonl: has a line that is none of ours"):
        spans(run, ["alpaca"])


def test_memory_does_not_grow_with_the_records(run: Path) -> None:
    """200 000 lines in one shard, of which only the start is read: what follows the id need not be JSON."""
    many = 100_000
    records = (b'{"id":"alpaca-%d-0-%d","instruction":"%s\n' % (i * 20 // many, i, b"x" * 100) for i in range(many))
    rejects = (
        b'{"id":"alpaca-%d-1-%d","stage":"alpaca","reason":"too_similar","detail":\n' % (i * 20 // many, i)
        for i in range(many)
    )
    shard_of(run / "alpaca", records, rejects, rounds=20)
    tracemalloc.start()
    found = spans(run, ["alpaca"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [
        Span(2 * n, 2 * n + 1, accepted=10_000, final=10_000, rejects=Counter(too_similar=10_000)) for n in range(10)
    ]
    assert peak < 2_000_000 < (run / "alpaca" / "shard-0.jsonl").stat().st_size // 5
