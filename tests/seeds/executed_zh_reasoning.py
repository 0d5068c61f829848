"""Executed checks of the Chinese seed tasks about reasoning and science: cases are tried, quantities recomputed."""

from __future__ import annotations

import itertools
import math
import re
from datetime import date, timedelta
from fractions import Fraction

from tests.seeds.reading import clock_of, minutes_of, numbers_in


def _number(pattern: str, text: str) -> Fraction:
    """Return the number that the one group of a pattern finds in a text."""
    found = re.search(pattern, text)
    assert found, pattern
    return Fraction(found[1])


# --- reasoning ------------------------------------------------------------------------------------------------------


def check_elevator_missing_floors(input: str, output: str) -> None:
    """Numbering real floors without any 4 and without 13 gives button 26 to the stated floor, four numbers skipped."""
    labels = [number for number in range(1, 200) if "4" not in str(number) and number != 13]
    floor = labels.index(26) + 1
    skipped = sorted(set(range(1, 26)) - set(labels))
    assert output == f"第{floor}层，{'、'.join(map(str, skipped))}都跳过了。"


def check_kin_term_for_guest(input: str, output: str) -> None:
    """The guest's mother is another daughter of the speaker's grandmother: a cousin on the mother's side."""
    mothers = dict(re.findall(r"(她妈妈|我妈)是我?姥姥的(大女儿|小女儿)", input))
    assert set(mothers) == {"她妈妈", "我妈"}
    assert mothers["她妈妈"] != mothers["我妈"]  # sisters, so their children are 姨表
    female, younger = "姑娘" in input, "比我小" in input
    title = ("妹" if younger else "姐") if female else ("弟" if younger else "哥")
    assert output == "表" + title


def check_rider_three_orders(input: str, output: str) -> None:
    """One order of the three stops meets every deadline; its times and those of the refuted orders are as stated."""
    ways = {
        frozenset((one, other)): int(minutes)
        for one, other, minutes in re.findall(r"(?:：|，)([^，。：\d]+)到([^，。：\d]+?)(\d+)(?=[，。])", input)
    }
    latest = dict(re.findall(r"(桂花苑|税务局|第二中学)(\d\d:\d\d)", input.splitlines()[-1]))
    assert (len(ways), len(latest)) == (6, 3)
    stay = int(_number(r"停(\d+)分钟", input))

    def arrivals(order: tuple[str, ...]) -> dict[str, int]:
        """Return the minute of arrival at each stop of an order."""
        now, here, times = minutes_of("11:40"), "店", {}
        for stop in order:
            now += ways[frozenset((here, stop))]
            times[stop] = now
            now, here = now + stay, stop
        return times

    every = {order: arrivals(order) for order in itertools.permutations(latest)}
    in_time = [
        order for order, times in every.items() if all(times[stop] <= minutes_of(latest[stop]) for stop in latest)
    ]
    assert len(in_time) == 1
    (best,) = in_time
    lines = output.splitlines()
    assert lines[0] == f"顺序：{'→'.join(best)}。"
    assert lines[1:4] == [f"{stop}：{clock_of(every[best][stop])}到，最晚{latest[stop]}" for stop in best]
    for first in ("税务局", "桂花苑"):
        earliest = min(times["第二中学"] for order, times in every.items() if order[0] == first)
        assert earliest > minutes_of(latest["第二中学"])
        assert f"先去{first}，第二中学最早{clock_of(earliest)}才到" in lines[4]
    late = every["第二中学", "税务局", "桂花苑"]["桂花苑"]
    assert lines[4].endswith(f"桂花苑要{clock_of(late)}才到。")


