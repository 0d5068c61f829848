"""A judge rates the completions of an instruction in four aspects, a call for each (UltraFeedback, systems §6.4).

All texts stand in one prompt, in an order drawn anew for each aspect, and what the judge says of a slot is given back
to the completion that stood there. An answer that cannot be read as a whole is asked for again with what is wrong; what
stays unread is missing: never shifted, never filled in. A share of the instructions is rated twice, the second time in
the reverse order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from selfinstruct import parsing
from selfinstruct.errors import ParseError, RequestRefused
from selfinstruct.feedback_schema import (
    ASPECTS,
    WITH_TYPES,
    Annotation,
    Aspect,
    RatedInstruction,
    RatedSample,
    Sample,
    SampledInstruction,
)
from selfinstruct.parsing import RatedText, Wanted
from selfinstruct.prompts import Prompt, Rendered
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import AnswerForm, Completion, Provenance, Record, Reject, Rendering, Request, Sampling
from selfinstruct.sources import family
from selfinstruct.stages.judging import FirstAnswers, again, fence_of, problem_of, refused, whole
from selfinstruct.stages.together import all_of

_KNOWN: dict[str, str] = {"truthful_qa": "answers", "false_qa": "premise", "flan": "reference"}
"""What the judge is told of the world, by source (systems §6.4)."""


class Turn(NamedTuple):
    """One aspect, rated for the first or the second time: ``order`` is the completion at each slot of the prompt."""

    aspect: Aspect
    second: bool
    order: tuple[int, ...]

    @property
    def step(self) -> int:
        """Its place among the calls of a job."""
        return ASPECTS.index(self.aspect) + self.second * len(ASPECTS)


class Said(NamedTuple):
    """What a judge said in a turn, by completion; a `ParseError` is what is wrong where nothing could be read."""

    turn: Turn
    texts: tuple[RatedText | ParseError, ...]
    completions: Sequence[Completion]
    refused: str = ""  # the call that will never be answered

    @property
    def problem(self) -> ParseError | None:
        """The first thing that is wrong."""
        return next((text for text in self.texts if isinstance(text, ParseError)), None)


@dataclass(frozen=True)
class Ratings:
    """Four aspects an instruction. ``prompt_files`` are by aspect, ``repair`` is what a judge is told that erred."""

    prompt_files: Mapping[Aspect, Prompt]
    repair: Prompt
    rendering: Rendering
    sampling: Sampling
    form: AnswerForm
    rationale_first: bool
    max_reasks: int
    swap_check: float
    not_applicable: Sequence[Aspect]
    seed: int
    first_answers: FirstAnswers = field(default_factory=lambda: FirstAnswers("rate"), compare=False)

    name = "rate"
    reads = SampledInstruction
    writes = RatedInstruction
    roles = ("judge",)

    def plan(self, round: int, inputs: Sequence[SampledInstruction], accepted: Sequence[Record]) -> list[Job]:
        """One job for each instruction of this round."""
        return [Job(self.name, round, slot, record) for slot, record in enumerate(inputs)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Every aspect, and for some instructions every aspect a second time; a reject for each that stays unread."""
        said = await all_of(self._rate(job, turn, models["judge"]) for turn in self.turns(job.material))
        problems = [one for one in said if one.problem is not None]
        return [self._rated(job, said), *(_missing(job, one, i) for i, one in enumerate(problems, 1))]

    def turns(self, record: SampledInstruction) -> list[Turn]:
        """The aspects in the orders that are drawn for them; those of a swap check behind them, reversed."""
        first = []
        for aspect in ASPECTS:
            order = list(range(len(record.completions)))
            Random(f"{self.seed}/{self.name}/{record.id}/{aspect}").shuffle(order)
            first.append(Turn(aspect, False, tuple(order)))
        drawn = Random(f"{self.seed}/{self.name}/{record.id}/swap").random()
        return first + [one._replace(second=True, order=one.order[::-1]) for one in first if drawn < self.swap_check]

    def prompt(self, job: Job, turn: Turn | None = None) -> Request:
        """What the judge is asked in a turn, by default the first one."""
        record: SampledInstruction = job.material
        turn = turn or self.turns(record)[0]
        draw = job.draw(step=turn.step)
        shown = self.prompt_files[turn.aspect].render(
            self.rendering,
            before=record.history,
            instruction=record.instruction,
            texts=[record.completions[index].response for index in turn.order],
            knowledge=_knowledge(record),
            form=self.form,
            rationale_first=self.rationale_first,
            na=turn.aspect in self.not_applicable,
            fence=fence_of(self.seed, draw),
        )
        return Request(
            draw=draw,
            prompt=shown.prompt,
            messages=shown.messages,
            stop=shown.stop,
            sampling=self.sampling,
            answer_schema=self._schema(turn, len(record.completions)) if self.form == "json" else None,
            schema_in_order=True,
        )

    def parse(self, completion: Completion, request: Request, turn: Turn) -> list[RatedText | ParseError]:
        """What an answer says of each slot. Raises `ParseError` where it is not clear what is said of which."""
        if (problem := problem_of(completion)) is not None:
            raise problem
        wanted = Wanted(len(turn.order), turn.aspect in WITH_TYPES, turn.aspect in self.not_applicable)
        read = parsing.ratings_json if self.form == "json" else parsing.ratings
        return read(whole(request, completion), wanted)

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _rate(self, job: Job, turn: Turn, judge: Model) -> Said:
        """Ask until all is read, at most ``1 + max_reasks`` times; else the answer of which most could be read."""
        first = request = self.prompt(job, turn)
        asked: list[Completion] = []
        best: Sequence[RatedText | ParseError] = ()
        never = ""
        for k in range(1, self.max_reasks + 2):
            try:
                asked.append(await judge.complete(request))
            except RequestRefused as refusal:
                best, never = best or [refused(refusal)] * len(turn.order), refusal.call
                break
            slots, problem = self._read(asked[-1], request, turn)
            best = slots if not best or _faults(slots) < _faults(best) else best
            if problem is None or problem.reason == asked[-1].withheld:
                break
            request = again(first, asked[-1], self._repair(problem, turn), k)
        by_completion = sorted(zip(turn.order, best, strict=True), key=lambda placed: placed[0])
        return Said(turn, tuple(text for _, text in by_completion), asked, never)

    def _read(
        self, completion: Completion, request: Request, turn: Turn
    ) -> tuple[Sequence[RatedText | ParseError], ParseError | None]:
        try:
            slots: Sequence[RatedText | ParseError] = self.parse(completion, request, turn)
        except ParseError as error:
            slots = [error] * len(turn.order)
        problem = next((text for text in slots if isinstance(text, ParseError)), None)
        says_something = any(isinstance(text, RatedText) and text.rating is not None for text in slots)
        self.first_answers.note(completion, None if says_something else problem or ParseError("only_not_applicable"))
        return slots, problem

    def _repair(self, problem: ParseError, turn: Turn) -> Rendered:
        return self.repair.render(
            self.rendering, reason=problem.reason, detail=problem.detail, texts=len(turn.order), form=self.form
        )

    def _schema(self, turn: Turn, texts: int) -> dict[str, Any]:
        """The JSON Schema of an answer; a rationale that comes first stands first."""
        ratings: list[Any] = [1, 2, 3, 4, 5, *(["N/A"] if turn.aspect in self.not_applicable else [])]
        rating, rationale = {"rating": {"enum": ratings}}, {"rationale": {"type": "string"}}
        types = {
            "type": {"type": "array", "items": {"enum": [1, 2, 3]}, "maxItems": 3},
            "type_rationale": {"type": "string"},
        }
        fields: dict[str, Any] = {
            "text": {"type": "integer", "minimum": 1, "maximum": texts},
            **(types if turn.aspect in WITH_TYPES else {}),
            **(rationale | rating if self.rationale_first else rating | rationale),
        }
        one = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
        listed = {"type": "array", "items": one, "minItems": texts, "maxItems": texts}
        return {
            "type": "object",
            "properties": {"texts": listed},
            "required": ["texts"],
            "additionalProperties": False,
        }

    def _rated(self, job: Job, said: Sequence[Said]) -> RatedInstruction:
        record: SampledInstruction = job.material
        first = {one.turn.aspect: one for one in said if not one.turn.second}
        second = {one.turn.aspect: one for one in said if one.turn.second}
        known: dict[str, Any] = {name: getattr(record, name) for name in SampledInstruction.model_fields}
        known |= {"id": job.id(0), "provenance": self._descent(record, said)}
        known["completions"] = tuple(_sample(one, i, first, second) for i, one in enumerate(record.completions))
        return RatedInstruction(
            **known,
            orders={aspect: one.turn.order for aspect, one in first.items()},
            second_orders={aspect: one.turn.order for aspect, one in second.items()},
        )

    def _descent(self, record: SampledInstruction, said: Sequence[Said]) -> Provenance:
        completions = [completion for one in said for completion in one.completions]
        first, *others = (self.prompt_files[aspect].ref for aspect in ASPECTS)
        provenance = record.provenance.then(first, *completions)
        return provenance.model_copy(update={"prompts": (*provenance.prompts, *others)})


