"""without_phrases: what is left is a sentence, or the text stays as it was."""

from __future__ import annotations

import pytest

from selfinstruct.parsing.phrases import without_phrases
from selfinstruct.rules import shipped

BELLE = shipped("belle", "zh")["phrases"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("让GPT模型写一首诗。", "写一首诗。"),
        ("请让GPT模型写一首诗。", "写一首诗。"),
        ("请让gpt模型，写一首诗。", "写一首诗。"),
        ("请使用GPT模型来回答下面的问题：", "回答下面的问题："),
        ("给定一段话，要求GPT模型能够概括大意。", "给定一段话，概括大意。"),
        ("阅读短文。让GPT模型找出中心句。", "阅读短文。找出中心句。"),
        ("GPT模型应该根据输入写出标题", "根据输入写出标题"),
        ("希望GPT能够帮我写信", "帮我写信"),
        ("要求GPT模型：“春眠不觉晓”，接下一句。", "“春眠不觉晓”，接下一句。"),
        ("请让GPT模型使用GPT写诗", "写诗"),
        ("写一首诗，让GPT模型押韵。", "写一首诗，押韵。"),
    ],
)
def test_a_phrase_at_the_head_of_a_clause_goes(text: str, left: str) -> None:
    """With the comma or colon behind it, and without a trace."""
    assert without_phrases(text, BELLE) == left


@pytest.mark.parametrize(
    "text",
    [
        "如何使用GPT模型？",
        "使用GPT模型的优缺点",
        "使用GPT模型和人工翻译各有什么长处",
        "比较不同GPT模型",
        "使用GPT-3写诗",
        "让GPT4写诗",
        "谁在训练GPT？",
        "写一首诗。",
        "",
        "。",
    ],
)
def test_where_the_sentence_leans_on_the_phrase_it_stays(text: str) -> None:
    """Taking it out would leave half a sentence; the word list refuses the whole one."""
    assert without_phrases(text, BELLE) == text


@pytest.mark.parametrize("text", ["让GPT模型", "让GPT模型。", " 请让GPT模型：\n", "让GPT，让GPT。"])
def test_nothing_is_left_of_a_text_that_was_nothing_else(text: str) -> None:
    """Only then is the result empty."""
    assert without_phrases(text, BELLE) == ""


def test_without_phrases_to_take_out_nothing_changes() -> None:
    """English and self-instruct recipes have none."""
    assert without_phrases("让GPT模型写一首诗。", ()) == "让GPT模型写一首诗。"


def test_any_phrase_can_be_given() -> None:
    """A phrase is taken literally, and without case."""
    assert without_phrases("Ask the bot (v1) to: name a tree.", ["ask the bot (v1) to"]) == "name a tree."
