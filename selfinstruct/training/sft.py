"""Supervised fine-tuning: a model learns the assistant's answers of instructions and dialogues, each with its end.

As every tuning here: rows ─► tokens ─► the folder is begun ─► model and trainer ─► trained, measured, saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain

from selfinstruct.errors import BadData, UsageProblem
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
    renderer = Renderer(tokenizer)
    if any(row.condition for row in data.train) and not renderer.shows_condition:
        order.tell(
            "the chat template shows no row's class ('condition'), so nothing is conditioned on it; openchat does"
        )
    train, held_out = tokens(order.tuning, data, renderer)

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
    """What is learned, and what is held out. Both have weights or neither.

    Raises `UsageProblem` where weighted rows are to be packed, `BadData` where no row has a rationale that is wanted.
    """
    if tuning.rationale_alpha is not None:
        if not any(row.rationale for row in data.train):
            raise BadData("rationale_alpha wants rationales, and no row has a field 'rationale'")
        encode = partial(two_tasks, renderer=renderer, tuning=tuning, alpha=tuning.rationale_alpha)
    else:
        weighted = encoding.weighted(tuning, chain(data.train, data.held_out))
        encode = partial(encoding.conversations, renderer=renderer, tuning=tuning, weighted=weighted)
    train = encode(data.train)
    if tuning.packing and "weights" in train.columns:
        raise UsageProblem("--packing is for rows that all weigh the same: leave it out, or the weights")
    return train, encode(data.held_out) if data.held_out else None


def two_tasks(rows: Sequence[Conversation], renderer: Renderer, tuning: Tuning, alpha: float) -> Encoded:
    """Each row twice, its label to predict and its rationale to explain: the loss is α·label + (1 − α)·rationale.

    So all learned tokens of labels weigh α of the whole together, however short labels are (systems §13). A row
    without a rationale has its label alone.
    """
    reasons = [_task(row, _EXPLAIN, row.rationale) for row in rows if row.rationale]
    labels = [_task(row, _PREDICT, row.messages[-1].content) for row in rows]
    made = encoding.conversations(labels, renderer, tuning, weighted=True)
    if not reasons:
        return made
    explained = encoding.conversations(reasons, renderer, tuning, weighted=True)
    whole = made.supervised + explained.supervised
    made.scale(alpha * whole / made.supervised)
    explained.scale((1 - alpha) * whole / explained.supervised)
    made.extend(explained)
    return made


def _task(row: Conversation, prefix: str, answer: str) -> Conversation:
    """The row as one of the two tasks: what is asked begins with the task's name."""
    *before, asked, _ = row.messages
    user = Message(role="user", content=prefix + asked.content)
    return row.model_copy(
        update={"messages": (*before, user, Message(role="assistant", content=answer)), "weights": (), "rationale": ""}
    )
