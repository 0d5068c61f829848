"""The tokens that texts are compared by: those of rouge-score in English, characters in Chinese."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer

from selfinstruct.similarity.tokens import tokens


@given(st.text() | st.text(st.sampled_from("aZ09 _-'.éİıſK中。\n")))
@example("Don't panic: it's 3.14, OK?")
@example("naïve café — ÉCOLE")
@example("翻译 this into English")
@example("")
def test_english_tokens_are_those_of_rouge_score(text: str) -> None:
    """The default tokenizer of rouge-score, without a stemmer, gives the same list for any text."""
    assert tokens(text, "en") == DefaultTokenizer(use_stemmer=False).tokenize(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("把3公里换算成米。", ["把", "3", "公", "里", "换", "算", "成", "米"]),
        ("用Python写一段", ["用", "python", "写", "一", "段"]),
        ("ＡＢＣ１２３，好！", ["abc123", "好"]),
        ("かなカナ한글", ["か", "な", "カ", "ナ", "한", "글"]),
        ("ｶﾅ", ["カ", "ナ"]),
        ("㐀龜豈", ["㐀", "龜", "豈"]),
        ("Say it's 3.14!", ["say", "it", "s", "3", "14"]),
        ("，。？！", []),
    ],
)
def test_chinese_tokens_are_single_characters_and_ascii_runs(text: str, expected: list[str]) -> None:
    """NFKC and lower case first; punctuation separates and is dropped."""
    assert tokens(text, "zh") == expected


@given(st.text(st.characters(max_codepoint=127)))
def test_all_tokenizers_agree_on_ascii(text: str) -> None:
    """So a purely English pool is judged alike in every mode."""
    assert tokens(text, "zh") == tokens(text, "auto") == tokens(text, "en")


@given(st.text(st.sampled_from("ab1 中文かÉＡ。")))
def test_auto_gives_every_text_the_chinese_tokenizer(text: str) -> None:
    """Both sides of a comparison need one tokenizer, so auto does not switch between texts."""
    assert tokens(text, "auto") == tokens(text, "zh")
