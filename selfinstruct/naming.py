"""Whom a recipe means: its models with all that their endpoints' presets say of them, by role, and the key for each."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from selfinstruct import endpoints
from selfinstruct.base_url import ApiKey, normal_base_url
from selfinstruct.config import Settings
from selfinstruct.endpoints import ModelOddities, Preset
from selfinstruct.errors import AccessDenied, ConfigProblem
from selfinstruct.model_recipe import DEFAULT_BASE_URL, DEFAULT_MODELS, ModelRecipe
from selfinstruct.recipe import Recipe
from selfinstruct.schema import Limits

ROLES = ("teacher", "user", "assistant", "judge")
"""Who a run may ask: its own model, the two sides of a dialogue, and who rates."""

THINKING_ROOM = (16384.0, 1_000_000.0)
"""The range of ``max_tokens`` for a model that thinks whatever it is told: cut in its thoughts, it gives no answer."""

_OF_VLLM: Limits = {"top_p": (0.001, 1.0)}
"""vLLM refuses the 0 of the papers' settings; of any vocabulary, a thousandth leaves the first token alone."""


def named(recipe: ModelRecipe) -> ModelRecipe:
    """The recipe as it is written to disk and compared on resume: with what its endpoint's preset says of its model,
    and the API's defaults. What the recipe says itself stands. Raises `ConfigProblem` for an unknown preset.
    """
    if recipe.engine and recipe.api != "vllm":
        raise ConfigProblem(f"engine options are for --api vllm, and this model is asked by --api {recipe.api}")
    preset = preset_for(recipe)
    chosen = preset if recipe.endpoint else None  # a preset known by its address only names no model
    name = recipe.name or (chosen.default_model if chosen else "") or DEFAULT_MODELS[recipe.api]
    odd = preset.for_model(name) if preset else ModelOddities()
    room = {"max_tokens": THINKING_ROOM} if odd.thinks else {}
    return recipe.model_copy(
        update={
            "name": name,
            "base_url": _address(recipe, chosen),
            "replicas": tuple(map(normal_base_url, recipe.replicas)),
            "token_field": recipe.token_field or odd.token_field,
            "omit": tuple(dict.fromkeys((*odd.omit, *recipe.omit))),
            "extra_body": {**_without(odd.extra_body, recipe.omit), **recipe.extra_body},
            "limits": {**room, **(_OF_VLLM if recipe.api == "vllm" else odd.limits), **recipe.limits},
            "json_mode": recipe.json_mode or odd.json_mode,
        }
    )


def named_roles(recipe: Recipe) -> Recipe:
    """The recipe with every model it has `named`; a role that has none of its own still has none."""
    own = {role: named(model) for role in ("model", "user", "assistant", "judge") if (model := getattr(recipe, role))}
    return recipe.model_copy(update={**own, "pool": tuple(map(named, recipe.pool))})


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
    if recipe.key_variable:
        if not (key_of_its_own := os.environ.get(recipe.key_variable, "").strip()):
            raise AccessDenied(f"no API key for {recipe.alias or recipe.base_url}: set {recipe.key_variable}")
        return ApiKey(key_of_its_own, recipe.key_variable)
    if recipe.endpoint:
        preset = endpoints.load(recipe.endpoint)
        if (key := endpoints.key_of(preset, os.environ)) is None:
            raise endpoints.no_key(preset)
        return key
    given = settings.openai_api_key.get_secret_value().strip() if settings.openai_api_key else ""
    known = preset_for(recipe)
    own = endpoints.key_of(known, os.environ) if known else None
    return own or (ApiKey(given) if given else None)


def key_of(recipe: Recipe, role: str, settings: Settings) -> ApiKey:
    """The key for a role's API; an empty one, with the variable to set, where there is none.

    A key is bound to its origin: scheme, host and port. SELFINSTRUCT_USER_API_KEY, SELFINSTRUCT_ASSISTANT_API_KEY and
    SELFINSTRUCT_JUDGE_API_KEY are sent where their role is asked, and nowhere else. OPENAI_API_KEY is the key of the
    run's own model (unless that is a preset's, with a variable of its own), of OPENAI_BASE_URL, and of OpenAI itself. A
    role with an address of its own at another origin is sent its own key, or that of the preset it names or has the
    address of, or none: also on this machine, where somebody's proxy may listen. Raises `AccessDenied` as `key_for`
    does.
    """
    model, run = recipe.played_by(role), recipe.model
    own = {
        "user": settings.user_api_key,
        "assistant": settings.assistant_api_key,
        "judge": settings.judge_api_key,
    }
    variable = "OPENAI_API_KEY" if role in recipe.pool_roles else f"SELFINSTRUCT_{role.upper()}_API_KEY"
    if model.api not in ("chat", "completion"):
        return ApiKey("", variable)
    if (secret := own.get(role)) and (given := secret.get_secret_value().strip()):
        return ApiKey(given, variable)
    if model is recipe.model:
        variable = "OPENAI_API_KEY"
    homes = ["" if run.endpoint else run.base_url, settings.openai_base_url, DEFAULT_BASE_URL]
    if model is not run and _origin(model.base_url) not in map(_origin, homes):
        settings = settings.model_copy(update={"openai_api_key": None})
    return key_for(model, settings) or ApiKey("", variable)


def _origin(address: str) -> tuple[str, str]:
    """Scheme, host and port of an address, however it is spelled."""
    at = urlsplit(normal_base_url(address) if address else "")
    return at.scheme, at.netloc


def _without(fields: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _address(recipe: ModelRecipe, preset: Preset | None) -> str:
    if recipe.api not in ("chat", "completion"):
        return ""
    return normal_base_url(recipe.base_url or (preset.base_url if preset else DEFAULT_BASE_URL))
