"""A batch: a file of requests, who answers them, and which recorded call answers which line.

The number of a request in its file is its draw, and a call's key covers the body as it stands, so a line that was
changed is another call. Everything here reads the file and the ledger side by side, in flat memory.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from selfinstruct import batch_file, call_path, wire
from selfinstruct.batch_file import RequestLine
from selfinstruct.config import Settings
from selfinstruct.errors import BadData
from selfinstruct.ledger_reader import Call, LedgerReader
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models.opening import Opened
from selfinstruct.schema import Draw, Noun, Request
from selfinstruct.wire_errors import shown

STAGE = "complete"
"""The stage that requests of a file belong to: its folder, and the first part of their draws."""

DEFAULT_MAX_TOKENS = 1024
"""What a body without a token limit is given where a cap has to count on one; `Sampling`'s own default."""


@dataclass(frozen=True)
class Batch:
    """A file of requests, where its results go, and who answers: one model, or of a ``pool`` the one a body names."""

    requests: Path
    out: Path
    recipe: ModelRecipe
    max_tokens: int | None
    settings: Settings
    opened: Opened
    pool: Mapping[str, Opened] = field(default_factory=dict)

    @cached_property
    def answering(self) -> dict[str, Opened]:
        """Who answers, by role."""
        return {f"teacher/{name}": one for name, one in self.pool.items()} or {"teacher": self.opened}

    @property
    def model(self) -> str | None:
        """The model that bodies may leave out; of a pool, whichever it be: what they name is seen by `role_of`."""
        return next(iter(self.pool), self.recipe.name) or None

    def role_of(self, line: RequestLine) -> str:
        """Who answers a line. Raises `BadData` where it names none of the pool's models."""
        if not self.pool:
            return "teacher"
        name, there = line.body.get("model"), ", ".join(self.pool)
        if not isinstance(name, str) or not name:
            what = "is missing" if name is None else f"is {shown(name, 60) or repr(name)}"
            raise BadData(f"{self.requests}:{line.line}: 'body.model' {what}; name one of the pool there ({there})")
        if name not in self.pool:
            close = difflib.get_close_matches(name, self.pool, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise BadData(f"{self.requests}:{line.line}: the pool has no model {name!r} ({there}){hint}")
        return f"teacher/{name}"

    def limit(self) -> int | None:
        """The token limit for bodies that set none: the user's, or ours where a cap has to count on one."""
        if self.max_tokens is None and call_path.caps_of(self.settings).any:
            return DEFAULT_MAX_TOKENS
        return self.max_tokens

    def request(self, line: RequestLine) -> Request:
        """A line as the request to send; its number is its draw."""
        return self._request(line, self.limit())

    def keys(self, line: RequestLine) -> Iterator[str]:
        """The key of a line's call; then that of the call an earlier start, with or without a cap, has made of it."""
        endpoint = self.answering[self.role_of(line)].endpoint
        yield wire.call_key(endpoint, self.request(line))
        if self.max_tokens is None:
            other = None if self.limit() else DEFAULT_MAX_TOKENS
            yield wire.call_key(endpoint, self._request(line, other))

    def _request(self, line: RequestLine, limit: int | None) -> Request:
        endpoint = self.answering[self.role_of(line)].endpoint
        ours = self.pool or self.recipe.api == "vllm"  # who have names of their own
        body = batch_file.sealed_body(
            line,
            model=endpoint.model if ours else self.recipe.name or None,
            extra_body={**endpoint.extra_body, **self.recipe.extra_body},
            max_tokens=limit,
            token_field=endpoint.token_field,
        )
        return Request(draw=draw_of(line.number), path=line.url, body=body)


class Requests(Noun):
    """``requests.json``: the file as it was checked last, so that a resumed start need not read it twice.

    ``edited`` is set for good once recorded calls may no longer be those of the lines, since lines came back changed or
    settings were mended: then each line's call is looked up by what stands in it, not by its number alone.
    ``bounded`` is set once each line was seen to have an upper bound, which a cap rests on. ``pool`` are the names that
    each line was seen to have one of.
    """

    path: str
    requests: int
    size: int
    sha256: str
    edited: bool = False
    bounded: bool = False
    pool: tuple[str, ...] = ()


def draw_of(number: int) -> Draw:
    """The draw of a request: its number in the file, from 0."""
    return Draw(stage=STAGE, round=0, slot=number)


def lines(batch: Batch, size: int | None = None) -> Iterator[RequestLine]:
    """The requests of the file; of its first ``size`` bytes, if somebody may add lines in the meantime."""
    return batch_file.read_lines(batch.requests, model=batch.model, size=size)


def waiting(
    batch: Batch,
    rows: LedgerReader | None,
    checked: Requests | None = None,
    passed: Callable[[], None] = lambda: None,
    role: str = "",
) -> Iterator[RequestLine]:
    """The lines that have no answer yet, in order, of one ``role`` where it is named; ``passed`` counts the others.

    A file that is as it was ``checked`` is gone by number: lines that have an answer are not even read.
    """
    unanswered = _unanswered(batch, rows, checked, passed)
    return (line for line in unanswered if not role or batch.role_of(line) == role)


def _unanswered(
    batch: Batch, rows: LedgerReader | None, checked: Requests | None, passed: Callable[[], None]
) -> Iterator[RequestLine]:
    recorded = _AnsweredKeys(rows)
    if checked is None or checked.edited:
        for line in lines(batch, checked.size if checked else None):
            if recorded.of(line.number).isdisjoint(batch.keys(line)):
                yield line
            else:
                passed()
        return

    def skip(number: int) -> bool:
        known = bool(recorded.of(number))
        if known:
            passed()
        return known

    yield from batch_file.read_lines(batch.requests, model=batch.model, skip=skip, size=checked.size)


def answered(batch: Batch, rows: LedgerReader, size: int | None = None) -> Iterator[tuple[RequestLine, Call]]:
    """Each line that has an answer or a verdict, and that call, in order. Raises `DamagedRun` like the ledger."""
    with closing(call for call in rows.calls(STAGE)) as recorded:  # closed before the ledger is, come what may
        ahead = next(recorded, None)
        for line in lines(batch, size):
            found: dict[str, Call] = {}
            while ahead is not None and ahead.draw.slot <= line.number:
                if ahead.draw.slot == line.number and ahead.state != "open":
                    found[ahead.key] = ahead
                ahead = next(recorded, None)
            call = next((found[key] for key in batch.keys(line) if key in found), None) if found else None
            if call is not None:
                yield line, call


class _AnsweredKeys:
    """The keys of the answered calls of a ledger, asked for by ascending number."""

    def __init__(self, rows: LedgerReader | None) -> None:
        self._rows: Iterator[tuple[Draw, str]] = rows.answered(STAGE) if rows is not None else iter(())
        self._next = next(self._rows, None)

    def of(self, number: int) -> set[str]:
        """The keys under which a request has an answer or a verdict."""
        found: set[str] = set()
        while self._next is not None and self._next[0].slot <= number:
            if self._next[0].slot == number:
                found.add(self._next[1])
            self._next = next(self._rows, None)
        return found
