"""Lists of tasks: found as a careful reader finds them, whatever the model wrote between and around them."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from selfinstruct.errors import ParseError
from selfinstruct.parsing import ListItem, task_list
from selfinstruct.parsing.item_text import item_text

POEM, FISH, SUM = "Write a poem about rain.", "Name three fish that live in rivers", "Add 17 and 25; show your steps."
THREE = [POEM, FISH, SUM]


def texts(answer: str, *, continues: bool = True, truncated: bool = False) -> list[str]:
    """The texts of the items of an answer."""
    return [item.text for item in task_list(answer, truncated=truncated, continues=continues)]


def chat(answer: str) -> list[str]:
    """The texts of the items of a chat answer."""
    return texts(answer, continues=False)


# --- our own delimiters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        *("<task {n}> {t}", "<task {n}>\n{t}\n", "<task>\n{t}", "<TASK {n}>{t}</task>", "  <task {n}> {t} </task {n}>"),
        *("**<task {n}>** {t}", "<task #{n}> {t}", "<task {n}:>\n\n{t}\n"),
    ],
)
def test_our_tags_delimit_with_or_without_number_and_closing_tag(form: str) -> None:
    """Every way a model may copy the tag opens an item."""
    assert chat("\n".join(form.format(n=n, t=t) for n, t in enumerate(THREE, 9))) == THREE


def test_the_answer_starts_in_the_item_the_prompt_opened() -> None:
    """Behind a completion prompt the text before the first tag is the first task."""
    assert texts(f" {POEM}\n<task 10> {FISH}\n<task 11>\n{SUM}\n</tasks>\nGoodbye.\n<task 1> Old.") == THREE


def test_where_our_tags_stand_nothing_else_delimits() -> None:
    """Numbers, bullets, headings and "Output:" belong to the tagged task they stand in."""
    answer = "<task 9>\nFix the list.\n20. one\n- two\n### three\nOutput: four\n<task 10> Say hi."
    assert texts(answer) == ["Fix the list. 20. one - two ### three Output: four", "Say hi."]


def test_a_tag_inside_a_sentence_is_a_placeholder_unless_it_is_numbered() -> None:
    """``<task>`` in the middle of a line is the task's own; ``<task 10>`` there still opens the next."""
    assert texts("Replace <task> with a verb. <task 10> Say hi.") == ["Replace <task> with a verb.", "Say hi."]


def test_one_repeated_tag_does_not_hide_a_numbered_list() -> None:
    """A model that repeats the prompt's last tag and then counts in its own way is read by its numbers."""
    assert texts(f"<task 9> {POEM}\n10. {FISH}\n11. {SUM}") == THREE
    assert texts("<task 9> Sort these.\n1. pear\n2. fig") == ["Sort these. 1. pear 2. fig"]


def test_list_tags_alone_leave_the_numbers_to_delimit() -> None:
    """``<tasks>`` around a numbered list is a frame, and what follows its end is not read."""
    assert chat(f"<tasks>\n1. {POEM}\n2. {FISH}\n</tasks>\n3. Gone.") == [POEM, FISH]


def test_text_behind_a_closing_tag_belongs_to_no_task() -> None:
    """What a model says between ``</task>`` and the next tag is chatter."""
    assert texts(f"<task 9>{POEM}</task>\nNow a harder one:\n<task 10>{FISH}</task>\nDone.") == [POEM, FISH]


def test_chatter_around_tagged_tasks_is_dropped() -> None:
    """An opening before the first tag and a farewell, or a note below a rule, after the last are no tasks."""
    answer = f"Sure! Here are two tasks:\n\n<task 1> {POEM}\n<task 2> {FISH}\n\n"
    assert chat(answer + "Let me know if you need more!") == [POEM, FISH]
    assert chat(answer + "---\nBoth are about water.") == [POEM, FISH]


TAILS = [
    *(
        "That should give you a good variety of tasks!",
        "Enjoy!",
        "I tried to vary the verbs.",
        "**Note**: some are hard.",
    ),
    *("These cover many subjects.", "All of them can be done by a text model."),
]


@pytest.mark.parametrize("tail", TAILS)
def test_talk_below_the_last_tagged_task_is_not_glued_to_it(tail: str) -> None:
    """Below tasks of one paragraph any paragraph is talk; below longer ones, what is plainly said about the tasks."""
    assert chat(f"<task 9> {POEM}\n<task 10> {SUM}\n\n{tail}") == [POEM, SUM]
    assert texts(f"{POEM}\n<task 10> {SUM}\n\n{tail}") == [POEM, SUM]
    assert chat(f"<task 9> Read:\n\nIt rained.\n<task 10> Read on.\n\nIt snowed.\n\n{tail}") == [
        "Read: It rained.",
        "Read on. It snowed.",
    ]


def test_talk_below_a_truncated_tagged_list_shows_that_its_last_task_is_whole() -> None:
    """The token limit fell into the talk."""
    answer = f"<task 9> {POEM}\n<task 10> {SUM}\n\nThat should gi"
    assert task_list(answer, truncated=True) == [ListItem(POEM), ListItem(SUM)]


