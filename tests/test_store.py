"""Shards, rejects, manifest: whole or not there, derived again where damaged, the same bytes however often stopped."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.errors import DamagedRun, OutputFailed
from selfinstruct.schema import Instruction, Neighbour, Novelty, Provenance, Record, Reject
from selfinstruct.store import WINDOW, StageStore, Tally, lines_of, round_of
from selfinstruct.store_files import line_of, pretty, write_whole
from selfinstruct.store_manifest import Shard, read_manifest

Round = list[list[Record | Reject]]
FROM_SEED = Provenance(seeds=("seed_7",), prompts=("bootstrap/en/list@1:0",), models=("m",), calls=("c0",))


def a_round(number: int, *jobs: str) -> Round:
    """A screened round. Each letter is a candidate: k(ept), t(oo similar), u(nusable); an empty job has none."""
    return [
        [_candidate(f"bootstrap-{number}-{slot}-{index}", letter) for index, letter in enumerate(job)]
        for slot, job in enumerate(jobs)
    ]


def _candidate(id: str, letter: str) -> Record | Reject:
    if letter == "k":
        return Instruction(id=id, provenance=FROM_SEED, instruction=f"Water the plants of {id}.", lang="en")
    reason = {"t": "too_similar", "u": "truncated"}[letter]
    return Reject(id=id, provenance=FROM_SEED, stage="bootstrap", reason=reason, unusable=letter == "u")


ROUNDS = [
    a_round(0, "kk", "t", ""),
    a_round(1, "", "uk"),
    a_round(2, "t", "tt"),
    a_round(3, "ktk", "k"),
    a_round(4, "k"),
]
IDS = [[r.id for job in rounds for r in job if not isinstance(r, Reject)] for rounds in ROUNDS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The stage's folder."""
    path = tmp_path / "bootstrap"
    path.mkdir()
    return path


def opened(folder: Path, rounds_per_shard: int = 2) -> StageStore[Instruction]:
    """A store over the folder, with nothing taken up yet."""
    return StageStore(folder, Instruction, rounds_per_shard)


def filled(folder: Path, rounds: Sequence[Round] = ROUNDS, state: str = "complete") -> StageStore[Instruction]:
    """A stage that ran through in one go: two rounds a shard."""
    store = opened(folder)
    go_on(store, rounds, state)
    return store


def go_on(store: StageStore[Instruction], rounds: Sequence[Round] = ROUNDS, state: str = "complete") -> None:
    """Screen what the store has not got yet, and finish."""
    for screened in rounds[store.rounds :]:
        store.add_round(screened)
    store.finish(state)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def ids(view: Sequence[Instruction]) -> list[str]:
    """The ids of what a view holds."""
    return [record.id for record in view]


def flat(rounds: list[list[str]]) -> list[str]:
    """The ids of several rounds as one list."""
    return [id for ids_of_round in rounds for id in ids_of_round]


# --- what is written ------------------------------------------------------------------------------------------------


def test_a_line_has_every_key_in_order_with_provenance_last() -> None:
    """Nothing is left out because it is empty, and what people read comes first."""
    record = Instruction(
        id="bootstrap-0-1-2",
        provenance=Provenance(seeds=("seed_7",)),
        instruction="给窗台上的花浇水。",
        lang="zh",
        novelty=Novelty(mode="exact", nearest=(Neighbour(id="seed_7", score=0.25),), mean=0.125),
    )
    assert line_of(record).decode() == (
        '{"id":"bootstrap-0-1-2","instruction":"给窗台上的花浇水。","lang":"zh",'
        '"novelty":{"mode":"exact","nearest":[{"id":"seed_7","score":0.25}],"mean":0.125},'
        '"provenance":{"seeds":["seed_7"],"parents":[],"prompts":[],"models":[],"calls":[]}}\n'
    )
    reject = Reject(id="bootstrap-0-1-3", provenance=Provenance(), stage="bootstrap", reason="too_short")
    assert list(orjson.loads(line_of(reject))) == [
        *("id", "stage", "reason", "detail", "unusable", "candidate", "nearest", "provenance"),
    ]


