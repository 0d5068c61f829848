"""What a folder holds, and how it is made into something that a server can load.

Servers load whole models. What a finetune leaves may be an adapter, which names the model it was trained on: that is
merged into its base once, and kept.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import struct
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from selfinstruct.errors import ConfigProblem, ModelError, UnknownModel
from selfinstruct.models import conversion, weights
from selfinstruct.training import merging
from selfinstruct.wire_errors import one_line

Kind = Literal["model", "adapter", "gguf"]

EMBEDDED = "smollm2"
"""The embedded model, as ``finetune --model`` names it."""

_WEIGHTS = ("*.safetensors", "*.bin")
# Of a model on the Hub: its weights once, and nothing that is code.
_FETCHED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


class ServedModel(NamedTuple):
    """A model on disk: a .gguf file, or a folder as Hugging Face has them.

    ``name`` is what it is served as: its own, or that of its file or folder, never a path.
    """

    path: Path
    kind: Kind
    name: str

    @property
    def has_template(self) -> bool:
        """Whether it can be talked to. llama.cpp always has a template: the file's, or its own."""
        if self.kind == "gguf" or (self.path / "chat_template.jinja").is_file():
            return True
        return bool(_json(self.path / "tokenizer_config.json").get("chat_template"))


def find(model: str) -> ServedModel:
    """The model of that path, or of that name on the Hub, which is downloaded where it is not in the cache.

    ``smollm2`` is the embedded model. Raises `UnknownModel` where nothing has the name, `ConfigProblem` where it is no
    model that answers.
    """
    path = Path(model).expanduser()
    if path.exists():
        path = path.resolve()
        name = path.stem if path.is_file() else path.name
    else:
        path, name = (_embedded() if model == EMBEDDED else _fetched(model)), model.rpartition("/")[2]
    if path.is_file():
        if path.suffix != ".gguf":
            raise ConfigProblem(f"{path}: is a file; expected a model's folder, or a .gguf file")
        return ServedModel(path, "gguf", name)
    merging.see_finished(path)
    if merging.is_adapter(path):
        _check_task(path, str(_json(path / merging.ADAPTER).get("task_type")), "SEQ_CLS")
        return ServedModel(path, "adapter", name)
    files = sorted(path.glob("*.gguf"))
    if len(files) == 1 and not (path / "config.json").is_file():
        return ServedModel(files[0], "gguf", name)
    _check_whole(path)
    return ServedModel(path, "model", name)


def is_plain_lora(model: ServedModel) -> bool:
    """Whether an adapter is nothing but low-rank matrices, which vLLM adds to its base by itself.

    New tokens, whose embeddings peft saves beside them, and DoRA's magnitudes are more than that.
    """
    config = _json(model.path / merging.ADAPTER)
    if config.get("peft_type") != "LORA" or config.get("use_dora"):
        return False
    names = _tensors(model.path / "adapter_model.safetensors")
    return bool(names) and all(".lora_A." in name or ".lora_B." in name for name in names)


def rank_of(adapter: ServedModel) -> int:
    """The largest rank of a LoRA adapter's matrices."""
    config = _json(adapter.path / merging.ADAPTER)
    return max(map(int, [config.get("r") or 1, *(config.get("rank_pattern") or {}).values()]))


def base_of(adapter: ServedModel) -> str:
    """The model that an adapter was trained on: a Hub id, or a folder.

    Raises `ConfigProblem` where it does not say, or where the folder is gone or holds another model by now.
    """
    merging.see_base(adapter.path)
    return merging.base_of(adapter.path)


def generation_of(folder: Path) -> dict[str, Any]:
    """How a model generates where a request does not say: as its folder tells, and ending with the tokenizer's end.

    A model that was tuned under another template than its base's ends its answers with another token, which the
    settings of the base do not know.
    """
    settings = _json(folder / "generation_config.json")
    known = settings.get("eos_token_id")
    ends = known if isinstance(known, list) else [] if known is None else [known]
    end = _end_of(folder)
    return settings if end is None or end in ends else {**settings, "eos_token_id": [*ends, end]}


