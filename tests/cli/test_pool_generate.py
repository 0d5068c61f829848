"""`generate --pool` and `dialogue --pool`: each job is answered by whom it draws, and what is written shows it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.models.drawn import drawn
from tests.command import Ended, data_files, invoke
from tests.faults.answer_server import middling
from tests.faults.dialogue_server import DialogueServer, openers
from tests.pools_at_work import Voices, at_home, hurry, local, pool_file, recorded, remote
from tests.stub_engine import starts
from tests.talking import file_of
from tests.talking import rows as records

TREES = ("ash", "birch", "cedar")
NAMES = {"ash": "ash", "birch": "birch", "cedar": "cedar-large"}
"""A pool's models, and what each is called where it is asked."""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at a server that starts, and before an idle model goes."""
    hurry(monkeypatch)


@pytest.fixture
def server() -> Iterator[Voices]:
    """Any model of an API; it talks as the stand-in for vLLM does."""
    with Voices() as started:
        yield started


# --- generate ---------------------------------------------------------------------------------------------------------


def forest(server: Voices, place: Path, **more: Any) -> Path:
    """A pool of three models of an API that continue a text, one of them called otherwise there."""
    cedar = {"api": "completion", "model": "cedar-large", **more}
    others = [remote(server, name, api="completion", **more) for name in ("ash", "birch")]
    return pool_file(place / "forest.toml", *others, remote(server, "cedar", **cedar))


def generate(place: Path, pool: object, run: str, *args: object, **variables: str) -> Ended:
    """``generate`` over a pool, in ``place``."""
    words = ("--run", run, "--output-dir", place, "--set", "rounds_per_shard=2")
    return invoke("generate", "--pool", pool, *words, *args, **{**at_home(place), **variables})


def asked_as_drawn(run: Path, names: Mapping[str, str], seed: int = 42) -> Counter[str]:
    """See that each call went to whom its job has drawn; ``names`` are the pool's, and what each is called there."""
    counts: Counter[str] = Counter()
    for draw, model in recorded(run).values():
        assert model == names[drawn(sorted(names), draw, seed)]
        counts[model] += 1
    return counts


def check_provenance(run: Path, stage: str) -> set[str]:
    """See that each record names the models that made its calls; returns all of them."""
    calls = recorded(run)
    named = set()
    for record in records(run, stage):
        told = record["provenance"]
        assert set(told["models"]) == {calls[key][1] for key in told["calls"]}
        named |= set(told["models"])
    return named


def test_each_job_is_answered_by_whom_it_draws_and_concurrency_changes_no_byte(tmp_path: Path) -> None:
    """Self-Instruct over three models: one call at a time or 32, the same shards; who answered is in every record."""
    with Voices(middling, latency=lambda rng: rng.uniform(0, 0.004)) as server:
        pool = forest(server, tmp_path)
        for run, concurrency in (("one", 1), ("many", 32)):
            assert generate(tmp_path, pool, run, "-n", 120, "--concurrency", concurrency).code == 0
    assert data_files(tmp_path / "one") == data_files(tmp_path / "many")
    counts = asked_as_drawn(tmp_path / "one", NAMES)
    assert min(counts.values()) > counts.total() / 6
    assert check_provenance(tmp_path / "one", "instances") == set(NAMES.values())
    assert server.posts == {model: 2 * count for model, count in counts.items()}


def test_local_models_of_a_pool_take_turns_in_a_run_of_stages(server: Voices, tmp_path: Path) -> None:
    """Alpaca by a schema, over two vLLMs of ours and an API: whoever is at work, the bytes are the draws'."""
    models = local(tmp_path / "ash"), remote(server, "cedar", model="cedar-large"), local(tmp_path / "birch")
    pool = pool_file(tmp_path / "trees.toml", *models)
    args = ("--method", "alpaca", "--format", "json", "--max-tokens", 512, "-n", 30)
    for run, concurrency, gpus in (("one", 1, ("0",)), ("many", 32, ("0", "1"))):
        sets = (word for gpu in gpus for word in ("--gpus", gpu))
        ended = generate(tmp_path, pool, run, *args, "--concurrency", concurrency, *sets)
        assert ended.code == 0, ended.err
        assert ("2 models take turns on one set of GPUs" in ended.err) == (len(gpus) == 1)
        again = generate(tmp_path, pool, run, *args, "--concurrency", concurrency, *sets)
        assert (again.code, "take turns" in again.err) == (0, False)
    assert data_files(tmp_path / "one") == data_files(tmp_path / "many")
    assert set(asked_as_drawn(tmp_path / "one", NAMES)) == set(NAMES.values())
    assert check_provenance(tmp_path / "one", "alpaca") == set(NAMES.values())
    assert {Path(start.arguments[1]).name for start in starts(tmp_path / "starts")} == {"ash", "birch"}


