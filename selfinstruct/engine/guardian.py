"""Starts a program, waits beside it, and ends it and all it started once whoever asked for it is gone, in whatever way.

A process that is killed cannot tidy up, so another one has to. `guarded` runs this file by its path, with ``-I -S``: it
stands alone, and nothing of the package or of site-packages is loaded in a process that may live for days. It is led
by two pipes::

    stdin    one line of JSON, the plan; then nothing, until a line with the seconds of patience ends the program, or
             the end of the file does: the kernel closes the pipe of a starter that is gone
    stdout   "started PID" or "failed WHY"; then, once nothing of the program is left, its exit status
    stderr   the program's log

A program's family is every process of ours that has the token in the environment it was started with, and the children
of those. Sessions, groups and parents can be left; the environment is handed on to everybody.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

TOKEN = "SELFINSTRUCT_GUARDED"
"""The environment variable that marks a program's family."""

# Seconds. Ours, without a source: long enough for a server to close its sockets, short enough to wait for.
PATIENCE = 5.0  # from SIGTERM to the program until its family is ended, where the starter is gone
GRACE = 2.0  # from SIGTERM to its family until SIGKILL: a helper that removes shared memory needs a moment
STUBBORN = 10.0  # from SIGKILL until we give up on a process that the kernel cannot end, as one waiting for a dead disk
GLANCE = 0.1  # between two looks at the program
BLINK = 0.02  # between two looks at what is being killed

_PROC = Path("/proc")
_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


class _Process(NamedTuple):
    pid: int
    parent: int
    start: int  # clock ticks since the machine's start: with it, a number that is used again is another process


def start_of(pid: int) -> int | None:
    """When this process started, in clock ticks since the machine did; None if there is none, or only its remains."""
    process = _look(str(pid))
    return process.start if process else None


def family(token: str, group: int = 0) -> set[int]:
    """The processes of our user that carry the token, and their descendants; neither the dead nor this process.

    Without /proc (not Linux): what is left of the process group, as its negative number.
    """
    try:
        names = [name for name in os.listdir(_PROC) if name.isdigit()]
    except FileNotFoundError:
        return {-group} if group and _signal(-group, 0) else set()
    ours = [process for name in names if _is_ours(name) and (process := _look(name))]
    found = {process.pid for process in ours if _carries(process.pid, token)}
    size = 0
    while size != len(found):
        size = len(found)
        found |= {process.pid for process in ours if process.parent in found}
    return found - {os.getpid()}


def end_family(token: str, group: int = 0) -> set[int]:
    """SIGTERM to all of them, and a moment later SIGKILL to those still there; blocks; returns who was told to end."""
    ended: set[int] = set()
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, STUBBORN)):
        told: set[int] = set()
        deadline = time.monotonic() + seconds
        while (left := family(token, group)) and time.monotonic() < deadline:
            for pid in left - told:
                _signal(pid, number)
            told |= left
            time.sleep(BLINK)
        ended |= told
    return ended


def _look(name: str) -> _Process | None:
    try:
        text = (_PROC / name / "stat").read_bytes()
    except OSError:  # it has ended meanwhile
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # a name may hold spaces and parentheses, so from the last one on
    return None if fields[0] in b"ZX" else _Process(int(name), int(fields[1]), int(fields[19]))


def _is_ours(name: str) -> bool:
    try:
        return (_PROC / name).stat().st_uid == os.geteuid()
    except OSError:
        return False


def _carries(pid: int, token: str) -> bool:
    try:
        return f"{TOKEN}={token}".encode() in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class _Program:
    """The program, in a session of its own, so that neither a terminal's signals nor its own reach anybody else."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.status: int | None = None
        guardian, log = os.getpid(), sys.stderr.fileno()

        def end_with_the_guardian() -> None:
            _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() != guardian:  # it ended before we asked
                os.kill(os.getpid(), signal.SIGKILL)

        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=end_with_the_guardian,
        )
        self.pid = self._process.pid

    def has_ended(self) -> bool:
        """Whether it has; buries all that have ended, the orphans handed to us among them."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self.pid:
                    self.status = self._process.returncode = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def end(self, patience: float) -> None:
        """SIGTERM, and wait for it at most so many seconds."""
        _signal(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while not self.has_ended() and time.monotonic() < deadline:
            time.sleep(BLINK)


def _prctl(option: int, value: int) -> None:
    """Ask the Linux kernel for it; elsewhere, or without ctypes, we do without."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be there to hear it
        os.write(sys.stdout.fileno(), line.encode() + b"\n")


def _watch(program: _Program, starter: int, told: list[int]) -> float | None:
    """Wait until the program has ended (None) or is to be ended: with how many seconds of patience.

    A child that our starter forked may hold the pipe open after it is gone, so its number is looked at, too.
    """
    while not program.has_ended():
        readable, _, _ = select.select([sys.stdin], [], [], GLANCE)
        if readable:
            line = sys.stdin.buffer.readline()
            return float(line) if line.endswith(b"\n") else PATIENCE
        if told or os.getppid() != starter:
            return PATIENCE
    return None


def _guard(plan: dict[str, Any], told: list[int]) -> int:
    try:
        program = _Program(plan["command"], plan["environment"])
    except (OSError, ValueError) as error:
        _say(f"failed {error.strerror if isinstance(error, OSError) else error}")
        return 1
    _say(f"started {program.pid}")
    patience = _watch(program, plan["starter"], told)
    if patience is not None:
        program.end(patience)
    token = plan["environment"][TOKEN]
    end_family(token, program.pid)
    if not family(token, program.pid):
        with contextlib.suppress(OSError):  # a record that stays is removed by the next run
            Path(plan["record"]).unlink()
    if program.has_ended():
        _say(str(program.status))
    return 0


def main() -> int:
    """Guard what the plan on stdin says; without a whole plan the starter is gone, and nothing is started."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return 1
    told: list[int] = []  # the signals that ask us to end: as good as a starter that is gone
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: told.append(number))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # a thread of our starter's may have blocked some
    _prctl(_SET_CHILD_SUBREAPER, 1)  # orphans of the program become our children, and not those of process 1
    return _guard(json.loads(line), told)


if __name__ == "__main__":
    sys.exit(main())
