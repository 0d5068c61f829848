"""An overall score from 1 to 10, alone or behind a critique: the number that is plainly meant, or a named failure."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.errors import ParseError
from selfinstruct.parsing import critique, critique_json, overall_score


def _reason(read: object, text: str) -> str:
    assert callable(read)
    with pytest.raises(ParseError) as caught:
        read(text)
    return caught.value.reason


@pytest.mark.parametrize(
    ("text", "score"),
    [
        *(("8", 8), ("8/10", 8), ("7.5", 7.5), ("1", 1), ("1/10", 1), ("10", 10), ("9.0", 9), (" 8.\n", 8)),
        *(("９", 9), ("８／１０", 8), ("Overall: 9 out of 10", 9), ("Overall Score: 7", 7), ("总分：8分", 8)),
        *(("总体评分：７／１０", 7), ("八分", 8), ("Overall Score: [8]", 8), ("### Overall Score\n8", 8)),
        *(("**Overall score: 8/10**", 8), ("Overall Score (1-10): 7", 7), ("[[7]]", 7), ("Rating: [[7.5]]", 7.5)),
        *(("**8**/10", 8), ("8 (good)", 8), ("8分（满分10分）", 8), ("总分（满分10分）：8", 8), ("總分：8", 8)),
        *(("综合得分：8.5分/10分", 8.5), ("Overall score is 8.", 8), ("Final rating - 6", 6), ("Score = 4", 4)),
        *(("I would rate this answer 7 out of 10.", 7), ("我给这个回答打8分。", 8), ("```\n6\n```", 6), ("8.0", 8)),
        *(
            ("Overall Score: 7\nOverall Score: 7", 7),
            ("7\n\nIt is still too long.", 7),
            ("Score: 3 because it stops", 3),
        ),
        *(('{"overall_score": 7}', 7), ('```json\n{"overall_score": "7.5"}\n```', 7.5), ('{"score": "7/10"}', 7)),
        *(("**Overall Score:**\n\n**8**", 8), ("Having thought again:\n\n4", 4), ("$\\boxed{5}$", 5)),
    ],
)
def test_a_score_alone_is_read_in_any_dress(text: str, score: float) -> None:
    """1 is 1 and never 10, decimals stay, scales and units do not count."""
    assert overall_score(text) == score


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *(("Score: 0", "score_out_of_range"), ("11", "score_out_of_range"), ("85/100", "score_out_of_range")),
        *(("4/5", "score_out_of_range"), ("0.8", "score_out_of_range"), ("-3", "score_out_of_range")),
        *(("", "missing_score"), ("none", "missing_score"), ("It is good.", "missing_score"), ("N/A", "missing_score")),
        *(("Overall: 3 examples are missing", "missing_score"), ("Overall Score:\n", "missing_score")),
        *(("[[good]]", "missing_score"), ("10 out of 10 people like it", "missing_score")),
        *(("7\n8", "doubled_score"), ("Rating: 7 or 8", "doubled_score"), ("Score: 7-8", "doubled_score")),
        *(("I would rate it 7/10, or rather rate it 8/10", "doubled_score"), ("[[7]] and [[8]]", "doubled_score")),
        *(("{}", "missing_score"), ('{"overall_score": null}', "missing_score"), ('{"overall_score": ', "not_json")),
        *(('{"overall_score": true}', "wrong_shape"), ('{"overall_score": [7]}', "wrong_shape")),
        *(('{"overall_score": 7} {"overall_score": 8}', "wrong_shape"), ('{"overall_score": 0}', "score_out_of_range")),
        *(('{"overall_score": 7, "overall_score": 8}', "doubled_score"),),
    ],
)
def test_what_is_no_score_is_a_named_failure(text: str, reason: str) -> None:
    """Nothing is scaled, rounded or chosen."""
    assert _reason(overall_score, text) == reason


SAYS = "Name the year, and give 3 examples as 10 out of 10 people would expect."
READ_ALIKE = {
    "the form asked for": f"Feedback: {SAYS}\nOverall Score: 7.5",
    "a blank line between": f"Feedback:\n{SAYS}\n\nOverall Score: 7.5/10",
    "headings": f"### Feedback\n{SAYS}\n\n### Overall Score\n7.5",
    "bold": f"**Feedback:**\n\n{SAYS}\n\n**Overall score: 7.5/10**",
    "bold label": f"**Feedback:** {SAYS}\n\n**Overall Score:** 7.5",
    "chatter": f"Sure! Here is my feedback:\n\n{SAYS}\n\n---\n\n**Overall Score: 7.5/10**\n\nLet me know if I can.",
    "chatter and a label": f"Here is the feedback.\n\nFeedback:\n{SAYS}\n\nOverall Score: 7.5",
    "score first": f"Overall Score: 7.5\n\n{SAYS}",
    "score first, labels": f"**Overall Score:** 7.5\n**Feedback:** {SAYS}",
    "double brackets": f"{SAYS}\n\nRating: [[7.5]]",
    "double brackets in a sentence": f"{SAYS} Therefore, I would rate it as follows: [[7.5]].",
    "a number alone": f"{SAYS}\n\n7.5",
    "a number above": f"7.5/10\n\n{SAYS}",
    "on one line": f"{SAYS} Overall Score: 7.5",
    "a scale": f"Feedback: {SAYS}\nOverall Score (1-10): 7.5",
    "a heading and a line": f"{SAYS}\n\n## Overall Score\n**Overall Score: 7.5**",
    "Chinese": f"反馈：{SAYS}\n总分：7.5",
    "Chinese headings": f"### 反馈\n{SAYS}\n\n### 总体评分\n７.５分",
    "Chinese, traditional": f"反饋：\n{SAYS}\n\n總分：7.5分（满分10分）",
    "a fence": f"```\nFeedback: {SAYS}\nOverall Score: 7.5\n```",
}


@pytest.mark.parametrize("text", READ_ALIKE.values(), ids=READ_ALIKE.keys())
def test_a_critique_reads_the_same_in_every_style(text: str) -> None:
    """The feedback stands without the score, its heading, its label, and what is said around it."""
    assert critique(text) == (SAYS, 7.5)


@pytest.mark.parametrize(
    ("text", "feedback"),
    [
        ("1. Name it.\n2. Date it.\n\nOverall Score: 6", "1. Name it.\n2. Date it."),
        ("Your score of 9/10 in the quiz is no proof.\n\nScore: 6", "Your score of 9/10 in the quiz is no proof."),
        ("Overall: it is fine, 8 points are not.\nOverall Score: 6", "Overall: it is fine, 8 points are not."),
        ("### Rating\n\nA fair text.\n\nRating: 6", "A fair text."),
        ("I rate it [[6]] out of 10. It stops early.", "I rate it [[6]] out of 10. It stops early."),
        ("Good.\n\nOverall Score: 6\n\nThe end is weak, though.", "Good.\n\nThe end is weak, though."),
        ("Score: 6. Too long, and late.", "Too long, and late."),
        ("A good text.\n\n---\n\n6", "A good text."),
        ("A good text.\nOverall Score: 6\nFinal score: 6", "A good text."),
        ("A.\n\n```\nx = [[0, 1]]\n```\n\nOverall Score: 6", "A.\n\n```\nx = [[0, 1]]\n```"),
        ("Here is what is wrong:\n\n- the year\n\nScore: 6", "- the year"),
        ("The list is wrong:\n\n- the year\n\nScore: 6", "The list is wrong:\n\n- the year"),
        ("Fine, and then\n1.\n\nOverall Score: 6", "Fine, and then\n1."),
    ],
)
def test_feedback_keeps_what_is_no_score(text: str, feedback: str) -> None:
    """Lists, other numbers and prose about scores stay where they are."""
    assert critique(text) == (feedback, 6.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *(("Overall Score: 7", "missing_critique"), ("**Feedback:**\n\nOverall Score: 7", "missing_critique")),
        *(("[[7]]", "missing_critique"), ("8", "missing_critique"), ("", "missing_score"), (SAYS, "missing_score")),
        *(("I would rate it 7 out of 10.", "missing_score"), ("1. Name it.\n2. Date it.", "missing_score")),
        *(("Good.\nScore: 7\nOverall Score: 8", "doubled_score"), ("7\n\nGood.\n\n8", "doubled_score")),
        *(("Good.\nOverall Score: 0", "score_out_of_range"), ("Good.\nOverall Score: 85/100", "score_out_of_range")),
        *(("Good.\nOverall Score: 7 to 8", "doubled_score"), ("Good.\nOverall: 11", "score_out_of_range")),
        *(("Good.\nOverall Score: 7, maybe 8", "doubled_score"), ("Good.\nOverall Score: 10, no: 2", "doubled_score")),
        *((f"Score: 7.5. {SAYS}", "doubled_score"), ("Good.\nOverall Score: 7?", "missing_score")),
        *(("Good.\nOverall Score: 7\nRevised Overall Score: 5", "doubled_score"),),
        *(("Good.\nOverall Score: 7\n\nThen:\nCorrected Score: 4", "doubled_score"),),
        *(("好。\n总分：7\n修改后的总分：5", "doubled_score"), ("好。\n总分：7\n最终得分：5", "doubled_score")),
        *(("Feedback: the sum should be\n7", "missing_score"), ("the sum should be:\n\n7", "missing_score")),
        *(("7\nis the sum.", "missing_score"),),
        *(("Good.\nOverall Score: high", "missing_score"), ("Good.\n\n1.", "missing_score")),
    ],
)
def test_a_critique_without_its_parts_is_a_named_failure(text: str, reason: str) -> None:
    """No score is taken from prose, and no critique is made up."""
    assert _reason(critique, text) == reason


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"feedback": "Name it.", "overall_score": 7}', ("Name it.", 7.0)),
        ('Sure:\n```json\n{"feedback": " Name it.", "overall_score": "7.5/10"}\n```', ("Name it.", 7.5)),
        ('{"overall_score": 1, "feedback": "Line\\nbreak", "note": {}}', ("Line\nbreak", 1.0)),
    ],
)
def test_a_critique_in_json_is_read(text: str, read: tuple[str, float]) -> None:
    """In any order, in fences, with a score that is a number or a string."""
    assert critique_json(text) == read


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *(("Name it. 7", "not_json"), ('{"feedback": "Name', "not_json"), ('[{"feedback": "a"}]', "wrong_shape")),
        *(('{"feedback": "", "overall_score": 7}', "missing_critique"), ('{"overall_score": 7}', "missing_critique")),
        *(('{"feedback": null, "overall_score": 7}', "missing_critique"), ('{"feedback": "a"}', "missing_score")),
        *(('{"feedback": ["a"], "overall_score": 7}', "wrong_shape"),),
        *(('{"feedback": "a", "feedback": "b", "overall_score": 7}', "wrong_shape"),),
    ],
)
def test_a_critique_in_json_without_its_parts_is_a_named_failure(text: str, reason: str) -> None:
    """Broken JSON, another shape, or a part that is not there."""
    assert _reason(critique_json, text) == reason


FEEDBACKS = (
    "Name the year.",
    "1. Give 3 reasons.\n2. Score higher with 2 sources.",
    "A rating of 9/10 is quoted in line 4.\n\n- 10 of 10 is too much\n- 7",
    "第2段写得好，但有3处错误，得分点不全。",
)
LINES = (
    "Overall Score: {s}",
    "**Overall Score:** {s}/10",
    "Rating: [[{s}]]",
    "总分：{s}分",
    "### Overall Score\n\n{s}",
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FEEDBACKS), st.sampled_from(LINES), st.integers(2, 20), st.booleans())
def test_a_critique_reads_as_what_it_was_written_from(feedback: str, line: str, halves: int, first: bool) -> None:
    """And without its score line no other number takes its place."""
    score = halves / 2
    said = line.format(s=f"{score:g}")
    assert critique(f"{said}\n\n{feedback}" if first else f"Feedback: {feedback}\n\n{said}") == (feedback, score)
    assert _reason(critique, "Feedback: " + feedback) == "missing_score"
    other = random.Random(halves).choice([number for number in range(1, 11) if number != score])
    assert _reason(critique, f"{feedback}\n\n{said}\nOverall Score: {other}") == "doubled_score"
