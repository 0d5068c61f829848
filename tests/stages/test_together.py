"""The calls of a job, side by side."""

from __future__ import annotations

import asyncio

import pytest

from selfinstruct.errors import ModelError, Withdrawn
from selfinstruct.stages.together import all_of


async def test_results_stand_in_the_order_they_were_asked_for() -> None:
    """Not in that of their arrival."""

    async def after(naps: int) -> int:
        for _ in range(naps):
            await asyncio.sleep(0)
        return naps

    assert await all_of(after(naps) for naps in (3, 0, 2, 1)) == [3, 0, 2, 1]
    assert await all_of([]) == []


async def test_an_error_is_raised_once_all_have_come_home() -> None:
    """The first in their order; what the others were paid for is recorded by then."""
    ended: list[str] = []

    async def call(name: str, naps: int, error: Exception | None) -> None:
        for _ in range(naps):
            await asyncio.sleep(0)
        ended.append(name)
        if error is not None:
            raise error

    with pytest.raises(ModelError, match="second"):
        await all_of([call("a", 5, None), call("b", 3, ModelError("second")), call("c", 0, Withdrawn("first to come"))])
    assert sorted(ended) == ["a", "b", "c"]
