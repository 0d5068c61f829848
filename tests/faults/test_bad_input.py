"""Whatever is wrong with what the user gives or the world does: the right exit code, one clear line, nothing lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct import resources
from selfinstruct.models import retrying
from tests.command import PROGRAM, ROOT, Ended, data_files, invoke, spawn, until, wait
from tests.faults.answer_server import AnswerServer

pytestmark = pytest.mark.faults

KEY = "sk-a-key-nobody-should-read"


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    """A server that answers at once."""
    with AnswerServer() as started:
        yield started


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once, and a provider that is gone is given up soon."""
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.0)
    monkeypatch.setenv("SELFINSTRUCT_GIVE_UP_AFTER", "1")


def fake(output: Path, *args: object) -> Ended:
    """A run of the script that ships with the package."""
    return invoke("generate", "--api", "fake", "--output-dir", output, "--run", "run", "-n", 20, "-q", *args)


def served(server: AnswerServer, output: Path, *args: object, **environment: str) -> Ended:
    """A run against the server."""
    where = ("--api", "completion", "--base-url", server.url, "--output-dir", output, "--run", "run", "-n", 60, "-q")
    return invoke("generate", *where, "--set", "model.send_seed=true", *args, **environment)


def problem(message: str, **more: Any) -> bytes:
    """An error body as APIs send it."""
    return orjson.dumps({"error": {"message": message, **more}})


def is_one_line(ended: Ended, code: int, *words: str) -> bool:
    """The code, and a single line on standard error that holds the words; nothing on standard output."""
    assert ended.code == code, ended.err
    assert (ended.out, ended.err.count("\n")) == ("", 1), ended.err
    assert ended.err.startswith("selfinstruct: ")
    assert [word for word in words if word not in ended.err] == [], ended.err
    return True


# --- seed files -----------------------------------------------------------------------------------------------------

GOOD = json.dumps({"id": "a", "instruction": "Name a river.", "instances": [{"input": "", "output": "Rhine"}]})


def test_a_missing_seed_file_is_named(tmp_path: Path) -> None:
    """65."""
    ended = fake(tmp_path, "--seed-tasks", tmp_path / "none.jsonl")
    assert is_one_line(ended, 65, f"{tmp_path}/none.jsonl: cannot read the seed file: No such file or directory")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GOOD}\n{{\n", ":2: not a JSON object"),
        (f"{GOOD}\n\n[]\n", ":3: not a JSON object but list"),
        (GOOD.replace("Name a river.", ""), ":1: 'instruction': "),
        (GOOD.replace('"output"', '"outputs"'), ":1: 'instances.0.output': Field required"),
        (f"{GOOD}\n{GOOD}\n", "the id 'a' stands "),
        ("\n\n", ": holds no seed task"),
        (GOOD + "\n", "1 seed tasks, but a prompt shows 8"),
    ],
)
def test_a_broken_seed_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    """65, and nothing is written."""
    (tmp_path / "seeds.jsonl").write_text(text)
    ended = fake(tmp_path / "output", "--seed-tasks", tmp_path / "seeds.jsonl")
    assert is_one_line(ended, 65, message)
    assert not (tmp_path / "output").exists()


def test_a_seed_file_in_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    """65, with what to do."""
    (tmp_path / "seeds.jsonl").write_bytes(f"{GOOD}\n".encode() + GOOD.replace("river", "Zürich").encode("latin-1"))
    assert is_one_line(
        fake(tmp_path, "--seed-tasks", tmp_path / "seeds.jsonl"), 65, "seeds.jsonl:2: not UTF-8", "iconv"
    )


