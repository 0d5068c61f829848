"""Several models of a pool answer each instruction (UltraFeedback, systems §6.2, §6.3): who, and by which principle.

    design.order(place) ─► the first four are asked, each with a principle of its own ─► four completions
                                │ empty, refused, or its model is away
                                └─► the design's next takes the seat, and that is recorded

Who takes whose seat never depends on which answer came first: all seats are asked, then those that stayed empty are
given away in their order. That a model was away is recorded only once others have taken its seats: when nobody answers
it is the network that is down, and the run stops and asks the same models again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, Protocol

from selfinstruct import parsing
from selfinstruct.errors import REFUSALS, ConfigProblem, ModelError, RequestRefused
from selfinstruct.feedback_schema import Flag, Principle, Replaced, Sample, SampledInstruction, SourcedInstruction
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model, Replaceable
from selfinstruct.schema import Completion, Record, Reject, Rendering, Request, Sampling
from selfinstruct.stages.together import all_of

_END = "\n\n\n\n"
"""Where the text of a completion ends (UltraFeedback, systems §6.3)."""


class Design(Protocol):
    """Which models answer an instruction."""

    def order(self, place: int) -> tuple[str, ...]:
        """Every model's name: first those that are asked, then whoever is next when one of them cannot be."""
        ...


class Wording(NamedTuple):
    """What a model is told beforehand: its principle, in one of the wordings there are. None and "" are nothing."""

    principle: Principle | None
    text: str


class Taken(NamedTuple):
    """A seat that has its completion, and all that was asked for it."""

    sample: Sample
    completions: Sequence[Completion]


class Away(NamedTuple):
    """A call that its model could not be asked, and why."""

    name: str
    request: Request
    error: ModelError | ConfigProblem


