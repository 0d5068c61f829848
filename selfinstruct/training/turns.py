"""Turns and fields of a row of anybody's data, each checked where it stands: what the shapes of rows are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from selfinstruct.errors import BadData
from selfinstruct.rows import Row, text_of
from selfinstruct.schema import Message

QUESTIONS: Final = ("instruction", "prompt", "input")
_ROLES: Final[dict[str, Literal["system", "user", "assistant"]]] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}


class Turn(NamedTuple):
    """Who says what, and how much it counts, where the row tells."""

    role: Literal["system", "user", "assistant"]
    content: str
    weight: float | None = None

    @property
    def message(self) -> Message:
        """Without the weight."""
        return Message(role=self.role, content=self.content)


# --- turns ------------------------------------------------------------------------------------------------------------


def asked_of(row: Row) -> list[Turn]:
    """What a row asks, with the turns said before it (``history``, of our records).

    An ``input`` stands behind the instruction and a blank line, as `kept_records.request_of` puts it.
    """
    value = object_of(row)
    key = first_of(value, QUESTIONS)
    if key is None:
        raise BadData(f"{row.place}: has nothing that was asked ({', '.join(QUESTIONS)})")
    if isinstance(value[key], list):
        return with_system(row, turns_of(row, key))
    text = text_of(row, [key])
    more = text_or_empty(row, "input") if key == "instruction" else ""
    question = Turn("user", f"{text}\n\n{more}" if more.strip() else text)
    before = turns_of(row, "history") if value.get("history") else []
    return with_system(row, [*before, question])


def with_system(row: Row, turns: list[Turn]) -> list[Turn]:
    """With the text of the field ``system`` before them, where there is one and they have none of their own."""
    system = text_or_empty(row, "system")
    if system.strip() and turns[0].role != "system":
        return [Turn("system", system), *turns]
    return turns


def turns_of(row: Row, key: str) -> list[Turn]:
    """The turns that a field holds, one at least. Raises `BadData` where it is no list of turns."""
    given = object_of(row)[key]
    if not isinstance(given, list):
        raise BadData(f"{row.place}: the field '{key}' is no list of turns")
    if not given:
        raise BadData(f"{row.place}: the field '{key}' has no turns")
    return [_turn(row, f"{key}.{number}", one, number) for number, one in enumerate(given)]


def _turn(row: Row, path: str, given: Any, number: int) -> Turn:
    """A role and a content, or ShareGPT's ``from`` and ``value``, or UltraChat's text, whose role is its place's."""
    if isinstance(given, str) and path.startswith("data."):
        return Turn("assistant" if number % 2 else "user", given)
    if not isinstance(given, dict):
        raise BadData(f"{row.place}: the field '{path}' is no turn: expected a role and a content")
    who, what = ("from", "value") if "from" in given else ("role", "content")
    for key in (who, what):
        if key not in given:
            raise BadData(f"{row.place}: the turn '{path}' has no '{key}'; it has: {', '.join(given) or 'nothing'}")
    role = _ROLES.get(text_of(row, [f"{path}.{who}"]))
    if role is None:
        raise BadData(f"{row.place}: the turn '{path}' is of '{given[who]}'; taken are {', '.join(_ROLES)}")
    weight = number_or_none(row._replace(value=given), "weight")
    if weight is not None and weight < 0:
        raise BadData(f"{row.place}: the field '{path}.weight' is {weight:g}, and must not be negative")
    return Turn(role, text_of(row, [f"{path}.{what}"]), weight)


def in_order(row: Row, turns: list[Turn]) -> list[Turn]:
    """The same turns. Raises `BadData` unless user and assistant alternate, after at most one system message."""
    start = turns[0].role == "system"
    for number, turn in enumerate(turns[start:]):
        expected = "assistant" if number % 2 else "user"
        if turn.role != expected:
            raise BadData(
                f"{row.place}: turn {number + 1 + start} is the {turn.role}'s, and should be the {expected}'s: user and"
                " assistant alternate, the user first, after at most one system message"
            )
    return turns


# --- fields -----------------------------------------------------------------------------------------------------------


def object_of(row: Row) -> dict[str, Any]:
    """The row's object. Raises `BadData` where it is none, with the reason."""
    if row.value is None:
        raise BadData(f"{row.place}: {row.problem}")
    return row.value


def first_of(value: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first of these keys that there is."""
    return next((key for key in keys if key in value), None)


def text_or_empty(row: Row, key: str) -> str:
    """A text; an empty one where the row has none, or null. Raises `BadData` for anything else."""
    return "" if object_of(row).get(key) is None else text_of(row, [key])


def number_or_none(row: Row, key: str) -> float | None:
    """A number; None where the row has none, or null. Raises `BadData` for anything else."""
    found = object_of(row).get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise BadData(f"{row.place}: the field '{key}' is no number")
    return float(found)
