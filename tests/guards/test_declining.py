"""Declining: models that give up, or speak of themselves, are told from people who cannot do something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.guards.declining import LONGEST, Declining
from selfinstruct.protocols import Drop, Turn
from selfinstruct.schema import Message
from tests.hostile_texts import read_in_time

DECLINING = Declining()


def _turn(role: Any, text: str, history: list[str] | None = None) -> Turn:
    """A turn behind texts that were said by turns, the user first."""
    texts = history or (["Tell me about blue.", "Blue is a colour."][: 2 if role == "user" else 1])
    said = [Message(role="assistant" if number % 2 else "user", content=one) for number, one in enumerate(texts)]
    return Turn(role, text, said, "en")


def _sentences(name: str) -> list[dict[str, Any]]:
    path = Path(__file__).parent / f"sentences/{name}.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


FILES = ["refusal.en", "refusal.zh", "as_an_ai.en", "as_an_ai.zh"]


@pytest.mark.parametrize(
    "row",
    [row for name in FILES for row in _sentences(name)],
    ids=lambda row: ascii(f"{row['reason']}-{row['role']}-{row['text'][:40]}"),
)
def test_each_turn_has_the_verdict_written_beside_it(row: dict[str, Any]) -> None:
    """A model's own voice is told from letters, stories, quotations, people in the trade, and people without luck."""
    drop = DECLINING.check(_turn(row["role"], row["text"], row.get("history")))
    assert (drop.reason if drop else None) == row["reason"]
    assert drop is None or drop.detail.startswith(row["role"] + ": ")


@pytest.mark.parametrize("name", FILES)
def test_there_are_forty_turns_of_each_verdict(name: str) -> None:
    """So that no rule stands on a handful of examples."""
    kept = sum(row["reason"] is None for row in _sentences(name))
    assert min(kept, len(_sentences(name)) - kept) >= 40


@pytest.mark.parametrize(
    ("turn", "drop"),
    [
        pytest.param(
            _turn("assistant", "I can't help with that."),
            Drop("refusal", "assistant: I can't help with that."),
            id="no",
        ),
        pytest.param(
            _turn("user", "Nice! But I cannot act as the user."),
            Drop("refusal", "user: But I cannot act as the user."),
            id="a user who gives up",
        ),
        pytest.param(
            _turn("assistant", "Two. As an AI, I can count."),
            Drop("as_an_ai", "assistant: As an AI, I can count."),
            id="where it begins",
        ),
        pytest.param(
            _turn("assistant", "As an AI, I count the stars.", ["Play an AI on a ship.", "Ahoy!", "What do you do?"]),
            None,
            id="a voice that was asked for by the opener",
        ),
        pytest.param(
            _turn("assistant", "As an AI, I have no feelings. Ahoy!", ["Play an AI on a ship."]),
            Drop("as_an_ai", "assistant: As an AI, I have no feelings. Ahoy!"),
            id="its own voice all the same",
        ),
        pytest.param(
            _turn("user", "As an AI, I count the stars. And you?", ["What can an AI count?", "Stars."]),
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
    assert DECLINING.check(_turn("user", short)) is not None
    assert DECLINING.check(_turn("user", short + rest)) is None


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
