"""The chat templates we ship, and giving a model one of them: its special tokens, its end token, its padding.

Each is a Jinja file in ``chat_templates/``, as `transformers` reads them, with the marks ``{% generation %}`` around
what the assistant writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from selfinstruct.errors import ConfigProblem

_FOLDER: Final = Path(__file__).resolve().parent / "chat_templates"
_ROWS: Final = 8192  # as many are summed up at a time: a table in 64 bits would be gigabytes
_BEGIN: Final = "{{- bos_token -}}\n"


class Template(NamedTuple):
    """How a conversation is written as text.

    ``tokens`` are the special tokens it is written with, apart from the tokenizer's own beginning and end of a
    sequence. ``end`` is what ends an answer; None is the tokenizer's own end of a sequence.
    """

    name: str
    text: str
    tokens: tuple[str, ...] = ()
    end: str | None = None


TEMPLATES: Final[Mapping[str, tuple[tuple[str, ...], str | None]]] = MappingProxyType(
    {
        "alpaca": ((), None),
        "belle": ((), None),
        "chatml": (("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
        "openchat": (("<|end_of_turn|>",), "<|end_of_turn|>"),
        "zephyr": ((), None),
    }
)
"""What the special tokens of each template are, and which of them ends an answer; see `Template`."""


def names() -> tuple[str, ...]:
    """The templates we ship, in alphabetical order."""
    return tuple(sorted(TEMPLATES))


def load(name: str) -> Template:
    """The template of that name. Raises `ConfigProblem` for one we do not ship."""
    if name not in TEMPLATES:
        raise ConfigProblem(f"no chat template '{name}'; there are {', '.join(names())}")
    return Template(name, (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8"), *TEMPLATES[name])


def dress(tokenizer: Any, name: str) -> list[str]:
    """Give a tokenizer one of our templates, with all that a model needs to learn it; returns the tokens it added.

    Special tokens that are missing are added, the token that ends an answer becomes the end of a sequence, and padding
    gets a token of its own (`pad_apart`). The beginning-of-sequence token stands first only where the tokenizer itself
    puts it there, so the model sees what it was pretrained with (LLaMA and Mistral do; Qwen, StarCoder and SmolLM2
    do not). The model's embeddings have no row yet for what was added: see `start_at_mean`.

    Raises `ConfigProblem` for a name we do not ship, or for a tokenizer without an end of sequence where the template
    needs one.
    """
    template = load(name)
    if template.end is None and tokenizer.eos_token is None:
        raise ConfigProblem(f"the chat template '{name}' ends answers with the tokenizer's eos_token, which has none")
    begins = _begins_with_bos(tokenizer)
    added = _add(tokenizer, template.tokens)
    if template.end is not None:
        tokenizer.eos_token = template.end
    tokenizer.chat_template = template.text if begins else template.text.replace(_BEGIN, "")
    return added + pad_apart(tokenizer)


def pad_apart(tokenizer: Any) -> list[str]:
    """See that padding is not the end of a sequence; returns the tokens it added, which is none or ``[PAD]``.

    Where they are one, masking the padding masks the end too, and the model never learns to stop (trl issue 3091). The
    unknown token is taken where there is one: a byte-level vocabulary has no use for it. Else ``[PAD]``, as Alpaca.
    """
    apart = {tokenizer.eos_token, tokenizer.bos_token, None}
    if tokenizer.pad_token not in apart:
        return []
    if tokenizer.unk_token not in apart:
        tokenizer.pad_token = tokenizer.unk_token
        return []
    added = _add(tokenizer, ("[PAD]",))
    tokenizer.pad_token = "[PAD]"
    return added


def start_at_mean(model: Any, tokenizer: Any, added: Collection[str]) -> None:
    """Let new tokens start as the mean of the old ones, in the input and the output embeddings (Alpaca, OpenChat).

    The model grows if the tokenizer has outgrown it. Old rows are those of the tokens the tokenizer had; spare rows,
    which some models have up to a round number, are none of them. The mean is taken in 64 bits.
    """
    import torch

    rows = model.get_input_embeddings().weight.shape[0]
    new = sorted({tokenizer.convert_tokens_to_ids(token) for token in added} | set(range(rows, len(tokenizer))))
    if not new:
        return
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    old = torch.ones(len(tokenizer), dtype=torch.bool)
    old[new] = False
    with torch.no_grad():
        for table in _tables(model):
            parts = zip(table[: len(tokenizer)].split(_ROWS), old.to(table.device).split(_ROWS), strict=True)
            total = sum(part[kept].double().sum(dim=0) for part, kept in parts)
            table[new] = (total / old.sum()).to(table.dtype)


def _tables(model: Any) -> list[Any]:
    """The embeddings: input, output if the model has one of its own, and the output's bias if it has one."""
    tables = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not tables[0]:
        tables.append(head.weight)
    if getattr(head, "bias", None) is not None:
        tables.append(head.bias)
    return tables


def _begins_with_bos(tokenizer: Any) -> bool:
    ids: list[int] = tokenizer("a")["input_ids"]
    return tokenizer.bos_token is not None and ids[:1] == [tokenizer.bos_token_id]


def _add(tokenizer: Any, tokens: tuple[str, ...]) -> list[str]:
    """Make these special tokens of the tokenizer; returns those it did not know."""
    known = tokenizer.get_vocab()
    tokenizer.add_tokens(list(tokens), special_tokens=True)
    return [token for token in tokens if token not in known]
