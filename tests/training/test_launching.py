"""The command for several GPUs: the one that was typed, behind a launcher that understands it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.errors import UsageProblem
from selfinstruct.training import launching
from selfinstruct.training.recipe import Tuning

TYPED = ("finetune", "sft", "talk.jsonl", "--model", "a b")


def _command(*words: str, processes: int = 2, **values: Any) -> tuple[list[str], list[str]]:
    """The launcher's words, and ours behind them."""
    tuning = Tuning(kind="sft", **values)
    said = shlex.split(launching.command(tuning, processes, Path("out/x"), words))
    place = said.index("selfinstruct")
    return said[:place], said[place + 1 :]


@pytest.mark.parametrize("option", [["--print-launch", "2"], ["--print-launch=2"]])
@pytest.mark.parametrize("place", range(2, 6))
def test_what_was_typed_is_started_but_for_the_option_that_prints(option: list[str], place: int) -> None:
    """Wherever that stood; the folder is said, so that the settings of another shell do not move it."""
    typed = list(TYPED)
    at = place if place < 4 else place + 1 if place == 5 else 3
    typed[at:at] = option
    _, ours = _command(*typed)
    assert ours == ["finetune", "sft", "--out", "out/x", "talk.jsonl", "--model", "a b"]


@pytest.mark.parametrize("out", [["--out", "mine"], ["--out=mine"], ["-o", "mine"], ["-omine"]])
def test_a_folder_that_was_said_stays(out: list[str]) -> None:
    """In any spelling."""
    _, ours = _command(*TYPED, *out)
    assert ours == [*TYPED, *out]


def test_what_stands_behind_two_dashes_is_data() -> None:
    """And the folder is no part of it."""
    _, ours = _command("finetune", "sft", "--model", "m", "--", "-o.jsonl")
    assert ours == ["finetune", "sft", "--out", "out/x", "--model", "m", "--", "-o.jsonl"]


def test_a_batch_that_cannot_be_shared_is_refused_before_it_is_launched() -> None:
    """By the same rule as in training."""
    with pytest.raises(UsageProblem, match="--global-batch 8 cannot be shared by 3 processes"):
        _command(*TYPED, processes=3)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 8])
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_accelerate_understands_it(processes: int, sharding: str) -> None:
    """Read by its own parser: how many processes, how they share, and our words untouched behind it."""
    launch = pytest.importorskip("accelerate.commands.launch")
    theirs, ours = _command(*TYPED, processes=processes, sharding=sharding)
    read = launch.launch_command_parser().parse_args([*theirs[2:], "selfinstruct", *ours])
    assert (read.num_processes, read.num_machines, read.mixed_precision) == (processes, 1, "bf16")
    assert read.use_fsdp == (sharding == "fsdp")
    assert read.multi_gpu == (sharding == "none" and processes > 1)
    assert read.module
    assert (read.training_script, read.training_script_args) == ("selfinstruct", ours)
    if read.use_fsdp:
        assert (read.fsdp_version, read.fsdp_state_dict_type) == ("2", "FULL_STATE_DICT")
        assert (read.fsdp_reshard_after_forward, read.fsdp_auto_wrap_policy) == ("true", "TRANSFORMER_BASED_WRAP")