@dataclass(frozen=True)
class Samples:
    """So many completions of each instruction, by distinct models.

    ``wording`` draws what a model is told beforehand, by the instruction's source. ``renderings`` are by model.
    """

    design: Design
    wording: Callable[[str, Random], Wording]
    prompt_file: Prompt
    renderings: Mapping[str, Rendering]
    sampling: Sampling
    models: int
    resamples: int
    seed: int

    name = "sample"
    reads = SourcedInstruction
    writes = SampledInstruction
    roles = ("assistant",)

    def plan(self, round: int, inputs: Sequence[SourcedInstruction], accepted: Sequence[Record]) -> list[Job]:
        """One job for each instruction of this round."""
        return [Job(self.name, round, slot, record) for slot, record in enumerate(inputs)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Ask until every seat has its completion. Raises why a model was away where nobody is left for its seat."""
        order = self.design.order(job.material.place)
        names, following = list(order[: self.models]), list(order[self.models :])
        seats: dict[int, Taken] = {}
        replaced: list[Replaced] = []
        away: list[Away] = []
        while len(seats) < self.models:
            empty = [seat for seat in range(self.models) if seat not in seats]
            answers = await all_of(self.ask(job, seat, names[seat], models) for seat in empty)
            for seat, answer in zip(empty, answers, strict=True):
                if isinstance(answer, Taken):
                    seats[seat] = answer
                    continue
                away += [answer] if isinstance(answer, Away) else []
                replaced.append(Replaced(model=answer.name, reason="down") if isinstance(answer, Away) else answer)
                names[seat] = following.pop(0) if following else ""
            if not all(names):
                return [self._too_few(job, seats, replaced, away)]
        await _forgo(away, models)
        return [self._sampled(job, [seats[seat] for seat in range(self.models)], replaced)]

    async def ask(self, job: Job, seat: int, name: str, models: Mapping[str, Model]) -> Taken | Away | Replaced:
        """The answer of a model at a seat, asked again where it is empty or withheld; or why there is none."""
        completions: list[Completion] = []
        for k in range(1 + self.resamples):
            request = self.prompt(job, seat, name, k)
            try:
                completions.append(await models[f"assistant/{name}"].complete(request))
            except RequestRefused as refusal:
                return Replaced(model=name, reason=REFUSALS[refusal.verdict])
            except (ModelError, ConfigProblem) as error:  # it is away, or does not start
                return Away(name, request, error)
            text = self.parse(completions[-1], self.renderings[name])
            if text and not completions[-1].withheld:
                return Taken(self._sample(job, seat, name, text, completions[-1]), completions)
        return Replaced(model=name, reason=completions[-1].withheld or "empty")

    def asked(self, record: SourcedInstruction) -> tuple[str, ...]:
        """The names of the models that are asked first, by seat."""
        return self.design.order(record.place)[: self.models]

    def prompt(self, job: Job, seat: int = 0, name: str = "", k: int = 0) -> Request:
        """What the model at a seat is asked; the seat's principle stays when another model takes it."""
        record: SourcedInstruction = job.material
        said = list(record.history)
        told = [self._wording(record, seat).text]
        if said and said[0].role == "system":
            told.insert(0, said.pop(0).content)
        shown = self.prompt_file.render(
            self.renderings[name or self.asked(record)[seat]],
            history=said,
            principle_text="\n\n".join(filter(None, told)),
            instruction=record.instruction,
        )
        return Request(
            draw=job.draw(step=seat, k=k),
            prompt=shown.prompt,
            messages=shown.messages,
            stop=shown.stop,
            sampling=self.sampling,
        )

    def parse(self, completion: Completion, rendering: Rendering) -> str:
        """The text of an answer, up to four line ends; of a transcript that goes on, its first turn."""
        text = completion.text.strip().partition(_END)[0]
        return parsing.spoken(text, "assistant", continues=True) if rendering == "completion" else text.rstrip()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _wording(self, record: SourcedInstruction, seat: int) -> Wording:
        return self.wording(record.source, Random(f"{self.seed}/{self.name}/{record.id}/{seat}"))

    def _sample(self, job: Job, seat: int, name: str, text: str, completion: Completion) -> Sample:
        wording = self._wording(job.material, seat)
        flags: dict[Flag, bool] = {"truncated": completion.truncated, "refusal": parsing.is_refusal(text)}
        return Sample(
            model=name,
            principle=wording.principle,
            custom_system_prompt=wording.text,
            response=text,
            flags=tuple(flag for flag, holds in flags.items() if holds),
        )

    def _sampled(self, job: Job, seats: Sequence[Taken], replaced: Sequence[Replaced]) -> SampledInstruction:
        record: SourcedInstruction = job.material
        completions = [completion for seat in seats for completion in seat.completions]
        known: dict[str, Any] = {name: getattr(record, name) for name in SourcedInstruction.model_fields}
        known |= {"id": job.id(0), "provenance": record.provenance.then(self.prompt_file.ref, *completions)}
        samples = tuple(seat.sample for seat in seats)
        return SampledInstruction(**known, completions=samples, replaced=tuple(replaced))

    def _too_few(
        self, job: Job, seats: Mapping[int, Taken], replaced: Sequence[Replaced], away: Sequence[Away]
    ) -> Reject:
        """Nobody is left. Raises why where models are away, for they may come back; a verdict where they answered."""
        record: SourcedInstruction = job.material
        told = ", ".join(f"{one.model} ({one.reason})" for one in replaced)
        if away:
            kind = type(away[0].error) if isinstance(away[0].error, ConfigProblem) else ModelError
            raise kind(
                f"{record.where}: {self.models} models are to answer, and too few of the pool can be asked: {told}"
                f" ('selfinstruct skip RUN {away[0].request.draw}' goes on without it); {away[0].name}: {away[0].error}"
            )
        completions = [completion for _, taken in sorted(seats.items()) for completion in taken.completions]
        return Reject(
            id=job.id(0),
            provenance=record.provenance.then(self.prompt_file.ref, *completions),
            stage=self.name,
            reason="too_few_completions",
            detail=told,
            unusable=True,
            candidate={"instruction": record.instruction, "where": record.where},
        )


async def _forgo(away: Iterable[Away], models: Mapping[str, Model]) -> None:
    """Record that the run has gone on without these."""
    for one in away:
        model = models[f"assistant/{one.name}"]
        if isinstance(model, Replaceable):
            await model.forgo(one.request, str(one.error))