# --- options and recipes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--api", "gpt"), "'gpt'"),
        (("--method", "magic"), "'magic'"),
        (("--lang", "fr"), "'fr'"),
        (("--method", "belle", "--lang", "en"), "the method belle is Chinese"),
        (("--concurrency", "0"), "concurrency"),
        (("--concurrency", "many"), "'--concurrency'"),
        (("--temperature", "3"), "temperature"),
        (("--top-p", "-1"), "top"),
        (("--threshold", "1.5"), "threshold"),
        (("--threshold", "high"), "threshold"),
        (("--max-unusable", "2"), "max-unusable"),
        (("--num-instructions", "many"), "'many'"),
        (("--run", "a/b"), "'a/b'"),
        (("--set", "lag"), "expected key=value"),
        (("--set", "lag=0"), "lag"),
        (("--set", "lag.x=1"), "lag"),
        (("--no-such-option",), "--no-such-option"),
        (("surplus",), "surplus"),
    ],
)
def test_a_wrong_option_is_a_usage_error(tmp_path: Path, args: tuple[str, ...], word: str) -> None:
    """2, with the option or its value, before anything is written."""
    assert is_one_line(fake(tmp_path / "output", *args), 2, word)
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("round_sise = 8", ["unknown recipe key 'round_sise'", "did you mean 'round_size'?"]),
        ("[bootstrap]\ntemprature = 0.5", ["'bootstrap.temprature'", "did you mean 'bootstrap.temperature'?"]),
        ("[model]\nlag = 3", ["'model.lag'", "did you mean 'lag'?"]),
        ("lag = 0", ["lag", "(got 0)"]),
        ("lag = ", ["not TOML"]),
    ],
)
def test_a_wrong_recipe_is_one_line_with_a_suggestion(tmp_path: Path, recipe: str, words: list[str]) -> None:
    """78, naming the file."""
    (tmp_path / "own.toml").write_text(recipe)
    ended = fake(tmp_path / "output", "--recipe", tmp_path / "own.toml")
    assert is_one_line(ended, 78, "own.toml", *words)
    assert not (tmp_path / "output").exists()


def test_an_unknown_key_on_the_command_line_gets_the_same_suggestion(tmp_path: Path) -> None:
    """78, like the same key in a file."""
    assert is_one_line(fake(tmp_path, "--set", "lags=3"), 78, "unknown recipe key 'lags'", "did you mean 'lag'?")


def test_a_recipe_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    """78."""
    assert is_one_line(
        fake(tmp_path, "--recipe", "demoo"),
        78,
        "demoo",
        "shipped recipes: alpaca, belle, demo, demo-dialogue, demo-feedback, self-instruct, ultrachat, ultrafeedback",
    )


def test_a_wrong_setting_in_the_environment_is_named(tmp_path: Path) -> None:
    """78, since no option was wrong."""
    ended = invoke("generate", "--api", "fake", "--output-dir", tmp_path, SELFINSTRUCT_TIMEOUT="soon")
    assert is_one_line(ended, 78, "SELFINSTRUCT_TIMEOUT='soon'")


# --- where it is written --------------------------------------------------------------------------------------------
# Root ignores permission bits, so folders that cannot be written are made of other things.


@pytest.mark.parametrize("folder", ["{tmp}/file", "{tmp}/file/below", "/proc/nowhere", "{tmp}/taken"])
def test_an_output_folder_that_cannot_be_written_is_named(tmp_path: Path, folder: str) -> None:
    """74: a file in its place, a file system that takes nothing, a run's folder that is a file."""
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "run").touch()
    path = folder.format(tmp=tmp_path)
    assert is_one_line(fake(Path(path)), 74, f"{path}/run: cannot write here: ")


@pytest.mark.parametrize("taken", ["ledger.sqlite3", "bootstrap/shard-0.jsonl", "instances/manifest.json", "classify"])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, taken: str) -> None:
    """74: something else stands in its place; once it is gone, running again goes on."""
    parts = taken.split("/")
    (tmp_path / "run" / parts[0]).mkdir(parents=True)
    if taken == "classify":
        (tmp_path / "run" / taken).rmdir()
        (tmp_path / "run" / taken).touch()
    elif len(parts) == 2:
        (tmp_path / "run" / taken / "full").mkdir(parents=True)
    assert is_one_line(fake(tmp_path), 74, f"{tmp_path}/run/{taken}")
    shutil.rmtree(tmp_path / "run" / taken) if taken != "classify" else (tmp_path / "run" / taken).unlink()
    assert fake(tmp_path).code == 0


