"""Supervised fine-tuning: a model learns the assistant's answers of instructions and dialogues, each with its end.

As every tuning here: rows ─► tokens ─► the folder is begun ─► model and trainer ─► trained, measured, saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from selfinstruct.schema import Message
from selfinstruct.training import answers, arguments, base_model, encoding, running, supervised
from selfinstruct.training.data import Conversation, read_conversations
from selfinstruct.training.encoding import Encoded
from selfinstruct.training.recipe import Tuning
from selfinstruct.training.record import Training
from selfinstruct.training.rendering import Renderer
from selfinstruct.training.running import Data, Order

_PREDICT, _EXPLAIN = "predict: ", "explain: "  # the task prefixes of distilling step by step (systems §13)


def tune(order: Order) -> Training | None:
    """Tune; None where it was done before. Raises what `running` raises."""
    # The rows: of runs and files, mixed, some held out by prompt.
    data = running.gather(order, read_conversations)

    # Their tokens, and which of them are learned.
    tokenizer, _ = base_model.tokenizer_of(order.tuning)
    train, held_out = tokens(order.tuning, data, Renderer(tokenizer))

    # The folder says what is going on before anything large is loaded.
    now = running.describe(order, data, train, held_out)
    if not running.begin(order, now):
        return None

    # The model and its trainer.
    base = base_model.load(order.tuning)
    trainer = supervised.trainer(order.tuning, order.out, base, train, held_out)
    asked = answers.before(order.out, base, _asked(order, data))

    # Train, measure, save.
    return running.train(order, now, trainer, lambda: answers.after(order.out, trainer.model, base, asked))


def _asked(order: Order, data: Data[Conversation]) -> list[tuple[Conversation, bool]]:
    """Whose prompts are answered before and after, and whether they are held out: those first."""
    if arguments.processes() > 1:
        return []  # each holds a part of the model only
    return [*((row, True) for row in data.held_out), *((row, False) for row in data.train)][: order.answers]


def tokens(tuning: Tuning, data: Data[Conversation], renderer: Renderer) -> tuple[Encoded, Encoded | None]:
    """What is learned, and what is held out."""
    train, held_out = list(tasks(data.train, tuning)), list(tasks(data.held_out, tuning))
    weighted = encoding.weighted(tuning, [*train, *held_out])  # both sides have weights, or neither
    return encoding.conversations(train, renderer, tuning, weighted=weighted), (
        encoding.conversations(held_out, renderer, tuning, weighted=weighted) if held_out else None
    )


def tasks(rows: Iterable[Conversation], tuning: Tuning) -> Iterator[Conversation]:
    """The rows; with a rationale wanted, each that has one twice: its label to predict, its rationale to explain.

    The loss of the two is α·label + (1 − α)·rationale: all labels of the data weigh α together, all rationales 1 − α.
    """
    alpha = tuning.rationale_alpha
    kept = list(rows)
    if alpha is None:
        yield from kept
        return
    both = [row for row in kept if row.rationale]
    labels, rationales = (sum(map(len, texts)) for texts in zip(*map(_texts, both), strict=True)) if both else (1, 1)
    whole = labels + rationales
    for row in kept:
        if not row.rationale:
            yield row
        else:
            yield _task(row, _PREDICT, row.messages[-1].content, alpha * whole / labels)
            yield _task(row, _EXPLAIN, row.rationale, (1 - alpha) * whole / rationales)


def _texts(row: Conversation) -> tuple[str, str]:
    return row.messages[-1].content, row.rationale


def _task(row: Conversation, prefix: str, answer: str, weight: float) -> Conversation:
    """The row as one of the two tasks: what is asked begins with the task's name."""
    *before, asked, _ = row.messages
    messages = (
        *before,
        Message(role="user", content=prefix + asked.content),
        Message(role="assistant", content=answer),
    )
    return row.model_copy(update={"messages": messages, "weight": weight * row.weight, "weights": (), "rationale": ""})
