"""A tuning that was ended, whatever ended it, goes on from its last whole checkpoint, on the curve it was on."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.command import Ended, invoke, spawn, until, wait
from tests.training import tiny, tunings

pytestmark = pytest.mark.slow
pytest.importorskip("trl")

SAME = 1e-4
OFTEN = ("--max-steps", 9, "--save-steps", 2, "--held-out", 8, "--set", "eval_steps=5")
LORA = ("--peft", "lora", "--set", "lora_dropout=0.2")  # draws numbers, which have to go on as well


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to tune."""
    return tiny.folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations of different lengths, so few that the second epoch begins within the tuning."""
    return tunings.written(tmp_path_factory.mktemp("data") / "dialogues.jsonl", tunings.dialogues(32))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of answers."""
    return tunings.written(tmp_path_factory.mktemp("data") / "pairs.jsonl", tunings.pairs(32))


def whole(out: Path, step: int) -> Path:
    """The last file of a checkpoint."""
    return out / f"checkpoint-{step}" / "whole.json"


def killed(words: tuple[object, ...], when: Callable[[], bool]) -> None:
    """Start the command, and kill it the moment something is so."""
    process = spawn(*words)
    until(when, process)
    process.kill()
    assert wait(process).code == -signal.SIGKILL


def halve(path: Path) -> None:
    """Cut a file, as a machine that lost its power leaves it."""
    os.truncate(path, path.stat().st_size // 2)


def same_weights(one: Path, other: Path) -> bool:
    """Whether two tuned models are the same to the last bit."""
    from safetensors.torch import load_file

    name = "adapter_model.safetensors" if (one / "adapter_config.json").is_file() else "model.safetensors"
    weights, others = load_file(one / name), load_file(other / name)
    return weights.keys() == others.keys() and all(bool((weights[key] == others[key]).all()) for key in weights)


def test_killed_twice_with_half_a_checkpoint_it_ends_on_the_curve_of_an_undisturbed_tuning(
    tmp_path: Path, base: Path, dialogues: Path
) -> None:
    """Adapter, dropout, and held-out loss go on as if nothing had been; the half checkpoint is not gone on from."""
    out, calm = tmp_path / "out", tmp_path / "calm"
    tunings.tune("sft", dialogues, base, calm, *OFTEN, *LORA)
    words = tunings.words("sft", dialogues, base, out, *OFTEN, *LORA)

    killed(words, whole(out, 4).exists)
    halve(out / "checkpoint-4" / "optimizer.pt")
    killed(words, lambda: whole(out, 4).exists() and len(tunings.curve(out)) > 6)
    assert not (out / "adapter_model.safetensors").exists()
    assert json.loads((out / "training.json").read_bytes())["state"] == "running"
    ended = invoke(*words)

    assert ended.code == 0, ended.err
    assert "going on after step 6" in ended.err
    assert tunings.apart(tunings.curve(out), tunings.curve(calm)) < SAME
    assert tunings.apart(tunings.curve(out, "grad_norm"), tunings.curve(calm, "grad_norm")) < 1e-3
    assert tunings.apart(tunings.curve(out, "eval_loss"), tunings.curve(calm, "eval_loss")) < SAME
    assert same_weights(out, calm)


def terminated(monkeypatch: pytest.MonkeyPatch, step: int, words: tuple[object, ...]) -> Ended:
    """The command in this process, which gets SIGTERM once a step was logged."""
    with monkeypatch.context() as patch:
        act = tunings.at_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        patch.setattr("selfinstruct.training.progress.Progress.on_log", act)
        return invoke(*words)


@pytest.mark.parametrize("kind", ["dpo", "reward"])
def test_sigterm_ends_with_143_after_a_checkpoint_that_is_gone_on_from(
    tmp_path: Path, base: Path, pairs: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two checkpoints: the step is ended, a checkpoint of its own written, and no figure is lost."""
    out, calm = tmp_path / "out", tmp_path / "calm"
    tunings.tune(kind, pairs, base, calm, "--max-steps", 9)
    words = tunings.words(kind, pairs, base, out, "--max-steps", 9)

    stopped = terminated(monkeypatch, 4, words)
    written = whole(out, 5).exists()
    ended = invoke(*words)

    assert stopped.code == 143
    assert "stopped after step 5 of 9; running again goes on there" in stopped.err
    assert written
    assert ended.code == 0, ended.err
    assert "going on after step 5" in ended.err
    assert tunings.apart(tunings.curve(out), tunings.curve(calm)) < SAME
    assert same_weights(out, calm)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("full", "room"), [("model.safetensors", 200_000), ("optimizer.pt", 600_000)], ids=["weights", "optimizer"]
)
def test_a_full_disk_ends_with_74_and_one_line_and_the_checkpoint_before_is_gone_on_from(
    tmp_path: Path, base: Path, dialogues: Path, full: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of a checkpoint's files does not fit."""
    out = tmp_path / "out"
    words = tunings.words("sft", dialogues, base, out, "--max-steps", 6, "--save-steps", 2)
    disk = full_disk(room)
    with monkeypatch.context() as patch:
        act = tunings.at_step(3, lambda: disk.__enter__())
        patch.setattr("selfinstruct.training.progress.Progress.on_log", act)
        failed = invoke(*words)
        disk.__exit__(None, None, None)

    assert failed.code == 74
    assert not whole(out, 4).exists()
    assert (whole(out, 2).parent / full).stat().st_size > room
    last = failed.err.strip().splitlines()[-1]
    assert "could not be written" in last
    assert last.endswith("free some space, run again and it goes on after step 2")
    assert "Traceback" not in failed.err
    ended = invoke(*words)
    assert ended.code == 0, ended.err
    assert "going on after step 2" in ended.err
    assert list(tunings.curve(out)) == [1, 2, 3, 4, 5, 6]


def test_ended_after_the_last_step_nothing_is_learned_again(
    tmp_path: Path, base: Path, dialogues: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are done and the disk fills as the model is described: the next start only measures and saves."""
    out = tmp_path / "out"
    words = tunings.words("sft", dialogues, base, out, "--max-steps", 4, "--held-out", 8)
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr("selfinstruct.training.card.write", full)
        failed = invoke(*words)
    before = tunings.curve(out), tunings.curve(out, "eval_loss"), (out / "model.safetensors").read_bytes()
    ended = invoke(*words)

    assert (failed.code, ended.code) == (74, 0)
    assert "going on after step 4" in ended.err
    after = tunings.curve(out), tunings.curve(out, "eval_loss"), (out / "model.safetensors").read_bytes()
    assert after == before
    assert tunings.first_and_last(out, "loss") == (before[0][1], before[0][4])
    again = invoke(*words)
    assert again.code == 0
    assert "is complete already" in again.err


def free_port() -> int:
    """A port nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_two_processes_learn_what_one_does_and_one_of_them_writes(tmp_path: Path, base: Path) -> None:
    """Started as `accelerate launch` does, on weighted rows: the same global batch, losses and model, one voice."""
    data = tunings.written(tmp_path / "classed.jsonl", tunings.classed(32))
    alone, both = tmp_path / "alone", tmp_path / "both"
    few = ("--max-steps", 5, "--set", "class_weights={GPT4=1.0, GPT3=0.1}", "--set", "weighting=class")
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    words = tunings.words("sft", data, base, both, *few)
    started = [spawn(*words, RANK=rank, LOCAL_RANK=rank, **together) for rank in ("0", "1")]
    tunings.tune("sft", data, base, alone, *few)
    first, second = map(wait, started)

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "global batch 4 = 2 × 1 accumulated × 2 processes" in first.err
    assert "selfinstruct" not in second.out + second.err
    assert len(tunings.logged(both)) == len(tunings.logged(alone))
    assert tunings.apart(tunings.curve(both), tunings.curve(alone)) < SAME
    assert tunings.apart(tunings.curve(both, "grad_norm"), tunings.curve(alone, "grad_norm")) < 1e-3
    assert {path.name for path in both.iterdir()} == {path.name for path in alone.iterdir()}
