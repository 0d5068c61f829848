"""Heuristics: every boundary of the English rules, and the Chinese word lists on everyday Chinese."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct.filters.heuristics import Heuristics
from selfinstruct.protocols import Drop, Filter
from selfinstruct.rules import Rules, shipped
from selfinstruct.schema import ClassifiedInstruction, Instruction, Lang, Provenance, TaskInstance

SELF_INSTRUCT_BLACKLIST = shipped("bootstrap", "en")["blacklist"]


def heuristics(stage: str = "bootstrap", lang: Lang = "en", **changed: Any) -> Heuristics:
    """The shipped rules of a stage, but for what ``changed`` says."""
    return Heuristics(Rules(**(shipped(stage, lang) | changed)))


ENGLISH, CHINESE, BELLE = heuristics(), heuristics(lang="zh"), heuristics("belle", "zh")


def _instruction(text: str) -> Instruction:
    return Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction=text, lang="en")


def _task(instruction: str, input: str = "", output: str = "") -> TaskInstance:
    return TaskInstance(
        id="instances-0-0-0",
        provenance=Provenance(),
        instruction=instruction,
        input=input,
        output=output,
        lang="zh",
        is_classification=False,
    )


def _reason(text: str, rules: Heuristics = ENGLISH) -> str | None:
    drop = rules.check(_instruction(text))
    return drop.reason if drop else None


# --- English --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Name four old trees.", id="four words"),
        pytest.param(" ".join(["word"] * 150), id="150 words"),
        pytest.param("Explain what mapping means in algebra.", id="mapping is not map"),
        pytest.param("Write a profile of a baker.", id="profile is not file"),
        pytest.param("Say how a photograph is developed.", id="photograph is not graph"),
        pytest.param("Rename the field file_name in this text.", id="an underscore is part of a word"),
        pytest.param("List plots of three well-known novels.", id="plots is not plot"),
        pytest.param("Say who goes to market first.", id="goes to is not go to"),
        pytest.param("Suggest a title for a video about bees.", id="video is Alpaca's word"),
        pytest.param("Write programs that sort a list.", id="another opening"),
        pytest.param("Please write a program that sorts.", id="the words, but not as the opening"),
        pytest.param("3 friends share 12 plums; explain how.", id="a digit first"),
        pytest.param("Is naïve an English word?", id="non-ASCII later on"),
        pytest.param("Explain what (a) and [b] mean.", id="punctuation later on"),
    ],
)
def test_a_text_on_the_good_side_of_a_rule_is_kept(text: str) -> None:
    """Limits are inclusive, words count whole, and openings are openings."""
    assert ENGLISH.check(_instruction(text)) is None


@pytest.mark.parametrize(
    ("text", "drop"),
    [
        pytest.param("", Drop("too_short", "0 words, at least 4"), id="empty"),
        pytest.param(" \n\t ", Drop("too_short", "0 words, at least 4"), id="whitespace only"),
        pytest.param("Name three trees.", Drop("too_short", "3 words, at least 4"), id="three words"),
        pytest.param(" ".join(["word"] * 151), Drop("too_long", "151 words, at most 150"), id="151 words"),
        pytest.param("Write a program that sorts.", Drop("program_request", "Write a program"), id="opening"),
        pytest.param("write a PROGRAM that sorts.", Drop("program_request", "write a PROGRAM"), id="opening, any case"),
        pytest.param(
            "Write a programme for our village fair.", Drop("program_request", "Write a program"), id="plain prefix"
        ),
        pytest.param('"Good day" in five languages.', Drop("starts_with_punctuation", '"'), id="quote"),
        pytest.param("- name five kinds of bread", Drop("starts_with_punctuation", "-"), id="dash"),
        pytest.param("(Optional) name five kinds of bread", Drop("starts_with_punctuation", "("), id="bracket"),
        pytest.param("  `ls` lists what, and how?", Drop("starts_with_punctuation", "`"), id="after leading spaces"),
        pytest.param("¿Cómo se dice bread in French?", Drop("starts_non_ascii", "¿"), id="inverted question mark"),
        pytest.param("«Bread» means what in French?", Drop("starts_non_ascii", "«"), id="guillemet"),
        pytest.param("请 用 一句话 介绍 北京", Drop("starts_non_ascii", "请"), id="Chinese"),
        pytest.param("Écrire is a French word for what?", Drop("starts_non_ascii", "É"), id="accented letter"),
    ],
)
def test_a_text_on_the_bad_side_of_a_rule_is_dropped_with_its_reason(text: str, drop: Drop) -> None:
    """Each rule has a reason of its own, and the detail says what broke it."""
    assert ENGLISH.check(_instruction(text)) == drop


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("Explain the Map to a child.", "Map", id="capital"),
        pytest.param("Describe the IMAGES you were shown.", "IMAGES", id="all capitals"),
        pytest.param("Summarise report.txt, a short file.", "file", id="before a full stop"),
        pytest.param("Go to the shop and buy milk.", "Go to", id="phrase"),
        pytest.param("Decide whether to go  to town.", "go to", id="phrase, two spaces"),
        pytest.param("Decide whether to go\nto town.", "go to", id="phrase over two lines"),
        *(pytest.param(f"Please describe this {word} for me.", word, id=word) for word in SELF_INSTRUCT_BLACKLIST),
    ],
)
def test_a_blacklisted_word_is_told_with_its_field(text: str, found: str) -> None:
    """As it stands in the text, in any case."""
    assert ENGLISH.check(_instruction(text)) == Drop("blacklisted_word", f"{found} in the instruction")


def test_rules_are_tried_in_the_order_of_self_instruct() -> None:
    """Of several broken rules the first is the reason: length, words, opening, first character."""
    assert _reason("- draw maps") == "too_short"
    assert _reason("Write a program to draw a circle.") == "blacklisted_word"
    assert _reason("- draw a circle and a square") == "blacklisted_word"


@pytest.mark.parametrize("word", ["video", "audio", "music", "flowchart", "diagram"])
def test_alpacas_five_words_are_a_longer_list(word: str) -> None:
    """Self-Instruct keeps them."""
    assert _reason(f"Suggest a name for this {word}.", heuristics("alpaca")) == "blacklisted_word"
    assert _reason(f"Suggest a name for this {word}.") is None


def test_alpaca_drops_the_opening_only_as_written() -> None:
    """Alpaca did not capitalise first, so its prefix test depends on the case."""
    assert _reason("write a program that sorts.", heuristics("alpaca")) is None
    assert _reason("Write a program that sorts.", heuristics("alpaca")) == "program_request"


def test_every_limit_is_a_value() -> None:
    """Other limits, an empty list and no opening forbid exactly what they say."""
    rules = heuristics(min_length=2, max_length=4, blacklist=(), openings=())
    assert _reason("Sing", rules) == "too_short"
    assert _reason("Sing a short song now", rules) == "too_long"
    assert _reason("Draw a map", rules) is None
    assert _reason("Write a program now", rules) is None


def test_without_a_most_no_text_is_too_long() -> None:
    """BELLE has none for tasks without an input."""
    assert _reason("word " * 5000, heuristics(max_length=None)) is None


def test_a_blacklisted_word_is_taken_literally() -> None:
    """A dot in the list is a dot, not any character."""
    rules = heuristics(blacklist=("node.js",))
    assert _reason("Explain what node.js is good for.", rules) == "blacklisted_word"
    assert _reason("Explain what nodexjs is good for.", rules) is None


def test_an_exception_spares_the_longer_word_only() -> None:
    """Elsewhere in the same text the entry counts."""
    rules = heuristics(blacklist_except=("map reading",))
    assert _reason("Say why map reading matters.", rules) is None
    assert _reason("Say why map readings matter.", rules) == "blacklisted_word"
    assert _reason("Say why map reading needs a map.", rules) == "blacklisted_word"


def test_admit_returns_the_very_record() -> None:
    """The filter adds nothing to a record, of whatever kind."""
    rules: Filter[Instruction] = heuristics()
    plain = _instruction("Name four old trees.")
    classified = ClassifiedInstruction(**plain.model_dump(), is_classification=False)
    assert rules.admit(plain) is plain
    assert heuristics().admit(classified) is classified


def test_a_whole_task_is_judged_by_its_instruction_only() -> None:
    """Input and output may name files and maps; Alpaca's filters did not look there either."""
    rules: Filter[TaskInstance] = heuristics()
    assert rules.check(_task("Say which word is longest.", "map, file, picture", "picture")) is None


