"""Whole tasks read from JSON: in any wrapping, with slips, and cut anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.errors import ParseError
from selfinstruct.parsing import WholeTask, task_array

RIVER = WholeTask("Name a river.", "", "The Nile.")
SUM = WholeTask("把两个数相加。", "2和3", "5")
ROWS: list[dict[str, Any]] = [
    {"instruction": "Name a river.", "input": "<noinput>", "output": "The Nile."},
    {"instruction": "把两个数相加。", "input": "2和3", "output": "5"},
]


def read(text: str, *, truncated: bool = False) -> list[WholeTask]:
    """The tasks of an answer."""
    return task_array(text, truncated=truncated)


def reason(text: str) -> str:
    """The reject reason of an answer without tasks."""
    with pytest.raises(ParseError) as caught:
        read(text)
    return caught.value.reason


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"tasks": ROWS}),
        json.dumps({"tasks": ROWS}, ensure_ascii=False, indent=2),
        json.dumps(ROWS),
        json.dumps({"任务": ROWS, "count": 2}),
        json.dumps({"output": ROWS}),
        json.dumps({"result": {"items": ROWS}}),
        json.dumps({"task1": ROWS[0], "task2": ROWS[1]}),
        "\n".join(map(json.dumps, ROWS)),
        str(ROWS),
        "{'tasks': " + str(ROWS),
        json.dumps({"tasks": json.dumps(ROWS)}),
        json.dumps({"arguments": json.dumps({"tasks": json.dumps(ROWS)})}),
        json.dumps(ROWS, ensure_ascii=False)
        .replace('": "', "”：“")
        .replace('", "', "”，“")
        .replace('{"', "{“")
        .replace('"}', "”}"),
        ",\n".join(map(json.dumps, ROWS)),
        "\ufeff" + json.dumps(ROWS).replace("}, {", "},\r\n{"),
        "Sure [as asked]:\n```json\n" + json.dumps(ROWS, indent=1) + "\n```\nLet me know {if} you need more.",
        "好的，以下是任务：\n" + json.dumps({"tasks": ROWS}) + "\n希望有帮助。",
        json.dumps(ROWS).replace("},", "},,")[:-1].replace(",,", ",") + ",]",
        json.dumps(ROWS).replace('"}', '",}'),
        json.dumps(ROWS).replace("}, {", "} {"),
    ],
)
def test_the_tasks_are_found_in_any_wrapping(text: str) -> None:
    """Arrays, objects, lines, fences, prose, a byte order mark, commas too many or one too few."""
    assert read(text) == [RIVER, SUM]


def test_one_object_is_one_task() -> None:
    """An answer may hold a single task."""
    assert read(json.dumps(ROWS[1])) == [SUM]


@pytest.mark.parametrize(
    "keys",
    [
        *(("指令", "输入", "输出"), ("Instruction", "Input", "Output"), ("task", "context", "response")),
        *(("question", "input", "answer"), ("4. Instruction", "4. Input", "4. Output"), ("问题", "材料", "答案")),
        *(("指令", "輸入", "輸出"), ("問題", "內容", "回應")),
    ],
)
def test_keys_may_have_other_names(keys: tuple[str, str, str]) -> None:
    """Chinese keys, capitals, numbers and the usual other words."""
    rows = [dict(zip(keys, row.values(), strict=True)) for row in ROWS]
    assert read(json.dumps(rows, ensure_ascii=False)) == [RIVER, SUM]


@pytest.mark.parametrize("given", ["", "无", "N/A", None])
def test_no_input_may_be_said_in_any_way(given: str | None) -> None:
    """A null, an empty text and every spelling are the same as a missing key."""
    assert read(json.dumps(ROWS[0] | {"input": given})) == [RIVER]
    assert read('{"instruction": "Name a river.", "output": "The Nile."}') == [RIVER]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((5, "5"), (3.5, "3.5"), (True, "true"), (["a", "b"], "a\nb"), (["a", 1], "a\n1")),
        *(({"k": [1, True, "值"]}, '{"k": [1, true, "值"]}'), ([["a"], ["b"]], '[["a"], ["b"]]'), ("a\n  b", "a\n  b")),
    ],
)
def test_values_that_are_no_text_become_text(value: object, text: str) -> None:
    """Numbers and booleans as JSON writes them, lists a line each, objects as JSON."""
    row = {"instruction": "Go.", "input": value, "output": value}
    assert read(json.dumps(row, indent=1)) == [WholeTask("Go.", text, text)]


def test_raw_line_breaks_and_unknown_escapes_are_text() -> None:
    """Models forget to escape both line breaks and backslashes."""
    text = '{"instruction": "Explain \\d and \\(x\\).", "output": "one\n\ttwo \\u4e2d \\ud83d\\ude00"}'
    assert read(text) == [WholeTask("Explain \\d and \\(x\\).", "", "one\n\ttwo 中 😀")]


def test_quotes_of_another_kind_are_text_in_a_string() -> None:
    """An escaped apostrophe is one, and double quotes need no escape between single ones."""
    text = """{'instruction': 'Say "hi" and don\\'t.', "output": "don\\'t \\"hi\\""}"""
    assert read(text) == [WholeTask('Say "hi" and don\'t.', "", 'don\'t "hi"')]


def test_a_placeholder_is_flawed() -> None:
    """An item that only shows where one would stand has no instruction."""
    text = json.dumps([ROWS[0], {"instruction": "...", "input": "…", "output": "..."}])
    assert read(text) == [RIVER, WholeTask("...", "…", "...", "no_instruction")]


def test_an_object_that_another_bracket_closes_is_flawed() -> None:
    """ "]" for "}" breaks the object off there."""
    assert read('{"instruction": "Go.", "output": "a"]') == [WholeTask("Go.", "", "a", "not_json")]


def test_half_an_emoji_is_not_passed_on() -> None:
    """A lone surrogate cannot be written to a file, so it is replaced; at a cut it is left out."""
    assert read('{"instruction": "Go.", "output": "a\\ud83d b"}') == [WholeTask("Go.", "", "a\ufffd b")]
    assert read('{"instruction": "Go.", "output": "a\\ud83d') == [WholeTask("Go.", "", "a", "truncated")]


@pytest.mark.parametrize(
    ("row", "flaw"),
    [
        ({"instruction": "Go.", "output": ""}, "no_output"),
        ({"instruction": "Go."}, "no_output"),
        ({"instruction": " ", "output": "x"}, "no_instruction"),
        ({"output": "x"}, "no_instruction"),
    ],
)
def test_a_task_that_lacks_a_field_is_flawed(row: dict[str, str], flaw: str) -> None:
    """Whatever it has is kept, and its neighbour is not touched."""
    task = WholeTask(row.get("instruction", "").strip(), "", row.get("output", ""), flaw)
    assert read(json.dumps([row, ROWS[1]])) == [task, SUM]


def test_an_object_that_names_its_instruction_twice_is_flawed() -> None:
    """Two tasks in one object cannot be told apart."""
    text = '{"instruction": "Go.", "output": "a", "instruction": "Stop.", "output": "b"}'
    assert read(text) == [WholeTask("Go.", "", "a", "merged_tasks")]


def test_an_object_broken_in_its_middle_is_flawed_and_the_next_is_read() -> None:
    """Quotes that are not escaped break one task only; of the last one the token limit may be to blame."""
    text = '[{"instruction": "Say "hi".", "output": "hi"}, ' + json.dumps(ROWS[1]) + ', {"instruction": "Go.", x}'
    assert read(text) == [WholeTask("Say", "", "", "not_json"), SUM, WholeTask("Go.", "", "", "not_json")]
    assert read(text, truncated=True)[-1] == WholeTask("Go.", "", "", "truncated")


@pytest.mark.parametrize("truncated", [True, False])
@pytest.mark.parametrize("indented", [None, 2])
def test_an_answer_cut_anywhere_gives_whole_tasks_and_at_most_one_flawed(truncated: bool, indented: int | None) -> None:
    """At every character: nothing is made up, and no task that was cut passes, whatever the server says."""
    rows = [*ROWS, {"instruction": "Go \\ now", "input": ["a", {"k": 1}], "output": 'say "hi"\n中😀'}, ROWS[0]]
    text = json.dumps({"tasks": rows}, indent=indented)
    tasks = read(text)
    for cut in range(len(text)):
        try:
            found = read(text[:cut], truncated=truncated)
        except ParseError:
            found = []
        whole = [task for task in found if not task.flaw]
        assert whole == tasks[: len(whole)]
        assert [task.flaw for task in found[len(whole) :]] in ([], ["truncated"])
        assert all(
            tasks[len(whole)].output.startswith(task.output)
            and tasks[len(whole)].instruction.startswith(task.instruction)
            for task in found[len(whole) :]
        )


def test_a_cut_between_objects_flaws_nothing() -> None:
    """The array is open, but every object in it is whole."""
    assert read(json.dumps(ROWS)[:-1], truncated=True) == [RIVER, SUM]
    assert read('{"tasks": ' + json.dumps(ROWS)[:-1] + ', {"instr', truncated=True) == [RIVER, SUM]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("", "not_json"), ("4. Instruction: Go.\n4. Output: a", "not_json"), ("[1] a [2] b {c}", "not_json")),
        *(
            ("{}", "no_tasks"),
            ("[]", "no_tasks"),
            ('{"tasks": []}', "no_tasks"),
            ('{"tasks": [', "no_tasks"),
            ("[[1]]", "no_tasks"),
        ),
    ],
)
def test_an_answer_without_tasks_is_a_parse_error(text: str, expected: str) -> None:
    """The reject reason tells no JSON from JSON without tasks."""
    assert reason(text) == expected


