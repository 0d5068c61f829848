"""What a change between two starts of a run means: every field of recipe and settings has a class, and keeps to it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from selfinstruct import identity
from selfinstruct.changes import AS_CONTENT, CLASSES, PATHS
from selfinstruct.config import Settings
from selfinstruct.identity import StageIdentity
from selfinstruct.links import Link
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models.opening import open_models
from selfinstruct.naming import named_roles
from selfinstruct.protocols import Stage
from selfinstruct.recipe import Recipe, known_keys
from selfinstruct.rules import Rules

STAGES = ("bootstrap", "classify", "instances", "alpaca", "belle", "topics", "openers", "expand", "dialogue")
ROLES = {"dialogue": ("user", "assistant")}
RECIPE = Recipe(model=ModelRecipe(api="chat", name="m", base_url="http://127.0.0.1:9/v1"))
OTHER_TEXT: dict[str, Any] = {
    "model.api": "completion",
    "model.base_url": "http://127.0.0.1:10/v1",
    "model.token_field": "max_completion_tokens",
    "model.extra_body": {"top_k": 20},
    "model.endpoint": "deepseek",
    "model.limits": {"top_p": (0.1, 0.9)},
    "model.json_mode": "none",
    "dialogue.rounds": (2, 3),
    "user": ModelRecipe(api="chat", name="n", base_url="http://127.0.0.1:9/v1"),
    "assistant": ModelRecipe(api="chat", name="n", base_url="http://127.0.0.1:9/v1"),
}


def started(stage: str, recipe: Recipe = RECIPE, target: int = 100) -> StageIdentity:
    """A stage as it would be started with that recipe."""
    link = Link(cast(Stage, SimpleNamespace(name=stage, roles=ROLES.get(stage, ("teacher",)))), (), ())
    opened = open_models(named_roles(recipe), Settings())
    asked = {role: (one.endpoint, one.rendering) for role, one in opened.items()}
    return identity.of_stage(link, recipe, [], asked, None, target)


def changed(key: str) -> Recipe:
    """The recipe with another value for one key, valid or not."""
    table, _, name = key.rpartition(".")
    part = getattr(RECIPE, table) if table else RECIPE
    value = OTHER_TEXT.get(key, _other(getattr(part, name)))
    part = part.model_copy(update={name: value})
    return RECIPE.model_copy(update={table: part}) if table else part


def _other(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case Rules():
            return value.model_copy(update={"min_length": value.min_length + 1})
        case tuple():
            return (*value, "top_p")
        case _:
            return 3


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset's key: without one it is not opened."""
    monkeypatch.setenv("DEEPSEEK_API_KEY", "k")


def test_every_field_of_recipe_and_settings_has_a_class() -> None:
    """Whoever adds one decides what a change of it means: another run, the same, or a longer one."""
    assert {
        "identity": {key.partition(".rules.")[0] + ".rules" * (".rules." in key) for key in known_keys(Recipe)},
        "operational": set(Settings.model_fields),
        "extending": {"target"},
    } == CLASSES
    every = [name for names in CLASSES.values() for name in names]
    assert len(every) == len(set(every))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_identity_is_what_is_classed_so(stage: str) -> None:
    """The fields of the whole run and of its own table, no other stage's, no setting; the target stands beside it."""
    of_the_run = {name for name in CLASSES["identity"] if "." not in name} - AS_CONTENT
    own = {name.partition(".")[2] for name in CLASSES["identity"] - AS_CONTENT if name.startswith(f"{stage}.")}
    written = started(stage).identity
    always = {stage, "model", "prompts", "filters", "languages", "seeds", "upstream"}
    assert written.keys() == of_the_run | always | ({"roles"} if stage in ROLES else set())
    assert written[stage].keys() == own - {"use"}  # which stands there only where it says something
    assert not CLASSES["operational"] & written.keys()
    assert CLASSES["extending"] <= StageIdentity.model_fields.keys()


@pytest.mark.parametrize("key", sorted(CLASSES["identity"] - PATHS - {"seed_tasks"}))
def test_a_change_of_any_field_classed_identity_is_seen(key: str) -> None:
    """By every stage, or by the one whose table it is in."""
    table = key.partition(".")[0]
    concerned = [stage for stage in STAGES if started(stage).digest != started(stage, changed(key)).digest]
    only = ["dialogue"] if table in ("user", "assistant") else [table] if table in STAGES else list(STAGES)
    assert concerned == only


def test_where_the_seeds_came_from_and_how_many_records_are_wanted_may_change() -> None:
    """Seeds count by what is in the file, whose path is kept for people; a larger target extends the run."""
    elsewhere = started("bootstrap", changed("seed_tasks"))
    larger = started("bootstrap", target=200)
    assert started("bootstrap").digest == elsewhere.digest == larger.digest
    assert (elsewhere.seed_tasks, larger.target) == ("x", 200)
