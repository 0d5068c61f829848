"""What a machine has to offer a run: its variables, the output folder and the disk below it, its limit of open files.

Nothing is written but temporary files, which are removed.
"""

from __future__ import annotations

import difflib
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from selfinstruct import run_folder
from selfinstruct.config import Settings
from selfinstruct.errors import OutputFailed, SelfinstructError

State = Literal["ok", "warn", "fail"]

_SYNCS, _BLOCK = 20, bytes(4096)
_SYNC_SECONDS = 1.0  # a slow disk has shown what it is by then
_SLOW_SYNC_MS = 50.0  # longer than a group of the ledger should wait
_LITTLE_DISK, _NO_DISK = 10**9, 5 * 10**7  # bytes; a call leaves 2 to 10 kB
_FILES_BESIDE = 64  # descriptors a run needs beside its connections
_READ = frozenset({"OPENAI_API_KEY", "OPENAI_BASE_URL"})
_OWN = "SELFINSTRUCT_"


class Finding(NamedTuple):
    """What one check found, and what to do about it. ``exit_code`` is that of the error a run would end with."""

    check: str
    state: State
    found: str
    fix: str = ""
    exit_code: int = 0


def ok(check: str, found: str) -> Finding:
    """Nothing to mend."""
    return Finding(check, "ok", found)


def failed(check: str, error: SelfinstructError, fix: str) -> Finding:
    """What a run would end with."""
    return Finding(check, "fail", str(error), fix, error.exit_code)


def environment(variables: Mapping[str, str]) -> list[Finding]:
    """Variables that look as if they did something here, and do not. Names only: their values may be secret."""
    findings = []
    unread = sorted(name for name in variables if name.startswith("OPENAI_") and name not in _READ)
    if unread:
        fix = "unset them; fields for the body go into model.extra_body, and a key's organisation follows from the key"
        findings.append(Finding("environment", "warn", f"set and not read: {', '.join(unread)}", fix))
    fields = Settings.model_fields.items()
    known = [_OWN + name.upper() for name, field in fields if field.validation_alias is None]
    for name in sorted(variables):
        if name.upper().startswith(_OWN) and name.upper() not in {*known, _OWN + "FAILPOINTS"}:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            fix = f"did you mean {close[0]}?" if close else "unset it"
            findings.append(Finding("environment", "warn", f"{name} is no setting of ours", fix))
    return findings or [ok("environment", "no variable that looks like a setting and is none")]


def output_folder(settings: Settings) -> list[Finding]:
    """Checks that write into the output folder, or into the one it would be made in."""
    folder = settings.output_dir.absolute()
    where = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".selfinstruct-doctor-", dir=where) as temporary:
            made = "" if where == folder else "; it will be made"
            found = [ok("output folder", f"{folder}: writable{made}")]
            found += [_file_system(Path(temporary), settings), _syncs(Path(temporary)), _disk(where)]
    except (OSError, OutputFailed) as error:
        said = error.strerror if isinstance(error, OSError) else error
        problem = OutputFailed(f"{folder}: cannot write here: {said}")
        return [failed("output folder", problem, "choose another --output-dir, or make it writable")]
    if where == folder and where.stat().st_mode & 0o002:
        found[0] = Finding("output folder", "warn", f"{folder}: everybody may write here", f"chmod o-w {folder}")
    return found


def _file_system(temporary: Path, settings: Settings) -> Finding:
    """Its type, and whether a run's lock can be taken and given back on it."""
    kind = run_folder.file_system(temporary) or "of unknown type"
    with run_folder.held(temporary / "run", allow_network=True):
        pass
    try:
        with run_folder.held(temporary / "run", allow_network=False):
            return ok("file system", f"{kind}; its locks work")
    except OutputFailed as error:
        found = f"{kind}: a network file system, where a ledger cannot be kept safely"
        state: State = "warn" if settings.allow_network_fs else "fail"
        fix = "a local --output-dir, or SELFINSTRUCT_ALLOW_NETWORK_FS=1 at your own risk"
        return Finding("file system", state, found, fix, error.exit_code)


def _syncs(temporary: Path) -> Finding:
    times: list[float] = []
    with (temporary / "synced").open("wb") as file:
        while len(times) < _SYNCS and sum(times) < _SYNC_SECONDS:
            started = time.perf_counter()
            file.write(_BLOCK)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    median = 1000 * statistics.median(times)
    found = f"median {median:.2f} ms for 4 KiB; that long a group of calls waits to be durable"
    if median <= _SLOW_SYNC_MS:
        return ok("fsync", found)
    return Finding("fsync", "warn", found, "an --output-dir on a faster disk, or SELFINSTRUCT_SYNC=0 (see the README)")


def _disk(where: Path) -> Finding:
    free = shutil.disk_usage(where).free
    found = f"{free / 10**9:.1f} GB free"
    if free >= _LITTLE_DISK:
        return ok("disk", found)
    state: State = "warn" if free >= _NO_DISK else "fail"
    return Finding("disk", state, found, "make room; 'selfinstruct plan' says how much", OutputFailed.exit_code)


def open_files(settings: Settings, default: int) -> Finding:
    """``default`` is how many calls are in flight where the settings do not say."""
    needed = (settings.concurrency or default) + _FILES_BESIDE
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return ok("open files", f"{'no limit' if limit == resource.RLIM_INFINITY else limit}, {needed} needed")
    return Finding("open files", "warn", f"at most {limit}, and {needed} are needed", f"ulimit -n {2 * needed}")
