"""A run's folder: private, held by one process at a time, and not on a network file system unless told."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from selfinstruct import run_folder, run_lock
from selfinstruct.errors import BadData, OutputFailed, RunLocked, UsageProblem
from selfinstruct.run_folder import file_system, find, held, in_use, run_path, slug

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def local_disk(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The tests' own folder may be on any file system; for `held` it is a local one."""
    monkeypatch.setattr(run_folder, "file_system", lambda path: getattr(request, "param", "ext4"))


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process works on the run until it is killed, or told to end."""
    code = (
        "import sys; from pathlib import Path; from selfinstruct.run_folder import held\n"
        "with held(Path(sys.argv[1]), allow_network=True):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["first", "self-instruct-en-qwen3-8b", "2026-11-21", "v1.2_b", "A" * 80])
def test_a_plain_name_is_a_folder_below_the_output(name: str) -> None:
    """Letters, digits, dot, underscore, dash."""
    assert run_path(Path("output"), name) == Path("output") / name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../up", "a/b", "/etc", "a\\b", ".hidden", "-rf", "_x", "a b", "a\n", "a\0", "运行", "a:b", "~"],
)
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    """Whatever is not a plain name of one folder, and what a shell or `rm` could take for something else."""
    with pytest.raises(UsageProblem, match="a run's name is letters, digits"):
        run_path(Path("output"), name)


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("Qwen/Qwen3-8B", "qwen-qwen3-8b"),
        ("gpt-3.5-turbo", "gpt-3.5-turbo"),
        ("./models/My Model.gguf", "models-my-model.gguf"),
        ("--x..", "x"),
        ("百川", "model"),
        ("", "model"),
    ],
)
def test_every_model_name_becomes_a_part_of_a_run_name(model: str, part: str) -> None:
    """Lower case, dashes for the rest, and never nothing."""
    assert slug(model) == part
    assert run_path(Path("o"), slug(model)) == Path("o") / part


# --- the folder and its lock ----------------------------------------------------------------------------------------


def test_only_the_owner_can_look_into_it(tmp_path: Path) -> None:
    """Folder 0700 and lock 0600, whatever the umask; folders above it are made as usual."""
    before = os.umask(0)
    try:
        with held(tmp_path / "output" / "first") as path:
            assert path == tmp_path / "output" / "first"
            modes = [p.stat().st_mode & 0o777 for p in (path, path / ".lock")]
    finally:
        os.umask(before)
    assert modes == [0o700, 0o600]


@pytest.mark.faults
def test_a_run_another_process_works_on_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one glance more; killed with SIGKILL, that process leaves nothing that has to be cleaned up."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with held_elsewhere(tmp_path / "first") as process:
        with pytest.raises(RunLocked, match="another process works on this run"), held(tmp_path / "first"):
            pytest.fail("two processes hold the run")
        assert len(waits) == 1
        assert waits[0] < 0.1
        with held(tmp_path / "second"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with held(tmp_path / "first") as path:
            assert path.is_dir()


def test_the_lock_is_freed_when_the_run_is_over(tmp_path: Path) -> None:
    """Also when it ends with an error."""
    with pytest.raises(KeyError, match="a bug"), held(tmp_path / "first"):
        assert in_use(tmp_path / "first")
        (tmp_path / "first" / "something").touch()
        raise KeyError("a bug")
    assert not in_use(tmp_path / "first")
    with held_elsewhere(tmp_path / "first"):
        pass


def test_a_lock_that_was_taken_at_the_start_of_the_program_is_the_run_s(tmp_path: Path) -> None:
    """Taken before anything large is loaded, it is held to the end of the run and freed by it."""
    assert run_lock.take(str(tmp_path / "first"))
    with held(tmp_path / "first") as path:
        (path / "something").touch()
    with held_elsewhere(tmp_path / "first"):
        run_lock.release(str(tmp_path / "first"))
        assert in_use(tmp_path / "first")


def test_a_run_that_wrote_nothing_leaves_nothing(tmp_path: Path) -> None:
    """Such as one whose file of requests is bad."""
    with pytest.raises(BadData), held(tmp_path / "output" / "first"):
        raise BadData("no request in it")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_run_is_not_taken_for_one_of_the_folder(tmp_path: Path) -> None:
    """A file that cannot be read in mid-run is reported as what it is."""
    with pytest.raises(PermissionError, match="seeds"), held(tmp_path / "first"):
        raise PermissionError(errno.EACCES, "seeds")
    with pytest.raises(TimeoutError, match="slow"), held(tmp_path / "first"):
        raise TimeoutError("slow")


def test_a_place_that_cannot_be_written_is_an_io_failure(tmp_path: Path) -> None:
    """A file where a folder should be, or something else in the lock's place."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "first"):
        with pytest.raises(OutputFailed, match="cannot write here"), held(path):
            pytest.fail("held")
    (tmp_path / "odd" / ".lock").mkdir(parents=True)
    with pytest.raises(OutputFailed, match="cannot write here"), held(tmp_path / "odd"):
        pytest.fail("held")


