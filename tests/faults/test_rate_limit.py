"""A limit nobody told us about: 6000 requests a minute, a burst of 20, a second to wait for who comes too early."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from tests.command import spawn, wait
from tests.faults.campaign import complete, write_requests
from tests.faults.fault_plan import Limits, Plan
from tests.faults.fault_server import FaultProcess

pytestmark = pytest.mark.faults

LATENCY = 0.05
A_SECOND, BURST = 100, 20


class Paced(NamedTuple):
    """What a run came to: its own account, and the server's."""

    seconds: float
    answered: int
    refused: int
    fences: int
    inside_fences: list[float]
    bodies_executed_twice: bool

    @property
    def share_refused(self) -> float:
        """Of all that was sent."""
        return self.refused / (self.answered + self.refused)


def paced(tmp_path: Path, count: int) -> Paced:
    """So many requests, 256 in flight. On the wire at the time of a refusal is not inside its fence."""
    requests = write_requests(tmp_path / "requests.jsonl", count, longest=5)
    plan = Plan(latency=LATENCY, retry_after=1, limits=Limits(rate=60 * A_SECOND, burst=BURST))
    with FaultProcess(plan) as server:
        words = complete(requests, server.url, tmp_path / "out", concurrency=256)
        ended = wait(spawn(*words, "--json"))
        assert (ended.code, ended.err) == (0, "")
        stats: dict[str, Any] = server.stats()
    known_too_late = 1000 * LATENCY + 50
    inside = [milliseconds for milliseconds in stats["inside_fences_ms"] if milliseconds > known_too_late]
    statuses = stats["statuses"]
    seen = Paced(
        seconds=orjson.loads(ended.out)["seconds"],
        answered=statuses["200"],
        refused=statuses.get("429", 0),
        fences=stats["fences"],
        inside_fences=inside,
        bodies_executed_twice=stats["most_executed"] > 1,
    )
    print(f"{seen.seconds / ((count - BURST) / A_SECOND):.3f} x ideal, {seen.share_refused:.2%} refused")
    return seen


def test_a_limit_found_out_by_refusals_is_kept_to(tmp_path: Path) -> None:
    """Every request answered once, few refusals, and nothing sent while the server had asked to wait."""
    seen = paced(tmp_path, 250)
    assert (seen.answered, seen.inside_fences, seen.bodies_executed_twice) == (250, [], False)
    assert 0 < seen.refused <= 40


@pytest.mark.slow
def test_a_limit_found_out_by_refusals_is_used_up(tmp_path: Path) -> None:
    """1500 requests: every fence costs a second of the fifteen, so there are few; the time is a figure to read."""
    seen = paced(tmp_path, 1500)
    assert (seen.answered, seen.inside_fences, seen.bodies_executed_twice) == (1500, [], False)
    assert 0 < seen.fences <= 5  # 1 or 2, and 3 on a machine that is three times overloaded
    assert seen.share_refused <= 0.05
    print(f"1500 requests in {seen.seconds / ((1500 - BURST) / A_SECOND):.2f} times the time the limit allows")
