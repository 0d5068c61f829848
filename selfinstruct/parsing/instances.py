"""Worked examples of a task, read from a model's answer.

Our prompts delimit with ``<example 2>``, ``<input>``, ``<output>`` and ``<label>`` at the start of a line; where they
stand they alone delimit. Otherwise the labels that models write do ("Example 2", "Input:", "Class label:"), in the
layout of Self-Instruct's two templates: input first, or, for classification, label first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from selfinstruct.errors import ParseError
from selfinstruct.parsing.chatter import is_closing_examples, is_greeting, speaks_of_examples
from selfinstruct.parsing.fields import (
    Field,
    Kind,
    Names,
    apart,
    before_next_task,
    in_english,
    labelled_fields,
    names,
    split_closed,
    tagged_fields,
    undressed,
    without_begun_tag,
    without_tags,
)
from selfinstruct.parsing.markup import clean, trim, unwrap

Opened = Literal["example", "input", "output", "label"]

_INPUT: Final = (
    "input|输入(?:内容|文本|材料)?",
    "(?:example|sample|test|user) input|(?:示例|样例|用户)输入",
    "材料",
)
_OUTPUT: Final = (
    "output|输出(?:结果|内容|文本)?",
    "(?:expected|example|sample|system) output|output(?: [a-z]{1,12}){1,3}|(?:示例|样例|期望)输出",
    "answer|response|solution|回答|答案",
)
_CLASS: Final = ("class label|(?:类别|分类)标签", "label|class|category|标签|类别|分类(?:结果)?")
_GENERATION: Final = [*names("input", *_INPUT), *names("output", *_OUTPUT)]
_CLASSIFICATION: Final = [*names("input", *_INPUT), *names("output", *_CLASS, *_OUTPUT)]
_GENERATION_TAGS: Final[Mapping[str, Kind]] = {"example": "example", "input": "input", "output": "output"}
_CLASSIFICATION_TAGS: Final[Mapping[str, Kind]] = {**_GENERATION_TAGS, "label": "output"}
_NO_INPUT: Final = frozenset(
    ["n/a", "na", "none", "noinput", "no input", "not applicable", "none needed", "none required"]
    + [f"no input {verb}{end}" for verb in ("", "is ") for end in ("needed", "required", "necessary", "provided")]
)
# "无", "此任务无需输入", "无（任务已说明）", the last bracket stripped; "空" alone is an input, in brackets none.
_NO_INPUT_ZH: Final = re.compile(
    r"(?:无|暂无|不适用|(?:[此该本这][个条]?任务)?(?:无|没有|无需|不需要|不用)(?:提供|额外|任何|其他)?(?:的)?(?:输入|材料)(?:内容|材料)?)"
    r"(?:[（(][^（）()]{0,60})?"
)
_EMPTY_ZH: Final = re.compile(r"[<＜(（【\[]\s?空\s?[>＞)）】\]]")
_LONGEST_NO_INPUT: Final = 200  # characters, blank lines and marks around the words included


@dataclass(frozen=True)
class Parsed:
    """An example as the model wrote it; ``input`` is empty where none is needed, ``cut`` as in `ListItem`."""

    input: str
    output: str
    cut: bool = False


def generation_instances(text: str, *, truncated: bool, opened: Opened | None = None) -> list[Parsed]:
    """The examples of an answer in the input-first layout, in order; an example may lack its output.

    ``truncated`` says that the token limit ended the answer: the last example is marked ``cut``. ``opened`` names the
    tag the prompt ended with, to which text before the first delimiter belongs. Texts stay as they are, Markdown
    included, but for blank lines around them; a way to say "no input" becomes an empty input.

    Raises ParseError ``no_instance`` when nothing in the answer delimits an output.
    """
    fields, finished = _fields(text, _GENERATION_TAGS, _GENERATION, opened)
    return _input_first(fields).all(cut=truncated and not finished)


def classification_instances(text: str, *, truncated: bool, opened: Opened | None = None) -> list[Parsed]:
    """The examples of an answer in the label-first layout; the label is the output. As `generation_instances`.

    A label is one line: what follows it is the input. An answer that plainly writes inputs first is read so.
    """
    fields, finished = _fields(text, _CLASSIFICATION_TAGS, _CLASSIFICATION, opened)
    cut = truncated and not finished
    if _puts_inputs_first(fields, truncated):
        return _label_last(fields).all(cut=cut)
    examples = _label_first(fields).all(cut=cut)
    return examples if fields[-1].kind == "input" and fields[-1].after is not None else _without_parting(examples)


def _fields(
    text: str, tags: Mapping[str, Kind], layout: Sequence[Names], opened: Opened | None
) -> tuple[list[Field], bool]:
    """The fields of an answer, and whether the answer had gone on behind the last one."""
    text = unwrap(clean(text))
    complete = _without_farewell(without_begun_tag(text))
    complete = before_next_task(complete) if opened else complete
    before, *fields = _tagged(complete, tags) or labelled_fields(complete, layout)
    if opened:
        inner, after = split_closed(before.text, opened)
        begun = Field(_CLASSIFICATION_TAGS[opened], inner.lstrip(" \t"), after=after, tagged=True)
        fields = [begun, *fields] if without_tags(inner).strip() else fields
    elif not any(field.kind == "output" for field in fields):
        before, *fields = labelled_fields(apart(complete), layout)
    if not any(field.kind == "output" for field in fields):
        raise ParseError("no_instance", "no output is marked in it" if text.strip() else "the answer is empty")
    if not opened and fields[0].kind != "example":
        fields.insert(0, Field("before", _without_greeting(without_tags(before.text))))
    last = fields[-1]
    finished = complete != text or last.after is not None or without_tags(last.text) != last.text
    return [_without_our_tags(field) for field in fields], finished


def _tagged(text: str, tags: Mapping[str, Kind]) -> list[Field]:
    """The fields between our tags; between tags in bold, backticks or Chinese where no plain one stands."""
    if fields := tagged_fields(text, tags):
        return fields
    for changed in (undressed, in_english):
        fields = tagged_fields(changed(text), tags)
        if any(field.kind == "output" for field in fields):
            return fields
    return []


def _without_our_tags(field: Field) -> Field:
    """The field with texts that hold none of our tags: what stands behind a stray one belongs to nothing."""
    after = None if field.after is None else without_tags(field.after)
    return field._replace(text=without_tags(field.text), verbatim=without_tags(field.verbatim), after=after)


def _without_greeting(text: str) -> str:
    lines = text.split("\n")
    start = next((at for at, line in enumerate(lines) if line.strip() and not is_greeting(line)), len(lines))
    return "\n".join(lines[start:])


def _without_farewell(text: str) -> str:
    """The text without a last line, set apart, that takes leave and speaks of the examples, as no output does."""
    above, _, last = text.rstrip().rpartition("\n\n")
    return above if "\n" not in last and is_closing_examples(last) else text


def _without_parting(examples: list[Parsed]) -> list[Parsed]:
    """The examples without a last paragraph of the last input that speaks of them, where no other has paragraphs."""
    above, _, last = examples[-1].input.rpartition("\n\n")
    paragraphs = len(examples) == 1 or any("\n\n" in example.input for example in examples[:-1])
    if paragraphs or not above.strip() or not speaks_of_examples(last):
        return examples
    return [*examples[:-1], replace(examples[-1], input=trim(above), cut=False)]


# --- from fields to examples ----------------------------------------------------------------------------------------


class _Examples:
    """The examples read so far, and the one being read."""

    def __init__(self) -> None:
        self.found: list[Parsed] = []
        self.given: list[str] = []
        self.tagged = False
        self.same_input: str | None = None
        self.output: str | None = None

    def add_input(self, field: Field) -> None:
        """More of the current input; a second label inside it ("Data: … Input: …") is the model's own text.

        Our own tag delimits: text that merely led up to it is dropped, and behind another ``<input>`` an example with
        the same output, if there is one already, begins.
        """
        if not field.text.strip():
            return
        if field.verbatim and self.has_input():
            self.given.append(field.verbatim)
            return
        if field.tagged and self.tagged and self.has_input():
            output = self.output
            self.close()
            self.output = output
        self.given, self.tagged = [field.text], field.tagged and field.kind == "input"

    def add_output(self, field: Field) -> None:
        """The current output, or one more: "Output:" below an input is the output's own text, our tag never is."""
        if not (self.output or "").strip():
            self.output = field.text
        elif field.text.strip() and self.has_input() and not field.tagged:
            self.output = f"{self.output}\n{field.verbatim}"
        elif field.text.strip():
            self.close()
            self.same_input, self.output = self.found[-1].input, field.text

    def has_input(self) -> bool:
        """Whether the current example has an input that says anything."""
        return bool(self.same_input) or any(text.strip() and not _means_no_input(text) for text in self.given)

    def close(self) -> bool:
        """End the current example; False if there was none."""
        there = self.output is not None or self.has_input()
        if there:
            given = self._input() if self.same_input is None else self.same_input
            self.found.append(Parsed(given, trim(self.output or "")))
        self.given, self.tagged, self.same_input, self.output = [], False, None, None
        return there

    def _input(self) -> str:
        text = trim("\n".join(text for text in self.given if text.strip()))
        return "" if _means_no_input(text) else text

    def all(self, *, cut: bool) -> list[Parsed]:
        """Every example; the last is marked when the answer was cut inside it."""
        if self.close() and cut:
            self.found[-1] = replace(self.found[-1], cut=True)
        return self.found


