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
PROGRAM = (sys.executable, "-c", "from selfinstruct.cli.start import main; main()")

KEY = "OPENAI_API_KEY"
CANARY = "sk-canary-3f1c9a7e55d04b2e8c61"
"""The key of every command whose test gives none: whatever is printed or written is searched for it."""


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
        mock.patch.dict(os.environ, _with_key(environment)),
    ):
        code = app._run()
    return _unsinging(Ended(code, _written(out), _written(err)))


def spawn(*args: object, **environment: str) -> subprocess.Popen[str]:
    """``selfinstruct ARGS`` as a process of its own; stdout and stderr are pipes."""
    words = [*PROGRAM, *map(str, args)]
    assert not [word for word in words if CANARY in word], "every user of the machine can read a command line"
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **_with_key(environment)},
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
    return _unsinging(Ended(process.returncode, out, err))


def data_files(run: Path) -> Mapping[str, bytes]:
    """Everything a run has written but its ledger: shards, rejects, manifests, stage.json, with their bytes."""
    paths = [path for path in run.glob("*/*") if path.is_file()]
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(paths)}


def _with_key(environment: Mapping[str, str]) -> dict[str, str]:
    """What a test sets, and the canary as the key unless the test has set one of its own."""
    return {KEY: os.environ.get(KEY, CANARY), **environment}


def _unsinging(ended: Ended) -> Ended:
    assert CANARY not in ended.out + ended.err, "the key was printed"
    return ended


def _written(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()
