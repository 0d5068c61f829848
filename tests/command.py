"""The command line, as a test uses it: in this process, where starting costs nothing, or as a process to be killed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from selfinstruct.cli import app

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = (sys.executable, "-c", "from selfinstruct.cli.app import main; main()")


class Ended(NamedTuple):
    """What a shell would have seen."""

    code: int
    out: str
    err: str


def invoke(*args: object, **environment: str) -> Ended:
    """``selfinstruct ARGS`` in this process, through the outermost frame."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    argv = ["selfinstruct", *map(str, args)]
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(sys, "argv", argv),
        mock.patch.dict(os.environ, environment),
    ):
        code = app._run()
    return Ended(code, _written(out), _written(err))


def spawn(*args: object, **environment: str) -> subprocess.Popen[str]:
    """``selfinstruct ARGS`` as a process of its own; stdout and stderr are pipes."""
    return subprocess.Popen(
        [*PROGRAM, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something to be so, or for the process to end; give up after a minute."""
    for _ in range(60_000):
        if condition() or process.poll() is not None:
            return
        time.sleep(0.001)


def wait(process: subprocess.Popen[str], seconds: float = 120) -> Ended:
    """How a spawned process ended. A process killed by signal N has the code −N."""
    out, err = process.communicate(timeout=seconds)
    return Ended(process.returncode, out, err)


def data_files(run: Path) -> Mapping[str, bytes]:
    """Everything a run has written but its ledger: shards, rejects, manifests, stage.json, with their bytes."""
    paths = [path for path in run.glob("*/*") if path.is_file()]
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(paths)}


def _written(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()
