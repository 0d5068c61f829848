"""The ratings of several texts, out of a judge's answer in JSON: ``{"texts": [{"text": 1, "rating": 4, …}, …]}``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from selfinstruct.errors import ParseError
from selfinstruct.parsing.json_nodes import Node
from selfinstruct.parsing.one_value import one_value
from selfinstruct.parsing.rating_places import names_another
from selfinstruct.parsing.rating_values import RatedText, Wanted, behind_rating, is_reason, plain, rating_of, types_of

_NUMBER: Final = re.compile(r"\s*(?:(?:text|output|response|answer|文本|输出|回答)\s*[_#-]?\s*)?(\d{1,4})(?:\.0)?\s*")
_WHOLE: Final = re.compile(r"[^\S\n]*(-?\d+(?:\.\d+)?)[^\S\n]*")
_NUMBER_KEYS: Final = ("text", "id", "text_id", "number", "index")
_TYPE_KEYS: Final = ("type", "types")
_TYPE_RATIONALE_KEYS: Final = ("type_rationale", "types_rationale")
_ASKED: Final = {"rating", "rationale", *_TYPE_KEYS, *_TYPE_RATIONALE_KEYS}


class _Entry(NamedTuple):
    number: int | None
    node: Node


def ratings_json(text: str, wanted: Wanted) -> list[RatedText | ParseError]:
    """As `ratings`, of one JSON value, whatever prose and fences stand around it.

    The texts may stand in an object's list, in a list alone, or below their numbers as keys; a rating may be a string
    ("4", "N/A"). A text's number may stand at "id", "text_id", "number" or "index", too. Entries without numbers are
    taken in their order where there are as many as texts, none has a key but those asked for, and nothing in one may
    name another text.

    Raises ParseError ``not_json`` where there is no JSON value or it breaks off, ``wrong_shape`` where it is another
    thing or there are two, ``no_sections``, ``missing_section``, ``extra_section`` and ``doubled_section``. A fault in
    one text's entry stands in the list, as in `ratings`; ``wrong_shape`` there is a value of another kind.
    """
    entries = _entries(one_value(text))
    if not entries:
        raise ParseError("no_sections", "the JSON holds no text")
    if all(entry.number is None for entry in entries) and len(entries) == wanted.texts:
        entries = [_by_place(place, entry.node) for place, entry in enumerate(entries, 1)]
    by_number = _by_number(entries, wanted.texts)
    return [_read(by_number[number], number, wanted) for number in range(1, wanted.texts + 1)]


def _entries(root: Node) -> list[_Entry]:
    """The texts' objects with their numbers, as they are given."""
    if root.kind == "object" and not _fields(root, *_NUMBER_KEYS, "rating"):
        root = _holder(root)
    if root.kind == "object" and _fields(root, *_NUMBER_KEYS, "rating"):
        return [_Entry(_own_number(root), root)]
    named = root.kind == "object"
    entries = [_Entry(_number(key) if named else _own_number(node), node) for key, node in root.members]
    if any(entry.node.kind != "object" or (named and _disagrees(entry)) for entry in entries):
        raise ParseError("wrong_shape", "not one object for each text")
    return entries


def _by_place(place: int, node: Node) -> _Entry:
    """An entry at its place, where nothing in it says that it may be of another text."""
    if not {key.strip().casefold() for key, _ in node.members} <= _ASKED:
        raise ParseError("wrong_shape", "an entry without a number has another key")
    said = [behind_rating(child.says) for child in _fields(node, "rating")]
    said += [child.says for child in _fields(node, "rationale", *_TYPE_RATIONALE_KEYS)]
    if any(names_another(line, place) for text in said for line in text.split("\n")):
        raise ParseError("wrong_shape", f"entry {place} has no number, and may be of another text")
    return _Entry(place, node)


def _holder(root: Node) -> Node:
    """The list or object below "texts", or the only one; the object itself where its keys are the texts' numbers."""
    holders = _fields(root, "texts") or [node for _, node in root.members if node.kind in ("object", "array")]
    if all(_number(key) is not None for key, _ in root.members):
        return root
    if len(holders) != 1 or holders[0].kind not in ("object", "array"):
        raise ParseError("wrong_shape", "no list of texts")
    return holders[0]


