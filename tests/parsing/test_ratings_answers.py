"""Whole judge answers, read as a careful reader would: the right value at the right text, or a named failure."""

from __future__ import annotations

import pytest

from selfinstruct.errors import ParseError
from selfinstruct.parsing import RatedText, Wanted, ratings

TWO = Wanted(2, types=False, na=True)
TYPED = Wanted(2, types=True, na=False)
ONE = Wanted(1, types=False, na=True)
ONE_TYPED = Wanted(1, types=True, na=True)


def rated(rating: int | None, rationale: str) -> RatedText:
    """What is read of a text in an aspect without types."""
    return RatedText(rating, rationale, (), "")


PLAIN = [rated(4, "Only the date is missing."), rated(2, "It answers another question.")]
READ_ALIKE = {
    "the form asked for": """#### Output for Text 1
Rating: 4
Rationale: Only the date is missing.

#### Output for Text 2
Rating: 2
Rationale: It answers another question.""",
    "the other order": """#### Output for Text 2
Rating: 2
Rationale: It answers another question.

#### Output for Text 1
Rating: 4
Rationale: Only the date is missing.""",
    "the reason first": """#### Output for Text 1
Rationale: Only the date is missing.
Rating: 4

#### Output for Text 2
Rationale: It answers another question.
Rating: 2""",
    "bold and bullets, with chatter": """Sure! I have judged both texts independently.

**Text 1**
- **Rating:** 4/5
- **Rationale:** Only the date is missing.

**Text 2**
- **Rating:** 2/5
- **Rationale:** It answers another question.

I hope this helps! Let me know if you need more detail.""",
    "a list of texts": """1. **Text 1:**
   - Rating: 4 out of 5
   - Rationale: Only the date is missing.
2. **Text 2:**
   - Rating: 2 out of 5
   - Rationale: It answers another question.""",
    "brackets": """[Text 1]
[Rating] 4
[Rationale] Only the date is missing.

[Text 2]
[Rating] 2
[Rationale] It answers another question.""",
    "headings of their own": """### Text 1 Output
#### Rating
4
#### Rationale
Only the date is missing.

### Text 2 Output
#### Rating
2
#### Rationale
It answers another question.

### Summary

Text 1 is the better one.""",
    "a fence around all": """Here is the output:

```markdown
#### Output for Text 1
Rating: 4
Rationale: Only the date is missing.

#### Output for Text 2
Rating: 2
Rationale: It answers another question.
```""",
    "a fence in each section": """**Output for Text 1:**
```
Rating: 4
Rationale: Only the date is missing.
```

**Output for Text 2:**
```
Rating: 2
Rationale: It answers another question.
```""",
    "a fence around each section": """```
Text 1
Rating: 4
Rationale: Only the date is missing.
```

```
Text 2
Rating: 2
Rationale: It answers another question.
```""",
    "all on one line": """Text 1: Rating: 4. Rationale: Only the date is missing.
Text 2: Rating: 2, Rationale: It answers another question.""",
    "the number in each label": """Text 1 Rating: 4
Text 1 Rationale: Only the date is missing.
Text 2 Rating: 2
Text 2 Rationale: It answers another question.""",
    "the number behind each label": """Rating for Text 1: 4
Rationale for Text 1: Only the date is missing.

Rating for Text 2: 2
Rationale for Text 2: It answers another question.""",
    "names for the ratings": """## Response 1
Score: 4 (Near full compliance)
Explanation: Only the date is missing.
---
## Response 2
Score: 2 (Partly off the task)
Explanation: It answers another question.
---""",
    "names in words": """Output 1
Rating: Near alignment (4)
Justification: Only the date is missing.

Output 2
Rating: Four fifths wrong (2/5)
Justification: It answers another question.""",
    "numbers in words": """Text one:
Rating: four
Rationale: Only the date is missing.

Text two:
Rating: Two
Rationale: It answers another question.""",
    "nothing but numbers above": """### 1
Rating: **4**
Rationale: Only the date is missing.

### 2
Rating: **2**
Rationale: It answers another question.""",
    "no numbers at all": """Rating: 4
Rationale: Only the date is missing.

Rating: 2
Rationale: It answers another question.""",
    "numbers of a list": """1. Rating: 4
   Rationale: Only the date is missing.
2. Rating: 2
   Rationale: It answers another question.""",
    "numbers of a list, turned": """2. Rating: 2
   Rationale: It answers another question.

1. Rating: 4
   Rationale: Only the date is missing.""",
    "a list in each section": """1. Rating: 4
2. Rationale: Only the date is missing.

1. Rating: 2
2. Rationale: It answers another question.""",
    "the rating said again": """#### Output for Text 1
Rating: 4
Rationale: Only the date is missing.
Rating: 4

#### Output for Text 2
Rating: 2.0
Rationale: It answers another question.""",
    "an empty heading before": """Text 1
Text 2

#### Output for Text 1
Rating: 4
Rationale: Only the date is missing.

#### Output for Text 2
Rating: 2
Rationale: It answers another question.""",
    "the form repeated before": """The form is:
Rating: [1-5]
Rationale: [in short sentences]

#### Output for Text 1
Rating: 4
Rationale: Only the date is missing.

#### Output for Text 2
Rating: 2
Rationale: It answers another question.""",
    "a quotation before": """> Text 1 and Text 2 follow.

> Text 1
> Rating: 4
> Rationale: Only the date is missing.
>
> Text 2
> Rating: 2
> Rationale: It answers another question.""".replace("\n>\n", "\n\n")
    .replace("\n> ", "\n")
    .removeprefix("> "),
    "marks all around": "**Text 1 (first)**\n".replace(" (first)", "")
    + "**Rating: 4**\n**Rationale: Only the date is missing.**\n\n"
    + "***Text 2***\n*Rating:* `2`\n_Rationale_: It answers another question.",
    "tags": """<text 1>
Rating: 4
Rationale: Only the date is missing.
</text 1>
<text 2>
Rating: 2
Rationale: It answers another question.
</text 2>""",
    "all of it quoted": """> #### Output for Text 1
> Rating: 4
> Rationale: Only the date is missing.
>
> #### Output for Text 2
> Rating: 2
> Rationale: It answers another question.""",
    "values below their labels": """**1.**
Rationale: Only the date is missing.
Rating:
**4**

**2.**
Rationale: It answers another question.
Rating:
**2**""",
    "the rating's heading": """Rating for Text 1:
Rating: 4
Rationale: Only the date is missing.

Rating for Text 2:
Rating: 2
Rationale: It answers another question.""",
    "the number in brackets behind each label": """**Rating (Text 2):** 2
**Rationale (Text 2):** It answers another question.

**Rating (Text 1):** 4
**Rationale (Text 1):** Only the date is missing.""",
    "the number behind the first label": """Rating (Text 2): 2
Rationale: It answers another question.

Rating (Text 1): 4
Rationale: Only the date is missing.""",
    "signs around the number": """== Text 1 ==
Rating: 4
Rationale: Only the date is missing.

🔹 **Text 2** ✅
Rating: 2
Rationale: It answers another question.""",
    "Chinese brackets and numerals": """一、《文本1》
Rating: 4
Rationale: Only the date is missing.

（二）文本〔2〕
Rating: 2
Rationale: It answers another question.""",
    "the same rating in the end": """Text 1
Rating: 4
Rationale: Only the date is missing.
Final rating: 4

Text 2
Score: 2/5
Rating: 2
Rationale: It answers another question.""",
    "a sum at the end": """#### Output for Text 1
Rating: 4
Rationale: Only the date is missing.

#### Output for Text 2
Rating: 2
Rationale: It answers another question.

Overall, Text 1 is better than Text 2.""",
    "windows and wide characters": "Text 1：\r\nRating： ４／５\r\nRationale： Only the date is missing.\r\n\r\n"
    "Text ２：\r\nRating： ２\r\nRationale： It answers another question.",
}


