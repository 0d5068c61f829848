"""Pools of models that answer the same instructions: dated data with sources (``recipes/pools/*.toml``).

UltraFeedback asks four of seventeen models, drawn anew for every instruction, so that good and bad answers stand side
by side. A pool says who the seventeen are and how each is asked; a user's own is a file of the same form. Licences and
Hub ids change, so each file says when it was checked, and each model's note what was not.
"""

from __future__ import annotations

import datetime
import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, FiniteFloat, ValidationError, model_validator

from selfinstruct import resources
from selfinstruct.base_url import normal_base_url
from selfinstruct.errors import ConfigProblem, SelfinstructError
from selfinstruct.money import parse_price
from selfinstruct.schema import Noun, Rendering

Api = Literal["vllm", "chat", "completion", "local"]
"""How a model is asked: a vLLM we start, an API's messages, an API's prompt to continue, the embedded runtime."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_IN_WORDS = {
    "name": "a name is letters, digits, '.', '_' and '-', the first a letter or a digit",
    "hub": "a Hub id is MAKER/NAME, both of letters, digits, '.', '_' and '-'",
}


def _checked_by(check: Callable[[str], object]) -> AfterValidator:
    """What a function of ours refuses is refused with its own words; an empty text says nothing, and passes."""

    def passes(text: str) -> str:
        try:
            if text:
                check(text)
        except SelfinstructError as error:
            raise ValueError(str(error).removeprefix("--price ")) from error
        return text

    return AfterValidator(passes)


Url = Annotated[str, _checked_by(normal_base_url)]
PriceText = Annotated[str, _checked_by(parse_price)]


class PoolModel(Noun):
    """A model of a pool: who it is, what it weighs, and how it is asked. Only its name and where it is must be given.

    ``name`` is what our own vLLM serves it under, and so stands in records; there an API's model has the API's name.
    ``parameters`` are all of them, in billions, ``active`` those at work on one token of a mixture of experts.
    ``gated`` says that the Hub asks for a login and an agreement. ``context`` is in tokens, prompt and answer together.
    ``layers`` (those that keep keys and values), ``kv_heads`` and ``head_dim`` give the size of the KV cache (0: not
    known), ``bits`` that of a weight as published.

    ``template`` is empty for a model that brings its chat template, else see `template_path`. ``model`` is the name it
    has where it is asked, see `asked_as`. ``endpoint`` names one of our presets (`selfinstruct.endpoints`), and
    ``base_url`` a server of the user's, with ``replicas`` for more addresses of the same model and ``key_variable``
    for the key. ``engine`` are vLLM's options. ``price`` is written as ``--price`` takes it.

    ``retired`` says why nobody can ask the model any more, and what stands nearest; it is empty for one that answers.
    """

    name: str = Field(pattern=rf"^{_NAME}$", max_length=96)
    family: str = ""
    parameters: FiniteFloat = Field(default=0.0, ge=0)
    active: FiniteFloat | None = Field(default=None, gt=0)
    maker: str = ""
    country: str = ""
    licence: str = ""
    gated: bool = False
    hub: str = Field(default="", pattern=rf"^({_NAME}(/{_NAME})?)?$")
    revision: str = ""
    template: str = ""
    context: int = Field(default=4096, ge=1)
    layers: int = Field(default=0, ge=0)
    kv_heads: int = Field(default=0, ge=0)
    head_dim: int = Field(default=0, ge=0)
    bits: int = Field(default=16, ge=1)
    api: Api = "vllm"
    model: str = ""
    endpoint: str = ""
    base_url: Url = ""
    replicas: tuple[Url, ...] = ()
    key_variable: str = ""
    price: PriceText = ""
    engine: dict[str, Any] = {}
    extra_body: dict[str, Any] = {}
    rendering: Rendering | None = None
    retired: str = ""
    note: str = ""

    @property
    def asked_as(self) -> str:
        """The name the model has where it is asked: ``model``, else its Hub id for our own vLLM, else its name."""
        return self.model or (self.hub if self.api == "vllm" else "") or self.name

    @property
    def urls(self) -> tuple[str, ...]:
        """Every address of the user's own servers, the first first; none where a preset or a vLLM of ours answers."""
        return (self.base_url, *self.replicas) if self.base_url else ()

    @model_validator(mode="before")
    @classmethod
    def _asked_by_chat_at_an_address(cls, given: Any) -> Any:
        """Whoever names an address and no API means messages: a server that runs is not one for us to start."""
        if isinstance(given, dict) and "api" not in given and (given.get("base_url") or given.get("endpoint")):
            return {**given, "api": "chat"}
        return given

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        ours = self.api in ("vllm", "local")
        if ours and (self.base_url or self.endpoint):
            raise ValueError(f"api '{self.api}' starts a server of ours; one that runs is 'chat' or 'completion'")
        if self.replicas and not self.base_url:
            raise ValueError("replicas are further addresses of base_url, which is not given")
        if self.key_variable and not self.base_url:
            raise ValueError("key_variable is for the server at base_url, which is not given")
        if self.api == "vllm" and not (self.hub or self.model or self.retired):
            raise ValueError("name its Hub id (hub), its folder (model), or the server that has it (base_url)")
        if not ours and not (self.base_url or self.endpoint or self.retired):
            raise ValueError(f"api '{self.api}' needs the preset (endpoint) or the address (base_url) of a server")
        return self


