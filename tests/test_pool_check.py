"""A pool as it is found from a machine with nothing but a few servers."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct import gpus, pool_check, pools
from selfinstruct.config import Settings
from selfinstruct.engine import interpreter
from selfinstruct.errors import ConfigProblem
from selfinstruct.fitting import STATES, Verdict
from selfinstruct.gpus import Memory
from selfinstruct.models import weights
from selfinstruct.money import parse_price
from selfinstruct.pool_check import Report, Usage
from tests.models.loopback import Loopback, Reply, problem

USAGE = Usage(100, 300, 400)
KEY = "sk-secret-0123456789"
LISTED = orjson.dumps({"data": [{"id": "a"}, {"id": "b-instruct"}]})


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, no vLLM, no key, an empty cache."""
    monkeypatch.setattr(gpus, "listed", list)
    monkeypatch.setattr(gpus, "memory", lambda: Memory(16 * 10**9, 16 * 10**9))
    monkeypatch.setattr(interpreter, "find", lambda given: None)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    for name in ("OPENAI_API_KEY", "DEEPSEEK_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Loopback]:
    """Lists two models."""
    with Loopback(lambda path, body, n: (200, {}, LISTED)) as running:
        yield running


def written(folder: Path, *models: dict[str, Any]) -> str:
    """A pool file of the user's."""
    path = folder / "mine.toml"
    tables = [
        "[[model]]\n" + "".join(f"{key} = {orjson.dumps(model[key]).decode()}\n" for key in model) for model in models
    ]
    path.write_text("\n".join(tables))
    return str(path)


def found(source: str, **settings: Any) -> dict[str, Verdict]:
    """The verdicts by name."""
    report = pool_check.examine(source, Settings(**settings), USAGE)
    return {verdict.name: verdict for verdict in report.verdicts}


def found_of(folder: Path, url: str, **more: Any) -> Verdict:
    """The verdict on the one model of a server."""
    return found(written(folder, {"name": "a", "base_url": url, **more}))["a"]


# --- what is asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ultrafeedback-17", "modern-17"])
def test_without_key_gpu_and_vllm_every_shipped_model_has_its_line(name: str) -> None:
    """And nobody is asked: a test may not."""
    verdicts = found(name)
    assert len(verdicts) == 17
    assert {verdict.state for verdict in verdicts.values()} <= {"no vLLM", "retired"}
    assert {verdict.state for verdict in verdicts.values()} <= set(STATES)


def test_a_choice_of_a_pool_is_all_that_is_looked_at() -> None:
    """As --pool takes it."""
    assert list(found("ultrafeedback-17:starchat,gpt-4")) == ["starchat", "gpt-4"]
    with pytest.raises(ConfigProblem, match="no pool 'ultrafeedback'"):
        found("ultrafeedback")


def test_a_retired_model_says_why_and_what_stands_nearest(tmp_path: Path) -> None:
    """The last clause is what to do."""
    source = written(
        tmp_path, {"name": "a", "retired": "gone; since long; nearest is b"}, {"name": "b", "retired": "x"}
    )
    verdicts = found(source)
    assert verdicts["a"] == Verdict("a", "retired", "gone; since long", "nearest is b")
    assert verdicts["b"] == Verdict("b", "retired", "x")


def test_a_server_that_lists_the_model_is_reachable(tmp_path: Path, server: Loopback) -> None:
    """Asked at ``/models``, with the key of its own variable, and no other."""
    verdict = found_of(tmp_path, f"{server.url}/v1", price="in=1,out=2")
    assert (verdict.state, verdict.billed) == ("reachable", True)
    assert verdict.why.endswith(" ms and lists it; $1.00 in, $2.00 out per million tokens")
    assert [(received.path, "Authorization" in received.headers) for received in server.received] == [
        ("/v1/models", False)
    ]


def test_models_of_one_server_are_asked_for_once(tmp_path: Path, server: Loopback) -> None:
    """A name that is not listed is told with those that look alike."""
    url = f"{server.url}/v1"
    verdicts = found(written(tmp_path, {"name": "a", "base_url": url}, {"name": "b", "base_url": url}))
    assert [verdict.state for verdict in verdicts.values()] == ["reachable", "not listed"]
    assert verdicts["b"].why == f"no b at {url}; it lists a, b-instruct"
    assert verdicts["b"].fix == "the name it has there (model = …) in its entry"
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("reply", "state", "why"),
    [
        ((401, {}, problem("no such key")), "no key", "no such key"),
        ((404, {}, b"not found"), "reachable", "answers, and lists no models; price unknown"),
        ((200, {}, b"<html>"), "reachable", "answers, and lists no models; price unknown"),
        ((503, {}, problem("overloaded")), "reachable", "answers, and lists no models; price unknown"),
        ((500, {}, problem("broken")), "no answer", "broken"),
        ((200, {}, b'{"data": []}'), "not listed", "it lists nothing"),
        (None, "no answer", "no answer"),
    ],
)
def test_what_a_server_answers_decides(tmp_path: Path, reply: Reply | None, state: str, why: str) -> None:
    """As for `doctor`: many servers list more or less than they have."""
    with Loopback(lambda path, body, n: reply) as server:
        verdict = found_of(tmp_path, server.url)
    assert verdict.state == state
    assert why in verdict.why


