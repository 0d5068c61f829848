"""OutputChecks: outputs that are no answers are dropped, and honest ones that look like them are kept."""

from __future__ import annotations

import pytest

from selfinstruct.filters.output_checks import OutputChecks
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Provenance, TaskInstance

ROW = "The river is wide, the bridge is old, and nobody crosses it after dark. "
LETTER = "Dear neighbour, the lift stays shut on Monday because the engineer changes both cables and the motor. "


def _task(output: str, instruction: str = "Do as you are told.", input: str = "", label: bool = False) -> TaskInstance:
    return TaskInstance(
        id="instances-0-0-0",
        provenance=Provenance(),
        instruction=instruction,
        input=input,
        output=output,
        lang="en",
        is_classification=label,
    )


def _reason(task: TaskInstance, checks: OutputChecks | None = None) -> str | None:
    drop = (checks or OutputChecks()).check(task)
    return drop.reason if drop else None


# --- nothing there, or not text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "output",
    ["", " ", "\n\t \r\n", "\u3000", "\u200b\ufeff", "```\n```", "```python\n\n```", "```c++\n```", "  ``````  "],
)
def test_an_output_with_nothing_visible_is_empty(output: str) -> None:
    """Whitespace, invisible characters and a code fence around nothing are no output."""
    assert OutputChecks().check(_task(output)) == Drop("empty_output")


@pytest.mark.parametrize("output", ["0", "?", ".", "🙂", "no", "是", "```\n1\n```", "```1```", "{}", "[]", "-"])
def test_a_short_output_is_not_empty(output: str) -> None:
    """One visible character can be the whole answer."""
    assert OutputChecks().check(_task(output)) is None


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("A\x00B", "U+0000"),
        ("The price is \ufffd5.", "U+FFFD"),
        ("y = \x0crac{1}{2}", "U+000C"),
        ("\x1b[31mred\x1b[0m", "U+001B"),
        ("caf\x83", "U+0083"),
        ("one\rtwo", "U+000D"),
        ("ring\x07", "U+0007"),
    ],
)
def test_a_stray_character_is_named(output: str, found: str) -> None:
    """Control characters and the mark of broken decoding show a damaged text, in the output or in the input."""
    assert OutputChecks().check(_task(output)) == Drop("control_characters", f"{found} in the output")
    assert OutputChecks().check(_task("Fine.", input=output)) == Drop("control_characters", f"{found} in the input")


@pytest.mark.parametrize("output", ["a\tb", "a\nb", "a\r\nb", "naïve 中文 🙂", "👩\u200d🔬", "x\u00a0y"])
def test_tabs_line_ends_and_any_script_are_text(output: str) -> None:
    """Neither line ends of any system nor joined emoji are stray."""
    assert OutputChecks().check(_task(output)) is None


# --- placeholders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [False, True])
@pytest.mark.parametrize(
    "output",
    [
        *("No output", "<nooutput>", "<no output>", "no-output.", "No output required", "NO INPUT", "<noinput>"),
        *("No answer given.", "[output]", "<Your answer here>", "{insert output here}", "(blank)", "[Output]:"),
        *(
            "无输出",
            "<无输出>",
            "没有输入。",
            "【答案】",
            "（请输入答案）",
            "无需输出",
            "无需输出。",
            "<无输入>",
            "不需要输出",
            "無輸出",
        ),
        *(
            "略",
            "（略）",
            "省略",
            "此处省略。",
            "（此处省略）",
            "内容略",
            "在此处填写",
            "请在此处填写答案",
            "在此处输入您的回答",
        ),
        *("<nooutput> - no images here", "<No Output: a chart is asked for.>", "<无输出>（需要画图）"),
        *("[在此处插入内容]", "（待补充）", "【待填写】", "[您的答案]", "暂无数据", "没有内容", "請在此處填寫答案"),
    ],
)
def test_a_placeholder_is_no_answer(output: str, label: bool) -> None:
    """These stand where an answer should, in any case and punctuation, and are no label either."""
    assert OutputChecks().check(_task(output, label=label)) == Drop("not_available", output)


@pytest.mark.parametrize(
    "output",
    [
        *("N/A", "n/a.", "NA", "n. a.", "None", "none.", "<none>", "None given", "Not applicable", "not-applicable"),
        *("Not available!", "无", "无。", "不适用", "暂无", "Ｎ／Ａ", "無", "暫無", "不適用。", "【无】", "未提供"),
    ],
)
def test_not_available_is_no_answer_but_can_be_a_label(output: str) -> None:
    """A class may well be called "none"; only where no class is asked for is it a refusal to answer."""
    assert OutputChecks().check(_task(output)) == Drop("not_available", output)
    assert OutputChecks().check(_task(output, label=True)) is None