class Pool(Noun):
    """Models by distinct names, in the order of their file; ``folder`` is where that lies, and no part of the data.

    ``source`` lists what was read on the day ``checked``; both are empty in a file whose writer says nothing.
    """

    name: str
    checked: datetime.date | None = None
    source: tuple[str, ...] = ()
    note: str = ""
    models: tuple[PoolModel, ...]
    folder: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _has_models_of_distinct_names(self) -> Self:
        if not self.models:
            raise ValueError("no model in it; each is a [[model]] table")
        twice = _twice(model.name for model in self.models)
        if twice:
            raise ValueError(f"two models are called '{twice}'")
        return self


# --- finding one --------------------------------------------------------------------------------------------------


def names() -> list[str]:
    """The pools we ship."""
    return sorted(path.stem for path in _shipped().glob("*.toml"))


def load(source: str) -> Pool:
    """A pool of ours by its name, or a user's by the path of its ``.toml``; a choice of its models may follow.

    ``NAME:a,b`` takes only these, in this order; ``NAME:-a,-b`` all but these. Raises `ConfigProblem` for a pool or a
    model that is not there, a choice that leaves none, and a file that is broken.
    """
    place, colon, choice = split(source)
    is_path = place.endswith(".toml") or "/" in place
    pool = _read(Path(place).expanduser() if is_path else _shipped_file(place))
    return pool.model_copy(update={"models": _chosen(pool, choice)}) if colon else pool


def template_path(model: PoolModel, beside: Path) -> Path | None:
    """The file of a model's chat template, or None for a model that brings its own.

    A name is one of ours (``recipes/pools/templates/NAME.jinja``); what ends in ``.jinja`` is a file in ``beside``, the
    folder of the pool (`Pool.folder`). Raises `ConfigProblem` where there is no such file.
    """
    if not model.template:
        return None
    folder = _shipped() / "templates"
    is_path = model.template.endswith(".jinja")
    path = beside / Path(model.template).expanduser() if is_path else folder / f"{model.template}.jinja"
    if path.is_file() and (is_path or "/" not in model.template):
        return path
    if is_path:
        raise ConfigProblem(f"model '{model.name}': no chat template {path}")
    known = sorted(file.stem for file in folder.glob("*.jinja"))
    raise ConfigProblem(
        f"model '{model.name}': no chat template '{model.template}'{_hint(model.template, known)}"
        f" (there are {', '.join(known)}; a file of your own ends in .jinja)"
    )


# --- the file -----------------------------------------------------------------------------------------------------


def _shipped() -> Path:
    return resources.recipes_dir() / "pools"


def _shipped_file(name: str) -> Path:
    known = names()
    if name not in known:
        raise ConfigProblem(
            f"no pool '{name}'{_hint(name, known)} (there are {', '.join(known)}; a file of your own ends in .toml)"
        )
    return _shipped() / f"{name}.toml"


def _read(path: Path) -> Pool:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigProblem(f"{path}: cannot be read: {error}") from error
    for key in ("models", "folder"):
        if key in values:
            raise ConfigProblem(f"{path}: {key}: not a key of a pool; each model is a [[model]] table")
    tables = values.pop("model", [])
    if not isinstance(tables, list):
        raise ConfigProblem(f"{path}: model: each model is a [[model]] table, in two pairs of brackets")
    try:
        return Pool(**{"name": path.stem, **values}, models=tuple(tables), folder=path.parent)
    except ValidationError as error:
        raise ConfigProblem(f"{path}: {_told(error, tables)}") from error


def _told(error: ValidationError, tables: Any) -> str:
    """The first thing that is wrong, at its key; in which model, by its number and its name."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    loc, fields = list(first["loc"]), list(Pool.model_fields)
    place: list[str] = []
    if loc[:1] == ["models"]:
        loc[0], fields = "model", list(PoolModel.model_fields)
        if len(loc) > 1:
            table = tables[loc[1]]
            name = f" ('{table['name']}')" if isinstance(table, dict) and "name" in table else ""
            place, loc = [f"model {int(loc[1]) + 1}{name}"], loc[2:]
    if first["type"] == "extra_forbidden":
        message = f"no such key{_hint(str(loc[-1]), fields)}"
    if first["type"] == "string_pattern_mismatch":
        message = _IN_WORDS[str(loc[-1])]
    key = ".".join(map(str, loc))
    return ": ".join([*place, *([key] if key else []), message])


# --- a choice of its models ---------------------------------------------------------------------------------------


def split(source: str) -> tuple[str, str, str]:
    """What names a pool, a colon, and the choice of its models; a slash, or a file's end, makes it a path."""
    found = re.fullmatch(r"(.*):([^:/\\]*)", source, re.DOTALL)
    return (found[1], ":", found[2]) if found and not source.endswith(".toml") else (source, "", "")


def _chosen(pool: Pool, choice: str) -> tuple[PoolModel, ...]:
    by_name = {model.name: model for model in pool.models}
    named = [name.strip() for name in choice.split(",")]
    without = named[0].startswith("-")
    if any(name.startswith("-") != without for name in named):
        raise ConfigProblem(f"pool '{pool.name}:{choice}': either those that are asked, or '-' before each that is not")
    wanted = [name.removeprefix("-") for name in named]
    for name in wanted:
        if name not in by_name:
            raise ConfigProblem(
                f"pool '{pool.name}' has no model '{name}'{_hint(name, by_name)} (it has {', '.join(by_name)})"
            )
    twice = _twice(wanted)
    if twice:
        raise ConfigProblem(f"pool '{pool.name}:{choice}': '{twice}' is named twice")
    chosen = [name for name in by_name if name not in wanted] if without else wanted
    if not chosen:
        raise ConfigProblem(f"pool '{pool.name}:{choice}': no model is left")
    return tuple(by_name[name] for name in chosen)


def _twice(found: Iterable[str]) -> str:
    """The first name that stands there more than once, or nothing."""
    return next((name for name, times in Counter(found).items() if times > 1), "")


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
