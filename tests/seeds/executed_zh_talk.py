"""Executed checks of the Chinese seed tasks of dialogue, humour and culture: turns, lengths, chains and couplets."""

from __future__ import annotations

import re

from tests.seeds.reading_zh import (
    DIGITS,
    LEVEL,
    OBLIQUE,
    avoids,
    hanzi_in,
    in_range,
    keeps,
    length_of,
    numbered_items,
    turns_of,
)

# --- dialogue -------------------------------------------------------------------------------------------------------


def check_aunt_marriage_nagging_replies(input: str, output: str) -> None:
    """Three replies in quotation marks, none of them rude."""
    replies = numbered_items(output)
    assert len(replies) == len(output.splitlines()) == 3
    assert all(re.fullmatch("“[^“”]+[。？！]”", reply) for reply in replies)
    avoids(output, ("关你", "少管", "烦死", "别管"))


def check_old_classmates_fight_bill(input: str, output: str) -> None:
    """Two speakers take four turns each, one after the other, and somebody else has paid in the end."""
    turns = turns_of(output)
    speakers = [speaker for speaker, _ in turns]
    assert len(set(speakers)) == 2
    assert speakers == speakers[:2] * 4
    assert "替我们结了" in turns[-1][1]


def check_taxi_ride_speaker_labels(input: str, output: str) -> None:
    """Only labels were added: the driver asks and drives, the daughter answers, and her mother is on the line."""
    labels = ["周师傅", "小林", "周师傅", "小林", "林妈妈", "小林", "周师傅"]
    turns = turns_of(output)
    assert [speaker[1:] for speaker, _ in turns] == labels
    assert [speaker[0] + words for speaker, words in turns] == input.split("\n\n")[1].splitlines()


def check_grid_worker_doorstep_opening(input: str, output: str) -> None:
    """The opening has 120 characters at most and every point of the brief."""
    assert length_of(output) <= 120
    points = (
        "小许",
        "青枫社区第五网格",
        "工作证",
        "登记家里常住几口人",
        "有没有需要照应的老人",
        "不收钱",
        "8266-0415",
        "核实",
    )
    assert [point for point in points if point not in input] == []
    assert [point for point in points if point not in output.replace("登记一下", "登记")] == []
    assert "不拍身份证" in output.replace("也不", "不")


def check_embroiderer_interview_questions(input: str, output: str) -> None:
    """Eight numbered questions of one sentence each take up the facts about her."""
    questions = numbered_items(output)
    assert len(questions) == len(output.splitlines()) == 8
    assert [question for question in questions if not re.fullmatch("[^。？！]+？", question)] == []
    keeps(input, output, ("十四岁", "母亲", "白内障手术", "女儿", "网店", "孙女"))


# --- humour ---------------------------------------------------------------------------------------------------------


def check_steamed_roll_xiehouyu(input: str, output: str) -> None:
    """The second half puns on the character the roll of the first half and the rat race share."""
    assert "卷" in input
    assert output.endswith("卷")
    assert output.count("越") in (0, 2)
    assert "比" in output
    assert 2 <= len(hanzi_in(output)) == len(output) <= 8


def check_classmate_stutter_sketch(input: str, output: str) -> None:
    """The answer advises against it, names neither the classmate nor her line in the sketch, and leads to oneself."""
    advice, sketch, _ = output.split("\n\n")
    assert "劝你放下" in advice
    assert sketch[0] + sketch[-1] == "“”"
    avoids(sketch, ("孙悦", "结巴", "床"))
    assert sketch.count("我") >= 5


def check_medical_checkup_moments_post(input: str, output: str) -> None:
    """The post has 24 characters at most and makes something of what rose and what did not."""
    assert 6 <= length_of(output) <= 24
    assert output[-1] in "。！？"
    keeps(input, output, ("涨", "单位"))
    assert "体检" in output


def check_chushibiao_friday_meeting(input: str, output: str) -> None:
    """The petition has 200 to 280 characters and echoes the turns of phrase of the original memorial."""
    in_range(output, 200, 280)
    echoes = ("言：", "未半，而", "此诚", "存亡之秋也", "不懈于内", "忘身于外者", "开张圣听", "不宜异同", "有所广益")
    later = ("所以兴隆也", "所以倾颓也", "未尝不叹息痛恨于", "涕零，不知所言。")
    assert [echo for echo in echoes + later if echo not in output] == []
    assert [word for word in ("周五", "会", "经理") if word not in output] == []


def check_rooster_owners_group_chat(input: str, output: str) -> None:
    """At most ten messages, all four members speak and nobody else, and the rooster goes home at the weekend."""
    turns = turns_of(output)
    assert len(turns) <= 10
    members = {"2栋王姐", "5栋小贾", "3栋邓老师", "物业小马"}
    assert {speaker for speaker, _ in turns} == members
    assert all(member in input for member in members)
    keeps(input, output, ("四点", "孙女", "观察作文", "周末"))


