"""`selfinstruct verify`, `rebuild` and `skip`: what they print, their exit codes, and how a run goes on afterwards."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from selfinstruct import run_folder
from selfinstruct.ledger_reader import LedgerReader
from tests.command import Ended, data_files, invoke
from tests.faults.answer_server import AnswerServer


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with a finished one in it."""
    folder = tmp_path_factory.mktemp("output")
    assert invoke("generate", "--api", "fake", "-n", 10, "--run", "r", "--output-dir", folder, "-q").code == 0
    return folder


@pytest.fixture
def root(output: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(output, tmp_path / "output"))


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    """A server that answers at once."""
    with AnswerServer() as started:
        yield started


def of(root: Path, command: str, *args: object) -> Ended:
    """A command about the run."""
    return invoke(command, "r", *args, "--output-dir", root)


def open_calls(run: Path) -> list[tuple[str, str]]:
    """Key and draw of every call without an answer."""
    reader = LedgerReader(run / "ledger.sqlite3")
    found = [(call.key, str(call.draw)) for call in reader.calls() if call.state == "open"]
    reader.close()
    return found


def four_requests(server: AnswerServer, tmp_path: Path) -> tuple[Path, list[object]]:
    """A folder for the answers to a file of four requests, and the command that asks for them."""
    lines = [
        {
            "custom_id": f"q{n}",
            "method": "POST",
            "url": "/v1/completions",
            "body": {"prompt": f"<task {n}>", "max_tokens": 9},
        }
        for n in range(4)
    ]
    (tmp_path / "requests.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    where = ("--api", "chat", "--base-url", server.url, "--model", "m", "--concurrency", 1, "-q")
    command = ["complete", tmp_path / "requests.jsonl", "--out", tmp_path / "c", *where]
    return tmp_path / "c", command


# --- verify -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_path", [False, True])
def test_a_sound_run_is_one_line_and_exit_code_0(root: Path, by_path: bool) -> None:
    """By its name, or by the path of its folder; with how much was checked."""
    ended = invoke("verify", root / "r") if by_path else of(root, "verify")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{root}/r: sound; checked 120 calls, 120 answers, 120 attempts, 168 records")
    assert ended.out.count("\n") == 1


def test_damage_is_one_line_each_and_exit_code_5(root: Path) -> None:
    """Where, what, and what to do; then the sum; the last line goes to standard error."""
    shard = root / "r" / "classify" / "shard-0.jsonl"
    shard.write_bytes(shard.read_bytes().replace(b"(scripted)", b"(Scripted)", 1))
    ended = of(root, "verify")
    assert ended.code == 5
    first, last = ended.out.splitlines()
    assert first.startswith("classify/shard-0.jsonl: is not what classify/manifest.json says it is")
    assert first.endswith(f"; 'selfinstruct rebuild {root}/r' derives it anew from the ledger")
    assert last.startswith(f"{root}/r: damaged; checked ")
    assert ended.err == f"selfinstruct: {root}/r: 1 place damaged\n"


def test_json_says_the_same(root: Path) -> None:
    """For programs."""
    (root / "r" / "classify" / "shard-0.jsonl").unlink()
    ended = of(root, "verify", "--json")
    report = json.loads(ended.out)
    assert (ended.code, report["sound"], report["in_use"]) == (5, False, False)
    assert [finding["where"] for finding in report["findings"]] == ["classify/shard-0.jsonl"]
    assert report["checked"]["calls"] == 120


@pytest.mark.parametrize("command", [["verify"], ["rebuild"], ["skip", "abcdef"]])
def test_a_run_that_is_not_there_is_bad_data(tmp_path: Path, command: list[str]) -> None:
    """65, and nothing is made."""
    name, *rest = command
    ended = invoke(name, "gone", *rest, "--output-dir", tmp_path)
    assert (ended.code, ended.out) == (65, "")
    assert ended.err == f"selfinstruct: {tmp_path}/gone: no such run; 'selfinstruct status' lists them\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["verify", "rebuild", "skip"])
def test_the_help_says_what_a_command_does(command: str) -> None:
    """And what RUN may be."""
    ended = invoke(command, "--help")
    assert ended.code == 0
    assert "The run's name, or the path of its folder." in ended.out


# --- rebuild ----------------------------------------------------------------------------------------------------------


def test_rebuild_says_what_it_wrote_and_the_run_is_sound_again(root: Path, output: Path) -> None:
    """Only what was damaged is written; a second time nothing is."""
    (root / "r" / "bootstrap" / "shard-0.jsonl").write_bytes(b"")
    (root / "r" / "instances" / "shard-3.jsonl").write_bytes(b"")
    ended = of(root, "rebuild")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "written anew: bootstrap/shard-0.jsonl",
        "removed: instances/shard-3.jsonl",
        f"{root}/r: 8 files as before, 1 written anew, 1 removed",
    ]
    assert data_files(root / "r") == data_files(output / "r")
    assert sorted(path.name for path in (root / "r").iterdir()) == sorted(
        path.name for path in (output / "r").iterdir()
    )
    assert of(root, "rebuild").out == f"{root}/r: 9 files as before, 0 written anew, 0 removed\n"
    assert of(root, "verify").code == 0


