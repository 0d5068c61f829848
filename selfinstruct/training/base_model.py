"""The model that is tuned: found, loaded, given a chat template; and the adapter, where only that is tuned."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

from selfinstruct.errors import ConfigProblem, UnknownModel, UsageProblem
from selfinstruct.model_digest import is_folder
from selfinstruct.training import arguments, merging, templates
from selfinstruct.training.recipe import Tuning
from selfinstruct.training.rendering import Renderer
from selfinstruct.wire_errors import first_line

_TEXT, _SCORE = "CAUSAL_LM", "SEQ_CLS"


class Base(NamedTuple):
    """A model as a trainer takes it; ``adapter`` is peft's configuration, None where everything is tuned.

    ``path`` is what it was loaded from: an adapter's merged folder, not the adapter. ``added`` are special tokens that
    its vocabulary did not have.
    """

    path: str
    model: Any
    tokenizer: Any
    renderer: Renderer
    adapter: Any
    added: tuple[str, ...]


def tokenizer_of(tuning: Tuning) -> tuple[Any, tuple[str, ...]]:
    """The tokenizer with the template that is wanted, and the tokens which that added. Loads no weights.

    Raises `UnknownModel` and `ConfigProblem`.
    """
    from transformers import AutoTokenizer

    path = _named(tuning)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **_revision(tuning, path))
    except (OSError, ValueError) as error:
        raise _not_there(tuning.base, error) from error
    if tuning.chat_template:
        return tokenizer, tuple(templates.dress(tokenizer, tuning.chat_template))
    if not tokenizer.chat_template:
        raise ConfigProblem(
            f"{tuning.base}: has no chat template of its own: choose one of ours, --chat-template"
            f" {'|'.join(templates.names())}"
        )
    # A reward is read at the last token that is not padding.
    return tokenizer, tuple(templates.pad_apart(tokenizer)) if tuning.kind == "reward" else ()


def config_of(tuning: Tuning) -> Any:
    """The model's configuration, an adapter's being that of its base. Loads no weights. Raises `UnknownModel`."""
    from transformers import AutoConfig

    path = _named(tuning)
    if is_folder(path) and merging.is_adapter(Path(path)):
        path = merging.base_of(Path(path))
    try:
        return AutoConfig.from_pretrained(path, **_revision(tuning, path))
    except (OSError, ValueError) as error:
        raise _not_there(tuning.base, error) from error


def load(tuning: Tuning) -> Base:
    """The model, ready for a trainer: with one output for ``reward``, else with a head over its vocabulary.

    Raises `UnknownModel` for a model that is not there, `ConfigProblem` for one that cannot be tuned so.
    """
    tokenizer, added = tokenizer_of(tuning)
    path = path_of(tuning)
    _meet_the_others()
    model = _weights(tuning, path)
    if added:
        templates.start_at_mean(model, tokenizer, list(added))
    adapter = _adapter(tuning, model, [tokenizer.convert_tokens_to_ids(token) for token in added])
    return Base(path, model, tokenizer, Renderer(tokenizer), adapter, added)


def reference(tuning: Tuning, base: Base) -> Any:
    """A second copy of the untuned model, which DPO measures by; None where an adapter can be switched off instead."""
    if base.adapter is not None:
        return None
    model = _weights(tuning, base.path)
    if base.added:
        templates.start_at_mean(model, base.tokenizer, list(base.added))
    return model


def _meet_the_others() -> None:
    """Let processes that train together on GPUs know of each other: sharded weights are then loaded by one of them."""
    import torch

    if arguments.processes() > 1 and torch.cuda.is_available():
        from accelerate import PartialState

        PartialState()


def _weights(tuning: Tuning, path: str) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, set_seed

    set_seed(tuning.seed)  # a reward model's head is drawn
    loader, more = AutoModelForCausalLM, dict[str, Any]()
    if tuning.kind == "reward":
        loader, more = AutoModelForSequenceClassification, {"num_labels": 1}
    if tuning.peft == "qlora":
        more["quantization_config"] = _four_bits()
    more |= {"dtype": _dtype(tuning, torch), "output_loading_info": True}
    try:
        model, found = loader.from_pretrained(path, **more, **_revision(tuning, path))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _not_there(tuning.base, error) from error
    _see_all_there(tuning, found["missing_keys"])
    return model


def _see_all_there(tuning: Tuning, missing: Iterable[str]) -> None:
    """Raise `ConfigProblem` where weights were drawn that should have been loaded; a reward's own head has to be."""
    drawn = [name for name in missing if not (tuning.kind == "reward" and name.startswith("score"))]
    if drawn:
        raise ConfigProblem(
            f"{tuning.base}: lacks weights that a model to be tuned so has ({drawn[0]}, {len(drawn)} in all): a reward"
            " model writes no text, and half a model is none"
        )


def _dtype(tuning: Tuning, torch: Any) -> Any:
    """What weights are held in: 32 bits where they themselves are tuned, or on a CPU; else 16."""
    if tuning.dtype != "auto":
        return getattr(torch, tuning.dtype)
    return torch.bfloat16 if torch.cuda.is_available() and tuning.peft != "none" else torch.float32


