"""Worked examples: every input beside its own output, whatever Markdown, labels or chatter stand between them."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.errors import ParseError
from selfinstruct.parsing import (
    Opened,
    Parsed,
    classification_instances,
    generation_instances,
    valid_instances,
)
from selfinstruct.parsing.markup import trim

Pairs = list[tuple[str, str]]


def generated(answer: str, *, truncated: bool = False, opened: Opened | None = None) -> Pairs:
    """Input and output of each example, read in the input-first layout."""
    return [(p.input, p.output) for p in generation_instances(answer, truncated=truncated, opened=opened)]


def labelled(answer: str, *, truncated: bool = False, opened: Opened | None = None) -> Pairs:
    """Input and label of each example, read in the label-first layout."""
    return [(p.input, p.output) for p in classification_instances(answer, truncated=truncated, opened=opened)]


# --- generation: our own tags ---------------------------------------------------------------------------------------

TWO = [("3 km", "3000 m"), ("2 km", "2000 m")]


@pytest.mark.parametrize(
    "form",
    [
        "<example {n}>\n<input>\n{i}\n<output>\n{o}\n",
        "<example {n}>\n<input> {i}\n<output> {o}",
        "<Example {n}>\n<INPUT>\n\n{i}\n\n<Output>\n\n{o}\n\n",
        "<example {n}>\n<input>{i}</input>\n<output>{o}</output>\n</example>",
        "<example {n}><input>{i}</input><output>{o}</output></example>",
        "<example>\n<input>\n{i}\n</input>\nHence:\n<output>\n{o}\n</output>\nThat is all.",
        "<input>\n{i}\n<output>\n{o}",
        "  <example {n}>\n  <input>\n{i}\n  <output>\n{o}",
        "<example {n}>\n{i}\n<output>\n{o}",
    ],
)
def test_our_tags_delimit_with_or_without_closing_tags(form: str) -> None:
    """Every way a model may copy the tags gives the same two examples."""
    answer = "\n".join(form.format(n=n, i=i, o=o) for n, (i, o) in enumerate(TWO, 1))
    assert generated(answer) == TWO
    assert generated(f"<examples>\n{answer}\n</examples>\nHave fun.") == TWO
    assert generated(f"Sure! Here are two examples:\n\n{answer}") == TWO
    assert generated(f"```\n{answer}\n```") == TWO


@pytest.mark.parametrize("mark", ["**", "`", "_", "***"])
def test_our_tags_may_stand_in_bold_or_backticks_on_lines_of_their_own(mark: str) -> None:
    """Where no plain tag stands; beside plain ones, or without an output, a dressed tag is text."""
    form = "<example {n}>\n<input>\n{i}\n<output>\n{o}\n".replace("<", mark + "<").replace(">", ">" + mark)
    answer = "\n".join(form.format(n=n, i=i, o=o) for n, (i, o) in enumerate(TWO, 1))
    assert generated(answer) == generated(answer, opened="example") == TWO
    assert labelled(answer.replace("output", "label")) == TWO
    assert generated(f"<output>\nUse\n{mark}<input>{mark}\nhere.") == [("", f"Use\n{mark}<input>{mark}\nhere.")]
    assert generated(f"Output: Use\n{mark}<input>{mark}\nhere.") == [("", f"Use\n{mark}<input>{mark}\nhere.")]


@pytest.mark.parametrize(
    "echo", ["<task>\nConvert.\n", "<task 1> Convert.\n\n", "<task>\nConvert.\n</task>\n<examples>\n"]
)
@pytest.mark.parametrize("mark", ["", "**"])
def test_a_task_repeated_before_the_first_example_is_dropped(echo: str, mark: str) -> None:
    """An echo of the instruction is no part of the first input."""
    answer = "".join(
        f"{mark}<example {n}>{mark}\n{mark}<input>{mark}\n{i}\n{mark}<output>{mark}\n{o}\n"
        for n, (i, o) in enumerate(TWO, 1)
    )
    assert generated(echo + answer) == TWO
    assert labelled((echo + answer).replace("output", "label")) == TWO


def test_a_task_without_input_has_outputs_only() -> None:
    """An example without an input tag has an empty input."""
    assert generated("<example 1>\n<output>\nrain\n<example 2>\n<output>\nsnow") == [("", "rain"), ("", "snow")]
    assert generated("<output>\nrain\n<output>\nsnow") == [("", "rain"), ("", "snow")]


def test_where_our_tags_stand_labels_and_markdown_are_text() -> None:
    """ "Output:", headings, rules, fences and a forgotten fence line inside a tagged field stay in it."""
    output = "# Plan\n\n### Output: none\nOutput: 3\n---\nExample 2\n```\nInput: 4"
    answer = f"<example 1>\n<input>\nInput: 1\n<output>\n{output}\n<example 2>\n<output>\nrain"
    assert generated(answer) == [("Input: 1", output), ("", "rain")]


def test_indentation_and_inner_blank_lines_are_kept() -> None:
    """Only blank lines around a field and spaces at its end are taken off."""
    assert generated("<input>\n\n    x = 1\n\n\n    y = 2  \n\n<output>\n  3") == [("    x = 1\n\n\n    y = 2", "  3")]


@pytest.mark.parametrize("end", ["<task 2> Name a fish.", "<tasks>", "</examples>", "</task>"])
def test_what_follows_the_last_example_is_not_read(end: str) -> None:
    """A model that goes on to the next task adds no example to this one."""
    assert generated(f"<input>\n1\n<output>\n2\n{end}\n<input>\n3\n<output>\n4") == [("1", "2")]


def test_labels_inside_example_tags_are_read_where_field_tags_are_missing() -> None:
    """``<example 2>`` with "Input:" and "Output:" below it is an example too."""
    assert generated("<example 1>\nInput: 1\nOutput: 2\n<example 2>\nInput: 3\nOutput: 4") == [("1", "2"), ("3", "4")]


@pytest.mark.parametrize(
    ("opened", "answer", "pairs"),
    [
        ("input", " 3 km\n<output>\n3000 m\n<example 2>\n<output> rain", [("3 km", "3000 m"), ("", "rain")]),
        ("input", "3 km</input>\n<output>3000 m</output>", [("3 km", "3000 m")]),
        ("output", " rain\n<example 2>\n<output>\nsnow", [("", "rain"), ("", "snow")]),
        ("output", "rain</output>\nDone.", [("", "rain")]),
        ("output", "rain", [("", "rain")]),
        ("output", "\n<output>\nrain", [("", "rain")]),
        ("example", "\n<input>\n3 km\n<output>\n3000 m", [("3 km", "3000 m")]),
        ("example", "Input: 3 km\nOutput: 3000 m", [("3 km", "3000 m")]),
    ],
)
def test_text_before_the_first_delimiter_belongs_to_the_tag_the_prompt_opened(
    opened: Opened, answer: str, pairs: Pairs
) -> None:
    """The answer to a completion prompt starts in the middle of a field."""
    assert generated(answer, opened=opened) == pairs


@pytest.mark.parametrize(
    ("opened", "answer", "pairs"),
    [
        ("input", "None\n<output>\nA.\n\n<output>\nB.", [("", "A."), ("", "B.")]),
        ("input", "3 km\n<output>\nA.\n<output>\nB.\n<output>\nC.", [("3 km", x) for x in ("A.", "B.", "C.")]),
        ("input", "3 km\n<output>\n\n<output>\nB.\n<output>\n", [("3 km", "B.")]),
        (None, "<input>\nN/A\n<output>\nA.\n<output>\nB.", [("", "A."), ("", "B.")]),
        (None, "<input>\n3 km\n<input>\n2 km\n<output>\n2000 m", [("3 km", ""), ("2 km", "2000 m")]),
        (None, "<input>\nNone\n<input>\n2 km\n<output>\n2000 m", [("2 km", "2000 m")]),
        (None, "I made one up.\n<input>\n2 km\n<output>\n2000 m", [("2 km", "2000 m")]),
        (None, "<example 1>\nWith a length:\n<input>\n2 km\n<output>\n2000 m", [("2 km", "2000 m")]),
        (None, "<example 1>\n2 km\n<input>\n\n<output>\n2000 m", [("2 km", "2000 m")]),
    ],
)
def test_a_repeated_tag_delimits_and_is_never_text(opened: Opened | None, answer: str, pairs: Pairs) -> None:
    """A second output has the same input; a second input begins an example; what leads up to an input is talk."""
    assert generated(answer, opened=opened) == pairs


def test_repeated_inputs_under_one_label_share_it() -> None:
    """Label first, a second input is another example of the same class."""
    answer = "<label>\nSpam\nas it sells\n<input>\nBuy!\n<input>\nOrder!\n<label>\nHam\n<input>\nHi"
    assert labelled(answer) == [("Buy!", "Spam"), ("Order!", "Spam"), ("Hi", "Ham")]


def test_two_tagged_outputs_of_one_input_contradict_each_other() -> None:
    """With a real input the rule against conflicts decides, without one both outputs stay."""
    contradiction = generation_instances("<input>\n3 km\n<output>\nA.\n<output>\nB.", truncated=False)
    assert [reason for _, reason in valid_instances(contradiction, 5, Random(0))[1]] == ["conflicting_outputs"] * 2
    separate = generation_instances("<input>\nNone\n<output>\nA.\n<output>\nB.", truncated=False)
    assert valid_instances(separate, 5, Random(0)) == ([Parsed("", "A."), Parsed("", "B.")], [])


@pytest.mark.parametrize(
    "stray",
    [
        *("\n<task>\nName a fish.", "\n<task 2>\nName a fish.", "\n</example>\nThat was it.", "\n<label>\nwet"),
        *("\n<task 2> Name a fish.\n```", " <example 2", " <example 2>", " <exam", ". <outp", "\n  <label> \nx"),
        *(
            " <task 3",
            "<example 2> <example 3",
            " <task>",
            "\n\n<examples>",
            "\n<example>",
            " <label",
            "\n          </input>",
        ),
    ],
)
def test_a_stray_tag_ends_the_output_in_which_it_stands(stray: str) -> None:
    """Alone on a line or dangling at the end, under our tags, labels, or a prompt's tag, it and what follows go."""
    said = "rain." if stray.startswith(".") else "rain"
    assert generated(f"<input>\n1\n<output>\nrain{stray}")[0] == ("1", said)
    assert generated(f"Input: 1\nOutput: rain{stray}")[0] == ("1", said)
    assert generated(f"rain{stray}", opened="output")[0] == ("", said)
    cut = generation_instances(f"<input>\n1\n<output>\nrain{stray}", truncated=True)
    assert cut[0] == Parsed("1", said)


