"""A forecast against what really happens: runs must fall between low and high, and high must be what runs reserve."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct import call_path, estimating, launch, naming
from selfinstruct.batch import Batch
from selfinstruct.config import Settings, settings
from selfinstruct.errors import BadData, ConfigProblem
from selfinstruct.forecast import Estimate, Forecast, Use
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.money import bound_of
from selfinstruct.recipe import Recipe
from selfinstruct.stage_recipes import BootstrapRecipe
from selfinstruct.store_manifest import read_manifest
from tests.command import invoke
from tests.faults.answer_server import AnswerServer

FREE = ModelRecipe(api="fake", name="fake")


def request(number: int, **more: Any) -> dict[str, Any]:
    """A request whose answer may have 512 tokens; `more` goes over its body, None takes a field away."""
    said = f"Question {number}: " + "why does bread rise, and why does its crust turn brown? " * (1 + number % 3)
    body = {"model": "m", "messages": [{"role": "user", "content": said}], "max_tokens": 512} | more
    body = {name: value for name, value in body.items() if value is not None}
    return {"custom_id": f"r-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def written(path: Path, requests: Iterable[dict[str, Any]]) -> Path:
    """A file of requests."""
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in requests))
    return path


def batch(requests: Path, out: Path, recipe: ModelRecipe = FREE, **given: Any) -> Batch:
    """The batch that `complete --dry-run` would look at."""
    told = settings(given)
    named = naming.named(recipe)
    return Batch(requests, out, named, None, told, estimating.unopened(named, told))


def plan(path: Path, recipe: Recipe | None = None, **given: Any) -> launch.Plan:
    """The plan that `generate --dry-run` would look at."""
    recipe, told = recipe or Recipe(model=FREE), settings(given)
    named = recipe.model_copy(update={"model": naming.named(recipe.model)})
    return launch.plan(named, told, estimating.unopened(named.model, told), path)


def reserved(run: Path) -> tuple[int, int]:
    """Prompt and completion tokens that a run's attempts were let out with, from their bodies in the ledger."""
    with sqlite3.connect(run / "ledger.sqlite3") as db:
        bounds = [bound_of(orjson.loads(body)) for (body,) in db.execute("SELECT body FROM calls")]
    db.close()
    return sum(bound.prompt for bound in bounds), sum(bound.completion for bound in bounds)


def used(run: Path, stage: str) -> tuple[int, int, int]:
    """Calls, tokens in and out, as the ledger counts them."""
    with sqlite3.connect(run / "ledger.sqlite3") as db:
        sql = "SELECT count(*), sum(prompt_tokens), sum(completion_tokens) FROM attempts WHERE stage = ?"
        [row] = db.execute(sql, (stage,))
    db.close()
    return row[0], row[1], row[2]


def between(estimate: Estimate, calls: int, tokens_in: int, tokens_out: int) -> bool:
    """Whether all three lie within what was foreseen."""
    low, high = estimate.low, estimate.high
    return (
        low.calls <= calls <= high.calls
        and low.prompt_tokens <= tokens_in <= high.prompt_tokens
        and low.completion_tokens <= tokens_out <= high.completion_tokens
    )


def in_order(forecast: Forecast) -> bool:
    """Low is never above likely, nor likely above high."""
    estimates = [*forecast.stages.values(), forecast.total]
    pairs = [
        pair for e in estimates for pair in (*zip(e.low, e.likely, strict=True), *zip(e.likely, e.high, strict=True))
    ]
    return all(one <= another for one, another in pairs)


# --- complete -------------------------------------------------------------------------------------------------------


def test_a_batch_falls_between_low_and_high(tmp_path: Path) -> None:
    """Calls and tokens of a real run; and the calls are exactly the lines."""
    requests = written(tmp_path / "r.jsonl", map(request, range(30)))
    forecast = estimating.of_batch(batch(requests, tmp_path / "out"))
    assert {use.calls for use in forecast.total} == {30}
    assert in_order(forecast)
    assert invoke("complete", requests, "--out", tmp_path / "out", "--api", "fake", "--quiet").code == 0
    assert between(forecast.stages["complete"], *used(tmp_path / "out", "complete"))


