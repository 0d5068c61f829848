"""What of a model lies on this disk: in the Hub's cache, which many programs share, or in a folder. Nobody is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

_TRUE = frozenset({"1", "on", "yes", "true"})
_PART = re.compile(r"-\d+-of-(\d+)\.")
_LONGEST_HEADER = 100_000_000  # bytes; safetensors' own library reads no longer one


class OnDisk(NamedTuple):
    """Bytes of weights in a folder, the files that are missing from it, and those that are there and not whole."""

    size: int
    missing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all is there that a model is loaded from."""
        return not (self.missing or self.broken)


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

    A link into the cache that leads nowhere is a missing file. Of the files only the first bytes are read: a
    ``.safetensors`` says there how long it is.
    """
    try:
        names, lacking = _weights(folder)
        there = {name for name in names if (folder / name).is_file()}
        size = sum((folder / name).stat().st_size for name in there)
        cut = {name for name in there if name.endswith(".safetensors") and not _is_whole(folder / name)}
        lacking = [*_configuration(folder), *lacking, *sorted((names - there) | cut)]
        broken = tuple(name for name in lacking if (folder / name).is_file())
    except OSError as error:
        return OnDisk(0, (str(error.filename or folder),))
    return OnDisk(size, tuple(name for name in lacking if name not in broken), broken)


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


def _configuration(folder: Path) -> list[str]:
    """The name of its configuration where that is missing, or says nothing."""
    there = [name for name in ("config.json", "params.json") if (folder / name).is_file()]  # the latter is Mistral's
    return ([] if _table(folder / there[0]) else there[:1]) if there else ["config.json"]


def _is_whole(path: Path) -> bool:
    """Whether a ``.safetensors`` is as long as it says: 8 bytes for the length of its header, that, and the tensors."""
    length = path.stat().st_size
    with path.open("rb") as file:
        of_header = int.from_bytes(file.read(8), "little")
        if not 0 < of_header <= min(length, _LONGEST_HEADER):
            return False
        header = _object(file.read(of_header))
    try:
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return bool(header) and length == 8 + of_header + max(ends, default=0)
    except (LookupError, TypeError):  # JSON, but no header
        return False


def _weights(folder: Path) -> tuple[set[str], list[str]]:
    """The names of the files of weights, and the index that is missing, or broken, so that nothing names them all."""
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
    """What `_object` makes of a file."""
    return _object(path.read_bytes())


def _object(text: bytes) -> dict[str, Any]:
    """A JSON object; an empty one for whatever else the text is."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _count(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    return value if isinstance(value, int) else 0
