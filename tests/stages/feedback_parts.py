"""What tests of sampling and of the judge are made of: scripted models of a pool, a judge, records to give them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from selfinstruct import prompts, resources
from selfinstruct.feedback_schema import (
    ASPECTS,
    Annotation,
    Aspect,
    RatedInstruction,
    RatedSample,
    Sample,
    SampledInstruction,
    SourcedInstruction,
)
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job
from selfinstruct.schema import Completion, Message, Provenance, Record, Reject, Request
from tests.judges import judged

BEFORE = Provenance(seeds=("in.jsonl:3",), prompts=("q@1:aa",), models=("old",), calls=("c0",))

HISTORY = (
    Message(role="system", content="You sell boats."),
    Message(role="user", content="Is oak heavy?"),
    Message(role="assistant", content="Heavier than pine."),
)

Said = str | Completion | Exception


class Voice:
    """A model of a pool: gives its answers in turn, the last one for ever, after so many turns of the loop.

    Known by name, draw and turn as call; keeps what it was asked, and which calls were forgone and why.
    """

    def __init__(self, name: str, *said: Said, naps: int = 0) -> None:
        self.asked: list[Request] = []
        self.forgone: list[tuple[Request, str]] = []
        self._name, self._naps = name, naps
        self._said = said or (f"{name} answers",)

    async def complete(self, request: Request) -> Completion:
        """What is next."""
        self.asked.append(request)
        said = self._said[min(len(self.asked), len(self._said)) - 1]
        for _ in range(self._naps):
            await asyncio.sleep(0)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, str):
            said = Completion(text=said, finish_reason="stop")
        call = f"{self._name}-{request.draw.step}.{request.draw.k}"
        return said.model_copy(update={"model": self._name, "call": call})

    async def forgo(self, request: Request, reason: str) -> None:
        """Keep it."""
        self.forgone.append((request, reason))

    async def aclose(self) -> None:
        """Nothing to let go of."""


class Judge:
    """Answers as the judge of `tests.judges` does, unless ``erring`` says something else to a request."""

    def __init__(self, erring: Callable[[Request], Said | None] = lambda request: None) -> None:
        self.asked: list[Request] = []
        self._erring = erring

    async def complete(self, request: Request) -> Completion:
        """Known by step and sample as call: "call-3.0"."""
        self.asked.append(request)
        said = self._erring(request)
        if said is None:
            said = right_answer(request)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, str):
            said = Completion(text=said, finish_reason="stop")
        return said.model_copy(update={"model": "judge", "call": f"call-{request.draw.step}.{request.draw.k}"})

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def of(self, step: int) -> list[Request]:
        """The requests of a step, in the order of their samples."""
        return sorted((one for one in self.asked if one.draw.step == step), key=lambda one: one.draw.k)


def right_answer(request: Request) -> str:
    """What the judge of `tests.judges` says to a request."""
    body: dict[str, Any] = (
        {"prompt": request.prompt} if request.prompt is not None else {"messages": _messages(request)}
    )
    return judged(body | ({"response_format": {}} if request.answer_schema else {}))


def _messages(request: Request) -> list[dict[str, str]]:
    return [message.model_dump() for message in request.messages or ()]


@cache
def shipped(name: str) -> Prompt:
    """A prompt file of ours, read once."""
    return prompts.load(resources.prompts_dir(), name)


def sourced(
    text: str = "Which wood floats?", *, slot: int = 2, history: Sequence[Message] = (), **more: Any
) -> SourcedInstruction:
    """An instruction that has been brought."""
    given = {"lang": "en", "source": "sharegpt", "where": "in.jsonl:3", "place": slot, **more}
    return SourcedInstruction(
        id=f"instructions-4-{slot}-0", provenance=BEFORE, instruction=text, history=tuple(history), **given
    )


def sampled(*responses: str, slot: int = 2, **more: Any) -> SampledInstruction:
    """An instruction with these responses, by models a, b, c …"""
    known = {**_known(sourced(slot=slot, **more)), "id": f"sample-4-{slot}-0"}
    return SampledInstruction(**known, completions=tuple(_sample(*one) for one in enumerate(responses)))


def rated(*answers: tuple[str, Sequence[int | None]], notes: Mapping[int, str] | None = None) -> RatedInstruction:
    """Responses with their ratings, aspect by aspect; ``notes`` are what a model was told, by place."""
    samples = []
    for place, (text, ratings) in enumerate(answers):
        told = {"custom_system_prompt": (notes or {}).get(place, "")}
        annotations: dict[Aspect, Annotation | None] = {
            aspect: Annotation(rating=rating, rationale="so") for aspect, rating in zip(ASPECTS, ratings, strict=False)
        }
        samples.append(RatedSample(**(_known(_sample(place, text)) | told), annotations=annotations))
    known = _known(sampled(*(text for text, _ in answers))) | {"id": "rate-4-2-0", "completions": tuple(samples)}
    return RatedInstruction(**known, orders={aspect: tuple(range(len(answers))) for aspect in ASPECTS})


def job(stage: str, record: Record, slot: int = 2) -> Job:
    """The third job of the fifth round, if a test says no other."""
    return Job(stage, 4, slot, record)


def shown(request: Request) -> list[str]:
    """The messages of a request, as "role: content"."""
    return [f"{message.role}: {message.content}" for message in request.messages or ()]


def kept(outcome: Sequence[Record | Reject]) -> Record:
    """The record of an outcome: the first of it, and all but it are rejects."""
    first, *rest = outcome
    assert not isinstance(first, Reject) and all(isinstance(one, Reject) for one in rest), outcome
    return first


def rejects(outcome: Sequence[Record | Reject]) -> list[Reject]:
    """What stands beside the record."""
    return [one for one in outcome if isinstance(one, Reject)]


def _known(noun: SourcedInstruction | Sample) -> dict[str, Any]:
    return {name: getattr(noun, name) for name in type(noun).model_fields}


def _sample(place: int, text: str) -> Sample:
    return Sample(model="abcdefgh"[place], principle="helpfulness", custom_system_prompt="", response=text)
