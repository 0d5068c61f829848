"""The curve of a tuning: a picture of what was logged, and none where nothing was."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.training import curves

LOG: list[dict[str, Any]] = [
    {"step": 0, "eval_loss": 3.0, "eval_runtime": 0.1},
    {"step": 5, "loss": 2.0, "learning_rate": 1e-4},
    {"step": 10, "loss": 1.0, "rewards/margins": 0.5},
    {"step": 10, "eval_loss": 1.5, "eval_rewards/margins": 0.25},
    {"step": 10, "train_runtime": 9.0, "train_loss": 1.5},
]


def _size(picture: Path) -> tuple[int, int]:
    """Width and height, as a PNG's first chunk has them."""
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def test_points_are_what_was_logged_under_a_name() -> None:
    """Steps and values, in order; other entries do not count."""
    assert curves.points(LOG, "loss") == ([5, 10], [2.0, 1.0])
    assert curves.points(LOG, "eval_loss") == ([0, 10], [3.0, 1.5])
    assert curves.points(LOG, "accuracy") == ([], [])


def test_nothing_is_drawn_before_anything_was_logged(tmp_path: Path) -> None:
    """No empty picture."""
    curves.draw(tmp_path, [])
    curves.draw(tmp_path, [{"step": 1, "train_runtime": 3.0}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("log", [LOG, LOG[:1]], ids=["all", "held out only"])
def test_a_picture_is_drawn_of_whatever_there_is(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """960 × 540 dots, and nothing else is left in the folder; drawn again it is the same to the byte."""
    pytest.importorskip("matplotlib")
    made = []
    for _ in range(2):
        curves.draw(tmp_path, log)
        made.append((tmp_path / "loss.png").read_bytes())
    assert made[0] == made[1]
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]
    assert _size(tmp_path / "loss.png") == (960, 540)
