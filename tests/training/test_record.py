"""``training.json``: what a tuning was started with, compared on every start, and which folders are free."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct.errors import IdentityChanged, OutputFailed
from selfinstruct.training import record
from selfinstruct.training.data import read_conversations
from selfinstruct.training.recipe import OPERATIONAL, Tuning
from selfinstruct.training.record import Training, UsedSource

OTHER: dict[str, Any] = {
    "batch": 2,
    "gradient_checkpointing": True,
    "sharding": "fsdp",
    "log_steps": 9,
    "save_steps": 9,
    "eval_steps": 9,
    "keep_checkpoints": 9,
    "made_for": "another",
    "preset": "another",
    "source": "another",
}
"""Another value for each that does not decide what is learned."""


def _training(sources: dict[str, str] | None = None, base: str = "sha256:" + "b" * 64, **values: Any) -> Training:
    said = {"talk.jsonl": "a" * 64} if sources is None else sources
    return Training(
        tuning=Tuning(kind="sft", base="tiny", **values),
        base=base,
        sources=tuple(UsedSource(label=label, sha256=sha256, rows=3) for label, sha256 in said.items()),
        records=3,
        held_out=0,
        tokens=30,
        supervised=10,
        global_batch="8 = 8 × 1 accumulated × 1 process",
        versions={"python": "3.11.0"},
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """With every value; nothing where nothing is."""
    assert record.read(tmp_path) is None
    training = _training(lora_targets=("q_proj",), mix={"talk.jsonl": 0.5})
    training.write(tmp_path)
    assert record.read(tmp_path) == training
    assert orjson.loads((tmp_path / "training.json").read_bytes())["state"] == "running"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}'])
def test_a_record_that_cannot_be_read_says_what_to_do(tmp_path: Path, text: str) -> None:
    """It is never taken for an empty folder."""
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(OutputFailed, match=r"training\.json: cannot be read; remove the folder, or name another --out"):
        record.read(tmp_path)


def test_the_same_start_is_the_same(tmp_path: Path) -> None:
    """Also with what a finished one adds, other package versions, and a model folder of another name."""
    done = _training().model_copy(update={"state": "complete", "results": {"steps": 3}, "versions": {"torch": "9"}})
    now = _training()
    record.compare(tmp_path, done, now.model_copy(update={"tuning": Tuning(kind="sft", base="moved/tiny")}))


@pytest.mark.parametrize("key", sorted(OPERATIONAL))
def test_a_tuning_goes_on_with_another_operational_value(tmp_path: Path, key: str) -> None:
    """None of them decides what is learned."""
    record.compare(tmp_path, _training(), _training(**{key: OTHER[key]}))


def test_all_that_differs_is_told_with_both_values(tmp_path: Path) -> None:
    """Values, the model by its bytes, the data by theirs; and what to do about it."""
    before = _training({"talk.jsonl": "a" * 64, "old.jsonl": "c" * 64})
    now = _training({"talk.jsonl": "d" * 64, "new.jsonl": "e" * 64}, base="org/model@main", seed=7, epochs=1)
    with pytest.raises(IdentityChanged) as caught:
        record.compare(tmp_path, before, now)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}: a tuning was started here with other values (there → now):",
        "  seed: 42 → 7",
        "  epochs: 3.0 → 1.0",
        "  base model: tiny (sha256:bbbbbbbbbbbb…) → tiny (org/model@main…)",
        "  data talk.jsonl: aaaaaaaaaaaa → dddddddddddd",
        "  data old.jsonl: cccccccccccc → none",
        "  data new.jsonl: none → eeeeeeeeeeee",
        "give those again, name another --out, or start it anew with --restart",
    ]


def test_only_a_folder_of_ours_or_an_empty_one_is_begun_in(tmp_path: Path) -> None:
    """Nobody's files are written over."""
    free = tmp_path / "free"
    record.see_free(free)
    free.mkdir()
    (free / ".lock").touch()
    record.see_free(free)
    (free / "notes.txt").touch()
    with pytest.raises(OutputFailed, match="free: holds files, and no tuning of ours; name another --out"):
        record.see_free(free)
    _training().write(free)
    record.see_free(free)


def test_a_model_is_known_by_its_bytes_or_its_revision(tmp_path: Path) -> None:
    """A folder's name does not count, a Hub id's revision does."""
    for name, weights in (("one", b"x" * 64), ("same", b"x" * 64), ("other", b"y" * 64)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "llama"}')
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    tuning = Tuning(kind="sft", revision="v2")
    one, same, other = (record.of_base(tuning, str(tmp_path / name)) for name in ("one", "same", "other"))
    assert one == same != other
    assert one.startswith("sha256:")
    assert record.of_base(tuning, "org/model") == "org/model@v2"


def test_sources_are_kept_with_their_bytes_and_what_was_left_out(tmp_path: Path) -> None:
    """The rows are those that were learned from."""
    file = tmp_path / "talk.jsonl"
    file.write_bytes(
        b'{"instruction": "Name a tree.", "output": "Oak."}\n{"instruction": "Say nothing.", "output": ""}\n'
    )
    sources = read_conversations([str(file)], tmp_path)
    assert len(list(sources[0].rows())) == 1
    kept = record.of_sources(sources, {"talk.jsonl": 1})
    assert kept == (UsedSource(label="talk.jsonl", sha256=kept[0].sha256, rows=1, skipped={"empty_answer": 1}),)
    assert kept[0].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_packages_that_decide_are_kept_with_their_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not installed is a question mark, not a failure."""
    monkeypatch.setattr(record, "PACKAGES", ("pydantic", "no-such-package-here"))
    found = record.versions()
    assert found.keys() == {"python", "pydantic", "no-such-package-here"}
    assert found["no-such-package-here"] == "?"
    assert found["pydantic"].startswith("2.")