# --- Chinese --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("写一首诗", 4),
        ("写一首诗。", 5),
        ("寫一首詩。", 5),
        (" 写 一\n首　诗 ", 4),
        ("用C写诗", 4),
        ("用 C 语言写诗", 6),
        ("１２３４", 4),
        ("Tom是谁", 5),
    ],
)
def test_a_length_in_characters_is_what_is_not_white_space(text: str, length: int) -> None:
    """Hanzi of either kind, letters, digits and punctuation count alike; the ideographic space does not."""
    assert heuristics(lang="zh", min_length=length, max_length=length).check(_instruction(text)) is None
    drop = heuristics(lang="zh", min_length=length + 1).check(_instruction(text))
    assert drop == Drop("too_short", f"{length} characters, at least {length + 1}")
    drop = heuristics(lang="zh", min_length=1, max_length=length - 1).check(_instruction(text))
    assert drop == Drop("too_long", f"{length} characters, at most {length - 1}")


REFUSED = [
    ("根据图片写一段话。", "根据图片"),
    ("描述这张图里的人物。", "这张图"),
    ("描述這張圖裡的人物。", "這張圖"),
    ("如图所示，求三角形的面积。", "如图"),
    ("求下图阴影部分的面积。", "下图"),
    ("看图写话，不少于三句。", "看图"),
    ("给上传的图片起一个标题。", "上传的图"),
    ("请为给定的图像生成说明。", "给定的图像"),
    ("图片中有几只猫？", "图片中"),
    ("说出照片里的人在做什么。", "照片里"),
    ("这张照片是在哪里拍的？", "这张照片"),
    ("分析以下截图中的错误。", "以下截图"),
    ("画一张公司的组织结构图。", "画一张"),
    ("畫一張公司的組織結構圖。", "畫一張"),
    ("为我的房间画一幅画", "画一幅"),
    ("绘制某地一周气温变化的折线图。", "绘制"),
    ("繪製一張折線圖。", "繪製"),
    ("用铅笔画出你的家乡。", "画出"),
    ("生成图片：一只戴帽子的猫", "生成图片"),
    ("把销售数据制作图表展示。", "制作图表"),
    ("为登录过程制作流程图。", "制作流程图"),
    ("用图表示下列关系。", "用图表示"),
    ("识别图中的植物。", "识别图中"),
    ("拍一张窗外的风景。", "拍一张"),
    ("听录音，回答问题。", "听录音"),
    ("把这段音频转成文字。", "这段音频"),
    ("总结该视频的主要内容。", "该视频"),
    ("视频中的老师讲了什么？", "视频中"),
    ("请录制一段自我介绍。", "录制"),
    ("播放一首轻松的歌。", "播放一首"),
    ("打开文件并统计行数。", "打开文件"),
    ("打開檔案並統計行數。", "打開檔案"),
    ("阅读附件中的合同。", "附件中"),
    ("根据上传的文件写摘要。", "上传的文件"),
    ("打开网页，找到联系电话。", "打开网页"),
    ("点击链接查看原文。", "点击链接"),
    ("概括以下链接的内容。", "以下链接"),
    ("在网上搜索今天的菜价。", "在网上搜索"),
    ("在地图上标出长江的源头。", "在地图上"),
    ("访问网站并写出它的优点。", "访问网站"),
    ("裁剪图片，去掉边框。", "裁剪图片"),
    ("“如图所示”，请计算角度。", "如图"),
]
KEPT = [
    "介绍中国绘画史上的三位大家。",
    "解释文件名和扩展名的区别。",
    "地图册和地球仪各有什么用处？",
    "“画龙点睛”是什么意思？",
    "写一篇题为《我的家乡》的作文。",
    "例如图书馆和博物馆，都是公共场所，请再举两例。",
    "推荐以下图书中的一本，并说明理由。",
    "比如图形用户界面，它有什么好处？",
    "图灵是谁？他如何影响了计算机科学？",
    "假如图灵还活着，他会怎样看待今天的计算机？",
    "网上图书馆怎样使用？",
    "《清明上河图》是谁绘制的？",
    "《清明上河圖》是誰繪製的？",
    "这段话刻画出怎样的人物形象？",
    "用三个词勾画出秋天的样子。",
    "为企业的未来绘制蓝图这句话用了什么修辞？",
    "解释“见微知著”。",
    "写一封邮件，说明附件是上个月的报表。",
    "如何打开文件的压缩包？",
    "如何录制一首自己的歌？",
    "摄影中的三分法是什么？",
    "夜景拍照有哪些技巧？",
    "图像识别技术有哪些应用？",
    "解释数据库中的视图和索引。",
    "视频网站靠什么赚钱？",
    "写一段介绍短视频行业的文字。",
    "音乐对情绪有什么影响？",
    "为一家照片冲印店写广告语。",
    "播放量和点赞数有什么关系？",
    "什么是地图投影？",
    "评价齐白石画虾的特点。",
    "动画一般分为哪几类？",
    "如果企图中断谈判，对方会怎样？",
    "写一副春联。",
    "解释“按图索骥”的出处。",
    "超链接在网页中起什么作用？",
    "将下列句子改为被动句：这幅画是他送给我的。",
    "查看图书的借阅期限需要哪些信息？",
    "写一则关于文件柜的谜语。",
    "讨论纸质书和电子书的优缺点。",
    "怎么上传文件才能保证安全？",
    "说说装修图纸由哪些部分组成。",
]


