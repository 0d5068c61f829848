"""A recipe that asks vLLM: what is loaded, under which name it is served, and what makes it another model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import naming
from selfinstruct.config import settings
from selfinstruct.errors import ConfigProblem, UnknownModel, UsageProblem
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models import conversion
from selfinstruct.models.opening import VLLM_CONCURRENCY, Opened, open_model
from tests.stub_engine import model_folder


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is there; nothing is started here."""
    monkeypatch.setenv("SELFINSTRUCT_VLLM_PYTHON", sys.executable)


def opened(name: str | Path, given: dict[str, Any] | None = None, **recipe: Any) -> Opened:
    """The backend of a recipe, with these settings."""
    return open_model(naming.named(ModelRecipe(api="vllm", name=str(name), **recipe)), settings(given or {}))


def test_a_folder_is_known_by_its_content_and_served_under_its_name(tmp_path: Path) -> None:
    """Wherever it lies: a run goes on when the folder was moved."""
    here, there = model_folder(tmp_path / "a" / "tiny"), tmp_path / "b" / "tiny"
    first = opened(here).endpoint
    there.parent.mkdir()
    here.rename(there)
    assert opened(there).endpoint == first
    assert (first.model, first.identity[:17]) == ("tiny", "vllm:tiny@sha256:")


def test_a_hub_id_is_known_by_its_revision_and_the_options_that_change_texts() -> None:
    """Not by those that say how fast it works, and on what."""
    fast = {"tensor_parallel_size": 2, "dtype": "bfloat16", "revision": "0123abc"}
    endpoint = opened("org/m-8b", engine=fast).endpoint
    assert (endpoint.model, endpoint.identity) == ("org/m-8b", "vllm:org/m-8b@0123abc;dtype=bfloat16")


def test_messages_are_sent_unless_raw_text_is_asked_for(tmp_path: Path) -> None:
    """Most models of today are made for messages; nothing is probed."""
    folder = model_folder(tmp_path / "tiny")
    assert opened(folder).rendering == "chat"
    assert opened(folder, rendering="completion").rendering == "completion"


def test_each_set_of_gpus_is_given_what_vllm_works_on_at_once(tmp_path: Path) -> None:
    """Unless the user says how many calls may be in flight."""
    folder = model_folder(tmp_path / "tiny")
    assert opened(folder).concurrency == VLLM_CONCURRENCY == 256
    assert opened(folder, {"gpus": ("0", "1")}).concurrency == 512
    assert opened(folder, {"concurrency": 7}).concurrency == 7


def test_a_share_of_nothing_is_moved_to_the_least_vllm_takes(tmp_path: Path) -> None:
    """The papers ask with top_p 0, which means the likeliest token, and which vLLM refuses."""
    assert opened(model_folder(tmp_path / "tiny")).endpoint.limits == {"top_p": (0.001, 1.0)}


def test_what_is_missing_is_told_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name, a folder, its config, the converted weights, an interpreter; and options for who has no engine."""
    with pytest.raises(ConfigProblem, match="--model with a Hub id"):
        opened("")
    with pytest.raises(UnknownModel, match="no such model folder"):
        opened(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigProblem, match=r"holds no config\.json"):
        opened(tmp_path / "empty")
    monkeypatch.setattr(conversion, "default_folder", lambda: tmp_path / "unmade")
    with pytest.raises(ConfigProblem, match="selfinstruct models convert"):
        opened("smollm2-135m-instruct")
    with pytest.raises(ConfigProblem, match="engine options are for --api vllm"):
        naming.named(ModelRecipe(api="chat", name="m", engine={"dtype": "half"}))
    monkeypatch.setenv("SELFINSTRUCT_VLLM_PYTHON", str(tmp_path / "python"))
    with pytest.raises(ConfigProblem, match="no such program"):
        opened("org/m-8b")


@pytest.mark.parametrize("text", ["0,0", "0,1;1", "a b", "0,", "-1"])
def test_sets_of_gpus_are_numbers_and_share_none(text: str) -> None:
    """Given by the environment as by the option."""
    with pytest.raises(UsageProblem, match="GPU"):
        settings({"gpus": text})
    assert settings({"gpus": "0, 1;GPU-8e-1"}).gpus == ("0,1", "GPU-8e-1")
