"""Executed checks of the seed tasks about tables, formats and extraction: outputs are parsed, not looked at."""

from __future__ import annotations

import configparser
import csv
import io
import itertools
import json
import random
import re
import tomllib
from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction

import pytest

from tests.seeds.reading import cells_of, code_of, minutes_of, numbers_in


def check_stations_csv_to_json(input: str, output: str) -> None:
    """The JSON equals the CSV as the csv module reads it, numbers converted and empty cells null, keys in order."""
    rows = [
        [(key, None if text == "" else int(text) if text.isdigit() else text) for key, text in row.items()]
        for row in csv.DictReader(io.StringIO(input))
    ]
    assert len(rows) == 3
    assert [list(station.items()) for station in json.loads(code_of(output))] == rows


def check_greenhouse_yield_table(input: str, output: str) -> None:
    """Each row carries the figures of the text, the added column is tonnes over area, and it falls."""
    header, rule, *rows = cells_of(output)
    assert len(header) == 4
    assert all(re.fullmatch(r"-+:?", cell) for cell in rule)
    figures = {"North": ("400", "12.4"), "East": ("250", "8.5"), "South": ("320", "9.6"), "Old": ("180", "4.5")}
    assert {house: (area, tonnes) for house, area, tonnes, _ in rows} == figures
    assert sorted(numbers_in(input)) == sorted(figure for pair in figures.values() for figure in pair)
    assert len(rows) == 4
    yields = [Fraction(row[3]) for row in rows]
    assert yields == [Fraction(tonnes) * 1000 / Fraction(area) for _, area, tonnes, _ in rows]
    assert yields == sorted(yields, reverse=True)


def check_config_format_label(input: str, output: str) -> None:
    """The snippet parses as TOML with two sensors; it is no JSON, no INI and no YAML mapping."""
    assert len(tomllib.loads(input)["sensor"]) == 2
    with pytest.raises(json.JSONDecodeError):
        json.loads(input)
    with pytest.raises(configparser.Error):
        configparser.ConfigParser().read_string(input)
    assert not re.search(r"(?m)^\s*[\w-]+:\s", input)
    assert output == "TOML"


def check_mend_broken_json(input: str, output: str) -> None:
    """The input does not parse, the output does, and it holds the same data in the same order."""
    with pytest.raises(json.JSONDecodeError):
        json.loads(input)
    assert list(json.loads(code_of(output)).items()) == [
        ("name", "Tern"),
        ("crew", ["Aroha", "Jun"]),
        ("draught_m", 1.4),
        ("licensed", True),
        ("home_port", "Tromsø"),
        ("notes", 'Ask for "Rana" at the gate'),
    ]
    assert re.findall(r"\w+", output) == re.findall(r"\w+", input.replace("True", "true"))


def check_biggest_passenger_drop(input: str, output: str) -> None:
    """One route of the table has the largest loss from March to April, and the output gives it."""
    rows = {route: (int(march), int(april)) for route, march, april in cells_of(input.replace(",", ""))[2:]}
    drops = sorted(((march - april, route) for route, (march, april) in rows.items()), reverse=True)
    assert len(drops) == 4
    assert drops[0][0] > drops[1][0]
    assert output == f"{drops[0][1]}, {drops[0][0]} passengers"


def check_mixed_dates_to_iso(input: str, output: str) -> None:
    """Each date of the input, read by its own pattern, gives the ISO date on the same line."""
    patterns = ("%d %b %Y", "%d/%m/%Y", "%B %dth, %Y", "%d-%m-%Y", "%A %d %B %Y")
    lines = zip(input.splitlines(), patterns, strict=True)
    dates = [datetime.strptime(line, pattern).date() for line, pattern in lines]
    assert output.splitlines() == [day.isoformat() for day in dates]
    assert f"{dates[4]:%A}" == "Saturday"