def test_a_stage_is_its_shards_its_rejects_and_a_manifest(folder: Path) -> None:
    """Two rounds a shard, the last one shorter; the manifest counts and names every byte."""
    filled(folder)
    files = contents(folder)
    assert sorted(files) == [
        *("manifest.json", "rejects-0.jsonl", "rejects-1.jsonl", "rejects-2.jsonl"),
        *("shard-0.jsonl", "shard-1.jsonl", "shard-2.jsonl"),
    ]
    assert [orjson.loads(line)["id"] for line in files["shard-1.jsonl"].splitlines()] == IDS[2] + IDS[3]
    assert [orjson.loads(line)["reason"] for line in files["rejects-0.jsonl"].splitlines()] == [
        *("too_similar", "truncated"),
    ]
    assert files["rejects-2.jsonl"] == b""
    manifest = json.loads(files["manifest.json"])
    shards = manifest.pop("shards")
    assert manifest == {"stage": "bootstrap", "kind": "Instruction", "state": "complete", "rounds_per_shard": 2}
    assert list(shards[0].items()) == [
        ("number", 0),
        ("rounds", 2),
        ("jobs", 5),
        ("barren", 3),
        ("accepted", 3),
        ("rejects", {"too_similar": 1, "truncated": 1}),
        ("unusable", 1),
        ("recent", "11001"),
        ("sha256", hashlib.sha256(files["shard-0.jsonl"]).hexdigest()),
        ("rejects_sha256", hashlib.sha256(files["rejects-0.jsonl"]).hexdigest()),
    ]
    assert [(shard["rounds"], shard["accepted"]) for shard in shards] == [(2, 3), (2, 3), (1, 1)]


def test_the_manifest_adds_up(folder: Path) -> None:
    """Its rounds and records are those of the store."""
    store = filled(folder)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert (manifest.rounds, manifest.accepted) == (store.rounds, store.accepted) == (5, 7)


def test_a_stage_without_a_record_still_has_a_manifest(folder: Path) -> None:
    """Zero rounds are done: nothing but the state is written."""
    opened(folder).finish("exhausted")
    ended = {"stage": "bootstrap", "kind": "Instruction", "state": "exhausted", "rounds_per_shard": 2, "shards": []}
    assert contents(folder) == {"manifest.json": pretty(ended)}


def test_what_is_told_of_all_records_stands_in_the_manifest_of_a_finished_stage(folder: Path) -> None:
    """It is there again as long as the stage is whole; a stage that goes on past its end has nothing to tell yet."""
    store = opened(folder)
    store.add_round([])
    store.finish("complete", {"records": 0})
    told = read_manifest(folder)
    assert told is not None and told.audit == {"records": 0}
    whole, longer = opened(folder), opened(folder)
    whole.load(whole_shards_only=False)
    longer.load(whole_shards_only=True)
    assert (whole.manifest.audit, longer.manifest.audit) == ({"records": 0}, None)


def test_json_for_people_is_indented_and_ends_with_a_line_feed() -> None:
    """Keys stay in their order."""
    assert pretty({"b": [1], "a": "字"}) == '{\n  "b": [\n    1\n  ],\n  "a": "字"\n}\n'.encode()


def test_an_id_names_its_round() -> None:
    """Of a candidate as of a whole answer."""
    assert [round_of("bootstrap-12-3-5"), round_of("best_of_n-0-3")] == [12, 0]


@settings(max_examples=60)
@given(texts=st.lists(st.text(), max_size=8))
def test_any_text_comes_back_from_disk(texts: list[str]) -> None:
    """Line feeds, quotes, U+2028, NUL, emoji: one record is one line, and reads as it was written."""
    records: list[Record | Reject] = [
        Instruction(id=f"bootstrap-0-0-{i}", provenance=FROM_SEED, instruction=text, lang="en")
        for i, text in enumerate(texts)
    ]
    with TemporaryDirectory() as name, mock.patch.object(os, "fsync"):
        store = opened(Path(name))
        store.add_round([records])
        assert list(store.upto(1)) == records
        store.finish("complete")
        again = opened(Path(name))
        assert again.load(whole_shards_only=False) == []
        assert list(again.upto(1)) == list(store.upto(1)) == records


