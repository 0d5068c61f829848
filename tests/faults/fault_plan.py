"""What a fault server will do, as data: which bodies meet which fault, how long an answer takes, what is allowed.

Nothing here depends on time or order: fault and latency are functions of (body's sha256, attempt number, seed).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import accumulate
from statistics import NormalDist
from typing import Literal

import orjson

ALWAYS = 10**9  # attempts: more than anyone makes

# Every fault, and whether the model had worked by then, so that the call is billed. Any other name of three digits is
# that status with an error object. What a name does is in `fault_answers` (bytes) and `fault_server` (connections).
FAULTS: Mapping[str, bool] = {
    # refused for now: Retry-After in seconds, as a date, as milliseconds, nonsense, none
    **dict.fromkeys(("429", "429_date", "429_ms", "429_insane", "429_bare", "503", "529"), False),
    # a gateway lost the answer, or said so
    **dict.fromkeys(("500", "502", "504"), True),
    # the connection: RST before, after the head, in the body; FIN in the body; a byte now and then; nothing at all
    **dict.fromkeys(("reset", "reset_headers", "reset_body", "truncated", "unfinished", "drip", "silent"), True),
    # no HTTP, too much HTTP, and HTTP that leads elsewhere
    **dict.fromkeys(("garbage", "status_line", "header_flood", "long_header", "continues", "redirect"), False),
    # bodies without an end in sight
    **dict.fromkeys(("gzip_bomb", "gzip_broken", "endless", "extensions", "trailers"), True),
    # a 200 that is no completion
    **dict.fromkeys(("html", "error_200", "error_200_429", "empty"), False),
    **dict.fromkeys(("no_choices", "null_choices", "null_message", "not_utf8", "surrogate", "deep", "cut_json"), True),
    **dict.fromkeys(("usage_nan", "usage_negative", "usage_string", "usage_absurd", "usage_over"), True),
    # verdicts on the request: give them ALWAYS
    **dict.fromkeys(("context", "policy"), False),
}


@dataclass(frozen=True)
class Outage:
    """From the ``at``-th request on, for ``seconds``: nobody listens, connections are reset, or all is 503."""

    at: int
    seconds: float
    how: Literal["refuse", "reset", "503"] = "refuse"


@dataclass(frozen=True)
class Limits:
    """What the key may do: 0 is no limit. Rates are a minute's; buckets start full.

    ``token_rate`` counts what a request may cost at most, prompt and ``max_tokens``. ``changes`` are pairs (seconds
    after the first request, factor on both rates); of those in the past the last one holds. ``quota`` and ``revoked``
    are how many requests are let through before the account is empty, or the key dead.
    """

    rate: float = 0
    burst: float = 20
    token_rate: float = 0
    token_burst: float = 10_000
    changes: tuple[tuple[float, float], ...] = ()
    quota: int = 0
    revoked: int = 0
    context: int = 0


@dataclass(frozen=True)
class Plan:
    """Everything a fault server does.

    ``latency`` is in seconds: every answer's, or the median where ``sigma`` (of its natural logarithm) is set.
    ``faults`` are shares of the bodies, 0 to 1 together; a fault strikes the first ``attempts`` (default 1) attempts
    of a body, so who tries again gets through. ``retry_after`` is the seconds a 429 asks for. ``key`` is the only
    one let in, where set. ``words`` is the most words of an answer; ``overhead`` what the server bills a message on
    top of its text. ``drip`` is the pause between bytes, ``bomb`` the megabytes a gzip bomb holds.
    """

    seed: int = 0
    latency: float = 0
    sigma: float = 0
    faults: Mapping[str, float] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    retry_after: float = 1
    limits: Limits = Limits()
    outage: Outage | None = None
    key: str = ""
    models: tuple[str, ...] = ("served",)
    words: int = 32
    overhead: int = 0
    drip: float = 0.1
    bomb: int = 100
    redirect_to: str = "http://127.0.0.1:9"

    def __post_init__(self) -> None:
        unknown = [name for name in {**self.faults, **self.attempts} if name not in FAULTS and not name.isdecimal()]
        if unknown or sum(self.faults.values()) > 1 + 1e-9:
            raise ValueError(f"no such faults: {unknown}" if unknown else "shares of faults are more than 1 together")

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """The plan that `to_json` wrote; what is left out keeps its default."""
        values = orjson.loads(text)
        limits = dict(values.pop("limits", {}))
        limits["changes"] = tuple((at, factor) for at, factor in limits.get("changes", ()))
        outage = values.pop("outage", None)
        models = tuple(values.pop("models", cls.models))
        return cls(limits=Limits(**limits), outage=Outage(**outage) if outage else None, models=models, **values)

    def to_json(self) -> str:
        """The plan as one line."""
        return orjson.dumps(asdict(self)).decode()

    def fault(self, digest: bytes, attempt: int) -> str:
        """The fault this attempt (0 is the first) of a body meets; empty for none."""
        if not self.faults:
            return ""
        share = self._unit(b"fault", digest)
        name = next((name for edge, name in self._edges if share < edge), "")
        return name if attempt < self.attempts.get(name, 1) else ""

    def seconds(self, digest: bytes, attempt: int) -> float:
        """How long the model works on this attempt."""
        if not self.sigma:
            return self.latency
        share = self._unit(b"latency%d" % attempt, digest)
        return self.latency * math.exp(self.sigma * NormalDist().inv_cdf(min(max(share, 1e-6), 1 - 1e-6)))

    @cached_property
    def _edges(self) -> list[tuple[float, str]]:
        return list(zip(accumulate(self.faults.values()), self.faults, strict=True))

    def _unit(self, purpose: bytes, digest: bytes) -> float:
        return int.from_bytes(hashlib.sha256(b"%s/%d/%s" % (purpose, self.seed, digest)).digest()[:7], "big") / 2**56
