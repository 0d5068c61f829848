"""No judge answer, however hostile, takes more than time linear in its length."""

from __future__ import annotations

import sys

import pytest

from tests.hostile_texts import read_in_time

SIZE = 100_000
REPEATED = [
    *("*", "#", " ", "\n", "1", "[", "(", "> a\n", "1. ", "Text ", "Text 1 ", "Text 1:\n", "rating for ", "Rating ( "),
    *("Rating: 4\n", "Rationale:\n\n", "Type: 1\nRationale: a\nRating: 4\nRationale: b\n", "1, ", "1 and ", "```\n"),
    *("[[7]] ", "[[7]]\n", "Overall Score:\n", "Overall Score: 7\n", "I rate it 7/10 ", "给8分", "let me know\n\n"),
    *('{"texts": [', '{"text": 1, "rating": 4},', "文本1的", "评分：", "## Summary\n\n", "total overall score ", "a. "),
]
READERS = """
READERS = [
    *(lambda text, types=types: parsing.ratings(text, parsing.Wanted(4, types, True)) for types in (True, False)),
    lambda text: parsing.ratings("Rating: " + text, parsing.Wanted(1, False, True)),
    lambda text: parsing.ratings_json(text, parsing.Wanted(4, True, True)),
    parsing.critique,
    parsing.critique_json,
    parsing.overall_score,
    lambda text: parsing.overall_score("Overall Score: " + text),
]
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on processor time")
def test_hostile_judge_answers_end_within_a_generous_limit_of_processor_time() -> None:
    """100 kB of each piece regular expressions like least: a fifth of the limit serves them all."""
    read_in_time(REPEATED, SIZE, ["Text" + " " * SIZE + "1", "Rating" + " " * SIZE + ":"], READERS)
