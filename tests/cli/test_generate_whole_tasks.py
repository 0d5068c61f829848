"""`selfinstruct generate` by the other methods, and in Chinese: what is kept was said, and every promise holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct import endpoints
from tests.command import Ended, data_files, invoke
from tests.models.loopback import Loopback, chat

ANSWERS = Path(__file__).parents[1] / "answers"
METHODS = [("alpaca", "en"), ("alpaca", "zh"), ("belle", "zh"), ("self-instruct", "zh")]


def cases(lang: str) -> list[dict[str, Any]]:
    """Chat answers as models give them, each with the tasks a reader finds in it."""
    lines = (ANSWERS / f"whole_tasks_{lang}.jsonl").read_bytes().splitlines()
    return [case for case in map(orjson.loads, lines) if case["rendering"] == "chat" and case["tasks"]]


def fake(output: Path, method: str, lang: str, *words: object, count: int = 40) -> Ended:
    """A run by the script."""
    named = ("--method", method, "--lang", lang, "--run", "r", "--output-dir", output)
    return invoke("generate", "--api", "fake", "-n", count, *named, *words, "-q")


def records(output: Path, stage: str) -> list[dict[str, Any]]:
    """The records of a stage of run ``r``."""
    shards = sorted((output / "r" / stage).glob("shard-*.jsonl"))
    return [json.loads(line) for shard in shards for line in shard.read_text("utf-8").splitlines()]


def last_stage(method: str) -> str:
    """Where a method's final records are."""
    return "instances" if method == "self-instruct" else method


# --- what real-shaped answers become --------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "lang"), [("alpaca", "en"), ("alpaca", "zh"), ("belle", "zh")])
def test_no_record_is_anything_but_a_task_that_was_written(method: str, lang: str, tmp_path: Path) -> None:
    """Over HTTP, a different answer a call: every record equals a task a reader finds, all three fields; no glue."""
    answers = cases(lang)
    asked: list[Any] = []

    def reply(path: str, body: Any, number: int) -> tuple[int, dict[str, str], bytes]:
        asked.append(body)
        case = answers[number % len(answers)]
        whole = orjson.loads(chat(case["text"]))
        whole["choices"][0]["finish_reason"] = case["finish_reason"]
        return 200, {}, orjson.dumps(whole)

    with Loopback(reply) as server:
        ended = invoke(
            *("generate", "--method", method, "--lang", lang, "--api", "chat", "--model", "gpt-3.5-turbo"),
            *("--base-url", f"{server.url}/v1", "-n", 10_000, "--max-calls", len(answers), "--max-unusable", 1),
            *("--concurrency", 1, "--run", "r", "--output-dir", tmp_path, "--set", "rounds_per_shard=1", "-q"),
        )
    assert ended.code in (3, 4), ended.err
    written = {(task["instruction"], task["input"], task["output"]) for case in answers for task in case["tasks"]}
    found = {(record["instruction"], record["input"], record["output"]) for record in records(tmp_path, method)}
    assert found - written == set()
    assert len(found) >= 40  # the corpus dresses some fifty tasks of a language in many ways, and a task is kept once
    shown = asked[0]["messages"][0]["content"]
    assert ("### " in shown or "###\n" in shown) and ("指令：" in shown) == (lang == "zh")
    assert (asked[0]["model"], asked[0]["temperature"], asked[0]["max_tokens"]) == ("gpt-3.5-turbo", 1.0, 3072)


# --- the promises hold for every method -----------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "lang"), METHODS)
def test_concurrency_and_extension_do_not_reach_the_data(method: str, lang: str, tmp_path: Path) -> None:
    """40 extended to 90, many in flight, are the bytes of 90 one after the other, accepted tasks among the demos."""
    one, many = tmp_path / "one", tmp_path / "many"
    words = ("--bootstrap", "--set", "round_size=2", "--set", "lag=2", "--concurrency")
    assert fake(one, method, lang, *words, 1, count=90).code == 0
    assert fake(many, method, lang, *words, 3).code == 0
    assert fake(many, method, lang, *words, 64, count=90).code == 0
    a, b = data_files(one / "r"), data_files(many / "r")
    assert {name: a[name] for name in a if "shard" in name} == {name: b[name] for name in b if "shard" in name}
    assert len(records(one, last_stage(method))) >= 80
    parents = [record["provenance"]["parents"] for record in records(one, last_stage(method))]
    assert any(parents) and not parents[0]


