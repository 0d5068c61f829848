"""Who answers: the recipe's ``[model]``, ``[user]``, ``[assistant]``, and what a role takes over of the run's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from selfinstruct.schema import JsonMode, Limits, Noun, Rendering, TokenField

Api = Literal["local", "vllm", "chat", "completion", "fake", "replay"]
_WIRE: frozenset[str] = frozenset({"chat", "completion"})

DEFAULT_MODELS: dict[str, str] = {
    "local": "smollm2-135m-instruct",
    "vllm": "",  # whoever has GPUs has a model in mind
    "chat": "gpt-3.5-turbo",
    "completion": "gpt-3.5-turbo-instruct",
    "fake": "fake",
    "replay": "",
}
DEFAULT_BASE_URL = "https://api.openai.com/v1"


class ModelRecipe(Noun):
    """Who answers, and how its API wants to be asked.

    ``endpoint`` names a preset (``recipes/endpoints``), which says where an API is and what its models want spelled
    differently. What stays empty here is the preset's, or the API's default. ``reproducible`` turns the embedded
    model's prompt cache off, which makes equal requests give equal text (8 of 8 tries; with the cache 3-5 of 8) at half
    the speed.

    ``engine`` are vLLM's options, for ``api = "vllm"``. ``rendering`` says how a model wants to be asked, where its API
    leaves that open. ``alias`` is its name in a pool, ``replicas`` are further addresses of the same model, and
    ``key_variable`` names the variable of the key for an address of the user's own; ``price`` is as --price takes it.
    """

    api: Api = "local"
    endpoint: str = ""
    name: str = ""
    base_url: str = ""
    token_field: TokenField | None = None
    omit: tuple[str, ...] = ()
    extra_body: dict[str, Any] = {}
    limits: Limits = {}
    json_mode: JsonMode | None = None
    send_seed: bool = False
    reproducible: bool = False
    context: int = Field(default=4096, ge=256)
    engine: dict[str, Any] = {}
    rendering: Rendering | None = None
    alias: str = ""
    replicas: tuple[str, ...] = ()
    key_variable: str = ""
    price: str = ""

    @model_validator(mode="before")
    @classmethod
    def _of_an_api(cls, given: Any) -> Any:
        """An endpoint is a chat API unless it is said otherwise."""
        return {"api": "chat", **given} if isinstance(given, dict) and given.get("endpoint") else given


def inherited(model: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """What a role takes over of the run's model: nothing beside an endpoint of its own, all that an API leaves open.

    Another address is taken to have the model of the same name, and to be asked in the same way.
    """
    if "endpoint" in table:
        return {}
    api = model.get("api", "chat" if model.get("endpoint") else "local")
    own = table.get("api", "chat" if "base_url" in table and api not in _WIRE else api)
    if own != api and not {own, api} <= _WIRE:
        return {"api": own} | ({"base_url": model["base_url"]} if own in _WIRE and "base_url" in model else {})
    if "base_url" in table:
        return {"api": own, "name": model.get("name", "")}
    of_that_model = {"engine"} if "name" in table else set()  # another one has a revision and a template of its own
    return {**{key: value for key, value in model.items() if key not in of_that_model}, "api": own}
