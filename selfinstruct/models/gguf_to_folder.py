"""Turn a GGUF file of the SmolLM family into a model folder of the usual shape, for vLLM and transformers to load.

A script, run by its path in another interpreter, the one vLLM lives in: ``PYTHON gguf_to_folder.py IN.gguf OUT``. So
it imports nothing of ours; it needs what comes with vLLM, and the small package ``gguf``. OUT is a folder that is
there and empty. Its steps go to stderr, each with the script's name before it, and so does, as the last line, why it
failed; its exit codes mean what ours do (`EXITS`). It ends when its stdin does: so it does not outlive whoever
started it with a pipe there, however that one ended.

Having transformers load the file and save the model is shorter, but takes the package ``accelerate`` as well, writes
other files in each version, and divides text into GPT-2's words instead of SmolLM's. What is not written down here is
refused: a folder with a slightly wrong tokenizer would load and answer, only worse.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

EXITS = {"source": 65, "output": 74, "lacking": 78}
"""The exit code where the file cannot be converted, the folder not written, or a package is not installed."""

NEEDS = ("gguf", "safetensors", "tokenizers", "torch")
DTYPE = "bfloat16"
RECORD, FORMAT = "selfinstruct.json", 1
"""The file written last, about the others; its format is raised whenever the same GGUF would become another folder."""

_SPECIAL = 3  # the kind of token that is no text, in llama.cpp's numbering: "control"

# Tensors by their GGUF names, which are llama.cpp's, and by those of transformers' Llama.
_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class _NotKnown(ValueError):
    """The file is a GGUF, but of a model this script does not know."""


def main(source: Path, folder: Path) -> int:
    """Convert, and return the exit code."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    # Python put this file's folder first on the path; its neighbours must not pass for packages of the same name.
    here = os.path.realpath(Path(__file__).parent)
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != here]
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        return _end("lacking", f"lacks {', '.join(missing)}")
    gguf, safetensors, *_ = (importlib.import_module(name) for name in NEEDS)
    try:
        _say(f"reading {source.name}")
        _convert(gguf.GGUFReader(source), folder)
        _write_record(source, folder)
    except (OSError, safetensors.SafetensorError) as error:  # a full disk is the second, where weights are written
        return _end("output", str(error))
    except _NotKnown as error:
        return _end("source", str(error))
    except RuntimeError as error:  # of gguf: a quantization that it cannot undo
        return _end("source", str(error))
    except (ValueError, KeyError, IndexError) as error:  # what reading a file ends in that is cut off or damaged
        return _end("source", f"it is damaged ({type(error).__name__}: {error})")
    return 0


def _end_with_stdin() -> None:
    """Wait for the end of the other end of the pipe: nothing is ever written there."""
    while os.read(0, 1024):
        pass
    os._exit(1)


def _convert(reader: Any, folder: Path) -> None:
    _check(reader)
    _say(f"writing {len(reader.tensors)} tensors as {DTYPE}")
    _write_weights(reader, folder / "model.safetensors")
    _say("writing the tokenizer and the configuration")
    _write_tokenizer(reader, folder)
    _write_config(reader, folder)


def _write_record(source: Path, folder: Path) -> None:
    """Say what the folder was made of and with, and how long its files are.

    No path and no time, so it is the same wherever and whenever it is made.
    """
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors makes its file readable to nobody else
    record = {
        "format": FORMAT,
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "dtype": DTYPE,
        "versions": {name: importlib.metadata.version(name) for name in NEEDS},
        "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
    }
    _write_json(folder / RECORD, record)


def _check(reader: Any) -> None:
    """Raise `_NotKnown` where the file says of itself that it is of another kind than the one known here."""
    known = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
    for key, value in known.items():
        found = _get(reader, key, "none")
        if found != value:
            raise _NotKnown(f"{key} is {found}; only {value} can be converted")
    if "llama.rope.scaling.type" in reader.fields:
        raise _NotKnown("its rotary embedding is scaled, which cannot be converted")


