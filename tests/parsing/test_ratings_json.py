"""Ratings written as JSON: the same values and the same named failures as in text."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.errors import ParseError
from selfinstruct.parsing import RatedText, Wanted, ratings_json

TWO = Wanted(2, types=False, na=True)
TYPED = Wanted(1, types=True, na=False)
A = {"text": 1, "rating": 4, "rationale": "a"}
B = {"text": 2, "rating": "N/A", "rationale": "b"}
BARE_A = {"rating": 4, "rationale": "a"}
BARE_B = {"rating": "N/A", "rationale": "b"}
READ = [RatedText(4, "a", (), ""), RatedText(None, "b", (), "")]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"texts": [A, B]}),
        json.dumps({"texts": [B, A]}, indent=2),
        json.dumps([A, B]),
        f"Here you are:\n```json\n{json.dumps({'texts': [A, B]})}\n```\nI hope this helps {{}}!",
        json.dumps({"texts": [{**A, "text": "1", "rating": "4"}, {**B, "text": "Text 2"}]}),
        json.dumps({"texts": [{**A, "rating": "4/5"}, B], "note": "two texts"}),
        json.dumps({"ratings": [A, B]}),
        json.dumps({"1": {"rating": 4, "rationale": "a"}, "2": {"rating": "n/a", "rationale": "b"}}),
        json.dumps({"text 2": {**B, "text": 2}, "text 1": {"rating": 4.0, "rationale": " a\n"}}),
        json.dumps({"texts": {"1": A, "2": B}}),
        json.dumps([{"rating": 4, "rationale": "a"}, {"rating": "N/A", "rationale": "b"}]),
        *(
            json.dumps([{key: said, **entry} for said, entry in (("Text 2", BARE_B), (1, BARE_A))])
            for key in ("id", "text_id", "number", "index")
        ),
        json.dumps({"texts": [A, B]}) + "\n" + json.dumps({"texts": [A, B]}, indent=1),
        json.dumps({"texts": [{**A, "type": "poem"}, B]}),
    ],
)
def test_one_json_value_is_read_in_its_shapes(text: str) -> None:
    """An object with a list, a list, numbers as keys; fences, chatter and repetition around it."""
    assert ratings_json(text, TWO) == READ


@pytest.mark.parametrize(
    ("types", "read"),
    [
        *(([1, 3], (1, 3)), (["2"], (2,)), (3, (3,)), ("1, 2", (1, 2)), ("None", ()), (["None"], ()), ([], ())),
        *((None, ()), ([3, 1, 3], (1, 3))),
    ],
)
def test_types_are_a_list_a_number_or_a_string(types: Any, read: tuple[int, ...]) -> None:
    """None, null and an empty list are no types."""
    entry = {"text": 1, "type": types, "type_rationale": "x", "rating": 2, "rationale": "y"}
    assert ratings_json(json.dumps({"texts": [entry]}), TYPED) == [RatedText(2, "y", read, "x")]
    assert ratings_json(json.dumps(entry), TYPED) == [RatedText(2, "y", read, "x")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *(("", "not_json"), ("Text 1: 4", "not_json"), ('{"texts": [{"text": 1, "rating": 4', "not_json")),
        *(
            (json.dumps({"texts": [A, B]}) + json.dumps({"texts": [A, A]}), "wrong_shape"),
            ('{"a": 1} {"b": 2}', "wrong_shape"),
        ),
        *(('{"a": 1}', "wrong_shape"), ('{"texts": "none"}', "wrong_shape"), ('{"ratings": [4, 2]}', "wrong_shape")),
        *((json.dumps([A, [B]]), "wrong_shape"), (json.dumps({"first": [A], "more": [B]}), "wrong_shape")),
        *((json.dumps([A, {**B, "text": "second"}]), "wrong_shape"), (json.dumps({"1": B, "2": A}), "wrong_shape")),
        *(
            ('[{"text": 1, "text": 2, "rating": 4}]', "wrong_shape"),
            (json.dumps({"texts": {"a": A, "2": B}}), "wrong_shape"),
        ),
        *(("{}", "no_sections"), ("[]", "no_sections"), ('{"texts": []}', "no_sections")),
        *((json.dumps([A]), "missing_section"), (json.dumps([A, {"rating": 4}]), "missing_section")),
        *((json.dumps([{"rating": 4}]), "missing_section"), (json.dumps([{"rating": 4}] * 3), "extra_section")),
        *(
            (json.dumps([A, B, {**A, "text": 3}]), "extra_section"),
            (json.dumps([A, B, {"rating": 4}]), "extra_section"),
        ),
        *(
            (json.dumps([{key: said, "rating": 4, "rationale": "a"} for said in (2, 1)]), "wrong_shape")
            for key in ("name", "text_number", "output", "文本", "Text #")
        ),
        *(
            (json.dumps([{**A, "id": 2}, B]), "wrong_shape"),
            (json.dumps([{"id": True, "rating": 4}, B]), "wrong_shape"),
        ),
        *(
            (json.dumps([{"index": 0, **BARE_A}, {"index": 1, **BARE_B}]), "extra_section"),
            (json.dumps([{"id": 1, **BARE_A}, {"id": 1, **BARE_B}]), "doubled_section"),
            (json.dumps([{"rating": 4, "rationale": "Text 2: fine"}, BARE_B]), "wrong_shape"),
            (json.dumps([{"rating": "4 (second)", "rationale": "fine"}, BARE_B]), "wrong_shape"),
        ),
        *((json.dumps([A, A]), "doubled_section"), ('{"1": {"rating": 4}, "1": {"rating": 4}}', "doubled_section")),
    ],
)
def test_doubt_about_which_text_is_which_fails_all(text: str, reason: str) -> None:
    """A shape that is not one object for each text, or numbers that are not 1 to the number of texts."""
    with pytest.raises(ParseError) as caught:
        ratings_json(text, TWO)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("entry", "wanted", "reason"),
    [
        *(({"rationale": "a"}, TWO, "missing_rating"), ({"rating": None, "rationale": "a"}, TWO, "missing_rating")),
        *(
            ({"rating": "", "rationale": "a"}, TWO, "missing_rating"),
            ({"rating": True, "rationale": "a"}, TWO, "wrong_shape"),
        ),
        *(({"rating": [4], "rationale": "a"}, TWO, "wrong_shape"), ({"rating": 4, "rationale": 4}, TWO, "wrong_shape")),
        *(({"rating": 3.5, "rationale": "a"}, TWO, "rating_out_of_range"), ({"rating": 0}, TWO, "rating_out_of_range")),
        *(({"rating": 10}, TWO, "rating_out_of_range"), ({"rating": "3-4"}, TWO, "doubled_rating")),
        *(
            ({"rating": 4, "Rating": 5, "rationale": "a"}, TWO, "doubled_rating"),
            ({"rating": 4}, TWO, "missing_rationale"),
        ),
        *(
            ({"rating": 4, "rationale": " "}, TWO, "missing_rationale"),
            ({"rating": 4, "rationale": "＜为什么评这个分＞"}, TWO, "missing_rationale"),
            ({"rating": 4, "rationale": None}, TWO, "missing_rationale"),
        ),
        *(({"rating": 4, "rationale": "a", "Rationale": "b"}, TWO, "doubled_section"),),
        *(({"rating": "N/A", "rationale": "a"}, TWO._replace(na=False), "na_not_allowed"),),
        *(({"rating": 4, "rationale": "a"}, TWO._replace(types=True), "missing_type"),),
        *(({"rating": 4, "type": 1, "types": 2}, TWO._replace(types=True), "doubled_section"),),
        *(({"rating": 4, "type": [4]}, TWO._replace(types=True), "type_out_of_range"),),
        *(({"rating": 4, "type": [1, None]}, TWO._replace(types=True), "type_out_of_range"),),
        *(({"rating": 4, "type": {"a": {}}}, TWO._replace(types=True), "wrong_shape"),),
        *(({"rating": 4, "type": 1, "rationale": "a"}, TWO._replace(types=True), "missing_rationale"),),
    ],
)
def test_a_fault_in_one_entry_leaves_the_others(entry: dict[str, Any], wanted: Wanted, reason: str) -> None:
    """The text with the fault has a named failure in its place; the other has its values."""
    other = {"text": 2, "rating": 3, "rationale": "d", **({"type": [2], "type_rationale": "c"} if wanted.types else {})}
    first, second = ratings_json(json.dumps({"texts": [{"text": 1, **entry}, other]}), wanted)
    assert isinstance(first, ParseError)
    assert first.reason == reason
    assert first.detail.startswith("text 1")
    assert second == RatedText(3, "d", (2,) if wanted.types else (), "c" if wanted.types else "")


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_no_damage_gives_a_text_the_rating_of_another(rng: random.Random) -> None:
    """Characters are taken out or doubled, the end is cut: a text has its own rating, or none."""
    marks = rng.sample(range(1, 6), k=4)
    entries = [{"text": n, "rating": mark, "rationale": f"see text {mark}"} for n, mark in enumerate(marks, 1)]
    rng.shuffle(entries)
    text = json.dumps({"texts": entries}, indent=rng.choice([None, 1]))
    at = rng.randrange(len(text))
    skipped = [place for place, character in enumerate(text) if not character.isdigit()]
    one = rng.choice(skipped)
    spoilt = rng.choice([text[:at], text[:one] + text[one + 1 :], text[:one] + text[one] * 2 + text[one + 1 :]])
    try:
        found = ratings_json(spoilt, Wanted(4, types=False, na=False))
    except ParseError:
        return
    for read, mark in zip(found, marks, strict=True):
        assert isinstance(read, ParseError) or read.rating == mark, spoilt
