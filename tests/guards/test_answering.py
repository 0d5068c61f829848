"""Answering: a user that serves an answer is told from one that pastes, corrects, or replies to a question."""

from __future__ import annotations

import pytest

from selfinstruct.guards.answering import Answering
from selfinstruct.protocols import Drop, Guard
from selfinstruct.schema import Lang
from tests.guards.turns import false_alarms, fewest, misjudged, turn_of
from tests.hostile_texts import read_in_time

GUARD: Guard = Answering()


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_turn_has_the_verdict_written_beside_it(lang: Lang) -> None:
    """An assistant's opening, ending and form are told from drafts, logs, corrections and replies."""
    assert misjudged(GUARD, "answering", lang) == []


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_there_are_forty_turns_of_each_verdict(lang: Lang) -> None:
    """So that no rule stands on a handful of examples."""
    assert fewest("answering", lang) >= 40


CERTAINLY = "Certainly! Here are some tips: start early, and rest on Sundays."
HOPE = "Start early, and rest on Sundays. I hope this helps!"


@pytest.mark.parametrize(
    ("before", "text", "detail"),
    [
        pytest.param("Run slowly.", CERTAINLY, CERTAINLY, id="an opening"),
        pytest.param("Run slowly.", HOPE, "I hope this helps!", id="an ending"),
        pytest.param("What are your tips?", CERTAINLY, None, id="an opening, where something was asked"),
        pytest.param("What are your tips?", HOPE, None, id="an ending, where something was asked"),
        pytest.param(
            "What are your tips?",
            f"{CERTAINLY} I hope this helps!",
            f"{CERTAINLY} I hope this hel",
            id="both, even there",
        ),
        pytest.param("Run slowly. Would you like me to go on?", HOPE, "I hope this helps!", id="an offer asks nothing"),
        pytest.param("Run slowly.", f"{CERTAINLY} Are they good?", None, id="a turn that asks"),
        pytest.param("Run slowly.", f"{CERTAINLY}\nPlease rate them.", None, id="a turn that orders"),
    ],
)
def test_an_answer_is_one_unless_it_asks_or_was_asked_for(before: str, text: str, detail: str | None) -> None:
    """One sign of an answer is enough where nothing was asked of the user, and two are needed where something was."""
    drop = GUARD.check(turn_of("user", text, ["How do I run?", before]))
    assert drop == (detail and Drop("answers", detail))


REST = "A mixture of short and long runs works best for most people, and Sundays are for resting at home."


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        pytest.param(
            f"Yes, training alone is fine for a start. Overall, patience matters. {REST}", True, id="two forms"
        ),
        pytest.param(
            f"Training alone is fine. Keep in mind the heat. {REST} Overall, it is easy.", True, id="and a manner"
        ),
        pytest.param(
            f"Training alone is fine, even in the heat of July. {REST} Overall, it is easy.", False, id="one form"
        ),
        pytest.param(
            f"You can train alone. Keep in mind the heat of July, and drink enough. {REST}", False, id="no form"
        ),
        pytest.param(f"Yes, training alone is fine for me. Overall, patience matters. {REST}", False, id="of oneself"),
        pytest.param("Yes, training alone is fine for a start. Overall, patience matters.", False, id="short"),
        pytest.param(f"Yes, f(x) = {{a; b}} and g(y) = {{c}}. Overall, patience matters. {REST}", False, id="code"),
    ],
)
def test_a_long_impersonal_text_is_an_answer_by_several_signs(text: str, refused: bool) -> None:
    """What people paste without a word has one form of an exposition at most, speaks of them, or is code."""
    assert (GUARD.check(turn_of("user", text, ["How do I run?", "Run slowly."])) is not None) is refused


def test_the_opener_and_the_assistant_are_never_judged() -> None:
    """An opener answers nobody, and an assistant is there to answer."""
    assert GUARD.check(turn_of("user", CERTAINLY, [])) is None
    assert GUARD.check(turn_of("assistant", CERTAINLY, ["How do I run?"])) is None


HOSTILE = [
    *(
        "sure, ",
        "certainly! here is ",
        "yes, ",
        "here are some ",
        "of course! ",
        "1. a:",
        "1. **a:** b\n",
        "- ",
        "**",
        "\n",
    ),
    *(
        "i hope this ",
        "let me know if ",
        "if you ",
        "please ",
        "great question! ",
        "overall, ",
        "```",
        "`",
        "dear ",
        "a ",
        ".",
    ),
    *(
        "当然！",
        "好的，以下是",
        "希望这",
        "如果您",
        "根据您的",
        "总之，",
        "有以下",
        "请",
        "您",
        "。",
        "1、",
        "我们一步",
    ),
]


def test_a_hostile_turn_ends_at_once() -> None:
    """Texts of 100 000 characters, as a turn and as what was said before it."""
    readers = """
from selfinstruct.guards.answering import Answering
from selfinstruct.protocols import Turn
from selfinstruct.schema import Message
check = Answering().check
def said(text, answer="So."):
    history = [Message(role="user", content="Why?"), Message(role="assistant", content=answer)]
    return check(Turn(role="user", text=text, history=history, lang="en"))
READERS = [said, lambda text: said("Certainly! Here are some tips: start early and rest on Sundays.", text)]
"""
    read_in_time(HOSTILE, 100_000, ["x" * 100_000, " " * 100_000, "\n" * 100_000, "a " * 50_000], readers)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_real_instruction_data_is_hardly_touched(lang: Lang) -> None:
    """Published instructions as users' turns, and outputs as assistants': what is dropped there is a false alarm."""
    assert max(false_alarms(GUARD, lang)) <= 0.002