def check_train_seats_window_aisle(input: str, output: str) -> None:
    """The ends of the row are the windows, and the two seats beside the aisle in one row are neighbours across it."""
    layout = re.search(r"是：(.*)。", input)
    assert layout
    row = layout[1].split("、")
    aisle = row.index("过道")
    tickets = {who: (coach, seat) for who, coach, seat in re.findall(r"(\w\w)(07车\d\d)([A-F])", input)}
    assert len(tickets) == 4
    window = [who for who, (_, seat) in tickets.items() if seat in (row[0], row[-1])]
    across = [
        (one, other)
        for one, other in itertools.permutations(tickets, 2)
        if tickets[one][0] == tickets[other][0]
        and (tickets[one][1], tickets[other][1]) == (row[aisle - 1], row[aisle + 1])
    ]
    assert len(across) == 1
    assert output == f"{'和'.join(window)}靠窗，{'和'.join(across[0])}只隔着过道。"


def check_only_if_versus_if(input: str, output: str) -> None:
    """The verdict on each of the four cases is that of the truth tables of 只有……才…… and 只要……就……."""
    for paid, got in itertools.product([True, False], repeat=2):
        verdicts = []
        if got and not paid:
            verdicts.append("“只有……才……”")
        if paid and not got:
            verdicts.append("“只要……就……”")
        verdict = f"跟{verdicts[0]}矛盾。" if verdicts else "两句都说得通。"
        case = f"{'' if paid else '没'}交清，{'领到了' if got else '没领到'}"
        assert f"{case}：{verdict}" in output.splitlines()
    assert "“只有……才……”：没交清，一定领不到；交清了也不一定领得到" in output
    assert "“只要……就……”：交清了，一定领得到；没交清也不一定领不到" in output


def check_red_envelope_amounts(input: str, output: str) -> None:
    """Exactly one division of the money into four different whole amounts fits what is said in the chat."""
    total = int(_number(r"(\d+)元的红包", input))
    fitting = [
        (liu, zhen, lu, kay)
        for liu, zhen, lu, kay in itertools.permutations(range(1, total), 4)
        if liu + zhen + lu + kay == total and liu == 2 * lu and zhen == lu + kay and kay < min(liu, zhen, lu)
    ]
    assert len(fitting) == 1
    assert output == "大刘{}元，阿珍{}元，小鹿{}元，老K{}元。".format(*fitting[0])


def check_plate_number_ban_day(input: str, output: str) -> None:
    """The last digits of both plates are banned on one and the same day, which the output names."""
    banned = {digit: day for day, one, two in re.findall(r"(周.)限(\d)和(\d)", input) for digit in (one, two)}
    assert sorted(banned) == list("0123456789")
    plates = re.findall(r"末三位是(\w{3})", input)
    assert len(plates) == 2
    assert {banned[re.findall(r"\d", plate)[-1]] for plate in plates} == {output}


def check_duty_roster_after_holiday(input: str, output: str) -> None:
    """Counting the working days from 29 September to 14 October through the list leads to the name."""
    names = re.findall(r"[小老]\w", input.splitlines()[0])
    assert len(names) == 5
    start = date(2025, 9, 29)
    assert start.weekday() == 0
    assert date(2025, 10, 11).weekday() == 5
    holidays = {date(2025, 10, day) for day in range(1, 9)}
    days = [start + timedelta(days=number) for number in range(16)]
    working = [day for day in days if day not in holidays and (day.weekday() < 5 or day == date(2025, 10, 11))]
    assert working[-1] == date(2025, 10, 14)
    assert output == names[(len(working) - 1) % len(names)]