def test_tagged_tasks_of_several_paragraphs_stay_whole() -> None:
    """So does a last one that promises more, or brings code."""
    answer = "<task 9> Read.\n\nIt rained.\n\nWhy?\n<task 10> Read on.\n\nIt snowed.\n\nAnd why?"
    assert texts(answer) == ["Read. It rained. Why?", "Read on. It snowed. And why?"]
    assert texts("<task 9> Sing.\n<task 10> Read:\n\nIt snowed.") == ["Sing.", "Read: It snowed."]


@pytest.mark.parametrize(
    "begun",
    [" <task 1", " <task", " <tas", " <", " <t", " <task 11 ", " <task>", " </task", "<task 1", " <tasks", " </tas"],
)
@pytest.mark.parametrize("truncated", [True, False])
def test_a_tag_cut_in_its_middle_is_no_text_on_any_line(begun: str, truncated: bool) -> None:
    """Behind a sentence half a tag is markup, and the item before it is whole."""
    assert task_list(f"Sing.\n<task 10> Draw a rainbow.{begun}", truncated=truncated) == [
        ListItem("Sing."),
        ListItem("Draw a rainbow."),
    ]
    assert task_list(f"Draw a rainbow.{begun}", truncated=truncated) == [ListItem("Draw a rainbow.")]


def test_a_tag_cut_behind_a_phrase_is_one_when_half_its_name_is_there() -> None:
    """``x <t`` may be a formula, and ``<task>`` the placeholder that the task is about."""
    assert task_list("<task 9> Draw a rainbow <task 1", truncated=True) == [ListItem("Draw a rainbow")]
    assert texts("<task 9> Is x <t") == ["Is x <t"]
    assert texts("<task 9> Explain the tag <task>") == ["Explain the tag <task>"]


@pytest.mark.parametrize(
    "mark", ["{n}. <task {n}>", "{n}) <task {n}>", "- <task {n}>", "**<task {n}>**", "{n}. **<task {n}>**"]
)
def test_a_list_mark_before_our_tag_belongs_to_no_task(mark: str) -> None:
    """A model that numbers the tags as well says the number twice, and neither is text."""
    answer = "\n".join(f"{mark.format(n=n)} {t}" for n, t in enumerate(THREE, 9))
    assert chat(answer) == texts(answer) == THREE


@pytest.mark.parametrize("begun", ["11. <tas", "11. <task 1", "11.", "- <"])
def test_a_list_mark_before_a_begun_tag_is_no_text(begun: str) -> None:
    """The token limit fell between the number and the end of its tag; the task before is whole."""
    answer = f"{POEM}\n10. <task 10> {FISH}\n{begun}"
    assert task_list(answer, truncated=True) == [ListItem(POEM), ListItem(FISH)]


# --- marks that models write ----------------------------------------------------------------------------------------

MARKS = [
    *("{n}. {t}", "{n}) {t}", "({n}) {t}", "{n}: {t}", "{n} . {t}", "{n}.) {t}", "{n} - {t}", "{n}\\. {t}", "{n}.{t}"),
    *(
        "{n}、{t}",
        "**{n}.** {t}",
        "**{n}**. {t}",
        "**{n}. {t}**",
        "*{n}.* {t}",
        "### {n}. {t}",
        "> {n}. {t}",
        "- {n}. {t}",
    ),
    *("Task {n}: {t}", "**Task {n}:** {t}", "### Task {n}\n{t}", "Task {n} - {t}", "Task #{n}: {t}", "#{n} {t}"),
    *("Instruction {n}: {t}", "第{n}题：{t}", "任务{n}：{t}", "   {n}. {t}", "{n}. {t}\n---", "{n}. Task: {t}"),
]
BULLETS = ["- {t}", "* {t}", "• {t}", "- [ ] {t}", "Task: {t}", "**Instruction:** {t}", "任务：{t}"]
ORDERS = {
    "in order": (9, 10, 11),
    "with gaps": (9, 12, 20),
    "from one": (1, 2, 3),
    "restarted": (1, 2, 1),
    "repeated": (9, 9, 9),
    "backwards": (11, 10, 9),
}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("order", ORDERS.values(), ids=list(ORDERS))
@pytest.mark.parametrize("gap", ["\n", "\n\n"], ids=["tight", "loose"])
def test_numbered_items_are_found_whatever_the_numbers_say(mark: str, order: tuple[int, ...], gap: str) -> None:
    """No mark depends on numbers that run on."""
    listed = gap.join(mark.format(n=n, t=t) for n, t in zip(order, THREE, strict=True))
    assert chat(listed) == THREE
    assert chat(f"Okay!\n\n{listed}\n\nI hope these help.") == THREE


@pytest.mark.parametrize("mark", MARKS)
def test_the_first_item_needs_no_mark_behind_a_completion_prompt(mark: str) -> None:
    """The list goes on from the item the prompt opened, and a marker without an item is none."""
    rest = "\n".join(mark.format(n=n, t=t) for n, t in ((10, FISH), (11, SUM)))
    assert texts(f" {POEM}\n{rest}") == THREE
    assert texts(f" {POEM}\n{rest}\n{mark.format(n=12, t='')}".rstrip()) == THREE


