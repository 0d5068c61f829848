"""What happens while a trainer works: a bar, ``log.jsonl``, checkpoints marked whole, and a stop on a signal."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson
from tqdm import tqdm
from transformers import TrainerCallback

from selfinstruct.errors import ConfigProblem, Interrupted
from selfinstruct.training import checkpoints, curves

LOG: Final = "log.jsonl"
_SHOWN: Final = ("loss", "eval_loss", "eval_accuracy", "eval_rewards/accuracies", "eval_rewards/margins")


_OFTEN: Final = 2.0
"""Seconds between two lines about training where there is no bar; a tiny model makes fifty steps in one."""


class AllDone(Exception):
    """Nothing is left to train: the process ended after its last checkpoint and before it said so."""


class Progress(TrainerCallback):  # type: ignore[misc]  # it is untyped here
    """Listens to a trainer of any kind; ``tell`` gets a line where no terminal is there for a bar."""

    def __init__(self, out: Path, tell: Callable[[str], None], *, quiet: bool) -> None:
        self._out = out
        self._tell = tell
        self._quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._log: BinaryIO | None = None
        self._told = 0.0  # when a line was last handed to ``tell``
        self.signal_number = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Begin with what a checkpoint remembers: what was logged after it has not happened.

        Raises `AllDone` where the checkpoint was the last one.
        """
        if state.is_world_process_zero:
            self._log = (self._out / LOG).open("wb")
            self._write(state.log_history)
            hidden = self._quiet or None  # None: hidden where stderr is no terminal
            self._bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", disable=hidden, leave=False)
        if state.global_step >= state.max_steps:
            raise AllDone  # a trainer would do the first step that comes before it looks at their number

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """One optimizer step further; after a signal the last one, with a checkpoint, for all processes."""
        if args.world_size > 1:
            self.signal_number = _heard_by_any(self.signal_number, args.device)
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)
        if self.signal_number:
            control.should_log = control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Keep what was logged, and show the figure people look for."""
        latest = state.log_history[-1]
        if not math.isfinite(latest.get("loss", 0.0)):
            raise ConfigProblem(
                f"the loss is {latest['loss']} at step {state.global_step}: lower --learning-rate, or look at the data"
                " there; the checkpoints before it are kept"
            )
        if state.is_world_process_zero:
            self._write([latest])
            self._show(state, latest)

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """A checkpoint is whole now, every process's part of it, and the curve has grown."""
        args.distributed_state.wait_for_everyone()
        if state.is_world_process_zero:
            checkpoints.mark(self._out / f"checkpoint-{state.global_step}")
            curves.draw(self._out, state.log_history)

    def close(self) -> None:
        """Take the bar away, and see the log written."""
        if self._bar is not None:
            self._bar.close()
        if self._log is not None:
            self._log.close()

    def _write(self, entries: list[dict[str, Any]]) -> None:
        if self._log is not None:
            self._log.writelines(orjson.dumps(entry) + b"\n" for entry in entries)
            self._log.flush()

    def _show(self, state: Any, entry: dict[str, Any]) -> None:
        figures = ", ".join(f"{name} {entry[name]:.4f}" for name in _SHOWN if name in entry)
        if self._quiet or not figures or self._bar is None:
            return
        if self._bar.disable:
            now, last = time.monotonic(), state.global_step == state.max_steps
            if now - self._told >= _OFTEN or last or "loss" not in entry:
                self._told = now
                self._tell(f"step {state.global_step} of {state.max_steps}: {figures}")
        else:
            self._bar.set_postfix_str(figures)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear SIGINT, SIGTERM and SIGHUP: the first ends the training after this step, a second one at once."""

        def stop(number: int, _: object) -> None:
            if self.signal_number:
                raise Interrupted("stopped at once; the last checkpoint is kept, running again goes on there", number)
            self.signal_number = number
            if not self._quiet:
                sys.stderr.write("\nselfinstruct: stopping after this step, with a checkpoint\n")

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        handled = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, stop) for number in handled}
        try:
            yield
        finally:
            self.close()
            for number, handler in before.items():
                signal.signal(number, handler)


def _heard_by_any(signal_number: int, device: Any) -> int:
    """The signal that any of the processes that train together has heard: all stop after the same step, or none can."""
    import torch

    heard = torch.tensor(signal_number, device=device)
    torch.distributed.all_reduce(heard, torch.distributed.ReduceOp.MAX)
    return int(heard)
