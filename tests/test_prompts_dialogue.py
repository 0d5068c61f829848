"""The prompts of a dialogue: topics, openers, detail, and what both sides are told; how answers to them are read."""

from __future__ import annotations

import re
from typing import Any

import pytest

from selfinstruct import parsing, prompts, resources
from selfinstruct.errors import ConfigProblem
from selfinstruct.prompts import Rendered
from selfinstruct.schema import Message, Rendering

ROOT = resources.prompts_dir()
RENDERINGS: list[Rendering] = ["completion", "chat"]
USERS = ["user_materials", "user_world", "user_writing"]
LISTS = {
    "topics/{}/subtopics": ["topic", "scope", "count"],
    "openers/{}/questions": ["topic", "subtopic", "count"],
    "openers/{}/entity": ["entity", "count"],
    "openers/{}/related": ["question", "subtopic", "count"],
    "openers/{}/instructions": ["type", "purpose", "about", "count"],
    "openers/{}/requests": ["passage", "count"],
}
DETAIL = {"expand/{}/detail": ["instruction", "type"]}
DIALOGUE: dict[str, list[str]] = {
    "dialogue/{}/assistant": [],
    **{f"dialogue/{{}}/{user}": ["persona", "round", "rounds"] for user in USERS},
}
VARIABLES: dict[str, list[str]] = {
    form.format(lang): names for form, names in (LISTS | DETAIL | DIALOGUE).items() for lang in ("en", "zh")
}
VALUES: dict[str, dict[str, Any]] = {
    "en": {
        "topic": "Rivers and lakes",
        "scope": "how they arise, what lives in them, who uses them",
        "subtopic": "Ferries on cables",
        "count": 12,
        "entity": "the Danube",
        "question": "Why does a cable ferry need no engine?",
        "type": "letter of complaint",
        "purpose": "to have a fault put right without losing a friend",
        "about": "boats and harbours",
        "passage": "The ferryman rang twice.\n\nNobody {{ came }}.",
        "instruction": "Complain to the harbour master about the noise.",
        "persona": {
            "expertise": "has read one popular book about it",
            "mood": "is curious and a little sceptical",
            "goal": "wants to settle an argument with a colleague",
            "style": "writes one short sentence in lower case",
        },
    },
    "zh": {
        "topic": "江河湖泊",
        "scope": "怎么形成，养活了什么，谁在利用",
        "subtopic": "缆绳渡船",
        "count": 12,
        "entity": "多瑙河",
        "question": "缆绳渡船为什么不用发动机？",
        "type": "投诉信",
        "purpose": "把问题解决，又不伤和气",
        "about": "船只与港口",
        "passage": "摆渡人摇了两次铃。\n\n没有{{ 人 }}来。",
        "instruction": "写信向港务处投诉噪声。",
        "persona": {
            "expertise": "只读过一本通俗读物",
            "mood": "好奇，又有点怀疑",
            "goal": "想跟同事争出个对错",
            "style": "一句话说完，不用敬语",
        },
    },
}
HISTORY = {
    "en": (
        Message(role="user", content="Why does a cable ferry need no engine?"),
        Message(role="assistant", content="The current pushes it.\n\nIt hangs at {{ an }} angle."),
    ),
    "zh": (
        Message(role="user", content="缆绳渡船为什么不用发动机？"),
        Message(role="assistant", content="水流推着它走。\n\n船身{{ 斜 }}着。"),
    ),
}
SAID = {
    "en": "User: Why does a cable ferry need no engine?\n\n"
    "Assistant: The current pushes it.\n\nIt hangs at {{ an }} angle.\n\n",
    "zh": "用户：缆绳渡船为什么不用发动机？\n\n助手：水流推着它走。\n\n船身{{ 斜 }}着。\n\n",
}
LABELS = {"en": ("User:", "Assistant:"), "zh": ("用户：", "助手：")}
HAN = re.compile(r"[\u4e00-\u9fff]")


def language(name: str) -> str:
    """The language of a prompt, from its name."""
    return name.split("/")[1]


