"""Yes or no: the first plain verdict counts, and whatever is not plainly one of them is an error, never a no."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.errors import ParseError
from selfinstruct.parsing import yes_no

YES = [
    *(
        "yes",
        "Yes.",
        " \n**Yes**",
        "YES!",
        '"Yes"',
        "- Yes",
        "`yes`",
        "Yes, it is one.",
        "Yes it is",
        "Yes — two labels",
    ),
    *("Is it classification? Yes", "**Answer:** Yes", "The answer is yes.", "Classification: yes (three labels)"),
    *("Yes\n\nTask: Add the numbers.\nIs it classification? No", "Yes, though no list of labels is given."),
    *("是", "是的，它有两个标签。", "是分类任务", "是一个分类任务。", "是否为分类任务？是", "答案：是"),
]
YES += [
    *("This is a classification task.", "this is classification", "It’s clearly a text classification problem!"),
    *("**This is a classification task** because it has two labels.", "I would say this is a classification task."),
]
NO = [
    *("no", "No.", "\nNo\n", "(No)", "> No", "*no*", "No, it asks for a poem.", "no it is not", "No the text is free"),
    *("Is it classification? No", "Answer: No.", "I would say no.", "Answer yes or no: No", "Well, no.", "It’s: no"),
    *("No\n\nTask: Sort the mail.\nIs it classification? Yes", "No\nYes", "否", "不是", "不是。", "这不是分类任务"),
    *("这是写作，不是分类", "是否为分类任务？否", "否，因为没有标签"),
]
NO += [
    *(
        "This is not a classification task.",
        "Not a classification task",
        "It isn't classification",
        "not classification",
    ),
    *("It’s **not** a classification task, it asks for text.", "Answer: not a classification task but a poem."),
    *("The task isn't a classification task.", "That is not a classification problem because it is open."),
]
UNKNOWN = [
    *(
        "",
        "  \n",
        "not sure",
        "I am not sure, no.",
        "Perhaps. Yes?",
        "Yes/No",
        "yes or no",
        "Yes and no.",
        "yes-no",
        "是/否",
    ),
    *(
        "是或否",
        "不确定",
        "您是想分类吗",
        "No idea.",
        "No way to tell.",
        "No one knows",
        "No problem! What is the task?",
    ),
    *("There is no label.", "None", "Nope", "Yesterday", "know", "continue", "Sure, ask me.", "A classification task."),
    *("maybe", "It depends: yes", "no no no", "可能是的"),
]


UNKNOWN += [
    *("Classification", "classification task", "This is a classification task?", "Is this not a classification task?"),
    *("If this is a classification task, sort it.", "This is a classification task or a poem.", "It is not clear."),
    *("I don't think this is a classification task.", "This is not only a classification task.", "Not only that."),
    *("This is a classification task if labels are given.", "It may not be a classification task."),
    *("This is probably a classification task.", "This is a classification task. It is not a classification task."),
    *(
        "I am unsure. This is a classification task.",
        "This is a classification task. No.",
        "Not a classification task?",
    ),
]


@pytest.mark.parametrize("text", YES)
def test_a_plain_yes_is_true(text: str) -> None:
    """Case, spaces, punctuation, Markdown, labels and explanations around a yes do not matter."""
    assert yes_no(text) is True


@pytest.mark.parametrize("text", NO)
def test_a_plain_no_is_false(text: str) -> None:
    """Nor do they around a no."""
    assert yes_no(text) is False


@pytest.mark.parametrize("text", UNKNOWN)
def test_anything_else_is_unknown_and_never_a_no(text: str) -> None:
    """An empty, unsure, double or different answer is an error with the reason the stage records."""
    with pytest.raises(ParseError, match="unknown_verdict") as error:
        yes_no(text)
    assert error.value.reason == "unknown_verdict"


@given(st.text() | st.text("yesno/or \n.,-*是否不属于对非分类吗？", max_size=40))
def test_any_text_gives_a_verdict_or_the_error(text: str) -> None:
    """Nothing but True, False and ParseError comes out, whatever goes in."""
    try:
        verdict = yes_no(text)
    except ParseError as error:
        assert error.reason == "unknown_verdict"
    else:
        assert verdict in (True, False)
        assert any(word in text.lower() for word in (("yes", "是", "属于", "对") if verdict else ("no", *"否不非")))
