"""Faults of the connection: which bytes leave, how fast, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain, repeat
from typing import Literal, NamedTuple

from tests.faults.fault_answers import gzip_bomb, head, whole
from tests.faults.fault_plan import Plan

_BLOCK = 2**16
_BLOCKS = 2**17  # "endless" is eight gigabytes: a client that reads that far has failed, and need not go on for ever


class Script(NamedTuple):
    """Pieces of bytes, a pause (seconds) after each; at the end the connection is kept, closed, reset, or hangs."""

    pieces: Iterable[bytes]
    end: Literal["keep", "close", "reset", "hang"]
    pause: float = 0


def script(name: str, good: bytes, plan: Plan) -> Script | None:
    """What a fault does to the connection over which ``good``, a body, should have come; None where it does nothing."""
    make = _SCRIPTS.get(name)
    return make(good, plan) if make else None


def _endless(start: bytes, block: bytes) -> Script:
    return Script(chain([start], repeat(block, _BLOCKS)), "close")


def _headers(fields: Iterable[str], good: bytes) -> Script:
    return Script([whole(200, good, *fields)], "close")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _half(good: bytes) -> bytes:
    return good[: len(good) // 2]


_CHUNKED = head(200, None)
_SCRIPTS: Mapping[str, Callable[[bytes, Plan], Script]] = {
    "reset": lambda good, plan: Script([], "reset"),
    "reset_headers": lambda good, plan: Script([head(200, len(good))], "reset"),
    "reset_body": lambda good, plan: Script([head(200, len(good)) + _half(good)], "reset"),
    "truncated": lambda good, plan: Script([head(200, len(good) + 100) + good], "close"),
    "unfinished": lambda good, plan: Script([_CHUNKED + _chunk(good)], "close"),
    "drip": lambda good, plan: Script((bytes([byte]) for byte in whole(200, good)), "keep", plan.drip),
    "silent": lambda good, plan: Script([], "hang"),
    "garbage": lambda good, plan: Script([b"\x00\x9f" + good], "close"),  # HTTP/0.9 had no head
    "status_line": lambda good, plan: Script([b"HTTP/1.1 two hundred\r\n\r\n" + good], "close"),
    "header_flood": lambda good, plan: _headers((f"X-{n}: {n}" for n in range(20_000)), good),
    "long_header": lambda good, plan: _headers(["X-Long: " + "x" * 2**20], good),
    "continues": lambda good, plan: _endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "redirect": lambda good, plan: Script([whole(307, b"", f"Location: {plan.redirect_to}/v1/completions")], "keep"),
    "gzip_bomb": lambda good, plan: Script([whole(200, gzip_bomb(plan.bomb), "Content-Encoding: gzip")], "keep"),
    "gzip_broken": lambda good, plan: Script([whole(200, good, "Content-Encoding: gzip")], "keep"),
    "endless": lambda good, plan: _endless(_CHUNKED, _chunk(b" " * _BLOCK)),
    "extensions": lambda good, plan: _endless(_CHUNKED + b"5;", b"x" * _BLOCK),
    "trailers": lambda good, plan: _endless(_CHUNKED + _chunk(good) + b"0\r\n", b"X-Trailer: x\r\n" * 4096),
}