def test_a_dangling_output_tag_goes_only_behind_a_sentence() -> None:
    """An answer may end on the name of an HTML element."""
    assert generated("<output>\nIt rained. <output>\n") == [("", "It rained.")]
    assert generated("<output>\nThe element is called <output>") == [("", "The element is called <output>")]
    assert generated("<output>\nUse <input type='text'>") == [("", "Use <input type='text'>")]


def test_another_task_behind_the_opened_field_is_not_read() -> None:
    """Examples below the next ``<task>`` are not this task's; a tag repeated from the prompt ends nothing."""
    other = "\n<task>\nName a fish.\n<example 1>\n<input>\nriver\n<output>\ntrout"
    assert generated(f"rain{other}", opened="output") == [("", "rain")]
    assert generated(f"Output: rain{other.replace('<task>', '<task 2>').replace('<output>', 'Output:')}") == [
        ("", "rain")
    ]
    assert generated(other, opened="input") == [("river", "trout")]


@pytest.mark.parametrize("opened", [None, "input", "output", "label"])
@pytest.mark.parametrize("piece", ["<input>\n", "<input>", "\n\n<input> ", "<input></input>\n"])
def test_thirty_empty_inputs_are_no_example(opened: Opened | None, piece: str) -> None:
    """A model stuck on one tag has said nothing."""
    for read in (generation_instances, classification_instances):
        with pytest.raises(ParseError, match="no_instance"):
            read(piece * 30, truncated=True, opened=opened)