@pytest.mark.parametrize(("text", "found"), REFUSED)
def test_chinese_that_needs_eyes_ears_or_hands_is_refused(text: str, found: str) -> None:
    """Pictures, sound, files and pages that are not there, or that text cannot make."""
    assert CHINESE.check(_instruction(text)) == Drop("blacklisted_word", f"{found} in the instruction")


@pytest.mark.parametrize("text", KEPT)
def test_chinese_that_only_speaks_of_such_things_is_kept(text: str) -> None:
    """Paintings, file names, atlases, idioms, and words that hold an entry by chance."""
    assert CHINESE.check(_instruction(text)) is None


@pytest.mark.parametrize(
    ("text", "drop"),
    [
        ("编写一个程序，输出一百以内的质数。", Drop("program_request", "编写一个程序")),
        ("请写一个程序计算平均数。", Drop("program_request", "请写一个程序")),
        ("寫一個程式計算平均數。", Drop("program_request", "寫一個程式")),
        ("。写一首关于雨的诗", Drop("starts_with_punctuation", "。")),
        ("（二）写一首关于雨的诗", Drop("starts_with_punctuation", "（")),
        ("、写一首关于雨的诗", Drop("starts_with_punctuation", "、")),
        ("- 写一首关于雨的诗", Drop("starts_with_punctuation", "-")),
        ("【任务】写一首诗", Drop("starts_with_punctuation", "【")),
        ("”的用法是什么", Drop("starts_with_punctuation", "”")),
    ],
)
def test_a_chinese_text_begins_with_a_word(text: str, drop: Drop) -> None:
    """Program requests and pieces of lists are told by their beginning."""
    assert CHINESE.check(_instruction(text)) == drop


