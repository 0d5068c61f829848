"""Declining: models that give up, or speak of themselves, are told from people who cannot do something."""

from __future__ import annotations

import pytest

from selfinstruct.guards.declining import LONGEST, Declining
from selfinstruct.protocols import Drop, Turn
from selfinstruct.schema import Lang
from tests.guards.turns import fewest, judged, misjudged, turn_of
from tests.hostile_texts import read_in_time

DECLINING = Declining()


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", ["refusal", "as_an_ai"])
def test_each_turn_has_the_verdict_written_beside_it(name: str, lang: Lang) -> None:
    """A model's own voice is told from letters, stories, quotations, people in the trade, and people without luck."""
    assert misjudged(DECLINING, name, lang) == []
    drops = [(turn.role, drop.detail) for turn, _ in judged(name, lang) if (drop := DECLINING.check(turn))]
    assert [detail for role, detail in drops if not detail.startswith(f"{role}: ")] == []


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", ["refusal", "as_an_ai"])
def test_there_are_forty_turns_of_each_verdict(name: str, lang: Lang) -> None:
    """So that no rule stands on a handful of examples."""
    assert fewest(name, lang) >= 40


@pytest.mark.parametrize(
    ("turn", "drop"),
    [
        pytest.param(
            turn_of("assistant", "I can't help with that."),
            Drop("refusal", "assistant: I can't help with that."),
            id="no",
        ),
        pytest.param(
            turn_of("user", "Nice! But I cannot act as the user."),
            Drop("refusal", "user: But I cannot act as the user."),
            id="a user who gives up",
        ),
        pytest.param(
            turn_of("assistant", "Two. As an AI, I can count."),
            Drop("as_an_ai", "assistant: As an AI, I can count."),
            id="where it begins",
        ),
        pytest.param(
            turn_of("assistant", "As an AI, I count the stars.", ["Play an AI on a ship.", "Ahoy!", "What do you do?"]),
            None,
            id="a voice that was asked for by the opener",
        ),
        pytest.param(
            turn_of("assistant", "As an AI, I have no feelings. Ahoy!", ["Play an AI on a ship."]),
            Drop("as_an_ai", "assistant: As an AI, I have no feelings. Ahoy!"),
            id="its own voice all the same",
        ),
        pytest.param(
            turn_of("user", "As an AI, I count the stars. And you?", ["What can an AI count?", "Stars."]),
            Drop("as_an_ai", "user: As an AI, I count the stars. And you?"),
            id="no voice is asked of a user",
        ),
    ],
)
def test_who_says_it_decides(turn: Turn, drop: Drop | None) -> None:
    """A machine's voice may be what an assistant was asked for; the drop says whose words it were."""
    assert DECLINING.check(turn) == drop


def test_a_long_user_turn_is_a_pasted_text() -> None:
    """A chat that somebody pastes holds such words, a short turn of a user does not."""
    said, rest = "I'm sorry, but I can't continue this conversation. ", "It is about the sea. "
    short = said + rest * ((LONGEST - len(said)) // len(rest))
    assert DECLINING.check(turn_of("user", short)) is not None
    assert DECLINING.check(turn_of("user", short + rest)) is None


HOSTILE = [
    *(
        "as an ai, ",
        "i ",
        "I can't ",
        "i cannot continue ",
        "i am not able to ",
        "but ",
        "sorry, but i ",
        "you want me to ",
    ),
    *(
        "you want me to role-play ",
        "my ",
        "作为",
        "作为AI，我",
        "我",
        "我不能",
        "抱歉，",
        "希望我",
        "用户的",
        "我不能继续这个",
        "说",
        "say ",
        ".",
        ":",
    ),
    *(
        "i cannot play the part of ",
        "我不能再继续来去",
        "i am sorry ",
        "user ",
        "i don't think it would be right to ",
        "“",
        "是我是",
        "of the ",
    ),
]


def test_a_hostile_text_ends_at_once() -> None:
    """Turns of 100 000 characters of an assistant, and of as many as are looked at of a user."""
    readers = """
from selfinstruct.guards.declining import LONGEST, Declining
from selfinstruct.protocols import Turn
from selfinstruct.schema import Message
check = Declining().check
said = [Message(role="user", content="Why?")]
READERS = [
    lambda text: check(Turn("assistant", text, said, "en")),
    lambda text: check(Turn("user", text[:LONGEST], said, "en")),
]
"""
    read_in_time(HOSTILE, 100_000, ["x" * 100_000, " " * 100_000, "as an " + "a " * 50_000], readers)
