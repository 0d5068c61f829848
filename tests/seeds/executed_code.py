"""Executed checks of the seed tasks about code: the output is run, and compared with a slower, plainer solution."""

from __future__ import annotations

import ast
import itertools
import random
import re
import sqlite3
import sys
import types
import unittest
from collections.abc import Iterable
from html.parser import HTMLParser
from unittest import mock

import pytest

from tests.seeds.reading import code_of, printed_by, run_code


def _gaps_by_minute(bookings: Iterable[tuple[int, int]], opens: int, closes: int, shortest: int) -> list[object]:
    """Walk through the day minute by minute and collect the free stretches."""
    gaps: list[object] = []
    start = opens
    for minute in range(opens, closes + 1):
        if minute == closes or any(begin <= minute < end for begin, end in bookings):
            if minute - start >= shortest:
                gaps.append((start, minute))
            start = minute + 1
    return gaps


def check_free_gaps_python(input: str, output: str) -> None:
    """free_gaps agrees with a minute-by-minute search on edge cases and 400 random days, and changes no argument."""
    free_gaps = run_code(code_of(output))["free_gaps"]
    assert free_gaps([], 540, 600, 30) == [(540, 600)]
    assert free_gaps([], 540, 600, 61) == []
    assert free_gaps([(500, 700)], 540, 600, 1) == []
    assert free_gaps([(570, 580), (540, 560)], 540, 600, 20) == [(580, 600)]
    assert free_gaps([(600, 660), (700, 720)], 540, 600, 10) == [(540, 600)]
    rng = random.Random(7)
    for _ in range(400):
        starts = [rng.randrange(55) for _ in range(rng.randrange(6))]
        bookings = [(start, start + rng.randrange(1, 15)) for start in starts]
        opens, shortest = rng.randrange(5, 20), rng.randrange(1, 8)
        closes = opens + rng.randrange(1, 40)
        before = list(bookings)
        found = [tuple(gap) for gap in free_gaps(bookings, opens, closes, shortest)]
        assert found == _gaps_by_minute(before, opens, closes, shortest)
        assert bookings == before


def check_busiest_bus_sql(input: str, output: str) -> None:
    """One query returns every depot's top bus, keeps ties and counts a bus without trips as 0 km."""
    database = sqlite3.connect(":memory:")
    try:
        database.executescript(input.split("\n\n")[0])
        plates = {"North": ["N-2", "N-1", "N-3"], "East": ["E-1", "E-2"], "West": ["W-2", "W-1"]}
        buses = [(plate, depot) for depot, of_depot in plates.items() for plate in of_depot]
        database.executemany("INSERT INTO bus (plate, depot) VALUES (?, ?)", buses)
        trips = [(1, 10.0), (1, 20.0), (2, 30.0), (3, 29.0), (4, 5.0), (5, 50.0), (5, 1.5)]
        database.executemany("INSERT INTO trip VALUES (?, ?)", trips)
        cursor = database.execute(code_of(output).strip())
        assert [column[0] for column in cursor.description] == ["depot", "plate", "total_km"]
        assert cursor.fetchall() == [
            ("East", "E-2", 51.5),
            ("North", "N-1", 30.0),
            ("North", "N-2", 30.0),
            ("West", "W-1", 0),
            ("West", "W-2", 0),
        ]
    finally:
        database.close()


def check_clock_time_regex(input: str, output: str) -> None:
    """The expression accepts all 1,440 HH:MM and 86,400 HH:MM:SS times and refuses near misses."""
    accepts = re.compile(output.strip()).fullmatch
    for hour, minute in itertools.product(range(24), range(60)):
        assert accepts(f"{hour:02}:{minute:02}")
        assert all(accepts(f"{hour:02}:{minute:02}:{second:02}") for second in range(60))
    near = ["", "24:00", "7:45", "07:60", "07:45:60", "07:45:", "07", "07:45:10:10", "0745", " 07:45", "07:45\n"]
    other = ["29:10", "1\N{ARABIC-INDIC DIGIT SEVEN}:30", "07:45 pm", "07.45", "-7:45"]
    assert [text for text in near + other if accepts(text)] == []


def check_generator_used_twice(input: str, output: str) -> None:
    """The function of the input returns [] for a generator; the repaired one returns the shares for both kinds."""
    assert printed_by(input) == "[0.2, 0.3, 0.5]\n[]\n"
    shares = run_code(code_of(output))["shares"]
    assert shares([2, 3, 5]) == [0.2, 0.3, 0.5]
    assert shares(number for number in (2, 3, 5)) == [0.2, 0.3, 0.5]
    assert shares([]) == []


def check_spice_dict_output(input: str, output: str) -> None:
    """Running the program prints exactly the output."""
    assert printed_by(input).strip() == output