def _write_weights(reader: Any, path: Path) -> None:
    torch, gguf = importlib.import_module("torch"), importlib.import_module("gguf")
    queries, keys = _get(reader, "llama.attention.head_count"), _get(reader, "llama.attention.head_count_kv")
    heads = {"attn_q": queries, "attn_k": keys}
    weights = {}
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        name, part = _renamed(tensor.name)
        if part in heads:
            values = _halved(values, heads[part])
        weights[name] = torch.from_numpy(values.copy()).to(getattr(torch, DTYPE))
    importlib.import_module("safetensors.torch").save_file(weights, path, metadata={"format": "pt"})


def _renamed(name: str) -> tuple[str, str]:
    """The name transformers has for a tensor, and which part of a layer it is (empty: it is of no layer)."""
    inner = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if inner and inner[2] in _INNER:
        return f"model.layers.{inner[1]}.{_INNER[inner[2]]}.weight", inner[2]
    if name not in _OUTER:
        raise _NotKnown(f"it has a tensor {name}, which no model of this kind has")
    return _OUTER[name], ""


def _halved(values: Any, heads: int) -> Any:
    """Rows of a query or key projection, ordered as transformers rotates them.

    A rotation turns two rows together. llama.cpp keeps the two side by side; transformers keeps all the first ones of
    a head and then all the second ones.
    """
    return values.reshape(heads, -1, 2, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)


def _write_tokenizer(reader: Any, folder: Path) -> None:
    library = importlib.import_module("tokenizers")
    tokens, kinds = _get(reader, "tokenizer.ggml.tokens"), _get(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in _get(reader, "tokenizer.ggml.merges")]
    numbers = {token: number for number, token in enumerate(tokens)}
    tokenizer = library.Tokenizer(library.models.BPE(vocab=numbers, merges=merges))
    # What llama.cpp calls "smollm": every digit alone, the rest in GPT-2's words.
    cuts = library.pre_tokenizers
    tokenizer.pre_tokenizer = cuts.Sequence(
        [cuts.Digits(individual_digits=True), cuts.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = library.decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _SPECIAL]
    tokenizer.add_special_tokens([library.AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        # Transformers 5 knows this name of version 4; its own is unknown to version 4.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": _get(reader, "llama.context_length"),
        "padding_side": "right",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": tokens[number] for role, number in _roles(reader).items()},
        "chat_template": _get(reader, "tokenizer.chat_template"),
    }
    _write_json(folder / "tokenizer_config.json", config)


def _write_config(reader: Any, folder: Path) -> None:
    """What `transformers.LlamaConfig` reads. The eos in generation_config.json is what ends an answer in vLLM."""
    ids = {f"{role}_token_id": number for role, number in _roles(reader).items() if role != "unk"}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": DTYPE,
        "torch_dtype": DTYPE,  # the same, as transformers 4 calls it
        "vocab_size": len(_get(reader, "tokenizer.ggml.tokens")),
        "hidden_size": _get(reader, "llama.embedding_length"),
        "intermediate_size": _get(reader, "llama.feed_forward_length"),
        "num_hidden_layers": _get(reader, "llama.block_count"),
        "num_attention_heads": _get(reader, "llama.attention.head_count"),
        "num_key_value_heads": _get(reader, "llama.attention.head_count_kv"),
        "head_dim": _get(reader, "llama.rope.dimension_count"),
        "max_position_embeddings": _get(reader, "llama.context_length"),
        "rms_norm_eps": round(_get(reader, "llama.attention.layer_norm_rms_epsilon"), 9),  # 1e-05 was a 32-bit float
        "rope_theta": _get(reader, "llama.rope.freq_base"),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        **ids,
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", ids)


def _roles(reader: Any) -> dict[str, int]:
    """The number of the token that begins a text, ends it, fills it up, and stands for what is not known."""
    names = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    return {role: _get(reader, f"tokenizer.ggml.{name}_token_id") for role, name in names.items()}


def _get(reader: Any, key: str, default: Any = None) -> Any:
    """A value of the file's header; one that has to be there and is not raises `_NotKnown`."""
    if key in reader.fields:
        return reader.fields[key].contents()
    if default is None:
        raise _NotKnown(f"its header has no {key}")
    return default


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _say(step: str) -> None:
    sys.stderr.write(f"{Path(__file__).stem}: {step}\n")
    sys.stderr.flush()


def _end(kind: str, reason: str) -> int:
    """Leave the reason as the last line."""
    sys.stderr.write(f"{' '.join(reason.split())}\n")
    return EXITS[kind]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
