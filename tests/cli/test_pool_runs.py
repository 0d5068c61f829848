"""`--pool`: several models at work in one run, local ones in turn, each asked for what is its own and no more."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.models import retrying
from tests.command import CANARY, Ended, invoke
from tests.pools_at_work import Voices, at_home, attempts, hurry, local, pool_file, remote
from tests.request_files import answers, request, write
from tests.stub_engine import starts

TREES = ("ash", "birch", "cedar")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two attempts, two looks at a server that starts, and before an idle model goes; all else stays."""
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)
    hurry(monkeypatch)


@pytest.fixture
def server() -> Iterator[Voices]:
    """Any model of an API; what it says begins with its name."""
    with Voices() as started:
        yield started


@pytest.fixture
def trees(server: Voices, tmp_path: Path) -> Path:
    """A pool of two models of our own vLLM and one of an API, which is called otherwise there."""
    cedar = remote(server, "cedar", model="cedar-large", price="in=1,out=2")
    return pool_file(tmp_path / "trees.toml", local(tmp_path / "ash"), cedar, local(tmp_path / "birch"))


def mixed(count: int) -> list[dict[str, Any]]:
    """Requests that name the three models in turn."""
    return [request(f"r-{n}", f"Question {n}?", model=TREES[n % 3]) for n in range(count)]


def complete(place: Path, pool: Path, *args: object, file: str = "requests.jsonl", **variables: str) -> Ended:
    """``complete`` over a pool, in ``place``."""
    return invoke("complete", place / file, "--pool", pool, *args, **{**at_home(place), **variables})


def started(place: Path) -> list[str]:
    """The names of the models that vLLM was started with, in order."""
    return [Path(start.arguments[1]).name for start in starts(place / "starts")]


def first_words(out: Path) -> list[str]:
    """With which name each answer begins, in the results' order."""
    return [text.split()[0] for text in answers(out).values()]


# --- complete -------------------------------------------------------------------------------------------------------


def test_each_line_is_answered_by_the_model_it_names(trees: Path, server: Voices, tmp_path: Path) -> None:
    """In the file's order. Each local model is started once, one after the other; the API's is asked beside them."""
    write(tmp_path / "requests.jsonl", mixed(30))
    ended = complete(tmp_path, trees, "--out", tmp_path / "out")
    assert (ended.code, ended.out.splitlines()[0]) == (0, "30 of 30 requests answered, 0 failed, 0 waiting"), ended.err
    assert list(answers(tmp_path / "out")) == [f"r-{n}" for n in range(30)]
    assert first_words(tmp_path / "out") == ["ash", "birch", "cedar-large"] * 10
    assert sorted(started(tmp_path)) == ["ash", "birch"]
    assert server.posts == {"cedar-large": 10}
    assert attempts(tmp_path / "out") == {(name, "settled"): 10 for name in ("ash", "birch", "cedar-large")}


def test_each_set_of_gpus_has_a_model_of_its_own_as_long_as_there_are_enough(tmp_path: Path) -> None:
    """Two sets for two models: one on each; for three models the third takes the place of who is through."""
    models = [local(tmp_path / name) for name in TREES]
    write(tmp_path / "requests.jsonl", mixed(12))
    write(tmp_path / "two.jsonl", [one for one in mixed(12) if one["body"]["model"] != "cedar"])
    gpus = ("--gpus", "0", "--gpus", "1,2")
    pool = pool_file(tmp_path / "two.toml", *models[:2])
    assert complete(tmp_path, pool, "--out", tmp_path / "two", *gpus, file="two.jsonl").code == 0
    at = [(Path(start.arguments[1]).name, start.gpus) for start in starts(tmp_path / "starts")]
    assert sorted(at) == [("ash", "0"), ("birch", "1,2")]
    pool = pool_file(tmp_path / "three.toml", *models)
    assert complete(tmp_path, pool, "--out", tmp_path / "three", *gpus).code == 0
    at = [(Path(start.arguments[1]).name, start.gpus) for start in starts(tmp_path / "starts")][2:]
    assert sorted(name for name, _ in at) == list(TREES)
    assert {gpus for _, gpus in at} == {"0", "1,2"}
    assert first_words(tmp_path / "three") == list(TREES) * 4