def test_high_is_what_the_run_sets_aside(tmp_path: Path) -> None:
    """To the token and the last digit of the cost, limits that only a cap adds included."""
    rows = [request(n, max_tokens=None if n % 2 else 300) for n in range(20)]
    requests = written(tmp_path / "r.jsonl", rows)
    high = estimating.of_batch(batch(requests, tmp_path / "out", max_cost="50usd", price="in=1,out=3")).total.high
    flags = ["--max-cost", "50usd", "--price", "in=1,out=3", "--quiet"]
    assert invoke("complete", requests, "--out", tmp_path / "out", "--api", "fake", *flags).code == 0
    assert (high.prompt_tokens, high.completion_tokens) == reserved(tmp_path / "out")
    assert high.completion_tokens == 10 * 300 + 10 * 1024
    assert high.cost == 10**6 * (high.prompt_tokens + 3 * high.completion_tokens)


def test_a_resumed_batch_is_planned_without_what_is_recorded(tmp_path: Path) -> None:
    """Appended lines are planned, answered ones are not, and one that was edited is asked again."""
    rows = [request(number) for number in range(12)]
    requests = written(tmp_path / "r.jsonl", rows[:10])
    assert invoke("complete", requests, "--out", tmp_path / "out", "--api", "fake", "--quiet").code == 0
    assert estimating.of_batch(batch(requests, tmp_path / "out")).wanted == 0
    rows[3] = request(3, temperature=0.5)
    again = estimating.of_batch(batch(written(requests, rows), tmp_path / "out"))
    assert (again.wanted, again.recorded, again.used.calls) == (3, {"complete": 10}, 10)
    assert again.total.high.completion_tokens == 3 * 512


def test_a_cap_reaches_as_many_requests_as_the_run_can_send(tmp_path: Path) -> None:
    """The same requests again and again: at the high reckoning, the cap divided by the bound of one."""
    requests = written(tmp_path / "r.jsonl", (request(0) | {"custom_id": str(n)} for n in range(50)))
    whole = estimating.of_batch(batch(requests, tmp_path / "out"))
    one = bound_of(request(0)["body"])
    forecast = estimating.of_batch(batch(requests, tmp_path / "out", max_tokens_total=10 * sum(one) + 1))
    assert whole.reach is None
    assert forecast.reach is not None
    low, likely, high = forecast.reach
    assert (high, sorted([low, likely, high])) == (10, [high, likely, low])
    assert estimating.of_batch(batch(requests, tmp_path / "out", max_calls=7)).reach == (7, 7, 7)


def test_a_request_without_a_limit_is_reckoned_with_ours_and_says_so(tmp_path: Path) -> None:
    """Without a cap the run would send it without one."""
    requests = written(tmp_path / "r.jsonl", [request(0), request(1, max_tokens=None)])
    forecast = estimating.of_batch(batch(requests, tmp_path / "out"))
    assert forecast.total.high.completion_tokens == 512 + 1024
    assert forecast.assumptions[0] == "1 requests set no token limit: reckoned with 1024, as a cap would send"


def test_a_request_that_cannot_be_measured_stops_a_capped_plan_alone(tmp_path: Path) -> None:
    """As it would the run; the line is named. Without a cap it counts as a call."""
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a.invalid"}}]}]
    requests = written(tmp_path / "r.jsonl", [request(0), request(1, messages=picture)])
    free = estimating.of_batch(batch(requests, tmp_path / "out"))
    assert (free.total.high.calls, free.total.high.completion_tokens) == (2, 512)
    assert free.assumptions[0] == "1 requests cannot be measured beforehand: their tokens are not counted"
    with pytest.raises(BadData, match=r"r\.jsonl:2: a message has a part of type 'image_url'"):
        estimating.of_batch(batch(requests, tmp_path / "out", max_tokens_total=5000))


