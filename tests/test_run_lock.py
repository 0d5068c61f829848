"""The lock on a run's folder: one process, until it ends; and nothing left behind by a command that never began."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from selfinstruct import run_lock
from selfinstruct.run_lock import release, take

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    """Each test lets go of what it has taken."""
    yield
    assert run_lock._held == {}


@contextmanager
def taken_elsewhere(folder: Path, then: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock until it is killed, or told to let go by a line."""
    code = (
        "import sys, time; from selfinstruct.run_lock import release, take\n"
        f"assert take(sys.argv[1]); {then}\n"
        "print('taken', flush=True); sys.stdin.readline()\n"
        "release(sys.argv[1]); print('released', flush=True); sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "taken\n"
            yield process
        finally:
            process.kill()


def let_go(process: subprocess.Popen[str]) -> None:
    """Tell the other process to let go, and see that it has."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "released\n"


# --- who holds it ---------------------------------------------------------------------------------------------------


@pytest.mark.faults
def test_one_process_holds_a_folder(tmp_path: Path) -> None:
    """Others are told at once that they do not; once it lets go, or is killed, the next one does."""
    folder = str(tmp_path / "run")
    with taken_elsewhere(tmp_path / "run") as process:
        assert take(folder) is False
        (tmp_path / "run" / "something").touch()
        let_go(process)
        assert take(folder) is True
    release(folder)
    with taken_elsewhere(tmp_path / "run") as process:
        assert take(folder) is False
        process.kill()
        process.wait()
        assert take(folder) is True
    release(folder)


def test_a_process_may_take_what_it_holds(tmp_path: Path) -> None:
    """However it spells the folder; one release is enough, and a second one does nothing."""
    folder = tmp_path / "run"
    (tmp_path / "link").symlink_to(folder)
    assert [take(str(folder)), take(f"{folder}/"), take(str(tmp_path / "link")), take(f"{folder}/../run")] == [True] * 4
    (folder / "something").touch()
    release(str(tmp_path / "link"))
    with taken_elsewhere(folder):
        release(str(folder))
        assert take(str(folder)) is False


@pytest.mark.faults
def test_a_child_of_the_holder_does_not_inherit_it(tmp_path: Path) -> None:
    """A process it has started and that outlives it does not keep the run locked."""
    started = "import subprocess; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True)"
    code = f"import sys; from selfinstruct.run_lock import take; assert take(sys.argv[1]); {started}"
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.wait()
    try:
        assert take(str(tmp_path / "run")) is True
    finally:
        os.kill(child, 9)
    release(str(tmp_path / "run"))


@pytest.mark.faults
def test_many_that_come_and_go_are_never_two_at_a_time(tmp_path: Path) -> None:
    """Four processes take it, look around and let go, two hundred times each, the folder removed in between."""
    code = """
import os, sys
from selfinstruct.run_lock import release, take
folder, inside, taken = sys.argv[1], sys.argv[2], 0
while taken < 200:
    if take(folder):
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another one is inside
        taken += 1
        os.unlink(inside)
        release(folder)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "deep" / "run"), str(tmp_path / "inside")]
    processes = [
        subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ended = [process.communicate(timeout=60) for process in processes]
    assert ended == [("", "")] * 4


# --- what it makes and leaves ---------------------------------------------------------------------------------------


def test_the_folder_it_makes_is_private(tmp_path: Path) -> None:
    """0700 and the lock 0600, whatever the umask; folders above it are made as usual."""
    before = os.umask(0o022)
    try:
        assert take(str(tmp_path / "above" / "run"))
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("above", "above/run", "above/run/.lock")]
    release(str(tmp_path / "above" / "run"))
    assert modes == [0o755, 0o700, 0o600]


def test_folders_in_which_nothing_was_written_are_removed_again(tmp_path: Path) -> None:
    """All that were made, and no other."""
    (tmp_path / "there").mkdir()
    folder = tmp_path / "there" / "deep" / "run"
    assert take(str(folder))
    release(str(folder))
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    """Empty as it was."""
    (tmp_path / "run").mkdir()
    assert take(str(tmp_path / "run"))
    release(str(tmp_path / "run"))
    assert list(tmp_path.rglob("*")) == [tmp_path / "run"]


