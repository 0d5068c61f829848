"""Where the program starts: a run that another process works on is found out before anything large is imported."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping

from selfinstruct import run_lock

_CHAINS = ("generate", "dialogue", "feedback")
"""The commands that name their runs themselves."""

LOCKED = 75  # RunLocked.exit_code; to import `errors`, and `typing` with it, takes longer than all else here


def main() -> None:
    """Run the command line; the console script."""
    words = sys.argv[1:]
    run = folder_of(words, os.environ)
    folder = run or twin_of(words, os.environ)
    try:
        free = folder is None or run_lock.take(folder)
    except OSError:
        free = True  # the command itself says what is wrong with the folder
    if not free:
        where = f"{run}: " if run else ""
        sys.stderr.write(f"selfinstruct: {where}another process works on this run; nothing was sent\n")
        sys.exit(LOCKED)
    from selfinstruct.cli import app

    try:
        app.main()
    finally:
        if folder is not None:
            run_lock.release(folder)


def folder_of(words: list[str], environment: Mapping[str, str]) -> str | None:
    """The folder a command is going to work in, as far as its words say so; None where only the command can tell."""
    if not words or any(word in ("--dry-run", "--help", "-h") for word in words):
        return None
    if words[0] == "complete":
        return _value(words, "--out", "o")
    run = _value(words, "--run")
    if words[0] not in _CHAINS or not run or "/" in run or run.startswith("."):
        return None
    output = _value(words, "--output-dir")
    return os.path.join(environment.get("SELFINSTRUCT_OUTPUT_DIR", "output") if output is None else output, run)


def twin_of(words: list[str], environment: Mapping[str, str]) -> str | None:
    """A folder of this user's that the same command, started again in the same place, asks for, too.

    For a `generate`, `dialogue` or `feedback` whose run only its recipe can name. The run itself has a lock of its own;
    this one is sooner.
    """
    if not words or words[0] not in _CHAINS or any(word in ("--dry-run", "--help", "-h") for word in words):
        return None
    ours = sorted(
        f"{name}={value}" for name, value in environment.items() if name.startswith(("SELFINSTRUCT_", "OPENAI_"))
    )
    folder = os.path.join(environment.get("TMPDIR") or "/tmp", f"selfinstruct-{os.getuid()}")
    if os.path.lexists(folder) and os.lstat(folder).st_uid != os.getuid():
        return None  # somebody else's
    same = "\0".join([os.getcwd(), *words, *ours]).encode("utf-8", "surrogateescape")
    name = hashlib.sha256(same).hexdigest()[:24]
    return os.path.join(folder, name)


def _value(words: list[str], option: str, letter: str = "") -> str | None:
    """The last value of an option, as Typer takes it: ``--out DIR --out=DIR -o DIR -oDIR -qoDIR``."""
    value = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        letters = word[1:].lstrip("q") if word[:1] == "-" != word[1:2] else ""
        if word == "--":
            break
        if word == option or (letter and letters == letter):
            value = following
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
        elif letter and letters.startswith(letter):
            value = letters.removeprefix(letter)
    return value
