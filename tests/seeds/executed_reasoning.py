"""Executed checks of the seed tasks about reasoning and planning: all cases are tried, every rule is tested."""

from __future__ import annotations

import itertools
import math
import re
from datetime import datetime, timedelta, timezone
from fractions import Fraction

from tests.seeds.reading import cells_of, clock_of, minutes_of


def check_bench_middle_seat(input: str, output: str) -> None:
    """Exactly one seating fits the clues, and the output names the person in its middle."""
    fitting = []
    for row in itertools.permutations(["Ines", "Kofi", "Leila", "Mei", "Tomasz"]):
        seat = {name: place for place, name in enumerate(row)}
        clues = (
            seat["Leila"] == 0,
            seat["Kofi"] == seat["Mei"] + 1,
            abs(seat["Tomasz"] - seat["Leila"]) != 1,
            seat["Ines"] < seat["Mei"],
            seat["Kofi"] not in (0, 4),
        )
        if all(clues):
            fitting.append(row)
    assert [row[2] for row in fitting] == [output]


def check_lima_nairobi_call_end(input: str, output: str) -> None:
    """The end of the call follows from the two offsets, starting on a Tuesday."""
    start = datetime(2024, 1, 2, 16, 40, tzinfo=timezone(timedelta(hours=-5)))  # 2 January 2024 was a Tuesday
    end = (start + timedelta(minutes=95)).astimezone(timezone(timedelta(hours=3)))
    assert f"{start:%A at %H:%M}" in input
    assert output == f"{end:%H:%M on %A}"


def check_choir_syllogism(input: str, output: str) -> None:
    """A choir of three exists where both premises are true and the conclusion is false, so it does not follow."""
    kinds = list(itertools.product([False, True], repeat=3))  # is an alto, reads music, plays the piano
    refuted = False
    for choir in itertools.combinations_with_replacement(kinds, 3):
        some_alto = any(alto for alto, _, _ in choir)
        all_altos_read = all(reads for alto, reads, _ in choir if alto)
        some_readers_play = any(reads and plays for _, reads, plays in choir)
        some_altos_play = any(alto and plays for alto, _, plays in choir)
        refuted |= some_alto and all_altos_read and some_readers_play and not some_altos_play
    assert output == ("does not follow" if refuted else "follows")


def check_premise_claim_relation(input: str, output: str) -> None:
    """In every case the premise allows, the boat did not leave before dawn: the claim is contradicted."""
    cases = list(itertools.product([False, True], repeat=2))  # left before dawn, came back with sardines
    allowed = [early for early, sardines in cases if (not early or sardines) and not sardines]
    assert allowed
    relation = "entailed" if all(allowed) else "undetermined" if any(allowed) else "contradicted"
    assert output == relation


def check_last_mooncake_liars(input: str, output: str) -> None:
    """Exactly one culprit makes exactly one of the three statements true."""
    children = ("Bilal", "Chen", "Dagny")
    culprits = [who for who in children if [who == "Chen", who != "Chen", who != "Dagny"].count(True) == 1]
    assert culprits == [output]


def _levels_after(five: int, eight: int) -> set[tuple[int, int]]:
    """Return the water levels one move can lead to: fill a bucket, empty it, or pour it into the other."""
    over, back = min(five, 8 - eight), min(eight, 5 - five)
    poured = {(five - over, eight + over), (five + back, eight - back)}
    return {(5, eight), (five, 8), (0, eight), (five, 0)} | poured


def check_two_litres_two_buckets(input: str, output: str) -> None:
    """Every stated level is one move from the one before, two litres remain, and no shorter way exists."""
    stated = re.findall(r"\(5-litre: (\d+), 8-litre: (\d+)\)", output)
    levels = [(0, 0), *((int(five), int(eight)) for five, eight in stated)]
    for before, after in itertools.pairwise(levels):
        assert after != before
        assert after in _levels_after(*before)
    assert levels[-1] == (2, 8)
    assert "which takes 3 litres" in output
    assert output.endswith("Exactly 2 litres are left in the 5-litre bucket.")
    assert set(re.findall(r"(\d+)-litre", output)) == {"5", "8"}
    reach, moves = {(0, 0)}, 0
    while not any(2 in level for level in reach):
        reach = {after for level in reach for after in _levels_after(*level)}
        moves += 1
    assert len(stated) == moves


def check_rent_or_buy_mixer(input: str, output: str) -> None:
    """The costs of the year, the months to break even and the reserve follow from the baker's numbers."""
    rent, price, upkeep, resale, months, savings = 180, 2900, 25, 800, 12, 3500
    for number in (rent, price, upkeep, resale, months, savings):
        assert f"{number:,}" in input
    bought, monthly = price + months * upkeep, rent - upkeep
    with_resale, without = Fraction(price - resale, monthly), Fraction(price, monthly)
    figures = (
        f"{months} × {rent} = {months * rent:,} lari",
        f"{price:,} + {months} × {upkeep} − {resale} = {bought - resale:,} lari ({bought:,} lari if",
        f"{rent} − {upkeep} = {monthly} lari a month",
        f"net price of {price - resale:,} lari",
        f"{price - resale:,} ÷ {monthly} ≈ {float(with_resale):.1f} months: from month {math.ceil(with_resale)} it",
        f"{price:,} ÷ {monthly} ≈ {float(without):.1f} months, that is, until month {math.ceil(without)}",
        f"{savings - price} lari in reserve",
        f"at least {math.ceil(with_resale)} more months",
    )
    assert [figure for figure in figures if figure not in output] == []


