"""Commands over a vLLM of ours, as a user meets them: options that contradict it, plans, runs that are done."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.engine import server as engine_server
from selfinstruct.models import conversion
from tests.command import Ended, invoke
from tests.faults.dialogue_server import openers
from tests.pools_at_work import at_home, pool_file
from tests.request_files import numbered, write
from tests.stub_engine import model_folder, starts
from tests.talking import file_of

NOWHERE = "http://127.0.0.1:9/v1"
"""Where nobody answers."""


@pytest.fixture
def words(tmp_path: Path) -> dict[str, tuple[object, ...]]:
    """Each command that asks a model, with all that it cannot do without but who answers."""
    requests = write(tmp_path / "requests.jsonl", numbered(2))
    told = file_of(tmp_path / "openers.txt", openers("en", 2))
    return {
        "generate": ("generate", "-n", 2, "--output-dir", tmp_path),
        "dialogue": ("dialogue", "--openers", told, "--rounds", "1-1", "--output-dir", tmp_path),
        "complete": ("complete", requests, "--out", tmp_path / "out"),
    }


def ran(place: Path, *args: object, **variables: str) -> Ended:
    """A command that finds the stand-in for vLLM."""
    return invoke(*args, **{**at_home(place), **variables})


# --- who answers ------------------------------------------------------------------------------------------------------

BESIDE_A_POOL = {"api": "chat", "model": "m", "endpoint": "groq", "base-url": NOWHERE}


@pytest.mark.parametrize("option", BESIDE_A_POOL)
@pytest.mark.parametrize("command", ["generate", "complete", "dialogue"])
def test_an_option_that_a_pool_takes_the_place_of_is_refused(
    words: dict[str, tuple[object, ...]], tmp_path: Path, command: str, option: str
) -> None:
    """By its name, and before anything is made; of a dialogue it is the assistant's, whose place the pool takes."""
    pool = pool_file(tmp_path / "p.toml", {"name": "ash", "base_url": NOWHERE})
    named = f"--assistant-{option}" if command == "dialogue" else f"--{option}"
    for more in ((), ("--dry-run",)):
        ended = ran(tmp_path, *words[command], "--pool", pool, named, BESIDE_A_POOL[option], *more)
        assert ended.code == 2
        assert f"--pool says who answers: leave {named} out" in ended.err


def test_a_pool_of_a_recipe_is_told_apart_from_the_option(words: dict[str, tuple[object, ...]], tmp_path: Path) -> None:
    """Nobody is sent looking for a --pool that was not typed."""
    pool = pool_file(tmp_path / "p.toml", {"name": "ash", "base_url": NOWHERE})
    ended = ran(tmp_path, *words["generate"], "--set", f"pool={pool}", "--model", "m")
    assert (ended.code, "the pool of the recipe says who answers: leave --model out" in ended.err) == (2, True)


def test_the_user_of_a_dialogue_over_a_pool_may_be_named(words: dict[str, tuple[object, ...]], tmp_path: Path) -> None:
    """The pool answers; --api and --model are the user's and the openers'."""
    pool = pool_file(tmp_path / "p.toml", {"name": "ash", "base_url": NOWHERE})
    own = ("--api", "chat", "--model", "own", "--base-url", NOWHERE)
    assert ran(tmp_path, *words["dialogue"], "--pool", pool, *own, "--dry-run").code == 0


@pytest.mark.parametrize(
    ("command", "role"),
    [("generate", ""), ("complete", ""), ("dialogue", ""), ("dialogue", "user-"), ("dialogue", "assistant-")],
)
def test_a_vllm_of_ours_has_no_address_to_be_given(
    words: dict[str, tuple[object, ...]], tmp_path: Path, command: str, role: str
) -> None:
    """The message says how a server that runs is asked; the variable of OpenAI's library is in nobody's way."""
    tiny = model_folder(tmp_path / "tiny", starts=tmp_path / "starts")
    vllm = (*words[command], f"--{role}api", "vllm", f"--{role}model", tiny)
    ended = ran(tmp_path, *vllm, f"--{role}base-url", NOWHERE)
    assert ended.code == 2
    assert f"is asked by --{role}api chat --{role}base-url …" in ended.err
    assert starts(tmp_path / "starts") == []
    assert ran(tmp_path, *vllm, "--dry-run", OPENAI_BASE_URL=NOWHERE, OPENAI_API_KEY="none").code == 0


