"""What a stage was started with, in ``stage.json``: written before its first call, compared on every later start."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from selfinstruct import __version__
from selfinstruct.config import TABLES, Recipe
from selfinstruct.errors import DamagedRun, IdentityChanged
from selfinstruct.methods import Link
from selfinstruct.schema import Endpoint, Noun, Rendering, SeedTask
from selfinstruct.store_files import pretty, write_whole


class StageIdentity(Noun):
    """``identity`` decides the stage's bytes; the rest is for people and for resuming.

    ``target`` is how many accepted records the first stage was last asked for, ``seed_tasks`` the path its seeds came
    from (empty: the shipped ones). ``prompts`` are the full texts, so that a changed prompt can be shown as a
    difference and a record's prompt can be read years later.
    """

    stage: str
    selfinstruct: str
    target: int
    seed_tasks: str
    identity: dict[str, Any]
    prompts: dict[str, str]

    @property
    def digest(self) -> str:
        """Hex sha256 of the identity: what the next stage of the chain is built on."""
        return hashlib.sha256(orjson.dumps(self.identity, option=orjson.OPT_SORT_KEYS)).hexdigest()


def of_stage(
    link: Link,
    recipe: Recipe,
    seeds: list[SeedTask],
    endpoint: tuple[Endpoint, Rendering],
    upstream: StageIdentity | None,
    target: int,
) -> StageIdentity:
    """The identity of one stage of a chain. Seeds count by content, not by path."""
    shared = recipe.model_dump(mode="json", exclude={*TABLES, "seed_tasks"})
    own = {link.table: recipe.model_dump(mode="json")[link.table]}
    seed_bytes = b"\n".join(seed.model_dump_json().encode() for seed in seeds)
    identity = {
        **shared,
        **own,
        "model": {
            **recipe.model.model_dump(include={"api", "context", "reproducible"}),
            **endpoint[0].model_dump(mode="json"),
            "rendering": endpoint[1],
        },
        "prompts": {prompt.name: f"version {prompt.version}, sha256 {prompt.digest}" for prompt in link.prompts},
        "filters": [type(item).__name__ for item in link.filters],
        "seeds": f"{len(seeds)} tasks, sha256 {hashlib.sha256(seed_bytes).hexdigest()}",
        "upstream": upstream.digest if upstream else None,
    }
    return StageIdentity(
        stage=link.stage.name,
        selfinstruct=__version__,
        target=target,
        seed_tasks=recipe.seed_tasks,
        identity=identity,
        prompts={prompt.name: prompt.text for prompt in link.prompts},
    )


def read(folder: Path) -> StageIdentity | None:
    """What the stage in this folder was started with; None when it never was. Raises `DamagedRun`."""
    path = folder / "stage.json"
    try:
        return StageIdentity.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DamagedRun(
            f"{path}: cannot be read, so the run's recipe is not known; put the file back, or start a run of its own"
        ) from error


def of_run(path: Path) -> list[StageIdentity]:
    """What every stage of a run was started with, in the chain's order: each names the digest of the one before."""
    found = [started for file in path.glob("*/stage.json") if (started := read(file.parent))]
    following = {started.identity.get("upstream"): started for started in found}
    chain: list[StageIdentity] = []
    while (started := following.pop(chain[-1].digest if chain else None, None)) is not None:
        chain.append(started)
    return chain


def write(folder: Path, identity: StageIdentity) -> None:
    """Write ``stage.json``, by one rename."""
    write_whole(folder / "stage.json", pretty(identity.model_dump()))


def compare(folder: Path, before: StageIdentity, now: StageIdentity) -> None:
    """Raise `IdentityChanged` with every difference, one a line, when the run was started with other settings."""
    old, new = _flat(before.identity), _flat(now.identity)
    lines = [f"  {key}: {old.get(key)!r} -> {new.get(key)!r}" for key in {**old, **new} if old.get(key) != new.get(key)]
    if not lines:
        return
    for name in sorted(now.prompts.keys() & before.prompts.keys()):
        a, b = before.prompts[name].splitlines(), now.prompts[name].splitlines()
        lines += ["  " + line for line in difflib.unified_diff(a, b, f"{name} then", f"{name} now", lineterm="", n=0)]
    raise IdentityChanged(
        f"{folder}: this run was started with other settings, and its shards would no longer be of one kind;"
        " undo the change, or give the new settings a run of their own with --run NAME\n" + "\n".join(lines)
    )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            flat[prefix + key] = item
    return flat
