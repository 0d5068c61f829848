"""What a stage was started with, in ``stage.json``: written before its first call, compared on every later start."""

from __future__ import annotations

import difflib
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from selfinstruct import __version__, links, rules
from selfinstruct.changes import AS_CONTENT, CLASSES, PATHS
from selfinstruct.errors import BadData, DamagedRun, IdentityChanged
from selfinstruct.links import Link
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.recipe import Recipe
from selfinstruct.schema import Endpoint, Noun, Rendering, SeedTask
from selfinstruct.store_files import pretty, write_whole

Asked = Mapping[str, tuple[Endpoint, Rendering]]
"""Who answers in each role, and how it is asked."""


class Refiltered(Noun):
    """Of a refiltered run: whose candidates it judges anew, and what it judges them by otherwise.

    ``run`` is the parent's name, ``parent`` the digest of what this stage was started with there, ``target`` how many
    records its first stage accepted or was asked for, ``rounds`` how many of its rounds were in shards. ``calls`` is
    the number of the last call in the ledger that was taken over. ``changed`` are the recipe's keys that were set.
    ``meaning`` says for people what such a run is not.
    """

    run: str
    parent: str
    target: int
    rounds: int
    calls: int
    changed: dict[str, Any]
    meaning: str = (
        "the parent's candidates, filtered anew; not a fresh run at these settings: rounds and prompts are the"
        " parent's, drawn from the pool as it grew there"
    )

    def beside(self, path: Path) -> Path:
        """Where the parent of the run at ``path`` should be."""
        return path.resolve().parent / self.run

    def command(self, path: Path) -> str:
        """The command that made the run at ``path``, goes on with it, and derives anew what of it is damaged."""
        beside = self.beside(path)
        parent = str(beside) if beside.is_dir() else self.run
        sets = (
            word for key, value in self.changed.items() for word in ("--set", f"{key}={orjson.dumps(value).decode()}")
        )
        return shlex.join(["selfinstruct", "refilter", parent, *sets, "--out", str(path)])

    def advice(self, path: Path) -> str:
        """What such a run is, and what goes on with it."""
        return f"'{self.run}' refiltered: only its own command goes on with it, or mends it: {self.command(path)}"


