"""Money, and the tokens it buys: what a request can cost at most, what it likely costs, how people write amounts.

Amounts are integers, in pico-units of a currency (10⁻¹² usd): a price per million tokens with up to six decimals is a
whole number of them per token, so sums are exact and a cap holds to the last digit. Floats never hold money.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from selfinstruct.errors import BadData, UsageProblem
from selfinstruct.token_estimate import NOTHING, size_of

PRICE_HINT = "--price in=…,out=… (per million tokens)"
"""What a message about a missing price tells the user to give."""

_NUMBER = r"(?:[0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})"  # no sign, no exponent, no nan
_CURRENCY_OF = {"$": "usd", "¥": "cny", "￥": "cny"}
_SYMBOL_OF = {"usd": "$", "cny": "¥"}
_PRICE_FIELD = {"in": "input", "input": "input", "out": "output", "output": "output", "currency": "currency"}

# --- prices and amounts -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Price:
    """What one token costs, in pico-units of ``currency`` ("usd"), and where and when that was read."""

    input: int
    output: int
    currency: str
    source: str
    date: str

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """The cost of so many tokens, in pico-units."""
        return prompt_tokens * self.input + completion_tokens * self.output


@dataclass(frozen=True, slots=True)
class Amount:
    """A sum of money: ``pico`` pico-units of ``currency``."""

    currency: str
    pico: int

    @property
    def units(self) -> str:
        """Whole units of the currency, to the last digit: ``20``, ``0.125``."""
        return f"{Decimal(self.pico).scaleb(-12):f}".rstrip("0").rstrip(".")

    def __str__(self) -> str:
        """As a user types it: ``20 usd``."""
        return f"{self.units} {self.currency}"


def pico_per_token(per_million: Decimal) -> int:
    """A price per million tokens as pico-units per token. Raises `ValueError` for more than six decimals."""
    return _whole(per_million, 6)


def parse_price(text: str, currency: str = "usd") -> Price:
    """Read ``in=0.5,out=1.5`` or ``input=2,output=8,currency=cny``, in units per million tokens.

    Raises `UsageProblem` for anything else; a price of 0 is free, and allowed.
    """
    fields: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        field = _PRICE_FIELD.get(name.strip().lower(), "")
        fields[field if field not in fields else ""] = value.strip()  # unknown or twice: no field of a price
    currency = fields.pop("currency", currency).lower()
    try:
        if fields.keys() != {"input", "output"} or not re.fullmatch("[a-z]{3}", currency):
            raise ValueError
        given = {name: pico_per_token(_decimal(value)) for name, value in fields.items()}
    except ValueError:
        raise UsageProblem(
            f"--price {text!r}: it must look like in=0.5,out=1.5 or in=2,out=8,currency=cny:"
            " units of the currency per million tokens, with at most 6 decimals"
        ) from None
    return Price(given["input"], given["output"], currency, source="--price", date="")


def parse_amount(text: str) -> Amount:
    """Read ``20usd``, ``$20``, ``20`` (usd), ``100cny``, ``¥100``, ``0.5 USD``; `UsageProblem` for anything else."""
    found = re.fullmatch(rf"([$¥￥]?)\s*({_NUMBER})\s*([A-Za-z]{{3}})?", text.strip())
    if found:
        symbol, digits, code = found.groups()
        currency = (code or _CURRENCY_OF.get(symbol, "usd")).lower()
        pico = _whole(Decimal(digits), 12)
        if pico > 0 and _CURRENCY_OF.get(symbol, currency) == currency:
            return Amount(currency, pico)
    raise UsageProblem(f"--max-cost {text!r}: it must be more than 0 and look like 20usd, $20, 0.5usd or 100cny")


def show_money(pico: int, currency: str) -> str:
    """Money for people: two decimals from 1 on (``¥3.20``), four significant digits below (``$0.0123``), ``$0``."""
    units = Decimal(pico).scaleb(-12)
    places = 2 if units >= 1 or not pico else 3 - units.adjusted()
    whole, _, decimals = f"{units:.{places}f}".partition(".")
    digits = f"{whole}.{decimals.rstrip('0'):0<2}" if pico else "0"
    symbol = _SYMBOL_OF.get(currency)
    return f"{symbol}{digits}" if symbol else f"{digits} {currency}"


def show_price(price: Price) -> str:
    """A price for people: ``$0.50 in, $1.50 out per million tokens (where it was read, when)``."""
    into, out = (show_money(pico * 10**6, price.currency) for pico in (price.input, price.output))
    read = ", ".join(text for text in (price.source, price.date) if text)
    return f"{into} in, {out} out per million tokens ({read})"


def parse_duration(text: str, option: str = "--deadline") -> float:
    """Read ``6h``, ``90m``, ``1h30m``, ``2d`` or ``90`` (seconds) as seconds; `UsageProblem` for anything else."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    compact = re.sub(r"\s+", "", text).lower()
    parts = "".join(f"(?:({_NUMBER}){unit})?" for unit in units)
    found = re.fullmatch(parts, compact)
    if found:
        seconds = sum(Decimal(number or 0) * unit for number, unit in zip(found.groups(), units.values(), strict=True))
    else:
        seconds = Decimal(compact) if re.fullmatch(_NUMBER, compact) else Decimal(0)
    if not seconds:
        raise UsageProblem(f"{option} {text!r}: it must be more than 0 and look like 6h, 90m, 1h30m, 45s, 2d or 90")
    return float(seconds)


