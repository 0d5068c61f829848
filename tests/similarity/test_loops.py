"""The parts of the loop rules that no filter shows by itself, and their equality with a plain definition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.similarity.loops import Loop, endless_loop, gapless_run, phrase_loop, repeated_line, unlisted


def _plainly(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Period and length of every stretch, looked for at each period and from each word: slow and evident."""
    for period in range(1, len(words)):
        for start in range(len(words) - period):
            end = start
            while end + period < len(words) and words[end] == words[end + period]:
                end += 1
            if end > start:
                yield period, end - start + period


def _is_loop(words: Sequence[str]) -> bool:
    """The rule for words without code or digits, as its docstring has it."""
    size, stretches = len(words), list(_plainly(words))
    whole = min((period for period, length in stretches if length == size), default=size)  # "ha ha" is no phrase
    return 4 <= whole <= size / 2 or any(length >= max(4 * period, 16, size / 3) for period, length in stretches)


@given(
    head=st.lists(st.sampled_from("abc"), max_size=20),
    phrase=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=7),
    times=st.integers(1, 9),
    tail=st.lists(st.sampled_from("abc"), max_size=20),
)
def test_the_rule_for_phrases_is_what_it_says(head: list[str], phrase: list[str], times: int, tail: list[str]) -> None:
    """Looking around three places only finds what looking everywhere finds, save phrases that hold loops themselves."""
    words = head + phrase * times + tail
    found = phrase_loop(" ".join(words)) is not None
    if found or len(set(phrase)) == len(phrase):
        assert found == _is_loop(words)


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        (
            "We came to say: so it goes, so it goes, so it goes, so it goes, so it goes, so it goes.",
            Loop(6, "so it goes,"),
        ),
        ("第一，天亮了天亮了天亮了天亮了天亮了天亮了", Loop(6, "天亮了")),
        ("", None),
        ("word", None),
    ],
)
def test_a_phrase_loop_says_what_and_how_often(text: str, loop: Loop | None) -> None:
    """In lower case, with the punctuation between."""
    assert phrase_loop(text) == loop


def test_a_gapless_run_is_told_by_its_shortest_unit() -> None:
    """Case counts in the text, and not in what is told of it."""
    assert gapless_run("Ah: " + "NaNa" * 10, 40) == Loop(20, "na")
    assert gapless_run("Ah: " + "NaNa" * 10, 41) is None


def test_an_endless_loop_is_told_by_its_shortest_phrase() -> None:
    """One place in the text is enough."""
    assert endless_loop("one two " + "go on " * 5 + "three", 5) == Loop(5, "go on")
    assert endless_loop("one two " + "go on " * 5 + "three", 6) is None
    assert endless_loop("", 5) is None


def test_a_repeated_line_may_be_numbered() -> None:
    """The marks of a list do not make its items differ."""
    text = "1. Open the old gate\n2. Open the old gate\n3. Shut\n"
    assert repeated_line(text, 10, 2, 0.5) == Loop(2, "open the old gate")
    assert repeated_line(text, 10, 2, 0.9) is None
    assert unlisted("1. A\n- B\n2、丙") == "a\nb\n丙"
