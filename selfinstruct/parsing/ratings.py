"""The ratings of several texts, out of a judge's answer; each at its own text, or a named failure.

Asked for is a section for each text ("#### Output for Text 1", "#### 文本1的输出") with its rating and the reason for
it, and, in the aspects that have types, the types and the reason for them first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selfinstruct.errors import ParseError
from selfinstruct.parsing.rating_sections import Label, Section, sections
from selfinstruct.parsing.rating_values import RatedText, Wanted, is_reason, rating_of, types_of

# Which rationale is the types' and which the rating's, by the order of the labels: T(ype), G (rating), R(ationale).
_TYPED: Final = {"TRGR": (0, 1), "TRRG": (0, 1), "RTRG": (0, 1), "RTGR": (0, 1), "GRTR": (1, 0), "RGRT": (1, 0)}
_LETTERS: Final = {"type": "T", "rating": "G", "rationale": "R", "type_rationale": "t", "rating_rationale": "g"}


def ratings(text: str, wanted: Wanted) -> list[RatedText | ParseError]:
    """What the answer says of each text, in the order of the texts' numbers; the sections may come in any order.

    A fault inside one clearly numbered section stands in the list in its place: ``missing_rating``,
    ``doubled_rating``, ``rating_out_of_range``, ``na_not_allowed``, ``missing_rationale``, ``missing_type``,
    ``type_out_of_range``, ``doubled_section`` (what is asked for once stands there twice).

    Sections without numbers are taken in their order where there are as many whole ones as texts, and nothing else.

    Raises ParseError where it is in doubt which text is which: ``no_sections``, ``missing_section``,
    ``extra_section``, ``doubled_section``.
    """
    first, *rest = sections(text, types=wanted.types)
    numbered = [section for section in rest if section.number is not None]
    if not numbered:
        return _in_order([first, *rest], wanted)
    by_number = _by_number(numbered, wanted.texts)
    if any(_rates(section, wanted) for section in (first, *rest) if section.number is None):
        raise ParseError("extra_section", "a rating that stands below no number")
    return [_read(by_number[number].labels, number, wanted) for number in range(1, wanted.texts + 1)]


def _by_number(numbered: Sequence[Section], texts: int) -> dict[int, Section]:
    """The section of each text. A header with nothing below it does not count beside another with its number."""
    filled = {section.number for section in numbered if section.filled}
    counting = [section for section in numbered if section.filled or section.number not in filled]
    numbers = [section.number for section in counting if section.number is not None]
    extra = sorted({number for number in numbers if not 1 <= number <= texts})
    if extra:
        raise ParseError("extra_section", f"text {extra[0]} of {texts}")
    doubled = sorted(number for number in set(numbers) if numbers.count(number) > 1)
    if doubled:
        raise ParseError("doubled_section", f"text {doubled[0]}")
    missing = sorted(set(range(1, texts + 1)) - set(numbers))
    if missing:
        raise ParseError("missing_section", f"text {missing[0]}")
    return dict(zip(numbers, counting, strict=True))


def _in_order(unnumbered: Sequence[Section], wanted: Wanted) -> list[RatedText | ParseError]:
    """The texts of an answer that numbers none: each section begins with the label that the first begins with."""
    labels = [label for section in unnumbered for label in section.labels]
    if not any(label.kind == "rating" for label in labels):
        raise ParseError("no_sections", "no rating is marked in it" if labels else "nothing is marked in it")
    parts: list[list[Label]] = []
    for label in labels:
        if label.kind == labels[0].kind:
            parts.append([])
        parts[-1].append(label)
    if len(parts) != wanted.texts:
        reason = "missing_section" if len(parts) < wanted.texts else "extra_section"
        raise ParseError(reason, f"{len(parts)} without numbers, {wanted.texts} texts")
    if any(part[-1].ends_like_a_header() for part in parts[:-1]):
        raise ParseError("missing_section", "headers that number no texts")
    for place, part in enumerate(parts, 1):
        if not _is_whole(part, wanted):
            raise ParseError("missing_section", f"number {place} of {len(parts)} without numbers is not whole")
    by_place = dict(zip(_places(parts), parts, strict=True))
    return [_read(by_place[place], place, wanted) for place in range(1, wanted.texts + 1)]


def _places(parts: Sequence[Sequence[Label]]) -> list[int]:
    """The text of each part: its place, or, where a list numbers the parts, its number there."""
    items = [part[0].item for part in parts]
    inner = [label.item for part in parts for label in part[1:]]
    in_order = list(range(1, len(parts) + 1))
    if not any(items) or (set(items) == {1} and any(inner)):
        return in_order
    numbers = [item for item in items if item is not None]
    if sorted(numbers) != in_order or any(inner):
        raise ParseError("missing_section", "the numbers in front of the labels number no texts")
    return numbers


def _is_whole(labels: Sequence[Label], wanted: Wanted) -> bool:
    """Whether a part has each label that is asked for, once, whatever they say."""
    letters = "".join(_LETTERS[label.kind] for label in labels).upper()
    return letters in _TYPED if wanted.types else sorted(letters) == ["G", "R"]


def _rates(section: Section, wanted: Wanted) -> bool:
    """Whether a section gives a rating and a reason for it, as an example of the form ("Rating: [1-5]") does not."""
    said = [label for label in section.labels if label.kind == "rating"]
    return len(said) < len(section.labels) and any(_rating(label, wanted) for label in said)


def _rating(label: Label, wanted: Wanted) -> bool:
    try:
        rating_of(label.value(), na=wanted.na)
    except ParseError as error:
        return error.reason == "rating_out_of_range"
    return True


def _read(labels: Sequence[Label], number: int, wanted: Wanted) -> RatedText | ParseError:
    """One text's section, or what is wrong with it."""
    try:
        rating = _the_rating(labels, wanted)
        types = _the_types(labels) if wanted.types else ()
        types_rationale, rationale = _rationales(labels, wanted)
    except ParseError as error:
        return ParseError(error.reason, f"text {number}: {error.detail}" if error.detail else f"text {number}")
    return RatedText(rating, rationale, types, types_rationale)


