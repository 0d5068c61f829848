"""What a model is: a Hub id at a revision, or a folder by what is in it, never by where it is."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import model_digest
from selfinstruct.engine.model_folder import identity
from selfinstruct.errors import ConfigProblem, UnknownModel
from selfinstruct.model_digest import WHOLE, display_name, is_folder
from tests import stub_engine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder."""
    return stub_engine.model_folder(tmp_path / "small")


def test_a_hub_id_is_itself_at_its_revision() -> None:
    """``main`` where none is asked for; with the options that may change a text, and no others."""
    assert identity("maker/small", {}) == "vllm:maker/small@main"
    engine = {"revision": "0123abc", "quantization": "awq", "dtype": "half", "tensor_parallel_size": 2}
    assert identity("maker/small", engine) == "vllm:maker/small@0123abc;dtype=half;quantization=awq"


def test_a_folder_is_its_name_and_what_is_in_it(folder: Path, tmp_path: Path) -> None:
    """Anywhere on any machine: its path does not count, and neither do the times of its files."""
    known = identity(str(folder), {"dtype": "half"})
    assert re.fullmatch(r"vllm:small@sha256:[0-9a-f]{64};dtype=half", known)
    moved = tmp_path / "elsewhere" / "small"
    shutil.copytree(folder, moved)
    os.utime(moved / "config.json", (1, 1))
    assert identity(str(moved), {"dtype": "half"}) == known
    assert identity(f"{moved}/", {"dtype": "half"}) == known


def test_a_folder_may_be_below_the_home_or_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~/small``, ``./small``, ``small`` and the whole path are one model."""
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(folder.parent)
    assert len({identity(name, {}) for name in ("~/small", "./small", "small", str(folder))}) == 1
    assert [display_name(name) for name in ("~/small", ".", "maker/small")] == [
        "small",
        folder.parent.name,
        "maker/small",
    ]
    assert [is_folder(name) for name in ("~/none", "./none", "/none", "small", "maker/small")] == [True] * 4 + [False]


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer_config.json", "generation_config.json"]
)
def test_another_byte_in_any_of_its_files_is_another_model(folder: Path, name: str) -> None:
    """Of the weights, the tokenizer, the template, the defaults."""
    before = identity(str(folder), {})
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    assert identity(str(folder), {}) != before


def test_a_file_more_a_file_less_and_a_file_renamed_are_other_models(folder: Path) -> None:
    """But not a file that vLLM does not read, nor our own note of where it came from."""
    before = identity(str(folder), {})
    for name in ("README.md", "selfinstruct.json", "image.png"):
        (folder / name).write_text("{}")
    assert identity(str(folder), {}) == before
    seen = {before}
    for change in (
        lambda: (folder / "chat_template.jinja").write_text(""),
        lambda: (folder / "chat_template.jinja").rename(folder / "other.jinja"),
        lambda: (folder / "other.jinja").rename(folder / "adapter.bin"),
        lambda: (folder / "model.safetensors").unlink(),
    ):
        change()
        seen.add(identity(str(folder), {}))
    assert len(seen) == 5


def test_large_files_are_sampled_all_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training changes weights everywhere, so a change of one in a hundred bytes shows; a longer file does anyway."""
    monkeypatch.setattr(model_digest, "WHOLE", 2**16)
    size = 2**22
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(size))
    before = identity(str(folder), {})
    for first in (0, size - 1):
        data = bytearray(size)
        data[first] = 1
        weights.write_bytes(data)
        assert identity(str(folder), {}) != before
    weights.write_bytes(b"".join(b"\1" + bytes(99) for _ in range(size // 100 + 1))[:size])
    assert identity(str(folder), {}) != before
    weights.write_bytes(bytes(size + 1))
    assert identity(str(folder), {}) != before
    assert WHOLE == 64 * 2**20


def test_a_folder_that_is_no_model_is_told_before_anything_starts(folder: Path, tmp_path: Path) -> None:
    """By its path, and with what is missing."""
    with pytest.raises(UnknownModel, match=r"none: no such model folder"):
        identity(str(tmp_path / "none"), {})
    (folder / "config.json").unlink()
    with pytest.raises(ConfigProblem, match=rf"{folder}: holds no config\.json"):
        identity(str(folder), {})


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's reason."""
    open_path = Path.open

    def opened(path: Path, *rest: Any, **named: Any) -> Any:
        if path.name == "model.safetensors":
            raise PermissionError(13, "Permission denied")
        return open_path(path, *rest, **named)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(ConfigProblem, match=r"small/model\.safetensors: cannot be read: Permission denied"):
        identity(str(folder), {})


def test_an_option_that_is_not_the_users_is_refused_with_the_model() -> None:
    """Before the folder is read."""
    with pytest.raises(ConfigProblem, match="'trust_remote_code' cannot be set"):
        identity("maker/small", {"trust_remote_code": True})
