"""What reads a run of dialogues: its account, status, show, export, verify, rebuild, replay; and what plans one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.command import data_files, invoke
from tests.faults.dialogue_server import DialogueServer, Misdeed, openers, tokens
from tests.talking import TEXT, file_of, rows, talk

BAD = openers("en", 6)[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six dialogues of two or three rounds, one of which ends with a goodbye; the folder it lies in."""
    folder = tmp_path_factory.mktemp("made")
    lower = "The ferry was late again. why do the tide tables not say so?"
    asked = file_of(folder / "openers.txt", [lower, *openers("en", 5)])
    with DialogueServer({BAD: Misdeed(2, "goodbye")}) as server:
        ended = talk(server, folder, "--openers", asked, "--rounds", "2-3", "--price", "in=1,out=2", "--json")
        assert ended.code == 0, ended.err
        (folder / "account.json").write_text(ended.out)
        (folder / "used.json").write_text(json.dumps({name: count for (_, name), count in server.used.items()}))
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


# --- the account ----------------------------------------------------------------------------------------------------


def test_the_account_counts_what_the_shards_hold_and_the_server_counted(made: Path) -> None:
    """Dialogues, rejects by reason, calls, tokens and money to the last digit."""
    account, used = (json.loads((made / name).read_text()) for name in ("account.json", "used.json"))
    opened, said = account["stages"]
    assert (opened["stage"], opened["accepted"], opened["calls"]) == ("openers", 6, 0)
    assert (said["stage"], said["accepted"], said["rejects"]) == ("dialogue", 6, {"farewell": 1})
    assert said["accepted"] == len(rows(made / "run"))
    assert said["calls"] == account["new_calls"]
    assert (said["prompt_tokens"], said["completion_tokens"]) == (used["prompt_tokens"], used["completion_tokens"])
    millionths = used["prompt_tokens"] + 2 * used["completion_tokens"]
    assert float(account["money"]["spent"]) == pytest.approx(millionths / 1e6, abs=1e-12)
    assert (account["stopped_by"], account["exhausted"]) == (None, False)


def test_a_dialogue_says_what_ended_it_and_where_it_came_from(made: Path) -> None:
    """Rounds, planned rounds, persona, lineage, calls; every other one is as long as it was planned."""
    for row in rows(made / "run"):
        assert len(row["messages"]) == 2 * row["rounds"]
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"] * row["rounds"]
        assert row["persona"].startswith("en-persona-")
        is_bad = row["messages"][0]["content"] == BAD
        assert (row["rounds"] == row["planned"], row["ended"]) == ((False, "farewell") if is_bad else (True, ""))
        # One call a turn but for the opener, which nobody was asked for; the goodbye was a call, too.
        assert len(row["provenance"]["calls"]) == 2 * row["rounds"] - 1 + is_bad
    [reject] = rows(made / "run", kind="rejects")
    assert reject["candidate"]["text"].startswith("Thank you so much")
    assert (reject["candidate"]["role"], reject["candidate"]["turn"], reject["unusable"]) == ("user", 2, False)


def test_status_counts_dialogues_and_rejects(made: Path) -> None:
    """For people and as JSON."""
    ended = invoke("status", "run", "--output-dir", made)
    assert (ended.code, ended.err) == (0, "")
    assert re.search(r"dialogue.*\b6\b.*farewell 1", ended.out, re.S)
    [row] = json.loads(invoke("status", "run", "--output-dir", made, "--json").out)
    assert [(each["stage"], each["state"], each["accepted"]) for each in row["stages"]] == [
        ("openers", "complete", 6),
        ("dialogue", "complete", 6),
    ]


def test_show_prints_the_turns_the_calls_and_the_opener(made: Path) -> None:
    """Of a dialogue, of a reject, and of a call by its key."""
    row = next(row for row in rows(made / "run") if row["rounds"] >= 2)
    ended = invoke("show", row["id"], "--run", "run", "--output-dir", made)
    assert (ended.code, ended.err) == (0, "")
    assert all(turn["content"] in ended.out for turn in row["messages"])
    assert "Switch sides now" in ended.out
    [reject] = rows(made / "run", kind="rejects")
    ended = invoke("show", reject["id"], "--output-dir", made)
    assert ended.code == 0
    assert "farewell" in ended.out
    assert "goodbye" in ended.out
    key = row["provenance"]["calls"][0][:12]
    found = json.loads(invoke("show", key, "--output-dir", made, "--json").out)
    assert found["calls"][0]["answer"]["text"] == row["messages"][1]["content"]


# --- export ---------------------------------------------------------------------------------------------------------


def exported(folder: Path, *args: object) -> list[Any]:
    """The lines that export writes to standard output."""
    ended = invoke("export", "run", "--output-dir", folder, *args)
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


