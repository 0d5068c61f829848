"""Records for the tests of filters, made of the texts that matter."""

from __future__ import annotations

from selfinstruct.schema import Instruction, Lang, Provenance, TaskInstance


def instruction_of(text: str, lang: Lang = "en") -> Instruction:
    """A bare instruction."""
    return Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction=text, lang=lang)


def task_of(instruction: str, input: str = "", output: str = "", lang: Lang = "en") -> TaskInstance:
    """A whole task of which nobody asked whether it is a classification."""
    return TaskInstance(
        id="instances-0-0-0",
        provenance=Provenance(),
        instruction=instruction,
        input=input,
        output=output,
        lang=lang,
        is_classification=None,
    )
