"""Executed checks of the Chinese seed tasks about labels, plans and law."""

from __future__ import annotations

import itertools
import re
from datetime import date, timedelta
from decimal import Decimal

from tests.seeds.reading import cells_of, clock_of, minutes_of

WEEK = "一二三四五六日"


def _rows(table: str) -> list[list[str]]:
    """Return the rows of a Markdown table without its header and rule."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert set(lines[1]) == set("|-")
    assert lines[0].count("|") == lines[1].count("|")
    rows = cells_of("\n".join(lines))
    assert {len(row) for row in rows} == {len(rows[0])}
    return rows[2:]


def _options(text: str) -> list[str]:
    """Return the labels a text offers after 选项： or 可选单位：."""
    (listed,) = re.findall(r"(?:选项|可选单位)：(.+)", text)
    return str(listed).split("、")


# --- labels ---------------------------------------------------------------------------------------------------------


def check_hotline_wage_transfer(input: str, output: str) -> None:
    """The label is offered, and it is the office for wages, which the caller calls most urgent."""
    assert output in _options(input)
    assert "最急的还是工资" in input
    assert [office for office in _options(input) if "人力资源" in office] == [output]


def check_official_paper_kind(input: str, output: str) -> None:
    """Two offices of the same rank write each other a 函, whatever they ask for."""
    assert "同级" in input
    assert "互不隶属" in input
    assert output == "函"


def check_refund_call_scam_kind(input: str, output: str) -> None:
    """The caller plays the shop's service and speaks of a refund, not of orders to place, police or investment."""
    assert "退款" in input
    assert not re.search(r"刷单|公安|检察|法院|投资|理财", input)
    assert output == "冒充客服退款"


def check_class_group_notice_action(input: str, output: str) -> None:
    """The child is among those whose parents still have to answer, and nothing has to be brought."""
    (missing,) = re.findall(r"还差(.+?)三位，麻烦家长.*回", input)
    assert "李沐阳" in missing.split("、")
    assert "不用带" in input
    assert output == "要回复"


def check_roof_leak_repair_payer(input: str, output: str) -> None:
    """The convention names the roof in the clause of the payer that is the label."""
    assert "楼顶的防水层" in input
    rules = re.split(r"[：；。]", input.splitlines()[0])
    (rule,) = (part for part in rules if "屋面防水" in part)
    assert [label for label in _options(input) if label in rule] == [output]


def check_dialect_of_supper_question(input: str, output: str) -> None:
    """Only Shanghainese has these words for you, we and the question particle."""
    assert all(word in input for word in ("侬", "阿拉", "伐"))
    assert output == "上海话"


def check_couplet_first_or_second(input: str, output: str) -> None:
    """The line has seven characters, level and oblique tones alternate, and a level last one makes it the second."""
    tones = {"日": 4, "暖": 3, "千": 1, "家": 1, "百": 3, "业": 4, "兴": 1}
    level = [tones[character] <= 2 for character in input]
    assert len(level) == 7
    assert level[1] != level[3] != level[5]
    assert output == ("下联" if level[-1] else "上联")


def check_job_advert_weekend_pattern(input: str, output: str) -> None:
    """Saturdays alternate between work and rest while every Sunday is free."""
    working, free = (re.search(pattern, input) for pattern in ("单数周的周六全员到岗", "双数周的周六归你自己支配"))
    assert working
    assert free
    assert "周日人人休息" in input
    assert output == "大小周"


def check_idiom_structure_type(input: str, output: str) -> None:
    """An adjective with 于 and what it is compared with behind it: a complement."""
    assert re.fullmatch("重于..", input)
    assert output == "补充式"


def check_bustle_word_class(input: str, output: str) -> None:
    """热闹热闹 repeats the whole word (ABAB), as verbs do; as an adjective it would be 热热闹闹 (AABB)."""
    assert output == ("动词" if re.search(r"(..)\1", input) else "形容词")


