"""Executed checks of the Chinese seed tasks of writing and rewriting: lengths, lines, rhymes, and what must be kept."""

from __future__ import annotations

import itertools
import re

from tests.seeds.reading_zh import (
    LEVEL,
    OBLIQUE,
    avoids,
    clauses_of,
    hanzi_in,
    in_range,
    keeps,
    length_of,
    numbered_items,
    rhymes,
    turns_of,
)

# --- creative writing -----------------------------------------------------------------------------------------------


def check_rider_last_order_verse(input: str, output: str) -> None:
    """Four lines of seven characters rhyme at the even ends, use the material and none of the three words."""
    lines = clauses_of(output)
    assert [len(line) for line in lines] == [7] * 4
    rhymes([lines[1][-1], lines[3][-1]])
    avoids(output, "冷寒冻")
    keeps(input, output, ("腊月", "馄饨", "六", "慢些走"))


def check_last_bus_two_people(input: str, output: str) -> None:
    """The story has 150 to 250 characters and begins on the last bus with the two."""
    in_range(output, 150, 250)
    first = output.splitlines()[0]
    assert "末班公交" in first
    assert "司机" in first
    assert "我" in first


def check_cobbler_spring_couplet(input: str, output: str) -> None:
    """Two lines of seven, a title of four, no character twice, and the second, fourth, sixth and last tones oppose."""
    level = {"声", "牢", "条", "街"}
    oblique = {"脚", "里", "路", "暖"}
    (_, first), (_, second), (_, title) = turns = turns_of(output)
    assert [label for label, _ in turns] == ["上联", "下联", "横批"]
    assert [len(first), len(second), len(title)] == [7, 7, 4]
    assert hanzi_in(first + second + title) == first + second + title
    assert len(set(first + second + title)) == 18
    for one, other in [(first[place], second[place]) for place in (1, 3, 5, 6)]:
        assert (one in oblique and other in level) or (one in level and other in oblique)
    assert [first[1] in level, first[3] in level, first[5] in level, first[6] in level] == [False, True, False, False]
    assert "春" in first + second + title


def check_sewing_machine_poem(input: str, output: str) -> None:
    """Three stanzas of four lines use the material and none of the plain words."""
    assert [len(stanza.splitlines()) for stanza in output.split("\n\n")] == [4, 4, 4]
    avoids(output, ("爱", "想念", "回忆", "思念"))
    keeps(input, output, ("四十年", "踏板", "搪瓷缸", "工装", "书包", "搬家那天", "奶奶"))


def check_bunk_mate_three_lines(input: str, output: str) -> None:
    """Three lines have 24 characters at most, punctuation included."""
    assert len(output.splitlines()) == 3
    assert 9 <= length_of(output) <= 24
    assert re.search("床|铺", output)
    assert re.search("四年|毕业|今夜|今晚|明天", output)
    assert len(hanzi_in(output)) >= 9


def check_dongguan_letter_home(input: str, output: str) -> None:
    """The letter has a greeting, every point of the outline, a signature with date, and 200 to 300 characters."""
    in_range(output, 200, 300)
    lines = output.splitlines()
    assert lines[0] == "小军弟："
    assert lines[-2].endswith("阿芬")
    assert lines[-1].startswith("1993年9月29日")
    keeps(
        input, output, ("塘厦", "给娃娃装眼睛", "一百二十元", "二十元给奶奶抓药", "中秋", "月饼，一人一个", "买得到票")
    )
    avoids(output, ("微信", "手机", "快递", "打卡"))


def check_hundred_day_class_motto(input: str, output: str) -> None:
    """Four phrases of four characters, the second and the fourth rhyme, and three worn words are absent."""
    phrases = clauses_of(output)
    assert [len(phrase) for phrase in phrases] == [4] * 4
    rhymes([phrases[1][-1], phrases[3][-1]])
    assert "百日" in output
    avoids(output, ("拼搏", "梦想", "青春"))


def check_abacus_riddle_verse(input: str, output: str) -> None:
    """Four lines of five characters that rhyme and give away no character of the answer."""
    lines = clauses_of(output)
    assert [len(line) for line in lines] == [5] * 4
    rhymes([lines[1][-1], lines[3][-1]])
    avoids(output, "算盘珠")