def test_an_address_that_the_other_side_has_is_heard(words: dict[str, tuple[object, ...]], tmp_path: Path) -> None:
    """vLLM answers, and the user is played at --base-url: nothing goes unheard."""
    vllm = ("--api", "vllm", "--model", model_folder(tmp_path / "tiny"), "--base-url", NOWHERE)
    user = ("--user-api", "chat", "--user-model", "asks")
    assert ran(tmp_path, *words["dialogue"], *vllm, *user, "--dry-run").code == 0
    elsewhere = ran(tmp_path, *words["dialogue"], *vllm, *user, "--user-base-url", "http://127.0.0.1:8/v1", "--dry-run")
    assert elsewhere.code == 2


@pytest.mark.parametrize("command", ["generate", "dialogue", "complete"])
def test_an_endpoint_is_not_for_a_vllm_of_ours(
    words: dict[str, tuple[object, ...]], tmp_path: Path, command: str
) -> None:
    """It is told, with what it is for."""
    ended = ran(tmp_path, *words[command], "--api", "vllm", "--model", "org/m", "--endpoint", "groq", "--dry-run")
    assert (ended.code, "the endpoint 'groq' is an API's: add --api chat" in ended.err) == (78, True)


# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "--api vllm needs a model: --model with a Hub id"),
        (("--model", "./nowhere"), "no such model folder"),
        (("--model", "smollm2-135m-instruct"), "selfinstruct models convert"),
        (("--model", "org/m", "--engine", "trust_remote_code=true"), "'trust_remote_code' cannot be set"),
        (("--model", "org/m", "--engine", "chat_template=./nowhere.jinja"), "./nowhere.jinja: No such file"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "dialogue", "complete"])
def test_a_plan_stops_where_the_run_would(
    words: dict[str, tuple[object, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    options: tuple[str, ...],
    told: str,
) -> None:
    """With the run's own words."""
    monkeypatch.setattr(conversion, "default_folder", lambda: tmp_path / "unmade")
    vllm = (*words[command], "--api", "vllm", *options)
    planned, run = ran(tmp_path, *vllm, "--dry-run"), ran(tmp_path, *vllm)
    assert (planned.code, told in planned.err) == (78, True)
    assert (run.code, run.err) == (planned.code, planned.err)


def test_a_plan_of_a_pool_looks_at_its_folders(words: dict[str, tuple[object, ...]], tmp_path: Path) -> None:
    """One that is not there stops it, as the run."""
    pool = pool_file(tmp_path / "p.toml", {"name": "ash", "model": str(tmp_path / "ash")})
    ended = ran(tmp_path, *words["generate"], "--pool", pool, "--dry-run")
    assert (ended.code, f"{tmp_path}/ash: no such model folder" in ended.err) == (78, True)


def test_a_plan_needs_no_vllm(words: dict[str, tuple[object, ...]], tmp_path: Path) -> None:
    """Who plans on a laptop what a server will do has none; the run itself does need it."""
    tiny = model_folder(tmp_path / "tiny")
    none = {"SELFINSTRUCT_VLLM_PYTHON": str(tmp_path / "no-python")}
    vllm = (*words["generate"], "--api", "vllm", "--model", tiny)
    assert ran(tmp_path, *vllm, "--dry-run", **none).code == 0
    assert ran(tmp_path, *vllm, **none).code == 78


# --- again ------------------------------------------------------------------------------------------------------------


def test_what_keeps_a_vllm_busy_is_told_while_there_is_something_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is done asks nobody, and says nothing of how it would."""
    monkeypatch.setattr(engine_server, "LOOK_EVERY", 0.02)
    tiny = model_folder(tmp_path / "tiny", starts=tmp_path / "starts")
    vllm = ("generate", "--method", "alpaca", "--format", "json", "--api", "vllm", "--model", tiny)
    common = (*vllm, "--run", "r", "--output-dir", tmp_path, "--max-tokens", 512)
    told = [ran(tmp_path, *common, "-n", wanted) for wanted in (10, 10, 60)]
    assert [one.code for one in told] == [0, 0, 0], told
    assert ["vLLM is sent 256 calls at once" in one.err for one in told] == [True, False, True]
    assert len(starts(tmp_path / "starts")) == 2
