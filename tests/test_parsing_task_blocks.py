"""Whole tasks read from text: the published format, and everything that models make of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from selfinstruct.errors import ParseError
from selfinstruct.parsing import WholeTask, task_blocks
from tests.hostile_texts import read_in_time

RIVER = WholeTask("Name a river.", "", "The Nile.")
SUM = WholeTask("Add the numbers.", "2 and 3", "5")
HAIKU = WholeTask("Write a haiku.", "", "old pond\na frog\nsplash")
HE = WholeTask("说出一条河。", "", "长江。")
HE_SUM = WholeTask("把两个数相加。", "2和3", "5")

SUM_BLOCK = "5. Instruction: Add the numbers.\n5. Input:\n2 and 3\n5. Output:\n5"
HAIKU_BLOCK = "6. Instruction: Write a haiku.\n6. Output:\nold pond\na frog\nsplash"
HE_SUM_BLOCK = "5. 指令：把两个数相加。\n5. 输入：\n2和3\n5. 输出：\n5"


def read(text: str, *, truncated: bool = False, continues: bool = False) -> list[WholeTask]:
    """The tasks of a chat answer that is whole."""
    return task_blocks(text, truncated=truncated, continues=continues)


def reason(text: str, *, continues: bool = False) -> str:
    """The reject reason of an answer without tasks."""
    with pytest.raises(ParseError) as caught:
        read(text, continues=continues)
    return caught.value.reason


# --- the published format -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n\n###", "\n\n###\n", "\n\n###\n6.", "\n\n###\n6. Instr", "\n6. Instruction:"])
def test_the_published_format_continues_an_open_header_and_may_end_in_the_next(end: str) -> None:
    """The first task begins inside its instruction; a begun header at the end is no text of the last one."""
    text = f" Name a river.\n4. Input:\n<noinput>\n4. Output:\nThe Nile.\n\n###\n{SUM_BLOCK}{end}"
    assert read(text, continues=True) == [RIVER, SUM]


@pytest.mark.parametrize("end", ["", "\n###", "\n###\n6.", "\n###\n6. 指", "\n###\n6. 指令："])
def test_the_published_format_is_read_in_chinese(end: str) -> None:
    """Full-width colons and 无输入 are the Chinese form."""
    text = f"说出一条河。\n4. 输入：\n<无输入>\n4. 输出：\n长江。\n###\n{HE_SUM_BLOCK}{end}"
    assert read(text, continues=True) == [HE, HE_SUM]


def test_echoed_demos_are_ordinary_tasks() -> None:
    """Tasks 1 and 2 repeated from the prompt are returned; novelty drops them later."""
    text = f"1. Instruction: Name a river.\n1. Input:\n<noinput>\n1. Output:\nThe Nile.\n\n###\n{SUM_BLOCK}"
    assert read(text) == [RIVER, SUM]


# --- how headers are dressed ----------------------------------------------------------------------------------------

ENGLISH_HEADERS = [
    *("{n}. {w}:", "{n}.{w}:", "{n}) {w}:", "({n}) {w}:", "{n} {w}:", "{w} {n}:", "{w} #{n}:", "Task {n} {w}:", "{w}:"),
    *("**{n}. {w}:**", "**{n}. {w}**:", "{n}. **{w}**:", "{n}. **{w}:**", "**{w}:**", "*{w}*:", "`{w}`:", "**{w}**"),
    *("### {n}. {w}", "### {n}. {w}:", "## {w}", "#### **{w}:**", "- {w}:", "- **{w}:**", "> {w}:", "{w} :", "{w}"),
    *("{n}. {w}", "{n}. {w}：", "[{w}]", "[{w}]:", "{n}. [{w}]:"),
]
CHINESE_HEADERS = [
    *(
        "{n}. {w}：",
        "{n}、{w}：",
        "（{n}）{w}：",
        "({n}) {w}:",
        "{n}．{w}：",
        "{w}{n}：",
        "{w} {n}：",
        "任务{n} {w}：",
        "{w}：",
    ),
    *(
        "**{n}. {w}：**",
        "**{w}**：",
        "**{w}：**",
        "【{w}】",
        "【{w}】：",
        "### {n}. {w}",
        "## {w}：",
        "- {w}：",
        "{n}. {w}",
    ),
    *("{w} ：", "{n}. {w}:", "{w}", "第{n}题 {w}："),
]


def dressed(header: str, names: Sequence[str], tasks: Sequence[WholeTask], separator: str, none: str | None) -> str:
    """The tasks under headers of one dress, each field below its header; ``none`` stands for no input."""
    blocks = []
    for number, task in enumerate(tasks, start=4):
        told, given, answer = (header.format(n=number, w=name) for name in names)
        said = task.input or none
        middle = f"\n{given}\n{said}" if said else ""
        blocks.append(f"{told}\n{task.instruction}{middle}\n{answer}\n{task.output}")
    return separator.join(blocks)


@pytest.mark.parametrize("separator", ["\n\n###\n\n", "\n##\n", "\n\n---\n\n", "\n***\n", "\n=====\n", "\n\n", "\n"])
@pytest.mark.parametrize("header", ENGLISH_HEADERS)
def test_english_headers_are_found_in_every_dress_and_with_every_separator(header: str, separator: str) -> None:
    """The answer's own dress counts, with a separator or without any."""
    names = ("Instruction", "Input", "Output")
    assert read(dressed(header, names, [RIVER, SUM, HAIKU], separator, "<noinput>")) == [RIVER, SUM, HAIKU]
    assert read(dressed(header, names, [RIVER, SUM, HAIKU], separator, None)) == [RIVER, SUM, HAIKU]


@pytest.mark.parametrize("separator", ["\n\n###\n", "\n##\n", "\n\n---\n\n", "\n——————\n", "\n\n", "\n"])
@pytest.mark.parametrize("header", CHINESE_HEADERS)
def test_chinese_headers_are_found_in_every_dress_and_with_every_separator(header: str, separator: str) -> None:
    """The same for Chinese names, numerals' marks and brackets."""
    assert read(dressed(header, ("指令", "输入", "输出"), [HE, HE_SUM], separator, "<无输入>")) == [HE, HE_SUM]
    assert read(dressed(header, ("指令", "输入", "输出"), [HE, HE_SUM], separator, None)) == [HE, HE_SUM]


