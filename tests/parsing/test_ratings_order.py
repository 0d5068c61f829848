"""Answers that number no text in a form the parser knows: taken in their order, or refused; never a shift."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.errors import ParseError
from selfinstruct.parsing import RatedText, Wanted, ratings, ratings_json

FOUR = Wanted(4, types=False, na=True)
TWO = Wanted(2, types=False, na=True)
TYPED = Wanted(2, types=True, na=False)
LETTERS, ROMAN = "ABCDEF", ("I", "II", "III", "IV", "V", "VI")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
WORDS = ("one", "two", "three", "four", "five", "six")
SIGNS, STEMS = "一二三四五六", "甲乙丙丁戊己"
PART = "Rating: {r}\nRationale: It is fine."
PART_ZH = "评分：{r}\n理由：写得不错。"

# Above, in and behind a part: each names its text in a way that is no numbered header or label of the form asked for.
ABOVE = (
    *(
        "== Text {n} ==",
        "Text {n}/4",
        "Text {n} ✅",
        "🔹 **Text {n}**",
        "Assistant {n}",
        "No. {n}",
        "{n} -",
        "{n}",
        "{n} |",
    ),
    *(
        "Response-{L}",
        "{o} text",
        "The {o} text:",
        "text {n} evaluation & rating",
        "{n}、",
        "《文本{n}》",
        "一、文本{n}",
    ),
    *(
        "（一）文本{n}",
        "文本〔{n}〕",
        "Text {n}: It is lighter than water and so on",
        "文本{n}: 冰为什么会浮",
        "Model {L}:",
    ),
    *(
        "对于文本{n}，它完整地回答了问题。",
        "For the {o} text, the answer is fine.",
        "({R})",
        "{R}.",
        "{L})",
        "**{L}**",
        "{s}",
    ),
    *(
        "{t}：",
        "第{s}篇",
        "On to Text {n}:",
        "Text {w}, the short one",
        "\\section{{Text {n}}}",
        "Item {n}",
        "<b>Text {n}</b>",
    ),
    *("Concerning the {o} of the texts that were given to me above:", "{n}️⃣", "| {n} | text |", "Ausgabe {n}"),
)
WITHIN = (
    *("Rating ({L}): {r}\nRationale: It is fine.", "Rating (#{n}): {r}\nRationale: It is fine."),
    *("Rating ({R}): {r}\nRationale: It is fine.", "Rating ({o} text): {r}\nRationale: It is fine."),
    *("Rating (Text {n}): {r}\nRationale: It is fine.", "评分（文本{n}）：{r}\n理由：写得不错。"),
    *(
        "评分（第{n}段）：{r}\n理由：写得不错。",
        "评分（第{s}段）：{r}\n理由：写得不错。",
        "评分（{t}）：{r}\n理由：写得不错。",
    ),
    *("Rating: {r}\nRationale: Text {n} is fine.", "Rating: {r} (Text {n})\nRationale: It is fine."),
    *("Rating: {r} ({o} text)\nRationale: It is fine.", "Rationale: Text {L} is fine.\nRating: {r}"),
    *("Rating: {r}\nRationale: the {o} one is fine.", "Rating: {r}\nRationale (for the text number {n}): It is fine."),
    *("Rating: {r}\nRationale (Text {n}): It is fine.", "Rationale (Text {n}): It is fine.\nRating: {r}"),
    *("评分：{r}\n理由：文本{n}写得不错。", "评分：{r}\n理由：第{s}段写得不错。", "评分：{r}\n理由：文本{s}不错。"),
    *("{n}. Rating: {r}\nRationale: It is fine.", "{n}. Rating: {r}\n{n}. Rationale: It is fine."),
    *("({l}) Rating: {r}\nRationale: It is fine.", "Text {w}: Rating: {r}\nRationale: It is fine."),
    *("Rating:\n{r}\nRationale:\nText {n} is fine.", "Rating {n}: {r}\nRationale {n}: It is fine."),
    *("Rating of {n}: {r}\nRationale: It is fine.", "T{n}: Rating: {r}\nRationale: It is fine."),
    *(
        "Rating: {r}\nRationale: fine ({l})",
        "Rating: {r}\nRationale: It is fine.\n(Text {n})",
        "Rating: {r}, text {n}\nRationale: x",
    ),
)


def filled(form: str, number: int, rating: int) -> str:
    """A form with one text's names and rating in it."""
    place = number - 1
    return form.format(
        n=number, r=rating, L=LETTERS[place], l=LETTERS[place].lower(), R=ROMAN[place], o=ORDINALS[place],
        w=WORDS[place], s=SIGNS[place], t=STEMS[place],
    )  # fmt: skip


