"""One vLLM server: started once, proved to answer, watched, started again, ended, in each way it can go wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engine import server
from selfinstruct.engine.launch import Launch, state_folder
from selfinstruct.engine.server import EngineServer
from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    ModelError,
    OutputFailed,
    SelfinstructError,
    Withdrawn,
)
from tests.stub_engine import engine_of, model_folder, stands_in, starts

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc"),
]

FOREIGN = "sk-of-another-service-77"


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is vLLM, state is the test's own, and looks come often."""
    stands_in(monkeypatch, tmp_path / "state")


def launch(folder: Path, **options: Any) -> Launch:
    """What starts the stand-in, under the name "tiny"."""
    return Launch(Path(sys.executable), str(folder), "tiny", **options)


@asynccontextmanager
async def engine(folder: Path, **options: Any) -> AsyncIterator[EngineServer]:
    """A server that has not been started, and is stopped after the block; nothing of it is left then."""
    one = EngineServer(launch(folder, **options))
    try:
        yield one
    finally:
        await one.stop()
    assert left(folder) == []
    assert list(one.log.parent.glob("*.json")) == []


def left(folder: Path) -> list[int]:
    """The processes, guardians too, that were started with the state folder of the test of this model folder."""
    mark = f"XDG_STATE_HOME={folder.parent / 'state'}".encode()
    return [pid for pid, variables in environments().items() if mark in variables]


def environments() -> dict[int, list[bytes]]:
    """The environment that each process of ours was started with."""
    return {pid: text.split(b"\0") for pid, text in read_all("environ").items() if pid != os.getpid()}


def read_all(name: str) -> dict[int, bytes]:
    """A file of each process, as far as we may read it."""
    found = {}
    for path in Path("/proc").glob(f"[0-9]*/{name}"):
        try:
            found[int(path.parent.name)] = path.read_bytes()
        except OSError:
            continue
    return {pid: text for pid, text in found.items() if text}


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something to be so; give up after half a minute."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come about")


# --- a start that succeeds --------------------------------------------------------------------------------------------


async def test_many_who_wait_start_one_server(tmp_path: Path) -> None:
    """They get the same address, and so does who asks later; people hear that it starts and that it answers."""
    told: list[str] = []
    one = EngineServer(launch(model_folder(tmp_path / "m", starts=tmp_path / "starts")), told.append)
    addresses = await asyncio.gather(*(one.address() for _ in range(20)))
    assert {*addresses, await one.address()} == {addresses[0]}
    await one.stop()
    assert (one.starts, len(starts(tmp_path / "starts"))) == (1, 1)
    assert told[0] == f"tiny: starting vLLM; its log is {one.log}"
    assert told[-1].startswith("tiny: vLLM answers after ")


async def test_each_start_has_an_address_and_a_key_of_its_own(tmp_path: Path) -> None:
    """So that nothing sent to the one before can reach the next; a server that was stopped can be started again."""
    async with engine(model_folder(tmp_path / "m")) as one:
        first = await one.address()
        await one.stop()
        second = await one.address()
        assert one.starts == 2
    assert first.key.value != second.key.value
    assert first.url != second.url


async def test_the_key_is_in_no_command_line_and_in_no_file(tmp_path: Path) -> None:
    """Not in any process's on this machine, not in log and record; only the server's environment has it."""
    folder = model_folder(tmp_path / "m", starts=tmp_path / "starts")
    async with engine(folder, engine={"disable_uvicorn_access_log": False}) as one:
        key = (await one.address()).key.value
        assert [pid for pid, words in read_all("cmdline").items() if key.encode() in words] == []
        for path in (path for path in tmp_path.rglob("*") if path.is_file()):
            assert key.encode() not in path.read_bytes(), path
        (start,) = starts(tmp_path / "starts")
        assert f"VLLM_API_KEY={key}".encode() in environments()[start.pid]
        await until(lambda: "POST /v1/completions" in one.log.read_text())


def test_state_is_kept_where_the_next_run_looks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder would be another one from elsewhere; a tilde is the home."""
    home = str(Path.home())
    usual = f"{home}/.local/state"
    for given, base in (("/s", "/s"), ("~/s", f"{home}/s"), ("s", usual), ("", usual)):
        monkeypatch.setenv("XDG_STATE_HOME", given)
        assert state_folder() == Path(base) / "selfinstruct" / "engines"


async def test_keys_of_other_services_are_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the user's own VLLM_API_KEY; what finds models is, and nothing is reported to anybody."""
    for name in ("OPENAI_API_KEY", "DASHSCOPE_API_KEY", "SELFINSTRUCT_USER_API_KEY", "VLLM_API_KEY", "OUR_KEY"):
        monkeypatch.setenv(name, FOREIGN)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.invalid")
    async with engine(model_folder(tmp_path / "m", starts=tmp_path / "starts")) as one:
        await one.address()
        (start,) = starts(tmp_path / "starts")
        family = [variables for pid, variables in environments().items() if pid in (start.pid, engine_of(start.pid))]
    assert len(family) == 2
    for variables in family:
        names = {variable.partition(b"=")[0] for variable in variables}
        assert {name for name in names if name.endswith(b"_API_KEY")} == {b"VLLM_API_KEY"}
        assert FOREIGN.encode() not in b"".join(variables)
        assert {b"HF_ENDPOINT=https://mirror.invalid", b"VLLM_NO_USAGE_STATS=1", b"DO_NOT_TRACK=1"} <= {*variables}


