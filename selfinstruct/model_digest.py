"""A model by its folder: whether a name is one, what it is called, and the digest of what is in it."""

from __future__ import annotations

import hashlib
import re
from io import BufferedReader
from pathlib import Path

import orjson

from selfinstruct.errors import ConfigProblem, UnknownModel

WHOLE = 64 * 2**20
"""Bytes up to which a file is read whole for the digest of its folder."""

_SAMPLES, _SAMPLE = 256, 4096
_KEPT = frozenset({".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".py", ".gguf", ".tiktoken", ".pt"})
# Of `models convert` and `finetune`: where the folder came from, and what it answered.
_OWN_NOTES = ("selfinstruct.json", "training.json", "answers.json")
_CHECKPOINT = re.compile(r"checkpoint-[0-9]+")  # a model on its way, kept in the folder of what became of it


def is_folder(model: str) -> bool:
    """Whether a model's name is a folder's path; ``org/name`` is one only where it exists, as a Hub id looks so."""
    return model.startswith((".", "/", "~")) or model.endswith("/") or model.count("/") > 1 or Path(model).is_dir()


def display_name(model: str) -> str:
    """The name a model is served under, and records carry: a folder's own name, never its path."""
    return Path(model).expanduser().resolve().name if is_folder(model) else model


def digest_of_folder(folder: Path) -> str:
    """Hex sha256 over names, sizes and bytes of a model's files; of large ones over 256 evenly spread samples.

    Training changes weights everywhere, so two models of one shape differ in the samples as well; reading 140 GB at
    every start would take minutes.
    """
    if not folder.is_dir():
        raise UnknownModel(f"{folder}: no such model folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix in _KEPT and path.is_file())
    files = [path for path in files if path.name not in _OWN_NOTES and not _of_checkpoint(path.relative_to(folder))]
    if not (folder / "config.json").is_file():
        raise ConfigProblem(f"{folder}: holds no config.json, so it is no model that can be loaded")
    _check_parts(folder)
    whole = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        whole.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        try:
            with path.open("rb") as file:
                whole.update(_digest_of_file(file, size))
        except OSError as error:
            raise ConfigProblem(f"{path}: cannot be read: {error.strerror}") from error
    return whole.hexdigest()


def _of_checkpoint(path: Path) -> bool:
    return any(_CHECKPOINT.fullmatch(part) for part in path.parts[:-1])


def _check_parts(folder: Path) -> None:
    """Raise `ConfigProblem` naming the file where a part of the weights is missing, long before vLLM would see it."""
    for index in sorted(folder.glob("*.index.json")):
        try:
            parts = sorted(set(orjson.loads(index.read_bytes())["weight_map"].values()))
            missing = [part for part in parts if not (folder / part).is_file()]
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ConfigProblem(f"{index}: is no list of the parts of a model's weights; fetch it again") from error
        if missing:
            raise ConfigProblem(f"{folder / missing[0]}: is missing, though {index.name} lists it; fetch it again")


def _digest_of_file(file: BufferedReader, size: int) -> bytes:
    if size <= WHOLE:
        return hashlib.file_digest(file, "sha256").digest()
    digest = hashlib.sha256()
    for number in range(_SAMPLES):
        file.seek(number * (size - _SAMPLE) // (_SAMPLES - 1))
        digest.update(file.read(_SAMPLE))
    return digest.digest()
