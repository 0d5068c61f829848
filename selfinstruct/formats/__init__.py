"""How others write it: one file a format, each a function from a stage's records to the bytes of one export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from selfinstruct.formats.alpaca import alpaca
from selfinstruct.formats.belle import belle, belle_conversations, belle_instruction
from selfinstruct.formats.jsonl import jsonl
from selfinstruct.schema import TaskInstance

FORMATS: dict[str, Callable[[Iterable[TaskInstance]], Iterator[bytes]]] = {
    "jsonl": jsonl,
    "alpaca": alpaca,
    "belle": belle,
    "belle-instruction": belle_instruction,
    "belle-conversations": belle_conversations,
}
