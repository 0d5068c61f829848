"""`selfinstruct generate`: what is asked for, what is written, what is printed, and how a second start behaves."""

from __future__ import annotations

import json
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from selfinstruct import resources
from tests.command import Ended, data_files, invoke
from tests.faults.answer_server import AnswerServer, middling

STAGES = ("bootstrap", "classify", "instances")


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    """A server that answers at once."""
    with AnswerServer() as started:
        yield started


def fake(output: Path, *args: object, run: str = "run") -> Ended:
    """A run of the script that ships with the package."""
    return invoke("generate", "--api", "fake", "--output-dir", output, "--run", run, *args)


def served(server: AnswerServer, output: Path, *args: object, run: str = "run") -> Ended:
    """A run against the server, the seed of each draw in its body."""
    where = ("--api", "completion", "--base-url", server.url, "--output-dir", output, "--run", run)
    return invoke("generate", *where, "--set", "model.send_seed=true", *args)


def accepted(ended: Ended) -> dict[str, int]:
    """What --json says of each stage."""
    return {stage["stage"]: stage["accepted"] for stage in json.loads(ended.out)["stages"]}


def identity(run: Path, stage: str = "bootstrap") -> Any:
    """A stage's stage.json."""
    return orjson.loads((run / stage / "stage.json").read_bytes())


def rows(run: Path, stage: str, kind: str = "shard") -> list[dict[str, Any]]:
    """The records or rejects of a stage, keys in the order of the file."""
    paths = sorted((run / stage).glob(f"{kind}-*.jsonl"), key=lambda path: int(path.stem.rpartition("-")[2]))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


# --- what is printed ------------------------------------------------------------------------------------------------


def test_a_run_ends_with_its_account_and_the_next_command(tmp_path: Path) -> None:
    """The table on standard output, nothing on standard error, exit code 0."""
    ended = fake(tmp_path, "-n", 20)
    assert (ended.code, ended.err) == (0, "")
    table = ended.out.splitlines()
    assert table[0].split() == ["stage", "accepted", "rejects", "calls", "tokens", "in", "tokens", "out"]
    assert [line.split()[0] for line in table[1:4]] == list(STAGES)
    assert f"records  {tmp_path}/run/instances/shard-*.jsonl" in table
    assert table[-1] == "next     selfinstruct export run --format alpaca --out run.json"


def test_json_is_the_whole_of_standard_output(tmp_path: Path) -> None:
    """One JSON value that a program can read, with the counts of the shards."""
    ended = fake(tmp_path, "-n", 20, "--json")
    assert (ended.code, ended.err) == (0, "")
    account = json.loads(ended.out)
    keys = "run path target stages new_calls money seconds exhausted notes stopped_by next".split()
    assert list(account) == keys
    assert (account["run"], account["path"], account["target"]) == ("run", str(tmp_path / "run"), 20)
    assert accepted(ended) == {stage: len(rows(tmp_path / "run", stage)) for stage in STAGES}
    assert account["new_calls"] == sum(stage["calls"] for stage in account["stages"])


def test_json_stays_json_when_the_run_fails(server: AnswerServer, tmp_path: Path) -> None:
    """The error goes to standard error, the account so far to standard output."""
    server.fault = lambda path, number: (401, b'{"error": {"message": "bad key"}}') if number >= 20 else None
    ended = served(server, tmp_path, "--json")
    assert ended.code == 77
    account = json.loads(ended.out)
    assert account["next"] == "mend what the last line says; then the same command goes on"
    assert "bad key" in account["stopped_by"]
    assert ended.err.count("\n") == 1


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    """For cron, which mails what is printed."""
    assert fake(tmp_path, "-n", 20, "--quiet") == Ended(0, "", "")


def test_a_dry_run_writes_nothing_and_calls_nobody(server: AnswerServer, tmp_path: Path) -> None:
    """It shows the first prompt, and how many calls are planned."""
    ended = served(server, tmp_path / "output", "--dry-run", "-n", 100)
    assert (ended.code, ended.err) == (0, "")
    assert re.search(r"^<task 9>$", ended.out, re.MULTILINE)
    # 8 jobs a round, 7 tasks each: two rounds bring 112, or at half that yield four rounds do.
    assert re.search(r"^bootstrap +calls +16 +32 +104$", ended.out, re.MULTILINE)
    assert ended.out.rstrip().endswith("Nothing was sent.")
    assert (server.counts.requests, list(tmp_path.iterdir())) == (0, [])


