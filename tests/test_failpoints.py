"""Failpoints: where they stand, what strikes there when the environment says so, and that nothing does otherwise."""

from __future__ import annotations

import ast
import errno
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from selfinstruct.errors import OutputFailed
from selfinstruct.failpoints import POINTS, VARIABLE, failpoint
from selfinstruct.store_files import write_whole

ROOT = Path(__file__).resolve().parents[1]


def passes(times: int, point: str = "store.flush") -> list[int]:
    """Pass a point so often; the errno each time, 0 where nothing struck."""
    seen = []
    for _ in range(times):
        try:
            failpoint(point)
            seen.append(0)
        except OSError as error:
            seen.append(error.errno or -1)
    return seen


def child(plan: str, points: str) -> subprocess.CompletedProcess[str]:
    """A process that passes the points and says so."""
    code = f"from selfinstruct.failpoints import *\nfor p in {points.split()!r}: failpoint(p); print(p, flush=True)"
    environment = os.environ | {"PYTHONPATH": str(ROOT), VARIABLE: plan}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


# --- where ----------------------------------------------------------------------------------------------------------


def test_every_point_stands_in_the_code_exactly_once() -> None:
    """And no other name does: a sweep over `POINTS` strikes every durable step, each at one place."""
    found: Counter[str] = Counter()
    for path in (ROOT / "selfinstruct").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "failpoint":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), f"{path}:{node.lineno}: its name is not written out"
                found[str(argument.value)] += 1
    assert found == Counter(POINTS)


# --- what -----------------------------------------------------------------------------------------------------------


def test_without_the_variable_nothing_strikes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor with an empty one, nor at points that are not named."""
    assert passes(3) == [0, 0, 0]
    monkeypatch.setenv(VARIABLE, "")
    assert passes(3) == [0, 0, 0]
    monkeypatch.setenv(VARIABLE, "store.rename=EIO")
    assert passes(3) == [0, 0, 0]


@pytest.mark.parametrize("name", ["ENOSPC", "EIO", "EDQUOT", "EROFS"])
def test_a_point_raises_the_error_of_an_errno(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """With its number and its text, each time: a full disk stays full."""
    monkeypatch.setenv(VARIABLE, f"store.flush={name}")
    number = getattr(errno, name)
    with pytest.raises(OSError, match=os.strerror(number)):
        failpoint("store.flush")
    assert passes(2) == [number, number]


def test_an_error_begins_at_the_visit_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each point is counted for itself; a new plan counts anew."""
    monkeypatch.setenv(VARIABLE, "store.flush=ENOSPC@3;store.rename=EIO@2")
    assert passes(1, "store.rename") == [0]
    assert passes(4) == [0, 0, errno.ENOSPC, errno.ENOSPC]
    assert passes(2, "store.rename") == [errno.EIO, errno.EIO]
    monkeypatch.setenv(VARIABLE, "store.flush=ENOSPC@2")
    assert passes(3) == [0, errno.ENOSPC, errno.ENOSPC]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("a=kill", ""),
        ("a=kill@1", ""),
        ("a=kill@3", "a b a b "),
        ("b=kill@2;a=EIO@9", "a b a "),
        ("c=EIO;a=kill@2", "a b "),
    ],
)
def test_a_kill_ends_the_process_at_that_visit_and_no_other(plan: str, said: str) -> None:
    """SIGKILL: nothing is tidied up, nothing after the point happens."""
    died = child(plan, "a b a b a")
    assert (died.returncode, died.stdout.replace("\n", " "), died.stderr) == (-signal.SIGKILL, said, "")


@pytest.mark.faults
def test_a_plan_that_is_not_reached_changes_nothing() -> None:
    """The process lives on."""
    lived = child("a=kill@4;b=EIO@3", "a b a b a")
    assert (lived.returncode, lived.stdout, lived.stderr) == (0, "a\nb\na\nb\na\n", "")


# --- the store's ----------------------------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("name", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("store.")])
def test_a_disk_that_fails_at_a_step_of_the_store_is_an_io_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, name: str
) -> None:
    """As a real one is (74); the file is the old one or the new one, and the next try succeeds."""
    path = tmp_path / "shard-0.jsonl"
    write_whole(path, b"old")
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, f"{point}={name}")
        with pytest.raises(OutputFailed, match=os.strerror(getattr(errno, name))) as failure:
            write_whole(path, b"new")
        assert failure.value.exit_code == 74
    assert path.read_bytes() == (b"new" if point == "store.renamed" else b"old")
    write_whole(path, b"newer")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"shard-0.jsonl": b"newer"}


@pytest.mark.faults
@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("store.")])
def test_a_kill_at_a_step_of_the_store_leaves_the_old_bytes_or_the_new(tmp_path: Path, point: str) -> None:
    """Never a part; what is left of the temporary file is overwritten by the next try."""
    path = tmp_path / "shard-0.jsonl"
    write_whole(path, b"old")
    code = "import pathlib, sys; from selfinstruct.store_files import *; write_whole(pathlib.Path(sys.argv[1]), b'new')"
    environment = os.environ | {"PYTHONPATH": str(ROOT), VARIABLE: f"{point}=kill"}
    died = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert path.read_bytes() == (b"new" if point == "store.renamed" else b"old")
    write_whole(path, b"newer")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"shard-0.jsonl": b"newer"}
