"""A managed vLLM and everything that can be killed: nothing outlives us, nothing recorded is asked again."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct.engine.guarded import Guarded
from tests.command import ROOT, Ended, invoke, spawn, wait
from tests.faults.campaign import attempts, prove_sound, settled, wait_until, write_requests
from tests.stub_engine import engine_of, environment, model_folder, starts

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc"),
]

NUMBER = 200
SECRET = "a-key-of-the-users-own-4711"


class Rig:
    """A model of the stand-in's, requests for it, and the command that answers them."""

    def __init__(self, folder: Path, number: int = NUMBER, **modes: Any) -> None:
        self.folder = folder
        self.model = model_folder(folder / "tiny", **{"starts": folder / "starts", "delay": 0.02, **modes})
        self.requests = write_requests(folder / "requests.jsonl", number)
        self.state = folder / "state"
        self.out = folder / "out"

    def words(self, out: Path | None = None) -> list[str]:
        """The command; ``out`` is another folder than usual."""
        words = ["complete", str(self.requests), "--api", "vllm", "--model", str(self.model)]
        return [*words, "--out", str(out or self.out), "--concurrency", "8"]

    def environment(self, **more: str) -> dict[str, str]:
        """In which the stand-in is vLLM, and state is ours alone."""
        path = os.pathsep.join((environment()["PYTHONPATH"], str(ROOT)))
        return {**environment(), "PYTHONPATH": path, "XDG_STATE_HOME": str(self.state), **more}

    def spawn(self, out: Path | None = None, **more: str) -> subprocess.Popen[str]:
        """Start it."""
        return spawn(*self.words(out), **self.environment(**more))

    def run(self, out: Path | None = None, **more: str) -> Ended:
        """Start it, and wait for its end."""
        return wait(self.spawn(out, **more), 60)

    def left(self) -> list[int]:
        """All that still runs with our state, servers, engines and guardians: the command is none of them."""
        return carrying(f"XDG_STATE_HOME={self.state}")

    def kill_at(self, number: int, victim: Callable[[], int | None]) -> subprocess.Popen[str]:
        """Start, and SIGKILL somebody once so many answers are recorded."""
        process = self.spawn()
        wait_until(lambda: len(settled(self.out)) >= number, process)
        pid = victim() or process.pid
        os.kill(pid, signal.SIGKILL)
        return process

    def server(self) -> int:
        """The API server of the last start."""
        return starts(self.folder / "starts")[-1].pid

    def results(self, out: Path | None = None) -> list[Any]:
        """What was answered to each request, without the server's own number and time of it."""
        lines = ((out or self.out) / "results.jsonl").read_bytes().splitlines()
        read = [orjson.loads(line) for line in lines]
        return [[line["custom_id"], line["response"]["body"]["choices"]] for line in read]


def carrying(variable: str) -> list[int]:
    """The processes that were started with this in their environment, but for ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if variable.encode() in variables and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What is answered where nobody disturbs."""
    rig = Rig(tmp_path_factory.mktemp("undisturbed"), delay=0)
    assert rig.run().code == 0
    return rig.results()


def prove(rig: Rig, known: dict[str, int], undisturbed: list[Any]) -> None:
    """All is answered as where nobody disturbs; what was recorded was not asked again, and makes the same bytes."""
    assert len(undisturbed) == NUMBER
    assert rig.results() == undisturbed
    after = attempts(rig.out)
    assert {body: sum(after[body].states.values()) for body in known} == known
    prove_sound(rig.out)
    results, number = (rig.out / "results.jsonl").read_bytes(), len(starts(rig.folder / "starts"))
    (rig.out / "results.jsonl").unlink()
    assert invoke(*rig.words(), **rig.environment()).code == 0
    assert (rig.out / "results.jsonl").read_bytes() == results
    assert len(starts(rig.folder / "starts")) == number  # for what is recorded no model is loaded
    assert rig.left() == []


def asked(rig: Rig) -> dict[str, int]:
    """How often each body that has its answer was asked for."""
    counts = attempts(rig.out)
    return {body: sum(counts[body].states.values()) for body in settled(rig.out)}


# --- who is killed ----------------------------------------------------------------------------------------------------