@pytest.mark.parametrize("mark", BULLETS)
def test_bulleted_and_labelled_items_are_found(mark: str) -> None:
    """A list without numbers is one too."""
    listed = "\n".join(mark.format(t=t) for t in THREE)
    assert chat(listed) == THREE
    assert texts(f"Here are the tasks:\n{listed}") == THREE
    assert chat(mark.format(t=POEM)) == [POEM]


@pytest.mark.parametrize(
    "mark", ["[{n}] {t}", "**[{n}]** {t}", "[Task {n}] {t}", "<task_{n}> {t}", "<task_{n}>{t}</task_{n}>"]
)
@pytest.mark.parametrize("first", [1, 9])
def test_rare_marks_count_items_where_they_run_on(mark: str, first: int) -> None:
    """Three in order, or two behind the item that the prompt began, are a list and never one glued task."""
    lines = [mark.format(n=n, t=t) for n, t in enumerate(THREE, first)]
    assert chat("\n".join(lines)) == texts("\n".join(lines)) == THREE
    assert chat("Sure! Here are three tasks:\n\n" + "\n\n".join(lines) + "\n\nEnjoy!") == THREE
    if first > 1:
        assert texts("\n".join([POEM, *lines[1:]])) == THREE
        assert texts("\n".join(lines[:2])) == THREE[:2]


def test_letters_count_items_from_the_first_or_behind_the_one_that_the_prompt_began() -> None:
    """Three of them; in the middle of the alphabet, or in capitals, they are choices."""
    assert chat(f"a) {POEM}\nb) {FISH}\nc) {SUM}") == THREE
    assert texts(f"{POEM}\nb) {FISH}\nc) {SUM}") == THREE
    assert texts("Pick rain or\nc) snow\nd) hail\ne) fog") == ["Pick rain or c) snow d) hail e) fog"]
    assert texts("A) rain\nB) snow\nC) hail") == ["A) rain B) snow C) hail"]


def test_rare_marks_below_a_text_or_out_of_order_belong_to_the_text() -> None:
    """Choices, sources and marks inside a plain list count no items."""
    assert texts("Which is a fruit?\na) pear\nb) chair\nc) stone") == ["Which is a fruit? a) pear b) chair c) stone"]
    assert texts("Compare:\n[1] rain\n[2] snow\n[3] hail") == ["Compare: [1] rain [2] snow [3] hail"]
    assert texts("a) rain\nb) snow\nc) hail\n10. Sing.\n11. Hum.") == ["a) rain b) snow c) hail", "Sing.", "Hum."]
    assert texts("1. Pick:\n[7] rain\n[8] snow\n[9] hail\n2. Sing.") == ["Pick: [7] rain [8] snow [9] hail", "Sing."]
    assert texts("[4] rain\n[2] snow\n[9] hail") == ["[4] rain [2] snow [9] hail"]


def test_steps_and_bullets_below_rare_marks_stay_with_their_item() -> None:
    """A bracketed number counts the items, the plain numbers below it do not."""
    answer = "[9] Sing:\n1. low\n2. high\n[10] Draw:\n- a cat\n[11] Hum."
    assert texts(answer) == ["Sing: 1. low 2. high", "Draw: - a cat", "Hum."]


@pytest.mark.parametrize("begun", ["[", "[1", "[12]", "[task 1"])
def test_a_rare_mark_cut_in_its_middle_is_no_text(begun: str) -> None:
    """The item before it is whole."""
    items = [item.text for item in task_list(f"[9] Sing.\n[10] Hum.\n[11] Draw.\n{begun}", truncated=True)]
    assert items == ["Sing.", "Hum.", "Draw."]


def test_a_slipping_margin_is_no_nesting_when_the_numbers_run_on() -> None:
    """Each line a column further in, as tokenisers do it, is still one list."""
    assert texts("9) Sing.\n 10) Dance.\n  11) Rest.\n   12) Eat.") == ["Sing.", "Dance.", "Rest.", "Eat."]


def test_a_fence_around_the_list_is_taken_off() -> None:
    """Around the whole answer, around the list alone, and opened without an end."""
    listed = f"9. {POEM}\n10. {FISH}"
    assert chat(f"```markdown\n{listed}\n```") == [POEM, FISH]
    assert chat(f"Here you go:\n\n```\n{listed}\n```\n\nLet me know!") == [POEM, FISH]
    assert chat(f"```\n{listed}") == [POEM, FISH]


# --- several items on one line --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        f"9. {POEM} 10. {FISH} 11. {SUM}",
        f" {POEM} 10. {FISH} 11. {SUM}",
        f"Sure! Here are three tasks: 1. {POEM} 2. {FISH} 3. {SUM}",
        f"9) {POEM} 10) {FISH} 11) {SUM}",
        f"9. {POEM} **10.** {FISH} **11.** {SUM}",
        f" {POEM} 10. {FISH}\n11. {SUM}",
        f"9. {POEM}\n10. {FISH}\n11. {SUM} 12",
    ],
)
def test_items_on_one_line_are_set_apart_where_numbers_run_on(answer: str) -> None:
    """Running numbers before capitals are items, with or without a line break."""
    assert texts(answer) == THREE