def test_ten_thousand_brackets_are_no_harder_than_ten() -> None:
    """Depth neither exhausts the stack nor hides the output that holds it."""
    deep = "[" * 10_000 + "]" * 10_000
    assert read('{"instruction": "Go.", "output": ' + deep + "}") == [WholeTask("Go.", "", deep)]
    assert reason("[" * 10_000) == "no_tasks"


TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_any_strings_come_back_as_they_were(
    rows: list[tuple[str, str, str]], escaped: bool, indented: int | str | None
) -> None:
    """Letters, words between marks and quotes survive; only the outer space goes."""
    rows = [(f"a{told}z", f"a{given}z", f"a{answer}z") for told, given, answer in rows]
    text = json.dumps(
        [dict(zip(("instruction", "input", "output"), row, strict=True)) for row in rows],
        ensure_ascii=escaped,
        indent=indented,
    )
    invisible = str.maketrans("", "", "\ufeff\u200b\u200e\u200f") if not escaped else {}
    expected = [tuple(field.translate(invisible) for field in row) for row in rows]
    assert [(task.input, task.output) for task in read(text)] == [row[1:] for row in expected]
    assert [task.instruction for task in read(text)] == [row[0] for row in expected]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                '{"',
                '"',
                "{",
                "}",
                "[",
                "]",
                ":",
                ",",
                "instruction",
                "output",
                '"output":',
                '"a"',
                "1",
                "null",
                "\\",
                "\\u12",
                "\n",
                "x",
            ]
        ),
        max_size=25,
    ).map("".join),
    st.booleans(),
)
def test_no_text_raises_anything_but_parse_error(text: str, truncated: bool) -> None:
    """Any jumble of marks gives at least one task, of which only flawed ones may lack a field, or a ParseError."""
    try:
        tasks = task_array(text, truncated=truncated)
    except ParseError as error:
        assert error.reason in ("not_json", "no_tasks")
    else:
        assert tasks
        assert all(task.flaw or (task.instruction and task.output) for task in tasks)
