"""The loop: which commands it runs with which words, what it writes down, and where it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from selfinstruct import looping
from selfinstruct.errors import DamagedRun, IdentityChanged, Interrupted, RunLocked, UsageProblem
from selfinstruct.looping import Means, Plan, Round
from selfinstruct.serving import Served
from tests.command import ROOT, invoke

PLAN = Plan("tale", "smollm2", rounds=2, wanted=3)


class World:
    """Stands in for servers and commands, and keeps what was asked of them, in order."""

    def __init__(self, output: Path, *codes: int) -> None:
        self.output = output
        self.done: list[str] = []
        self.told: list[str] = []
        self._codes = list(codes)

    @property
    def means(self) -> Means:
        """What the loop works with."""
        return Means(self.serve, self.command, self.told.append)

    @contextmanager
    def serve(self, model: str, port: int) -> Iterator[Served]:
        """No server, but the address of one."""
        self.done.append(f"serve {self._short(model)} at {port}")
        served = Served(f"http://127.0.0.1:{port}/v1", "served", "transformers", "chat", 1, Path("log"))
        yield served
        self.done.append("served")

    def command(self, words: Sequence[str]) -> int:
        """Note it, leave what it would leave, and end with the next exit code."""
        self.done.append(self._short(" ".join(words)))
        code = self._codes.pop(0) if self._codes else 0
        if words[0] == "finetune" and code == 0:
            folder = Path(words[words.index("--out") + 1])
            folder.mkdir()
            (folder / "log.jsonl").write_text('{"loss": 2.5, "step": 1}\n{"loss": 1.25, "step": 2}\n')
        return code

    def _short(self, text: str) -> str:
        return text.replace(f"{self.output}/", "")

    def run(self, plan: Plan = PLAN, port: int = 4711) -> tuple[Round, ...]:
        """The loop, in this world."""
        return looping.run(plan, self.output, port, self.means)


ROUND_1 = [
    "serve smollm2 at 4711",
    "generate --api chat --base-url http://127.0.0.1:4711/v1 --model served --concurrency 1 -n 3 --run tale-r1"
    " --output-dir {output}",
    "served",
    "finetune sft tale-r1 --model smollm2 --out tale-r1-model",
]
ROUND_2 = [
    "serve tale-r1-model at 4711",
    "generate --api chat --base-url http://127.0.0.1:4711/v1 --model served --concurrency 1 -n 3 --run tale-r2"
    " --output-dir {output}",
    "served",
    "finetune sft tale-r1 tale-r2 --model smollm2 --out tale-r2-model",
]


def said(lines: list[str], output: Path) -> list[str]:
    """The lines with the output folder filled in."""
    return [line.format(output=output) for line in lines]


def test_each_round_asks_the_model_of_the_round_before_and_tunes_the_base_on_all_records(tmp_path: Path) -> None:
    """The first round asks the base; the server is gone before the tuning begins, which needs its memory."""
    world = World(tmp_path)
    rounds = world.run()
    assert world.done == said(ROUND_1 + ROUND_2, tmp_path)
    assert [one.run for one in rounds] == ["tale-r1", "tale-r2"]
    assert [(one.loss_before, one.loss_after) for one in rounds] == [(2.5, 1.25), (2.5, 1.25)]


def test_on_new_tunes_each_round_on_its_own_records(tmp_path: Path) -> None:
    """What the rounds before have made is left out."""
    world = World(tmp_path)
    world.run(PLAN._replace(on="new"))
    assert [line for line in world.done if line.startswith("finetune")] == [
        "finetune sft tale-r1 --model smollm2 --out tale-r1-model",
        "finetune sft tale-r2 --model smollm2 --out tale-r2-model",
    ]


def test_further_words_go_to_the_commands_they_are_for(tmp_path: Path) -> None:
    """They stand behind the loop's own."""
    world = World(tmp_path)
    world.run(PLAN._replace(rounds=1, generate=("--lang", "zh"), finetune=("--peft", "lora")))
    assert world.done[1].endswith(f"--output-dir {tmp_path} --lang zh")
    assert world.done[3].endswith("--out tale-r1-model --peft lora")


def test_a_finished_loop_does_nothing_and_more_rounds_extend_it(tmp_path: Path) -> None:
    """The rounds that are done are not done again."""
    world = World(tmp_path)
    world.run(PLAN._replace(rounds=1))
    world.done.clear()
    assert len(world.run(PLAN._replace(rounds=1))) == 1
    assert world.done == []
    assert len(world.run(PLAN)) == 2
    assert world.done == said(ROUND_2, tmp_path)


def test_a_failed_step_ends_the_loop_with_its_exit_code_and_is_the_next_one_to_be_run(tmp_path: Path) -> None:
    """What came before it is not run again."""
    world = World(tmp_path, 0, 78)
    with pytest.raises(
        looping.StepFailed, match=r"round 1: 'selfinstruct finetune sft .*' ended with exit code 78"
    ) as why:
        world.run()
    assert why.value.exit_code == 78
    world.done.clear()
    world.run()
    assert world.done == said([ROUND_1[3], *ROUND_2], tmp_path)


def test_a_round_with_too_many_unusable_answers_is_done_and_remembered(tmp_path: Path) -> None:
    """Its data are complete, so the loop goes on; running it again would change nothing."""
    rounds = World(tmp_path, 3).run()
    assert [one.unusable for one in rounds] == [True, False]
    assert [one.unusable for one in World(tmp_path).run()] == [True, False]
    with pytest.raises(looping.StepFailed) as why:  # of a tuning, 3 means nothing
        World(tmp_path, 0, 3).run(PLAN._replace(name="other"))
    assert why.value.exit_code == 3