@pytest.mark.parametrize("text", READ_ALIKE.values(), ids=READ_ALIKE.keys())
def test_the_same_judgement_reads_the_same_in_every_style(text: str) -> None:
    """Headers, marks, order and chatter do not change what is said of which text."""
    assert ratings(text, TWO) == PLAIN


PLAIN_ZH = [rated(5, "完全按要求作答。"), rated(None, "属于创作任务。")]
READ_ALIKE_ZH = {
    "the form asked for": """#### 文本1的输出
评分：5
理由：完全按要求作答。

#### 文本2的输出
评分：不适用
理由：属于创作任务。""",
    "numerals": """第一段文本：
得分：五分
解释：完全按要求作答。

第二段文本：
得分：N/A
解释：属于创作任务。""",
    "traditional": """#### 文本1的輸出
評分：5
理由：完全按要求作答。

#### 文本2的輸出
評分：不适用
理由：属于创作任务。""",
    "brackets": """【文本一】
【评分】5
【理由】完全按要求作答。

【文本二】
【评分】N/A
【理由】属于创作任务。""",
    "marks": """好的，以下是评分：

**回答1**
- **打分**：５分
- **依据**：完全按要求作答。

**回答2**
- **打分**：N/A
- **依据**：属于创作任务。""",
    "full marks named": """输出1
分数：5分（满分5分）
原因：完全按要求作答。

输出2
分数：不适用（创作任务）
原因：属于创作任务。""",
    "judged texts": """对文本1的评价：
评分（1-5）：5/5
理由：完全按要求作答。

对文本2的评价：
评分（1-5）：不适用
理由：属于创作任务。""",
    "the number in each label": """文本1评分：5
文本1理由：完全按要求作答。
文本2评分：N/A
文本2理由：属于创作任务。""",
}


