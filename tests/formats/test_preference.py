"""What an export of preference pairs holds, row by row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import pytest

from selfinstruct.feedback_schema import PairSide, PreferencePair
from selfinstruct.formats import FORMATS
from selfinstruct.formats.transcript import transcript
from selfinstruct.schema import Message
from tests.judged_answers import HISTORY, pair

ZH = (
    Message(role="system", content="简短。"),
    Message(role="user", content="湖？"),
    Message(role="assistant", content="贝加尔湖。"),
)


def rows(format: str, records: Iterable[PreferencePair]) -> list[dict[str, Any]]:
    """The lines of an export; each is one piece."""
    return [json.loads(line) for line in FORMATS[format].write(records)]


def turn(role: str, content: str) -> dict[str, str]:
    """A message as trainers spell it."""
    return {"role": role, "content": content}


BEFORE = [turn("user", "Name a lake."), turn("assistant", "Baikal.")]
ASKED = turn("user", "How deep is it?")
BETTER, WORSE = turn("assistant", "1642 m"), turn("assistant", "Very.")


def test_trl_has_the_prompt_and_two_answers_apart() -> None:
    """The explicit prompt of TRL's preference format, conversational, with the scores beside it."""
    plain = {
        "prompt": [ASKED],
        "chosen": [BETTER],
        "rejected": [WORSE],
        "score_chosen": 4.5,
        "score_rejected": 3.25,
        "margin": 1.25,
    }
    assert rows("trl", [pair(), pair(history=HISTORY)]) == [plain, {**plain, "prompt": [*BEFORE, ASKED]}]


def test_h4_repeats_the_prompt_in_both_conversations() -> None:
    """Zephyr's columns in their order; the id is the prompt's hash, and messages are the chosen ones."""
    (row,) = rows("h4", [pair()])
    assert row == {
        "prompt": "How deep is it?",
        "prompt_id": hashlib.sha256(b"How deep is it?").hexdigest(),
        "chosen": [ASKED, BETTER],
        "rejected": [ASKED, WORSE],
        "messages": [ASKED, BETTER],
        "score_chosen": 4.5,
        "score_rejected": 3.25,
    }
    assert list(row) == ["prompt", "prompt_id", "chosen", "rejected", "messages", "score_chosen", "score_rejected"]


def test_h4_tells_the_same_question_of_two_dialogues_apart() -> None:
    """With something said before, prompt and id are of the whole conversation."""
    (row,) = rows("h4", [pair(history=HISTORY)])
    prompt = "User: Name a lake.\n\nAssistant: Baikal.\n\nUser: How deep is it?"
    assert (row["prompt"], row["prompt_id"]) == (prompt, hashlib.sha256(prompt.encode()).hexdigest())
    assert (row["chosen"], row["rejected"]) == ([*BEFORE, ASKED, BETTER], [*BEFORE, ASKED, WORSE])
    assert row["messages"] == row["chosen"]


def test_argilla_has_seven_plain_columns() -> None:
    """In the order of the published set."""
    (row,) = rows("argilla", [pair()])
    assert list(row.items()) == [
        ("source", "flan"),
        ("instruction", "How deep is it?"),
        ("chosen_response", "1642 m"),
        ("rejected_response", "Very."),
        ("chosen_avg_rating", 4.5),
        ("rejected_avg_rating", 3.25),
        ("chosen_model", "m0"),
    ]
    (talk,) = rows("argilla", [pair(history=HISTORY)])
    assert talk["instruction"] == "User: Name a lake.\n\nAssistant: Baikal.\n\nUser: How deep is it?"


def test_a_transcript_names_who_speaks_in_the_language_of_the_text() -> None:
    """An instruction by itself needs no name."""
    assert transcript((), "多深？", "zh") == "多深？"
    assert transcript(ZH, "多深？", "zh") == "系统：简短。\n\n用户：湖？\n\n助手：贝加尔湖。\n\n用户：多深？"
    assert transcript(ZH[:1], "Why?", "en") == "System: 简短。\n\nUser: Why?"


@pytest.mark.parametrize("format", ["trl", "h4", "argilla"])
def test_text_is_written_as_it_is(format: str) -> None:
    """Not escaped, one line each."""
    (line,) = FORMATS[format].write([pair(instruction="多深？\n“x”")])
    assert "多深？\\n“x”" in line.decode()
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")


@pytest.mark.parametrize("format", ["trl", "h4", "argilla"])
def test_flags_of_an_answer_are_in_whole_records_alone(format: str) -> None:
    """The layouts of others stay what they are; jsonl shows that a chosen answer was cut."""
    cut = pair(chosen=PairSide(model="m0", response="1642 m", score=4.5, flags=("truncated",)))
    assert rows(format, [cut]) == rows(format, [pair()])
    (whole,) = rows("jsonl", [cut])
    assert (whole["chosen"]["flags"], whole["rejected"]["flags"]) == (["truncated"], [])
