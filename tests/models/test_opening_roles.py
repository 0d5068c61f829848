"""Who plays the roles of a recipe: whom they share, whose key each is sent, and what a replayed run says of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from selfinstruct import endpoints, wire
from selfinstruct.base_url import ApiKey
from selfinstruct.config import Settings
from selfinstruct.errors import AccessDenied, BadData
from selfinstruct.ledger import Ledger
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models import weights
from selfinstruct.models.opening import open_model, open_models
from selfinstruct.naming import ROLES, key_of, named, named_roles
from selfinstruct.recipe import Recipe
from selfinstruct.schema import Draw, Endpoint, Request

MINE, THEIRS = "http://127.0.0.1:8001/v1", "https://api.example.com/v1"
FAKE = ModelRecipe(api="fake")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the machine the tests run on."""
    for name in endpoints.names():
        preset = endpoints.load(name)
        for variable in (preset.key_variable, *preset.other_key_variables):
            monkeypatch.delenv(variable, raising=False)
    for variable in ("OPENAI_BASE_URL", "SELFINSTRUCT_USER_API_KEY", "SELFINSTRUCT_ASSISTANT_API_KEY"):
        monkeypatch.delenv(variable, raising=False)


SIDES = ("teacher", "user", "assistant")
"""Who is asked in a dialogue."""


def at(base_url: str, name: str = "m") -> ModelRecipe:
    """A model of an API."""
    return ModelRecipe(api="chat", base_url=base_url, name=name)


def keys(recipe: Recipe, **given: Any) -> list[tuple[str, str]]:
    """The key of each role, and the variable it is from."""
    found = [key_of(named_roles(recipe), role, Settings(**given)) for role in SIDES]
    return [(key.value, key.variable) for key in found]


# --- who plays whom -------------------------------------------------------------------------------------------------


def test_a_role_without_a_model_of_its_own_is_played_by_the_runs() -> None:
    """And a recipe written to disk does not invent one."""
    recipe = named_roles(Recipe(model=FAKE, assistant=ModelRecipe(api="chat", base_url=MINE + "/")))
    assert recipe.model == named(FAKE)
    assert recipe.user is None
    assert recipe.assistant is not None
    assert (recipe.assistant.name, recipe.assistant.base_url) == ("gpt-3.5-turbo", MINE)
    assert [recipe.played_by(role).api for role in SIDES] == ["fake", "fake", "chat"]


def test_every_role_but_the_runs_own_has_a_key_and_a_price_of_its_own() -> None:
    """Whoever may be elsewhere may have another account."""
    assert (*SIDES, "judge") == ROLES
    assert {f"{role}_{what}" for role in ROLES[1:] for what in ("api_key", "price")} <= Settings.model_fields.keys()


def test_roles_of_one_model_share_what_is_opened() -> None:
    """One pool of connections and one limit; a model named twice alike is one."""
    recipe = named_roles(Recipe(model=at(MINE), user=at(MINE + "/"), assistant=at(MINE, "another")))
    opened = open_models(recipe, Settings(concurrency=7), SIDES)
    assert [*opened] == ["teacher", "user", "assistant"]
    assert opened["user"] is opened["teacher"]
    assert opened["assistant"].model is not opened["teacher"].model
    assert [one.endpoint.model for one in opened.values()] == ["m", "m", "another"]
    assert {(one.concurrency, one.rendering) for one in opened.values()} == {(7, "chat")}


def test_one_model_for_two_accounts_is_opened_twice() -> None:
    """Limits are an account's. The same key in two variables is one account."""
    recipe = named_roles(Recipe(model=at(MINE)))
    given: dict[str, Any] = {"OPENAI_API_KEY": SecretStr("one")}
    same = open_models(recipe, Settings(**given, user_api_key=SecretStr("one")), SIDES)
    other = open_models(recipe, Settings(**given, user_api_key=SecretStr("two")), SIDES)
    assert same["user"] is same["teacher"]
    assert other["user"] is not other["teacher"]
    assert other["assistant"] is other["teacher"]


