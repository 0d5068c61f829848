"""Programs that end when we end: each way that we, the guardian between us, or the program itself can be ended."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engine import guarded, guardian
from selfinstruct.engine.guarded import Guarded, end_stale
from selfinstruct.errors import ConfigProblem, OutputFailed

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc"),
]

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PATH": os.environ["PATH"]}
TOKEN = "0123456789abcdef" * 2
PYTHON = (sys.executable, "-I", "-S", "-c")

# A program with a child, and a grandchild that has left its session and its parent. Each adds its number to the file.
FAMILY = """
import os, signal, sys, time
if "stubborn" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
def live():
    with open(sys.argv[1], "a") as file: file.write(f"{os.getpid()}\\n")
    while True: time.sleep(60)
open(sys.argv[1], "a").close()
if os.fork() == 0: live()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: live()
    os._exit(0)
os.wait()
if "short" in sys.argv:
    while open(sys.argv[1]).read().count("\\n") < 2: time.sleep(0.01)
    with open(sys.argv[1], "a") as file: file.write(f"{os.getpid()}\\n")
    sys.exit(7)
live()
"""

# A run of ours: starts the family of the file it is given, says the numbers of owner and guardian, and does what `then`
# says.
OWNER = """
import os, signal, sys, time
from pathlib import Path
from selfinstruct.engine.guarded import Guarded
folder, python, family, then = Path(sys.argv[1]), *sys.argv[2:]
command = [python, "-I", "-S", "-c", family, str(folder / "pids")]
guarded = Guarded.start(command, {}, folder / "log", folder / "records", "a model")
print(os.getpid(), guarded.pid, flush=True)
exec(then)
while True: time.sleep(60)
"""

Start = Callable[..., Guarded]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program given as Python text; whatever is left of it is ended after the test."""
    started: list[Guarded] = []

    def begin(text: str, *arguments: str, environment: Mapping[str, str] = ENVIRONMENT) -> Guarded:
        command = [*PYTHON, text, *arguments]
        started.append(Guarded.start(command, environment, tmp_path / "log", tmp_path / "records", "a model"))
        return started[-1]

    yield begin
    for one in started:
        one.stop(patience=0)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], int]]]:
    """Starts a run of ours in another process; returns it and its guardian's number."""
    owners: list[subprocess.Popen[str]] = []

    def begin(then: str = "") -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-c", OWNER, str(tmp_path), sys.executable, FAMILY, then]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
        owners.append(process)
        assert process.stdout is not None
        own, its_guardian = map(int, process.stdout.readline().split())
        assert own == process.pid
        return process, its_guardian

    yield begin
    for process in owners:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    end_stale(tmp_path / "records")


def lives(pid: int) -> bool:
    """Whether a process of this number runs; one that has ended and was not buried does not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status and "State:\tX" not in status


def until(true: Callable[[], object]) -> None:
    """Wait for it; a machine that is this late is out of order."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def family(folder: Path) -> list[int]:
    """The numbers of a family of three, once it is complete."""
    path = folder / "pids"
    until(lambda: path.exists() and path.read_text().count("\n") == 3)
    pids = [int(line) for line in path.read_text().splitlines()]
    assert len(set(pids)) == 3
    return pids


def ended(guarded: Guarded) -> int:
    """Its status, once it has one."""
    until(lambda: guarded.poll() is not None)
    status = guarded.poll()
    assert status is not None
    return status


def living(pids: list[int]) -> list[int]:
    """Those of them that live."""
    return [pid for pid in pids if lives(pid)]


def records(folder: Path) -> list[Path]:
    """What stands in the folder of records."""
    return sorted((folder / "records").iterdir())


def write_record(folder: Path, **changes: Any) -> Path:
    """The record of a program whose owner is gone, changed as the test needs it."""
    real = guarded._record_of(TOKEN, "a model", folder / "log", 2**22).model_dump() | {"owner": 2**22}
    path = folder / "records" / f"{TOKEN}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(real | changes))
    return path