async def test_a_server_gets_its_gpus_and_shares_the_model_out_over_them(tmp_path: Path) -> None:
    """By number; two servers of one model have logs of their own."""
    folder = model_folder(tmp_path / "m", starts=tmp_path / "starts")
    async with engine(folder, gpus="2,3", engine={"dtype": "bfloat16"}) as one:
        await one.address()
        assert one.log.name == f"tiny-gpu2-3-{os.getpid()}.log"
    (start,) = starts(tmp_path / "starts")
    assert start.gpus == "2,3"
    assert {"--tensor-parallel-size=2", "--dtype=bfloat16"} <= set(start.arguments)


def test_how_a_model_is_shared_out_can_be_said_otherwise(tmp_path: Path) -> None:
    """By any of the three ways of vLLM; one GPU, or none named, is none of our business."""
    for options in ({"pipeline_parallel_size": 2}, {"data_parallel_size": 2}, {"tensor_parallel_size": 1}):
        words = launch(tmp_path, gpus="0,1", engine=options).command(4711)
        assert ("--tensor-parallel-size" in " ".join(words)) == ("tensor_parallel_size" in options)
    assert "--tensor-parallel-size" not in " ".join(launch(tmp_path, gpus="0").command(4711))
    home = Launch(Path(sys.executable), "~/models/tiny", "tiny").command(4711)
    assert home[home.index("--model") + 1] == str(Path.home() / "models/tiny")
    words = launch(tmp_path).command(4711)
    assert words[1:] == [
        *("-m", "vllm.entrypoints.openai.api_server", "--model", str(tmp_path), "--served-model-name", "tiny"),
        *("--host", "127.0.0.1", "--port", "4711", "--max-model-len=auto", "--disable-uvicorn-access-log"),
    ]


async def test_a_port_that_was_taken_meanwhile_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is no start to be counted; taken again and again, the run ends for now."""
    monkeypatch.setattr(server, "_HEALTH_SECONDS", 0.2)  # it connects, and hears nothing
    folder = model_folder(tmp_path / "m", starts=tmp_path / "starts")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = iter([port, server._free_port()])
        monkeypatch.setattr(server, "_free_port", lambda: next(ports))
        async with engine(folder) as one:
            assert str(port) not in (await one.address()).url
            assert one.starts == 1
        assert len(starts(tmp_path / "starts")) == 2
        monkeypatch.setattr(server, "_free_port", lambda: port)
        async with engine(folder) as one:
            with pytest.raises(ModelError, match="the port was taken by another program") as stop:
                await one.address()
        assert (stop.value.exit_code, len(starts(tmp_path / "starts"))) == (75, 5)


# --- a start that fails -----------------------------------------------------------------------------------------------

FAILING: dict[str, tuple[type[SelfinstructError], str]] = {
    "missing-weights": (ConfigProblem, "files of the model are missing or broken"),
    "hub-gated": (AccessDenied, "agree to its licence"),
    "disk-full": (OutputFailed, "make room"),
    "killed": (ModelError, r"killed \(SIGKILL\)"),
    "exit": (ConfigProblem, "exit code 1"),
}


@pytest.mark.parametrize("name", FAILING)
async def test_a_start_that_fails_raises_what_its_log_says(tmp_path: Path, name: str) -> None:
    """For all who wait; the log is named and kept, and nothing else is left. `last_words` has every failure."""
    error, words = FAILING[name]
    async with engine(model_folder(tmp_path / "m", start=name)) as one:
        raised = await asyncio.gather(*(one.address() for _ in range(3)), return_exceptions=True)
        assert [type(problem) for problem in raised] == [error] * 3
        with pytest.raises(error, match=words) as stop:
            await one.address()
        assert str(stop.value).startswith("tiny: vLLM did not start")
        assert str(stop.value).endswith(f"its log is {one.log}")
        assert one.starts == 2


async def test_a_start_that_hangs_ends_when_patience_does(tmp_path: Path) -> None:
    """75 with the last words of the log, and the setting that gives it longer."""
    async with engine(model_folder(tmp_path / "m", start="hang"), patience=0.5) as one:
        with pytest.raises(ModelError, match=r"within 0\.5 s \(it does not listen yet\)") as stop:
            await one.address()
        assert left(tmp_path / "m") == []
    assert stop.value.exit_code == 75
    assert "its last words: Initializing a V1 LLM engine (v0.32.0) with config: ...;" in str(stop.value)
    assert "SELFINSTRUCT_VLLM_START_TIMEOUT" in str(stop.value)


@pytest.mark.parametrize(
    ("completions", "said"),
    [("fail", "was answered 500: .*Internal server error"), ("hang-after:0", "has no answer: ReadTimeout")],
)
async def test_a_server_that_is_healthy_and_answers_nothing_is_caught_by_the_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, completions: str, said: str
) -> None:
    """After a few probes, with 75: /health says 200 all the while, but that is not believed."""
    monkeypatch.setattr(server, "PROBE_SECONDS", 0.1)
    folder = model_folder(tmp_path / "m", completions=completions)
    async with engine(folder, engine={"disable_uvicorn_access_log": False}) as one:
        with pytest.raises(ModelError, match=f"says it is healthy, but a probe {said}") as stop:
            await one.address()
        log = one.log.read_text()
    assert stop.value.exit_code == 75
    assert '"GET /health HTTP/1.1" 200 OK' in log
    assert log.count('"POST /v1/completions HTTP/1.1" 500') == (server.PROBES if completions == "fail" else 0)


async def test_an_interpreter_without_vllm_is_said_to_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that makes one; a name that cannot be run at all is told by its name."""
    monkeypatch.delenv("PYTHONPATH")
    async with engine(model_folder(tmp_path / "m")) as one:
        with pytest.raises(ConfigProblem, match=r"this interpreter has no vLLM .*make setup-vllm"):
            await one.address()
    gone = EngineServer(Launch(tmp_path / "python", str(tmp_path / "m"), "tiny"))
    with pytest.raises(ConfigProblem, match=r"python: cannot be run: No such file"):
        await gone.address()


