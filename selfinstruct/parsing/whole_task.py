"""A whole task as one answer gives it, and what each of its fields looks like once it is clean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from selfinstruct.parsing.markup import simplified, trim


@dataclass(frozen=True)
class WholeTask:
    """A task with its answer, as the model wrote them; ``input`` is empty where the task needs none.

    ``flaw`` is the reject reason of a task that cannot be used as it stands (``truncated``, ``no_instruction``,
    ``no_output``, ``merged_tasks``, ``not_json``); the fields then hold whatever text there is.
    """

    instruction: str
    input: str
    output: str
    flaw: str | None = None


# Spellings seen in published data: `<noinput>` and its variants (AlpacaDataCleaned lists four), N/A, None, 无输入 …
_NO_INPUT: Final = re.compile(
    r"(?:this task |the task |it )?(?:requires |needs |has )?(?:there is )?"
    r"no ?(?:additional |specific |further )?inputs?"
    r"(?: (?:is |was )?(?:needed|required|necessary|provided|given|available))?(?: for this task)?"
    r"|(?:input )?(?:is )?(?:not (?:needed|required|necessary|applicable|provided)|none(?: (?:needed|required))?)"
    r"|n ?[/.]? ?a|nil|null|empty|blank"
    r"|(?:[此本该](?:任务|题|指令))?(?:无需?|没有|不需要?|不用|未)(?:任何|额外|提供)?的?"
    r"输入(?:内容|数据|信息|文本)?"
    r"|无|没有|空|空白|无需|不需要|不适用|暂无|无内容|输入为空"
    r"|[-–—/]{1,3}",
    re.IGNORECASE,
)
_DRESS: Final = " \t\n*_`~\"'“”‘’<>＜＞《》〈〉()（）[]【】「」{}"
_QUOTES: Final = " \t\n\"'“”‘’`"  # an input of nothing but these is an empty text in quotes
_LONGEST_NO_INPUT: Final = 60  # characters, marks included


def whole_task(instruction: str, input_text: str, output: str, flaw: str | None = None) -> WholeTask:
    """The task with clean fields; without another flaw, an instruction without a word is one, and no output."""
    told, given, answer = as_written(instruction), given_input(input_text), outer_trimmed(output)
    if flaw is None and not any(map(str.isalnum, told)):  # also "...", a place that the model left for one
        flaw = "no_instruction"
    if flaw is None and not answer:
        flaw = "no_output"
    return WholeTask(told, given, answer, flaw)


def is_no_input(text: str) -> bool:
    """True when the whole text only says that there is no input (``<noinput>``, ``N/A``, 无输入) or says nothing."""
    text = simplified(text.strip())
    if len(text) > _LONGEST_NO_INPUT:
        return False
    plain = text.replace("&lt;", "<").replace("&gt;", ">").strip(_DRESS).rstrip(".。!！;；").strip(_DRESS)
    words = " ".join(re.split(r"[\s_]+", plain)) if any(map(str.isalnum, plain)) else plain
    words = re.sub(r"(?i)\bno-input", "no input", words)
    return not text.strip(_QUOTES) or _NO_INPUT.fullmatch(words) is not None


def given_input(text: str) -> str:
    """The input as it stands, or nothing where it only says that there is none."""
    return "" if is_no_input(text) else outer_trimmed(text)


def as_written(text: str) -> str:
    """The instruction with its lines and spaces as they are, without white space around it and at the ends of lines."""
    return "\n".join(map(str.rstrip, text.strip().split("\n")))


def outer_trimmed(text: str) -> str:
    """The text without outer blank lines and spaces; indented code on several lines keeps its indentation."""
    kept = trim(text)
    return kept if "\n" in kept and kept.startswith(("  ", "\t")) else kept.strip()