# --- one rename -----------------------------------------------------------------------------------------------------


@contextmanager
def a_step_fails(step: str) -> Iterator[None]:
    """The step of writing a file that fails: opening the temporary one, its flush, the rename, the folder's flush."""
    full = OSError(errno.ENOSPC, "No space left on device")
    steps: dict[str, Callable[[], object]] = {
        "open": lambda: mock.patch.object(Path, "open", side_effect=full),
        "flush": lambda: mock.patch.object(os, "fsync", side_effect=full),
        "rename": lambda: mock.patch.object(Path, "replace", side_effect=full),
        "flush of the folder": lambda: mock.patch.object(os, "fsync", side_effect=[None, full]),
    }
    with steps[step]():  # type: ignore[attr-defined]
        yield


@pytest.mark.faults
@pytest.mark.parametrize(
    ("step", "left"), [("open", b"old"), ("flush", b"old"), ("rename", b"old"), ("flush of the folder", b"new")]
)
def test_a_failing_step_leaves_the_old_bytes_or_the_new(tmp_path: Path, step: str, left: bytes) -> None:
    """And says which file could not be written, and why."""
    path = tmp_path / "shard-0.jsonl"
    write_whole(path, b"old")
    with (
        a_step_fails(step),
        pytest.raises(OutputFailed, match=r"shard-0\.jsonl: cannot write: No space left on device"),
    ):
        write_whole(path, b"new")
    assert path.read_bytes() == left
    write_whole(path, b"newer")
    assert contents(tmp_path) == {"shard-0.jsonl": b"newer"}


