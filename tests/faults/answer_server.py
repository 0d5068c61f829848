"""A server of this machine whose answers are a function of the request's body, and which counts what it is asked.

It plays a middling model: most instructions are new, some are near copies of others, some are what the filters are
for, now and then an answer is cut off, unreadable or neither yes nor no. The same body gets the same answer for ever,
so two runs over it can be compared byte for byte. Speaks ``/v1/completions``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from tests.serving import Api

_SYLLABLES = "ba be bi bo da de di do fa fe ga ge ka ke ki ko la le li lo ma me mi mo na ne ni no ra re ri ro".split()
_NOUNS = [first + second for first in _SYLLABLES for second in _SYLLABLES]
_VERBS = "Explain Compare Summarise Translate Rank Describe Defend Question Shorten Classify Sort Rewrite".split()
_BAIT = ("Draw it.", "Draw a picture of a {}.", "Write a program that counts {}.", "?? {} and more of it.")
_MAX_TOKENS_OF_CLASSIFY = 3  # what tells the stages apart: the recipe's default, whatever the prompts say

Latency = Callable[[Random], float]
"""Seconds before the answer, drawn from a generator that is seeded by the body."""

Answer = Callable[[dict[str, Any], Random], tuple[str, str]]
"""``(body, generator seeded by it) → (text, finish reason)``."""

Fault = Callable[[str, int], tuple[int, bytes] | None]
"""``(path, how many calls came before) → (status, body)`` to answer with instead, or None."""


class Counts(NamedTuple):
    """What the server was asked: all requests, different bodies, and the most often asked body's count."""

    requests: int
    bodies: int
    most: int


class AnswerServer(Api):
    """Starts on ``with``, stops at its end. ``url`` is a base URL; ``asked`` counts each body by its sha256."""

    def __init__(
        self,
        *,
        answer: Answer | None = None,
        latency: Latency = lambda rng: 0.0,
        fault: Fault = lambda path, number: None,
    ) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.in_flight = 0
        self.fault = fault
        self._answer, self._latency = answer or middling, latency

    @property
    def counts(self) -> Counts:
        """The account so far."""
        return Counts(self.asked.total(), len(self.asked), max(self.asked.values(), default=0))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        before = self.asked.total()
        if request.method == "POST":
            self.asked[body_hash(body)] += 1
        status, answer = self.fault(request.path, before) or (200, b"")
        if not answer:
            rng = Random(body_hash(body))
            self.in_flight += 1
            try:
                await asyncio.sleep(self._latency(rng))
            finally:
                self.in_flight -= 1
            answer = _completion(*self._answer(orjson.loads(body), rng))
        return web.Response(status=status, body=answer, content_type="application/json")


def middling(body: dict[str, Any], rng: Random) -> tuple[str, str]:
    """What this model says, and why it stopped."""
    if body["max_tokens"] == _MAX_TOKENS_OF_CLASSIFY:
        return rng.choice([" Yes", " No"]) if rng.random() < 0.95 else " Maybe", "stop"
    opened = str(body["prompt"]).rstrip().rpartition("\n")[2]
    if opened.startswith("<task "):
        return _instructions(int(opened.removeprefix("<task ").rstrip(">")), rng)
    return _example(opened, rng)


def body_hash(body: bytes) -> str:
    """What the server counts by; a body holds the seed of its draw where the recipe sends one."""
    return hashlib.sha256(body).hexdigest()


def _instructions(first: int, rng: Random) -> tuple[str, str]:
    if rng.random() < 0.03:
        return " ", "stop"
    items = [_instruction(rng) for _ in range(7)]
    cut = rng.random() < 0.1
    if cut:
        items[-1] = items[-1][:20]
    text = "".join(f"\n<task {number}> {item}" for number, item in enumerate(items, first))
    return text.removeprefix(f"\n<task {first}>"), "length" if cut else "stop"


def _instruction(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.1:
        return rng.choice(_BAIT).format(rng.choice(_NOUNS))
    if kind < 0.3:  # one word away from one of thirty
        words = Random(rng.randrange(30))
        return f"{_sentence(words)} {rng.choice(_NOUNS)}."
    return f"{_sentence(rng)}."


def _sentence(rng: Random) -> str:
    a, b, c, d, e, f, g = rng.sample(_NOUNS, 7)
    return f"{rng.choice(_VERBS)} {a} {b} {c} in {d} {e} {f} {g}"


def _example(opened: str, rng: Random) -> tuple[str, str]:
    """One worked example, continuing the tag the prompt leaves open."""
    if rng.random() < 0.05:
        return " ", "stop"
    label, material = rng.choice(["Alpha", "Beta"]), f"Consider {' '.join(rng.sample(_NOUNS, 4))}."
    if opened == "<label>":
        return f"\n{label}\n<input>\n{material}", "stop"
    if opened == "<input>":
        return f"\n{material}\n<output>\n{_sentence(rng)}.", "stop"
    raise AssertionError(f"a prompt that ends with {opened!r}: what would a model continue it with?")


def _completion(text: str, finish_reason: str) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 100, "completion_tokens": 1 + len(text) // 4}
    return orjson.dumps({"object": "text_completion", "model": "middling", "choices": [choice], "usage": usage})