@pytest.mark.parametrize("api", ["chat", "completion", "local", "fake"])
def test_a_dry_run_needs_neither_key_nor_model(tmp_path: Path, api: str) -> None:
    """As JSON too: the request that would be the first."""
    ended = invoke("generate", "--dry-run", "--json", "--api", api, "--output-dir", tmp_path / "output")
    plan = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert ("messages" in plan["request"]) is (api == "chat")
    assert [plan["stages"]["classify"][each]["calls"] for each in ("low", "likely", "high")] == [100, 120, 468]
    assert list(tmp_path.iterdir()) == []


def test_more_concurrency_than_the_lag_can_use_is_said(tmp_path: Path) -> None:
    """With the recipe key that would use it."""
    ended = fake(tmp_path, "-n", 10, "--concurrency", 64)
    assert ended.code == 0
    assert "at most 32 calls in flight" in ended.err
    assert "--set lag=8" in ended.err
    assert fake(tmp_path, "-n", 10, "--concurrency", 32).err == ""
    assert fake(tmp_path, "-n", 10, "--concurrency", 64, "--quiet") == Ended(0, "", "")


# --- what is asked for ----------------------------------------------------------------------------------------------


def test_a_run_is_named_after_method_language_and_model(server: AnswerServer, tmp_path: Path) -> None:
    """So the same command finds its run again."""
    where = ("generate", "--api", "completion", "--base-url", server.url, "--output-dir", tmp_path, "-n", 5, "-q")
    assert invoke(*where, "--model", "Qwen/Qwen3-8B").code == 0
    assert invoke("generate", "--api", "fake", "--output-dir", tmp_path, "-n", 5, "-q").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "self-instruct-en-fake",
        "self-instruct-en-qwen-qwen3-8b",
    ]


@pytest.mark.parametrize("alias", ["--model", "-m", "--model-name", "--model_name"])
def test_a_model_can_be_named_as_in_other_tools(tmp_path: Path, alias: str) -> None:
    """Four spellings, one meaning."""
    assert fake(tmp_path, "-n", 5, alias, "scripted", "-q").code == 0
    assert identity(tmp_path / "run")["identity"]["model"]["model"] == "scripted"


@pytest.mark.parametrize("alias", ["-n", "--num-instructions", "--num-instructions-to-generate"])
def test_the_number_can_be_given_as_in_other_tools(tmp_path: Path, alias: str) -> None:
    """Three spellings, one meaning."""
    assert fake(tmp_path, alias, 7, "-q").code == 0
    assert identity(tmp_path / "run")["target"] == 7


@pytest.mark.parametrize("alias", ["--seed-tasks", "--seed-tasks-path"])
def test_seed_tasks_of_ones_own_are_what_is_shown(tmp_path: Path, alias: str) -> None:
    """Every seed in a record's provenance is from that file."""
    seeds = tmp_path / "own.jsonl"
    lines = (
        {"id": f"own-{n}", "instruction": f"Own task number {n}", "instances": [{"input": "", "output": "x"}]}
        for n in range(9)
    )
    seeds.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert fake(tmp_path, "-n", 5, alias, seeds, "-q").code == 0
    shown = {seed for record in rows(tmp_path / "run", "instances") for seed in record["provenance"]["seeds"]}
    assert shown <= {f"own-{n}" for n in range(9)}
    assert len(shown) > 5


def test_the_address_may_come_from_the_environment(server: AnswerServer, tmp_path: Path) -> None:
    """OPENAI_BASE_URL is read; a flag beats it."""
    where = ("generate", "--api", "completion", "--output-dir", tmp_path, "-n", 5, "-q")
    assert invoke(*where, "--run", "a", OPENAI_BASE_URL=server.url).code == 0
    asked = server.counts.requests
    assert invoke(*where, "--run", "b", "--base-url", server.url, OPENAI_BASE_URL="http://127.0.0.1:9/v1").code == 0
    assert server.counts.requests == 2 * asked > 0


