"""Passages: what stands in a text is found where it stands, whole, in long runs, or with a few changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.similarity import ngrams
from selfinstruct.similarity.ngrams import Found, Passages, weight

LETTERS = "abc"
RUN = 13 * ngrams.WORD
PASSAGE = [f"word{chr(97 + n)}" for n in range(30)]  # without digits: a number counts twice
FILLER = [f"other{n}" for n in range(100)]


def _found(passages: list[list[str]], text: list[str], order: float = 0.5) -> dict[int, Found]:
    """What is found of each passage; of several stretches the best."""
    found = Passages(passages, RUN).find(text, order)
    return {one.passage: one for one in sorted(found, key=lambda one: (one.whole, one.order, one.runs))}


def _holds(text: list[str], passage: list[str]) -> bool:
    return any(text[first : first + len(passage)] == passage for first in range(len(text) - len(passage) + 1))


@given(
    st.lists(st.lists(st.sampled_from(LETTERS), min_size=4, max_size=10), min_size=1, max_size=4),
    st.lists(st.sampled_from(LETTERS), max_size=40),
)
def test_whole_is_what_a_search_by_hand_finds(passages: list[list[str]], text: list[str]) -> None:
    """A passage is whole exactly when its tokens stand in the text one after the other, wherever."""
    found = _found(passages, text)
    for number, passage in enumerate(passages):
        assert (number in found and found[number].whole) == _holds(text, passage)


@given(st.integers(0, 100), st.lists(st.integers(0, 29), max_size=4, unique=True))
def test_changed_tokens_lower_the_order_by_their_share(place: int, changed: list[int]) -> None:
    """Up to four tokens of thirty replaced: the share in order is that of the others, whatever stands around."""
    edited = [f"new{n}" if n in changed else token for n, token in enumerate(PASSAGE)]
    found = _found([PASSAGE], FILLER[:place] + edited + FILLER[place:])[0]
    assert found.order == (30 - len(changed)) / 30
    assert found.whole == (not changed)


def test_start_is_the_token_where_the_passage_begins() -> None:
    """Behind 17 other tokens the passage begins at token 17; without its first ten tokens, ten before the text."""
    assert _found([PASSAGE], FILLER[:17] + PASSAGE)[0].start == 17
    assert _found([PASSAGE], PASSAGE[10:] + FILLER)[0].start == -10


def test_runs_counts_unbroken_stretches_of_the_asked_weight_only() -> None:
    """Thirteen words in a row of thirty are 13/30, twelve are nothing, and two stretches add up in any order."""
    found = {n: _found([PASSAGE], FILLER + PASSAGE[5 : 5 + n] + FILLER)[0].runs for n in (12, 13)}
    assert found == {12: 0.0, 13: pytest.approx(13 / 30)}
    assert _found([PASSAGE], PASSAGE[15:] + FILLER + PASSAGE[:15])[0].runs == 1.0


def test_a_run_of_ideographs_weighs_two_thirds_of_words() -> None:
    """Twenty ideographs in a row are a run of thirteen words, nineteen are not."""
    passage = [chr(0x4E00 + n) for n in range(40)]
    found = {n: _found([passage], [*FILLER, *passage[:n], *FILLER])[0].runs for n in (19, 20)}
    assert found == {19: 0.0, 20: 0.5}
    assert weight(["法", "国", "2", "words"]) == 2 * ngrams.IDEOGRAPH + 2 * ngrams.WORD


def test_a_lost_number_counts_twice() -> None:
    """Of ten tokens, one other word leaves 9 tenths, one other number 8."""
    passage = "tom has 12 apples and eats 5 of them today".split()
    assert _found([passage], "tom has 12 pears and eats 5 of them today".split())[0].order == 0.9
    assert _found([passage], "tom has 12 apples and eats 7 of them today".split())[0].order == 0.8


def test_order_below_the_asked_share_is_told_as_none() -> None:
    """Half of a passage is not in order where six tenths are asked for, and is where a half is."""
    half = FILLER[:20] + PASSAGE[:15] + FILLER[20:]
    assert _found([PASSAGE], half, order=0.6)[0].order == 0.0
    assert _found([PASSAGE], half, order=0.5)[0].order == 0.5


def test_what_all_passages_share_tells_nothing_of_one() -> None:
    """Of forty passages with one long preface, a text with the preface alone holds nothing in order and no run."""
    preface = [f"preface{n}" for n in range(40)]
    passages = [preface + [f"own{n}x{m}" for m in range(10)] for n in range(ngrams.FAMILIAR + 8)]
    assert all((one.runs, one.order) == (0.0, 0.0) for one in _found(passages, FILLER + preface + FILLER).values())
    found = _found(passages, FILLER + passages[7] + FILLER)
    assert found[7].whole
    assert [n for n, one in found.items() if one.whole or one.order or one.runs] == [7]


def test_passages_that_are_all_alike_are_found_still() -> None:
    """A thousand copies share every run, and the text that holds one holds them: the first are named."""
    found = _found([PASSAGE] * 1000, FILLER + PASSAGE)
    assert found[0] == Found(0, 100, True, 1.0, 1.0)
    assert len(found) == ngrams.TRIED


def test_a_text_of_many_stretches_is_searched_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in a long text the passage stands, also across the end of a stretch, it is found in its place."""
    monkeypatch.setattr(ngrams, "STRETCH", 160)
    passages = Passages([PASSAGE], RUN)
    for place in range(0, 300, 7):
        text = (FILLER * 4)[:place] + PASSAGE + (FILLER * 4)[place:]
        assert (0, place, True) in [(one.passage, one.start, one.whole) for one in passages.find(text, 0.5)]


def test_no_passages_and_short_ones_are_never_found() -> None:
    """Neither an empty index, nor passages of three tokens, nor a text of three find anything."""
    assert Passages([], RUN).find(FILLER, 0.5) == []
    assert Passages([["a", "b", "c"], []], RUN).find(["a", "b", "c", "a"], 0.5) == []
    assert Passages([PASSAGE], RUN).find(PASSAGE[:3], 0.5) == []
    assert (len(Passages([], RUN)), len(Passages([PASSAGE, []], RUN))) == (0, 2)


def test_the_table_is_the_same_in_every_process() -> None:
    """The hash does not follow Python's salt: two processes with other salts lay the same table."""
    code = (
        "import hashlib; from selfinstruct.similarity.ngrams import Passages;"
        "p = Passages([[f'word{n * m % 97}' for n in range(30)] for m in range(50)], 39);"
        "print(hashlib.sha256(p._table.tobytes() + p._places.tobytes()).hexdigest())"
    )
    root = Path(__file__).parents[2]
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, env={"PYTHONHASHSEED": salt}, capture_output=True, check=True
        ).stdout
        for salt in ("1", "2")
    }
    assert len(printed) == 1