def _decimal(text: str) -> Decimal:
    if not re.fullmatch(_NUMBER, text):
        raise ValueError(text)
    return Decimal(text)


def _whole(value: Decimal, power: int) -> int:
    """``value`` · 10^``power``, which must be a whole number. Exact: a decimal context would round to 28 digits."""
    top, bottom = value.as_integer_ratio()
    number: int
    number, rest = divmod(top * 10**power, bottom)
    if rest:
        raise ValueError(f"{value} has more than {power} decimals")
    return number


# --- the tokens of a request --------------------------------------------------------------------------------------


class TokenBound(NamedTuple):
    """Tokens that a call reads and writes, at most (`bound_of`) or likely (`likely_of`)."""

    prompt: int
    completion: int


class Bound(NamedTuple):
    """The most a call may use, at the price of its model. None is not known: a body without a token limit, a price."""

    tokens: TokenBound | None
    price: Price | None = None

    @property
    def cost(self) -> int | None:
        """In pico-units."""
        return self.price.cost(*self.tokens) if self.price and self.tokens else None

    def charged(self, prompt_tokens: int, completion_tokens: int) -> Bound:
        """What an answered call counts for: the server's usage; its bound where the server gave none (0)."""
        prompt, completion = self.tokens or (0, 0)
        if prompt_tokens:
            used = TokenBound(prompt_tokens, completion_tokens)
        elif self.tokens is None and not completion_tokens:
            return self
        else:
            used = TokenBound(prompt, completion_tokens or completion)
        return Bound(used, self.price)


UNBOUNDED = Bound(None)
"""Of a call about which nothing is known."""


def bound_of(body: Mapping[str, Any]) -> TokenBound:
    """The most tokens a request body can cost, as OpenAI's two completion APIs read it.

    A token of text is at least one byte, and a chat template spends at most about 16 on the frame of a message. Prompt:
    UTF-8 bytes of all texts, and of the JSON of whatever else may be shown to the model (tools, response_format, …),
    plus 16 a message or prompt. Completion: the token limit for each of the answers asked for.

    Raises `BadData` where no bound exists: no token limit, or a part that is no text.
    """
    size = _measure(body)
    return TokenBound(size.text.bytes + size.ids + _FRAME * size.pieces, size.answers * size.limit)


LIKELY_ANSWER = 400
"""Tokens of a chat answer that is not a long one."""


