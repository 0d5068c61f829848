"""Executed checks of the Chinese seed tasks about papers, daily life, medicine and safety."""

from __future__ import annotations

import re
from decimal import Decimal

from tests.seeds.reading import cells_of, minutes_of


def _phones(text: str) -> set[str]:
    """Return the service numbers a text tells the reader to call: three to five digits from 1 after 打, 或 or （."""
    return set(re.findall(r"(?:打|或|（)(1\d{2,4})(?!\d)", text))


def _steps(text: str) -> list[int]:
    """Return the numbers at the head of the lines of a text."""
    return [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]


# --- papers and storms ----------------------------------------------------------------------------------------------


def check_newborn_papers_order(input: str, output: str) -> None:
    """All four papers have a numbered step, and the birth certificate comes before the rest."""
    assert re.findall(r"^(\d)\. (.+?)：", output, re.MULTILINE) == [
        ("1", "出生医学证明"),
        ("2", "预防接种证"),
        ("3", "户口"),
        ("4", "医保"),
    ]
    assert "出生一个月内" in next(line for line in output.splitlines() if line.startswith("3. 户口"))
    assert _phones(output) == {"12345"}


def check_typhoon_fish_raft_plan(input: str, output: str) -> None:
    """Today, tomorrow and afterwards are planned, and the rescue numbers are those for sea, police and ambulance."""
    assert [line for line in output.splitlines() if 0 < len(line) < 6] == ["今天", "明天", "台风过后"]
    assert _steps(output) == [1, 2, 3, 4, 5, 6, 1, 2, 3]
    assert "不留人守" in output.splitlines()[0]
    assert _phones(output) == {"12395", "110", "120"}


# --- daily life -----------------------------------------------------------------------------------------------------


def check_crab_ninth_tenth_month(input: str, output: str) -> None:
    """The months are lunar; the ninth belongs to the female with the round flap, the tenth to the male."""
    ninth, tenth = re.findall("九月(.+?)；十月(.+?)。", output)[0]
    assert "农历" in output
    assert ("雌" in ninth, "团脐" in ninth, "雄" in tenth, "尖脐" in tenth) == (True,) * 4


def check_gas_smell_at_home(input: str, output: str) -> None:
    """Steps and prohibitions both stand there, and nobody calls before being outside."""
    do, avoid = output.split("\n\n千万不能：")
    assert (_steps(do), _steps(avoid)) == ([1, 2, 3, 4, 5], [1, 2, 3, 4])
    assert _phones(output) == {"119", "120"}
    assert next(line for line in do.splitlines() if "打119" in line).startswith("4. 到室外空旷处再打电话")
    for care in ("灯别开", "别坐电梯", "不按门铃", "别进去"):
        assert care in do
    for act in ("开灯", "点火", "打电话", "排风扇"):
        assert act in avoid


def check_ebike_battery_group_reply(input: str, output: str) -> None:
    """The reply greets old Han, takes up the price he complains of, and gives the one number for a fire."""
    assert "6栋老韩" in input
    assert output.startswith("韩哥")
    assert "收费" in output
    assert "走廊是整层楼逃命的路" in output
    assert _phones(output) == {"119"}


def check_southerly_damp_windows(input: str, output: str) -> None:
    """The answer begins with the decision: windows shut until the wind turns north."""
    assert output.startswith("关窗")
    assert output.index("除湿") < output.index("北风") < output.index("再打开窗")
    assert output.count("打开窗") == 1


def check_fish_weighed_with_water(input: str, output: str) -> None:
    """What was paid is the false weight times the price; what was too much is the weight of water and bag."""
    price, paid = (Decimal(re.findall(pattern, input)[0]) for pattern in (r"一斤(\d+)元", r"收了([\d.]+)元"))
    false, true = (int(catties) + Decimal(tenths) / 10 for catties, tenths in re.findall(r"(\d)斤(\d)两", input))
    assert false * price == paid
    assert output == f"{(paid - true * price).normalize():f}元"


def check_signed_parcel_not_received(input: str, output: str) -> None:
    """The steps count up, keep price and date of the order, and end with complaint and police."""
    assert _steps(output) == list(range(1, 8))
    for fact in ("1299元", "8日", "确认收货", "没保价", "门口"):
        assert fact in input
        assert fact in output
    assert _phones(output) == {"12345"}


def check_collapsed_yellow_mantou(input: str, output: str) -> None:
    """Each of the five mistakes in the recipe, soda first, has its remedy."""
    for mistake, remedy in (
        ("6克小苏打", "这6克直接省掉"),
        ("屋里30℃，发了4个小时", "30℃的屋里一般1小时上下"),
        ("没怎么揉", "没揉透"),
        ("没再醒", "再醒15到20分钟"),
        ("关火马上揭盖", "关火后先焖3到5分钟"),
    ):
        assert mistake in input
        assert remedy in output
    assert _steps(output) == [1, 2, 3, 4]
    assert f"{'零一二三四五'[max(_steps(output))]}个原因" in output


def check_nominal_age_newborn(input: str, output: str) -> None:
    """A child is one at birth and a year older at every lunar new year, of which one has passed."""
    born, asked = (2022, 12, 28), (2023, 1, 3)  # any lunar year and the next
    assert output == f"{1 + asked[0] - born[0]}岁"


def check_miracle_tonic_mother(input: str, output: str) -> None:
    """Blood pressure comes before persuasion and money, and the three numbers are those for help, goods and fraud."""
    assert "降压药" in output.split("\n\n")[0]
    assert [part.splitlines()[0][:4] for part in output.split("\n\n")[1:]] == ["怎么劝", "钱怎么追"]
    assert _steps(output) == [1, 2, 3, 4, 1, 2, 3, 4]
    assert "“保健食品不是药物，不能代替药物治疗疾病”" in output
    assert _phones(output) == {"120", "12345", "110"}