def _the_rating(labels: Sequence[Label], wanted: Wanted) -> int | None:
    """The rating, which may be repeated."""
    said = [rating_of(label.value(), na=wanted.na) for label in labels if label.kind == "rating"]
    if not said:
        raise ParseError("missing_rating")
    if len(set(said)) > 1:
        raise ParseError("doubled_rating", " and ".join("N/A" if rating is None else str(rating) for rating in said))
    return said[0]


def _the_types(labels: Sequence[Label]) -> tuple[int, ...]:
    """The types, which may be repeated."""
    said = {types_of(label.value()) for label in labels if label.kind == "type"}
    if not said:
        raise ParseError("missing_type")
    if len(said) > 1:
        raise ParseError("doubled_section", "two lists of types")
    return said.pop()


def _rationales(labels: Sequence[Label], wanted: Wanted) -> tuple[str, str]:
    """The reasons for the types (empty where none are asked for) and for the rating."""
    letters = ""
    reasons: list[Label] = []
    for label in labels:
        letter = _LETTERS[label.kind]
        letters += "" if letter in "TG" and letter in letters else letter  # repeated, with the same value
        reasons += [label] if "rationale" in label.kind else []
    needed = 1 + wanted.types
    said = [label for label in reasons if is_reason(label.text())]
    if len(reasons) > needed:
        raise ParseError("doubled_section", f"{len(reasons)} rationales")
    if len(said) < needed:
        raise ParseError("missing_rationale", f"{len(said)} of {needed}" if wanted.types else "")
    if not wanted.types:
        return "", said[0].text()
    order = _TYPED.get(letters) or _named(letters)
    if not order:
        raise ParseError("missing_rationale", "which of the two is the rating's is not clear")
    return said[order[0]].text(), said[order[1]].text()


def _named(letters: str) -> tuple[int, int] | None:
    """Which rationale is the types' and which the rating's, where at least one of the two says so itself."""
    reasons = [letter for letter in letters if letter in "tgR"]
    if reasons in (["t", "g"], ["t", "R"], ["R", "g"]):
        return (0, 1)
    return (1, 0) if reasons in (["g", "t"], ["g", "R"], ["R", "t"]) else None