@pytest.mark.parametrize("number", ["0", "-3", "ten", "1.5", "+0", "++5", ""])
def test_a_number_that_is_none_is_a_usage_error(tmp_path: Path, number: str) -> None:
    """2, with what was expected."""
    ended = fake(tmp_path, f"--num-instructions={number}")
    assert ended.code == 2
    assert f"--num-instructions '{number}': expected a number above 0" in ended.err


# --- what is written ------------------------------------------------------------------------------------------------


def test_every_record_has_every_key_in_the_documented_order(server: AnswerServer, tmp_path: Path) -> None:
    """Of all three stages, and of the rejects; whatever the value."""
    assert served(server, tmp_path, "-n", 60, "-q").code == 0
    novelty = ["novelty", "provenance"]
    expected = {
        "bootstrap": ["id", "instruction", "lang", *novelty],
        "classify": ["id", "instruction", "lang", "novelty", "is_classification", "provenance"],
        "instances": ["id", "instruction", "input", "output", "lang", "is_classification", *novelty],
    }
    for stage in STAGES:
        assert {tuple(row) for row in rows(tmp_path / "run", stage)} == {tuple(expected[stage])}
    rejects = [row for stage in STAGES for row in rows(tmp_path / "run", stage, "rejects")]
    assert {tuple(row) for row in rejects} == {
        ("id", "stage", "reason", "detail", "unusable", "candidate", "nearest", "provenance")
    }
    assert {row["stage"] for row in rejects} >= {"bootstrap", "instances"}


def test_a_record_is_traced_through_all_three_stages(server: AnswerServer, tmp_path: Path) -> None:
    """Its prompts, models and calls are one of each stage, in order, and the ids follow the rounds."""
    assert served(server, tmp_path, "-n", 60, "-q").code == 0
    for record in rows(tmp_path / "run", "instances"):
        provenance = record["provenance"]
        assert [prompt.split("/")[0] for prompt in provenance["prompts"]] == list(STAGES)
        assert len(provenance["models"]) == 3
        assert 3 <= len(provenance["calls"]) <= 5  # up to two resamples of an unknown verdict
        assert len(provenance["seeds"]) + len(provenance["parents"]) == 8
        assert re.fullmatch(r"instances-\d+-\d+-\d+", record["id"])


def test_nothing_of_this_moment_and_this_machine_is_in_the_files(server: AnswerServer, tmp_path: Path) -> None:
    """No time, host, path, port of ours or attempt number: two runs, apart in all of them, have the same bytes."""
    assert served(server, tmp_path / "here", "-n", 30, "-q").code == 0
    assert (
        served(server, tmp_path / "there", "-n", 30, "-q", "--concurrency", 3, "--max-unusable", 1, run="other").code
        == 0
    )
    written = data_files(tmp_path / "here" / "run")
    assert written == data_files(tmp_path / "there" / "other")
    text = b"".join(written.values()).decode()
    for word in (str(tmp_path), socket.gethostname(), time.strftime("%Y-%m-%d"), str(int(time.time()))[:6]):
        assert word not in text


def test_a_runs_folder_is_private(tmp_path: Path) -> None:
    """Prompts and answers are the owner's: folder 0700, ledger 0600."""
    assert fake(tmp_path, "-n", 5, "-q").code == 0
    modes = [stat.S_IMODE((tmp_path / "run" / name).stat().st_mode) for name in ("", "ledger.sqlite3", "bootstrap")]
    assert modes == [0o700, 0o600, 0o700]


def test_in_step_changes_the_order_of_the_calls_and_not_the_records(server: AnswerServer, tmp_path: Path) -> None:
    """It is there for the prompt cache of an embedded model."""
    assert served(server, tmp_path, "-n", 80, "-q", "--set", "lag=2", run="free").code == 0
    assert served(server, tmp_path, "-n", 80, "-q", "--set", "lag=2", "--set", "in_step=true", run="step").code == 0
    for stage in STAGES:
        assert rows(tmp_path / "step", stage) == rows(tmp_path / "free", stage)
        assert rows(tmp_path / "step", stage, "rejects") == rows(tmp_path / "free", stage, "rejects")


# --- again ----------------------------------------------------------------------------------------------------------


