"""The tariff: what a call may come to, read from the bytes that will be sent."""

from __future__ import annotations

import orjson
import pytest

from selfinstruct.admission.tariff import Tariff
from selfinstruct.errors import BadData, ConfigProblem
from selfinstruct.money import UNBOUNDED, Bound, Price, TokenBound

PRICE = Price(1_000_000, 3_000_000, "usd", "--price", "")
BODY = orjson.dumps({"model": "m", "prompt": "Name a tree.", "max_tokens": 50, "n": 2})
NO_LIMIT = orjson.dumps({"model": "m", "prompt": "Name a tree."})


@pytest.mark.parametrize("price", [PRICE, None])
def test_a_bound_is_tokens_at_the_price_of_the_bodys_model(price: Price | None) -> None:
    """12 bytes and the frame of a prompt in, twice 50 tokens out; without a price only the tokens are known."""
    bound = Tariff(lambda model: price, required=False).bound(BODY)
    assert bound == Bound(TokenBound(12 + 16, 100), price)
    assert bound.cost == (28 * 1_000_000 + 100 * 3_000_000 if price else None)


def test_each_model_is_looked_up_once() -> None:
    """The table of prices is a file; a body that names no model is asked for as one without a name."""
    asked: list[str] = []

    def price_of(model: str) -> Price | None:
        asked.append(model)
        return PRICE if model == "m" else None

    tariff = Tariff(price_of, required=True)
    nameless = orjson.dumps({"prompt": "", "max_tokens": 1})
    bounds = [tariff.bound(body) for body in (BODY, nameless, BODY, nameless)]
    assert [bound.price for bound in bounds] == [PRICE, None, PRICE, None]
    assert asked == ["m", ""]


def test_a_body_without_a_bound_is_an_error_where_a_cap_counts_on_it() -> None:
    """Elsewhere its tokens are simply not known; what one of them costs still is."""
    assert Tariff(lambda model: PRICE, required=False).bound(NO_LIMIT) == Bound(None, PRICE)
    with pytest.raises(BadData, match="add max_tokens"):
        Tariff(lambda model: PRICE, required=True).bound(NO_LIMIT)


def test_a_price_that_cannot_be_had_stops_the_call() -> None:
    """Whoever finds prices decides whether one is needed."""

    def price_of(model: str) -> Price | None:
        raise ConfigProblem(f"no price for {model}")

    with pytest.raises(ConfigProblem, match="no price for m"):
        Tariff(price_of, required=True).bound(BODY)


def test_a_rate_limit_counts_a_guess_of_the_prompt_and_all_that_may_be_written() -> None:
    """A quarter of the body's bytes; 1 024 tokens of answer where the body sets no limit."""
    bound = Bound(TokenBound(28, 100))
    assert Tariff.weight(b"x" * 401, bound) == 100 + 100
    assert Tariff.weight(b"x" * 401, UNBOUNDED) == 100 + 1024