@pytest.mark.faults
def test_a_disk_that_fills_up_half_way_leaves_the_old_bytes(tmp_path: Path) -> None:
    """The half is in the temporary file."""
    path = tmp_path / "shard-0.jsonl"
    write_whole(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OutputFailed, match="File too large"):
            write_whole(path, b"new" * 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    files = contents(tmp_path)
    assert (files["shard-0.jsonl"], len(files[".shard-0.jsonl.tmp"])) == (b"old", 20_000)


def test_a_folder_that_is_not_there_is_an_io_failure(tmp_path: Path) -> None:
    """It is not made behind the user's back."""
    with pytest.raises(OutputFailed, match="No such file or directory"):
        write_whole(tmp_path / "gone" / "manifest.json", b"{}")


def test_rejects_are_written_first_and_the_manifest_last(folder: Path) -> None:
    """Bytes are flushed, renamed, and the rename flushed, before the next file is begun."""
    steps: list[str] = []
    rename, fsync = Path.replace, os.fsync

    def renamed(self: Path, target: Path) -> Path:
        steps.append(target.name)
        return rename(self, target)

    def flushed(file: int) -> None:
        steps.append("flush")
        fsync(file)

    with mock.patch.object(Path, "replace", renamed), mock.patch.object(os, "fsync", flushed):
        opened(folder, rounds_per_shard=1).add_round(ROUNDS[0])
    names = ["rejects-0.jsonl", "shard-0.jsonl", "manifest.json"]
    assert steps == [step for name in names for step in ("flush", name, "flush")]


class Killed(BaseException):
    """The process ends here; nothing catches it, as nothing catches SIGKILL."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """The process ends before its ``step``-th flush or rename."""
    countdown = iter(range(step, 0, -1))
    rename, fsync = Path.replace, os.fsync

    def count() -> None:
        if next(countdown) == 1:
            raise Killed

    def renamed(self: Path, target: Path) -> Path:
        count()
        return rename(self, target)

    def flushed(file: int) -> None:
        count()
        fsync(file)

    with mock.patch.object(Path, "replace", renamed), mock.patch.object(os, "fsync", flushed), pytest.raises(Killed):
        yield


@pytest.mark.faults
@pytest.mark.parametrize("step", range(1, 19))
def test_killed_at_any_step_and_run_again_gives_the_same_bytes(tmp_path: Path, step: int) -> None:
    """At each flush and rename of two shards: what is named is whole, the rest is derived again."""
    undisturbed, disturbed = tmp_path / "a" / "bootstrap", tmp_path / "b" / "bootstrap"
    for folder in (undisturbed, disturbed):
        folder.mkdir(parents=True)
    filled(undisturbed)
    with killed_at(step):
        filled(disturbed)
    store = opened(disturbed)
    assert store.load(whole_shards_only=True) == []
    assert store.rounds == 2 * ((step - 1) // 9) + 2 * ((step - 1) % 9 == 8)
    assert not list(disturbed.glob(".*"))
    go_on(store)
    assert contents(disturbed) == contents(undisturbed)


@pytest.mark.faults
def test_a_shard_that_cannot_be_written_is_not_in_the_manifest(folder: Path) -> None:
    """What was committed before stays; run again, the stage becomes what it would have been."""
    store = opened(folder)
    for screened in ROUNDS[:3]:
        store.add_round(screened)
    committed = {name: data for name, data in contents(folder).items() if not name.startswith(".")}
    with a_step_fails("rename"), pytest.raises(OutputFailed, match=r"rejects-1\.jsonl"):
        store.add_round(ROUNDS[3])
    assert committed.items() <= contents(folder).items()
    again = opened(folder)
    assert again.load(whole_shards_only=True) == []
    go_on(again)
    files = contents(folder)
    assert files == contents(_beside(folder))


def _beside(folder: Path) -> Path:
    """The folder of an undisturbed run."""
    other = folder.parent / "undisturbed" / folder.name
    other.mkdir(parents=True)
    filled(other)
    return other


# --- coming back ----------------------------------------------------------------------------------------------------


def test_a_stage_that_comes_back_is_as_it_was(folder: Path) -> None:
    """Counts, records, verdicts and state; nothing is written by looking."""
    before = filled(folder)
    files = contents(folder)
    after = opened(folder)
    assert after.load(whole_shards_only=False) == []
    assert (after.rounds, after.accepted, after.recent()) == (5, 7, before.recent())
    assert vars(after.tally) == vars(before.tally)
    assert after.manifest == before.manifest == read_manifest(folder)
    assert [ids(after.of_round(number)) for number in range(5)] == IDS
    assert contents(folder) == files


def test_a_new_stage_has_nothing_to_come_back_to(folder: Path) -> None:
    """No folder, an empty one, or one whose manifest cannot be read."""
    for content in (None, b"", b"[]", b'{"stage": "bootstrap"}', b"\xff"):
        if content is not None:
            (folder / "manifest.json").write_bytes(content)
        store = opened(folder)
        assert store.load(whole_shards_only=False) == []
        assert (store.rounds, store.accepted, store.recent()) == (0, 0, "")
        assert read_manifest(folder) is None
    assert opened(folder / "nowhere").load(whole_shards_only=False) == []


def test_what_a_crash_left_half_written_is_swept_away(folder: Path) -> None:
    """Temporary files of ours, and nothing else."""
    filled(folder)
    files = contents(folder)
    (folder / ".shard-3.jsonl.tmp").write_bytes(b"hal")
    (folder / "notes.tmp").write_bytes(b"mine")
    opened(folder).load(whole_shards_only=False)
    assert contents(folder) == files | {"notes.tmp": b"mine"}


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a byte of the shard": lambda f: (f / "shard-1.jsonl").write_bytes(
        (f / "shard-1.jsonl").read_bytes().replace(b"Water", b"Later", 1)
    ),
    "a byte of the rejects": lambda f: (f / "rejects-1.jsonl").write_bytes(
        (f / "rejects-1.jsonl").read_bytes().replace(b"similar", b"Similar", 1)
    ),
    "a line short": lambda f: (f / "shard-1.jsonl").write_bytes((f / "shard-1.jsonl").read_bytes().split(b"\n")[0]),
    "no shard": lambda f: (f / "shard-1.jsonl").unlink(),
    "no rejects": lambda f: (f / "rejects-1.jsonl").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("whole_shards_only", [True, False])
def test_a_damaged_shard_is_noted_and_derived_again(
    folder: Path, damage: Callable[[Path], object], whole_shards_only: bool
) -> None:
    """With all that come after it; those before it stand. The end is the same bytes."""
    filled(folder)
    files = contents(folder)
    damage(folder)
    store = opened(folder)
    assert store.load(whole_shards_only=whole_shards_only) == [
        f"{folder}/shard-1.jsonl is not as its manifest says: derived again from the ledger"
    ]
    assert (store.rounds, ids(store.upto(2)), store.manifest.state) == (2, IDS[0] + IDS[1], "running")
    assert (store.tally.rounds, store.tally.accepted, store.recent()) == (2, 3, "11001")
    go_on(store)
    assert contents(folder) == files


@pytest.mark.parametrize(("field", "wrong"), [("rounds", 1), ("rounds", 0), ("accepted", 4), ("accepted", 2)])
def test_a_manifest_that_miscounts_is_not_believed(folder: Path, field: str, wrong: int) -> None:
    """The shard's own lines say how many rounds and records it has."""
    filled(folder)
    files = contents(folder)
    manifest = json.loads(files["manifest.json"])
    manifest["shards"][1][field] = wrong
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest))
    store = opened(folder)
    assert len(store.load(whole_shards_only=False)) == 1
    assert (store.rounds, ids(store.upto(2))) == (2, IDS[0] + IDS[1])
    go_on(store)
    assert contents(folder) == files


