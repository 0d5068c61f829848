"""Each shape of rows becomes the same examples; what cannot be learnt from is counted or refused where it stands."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.errors import BadData
from selfinstruct.rows import row_of
from selfinstruct.schema import Message
from selfinstruct.training import shapes
from selfinstruct.training.examples import Conversation, Critiqued, Preference
from selfinstruct.training.shapes import Reading, check_shape, shape_of

TIDE, MOON = "When is high water?", "At noon, and again at midnight."
ASKED, ANSWERED = {"role": "user", "content": TIDE}, {"role": "assistant", "content": MOON}
WORSE = {"role": "assistant", "content": "Never."}
MORE = [{"role": "user", "content": "潮汐从何而来？"}, {"role": "assistant", "content": "来自月球的引力。"}]
SYSTEM = {"role": "system", "content": "You know the sea."}


def read(take: Any, value: dict[str, Any]) -> tuple[list[Any], Counter[str]]:
    """The examples of a row at ``tides:3``, and what was left out."""
    skipped: Counter[str] = Counter()
    return list(take(row_of("tides", 3, orjson.dumps(value)), Reading("tides", "tides:3", skipped))), skipped


def conversation(value: dict[str, Any]) -> Conversation:
    """The one conversation of a row of which nothing is left out."""
    found, skipped = read(shapes.conversations, value)
    assert (len(found), skipped) == (1, Counter())
    assert isinstance(found[0], Conversation)
    return found[0]


def pair(value: dict[str, Any]) -> Preference:
    """The one pair of a row of which nothing is left out."""
    found, skipped = read(shapes.preferences, value)
    assert (len(found), skipped) == (1, Counter())
    assert isinstance(found[0], Preference)
    return found[0]


def said(*turns: dict[str, Any]) -> tuple[Message, ...]:
    """Turns as messages."""
    return tuple(Message(**turn) for turn in turns)


# --- conversations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [ASKED, ANSWERED]},
        {"messages": [ASKED, ANSWERED], "prompt": "other", "prompt_id": "0f"},
        {"prompt": TIDE, "completion": MOON},
        {"prompt": [ASKED], "completion": [ANSWERED]},
        {"prompt": [ASKED], "completion": MOON, "messages": None},
        {"instruction": TIDE, "input": "", "output": MOON, "text": "all of it"},
        {"instruction": TIDE, "input": None, "output": MOON},
        {"instruction": TIDE, "output": MOON, "data": "2023-05-01"},
        {"input": TIDE, "target": MOON},
        {"input": TIDE, "label": MOON, "rationale": ""},
        {"conversations": [{"from": "human", "value": TIDE}, {"from": "gpt", "value": MOON}]},
        {"conversations": [{"from": "human", "value": TIDE}, {"from": "assistant", "value": MOON}], "system": ""},
        {"items": [ASKED, ANSWERED], "system": "", "condition": ""},
        {"items": [{"from": "human", "value": TIDE}, {"from": "gpt", "value": MOON}], "model": "Model: GPT-4"},
        {"id": "12", "data": [TIDE, MOON]},
    ],
)
def test_one_question_and_its_answer_are_the_same_conversation_in_every_shape(value: dict[str, Any]) -> None:
    """Ours, TRL's, Alpaca's, BELLE's, ShareGPT's, OpenChat's, UltraChat's; what it stands among changes nothing."""
    assert conversation(value) == Conversation(messages=said(ASKED, ANSWERED), source="tides", place="tides:3")


def test_an_input_stands_behind_the_instruction_and_a_blank_line() -> None:
    """As our own requests have it; one of white space is none."""
    with_input = conversation({"instruction": "Translate.", "input": "潮汐", "output": "tide"})
    assert with_input.messages[0].content == "Translate.\n\n潮汐"
    assert conversation({"instruction": "Sing.", "input": " \n", "output": "La"}).messages[0].content == "Sing."


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [SYSTEM, ASKED, ANSWERED, *MORE]},
        {"messages": [ASKED, ANSWERED, *MORE], "system": "You know the sea."},
        {"messages": [SYSTEM, ASKED, ANSWERED, *MORE], "system": "Another one."},
    ],
)
def test_a_system_message_comes_first_and_turns_follow(value: dict[str, Any]) -> None:
    """Of the list, or of a field of its own; that of the list comes before the field's."""
    assert conversation(value).messages == said(SYSTEM, ASKED, ANSWERED, *MORE)


