"""Is what training stands on installed? The packages of the extra ``train``, looked for without importing them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from selfinstruct.errors import ConfigProblem

PACKAGES: Final = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
INSTALL: Final = "pip install 'selfinstruct[train]'"


def required(*more: str) -> None:
    """Raise `ConfigProblem` with the command that installs them where a package, or one of ``more``, is missing."""
    missing = [name for name in (*PACKAGES, *more) if find_spec(name) is None]
    if missing:
        raise ConfigProblem(f"training needs the extra 'train' (missing: {', '.join(missing)}): run  {INSTALL}")