def check_beekeeping_icalendar(input: str, output: str) -> None:
    """The calendar is well nested and has the required fields, right times in UTC, and escaped text."""
    lines = code_of(output).strip().splitlines()
    assert max(len(line.encode()) for line in lines) <= 75
    assert lines[:2] == ["BEGIN:VCALENDAR", "VERSION:2.0"]
    assert lines[-2:] == ["END:VEVENT", "END:VCALENDAR"]
    assert lines.count("BEGIN:VEVENT") == 1
    fields = dict(line.split(":", 1) for line in lines)
    assert f"PRODID {fields['PRODID']}, UID {fields['UID']} and 1 August 2025, 09:00 UTC" in input
    irish = timezone(timedelta(hours=1))
    start = datetime(2025, 9, 18, 19, 0, tzinfo=irish)
    assert f"{start:%A %d %B %Y, %H:%M} to 20:30" in input
    times = {
        "DTSTART": start,
        "DTEND": datetime(2025, 9, 18, 20, 30, tzinfo=irish),
        "DTSTAMP": datetime(2025, 8, 1, 9, 0, tzinfo=UTC),
    }
    assert {field: fields[field] for field in times} == {
        field: f"{time.astimezone(UTC):%Y%m%dT%H%M%SZ}" for field, time in times.items()
    }
    for field in ("SUMMARY", "LOCATION", "DESCRIPTION"):
        assert not re.search(r"(?<!\\)[,;]", fields[field])
        assert re.sub(r"\\([,;])", r"\1", fields[field]) in input.splitlines()


def _cron_values(field: str, low: int, high: int) -> set[int]:
    """Return the values one field of a cron expression stands for."""
    values: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        values |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return values


def check_weekday_cron_expression(input: str, output: str) -> None:
    """Over a week the job runs exactly every 20 minutes from 08:00 to 17:40 on Monday to Friday."""
    minute, hour, day, month, weekday = output.split()
    assert (day, month) == ("*", "*")
    fields = (_cron_values(weekday, 0, 6), _cron_values(hour, 0, 23), _cron_values(minute, 0, 59))
    times = [divmod(time, 60) for time in range(minutes_of("08:00"), minutes_of("17:40") + 1, 20)]
    assert set(itertools.product(*fields)) == {(day, *time) for day in range(1, 6) for time in times}


def check_sumif_one_city(input: str, output: str) -> None:
    """On a sheet with a header and rows past 90 the formula adds up the Oslo amounts of rows 2 to 90, no others."""
    formula = re.fullmatch(r'=SUMIF\(([A-Z])(\d+):\1(\d+),"([^"]+)",([A-Z])(\d+):\5(\d+)\)', output)
    assert formula
    where, first, last, wanted, summed, first_sum, last_sum = formula.groups()
    assert (where, summed) == ("B", "D")
    rng = random.Random(3)
    cities = {row: rng.choice(["Oslo", "Bergen", "Bodø"]) for row in range(1, 95)} | {1: "Oslo", 91: "Oslo"}
    amounts = {row: 2**row for row in range(1, 95)}  # powers of two: a sum tells which rows it has
    pairs = zip(range(int(first), int(last) + 1), range(int(first_sum), int(last_sum) + 1), strict=True)
    total = sum(amounts[amount] for city, amount in pairs if cities[city] == wanted)
    assert total == sum(amounts[row] for row in range(2, 91) if cities[row] == "Oslo")


def check_night_train_json(input: str, output: str) -> None:
    """The JSON has the seven keys in order, with the values read independently from the email."""
    email = re.search(
        r"Dear (Ms \w+),.*train (NT \d+) leaves \w+ at (\d\d:\d\d) on (\d+ \w+ \d{4}) and reaches"
        r" \w+ at (\d\d:\d\d) the following morning.*coach (\d+), seat (\d+).*charged ([\d.]+) euros",
        input,
        re.DOTALL,
    )
    assert email
    passenger, train, leaves, day, arrives, coach, seat, price = email.groups()
    departure = datetime.strptime(day, "%d %B %Y").date()
    assert list(json.loads(code_of(output)).items()) == [
        ("passenger", passenger),
        ("train", train),
        ("departure", f"{departure}T{leaves}"),
        ("arrival", f"{departure + timedelta(days=1)}T{arrives}"),
        ("coach", int(coach)),
        ("seat", int(seat)),
        ("price_eur", float(price)),
    ]


