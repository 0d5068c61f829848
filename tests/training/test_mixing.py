"""How much of each source is taken, in which order, and that no prompt is both learnt and held out."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import NamedTuple

import pytest

from selfinstruct.errors import UsageProblem
from selfinstruct.training.mixing import Mix, split


class One(NamedTuple):
    """An example as mixing sees it."""

    source: str
    group: str
    number: int = 0


def some(**sizes: int) -> list[One]:
    """So many examples of each source, each with a prompt of its own."""
    return [One(source, f"{source}{n}", n) for source, size in sizes.items() for n in range(size)]


# --- the mix ----------------------------------------------------------------------------------------------------------


def test_a_mix_takes_the_first_fraction_of_each_source_in_order() -> None:
    """And all of a source that it does not name (systems §8.2)."""
    mix = Mix.parse("sea.jsonl:0.5, 潮汐:1.0 ,empty:0")
    taken = mix.take(some(**{"sea.jsonl": 5, "潮汐": 2, "empty": 3, "rest": 2}))
    assert [(one.source, one.number) for one in taken] == [
        *(("sea.jsonl", 0), ("sea.jsonl", 1)),
        *(("潮汐", 0), ("潮汐", 1)),
        *(("rest", 0), ("rest", 1)),
    ]


def test_sources_may_stand_mixed_up() -> None:
    """The first of each are the first in the order they stand in."""
    examples = [One("ab"[n % 2], str(n), n) for n in range(8)]
    assert [one.number for one in Mix.parse("b:0.5").take(examples)] == [0, 1, 2, 3, 4, 6]


@pytest.mark.parametrize(
    ("fraction", "size", "taken"),
    [
        ("0.29", 100, 29),
        ("0.57", 100, 57),
        ("1", 7, 7),
        ("0.999", 7, 6),
        ("0.001", 7, 1),
        ("0", 7, 0),
        ("1e-300", 2, 1),
    ],
)
def test_a_fraction_is_exact_and_leaves_one_row_at_least(fraction: str, size: int, taken: int) -> None:
    """0.29 of 100 rows are 29, which a product of floating-point numbers would round to 28."""
    assert len(Mix.parse(f"a:{fraction}").take(some(a=size))) == taken


def test_no_mix_takes_everything() -> None:
    """As it stands."""
    assert Mix.parse("").take(some(a=2, b=1)) == some(a=2, b=1)


def test_a_label_may_hold_a_colon() -> None:
    """The fraction is what stands behind the last one."""
    assert Mix.parse("C:/sea.jsonl:0.5").fractions == {"C:/sea.jsonl": Fraction(1, 2)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sea", "--mix 'sea': expected a source and its fraction, such as dialogue:0.5"),
        (":0.5", "--mix ':0.5': expected a source and its fraction"),
        ("sea:", "--mix 'sea:': '' is no number from 0 to 1"),
        ("sea:half", "--mix 'sea:half': 'half' is no number from 0 to 1"),
        ("sea:nan", "--mix 'sea:nan': a fraction is a number from 0 to 1, and never negative"),
        ("sea:-0.5", "--mix 'sea:-0.5': a fraction is a number from 0 to 1, and never negative"),
        ("sea:1.5", "--mix 'sea:1.5': at most 1, which is all of it; to learn it more often raise the epochs"),
        ("sea:1e999999999", "at most 1, which is all of it"),
        ("sea:1,land:1,sea:0.5", "--mix: 'sea' stands there twice"),
    ],
)
def test_a_mix_that_is_none_is_refused(text: str, message: str) -> None:
    """With the part that is wrong, and why."""
    with pytest.raises(UsageProblem) as caught:
        Mix.parse(text)
    assert message in str(caught.value)


def test_a_mix_of_numbers_is_the_same_as_one_of_text() -> None:
    """As a recipe has it; and held to the same."""
    assert Mix.from_shares({"sea": 0.29, "land": 1}) == Mix.parse("sea:0.29,land:1.0")
    assert Mix.from_shares({"sea": 0.29}).of("sea") == Fraction(29, 100)
    for wrong in (-1.0, 1.01, float("nan"), float("inf")):
        with pytest.raises(UsageProblem, match=r"^--mix 'sea:"):
            Mix.from_shares({"sea": wrong})


def test_a_mix_of_unknown_sources_is_refused_with_those_there_are() -> None:
    """And one that takes nothing of any."""
    Mix.parse("sea:0.5,land:0").check(["sea", "land"])
    with pytest.raises(UsageProblem, match=r"no source is called 'see'; there are: sea, land$"):
        Mix.parse("see:0.5").check(["sea", "land"])
    with pytest.raises(UsageProblem, match="takes nothing of any source"):
        Mix.parse("sea:0,land:0").check(["sea", "land"])


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("held_out", "size"), [(0.1, 10), (0.25, 25), (7, 7), (7.0, 7), (99, 99), (0, 0), (0.001, 1)])
def test_a_share_or_a_count_is_met_where_prompts_differ(held_out: float, size: int) -> None:
    """To the row."""
    assert len(split(some(a=100), held_out, 42)[1]) == size


def test_a_prompt_with_more_rows_than_are_held_out_is_learnt() -> None:
    """One row of others is held out, and not its hundred."""
    examples = [*[One("a", "common", n) for n in range(100)], One("a", "rare", 100)]
    for seed in range(5):
        assert [one.group for one in split(examples, 1, seed)[1]] == ["rare"]


def test_the_smallest_prompt_is_held_out_where_none_fits() -> None:
    """So that there is something to measure by."""
    examples = [*[One("a", "three", n) for n in range(3)], *[One("a", "two", n) for n in range(3, 5)]]
    assert Counter(one.group for one in split(examples, 1, 0)[1]) == {"two": 2}


def test_another_seed_holds_out_others_and_the_same_seed_the_same() -> None:
    """By prompt, not by place: the order of the rows changes nothing."""
    examples = some(a=50)
    first = {one.group for one in split(examples, 5, 42)[1]}
    assert first == {one.group for one in split(examples[::-1], 5, 42)[1]}
    assert first != {one.group for one in split(examples, 5, 43)[1]}


def test_most_of_what_is_held_out_stays_so_when_data_are_added() -> None:
    """A model tuned again on more data has not learnt most of what it is measured by."""
    before = {one.group for one in split(some(a=1000), 0.1, 42)[1]}
    after = {one.group for one in split(some(a=1000, b=1000), 0.1, 42)[1]}
    assert len(before & after) >= 85


@pytest.mark.parametrize("held_out", [-1, -0.1, 1.5, float("nan"), float("inf")])
def test_what_is_neither_a_share_nor_a_count_is_refused(held_out: float) -> None:
    """A whole number from 1 on is a count, a number below 1 a share."""
    with pytest.raises(UsageProblem, match="is neither a share from 0 to 1 nor a number of rows"):
        split(some(a=3), held_out, 0)


def test_holding_out_every_row_is_refused() -> None:
    """There would be nothing to learn from."""
    with pytest.raises(UsageProblem, match="3 of 3 rows leaves nothing to learn from"):
        split(some(a=3), 3, 0)
