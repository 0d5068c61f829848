"""`selfinstruct show`: where one record, reject or call came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.ledger_reader import LedgerReader
from tests.cli.two_runs import STAGES, ask, rows, two_runs, unchanged
from tests.command import Ended, invoke
from tests.faults.answer_server import AnswerServer
from tests.models.loopback import chat


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs: ``served``, with rejects of every kind, and after it ``scripted``."""
    return two_runs(tmp_path_factory.mktemp("output"))


@pytest.fixture(autouse=True)
def only_read(output: Path) -> Iterator[None]:
    """`show` never writes."""
    with unchanged(output):
        yield


def show(output: Path, id: str, *args: object) -> Ended:
    """``show`` in the served run."""
    return invoke("show", id, "--run", "served", "--output-dir", output, *args)


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


# --- dialogues ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def talked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scripted runs of dialogues: ``world`` from topics on, and ``given``, one of whose openers is too long."""
    folder = tmp_path_factory.mktemp("talked")
    few = ("--set", "topics.subtopics=2", "--set", "openers.questions=2", "--set", "round_size=2")
    where = ("--api", "fake", "--output-dir", folder, "-q", "--max-unusable", 1)
    assert invoke("dialogue", *where, *few, "--run", "world", "--rounds", 2, "-n", 4).code == 0
    openers = folder / "openers.txt"
    openers.write_text("Why do bees dance?\n" + "And why do the other ones not dance at all? " * 100 + "\n")
    small = ("--set", "dialogue.max_tokens=100", "--set", "dialogue.assistant_context=1000")
    assert invoke("dialogue", *where, *small, "--openers", openers, "--run", "given", "--rounds", 2).code == 0
    return folder


def one_line(folder: Path, run: str, stage: str, kind: str = "shard") -> dict[str, Any]:
    """The first record or reject of a stage."""
    row: dict[str, Any] = json.loads((folder / run / stage / f"{kind}-0.jsonl").read_text().splitlines()[0])
    return row


def test_a_dialogue_is_shown_turn_by_turn_with_its_opener_and_its_calls(talked: Path) -> None:
    """What was said stands below each other; a call shows what its side was asked, with the instruction behind it."""
    dialogue, opener = one_line(talked, "world", "dialogue"), one_line(talked, "world", "openers")
    text = invoke("show", dialogue["id"], "--run", "world", "--output-dir", talked).out
    turns = "\n".join(f"[{turn['role']}]\n{turn['content']}" for turn in dialogue["messages"])
    assert f"\nmessages:\n{turns}\nlang: en\n" in text
    assert f"\nparents: {opener['id']}  {opener['instruction']}\n" in text
    assert f"\npersona: {dialogue['persona']}\n" in text
    drawn = [line.split()[0] for line in text.splitlines() if line.startswith("    dialogue/")]
    assert drawn == [f"dialogue/0/0/{step}/0," for step in range(3)]
    found = json.loads(invoke("show", dialogue["id"], "--run", "world", "--output-dir", talked, "--json").out)
    [asked] = [call["prompt"] for call in found["calls"] if call["draw"] == "dialogue/0/0/1/0"]
    first, answer = (turn["content"] for turn in dialogue["messages"][:2])
    assert -1 < asked.index(first) < asked.index(answer) < asked.index("[The user's next message.")


def test_a_question_is_shown_with_the_subtopic_it_is_about(talked: Path) -> None:
    """A topic's text is its sub-topic."""
    opener = one_line(talked, "world", "openers")
    [parent] = opener["provenance"]["parents"]
    text = invoke("show", opener["id"], "--run", "world", "--output-dir", talked).out
    assert parent.startswith("topics-")
    assert f"\nparents: {parent}  {opener['subtopic']}\n" in text
    topic = json.loads(invoke("show", parent, "--run", "world", "--output-dir", talked, "--json").out)["record"]
    assert (topic["topic"], topic["subtopic"]) == (opener["topic"], opener["subtopic"])


def test_a_dialogue_that_never_began_is_shown_with_the_opener_it_would_have_had(talked: Path) -> None:
    """Why, whose turn it was, and the text that did not fit."""
    reject = one_line(talked, "given", "dialogue", "rejects")
    text = invoke("show", reject["id"], "--run", "given", "--output-dir", talked).out
    assert "\nreason: context\ndetail: what was said does not fit into 1000 tokens\n" in text
    assert "\nrole: assistant\nturn: 1\n" in text
    [parent] = reject["provenance"]["parents"]
    assert f"\nparents: {parent}  And why do the other ones not dance at all? And" in text
    assert "\n=== call " not in text
