"""A judge gives each completion feedback and an overall score from 1 to 10 (UltraFeedback, systems §6.5).

A score far from what the same judge gave in the four aspects is asked for once more, with both in view; what it says
then stands, and the record tells of both. UltraFeedback's own scores of 1 became 10 on their way into the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from selfinstruct import parsing
from selfinstruct.errors import ParseError, RequestRefused
from selfinstruct.feedback_schema import CritiquedInstruction, CritiquedSample, RatedInstruction, RatedSample
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import AnswerForm, Completion, Record, Reject, Rendering, Request, Sampling
from selfinstruct.stages.judging import FirstAnswers, again, fence_of, problem_of, refused, whole
from selfinstruct.stages.together import all_of

FAR: Final = 4.0
"""So far apart are an overall score and twice the mean of the ratings when they disagree. The published repair asks
again about a 10 beside a mean of 3, and keeps one beside a mean above 4 (systems §6.5)."""

_SCORE: Final = {"type": "integer", "minimum": 1, "maximum": 10}


class Critique(NamedTuple):
    """What came of a completion: ``problem`` is why there is nothing, ``first_score`` one that was asked for again."""

    feedback: str | None
    score: float | None
    first_score: float | None
    completions: Sequence[Completion]
    problem: ParseError | None = None
    refused: str = ""  # the call that will never be answered


@dataclass(frozen=True)
class Critiques:
    """One critique a completion. ``repair`` is what a judge is told that erred, ``reconsider`` one that disagrees.

    ``without_example`` is, by its wording, what of a principle the judge is shown where that is not all of it.
    """

    prompt_file: Prompt
    repair: Prompt
    reconsider: Prompt
    rendering: Rendering
    sampling: Sampling
    form: AnswerForm
    max_reasks: int
    seed: int
    without_example: Mapping[str, str]
    first_answers: FirstAnswers = field(default_factory=lambda: FirstAnswers("critique"), compare=False)

    name = "critique"
    reads = RatedInstruction
    writes = CritiquedInstruction
    roles = ("judge",)

    def plan(self, round: int, inputs: Sequence[RatedInstruction], accepted: Sequence[Record]) -> list[Job]:
        """One job for each instruction of this round."""
        return [Job(self.name, round, slot, record) for slot, record in enumerate(inputs)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """A critique of every completion; a reject beside the record for each that could not be read."""
        many = len(job.material.completions)
        found = await all_of(self._criticize(job, index, models["judge"]) for index in range(many))
        missing = [(index, one) for index, one in enumerate(found) if one.problem is not None]
        return [self._critiqued(job, found), *(_missing(job, *one, i) for i, one in enumerate(missing, 1))]

    def prompt(self, job: Job, index: int = 0) -> Request:
        """What the judge is asked about a completion."""
        record: RatedInstruction = job.material
        sample = record.completions[index]
        draw = job.draw(step=index)
        shown = self.prompt_file.render(
            self.rendering,
            before=record.history,
            instruction=record.instruction,
            note=self.without_example.get(sample.custom_system_prompt, sample.custom_system_prompt),
            response=sample.response,
            form=self.form,
            fence=fence_of(self.seed, draw),
        )
        properties = {"feedback": {"type": "string"}, "overall_score": _SCORE}
        return Request(
            draw=draw,
            prompt=shown.prompt,
            messages=shown.messages,
            stop=shown.stop,
            sampling=self.sampling,
            answer_schema=_object(properties) if self.form == "json" else None,
            schema_in_order=True,
        )

    def parse(self, completion: Completion, request: Request) -> tuple[str, float]:
        """Feedback and score. Raises `ParseError`."""
        if (problem := problem_of(completion)) is not None:
            raise problem
        return (parsing.critique_json if self.form == "json" else parsing.critique)(whole(request, completion))

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _criticize(self, job: Job, index: int, judge: Model) -> Critique:
        """Ask until it can be read, at most ``1 + max_reasks`` times; a score that disagrees once more."""
        first = request = self.prompt(job, index)
        asked: list[Completion] = []
        problem = ParseError("missing_critique")
        for k in range(1, self.max_reasks + 2):
            try:
                asked.append(await judge.complete(request))
                feedback, score = self.parse(asked[-1], request)
            except RequestRefused as refusal:
                return Critique(None, None, None, asked, refused(refusal), refusal.call)
            except ParseError as error:
                problem = error
                self.first_answers.note(asked[-1], problem)
                if problem.reason == asked[-1].withheld:
                    break
                shown = self.repair.render(self.rendering, reason=error.reason, detail=error.detail, form=self.form)
                request = again(first, asked[-1], shown, k)
            else:
                self.first_answers.note(asked[-1], None)
                mean = job.material.completions[index].mean
                if not far(score, mean):
                    return Critique(feedback, score, None, asked)
                second = await self._reconsidered(self._doubted(job, first, asked[-1], score), asked, judge)
                return Critique(feedback, second or score, score if second else None, asked)
        return Critique(None, None, None, asked, problem)

    def _doubted(self, job: Job, first: Request, answer: Completion, score: float) -> Request:
        """The request for the score alone, with how far it is from the ratings."""
        completions, index = job.material.completions, first.draw.step
        mean = _plain(completions[index].mean)
        shown = self.reconsider.render(self.rendering, score=_plain(score), mean=mean, form=self.form)
        schema = _object({"overall_score": _SCORE}) if self.form == "json" else None
        update = {"draw": job.draw(step=len(completions) + index), "answer_schema": schema}
        return again(first, answer, shown, 0).model_copy(update=update)

    async def _reconsidered(self, request: Request, asked: list[Completion], judge: Model) -> float | None:
        """What the judge says now; None where that cannot be read: the first score stands, and is known to disagree."""
        try:
            asked.append(await judge.complete(request))
            return parsing.overall_score(whole(request, asked[-1])) if problem_of(asked[-1]) is None else None
        except (RequestRefused, ParseError):
            return None

    def _critiqued(self, job: Job, found: Sequence[Critique]) -> CritiquedInstruction:
        record: RatedInstruction = job.material
        completions = [completion for one in found for completion in one.completions]
        known: dict[str, Any] = {name: getattr(record, name) for name in RatedInstruction.model_fields}
        known |= {"id": job.id(0), "provenance": record.provenance.then(self.prompt_file.ref, *completions)}
        known["completions"] = tuple(map(_sample, record.completions, found))
        return CritiquedInstruction(**known)


def far(score: float | None, mean: float | None) -> bool:
    """Whether an overall score (1 to 10) and the mean of the ratings (1 to 5) of one completion disagree."""
    return score is not None and mean is not None and abs(score - 2 * mean) >= FAR


def _sample(one: RatedSample, found: Critique) -> CritiquedSample:
    return CritiquedSample(
        **{name: getattr(one, name) for name in RatedSample.model_fields},
        critique=found.feedback,
        overall_score=found.score,
        first_score=found.first_score,
        disagrees=far(found.score, one.mean),
    )


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _plain(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _missing(job: Job, completion: int, found: Critique, index: int) -> Reject:
    """A completion whose critique stays unread. One of them counts for the instruction."""
    record: RatedInstruction = job.material
    assert found.problem is not None
    calls = (*(one.call for one in found.completions), *filter(None, (found.refused,)))
    return Reject(
        id=job.id(index),
        provenance=record.provenance.model_copy(update={"calls": calls}),
        stage=job.stage,
        reason=found.problem.reason,
        detail=found.problem.detail,
        unusable=index == 1,
        candidate={
            "instruction": record.id,
            "completion": completion,
            "answers": [one.text for one in found.completions],
        },
    )
