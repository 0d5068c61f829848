"""`selfinstruct serve`, as a shell sees it; vLLM is stood in for."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT, invoke, spawn, wait
from tests.stub_engine import STUB, model_folder

pytestmark = pytest.mark.faults


def served(folder: Path, *options: str) -> tuple[subprocess.Popen[str], list[str]]:
    """The command in a process of its own, once it answers, and the two lines it has printed."""
    process = spawn(
        *("serve", folder, "--backend", "vllm", "--port", "0", *options),
        PYTHONPATH=os.pathsep.join([str(STUB), str(ROOT)]),
        SELFINSTRUCT_VLLM_PYTHON=sys.executable,
        XDG_STATE_HOME=str(folder.parent / "state"),
    )
    assert process.stdout is not None
    return process, [process.stdout.readline() for _ in range(2)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_serves_until_a_signal_ends_it(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """It prints the address and the command that asks it; after the signal nobody listens there."""
    process, lines = served(model_folder(tmp_path / "small"), "--name", "mine")
    url = lines[0].split()[3]
    assert lines[0] == f"mine answers at {url} (vllm)\n"
    assert lines[1] == f"next: selfinstruct generate --api chat --base-url {url} --model mine\n"
    process.send_signal(number)
    ended = wait(process)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.endswith("Ctrl-C ends it\nselfinstruct: stopped\n")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(url.split(":")[2].removesuffix("/v1")))) != 0


def test_the_words_it_prints_are_those_that_ask_it(tmp_path: Path) -> None:
    """A request with them is answered by the model it serves, and no key is needed."""
    process, lines = served(model_folder(tmp_path / "small"))
    words = shlex.split(lines[1])[3:]
    body = {"model": "small", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    request = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (tmp_path / "requests.jsonl").write_text(json.dumps(request) + "\n")
    ended = invoke("complete", tmp_path / "requests.jsonl", "--out", tmp_path / "out", *words, OPENAI_API_KEY="")
    process.terminate()
    wait(process)
    assert ended.code == 0, ended.err
    result = json.loads((tmp_path / "out" / "results.jsonl").read_bytes())
    assert (result["custom_id"], result["response"]["body"]["model"]) == ("one", "small")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("./none",), 78, "none: no such model folder"),
        ((".",), 78, "holds no model"),
        (("./none", "--backend", "nonsense"), 2, "nonsense"),
        (("./none", "--port", "70000"), 2, "--port"),
        (("./none", "--engine", "=1"), 2, "--engine '=1'"),
    ],
)
def test_what_cannot_be_served_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, message: str
) -> None:
    """With the exit code of what is wrong; nothing is started."""
    monkeypatch.chdir(tmp_path)
    ended = invoke("serve", *words, XDG_STATE_HOME=str(tmp_path / "state"))
    assert ended.code == code
    assert message in ended.err
    assert not (tmp_path / "state").exists()