@pytest.mark.parametrize(
    "names",
    [
        *(("Task", "Input", "Output"), ("Prompt", "Context", "Completion"), ("Question", "Context", "Answer")),
        *(
            ("Instruction", "Input", "Response"),
            ("Instruction", "Context", "Answer"),
            ("instruction", "input", "output"),
        ),
        *(("任务", "上下文", "回答"), ("问题", "材料", "答案"), ("题目", "内容", "回复"), ("指令", "输入", "响应")),
        *(("INSTRUCTION", "INPUT", "OUTPUT"), ("任务指令", "输入内容", "输出结果")),
    ],
)
@pytest.mark.parametrize("header", ["{n}. {w}:", "{w}：", "**{w}:**"])
def test_fields_may_have_other_names(names: tuple[str, str, str], header: str) -> None:
    """An answer may use other words, as long as it keeps to them."""
    assert read(dressed(header, names, [RIVER, SUM, HAIKU], "\n\n", None)) == [RIVER, SUM, HAIKU]


def test_english_headers_may_stand_in_a_chinese_answer() -> None:
    """A Chinese task under English headers, and the reverse, are read alike."""
    chinese = dressed("{n}. {w}:", ("Instruction", "Input", "Output"), [HE, HE_SUM], "\n\n", "无")
    english = dressed("{n}. {w}：", ("指令", "输入", "输出"), [RIVER, SUM], "\n\n", "None")
    assert (read(chinese), read(english)) == ([HE, HE_SUM], [RIVER, SUM])


def test_fields_may_stand_on_the_line_of_their_header() -> None:
    """Same line or next line, with one space, several or none."""
    text = "4. Instruction:Name a river.\n4. Input:   <noinput>\n4. Output:The Nile.\n\n" + SUM_BLOCK.replace(
        ":\n", ": "
    )
    assert read(text) == [RIVER, SUM]


def test_headers_of_one_number_may_share_a_line() -> None:
    """ "4. Input: … 4. Output: …" behind its own instruction is read as three fields, hashes and all."""
    text = f"4. Instruction: Name a river. 4. Input: <noinput> 4. Output: The Nile. ###{SUM_BLOCK} ###"
    assert read(text) == [RIVER, SUM]


@pytest.mark.parametrize("continues", [True, False])
def test_a_whole_answer_may_stand_on_one_line(continues: bool) -> None:
    """Numbered headers part it, whatever the fields' own lines; without them nothing is glued."""
    rest = "5. Instruction: Add the numbers. 5. Input: 2 and 3 5. Output: 5 **6. Instruction:** Write a haiku."
    text = f"Name a river. 4. Input: <noinput> 4. Output: The Nile. {rest} **6. Output:** {HAIKU.output}"
    assert read(text if continues else f"4. Instruction: {text}", continues=continues) == [RIVER, SUM, HAIKU]
    chinese = f"4. 指令：{HE.instruction}4. 输出：{HE.output}5. 指令：{HE_SUM.instruction}5. 输入：2和3 5. 输出：5"
    assert read(chinese) == [HE, HE_SUM]


def test_a_field_within_a_line_counts_only_before_the_output_and_with_the_number() -> None:
    """Behind an output, or with another number, "4. Output:" is text."""
    told, answer = "See 3. Output: no", "Say 4. Input: a 4. Output: b"
    assert read(f"4. Instruction: {told}\n4. Output: {answer}\n\n{SUM_BLOCK}") == [WholeTask(told, "", answer), SUM]


@pytest.mark.parametrize("names", [("Instruction", "Input", "Output"), ("指令", "输入", "输出")])
def test_numbered_headers_may_lack_the_colon_before_their_text(names: tuple[str, str, str]) -> None:
    """ "4. Instruction Name a river." is a header where none has a colon."""
    text = dressed("{n}. {w}", names, [RIVER, SUM], "\n\n", "<noinput>")
    for name in names:
        text = text.replace(f"{name}\n", f"{name} ")
    assert read(text) == [RIVER, SUM]


@pytest.mark.parametrize(
    "names",
    [
        *(("指令", "輸入", "輸出"), ("任務", "內容", "回應"), ("問題", "背景", "答案"), ("指示", "輸入", "輸出")),
        *(("问", "材料", "答"), ("Instructions", "Inputs", "Outputs"), ("用户指令", "原文", "期望输出")),
        *(
            ("Instruction", "Passage", "Solution"),
            ("Prompt", "Input text", "Expected output"),
            ("要求", "输入", "结果"),
        ),
    ],
)
def test_numbered_fields_may_have_rarer_names(names: tuple[str, str, str]) -> None:
    """Traditional characters, the plural, and words that would be too common without a number."""
    assert read(dressed("{n}. {w}：", names, [RIVER, SUM, HAIKU], "\n###\n", "<無輸入>")) == [RIVER, SUM, HAIKU]


def test_a_plural_without_a_number_heads_nothing() -> None:
    """ "Instructions:" and 指示 are parts of a recipe."""
    recipe = "Ingredients: flour\nInstructions: mix.\n指示：搅拌。"
    assert read(f"Instruction: Bake.\nOutput: {recipe}") == [WholeTask("Bake.", "", recipe)]


def test_the_marks_around_a_header_are_taken_off_and_those_of_its_text_stay() -> None:
    """Bold that closes behind the colon is the header's; a fence, code or bold that opens there is the text's."""
    text = (
        "**4. 指令： **写。\n**4. 输出：****粗**体\n\n**5. 指令：**写。\n**5. 输出：**```py\nx\n```\n\n"
        "6. 指令：写。\n6. 输出：`ls`\n\n**7.** 指令：写。\n**7.** 输出：**粗**"
    )
    assert [task.output for task in read(text)] == ["**粗**体", "```py\nx\n```", "`ls`", "**粗**"]


