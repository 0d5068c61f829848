"""Executed checks of the Chinese seed tasks about mathematics: every result is computed again by another way."""

from __future__ import annotations

import itertools
import re
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from tests.seeds.reading import numbers_in


def _value(expression: str) -> Fraction:
    """Compute a sum of whole numbers and percentages exactly, from left to right, × and ÷ first."""
    total = Fraction(0)
    assert re.fullmatch(r"\d+%?([-+×÷]\d+%?)*", expression), expression
    for term in re.findall(r"[-+]?[^-+]+", expression):
        product = Fraction(-1 if term[0] == "-" else 1)
        for sign, number, percent in re.findall(r"([×÷]?)(\d+)(%?)", term):
            factor = Fraction(int(number), 100 if percent else 1)
            assert factor or sign != "÷"
            product = product / factor if sign == "÷" else product * factor
        total += product
    return total


def _equations(text: str) -> list[tuple[str, str]]:
    """Return both sides of each equation of plain numbers in a text, once the left side is more than a number."""
    return re.findall(r"(\d+%?(?:[-+×÷]\d+%?)+)=(\d+)", text)


def check_annual_income_tax(input: str, output: str) -> None:
    """Taxing each slice of the income at its own rate gives the tax, without the quick deductions of the table."""
    pay, *deductions = map(int, numbers_in(input.split("\n")[0]))
    assert len(deductions) == 3
    taxable = pay - sum(deductions)
    rows = re.findall(r"(?m)^.*?(\d+)元　(\d+)%　(\d+)$", input)
    assert len(rows) == 3
    tax, lower, quick = Fraction(0), 0, []
    for upper, rate, deduction in ((int(upper), int(rate), int(deduction)) for upper, rate, deduction in rows):
        if lower < taxable <= upper:
            quick.append(Fraction(taxable * rate, 100) - deduction)
        tax += Fraction(max(0, min(taxable, upper) - lower) * rate, 100)
        lower = upper
    assert quick == [tax]
    assert output == f"{tax}元"


def check_tiered_power_bill(input: str, output: str) -> None:
    """Every kilowatt hour is charged one by one at the price of its tier."""
    first, price_1, _, second, price_2, _, price_3, _, before, _, after = numbers_in(input.split("：", 1)[1])
    used = int(after) - int(before)
    cost = Decimal(0)
    for unit in range(1, used + 1):
        cost += Decimal(price_1 if unit <= int(first) else price_2 if unit <= int(second) else price_3)
    assert output == f"用电{used}度，电费{cost:.2f}元"


def check_chicken_rabbit_lift_feet(input: str, output: str) -> None:
    """One flock fits heads and feet, every sum in the story is right, and the answer names that flock."""
    heads, feet = map(int, numbers_in(input))
    ((chickens, rabbits),) = [(c, heads - c) for c in range(1, heads) if 2 * c + 4 * (heads - c) == feet]
    sums = _equations(output)
    assert [sum_ for sum_, result in sums if _value(sum_) != int(result)] == []
    lifted = [f"{feet}-{heads}", f"{feet - heads}-{heads}", f"{feet - 2 * heads}÷2", f"{heads}-{rabbits}"]
    assert [sum_ for sum_, _ in sums] == [*lifted, f"{chickens}×2", f"{rabbits}×4", f"{chickens * 2}+{rabbits * 4}"]
    told = re.findall(r"\d+", re.sub(r"(?:\d+[-+×÷])+\d+=", "", output))
    for number in told:
        assert int(number) in {
            heads,
            feet,
            feet - heads,
            feet - 2 * heads,
            chickens,
            rabbits,
            chickens * 2,
            rabbits * 4,
            2,
        }
    assert output.endswith(f"答：鸡{chickens}只，兔{rabbits}只。")


