"""Rounds of generate → filter → tune: each round's data come from the model that the round before has tuned.

    model ─► serve ─► generate ─► run NAME-r1 ─► finetune sft from the base ─► model NAME-r1-model ─► serve ─► …

Each step is a command of this package, run as one, and resumes by itself; the loop only writes down which are done. So
it can be killed anywhere, too, and goes on with the step it was in when it is run again.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Literal, NamedTuple

import orjson
from pydantic import ValidationError

from selfinstruct import identity, run_folder
from selfinstruct.errors import (
    DamagedRun,
    IdentityChanged,
    Interrupted,
    SelfinstructError,
    UnusableAnswers,
    UsageProblem,
)
from selfinstruct.schema import Noun
from selfinstruct.serving import Served
from selfinstruct.store_files import pretty, write_whole
from selfinstruct.store_manifest import read_manifest

On = Literal["all", "new"]

NOTES = "loop.json"

_OURS = {
    "generate": {"--run", "--output-dir", "--api", "--base-url", "--model", "-m", "--num-instructions", "-n", "--pool"},
    "finetune": {"--model", "--out", "-o", "--output-dir", "--restart", "--dry-run", "--print-launch", "--json"},
}
"""Options that the loop gives to the commands itself."""

_SET_PARENT_DEATH_SIGNAL = 1  # linux/prctl.h
_KILLED = 75  # for a step that a signal has killed: nothing is lost, running again goes on


class StepFailed(SelfinstructError):
    """A command that the loop ran ended with an exit code, which becomes the loop's own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Plan(NamedTuple):
    """What is wanted: so many ``rounds`` from a base model, each of ``wanted`` instructions.

    A round is tuned on the records of ``all`` rounds so far, or on its ``new`` ones. ``generate`` and ``finetune`` are
    further words for these commands.
    """

    name: str
    base: str
    rounds: int
    wanted: int
    on: On = "all"
    generate: tuple[str, ...] = ()
    finetune: tuple[str, ...] = ()


class Round(Noun):
    """What has been done of a round, by the name of its run; None for what has not.

    ``unusable`` is whether too many answers could not be used, so that `generate` ended with 3, its data complete.
    Losses are of held-out rows where there are some, else of those trained on.
    """

    run: str
    accepted: int | None = None
    rejected: int | None = None
    unusable: bool = False
    tuned: bool = False
    loss_before: float | None = None
    loss_after: float | None = None


class Notes(Noun):
    """``loop.json``: what the loop was started with, and its rounds as far as they have come.

    The port stays the same for ever: a run knows its model by the address it asked it at.
    """

    base: str
    on: On
    port: int
    rounds: tuple[Round, ...] = ()


class Means(NamedTuple):
    """What the loop works with: a server for a model at a port, and a command that is run, giving its exit code."""

    serve: Callable[[str, int], AbstractContextManager[Served]]
    command: Callable[[Sequence[str]], int]
    tell: Callable[[str], None]


def run(plan: Plan, output_dir: Path, port: int, means: Means) -> tuple[Round, ...]:
    """Do what is left of the loop, and return all its rounds. ``port`` is where a new loop's servers listen.

    Raises `StepFailed` with the exit code of a command that did not succeed, `Interrupted` where a signal ended it,
    `RunLocked` while another process works on the loop, `IdentityChanged` for one of another base or kind, and what
    starting a server raises.
    """
    check(plan)
    with run_folder.held(run_folder.run_path(output_dir, f"{plan.name}-loop"), allow_network=True) as folder:
        notes = _notes(folder, plan, port)
        for number in range(1, plan.rounds + 1):
            if len(notes.rounds) < number:
                notes = _noted(folder, notes, Round(run=f"{plan.name}-r{number}"))
            if notes.rounds[number - 1].accepted is None:
                notes = _noted(folder, notes, _generated(plan, notes, number, output_dir, means))
            if not notes.rounds[number - 1].tuned:
                notes = _noted(folder, notes, _tuned(plan, notes, number, output_dir, means))
        return notes.rounds[: plan.rounds]


def model_of(round_: Round, output_dir: Path) -> Path:
    """The folder of the model that a round has tuned: beside its run."""
    return output_dir / f"{round_.run}-model"


def check(plan: Plan) -> None:
    """Raise `UsageProblem` for a word that the loop gives to a command itself."""
    for command, words in (("generate", plan.generate), ("finetune", plan.finetune)):
        for word in words:
            if word.partition("=")[0] in _OURS[command]:
                raise UsageProblem(f"--{command} '{shlex.join(words)}': the loop itself says {word.partition('=')[0]}")


# --- steps ----------------------------------------------------------------------------------------------------------


