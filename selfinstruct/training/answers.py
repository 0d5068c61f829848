"""What the model answers before and after: to prompts that are held out, or learned where nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from selfinstruct.schema import Message, Noun
from selfinstruct.store_files import pretty, write_whole
from selfinstruct.training.base_model import Base
from selfinstruct.training.data import Conversation

NAME: Final = "answers.json"
_TOKENS: Final = 64  # enough to see whether it answers and stops


class Answered(Noun):
    """A prompt and the model's own answers to it, each time the likeliest token by token."""

    prompt: tuple[Message, ...]
    held_out: bool
    before: str
    after: str = ""


def before(out: Path, base: Base, rows: Sequence[tuple[Conversation, bool]]) -> list[Answered]:
    """Answers of the model as it is, written down: one that goes on from a checkpoint has lost them.

    ``rows`` are conversations, and whether each is held out. Raises `OutputFailed`.
    """
    path = out / NAME
    if path.is_file():
        return [Answered.model_validate(row) for row in orjson.loads(path.read_bytes())]
    made = [
        Answered(prompt=row.prompt, held_out=held_out, before=_answer(base.model, base, row.prompt))
        for row, held_out in rows
    ]
    if made:
        _write(path, made)
    return made


def after(out: Path, model: Any, base: Base, answered: Sequence[Answered]) -> dict[str, Any]:
    """Write down the answers of the tuned model, too; there are no figures of that. Raises `OutputFailed`."""
    made = [one.model_copy(update={"after": _answer(model, base, one.prompt)}) for one in answered]
    if made:
        _write(out / NAME, made)
    return {}


def read(out: Path) -> list[Answered]:
    """What was written down, if anything was."""
    path = out / NAME
    return [Answered.model_validate(row) for row in orjson.loads(path.read_bytes())] if path.is_file() else []


def _write(path: Path, made: Sequence[Answered]) -> None:
    write_whole(path, pretty([one.model_dump(mode="json") for one in made]))


def _answer(model: Any, base: Base, prompt: Sequence[Message]) -> str:
    import torch

    ids = torch.tensor([base.renderer.prompt(prompt)], device=model.device)
    end = base.tokenizer.eos_token_id
    learning = model.training
    model.eval()
    with torch.no_grad():
        said = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=_TOKENS,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
        )
    model.train(learning)
    text: str = base.tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True)
    return text.strip()