@pytest.mark.parametrize("kib", [64, 200, 400])
def test_a_full_disk_stops_the_run_and_loses_nothing(server: AnswerServer, tmp_path: Path, kib: int) -> None:
    """74 wherever the disk runs full, here a limit on the size of a file; with room again, the same bytes."""
    assert served(server, tmp_path / "whole").code == 0
    server.asked.clear()
    words = ["generate", "--api", "completion", "--base-url", server.url, "--output-dir", str(tmp_path), "--run", "run"]
    words += ["-n", "60", "-q", "--set", "model.send_seed=true"]
    limited = ["bash", "-c", f'ulimit -f {kib}; exec "$@"', "bash", *PROGRAM, *words]
    ended = subprocess.run(limited, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert is_one_line(Ended(ended.returncode, ended.stdout, ended.stderr), 74, "cannot write")
    assert served(server, tmp_path).code == 0
    assert data_files(tmp_path / "run") == data_files(tmp_path / "whole" / "run")


# --- who answers ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_closed_port_is_temporary(tmp_path: Path) -> None:
    """75, after some attempts, with the address."""
    with AnswerServer() as server:
        pass
    assert is_one_line(served(server, tmp_path), 75, server.url, "no connection", "has not answered")


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_down_for_now_is_temporary_and_nothing_becomes_a_reject(
    server: AnswerServer, tmp_path: Path
) -> None:
    """75, and the next start goes on to the bytes of an undisturbed run."""
    assert served(server, tmp_path / "whole").code == 0
    server.fault = lambda path, number: (503, problem("overloaded")) if number >= 150 else None
    assert is_one_line(served(server, tmp_path), 75, "503", "overloaded")
    server.fault = lambda path, number: None
    assert served(server, tmp_path).code == 0
    assert data_files(tmp_path / "run") == data_files(tmp_path / "whole" / "run")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("body", [b"<html>Welcome to the hotel's network</html>", b'{"choices": []}'])
def test_an_answer_that_is_none_is_temporary(server: AnswerServer, tmp_path: Path, body: bytes) -> None:
    """75: a captive portal's page with status 200, an answer without choices."""
    server.fault = lambda path, number: (200, body)
    assert is_one_line(served(server, tmp_path), 75, "has not answered", "the last error")


def test_openai_without_a_key_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """77, with the variable and the ways around it."""
    ended = invoke("generate", "--api", "chat", "--output-dir", tmp_path / "output", "-q", OPENAI_API_KEY="")
    assert is_one_line(ended, 77, "no API key: set OPENAI_API_KEY", "--base-url")
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("concurrency", [1, 5])
def test_a_wrong_key_costs_at_most_the_calls_in_flight(server: AnswerServer, tmp_path: Path, concurrency: int) -> None:
    """77, and the key itself is nowhere: not in the message, not in the run."""
    server.fault = lambda path, number: (401, problem(f"Incorrect API key provided: {KEY}", code="invalid_api_key"))
    ended = served(server, tmp_path, "--concurrency", concurrency, OPENAI_API_KEY=KEY)
    assert is_one_line(ended, 77, "401", "OPENAI_API_KEY")
    assert 1 <= server.counts.requests <= concurrency
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in ended.err
    assert KEY.encode() not in written


def test_a_used_up_quota_needs_a_person(server: AnswerServer, tmp_path: Path) -> None:
    """77 although the status is 429: waiting does not help."""
    server.fault = lambda path, number: (429, problem("You exceeded your current quota", code="insufficient_quota"))
    assert is_one_line(served(server, tmp_path, "--concurrency", 2), 77, "quota or credit is used up")
    assert server.counts.requests <= 2


def test_an_unknown_model_is_answered_with_those_there_are(server: AnswerServer, tmp_path: Path) -> None:
    """78, and the nearest names first."""
    listing = orjson.dumps({"data": [{"id": name} for name in ("llama-3-8b", "qwen3-8b", "qwen3-4b")]})
    missing = problem("The model `qwen-8b` does not exist", code="model_not_found")
    server.fault = lambda path, number: (200, listing) if path == "/v1/models" else (404, missing)
    ended = served(server, tmp_path, "--model", "qwen-8b", "--concurrency", 1)
    assert is_one_line(ended, 78, "does not exist", "the server offers qwen3-8b, qwen3-4b")
    assert server.counts.requests == 1


def test_a_wrong_address_is_one_line(server: AnswerServer, tmp_path: Path) -> None:
    """78: something answers there, but not this API; or the address is none."""
    server.fault = lambda path, number: (404, b"<h1>Not Found</h1>")
    assert is_one_line(served(server, tmp_path), 78, "is --base-url right")
    assert is_one_line(served(server, tmp_path, "--base-url", "localhost:8000"), 78, "must look like https://")


def test_an_unknown_embedded_model_is_one_line(tmp_path: Path) -> None:
    """78: a name that only an API can have, a file that is not there."""
    for name in ("gpt-4o", str(tmp_path / "none.gguf")):
        ended = invoke("generate", "--api", "local", "--model", name, "--output-dir", tmp_path / "output", "-q")
        assert is_one_line(ended, 78, name)
    assert not (tmp_path / "output").exists()


# --- runs -----------------------------------------------------------------------------------------------------------


def test_two_processes_never_work_on_one_run(tmp_path: Path) -> None:
    """The second one ends at once with 75 and touches nothing; the first goes on."""
    with AnswerServer(latency=lambda rng: 3600.0) as server:
        where = ("generate", "--api", "completion", "--base-url", server.url, "--output-dir", tmp_path, "--run", "run")
        first = spawn(*where)
        until(lambda: server.in_flight == 8, first)
        ended = invoke(*where, "-q")
        assert is_one_line(ended, 75, f"{tmp_path}/run: another process works on this run")
        assert (first.poll(), server.counts.requests) == (None, 8)
        first.kill()
        wait(first)


def changed_prompts(folder: Path) -> Path:
    """The shipped prompts, one of them with another first line."""
    shutil.copytree(resources.prompts_dir(), folder)
    prompt = folder / "bootstrap" / "en" / "list.md"
    head, block, text = prompt.read_text().partition("{% block completion %}\n")
    prompt.write_text(head + block + "Tasks, and nothing but tasks.\n" + text.partition("\n")[2])
    return folder


def test_a_changed_prompt_stops_a_resumed_run_and_shows_the_difference(
    server: AnswerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """78 before anything is spent or written: the key that changed, and the prompt's line then and now."""
    assert served(server, tmp_path).code == 0
    before, asked = data_files(tmp_path / "run"), server.counts
    prompts = changed_prompts(tmp_path / "prompts")
    monkeypatch.setattr(resources, "prompts_dir", lambda: prompts)
    ended = served(server, tmp_path, "-n", 200)
    assert (ended.code, ended.out) == (78, "")
    assert "this run was started with other settings" in ended.err
    assert "--run NAME" in ended.err
    lines = ended.err.splitlines()
    assert [line for line in lines if line.startswith("  prompts.bootstrap/en/list: ")] != []
    assert [line for line in lines if line.startswith("  +T")] == ["  +Tasks, and nothing but tasks."]
    assert len([line for line in lines if line.startswith("  -") and not line.startswith("  ---")]) == 1
    assert (data_files(tmp_path / "run"), server.counts) == (before, asked)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("--model", "other"), "model.model: 'gpt-3.5-turbo-instruct' -> 'other'"),
        (("--seed", "43"), "seed: 42 -> 43"),
        (("--temperature", "0.9"), "bootstrap.temperature: 0.7 -> 0.9"),
        (("--threshold", "0.5"), "bootstrap.threshold: '0.7' -> '0.5'"),
        (("--set", "round_size=9"), "round_size: 8 -> 9"),
        (("--set", "instances.keep=1"), "instances.keep: 5 -> 1"),
    ],
)
def test_any_setting_that_decides_bytes_stops_a_resumed_run(
    server: AnswerServer, tmp_path: Path, change: tuple[str, ...], line: str
) -> None:
    """78, old value and new; also one of a later stage only."""
    assert served(server, tmp_path).code == 0
    before = data_files(tmp_path / "run")
    ended = served(server, tmp_path, *change)
    assert ended.code == 78
    assert f"  {line}" in ended.err.splitlines()
    assert data_files(tmp_path / "run") == before


def test_settings_that_do_not_decide_bytes_may_change(server: AnswerServer, tmp_path: Path) -> None:
    """Concurrency, the share of unusable answers, the key."""
    assert served(server, tmp_path).code == 0
    ended = served(server, tmp_path, "--concurrency", 3, "--max-unusable", 0.9, OPENAI_API_KEY=KEY)
    assert ended.code == 0


def test_a_ledger_that_is_none_is_damage(tmp_path: Path) -> None:
    """5: bytes that are not what was written."""
    assert fake(tmp_path).code == 0
    for path in (tmp_path / "run").glob("ledger.sqlite3*"):
        path.unlink()
    (tmp_path / "run" / "ledger.sqlite3").write_bytes(b"not a database, not at all" * 100)
    assert is_one_line(fake(tmp_path), 5, "ledger.sqlite3: not a readable ledger")