def _input_first(fields: Sequence[Field]) -> _Examples:
    examples = _Examples()
    for field in fields:
        if field.kind == "output":
            examples.add_output(field)
        else:
            if field.kind == "example" or examples.output is not None:
                examples.close()
            examples.add_input(field)
    return examples


def _label_first(fields: Sequence[Field]) -> _Examples:
    examples = _Examples()
    for field in fields:
        if field.kind == "output":
            if examples.output is not None:
                examples.close()
            examples.output, rest = _label(field)
            examples.given.append(rest)
        elif field.kind == "input":
            examples.add_input(field)
        elif field.kind == "example":
            examples.close()
            examples.given.append(field.text)
    return examples


def _label_last(fields: Sequence[Field]) -> _Examples:
    examples = _Examples()
    rest = ""
    for field in fields:
        if field.kind != "output":
            if field.kind == "example" or examples.output is not None:
                examples.close()
            examples.add_input(field)
            continue
        if examples.output is not None:
            examples.close()
            examples.given.append(rest)  # what follows a label is the next input where no delimiter says so
        examples.output, rest = _label(field)
    return examples


def _label(field: Field) -> tuple[str, str]:
    """A label field's label, and the text that follows it."""
    if field.after is not None:
        return field.text, field.after
    label, _, rest = field.text.lstrip().partition("\n")
    return label, rest