def test_texts_are_kept_as_they_are() -> None:
    """With white space at their ends, marks of templates, and other planes of Unicode."""
    text = "  <|im_end|>\r\n🌊\u3000"
    assert [turn.content for turn in conversation({"prompt": text, "completion": text}).messages] == [text, text]


def test_openchat_rows_keep_weights_and_class() -> None:
    """A weight for each message, 0 where the user or the system speaks."""
    found = conversation(
        {
            "items": [{**ASKED, "weight": 0.0}, {**ANSWERED, "weight": 0.1}],
            "condition": "GPT3",
            "system": "You know the sea.",
        }
    )
    assert (found.weights, found.weight, found.condition) == ((0.0, 0.0, 0.1), 1.0, "GPT3")
    assert found.messages == said(SYSTEM, ASKED, ANSWERED)


def test_a_row_may_weigh_as_a_whole_and_say_why_its_answer_is_right() -> None:
    """In any shape."""
    found = conversation({"prompt": TIDE, "label": MOON, "rationale": "Twice a day.", "weight": 2})
    assert (found.weight, found.weights, found.rationale) == (2.0, (), "Twice a day.")


def test_of_turns_in_a_prompt_only_the_completion_is_learnt() -> None:
    """The data set its answers apart; as TRL reads such rows."""
    assert conversation({"prompt": [SYSTEM, ASKED, ANSWERED, MORE[0]], "completion": [MORE[1]]}).weights == (
        *(0.0, 0.0, 0.0, 0.0),
        1.0,
    )
    assert conversation({"prompt": [ASKED], "completion": [ANSWERED, *MORE]}).weights == ()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"prompt": TIDE, "completion": " \n"}, "empty_answer"),
        ({"instruction": TIDE, "input": "", "output": None}, "empty_answer"),
        ({"messages": [ASKED, {**ANSWERED, "content": ""}, *MORE]}, "empty_answer"),
        ({"messages": [ASKED]}, "no_answer"),
        ({"messages": [SYSTEM]}, "no_answer"),
        ({"prompt": "", "completion": MOON}, "empty_prompt"),
        ({"prompt": TIDE, "completion": MOON, "weight": 0}, "no_weight"),
        ({"items": [ASKED, {**ANSWERED, "weight": 0}]}, "no_weight"),
    ],
)
def test_what_has_nothing_to_learn_is_left_out_and_counted(value: dict[str, Any], reason: str) -> None:
    """By its reason; it is no error."""
    assert read(shapes.conversations, value) == ([], Counter({reason: 1}))


