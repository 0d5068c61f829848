"""Drift: a turn in another language is told from quoted, requested and borrowed words."""

from __future__ import annotations

import pytest

from selfinstruct.guards.drift import PASTED, Drift
from selfinstruct.protocols import Drop
from selfinstruct.schema import Lang
from tests.guards.turns import fewest, misjudged, turn_of
from tests.hostile_texts import read_in_time

GUARDS: dict[Lang, Drift] = {"en": Drift("en"), "zh": Drift("zh")}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_turn_has_the_verdict_written_beside_it(lang: Lang) -> None:
    """Both roles, both languages, and Japanese, Korean, Russian, Arabic and Thai."""
    assert misjudged(GUARDS[lang], "language", lang) == []


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_there_are_forty_turns_of_each_verdict(lang: Lang) -> None:
    """So that no rule stands on a handful of examples."""
    assert fewest("language", lang) >= 40


def test_the_drop_names_side_and_language() -> None:
    """What a person reads in the rejects."""
    english = "Can you tell me more about the roof?"
    assert GUARDS["zh"].check(turn_of("user", english, lang="zh")) == Drop("language", "the user's turn is English")
    assert GUARDS["en"].check(turn_of("assistant", "当然可以，请看下面。", lang="en")) == Drop(
        "language", "the assistant's turn is Chinese"
    )


def test_a_long_user_turn_is_a_pasted_text() -> None:
    """An article in English is what a Chinese user may want to talk about; an answer of that length is not."""
    sentence = "This is what the article says about the sun. "
    text = sentence * (PASTED // len(sentence))
    assert GUARDS["zh"].check(turn_of("user", text, lang="zh")) == Drop("language", "the user's turn is English")
    assert GUARDS["zh"].check(turn_of("user", text + sentence, lang="zh")) is None
    assert GUARDS["zh"].check(turn_of("assistant", text + sentence, lang="zh")) == Drop(
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


@pytest.mark.slow
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
