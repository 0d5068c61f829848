"""Thresholds are exact: 0.7 as a float is not seven tenths."""

from __future__ import annotations

from fractions import Fraction


def exactly(what: str, value: str | Fraction) -> Fraction:
    """An exact number. Raises ValueError, naming ``what`` it is, for a float and for text that is no number."""
    if not isinstance(value, str | Fraction):
        raise ValueError(f"{what} must be text such as '0.7' or '7/10', or a Fraction, not {value!r}")
    try:
        return Fraction(value)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{what} must be a number such as '0.7' or '7/10', not {value!r}") from None