def test_a_plan_sums_no_prices_of_two_currencies(tmp_path: Path) -> None:
    """It says so, and counts every call as one without a price."""
    with Voices(middling) as server:
        prices = {"ash": "in=1,out=2", "birch": "in=7,out=9,currency=cny", "cedar": "in=1,out=2"}
        models = [remote(server, name, api="completion", price=price) for name, price in prices.items()]
        pool = pool_file(tmp_path / "p.toml", *models)
        plan = json.loads(generate(tmp_path, pool, "run", "-n", 8, "--dry-run", "--json").out)
        run = generate(tmp_path, pool, "run", "-n", 8)
    assert plan["notes"] == ["prices in cny and usd do not add up: give all of them in one currency"]
    assert plan["unpriced_calls"] == plan["total"]["likely"]["calls"] > 0
    assert (plan["total"]["high"]["cost"], plan["prices"]) == (None, {})
    assert (run.code, "the prices of ash, birch, cedar are in cny and usd" in run.err, server.posts) == (78, True, {})


def test_a_run_over_a_pool_can_be_looked_at_checked_and_made_anew(tmp_path: Path) -> None:
    """Status, show, verify, rebuild, export and a plan of what is left; none of them asks anybody."""
    with Voices(middling) as server:
        pool = forest(server, tmp_path, price="in=1,out=2")
        assert generate(tmp_path, pool, "run", "-n", 30).code == 0
        posts = server.posts
        plan = json.loads(generate(tmp_path, pool, "run", "-n", 30, "--dry-run", "--json").out)
        more = json.loads(generate(tmp_path, pool, "run", "-n", 120, "--dry-run", "--json").out)
        assert server.posts == posts
    run = tmp_path / "run"
    pool.unlink()
    assert (plan["wanted"], plan["total"]["high"]["calls"], plan["unpriced_calls"]) == (0, 0, 0)
    assert (more["wanted"] > 60, sorted(more["prices"])) == (True, ["ash", "birch", "cedar"])
    last = records(run, "instances")[-1]
    shown = invoke("show", last["id"], "--run", "run", "--output-dir", tmp_path)
    models = [recorded(run)[key][1] for key in last["provenance"]["calls"]]
    assert [line.split('"')[3] for line in shown.out.splitlines() if line.strip().startswith('"model": ')] == models
    assert invoke("status", "run", "--output-dir", tmp_path).code == 0
    before = data_files(run)
    (run / "instances" / "shard-0.jsonl").unlink()
    assert invoke("verify", run).code == 5
    assert invoke("rebuild", run).code == 0
    assert (data_files(run), invoke("verify", run).code) == (before, 0)


def test_a_pool_that_changed_is_told_as_a_difference_in_a_line_a_model(tmp_path: Path) -> None:
    """One is gone, one is new, one is at another address: a run goes on with whom it began, or not at all."""
    with Voices(middling) as server, Voices(middling) as moved:
        assert generate(tmp_path, forest(server, tmp_path), "run", "-n", 8).code == 0
        there = {"api": "completion"}
        changed = [remote(server, "ash", **there), remote(moved, "birch", **there), remote(server, "dogwood", **there)]
        ended = generate(tmp_path, pool_file(tmp_path / "other.toml", *changed), "run", "-n", 8)
    assert ended.code == 78
    assert [line for line in ended.err.splitlines() if line.startswith("  ")] == [
        f"  roles.teacher/birch.identity: '{server.url}' -> '{moved.url}'",
        f"  roles.teacher/cedar: 'cedar-large ({server.url})' -> None",
        f"  roles.teacher/dogwood: None -> 'dogwood ({server.url})'",
    ]


def test_order_prices_replicas_and_names_of_variables_are_no_part_of_a_run(tmp_path: Path) -> None:
    """The same models, written down otherwise: the run goes on, and its next records are what they would have been."""
    with Voices(middling, latency=lambda rng: 0.003) as server, Voices(middling, latency=lambda rng: 0.003) as other:
        assert generate(tmp_path, forest(server, tmp_path), "whole", "-n", 120).code == 0
        assert generate(tmp_path, forest(server, tmp_path), "part", "-n", 8).code == 0
        more = {"api": "completion", "price": "in=1,out=1", "replicas": [other.url], "key_variable": "TREE_KEY"}
        cedar = remote(server, "cedar", model="cedar-large", **more)
        pool = pool_file(tmp_path / "p.toml", cedar, remote(server, "birch", **more), remote(server, "ash", **more))
        assert generate(tmp_path, pool, "part", "-n", 120, TREE_KEY="secret").code == 0
        assert other.posts.total() > 0
    assert data_files(tmp_path / "part") == data_files(tmp_path / "whole")


