"""A recipe that names an endpoint we know, or has its address: what its models want, and whose key it is."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct import endpoints, wire
from selfinstruct.base_url import ApiKey
from selfinstruct.config import Settings
from selfinstruct.errors import AccessDenied, ConfigProblem
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models.opening import open_model
from selfinstruct.naming import THINKING_ROOM, key_for, named
from selfinstruct.schema import Draw, Message, Request, Sampling

ASKED = Request(
    draw=Draw(stage="classify", round=0, slot=0),
    messages=(Message(role="user", content="Yes or no?"),),
    sampling=Sampling(temperature=0.0, top_p=0.0, presence_penalty=0.0, frequency_penalty=0.0, max_tokens=3),
    stop=("\n",),
)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the machine the tests run on."""
    for name in endpoints.names():
        preset = endpoints.load(name)
        for variable in (preset.key_variable, *preset.other_key_variables):
            monkeypatch.delenv(variable, raising=False)


def body(recipe: ModelRecipe) -> dict[str, Any]:
    """The body a classification would be asked with."""
    return wire.body(open_model(named(recipe), Settings()).endpoint, ASKED)


# --- what it fills in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", endpoints.names())
def test_a_named_preset_gives_address_and_model(name: str) -> None:
    """Both can be said otherwise."""
    preset = endpoints.load(name)
    recipe = named(ModelRecipe(api="chat", endpoint=name))
    assert (recipe.base_url, recipe.name) == (preset.base_url, preset.default_model or "gpt-3.5-turbo")
    other = named(ModelRecipe(api="chat", endpoint=name, name="m", base_url="http://127.0.0.1:9/v1"))
    assert (other.base_url, other.name) == ("http://127.0.0.1:9/v1", "m")


def test_what_the_recipe_says_goes_before_what_the_preset_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Field by field; omitted fields add up, and one that is omitted is not added by the preset either."""
    preset = endpoints.load("openai").for_model("gpt-5")
    assert preset.token_field == "max_completion_tokens" and "temperature" in preset.omit
    own = ModelRecipe(
        api="chat", endpoint="openai", name="gpt-5", token_field="max_tokens", omit=("seed",), json_mode="none"
    )
    recipe = named(own)
    assert (recipe.token_field, recipe.json_mode) == ("max_tokens", "none")
    assert set(recipe.omit) == {*preset.omit, "seed"}
    thinking = named(ModelRecipe(api="chat", endpoint="deepseek"))
    assert thinking.extra_body == {"thinking": {"type": "disabled"}}
    switched_on = ModelRecipe(api="chat", endpoint="deepseek", extra_body={"thinking": {"type": "enabled"}})
    assert named(switched_on).extra_body == {"thinking": {"type": "enabled"}}
    assert named(ModelRecipe(api="chat", endpoint="deepseek", omit=("thinking",))).extra_body == {}


def test_a_model_that_always_thinks_gets_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tokens for a yes or no would all be thoughts."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    asked = body(ModelRecipe(api="chat", name="gpt-5"))
    assert asked["max_completion_tokens"] == THINKING_ROOM[0]
    assert asked.keys() == {"model", "messages", "max_completion_tokens"}
    assert body(ModelRecipe(api="chat", name="gpt-4.1"))["max_tokens"] == 3


@pytest.mark.parametrize(("name", "top_p"), [("deepseek", 0.01), ("dashscope", 0.01)])
def test_what_a_server_would_refuse_is_moved_to_what_it_takes(
    name: str, top_p: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """top_p 0, which classification asks for, is a 400 there."""
    preset = endpoints.load(name)
    monkeypatch.setenv(preset.key_variable, "k")
    assert body(ModelRecipe(api="chat", endpoint=name))["top_p"] == top_p


def test_a_preset_is_known_by_its_address_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its oddities, but not its default model: nobody asked for that preset."""
    recipe = named(ModelRecipe(api="chat", name="deepseek-flash", base_url="https://api.deepseek.com"))
    assert (recipe.endpoint, recipe.json_mode) == ("", "json_object")
    assert recipe.extra_body == {"thinking": {"type": "disabled"}}
    assert named(ModelRecipe(api="chat", base_url="https://api.deepseek.com")).name == "gpt-3.5-turbo"


@pytest.mark.parametrize("api", ["local", "fake", "replay"])
def test_a_preset_is_for_an_api(api: Any) -> None:
    """78, with what is missing."""
    with pytest.raises(ConfigProblem, match="the endpoint 'deepseek' is an API's: add --api chat"):
        named(ModelRecipe(api=api, endpoint="deepseek"))


@pytest.mark.parametrize("cap", [{"max_tokens_total": 10**6}, {"max_cost": "5usd", "price": "in=1,out=2"}])
def test_no_cap_is_set_on_what_has_no_bound(cap: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """78 where thoughts are not counted in max_tokens; a cap on calls holds, and any on a model that just answers."""
    monkeypatch.setenv("SILICONFLOW_API_KEY", "k")
    thinking = named(ModelRecipe(endpoint="siliconflow", name="deepseek-ai/DeepSeek-R1"))
    with pytest.raises(ConfigProblem, match="does not count the thoughts of 'deepseek-ai/DeepSeek-R1' in max_tokens"):
        open_model(thinking, Settings(**cap))
    assert open_model(thinking, Settings(max_calls=5)).endpoint.model == "deepseek-ai/DeepSeek-R1"
    answering = named(ModelRecipe(endpoint="siliconflow"))
    assert open_model(answering, Settings(**cap)).endpoint.model == answering.name


# --- whose key ------------------------------------------------------------------------------------------------------


def test_a_named_preset_needs_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """77 with the variable's name, though another company's key is there, and wherever the server is."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    for base_url in ("", "http://127.0.0.1:9/v1"):
        recipe = named(ModelRecipe(api="chat", endpoint="deepseek", base_url=base_url))
        with pytest.raises(AccessDenied, match="no API key for deepseek: set DEEPSEEK_API_KEY"):
            open_model(recipe, Settings())
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-deepseek")
    assert key_for(recipe, Settings()) == ApiKey("sk-deepseek", "DEEPSEEK_API_KEY")


def test_the_key_of_a_known_address_is_its_own_then_the_users_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_API_KEY beside --base-url means the key of that address, as everywhere, if there is no better one."""
    recipe = named(ModelRecipe(api="chat", base_url="https://api.deepseek.com/v1"))
    assert key_for(recipe, Settings()) is None
    monkeypatch.setenv("OPENAI_API_KEY", "sk-meant")
    assert key_for(recipe, Settings()) == ApiKey("sk-meant")
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-deepseek")
    assert key_for(recipe, Settings()) == ApiKey("sk-deepseek", "DEEPSEEK_API_KEY")
