"""What a change between two starts of a run means: every field of recipe and settings has a class, and keeps to it."""

from __future__ import annotations

import sys
from pathlib import Path
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
from selfinstruct.naming import ROLES as ROLES_ASKED
from selfinstruct.naming import named_roles
from selfinstruct.protocols import Stage
from selfinstruct.recipe import STAGES as OF_METHODS
from selfinstruct.recipe import Recipe, known_keys
from selfinstruct.rules import Rules
from tests.stub_engine import model_folder

WHERE_IT_IS = {"model.replicas", "model.key_variable", "model.price"}  # where a model is found, and what it costs
OF_VLLM = {"model.engine", "model.alias"}  # what counts for a server of our own
STAGES = tuple(name for method in OF_METHODS.values() for name in method)
ROLES = {"dialogue": ("user", "assistant"), "rate": ("judge",), "critique": ("judge",)}
PLAYED = {"user": ["dialogue"], "assistant": ["dialogue"], "judge": ["rate", "critique"]}
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
    "judge": ModelRecipe(api="chat", name="n", base_url="http://127.0.0.1:9/v1"),
    "sample.shares": {"flan": {"honesty": 1.0}},
}


def started(stage: str, recipe: Recipe = RECIPE, target: int = 100) -> StageIdentity:
    """A stage as it would be started with that recipe."""
    link = Link(cast(Stage, SimpleNamespace(name=stage, roles=ROLES.get(stage, ("teacher",)))), (), ())
    opened = open_models(named_roles(recipe), Settings(), (*ROLES_ASKED, *recipe.pool_roles))
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
    """The preset's key, and an interpreter for vLLM: without them they are not opened."""
    monkeypatch.setenv("DEEPSEEK_API_KEY", "k")
    monkeypatch.setenv("SELFINSTRUCT_VLLM_PYTHON", sys.executable)


def test_every_field_of_recipe_and_settings_has_a_class() -> None:
    """Whoever adds one decides what a change of it means: another run, the same, or a longer one."""
    keys = {key.partition(".rules.")[0] + ".rules" * (".rules." in key) for key in known_keys(Recipe)}
    assert {
        "identity": keys - WHERE_IT_IS,
        "operational": set(Settings.model_fields) | WHERE_IT_IS,
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


@pytest.mark.parametrize("key", sorted(CLASSES["identity"] - PATHS - {"seed_tasks", "pool"} - OF_VLLM))
def test_a_change_of_any_field_classed_identity_is_seen(key: str) -> None:
    """By every stage, or by the one whose table it is in."""
    table = key.partition(".")[0]
    concerned = [stage for stage in STAGES if started(stage).digest != started(stage, changed(key)).digest]
    only = PLAYED.get(table) or ([table] if table in STAGES else list(STAGES))
    assert concerned == only


@pytest.mark.parametrize("change", [{"engine": {"dtype": "float16"}}, {"alias": "other"}, {"name": "./other"}])
def test_a_change_of_what_vllm_is_told_is_seen(change: dict[str, Any], tmp_path: Path) -> None:
    """But for options that say how fast and where it works, and the place of the same folder."""
    folder, other = model_folder(tmp_path / "m"), model_folder(tmp_path / "other", context=99)
    now = ModelRecipe(api="vllm", name=str(folder), engine={"dtype": "bfloat16"})
    before = started("bootstrap", Recipe(model=now)).digest
    faster = now.model_copy(update={"engine": {"dtype": "bfloat16", "tensor_parallel_size": 2}})
    assert started("bootstrap", Recipe(model=faster)).digest == before
    change = {"name": str(other)} if "name" in change else change
    assert started("bootstrap", Recipe(model=now.model_copy(update=change))).digest != before


def test_a_change_of_the_pool_is_seen() -> None:
    """Another model in it, or another address; not another address of the same model, nor its key's variable."""
    first = ModelRecipe(api="chat", name="n", alias="a", base_url="http://127.0.0.1:9/v1")
    second = first.model_copy(update={"alias": "b", "name": "o"})

    def digest(*pool: ModelRecipe) -> str:
        return started("bootstrap", RECIPE.model_copy(update={"pool": pool})).digest

    before = digest(first, second)
    assert before != digest(first) != started("bootstrap").digest
    assert before != digest(first, second.model_copy(update={"base_url": "http://127.0.0.1:10/v1"}))
    assert before == digest(first, second.model_copy(update={"replicas": ("http://127.0.0.1:10/v1",)}))


def test_where_the_seeds_came_from_and_how_many_records_are_wanted_may_change() -> None:
    """Seeds count by what is in the file, whose path is kept for people; a larger target extends the run."""
    elsewhere = started("bootstrap", changed("seed_tasks"))
    larger = started("bootstrap", target=200)
    assert started("bootstrap").digest == elsewhere.digest == larger.digest
    assert (elsewhere.seed_tasks, larger.target) == ("x", 200)
