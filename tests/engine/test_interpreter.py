"""Which Python has vLLM: the one that is named, the environment of its own, or this one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfinstruct.engine import interpreter
from selfinstruct.errors import ConfigProblem


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and no vLLM in this interpreter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return tmp_path


def program(path: Path) -> Path:
    """A file that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_one_that_is_named_is_taken_first(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its path, or by a name that the shell would find; before the environment of its own."""
    program(here / interpreter.OWN_ENVIRONMENT)
    named = program(here / "other" / "python-of-vllm")
    assert interpreter.required(str(named)) == named
    monkeypatch.setenv("PATH", str(named.parent))
    assert interpreter.required("python-of-vllm") == named


def test_a_name_that_is_no_program_is_told_with_the_command_that_helps(here: Path) -> None:
    """Also where another would have been found: the user means the one that was named."""
    program(here / interpreter.OWN_ENVIRONMENT)
    (here / "text").write_text("no program")
    for name in ("no-such-python", str(here / "text"), str(here)):
        with pytest.raises(ConfigProblem, match=r"no such program .*make setup-vllm BUILD=cuda") as stop:
            interpreter.find(name)
        assert str(stop.value).startswith(f"{name}: ")


def test_the_environment_of_its_own_comes_before_this_one(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the process goes afterwards."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(name=name))
    assert interpreter.find("") == Path(sys.executable)
    assert interpreter.required("") == Path(sys.executable)
    own = program(here / interpreter.OWN_ENVIRONMENT)
    assert interpreter.find("") == own
    assert own.is_absolute()


def test_without_any_the_setup_command_is_told(here: Path) -> None:
    """And the two other ways there are."""
    assert interpreter.find("") is None
    with pytest.raises(ConfigProblem, match=r"run  make setup-vllm BUILD=cuda  \(or BUILD=cpu\),") as stop:
        interpreter.required("")
    for way in ("--vllm-python", "SELFINSTRUCT_VLLM_PYTHON", "--base-url"):
        assert way in str(stop.value)
