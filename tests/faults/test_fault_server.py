"""The fault server keeps its word: the other tests of this folder rest on it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.faults.fault_plan import ALWAYS, FAULTS, Limits, Outage, Plan
from tests.faults.fault_server import FaultProcess, FaultServer

pytestmark = pytest.mark.faults

Seen = tuple[int, bytes] | str  # status and body, or the name of the exception


def body(number: int, **fields: Any) -> bytes:
    """The bytes of the number-th request."""
    return orjson.dumps({"prompt": f"Request number {number}", "max_tokens": 16} | fields)


async def post(session: aiohttp.ClientSession, url: str, data: bytes) -> Seen:
    """One request as it ends."""
    try:
        async with session.post(f"{url}/v1/completions", data=data, allow_redirects=False) as response:
            return response.status, await response.read()
    except aiohttp.ClientError as problem:
        return type(problem).__name__


def ask(url: str, bodies: Iterable[bytes], connections: int = 1, **headers: str) -> list[Seen]:
    """Each of the requests, so many at a time; how they end, in their order."""

    async def every() -> list[Seen]:
        connector = aiohttp.TCPConnector(limit=connections)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            return await asyncio.gather(*(post(session, url, data) for data in bodies))

    return asyncio.run(every())


def statuses(seen: Iterable[Seen]) -> list[int | str]:
    """Only the status of each, or the exception's name."""
    return [one if isinstance(one, str) else one[0] for one in seen]


def test_what_a_body_meets_does_not_depend_on_order_or_concurrency() -> None:
    """Two servers of one plan, one asked in order and one at a time, one backwards and eight at a time."""
    plan = Plan(seed=4, latency=0.002, sigma=1, faults={"500": 0.2, "html": 0.2, "reset": 0.1, "429": 0.1})
    bodies = [body(number) for number in range(60)]
    with FaultServer(plan) as one, FaultServer(plan) as other:
        forward = [ask(one.url, bodies) for _ in range(2)]
        backward = [ask(other.url, bodies[::-1], connections=8)[::-1] for _ in range(2)]
        assert one.billing() == other.billing()
    assert forward == backward
    assert set(statuses(forward[0])) == {200, 429, 500, "ClientOSError"}
    assert statuses(forward[1]) == [200] * 60  # a second attempt gets through
    assert all(b'"text"' in answer for answer in (one[1] for one in forward[1] if not isinstance(one, str)))


def test_another_seed_strikes_other_bodies_and_shares_are_shares() -> None:
    """Half of 4 000 bodies is half of them, within four standard deviations; strikes end after their attempts."""
    digests = [hashlib.sha256(body(number)).digest() for number in range(4000)]
    plan = Plan(seed=1, faults={"500": 0.5, "context": 0.1}, attempts={"500": 2, "context": ALWAYS})
    struck = [{digest for digest in digests if plan.fault(digest, attempt) == "500"} for attempt in range(3)]
    assert (struck[0], struck[2]) == (struck[1], set())
    assert abs(len(struck[0]) - 2000) < 4 * 32
    assert sum(plan.fault(digest, 99) == "context" for digest in digests) > 300
    again = Plan(seed=2, faults={"500": 0.5})
    assert abs(sum(again.fault(digest, 0) == "500" for digest in struck[0]) - len(struck[0]) / 2) < 4 * 23


def test_latencies_are_log_normal_around_their_median() -> None:
    """Half are shorter; one standard deviation up is the median times e to the sigma."""
    plan = Plan(latency=0.2, sigma=0.5)
    drawn = sorted(plan.seconds(hashlib.sha256(body(number)).digest(), 0) for number in range(4000))
    assert drawn[2000] == pytest.approx(0.2, rel=0.05)
    assert drawn[3365] == pytest.approx(0.2 * 1.6487, rel=0.05)
    assert Plan(latency=0.05).seconds(b"", 3) == 0.05


def test_a_plan_survives_being_written_down() -> None:
    """As the process gets it; a name nobody knows is refused, and so are shares beyond the whole."""
    limits = Limits(rate=600, changes=((2, 0.5), (4, 2)), quota=7)
    plan = Plan(seed=3, faults={"reset": 0.5}, attempts={"reset": 2}, limits=limits, outage=Outage(9, 0.5, "503"))
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.from_json("{}") == Plan()
    with pytest.raises(ValueError, match="no such faults"):
        Plan(faults={"reste": 0.1})
    with pytest.raises(ValueError, match="more than 1"):
        Plan(faults={"500": 0.6, "502": 0.6})


def test_the_bill_is_what_the_answers_say(tmp_path: Path) -> None:
    """Tokens of both kinds, times executed, in memory and in the file; never more than was allowed."""
    bodies = [body(number, max_tokens=number % 5 + 1, n=number % 3 + 1) for number in range(30)]
    with (tmp_path / "bill").open("wb") as file, FaultServer(billing_file=file) as server:
        answers = [orjson.loads(one[1]) for one in ask(server.url, bodies * 2, 4) if not isinstance(one, str)]
        bill = server.billing()
    for data, answer in zip(bodies * 2, answers, strict=True):
        account, asked = bill[hashlib.sha256(data).hexdigest()], orjson.loads(data)
        assert (account["received"], account["executed"]) == (2, 2)
        assert (
            account["completion_tokens"]
            == 2 * answer["usage"]["completion_tokens"]
            <= 2 * asked["n"] * asked["max_tokens"]
        )
        assert account["prompt_tokens"] == 2 * answer["usage"]["prompt_tokens"] <= 2 * len(asked["prompt"].encode())
        assert len(answer["choices"]) == asked["n"]
    lines = [orjson.loads(line) for line in (tmp_path / "bill").read_bytes().splitlines()]
    assert sum(line["completion_tokens"] for line in lines) == sum(one["completion_tokens"] for one in bill.values())
    assert len(lines) == 60