def _generated(plan: Plan, notes: Notes, number: int, output_dir: Path, means: Means) -> Round:
    round_ = notes.rounds[number - 1]
    asked = plan.base if number == 1 else str(model_of(notes.rounds[number - 2], output_dir))
    means.tell(f"round {number} of {plan.rounds}: {asked} writes {plan.wanted} instructions")
    with means.serve(asked, notes.port) as served:
        words = ["generate", *served.words, "-n", str(plan.wanted), "--run", round_.run]
        words += ["--output-dir", str(output_dir), *plan.generate]
        unusable = _succeed(means, number, words, but=UnusableAnswers.exit_code) != 0
    accepted, rejected = tally(output_dir / round_.run)
    return round_.model_copy(update={"accepted": accepted, "rejected": rejected, "unusable": unusable})


def _tuned(plan: Plan, notes: Notes, number: int, output_dir: Path, means: Means) -> Round:
    round_ = notes.rounds[number - 1]
    model = model_of(round_, output_dir)
    taken = notes.rounds[:number] if plan.on == "all" else (round_,)
    data = [str(output_dir / one.run) for one in taken]
    means.tell(f"round {number} of {plan.rounds}: {plan.base} is tuned on {', '.join(one.run for one in taken)}")
    _succeed(means, number, ["finetune", "sft", *data, "--model", plan.base, "--out", str(model), *plan.finetune])
    before, after = losses(model)
    return round_.model_copy(update={"tuned": True, "loss_before": before, "loss_after": after})


def _succeed(means: Means, number: int, words: list[str], but: int = 0) -> int:
    """Run a command, and return its exit code, which is 0 or ``but``; raises where it does not end well."""
    code = means.command(words)
    if code in (0, but):
        return code
    if code in (128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise Interrupted(f"stopped in round {number}; running again goes on", code - 128)
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    raise StepFailed(
        f"round {number}: 'selfinstruct {shlex.join(words)}' {how}; the loop goes on there when it is run again",
        _KILLED if code < 0 else code,
    )


def command(words: Sequence[str]) -> int:
    """Run a command of this package in a process of its own that ends when this one does, and return its exit code.

    It writes to the same terminal. Signals are handed on to it, each once; so it ends in order, and then we do.
    """
    keyless = {name: value for name, value in os.environ.items() if name not in ("OPENAI_API_KEY", "OPENAI_BASE_URL")}
    # A process group of its own, or Ctrl-C would reach it twice: from the terminal, and from us.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "selfinstruct", *words],
        env=keyless,
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=_end_with_us,
    )
    with _handed_on(process):
        return process.wait()


def _end_with_us() -> None:
    """Ask the Linux kernel to end this process in order when its parent is gone; elsewhere we do without."""
    with suppress(ImportError, AttributeError, OSError):
        import ctypes

        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)


@contextmanager
def _handed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    def hand_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.signal(one, hand_on) for one in numbers if signal.getsignal(one) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- what came of them ----------------------------------------------------------------------------------------------


def tally(path: Path) -> tuple[int, int]:
    """How many records the last stage of a run accepted, and how many candidates all its stages rejected."""
    manifests = [read_manifest(path / started.stage) for started in identity.of_run(path)]
    there = [manifest for manifest in manifests if manifest is not None]
    accepted = there[-1].accepted if there else 0
    return accepted, sum(sum(shard.rejects.values()) for manifest in there for shard in manifest.shards)


def losses(model: Path) -> tuple[float | None, float | None]:
    """The first and last loss in the log of a finetune: of held-out rows where they were looked at; None without."""
    rows = []
    try:
        for line in (model / "log.jsonl").read_bytes().splitlines():
            rows.append(orjson.loads(line))
    except (OSError, orjson.JSONDecodeError):
        return None, None
    for key in ("eval_loss", "loss"):
        found = [float(row[key]) for row in rows if isinstance(row, dict) and row.get(key) is not None]
        if found:
            return found[0], found[-1]
    return None, None


# --- notes ----------------------------------------------------------------------------------------------------------


def _notes(folder: Path, plan: Plan, port: int) -> Notes:
    """What is noted of the loop; of a new one, what it is started with."""
    path = folder / NOTES
    if not path.exists():
        notes = Notes(base=plan.base, on=plan.on, port=port)
        write_whole(path, pretty(notes.model_dump()))
        return notes
    try:
        notes = Notes.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DamagedRun(
            f"{path}: cannot be read; remove it to begin the loop anew: what is done costs little"
        ) from error
    for option, noted, given in (("--model", notes.base, plan.base), ("--on", notes.on, plan.on)):
        if noted != given:
            raise IdentityChanged(
                f"{folder}: this loop was started with {option} {noted}, not {given}; choose another --run"
            )
    return notes


def _noted(folder: Path, notes: Notes, round_: Round) -> Notes:
    """The notes with a round as it is now: a new one, or another state of one that is there."""
    others = [one for one in notes.rounds if one.run != round_.run]
    after = notes.model_copy(update={"rounds": tuple(sorted([*others, round_], key=_number))})
    write_whole(folder / NOTES, pretty(after.model_dump()))
    return after


def _number(round_: Round) -> int:
    return int(round_.run.rpartition("-r")[2])
