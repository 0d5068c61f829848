"""Seed tasks whose outputs can be run or computed are run and computed, by one ``check_<name>`` a task."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.seeds import (
    executed_code,
    executed_dealings,
    executed_formats,
    executed_maths,
    executed_reasoning,
    executed_science,
    executed_texts,
    executed_zh_code,
    executed_zh_dealings,
    executed_zh_extraction,
    executed_zh_formats,
    executed_zh_living,
    executed_zh_maths,
    executed_zh_reasoning,
    executed_zh_talk,
    executed_zh_texts,
)
from tests.seeds.seed_files import reviews_of, tasks_of

Check = Callable[[str, str], None]

MODULES = {
    "en": (
        executed_code,
        executed_dealings,
        executed_formats,
        executed_maths,
        executed_reasoning,
        executed_science,
        executed_texts,
    ),
    "zh": (
        executed_zh_code,
        executed_zh_dealings,
        executed_zh_extraction,
        executed_zh_formats,
        executed_zh_living,
        executed_zh_maths,
        executed_zh_reasoning,
        executed_zh_talk,
        executed_zh_texts,
    ),
}
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


TASKS = {lang: {task["name"]: task for task in tasks_of(lang)} for lang in MODULES}
CHECKS = {
    (lang, name): check
    for lang, modules in MODULES.items()
    for module in modules
    for name, check in _checks_in(module).items()
}
every_check = pytest.mark.parametrize(("lang", "name"), CHECKS)


def _instance(lang: str, name: str) -> tuple[str, str]:
    """Return the input and the output of the task of that name."""
    (instance,) = TASKS[lang][name]["instances"]
    return instance["input"], instance["output"]


@pytest.mark.parametrize("lang", MODULES)
def test_every_check_names_a_task_and_no_task_is_checked_twice(lang: str) -> None:
    """Each check belongs to one task of its file, and no two modules have a check of the same task."""
    checked = [name for module in MODULES[lang] for name in _checks_in(module)]
    assert [name for name in checked if name not in TASKS[lang]] == []
    assert len(set(checked)) == len(checked)


@pytest.mark.parametrize("lang", MODULES)
def test_at_least_twelve_tasks_of_code_and_maths_are_checked(lang: str) -> None:
    """Of the tasks in the domains code and maths twelve or more have an executed check."""
    domains = {review["id"]: review["domain"] for review in reviews_of(lang)}
    checked = [domains[task["id"]] for name, task in TASKS[lang].items() if (lang, name) in CHECKS]
    assert checked.count("code") + checked.count("maths") >= 12


@every_check
def test_the_output_passes_its_check(lang: str, name: str) -> None:
    """The output in the seed file is right, as far as it can be run or computed."""
    CHECKS[lang, name](*_instance(lang, name))


@every_check
@pytest.mark.parametrize("chatters", [False, True], ids=["empty", "chatter"])
def test_every_check_refuses_an_output_that_says_nothing(lang: str, name: str, chatters: bool) -> None:
    """No check passes on an empty output or on chatter in its language, so every check can fail."""
    given, _ = _instance(lang, name)
    chatter = {"en": "I am not sure what you mean. ", "zh": "我不太明白您的意思。"}[lang] * 40
    with pytest.raises(REFUSALS):
        CHECKS[lang, name](given, chatter if chatters else "")


def test_in_a_short_answer_every_digit_counts() -> None:
    """In outputs of fewer than 40 characters no digit can be raised by one without its check noticing."""
    unnoticed, tried = [], 0
    for (lang, name), check in CHECKS.items():
        given, output = _instance(lang, name)
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
