"""A cap is a cap: by the server's own account it is never overshot, and what it allows can be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random

import orjson
import pytest

from selfinstruct.models import retrying
from selfinstruct.money import Price, bound_of, parse_price
from tests.command import Ended, invoke
from tests.faults.answer_server import AnswerServer, middling
from tests.faults.campaign import (
    PRICE,
    Campaign,
    billed,
    committed,
    complete,
    generate,
    prove_sound,
    rows,
    settled,
    write_requests,
    written,
)
from tests.faults.fault_plan import Plan
from tests.faults.fault_server import FaultServer

pytestmark = pytest.mark.faults

PLANS = 200
UNTRUE = {"503": 0.05, "500": 0.03, "reset": 0.03, "reset_body": 0.03, "no_choices": 0.03, "html": 0.03}
"""Answers that are lost may have been billed, those that are no completions are; refusals are not."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.0)


@dataclass(frozen=True)
class Case:
    """A file of requests, a price, and a cap of one of three kinds that is about ``share`` of what all would use."""

    number: int
    count: int
    max_tokens: int
    longest: int
    concurrency: int
    price: str
    kind: str
    share: float
    plan: Plan

    @classmethod
    def drawn(cls, number: int) -> Case:
        """The number-th case: which tokens, how many at once, which price, faults in every fifth."""
        rng = Random(number)
        faulty = number % 5 == 4
        return cls(
            number=number,
            count=rng.randint(25, 50),
            max_tokens=rng.choice([8, 32, 64, 128]),  # an answer has 1 to 32 words: the bound is off by 1 to 4 and more
            longest=rng.choice([2, 20, 60]),
            concurrency=rng.choice([1, 4, 16, 64]),
            price=f"in={rng.randint(1, 500) / 100},out={rng.randint(1, 2000) / 100}",
            kind=rng.choices(["cost", "calls", "tokens"], [14, 3, 3])[0],
            share=rng.uniform(0.2, 0.9),
            plan=Plan(
                seed=number,
                latency=rng.choice([0, 0.001, 0.005]),
                overhead=rng.choice([0, 4, 16]),
                words=rng.choice([2, 8, 32]),
                faults=UNTRUE if faulty else {},
                retry_after=0.01,
            ),
        )

    @property
    def rate(self) -> Price:
        """The price per token."""
        return parse_price(self.price)

    def bounds(self, requests: Path) -> list[tuple[int, int]]:
        """For each request the most it can use, in the unit of the cap, and the share of that it is likely to use."""
        found = []
        for line in requests.read_bytes().splitlines():
            body = orjson.loads(line)["body"]
            most = bound_of(body)
            text = body["messages"][0]["content"]
            likely = len(text) // 4 + self.plan.overhead, min(self.max_tokens, self.plan.words / 2)
            found.append((self._measure(*most), self._measure(int(likely[0]), int(likely[1]))))
        return found

    def _measure(self, prompt: int, completion: int) -> int:
        match self.kind:
            case "calls":
                return 1
            case "tokens":
                return prompt + completion
            case _:
                return self.rate.cost(prompt, completion)

    def option(self, cap: int) -> dict[str, object]:
        """The cap as an option."""
        match self.kind:
            case "calls":
                return {"max_calls": cap}
            case "tokens":
                return {"max_tokens_total": cap}
            case _:
                return {"max_cost": f"{Decimal(cap).scaleb(-12):f}usd"}

    def used(self, server: FaultServer) -> int:
        """What the server says was used, in the unit of the cap."""
        stats = server.stats()
        if self.kind == "calls":
            return int(stats["executed"])
        return self._measure(stats["prompt_tokens"], stats["completion_tokens"])

    def counted(self, folder: Path) -> int:
        """What the ledger counts, in the unit of the cap."""
        what = {"calls": "count(*)", "tokens": "sum(prompt_tokens + completion_tokens)", "cost": "sum(cost)"}[self.kind]
        [(count,)] = rows(folder, f"SELECT {what} FROM attempts WHERE state NOT IN ('failed', 'refused')")
        return int(count or 0)


