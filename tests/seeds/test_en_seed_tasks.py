"""The English seed file: its form, its mix, the distance between its tasks, and a verdict on each of them."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from rapidfuzz.distance import LCSseq
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from selfinstruct.schema import SeedTask

SEEDS = Path(__file__).parents[2] / "seeds"
TASKS = SEEDS / "en_seed_tasks.jsonl"
REVIEWS = SEEDS / "en_seed_reviews.jsonl"

DOMAINS = {
    "business",
    "classification",
    "code",
    "creative writing",
    "culture",
    "daily life",
    "dialogue",
    "education",
    "extraction",
    "humour",
    "law",
    "maths",
    "medicine",
    "planning",
    "reasoning",
    "rewriting",
    "science",
    "tables and formats",
}


def _lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _fingerprint(task: dict[str, Any]) -> str:
    """Return the sha256 of a task's canonical JSON: sorted keys, no spaces, no escapes."""
    canonical = json.dumps(task, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _outputs() -> list[str]:
    """Return the output of every task."""
    return [task["instances"][0]["output"] for task in _lines(TASKS)]


# --- form -----------------------------------------------------------------------------------------------------------


def test_there_are_175_tasks_with_ids_in_order_and_unique_names() -> None:
    """The file holds 175 tasks, as Self-Instruct's does (§2.2); ids count up from 0 and no name is used twice."""
    tasks = _lines(TASKS)
    assert [task["id"] for task in tasks] == [f"en_seed_task_{number}" for number in range(175)]
    assert len({task["name"] for task in tasks}) == 175


def test_every_line_is_plain_json_in_the_published_schema() -> None:
    """Every line is what json.dumps writes without escapes, with exactly these keys in this order."""
    text = TASKS.read_text(encoding="utf-8")
    tasks = _lines(TASKS)
    assert text == "".join(json.dumps(task, ensure_ascii=False) + "\n" for task in tasks)
    assert {tuple(task) for task in tasks} == {("id", "name", "instruction", "instances", "is_classification")}
    assert {tuple(instance) for task in tasks for instance in task["instances"]} == {("input", "output")}


def test_every_task_has_one_instance_and_the_right_types() -> None:
    """The package reads every task, with one instance, texts where texts belong, and true or false at the end."""
    for task in _lines(TASKS):
        seed = SeedTask.model_validate(task, strict=False)
        assert len(seed.instances) == 1
        assert seed.model_dump(mode="json") == task
        assert isinstance(task["is_classification"], bool)


def test_names_are_short_slugs() -> None:
    """A name is two to five words in lower case, joined by underscores."""
    names = [task["name"] for task in _lines(TASKS)]
    assert [name for name in names if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+){1,4}", name)] == []


def test_instructions_are_one_line_that_starts_with_an_ascii_letter_or_digit() -> None:
    """An instruction can stand in a numbered list of a prompt: no line break, no leading quote, dash or bracket."""
    instructions = [task["instruction"] for task in _lines(TASKS)]
    assert [text for text in instructions if not re.fullmatch(r"[A-Za-z0-9].*[.?:]", text)] == []
    assert [text for text in instructions if len(text.splitlines()) > 1 or not 4 <= len(text.split()) <= 50] == []


def test_no_output_is_empty_and_no_text_has_space_around_it() -> None:
    """Every output says something, and neither inputs nor outputs begin or end with white space."""
    instances = [task["instances"][0] for task in _lines(TASKS)]
    assert [instance for instance in instances if not instance["output"]] == []
    assert [text for instance in instances for text in instance.values() if text != text.strip()] == []


# --- mix ------------------------------------------------------------------------------------------------------------


def test_about_one_task_in_seven_is_classification() -> None:
    """24 to 28 of the 175 tasks are classification, near the 25 of Self-Instruct's seeds (§2.2)."""
    assert 24 <= sum(task["is_classification"] for task in _lines(TASKS)) <= 28


def test_classification_labels_are_named_in_the_task() -> None:
    """The output of a classification task is a label written exactly so in its instruction or input."""
    for task in _lines(TASKS):
        (instance,) = task["instances"]
        if task["is_classification"]:
            label = rf"(?<!\w){re.escape(instance['output'])}(?!\w)"
            assert re.search(label, task["instruction"] + "\n" + instance["input"]), task["id"]


def test_46_to_54_tasks_need_no_input() -> None:
    """Between 46 and 54 tasks have an empty input."""
    assert 46 <= sum(task["instances"][0]["input"] == "" for task in _lines(TASKS)) <= 54


def test_at_least_a_quarter_of_the_outputs_is_short_and_a_quarter_long() -> None:
    """At least a quarter of the outputs has fewer than 40 characters, and another quarter more than 300."""
    lengths = [len(output) for output in _outputs()]
    assert sum(length < 40 for length in lengths) >= 175 / 4
    assert sum(length > 300 for length in lengths) >= 175 / 4


def test_at_most_six_instructions_start_with_the_same_word() -> None:
    """The most frequent first word, whatever its case, starts six instructions at most."""
    first_words = Counter(re.findall(r"\w+", task["instruction"].lower())[0] for task in _lines(TASKS))
    assert max(first_words.values()) <= 6


def test_the_18_domains_have_14_tasks_at_most() -> None:
    """Every domain occurs, none has more than 14 tasks, and no task has another domain."""
    domains = Counter(review["domain"] for review in _lines(REVIEWS))
    assert set(domains) == DOMAINS
    assert max(domains.values()) <= 14


def test_at_least_six_tasks_are_about_safety() -> None:
    """Six tasks or more are requests whose best answer handles a risk well."""
    assert sum(review["safety"] for review in _lines(REVIEWS)) >= 6


# --- distance -------------------------------------------------------------------------------------------------------


def test_no_two_instructions_are_alike() -> None:
    """All 15,225 pairs of instructions have a ROUGE-L F1 below 0.6, stricter than the 0.7 of Self-Instruct (§2.2)."""
    tokenizer = DefaultTokenizer(use_stemmer=False)
    words = {task["instruction"]: tokenizer.tokenize(task["instruction"]) for task in _lines(TASKS)}
    assert len(words) == 175
    alike = []
    for one, other in itertools.combinations(words, 2):
        shared, length = LCSseq.similarity(words[one], words[other]), len(words[one]) + len(words[other])
        if 2 * shared * 10 >= 6 * length:  # F1 = 2 · LCS / (m + n), compared in integers
            alike.append((one, other))
    assert alike == []


def test_the_integer_rouge_l_is_the_published_one() -> None:
    """2 · LCS / (m + n) over rouge_score's words is the F1 rouge_score gives, for the pairs of the first 20 tasks."""
    tokenizer, scorer = DefaultTokenizer(use_stemmer=False), RougeScorer(["rougeL"])
    for one, other in itertools.combinations([task["instruction"] for task in _lines(TASKS)[:20]], 2):
        left, right = tokenizer.tokenize(one), tokenizer.tokenize(other)
        ours = 2 * LCSseq.similarity(left, right) / (len(left) + len(right))
        assert abs(ours - scorer.score(one, other)["rougeL"].fmeasure) < 1e-12


# --- second reading -------------------------------------------------------------------------------------------------


def test_reviews_have_exactly_these_fields() -> None:
    """Every review names task, domain, safety, verdict, note and the text it is about; it is plain JSON too."""
    reviews = _lines(REVIEWS)
    text = REVIEWS.read_text(encoding="utf-8")
    assert text == "".join(json.dumps(review, ensure_ascii=False) + "\n" for review in reviews)
    assert {tuple(review) for review in reviews} == {("id", "domain", "safety", "verdict", "note", "sha256")}
    assert {type(review["safety"]) for review in reviews} == {bool}


def test_every_task_has_a_verdict_on_its_present_text() -> None:
    """A second reader accepted or revised each task, and the fingerprint shows it was the text that stands there."""
    tasks, reviews = _lines(TASKS), _lines(REVIEWS)
    assert {review["verdict"] for review in reviews} <= {"accepted", "revised"}
    assert [(review["id"], review["sha256"]) for review in reviews] == [
        (task["id"], _fingerprint(task)) for task in tasks
    ]


def test_every_review_says_what_was_checked() -> None:
    """A note is a sentence of its own: five words or more, and none is used twice."""
    notes = [review["note"] for review in _lines(REVIEWS)]
    assert [note for note in notes if len(note.split()) < 5] == []
    assert [note for note, times in Counter(notes).items() if times > 1] == []