def test_export_writes_each_layout_turn_for_turn(made: Path) -> None:
    """messages, sharegpt and ultrachat say the same; --limit counts dialogues."""
    said = [[turn["content"] for turn in row["messages"]] for row in rows(made / "run")]
    messages, shares, data = (exported(made, "--format", name) for name in ("messages", "sharegpt", "ultrachat"))
    assert [[turn["content"] for turn in row["messages"]] for row in messages] == said
    assert {tuple(turn["role"] for turn in row["messages"][:2]) for row in messages} == {("user", "assistant")}
    assert [[turn["value"] for turn in row["conversations"]] for row in shares] == said
    assert {tuple(turn["from"] for turn in row["conversations"][:2]) for row in shares} == {("human", "gpt")}
    assert [row["data"] for row in data] == said
    assert len({row["id"] for row in data}) == len(said)
    assert exported(made, "--format", "ultrachat", "--limit", 2) == data[:2]


def test_splitting_loses_no_round_and_true_case_changes_only_case(made: Path) -> None:
    """Pieces put together are the dialogues; a turn is another only by a capital."""
    said = [[turn["content"] for turn in row["messages"]] for row in rows(made / "run")]
    pieces = exported(made, "--format", "ultrachat", "--split-long", 150)
    whole: dict[str, list[str]] = {}
    for piece in pieces:
        assert len(piece["data"]) % 2 == 0
        whole.setdefault(piece["id"].partition("_")[0], []).extend(piece["data"])
    assert list(whole.values()) == said
    assert len(pieces) > len(said)
    cased = [row["data"] for row in exported(made, "--format", "ultrachat", "--true-case")]
    assert cased[0][0] == "The ferry was late again. Why do the tide tables not say so?"
    assert [[text.casefold() for text in turns] for turns in cased] == [[t.casefold() for t in ts] for ts in said]


def test_dialogues_do_not_fit_into_layouts_of_tasks(made: Path) -> None:
    """One line, no traceback, nothing written."""
    ended = invoke("export", "run", "--output-dir", made, "--format", "alpaca", "--out", made / "no.json")
    assert (ended.code, ended.out, "alpaca" in ended.err, (made / "no.json").exists()) == (2, "", True, False)


# --- verify, rebuild, refilter, replay ------------------------------------------------------------------------------


def test_verify_finds_a_run_sound_and_one_changed_byte(copy: Path) -> None:
    """Code 0, then 5 with the shard's name."""
    ended = invoke("verify", "run", "--output-dir", copy)
    assert ended.code == 0, ended.out + ended.err
    shard = copy / "run" / "dialogue" / "shard-0.jsonl"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    ended = invoke("verify", "run", "--output-dir", copy)
    assert ended.code == 5
    assert "dialogue/shard-0.jsonl" in ended.out + ended.err


@pytest.mark.parametrize("lost", ["dialogue/shard-0.jsonl", "dialogue/manifest.json", "openers/shard-0.jsonl"])
def test_rebuild_derives_what_was_lost_byte_for_byte(copy: Path, lost: str) -> None:
    """Without a server: from the ledger and the openers' file."""
    files = data_files(copy / "run")
    (copy / "run" / lost).unlink()
    ended = invoke("rebuild", "run", "--output-dir", copy)
    assert ended.code == 0, ended.out + ended.err
    assert data_files(copy / "run") == files


def test_rebuild_of_everything_gives_the_same_bytes(copy: Path) -> None:
    """All shards, rejects and manifests, of every stage."""
    files = data_files(copy / "run")
    for path in (copy / "run").glob("*/*.jsonl"):
        path.unlink()
    ended = invoke("rebuild", "run", "--output-dir", copy)
    assert ended.code == 0, ended.out + ended.err
    assert data_files(copy / "run") == files


def test_refilter_says_that_it_is_not_for_dialogues(copy: Path) -> None:
    """One line, no folder."""
    ended = invoke("refilter", copy / "run", "--set", "openers.threshold=0.5", "--out", copy / "new")
    assert ended.code in (2, 65, 78)
    assert "Traceback" not in ended.err
    assert "dialogue" in ended.err
    assert ended.err.count("\n") == 1
    assert sorted(path.name for path in copy.iterdir() if path.is_dir()) == ["run"]