@pytest.mark.parametrize("numbers", [range(start, PLANS, 8) for start in range(8)])
def test_no_plan_overshoots_its_cap(tmp_path: Path, numbers: range) -> None:
    """By no pico-unit, token or call; what is left at the end is less than a single request; a higher cap goes on."""
    ends: Counter[int] = Counter()
    for number in numbers:
        case, folder = Case.drawn(number), tmp_path / str(number)
        folder.mkdir()
        requests = write_requests(
            folder / "requests.jsonl", case.count, seed=number, max_tokens=case.max_tokens, longest=case.longest
        )
        bounds = case.bounds(requests)
        largest = max(bound for bound, _ in bounds)
        cap = max(largest, int(case.share * sum(likely for _, likely in bounds)))
        with FaultServer(case.plan) as server:

            def run(limit: int, case: Case = case, requests: Path = requests, url: str = server.url) -> Ended:
                out = requests.parent / "out"
                options = {"concurrency": case.concurrency, "price": case.price, **case.option(limit)}
                return invoke(*complete(requests, url, out, **options))

            ended = run(cap)
            ends[ended.code] += 1
            assert ended.code in (0, 4), ended.err
            assert case.used(server) <= case.counted(folder / "out") <= cap
            if ended.code == 4:
                assert "is reached" in ended.err and ended.err.count("\n") == 1
                assert cap - case.counted(folder / "out") < largest
                if not case.plan.faults and largest * 20 <= cap:
                    assert case.used(server) >= 0.95 * cap
            if number % 4 == 0:
                if ended.code == 4:
                    assert run(cap).code == 4  # what was spent is spent
                    assert case.used(server) <= case.counted(folder / "out") <= cap
                assert run(10 * sum(bound for bound, _ in bounds)) == (0, "", "")
                assert (folder / "out" / "results.jsonl").read_bytes().count(b"\n") == case.count
    assert ends[4] >= len(numbers) // 2


def test_kills_do_not_loosen_a_cap(tmp_path: Path) -> None:
    """Killed three times under a cap and started again: what was lost counts at its bound, and the cap holds."""
    cap = 6_000_000_000  # pico-usd: some 120 of the 300 calls
    with ExitStack() as servers, ThreadPoolExecutor(3) as pool:
        campaigns = []
        for number, concurrency in enumerate((4, 16, 64)):
            server = servers.enter_context(FaultServer(Plan(seed=number, latency=0.02)))
            requests = write_requests(tmp_path / f"{number}.jsonl", 300, seed=number)
            out = tmp_path / f"out-{number}"
            words = complete(requests, server.url, out, concurrency=concurrency, price=PRICE, max_cost="0.006usd")
            campaigns.append(Campaign(server, words, out, concurrency))

        def killed(campaign: Campaign) -> None:
            for moment in (10, 40, 70):  # what was lost may have used the cap up before the last of them
                campaign.kill_when(lambda moment=moment: campaign.asked() >= moment)  # type: ignore[misc]

        list(pool.map(killed, campaigns))
        for campaign in campaigns:
            ended = invoke(*campaign.words)
            assert (ended.code, "--max-cost 0.006 usd is reached" in ended.err) == (4, True), ended
            assert billed(campaign.server) <= committed(campaign.folder) <= cap
            assert committed(campaign.folder) >= 0.95 * cap
            assert max(campaign.left_open) > 0
            prove_sound(campaign.folder)


# --- over starts and stages -------------------------------------------------------------------------------------------


@pytest.fixture
def chain() -> Iterator[FaultServer]:
    """A middling model for three stages."""
    with FaultServer(Plan(latency=0.001), middling) as started:
        yield started