def render(name: str, rendering: Rendering, **changes: Any) -> Rendered:
    """The prompt with exactly its own variables, in the middle of a dialogue if it is one of a dialogue's."""
    lang = language(name)
    given = {"round": 2, "rounds": 4, **VALUES[lang]}
    variables = {variable: given[variable] for variable in VARIABLES[name]} | changes
    history = HISTORY[lang] if name.startswith("dialogue/") else ()
    return prompts.load(ROOT, name).render(rendering, history, **variables)


def own_words(name: str, rendering: Rendering, **changes: Any) -> str:
    """What is sent, without what was said before."""
    shown = render(name, rendering, **changes)
    if shown.messages is None:
        assert shown.prompt is not None
        return shown.prompt.removeprefix(SAID[language(name)])
    return "\n".join(message.content for message in shown.messages if message not in HISTORY[language(name)])


def tokens(text: str) -> float:
    """About how many: four characters of English a token, four of Chinese three (ours; by Qwen's vocabulary, 2023)."""
    return len(text) * (3 / 4 if HAN.search(text) else 1 / 4)


# --- variables ------------------------------------------------------------------------------------------------------


def test_every_prompt_of_a_dialogue_is_there_in_both_languages() -> None:
    """Those named here and no others."""
    stages = ("topics", "openers", "expand", "dialogue")
    found = [path.relative_to(ROOT).with_suffix("").as_posix() for s in stages for path in ROOT.glob(f"{s}/*/*.md")]
    assert sorted(found) == sorted(VARIABLES)


@pytest.mark.parametrize("name", sorted(VARIABLES))
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_a_prompt_says_what_it_is_given(name: str, rendering: Rendering) -> None:
    """Every variable as it is, braces included, and nothing of the template itself."""
    text = own_words(name, rendering)
    values = [VALUES[language(name)][variable] for variable in VARIABLES[name] if variable not in ("round", "rounds")]
    parts = [str(part) for value in values for part in (value.values() if isinstance(value, dict) else [value])]
    assert [part for part in parts if part not in text] == []
    rest = re.sub("|".join(map(re.escape, [SAID[language(name)], *parts])), "x", text)
    assert re.findall(r"\{[{%#]|[}%#]\}|\n\n\n", rest) == []


@pytest.mark.parametrize(
    ("name", "variable"), [(name, variable) for name in sorted(VARIABLES) for variable in VARIABLES[name]]
)
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_a_prompt_fails_without_one_of_its_variables(name: str, variable: str, rendering: Rendering) -> None:
    """So each is used in either rendering, and a hole is found before anything is sent."""
    variables = {other: VALUES[language(name)].get(other, 2) for other in VARIABLES[name] if other != variable}
    with pytest.raises(ConfigProblem, match=f"prompt {name}: '{variable}' is undefined"):
        prompts.load(ROOT, name).render(rendering, HISTORY["en"], **variables)


@pytest.mark.parametrize("trait", ["expertise", "mood", "goal", "style"])
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_user_is_played_with_all_four_traits(lang: str, user: str, trait: str) -> None:
    """A persona without one of them is an error that names it."""
    persona = {other: value for other, value in VALUES[lang]["persona"].items() if other != trait}
    with pytest.raises(ConfigProblem, match=f"has no attribute '{trait}'"):
        render(f"dialogue/{lang}/{user}", "chat", persona=persona)


@pytest.mark.parametrize(
    ("form", "variable", "labels"),
    [
        ("topics/{}/subtopics", "scope", {"en": "Scope:", "zh": "范围："}),
        ("openers/{}/instructions", "purpose", {"en": "What it is for:", "zh": "用处："}),
    ],
)
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_what_a_users_own_file_may_leave_out_leaves_no_empty_label(
    form: str, variable: str, labels: dict[str, str], lang: str, rendering: Rendering
) -> None:
    """The whole line goes, and nothing else."""
    name = form.format(lang)
    line = f"{labels[lang]}{' ' if lang == 'en' else ''}{VALUES[lang][variable]}\n"
    text = own_words(name, rendering)
    assert text.count(line) == 1
    assert own_words(name, rendering, **{variable: ""}) == text.replace(line, "")


