"""The one table of backends: a recipe's ``[model]`` becomes a backend, its endpoint and its rendering."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from selfinstruct import endpoints
from selfinstruct.base_url import ApiKey, normal_base_url
from selfinstruct.config import Settings
from selfinstruct.endpoints import ModelOddities, Preset
from selfinstruct.errors import AccessDenied, BadData, ConfigProblem, UnknownModel
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.protocols import Model
from selfinstruct.recipe import DEFAULT_BASE_URL, DEFAULT_MODELS, ModelRecipe
from selfinstruct.schema import Endpoint, Rendering

EMBEDDED_CONCURRENCY = 1
API_CONCURRENCY = 32

THINKING_ROOM = (16384.0, 1_000_000.0)
"""The range of ``max_tokens`` for a model that thinks whatever it is told: cut in its thoughts, it gives no answer."""


class Opened(NamedTuple):
    """A backend ready to answer. ``rendering`` is resolved here, once: raw for a model that continues, else chat."""

    model: Model
    endpoint: Endpoint
    rendering: Rendering
    concurrency: int


def named(recipe: ModelRecipe) -> ModelRecipe:
    """The recipe as it is written to disk and compared on resume: with what its endpoint's preset says of its model,
    and the API's defaults. What the recipe says itself stands. Raises `ConfigProblem` for an unknown preset.
    """
    preset = preset_for(recipe)
    chosen = preset if recipe.endpoint else None  # a preset known by its address only names no model
    name = recipe.name or (chosen.default_model if chosen else "") or DEFAULT_MODELS[recipe.api]
    odd = preset.for_model(name) if preset else ModelOddities()
    room = {"max_tokens": THINKING_ROOM} if odd.thinks else {}
    return recipe.model_copy(
        update={
            "name": name,
            "base_url": _address(recipe, chosen),
            "token_field": recipe.token_field or odd.token_field,
            "omit": tuple(dict.fromkeys((*odd.omit, *recipe.omit))),
            "extra_body": {**_without(odd.extra_body, recipe.omit), **recipe.extra_body},
            "limits": {**room, **odd.limits, **recipe.limits},
            "json_mode": recipe.json_mode or odd.json_mode,
        }
    )


def preset_for(recipe: ModelRecipe) -> Preset | None:
    """The preset a recipe names, or the one that has its address."""
    if recipe.api not in ("chat", "completion"):
        if recipe.endpoint:
            raise ConfigProblem(f"the endpoint '{recipe.endpoint}' is an API's: add --api chat")
        return None
    return endpoints.load(recipe.endpoint) if recipe.endpoint else endpoints.preset_of(_address(recipe, None))


def key_for(recipe: ModelRecipe, settings: Settings) -> ApiKey | None:
    """The key for the API of a recipe; None where there is none, and need not be one.

    That of a named preset is looked for in the preset's own variables alone: no company gets another's key. Where a
    preset is known by its address only, OPENAI_API_KEY serves if the preset's own variable is not set: it is the user's
    word for the key of that address, unless there is a better one. Raises `AccessDenied` where a key is needed and
    missing.
    """
    if recipe.endpoint:
        preset = endpoints.load(recipe.endpoint)
        if (key := endpoints.key_of(preset, os.environ)) is None:
            raise endpoints.no_key(preset)
        return key
    given = settings.openai_api_key.get_secret_value().strip() if settings.openai_api_key else ""
    known = preset_for(recipe)
    own = endpoints.key_of(known, os.environ) if known else None
    return own or (ApiKey(given) if given else None)


def _without(fields: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _address(recipe: ModelRecipe, preset: Preset | None) -> str:
    if recipe.api not in ("chat", "completion"):
        return ""
    return normal_base_url(recipe.base_url or (preset.base_url if preset else DEFAULT_BASE_URL))


def open_model(recipe: ModelRecipe, settings: Settings) -> Opened:
    """Open the backend of a `named` recipe. Raises `AccessDenied`, `ConfigProblem` or `UnknownModel`, before a call."""
    match recipe.api:
        case "local":
            return _embedded(recipe, settings)
        case "chat" | "completion":
            return _openai(recipe, settings)
        case "fake":
            return _fake(recipe, settings)
        case "replay":
            return _replay(settings)


def rendering_of(recipe: ModelRecipe) -> Rendering:
    """Raw for a model that continues text, messages for one that answers; resolved here, never probed."""
    return "chat" if recipe.api == "chat" else "completion"


def _endpoint(recipe: ModelRecipe, identity: str) -> Endpoint:
    return Endpoint(
        identity=identity,
        model=recipe.name,
        token_field=recipe.token_field or "max_tokens",
        omit=recipe.omit,
        extra_body=recipe.extra_body,
        limits=recipe.limits,
        json_mode=recipe.json_mode or "json_schema",
        send_seed=recipe.send_seed,
    )


def _openai(recipe: ModelRecipe, settings: Settings) -> Opened:
    from selfinstruct.models.openai_api import OpenAIModel

    key = key_for(recipe, settings)
    if not key and recipe.base_url == DEFAULT_BASE_URL:
        raise AccessDenied(
            "no API key: set OPENAI_API_KEY, or point --base-url at a server of yours,"
            " or leave --api out to use the embedded model"
        )
    _check_bounds(recipe, settings)
    limit = settings.concurrency or API_CONCURRENCY
    endpoint = _endpoint(recipe, recipe.base_url)
    model = OpenAIModel(endpoint, recipe.base_url, key, timeout=settings.timeout, connections=limit)
    return Opened(model, endpoint, rendering_of(recipe), limit)


def _check_bounds(recipe: ModelRecipe, settings: Settings) -> None:
    """Raise `ConfigProblem` where a cap on cost or tokens is set and the model's thoughts have no limit."""
    preset = preset_for(recipe)
    capped = settings.max_cost is not None or settings.max_tokens_total is not None
    if capped and preset and not preset.thoughts_count and preset.for_model(recipe.name).thinks:
        raise ConfigProblem(
            f"{preset.name} does not count the thoughts of {recipe.name!r} in max_tokens, so that no call has an upper"
            " bound and no cap on cost or tokens can hold; take --max-calls, or a model that does not think"
        )


