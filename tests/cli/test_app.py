"""The outermost frame: help, version, and how what nobody has foreseen ends."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest import mock

import pytest
import typer

from selfinstruct import __version__, launch
from selfinstruct.cli import app
from selfinstruct.cli.options import settings_of
from selfinstruct.config import Settings
from tests.command import PROGRAM, ROOT, invoke

COMMANDS = "generate complete plan doctor status show export verify rebuild skip models".split()


def test_the_version_is_printed() -> None:
    """And nothing else."""
    assert invoke("--version") == (0, f"selfinstruct {__version__}\n", "")


def test_help_lists_the_commands_and_the_exit_codes() -> None:
    """Also without any argument, where it is a usage error."""
    for args in (["--help"], ["-h"]):
        ended = invoke(*args)
        assert ended.code == 0
        assert [word for word in COMMANDS if f"\n  {word} " not in ended.out] == []
        assert "65 bad data" in ended.out
    assert invoke().code == 2


CALLS = {"concurrency", "timeout", "replay_from", "max_cost", "price", "vllm_python", "gpus"}
RUN = CALLS | {"rpm", "tpm", "give_up_after", "max_calls", "max_tokens_total", "deadline", "max_unusable"}


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("generate", {"output_dir"} | RUN),
        ("complete", RUN),
        ("doctor", {"output_dir"} | CALLS),
        ("plan", set()),
        ("status", {"output_dir"}),
        ("show", {"output_dir"}),
        ("export", {"output_dir"}),
        ("verify", {"output_dir"}),
        ("rebuild", {"output_dir"}),
        ("skip", {"output_dir"}),
    ],
)
def test_the_options_named_as_a_setting_are_those_that_set_it(command: str, settings: set[str]) -> None:
    """Such a name is all it takes, so none may be one by accident (as ``json`` would be, were there such a setting)."""
    group = typer.main.get_command(app.app)
    options = {parameter.name for parameter in group.commands[command].params}  # type: ignore[attr-defined]
    assert options & Settings.model_fields.keys() == settings


def test_an_option_named_as_a_setting_goes_over_the_environment() -> None:
    """One not given leaves it as it is; an option of another name is none of the settings."""
    context = SimpleNamespace(params={"concurrency": 3, "rpm": None, "timeout": None, "json": True, "model": "m"})
    with mock.patch.dict(os.environ, {"SELFINSTRUCT_CONCURRENCY": "9", "SELFINSTRUCT_RPM": "7"}):
        found = settings_of(cast(typer.Context, context))
    assert (found.concurrency, found.rpm, found.timeout) == (3, 7.0, 600.0)


def test_a_bug_of_ours_shows_its_traceback_and_says_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1, the only code with a traceback."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(launch, "plan", broken)
    ended = invoke("generate", "--api", "fake", "--output-dir", tmp_path)
    assert ended.code == 1
    assert ended.err.startswith("Traceback (most recent call last)")
    assert ended.err.splitlines()[-2:] == [
        "ZeroDivisionError: a bug",
        "selfinstruct: this is a bug of ours; what was recorded is safe, running again goes on",
    ]


def test_a_keyboard_interrupt_outside_a_run_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """130, as after a drained run."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "plan", interrupted)
    assert invoke("generate", "--api", "fake", "--output-dir", tmp_path) == (130, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_report_that_cannot_be_printed_is_one_line() -> None:
    """74 for a full disk behind standard output, whatever the command."""
    command = '"$@" generate --dry-run > /dev/full'
    ended = subprocess.run(
        ["/bin/sh", "-c", command, "sh", *PROGRAM], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (74, "selfinstruct: [Errno 28] No space left on device\n")