# --- lists ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [form.format(lang) for form in LISTS for lang in ("en", "zh")])
def test_a_list_is_left_open_at_its_first_number_and_stops_before_one_too_many(name: str) -> None:
    """The stop is a number at a line's start: "13." alone would end a question about a date or a price."""
    raw, chat = render(name, "completion"), render(name, "chat")
    assert raw.prompt is not None
    assert raw.prompt.endswith("\n\n1.")
    assert (raw.opens, chat.opens) == ("1.", None)
    assert raw.stop == chat.stop == ("\n13.",)
    assert chat.messages is not None
    assert [message.role for message in chat.messages] == ["user"]
    numbers = 'numbered from "1." to "12."' if "/en/" in name else "行首依次标上“1.”到“12.”"
    assert chat.messages[0].content.split("\n")[-1].count(numbers) == 1


TOPICS = {
    "en": ["Leap seconds", "Water clocks", "Why years feel shorter", '"Daylight saving" laws', "Jet lag", "Rail time"],
    "zh": ["闰秒", "铜壶滴漏", "为什么一年比一年快", "夏令时的由来", "倒时差", "铁路上的钟点"],
}
QUESTIONS = {
    "en": [
        "Why was a second once part of a day, and what is it now?",
        "My watch loses 5 minutes a week. Is it worth having it cleaned?",
        "Which kept better time at sea: a sandglass or a pendulum?",
        "If clocks had never been agreed on, how would trains run?",
        "Tell me how monks woke at 2 a.m. without an alarm!",
        "Was the 1793 decimal day ever used outside Paris?",
    ],
    "zh": [
        "为什么一秒最早是按一天来定的，现在又怎么定？",
        "我的表一星期慢5分钟，值得拿去清洗吗？",
        "在海上，沙漏和摆钟哪个走得更准？",
        "如果各地从来没有统一过钟点，火车该怎么开？",
        "说说古人没有闹钟，凌晨两点怎么起得来！",
        "1793年的十进制时间，在巴黎以外有人用过吗？",
    ],
}
ITEMS = [TOPICS["en"], TOPICS["zh"], QUESTIONS["en"], QUESTIONS["zh"]]


def listed(form: str, items: list[str], between: str = "\n") -> str:
    """The items, each written as ``form`` says."""
    return between.join(form.format(number, item) for number, item in enumerate(items, 1))


@pytest.mark.parametrize("items", ITEMS)
@pytest.mark.parametrize(
    "form", ["{}. {}", "{}) {}", "{}、{}", "{}.{}", "**{}.** {}", "{}. **{}**", "   {}. {}", "{}\\. {}"]
)
@pytest.mark.parametrize("between", ["\n", "\n\n"])
def test_numbered_answers_are_read_item_by_item(items: list[str], form: str, between: str) -> None:
    """However the numbers are dressed, and short names as well as questions."""
    if form == "{}.{}":
        items = [item for item in items if not item[0].isdigit()]  # "6.1793": nobody could tell
    read = parsing.task_list(listed(form, items, between), truncated=False, continues=False)
    assert [item.text for item in read] == items


@pytest.mark.parametrize("items", ITEMS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Sure! Here are 6 for you:\n\n", "\n\nLet me know if you would like more!"),
        ("## Time and clocks\n\n", "\n\nTogether they cover the whole range."),
        ("好的，以下是为你准备的6个：\n\n", "\n\n希望对你有帮助！"),
        ("", "\n\n这些内容涵盖了各个方面。"),
    ],
)
def test_the_chatter_around_a_list_is_no_item(items: list[str], before: str, after: str) -> None:
    """Though the prompts ask for none."""
    read = parsing.task_list(before + listed("{}. {}", items) + after, truncated=False, continues=False)
    assert [item.text for item in read] == items


