"""The global batch, made up exactly for any number of processes, and our values in the words of transformers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.errors import UsageProblem
from selfinstruct.training import arguments
from selfinstruct.training.arguments import Batch, batch_of
from selfinstruct.training.recipe import Tuning


def _tuning(**values: Any) -> Tuning:
    return Tuning(kind="sft", **values)


@given(st.integers(1, 600), st.integers(1, 16), st.integers(0, 12))
def test_the_global_batch_is_exact_or_refused(whole: int, together: int, each: int) -> None:
    """Whatever the number of processes and of records in memory."""
    divides = whole % together == 0 and (each == 0 or (whole // together) % each == 0)
    try:
        made = batch_of(_tuning(global_batch=whole, batch=each), together)
    except UsageProblem:
        assert not divides
    else:
        assert divides
        assert made.records == whole
        assert made.processes == together
        assert made.each == (each or made.each)
        assert made.each <= (each or 8)


@pytest.mark.parametrize(
    ("whole", "each", "together", "made"),
    [
        (8, 0, 1, Batch(8, 1, 1)),
        (128, 0, 4, Batch(8, 4, 4)),
        (12, 0, 1, Batch(6, 2, 1)),
        (11, 0, 1, Batch(1, 11, 1)),
        (64, 2, 8, Batch(2, 4, 8)),
        (8, 4, 1, Batch(4, 2, 1)),
    ],
)
def test_as_many_records_are_in_memory_as_divide_it_up_to_eight(
    whole: int, each: int, together: int, made: Batch
) -> None:
    """Where nothing else is said; eight is what the trainer's own settings have."""
    assert batch_of(_tuning(global_batch=whole, batch=each), together) == made


def test_a_batch_that_cannot_be_made_up_says_which_can() -> None:
    """By number."""
    with pytest.raises(UsageProblem, match="--global-batch 7 cannot be shared by 4 processes: take a multiple of 4"):
        batch_of(_tuning(global_batch=7), 4)
    with pytest.raises(UsageProblem, match=r"--batch 5 × 2 .* --global-batch 24: its divisors are 1, 2, 3, 4, 6, 12$"):
        batch_of(_tuning(global_batch=24, batch=5), 2)


def test_a_batch_reads_as_a_product() -> None:
    """For people."""
    assert str(Batch(4, 2, 1)) == "8 = 4 × 2 accumulated × 1 process"
    assert str(Batch(8, 4, 4)) == "128 = 8 × 4 accumulated × 4 processes"


def test_a_launcher_says_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """One where no launcher is."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert arguments.processes() == 1
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert arguments.processes() == 4


# TRL 1.16 reads the old name of activation checkpointing.
pytestmark = pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning")


@pytest.mark.slow
def test_transformers_understands_what_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read back through its own methods: warm-up as a share, steps, the batch, and no cut gradient where 0 is said."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    tuning = _tuning(warmup=0.03, max_steps=200, global_batch=12, batch=3, weight_decay=0.1, schedule="cosine", seed=7)
    said = transformers.TrainingArguments(**arguments.common(tuning, tmp_path, evaluated=True))
    assert said.get_warmup_steps(200) == math.ceil(0.03 * 200) == 6
    assert (said.max_steps, said.seed, said.weight_decay) == (200, 7, 0.1)
    assert said.train_batch_size * said.gradient_accumulation_steps == 12
    assert said.lr_scheduler_type == "cosine"
    assert said.output_dir == str(tmp_path)
    assert said.eval_strategy == "steps"
    assert said.report_to == []
    plain = transformers.TrainingArguments(**arguments.common(_tuning(), tmp_path, evaluated=False))
    assert plain.get_warmup_steps(200) == 0
    assert (plain.max_steps, plain.num_train_epochs, plain.eval_strategy) == (-1, 3.0, "no")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw_torch", "rmsprop", "adafactor", "adamw_torch_fused", "paged_adamw_32bit"])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant", "constant_with_warmup"])
def test_every_optimizer_and_schedule_is_one_of_transformers(tmp_path: Path, optimizer: str, schedule: str) -> None:
    """None that the recipe allows is refused when the model has been loaded."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    values = arguments.common(_tuning(optimizer=optimizer, schedule=schedule), tmp_path, evaluated=False)
    said = transformers.TrainingArguments(**values)
    assert said.optim.value == optimizer
    assert said.lr_scheduler_type == schedule
