"""Executed checks of the Chinese seed tasks about extraction, education and business: parsed, counted, recomputed."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, timedelta
from decimal import Decimal

from tests.seeds.reading import cells_of

# --- extraction -----------------------------------------------------------------------------------------------------


def check_parcel_final_place(input: str, output: str) -> None:
    """The place of the courier's last message is the answer, and nobody changes it afterwards."""
    last = [line for line in input.splitlines() if line.startswith("快递员")][-1]
    places = ("驿站", "快递柜", "门卫室", "家门口")
    assert [place for place in places if place in last] == [output]
    assert not any(place in input.splitlines()[-1] for place in places)


def check_parcel_codes_not_collected(input: str, output: str) -> None:
    """The codes that arrived and were not collected stand in the output in the order of the messages."""
    arrived = re.findall(r"包裹已\w+，取件码([A-Z\d-]+)，", input)
    collected = re.findall(r"取件码([A-Z\d-]+)的包裹已取出", input)
    assert set(collected) < set(arrived)
    assert output.splitlines() == [code for code in arrived if code not in collected]


def check_family_tree_indented(input: str, output: str) -> None:
    """The tree built from the words of the speaker is printed by age, two spaces deeper for each generation."""
    root = re.match(r"我爷爷(\w{3})有两儿一女：", input)
    children = re.findall(r"老[大二三](\w{3})是我(\w)[，。]", input)
    assert root
    assert [who for _, who in children] == ["爹", "姑", "叔"]
    grandchildren = {
        "爹": re.findall(r"[我她]叫(\w{2})", input),
        "姑": re.findall(r"姑姑.*?女儿(\w{2})", input),
        "叔": re.findall(r"叔叔.*?儿子(\w{2})", input),
    }
    assert "我和妹妹" in input  # so the speaker is the elder of the two
    lines = [root[1]]
    for name, who in children:
        lines += [f"  {name}", *(f"    {grandchild}" for grandchild in grandchildren[who])]
    assert len(lines) == 8
    assert output.split("\n") == lines


def check_du_fu_place_names(input: str, output: str) -> None:
    """The six names stand in the poem in this order, each once, and no region of the poem is left out."""
    names = output.split("、")
    places = [input.index(name) for name in names]
    assert places == sorted(places)
    assert all(input.count(name) == 1 for name in names)
    assert re.findall(r"\w[外北峡阳]", input) == names  # all place names of the poem end so, and no other word does
    assert len(names) == 6
    assert {len(line) for line in input.splitlines()} == {16}


def check_weekly_meeting_todo_table(input: str, output: str) -> None:
    """Three tasks stand in the order of their dates, which follow from the Wednesday of the meeting."""
    meeting = date(2025, 11, 5)
    assert f"{meeting.year}年{meeting.month}月{meeting.day}日（周三）" in input
    monday = meeting - timedelta(days=2)
    assert monday.weekday() == 0
    due = {
        "老秦": ("灯管", meeting + timedelta(days=1)),  # 明天
        "阿迟": ("易拉宝", monday + timedelta(days=4)),  # 周五
        "小鲁": ("客户名单", monday + timedelta(days=8)),  # 下周二
    }
    header, _, *rows = cells_of(output)
    assert header == ["负责人", "事项", "截止日期"]
    assert {who: day for who, _, day in rows} == {who: day.isoformat() for who, (_, day) in due.items()}
    assert all(due[who][0] in what for who, what, _ in rows)
    assert [row[2] for row in rows] == sorted(row[2] for row in rows)
    assert len(rows) == 3


def check_fish_pond_water_report(input: str, output: str) -> None:
    """Exactly the items outside their range are listed, with their value and the right side."""
    items = re.findall(r"(?m)^(\w+)(?:（(\S+)）)?：([\d.]+)，适宜([\d.]+)～([\d.]+)$", input)
    assert len(items) == 7
    expected = []
    for name, unit, value, low, high in items:
        if not Decimal(low) <= Decimal(value) <= Decimal(high):
            expected.append(f"{name}：{value}{unit}，偏{'低' if Decimal(value) < Decimal(low) else '高'}")
    assert output.splitlines() == expected