def check_warehouse_asset_codes(input: str, output: str) -> None:
    """The lines are exactly the words of the memo that have the stated form."""
    words = [word.strip(".,;") for word in input.split()]
    codes = [word for word in words if re.fullmatch(r"[A-Z]{2}-[0-9]{4}[A-Z]", word)]
    assert len(codes) == 3
    assert output.split("\n") == codes


def check_moved_grant_deadline(input: str, output: str) -> None:
    """The date is the first deadline plus the extension of one week; the weekdays of the thread are right."""
    for weekday, day in re.findall(r"(?m)^(\w+day) (\d+) November", input):
        assert f"{date(2025, 11, int(day)):%A}" == weekday
    due = re.search(r"due on (\d+) November", input)
    assert due
    assert "by one week" in input
    assert output == str(date(2025, 11, int(due[1])) + timedelta(weeks=1))


def check_indigo_vat_csv(input: str, output: str) -> None:
    """The rows are the amounts of the notebook in order, without the wrong weighing and the unused madder."""
    header, *rows = csv.reader(io.StringIO(code_of(output)))
    assert header == ["ingredient", "amount", "unit"]
    amounts = re.findall(r"(\d+) (g|l)\b", input)
    unused = re.search(r"The (\d+) (g) of madder", input)
    assert unused
    amounts.remove(unused.groups())
    assert [(amount, unit) for _, amount, unit in rows] == amounts
    names = [name for name, _, _ in rows]
    assert "madder" not in names
    assert sorted(names, key=input.index) == names
    for name, amount, unit in rows:
        assert re.search(rf"{amount} {unit} of {name}|the {name} twice; {amount} {unit}", input)


def check_celsius_reading_regex(input: str, output: str) -> None:
    """The pattern finds exactly the signed Celsius numbers, and neither other units nor numbers alone."""
    find = re.compile(code_of(output)).findall
    numbers = [f"{tenths / 10:.1f}" for tenths in range(-300, 1300)] + [str(whole) for whole in range(-40, 130)]
    assert find("; ".join(f"{number} °C" for number in numbers)) == numbers
    assert find("dawn: -4 °C, noon 21.5°C; (100 °C) and 0 °C.") == ["-4", "21.5", "100", "0"]
    assert find("keep at 10-15 °C") == ["15"]
    assert find("17-25 °C or 8.9-9.5 °C") == ["25", "9.5"]
    others = ("41 °F", "300 K", "-12", "room 21.5", "°C", "5 C", "21.5 ° C", "1.2.3 °C", "")
    assert [text for text in others if find(text)] == []


def check_signature_phone_e164(input: str, output: str) -> None:
    """The number is the workshop's, its leading zero replaced by the country code of the United Kingdom."""
    workshop = re.search(r"Workshop: 0([\d ]+) \(", input)
    assert workshop
    assert output == "+44" + workshop[1].replace(" ", "")
    assert re.fullmatch(r"\+[1-9]\d{6,14}", output)


def check_milk_nut_free_dishes(input: str, output: str) -> None:
    """The dishes are exactly those without a milk product and without nuts among their ingredients."""
    avoided = ("almond", "nut", "pistachio", "cheese", "butter", "milk", "cream", "yoghurt", "ghee")
    dishes = [line.split(": ") for line in input.splitlines() if ": " in line]
    safe = [dish for dish, ingredients in dishes if not any(word in ingredients for word in avoided)]
    assert output.split("; ") == safe


def check_volunteer_log_hours(input: str, output: str) -> None:
    """The total is the sum of Wiremu's hours less his break."""
    shifts = re.findall(r"Wiremu (\d\d:\d\d)-(\d\d:\d\d)", input)
    pauses = re.findall(r"minus a (\d+)-minute break", input)
    minutes = sum(minutes_of(end) - minutes_of(start) for start, end in shifts) - sum(map(int, pauses))
    assert output == f"{minutes / 60:g} hours"