def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    """A port that is closed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert found_of(tmp_path, f"http://127.0.0.1:{free.getsockname()[1]}").state == "no answer"


def test_all_servers_have_one_deadline(tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are silent do not keep the others' answers."""
    monkeypatch.setattr(pool_check, "DEADLINE", 0.5)

    async def silent(path: str, body: Any, number: int) -> Reply | None:
        await asyncio.sleep(60)
        return None

    with Loopback(silent) as other:
        urls = {"a": server.url, "b": other.url, "c": f"{other.url}/v2"}
        verdicts = found(written(tmp_path, *({"name": name, "base_url": url} for name, url in urls.items())))
    assert [verdict.state for verdict in verdicts.values()] == ["reachable", "no answer", "no answer"]
    assert verdicts["c"].why == "no answer within 0.5 s"


def test_of_several_addresses_one_is_enough(tmp_path: Path, server: Loopback) -> None:
    """And it is said how many answer."""
    gone = "http://127.0.0.1:9/v1"
    verdict = found_of(tmp_path, gone, replicas=[f"{server.url}/v1", gone.replace("9/", "10/")])
    assert verdict.state == "reachable"
    assert verdict.why.startswith("1 of 3 addresses: answers in ")
    assert found_of(tmp_path, gone, replicas=[gone.replace("9/", "10/")]).state == "no answer"


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "variable"),
    [
        ({"endpoint": "deepseek", "model": "deepseek-flash"}, "DEEPSEEK_API_KEY"),
        ({"endpoint": "openai", "model": "gpt-4.1"}, "OPENAI_API_KEY"),
        ({"base_url": "https://api.openai.com/v1"}, "OPENAI_API_KEY"),
        ({"base_url": "http://127.0.0.1:9/v1", "key_variable": "MY_KEY"}, "MY_KEY"),
    ],
)
def test_without_its_key_a_server_is_not_asked(tmp_path: Path, more: dict[str, Any], variable: str) -> None:
    """The variable to set is named."""
    verdict = found(written(tmp_path, {"name": "a", **more}))["a"]
    assert (verdict.state, verdict.fix) == ("no key", f"export {variable}=…")
    assert verdict.why.startswith(f"{variable} is not set; ")


def test_a_key_is_sent_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the server repeats it; OpenAI's goes to nobody else."""
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "-openai")
    with Loopback(lambda path, body, n: (401, {}, problem(f"bad key {KEY}"))) as server:
        verdict = found_of(tmp_path, server.url, key_variable="MY_KEY")
        found_of(tmp_path, server.url)
    assert [received.headers.get("Authorization") for received in server.received] == [f"Bearer {KEY}", None]
    assert (verdict.state, verdict.fix) == ("no key", "another MY_KEY")
    assert KEY not in repr(verdict)


# --- entries that are wrong, and the embedded runtime ---------------------------------------------------------------