def test_going_on_leaves_out_the_last_shorter_shard(folder: Path) -> None:
    """Its rounds will stand in a whole one; without going on it stays."""
    filled(folder)
    going_on, staying = opened(folder), opened(folder)
    assert going_on.load(whole_shards_only=True) == staying.load(whole_shards_only=False) == []
    assert (going_on.rounds, going_on.manifest.state) == (4, "running")
    assert (staying.rounds, staying.manifest.state) == (5, "complete")


@pytest.mark.parametrize("first", range(6))
def test_an_extended_stage_equals_one_that_went_straight_there(folder: Path, first: int) -> None:
    """Wherever it had stopped, at the end of a shard or within one."""
    filled(folder, ROUNDS[:first])
    store = opened(folder)
    store.load(whole_shards_only=True)
    assert (store.rounds, store.manifest.state) == (first - first % 2, "running")
    go_on(store)
    assert contents(folder) == contents(_beside(folder))


VERDICTS = st.lists(st.text("ktu", max_size=4), max_size=3)


@settings(max_examples=60)
@given(st.lists(VERDICTS, max_size=7), st.integers(1, 3), st.lists(st.integers(0, 7), max_size=4))
def test_the_bytes_do_not_tell_how_often_a_run_was_stopped(
    plan: list[list[str]], rounds_per_shard: int, stops: list[int]
) -> None:
    """Any rounds, any shard size, stopped anywhere: the same files, and a tally that is the manifest's sum."""
    rounds = [a_round(number, *jobs) for number, jobs in enumerate(plan)]
    with TemporaryDirectory() as name, mock.patch.object(os, "fsync"):
        once, often = Path(name, "once", "bootstrap"), Path(name, "often", "bootstrap")
        for folder in (once, often):
            folder.mkdir(parents=True)
        straight = opened(once, rounds_per_shard)
        go_on(straight, rounds)
        for stop in sorted(stops):
            stopped = opened(often, rounds_per_shard)
            assert stopped.load(whole_shards_only=True) == []
            for screened in rounds[stopped.rounds : stop]:
                stopped.add_round(screened)
        last = opened(often, rounds_per_shard)
        last.load(whole_shards_only=True)
        go_on(last, rounds)
        assert contents(often) == contents(once)
        assert ids(last.upto(len(rounds))) == ids(straight.upto(len(rounds)))
        _assert_the_tally_is_the_manifests_sum(last)


