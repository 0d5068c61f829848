"""The rule of thumb for tokens: what it says of both languages, and that sizes add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.token_estimate import NOTHING, TextSize, estimate, size_of

TEXTS = st.text(max_size=40)  # halves of surrogate pairs among them


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("four", 1),
        ("fours", 2),
        ("word" * 100, 100),
        ("café au lait", 4),  # 13 bytes, mostly ASCII
        ("字", 1),
        ("字" * 100, 100),
        ("用 Python 写一个函数", 6 + 2),  # 8 bytes of ASCII beside 6 characters
        ("\ud800", 1),
    ],
)
def test_english_is_four_bytes_a_token_and_chinese_a_character(text: str, tokens: int) -> None:
    """And the ASCII within a Chinese text is four bytes a token too."""
    assert estimate(text) == tokens


def test_a_text_is_mostly_ascii_up_to_five_bytes_for_four_characters() -> None:
    """é has two bytes: one in four is mostly ASCII, one in three is not."""
    assert estimate("abcé" * 4) == 5
    assert estimate("abé" * 4) == 4 + 2


@given(TEXTS, TEXTS)
def test_sizes_add_up(left: str, right: str) -> None:
    """The size of two texts is the sum of theirs; an empty one adds nothing."""
    if not (left and right and "\ud800" <= left[-1] <= "\udbff" and "\udc00" <= right[0] <= "\udfff"):
        assert size_of(left).plus(size_of(right)) == size_of(left + right)
    assert size_of(left).plus(NOTHING) == size_of(left)


@given(TEXTS)
def test_no_text_has_more_tokens_than_bytes(text: str) -> None:
    """A bound in bytes covers the estimate; and only an empty text has none."""
    assert size_of(text).tokens == estimate(text) <= size_of(text).bytes
    assert (estimate(text) == 0) == (text == "")


def test_a_size_tells_bytes_characters_and_ascii() -> None:
    """In this order."""
    assert size_of("a字é") == TextSize(bytes=6, characters=3, ascii=1)
