"""What a run is started with: the recipe (changes bytes; compared on resume) is resolved, the `Settings` are read.

*If changing it may change a byte of a shard it is in the recipe; otherwise in the settings.* Precedence, per value:
flag, then environment, then recipe file, then default.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from selfinstruct import resources
from selfinstruct.errors import ConfigProblem, UsageProblem
from selfinstruct.money import Amount, Price, parse_amount, parse_duration, parse_price
from selfinstruct.recipe import STAGES, Recipe, known_keys


def _read_by(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    """A validator that reads text as its option would be read."""
    return lambda value: parse(value) if isinstance(value, str) else value


def _read_patience(text: str) -> float:
    return parse_duration(text, "--give-up-after")


_GPU = r"([0-9]+|(GPU|MIG)-[\w/-]+)"


def _read_gpus(given: Any) -> tuple[str, ...]:
    """Sets of GPUs by number or by NVIDIA's name: ``0,1;2,3`` in the environment, an option's item for each set."""
    sets = [one for text in ([given] if isinstance(given, str) else given) for one in str(text).split(";")]
    read = tuple(re.sub(r"\s*,\s*", ",", one.strip()) for one in sets if one.strip())
    if not all(re.fullmatch(rf"{_GPU}(,{_GPU})*", one) for one in read):
        raise ValueError("a set of GPUs looks like 0 or 0,1, and comes once for each server (0,1;2,3 in a variable)")
    numbers = [number for one in read for number in one.split(",")]
    if len(set(numbers)) < len(numbers):
        raise ValueError("a GPU stands twice: each belongs to one server")
    return read


Seconds = Annotated[float, Field(gt=0)]

# What --bootstrap shows where the recipe shows none: Self-Instruct's two of eight; one of Alpaca's three.
_MACHINE_DEMOS = {"bootstrap": 2, "alpaca": 1, "belle": 1}


COMMANDS = {"ultrachat": "dialogue", "ultrafeedback": "feedback"}
"""Methods that have a command of their own."""


Until = Literal["sample", "rate", "critique"]


class Settings(BaseSettings):
    """What does not change a byte: keys, paths, concurrency. Read from ``SELFINSTRUCT_*`` and OpenAI's variables."""

    model_config = SettingsConfigDict(env_prefix="SELFINSTRUCT_", extra="ignore", validate_default=True)

    output_dir: Path = Path("output")
    concurrency: int | None = Field(default=None, ge=1)
    rpm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tpm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    timeout: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    give_up_after: Annotated[Seconds | None, BeforeValidator(_read_by(_read_patience))] = None
    deadline: Annotated[Seconds | None, BeforeValidator(_read_by(parse_duration))] = None
    # NoDecode: 20 is an amount, too, and no JSON.
    max_cost: Annotated[Amount | None, NoDecode, BeforeValidator(_read_by(parse_amount))] = None
    max_calls: int | None = Field(default=None, ge=1)
    max_tokens_total: int | None = Field(default=None, ge=1)
    price: Annotated[Price | None, NoDecode, BeforeValidator(_read_by(parse_price))] = None
    user_price: Annotated[Price | None, NoDecode, BeforeValidator(_read_by(parse_price))] = None
    assistant_price: Annotated[Price | None, NoDecode, BeforeValidator(_read_by(parse_price))] = None
    judge_price: Annotated[Price | None, NoDecode, BeforeValidator(_read_by(parse_price))] = None
    answer_tokens: int | None = Field(default=None, ge=1)  # of a dialogue's turns, for plans alone
    turn_tokens: int | None = Field(default=None, ge=1)
    until: Until | None = None  # of feedback: the last stage to run
    sync: bool = True
    max_unusable: float = Field(default=0.2, ge=0, le=1)
    threads: int | None = Field(default=None, ge=1)
    gguf: Path | None = None
    replay_from: Path | None = None
    allow_network_fs: bool = False
    vllm_python: str = ""
    vllm_start_timeout: float = Field(default=1800.0, gt=0, allow_inf_nan=False)  # seconds; large weights load slowly
    vllm_restarts: int = Field(default=3, ge=0)
    gpus: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_read_gpus)] = ()
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    user_api_key: SecretStr | None = None
    assistant_api_key: SecretStr | None = None
    judge_api_key: SecretStr | None = None
    openai_base_url: str = Field(default="", validation_alias="OPENAI_BASE_URL")


