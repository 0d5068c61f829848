"""Model text → values, or `ParseError`; never a default.

    task_list.py   a list of tasks            bootstrap asks for it
    verdict.py     yes or no                  classify asks for it
    instances.py   worked examples of a task  instances asks for them
    refusal.py     does it only decline?      whoever wants an answer at all may ask

The readers do not know each other. They stand on ``markup`` (lines and fences) and ``chatter`` (what models say around
an answer); ``markers``, ``outline`` and ``item_text`` are the list's own parts, ``fields`` the examples'. All of it is
pure, and takes time linear in the length of the text, whatever the text.
"""

from selfinstruct.parsing.instances import (
    Opened,
    Parsed,
    classification_instances,
    generation_instances,
    valid_instances,
)
from selfinstruct.parsing.refusal import is_refusal
from selfinstruct.parsing.task_list import ListItem, task_list
from selfinstruct.parsing.verdict import yes_no

__all__ = [
    "ListItem",
    "Opened",
    "Parsed",
    "classification_instances",
    "generation_instances",
    "is_refusal",
    "task_list",
    "valid_instances",
    "yes_no",
]
