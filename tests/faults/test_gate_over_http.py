"""The same gate with a real client and a real socket in front: every fault of the server, and hostile bodies at random.

Whatever comes back, an attempt ends in a completion or in one of our errors, within its deadline and in little memory.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from random import Random

import pytest

from selfinstruct.errors import (
    ConfigProblem,
    MaybeExecuted,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnusableResponse,
)
from selfinstruct.models.openai_api import OpenAIModel, retry_after
from selfinstruct.schema import Completion, Draw, Endpoint, Request
from tests.command import ROOT
from tests.faults.fault_plan import FAULTS, Plan
from tests.faults.fault_server import FaultServer
from tests.hostile_answers import OF_A_RESPONSE, mutated
from tests.models.loopback import Loopback, continuation, problem

pytestmark = pytest.mark.faults

ENDPOINT = Endpoint(identity="configured", model="m")
DRAW = Draw(stage="s", round=0, slot=0)

LOST, NOT_HTTP, LATE = "the connection was lost", "the answer is not HTTP", "no answer within"
ENDS: dict[str, tuple[type[SelfinstructError], str]] = {
    **dict.fromkeys(("429", "429_date", "429_ms", "429_insane", "429_bare"), (Rejected, "answered 429")),
    **{status: (Rejected, f"answered {status}") for status in ("503", "529")},
    **{status: (MaybeExecuted, f"answered {status}") for status in ("500", "502", "504")},
    **dict.fromkeys(("reset", "reset_headers", "reset_body", "truncated", "unfinished"), (MaybeExecuted, LOST)),
    **dict.fromkeys(("drip", "silent", "continues", "extensions"), (MaybeExecuted, LATE)),
    **dict.fromkeys(
        ("garbage", "status_line", "header_flood", "long_header", "trailers"), (UnusableResponse, NOT_HTTP)
    ),
    "redirect": (ConfigProblem, "--base-url"),
    **dict.fromkeys(("gzip_bomb", "endless"), (UnusableResponse, "longer than 8388608 bytes")),
    "gzip_broken": (UnusableResponse, "compression is broken"),
    "html": (UnusableResponse, "is not JSON: <!doctype html>"),
    "error_200": (UnusableResponse, "the model fell over"),
    "error_200_429": (Rejected, "answered 429: slow down"),
    "empty": (UnusableResponse, "is empty"),
    **dict.fromkeys(("no_choices", "null_choices"), (UnusableResponse, "has no choices")),
    "null_message": (UnusableResponse, "has no text"),
    "not_utf8": (UnusableResponse, "is not UTF-8"),
    "surrogate": (UnusableResponse, "half a surrogate pair"),
    "deep": (UnusableResponse, "nested too deep"),
    **dict.fromkeys(("cut_json", "usage_nan"), (UnusableResponse, "is not JSON")),
    **dict.fromkeys(("usage_negative", "usage_string", "usage_absurd"), (UnusableResponse, "is no token count")),
    "context": (RequestRefused, "answered 400"),
    "policy": (RequestRefused, "answered 400"),
}
WISHES = {"429": 1.0, "429_ms": 1.0}


def asking(number: int = 0) -> Request:
    """The number-th request; its body is its own."""
    return Request(draw=DRAW, prompt=str(number))


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"usage_over"}))
async def test_each_fault_ends_as_it_should_and_the_next_attempt_gets_through(fault: str) -> None:
    """The very class and its reason, with the URL; the same model, asked again, answers."""
    kind, reason = ENDS[fault]
    with FaultServer(Plan(faults={fault: 1})) as server:
        model = OpenAIModel(ENDPOINT, server.url, timeout=0.5 if reason == LATE else 20)
        async with asyncio.timeout(15):
            with pytest.raises(SelfinstructError) as raised:
                await model.complete(asking())
            again = await model.complete(asking())
        await model.aclose()
    assert type(raised.value) is kind
    assert reason in str(raised.value)
    assert f"{server.url}/v1/completions" in str(raised.value)
    assert str(raised.value).isprintable()
    if fault in WISHES:
        assert isinstance(raised.value, Rejected)
        assert raised.value.retry_after == WISHES[fault]
    assert again.finish_reason in ("stop", "length")


async def test_a_count_above_what_was_asked_for_comes_through_as_it_is() -> None:
    """It is a number like any other; whoever reserved the money compares it."""
    with FaultServer(Plan(faults={"usage_over": 1})) as server:
        model = OpenAIModel(ENDPOINT, server.url)
        assert (await model.complete(asking())).completion_tokens == 2_000_000
        await model.aclose()


async def test_a_429_inside_a_200_brings_the_servers_wish() -> None:
    """It counts as a 429 in everything, and says which URL it came from."""
    with Loopback(lambda path, body, n: (200, {"Retry-After": "3"}, problem("slow down", code=429))) as server:
        model = OpenAIModel(ENDPOINT, server.url)
        with pytest.raises(Rejected, match="slow down") as raised:
            await model.complete(asking())
        await model.aclose()
    assert (raised.value.status, raised.value.retry_after) == (429, 3.0)
    assert server.url in str(raised.value)


def test_a_date_to_wait_for_counts_from_our_clock_where_the_server_shows_none() -> None:
    """Not every server sends ``Date``; the whole seconds of a date may lose one."""
    wish = retry_after({"Retry-After": formatdate(time.time() + 1000, usegmt=True)})
    assert wish is not None
    assert 900 <= wish <= 1001


async def ended(model: OpenAIModel, number: int) -> type[SelfinstructError] | type[Completion]:
    """How the number-th request ended."""
    try:
        return type(await model.complete(asking(number)))
    except OF_A_RESPONSE as refusal:
        assert str(refusal).isprintable()
        return type(refusal)


async def test_three_hundred_damaged_answers_leave_nothing_behind() -> None:
    """Each ends in a completion or in our error; then the model still works, and no task and no socket is left."""
    rng = Random(300)
    answers = [mutated(rng) for _ in range(300)]

    def hostile(path: str, body: dict[str, str], n: int) -> tuple[int, dict[str, str], bytes]:
        number = int(body["prompt"])
        if number >= len(answers):
            return 200, {}, continuation("a")
        status = (200, 200, 200, 200, 400, 429, 500)[number % 7]
        return (
            status,
            {"Content-Type": ("application/json", "text/html; charset=utf-16", "")[number % 3]},
            answers[number],
        )

    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with Loopback(hostile) as server:
        model = OpenAIModel(ENDPOINT, server.url, connections=16, timeout=20)
        ends = await asyncio.gather(*(ended(model, number) for number in range(300)))
        assert (await model.complete(asking(300))).text == "a"
        await model.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(ends) == len(server.received) - 1 == 300
    assert {Completion, UnusableResponse, Rejected, MaybeExecuted} <= set(ends)
    await asyncio.sleep(0.05)  # closed sockets are let go of on the loop's next turns
    assert before == 0 or len(os.listdir("/proc/self/fd")) <= before


GROWTH = """
import asyncio, re, sys
from pathlib import Path
from selfinstruct.errors import SelfinstructError
from selfinstruct.models.openai_api import OpenAIModel
from selfinstruct.schema import Draw, Endpoint, Request

async def ask(url):
    model = OpenAIModel(Endpoint(identity="c", model="m"), url, timeout=1.5)
    try:
        await model.complete(Request(draw=Draw(stage="s", round=0, slot=0), prompt="a"))
    except SelfinstructError:
        pass
    await model.aclose()

for url in sys.argv[1:]:  # the first is a good one: what a first request loads is no growth
    asyncio.run(ask(url))
    print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])  # ru_maxrss is inherited
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the highest memory use is read from /proc")
def test_floods_and_bombs_cost_little_memory() -> None:
    """A gzip bomb of 100 MB in 100 KB, bodies and headers without an end: all together below 32 MB."""
    floods = ("gzip_bomb", "endless", "header_flood", "long_header", "trailers", "continues", "extensions")
    servers = [FaultServer(Plan())] + [FaultServer(Plan(faults={name: 1})) for name in floods]
    for server in servers:
        server.__enter__()
    try:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", GROWTH, *(server.url for server in servers)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        assert all(server.stats()["requests"] == 1 for server in servers)
    finally:
        for server in servers:
            server.__exit__()
    first, *rest = map(int, done.stdout.split())
    assert len(rest) == len(floods)
    assert max(rest) - first < 32 * 1024
