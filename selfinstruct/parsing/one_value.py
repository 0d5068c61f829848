"""The one JSON value of an answer that is asked for one: two that differ are a doubt, not a choice."""

from __future__ import annotations

from typing import Final

from selfinstruct.errors import ParseError
from selfinstruct.parsing.json_nodes import Node, json_values
from selfinstruct.parsing.markup import clean

_FLAWS: Final = {"truncated": "the JSON breaks off", "not_json": "the JSON is broken"}


def one_value(text: str) -> Node:
    """The object or array in a text, whatever prose and fences stand around it; it may stand there twice.

    Raises ParseError ``not_json`` where there is none or it is broken, ``wrong_shape`` where there are two that differ.
    """
    source = clean(text)
    values = json_values(source)
    filled = [value for value in values if value.members or value.flaw] or values[:1]  # "{}" in prose is no answer
    if not filled:
        raise ParseError("not_json", "no object or array found" if text.strip() else "the answer is empty")
    for value in filled:
        if value.flaw:
            raise ParseError("not_json", _FLAWS[value.flaw])
    if len({"".join(source[value.start : value.end].split()) for value in filled}) > 1:
        raise ParseError("wrong_shape", f"{len(filled)} JSON values instead of one")
    return filled[0]
