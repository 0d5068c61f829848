"""A check finds every kind of damage, names the file, and finds none in what was only cut short or is being written."""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from selfinstruct import identity, ledger_audit, repairing, run_folder
from selfinstruct.errors import BadData, ConfigProblem, DamagedRun, SelfinstructError
from selfinstruct.findings import MOST, Report
from selfinstruct.schema import Draw
from selfinstruct.verifying import check
from tests.command import data_files, invoke
from tests.faults.answer_server import AnswerServer

STAGES = ("bootstrap", "classify", "instances")
LEDGER = "ledger.sqlite3"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of several shards a stage, the last one short, with rejects of every kind."""
    folder = tmp_path_factory.mktemp("output")
    with AnswerServer() as server:
        where = ("--api", "completion", "--base-url", server.url, "--output-dir", folder, "--run", "r", "-q")
        sets = ("--set", "rounds_per_shard=2", "--set", "round_size=4", "--set", "lag=2")
        assert invoke("generate", *where, *sets, "-n", 90).code == 0
    manifest = orjson.loads((folder / "r" / "bootstrap" / "manifest.json").read_bytes())
    assert [shard["rounds"] for shard in manifest["shards"]] == [2, 2, 1]
    return folder / "r"


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder of `complete`; the third of its eight requests was refused."""
    folder = tmp_path_factory.mktemp("completed")
    lines = [
        {
            "custom_id": f"q{n}",
            "method": "POST",
            "url": "/v1/completions",
            "body": {"prompt": f"<task {n}>", "max_tokens": 9},
        }
        for n in range(8)
    ]
    (folder / "requests.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    refusal = b'{"error": {"message": "this text was flagged", "type": "invalid_request_error"}}'
    with AnswerServer() as server:
        server.fault = lambda path, number: (400, refusal) if number == 2 else None
        where = ("--api", "chat", "--base-url", server.url, "--model", "m", "--concurrency", 1, "-q")
        assert invoke("complete", folder / "requests.jsonl", "--out", folder / "c", *where).code == 0
    return folder / "c"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "r"))


@pytest.fixture
def folder(completed: Path, tmp_path: Path) -> Path:
    """A copy of the folder of `complete`, to be damaged."""
    return Path(shutil.copytree(completed, tmp_path / "c"))


def flip(path: Path, at: float = 0.5) -> None:
    """Another bit in the byte at this part of the file."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


def lines(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of a file."""
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def edit(run: Path, statement: str) -> None:
    """Change the ledger behind everybody's back."""
    with closing(sqlite3.connect(run / LEDGER)) as db, db:
        assert db.execute(statement).rowcount > 0


def files_named(report: Report) -> set[str]:
    """The files that the findings name."""
    return {finding.where.partition(":")[0] for finding in report.findings}


# --- nothing is damaged ---------------------------------------------------------------------------------------------