@pytest.mark.parametrize(
    "text",
    [
        "### Task 1\n**Instruction:** Name a river.\n**Input:** None\n**Output:** The Nile.\n\n---\n\n### Task 2\n"
        "**Instruction:** Add the numbers.\n**Input:** 2 and 3\n**Output:** 5",
        "**Task 1: Rivers**\nInstruction: Name a river.\nOutput: The Nile.\n\n**Task 2: Sums**\n"
        "Instruction: Add the numbers.\nInput: 2 and 3\nOutput: 5",
        "1.\nInstruction: Name a river.\nInput: N/A\nOutput: The Nile.\n\n2.\nInstruction: Add the numbers.\n"
        "Input: 2 and 3\nOutput: 5\n\n3.",
        "## Geography\n\n4. Instruction: Name a river.\n4. Output: The Nile.\n\n## Arithmetic\n\n" + SUM_BLOCK,
        "4. Category: open QA\n4. Instruction: Name a river.\n4. Output: The Nile.\n\n5. Category: sums\n" + SUM_BLOCK,
        "类别：开放问答\n指令：Name a river.\n输出：The Nile.\n\n"
        "类别：计算\n指令：Add the numbers.\n输入：2 and 3\n输出：5",
    ],
)
def test_titles_above_tasks_belong_to_no_task(text: str) -> None:
    """ "Task 2", a number alone, a heading or a category stand between tasks, not in outputs."""
    assert read(text) == [RIVER, SUM]


@pytest.mark.parametrize("separator", ["\n\n", "\n###\n", "\n---\n\n"])
@pytest.mark.parametrize("end", ["# a\n## b\n\n## c", "text\n## a\ntext\n## b", "第六个人来了。", "Task 9 went well."])
@pytest.mark.parametrize("title", ["", "## Task {n}\n\n", "**任务{n}**\n", "{n}.\n"])
def test_headings_that_end_an_output_stay(separator: str, end: str, title: str) -> None:
    """Above a separator or in a row they are the output's, whatever titles stand below."""
    blocks = [
        f"{title.format(n=n)}Instruction: List.\nInput: none\nOutput:\n{end if n == 5 else 'x'}" for n in range(4, 8)
    ]
    tasks = [WholeTask("List.", "", "x"), WholeTask("List.", "", end), *[WholeTask("List.", "", "x")] * 2]
    assert read(separator.join(blocks)) == tasks


@pytest.mark.parametrize("title", ["Task {n}:", "## 任务{n}", "**第{n}题**"])
@pytest.mark.parametrize("end", ["16.", "5", "5."])
def test_a_number_that_ends_an_output_stays_where_titles_count(title: str, end: str) -> None:
    """A list's last number above "Task 5:" is text."""
    blocks = [f"{title.format(n=n)}\nInstruction: Count.\nOutput:\n14\n{end}" for n in range(4, 7)]
    assert read("\n\n".join(blocks)) == [WholeTask("Count.", "", f"14\n{end}")] * 3


@pytest.mark.parametrize("output", ["类型：影评", "好看。\n类型：影评", "Task 5: none"])
def test_an_output_may_look_like_a_title(output: str) -> None:
    """Above the next task's title, or as all there is, such a line is text."""
    for title in ("## 第{n}个任务\n\n", "Task {n}:\n", "### Task {n}\nCategory: x\n"):
        blocks = [f"{title.format(n=n)}指令：分类。\n输出：\n{output}" for n in range(4, 7)]
        assert read("\n\n".join(blocks)) == [WholeTask("分类。", "", output)] * 3


def test_a_number_that_ends_an_output_stays_where_headers_count() -> None:
    """ "5" above "5. Instruction:" is the answer, with a separator or without."""
    tasks = [WholeTask("Count.", "", "4\n5"), WholeTask("Count.", "", "5\n6"), WholeTask("Count.", "", "7\n7")]
    for separator in ("\n###\n", "\n\n"):
        assert read(dressed("{n}. {w}:", ("Instruction", "Input", "Output"), tasks, separator, None)) == tasks


# --- numbers are evidence, never a condition ------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [(4, 4, 4), (1, 2, 3), (9, 3, 7), (4, 6, 7), (4, 5, 5), (1, 1, 2), (20, 1, 2)])
def test_wrong_repeated_and_restarted_numbers_shift_nothing(numbers: tuple[int, int, int]) -> None:
    """A number says nothing a name does not say."""
    template = "{0}. Instruction: {1.instruction}\n{0}. Input: {2}\n{0}. Output: {1.output}"
    blocks = [
        template.format(n, task, task.input or "<noinput>")
        for n, task in zip(numbers, (RIVER, SUM, HAIKU), strict=True)
    ]
    assert read("\n\n###\n".join(blocks)) == [RIVER, SUM, HAIKU]
    assert read("\n".join(blocks)) == [RIVER, SUM, HAIKU]


def test_headers_may_be_counted_one_by_one() -> None:
    """Instruction 4, input 5, output 6 are one task."""
    text = "4. Instruction: Name a river.\n5. Input: <noinput>\n6. Output: The Nile.\n\n" + (
        "7. Instruction: Add the numbers.\n8. Input: 2 and 3\n9. Output: 5\n\n10. Instruction: Write a haiku.\n"
        "11. Output: old pond\na frog\nsplash"
    )
    assert read(text) == [RIVER, SUM, HAIKU]


def test_some_headers_may_lack_the_number() -> None:
    """One task, or one field, without numbers among numbered ones is still its own."""
    plain = "Instruction: Add the numbers.\nInput: 2 and 3\nOutput: 5"
    half = "5. Instruction: Add the numbers.\nInput: 2 and 3\nOutput: 5"
    for middle in (plain, half):
        text = f"4. Instruction: Name a river.\n4. Output: The Nile.\n###\n{middle}\n###\n{HAIKU_BLOCK}"
        assert read(text) == [RIVER, SUM, HAIKU]


def test_instructions_may_have_a_number_instead_of_a_name() -> None:
    """ "5. Add the numbers." above an input is an instruction when it counts on."""
    plain = "4. Name a river.\nInput: <noinput>\nOutput: The Nile.\n\n5. Add the numbers.\nInput: 2 and 3\nOutput: 5"
    counted = "4. Name a river.\n4. Output: The Nile.\n\n5. Add the numbers.\n5. Input: 2 and 3\n5. Output: 5"
    continued = "Name a river.\nInput: <noinput>\nOutput: The Nile.\n\n5. Add the numbers.\nInput: 2 and 3\nOutput: 5"
    assert [read(plain), read(counted), read(continued, continues=True)] == [[RIVER, SUM]] * 3


