"""Layouts of turns, one JSON object a line: UltraChat's, ShareGPT's, and the messages that chat trainers take.

A task is a conversation of one round: its instruction, with its input behind a blank line, and its output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from selfinstruct.schema import Dialogue, Message, TaskInstance

_FROM = {"system": "system", "user": "human", "assistant": "gpt"}


def ultrachat(records: Iterable[Dialogue]) -> Iterator[bytes]:
    """The released set's (systems §5.3): an ``id``, and the turns as plain texts under ``data``, the user's first."""
    for record in records:
        yield _line({"id": record.id, "data": [turn.content for turn in record.messages]})


def sharegpt(records: Iterable[TaskInstance | Dialogue]) -> Iterator[bytes]:
    """ShareGPT's: an ``id``, and ``conversations``, in which each turn says who it is ``from``, human or gpt."""
    for record in records:
        turns = [{"from": _FROM[turn.role], "value": turn.content} for turn in _turns(record)]
        yield _line({"id": record.id, "conversations": turns})


def messages(records: Iterable[TaskInstance | Dialogue]) -> Iterator[bytes]:
    """TRL's conversational format for its SFTTrainer: ``messages``, each a ``role`` and a ``content``; no more."""
    for record in records:
        yield _line({"messages": [turn.model_dump() for turn in _turns(record)]})


def _turns(record: TaskInstance | Dialogue) -> tuple[Message, ...]:
    if isinstance(record, Dialogue):
        return record.messages
    request = f"{record.instruction}\n\n{record.input}" if record.input else record.instruction
    return (Message(role="user", content=request), Message(role="assistant", content=record.output))


def _line(row: dict[str, object]) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
