"""The bounds that rule pairs out: none may rule out a pair above the floor."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rapidfuzz.distance import LCSseq

from selfinstruct.similarity.lcs_bounds import Bounds
from selfinstruct.similarity.signatures import distances, folded, signatures

FLOORS = st.sampled_from([Fraction(0), *(Fraction(hundredths, 100) for hundredths in range(5, 96)), Fraction(2, 3)])
TEXTS = st.lists(st.integers(0, 9), max_size=30)


def _array(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def _signature(text: list[int]) -> np.ndarray:
    return signatures(_array(*text), _array(len(text)))


@given(TEXTS, TEXTS, FLOORS)
def test_a_pair_above_the_floor_keeps_every_bound(left: list[int], right: list[int], floor: Fraction) -> None:
    """Length, LCS, prefix and signature, for any two texts, in any order of their tokens."""
    lcs, m, n = LCSseq.similarity(left, right), len(left), len(right)
    assume(m + n and Fraction(2 * lcs, m + n) > floor)
    bounds = Bounds(floor)
    assert lcs >= bounds.least_lcs(_array(m + n))[0]
    assert n >= bounds.shortest(_array(m))[0]
    in_prefix = [token for rank, token in enumerate(left) if n <= bounds.longest(_array(m), _array(rank))[0]]
    assert set(in_prefix) & set(right)
    apart = distances(_signature(left), _signature(right))[0]
    assert apart <= bounds.distance(_array(m), _array(n))[0]


@given(TEXTS, TEXTS, FLOORS)
def test_the_two_slacks_are_never_less_than_the_distance(left: list[int], right: list[int], floor: Fraction) -> None:
    """What is added up while signatures are compared may let through too much, by one at most, and never too little."""
    bounds = Bounds(floor)
    m, n = _array(len(left)), _array(len(right))
    both = int(bounds.slack_of_candidate(m)[0]) + int(bounds.slack_of_kept(n)[0])
    exact = (1 - floor) * (len(left) + len(right))
    assert bounds.distance(m, n)[0] <= both < exact + 1


@given(st.integers(0, 40), st.integers(0, 40), FLOORS)
def test_the_least_lcs_is_the_least(m: int, n: int, floor: Fraction) -> None:
    """One token less is not above the floor."""
    least = int(Bounds(floor).least_lcs(_array(m + n))[0])
    assume(m + n)
    assert Fraction(2 * least, m + n) > floor >= Fraction(2 * (least - 1), m + n)


@pytest.mark.parametrize(("m", "n"), [(5, 3), (3, 5), (9, 9)])
def test_a_text_cut_to_the_longest_length_is_ruled_out_by_no_signature(m: int, n: int) -> None:
    """Its true length is not known, so neither is its distance."""
    bounds = Bounds(Fraction(7, 10), longest=5)
    assert bounds.distance(_array(m), _array(n))[0] > 512
    assert bounds.slack_of_candidate(_array(9))[0] + int(bounds.slack_of_kept(_array(9))[0]) >= 128


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_signatures_cancel_equal_tokens_and_fold_by_xor(texts: list[list[int]]) -> None:
    """A token twice is a token never; a folded signature differs in no more bits than the whole one."""
    ends = np.cumsum([len(text) for text in texts])
    whole = signatures(_array(*(token for text in texts for token in text)), ends)
    for row, text in zip(whole, texts, strict=True):
        odd = [token for token in set(text) if text.count(token) % 2]
        assert (row == _signature(odd)[0]).all()
        assert np.bitwise_count(row).sum() <= len(odd)
    low, high = folded(whole)
    apart = np.bitwise_count(low ^ low[0]).astype(int) + np.bitwise_count(high ^ high[0])
    assert (apart <= distances(whole, np.repeat(whole[:1], len(whole), axis=0))).all()