@pytest.fixture
def bystander() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a process that lives on its own, and carries the token of `write_record`, or another."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin(token: str = TOKEN) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen(["sleep", "600"], env=ENVIRONMENT | {guardian.TOKEN: token}))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()


# --- it runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("raise SystemExit(0)", 0),
        ("raise SystemExit(3)", 3),
        ("raise SystemExit(137)", 137),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os; os.kill(os.getpid(), 15)", -15),
        ("import os; os.kill(os.getpid(), 1)", -1),
    ],
)
def test_the_status_is_what_subprocess_says(start: Start, text: str, status: int) -> None:
    """An exit code of 137 and a death by signal 9 are two things; asked again, the answer is the same."""
    program = start(text)
    assert ended(program) == status
    assert program.poll() == status


def test_a_running_program_has_no_status(start: Start, tmp_path: Path) -> None:
    """None while it runs, with a record of mode 0600 in a folder of mode 0700."""
    program = start(FAMILY, str(tmp_path / "pids"))
    pids = family(tmp_path)
    assert program.poll() is None
    assert living(pids) == pids
    (record,) = records(tmp_path)
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    noted = json.loads(record.read_text())
    assert (noted["owner"], noted["guardian"], noted["label"]) == (os.getpid(), program.pid, "a model")


def test_the_log_holds_both_outputs_and_is_private(start: Start, tmp_path: Path) -> None:
    """A second program's output follows the first one's; only we may read it."""
    for word in ("one", "two"):
        assert ended(start(f"import os; os.write(1, b'{word}\\n'); os.write(2, b'{word}!\\n')")) == 0
    assert (tmp_path / "log").read_text() == "one\none!\ntwo\ntwo!\n"
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_the_program_gets_the_environment_and_nothing_of_ours(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The given variables, also long ones and ones that are no text, the token, and the wish to keep the token."""
    monkeypatch.setenv("OURS", "secret")
    given = {"KEY": "a key", "LONG": "x" * 100_000, "ODD": "\udcff"}
    path = tmp_path / "environment"
    program = start(
        "import sys; open(sys.argv[1], 'wb').write(open('/proc/self/environ', 'rb').read())",
        str(path),
        environment=given,
    )
    assert ended(program) == 0
    found = dict(line.split(b"=", 1) for line in path.read_bytes().split(b"\0") if line)
    token = found.pop(guardian.TOKEN.encode())
    assert len(token) == 32
    assert found == {b"KEY": b"a key", b"LONG": b"x" * 100_000, b"ODD": b"\xff", b"SPT_NOENV": b"1"}


def test_neither_key_nor_token_stands_in_an_argument(start: Start, tmp_path: Path) -> None:
    """Everybody may read the arguments of a process; the record does not hold the key either."""
    program = start(FAMILY, str(tmp_path / "pids"), environment={"KEY": "tell nobody"})
    arguments = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in [program.pid, *family(tmp_path)]]
    (record,) = records(tmp_path)
    assert len(arguments) == 4
    assert [text for text in arguments if b"tell nobody" in text or record.stem.encode() in text] == []
    assert "tell nobody" not in record.read_text()


def test_a_program_holds_nothing_open_but_its_log(start: Start, tmp_path: Path) -> None:
    """Its input is empty, and no pipe of an earlier program's guardian is handed on to a later one."""
    first = start("import time; time.sleep(600)")
    lifeline = os.readlink(f"/proc/{first.pid}/fd/0")
    second = start(FAMILY, str(tmp_path / "pids"))
    child = min(family(tmp_path))
    log = str(tmp_path / "log")
    held = {name: os.readlink(f"/proc/{child}/fd/{name}") for name in os.listdir(f"/proc/{child}/fd")}
    assert {name: held[name] for name in "012"} == {"0": "/dev/null", "1": log, "2": log}
    assert lifeline.startswith("pipe:")
    theirs = [os.readlink(f"/proc/{second.pid}/fd/{name}") for name in os.listdir(f"/proc/{second.pid}/fd")]
    assert lifeline not in [*held.values(), *theirs]


def test_signals_of_a_terminal_do_not_reach_the_program(owner: Any, tmp_path: Path) -> None:
    """A run that is interrupted with its whole group can finish what it began: its server still runs."""
    then = (
        "def heard(number, _): print(number, guarded.poll(), flush=True)\n"
        "for number in (1, 2, 15): signal.signal(number, heard)\n"
        "print('ready', flush=True)"
    )
    process, its_guardian = owner(then)
    pids = family(tmp_path)
    program = children(its_guardian)[0]
    assert (os.getsid(its_guardian), os.getsid(program)) == (its_guardian, program)
    assert process.stdout.readline() == "ready\n"
    for number in (1, 2, 15):
        os.killpg(process.pid, number)
        assert process.stdout.readline() == f"{number} None\n"
    assert living(pids) == pids


def test_it_works_beside_uvloop(start: Start, tmp_path: Path) -> None:
    """Another loop that looks after child processes does not take the status away."""
    uvloop = pytest.importorskip("uvloop")

    async def run() -> int:
        other = await asyncio.create_subprocess_exec("sleep", "0.1")
        program = start("raise SystemExit(5)")
        assert await other.wait() == 0
        while (status := program.poll()) is None:
            await asyncio.sleep(0.02)
        return status

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == 5


# --- it cannot run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mode", "why"), [(None, 0, "No such file"), ("x", 0o644, "Permission"), ("x", 0o755, "format")]
)
def test_a_program_that_cannot_be_run_is_named(tmp_path: Path, text: str | None, mode: int, why: str) -> None:
    """It is not there, not executable, or no program; no record is left."""
    program = tmp_path / "engine"
    if text:
        program.write_text(text)
        program.chmod(mode)
    with pytest.raises(ConfigProblem, match=f"engine: cannot be run: .*{why}"):
        Guarded.start([str(program)], ENVIRONMENT, tmp_path / "log", tmp_path / "records", "a model")
    assert records(tmp_path) == []


