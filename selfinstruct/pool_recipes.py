"""A pool as a recipe wants it: each of its models as one that could answer a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfinstruct import pools
from selfinstruct.errors import ConfigProblem
from selfinstruct.model_recipe import ModelRecipe

LONGEST = 16384
"""Tokens of context that vLLM is asked to keep room for, unless an entry's engine options say otherwise: it starts only
where a whole one fits, and that of a model made for 262,144 is larger than its weights. UltraFeedback's are 2,048. An
entry without ``context`` is given as much as fits."""


def pooled(
    source: str, engine: Mapping[str, Any] | None = None, *, without_retired: bool = False
) -> tuple[ModelRecipe, ...]:
    """The models of a pool as recipes, in the order of their names; ``engine`` goes over what vLLM is told of each.

    Raises `ConfigProblem` as `pools.load` does, and for models that nobody can ask any more, unless the rest of the
    pool is taken ``without_retired`` ones.
    """
    pool = pools.load(source)
    gone = [model for model in pool.models if model.retired]
    if gone and without_retired and len(gone) < len(pool.models):
        pool = pool.model_copy(update={"models": tuple(model for model in pool.models if not model.retired)})
    elif gone:
        cure = f"leave them out: --pool {_without(source, pool)}" if len(gone) < len(pool.models) else "take others"
        reasons = "".join(f"\n  {model.name}: {model.retired}" for model in gone)
        raise ConfigProblem(f"{source}: these models cannot be asked any more; {cure}{reasons}")
    return tuple(recipe_of(pool, model, engine) for model in sorted(pool.models, key=lambda model: model.name))


def retired(source: str) -> dict[str, str]:
    """Why models of a pool cannot be asked any more, by name. Raises `ConfigProblem` as `pools.load` does."""
    return {model.name: model.retired for model in pools.load(source).models if model.retired}


def _without(source: str, pool: pools.Pool) -> str:
    """The pool as it was named, less those of it that are retired."""
    left_out = ",".join(f"-{model.name}" for model in pool.models if model.retired)
    place, colon, choice = pools.split(source)
    if not colon:
        return f"{source}:{left_out}"
    if choice.startswith("-"):
        return f"{source},{left_out}"
    return f"{place}:{','.join(model.name for model in pool.models if not model.retired)}"


def recipe_of(pool: pools.Pool, model: pools.PoolModel, over: Mapping[str, Any] | None = None) -> ModelRecipe:
    """One of its models as a recipe, retired or not; ``over`` are engine options. Raises `ConfigProblem`."""
    same = model.model_dump(
        include={"api", "endpoint", "base_url", "replicas", "key_variable", "price", "extra_body", "rendering"}
    )
    engine: dict[str, Any] = {}
    if model.api == "vllm":
        template = pools.template_path(model, pool.folder)
        said = {"revision": model.revision, "chat_template": str(template) if template else ""}
        context = {"max_model_len": min(model.context, LONGEST)} if "context" in model.model_fields_set else {}
        engine = {
            **context,
            **{key: value for key, value in said.items() if value},
            **model.engine,
            **(over or {}),
        }
    name = model.asked_as
    if model.api in ("vllm", "local") and name.startswith(("./", "../")):
        name = str(pool.folder / name)  # beside the pool's file, as its templates are, wherever the command runs
    return ModelRecipe(name=name, alias=model.name, context=max(256, model.context), engine=engine, **same)