def test_chinese_items_on_one_line_need_no_spaces() -> None:
    """Behind a full stop of its own script a number may follow at once."""
    assert texts("写一首关于雨的诗。10. 翻译这句话。11. 列出三种鱼。") == [
        "写一首关于雨的诗。",
        "翻译这句话。",
        "列出三种鱼。",
    ]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "What changed in 2020. Name one thing.",
            "A bus costs 20.5 dollars. Explain why.",
            "Sum up Chapter 3. The end.",
        ),
        *("Describe version 2.0 of the form.", "Count up to 10. Then rest.", "See fig. 10. The plot shows rain. Why?"),
        *(
            "Print 1 to 99. The sum is 4950. Is it?",
            "Print Fizz for each of 3, 5, 10. But for 15. Say no.",
            "Say 10. 5 is odd.",
        ),
        *("Is it at 9:30 or at 10: choose.", "Read part 10. Part one is short. Say why."),
    ],
)
def test_numbers_in_a_sentence_do_not_split_it(text: str) -> None:
    """A number with a dot is a marker only where the list's own numbers lead to it."""
    assert texts(f"9. {text}") == [text]
    assert texts(f" {text}\n10. {FISH}") == [text, FISH]


def test_a_wrapped_sentence_that_breaks_before_a_number_stays_whole() -> None:
    """A line that starts with "100." behind "less than" is the sentence's second half."""
    assert texts("9. Which primes are less than\n100. And why?\n10. Sing.") == [
        "Which primes are less than 100. And why?",
        "Sing.",
    ]


def test_a_bracket_that_does_not_close_behind_the_number_is_text() -> None:
    """ "(10. is next)" opens no item."""
    assert texts("9. Sing.\n(10. is next) Rest.\n10. Dance.") == ["Sing. (10. is next) Rest.", "Dance."]


def test_a_run_inside_an_unnumbered_item_must_lead_to_the_next_number() -> None:
    """Numbers inside the begun item that do not meet the list's own are the task's text."""
    assert texts(" Pick one. 2. Red? 3. Blue?\n10. Sing.") == ["Pick one. 2. Red? 3. Blue?", "Sing."]


# --- what belongs to an item ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "items"),
    [
        ("9. Sort the steps:\n   1. boil\n   2. peel\n10. Sing.", ["Sort the steps: 1. boil 2. peel", "Sing."]),
        ("9. Sort the steps:\n1. boil\n2. peel\n10. Sing.", ["Sort the steps: 1. boil 2. peel", "Sing."]),
        (" Sort the steps:\n1. boil\n2. peel\n10. Sing.", ["Sort the steps: 1. boil 2. peel", "Sing."]),
        ("9. Sort:\n1) boil\n2) peel\n10. Sing.", ["Sort: 1) boil 2) peel", "Sing."]),
        (" Sort:\n1) boil\n2) peel\n10. Sing.\n11. Dance.", ["Sort: 1) boil 2) peel", "Sing.", "Dance."]),
        ("9. Choose:\n- red\n- blue\n10. Sing.", ["Choose: - red - blue", "Sing."]),
        ("- Plan a trip.\n  1. by bus\n  2. by bike\n- Sing.", ["Plan a trip. 1. by bus 2. by bike", "Sing."]),
        ("9. Plan a trip\n   to the sea\n   and back.\n10. Sing.", ["Plan a trip to the sea and back.", "Sing."]),
        ("9. Fill it in.\n\n| a | b |\n|---|---|\n\n10. Sing.", ["Fill it in. | a | b | |---|---|", "Sing."]),
        (
            "9. Draft a page with\n## Intro\nand\n## End\ntext.\n10. Sing.",
            ["Draft a page with ## Intro and ## End text.", "Sing."],
        ),
        ("9. Continue:\n\nIt rained.\n\n10. Sing.", ["Continue: It rained.", "Sing."]),
        ("9. Classify it.\nInput: rain\n10. Sing.", ["Classify it. Input: rain", "Sing."]),
        (" Explain the joke:\n- a duck walks in\n- it leaves", ["Explain the joke: - a duck walks in - it leaves"]),
    ],
)
def test_nested_steps_and_wrapped_lines_stay_with_their_item(answer: str, items: list[str]) -> None:
    """Deeper or differently numbered lines, bullets, tables and headings inside an item are its text, on one line."""
    assert texts(answer) == items


def test_a_list_that_starts_again_is_not_nesting() -> None:
    """Without a colon before it, or without the outer list going on, a second "1." opens items of its own."""
    assert texts("1. Sing.\n2. Dance.\n1. Rest.\n2. Eat.\n3. Sleep.") == ["Sing.", "Dance.", "Rest.", "Eat.", "Sleep."]
    assert texts("14. Sing:\n15. Dance:\n1. Rest.\n2. Eat.") == ["Sing:", "Dance:", "Rest.", "Eat."]


