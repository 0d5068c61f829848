"""Refuses an output that declines, and any text in which a language model speaks of itself.

Whether a whole answer declines is told by `selfinstruct.parsing.is_refusal`, and where a text speaks of itself by
`selfinstruct.self_reference`.
"""

from __future__ import annotations

from typing import Final, TypeVar

from selfinstruct import parsing
from selfinstruct.protocols import Drop
from selfinstruct.schema import Instruction, TaskInstance
from selfinstruct.self_reference import SelfReference, shown

Instructed = TypeVar("Instructed", bound=Instruction | TaskInstance)

_SHOWN: Final = 80


class Declines:
    """Refuses what an assistant says instead of, or beside, doing the task.

    * ``refusal``: the whole output only declines: "I'm sorry, but I can't help with that." An output that delivers
      after all, and a letter that declines an invitation, are kept.
    * ``as_an_ai``: a text speaks of itself as a language model: "As an AI language model, I …", "I don't have personal
      experiences", 作为一个人工智能语言模型，我…, 我的知识截止到…. It is looked for in every text, because such answers
      slip into instructions and inputs too.

    A text about such models ("AI language models are trained on …") and what stands in quotation marks or code is kept.
    So is an output in a machine's voice where the instruction names one ("Write an essay as an AI from 2050"), unless
    it says what only a model says of itself.
    """

    def __init__(self) -> None:
        self._self_reference = SelfReference()

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """The first text that declines or speaks of itself, with its field and its words."""
        output = record.texts.get("output", "")
        if parsing.is_refusal(output):
            return Drop("refusal", f"output: {' '.join(output.split())[:_SHOWN]}")
        for field, text in record.texts.items():
            if said := self._self_reference.first(text, record.instruction if field == "output" else None):
                return Drop("as_an_ai", f"{field}: {shown(said)}")
        return None

    def admit(self, record: Instructed) -> Instructed:
        """The record as it came: this filter remembers nothing."""
        return record
