"""Sums of whole numbers, and the correlations and deviations that follow from them: the same in whatever order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any


class Correlation:
    """Pearson's, of whole numbers."""

    def __init__(self) -> None:
        self.n = self._x = self._y = self._xx = self._yy = self._xy = 0

    def add(self, x: int, y: int, times: int = 1) -> None:
        """Count a point."""
        self.n += times
        self._x += times * x
        self._y += times * y
        self._xx += times * x * x
        self._yy += times * y * y
        self._xy += times * x * y

    @property
    def spread(self) -> tuple[int, int, int]:
        """``n`` times the sums of products of deviations: of both, of x, of y."""
        n, x, y = self.n, self._x, self._y
        return n * self._xy - x * y, n * self._xx - x * x, n * self._yy - y * y

    @property
    def r(self) -> float | None:
        """The coefficient to four digits; None where one of the two never changes."""
        return _pearson(*self.spread)


class Within:
    """Pearson's of what is left when each instruction's own means are taken away."""

    def __init__(self) -> None:
        self._sums: dict[int, list[int]] = {}  # by the number of points, which is what they are to be divided by

    def add(self, points: Sequence[tuple[int, int]]) -> None:
        """Count an instruction."""
        if len(points) < 2:
            return
        one = Correlation()
        for point in points:
            one.add(*point)
        sums = self._sums.get(len(points), [0, 0, 0])
        self._sums[len(points)] = [before + more for before, more in zip(sums, one.spread, strict=True)]

    @property
    def r(self) -> float | None:
        """The coefficient to four digits; None where one of the two never changes."""
        both, x, y = (sum((Fraction(sums[i], n) for n, sums in self._sums.items()), Fraction()) for i in range(3))
        return _pearson(both, x, y)


class Slot:
    """How texts at one place of the judge's prompt were rated, against the other texts of the same prompt.

    Orders are drawn at random, so where places do not matter each of a prompt's ratings is as likely here: the
    variance of a deviation is the mean square of those of its prompt, whatever the texts are.
    """

    def __init__(self) -> None:
        self._n = 0
        self._sums: dict[int, list[int]] = {}  # by the number of texts: deviations, squares; in units of 1/n, 1/n²

    def add(self, rating: int, ratings: tuple[int, ...]) -> None:
        """Count the rating of the text here, one of the prompt's ``ratings``."""
        self._n += 1
        n, total = len(ratings), sum(ratings)
        sums = self._sums.setdefault(n, [0, 0])
        sums[0] += n * rating - total
        sums[1] += n * sum(one * one for one in ratings) - total * total

    def row(self) -> dict[str, Any]:
        """How many ratings, how far off on average, and in how many standard errors."""
        off = sum((Fraction(sums[0], n) for n, sums in self._sums.items()), Fraction())
        variance = sum((Fraction(sums[1], n * n) for n, sums in self._sums.items()), Fraction())
        z = rounded(float(off) / math.sqrt(variance)) if variance else None
        return {"ratings": self._n, "effect": rounded(off / self._n), "z": z}


def _pearson(both: Fraction | int, x: Fraction | int, y: Fraction | int) -> float | None:
    """The coefficient, from sums of products of deviations; None where one of the two never changes."""
    if not x or not y:
        return None
    return rounded(max(-1.0, min(1.0, float(both) / (math.sqrt(x) * math.sqrt(y)))))


def mean_of(total: int, count: int) -> float | None:
    """Total by count, to four digits; None for a count of 0."""
    return rounded(Fraction(total, count)) if count else None


def rounded(value: Fraction | float) -> float:
    """To four digits."""
    return round(float(value), 4) + 0.0  # never -0.0
