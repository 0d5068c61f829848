"""Farewell: a user who only thanks, praises and says goodbye is told from one who goes on."""

from __future__ import annotations

import pytest

from selfinstruct.guards.farewell import LONGEST, Farewell
from selfinstruct.protocols import Drop, Guard
from selfinstruct.schema import Lang
from tests.guards.turns import Side, fewest, judged, misjudged, turn_of
from tests.hostile_texts import read_in_time

FAREWELL: Guard = Farewell()


def _check(text: str, role: Side = "user", lang: Lang = "en") -> Drop | None:
    return FAREWELL.check(turn_of(role, text, (), lang))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_turn_has_the_verdict_written_beside_it(lang: Lang) -> None:
    """Closings are told from questions, orders, complaints, facts, letters and texts about thanking."""
    assert misjudged(FAREWELL, "farewell", lang) == []


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_there_are_eighty_turns_of_each_verdict(lang: Lang) -> None:
    """So that the rule does not stand on a handful of examples."""
    assert fewest("farewell", lang) >= 80


def test_the_language_of_the_run_changes_no_verdict() -> None:
    """Chinese runs hold English closings, and the other way round."""
    for turn, _ in judged("farewell", "en") + judged("farewell", "zh"):
        assert _check(turn.text, turn.role, "en") == _check(turn.text, turn.role, "zh"), turn.text


def test_a_closing_is_one_with_a_question_after_it_no_longer() -> None:
    """Whatever was said before, a turn that asks goes on."""
    for turn, _ in judged("farewell", "en") + judged("farewell", "zh"):
        assert _check(turn.text + "\nWhat is the capital of Peru?", turn.role) is None, turn.text


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        pytest.param("OK.  Thank you, that’s all!", "Thank you", id="as it was written"),
        pytest.param("Good to know, I'll keep that in mind.", "I'll keep that in mind", id="a plan"),
        pytest.param("好的，谢谢您，再见！", "好的，谢谢您", id="chinese"),
        pytest.param("Ｔｈａｎｋｓ！", "Ｔｈａｎｋｓ", id="full width"),
        pytest.param("Your poem is lovely. I love it!", "Your poem is lovely", id="praise"),
        pytest.param("Thank you for " + "very " * 40 + "much", ("Thank you for " + "very " * 40)[:80], id="cut"),
    ],
)
def test_the_detail_is_what_says_it(text: str, detail: str) -> None:
    """The turn's own words, cut to a line."""
    assert _check(text) == Drop("farewell", detail)


@pytest.mark.parametrize("text", ["Thank you! I'll try that.", "谢谢，再见！"])
def test_an_assistant_may_say_goodbye(text: str) -> None:
    """Only the user ends a dialogue; the same words of an assistant are an answer."""
    assert _check(text, "user") is not None
    assert _check(text, "assistant") is None


def test_a_turn_as_long_as_a_text_is_no_farewell() -> None:
    """Thanks that fill more than `LONGEST` characters are material."""
    text = ("Thank you! " * LONGEST)[: LONGEST - 4] + "Bye."
    assert _check(text) == Drop("farewell", "Thank you")
    assert _check(text + "!") is None


@pytest.mark.parametrize("text", ["", " \n", "...", "👍", "！？", "🙏🙏"])
def test_a_turn_without_words_is_no_farewell(text: str) -> None:
    """Nothing said is nothing closed."""
    assert _check(text) is None


PIECES = [
    *("thank ", "thanks, ", "thank you for ", "i really ", "very ", "so ", "you are ", "i will try ", "bye"),
    *(
        "good bye ",
        "no more ",
        "this is ",
        "i ",
        ", ",
        "?",
        ". ",
        "a",
        "a ",
        "1.",
        "\n",
        "'",
        "if i ",
        "let me ",
        "dear ",
        "but ",
    ),
    *("谢谢", "感谢你，", "我会", "我", "我也很", "真的", "好", "，", "那", "你"),
    *("就先", "没有", "再", "知道", "祝", "呢", "了", "去", "有", "说", "在"),
]


def test_a_hostile_turn_ends_at_once() -> None:
    """Each piece repeated to the longest turn that is looked at, and far beyond."""
    readers = f"""
from selfinstruct.guards.farewell import Farewell
from selfinstruct.protocols import Turn
check = Farewell().check
def turn(text):
    return check(Turn("user", text, (), "en"))
READERS = [turn, lambda text: turn(text[:{LONGEST}]), lambda text: turn("Thanks. " + text[:{LONGEST - 20}] + " x")]
"""
    read_in_time(PIECES, 100_000, ["ﷺ" * LONGEST, "thank you " * 140 + "x", "我会" * 700 + "谢谢x"], readers)