def test_an_unknown_price_is_an_error_only_under_a_cap_on_cost(tmp_path: Path) -> None:
    """The same error as the run's; without the cap the calls are counted as unpriced."""
    rows = [request(0, model="gpt-4o-mini"), request(1, model="nobody's")]
    requests = written(tmp_path / "r.jsonl", rows)
    recipe = ModelRecipe(api="chat")
    asked = batch(requests, tmp_path / "out", recipe)
    nameless = Batch(
        requests, tmp_path, asked.recipe.model_copy(update={"name": ""}), None, asked.settings, asked.opened
    )
    forecast = estimating.of_batch(nameless)
    assert (forecast.unpriced, sorted(forecast.prices)) == (1, ["gpt-4o-mini", "nobody's"])
    assert forecast.total.high.cost == 150_000 * forecast_tokens(rows[0])[0] + 600_000 * forecast_tokens(rows[0])[1]
    capped = Batch(requests, tmp_path, nameless.recipe, None, settings({"max_cost": "5usd"}), asked.opened)
    with pytest.raises(ConfigProblem, match=r"the price of \"nobody's\" at https://api\.openai\.com/v1 is not known"):
        estimating.of_batch(capped)


def forecast_tokens(row: dict[str, Any]) -> tuple[int, int]:
    """The bound of one request."""
    bound = bound_of(row["body"])
    return bound.prompt, bound.completion


def test_a_broken_file_is_found_before_a_run_would_find_it(tmp_path: Path) -> None:
    """An id that stands twice, too."""
    requests = written(tmp_path / "r.jsonl", [request(0), request(0)])
    with pytest.raises(BadData, match=r"r\.jsonl:2: the custom_id 'r-0' stands in line 1"):
        estimating.of_batch(batch(requests, tmp_path / "out"))


# --- generate -------------------------------------------------------------------------------------------------------


def test_a_run_of_the_script_falls_between_low_and_high(tmp_path: Path) -> None:
    """Calls and tokens of every stage."""
    forecast = estimating.of_run(plan(tmp_path / "run"), 60)
    flags = ("--api", "fake", "--run", "run", "-n", 60, "--output-dir", tmp_path, "--quiet")
    assert invoke("generate", *flags).code == 0
    assert in_order(forecast)
    ended = {stage: used(tmp_path / "run", stage) for stage in forecast.stages}
    assert list(ended) == ["bootstrap", "classify", "instances"]
    assert [stage for stage, account in ended.items() if not between(forecast.stages[stage], *account)] == []


def test_a_run_over_a_middling_model_makes_the_calls_foreseen(tmp_path: Path) -> None:
    """A model that repeats itself, says Maybe and is cut off now and then; its token counts are made up."""
    with AnswerServer() as server:
        recipe = Recipe(model=ModelRecipe(api="completion", base_url=server.url, send_seed=True))
        forecast = estimating.of_run(plan(tmp_path / "run", recipe), 60)
        where = ("--api", "completion", "--base-url", server.url, "--set", "model.send_seed=true")
        ended = invoke("generate", *where, "--run", "run", "-n", 60, "--output-dir", tmp_path, "--quiet")
        assert ended.code == 0, ended.err
    for stage, estimate in forecast.stages.items():
        calls, _, _ = used(tmp_path / "run", stage)
        assert estimate.low.calls <= calls <= estimate.high.calls, stage


def test_the_calls_of_a_new_run_follow_from_the_guesses(tmp_path: Path) -> None:
    """8 jobs a round, 7 tasks each: two whole rounds for 100, four at half the yield, nine at a fifth and the lag."""
    forecast = estimating.of_run(plan(tmp_path / "run"), 100)
    calls = {stage: tuple(use.calls for use in estimate) for stage, estimate in forecast.stages.items()}
    assert calls == {
        "bootstrap": (2 * 8, 4 * 8, (9 + 4) * 8),
        "classify": (100, 120, 3 * 156),  # 114, and one in twenty again
        "instances": (100, 114, 156),
    }


