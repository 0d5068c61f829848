"""Drift: a turn in another language is told from quoted, requested and borrowed words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.guards.drift import PASTED, Drift
from selfinstruct.protocols import Drop, Turn
from selfinstruct.schema import Lang, Message
from tests.hostile_texts import read_in_time

GUARDS: dict[Lang, Drift] = {"en": Drift("en"), "zh": Drift("zh")}
BEFORE: dict[Lang, list[str]] = {
    "en": ["How do solar panels work?", "They turn light into current."],
    "zh": ["太阳能板是怎么工作的？", "它们把光变成电。"],
}


def _turn(lang: Lang, role: Any, text: str, history: list[str] | None = None) -> Turn:
    """A turn behind texts that were said by turns, the user first."""
    texts = history or BEFORE[lang][: 2 if role == "user" else 1]
    said = [Message(role="assistant" if number % 2 else "user", content=one) for number, one in enumerate(texts)]
    return Turn(role, text, said, lang)


def _sentences(lang: str) -> list[dict[str, Any]]:
    path = Path(__file__).parent / f"sentences/language.{lang}.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    "row",
    _sentences("en") + _sentences("zh"),
    ids=lambda row: ascii(f"{row['lang']}-{row['reason']}-{row['role']}-{row['text'][:30]}"),
)
def test_each_turn_has_the_verdict_written_beside_it(row: dict[str, Any]) -> None:
    """Both roles, both languages, and Japanese, Korean, Russian, Arabic and Thai."""
    drop = GUARDS[row["lang"]].check(_turn(row["lang"], row["role"], row["text"], row.get("history")))
    assert (drop.reason if drop else None) == row["reason"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_there_are_forty_turns_of_each_verdict(lang: str) -> None:
    """So that no rule stands on a handful of examples."""
    kept = sum(row["reason"] is None for row in _sentences(lang))
    assert min(kept, len(_sentences(lang)) - kept) >= 40


def test_the_drop_names_side_and_language() -> None:
    """What a person reads in the rejects."""
    english = "Can you tell me more about the roof?"
    assert GUARDS["zh"].check(_turn("zh", "user", english)) == Drop("language", "the user's turn is English")
    assert GUARDS["en"].check(_turn("en", "assistant", "当然可以，请看下面。")) == Drop(
        "language", "the assistant's turn is Chinese"
    )


def test_a_long_user_turn_is_a_pasted_text() -> None:
    """An article in English is what a Chinese user may want to talk about; an answer of that length is not."""
    sentence = "This is what the article says about the sun. "
    text = sentence * (PASTED // len(sentence))
    assert GUARDS["zh"].check(_turn("zh", "user", text)) == Drop("language", "the user's turn is English")
    assert GUARDS["zh"].check(_turn("zh", "user", text + sentence)) is None
    assert GUARDS["zh"].check(_turn("zh", "assistant", text + sentence)) == Drop(
        "language", "the assistant's turn is English"
    )


HOSTILE = [
    "a ",
    "the ",
    "好",
    "好 a ",
    "“",
    "<",
    "$",
    "`",
    "(",
    "http://",
    "a@",
    "の",
    "日の本",
    "译",
    "Ж",
    "a,",
    "english",
    "C",
    "x1",
]


def test_a_hostile_text_ends_at_once() -> None:
    """Turns of 100 000 characters, and as long a text before them."""
    readers = """
from selfinstruct.guards.drift import Drift
from selfinstruct.protocols import Turn
from selfinstruct.schema import Message
def of(lang, role):
    check = Drift(lang).check
    def read(text):
        check(Turn(role, text, [Message(role="user", content=text)], lang))
        check(Turn(role, "这是一个完整的中文句子。" if lang == "en" else "This is what the other side said to you.",
                   [Message(role="user", content=text)], lang))
    return read
READERS = [of(lang, role) for lang in ("en", "zh") for role in ("user", "assistant")]
"""
    read_in_time(HOSTILE, 100_000, ["x" * 100_000, " " * 100_000, "é" * 100_000], readers)
