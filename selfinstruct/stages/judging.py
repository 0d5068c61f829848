"""What the stages of a judge share: asking again in what form, and giving up on one that never follows it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from selfinstruct.errors import REFUSALS, ConfigProblem, ParseError, RequestRefused
from selfinstruct.prompts import Rendered
from selfinstruct.schema import Completion, Draw, Message, Request

GIVE_UP_AFTER = 20
"""So many answers of a judge from the start without one that says anything mean a wrong model or form, not bad luck."""

_SHOWN = 1000  # characters of an answer
_LABEL = 3  # characters that tell a label of a prompt from other text


@dataclass
class FirstAnswers:
    """Sees whether any of a judge's answers could be read; ``stage`` is who asks. Changes no byte, only when to stop.

    Answers from the ledger count, too: a run that was stopped so stops again for what was already on its way, at most.
    """

    stage: str
    unread: int = 0
    _first: Completion | None = field(default=None, repr=False)
    _any_read: bool = False

    def note(self, completion: Completion, problem: ParseError | None) -> None:
        """One more answer, and what is wrong with it. Raises `ConfigProblem`, with the first one, where all were."""
        if problem is None or self._any_read:
            self._any_read = True
            return
        self._first = self._first or completion
        self.unread += 1
        if self.unread >= GIVE_UP_AFTER:
            text = self._first.text.strip()
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
            raise ConfigProblem(
                f"{self.stage}: none of the judge's first {self.unread} answers says what was asked for ({problem}):"
                " take another judge with --judge-model, or another --format (json where its server keeps to a schema);"
                f" its first answer was:\n{shown or '(nothing)'}"
            )


def problem_of(completion: Completion) -> ParseError | None:
    """Why an answer need not be read: withheld by its provider, or cut."""
    if completion.withheld:
        return ParseError(completion.withheld)
    return ParseError("truncated") if completion.truncated else None


def refused(refusal: RequestRefused) -> ParseError:
    """A verdict on the call as what is wrong with the answer."""
    return ParseError(REFUSALS[refusal.verdict], str(refusal))


def whole(request: Request, completion: Completion) -> str:
    """The text of an answer, with the beginning that a prompt to be continued has made of it: its last paragraph.

    A model may begin anew all the same, and has to where a schema holds it to a whole JSON value.
    """
    if request.prompt is None:
        return completion.text
    opened = request.prompt.rpartition("\n\n")[2]
    begins = opened[: 1 if opened.startswith("{") else _LABEL]
    return completion.text if completion.text.lstrip().startswith(begins) else f"{opened} {completion.text.lstrip()}"


def again(request: Request, answer: Completion, repair: Rendered, k: int) -> Request:
    """The request once more, with the answer that could not be read and what to do about it.

    Where the repair ends an answer sooner it does so here; what keeps to a schema ends by itself.
    """
    update: dict[str, object] = {"draw": request.draw.model_copy(update={"k": k})}
    if request.answer_schema is None:
        update["stop"] = tuple(dict.fromkeys((*request.stop, *repair.stop)))
    if request.messages is not None:
        said = Message(role="assistant", content=answer.text.strip() or "…")
        update["messages"] = (*request.messages, said, *(repair.messages or ()))
    else:
        update["prompt"] = f"{request.prompt} {answer.text.strip()}\n\n{repair.prompt}"
    return request.model_copy(update=update)


def fence_of(seed: int, draw: Draw) -> str:
    """A word for the markers around foreign texts, which nobody who wrote one of them could know."""
    return hashlib.sha256(f"fence/{seed}/{draw}".encode()).hexdigest()[:8]
