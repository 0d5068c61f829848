"""What a call may come to, before it is made: its tokens at most, at the price of its model."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from selfinstruct.errors import BadData
from selfinstruct.money import Bound, Price, bound_of

_BYTES_PER_TOKEN = 4  # of prompt text, for rate limits alone: an estimate is enough there
_TOKENS_IF_UNBOUNDED = 1024


class Tariff:
    """Bounds of request bodies. ``price_of`` names a model's price, or None where none is known.

    ``required`` is set where a cap counts on the bound: a body without one is then an error.
    """

    def __init__(self, price_of: Callable[[str], Price | None], *, required: bool) -> None:
        self._price_of = price_of
        self.required = required
        self._prices: dict[str, Price | None] = {}

    def bound(self, body: bytes) -> Bound:
        """The most a call with this body may use and cost. Raises `BadData` where that is required and not known."""
        fields = orjson.loads(body)
        try:
            tokens = bound_of(fields)
        except BadData:
            if self.required:
                raise
            tokens = None
        return Bound(tokens, self._price(str(fields.get("model", ""))))

    @staticmethod
    def weight(body: bytes, bound: Bound) -> int:
        """The tokens a rate limit will count the call for, about."""
        completion = bound.tokens.completion if bound.tokens else _TOKENS_IF_UNBOUNDED
        return len(body) // _BYTES_PER_TOKEN + completion

    def _price(self, model: str) -> Price | None:
        if model not in self._prices:
            self._prices[model] = self._price_of(model)
        return self._prices[model]
