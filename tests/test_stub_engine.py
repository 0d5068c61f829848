"""The stand-in for vLLM keeps what it promises the tests that start it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stub_engine import engine_of, environment, model_folder, starts
from tests.vllm_stub.vllm.start_failures import FAILURES

KEY = "a-key-of-this-test"
PROGRAM = (sys.executable, "-m", "vllm.entrypoints.openai.api_server")


def started(model: Path | str, *options: str, **variables: str) -> subprocess.Popen[str]:
    """The server as a process; what it says on both streams comes out of one pipe."""
    return subprocess.Popen(
        [*PROGRAM, "--model", str(model), "--host", "127.0.0.1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment(), "VLLM_API_KEY": KEY, **variables},
    )


def failed(model: Path | str, *options: str, **variables: str) -> tuple[int, str]:
    """The exit code of a server that does not start, and all it said."""
    process = started(model, *options, **variables)
    said = process.communicate(timeout=60)[0]
    return process.returncode, said


def free_port() -> int:
    """A port nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """A server that has started, and a client with its key."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=20
        )

    def complete(self, prompt: str, **fields: Any) -> httpx.Response:
        """The answer to a prompt."""
        return self.client.post("/v1/completions", json={"model": "tiny", "prompt": prompt, **fields})

    def chat(self, text: str, **fields: Any) -> httpx.Response:
        """The answer to one user turn."""
        messages = [{"role": "user", "content": text}]
        return self.client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages, **fields})


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Served]:
    """A server under the name "tiny", until the block ends."""
    port = free_port()
    process = started(folder, "--served-model-name", "tiny", "--port", str(port), *options)
    server = Served(process, port)
    try:
        until(lambda: healthy(server) or process.poll() is not None)
        yield server
    finally:
        server.client.close()
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def healthy(server: Served) -> bool:
    """Whether /health can be asked, whatever it says."""
    try:
        return server.client.get("/health").status_code > 0
    except httpx.TransportError:
        return False


def until(condition: Any) -> None:
    """Wait for something to be so; give up after a minute."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not come about")


def alive(pid: int) -> bool:
    """Whether a process runs that is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def text(response: httpx.Response) -> str:
    """The text of the first choice."""
    choice = response.json()["choices"][0]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that does nothing wrong, of a model whose context is 512 tokens."""
    with served(model_folder(tmp_path_factory.mktemp("models") / "plain", context=512)) as server:
        yield server


# --- answers ------------------------------------------------------------------------------------------------------


def test_the_key_is_asked_for_everywhere_but_at_health(plain: Served) -> None:
    """With the body that vLLM gives to a wrong one."""
    wrong = {"Authorization": "Bearer wrong"}
    refused = plain.client.post("/v1/completions", json={"prompt": "x"}, headers=wrong)
    assert (refused.status_code, refused.json()) == (401, {"error": "Unauthorized"})
    assert plain.client.get("/v1/models", headers=wrong).status_code == 401
    health = plain.client.get("/health", headers=wrong)
    assert (health.status_code, health.content) == (200, b"")


def test_the_served_model_is_listed_with_its_context(plain: Served) -> None:
    """The name is the one given, the length the model's own."""
    (card,) = plain.client.get("/v1/models").json()["data"]
    assert (card["id"], card["max_model_len"], card["owned_by"]) == ("tiny", 512, "vllm")


def test_the_prompt_of_the_contract_is_counted_on(plain: Served) -> None:
    """Ended before a stop string, and with the tokens counted."""
    whole = plain.complete("One, two, three,", max_tokens=12).json()
    assert whole["choices"][0]["text"] == " four, five, six"
    assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (3, 3)
    (choice,) = plain.complete("One, two, three,", max_tokens=12, stop=["six", "five"]).json()["choices"]
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (" four, ", "stop", "five")


def test_an_answer_is_a_function_of_prompt_seed_and_choice(plain: Served) -> None:
    """It says which model gave it."""
    first = text(plain.chat("hello", seed=1))
    assert first == text(plain.chat("hello", seed=1))
    assert first.startswith("tiny says ")
    assert len({first, text(plain.chat("hello", seed=2)), text(plain.chat("hello!", seed=1))}) == 3
    choices = plain.complete("hello", n=3, temperature=1.0, max_tokens=64).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert len({choice["text"] for choice in choices}) == 3


def test_an_answer_is_cut_where_the_tokens_end(plain: Served) -> None:
    """A word is a token."""
    (choice,) = plain.complete("hello", max_tokens=3).json()["choices"]
    assert choice["finish_reason"] == "length"
    assert len(choice["text"].split()) == 3


