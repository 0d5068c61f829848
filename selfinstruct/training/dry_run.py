"""What a tuning would be, before it costs anything: tokens, steps, memory, and the first example as the model sees it.

Reads the data, the tokenizer and the model's configuration, and loads no weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from selfinstruct.training import arguments, base_model, critique, encoding, running, sft
from selfinstruct.training.data import read_conversations, read_critiques, read_preferences
from selfinstruct.training.encoding import MASKED, Encoded
from selfinstruct.training.recipe import Tuning
from selfinstruct.training.rendering import Renderer
from selfinstruct.training.running import Order

_OPEN, _CLOSE = "⟦", "⟧"
_SHOWN: Final = 400
"""Characters of a piece of an example that are shown, at its beginning and at its end."""

_GIB: Final = 2**30
_ADAM: Final = 8
"""Bytes of AdamW's two 32-bit moments for each number that is tuned; RMSprop has one, Adafactor next to none."""


class Size(NamedTuple):
    """Numbers in a model, and those of them that are tuned."""

    all: int
    tuned: int


def lines(order: Order) -> Iterator[str]:
    """The report. Raises what the tuning itself would raise of its data and its model."""
    tuning = order.tuning
    tokenizer, _ = base_model.tokenizer_of(tuning)
    train, held_out, skipped = _encoded(order, Renderer(tokenizer))
    batch = arguments.batch_of(tuning, arguments.processes())
    per_epoch = math.ceil(len(train) / batch.records)
    steps = tuning.max_steps or math.ceil(per_epoch * tuning.epochs)
    yield from skipped
    yield from train.notes()
    yield f"{'records':<20}{len(train):>12}   {held_out} held out"
    yield f"{'tokens':<20}{train.tokens:>12}   {train.supervised} of them learned, the longest record {_longest(train)}"
    yield f"{'global batch':<20}{batch.records:>12}   {batch}"
    packed = ", fewer as records are packed" if tuning.packing else ""
    yield f"{'optimizer steps':<20}{steps:>12}   {steps / per_epoch:.2g} epochs{packed}"
    yield from _memory(tuning, batch.each, min(_longest(train), tuning.max_length))
    yield f"\nthe first example, what is learned between {_OPEN} and {_CLOSE}:\n"
    yield _marked(train, tokenizer)


def _encoded(order: Order, renderer: Renderer) -> tuple[Encoded, int, list[str]]:
    """The rows as the tuning itself makes them, how many are held out, and what was left out while reading."""
    tuning = order.tuning
    if tuning.kind == "sft":
        talks = running.gather(order, read_conversations)
        train, held_out = sft.tokens(tuning, talks, renderer)
        return train, len(held_out) if held_out else 0, list(running.skipped(talks.sources))
    if tuning.kind == "critique":
        judged = running.gather(order, read_critiques)
        rows = critique.conversations(judged.train)
        train = encoding.conversations(rows, renderer, tuning)
        return train, len(judged.held_out), list(running.skipped(judged.sources))
    pairs = running.gather(order, read_preferences)
    encode = encoding.preferences if tuning.kind == "dpo" else encoding.comparisons
    return encode(pairs.train, renderer, tuning), len(pairs.held_out), list(running.skipped(pairs.sources))


def _longest(train: Encoded) -> int:
    columns = train.columns
    if "input_ids" in columns:
        return max(map(len, columns["input_ids"]))
    prompts = columns.get("prompt_ids", [[]] * len(train))
    sides = zip(prompts, columns["chosen_ids"], columns["rejected_ids"], strict=True)
    return max(len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in sides)


# --- memory -----------------------------------------------------------------------------------------------------------


