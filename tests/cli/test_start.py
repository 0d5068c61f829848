"""Where the program starts: who comes too late is told before anything large is loaded."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from selfinstruct import run_folder, run_lock
from selfinstruct.cli import start
from selfinstruct.errors import RunLocked
from tests.command import ROOT, Ended, spawn, wait
from tests.models.loopback import Loopback, Reply
from tests.request_files import answers, marking, numbered, write

FAKE = ("--api", "fake")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of requests in it."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.jsonl", numbered(2))
    return tmp_path


@contextmanager
def taken(folder: Path) -> Iterator[None]:
    """This process works in the folder; what is spawned meanwhile comes too late."""
    folder.mkdir(parents=True)
    assert run_lock.take(str(folder))
    try:
        yield
    finally:
        run_lock.release(str(folder))


def begin(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The console script in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["selfinstruct", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        start.main()
    return int(end.value.code or 0)


# --- which folder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ("complete in.jsonl --out o", "o"),
        ("complete in.jsonl --out=o", "o"),
        ("complete --out o in.jsonl", "o"),
        ("complete in.jsonl -o o", "o"),
        ("complete in.jsonl -oo", "o"),
        ("complete in.jsonl -qoo", "o"),
        ("complete in.jsonl -qo o", "o"),
        ("complete in.jsonl -q -o=o", "=o"),  # as Typer has it
        ("complete in.jsonl --out a --out b", "b"),
        ("complete in.jsonl --out a -o b", "b"),
        ("complete in.jsonl -o a --out=b", "b"),
        ("complete -o o -- in.jsonl", "o"),
        ("complete in.jsonl --out deep/er/o", "deep/er/o"),
        ("complete in.jsonl --out ../o", "../o"),
        ("complete in.jsonl -o o --model m --concurrency 3", "o"),
        ("complete in.jsonl --model o -o b", "b"),
        ("complete in.jsonl", None),
        ("complete in.jsonl --out o --dry-run", None),
        ("complete --help", None),
        ("generate --run r", "output/r"),
        ("generate --run=r", "output/r"),
        ("generate --run a --run b", "output/b"),
        ("generate --run r --output-dir d", "d/r"),
        ("generate --output-dir=d/e --run r", "d/e/r"),
        ("generate --output-dir . --run r", "./r"),
        ("generate --run r --dry-run", None),
        ("generate --run a/b", None),
        ("generate --run ..", None),
        ("generate -h", None),
        ("plan generate --run r", None),
        ("plan complete in.jsonl --out o", None),
        ("status r", None),
        ("--version", None),
        ("", None),
    ],
)
def test_the_folder_that_is_locked_is_the_one_the_command_works_in(
    here: Path, monkeypatch: pytest.MonkeyPatch, words: str, folder: str | None
) -> None:
    """However the command is spelled; a command that works in none, or fails before it does, locks none."""
    worked_in: list[str] = []

    def too_late(path: Path, **_: Any) -> NoReturn:
        worked_in.append(os.path.realpath(path))
        raise RunLocked("too late")

    monkeypatch.setattr(run_folder, "held", too_late)
    split = words.split()
    command = [*split, *FAKE] if split[:1] in (["complete"], ["generate"]) and "--" not in split else split
    command += ["-n", "5"] if "generate" in split[:1] else []
    code = begin(monkeypatch, *command)
    found = start.folder_of(split, {})
    assert found == folder
    if "--" in split:
        return  # nothing may follow that makes the command a scripted one
    assert worked_in == ([] if folder is None else [os.path.realpath(folder)])
    assert (code == RunLocked.exit_code) is (folder is not None)


@pytest.mark.parametrize("output", ["elsewhere", "deep/er", ""])
def test_the_environment_says_where_runs_are(here: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    """An option beats it, as everywhere."""
    worked_in: list[str] = []

    def too_late(path: Path, **_: Any) -> NoReturn:
        worked_in.append(os.path.realpath(path))
        raise RunLocked("too late")

    monkeypatch.setattr(run_folder, "held", too_late)
    monkeypatch.setenv("SELFINSTRUCT_OUTPUT_DIR", output)
    for words in (["generate", "--run", "r"], ["generate", "--run", "r", "--output-dir", "d"]):
        begin(monkeypatch, *words, *FAKE)
        folder = start.folder_of(words, os.environ)
        assert folder is not None
        assert worked_in.pop() == os.path.realpath(folder)


@pytest.mark.parametrize("words", ["generate", "generate --run", "generate --run=", "complete --out", "complete -o"])
def test_a_folder_that_is_not_named_is_left_to_the_command(words: str) -> None:
    """A run named after its model, or an option without its value."""
    assert start.folder_of(words.split(), {}) is None


# --- too late -------------------------------------------------------------------------------------------------------

LOSER = """
import sys
before = set(sys.modules)
from selfinstruct.cli import start
try:
    start.main()
