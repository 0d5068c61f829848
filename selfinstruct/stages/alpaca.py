"""Whole tasks in one call, as Stanford Alpaca asks for them: instruction, input and output together (systems §2).

A prompt shows ``num_demos`` whole tasks and asks for the list to go on to task number ``tasks``. Alpaca's demos are
seeds only; with ``machine_demos`` up to so many come from the pool of accepted tasks, as in Self-Instruct. BELLE asks
the same way, in Chinese, and takes a list of phrases out of every instruction (systems §3.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from selfinstruct import parsing
from selfinstruct.errors import ParseError
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job, Model
from selfinstruct.schema import (
    AnswerForm,
    Completion,
    Lang,
    Provenance,
    Record,
    Reject,
    Rendering,
    Request,
    Sampling,
    SeedTask,
    TaskInstance,
)
from selfinstruct.stages.demos import draw, lineage

FIELDS: Final = ("instruction", "input", "output")
_TASK: Final = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in FIELDS},
    "required": list(FIELDS),
    "additionalProperties": False,
}
ANSWER_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"tasks": {"type": "array", "items": _TASK}},
    "required": ["tasks"],
    "additionalProperties": False,
}
"""What ``--format json`` asks for: an object, because strict servers allow no array at the top."""


@dataclass(frozen=True)
class Alpaca:
    """New tasks from old ones. Filters, not this stage, decide which are kept."""

    name: str
    seeds: Sequence[SeedTask]
    prompt_file: Prompt
    rendering: Rendering
    form: AnswerForm
    sampling: Sampling
    lang: Lang
    seed: int
    round_size: int
    num_demos: int
    machine_demos: int
    tasks: int
    phrases: tuple[str, ...] = ()

    reads = None
    writes = TaskInstance
    roles = ("teacher",)

    def plan(self, round: int, inputs: Sequence[Record], accepted: Sequence[TaskInstance]) -> list[Job]:
        """``round_size`` jobs, each with its own draw of demos; there is always more to ask for."""
        rng = Random(f"{self.seed}/{self.name}/{round}")
        shown = (self.seeds, accepted, self.num_demos, self.machine_demos)
        return [Job(self.name, round, slot, draw(rng, *shown)) for slot in range(self.round_size)]

    async def run(self, job: Job, models: Mapping[str, Model]) -> list[Record | Reject]:
        """Ask once; every task of the answer is a candidate."""
        return self.parse(await models["teacher"].complete(self.prompt(job)), job)

    def prompt(self, job: Job) -> Request:
        """The list so far, to be continued, or the array, to be filled."""
        demos = [_parts(demo.instruction, demo.input, demo.output) for demo in job.material]
        many: dict[str, Any] = {"tasks": self.tasks, "new_tasks": self.tasks - len(demos)}
        shown = self.prompt_file.render(self.rendering, demos=demos, **many)
        return Request(
            draw=job.draw(),
            prompt=shown.prompt,
            messages=shown.messages,
            stop=shown.stop,
            sampling=self.sampling,
            answer_schema=ANSWER_SCHEMA if self.form == "json" else None,
        )

    def parse(self, completion: Completion, job: Job) -> list[Record | Reject]:
        """Each whole task of the answer as a candidate; one that lacks a part, or was cut, is a reject."""
        provenance = lineage(job.material).then(self.prompt_file.ref, completion)
        if completion.withheld:
            return [self._reject(job.id(), provenance, completion.withheld, {"text": completion.text}, unusable=True)]
        try:
            found = self._found(completion)
        except ParseError as error:
            return [self._reject(job.id(), provenance, error.reason, {"text": completion.text}, unusable=True)]
        nothing_whole = all(task.flaw for task in found)
        return [
            self._reject(job.id(i), provenance, task.flaw, self._cleaned(task), unusable=nothing_whole)
            if task.flaw
            else self._task(job.id(i), provenance, self._cleaned(task))
            for i, task in enumerate(found)
        ]

    def _found(self, completion: Completion) -> list[parsing.WholeTask]:
        if self.form == "json":
            return parsing.task_array(completion.text, truncated=completion.truncated)
        continues = self.rendering == "completion"
        return parsing.task_blocks(completion.text, truncated=completion.truncated, continues=continues)

    def _cleaned(self, task: parsing.WholeTask) -> dict[str, str]:
        return _parts(parsing.without_phrases(task.instruction, self.phrases), task.input, task.output)

    def _task(self, id: str, provenance: Provenance, task: dict[str, str]) -> Record | Reject:
        if not task["instruction"]:  # it was one of the phrases, and nothing else
            return self._reject(id, provenance, "no_instruction", task, unusable=False)
        return TaskInstance(
            id=id,
            provenance=provenance,
            instruction=task["instruction"],
            input=task["input"],
            output=task["output"],
            lang=self.lang,
            is_classification=None,
        )

    def _reject(
        self, id: str, provenance: Provenance, reason: str, candidate: dict[str, str], *, unusable: bool
    ) -> Reject:
        return Reject(
            id=id, provenance=provenance, stage=self.name, reason=reason, unusable=unusable, candidate=candidate
        )


def _parts(instruction: str, input: str, output: str) -> dict[str, str]:
    return dict(zip(FIELDS, (instruction, input, output), strict=True))