def _memory(tuning: Tuning, each: int, length: int) -> Iterator[str]:
    """A rough sum, for one process that holds all of the model: weights, gradients, optimizer, activations."""
    import torch

    size, config = sizes(tuning)
    gpu = torch.cuda.is_available()
    held = 0.5 if tuning.peft == "qlora" else 2 if gpu and tuning.peft != "none" else 4
    moments = {"adafactor": 0, "rmsprop": _ADAM // 2}.get(tuning.optimizer, _ADAM)
    copies = 2 if tuning.kind == "dpo" and tuning.peft == "none" else 1
    weights = size.all * held * copies
    state = size.tuned * (4 + moments)
    sides = 1 if tuning.kind in ("sft", "critique") else 2
    activations = _activations(config, each * sides, length, 2 if gpu else 4, checkpointed=gpu)
    whole = (weights + state + activations) / _GIB
    yield f"{'numbers':<20}{size.all:>12}   {size.tuned} of them tuned"
    yield (
        f"{'memory, roughly':<20}{whole:>8.1f} GiB   weights {weights / _GIB:.1f}, gradients and optimizer"
        f" {state / _GIB:.1f}, activations {activations / _GIB:.1f}, for {each} records of {length} tokens"
    )


def sizes(tuning: Tuning) -> tuple[Size, Any]:
    """How large the model is, from its configuration alone, and the configuration."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    config, loader = base_model.config_of(tuning), AutoModelForCausalLM
    if tuning.kind == "reward":
        config.num_labels, loader = 1, AutoModelForSequenceClassification
    with torch.device("meta"):
        model = loader.from_config(config)
    every = sum(parameter.numel() for parameter in model.parameters())
    return Size(every, _tuned(tuning, model, every)), config


def _tuned(tuning: Tuning, model: Any, every: int) -> int:
    if tuning.peft == "none":
        return every
    if tuning.peft == "adaption-prompt":
        layers = min(tuning.adapter_layers, model.config.num_hidden_layers - 1)
        return int(max(layers, 1) * (tuning.adapter_len * model.config.hidden_size + 1))
    import torch

    head = model.score if tuning.kind == "reward" else model.get_output_embeddings()
    wanted = tuning.lora_targets
    linear = [
        layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear)
        and layer is not head
        and (wanted == ("all-linear",) or name.rpartition(".")[2] in wanted)
    ]
    scored = head.weight.numel() if tuning.kind == "reward" else 0  # a new head is tuned whole
    return scored + sum(int(tuning.lora_r * (layer.in_features + layer.out_features)) for layer in linear)


def _activations(config: Any, rows: int, length: int, held: int, *, checkpointed: bool) -> float:
    """Bytes of what the backward pass needs: 34 × hidden a token and layer (Korthikanti et al., 2022, §4, at 2 bytes
    a number, without attention's scores, which no backend keeps); with checkpoints each layer's input alone.
    """
    text = config.get_text_config()
    tokens, hidden, layers = rows * length, int(text.hidden_size), int(text.num_hidden_layers)
    a_layer = 34 * hidden * held / 2
    kept = (layers * hidden * held + a_layer) if checkpointed else layers * a_layer
    return float(tokens * kept)


# --- the first example ------------------------------------------------------------------------------------------------


def _marked(train: Encoded, tokenizer: Any) -> str:
    """The first example as text; of pairs both sides. What is learned stands between brackets."""
    columns = train.columns
    if "input_ids" in columns:
        return _with_brackets(columns["input_ids"][0].tolist(), columns["labels"][0].tolist(), tokenizer)
    prompt = _cut(tokenizer.decode(columns["prompt_ids"][0].tolist())) if "prompt_ids" in columns else ""
    sides = (tokenizer.decode(columns[name][0].tolist()) for name in ("chosen_ids", "rejected_ids"))
    better, worse = (f"{prompt}{_OPEN}{_cut(side)}{_CLOSE}" for side in sides)
    return f"chosen:\n{better}\n\nrejected:\n{worse}"


def _with_brackets(ids: list[int], labels: list[int], tokenizer: Any) -> str:
    pieces, start = [], 0
    for place in range(1, len(ids) + 1):
        if place == len(ids) or (labels[place] == MASKED) != (labels[start] == MASKED):
            text = _cut(tokenizer.decode(ids[start:place]))
            pieces.append(text if labels[start] == MASKED else f"{_OPEN}{text}{_CLOSE}")
            start = place
    return "".join(pieces)


def _cut(text: str) -> str:
    """A long piece without its middle: where it begins and ends is what one looks at."""
    return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]} … {text[-_SHOWN:]}"
