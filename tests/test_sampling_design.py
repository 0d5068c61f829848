"""Which models answer which instruction: what a design promises, recounted from its orders."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.errors import ConfigProblem, UsageProblem
from selfinstruct.sampling_design import (
    COSETS,
    ORDER,
    Balanced,
    Kind,
    Uniform,
    block_design,
    design,
)

KINDS: tuple[Kind, ...] = ("uniform", "balanced")


def pool(models: int) -> list[str]:
    """Names of models."""
    return [f"model-{number:03d}" for number in range(models)]


def blocks_of(of: Uniform | Balanced, models: int, instructions: int) -> list[tuple[str, ...]]:
    """Who is asked, instruction by instruction."""
    return [of.order(place)[:models] for place in range(instructions)]


def pair_counts(blocks: Iterable[Sequence[str]], names: Iterable[str]) -> dict[tuple[str, str], int]:
    """How often each two models answered the same instruction, the two in the order of their names."""
    counts = dict.fromkeys(combinations(sorted(names), 2), 0)
    for block in blocks:
        for pair in combinations(sorted(block), 2):
            counts[pair] += 1
    return counts


def widest(blocks: Sequence[Sequence[str]], names: list[str]) -> tuple[int, int]:
    """The greatest spread of model counts, and of pair counts, after any number of these blocks."""
    models, pairs = dict.fromkeys(names, 0), dict.fromkeys(combinations(sorted(names), 2), 0)
    of_models = of_pairs = 0
    for block in blocks:
        for name in block:
            models[name] += 1
        for pair in combinations(sorted(block), 2):
            pairs[pair] += 1
        of_models = max(of_models, max(models.values()) - min(models.values()))
        of_pairs = max(of_pairs, max(pairs.values()) - min(pairs.values()))
    return of_models, of_pairs


# --- the block design of 17 models and 4 ----------------------------------------------------------------------------


def test_cosets_are_the_multiples_of_the_fourth_powers_modulo_17() -> None:
    """Each of 1 to 16 is in one of them."""
    powers = {number**4 % 17 for number in range(1, 17)}
    assert sorted(sum(COSETS.values(), ())) == list(range(1, 17))
    assert all({number * power % 17 for power in powers} == set(coset) for coset in COSETS.values() for number in coset)


def test_every_shift_of_every_coset_is_in_the_order_once() -> None:
    """So it is the whole design: 68 blocks."""
    assert sorted(ORDER.split()) == sorted(f"{coset}{by}" for coset in "ABCD" for by in range(17))


def test_any_two_of_17_are_together_in_3_of_the_68_blocks() -> None:
    """Each of the 136 pairs, and each number is in 16 blocks of 4 different numbers."""
    blocks = block_design()
    together = {pair: sum(set(pair) <= set(block) for block in blocks) for pair in combinations(range(17), 2)}
    assert len(blocks) == 68
    assert {len(set(block)) for block in blocks} == {4}
    assert set(together.values()) == {3}
    assert {sum(number in block for block in blocks) for number in range(17)} == {16}


def test_no_number_is_ahead_by_more_than_one_after_any_of_the_68_blocks() -> None:
    """The stored order has what the design promises of every prefix."""
    counts = [0] * 17
    for block in block_design():
        for number in block:
            counts[number] += 1
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_pairs_of_17_models_are_equal_at_each_multiple_of_68(seed: int) -> None:
    """Also after several repetitions, each with the models in other parts; in between they differ by 3 at most."""
    names = pool(17)
    of = Balanced(names, 4, seed)
    blocks = blocks_of(of, 4, 5 * 68)
    for times in range(1, 6):
        assert set(pair_counts(blocks[: times * 68], names).values()) == {3 * times}
    assert widest(blocks, names) == (1, 3)


def test_repetitions_of_the_block_design_are_not_the_same_blocks() -> None:
    """Each puts the models in other parts, so that no four are bound together for a whole run."""
    blocks = blocks_of(Balanced(pool(17), 4, 7), 4, 2 * 68)
    first, second = ({frozenset(block) for block in half} for half in (blocks[:68], blocks[68:]))
    assert len(first) == len(second) == 68
    assert len(first & second) < 20


# --- other pools ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "asked"),
    [
        *[(3, 2), (4, 2), (40, 2), (7, 3), (15, 3), (5, 4), (6, 4), (8, 4), (12, 4), (16, 4), (18, 4), (40, 4)],
        *[(10, 5), (11, 5), (17, 5), (7, 6), (12, 6), (15, 6), (40, 6)],
    ],
)
def test_model_counts_are_within_one_and_pair_counts_within_four(models: int, asked: int) -> None:
    """After any number of instructions, in pools from a few models to many."""
    names = pool(models)
    of = Balanced(names, asked, 3)
    of_models, of_pairs = widest(blocks_of(of, asked, 1000), names)
    assert of_models == 1
    assert of_pairs <= 4


def test_drawing_at_random_balances_far_less() -> None:
    """The contrast: the same counts of the published way, which only come close in the long run."""
    names = pool(16)
    of_models, of_pairs = widest(blocks_of(Uniform(names, 4, 3), 4, 1000), names)
    assert of_models > 20
    assert of_pairs > 15


def test_a_pool_of_as_many_models_as_are_asked_is_asked_whole() -> None:
    """Every two meet at each instruction."""
    of = Balanced(pool(4), 4, 1)
    blocks = blocks_of(of, 4, 50)
    assert {frozenset(block) for block in blocks} == {frozenset(pool(4))}
    assert len(set(blocks)) > 10


def test_one_model_an_instruction_goes_through_the_pool_in_turn() -> None:
    """No two meet, and all have been asked before any is asked again."""
    blocks = blocks_of(Balanced(pool(5), 1, 2), 1, 500)
    assert all(len(set(blocks[at : at + 5])) == 5 for at in range(0, 500, 5))


# --- orders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("models", "asked"), [(17, 4), (9, 4), (4, 4), (300, 3)])
def test_an_order_has_every_name_once(kind: Kind, models: int, asked: int) -> None:
    """So each model can stand in for those before it."""
    of = design(kind, pool(models), asked, 11)
    assert all(sorted(of.order(place)) == pool(models) for place in range(30))


@pytest.mark.parametrize("models", [17, 9])
def test_the_models_of_the_following_blocks_stand_in_in_turn(models: int) -> None:
    """The first to stand in is the first of the next block that is not in this one, and so on."""
    of = Balanced(pool(models), 4, 5)
    for place in range(100):
        following = [name for after in range(30) for name in of.order(place + after)[:4]]
        assert of.order(place) == tuple(dict.fromkeys(following))


@given(places=st.lists(st.integers(0, 300), min_size=1, max_size=8), seed=st.integers(0, 2**64))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("models", [17, 6])
def test_an_order_depends_on_nothing_asked_before(kind: Kind, models: int, places: list[int], seed: int) -> None:
    """Places in any order, some twice, tell what an object tells that is asked for nothing else."""
    asked_all = design(kind, pool(models), 4, seed)
    assert [asked_all.order(place) for place in places] == [
        design(kind, pool(models), 4, seed).order(place) for place in places
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("models", [17, 6])
def test_the_order_in_which_names_are_given_does_not_matter(kind: Kind, models: int) -> None:
    """A pool is a set."""
    names = pool(models)
    random.Random(1).shuffle(names)
    assert names != pool(models)
    one, other = design(kind, names, 4, 9), design(kind, pool(models), 4, 9)
    assert [one.order(place) for place in range(100)] == [other.order(place) for place in range(100)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("models", [17, 6])
def test_another_seed_is_another_design(kind: Kind, models: int) -> None:
    """Of 100 instructions hardly any has the same order."""
    one, other = design(kind, pool(models), 4, 1), design(kind, pool(models), 4, 2)
    assert sum(one.order(place) == other.order(place) for place in range(100)) <= 3


@pytest.mark.parametrize("kind", KINDS)
def test_orders_of_a_seed_stay_what_they_are(kind: Kind) -> None:
    """Runs that are resumed with a later version go on as they began."""
    of = design(kind, ["ash", "birch", "cedar", "elm", "fir"], 2, 42)
    assert [" ".join(of.order(place)) for place in (0, 1, 100)] == PINNED[kind]


def test_any_model_is_as_likely_to_be_first() -> None:
    """The order within a block is drawn: over 1700 instructions each of 17 models is first about 100 times."""
    for kind in KINDS:
        of = made(kind)
        firsts = Counter(of.order(place)[0] for place in range(1700))
        assert sorted(firsts) == pool(17)
        assert all(60 <= count <= 140 for count in firsts.values())


def made(kind: Kind) -> Uniform | Balanced:
    """A design of 17 models and 4."""
    return design(kind, pool(17), 4, 6)


def test_uniform_draws_any_two_models_equally_often() -> None:
    """Chi-square of the pair counts of 17 000 instructions: 136 pairs, 17 000 · 6 / 136 = 750 expected of each."""
    names = pool(17)
    counts = pair_counts(blocks_of(made("uniform"), 4, 17_000), names)
    assert sum((count - 750) ** 2 / 750 for count in counts.values()) < 200  # far above 135 plus 3 times 16.4


def test_adjacent_instructions_share_few_models() -> None:
    """A balanced design of many models asks others each time, as counts within one demand."""
    blocks = blocks_of(made("balanced"), 4, 680)
    assert all(len(set(one) & set(other)) <= 3 for one, other in pairwise(blocks))
    assert sum(len(set(one) & set(other)) for one, other in pairwise(blocks)) < 0.5 * len(blocks)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("models", "asked"), [(3, 4), (0, 1), (3, 0)])
def test_a_pool_with_fewer_models_than_are_asked_is_refused(kind: Kind, models: int, asked: int) -> None:
    """And the message says how many there are."""
    with pytest.raises(
        UsageProblem, match=f"^{asked} models are to answer each instruction, and the pool has {models}"
    ):
        design(kind, pool(models), asked, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_are_there_twice_are_refused_by_name(kind: Kind) -> None:
    """Even where enough others are left."""
    with pytest.raises(ConfigProblem, match="names 'ash', 'elm' more than once"):
        design(kind, ["elm", "ash", "fir", "ash", "elm", "birch"], 2, 1)


PINNED: dict[Kind, list[str]] = {
    "uniform": ["ash elm cedar fir birch", "elm birch ash cedar fir", "fir elm ash birch cedar"],
    "balanced": ["birch elm cedar fir ash", "cedar fir ash birch elm", "cedar fir elm ash birch"],
}
"""What seed 42 gave when designs were first shipped."""