def _puts_inputs_first(fields: Sequence[Field], truncated: bool) -> bool:
    """Whether an input is marked before the first label, or text stands before the first and none behind the last."""
    labels = [at for at, field in enumerate(fields) if field.kind == "output"]
    lead, tail = fields[: labels[0]], fields[labels[-1] + 1 :]
    if any(field.kind == "input" for field in lead):
        return True
    ends_on_label = not (truncated or tail or _label(fields[labels[-1]])[1].strip())
    return ends_on_label and any(field.text.strip() for field in lead)


def _means_no_input(text: str) -> bool:
    if len(text) > _LONGEST_NO_INPUT:
        return False
    words = " ".join(text.strip(" <>()[]{}\"'`*_.-—。（）＜＞【】“”「」").lower().split())
    return words in _NO_INPUT or (_NO_INPUT_ZH.fullmatch(words) or _EMPTY_ZH.fullmatch(text.strip())) is not None


# --- which examples are kept ----------------------------------------------------------------------------------------


def valid_instances(
    parsed: Sequence[Parsed], keep: int, rng: random.Random
) -> tuple[list[Parsed], list[tuple[Parsed, str]]]:
    """At most ``keep`` of the examples, in order, and the others with the rule they break (Self-Instruct's own rules).

    ``truncated``, ``empty_output``, ``input_equals_output``, ``ends_with_colon`` (input or output); then
    ``conflicting_outputs``: when two share an input and differ in output, none of the task's examples is trusted; then
    ``duplicate_instance``, and ``over_limit`` for those that ``rng`` did not draw.
    """
    rejects = [(example, reason) for example in parsed if (reason := _invalid(example))]
    sound = [example for example in parsed if not _invalid(example)]
    outputs: dict[str, set[str]] = {}
    for example in sound:
        outputs.setdefault(example.input, set()).add(example.output)
    if any(given and len(different) > 1 for given, different in outputs.items()):
        return [], rejects + [(example, "conflicting_outputs") for example in sound]
    unique = list(dict.fromkeys(sound))
    seen: set[Parsed] = set()
    for example in sound:
        if example in seen:
            rejects.append((example, "duplicate_instance"))
        seen.add(example)
    drawn = set(rng.sample(range(len(unique)), keep)) if len(unique) > keep else set(range(len(unique)))
    rejects += [(example, "over_limit") for at, example in enumerate(unique) if at not in drawn]
    return [example for at, example in enumerate(unique) if at in drawn], rejects


def _invalid(example: Parsed) -> str | None:
    """The rule a single example breaks."""
    if example.cut:
        return "truncated"
    if not example.output.strip():
        return "empty_output"
    if example.input.strip() == example.output.strip():
        return "input_equals_output"
    if any(text.rstrip().endswith((":", "：")) for text in (example.input, example.output)):
        return "ends_with_colon"
    return None
