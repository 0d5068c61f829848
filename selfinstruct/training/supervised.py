"""The trainer of what is learned by imitation: TRL's ``SFTTrainer``, or ours where tokens weigh differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfinstruct.training import arguments
from selfinstruct.training.base_model import Base
from selfinstruct.training.encoding import Encoded
from selfinstruct.training.recipe import Tuning


def trainer(tuning: Tuning, out: Path, base: Base, train: Encoded, held_out: Encoded | None) -> Any:
    """A trainer of these rows, which are token ids with labels: TRL prepares nothing but packs, if that is wanted."""
    from trl import SFTConfig, SFTTrainer

    settings = SFTConfig(
        **arguments.common(tuning, out, evaluated=held_out is not None),
        max_length=tuning.max_length,
        packing=tuning.packing,
        eval_packing=False,
        dataset_kwargs=None if tuning.packing else {"skip_prepare_dataset": True},
        prediction_loss_only=True,
    )
    made: dict[str, Any] = {
        "model": base.model,
        "args": settings,
        "train_dataset": train.dataset(),
        "eval_dataset": held_out.dataset() if held_out else None,
        "processing_class": base.tokenizer,
        "peft_config": base.adapter,
    }
    if "weights" in train.columns:
        from selfinstruct.training.weighted import WeightedCollator, WeightedSFTTrainer

        collator = WeightedCollator(pad_token_id=base.tokenizer.pad_token_id)
        return WeightedSFTTrainer(**made, data_collator=collator)
    return SFTTrainer(**made)