def _assert_the_tally_is_the_manifests_sum(store: StageStore[Instruction]) -> None:
    summed = Tally()
    for shard in store.manifest.shards:
        summed.add(shard)
    assert vars(summed) == vars(store.tally)
    assert (summed.rounds, summed.accepted) == (store.rounds, store.accepted)


# --- reading --------------------------------------------------------------------------------------------------------


def test_rounds_are_read_from_disk_and_from_the_open_shard_alike(folder: Path) -> None:
    """Four rounds in shards, the fifth in memory: one sequence of records."""
    store = opened(folder)
    for screened in ROUNDS:
        store.add_round(screened)
    assert [path.name for path in sorted(folder.glob("shard*"))] == ["shard-0.jsonl", "shard-1.jsonl"]
    assert [ids(store.of_round(number)) for number in range(5)] == IDS
    assert [ids(store.upto(rounds)) for rounds in range(6)] == [flat(IDS[:rounds]) for rounds in range(6)]
    assert store.record(0) == ROUNDS[0][0][0]
    assert store.record(6) == ROUNDS[4][0][0]


def test_before_the_first_round_the_pool_is_empty(folder: Path) -> None:
    """The lag of the first rounds reaches back before the beginning."""
    store = filled(folder)
    assert [len(store.upto(rounds)) for rounds in (0, -1, -3)] == [0, 0, 0]
    assert (opened(folder).accepted, opened(folder).rounds) == (0, 0)


def test_a_view_is_a_sequence(folder: Path) -> None:
    """Indices from both ends, slices, and an IndexError past them."""
    view = filled(folder).upto(4)
    expected = flat(IDS[:4])
    assert (len(view), ids(view)) == (6, expected)
    assert [view[i].id for i in range(-6, 6)] == expected * 2
    assert [ids(view[1:3]), ids(view[::-2]), ids(view[9:])] == [expected[1:3], expected[::-2], []]
    for outside in (6, -7):
        with pytest.raises(IndexError):
            view[outside]
    with pytest.raises(IndexError):
        filled(folder).of_round(2)[0]


def test_a_view_outlives_the_shard_it_was_taken_from(folder: Path) -> None:
    """What was in memory when it was taken is read from disk later."""
    store = opened(folder)
    store.add_round(ROUNDS[0])
    view = store.upto(1)
    assert ids(view) == IDS[0]
    store.add_round(ROUNDS[1])
    assert (folder / "shard-0.jsonl").exists()
    assert ids(view) == IDS[0]


def test_reading_many_shards_keeps_no_file_open(folder: Path) -> None:
    """A million records are hundreds of shards, and a process may hold only so many files."""
    store = opened(folder, rounds_per_shard=1)
    with mock.patch.object(os, "fsync"):
        for number in range(30):
            store.add_round(a_round(number, "k"))
    before = len(os.listdir("/proc/self/fd"))
    assert len(ids(store.upto(30))) == 30
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_shard_that_changes_under_us_is_damage(folder: Path) -> None:
    """Cut short or gone while the run works: an error, neither a wait without end nor half a record."""
    store = filled(folder)
    shard = folder / "shard-0.jsonl"
    whole = shard.read_bytes()
    for length in (0, len(whole) - 1):
        shard.write_bytes(whole[:length])
        with pytest.raises(DamagedRun, match=r"shard-0\.jsonl: was cut short"):
            ids(store.upto(2))
    shard.unlink()
    with pytest.raises(DamagedRun, match=r"shard-0\.jsonl: cannot be read: No such file"):
        store.record(0)


