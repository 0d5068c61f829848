"""Presets of endpoints: what is known of a provider's API, as dated data with sources (``recipes/endpoints/*.toml``).

A preset says where an API is, which variable holds its key, and what its models want spelled differently. It is no
promise: providers change models by the month, so each file says when it was checked, and a recipe overrules all of it.
"""

from __future__ import annotations

import datetime
import difflib
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfinstruct import resources
from selfinstruct.base_url import ApiKey, normal_base_url
from selfinstruct.errors import AccessDenied, ConfigProblem
from selfinstruct.schema import JsonMode, Limits, Noun, TokenField


class ModelOddities(Noun):
    """What a model wants spelled differently; see `Endpoint` for the fields it shares with it.

    ``thinks`` says that the model thinks before it answers, whatever it is told: ``max_tokens`` must leave room.
    """

    token_field: TokenField = "max_tokens"
    omit: tuple[str, ...] = ()
    extra_body: dict[str, Any] = {}
    limits: Limits = {}
    json_mode: JsonMode = "json_schema"
    thinks: bool = False


class ModelRow(Noun):
    """Models by the pattern of their names (``*``, ``?`` and ``[…]``, in any case), and what is odd about them."""

    match: tuple[str, ...]
    unless: tuple[str, ...] = ()
    token_field: TokenField | None = None
    omit: tuple[str, ...] = ()
    extra_body: dict[str, Any] = {}
    limits: Limits = {}
    json_mode: JsonMode | None = None
    thinks: bool | None = None
    note: str

    def holds_for(self, model: str) -> bool:
        """Whether the row speaks of a model."""
        return _matches(model, self.match) and not _matches(model, self.unless)


class Preset(Noun):
    """A provider's API. ``other_urls`` are more addresses of the same one; an empty ``default_model`` is none.

    ``thoughts_count`` says that ``max_tokens`` holds thoughts, too; where it does not, nothing bounds what they cost.
    ``source`` lists what was read on the day ``checked``; a row of ``models`` names what it was read from in its note.
    """

    name: str
    checked: datetime.date
    source: tuple[str, ...]
    base_url: str
    other_urls: tuple[str, ...] = ()
    key_variable: str
    other_key_variables: tuple[str, ...] = ()
    key_page: str
    default_model: str
    json_mode: JsonMode
    thoughts_count: bool = True
    models: tuple[ModelRow, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """Every address, the usual one first."""
        return (self.base_url, *self.other_urls)

    def for_model(self, model: str) -> ModelOddities:
        """What is known of a model: all rows that hold for it, a later one over an earlier."""
        found: dict[str, Any] = {"json_mode": self.json_mode, "omit": (), "extra_body": {}, "limits": {}}
        for row in self.models:
            if row.holds_for(model):
                said = row.model_dump(include=set(ModelOddities.model_fields), exclude_none=True)
                for name, value in said.items():
                    found[name] = _joined(found[name], value) if name in ("omit", "extra_body", "limits") else value
        return ModelOddities(**found)


def names() -> list[str]:
    """The presets we ship."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load(name: str) -> Preset:
    """A preset by its name. Raises `ConfigProblem` for one we do not ship, or a file that is broken."""
    known = names()
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise ConfigProblem(f"no endpoint preset '{name}'{hint} (there are {', '.join(known)})")
    path = _folder() / f"{name}.toml"
    try:
        return Preset(name=name, **tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigProblem(f"{path}: {key}: {first['msg']}") from error
    except (OSError, TypeError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigProblem(f"{path}: cannot be read: {error}") from error


def preset_of(base_url: str) -> Preset | None:
    """The preset that has this address, however it is spelled, or None. Raises `ConfigProblem` for what is no URL."""
    wanted = normal_base_url(base_url)
    return next((preset for preset in map(load, names()) if wanted in map(normal_base_url, preset.urls)), None)


def key_of(preset: Preset, environ: Mapping[str, str]) -> ApiKey | None:
    """The key for a preset's API, from its own variables and no others, or None: no other company is to see it."""
    variables = (preset.key_variable, *preset.other_key_variables)
    found = ((environ.get(variable, "").strip(), variable) for variable in variables)
    return next((ApiKey(key, variable) for key, variable in found if key), None)


def no_key(preset: Preset) -> AccessDenied:
    """The error for a preset whose key is missing."""
    variables = " or ".join((preset.key_variable, *preset.other_key_variables))
    return AccessDenied(
        f"no API key for {preset.name}: set {variables}; keys are made at {preset.key_page}"
        " (a key in another variable is not sent there)"
    )


def _folder() -> Path:
    return resources.recipes_dir() / "endpoints"


def _matches(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model.lower(), pattern.lower()) for pattern in patterns)


def _joined(before: Any, more: Any) -> Any:
    """Two tables in one, the later first in line; or two lists, each name once."""
    return before | more if isinstance(before, dict) else tuple(dict.fromkeys((*before, *more)))