def settings(overrides: Mapping[str, Any]) -> Settings:
    """The settings, flags (those not None) over environment.

    Raises `UsageProblem` naming the option, or `ConfigProblem` naming the variable, whose value is wrong.
    """
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        if overrides.get(field) is not None:
            raise UsageProblem(f"--{field.replace('_', '-')} {first['input']}: {first['msg']}") from error
        name = "_".join(str(part) for part in first["loc"]).upper()
        prefix = "" if name.startswith("OPENAI") else "SELFINSTRUCT_"
        raise ConfigProblem(f"{prefix}{name}={first['input']!r}: {first['msg']}") from error


def resolve(source: str | None, sets: Iterable[str], flags: Mapping[str, Any]) -> Recipe:
    """The recipe: defaults, then the file or shipped name, then ``--set key=value``, then flags (those not None).

    Flags have dotted keys; ``first.`` stands for the table of the method's first stage. ``environment.base_url`` beats
    the recipe's address, unless an endpoint is named: its key must not go to an address meant for another. Raises
    `ConfigProblem` for an unknown key, wherever it stands, with a suggestion, for a bad value in the file, and for a
    table that the method does not read; `UsageProblem` for a bad value of ``--set`` or a flag.
    """
    data = _read(source) if source else {}
    _check(data, source or "")
    own = data.get("method")
    if own and flags.get("method") not in (None, own):
        hint = "" if {own, flags["method"]} & COMMANDS.keys() else "leave --method out, or "
        raise ConfigProblem(f"{source} is a recipe of {_named(own)}: {hint}take another recipe")
    for item in sets:
        _put(data, *_read_set(item))
        _check(data, f"--set '{item}'")
    _set_flags(data, flags)
    recipe = Recipe.model_validate(data)
    unread = {table for tables in STAGES.values() for table in tables} - set(STAGES[recipe.method])
    if stray := sorted(unread & data.keys()):
        method = next(name for name, tables in STAGES.items() if stray[0] in tables)
        raise ConfigProblem(
            f"{source or '--set'}: [{stray[0]}] is a table of {_named(method)}, and this run is {recipe.method}"
        )
    return recipe


def reset(recipe: Recipe, sets: Iterable[str]) -> tuple[Recipe, list[str]]:
    """A resolved recipe with each ``--set key=value`` on top, and the dotted keys that were set.

    A key that does not start with a field of the recipe is one of the method's first stage. Raises as `resolve` does.
    """
    data, keys = recipe.model_dump(mode="json"), []
    for item in sets:
        key, value = _read_set(item)
        first = "" if key.partition(".")[0] in Recipe.model_fields else f"{STAGES[recipe.method][0]}."
        keys.append(first + key)
        _put(data, keys[-1], value)
        _check(data, f"--set '{item}'")
    return Recipe.model_validate(data), keys


def pool_named_by(source: str | None, sets: Iterable[str], otherwise: str) -> str | None:
    """The pool that a recipe or a ``--set`` names, or the one ``otherwise``; None where its models are spelled out."""
    named = [value for key, value in map(_read_set, sets) if key == "pool"]
    pool = (named or [_toml(source)[1].get("pool", otherwise) if source else otherwise])[-1]
    return pool if isinstance(pool, str) else None