@pytest.mark.parametrize("text", READ_ALIKE_ZH.values(), ids=READ_ALIKE_ZH.keys())
def test_chinese_answers_read_the_same_in_every_style(text: str) -> None:
    """Labels in Chinese, numerals, full-width digits and traditional characters."""
    assert ratings(text, TWO) == PLAIN_ZH


TYPED_VALUES = [
    RatedText(2, "The error decides.", (1, 3), "The year is wrong, and it says both."),
    RatedText(5, "Nothing is made up.", (), "No conflict was found."),
]
READ_ALIKE_TYPED = {
    "the form asked for": """#### Output for Text 1
Type: 1, 3
Rationale: The year is wrong, and it says both.
Rating: 2
Rationale: The error decides.

#### Output for Text 2
Type: None
Rationale: No conflict was found.
Rating: 5
Rationale: Nothing is made up.""",
    "the rating last": """#### Output for Text 1
Type: [1, 3]
Rationale: The year is wrong, and it says both.
Rationale: The error decides.
Rating: 2

#### Output for Text 2
Type: none.
Rationale: No conflict was found.
Rationale: Nothing is made up.
Rating: 5""",
    "the rating first": """Text 1
Rating: 2
Rationale: The error decides.
Type: 1 and 3
Rationale: The year is wrong, and it says both.

Text 2
Rating: 5
Rationale: Nothing is made up.
Type: "None"
Rationale: No conflict was found.""",
    "reasons before": """Text 1
Rationale: The year is wrong, and it says both.
Types: 3, 1
Rationale: The error decides.
Rating: 2

Text 2
Rationale: No conflict was found.
Type: N/A
Rationale: Nothing is made up.
Rating: 5""",
    "reasons that say whose they are": """**Text 1**
**Hallucination Type:** Type 1 (conflict with facts), Type 3 (conflict with itself)
**Rationale for Rating:** The error decides.
**Rationale for Type:** The year is wrong, and it says both.
**Rating:** 2

**Text 2**
**Hallucination Type:** None detected
**Type Rationale:** No conflict was found.
**Rating:** 5
**Rationale For Rating:** Nothing is made up.""",
    "one that says whose it is": """Text 1
Types: 1; 3
Rationale: The year is wrong, and it says both.
Rating rationale: The error decides.
Rating: 2

Text 2
Rating rationale: Nothing is made up.
Rating: 5
Type: none
Rationale: No conflict was found.""",
    "Chinese": """文本1
类型：第1类、第3类
理由：The year is wrong, and it says both.
评分：2
理由：The error decides.

文本2
类型：无
理由：No conflict was found.
评分：5
理由：Nothing is made up.""",
    "Chinese that says whose they are": """文本1
類型：一、三
类型理由：The year is wrong, and it says both.
评分：2
评分理由：The error decides.

文本2
类型：没有
类型理由：No conflict was found.
评分：5
评分理由：Nothing is made up.""",
    "the rating's heading": """Rating for Text 1:
Type: 1, 3
Rationale: The year is wrong, and it says both.
Rating: 2
Rationale: The error decides.

**Rating for Text 2:**
Type: None
Rationale: No conflict was found.
Rating: 5
Rationale: Nothing is made up.""",
    "one line each": """Text 1: Type: 1, 3. Rationale: The year is wrong, and it says both.
Rating: 2. Rationale: The error decides.
Text 2: Type: None. Rationale: No conflict was found.
Rating: 5. Rationale: Nothing is made up.""",
}