def test_an_environment_that_cannot_be_given_is_said(tmp_path: Path) -> None:
    """A zero byte in a value."""
    with pytest.raises(ConfigProblem, match="sleep: cannot be run: embedded null byte"):
        Guarded.start(["sleep", "1"], {"A": "\0"}, tmp_path / "log", tmp_path / "records", "a model")
    assert records(tmp_path) == []


@pytest.mark.parametrize("which", ["log", "records"])
def test_a_folder_that_cannot_be_written_stops_it_before_it_runs(tmp_path: Path, which: str) -> None:
    """The path is named, and the program never ran."""
    (tmp_path / "file").write_text("not a folder")
    places = {"log": tmp_path / "log", "records": tmp_path / "records"} | {which: tmp_path / "file" / which}
    ran = tmp_path / "ran"
    with pytest.raises(OutputFailed, match=f"file/{which}.*: cannot write: (Not a directory|File exists)"):
        Guarded.start(["touch", str(ran)], ENVIRONMENT, places["log"], places["records"], "a model")
    assert not ran.exists()


def test_a_full_disk_stops_it_before_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its record no program runs; neither a guardian nor half a record is left."""
    guardians: list[int] = []

    def full(path: Path, target: Path) -> Path:
        guardians.append(json.loads(path.read_text())["guardian"])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputFailed, match="No space left on device"):
        Guarded.start(["touch", str(tmp_path / "ran")], ENVIRONMENT, tmp_path / "log", tmp_path / "records", "a model")
    assert not (tmp_path / "ran").exists()
    assert records(tmp_path) == []
    assert len(guardians) == 1
    assert living(guardians) == []


def test_a_guardian_without_a_whole_plan_starts_nothing() -> None:
    """Its starter was killed while it spoke."""
    command = [sys.executable, "-I", "-S", guardian.__file__]
    done = subprocess.run(command, input=b'{"command": ["echo"', capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


# --- it ends by itself, or is stopped -------------------------------------------------------------------------------


def test_what_a_program_leaves_behind_is_ended(start: Start, tmp_path: Path) -> None:
    """A program that has ended has ended with all it started; its record is gone."""
    program = start(FAMILY, str(tmp_path / "pids"), "short")
    assert ended(program) == 7
    assert living(family(tmp_path)) == []
    assert records(tmp_path) == []


def test_a_program_is_asked_before_it_is_killed(start: Start, tmp_path: Path) -> None:
    """It may tidy up after SIGTERM, and says so in its log."""
    text = (
        "import os, signal, sys, time\n"
        "def end(*_): time.sleep(0.3); os.write(1, b'tidy'); sys.exit(4)\n"
        "signal.signal(signal.SIGTERM, end); os.write(1, b'ready ')\n"
        "while True: time.sleep(60)"
    )
    program = start(text)
    until(lambda: (tmp_path / "log").read_text() == "ready ")
    program.stop()
    assert program.poll() == 4
    assert (tmp_path / "log").read_text() == "ready tidy"


@pytest.mark.parametrize(("how", "status"), [("", -15), ("stubborn", -9)])
def test_after_stop_nothing_is_left(start: Start, tmp_path: Path, how: str, status: int) -> None:
    """Neither the program, also where it ignores SIGTERM, nor its family, the guardian or the record; twice is fine."""
    program = start(FAMILY, str(tmp_path / "pids"), how)
    pids = family(tmp_path)
    program.stop(patience=0.1 if how else 10)
    assert living([program.pid, *pids]) == []
    assert records(tmp_path) == []
    assert program.poll() == status
    program.stop()
    assert program.poll() == status


def test_a_child_without_the_token_is_ended_too(start: Start, tmp_path: Path) -> None:
    """Some programs overwrite their environment, or start others with none: they are known as children."""
    path = str(tmp_path / "pids")
    text = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '600'], env={}, start_new_session=True)\n"
        f"open({path!r}, 'w').write(f'{{child.pid}}\\n'); time.sleep(600)"
    )
    program = start(text)
    until(lambda: Path(path).exists() and Path(path).read_text().endswith("\n"))
    child = int(Path(path).read_text())
    assert lives(child)
    os.kill(next(pid for pid in children(program.pid) if pid != child), signal.SIGKILL)
    assert ended(program) == -9
    assert not lives(child)


def children(pid: int) -> list[int]:
    """The numbers of a process' children."""
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_signals_that_our_thread_has_blocked_are_not_blocked_in_the_program(start: Start) -> None:
    """A mask is handed on to every child; the program hears SIGTERM all the same."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        program = start("import time; time.sleep(600)")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    program.stop()
    assert program.poll() == -15


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_program_that_nobody_knows_any_more_is_ended(tmp_path: Path) -> None:
    """Whoever asked for it was cancelled before it heard of it: what is forgotten ends as if we had."""
    command = [*PYTHON, FAMILY, str(tmp_path / "pids")]
    forgotten = Guarded.start(command, ENVIRONMENT, tmp_path / "log", tmp_path / "records", "a model")
    pids = family(tmp_path)
    del forgotten
    until(lambda: living(pids) == [] and records(tmp_path) == [])


# --- somebody is killed ---------------------------------------------------------------------------------------------


def test_a_killed_program_is_seen(start: Start, tmp_path: Path) -> None:
    """The system kills it for its memory: -9, and its family is ended."""
    program = start(FAMILY, str(tmp_path / "pids"))
    pids = family(tmp_path)
    os.kill(children(program.pid)[0], signal.SIGKILL)
    assert ended(program) == -9
    assert living(pids) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_guardian_that_is_ended_takes_all_with_it(start: Start, tmp_path: Path, how: int) -> None:
    """Killed, it cannot end the family itself, so `poll` does; asked to end, it does it itself."""
    program = start(FAMILY, str(tmp_path / "pids"))
    pids = family(tmp_path)
    os.kill(program.pid, how)
    assert ended(program) == -how
    assert living(pids) == []
    assert records(tmp_path) == []


def test_stop_after_the_guardian_was_killed_ends_the_rest(start: Start, tmp_path: Path) -> None:
    """Without a look at `poll` in between."""
    program = start(FAMILY, str(tmp_path / "pids"))
    pids = family(tmp_path)
    os.kill(program.pid, signal.SIGKILL)
    program.stop()
    assert living(pids) == []
    assert records(tmp_path) == []


def test_stop_does_not_depend_on_a_halted_guardian(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guardian that was sent SIGSTOP does not hear us: we end everything ourselves, it included."""
    program = start(FAMILY, str(tmp_path / "pids"))
    pids = family(tmp_path)
    os.kill(program.pid, signal.SIGSTOP)
    for name in ("GRACE", "PATIENCE", "STUBBORN"):
        monkeypatch.setattr(guardian, name, 0.2)
    program.stop(patience=0)
    assert living([program.pid, *pids]) == []
    assert program.poll() == -9