def check_sleepy_frog_thunder_tale(input: str, output: str) -> None:
    """The tale has 200 to 300 characters, with the child, the frog, the season and the thunder, and ends asleep."""
    in_range(output, 200, 300)
    keeps(input, output, ("豆豆", "惊蛰", "小青蛙"))
    assert "雷" in output
    assert "睡着" in output.splitlines()[-1]


def check_market_without_similes(input: str, output: str) -> None:
    """The scene has 200 to 260 characters, sounds and smells, and no word that makes a simile."""
    in_range(output, 200, 260)
    avoids(output, ("像", "如", "似", "仿佛", "好比", "一样", "一般", "宛", "犹", "成了", "变成"))
    assert "四点" in output
    assert re.search("响|喊|声", output)
    assert re.search("[腥香辛酸焦臭]味|[腥香辛酸焦臭]气", output)


def check_tea_leaf_anadiplosis(input: str, output: str) -> None:
    """Each of the five clauses begins with the last character of the one before, from the hill to the house."""
    clauses = clauses_of(output)
    assert len(clauses) == 5
    assert all(one[-1] == other[0] for one, other in itertools.pairwise(clauses))
    assert clauses[0][-1] == "山"
    assert "家" in clauses[-1]
    assert "茶" in output
    rhymes([clauses[1][-1], clauses[3][-1], clauses[4][-1]])


def check_sixteen_character_ci(input: str, output: str) -> None:
    """Sixteen characters in lines of 1, 7, 3 and 5 follow the tones of the form and rhyme three times."""
    lines = clauses_of(output)
    assert [len(line) for line in lines] == [1, 7, 3, 5]
    rhymes([lines[0], lines[1][-1], lines[3][-1]])
    for character, tone in zip("".join(lines), "平中仄平平仄仄平平平仄中仄仄平平", strict=True):
        assert character in (LEVEL if tone == "平" else OBLIQUE if tone == "仄" else LEVEL | OBLIQUE)


def check_spatula_hero_entrance(input: str, output: str) -> None:
    """The scene has 200 to 300 characters, keeps the setting, and the fight takes three sentences at most."""
    in_range(output, 200, 300)
    keeps(input, output, ("顾三勺", "四十来岁", "三尺", "雪", "渡口客栈", "三个", "刀客", "过路"))
    (fight,) = (paragraph for paragraph in output.splitlines() if "劈" in paragraph and "铁铲" in paragraph)
    assert len(re.findall("[。！？]", fight)) <= 3
    avoids(output, "血死")


# --- rewriting ------------------------------------------------------------------------------------------------------


def check_fire_notice_clapper_verse(input: str, output: str) -> None:
    """Twelve lines of seven characters, the even ones on one rhyme of level tone, carry every rule of the notice."""
    lines = clauses_of(output)
    assert [len(line) for line in lines] == [7] * 12
    assert lines == [line.rstrip("，。：") for line in output.splitlines()]
    rhymes(line[-1] for line in lines[1::2])
    assert not {line[-1] for line in lines[1::2]} & set("响上亮账唱样让畅场")
    keeps(
        input,
        output,
        ("防火", "楼道", "杂物", "充", "院南车棚", "出门", "关", "气", "插头", "楼梯", "电梯", "通道", "畅通"),
    )
    assert "119" in input
    assert "一一九" in output


def check_streetlight_hotline_request(input: str, output: str) -> None:
    """The request keeps the facts, adds no number and no colloquial word, and has 250 characters at most."""
    assert length_of(output) <= 250
    keeps(input, output, ("明德里7号院门口", "东", "下楼倒垃圾", "脸盆", "物业", "市政", "何秀英"))
    assert set(re.findall(r"\d+", output)) <= set(re.findall(r"\d+", input))
    assert "11月6日" in output
    assert "11月20日" in output
    assert "上周三" in output
    avoids(output, ("我跟你说", "黑咕隆咚", "肿老高", "准信儿", "脚脖子"))


def check_double_negative_date_cake(input: str, output: str) -> None:
    """Taking out the two negatives gives the sentence of the input back."""
    assert re.search("没有一个没|没有谁没|无一没", output)
    assert re.sub("没有一个没|没有谁没|无一没", "都", output) == input