def check_menu_regional_cuisine(input: str, output: str) -> None:
    """Every dish on the menu is a classic of the same kitchen."""
    classics = {
        "淮扬菜": {"大煮干丝", "清炖蟹粉狮子头", "软兜长鱼", "文思豆腐", "三套鸭"},
        "川菜": {"麻婆豆腐", "回锅肉", "水煮牛肉", "夫妻肺片"},
        "粤菜": {"白切鸡", "豉汁蒸排骨", "蜜汁叉烧", "白灼虾"},
        "湘菜": {"剁椒鱼头", "小炒黄牛肉", "毛氏红烧肉"},
        "鲁菜": {"葱烧海参", "九转大肠", "糖醋鲤鱼"},
    }
    assert set(input.splitlines()) <= classics[output]


def check_grandma_letter_solar_term(input: str, output: str) -> None:
    """Weighing the children and knocking eggs together are customs of the first day of summer."""
    assert all(word in input for word in ("大秤", "箩筐", "蚕豆饭", "鸭蛋"))
    assert output == "立夏"


def check_which_clinic_for_blisters(input: str, output: str) -> None:
    """A one-sided band of blisters without injury is for the skin clinic."""
    assert "没摔没碰" in input
    assert "只长在右边" in input
    assert output == "皮肤科"


# --- plans ----------------------------------------------------------------------------------------------------------


def check_new_year_visit_order(input: str, output: str) -> None:
    """Of all 120 orders exactly this one suits everybody."""
    (listed,) = re.findall("五家：(.+?)，", input)
    fitting = [
        order
        for order in itertools.permutations(listed.split("、"))
        if order[0] == "爷爷家"
        and order[1] == "外婆家"
        and order[2] != "大姑家"
        and order.index("大姑家") < order.index("二舅家")
    ]
    assert [tuple(line[3:] for line in output.splitlines())] == fitting
    assert [line[:3] for line in output.splitlines()] == [f"初{day}：" for day in WEEK[:5]]


def check_square_dance_week_rota(input: str, output: str) -> None:
    """Of all weeks with three, two and two evenings exactly this one keeps every wish."""
    wanted = {name: int(count) for name, count in re.findall(r"(\w+队)：要(\d)晚", input)}
    free = set(re.findall("周([一-龥])", re.findall("茉莉队.+", input)[0]))
    fitting = [
        week
        for week in itertools.product(wanted, repeat=7)
        if all(week.count(team) == evenings for team, evenings in wanted.items())
        and week[5] == "夕阳红队"
        and all(WEEK[day] in free for day in range(7) if week[day] == "茉莉队")
        and all(week[day] != week[(day + 1) % 7] for day in range(7))
    ]
    assert [tuple(row[1] for row in _rows(output))] == fitting
    assert [row[0] for row in _rows(output)] == [f"周{day}" for day in WEEK]


def check_village_banquet_shopping(input: str, output: str) -> None:
    """Fifteen tables, a fifth more for food only, less the rice at home: every figure of the table follows."""
    items = re.findall(r"([一-龥]+?)(\d+(?:\.\d)?)([一-龥])(?=、|\n)", input.splitlines()[0].split("：")[1] + "\n")
    at_home = Decimal(re.findall(r"大米(\d+)斤", input)[-1])
    expected = []
    assert cells_of(output)[0] == ["项目", "每桌", "15桌合计", "加余量后", "实际采购"]
    for item, number, unit in items:
        needed = Decimal(number) * 15
        drink = item in ("白酒", "饮料")
        more = needed if drink else needed * 12 / 10
        bought = more - at_home if item == "大米" else more
        cells = [f"{amount.normalize():f}{unit}" for amount in (Decimal(number), needed, more, bought)]
        expected.append([item, *cells[:2], "不留余量" if drink else cells[2], cells[3]])
    assert len(expected) == 8
    assert _rows(output) == expected


def check_water_cut_family_plan(input: str, output: str) -> None:
    """The four parts follow the clock of the notice, and the flask holds what the baby needs."""
    assert [line for line in output.splitlines() if line and not re.match(r"\d\. ", line)] == [
        "今晚",
        "明早7:40前",
        "停水期间（8:00—18:00）",
        "18:00以后",
    ]
    assert "明天8:00—18:00全楼停水" in input
    flask, need = (int(re.findall(pattern, input)[0]) for pattern in (r"(\d)升暖瓶", r"用开水约(\d)升"))
    assert flask >= need
    assert f"灌满{flask}升暖瓶" in output
    assert "两个水桶" in output