def check_school_rice_estimate(input: str, output: str) -> None:
    """Portions, grams, jin, their sum and the range for 100 and 150 grams follow from the stated assumptions."""
    pupils, staff, porridge = 2000, 200, 80
    portions = pupils * 2 * 80 // 100

    def jin(grams: int) -> int:
        """Return the jin of rice for both groups at so many grams a portion, porridge included."""
        return (portions + staff) * grams // 500 + porridge

    steps = (
        f"{pupils}×2×80%={portions}份，每份用生米125克，{portions}×125={portions * 125}克，即{portions * 125 // 500}斤",
        f"{pupils // 2}×40={pupils // 2 * 40}克，即{pupils // 2 * 40 // 500}斤",
        f"{staff}×125={staff * 125}克，即{staff * 125 // 500}斤",
        f"合计{portions * 125 // 500}+{porridge}+{staff * 125 // 500}={jin(125)}斤",
        f"按100克算，合计{jin(100)}斤；按150克算，合计{jin(150)}斤",
        f"落在{jin(100)}斤到{jin(150)}斤之间",
    )
    assert porridge == pupils // 2 * 40 // 500
    assert re.findall(r"（(\d)）", output) == ["1", "2", "3"]
    assert [step for step in steps if step not in output] == []
    assert f"约{staff}份，" in output
    assert f"每碗用米40克，{pupils // 2}×40=" in output
    rounded = jin(125) // 100 * 100
    assert output.startswith(f"大约{rounded}斤")
    assert f"“{rounded}斤上下”" in output


# --- science --------------------------------------------------------------------------------------------------------


def check_ebike_full_charge_kwh(input: str, output: str) -> None:
    """Volts times ampere-hours over the efficiency gives the kilowatt-hours from the socket."""
    volts, hours, efficiency = map(Fraction, numbers_in(input))
    assert output == f"{float(volts * hours / 1000 / (efficiency / 100)):g}度"


def check_garlic_mushroom_folk_test(input: str, output: str) -> None:
    """The answer begins with no, forbids eating, and sends an eater to the emergency call with the rest of the dish."""
    assert output.startswith("靠不住")
    assert "不采、不买、不吃" in output
    for aid in ("打120", "剩下的菌子", "几点吃的", "没有不舒服也要一起去查", "假愈期"):
        assert aid in output


def check_winter_noon_shadow(input: str, output: str) -> None:
    """The noon altitude of the winter solstice and the height of the house give the shadow."""
    latitude = float(_number(r"北纬(\d+)°", input))
    height = float(_number(r"楼高：(\d+)米", input))
    tilt = float(_number(r"按([\d.]+)°", input))
    assert output == f"约{height / math.tan(math.radians(90 - latitude - tilt)):.0f}米"


def check_mountain_peach_blossom_poem(input: str, output: str) -> None:
    """The stated lapse rate and difference in height give the stated difference in temperature."""
    rate = _number(r"每升高100米，气温下降([\d.]+)℃", output)
    height, colder = _number(r"高(\d{4})米", output), _number(r"低(\d+)℃", output)
    assert rate == Fraction("0.6")
    assert colder == height / 100 * rate


def check_dough_experiment_flaws(input: str, output: str) -> None:
    """Every condition in which the bowls differ is named, and the new plan gives both the same but for the sugar."""
    bowls = re.findall(r"[甲乙]盆：([^。]*)。", input)
    assert len(bowls) == 2
    differing = {"面粉": r"面粉(\d+)克", "糖": r"(不放糖|糖\d+克)", "水温": r"([温凉])水|水(?=\d)", "地方": r"放在(.*)"}
    for name, pattern in differing.items():
        assert len({found[1] for found in (re.search(pattern, bowl) for bowl in bowls) if found}) == 2
        assert name in output.split("改好的方案")[0]
    plan = output.split("改好的方案")[1]
    assert "两盆都用面粉200克、酵母3克、30℃左右的温水110克" in plan
    assert "只让糖不同，甲盆10克，乙盆0克" in plan
    assert "重复三次" in plan
    assert re.findall(r"（(\d)）", output) == ["1", "2", "3"]
    assert "量满一小时" in plan
    assert 60 % _number(r"每(\d+)分钟量一次", plan) == 0


def check_paddy_rain_tonnes(input: str, output: str) -> None:
    """Fifteen mu, 10,000 square metres, under 24 millimetres of water hold so many cubic metres, each of one tonne."""
    area = 15 * Fraction(2000, 3)
    assert output == f"约{area * Fraction(24, 1000)}吨"
