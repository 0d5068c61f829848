"""`selfinstruct status` and `show`: what a run has, and where one record came from."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.cli import inspect
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.yields import Span
from tests.command import Ended, data_files, invoke
from tests.faults.answer_server import AnswerServer
from tests.models.loopback import chat

MILLI = 10**9  # pico-units
STAGES = ["bootstrap", "classify", "instances"]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs: ``served``, with rejects of every kind, and after it ``scripted``."""
    folder = tmp_path_factory.mktemp("output")
    with AnswerServer() as server:
        where = ("--api", "completion", "--base-url", server.url, "--set", "lag=1")  # the second round has parents
        assert invoke("generate", *where, "-n", 80, "--run", "served", "--output-dir", folder, "-q").code == 0
    assert invoke("generate", "--api", "fake", "-n", 10, "--run", "scripted", "--output-dir", folder, "-q").code == 0
    os.utime(folder / "served" / "ledger.sqlite3", (1, 1))  # "scripted" is the latest, whatever the clock's grain
    return folder


@pytest.fixture(autouse=True)
def only_read(output: Path) -> Iterator[None]:
    """Neither command writes."""
    before = data_files(output / "served"), data_files(output / "scripted"), sorted(output.rglob("*"))
    yield
    assert (data_files(output / "served"), data_files(output / "scripted"), sorted(output.rglob("*"))) == before


def rows(output: Path, stage: str, kind: str = "shard") -> list[dict[str, Any]]:
    """The records or rejects of the served run."""
    return [json.loads(line) for line in (output / "served" / stage / f"{kind}-0.jsonl").read_text().splitlines()]


def show(output: Path, id: str, *args: object) -> Ended:
    """``show`` in the served run."""
    return invoke("show", id, "--run", "served", "--output-dir", output, *args)


# --- status ---------------------------------------------------------------------------------------------------------


def test_status_counts_what_is_in_the_shards(output: Path) -> None:
    """Stage by stage, in the order of the chain, with the calls and tokens of the ledger."""
    ended = invoke("status", "served", "--output-dir", output, "--json")
    (run,) = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert (run["run"], run["target"], run["money"]["waste"]) == ("served", 80, {})
    assert [stage["stage"] for stage in run["stages"]] == STAGES
    for stage in run["stages"]:
        rejects = [row["reason"] for row in rows(output, stage["stage"], "rejects")]
        assert stage["state"] == "complete"
        assert stage["accepted"] == len(rows(output, stage["stage"]))
        assert stage["rejects"] == {reason: rejects.count(reason) for reason in sorted(set(rejects))}
        assert stage["tokens"] > 100 * stage["calls"] > 0


def test_status_lists_every_run_the_latest_last(output: Path) -> None:
    """Names, targets, counts and reasons, for people."""
    ended = invoke("status", "--output-dir", output)
    lines = ended.out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["served  (target 80)", "scripted  (target 10)"]
    assert f"{len(rows(output, 'instances'))} in shards" in ended.out
    assert "too_similar " in ended.out
    assert "not finished" not in ended.out


def test_status_keeps_the_order_of_the_chain_after_many_starts(output: Path) -> None:
    """Each start writes the stages' files anew."""
    for _ in range(3):
        assert (
            invoke("generate", "--api", "fake", "-n", 10, "--run", "scripted", "--output-dir", output, "-q").code == 0
        )
        (run,) = json.loads(invoke("status", "scripted", "--output-dir", output, "--json").out)
        assert [stage["stage"] for stage in run["stages"]] == STAGES


def test_status_says_what_to_do_with_an_unfinished_run(tmp_path: Path) -> None:
    """The answers that are in no shard yet are not lost."""
    with AnswerServer() as server:
        server.fault = lambda path, number: (401, b'{"error": {"message": "bad key"}}') if number >= 20 else None
        where = ("--api", "completion", "--base-url", server.url, "--output-dir", tmp_path, "--run", "cut")
        assert invoke("generate", *where, "-q").code == 77
    ended = invoke("status", "--output-dir", tmp_path)
    assert ended.code == 0
    assert "bootstrap   running          0 in shards" in ended.out
    assert "run the same command again to go on" in ended.out


