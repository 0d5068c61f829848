"""The model card: what was tuned, on what, how, and what was measured, as Markdown with the Hub's metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.training import card
from selfinstruct.training.recipe import Kind, Tuning, resolve
from selfinstruct.training.record import Training, UsedSource

SOURCES = (
    UsedSource(label="talk.jsonl", sha256="a" * 64, rows=90, skipped={"empty_answer": 2, "no_weight": 1}),
    UsedSource(label="odd|name.jsonl", sha256="b" * 64, rows=6),
)


def _card(folder: Path, tuning: Tuning, **values: Any) -> list[str]:
    said: dict[str, Any] = {
        "tuning": tuning,
        "base": "sha256:" + "c" * 64,
        "sources": SOURCES,
        "records": 96,
        "held_out": 24,
        "tokens": 6012,
        "supervised": 2190,
        "global_batch": "8 = 8 × 1 accumulated × 1 process",
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }
    folder.mkdir(exist_ok=True)
    card.write(folder, Training(**{**said, **values}))
    return (folder / "README.md").read_text("utf-8").splitlines()


def _header(lines: list[str]) -> dict[str, Any]:
    """The metadata, whose values are all JSON or bare words."""
    assert lines[0] == "---"
    pairs = [line.partition(": ") for line in lines[1 : lines.index("---", 1)]]
    return {key: json.loads(value) if value[0] in '["' else value for key, _, value in pairs}


@pytest.mark.parametrize(
    ("kind", "peft", "header"),
    [
        ("sft", "none", {"library_name": "transformers", "pipeline_tag": "text-generation"}),
        ("dpo", "lora", {"library_name": "peft", "pipeline_tag": "text-generation"}),
        ("reward", "none", {"library_name": "transformers", "pipeline_tag": "text-classification"}),
        ("critique", "lora", {"library_name": "peft", "pipeline_tag": "text-generation"}),
    ],
)
def test_the_hub_reads_what_it_is(tmp_path: Path, kind: Kind, peft: Any, header: dict[str, str]) -> None:
    """Base model, library, task and tags; a base with quotes in its name breaks nothing."""
    lines = _card(tmp_path / "mine", Tuning(kind=kind, base='org/a "b"', peft=peft))
    assert _header(lines) == {"base_model": 'org/a "b"', "tags": ["selfinstruct", kind, "trl"], **header}
    assert "# mine" in lines


def test_a_folder_of_this_machine_is_called_by_its_name(tmp_path: Path) -> None:
    """A path is nobody's business."""
    lines = _card(tmp_path / "mine", Tuning(kind="sft", base="/home/me/models/tiny"))
    assert _header(lines)["base_model"] == "tiny"
    assert "/home/me" not in "\n".join(lines)


def test_each_source_is_a_row_with_what_was_left_out(tmp_path: Path) -> None:
    """And a name that would break the table does not."""
    lines = _card(tmp_path, Tuning(kind="sft"))
    assert "| talk.jsonl | 90 | 2 empty_answer, 1 no_weight | `aaaaaaaaaaaaaaaa` |" in lines
    assert r"| odd\|name.jsonl | 6 | none | `bbbbbbbbbbbbbbbb` |" in lines
    assert any(line.startswith("96 records, 6012 tokens, 2190 of them learned; 24 records held out.") for line in lines)


def _values(lines: list[str]) -> dict[str, str]:
    start = lines.index("## Training")
    rows = [line for line in lines[start : lines.index("## Results")] if line.startswith("| ")][2:]
    return {key: value for key, value in (row.strip("| ").split(" | ") for row in rows)}


def test_the_values_are_those_that_were_set(tmp_path: Path) -> None:
    """Of those nobody set, only what everybody asks for; and the packages."""
    always = {
        "global batch": "8 = 8 × 1 accumulated × 1 process",
        "learning rate": "2e-05",
        "schedule": "linear",
        "epochs": "3.0",
        "max steps": "0",
        "max length": "1024",
        "seed": "42",
        "python": "3.11.7",
        "torch": "2.13.0",
    }
    assert _values(_card(tmp_path, Tuning(kind="sft", base="tiny"))) == always
    tuned = Tuning(kind="sft", base="tiny", seed=7, epochs=1, peft="lora", lora_r=4, lora_targets=("q_proj",))
    assert _values(_card(tmp_path, tuned)) == {
        **always,
        "seed": "7",
        "epochs": "1.0",
        "peft": "lora",
        "lora r": "4",
        "lora targets": "['q_proj']",
    }


def test_an_adapters_values_are_not_told_where_there_is_none(tmp_path: Path) -> None:
    """A preset has them for whoever wants an adapter."""
    values = _values(_card(tmp_path, resolve("sft", "zephyr-7b", [], {})))
    assert values["chat template"] == "zephyr"
    assert not [key for key in values if key.startswith("lora")]


def test_figures_are_told_before_and_after(tmp_path: Path) -> None:
    """Of training and of what is held out, and by source where a kind has that."""
    results = {
        "steps": 20,
        "seconds": 1.0,
        "loss": {"first": 4.77336, "last": 2.4},
        "held_out": {"talk.jsonl": {"pairs": 12, "accuracy": 0.75, "longer_is_better": 0.5}},
    }
    lines = _card(tmp_path, Tuning(kind="reward"), results=results)
    assert "| loss | 4.7734 | 2.4000 |" in lines
    assert "Held out of talk.jsonl: pairs 12, accuracy 0.75, longer is better 0.5." in lines
    assert "20 optimizer steps. The curve: ![loss](loss.png)" in lines
