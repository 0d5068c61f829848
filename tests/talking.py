"""What tests of `selfinstruct dialogue` share: a run against a server, and what it wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from tests.command import Ended, invoke
from tests.faults.dialogue_server import DialogueServer

TEXT = """The first lighthouse of the town burned down in a winter storm, and the keeper rebuilt it from stone.

Every autumn the ferry brought oil for its lamp, forty barrels at a time, which were rolled up the hill by hand.

In the third year a cable came, and the barrels were sold to the tannery below the bridge.
"""


def words(server: DialogueServer, output: Path, *args: object, run: str = "run") -> list[object]:
    """The command: `dialogue` against the server; 1 or 2 rounds each unless it is said, the default name for no run."""
    rounds = () if "--rounds" in args else ("--rounds", "1-2")
    where = ("--api", "chat", "--model", "played", "--base-url", server.url, "--output-dir", output)
    return ["dialogue", *where, *(("--run", run) if run else ()), *rounds, *args]


def talk(server: DialogueServer, output: Path, *args: object, run: str = "run", **environment: str) -> Ended:
    """The command, in this process."""
    return invoke(*words(server, output, *args, run=run), **environment)


def file_of(path: Path, lines: Sequence[str]) -> Path:
    """A file of these lines."""
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def identity_of(run: Path, stage: str) -> Any:
    """What a stage was started with."""
    return orjson.loads((run / stage / "stage.json").read_bytes())["identity"]


def rows(run: Path, stage: str = "dialogue", kind: str = "shard") -> list[dict[str, Any]]:
    """The records or rejects of a stage."""
    paths = sorted((run / stage).glob(f"{kind}-*.jsonl"), key=lambda path: int(path.stem.rpartition("-")[2]))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]
