"""Which Python has vLLM: it pins torch and transformers tightly, so it lives in an environment of its own."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from selfinstruct.errors import ConfigProblem

OWN_ENVIRONMENT = Path(".venv-vllm/bin/python")
SETUP = "make setup-vllm BUILD=cuda  (or BUILD=cpu)"
"""The command that makes it."""


def find(given: str) -> Path | None:
    """The interpreter that was named, else that of ``.venv-vllm``, else this one where it has vLLM; None for none.

    Raises `ConfigProblem` for a name that is no program. Whether vLLM is in it, only its start shows.
    """
    if given:
        found = shutil.which(given)
        if found is None:
            raise ConfigProblem(
                f"{given}: no such program (--vllm-python, SELFINSTRUCT_VLLM_PYTHON);  {SETUP}  makes an environment"
                " with vLLM"
            )
        return Path(found)
    if OWN_ENVIRONMENT.is_file():
        return OWN_ENVIRONMENT.absolute()
    return Path(sys.executable) if importlib.util.find_spec("vllm") is not None else None


def required(given: str) -> Path:
    """The same; raises `ConfigProblem` with the command that sets it up where there is none."""
    found = find(given)
    if found is None:
        raise ConfigProblem(
            f"vLLM is not here: run  {SETUP},  or name an interpreter that has it (--vllm-python,"
            " SELFINSTRUCT_VLLM_PYTHON), or point --base-url at a server of yours with --api chat"
        )
    return found
