"""The Chinese seed file: its form, its mix, its punctuation, the distance between its tasks, a verdict on each."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from rapidfuzz.distance import LCSseq

from selfinstruct.filters.rouge_l import tokens
from selfinstruct.schema import SeedTask
from tests.seeds.test_en_seed_tasks import DOMAINS

SEEDS = Path(__file__).parents[2] / "seeds"
TASKS = SEEDS / "zh_seed_tasks.jsonl"
REVIEWS = SEEDS / "zh_seed_reviews.jsonl"
HAN = "\u4e00-\u9fff"


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
    """As many as there are in English; ids count up from 0 and no name is used twice."""
    tasks = _lines(TASKS)
    assert [task["id"] for task in tasks] == [f"zh_seed_task_{number}" for number in range(175)]
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


def test_instructions_are_one_line_of_chinese_that_ends_as_a_sentence() -> None:
    """6 to 80 characters, six of them Chinese; no leading dash or bracket, as it stands in lists of prompts."""
    instructions = [task["instruction"] for task in _lines(TASKS)]
    assert [text for text in instructions if not re.fullmatch(rf"[{HAN}A-Za-z0-9《“].{{4,78}}[。？！：]", text)] == []
    assert [text for text in instructions if len(re.findall(f"[{HAN}]", text)) < 6] == []


def test_no_output_is_empty_and_no_text_has_space_around_it() -> None:
    """Every output says something, and neither inputs nor outputs begin or end with white space."""
    instances = [task["instances"][0] for task in _lines(TASKS)]
    assert [instance for instance in instances if not instance["output"]] == []
    assert [text for instance in instances for text in instance.values() if text != text.strip()] == []


def test_punctuation_in_instructions_is_full_width() -> None:
    """No ASCII comma, colon, question mark or parenthesis beside a Chinese character, no space between scripts."""
    half = re.compile(rf"[{HAN}][,:;?!()]|[,:;?!()][{HAN}]|[{HAN}] +[{HAN}A-Za-z0-9]|[A-Za-z0-9] +[{HAN}]")
    assert [task["name"] for task in _lines(TASKS) if half.search(task["instruction"])] == []


# --- mix ------------------------------------------------------------------------------------------------------------


def test_about_one_task_in_seven_is_classification() -> None:
    """24 to 28 of the 175 tasks, as in English."""
    assert 24 <= sum(task["is_classification"] for task in _lines(TASKS)) <= 28


def test_classification_labels_are_named_in_the_task() -> None:
    """The output of a classification task is a label written exactly so in its instruction or input."""
    for task in _lines(TASKS):
        (instance,) = task["instances"]
        if task["is_classification"]:
            assert instance["output"] in task["instruction"] + "\n" + instance["input"], task["id"]


def test_46_to_54_tasks_need_no_input() -> None:
    """Between 46 and 54 tasks have an empty input."""
    assert 46 <= sum(task["instances"][0]["input"] == "" for task in _lines(TASKS)) <= 54


def test_at_least_a_quarter_of_the_outputs_is_short_and_a_quarter_long() -> None:
    """At least a quarter of the outputs has fewer than 25 characters, and another quarter more than 150."""
    lengths = [len(output) for output in _outputs()]
    assert sum(length < 25 for length in lengths) >= 175 / 4
    assert sum(length > 150 for length in lengths) >= 175 / 4


def test_at_most_six_instructions_start_with_the_same_two_characters() -> None:
    """What a first word is in English."""
    assert max(Counter(task["instruction"][:2] for task in _lines(TASKS)).values()) <= 6


def test_the_18_domains_have_14_tasks_at_most() -> None:
    """The domains of the English file: every one occurs, none has more than 14 tasks."""
    domains = Counter(review["domain"] for review in _lines(REVIEWS))
    assert set(domains) == DOMAINS
    assert max(domains.values()) <= 14


def test_at_least_six_tasks_are_about_safety() -> None:
    """Six tasks or more are requests whose best answer handles a risk well."""
    assert sum(review["safety"] for review in _lines(REVIEWS)) >= 6


# --- distance -------------------------------------------------------------------------------------------------------


def test_no_two_instructions_are_alike() -> None:
    """All 15,225 pairs have a ROUGE-L F1 below 0.6 over characters, as the novelty filter reads Chinese."""
    read = {task["instruction"]: tokens(task["instruction"], "zh") for task in _lines(TASKS)}
    assert len(read) == 175
    alike = []
    for one, other in itertools.combinations(read, 2):
        shared, length = LCSseq.similarity(read[one], read[other]), len(read[one]) + len(read[other])
        if 2 * shared * 10 >= 6 * length:  # F1 = 2 · LCS / (m + n), compared in integers
            alike.append((one, other))
    assert alike == []


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
