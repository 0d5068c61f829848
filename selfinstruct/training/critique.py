"""A critique model: it reads an instruction and an answer, and writes feedback and a score (UltraCM, systems §6.9).

It is asked in the very words that `feedback` asks a judge, so what comes out of this can be its ``--judge-model``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from selfinstruct import prompts, resources
from selfinstruct.languages import Languages
from selfinstruct.schema import Message
from selfinstruct.training import base_model, encoding, running, supervised
from selfinstruct.training.data import Conversation, Critiqued, read_critiques
from selfinstruct.training.record import Training
from selfinstruct.training.rendering import Renderer
from selfinstruct.training.running import Order

_LABELS: Final = {"en": ("Feedback: ", "Overall Score: "), "zh": ("反馈：", "总分：")}
"""What a critique looks like as text, by the language it is asked for in: as `parsing.critique` reads it."""


def tune(order: Order) -> Training | None:
    """Tune; None where it was done before. Raises what `running` raises."""
    # The rows: answers with a critique, and what was asked.
    found = running.gather(order, read_critiques)

    # Their tokens: the judge's prompt is read, the critique and its score are learned.
    tokenizer, _ = base_model.tokenizer_of(order.tuning)
    renderer = Renderer(tokenizer)
    train = encoding.conversations(conversations(found.train), renderer, order.tuning)
    held_out = encoding.conversations(conversations(found.held_out), renderer, order.tuning) if found.held_out else None

    # The folder says what is going on before anything large is loaded.
    now = running.describe(order, found, train, held_out)
    if not running.begin(order, now):
        return None

    # The model and its trainer.
    base = base_model.load(order.tuning)
    trainer = supervised.trainer(order.tuning, order.out, base, train, held_out)

    # Train, measure, save.
    return running.train(order, now, trainer)


def conversations(rows: Sequence[Critiqued]) -> list[Conversation]:
    """Each row as the judge's prompt and its answer: ``Feedback: …``, and the score on a line of its own."""
    languages = Languages()
    asked = {lang: prompts.load(resources.prompts_dir(), f"critique/{lang}/feedback") for lang in _LABELS}
    made = []
    for row in rows:
        lang = "zh" if languages.of_request(row.critique) == "zh" else "en"
        prompt = asked[lang].render(
            "chat",
            before=row.prompt[:-1],
            instruction=row.prompt[-1].content,
            note="",
            response=row.response,
            form="text",
            fence=hashlib.sha256(f"{row.group} {row.response}".encode()).hexdigest()[:8],
        )
        answer = Message(role="assistant", content=_answer(row, *_LABELS[lang]))
        made.append(Conversation(messages=(*(prompt.messages or ()), answer), source=row.source, place=row.place))
    return made


def _answer(row: Critiqued, feedback: str, score: str) -> str:
    said = f"{feedback}{row.critique.strip()}"
    return said if row.score is None else f"{said}\n{score}{row.score:g}"