def test_a_schema_is_kept_to(plain: Served) -> None:
    """Objects, arrays, numbers within their bounds, one of several values, references."""
    task = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["open", "closed"]},
            "rating": {"type": "integer", "minimum": 4, "maximum": 5},
            "weight": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "text": {"type": "string", "maxLength": 9},
            "fixed": {"const": 7},
            "good": {"type": "boolean"},
        },
    }
    schema = {"$defs": {"task": task}, "type": "array", "minItems": 3, "items": {"$ref": "#/$defs/task"}}
    wanted = {"type": "json_schema", "json_schema": {"name": "tasks", "schema": schema}}
    tasks = json.loads(text(plain.chat("hello", response_format=wanted)))
    assert len(tasks) == 3
    for given in tasks:
        assert list(given) == ["kind", "rating", "weight", "text", "fixed", "good"]
        assert given["kind"] in ("open", "closed")
        assert given["rating"] in (4, 5)
        assert 0 < given["weight"] < 1
        assert (len(given["text"]), given["fixed"], type(given["good"])) == (9, 7, bool)
    anything = json.loads(text(plain.chat("hello", response_format={"type": "json_object"})))
    assert anything["model"] == "tiny"


REFUSALS: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "a model it does not serve": (
        {"model": "other", "prompt": "x"},
        404,
        {"type": "NotFoundError", "param": "model"}
        | {"message": "The model `other` does not exist. Valid aliases: tiny."},
    ),
    "a prompt above the context": (
        {"prompt": "word " * 600},
        400,
        {"type": "BadRequestError", "param": "input_tokens"}
        | {
            "message": "This model's maximum context length is 512 tokens. However, your prompt contains at least 513 "
            "input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the "
            "input prompt. (parameter=input_tokens, value=513)"
        },
    ),
    "an answer above the context": (
        {"prompt": "x", "max_tokens": 513},
        400,
        {"type": "BadRequestError", "param": "max_tokens"}
        | {
            "message": "max_tokens=513 cannot be greater than max_model_len=512. Please request fewer output tokens. "
            "(parameter=max_tokens, value=513)"
        },
    ),
    "several greedy answers": (
        {"prompt": "x", "n": 2, "temperature": 0.0},
        400,
        {"type": "BadRequestError", "param": None} | {"message": "n must be 1 when using greedy sampling, got 2."},
    ),
}


@pytest.mark.parametrize("asked", REFUSALS)
def test_what_cannot_be_answered_is_refused_in_the_real_words(plain: Served, asked: str) -> None:
    """With their type, the parameter they are about, and the status as code."""
    body, status, said = REFUSALS[asked]
    response = plain.client.post("/v1/completions", json=body)
    assert (response.status_code, response.json()) == (status, {"error": said | {"code": status}})


def test_a_model_without_a_chat_template_only_continues_prompts(tmp_path: Path) -> None:
    """The server starts, and refuses each chat."""
    folder = model_folder(tmp_path / "base")
    (folder / "tokenizer_config.json").write_text("{}")
    with served(folder) as server:
        refused = server.chat("hello")
        assert server.complete("hello").status_code == 200
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("As of transformers v4.44, default chat template is no longer")


# --- starts that fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAILURES)
def test_each_failing_start_ends_with_the_real_words(tmp_path: Path, name: str) -> None:
    """In the log before the end; the engine's are the API server's "root cause above"."""
    failure = FAILURES[name]
    code, said = failed(model_folder(tmp_path / "m", start=name), "--port", str(free_port()))
    assert code == failure.code
    assert re.split(r"%\(\w+\)s", failure.words)[0] in said
    assert "%(" not in said
    caused = "Failed core proc(s): {'EngineCore': 1}\n"
    assert said.endswith(caused) == (failure.where == "engine")


def test_an_engine_that_the_system_kills_leaves_no_words_but_its_signal(tmp_path: Path) -> None:
    """As where the machine's memory is full; a server that is gone itself leaves none at all."""
    code, said = failed(model_folder(tmp_path / "killed", start="killed"), "--port", str(free_port()))
    assert (code, said.splitlines()[-1].partition("Failed ")[2]) == (1, "core proc(s): {'EngineCore': -9}")
    assert failed(model_folder(tmp_path / "gone", start="exit")) == (1, "")


def test_what_is_missing_in_a_folder_is_noticed(tmp_path: Path) -> None:
    """Without any mode: a file that is not there, or not whole, or a length the model does not have."""
    folder = model_folder(tmp_path / "m")
    whole, config = (folder / "model.safetensors").read_bytes(), (folder / "config.json").read_text()
    assert (
        "max_model_len (4096) is greater than the derived max_model_len (max_position_embeddings=2048.0"
        in (failed(folder, "--max-model-len", "4096", "--port", str(free_port()))[1])
    )
    (folder / "model.safetensors").write_bytes(whole[:-1])
    assert "incomplete metadata, file not fully covered" in failed(folder, "--port", str(free_port()))[1]
    (folder / "model.safetensors").unlink()
    assert f"Cannot find any model weights with `{folder}`" in failed(folder, "--port", str(free_port()))[1]
    (folder / "config.json").write_text(config.replace("LlamaForCausalLM", "FlyingModel"))
    assert "Model architectures ['FlyingModel'] are not supported" in failed(folder, "--port", str(free_port()))[1]
    (folder / "config.json").unlink()
    assert f"local directory specified: '{folder}'" in failed(folder, "--port", str(free_port()))[1]