def _fields(node: Node, *names: str) -> list[Node]:
    """Every member of one of these names."""
    return [child for key, child in node.members if key.strip().casefold() in names]


def _number(said: str) -> int | None:
    found = _NUMBER.fullmatch(plain(said))
    return int(found[1]) if found else None


def _own_number(node: Node) -> int | None:
    """The number that an entry gives itself; None where it gives none."""
    said = [_number(field.says) for field in _fields(node, *_NUMBER_KEYS)]
    if None in said or len(set(said)) > 1:
        raise ParseError("wrong_shape", "a text's number is none")
    return said[0] if said else None


def _disagrees(entry: _Entry) -> bool:
    """Whether an entry below a key that is no number, or another number than its own."""
    return entry.number is None or _own_number(entry.node) not in (None, entry.number)


def _by_number(entries: Sequence[_Entry], texts: int) -> dict[int, Node]:
    numbers = [entry.number for entry in entries]
    given = [number for number in numbers if number is not None]
    for number in sorted(given):
        if not 1 <= number <= texts:
            raise ParseError("extra_section", f"text {number} of {texts}")
        if given.count(number) > 1:
            raise ParseError("doubled_section", f"text {number}")
    if len(entries) > texts:
        raise ParseError("extra_section", f"{len(entries)} entries, {texts} texts")
    missing = sorted(set(range(1, texts + 1)) - set(given))
    if missing:
        raise ParseError("missing_section", f"text {missing[0]}")
    return {entry.number: entry.node for entry in entries if entry.number is not None}


def _read(entry: Node, number: int, wanted: Wanted) -> RatedText | ParseError:
    """One text's entry, or what is wrong with it."""
    try:
        rating = _the_rating(entry, wanted)
        types = _types(entry) if wanted.types else ()
        rationale = _reason(entry, "rationale")
        types_rationale = _reason(entry, *_TYPE_RATIONALE_KEYS) if wanted.types else ""
    except ParseError as error:
        return ParseError(error.reason, f"text {number}: {error.detail}" if error.detail else f"text {number}")
    return RatedText(rating, rationale, types, types_rationale)


def _the_rating(entry: Node, wanted: Wanted) -> int | None:
    said = {_rating(node, wanted) for node in _fields(entry, "rating")}
    if not said:
        raise ParseError("missing_rating")
    if len(said) > 1:
        raise ParseError("doubled_rating")
    return said.pop()


def _rating(node: Node, wanted: Wanted) -> int | None:
    if node.kind == "literal" and node.says == "null":
        raise ParseError("missing_rating", "null")
    if node.kind not in ("literal", "string") or (node.kind == "literal" and not _WHOLE.fullmatch(node.says)):
        raise ParseError("wrong_shape", "the rating is no number")
    return rating_of(node.says, na=wanted.na)


def _types(entry: Node) -> tuple[int, ...]:
    said = {_type_list(node) for node in _fields(entry, *_TYPE_KEYS)}
    if not said:
        raise ParseError("missing_type")
    if len(said) > 1:
        raise ParseError("doubled_section", "two lists of types")
    return said.pop()


def _type_list(node: Node) -> tuple[int, ...]:
    """Types as a list of numbers or strings, or as one of these; null and an empty list are no types."""
    values = [child for _, child in node.members] if node.kind == "array" else [node]
    if any(value.kind not in ("literal", "string") or value.says in ("true", "false") for value in values):
        raise ParseError("wrong_shape", "the types are no list of numbers")
    listed = [types_of(value.says) for value in values]
    if len(listed) > 1 and not all(listed):
        raise ParseError("type_out_of_range", "none and a number")
    return tuple(sorted({one for types in listed for one in types}))


def _reason(entry: Node, *names: str) -> str:
    said = _fields(entry, *names)
    if any(node.kind != "string" and node.says != "null" for node in said):
        raise ParseError("wrong_shape", f"the {names[0]} is no text")
    texts = {node.says.strip() for node in said if node.kind == "string"}
    if len(texts) > 1:
        raise ParseError("doubled_section", f"two of {names[0]}")
    if not any(map(is_reason, texts)):
        raise ParseError("missing_rationale", names[0])
    return texts.pop()
