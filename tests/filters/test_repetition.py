"""Repetition: loops are refused wherever they stand, and honest repeats are kept, in English and Chinese."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.filters.repetition import Repetition
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction, Provenance, TaskInstance
from tests.hostile_texts import read_in_time

ROWS = [
    json.loads(line)
    for lang in ("en", "zh")
    for line in (Path(__file__).parent / f"sentences/repetition.{lang}.jsonl").read_text("utf-8").splitlines()
]
PLAIN = {"instruction": "Do as you are told.", "input": "", "output": "Done."}


def _task(**texts: str) -> TaskInstance:
    fields: dict[str, Any] = PLAIN | texts
    return TaskInstance(id="instances-0-0-0", provenance=Provenance(), lang="en", is_classification=False, **fields)


def _reason(**texts: str) -> str | None:
    drop = Repetition().check(_task(**texts))
    return drop.reason if drop else None


def _text(row: dict[str, Any]) -> str:
    """The row's text, said ``times`` times, or ``each`` times with another number for {n}, between before and after."""
    said = "".join(row["text"].format(n=n + 1) for n in range(row["each"])) if "each" in row else ""
    return str(row.get("before", "")) + (said or row["text"] * row.get("times", 1)) + str(row.get("after", ""))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['reason']}-{row['text'][:20].encode('unicode_escape')!r}")
def test_each_text_has_the_verdict_written_beside_it(row: dict[str, Any]) -> None:
    """Loops are told from refrains, tables, code, lists, laughter and parallels."""
    assert _reason(**{row.get("field", "output"): _text(row)}) == row["reason"]


def test_there_are_forty_texts_of_each_verdict_and_language() -> None:
    """So that no rule stands on a handful of examples."""
    for lang in ("en", "zh"):
        lines = (Path(__file__).parent / f"sentences/repetition.{lang}.jsonl").read_text("utf-8").splitlines()
        reasons = [json.loads(line)["reason"] for line in lines]
        assert min(reasons.count("repetition"), reasons.count(None)) >= 40


def test_the_detail_names_the_field_the_count_and_the_beginning() -> None:
    """A phrase that is long itself is cut after eighty characters."""
    assert Repetition().check(_task(output="The sky is blue. " * 5)) == Drop(
        "repetition", "output: 5 times: the sky is blue."
    )
    assert Repetition().check(_task(instruction="ha" * 100)) == Drop("repetition", "instruction: 100 times: ha")
    drop = Repetition().check(_task(output=" ".join(f"word{n}" for n in range(30)) + ". " + "x" * 200))
    assert drop == Drop("repetition", "output: 200 times: x")
    long = " ".join(f"word{n}" for n in range(30)) + ". "
    cut = Repetition().check(_task(output=long * 2))
    assert cut == Drop("repetition", f"output: 2 times: {long[:80]}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("Say: " + "u" * 199, None, id="199 characters"),
        pytest.param("Say: " + "u" * 200, "repetition", id="200 characters"),
        pytest.param("Say: " + "-" * 999, None, id="999 marks"),
        pytest.param("Say: " + "-" * 1000, "repetition", id="1000 marks"),
        pytest.param("Say: " + "abcdefgh" * 24 + "abcdefg", None, id="eight characters, 24 times"),
        pytest.param("Say: " + "abcdefgh" * 25, "repetition", id="eight characters, 25 times"),
        pytest.param("Say: " + "abcdefghi" * 40, None, id="nine characters are a word, and a word is no unit"),
    ],
)
def test_a_run_without_gaps_takes_two_hundred_characters(text: str, reason: str | None) -> None:
    """Marks take a thousand, because tables and rules are drawn with them."""
    assert _reason(output=text) == reason