def test_neither_concurrency_nor_the_order_of_lines_changes_an_answer(tmp_path: Path) -> None:
    """One at a time, 7, 64, and the lines shuffled: by their ids, all texts are the same."""
    requests = mixed(45)
    with Voices(latency=lambda rng: rng.uniform(0, 0.01)) as server:
        birch, ash = local(tmp_path / "birch"), local(tmp_path / "ash")
        pool = pool_file(tmp_path / "p.toml", birch, remote(server, "cedar"), ash)
        write(tmp_path / "requests.jsonl", requests)
        told = []
        for concurrency in (1, 7, 64):
            out = tmp_path / str(concurrency)
            assert complete(tmp_path, pool, "--out", out, "--concurrency", concurrency).code == 0
            told.append(answers(out))
        random.Random(3).shuffle(requests)
        write(tmp_path / "shuffled.jsonl", requests)
        assert complete(tmp_path, pool, "--out", tmp_path / "s", file="shuffled.jsonl").code == 0
        told.append(answers(tmp_path / "s"))
    assert told[0] == told[1] == told[2] == told[3]
    assert len(set(told[0].values())) == 45
    assert [list(one) for one in told[2:]] == [[f"r-{n}" for n in range(45)], [one["custom_id"] for one in requests]]
    assert Counter(started(tmp_path)) == {"ash": 4, "birch": 4}


def test_running_again_starts_nothing_and_lines_that_are_added_only_whom_they_name(
    trees: Path, server: Voices, tmp_path: Path
) -> None:
    """An answer that is recorded needs no model."""
    out = tmp_path / "out"
    write(tmp_path / "requests.jsonl", mixed(6))
    assert complete(tmp_path, trees, "--out", out).code == 0
    before = (out / "results.jsonl").read_bytes()
    assert complete(tmp_path, trees, "--out", out).code == 0
    assert ((out / "results.jsonl").read_bytes(), Counter(started(tmp_path))) == (before, {"ash": 1, "birch": 1})
    write(tmp_path / "requests.jsonl", [*mixed(6), request("late", "One more?", model="birch")])
    assert complete(tmp_path, trees, "--out", out).code == 0
    assert (out / "results.jsonl").read_bytes().startswith(before)
    assert Counter(started(tmp_path)) == {"ash": 1, "birch": 2}
    assert server.posts == {"cedar-large": 2}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("burch", "the pool has no model 'burch' (ash, birch, cedar); did you mean 'birch'?"),
        ("cedar-large", "the pool has no model 'cedar-large' (ash, birch, cedar); did you mean 'cedar'?"),
        ("oak", "the pool has no model 'oak' (ash, birch, cedar)"),
        (..., "'body.model' is missing; name one of the pool there (ash, birch, cedar)"),
        ("", "'body.model' is ''; name one of the pool there (ash, birch, cedar)"),
        (4, "'body.model' is 4; name one of the pool there (ash, birch, cedar)"),
    ],
)
def test_a_line_that_names_nobody_of_the_pool_stops_before_anything_is_sent(
    trees: Path, server: Voices, tmp_path: Path, name: Any, told: str
) -> None:
    """With the file, the line and who there is; also of a dry run."""
    write(tmp_path / "requests.jsonl", [*mixed(4), request("odd", model=name)])
    for where in (("--out", tmp_path / "out"), ("--dry-run",)):
        ended = complete(tmp_path, trees, *where)
        assert ended.code == 65
        assert f"{tmp_path}/requests.jsonl:5: {told}\n" in ended.err
    assert (started(tmp_path), server.posts) == ([], {})