def test_a_last_turn_of_the_user_is_cut_and_counted() -> None:
    """What was answered before is learnt."""
    found, skipped = read(shapes.conversations, {"messages": [ASKED, ANSWERED, MORE[0]]})
    assert [one.messages for one in found] == [said(ASKED, ANSWERED)]
    assert skipped == Counter({"last_turn_cut": 1})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"messages": [ANSWERED, ASKED]}, "turn 1 is the assistant's, and should be the user's"),
        ({"messages": [SYSTEM, ASKED, ASKED, ANSWERED]}, "turn 3 is the user's, and should be the assistant's"),
        ({"messages": [ASKED, SYSTEM, ANSWERED]}, "turn 2 is the system's, and should be the assistant's"),
        ({"messages": [SYSTEM, SYSTEM, ASKED]}, "turn 2 is the system's, and should be the user's"),
        ({"messages": []}, "the field 'messages' has no turns"),
        ({"messages": "hello"}, "the field 'messages' is no list of turns"),
        ({"messages": {"role": "user"}}, "the field 'messages' is no list of turns"),
        ({"messages": ["hello", "you"]}, "the field 'messages.0' is no turn: expected a role and a content"),
        ({"data": [TIDE, 7]}, "the field 'data.1' is no turn"),
        ({"messages": [{"role": "user"}]}, "the turn 'messages.0' has no 'content'; it has: role"),
        ({"messages": [{}]}, "the turn 'messages.0' has no 'role'; it has: nothing"),
        ({"messages": [{"from": "human", "content": TIDE}]}, "the turn 'messages.0' has no 'value'; it has: from, con"),
        ({"messages": [ASKED, {**ANSWERED, "role": "tool"}]}, "the turn 'messages.1' is of 'tool'; taken are system, "),
        ({"messages": [{"role": 1, "content": TIDE}]}, "the field 'messages.0.role' is a number, and no text"),
        ({"messages": [{**ASKED, "content": [{"type": "text"}]}]}, "the field 'messages.0.content' is a list, and no"),
        ({"messages": [ASKED, {**ANSWERED, "content": None}]}, "the field 'messages.1.content' is null, and no text"),
        ({"messages": [ASKED, {**ANSWERED, "weight": "1"}]}, "the field 'weight' is no number"),
        ({"messages": [ASKED, {**ANSWERED, "weight": -1}]}, "the field 'messages.1.weight' is -1, and must not be neg"),
        ({"items": [ASKED, {**ANSWERED, "weight": 1}, *MORE]}, "turn 4 has no weight, and others have one"),
        ({"items": [{**ASKED, "weight": 1}, {**ANSWERED, "weight": 1}]}, "turn 1 is the user's, and only answers can"),
        ({"prompt": TIDE, "completion": MOON, "weight": "3 kg"}, "the field 'weight' is no number"),
        ({"prompt": TIDE, "completion": MOON, "weight": True}, "the field 'weight' is no number"),
        ({"prompt": TIDE, "completion": MOON, "weight": -0.5}, "the field 'weight' is -0.5, and must not be negative"),
        ({"prompt": TIDE, "completion": MOON, "label": False}, "the field 'label' is a truth value: good and bad answ"),
        ({"prompt": TIDE, "completion": {"text": MOON}}, "the field 'completion' is an object, and no text"),
        ({"prompt": None, "completion": MOON}, "the field 'prompt' is null, and no text"),
        ({"prompt": TIDE, "label": 3}, "the field 'label' is a number, and no text"),
        ({"prompt": TIDE, "completion": MOON, "condition": 4}, "the field 'condition' is a number, and no text"),
        ({"prompt": TIDE, "prompt_id": "a"}, "has 'prompt' and no answer to it (output, completion, label, target)"),
        ({"text": "All in one."}, "nothing to learn from; the row has: text. Expected: messages; prompt, completion"),
        ({}, "nothing to learn from; the row has: no fields at all"),
        ({str(number): 0 for number in range(30)}, ", 18, 19, …. Expected"),
    ],
)
def test_a_row_that_is_wrong_is_refused_with_its_place(value: dict[str, Any], message: str) -> None:
    """And with what is wrong, and where in the row."""
    with pytest.raises(BadData) as caught:
        read(shapes.conversations, value)
    assert str(caught.value).startswith("tides:3: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("weight", [b"1e999", b"-1e999"])
def test_a_weight_beyond_all_numbers_is_refused(weight: bytes) -> None:
    """Some readers of JSON take it for infinity."""
    row = row_of("tides", 3, b'{"prompt": "a", "completion": "b", "weight": ' + weight + b"}")
    with pytest.raises(BadData, match=r"^tides:3: "):
        list(shapes.conversations(row, Reading("tides", "tides:3", Counter())))


# --- preference pairs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": TIDE, "chosen": MOON, "rejected": "Never."},
        {"instruction": TIDE, "input": "", "chosen": MOON, "rejected": "Never."},
        {"prompt": [ASKED], "chosen": [ANSWERED], "rejected": [WORSE]},
        {"prompt": TIDE, "chosen": [ANSWERED], "rejected": [WORSE]},
        {"prompt": [ASKED], "chosen": MOON, "rejected": "Never."},
        {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, WORSE]},
        {"prompt": None, "chosen": [ASKED, ANSWERED], "rejected": [ASKED, WORSE]},
        {"prompt": [ASKED], "chosen": [ASKED, ANSWERED], "rejected": [WORSE]},
        {"prompt": "User: …", "messages": [ASKED], "chosen": [ASKED, ANSWERED], "rejected": [ASKED, WORSE]},
        {"instruction": TIDE, "history": [], "chosen": {"response": MOON}, "rejected": {"response": "Never."}},
        {"instruction": TIDE, "chosen_response": MOON, "rejected_response": "Never."},
    ],
)
def test_a_pair_is_the_same_in_every_shape(value: dict[str, Any]) -> None:
    """TRL's with and without a prompt, H4's, Argilla's, and our own records."""
    assert pair(value) == Preference(
        prompt=said(ASKED), chosen=MOON, rejected="Never.", source="tides", place="tides:3"
    )


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": [SYSTEM, ASKED, ANSWERED, MORE[0]], "chosen": [MORE[1]], "rejected": [WORSE]},
        {"prompt": [SYSTEM, ASKED], "chosen": [ANSWERED, *MORE], "rejected": [ANSWERED, MORE[0], WORSE]},
        {
            "system": "You know the sea.",
            "chosen": [ASKED, ANSWERED, *MORE],
            "rejected": [ASKED, ANSWERED, MORE[0], WORSE],
        },
        {
            "system": "You know the sea.",
            "instruction": MORE[0]["content"],
            "history": [ASKED, ANSWERED],
            "chosen": MORE[1]["content"],
            "rejected": "Never.",
        },
    ],
)
def test_the_prompt_of_a_pair_is_all_but_the_last_turn(value: dict[str, Any]) -> None:
    """Wherever its turns stand."""
    found = pair(value)
    assert found.prompt == said(SYSTEM, ASKED, ANSWERED, MORE[0])
    assert (found.chosen, found.rejected) == ("来自月球的引力。", "Never.")


