"""Rows as token ids: what is learned, what is cut and what is left out, and every count against a second count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.errors import BadData
from selfinstruct.schema import Message
from selfinstruct.training import encoding, sft
from selfinstruct.training.data import Conversation, Preference
from selfinstruct.training.encoding import MASKED, Encoded
from selfinstruct.training.recipe import Tuning
from selfinstruct.training.rendering import Renderer
from tests.training.letters import Letters

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TOKENS = Letters(TEMPLATE, ("<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"))
RENDERER: Any = Renderer(TOKENS)


def _talk(*texts: str, **values: Any) -> Conversation:
    """Turns of user and assistant, one letter a token: "ab", "cd" are the eight tokens U a b . A c d ."""
    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
    messages = tuple(Message(role=roles[place % 2], content=text) for place, text in enumerate(texts))
    return Conversation(messages=messages, source="talk", place=f"talk:{texts[0]}", **values)


def _pair(prompt: str, chosen: str, rejected: str, margin: float | None = None) -> Preference:
    asked = (Message(role="user", content=prompt),)
    return Preference(
        prompt=asked, chosen=chosen, rejected=rejected, margin=margin, source="pairs", place=f"pairs:{prompt}"
    )


def _tuning(kind: Any = "sft", **values: Any) -> Tuning:
    return Tuning(kind=kind, **{"max_length": 64, "max_prompt": 32, **values})


def _talks(rows: Sequence[Conversation], **values: Any) -> Encoded:
    return encoding.conversations(rows, RENDERER, _tuning(**values))


def _lists(made: Encoded, column: str) -> list[list[Any]]:
    return [row.tolist() for row in made.columns[column]]


def _texts(made: Encoded, column: str) -> list[str]:
    return [TOKENS.text(ids) for ids in _lists(made, column)]


def _learned(made: Encoded) -> list[str]:
    """What has a label, as text; the others are dots."""
    return [
        "".join("." if label == MASKED else TOKENS.text([label]) for label in labels)
        for labels in _lists(made, "labels")
    ]


# --- conversations ----------------------------------------------------------------------------------------------------


def test_answers_and_their_ends_are_learned() -> None:
    """The labels are the tokens themselves, at their own places."""
    made = _talks([_talk("ab", "cd", "e", "f"), _talk("g", "h")])
    assert _texts(made, "input_ids")[0] == "<|user|>ab</s><|assistant|>cd</s><|user|>e</s><|assistant|>f</s>"
    assert _learned(made) == [".....cd</s>....f</s>", "....h</s>"]
    assert (len(made), made.tokens, made.supervised, made.cut, made.left_out) == (2, 14 + 6, 5 + 2, 0, {})
    assert (made.places, made.sources) == (["talk:ab", "talk:g"], ["talk", "talk"])
    assert made.columns.keys() == {"input_ids", "labels"}


def test_all_is_learned_where_that_is_wanted() -> None:
    """As Zephyr's published recipe does."""
    made = _talks([_talk("ab", "cd")], loss_on="all")
    assert _lists(made, "labels") == _lists(made, "input_ids")


def test_a_long_record_is_cut_at_its_end_and_counted() -> None:
    """As long as some of an answer is left."""
    made = _talks([_talk("ab", "cdefghij")], max_length=8)
    assert _texts(made, "input_ids") == ["<|user|>ab</s><|assistant|>cde"]
    assert _learned(made) == [".....cde"]
    assert (made.cut, made.tokens, made.supervised) == (1, 8, 3)
    assert list(made.notes()) == ["1 record cut to fit --max-length"]
    whole = _talks([_talk("ab", "cd")], max_length=8)
    assert (whole.cut, whole.tokens) == (0, 8), "exactly as long as there is room"


def test_a_record_of_which_no_answer_is_left_is_left_out_and_named() -> None:
    """Nothing is ever handed on that has no supervised token."""
    rows = [_talk("abcdefghij"[: 6 + place], "x") for place in range(5)]
    made = _talks([_talk("ab", "cd"), *rows], max_length=8)
    assert made.places == ["talk:ab"]
    why = "the prompt alone is longer than --max-length"
    assert made.left_out == {why: [row.place for row in rows]}
    assert list(made.notes()) == [f"5 records left out, {why}: talk:abcdef, talk:abcdefg, talk:abcdefgh, …"]
    assert (made.tokens, made.supervised, made.cut) == (8, 3, 0)


def test_long_records_can_be_left_out_altogether() -> None:
    """Where half an answer is worse than none."""
    made = _talks([_talk("ab", "cd"), _talk("ab", "cde")], max_length=8, too_long="drop")
    assert len(made) == 1
    assert made.left_out == {"too long": ["talk:ab"]}
    assert made.cut == 0