def test_status_of_nothing(tmp_path: Path) -> None:
    """An empty folder, or none at all, is no error; a run that is not there is."""
    for folder in (tmp_path, tmp_path / "none"):
        ended = invoke("status", "--output-dir", folder)
        assert (ended.code, ended.out) == (0, f"no runs in {folder}; 'selfinstruct generate' starts one\n")
        assert invoke("status", "--json", "--output-dir", folder).out == "[]\n"
    ended = invoke("status", "gone", "--output-dir", tmp_path)
    assert (ended.code, ended.out) == (65, "")
    assert ended.err == f"selfinstruct: {tmp_path}/gone: no such run; 'selfinstruct status' lists them\n"


# --- the yield over time --------------------------------------------------------------------------------------------


def status(folder: Path, *args: object) -> Ended:
    """``status`` of the run ``r`` in a folder."""
    return invoke("status", "r", "--output-dir", folder, *args)


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., Path]:
    """A run ``r`` of scripted answers, one round after the other, in a folder of its own."""

    def generated(*args: object) -> Path:
        where = ("--output-dir", tmp_path, "--run", "r", "-q", "--set", "lag=1", "--set", "round_size=1")
        assert invoke("generate", "--api", "fake", *where, *args).code == 0
        return tmp_path

    return generated


def test_the_yield_of_a_named_run_adds_up_to_what_status_says_of_it(fake: Callable[..., Path]) -> None:
    """Whatever the shards: what was accepted, rejected, asked and spent is that of some span, and of one."""
    price = ("--price", "in=0.5,out=1.5,currency=cny")
    folder = fake("-n", 80, "--set", "rounds_per_shard=1", *price)
    (run,) = json.loads(status(folder, "--json").out)
    first, *_, last = run["stages"]
    spans = run["yield"]
    rounds = [round for span in spans for round in range(span["first_round"], span["last_round"] + 1)]
    assert (rounds, len(spans)) == (list(range(len(rounds))), 6)
    assert rounds[-1] > 10
    assert sum(span["accepted"] for span in spans) == first["accepted"]
    assert sum(span["final"] for span in spans) == last["accepted"]
    assert sum(span["calls"] for span in spans) == sum(stage["calls"] for stage in run["stages"])
    assert sum(Decimal(span["spent"]) for span in spans) == Decimal(run["money"]["spent"]) > 0
    for span in spans:
        assert span["accepted_per_100_calls"] == 100 * span["accepted"] / span["calls"]
        assert span["accepted_per_unit"] == pytest.approx(span["accepted"] / float(span["spent"]))
        assert span["unpriced_calls"] == 0


def test_the_yield_is_told_below_what_status_says(fake: Callable[..., Path]) -> None:
    """A line for each span, and one that compares the first with the last; of one named run, not of a list."""
    folder = fake("-n", 20, "--price", "in=0.5,out=1.5,currency=cny")
    listed = invoke("status", "--output-dir", folder).out
    text = status(folder).out
    assert text.startswith(listed)
    (run,) = json.loads(status(folder, "--json").out)
    title, head, *table, told = text.removeprefix(listed).splitlines()
    assert title == "  yield over time (accepted by bootstrap, final by instances, calls of all stages)"
    assert " ".join(head.split()) == "rounds calls accepted final per 100 calls spent per ¥1.00 largest reject"
    assert [[int(n) for n in line.split()[:4]] for line in table] == [
        [span[name] for name in ("first_round", "calls", "accepted", "final")] for span in run["yield"]
    ]
    assert told.startswith("  100 calls brought ")
    assert "; ¥1.00 brought " in told
    assert "yield" not in json.loads(invoke("status", "--output-dir", folder, "--json").out)[0]


def test_a_run_of_one_round_has_no_time_to_speak_of(fake: Callable[..., Path]) -> None:
    """Nothing is added where there is nothing to compare."""
    folder = fake("-n", 2)
    assert json.loads(status(folder, "--json").out)[0]["yield"] == []
    assert status(folder).out == invoke("status", "--output-dir", folder).out