@pytest.mark.parametrize("items", ITEMS)
@pytest.mark.parametrize("heads", [("### Everyday", "### Odd"), ("**日常**", "**冷门**"), ("Everyday:", "Odd:")])
def test_headings_of_groups_are_no_items(items: list[str], heads: tuple[str, str]) -> None:
    """Whether the numbers go on below the second or begin anew."""
    first, rest = items[:3], items[3:]
    for start in (1, 4):
        second = "\n".join(f"{number}. {item}" for number, item in enumerate(rest, start))
        text = f"{heads[0]}\n{listed('{}. {}', first)}\n\n{heads[1]}\n{second}"
        assert [item.text for item in parsing.task_list(text, truncated=False, continues=False)] == items


@pytest.mark.parametrize("items", ITEMS)
def test_an_answer_that_goes_on_from_the_open_number_is_read_from_its_first_item(items: list[str]) -> None:
    """The number stands in the prompt; an answer that the limit cut is cut in its last item alone."""
    answer = " " + listed("{}. {}", items).removeprefix("1. ")
    assert [item.text for item in parsing.task_list(answer, truncated=False, continues=True)] == items
    read = parsing.task_list(answer, truncated=True, continues=True)
    assert [item.cut for item in read] == [False] * 5 + [True]


# --- the dialogue ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_assistant_is_told_first_and_answers_what_the_user_said_last(lang: str) -> None:
    """A system message and the history; no message of ours stands behind it."""
    shown = render(f"dialogue/{lang}/assistant", "chat").messages
    assert shown is not None
    assert shown[0].role == "system"
    assert shown[1:] == HISTORY[lang]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_user_is_told_behind_the_history(lang: str, user: str) -> None:
    """So that the roles do not swap (systems §5.2): nothing before the history, one message of role user behind it."""
    shown = render(f"dialogue/{lang}/{user}", "chat").messages
    assert shown is not None
    assert shown[:-1] == HISTORY[lang]
    assert shown[-1].role == "user"


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_assistants_transcript_ends_in_its_open_turn(lang: str) -> None:
    """A sentence, all that was said, and the label of the answer to come."""
    shown = render(f"dialogue/{lang}/assistant", "completion")
    assert shown.prompt is not None
    intro, _, rest = shown.prompt.partition("\n\n")
    assert "\n" not in intro
    assert rest == SAID[lang] + LABELS[lang][1]
    assert shown.opens == LABELS[lang][1]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_users_transcript_is_followed_by_a_note_and_its_open_turn(lang: str, user: str) -> None:
    """In brackets, the same words that a model that answers is given."""
    name = f"dialogue/{lang}/{user}"
    shown = render(name, "completion")
    assert shown.prompt is not None
    note = shown.prompt.removeprefix(SAID[lang]).removesuffix(f"\n\n{LABELS[lang][0]}")
    assert len(note) == len(shown.prompt) - len(SAID[lang]) - len(LABELS[lang][0]) - 2
    assert note[0] + note[-1] == ("[]" if lang == "en" else "【】")
    order = own_words(name, "chat").partition("\n\n")[2]
    assert note[1:-1].endswith(order)
    assert shown.opens == LABELS[lang][0]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_only_a_model_that_continues_has_to_be_stopped(lang: str) -> None:
    """Before it plays the other side too; a user's message is one paragraph, an answer as many as it takes."""
    user, assistant = LABELS[lang]
    labels = (f"\n{user}", f"\n{assistant}")
    assert render(f"dialogue/{lang}/assistant", "completion").stop == labels
    assert render(f"expand/{lang}/detail", "completion").stop == ("\n\n",)
    for name in USERS:
        assert render(f"dialogue/{lang}/{name}", "completion").stop == ("\n\n", *labels)
    for name in ("expand/{}/detail", *DIALOGUE):
        assert render(name.format(lang), "chat").stop == ()


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_the_user_asks_otherwise_in_the_second_half_of_the_rounds(lang: str, user: str, rendering: Rendering) -> None:
    """Two orders a sector, deeper first and then more widely; numbers of rounds would only invite a goodbye."""
    said = {
        rounds: [own_words(f"dialogue/{lang}/{user}", rendering, round=r, rounds=rounds) for r in range(2, rounds + 1)]
        for rounds in range(2, 8)
    }
    deeper, wider = said[7][0], said[7][-1]
    assert deeper != wider
    assert re.findall(r"\d", deeper + wider) == []
    turns = {rounds: [text == wider for text in texts] for rounds, texts in said.items()}
    assert turns[7] == [False] * 3 + [True] * 3
    assert (turns[2], turns[3], turns[4]) == ([True], [False, True], [False, True, True])
    assert {text for texts in said.values() for text in texts} == {deeper, wider}


