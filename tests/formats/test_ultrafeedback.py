"""What an export in UltraFeedback's published layout holds."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from selfinstruct.feedback_schema import RatedInstruction
from selfinstruct.formats import FORMATS
from tests.judged_answers import HISTORY, critiqued, rated


def row(record: RatedInstruction) -> dict[str, Any]:
    """The one line of an export."""
    (line,) = FORMATS["ultrafeedback"].write([record])
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    return json.loads(line)  # type: ignore[no-any-return]


def answer(number: int, **more: Any) -> dict[str, Any]:
    """What is there of each answer of `tests.judged_answers`, rated or not."""
    return {
        "model": f"m{number}",
        "principle": "honesty",
        "custom_system_prompt": "Say when you do not know.",
        "response": f"answer {number}",
        **more,
    }


def test_a_row_has_the_published_keys_and_nothing_else() -> None:
    """Ratings are strings, N/A among them; types are lists of strings, and None one of them."""
    record = critiqued(
        (7.5, (4, "N/A", 5, 3)),
        (2.0, (1, 2, 1, 1)),
        correct_answers=("1642 m",),
        incorrect_answers=("12 m", "9 km"),
    )
    first: dict[str, dict[str, Any]] = {
        "instruction_following": {"Rating": "4", "Rationale": "why instruction_following"},
        "honesty": {"Rating": "N/A", "Rationale": "why honesty"},
        "truthfulness": {
            "Type": ["None"],
            "Rationale": "types of truthfulness",
            "Rating": "5",
            "Rationale For Rating": "why truthfulness",
        },
        "helpfulness": {
            "Type": ["1", "2"],
            "Rationale": "types of helpfulness",
            "Rating": "3",
            "Rationale For Rating": "why helpfulness",
        },
    }
    ratings = dict(zip(first, ("1", "2", "1", "1"), strict=True))
    second = {aspect: {**said, "Rating": ratings[aspect]} for aspect, said in first.items()}
    scores = [
        {"critique": "critique 0", "overall_score": 7.5, "fine-grained_score": 4.0},
        {"critique": "critique 1", "overall_score": 2.0, "fine-grained_score": 1.25},
    ]
    assert row(record) == {
        "source": "flan",
        "instruction": "How deep is it?",
        "models": ["m0", "m1"],
        "completions": [answer(0, annotations=first, **scores[0]), answer(1, annotations=second, **scores[1])],
        "correct_answers": ["1642 m"],
        "incorrect_answers": ["12 m", "9 km"],
    }


def test_what_is_missing_is_null_and_never_made_up() -> None:
    """An annotation, a mean without ratings, and the critiques of a run that asked for none."""
    written = row(rated((None, 2, None, None), ()))
    none = dict.fromkeys(["instruction_following", "honesty", "truthfulness", "helpfulness"])
    without = {"critique": None, "overall_score": None}
    assert written["completions"] == [
        answer(
            0,
            annotations={**none, "honesty": {"Rating": "2", "Rationale": "why honesty"}},
            **without,
            **{"fine-grained_score": 2.0},
        ),
        answer(1, annotations=none, **without, **{"fine-grained_score": None}),
    ]
    assert (written["correct_answers"], written["incorrect_answers"]) == (["None"], ["None"])


def test_a_critique_that_could_not_be_read_is_null() -> None:
    """Beside one that could."""
    written = row(critiqued((None, (5, 5, 5, 5)), (1.0, (1, 1, 1, 1))))
    assert [(one["critique"], one["overall_score"]) for one in written["completions"]] == [
        (None, None),
        ("critique 1", 1.0),
    ]


def test_what_was_said_before_stands_in_the_instruction() -> None:
    """The layout has no other place for it."""
    record = rated((5, 5, 5, 5), history=HISTORY)
    assert row(record)["instruction"] == "User: Name a lake.\n\nAssistant: Baikal.\n\nUser: How deep is it?"


def test_every_column_has_one_type() -> None:
    """So that a table can be made of rows with and without types, answers and annotations, in whatever order."""
    arrow = pytest.importorskip("pyarrow.json", reason="pyarrow is not installed")
    records = [
        rated(("N/A", 2, None, None), ()),
        critiqued((7.0, (4, 4, 4, 4)), (None, ()), correct_answers=("a",)),
    ]
    table = arrow.read_json(io.BytesIO(b"".join(FORMATS["ultrafeedback"].write(records))))
    assert table.column_names == [
        *("source", "instruction", "models", "completions", "correct_answers", "incorrect_answers")
    ]
    assert table.to_pylist()[1]["completions"][0]["annotations"]["truthfulness"]["Type"] == ["None"]
