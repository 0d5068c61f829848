"""Checkpoints that are whole. A process that is killed while it writes one leaves a part, which is never gone on from.

A checkpoint's last file is ours and lists the others with their lengths; what lacks it, or differs, is half a one.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import orjson

from selfinstruct.store_files import flush, write_whole

_MARK: Final = "whole.json"
_PREFIX: Final = "checkpoint-"
_WEIGHTS: Final = ("model*.safetensors*", "adapter_*", "config.json")


def step_of(checkpoint: Path) -> int:
    """The number of the optimizer step a checkpoint was written after."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def mark(checkpoint: Path) -> None:
    """Say that a checkpoint is whole, once all its bytes are on disk. Raises `OSError` and `OutputFailed`."""
    files = _lengths(checkpoint)
    for name in files:
        flush(checkpoint / name)
    write_whole(checkpoint / _MARK, orjson.dumps(files, option=orjson.OPT_INDENT_2) + b"\n")


def latest(out: Path) -> Path | None:
    """The last whole checkpoint, if there is one."""
    return max(filter(_is_whole, _all(out)), key=step_of, default=None)


def sweep(out: Path) -> None:
    """Remove what is left of half checkpoints: a trainer counts them among those it keeps."""
    for checkpoint in _all(out):
        if not _is_whole(checkpoint):
            shutil.rmtree(checkpoint, ignore_errors=True)


def remove_all(out: Path) -> None:
    """Forget every checkpoint, and the weights at the root: an adapter that stays beside a new model would win."""
    for folder in (*_all(out), out / "merged"):
        shutil.rmtree(folder, ignore_errors=True)
    for pattern in _WEIGHTS:
        for file in out.glob(pattern):
            file.unlink()


def _all(out: Path) -> list[Path]:
    return [path for path in out.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal()]


def _is_whole(checkpoint: Path) -> bool:
    try:
        said = orjson.loads((checkpoint / _MARK).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    there = _lengths(checkpoint)  # another process may have added its own random state since
    return isinstance(said, dict) and all(there.get(name) == length for name, length in said.items())


def _lengths(checkpoint: Path) -> dict[str, int]:
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != _MARK)
    return {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}