# --- generation: labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        "Example {n}\nInput: {i}\nOutput: {o}\n",
        "Example {n}:\nInput:\n{i}\nOutput:\n{o}\n\n",
        "**Example {n}:**\n**Input:** {i}\n**Output:** {o}\n",
        "**Example {n}**\n\n**Input**: {i}\n\n**Output**: {o}\n",
        "### Example {n}\n#### Input\n{i}\n#### Output\n{o}\n---\n",
        "### Example {n}\n**Input**\n{i}\n**Output**\n{o}\n\n---\n",
        "{n}. Input: {i}\n   Output: {o}",
        "- Input: {i}\n- Output: {o}",
        "Input {n}: {i}\nOutput {n}: {o}",
        "input: {i}\noutput: {o}",
        "Example {n}: Input: {i}\nOutput: {o}",
        "Example: Input: {i}\nOutput: {o}",
        "Input: {i} Output: {o}",
        "Example Input: {i}\nExpected Output: {o}",
        "示例{n}：\n输入：{i}\n输出：{o}\n",
        "Input: {i}\nAnswer: {o}",
        "Input: {i}\nOutput sentence: {o}",
    ],
)
def test_the_labels_that_models_write_delimit(form: str) -> None:
    """Without our tags, labels at the start of lines do, bold or not, numbered or not, in English or Chinese."""
    answer = "\n".join(form.format(n=n, i=i, o=o) for n, (i, o) in enumerate(TWO, 1))
    assert generated(answer) == TWO
    assert generated(f"Here are two examples:\n\n{answer}\n\nLet me know if you'd like more examples!") == TWO