def check_phlegm_joke_device(input: str, output: str) -> None:
    """The answer of the old man repeats the question with another character of the same sound."""
    assert "有痰" in input
    assert "有谈" in input
    assert output == "谐音"


def check_family_mood_weather_forecast(input: str, output: str) -> None:
    """Each of the four has one sentence, in the order given, with words of a forecast."""
    members = [line.split("：")[0] for line in input.splitlines()]
    turns = [turn for turn in turns_of(output.split("\n", 1)[1]) if turn[0] in members]
    assert [speaker for speaker, _ in turns] == members
    for _, words in turns:
        assert re.fullmatch("[^。！？]+。", words)
        assert re.search("[晴阴雨风云]|气压", words)


# --- culture --------------------------------------------------------------------------------------------------------


def check_shell_radical_money(input: str, output: str) -> None:
    """Three further characters are explained, and their parts are a shell and the part named."""
    shells = {"贫": "上“分”下“贝”", "贷": "上“代”下“贝”", "购": "左“贝”右“勾”", "账": "左“贝”右“长”"}
    examples = re.findall(r"(?m)^(\w)：(左“贝”右“\w”|上“\w”下“贝”)", output)
    assert len(examples) == 3
    assert all(shells[character] == parts for character, parts in examples)
    assert not {character for character, _ in examples} & set("财货贵")


def check_idiom_satisfactory_misuse(input: str, output: str) -> None:
    """The idiom means "on the whole satisfying", and the sentence is a complaint."""
    assert "差强人意" in input
    assert "返工" in input
    assert output == "不恰当"


def check_lamp_flying_flower_game(input: str, output: str) -> None:
    """Three lines of seven characters have the lamp in the second, sixth and seventh place, with poet and poem."""
    rows = [re.fullmatch(r"第(\w)字：(\w{7})（(\w+)《(\w+)》）", line) for line in output.splitlines()]
    places = [DIGITS.index(row[1]) for row in rows if row]
    assert places == [1, 5, 6]
    assert all(row and row[2][place] == "灯" for row, place in zip(rows, places, strict=True))
    poems = {"孤灯挑尽未成眠": "长恨歌", "闲敲棋子落灯花": "约客", "江湖夜雨十年灯": "寄黄几复"}
    assert all(row and poems[row[2]] == row[4] for row in rows)


def check_couplet_best_second_line(input: str, output: str) -> None:
    """Only one of the four lines repeats no character, within or across, and ends on a level tone."""
    first = "茶香满院迎佳客"
    lines = dict(line.split("：") for line in input.splitlines())
    sound = [
        label
        for label, line in lines.items()
        if len(line) == len(first) == len(set(line)) and not set(line) & set(first) and line[-1] in LEVEL
    ]
    assert list(lines) == list("甲乙丙丁")
    assert first[-1] in OBLIQUE
    assert sound == [output]


def check_zodiac_year_red_socks(input: str, output: str) -> None:
    """The explanation has 180 to 250 characters, and the ages it gives are multiples of twelve."""
    in_range(output, 180, 250)
    ages = [
        max(DIGITS.find(tens), 0) * 10 + 10 + DIGITS.index(ones) + 1 for tens, ones in re.findall("(.)十(.)岁", output)
    ]
    assert ages == list(range(12, 12 * len(ages) + 1, 12))
    assert len(ages) >= 3
    keeps(input, output, ("Bruno", "刘姐", "本命年", "红袜子"))


def check_genealogy_stem_branch_years(input: str, output: str) -> None:
    """Of all distances from a 丙子 year to a 己亥 year, exactly one lies in the eighties."""
    born, died = (
        next(
            year
            for year in range(60)
            if "甲乙丙丁戊己庚辛壬癸"[year % 10] + "子丑寅卯辰巳午未申酉戌亥"[year % 12] == name
        )
        for name in ("丙子", "己亥")
    )
    (apart,) = ((died - born) % 60 + cycle for cycle in (0, 60) if 80 <= (died - born) % 60 + cycle < 90)
    assert output == f"{apart}年"


def check_idiom_chain_full_circle(input: str, output: str) -> None:
    """Four idioms of four characters, each starting with the last character of the one before, close a circle."""
    idioms = output.split("→")
    assert idioms[0] == "海阔天空"
    assert [len(idiom) for idiom in idioms] == [4] * 4
    assert len(set(idioms)) == 4
    assert all(one[-1] == other[0] for one, other in zip(idioms, idioms[1:] + idioms[:1], strict=True))