def forms() -> list[str]:
    """Every way to write one text's part."""
    return [f"{above}\n{PART_ZH if chinese else PART}" for above in ABOVE for chinese in (False, True)] + list(WITHIN)


def disordered(rng: random.Random) -> list[int]:
    """The numbers of the texts as an answer may have them: in any order, deleted, doubled, begun at 2, four or so."""
    numbers = rng.choice([[1, 2, 3, 4], [2, 3, 4, 5], [1, 2, 3, 4], [1, 2, 3, 4, 5]])
    for _ in range(rng.randrange(3)):
        damage = rng.choice(["order", "delete", "double"])
        if damage == "order":
            rng.shuffle(numbers)
        elif damage == "delete" and len(numbers) > 1:
            numbers.pop(rng.randrange(len(numbers)))
        elif damage == "double":
            numbers.insert(rng.randrange(len(numbers) + 1), rng.choice(numbers))
    return numbers


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(forms()), st.randoms(use_true_random=False))
def test_texts_named_in_unknown_forms_never_shift(form: str, rng: random.Random) -> None:
    """Parts deleted, doubled or in another order: each text has its own rating, or a failure."""
    marks = dict(zip(range(1, 6), rng.sample(range(1, 6), k=5), strict=True))
    text = rng.choice(["\n\n", "\n", "\n\n---\n\n"]).join(filled(form, n, marks[n]) for n in disordered(rng))
    try:
        found = ratings(text, FOUR)
    except ParseError:
        return
    for number, one in enumerate(found, 1):
        assert isinstance(one, ParseError) or one.rating == marks[number], text


@pytest.mark.parametrize("form", forms())
def test_texts_named_in_unknown_forms_in_another_order_are_refused_or_right(form: str) -> None:
    """3, 1, 4, 2, each whole: what a reader by place would shift."""
    marks = {3: 2, 1: 4, 4: 5, 2: 1}
    try:
        found = ratings("\n\n".join(filled(form, n, mark) for n, mark in marks.items()), FOUR)
    except ParseError as error:
        assert error.reason in {"missing_section", "no_sections", "extra_section", "doubled_section"}
        return
    assert all(isinstance(one, ParseError) or one.rating == marks[n] for n, one in enumerate(found, 1))


@pytest.mark.parametrize(
    "text",
    [
        "Rating: 4\nRationale: It is fine.\n\nRating: 2/5\nRationale: It stops early.",
        "```\nRating: 4\nRationale: It is fine.\n---\nRating: 2\nRationale: It stops early.\n```",
        "**Rating (1-5):** 4\n**Rationale:** It is fine.\n\n**Rating:** 2 out of 5\n**Rationale:** It stops early.",
        "Rating:\n**4**\n\nRationale:\nIt is fine.\n\nRating:\n**2**\n\nRationale:\nIt stops early.",
        "Rationale: It is fine.\nRating: 4\n\nRationale: It stops early.\nRating: 2\n\nI hope this helps!",
        "> Rating: 4\n> Rationale: It is fine.\n>\n> Rating: 2\n> Rationale: It stops early.",
        "2. Rating: 2\n   Rationale: It stops early.\n1. Rating: 4\n   Rationale: It is fine.",
    ],
)
def test_nothing_but_labels_is_read_in_its_order(text: str) -> None:
    """Whole parts, one line a label, rules and blank lines between, a farewell at the end."""
    assert ratings(text, TWO) == [RatedText(4, "It is fine.", (), ""), RatedText(2, "It stops early.", (), "")]