def test_only_the_roles_that_are_asked_are_opened() -> None:
    """So a run without a teacher needs no key for one."""
    recipe = named_roles(Recipe(model=ModelRecipe(api="chat"), user=FAKE, assistant=FAKE))
    assert [*open_models(recipe, Settings(), ("user", "assistant"))] == ["user", "assistant"]
    with pytest.raises(AccessDenied, match=r"^no API key: set OPENAI_API_KEY, or point"):
        open_models(recipe, Settings(), SIDES)
    asked = named_roles(Recipe(model=FAKE, user=ModelRecipe(api="chat")))
    with pytest.raises(AccessDenied, match=r"^no API key: set OPENAI_API_KEY or SELFINSTRUCT_USER_API_KEY, or"):
        open_models(asked, Settings(), SIDES)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is no model; nothing loads it."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    return path


def test_embedded_roles_of_the_same_weights_share_the_backend(file: Path) -> None:
    """However the file is named: a second copy would take its memory, and the processor from the first."""
    pytest.importorskip("xllamacpp")
    spelled = str(file.parent / "." / ".." / file.parent.name / file.name)
    user = ModelRecipe(name=spelled, limits={"temperature": (0.0, 1.0)})
    for assistant, shared in ((user, True), (user.model_copy(update={"context": 512}), False)):
        recipe = named_roles(Recipe(model=ModelRecipe(name=str(file)), user=user, assistant=assistant))
        opened = open_models(recipe, Settings(), SIDES)
        assert opened["user"].model is opened["teacher"].model
        assert (opened["assistant"].model is opened["teacher"].model) is shared
        assert [one.endpoint.model for one in opened.values()] == [str(file), spelled, spelled]
        assert opened["user"].endpoint.limits == {"temperature": (0.0, 1.0)}


async def test_a_shared_backend_is_asked_in_each_roles_own_words() -> None:
    """The embedded model answers what was written, whoever wrote it."""
    pytest.importorskip("xllamacpp")
    gguf = weights.find()
    if gguf is None:
        pytest.skip("the embedded model is not here")
    recipe = named_roles(Recipe(user=ModelRecipe(name=str(gguf))))
    opened = open_models(recipe, Settings(gguf=gguf), SIDES)
    assert opened["user"].model is opened["teacher"].model
    try:
        for role in ("teacher", "user"):
            asked = Request(draw=Draw(stage="dialogue", round=0, slot=0), prompt="One, two,")
            body = wire.body(opened[role].endpoint, asked) | {"max_tokens": 2, "temperature": 0}
            written = asked.model_copy(update={"body": wire.canonical(body), "path": wire.COMPLETIONS})
            completion = await opened[role].model.complete(written)
            assert completion.completion_tokens == 2
    finally:
        await opened["teacher"].model.aclose()


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_roles_own_key_is_sent_where_that_role_is_asked() -> None:
    """And to nobody else, though all three are at one address."""
    given = {"OPENAI_API_KEY": SecretStr("general"), "user_api_key": SecretStr(" for-user ")}
    assert keys(Recipe(model=at(THEIRS)), **given) == [
        ("general", "OPENAI_API_KEY"),
        ("for-user", "SELFINSTRUCT_USER_API_KEY"),
        ("general", "OPENAI_API_KEY"),
    ]


