"""Files of requests in the OpenAI Batch format, as tests write them, and the lines that came of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from selfinstruct.wire import CHAT, COMPLETIONS
from tests.models.loopback import Reply, chat, continuation


def request(custom_id: str = "a", text: str = "Name a tree.", *, url: str = CHAT, **body: Any) -> dict[str, Any]:
    """A request that asks ``text``; a field of the body that is ``...`` is left out."""
    asked = {"messages": [{"role": "user", "content": text}]} if url == CHAT else {"prompt": text}
    fields = {"model": "some-model"} | asked | body
    whole = {name: value for name, value in fields.items() if value is not ...}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": whole}


def numbered(count: int, start: int = 0) -> list[dict[str, Any]]:
    """So many different requests."""
    return [request(f"r-{n}", f"Question {n}?") for n in range(start, start + count)]


def write(path: Path, requests: Iterable[dict[str, Any]]) -> Path:
    """Write a file of requests; returns where it is."""
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in requests))
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of results or errors, parsed; none where there is no such file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def answers(out: Path) -> dict[str, Any]:
    """What each answered request of a folder was told, by its id."""
    told = {}
    for row in rows(out / "results.jsonl"):
        choice = row["response"]["body"]["choices"][0]
        told[row["custom_id"]] = choice["text"] if "text" in choice else choice["message"]["content"]
    return told


def errors(out: Path) -> dict[str, tuple[str, int | None]]:
    """Class, and the server's status where it gave one, of each request of a folder that got no answer, by its id."""
    found = {}
    for row in rows(out / "errors.jsonl"):
        found[row["custom_id"]] = row["error"]["code"], row["response"] and row["response"]["status_code"]
    return found


def mark(body: dict[str, Any]) -> str:
    """A text that belongs to this very body: no answer to any other body reads the same."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def marking(path: str, body: Any, number: int) -> Reply:
    """A server's script: each answer is the `mark` of its request's body."""
    return 200, {}, continuation(mark(body)) if path == COMPLETIONS else chat(mark(body))