def test_the_lines_of_a_stage_are_those_its_manifest_names(folder: Path) -> None:
    """In order; a shard that no manifest names does not count, and one that is missing is damage."""
    filled(folder)
    (folder / "shard-3.jsonl").write_bytes(b"left behind by a crash\n")
    assert [orjson.loads(line)["id"] for line in lines_of(folder, "shard")] == flat(IDS)
    assert [orjson.loads(line)["reason"] for line in lines_of(folder, "rejects")] == [
        *("too_similar", "truncated", "too_similar", "too_similar", "too_similar", "too_similar"),
    ]
    assert list(lines_of(folder.parent, "shard")) == []
    per_shard = opened(folder).manifest.rounds_per_shard
    assert list(lines_of(folder, "shard", per_shard)) == (folder / "shard-1.jsonl").read_bytes().splitlines(True)
    assert list(lines_of(folder, "shard", 10_000)) == []
    (folder / "shard-2.jsonl").unlink()
    with pytest.raises(DamagedRun, match=r"shard-2\.jsonl: cannot be read"):
        list(lines_of(folder, "shard"))
    edited = folder / "rejects-0.jsonl"
    edited.write_bytes(edited.read_bytes().replace(b"too_similar", b"too_familiar", 1))
    with pytest.raises(DamagedRun, match=r"rejects-0\.jsonl: is not as its manifest says"):
        list(lines_of(folder, "rejects"))


# --- counts ---------------------------------------------------------------------------------------------------------


def test_a_tally_counts_jobs_candidates_and_reasons() -> None:
    """A barren job gave no record; unusable is the answer, not the candidate a filter dropped."""
    tally = Tally()
    for job in a_round(0, "kkt", "tu", "", "u", "k"):
        tally.add_job(job)
    expected = {"rounds": 0, "jobs": 5, "barren": 3, "accepted": 3, "unusable": 2}
    assert vars(tally) == expected | {"rejects": {"too_similar": 2, "truncated": 2}}
    shard = Shard(
        number=0, rounds=2, jobs=10, barren=1, accepted=20, rejects={"truncated": 1, "new": 3}, unusable=1,
        recent="", sha256="", rejects_sha256="",
    )  # fmt: skip
    tally.add(shard)
    expected = {"rounds": 2, "jobs": 15, "barren": 4, "accepted": 23, "unusable": 3}
    assert vars(tally) == expected | {"rejects": {"too_similar": 2, "truncated": 3, "new": 3}}


def test_the_latest_verdicts_are_remembered_across_shards_and_starts(folder: Path) -> None:
    """At most 500, the newest last; a run that comes back has those up to its last whole shard."""
    store = opened(folder)
    verdicts = ""
    for number, job in enumerate(("k" * 300 + "t" * 100, "t" * 60 + "k" * 10, "u" * 90)):
        store.add_round(a_round(number, job))
        verdicts += job.replace("k", "1").replace("t", "0").replace("u", "0")
        assert store.recent() == verdicts[-WINDOW:]
    assert (WINDOW, len(store.recent())) == (500, 500)
    shutil.copytree(folder, elsewhere := folder.with_name("elsewhere"))
    again = opened(elsewhere)
    again.load(whole_shards_only=True)
    assert again.recent() == verdicts[:470]
    store.finish("complete")
    assert store.recent() == verdicts[-WINDOW:]
    again = opened(folder)
    again.load(whole_shards_only=False)
    assert again.recent() == verdicts[-WINDOW:]


def test_a_shard_that_loses_its_temporary_file_is_not_published(folder: Path) -> None:
    """Bytes that went away before the rename are a failure to write, not a shorter shard."""
    store = opened(folder)
    store.add_round(ROUNDS[0])
    (folder / ".shard-0.jsonl.tmp").write_bytes(b"")
    with pytest.raises(OutputFailed, match="changed behind our back"):
        store.finish("complete")
    assert not (folder / "shard-0.jsonl").exists()
    assert not (folder / "manifest.json").exists()