@pytest.mark.parametrize("text", READ_ALIKE_TYPED.values(), ids=READ_ALIKE_TYPED.keys())
def test_types_and_both_reasons_are_told_apart(text: str) -> None:
    """The reason for the types and the reason for the rating, by their labels and by where they stand."""
    assert ratings(text, TYPED) == TYPED_VALUES


KEPT_WHOLE = [
    "Three points are missing:\n1. the date\n2. the place\n3. Text 2 has both",
    "The tone fits.\n\nThe length does not.",
    "The text says '#### Output for Text 2 Rating: 5', which I ignore.",
    "It deserves a rating of 5 for style.\nScore: it names none.",
    "See the code:\n\n```\nRating: 5\n```\n\nIt never runs.",
    "It quotes:\n\n> #### Output for Text 2\n> Rating: 5\n\nand stops.",
    "**Strong** start, weak end.",
    "Text 2 is better.\n- Text 2 has a source\n- Text 1 has none",
    "It is fine.\n\nOverall, the text 1 of the list is kept.\n\nPlease note that no date is given.",
    "Explanation: of a kind.\nReason: none.",
]


@pytest.mark.parametrize("rationale", KEPT_WHOLE)
def test_what_a_reason_mentions_stays_in_it(rationale: str) -> None:
    """Other texts, ratings, lists, code and quotations in a reason are text, and change no other text's rating."""
    answer = f"Text 1\nRating: 3\nRationale: {rationale}\n\nText 2\nRating: 1\nRationale: Empty."
    assert ratings(f"Text 1\nRating: 3\nRationale: {rationale}", ONE) == [rated(3, rationale)]
    assert ratings(answer, TWO) == [rated(3, rationale), rated(1, "Empty.")]
    assert ratings(answer.replace("Rating: 3\n", ""), TWO)[1] == rated(1, "Empty.")