@pytest.mark.parametrize("command", [["rebuild"], ["skip", "bootstrap/0/0/0/0"]])
def test_a_run_in_use_is_left_alone(root: Path, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """75 at once: whoever works on it writes the same files."""
    monkeypatch.setattr("selfinstruct.run_lock.take", lambda folder: False)
    name, *rest = command
    ended = of(root, name, *rest)
    assert (ended.code, ended.out) == (75, "")
    assert "another process works on this run" in ended.err


def test_verify_beside_a_process_says_that_the_run_is_in_use(root: Path) -> None:
    """A note; what does not move is checked."""
    with run_folder.held(root / "r", allow_network=True):
        ended = of(root, "verify")
    assert ended.code == 0
    assert ended.out.startswith("note: the run is in use: ")
    assert "120 calls" in ended.out


def test_a_rebuild_with_other_seeds_is_refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be another run's shards."""
    seeds = shutil.copytree(Path("seeds"), tmp_path / "seeds")
    file = seeds / "en_seed_tasks.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[1:]))
    monkeypatch.setattr("selfinstruct.resources.seeds_dir", lambda: seeds)
    before = data_files(root / "r")
    ended = of(root, "rebuild")
    assert (ended.code, data_files(root / "r")) == (78, before)
    assert "seeds: '175 tasks" in ended.err


# --- skip -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named_by", ["key", "draw", "custom_id"])
def test_a_skipped_request_is_an_error_line_and_the_file_is_done(
    server: AnswerServer, tmp_path: Path, named_by: str
) -> None:
    """By any of its names; nothing is sent for it any more."""
    folder, command = four_requests(server, tmp_path)
    server.fault = lambda path, number: (401, b'{"error": {"message": "no"}}') if number >= 3 else None
    assert invoke(*command).code == 77
    ((key, draw),) = open_calls(folder)
    name = {"key": key[:8].upper(), "draw": draw, "custom_id": "q3"}[named_by]
    ended = invoke("skip", folder, name, "--reason", "never answers")
    assert (ended.code, ended.err) == (0, "")
    assert (
        ended.out
        == f"{folder}: call {key[:12]} ({draw}) will not be sent again; run the run's command again to go on\n"
    )
    assert invoke("verify", folder).code == 0
    (status,) = json.loads(invoke("status", folder, "--json").out)
    assert (status["stages"][0]["failed"], status["stages"][0]["waiting"]) == (1, 0)
    asked = server.counts.requests
    assert invoke(*command).code == 0
    assert server.counts.requests == asked
    (error,) = map(json.loads, (folder / "errors.jsonl").read_text().splitlines())
    assert (error["custom_id"], error["error"]) == ("q3", {"code": "skipped", "message": "never answers"})
    (status,) = json.loads(invoke("status", folder, "--json").out)
    stage = status["stages"][0]
    assert (stage["answered"], stage["failed"], stage["waiting"], stage["state"]) == (3, 1, 0, "complete")


def test_a_skipped_call_becomes_a_reject_and_its_run_is_finished(server: AnswerServer, tmp_path: Path) -> None:
    """One poisoned request does not block a run for ever."""
    where = ("--api", "completion", "--base-url", server.url, "--output-dir", tmp_path, "--run", "r", "-n", 5)
    command = ("generate", *where, "--concurrency", 1, "--set", "round_size=2", "--set", "model.send_seed=true", "-q")
    server.fault = lambda path, number: (401, b'{"error": {"message": "no"}}') if number == 1 else None
    assert invoke(*command).code == 77
    ((key, draw),) = open_calls(tmp_path / "r")
    assert of(tmp_path, "skip", key[:6]).code == 0
    assert invoke(*command).code == 0
    stage, round, slot, *_ = draw.split("/")
    rejects = (tmp_path / "r" / stage / "rejects-0.jsonl").read_text().splitlines()
    reject = next(row for row in map(json.loads, rejects) if row["id"] == f"{stage}-{round}-{slot}")
    assert (reject["reason"], reject["detail"], reject["provenance"]["calls"]) == ("skipped", "skipped by hand", [key])
    before = data_files(tmp_path / "r")
    assert of(tmp_path, "verify").code == 0
    assert of(tmp_path, "rebuild").code == 0
    assert data_files(tmp_path / "r") == before


def test_what_cannot_be_skipped_is_one_line(root: Path) -> None:
    """A call with an answer, one that is not there, too short a name."""
    reader = LedgerReader(root / "r" / "ledger.sqlite3")
    call = next(reader.calls())
    reader.close()
    for name, message in (
        (call.key, f"call {call.key[:12]} ({call.draw}) is settled already"),
        (str(call.draw), "is settled already"),
        ("bootstrap/99/0/0/0", "no call of"),
        ("ffffffffffff", "no call of"),
        ("abc", "expected at least 6 digits of its key"),
    ):
        ended = of(root, "skip", name)
        assert (ended.code, ended.out) == (65, "")
        assert message in ended.err
        assert ended.err.count("\n") == 1


def test_an_ambiguous_name_lists_the_calls_it_may_mean(root: Path) -> None:
    """Two keys with the same beginning."""
    ledger = sqlite3.connect(root / "r" / "ledger.sqlite3")
    with ledger:
        ledger.execute("UPDATE calls SET key = CAST(x'abcdef01' || substr(key, 5) AS BLOB) WHERE id = 1")
        ledger.execute("UPDATE calls SET key = CAST(x'abcdef02' || substr(key, 5) AS BLOB) WHERE id = 2")
    ledger.close()
    ended = of(root, "skip", "abcdef")
    assert ended.code == 65
    assert "'abcdef' may be any of abcdef01" in ended.err
    assert ended.err.count("(bootstrap/0/") == 2
    assert "name one by more digits of its key" in ended.err


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_counts_the_requests_of_complete(server: AnswerServer, tmp_path: Path) -> None:
    """Of a folder named by its path: answered, failed, waiting."""
    folder, command = four_requests(server, tmp_path)
    server.fault = lambda path, number: (401, b'{"error": {"message": "no"}}') if number >= 2 else None
    assert invoke(*command).code == 77
    ended = invoke("status", folder)
    assert ended.code == 0
    assert ended.out.splitlines()[0] == "c  (target 4)"
    assert "complete    running          2 answered      0 failed       2 waiting       2 calls" in ended.out
    assert "not finished: run the same command again to go on" in ended.out


def test_status_does_not_count_answers_of_lines_that_were_changed_since(server: AnswerServer, tmp_path: Path) -> None:
    """The ledger keeps them, but they are no results."""
    folder, command = four_requests(server, tmp_path)
    assert invoke(*command).code == 0
    file = tmp_path / "requests.jsonl"
    file.write_bytes(file.read_bytes().replace(b"<task ", b"<task 1"))
    assert invoke(*command, "--max-calls", 5).code != 0
    (status,) = json.loads(invoke("status", folder, "--json").out)
    stage = status["stages"][0]
    assert len((folder / "results.jsonl").read_bytes().splitlines()) == 1
    assert (stage["answered"], stage["failed"], stage["waiting"], stage["state"]) == (1, 0, 3, "running")
    assert stage["calls"] == 5


def test_before_there_are_results_status_counts_the_ledger(server: AnswerServer, tmp_path: Path) -> None:
    """As while the first start is at work."""
    folder, command = four_requests(server, tmp_path)
    assert invoke(*command).code == 0
    (folder / "complete" / "results.json").unlink()
    (status,) = json.loads(invoke("status", folder, "--json").out)
    assert (status["stages"][0]["answered"], status["stages"][0]["waiting"]) == (4, 0)
