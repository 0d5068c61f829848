"""Direct preference optimization: a model learns to prefer the chosen answer of each pair, near to where it began.

As every tuning here: rows ─► tokens ─► the folder is begun ─► model and trainer ─► trained, measured, saved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfinstruct.training import arguments, base_model, encoding, running
from selfinstruct.training.base_model import Base
from selfinstruct.training.data import read_preferences
from selfinstruct.training.encoding import Encoded
from selfinstruct.training.recipe import Tuning
from selfinstruct.training.record import Training
from selfinstruct.training.rendering import Renderer
from selfinstruct.training.running import Order


def tune(order: Order) -> Training | None:
    """Tune; None where it was done before. Raises what `running` raises."""
    # The rows: pairs of answers, held out by prompt; the prompt is all but the last turn (systems §8.2).
    data = running.gather(order, read_preferences)

    # Their tokens: the prompt cut from the left, the answers from the right.
    tokenizer, _ = base_model.tokenizer_of(order.tuning)
    renderer = Renderer(tokenizer)
    train = encoding.preferences(data.train, renderer, order.tuning)
    held_out = encoding.preferences(data.held_out, renderer, order.tuning) if data.held_out else None

    # The folder says what is going on before anything large is loaded.
    now = running.describe(order, data, train, held_out)
    if not running.begin(order, now):
        return None

    # The model, the copy of it that stays as it is, and their trainer.
    base = base_model.load(order.tuning)
    trainer = _trainer(order.tuning, order.out, base, (train, held_out))

    # Train, measure, save.
    return running.train(order, now, trainer)


def _trainer(tuning: Tuning, out: Path, base: Base, rows: tuple[Encoded, Encoded | None]) -> Any:
    from trl import DPOConfig, DPOTrainer

    class Prepared(DPOTrainer):  # type: ignore[misc]  # it is untyped here
        """TRL's trainer, for pairs that are token ids already."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    train, held_out = rows
    settings = DPOConfig(
        **arguments.common(tuning, out, evaluated=held_out is not None),
        max_length=tuning.max_length,
        beta=tuning.beta,
    )
    return Prepared(
        model=base.model,
        ref_model=base_model.reference(tuning, base),
        args=settings,
        train_dataset=train.dataset(),
        eval_dataset=held_out.dataset() if held_out else None,
        processing_class=base.tokenizer,
        peft_config=base.adapter,
    )