@pytest.mark.parametrize(
    "output",
    [
        *("None of the three is prime.", "N/A means not applicable.", "The output is 5.", "Output", "answer", "Blank"),
        *("No", "No input was needed, so I wrote one.", "Nan", "Nah", "Na", "Na.", "None, none, and one.", "nonesuch"),
        *(
            "没有",
            "无人驾驶",
            "答案是五。",
            "输出",
            "[1, 2]",
            "(output)put",
            "<b>output</b> and more",
            "空",
            "没有变化。",
        ),
        *(
            "无生命",
            "无法判断",
            "省略号",
            "策略",
            "略有不同",
            "请在此处签字，并写上日期。",
            "战略",
            "省略主语",
            "无内容审查的论坛",
        ),
        *(
            "无需输出设备也能运行。",
            "[苹果，梨]",
            "《无题》",
            "此处省略的是主语“我”。",
            "尊敬的[您的姓名]：\n\n恭喜您获奖。",
        ),
    ],
)
def test_an_answer_that_only_contains_such_words_is_kept(output: str) -> None:
    """The whole output has to be the placeholder; "Na" is sodium and "Output" the opposite of input."""
    assert OutputChecks().check(_task(output)) is None


def test_a_tag_that_a_page_had_escaped_is_a_placeholder_too() -> None:
    """Published data holds &lt;noinput&gt; where a web page stood between model and file."""
    assert OutputChecks().check(_task("&lt;无输出&gt;")) == Drop("not_available", "<无输出>")
    assert OutputChecks().check(_task("a &lt; b")) is None


@pytest.mark.parametrize(
    ("output", "mark"),
    [
        ("春天来了。（此处省略500字）最后，花谢了。", "（此处省略500字）"),
        ("第一章\n[以下此处省略]\n第三章", "[以下此处省略]"),
        ("春天來了。（此處省略）", "（此處省略）"),
        ("他没有说，此处省略一万字。", None),
        ("括号（省略号）表示没有说完。", None),
    ],
)
def test_a_part_said_to_be_left_out_is_told(output: str, mark: str | None) -> None:
    """In brackets it is the writer who leaves something out; without them it may be a joke."""
    assert OutputChecks().check(_task(output)) == (Drop("not_available", mark) if mark else None)


# --- echoes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instruction", "input", "output"),
    [
        pytest.param("Sort the words.", "plum fig pear", "plum fig pear", id="input"),
        pytest.param("Sort the words.", "plum fig pear\n", "  plum fig pear", id="input, other outer whitespace"),
        pytest.param("翻译成法语。", "今天下雨。", "今天下雨。", id="Chinese input"),
        pytest.param("Translate to French.", "It rains.\nStay in.", "It rains.\nStay in.", id="input of two lines"),
    ],
)
def test_an_output_equal_to_the_input_is_an_echo(instruction: str, input: str, output: str) -> None:
    """Self-Instruct calls an instance whose input equals its output invalid."""
    assert OutputChecks().check(_task(output, instruction, input)) == Drop("echo", "of the input")


@pytest.mark.parametrize(
    ("instruction", "output"),
    [
        pytest.param("Name a river in Spain.", "Name a river in Spain.", id="as it is"),
        pytest.param("Name a river in Spain.", "name a river in spain", id="case and full stop"),
        pytest.param("Name a river in Spain.", '"Name a river\nin Spain"', id="quotes and a line end"),
        pytest.param("写一首关于雨的诗。", "写一首关于雨的诗", id="Chinese"),
        pytest.param("写一首关于雨的诗：", "写一首关于雨的诗！", id="Chinese, other punctuation"),
        pytest.param("用ＡＢＣ造句。", "用abc造句", id="full-width letters"),
        pytest.param("请问，“画蛇添足”是什么意思？", '请问,"画蛇添足"是什么意思?', id="ASCII punctuation"),
        pytest.param("《红楼梦》的作者是谁？", "红楼梦的作者是谁", id="no book-title marks"),
    ],
)
def test_an_output_equal_to_the_instruction_is_an_echo(instruction: str, output: str) -> None:
    """Case, punctuation and whitespace do not make an answer of a question."""
    assert OutputChecks().check(_task(output, instruction)) == Drop("echo", "of the instruction")


