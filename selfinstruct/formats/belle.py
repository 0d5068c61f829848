"""BELLE's layouts, one JSON object a line: of its 0.5M set, of its 1M set, and of its training scripts (systems §3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from selfinstruct.schema import TaskInstance


def belle(records: Iterable[TaskInstance]) -> Iterator[bytes]:
    """``Belle.train.json``, the 0.5M set's: the whole request under ``input``, the answer under ``target``."""
    for record in records:
        yield _line({"input": _request(record), "target": record.output})


def belle_instruction(records: Iterable[TaskInstance]) -> Iterator[bytes]:
    """The 1M set's: ``instruction``, ``input``, ``output``."""
    for record in records:
        yield _line({"instruction": record.instruction, "input": record.input, "output": record.output})


def belle_conversations(records: Iterable[TaskInstance]) -> Iterator[bytes]:
    """The training scripts': an ``id`` and ``conversations``, a turn of the human and one of the assistant."""
    for record in records:
        turns = [{"from": "human", "value": _request(record)}, {"from": "assistant", "value": record.output}]
        yield _line({"id": record.id, "conversations": turns})


def _request(record: TaskInstance) -> str:
    return f"{record.instruction}\n{record.input}" if record.input else record.instruction


def _line(row: dict[str, object]) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
