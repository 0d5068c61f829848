"""One turn of a conversation, out of what a model wrote for it."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.parsing import spoken
from tests.hostile_texts import read_in_time

Role = Literal["user", "assistant"]


@pytest.mark.parametrize(
    ("role", "written"),
    [
        ("user", "Where to?"),
        ("user", "  Where to?\n\n"),
        ("user", "User: Where to?"),
        ("user", "user:Where to?"),
        ("user", "USER : Where to?"),
        ("user", "\n\nUser:\nWhere to?"),
        ("user", "**User:** Where to?"),
        ("user", "**User**: Where to?"),
        ("user", "[User]: Where to?"),
        ("user", "(user): Where to?"),
        ("user", "### User: Where to?"),
        ("user", "Human: Where to?"),
        ("user", "Me: Where to?"),
        ("user", "用户：Where to?"),
        ("user", "【用户】：Where to?"),
        ("user", "我: Where to?"),
        ("assistant", "Assistant: Where to?"),
        ("assistant", "AI: Where to?"),
        ("assistant", "**助手：** Where to?"),
        ("assistant", "助理:Where to?"),
    ],
)
@pytest.mark.parametrize("continues", [False, True])
def test_a_label_of_the_speakers_own_is_no_part_of_the_turn(role: Role, written: str, continues: bool) -> None:
    """However it is dressed, and whether or not it is on a line of its own."""
    assert spoken(written, role, continues=continues) == "Where to?"


@pytest.mark.parametrize(
    ("role", "written"),
    [
        ("user", "Users: who are they?"),
        ("user", "User stories: what are they?"),
        ("user", "The user: who is it?"),
        ("user", "A user asks: why?"),
        ("user", "Mean: what is it?"),
        ("user", "我们：是谁？"),
        ("assistant", "AI is short for this: a field."),
        ("assistant", "Assistants: people who assist."),
        ("assistant", "User: they said so."),
        ("user", "Assistant: They point."),
        ("assistant", "Time: 12:30"),
    ],
)
def test_what_only_looks_like_a_label_stays(role: Role, written: str) -> None:
    """Another word, words before it, or the label of the other side, which others judge."""
    assert spoken(written, role, continues=False) == written


@pytest.mark.parametrize(
    ("written", "inner"),
    [
        ('"Where to?"', "Where to?"),
        ("“Where to?”", "Where to?"),
        ("「去哪儿？」", "去哪儿？"),
        ('User: "Where to?"', "Where to?"),
        ('" Where to? "', "Where to?"),
        ('"He says ‘no’. Why?"', "He says ‘no’. Why?"),
    ],
)
def test_quotation_marks_around_all_of_a_users_turn_are_no_part_of_it(written: str, inner: str) -> None:
    """A model that is told to write a message likes to quote it."""
    assert spoken(written, "user", continues=False) == inner


@pytest.mark.parametrize(
    "written",
    [
        '"Yes" or "no"',
        "“是”还是“否”",
        "「一」「二」",
        '"Where to',
        'Where to?"',
        '"',
        "“Where to?",
        'What does "bee"',
    ],
)
def test_quotation_marks_that_are_not_around_all_of_it_stay(written: str) -> None:
    """A turn that begins with one quotation and ends with another is not a quotation."""
    assert spoken(written, "user", continues=False) == written


@pytest.mark.parametrize("written", ['""', "“”", "「」", '" "'])
def test_quotation_marks_around_nothing_are_nothing(written: str) -> None:
    """There is no turn in them."""
    assert spoken(written, "user", continues=False) == ""


def test_an_answer_may_be_a_quotation() -> None:
    """The assistant's marks are its own."""
    assert spoken('"To be or not to be"', "assistant", continues=False) == '"To be or not to be"'


@pytest.mark.parametrize(
    ("role", "written", "turn"),
    [
        ("assistant", " They point.\nUser: Where to?\nAssistant: To food.", "They point."),
        ("assistant", " They point.\n\n**User:** Where to?", "They point."),
        ("assistant", " They point.\n  Human: Where to?", "They point."),
        ("assistant", " 它们指路。\n用户：去哪儿？", "它们指路。"),
        ("user", " Where to?\nAssistant: To food.", "Where to?"),
        ("user", " Where to?\nUser: And why?", "Where to?"),
        ("user", "User: Where to?\nAssistant: To food.", "Where to?"),
        ("user", "User:\nAssistant: To food.", ""),
        ("user", "\nUser: Where to?\nAssistant: To food.", "Where to?"),
        ("assistant", "\n\nAssistant: They point.\nUser: Where to?", "They point."),
        ("assistant", " They point.\nUsers: many.", "They point.\nUsers: many."),
        ("assistant", " They point to the user: here.", "They point to the user: here."),
    ],
)
def test_in_a_transcript_the_turn_ends_before_the_next_label(role: Role, written: str, turn: str) -> None:
    """Whosever it is; a label that only opens the speaker's own turn is not the next one."""
    assert spoken(written, role, continues=True) == turn


def test_elsewhere_a_line_that_begins_like_a_label_ends_nothing() -> None:
    """A chat model answers for one side; a scene or a form it writes may have such lines."""
    written = "A scene:\nUser: hello\nAssistant: hi"
    assert spoken(written, "assistant", continues=False) == written


@pytest.mark.parametrize("written", ["", "  \n ", "User:", "用户：\n"])
def test_nothing_said_is_an_empty_turn(written: str) -> None:
    """For others to judge."""
    assert spoken(written, "user", continues=True) == ""


@given(st.text(alphabet='ab :：\n"“”「」*#[]User我', max_size=40), st.booleans())
def test_a_turn_is_a_part_of_what_was_written_without_white_space_around_it(written: str, continues: bool) -> None:
    """Nothing is added and nothing inside is changed."""
    for role in ("user", "assistant"):
        turn = spoken(written, role, continues=continues)
        assert turn in written
        assert turn == turn.strip()


def test_hostile_answers_end_within_a_generous_limit_of_processor_time() -> None:
    """Labels, dressings, quotation marks and white space without an end."""
    readers = (
        "READERS = [lambda text, role=role, on=on: parsing.spoken(text, role, continues=on)"
        " for role in ('user', 'assistant') for on in (False, True)]"
    )
    pieces = ["\n", " ", "\n ", "*", "\n*", "\n**User", "User:", "\nUser", "[", "\n[ ", '"', "“", "“”", "我", "\n### "]
    whole = ["\n" * 10 + " " * 500_000 + "x", '"' + "a" * 500_000 + '"', "\n" + " *" * 250_000 + "User"]
    read_in_time(pieces, 500_000, whole, readers)