def test_a_list_of_steps_is_no_task_where_headers_look_otherwise() -> None:
    """Numbered steps with the fields' names, in an answer with bold headers, neither begin nor spoil a task."""
    steps = "1. 输入：数字\n2. 处理：相乘\n3. 输出：结果"
    text = f"**指令**：写。\n**输出**：\n{steps}\n\n**指令**：{HE.instruction}\n**输出**：{HE.output}"
    assert read(text) == [WholeTask("写。", "", steps), HE]
    lone = "3. 相乘\n4.输出结果\n5. 结束"
    assert read(f"4. 指令：写。\n4. 输出：\n{lone}\n###\n{HE_SUM_BLOCK}") == [WholeTask("写。", "", lone), HE_SUM]


def test_code_that_prints_its_output_is_not_the_field() -> None:
    """The name that has the task's number, and answers most instructions, is the answer's own."""
    code = "def add(a):\n    return sum(a)\n# Output: 3"
    text = f"4. Instruction: Code.\n4. Input: [1, 2]\n4. Answer:\n{code}\n###\n" + SUM_BLOCK.replace("Output", "Answer")
    assert read(text) == [WholeTask("Code.", "[1, 2]", code), SUM]


def test_samples_in_outputs_do_not_hide_what_the_input_is_called() -> None:
    """ "Input: 1" in a sample leaves "Context:" the field between instruction and response."""
    sample = "Example:\nInput: 1\nOutput: 2"
    tasks = [WholeTask("Explain.", "a text", sample), SUM, WholeTask("Explain.", "b", sample)]
    for header in ("{n}. {w}:", "**{w}:**"):
        assert read(dressed(header, ("Instruction", "Context", "Response"), tasks, "\n###\n", None)) == tasks


def test_a_sample_within_an_input_closes_before_the_output() -> None:
    """Without numbers, inputs and outputs pair like brackets."""
    task = WholeTask("Solve.", "two numbers\nExample:\nInput: 1 2\nOutput: 3", "x + y")
    assert read(dressed("{w}:", ("Instruction", "Input", "Output"), [task, SUM], "\n\n", None)) == [task, SUM]


def test_a_sample_in_an_instruction_without_input_stays_in_it() -> None:
    """Plain "Input: 2" above "Output: 4" is an example where fields are numbered."""
    told = "Write code.\nInput: 2\nOutput: 4"
    text = f"4. Instruction: {told}\n4. Output: x * 2\n\n{SUM_BLOCK}\n\n{HAIKU_BLOCK}"
    assert read(text) == [WholeTask(told, "", "x * 2"), SUM, HAIKU]


def test_the_first_word_of_an_instruction_may_be_another_name_of_it() -> None:
    """ "题目：" below the header "4. 任务：" belongs to the text; below a title it is the header."""
    text = "### 4. 任务：\n题目：1+1=？\n### 4. 输出：\n2\n\n### 5. 任务：\n题目：2+2=？\n### 5. 输出：\n4"
    assert [task.instruction for task in read(text)] == ["题目：1+1=？", "题目：2+2=？"]
    titled = "## Task 4\nTask: Name a river.\nOutput: The Nile.\n\n" + (
        "## Task 5\nTask: Add the numbers.\nInput: 2 and 3\nOutput: 5"
    )
    assert read(titled) == [RIVER, SUM]


# --- what belongs to an output --------------------------------------------------------------------------------------

OUTPUTS = [
    "### Summary\nRivers matter.\n\n### Details\nThey flow.",
    "# 1. Overview\ntext\n# 2. Details\ntext",
    "## 标题\n正文。\n\n## 结论\n完。",
    "first part\n\n###\n\nsecond part",
    "above\n\n---\n\nbelow",
    "Example:\nInput: [1, 2]\nOutput: 3",
    "Input: nums = [1, 2]\nOutput: 3\nExplanation: 1 + 2.",
    "输入：[1,2]\n输出：3",
    "```python\n# Input: a list\n# Output: a sum\n4. Instruction: no\n### x\n```\ndone",
    "```\nInstruction: a\nInput: b\nOutput: c\n```",
    "Question: What is it?\nAnswer: a bird.\n\nQuestion: And this?\nAnswer: a fish.",
    "题目：1+1=？\n答案：2\n\n题目：2+2=？\n答案：4",
    "Task 1: research\nTask 2: write\n\nTask 3: check",
    "1. Input: what goes in\n2. Output: what comes out",
    "Ingredients:\n- flour\n\nInstructions:\n1. Mix.\n2. Bake.",
    "原料：\n- 面粉\n\n指示：\n1. 搅拌。",
    "User: hi\nResponse: hello\nPrompt: more",
    "1. a\n2. b\n3. c",
    "Dear Ann,\n\nThank you.\n\n_____",
    "def f(x):\n    return x\n\nprint(f(1))\n# Output: 1",
    "5",
    "| a | b |\n| --- | --- |\n| 1 | 2 |",
    "Context: a shop\nContent: 内容：无",
]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("separator", ["\n\n###\n", "\n\n"])
@pytest.mark.parametrize("start", ["{n}. ", ""])
def test_an_output_keeps_what_looks_like_a_header_or_a_separator(output: str, separator: str, start: str) -> None:
    """Headings, samples, quizzes, plans, code and rules inside an output neither end it nor begin a task."""
    tasks = [WholeTask("Write it.", "", output), SUM, WholeTask("Write it again.", "x", output), HAIKU]
    assert read(dressed(start + "{w}:", ("Instruction", "Input", "Output"), tasks, separator, "<noinput>")) == tasks


def test_a_sample_in_an_input_does_not_end_it() -> None:
    """The header of the task's own number ends the input."""
    text = f"4. Instruction: Solve.\n4. Input:\nInput: 5\nOutput: ?\n4. Output:\n120\n\n###\n{SUM_BLOCK}"
    assert read(text) == [WholeTask("Solve.", "Input: 5\nOutput: ?", "120"), SUM]


def test_a_sample_in_an_instruction_does_not_take_the_place_of_the_fields() -> None:
    """In an answer without numbers the tag for no input shows which header is the field's."""
    text = "Instruction: Write code.\nExample:\nInput: 1\nOutput: 2\nInput: <noinput>\nOutput:\ncode\n\n" + (
        "Instruction: Add the numbers.\nInput: 2 and 3\nOutput: 5"
    )
    assert read(text) == [WholeTask("Write code.\nExample:\nInput: 1\nOutput: 2", "", "code"), SUM]