def test_types_without_numbers_are_read_in_their_order() -> None:
    """The numbers of types name no text; what stands in brackets behind them may."""
    part = "Type: {t}\nRationale: It is so.\nRating: {r}\nRationale: It is fine."
    text = f"{part.format(t='2, 3 (as said)', r=4)}\n\n{part.format(t='None', r=1)}"
    assert ratings(text, TYPED) == [
        RatedText(4, "It is fine.", (2, 3), "It is so."),
        RatedText(1, "It is fine.", (), "It is so."),
    ]
    with pytest.raises(ParseError, match="missing_section"):
        ratings(text.replace("as said", "text 2"), TYPED)


@pytest.mark.parametrize(
    "reason",
    [
        *(
            "Text 2 is fine.",
            "The second is fine.",
            "The last one",
            "Better than the former.",
            "Three mistakes.",
            "文本三不错。",
        ),
        *(
            "第二段不错。",
            "丙",
            "前者更好。",
            "(b) is fine",
            "Option B is fine.",
            "III",
            "It is\nlong.",
            "It has\n\ntwo.",
            "②",
            "x" * 2001,
        ),
        *("It quotes\n> a word", "It is fine.\n\n- a point", "It is fine.\n```\ncode\n```", "Gamma is fine."),
    ],
)
def test_a_reason_that_may_speak_of_another_text_refuses_the_order(reason: str) -> None:
    """At the first place; a number, an ordinal, a letter, a second line."""
    with pytest.raises(ParseError) as caught:
        ratings(f"Rating: 4\nRationale: {reason}\n\nRating: 2\nRationale: fine", TWO)
    assert caught.value.reason == "missing_section"


@pytest.mark.parametrize(
    "reason", ["A good text, e.g. its end.", "I would add more.", "N/A-free", "It’s a start; 一些不足。"]
)
def test_articles_and_the_like_name_no_text(reason: str) -> None:
    """ "A", "I", "e.g." and "一些" stand in many reasons, at any place."""
    text = f"Rating: 4\nRationale: fine\n\nRating: 2\nRationale: {reason}"
    assert ratings(text, TWO)[1] == RatedText(2, reason, (), "")


@pytest.mark.parametrize(
    "reason", ["Text A is fine.", "(i) fine", "Option I fits", "Numeral I.", "文本一不错", "Text one"]
)
def test_the_first_text_named_at_the_second_place_refuses_the_order(reason: str) -> None:
    """Even where its name could be an article or a pronoun."""
    with pytest.raises(ParseError, match="missing_section"):
        ratings(f"Rating: 4\nRationale: fine\n\nRating: 2\nRationale: {reason}", TWO)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["id", "text_id", "number", "index", "name", "text_number", "output", "文本", "rationale", "slot"]),
    st.sampled_from(["{n}", "Text {n}", "Text {L}", "the {o}"]),
    st.randoms(use_true_random=False),
)
def test_json_entries_named_in_any_form_never_shift(key: str, name: str, rng: random.Random) -> None:
    """Entries deleted, doubled or in another order: each text has its own rating, or a failure."""
    marks = dict(zip(range(1, 6), rng.sample(range(1, 6), k=5), strict=True))
    entries = [{"rating": marks[n], "rationale": "fine", key: filled(name, n, 0)} for n in disordered(rng)]
    try:
        found = ratings_json(json.dumps({"texts": entries}, ensure_ascii=False), FOUR)
    except ParseError:
        return
    for number, one in enumerate(found, 1):
        assert isinstance(one, ParseError) or one.rating == marks[number], entries
