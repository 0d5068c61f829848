"""The model card, ``README.md`` beside the weights: what was tuned, on what, how, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from selfinstruct.model_digest import display_name
from selfinstruct.store_files import write_whole
from selfinstruct.training.record import Training

NAME: Final = "README.md"
_WHAT: Final = {
    "sft": ("Supervised fine-tuning", "text-generation"),
    "dpo": ("Direct preference optimization", "text-generation"),
    "reward": ("Reward model", "text-classification"),
    "critique": ("Critique model", "text-generation"),
}
_ALWAYS: Final = ("learning_rate", "schedule", "epochs", "max_steps", "max_length", "seed")
_SAID: Final = frozenset({"kind", "base", "global_batch", *_ALWAYS})


def write(out: Path, done: Training) -> None:
    """Write the card by one rename. Raises `OutputFailed`."""
    write_whole(out / NAME, "\n".join(_lines(out.resolve().name, done)).encode() + b"\n")


def _lines(name: str, done: Training) -> Iterator[str]:
    tuning = done.tuning
    what, pipeline = _WHAT[tuning.kind]
    base = display_name(tuning.base)
    yield from _header(base, pipeline, done)
    yield f"# {name}\n\n{what} of `{base}` with selfinstruct {done.selfinstruct}.\n"
    if done.tuning.peft != "none":
        loads = "AutoPeftModelForSequenceClassification" if tuning.kind == "reward" else "AutoPeftModelForCausalLM"
        yield f"An adapter: peft's `{loads}.from_pretrained` loads it with its base.\n"
    yield "## Data\n\n| source | records | left out | sha256 |\n| --- | ---: | --- | --- |"
    for source in done.sources:
        skipped = ", ".join(f"{count} {reason}" for reason, count in source.skipped.items()) or "none"
        yield f"| {_cell(source.label)} | {source.rows} | {skipped} | `{source.sha256[:16]}` |"
    yield (
        f"\n{done.records} records, {done.tokens} tokens, {done.supervised} of them learned; {done.held_out} records"
        " held out. Which shards these are stands in `training.json`.\n"
    )
    yield "## Training\n\n| value | |\n| --- | --- |"
    yield from (f"| {key} | {value} |" for key, value in _values(done))
    yield from _results(done.results)
    yield "\n## Limits\n"
    yield (
        "The model has learned what its data say, mistakes included; machine-made data carry those of the models that"
        " wrote them, and their terms. Nothing was measured beyond the figures above."
    )


def _cell(text: str) -> str:
    """A name as a table can hold it."""
    return text.replace("|", "\\|").replace("\n", " ")


def _header(base: str, pipeline: str, done: Training) -> Iterator[str]:
    """The metadata that the Hub reads."""
    library = "transformers" if done.tuning.peft == "none" else "peft"
    tags = json.dumps(["selfinstruct", done.tuning.kind, "trl"])
    yield f"---\nbase_model: {json.dumps(base)}\nlibrary_name: {library}\npipeline_tag: {pipeline}\ntags: {tags}\n---\n"


def _values(done: Training) -> Iterator[tuple[str, Any]]:
    """The values this kind of tuning was started with, but those nobody set, and the packages."""
    tuning = done.tuning
    yield "global batch", done.global_batch
    for key in _ALWAYS:
        yield key.replace("_", " "), getattr(tuning, key)
    for key, value in tuning.model_dump(mode="json", exclude_defaults=True).items():
        unused = key.startswith("lora_") and tuning.peft not in ("lora", "qlora")
        if key not in _SAID and not unused:
            yield key.replace("_", " "), value
    yield from done.versions.items()


def _results(results: dict[str, Any]) -> Iterator[str]:
    yield "\n## Results\n\n| figure | before | after |\n| --- | ---: | ---: |"
    for key, value in results.items():
        if isinstance(value, dict) and value.keys() == {"first", "last"}:
            yield f"| {key} | {value['first']:.4f} | {value['last']:.4f} |"
    for source, figures in results.get("held_out", {}).items():
        told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
        yield f"\nHeld out of {source}: {told}."
    yield f"\n{results.get('steps', 0)} optimizer steps. The curve: ![loss](loss.png)"
