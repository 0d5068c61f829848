"""Money and tokens: exact amounts, what people may type, and bounds that hold."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct import money
from selfinstruct.errors import BadData, UsageProblem
from selfinstruct.money import Amount, Bound, Price, TokenBound, bound_of, likely_of, show_money

PICO = 10**12


def chat(*texts: str, **fields: Any) -> dict[str, Any]:
    """A chat body of one user message a text, with a token limit of 10 unless the fields say otherwise."""
    messages = [{"role": "user", "content": text} for text in texts]
    return {"model": "m", "messages": messages, "max_tokens": 10, "temperature": 0.7} | fields


# --- prices -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "input_price", "output_price", "currency"),
    [
        ("in=0.5,out=1.5", 500_000, 1_500_000, "usd"),
        ("input=2,output=8", 2_000_000, 8_000_000, "usd"),
        (" out = 1.5 , IN = .5 ", 500_000, 1_500_000, "usd"),
        ("in=1,out=2,currency=CNY", 1_000_000, 2_000_000, "cny"),
        ("in=0.000001,out=0", 1, 0, "usd"),
    ],
)
def test_a_price_is_read_exactly(text: str, input_price: int, output_price: int, currency: str) -> None:
    """A price per million tokens becomes whole pico-units per token, marked as the user's own."""
    assert money.parse_price(text) == Price(input_price, output_price, currency, "--price", "")


def test_a_price_has_the_currency_of_its_text_before_that_of_the_caller() -> None:
    """The caller's currency is a default; ``currency=`` in the text wins."""
    assert money.parse_price("in=1,out=2", "cny").currency == "cny"
    assert money.parse_price("in=1,out=2,currency=usd", "cny").currency == "usd"


@pytest.mark.parametrize(
    "text",
    [
        *("", "0.5", "in=0.5", "out=1", "in=0.5,out=", "in=,out=1", "in=0.5;out=1", "in=0.5,out=1,", "in=-1,out=1"),
        *("in=nan,out=1", "in=1e3,out=1", "in=0.0000001,out=1", "in=1,in=1,out=1", "in=1,input=1,out=1"),
        *("in=1,out=1,cache=1", "in=1,out=1,currency=", "in=1,out=1,currency=euros", "in=١,out=1", "in=$1,out=1"),
    ],
)
def test_a_price_that_is_none_is_refused_with_its_form(text: str) -> None:
    """The message names the option and shows a price as it must look."""
    with pytest.raises(UsageProblem, match=r"--price .* must look like in=0\.5,out=1\.5"):
        money.parse_price(text)