def test_fenced_code_keeps_its_lines_and_hides_its_numbers() -> None:
    """Code inside a task is the one thing whose line breaks matter."""
    code = "```python\n# 10. no item\nfor x in y:\n\n    pass\n```"
    inside = code.replace("\n", "\n   ")
    answer = f"9. Explain this:\n   {inside}\n   Be brief.\n10. Sing."
    assert texts(answer) == [f"Explain this:\n{code}\nBe brief.", "Sing."]


def test_a_fence_may_open_behind_a_marker_and_close_behind_code() -> None:
    """``9. ```python`` and ``}``` ``, as models write them, hide neither the marker nor the next one."""
    assert texts("9. Run ```js\nf();\n  g()```\n10. ```\nx\n```\nExplain.\n11. Sing.") == [
        "Run ```js\nf();\n  g()```",
        "```\nx\n```\nExplain.",
        "Sing.",
    ]


def test_a_fence_that_never_closes_swallows_nothing() -> None:
    """One forgotten fence line does not glue the rest of the list to its item."""
    assert texts("9. Fix this:\n```\nx = 1\n10. Sing.\n11. Dance.") == ["Fix this: x = 1", "Sing.", "Dance."]


# --- chatter --------------------------------------------------------------------------------------------------------

OPENINGS = [
    *(
        "Sure! Here are 7 tasks:",
        "Certainly!",
        "Okay, here's the rest of the list of tasks:",
        "# New tasks",
        "**Tasks:**",
    ),
    *("Here are the tasks.", "Of course. Below are ten more instructions that vary in style:", "Great!\n\nMore tasks:"),
    *(
        "I've written a few more instructions for you:",
        "好的，以下是新的任务：",
        "以下是更多的任务：",
        "**Group one**",
        "Let me think:",
    ),
]
FAREWELLS = [
    *(
        "Let me know if you'd like more!",
        "I hope these help.",
        "Note: the tasks vary in style.",
        "Feel free to adapt them.",
    ),
    *(
        "These tasks cover many topics.",
        "---\nAll of them are short.",
        "They get harder towards the end.",
        "希望这些任务对你有帮助！",
    ),
    *("If you need more tasks, please let me know.", "Would you like me to solve them?", "如果需要更多，请告诉我。"),
]


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("gap", ["\n", "\n\n"], ids=["tight", "loose"])
def test_an_opening_is_no_task(opening: str, gap: str) -> None:
    """What a model says before its list is dropped, in a chat and, where it opens with item one, behind a prompt."""
    listed = f"1. {POEM}\n2. {FISH}"
    assert chat(f"{opening}{gap}{listed}") == [POEM, FISH]
    assert texts(f"{opening}{gap}{listed}") == [POEM, FISH]


@pytest.mark.parametrize("farewell", FAREWELLS)
def test_a_farewell_is_neither_a_task_nor_glued_to_the_last(farewell: str) -> None:
    """What a model says behind its list is dropped."""
    assert chat(f"1. {POEM}\n2. {FISH}\n\n{farewell}") == [POEM, FISH]
    assert texts(f" {POEM}\n\n10. {FISH}\n\n{farewell}") == [POEM, FISH]


def test_a_last_paragraph_stays_where_the_items_have_paragraphs_or_promise_one() -> None:
    """Only in a list of one-paragraph items is a paragraph behind the last one chatter."""
    assert texts("9. Read:\n\nIt rained.\n10. Read on.\n\nIt snowed.") == ["Read: It rained.", "Read on. It snowed."]
    assert texts("9. Sing.\n10. Read:\n\nIt snowed.") == ["Sing.", "Read: It snowed."]
    assert texts("9. Sing.\n10. Run it.\n\n```\nx\n```") == ["Sing.", "Run it.\n```\nx\n```"]


def test_headings_between_groups_of_tasks_belong_to_none() -> None:
    """A heading right before a marker names what follows; it is not glued to the task above."""
    answer = (
        "### Easy\n\n1. Sing.\n2. Dance.\n\n**Hard**\n\n3. Rest.\n\nHere are two more:\n4. Eat.\n## Last\n5. Sleep."
    )
    assert chat(answer) == ["Sing.", "Dance.", "Rest.", "Eat.", "Sleep."]


def test_a_task_that_begins_like_an_announcement_is_kept() -> None:
    """Behind a completion prompt "Here is a list of words." is a task: it announces no tasks."""
    assert texts("Here is a list of words. Sort them.\n10. Sing.") == ["Here is a list of words. Sort them.", "Sing."]
    assert texts(" Write about this picture:\n10. Sing.") == ["Write about this picture:", "Sing."]


def test_a_chat_model_may_continue_the_list_directly() -> None:
    """Text right above "10." is item nine, even in a chat; above "1.", or apart, it is talk."""
    assert chat(f"{POEM}\n10. {FISH}") == [POEM, FISH]
    assert chat(f"{POEM}\n<task 10> {FISH}") == [POEM, FISH]
    assert chat(f"I tried to vary the topics.\n\n10. {FISH}") == [FISH]
    assert chat(f"I tried to vary the topics\n1. {FISH}") == [FISH]
    assert chat(f"I tried to vary the topics\n- {FISH}") == [FISH]


