"""Where peft, TRL and transformers do not know of each other yet: three small settlements, of the versions pinned."""

from __future__ import annotations

from functools import partial
from typing import Any


def settle(trainer: Any, peft: str) -> None:
    """Make a trainer's adapter one that is tuned, and saved no larger than it is; nothing where there is none."""
    if peft == "none":
        return
    model = trainer.model
    if peft == "adaption-prompt":  # it has kept the forward of before TRL gave the model a head of its own
        model.base_model.forward = model.base_model.model.forward
    head = model.get_output_embeddings()
    if head is not None and not hasattr(head, "bias"):  # peft's wrapper for single tokens; TRL's head asks for it
        head.bias = None
    # New tokens are saved as rows of their own. peft would save both tables, too, as the vocabulary has grown.
    model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
