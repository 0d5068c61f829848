"""Chinese answers to the Chinese prompts: verdicts, lists and worked examples as chat models write them."""

from __future__ import annotations

import pytest

from selfinstruct.errors import ParseError
from selfinstruct.parsing import classification_instances, generation_instances, task_list, yes_no

# --- verdicts -------------------------------------------------------------------------------------------------------

YES = [
    *("是", "是。", "是的", "是的。", "**是**", "“是”", "【是】", "Yes", "对", "对的。", "对，有固定的选项"),
    *("答案：是", "答案是：是", "答案是“是”。", "判断结果：是", "答：是。", "<is_classification> 是", "分类任务：是"),
    *("是分类任务", "属于分类任务。", "属于。", "是一道分类题", "是（分类任务）", "是，属于情感分类"),
    *(
        "这是分类任务。",
        "它是分类任务",
        "这属于分类任务",
        "这是个分类任务。",
        "这明显是一个分类任务",
        "此任务属于分类任务",
    ),
    *(
        "该任务属于文本分类任务。",
        "这条任务是一个典型的分类任务。",
        "这道题属于分类任务",
        "我认为是",
        "我认为这是分类任务。",
    ),
    *(
        "因为只能从几类里选，所以是。",
        "分析：答案只有三种。\n\n所以是分类任务。",
        "这是分类任务吗？是",
        "是不是分类任务？是的",
    ),
    *("不是生成任务，是分类任务。", "是\n\n解释：答案只有好评和差评两种，不是开放写作。"),
]
NO = [
    *("否", "否。", "不是", "不是的。", "**否**", "“否”", "【否】", "No", "不", "不对", "不，要自己写"),
    *(
        "答案：否",
        "答案为：否",
        "结论：否",
        "答：不是。",
        "是否为分类任务？否",
        "是否是分类任务：否",
        "是否属于分类任务：不属于",
    ),
    *("不属于", "不属于分类任务。", "非分类任务", "不算", "不是一个分类任务，答案要自己写", "否（需要计算）"),
    *(
        "这不是分类任务",
        "它并不是分类任务。",
        "这并非分类任务",
        "这条任务不是分类任务",
        "这个任务不算分类任务",
        "我认为不是",
    ),
    *("该任务不属于分类任务，而是写作。", "这是写作任务，不属于分类任务。", "这是开放式写作，因此不是分类任务。"),
    *("这是分类任务吗？不是。", "属不属于分类任务？不属于", "否\n\n解释：它要写一首诗，不是从几类里选。"),
]
UNKNOWN = [
    *(
        "",
        "是或否",
        "是还是否",
        "是，也不是",
        "是否",
        "是不是分类任务",
        "是否为分类任务",
        "这是分类任务吗？",
        "属于分类任务吗？",
    ),
    *(
        "不确定",
        "不好说",
        "可能是",
        "也许不是",
        "大概是的",
        "不一定是",
        "可能属于分类任务",
        "无法判断",
        "取决于选项，是",
    ),
    *("是写作任务", "属于写作任务", "是非题", "如果答案固定，就是分类任务", "不是所有任务都是分类任务", "分类任务"),
    *("抱歉，我无法回答", "好的，请提供任务", "你说得对不对", "不属于写作任务", "非常好"),
]


@pytest.mark.parametrize("text", YES)
def test_a_chinese_yes_is_a_yes(text: str) -> None:
    """The word alone, a label before it, a sentence that states it, a reason behind it."""
    assert yes_no(text) is True


@pytest.mark.parametrize("text", NO)
def test_a_chinese_no_is_a_no(text: str) -> None:
    """The same ways; 不属于 is not read as 属于, nor 是否 as 是."""
    assert yes_no(text) is False


@pytest.mark.parametrize("text", UNKNOWN)
def test_any_other_chinese_is_no_verdict(text: str) -> None:
    """Doubt, a question, both, or another statement: asked again rather than taken as a no."""
    with pytest.raises(ParseError, match="unknown_verdict"):
        yes_no(text)


# --- lists ----------------------------------------------------------------------------------------------------------

