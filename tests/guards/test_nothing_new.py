"""Empty and repeated turns are told from short ones, and from what may rightly be said again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.guards import nothing_new
from selfinstruct.guards.nothing_new import Empty, Repeated
from selfinstruct.protocols import Drop, Turn
from selfinstruct.schema import Lang
from tests.guards.turns import fewest, judged, misjudged, turn_of
from tests.hostile_texts import read_in_time

EMPTY, REPEATED = Empty(), Repeated()


def _turn(text: str, history: Sequence[str]) -> Turn:
    """A turn of the side that is to speak."""
    return turn_of("assistant" if len(history) % 2 else "user", text, history)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_turn_has_the_verdict_written_beside_it(lang: Lang) -> None:
    """What was said before is told from answers, moves, calls for more, changed requests and texts asked for again."""
    assert misjudged(REPEATED, "repeated", lang) == []
    assert [turn.text for turn, _ in judged("repeated", lang) if EMPTY.check(turn)] == []


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_there_are_forty_turns_of_each_verdict(lang: Lang) -> None:
    """So that no rule stands on a handful of examples."""
    assert fewest("repeated", lang) >= 40


@pytest.mark.parametrize("history", [["What is it?"], ["What is it?", "A cat."]], ids=["assistant", "user"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\t\n",
        "...",
        "。。。",
        "……",
        "-",
        "***",
        "👍",
        "😀 😀",
        "\u200b",
        "\ufeff",
        "```\n```",
        '""',
        "❤️‍🔥",
        "——",
        "，",
    ],
    ids=ascii,
)
def test_a_turn_without_a_letter_or_digit_says_nothing(text: str, history: list[str]) -> None:
    """White space, punctuation, signs nobody sees and emoji alone are no turn, whoever sends them."""
    turn = _turn(text, history)
    assert EMPTY.check(turn) == Drop("empty", f"{turn.role}: {text.strip()!r}")
    assert REPEATED.check(turn) is None


@pytest.mark.parametrize("history", [["What is it?"], ["What is it?", "A cat."]], ids=["assistant", "user"])
@pytest.mark.parametrize(
    "text",
    ["C", "7", "7️⃣", "٣", "好", "и", "ש", "ก", "ありがとう", "네", "½", "Ⅳ", "π", "👍 ok", "...and?", "-1", "😀A"],
    ids=ascii,
)
def test_one_letter_or_digit_of_any_script_is_a_turn(text: str, history: list[str]) -> None:
    """A label, a number or a nod may be all there is to say."""
    assert EMPTY.check(_turn(text, history)) is None


@pytest.mark.parametrize(
    ("text", "history", "reason"),
    [
        pytest.param("?", ["Is it?", "Yes."], None, id="a user asks again"),
        pytest.param("？？", ["Is it?", "Yes."], None, id="in full width"),
        pytest.param("?", ["Is it?"], "empty", id="an assistant has no question alone"),
        pytest.param("🦁👑", ["Tell The Lion King in emojis."], None, id="emoji were asked for"),
        pytest.param("🦁👑", ["用表情符号讲狮子王"], None, id="in Chinese"),
        pytest.param("<", ["Which sign belongs between 3 and 5?"], None, id="a sign was asked for"),
        pytest.param("...", ['Read it and answer with "...", no more.'], None, id="dots were asked for"),
        pytest.param("```\n```", ["mkdir notes"], None, id="a terminal is played, and this prints nothing"),
        pytest.param("...", ["And then... what?"], "empty", id="dots were only written"),
        pytest.param("", ["Tell The Lion King in emojis."], "empty", id="nothing is no sign"),
        pytest.param("🦁👑", ["In emojis!", "👑", "Tell me about lions."], "empty", id="emoji were asked for earlier"),
    ],
)
def test_signs_count_where_they_ask_or_were_asked_for(text: str, history: list[str], reason: str | None) -> None:
    """A question mark is a question; an emoji may be the answer."""
    drop = EMPTY.check(_turn(text, history))
    assert (drop.reason if drop else None) == reason


def test_the_drop_names_side_and_words() -> None:
    """What a person reads in the rejects: who, when, and the first eighty characters."""
    long = "so " * 40
    assert REPEATED.check(_turn(long, [long, "Yes."])) == Drop("repeated", f"user, again: {long[:80]}")
    assert REPEATED.check(_turn("Why is it so?", ["Why is it so?"])) == Drop(
        "repeated", "assistant, after the other side: Why is it so?"
    )
    assert REPEATED.check(_turn("ok", ["ok", "A.", "ok", "B."])) == Drop(
        "repeated", "user, the third time in a row: ok"
    )


def test_twenty_words_may_differ_in_function_words_and_nineteen_may_not() -> None:
    """In a short question a small word can be the point."""
    words = [f"word{number}" for number in range(19)]
    short, long = " ".join(words[:18]), " ".join(words)
    assert REPEATED.check(_turn(f"{short} please", [short, "Yes."])) is None
    assert REPEATED.check(_turn(f"{long} really", [f"{long} please", "Yes."])) is not None
    assert REPEATED.check(_turn(f"{long} really", [f"{long} never", "Yes."])) is None


def test_in_code_every_sign_and_every_capital_counts() -> None:
    """A colon is the whole repair."""
    code = "def total(a, b)\n    return a + b"
    assert REPEATED.check(_turn(code.replace(")", "):", 1), [code, "Add a colon."])) is None
    assert REPEATED.check(_turn(code.replace("a", "A"), [code, "Use capitals."])) is None
    assert REPEATED.check(_turn(code.replace("    ", "\t"), [code, "Use tabs."])) is not None


def test_without_a_history_nothing_is_repeated() -> None:
    """The opener is said first."""
    assert REPEATED.check(_turn("Why is the sky blue?", [])) is None


HOSTILE = [
    "a",
    "a ",
    "好",
    "please ",
    "go on ",
    "继续",
    "more ",
    "请",
    "ok, ",
    "+",
    "- ",
    "5-",
    "#",
    "𝓐",
    "…",
    "😀",
    "the ",
    "\n",
    "a(",
]


def test_a_hostile_text_ends_at_once() -> None:
    """Turns of 20 000 characters, behind twenty like them."""
    readers = """
