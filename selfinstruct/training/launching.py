"""The command that trains on several GPUs: this very command, behind ``accelerate launch``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from selfinstruct.training import arguments
from selfinstruct.training.recipe import Tuning

_FSDP: Final = (
    *("--use_fsdp", "--fsdp_version", "2", "--fsdp_reshard_after_forward", "true"),
    *("--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP", "--fsdp_state_dict_type", "FULL_STATE_DICT"),
    *("--fsdp_cpu_ram_efficient_loading", "true"),
)
"""A model's weights, gradients and optimizer spread over the processes, layer by layer."""

_OURS: Final = "--print-launch"


def command(tuning: Tuning, processes: int, out: Path, words: Sequence[str]) -> str:
    """One line for the shell; ``words`` are those of the command that asked for it.

    Raises `UsageProblem` where the global batch cannot be shared by so many processes.
    """
    arguments.batch_of(tuning, processes)
    launch = [
        "accelerate",
        "launch",
        "--num_processes",
        str(processes),
        "--num_machines",
        "1",
        "--dynamo_backend",
        "no",
    ]
    launch += ["--mixed_precision", "bf16"]
    launch += _FSDP if tuning.sharding == "fsdp" else ["--multi_gpu"] if processes > 1 else []
    ours = _without_launch(words)
    options = ours[: ours.index("--")] if "--" in ours else ours  # behind it everything is data
    if not any(word == "--out" or word.startswith(("--out=", "-o")) for word in options):
        place = ours.index(tuning.kind) + 1
        ours[place:place] = ["--out", str(out)]
    return shlex.join([*launch, "-m", "selfinstruct", *ours])


def _without_launch(words: Sequence[str]) -> list[str]:
    """The words but for the option that prints the command."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == _OURS:
            skip = True
        elif not word.startswith(f"{_OURS}="):
            kept.append(word)
    return kept
