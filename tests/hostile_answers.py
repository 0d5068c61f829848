"""Answers gone wrong in ways nobody thought of: whole answers, damaged at random, the same for the same generator."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    MaybeExecuted,
    Rejected,
    RequestRefused,
    UnknownModel,
    UnusableResponse,
)

# What a response body may raise. NotSent is not among them, nor is anything that ends a run for another reason.
OF_A_RESPONSE = (AccessDenied, ConfigProblem, MaybeExecuted, Rejected, RequestRefused, UnknownModel, UnusableResponse)

_USAGE = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
_CHAT = {"role": "assistant", "content": "Name a river. 说出一条河。 🏞", "refusal": None}
WHOLE: tuple[dict[str, Any], ...] = (
    {
        "id": "a-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m-1",
        "choices": [{"index": 0, "message": _CHAT, "logprobs": None, "finish_reason": "stop"}],
        "usage": _USAGE | {"prompt_tokens_details": {"cached_tokens": 0}},
    },
    {"model": "m-1", "choices": [{"index": 0, "text": "\n\t<b>7</b>", "finish_reason": "length"}], "usage": _USAGE},
    {"choices": [{"message": {"content": "<think>2+2</think>4", "reasoning_content": "hm"}, "text": "4"}]},
    {"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "image"}]}, "text": ""}]},
    {"choices": [{"message": {"content": None, "tool_calls": [{"id": "t", "function": {"arguments": "{}"}}]}}]},
    {"error": {"message": "slow down", "type": "rate_limit_error", "param": "top_p", "code": 429}},
    {"error": {"message": "the model does not exist", "code": "model_not_found"}, "choices": None, "usage": None},
    {"choices": [{"text": "a", "error": {"code": 502, "message": "upstream"}}]},
)
_DEEP = "\u2603deep"  # json.dumps cannot write what orjson can read: put in afterwards, 1 to 1 200 deep
_POISON: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 429, 2**31, 2**63, 10**40, -0.0, float("nan"), float("inf"), float("-inf")),
    *("", " ", "\x00", "\ud800", "\udc00x", "\ufeff", "\u202e", "\x1b[2J", "insufficient_quota", "x" * 70_000, _DEEP),
    *([], {}, [[]], [None], {"error": None}, {"message": None}, {"content": []}, {"text": 1}, {"code": _DEEP}),
)


def mutated(rng: Random) -> bytes:
    """One whole answer, damaged one to three times."""
    tree = deepcopy(rng.choice(WHOLE))
    for _ in range(rng.randrange(3)):
        rng.choice(_TREE_DAMAGE)(rng, tree)
    raw = _written(tree, rng)
    for _ in range(rng.randrange(3)):
        raw = rng.choice(_BYTE_DAMAGE)(rng, raw)
    return raw


def _written(tree: Any, rng: Random) -> bytes:
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.7).encode("utf-8", "surrogatepass")
    for spelling in (json.dumps(_DEEP).encode(), json.dumps(_DEEP, ensure_ascii=False).encode()):
        depth = rng.randint(1, 1200)
        opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
        text = text.replace(spelling, opening * depth + b"1" + closing * depth)
    return text


# --- damage to the parsed tree --------------------------------------------------------------------------------------


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) below the top."""
    items = list(tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ())
    return [(tree, key) for key, _ in items] + [place for _, inner in items for place in _places(inner)]


def _swap(rng: Random, tree: Any) -> None:
    """Another value, most likely of another type."""
    places = _places(tree)
    if places:
        container, key = rng.choice(places)
        container[key] = deepcopy(rng.choice(_POISON))


def _drop(rng: Random, tree: Any) -> None:
    """A key or an item less."""
    places = _places(tree)
    if places:
        container, key = rng.choice(places)
        del container[key]


def _graft(rng: Random, tree: Any) -> None:
    """A part of another answer where none belongs."""
    places, strange = _places(tree), deepcopy(rng.choice(WHOLE))
    if places:
        container, key = rng.choice(places)
        source, name = rng.choice(_places(strange))
        container[key] = source[name]


def _wrap(rng: Random, tree: Any) -> None:
    """A value in a list, or in an object, of its own."""
    places = _places(tree)
    if places:
        container, key = rng.choice(places)
        container[key] = rng.choice([[container[key]], {str(key): container[key]}])


# --- damage to the bytes ----------------------------------------------------------------------------------------------


def _flip(rng: Random, raw: bytes) -> bytes:
    """Some bytes are others."""
    changed = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 8])):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _cut(rng: Random, raw: bytes) -> bytes:
    """The end, or the start, or something between is missing."""
    first, last = sorted(rng.randrange(len(raw) + 1) for _ in range(2))
    return rng.choice([raw[:first], raw[last:], raw[:first] + raw[last:]])


def _splice(rng: Random, raw: bytes) -> bytes:
    """Something is in it, before it or behind it that does not belong there."""
    strange = rng.choice(
        [
            b"\xff",
            b"\x00",
            b"\xef\xbb\xbf",
            b"\r\n",
            b"data: ",
            b"[" * 2000,
            b'{"a":' * 2000,
            rb"\ud800",
            b"}",
            b"NaN",
            raw,
        ]
    )
    at = rng.choice([0, len(raw), rng.randrange(len(raw) + 1)])
    return raw[:at] + strange + raw[at:]


def _double(rng: Random, raw: bytes) -> bytes:
    """A key comes twice."""
    name = rng.choice([b'"choices": ', b'"usage": ', b'"message": ', b'"text": ', b'"error": '])
    value = rng.choice([b"null", b"[]", b"{}", b'"a"', b"-1", b'[{"text": "b"}]'])
    return raw.replace(name, name + value + b", " + name, 1)


_TREE_DAMAGE: tuple[Callable[[Random, Any], None], ...] = (_swap, _swap, _swap, _drop, _graft, _wrap)
_BYTE_DAMAGE: tuple[Callable[[Random, bytes], bytes], ...] = (_flip, _cut, _splice, _double)