TASKS = ["给楼下的理发店写一句开业贺词。", "为什么井水冬暖夏凉？", "把这段话里的成语都找出来。"]
HAN = ["九", "十", "十一"]
FORMS = [
    *("<task {n}> {t}", "<task {n}>{t}", "**<task {n}>** {t}", "<任务{n}> {t}", "【任务{n}】{t}", "＜任务 {n}＞{t}"),
    *("{n}. {t}", "{n}.{t}", "{n}、{t}", "{n}．{t}", "{n}）{t}", "（{n}）{t}", "({n}) {t}", "- {t}", "第{n}题：{t}"),
    *("任务{n}：{t}", "任务 {n}：{t}", "**任务{n}：** {t}", "**任务{n}**：{t}", "### 任务{n}：{t}", "### 任务{n}\n{t}"),
    *("{h}、{t}", "（{h}）{t}", "{h}．{t}", "任务{h}：{t}", "**{h}、** {t}", "### 任务{h}\n{t}", "第{h}条：{t}"),
    *("{c}{t}", "{c} {t}", "{n}. 指令：{t}", "指令{n}：{t}"),
]
OPENINGS = [
    *(
        "",
        "好的，以下是3个新任务：\n\n",
        "好的！我来补充几个任务。\n\n",
        "没问题，这是新增的任务：\n",
        "当然可以！\n\n",
    ),
    *("好的\n\n", "明白了，接下来的任务如下：\n\n", "新任务：\n", "为您准备的任务如下：\n\n"),
]
CLOSINGS = [
    *("", "\n\n希望这些任务对你有帮助！", "\n\n以上就是新的任务，希望能帮到您。", "\n\n如果您需要更多任务，请告诉我。"),
    *(
        "\n\n需要我继续写吗？",
        "\n\n这些任务涵盖了生活、科学和语文。",
        "\n\n若需要更多，请随时说。",
        "\n---\n以上任务题材各异。",
    ),
]


