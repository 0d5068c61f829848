"""Languages, beyond what the filter's tests and the guard's say: a request too short to be prose."""

from __future__ import annotations

import pytest

from selfinstruct.languages import Languages

LANGUAGES = Languages()


@pytest.mark.parametrize(
    ("text", "is_request"),
    [
        ("List three uses of tin", True),
        ("what about the second one?", True),
        ("Please continue", False),  # too short to be told from a title
        ("How to Win Friends", False),  # a title
        ("find files(name)", False),  # code
        ("Explain 机器学习 in two lines", False),
        ("Tin is a metal", False),
        ("`list all the files`", False),
        ("", False),
    ],
    ids=lambda value: ascii(value),
)
def test_a_short_order_or_question_in_english_is_told(text: str, is_request: bool) -> None:
    """By its first word, where it has four of them, most in small letters, and no Chinese and no code."""
    assert LANGUAGES.is_english_request(text) is is_request