def _end_of(folder: Path) -> int | None:
    """The number of the token that a tokenizer ends with; None where its files do not tell."""
    end = _json(folder / "tokenizer_config.json").get("eos_token")
    text = end.get("content") if isinstance(end, dict) else end
    added = _json(folder / "tokenizer.json").get("added_tokens") or []
    return next((int(token["id"]) for token in added if text is not None and token["content"] == text), None)


def whole(model: ServedModel, tell: Callable[[str], None] = lambda line: None) -> ServedModel:
    """The model itself, or for an adapter the one it makes with its base: merged once, and kept in its folder.

    Merged in a process of its own, as what torch takes is given back only when that ends. Raises `ConfigProblem` for
    an adapter that cannot be merged, a base that is not here or a missing extra, `OutputFailed` where it cannot be
    written, and `ModelError` where the memory does not suffice.
    """
    if model.kind != "adapter":
        return model
    require("torch", "transformers", "peft")
    if not (model.path / merging.MERGED / "config.json").is_file():
        tell(f"{model.name}: merging the adapter into {base_of(model)}; this happens once")
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return ServedModel(pool.submit(_merged, model.path).result(), "model", model.name)
    except BrokenProcessPool as problem:
        raise ModelError(
            f"{model.path}: the process that merges it was killed, mostly by the system when memory runs out"
        ) from problem


def _merged(adapter: Path) -> Path:
    """In the process that merges: without bars and warnings of transformers', which say nothing to people here."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    return merging.whole(adapter)


def require(*packages: str) -> None:
    """Raise `ConfigProblem` with the command that installs them where one of these packages is missing."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        extra = "local" if "xllamacpp" in missing else "train"
        raise ConfigProblem(f"{', '.join(missing)}: not installed; run  pip install 'selfinstruct[{extra}]'")


# --- looking --------------------------------------------------------------------------------------------------------


def _embedded() -> Path:
    """The embedded model: the folder it was converted to, else its file. Raises `UnknownModel` where neither is."""
    folder = conversion.default_folder()
    found = folder if conversion.is_whole(folder) else weights.find()
    if found is None:
        raise UnknownModel("the embedded model is not installed: run  selfinstruct models fetch")
    return found


def _fetched(name: str) -> Path:
    """The folder of a model on the Hub, in the Hub's own cache."""
    unknown = f"{name}: no such model folder"
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or importlib.util.find_spec("huggingface_hub") is None:
        raise UnknownModel(unknown)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_FETCHED))
    except (OSError, ValueError) as problem:  # which the errors of the Hub are
        why = one_line(str(problem), 160)
        raise UnknownModel(f"{unknown}, and the Hub hands out none of that name ({why})") from problem


def _check_whole(folder: Path) -> None:
    """Raise `ConfigProblem` with what to do where a folder holds no whole model that answers."""
    whole = (folder / "config.json").is_file() and any(next(folder.glob(pattern), None) for pattern in _WEIGHTS)
    if whole:
        for architecture in _json(folder / "config.json").get("architectures") or []:
            _check_task(folder, str(architecture), "ForSequenceClassification")
        return
    raise ConfigProblem(
        f"{folder}: holds no model: neither weights with a config.json, nor an adapter_config.json, nor one .gguf file"
    )


def _check_task(folder: Path, task: str, scores: str) -> None:
    if scores in task:
        raise ConfigProblem(
            f"{folder}: is a reward model, which scores answers and gives none: 'selfinstruct best-of-n' uses it"
        )


def _tensors(path: Path) -> list[str]:
    """The names in a file of safetensors, from its header; none where there is no such file."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = orjson.loads(file.read(length))
    except (OSError, ValueError, struct.error, OverflowError, MemoryError):
        return []
    return [name for name in header if name != "__metadata__"]


def _json(path: Path) -> dict[str, Any]:
    """An object from a file of JSON; an empty one where there is none."""
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
