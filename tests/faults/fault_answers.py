"""The bytes a fault server sends: good answers, refusals, and every kind of poison. Pure."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import cache
from http import HTTPStatus
from random import Random
from typing import Any

import orjson

from tests.faults.fault_plan import Plan

CREATED = 1_700_000_000
MEGABYTE = 2**20

# One word a byte of the body's hash.
_WORDS = [first + second for first in "ba de fi go ku la me ni po ru sa te vi wo xu za".split() for second in
          "n r l s m t k d p g f v x z b c".split()]  # fmt: skip

Answer = Callable[[dict[str, Any], Random], tuple[str, str]]
"""``(body, generator seeded by it) → (text, finish reason)``; what `answer_server.middling` is."""


@dataclass(frozen=True)
class Call:
    """One request for a completion, read: what may be billed is in it."""

    digest: bytes
    body: Mapping[str, Any]
    chat: bool

    @property
    def n(self) -> int:
        """How many choices it wants."""
        return int(self.body.get("n") or 1)

    @property
    def max_tokens(self) -> int:
        """The most tokens a choice may have."""
        return int(self.body.get("max_tokens") or self.body.get("max_completion_tokens") or 10**6)

    def prompt_tokens(self, overhead: int) -> int:
        """A token for each word or each four bytes, whichever is more: never more than the text's UTF-8 bytes."""
        texts = [str(message.get("content") or "") for message in self.body.get("messages") or ()]
        texts = texts or [str(self.body.get("prompt") or "")]
        return sum(max(len(text.split()), -(-len(text.encode()) // 4)) + overhead for text in texts)


def head(status: int, length: int | None, *fields: str) -> bytes:
    """Status line and headers; a length of None is a chunked body."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = (f"HTTP/1.1 {status} {_reason(status)}", "Content-Type: application/json", framing, *fields)
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def whole(status: int, body: bytes, *fields: str) -> bytes:
    """A whole response."""
    return head(status, len(body), *fields) + body


def error(status: int, message: str, code: str | int | None = None, *fields: str) -> bytes:
    """A whole response with an error object."""
    return whole(status, problem(message, code), *fields)


def problem(message: str, code: str | int | None = None) -> bytes:
    """An error object as servers write it."""
    return orjson.dumps({"error": {"message": message, "type": "fault", "param": None, "code": code}})


@cache
def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Fault"


# --- a good answer ------------------------------------------------------------------------------------------------


def completion(call: Call, plan: Plan, answer: Answer | None) -> tuple[dict[str, Any], int, int]:
    """The answer to a call, and the tokens it is billed: of the prompt, of all choices."""
    choices, tokens = [], 0
    for index in range(call.n):
        text, finish_reason, count = _text(call, plan, answer, index)
        tokens += count
        choice: dict[str, Any] = {"index": index, "logprobs": None, "finish_reason": finish_reason}
        choices.append(choice | ({"message": {"role": "assistant", "content": text}} if call.chat else {"text": text}))
    prompt = call.prompt_tokens(plan.overhead)
    usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
    kind = "chat.completion" if call.chat else "text_completion"
    name = f"answer-{call.digest.hex()[:24]}"
    top = {"id": name, "object": kind, "created": CREATED, "model": plan.models[0]}
    return top | {"choices": choices, "usage": usage}, prompt, tokens


def _text(call: Call, plan: Plan, answer: Answer | None, index: int) -> tuple[str, str, int]:
    """Text, finish reason, and how many tokens they are: a word each, or four bytes of a caller's text."""
    if answer is not None:
        text, finish_reason = answer(dict(call.body), Random(f"{call.digest.hex()}/{index}"))
        return text, finish_reason, min(call.max_tokens, 1 + len(text.encode()) // 4)
    draw = hashlib.sha256(b"%d" % index + call.digest).digest()
    wanted = 1 + draw[-1] % min(plan.words, 32)
    words = [_WORDS[byte] for byte in draw[: min(wanted, call.max_tokens)]]
    return " ".join(words), "length" if call.max_tokens < wanted else "stop", len(words)


# --- a 200 that is no completion, or a completion with something in it that no ledger should believe -----------------


def _usage(value: bytes) -> Callable[[bytes], bytes]:
    return lambda good: good.partition(b'"usage":')[0] + b'"usage":{"prompt_tokens":1,"completion_tokens":%b}}' % value


def _choices(value: bytes) -> Callable[[bytes], bytes]:
    return lambda good: good.partition(b'"choices":')[0] + b'"choices":%b}' % value


BAD_BODIES: Mapping[str, Callable[[bytes], bytes]] = {
    "html": lambda good: b"<!doctype html>\n<html><body><h1>Sign in</h1></body></html>\n",
    "error_200": lambda good: problem("the model fell over"),
    "error_200_429": lambda good: problem("slow down", 429),
    "empty": lambda good: b"",
    "no_choices": _choices(b"[]"),
    "null_choices": _choices(b"null"),
    "null_message": _choices(b'[{"index":0,"message":null,"text":null,"finish_reason":"stop"}]'),
    "not_utf8": _choices(b'[{"message":{"content":"\xff\xfe"},"text":"\xff\xfe"}]'),
    "surrogate": _choices(rb'[{"message":{"content":"\ud800"},"text":"\ud800"}]'),
    "deep": _choices(b"[" * 100_000),
    "cut_json": lambda good: good[: len(good) // 2],
    "usage_nan": _usage(b"NaN"),
    "usage_negative": _usage(b"-5"),
    "usage_string": _usage(b'"many"'),
    "usage_absurd": _usage(b"9" * 40),
    "usage_over": _usage(b"2000000"),  # a number like any other, only more than was asked for
}


# --- refusals -------------------------------------------------------------------------------------------------------


def refusal(name: str, plan: Plan, now: float) -> tuple[bytes, float]:
    """The response to a fault that is a status, and for how many seconds it forbids to ask again. ``now`` is UTC."""
    wait = plan.retry_after
    if name == "429_date":
        until = -(-(now + wait) // 1)  # dates have no fractions; up, so that it is never less than was meant
        fields = (f"Date: {formatdate(now // 1, usegmt=True)}", f"Retry-After: {formatdate(until, usegmt=True)}")
        return error(429, "slow down", "rate_limit_exceeded", *fields), until - now
    if name in ("429", "429_ms"):
        field = f"Retry-After: {wait:g}" if name == "429" else f"retry-after-ms: {wait * 1000:g}"
        return error(429, "slow down", "rate_limit_exceeded", field), wait
    if name == "429_insane":
        return error(429, "slow down", "rate_limit_exceeded", "Retry-After: 1e35", "retry-after-ms: -1"), 0
    if name in _VERDICTS:
        status, message, code = _VERDICTS[name]
        return error(status, message, code), 0
    status = int(name[:3])
    return error(status, f"the server says {status}"), 0


_VERDICTS = {
    "context": (400, "the prompt is longer than the context length", "context_length_exceeded"),
    "policy": (400, "blocked by the content policy", "content_policy_violation"),
    "quota": (429, "you have spent it all", "insufficient_quota"),
    "revoked": (401, "this key was revoked", "invalid_api_key"),
    "unknown_key": (401, "no such key", "invalid_api_key"),
}


@cache
def gzip_bomb(megabytes: int) -> bytes:
    """A gzip stream a thousandth of what it holds: the start of an answer whose text is blanks."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b'{"choices":[{"text":"')]
    parts += [packer.compress(b" " * MEGABYTE) for _ in range(megabytes)]
    return b"".join([*parts, packer.flush()])