FORBIDDEN = {
    "en": [
        "does not answer or explain",
        "does not speak as the assistant",
        "no praise, thanks or goodbye",
        "more than a mere remark",
        "has not asked for before",
        "no label",
        "no quotation marks",
    ],
    "zh": [
        "不要作答或讲解",
        "不要用助手的口气",
        "不要夸奖、道谢或告别",
        "不要只发一句感想",
        "问过的不要再问",
        "前面不加",
        "不加引号",
    ],
}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_the_user_is_told_what_the_guards_refuse(lang: str, user: str, rendering: Rendering) -> None:
    """What is not said is not guarded against in vain."""
    text = own_words(f"dialogue/{lang}/{user}", rendering)
    assert [words for words in FORBIDDEN[lang] if words not in text] == []


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_sector_has_a_goal_of_its_own(lang: str) -> None:
    """World follows up, writing has a text changed, materials goes on with the material."""
    texts = {user: own_words(f"dialogue/{lang}/{user}", "chat") for user in USERS}
    words = {
        "user_world": ("short, casual follow-up", "随口接着聊"),
        "user_writing": ("The user wants a finished text", "用户想从助手那里拿到写好的文字"),
        "user_materials": ("still working on the material", "还在处理一开始给出的那份材料"),
    }
    for user, (en, zh) in words.items():
        assert [other for other, text in texts.items() if (en if lang == "en" else zh) in text] == [user]


# --- language and length --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(VARIABLES))
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_a_prompt_speaks_its_own_language_and_names_no_other(name: str, rendering: Rendering) -> None:
    """Every one says which language is wanted; the assistant's is the user's."""
    text = own_words(name, rendering)
    if "/en/" in name:
        assert not HAN.search(text)
        wanted = "language the user writes in" if name.endswith("assistant") else "in English"
        assert (wanted in text) == (rendering == "chat" or "dialogue" in name)
        assert "Chinese" not in text
    else:
        assert set(re.findall(r"[A-Za-z]+", text)) <= {"passage"}
        wanted = "用户用什么语言" if name.endswith("assistant") else "用中文写"
        assert (wanted in text) == (rendering == "chat" or "dialogue" in name)
        assert not re.search("英[语文]|外[语文]", text)


@pytest.mark.parametrize("name", [name for name in sorted(VARIABLES) if "/zh/" in name])
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_chinese_prompts_use_chinese_punctuation(name: str, rendering: Rendering) -> None:
    """No half-width mark between or behind ideographs, and no space beside them."""
    text = own_words(name, rendering).replace("{{ 人 }}", "人").replace("{{ 斜 }}", "斜")
    assert re.findall(r"[\u4e00-\u9fff][,.;:!?()\"'](?:[\u4e00-\u9fff]|\s|$)", text) == []
    assert re.findall(r"[\u4e00-\u9fff] \S|(?<!\n-)[^-\s] [\u4e00-\u9fff]", text) == []


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_is_sent_again_every_turn_is_short(lang: str) -> None:
    """About 250 tokens for the user, persona included, and 60 for the assistant."""
    for rendering in RENDERINGS:
        for user in USERS:
            for turn in (2, 4):
                assert 100 < tokens(own_words(f"dialogue/{lang}/{user}", rendering, round=turn)) <= 250
    shown = render(f"dialogue/{lang}/assistant", "chat").messages
    assert shown is not None
    assert 20 < tokens(shown[0].content) <= 60
    assert len(re.findall(r"[.。]", shown[0].content)) == 2
