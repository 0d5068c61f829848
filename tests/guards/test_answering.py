"""Answering: a user that serves an answer is told from one that pastes, corrects, or replies to a question."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from selfinstruct.guards.answering import Answering
from selfinstruct.protocols import Drop, Guard, Turn
from selfinstruct.schema import Lang, Message
from tests.hostile_texts import read_in_time

Side = Literal["user", "assistant"]

GUARD: Guard = Answering()
REAL = Path(__file__).parents[3] / "shared/data"
TALK: dict[Lang, list[str]] = {
    "en": ["How do tides come about?", "Tides come from the pull of the moon. They rise twice a day."],
    "zh": ["潮汐是怎么来的？", "潮汐来自月球的引力，每天涨两次。"],
}


def turn_of(role: Side, text: str, history: Sequence[str], lang: Lang = "en") -> Turn:
    """A turn after ``history``, oldest first, the user's opener and then in turns."""
    sides: tuple[Side, Side] = ("user", "assistant")
    said = [Message(role=sides[number % 2], content=content) for number, content in enumerate(history)]
    return Turn(role=role, text=text, history=said, lang=lang)


def _sentences(lang: Lang) -> list[dict[str, Any]]:
    path = Path(__file__).parent / f"sentences/answering.{lang}.jsonl"
    return [{"lang": lang} | json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("row", _sentences("en") + _sentences("zh"), ids=lambda row: ascii(row["text"][:40]))
def test_each_turn_has_the_verdict_written_beside_it(row: dict[str, Any]) -> None:
    """An assistant's opening, ending and form are told from drafts, logs, corrections and replies."""
    before = TALK[row["lang"]][: 2 if row["role"] == "user" else 1]
    drop = GUARD.check(turn_of(row["role"], row["text"], row.get("history", before), row["lang"]))
    assert (drop.reason if drop else None) == row["reason"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_there_are_forty_turns_of_each_verdict(lang: Lang) -> None:
    """So that no rule stands on a handful of examples."""
    kept = sum(row["reason"] is None for row in _sentences(lang))
    assert min(kept, len(_sentences(lang)) - kept) >= 40


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
    path = REAL / f"instructions_{lang}.jsonl.gz"
    if not path.exists():
        pytest.skip("needs published data that is not shipped")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(4000), lines, strict=False)]
    asked = [f"{row['instruction']}\n{row['input']}".strip() for row in rows]
    users = [turn_of("user", text, [asked[n - 1], rows[n - 1]["output"]]) for n, text in enumerate(asked)]
    assistants = [turn_of("assistant", row["output"], [text]) for row, text in zip(rows, asked, strict=True)]
    for turns in (users, assistants):
        assert sum(GUARD.check(turn) is not None for turn in turns) / len(turns) <= 0.002
