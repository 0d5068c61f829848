"""The ledger's file over time: an older one is brought up to date whole or not at all, a newer one is left alone."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from selfinstruct import ledger_file, wire
from selfinstruct.errors import ConfigProblem, DamagedRun, OutputFailed, RequestRefused, SelfinstructError
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_reader import LedgerReader, Spending
from selfinstruct.money import Price
from selfinstruct.schema import Completion, Draw

ROOT = Path(__file__).resolve().parents[1]

# As version 1 made it.
VERSION_1 = """
CREATE TABLE IF NOT EXISTS epoch (value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, draw TEXT NOT NULL, stage TEXT NOT NULL, path TEXT NOT NULL, state TEXT NOT NULL,
    status INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER, digest TEXT,
    body BLOB NOT NULL, answer BLOB  -- last: counting calls then never reads through the long columns
);
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, epoch INTEGER NOT NULL, state TEXT NOT NULL, outcome TEXT,
    reserved_at REAL NOT NULL, ended_at REAL
);
CREATE INDEX IF NOT EXISTS attempts_open ON attempts (key) WHERE state = 'reserved';
INSERT INTO epoch VALUES (3);
PRAGMA user_version = 1;
"""
ANSWER = orjson.dumps({"model": "m", "choices": [{"text": " an oak"}], "usage": {"prompt_tokens": 4}})
BODY = b'{"prompt":"Name a tree."}'
SETTLED, UNCOUNTED, REFUSED, OPEN, LOST = (f"{number:02x}" * 32 for number in (0xEE, 0xDD, 0xCC, 0xBB, 0xAA))
STAGE = "bootstrap"
DRAWS = {
    SETTLED: Draw(stage=STAGE, round=0, slot=10),
    UNCOUNTED: Draw(stage=STAGE, round=0, slot=9),
    REFUSED: Draw(stage="classify", round=1, slot=0, step=2, k=3),
    OPEN: Draw(stage=STAGE, round=2, slot=0),
    LOST: Draw(stage=STAGE, round=2, slot=1),
}
ATTEMPTS = [
    (SETTLED, 1, "failed", "MaybeExecuted"),
    (SETTLED, 1, "failed", "Rejected"),
    (SETTLED, 1, "settled", None),
    (UNCOUNTED, 1, "failed", "UnusableResponse"),
    (UNCOUNTED, 1, "settled", None),
    (REFUSED, 2, "refused", None),
    (LOST, 2, "ambiguous", None),
    (OPEN, 3, "reserved", None),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger as version 1 left it when it was killed: one call in each state."""
    path = tmp_path / "ledger.sqlite3"
    path.touch(0o600)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(VERSION_1)
        for key, draw in DRAWS.items():
            columns = (key, str(draw), draw.stage, wire.COMPLETIONS, BODY)
            db.execute(
                "INSERT INTO calls (key, draw, stage, path, body, state) VALUES (?, ?, ?, ?, ?, 'open')", columns
            )
        for key, state, answer, *rest in (
            (SETTLED, "settled", ANSWER, None, 4, 2),
            (UNCOUNTED, "settled", ANSWER, None, 0, 0),
            (REFUSED, "refused", "太长".encode(), 400, 0, 0),
        ):
            digest = hashlib.sha256(b"\n".join((key.encode(), str(state).encode(), answer))).hexdigest()
            db.execute(
                "UPDATE calls SET state = ?, answer = ?, status = ?, prompt_tokens = ?, completion_tokens = ?,"
                " digest = ? WHERE key = ?",
                (state, answer, *rest, digest, key),
            )
        for key, epoch, attempt, outcome in ATTEMPTS:
            ended = None if attempt == "reserved" else 6.5
            db.execute(
                "INSERT INTO attempts (key, epoch, state, outcome, reserved_at, ended_at) VALUES (?, ?, ?, ?, 5.5, ?)",
                (key, epoch, attempt, outcome, ended),
            )
    return path


def copy_of(path: Path) -> Path:
    """Where the old file is kept."""
    return path.with_name("ledger-version-1.sqlite3")


