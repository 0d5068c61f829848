"""A pool in a recipe: its models as those that could answer a run, whose roles they play, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from selfinstruct import config, identity, launch, role_prices
from selfinstruct.config import settings
from selfinstruct.errors import ConfigProblem
from selfinstruct.estimating import unopened_roles
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.money import parse_price
from selfinstruct.naming import named_roles
from selfinstruct.pool_recipes import pooled
from selfinstruct.recipe import Recipe
from tests.pools_at_work import pool_file
from tests.stub_engine import model_folder

URL = "http://127.0.0.1:8000/v1"


def api(name: str, **more: Any) -> dict[str, Any]:
    """A model at an address of the user's."""
    return {"name": name, "base_url": URL, **more}


# --- a pool's models as recipes -------------------------------------------------------------------------------------


def test_models_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Not of the file, which is no part of a run."""
    file = pool_file(tmp_path / "p.toml", api("cedar"), api("ash", model="ash-large"), api("birch"))
    assert [(one.alias, one.name) for one in pooled(str(file))] == [
        ("ash", "ash-large"),
        ("birch", "birch"),
        ("cedar", "cedar"),
    ]


def test_an_entry_says_how_its_model_is_asked(tmp_path: Path) -> None:
    """Address, replicas, key, price, fields laid over every body, and the form of its prompts."""
    said: dict[str, Any] = {
        "api": "completion",
        "replicas": ["http://127.0.0.1:8001/v1"],
        "key_variable": "ASH_KEY",
        "price": "in=1,out=2",
        "extra_body": {"top_k": 5},
        "rendering": "chat",
        "context": 8192,
    }
    (ash,) = pooled(str(pool_file(tmp_path / "p.toml", api("ash", **said))))
    assert ash == ModelRecipe(name="ash", alias="ash", base_url=URL, **{**said, "replicas": tuple(said["replicas"])})


def test_a_model_of_our_own_vllm_is_told_its_context_revision_and_template(tmp_path: Path) -> None:
    """As engine options, which its own may overrule; and it goes by its name in the pool."""
    (tmp_path / "talk.jinja").write_text("{{ messages }}")
    entry = {"name": "ash", "hub": "trees/ash", "revision": "0f" * 20, "template": "talk.jinja", "context": 512}
    file = pool_file(tmp_path / "p.toml", {**entry, "engine": {"dtype": "bfloat16", "max_model_len": 256}})
    (ash,) = pooled(str(file))
    assert (ash.api, ash.name, ash.alias, ash.context) == ("vllm", "trees/ash", "ash", 512)
    assert ash.engine == {
        "max_model_len": 256,
        "revision": "0f" * 20,
        "chat_template": str(tmp_path / "talk.jinja"),
        "dtype": "bfloat16",
    }


@pytest.mark.parametrize(
    ("choice", "advice", "left"),
    [
        ("", ":-elm,-yew", ["ash", "oak"]),
        (":-ash", ":-ash,-elm,-yew", ["oak"]),
        (":oak,elm", ":oak", ["oak"]),
    ],
)
def test_retired_models_stop_a_run_and_the_message_says_how_to_do_without(
    tmp_path: Path, choice: str, advice: str, left: list[str]
) -> None:
    """All of them at once, why, and the choice to be made of this very pool."""
    gone = [{"name": name, "retired": f"{name} was felled in 2026"} for name in ("elm", "yew")]
    file = pool_file(tmp_path / "p.toml", api("ash"), *gone, api("oak"))
    with pytest.raises(ConfigProblem) as told:
        pooled(f"{file}{choice}")
    first, *reasons = str(told.value).splitlines()
    assert first == f"{file}{choice}: these models cannot be asked any more; leave them out: --pool {file}{advice}"
    assert (
        reasons == ["  elm: elm was felled in 2026", "  yew: yew was felled in 2026"][: 1 if "oak,elm" in choice else 2]
    )
    assert [one.alias for one in pooled(f"{file}{advice}")] == left


def test_a_pool_of_retired_models_is_none() -> None:
    """Of a shipped one: whose models are named, and the reason as the pool tells it."""
    with pytest.raises(ConfigProblem, match=r"^ultrafeedback-17:bard: these models .*; take others\n  bard: Bard was"):
        pooled("ultrafeedback-17:bard")


# --- in a recipe ----------------------------------------------------------------------------------------------------


def test_a_folder_of_a_model_is_beside_the_file_of_its_pool(tmp_path: Path) -> None:
    """Wherever the command runs: cron's folder is another one."""
    (tmp_path / "pools").mkdir()
    here, there = {"name": "ash", "model": "./ash"}, {"name": "birch", "model": "/models/birch"}
    file = pool_file(tmp_path / "pools" / "p.toml", here, there, {"name": "cedar", "hub": "org/cedar"})
    assert [one.name for one in pooled(str(file))] == [str(tmp_path / "pools/ash"), "/models/birch", "org/cedar"]