def test_the_same_command_again_has_nothing_to_do(server: AnswerServer, tmp_path: Path) -> None:
    """No call, no changed byte, exit code 0, and the same account."""
    first = served(server, tmp_path, "-n", 30, "--json")
    before, asked = data_files(tmp_path / "run"), server.counts
    again = served(server, tmp_path, "-n", 30, "--json")
    assert (again.code, accepted(again), json.loads(again.out)["new_calls"]) == (0, accepted(first), 0)
    assert (data_files(tmp_path / "run"), server.counts) == (before, asked)


def test_a_smaller_target_has_nothing_to_do_either(tmp_path: Path) -> None:
    """Records are never cut; an export can be."""
    first = fake(tmp_path, "-n", 80, "--json")
    again = fake(tmp_path, "-n", 20, "--json")
    assert (again.code, accepted(again), json.loads(again.out)["new_calls"]) == (0, accepted(first), 0)


def test_plus_n_extends_what_is_there_by_n(tmp_path: Path) -> None:
    """A run that is not there yet gets N; each further time at least N more."""
    first = fake(tmp_path, "-n", "+20", "--json")
    second = fake(tmp_path, "-n", "+20", "--json")
    third = fake(tmp_path, "-n", "+20", "--json")
    assert [json.loads(ended.out)["target"] for ended in (first, second, third)] == [
        20,
        accepted(first)["bootstrap"] + 20,
        accepted(second)["bootstrap"] + 20,
    ]
    assert accepted(third)["bootstrap"] >= accepted(second)["bootstrap"] + 20


def test_an_interrupted_plus_n_is_finished_before_the_next_one_counts(server: AnswerServer, tmp_path: Path) -> None:
    """A nightly +50 that failed one night does not pile up; the night after that, 50 more."""
    first = accepted(served(server, tmp_path, "-n", "30", "--json"))["bootstrap"]
    server.fault = lambda path, number: (401, b'{"error": {"message": "bad key"}}') if number >= 150 else None
    cut = served(server, tmp_path, "-n", "+50", "--json")
    server.fault = lambda path, number: None
    again = served(server, tmp_path, "-n", "+50", "--json")
    night_after = served(server, tmp_path, "-n", "+50", "--json")
    assert (cut.code, again.code, night_after.code) == (77, 0, 0)
    assert [json.loads(ended.out)["next"].split()[0] for ended in (cut, again)] == ["mend", "selfinstruct"]
    targets = [json.loads(ended.out)["target"] for ended in (cut, again, night_after)]
    assert targets == [first + 50, first + 50, accepted(again)["bootstrap"] + 50]
    repeated = server.counts.requests - server.counts.bodies
    assert repeated <= 32  # the calls in flight when the key went bad


def test_lost_shards_are_derived_again_from_the_ledger_for_nothing(server: AnswerServer, tmp_path: Path) -> None:
    """Of one stage or of all; a damaged one is noticed and said."""
    sets = ("-n", 80, "--set", "rounds_per_shard=1")
    assert served(server, tmp_path, *sets).code == 0
    before, asked = data_files(tmp_path / "run"), server.counts
    (tmp_path / "run" / "classify" / "manifest.json").unlink()
    assert served(server, tmp_path, *sets).code == 0
    assert data_files(tmp_path / "run") == before

    shard = tmp_path / "run" / "bootstrap" / "shard-1.jsonl"
    shard.write_bytes(shard.read_bytes().replace(b"a", b"b", 1))
    (tmp_path / "run" / "instances" / "rejects-0.jsonl").unlink()
    ended = served(server, tmp_path, *sets)
    assert ended.code == 0
    assert f"{shard} is not as its manifest says: derived again from the ledger" in ended.err
    assert data_files(tmp_path / "run") == before
    assert server.counts == asked


# --- how it ends ----------------------------------------------------------------------------------------------------


def always_the_same(body: dict[str, Any], rng: Random) -> tuple[str, str]:
    """A model with seven ideas."""
    text, finish_reason = middling(body, rng)
    if not str(body["prompt"]).rstrip().rpartition("\n")[2].startswith("<task 9>"):
        return text, finish_reason
    ideas = (
        "Praise an old bridge, Count seven green birds, Ask the baker why, Fold one paper ship, Sing about loud rain"
    )
    items = [f"{idea} {rng.choice(['today', 'slowly'])}." for idea in ideas.split(", ")]
    return "".join(f"\n<task {n}> {item}" for n, item in enumerate(items, 9)).removeprefix("\n<task 9>"), "stop"


