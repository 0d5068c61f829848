"""LanguageMatch: who writes Chinese in an English run, or English in a Chinese one, is told; borrowed words are not."""

from __future__ import annotations

import pytest

from selfinstruct.filters.language import LanguageMatch
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction, Lang, Provenance, TaskInstance

FILTERS = {"en": LanguageMatch("en"), "zh": LanguageMatch("zh")}


def _instruction(text: str, lang: Lang) -> Instruction:
    return Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction=text, lang=lang)


def _task(instruction: str, input: str, output: str, lang: Lang) -> TaskInstance:
    return TaskInstance(
        id="instances-0-0-0",
        provenance=Provenance(),
        instruction=instruction,
        input=input,
        output=output,
        lang=lang,
        is_classification=False,
    )


# --- the instruction ------------------------------------------------------------------------------------------------

CHINESE = [
    "写一首关于秋天的诗。",
    "寫一首關於秋天的詩。",
    "请把下面的句子翻译成英文。",
    "用Python写一个快速排序函数",
    "解释HTTP和HTTPS的区别",
    "什么是SQL注入？怎样防范？",
    "Python是什么语言？",
    "iPhone和华为手机各有什么优点？",
    "列出5个常用的Linux命令，并说明用途",
    "把“The early bird catches the worm”翻译成中文",
    "翻译：The early bird catches the worm, but the second mouse gets the cheese.",
    "请把 I went to the supermarket this morning to buy milk 翻译成中文",
    "下面这句话有语法错误吗？He go to school every day with his little brother.",
    "请解释“break the ice”这个短语的意思",
    "To be or not to be 出自哪部作品？",
    "比较 Django、Flask、FastAPI 三个框架",
    "解释日语中“ありがとう”的用法",
    "把ありがとう翻译成中文",
    "《红楼梦》的作者是谁？",
    "“画蛇添足”是什么意思？",
    "计算 3x + 5 = 20 中的 x",
    "NBA历史上得分最高的球员是谁？",
    "给我的猫起一个名字",
    "CPU、GPU 和 TPU 有何不同",
    "用“不但……而且……”造句",
    "访问 https://example.com/a/b/c 需要什么协议？",
    "已知 $f(x) = x^2 + 2x + 1$，求 $f(3)$。",
    "下列单词哪个是动词：apple, run, blue, table, happy",
    "WiFi连不上怎么办",
    "讲一个关于Tom和Jerry的笑话",
    "请用文言文改写这句话",
    "将 `print('hello world')` 改写成 C 语言",
    "介绍一下北海道の美食",
    "简述TCP三次握手",
    "AI会取代老师吗？谈谈你的看法",
    "请判断句子的情感：这家店的服务太差了",
    "以下代码有什么问题？\n```python\nfor i in range(10) print(i)\n```",
    "Hello Kitty是哪国的卡通形象？",
    "总结全文：\n今天上午，市气象台发布了大风预警。",
    "OPPO手机如何截屏",
]
ENGLISH = [
    "Write a poem about autumn.",
    "Translate the following sentence into Chinese.",
    "What does 你好 mean?",
    'Explain the difference between "你" and "您".',
    "Translate 我今天早上去超市买了很多东西 into English.",
    "Translate to English: 我今天早上去超市买了很多东西",
    "Is 上海 or 北京 the capital of China?",
    "How do you pronounce 谢谢 in Mandarin?",
    "Name the four largest cities in France.",
    "Summarize this paragraph in one sentence.",
    "What is the plural of mouse?",
    "Rewrite the sentence “我爱你” in traditional characters.",
    "List five uses for old jars.",
    "Describe the taste of a mango.",
    "Give three synonyms for happy",
    "Explain why the sky is blue.",
    "Find the verb in this sentence: 他跑得很快。",
    "Who wrote Don Quixote?",
    "Convert 5 miles to kilometres.",
    "Solve for x: 2x + 3 = 11",
    "Suggest a name for a café.",
    "Identify the language of this text: こんにちは",
    "What is the meaning of the Japanese word ありがとう?",
    "Explain the Cyrillic letter Ж to a child.",
    "Write a haiku about snow.",
    "Name a river in Россия.",
    "Which of these words is a noun: run, table, quickly?",
    "Tell me a joke about cats.",
    "Spell the word necessary.",
    "How many minutes are there in a week?",
    "Compare tea and coffee.",
    "Make the sentence passive: The cat chased the mouse.",
    "Read the code and say what it prints:\n```python\nprint('你好世界，今天天气不错')\n```",
    "Discuss the pros and cons of remote work.",
    "Is the number 91 prime?",
    "Plan a dinner for six guests.",
    "Design a logo for a bakery in words.",
    "Sort: pear, fig, plum",
    "Does the character 好 contain a radical for woman?",
    "Choose the best title for the story.",
    "Among the words 你好 and 再见, one of them is said when you leave.",
]
NEITHER = [
    "日本の首都はどこですか。",
    "次の文章を英語に翻訳してください。",
    "東京の人口を説明せよ。",
    "한국의 수도는 어디입니까?",
    "다음 문장을 영어로 번역하세요.",
    "Какая столица России?",
    "ما هي عاصمة مصر؟",
]
UNTOLD = ["1 + 1 = ?", "…", "12345", "$x^2 + 1$", "😀😀"]