def test_the_general_key_stays_at_the_addresses_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's own, OpenAI's and the one it is exported with; a stranger gets none, on this machine or elsewhere."""
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    general, none = ("general", "OPENAI_API_KEY"), ("", "SELFINSTRUCT_USER_API_KEY")
    openai = ModelRecipe(api="chat")
    for run, user, expected in (
        (at(THEIRS), at(THEIRS, "another"), general),
        (at(THEIRS), at("https://API.example.com:443/other/v2"), general),  # the origin counts
        (at(THEIRS), at("http://api.example.com/v1"), none),
        (at(THEIRS), at("https://api.example.com:8443/v1"), none),
        (at(THEIRS), at("https://api.example.com.evil.net/v1"), none),
        (at(THEIRS), at(MINE), none),
        (at(MINE), at("http://127.0.0.1:8002/v1"), none),
        (at(MINE), openai, general),
        (openai, at(THEIRS), none),
        (FAKE, at(THEIRS), none),
        (FAKE, openai, general),
        (ModelRecipe(endpoint="openai"), at(THEIRS), none),
    ):
        assert keys(Recipe(model=run, user=user))[1] == expected, (run, user)
    monkeypatch.setenv("OPENAI_BASE_URL", THEIRS)
    assert keys(Recipe(model=FAKE, user=at(THEIRS)))[1] == general
    assert keys(Recipe(model=FAKE, user=at(MINE)))[1] == none


def test_a_preset_keeps_its_own_key_in_every_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, or known by its address; and the general key does not become that of a preset's address."""
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    monkeypatch.setenv("DEEPSEEK_API_KEY", "deep")
    deepseek, address = ModelRecipe(endpoint="deepseek"), at("https://api.deepseek.com/v1")
    deep = ("deep", "DEEPSEEK_API_KEY")
    every = keys(Recipe(model=at(THEIRS), user=deepseek, assistant=address))
    assert every == [("general", "OPENAI_API_KEY"), deep, deep]
    monkeypatch.delenv("DEEPSEEK_API_KEY")
    assert keys(Recipe(model=at(THEIRS), assistant=address))[2] == ("", "SELFINSTRUCT_ASSISTANT_API_KEY")
    with pytest.raises(AccessDenied, match="set DEEPSEEK_API_KEY"):
        keys(Recipe(model=at(THEIRS), user=deepseek))
    own = Settings(user_api_key=SecretStr("mine"))
    assert key_of(named_roles(Recipe(user=deepseek)), "user", own) == ApiKey("mine", "SELFINSTRUCT_USER_API_KEY")
    monkeypatch.setenv("DEEPSEEK_API_KEY", "deep")  # the run's key is the preset's: the general one is not bound there
    via = ModelRecipe(endpoint="deepseek", base_url=THEIRS)
    assert keys(Recipe(model=via, user=at(THEIRS)))[1] == ("", "SELFINSTRUCT_USER_API_KEY")


def test_who_is_no_api_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent anywhere."""
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    assert [value for value, _ in keys(Recipe(model=FAKE), user_api_key=SecretStr("x"))] == ["", "", ""]


# --- a replayed run -------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Path]:
    """A run of two stages that was answered by two models."""
    with Ledger(tmp_path / "ledger.sqlite3"):
        pass
    for stage, roles in (
        ("another", {}),
        ("dialogue", {"roles": {"user": block("small"), "assistant": block("big")}}),
    ):
        (tmp_path / stage).mkdir()
        identity = {"model": block("big"), **roles}
        (tmp_path / stage / "stage.json").write_bytes(orjson.dumps({"identity": identity}))
    yield tmp_path


def block(name: str) -> dict[str, Any]:
    """A model, as a stage names it."""
    return {"api": "chat", "rendering": "chat", **Endpoint(identity=THEIRS, model=name).model_dump(mode="json")}


async def test_a_replayed_run_answers_each_role_as_whom_it_recorded(recorded: Path) -> None:
    """Calls are kept by who was asked; roles of one recorded model share it."""
    opened = open_models(named_roles(Recipe(model=ModelRecipe(api="replay"))), Settings(replay_from=recorded), SIDES)
    assert {role: one.endpoint.model for role, one in opened.items()} == {
        "teacher": "big",
        "user": "small",
        "assistant": "big",
    }
    assert opened["assistant"] is opened["teacher"]
    assert {one.rendering for one in opened.values()} == {"chat"}
    for one in (opened["teacher"], opened["user"]):
        await one.model.aclose()


async def test_a_run_of_one_model_is_replayed_for_every_role(recorded: Path) -> None:
    """It says of no role that it was another's."""
    (recorded / "dialogue" / "stage.json").unlink()
    opened = open_models(named_roles(Recipe(model=ModelRecipe(api="replay"))), Settings(replay_from=recorded), SIDES)
    assert len({id(one) for one in opened.values()}) == 1
    assert opened["user"].endpoint.model == "big"
    await opened["user"].model.aclose()


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b'{"identity": []}', b'{"identity": {"model": {}}}'], ids="empty list flat bare".split()
)
def test_a_run_that_does_not_say_who_answered_names_the_file(recorded: Path, damage: bytes) -> None:
    """Every stage is looked at."""
    (recorded / "another" / "stage.json").write_bytes(damage)
    with pytest.raises(BadData, match=r"another/stage\.json: does not say which model was recorded"):
        open_model(ModelRecipe(api="replay"), Settings(replay_from=recorded))
