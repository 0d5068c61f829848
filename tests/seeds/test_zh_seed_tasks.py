"""The Chinese seed file, where a language matters: punctuation, how its tasks begin, lengths, distance."""

from __future__ import annotations

import re
from collections import Counter

from selfinstruct.similarity.tokens import tokens
from tests.seeds.seed_files import alike, tasks_of

HAN = "\u4e00-\u9fff"


def test_instructions_are_one_line_of_chinese_that_ends_as_a_sentence() -> None:
    """6 to 80 characters, six of them Chinese; no leading dash or bracket, as it stands in lists of prompts."""
    instructions = [task["instruction"] for task in tasks_of("zh")]
    assert [text for text in instructions if not re.fullmatch(rf"[{HAN}A-Za-z0-9《“].{{4,78}}[。？！：]", text)] == []
    assert [text for text in instructions if len(re.findall(f"[{HAN}]", text)) < 6] == []


def test_punctuation_in_instructions_is_full_width() -> None:
    """No ASCII comma, colon, question mark or parenthesis beside a Chinese character, no space between scripts."""
    half = re.compile(rf"[{HAN}][,:;?!()]|[,:;?!()][{HAN}]|[{HAN}] +[{HAN}A-Za-z0-9]|[A-Za-z0-9] +[{HAN}]")
    assert [task["name"] for task in tasks_of("zh") if half.search(task["instruction"])] == []


def test_classification_labels_are_named_in_the_task() -> None:
    """The output of a classification task is a label written exactly so in its instruction or input."""
    for task in tasks_of("zh"):
        (instance,) = task["instances"]
        if task["is_classification"]:
            assert instance["output"] in task["instruction"] + "\n" + instance["input"], task["id"]


def test_at_least_a_quarter_of_the_outputs_is_short_and_a_quarter_long() -> None:
    """At least a quarter of the outputs has fewer than 25 characters, and another quarter more than 150."""
    lengths = [len(task["instances"][0]["output"]) for task in tasks_of("zh")]
    assert sum(length < 25 for length in lengths) >= 175 / 4
    assert sum(length > 150 for length in lengths) >= 175 / 4


def test_at_most_six_instructions_start_with_the_same_two_characters() -> None:
    """What a first word is in English."""
    assert max(Counter(task["instruction"][:2] for task in tasks_of("zh")).values()) <= 6


def test_no_two_instructions_are_alike() -> None:
    """All 15,225 pairs have a ROUGE-L F1 below 0.6 over characters, as the novelty filter reads Chinese."""
    read = {task["instruction"]: tokens(task["instruction"], "zh") for task in tasks_of("zh")}
    assert (len(read), alike(read)) == (175, [])