@pytest.mark.parametrize(("method", "lang"), METHODS)
def test_seeds_only_shows_no_accepted_task(method: str, lang: str, tmp_path: Path) -> None:
    """The default of alpaca and belle."""
    assert fake(tmp_path, method, lang, "--seeds-only").code == 0
    assert not any(record["provenance"]["parents"] for record in records(tmp_path, last_stage(method)))


@pytest.mark.parametrize("method", ["alpaca", "belle"])
def test_json_brings_what_text_brings(method: str, tmp_path: Path) -> None:
    """The script says the same tasks in both forms."""
    assert fake(tmp_path / "text", method, "zh").code == 0
    assert fake(tmp_path / "json", method, "zh", "--format", "json").code == 0
    texts = [
        [(record["instruction"], record["input"], record["output"]) for record in records(tmp_path / form, method)]
        for form in ("text", "json")
    ]
    assert texts[0] == texts[1] != []


@pytest.mark.parametrize(("method", "lang"), METHODS)
def test_a_record_has_every_key_in_the_documented_order(method: str, lang: str, tmp_path: Path) -> None:
    """The same record whoever made it; nobody asked whether an Alpaca task is classification."""
    assert fake(tmp_path, method, lang).code == 0
    first = records(tmp_path, last_stage(method))[0]
    keys = "id instruction input output lang is_classification novelty provenance".split()
    assert (list(first), first["lang"]) == (keys, lang)
    assert first["is_classification"] in ((True, False) if method == "self-instruct" else (None,))
    (seed, *_) = first["provenance"]["seeds"]
    assert seed.startswith(f"{lang}_seed_task_")


@pytest.mark.parametrize(("method", "lang"), METHODS)
def test_a_run_can_be_planned_verified_rebuilt_shown_and_exported(method: str, lang: str, tmp_path: Path) -> None:
    """Every command that works on a run works on these."""
    dry = invoke("plan", "generate", "--api", "fake", "--method", method, "--lang", lang, "-n", 40, "--json")
    assert dry.code == 0 and all(stage["likely"]["calls"] > 0 for stage in json.loads(dry.out)["stages"].values())
    assert fake(tmp_path, method, lang).code == 0
    stage = last_stage(method)
    before = data_files(tmp_path / "r")
    assert invoke("verify", "r", "--output-dir", tmp_path).code == 0
    (tmp_path / "r" / stage / "shard-0.jsonl").unlink()
    assert invoke("verify", "r", "--output-dir", tmp_path).code == 5
    assert invoke("rebuild", "r", "--output-dir", tmp_path).code == 0
    assert data_files(tmp_path / "r") == before
    id = records(tmp_path, stage)[0]["id"]
    assert id in invoke("show", id, "--run", "r", "--output-dir", tmp_path).out
    out = tmp_path / "Belle.train.json"
    assert invoke("export", "r", "--format", "belle", "--out", out, "--output-dir", tmp_path).code == 0
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len(rows) == len(records(tmp_path, stage)) and {tuple(row) for row in rows} == {("input", "target")}


# --- mistakes -------------------------------------------------------------------------------------------------------


