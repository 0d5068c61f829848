"""Executed checks of the seed tasks about mathematics: every result is computed again by another way."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from tests.seeds.reading import numbers_in


def check_tailor_cloth_metres(input: str, output: str) -> None:
    """The cloth to buy, rounded up to whole metres, follows from the numbers in the problem."""
    boubous, boubou, tunics, tunic, owned = map(Fraction, numbers_in(input))
    assert output == f"{math.ceil(boubous * boubou + tunics * tunic - owned)} metres"


def check_three_bead_colours(input: str, output: str) -> None:
    """Counting all draws of three beads gives the probability, in lowest terms."""
    draws = list(itertools.combinations("g" * 5 + "a" * 4 + "w" * 3, 3))
    assert output == str(Fraction(sum(len(set(draw)) == 3 for draw in draws), len(draws)))


def _equations(text: str) -> list[tuple[int, int, int]]:
    """Return a, b and c of each equation ax ± by = c in a text."""
    found = re.findall(r"(\d+)x ([-+]) (\d+)y = (\d+)", text)
    return [(int(a), int(sign + b), int(c)) for a, sign, b, c in found]


def check_simultaneous_by_elimination(input: str, output: str) -> None:
    """Every step of the elimination follows from the one before, and the solution solves all equations shown."""
    given, working = (text.replace("−", "-") for text in (input, output))
    solution = re.search(r"Solution: x = (-?\d+), y = (-?\d+)$", working)
    assert solution
    x, y = map(int, solution.groups())
    first, second, third, fourth = _equations(working)
    assert [first, second] == _equations(given)
    assert all(a * x + b * y == c for a, b, c in (first, second, third, fourth))
    (a1, b1, c1), (a2, b2, c2) = first, second
    assert third == (a1 * b2, b1 * b2, c1 * b2)
    assert fourth == (a2 * -b1, b2 * -b1, c2 * -b1)
    assert re.findall(r"(?m)^\((\d)\)", working) == ["1", "2", "3", "4"]
    steps = (
        f"multiplying (1) by {b2} and (2) by {-b1}:",
        f"{third[0] + fourth[0]}x = {third[2] + fourth[2]}, so x = {x}\n",
        f"Put x = {x} into (2):\n{a2 * x} + {b2}y = {c2}\n{b2}y = {c2 - a2 * x}, so y = {y}\n",
        f"{a1} · {x} - {-b1} · ({y}) = {a1 * x} + {b1 * y} = {c1},",
    )
    assert [step for step in steps if step not in working] == []


def check_yearly_compound_savings(input: str, output: str) -> None:
    """The balance is the same, whether cents are rounded every year or only at the end."""
    rate, cent = Decimal("1.035"), Decimal("0.01")
    at_the_end = (2400 * rate**6).quantize(cent, ROUND_HALF_UP)
    every_year = Decimal(2400)
    for _ in range(6):
        every_year = (every_year * rate).quantize(cent, ROUND_HALF_UP)
    assert output == f"€{at_the_end:,}" == f"€{every_year:,}"


def check_pigeonhole_differ_by_seven(input: str, output: str) -> None:
    """The claim holds for all 3,003 choices, and the pairs of the proof cover 1 to 14 once each, seven apart."""
    for choice in itertools.combinations(range(1, 15), 8):
        assert any(high - low == 7 for low, high in itertools.combinations(choice, 2))
    pairs = [(int(low), int(high)) for low, high in re.findall(r"\{(\d+), (\d+)\}", output)]
    assert sorted(number for pair in pairs for number in pair) == list(range(1, 15))
    assert [high - low for low, high in pairs] == [7] * 7
    assert "from 1 to 14 into seven pairs" in output
    assert "differ by exactly 7." in output


def check_path_around_pond(input: str, output: str) -> None:
    """The area of the path is the outer rectangle less the pond."""
    assert output == f"{(9 + 2 * Fraction('1.5')) * (5 + 2 * Fraction('1.5')) - 9 * 5} m²"


def check_eighths_in_three_quarters(input: str, output: str) -> None:
    """Chunks, slices, their product and the quotient are those of a loaf in quarters, then in eighths."""
    slices = Fraction(1, 4) / Fraction(1, 8)
    steps = (
        "into 4 equal chunks",
        "make 8 of these",
        f"Each of your 3 chunks has turned into {slices} slices, and 3 × {slices} = {3 * slices}.",
        f"so 3/4 ÷ 1/8 = {Fraction(3, 4) / Fraction(1, 8)}.",
    )
    assert [step for step in steps if step not in output] == []


def check_sign_slip_in_working(input: str, output: str) -> None:
    """The stated root solves the equation and every corrected line; the student's root does not."""
    given, answer = (text.replace("−", "-") for text in (input, output))
    root = re.search(r"so x = (\d+)\.$", answer)
    wrong_root = re.search(r"x = (\d+)$", given)
    assert root and wrong_root
    x, wrong = int(root[1]), int(wrong_root[1])
    assert 3 * (x - 4) - 2 * (5 - x) == 8 != 3 * (wrong - 4) - 2 * (5 - wrong)
    assert 3 * x - 12 - 10 + 2 * x == 8 == 5 * x - 22
    assert 5 * x == 30
    assert "Line 1: 3x - 12 - 10 - 2x = 8" in given
    assert 3 * x - 12 - 10 - 2 * x != 8
    assert answer.startswith("Line 1 is wrong: -2 times -x is +2x, but the student wrote -2x.")
    assert "is 3x - 12 - 10 + 2x = 8, which gives 5x - 22 = 8, then 5x = 30, so" in answer


