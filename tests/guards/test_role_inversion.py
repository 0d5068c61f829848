"""RoleInversion: a side that speaks as the other is told from talk about roles, scripts and service."""

from __future__ import annotations

import pytest

from selfinstruct.guards.role_inversion import RoleInversion
from selfinstruct.protocols import Drop, Guard
from selfinstruct.schema import Lang
from tests.guards.turns import Side, false_alarms, fewest, misjudged, turn_of
from tests.hostile_texts import read_in_time

GUARD: Guard = RoleInversion()


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_turn_has_the_verdict_written_beside_it(lang: Lang) -> None:
    """An assistant's offers, labels of roles and scripts of both are told from users who quote, paste, ask or help."""
    assert misjudged(GUARD, "role_inversion", lang) == []


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_there_are_forty_turns_of_each_verdict(lang: Lang) -> None:
    """So that no rule stands on a handful of examples."""
    assert fewest("role_inversion", lang) >= 40


@pytest.mark.parametrize(
    ("role", "said", "text", "detail"),
    [
        pytest.param("user", "", "Fine. How can I help you today?", "How can I help you today?", id="an offer"),
        pytest.param("user", "", "Assistant: Salt water.", "Assistant: Salt water.", id="a label"),
        pytest.param("user", "", "OK.\n\nAI: Yes.\nUser: No.", "AI: Yes. User: No.", id="from the label on"),
        pytest.param("user", "Thank you!", "You're welcome!", None, id="who was thanked may say so"),
        pytest.param("user", "Salt water.", "You're welcome!", "You're welcome!", id="who was not may not"),
        pytest.param("user", "", "x" * 3000 + "\nUser: hi", None, id="a user's label further down is a paste"),
        pytest.param("user", "I am the guest.", "How can I help you?", "How can I help you?", id="no scene was set"),
        pytest.param("assistant", "", "Salt.\nUser: And sand?", "User: And sand?", id="the next line of the user"),
        pytest.param("assistant", "Write a script.", "Salt.\nUser: And sand?", None, id="a script was asked for"),
    ],
)
def test_the_detail_is_what_was_said_out_of_role(role: Side, said: str, text: str, detail: str | None) -> None:
    """A reader of the rejects sees the words, and what was said before decides where both sides could say them."""
    before = [said or "Salt water."] if role == "user" else []
    opener = said if role == "assistant" and said else "What is in the sea?"
    assert GUARD.check(turn_of(role, text, [opener, *before])) == (detail and Drop("role_inversion", detail))


def test_in_a_scene_either_side_may_serve() -> None:
    """A user who has the assistant play the guest may be the waiter."""
    history = ["Pretend to be a guest in my cafe.", "I sit down by the window."]
    assert GUARD.check(turn_of("user", "How can I help you?", history)) is None


def test_the_opener_is_never_judged() -> None:
    """It is what the user of the program gave or had made, and no side has spoken yet."""
    assert GUARD.check(turn_of("user", "Assistant: How can I help you today?", [])) is None


HOSTILE = [
    *(
        "User:",
        "\nUser:",
        "User: a\nB: c\n",
        "\nAssistant: ",
        "[User]\n",
        "<|im_start|>user\n",
        "# ",
        "**",
        ">",
        "user (",
    ),
    *(
        "how can i help you ",
        "if you ",
        "if you have questions ",
        "is there anything ",
        "sure ",
        "sure, of course! ",
        "please ",
    ),
    *(
        "as the user ",
        "(as a ",
        "here is the ",
        "“",
        "'a ",
        "```",
        "`",
        "can you help me ",
        "wow. can you explain ",
        "thank you. ",
    ),
    *(
        "有什么",
        "我可以为您",
        "如果您有问题",
        "随时",
        "作为用户",
        "用户：",
        "\n用户：",
        "（作为",
        "能帮我",
        "好的，",
        "您还有",
        "请",
        "谢谢你的帮助。",
        ".",
        "。",
        "\n",
    ),
]


def test_a_hostile_turn_ends_at_once() -> None:
    """Texts of 100 000 characters, as a turn and as what was said before it."""
    readers = """
from selfinstruct.guards.role_inversion import RoleInversion
from selfinstruct.protocols import Turn
from selfinstruct.schema import Message
check = RoleInversion().check
def said(role, text, opener="Why?", answer="So."):
    history = [Message(role="user", content=opener), Message(role="assistant", content=answer)]
    return check(Turn(role=role, text=text, history=history[: 2 if role == "user" else 1], lang="en"))
READERS = [
    lambda text: said("user", text),
    lambda text: said("assistant", text),
    lambda text: said("user", "Let me know if you have any questions.", answer=text),
    lambda text: said("assistant", "Wow! Can you tell me more?", opener=text),
]
"""
    read_in_time(HOSTILE, 100_000, ["x" * 100_000, " " * 100_000, "\n" * 100_000, "a " * 50_000], readers)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_real_instruction_data_is_hardly_touched(lang: Lang) -> None:
    """Published instructions as users' turns, and outputs as assistants': what is dropped there is a false alarm."""
    assert max(false_alarms(GUARD, lang)) <= 0.002
