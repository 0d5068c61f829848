"""Seed tasks whose outputs can be run or computed are run and computed, by one ``check_<name>`` a task."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.seeds import (
    executed_code,
    executed_dealings,
    executed_formats,
    executed_maths,
    executed_reasoning,
    executed_science,
    executed_texts,
)

Check = Callable[[str, str], None]

SEEDS = Path(__file__).parents[2] / "seeds"
MODULES = (
    executed_code,
    executed_dealings,
    executed_formats,
    executed_maths,
    executed_reasoning,
    executed_science,
    executed_texts,
)
# What a check raises when an output is wrong: a claim that fails, or code, numbers and formats that cannot be read.
REFUSALS = (
    AssertionError,
    LookupError,
    SyntaxError,
    TypeError,
    ValueError,
    sqlite3.Error,
)


def _checks_in(module: ModuleType) -> dict[str, Check]:
    """Return the checks of a module by the name of their task."""
    return {name.removeprefix("check_"): value for name, value in vars(module).items() if name.startswith("check_")}


def _lines(file: str) -> list[dict[str, Any]]:
    """Read a JSON Lines file among the seeds."""
    return [json.loads(line) for line in (SEEDS / file).read_text(encoding="utf-8").splitlines()]


CHECKS = {name: check for module in MODULES for name, check in _checks_in(module).items()}
every_check = pytest.mark.parametrize("name", CHECKS)


def _instance(name: str) -> tuple[str, str]:
    """Return the input and the output of the task of that name."""
    (task,) = (task for task in _lines("en_seed_tasks.jsonl") if task["name"] == name)
    (instance,) = task["instances"]
    return instance["input"], instance["output"]


def test_every_check_names_a_task_and_no_task_is_checked_twice() -> None:
    """Each check belongs to one task of the file, and no two modules have a check of the same task."""
    names = {task["name"] for task in _lines("en_seed_tasks.jsonl")}
    assert [name for name in CHECKS if name not in names] == []
    assert sum(len(_checks_in(module)) for module in MODULES) == len(CHECKS)


def test_at_least_twelve_tasks_of_code_and_maths_are_checked() -> None:
    """Of the tasks in the domains code and maths twelve or more have an executed check."""
    domains = {review["id"]: review["domain"] for review in _lines("en_seed_reviews.jsonl")}
    tasks = _lines("en_seed_tasks.jsonl")
    checked = [domains[task["id"]] for task in tasks if task["name"] in CHECKS]
    assert checked.count("code") + checked.count("maths") >= 12


@every_check
def test_the_output_passes_its_check(name: str) -> None:
    """The output in the seed file is right, as far as it can be run or computed."""
    CHECKS[name](*_instance(name))


@every_check
@pytest.mark.parametrize("wrong", ["", "I am not sure what you mean. " * 40], ids=["empty", "chatter"])
def test_every_check_refuses_an_output_that_says_nothing(name: str, wrong: str) -> None:
    """No check passes on an empty output or on chatter, so every check can fail."""
    given, _ = _instance(name)
    with pytest.raises(REFUSALS):
        CHECKS[name](given, wrong)


def test_in_a_short_answer_every_digit_counts() -> None:
    """In outputs of fewer than 40 characters no digit can be raised by one without its check noticing."""
    unnoticed, tried = [], 0
    for name, check in CHECKS.items():
        given, output = _instance(name)
        for digit in re.finditer(r"\d", output if len(output) < 40 else ""):
            wrong = output[: digit.start()] + str((int(digit[0]) + 1) % 10) + output[digit.end() :]
            tried += 1
            try:
                check(given, wrong)
            except REFUSALS:
                continue
            unnoticed.append((name, wrong))
    assert unnoticed == []
    assert tried > 100