def test_a_finished_run_is_sound_and_checking_it_writes_nothing(run: Path) -> None:
    """Every call, attempt and record was looked at."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    report = check(run)
    assert (report.findings, report.notes, report.in_use) == ([], [], False)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    for kind, counted in (("shard", "records"), ("rejects", "rejects")):
        assert report.counts[counted] == sum(
            data.count(b"\n") for name, data in data_files(run).items() if kind in name
        )
    with closing(sqlite3.connect(run / LEDGER)) as db:
        assert report.counts["calls"] == db.execute("SELECT count(*) FROM calls").fetchone()[0]


def test_a_folder_of_complete_is_sound(folder: Path) -> None:
    """Seven results and one error are compared with what the ledger gives."""
    report = check(folder)
    assert (report.findings, report.notes) == ([], [])
    assert (report.counts["result lines"], report.counts["error lines"], report.counts["calls"]) == (7, 1, 8)


def test_a_run_that_was_cut_short_is_sound(tmp_path: Path) -> None:
    """Open rounds are in the ledger alone, and shards that are there are whole."""
    with AnswerServer() as server:
        where = ("--api", "completion", "--base-url", server.url, "--output-dir", tmp_path, "--run", "cut", "-q")
        sets = ("--set", "rounds_per_shard=1", "--set", "round_size=2")
        server.fault = lambda path, number: (401, b'{"error": {"message": "bad key"}}') if number >= 150 else None
        assert invoke("generate", *where, *sets, "-n", 100).code == 77
    before = data_files(tmp_path / "cut")
    assert "bootstrap/shard-0.jsonl" in before
    assert check(tmp_path / "cut").findings == []
    repairing.rebuild(tmp_path / "cut")
    after = data_files(tmp_path / "cut")
    assert {name: after[name] for name in before if "manifest" not in name} == {
        name: data for name, data in before.items() if "manifest" not in name
    }
    assert check(tmp_path / "cut").findings == []


def test_what_a_crash_leaves_behind_is_a_note(run: Path) -> None:
    """Temporary files, attempts under way, and a shard that its manifest had no time to name."""
    (run / "classify" / ".shard-9.jsonl.tmp").write_bytes(b"half a li")
    manifest = run / "instances" / "manifest.json"
    written = orjson.loads(manifest.read_bytes())
    unnamed = written["shards"].pop()["number"]
    manifest.write_bytes(orjson.dumps({**written, "state": "running"}, option=orjson.OPT_INDENT_2) + b"\n")
    report = check(run)
    assert report.findings == []
    assert [note.partition(":")[0] for note in report.notes] == [
        "classify/.shard-9.jsonl.tmp",
        f"instances/rejects-{unnamed}.jsonl",
        f"instances/shard-{unnamed}.jsonl",
    ]


def test_a_longer_last_shard_that_the_manifest_does_not_know_yet_is_a_note(run: Path) -> None:
    """A run was being extended: the old shard is the beginning of the new one."""
    folder = run / "bootstrap"
    written = orjson.loads((folder / "manifest.json").read_bytes())
    last = written["shards"][-1]
    record = orjson.loads((folder / "shard-0.jsonl").read_bytes().splitlines()[0])
    rounds = sum(shard["rounds"] for shard in written["shards"])
    record["id"] = f"bootstrap-{rounds}-0-0"
    lines(folder / f"shard-{last['number']}.jsonl", lambda rows: [*rows, orjson.dumps(record) + b"\n"])
    report = check(run)
    assert report.findings == []
    assert [note.partition(":")[0] for note in report.notes] == [f"bootstrap/shard-{last['number']}.jsonl"]


def test_a_refused_call_of_settings_that_were_mended_is_a_note(folder: Path) -> None:
    """It was made for another address; no record and no result rests on it."""
    edit(folder, "UPDATE calls SET body = CAST(replace(body, 'm', 'n') AS BLOB) WHERE id = 3")
    report = check(folder)
    assert files_named(report) <= {"errors.jsonl"}
    assert report.notes[0].startswith("ledger.sqlite3: 1 calls without an answer were made for other settings")


def test_attempts_of_a_process_that_died_are_a_note(folder: Path) -> None:
    """They count as ambiguous when the run starts again; they excuse no missing line."""
    edit(folder, "UPDATE attempts SET state = 'reserved' WHERE call = 3")
    edit(folder, "DELETE FROM answers WHERE call = 3")
    (folder / "errors.jsonl").unlink()
    lines(folder / "results.jsonl", lambda rows: rows[:2])
    report = check(folder)
    assert [finding.where for finding in report.findings] == ["results.jsonl:3"]
    assert report.notes[0].startswith("ledger.sqlite3: 1 attempts were under way when the last process died")


def test_beside_a_process_that_works_on_the_run_what_moves_is_left_out(run: Path) -> None:
    """Stray and temporary files, the last shard and attempts under way are no findings then."""
    (run / "bootstrap" / "shard-77.jsonl").write_bytes(b"")
    with run_folder.held(run, allow_network=True):
        report = check(run)
    assert report.in_use
    assert report.findings == []
    assert report.notes[1:] == [f"{stage}: shard 2 may be replaced meanwhile: not checked" for stage in STAGES]
    assert files_named(check(run)) == {"bootstrap/shard-77.jsonl"}


# --- damage that can be derived anew --------------------------------------------------------------------------------

DERIVED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a byte of a shard": ("bootstrap/shard-0.jsonl", flip),
    "a byte of a short last shard": ("classify/shard-2.jsonl", flip),
    "a byte of the rejects": ("instances/rejects-0.jsonl", flip),
    "a deleted shard": ("classify/shard-0.jsonl", Path.unlink),
    "deleted rejects": ("bootstrap/rejects-0.jsonl", Path.unlink),
    "a deleted line": ("instances/shard-0.jsonl", lambda path: lines(path, lambda rows: rows[:3] + rows[4:])),
    "a line twice": ("bootstrap/shard-0.jsonl", lambda path: lines(path, lambda rows: rows[:4] + rows[3:])),
    "the last line twice": ("bootstrap/shard-2.jsonl", lambda path: lines(path, lambda rows: [*rows, rows[-1]])),
    "lines swapped": ("classify/shard-0.jsonl", lambda path: lines(path, lambda rows: rows[1::-1] + rows[2:])),
    "a cut last line": ("instances/shard-2.jsonl", lambda path: path.write_bytes(path.read_bytes()[:-9])),
    "zeroes behind the end": ("bootstrap/shard-0.jsonl", lambda path: path.write_bytes(path.read_bytes() + b"\0" * 99)),
    "a shard nobody wrote": ("instances/shard-9.jsonl", lambda path: path.write_bytes(b"{}\n")),
    "a manifest that is no JSON": ("classify/manifest.json", lambda path: path.write_bytes(b"{")),
    "an empty manifest": ("classify/manifest.json", lambda path: path.write_bytes(b"")),
}


@pytest.mark.parametrize("kind", DERIVED)
def test_damage_is_found_in_the_file_and_mended_by_rebuild(finished: Path, run: Path, kind: str) -> None:
    """The finding names the file; after `rebuild` every file is, byte for byte, what it was."""
    name, harm = DERIVED[kind]
    harm(run / name)
    report = check(run)
    assert files_named(report) == {name}
    assert all("selfinstruct rebuild" in finding.hint for finding in report.findings)
    done = repairing.rebuild(run)
    assert [*done.changed, *done.removed] == [name]
    assert data_files(run) == data_files(finished)
    assert check(run).findings == []


def test_a_deleted_manifest_is_found_by_what_was_made_of_its_stage(finished: Path, run: Path) -> None:
    """The stage after it has shards, so it had a manifest."""
    (run / "bootstrap" / "manifest.json").unlink()
    assert "bootstrap/manifest.json: is missing, while classify has shards" in " ".join(map(str, check(run).findings))
    repairing.rebuild(run)
    assert data_files(run) == data_files(finished)


def test_a_run_whose_extension_was_cut_short_is_rebuilt_as_it_was(run: Path) -> None:
    """The shards of the smaller target are what it has; the answers of the larger one stay in the ledger."""
    for stage in STAGES:
        started = identity.read(run / stage)
        assert started is not None
        identity.write(run / stage, started.model_copy(update={"target": 500}))
    before = data_files(run)
    flip(run / "bootstrap" / "shard-2.jsonl")
    assert repairing.rebuild(run).changed == ["bootstrap/shard-2.jsonl"]
    assert data_files(run) == before


@pytest.mark.parametrize("at", [n / 16 + 0.01 for n in range(16)])
def test_any_flipped_byte_of_a_manifest_is_found_and_mended(finished: Path, run: Path, at: float) -> None:
    """Names, counts, verdicts, hashes, white space: whichever it is."""
    flip(run / "classify" / "manifest.json", at)
    assert "classify/manifest.json" in " ".join(map(str, check(run).findings))
    repairing.rebuild(run)
    assert data_files(run) == data_files(finished)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"jobs": ', '"jobs": 1'),
        ('"barren": ', '"barren": 1'),
        ('"unusable": ', '"unusable": 1'),
        ('"recent": "1', '"recent": "0'),
    ],
)
def test_a_wrong_count_in_a_manifest_is_found(run: Path, old: str, new: str) -> None:
    """Though both files are those that it names."""
    manifest = run / "instances" / "manifest.json"
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new, 1))
    assert files_named(check(run)) == {"instances/manifest.json"}


def test_a_file_of_somebody_else_is_found_and_left_alone(run: Path) -> None:
    """It is not ours to remove."""
    (run / "bootstrap" / "notes.txt").write_bytes(b"mine")
    (finding,) = check(run).findings
    assert (finding.where, finding.hint) == ("bootstrap/notes.txt", "move it elsewhere")
    repairing.rebuild(run)
    assert (run / "bootstrap" / "notes.txt").read_bytes() == b"mine"


def test_of_many_findings_in_one_file_the_first_are_listed_and_the_others_counted(run: Path) -> None:
    """A ledger without its answers has a finding for each."""
    edit(run, "UPDATE answers SET digest = x'00'")
    report = check(run)
    assert len(report.findings) == MOST
    assert report.notes == [f"{LEDGER}: {report.counts['answers'] - MOST} more findings of this file are not listed"]


# --- damage that cannot ---------------------------------------------------------------------------------------------

LOST: dict[str, str] = {
    "an answer": "UPDATE answers SET answer = CAST(replace(answer, 'o', 'a') AS BLOB) WHERE call = 5",
    "an answer's state": "UPDATE answers SET state = 'refused' WHERE call = 5",
    "a body": "UPDATE calls SET body = CAST(replace(body, 'a', 'e') AS BLOB) WHERE id = 5",
    "a key": "UPDATE calls SET key = zeroblob(32) WHERE id = 5",
    "a draw": "UPDATE calls SET step = 3 WHERE id = 5",
    "a path": "UPDATE calls SET path = '/v1/chat/completions' WHERE id = 5",
    "an answer deleted": "DELETE FROM answers WHERE call = 5",
    "a call deleted": "DELETE FROM calls WHERE id = 5",
    "two settled attempts": "INSERT INTO attempts SELECT 99999, call, epoch, stage, state, outcome, prompt_tokens,"
    " completion_tokens, cost, reserved_at, ended_at FROM attempts WHERE call = 5",
    "no settled attempt": "UPDATE attempts SET state = 'failed' WHERE call = 5",
    "a negative count": "UPDATE attempts SET prompt_tokens = -1 WHERE call = 5",
    "an unknown state": "UPDATE attempts SET state = 'fine' WHERE call = 5",
    "an attempt of no call": "UPDATE attempts SET call = 99999 WHERE call = 5",
    "an attempt of another stage": "UPDATE attempts SET stage = 'instances' WHERE call = 5",
    "an attempt of the future": "UPDATE attempts SET epoch = 99 WHERE call = 5",
}


@pytest.mark.parametrize("kind", LOST)
def test_a_changed_ledger_is_found(run: Path, kind: str) -> None:
    """Every column that is about a call, its answer or its attempts."""
    edit(run, LOST[kind])
    report = check(run)
    assert LEDGER in files_named(report)
    assert files_named(report) <= {
        LEDGER,
        *(f"{stage}/shard-0.jsonl" for stage in STAGES),
        *(f"{stage}/rejects-0.jsonl" for stage in STAGES),
    }


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE calls SET round = -1 WHERE id = 5", "body, path or draw is not what the key was made of"),
        ("UPDATE calls SET slot = 'x' WHERE id = 5", "body, path or draw is not what the key was made of"),
        ("UPDATE answers SET answer = CAST(answer AS TEXT) WHERE call = 5", "the answer is not the one that was"),
    ],
    ids=["a round below zero", "a slot that is no number", "an answer that is no bytes"],
)
def test_a_value_that_cannot_stand_in_its_column_is_damage_of_that_call(run: Path, statement: str, what: str) -> None:
    """It is told like any other change, by the call it belongs to; nothing trips over it."""
    with closing(sqlite3.connect(run / LEDGER)) as db:
        (key,) = db.execute("SELECT hex(key) FROM calls WHERE id = 5").fetchone()
    edit(run, statement)
    found = [finding for finding in check(run).findings if finding.what.startswith(what)]
    assert [finding.where for finding in found] == [f"{LEDGER}:call {key[:12].lower()}"]


def test_an_index_that_does_not_find_a_call_is_found(run: Path) -> None:
    """Such a call would be asked, and paid for, again."""
    with closing(sqlite3.connect(run / LEDGER)) as db:
        (key,) = db.execute("SELECT key FROM calls WHERE id = 5").fetchone()
    data = (run / LEDGER).read_bytes()
    in_the_index = re.compile(re.escape(key) + b"(?!/v1/)")  # in its row, the path follows the key
    damaged, times = in_the_index.subn(lambda _: bytes([key[0] ^ 1]) + key[1:], data)
    assert times >= 1
    (run / LEDGER).write_bytes(damaged)
    (finding,) = check(run).findings
    assert finding.where == LEDGER
    assert finding.what.startswith("SQLite says: ") and "calls_by_draw" in finding.what


@pytest.mark.parametrize("table", ["calls", "answers", "attempts"])
def test_a_ledger_that_has_lost_a_table_cannot_be_read_to_its_end(run: Path, table: str) -> None:
    """A finding that says so, and none for the records, which cannot be compared with anything."""
    with closing(sqlite3.connect(run / LEDGER)) as db:
        db.execute(f"DROP TABLE {table}")
    assert [(finding.where, finding.what) for finding in check(run).findings] == [
        (LEDGER, f"cannot be read to its end: no such table: {table}")
    ]


def test_a_ledger_without_its_tables_is_one_clear_error_to_who_asks_for_calls(run: Path) -> None:
    """It names the file."""
    with closing(sqlite3.connect(run / LEDGER)) as db:
        db.execute("DROP TABLE answers")
    wanted: list[Callable[[Path], object]] = [
        ledger_audit.answers_by_state,
        lambda path: ledger_audit.calls_with(path, "ab"),
        lambda path: ledger_audit.calls_of(path, Draw(stage="bootstrap", round=0, slot=0)),
    ]
    for ask in wanted:
        with pytest.raises(SelfinstructError, match=r"ledger\.sqlite3: .*no such table: answers"):
            ask(run / LEDGER)


def test_a_ledger_of_an_older_version_is_not_judged(run: Path) -> None:
    """Its tables are others; the next start brings it up to date."""
    with closing(sqlite3.connect(run / LEDGER)) as db:
        db.execute("PRAGMA user_version = 1")
    with pytest.raises(ConfigProblem, match=r"ledger\.sqlite3: written by an older selfinstruct; run its command"):
        check(run)


def test_a_call_is_known_by_its_key_alone(run: Path) -> None:
    """By that of a call, its stage, round, slot and state; by no other, and by nothing that is no key."""
    with closing(sqlite3.connect(run / LEDGER)) as db:
        key, *columns = db.execute(
            "SELECT hex(key), stage, round, slot, state FROM calls JOIN answers ON call = id WHERE id = 5"
        ).fetchone()
    with ledger_audit.LedgerAudit(Report(run)) as audit:
        audit.check({})
        assert audit.call(key) == tuple(columns)
        assert [audit.call(other) for other in ("00" * 32, "no key", key[:-1])] == [None, None, None]


@pytest.mark.parametrize("kind", ["an answer", "an answer's state"])
def test_rebuild_refuses_a_damaged_answer_and_changes_nothing(run: Path, kind: str) -> None:
    """It names the call; nothing is guessed."""
    flip(run / "bootstrap" / "shard-0.jsonl")
    edit(run, LOST[kind])
    before = data_files(run)
    with pytest.raises(DamagedRun, match=r"the answer of call [0-9a-f]{12} is not the one that was recorded"):
        repairing.rebuild(run)
    assert data_files(run) == before


@pytest.mark.parametrize("kind", ["a key", "an answer deleted", "a call deleted"])
def test_rebuild_refuses_a_ledger_that_has_lost_an_answer(run: Path, kind: str) -> None:
    """The shards it can no longer derive stay as they are."""
    edit(run, LOST[kind])
    before = data_files(run)
    with pytest.raises(DamagedRun, match=r"has lost the answer of call [a-z]+/\d+/\d+/0/\d+"):
        repairing.rebuild(run)
    assert data_files(run) == before


@pytest.mark.parametrize("size", [0, 1, 512, 4096, 40_000])
def test_a_truncated_ledger_is_found_and_nothing_is_rebuilt_from_it(run: Path, size: int) -> None:
    """Wherever it was cut."""
    (run / LEDGER).write_bytes((run / LEDGER).read_bytes()[:size])
    before = data_files(run)
    assert LEDGER in files_named(check(run))
    assert invoke("rebuild", run).code in (5, 65, 74)
    assert data_files(run) == before


def test_a_missing_ledger_is_found(run: Path) -> None:
    """And none is made."""
    (run / LEDGER).unlink()
    assert LEDGER in files_named(check(run))
    assert not (run / LEDGER).exists()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("at", [0.01, 0.03, 0.1, 0.5, 0.999])
def test_a_flipped_byte_of_stage_json_is_found(run: Path, stage: str, at: float) -> None:
    """In the settings, the prompts or the seal itself; no call is blamed for it, and rebuild refuses."""
    flip(run / stage / "stage.json", at)
    before = data_files(run)
    assert files_named(check(run)) == {f"{stage}/stage.json"}
    with pytest.raises(DamagedRun, match=r"stage\.json"):
        repairing.rebuild(run)
    assert data_files(run) == before


def test_a_deleted_stage_is_found(run: Path) -> None:
    """By the calls that were made for it."""
    shutil.rmtree(run / "instances")
    assert files_named(check(run)) == {"instances/stage.json"}


# --- complete -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["results.jsonl", "errors.jsonl"])
@pytest.mark.parametrize(
    "harm",
    [
        flip,
        Path.unlink,
        lambda path: lines(path, lambda rows: rows[:-1]),
        lambda path: lines(path, lambda rows: rows[:1] + rows[2:] if len(rows) > 1 else []),
        lambda path: lines(path, lambda rows: [*rows, rows[-1]]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    ],
    ids=["byte", "deleted", "last line", "a line", "twice", "zero"],
)
def test_edited_results_are_found_and_derived_anew(
    completed: Path, folder: Path, name: str, harm: Callable[[Path], object]
) -> None:
    """Byte for byte what they were."""
    harm(folder / name)
    assert files_named(check(folder)) == {name}
    assert repairing.rebuild(folder).changed == [name]
    assert (folder / name).read_bytes() == (completed / name).read_bytes()
    assert check(folder).findings == []


def test_without_the_file_of_requests_the_results_are_not_compared(folder: Path, tmp_path: Path) -> None:
    """A note, since the file was the user's to remove or change; rebuild needs it."""
    moved = orjson.loads((folder / "complete" / "requests.json").read_bytes())
    moved["path"] = str(tmp_path / "gone.jsonl")
    (folder / "complete" / "requests.json").write_bytes(orjson.dumps(moved))
    report = check(folder)
    assert report.findings == []
    assert "were not compared" in report.notes[0]
    assert f"{tmp_path}/gone.jsonl: cannot read the requests" in report.notes[0]
    ended = invoke("rebuild", folder)
    assert (ended.code, ended.err.count("\n")) == (65, 1)