def test_a_damaged_shard_hides_the_yield_and_nothing_else(fake: Callable[..., Path]) -> None:
    """The rest is shown, and why the yield is not."""
    folder = fake("-n", 20)
    shard = folder / "r" / "bootstrap" / "shard-0.jsonl"
    shard.write_bytes(shard.read_bytes()[1:])
    said = f"no yield over time: {shard}: is not as its manifest says; run again to derive it anew\n"
    assert status(folder) == (0, invoke("status", "--output-dir", folder).out, said)
    ended = status(folder, "--json")
    assert (ended.code, ended.err, json.loads(ended.out)[0].get("yield")) == (0, said, None)


def test_answered_requests_have_no_yield(tmp_path: Path) -> None:
    """`complete` accepts and rejects nothing."""
    with AnswerServer() as server:
        server.fault = lambda path, number: (401, b'{"error": {"message": "no"}}')
        ask(server, tmp_path / "c", {"role": "user", "content": "<task 1>"})
    ended = invoke("status", tmp_path / "c", "--json")
    (run,) = json.loads(ended.out)
    assert (ended.code, run["stages"][0]["stage"], "yield" in run) == (0, "complete", False)
    assert "yield" not in invoke("status", tmp_path / "c").out


def account(state: str, *stages: str) -> dict[str, Any]:
    """What status knows of a run's stages."""
    return {"stages": [{"stage": stage, "state": state} for stage in stages]}


def test_the_table_of_a_chain() -> None:
    """Numbers stand below each other; what is unknown is a dash, what is missing is named, and zero is zero."""
    spans = [
        Span(0, 9, 1200, 310 * MILLI, 0, 540, 520, Counter(cut=60)),
        Span(10, 19, 900, 200 * MILLI, 7, 250, 240, Counter(cut=350, too_short=150)),
        Span(20, 20, 80, 1250 * MILLI, 0, 10, 9, Counter(cut=90)),
    ]
    assert inspect._yield_lines(spans, account("running", *STAGES), "usd") == [
        "  yield over time (accepted by bootstrap, final by instances, calls of all stages;"
        " rounds not yet in shards are not counted)",
        "    rounds  calls  accepted  final  per 100 calls               spent  per $1.00  largest reject",
        "    0-9      1200       540    520             45               $0.31       1742  cut, 10% of candidates",
        "    10-19     900       250    240           27.8  $0.20 + 7 unpriced          -  cut, 47% of candidates",
        "    20         80        10      9           12.5               $1.25          8  cut, 90% of candidates",
        "  100 calls brought 45 accepted at first, 12.5 at last; $1.00 brought 1742 accepted at first, 8 at last",
    ]


def test_the_table_of_a_lone_stage() -> None:
    """What it accepts is final; here nobody knows a price, and then it is free."""
    spans = [Span(0, 0, 8, None, 8, 40, 40), Span(1, 1, 8, 0, 0, 0, 0, Counter(echoed=3))]
    assert inspect._yield_lines(spans, account("complete", "belle"), "cny") == [
        "  yield over time (accepted by belle)",
        "    rounds  calls  accepted  per 100 calls  spent  per ¥1.00  largest reject",
        "    0           8        40            500      -          -  -",
        "    1           8         0              0     ¥0          -  echoed, 100% of candidates",
        "  100 calls brought 500 accepted at first, 0 at last",
    ]


def test_nothing_is_compared_where_nothing_was_asked() -> None:
    """A ledger may have lost its calls; the shards are still shown."""
    spans = [Span(0, 0, accepted=4), Span(1, 1, accepted=3)]
    told = inspect._yield_lines(spans, account("complete", "alpaca"), "usd")
    assert [" ".join(line.split()) for line in told[2:]] == ["0 0 4 - - - -", "1 0 3 - - - -"]


# --- show -----------------------------------------------------------------------------------------------------------