@pytest.mark.parametrize(
    ("answer", "pairs"),
    [
        (
            "Paragraph: It rained.\nQuestion: Why?\nOutput: Clouds.",
            [("Paragraph: It rained.\nQuestion: Why?", "Clouds.")],
        ),
        ("Example 1\nText: a\nOutput: b\nExample 2\nText: c\nOutput: d", [("Text: a", "b"), ("Text: c", "d")]),
        ("Output: one\nExample 1\nWord: two\nOutput: three", [("", "one"), ("Word: two", "three")]),
        ("Data: 1\nInput: 2\nOutput: 3", [("Data: 1\nInput: 2", "3")]),
        ("Data: 1\nInput:\nOutput: 3", [("Data: 1", "3")]),
        ("Example: 7\nOutput: odd", [("7", "odd")]),
        ("Input: a\nOutput: b\nInput: c\nOutput: d", [("a", "b"), ("c", "d")]),
        ("Input: a\nOutput: b\nOutput: c", [("a", "b\nOutput: c")]),
        ("Input: a\nOutput: b\n\nOutput:\n", [("a", "b")]),
        ("Output: a\nOutput: b", [("", "a"), ("", "b")]),
        ("Input: N/A\nOutput: 5\nOutput: 6", [("", "5"), ("", "6")]),
        ("Input: None\nInput: b\nOutput: 6", [("b", "6")]),
        ("Output:\n\nOutput: b", [("", "b")]),
        ("Word: deed\nAnswer: a palindrome\n\nOutput:", [("Word: deed", "a palindrome")]),
        ("Example Input: a\nExample Output: b\n\nOutput: c", [("a\nExample Output: b", "c")]),
        ("Output: b\n\nTask 2: Name a fish.\nOutput: trout", [("", "b")]),
        ("Input: a\nOutput:\n42\n\nExplanation: because.", [("a", "42\n\nExplanation: because.")]),
    ],
)
def test_named_fields_and_repeated_labels_are_read_as_a_reader_does(answer: str, pairs: Pairs) -> None:
    """Fields with other names are input; an input behind an output starts an example; other repeats are text."""
    assert generated(answer) == pairs


def test_an_example_that_an_output_speaks_of_delimits_nothing() -> None:
    """ "Example:" or "Example 1" in an explanation is text unless an output of its own follows."""
    answer = "Output: A simile compares.\nExample: brave as a lion.\nExample 1\nThat was it."
    assert generated(answer) == [("", "A simile compares.\nExample: brave as a lion.\nExample 1\nThat was it.")]
    assert generated("Output: one\nExample:\nText: two\nOutput: three") == [("", "one"), ("Text: two", "three")]
    assert generated("Text: one\nExample: two\nOutput: three") == [("Text: one\nExample: two", "three")]


def test_a_counted_example_delimits_before_its_output_arrives() -> None:
    """ "Example 2" behind example 1 opens an example even when the answer ends before a field of it."""
    assert generated("Example 1\nText: a\nOutput: b\nExample 2\nText: c") == [("Text: a", "b"), ("Text: c", "")]