def _faults(slots: Sequence[RatedText | ParseError]) -> int:
    return sum(isinstance(text, ParseError) for text in slots)


def _knowledge(record: SampledInstruction) -> dict[str, Any] | None:
    """What the judge is told of the world, by source (systems §6.4): answers, a warning of the premise, a reference."""
    kind = _KNOWN.get(family(record.source))
    if kind is None and (record.correct_answers or record.incorrect_answers):
        kind = "answers"
    if kind is None or (kind != "premise" and not (record.correct_answers or record.incorrect_answers)):
        return None
    return {"kind": kind, "correct": list(record.correct_answers), "incorrect": list(record.incorrect_answers)}


def _sample(one: Sample, index: int, first: Mapping[Aspect, Said], second: Mapping[Aspect, Said]) -> RatedSample:
    annotations = {aspect: _annotation(said.texts[index]) for aspect, said in first.items()}
    again = {aspect: text for aspect, said in second.items() if isinstance(text := said.texts[index], RatedText)}
    return RatedSample(
        **{name: getattr(one, name) for name in Sample.model_fields},
        annotations=annotations,
        second_ratings={aspect: text.rating for aspect, text in again.items()},
    )


def _annotation(text: RatedText | ParseError) -> Annotation | None:
    if isinstance(text, ParseError):
        return None
    return Annotation(
        rating=text.rating, rationale=text.rationale, types=text.types, types_rationale=text.types_rationale
    )


def _missing(job: Job, said: Said, index: int) -> Reject:
    """An aspect of which something stays unread. One of them counts for the instruction."""
    record: SampledInstruction = job.material
    problem = said.problem
    assert problem is not None
    calls = (*(completion.call for completion in said.completions), *filter(None, (said.refused,)))
    return Reject(
        id=job.id(index),
        provenance=record.provenance.model_copy(update={"calls": calls}),
        stage=job.stage,
        reason=problem.reason,
        detail=problem.detail,
        unusable=index == 1,
        candidate={
            "instruction": record.id,
            "aspect": said.turn.aspect,
            "second": said.turn.second,
            "completions": [i for i, text in enumerate(said.texts) if isinstance(text, ParseError)],
            "answers": [completion.text for completion in said.completions],
        },
    )
