"""What of a model lies on this disk: in the Hub's cache, which many programs share, or in a folder. Nobody is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

_TRUE = frozenset({"1", "on", "yes", "true"})
_PART = re.compile(r"-\d+-of-(\d+)\.")


class OnDisk(NamedTuple):
    """Bytes of weights in a folder, and the files without which it is not whole."""

    size: int
    missing: tuple[str, ...]


class Geometry(NamedTuple):
    """What a ``config.json`` says of the layers; zeros where it says nothing."""

    layers: int = 0
    kv_heads: int = 0
    head_dim: int = 0


def root(environment: Mapping[str, str]) -> Path:
    """Where the cache is: ``$HF_HUB_CACHE``, ``$HF_HOME/hub``, or below the home."""
    if chosen := environment.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    return _home(environment) / "hub"


def has_token(environment: Mapping[str, str]) -> bool:
    """Whether the Hub will be told who asks: by a variable, or by the file that a login has left."""
    if any(environment.get(name, "").strip() for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")):
        return True
    return Path(environment.get("HF_TOKEN_PATH") or _home(environment) / "token").expanduser().is_file()


def is_offline(environment: Mapping[str, str]) -> bool:
    """Whether nothing may be fetched."""
    return any(environment.get(name, "").lower() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def snapshot(cache: Path, hub: str, revision: str) -> Path | None:
    """The folder of a model's files at a commit or a branch (empty: ``main``), or None where there is none."""
    folder = cache / f"models--{hub.replace('/', '--')}"
    try:
        commit = (folder / "refs" / (revision or "main")).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision
    found = folder / "snapshots" / commit
    return found if commit and found.is_dir() else None


def weights_in(folder: Path) -> OnDisk:
    """The weights in a model's folder. Whole is one with its configuration and every file that its index names.

    A link into the cache that leads nowhere is a missing file.
    """
    try:
        names, missing = _weights(folder)
        there = [name for name in names if (folder / name).is_file()]
        size = sum((folder / name).stat().st_size for name in there)
        if not any((folder / name).is_file() for name in ("config.json", "params.json")):  # the latter is Mistral's
            missing = ["config.json", *missing]
    except OSError as error:
        return OnDisk(0, (str(error.filename or folder),))
    return OnDisk(size, (*missing, *sorted(names - set(there))))


def geometry(folder: Path) -> Geometry:
    """Of the language model, where a model has others beside it."""
    try:
        config = _table(folder / "config.json")
    except OSError:
        return Geometry()
    of_text = config.get("text_config")
    config = of_text if isinstance(of_text, dict) else config
    heads = _count(config, "num_attention_heads")
    width = _count(config, "hidden_size") // heads if heads else 0
    return Geometry(
        _count(config, "num_hidden_layers"),
        _count(config, "num_key_value_heads") or heads,
        _count(config, "head_dim") or width,
    )


def _home(environment: Mapping[str, str]) -> Path:
    if chosen := environment.get("HF_HOME"):
        return Path(chosen).expanduser()
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "huggingface"


def _weights(folder: Path) -> tuple[set[str], list[str]]:
    """The names of the files of weights, and what is missing already because nothing names them."""
    for kind in ("safetensors", "bin"):
        files = {path.name for path in folder.glob(f"*.{kind}")} - {"training_args.bin", "optimizer.bin"}
        indexes = sorted(path.name for path in folder.glob(f"*.{kind}.index.json"))
        if indexes:
            first = next((name for name in indexes if name.startswith(("model.", "pytorch_model."))), indexes[0])
            named = _table(folder / first).get("weight_map")
            if not isinstance(named, dict) or not named:
                return files, [first]
            return set(map(str, named.values())), []
        if files:
            parts = [name for name in files if _PART.search(name)]
            return files, [_PART.sub(".", parts[0]) + ".index.json"] if parts else []
    return set(), ["*.safetensors"]


def _table(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one for whatever else the file holds."""
    try:
        value = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _count(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    return value if isinstance(value, int) else 0