def test_a_record_is_shown_with_everything_that_made_it(output: Path) -> None:
    """The record itself, the texts of its seeds and parents, and each call's prompt and answer."""
    record = next(row for row in rows(output, "instances") if row["provenance"]["parents"])
    ended = show(output, record["id"], "--json")
    found = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert found["record"] == record
    made = {row["id"]: row["instruction"] for row in rows(output, "bootstrap")}
    parents = record["provenance"]["parents"]
    assert {id: found["relatives"][id] for id in parents} == {id: made[id] for id in parents}
    assert set(record["provenance"]["seeds"]) <= set(found["relatives"])
    assert [call["key"] for call in found["calls"]] == record["provenance"]["calls"]
    assert [call["draw"].split("/")[0] for call in found["calls"]][:: len(found["calls"]) - 1] == [STAGES[0], STAGES[2]]
    assert all(" ".join(text.split()) in found["calls"][0]["prompt"] for text in found["relatives"].values())
    assert record["instruction"] in found["calls"][0]["answer"]["text"]
    assert record["output"] in found["calls"][-1]["answer"]["text"]


def test_a_record_is_shown_as_text_for_people(output: Path) -> None:
    """The same, to be read from top to bottom."""
    record = rows(output, "instances")[0]
    text = show(output, record["id"]).out
    assert text.startswith(f"run served\nid: {record['id']}\ninstruction: {record['instruction']}\n")
    assert text.count("\n=== call ") == len(record["provenance"]["calls"])
    assert "--- answer (stop)\n" in text
    assert f"seeds: {record['provenance']['seeds'][0]}  " in text


def test_a_reject_is_shown_with_its_reason_and_its_neighbour(output: Path) -> None:
    """The instruction it was too similar to is spelled out, with the score."""
    reject = next(row for row in rows(output, "bootstrap", "rejects") if row["reason"] == "too_similar")
    nearest = reject["nearest"][0]
    found = json.loads(show(output, reject["id"], "--json").out)
    assert found["record"] == reject
    assert found["relatives"][nearest["id"]].split()[0] == reject["candidate"]["instruction"].split()[0]
    text = show(output, reject["id"]).out
    assert "reason: too_similar\n" in text
    assert f"nearest: {nearest['score']:.4f} {nearest['id']}  {found['relatives'][nearest['id']]}\n" in text


def test_a_whole_answer_that_became_a_reject_is_shown(output: Path) -> None:
    """Its id has no number of a candidate."""
    reject = next(row for row in rows(output, "instances", "rejects") if row["unusable"])
    assert reject["id"].count("-") == 2
    assert json.loads(show(output, reject["id"], "--json").out)["record"] == reject


@pytest.mark.parametrize("digits", [6, 12, 64])
def test_a_call_is_shown_by_the_beginning_of_its_key(output: Path, digits: int) -> None:
    """As many digits as a person wants to type, at least six, in either case."""
    key = rows(output, "classify")[0]["provenance"]["calls"][1]
    (call,) = json.loads(show(output, key[:digits].upper(), "--json").out)["calls"]
    assert (call["key"], call["draw"].split("/")[0]) == (key, "classify")
    assert call["settings"]["max_tokens"] == 3
    assert call["answer"]["text"] in (" Yes", " No", " Maybe")
    assert f"=== call {key}" in show(output, key[:digits]).out


def test_without_a_run_the_latest_that_has_the_id_is_shown(output: Path) -> None:
    """Both runs have a first record; the served one's rejects are its own."""
    ended = invoke("show", "bootstrap-0-0-0", "--output-dir", output)
    assert ended.out.startswith("run scripted\n")
    reject = rows(output, "instances", "rejects")[-1]["id"]
    assert invoke("show", reject, "--output-dir", output).out.startswith("run served\n")


