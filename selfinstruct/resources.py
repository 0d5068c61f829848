"""Where the data we ship lies, prompts, seeds and recipes, and what we keep for a user.

A wheel carries the top-level folders ``prompts/`` and ``seeds/`` as ``selfinstruct/_data/``; a checkout (also one
installed with ``pip install -e``) keeps them where people edit them, beside the package.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def prompts_dir() -> Path:
    """The folder of prompt files: ``<stage>/<lang>/<name>.md``."""
    return _shipped("prompts")


def seeds_dir() -> Path:
    """The folder of seed files: ``<lang>_seed_tasks.jsonl`` and what else a run can start from."""
    return _shipped("seeds")


def recipes_dir() -> Path:
    """The folder of the recipes we ship, ``<name>.toml``; the same in a wheel and in a checkout."""
    return _PACKAGE / "recipes"


def rules_dir() -> Path:
    """The word lists and limits of filters and guards, ``<name>.toml``; the same folder in a wheel and a checkout."""
    return _PACKAGE / "filters" / "rules"


def _shipped(name: str) -> Path:
    packed = _PACKAGE / "_data" / name
    return packed if packed.is_dir() else _PACKAGE.parent / name


def user_folder(variable: str, usual: str) -> Path:
    """Our folder in the one a variable of the XDG base directories names, else in the ``usual`` one below the home.

    A relative path there is not meant (so the specification): it would be another folder from elsewhere.
    """
    named = Path(os.environ.get(variable, "")).expanduser()
    return (named if named.is_absolute() else Path.home() / usual) / "selfinstruct"