def test_the_dress_of_most_tasks_tells_fields_from_samples() -> None:
    """ "Output: 6" in an input is text where outputs are headed "- Output:"."""
    text = (
        "- Instruction: Explain.\n- Input: f(4)\nOutput: 6\n- Output: It adds.\n\n- Instruction: Add the numbers.\n"
        + ("- Input: 2 and 3\n- Output: 5")
    )
    assert read(text) == [WholeTask("Explain.", "f(4)\nOutput: 6", "It adds."), SUM]


def test_outputs_keep_markdown_breaks_and_indentation() -> None:
    """Nothing but blank lines and spaces around an output is taken off."""
    output = "**Bold** and `code`\n\n    indented\n\n\n- a\n  - b  \n\ttab"
    assert read(f"4. Instruction: Write.\n4. Output:\n\n{output}\n\n\n###\n{SUM_BLOCK}") == [
        WholeTask("Write.", "", output),
        SUM,
    ]


def test_fields_below_an_indented_header_are_moved_left_as_a_whole() -> None:
    """The list's indentation is not the output's, and code behind a header keeps its own."""
    text = "1. **Instruction**: Write a haiku.\n   **Output**:\n   old pond\n   a frog\n   splash\n\n" + (
        "2. **Instruction**: Write code.\n   **Output**: def f():\n       return 1"
    )
    assert read(text) == [HAIKU, WholeTask("Write code.", "", "def f():\n    return 1")]


def test_instructions_keep_their_lines_and_their_spaces() -> None:
    """Verse, code and options are as they were written; only white space at the ends of lines goes."""
    verse, code = "Go on:\n  a   river  flows\n\n- a\n- b", "Fix:\n```\nx  =1\n```"
    text = f"4. Instruction: {verse}  \n4. Output: The Nile.\n\n5. Instruction:\n{code}\n5. Output: x = 1"
    assert [task.instruction for task in read(text)] == [verse, code]


# --- separators, glue and chatter -----------------------------------------------------------------------------------


def test_one_missing_separator_glues_nothing() -> None:
    """Where all others have a separator, a task without one still begins at its instruction."""
    text = f"4. Instruction: Name a river.\n4. Output: The Nile.\n{SUM_BLOCK}\n\n###\n{HAIKU_BLOCK}"
    assert read(text) == [RIVER, SUM, HAIKU]


def test_an_output_with_all_three_headers_again_is_the_next_task() -> None:
    """Even in another dress and without separator."""
    text = "4. Instruction: Name a river.\n4. Input: <noinput>\n4. Output: The Nile.\n" + (
        "Instruction: Add the numbers.\nInput: 2 and 3\nOutput: 5\n###\n6. Instruction: Write a haiku.\n"
        f"6. Output:\n{HAIKU.output}"
    )
    assert read(text) == [RIVER, SUM, HAIKU]


def test_the_dress_may_change_within_an_answer() -> None:
    """Echoed demos in the prompt's form, then the model's own Markdown."""
    text = "1. Instruction: Name a river.\n1. Input: <noinput>\n1. Output: The Nile.\n###\n" + (
        "**2. Instruction:** Add the numbers.\n**2. Input:** 2 and 3\n**2. Output:** 5\n\n"
        f"### 3. Instruction\nWrite a haiku.\n### 3. Output\n{HAIKU.output}"
    )
    assert read(text) == [RIVER, SUM, HAIKU]


def test_plainer_tasks_among_numbered_ones_stay_apart() -> None:
    """A bold task, then a plain one, glued, in an answer that numbers the others."""
    bold = "**Instruction:** Name a river.\n**Output:** The Nile."
    plain = "Instruction: Add the numbers.\nInput: 2 and 3\nOutput: 5"
    assert read(f"{bold}\n{plain}\n\n{HAIKU_BLOCK}\n\n{SUM_BLOCK}\n\n{HAIKU_BLOCK}") == [RIVER, SUM, HAIKU, SUM, HAIKU]


def test_a_begun_instruction_may_begin_like_a_header() -> None:
    """ "题目：" at the start of a continued instruction is its text."""
    text = f"题目：1+1=？\n4. 输出：\n2\n\n###\n{HE_SUM_BLOCK}"
    assert read(text, continues=True) == [WholeTask("题目：1+1=？", "", "2"), HE_SUM]


def test_an_instruction_without_header_is_found_below_hashes() -> None:
    """Text between three hashes and an output is an instruction; chatter at the start is not."""
    text = "Here are the tasks you asked for.\n\nName a river.\nInput: <noinput>\nOutput: The Nile.\n###\n" + (
        "Add the numbers.\nInput: 2 and 3\nOutput: 5"
    )
    assert read(text) == [RIVER, SUM]


@pytest.mark.parametrize(
    "opening",
    [
        *("Sure, here are 2 tasks:\n\n", "Certainly! Below are 17 more tasks:\n\n---\n\n", "# Task list\n\n", "\ufeff"),
        *("好的，以下是10个任务：\n\n", "当然可以！以下是生成的任务：\n###\n", "以下是符合要求的任务指令：\n"),
    ],
)
@pytest.mark.parametrize(
    "closing",
    [
        *("\n\nLet me know if you need more tasks!", "\n\nI hope these tasks help.", "\n\n---\n\nEnd of tasks."),
        *(
            "\n\n希望这些任务对你有帮助！",
            "\n\n以上是10个任务，希望对你有帮助。",
            "\n\n（以上为生成的任务）",
            "\n###\n如果需要更多任务，请告诉我。",
        ),
        *("\n\nThese tasks cover a wide range.\n\nFeel free to ask for more!", "\n\n（完）", "\n\n[END]", ""),
        "\n\nThese tasks vary.\n\nThese tasks are new.\n\nI hope these help.\n\nLet me know if you need more tasks.",
    ],
)
def test_introductions_and_closings_are_no_text_of_a_task(opening: str, closing: str) -> None:
    """What a model says around its list is left out, in both languages."""
    text = opening + "4. Instruction: Name a river.\n4. Output: The Nile.\n\n###\n" + SUM_BLOCK + closing
    assert read(text) == [RIVER, SUM]


