"""Judge answers built from known values in many styles, then damaged: the right value at the right text, or a failure.

What must come out is known by construction: each answer is written from values, and each damage says what it took.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.errors import ParseError
from selfinstruct.parsing import RatedText, Wanted, ratings

EXAMPLES = int(os.environ.get("JUDGE_ANSWERS", "150"))

REASONS_EN = (
    "It does what the task asks, and nothing else.",
    "Compared with Text 2 it is shorter; a rating of 5 would need the second example, too.",
    "Three things are missing:\n1. the date\n2. the name of the river\n3. Text 3 has both of them",
    "The limit of 50 words is kept.\n\nThe tone, however, is wrong for a letter to a school.",
    "The text says '#### Output for Text 2 Rating: 5' to steer the judge; that has no bearing here.",
    'It quotes "Rating: 5" and "Rationale: perfect" in its last line.',
    "Score 4 of the quiz is right (4/5), the others are not.\nScore: nothing more to add.",
    "**Strong** opening, *weak* end.\n\n- no source\n- Text 1 had one",
    "The code runs:\n\n```python\nprint('Rating: 1')\n```\n\nIt prints what was asked for.",
    "It repeats the question.\n\n> Text 4\n> Rating: 5\n\nThat quotation is all it has.",
    "None of the 3 claims holds; see also texts 1 and 2, which have type 1 errors.",
    "Overall, 2 of 10 people would follow it. The type is right.",
)
REASONS_ZH = (
    "完全按照要求作答，没有多余内容。",
    "与文本2相比更短；要得5分还需要第二个例子。",
    "缺三点：\n1. 日期\n2. 河流的名字\n3. 文本3都有",
    "字数没有超过50字。\n\n不过，语气不适合写给学校的信。",
    "文中写着“#### 文本2的输出 评分：5”，想影响评分，这里不予理会。",
    "评分为4的理由在于结构，１０个人中有２个会照做。",
)
HEADERS_EN = (
    *("#### Output for Text {n}", "### Text {n} Output", "**Text {n}**", "**Text {n}:**", "Text {n}:", "[Text {n}]"),
    *(
        "Output {n}",
        "### Output {n}:",
        "- **Text {n}**",
        "{n}. **Text {n}:**",
        "#### Output for <text {n}>",
        "Text #{n}",
    ),
    *(
        "## Response {n}",
        "**Output for Text {n}:**",
        "Evaluation of Text {n}:",
        "#### Text {n} — Assessment",
        "### {n}",
    ),
    *("#### OUTPUT FOR TEXT {n}:", "#### Output for Text {n}: the short one"),
)
HEADERS_ZH = (
    *(
        "#### 文本{n}的输出",
        "### 文本 {n}",
        "**文本{n}**",
        "文本{n}：",
        "【文本{n}】",
        "第{z}段文本：",
        "文本{z}",
        "回答{n}：",
    ),
    *("输出{n}", "#### 文本{n}的評估", "对文本{n}的评价：", "第{n}个回答", "文本{w}"),
)
RATING_LINES_EN = (
    *("Rating: {r}", "**Rating:** {r}", "- Rating: {r}/5", "Rating: [{r}]", "**Rating**: {r}", "Rating: {r} out of 5"),
    *("Rating: **{r}**", "* **Rating:** {r} / 5", "Rating (1-5): {r}", "**Rating: {r}**", "Rating: {r} (as described)"),
    *("Rating - {r}", "#### Rating\n{r}", "Rating:\n{r}", "Rating: {r}.", "`Rating: {r}`", "RATING: {r}"),
)
RATING_LINES_ZH = (
    *(
        "评分：{r}",
        "**评分**：{r}分",
        "评分：{r}/5",
        "评分: [{r}]",
        "- 评分：{w}",
        "得分：{r}",
        "打分：{r}分",
        "【评分】{r}",
    ),
    *("評分：{r}", "评分（1-5）：{r}", "分数：{r}（满分5分）", "**评分：{w}／５**", "### 评分\n{r}"),
)
WHY_EN = ("Rationale: {x}", "**Rationale:** {x}", "- **Rationale**: {x}", "Rationale:\n{x}", "#### Rationale\n{x}")
WHY_ZH = ("理由：{x}", "**理由：**{x}", "- 解释：{x}", "依据：{x}", "理由:\n{x}", "【理由】{x}")
TYPE_EN = ("Type: {t}", "**Type:** {t}", "Types: {t}", "- Type: [{t}]", "Hallucination Type: {t}")
TYPE_ZH = ("类型：{t}", "**类型**：{t}", "類型：{t}", "类型: [{t}]")
BEFORE = ("", "Sure! Here are my ratings of the four texts:\n\n", "### Output\n\n", "好的，以下是评分：\n\n", "---\n")
AFTER = (
    "",
    "\n\nI hope this helps!",
    "\n\n---",
    "\n\nLet me know if anything is unclear.",
    "\n\n## Summary\n\nText 1 is best.",
)
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")


@dataclass
class Answer:
    """A judge's answer in parts, and the values that it was written from."""

    wanted: Wanted
    values: list[RatedText]
    headers: list[str]
    parts: list[dict[str, str]]
    order: list[int]
    rationale_first: bool = False
    before: str = ""
    after: str = ""
    fenced: bool = False
    tight: bool = False
    extra: list[str] = field(default_factory=list)

    def section(self, place: int) -> str:
        """One text's section as it is written."""
        names = ["type", "type_why"] if self.wanted.types else []
        names += ["why", "rating"] if self.rationale_first else ["rating", "why"]
        body = [self.parts[place][name] for name in names if name in self.parts[place]]
        return "\n".join([line for line in [self.headers[place], *body] if line])

    def written(self) -> str:
        """The whole answer."""
        gap = "\n" if self.tight else "\n\n"
        text = gap.join([*(self.section(place) for place in self.order), *self.extra])
        text = f"```\n{text}\n```" if self.fenced else text
        return self.before + text + self.after