def test_one_cap_holds_over_all_starts_and_stages_of_a_run(chain: FaultServer, tmp_path: Path) -> None:
    """Raised step by step, each start spends only what is new; the last ends with the bytes of an undisturbed run."""
    spent = []
    for cap in ("0.01", "0.02", "0.04"):
        ended = invoke(*generate(chain.url, tmp_path / "run", 40, concurrency=16, price=PRICE, max_cost=cap))
        assert (ended.code, f"--max-cost {cap} usd is reached" in ended.err) == (4, True), ended.err
        spent.append(billed(chain))
        assert spent[-1] <= committed(tmp_path / "run") <= Decimal(cap).scaleb(12)
    assert spent == sorted(set(spent))
    stages = {stage for (stage,) in rows(tmp_path / "run", "SELECT DISTINCT stage FROM attempts")}
    assert stages == {"bootstrap", "classify", "instances"}
    assert invoke(*generate(chain.url, tmp_path / "run", 40, price=PRICE, max_cost="10usd")).code == 0
    assert chain.stats()["most_executed"] == 1
    assert invoke(*generate(chain.url, tmp_path / "whole", 40)).code == 0
    assert written(tmp_path / "run") == written(tmp_path / "whole")


# --- what no cap can rest on ------------------------------------------------------------------------------------------


def test_a_cap_without_a_price_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """78, with the option that gives one."""
    requests = write_requests(tmp_path / "requests.jsonl", 5)
    with FaultServer() as server:
        ended = invoke(*complete(requests, server.url, tmp_path / "out", max_cost="1usd"))
        assert (ended.code, "--price in=…,out=…" in ended.err) == (78, True), ended.err
        assert server.stats()["requests"] == 0


@pytest.mark.parametrize("cap", [{"max_cost": "20usd"}, {"max_tokens_total": 10_000_000}])
def test_a_count_above_its_bound_is_recorded_and_ends_the_run(tmp_path: Path, cap: dict[str, object]) -> None:
    """78: who counts otherwise than we do makes every cap void; without a cap the same answers are fine."""
    requests = write_requests(tmp_path / "requests.jsonl", 60)
    with FaultServer(Plan(latency=0.005, faults={"usage_over": 0.1})) as server:
        options = {"concurrency": 4, "price": PRICE}
        ended = invoke(*complete(requests, server.url, tmp_path / "out", **options, **cap))
        assert (ended.code, "+ 2000000 tokens" in ended.err) == (78, True), ended.err
        over = rows(tmp_path / "out", "SELECT state FROM attempts WHERE completion_tokens = 2000000")
        assert 1 <= len(over) <= 4 and set(over) == {("settled",)}
        known = settled(tmp_path / "out")
        assert len(known) == server.stats()["executed"] < 60
        assert invoke(*complete(requests, server.url, tmp_path / "out", **options)).code == 0
        assert server.stats()["most_executed"] == 1


def test_a_count_above_its_bound_ends_the_run_even_with_its_last_answer(tmp_path: Path) -> None:
    """78 though all is done and kept: the bill may be another than the ledger's, and the cap did not hold."""
    options = {"concurrency": 1, "max_tokens_total": 10_000_000}
    with AnswerServer() as server:
        assert invoke(*generate(server.url.removesuffix("/v1"), tmp_path / "whole", 5, **options)).code == 0
    last = server.counts.requests - 1
    choice = {"index": 0, "text": "Output: fine", "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 100, "completion_tokens": 2_000_000}
    over = orjson.dumps({"object": "text_completion", "model": "middling", "choices": [choice], "usage": usage})
    with AnswerServer(fault=lambda path, number: (200, over) if number == last else None) as server:
        words = generate(server.url.removesuffix("/v1"), tmp_path / "run", 5, **options)
        ended = invoke(*words)
        assert (ended.code, "100 + 2000000 tokens" in ended.err) == (78, True), ended.err
        assert server.counts.requests == last + 1
        for stage in ("bootstrap", "classify", "instances"):
            manifest = orjson.loads((tmp_path / "run" / stage / "manifest.json").read_bytes())
            assert manifest["state"] == "complete"
        assert rows(tmp_path / "run", "SELECT DISTINCT state FROM attempts") == [("settled",)]