def check_curry_backward_schedule(input: str, output: str) -> None:
    """Every step starts when the one before ends, and the rice is ready when plating starts."""
    lines = re.findall(r"(?m)^(\d\d:\d\d) ([^(\n]+?)(?: \((\d+) min\))?$", output)
    start = {step: minutes_of(clock) for clock, step, _ in lines}
    assert {step: minutes for _, step, minutes in lines} == {
        "Chop vegetables": "25",
        "Fry onions and spices": "15",
        "Simmer the curry": "50",
        "Switch on the rice cooker": "35",
        "Let the curry rest": "10",
        "Plate up": "5",
        "Serve": "",
    }
    assert re.findall(r"(?m)^\d\. .*?, (\d+) min", input) == ["25", "15", "50", "10", "5"]
    assert "runs by itself for 35 min" in input
    steps = [(clock, int(minutes)) for clock, step, minutes in lines if minutes and "rice" not in step]
    for (clock, minutes), (following, _) in itertools.pairwise(steps):
        assert minutes_of(clock) + minutes == minutes_of(following)
    assert start["Plate up"] + 5 == start["Serve"] == minutes_of("19:00")
    assert start["Switch on the rice cooker"] + 35 == start["Plate up"]
    assert list(start.values()) == sorted(start.values())


def check_shed_critical_path(input: str, output: str) -> None:
    """The answer is the length of the longest path through the tasks."""
    finish: dict[str, int] = {}
    for line in input.splitlines():
        task = re.fullmatch(r"([A-Z]) .*?: (\d+) days?(?:, after ([A-Z](?: and [A-Z])*))?", line)
        assert task, line
        before = task[3].split(" and ") if task[3] else []
        finish[task[1]] = int(task[2]) + max((finish[earlier] for earlier in before), default=0)
    assert len(finish) == 7
    assert output == f"{max(finish.values())} days"


def check_mei_revision_timetable(input: str, output: str) -> None:
    """The timetable fills every free hour, gives each subject its hours and keeps the rules."""
    free = {day: int(hours) for day, hours in re.findall(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) (\d)", input)}
    needed = {subject: int(hours) for subject, hours in re.findall(r"(Chemistry|French|History) (\d)", input)}
    rows = [cells for cells in cells_of(output) if cells[0] in free]
    plan = {day: [subject for subject in subjects if subject not in ("", "free")] for day, *subjects in rows}
    assert list(plan) == list(free)
    for day, subjects in plan.items():
        assert len(set(subjects)) == len(subjects) == free[day]
    for subject, hours in needed.items():
        days = [day for day in plan if subject in plan[day]]
        assert len(days) == hours
        assert f"{subject} {hours} ({', '.join(days)})" in output
    assert "Chemistry" in plan["Sun"]
    assert "History" not in plan["Sun"]


def check_workshop_budget_pick(input: str, output: str) -> None:
    """The chosen items are the only best selection within 400 euros."""
    items = {name: (int(price), int(points)) for name, price, points in re.findall(r"(?m)^(.+?): (\d+), (\d+)$", input)}
    assert len(items) == 6
    options = []
    for size in range(len(items) + 1):
        for chosen in itertools.combinations(items, size):
            price, points = (sum(items[name][column] for name in chosen) for column in (0, 1))
            if price <= 400:
                options.append((points, price, chosen))
    options.sort(reverse=True)
    points, price, best = options[0]
    assert options[1][0] < points
    assert {name for name in items if name.lower() in output.lower()} == set(best)
    assert all(f"{name} ({items[name][0]})".lower() in output.lower() for name in best)
    assert f"{price} euros, {points} points" in output


def check_three_continent_slot(input: str, output: str) -> None:
    """The slot is the only hour of UTC inside all three working days."""
    starts, ends = [], []
    for sign, hours, minutes, start, end in re.findall(
        r"UTC([-+])(\d+)(?::(\d\d))?\): (\d\d:\d\d) to (\d\d:\d\d)", input
    ):
        ahead = int(sign + "1") * (int(hours) * 60 + int(minutes or 0))
        starts.append(minutes_of(start) - ahead)
        ends.append(minutes_of(end) - ahead)
    assert len(starts) == 3
    assert min(ends) - max(starts) == 60
    assert output == f"{clock_of(max(starts))} to {clock_of(min(ends))} UTC"


def check_library_agenda_45(input: str, output: str) -> None:
    """The items of the agenda follow each other without a gap from minute 0 to minute 45."""
    items = [(int(start), int(end)) for start, end in re.findall(r"(?m)^(\d+)-(\d+) ", output)]
    assert len(items) >= 4
    assert (items[0][0], items[-1][1]) == (0, 45)
    assert all(start < end for start, end in items)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(items))


def check_bus_timetable_lesson(input: str, output: str) -> None:
    """The phases fill 40 minutes without a gap, and both worked answers follow from the timetable."""
    phases = [(int(start), int(end)) for start, end in re.findall(r"(?m)^(\d+)-(\d+) ", output)]
    assert (phases[0][0], phases[-1][1]) == (0, 40)
    assert all(start < end for start, end in phases)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(phases))
    rows = [cells for cells in cells_of(output) if cells[0] in ("Market", "Bridge", "School")]
    times = {stop: [minutes_of(clock) for clock in clocks] for stop, *clocks in rows}
    question = re.search(r"You reach Bridge at (\d:\d\d) and must be at School by (\d:\d\d)", output)
    assert question
    arrival, limit = map(minutes_of, question.groups())
    bus = next(bus for bus, time in enumerate(times["Bridge"]) if time >= arrival)
    assert times["School"][bus] <= limit
    assert f"(Bus {bus + 1}, {times['Bridge'][bus] - arrival} minutes.)" in output
    rides = {school - market for school, market in zip(times["School"], times["Market"], strict=True)}
    assert len(rides) == 1
    assert f"({rides.pop()} minutes.)" in output