def likely_of(body: Mapping[str, Any], answer: int = LIKELY_ANSWER) -> TokenBound:
    """A guess for plans: the tokens of `token_estimate` for the text, 4 for each message.

    The answer is half of what it may be, and no longer than ``answer`` tokens. Rules of thumb, never used for a cap.
    """
    size = _measure(body)
    return TokenBound(size.text.tokens + size.ids + 4 * size.pieces, size.answers * min(-(-size.limit // 2), answer))


_FRAME = 16
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
# Fields no model is shown. Numbers are not listed: they never are.
_NOT_SHOWN = frozenset(
    {
        *("model", "messages", "prompt", "stop", "logit_bias", "user", "safety_identifier", "prompt_cache_key"),
        *("metadata", "service_tier", "stream_options", "reasoning_effort", "verbosity"),
    }
)
# Billed by the search, by the second of sound, or as answers nobody saw: no token limit holds them.
_UNBOUNDED = frozenset({"web_search_options", "audio", "prediction"})


class _Size:
    """What a body was measured to hold: text, token ids, messages, answers, their limit."""

    __slots__ = ("answers", "ids", "limit", "pieces", "text")

    def __init__(self, limit: int, answers: int) -> None:
        self.limit, self.answers = limit, answers
        self.ids = self.pieces = 0
        self.text = NOTHING

    def add_text(self, text: str) -> None:
        # Half a surrogate pair is refused when the body is written; here it counts like any other character.
        self.text = self.text.plus(size_of(text))

    def add_json(self, value: Any) -> None:
        try:
            self.add_text(orjson.dumps(value).decode())
        except TypeError as problem:
            raise BadData(f"a request cannot be written as JSON: {problem}") from problem


def _measure(body: Mapping[str, Any]) -> _Size:
    size = _Size(_token_limit(body), max(_count(body, "n", 1), _count(body, "best_of", 1)))
    messages, prompt = body.get("messages"), body.get("prompt")
    if (messages is None) == (prompt is None):
        raise BadData("a request body must have messages or a prompt, and not both")
    if prompt is not None:
        _add_prompts(size, prompt)
    elif isinstance(messages, list) and messages:
        for message in messages:
            _add_message(size, message)
    else:
        raise BadData("messages must be a list of objects")
    _add_fields(size, body.items(), _NOT_SHOWN)
    return size


def _token_limit(body: Mapping[str, Any]) -> int:
    """The larger of the two limits, since the server may know only one of them."""
    limit = max(_count(body, "max_tokens", -1), _count(body, "max_completion_tokens", -1))
    if limit < 0:
        raise BadData("a request body has no token limit, so its cost has no bound: add max_tokens to it")
    return limit


def _count(body: Mapping[str, Any], name: str, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or value < 0:
        raise BadData(f"{name} must be a whole number, not {value!r}")
    return value


def _add_message(size: _Size, message: Any) -> None:
    if not isinstance(message, Mapping):
        raise BadData("messages must be a list of objects")
    size.pieces += 1
    content, role = message.get("content"), message.get("role")
    if type(content) is str:
        size.add_text(content)
    elif isinstance(content, list):
        for part in content:
            _add_part(size, part)
    elif content is not None:
        raise BadData("the content of a message must be text or a list of parts")
    usual_role = isinstance(role, str) and role in _ROLES  # any other is text of any length
    if len(message) > 2 or content is None or not usual_role:
        _add_fields(size, message.items(), {"content", "role"} if usual_role else {"content"})


def _add_part(size: _Size, part: Any) -> None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind not in ("text", "refusal"):
        raise BadData(f"a message has a part of type {kind!r}, not text: its tokens cannot be counted beforehand")
    size.add_json(part)  # at least as long as the text in it


def _add_fields(size: _Size, fields: Iterable[tuple[str, Any]], known: Iterable[str]) -> None:
    for name, value in fields:
        if name in known or value is None or isinstance(value, int | float):
            continue
        if name in _UNBOUNDED:
            raise BadData(f"the cost of a request with {name!r} has no bound: leave it out, or set no cap")
        size.add_json({name: value})


def _add_prompts(size: _Size, prompt: Any) -> None:
    """A text, a list of texts, a list of token ids, or a list of such lists; each prompt is answered for itself."""
    alone = isinstance(prompt, str) or (isinstance(prompt, list) and prompt and type(prompt[0]) is int)
    prompts = [prompt] if alone else prompt
    if not isinstance(prompts, list) or not prompts:
        raise BadData("a prompt must be text, a list of texts, or token ids")
    for one in prompts:
        if isinstance(one, str):
            size.add_text(one)
        elif isinstance(one, list) and all(type(token) is int for token in one):
            size.ids += len(one)
        else:
            raise BadData("a prompt must be text, a list of texts, or token ids")
    size.pieces += len(prompts)
    size.answers *= len(prompts)
