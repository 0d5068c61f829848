"""An adapter and the model it was tuned on, made into one model folder: once, beside the adapter, and kept."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfinstruct import run_lock
from selfinstruct.errors import ConfigProblem, OutputFailed
from selfinstruct.model_digest import digest_of_folder
from selfinstruct.wire_errors import first_line

MERGED = "merged"
ADAPTER = "adapter_config.json"
GENERATION = "generation_config.json"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and no model of its own."""
    return (folder / ADAPTER).is_file()


def base_of(folder: Path) -> str:
    """The name or path of the model that an adapter was tuned on. Raises `ConfigProblem` where it does not say."""
    try:
        base = json.loads((folder / ADAPTER).read_text("utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigProblem(f"{folder / ADAPTER}: cannot be read ({error}); tune again") from error
    if not base:
        raise ConfigProblem(f"{folder / ADAPTER}: names no base model")
    return str(base)


def see_finished(folder: Path) -> None:
    """Raise `ConfigProblem` for the folder of a tuning that has not come to its end: it may hold half a model."""
    if _said(folder).get("state") == "running":
        raise ConfigProblem(
            f"{folder}: its training is not finished: run the same 'selfinstruct finetune' again, or take one of its"
            " checkpoint folders"
        )


def _said(folder: Path) -> dict[str, Any]:
    """What ``training.json`` says; nothing where there is none, or none of ours."""
    try:
        said = json.loads((folder / "training.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def see_base(folder: Path) -> None:
    """Raise `ConfigProblem` where the folder of the model an adapter was tuned on is gone, or holds another one."""
    base = Path(base_of(folder))
    if base.is_dir():
        tuned_on = _said(folder).get("base", "")
        if str(tuned_on).startswith("sha256:") and tuned_on != f"sha256:{digest_of_folder(base)}":
            raise ConfigProblem(f"{folder}: the model it was tuned on is another by now: {base}; tune again")
    elif base.is_absolute():
        raise ConfigProblem(f"{folder}: the model it was tuned on is no longer there: {base}")


def whole(folder: Path, dtype: str = "auto") -> Path:
    """The folder of a whole model: the same one, or for an adapter ``folder/merged``, made if it is not there.

    Raises `ConfigProblem` where the base model is missing, `OutputFailed` where it cannot be written.
    """
    if not is_adapter(folder):
        return folder
    merged = folder / MERGED
    with _one_at_a_time(merged.with_name(f".{MERGED}.lock")):
        if not (merged / "config.json").is_file():
            _merge(folder, merged, dtype)
    return merged


def forget(folder: Path) -> None:
    """Remove what an adapter was merged to: it is going to be another one."""
    shutil.rmtree(folder / MERGED, ignore_errors=True)


@contextmanager
def _one_at_a_time(place: Path) -> Iterator[None]:
    """Several processes that train together all need the folder; the first one makes it, the others wait."""
    try:
        while not run_lock.take(str(place)):
            time.sleep(0.2)
    except OSError as error:
        raise OutputFailed(f"{place.parent}: cannot write: {error.strerror}") from error
    try:
        yield
    finally:
        run_lock.release(str(place))


def _merge(folder: Path, merged: Path, dtype: str) -> None:
    from safetensors import SafetensorError
    from transformers import GenerationConfig

    part = merged.with_name(f".{MERGED}.making")
    shutil.rmtree(part, ignore_errors=True)
    model, tokenizer = _loaded(folder, dtype)
    try:
        if (folder / GENERATION).is_file():  # the base's own may not know the token that ends an answer
            model.generation_config = GenerationConfig.from_pretrained(folder)
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        part.rename(merged)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise OutputFailed(f"{merged}: cannot write: {error}; free some space and run again") from error


def _loaded(folder: Path, dtype: str) -> tuple[Any, Any]:
    """The adapter's model with the adapter in its weights, and its tokenizer."""
    from peft import AutoPeftModelForCausalLM, AutoPeftModelForSequenceClassification
    from transformers import AutoTokenizer

    base = base_of(folder)
    see_base(folder)
    if not any(folder.glob("adapter_model.*")):
        raise ConfigProblem(f"{folder}: holds an adapter's configuration, and no weights; tune again")
    task = json.loads((folder / ADAPTER).read_text("utf-8")).get("task_type")
    loader, more = AutoPeftModelForCausalLM, {}
    if task == "SEQ_CLS":
        loader, more = AutoPeftModelForSequenceClassification, {"num_labels": 1}
    try:
        model = loader.from_pretrained(folder, dtype=dtype, **more)
    except (OSError, ValueError) as error:
        raise ConfigProblem(f"{folder}: its base model {base} cannot be loaded: {first_line(error)}") from error
    if not hasattr(model, "merge_and_unload"):
        raise ConfigProblem(f"{folder}: such an adapter cannot be merged; peft's AutoPeftModelForCausalLM loads it")
    return model.merge_and_unload(), AutoTokenizer.from_pretrained(folder)
