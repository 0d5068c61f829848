"""Which of the answers to an instruction make a preference pair."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.feedback_schema import Flag, PairSide
from selfinstruct.pairing import Pair, Rejected, Unpaired, pairs_of, score_of
from tests.judged_answers import Said, critiqued, rated

# Systems §17.3: means of 4, 4, 3.5 and 2.
BOOK = rated((4, 4, 4, 4), (5, "N/A", 4, 3), (4, 3, 4, 3), (2, 2, 2, 2))


def side(number: int, score: float) -> PairSide:
    """An answer of `tests.judged_answers`."""
    return PairSide(model=f"m{number}", response=f"answer {number}", score=score)


@pytest.mark.parametrize(
    ("said", "mean"),
    [
        ((5, "N/A", 4, 3), Fraction(4)),
        (("N/A", "N/A", "N/A", "N/A"), None),
        ((), None),
        (("N/A", "N/A", "N/A", 1), Fraction(1)),
        ((5, 4, "N/A", 2), Fraction(11, 3)),
        ((1, 2, 2, 2), Fraction(7, 4)),
    ],
    ids=str,
)
def test_a_mean_is_exact_and_of_the_ratings_there_are(said: tuple[Said, ...], mean: Fraction | None) -> None:
    """N/A neither raises nor lowers it; without a rating there is none."""
    sample = rated(said).completions[0]
    assert score_of(sample, "mean") == sample.exact_mean == mean
    assert sample.mean == (None if mean is None else float(mean))


@pytest.mark.parametrize("said", [(5, 4, None, 2), (None, "N/A", "N/A", 1), (5, 5, 5)], ids=str)
def test_an_answer_that_lacks_an_annotation_has_no_score_by_the_mean(said: tuple[Said, ...]) -> None:
    """The mean of the others would be a guess of what is missing; it is told all the same, and the overall counts."""
    sample = critiqued((7.0, said)).completions[0]
    assert sample.lacks_annotation
    assert [score_of(sample, "mean"), score_of(sample, "overall")] == [None, Fraction(7)]
    ratings = [one for one in said if isinstance(one, int)]
    assert sample.mean == sum(ratings) / len(ratings)


@pytest.mark.parametrize(("overall", "score"), [(7.5, Fraction(15, 2)), (8.3, Fraction(83, 10)), (None, None)])
def test_an_overall_score_is_the_number_as_it_was_written(overall: float | None, score: Fraction | None) -> None:
    """Not the binary number next to it."""
    assert score_of(critiqued((overall, (1, 1, 1, 1))).completions[0], "overall") == score


def test_an_answer_without_a_critique_has_no_overall_score() -> None:
    """Its ratings are no substitute."""
    assert score_of(rated((5, 5, 5, 5)).completions[0], "overall") is None


def test_all_pairs_are_those_of_different_scores() -> None:
    """4, 4, 3.5 and 2: six less a tie, the better one first, each with its margin."""
    pairs, unpaired = pairs_of(BOOK, "mean", "all", seed=1)
    assert pairs == [
        Pair(side(0, 4.0), side(2, 3.5), 0.5),
        Pair(side(0, 4.0), side(3, 2.0), 2.0),
        Pair(side(1, 4.0), side(2, 3.5), 0.5),
        Pair(side(1, 4.0), side(3, 2.0), 2.0),
        Pair(side(2, 3.5), side(3, 2.0), 1.5),
    ]
    assert unpaired == [Unpaired("tie", "m0, m1: 4")]


def test_the_better_one_is_chosen_wherever_it_stands() -> None:
    """The worse one comes first here."""
    worse_first = rated((1, 1, 1, 1), (2, 2, 2, 2))
    modes: tuple[Rejected, ...] = ("random", "lowest", "all")
    for rejected in modes:
        assert pairs_of(worse_first, "mean", rejected, seed=1) == ([Pair(side(1, 2.0), side(0, 1.0), 1.0)], [])


def test_the_lowest_is_the_first_of_the_lowest() -> None:
    """And chosen the first of the highest."""
    record = rated((2, 2, 2, 2), (5, 5, 5, 5), (2, 2, 2, 2), (5, 5, 5, 5))
    assert pairs_of(record, "mean", "lowest", seed=1) == ([Pair(side(1, 5.0), side(0, 2.0), 3.0)], [])
    assert pairs_of(BOOK, "mean", "lowest", seed=1) == ([Pair(side(0, 4.0), side(3, 2.0), 2.0)], [])


def test_a_random_one_is_any_that_is_strictly_lower() -> None:
    """3.5 or 2, about as often, and never the other 4; by the seed and the record's id, so each time the same."""
    drawn = Counter(pairs_of(BOOK, "mean", "random", seed)[0][0].rejected.score for seed in range(400))
    assert drawn.keys() == {3.5, 2.0}
    assert 150 < drawn[2.0] < 250
    others = [BOOK.model_copy(update={"id": f"rate-0-{slot}-0"}) for slot in range(400)]
    by_id = Counter(pairs_of(record, "mean", "random", 1)[0][0].rejected.score for record in others)
    assert 150 < by_id[2.0] < 250
    assert len({str(pairs_of(BOOK, "mean", "random", seed=7)) for _ in range(3)}) == 1


@pytest.mark.parametrize("rejected", ["random", "lowest"])
def test_four_equal_answers_are_a_tie(rejected: Rejected) -> None:
    """No pair, and one line that says so."""
    record = rated(*[(4, 4, 4, 4)] * 4)
    assert pairs_of(record, "mean", rejected, seed=1) == ([], [Unpaired("tie", "m0, m1, m2, m3: 4")])


