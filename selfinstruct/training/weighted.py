"""TRL's trainer with a weight for each token: the loss is Σ w·CE / Σ w over the whole global batch (systems §7.3).

Weights of one give TRL's own loss. So trained are OpenChat's classes (C-RLFT) and the two tasks of distilling step by
step, label and rationale (systems §13).
"""

from __future__ import annotations

from typing import Any

import torch
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling


class WeightedSFTTrainer(SFTTrainer):  # type: ignore[misc]  # it is untyped here
    """`SFTTrainer` for a dataset with a column ``weights``, one for each token."""

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["input_ids", "labels", "weights"]

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: Any) -> Any:
        """The weight of all tokens of an optimizer step, over all processes, in place of their number."""
        weight = sum(_of_labels(batch["weights"], batch["labels"]).sum() for batch in batch_samples)
        weight = torch.as_tensor(weight).to(device)
        return self.accelerator.gather(weight).sum() if self.args.world_size > 1 else weight

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted loss. TRL's head gives −log p token by token; what it logs beside the loss is left out."""
        weights = _of_labels(inputs.pop("weights"), inputs["labels"])
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        whole = weights.sum() if num_items_in_batch is None else num_items_in_batch
        loss = -(outputs.log_probs * weights).sum() / whole.clamp(min=torch.finfo(weights.dtype).tiny)
        if num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over them
        return (loss, outputs) if return_outputs else loss


def _of_labels(weights: Any, labels: Any) -> Any:
    """The weights of the tokens that are predicted: from the second on, and only where they are learned."""
    return weights[:, 1:] * labels[:, 1:].ne(-100)


class WeightedCollator(DataCollatorForLanguageModeling):  # type: ignore[misc]  # it is untyped here
    """Pads weights as TRL's collator pads labels."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch."""
        batch: dict[str, Any] = super().torch_call(examples)
        weights = torch.zeros(batch["labels"].shape, dtype=torch.float32)
        for row, example in zip(weights, examples, strict=True):
            row[: len(example["weights"])] = torch.tensor(example["weights"], dtype=torch.float32)
        return {**batch, "weights": weights}