@pytest.mark.parametrize("text", CHINESE)
def test_a_chinese_sentence_is_chinese_whatever_it_quotes(text: str) -> None:
    """English terms, names, code and quotations inside it do not change that; traditional characters are Chinese."""
    assert FILTERS["zh"].check(_instruction(text, "zh")) is None


@pytest.mark.parametrize("text", CHINESE)
def test_a_chinese_sentence_is_wrong_or_undecided_in_an_english_run(text: str) -> None:
    """No Chinese sentence is told to be in neither language; nearly all are told to be Chinese."""
    drop = FILTERS["en"].check(_instruction(text, "en"))
    assert drop in (None, Drop("wrong_language", "the instruction is Chinese"))


def test_chinese_sentences_are_refused_in_an_english_run() -> None:
    """All but two, in which unquoted English words outnumber the Chinese that stands around them."""
    kept = [text for text in CHINESE if FILTERS["en"].check(_instruction(text, "en")) is None]
    assert kept == [
        "请把 I went to the supermarket this morning to buy milk 翻译成中文",
        "To be or not to be 出自哪部作品？",
    ]


@pytest.mark.parametrize("text", ENGLISH)
def test_an_english_sentence_is_english_whatever_it_quotes(text: str) -> None:
    """Chinese, Japanese or Russian words in it are what it talks about."""
    assert FILTERS["en"].check(_instruction(text, "en")) is None


@pytest.mark.parametrize("text", ENGLISH)
def test_an_english_sentence_is_wrong_in_a_chinese_run(text: str) -> None:
    """Also where most of its characters are Chinese, because it is about a Chinese sentence."""
    assert FILTERS["zh"].check(_instruction(text, "zh")) == Drop("wrong_language", "the instruction is English")


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("text", NEITHER)
def test_other_scripts_are_neither(text: str, lang: Lang) -> None:
    """Kana, hangul, Cyrillic and Arabic sentences belong to no run."""
    drop = FILTERS[lang].check(_instruction(text, lang))
    assert drop == Drop("wrong_language", "the instruction is neither English nor Chinese")


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("text", UNTOLD)
def test_a_text_without_letters_is_in_no_language(text: str, lang: Lang) -> None:
    """Where nothing tells the language, nothing is refused."""
    assert FILTERS[lang].check(_instruction(text, lang)) is None


# --- the output -----------------------------------------------------------------------------------------------------

ANSWER = "The heart pumps blood through the body and keeps us alive."
ANTWORT = "心脏把血液送到全身，让我们活着。"