@given(st.decimals("0", "999999", places=6), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_cost_is_exact(per_million: Decimal, prompt: int, completion: int) -> None:
    """A cost is the decimal product itself, whatever the numbers: nothing is rounded."""
    price = money.parse_price(f"in={per_million:f},out=1")
    assert price.cost(prompt, completion) * 10**6 == int(per_million * 10**6) * prompt * 10**6 + completion * PICO


# --- amounts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("20usd", Amount("usd", 20 * PICO)),
        ("$20", Amount("usd", 20 * PICO)),
        ("20", Amount("usd", 20 * PICO)),
        ("$20usd", Amount("usd", 20 * PICO)),
        ("100cny", Amount("cny", 100 * PICO)),
        ("¥100", Amount("cny", 100 * PICO)),
        ("￥ 1.", Amount("cny", PICO)),
        (" 0.5 USD ", Amount("usd", PICO // 2)),
        (".000000000001", Amount("usd", 1)),
        ("3eur", Amount("eur", 3 * PICO)),
    ],
)
def test_an_amount_is_read_in_every_spelling(text: str, amount: Amount) -> None:
    """Symbol before or code after, dollars where neither is given."""
    assert money.parse_amount(text) == amount


@pytest.mark.parametrize(
    "text",
    ["", "usd", "$", "0", "0.00usd", "-1", "nan", "inf", "1e3", "1,000", "20 us", "20 dollars", "¥20usd", "0x1", "٣"],
)
def test_an_amount_that_is_none_is_refused_with_its_form(text: str) -> None:
    """Zero is refused too: no call fits into it."""
    with pytest.raises(UsageProblem, match=r"--max-cost .* must be more than 0 and look like 20usd"):
        money.parse_amount(text)


@pytest.mark.parametrize(
    ("pico", "currency", "shown"),
    [
        (0, "usd", "$0"),
        (1, "usd", "$0.000000000001"),
        (12_345_678, "usd", "$0.00001235"),
        (12_300_000_000, "usd", "$0.0123"),
        (50_000_000_000, "usd", "$0.05"),
        (PICO // 2, "usd", "$0.50"),
        (PICO - 1, "usd", "$1.00"),
        (PICO, "usd", "$1.00"),
        (3_200_000_000_000, "cny", "¥3.20"),
        (19_974_000_000_000, "usd", "$19.97"),
        (10**9 * PICO, "usd", "$1000000000.00"),
        (PICO * 5 // 2, "eur", "2.50 eur"),
        (0, "eur", "0 eur"),
    ],
)
def test_money_is_shown_short_and_never_in_scientific_notation(pico: int, currency: str, shown: str) -> None:
    """Cents from 1 on, four significant digits below."""
    assert show_money(pico, currency) == shown


@given(st.integers(1, 10**24 - 1), st.sampled_from(["usd", "cny", "eur"]))
def test_an_amount_reads_back_as_written(pico: int, currency: str) -> None:
    """What a message calls the cap can be typed again."""
    amount = Amount(currency, pico)
    assert money.parse_amount(str(amount)) == amount


def test_an_amount_is_written_without_needless_digits() -> None:
    """The cap in a message looks as the user typed it."""
    assert [str(money.parse_amount(text)) for text in ("20", "0.50cny", "100")] == ["20 usd", "0.5 cny", "100 usd"]


# --- durations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("6h", 21600.0), ("90m", 5400.0), ("45s", 45.0), ("1h30m", 5400.0), ("90", 90.0), ("2d", 172800.0)),
        *(("1.5h", 5400.0), (" 1d 1H ", 90000.0), ("0.5", 0.5)),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    """Units from days to seconds, largest first; a bare number is seconds."""
    assert money.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "-1h", "h", "1h30", "30m1h", "1w", "1 hour", "inf", "nan", "1e3"])
def test_a_duration_that_is_none_is_refused_with_its_form(text: str) -> None:
    """``1h30`` may mean minutes or seconds, so it is refused; the option is the caller's."""
    with pytest.raises(UsageProblem, match=r"--give-up-after .* look like 6h, 90m, 1h30m"):
        money.parse_duration(text, "--give-up-after")


# --- the upper bound ----------------------------------------------------------------------------------------------


def test_a_chat_is_bounded_by_its_bytes_a_frame_a_message_and_its_token_limit() -> None:
    """UTF-8 bytes of all messages, 16 a message, and the limit."""
    assert bound_of(chat("four", "五")) == TokenBound(4 + 3 + 2 * 16, 10)


def test_several_answers_are_bounded_by_their_number() -> None:
    """``n`` answers may each use the whole limit; best_of makes more than it returns; null is 1."""
    assert bound_of(chat("", n=3)).completion == 30
    assert bound_of(chat("", n=2, best_of=5)).completion == 50
    assert bound_of(chat("", n=None)).completion == 10


def test_the_larger_of_two_token_limits_counts() -> None:
    """The server may know only one of the two names."""
    assert bound_of(chat("", max_completion_tokens=25)).completion == 25
    assert bound_of(chat("", max_completion_tokens=5)).completion == 10
    assert bound_of(chat("", max_tokens=None, max_completion_tokens=5)).completion == 5


@pytest.mark.parametrize(
    ("prompt", "bound"),
    [
        ("four", TokenBound(4 + 16, 20)),
        (["four", "五"], TokenBound(4 + 3 + 32, 40)),
        ([11, 12, 13], TokenBound(3 + 16, 20)),
        ([[11, 12], [13]], TokenBound(3 + 32, 40)),
    ],
)
def test_a_completion_is_bounded_by_its_prompts(prompt: Any, bound: TokenBound) -> None:
    """Each prompt is answered for itself; a token id is one token."""
    assert bound_of({"model": "m", "prompt": prompt, "max_tokens": 10, "best_of": 2}) == bound


@pytest.mark.parametrize(
    "field",
    [
        {"tools": [{"type": "function", "function": {"name": "weather", "description": "晴れ"}}]},
        {"response_format": {"type": "json_object"}},
        {"guided_regex": "[a-z]+"},
        {"suffix": "the end"},
    ],
)
def test_whatever_else_the_model_may_be_shown_counts_as_its_json(field: dict[str, Any]) -> None:
    """A field we do not know counts too: a bound must not depend on our knowing every provider."""
    written = len(json.dumps(field, ensure_ascii=False, separators=(",", ":")).encode())
    assert bound_of(chat("x") | field) == TokenBound(1 + 16 + written, 10)


@pytest.mark.parametrize(
    "key", [{"name": "Ann"}, {"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}]
)
def test_other_keys_of_a_message_count_as_their_json(key: dict[str, Any]) -> None:
    """With and without a content beside them."""
    written = len(json.dumps(key, separators=(",", ":")))
    assert bound_of(chat(messages=[{"role": "user", "content": "x"} | key])).prompt == 1 + 16 + written
    assert bound_of(chat(messages=[{"role": "user"} | key])).prompt == 16 + written
    assert bound_of(chat(messages=[{"role": "user", "content": None} | key])).prompt == 16 + written


def test_a_long_role_counts() -> None:
    """Templates of some servers write any role out."""
    assert bound_of(chat(messages=[{"role": "r" * 500, "content": "x"}])).prompt == 1 + 16 + 500 + len('{"role":""}')
    assert bound_of(chat(messages=[{"role": ["r"], "content": "x"}])).prompt == 1 + 16 + len('{"role":["r"]}')
    assert bound_of(chat(messages=[{"content": "x"}])).prompt == 1 + 16


def test_sampling_fields_count_nothing() -> None:
    """Numbers, switches, null and names that no model is shown."""
    fields = {"top_p": 1, "seed": 7, "stop": ["\n"], "logit_bias": {"50256": -100}, "stream": False, "tools": None}
    fields |= {"user": "u" * 99, "metadata": {"run": "first"}, "reasoning_effort": "high", "repetition_penalty": 1.1}
    assert bound_of(chat("x") | fields) == bound_of(chat("x"))


def test_text_in_parts_counts() -> None:
    """A content of text parts is bounded by the JSON of the parts, which holds the text."""
    parts = [{"type": "text", "text": "five\n"}]
    assert bound_of(chat(messages=[{"role": "user", "content": parts}])).prompt == 16 + len(
        '{"type":"text","text":"five\\n"}'
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (chat("x", max_tokens=None), "no token limit.* add max_tokens"),
        (chat("x", max_tokens=1.5), "max_tokens must be a whole number, not 1.5"),
        (chat("x", max_tokens=True), "max_tokens must be a whole number, not True"),
        (chat("x", n="2"), "n must be a whole number, not '2'"),
        (chat("x", n=-1), "n must be a whole number, not -1"),
        (chat("x", prompt="y"), "messages or a prompt, and not both"),
        ({"model": "m", "input": "x", "max_tokens": 1}, "messages or a prompt, and not both"),
        (chat(messages=[]), "messages must be a list of objects"),
        (chat(messages="x"), "messages must be a list of objects"),
        (chat(messages=["x"]), "messages must be a list of objects"),
        (chat(messages=[{"role": "user", "content": 1}]), "content of a message must be text"),
        (chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "'image_url', not text"),
        (chat(messages=[{"role": "user", "content": [{"type": "input_audio"}]}]), "'input_audio', not text"),
        (chat(messages=[{"role": "user", "content": [{"type": "file"}]}]), "'file', not text"),
        (chat(messages=[{"role": "user", "content": ["x"]}]), "None, not text"),
        (chat(messages=[{"role": "assistant", "audio": {"id": "a"}}]), "'audio' has no bound"),
        (chat("x", web_search_options={}), "'web_search_options' has no bound"),
        (chat("x", tools=["\ud800"]), "cannot be written as JSON"),
        ({"prompt": [], "max_tokens": 1}, "a prompt must be"),
        ({"prompt": [["x"]], "max_tokens": 1}, "a prompt must be"),
        ({"prompt": [1, "x"], "max_tokens": 1}, "a prompt must be"),
        ({"prompt": 5, "max_tokens": 1}, "a prompt must be"),
    ],
)
def test_a_body_without_a_bound_is_refused_with_the_reason(body: dict[str, Any], why: str) -> None:
    """A cap needs a bound, so there is no guess."""
    with pytest.raises(BadData, match=why):
        bound_of(body)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(texts, min_size=1, max_size=4), st.integers(1, 5000), st.integers(1, 4))
def test_the_bound_covers_the_likely(parts: list[str], limit: int, n: int) -> None:
    """The likely is never above it, and the bound is that of the text and the limit."""
    body = chat(*parts, max_tokens=limit, n=n)
    likely, high = likely_of(body), bound_of(body)
    assert high == TokenBound(sum(len(part.encode()) for part in parts) + 16 * len(parts), limit * n)
    assert likely.prompt <= high.prompt
    assert likely.completion <= high.completion


def test_likely_tokens_are_a_quarter_of_the_bytes_of_english_and_the_characters_of_chinese() -> None:
    """And 4 a message; half the limit, at most 400 tokens an answer."""
    assert likely_of(chat("word" * 100, max_tokens=300)) == TokenBound(100 + 4, 150)
    assert likely_of(chat("字" * 100, max_tokens=3)) == TokenBound(100 + 4, 2)
    assert likely_of({"prompt": [7] * 50, "max_tokens": 4000, "n": 2}) == TokenBound(50 + 4, 800)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [((60, 5), (60, 5)), ((60, 0), (60, 0)), ((0, 0), (100, 50)), ((0, 5), (100, 5)), ((900, 70), (900, 70))],
)
def test_a_call_counts_for_its_usage_or_where_there_is_none_its_bound(
    usage: tuple[int, int], counted: tuple[int, int]
) -> None:
    """No prompt has 0 tokens, so 0 means that the server did not count; an answer may have none."""
    assert Bound(TokenBound(100, 50)).charged(*usage) == Bound(TokenBound(*counted))


@pytest.mark.parametrize(("usage", "counted"), [((60, 5), (60, 5)), ((0, 0), None), ((0, 5), (0, 5))])
def test_without_a_bound_a_call_counts_for_its_usage_alone(
    usage: tuple[int, int], counted: tuple[int, int] | None
) -> None:
    """A body without a token limit has no bound; what its answer used is known all the same."""
    assert Bound(None).charged(*usage) == Bound(TokenBound(*counted) if counted else None)