def test_a_length_that_no_record_fits_is_bad_data_with_the_reason() -> None:
    """So is no record at all."""
    with pytest.raises(BadData, match="within --max-length 8: 1 record left out, the prompt alone is longer than"):
        _talks([_talk("abcdefgh", "x")], max_length=8)
    with pytest.raises(BadData, match="there are no rows"):
        _talks([])


WORD = st.text("abc", min_size=1, max_size=6)


@settings(max_examples=40)
@given(st.lists(st.lists(WORD, min_size=2, max_size=6), min_size=1, max_size=6), st.integers(8, 30))
def test_counts_are_those_of_the_columns(texts: list[list[str]], most: int) -> None:
    """Counted again from what was handed on; every row is handed on or named, and is learned from."""
    rows = [_talk(*words[: len(words) // 2 * 2]) for words in texts]
    try:
        made = _talks(rows, max_length=most)
    except BadData:
        return
    labels, ids = _lists(made, "labels"), _lists(made, "input_ids")
    assert made.tokens == sum(map(len, ids))
    assert made.supervised == sum(label != MASKED for row in labels for label in row)
    assert len(made) + sum(map(len, made.left_out.values())) == len(rows)
    for row, said in zip(ids, labels, strict=True):
        assert len(row) == len(said) <= most
        assert any(label != MASKED for label in said[1:])
        assert all(label in (MASKED, token) for token, label in zip(row, said, strict=True))


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weights_that_are_given_are_those_of_the_answers() -> None:
    """A message's own times its conversation's; nothing outside the answers weighs."""
    row = _talk("a", "bc", "d", "e", weight=0.5, weights=(0.0, 1.0, 0.0, 0.25))
    made = _talks([row, _talk("f", "g")])
    assert _lists(made, "weights")[0] == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0, 0, 0, 0, 0.125, 0.125]
    assert _lists(made, "weights")[1] == [0, 0, 0, 0, 1, 1]


def test_where_all_weigh_the_same_there_are_no_weights() -> None:
    """What is given for users' messages does not count, as they are not learned."""
    made = _talks([_talk("a", "b", weights=(0.0, 1.0)), _talk("c", "d")])
    assert made.columns.keys() == {"input_ids", "labels"}
    unwanted = _talks([_talk("a", "b", weight=0.1)], weighting="none")
    assert unwanted.columns.keys() == {"input_ids", "labels"}


def test_a_class_has_the_weight_that_was_said() -> None:
    """OpenChat's paper has 1 for GPT-4 and 0.1 for GPT-3.5."""
    rows = [_talk("a", "b", condition="GPT4"), _talk("c", "d", condition="GPT3")]
    made = _talks(rows, weighting="class", class_weights={"GPT4": 1.0, "GPT3": 0.1})
    assert [max(row) for row in made.columns["weights"]] == pytest.approx([1.0, 0.1])


def test_a_class_without_a_weight_is_bad_data() -> None:
    """Named with its place; so is a row that has no class."""
    rows = [_talk("a", "b", condition="GPT4"), _talk("c", "d", condition="GPT2")]
    with pytest.raises(BadData, match="talk:c: has the class 'GPT2', and class_weights knows only GPT4"):
        _talks(rows, weighting="class", class_weights={"GPT4": 1.0})
    with pytest.raises(BadData, match="talk:e: has no class"):
        _talks([_talk("e", "f")], weighting="class", class_weights={"GPT4": 1.0})


def test_balanced_classes_count_the_same_in_all() -> None:
    """Each record weighs the number of all by the number of its class."""
    rows = [_talk("a", "b", condition="x"), *(_talk("c", "d", condition="y") for _ in range(3))]
    made = _talks(rows, weighting="balanced")
    weights = [max(row) for row in made.columns["weights"]]
    assert weights == pytest.approx([4.0, 4 / 3, 4 / 3, 4 / 3])
    assert weights[0] == pytest.approx(sum(weights[1:]))


def test_what_weighs_nothing_is_left_out_and_not_counted() -> None:
    """A batch of such alone would divide by zero."""
    rows = [_talk("a", "b", weights=(0.0, 0.0)), _talk("c", "d", weights=(0.0, 0.5))]
    made = _talks(rows)
    assert made.places == ["talk:c"]
    assert made.left_out == {"all of it weighs nothing": ["talk:a"]}
    assert (made.tokens, made.supervised) == (6, 2)


@pytest.mark.parametrize("weighting", ["given", "none", "balanced", "class"])
def test_an_answer_of_weight_nothing_is_never_learned(weighting: str) -> None:
    """Whatever else weighs: its tokens have no label, so what is shown and counted as learned is learned."""
    rows = [_talk("a", "bc", "d", "e", weights=(0.0, 0.0, 0.0, 1.0), condition="x"), _talk("f", "g", condition="x")]
    made = _talks(rows, weighting=weighting, class_weights={"x": 1.0} if weighting == "class" else {})
    assert _learned(made) == ["...........e</s>", "....g</s>"]
    assert made.supervised == 4


def test_two_tasks_weigh_as_alpha_says_however_long_they_are() -> None:
    """In learned tokens, ends included; a row without a rationale has its label alone."""
    rows = [
        _talk("ask", "x", rationale="because of this and that"),
        _talk("other", "yes", rationale="so"),
        _talk("p", "q"),
    ]
    made = sft.two_tasks(rows, RENDERER, _tuning(rationale_alpha=0.25), 0.25)
    assert made.places == ["talk:ask", "talk:other", "talk:p", "talk:ask", "talk:other"]
    totals = [float(row.sum()) for row in made.columns["weights"]]
    assert sum(totals[:3]) / sum(totals) == pytest.approx(0.25)
    assert sum(totals) == pytest.approx(made.supervised)
    assert _texts(made, "input_ids")[0].startswith("<|user|>predict: ask")
    assert _learned(made)[3].strip(".") == "because of this and that</s>"


# --- pairs ------------------------------------------------------------------------------------------------------------


def _preferences(rows: Sequence[Preference], **values: Any) -> Encoded:
    return encoding.preferences(rows, RENDERER, _tuning("dpo", **values))


def test_a_pair_is_its_prompt_and_two_answers_with_their_ends() -> None:
    """The prompt ends with the header of the answer."""
    made = _preferences([_pair("ab", "cd", "efg")])
    assert _texts(made, "prompt_ids") == ["<|user|>ab</s><|assistant|>"]
    assert _texts(made, "chosen_ids") == ["cd</s>"]
    assert _texts(made, "rejected_ids") == ["efg</s>"]
    assert (made.tokens, made.supervised, made.cut) == (2 * 5 + 3 + 4, 7, 0)


def test_answers_that_begin_alike_stay_whole() -> None:
    """What they share belongs to the answers, not to the prompt."""
    made = _preferences([_pair("ab", "cd", "ce")])
    assert (_texts(made, "chosen_ids"), _texts(made, "rejected_ids")) == (["cd</s>"], ["ce</s>"])


def test_a_prompt_is_cut_from_the_left_and_answers_from_the_right() -> None:
    """As systems §8.2 has it; a pair that was cut on any side is counted once."""
    made = _preferences([_pair("abcdef", "ghijkl", "mn")], max_prompt=4, max_length=8)
    assert _texts(made, "prompt_ids") == ["ef</s><|assistant|>"]
    assert _texts(made, "chosen_ids") == ["ghij"]
    assert _texts(made, "rejected_ids") == ["mn</s>"]
    assert (made.cut, made.tokens, made.supervised) == (1, 2 * 4 + 4 + 3, 7)
    anything = _preferences([_pair("abcdef", "g", "h")], max_prompt=0)
    assert _texts(anything, "prompt_ids") == ["<|user|>abcdef</s><|assistant|>"]


def test_a_pair_of_which_nothing_is_left_to_tell_apart_is_left_out() -> None:
    """Where both sides are cut to the same tokens, and where the prompt leaves no room."""
    rows = [_pair("ab", "cdefgx", "cdefgy"), _pair("abcdefgh", "x", "y"), _pair("ab", "cd", "ef")]
    made = _preferences(rows, max_prompt=0, max_length=9)
    assert made.places == ["pairs:ab"]
    assert made.left_out == {
        "nothing of what differs fits --max-length": ["pairs:ab"],
        "too long": ["pairs:abcdefgh"],
    }
    with pytest.raises(BadData, match="nothing to learn from within --max-length 9"):
        _preferences(rows[:2], max_prompt=0, max_length=9)


def test_a_comparison_has_both_sides_whole() -> None:
    """A reward is read at the last token, so what is too long is left out and never cut."""
    rows = [_pair("ab", "cd", "efg"), _pair("ab", "cdefgh", "i")]
    made = encoding.comparisons(rows, RENDERER, _tuning("reward", max_length=9))
    assert _texts(made, "chosen_ids") == ["<|user|>ab</s><|assistant|>cd</s>"]
    assert _texts(made, "rejected_ids") == ["<|user|>ab</s><|assistant|>efg</s>"]
    assert made.left_out == {"too long": ["pairs:ab"]}
    assert (made.tokens, made.supervised) == (8 + 9, 2)
    assert made.columns.keys() == {"chosen_ids", "rejected_ids"}


def test_a_margin_is_there_where_it_is_wanted() -> None:
    """A pair without one is bad data then, and says what to do."""
    tuning = _tuning("reward", margin=True)
    made = encoding.comparisons([_pair("a", "b", "c", margin=2)], RENDERER, tuning)
    assert made.columns["margin"] == [2.0]
    with pytest.raises(BadData, match="pairs:a: has no 'margin'; leave --margin out"):
        encoding.comparisons([_pair("a", "b", "c")], RENDERER, tuning)