def test_what_a_pool_would_cost_is_told_model_by_model(trees: Path, server: Voices, tmp_path: Path) -> None:
    """What runs here costs nothing; what is recorded is not counted again; and nobody is started for it."""
    write(tmp_path / "requests.jsonl", mixed(9))
    plan = json.loads(complete(tmp_path, trees, "--dry-run", "--json").out)
    prices = {name: (price["in"], price["out"]) for name, price in plan["prices"].items()}
    assert prices == {"ash": ("0", "0"), "birch": ("0", "0"), "cedar": ("1", "2")}
    assert (plan["wanted"], plan["unpriced_calls"], started(tmp_path)) == (9, 0, [])
    write(tmp_path / "cedar.jsonl", [one for one in mixed(9) if one["body"]["model"] == "cedar"])
    alone = json.loads(complete(tmp_path, trees, "--dry-run", "--json", file="cedar.jsonl").out)
    costs = [[total["total"][way]["cost"] for way in ("low", "likely", "high")] for total in (plan, alone)]
    assert costs[0] == costs[1] != ["0", "0", "0"]
    assert complete(tmp_path, trees, "--out", tmp_path / "out").code == 0
    done = json.loads(complete(tmp_path, trees, "--out", tmp_path / "out", "--dry-run", "--json").out)
    assert (done["wanted"], done["total"]["high"]["calls"], done["recorded_calls"]) == (0, 0, {"complete": 9})
    assert server.posts == {"cedar-large": 3}


def test_a_finished_folder_is_sound_and_can_be_rebuilt(trees: Path, tmp_path: Path) -> None:
    """From its ledger, without a model, and without the pool's file."""
    write(tmp_path / "requests.jsonl", mixed(12))
    out = tmp_path / "out"
    assert complete(tmp_path, trees, "--out", out).code == 0
    trees.unlink()
    whole = (out / "results.jsonl").read_bytes()
    (out / "results.jsonl").write_bytes(whole[:-9])
    assert invoke("verify", out).code == 5
    assert invoke("rebuild", out).code == 0
    assert ((out / "results.jsonl").read_bytes(), invoke("verify", out).code) == (whole, 0)
    assert len(started(tmp_path)) == 2


def test_a_pool_that_lost_a_model_a_line_names_stops_before_anything_is_started(tmp_path: Path) -> None:
    """Also where the file is the one that was checked, and no answer of it is recorded yet."""
    with Voices() as server:
        pool = pool_file(tmp_path / "p.toml", local(tmp_path / "ash"), remote(server, "birch"), remote(server, "cedar"))
        write(tmp_path / "requests.jsonl", mixed(6))
        out, hasty = tmp_path / "out", {"SELFINSTRUCT_VLLM_START_TIMEOUT": "0.001"}
        server.fault = lambda model, number: 401
        assert complete(tmp_path, pool, "--out", out, **hasty).code in (75, 77)
        before, posts = len(started(tmp_path)), server.posts
        for again in range(2):
            ended = complete(tmp_path, Path(f"{pool}:ash"), "--out", out)
            assert (again, ended.code) == (again, 65), ended.err
            assert ended.err.endswith(f"{tmp_path}/requests.jsonl:2: the pool has no model 'birch' (ash)\n")
            assert "starting vLLM" not in ended.err
        assert (len(started(tmp_path)), server.posts) == (before, posts)
        server.fault = lambda model, number: None
        assert complete(tmp_path, pool, "--out", out).code == 0


def test_another_pool_of_the_same_folder_is_told_as_a_difference(trees: Path, tmp_path: Path) -> None:
    """In a line for each model that is gone or new."""
    write(tmp_path / "requests.jsonl", mixed(6))
    assert complete(tmp_path, trees, "--out", tmp_path / "out").code == 0
    write(tmp_path / "requests.jsonl", [one for one in mixed(6) if one["body"]["model"] != "cedar"])
    ended = complete(tmp_path, Path(f"{trees}:-cedar"), "--out", tmp_path / "out")
    assert ended.code == 78
    told = [line for line in ended.err.splitlines() if line.startswith("  ")]
    assert [line.partition(" (")[0] for line in told] == ["  roles.teacher/cedar: 'cedar-large"]