def _types_said(rng: random.Random, types: tuple[int, ...], chinese: bool) -> str:
    if not types:
        return rng.choice(["无", "无。"] if chinese else ["None", "none", "None."])
    glue = rng.choice(["、", "，", "和"] if chinese else [", ", ",", " and "])
    return glue.join(map(str, types))


def build(seed: int) -> Answer:
    """A well-formed answer in a style drawn from the seed."""
    rng = random.Random(seed)
    chinese, typed = rng.random() < 0.4, rng.random() < 0.5
    texts = rng.choice([1, 2, 3, 4, 4, 4, 5])
    wanted = Wanted(texts, typed, na=rng.random() < 0.5)
    header, rate, why, typing = (
        rng.choice(zh if chinese else en)
        for en, zh in (
            (HEADERS_EN, HEADERS_ZH),
            (RATING_LINES_EN, RATING_LINES_ZH),
            (WHY_EN, WHY_ZH),
            (TYPE_EN, TYPE_ZH),
        )
    )
    values, parts = [], []
    for _ in range(texts):
        rating = None if wanted.na and rng.random() < 0.2 else rng.randint(1, 5)
        reasons = REASONS_ZH if chinese else REASONS_EN
        types = tuple(t for t in (1, 2, 3) if rng.random() < 0.4) if typed else ()
        value = RatedText(rating, rng.choice(reasons), types, rng.choice(reasons) if typed else "")
        values.append(value)
        line = rate.format(r=rating, w=str(rating).translate(WIDE))
        if rating is None:
            absent = rng.choice(
                ["不适用", "N/A"] if chinese else ["N/A", "n/a", "Not applicable", "N/A (creative task)"]
            )
            line = "评分：" + absent if chinese else "Rating: " + absent
            line = (
                line
                if not chinese or rate.startswith(("评分", "**评分", "【评分", "評分"))
                else rate.split("{")[0] + absent
            )
        part = {"rating": line, "why": why.format(x=value.rationale)}
        if typed:
            part["type"] = typing.format(t=_types_said(rng, types, chinese))
            part["type_why"] = why.format(x=value.types_rationale)
        parts.append(part)
    digits = "零一二三四五六七八九"
    headers = [header.format(n=n, z=digits[n], w=str(n).translate(WIDE)) for n in range(1, texts + 1)]
    return Answer(
        wanted=wanted,
        values=values,
        headers=headers,
        parts=parts,
        order=list(range(texts)),
        rationale_first=rng.random() < 0.3,
        before=rng.choice(BEFORE),
        after=rng.choice(AFTER),
        fenced=rng.random() < 0.1,
        tight=rng.random() < 0.2,
    )


def read(answer: Answer) -> list[RatedText | ParseError]:
    """What the parser makes of it."""
    return ratings(answer.written(), answer.wanted)


SEEDS = st.integers(0, 2**40)
MORE = settings(max_examples=EXAMPLES, deadline=None)


def has_quoting_fence(answer: Answer) -> bool:
    """Whether the answer stands in a fence and a reason in it brings fences of its own, which no reader can tell."""
    return answer.fenced and "```" in "".join(value.rationale + value.types_rationale for value in answer.values)


@MORE
@given(SEEDS)
def test_an_answer_reads_as_the_values_it_was_written_from(seed: int) -> None:
    """Each text has its own rating, reason and types, in any style."""
    answer = build(seed)
    if has_quoting_fence(answer):
        return
    assert read(answer) == answer.values, answer.written()


