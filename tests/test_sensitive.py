"""Finder: a kind is found by its pattern, its hints, its entropy and its test, and by all of them together."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct.errors import UsageProblem
from selfinstruct.rules import Rule
from selfinstruct.sensitive import Finder, Found, entropy, masked


def _rule(**value: Any) -> Rule:
    return Rule(value=value, source="Ours.", reason="A test.")


def _first(text: str, **value: Any) -> Found | None:
    return Finder({"kind": _rule(**value)}, {"even": lambda found: int(found) % 2 == 0}).first(text)


def test_what_counts_is_the_group_named_value_or_the_whole_match() -> None:
    """A pattern may look at what stands around."""
    assert _first("id 42", pattern=r"id \d+") == Found("kind", "id 42")
    assert _first("id 42", pattern=r"id (?P<value>\d+)") == Found("kind", "42")


def test_a_match_without_its_value_is_passed_over_with_all_it_spans() -> None:
    """So a pattern says where not to look."""
    assert _first("no 12, 34", pattern=r"no \d+|(?P<value>\d+)") == Found("kind", "34")


def test_a_pattern_is_tried_only_where_a_hint_stands_in_any_case() -> None:
    """Hints are what makes looking cheap."""
    assert _first("ID 42", pattern=r"\d+", hints=["id"]) == Found("kind", "42")
    assert _first("42", pattern=r"\d+", hints=["id"]) is None


def test_a_match_that_fails_its_test_does_not_end_the_search() -> None:
    """The next match may pass."""
    assert _first("3 5 8", pattern=r"\d", test="even") == Found("kind", "8")


def test_examples_are_no_finding_however_they_are_spaced() -> None:
    """A published number is the same in groups and without."""
    assert _first("4111 1111", pattern=r"[\d ]+\d", examples=["4111-1111"]) is None


def test_entropy_is_that_of_the_value_alone() -> None:
    """Eight different characters have three bits each."""
    assert _first("abababab", pattern=r"\w{8}", entropy=2) is None
    assert _first("abcdefgh", pattern=r"\w{8}", entropy=3) == Found("kind", "abcdefgh")


def test_a_kind_that_is_not_usual_is_looked_for_where_it_is_asked_for() -> None:
    """Some kinds are nearly always harmless."""
    rules = {"rare": _rule(pattern="x", usual=False), "words": Rule(value=["x"], source="Ours.", reason="A list.")}
    assert Finder(rules, {}).first("x") is None
    assert Finder(rules, {}, also=["rare"]).first("x") == Found("rare", "x")
    with pytest.raises(UsageProblem, match="no kind 'words' to look for; there are: rare"):
        Finder(rules, {}, also=["words"])


@pytest.mark.parametrize("text", ["１３８", "号１３８号", "ｉｄ＝１３８"])
def test_full_width_characters_are_read_as_what_they_stand_for(text: str) -> None:
    """Chinese input methods write them."""
    assert _first(text, pattern=r"(?<!\w)\d{3}(?!\w)") == Found("kind", "138")


def test_entropy_counts_bits_a_character() -> None:
    """One character repeated says nothing."""
    assert (entropy("aaaa"), entropy("abab"), entropy("abcd"), entropy("")) == (0, 1, 2, 0)


def test_a_mask_shows_the_ends_of_what_is_long_and_the_beginning_of_what_is_short() -> None:
    """Line ends do not break a detail."""
    assert [masked(value) for value in ("short", "0123456789", "01234567890", "ab\ncd efghijklm")] == [
        "sh…",
        "01…",
        "0123…90",
        "ab c…lm",
    ]