def test_a_second_list_asked_for_anew_gives_its_tasks_but_not_its_header() -> None:
    """A model that repeats the prompt and starts again wrote tasks twice, and one header that is none."""
    answer = "Sing.\n10. Come up with a series of tasks:\n1. Dance.\n2. Rest.\n\nGenerate some more tasks:\n1. Eat."
    assert texts(answer) == ["Sing.", "Dance.", "Rest.", "Eat."]


@pytest.mark.parametrize("header", ["Answers:", "**Answers:**", "### Solutions:", "Output:", "参考答案："])
def test_a_section_of_answers_behind_the_list_is_not_read(header: str) -> None:
    """Numbers below a heading of answers count answers."""
    answer = f"1. Sing.\n2. Dance.\n\n{header}\n1. La la la.\n2. Step, step.\n3. Bow."
    assert chat(answer) == ["Sing.", "Dance."]


@pytest.mark.parametrize("heading", ["# Answers", "## Solutions", "### Sample answers", "**Answer Key**"])
@pytest.mark.parametrize("mark", ["{n}. {t}", "<task {n}> {t}"])
def test_a_heading_over_answers_ends_the_list(heading: str, mark: str) -> None:
    """Nothing behind it belongs to the last task, counted or not, and the last task is whole."""
    listed = "\n".join(mark.format(n=n, t=t) for n, t in enumerate(["Read:\n\nIt rained.", SUM], 1))
    whole = [ListItem("Read: It rained."), ListItem(SUM)]
    assert task_list(f"{listed}\n\n{heading}\n\n1. wet\n2. 42", truncated=True, continues=False) == whole
    assert task_list(f"{listed}\n{heading}\nIt is 4", truncated=True, continues=False) == whole


@pytest.mark.parametrize(
    "form",
    [
        "{n}. Instruction: {t}\nInput: 4 and 2\nOutput: 6\n",
        "**Instruction:** {t}\n**Input:** 4 and 2\n**Output:** 6\n",
        "{n}. **Instruction**: {t}\n   - **Input:** 4 and 2\n   - **Output:** 6",
        "{n}. Instruction: {t}\n   Input 1: none",
    ],
)
def test_an_input_below_a_labelled_instruction_is_cut_with_its_output(form: str) -> None:
    """Where "Instruction:" labels the task, "Input:" opens an example of it."""
    assert chat("\n".join(form.format(n=n, t=t) for n, t in enumerate(THREE, 1))) == THREE


def test_an_input_below_a_task_without_that_label_is_its_own() -> None:
    """The task says what to work on."""
    assert texts("9. Translate.\nInput: rain\n10. Sing.") == ["Translate. Input: rain", "Sing."]


def test_a_task_solved_on_the_spot_is_read_without_its_answer() -> None:
    """Whether the answer is a line or a numbered list, the next task is found and the answer is not glued to it."""
    assert chat("9. Name a fish.\nAnswer: trout\n10. Add 2 and 3.\n**Output:** 5") == ["Name a fish.", "Add 2 and 3."]
    assert chat("9. Name two fish.\n\nAnswer:\n1. trout\n2. carp\n\n10. Sing.") == ["Name two fish.", "Sing."]
    assert texts("Name two fish.\n\nAnswer:\n1. trout\n2. carp") == ["Name two fish."]


# --- an item's text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "text"),
    [
        *((f"Task: {POEM}", POEM), (f"Instruction: {POEM}", POEM), (f'"{POEM}"', POEM), (f"“{POEM}”", POEM)),
        *(
            (f"**{POEM}**", POEM),
            (f"*{POEM}*", POEM),
            (f'**Task:** "{POEM}"', POEM),
            (f"`{POEM}`", POEM),
            ("「唱歌。」", "唱歌。"),
        ),
        ("**Creative writing**: Write a poem.", "Creative writing: Write a poem."),
        ("**Rain:** Write a poem.", "Rain: Write a poem."),
        ("**Creative writing**\n   Write a poem.", "Creative writing: Write a poem."),
        ("**Write!**\n   A poem.", "Write! A poem."),
        ('"Rain" and "snow": which is colder?', '"Rain" and "snow": which is colder?'),
        ('Say "rain".', 'Say "rain".'),
        ("Print `x` in SQL, Python and HTML:", "Print `x` in SQL, Python and HTML:"),
        ("Write   a\tpoem.  ", "Write a poem."),
        ("\u200bWrite a poem.\r", "Write a poem."),
        ("write A POEM", "write A POEM"),
    ],
)
def test_labels_quotes_and_marks_around_a_whole_task_are_taken_off(written: str, text: str) -> None:
    """Titles stay as plain text, inner marks and letter case stay as they are."""
    assert texts(f"9. {written}\n10. Sing.") == [text, "Sing."]