@pytest.mark.parametrize("then", ["", "if os.fork() == 0: time.sleep(600)"], ids=["alone", "its fork lives on"])
def test_a_killed_owner_takes_all_with_it(owner: Any, tmp_path: Path, then: str) -> None:
    """Program, family, guardian and record are gone, also where a child of ours still holds our pipes open."""
    process, its_guardian = owner(then)
    pids = family(tmp_path)
    forked = [pid for pid in children(process.pid) if pid != its_guardian]
    assert len(forked) == bool(then)
    process.kill()
    try:
        until(lambda: living([its_guardian, *pids]) == [])
        assert records(tmp_path) == []
        assert living(forked) == forked
    finally:
        for pid in forked:
            os.kill(pid, signal.SIGKILL)


def test_what_outlives_owner_and_guardian_is_ended_by_the_next_run(owner: Any, tmp_path: Path) -> None:
    """Both are killed at once: the kernel ends the program, `end_stale` its family; the second time it is quiet."""
    process, its_guardian = owner()
    pids = family(tmp_path)
    program = children(its_guardian)[0]
    process.send_signal(signal.SIGSTOP)
    os.kill(its_guardian, signal.SIGKILL)
    process.kill()  # and is not buried: its remains do not count as alive
    until(lambda: not lives(process.pid) and not lives(program))
    left = sorted(set(pids) - {program})
    assert living(left) == left
    (line,) = end_stale(tmp_path / "records")
    assert line == f"ended a stale server of a model (pid {left[0]}, {left[1]})"
    assert living(pids) == []
    assert end_stale(tmp_path / "records") == []
    assert records(tmp_path) == []