def test_a_model_that_has_run_dry_stops_the_run_once_and_for_all(tmp_path: Path) -> None:
    """Exit code 4 with the count, and 4 again at the next start without a single call."""
    with AnswerServer(answer=always_the_same) as server:
        ended = served(server, tmp_path, "-n", 100)
        assert ended.code == 4
        assert ended.err.startswith("selfinstruct: exhausted at 5 of 100: fewer than 1 % of the last 500 candidates")
        before, asked = data_files(tmp_path / "run"), server.counts
        again = served(server, tmp_path, "-n", 100)
        assert (again.code, again.err) == (4, ended.err)
        assert (data_files(tmp_path / "run"), server.counts) == (before, asked)
    states = {stage: orjson.loads(before[f"{stage}/manifest.json"])["state"] for stage in STAGES}
    assert states == dict.fromkeys(STAGES, "exhausted")
    assert len(rows(tmp_path / "run", "instances")) >= 3  # what there was went through all stages


def test_a_model_none_of_whose_answers_can_be_read_is_stopped_early(tmp_path: Path) -> None:
    """78 after some twenty answers, not after all of them, with what to look at."""
    with AnswerServer(answer=lambda body, rng: ("", "stop")) as server:
        ended = served(server, tmp_path, "-n", 1000)
        assert ended.code == 78
        assert "bootstrap: none of the first 24 answers could be read" in ended.err
        assert "'selfinstruct show'" in ended.err
        assert server.counts.requests <= 8 * 6


@pytest.mark.parametrize(("most", "code"), [(None, 3), (0.9, 0)])
def test_many_unusable_answers_show_in_the_exit_code(tmp_path: Path, most: float | None, code: int) -> None:
    """The run is done either way; above the limit a script has to know."""

    def often_nothing(body: dict[str, Any], rng: Random) -> tuple[str, str]:
        return ("", "stop") if rng.random() < 0.5 else middling(body, rng)

    with AnswerServer(answer=often_nothing) as server:
        ended = served(server, tmp_path, "-n", 30, *(("--max-unusable", most) if most else ()))
    assert ended.code == code
    assert orjson.loads(data_files(tmp_path / "run")["instances/manifest.json"])["state"] == "complete"
    said = re.search(r"done, but \d\d% of the answers could not be used \(--max-unusable is 20%\)", ended.err)
    assert (said is not None) is (code == 3)


def test_a_request_the_server_refuses_is_a_reject_and_never_asked_again(server: AnswerServer, tmp_path: Path) -> None:
    """Its verdict is recorded: shards derived anew hold the same reject without a call."""
    refusal = orjson.dumps({"error": {"message": "this text was flagged", "type": "invalid_request_error"}})
    server.fault = lambda path, number: (400, refusal) if number % 9 == 8 else None
    assert served(server, tmp_path, "-n", 30, "--concurrency", 1, "--max-unusable", 1).code == 0
    refused = [row for stage in STAGES for row in rows(tmp_path / "run", stage, "rejects")]
    refused = [row for row in refused if row["reason"] == "request_refused"]
    assert len(refused) == server.counts.requests // 9 >= 3
    assert all(row["unusable"] and "this text was flagged" in row["detail"] for row in refused)

    before, asked = data_files(tmp_path / "run"), server.counts
    for stage in STAGES:
        (tmp_path / "run" / stage / "manifest.json").unlink()
    assert served(server, tmp_path, "-n", 30, "--max-unusable", 1).code == 0
    assert (data_files(tmp_path / "run"), server.counts) == (before, asked)


def test_an_answer_that_is_neither_yes_nor_no_is_asked_again(server: AnswerServer, tmp_path: Path) -> None:
    """Its record carries the calls of all tries, and some tasks need more than one."""
    ended = served(server, tmp_path, "-n", 100, "--json")
    stages = {stage["stage"]: stage for stage in json.loads(ended.out)["stages"]}
    resampled = [row for row in rows(tmp_path / "run", "classify") if len(row["provenance"]["calls"]) > 2]
    assert len(resampled) >= 1
    assert stages["classify"]["calls"] >= stages["classify"]["jobs"] + len(resampled)