def check_bank_sms_spending_csv(input: str, output: str) -> None:
    """The CSV has one row for each message of spending, with plain amounts and two-digit dates."""
    rows = [["date", "merchant", "amount"]]
    for message in input.splitlines():
        spent = re.search(r"(\d+)月(\d+)日.*消费支出人民币([\d,.]+)元，商户：(\w+)。", message)
        if spent:
            rows.append([f"{int(spent[1]):02}-{int(spent[2]):02}", spent[4], spent[3].replace(",", "")])
    assert len(rows) == 4
    assert list(csv.reader(io.StringIO(output))) == rows


def check_rental_ad_fields(input: str, output: str) -> None:
    """The six lines stand in the order asked for, with the figures of the advertisement; pets are not mentioned."""
    fields = dict(line.split("：") for line in output.splitlines())
    assert list(fields) == ["租金", "押付", "面积", "朝向", "地铁", "宠物"]
    facts = re.search(r"(朝南)的次卧，(\d+)平.*月租(\d+)，(押.付.)，.*走(\d+分钟)到地铁(\w+站)", input)
    assert facts
    assert fields["租金"] == f"每月{facts[3]}元"
    assert fields["押付"] == facts[4]
    assert fields["面积"] == f"{facts[2]}平方米"
    assert fields["朝向"] == facts[1]
    assert fields["地铁"] == f"步行{facts[5]}到{facts[6]}"
    assert not re.search("宠物|猫|狗", input)
    assert fields["宠物"] == "未提及"


def check_iou_three_parties(input: str, output: str) -> None:
    """The lender is the one borrowed from, the debtor signs as the maker, the surety pays if he does not."""
    parties = [re.search(pattern, input) for pattern in (r"今向(\w{3})借到", r"立据人：(\w{3})", r"由(\w{3})代为偿还")]
    assert all(parties)
    lender, debtor, surety = (party[1] for party in parties if party)
    assert output == f"出借人{lender}，借款人{debtor}，担保人{surety}"


def _signups(text: str) -> list[tuple[str, int, int]]:
    """Return name, adults and children of each numbered line of a list of participants."""
    lines = re.findall(r"(?m)^\d、(\w+)，(\d)大(?:(\d)小)?$", text)
    return [(name, int(adults), int(children or 0)) for name, adults, children in lines]


def check_relay_signup_headcount(input: str, output: str) -> None:
    """The list, less the one who cancels and plus the later adult, gives the numbers."""
    entries = {name: (adults, children) for name, adults, children in _signups(input)}
    cancelled = re.search(r"(\w+)：.*把我划掉", input)
    added = re.search(r"(\w+)：.*加(\d)大。", input)
    assert len(entries) == 5
    assert cancelled and added and cancelled[1] in entries and added[1] in entries
    del entries[cancelled[1]]
    adults = sum(adults for adults, _ in entries.values()) + int(added[2])
    assert output == f"{adults}个大人，{sum(children for _, children in entries.values())}个孩子"


# --- education ------------------------------------------------------------------------------------------------------


def check_hou_characters_jingle(input: str, output: str) -> None:
    """Four lines of seven characters: 候 only in the first, 侯 only in the third, and the even lines rhyme in -a."""
    lines = [line.rstrip("，；。") for line in output.splitlines()]
    assert [len(line) for line in lines] == [7] * 4
    assert [line.count("候") for line in lines] == [3, 0, 0, 0]
    assert [line.count("侯") for line in lines] == [0, 0, 3, 0]
    finals = {"插": "a", "它": "a"}
    assert finals[lines[1][-1]] == finals[lines[3][-1]]


def check_gaokao_score_rank(input: str, output: str) -> None:
    """The first rank is one more than all with a higher score, the last adds those with the same score."""
    top = re.search(r"(\d+)分及以上：累计(\d+)人", input)
    assert top
    counts = {int(score): int(count) for score, count in re.findall(r"(\d+)分：本段(\d+)人", input)}
    assert set(range(612, int(top[1]))) <= set(counts)
    above = int(top[2]) + sum(count for score, count in counts.items() if score > 612)
    assert output == f"第{above + 1}名到第{above + counts[612]}名"


