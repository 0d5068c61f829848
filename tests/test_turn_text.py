"""turn_text: what of a turn is a side's own words, its sentences, and its folded form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.turn_text import LONGEST_SENTENCE, folded, sentences, unquoted


@pytest.mark.parametrize(
    ("text", "own"),
    [
        pytest.param("Is “yes” right?", "Is   right?", id="curly"),
        pytest.param('Is "yes" right?', "Is   right?", id="straight"),
        pytest.param('"Yes" is right.', '"Yes" is right.', id="a turn may stand in quotation marks itself"),
        pytest.param("Is 'a b' it's right, 'tis?", "Is   it's right, 'tis?", id="apostrophes are none"),
        pytest.param("I’m", "I'm", id="a curly apostrophe"),
        pytest.param("他说「好」《书》『是』", "他说   ", id="Chinese"),
        pytest.param("See `x = 1` and\n```\ncode\n```\nend", "See   and\n \nend", id="code"),
        pytest.param("See ```never closed", "See  ", id="code to the end"),
        pytest.param("Say “never closed", "Say “never closed", id="a mark that is not closed"),
        pytest.param("a 'b\nc' d", "a 'b\nc' d", id="not over a line's end"),
    ],
)
def test_what_is_quoted_or_code_is_not_a_side_s_own(text: str, own: str) -> None:
    """It leaves a space; apostrophes become straight."""
    assert unquoted(text) == own


def test_sentences_keep_their_end_and_lose_their_marks() -> None:
    """They end at marks of both languages and at a line's end, and are read so far only."""
    text = '**Well.**  What   now?! 好的。行；\n- "Yes" ' + "x" * 500
    expected = ("Well.", "What now?!", "好的。", "行；", ('- "Yes" ' + "x" * 500)[:LONGEST_SENTENCE])
    assert sentences(text) == expected


def test_folded_is_lower_case_with_single_spaces() -> None:
    """Also for the odd letters that a pattern without case takes for i, s and k."""
    assert folded("  As\tAN\n\nAİ, \u212aı\u017f 您好\u3000吗 ") == "as an ai, kis 您好 吗"


@given(st.text("aZİ.?！\n\t “”*_'", max_size=40))
def test_the_folded_text_holds_each_of_its_sentences_folded(text: str) -> None:
    """So that one look at the text tells what no sentence can hold."""
    assert all(folded(sentence) in folded(text) for sentence in sentences(text))