def test_a_heading_over_a_task_is_its_title() -> None:
    """The title of "### 9. Rain" and the task below it are one item."""
    assert chat("### 9. Rain\nWrite a poem.\n\n### 10. Sum\nAdd 2 and 3.") == [
        "Rain: Write a poem.",
        "Sum: Add 2 and 3.",
    ]
    assert chat("**Task 9: Rain**\nWrite a poem.\n\n**Task 10: Sum**\nAdd 2 and 3.") == [
        "Rain: Write a poem.",
        "Sum: Add 2 and 3.",
    ]


def test_empty_items_are_dropped() -> None:
    """A marker with nothing, or only marks, behind it is no task."""
    assert texts("9.\n10. Sing.\n11. ...\n12. **\n13. Dance.\n14.") == ["Sing.", "Dance."]


# --- no marks at all ------------------------------------------------------------------------------------------------


def test_plain_lines_are_tasks_when_each_is_a_sentence() -> None:
    """Two lines or more, all of them sentences, are a list; anything less is one task over several lines."""
    assert texts(" Write a poem.\nSing a song.\n\nName a fish:") == ["Write a poem.", "Sing a song.", "Name a fish:"]
    assert chat("写一首诗。\n翻译这句话。") == ["写一首诗。", "翻译这句话。"]
    assert texts(" Answer the mail.\n\nDear Ann,\nit rained.") == ["Answer the mail. Dear Ann, it rained."]
    assert texts(" Sort the words.\npear fig plum") == ["Sort the words. pear fig plum"]
    assert chat(f"Sure!\n{POEM}\nI hope this helps.") == [POEM]


def test_a_polite_refusal_is_no_task() -> None:
    """Thanks before the refusal make no task of it; thanks in a task do."""
    for answer in [
        "I appreciate the question, but I'm not able to help with that.",
        "Thank you for asking, but I cannot do it.",
    ]:
        with pytest.raises(ParseError, match="no_list"):
            chat(answer)
    assert chat("Thank you for the tea in three languages.") == ["Thank you for the tea in three languages."]


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "",
            " \n\n",
            "1.\n2.\n3.",
            "...",
            "Sure!",
            "Here are ten more tasks:",
            "I'm sorry, but I can't help with that.",
        ),
        *("Sorry, no.\nAsk me something else, please.", "抱歉，我无法完成。", "Dear Ann,\nit rained.\nYours, Bo"),
    ],
)
def test_an_answer_without_a_task_is_an_error(answer: str) -> None:
    """Silence, empty markers, bare chatter and refusals hold no list; nothing is made up."""
    with pytest.raises(ParseError, match="no_list") as error:
        task_list(answer, truncated=False, continues=False)
    assert error.value.reason == "no_list"


# --- truncation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{n}. {t}", "<task {n}> {t}", "- {t}"])
def test_only_the_last_item_of_a_truncated_answer_is_cut(form: str) -> None:
    """The token limit spoils the item it fell into, not the others."""
    answer = "\n".join(form.format(n=n, t=t) for n, t in enumerate(["Sing.", "Dan"], 9))
    assert task_list(answer, truncated=True) == [ListItem("Sing.", cut=False), ListItem("Dan", cut=True)]
    assert task_list(answer, truncated=False) == [ListItem("Sing.", cut=False), ListItem("Dan", cut=False)]


@pytest.mark.parametrize(
    "rest", ["\n11.", "\n11", "\n1", "\n**11", "\n-", "\n### ", " 11.", "\n\nLet me kn", "\n\nAnswers:\n9. La"]
)
def test_nothing_is_cut_when_the_answer_had_gone_on_to_the_next_marker(rest: str) -> None:
    """A begun marker without an item, or chatter behind the list, shows that the last item is whole."""
    rest = rest.replace("Let me kn", "Let me know if")
    assert task_list(f"9. Sing.\n10. Dance.{rest}", truncated=True) == [ListItem("Sing."), ListItem("Dance.")]


@pytest.mark.parametrize("rest", ["\n<task 11>", "\n<task 1", "\n<ta", "\n<", "\n</tasks>", "</task>", "\n</tasks"])
def test_nothing_is_cut_when_the_answer_had_gone_on_to_the_next_tag(rest: str) -> None:
    """So does a begun or closing tag."""
    assert task_list(f"Sing.\n<task 10> Dance.{rest}", truncated=True) == [ListItem("Sing."), ListItem("Dance.")]


def test_a_number_that_ends_a_task_is_not_a_begun_marker() -> None:
    """A last line "7" behind item 9 is the task's own; only what could be the start of "10" is a marker."""
    assert task_list("9. Double this number:\n7", truncated=False) == [ListItem("Double this number: 7")]
    assert task_list("9. Double this number:\n1", truncated=False) == [ListItem("Double this number:")]
    assert task_list(" Sing.\n10", truncated=True) == [ListItem("Sing.")]
    assert task_list("9. Sing. Sum: 7. 11", truncated=False) == [ListItem("Sing. Sum: 7. 11")]


# --- defects of earlier parsers, each of which lost or damaged tasks ------------------------------------------------


def test_defect_a_number_with_a_dot_in_a_text_does_not_end_it() -> None:
    """ "… in 2020." and "costs 20.5" stay whole, where a bare stop string "20." used to cut them."""
    answer = " What happened in 2020. Explain.\n10. A cup costs 20.5 crowns. Is 20. dear?\n11. Sing."
    assert texts(answer) == ["What happened in 2020. Explain.", "A cup costs 20.5 crowns. Is 20. dear?", "Sing."]