def check_python_defect_kind(input: str, output: str) -> None:
    """The script compiles and runs to its end, but prints something else than expected: a logic error."""
    parts = re.fullmatch(r"Script:\n(.*)\n\nExpected output: (\S+)", input, re.DOTALL)
    assert parts
    assert printed_by(parts[1]).strip() != parts[2]
    assert output == "logic error"


def check_month_totals_js_to_python(input: str, output: str) -> None:
    """The Python port gives the totals and the month order of the JavaScript function, and skips cancelled orders."""
    totals_by_month = run_code(code_of(output))["totals_by_month"]
    orders = [
        {"date": "2024-03-18", "cents": 250, "cancelled": False},
        {"date": "2024-01-02", "cents": 100},
        {"date": "2024-03-01", "cents": 50},
        {"date": "2024-02-09", "cents": 999, "cancelled": True},
        {"date": "2023-03-01", "cents": 0},
    ]
    assert list(totals_by_month(orders).items()) == [("2024-03", 300), ("2024-01", 100), ("2023-03", 0)]
    assert totals_by_month([]) == {}


def check_split_bill_docstring(input: str, output: str) -> None:
    """Nothing but a docstring was added; it has the sections and arguments, and what it claims of the result holds."""
    before, after = ast.parse(input), ast.parse(code_of(output))
    function = after.body[0]
    assert isinstance(function, ast.FunctionDef)
    docstring = ast.get_docstring(function)
    assert docstring
    function.body.pop(0)
    assert ast.dump(before) == ast.dump(after)
    for part in ("Args:", "Returns:", "Raises:", "cents:", "people:", "tip_percent:", "ValueError:"):
        assert part in docstring
    split_bill = run_code(code_of(output))["split_bill"]
    for cents, people, tip in itertools.product((0, 1, 999, 1000, 4321), (1, 2, 3, 7), (0, 10, 12.5)):
        shares = split_bill(cents, people, tip)
        assert len(shares) == people
        assert sum(shares) == cents + round(cents * tip / 100)
        assert max(shares) - min(shares) <= 1
        assert shares == sorted(shares, reverse=True)
    with pytest.raises(ValueError, match="people must be at least 1"):
        split_bill(100, 0)


def _result_of_tests(tests: str, durations: str) -> unittest.TestResult:
    """Run the test classes in one source text against the module ``durations`` made from another."""
    module = types.ModuleType("durations")
    exec(durations, module.__dict__)
    result = unittest.TestResult()
    with mock.patch.dict(sys.modules, {"durations": module}):
        for value in run_code(tests).values():
            if isinstance(value, type) and issubclass(value, unittest.TestCase):
                unittest.defaultTestLoader.loadTestsFromTestCase(value).run(result)
    return result


def check_duration_parser_tests(input: str, output: str) -> None:
    """The test class has four tests or more, passes on the given parser and fails on each of five broken versions."""
    tests = code_of(output)
    result = _result_of_tests(tests, input)
    assert result.testsRun >= 4
    assert result.wasSuccessful()
    breakages = {
        "hours * 60": "hours * 100",
        "not text or not match": "not match",
        "re.fullmatch": "re.match",
        "return hours * 60 + minutes": "return hours * 60",
        "raise ValueError": "raise KeyError",
    }
    for right, broken in breakages.items():
        assert right in input
        assert not _result_of_tests(tests, input.replace(right, broken)).wasSuccessful(), broken


class _Form(HTMLParser):
    """The tags of a form in order, and the text inside each kind of tag; unbalanced markup is an error."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "input":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())

    def attributes_of(self, wanted: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == wanted]


def check_accessible_signup_form(input: str, output: str) -> None:
    """Every field keeps name and value and has one label, the radio buttons a legend; a real button submits."""
    old, new = _Form(input), _Form(code_of(output))
    fields = new.attributes_of("input")
    kept = [(field["name"], field.get("value")) for field in old.attributes_of("input")]
    assert [(field["name"], field.get("value")) for field in fields] == kept
    labelled = [str(label["for"]) for label in new.attributes_of("label")]
    assert sorted(labelled) == sorted({str(field["id"]) for field in fields})
    assert len(labelled) == len(fields)
    assert new.texts["label"] == ["Name", "Email", "Morning", "Evening"]
    assert new.texts["legend"] == ["Class"]
    assert new.texts["button"] == ["Join"]
    assert len(new.attributes_of("fieldset")) == 1
    assert new.attributes_of("button") == [{"type": "submit"}]
    assert new.attributes_of("div") == []
    assert not any("onclick" in attributes for _, attributes in new.tags)
    assert new.tags[0] == ("form", {"action": "/join", "method": "post"})
