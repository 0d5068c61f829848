"""Checkpoints: only whole ones are gone on from, and the last of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.training import checkpoints


def _checkpoint(out: Path, step: int, *, marked: bool = True) -> Path:
    folder = out / f"checkpoint-{step}"
    (folder / "shards").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "shards" / "optimizer.pt").write_bytes(b"moments")
    (folder / "empty").write_bytes(b"")
    if marked:
        checkpoints.mark(folder)
    return folder


def test_the_last_whole_one_is_gone_on_from(tmp_path: Path) -> None:
    """By number, not by name: 100 comes after 20. One that was never marked is none."""
    assert checkpoints.latest(tmp_path) is None
    for step in (20, 100):
        _checkpoint(tmp_path, step)
    _checkpoint(tmp_path, 120, marked=False)
    found = checkpoints.latest(tmp_path)
    assert found == tmp_path / "checkpoint-100"
    assert checkpoints.step_of(found) == 100


@pytest.mark.parametrize("harm", ["cut", "gone", "mark cut", "mark gone", "mark is a list"])
def test_half_a_checkpoint_is_none(tmp_path: Path, harm: str) -> None:
    """A file that is shorter or missing, and a mark that is broken: the one before it counts."""
    _checkpoint(tmp_path, 10)
    last = _checkpoint(tmp_path, 20)
    mark = last / "whole.json"
    match harm:
        case "cut":
            (last / "model.safetensors").write_bytes(b"weight")
        case "gone":
            (last / "shards" / "optimizer.pt").unlink()
        case "mark cut":
            mark.write_bytes(mark.read_bytes()[:-4])
        case "mark gone":
            mark.unlink()
        case _:
            mark.write_bytes(b"[]")
    assert checkpoints.latest(tmp_path) == tmp_path / "checkpoint-10"


def test_a_file_that_another_process_adds_later_does_no_harm(tmp_path: Path) -> None:
    """Each of several processes keeps a random state of its own, and the first does not wait for the others."""
    last = _checkpoint(tmp_path, 20)
    (last / "rng_state_1.pth").write_bytes(b"state")
    assert checkpoints.latest(tmp_path) == last


def test_sweeping_leaves_what_is_whole_and_what_is_not_ours(tmp_path: Path) -> None:
    """Half checkpoints go; folders of other names stay."""
    _checkpoint(tmp_path, 10)
    _checkpoint(tmp_path, 20, marked=False)
    (tmp_path / "checkpoint-best").mkdir()
    checkpoints.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-best"]


def test_beginning_anew_forgets_checkpoints_and_weights(tmp_path: Path) -> None:
    """An adapter, or what was merged of it, that stayed beside a new whole model would be loaded in its place."""
    _checkpoint(tmp_path, 10)
    _checkpoint(tmp_path, 20, marked=False)
    (tmp_path / "merged").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "config.json", "merged/config.json"):
        (tmp_path / name).write_text("{}")
    for name in ("model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        (tmp_path / name).write_text("")
    for name in ("training.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    checkpoints.remove_all(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "training.json"]
