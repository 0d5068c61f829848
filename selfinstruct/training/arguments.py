"""The values of a tuning in the words of transformers' ``TrainingArguments``, which all of TRL's trainers take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from selfinstruct.errors import UsageProblem
from selfinstruct.training.recipe import Tuning

_TRL_BATCH: Final = 8
"""Records a process has in memory at once where nothing else is said (``TrainingArguments``)."""


class Batch(NamedTuple):
    """How a global batch is made up: ``each`` × ``accumulated`` × ``processes`` records an optimizer step."""

    each: int
    accumulated: int
    processes: int

    @property
    def records(self) -> int:
        """The global batch."""
        return self.each * self.accumulated * self.processes

    def __str__(self) -> str:
        processes = "1 process" if self.processes == 1 else f"{self.processes} processes"
        return f"{self.records} = {self.each} × {self.accumulated} accumulated × {processes}"


def processes() -> int:
    """How many processes train together, as ``accelerate launch`` and ``torchrun`` tell each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def batch_of(tuning: Tuning, together: int) -> Batch:
    """The make-up of the global batch for so many processes; it stays the same for any number of them.

    Raises `UsageProblem` where it cannot be made up exactly.
    """
    whole = tuning.global_batch
    if whole % together:
        raise UsageProblem(
            f"--global-batch {whole} cannot be shared by {together} processes: take a multiple of {together}"
        )
    share = whole // together
    each = tuning.batch or max(size for size in range(1, min(share, _TRL_BATCH) + 1) if share % size == 0)
    if share % each:
        raise UsageProblem(
            f"--batch {each} × {together} processes does not divide --global-batch {whole}: its divisors are"
            f" {', '.join(str(size) for size in range(1, share + 1) if share % size == 0)}"
        )
    return Batch(each, share // each, together)


def common(tuning: Tuning, out: Path, *, evaluated: bool) -> dict[str, Any]:
    """What all kinds have in common; ``evaluated`` is whether there is something held out."""
    import torch

    gpu = torch.cuda.is_available()
    batch = batch_of(tuning, processes())
    checkpointing = tuning.gradient_checkpointing
    return {
        "output_dir": str(out),
        "seed": tuning.seed,
        "learning_rate": tuning.learning_rate,
        "lr_scheduler_type": tuning.schedule,
        "warmup_steps": tuning.warmup,  # a share, as it is below one
        "weight_decay": tuning.weight_decay,
        "optim": tuning.optimizer,
        "max_grad_norm": tuning.max_grad_norm,
        "num_train_epochs": tuning.epochs,
        "max_steps": tuning.max_steps or -1,
        "per_device_train_batch_size": batch.each,
        "per_device_eval_batch_size": batch.each,
        "gradient_accumulation_steps": batch.accumulated,
        "train_sampling_strategy": "group_by_length" if tuning.group_by_length else "random",
        "gradient_checkpointing": gpu if checkpointing is None else checkpointing,
        "use_cpu": not gpu,
        "bf16": gpu and torch.cuda.is_bf16_supported(),
        "fp16": False,
        "dataloader_pin_memory": gpu,
        "ddp_find_unused_parameters": False,
        "logging_steps": tuning.log_steps,
        "logging_nan_inf_filter": False,  # a loss that is no number is shown as one
        "save_strategy": "steps",
        "save_steps": tuning.save_steps,
        "save_total_limit": tuning.keep_checkpoints,
        "eval_strategy": "steps" if evaluated else "no",
        "eval_steps": tuning.eval_steps if evaluated else None,
        "eval_on_start": evaluated,
        "report_to": "none",
        "disable_tqdm": True,  # the bar is ours
        "push_to_hub": False,
    }
