"""Asking for lists: what the stages before a dialogue have in common. Each item of an answer is a candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from selfinstruct import parsing
from selfinstruct.errors import ParseError
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Job
from selfinstruct.schema import Completion, Lang, Provenance, Record, Reject, Rendering, Request, Sampling


@dataclass(frozen=True)
class Lists:
    """How a stage asks for its lists, and how many jobs a round has that no records are fed to."""

    rendering: Rendering
    sampling: Sampling
    lang: Lang
    seed: int
    round_size: int

    def numbers(self, round: int) -> range:
        """The numbers that a round's jobs have among all."""
        return range(round * self.round_size, (round + 1) * self.round_size)

    def order(self, many: int, what: object = "order") -> Sequence[int]:
        """The order in which so many things are gone through; each ``what`` has one of its own."""
        return _order(f"{self.seed}/openers/{what}", many)

    def request(self, job: Job, prompt: Prompt, **variables: Any) -> Request:
        """The request that a prompt makes, its variables filled in."""
        shown = prompt.render(self.rendering, **variables)
        return Request(
            draw=job.draw(), prompt=shown.prompt, messages=shown.messages, stop=shown.stop, sampling=self.sampling
        )

    def candidates(
        self, completion: Completion, job: Job, provenance: Provenance, make: Callable[[str, str], Record]
    ) -> list[Record | Reject]:
        """Each item of the answer as the record that ``make`` makes of an id and a text; a cut one is a reject."""

        def reject(id: str, reason: str, text: str, *, unusable: bool) -> Reject:
            candidate: dict[str, Any] = {"text": text}
            return Reject(
                id=id, provenance=provenance, stage=job.stage, reason=reason, unusable=unusable, candidate=candidate
            )

        if completion.withheld:
            return [reject(job.id(), completion.withheld, completion.text, unusable=True)]
        try:
            items = self._items(completion)
        except ParseError as error:
            return [reject(job.id(), error.reason, completion.text, unusable=True)]
        only_a_piece = all(item.cut for item in items)
        return [
            reject(job.id(i), "truncated", item.text, unusable=only_a_piece) if item.cut else make(job.id(i), item.text)
            for i, item in enumerate(items)
        ]

    def _items(self, completion: Completion) -> list[parsing.ListItem]:
        continues = self.rendering == "completion"
        try:
            return parsing.task_list(completion.text, truncated=completion.truncated, continues=continues)
        except ParseError:
            lines = [] if completion.truncated or continues else parsing.bare_lines(completion.text)
            if not lines:
                raise
            return [parsing.ListItem(line) for line in lines]


@lru_cache(maxsize=64)
def _order(seed: str, many: int) -> Sequence[int]:
    return Random(seed).sample(range(many), many)
