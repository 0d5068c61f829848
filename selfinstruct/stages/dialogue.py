"""Two models talk: one answers, one plays the user (UltraChat, systems §5.2). Every turn is a call of its own.

    opener ─► assistant ─► guards ─► user ─► guards ─► assistant ─► …        step 0, 1, 2 … of the job's draws

Both are shown what was said so far. What the user is to do stands behind the history and not before it: so the model
that plays it does not take up the assistant's part. A turn that a guard refuses ends the dialogue with the round before
it, and becomes a reject beside the dialogue; where it is the first answer nothing is left, and the reject stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, NamedTuple

from selfinstruct import parsing
from selfinstruct.dialogue_seeds import Join, Persona
from selfinstruct.errors import REFUSALS, RequestRefused
from selfinstruct.prompts import Frame, Prompt, Rendered
from selfinstruct.protocols import Guard, Job, Model, Turn
from selfinstruct.schema import (
    Completion,
    Dialogue,
    Lineage,
    Message,
    Opener,
    Provenance,
    Record,
    Reject,
    Rendering,
    Request,
    Sampling,
)
from selfinstruct.token_estimate import estimate

_FRAME = 8
"""Tokens that a message takes beside its text, at most."""

_MARGIN = 5, 4
"""Estimated tokens are taken for so much more, 5 for 4: a context that is missed costs the dialogue."""


@dataclass(frozen=True)
class Side:
    """One of the two who talk: how it is asked, and how many tokens its model may read and write."""

    role: Literal["user", "assistant"]
    prompt_file: Prompt
    rendering: Rendering
    sampling: Sampling
    context: int


class Cast(NamedTuple):
    """What is drawn for a dialogue: who plays the user, and for how many rounds."""

    persona: Persona
    rounds: int


class Refused(NamedTuple):
    """A turn that is no part of the dialogue, and why: whose, its place (the opener's is 0), what stood before it."""

    reason: str
    detail: str
    role: str
    turn: int
    after: str
    text: str = ""
    call: str = ""


@dataclass
class Talk:
    """A dialogue under way. ``said`` begins with the opener."""

    job: Job
    cast: Cast
    said: list[Message]
    calls: list[Completion] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ended: str = ""
    _sizes: list[int] = field(default_factory=list)

    @property
    def side(self) -> int:
        """Whose turn it is: 0 is the assistant's, 1 the user's."""
        return (len(self.said) - 1) % 2

    def sizes(self) -> list[int]:
        """About how many tokens each turn takes."""
        self._sizes += (_FRAME + estimate(message.content) for message in self.said[len(self._sizes) :])
        return self._sizes

    @property
    def is_over(self) -> bool:
        """True when the last answer is there, or something has ended it."""
        return bool(self.ended) or len(self.said) == 2 * self.cast.rounds


@dataclass(frozen=True)
class Dialogues:
    """A dialogue for each opener. ``sides`` are the assistant and the user; ``rounds`` the least and the most."""

    sides: tuple[Side, Side]
    personas: Sequence[Persona]
    joins: Mapping[str, Join]
    guards: Sequence[Guard]
    rounds: tuple[int, int]
    resamples: int
    seed: int
    _frames: dict[tuple[str, str, int, int], Frame] = field(init=False, default_factory=dict, repr=False, compare=False)

    name = "dialogue"
    reads = Opener
    writes = Dialogue
    roles = ("user", "assistant")

    def plan(self, round: int, inputs: Sequence[Opener], accepted: Sequence[Record]) -> list[Job]:
        """One job for each opener of this round."""
        return [Job(self.name, round, slot, record) for slot, record in enumerate(inputs)]

    def cast(self, opener: Opener) -> Cast:
        """Drawn by the opener, so that neither its neighbours nor its place matter."""
        rng = Random(f"{self.seed}/{self.name}/{opener.id}")
        return Cast(rng.choice(self.personas), rng.randint(*self.rounds))

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Turn by turn, until the rounds that were drawn are over or a turn ends it."""
        talk = Talk(job, self.cast(job.material), [Message(role="user", content=self.opening(job.material))])
        while not talk.is_over:
            await self._next(talk, models)
        return self._outcome(talk)

    def opening(self, opener: Opener) -> str:
        """The first turn: the request, with its passage where it has one."""
        if not opener.passage:
            return opener.instruction
        return self.joins[opener.join].fill(opener.passage, opener.instruction)

    def prompt(self, job: Job) -> Request:
        """The request for the first answer."""
        opener: Opener = job.material
        said = [Message(role="user", content=self.opening(opener))]
        return self.request(Talk(job, self.cast(opener), said), said)

    # --- a turn -----------------------------------------------------------------------------------------------------

    async def _next(self, talk: Talk, models: Mapping[str, Model]) -> None:
        side, shown = self.sides[talk.side], self.shown(talk)
        if not shown:
            self._end(talk, "context", f"what was said does not fit into {side.context} tokens")
            return
        for attempt in range(1 + self.resamples):
            try:
                completion = await models[side.role].complete(self.request(talk, shown, attempt))
            except RequestRefused as refusal:
                self._end(talk, REFUSALS[refusal.verdict], str(refusal), call=refusal.call or "")
                return
            talk.calls.append(completion)
            if self._heard(talk, side, completion) or talk.ended == "farewell":
                return

    def _heard(self, talk: Talk, side: Side, completion: Completion) -> bool:
        """Take a turn in, or note what ends the dialogue with it. True when the dialogue goes on."""
        text = parsing.spoken(completion.text, side.role, continues=side.rendering == "completion")
        reason, detail = self._judged(talk, side, text, completion)
        if reason:
            self._end(talk, reason, detail, text, completion.call)
            return False
        talk.said.append(Message(role=side.role, content=text))
        talk.ended = ""
        return True

    def _end(self, talk: Talk, reason: str, detail: str, text: str = "", call: str = "") -> None:
        role, after = self.sides[talk.side].role, talk.said[-1].content
        talk.refused.append(Refused(reason, detail, role, len(talk.said), after, text, call))
        talk.ended = reason

    def _judged(self, talk: Talk, side: Side, text: str, completion: Completion) -> tuple[str, str]:
        """The reason why the dialogue cannot go on with this turn, and its detail; both empty where it can."""
        if completion.withheld:
            return completion.withheld, ""
        if completion.truncated:
            return "truncated", ""
        turn = Turn(side.role, text, talk.said, talk.job.material.lang)
        drop = next((drop for guard in self.guards if (drop := guard.check(turn))), None)
        return (drop.reason, drop.detail) if drop else ("", "")

    def request(self, talk: Talk, shown: Sequence[Message], attempt: int = 0) -> Request:
        """What the side whose turn it is is asked."""
        side = self.sides[talk.side]
        rendered = self._rendered(side, talk.cast, len(talk.said) // 2 + 1, shown)
        return Request(
            draw=talk.job.draw(step=len(talk.said) - 1, k=attempt),
            prompt=rendered.prompt,
            messages=rendered.messages,
            stop=rendered.stop,
            sampling=side.sampling,
        )

    def _rendered(self, side: Side, cast: Cast, round: int, shown: Sequence[Message]) -> Rendered:
        """The prompt of a side around what it is shown; of a chat the frame is made once."""
        told: dict[str, Any] = {}
        if side.role == "user":
            told = {"persona": cast.persona, "round": round, "rounds": cast.rounds}
        if side.rendering == "completion":
            return side.prompt_file.render("completion", history=shown, **told)
        key = (side.role, cast.persona.id, round, cast.rounds) if told else (side.role, "", 0, 0)
        if key not in self._frames:
            self._frames[key] = side.prompt_file.frame(**told)
        return self._frames[key].around(shown)

    def shown(self, talk: Talk) -> list[Message]:
        """As much of what was said as fits: the first round, and of the others the latest, each whole.

        Empty where not even the first round and the turn to be answered fit.
        """
        side = self.sides[talk.side]
        room = (side.context - side.sampling.max_tokens) * _MARGIN[1] // _MARGIN[0] - self._frame(side)
        sizes = talk.sizes()
        last = len(sizes) - (1 if side.role == "assistant" else 2)  # with this one on nothing can be left out
        first = 2
        while first < last and sum(sizes[:2]) + sum(sizes[first:]) > room:
            first += 2
        kept = sizes[:2] + sizes[first:]
        return [*talk.said[:2], *talk.said[first:]] if sum(kept) <= room else []

    def _frame(self, side: Side) -> int:
        """Tokens of the side's prompt file, about; more than what of it is sent."""
        return estimate(side.prompt_file.text)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _outcome(self, talk: Talk) -> list[Record | Reject]:
        whole = len(talk.said) // 2 * 2
        kept: list[Record | Reject] = [self._dialogue(talk, whole)] if whole else []
        for i, refused in enumerate(talk.refused, len(kept)):
            kept.append(
                Reject(
                    id=talk.job.id(i),
                    provenance=self._descent(talk.job.material, refused),
                    stage=self.name,
                    reason=refused.reason,
                    detail=refused.detail,
                    unusable=not whole and refused is talk.refused[-1],
                    candidate={name: getattr(refused, name) for name in ("role", "turn", "text", "after")},
                )
            )
        return kept

    def _descent(self, opener: Opener, refused: Refused) -> Provenance:
        """Of a turn that was refused: the opener's, the side's prompt, and the one call that said it."""
        before, side = opener.provenance, self.sides[refused.role == "user"]
        return before.model_copy(
            update={
                "parents": (*before.parents, opener.id),
                "prompts": (*before.prompts, side.prompt_file.ref),
                "calls": (refused.call,) if refused.call else (),
            }
        )

    def _dialogue(self, talk: Talk, whole: int) -> Dialogue:
        opener: Opener = talk.job.material
        before = opener.provenance
        provenance = before.then(self.sides[0].prompt_file.ref, *talk.calls)
        prompts = (*provenance.prompts, *([self.sides[1].prompt_file.ref] if talk.cast.rounds > 1 else []))
        return Dialogue(
            id=talk.job.id(0),
            provenance=provenance.model_copy(update={"parents": (*before.parents, opener.id), "prompts": prompts}),
            messages=tuple(talk.said[:whole]),
            lang=opener.lang,
            sector=opener.sector,
            persona=talk.cast.persona.id,
            opener=Lineage(id=opener.id, origin=opener.origin, topic=opener.topic, subtopic=opener.subtopic),
            rounds=whole // 2,
            planned=talk.cast.rounds,
            ended=talk.ended,
        )
