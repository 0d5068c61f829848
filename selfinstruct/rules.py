"""Which instructions a stage refuses by their wording: numbers and word lists, kept as data with source and reason.

The values of a run stand in its recipe, under ``<stage>.rules``, where each can be set alone. What a recipe does not
say comes from a data file of ours, ``filters/rules/<stage>.<lang>.toml``: one table a rule, with its ``value``, its
``source`` (where the value comes from) and its ``reason`` (what it is good for). A file may start with ``like =
"bootstrap.en"``: it then states only what differs from that file.
"""

from __future__ import annotations

import hashlib
import tomllib
from typing import Any, Literal, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from selfinstruct import resources
from selfinstruct.errors import ConfigProblem
from selfinstruct.schema import Lang, Noun


class Rules(Noun):
    """What an instruction must look like. `Heuristics` applies all of it but ``phrases``.

    Lengths are counted in ``unit``: words between white space, or characters that are not white space; limits are
    inclusive, and None is no limit. ``max_length_with_input`` replaces ``max_length`` for a task that has an input, and
    ``max_length_with_example`` replaces both where its instruction also holds one of the ``example_words``.

    A ``blacklist`` entry counts as a whole word or as any substring, always without case, and never where one of the
    words of ``blacklist_except`` holds it or its beginning; it is looked for in the instruction, or in input and
    output as well. ``openings`` are plain prefixes. The first character must be neither punctuation, unless it is one
    of the ``opening_marks``, nor, where only ``ascii`` may stand first, anything else.

    ``phrases`` are taken out of an instruction before anything judges it, see `selfinstruct.parsing.phrases`.
    """

    unit: Literal["words", "characters"]
    min_length: int = Field(ge=1)
    max_length: int | None = Field(default=None, ge=1)
    max_length_with_input: int | None = Field(default=None, ge=1)
    max_length_with_example: int | None = Field(default=None, ge=1)
    example_words: tuple[str, ...] = ()
    blacklist: tuple[str, ...]
    blacklist_except: tuple[str, ...] = ()
    blacklist_match: Literal["word", "substring"]
    blacklist_scope: Literal["instruction", "record"] = "instruction"
    openings: tuple[str, ...] = ()
    openings_match_case: bool = False
    first_character: Literal["ascii", "any"]
    opening_marks: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for limit in (self.max_length, self.max_length_with_input, self.max_length_with_example):
            if limit is not None and limit < self.min_length:
                raise ValueError(f"no text is at least {self.min_length} and at most {limit} {self.unit} long")
        return self

    @model_validator(mode="after")
    def _visible(self) -> Self:
        for name in ("example_words", "blacklist", "blacklist_except", "openings", "opening_marks", "phrases"):
            if not all(entry.strip() for entry in getattr(self, name)):
                raise ValueError(f"an entry of {name} is empty: it would match any text")
        return self


class Rule(Noun):
    """One table of a data file: a value, where it comes from, and why; both are sentences a reader can check."""

    value: Any
    source: str = Field(min_length=1)
    reason: str = Field(min_length=1)


def shipped(stage: str, lang: Lang) -> dict[str, Any]:
    """The values of ``rules/<stage>.<lang>.toml``: what `Rules` is made of where a recipe says nothing.

    Raises `ConfigProblem` where there is no such file, or where it is not as this module says.
    """
    name = f"{stage}.{lang}"
    values = {key: rule.value for key, rule in explained(name).items()}
    try:
        return Rules.model_validate(values).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise _wrong(name, error) from error


def explained(name: str) -> dict[str, Rule]:
    """Every rule of the data file ``rules/<name>.toml``, those it takes from another file included.

    Raises `ConfigProblem` where there is no such file, or where a rule lacks its source or its reason.
    """
    path = resources.rules_dir() / f"{name}.toml"
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.toml")))
        raise ConfigProblem(f"no rules '{name}'; there are: {known}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigProblem(f"{path}: not TOML: {error}") from error
    like = tables.pop("like", None)
    rules = explained(like) if like else {}
    for key, table in tables.items():
        try:
            rules[key] = Rule.model_validate(table)
        except ValidationError as error:
            raise _wrong(f"{name}: {key}", error) from error
    return rules


def digest(name: str) -> str:
    """Hex sha256 of the values of a data file: for the identity of a run whose recipe does not hold them."""
    values = {key: rule.value for key, rule in explained(name).items()}
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _wrong(where: str, error: ValidationError) -> ConfigProblem:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    return ConfigProblem(f"rules {where}: {key}: {first['msg'].removeprefix('Value error, ')}")