def test_one_wrong_entry_does_not_hide_the_others(tmp_path: Path, server: Loopback) -> None:
    """A preset, a template, an option, an address that a run would stop at."""
    source = written(
        tmp_path,
        {"name": "a", "base_url": server.url},
        {"name": "preset", "endpoint": "deepsek"},
        {"name": "template", "hub": "x/Y", "template": "none.jinja"},
        {"name": "option", "hub": "x/Y", "engine": {}},
        {"name": "plain", "base_url": "http://models.invalid/v1", "key_variable": "MY_KEY"},
    )
    path = Path(source)
    path.write_text(path.read_text().replace("engine = {}", "engine = { trust_remote_code = true }"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_KEY", KEY)
        verdicts = found(source)
    assert {name: verdict.state for name, verdict in verdicts.items()} == {
        "a": "reachable",
        **dict.fromkeys(["preset", "template", "option", "plain"], "mistaken"),
    }
    assert "did you mean 'deepseek'?" in verdicts["preset"].why
    assert "no chat template" in verdicts["template"].why
    assert "trust_remote_code" in verdicts["option"].why
    assert "unencrypted" in verdicts["plain"].why


def test_the_embedded_model_is_loadable_where_its_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And free."""
    source = written(tmp_path, {"name": "a", "api": "local", "model": "smollm2-135m-instruct"})
    gguf = tmp_path / "a.gguf"
    gguf.write_bytes(b"GGUF")
    monkeypatch.setattr(weights, "find", lambda: None)
    assert found(source)["a"].state == "incomplete"
    monkeypatch.setattr(weights, "find", lambda: gguf)
    verdict = found(source)["a"]
    assert (verdict.state, verdict.billed) == ("loadable", False)


def test_a_model_the_embedded_runtime_does_not_know_is_a_mistake(tmp_path: Path) -> None:
    """Nothing that is installed or fetched would help."""
    verdict = found(written(tmp_path, {"name": "a", "api": "local", "model": "gpt-4.1"}))["a"]
    assert (verdict.state, verdict.fix, verdict.billed) == ("mistaken", "mend its entry in the pool", False)
    assert "--api local has no model 'gpt-4.1'" in verdict.why


# --- the report -----------------------------------------------------------------------------------------------------


def report(*verdicts: Verdict, base: str = "ultrafeedback-17", answers: int = 100) -> Report:
    """Of verdicts that are made up."""
    real = pool_check.examine("ultrafeedback-17:gpt-4", Settings(), USAGE)
    return Report(real.pool, base, real.names, real.here, verdicts, USAGE._replace(answers=answers))


def test_answers_are_spread_evenly_and_cost_what_they_cost() -> None:
    """By hand: 34 · (300 · 1 + 400 · 2) and 33 · (300 · 3 + 400 · 4) micro-units; the rest is unknown."""
    usd, cny = (parse_price(text) for text in ("in=1,out=2", "in=3,out=4,currency=cny"))
    of = report(
        Verdict("a", "reachable", "", billed=True, price=usd),
        Verdict("b", "no key", "", billed=True, price=usd),
        Verdict("c", "reachable", "", billed=True, price=cny),
        Verdict("d", "reachable", "", billed=True),
    )
    assert of.answers == {"a": 34, "c": 33, "d": 33}
    assert of.costs == {"usd": 34 * 1100 * 10**6, "cny": 33 * 2500 * 10**6}


def test_prices_in_two_currencies_clash() -> None:
    """Of those that can be asked; a price that is not known does not."""
    usd, cny = (parse_price(text) for text in ("in=1,out=2", "in=3,out=4,currency=cny"))
    a, b = (Verdict(name, "reachable", "", billed=True, price=price) for name, price in (("a", usd), ("b", cny)))
    unknown = Verdict("c", "reachable", "", billed=True)
    assert report(a, b, unknown).clashes == ["prices in cny and usd do not add up"]
    assert report(a, Verdict("b", "no key", "", billed=True, price=cny), unknown).clashes == []


def test_models_that_are_asked_in_two_ways_clash(tmp_path: Path, server: Loopback) -> None:
    """As the run would find; the fewer are named, and those that cannot be asked do not count."""
    at = {"base_url": server.url, "model": "a"}
    odd = {"name": "odd", "api": "completion", **at}
    source = written(tmp_path, odd, {"name": "x", **at}, {"name": "y", **at}, {**odd, "name": "z", "model": "lost"})
    told = "they are not all asked in one way: completion is for odd, chat for the others"
    assert pool_check.examine(source, Settings(), USAGE).clashes == [told]
    assert pool_check.examine(f"{source}:x,y,z", Settings(), USAGE).clashes == []


def test_a_price_of_the_pool_is_said_to_be_the_pools(tmp_path: Path, server: Loopback) -> None:
    """No option was given."""
    price = found_of(tmp_path, server.url, price="in=1,out=2").price
    assert price is not None
    assert (price.input, price.source) == (10**6, "the pool")


def test_nothing_costs_nothing() -> None:
    """Where none can be asked."""
    of = report(Verdict("a", "no key", ""))
    assert (of.usable, of.answers, of.costs) == ([], {}, {})


def test_the_option_is_the_shorter_of_both_ways() -> None:
    """All is the pool itself, whatever was chosen of it before."""
    names = [model.name for model in pools.load("ultrafeedback-17").models]
    every = [Verdict(name, "loadable", "") for name in names]
    of = report(*every)
    assert of.option(every) == "ultrafeedback-17"
    assert of.option(every[:2]) == "ultrafeedback-17:gpt-4,gpt-3.5-turbo"
    assert of.option(every[2:]) == "ultrafeedback-17:-gpt-4,-gpt-3.5-turbo"


@pytest.mark.parametrize(
    ("source", "base"),
    [
        ("modern-17", "modern-17"),
        ("modern-17:a,b", "modern-17"),
        ("/a/b:c/d.toml", "/a/b:c/d.toml"),
        ("/a/b:c/d.toml:-x", "/a/b:c/d.toml"),
    ],
)
def test_a_choice_is_told_from_a_path(source: str, base: str) -> None:
    """A colon may stand in a folder's name."""
    assert pools.split(source)[0] == base


def test_remedies_name_all_whom_they_help_the_small_ones_first() -> None:
    """Retired models have none, usable ones need none."""
    of = report(
        Verdict("a", "too large", "", "a GPU", weights=9),
        Verdict("b", "no key", "", "export K=…"),
        Verdict("c", "too large", "", "a GPU", weights=5),
        Verdict("d", "retired", "", "nearest is e"),
        Verdict("e", "reachable", "", "-"),
    )
    assert list(of.remedies.items()) == [("export K=…", ["b"]), ("a GPU", ["a", "c"])]


def test_downloads_that_the_disk_has_no_room_for_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the cache, which need not be there yet."""
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert report(Verdict("a", "servable", "", download=25), Verdict("b", "gated", "", download=9)).room_missing == 15
    assert report(Verdict("a", "servable", "", download=10)).room_missing == 0