async def test_a_log_that_cannot_be_written_is_a_failed_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started; with room, the same server starts."""
    open_file, full = os.open, True

    def opened(path: Any, *rest: Any, **named: Any) -> int:
        if full and str(path).endswith(".log"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return open_file(path, *rest, **named)

    monkeypatch.setattr(os, "open", opened)
    async with engine(model_folder(tmp_path / "m")) as one:
        with pytest.raises(OutputFailed, match=r"tiny-[0-9]+\.log: cannot write: No space left on device"):
            await one.address()
        assert left(tmp_path / "m") == []
        full = False
        assert (await one.address()).url.startswith("http://127.0.0.1:")


# --- a server that ends while it works --------------------------------------------------------------------------------


async def test_a_server_that_still_answers_has_not_ended(tmp_path: Path) -> None:
    """However often calls fail; an address of an earlier start has."""
    async with engine(model_folder(tmp_path / "m")) as one:
        before = await one.address()
        assert await asyncio.gather(*(one.ended(before) for _ in range(3))) == [None] * 3
        await one.stop()
        await one.address()
        assert await one.ended(before) == "it had ended"
        assert one.starts == 2


@pytest.mark.parametrize(
    ("completions", "victim", "said"),
    [
        ("", "server", "it was killed (SIGKILL), mostly by the system when memory runs out"),
        ("", "engine", "its engine died"),
        ("dead-engine-after:100", "engine", "it no longer answered (a probe was answered 500: "),
    ],
)
async def test_a_server_that_died_is_noticed_and_started_again(
    tmp_path: Path, completions: str, victim: str, said: str
) -> None:
    """Killed, left by its engine, or failing for ever though /health says 200: by one look for all that failed."""
    folder = model_folder(tmp_path / "m", completions=completions, starts=tmp_path / "starts")
    async with engine(folder) as one:
        address = await one.address()
        (first,) = starts(tmp_path / "starts")
        killed = first.pid if victim == "server" else engine_of(first.pid)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        child = one._child
        assert child is not None
        if completions:
            await until(lambda: "engine core exited unexpectedly" in one.log.read_text())
        else:
            await until(lambda: child.poll() is not None)
        why = await asyncio.gather(*(one.ended(address) for _ in range(3)))
        assert str(why[0]).startswith(said)
        assert why[1:] == ["it had ended"] * 2
        again = await one.address()
        assert again != address
        assert await one.ended(again) is None
        assert len(starts(tmp_path / "starts")) == one.starts == 2


async def test_a_server_that_ends_too_often_is_given_up(tmp_path: Path) -> None:
    """75 with what ended it the last time: running again starts it again."""
    async with engine(model_folder(tmp_path / "m", starts=tmp_path / "starts"), restarts=1) as one:
        for number in range(2):
            address = await one.address()
            os.kill(starts(tmp_path / "starts")[number].pid, signal.SIGKILL)
            assert await one.ended(address) is not None
        with pytest.raises(ModelError, match=r"vLLM ended 2 times in this run, the last time so: it (was|no longer)"):
            await one.address()
    assert len(starts(tmp_path / "starts")) == 2


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_a_server_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    """Whoever waits for it is sent away; a second stop, or one of a server that never ran, does nothing."""
    folder = model_folder(tmp_path / "m", start="hang", starts=tmp_path / "starts")
    async with engine(folder) as one:
        await one.stop()
        waiting = [asyncio.create_task(one.address()) for _ in range(2)]
        await until(lambda: starts(tmp_path / "starts"))
        await one.stop()
        with pytest.raises(Withdrawn, match="is stopped"):
            await waiting[0]
        assert isinstance(waiting[1].exception(), Withdrawn)
        assert left(folder) == []
        await one.stop()
    assert len(starts(tmp_path / "starts")) == 1


async def test_a_server_that_is_stopped_before_its_first_step_leaves_nothing(tmp_path: Path) -> None:
    """At any moment of a start, also where its process has just been made."""
    folder = model_folder(tmp_path / "m")
    for turns in (0, 1, 2, 5, 20, 60):
        async with engine(folder) as one:
            waiting = asyncio.create_task(one.address())
            for _ in range(turns):
                await asyncio.sleep(0.001)
            await one.stop()
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_one_who_stops_waiting_does_not_stop_the_start(tmp_path: Path) -> None:
    """The others get their address; where nobody waits any more, the next to ask finds it started."""
    folder = model_folder(tmp_path / "m", start_seconds=0.2, starts=tmp_path / "starts")
    async with engine(folder) as one:
        impatient, patient = (asyncio.create_task(one.address()) for _ in range(2))
        await until(lambda: starts(tmp_path / "starts"))
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        assert await patient == await one.address()
        assert one.starts == 1


async def test_a_start_that_failed_unheard_is_tried_again(tmp_path: Path) -> None:
    """Its error is old news to who asks later: the reason may be gone."""
    folder = model_folder(tmp_path / "m", start="exit", starts=tmp_path / "starts")
    async with engine(folder) as one:
        waiting = asyncio.create_task(one.address())
        await until(lambda: starts(tmp_path / "starts"))
        waiting.cancel()
        await until(lambda: one._starting is None)
        model_folder(folder)
        assert (await one.address()).url.startswith("http://127.0.0.1:")
        assert one.starts == 2


# --- schemas ----------------------------------------------------------------------------------------------------------


async def test_a_schema_that_is_kept_to_is_asked_about_once(tmp_path: Path) -> None:
    """Before the first call that needs it, not before each."""
    async with engine(model_folder(tmp_path / "m"), engine={"disable_uvicorn_access_log": False}) as one:
        address = await one.address()  # with a probe
        for _ in range(3):
            await one.check_schema(address)
        assert await one.ended(address) is None  # by a probe
        await until(lambda: one.log.read_text().count("POST") >= 3)
        assert one.log.read_text().count("POST") == 3


async def test_a_server_that_answers_past_a_schema_is_refused(tmp_path: Path) -> None:
    """With what helps; its texts are no worse for that."""
    async with engine(model_folder(tmp_path / "m", schema="ignored")) as one:
        address = await one.address()
        for _ in range(2):
            with pytest.raises(ConfigProblem, match=r"answers past the JSON schema .*\(--format text\)"):
                await one.check_schema(address)
        assert await one.ended(address) is None


async def test_a_server_that_does_not_answer_says_nothing_of_schemas(tmp_path: Path) -> None:
    """The call itself will tell what is wrong; once it answers again, it is asked again."""
    async with engine(model_folder(tmp_path / "m", schema="ignored", completions="dead-engine-after:1")) as one:
        address = await one.address()
        await one.check_schema(address)
        assert str(await one.ended(address)).startswith("it no longer answered")
        with pytest.raises(ConfigProblem, match="answers past the JSON schema"):
            model_folder(tmp_path / "m", schema="ignored")
            await one.check_schema(await one.address())


async def test_logs_of_long_ago_are_forgotten(tmp_path: Path) -> None:
    """Two weeks after their last line; those of other servers at work stay."""
    state = tmp_path / "engines"
    state.mkdir()
    for name, age in (("old", 15), ("young", 13)):
        (state / f"{name}.log").write_text("words")
        os.utime(state / f"{name}.log", times=(time.time() - age * 86_400,) * 2)
    async with engine(model_folder(tmp_path / "tiny"), state=state) as one:
        await one.address()
    assert [(state / f"{name}.log").exists() for name in ("old", "young")] == [False, True]