def contents(path: Path) -> list[str]:
    """A database as the SQL that makes it, and its version."""
    with closing(sqlite3.connect(path)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        return [f"version {version}", *db.iterdump()]


# --- from version 1 -------------------------------------------------------------------------------------------------


def test_every_answer_of_version_1_is_found_again(path: Path) -> None:
    """By draw and key, and gives the completion or refusal it gave before."""
    with Ledger(path) as ledger:
        states = [(call.draw, call.key, call.state, call.path, call.body) for call in ledger.rows.calls()]
        assert states == [
            (DRAWS[UNCOUNTED], UNCOUNTED, "settled", wire.COMPLETIONS, BODY),
            (DRAWS[SETTLED], SETTLED, "settled", wire.COMPLETIONS, BODY),
            (DRAWS[OPEN], OPEN, "open", wire.COMPLETIONS, BODY),
            (DRAWS[LOST], LOST, "open", wire.COMPLETIONS, BODY),
            (DRAWS[REFUSED], REFUSED, "refused", wire.COMPLETIONS, BODY),
        ]
        found = {key: ledger.find(draw, key) for key, draw in DRAWS.items()}
        assert [key for key, call in found.items() if call is None] == [OPEN, LOST]
        for key in (SETTLED, UNCOUNTED):
            call = found[key]
            assert call is not None
            assert call.completion() == Completion(text=" an oak", model="m", raw=ANSWER, call=key)
        refused = found[REFUSED]
        assert refused is not None
        with pytest.raises(RequestRefused, match="太长") as refusal:
            refused.completion()
        assert (refusal.value.status, refusal.value.call, refusal.value.verdict) == (400, REFUSED, "refused")
        assert [key for _, key in ledger.rows.answered(STAGE)] == [UNCOUNTED, SETTLED]


def test_attempts_of_version_1_count_what_is_known_of_them(path: Path) -> None:
    """Usage where the server told it; nothing for what was not executed; unknown, not free, for what may have been."""
    with Ledger(path) as ledger:
        assert ledger.epoch == 4
        assert ledger.rows.spending() == [
            Spending(STAGE, "ambiguous", None, 2, 0, 0, None, 2),  # with what was reserved when it was killed
            Spending(STAGE, "ambiguous", "MaybeExecuted", 1, 0, 0, None, 1),
            Spending(STAGE, "failed", "Rejected", 1, 0, 0, 0, 0),
            Spending(STAGE, "settled", None, 2, 4, 2, None, 2),
            Spending(STAGE, "unusable", "UnusableResponse", 1, 0, 0, None, 1),
            Spending("classify", "refused", None, 1, 0, 0, 0, 0),
        ]
        ledger.price_unpriced(Price(input=2, output=6, currency="usd", source="--price", date=""))
        settled = next(row for row in ledger.rows.spending() if row.state == "settled")
        assert settled == Spending(STAGE, "settled", None, 2, 4, 2, 20, 1)
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT id, call, epoch, reserved_at, ended_at FROM attempts ORDER BY id").fetchall()
    calls = [list(DRAWS).index(key) + 1 for key, *_ in ATTEMPTS]
    assert rows == [
        (id, call, attempt[1], 5.5, None if attempt[2] == "reserved" else 6.5)
        for id, (call, attempt) in enumerate(zip(calls, ATTEMPTS, strict=True), 1)
    ]


async def test_a_ledger_of_version_1_goes_on(path: Path) -> None:
    """An open call gets its answer, a new one its row, and both are there the next time."""
    with Ledger(path) as ledger:
        for key, draw in ((OPEN, DRAWS[OPEN]), ("0c" * 32, Draw(stage=STAGE, round=2, slot=2))):
            await ledger.reserve(key, draw, wire.COMPLETIONS, BODY)
            await ledger.settle(key, ANSWER, 4, 0)
    with Ledger(path) as ledger:
        answered = [(draw.slot, key) for draw, key in ledger.rows.answered(STAGE)]
        assert answered == [(9, UNCOUNTED), (10, SETTLED), (0, OPEN), (2, "0c" * 32)]
        assert ledger.rows.last_draw(STAGE) == (2, 2)


def test_the_old_file_is_kept_beside_the_new_and_as_private(path: Path) -> None:
    """Whole, at its version, readable by its owner only whatever the umask."""
    before = contents(path)
    assert before[0] == "version 1"
    mask = os.umask(0)
    try:
        Ledger(path).close()
    finally:
        os.umask(mask)
    assert contents(copy_of(path)) == before
    assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {
        "ledger.sqlite3": 0o600,
        "ledger-version-1.sqlite3": 0o600,
    }


def test_a_second_opening_changes_nothing(path: Path) -> None:
    """There is nothing of version 1 left to bring up to date, and the copy stays as it was."""
    Ledger(path).close()
    first, kept = contents(path), copy_of(path).read_bytes()
    copy_of(path).write_bytes(kept + b"marked")
    Ledger(path).close()
    second = contents(path)
    assert (first[0], copy_of(path).read_bytes()) == ("version 2", kept + b"marked")
    assert [line for line in first if line not in second] == ['INSERT INTO "epoch" VALUES(4);']


def test_a_new_ledger_needs_no_copy(tmp_path: Path) -> None:
    """It is made at the present version."""
    Ledger(tmp_path / "ledger.sqlite3").close()
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.sqlite3"]
    assert contents(tmp_path / "ledger.sqlite3")[0] == f"version {ledger_file.VERSION}"


def test_a_new_ledger_and_an_old_one_get_the_same_tables(path: Path, tmp_path: Path) -> None:
    """Nobody can tell afterwards which version a run was started with."""
    Ledger(path).close()
    Ledger(tmp_path / "new.sqlite3").close()
    tables = []
    for file in (path, tmp_path / "new.sqlite3"):
        with closing(sqlite3.connect(file)) as db:
            tables.append(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall())
    assert tables[0] == tables[1]


def test_a_reader_does_not_bring_it_up_to_date(path: Path) -> None:
    """`selfinstruct status` writes nothing: it says what to do."""
    before = contents(path)
    with pytest.raises(ConfigProblem, match="written by an older selfinstruct; run its command again"):
        LedgerReader(path)
    assert (contents(path), copy_of(path).exists()) == (before, False)


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("", OutputFailed),  # the statement below fails
        ("UPDATE calls SET key = 'no hex' WHERE stage = 'classify'", OutputFailed),
        ("UPDATE calls SET answer = NULL WHERE stage = 'classify'", DamagedRun),
    ],
)
def test_an_upgrade_that_fails_leaves_version_1(
    path: Path, monkeypatch: pytest.MonkeyPatch, change: str, error: type[SelfinstructError]
) -> None:
    """Whole, and not locked by the one that failed; once the cause is gone, it succeeds."""
    with closing(sqlite3.connect(path)) as db, db:
        whole = list(db.iterdump())
        db.executescript(change)
    before = contents(path)
    with monkeypatch.context() as patch:
        if not change:
            patch.setattr(ledger_file, "SCHEMA", f"{ledger_file.SCHEMA} INSERT INTO nowhere VALUES (1);")
        with pytest.raises(error) as failure:
            Ledger(path)
    assert str(path) in str(failure.value)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
    assert contents(path) == before

    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.executescript("\n".join([*whole, "PRAGMA user_version = 1;"]))
    with Ledger(path) as ledger:
        assert [key for _, key in ledger.rows.answered(STAGE)] == [UNCOUNTED, SETTLED]
    assert contents(copy_of(path))[0] == "version 1"


