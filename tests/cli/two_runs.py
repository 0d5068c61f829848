"""Two finished runs to look at, and a single request: what tests of `status` and `show` share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.command import Ended, data_files, invoke
from tests.faults.answer_server import AnswerServer

STAGES = ["bootstrap", "classify", "instances"]


def two_runs(folder: Path) -> Path:
    """``served``, with rejects of every kind, and after it ``scripted``."""
    with AnswerServer() as server:
        where = ("--api", "completion", "--base-url", server.url, "--set", "lag=1")  # the second round has parents
        assert invoke("generate", *where, "-n", 80, "--run", "served", "--output-dir", folder, "-q").code == 0
    assert invoke("generate", "--api", "fake", "-n", 10, "--run", "scripted", "--output-dir", folder, "-q").code == 0
    os.utime(folder / "served" / "ledger.sqlite3", (1, 1))  # "scripted" is the latest, whatever the clock's grain
    return folder


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Both runs have the same files with the same bytes afterwards."""
    before = data_files(folder / "served"), data_files(folder / "scripted"), sorted(folder.rglob("*"))
    yield
    assert (data_files(folder / "served"), data_files(folder / "scripted"), sorted(folder.rglob("*"))) == before


def rows(folder: Path, stage: str, kind: str = "shard") -> list[dict[str, Any]]:
    """The records or rejects of the served run."""
    return [json.loads(line) for line in (folder / "served" / stage / f"{kind}-0.jsonl").read_text().splitlines()]


def ask(server: AnswerServer, folder: Path, *messages: dict[str, Any]) -> Ended:
    """``complete`` with one chat request of these messages, its answers in ``folder``."""
    body = {"messages": messages, "max_tokens": 9}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    requests = folder.with_suffix(".jsonl")
    requests.write_text(json.dumps(line) + "\n")
    where = ("--api", "chat", "--base-url", server.url, "--model", "m", "--max-unusable", 1, "-q")
    return invoke("complete", requests, "--out", folder, *where)
