"""A reward model: one number for an answer, higher for the chosen one of each pair: −log σ(chosen − rejected − margin).

As every tuning here: rows ─► tokens ─► the folder is begun ─► model and trainer ─► trained, measured, saved. UltraRM
is this over UltraFeedback and equal parts of other preference data (systems §6.9), so each source has figures of its
own; beside a model's accuracy stands that of the rule "the longer answer is better", which it has to beat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
    # The rows: pairs of answers, of one or more sources; a prompt is learned or held out, never both.
    data = running.gather(order, read_preferences)

    # Their tokens: both sides whole, as a reward is read at the last one.
    tokenizer, _ = base_model.tokenizer_of(order.tuning)
    renderer = Renderer(tokenizer)
    train = encoding.comparisons(data.train, renderer, order.tuning)
    held_out = encoding.comparisons(data.held_out, renderer, order.tuning) if data.held_out else None

    # The folder says what is going on before anything large is loaded.
    now = running.describe(order, data, train, held_out)
    if not running.begin(order, now):
        return None

    # The model, with one number for its output, and its trainer.
    base = base_model.load(order.tuning)
    trainer = _trainer(order.tuning, order.out, base, (train, held_out))

    # Train, measure by source, save.
    return running.train(order, now, trainer, lambda: {"held_out": _accuracies(trainer, held_out)} if held_out else {})


def _trainer(tuning: Tuning, out: Path, base: Base, rows: tuple[Encoded, Encoded | None]) -> Any:
    from trl import RewardConfig, RewardTrainer

    train, held_out = rows
    settings = RewardConfig(
        **arguments.common(tuning, out, evaluated=held_out is not None),
        max_length=tuning.max_length,
        center_rewards_coefficient=tuning.center_rewards or None,
    )
    return RewardTrainer(
        model=base.model,
        args=settings,
        train_dataset=train.dataset(),
        eval_dataset=held_out.dataset() if held_out else None,
        processing_class=base.tokenizer,
        peft_config=base.adapter,
    )


class Judged(NamedTuple):
    """A held-out pair: the source it is of, the two rewards, and the lengths in tokens of the two sides."""

    source: str
    rewards: tuple[float, float]
    lengths: tuple[int, int]


def _accuracies(trainer: Any, held_out: Encoded) -> dict[str, Any]:
    """Figures of the held-out pairs by source, and of all: exact, where a trainer's are means of means of batches."""
    judged = list(_judged(trainer, held_out))
    by_source = {source: [pair for pair in judged if pair.source == source] for source in sorted(set(held_out.sources))}
    if len(by_source) > 1:
        by_source = {**by_source, "all": judged}
    return {source: figures(pairs) for source, pairs in by_source.items()}


def figures(pairs: Sequence[Judged]) -> dict[str, float | int]:
    """Accuracy and mean margin of the rewards, and the accuracy of preferring the longer side; a tie counts half."""
    return {
        "pairs": len(pairs),
        "accuracy": _share([pair.rewards for pair in pairs]),
        "longer_is_better": _share([pair.lengths for pair in pairs]),
        "margin": round(sum(pair.rewards[0] - pair.rewards[1] for pair in pairs) / len(pairs), 4),
    }


def _share(sides: Sequence[tuple[float, float]]) -> float:
    """How often the first is greater."""
    right = sum(1.0 if chosen > rejected else 0.5 if chosen == rejected else 0.0 for chosen, rejected in sides)
    return round(right / len(sides), 4)


def _judged(trainer: Any, held_out: Encoded) -> Iterator[Judged]:
    """Each held-out pair's rewards, pair by pair, so that no padding has a say."""
    import torch

    model = trainer.model.eval()
    columns = held_out.columns
    with torch.no_grad():
        for source, chosen, rejected in zip(
            held_out.sources, columns["chosen_ids"], columns["rejected_ids"], strict=True
        ):
            sides = [torch.tensor(ids, dtype=torch.long, device=model.device)[None] for ids in (chosen, rejected)]
            better, worse = (float(model(input_ids=ids, use_cache=False).logits[0, 0]) for ids in sides)
            yield Judged(source, (better, worse), (len(chosen), len(rejected)))