def check_parallel_applications_explained(input: str, output: str) -> None:
    """Filling the places in the order of the scores gives each of the three the stated result."""
    pupils = [
        (int(score), name, wishes.split("、"))
        for name, score, wishes in re.findall(r"(?m)^(\w+?)(\d+)分，志愿：(.*)$", output)
    ]
    assert [name for _, name, _ in sorted(pupils, reverse=True)] == ["小蔡", "小钟", "小翁"]
    assert "甲校、乙校各剩1个名额" in output
    places, results = {"甲校": 1, "乙校": 1}, []
    for _, name, wishes in sorted(pupils, reverse=True):
        free = [school for school in wishes if places[school]]
        if free:
            places[free[0]] -= 1
        results.append(f"{name}→{free[0] if free else '没投出去'}")
    assert re.findall(r"(?m)^\w+→\w+$", output) == results
    assert results == ["小蔡→甲校", "小钟→乙校", "小翁→没投出去"]  # what the closing paragraph discusses


def check_three_de_particles(input: str, output: str) -> None:
    """Each particle has one line with an example sentence that uses it and neither of the others."""
    examples = dict(re.findall(r"(?m)^“(的|地|得)”.*例如：(.*)。$", output))
    assert list(examples) == list("的地得")
    for particle, sentence in examples.items():
        assert [other for other in "的地得" if other in sentence] == [particle]


def check_extortion_note_teacher_steps(input: str, output: str) -> None:
    """Six numbered steps put the child first, then the report, parents, evidence, no revenge and what follows."""
    steps = output.splitlines()
    assert [step[:2] for step in steps] == [f"{number}．" for number in range(1, 7)]
    needed = (
        ("这不是你的错", "伤害自己", "心理老师"),
        ("学校不得隐瞒", "公安机关和教育行政部门"),
        ("小宇", "家长"),
        ("纸条", "分开问", "先取证，再监督删除", "不转发"),
        ("接送", "不叫双方当面对质"),
        ("第二天", "每周"),
    )
    for step, words in zip(steps, needed, strict=True):
        assert [word for word in words if word not in step] == []
    assert "小宇" in input


def check_jingyesi_three_questions(input: str, output: str) -> None:
    """Three questions with an answer each quote words of the poem, and the poem indeed lacks the word 愁."""
    lines = output.splitlines()
    assert [line[:2] for line in lines] == ["1．", "参考", "2．", "参考", "3．", "参考"]
    assert all("？" in line for line in lines[::2])
    quoted = set(re.findall("“(.*?)”", output))
    assert {word for word in quoted if word not in input} == {"愁"}
    assert "全诗没有一个“愁”字" in output
    assert [len(line) for line in input.splitlines()] == [12, 12]


def check_dictation_marked(input: str, output: str) -> None:
    """The differing words are corrected in order, and each right word counts five marks."""
    said, written = (line.split("：")[1].split("、") for line in input.splitlines())
    pairs = list(zip(said, written, strict=True))
    lines = [f"{wrong}→{right}" for right, wrong in pairs if wrong != right]
    marks = 5 * (len(pairs) - len(lines))
    assert output.splitlines() == [*lines, f"总分：{marks}分（满分{5 * len(pairs)}分）"]


def check_blackboard_title_strokes(input: str, output: str) -> None:
    """The strokes of the four characters, part by part, add up to the number."""
    strokes = {"喜": 3 + 3 + 3 + 3, "迎": 4 + 3, "中": 4, "秋": 5 + 4}  # 士口丷一口, 卬辶, 中, 禾火
    assert output == f"{sum(strokes.values())}画"


# --- business -------------------------------------------------------------------------------------------------------


def check_second_cup_half_price(input: str, output: str) -> None:
    """All amounts follow from a price of 16 yuan and a cost of 6."""
    price, cost = 16, 6
    half, off = price // 2, price * 3 // 4
    two = price + half
    assert two == 2 * off
    steps = (
        f"第二杯半价是{price}+{half}={two}元，七五折是{off}+{off}={two}元",
        f"只买一杯也只收{off}元，赚{off}-{cost}={off - cost}元",
        f"只买一杯照收{price}元，赚{price}-{cost}={price - cost}元",
        f"付{two}元，赚{two}-{2 * cost}={two - 2 * cost}元",
        f"只收{half}元，仍高于{cost}元成本，这一单比原价卖一杯多赚{two - 2 * cost - (price - cost)}元",
        f"原价能赚{2 * price}-{2 * cost}={2 * (price - cost)}元，现在少赚{2 * price - two}元",
    )
    assert [step for step in steps if step not in output] == []
    assert re.findall(r"（(\d)）", output) == ["1", "2", "3"]


