"""What is in another language than the run is told before anything is asked."""

from __future__ import annotations

import pytest

from selfinstruct.errors import BadData
from selfinstruct.instruction_file import Brought
from selfinstruct.instruction_language import check_language
from selfinstruct.schema import Lang

EN, ZH = "Why is the sea salty, and rain is not?", "海水为什么是咸的，雨水却不咸？"


def brought(*texts: str) -> list[Brought]:
    """Instructions with these texts, each in its line."""
    return [Brought(text, "other", f"mine.txt:{line}") for line, text in enumerate(texts, start=1)]


@pytest.mark.parametrize(("lang", "own", "foreign", "other"), [("en", EN, ZH, "zh"), ("zh", ZH, EN, "en")])
def test_more_than_half_in_the_other_language_is_refused(lang: Lang, own: str, foreign: str, other: str) -> None:
    """The first is named, and the option that is missing; half of them, and what shows no language, may pass."""
    with pytest.raises(BadData) as caught:
        check_language(brought(own, foreign, foreign), lang)
    assert str(caught.value) == (
        f"mine.txt:2: 2 of 3 instructions looked at are not in the language of the run ({lang}), such as this one:"
        f" add --lang {other}, or take others"
    )
    check_language(brought(own, foreign, own, foreign), lang)
    check_language(brought("1 + 1 = ?", "2 + 2 = ?", foreign), lang)


def test_a_sample_of_many_texts_shows_their_language() -> None:
    """Spread over all of them: a Chinese beginning does not decide."""
    check_language(brought(*[ZH] * 300, *[EN] * 4000), "en", "texts")
    with pytest.raises(BadData, match=r"^mine\.txt:101: 200 of 205 texts looked at"):
        check_language(brought(*[EN] * 100, *[ZH] * 4000), "en", "texts")