def _four_bits() -> Any:
    """QLoRA's storage: NF4, doubly quantized, computed in bfloat16. Raises `ConfigProblem` where it cannot be had."""
    from importlib.util import find_spec

    import torch
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None or not torch.cuda.is_available():
        raise ConfigProblem(
            "--peft qlora needs an NVIDIA GPU and the package bitsandbytes: run  pip install bitsandbytes , or take"
            " --peft lora"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _adapter(tuning: Tuning, model: Any, added: list[int]) -> Any:
    """peft's configuration of the adapter, if one is wanted. New tokens are tuned with it."""
    if tuning.peft == "none":
        return None
    if tuning.peft == "adaption-prompt":
        return _adaption_prompt(tuning, model, added)
    from peft import LoraConfig

    targets: Any = list(tuning.lora_targets)
    there = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if targets != ["all-linear"] and not there & set(targets):
        raise ConfigProblem(f"lora_targets: the model has none of {', '.join(targets)}; take all-linear, or of its own")
    reward = tuning.kind == "reward"
    saved = ["score"] if reward else []
    if added and not reward and not model.config.tie_word_embeddings:
        saved.append(
            _name_of(model, model.get_output_embeddings())
        )  # else a new token could be read, but never be written
    return LoraConfig(
        r=tuning.lora_r,
        lora_alpha=tuning.lora_alpha,
        lora_dropout=tuning.lora_dropout,
        target_modules=targets[0] if targets == ["all-linear"] else targets,
        modules_to_save=saved or None,
        trainable_token_indices={_name_of(model, model.get_input_embeddings()): added} if added else None,
        task_type=_SCORE if reward else _TEXT,
    )


def _name_of(model: Any, module: Any) -> str:
    """What a model calls one of its modules: ``embed_tokens`` in one family, ``wte`` in another."""
    return next(str(name).rpartition(".")[2] for name, one in model.named_modules() if one is module)


def _adaption_prompt(tuning: Tuning, model: Any, added: list[int]) -> Any:
    """LLaMA-Adapter: learned prompts in the upper layers, behind a gate that starts shut (systems §14)."""
    from peft import AdaptionPromptConfig

    if model.config.model_type not in ("llama", "mistral") or tuning.kind == "reward" or added:
        why = "a reward model" if tuning.kind == "reward" else "new tokens" if added else model.config.model_type
        raise ConfigProblem(f"--peft adaption-prompt is for llama and mistral, and cannot tune {why}: take --peft lora")
    layers = min(tuning.adapter_layers, model.config.num_hidden_layers - 1)
    return AdaptionPromptConfig(adapter_len=tuning.adapter_len, adapter_layers=max(layers, 1), task_type=_TEXT)


_TOKENIZERS: Final = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
_MISSING: Final = "give a folder, or a Hub id that can be downloaded from here"


def path_of(tuning: Tuning) -> str:
    """What to load weights from: of an adapter what it is merged to. Raises `UnknownModel` and as `merging.whole`.

    A folder's path is whole: an adapter writes down where its base is, and is used from elsewhere.
    """
    named = _named(tuning)
    return str(merging.whole(Path(named)).resolve()) if is_folder(named) else named


def see_apart(tuning: Tuning, out: Path) -> None:
    """Raise `UsageProblem` where the tuned model would be written over the one it is made of."""
    named = _named(tuning)
    if not is_folder(named):
        return
    folder = Path(named).resolve()
    needed = [folder]
    if merging.is_adapter(folder):
        needed.append(Path(merging.base_of(folder)).resolve())
    if any(one == out.resolve() or out.resolve() in one.parents for one in needed):
        raise UsageProblem(f"--out {out}: is, or holds, the model that is to be tuned; name another folder")


def _named(tuning: Tuning) -> str:
    """The Hub id or folder that was asked for. Raises `UnknownModel` for a folder that is no model's."""
    if not is_folder(tuning.base):
        return tuning.base
    folder = Path(tuning.base).expanduser()
    if not folder.is_dir():
        raise UnknownModel(f"{folder}: no such model folder; {_MISSING}")
    if not (folder / "config.json").is_file() and not merging.is_adapter(folder):
        raise UnknownModel(f"{folder}: holds no config.json, so it is no model; {_MISSING}")
    merging.see_finished(folder)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise UnknownModel(f"{folder}: holds no tokenizer; copy that of the model beside the weights")
    return str(folder)


def _revision(tuning: Tuning, path: str) -> dict[str, Any]:
    return {} if is_folder(path) else {"revision": tuning.revision, "local_files_only": not _hub_answers()}


@lru_cache(maxsize=1)
def _hub_answers() -> bool:
    """Whether the Hub can be reached; where it cannot its library would try for a minute before it says so."""
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    if getproxies():
        return True  # the proxy knows
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def _not_there(base: str, error: Exception) -> UnknownModel:
    return UnknownModel(f"{base}: cannot be loaded as a model: {first_line(error)}; {_MISSING}")