def test_an_output_in_a_sentence_or_in_code_is_no_label() -> None:
    """Only the start of a line outside code fences delimits."""
    code = "```\nInput: 1\nOutput: 2\n```"
    assert generated(f"Input: The Output: line\nOutput: {code}\nsee Output: above") == [
        ("The Output: line", f"{code}\nsee Output: above")
    ]


def test_a_comment_in_code_and_a_line_of_stars_are_output() -> None:
    """Code without a fence may say "# Output: 3", and a drawing may end on a line that looks like a rule."""
    assert generated("Input: a\nOutput: f(a)  \n# Output: 3") == [("a", "f(a)  \n# Output: 3")]
    assert generated("Output:\n*\n**\n***\n****") == [("", "*\n**\n***\n****")]


def test_a_farewell_that_speaks_of_examples_is_not_in_the_last_output() -> None:
    """A polite closing that an output could hold stays; one about the examples themselves goes."""
    assert generated("Output: Dear Ann\n\nI hope this helps.") == [("", "Dear Ann\n\nI hope this helps.")]
    assert generated("Output: Dear Ann\n\nNote: an example is below.") == [
        ("", "Dear Ann\n\nNote: an example is below.")
    ]
    assert generated("Output: Dear Ann\n\nI hope these examples help.") == [("", "Dear Ann")]
    assert generated("<output>\nHi,\n\nI hope you are well.\n<example 2>\n<output>\nBye") == [
        ("", "Hi,\n\nI hope you are well."),
        ("", "Bye"),
    ]


@pytest.mark.parametrize(
    "spelling",
    [
        *(
            "N/A",
            "n/a.",
            "None",
            "(none)",
            "<noinput>",
            "noinput",
            "No input",
            "*No input needed.*",
            "No input is required",
        ),
        *("<no input>", "Not applicable", "无", "无输入。", "（无）"),
    ],
)
def test_every_spelling_of_no_input_is_an_empty_input(spelling: str) -> None:
    """What models write for "nothing" does not reach the data."""
    assert generated(f"<input>\n{spelling}\n<output>\nrain") == [("", "rain")]


@pytest.mark.parametrize("text", ["[]", "None of them came.", "no input was lost", "{}", "-", "None " * 99 + "left"])
def test_an_input_that_says_something_is_kept(text: str) -> None:
    """An empty list is a value, and a sentence that begins with "None" is a sentence."""
    assert generated(f"<input>\n{text}\n<output>\nrain") == [(text, "rain")]


@pytest.mark.parametrize("answer", ["", " \n", "It rained.", "Input: a", "Example 1\na\nExample 2\nb", "<input>\na"])
def test_an_answer_that_marks_no_output_is_an_error(answer: str) -> None:
    """Prose, silence and inputs alone hold no example; nothing is guessed."""
    for read in (generation_instances, classification_instances):
        with pytest.raises(ParseError, match="no_instance") as error:
            read(answer, truncated=False)
        assert error.value.reason == "no_instance"


# --- classification -------------------------------------------------------------------------------------------------

LABELS = [("Buy now!", "Spam"), ("See you at six.", "Ham")]


@pytest.mark.parametrize(
    "form",
    [
        "<example {n}>\n<label>\n{o}\n<input>\n{i}\n",
        "<example {n}>\n<label> {o}\n<input> {i}",
        "<label>{o}</label><input>{i}</input>",
        "<label>{o}</label>\n{i}",
        "<label>\n{o}\n{i}",
        "<example {n}>\n<output>\n{o}\n<input>\n{i}",
        "<example {n}>\n<input>\n{i}\n<label>\n{o}",
        "Class label: {o}\n{i}",
        "Class label: {o}\nInput: {i}\n",
        "**Class Label:** {o}\n**Input:** {i}\n",
        "Example {n}\nClass label: {o}\nInput: {i}",
        "Example {n}\n{i}\nClass label: {o}",
        "Input: {i}\nClass label: {o}",
        "Label: {o}\n{i}",
        "类别：{o}\n输入：{i}",
        "Input: {i}\nOutput: {o}",
    ],
)
def test_labels_and_inputs_are_paired_in_either_order(form: str) -> None:
    """No label moves to the neighbouring input, whichever of the two a model writes first."""
    assert labelled("\n".join(form.format(n=n, i=i, o=o) for n, (i, o) in enumerate(LABELS, 1))) == LABELS