@pytest.mark.parametrize(
    ("said", "rating"),
    [
        *(("4", 4), ("4.", 4), ("4/5", 4), ("4 / 5", 4), ("[4]", 4), ("(4)", 4), ("**4**", 4), ("４", 4), ("4.0", 4)),
        *(("4 out of 5", 4), ("4 (Substantial compliance)", 4), ("4 - close to best", 4), ("4: nearly there", 4)),
        *(("4 Substantial compliance", 4), ("Level 4", 4), ("4分", 4), ("四分", 4), ("4 stars", 4), ("4 because", 4)),
        *(("five", 5), ("1 of 5", 1), ("N/A", None), ("n/a.", None), ("Not applicable", None), ("NA", None)),
        *(("N/A (creative task 2)", None), ("不适用", None), ("[N/A]", None), ("Full (5)", 5), ("4/five", 4)),
        *(("Ｎ／Ａ", None), ("N／Ａ", None), ("4（满分5分）", 4), ("4 (on a scale of 1 to 5)", 4), ("4 (1-5)", 4)),
    ],
)
def test_a_rating_is_read_in_any_dress(said: str, rating: int | None) -> None:
    """Scales, units, marks and glosses around the number."""
    assert ratings(f"Text 1\nRating: {said}\nRationale: x", ONE) == [rated(rating, "x")]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        *(("3.5", "rating_out_of_range"), ("0", "rating_out_of_range"), ("6", "rating_out_of_range")),
        *(("10", "rating_out_of_range"), ("-4", "rating_out_of_range"), ("4/10", "rating_out_of_range")),
        *(
            ("4.5/5", "rating_out_of_range"),
            ("9" * 400, "rating_out_of_range"),
            ("4 out of ten", "rating_out_of_range"),
        ),
        *(("3-4", "doubled_rating"), ("3 or 4", "doubled_rating"), ("3, 4", "doubled_rating")),
        *(("N/A or 4", "doubled_rating"), ("4 (or N/A)", "doubled_rating"), ("3至4", "doubled_rating")),
        *(("4 - close to 5", "doubled_rating"), ("4, maybe 3", "doubled_rating"), ("4:5", "doubled_rating")),
        *(("5, or perhaps 4", "doubled_rating"), ("5 minus 1", "doubled_rating"), ("5 less 1", "doubled_rating")),
        *(("4. On reflection 3", "doubled_rating"), ("4 at most 3", "doubled_rating"), ("5 - N/A", "doubled_rating")),
        *(("4 would be generous; 2", "doubled_rating"), ("4分，扣1分", "doubled_rating"), ("3 plus", "doubled_rating")),
        *(("4, maybe three", "doubled_rating"), ("4分，也许三分", "doubled_rating"), ("N/A; 3", "doubled_rating")),
        *(
            ("3 (2-4)", "doubled_rating"),
            ("4 (满分3分)", "doubled_rating"),
            ("4 - " + "x" * 400 + "3", "doubled_rating"),
        ),
        *(("5? no, 4", "missing_rating"), ("4？", "missing_rating"), ("4/5 = 80%", "missing_rating")),
        *(("", "missing_rating"), ("high", "missing_rating"), ("4th", "missing_rating"), ("4%", "missing_rating")),
        *(("I would say 4", "missing_rating"), ("★★★★", "missing_rating"), ("4+", "missing_rating")),
    ],
)
def test_what_is_no_whole_rating_from_1_to_5_is_a_named_failure(said: str, reason: str) -> None:
    """Nothing is rounded, scaled or chosen."""
    (found,) = ratings(f"Text 1\nRating: {said}\nRationale: x", ONE)
    assert isinstance(found, ParseError)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("said", "types"),
    [
        *(("1", (1,)), ("1, 3", (1, 3)), ("3、1", (1, 3)), ("1 and 2", (1, 2)), ("[1]", (1,)), ("1 2 3", (1, 2, 3))),
        *(("None", ()), ("无", ()), ("none (nothing found)", ()), ("N/A", ()), ("1 - conflict, 2 - conflict", (1, 2))),
        *(("Type 2", (2,)), ("2, 2", (2,)), ("1/2", (1, 2)), ("\n2", (2,)), ("1和2", (1, 2)), ("1 & 3", (1, 3))),
        *(("类型一和类型三", (1, 3)), ("１、２", (1, 2)), ("第一类", (1,))),
    ],
)
def test_types_are_a_subset_of_1_to_3(said: str, types: tuple[int, ...]) -> None:
    """Lists in any notation, and every way to say that there are none."""
    assert ratings(f"Type: {said}\nRationale: x\nRating: 4\nRationale: y", ONE_TYPED) == [RatedText(4, "y", types, "x")]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        *(("4", "type_out_of_range"), ("0", "type_out_of_range"), ("1-3", "type_out_of_range")),
        *(("1.5", "type_out_of_range"), ("None, 1", "type_out_of_range"), ("1 in 2 places", "type_out_of_range")),
        *(("1, 3 times", "type_out_of_range"), ("1; 2 types", "type_out_of_range"), ("1，3处", "type_out_of_range")),
        *(("", "missing_type"), ("clear", "missing_type")),
    ],
)
def test_what_lists_no_types_is_a_named_failure(said: str, reason: str) -> None:
    """A type beyond the three, a range, or words."""
    (found,) = ratings(f"Text 1\nType: {said}\nRationale: x\nRating: 4\nRationale: y", ONE_TYPED)
    assert isinstance(found, ParseError)
    assert found.reason == reason