PROSE = " ".join(f"word{n}" for n in range(1000)) + "."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("so on " * 99, None, id="99 times"),
        pytest.param("so on " * 100, "repetition", id="100 times"),
        pytest.param("one two three four five six seven eight " * 100, "repetition", id="eight words"),
        pytest.param("1 0 " * 100, None, id="digits"),
    ],
)
def test_a_short_phrase_said_a_hundred_times_counts_in_any_text(text: str, reason: str | None) -> None:
    """However long the rest is; fewer times count only by their share."""
    rest = PROSE * 2 if reason is None else PROSE
    assert _reason(output=f"{rest} {text}{rest}") == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("I am at the harbour. A{n}. ", "repetition", id="twenty characters"),
        pytest.param("I am at a harbour. A{n}. ", None, id="eighteen"),
        pytest.param("我们今天去港口看大船。甲{n}。", "repetition", id="ten Chinese characters and a stop"),
        pytest.param("我们今天去港口看船。甲{n}。", None, id="nine Chinese characters and a stop"),
        pytest.param("let harbour = at[{n}]; I am at (harbour).\n", None, id="code"),
    ],
)
def test_a_repeated_line_is_at_least_twenty_characters_long(text: str, reason: str | None) -> None:
    """A Chinese character counts as two; lines of code do not count."""
    assert _reason(output="".join(text.format(n=n) for n in range(6))) == reason


@pytest.mark.parametrize(("times", "reason"), [(3, None), (4, "repetition")])
def test_a_repeated_line_comes_four_times(times: int, reason: str | None) -> None:
    """Three times is a refrain."""
    assert _reason(output="".join(f"We all went to the harbour. No {n}. " for n in range(times))) == reason


@pytest.mark.parametrize(("others", "reason"), [(25, "repetition"), (26, None)])
def test_a_repeated_line_is_more_than_half_of_the_text(others: int, reason: str | None) -> None:
    """A refrain between verses that are as long is none."""
    verses = "".join(f"We went to the old harbour\n{letter * others}\n" for letter in "abcd")  # 26 characters a line
    assert _reason(output=verses) == reason


def test_numbers_are_the_users() -> None:
    """Each of them can be set."""
    assert Repetition(run=16).check(_task(output="so " + "ha" * 8)) == Drop("repetition", "output: 8 times: ha")
    assert Repetition(times=3).check(_task(output=f"{PROSE} very very very good")) == Drop(
        "repetition", "output: 3 times: very"
    )
    lines = "".join(f"We swim. {n}. " for n in range(5))
    assert Repetition(line=8).check(_task(output=lines)) == Drop("repetition", "output: 5 times: we swim.")
    assert Repetition().check(_task(output=lines)) is None


def test_twice_or_thrice_counts_in_an_output_only() -> None:
    """Somebody may ask to compare two equal sentences."""
    assert _reason(input="The hens are in the yard. " * 3) is None
    assert _reason(input="The hens are in the yard. " * 4) == "repetition"
    assert _reason(output="The hens are in the yard. " * 2) == "repetition"


def test_a_bare_instruction_is_judged_as_well() -> None:
    """The filter takes instructions and whole tasks, and returns from ``admit`` what it was given."""
    plain = Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction="go on " * 30, lang="en")
    chain: Filter[Instruction] = Repetition()
    assert chain.check(plain) == Drop("repetition", "instruction: 30 times: go on")
    assert chain.admit(plain) is plain


HOSTILE = [
    "a",
    "ab",
    "abcdefgh",
    "abcdefghi ",
    "a b ",
    ". ",
    "哈",
    "哈 ",
    "。",
    "\n",
    "- \n",
    "1、",
    " ",
    "(",
    "我们。\n",
    "=-",
]
BLOCKS = "".join(chr(0x4E00 + n) for n in range(20000))


def test_a_hostile_text_ends_at_once() -> None:
    """Texts of 100 000 characters, with blocks in reverse order, which recur at thousands of distances."""
    there = [BLOCKS[n : n + 4] for n in range(0, len(BLOCKS), 4)]
    alone = ["".join(there + there[::-1]), BLOCKS * 3 + "完", "a" * 99 + "b" + "a" * 99_000, ". " + " " * 100_000]
    readers = """
from selfinstruct.filters.repetition import Repetition
from selfinstruct.schema import Instruction, Provenance
check = Repetition().check
READERS = [lambda text: check(Instruction(id="a", provenance=Provenance(), instruction=text, lang="en"))]
"""
    read_in_time(HOSTILE, 100_000, alone, readers)
