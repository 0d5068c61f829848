"""Executed checks of the seed tasks about business, law and daily life: sums, dates, shares and lists."""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Iterator
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from tests.seeds.reading import cells_of, clock_of, minutes_of, numbers_in, sentences_in


def check_chutney_break_even(input: str, output: str) -> None:
    """The count is the smallest whole number of jars that covers the fixed costs."""
    fixed, price, ingredients, fee = map(Decimal, numbers_in(input))
    assert output == f"{math.ceil(fixed / (price - ingredients - fee)):,} jars"


def check_markup_versus_margin(input: str, output: str) -> None:
    """Every figure of the explanation follows from a cost of 80 dollars."""
    cost = Fraction(80)
    price, target = cost * Fraction("1.5"), cost / Fraction("0.5")
    figures = (
        f"80 × 1.5 = {price} dollars",
        f"The profit is {price - cost} dollars",
        f"{price - cost} / {price} = {float((price - cost) / price):.1%}",
        f"80 / 0.5 = {target} dollars",
        f"The profit is then {target - cost} dollars",
        f"a markup of {float((target - cost) / cost):.0%}",
    )
    assert [figure for figure in figures if figure not in output] == []


def check_workshop_invoice_totals(input: str, output: str) -> None:
    """All six amounts follow from the input in exact decimal arithmetic."""
    cent = Decimal("0.01")
    fee, discount, travel, rate = map(Decimal, numbers_in(input))
    workshops = 3 * fee
    less = (workshops * discount / 100).quantize(cent, ROUND_HALF_UP)
    net = workshops - less + travel
    vat = (net * rate / 100).quantize(cent, ROUND_HALF_UP)
    assert input.startswith("Three workshops")
    assert output.splitlines() == [
        f"Workshops (3 × {fee:.2f}): {workshops:,.2f} EUR",
        f"Discount ({discount}% on workshops): -{less:,.2f} EUR",
        f"Travel costs: {travel:,.2f} EUR",
        f"Net total: {net:,.2f} EUR",
        f"VAT ({rate}%): {vat:,.2f} EUR",
        f"Total due: {net + vat:,.2f} EUR",
    ]


def check_goat_dairy_swot(input: str, output: str) -> None:
    """Four headings stand in the order of SWOT with two points each, every fact under its own heading."""
    facts = {
        "Strengths": ("prizes", "herd"),
        "Weaknesses": ("one employee", "English"),
        "Opportunities": ("otel group", "weekend train"),
        "Threats": ("eed prices", "imitation"),
    }
    blocks = [block.split("\n") for block in output.split("\n\n")]
    assert [heading for heading, *_ in blocks] == list(facts)
    for heading, *points in blocks:
        assert [point[:2] for point in points] == ["- ", "- "]
        for fact in facts[heading]:
            assert fact in input
            assert sum(fact in point for point in points) == 1


def check_ferry_refund_reply(input: str, output: str) -> None:
    """The hours to sailing, the refund and the last time to cancel follow from the policy."""
    facts = re.search(r"today, (\d\d:\d\d)\).* tomorrow at (\d\d:\d\d) .* cost (\d+) euros", input)
    assert facts
    now, sailing, fare = minutes_of(facts[1]), minutes_of(facts[2]), int(facts[3])
    left = (sailing + 24 * 60 - now) / 60
    assert 12 < left < 48
    assert f"in {left:g} hours" in output
    assert f"50% of the fare, which is {fare / 2:g} euros" in output
    assert f"until {clock_of(sailing - 12 * 60)} tomorrow" in output


def check_tenancy_notice_end(input: str, output: str) -> None:
    """The end follows from the third working day of the month, two or three months on."""
    notice = re.search(r"received: (\w+) (\d+ \w+ \d{4})", input)
    assert notice
    received = datetime.strptime(notice[2], "%d %B %Y").date()
    assert f"{received:%A}" == notice[1]
    working_days = [day for day in range(1, 11) if received.replace(day=day).weekday() < 5]
    in_time = received.day <= working_days[2]
    years, month = divmod(received.month - 1 + (2 if in_time else 3), 12)
    _, last_day = calendar.monthrange(received.year + years, month + 1)
    assert output == f"{last_day} {calendar.month_name[month + 1]} {received.year + years}"