def test_our_death_is_the_servers_and_running_again_goes_on(tmp_path: Path, undisturbed: list[Any]) -> None:
    """Within seconds, with its engine; then everything recorded is used."""
    rig = Rig(tmp_path)
    process = rig.kill_at(60, lambda: None)
    assert wait(process).code == -signal.SIGKILL
    known = asked(rig)
    wait_until(lambda: not rig.left(), seconds=20)
    assert rig.left() == []
    assert 60 <= len(known) < NUMBER
    ended = rig.run()
    assert ended.code == 0, ended.err
    prove(rig, known, undisturbed)


@pytest.mark.parametrize("victim", ["server", "engine"])
def test_the_death_of_the_server_is_no_end_of_the_run(tmp_path: Path, victim: str, undisturbed: list[Any]) -> None:
    """It is started again, and the calls it held are asked again; nothing else is."""
    rig = Rig(tmp_path)
    known: dict[str, int] = {}

    def found() -> int | None:
        known.update(asked(rig))
        return rig.server() if victim == "server" else engine_of(rig.server())

    ended = wait(rig.kill_at(60, found), 60)
    assert ended.code == 0, ended.err
    assert len(starts(tmp_path / "starts")) == 2
    assert ended.err.count("tiny: starting vLLM; its log is ") == 2
    assert f"{NUMBER} of {NUMBER} requests answered, 0 failed" in ended.out
    prove(rig, known, undisturbed)


@pytest.mark.slow
def test_what_a_killed_owner_and_a_killed_guardian_leave_is_ended_by_the_next_run(tmp_path: Path) -> None:
    """With a line for people; a server in the same folder whose owner lives is not touched."""
    rig = Rig(tmp_path)
    engines = rig.state / "selfinstruct" / "engines"
    process = rig.spawn()
    wait_until(lambda: len(settled(rig.out)) >= 60, process)
    (record,) = engines.glob("*.json")
    server, guardian = rig.server(), json.loads(record.read_text())["guardian"]
    engine = engine_of(server)
    assert engine is not None
    os.kill(guardian, signal.SIGSTOP)  # so that it does not notice our death before its own
    process.kill()
    wait(process)
    os.kill(guardian, signal.SIGKILL)
    wait_until(lambda: not alive(guardian))
    assert (alive(engine), record.exists()) == (True, True)
    bystander = bystanding(rig)
    try:
        ended = rig.run()
        assert ended.code == 0, ended.err
        assert f"ended a stale server of tiny (pid {engine})" in ended.err
        assert (alive(engine), record.exists()) == (False, False)
        assert bystander.poll() is None
        assert len(list(engines.glob("*.json"))) == 1
    finally:
        bystander.stop()
    assert rig.left() == []
    assert list(engines.glob("*.json")) == []


def bystanding(rig: Rig) -> Guarded:
    """A server of the same model by the same state folder, which belongs to this process."""
    words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(rig.model), "--port", "0"]
    return Guarded.start(
        [*words, "--host", "127.0.0.1"],
        {**os.environ, **rig.environment()},
        rig.folder / "bystander.log",
        rig.state / "selfinstruct" / "engines",
        "bystander",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_model_loads_ends_the_run_soon(tmp_path: Path, number: signal.Signals) -> None:
    """However long loading would take; nothing is left, and nothing was asked."""
    rig = Rig(tmp_path, 5, start="hang")
    process = rig.spawn()
    wait_until(lambda: bool(starts(tmp_path / "starts")) and engine_of(rig.server()) is not None, process)
    began = time.monotonic()
    process.send_signal(number)
    ended = wait(process, 20)
    assert ended.code == 128 + number
    assert time.monotonic() - began < 10  # a hang would take half an hour
    assert (rig.left(), attempts(rig.out)) == ([], {})
    assert "running again goes on" in ended.err


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_that_is_healthy_and_answers_nothing_ends_the_run(tmp_path: Path) -> None:
    """75 by the probe, before anything is reserved."""
    rig = Rig(tmp_path, 5, completions="fail", delay=0)
    ended = rig.run()
    assert ended.code == 75
    assert "tiny: vLLM says it is healthy, but a probe was answered 500" in ended.err
    assert attempts(rig.out) == {}
    assert rig.left() == []


def test_a_folder_with_a_file_missing_is_told_by_its_name(tmp_path: Path) -> None:
    """78 each: before the start where that can be seen, else from the server's log; whole, the same command goes on."""
    rig = Rig(tmp_path, 5)
    weights = (rig.model / "model.safetensors").read_bytes()
    (rig.model / "model.safetensors").unlink()
    ended = rig.run()
    assert ended.code == 78
    assert (
        f"files of the model are missing or broken (RuntimeError: Cannot find any model weights with `{rig.model}`"
        in (ended.err)
    )
    index = rig.model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}))
    (rig.model / "part-1.safetensors").write_bytes(weights)
    ended = rig.run()
    assert ended.code == 78
    assert "part-2.safetensors" in ended.err
    assert "Traceback" not in ended.err
    assert rig.left() == []


