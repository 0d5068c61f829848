"""The ratings of an answer that numbers no text: taken by their order, where nothing in it speaks against that.

The answer must be nothing but labels, each with one line, as many whole parts as texts, with blank lines and rules
between. Any other line may be a header in a form that nobody foresaw, and then a part could go to the wrong text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from selfinstruct.errors import ParseError
from selfinstruct.parsing.chatter import is_closing
from selfinstruct.parsing.markup import clean, is_rule, unwrap
from selfinstruct.parsing.rating_lines import Found, Line, line_read
from selfinstruct.parsing.rating_places import names_another
from selfinstruct.parsing.rating_sections import Label
from selfinstruct.parsing.rating_values import Wanted, behind_rating, plain

_ITEM: Final = re.compile(r"^[\s>#•·◦▪+\\*_-]*\(?\d{1,2}[.)、]")
_SCALE: Final = re.compile(r"\(\s*(?:1\s*(?:[-–—~到至]|to)\s*5|(?:out of|/)\s*5|满分\s*5\s*分?)\s*分?\s*\)")
_TYPE: Final = re.compile(r"\([^()]*\)|[1-3一二三]")


class _Said(NamedTuple):
    """A label, and what its line (or the next one, behind an empty label) says beside the values asked for."""

    label: Label
    said: str


def in_order(text: str, wanted: Wanted) -> dict[int, list[Label]]:
    """The labels of each text, by its number.

    Each part begins with the label that the first begins with. Where a list numbers the parts ("2. Rating: 4"), its
    numbers are the texts'; elsewhere the places are.

    Raises ParseError: ``no_sections``, ``missing_section`` and ``extra_section``.
    """
    read = [line_read(line, wanted.types) for line in unwrap(clean(text)).strip().split("\n")]
    found = [one for line in read for one in line.found]
    if not any(one.kind == "rating" for one in found):
        raise ParseError("no_sections", "no rating is marked in it" if found else "nothing is marked in it")
    count = sum(one.kind == found[0].kind for one in found)
    if count != wanted.texts:
        reason = "missing_section" if count < wanted.texts else "extra_section"
        raise ParseError(reason, f"{count} without numbers, {wanted.texts} texts")
    parts = _parts(read)
    places = _places(parts)
    for place, part in zip(places, parts, strict=True):
        if not _is_whole(part, wanted):
            raise ParseError("missing_section", f"number {place} of {len(parts)} without numbers is not whole")
        if any(names_another(one.said, place) for one in part):
            raise ParseError("missing_section", f"without a number of its own, number {place} may be of another text")
    return {place: [one.label for one in part] for place, part in zip(places, parts, strict=True)}


def _parts(read: Sequence[Line]) -> list[list[_Said]]:
    """The parts of an answer in which nothing stands beside the labels and their lines."""
    parts: list[list[_Said]] = []
    last: Label | None = None
    first = next(line.found[0].kind for line in read if line.found)
    end = max(number for number, line in enumerate(read) if line.found)
    for number, line in enumerate(read):
        if line.found and not line.raw.lstrip().startswith(">"):
            for found in line.found:
                last = Label(found.kind, found.word, [found.said], found.item)
                parts += [[]] if found.kind == first else []
                parts[-1].append(_Said(last, _without_values(found)))
        elif last and line.raw.strip() and not last.value():
            last.lines.append(line.raw)
            parts[-1][-1] = _Said(last, parts[-1][-1].said + "\n" + _rest(line.raw, last.kind))
        elif line.raw.strip() and not is_rule(line.raw) and not (number > end and _is_farewell(line.raw)):
            raise ParseError("missing_section", f"no text is numbered, and a line may be a header: {line.raw[:40]}")
    return parts


def _is_farewell(raw: str) -> bool:
    return is_closing(raw) and not names_another(raw, 0)


def _without_values(found: Found) -> str:
    """What a label's line says beside the number of its list item, its scale, and its rating or types."""
    return _SCALE.sub(" ", _ITEM.sub(" ", plain(found.before))) + " " + _rest(found.said, found.kind)


def _rest(said: str, kind: str) -> str:
    if kind == "rating":
        return behind_rating(said)
    if kind == "type":
        return _TYPE.sub(lambda found: " " if len(found[0]) == 1 else found[0], plain(said))
    return said


def _places(parts: Sequence[Sequence[_Said]]) -> list[int]:
    """The text of each part: its place, or, where a list numbers the parts, its number there."""
    items = [part[0].label.item for part in parts]
    inner = [one.label.item for part in parts for one in part[1:]]
    by_place = list(range(1, len(parts) + 1))
    if not any(items) or (set(items) == {1} and any(inner)):
        return by_place
    numbers = [item for item in items if item is not None]
    if sorted(numbers) != by_place or any(inner):
        raise ParseError("missing_section", "the numbers in front of the labels number no texts")
    return numbers


def _is_whole(part: Sequence[_Said], wanted: Wanted) -> bool:
    """Whether a part has each label that is asked for, once, whatever they say."""
    kinds = sorted(one.label.kind.rpartition("_")[2] for one in part)
    return kinds == (["rating", "rationale", "rationale", "type"] if wanted.types else ["rating", "rationale"])
