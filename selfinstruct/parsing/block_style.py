"""The style of an answer's headers: which names, how marked, in what dress.

A reader takes it from headers that come in the order instruction, input, output, and then sees only that style:
"Output: 3" below "4. Output:" is part of a worked example, and so is a quiz's "Question: …" among "Instruction: …".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from selfinstruct.parsing.block_headers import Header, Kind


class Style(NamedTuple):
    """Which names, and how marked a header, this answer uses.

    Per kind: the tier of its names, the strength that half of its headers reach, and the dress that most tasks have.
    """

    tiers: dict[Kind, int]
    strengths: dict[Kind, int]
    shapes: dict[Kind, tuple[str, ...] | None]

    def named(self, header: Header) -> bool:
        """Whether the header has a name of this style."""
        return header.tier == self.tiers[header.kind]

    def fits(self, header: Header) -> bool:
        """Whether the header is one of this style, or a plainer sign of one."""
        return self.named(header) and header.strength >= self.strengths[header.kind]


def style_of(headers: Sequence[Header]) -> Style:
    """The names that most plainly come in turn, and how strongly most of them are marked.

    Better names win unless worse ones come in turn more often and begin earlier, or answer the same instructions: they
    are then the frame in which the better ones are text.
    """
    best = (len(headers), 0)
    tiers: dict[Kind, int] = {"instruction": 0, "input": 0, "output": 0}
    pairs = sorted(((told, said) for told in range(3) for said in range(3)), key=sum)
    for told, said in pairs:
        first, turns = _turns(headers, told, said)
        frames = first < best[0] or told == tiers["instruction"]
        if turns and (not best[1] or (frames and turns > best[1])):
            best, tiers = (first, turns), {"instruction": told, "input": 0, "output": said}
    tiers["input"] = max(range(3), key=lambda tier: _between(headers, tiers, tier))
    strengths: dict[Kind, int] = {"instruction": 0, "input": 0, "output": 0}
    strengths["instruction"] = _strength_of(answered(headers, tiers))
    for kind in ("input", "output"):
        named = [header for header in headers if header.kind == kind and header.tier == tiers[kind]]
        strengths[kind] = _strength_of(named)
    return Style(tiers, strengths, {"instruction": None, "input": None, "output": None})


def _turns(headers: Sequence[Header], told: int, said: int) -> tuple[int, int]:
    """Where names of these tiers first come, and how often an output follows an instruction (or opens the answer).

    An output that has its instruction's number counts twice: "# Output: 3" may end the code below "4. Answer:".
    """
    first, turns, begun, number = len(headers), 0, True, None
    for position, header in enumerate(headers):
        if header.kind == "instruction" and header.tier == told:
            begun, number = True, header.number
        elif header.kind == "output" and header.tier == said:
            turns += begun + (begun and number is not None and header.number == number)
            begun = False
        else:
            continue
        first = min(first, position)
    return first, turns


def _between(headers: Sequence[Header], tiers: dict[Kind, int], given: int) -> tuple[int, int]:
    """How often an input of this tier stands between an instruction and an output, and how often anywhere."""
    turns, place = 0, 0
    for header in headers:
        if header.kind == "input":
            place = 2 if place == 1 and header.tier == given else place
        elif header.tier == tiers[header.kind]:
            turns += header.kind == "output" and place == 2
            place = header.kind == "instruction"
    return turns, sum(header.kind == "input" and header.tier == given for header in headers)


def answered(headers: Sequence[Header], tiers: dict[Kind, int]) -> list[Header]:
    """The instructions of a tier that an output follows before the next one.

    A plain one right below another's header is the first word of its text ("4. 任务：", "题目：…"), but not below a
    title ("Task 4", "Task: …").
    """
    found = []
    last: Header | None = None
    for header in headers:
        if header.tier == tiers[header.kind] and header.kind == "instruction":
            begun = last is not None and not last.rest and "before" in last.shape and header.line == last.line + 1
            last = last if begun and not header.strength else header
        elif header.kind == "output" and header.tier == tiers["output"] and last:
            found.append(last)
            last = None
    return found


def _strength_of(headers: Sequence[Header]) -> int:
    """The greatest strength that at least half of the headers have."""
    return max(
        (level for level in range(3) if sum(h.strength >= level for h in headers) * 2 >= len(headers)), default=0
    )


def usual_shape(inside: Sequence[Sequence[Header]], kind: Kind, style: Style) -> tuple[str, ...] | None:
    """The dress that the most tasks have on a header of this kind; the first of them where several do."""
    tasks = ({h.shape: None for h in found if h.kind == kind and style.fits(h)} for found in inside)
    counts = Counter(shape for shapes in tasks for shape in shapes)
    return counts.most_common(1)[0][0] if counts else None
