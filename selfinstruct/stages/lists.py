"""An answer that is a list, each item of it a candidate: what the stages before a dialogue ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selfinstruct import parsing
from selfinstruct.errors import ParseError
from selfinstruct.prompts import Rendered
from selfinstruct.protocols import Job
from selfinstruct.schema import Completion, Provenance, Record, Reject, Rendering, Request, Sampling


def asked(job: Job, shown: Rendered, sampling: Sampling) -> Request:
    """The request that a rendered prompt makes."""
    return Request(draw=job.draw(), prompt=shown.prompt, messages=shown.messages, stop=shown.stop, sampling=sampling)


def candidates(
    completion: Completion,
    job: Job,
    provenance: Provenance,
    rendering: Rendering,
    make: Callable[[str, str], Record],
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
        items = parsing.task_list(completion.text, truncated=completion.truncated, continues=rendering == "completion")
    except ParseError as error:
        lines = [] if completion.truncated or rendering == "completion" else parsing.bare_lines(completion.text)
        if not lines:
            return [reject(job.id(), error.reason, completion.text, unusable=True)]
        items = [parsing.ListItem(line) for line in lines]
    only_a_piece = all(item.cut for item in items)
    return [
        reject(job.id(i), "truncated", item.text, unusable=only_a_piece) if item.cut else make(job.id(i), item.text)
        for i, item in enumerate(items)
    ]