MISMATCHED: list[tuple[Lang, str, str, str]] = [
    ("zh", "说明心脏的作用。", "", ANSWER),
    ("zh", "北京为什么是首都？", "", "Beijing has been the capital for most of the last 700 years."),
    ("zh", "写一封请假信。", "因感冒请假两天", "Dear teacher, I have a cold and would like to rest for two days."),
    ("zh", "给出三条节约用水的建议。", "", "1. Take a shorter shower.\n2. Fix the taps.\n3. Do not waste the rain."),
    ("zh", "概括下面的新闻。", "昨夜大雪，航班取消。", "Flights were cancelled because of the heavy snow last night."),
    ("zh", "說明心臟的作用。", "", ANSWER),
    ("zh", "判断这句话的情感。", "这家店太差了", "The sentiment of the sentence is negative."),
    ("zh", "为什么天空是蓝的？", "", "The sky is blue because the air scatters the short waves of light (瑞利)."),
    ("zh", "推荐一道家常菜。", "", "こちらの料理はとても簡単で、家族みんなが喜びます。"),
    ("zh", "讲一个睡前故事。", "", "옛날 옛적에 작은 마을에 토끼가 살았습니다."),
    ("en", "Explain what the heart does.", "", ANTWORT),
    ("en", "Why is the sky blue?", "", "因为空气把短波的光散射得更多。"),
    ("en", "Write a short letter to a teacher.", "two days off, cold", "老师您好，我感冒了，想请两天假。"),
    ("en", "Give three ways to save water.", "", "1. 缩短淋浴时间\n2. 修好水龙头\n3. 收集雨水"),
    ("en", "Summarize the news.", "Snow stopped all flights.", "大雪讓所有航班停飛。"),
    ("en", "Suggest a simple dish.", "", "番茄炒蛋，做法简单。"),
    ("en", "Tell a bedtime story.", "", "むかしむかし、小さな村にうさぎが住んでいました。"),
    ("en", "Tell a bedtime story.", "", "Жил-был в маленькой деревне серый заяц."),
]
MATCHED: list[tuple[Lang, str, str, str]] = [
    ("zh", "把这句话翻译成英文。", "心脏让我们活着。", ANSWER),
    ("zh", "用英语写一封请假信。", "", "Dear teacher, I have a cold and would like to rest."),
    ("zh", "寫一段英文自我介紹。", "", "My name is Lin and I am from Taipei, the capital."),
    ("zh", "改正语法错误。", "He go to school with his brother.", "He goes to school with his brother every day."),
    ("zh", "润色这段话。", "I am very like to the music of you.", "I like your music very much, and so do my friends."),
    ("zh", "请解释“The heart is a lonely hunter”。", "", "It is the title of a novel by the writer McCullers."),
    ("zh", "写一条SQL，查出所有的学生。", "", "SELECT name FROM students WHERE age > 10 AND id IN (1, 2)"),
    ("zh", "写一段代码，打印问候语。", "", "print('Hello to all of you in the world')"),
    ("zh", "找出最大的数。", "3、9、4", "9"),
    ("zh", "这首歌叫什么？", "", "Yesterday Once More"),
    ("zh", "推荐三本小说。", "", "1. The Old Man and the Sea\n2. A Tale of Two Cities\n3. Of Mice and Men"),
    ("zh", "写出圆的面积。", "", "S = πr²"),
    ("zh", "判断对错。", "地球是平的。", "False"),
    ("zh", "这是什么字体？", "", "Times New Roman"),
    ("zh", "把日期改成标准格式。", "二〇二四年五月一日", "2024-05-01T00:00:00Z"),
    ("zh", "北京大学的缩写是什么？", "", "PKU, which is short for the name of the university."),
    ("zh", "写一个匹配邮箱的正则。", "", r"^[\w.]+@[\w.]+\.[a-z]{2,}$"),
    ("zh", "说明什么是云计算。", "", "云计算（cloud computing）是按需使用的计算服务，如 IaaS、PaaS 和 SaaS。"),
    ("zh", "說明什麼是雲計算。", "", "雲計算是透過網路提供的計算服務。"),
    ("zh", "列出五种编程语言。", "", "Python, Java, Go, C and the language of the web: JavaScript."),
    ("zh", "用俳句写雪。", "", "しんしんと雪ふりつもる夜の町"),
    ("zh", "说明怎样安装。", "", "```bash\nsudo apt install the package and all of its tools\n```"),
    ("en", "Translate into Chinese.", "The heart keeps us alive.", ANTWORT),
    ("en", "How do you say thank you very much in Mandarin?", "", "非常感谢你！"),
    ("en", "Complete the sentence.", "今天天气", "今天天气很好，我们去公园吧。"),
    ("en", "Correct the sentence “我昨天去了学校了。”", "", "我昨天去了学校。"),
    ("en", "Write a Japanese greeting card.", "", "お誕生日おめでとうございます。"),
    ("en", "Name a famous Tang poem.", "China, 8th century", "静夜思（床前明月光）"),
    ("en", "What does the word mean?", "", "It means “你好” and is said to greet somebody."),
    ("en", "Name the famous dish.", "", "麻婆"),
    ("en", "Write the number pi.", "", "3.14159"),
    (
        "en",
        "Give the greeting in several languages.",
        "",
        "English: hello\n中文：你好，世界和平\nРусский: здравствуйте",
    ),
    ("en", "Translate to Russian.", "I love you", "Я тебя люблю"),
    ("en", "Explain the symbol used in physics.", "", "λ is the wavelength, ω the angular frequency."),
    ("en", "Describe the emoticon.", "", "(´・ω・`) looks sad and a little shy."),
    ("en", "Print a greeting in Python.", "", 'print("你好，世界，今天天气不错")'),
    ("en", "Show how the greeting is printed.", "", '```\nsay "你好，世界，今天天气不错"\n```'),
    ("en", "Which city hosted the games in 2008?", "", "Beijing (北京)"),
    ("en", "Say who the author is.", "", "Lu Xun, in Chinese characters 鲁迅先生."),
    ("en", "Name three towns.", "", "Málaga, Zürich and Kraków."),
]


