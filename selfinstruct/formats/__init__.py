"""How others write it: each format is a function from a run's records to the bytes of one export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from selfinstruct.errors import UsageProblem
from selfinstruct.feedback_schema import CritiquedInstruction, PreferencePair, RatedInstruction
from selfinstruct.formats.alpaca import alpaca
from selfinstruct.formats.belle import belle, belle_conversations, belle_instruction
from selfinstruct.formats.conversations import messages, sharegpt, ultrachat
from selfinstruct.formats.jsonl import jsonl
from selfinstruct.formats.preference import argilla, h4, trl
from selfinstruct.formats.ultrafeedback import ultrafeedback
from selfinstruct.schema import Dialogue, TaskInstance

Final = TaskInstance | Dialogue | PreferencePair | CritiquedInstruction | RatedInstruction
Write = Callable[[Iterable[Any]], Iterator[bytes]]

KINDS: dict[type[Final], str] = {
    TaskInstance: "tasks",
    Dialogue: "dialogues",
    PreferencePair: "preference pairs",
    CritiquedInstruction: "annotated answers",
    RatedInstruction: "annotated answers",
}
"""The kinds of record that are written out, and what people call them."""


class Format(NamedTuple):
    """What writes a format, and the kinds of record it can hold: ``write`` is given records of one of them."""

    write: Write
    takes: tuple[type[Final], ...]


FORMATS: dict[str, Format] = {
    "jsonl": Format(jsonl, tuple(KINDS)),
    "alpaca": Format(alpaca, (TaskInstance,)),
    "belle": Format(belle, (TaskInstance,)),
    "belle-instruction": Format(belle_instruction, (TaskInstance,)),
    "belle-conversations": Format(belle_conversations, (TaskInstance,)),
    "messages": Format(messages, (TaskInstance, Dialogue)),
    "sharegpt": Format(sharegpt, (TaskInstance, Dialogue)),
    "ultrachat": Format(ultrachat, (Dialogue,)),
    "trl": Format(trl, (PreferencePair,)),
    "h4": Format(h4, (PreferencePair,)),
    "argilla": Format(argilla, (PreferencePair,)),
    "ultrafeedback": Format(ultrafeedback, (CritiquedInstruction, RatedInstruction)),
}


def writer_of(format: str, kind: type[Final]) -> Write:
    """What writes records of this kind in a format; raises `UsageProblem`, which names those that fit, if it cannot."""
    write, takes = FORMATS[format]
    if kind in takes:
        return write
    fitting = ", ".join(name for name, other in FORMATS.items() if kind in other.takes)
    held, wanted = KINDS[kind], KINDS[takes[0]]
    raise UsageProblem(f"--format {format} takes {wanted}, and the run holds {held}: choose one of {fitting}")