def test_a_run_of_two_servers_is_derived_and_replayed_without_either(tmp_path: Path) -> None:
    """Both sides' answers are found in the ledger, whoever gave them."""
    asked = file_of(tmp_path / "openers.txt", openers("zh", 4))
    options = ("--openers", asked, "--lang", "zh", "--rounds", "2-3")
    with DialogueServer() as user, DialogueServer() as assistant:
        whose = ("--user-api", "chat", "--user-base-url", user.url, "--user-model", "small")
        assert talk(assistant, tmp_path, *options, *whose).code == 0
    files = data_files(tmp_path / "run")
    for path in (tmp_path / "run").glob("*/*.jsonl"):
        path.unlink()
    assert invoke("rebuild", "run", "--output-dir", tmp_path).code == 0
    assert data_files(tmp_path / "run") == files
    where = ("--api", "replay", "--replay-from", tmp_path / "run", "--output-dir", tmp_path, "--run", "again")
    assert invoke("dialogue", *where, *options).code == 0
    assert [row["messages"] for row in rows(tmp_path / "again")] == [row["messages"] for row in rows(tmp_path / "run")]


def test_a_recorded_run_answers_another_one(copy: Path) -> None:
    """--api replay: the same dialogues again, without a server."""
    where = ("--output-dir", copy, "--openers", copy / "openers.txt", "--rounds", "2-3")
    ended = invoke("dialogue", "--api", "replay", "--replay-from", copy / "run", *where, "--run", "again", "--json")
    assert ended.code == 0, ended.err
    assert [row["messages"] for row in rows(copy / "again")] == [row["messages"] for row in rows(copy / "run")]


# --- mended between two starts --------------------------------------------------------------------------------------


def test_materials_that_were_changed_stop_the_next_start_with_a_diff(tmp_path: Path) -> None:
    """Code 78, what was then and what is now; with the old text it goes on."""
    (tmp_path / "notes.txt").write_text(TEXT)
    options = ("--materials", tmp_path / "notes.txt", "--set", "openers.requests=3")
    with DialogueServer() as server:
        assert talk(server, tmp_path, *options).code == 0
        requests = server.counts.requests
        (tmp_path / "notes.txt").write_text(TEXT.replace("forty", "fifty"))
        ended = talk(server, tmp_path, *options)
        assert (ended.code, ended.out, server.counts.requests) == (78, "", requests)
        assert re.search(r"used\.materials: '1 passages?, sha256 \w+' -> '1 passages?, sha256 \w+'", ended.err)
        (tmp_path / "notes.txt").write_text(TEXT)
        assert talk(server, tmp_path, *options).code == 0


NO_TEMPLATE = (
    b'{"object":"error","message":"As of transformers v4.44, default chat template is no longer allowed, so you must'
    b' provide a chat template if the tokenizer does not define one.","type":"BadRequestError","code":400}'
)


def test_a_model_without_a_chat_template_stops_the_run_at_its_first_answer(tmp_path: Path) -> None:
    """Code 78 and what to do; mended, the same command goes on and loses nothing."""
    asked = file_of(tmp_path / "openers.txt", openers("en", 12))
    with DialogueServer() as server:
        server.fault = lambda path, number: (400, NO_TEMPLATE)
        ended = talk(server, tmp_path, "--openers", asked, "--concurrency", 4)
        assert ended.code == 78
        assert "ask it with --api completion" in ended.err
        assert server.counts.requests <= 4
        assert not rows(tmp_path / "run", kind="rejects")
        server.fault = lambda path, number: None
        assert talk(server, tmp_path, "--openers", asked, "--concurrency", 4).code == 0
    assert len(rows(tmp_path / "run")) == 12


def test_of_two_models_none_is_offered_in_the_place_of_another(tmp_path: Path) -> None:
    """With one model it is clear what its server has; with two the message says which of them there is not."""
    asked = file_of(tmp_path / "openers.txt", openers("en", 2))
    missing = b'{"error": {"message": "The model `small` does not exist", "code": "model_not_found"}}'
    with DialogueServer(fault=lambda path, number: (404, missing)) as server:
        one = talk(server, tmp_path, "--openers", asked, run="one")
        two = talk(server, tmp_path, "--openers", asked, "--user-model", "small", run="two")
    assert [ended.code for ended in (one, two)] == [78, 78]
    assert ["`small` does not exist" in ended.err for ended in (one, two)] == [True, True]
    assert ["the server offers played" in ended.err for ended in (one, two)] == [True, False]


# --- plan -----------------------------------------------------------------------------------------------------------


def plan(server: DialogueServer, output: Path, *args: object) -> Any:
    """What `plan dialogue --json` says."""
    where = ("--api", "chat", "--model", "played", "--base-url", server.url, "--output-dir", output, "--run", "run")
    ended = invoke("plan", "dialogue", *where, "--json", *args, OPENAI_API_KEY="")
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)