def test_a_program_of_a_living_owner_is_not_stale(owner: Any, start: Start, tmp_path: Path) -> None:
    """Neither another run's nor our own, nor one whose guardian was killed while its owner lives."""
    ours = start("import time; time.sleep(600)")
    _, its_guardian = owner()
    pids = family(tmp_path)
    assert end_stale(tmp_path / "records") == []
    assert living(pids) == pids
    os.kill(its_guardian, signal.SIGKILL)
    until(lambda: len(living(pids)) == 2)  # the kernel ends the program
    assert end_stale(tmp_path / "records") == []
    assert len(living(pids)) == 2
    assert len(records(tmp_path)) == 2
    assert ours.poll() is None


# --- records that say something else --------------------------------------------------------------------------------


def test_a_number_that_is_used_again_is_another_process(
    tmp_path: Path, bystander: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """A bystander has the owner's and the guardian's number, but not their start time, nor the token: it lives on."""
    other = bystander(token="")
    begun = guardian.start_of(other.pid)
    assert begun is not None
    write_record(tmp_path, owner=other.pid, owner_start=begun - 1, guardian=other.pid)
    assert end_stale(tmp_path / "records") == []
    assert other.poll() is None
    assert records(tmp_path) == []


def test_what_carries_the_token_of_a_gone_owner_is_ended(
    tmp_path: Path, bystander: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """The record that the tests below change: unchanged, it ends the process."""
    other = bystander()
    write_record(tmp_path)
    assert end_stale(tmp_path / "records") == [f"ended a stale server of a model (pid {other.pid})"]
    assert other.wait() == -15
    assert records(tmp_path) == []


def test_a_record_of_another_boot_is_only_removed(
    tmp_path: Path, bystander: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """No process of it can live, so none is looked for."""
    other = bystander()
    write_record(tmp_path, boot="another")
    assert end_stale(tmp_path / "records") == []
    assert other.poll() is None


@pytest.mark.parametrize("changes", [{"namespace": "pid:[1]"}, {"owner_start": None}])
def test_an_owner_that_cannot_be_seen_may_live(
    tmp_path: Path, bystander: Callable[..., subprocess.Popen[bytes]], changes: dict[str, Any]
) -> None:
    """In another container its number means another process: program and record stay."""
    other = bystander()
    path = write_record(tmp_path, **changes)
    assert end_stale(tmp_path / "records") == []
    assert other.poll() is None
    assert records(tmp_path) == [path]


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b'{"token": 1}', b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "cut", "list", "null", "fields", "bytes", "deep"],
)
def test_a_broken_record_is_left_alone(tmp_path: Path, text: bytes) -> None:
    """It is no record of ours as far as anybody can tell."""
    path = write_record(tmp_path)
    path.write_bytes(text)
    assert end_stale(tmp_path / "records") == []
    assert path.read_bytes() == text


@pytest.mark.parametrize("token", ["", "f" * 32, "0123456789ABCDEF" * 2])
def test_a_record_of_another_name_is_left_alone(
    tmp_path: Path, bystander: Callable[..., subprocess.Popen[bytes]], token: str
) -> None:
    """The token in it must be the one it is named by, and look like one of ours."""
    other = bystander()
    path = write_record(tmp_path, token=token)
    assert end_stale(tmp_path / "records") == []
    assert records(tmp_path) == [path]
    assert other.poll() is None


def test_records_that_are_not_there_are_none(tmp_path: Path) -> None:
    """A folder that does not exist, one that is a file, and a record that is a folder."""
    assert end_stale(tmp_path / "nowhere") == []
    (tmp_path / "file").touch()
    assert end_stale(tmp_path / "file") == []
    (tmp_path / "a.json").mkdir()
    assert end_stale(tmp_path) == []


# --- what the system tells ------------------------------------------------------------------------------------------


def test_a_name_cannot_fake_a_start_time() -> None:
    """A process named with spaces and parentheses is read as any other; one that has ended has no start time."""
    text = "import sys; open('/proc/self/comm', 'w').write(') Z 1 ('); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([*PYTHON, text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        begun = guardian.start_of(process.pid)
        assert process.stdout.readline() == b"\n"
        assert Path(f"/proc/{process.pid}/comm").read_text() == ") Z 1 (\n"
        assert begun is not None
        assert guardian.start_of(process.pid) == begun
        process.kill()
        until(lambda: not lives(process.pid))
        assert guardian.start_of(process.pid) is None  # not buried yet
    assert guardian.start_of(process.pid) is None


def test_without_proc_the_group_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the system does not list its processes, the program's group is all we know."""
    monkeypatch.setattr(guardian, "_PROC", tmp_path / "nowhere")
    command = ["sh", "-c", "sleep 600 & echo $!; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert guardian.family("f" * 32) == set()
        assert guardian.family("f" * 32, process.pid) == {-process.pid}
        monkeypatch.setattr(guardian, "GRACE", 0.1)
        monkeypatch.setattr(guardian, "STUBBORN", 0.1)
        assert guardian.end_family("f" * 32, process.pid) == {-process.pid}
        assert process.wait() == -15
    until(lambda: not lives(child))