@pytest.mark.parametrize(
    ("answer", "pairs"),
    [
        ("Class label: Yes\nArray: [1]\nClass label: No\nArray: [2]", [("Array: [1]", "Yes"), ("Array: [2]", "No")]),
        ("Array: [1]\nClass label: Yes\nArray: [2]\nClass label: No", [("Array: [1]", "Yes"), ("Array: [2]", "No")]),
        ("Mail examples\n\nClass label: Spam\nBuy!\nClass label: Ham\nHi", [("Buy!", "Spam"), ("Hi", "Ham")]),
        ("Class label: Yes\nClass label: No", [("", "Yes"), ("", "No")]),
        ("Class label: Yes\nLabel: x\nInput: y", [("Label: x\nInput: y", "Yes")]),
        ("Input: a\nClass label: Yes\nsurely\nInput: b\nClass label: No", [("a", "Yes"), ("b", "No")]),
        ("Class label:\nYes\nNote: a", [("Note: a", "Yes")]),
    ],
)
def test_named_fields_around_labels_are_inputs(answer: str, pairs: Pairs) -> None:
    """What follows a label line is its input, unless the answer plainly puts inputs first."""
    assert labelled(answer) == pairs


@pytest.mark.parametrize(
    "parting",
    ["These cover both labels.", "Both classes appear above.", "I hope this helps!", "Let me know what you think."],
)
@pytest.mark.parametrize("form", ["<label>\n{o}\n<input>\n{i}\n", "Class label: {o}\n{i}\n"])
def test_a_parting_paragraph_is_not_in_the_last_input(parting: str, form: str) -> None:
    """Behind inputs of one paragraph; it also shows that the last example is whole."""
    pairs = [("It shines.", "good"), ("It pours.", "bad")]
    answer = "".join(form.format(i=i, o=o) for i, o in pairs) + f"\n{parting}"
    assert labelled(answer) == pairs
    assert [p.cut for p in classification_instances(answer, truncated=True)] == [False, False]


@pytest.mark.parametrize("parting", ["These cover both labels.", "It rained."])
def test_a_last_paragraph_stays_where_inputs_have_paragraphs_or_are_closed(parting: str) -> None:
    """Or where it does not speak of the examples, or there is only one."""
    first, last = "<label>\ngood\n<input>\nSun.\n", f"<label>\nbad\n<input>\nRain.\n\n{parting}"
    glued = (f"Rain.\n\n{parting}", "bad")
    assert labelled(last) == [glued]
    assert labelled(f"{first}\nWarm.\n{last}") == [("Sun.\n\nWarm.", "good"), glued]
    assert labelled(f"{first}{last}\n</input>") == [("Sun.", "good"), glued]
    assert labelled(f"{first}<label>\nbad\n<input>\nRain.\n\nIt fell.") == [
        ("Sun.", "good"),
        ("Rain.\n\nIt fell.", "bad"),
    ]


def test_a_prompt_that_opened_the_label_is_continued() -> None:
    """The answer starts with the first label itself, with or without tags behind it."""
    assert labelled(" Spam\n<input>\nBuy!\n<example 2>\n<label> Ham\n<input> Hi", opened="label") == [
        ("Buy!", "Spam"),
        ("Hi", "Ham"),
    ]
    assert labelled("Spam\nBuy!", opened="label") == [("Buy!", "Spam")]


# --- truncation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", ["<output>\na\n<output>\nb", "Output: a\nOutput: b", "Example 1\nOutput: a\nExample 2\nText"]
)
def test_only_the_last_example_of_a_truncated_answer_is_cut(answer: str) -> None:
    """The token limit spoils the example it fell into, not the others."""
    assert [p.cut for p in generation_instances(answer, truncated=True)] == [False, True]
    assert [p.cut for p in generation_instances(answer, truncated=False)] == [False, False]