def check_breakfast_stall_profit(input: str, output: str) -> None:
    """Quantities times prices less every cost gives the profit."""
    sales, *costs = input.splitlines()
    sold = re.findall(r"(\d+)[杯根个]，每[杯根个]([\d.]+)元", sales)
    spent = re.findall(r"(\d+)元", "".join(costs))
    assert (len(sold), len(spent)) == (3, 7)
    assert output == f"{sum(int(n) * Decimal(price) for n, price in sold) - sum(map(int, spent)):.0f}元"


def check_stocktake_mismatch(input: str, output: str) -> None:
    """Exactly the goods whose count differs from opening plus bought less sold are listed with the difference."""
    expected = []
    for goods, *figures in cells_of(input)[2:]:
        name, unit = re.findall(r"\w+", goods)
        opening, bought, sold, counted = map(int, figures)
        book = opening + bought - sold
        if counted != book:
            side = "多" if counted > book else "少"
            expected.append(f"{name}：账面{book}{unit}，实盘{counted}{unit}，{side}{abs(counted - book)}{unit}")
    assert len(expected) == 3
    assert output.splitlines() == expected


def check_noodle_shop_price_notice(input: str, output: str) -> None:
    """The notice has at most 100 characters and keeps the reason, the day, the prices and the name of the shop."""
    assert len(re.sub(r"\s", "", output)) <= 100
    for fact in ("牛肉、面粉进价都涨了", "12月1日起", "素面", "9元", "储值卡", "老价钱用完为止", "巷口陈记面馆"):
        assert fact in input
        assert fact in output
    assert "牛肉面14元改15元" in input
    assert "牛肉面由14元调到15元" in output


def check_expiry_first_batches(input: str, output: str) -> None:
    """Taking forty boxes from the batches in the order of their expiry gives the list."""
    batches = []
    for name, *figures in re.findall(r"(.批)：(\d+)年(\d+)月(\d+)日生产，保质期(\d+)个月，存(\d+)箱", input):
        year, month, day, shelf, boxes = map(int, figures)
        years, month = divmod(month - 1 + shelf, 12)
        batches.append((date(year + years, month + 1, day), name, boxes))
    assert len(batches) == 3
    wanted, taken = 40, []
    for _, name, boxes in sorted(batches):
        taken.append(f"{name}{min(boxes, wanted)}箱")
        wanted -= min(boxes, wanted)
    assert wanted == 0
    assert output == "，".join(taken)


def check_canteen_rice_supplier(input: str, output: str) -> None:
    """The three totals, the cheapest offer and both differences follow from the offers."""
    kilograms, trips = 12000, 24
    assert "全年用米12吨，分24次送" in input
    prices = {name: Decimal(price) for name, price in re.findall(r"([甲乙丙])：每公斤([\d.]+)元", input)}
    freight = {name: int(fee) for name, fee in re.findall(r"([甲丙])：.*运费(\d+)元", input)}
    assert "免运费，全年买满10吨返2000元" in input
    totals = {name: int(kilograms * price + trips * freight.get(name, 0)) for name, price in prices.items()}
    totals["乙"] -= 2000
    for name, total in totals.items():
        extra = f"+24×{freight[name]}" if name in freight else "-2000"
        assert f"{name}：12000×{prices[name]}{extra}={total}元" in output
    best = min(totals, key=totals.__getitem__)
    assert output.startswith(f"选{best}。")
    one, two = (totals[name] - totals[best] for name in "甲丙")
    assert f"{best}比甲省{one}元，比丙省{two}元" in output


def check_warehouse_exit_blocked(input: str, output: str) -> None:
    """The exit stays open, the volume and floor follow from the boxes, and the rota is for all eleven."""
    facts = re.search(r"多出来(\d+)箱羽绒服，每箱([\d.]+)立方米.*\n夜班(\d+)个人", input)
    assert facts
    boxes, volume, people = int(facts[1]), Decimal(facts[2]), int(facts[3])
    assert output.startswith(f"货可以另想办法，通道和后门不能动：那是夜班{people}个人的第二条逃生路。")
    assert f"{boxes}箱一共{boxes * volume:.0f}立方米，码2米高净占地{boxes * volume / 2:.0f}平方米" in output
    assert "今晚来不及换，后门也不能锁" in output
    rota = re.findall(r"(?m)^(收货|拣货|打包|巡查)(\d)人", output)
    assert [task for task, _ in rota] == ["收货", "拣货", "打包", "巡查"]
    assert sum(int(number) for _, number in rota) == people
