"""The lock on a run's folder: one process at a time, let go of by the kernel when that process dies, however it dies.

A plain ``flock``, and nothing imported that takes time: of fifty processes that cron starts at once, forty-nine have to
find out that they are not needed, and a lock library alone takes them three times as long as Python's own start.
"""

from __future__ import annotations

import fcntl
import os
import time

_NAME = ".lock"
_GLANCE = 0.02  # seconds
_TRIES = 100  # so many holders in a row may remove the folder while we make it and open its lock

# By folder, the open lock file and the folders made for it; locks belong to the process, so this is what it holds.
_held: dict[str, tuple[int, list[str]]] = {}


def take(folder: str) -> bool:
    """Hold the folder's lock, making the folder if need be; False when another process holds it.

    Taking what this process holds already is fine. Raises `OSError` where the folder cannot be written.
    """
    name = os.path.realpath(folder)
    path = os.path.join(name, _NAME)
    tries = 0
    while name not in _held:
        tries += 1
        try:
            made = _make(name)
            descriptor = _locked(path)
        except (FileNotFoundError, FileExistsError):  # its last holder has removed the folder in between
            if tries == _TRIES:  # or no folder can be here, as where a file is; or no file, as in /proc
                raise
            continue
        if descriptor is None:
            if tries > 1:
                return False
            time.sleep(_GLANCE)  # it may be `status`, which looks for a moment whether the run is held
            continue
        if _is(path, descriptor):
            _held[name] = descriptor, made
        else:
            os.close(descriptor)  # its last holder has removed the file in between
    return True


def release(folder: str) -> None:
    """Let go; folders that `take` made and nothing was written in are removed again. Nothing held: nothing happens."""
    name = os.path.realpath(folder)
    if name in _held:
        descriptor, made = _held.pop(name)
        _tidy(name, descriptor, made)
        os.close(descriptor)


def _make(name: str) -> list[str]:
    """Make the folder and those above it; returns the ones that were not there, innermost first."""
    missing, path = [], name
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    os.makedirs(name, mode=0o700, exist_ok=True)
    return missing


def _locked(path: str) -> int | None:
    """The lock file, open and locked; None when another process has locked it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _is(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _tidy(name: str, descriptor: int, made: list[str]) -> None:
    """Remove what a command leaves that failed before it began, as for a bad option: a lock file and nothing else."""
    path = os.path.join(name, _NAME)
    try:
        if os.listdir(name) == [_NAME] and _is(path, descriptor):
            os.unlink(path)
            for folder in made:
                os.rmdir(folder)
    except OSError:
        return  # somebody has written there meanwhile, or has removed it