class StageIdentity(Noun):
    """``identity`` decides the stage's bytes; the rest is for people and for resuming.

    ``target`` is how many accepted records the first stage was last asked for, ``seed_tasks`` the path its seeds came
    from (empty: the shipped ones). ``prompts`` are the full texts, so that a changed prompt can be shown as a
    difference and a record's prompt can be read years later. ``paths`` are the recipe's `PATHS` as they were given
    last.
    """

    stage: str
    selfinstruct: str
    target: int
    seed_tasks: str
    identity: dict[str, Any]
    prompts: dict[str, str]
    paths: dict[str, Any] = {}

    @property
    def digest(self) -> str:
        """Hex sha256 of the identity: what the next stage of the chain is built on."""
        return hashlib.sha256(orjson.dumps(self.identity, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def refiltered(self) -> Refiltered | None:
        """Whose candidates these are, where the run is a refiltered one. Raises `DamagedRun` when it does not say."""
        block = self.identity.get("refiltered")
        try:
            return Refiltered.model_validate(block) if block else None
        except ValidationError as error:
            raise DamagedRun(f"{self.stage}/stage.json: does not say whose candidates these are") from error

    def of(self, refiltered: Refiltered) -> StageIdentity:
        """The same, of a refiltered run."""
        return self.model_copy(update={"identity": {**self.identity, "refiltered": refiltered.model_dump()}})

    @property
    def endpoint(self) -> tuple[Endpoint, Rendering]:
        """Who answers, and how it is asked. Raises `DamagedRun` when that is not there."""
        return self.asked["teacher"]

    @property
    def asked(self) -> dict[str, tuple[Endpoint, Rendering]]:
        """Who answers in each role, and how it is asked. Raises `DamagedRun` when that is not there."""
        try:
            return {
                role: (Endpoint(**{name: model[name] for name in Endpoint.model_fields}), model["rendering"])
                for role, model in self._models().items()
            }
        except (TypeError, KeyError, ValidationError) as error:
            raise DamagedRun(f"{self.stage}/stage.json: does not say which model answers") from error

    def _models(self) -> dict[str, Any]:
        return {"teacher": self.identity.get("model"), **self.identity.get("roles", {})}


def of_stage(
    link: Link,
    recipe: Recipe,
    seeds: list[SeedTask],
    asked: Asked,
    upstream: StageIdentity | None,
    target: int,
) -> StageIdentity:
    """The identity of one stage of a chain. Seeds count by content, not by path."""
    values = recipe.model_dump(mode="json")
    shared = {name: value for name, value in values.items() if name in CLASSES["identity"] - AS_CONTENT}
    table = {f"{link.table}.{name}": value for name, value in values[link.table].items()}
    own = {key.partition(".")[2]: table[key] for key in table if key in CLASSES["identity"] - AS_CONTENT}
    if not own.get("use"):
        own.pop("use", None)  # as before there was such a key: an older run goes on
    seed_bytes = b"\n".join(seed.model_dump_json().encode() for seed in seeds)
    asks = (role for role in asked if role != "teacher" and role.partition("/")[0] in link.stage.roles)
    roles = {role: _who(recipe.played_by(role), asked[role]) for role in asks}
    stands = _standing(recipe, link)
    identity = {
        **shared,
        link.table: own,
        "model": _who(recipe.played_by(stands), asked[stands]),
        **({"roles": roles} if roles else {}),
        "prompts": {prompt.name: f"version {prompt.version}, sha256 {prompt.digest}" for prompt in link.prompts},
        "filters": [type(item).__name__ for item in link.filters],
        "languages": f"sha256 {rules.digest('languages')}",  # the words `LanguageMatch` goes by
        **({"used": dict(link.data)} if link.data else {}),  # what the filters of `use` go by, and files of the user's
        "seeds": f"{len(seeds)} tasks, sha256 {hashlib.sha256(seed_bytes).hexdigest()}",
        "upstream": upstream.digest if upstream else None,
        **({"waits": True} if link.waits else {}),  # for the whole of the stage before
    }
    return StageIdentity(
        stage=link.stage.name,
        selfinstruct=__version__,
        target=target,
        seed_tasks=recipe.seed_tasks,
        identity=identity,
        prompts={prompt.name: prompt.text for prompt in link.prompts},
        paths=_paths(values) if recipe.method in ("ultrachat", "ultrafeedback") else {},
    )


def _standing(recipe: Recipe, link: Link) -> str:
    """Whose block is the stage's ``model``: the run's own, or for want of one somebody whom it has to do with.

    So a judge may still be chosen after all has been sampled.
    """
    if recipe.method != "ultrafeedback":
        return "teacher"
    return "judge" if "judge" in link.stage.roles else recipe.pool_roles[0]


def _paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's `PATHS` that say something."""
    given = {key: values[key.partition(".")[0]][key.partition(".")[2]] for key in sorted(PATHS)}
    return {key: value for key, value in given.items() if value}


def _who(recipe: ModelRecipe, asked: tuple[Endpoint, Rendering]) -> dict[str, Any]:
    """Who is asked, and how: the block of ``stage.json`` from which `model_recipe_of` makes the recipe again."""
    return {
        **recipe.model_dump(include={"api", "context", "endpoint", "reproducible"}),
        **asked[0].model_dump(mode="json"),
        "rendering": asked[1],
    }


def read(folder: Path) -> StageIdentity | None:
    """What the stage in this folder was started with; None when it never was. Raises `DamagedRun`."""
    path = folder / "stage.json"
    try:
        return StageIdentity.model_validate(_unsealed(path.read_bytes()))
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


def answering(chain: Sequence[StageIdentity]) -> dict[str, tuple[Endpoint, Rendering]]:
    """Who answers in each role in any stage of a run, and how it is asked. Raises as `StageIdentity.asked` does."""
    return {role: who for started in chain for role, who in started.asked.items()}


def counted(chain: Sequence[StageIdentity]) -> int:
    """The place in a chain of the stage whose records its target counts."""
    return links.counted(started.identity.get("waits") for started in chain)


def write(folder: Path, identity: StageIdentity) -> None:
    """Write ``stage.json``, by one rename; its last line is the sha256 of what stands before it."""
    write_whole(folder / "stage.json", _sealed(identity))


def is_intact(folder: Path) -> bool:
    """True when ``stage.json`` is, byte for byte, what was written; before 0.2 that was without the last line."""
    try:
        data = (folder / "stage.json").read_bytes()
        started = StageIdentity.model_validate(_unsealed(data))
        return data in (_sealed(started), pretty(started.model_dump(exclude={"paths"})))
    except (OSError, ValueError):
        return False


def model_recipe_of(started: StageIdentity, role: str = "teacher") -> ModelRecipe:
    """The recipe of the model that a stage was started with, named. Raises `DamagedRun`."""
    endpoint, _ = started.asked[role]
    model = started._models()[role]
    own = {name: value for name, value in model.items() if name in ModelRecipe.model_fields and name != "rendering"}
    own["name"] = "" if model["api"] == "replay" else endpoint.model
    own["alias"] = role.partition("/")[2]
    own["base_url"] = endpoint.identity if model["api"] in ("chat", "completion") else ""
    return ModelRecipe(**own)


def recipe_of(path: Path) -> tuple[Recipe, int]:
    """The recipe that a run of stages was started with, put together from its ``stage.json`` files, and its target.

    Raises `BadData` where no run was started, and `DamagedRun` for a file that is missing or cannot be read.
    """
    chain = of_run(path)
    if not chain:
        raise BadData(f"{path}: no run was started here (no <stage>/stage.json)")
    every = {name: value for started in chain for name, value in started.identity.items()}
    fields = {name: value for name, value in every.items() if name in Recipe.model_fields}
    fields |= {"model": model_recipe_of(chain[0]), "seed_tasks": chain[0].seed_tasks}
    for key, value in (item for started in chain for item in started.paths.items()):
        table, _, name = key.partition(".")
        fields[table] = {**fields.get(table, {}), name: value}
    asking = {role: started for started in chain for role in started.asked if role != "teacher"}
    fields |= {role: model_recipe_of(started, role) for role, started in asking.items() if "/" not in role}
    fields["pool"] = tuple(model_recipe_of(asking[role], role) for role in sorted(asking) if "/" in role)
    names = {started.stage for started in chain}
    if "binarize" in names and "critique" not in names:
        fields["critique"] = {"enabled": False}
    try:
        return Recipe.model_validate(fields), chain[0].target
    except ValidationError as error:
        raise DamagedRun(f"{path}: its stage.json files hold no recipe: {error.errors()[0]['msg']}") from error


def _sealed(identity: StageIdentity) -> bytes:
    fields = identity.model_dump(exclude=set() if identity.paths else {"paths"})
    return pretty({**fields, "sha256": hashlib.sha256(orjson.dumps(fields)).hexdigest()})


def _unsealed(data: bytes) -> Any:
    fields = orjson.loads(data)
    if isinstance(fields, dict):
        fields.pop("sha256", None)
    return fields


def compare(folder: Path, before: StageIdentity, now: StageIdentity) -> None:
    """Raise `IdentityChanged` with every difference, one a line, when the run was started with other settings."""
    if before.refiltered and not now.refiltered:
        raise IdentityChanged(f"{folder.parent}: is {before.refiltered.advice(folder.parent)}")
    old, new = (_flat(_in_short(one.identity, other.identity)) for one, other in ((before, now), (now, before)))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    # An empty table that was filled is told by what it was filled with.
    filled = {key for key in changed if {} in (old.get(key), new.get(key)) and _has_below(key, changed)}
    lines = [f"  {key}: {old.get(key)!r} -> {new.get(key)!r}" for key in changed if key not in filled]
    if not lines:
        return
    for name in sorted(now.prompts.keys() & before.prompts.keys()):
        a, b = before.prompts[name].splitlines(), now.prompts[name].splitlines()
        lines += ["  " + line for line in difflib.unified_diff(a, b, f"{name} then", f"{name} now", lineterm="", n=0)]
    raise IdentityChanged(
        f"{folder}: this run was started with other settings, and its records would no longer be of one kind;"
        " undo the change, or give the new settings a run of their own (--run NAME, or another --out)\n"
        + "\n".join(lines)
    )


def _in_short(identity: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """An identity that tells in one line of a model of a pool that the other does not have, not in fourteen."""
    roles, others = identity.get("roles", {}), other.get("roles", {})
    told = {
        role: f"{who['model']} ({who['identity']})" if "/" in role and role not in others else who
        for role, who in roles.items()
    }
    return {**identity, "roles": told} if roles else identity


def _has_below(table: str, keys: list[str]) -> bool:
    return any(key.startswith(f"{table}.") for key in keys)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            flat[prefix + key] = item
    return flat