@pytest.mark.parametrize(
    "end",
    [
        "Please let me know if you have any questions.\n\nBest,\nBob",
        "Please let me know if you have any questions.",
        "I hope this helps!",
        "如有任何问题，请随时与我联系。",
        "If you have questions, please contact us.",
        "如果您有任何问题，请随时联系我们。",
        "Note: salt is optional.",
        "The End.",
    ],
)
def test_a_letter_or_a_note_that_ends_the_last_output_stays(end: str) -> None:
    """Leave taken inside an output, by its author and not by the model, is text."""
    output = f"Dear Ann,\n\nThanks.\n\n{end}"
    assert read(f"4. Instruction: Write.\n4. Output:\n{output}") == [WholeTask("Write.", "", output)]


@pytest.mark.parametrize("separator", ["###", "---", "=====", "##"])
@pytest.mark.parametrize(
    "remark",
    [
        "Here are some more:",
        "下面继续：",
        "(Continuing with other subjects.)",
        "（换一个题材。）",
        "## Part 2",
        "Task 5",
    ],
)
@pytest.mark.parametrize("closed", [True, False])
def test_a_remark_between_two_tasks_belongs_to_neither(separator: str, remark: str, closed: bool) -> None:
    """Between two separators, or between the answer's own and the next task."""
    between = f"\n{separator}\n{remark}\n{separator}\n" if closed else f"\n{separator}\n{remark}\n\n"
    river = "4. Instruction: Name a river.\n4. Output: The Nile."
    text = f"{river}\n{separator}\n{SUM_BLOCK}{between}{HAIKU_BLOCK}\n{separator}\n{SUM_BLOCK}"
    assert read(text) == [RIVER, SUM, HAIKU, SUM]


def test_a_remark_below_a_rule_of_the_output_stays() -> None:
    """Where blank lines part tasks, a rule and an aside below it are the output's."""
    output = "a total\n\n---\n\n(rounded)"
    text = f"4. Instruction: Add.\n4. Output:\n{output}\n\n{SUM_BLOCK}\n\n{HAIKU_BLOCK}"
    assert read(text) == [WholeTask("Add.", "", output), SUM, HAIKU]


def test_a_separator_may_be_glued_to_the_last_word() -> None:
    """ "5###" is 5; "## A ###" is a heading that closes itself."""
    heading = "## A ###"
    river = "4. Instruction: Name a river.\n4. Output: The Nile.###\n"
    text = f"{river}{SUM_BLOCK}###\n6. Instruction: a\n6. Output:\n{heading}"
    assert read(text) == [RIVER, SUM, WholeTask("a", "", heading)]


def test_a_rule_that_ends_an_output_stays_above_the_rule_that_parts() -> None:
    """One rule parts tasks; of two, the first is text, and so is one that is all the output."""
    text = f"4. Instruction: a\n4. Output:\nb\n\n---\n\n---\n\n{SUM_BLOCK}\n\n---\n\n{HAIKU_BLOCK}"
    assert read(text) == [WholeTask("a", "", "b\n\n---"), SUM, HAIKU]
    assert read(f"4. Instruction: a\n4. Output:\n---\n\n###\n{SUM_BLOCK}") == [WholeTask("a", "", "---"), SUM]


@pytest.mark.parametrize("fence", ["```", "```text", "````"])
def test_a_fence_around_each_task_is_taken_off_with_and_without_separators(fence: str) -> None:
    """Also when the headers carry no number, and the answer begins with talk."""
    river = "Instruction: Name a river.\nOutput: The Nile."
    numbers = "Instruction: Add the numbers.\nInput: 2 and 3\nOutput: 5"
    close = fence.rstrip("tex")
    for between in ("\n\n", "\n###\n"):
        text = f"Sure:\n\n{fence}\n{river}\n{close}{between}{fence}\n{numbers}\n{close}\n"
        assert read(text) == [RIVER, SUM]


@pytest.mark.parametrize("fence", ["```", "```text", "```markdown"])
def test_a_fence_around_the_answer_or_around_each_task_is_taken_off(fence: str) -> None:
    """Also when outputs hold fences of their own."""
    river, code = (
        "4. Instruction: Name a river.\n4. Output:\nThe Nile.",
        "5. Instruction: Code.\n5. Output:\n```\nx\n```",
    )
    expected = [RIVER, WholeTask("Code.", "", "```\nx\n```")]
    assert read(f"{fence}\n{river}\n###\n{code}\n```") == expected
    assert read(f"Sure:\n{fence}\n{river}\n###\n{code}\n```\nHope these help!") == expected
    assert read(f"{fence}\n{river}\n```\n\n{fence}\n{code}\n```") == expected


def test_only_the_fences_in_which_a_task_begins_are_taken_off() -> None:
    """Another fence above them is talk."""
    text = "Sure, like this:\n```\nx\n```\n\n```\nInstruction: Name a river.\nOutput: The Nile.\n```"
    assert read(text) == [RIVER]


@pytest.mark.parametrize("language", ["", "python"])
def test_a_fence_that_never_closes_hides_no_task(language: str) -> None:
    """One forgotten line of marks costs nothing."""
    broken, whole = f"```{language}\nprint(1", f"```{language}\nprint(1)\n```"
    text = f"4. Instruction: Fix.\n4. Input:\n{broken}\n4. Output:\n{whole}\n\n###\n{SUM_BLOCK}"
    assert read(text) == [WholeTask("Fix.", broken, whole), SUM]


def test_line_ends_and_invisible_characters_do_not_matter() -> None:
    """CRLF, zero-width space and byte order mark."""
    text = f"\ufeff4. Instruction: Name\u200b a river.\n4. Output: The Nile.\n\n###\n{SUM_BLOCK}\n"
    assert read(text.replace("\n", "\r\n")) == [RIVER, SUM]


