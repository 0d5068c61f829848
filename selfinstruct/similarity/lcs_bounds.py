"""What two texts have in common if they are more similar than a floor: integer bounds on their common subsequence.

Let ``m`` and ``n`` be the tokens of two texts, ``l`` those of their longest common subsequence, ``F = 2·l / (m + n)``
their ROUGE-L F1 and ``t`` the floor. ``F > t`` means ``l ≥ k`` with ``k = ⌊t·(m + n) / 2⌋ + 1``. From this follow, for
any pair with ``F > t``:

* **Length.** ``l ≤ n``, so ``2·n > t·(m + n)``: ``n`` is at least `Bounds.shortest`.
* **Prefix.** Put the ``m`` token occurrences of one text in any order. At least ``k`` of them are matched in the common
  subsequence, so at most ``m - k`` are not, so one of the first ``m - k + 1`` is matched, and its token stands in the
  other text. The occurrence of rank ``r`` (from 0) belongs to that prefix while ``r ≤ m - k``, that is while
  ``t·(m + n) < 2·(m - r)``: for every ``n`` up to `Bounds.longest`. So it is enough to look for the token of rank ``r``
  among texts of these lengths. Of a token that occurs again only its first, lowest rank matters: that one's range of
  lengths holds the others'.
* **Signature.** Let ``s`` be the XOR of one bit for each token occurrence, equal tokens having equal bits. Equal
  occurrences cancel out, so ``popcount(s ⊕ s')`` is at most the size of the symmetric difference of both multisets of
  tokens, which is ``m + n - 2·overlap ≤ m + n - 2·l ≤ m + n - 2·k``: `Bounds.distance`. This holds for any number of
  bits and any assignment of bits to tokens; XOR-folding a signature keeps it true.

All are necessary conditions, checked in integers; none is sufficient, and what passes them all is measured exactly.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

LONGEST = 1023
"""Postings tell lengths up to this many tokens; it stands for any longer text, which is judged by its prefix until its
true length and whole signature are looked at."""

_MOST_SLACK = 127  # the sum of two still fits a byte
_NO_BOUND = 1 << 20


class Bounds:
    """The three bounds for one floor, 0 ≤ floor < 1; see the module for their proof. Lengths may be arrays."""

    def __init__(self, floor: Fraction, longest: int = LONGEST) -> None:
        self.longest_kept = longest
        self._floor, self._unit = floor.numerator, floor.denominator
        lengths = np.arange(2 * longest, dtype=np.int64)
        self._distance = np.append(lengths - 2 * self.least_lcs(lengths), _NO_BOUND)
        rest = (self._unit - self._floor) * np.arange(longest + 1, dtype=np.int64)
        # (1 - t)·(m + n) in two halves, rounded so that their sum is never below the whole.
        self._of_candidate = np.minimum(-(-rest // self._unit), _MOST_SLACK).astype(np.uint8)
        self._of_kept = np.minimum(rest // self._unit, _MOST_SLACK).astype(np.uint8)
        self._of_candidate[longest] = self._of_kept[longest] = _MOST_SLACK

    def least_lcs(self, lengths: Ints) -> Ints:
        """The shortest LCS that puts F above the floor, for texts of together ``lengths`` tokens."""
        return self._floor * lengths // (2 * self._unit) + 1

    def shortest(self, m: Ints) -> Ints:
        """The fewest tokens of a text that can be similar to one of ``m`` tokens."""
        return self._floor * m // (2 * self._unit - self._floor) + 1

    def longest(self, m: Ints, rank: Ints) -> Ints:
        """The most tokens of a text for which rank ``rank`` of ``m`` still belongs to the prefix; may be below 0."""
        if not self._floor:
            return np.where(rank < m, self.longest_kept, -1)
        return (2 * self._unit * (m - rank) - 1) // self._floor - m

    def distance(self, m: Ints, n: Ints) -> Ints:
        """The largest distance of signatures; more than any where a length is cut to `LONGEST`."""
        cut = (m >= self.longest_kept) | (n >= self.longest_kept)
        most: Ints = self._distance[np.where(cut, -1, m + n)]
        return most

    def slack_of_candidate(self, m: Ints) -> npt.NDArray[np.uint8]:
        """A part of the largest distance: with `slack_of_kept` of the other text at least the whole of it, or 128.

        Two bytes that are added while signatures of 128 bits are compared, where a look into a table would cost more.
        """
        return self._of_candidate[np.minimum(m, self.longest_kept)]

    def slack_of_kept(self, n: Ints) -> npt.NDArray[np.uint8]:
        """See `slack_of_candidate`."""
        return self._of_kept[np.minimum(n, self.longest_kept)]