def check_latest_train_before_meeting(input: str, output: str) -> None:
    """It is the last train with seats from which the ride, the walks and the registration still fit."""
    (start,) = re.findall(r"会议(\d+:\d+)开始", input)
    latest = minutes_of(start) - sum(map(int, re.findall(r"(\d+)分钟", input)))
    trains = re.findall(r"(G\d+)｜(\d+:\d+)｜(有|无)", input)
    fitting = [(time, train) for train, time, seats in trains if seats == "有" and minutes_of(time) <= latest]
    assert output == max(fitting)[1]
    assert max(time for _, time, _ in trains if minutes_of(time) <= latest) > max(fitting)[0]


def check_four_leave_days_longest_break(input: str, output: str) -> None:
    """No other choice of four days of leave gives a break as long, and the weekdays are right."""
    for month, day, weekday in re.findall(r"(\d+)月(\d+)日（周(.)）", input + output):
        assert WEEK[date(2026, int(month), int(day)).weekday()] == weekday
    days = [date(2026, 3, 28) + timedelta(days) for days in range(51)]
    holidays = {date(2026, 4, day) for day in (4, 5, 6)} | {date(2026, 5, day) for day in range(1, 6)}
    off = [(day in holidays or day.weekday() >= 5) and day != date(2026, 5, 9) for day in days]
    spans = [
        (last - first + 1, days[first], days[last])
        for first, last in itertools.combinations(range(len(days)), 2)
        if off[first : last + 1].count(False) == 4
    ]
    length, first, last = max(spans)
    assert [span for span in spans if span[0] == length] == [(length, first, last)]
    leave = [day for day in days if first <= day <= last and not off[days.index(day)]]
    assert date(2026, 3, 30) <= leave[0] < leave[-1] <= date(2026, 5, 15)
    (told,) = re.findall(r"请(\d+)月(\d+)日至(\d+)日（周一至周四）这4天", output)
    assert [date(2026, int(told[0]), day) for day in range(int(told[1]), int(told[2]) + 1)] == leave
    assert [day.weekday() for day in leave] == [0, 1, 2, 3]
    assert f"从{first.month}月{first.day}日" in output
    assert f"休到{last.month}月{last.day}日" in output
    assert output.endswith(f"连休{length}天。")


def check_wheat_harvester_order(input: str, output: str) -> None:
    """Of the 24 orders exactly this one meets every deadline, in hours of harvesting since Monday at six."""
    farms = {
        name: (int(hours), WEEK.index(day) * 10 + int(clock) - 6)
        for name, hours, day, clock in re.findall(r"(.家)：要(\d)小时.*?周(.)(\d+)点前收完", input)
    }
    assert len(farms) == 4
    fitting = []
    for order in itertools.permutations(farms):
        ends = itertools.accumulate(farms[name][0] for name in order)
        if all(end <= farms[name][1] for name, end in zip(order, ends, strict=True)):
            fitting.append("→".join(order))
    assert fitting == [output]


def check_suzhou_day_with_grandpa(input: str, output: str) -> None:
    """The steps join without a gap, last as long as the input says, and keep every appointment and rest."""
    steps = re.findall(r"^(\d\d:\d\d)—(\d\d:\d\d)：(.+)$", output, re.MULTILINE)
    assert len(steps) == len(output.splitlines()) == 11
    spans = [(minutes_of(start), minutes_of(end)) for start, end, _ in steps]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(spans))
    lasting = [end - start for start, end in spans]
    drives = [int(minutes) for minutes in re.findall(r"(\d+)分钟", input.splitlines()[-1])]
    assert [lasting[0], lasting[2], lasting[5], lasting[7], lasting[10]] == drives
    assert [lasting[1], lasting[3], lasting[6], lasting[9]] == [120, 60, 90, 60]
    assert lasting[4] >= 30
    assert spans[0][0] >= minutes_of("9:30")
    assert spans[-1][1] <= minutes_of("17:30")
    assert minutes_of("10:00") <= spans[1][0] <= minutes_of("10:30")
    assert minutes_of("14:00") <= spans[6][0] <= minutes_of("14:30")
    assert clock_of(spans[9][0]) == "16:00"
    assert lasting[8] >= 15
    for number, word in ((1, "拙政园"), (3, "午饭"), (6, "看展"), (9, "评弹"), (10, "酒店")):
        assert word in steps[number][2]