# --- keys, prices, failures -----------------------------------------------------------------------------------------


def test_a_model_of_a_pool_gets_its_own_key_and_nobody_else_s(tmp_path: Path) -> None:
    """The variable it names; the key of OpenAI goes to no server of the user's."""
    with Voices() as server:
        ash = remote(server, "ash", key_variable="ASH_KEY")
        pool = pool_file(tmp_path / "p.toml", ash, remote(server, "birch"), remote(server, "cedar"))
        write(tmp_path / "requests.jsonl", mixed(6))
        denied = complete(tmp_path, pool, "--out", tmp_path / "out")
        assert (denied.code, "no API key for ash: set ASH_KEY" in denied.err) == (77, True)
        assert complete(tmp_path, pool, "--out", tmp_path / "out", ASH_KEY="of-ash").code == 0
    assert server.keys == {("ash", "of-ash"): 2, ("birch", ""): 2, ("cedar", ""): 2}
    assert not {key for _, key in server.keys} & {CANARY}


def test_a_cap_holds_over_all_models_and_what_runs_here_costs_nothing(tmp_path: Path) -> None:
    """Two priced models and a local one: never more than the cap, and a higher one goes on."""
    with Voices() as server:
        ash, birch = remote(server, "ash", price="in=1000,out=2000"), remote(server, "birch", price="in=500,out=500")
        pool = pool_file(tmp_path / "p.toml", ash, birch, local(tmp_path / "cedar"))
        write(tmp_path / "requests.jsonl", [one | {"body": one["body"] | {"max_tokens": 16}} for one in mixed(60)])
        # An answer has 10 tokens in and 4 out: ash's is 0.018 usd, birch's 0.007; all of them come to 0.5 usd.
        stopped = complete(tmp_path, pool, "--out", tmp_path / "out", "--max-cost", "0.2usd", "--json")
        assert stopped.code == 4
        spent = float(json.loads(stopped.out)["money"]["spent"])
        assert 0.1 < spent <= 0.2
        done = complete(tmp_path, pool, "--out", tmp_path / "out", "--max-cost", "1usd", "--json")
        money = json.loads(done.out)["money"]
    assert (done.code, money["spent"], money["unpriced_calls"]) == (0, "0.5", 0)
    assert server.posts == {"ash": 20, "birch": 20}
    assert started(tmp_path)[-1] == "cedar"


def test_a_cap_needs_the_price_of_every_model(tmp_path: Path) -> None:
    """The one without is named, before anything is sent; so it is in a dry run."""
    with Voices() as server:
        pool = pool_file(tmp_path / "p.toml", remote(server, "ash", price="in=1,out=2"), remote(server, "birch"))
        write(tmp_path / "requests.jsonl", [request("a", model="ash"), request("b", model="birch")])
        for where in (("--out", tmp_path / "out"), ("--dry-run",)):
            ended = complete(tmp_path, pool, *where, "--max-cost", "1usd")
            assert (ended.code, "the price of 'birch' at " in ended.err) == (78, True)
    assert server.posts == {}


def test_prices_that_do_not_add_up_are_no_sum(tmp_path: Path) -> None:
    """A plan tells calls and tokens, and why no cost; the run stops, with the names of the pool's models."""
    with Voices() as server:
        ash, birch = remote(server, "ash", price="in=1,out=2"), remote(server, "birch", price="in=7,out=9,currency=cny")
        pool = pool_file(tmp_path / "p.toml", ash, birch, local(tmp_path / "cedar"))
        write(tmp_path / "requests.jsonl", mixed(6))
        note = "prices in cny and usd do not add up: give all of them in one currency"
        plan = json.loads(complete(tmp_path, pool, "--dry-run", "--json").out)
        assert (plan["notes"], plan["unpriced_calls"], plan["prices"]) == ([note], 6, {})
        assert {plan["total"][way]["cost"] for way in ("low", "likely", "high")} == {None}
        assert plan["total"]["low"]["calls"] == 6
        shown = complete(tmp_path, pool, "--dry-run").out
        assert [line.split()[0] for line in shown.splitlines() if "cost" in line or note in line] == ["note"]
        ended = complete(tmp_path, pool, "--out", tmp_path / "out")
        assert (ended.code, server.posts, started(tmp_path)) == (78, {}, [])
    assert "the prices of ash, birch are in cny and usd, which do not add up" in ended.err
    assert "in one currency (a price in the pool, or --price, " in ended.err