def check_wedding_red_packet_note(input: str, output: str) -> None:
    """One line of twenty characters at most, punctuation included, that wishes the pair well from afar."""
    assert "\n" not in output
    assert len(output) <= 20
    assert "新婚快乐" in output
    assert re.search("人没到|人不到|人在外|赶不回", output)
    assert output[-1] in "。！"


# --- medicine -------------------------------------------------------------------------------------------------------


def check_drowned_child_first_steps(input: str, output: str) -> None:
    """No draining; breaths before compressions, 30 to 2, 100 to 120 a minute, for a child."""
    assert output.startswith("不要。")
    assert _steps(output) == list(range(1, 8))
    (resuscitation,) = (line for line in output.splitlines() if line.startswith("4. "))
    assert re.findall(r"\d+", resuscitation) == ["4", "2", "5", "1", "30", "2", "100", "120", "5"]
    assert "不超过10秒" in output
    assert resuscitation.index("吹气2到5次") < resuscitation.index("按压胸口正中")
    assert _phones(output) == {"120"}


def check_cephalosporin_and_liquor(input: str, output: str) -> None:
    """The answer is no, for the herbal tincture too, and says what to do after drinking already."""
    assert output.startswith("今晚一口都别喝")
    assert "藿香正气水" in input
    assert "藿香正气水更不能喝" in output
    assert "双硫仑样反应" in output
    assert _phones(output) == {"120"}


def check_wind_cold_wind_heat_table(input: str, output: str) -> None:
    """Every row tells the two colds apart, yellow belongs to heat, and the warning follows the table."""
    rows = [row for row in cells_of(output) if len(row) == 3]
    assert rows[0] == ["看什么", "风寒感冒", "风热感冒"]
    assert len(rows) == 9
    assert all(cold != heat for _, cold, heat in rows[2:])
    assert "黄" not in "".join(cold for _, cold, _ in rows)
    assert sum("黄" in heat for _, _, heat in rows) == 3
    assert output.endswith("直接去医院。")


def check_daughter_cutting_tonight(input: str, output: str) -> None:
    """The wound comes first, the question about dying is put openly, and the four numbers are the right ones."""
    assert output.index("先看伤") < output.index("可以这样说") < output.index("有没有想过不活了")
    assert "不要让她一个人待着" in output
    assert _phones(output) == {"120", "110", "12356", "12355"}


def check_checkup_sheet_for_father(input: str, output: str) -> None:
    """Arrows, index and loss of weight follow from the figures, and every finding is explained."""
    found = re.findall(r"^(\w+)：([\d.]+)[^（]+（参考(?:<|([\d.]+)—)([\d.]+)）(↑?)$", input, re.MULTILINE)
    assert len(found) == 4
    for item, value, low, high, arrow in found:
        assert bool(arrow) == (Decimal(value) > Decimal(high))
        assert Decimal(value) >= Decimal(low or 0)
        assert f"{item}{value}" in output
        assert (f"{item}{value}是正常的" in output) == (not arrow)
    assert f"空腹血糖{found[0][1]}：比上限{found[0][3]}高一点，没到诊断糖尿病的7.0" in output
    assert _steps(output) == [1, 2, 3, 4, 1, 2, 3]
    height, weight = (int(re.findall(pattern, input)[0]) for pattern in (r"身高(\d+)cm", r"体重(\d+)kg"))
    index = round(Decimal(weight) * 10000 / height**2, 1)
    assert f"身高{height // 100}米{height % 100}、体重{weight}公斤，BMI约{index}，属于超重" in output
    assert 24 <= index < 28
    assert f"减{round(weight * 0.05)}到{round(weight * 0.1)}公斤（体重的5%到10%）" in output


def check_bmi_by_chinese_cutoffs(input: str, output: str) -> None:
    """The index is 75 kg over 1.70 m squared, which lies between 24 and 28."""
    index = Decimal(75) / Decimal("1.70") ** 2
    label = "肥胖" if index >= 28 else "超重" if index >= 24 else "正常"
    assert output == f"BMI约{index:.1f}，属于{label}"


def check_discharge_pill_timetable(input: str, output: str) -> None:
    """Every medicine stands there as often as prescribed, in the order of the day, and the tablets add up."""
    prescribed = {}
    for name, times, each in re.findall(r"^(\w+?)片[\d.]+m?g：每天(\d)次，每次(\d)片", input, re.MULTILINE):
        short = next(key for key in ("氨氯地平", "阿卡波糖", "二甲双胍", "阿托伐他汀") if key in name)
        prescribed[short] = (int(times), int(each))
    rows = [row for row in cells_of(output) if len(row) == 3][2:]
    listed = [(re.findall(r"(\w+?)(\d)片", row[1])[0], row[2]) for row in rows]
    assert len(prescribed) == 4
    for name, (times, each) in prescribed.items():
        assert [count for (medicine, count), _ in listed if medicine == name] == [str(each)] * times
    clocks = [minutes_of(row[0][: row[0].index(":") + 3]) for row in rows if ":" in row[0]]
    assert clocks == sorted(clocks) == [390, 420, 720, 1080, 1290]
    assert all((name == "阿卡波糖") == ("嚼服" in how) for (name, _), how in listed)
    total = sum(times * each for times, each in prescribed.values())
    assert len(rows) == total
    assert output.endswith(f"全天共{total}片。")
