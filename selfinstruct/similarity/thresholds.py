"""Thresholds are exact: 0.7 as a float is not seven tenths."""

from __future__ import annotations

from fractions import Fraction

FINEST = 10**9
"""The largest denominator: what is decided in integers of 64 bits stays within them."""


def exactly(what: str, value: str | Fraction) -> Fraction:
    """An exact number, its denominator at most `FINEST`.

    Raises ValueError, naming ``what`` it is, for a float, for text that is no number, and for one that is finer.
    """
    if not isinstance(value, str | Fraction):
        raise ValueError(f"{what} must be text such as '0.7' or '7/10', or a Fraction, not {value!r}")
    try:
        number = Fraction(value)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{what} must be a number such as '0.7' or '7/10', not {value!r}") from None
    if number.denominator > FINEST:
        raise ValueError(f"{what} may have nine digits behind the point, or a denominator of 10⁹, not {str(value)!r}")
    return number