def _embedded(recipe: ModelRecipe, settings: Settings) -> Opened:
    from selfinstruct.models.llama_cpp import LlamaModel, default_threads, gguf_identity

    path = _gguf(recipe, settings)
    # The seed is always sent: without it the same draw would be another text at every start.
    endpoint = _endpoint(recipe, gguf_identity(path)).model_copy(update={"send_seed": True})
    threads = settings.threads or default_threads()
    model = LlamaModel(endpoint, path, threads=threads, context=recipe.context, cache_prompt=not recipe.reproducible)
    return Opened(model, endpoint, "completion", settings.concurrency or EMBEDDED_CONCURRENCY)


def _gguf(recipe: ModelRecipe, settings: Settings) -> Path:
    from selfinstruct.models import weights

    if recipe.name.endswith(".gguf"):
        path: Path | None = Path(recipe.name)
    elif recipe.name == DEFAULT_MODELS["local"]:
        path = settings.gguf or weights.find()
    else:
        raise UnknownModel(
            f"--api local has no model '{recipe.name}': it has '{DEFAULT_MODELS['local']}', or a .gguf file by path;"
            " models of an API need --api chat"
        )
    if path is None:
        raise ConfigProblem(
            "the embedded model is not here yet: run  pip install 'selfinstruct[local]'"
            "  and  selfinstruct models fetch  (98 MB)"
        )
    if not path.is_file():
        raise UnknownModel(f"{path}: no such file")
    return path


def _fake(recipe: ModelRecipe, settings: Settings) -> Opened:
    from selfinstruct.models.fake import FakeModel, scripted_answer

    endpoint = _endpoint(recipe, "fake")
    limit = settings.concurrency or API_CONCURRENCY
    return Opened(FakeModel(endpoint, scripted_answer), endpoint, rendering_of(recipe), limit)


def _replay(settings: Settings) -> Opened:
    from selfinstruct.models.replay import ReplayModel

    if settings.replay_from is None:
        raise ConfigProblem("--api replay answers from a recorded run: name its folder with --replay-from")
    stages = sorted(settings.replay_from.glob("*/stage.json"))
    if not stages:
        raise BadData(f"{settings.replay_from}: no run is recorded here (no <stage>/stage.json)")
    try:
        recorded = orjson.loads(stages[0].read_bytes())["identity"]["model"]
        endpoint = Endpoint.model_validate({name: recorded[name] for name in Endpoint.model_fields})
        rendering: Rendering = recorded["rendering"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadData(f"{stages[0]}: does not say which model was recorded; the run cannot be replayed") from error
    model = ReplayModel(endpoint, LedgerReader(settings.replay_from / "ledger.sqlite3"))
    return Opened(model, endpoint, rendering, settings.concurrency or API_CONCURRENCY)