def test_a_folder_in_which_something_was_written_stays(tmp_path: Path) -> None:
    """With its lock file, which is never removed from under a run."""
    assert take(str(tmp_path / "run"))
    (tmp_path / "run" / "ledger.sqlite3").touch()
    release(str(tmp_path / "run"))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "ledger.sqlite3"]


def test_a_folder_beside_which_something_was_written_stays_above(tmp_path: Path) -> None:
    """What others have put into a folder that was made for this run keeps that one, and no error comes of it."""
    assert take(str(tmp_path / "output" / "run"))
    (tmp_path / "output" / "other").mkdir()
    release(str(tmp_path / "output" / "run"))
    assert list(tmp_path.rglob("*")) == [tmp_path / "output", tmp_path / "output" / "other"]


# --- hands in the folder --------------------------------------------------------------------------------------------


def test_a_folder_removed_under_the_lock_is_no_error(tmp_path: Path) -> None:
    """Whoever removed it wanted it gone; taken again, it is a new one."""
    assert take(str(tmp_path / "run"))
    (tmp_path / "run" / ".lock").unlink()
    (tmp_path / "run").rmdir()
    release(str(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []
    assert take(str(tmp_path / "run"))
    release(str(tmp_path / "run"))


@pytest.mark.faults
def test_a_lock_file_removed_by_hand_lets_another_in_and_is_not_removed_twice(tmp_path: Path) -> None:
    """The first holder leaves the second one's lock alone; what keeps their writes apart is the ledger's epoch."""
    assert take(str(tmp_path / "run"))
    (tmp_path / "run" / ".lock").unlink()
    with taken_elsewhere(tmp_path / "run"):
        release(str(tmp_path / "run"))
        assert take(str(tmp_path / "run")) is False


def test_a_lock_file_that_is_replaced_while_it_is_taken_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last holder may remove it between our opening and our locking it: a file without a name locks nobody out."""
    flock, path = fcntl.flock, tmp_path / "run" / ".lock"
    locked: list[int] = []

    def removed_meanwhile(descriptor: int, operation: int) -> None:
        if not locked:
            path.unlink()
        flock(descriptor, operation)
        locked.append(os.fstat(descriptor).st_nlink)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    assert take(str(tmp_path / "run"))
    monkeypatch.undo()
    assert locked == [0, 1]
    with pytest.raises(BlockingIOError), path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    release(str(tmp_path / "run"))


def test_a_folder_that_is_removed_while_it_is_taken_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last holder may do so between our making it and our opening its lock."""
    opened, tries = os.open, []

    def removed_meanwhile(path: str, flags: int, mode: int) -> int:
        tries.append(path)
        if len(tries) == 1:
            (tmp_path / "run").rmdir()
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", removed_meanwhile)
    assert take(str(tmp_path / "run"))
    monkeypatch.undo()
    assert len(tries) == 2
    release(str(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_file_can_be_made_is_an_error_and_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in /proc, where a folder is there and a new file in it is "not found"."""

    def no_such_file(path: str, flags: int, mode: int) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "open", no_such_file)
    with pytest.raises(FileNotFoundError):
        take(str(tmp_path / "run"))


def test_what_cannot_be_made_or_locked_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the way, a folder in the lock's place, a file system that knows no locks; and nothing stays open."""
    (tmp_path / "file").touch()
    (tmp_path / "odd" / ".lock").mkdir(parents=True)
    for name, error in (("file", FileExistsError), ("file/run", NotADirectoryError), ("odd", IsADirectoryError)):
        with pytest.raises(error):
            take(str(tmp_path / name))
    descriptors: list[int] = []

    def unknown(descriptor: int, operation: int) -> None:
        descriptors.append(descriptor)
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with pytest.raises(OSError, match="Function not implemented"):
        take(str(tmp_path / "run"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptors[0])


# --- what it costs --------------------------------------------------------------------------------------------------


def test_it_imports_nothing_that_takes_time() -> None:
    """Nothing at all that Python has not loaded by itself, but for `fcntl`."""
    code = (
        "import sys; before = set(sys.modules); import selfinstruct.run_lock\n"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('selfinstruct')))"
    )
    ended = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert ended.stdout == "['__future__', 'fcntl']\n"