def test_defect_three_hashes_in_a_task_cut_nothing_and_shift_nothing() -> None:
    """A Markdown heading inside one task leaves it and every later one whole."""
    answer = "<task 9> Fill in:\n### Title\ntext\n<task 10> Sing.\n<task 11> Dance."
    assert texts(answer) == ["Fill in: ### Title text", "Sing.", "Dance."]


def test_defect_a_skipped_or_repeated_number_drops_no_later_task() -> None:
    """Numbers are no condition."""
    assert texts("9. Sing.\n11. Dance.\n11. Rest.\n10. Eat.") == ["Sing.", "Dance.", "Rest.", "Eat."]


def test_defect_two_tasks_are_never_merged_into_one() -> None:
    """Two-hash headings and items on one line open tasks as well as the usual marks do."""
    assert chat("## 9. Sing.\n## 10. Dance. 11. Rest.") == ["Sing.", "Dance.", "Rest."]


def test_defect_letter_case_is_left_alone() -> None:
    """SQL stays SQL."""
    assert texts("write an SQL query in PostgreSQL.") == ["write an SQL query in PostgreSQL."]


def test_defect_a_truncated_answer_keeps_its_whole_items() -> None:
    """Only the item that was cut is lost, not the whole response."""
    assert [item.cut for item in task_list("Sing.\n10. Dance.\n11. Re", truncated=True)] == [False, False, True]


# --- properties -----------------------------------------------------------------------------------------------------

PIECES = [
    *(
        "9.",
        "10. ",
        "1)",
        "(3) ",
        "- ",
        "* ",
        "**",
        "```",
        "```py",
        "\n",
        "\n\n",
        " ",
        "    ",
        "\t",
        "\r\n",
        "\u200b",
        "|a|",
    ),
    *("Task: ", "Task 9", "<task 9>", "<task>", "</task>", "<tasks>", "</tasks>", "Sing.", "Sure!", "Here are tasks:"),
    *("Let me know", "Answer:", "Output:", "Input:", "###", "# ", "---", "唱歌。", '"', "20", ":", "…", "\x00", "🙂"),
]


@given(st.text() | st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.booleans(), st.booleans())
def test_any_text_gives_items_or_the_error(text: str, truncated: bool, continues: bool) -> None:
    """Whatever comes, the result is a list of said, stripped items with at most the last one cut, or ParseError."""
    try:
        items = task_list(text, truncated=truncated, continues=continues)
    except ParseError as error:
        assert error.reason == "no_list"
        return
    assert items != []
    assert all(item.text == item.text.strip() and any(map(str.isalnum, item.text)) for item in items)
    assert not any(item.cut for item in items[:-1])
    assert truncated or not items[-1].cut


WORDS = st.lists(
    st.sampled_from(
        [
            "20.",
            "###",
            "Output:",
            "1)",
            "-",
            "write",
            "Sing",
            "#",
            "诗。",
            "in",
            "2020.",
            "Task 9",
            "3.",
            "**a**",
            "`x`",
        ]
    ),
    min_size=1,
    max_size=8,
).map(" ".join)


@given(st.lists(WORDS.filter(lambda text: item_text([text]) == text), min_size=1, max_size=8), st.booleans())
def test_what_our_tags_hold_comes_back_as_it_was(tasks: list[str], own_line: bool) -> None:
    """Rendering a list with our tags and reading it again changes nothing, whatever marks are in the tasks."""
    gap = "\n" if own_line else " "
    rendered = "\n".join(f"<task {n}>{gap}{task}" for n, task in enumerate(tasks, 9))
    assert chat(rendered) == tasks
    assert len(tasks) == 1 or texts(rendered.removeprefix("<task 9>")) == tasks


@given(
    st.lists(st.from_regex(r"[A-Z][a-z]{2,8}( [a-z]{2,8}){1,6}[.?!]?", fullmatch=True), min_size=2, max_size=9),
    st.data(),
)
def test_ordinary_tasks_come_back_from_any_numbering(tasks: list[str], data: st.DataObject) -> None:
    """A list of ordinary sentences survives every mark and every sequence of numbers."""
    mark = data.draw(st.sampled_from(["{n}. {t}", "{n}) {t}", "**{n}.** {t}", "Task {n}: {t}"]))
    numbers = data.draw(st.lists(st.integers(1, 99), min_size=len(tasks), max_size=len(tasks)))
    broken = (
        "a",
        "about",
        "and",
        "any",
        "are",
        "at",
        "by",
        "for",
        "from",
        "in",
        "is",
        "of",
        "on",
        "or",
        "than",
        "the",
        "to",
    )
    assume(
        not any(
            task.endswith(broken) or task.endswith(("first", "last", "least", "most", "over", "top")) for task in tasks
        )
    )
    answer = "\n".join(mark.format(n=n, t=t) for n, t in zip(numbers, tasks, strict=True))
    assert chat(answer) == tasks
