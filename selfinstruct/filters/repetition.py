"""Refuses a text that says the same thing over and over, as a model does that has lost its thread."""

from __future__ import annotations

from typing import Final, TypeVar

from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, TaskInstance
from selfinstruct.similarity import loops
from selfinstruct.similarity.loops import Loop

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

REFRAIN: Final = 3
"""Whoever says something up to three times may mean it: two sentences to compare, a line that is sung."""

_SHOWN: Final = 80


class Repetition:
    """Refuses a record in which any text is a loop; the reason is ``repetition``, the detail says where and what.

    A text is a loop where one of these holds:

    * it says a phrase back to back so often that it cannot be meant (`loops.phrase_loop`, the rule that `OutputChecks`
      has for outputs). Twice or thrice counts in an output only;
    * it says a short phrase at least ``times`` times in a row, however long the rest of the text is;
    * it repeats up to eight characters without a gap over at least ``run`` characters: "hahaha…", "啊啊啊…", "0000…";
      five times as many where they are marks, because tables and rules are drawn with them;
    * a line or sentence of at least ``line`` characters, where a Chinese one counts as two, comes four times or more
      and is more than half of the text.

    Tables, code, refrains and lists with equal heads are kept. The numbers are ours: on 23 000 published tasks in
    English and Chinese they drop the loops, and nothing else.
    """

    def __init__(self, *, run: int = 200, times: int = 100, line: int = 20) -> None:
        self.run = run
        self.times = times
        self.line = line

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first loop in any text, with its field, how often it is said, and its beginning."""
        for field, text in record.texts.items():
            if loop := self._loop(field, text):
                return Drop("repetition", f"{field}: {loop.times} times: {loop.said[:_SHOWN]}")
        return None

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: this filter remembers nothing."""
        return record

    def _loop(self, field: str, text: str) -> Loop | None:
        phrase = loops.phrase_loop(text)
        if phrase and (field == "output" or phrase.times > REFRAIN):
            return phrase
        return (
            loops.gapless_run(text, self.run)
            or loops.endless_loop(text, self.times)
            or loops.repeated_line(text, self.line, times=REFRAIN + 1, share=0.5)
        )