# --- no input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    [
        *("<noinput>", "noinput", "no input", "<no input>", "No Input", "NoInput", "<no_input>", "No input needed."),
        *('""', "“”", "＜無輸入＞", "無", "沒有輸入", "&lt;noinput&gt;", "<no_input>"),
        *("N/A", "n/a", "None", "none.", "(none)", '"None"', "*None*", "-", "—", "[No Input]", ""),
        *(
            "无",
            "无。",
            "无输入",
            "<无输入>",
            "＜无输入＞",
            "没有输入",
            "无需输入",
            "不需要输入",
            "（无）",
            "空",
            "【无】",
        ),
    ],
)
def test_every_spelling_of_no_input_becomes_empty(spelling: str) -> None:
    """When it is all that the input says."""
    assert read(f"4. Instruction: Name a river.\n4. Input: {spelling}\n4. Output: The Nile.\n\n{SUM_BLOCK}") == [
        RIVER,
        SUM,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Berlin/Athens",
        "None of the above",
        "No input devices work.",
        "无人机",
        "空气",
        "无输入法",
        "[]",
        "{}",
        "0",
        "no",
    ],
)
def test_an_input_that_only_contains_such_a_word_stays(text: str) -> None:
    """ "Berlin/Athens" holds n/a and is an input."""
    assert read(f"4. Instruction: Sort.\n4. Input: {text}\n4. Output: x") == [WholeTask("Sort.", text, "x")]


# --- flaws ----------------------------------------------------------------------------------------------------------


def test_a_task_without_output_is_flawed_and_takes_nothing_from_its_neighbour() -> None:
    """Its reject reason is no_output."""
    text = f"4. Instruction: Name a river.\n4. Input: <noinput>\n\n###\n{SUM_BLOCK}\n\n###\n"
    assert read(text + "6. Instruction: Go.\n6. Output:\n\n###") == [
        WholeTask("Name a river.", "", "", "no_output"),
        SUM,
        WholeTask("Go.", "", "", "no_output"),
    ]


def test_a_task_without_instruction_is_flawed_and_takes_nothing_from_its_neighbour() -> None:
    """Its reject reason is no_instruction, whether the header is empty or missing."""
    missing = "4. Instruction: Name a river.\n4. Output: The Nile.\n5. Input: 2 and 3\n5. Output: 5"
    empty = "4. Instruction: Name a river.\n4. Output: The Nile.\n5. Instruction:\n5. Input: 2 and 3\n5. Output: 5"
    assert [read(missing), read(empty)] == [[RIVER, WholeTask("", "2 and 3", "5", "no_instruction")]] * 2


@pytest.mark.parametrize("told", ["...", "…", "___", "[ ]"])
def test_an_instruction_without_a_word_is_flawed(told: str) -> None:
    """A place that the model left for an instruction is none."""
    text = f"4. Instruction: {told}\n4. Input: ...\n4. Output: ...\n\n{SUM_BLOCK}"
    assert read(text) == [WholeTask(told, "...", "...", "no_instruction"), SUM]


def test_a_header_of_the_same_task_inside_its_output_is_a_flaw() -> None:
    """Two outputs of one task cannot be told apart: merged_tasks."""
    text = f"4. Instruction: Name a river.\n4. Output: The Nile.\n\n4. Output: The Rhine.\n\n{SUM_BLOCK}"
    assert read(text) == [WholeTask("Name a river.", "", "The Nile.\n\n4. Output: The Rhine.", "merged_tasks"), SUM]


def test_an_instruction_that_the_prompt_began_and_nobody_answered_is_flawed() -> None:
    """In a completion the text is an instruction; in a chat answer it is talk."""
    text = f"Name a river.\n\n{SUM_BLOCK}"
    assert read(text, continues=True) == [WholeTask("Name a river.", "", "", "no_output"), SUM]
    assert read(text) == [SUM]


@pytest.mark.parametrize(
    "text", ["", "  \n", "I'm sorry, but I can't help with that.", "抱歉，我无法完成。", "###\n###", "4. Instruction:"]
)
@pytest.mark.parametrize("continues", [True, False])
def test_an_answer_without_tasks_is_a_parse_error(text: str, continues: bool) -> None:
    """The reject reason is no_tasks."""
    assert reason(text, continues=continues) == "no_tasks"


# --- cut answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("", [RIVER, WholeTask("Add the numbers.", "2 and 3", "5", "truncated")]),
        ("\n\n###\n6.", [RIVER, SUM]),
        ("\n\n###\n6. Instruction:", [RIVER, SUM]),
        ("\n\n###\n", [RIVER, SUM]),
        ("\n\n###", [RIVER, WholeTask("Add the numbers.", "2 and 3", "5", "truncated")]),
        ("\n\n---\n", [RIVER, WholeTask("Add the numbers.", "2 and 3", "5", "truncated")]),
        ("\n\n## A\n", [RIVER, WholeTask("Add the numbers.", "2 and 3", "5\n\n## A", "truncated")]),
        ("\n6", [RIVER, WholeTask("Add the numbers.", "2 and 3", "5\n6", "truncated")]),
        ("\n6. Instr", [RIVER, SUM]),
        ("\n\n###\n6. Instruction: Wri", [RIVER, SUM, WholeTask("Wri", "", "", "truncated")]),
        ("\n\n###\n6. Instruction: Go.\n6. Inp", [RIVER, SUM, WholeTask("Go.\n6. Inp", "", "", "truncated")]),
    ],
)
def test_a_cut_answer_flaws_its_last_task_unless_it_had_gone_on(end: str, expected: list[WholeTask]) -> None:
    """The next header, once begun, shows that the task before it is whole."""
    text = f"4. Instruction: Name a river.\n4. Output: The Nile.\n\n###\n{SUM_BLOCK}{end}"
    assert read(text, truncated=True) == expected


@pytest.mark.parametrize(("end", "flaw"), [("## Task 6\n", None), ("## Task 6\n- Ins", None), ("## Ta", "truncated")])
def test_the_title_of_the_next_task_shows_that_the_last_one_is_whole(end: str, flaw: str | None) -> None:
    """Where every task has a title, a whole line of it is as good as a header."""
    river = "## Task 4\n- Instruction: Name a river.\n- Output: The Nile.\n\n"
    numbers = "## Task 5\n- Instruction: Add the numbers.\n- Input: 2 and 3\n- Output: 5"
    last = read(f"{river}{numbers}\n\n{end}", truncated=True)[-1]
    assert (last.instruction, last.flaw) == ("Add the numbers.", flaw)