def check_lift_notice_faulty_sentence(input: str, output: str) -> None:
    """The sentence lost nothing but the negation that turned its meaning round."""
    cause, better = (line.split("：", 1)[1] for line in output.splitlines())
    assert better == input.replace("不再", "再")
    assert "否定" in cause
    assert "防止" in cause


def check_classical_note_to_wechat(input: str, output: str) -> None:
    """Every matter of the note is there, in one paragraph without words of the old language."""
    matters = (
        "眼睛",
        "大夫",
        "重阳",
        "爬山",
        "春天",
        "一壶酒",
        "《山海经》",
        "两页",
        "虫",
        "怪我",
        "不好意思|过意不去",
    )
    assert [matter for matter in matters if not re.search(matter, output)] == []
    assert len(output.splitlines()) == 1
    avoids(output, ("仆", "足下", "幸勿", "俟", "愧甚", "目疾"))


def check_classical_sick_leave_note(input: str, output: str) -> None:
    """The note has 60 characters at most, says all that was said, and in no word of everyday speech."""
    assert length_of(output) <= 60
    keeps(input, output, ("王", "雨", "三十八度五", "陈可"))
    facts = ("昨夜", "头痛", "家母", "医", "一日", "补")
    assert [fact for fact in facts if fact not in output] == []
    avoids(output, ("妈妈", "老师", "昨天", "今天", "的", "了", "我"))


def check_carpenter_sentence_skeleton(input: str, output: str) -> None:
    """The skeleton is what is left of the input in its order, without any attribute."""
    rest = iter(input)
    assert all(character in rest for character in output)
    assert output == "木匠做了板凳。"


def check_honorifics_swapped_letter(input: str, output: str) -> None:
    """The five corrections turn the letter of the input into that of the output, and each has its reason."""
    letter, reasons = output.split("\n\n")
    corrections = {
        "您的拙作": "您的大作",
        "家父": "令尊",
        "光临贵府": "登门拜访",
        "我的大作": "拙作",
        "鼎力相助": "尽绵薄之力",
    }
    expected = input
    for wrong, right in corrections.items():
        assert input.count(wrong) == 1
        expected = expected.replace(wrong, right)
    assert letter == expected
    items = numbered_items(reasons)
    assert len(items) == len(corrections)
    for item, (wrong, right) in zip(items, corrections.items(), strict=True):
        assert item.startswith(f"“{wrong.removeprefix('您的')}”改“{right.removeprefix('您的')}”：")


def check_sichuan_speech_to_mandarin(input: str, output: str) -> None:
    """No word of the dialect is left, each has its Mandarin word, and no sentence is missing."""
    words = {
        "莫慌": "别着急",
        "拢了": "到了",
        "抄手": "馄饨",
        "隔壁子": "隔壁",
        "要得不": "行不行",
        "娃儿": "孩子",
        "记到": "记得",
        "莫搞忘了": "别忘了",
        "外头落雨": "外面下雨",
        "莫绊倒": "别摔着",
    }
    keeps(input, input, words)
    avoids(output, words)
    assert [word for word in words.values() if word not in output] == []
    assert re.findall("[。？！]", output) == re.findall("[。？！]", input)


def check_school_report_comment_warmer(input: str, output: str) -> None:
    """Both marks and every fault stay, the insults go, and 120 characters are enough."""
    assert length_of(output) <= 120
    keeps(input, output, ("89分", "72分", "数学", "作业", "课", "话", "拖", "球"))
    assert output.index("89分") < output.index("72分")
    assert re.search("下学期|新学期|往后|今后", output)
    avoids(output, ("懒", "笨", "只知道", "老是"))


def check_noticeboard_six_wrong_characters(input: str, output: str) -> None:
    """Exactly six characters differ, and each makes the word that was meant."""
    assert len(input) == len(output)
    places = [place for place, (one, other) in enumerate(zip(input, output, strict=True)) if one != other]
    assert len(places) == 6
    words = ("一应俱全", "即可", "喧哗", "指定地点", "再接再厉", "环境")
    spans = [range(output.index(word), output.index(word) + len(word)) for word in words]
    assert [sum(place in span for place in places) for span in spans] == [1] * 6
