"""Where the program starts: a run that another process works on is found out before anything large is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from selfinstruct import run_lock

LOCKED = 75


def main() -> None:
    """Run the command line; the console script."""
    folder = folder_of(sys.argv[1:], os.environ)
    try:
        free = folder is None or run_lock.take(folder)
    except OSError:
        free = True  # the command itself says what is wrong with the folder
    if not free:
        print(f"selfinstruct: {folder}: another process works on this run; nothing was sent", file=sys.stderr)
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
    if words[0] != "generate" or not run or "/" in run or run.startswith("."):
        return None
    output = _value(words, "--output-dir")
    return os.path.join(environment.get("SELFINSTRUCT_OUTPUT_DIR", "output") if output is None else output, run)


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