@pytest.mark.parametrize(
    "rest", ["</output>", "\n<example 2>", "\n<example 2>\n<input>\n", "\n<exam", "\n<example 2", "\n<"]
)
def test_nothing_is_cut_when_the_answer_had_gone_on_to_the_next_delimiter(rest: str) -> None:
    """A closing or a begun tag shows that the last example is whole."""
    assert generation_instances(f"<output>\nrain{rest}", truncated=True) == [Parsed("", "rain")]
    rest = rest.replace("output", "label")
    assert classification_instances(f"<label>\nrain{rest}", truncated=True) == [Parsed("", "rain")]


def test_a_truncated_label_is_cut_and_not_taken_for_the_end_of_an_input() -> None:
    """A label without an input at the end of a truncated answer does not turn the whole answer around."""
    answer = "Some mails.\nClass label: Spam\nBuy!\nClass label: Ham"
    assert classification_instances(answer, truncated=True) == [Parsed("Buy!", "Spam"), Parsed("", "Ham", cut=True)]


# --- defects of earlier parsers -------------------------------------------------------------------------------------


def test_defect_a_heading_inside_an_output_cuts_nothing() -> None:
    """Three hashes, two hashes and rules inside an output stay in it, also where it begins with them."""
    output = "### Soup\n\n## For two\n---\n1. Boil.\n2. Eat."
    assert generated(f"Input: soup\nOutput:\n{output}\nInput: tea\nOutput: Brew.") == [
        ("soup", output),
        ("tea", "Brew."),
    ]


def test_defect_a_number_with_a_dot_cuts_no_output() -> None:
    """ "16." and "20." in an output are text."""
    assert generated("Output: 16. was the year.\n20. too.") == [("", "16. was the year.\n20. too.")]


def test_defect_a_skipped_or_repeated_example_number_drops_nothing() -> None:
    """Numbers are no condition."""
    answer = "Example 1\nInput: a\nOutput: b\nExample 3\nInput: c\nOutput: d\nExample 3\nInput: e\nOutput: f"
    assert generated(answer) == [("a", "b"), ("c", "d"), ("e", "f")]


def test_defect_an_empty_output_is_never_accepted() -> None:
    """An output that says nothing is a reject, not data."""
    assert valid_instances([Parsed("a", " ")], 5, Random(0)) == ([], [(Parsed("a", " "), "empty_output")])


# --- which examples are kept ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (Parsed("a", "b", cut=True), "truncated"),
        (Parsed("", "", cut=True), "truncated"),
        (Parsed("a", ""), "empty_output"),
        (Parsed("", "\n"), "empty_output"),
        (Parsed("a", "a "), "input_equals_output"),
        (Parsed("Text:", "b"), "ends_with_colon"),
        (Parsed("a", "The list is: "), "ends_with_colon"),
        (Parsed("句子：", "b"), "ends_with_colon"),
    ],
)
def test_an_invalid_example_is_rejected_with_its_rule(example: Parsed, reason: str) -> None:
    """Each rule of the paper's last step is a reason of its own, and spoils no other example."""
    assert valid_instances([example, Parsed("c", "d")], 5, Random(0)) == ([Parsed("c", "d")], [(example, reason)])


def test_contradicting_outputs_spoil_all_examples_of_the_task() -> None:
    """One input with two outputs makes the whole answer untrustworthy; outputs without input may differ."""
    examples = [Parsed("a", "b"), Parsed("c", "d"), Parsed("a", "e")]
    assert valid_instances(examples, 5, Random(0)) == ([], [(e, "conflicting_outputs") for e in examples])
    assert valid_instances([Parsed("", "b"), Parsed("", "c")], 5, Random(0)) == ([Parsed("", "b"), Parsed("", "c")], [])


def test_an_invalid_example_contradicts_nothing() -> None:
    """A cut output differs from the whole one without making it doubtful."""
    examples = [Parsed("a", "rain"), Parsed("a", "ra", cut=True)]
    assert valid_instances(examples, 5, Random(0)) == ([examples[0]], [(examples[1], "truncated")])


def test_repeated_examples_are_kept_once_in_order() -> None:
    """The first of equal examples stays where it stood."""
    a, b = Parsed("a", "b"), Parsed("c", "d")
    assert valid_instances([a, b, a, a], 5, Random(0)) == (
        [a, b],
        [(a, "duplicate_instance"), (a, "duplicate_instance")],
    )