@pytest.mark.parametrize(
    ("instruction", "input", "output"),
    [
        ("Add the missing commas.", "We bought figs plums and pears", "We bought figs, plums, and pears"),
        ("Write it in capitals.", "mind the gap", "MIND THE GAP"),
        ("Add a full stop.", "The dog sleeps", "The dog sleeps."),
        ("Put the spaces back.", "mindthegap", "mind the gap"),
        ("Pretty-print the list.", "[3,1,2]", "[3, 1, 2]"),
        ("加上标点。", "天黑了快回家", "天黑了，快回家。"),
        ("Give the absolute value.", "5", "5"),
        ("Reverse the word.", "level", "level"),
        ("Is the sentence correct? Answer with the sentence.", "It rain.", "It rains."),
        ("Repeat the first word.", "plum fig pear", "plum"),
        ("Say hello to Ann in French.", "", "Bonjour, Ann."),
        ("Hello", "", "hello"),
        ("写诗", "", "写一首诗"),
    ],
)
def test_small_edits_and_single_words_are_no_echo(instruction: str, input: str, output: str) -> None:
    """Where the task is to change case, commas or spaces, that is the work; one word may be its own answer."""
    assert OutputChecks().check(_task(output, instruction, input)) is None


# --- length ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("Yes", 1),
        ("It's well-known.", 3),
        ("one, two; three", 3),
        ("你好，世界！", 4),
        ("用Python写", 3),
        ("ひらがな", 4),
        ("한국어", 3),
        ("3 + 4 = 7", 3),
        ("…", 0),
        ("snake_case", 2),
    ],
)
def test_words_are_counted_in_both_languages(output: str, words: int) -> None:
    """A run of letters or digits is a word, and so is each Chinese, Japanese or Korean character."""
    assert OutputChecks(min_words=words).check(_task(output)) is None
    assert OutputChecks(min_words=words + 1).check(_task(output)) == Drop(
        "too_few_words", f"{words} words, at least {words + 1}"
    )


def test_the_shortest_output_wanted_holds_for_labels_too() -> None:
    """A recipe that asks for words gets no bare label; by default a label passes."""
    assert _reason(_task("Positive", label=True), OutputChecks(min_words=3)) == "too_few_words"
    assert OutputChecks().check(_task("Positive", label=True)) is None


def test_an_output_that_only_declines_is_a_refusal() -> None:
    """The sentences that count are tested with `parsing.is_refusal`; an apology somebody asked for is none."""
    assert _reason(_task("I'm sorry, but I can't help with that.")) == "refusal"
    assert _reason(_task("抱歉，我无法回答这个问题。")) == "refusal"
    assert _reason(_task("抱歉，我不能参加周五的聚会。")) is None
    assert _reason(_task("Dear Aylin, I'm sorry I can't come on Friday. The train was cancelled.")) is None


SHOWN = "Fold the letter twice, write the street below the name, and put the stamp in the corner."


@pytest.mark.parametrize(
    ("output", "copied"),
    [
        pytest.param(SHOWN, True, id="the whole example"),
        pytest.param(
            "First fold the letter twice, write the street below the name. Done.", True, id="eight of its words"
        ),
        pytest.param("Fold the letter twice, write the street.", False, id="seven of its words"),
        pytest.param("Write the name below the street and fold it.", False, id="its words in another order"),
    ],
)
def test_an_output_that_repeats_a_worked_example_is_a_copy(output: str, copied: bool) -> None:
    """What the prompt showed says nothing about this task."""
    reason = _reason(_task(output), OutputChecks(worked_examples=["Short.", SHOWN]))
    assert reason == ("demo_copy" if copied else None)


SHOWN_ZH = "把信纸对折两次，在收信人姓名下面写上街道，再把邮票贴在右上角。"


@pytest.mark.parametrize(
    ("output", "copied"),
    [
        pytest.param(SHOWN_ZH, True, id="the whole example"),
        pytest.param("首先把信纸对折两次，在收信人姓名处签字。", True, id="twelve of its characters"),
        pytest.param("把信纸对折两次，在收信处签字。", False, id="ten of its characters"),
        pytest.param("在右上角贴邮票，街道写在姓名下面。", False, id="its words in another order"),
    ],
)
def test_a_copy_of_chinese_takes_twelve_characters(output: str, copied: bool) -> None:
    """Eight characters are only four or five words, and set phrases are as long."""
    reason = _reason(_task(output), OutputChecks(worked_examples=[SHOWN_ZH]))
    assert reason == ("demo_copy" if copied else None)