def check_third_nine_dates(input: str, output: str) -> None:
    """Counting nines day by day from the winter solstice gives the first and the last day of the third nine."""
    solstice = date(2023, 12, 21)
    days = [solstice + timedelta(days=number) for number in range(81) if number // 9 + 1 == 3]
    assert len(days) == 9
    assert days[0].year == days[-1].year == solstice.year + 1
    assert output == f"次年{days[0].month}月{days[0].day}日至{days[-1].month}月{days[-1].day}日"


def check_housing_fund_loan_payment(input: str, output: str) -> None:
    """Paying the amount month by month leaves less than a few yuan of the loan, and a cent more or less fits worse."""
    found = re.fullmatch(r"贷款(\d+)万元，(\d+)年还清，年利率([\d.]+)%，按月等额本息。", input)
    assert found
    loan, months, rate = Fraction(found[1]) * 10000, int(found[2]) * 12, Fraction(found[3]) / 1200

    def left_over(payment: Fraction) -> Fraction:
        balance = loan
        for _ in range(months):
            balance += balance * rate - payment
        return abs(balance)

    answer = re.fullmatch(r"每月还(\d+\.\d\d)元", output)
    assert answer
    payment, cent = Fraction(answer[1]), Fraction(1, 100)
    assert left_over(payment) < 2
    assert left_over(payment) < min(left_over(payment - cent), left_over(payment + cent))


def check_upfront_fee_true_rate(input: str, output: str) -> None:
    """The interest on what is paid out gives the rates, per term and per year, and the late fee is right too."""
    contract, fee, received, days, back, late = map(int, numbers_in(input))
    assert contract - fee == received
    assert back == contract
    term = Fraction(fee, received)
    rate = Decimal(term.numerator) * 100 / term.denominator
    year = round(term * 365 / days * 100)
    assert f"{fee}÷{received}≈{rate.quantize(Decimal('0.01'), ROUND_HALF_UP)}%" in output
    assert f"{fee}÷{received}÷{days}×365≈{year}%" in output
    assert _equations(output) == [(f"{contract}×{late}%×10", str(contract * late * 10 // 100))]
    assert f"到手{received}元，{days}天后还{back}元，实际利息是{fee}元：\n\n- {days}天的利率：" in output
    assert f"拖了10天才还，还得另交{contract}×" in output
    assert f"本金只能按{received}元算" in output
    assert output.startswith("别借")
    assert re.findall(r"(?m)^(\d)\. ", output) == ["1", "2", "3"]
    assert "《民法典》第六百七十条规定，利息不得预先在本金中扣除" in output


def _quadratic(expression: str, x: Fraction) -> Fraction:
    """Compute an expression in x with implied products and squares."""
    python = re.sub(r"(?<=[\dx)])(?=[x(])", "*", expression.replace("²", "**2"))
    assert re.fullmatch(r"[-+*()\dx]+", python), expression
    value: Fraction = eval(python, {"__builtins__": {}}, {"x": x})
    return value


def check_vertex_by_completing_square(input: str, output: str) -> None:
    """Every line of the working is the given function, and no value is below the minimum it states."""
    working, answer = output.split("\n\n")
    lines = working.replace("\n", "").removeprefix("y=").split("=")
    assert input == f"y={lines[0]}"
    assert len(lines) >= 4
    points = [Fraction(number, 4) for number in range(-40, 41)]
    for line in lines:
        assert all(_quadratic(line, x) == _quadratic(lines[0], x) for x in points), line
    low, where = min((_quadratic(lines[0], x), x) for x in points)
    assert f"当x={where}时y取最小值{low}，顶点是({where},{low})。" in answer
    last = re.fullmatch(rf"(\d+)\(x-{where}\)²{low}", lines[-1])
    assert last
    assert answer.startswith(f"因为{last[1]}>0，抛物线开口向上，")


def check_takeaway_discount_topup(input: str, output: str) -> None:
    """Of all ways to add dishes one is the cheapest, and the output gives it with its sum."""
    bowl, extras, offers, fees = input.split("\n")
    prices = {name: int(price) for name, price in re.findall(r"([^：、]+?)(\d+)元", extras.split("：")[1])}
    steps = [(int(full), int(off)) for full, off in re.findall(r"满(\d+)元减(\d+)元", offers)]
    start, extra = int(numbers_in(bowl)[0]), int(numbers_in(fees)[0])
    assert len(prices) == 5
    ways = []
    for names in itertools.chain.from_iterable(itertools.combinations(prices, size) for size in range(6)):
        goods = start + sum(prices[name] for name in names)
        ways.append((goods - max([0, *(off for full, off in steps if goods >= full)]) + extra, names))
    (alone, nothing), (paid, best), (second, _) = ways[0], *sorted(ways)[:2]
    assert nothing == ()
    assert paid < second
    goods = start + sum(prices[name] for name in best)
    full, off = max(step for step in steps if goods >= step[0])
    dishes = "+".join(str(price) for price in (start, *(prices[name] for name in best)))
    assert output == (
        f"加{'和'.join(best)}：菜价{dishes}={goods}元，满{full}元减{off}元，再加{extra}元打包配送，"
        f"实付{paid}元，比什么都不加的{alone}元还省{alone - paid}元。"
    )


def check_annual_party_draw(input: str, output: str) -> None:
    """All 4,060 draws are counted for one of our group among the winners."""
    staff, winners, group = map(int, numbers_in(input.replace("一", "")))
    draws = list(itertools.combinations(range(staff), winners))
    chance = Fraction(sum(min(draw) < group for draw in draws), len(draws))
    assert len(draws) == 4060
    assert output == f"{chance}，约{float(chance) * 100:.1f}%"


def check_wheat_mu_to_hectare(input: str, output: str) -> None:
    """1,100 jin of half a kilogram on a mu of 10,000/15 square metres make the tonnes per hectare."""
    kilograms_per_square_metre = Fraction(1100, 2) / Fraction(10000, 15)
    assert output == f"每公顷{float(kilograms_per_square_metre * 10000 / 1000)}吨"


def _area(corners: list[tuple[int, int]]) -> Fraction:
    """Return the area of a polygon by the shoelace formula."""
    pairs = zip(corners, corners[1:] + corners[:1], strict=True)
    return abs(sum((Fraction(a * d - b * c, 2) for (a, b), (c, d) in pairs), Fraction(0)))


def check_tangram_piece_areas(input: str, output: str) -> None:
    """The pieces of a tangram drawn on an 8 by 8 square have the areas listed, and together fill it."""
    pieces = [
        ("大三角形", [(0, 0), (8, 0), (4, 4)]),
        ("大三角形", [(0, 0), (4, 4), (0, 8)]),
        ("中三角形", [(8, 4), (8, 8), (4, 8)]),
        ("正方形", [(4, 4), (6, 6), (4, 8), (2, 6)]),
        ("平行四边形", [(8, 0), (8, 4), (6, 6), (6, 2)]),
        ("小三角形", [(6, 2), (6, 6), (4, 4)]),
        ("小三角形", [(0, 8), (2, 6), (4, 8)]),
    ]
    areas = [(name, _area(corners)) for name, corners in pieces]
    assert sum(area for _, area in areas) == 64
    listed = re.findall(r"(?m)^- (\w+?)(一|两)块，(?:每块)?(\d+)平方厘米$", output)
    claimed = [(name, Fraction(area)) for name, count, area in listed for _ in range("一两".index(count) + 1)]
    assert sorted(claimed) == sorted(areas)
    assert [(_value(sum_), int(result)) for sum_, result in _equations(output)] == [(Fraction(64), 64)]
    assert "正好等于8×8。" in output


def check_luoshu_from_mnemonic(input: str, output: str) -> None:
    """Three rows hold 1 to 9, all eight lines add up to 15, and the rhyme's places are kept."""
    rows = [[int(number) for number in row.split(" ")] for row in output.split("\n")]
    assert sorted(itertools.chain(*rows)) == list(range(1, 10))
    assert [len(row) for row in rows] == [3, 3, 3]
    slopes = [[rows[place][place] for place in range(3)], [rows[place][2 - place] for place in range(3)]]
    lines = [*rows, *map(list, zip(*rows, strict=True)), *slopes]
    assert {sum(line) for line in lines} == {15}
    (left_shoulder, head, right_shoulder), (left, centre, right), (left_foot, foot, right_foot) = rows
    assert (head, foot, left, right, centre) == (9, 1, 3, 7, 5)
    assert {left_shoulder, right_shoulder} == {2, 4}
    assert {left_foot, right_foot} == {6, 8}
