"""The ratings of several texts, out of a judge's answer; each at its own text, or a named failure.

Asked for is a section for each text ("#### Output for Text 1", "#### 文本1的输出") with its rating and the reason for
it, and, in the aspects that have types, the types and the reason for them first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selfinstruct.errors import ParseError
from selfinstruct.parsing.rating_order import in_order
from selfinstruct.parsing.rating_sections import Label, Section, sections, unquoted
from selfinstruct.parsing.rating_values import RatedText, Wanted, is_reason, rating_of, types_of

# Which rationale is the types' and which the rating's, by the order of the labels: T(ype), G (rating), R(ationale).
_TYPED: Final = {"TRGR": (0, 1), "TRRG": (0, 1), "RTRG": (0, 1), "RTGR": (0, 1), "GRTR": (1, 0), "RGRT": (1, 0)}
_LETTERS: Final = {"type": "T", "rating": "G", "rationale": "R", "type_rationale": "t", "rating_rationale": "g"}


def ratings(text: str, wanted: Wanted) -> list[RatedText | ParseError]:
    """What the answer says of each text, in the order of the texts' numbers; the sections may come in any order.

    A fault inside one clearly numbered section stands in the list in its place: ``missing_rating``,
    ``doubled_rating``, ``rating_out_of_range``, ``na_not_allowed``, ``missing_rationale``, ``missing_type``,
    ``type_out_of_range``, ``doubled_section`` (what is asked for once stands there twice).

    Where nothing is numbered, the parts are taken in their order, but only if there are as many whole ones as texts,
    nothing stands beside them, and no line may speak of a text at another place (see `in_order`).

    Raises ParseError where it is in doubt which text is which: ``no_sections``, ``missing_section``,
    ``extra_section``, ``doubled_section``.
    """
    text = unquoted(text)
    first, *rest = sections(text, types=wanted.types)
    numbered = [section for section in rest if section.number is not None]
    if not numbered:
        parts = in_order(text, wanted)
        return [_read(Section(n, parts[n]), n, wanted) for n in range(1, wanted.texts + 1)]
    by_number = _by_number(numbered, wanted.texts)
    _check_labels([first, *rest])
    if any(_rates(section, wanted) for section in (first, *rest) if section.number is None):
        raise ParseError("extra_section", "a rating that stands below no number")
    return [_read(by_number[number], number, wanted) for number in range(1, wanted.texts + 1)]


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


def _check_labels(found: Sequence[Section]) -> None:
    """Raises `ParseError` where only some labels give a number, and a label without one may be of the text before.

    It is that of the number above it where all such sections have the same labels, and no label stands before them.
    """
    named = [section for section in found if section.by_label]
    if all(label.of is not None for section in named for label in section.labels):
        return
    unnumbered = any(section.labels for section in found if section.number is None)
    if unnumbered or len({tuple(label.kind for label in section.labels) for section in named}) > 1:
        raise ParseError("missing_section", "not each label says which text it is of")


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


def _read(section: Section, number: int, wanted: Wanted) -> RatedText | ParseError:
    """One text's section, or what is wrong with it."""
    try:
        rating = _the_rating(section, wanted)
        types = _the_types(section.labels) if wanted.types else ()
        types_rationale, rationale = _rationales(section.labels, wanted)
    except ParseError as error:
        return ParseError(error.reason, f"text {number}: {error.detail}" if error.detail else f"text {number}")
    return RatedText(rating, rationale, types, types_rationale)


def _the_rating(section: Section, wanted: Wanted) -> int | None:
    """The rating, which may be repeated, in another word as well ("Score: 4")."""
    said = [rating_of(label.value(), na=wanted.na) for label in section.labels if label.kind == "rating"]
    if not said:
        raise ParseError("missing_rating")
    for aside in section.asides:
        try:
            said.append(rating_of(aside, na=wanted.na))
        except ParseError:
            continue  # of something else ("Score: 85/100"), or no rating at all
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