def _set_flags(data: dict[str, Any], flags: Mapping[str, Any]) -> None:
    given = {key: value for key, value in flags.items() if value is not None}
    first = STAGES[given.get("method", data.get("method", "self-instruct"))][0]
    if first == "bootstrap" and given.pop("first.format", "text") != "text":
        raise UsageProblem("--format json is for --method alpaca and belle; self-instruct asks stage by stage, in text")
    if (from_pool := given.pop("first.bootstrap", None)) is not None:
        shown = data.get(first, {}).get("machine_demos") or _MACHINE_DEMOS[first]
        given["first.machine_demos"] = shown if from_pool else 0
    address, endpoint = given.pop("environment.base_url", None), data.get("model", {}).get("endpoint")
    if address and not given.get("model.endpoint", endpoint):
        given.setdefault("model.base_url", address)
    for key, value in given.items():
        _put(data, f"{first}.{key.removeprefix('first.')}" if key.startswith("first.") else key, value)
        _check(data, "--" + key.rpartition(".")[2].replace("_", "-"))


def _named(method: str) -> str:
    """What a method is asked for by, for people."""
    return f"'selfinstruct {COMMANDS[method]}'" if method in COMMANDS else f"--method {method}"


def _read(source: str) -> dict[str, Any]:
    _, data = _toml(source)
    return {**data, "pool": _pooled(data["pool"], data.get("method"))} if "pool" in data else data


def _toml(source: str) -> tuple[Path, dict[str, Any]]:
    """A recipe's file, and what it says."""
    path = Path(source)
    if not path.suffix and not path.is_file():
        path = resources.recipes_dir() / f"{source}.toml"
    try:
        return path, tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        shipped = ", ".join(sorted(p.stem for p in resources.recipes_dir().glob("*.toml")))
        raise ConfigProblem(
            f"{source}: cannot read the recipe: {error.strerror}; shipped recipes: {shipped}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigProblem(f"{path}: not TOML: {error}") from error


def _check(data: dict[str, Any], where: str) -> None:
    """Raise one clear line for the first thing that is wrong with ``data``."""
    try:
        Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigProblem(f"{where}: unknown recipe key '{key}'{_suggest(key)}") from error
        kind = UsageProblem if where.startswith("--") else ConfigProblem
        whole = first["type"] == "value_error" and isinstance(first["input"], dict)
        got = "" if whole else f" (got {first['input']!r})"  # a whole table says nothing
        told = first["msg"].removeprefix("Value error, ")
        raise kind(": ".join(filter(None, (where, key, told))) + got) from error


def _suggest(key: str) -> str:
    """Names are compared without their table, or ``bootstrap.keep`` would look like ``bootstrap.top_p``."""
    known = known_keys(Recipe) if "." in key else [*Recipe.model_fields, *known_keys(Recipe)]
    names = {name: name.rpartition(".")[2] for name in known}
    closest = difflib.get_close_matches(key.rpartition(".")[2], names.values(), n=1)
    likely = [name for name in known if names[name] in closest]  # without a table, the first that has the name
    close = difflib.get_close_matches(key, likely, n=1, cutoff=0) if "." in key else likely
    return f"; did you mean '{close[0]}'?" if close else ""


def _read_set(item: str) -> tuple[str, Any]:
    key, equals, text = item.partition("=")
    if not equals:
        raise UsageProblem(f"--set '{item}': expected key=value, such as instances.temperature=0.5")
    return key.strip(), _value(text.strip())


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise UsageProblem(f"'{key}': '{table}' is a value, not a table")
    data[last] = _pooled(value, data.get("method")) if key == "pool" else value


def _pooled(value: Any, method: Any) -> Any:
    """A pool by its name or file as its models, spelled out as they will be written down."""
    if not isinstance(value, str):
        return value
    from selfinstruct import pool_recipes  # which most runs do without

    return pool_recipes.pooled(value, without_retired=method == "ultrafeedback")


def _value(text: str) -> Any:
    """A TOML value; a bare word is a string."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
