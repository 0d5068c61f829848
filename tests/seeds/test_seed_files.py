"""What holds for the seed file of every language: its form, its mix, and a verdict on each of its tasks."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from selfinstruct.schema import SeedTask
from tests.seeds.seed_files import DOMAINS, SEEDS, fingerprint, reviews_of, tasks_of


@pytest.fixture(params=["en", "zh"])
def lang(request: pytest.FixtureRequest) -> str:
    """Each language in turn."""
    return str(request.param)


def test_there_are_175_tasks_with_ids_in_order_and_unique_names(lang: str) -> None:
    """The file holds 175 tasks, as Self-Instruct's does (§2.2); ids count up from 0 and no name is used twice."""
    tasks = tasks_of(lang)
    assert [task["id"] for task in tasks] == [f"{lang}_seed_task_{number}" for number in range(175)]
    assert len({task["name"] for task in tasks}) == 175


def test_every_line_is_plain_json_in_the_published_schema(lang: str) -> None:
    """Every line is what json.dumps writes without escapes, with exactly these keys in this order."""
    text = (SEEDS / f"{lang}_seed_tasks.jsonl").read_text("utf-8")
    tasks = tasks_of(lang)
    assert text == "".join(json.dumps(task, ensure_ascii=False) + "\n" for task in tasks)
    assert {tuple(task) for task in tasks} == {("id", "name", "instruction", "instances", "is_classification")}
    assert {tuple(instance) for task in tasks for instance in task["instances"]} == {("input", "output")}


def test_every_task_has_one_instance_and_the_right_types(lang: str) -> None:
    """The package reads every task, with one instance, texts where texts belong, and true or false at the end."""
    for task in tasks_of(lang):
        seed = SeedTask.model_validate(task, strict=False)
        assert len(seed.instances) == 1
        assert seed.model_dump(mode="json") == task
        assert isinstance(task["is_classification"], bool)


def test_names_are_short_slugs(lang: str) -> None:
    """A name is two to five words in lower case, joined by underscores."""
    names = [task["name"] for task in tasks_of(lang)]
    assert [name for name in names if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+){1,4}", name)] == []


def test_no_output_is_empty_and_no_text_has_space_around_it(lang: str) -> None:
    """Every output says something, and neither inputs nor outputs begin or end with white space."""
    instances = [task["instances"][0] for task in tasks_of(lang)]
    assert [instance for instance in instances if not instance["output"]] == []
    assert [text for instance in instances for text in instance.values() if text != text.strip()] == []


def test_about_one_task_in_seven_is_classification(lang: str) -> None:
    """24 to 28 of the 175 tasks are classification, near the 25 of Self-Instruct's seeds (§2.2)."""
    assert 24 <= sum(task["is_classification"] for task in tasks_of(lang)) <= 28


def test_46_to_54_tasks_need_no_input(lang: str) -> None:
    """Between 46 and 54 tasks have an empty input."""
    assert 46 <= sum(task["instances"][0]["input"] == "" for task in tasks_of(lang)) <= 54


def test_the_18_domains_have_14_tasks_at_most(lang: str) -> None:
    """Every domain occurs, none has more than 14 tasks, and no task has another domain."""
    domains = Counter(review["domain"] for review in reviews_of(lang))
    assert set(domains) == DOMAINS
    assert max(domains.values()) <= 14


def test_at_least_six_tasks_are_about_safety(lang: str) -> None:
    """Six tasks or more are requests whose best answer handles a risk well."""
    assert sum(review["safety"] for review in reviews_of(lang)) >= 6


def test_reviews_have_exactly_these_fields(lang: str) -> None:
    """Every review names task, domain, safety, verdict, note and the text it is about; it is plain JSON too."""
    reviews = reviews_of(lang)
    text = (SEEDS / f"{lang}_seed_reviews.jsonl").read_text("utf-8")
    assert text == "".join(json.dumps(review, ensure_ascii=False) + "\n" for review in reviews)
    assert {tuple(review) for review in reviews} == {("id", "domain", "safety", "verdict", "note", "sha256")}
    assert {type(review["safety"]) for review in reviews} == {bool}


def test_every_task_has_a_verdict_on_its_present_text(lang: str) -> None:
    """A second reader accepted or revised each task, and the fingerprint shows it was the text that stands there."""
    tasks, reviews = tasks_of(lang), reviews_of(lang)
    assert {review["verdict"] for review in reviews} <= {"accepted", "revised"}
    assert [(review["id"], review["sha256"]) for review in reviews] == [
        (task["id"], fingerprint(task)) for task in tasks
    ]


def test_every_review_says_what_was_checked(lang: str) -> None:
    """A note is a sentence of its own: five words or more, and none is used twice."""
    notes = [review["note"] for review in reviews_of(lang)]
    assert [note for note in notes if len(note.split()) < 5] == []
    assert [note for note, times in Counter(notes).items() if times > 1] == []
