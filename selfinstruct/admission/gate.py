"""What may still be sent: the one switch that drains a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TypeVar

from selfinstruct.errors import AccessDenied, OutputFailed, RunLocked, SelfinstructError, Withdrawn
from selfinstruct.schema import Draw

T = TypeVar("T")

DRAIN_SECONDS = 30.0
"""How long calls in flight are waited for once the gate is closed; their answers are paid for."""

DENIED_SECONDS = 3.0
"""The same when the key was refused: what is in flight will be refused, too, and a person has to act."""

UNRECORDED_SECONDS = 1.0
"""The same when the ledger cannot be written: answers still to come could not be recorded either."""


class Gate:
    """Closing it drains a run: calls in flight come home, no new one leaves, whoever waits for a turn is sent away.

    ``watchers`` are called after each change: whoever keeps calls waiting.
    """

    def __init__(self) -> None:
        self.closed = False
        self.reason: SelfinstructError | None = None
        self.watchers: list[Callable[[], None]] = []
        self._last: dict[str, int] = {}
        self._closing: asyncio.Future[None] | None = None
        self._sleepers: set[asyncio.Future[None]] = set()
        self._overdue_at: float | None = None

    def close(self, reason: SelfinstructError | None = None) -> None:
        """Let nothing more out; ``reason`` is why, where that is an error. The first reason stays."""
        if self.closed:
            return
        self.closed, self.reason = True, reason
        self._overdue_at = asyncio.get_running_loop().time() + _seconds_to_drain(reason)
        for waiting in (*self._sleepers, *([self._closing] if self._closing else [])):
            _wake(waiting)
        self._tell()

    def end(self, stage: str, last_round: int) -> None:
        """Let nothing more out for rounds of ``stage`` after ``last_round``: the target is reached."""
        self._last[stage] = last_round
        self._tell()

    def lets(self, draw: Draw) -> bool:
        """True when a call of that draw may still leave."""
        return not self.closed and draw.round <= self._last.get(draw.stage, draw.round)

    @property
    def patience(self) -> float | None:
        """Seconds until what is in flight need not be waited for any longer; None while the gate is open."""
        return None if self._overdue_at is None else max(0.0, self._overdue_at - asyncio.get_running_loop().time())

    async def first_of(self, tasks: Collection[asyncio.Task[T]]) -> set[asyncio.Task[T]]:
        """Wait for at least one of the tasks to end, and return those that have.

        Once the gate is closed and its patience is over, all of them are cancelled: what they wait for is ambiguous.
        """
        loop = asyncio.get_running_loop()
        while True:
            if not self.closed and self._closing is None:
                self._closing = loop.create_future()
            waiting: set[asyncio.Future[T] | asyncio.Future[None]] = {*tasks}
            if not self.closed and self._closing is not None:
                waiting.add(self._closing)
            patience = self.patience
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=patience)
            ended = {task for task in tasks if task.done()}
            if ended:
                return ended
            if patience == 0:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    async def sleep(self, seconds: float) -> None:
        """Wait, but not past the closing of the gate: `Withdrawn` then."""
        loop = asyncio.get_running_loop()
        if not self.closed:
            sleeper: asyncio.Future[None] = loop.create_future()
            self._sleepers.add(sleeper)
            alarm = loop.call_later(seconds, _wake, sleeper)
            try:
                await sleeper
            finally:
                alarm.cancel()
                self._sleepers.discard(sleeper)
        if self.closed:
            raise Withdrawn("the run is stopping")

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher()


def _seconds_to_drain(reason: SelfinstructError | None) -> float:
    if isinstance(reason, OutputFailed | RunLocked):
        return UNRECORDED_SECONDS
    return DENIED_SECONDS if isinstance(reason, AccessDenied) else DRAIN_SECONDS


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
