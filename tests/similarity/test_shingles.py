"""Shingles: n-grams of tokens as sorted sets of numbers."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.similarity.shingles import Shingler, ShingleSets, as_sets
from selfinstruct.similarity.tokens import Tokenizer, tokens

SHINGLERS = {(tokenizer, n): Shingler(tokenizer, n) for tokenizer in get_args(Tokenizer) for n in range(1, 6)}
TEXTS = st.lists(st.lists(st.sampled_from(["a", "b", "c", "中", "文", "."]), max_size=9).map(" ".join), max_size=8)


def grams(text: str, tokenizer: Tokenizer, n: int) -> set[tuple[str, ...]]:
    """The specification: the n-grams of a text as a set; one, if it is shorter."""
    words = tokens(text, tokenizer)
    return {tuple(words[place : place + n]) for place in range(max(len(words) - n + 1, 1))} if words else set()


@pytest.mark.parametrize("tokenizer", get_args(Tokenizer))
@given(texts=TEXTS, n=st.integers(1, 5))
def test_shingles_are_the_n_grams_of_the_tokens(tokenizer: Tokenizer, texts: list[str], n: int) -> None:
    """One number a different n-gram, ascending and unique in each text; a text shorter than n is one shingle."""
    sets = SHINGLERS[tokenizer, n](texts).split()
    expected = [grams(text, tokenizer, n) for text in texts]
    assert [len(each) for each in sets] == [len(each) for each in expected]
    assert all((each[1:] > each[:-1]).all() for each in sets)
    for i, left in enumerate(sets):
        for j, right in enumerate(sets):
            assert len(set(left.tolist()) & set(right.tolist())) == len(expected[i] & expected[j])


def test_a_text_is_measured_alike_alone_and_among_others() -> None:
    """Short neighbours, empty ones and the text's place change nothing."""
    shingler = Shingler("auto", 3)
    texts = ["", "one two three four", "一", "one two", "写一首关于秋天的诗", "?!"]
    together = shingler(texts).split()
    for text, shingles in zip(texts, together, strict=True):
        assert shingler([text]).values.tolist() == shingles.tolist()


def test_the_order_of_tokens_counts() -> None:
    """Shingles are sequences, not bags; "a" filled up to three is neither "a a a" nor "b"."""
    sets = Shingler("en", 3)(["a b c", "c b a", "a", "a a a", "b"]).split()
    assert len({int(each[0]) for each in sets}) == 5


def test_sets_are_taken_apart_and_put_together() -> None:
    """`of` undoes `split`, and `take` picks any sets in any order, repeatedly."""
    sets = Shingler("en", 1)(["a b", "", "c d e"])
    assert sets.sizes().tolist() == [2, 0, 3]
    assert sets.sizes(np.array([2, 0])).tolist() == [3, 2]
    again = ShingleSets.of(sets.split())
    assert (again.values.tolist(), again.starts.tolist()) == (sets.values.tolist(), [0, 2, 2, 5])
    taken = sets.take(np.array([2, 1, 2]))
    assert [each.tolist() for each in taken.split()] == [sets.split()[i].tolist() for i in (2, 1, 2)]


def test_more_than_65536_texts_are_sorted_by_text_too() -> None:
    """Rows beyond 16 bits do not wrap around."""
    rows = np.arange(70_000)
    sets = as_sets(np.full(70_000, 7, np.uint64), rows, 70_000)
    assert (sets.sizes() == 1).all()
    assert len(sets.values) == 70_000


def test_a_shingle_has_at_least_one_token() -> None:
    """n = 0 is refused, with the number."""
    with pytest.raises(ValueError, match="at least one token, not 0"):
        Shingler("en", 0)