# --- law ------------------------------------------------------------------------------------------------------------


def check_weekend_host_income_item(input: str, output: str) -> None:
    """Paid once for a service, without an employment relation and without a work or right of her own."""
    assert "没有劳动关系" in input
    assert "当了半天主持人" in input
    assert output == "劳务报酬所得"


def check_one_year_contract_probation(input: str, output: str) -> None:
    """Article 19 of the labour contract law: from one year to under three years, at most two months."""
    limits = [(3, 1), (12, 2), (36, 6)]  # contracts of so many months or more: so many months of probation
    longest = max(months for at_least, months in limits if at_least <= 12)
    assert output == f"{'合法' if longest >= 3 else '不合法'}，最多{'零一两三四五六'[longest]}个月。"


def check_fake_wool_scarf_claim(input: str, output: str) -> None:
    """The price comes back with three times the price, or with 500 yuan where that is more."""
    (price,) = (int(number) for number in re.findall(r"花(\d+)元", input))
    least, instead = (int(number) for number in re.findall(r"不足(\d+)元的，为(\d+)元", input)[0])
    assert least == instead == 500
    assert output == f"{price + max(3 * price, least)}元"


def check_protection_order_how_to(input: str, output: str) -> None:
    """The limits are those of Articles 28, 30 and 34 of the law against domestic violence."""
    assert "72小时内" in output
    assert "24小时内" in output
    assert "最长六个月" in output
    assert "罚款1000元以下、拘留15日以下" in output
    assert re.findall(r"^(\d)\. ", output, re.MULTILINE) == list("123456")
    assert set(re.findall(r"打(1\d\d)", output)) == {"110", "120"}


def _capitals(yuan: int) -> str:
    """Return a whole amount below 100,000 yuan in the capital numerals of contracts."""
    text = ""
    for digit, unit in zip(f"{yuan:05d}", "万仟佰拾元", strict=True):
        text += "零壹贰叁肆伍陆柒捌玖"[int(digit)] + (unit if digit != "0" else "")
    return re.sub("零+", "零", text).strip("零").removesuffix("元") + "元整"


def check_renovation_loan_iou(input: str, output: str) -> None:
    """The amount stands in capitals and in figures, and every term of the agreement is in the note."""
    assert [_capitals(number) for number in (36500, 10203, 80000)] == [
        "叁万陆仟伍佰元整",
        "壹万零贰佰零叁元整",
        "捌万元整",
    ]
    (amount,) = (int(number) for number in re.findall(r"(\d+)元", input))
    assert f"人民币{_capitals(amount)}（小写：{amount}.00元）" in output
    lent, back = re.findall(r"20\d\d年\d+月\d+日", input)
    assert "落款日期写转账当天" in input
    assert re.findall(r"\d+年\d+月\d+日", output) == [lent, lent, back, lent]
    assert re.findall(r"\d+%", output) == re.findall(r"\d+%", input)
    for fact in ("孙立群", "马小涛", "住房装修", "微信转账", "年利率", "最迟", "一次还清"):
        assert fact in input
        assert fact in output
    assert output.splitlines()[0] == "借条"


def check_handwritten_will_missing_date(input: str, output: str) -> None:
    """Written and signed by hand, the will gives a year and a season, but neither month nor day."""
    assert "全文和签名均为何德茂亲笔" in input
    (dated,) = re.findall("二〇.+", input)
    missing = [part for part in "年月日" if part not in dated]
    assert output == f"没有注明具体的{'、'.join(missing)}。"


def check_seven_day_return_items(input: str, output: str) -> None:
    """Article 25 excludes goods made to order, fresh goods, opened software and delivered periodicals."""
    items = input.splitlines()[1:]
    assert len(items) == 5
    left = [item for item in items if not re.search("定做|鲜活|期刊|报纸", item)]
    assert output == "、".join(item.split("的")[-1] for item in left)