def test_a_file_system_without_kernel_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file that a killed process leaves behind would stop cron for ever."""

    def missing(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(OutputFailed, match="Function not implemented"), held(tmp_path / "first"):
        pytest.fail("held")


# --- network file systems -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "local_disk", ["nfs", "nfs4", "cifs", "9p", "lustre", "fuse.sshfs", "fuse.glusterfs"], indirect=True
)
def test_a_network_file_system_is_refused_unless_told(tmp_path: Path) -> None:
    """With the setting that allows it; then it is used like any other."""
    with (
        pytest.raises(OutputFailed, match=r"network file system.*SELFINSTRUCT_ALLOW_NETWORK_FS=1"),
        held(tmp_path / "a"),
    ):
        pytest.fail("held")
    with held(tmp_path / "a", allow_network=True) as path:
        assert path.is_dir()


@pytest.mark.parametrize("local_disk", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", ""], indirect=True)
def test_a_local_or_unknown_file_system_is_used(tmp_path: Path) -> None:
    """Where the system does not tell, we do not refuse."""
    with held(tmp_path / "a") as path:
        assert path.is_dir()


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """A made-up /proc/self/mounts: a network share, a local disk within it, one with a space and a CJK name."""
    rows = [
        ("/dev/sda1", "/", "ext4"),
        ("server:/a", f"{tmp_path}/share", "nfs4"),
        ("/dev/sdb1", f"{tmp_path}/share/disk", "xfs"),
        ("//server/b", rf"{tmp_path}/my\040数据", "cifs"),
        ("server:/c", f"{tmp_path}/twice", "nfs"),
        ("/dev/sdc1", f"{tmp_path}/twice", "btrfs"),
    ]
    path = tmp_path / "mounts"
    path.write_text("".join(f"{device} {point} {kind} rw,relatime 0 0\n" for device, point, kind in rows), "utf-8")
    return path


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("elsewhere/run", "ext4"),
        ("share", "nfs4"),
        ("share/output/run", "nfs4"),
        ("shared/run", "ext4"),
        ("share/disk/run", "xfs"),
        ("share/../elsewhere", "ext4"),
        ("my 数据/run", "cifs"),
        ("twice/run", "btrfs"),
    ],
)
def test_the_innermost_and_latest_mount_counts(tmp_path: Path, mounts: Path, folder: str, kind: str) -> None:
    """As the kernel has it; a name that only begins alike is another folder."""
    assert file_system(tmp_path / folder, mounts) == kind


def test_a_link_to_a_network_share_is_on_the_share(tmp_path: Path, mounts: Path) -> None:
    """What counts is where the bytes go."""
    (tmp_path / "share").mkdir()
    (tmp_path / "output").symlink_to(tmp_path / "share")
    assert file_system(tmp_path / "output" / "run", mounts) == "nfs4"


def test_a_system_that_does_not_tell_has_no_answer(tmp_path: Path) -> None:
    """No list of mounts, or none that holds the place."""
    (tmp_path / "empty").write_text("")
    assert [file_system(tmp_path, tmp_path / name) for name in ("gone", "empty")] == ["", ""]


# --- finding one ----------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_name_or_its_path(tmp_path: Path) -> None:
    """The name first; a folder without a run is none."""
    for folder in (tmp_path / "output" / "r", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
        (folder / "ledger.sqlite3").touch()
    assert find(tmp_path / "output", "r") == tmp_path / "output" / "r"
    assert find(tmp_path / "output", str(tmp_path / "elsewhere")) == tmp_path / "elsewhere"
    (tmp_path / "output" / "empty").mkdir()
    for name in ("empty", "gone", str(tmp_path)):
        with pytest.raises(BadData, match="no such run"):
            find(tmp_path / "output", name)


def test_whether_a_run_is_in_use_is_seen_without_taking_it(tmp_path: Path) -> None:
    """By whoever asks, also of a folder that has no lock file."""
    assert not in_use(tmp_path)
    with held_elsewhere(tmp_path / "r"):
        assert in_use(tmp_path / "r")
    (tmp_path / "r").mkdir(exist_ok=True)
    assert not in_use(tmp_path / "r")
    assert list(tmp_path.iterdir()) == [tmp_path / "r"]