def test_the_tokens_of_the_first_stage_are_those_of_its_real_prompts(tmp_path: Path) -> None:
    """High is the mean bound of the first round's prompts, each answer as long as it may be."""
    recipe = Recipe(model=FREE, bootstrap=BootstrapRecipe(max_tokens=200))
    asked = plan(tmp_path / "run", recipe)
    stage = asked.links[0].stage
    prompts = [stage.prompt(job).prompt for job in stage.plan(0, (), ())]  # type: ignore[attr-defined]
    high = estimating.of_run(asked, 7).stages["bootstrap"].high
    # 16 tokens for the frame of a prompt; rounds up.
    expected = sum(len(prompt.encode()) + 16 for prompt in prompts)
    assert (high.calls, high.prompt_tokens) == (8 * (1 + 4), -(-expected * high.calls // 8))
    assert high.completion_tokens == 200 * high.calls


def test_a_finished_run_has_nothing_left_and_an_extension_the_rest(tmp_path: Path) -> None:
    """What is in shards is counted out; the target is the whole run's."""
    flags = ("--api", "fake", "--run", "run", "--output-dir", tmp_path, "--quiet")
    assert invoke("generate", *flags, "-n", 60).code == 0
    done = estimating.of_run(plan(tmp_path / "run"), 60)
    assert (done.wanted, done.total, done.notes) == (0, Estimate(), ["this run is done: nothing would be sent"])
    manifest = read_manifest(tmp_path / "run" / "bootstrap")
    assert manifest is not None
    more = estimating.of_run(plan(tmp_path / "run"), manifest.accepted + 56)
    assert more.wanted == 56
    # The rounds asked in vain at the end of the first start are in the ledger, and count for the second.
    ahead = used(tmp_path / "run", "bootstrap")[0] - sum(shard.jobs for shard in manifest.shards)
    assert more.stages["bootstrap"].likely.calls == max(0, 16 - ahead)


def test_an_interrupted_run_is_planned_without_its_recorded_calls(tmp_path: Path) -> None:
    """No shard is there yet: the ledger alone knows."""
    flags = ("--api", "fake", "--run", "run", "--output-dir", tmp_path, "--quiet")
    assert invoke("generate", *flags, "-n", 200, "--max-calls", 40).code == 4
    left = estimating.of_run(plan(tmp_path / "run"), 200)
    whole = estimating.of_run(plan(tmp_path / "other"), 200)
    assert sum(left.recorded.values()) == 40
    assert left.total.likely.calls <= whole.total.likely.calls - 40  # which of them were made is chance
    capped = estimating.of_run(plan(tmp_path / "run", max_calls=40), 200)
    assert capped.reach == (0, 0, 0)


def test_a_cap_reaches_a_share_of_the_instructions(tmp_path: Path) -> None:
    """Half the tokens, half of what is wanted."""
    total = estimating.of_run(plan(tmp_path / "run"), 1000).total
    half = (total.likely.prompt_tokens + total.likely.completion_tokens) // 2
    forecast = estimating.of_run(plan(tmp_path / "run", max_tokens_total=half), 1000)
    assert forecast.reach is not None
    assert forecast.reach[1] in (499, 500)
    assert forecast.reach[0] > 500 > forecast.reach[2]


def test_a_forecast_writes_nothing(tmp_path: Path) -> None:
    """Not even the folder."""
    requests = written(tmp_path / "r.jsonl", [request(0)])
    estimating.of_batch(batch(requests, tmp_path / "out"))
    estimating.of_run(plan(tmp_path / "run"), 10)
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


# --- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({}, None),
        ({"rpm": 10}, (60, 120, 120)),
        ({"tpm": 1000}, (60, 120, 1200)),
        ({"concurrency": 2}, (2.5 + 1, 5 + 2, 5 + 4)),
        ({"rpm": 10, "tpm": 1000, "concurrency": 2}, (60, 120, 1200)),
    ],
)
def test_the_time_is_that_of_the_narrowest_limit(told: dict[str, Any], seconds: tuple[float, ...] | None) -> None:
    """Requests and tokens a minute, and the calls in flight; without any, nothing is said."""
    low, likely, high = Use(10, 900, 100), Use(20, 1800, 200), Use(20, 19600, 400)
    caps = call_path.caps_of(Settings())
    forecast = Forecast("requests", 10, {"s": Estimate(low, likely, high)}, {}, caps, settings(told))
    assert forecast.seconds == seconds