@pytest.mark.faults
def test_a_kill_in_the_middle_of_an_upgrade_leaves_version_1(path: Path) -> None:
    """At the last table that is filled; the next start does it all again."""
    killed = (
        "import os, pathlib, sys\n"
        "from selfinstruct import ledger, ledger_file\n"
        "connect = ledger_file.connect\n"
        "def deadly(path, *, sync=True):\n"
        "    db = connect(path, sync=sync)\n"
        "    db.create_function('die', 0, lambda: os.kill(os.getpid(), 9))\n"
        "    return db\n"
        "ledger_file.connect = deadly\n"
        "ledger_file.SCHEMA += 'CREATE TEMP TRIGGER t AFTER INSERT ON attempts BEGIN SELECT die(); END;'\n"
        "ledger.Ledger(pathlib.Path(sys.argv[1]))\n"
    )
    before = contents(path)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    died = subprocess.run([sys.executable, "-c", killed, str(path)], env=environment, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert contents(path) == before == contents(copy_of(path))
    with Ledger(path) as ledger:
        assert [key for _, key in ledger.rows.answered(STAGE)] == [UNCOUNTED, SETTLED]


@pytest.mark.parametrize("opened", [Ledger, LedgerReader])
def test_a_newer_ledger_wants_a_newer_selfinstruct(tmp_path: Path, opened: type[Ledger | LedgerReader]) -> None:
    """We do not guess what its tables mean (78)."""
    path = tmp_path / "ledger.sqlite3"
    Ledger(path).close()
    newer = ledger_file.VERSION + 1
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(ConfigProblem, match=rf"newer selfinstruct \(ledger version {newer}\); upgrade") as problem:
        opened(path)
    assert problem.value.exit_code == 78


def test_a_first_start_that_is_cut_off_leaves_nothing_half_made(tmp_path: Path) -> None:
    """The tables come with their version or not at all, so the next start makes them."""
    path = tmp_path / "ledger.sqlite3"
    with closing(ledger_file.connect(path)) as db:
        db.executescript(f"BEGIN IMMEDIATE; {ledger_file.SCHEMA}")
        assert ledger_file.version_of(db) == 0
    with Ledger(path) as ledger:
        assert (ledger.epoch, ledger.rows.has_answers()) == (1, False)


def test_of_a_parent_that_is_no_ledger_nothing_is_taken_over(tmp_path: Path) -> None:
    """The new ledger is there, empty, and the error is one of damage."""
    parent, own = tmp_path / "parent.sqlite3", tmp_path / "own.sqlite3"
    parent.write_bytes(b"no database" * 100)
    with pytest.raises(DamagedRun, match="not a readable ledger: file is not a database"):
        ledger_file.take_over(own, parent, 1)
    with closing(sqlite3.connect(own)) as db:
        assert db.execute("SELECT count(*) FROM calls").fetchone() == (0,)