def test_a_bucket_lets_its_burst_through_and_notes_who_comes_inside_a_fence() -> None:
    """Five pass, the sixth is told to wait, the seventh comes too early, by how much is written down."""
    with FaultServer(Plan(limits=Limits(rate=1, burst=5), retry_after=30)) as server:
        seen = ask(server.url, [body(number) for number in range(7)])
        stats = server.stats()
    assert statuses(seen) == [200] * 5 + [429] * 2
    assert (stats["fences"], stats["executed"], stats["statuses"]) == (2, 5, {"200": 5, "429": 2})
    (early,) = stats["inside_fences_ms"]
    assert 0 <= early < 30_000


def test_tokens_have_a_bucket_of_their_own() -> None:
    """It counts what a request may cost at most: 6 for the prompt and 16 for the answer."""
    with FaultServer(Plan(limits=Limits(token_rate=1, token_burst=50))) as server:
        assert statuses(ask(server.url, [body(number) for number in range(3)])) == [200, 200, 429]


def test_keys_quotas_and_contexts_end_as_they_do_elsewhere() -> None:
    """Each verdict has the status and code that clients know; none is billed."""
    for plan, endings in (
        (Plan(limits=Limits(quota=2)), [200, 200, 429, 429]),
        (Plan(limits=Limits(revoked=1)), [200, 401, 401, 401]),
        (Plan(limits=Limits(context=3)), [400, 400, 400, 400]),
        (Plan(key="right"), [401, 401, 401, 401]),
    ):
        with FaultServer(plan) as server:
            seen = ask(server.url, [body(number) for number in range(4)], Authorization="Bearer wrong")
            assert server.stats()["executed"] == statuses(seen).count(200)
        assert statuses(seen) == endings
        refused = [one[1] for one in seen if not isinstance(one, str) and one[0] != 200]
        assert all(orjson.loads(answer)["error"]["code"] in CODES for answer in refused)


CODES = {"insufficient_quota", "invalid_api_key", "context_length_exceeded"}


@pytest.mark.parametrize(
    ("how", "ending"),
    [("503", [503]), ("reset", ["ClientOSError"]), ("refuse", ["ClientOSError", "ClientConnectorError"])],
)
async def test_an_outage_begins_at_its_request_and_ends_by_itself(how: Any, ending: list[int | str]) -> None:
    """From the third request on nothing works; later everything does again, on the same port."""
    with FaultServer(Plan(outage=Outage(3, 0.5, how))) as server:
        async with aiohttp.ClientSession() as session, asyncio.timeout(20):
            seen = [await post(session, server.url, body(number)) for number in range(4)]
            while statuses([await post(session, server.url, body(4))]) != [200]:
                await asyncio.sleep(0.02)
    assert statuses(seen[:2]) == [200, 200]
    assert statuses(seen[2:4]) == (ending * 2)[:2]


async def test_who_is_at_work_is_averaged_over_time() -> None:
    """Eight requests for 0.3 s each, by four connections: about four in flight, never more; after a mark, anew."""
    with FaultServer(Plan(latency=0.3)) as server:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=4)) as session:
            await asyncio.gather(*(post(session, server.url, body(number)) for number in range(8)))
        stats = server.stats()
        server.mark()
        assert server.stats()["average_in_flight"] == 0
    assert (stats["highest_in_flight"], stats["in_flight"]) == (4, 0)
    assert 2 < stats["average_in_flight"] <= 4


async def test_a_client_that_leaves_is_billed_and_no_longer_worked_for() -> None:
    """What it would have cost stands in the account."""
    with FaultServer(Plan(latency=60)) as server:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as session:
            with pytest.raises(TimeoutError):
                await post(session, server.url, body(0))
        await until(lambda: server.stats()["in_flight"] == 0)
        assert server.stats()["executed"] == 1


def test_a_process_is_the_same_server(tmp_path: Path) -> None:
    """Same bytes for the same plan; it is looked at over HTTP, writes its bill, and takes a writer of texts by name."""
    plan = Plan(seed=5, faults={"500": 0.3})
    bodies = [body(number) for number in range(20)]
    with FaultServer(plan) as thread, FaultProcess(plan, billing_file=tmp_path / "bill") as process:
        assert ask(thread.url, bodies, 4) == ask(process.url, bodies, 4)
        assert thread.billing() == process.billing()
        stats = process.stats()
        process.mark()
    assert (stats["requests"], stats["distinct"], stats["executed"]) == (20, 20, 20)
    assert len((tmp_path / "bill").read_bytes().splitlines()) == 20


async def test_models_are_listed_and_unknown_paths_are_not_there() -> None:
    """What ``doctor`` and the probe ask for."""
    with FaultServer(Plan(models=("a", "b"))) as server:
        async with aiohttp.ClientSession() as session:
            listed = await (await session.get(f"{server.url}/v1/models")).json()
            other = await session.get(f"{server.url}/v1/nothing")
    assert [model["id"] for model in listed["data"]] == ["a", "b"]
    assert other.status == 404


def test_every_fault_does_something() -> None:
    """A name that quietly did nothing would be a test that cannot fail: each differs from the good answer."""
    never_ending = {"silent", "drip", "continues", "extensions", "endless", "gzip_bomb"}
    with FaultServer() as server:
        (good,) = ask(server.url, [body(0)])
    for name in FAULTS.keys() - never_ending:
        with FaultServer(Plan(faults={name: 1})) as server:
            assert ask(server.url, [body(0)]) != [good], name
            assert server.stats()["faults"] == {name: 1}
            assert server.stats()["executed"] == FAULTS[name]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to be so; give up after ten seconds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