def test_a_recipe_file_may_name_a_pool(tmp_path: Path) -> None:
    """Its models are spelled out, as they will be written down; --set and the option beat it."""
    pool_file(tmp_path / "p.toml", api("oak"), api("ash"))
    pool_file(tmp_path / "q.toml", api("elm"))
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'method = "alpaca"\npool = "{tmp_path}/p.toml"\n')
    names = [
        [one.alias for one in config.resolve(str(recipe), sets, {"pool": flag}).pool]
        for sets, flag in (
            ([], None),
            ([f"pool={tmp_path}/q.toml"], None),
            ([f"pool={tmp_path}/q.toml"], f"{tmp_path}/p.toml:oak"),
        )
    ]
    assert names == [["ash", "oak"], ["elm"], ["oak"]]


@pytest.mark.parametrize("value", ["nobodys", "missing.toml", "modern-17:nobody"])
def test_a_pool_that_is_not_there_is_told_wherever_it_is_named(tmp_path: Path, value: str) -> None:
    """By the error of the pool itself, as --set, as an option, and in a file."""
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'pool = "{value}"\n')
    for source, sets, flags in ((str(recipe), [], {}), (None, [f"pool={value}"], {}), (None, [], {"pool": value})):
        with pytest.raises(ConfigProblem, match=r"no pool|cannot be read|has no model"):
            config.resolve(source, sets, flags)


def test_roles_of_a_pool_are_played_by_its_models() -> None:
    """The teacher's in generate, the assistant's in a dialogue; the first stands in where one is wanted."""
    ash, oak = ModelRecipe(alias="ash", name="a"), ModelRecipe(alias="oak", name="o")
    own = ModelRecipe(name="own")
    made = Recipe(model=own, pool=(ash, oak))
    assert (made.pool_role, made.pool_roles) == ("teacher", ("teacher/ash", "teacher/oak"))
    assert [made.played_by(role) for role in ("teacher/oak", "teacher", "user")] == [oak, ash, own]
    talk = Recipe(method="ultrachat", model=own, pool=(ash, oak))
    assert (talk.pool_role, talk.pool_roles) == ("assistant", ("assistant/ash", "assistant/oak"))
    assert [talk.played_by(role) for role in ("assistant/ash", "assistant", "teacher", "user")] == [ash, ash, own, own]


@pytest.mark.parametrize("aliases", [["oak", "ash"], ["ash", "ash"], [""]])
def test_a_recipe_refuses_models_of_a_pool_out_of_order_or_without_a_name(aliases: list[str]) -> None:
    """They are drawn by their place, so the place is data."""
    with pytest.raises(ValidationError, match="distinct aliases"):
        Recipe(pool=tuple(ModelRecipe(alias=alias) for alias in aliases))


def test_models_that_want_different_prompts_cannot_be_mixed(tmp_path: Path) -> None:
    """A stage's prompt is written once, for messages or to be continued; told before anything is sent."""
    file = pool_file(tmp_path / "p.toml", api("ash"), api("elm", api="completion"), api("oak"))
    with pytest.raises(ConfigProblem) as told:
        _plan(tmp_path, str(file))
    assert str(told.value) == (
        "the pool's models are not all asked in one way (chat: ash, oak; completion: elm), and prompts are written for"
        ' one: leave some out, as in --pool NAME:-elm, or say rendering = "chat" or "completion" of each in a pool'
        " of your own"
    )
    assert len(_plan(tmp_path, f"{file}:-elm").roles) == 2


def _plan(place: Path, pool: str) -> launch.Plan:
    recipe = named_roles(Recipe(method="alpaca", model=ModelRecipe(api="chat", base_url=URL), pool=pooled(pool)))
    chosen = settings({})
    opened = unopened_roles(recipe, chosen, ("teacher", *recipe.pool_roles))
    teacher = opened.pop("teacher")
    return launch.plan(recipe, chosen, teacher, place / "run", opened)


