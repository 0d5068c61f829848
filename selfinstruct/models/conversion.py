"""The embedded model's file, made into the kind of folder vLLM serves: once, and kept."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from selfinstruct import resources, run_lock
from selfinstruct.errors import BadData, ConfigProblem, OutputFailed, RunLocked, SelfinstructError
from selfinstruct.schema import Noun
from selfinstruct.store_files import flush

RECORD = "selfinstruct.json"
SETUP = "make setup-vllm BUILD=cpu"

# Runs in vLLM's interpreter, where this package is not: so it is run by its path, and never imported.
_SCRIPT = Path(__file__).with_name("gguf_to_folder.py")
_NEEDED = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


class _Made(Noun):
    """What the script notes about a folder it has finished; ``files`` are their lengths in bytes, by name."""

    format: Literal[1]  # folders of another format are made anew
    source_sha256: str
    dtype: str
    versions: dict[str, str]
    files: dict[str, int]


def default_folder() -> Path:
    """Where the folder is kept unless the user names another place: in the cache, as all it holds can be made again."""
    return resources.user_folder("XDG_CACHE_HOME", ".cache") / "models" / "smollm2-135m-instruct"


def is_whole(folder: Path) -> bool:
    """Whether a finished conversion is there, every file of it as long as it was when it was written."""
    return _source(folder) is not None


def convert(gguf: Path, folder: Path, python: Path, *, tell: Callable[[str], None] = lambda line: None) -> Path:
    """Make the folder from the GGUF file with the interpreter's packages, unless it is there already; returns it.

    Half a folder never has the name. One made from another file is replaced, one we did not make never is. ``tell``
    gets a line at each step: it takes about six seconds, and 270 MB.

    Raises `BadData` for a file that cannot be converted, `ConfigProblem` for an interpreter that lacks a package,
    `RunLocked` while another process does the same, `OutputFailed` where the folder cannot be written.
    """
    folder, source = folder.resolve(), _digest(gguf)
    try:
        if _source(folder) == source:
            return folder
        _refuse_to_replace(folder)
        with _workplace(folder) as place:
            if _source(folder) != source:  # or another process has made it meanwhile
                part = place / secrets.token_hex(8)
                part.mkdir()
                _run(python, gguf, part, tell)
                if _source(part) != source:
                    raise ConfigProblem(f"{python} made no whole folder of {gguf}, or the file changed; run again")
                _publish(part, folder)
    except OSError as error:
        raise OutputFailed(f"{error.filename or folder}: {error.strerror or error}") from error
    return folder


def _digest(gguf: Path) -> str:
    try:
        with gguf.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise BadData(f"{gguf}: not a GGUF file")
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadData(f"{gguf}: {error.strerror}") from error


def _source(folder: Path) -> str | None:
    """The sha256 of the file a whole folder was made from."""
    try:
        made = _Made.model_validate_json((folder / RECORD).read_bytes())
        lengths = {name: (folder / name).stat().st_size for name in made.files}
    except (OSError, ValidationError):
        return None
    return made.source_sha256 if lengths == made.files and made.files.keys() >= _NEEDED else None


def _refuse_to_replace(folder: Path) -> None:
    """Raise `OutputFailed` where something is in the way that is not ours to remove."""
    if folder.exists() and not (folder / RECORD).exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputFailed(f"{folder} is there and holds no model we made; name another folder, or remove it")


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A folder beside it that no other process works in, emptied before (a killed one left things behind) and after."""
    place = folder.with_name(f".{folder.name}.making")
    if not run_lock.take(str(place)):
        raise RunLocked(f"{folder} is being made by another process; run again when that is done")
    try:
        _empty(place)
        yield place
    finally:
        _empty(place)
        run_lock.release(str(place))
        with suppress(OSError):  # it stays where another process has taken it meanwhile
            place.rmdir()


def _empty(place: Path) -> None:
    for entry in place.iterdir():
        if entry.is_dir():  # the lock is a file
            shutil.rmtree(entry, ignore_errors=True)


def _run(python: Path, gguf: Path, part: Path, tell: Callable[[str], None]) -> None:
    """Run the script; whatever ends us early ends it too, be it SIGKILL: its stdin ends with us, and it with that."""
    try:
        child = subprocess.Popen(
            [str(python), str(_SCRIPT), str(gguf.absolute()), str(part)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise ConfigProblem(f"{python} cannot be run ({error.strerror}): run  {SETUP}") from error
    with child:
        try:
            last = _pass_on(child, tell)
            code = child.wait()
        finally:
            child.kill()
    if code != 0:
        raise _problem(code, last, python, gguf)


def _pass_on(child: subprocess.Popen[str], tell: Callable[[str], None]) -> str:
    """Hand on the script's steps, which bear its name; returns the last other line: why it failed, if it did."""
    last, mark = "", f"{_SCRIPT.stem}: "
    for line in child.stdout or ():
        if line.startswith(mark):
            tell(line.removeprefix(mark).strip())
        else:
            last = line.strip() or last
    return last


def _problem(code: int, last: str, python: Path, gguf: Path) -> SelfinstructError:
    """What an exit code of the script's means; those it chooses itself are ours."""
    if code == ConfigProblem.exit_code:
        return ConfigProblem(f"{python} {last}: run  {SETUP}")
    if code == BadData.exit_code:
        return BadData(f"{gguf}: {last}")
    if code == OutputFailed.exit_code:
        return OutputFailed(f"the model's folder could not be written: {last}")
    ending = f"signal {-code}" if code < 0 else f"exit code {code}"
    return ConfigProblem(f"{python} could not convert {gguf} ({ending}): {last or 'no reason given'}")


def _publish(part: Path, folder: Path) -> None:
    """Let the folder have its name, its bytes on disk for good; the one it replaces goes with the workplace."""
    for path in (*part.iterdir(), part):
        flush(path)
    if folder.exists():
        folder.rename(part.with_name("replaced"))
    part.rename(folder)
    flush(folder.parent)