def check_three_remainders(input: str, output: str) -> None:
    """A search from 1 upwards finds the number first."""
    assert output == str(next(n for n in itertools.count(1) if (n % 5, n % 7, n % 9) == (2, 3, 4)))


def check_rainfall_median_range(input: str, output: str) -> None:
    """Median and range follow from the eight readings."""
    readings = [Decimal(number) for number in numbers_in(input)]
    assert len(readings) == 8
    assert output == f"Median {statistics.median(readings)} mm, range {max(readings) - min(readings)} mm"


def _value(formula: str, x: float) -> float:
    """Evaluate a formula in x, written as the task about derivatives writes it."""
    python = formula.replace("e^(-3x)", "exp(-3*x)").replace("3x", "3*x").replace("^", "**")
    return float(eval(python, {"exp": math.exp, "x": x}))


def check_differentiate_and_factor(input: str, output: str) -> None:
    """The derivative agrees with a numerical one at seven places, and it is a product."""
    for x in (-0.7, -0.2, 0.0, 0.3, 2 / 3, 1.1, 2.0):
        slope = (_value(input, x + 1e-6) - _value(input, x - 1e-6)) / 2e-6
        assert math.isclose(_value(output, x), slope, rel_tol=1e-5, abs_tol=1e-6)
    assert re.fullmatch(r"x \* \([^()]+\) \* e\^\(-3x\)", output)


def check_word_problem_from_equation(input: str, output: str) -> None:
    """The story uses the numbers of 4x + 15 = 63 and no others, and the answer solves the equation."""
    story, answer = output.split("Answer:")
    assert numbers_in(story) == ["4", "15", "63"]
    x = int(numbers_in(answer)[0])
    assert 4 * x + 15 == 63
    assert f"4 × {x} + 15 = 63" in answer


def check_pupil_error_label(input: str, output: str) -> None:
    """Subtracting first gives the pupil's wrong result, so the order of operations is the error."""
    first, second, third = map(int, numbers_in(input.splitlines()[0]))
    pupil = int(numbers_in(input)[-1])
    assert pupil == (first - second) * third != first - second * third
    assert output == "order of operations"


def check_lindiwe_weighted_mark(input: str, output: str) -> None:
    """The final mark is the exact mean of the four results, weighted."""
    results = [(int(mark), int(weight)) for mark, weight in re.findall(r": (\d+) \((\d+) %\)", input)]
    assert len(results) == 4
    assert sum(weight for _, weight in results) == 100
    assert output == str(sum(Decimal(mark * weight) for mark, weight in results) / 100)


def check_cork_oak_quiz(input: str, output: str) -> None:
    """The year of the keyed option follows from the painted digit and the cycle of nine years."""
    stem = re.search(r"In (\d{4}) .*painted (\d)", output)
    key = re.search(r"Answer: ([A-D])\.", output)
    options = dict(re.findall(r"(?m)^([A-D])\) (.*)$", output))
    assert stem and key
    assert list(options) == ["A", "B", "C", "D"]
    year, digit = map(int, stem.groups())
    peeled = next(earlier for earlier in range(year, year - 10, -1) if earlier % 10 == digit)
    assert peeled + 9 > year
    assert str(peeled + 9) in options[key[1]]
    assert (
        f"The {digit} stands for {peeled}, the latest year ending in {digit}, and {peeled} + 9 = {peeled + 9}."
        in output
    )
