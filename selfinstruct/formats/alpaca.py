"""Stanford Alpaca's layout: one JSON array of objects with exactly ``instruction``, ``input`` and ``output``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from selfinstruct.schema import TaskInstance

_FIELDS = {"instruction", "input", "output"}


def alpaca(records: Iterable[TaskInstance]) -> Iterator[bytes]:
    """The array in pieces, so that a million records need no memory; an array of nothing is ``[]``."""
    separator = b"[\n"
    for record in records:
        row = orjson.dumps(record.model_dump(include=_FIELDS), option=orjson.OPT_INDENT_2)
        yield separator + row
        separator = b",\n"
    yield b"[]\n" if separator == b"[\n" else b"\n]\n"
