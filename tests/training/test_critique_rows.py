"""What a critique model learns: the judge's own prompt is read, and an answer that our own parser reads is learned."""

from __future__ import annotations

import pytest

from selfinstruct.parsing.overall import critique as parsed
from selfinstruct.schema import Message
from selfinstruct.training.critique import conversations
from selfinstruct.training.data import Critiqued

EN = "Names a tree, but does not say why it was chosen."
ZH = "回答说出了一种树的名字，但没有说明为什么选它。"


def _row(critique: str = EN, score: float | None = 7, response: str = "Oak.", *before: Message) -> Critiqued:
    asked = (*before, Message(role="user", content="Name a tree."))
    return Critiqued(prompt=asked, response=response, critique=critique, score=score, source="c", place="c:1")


def test_the_judge_is_asked_and_the_critique_is_the_answer() -> None:
    """One conversation a row, which keeps its source and place."""
    (made,) = conversations([_row()])
    assert made.messages[-1] == Message(role="assistant", content=f"Feedback: {EN}\nOverall Score: 7")
    asked = "\n".join(message.content for message in made.messages[:-1])
    assert "Name a tree." in asked
    assert "Oak." in asked
    assert EN not in asked
    assert [message.role for message in made.messages[-2:]] == ["user", "assistant"]
    assert (made.source, made.place) == ("c", "c:1")


@pytest.mark.parametrize(("critique", "score"), [(EN, 7), (EN, 1), (EN, 10), (EN, 7.5), (ZH, 3), (ZH, 10)])
def test_our_own_parser_reads_what_is_learned(critique: str, score: float) -> None:
    """So a model that was tuned so can be the judge of `feedback`: critique and score come back, in both languages."""
    (made,) = conversations([_row(critique, score)])
    assert parsed(made.messages[-1].content) == (critique, score)


def test_a_chinese_critique_is_asked_for_in_chinese() -> None:
    """In the words of the Chinese judge, whatever language the instruction is in."""
    english, chinese = (conversations([_row(text)])[0].messages for text in (EN, ZH))
    assert chinese[-1].content == f"反馈：{ZH}\n总分：7"
    assert "Name a tree." in chinese[-2].content
    assert not any("\u4e00" <= letter <= "\u9fff" for letter in english[-2].content)
    assert sum("\u4e00" <= letter <= "\u9fff" for letter in chinese[-2].content) > 100


def test_without_a_score_the_critique_alone_is_learned() -> None:
    """No line is left open that a model would fill at random."""
    (made,) = conversations([_row(f"  {EN}\n", None)])
    assert made.messages[-1].content == f"Feedback: {EN}"


def test_earlier_turns_are_shown_to_the_judge() -> None:
    """They are read, not learned."""
    before = (Message(role="user", content="Hello there."), Message(role="assistant", content="Good day to you."))
    (made,) = conversations([_row(EN, 7, "Oak.", *before)])
    asked = "\n".join(message.content for message in made.messages[:-1])
    assert asked.index("Hello there.") < asked.index("Good day to you.") < asked.index("Name a tree.")


def test_an_answer_cannot_close_its_own_frame() -> None:
    """What stands around it is drawn from the answer itself, so that no answer holds it; the same row is the same."""
    first, again, other = (conversations([_row(response=text)])[0] for text in ("Oak.", "Oak.", "Elm."))
    assert first == again
    assert first.messages[-2].content.replace("Oak.", "Elm.") != other.messages[-2].content


def test_a_run_of_nothing_is_no_conversation() -> None:
    """As for held-out rows where there are none."""
    assert conversations([]) == []