# --- replay ---------------------------------------------------------------------------------------------------------


def shards(run: Path) -> dict[str, bytes]:
    """The data files without stage.json, which says that the answers came from a replay."""
    return {name: data for name, data in data_files(run).items() if not name.endswith("stage.json")}


def replayed(recorded: Path, output: Path, *args: object) -> Ended:
    """A replay of a run."""
    return invoke("generate", "--api", "replay", "--replay-from", recorded, "--output-dir", output, "--run", "r", *args)


def test_a_replay_needs_no_server_and_gives_the_same_shards(tmp_path: Path) -> None:
    """Answers come from the recorded ledger, refusals included; the recorded run is not touched."""
    with AnswerServer() as server:
        assert served(server, tmp_path, "-n", 80, "-q").code == 0
    recorded = data_files(tmp_path / "run")
    ended = replayed(tmp_path / "run", tmp_path / "again", "-n", 80)
    assert (ended.code, ended.err) == (0, "")
    assert shards(tmp_path / "again" / "r") == shards(tmp_path / "run")
    assert data_files(tmp_path / "run") == recorded


def test_a_replay_with_a_changed_prompt_shows_the_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """78, and the line of the prompt that no recorded call was made with."""
    with AnswerServer() as server:
        assert served(server, tmp_path, "-n", 20, "-q").code == 0
    changed = tmp_path / "prompts"
    shutil.copytree(resources.prompts_dir(), changed)
    prompt = changed / "bootstrap" / "en" / "list.md"
    first_line = prompt.read_text().partition("{% block completion %}\n")[2].partition("\n")[0]
    prompt.write_text(prompt.read_text().replace(first_line, "Tasks, and nothing but tasks.", 1))
    monkeypatch.setattr(resources, "prompts_dir", lambda: changed)
    ended = replayed(tmp_path / "run", tmp_path / "again", "-n", 20)
    assert ended.code == 78
    assert "holds no answer for bootstrap/0/0/0/0; the call recorded there differs:" in ended.err
    assert f'-  "prompt": "{first_line}' in ended.err
    assert '+  "prompt": "Tasks, and nothing but tasks.' in ended.err


def test_a_replay_to_a_larger_target_says_that_there_is_no_more(tmp_path: Path) -> None:
    """78: the recorded run was smaller."""
    with AnswerServer() as server:
        assert served(server, tmp_path, "-n", 20, "-q").code == 0
    ended = replayed(tmp_path / "run", tmp_path / "again", "-n", 400)
    assert ended.code == 78
    assert "holds no answer for bootstrap/1/0/0/0, nor any call of that draw" in ended.err


def test_a_start_that_got_no_answer_binds_nobody(server: AnswerServer, tmp_path: Path) -> None:
    """With no recorded answer there are no bytes to protect: a wrong address or parameter is simply mended."""
    wrong = ("generate", "--api", "completion", "--model", "m", "--run", "run", "--output-dir", tmp_path, "-n", 5)
    server.fault = lambda path, number: (401, b'{"error": {"message": "bad key"}}')
    assert invoke(*wrong, "--base-url", server.url, "--temperature", 0.1).code == 77
    server.fault = lambda path, number: None
    assert invoke(*wrong, "--base-url", server.url, "--temperature", 0.2).code == 0
    changed = invoke(*wrong, "--base-url", server.url, "--temperature", 0.3)
    assert changed.code == 78
    assert "bootstrap.temperature: 0.2 -> 0.3" in changed.err


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"identity": {"model": 3}}'])
def test_a_recording_that_does_not_name_its_model_cannot_be_replayed(tmp_path: Path, content: bytes) -> None:
    """The recorded endpoint is part of every call's key: it is not guessed."""
    assert fake(tmp_path, "-n", 5, "--quiet").code == 0
    (tmp_path / "run" / "bootstrap" / "stage.json").write_bytes(content)
    ended = invoke("generate", "--api", "replay", "--replay-from", tmp_path / "run", "--output-dir", tmp_path, "-n", 5)
    assert ended.code == 65
    assert "bootstrap/stage.json: does not say which model was recorded" in ended.err