def test_words_the_task_itself_holds_are_no_copy() -> None:
    """A task about the same text may be answered with its words."""
    task = _task(SHOWN).model_copy(update={"input": SHOWN + " Then post it."})
    assert _reason(task, OutputChecks(worked_examples=[SHOWN])) is None


# --- loops ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "detail"),
    [
        pytest.param("The sky is blue. The sky is blue.", "2 times: the sky is blue.", id="a sentence twice, no more"),
        pytest.param("The sky is blue.\nThe sky is blue.\nThe sky", "2 times: the sky is blue.", id="cut off"),
        pytest.param(LETTER + LETTER, f"2 times: {LETTER.strip().casefold()}", id="a long sentence twice"),
        pytest.param(
            "1. Drink much more water\n2. Drink much more water", "2 times: drink much more water", id="numbered lines"
        ),
        pytest.param("- buy some milk\n- buy some milk\n" * 3, "6 times: buy some milk", id="bullets"),
        pytest.param("I am here. " * 12, "12 times: i am here.", id="three words, many times"),
        pytest.param(LETTER + "very " * 16, "16 times: very", id="one word, many times, after a good start"),
        pytest.param(LETTER + "and so on " * 6 + "End.", "6 times: and so on", id="with an end"),
        pytest.param("天空是蓝色的。天空是蓝色的。", "2 times: 天空是蓝色的。", id="Chinese, twice"),
        pytest.param("恭喜发财，恭喜发财，恭喜发财！", "3 times: 恭喜发财，", id="four characters thrice"),
        pytest.param("好的。" * 8, "8 times: 好的。", id="two characters, many times"),
        pytest.param("我们去了公园。" + "很高兴，" * 6, "6 times: 很高兴，", id="Chinese, after a good start"),
        pytest.param("[0, 0, 0]\n" * 30, "90 times: 0,", id="digits without end"),
        pytest.param("<li>milk</li>\n" * 30, "30 times: li>milk</li> <", id="markup without end"),
        pytest.param("print(total)\n" * 40, "40 times: print(total)", id="code without end"),
        pytest.param(
            "He runs, he jumps, he runs, he swims; " * 4,
            "4 times: he runs, he jumps, he runs, he swims;",
            id="a phrase that repeats words within",
        ),
    ],
)
def test_an_evident_loop_is_dropped(output: str, detail: str) -> None:
    """A phrase over and over, whatever its list marks, with the phrase in the detail."""
    assert OutputChecks().check(_task(output)) == Drop("ngram_loop", detail)


@pytest.mark.parametrize(
    "output",
    [
        pytest.param("Ha ha ha ha ha!", id="laughter"),
        pytest.param("Fig, fig, plum, plum, fig.", id="a few words"),
        pytest.param(
            "Oh sing with me by the sea, oh sing with me by the sea, oh sing with me by the sea, and then go home.",
            id="a line sung three times",
        ),
        pytest.param((ROW + LETTER) + (ROW + "Still it stands. ") + ROW, id="a refrain between verses"),
        pytest.param("I want a home. I want a garden. I want a dog. I want a quiet night.", id="one head, other ends"),
        pytest.param(
            "Name of the fruit: fig. Colour of the fruit: green.\n"
            "Name of the fruit: plum. Colour of the fruit: blue.\n"
            "Name of the fruit: pear. Colour of the fruit: gold.",
            id="three rows with the same heads",
        ),
        pytest.param("| day | open |\n|---|---|\n| Mon | yes |\n| Tue | yes |\n| Wed | yes |", id="a short table"),
        pytest.param("0 0 0 0\n0 0 0 0\n0 0 0 0\n0 0 0 0", id="a matrix of zeros"),
        pytest.param("1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0", id="a row of digits"),
        pytest.param("pen.forward(50)\npen.left(90)\n" * 4, id="code that draws a square"),
        pytest.param("<tr>\n" + '  <td class="cell"></td>\n' * 6 + "</tr>", id="markup of a grid"),
        pytest.param(r"^[a-z0-9]+@[a-z0-9]+\.[a-z0-9]+$", id="a pattern"),
        pytest.param("if (a[i] > a[i+1]) { t = a[i]; a[i] = a[i+1]; a[i+1] = t; }", id="a swap"),
        pytest.param("Turn left onto Mill Road, turn left onto Bath Street, go on.", id="directions"),
        pytest.param("Up, right, right. 向上移动，向右移动，向右移动。", id="moves"),
        pytest.param("春天来了，花开了。夏天来了，蝉叫了。秋天来了，叶落了。", id="Chinese parallels"),
        pytest.param("床前明月光，疑是地上霜。举头望明月，低头思故乡。", id="a Chinese poem"),
        pytest.param("恭喜发财，恭喜发财！", id="a wish said twice"),
        pytest.param("加油！加油！加油！", id="a cheer"),
        pytest.param("一闪一闪亮晶晶，满天都是小星星。一闪一闪亮晶晶。", id="a refrain"),
        pytest.param("星期一：上课。星期二：上课。星期三：上课。星期四：休息。", id="a timetable"),
        pytest.param("Original: It rains today. Corrected: It rains today.", id="a sentence and its equal correction"),
        pytest.param(LETTER + "Thank you, thank you, thank you.", id="thanks at the end"),
    ],
)
def test_honest_repetition_is_kept(output: str) -> None:
    """Tables, code, refrains and lists with the same heads repeat themselves and are no loops."""
    assert OutputChecks().check(_task(output)) is None


