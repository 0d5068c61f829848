"""Thresholds: exact, and no finer than 64 bits can decide."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from selfinstruct.similarity.thresholds import exactly


@pytest.mark.parametrize(
    ("value", "number"),
    [("0.7", Fraction(7, 10)), ("7/10", Fraction(7, 10)), (Fraction(1, 3), Fraction(1, 3)), ("1", Fraction(1))],
)
def test_text_and_fractions_are_taken_as_they_are(value: str | Fraction, number: Fraction) -> None:
    """Seven tenths is seven tenths."""
    assert exactly("threshold", value) == number


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.7, "threshold must be text such as '0.7' or '7/10', or a Fraction, not 0.7"),
        ("high", "threshold must be a number such as '0.7' or '7/10', not 'high'"),
        ("1/0", "threshold must be a number such as '0.7' or '7/10', not '1/0'"),
        (
            "0.7000000001",
            "threshold may have nine digits behind the point, or a denominator of 10⁹, not '0.7000000001'",
        ),
        (Fraction(0.7), "threshold may have nine digits"),
    ],
)
def test_what_is_no_exact_number_is_refused(value: Any, told: str) -> None:
    """A float is not what it looks like; finer than a denominator of 10⁹ cannot be decided in 64 bits."""
    with pytest.raises(ValueError) as raised:
        exactly("threshold", value)
    assert str(raised.value).startswith(told)
