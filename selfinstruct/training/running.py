"""How every tuning runs: rows gathered, its folder begun or gone on with, trained, saved with what it was made of."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from selfinstruct.errors import ConfigProblem, Interrupted, OutputFailed
from selfinstruct.training import (
    adapters,
    answers,
    arguments,
    base_model,
    card,
    checkpoints,
    curves,
    merging,
    mixing,
    record,
)
from selfinstruct.training.data import Conversation, Critiqued, Preference, Source
from selfinstruct.training.encoding import Encoded
from selfinstruct.training.recipe import Tuning
from selfinstruct.training.record import Training
from selfinstruct.wire_errors import first_line

T = TypeVar("T", Conversation, Preference, Critiqued)

_MADE_BY: Final = {"TaskInstance": "generate", "Dialogue": "dialogue", "PreferencePair": "feedback"}
"""The command that makes records of a kind."""

_TORCH_DISK: Final = ("PytorchStreamWriter", "inline_container", "iostream error")
"""What torch says, as a RuntimeError, when it cannot write."""


@dataclass(frozen=True)
class Order:
    """A tuning that was asked for; ``tell`` gets lines for people.

    ``data`` are names of files and runs, ``output_dir`` is where runs are looked for, ``out`` the folder of the tuned
    model. ``rank`` is this process among those that train together; 0 is the one that writes and speaks. ``answers``
    is how many prompts are answered before and after.
    """

    tuning: Tuning
    data: tuple[str, ...]
    out: Path
    output_dir: Path
    tell: Callable[[str], None]
    restart: bool = False
    quiet: bool = False
    rank: int = 0
    answers: int = 0


class Data(NamedTuple, Generic[T]):
    """What was read: rows to learn from, in their order, and rows to measure by; a prompt is in one of them only."""

    sources: Sequence[Source[T]]
    train: list[T]
    held_out: list[T]


def gather(order: Order, read: Callable[[Sequence[str], Path], list[Source[T]]]) -> Data[T]:
    """Read, hold out, and mix. Trainers draw the order of rows themselves, anew for each epoch.

    Raises `BadData` for what cannot be read or holds nothing, `UsageProblem` for a mix of sources that are not there.
    """
    tuning = order.tuning
    sources = read(order.data, order.output_dir)
    mix = mixing.Mix.from_shares(_by_label(tuning.mix, sources))
    mix.check([source.label for source in sources])
    rows = [row for source in sources for row in source.rows()]
    train, held_out = mixing.split(rows, tuning.held_out, tuning.seed)
    if tuning.held_out and not held_out:
        order.tell("nothing is held out: all rows have one prompt")
    return Data(sources, mix.take(train), held_out)


def _by_label(mix: dict[str, float], sources: Sequence[Source[T]]) -> dict[str, float]:
    """A mix with each command's name, where no source is called so, as the runs that the command made."""
    shares: dict[str, float] = {}
    labels = {source.label: _MADE_BY.get((source.manifest or {}).get("kind", "")) for source in sources}
    for name, share in mix.items():
        meant = [name] if name in labels else [label for label, command in labels.items() if command == name]
        shares |= dict.fromkeys(meant or [name], share)
    return shares


def describe(order: Order, data: Data[T], train: Encoded, held_out: Encoded | None) -> Training:
    """What this tuning is, for its folder, before anything is loaded."""
    tuning = order.tuning
    for line in chain(_notes(data, train, held_out), _too_far(order.tuning)):
        order.tell(line)
    return Training(
        tuning=tuning,
        base=record.of_base(tuning, base_model.path_of(tuning)),
        sources=record.of_sources(data.sources, Counter(train.sources)),
        records=len(train),
        held_out=len(held_out) if held_out else 0,
        tokens=train.tokens,
        supervised=train.supervised,
        global_batch=str(arguments.batch_of(tuning, arguments.processes())),
        versions=record.versions(),
    )


def begin(order: Order, now: Training) -> bool:
    """Write down what starts here; False where the same tuning is complete already and there is nothing to do.

    Raises `IdentityChanged` where another one was started in the folder, `OutputFailed` where files of others are.
    """
    base_model.see_apart(order.tuning, order.out)
    before = None if order.restart else record.read(order.out)
    if before is not None and (before.state == "complete" or checkpoints.latest(order.out)):  # else nothing is lost
        record.compare(order.out, before, now)
        if before.state == "complete":
            order.tell(f"{order.out}: is complete already; --restart tunes anew")
            return False
        for line in record.other_versions(before, now):
            order.tell(line)
    if order.rank == 0:
        record.see_free(order.out)
        if order.restart:
            checkpoints.remove_all(order.out)
        if checkpoints.latest(order.out) is None:  # the model may be another one than when it answered
            (order.out / answers.NAME).unlink(missing_ok=True)
        checkpoints.sweep(order.out)
        merging.forget(order.out)
        now.write(order.out)
    order.tell(
        f"{now.records} records, {now.tokens} tokens, {now.supervised} of them learned; global batch {now.global_batch}"
    )
    return True