def test_a_recipe_file_and_a_set_key_may_name_the_pool(tmp_path: Path) -> None:
    """Both make the run that the option makes."""
    with Voices(middling) as server:
        pool = forest(server, tmp_path)
        recipe = tmp_path / "r.toml"
        recipe.write_text(f'pool = "{pool}"\nrounds_per_shard = 2\n')
        common = ("--output-dir", tmp_path, "-n", 12)
        assert generate(tmp_path, pool, "option", "-n", 12).code == 0
        assert invoke("generate", "--recipe", recipe, "--run", "file", *common).code == 0
        sets = ("--set", f"pool={pool}", "--set", "rounds_per_shard=2")
        assert invoke("generate", *sets, "--run", "set", *common).code == 0
    assert data_files(tmp_path / "option") == data_files(tmp_path / "file") == data_files(tmp_path / "set")


def test_a_retired_model_is_left_out_as_the_message_says(tmp_path: Path) -> None:
    """The run stops before anything is asked, and the very words of the message make it go."""
    with Voices(middling) as server:
        forest(server, tmp_path)
        with (tmp_path / "forest.toml").open("a") as file:
            file.write('[[model]]\nname = "elm"\nretired = "felled"\n')
        ended = generate(tmp_path, tmp_path / "forest.toml", "run", "-n", 4)
        assert (ended.code, server.posts) == (78, {})
        advice = ended.err.splitlines()[0].rpartition("--pool ")[2]
        assert generate(tmp_path, advice, "run", "-n", 4).code == 0
    assert advice.endswith(":-elm")


def test_a_cap_holds_over_the_models_of_a_run_of_stages(tmp_path: Path) -> None:
    """Calls are set aside at the price of whom they are drawn for; a higher cap goes on to the same bytes."""
    with Voices(middling) as server:
        prices = {"ash": "in=0.1,out=0.2", "birch": "in=20,out=60", "cedar": "in=1,out=1"}
        models = [remote(server, name, api="completion", price=prices[name]) for name in TREES]
        pool = pool_file(tmp_path / "p.toml", *models)
        stopped = generate(tmp_path, pool, "run", "-n", 40, "--max-cost", "0.1usd", "--json", "--concurrency", 2)
        assert (stopped.code, 0 < float(json.loads(stopped.out)["money"]["spent"]) <= 0.1) == (4, True)
        assert generate(tmp_path, pool, "run", "-n", 40, "--max-cost", "50usd").code == 0
        assert generate(tmp_path, pool, "free", "-n", 40).code == 0
    assert data_files(tmp_path / "run") == data_files(tmp_path / "free")


# --- dialogue ---------------------------------------------------------------------------------------------------------


def test_a_dialogue_s_assistant_is_drawn_from_the_pool_and_stays(tmp_path: Path) -> None:
    """Its user is one model of an API; topics and openers are the run's own model's."""
    with DialogueServer(latency=lambda rng: rng.uniform(0, 0.003)) as server:
        models = [remote(server, name, **({"model": model} if name != model else {})) for name, model in NAMES.items()]
        pool = pool_file(tmp_path / "p.toml", *models)
        played = ("--api", "chat", "--model", "own", "--user-model", "asks", "--base-url", server.url)
        common = ("--pool", pool, *played, "--rounds", "1-3", "--output-dir", tmp_path)
        for name, concurrency in (("one", 1), ("many", 32)):
            ended = invoke("dialogue", *common, "--run", name, "-n", 15, "--concurrency", concurrency)
            assert ended.code == 0, ended.err
        dry = json.loads(invoke("dialogue", *common, "--run", "one", "-n", 15, "--dry-run", "--json").out)
    run = tmp_path / "one"
    assert data_files(run) == data_files(tmp_path / "many")
    calls = recorded(run)
    for draw, model in calls.values():
        spoken = "asks" if draw.step % 2 else NAMES[drawn(sorted(NAMES), draw, 42)]
        assert model == ("own" if draw.stage != "dialogue" else spoken)
    answering = {draw.slot: model for draw, model in calls.values() if draw.stage == "dialogue" and not draw.step}
    assert len(set(answering.values())) > 1
    assert check_provenance(run, "dialogue") == {"own", "asks", *NAMES.values()}
    assert (dry["wanted"], dry["total"]["high"]["calls"]) == (0, 0)
    assert (invoke("verify", run).code, invoke("rebuild", run).code) == (0, 0)
    assert data_files(run) == data_files(tmp_path / "many")


def test_dialogues_of_given_openers_need_no_model_of_their_own(tmp_path: Path) -> None:
    """The pool answers, and the user is played by whom the run names."""
    with DialogueServer() as server:
        pool = pool_file(tmp_path / "p.toml", *(remote(server, name) for name in TREES))
        file = file_of(tmp_path / "openers.txt", openers("en", 12))
        user = ("--user-api", "chat", "--user-model", "asks", "--user-base-url", server.url)
        ended = invoke(
            "dialogue",
            "--pool",
            pool,
            *user,
            "--openers",
            file,
            "--rounds",
            "2-2",
            "--run",
            "r",
            "--output-dir",
            tmp_path,
        )
        assert ended.code == 0, ended.err
    assert set(server.models) == {"asks", *TREES}
    assert (invoke("verify", tmp_path / "r").code, invoke("rebuild", tmp_path / "r").code) == (0, 0)