@pytest.mark.parametrize(
    ("name", "alias", "model"), [("trees/ash", "ash", "ash"), ("trees/ash", "", "trees/ash"), ("FOLDER/oak", "", "oak")]
)
def test_a_plan_names_a_model_of_our_own_vllm_as_the_run_does(
    tmp_path: Path, name: str, alias: str, model: str
) -> None:
    """By its name in the pool, by its id, or by its folder: the default name of the run comes of it."""
    model_folder(tmp_path / "oak")
    recipe = Recipe(model=ModelRecipe(api="vllm", name=name.replace("FOLDER", str(tmp_path)), alias=alias))
    assert unopened_roles(recipe, settings({}), ("teacher",))["teacher"].endpoint.model == model


# --- prices ---------------------------------------------------------------------------------------------------------


def test_a_pool_is_reckoned_with_the_mean_of_its_prices(tmp_path: Path) -> None:
    """In whole pico-units, rounded up; a model of our own vLLM costs nothing, and counts."""
    home = {"name": "elm", "hub": "trees/elm"}
    ash = api("ash", model="ash-large", price="in=1,out=2")
    file = pool_file(tmp_path / "p.toml", ash, api("oak", price="in=4,out=6.5"), home)
    plan = _plan(tmp_path, str(file))
    prices = role_prices.of_plan(plan)
    mean = prices["teacher"]
    assert mean is not None
    assert (mean.input, mean.output, mean.currency) == (-(-5_000_000 // 3), -(-8_500_000 // 3), "usd")
    by_model = {
        name: price and (price.input, price.output) for name, price in role_prices.by_model(plan, prices).items()
    }
    assert by_model == {"ash": (1_000_000, 2_000_000), "oak": (4_000_000, 6_500_000), "elm": (0, 0)}


@pytest.mark.parametrize(
    ("prices", "told"),
    [
        (("in=1,out=2", ""), []),
        (
            ("in=1,out=2", "in=1,out=2,currency=cny"),
            ["prices in cny and usd do not add up: give all of them in one currency"],
        ),
    ],
)
def test_a_mean_that_cannot_be_had_is_none(tmp_path: Path, prices: tuple[str, str], told: list[str]) -> None:
    """A price that is not known, or another currency: the calls count as unpriced, and of currencies it is said."""
    models = [api(name, price=price) for name, price in zip(("ash", "oak"), prices, strict=True)]
    plan = _plan(tmp_path, str(pool_file(tmp_path / "p.toml", *models)))
    found = role_prices.of_plan(plan)
    assert (found["teacher"], role_prices.mixed(role_prices.by_model(plan, found))) == (None, told)


def test_what_runs_here_costs_nothing_in_the_currency_of_the_others(tmp_path: Path) -> None:
    """Else its nothing would not add up with their money."""
    home = {"name": "elm", "hub": "trees/elm"}
    plan = _plan(tmp_path, str(pool_file(tmp_path / "p.toml", api("ash", price="in=1,out=2,currency=cny"), home)))
    prices = role_prices.of_plan(plan)
    assert {price.currency for price in prices.values() if price} == {"cny"}
    assert prices["teacher/ash"] == parse_price("in=1,out=2,currency=cny")


# --- beside runs without one ----------------------------------------------------------------------------------------


def test_a_run_without_a_pool_is_written_down_as_before_there_were_pools(tmp_path: Path) -> None:
    """Key by key: an older run goes on, and its shards are those it would have had."""
    recipe = named_roles(Recipe(method="alpaca", model=ModelRecipe(api="chat", base_url=URL, name="oak", context=512)))
    plan = launch.plan(recipe, settings({}), unopened_roles(recipe, settings({}), ("teacher",))["teacher"], tmp_path)
    written = identity.of_stage(plan.links[0], recipe, plan.seeds, plan.asked, None, 100).identity
    assert sorted(written) == [
        *("alpaca", "filters", "in_step", "lag", "lang", "languages", "method", "model", "prompts", "round_size"),
        *("rounds_per_shard", "seed", "seeds", "upstream"),
    ]
    assert written["model"] == {
        "api": "chat",
        "context": 512,
        "endpoint": "",
        "reproducible": False,
        "identity": URL,
        "model": "oak",
        "token_field": "max_tokens",
        "omit": [],
        "extra_body": {},
        "limits": {},
        "json_mode": "json_schema",
        "send_seed": False,
        "rendering": "chat",
    }