WHOLE = "Text 1\nRating: 4\nRationale: a\n\nText 2\nRating: 2\nRationale: b"
IN_DOUBT = {
    "nothing": ("", TWO, "no_sections"),
    "an apology": ("I'm sorry, but I cannot judge these texts.", TWO, "no_sections"),
    "reasons alone": ("Rationale: a\nRationale: b", TWO, "no_sections"),
    "scores in a row": ("4 2\nThe first is better.", TWO, "no_sections"),
    "one is missing": ("Text 1\nRating: 4\nRationale: a", TWO, "missing_section"),
    "the first has no header": (WHOLE.replace("Text 1\n", ""), TWO, "missing_section"),
    "the second has no header": (WHOLE.replace("Text 2\n", ""), TWO, "missing_section"),
    "a header without a number": (WHOLE.replace("Text 2", "#### Output for Text"), TWO, "missing_section"),
    "one too many": (WHOLE + "\n\nText 3\nRating: 1\nRationale: c", TWO, "extra_section"),
    "numbered from zero": (WHOLE.replace("Text 1", "Text 0"), TWO, "extra_section"),
    "one too many, without a number": (WHOLE + "\n\n### Text\nRating: 1\nRationale: c", TWO, "extra_section"),
    "a sixth rating before": ("Rating: 6\nRationale: c\n\n" + WHOLE, TWO, "extra_section"),
    "one twice": (WHOLE + "\n\nText 2\nRating: 2\nRationale: b", TWO, "doubled_section"),
    "a quoted section on lines of its own": (WHOLE.replace("a\n", "a\nText 2\nRating: 5\n"), TWO, "doubled_section"),
    "a header against its label": (WHOLE.replace("Text 1\n", "Text 1\nText 2 "), TWO, "missing_section"),
    "a header against brackets": (WHOLE.replace("Text 1\nRating", "Text 1\nRating (Text 2)"), TWO, "missing_section"),
    "a heading twice": (
        "Rating for Text 1:\nRating: 4\nRationale: a\n\n" + "Rating for Text 2:\nRating: 2\nRationale: b\n\n" * 2,
        TWO,
        "doubled_section",
    ),
    "reasons alone give numbers": (
        "Rating: 4\nRationale (Text 2): a\n\nRating: 2\nRationale (Text 1): b",
        TWO,
        "missing_section",
    ),
    "reasons alone give numbers, a rating is lost": (
        "Rationale (Text 2): a\n\nRating: 2\nRationale (Text 1): b",
        TWO,
        "missing_section",
    ),
    "no numbers, one missing": ("Rating: 4\nRationale: a", TWO, "missing_section"),
    "no numbers, one too many": ("Rating: 4\nRationale: a\n" * 3, TWO, "extra_section"),
    "no numbers, one in pieces": ("Rating: 4\nRating: 2\nRationale: b", TWO, "missing_section"),
    "list numbers that skip one": ("1. Rating: 4\nRationale: a\n3. Rating: 2\nRationale: b", TWO, "missing_section"),
    "list numbers on some": ("1. Rating: 4\nRationale: a\nRating: 2\nRationale: b", TWO, "missing_section"),
    "letters for numbers": (WHOLE.replace("Text 1", "Text A").replace("Text 2", "Text B"), TWO, "missing_section"),
    "other names for texts": (
        WHOLE.replace("Text 1", "**First**").replace("Text 2", "**Last**"),
        TWO,
        "missing_section",
    ),
    "other names, no marks": (WHOLE.replace("Text 1", "Model 2").replace("Text 2", "Model 1"), TWO, "missing_section"),
    "two texts in one section": ("#### Output for Texts 1 and 2\nRating: 4\nRationale: a", TWO, "missing_section"),
}


@pytest.mark.parametrize(("text", "wanted", "reason"), IN_DOUBT.values(), ids=IN_DOUBT.keys())
def test_doubt_about_which_text_is_which_fails_all(text: str, wanted: Wanted, reason: str) -> None:
    """No section is counted off to the text it happens to stand at."""
    with pytest.raises(ParseError) as caught:
        ratings(text, wanted)
    assert caught.value.reason == reason


