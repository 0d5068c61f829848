"""JaccardJoin: held against every pair, counted by Python's own sets and decided in fractions."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from selfinstruct.similarity import jaccard_join
from selfinstruct.similarity.jaccard_join import JaccardJoin, Match, first_match
from selfinstruct.similarity.shingles import ShingleSets

Sets = list[set[int]]
THRESHOLDS = [
    Fraction(3, 10),
    Fraction(1, 2),
    Fraction(2, 3),
    Fraction(7, 10),
    Fraction(4, 5),
    Fraction(9, 10),
    Fraction(1),
]


def spread(number: int) -> int:
    """A number of 64 bits for each small one, as hashes are: the first bits differ too."""
    return number * 0x9E3779B97F4A7C15 % 2**64


def packed(sets: Sets) -> ShingleSets:
    """These sets, with their numbers spread."""
    if not sets:
        return ShingleSets(np.zeros(0, np.uint64), np.zeros(1, np.int64))
    return ShingleSets.of([np.array(sorted(map(spread, each)), np.uint64) for each in sets])


def plain(threshold: Fraction, block: Sets, kept: Sets) -> list[tuple[int, int, int, int]]:
    """The specification: every pair at the threshold, with its common and united shingles."""
    return [
        (i, j, len(x & y), len(x | y))
        for i, x in enumerate(block)
        for j, y in enumerate(kept)
        if x and y and Fraction(len(x & y), len(x | y)) >= threshold
    ]


def found(join: JaccardJoin, block: Sets) -> list[tuple[int, int, int, int]]:
    """What the index finds."""
    near = join.similar(packed(block))
    return list(zip(*(c.tolist() for c in (*near.pairs, near.common, near.union)), strict=True))


@st.composite
def corpora(draw: st.DrawFn) -> list[Sets]:
    """Blocks of sets, many of them a few edits away from earlier ones."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    words = draw(st.sampled_from([3, 12, 60, 1000]))
    blocks: list[Sets] = []
    for size in draw(st.lists(st.integers(0, 7), max_size=6)):
        blocks.append([])
        for _ in range(size):
            earlier = [each for block in blocks for each in block]
            fresh = set(rng.choices(range(words), k=rng.choice([0, 1, 3, 10, 40])))
            if earlier and rng.random() < 0.6:
                fresh = set(rng.choice(earlier)) ^ set(rng.choices(range(words), k=rng.choice([0, 1, 2, 5])))
            blocks[-1].append(fresh)
    return blocks


@settings(max_examples=100, deadline=None)
@given(
    blocks=corpora(),
    threshold=st.sampled_from(THRESHOLDS),
    key_bits=st.sampled_from([1, 4, 32]),
    counted_bits=st.sampled_from([1, 16]),
    signature_bits=st.sampled_from([1, 8, 64]),
    sizes=st.sampled_from([(1, 1), (30, 5), (1 << 24, 1 << 20)]),
)
@example([[{1}], [{1}]], Fraction(1), 32, 16, 64, (1, 1))
def test_it_finds_what_comparing_every_pair_finds(
    blocks: list[Sets],
    threshold: Fraction,
    key_bits: int,
    counted_bits: int,
    signature_bits: int,
    sizes: tuple[int, int],
) -> None:
    """With any number of bits, runs and parts: no pair missing, none too many, all counts exact, each pair once."""
    bits: dict[str, Any] = {"KEY_BITS": key_bits, "COUNTED_BITS": counted_bits, "SIGNATURE_BITS": signature_bits}
    bits |= {"LONGEST_RUN": sizes[0], "MOST_MET": sizes[1], "MOST_COUNTED": 2}
    with mock.patch.multiple(jaccard_join, **bits):
        join = JaccardJoin(threshold)
        kept: Sets = []
        for block in blocks:
            assert found(join, block) == plain(threshold, block, kept)
            join.add(packed(block))
            kept += block
        assert len(join) == len(kept)


def test_at_the_threshold_counts_and_just_below_does_not() -> None:
    """8 of 10 in common is 0.8 exactly; 79 of 99, the nearest below with so few, is not."""
    join = JaccardJoin(Fraction(4, 5))
    join.add(packed([set(range(10)), set(range(1000, 1099))]))
    assert found(join, [set(range(8))]) == [(0, 0, 8, 10)]
    assert found(join, [set(range(1000, 1079))]) == []
    assert found(join, [set(range(1000, 1080))]) == [(0, 1, 80, 99)]


def test_a_shingle_of_all_sets_is_looked_up_in_parts() -> None:
    """Thousands of sets share shingles with each other, and the parts together find every pair once."""
    sets = [{0, 1, 2, 3, number} for number in range(10, 2010)]
    join = JaccardJoin(Fraction(2, 3))
    with mock.patch.object(jaccard_join, "MOST_MET", 100):
        join.add(packed(sets))
        assert found(join, [{0, 1, 2, 3, 5}]) == [(0, place, 4, 6) for place in range(2000)]


def test_runs_stay_few_while_sets_come_one_by_one() -> None:
    """500 sets added alone are merged into at most ten runs, each at least twice as long as the next."""
    join = JaccardJoin(Fraction(4, 5))
    for number in range(500):
        join.add(packed([set(range(10 * number, 10 * number + 10))]))
    lengths = [len(run) for run in join._runs]
    assert sum(lengths) == 5000
    assert len(lengths) <= 10
    assert all(left > 2 * right for left, right in pairwise(lengths))


def test_empty_sets_are_like_no_others() -> None:
    """Not even like each other, where the Jaccard index would be 0 of 0."""
    join = JaccardJoin(Fraction(1, 10))
    join.add(packed([set(), {1}, set()]))
    assert found(join, [set(), {1}]) == [(1, 1, 1, 1)]
    assert first_match(Fraction(1, 10), packed([set()]).values, [(0, packed([set()]).values)]) is None


@settings(deadline=None)
@given(block=st.lists(st.sets(st.integers(0, 9)), max_size=6), threshold=st.sampled_from(THRESHOLDS))
def test_the_first_match_is_the_first_at_the_threshold(block: Sets, threshold: Fraction) -> None:
    """In the order given, with exact counts; the sets behind it are not looked at."""
    one, *others = map(packed, [[each] for each in [{1, 2, 3}, *block]])
    expected = plain(threshold, [{1, 2, 3}], block)
    match = first_match(threshold, one.values, ((place, other.values) for place, other in enumerate(others)))
    assert match == (Match(*expected[0][1:]) if expected else None)


@pytest.mark.parametrize("threshold", [Fraction(0), Fraction(-1), Fraction(11, 10)])
def test_a_threshold_outside_0_to_1_is_refused(threshold: Fraction) -> None:
    """With the value that was given."""
    with pytest.raises(ValueError, match=f"above 0 and at most 1, not {threshold}"):
        JaccardJoin(threshold)