LONG = [
    RIVER,
    SUM,
    WholeTask("Explain.", "[1]\n[2]", "## Steps\n1. a\n2. b\n\n```\n# x\nInput: 3\n```\n\nDone."),
    HAIKU,
]


@pytest.mark.parametrize("header", ["{n}. {w}:", "**{w}:**", "### {n}. {w}", "{w}", "{w} {n}：", "- {w}:"])
@pytest.mark.parametrize("separator", ["\n\n###\n", "\n\n---\n\n", "\n"])
def test_an_answer_cut_anywhere_gives_whole_tasks_and_at_most_one_flawed(header: str, separator: str) -> None:
    """At every character the tasks before the cut are exact, and the cut one is flawed."""
    text = dressed(header, ("Instruction", "Input", "Output"), LONG, separator, "<noinput>")
    for cut in range(len(text)):
        try:
            tasks = read(text[:cut], truncated=True)
        except ParseError:
            tasks = []
        whole = [task for task in tasks if not task.flaw]
        assert whole == LONG[: len(whole)]
        assert tasks[len(whole) :] == tasks[-1:] or len(tasks) == len(whole)


# --- any tasks in any style -----------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    "sort the list of old towns by name 把 句子 改 写 成 一段话 river 7 (a) x=1 *so* 、 ok?".split()
)
SENTENCE = st.lists(WORDS, min_size=1, max_size=8).map(lambda words: "Do " + " ".join(words) + ".")
PIECE = st.one_of(SENTENCE, st.sampled_from([output for output in OUTPUTS if output != "5"]))
OUTPUT = st.lists(PIECE, min_size=1, max_size=3).map("\n\n".join)
TASK = st.builds(
    WholeTask, SENTENCE, st.one_of(st.just(""), SENTENCE, st.lists(SENTENCE, max_size=3).map("\n".join)), OUTPUT
)


@settings(max_examples=150, deadline=None)
@given(
    tasks=st.lists(TASK, min_size=1, max_size=5),
    header=st.sampled_from([*ENGLISH_HEADERS[:2], *ENGLISH_HEADERS[9:13], "### {n}. {w}:", "{w} {n}:"]),
    separator=st.sampled_from(["\n\n###\n", "\n##\n", "\n\n---\n\n", "\n\n"]),
    names=st.sampled_from([("Instruction", "Input", "Output"), ("指令", "输入", "输出")]),
    none=st.sampled_from(["<noinput>", "None", "无", None]),
)
def test_any_tasks_in_any_numbered_style_are_read_back(
    tasks: list[WholeTask], header: str, separator: str, names: tuple[str, str, str], none: str | None
) -> None:
    """Whatever the outputs hold, numbered headers give exactly the tasks that were written."""
    assert read(dressed(header, names, tasks, separator, none)) == tasks


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "4. ",
                "Instruction",
                "Input",
                "Output:",
                "指令：",
                "输出",
                "\n",
                "\n\n",
                "###",
                "---",
                "```",
                "5.",
                " ",
                "a",
                "**",
                "Task 5",
            ]
        ),
        max_size=30,
    ).map("".join),
    st.booleans(),
    st.booleans(),
)
@example("\n", True, True)
@example("Output:", True, True)
def test_no_text_raises_anything_but_parse_error(text: str, truncated: bool, continues: bool) -> None:
    """Any jumble of marks gives at least one task, of which only flawed ones may lack a field, or a ParseError."""
    try:
        tasks = task_blocks(text, truncated=truncated, continues=continues)
    except ParseError as error:
        assert error.reason == "no_tasks"
    else:
        assert tasks
        assert all(task.flaw or (task.instruction and task.output) for task in tasks)


# --- hostile text ---------------------------------------------------------------------------------------------------

SIZE = 100_000
REPEATED = [
    *(
        " ",
        "\n",
        "#",
        "###\n",
        "## x\n",
        "1. ",
        "1.\n",
        "Input:\n",
        "Output:\n",
        "Instruction:\n",
        "```\n",
        "```x\n",
        "---\n",
    ),
    *(
        "Instruction: a\nOutput:\n",
        "Instruction: a\nInput: b\nOutput: c\n",
        "4. Instruction: a 4. Input: ",
        "Output:\n###\n",
    ),
    *("Output: a\n1. b\nInput: c\n", "4. Output: x\n5. Input: y\n", "a ###4. Instruction: ", "```\n```\n", "- Input\n"),
    *(
        "## a\n###\n",
        "Here are more:\n---\n",
        "(a)\n\n",
        "a 5. Instruction: b 5. Output: ",
        "輸入：",
        "Input: a\nOutput: b\n",
    ),
    *("Output: a\n\nlet me know if you need more tasks\n\n", "Task 1\n", "以上任务\n\n", "no input ", "**", "任务4："),
    *("{'", "“", "{“a”：“", '"[{', "'\\"),
    *("[", "{", '{"a":', '[{"a":"', "\\", '"', "[ ", '{"instruction":1,', "[[1],", '{"instruction":"a"}'),
]
ALONE = [
    "Instruction" + " " * SIZE + ":",
    "4" + " " * SIZE + "Instruction:",
    "Instruction: a\nInput: <" + " " * SIZE + "noinput>\nOutput: b",
    "Instruction: a\nOutput: b\n" + "x\n" * (SIZE // 4) + "Input:\n" * (SIZE // 14),
    "Instruction: a\nOutput: b\n" + "\n---\n" * (SIZE // 5),
    "Instruction: a\nOutput: b\n" + "## c\n###\n" * (SIZE // 9),
    "Instruction: a\nOutput: b\n" + "```\n## c\n" * (SIZE // 9),
    "Instruction: a\nOutput: b\n" + "\n\nlet me know if you need more tasks" * (SIZE // 36),
    "4. Instruction: a" + " 4. Input: b" * (SIZE // 12),
    '{"instruction":"' + "\\" * SIZE,
]
READERS = """
READERS = [
    lambda text: parsing.task_blocks(text, truncated=True, continues=True),
    lambda text: parsing.task_array(text, truncated=True),
]
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on processor time")
def test_hostile_answers_end_within_a_generous_limit_of_processor_time() -> None:
    """100 kB of each piece that the two readers of whole tasks like least: they need a small part of the limit."""
    read_in_time(REPEATED, SIZE, ALONE, READERS)