@pytest.mark.parametrize(("lang", "instruction", "input", "output"), MISMATCHED)
def test_prose_in_a_language_nobody_asked_for_is_refused(lang: Lang, instruction: str, input: str, output: str) -> None:
    """A whole answer in the other language, or in a third one, with the language told."""
    drop = FILTERS[lang].check(_task(instruction, input, output, lang))
    assert drop is not None
    assert drop.reason == "output_language"
    found = {"the output is English", "the output is Chinese", "the output is neither English nor Chinese"}
    assert drop.detail in found - {f"the output is {'English' if lang == 'en' else 'Chinese'}"}


@pytest.mark.parametrize(("lang", "instruction", "input", "output"), MATCHED)
def test_other_languages_are_fine_where_the_task_wants_them(
    lang: Lang, instruction: str, input: str, output: str
) -> None:
    """Translations, corrections, code, names, labels, numbers, formulas and borrowed words are no mismatch."""
    assert FILTERS[lang].check(_task(instruction, input, output, lang)) is None


def test_the_instruction_is_judged_before_the_output() -> None:
    """A task wrong in both is wrong by its instruction."""
    drop = FILTERS["zh"].check(_task("Explain what the heart does.", "", ANSWER, "zh"))
    assert drop == Drop("wrong_language", "the instruction is English")


@pytest.mark.parametrize(
    ("output", "refused"),
    [
        ("he is ill now", False),
        ("he is very ill now", True),
        ("Ann, Bob, Tim, Sue, Joe", False),
        ("Ann, Bob, Tim, Sue and Joe", False),
        ("the heart of Joe aches", True),
    ],
)
def test_five_words_with_two_function_words_are_english_prose(output: str, refused: bool) -> None:
    """Names in a row, and what is shorter, may be labels."""
    drop = FILTERS["zh"].check(_task("说明心脏的作用。", "", output, "zh"))
    assert drop == (Drop("output_language", "the output is English") if refused else None)


@pytest.mark.parametrize(("output", "refused"), [("麻婆豆", False), ("麻婆豆腐", True)])
def test_four_characters_are_chinese_prose(output: str, refused: bool) -> None:
    """What is shorter may be a name."""
    drop = FILTERS["en"].check(_task("Explain what the heart does.", "", output, "en"))
    assert drop == (Drop("output_language", "the output is Chinese") if refused else None)


def test_admit_returns_the_very_record() -> None:
    """The filter adds nothing to a record, of whatever kind."""
    plain_filter: Filter[Instruction] = LanguageMatch("zh")
    task_filter: Filter[TaskInstance] = LanguageMatch("zh")
    plain, task = _instruction("写一首诗。", "zh"), _task("写一首诗。", "", "春眠不觉晓。", "zh")
    assert plain_filter.admit(plain) is plain
    assert task_filter.admit(task) is task