def test_a_step_killed_by_a_signal_is_worth_another_try(tmp_path: Path) -> None:
    """A process that the system kills leaves no exit code; 75 says that running again goes on."""
    with pytest.raises(looping.StepFailed, match="was killed by signal 9") as why:
        World(tmp_path, -9).run()
    assert why.value.exit_code == 75


def test_a_step_that_was_interrupted_interrupts_the_loop(tmp_path: Path) -> None:
    """Its exit code is 128 and the signal, and so is the loop's; the server is ended first."""
    world = World(tmp_path, 143)
    with pytest.raises(Interrupted, match="stopped in round 1") as why:
        world.run()
    assert why.value.exit_code == 143
    world.done.clear()
    world.run()
    assert world.done == said(ROUND_1 + ROUND_2, tmp_path)


def test_the_port_of_the_first_start_stays(tmp_path: Path) -> None:
    """A run knows its model by its address, so another port would be another model to it."""
    world = World(tmp_path, 4)
    with pytest.raises(looping.StepFailed):
        world.run()
    world.run(port=1234)
    assert {line for line in world.done if line.startswith("serve ")} == {
        "serve smollm2 at 4711",
        "serve tale-r1-model at 4711",
    }


@pytest.mark.parametrize("changed", [PLAN._replace(base="other"), PLAN._replace(on="new")])
def test_a_loop_of_another_base_or_kind_is_another_loop(tmp_path: Path, changed: Plan) -> None:
    """It is refused before anything is run."""
    World(tmp_path).run()
    world = World(tmp_path)
    with pytest.raises(IdentityChanged, match="choose another --run"):
        world.run(changed)
    assert world.done == []


@pytest.mark.parametrize(
    ("command", "word", "plan"),
    [
        ("generate", "--run", PLAN._replace(generate=("--run", "x"))),
        ("generate", "--base-url", PLAN._replace(generate=("--base-url=http://x",))),
        ("finetune", "--out", PLAN._replace(finetune=("--out", "x"))),
    ],
)
def test_words_that_the_loop_says_itself_are_refused(tmp_path: Path, command: str, word: str, plan: Plan) -> None:
    """Else they would lead a step elsewhere, unnoticed."""
    with pytest.raises(UsageProblem, match=f"--{command} .*the loop itself says {word}"):
        World(tmp_path).run(plan)


def test_notes_that_cannot_be_read_are_damage(tmp_path: Path) -> None:
    """The message says how to begin anew."""
    World(tmp_path).run()
    (tmp_path / "tale-loop" / looping.NOTES).write_text("{")
    with pytest.raises(DamagedRun, match=r"loop\.json: cannot be read; remove it"):
        World(tmp_path).run()


def test_two_processes_do_not_work_on_one_loop(tmp_path: Path) -> None:
    """The second one ends at once."""
    hold = "import sys; from selfinstruct import run_lock; run_lock.take(sys.argv[1]); print(1, flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "tale-loop")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"1\n"
    with pytest.raises(RunLocked):
        World(tmp_path).run()
    holder.communicate(b"\n")


def test_a_tally_counts_the_last_stage_and_the_rejects_of_all(tmp_path: Path) -> None:
    """As the run's own manifests have them."""
    ended = invoke("generate", "--api", "fake", "-n", 2, "--run", "one", "--output-dir", tmp_path, "--quiet")
    assert ended.code == 0, ended.err
    manifests = {path.parent.name: json.loads(path.read_bytes()) for path in tmp_path.glob("one/*/manifest.json")}
    kept = sum(shard["accepted"] for shard in manifests["instances"]["shards"])
    dropped = sum(sum(shard["rejects"].values()) for one in manifests.values() for shard in one["shards"])
    assert kept > 0
    assert looping.tally(tmp_path / "one") == (kept, dropped)
    assert looping.tally(tmp_path / "none") == (0, 0)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ('{"eval_loss": 3.0}\n{"loss": 9.0}\n{"eval_loss": 2.0}\n{"train_runtime": 1.0}\n', (3.0, 2.0)),
        ('{"loss": 9.0}\n', (9.0, 9.0)),
        ("", (None, None)),
        ("{", (None, None)),
    ],
)
def test_losses_are_the_first_and_the_last_of_held_out_rows_where_there_are_some(
    tmp_path: Path, log: str, expected: tuple[float | None, float | None]
) -> None:
    """Else of the rows trained on; a log that says nothing is no loss."""
    (tmp_path / "log.jsonl").write_text(log)
    assert looping.losses(tmp_path) == expected
    assert looping.losses(tmp_path / "none") == (None, None)


def test_a_command_runs_this_package_and_gives_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It writes where we write."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert looping.command(["--version"]) == 0
    assert capfd.readouterr().out.startswith("selfinstruct ")
    assert looping.command(["generate", "--nonsense"]) == 2


SLEEPER = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
open(sys.argv[-1], "w").close()
time.sleep(60)
"""


@pytest.mark.faults
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_command_ends_with_the_loop(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """A signal is handed on to it, and the loop has its exit code; of a kill the kernel tells it."""
    (tmp_path / "selfinstruct").mkdir()
    (tmp_path / "selfinstruct" / "__init__.py").touch()  # else the real one would be found before it
    (tmp_path / "selfinstruct" / "__main__.py").write_text(SLEEPER)
    up = tmp_path / "up"
    go = (
        "import os, sys; from selfinstruct import looping; os.environ['PYTHONPATH'] = sys.argv[1];"
        " sys.exit(looping.command([sys.argv[2]]))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", go, str(tmp_path), str(up)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    _wait_for(up.exists)
    child = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
    parent.send_signal(number)
    assert parent.wait(30) == code
    _wait_for(lambda: not Path(f"/proc/{child}").exists())
    assert not Path(f"/proc/{child}").exists()


def _wait_for(condition: object) -> None:
    assert callable(condition)
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