def test_chinese_seeds_in_an_english_run_are_refused(tmp_path: Path) -> None:
    """65 before anything is made, and the other way round; the file, how many, and what to add."""
    shipped = Path(__file__).parents[2] / "seeds"
    for lang, other in (("en", "zh"), ("zh", "en")):
        seeds = shipped / f"{other}_seed_tasks.jsonl"
        ended = fake(tmp_path, "alpaca", lang, "--seed-tasks", seeds)
        assert ended.code == 65
        assert ended.err.startswith(f"selfinstruct: {seeds}: 175 of 175 seed tasks are not in the language of the run")
        assert f"add --lang {other}" in ended.err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--method", "belle", "--lang", "en"), 2, "--lang: the method belle is Chinese: leave --lang out"),
        (("--recipe", "belle", "--method", "alpaca"), 78, "belle is a recipe of --method belle: leave --method out"),
        (("--recipe", "demo", "--method", "belle"), 78, "demo: [bootstrap] is a table of --method self-instruct"),
        (("--set", "alpaca.tasks=5"), 78, "--set: [alpaca] is a table of --method alpaca, and this run"),
        (("--format", "json"), 2, "--format json is for --method alpaca and belle"),
        (("--api", "fake", "--endpoint", "deepseek"), 78, "the endpoint 'deepseek' is an API's: add --api chat"),
        (("--endpoint", "deepsek"), 78, "no endpoint preset 'deepsek'; did you mean 'deepseek'?"),
    ],
)
def test_a_mistake_is_one_line_with_what_to_do(words: tuple[str, ...], code: int, said: str, tmp_path: Path) -> None:
    """And nothing is made."""
    ended = invoke("generate", *words, "--output-dir", tmp_path)
    assert ended.code == code
    assert ended.err.startswith(f"selfinstruct: {said}") and ended.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(set(endpoints.names()) - {"openai"}))
def test_an_endpoint_without_its_key_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """77 with the variable, whatever other key is there."""
    preset = endpoints.load(name)
    for variable in (preset.key_variable, *preset.other_key_variables):
        monkeypatch.delenv(variable, raising=False)
    ended = invoke("generate", "--endpoint", name, "--output-dir", tmp_path, OPENAI_API_KEY="sk-x")
    assert ended.code == 77
    assert f"set {preset.key_variable}" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_shows_the_fields_that_would_be_sent(tmp_path: Path) -> None:
    """As the endpoint's model wants them, not as the recipe has them."""
    words = ("plan", "generate", "--method", "alpaca", "--endpoint", "moonshot", "--output-dir", tmp_path)
    sent = json.loads(invoke(*words, "--json").out)["request"]
    assert sent.keys() == {"model", "messages", "max_completion_tokens", "stop", "reasoning_effort"}
    assert (sent["model"], sent["max_completion_tokens"]) == ("kimi-k3", 16384)
    line = next(line for line in invoke(*words).out.splitlines() if line.startswith("--- sent with: "))
    assert "max_completion_tokens 16384" in line and "temperature" not in line


def test_the_endpoints_are_listed() -> None:
    """With what a user needs to know before the first call."""
    rows = json.loads(invoke("models", "endpoints", "--json").out)
    assert [row["name"] for row in rows] == endpoints.names()
    table = invoke("models", "endpoints").out
    assert "https://api.deepseek.com/v1" in table and "DEEPSEEK_API_KEY" in table


def test_a_key_of_a_preset_is_sent_there_and_named_when_it_is_wrong(tmp_path: Path) -> None:
    """As a bearer token; a 401 says which variable to look at."""
    answer = orjson.dumps({"error": {"message": "Authentication Fails", "type": "authentication_error"}})
    with Loopback(lambda path, body, number: (401, {}, answer)) as server:
        ended = invoke(
            *("generate", "--method", "belle", "--api", "chat", "--endpoint", "deepseek", "-n", 5, "-q"),
            *("--base-url", f"{server.url}/v1", "--concurrency", 1, "--output-dir", tmp_path),
            DEEPSEEK_API_KEY="sk-deep",
        )
    assert ended.code == 77
    assert "DEEPSEEK_API_KEY" in ended.err and "OPENAI_API_KEY" not in ended.err
    assert {received.headers["Authorization"] for received in server.received} == {"Bearer sk-deep"}