def written(form: str) -> str:
    """The three tasks in a form, as the ninth to the eleventh."""
    rows = enumerate(zip(TASKS, HAN, "⑨⑩⑪", strict=True), 9)
    return "\n".join(form.format(n=n, h=h, c=c, t=task) for n, (task, h, c) in rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("continues", [True, False])
def test_a_chinese_list_is_read_whatever_counts_it(form: str, continues: bool) -> None:
    """Our tags, tags in Chinese, Arabic and Chinese numerals, brackets, circles, labels, headings, bullets."""
    assert [item.text for item in task_list(written(form), truncated=False, continues=continues)] == TASKS


@pytest.mark.parametrize("form", ["<task {n}> {t}", "{n}、{t}", "**任务{n}：** {t}", "{h}、{t}", "- {t}"])
@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("closing", CLOSINGS)
def test_what_chinese_models_say_around_a_list_is_no_task(form: str, opening: str, closing: str) -> None:
    """Greetings and announcements before it, good wishes and offers behind it."""
    answer = opening + written(form) + closing
    assert [item.text for item in task_list(answer, truncated=False, continues=False)] == TASKS


@pytest.mark.parametrize(
    "begun", ["这是一份任务清单，请按急缓重排：", "如果没有闹钟，人怎样按时起床？", "好的名片要写哪些内容？"]
)
def test_a_begun_task_that_opens_like_chatter_is_kept(begun: str) -> None:
    """Text that continues the prompt's open line is a task unless it plainly greets or announces."""
    answer = f" {begun}\n<task 10> {TASKS[0]}"
    assert [item.text for item in task_list(answer, truncated=False)] == [begun, TASKS[0]]


@pytest.mark.parametrize("heading", ["{h}、{k}", "（{h}）{k}", "**{h}、{k}**", "### {h}、{k}", "{h}、{k}："])
@pytest.mark.parametrize("restarts", [True, False])
def test_chinese_numerals_over_numbered_tasks_are_headings(heading: str, restarts: bool) -> None:
    """They count kinds, not tasks."""
    parts = [
        heading.format(h=h, k=kind) + f"\n{1 if restarts else n}. {task}"
        for n, (h, kind, task) in enumerate(zip("一二三", ("生活", "科学", "语文"), TASKS, strict=True), 1)
    ]
    assert [item.text for item in task_list("\n\n".join(parts), truncated=False, continues=False)] == TASKS


def test_chinese_numerals_inside_a_task_are_its_own() -> None:
    """Below a task's own words, and below a tag, they count nothing."""
    rules = "写一份值班表，要求：\n一、每天两人；\n二、周末轮换；\n三、节日另排。"
    texts = [" ".join(rules.split()), TASKS[1]]
    assert [i.text for i in task_list(f"{rules}\n10. {TASKS[1]}", truncated=False)] == texts
    assert [i.text for i in task_list(f"<task 9> {rules}\n<task 10> {TASKS[1]}", truncated=False)] == texts


@pytest.mark.parametrize(
    ("tail", "cut"),
    [("三、把这段", "把这段"), ("三、", ""), ("【任务11】把这段", "把这段"), ("【任务1", ""), ("【任", None)],
)
def test_a_chinese_list_cut_by_the_token_limit_loses_only_its_last_task(tail: str, cut: str | None) -> None:
    """What was begun is marked; a mark that says nothing yet is none."""
    marks = ("一、", "二、") if tail.startswith("三") else ("【任务9】", "【任务10】")
    answer = "\n".join(mark + task for mark, task in zip(marks, TASKS, strict=False)) + "\n" + tail
    items = [(item.text, item.cut) for item in task_list(answer, truncated=True, continues=False)]
    if cut is None:  # too short to know: it belongs to the last task, which is given up
        assert items == [(TASKS[0], False), (f"{TASKS[1]} {tail}", True)]
    else:
        assert items == [(task, False) for task in TASKS[:2]] + ([(cut, True)] if cut else [])


# --- worked examples ------------------------------------------------------------------------------------------------

PAIRS = [("三斤苹果，每斤六元", "18元"), ("两斤梨，每斤四元五角", "9元")]
GENERATED = [
    *("<example {n}>\n<input>\n{i}\n<output>\n{o}", "<example {n}>\n<input>：{i}\n<output>：{o}"),
    *(
        "<example {n}>\n输入：{i}\n输出：{o}",
        "<示例{n}>\n<输入>\n{i}\n<输出>\n{o}",
        "【示例{n}】\n【输入】{i}\n【输出】{o}",
    ),
    *("<例子{n}>\n<输入>{i}</输入>\n<输出>{o}</输出>", "＜example {n}＞\n＜input＞\n{i}\n＜output＞\n{o}"),
    *("示例{n}：\n输入：{i}\n输出：{o}", "例子{n}：\n输入：{i}\n输出：{o}", "例{n}：\n输入：{i}\n输出：{o}"),
    *("例{h}\n输入：{i}\n输出：{o}", "示例{h}：\n输入：{i}\n输出：{o}", "第{n}个例子：\n输入：{i}\n输出：{o}"),
    *("案例{n}：\n输入：{i}\n输出：{o}", "示例（{n}）：\n输入：{i}\n输出：{o}", "示例 {n}\n输入：\n{i}\n输出：\n{o}"),
    *("**示例{n}**\n\n**输入：** {i}\n\n**输出：** {o}", "**示例{n}：**\n**输入**：{i}\n**输出**：{o}"),
    *("### 示例{n}\n- 输入：{i}\n- 输出：{o}", "#### 例{h}\n\n**输入**\n\n{i}\n\n**输出**\n\n{o}"),
    *(
        "{n}. 输入：{i}\n   输出：{o}",
        "{n}、输入：{i}\n输出：{o}",
        "（{n}）输入：{i}\n输出：{o}",
        "输入{n}：{i}\n输出{n}：{o}",
    ),
    *(
        "示例{n}：\n材料：{i}\n答案：{o}",
        "输入内容：{i}\n输出结果：{o}",
        "示例{n}：输入：{i}\n输出：{o}",
        "输入：{i} 输出：{o}",
    ),
    *("输入：{i}。输出：{o}", "输入: {i}\n输出: {o}"),
]
REVIEWS = [("鞋底软，走一天也不累。", "好评"), ("收到时盒子是破的。", "差评")]
LABELLED = [
    *("<example {n}>\n<label>\n{o}\n<input>\n{i}", "<标签>\n{o}\n<输入>\n{i}", "【标签】{o}\n【输入】{i}"),
    *("示例{n}：\n标签：{o}\n输入：{i}", "例子{n}：\n类别：{o}\n输入：{i}", "示例{h}：\n标签：{o}\n输入：{i}"),
    *("**示例{n}**\n**标签：** {o}\n**输入：** {i}", "**标签**：{o}\n**材料**：{i}", "- 标签：{o}\n- 输入：{i}"),
    *(
        "类别标签：{o}\n{i}",
        "分类标签：{o}\n输入：{i}",
        "分类结果：{o}\n输入：{i}",
        "分类：{o}\n输入：{i}",
        "答案：{o}\n输入：{i}",
    ),
    *("输入：{i}\n标签：{o}", "示例{n}：\n输入：{i}\n输出：{o}"),
]
FAREWELLS = ["", "\n\n希望这些例子对您有帮助！", "\n\n如果需要更多示例，请告诉我。"]


def pairs(form: str, of: list[tuple[str, str]]) -> str:
    """The two examples in a form."""
    rows = enumerate(zip(of, "一二", strict=True), 1)
    return "\n\n".join(form.format(n=n, h=h, i=given, o=output) for n, ((given, output), h) in rows)


@pytest.mark.parametrize("form", GENERATED)
@pytest.mark.parametrize("greeting", ["", "好的，以下是两个例子：\n\n"])
@pytest.mark.parametrize("farewell", FAREWELLS)
def test_chinese_examples_are_read_whatever_labels_them(form: str, greeting: str, farewell: str) -> None:
    """Our tags, the same in Chinese or between full-width brackets, and the labels models write instead."""
    found = generation_instances(greeting + pairs(form, PAIRS) + farewell, truncated=False)
    wanted = [(given + "。" * form.startswith("输入：{i}。"), output) for given, output in PAIRS]
    assert [(example.input, example.output) for example in found] == wanted


@pytest.mark.parametrize("form", LABELLED)
@pytest.mark.parametrize("greeting", ["", "好的，以下是两个例子：\n\n"])
@pytest.mark.parametrize("farewell", [*FAREWELLS, "\n\n以上例子覆盖了两种标签。"])
def test_chinese_labelled_examples_are_read_in_either_order(form: str, greeting: str, farewell: str) -> None:
    """Label first as asked, or last."""
    found = classification_instances(greeting + pairs(form, REVIEWS) + farewell, truncated=False)
    assert [(example.input, example.output) for example in found] == REVIEWS


@pytest.mark.parametrize(
    "nothing",
    [
        *("无", "无。", "（无）", "【无】", "“无”", "<无>", "无输入", "<无输入>", "＜无输入＞", "没有输入", "无需输入"),
        *(
            "不需要输入",
            "无需提供输入",
            "无需额外输入",
            "无材料",
            "不需要材料",
            "此任务无需输入",
            "该任务不需要输入。",
            "暂无",
        ),
        *("不适用", "（空）", "【空】", "无（任务本身已说明）", "（此任务不需要输入）", "None", "N/A"),
    ],
)
def test_chinese_ways_to_say_no_input_are_an_empty_input(nothing: str) -> None:
    """The word of our prompt, and what models write for it."""
    (example,) = generation_instances(f"<example 1>\n<input>\n{nothing}\n<output>\n好。", truncated=False)
    assert (example.input, example.output) == ("", "好。")


@pytest.mark.parametrize(
    "given", ["无锡", "无所谓", "空", "空调坏了", "没有", "无需输入密码就能进", "材料不全", "无（wú）字怎么写"]
)
def test_inputs_that_begin_like_no_input_are_kept(given: str) -> None:
    """Only the whole text says that there is none."""
    (example,) = generation_instances(f"<example 1>\n<input>\n{given}\n<output>\n好。", truncated=False)
    assert example.input == given


def test_chinese_labels_inside_our_tags_are_text() -> None:
    """Where our tags stand they alone delimit; so do Chinese tags beside plain labels."""
    output = "【输入】一格\n输出：另一格\n例1：红"
    (example,) = generation_instances(f"<input>\n示例1：\n输入：甲\n<output>\n{output}", truncated=False)
    assert (example.input, example.output) == ("示例1：\n输入：甲", output)
    (example,) = generation_instances("【输入】甲\n【输出】先写：\n输出：乙", truncated=False)
    assert (example.input, example.output) == ("甲", "先写：\n输出：乙")
