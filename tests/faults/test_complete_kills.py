"""Fifty SIGKILLs at random moments, at three concurrencies, against a server that fails: the results never differ."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.command import spawn, wait
from tests.faults.campaign import PRICE, TRANSIENT, Campaign, complete, write_requests
from tests.faults.fault_plan import ALWAYS, Plan
from tests.faults.fault_server import FaultServer

pytestmark = pytest.mark.faults


@dataclass(frozen=True)
class Numbers:
    """How much of everything: turn them up for a longer campaign."""

    concurrency: int
    requests: int
    kills: int
    plan: Plan


FAULTY = Plan(
    faults={**TRANSIENT, "policy": 0.02}, attempts={"policy": ALWAYS}, latency=0.01, sigma=1, retry_after=0.05
)
FIFTY = (
    Numbers(1, 60, 10, Plan(latency=0.005, sigma=1)),
    Numbers(8, 200, 14, FAULTY),
    Numbers(64, 300, 13, FAULTY),
    Numbers(64, 1200, 13, Plan(latency=0.05, sigma=0.5)),
)


def bombard(campaign: Campaign, kills: int, requests: int, rng: Random) -> None:
    """Kill at moments spread over the whole run, by what the server has seen; then let the run finish."""
    moments = sorted(rng.sample(range(requests - campaign.concurrency), kills))
    for moment in moments:
        asked, delay = campaign.asked(), rng.uniform(0, 0.03)

        def ready(moment: int = moment, asked: int = asked, delay: float = delay) -> bool:
            stats = campaign.server.stats()
            if stats["distinct"] < moment or stats["requests"] <= asked:
                return False
            time.sleep(delay)
            return True

        if not campaign.kill_when(ready):
            raise AssertionError("the run ended before all its kills")
    last = wait(spawn(*campaign.words))
    assert last.code == 0, last.err


@pytest.mark.parametrize("every", [FIFTY[1:2], pytest.param(FIFTY, marks=pytest.mark.slow)], ids=["14", "50"])
def test_kills_change_nothing(tmp_path: Path, every: Sequence[Numbers]) -> None:
    """Identical results, nothing recorded asked again, no more open than was in flight and reserved ahead."""
    with ExitStack() as servers, ThreadPoolExecutor(len(every)) as pool:
        campaigns, undisturbed = [], []
        for number, numbers in enumerate(every):
            server = servers.enter_context(FaultServer(numbers.plan))
            requests = write_requests(tmp_path / f"{number}.jsonl", numbers.requests, seed=number)
            killed, whole = tmp_path / f"killed-{number}", tmp_path / f"whole-{number}"
            options = {"concurrency": numbers.concurrency, "price": PRICE}
            words = complete(requests, server.url, killed, **options)
            campaigns.append(Campaign(server, words, killed, numbers.concurrency))
            undisturbed.append((complete(requests, server.url, whole, **options), whole))
        rngs = [Random(number) for number in range(len(every))]
        list(pool.map(bombard, campaigns, [n.kills for n in every], [n.requests for n in every], rngs))
        for campaign, (again, folder) in zip(campaigns, undisturbed, strict=True):
            campaign.prove(again, folder)
    assert [len(campaign.left_open) for campaign in campaigns] == [numbers.kills for numbers in every]
    # They did strike while many were in flight.
    assert max(campaigns[-1].left_open) > every[-1].concurrency // 2