def test_each_two_equal_answers_are_a_tie_where_all_are_paired() -> None:
    """Four of a kind are six."""
    pairs, unpaired = pairs_of(rated(*[(4, 4, 4, 4)] * 4), "mean", "all", seed=1)
    names = ("m0", "m1", "m2", "m3")
    assert (pairs, unpaired) == ([], [Unpaired("tie", f"{one}, {other}: 4") for one, other in combinations(names, 2)])


@pytest.mark.parametrize("rejected", ["random", "lowest", "all"])
@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (((), ("N/A", "N/A", "N/A", "N/A")), "answers with a score: 0 of 2; without all annotations: 1"),
        ((("N/A",) * 4, (1, 1, 1, 1)), "answers with a score: 1 of 2"),
        (((5, 5, 5, 5), (), (5, 4, 4, None)), "answers with a score: 1 of 3; without all annotations: 2"),
    ],
)
def test_fewer_than_two_scores_make_no_pair(
    said: tuple[tuple[Said, ...], ...], detail: str, rejected: Rejected
) -> None:
    """Nor does none; and it is said how many there are."""
    assert pairs_of(rated(*said), "mean", rejected, seed=1) == ([], [Unpaired("no_score", detail)])


@pytest.mark.parametrize("rejected", ["random", "lowest", "all"])
def test_an_answer_without_a_score_is_in_no_pair(rejected: Rejected) -> None:
    """It is neither the lowest nor, by what there is of it, the best."""
    record = rated((), (3, 3, 3, 3), ("N/A",) * 4, (4, 4, 4, 4), (5, 5, 5, None), (1, 1, None, 1))
    assert pairs_of(record, "mean", rejected, seed=1) == ([Pair(side(3, 4.0), side(1, 3.0), 1.0)], [])


def test_a_pair_shows_what_was_cut_and_what_declines() -> None:
    """The flags of an answer go with it, so that a chosen one can be told."""
    record = rated((4, 4, 4, 4), (2, 2, 2, 2), (1, 1, 1, 1))
    flags: tuple[tuple[Flag, ...], ...] = (("truncated",), (), ("truncated", "refusal"))
    flagged = [one.model_copy(update={"flags": of}) for one, of in zip(record.completions, flags, strict=True)]
    pairs, _ = pairs_of(record.model_copy(update={"completions": tuple(flagged)}), "mean", "all", seed=1)
    assert [(pair.chosen.flags, pair.rejected.flags) for pair in pairs] == [
        (("truncated",), ()),
        (("truncated",), ("truncated", "refusal")),
        ((), ("truncated", "refusal")),
    ]


def test_no_overall_score_says_nothing_of_annotations() -> None:
    """They have no part in it."""
    unpaired = [Unpaired("no_score", "answers with a score: 1 of 2")]
    assert pairs_of(critiqued((3.0, ()), (None, ())), "overall", "all", seed=1) == ([], unpaired)


def test_the_overall_score_may_say_the_opposite_of_the_mean() -> None:
    """Each has its own pairs; the margin of 8.3 and 7.1 is 1.2."""
    record = critiqued((7.1, (5, 5, 5, 5)), (8.3, (1, 1, 1, 1)), (None, (2, 2, 2, 2)))
    assert pairs_of(record, "overall", "all", seed=1) == ([Pair(side(1, 8.3), side(0, 7.1), 1.2)], [])
    assert pairs_of(record, "mean", "lowest", seed=1) == ([Pair(side(0, 5.0), side(1, 1.0), 4.0)], [])


def test_thirds_are_compared_exactly() -> None:
    """Ratings 5, 4, 2 and 2, 5, 4 in other aspects are equal: no pair comes of the last digit of a float."""
    record = rated((5, 4, "N/A", 2), ("N/A", 2, 5, 4), (4, 4, 4, "N/A"))
    pairs, unpaired = pairs_of(record, "mean", "all", seed=1)
    assert [(pair.chosen.model, pair.rejected.model) for pair in pairs] == [("m2", "m0"), ("m2", "m1")]
    assert unpaired == [Unpaired("tie", "m0, m1: 3.66667")]


RATINGS = st.one_of(st.integers(1, 5), st.none(), st.just("N/A"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(RATINGS, RATINGS, RATINGS, RATINGS), min_size=1, max_size=5))
def test_pairs_and_ties_are_all_there_is_to_pair(said: list[tuple[Said, ...]]) -> None:
    """Of n scored answers n(n−1)/2 pairs and ties; what the other two modes draw is one of these pairs."""
    record = rated(*said)
    pairs, unpaired = pairs_of(record, "mean", "all", seed=1)
    scores = [score for one in record.completions if (score := score_of(one, "mean")) is not None]
    if len(scores) < 2:
        assert (pairs, [one.reason for one in unpaired]) == ([], ["no_score"])
    else:
        assert len(pairs) + len(unpaired) == len(scores) * (len(scores) - 1) // 2
        assert len(pairs) == sum(a != b for a, b in combinations(scores, 2))
    modes: tuple[Rejected, ...] = ("random", "lowest")
    for rejected in modes:
        one, _ = pairs_of(record, "mean", rejected, seed=1)
        assert len(one) == bool(pairs)
        assert all(pair in pairs and pair.chosen.score == float(max(scores)) for pair in one)
