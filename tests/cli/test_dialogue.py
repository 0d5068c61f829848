"""`selfinstruct dialogue` as people use it: options, where openers come from, names, resuming, servers, bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import data_files, invoke
from tests.faults.dialogue_server import DialogueServer, openers
from tests.talking import TEXT, file_of, identity_of, rows, talk


@pytest.fixture
def server() -> Iterator[DialogueServer]:
    """A server that answers at once and does nothing wrong."""
    with DialogueServer() as started:
        yield started


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Six openers, one a line."""
    return file_of(tmp_path / "openers.txt", openers("en", 6))


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "table", "name", "value"),
    [
        (("--rounds", "2"), "dialogue", "rounds", [2, 2]),
        (("--rounds", "1-3"), "dialogue", "rounds", [1, 3]),
        (("--rounds", "1..3"), "dialogue", "rounds", [1, 3]),
        (("--sector", "writing"), "dialogue", "sector", "writing"),
        (("--temperature", "0.2"), "dialogue", "temperature", 0.2),
        (("--user-temperature", "0.9"), "dialogue", "user_temperature", 0.9),
        (("--max-tokens", "700"), "dialogue", "max_tokens", 700),
        (("--seed", "7"), "", "seed", 7),
        (("--threshold", "0.5"), "openers", "threshold", "0.5"),
        (("--set", "dialogue.resamples=0"), "dialogue", "resamples", 0),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_each_option_ends_in_the_recipe(
    server: DialogueServer, tmp_path: Path, asked: Path, options: tuple[str, ...], table: str, name: str, value: object
) -> None:
    """And so in the stage.json of what it is for."""
    assert talk(server, tmp_path, "--openers", asked, "-n", 1, "-q", *options).code == 0
    identity = identity_of(tmp_path / "run", table or "dialogue")
    assert (identity[table] if table else identity)[name] == value


def test_rounds_are_the_sector_s_unless_they_are_said(server: DialogueServer, tmp_path: Path, asked: Path) -> None:
    """3 to 7 about the world, 2 to 4 of writing."""
    for sector, rounds in (("world", [3, 7]), ("writing", [2, 4])):
        where = ("--api", "chat", "--model", "played", "--base-url", server.url, "--output-dir", tmp_path)
        assert invoke("dialogue", *where, "--openers", asked, "--sector", sector, "-n", 1, "--run", sector).code == 0
        assert identity_of(tmp_path / sector, "dialogue")["dialogue"]["rounds"] == rounds


def test_what_is_sent_is_what_the_options_say(server: DialogueServer, tmp_path: Path, asked: Path) -> None:
    """Each side with a sampling of its own, the language's prompts, the history before the user's instruction."""
    options = ("--temperature", 0.1, "--user-temperature", 0.8, "--max-tokens", 333, "--rounds", 2, "-n", 1)
    assert talk(server, tmp_path, "--openers", asked, *options, "-q").code == 0
    answer, turn, last = server.bodies
    assert [body["temperature"] for body in server.bodies] == [0.1, 0.8, 0.1]
    assert [body["max_tokens"] for body in server.bodies] == [333, 256, 333]
    first = asked.read_text().splitlines()[0]
    assert [message["role"] for message in answer["messages"]] == ["system", "user"]
    assert answer["messages"][1]["content"] == turn["messages"][0]["content"] == first
    assert [message["role"] for message in turn["messages"]] == ["user", "assistant", "user"]
    assert turn["messages"][2]["content"].startswith("Switch sides now")
    assert [message["role"] for message in last["messages"]] == ["system", "user", "assistant", "user"]
    [record] = rows(tmp_path / "run")
    assert [message["content"] for message in record["messages"][:3]] == [
        message["content"] for message in last["messages"][1:]
    ]


def test_personas_of_the_user_s_own_play_the_user(server: DialogueServer, tmp_path: Path, asked: Path) -> None:
    """Their words are in the prompt, their id in the record."""
    persona = {"id": "p-1", "expertise": "mends clocks", "mood": "calm", "goal": "wants a date", "style": "is terse"}
    personas = file_of(tmp_path / "personas.jsonl", [json.dumps(persona)])
    assert talk(server, tmp_path, "--openers", asked, "--personas", personas, "--rounds", 2, "-n", 1).code == 0
    assert "mends clocks; calm; wants a date; is terse." in server.bodies[1]["messages"][-1]["content"]
    assert [row["persona"] for row in rows(tmp_path / "run")] == ["p-1"]


# --- where openers come from ----------------------------------------------------------------------------------------


def test_openers_of_a_text_file_each_become_a_dialogue(server: DialogueServer, tmp_path: Path, asked: Path) -> None:
    """All of them, in order, without -n; each record knows its line; blank lines and repeats are none."""
    lines = asked.read_text().splitlines()
    file_of(asked, [lines[0], "", *lines[1:], f"  {lines[2].upper()}"])
    ended = talk(server, tmp_path, "--openers", asked, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert [row["messages"][0]["content"] for row in rows(tmp_path / "run")] == lines
    assert [row["provenance"]["seeds"] for row in rows(tmp_path / "run")][:2] == [["openers.txt:1"], ["openers.txt:3"]]
    assert {row["opener"]["origin"] for row in rows(tmp_path / "run")} == {"given"}
    assert json.loads(ended.out)["stages"][0]["rejects"] == {"duplicate_text": 1}


def test_openers_of_json_lines_come_in_the_layouts_of_chat_data(server: DialogueServer, tmp_path: Path) -> None:
    """A prompt, an instruction with input, turns of OpenAI, of ShareGPT and of UltraChat."""
    texts = openers("en", 5)
    layouts: list[dict[str, Any]] = [
        {"prompt": texts[0]},
        {"instruction": texts[1], "input": "It is old."},
        {"messages": [{"role": "user", "content": texts[2]}, {"role": "assistant", "content": "Yes."}]},
        {"conversations": [{"from": "human", "value": texts[3]}, {"from": "gpt", "value": "No."}]},
        {"id": "7", "data": [texts[4], "Perhaps."]},
    ]
    file = file_of(tmp_path / "openers.jsonl", [json.dumps(layout) for layout in layouts])
    assert talk(server, tmp_path, "--openers", file).code == 0
    first = [row["messages"][0]["content"] for row in rows(tmp_path / "run")]
    assert first == [texts[0], f"{texts[1]}\n\nIt is old.", *texts[2:]]


def test_a_run_of_generate_gives_its_instructions_as_openers(server: DialogueServer, tmp_path: Path) -> None:
    """All that it accepted; the run and the record are named in each dialogue."""
    where = ("--output-dir", tmp_path)
    assert invoke("generate", "--api", "fake", *where, "--run", "made", "-n", 8, "-q").code == 0
    ended = talk(server, tmp_path, "--from", "made", "--json")
    assert (ended.code, ended.err) == (0, "")
    made, said = rows(tmp_path / "made", "instances"), rows(tmp_path / "run")
    assert json.loads(ended.out)["target"] == len(made)
    asked = {row["instruction"] + (f"\n\n{row['input']}" if row["input"].strip() else "") for row in made}
    assert {row["messages"][0]["content"] for row in said} == {text.strip() for text in asked}
    assert said[0]["opener"]["origin"] == "run"
    assert said[0]["opener"]["topic"] == f"made:{made[0]['id']}"


def test_topics_are_where_openers_come_from_by_default(server: DialogueServer, tmp_path: Path) -> None:
    """Meta topics → sub-topics → questions → dialogues; each record knows the way it came."""
    ended = talk(server, tmp_path, "-n", 12, "--set", "topics.subtopics=2", "--json")
    assert (ended.code, ended.err) == (0, "")
    account = json.loads(ended.out)
    accepted = {each["stage"]: each["accepted"] for each in account["stages"]}
    assert list(accepted) == ["topics", "openers", "dialogue"]
    assert accepted["openers"] == accepted["dialogue"] >= 12
    said = rows(tmp_path / "run")
    assert len({row["opener"]["topic"] for row in said}) >= 2
    assert all(row["opener"]["subtopic"] and row["provenance"]["seeds"][0].startswith("en-topic-") for row in said)
    assert json.loads(ended.out)["next"] == "selfinstruct export run --format messages --out run.jsonl"


def test_entities_are_asked_about_in_place_of_topics(server: DialogueServer, tmp_path: Path) -> None:
    """Each by its name."""
    file = file_of(tmp_path / "entities.txt", ["Bell Rock", "Pharos"])
    assert talk(server, tmp_path, "--entities", file, "-n", 12).code == 0
    assert {row["opener"]["topic"] for row in rows(tmp_path / "run")} == {"Bell Rock", "Pharos"}
    assert "questions about Bell Rock" in str(server.bodies)
    assert not (tmp_path / "run" / "topics").exists()


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_writing_expands_most_instructions_before_they_are_used(
    server: DialogueServer, tmp_path: Path, lang: str
) -> None:
    """openers → expand → dialogue: the dialogue begins with what expand made of it."""
    assert talk(server, tmp_path, "--sector", "writing", "--lang", lang, "-n", 12).code == 0
    first = [row["instruction"] for row in rows(tmp_path / "run", "expand")]
    assert [row["messages"][0]["content"] for row in rows(tmp_path / "run")] == first
    kept = {row["instruction"] for row in rows(tmp_path / "run", "openers")} & set(first)
    assert len(kept) + server.kinds["expand"] == len(first)
    assert 0.5 < server.kinds["expand"] / len(first) < 1


def test_materials_of_a_folder_are_passages_of_the_first_turns(server: DialogueServer, tmp_path: Path) -> None:
    """Text and Markdown alike; the passage stands in the first turn, whole, beside its request."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    (folder / "b.md").write_text("# The tannery\n\nIt stood below the bridge and smelled of oak bark all summer.\n")
    assert talk(server, tmp_path, "--materials", folder, "--set", "openers.requests=3").code == 0
    asked, said = rows(tmp_path / "run", "openers"), rows(tmp_path / "run")
    assert {opener["passage"] for opener in asked} >= {TEXT.strip()}
    for opener, row in zip(asked, said, strict=True):
        assert opener["passage"] in row["messages"][0]["content"]
        assert opener["instruction"] in row["messages"][0]["content"]
        assert row["sector"] == "materials"


# --- names, resuming ------------------------------------------------------------------------------------------------


def test_a_run_is_named_after_sector_language_and_model(server: DialogueServer, tmp_path: Path, asked: Path) -> None:
    """So the same command finds its run again, and asks nothing."""
    for _ in range(2):
        assert talk(server, tmp_path, "--openers", asked, "--user-model", "small", "-q", run="").code == 0
    requests = server.counts.requests
    assert server.counts.most == 1
    assert talk(server, tmp_path, "--sector", "writing", "-n", 4, "-q", run="").code == 0
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert names == ["dialogue-world-openers-en-played", "dialogue-writing-en-played"]
    assert server.counts.requests > requests


def test_a_finished_run_asks_nothing_and_changes_nothing(server: DialogueServer, tmp_path: Path, asked: Path) -> None:
    """Whatever its concurrency, and with the server gone."""
    assert talk(server, tmp_path, "--openers", asked).code == 0
    files, requests = data_files(tmp_path / "run"), server.counts.requests
    server.fault = lambda path, number: (500, b"{}")
    ended = talk(server, tmp_path, "--openers", asked, "--concurrency", 3, "--json")
    assert (ended.code, json.loads(ended.out)["new_calls"], server.counts.requests) == (0, 0, requests)
    assert data_files(tmp_path / "run") == files


def test_plus_n_extends_a_run_by_so_many(server: DialogueServer, tmp_path: Path, asked: Path) -> None:
    """The run equals one that was asked for all at once, and no call is made twice."""
    assert talk(server, tmp_path, "--openers", asked, "-n", 6, run="whole").code == 0
    server.asked.clear()
    sizes = []
    for number in ("2", "+1", "+3"):
        assert talk(server, tmp_path, "--openers", asked, "-n", number).code == 0
        sizes.append(len(rows(tmp_path / "run")))
    assert sizes == [2, 3, 6]
    assert server.counts.most == 1
    assert data_files(tmp_path / "run") == data_files(tmp_path / "whole")


def test_more_than_there_is_ends_with_what_there_is(server: DialogueServer, tmp_path: Path, asked: Path) -> None:
    """Code 0: the file is through; and so is the next start, without a call."""
    for new in (True, False):
        ended = talk(server, tmp_path, "--openers", asked, "-n", 50, "--json")
        account = json.loads(ended.out)
        assert (ended.code, bool(account["new_calls"]), account["exhausted"]) == (0, new, False)
        assert account["next"].startswith("selfinstruct export run")


# --- who is asked ---------------------------------------------------------------------------------------------------


def test_each_of_two_servers_sees_its_own_key_and_model_only(tmp_path: Path, asked: Path) -> None:
    """The user's is asked for the user's turns, the assistant's for answers."""
    with DialogueServer(key="key-u") as user, DialogueServer(key="key-a") as assistant:
        options = ("--user-base-url", user.url, "--user-model", "small", "--user-api", "chat")
        keys = {"SELFINSTRUCT_USER_API_KEY": "key-u", "OPENAI_API_KEY": "key-a"}
        assert talk(assistant, tmp_path, "--openers", asked, "--rounds", 2, *options, **keys).code == 0
        assert (user.keys, user.models, user.kinds) == ({"key-u": 6}, {"small": 6}, {"user": 6})
        assert (assistant.keys, assistant.models, assistant.kinds) == (
            {"key-a": 12},
            {"played": 12},
            {"assistant": 12},
        )
    [*_, row] = rows(tmp_path / "run")
    assert row["provenance"]["models"] == ["played", "small"]


def test_another_address_is_asked_in_the_same_way(tmp_path: Path, asked: Path) -> None:
    """--user-base-url alone: the user's turns come from there, by the run's API and under its model's name."""
    with DialogueServer() as user, DialogueServer() as assistant:
        ended = talk(assistant, tmp_path, "--openers", asked, "--rounds", 2, "--user-base-url", user.url)
        assert (ended.code, ended.err) == (0, "")
        assert (user.models, user.kinds) == ({"played": 6}, {"user": 6})
        assert assistant.kinds == {"assistant": 12}
        assert set(user.keys) == {""}  # the run's key is not for every address


def test_three_servers_write_openers_ask_and_answer(tmp_path: Path) -> None:
    """The run's model makes the openers, and never speaks in a dialogue."""
    with DialogueServer() as teacher, DialogueServer() as user, DialogueServer() as assistant:
        options = [("--user-base-url", user.url), ("--assistant-base-url", assistant.url)]
        options += [("--user-api", "chat"), ("--assistant-api", "chat"), ("--set", "topics.subtopics=1")]
        options += [("--user-model", "small"), ("--assistant-model", "large"), ("-n", "4"), ("--rounds", "2")]
        ended = talk(teacher, tmp_path, *(word for pair in options for word in pair))
        assert (ended.code, ended.err) == (0, "")
        assert [set(one.kinds) for one in (teacher, user, assistant)] == [{"list"}, {"user"}, {"assistant"}]
        assert [set(one.models) for one in (teacher, user, assistant)] == [{"played"}, {"small"}, {"large"}]


def test_a_model_without_a_chat_is_asked_by_transcript(server: DialogueServer, tmp_path: Path, asked: Path) -> None:
    """--api completion: the same dialogue as text, with stops before the other side's label."""
    where = ("--base-url", server.url, "--model", "played", "--output-dir", tmp_path, "--run", "run")
    assert invoke("dialogue", "--api", "completion", *where, "--openers", asked, "--rounds", 2).code == 0
    assert server.kinds == {"assistant": 12, "user": 6}
    assert len(rows(tmp_path / "run")) == 6
    turn = next(body for body in server.bodies if body["prompt"].rstrip().endswith("User:"))
    assert "\nAssistant:" in turn["stop"]
    assert all("messages" not in body for body in server.bodies)


# --- bad input ------------------------------------------------------------------------------------------------------

LONG_SENTENCE = f"It {'went on and on ' * 300}until it ended."
NO_TEMPLATE = (
    b'{"object":"error","message":"As of transformers v4.44, default chat template is no longer allowed, so you must'
    b' provide a chat template if the tokenizer does not define one.","type":"BadRequestError","code":400}'
)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--materials", "{tmp}/nothing"), 65, "nothing"),
        (("--materials", "{tmp}/empty.txt"), 65, "empty.txt: is empty; name a file that holds text"),
        (("--materials", "{tmp}/long.txt"), 65, "long.txt"),
        (("--sector", "materials"), 2, "the sector materials needs files: name them with --materials"),
        (
            ("--materials", "{tmp}/good.txt", "--set", "openers.passage_tokens=9000"),
            78,
            "a passage of 9000 tokens is larger than what a context of 16384 has room for",
        ),
        (("--materials", "{tmp}/good.txt", "--set", "dialogue.assistant_context=2000"), 78, "openers.passage_tokens"),
        (("--sector", "wold", "-n", "1"), 2, "'wold' is not one of 'world', 'writing', 'materials'"),
        (("--rounds", "0"), 2, "--rounds '0': expected a number of rounds from 1 on"),
        (("--rounds", "5-3"), 2, "--rounds '5-3': expected a number of rounds from 1 on"),
        (("--rounds", ""), 2, "--rounds '': expected a number of rounds"),
        (("--set", "dialogue.rounds=[0, 2]"), 2, "a dialogue has at least one round"),
        (("--set", "dialogue.secktor=world"), 78, "dialogue.sector"),
        (("--openers", "{tmp}/zh.txt"), 65, "not in the language of the run (en), such as this one: add --lang zh"),
        (("--openers", "{tmp}/none.txt"), 65, "none.txt"),
        (("--openers", "{tmp}/broken.jsonl"), 65, "broken.jsonl:1"),
        (("--openers", "{tmp}/good.txt", "--from", "{tmp}/run"), 65, "run"),
        (("--openers", "{tmp}/good.txt", "--materials", "{tmp}/good.txt"), 2, "--openers and --materials both say"),
        (("--openers", "{tmp}/good.txt", "--entities", "{tmp}/good.txt"), 2, "--openers and --entities both say"),
        (("--materials", "{tmp}/good.txt", "--sector", "world"), 2, "--materials is not for --sector world"),
        (("--entities", "{tmp}/good.txt", "--sector", "writing"), 2, "--entities is not for --sector writing"),
        (("-n", "0"), 2, "--num-dialogues '0'"),
        (("-n", "ten"), 2, "--num-dialogues 'ten'"),
        (("--set", "dialogue.user_context=300"), 78, "leaves the user no room"),
        (("--personas", "{tmp}/good.txt"), 65, "good.txt"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_bad_input_is_told_before_anything_is_sent(
    server: DialogueServer, tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    """One line that says what and what to do, the right exit code, no run folder, not one request."""
    (tmp_path / "good.txt").write_text(TEXT)
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "long.txt").write_text(f"A short one.\n\n{LONG_SENTENCE}\n")
    (tmp_path / "broken.jsonl").write_text('{"id": 1}\n')
    file_of(tmp_path / "zh.txt", openers("zh", 8))
    words = [word.replace("{tmp}", str(tmp_path)) for word in options]
    ended = talk(server, tmp_path / "output", *words)
    assert (ended.code, said in ended.err, ended.out) == (code, True, ""), ended.err
    assert "Traceback" not in ended.err
    assert server.counts.requests == 0
    assert not (tmp_path / "output" / "run").exists()
