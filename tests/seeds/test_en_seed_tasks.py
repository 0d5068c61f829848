"""The English seed file, where a language matters: how its tasks begin, their lengths, the distance between them."""

from __future__ import annotations

import itertools
import re
from collections import Counter

from rapidfuzz.distance import LCSseq
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from tests.seeds.seed_files import alike, tasks_of


def test_instructions_are_one_line_that_starts_with_an_ascii_letter_or_digit() -> None:
    """An instruction can stand in a numbered list of a prompt: no line break, no leading quote, dash or bracket."""
    instructions = [task["instruction"] for task in tasks_of("en")]
    assert [text for text in instructions if not re.fullmatch(r"[A-Za-z0-9].*[.?:]", text)] == []
    assert [text for text in instructions if len(text.splitlines()) > 1 or not 4 <= len(text.split()) <= 50] == []


def test_classification_labels_are_named_in_the_task() -> None:
    """The output of a classification task is a label written exactly so in its instruction or input."""
    for task in tasks_of("en"):
        (instance,) = task["instances"]
        if task["is_classification"]:
            label = rf"(?<!\w){re.escape(instance['output'])}(?!\w)"
            assert re.search(label, task["instruction"] + "\n" + instance["input"]), task["id"]


def test_at_least_a_quarter_of_the_outputs_is_short_and_a_quarter_long() -> None:
    """At least a quarter of the outputs has fewer than 40 characters, and another quarter more than 300."""
    lengths = [len(task["instances"][0]["output"]) for task in tasks_of("en")]
    assert sum(length < 40 for length in lengths) >= 175 / 4
    assert sum(length > 300 for length in lengths) >= 175 / 4


def test_at_most_six_instructions_start_with_the_same_word() -> None:
    """The most frequent first word, whatever its case, starts six instructions at most."""
    first_words = Counter(re.findall(r"\w+", task["instruction"].lower())[0] for task in tasks_of("en"))
    assert max(first_words.values()) <= 6


def test_no_two_instructions_are_alike() -> None:
    """All 15,225 pairs of instructions have a ROUGE-L F1 below 0.6, stricter than the 0.7 of Self-Instruct (§2.2)."""
    tokenizer = DefaultTokenizer(use_stemmer=False)
    words = {task["instruction"]: tokenizer.tokenize(task["instruction"]) for task in tasks_of("en")}
    assert (len(words), alike(words)) == (175, [])


def test_the_integer_rouge_l_is_the_published_one() -> None:
    """2 · LCS / (m + n) over rouge_score's words is the F1 rouge_score gives, for the pairs of the first 20 tasks."""
    tokenizer, scorer = DefaultTokenizer(use_stemmer=False), RougeScorer(["rougeL"])
    for one, other in itertools.combinations([task["instruction"] for task in tasks_of("en")[:20]], 2):
        left, right = tokenizer.tokenize(one), tokenizer.tokenize(other)
        ours = 2 * LCSseq.similarity(left, right) / (len(left) + len(right))
        assert abs(ours - scorer.score(one, other)["rougeL"].fmeasure) < 1e-12