def test_a_model_that_does_not_start_ends_the_run_and_the_next_one_asks_nothing_again(
    trees: Path, server: Voices, tmp_path: Path
) -> None:
    """What the others have answered is kept; given the time, it starts."""
    write(tmp_path / "requests.jsonl", mixed(12))
    hasty = {"SELFINSTRUCT_VLLM_START_TIMEOUT": "0.001"}
    ended = complete(tmp_path, trees, "--out", tmp_path / "out", "--concurrency", 1, **hasty)
    assert (ended.code, ": vLLM did not answer within 0.001 s" in ended.err) == (75, True), ended.err
    assert "birch" not in {model for model, _ in attempts(tmp_path / "out")}
    assert complete(tmp_path, trees, "--out", tmp_path / "out").code == 0
    assert first_words(tmp_path / "out") == ["ash", "birch", "cedar-large"] * 4
    assert attempts(tmp_path / "out") == {(name, "settled"): 4 for name in ("ash", "birch", "cedar-large")}
    assert server.posts == {"cedar-large": 4}


# --- replicas -------------------------------------------------------------------------------------------------------


def test_a_replica_that_goes_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    """Two addresses of one model, of which the first closes: each line is answered once, by either."""
    with Voices(latency=lambda rng: 0.003) as other:
        first = Voices(latency=lambda rng: 0.003)
        with ExitStack() as open_servers:
            open_servers.enter_context(first)
            pool = pool_file(tmp_path / "p.toml", remote(first, "ash", replicas=[other.url]))
            write(tmp_path / "requests.jsonl", [request(f"r-{n}", f"Question {n}?", model="ash") for n in range(300)])

            def close() -> None:
                while first.posts["ash"] < 60:
                    time.sleep(0.001)
                open_servers.close()

            closing = threading.Thread(target=close)
            closing.start()
            ended = complete(tmp_path, pool, "--out", tmp_path / "out", "--concurrency", 8)
            closing.join()
    assert (ended.code, len(answers(tmp_path / "out"))) == (0, 300), ended.err
    found = attempts(tmp_path / "out")
    assert found["ash", "settled"] == 300
    lost = found["ash", "ambiguous"]
    assert lost <= 8
    assert 300 <= first.posts["ash"] + other.posts["ash"] <= 300 + lost  # what is cut on its way may not have arrived
    assert other.posts["ash"] > 60 <= first.posts["ash"] < 300


def test_replicas_share_the_work_and_are_no_part_of_a_run_s_identity(tmp_path: Path) -> None:
    """Both are asked about as much; without one of them, the same folder goes on."""
    with Voices(latency=lambda rng: 0.01) as one, Voices(latency=lambda rng: 0.01) as two:
        pool = pool_file(tmp_path / "p.toml", remote(one, "ash", replicas=[two.url]))
        write(tmp_path / "requests.jsonl", [request(f"r-{n}", f"Question {n}?", model="ash") for n in range(160)])
        assert complete(tmp_path, pool, "--out", tmp_path / "out", "--concurrency", 10).code == 0
        posts = one.posts["ash"], two.posts["ash"]
        assert sum(posts) == 160
        assert min(posts) > 40
        pool_file(tmp_path / "p.toml", remote(one, "ash"))
        write(tmp_path / "requests.jsonl", [request(f"r-{n}", f"Question {n}?", model="ash") for n in range(161)])
        assert complete(tmp_path, pool, "--out", tmp_path / "out").code == 0
    assert (one.posts["ash"] - posts[0], len(answers(tmp_path / "out"))) == (1, 161)