@pytest.mark.parametrize(
    ("more", "margin"),
    [
        ({}, None),
        ({"margin": 2.5}, 2.5),
        ({"margin": 0}, 0.0),
        ({"score_chosen": 8.5, "score_rejected": 6}, 2.5),
        ({"score_chosen": 8.5, "score_rejected": None}, None),
        ({"chosen_avg_rating": 4.5, "rejected_avg_rating": 3.25}, 1.25),
        ({"margin": 1, "score_chosen": 8.5, "score_rejected": 6}, 1.0),
    ],
)
def test_a_margin_is_the_rows_own_or_the_difference_of_its_scores(more: dict[str, Any], margin: float | None) -> None:
    """None where it has neither."""
    assert pair({"prompt": TIDE, "chosen": MOON, "rejected": "Never.", **more}).margin == margin


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"chosen": MOON, "rejected": MOON}, "same_answer"),
        ({"chosen": MOON, "rejected": ""}, "empty_answer"),
        ({"chosen": None, "rejected": MOON}, "empty_answer"),
        ({"prompt": " ", "chosen": MOON, "rejected": "Never."}, "empty_prompt"),
    ],
)
def test_a_pair_without_a_difference_is_left_out_and_counted(value: dict[str, Any], reason: str) -> None:
    """By its reason."""
    assert read(shapes.preferences, {"prompt": TIDE, **value}) == ([], Counter({reason: 1}))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"prompt": TIDE, "chosen": MOON}, "has 'chosen' and no 'rejected'"),
        ({"prompt": TIDE, "rejected": MOON}, "has 'rejected' and no 'chosen'"),
        ({"prompt": TIDE, "chosen_response": MOON}, "has 'chosen_response' and no 'rejected_response'"),
        ({"chosen": MOON, "rejected": "Never."}, "'chosen' needs a 'prompt', or to be a list of turns"),
        ({"chosen": [ANSWERED], "rejected": [WORSE]}, "has nothing that was asked (instruction, prompt, input)"),
        ({"chosen": [ASKED, ANSWERED], "rejected": [MORE[0], WORSE]}, "'chosen' and 'rejected' differ before their la"),
        ({"chosen": [ASKED, ANSWERED], "rejected": [ASKED]}, "'rejected' does not end with an answer: its last turn i"),
        (
            {"prompt": [MORE[0]], "chosen": [ASKED, ANSWERED], "rejected": [WORSE]},
            "'chosen' does not begin with the tu",
        ),
        ({"prompt": [ASKED, ANSWERED], "chosen": [ANSWERED], "rejected": [WORSE]}, "turn 3 is the assistant's"),
        ({"prompt": TIDE, "chosen": 7, "rejected": MOON}, "the field 'chosen' is a number, and no text"),
        ({"prompt": TIDE, "chosen": {"text": MOON}, "rejected": MOON}, "no field 'chosen.response'"),
        ({"prompt": TIDE, "chosen": MOON, "rejected": "Never.", "margin": "2"}, "the field 'margin' is no number"),
    ],
)
def test_a_pair_that_is_wrong_is_refused_with_its_place(value: dict[str, Any], message: str) -> None:
    """And with what is wrong."""
    with pytest.raises(BadData) as caught:
        read(shapes.preferences, value)
    assert str(caught.value).startswith("tides:3: ")
    assert message in str(caught.value)


# --- critiques --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["response", "completion", "output"])
@pytest.mark.parametrize("score", ["score", "overall_score"])
def test_an_answer_with_its_critique_and_score(answer: str, score: str) -> None:
    """Under any of their names."""
    found, _ = read(shapes.critiques, {"prompt": TIDE, answer: MOON, "critique": "Name the port.", score: 7})
    assert found == [
        Critiqued(
            prompt=said(ASKED), response=MOON, critique="Name the port.", score=7.0, source="tides", place="tides:3"
        )
    ]


