"""A run's folder, ``output/<run>/``: made private, held by one process at a time, refused on a network file system."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfinstruct import run_lock
from selfinstruct.errors import BadData, OutputFailed, RunLocked, UsageProblem

# SQLite's write-ahead log needs shared memory and honest locks, which these do not give.
_NETWORK = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p afs beegfs ceph fuse.ceph-fuse fuse.gcsfuse fuse.glusterfs gpfs lustre fuse.juicefs"
    " fuse.rclone fuse.s3fs fuse.sshfs".split()
)
_OCTAL = re.compile(r"\\([0-7]{3})")  # how the kernel spells a space in a mount point
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def slug(text: str) -> str:
    """``text`` as a part of a folder name: ``Qwen/Qwen3-8B`` becomes ``qwen-qwen3-8b``."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "model"


def run_path(output_dir: Path, run: str, option: str = "--run") -> Path:
    """The folder of the run of that name. Raises `UsageProblem` for a name that is not a plain folder name."""
    if not _NAME.fullmatch(run):
        raise UsageProblem(
            f"{option} '{run}': a run's name is letters, digits, '.', '_' and '-', and starts with a letter or digit"
        )
    return output_dir / run


def find(output_dir: Path, run: str) -> Path:
    """The folder of a run that is there: by its name below ``output_dir``, else by its path.

    Raises `BadData` when neither holds a run.
    """
    named = [output_dir / run] if _NAME.fullmatch(run) else []
    for path in (*named, Path(run)):
        if (path / "ledger.sqlite3").exists() or any(path.glob("*/stage.json")):
            return path
    raise BadData(f"{(named or [Path(run)])[0]}: no such run; 'selfinstruct status' lists them")


def runs_in(output_dir: Path) -> list[Path]:
    """The folders of the runs there are, the latest last."""
    ledgers = sorted(output_dir.glob("*/ledger.sqlite3"), key=lambda path: path.stat().st_mtime)
    return [path.parent for path in ledgers]


def in_use(path: Path) -> bool:
    """True when a process, be it this one, holds the run's lock. Writes nothing."""
    try:
        descriptor = os.open(path / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go of at once, below
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def held(path: Path, *, allow_network: bool = False) -> Iterator[Path]:
    """Make the folder if need be and hold its lock; the kernel lets go of the lock when this process dies.

    Raises `RunLocked` at once when another process holds it, `OutputFailed` when the folder cannot be written.
    """
    try:
        free = run_lock.take(str(path))
    except OSError as error:
        raise OutputFailed(f"{path}: cannot write here: {error.strerror}") from error
    if not free:
        raise RunLocked(f"{path}: another process works on this run; wait for it, or choose another --run")
    try:
        kind = file_system(path)
        if kind in _NETWORK and not allow_network:
            raise OutputFailed(
                f"{path}: is on a network file system ({kind}), where a ledger cannot be kept safely;"
                " choose a local --output-dir, or set SELFINSTRUCT_ALLOW_NETWORK_FS=1 at your own risk"
            )
        yield path
    finally:
        run_lock.release(str(path))


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system ``path`` is on, such as ``ext4``; empty where the system does not tell."""
    try:
        rows = [line.split() for line in mounts.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return ""
    target = os.path.realpath(path)
    best = ("", "")
    for row in rows:
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), row[1])
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            best = (point, row[2])
    return best[1]
