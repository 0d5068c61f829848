"""No answer, however hostile, takes more than time linear in its length: one catastrophic pattern would stop a run."""

from __future__ import annotations

import sys

import pytest

from tests.hostile_texts import read_in_time

SIZE = 60_000
REPEATED = [
    *(" ", "\n", "1", "*", "`", '"', "<", "a ", "。2. 写", "**a** "),
    *("1. ", "1.\n", "1. A. 2. B. ", "A:\n1. b\n", "1. Task: Task: ", "Answer:\n1. a\n", "let me know\n"),
    *("```x\n", "a ```x\n", "<task ", "<task 1>", "here are tasks "),
    *("Example 1\n", "Example: a\n", "input: ", "Output:\n", "input: a output: b ", "<input><output>"),
    *("\n<", "yes or "),
    *("[1] a\n", "a) b\n", "9. <task 9> a\n", "9. <", "**<input>**\n", "# Answers\n", "1. Instruction: a\nInput: b\n"),
    *("thanks for ", "<label>\na\n<input>\nb\n\n"),
    *("### 4. Instruction: a\nInput: b\nOutput: c\n", "[", '{"tasks": [', '{"a":', "\\"),
    *("让GPT", "指令：", "【", "“", "$"),
]
ALONE = [
    "task" + " " * SIZE,
    "1" + " " * SIZE + ".",
    "<task" + " " * SIZE + ">",
    "Output" + " " * SIZE + ":",
    "1. A\n2. B:" + "\n" * SIZE,
    "<input>\n" + "a\n" * (SIZE // 4) + "<output>\na\n" * (SIZE // 20),
    "<input>\n" + "a\n" * (SIZE // 4) + "<input>\na\n" * (SIZE // 20) + "<output>\na",
    "<output>\na" + " <example 2>" * (SIZE // 12),
    "This is not " * (SIZE // 12),
]

READERS = """
from selfinstruct.filters.heuristics import Heuristics
from selfinstruct.filters.language import LanguageMatch
from selfinstruct.filters.output_checks import OutputChecks
from selfinstruct.rules import Rules, shipped
from selfinstruct.schema import Provenance, TaskInstance
from tests.hostile_texts import read_in_time
rules = Rules(**shipped("belle", "zh"))
filters = Heuristics(rules), LanguageMatch("zh"), OutputChecks(worked_examples=["a b c d e f g h"])
def record(text):
    task = {"instruction": "写a" + text, "input": "", "output": "这是 the way of it to go " + text}
    known = {"id": "a-0-0-0", "provenance": Provenance(), "lang": "zh", "is_classification": None}
    return TaskInstance(**task, **known)
READERS = [
    lambda text: parsing.task_list(text, truncated=True),
    lambda text: parsing.generation_instances(text, truncated=True),
    lambda text: parsing.classification_instances(text, truncated=True, opened="label"),
    parsing.yes_no,
    parsing.is_refusal,
    lambda text: parsing.task_blocks(text, truncated=True, continues=True),
    lambda text: parsing.task_array(text, truncated=True),
    lambda text: parsing.without_phrases(text, rules.phrases),
    *(lambda text, check=item.check: check(record(text[:20_000])) for item in filters),
]
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on processor time")
def test_hostile_answers_end_within_a_generous_limit_of_processor_time() -> None:
    """60 kB of each piece regular expressions like least, 20 kB for filters: a tenth of the limit serves them all."""
    read_in_time(REPEATED, SIZE, ALONE, READERS)
