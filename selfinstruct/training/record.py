"""What a tuning was started with, in ``training.json`` beside the weights: written first, compared on every start.

It says everything that decides the weights: the values, the data by its bytes, the base model by its own, the packages.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from selfinstruct import __version__
from selfinstruct.errors import IdentityChanged, OutputFailed
from selfinstruct.model_digest import digest_of_folder
from selfinstruct.schema import Noun
from selfinstruct.store_files import pretty, write_whole
from selfinstruct.training.data import Source
from selfinstruct.training.extra import PACKAGES
from selfinstruct.training.recipe import OPERATIONAL, Tuning

NAME: Final = "training.json"
_LOOKS_FREE: Final = frozenset({NAME, ".lock"})


class UsedSource(Noun):
    """Data that was trained on: its name, the sha256 of its bytes, rows taken, rows left out by reason.

    ``manifest`` is that of the run's stage where it is a run of ours.
    """

    label: str
    sha256: str
    rows: int
    skipped: dict[str, int] = {}
    manifest: dict[str, Any] | None = None


class Training(Noun):
    """``training.json``. ``base`` is the model that was tuned: a folder's digest, or a Hub id at its revision.

    ``records`` and ``tokens`` are of the training rows after cutting, ``supervised`` those of them that were learned.
    ``results`` are the figures of a finished tuning.
    """

    format: Literal[1] = 1
    state: Literal["running", "complete"] = "running"
    selfinstruct: str = __version__
    tuning: Tuning
    base: str
    sources: tuple[UsedSource, ...]
    records: int
    held_out: int
    tokens: int
    supervised: int
    global_batch: str
    versions: dict[str, str]
    results: dict[str, Any] = {}

    def write(self, out: Path) -> None:
        """Write it by one rename. Raises `OutputFailed`."""
        write_whole(out / NAME, pretty(self.model_dump(mode="json")))


def read(out: Path) -> Training | None:
    """What the folder's tuning was started with; None where there is none."""
    try:
        return Training.model_validate_json((out / NAME).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise OutputFailed(f"{out / NAME}: cannot be read; remove the folder, or name another --out") from error


def of_base(tuning: Tuning, path: str) -> str:
    """What model this is, whatever its folder is called."""
    folder = Path(path)
    return f"sha256:{digest_of_folder(folder)}" if folder.is_dir() else f"{path}@{tuning.revision}"


def of_sources(sources: Sequence[Source[Any]], rows: dict[str, int]) -> tuple[UsedSource, ...]:
    """What was read, after it was read."""
    return tuple(
        UsedSource(
            label=source.label,
            sha256=source.sha256,
            rows=rows.get(source.label, 0),
            skipped=dict(source.skipped),
            manifest=source.manifest,
        )
        for source in sources
    )


def versions() -> dict[str, str]:
    """The packages that decide what is learned, and Python's version."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "?"
    return found


def other_versions(before: Training, now: Training) -> Iterator[str]:
    """Packages that are others than those a tuning was begun with: it goes on, and its curve may not be the same."""
    for name, there in now.versions.items():
        began = before.versions.get(name, "none")
        if began != there:
            yield f"begun with {name} {began}, going on with {there}: the curve may differ"


def compare(out: Path, before: Training, now: Training) -> None:
    """Raise `IdentityChanged` with the differences where the folder's tuning was started with other things."""
    differences = list(_differences(before, now))
    if differences:
        lines = "\n".join(f"  {line}" for line in differences)
        raise IdentityChanged(
            f"{out}: a tuning was started here with other values (there → now):\n{lines}\n"
            "give those again, name another --out, or start it anew with --restart"
        )


def _differences(before: Training, now: Training) -> Iterator[str]:
    old, new = before.tuning.model_dump(), now.tuning.model_dump()
    for key in old:
        if key not in OPERATIONAL and old[key] != new[key] and key != "base":
            yield f"{key}: {old[key]} → {new[key]}"
    if before.base != now.base:
        yield f"base model: {before.tuning.base} ({before.base[:19]}…) → {now.tuning.base} ({now.base[:19]}…)"
    theirs, ours = ({source.label: source.sha256 for source in one.sources} for one in (before, now))
    for label in dict.fromkeys([*theirs, *ours]):
        if theirs.get(label) != ours.get(label):
            yield f"data {label}: {theirs.get(label, 'none')[:12]} → {ours.get(label, 'none')[:12]}"


def see_free(out: Path) -> None:
    """Raise `OutputFailed` where a folder without ``training.json`` holds something that is not ours to write over."""
    if out.is_dir() and not (out / NAME).exists() and any(entry.name not in _LOOKS_FREE for entry in out.iterdir()):
        raise OutputFailed(f"{out}: holds files, and no tuning of ours; name another --out")
