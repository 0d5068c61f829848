"""Executed checks of the seed tasks about science and medicine: quantities are computed again from the input."""

from __future__ import annotations

import math
import re
from collections import Counter
from fractions import Fraction

from tests.seeds.reading import numbers_in


def _substances(side: str) -> list[tuple[int, str]]:
    """Return the coefficient and the formula of each substance on one side of a chemical equation."""
    substances = []
    for text in side.split("+"):
        term = re.fullmatch(r"(?:(\d+) )?([A-Za-z0-9]+)", text.strip())
        assert term, text
        substances.append((int(term[1] or 1), term[2]))
    return substances


def _atoms(side: list[tuple[int, str]]) -> Counter[str]:
    """Count the atoms of each element on one side of a chemical equation."""
    atoms: Counter[str] = Counter()
    for coefficient, formula in side:
        for element, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
            atoms[element] += coefficient * int(count or 1)
    return atoms


def check_balance_ammonia_oxidation(input: str, output: str) -> None:
    """All atoms balance, the coefficients have no common factor, and the substances are those of the input."""
    left, right = (_substances(side) for side in output.split("→"))
    assert _atoms(left) == _atoms(right)
    assert math.gcd(*(coefficient for coefficient, _ in left + right)) == 1
    given_left, given_right = (_substances(side) for side in input.split("→"))
    assert [formula for _, formula in left] == [formula for _, formula in given_left]
    assert [formula for _, formula in right] == [formula for _, formula in given_right]


def check_kettle_heating_time(input: str, output: str) -> None:
    """Mass times heat capacity times rise in temperature, divided by the power, gives the time."""
    power, mass, start, end, capacity = map(Fraction, numbers_in(input))
    seconds = round(mass * capacity * (end - start) / power)
    assert output == f"About {seconds} s ({seconds // 60} min {seconds % 60} s)"


def check_syrup_volume_child(input: str, output: str) -> None:
    """Weight times dose per kilogram, divided by the strength of the syrup, gives the millilitres."""
    weight, dose, strength, volume = map(Fraction, numbers_in(input))
    assert output == f"{weight * dose / strength * volume} ml"


def check_mountain_boiling_plausibility(input: str, output: str) -> None:
    """At the stated altitude water boils within 1.5 degrees of the stated reading, so the anecdote is plausible."""
    altitude, reading = map(float, numbers_in(input))
    pressure = 760 * (1 - 2.25577e-5 * altitude) ** 5.25588  # mmHg, international standard atmosphere
    boiling_point = 1730.63 / (8.07131 - math.log10(pressure)) - 233.426  # °C, Antoine equation of water, 1 to 100 °C
    assert output == ("plausible" if abs(boiling_point - reading) < 1.5 else "implausible")