def test_each_completion_with_a_critique_is_an_example() -> None:
    """With its number in its place; what has no critique, or no text, is counted."""
    completions = [
        {"response": MOON, "critique": "Name the port.", "overall_score": 7.5},
        {"response": "Never.", "critique": None, "overall_score": None},
        {"response": "", "critique": "Say something."},
        {"response": "Now.", "critique": "Which now?"},
    ]
    value = {"instruction": "夜里呢？", "history": [ASKED, ANSWERED], "completions": completions}
    found, skipped = read(shapes.critiques, value)
    assert [(one.place, one.response, one.score) for one in found] == [
        ("tides:3/0", MOON, 7.5),
        ("tides:3/3", "Now.", None),
    ]
    assert found[0].prompt == said(ASKED, ANSWERED, {"role": "user", "content": "夜里呢？"})
    assert skipped == Counter({"no_critique": 1, "empty_answer": 1})
    assert read(shapes.critiques, {"instruction": TIDE, "completions": []}) == ([], Counter({"no_answer": 1}))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"response": MOON, "critique": "Hm."}, "has nothing that was asked"),
        ({"prompt": TIDE, "critique": "Hm."}, "has a critique and no answer that it is of (response, completion, out"),
        ({"prompt": TIDE, "response": MOON, "critique": 7}, "the field 'critique' is a number, and no text"),
        ({"prompt": TIDE, "response": MOON, "critique": "Hm.", "score": "7"}, "the field 'score' is no number"),
        ({"prompt": [ASKED, ANSWERED], "response": MOON, "critique": "Hm."}, "turn 3 is the assistant's"),
    ],
)
def test_a_critique_that_is_wrong_is_refused_with_its_place(value: dict[str, Any], message: str) -> None:
    """And with what is wrong."""
    with pytest.raises(BadData) as caught:
        read(shapes.critiques, value)
    assert str(caught.value).startswith("tides:3: ")
    assert message in str(caught.value)


# --- shapes -----------------------------------------------------------------------------------------------------------

OF_EACH: dict[shapes.Shape, dict[str, Any]] = {
    "conversation": {"prompt": TIDE, "completion": MOON},
    "preference": {"prompt": TIDE, "chosen": MOON, "rejected": "Never.", "messages": [ASKED, ANSWERED]},
    "critique": {"prompt": TIDE, "response": MOON, "critique": "Name the port."},
    "ratings": {"instruction": TIDE, "completions": [{"response": MOON}]},
}


@pytest.mark.parametrize("found", OF_EACH)
@pytest.mark.parametrize("wanted", OF_EACH)
def test_rows_of_another_shape_are_refused_with_what_takes_them(found: shapes.Shape, wanted: shapes.Shape) -> None:
    """Those of the right one are not."""
    row = row_of("tides", 3, orjson.dumps(OF_EACH[found]))
    assert shape_of(row) == found
    if found == wanted:
        check_shape(row, wanted)
        return
    with pytest.raises(BadData) as caught:
        check_shape(row, wanted)
    assert str(caught.value) == f"tides:3: these rows are {shapes.WHAT[found]}: {shapes.WHERE_TO[found]}"


def test_a_line_that_is_no_row_is_refused_with_the_reason() -> None:
    """As the reader of lines found it."""
    with pytest.raises(BadData, match=r"^tides:3: not JSON"):
        shape_of(row_of("tides", 3, b"{oops"))


_KEYS = st.sampled_from(
    "messages conversations items data prompt instruction input output completion label chosen rejected critique"
    " response completions system weight condition rationale margin history score".split()
)
_LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3)
_TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": _LEAVES}, optional={"weight": _LEAVES}
)
_ANYTHING = _LEAVES | st.lists(_TURN | _LEAVES, max_size=4) | st.dictionaries(_KEYS, _LEAVES, max_size=3)


@given(st.dictionaries(_KEYS, _ANYTHING, max_size=6))
def test_any_row_is_an_example_or_counted_or_refused(value: dict[str, Any]) -> None:
    """Nothing else happens, and what is taken has an answer and alternates."""
    for take in (shapes.conversations, shapes.preferences, shapes.critiques):
        try:
            found, skipped = read(take, value)
        except BadData as error:
            assert str(error).startswith("tides:3: ")
            continue
        assert found or skipped.total() >= 1
        for one in found:
            turns = one.messages if isinstance(one, Conversation) else one.prompt
            roles = [turn.role for turn in turns if turn.role != "system"]
            assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
            assert len(one.group) == 64