def test_without_vllm_the_setup_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """78, before anything is written."""
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is installed in this very interpreter")
    rig = Rig(tmp_path, 5)
    monkeypatch.chdir(tmp_path)
    ended = invoke(*rig.words())
    assert ended.code == 78
    assert "make setup-vllm BUILD=cuda" in ended.err
    ended = invoke(*rig.words(), "--vllm-python", "no-such-python")
    assert ended.code == 78
    assert "no-such-python: no such program" in ended.err
    assert not rig.state.exists()


def test_the_users_own_key_of_vllm_is_neither_handed_on_nor_printed(tmp_path: Path) -> None:
    """It is for a server of theirs; ours has one of its own, and no other key of ours."""
    rig = Rig(tmp_path, 20, delay=0.2)
    process = rig.spawn(VLLM_API_KEY=SECRET, DASHSCOPE_API_KEY=SECRET)
    wait_until(lambda: len(settled(rig.out)) >= 1, process)
    server = Path(f"/proc/{rig.server()}/environ").read_bytes()
    ended = wait(process)
    assert ended.code == 0, ended.err
    keys = [variable for variable in server.split(b"\0") if b"API_KEY=" in variable]
    assert [variable.partition(b"=")[0] for variable in keys] == [b"VLLM_API_KEY"]
    own = keys[0].partition(b"=")[2]
    assert len(own) == 32
    assert own != SECRET.encode()
    for key in (SECRET, own.decode()):
        assert key not in ended.out + ended.err
        for path in (path for path in tmp_path.rglob("*") if path.is_file()):
            assert key.encode() not in path.read_bytes(), path


# --- a full disk ------------------------------------------------------------------------------------------------------

PAGE = 4096  # bytes a tmpfs hands out at a time


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; skips where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pages", "said"), [(0, "cannot write: No space left on device"), (1, "the disk of its log is full")]
)
def test_a_full_disk_for_the_log_ends_the_run(tmp_path: Path, disk: Path, pages: int, said: str) -> None:
    """74, whether the record of the server does not fit or only what the server says; with room it goes on."""
    rig = Rig(tmp_path, 5)
    rig.state = disk
    (disk / "selfinstruct" / "engines").mkdir(parents=True)
    fill(disk, pages)
    ended = rig.run()
    assert ended.code == 74, ended.err
    assert said in ended.err
    assert rig.left() == []
    (disk / "filling").unlink()
    assert rig.run().code == 0
    assert len(rig.results()) == 5


def fill(disk: Path, pages: int) -> None:
    """Leave so many pages."""
    free = shutil.disk_usage(disk).free
    (disk / "filling").write_bytes(bytes(free - pages * PAGE))
    assert shutil.disk_usage(disk).free == pages * PAGE


def test_gpus_named_in_the_environment_are_used_and_wrong_ones_told(tmp_path: Path) -> None:
    """One server on each set, as by the option."""
    rig = Rig(tmp_path)
    ended = invoke(*rig.words(), **rig.environment(SELFINSTRUCT_GPUS="0,1;2"))
    assert ended.code == 0
    assert sorted(start.gpus or "" for start in starts(tmp_path / "starts")) == ["0,1", "2"]
    wrong = invoke(*rig.words(tmp_path / "other"), **rig.environment(SELFINSTRUCT_GPUS="x"))
    assert wrong.code == 78
    assert "SELFINSTRUCT_GPUS" in wrong.err