def train(order: Order, now: Training, trainer: Any, results: Callable[[], dict[str, Any]] = dict) -> Training:
    """Train from the last checkpoint or from the start, measure, and save.

    ``results`` is what a kind does with the tuned model before all is complete; it returns figures of its own.

    Raises `OutputFailed` for a full disk, `Interrupted` after a signal, `ConfigProblem` where memory does not suffice.
    """
    from transformers import PrinterCallback

    from selfinstruct.training.progress import AllDone, Progress

    adapters.settle(trainer, order.tuning.peft)
    progress = Progress(order.out, order.tell, quiet=order.quiet)
    trainer.add_callback(progress)
    trainer.remove_callback(PrinterCallback)
    resumed = None if order.restart else checkpoints.latest(order.out)
    if resumed is not None:
        trainer.args.eval_on_start = False
        order.tell(f"going on after step {checkpoints.step_of(resumed)}")
    begun = time.monotonic()
    with _failures(order.out, trainer), progress.listening():
        with suppress(AllDone):
            trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        if progress.signal_number:
            raise Interrupted(
                f"stopped after step {trainer.state.global_step} of {trainer.state.max_steps}; running again goes on"
                " there",
                progress.signal_number,
            )
        _measure(trainer)
        _save(trainer, order.out)
        figures = {**_figures(trainer, time.monotonic() - begun), **results()}
        done = now.model_copy(update={"state": "complete", "results": figures})
        if trainer.is_world_process_zero():
            curves.draw(order.out, trainer.state.log_history)
            card.write(order.out, done)
            done.write(order.out)
    return done


def _save(trainer: Any, out: Path) -> None:
    """Weights, tokenizer, and with which token an answer ends: an adapter's own saving leaves that out."""
    trainer.save_model(str(out))
    generation = getattr(trainer.model, "generation_config", None)
    if generation is not None and trainer.is_world_process_zero():
        generation.save_pretrained(out)


def _measure(trainer: Any) -> None:
    """The loss on what is held out, unless it was measured after the last step."""
    history = trainer.state.log_history
    measured = any("eval_runtime" in entry and entry["step"] == trainer.state.global_step for entry in history)
    if trainer.eval_dataset is not None and not measured:
        trainer.evaluate()


def _figures(trainer: Any, seconds: float) -> dict[str, Any]:
    """First and last of every figure there is of training and of what is held out."""
    history = trainer.state.log_history
    figures: dict[str, Any] = {"steps": trainer.state.global_step, "seconds": round(seconds, 1)}
    keys = dict.fromkeys(key for entry in history for key in entry if key == "loss" or key.startswith("eval_"))
    for key in keys:
        if not key.endswith(("_runtime", "_second", "_num_tokens", "_entropy")):
            values = [entry[key] for entry in history if key in entry]
            figures[key] = {"first": values[0], "last": values[-1]}
    return figures


def skipped(sources: Sequence[Source[T]]) -> Iterator[str]:
    """Rows that were left out while they were read, a line for each source and reason."""
    for source in sources:
        for reason, count in sorted(source.skipped.items()):
            yield f"{source.label}: {count} {reason.replace('_', ' ')}"


def _notes(data: Data[T], train: Encoded, held_out: Encoded | None) -> Iterator[str]:
    yield from skipped(data.sources)
    yield from train.notes()
    if held_out is not None:
        yield from (f"held out: {line}" for line in held_out.notes())


def _too_far(tuning: Tuning) -> Iterator[str]:
    """Records may be longer than what the model was made to read; who stretches its positions knows."""
    text = base_model.config_of(tuning).get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    if positions and tuning.max_length > positions:
        yield f"--max-length {tuning.max_length} is more than the {positions} positions that the model knows"


@contextmanager
def _failures(out: Path, trainer: Any) -> Iterator[None]:
    """What a full disk and a full memory look like from here."""
    import torch
    from safetensors import SafetensorError

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ConfigProblem(
            "the GPU's memory does not suffice: take a smaller --batch (the global batch stays as it is), a smaller"
            " --max-length, --peft lora, or --set gradient_checkpointing=true; the last checkpoint is kept"
        ) from error
    except (OSError, SafetensorError) as error:
        raise _not_written(out, error) from error
    except RuntimeError as error:
        if not any(word in str(error) for word in _TORCH_DISK):
            raise
        raise _not_written(out, error) from error


def _not_written(out: Path, error: Exception) -> OutputFailed:
    kept = checkpoints.latest(out)
    goes_on = f"after step {checkpoints.step_of(kept)}" if kept else "from the start: there is no whole checkpoint yet"
    return OutputFailed(
        f"{out}: a checkpoint or the model could not be written ({first_line(error)}); free some space, run again"
        f" and it goes on {goes_on}"
    )