def check_park_lead_bylaw(input: str, output: str) -> None:
    """The earlier breach lies more than twelve months back, so the answer is a warning, in four sentences at most."""
    days = [datetime.strptime(day, "%d %B %Y") for day in re.findall(r"\d+ \w+ 20\d\d", input)]
    earlier, later = sorted(days)
    consequence = "60-dollar fine" if earlier >= later.replace(year=later.year - 1) else "warning"
    assert output.startswith(f"Thandeka gets a {consequence}")
    assert "7.50 p.m." in output
    assert "twelve months" in output
    assert sentences_in(output.replace("p.m.,", "pm,")) <= 4


def check_parking_rounding_deadline(input: str, output: str) -> None:
    """The deadline is 10:40 rounded up to a half hour, plus 90 minutes."""
    assert output == clock_of(math.ceil(minutes_of("10:40") / 30) * 30 + 90)


def check_electricity_split_flat(input: str, output: str) -> None:
    """Every line of the arithmetic follows from the rule of the flat, and the three amounts add up to the bill."""
    bill, standing = map(Fraction, re.findall(r"(\d+\.\d\d) euros", input))
    days = {name: int(count) for name, count in re.findall(r"([A-Z]\w+) (\d+)[,.]", input.split("home:")[1])}
    assert list(days) == ["Noor", "Tomasz", "Ifeoma"]
    total, share = sum(days.values()), float(standing / 3)
    price = float((bill - standing) / total)
    due = [float(price * count + share) for count in days.values()]
    rows = [cells for cells in cells_of(output) if cells[0] in days]
    assert rows == [
        [name, f"{count} x {price:.2f} = {price * count:.2f}", f"{share:.2f}", f"{price * count + share:.2f}"]
        for name, count in days.items()
    ]
    lines = (
        f"Consumption part: {float(bill):.2f} - {float(standing):.2f} = {float(bill - standing):.2f} euros",
        f"Days at home in total: {' + '.join(map(str, days.values()))} = {total}",
        f"Price per day at home: {float(bill - standing):.2f} / {total} = {price:.2f} euros",
        f"Standing charge each: {float(standing):.2f} / 3 = {share:.2f} euros",
        f"Check: {' + '.join(f'{amount:.2f}' for amount in due)} = {float(bill):.2f} euros.",
    )
    assert [line for line in lines if line not in output.splitlines()] == []


def _recipe(text: str) -> Iterator[tuple[str, Fraction]]:
    """Yield each ingredient and its amount; litres count 1000 (ml), tablespoons 3 (teaspoons), to taste 0."""
    factors = {"": 1, "g": 1, "ml": 1, "l": 1000, "tsp": 1, "tbsp": 3}
    for line in text.splitlines():
        item, amounts = line.split(": ")
        total = Fraction(0)
        for amount in amounts.replace("to taste", "0").split(" + "):
            parts = re.fullmatch(r"([\d.]+)?(?: ?(\d+/\d+))?(?: ([a-z]+))?", amount)
            assert parts, amount
            total += (Fraction(parts[1] or 0) + Fraction(parts[2] or 0)) * factors[parts[3] or ""]
        yield item.rstrip("s"), total


def check_lentil_soup_scaling(input: str, output: str) -> None:
    """Every amount of the output is two and a half times that of the recipe, in the same order."""
    assert list(_recipe(output)) == [(item, amount * Fraction(10, 4)) for item, amount in _recipe(input)]
    assert output.endswith("Salt: to taste")


def check_shopping_by_shop(input: str, output: str) -> None:
    """The list has three shops with the final amounts, and no coriander."""
    assert {tuple(sorted(block.splitlines())) for block in output.split("\n\n")} == {
        ("- Onions, 3", "- Potatoes, 2 kg", "Greengrocer"),
        ("- Eggs, 10", "- Yoghurt, 0.5 l", "Dairy kiosk"),
        ("- Plasters", "- Wipes for glasses", "Pharmacy"),
    }


def check_shared_wash_garments(input: str, output: str) -> None:
    """Exactly the dark garments labelled 40 go into the shared load; the others have a rule each, by their labels."""
    together, others = output.split("The others:")
    assert numbers_in(together) == ["40"]
    assert numbers_in(others) == ["60", "30"]
    for garment in ("T-shirt", "napkins", "jumper", "socks", "jeans", "trousers"):
        (line,) = (line for line in input.splitlines() if garment in line)
        assert (garment in together) == ("label 40" in line)
        assert (garment in others) == ("label 40" not in line)