@pytest.mark.parametrize(
    ("output", "loop"),
    [
        pytest.param("one two three " * 5 + "end", False, id="fifteen words"),
        pytest.param("one two three four " * 3 + "one two three end", False, id="not four times"),
        pytest.param("one two three four " * 4 + "end", True, id="four times, sixteen words"),
        pytest.param("one two three four " * 4 + " ".join(f"w{n}" for n in range(32)), True, id="a third of the text"),
        pytest.param("one two three four " * 4 + " ".join(f"w{n}" for n in range(33)), False, id="less than a third"),
        pytest.param("one two three " * 3, False, id="three words three times and nothing else"),
        pytest.param("one two three four " * 2, True, id="four words twice and nothing else"),
        pytest.param("one two three four " * 2 + "end", False, id="four words twice and more"),
        pytest.param("7, " * 63, False, id="63 digits"),
        pytest.param("7, " * 64, True, id="64 digits"),
        pytest.param("f(a, b, c, d, e, g, h, i, j);" * 7, False, id="code seven times"),
        pytest.param("f(a, b, c, d, e, g, h, i, j);" * 8, True, id="code eight times"),
    ],
)
def test_the_rule_for_loops_is_exact(output: str, loop: bool) -> None:
    """One example on each side of every number in the rule."""
    assert _reason(_task(output)) == ("ngram_loop" if loop else None)


@pytest.mark.parametrize(
    ("output", "limit", "detail"),
    [
        ("I like the red fig and I like the red plum.", 1, "2 times: i like the red"),
        ("一只猫在屋顶，一只猫在屋里。", 1, "2 times: 一 只 猫 在"),
        ("To be or not to be. To be or go. To be or stay. To be or run.", 2, None),
        ("We go to town. We go to sea. We go to bed.", 2, None),
        ("We go to town. We go to town again. Then we go to town.", 2, "3 times: we go to town"),
        ("Every word here stands but once.", 1, None),
        ("one two three", 0, None),
    ],
)
def test_strict_mode_counts_any_four_words_in_a_row(output: str, limit: int, detail: str | None) -> None:
    """They may stand anywhere, and occur at most as often as the limit says; without a limit all of these are kept."""
    drop = OutputChecks(max_ngram_repeats=limit).check(_task(output))
    assert drop == (None if detail is None else Drop("ngram_loop", detail))
    assert OutputChecks().check(_task(output)) is None


# --- the filter as a whole ------------------------------------------------------------------------------------------


def test_the_first_rule_that_fails_is_the_reason() -> None:
    """In the order: readable, an answer at all, long enough, no loop."""
    strict = OutputChecks(min_words=50, max_ngram_repeats=1)
    assert _reason(_task("\x00"), strict) == "control_characters"
    assert _reason(_task("None"), strict) == "not_available"
    assert _reason(_task("So it goes.", "So it goes."), strict) == "echo"
    assert _reason(_task("one two three four " * 4), strict) == "too_few_words"
    assert _reason(_task("one two three four " * 40), strict) == "ngram_loop"


def test_admit_returns_the_very_record() -> None:
    """The filter adds nothing to a record."""
    checks: Filter[TaskInstance] = OutputChecks()
    task = _task("Bonjour.")
    assert checks.admit(task) is task