finally:
    print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize(
    ("words", "folder"),
    [("complete in.jsonl --api fake --out o", "o"), ("generate --api fake --run r --output-dir runs", "runs/r")],
)
def test_who_comes_too_late_loads_nothing_and_is_told(here: Path, words: str, folder: str) -> None:
    """75 in one line, by the time Python itself takes to start: not even the command line's library is loaded."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    with taken(here / folder):
        ended = subprocess.run(
            [sys.executable, "-c", LOSER, *words.split()], env=environment, capture_output=True, text=True, check=False
        )
    assert ended.returncode == 75
    assert ended.stderr == f"selfinstruct: {folder}: another process works on this run; nothing was sent\n"
    loaded = set(ended.stdout.split())
    assert {"selfinstruct.run_lock", "fcntl"} <= loaded
    assert not loaded & {"typer", "pydantic", "orjson", "numpy", "asyncio", "pathlib", "typing", "re"}
    assert len(loaded) < 20


@pytest.mark.faults
def test_of_many_that_start_at_once_one_runs(here: Path) -> None:
    """Twenty commands on the same folder: one makes every call, once; the others end with 75 and send nothing."""
    many = 20
    processes: list[subprocess.Popen[str]] = []

    async def when_the_others_are_gone(path: str, body: Any, number: int) -> Reply:
        while sum(process.poll() is None for process in processes) > 1:
            await asyncio.sleep(0.01)
        return marking(path, body, number)

    with Loopback(when_the_others_are_gone) as server:
        words = ("complete", here / "in.jsonl", "--out", here / "o", "--base-url", f"{server.url}/v1", "--quiet")
        for _ in range(many):
            processes.append(spawn(*words))
        ended = [wait(process) for process in processes]
        assert len(server.received) == 2
    assert Counter(one.code for one in ended) == {0: 1, 75: many - 1}
    assert {one.err for one in ended if one.code == 75} == {
        f"selfinstruct: {here}/o: another process works on this run; nothing was sent\n"
    }
    assert len(answers(here / "o")) == 2


def test_a_run_without_a_name_is_refused_too(here: Path) -> None:
    """Its folder is known only once its model is; the command says the same then."""
    with taken(here / "output" / "self-instruct-en-fake"):
        ended = wait(spawn("generate", *FAKE, "-n", 5))
    assert (ended.code, ended.out) == (75, "")
    assert "output/self-instruct-en-fake: another process works on this run" in ended.err


# --- in time --------------------------------------------------------------------------------------------------------


def test_the_one_in_time_runs_and_lets_go(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is the same one from the first line to the last, and free afterwards."""
    assert begin(monkeypatch, "complete", "in.jsonl", "-o", "o", *FAKE, "-q") == 0
    assert len(answers(here / "o")) == 2
    assert run_lock._held == {}
    assert begin(monkeypatch, "complete", "in.jsonl", "-o", "o", *FAKE, "-q") == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("complete gone.jsonl --out deep/o", 65),
        ("complete in.jsonl --out deep/o --max-tokens 0", 2),
        ("complete in.jsonl --out deep/o --no-such-option", 2),
        ("complete in.jsonl --out deep/o --model", 2),
        ("generate --run r --output-dir deep/o --set no.such.key=1", 78),
        ("generate --run r --output-dir deep/o -n none", 2),
        ("generate --run ~r --output-dir deep/o", 2),
    ],
)
def test_a_command_that_fails_before_it_begins_leaves_no_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, words: str, code: int
) -> None:
    """Though its folder was made to be locked before anybody looked at the options."""
    first, *others = words.split()
    assert begin(monkeypatch, first, *FAKE, *others) == code
    assert [path.name for path in here.iterdir()] == ["in.jsonl"]


def test_a_folder_that_cannot_be_made_is_the_command_s_to_report(here: Path) -> None:
    """74 in one line, as without the early lock."""
    ended = wait(spawn("complete", "in.jsonl", "--out", "in.jsonl", *FAKE))
    assert ended == Ended(74, "", "selfinstruct: in.jsonl: cannot write here: File exists\n")


def test_the_same_generate_again_is_known_before_its_run_has_a_name(tmp_path: Path) -> None:
    """Its words, its place and its settings name it; another model, folder or setting is another."""
    words = ["generate", "--api", "chat", "-n", "+1000"]
    one = start.twin_of(words, {"TMPDIR": str(tmp_path)})
    assert one is not None
    assert one.startswith(f"{tmp_path}/selfinstruct-{os.getuid()}/")
    assert start.twin_of(words, {"TMPDIR": str(tmp_path), "HOME": "/x"}) == one
    assert start.twin_of([*words, "--model", "m"], {"TMPDIR": str(tmp_path)}) != one
    assert start.twin_of(words, {"TMPDIR": str(tmp_path), "SELFINSTRUCT_OUTPUT_DIR": "x"}) != one
    assert start.twin_of(["generate", "--dry-run"], {}) is None
    assert start.twin_of(["status"], {}) is None
