"""Programs that end when we end, however we end, and the end of those that a killed run has left behind.

Three things see to it, each for the case that the one before is killed: we stop the program; its `guardian`, a small
process of its own, notices that we are gone; the next run reads the record we left and ends what is still there.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from selfinstruct.engine import guardian
from selfinstruct.errors import ConfigProblem, OutputFailed


class _Record(BaseModel):
    """What the next run must know to end a program whose owner is gone, and nothing else. No secret stands in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    token: str = Field(pattern=r"^[0-9a-f]{32}$")
    label: str
    log: str
    boot: str  # numbers of processes mean something only on this start of the machine …
    namespace: str  # … and in this container
    owner: int
    owner_start: int | None  # None where the system does not tell
    guardian: int


class Guarded:
    """A program and everything it starts, that ends when this process ends, however it ends (SIGKILL too)."""

    def __init__(self, process: subprocess.Popen[bytes], token: str, record: Path, program: int) -> None:
        self.pid = process.pid
        self._guardian = process
        self._token = token
        self._record = record
        self._program = program
        self._status: int | None = None
        self._burial = threading.Lock()
        # A Popen that is forgotten while its process runs keeps its pipes open; this one would never be told to end.
        weakref.finalize(self, _close_pipes, process)

    @classmethod
    def start(
        cls, command: Sequence[str], environment: Mapping[str, str], log: Path, records: Path, label: str
    ) -> Guarded:
        """Run ``command``, its output appended to ``log``, with a record in the folder ``records`` while it lives.

        ``label`` says what it is, for people. The program gets ``environment`` and nothing of ours, plus two variables:
        the token that its family is known by, and one that asks the setproctitle library, with which a server names
        its processes, not to overwrite that token. Raises `OutputFailed` where log or record cannot be written, and
        `ConfigProblem` where the program cannot be run.
        """
        token = secrets.token_hex(16)
        marked = {**environment, guardian.TOKEN: token, "SPT_NOENV": "1"}
        record = records.absolute() / f"{token}.json"
        plan = {"command": list(command), "environment": marked, "record": str(record), "starter": os.getpid()}
        with contextlib.ExitStack() as undo:
            process = _start_guardian(token, log)
            undo.callback(_abandon, process)
            undo.callback(_remove, record)
            _write(record, _record_of(token, label, log, process.pid))
            answer, _, detail = _tell(process, plan).partition(" ")
            if answer != "started":
                raise ConfigProblem(f"{command[0]}: cannot be run: {detail or f'its guardian ended; see {log}'}")
            undo.pop_all()
        return cls(process, token, record, int(detail))

    def poll(self) -> int | None:
        """None while the program runs; then its exit status as `subprocess` says it (-9: killed by SIGKILL).

        A status means that all it had started has ended too. Blocks only where the guardian was killed (-9, too): then
        the rest is ended here, which takes a moment.
        """
        with self._burial:
            if self._status is None and self._guardian.poll() is not None:
                self._status = self._bury()
            return self._status

    def stop(self, patience: float = 10.0) -> None:
        """SIGTERM to the program, and after ``patience`` seconds an end to all that is left. Blocks; again is fine."""
        if self.poll() is not None:
            return
        with contextlib.suppress(OSError, ValueError):  # it has just ended; another thread has told it
            _pipe(self._guardian.stdin).write(b"%f\n" % patience)
        _close(self._guardian.stdin)
        try:
            self._guardian.wait(patience + guardian.GRACE + guardian.STUBBORN + guardian.PATIENCE)
        except subprocess.TimeoutExpired:  # somebody has halted it
            self._guardian.kill()
            self._guardian.wait()
        self.poll()

    def _bury(self) -> int:
        reports = _pipe(self._guardian.stdout)
        os.set_blocking(reports.fileno(), False)  # all is said: do not wait for a child of ours that holds the pipe
        report = reports.read() or b""
        _close_pipes(self._guardian)
        if not report:  # it was killed
            guardian.end_family(self._token, self._program)
        _remove(self._record)
        return int(report or -signal.SIGKILL)


def end_stale(records: Path) -> list[str]:
    """End what is left of programs whose owner is gone, and remove their records; returns a line for people for each.

    Gone means: no process has the owner's number and its start time. What has our token is ended, and nothing else.
    """
    lines = []
    for path in sorted(records.glob("*.json")):
        record = _read(path)
        if record is None or not _is_stale(record):
            continue
        ended = guardian.end_family(record.token) if record.boot == _boot() else set()
        if ended:
            lines.append(f"ended a stale server of {record.label} (pid {', '.join(map(str, sorted(ended)))})")
        if not guardian.family(record.token):
            _remove(path)
    return lines


def _is_stale(record: _Record) -> bool:
    if record.boot != _boot():
        return True
    if record.namespace != _namespace() or record.owner_start is None:
        return False  # we cannot see whether its owner lives
    return guardian.start_of(record.owner) != record.owner_start


def _start_guardian(token: str, log: Path) -> subprocess.Popen[bytes]:
    """It has our own environment, in which our interpreter is known to start, and the token; ``log`` is its stderr."""
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _failed(log, error) from error
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__],
            env=os.environ | {guardian.TOKEN: token},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=descriptor,
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigProblem(f"{sys.executable}: cannot be run: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _tell(process: subprocess.Popen[bytes], plan: dict[str, object]) -> str:
    """Hand over the plan; returns the answer, empty if there is none."""
    stdin = _pipe(process.stdin)
    with contextlib.suppress(BrokenPipeError):
        stdin.write(json.dumps(plan).encode() + b"\n")
        stdin.flush()
    return _pipe(process.stdout).readline().decode().rstrip("\n")


def _abandon(process: subprocess.Popen[bytes]) -> None:
    """The end of its stdin ends the guardian, and what it may have started."""
    _close(process.stdin)
    process.wait()
    _close(process.stdout)


def _record_of(token: str, label: str, log: Path, pid: int) -> _Record:
    return _Record(
        token=token,
        label=label,
        log=str(log.absolute()),
        boot=_boot(),
        namespace=_namespace(),
        owner=os.getpid(),
        owner_start=guardian.start_of(os.getpid()),
        guardian=pid,
    )


def _write(path: Path, record: _Record) -> None:
    """By one rename: another run that looks for stale programs sees all of it or nothing."""
    temporary = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(record.model_dump_json())
        temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        raise _failed(path, error) from error


def _read(path: Path) -> _Record | None:
    """A record of our own user's; None for anything else, which is left where it is."""
    try:
        if path.stat().st_uid != os.geteuid():
            return None
        record = _Record.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.token == path.stem else None


def _remove(path: Path) -> None:
    """As far as it goes: a record that stays is removed by the next run."""
    with contextlib.suppress(OSError):
        path.unlink()


def _boot() -> str:
    """This start of the machine; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _namespace() -> str:
    """The container, as far as numbers of processes go; empty where the system does not tell."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    _close(process.stdin)
    _close(process.stdout)


def _close(end: IO[bytes] | None) -> None:
    with contextlib.suppress(OSError):  # what is still to be written finds nobody who reads it
        _pipe(end).close()


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    assert end is not None  # made with PIPE
    return end


def _failed(path: Path, error: OSError) -> OutputFailed:
    return OutputFailed(f"{path}: cannot write: {error.strerror}")
