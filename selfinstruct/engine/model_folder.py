"""What a model is, for the key of a call: a Hub id at a revision, or a folder by what is in it."""

from __future__ import annotations

from pathlib import Path

from selfinstruct.engine import options
from selfinstruct.engine.options import Engine
from selfinstruct.errors import ConfigProblem
from selfinstruct.model_digest import digest_of_folder, display_name, is_folder


def identity(model: str, engine: Engine) -> str:
    """``vllm:<model>@<revision>``, and the engine options that may change a text, as ``;name=value``.

    Of a Hub id the revision is the one that is asked for, ``main`` where none is; of a folder it is the digest of its
    files. Raises `UnknownModel` for a folder that is not there, `ConfigProblem` for one that is no model's.
    """
    options.check(engine)
    if model.startswith("-"):
        raise ConfigProblem(f"{model}: a model's name or path does not begin so; a folder may be given as ./{model}")
    said = options.of_text(engine)
    revision = said.pop("revision", "main")
    name = model
    if is_folder(model):
        name, revision = display_name(model), f"sha256:{digest_of_folder(Path(model).expanduser())}"
    return ";".join([f"vllm:{name}@{revision}", *(f"{key}={value}" for key, value in said.items())])