from selfinstruct.guards.nothing_new import Empty, Repeated
from selfinstruct.protocols import Turn
from selfinstruct.schema import Message
def of(check, count):
    def read(text):
        said = [Message(role="assistant" if n % 2 else "user", content=text + str(n)) for n in range(count)]
        check(Turn("assistant" if count % 2 else "user", text, said, "en"))
    return read
READERS = [of(guard().check, count) for guard in (Empty, Repeated) for count in (19, 20)]
"""
    read_in_time(HOSTILE, 20_000, ["x" * 20_000, " " * 20_000, "a b " * 5_000 + "."], readers)


@settings(max_examples=500)
@given(st.text("aB3 的。-*#(=;{\u0301㈱½，\n", max_size=90))
def test_the_first_pieces_of_a_text_are_those_of_the_whole(text: str) -> None:
    """A text is cut where a piece ends and nothing that follows changes what stands before."""
    first = nothing_new._first_pieces(text)
    assert first == nothing_new._pieces(text)[: len(first)]
    assert first or not nothing_new._pieces(text[: nothing_new._HEAD])


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(["the", "you", "Salt", "sea", "C#", "的", "海", "x = 1", ",", "\n"]), max_size=30),
    st.data(),
)
def test_no_turn_is_passed_over_that_is_the_same(words: list[str], data: st.DataObject) -> None:
    """Two texts that count as the same agree in their length and in their first words."""
    other = data.draw(st.lists(st.sampled_from(["the", *words, *words]), min_size=len(words), max_size=len(words) + 2))
    guard = Repeated()
    for before in (" ".join(words), " ".join(words).upper(), " the ".join(words), " ".join(other)):
        turn = turn_of("user", " ".join(words), [before or "?"])
        pieces = nothing_new._pieces(turn.text)
        assert guard._may_be_repeated(turn) or not guard._is_same(turn, pieces, turn.history[0].content)
