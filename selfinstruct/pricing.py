"""Which price holds for a model: the dated table we ship (``prices.toml``), and what to say where it has none.

Unknown is not free: a model that our own server, a router or a reseller serves under a known name has no known price.
"""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from selfinstruct.errors import ConfigProblem
from selfinstruct.money import PRICE_HINT, Price, pico_per_token

_TABLE = Path(__file__).resolve().parent / "prices.toml"
# A dated snapshot of a model: gpt-4o-2024-08-06, claude-sonnet-4-5-20250929. Four digits may be another price.
_DATE = re.compile(r"-20[0-9]{2}(-?)[01][0-9]\1[0-3][0-9]\Z")


def price_table() -> dict[str, dict[str, Price]]:
    """Every price we ship: by host, then by model name as the API takes it."""
    table: dict[str, dict[str, Price]] = {}
    for prices in tomllib.loads(_TABLE.read_text("utf-8"), parse_float=Decimal)["list"]:
        for host in prices["hosts"]:
            models = table.setdefault(host, {})
            for name, price in prices["models"].items():
                models[name] = Price(
                    input=pico_per_token(Decimal(price["input"])),
                    output=pico_per_token(Decimal(price["output"])),
                    currency="usd",
                    source=prices["source"],
                    date=prices["seen"],
                )
    return table


def price_of(model: str, base_url: str) -> Price | None:
    """The price of a model at exactly that host, or None: of the name itself, else of the name without its date.

    A sub-domain of a known host has no known price: vendors put regions there, and bill them 10 % higher.
    """
    models = price_table().get(urlsplit(base_url).hostname or "", {})
    return models.get(model) or models.get(_DATE.sub("", model))


def is_free(identity: str) -> bool:
    """Whether nobody bills an endpoint of this identity: a model that runs here."""
    return identity in ("local", "vllm") or identity.startswith(("gguf:", "vllm:"))


def nothing(currency: str) -> Price:
    """The price of what is free."""
    return Price(0, 0, currency, source="it runs here", date="")


def unknown(model: str, base_url: str, option: str = "--price") -> ConfigProblem:
    """The error for a cap on the cost of a model whose price is not known; it says how to give one, by ``option``."""
    hint = PRICE_HINT.replace("--price", option)
    return ConfigProblem(f"the price of {model!r} at {base_url} is not known: give {hint}, or set no --max-cost")
