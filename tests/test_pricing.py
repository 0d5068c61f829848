"""The price table: every row well-formed and sourced, and no price where none is known."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import pricing
from selfinstruct.errors import ConfigProblem
from selfinstruct.money import Price

OPENAI = "https://api.openai.com/v1"
LISTS: list[dict[str, Any]] = tomllib.loads(
    (Path(pricing.__file__).parent / "prices.toml").read_text("utf-8"), parse_float=Decimal
)["list"]
ROWS = [(prices, name) for prices in LISTS for name in prices["models"]]


@pytest.mark.parametrize("prices", LISTS, ids=[prices["hosts"][0] for prices in LISTS])
def test_each_list_says_for_which_hosts_it_holds_and_where_and_when_it_was_read(prices: dict[str, Any]) -> None:
    """Hosts are bare names, sources are pages, the date is a month or a day."""
    assert prices.keys() == {"hosts", "source", "read_in", "seen", "models"}
    assert all(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host) for host in prices["hosts"])
    assert re.fullmatch(r"https://\S+", prices["source"])
    assert prices["read_in"]
    assert re.fullmatch(r"20\d\d-[01]\d(-[0-3]\d)?", prices["seen"])


@pytest.mark.parametrize(("prices", "name"), ROWS, ids=[f"{p['hosts'][0]}-{name}" for p, name in ROWS])
def test_each_row_is_a_price_a_cap_can_be_held_against(prices: dict[str, Any], name: str) -> None:
    """Found under its host and name; an input costs something, an output no less; no rate above 1 000 a million."""
    row = prices["models"][name]
    assert row.keys() == {"input", "output"}
    for host in prices["hosts"]:
        price = pricing.price_of(name, f"https://{host}/v1")
        assert price == Price(
            int(row["input"] * 10**6), int(row["output"] * 10**6), "usd", prices["source"], prices["seen"]
        )
        assert 0 < price.input <= price.output < 1000 * 10**6


def test_the_table_covers_the_models_people_ask_for() -> None:
    """At least 20 models, the default models of both APIs among them, from at least five vendors."""
    table = pricing.price_table()
    assert len({name for models in table.values() for name in models}) >= 20
    assert {"gpt-3.5-turbo", "gpt-3.5-turbo-instruct", "gpt-4o", "gpt-4o-mini"} <= table["api.openai.com"].keys()
    assert len(LISTS) >= 5


def test_a_dated_snapshot_has_the_price_of_its_model_unless_it_is_listed_itself() -> None:
    """The first gpt-4o was dearer than its successors."""
    assert pricing.price_of("gpt-4o-2024-08-06", OPENAI) == pricing.price_of("gpt-4o", OPENAI)
    assert pricing.price_of("gpt-4o-2024-05-13", OPENAI) != pricing.price_of("gpt-4o", OPENAI)
    anthropic = "https://api.anthropic.com/v1"
    assert pricing.price_of("claude-opus-4-5-20251101", anthropic) == pricing.price_of("claude-opus-4-5", anthropic)


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        ("gpt-4o", "http://127.0.0.1:8000/v1"),
        ("gpt-4o", "http://localhost/v1"),
        ("gpt-4o", "https://openrouter.ai/api/v1"),
        ("gpt-4o", "https://eu.api.openai.com/v1"),
        ("gpt-4o", "https://api.openai.com.example.org/v1"),
        ("gpt-4o", "gguf:00"),
        ("openai/gpt-4o", OPENAI),
        ("gpt-4o-audio-preview-2024-12-17", OPENAI),
        ("gpt-3.5-turbo-0613", OPENAI),
        ("gpt-4o-2024-08", OPENAI),
        ("gpt-4o-2024-0806", OPENAI),
        ("ft:gpt-4o-2024-08-06:org::id", OPENAI),
        ("GPT-4o", OPENAI),
        ("", OPENAI),
    ],
)
def test_another_server_or_another_name_has_no_known_price(model: str, base_url: str) -> None:
    """Unknown is not free, and not that of something that sounds alike."""
    assert pricing.price_of(model, base_url) is None


def test_an_unknown_price_is_an_error_that_says_how_to_give_one() -> None:
    """The message names model, server and option."""
    problem = pricing.unknown("mine", "http://h/v1")
    assert isinstance(problem, ConfigProblem)
    assert "'mine' at http://h/v1 is not known: give --price in=…,out=… (per million" in str(problem)