@pytest.mark.parametrize(
    "text",
    [
        "给定一个数组，编写一个程序求和。",
        "编写一个函数，判断回文。",
        "“守株待兔”告诉我们什么？",
        "《活着》讲了什么故事？",
        "「仁」的含義是什麼？",
        '"内卷"是什么意思？',
        "3只鸡和2只兔共有几条腿？",
        "Python的列表和元组有何不同？",
        "√2为什么是无理数？",
        "１月有多少天？",
    ],
)
def test_a_chinese_text_may_begin_with_a_quote_a_title_or_any_letter(text: str) -> None:
    """Digits, Latin names and signs of mathematics included."""
    assert CHINESE.check(_instruction(text)) is None


# --- BELLE ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instruction", "input", "output", "found"),
    [
        ("写一首关于雨的诗。", "", "作为AI语言模型，我没有见过雨。", "作为AI语言模型 in the output"),
        ("写一首关于雨的诗。", "", "作为 AI 语言模型，我没有见过雨。", "作为 AI 语言模型 in the output"),
        ("写一首关于雨的诗。", "", "作为一个人工智能，我没有见过雨。", "作为一个人工智能， in the output"),
        ("写一首关于雨的诗。", "", "我是一个语言模型。", "我是一个语言模型 in the output"),
        ("介绍一下ChatGPT的用途。", "", "", "ChatGPT in the instruction"),
        ("介绍这家公司的历史。", "openai", "", "openai in the input"),
        ("概括这篇文章的内容。", "HTTPS://example.com/1", "", "HTTP in the input"),
        ("概括这篇文章的内容。", "", "见链接。", "链接 in the output"),
        ("解释文件名和扩展名的区别。", "", "", "文件 in the instruction"),
        ("让GPT4写一首诗。", "", "", "GPT in the instruction"),
    ],
)
def test_belle_refuses_its_words_anywhere_in_the_record(instruction: str, input: str, output: str, found: str) -> None:
    """In any case, with or without a space between Chinese and Latin letters, and the field is told."""
    assert BELLE.check(_task(instruction, input, output)) == Drop("blacklisted_word", found)


@pytest.mark.parametrize(
    "output",
    [
        "作为人工智能工程师，我每天写代码。",
        "人工智能正在改变生活。",
        "作为一名老师，我喜欢孩子。",
        "我是一个爱笑的人。",
    ],
)
def test_belle_keeps_people_who_work_on_ai(output: str) -> None:
    """Only those who speak as a model are refused."""
    assert BELLE.check(_task("写一句自我介绍。", "", output)) is None


@pytest.mark.parametrize(
    ("length", "input", "example", "most"),
    [
        (99, "春", False, None),
        (100, "春", False, 99),
        (149, "春", True, None),
        (150, "春", True, 149),
        (5000, "", False, None),
        (5000, "", True, None),
    ],
)
def test_belle_limits_the_instruction_beside_an_input(length: int, input: str, example: bool, most: int | None) -> None:
    """Fewer than 100 characters with an input, 150 with an example too, and any number without an input."""
    text = ("例子" if example else "") + "写" * (length - 2 * example)
    drop = BELLE.check(_task(text, input))
    assert drop == (None if most is None else Drop("too_long", f"{length} characters, at most {most}"))


def test_belle_drops_three_characters_and_keeps_four() -> None:
    """Its rule for short instructions."""
    assert BELLE.check(_task("写首诗")) == Drop("too_short", "3 characters, at least 4")
    assert BELLE.check(_task("写一首诗")) is None