def older(folder: Path) -> None:
    """Let the results be those of a start that had five requests answered and none refused."""
    lines(folder / "results.jsonl", lambda rows: rows[:5])
    (folder / "errors.jsonl").unlink()
    data = (folder / "results.jsonl").read_bytes()
    marks = orjson.loads((folder / "complete" / "results.json").read_bytes())
    marks |= {"answered": 5, "failed": 0}
    marks["files"] = {"results.jsonl": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
    (folder / "complete" / "results.json").write_bytes(orjson.dumps(marks))


def test_results_that_a_start_had_no_time_to_write_anew_are_a_note(completed: Path, folder: Path) -> None:
    """They are as an earlier start has left them; rebuild writes them, and their marks, as if nothing had happened."""
    older(folder)
    report = check(folder)
    assert report.findings == []
    assert [note.partition(" (")[0] for note in report.notes] == [
        "results.jsonl: is older than the ledger",
        "errors.jsonl: is older than the ledger",
    ]
    assert repairing.rebuild(folder).changed == ["results.jsonl", "errors.jsonl"]
    for name in ("results.jsonl", "errors.jsonl", "complete/results.json"):
        assert (folder / name).read_bytes() == (completed / name).read_bytes()
    report = check(folder)
    assert (report.findings, report.notes) == ([], [])


@pytest.mark.parametrize("harm", [flip, Path.unlink], ids=["byte", "deleted"])
def test_older_results_that_are_not_as_they_were_written_are_damage(
    folder: Path, harm: Callable[[Path], object]
) -> None:
    """Neither what the ledger gives, nor what is marked."""
    older(folder)
    harm(folder / "results.jsonl")
    assert files_named(check(folder)) == {"results.jsonl"}


def test_a_start_cut_off_between_its_results_and_their_marks_left_a_sound_folder(folder: Path) -> None:
    """The results are what the ledger gives, whatever the marks say."""
    now = {name: (folder / name).read_bytes() for name in ("results.jsonl", "errors.jsonl")}
    older(folder)
    for name, data in now.items():
        (folder / name).write_bytes(data)
    report = check(folder)
    assert (report.findings, report.notes) == ([], [])


def test_results_that_were_never_written_are_a_note(folder: Path) -> None:
    """A first start that was killed has neither results nor marks."""
    for name in ("results.jsonl", "errors.jsonl", "complete/results.json"):
        (folder / name).unlink()
    report = check(folder)
    assert report.findings == []
    assert report.notes == ["results.jsonl: is not written yet", "errors.jsonl: is not written yet"]


@pytest.mark.parametrize("change", ["other", "longer", "gone"])
def test_rebuild_refuses_requests_that_are_not_those_that_were_checked(
    folder: Path, tmp_path: Path, change: str
) -> None:
    """Naming the file and what says so; the results stay."""
    checked = orjson.loads((folder / "complete" / "requests.json").read_bytes())
    data = Path(checked["path"]).read_bytes()
    checked["path"] = str(tmp_path / "requests.jsonl")
    (folder / "complete" / "requests.json").write_bytes(orjson.dumps(checked))
    if change != "gone":
        other = data.replace(b"<task 1>", b"<task 9>") if change == "other" else data + data.splitlines(True)[0]
        (tmp_path / "requests.jsonl").write_bytes(other)
    before = data_files(folder)
    with pytest.raises(BadData) as raised:
        repairing.rebuild(folder)
    assert str(raised.value).startswith(f"{tmp_path}/requests.jsonl: ")
    assert f"; {folder}/complete/requests.json says what was checked" in str(raised.value)
    assert data_files(folder) == before


def test_rebuild_refuses_to_replace_results_by_the_fewer_of_another_file(folder: Path, tmp_path: Path) -> None:
    """Whose requests were checked, but by a start that went no further; to verify, the results are older."""
    checked = orjson.loads((folder / "complete" / "requests.json").read_bytes())
    data = Path(checked["path"]).read_bytes().replace(b"<task 1>", b"<task 9>")
    (tmp_path / "other.jsonl").write_bytes(data)
    checked |= {"path": str(tmp_path / "other.jsonl"), "sha256": hashlib.sha256(data).hexdigest(), "edited": True}
    (folder / "complete" / "requests.json").write_bytes(orjson.dumps(checked))
    before = data_files(folder)
    report = check(folder)
    assert (report.findings, len(report.notes)) == ([], 1)
    assert report.notes[0].startswith("results.jsonl: is older than the ledger")
    with pytest.raises(BadData, match=r"other\.jsonl: has 7 answers, and the results in .* are the 8 of another file"):
        repairing.rebuild(folder)
    assert data_files(folder) == before