def test_more_examples_than_wanted_are_drawn_from_in_order() -> None:
    """The generator decides which stay; their order does not change, and a set that fits draws nothing."""
    examples = [Parsed(str(n), f"{n}!") for n in range(9)]
    kept, rejected = valid_instances(examples, 5, Random(7))
    assert [(e, "over_limit") for e in examples if e not in kept] == rejected
    assert (len(kept), sorted(kept, key=examples.index)) == (5, kept)
    assert valid_instances(examples, 5, Random(7)) == (kept, rejected)
    assert {tuple(valid_instances(examples, 5, Random(seed))[0]) for seed in range(20)} != {tuple(kept)}
    untouched = Random(7)
    assert valid_instances(examples[:5], 5, untouched) == (examples[:5], [])
    assert untouched.getstate() == Random(7).getstate()


# --- properties -----------------------------------------------------------------------------------------------------

PIECES = [
    *(
        "<example 1>",
        "<example>",
        "</example>",
        "<input>",
        "</input>",
        "<output>",
        "</output>",
        "<label>",
        "</label>",
        "<ex",
        "<task>",
        "\n<task 2>\n",
        "\n<output>\n",
        " <example 2",
        ".",
    ),
    *(
        "Example 1",
        "Example: ",
        "Input: ",
        "**Output:** ",
        "### Output",
        "Class label: ",
        "Task: ",
        "输入：",
        "Answer: ",
    ),
    *(
        "```",
        "```py",
        "\n",
        "\n\n",
        " ",
        "  ",
        "a",
        "b c",
        "N/A",
        "---",
        "#",
        ":",
        "\r\n",
        "\x00",
        "Sure! Here are examples:",
    ),
]
OUR_TAG = re.compile(r"(?im)^\s*</?(input|output|examples?( \d+)?|tasks?( \d+)?)>\s*$|^\s*<label>\s*$|<example \d+>?\Z")
ANSWERS = st.text() | st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@given(ANSWERS, st.booleans(), st.sampled_from([None, "example", "input", "output", "label"]))
def test_any_text_gives_examples_or_the_error(text: str, truncated: bool, opened: Opened | None) -> None:
    """Whatever comes, the result is a list of trimmed pairs with at most the last one cut, or ParseError."""
    for read in (generation_instances, classification_instances):
        try:
            found = read(text, truncated=truncated, opened=opened)
        except ParseError as error:
            assert error.reason == "no_instance"
            continue
        assert found != []
        assert not any(OUR_TAG.search(field) for pair in found for field in (pair.input, pair.output))
        assert all(field == trim(field) for pair in found for field in (pair.input, pair.output))
        assert not any(pair.cut for pair in found[:-1])
        assert truncated or not found[-1].cut


LINES = [
    "# Soup",
    "### Output:",
    "Output: 3",
    "Input: 4",
    "Example 2",
    "20.",
    "---",
    "",
    "    x = 1",
    "```",
    "Class label: a",
    "b",
]
TEXTS = (
    st.lists(st.sampled_from(LINES), min_size=1, max_size=6)
    .map("\n".join)
    .filter(lambda text: text == trim(text) != "")
)


@given(st.lists(st.tuples(TEXTS | st.just(""), TEXTS), min_size=1, max_size=5), st.booleans())
def test_what_our_tags_hold_comes_back_as_it_was(examples: Pairs, closed: bool) -> None:
    """Rendering examples with our tags and reading them again changes nothing, whatever Markdown they hold."""
    end = "\n</{}>" if closed else ""
    rendered = "".join(
        f"<example {n}>\n"
        + (f"<input>\n{given_}{end.format('input')}\n" if given_ else "")
        + f"<output>\n{output}{end.format('output')}\n"
        for n, (given_, output) in enumerate(examples, 1)
    )
    assert generated(rendered) == examples
    one_line = [(given_, output.split("\n")[0].strip()) for given_, output in examples]
    rendered = "".join(f"<example {n}>\n<label>\n{o}\n<input>\n{i}\n" for n, (i, o) in enumerate(one_line, 1))
    assert labelled(rendered) == one_line