def test_a_hub_id_is_looked_for_in_the_cache(tmp_path: Path) -> None:
    """Offline there is nothing else; a snapshot that is there is served."""
    model_folder(tmp_path / "hub/models--maker--small/snapshots/0123abc", start="exit")
    offline = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    assert failed("maker/small", **offline) == (1, "")
    assert (
        "Cannot find an appropriate cached snapshot folder"
        in (failed("maker/large", "--port", str(free_port()), **offline)[1])
    )


def test_a_port_that_is_taken_is_the_systems_own_error(tmp_path: Path) -> None:
    """Noticed before anything of the model is read."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = failed(model_folder(tmp_path / "m"), "--port", str(taken.getsockname()[1]))
    assert (code, said.splitlines()[-1]) == (1, "OSError: [Errno 98] Address already in use")


def test_each_start_is_written_down_and_the_key_is_nowhere(tmp_path: Path) -> None:
    """With the GPUs it was given; options that mean nothing here are no error."""
    folder = model_folder(tmp_path / "m", starts=tmp_path / "starts", start="exit")
    failed(folder, "--enforce-eager", "--dtype", "bfloat16", CUDA_VISIBLE_DEVICES="0,1")
    failed(folder)
    first, second = starts(tmp_path / "starts")
    assert (first.gpus, second.gpus) == ("0,1", os.environ.get("CUDA_VISIBLE_DEVICES"))
    assert first.arguments[-3:] == ["--enforce-eager", "--dtype", "bfloat16"]
    assert first.pid != second.pid
    assert KEY not in (tmp_path / "starts").read_text()


# --- what goes wrong later ----------------------------------------------------------------------------------------


def test_the_server_ends_when_its_engine_dies(tmp_path: Path) -> None:
    """After the answers it was allowed; the request that met the death is told so."""
    with served(model_folder(tmp_path / "m", completions="die-after:2")) as server:
        statuses = [server.complete("hello").status_code for _ in range(2)]
        last = server.complete("hello")
        said = server.process.communicate(timeout=60)[0]
    assert statuses == [200, 200]
    assert (last.status_code, last.json()["error"]["type"]) == (500, "InternalServerError")
    assert last.json()["error"]["message"].startswith("EngineCore encountered an issue.")
    assert "engine core exited unexpectedly" in said
    assert server.process.returncode == 0


def test_a_dead_engine_can_go_unnoticed_at_health(tmp_path: Path) -> None:
    """Healthy for ever, and every completion fails, also where somebody else killed the engine."""
    with served(model_folder(tmp_path / "m", completions="dead-engine-after:100")) as server:
        engine = engine_of(server.process.pid)
        assert engine is not None
        os.kill(engine, signal.SIGKILL)
        until(lambda: server.complete("hello").status_code == 500)
        assert server.client.get("/health").status_code == 200


def test_completions_can_fail_or_never_come(tmp_path: Path) -> None:
    """From the first one, or after some."""
    with served(model_folder(tmp_path / "fail", completions="fail", schema="ignored")) as server:
        assert server.complete("hello").status_code == 500
        assert server.client.get("/health").status_code == 200
    with served(model_folder(tmp_path / "hang", completions="hang-after:1", schema="ignored")) as server:
        wanted = {"type": "json_schema", "json_schema": {"schema": {"type": "boolean"}}}
        assert text(server.chat("hello", response_format=wanted)).startswith("tiny says ")
        with pytest.raises(httpx.ReadTimeout):
            server.client.post("/v1/completions", json={"prompt": "hello"}, timeout=0.2)
        assert server.client.get("/health").status_code == 200


def test_a_signal_ends_both_processes(tmp_path: Path) -> None:
    """While it serves, and while it loads."""
    with served(model_folder(tmp_path / "m", delay=30)) as server:
        engine = engine_of(server.process.pid)
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert engine is not None
    assert not alive(engine)
    loading = started(model_folder(tmp_path / "slow", start="hang"), "--port", str(free_port()))
    until(lambda: engine_of(loading.pid))
    engine = engine_of(loading.pid)
    for _ in range(20):  # one that comes while a line of the log is written is lost there, as in the real one
        loading.terminate()
        with suppress(subprocess.TimeoutExpired):
            loading.wait(3)
            break
    assert loading.communicate(timeout=60)[0].rstrip().endswith("KeyboardInterrupt")
    assert engine is not None
    until(lambda: not alive(engine))
    assert loading.returncode == -signal.SIGINT


def test_a_killed_server_leaves_its_engine_behind(tmp_path: Path) -> None:
    """Which is why whoever starts it has to see to both; a server can be deaf to SIGTERM too."""
    with served(model_folder(tmp_path / "m", stop="ignored")) as server:
        engine = engine_of(server.process.pid)
        assert engine is not None
        server.process.terminate()
        assert server.complete("hello").status_code == 200
        server.process.kill()
        server.process.wait(60)
        assert alive(engine)
        os.kill(engine, signal.SIGKILL)
