"""A reward model, asked how good answers are: a transformer with one number where its vocabulary would be."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from selfinstruct.errors import ConfigProblem
from selfinstruct.model_digest import digest_of_folder
from selfinstruct.schema import Message
from selfinstruct.training import extra, merging
from selfinstruct.wire_errors import first_line

BATCH: Final = 8
"""Conversations that are scored in one pass."""

_HEADS: Final = ("score", "classifier")  # what transformers' architectures call the layer that gives the number
_ADVICE: Final = "name the folder of a model that 'selfinstruct finetune reward' has tuned"
_WEIGHTS: Final = (".safetensors", ".bin")


def check(folder: Path) -> None:
    """See that a folder holds a finished reward model, and that it could be loaded; loads nothing.

    Raises `ConfigProblem` where it does not, or where the extra that is needed is missing.
    """
    if not folder.is_dir():
        raise ConfigProblem(f"{folder}: no such folder; {_ADVICE}")
    if merging.is_adapter(folder):
        found = _read(folder / merging.ADAPTER).get("task_type")
        if found != "SEQ_CLS":
            raise ConfigProblem(f"{folder}: is an adapter for {found}, and no reward model; {_ADVICE}")
        merging.see_base(folder)
    else:
        config = _read(folder / "config.json")
        kinds = config.get("architectures") or ["a model of no architecture"]
        outputs = len(config.get("id2label") or "ab")  # which transformers writes down for any number but 2
        if not kinds[0].endswith("ForSequenceClassification") or outputs != 1:
            more = f" of {outputs} outputs" if kinds[0].endswith("ForSequenceClassification") else ""
            raise ConfigProblem(f"{folder}: holds {kinds[0]}{more}, and no reward model; {_ADVICE}")
    merging.see_finished(folder)
    extra.required()


def fingerprint(folder: Path) -> str:
    """The hex sha256 of all that a score depends on: weights, configuration, tokenizer and chat template."""
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        with path.open("rb") as file:
            digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    if merging.is_adapter(folder) and (base := Path(merging.base_of(folder))).is_dir():
        digest.update(digest_of_folder(base).encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    names = ("config.json", merging.ADAPTER, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    for path in folder.iterdir():
        is_weights = path.suffix in _WEIGHTS and path.name != "training_args.bin"
        if path.is_file() and (is_weights or path.name in names):
            yield path


class RewardScorer:
    """Scores conversations by the reward model of a folder, whole or an adapter; on a GPU where there is one.

    A conversation is rendered by the chat template that lies beside the model. One that is longer than the model reads
    loses its beginning: the score is read behind the last token.

    Raises `ConfigProblem` like `check`, and for a folder whose weights do not fit.
    """

    def __init__(self, folder: Path, batch: int = BATCH) -> None:
        from transformers import AutoTokenizer

        from selfinstruct.training.rendering import Renderer

        check(folder)
        self._folder = folder
        self._batch = batch
        self._model = _load(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self._renderer = Renderer(tokenizer)
        self._longest = _longest(self._model, tokenizer)
        self._pad = _pad(self._model, tokenizer)

    def scores(self, conversations: Sequence[Sequence[Message]]) -> list[float]:
        """A score for each conversation, whose last message is the answer. Equal conversations get equal scores.

        Raises `ConfigProblem` where the model gives no finite number.
        """
        rendered = [tuple(one.ids[-self._longest :]) for one in self._renderer.encode_many(conversations)]
        # Longest first: passes of alike length have little padding, and what does not fit into memory shows at once.
        ordered = sorted(dict.fromkeys(rendered), key=lambda ids: (-len(ids), ids))
        known: dict[tuple[int, ...], float] = {}
        for start in range(0, len(ordered), self._batch):
            some = ordered[start : start + self._batch]
            known |= zip(some, self._pass(some), strict=True)
        return [known[ids] for ids in rendered]

    def _pass(self, rows: Sequence[tuple[int, ...]]) -> list[float]:
        import torch

        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._pad] * (width - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        device = self._model.device
        with torch.inference_mode():
            logits = self._model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        scores: list[float] = logits[:, 0].float().tolist()
        if not all(map(math.isfinite, scores)):
            raise ConfigProblem(
                f"{self._folder}: gives scores that are no numbers; its training has failed, tune again"
            )
        return scores


@contextmanager
def _silent() -> Iterator[None]:
    """While they load, the libraries tell of every weight, of each other's old names, and that a base has no score."""
    import warnings

    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _load(folder: Path) -> Any:
    import torch

    on_gpu = torch.cuda.is_available()
    with _silent():
        model = _weights(folder, "auto" if on_gpu else torch.float32)
    return model.to("cuda" if on_gpu else "cpu").eval()


def _weights(folder: Path, dtype: Any) -> Any:
    from transformers import AutoModelForSequenceClassification

    try:
        if merging.is_adapter(folder):
            return _adapted(folder, dtype)
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigProblem(f"{folder}: cannot be loaded as a reward model: {first_line(error)}") from error
    if missing := sorted(loaded["missing_keys"]):
        raise ConfigProblem(f"{folder}: its weights lack {missing[0]}; {_ADVICE}")
    return model


def _adapted(folder: Path, dtype: Any) -> Any:
    """The base model with the adapter over it. What gives the score has to be in the adapter: no base model has it."""
    from peft import AutoPeftModelForSequenceClassification
    from safetensors import safe_open

    weights = folder / "adapter_model.safetensors"
    if weights.exists():
        with safe_open(weights, "pt") as file:
            names = [name.split(".") for name in file.keys()]  # noqa: SIM118 (no mapping)
        if not any(head in name for name in names for head in _HEADS):
            raise ConfigProblem(f"{folder}: the adapter holds no layer that gives a score; {_ADVICE}")
    return AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=dtype)


def _pad(model: Any, tokenizer: Any) -> int:
    """The token that fills short rows up. The model looks for the last one that is none: both must mean the same."""
    found = model.config.pad_token_id
    if found is None:
        found = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    model.config.pad_token_id = int(found)
    return int(found)


def _longest(model: Any, tokenizer: Any) -> int:
    """Tokens that the model reads at once."""
    return min(int(tokenizer.model_max_length), int(getattr(model.config, "max_position_embeddings", 1 << 30)))


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigProblem(f"{path}: cannot be read ({error}); {_ADVICE}") from error
    if not isinstance(read, dict):
        raise ConfigProblem(f"{path}: holds no JSON object; {_ADVICE}")
    return read