@pytest.mark.parametrize(
    ("id", "code", "message"),
    [
        ("instances-99-0-0", 65, "nothing called 'instances-99-0-0' in run 'served'"),
        ("nothing-0-0-0", 65, "nothing called 'nothing-0-0-0' in run 'served'"),
        ("ffffffffffff", 65, "nothing called 'ffffffffffff' in run 'served'"),
        ("abc", 2, "a call is named by at least 6 hex digits"),
    ],
)
def test_what_is_not_there_is_one_line(output: Path, id: str, code: int, message: str) -> None:
    """65, or 2 where it cannot be an id at all."""
    ended = show(output, id)
    assert (ended.code, ended.out) == (code, "")
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_a_run_that_is_not_there_is_one_line(output: Path) -> None:
    """65, naming the run."""
    ended = invoke("show", "bootstrap-0-0-0", "--run", "gone", "--output-dir", output)
    assert ended.code == 65
    assert ended.err == f"selfinstruct: {output}/gone: no such run; 'selfinstruct status' lists them\n"


def test_a_refused_call_is_shown_as_refused(tmp_path: Path) -> None:
    """With the server's own words."""
    refusal = b'{"error": {"message": "this text was flagged", "type": "invalid_request_error"}}'
    with AnswerServer() as server:
        server.fault = lambda path, number: (400, refusal) if number == 3 else None
        where = ("--api", "completion", "--base-url", server.url, "--output-dir", tmp_path, "--run", "r", "-n", 5)
        assert invoke("generate", *where, "--concurrency", 1, "-q").code == 0
    ended = invoke("show", "bootstrap-0-3", "--output-dir", tmp_path)
    assert "reason: request_refused" in ended.out
    assert "this text was flagged" in ended.out


def ask(server: AnswerServer, folder: Path, *messages: dict[str, Any]) -> Ended:
    """``complete`` with one chat request of these messages, its answers in ``folder``."""
    body = {"messages": messages, "max_tokens": 9}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    requests = folder.with_suffix(".jsonl")
    requests.write_text(json.dumps(line) + "\n")
    where = ("--api", "chat", "--base-url", server.url, "--model", "m", "--max-unusable", 1, "-q")
    return invoke("complete", requests, "--out", folder, *where)


def only_call(folder: Path) -> str:
    """The key of the one call of a folder."""
    with closing(LedgerReader(folder / "ledger.sqlite3")) as reader:
        (call,) = reader.calls()
    return call.key


def test_a_message_that_is_more_than_a_text_is_shown_as_json(tmp_path: Path) -> None:
    """Calls of tools have no content, and content may be a list of parts."""
    parts = {"content": [{"type": "text", "text": "two parts"}]}
    called = {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]}
    result = {"tool_call_id": "1", "content": "3"}
    with AnswerServer(fault=lambda path, number: (200, chat("three"))) as server:
        ask(
            server,
            tmp_path / "c",
            {"role": "system", "content": "<task 1>"},
            {"role": "user", **parts},
            {"role": "assistant", **called},
            {"role": "tool", **result},
        )
    ended = invoke("show", only_call(tmp_path / "c"), "--run", tmp_path / "c", "--json")
    assert ended.code == 0
    system, user, assistant, tool = json.loads(ended.out)["calls"][0]["prompt"].split("\n\n")
    assert system == "[system]\n<task 1>"
    for shown, role, said in ((user, "user", parts), (assistant, "assistant", called), (tool, "tool", result)):
        first, _, rest = shown.partition("\n")
        assert (first, json.loads(rest)) == (f"[{role}]", said)


@pytest.mark.parametrize("verdict", ["unusable", "skipped"])
def test_a_call_with_a_verdict_is_shown_with_its_reason(tmp_path: Path, verdict: str) -> None:
    """An answer that is none, and one that a person gave up."""
    folder = tmp_path / "c"
    broken = (200, b"<html>") if verdict == "unusable" else (401, b'{"error": {"message": "no"}}')
    with AnswerServer() as server:
        server.fault = lambda path, number: broken
        ask(server, folder, {"role": "user", "content": "<task 1>"})
    key = only_call(folder)
    if verdict == "skipped":
        assert "--- answer ()\n(no answer yet)" in invoke("show", key, "--run", folder).out
        assert invoke("skip", folder, key, "--reason", "takes too long").code == 0
    reason = json.loads((folder / "errors.jsonl").read_text())["error"]["message"]
    assert f"--- answer ()\n({verdict}) {reason}\n" in invoke("show", key, "--run", folder).out