FAULTS = {
    "no rating": ("Rationale: a", TWO, "missing_rating"),
    "a label without a rating": ("Rating:\nRationale: a", TWO, "missing_rating"),
    "no reason": ("Rating: 4", TWO, "missing_rationale"),
    "an empty reason": ("Rating: 4\nRationale:\n\n---", TWO, "missing_rationale"),
    "the place for a reason": ("Rating: 4\nRationale: <why this rating>", TWO, "missing_rationale"),
    "a reason without words": ("Rating: 4\nRationale: ...", TWO, "missing_rationale"),
    "a dash for a reason": ("Rating: 4\nRationale: -", TWO, "missing_rationale"),
    "the place for a reason in brackets": ("Rating: 4\nRationale: [Your rationale]", TWO, "missing_rationale"),
    "another word for the rating": ("Rating: 1\nRationale: a\nScore: 5\nScore: 5", TWO, "doubled_rating"),
    "a final rating": ("Rating: 5\nRationale: a\nFinal Rating: 4", TWO, "doubled_rating"),
    "a corrected rating": ("Rating: 5\nRationale: a\n**Corrected rating:** 4", TWO, "doubled_rating"),
    "nothing but another word": ("Rationale: a\nScore: 5", TWO, "missing_rating"),
    "an unlabelled reason": ("Rating: 4\nIt is fine.", TWO, "missing_rationale"),
    "two ratings": ("Rating: 4\nRationale: a\nRating: 5", TWO, "doubled_rating"),
    "a rating and none": ("Rating: 4\nRationale: a\nRating: N/A", TWO, "doubled_rating"),
    "two reasons": ("Rating: 4\nRationale: a\nRationale: b", TWO, "doubled_section"),
    "no rating asked for is none": ("Rating: N/A\nRationale: a", TWO._replace(na=False), "na_not_allowed"),
    "no types": ("Rating: 4\nRationale: a\nRationale: b", TYPED, "missing_type"),
    "one reason for two things": ("Type: 1\nRationale: a\nRating: 4", TYPED, "missing_rationale"),
    "reasons that cannot be told apart": ("Rating: 4\nRationale: a\nRationale: b\nType: 1", TYPED, "missing_rationale"),
    "two reasons for the rating": (
        "Type: 1\nRating rationale: a\nRating: 4\nRating rationale: b",
        TYPED,
        "missing_rationale",
    ),
    "two lists of types": ("Type: 1\nRationale: a\nType: 2\nRating: 4\nRationale: b", TYPED, "doubled_section"),
}


@pytest.mark.parametrize(("body", "wanted", "reason"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_in_one_section_leaves_the_others(body: str, wanted: Wanted, reason: str) -> None:
    """The text with the fault has a named failure in its place; the other text has its values."""
    whole = "Type: None\nRationale: c\nRating: 3\nRationale: d" if wanted.types else "Rating: 3\nRationale: d"
    first, second = ratings(f"Text 1\n{body}\n\nText 2\n{whole}", wanted)
    assert isinstance(first, ParseError)
    assert first.reason == reason
    assert "text 1" in first.detail
    assert second == RatedText(3, "d", (), "c" if wanted.types else "")


def test_a_changed_rating_in_chinese_is_a_second_one() -> None:
    """ "修改后的评分" and "最终评分" are ratings, too; with the same number they change nothing."""
    (found,) = ratings("文本1\n评分：5\n理由：a\n修改后的评分：4", ONE)
    assert isinstance(found, ParseError)
    assert found.reason == "doubled_rating"
    assert ratings("文本1\n评分：5\n理由：a\n最终评分：5", ONE) == [rated(5, "a")]


def test_labels_that_are_not_asked_for_are_text() -> None:
    """ "Type:" in an aspect without types belongs to the reason, as does a label that names two texts."""
    answer = "Text 1\nRating: 4\nRationale: a\nType: poem\nText 1 rating for Text 2: 5"
    assert ratings(answer, ONE) == [rated(4, "a\nType: poem\nText 1 rating for Text 2: 5")]


def test_emphasis_that_is_no_label_is_text() -> None:
    """ "**Rating** of what" and "Ratings vary" begin no rating."""
    rationale = "a\n**Rating** of what?\nRatings vary.\n**Reason** enough"
    assert ratings(f"Text 1\nRating: 4\nRationale: {rationale}", ONE) == [rated(4, rationale)]


def test_code_at_the_end_of_a_reason_keeps_its_fence() -> None:
    """A fence that closes belongs to the reason; one that closes nothing in it does not."""
    code = "Look:\n```\nx = 1\n```"
    assert ratings(f"Text 1\nRating: 4\nRationale: {code}", ONE) == [rated(4, code)]
    assert ratings("Text 1\nRating: 4\nRationale: [Fine.]\n```", ONE) == [rated(4, "[Fine.]")]
    assert ratings("Text 1\nRating: 4\n[Rationale: Fine.]", ONE) == [rated(4, "Fine.")]