def test_a_plan_sends_and_writes_nothing(tmp_path: Path) -> None:
    """Rounds 2 of 6 openers: 12 answers and 6 turns of the user, times two where each is asked again."""
    asked = file_of(tmp_path / "openers.txt", openers("en", 6))
    with DialogueServer() as server:
        told = plan(server, tmp_path / "output", "--openers", asked, "--rounds", 2, "--price", "in=1,out=2")
        assert server.counts.requests == 0
    assert not (tmp_path / "output").exists()
    assert [told["total"][each]["calls"] for each in ("low", "likely", "high")] == [18, 18, 36]
    assert told["wanted"] == 6
    assert told["request"]["messages"][-1]["content"] == asked.read_text().splitlines()[0]
    likely = told["total"]["likely"]
    tokens = likely["prompt_tokens"] + 2 * likely["completion_tokens"]
    assert float(likely["cost"]) == pytest.approx(tokens / 1e6, rel=0.01)


def test_a_plan_says_how_far_a_cap_reaches(tmp_path: Path) -> None:
    """A tenth of the likely cost is enough for about a tenth of the openers."""
    asked = file_of(tmp_path / "openers.txt", openers("en", 100))
    with DialogueServer() as server:
        options = ("--openers", asked, "--price", "in=1,out=2")
        cost = float(plan(server, tmp_path, *options)["total"]["likely"]["cost"])
        told = plan(server, tmp_path, *options, "--max-cost", f"{cost / 10:.6f}usd")
    assert told["reach"]["likely"] in (9, 10)
    assert told["reach"]["high"] < 10 < told["reach"]["low"]


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("rounds", ["3-7", "2-4"])
def test_after_fifty_turns_a_plan_is_within_a_fifth_of_what_is_used(tmp_path: Path, lang: str, rounds: str) -> None:
    """Tokens in and out of the remaining dialogues: history sent again each turn included."""
    asked = file_of(tmp_path / "openers.txt", openers(lang, 100))
    options = ("--openers", asked, "--lang", lang, "--rounds", rounds)
    with DialogueServer() as server:
        assert talk(server, tmp_path, *options, "-n", 20, "-q").code == 0
        assert server.counts.requests >= 50
        likely = plan(server, tmp_path, *options, "-n", 100)["total"]["likely"]
        server.used.clear()
        calls = server.counts.requests
        assert talk(server, tmp_path, *options, "-n", 100, "-q").code == 0
        used = {name: count for (_, name), count in server.used.items()}
        assert likely["calls"] == pytest.approx(server.counts.requests - calls, rel=0.1)
    for name in ("prompt_tokens", "completion_tokens"):
        assert likely[name] == pytest.approx(used[name], rel=0.2), name


def test_a_plan_of_a_run_whose_dialogues_were_cut_short_reckons_with_that(tmp_path: Path) -> None:
    """Every other one ends in round 2 with a goodbye: so will about every other one of those left."""
    texts = openers("en", 120)
    asked = file_of(tmp_path / "openers.txt", texts)
    options = ("--openers", asked, "--rounds", "3-7")
    with DialogueServer({text: Misdeed(4, "goodbye") for text in texts[::2]}) as server:
        assert talk(server, tmp_path, *options, "-n", 40, "-q").code == 0
        likely = plan(server, tmp_path, *options, "-n", 120)["total"]["likely"]
        server.used.clear()
        assert talk(server, tmp_path, *options, "-n", 120, "-q").code == 0
        used = {name: count for (_, name), count in server.used.items()}
    for name in ("prompt_tokens", "completion_tokens"):
        assert likely[name] == pytest.approx(used[name], rel=0.2), name


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_told_how_long_turns_are_a_plan_is_within_a_fifth_before_the_first_call(tmp_path: Path, lang: str) -> None:
    """--answer-tokens and --turn-tokens, as the user knows them of the model."""
    asked = file_of(tmp_path / "openers.txt", openers(lang, 60))
    options = ("--openers", asked, "--lang", lang, "--rounds", "3-5")
    with DialogueServer() as server:
        assert talk(server, tmp_path, *options, "-q", run="known").code == 0
        used = {name: count for (_, name), count in server.used.items()}
        means = mean_tokens(tmp_path / "known")
        told = ("--answer-tokens", round(means["assistant"]), "--turn-tokens", round(means["user"]))
        likely = plan(server, tmp_path, *options, *told)["total"]["likely"]
    for name in ("prompt_tokens", "completion_tokens"):
        assert likely[name] == pytest.approx(used[name], rel=0.2), name


def mean_tokens(run: Path) -> dict[str, float]:
    """How many tokens turns have, as the server counts, by role."""
    turns = [turn for row in rows(run) for turn in row["messages"][1:]]
    counts = {
        role: [tokens(turn["content"]) for turn in turns if turn["role"] == role] for role in ("user", "assistant")
    }
    return {role: sum(each) / len(each) for role, each in counts.items()}
