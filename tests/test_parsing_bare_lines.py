"""A list without marks: short lines are items, what stands around them is none, and a text is no list."""

from __future__ import annotations

import pytest

from selfinstruct.parsing import bare_lines
from selfinstruct.parsing.bare_lines import LEAST, LONGEST


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("Leap seconds\nSundials\nAtomic clocks", ["Leap seconds", "Sundials", "Atomic clocks"]),
        ("Leap seconds\n\nSundials\n\nAtomic clocks\n", ["Leap seconds", "Sundials", "Atomic clocks"]),
        ("漏刻的误差\n日晷怎么做\n原子钟", ["漏刻的误差", "日晷怎么做", "原子钟"]),
        ("Sub-topic 1: Leap seconds\nSub-topic 2: Sundials\nQ3: Why noon?", ["Leap seconds", "Sundials", "Why noon?"]),
        ("Sure!\nLeap seconds\nSundials\nAtomic clocks", ["Leap seconds", "Sundials", "Atomic clocks"]),
        ("Ways of telling time:\nLeap seconds\nSundials\nAtomic clocks", ["Leap seconds", "Sundials", "Atomic clocks"]),
        (
            "Leap seconds\nSundials\nAtomic clocks\nLet me know if you need more!",
            ["Leap seconds", "Sundials", "Atomic clocks"],
        ),
    ],
)
def test_short_lines_are_items(text: str, items: list[str]) -> None:
    """Without greeting, heading, farewell and labels; blank lines are nothing."""
    assert bare_lines(text) == items


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Here is the list:",
        "\n".join(["Sundials"] * (LEAST - 1)),
        "I'm sorry, but I can't write that list.\nIt is not clear to me.\nPlease say more.",
        f"Sundials\nLeap seconds\n{'x' * (LONGEST + 1)}",
        "Sundials\nQ2:\nQ3:\nQ4:",
    ],
)
def test_what_is_no_list_of_short_lines_has_no_items(text: str) -> None:
    """Too few, an apology, a paragraph, labels without a text."""
    assert bare_lines(text) == []


def test_a_line_of_the_greatest_length_is_an_item() -> None:
    """The limit is inclusive."""
    assert len(bare_lines(f"Sundials\nLeap seconds\n{'x' * LONGEST}")) == 3