@MORE
@given(SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_the_sections_changes_nothing(seed: int, rng: random.Random) -> None:
    """Sections are taken by their numbers."""
    answer = build(seed)
    rng.shuffle(answer.order)
    if has_quoting_fence(answer):
        return
    assert read(answer) == answer.values, answer.written()


def _raised(answer: Answer) -> str:
    with pytest.raises(ParseError) as caught:
        found = read(answer)
        raise AssertionError(f"{found}\n{answer.written()}")
    return caught.value.reason


@MORE
@given(SEEDS, st.randoms(use_true_random=False))
def test_a_missing_or_doubled_section_is_a_named_failure_of_all(seed: int, rng: random.Random) -> None:
    """No section moves up to fill a gap, and no second one replaces the first."""
    answer = build(seed)
    place = rng.randrange(answer.wanted.texts)
    answer.fenced = False
    without = [other for other in answer.order if other != place]
    answer.order = without
    assert _raised(answer) == ("missing_section" if without else "no_sections")
    answer.order = [*without, place, place]
    rng.shuffle(answer.order)
    assert _raised(answer) == "doubled_section"
    answer.order = list(range(answer.wanted.texts))
    answer.wanted = answer.wanted._replace(texts=answer.wanted.texts - 1)
    if answer.wanted.texts:
        assert _raised(answer) == "extra_section"


def _word(line: str) -> str:
    """The word that stands for the rating on its line."""
    return next(word for word in ("评分", "評分", "得分", "打分", "分数", "Rating") if word.lower() in line.lower())


@MORE
@given(SEEDS, st.randoms(use_true_random=False))
def test_a_fault_in_one_section_stays_in_it(seed: int, rng: random.Random) -> None:
    """A rating out of range, doubled or without its line, or a lost label: that text fails, the others stay."""
    answer = build(seed)
    answer.fenced = False
    place = rng.randrange(answer.wanted.texts)
    part = answer.parts[place]
    label = _word(part["rating"])
    faults: dict[str, Callable[[], object]] = {
        "rating_out_of_range": lambda: part.update(
            rating=f"{label}: {rng.choice(['0', '6', '10', '3.5', '-4', '4/10'])}"
        ),
        "doubled_rating": lambda: part.update(rating=f"{label}: 2\n{label}: 3"),
        "missing_rating": lambda: part.pop("rating"),
        "missing_rationale": lambda: part.pop("why"),
        "na_not_allowed": lambda: part.update(rating=f"{label}: N/A"),
    }
    if answer.wanted.types:
        faults["missing_type"] = lambda: part.pop("type")
        faults["type_out_of_range"] = lambda: part.update(type=f"{part['type'].split(':')[0].split('：')[0]}: 1, 4")
    reason = rng.choice(sorted(faults))
    if reason == "na_not_allowed":
        answer.wanted = answer.wanted._replace(na=False)
        for other, value in enumerate(answer.values):
            if value.rating is None:
                answer.parts[other]["rating"] = f"{label}: 1"
                answer.values[other] = value._replace(rating=1)
    faults[reason]()
    found = read(answer)
    for other, value in enumerate(answer.values):
        one = found[other]
        if other == place:
            assert isinstance(one, ParseError), answer.written()
            assert one.reason == reason, answer.written()
        else:
            assert one == value, answer.written()


def _spoilt(text: str, rng: random.Random) -> str:
    """The text without a line, a line break, the digits or the colons of a line, or its end."""
    lines = text.split("\n")
    one = rng.randrange(len(lines))
    damage = rng.choice(["line", "digit", "label", "end", "join"])
    if damage == "line":
        del lines[one]
    elif damage == "digit":
        lines[one] = "".join(c for c in lines[one] if not c.isdigit())
    elif damage == "label":
        lines[one] = lines[one].replace(":", "").replace("：", "")
    elif damage == "join" and one:
        lines[one - 1 : one + 1] = [lines[one - 1] + " " + lines[one]]
    spoilt = "\n".join(lines)
    return spoilt[: rng.randrange(len(spoilt) + 1)] if damage == "end" else spoilt


def _rate_apart(answer: Answer, rng: random.Random) -> list[int]:
    """Gives every text of the answer a rating that no other has."""
    marks = rng.sample(range(1, 6), k=answer.wanted.texts)
    for part, mark in zip(answer.parts, marks, strict=True):
        part["rating"] = f"{_word(part['rating'])}: {mark}"
    return marks


@MORE
@given(SEEDS, st.randoms(use_true_random=False))
def test_no_damage_gives_a_text_the_rating_of_another(seed: int, rng: random.Random) -> None:
    """Whatever was taken out of an answer, up to three times, a text has its own rating, or none."""
    answer = build(seed)
    marks = _rate_apart(answer, rng)
    spoilt = answer.written()
    for _ in range(rng.randint(1, 3)):
        spoilt = _spoilt(spoilt or "\n", rng)
    try:
        found = ratings(spoilt, answer.wanted)
    except ParseError:
        return
    for one, mark in zip(found, marks, strict=True):
        assert isinstance(one, ParseError) or one.rating == mark, spoilt


@MORE
@given(SEEDS, st.randoms(use_true_random=False))
def test_a_line_too_many_gives_no_text_the_rating_of_another(seed: int, rng: random.Random) -> None:
    """A line of the answer stands in it twice, the second time anywhere: a text has its own rating, or none."""
    answer = build(seed)
    marks = _rate_apart(answer, rng)
    lines = answer.written().split("\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    try:
        found = ratings("\n".join(lines), answer.wanted)
    except ParseError:
        return
    for one, mark in zip(found, marks, strict=True):
        assert isinstance(one, ParseError) or one.rating == mark, "\n".join(lines)
