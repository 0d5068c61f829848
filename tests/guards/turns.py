"""What tests of guards share: turns of a dialogue, and the sentences that have their verdict written beside them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from selfinstruct.protocols import Guard, Turn
from selfinstruct.schema import Lang, Message

Side = Literal["user", "assistant"]

TALK: dict[Lang, list[str]] = {
    "en": ["How do bees find food?", "They go by scent and by sight."],
    "zh": ["蜜蜂是怎么找食物的？", "它们靠气味和视觉。"],
}
"""What was said before a turn where a test does not say it: the user's opener, and the answer."""

_SENTENCES = Path(__file__).parent / "sentences"
_REAL = Path(__file__).parents[3] / "shared/data"


def turn_of(role: Side, text: str, history: Sequence[str] | None = None, lang: Lang = "en") -> Turn:
    """A turn after ``history``, oldest first, the user's opener and then in turns; `TALK` if none is given."""
    sides: tuple[Side, Side] = ("user", "assistant")
    texts = TALK[lang][: 2 if role == "user" else 1] if history is None else history
    said = [Message(role=sides[number % 2], content=content) for number, content in enumerate(texts)]
    return Turn(role=role, text=text, history=said, lang=lang)


def judged(name: str, lang: Lang) -> list[tuple[Turn, str | None]]:
    """Each turn of ``sentences/NAME.LANG.jsonl``, and the verdict written beside it: a reason, or None to keep it."""
    path = _SENTENCES / f"{name}.{lang}.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [(turn_of(row["role"], row["text"], row.get("history"), lang), row["reason"]) for row in rows]


def misjudged(guard: Guard, name: str, lang: Lang) -> list[tuple[str, str | None, str | None]]:
    """The turns for which a guard finds another verdict: how each begins, the verdict beside it, the one found."""
    found = ((turn, reason, guard.check(turn)) for turn, reason in judged(name, lang))
    verdicts = [(turn.text[:60], reason, drop.reason if drop else None) for turn, reason, drop in found]
    return [verdict for verdict in verdicts if verdict[1] != verdict[2]]


def fewest(name: str, lang: Lang) -> int:
    """How many turns have the rarer of the two verdicts: those that are fine, or those that are not."""
    fine = [reason is None for _, reason in judged(name, lang)]
    return min(fine.count(True), fine.count(False))


def false_alarms(guard: Guard, lang: Lang) -> list[float]:
    """The share that is dropped of published instructions as users' turns, and of their outputs as assistants'.

    Skips the test where the published data are not there: they are not shipped.
    """
    path = _REAL / f"instructions_{lang}.jsonl.gz"
    if not path.exists():
        pytest.skip("needs published data that is not shipped")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(4000), lines, strict=False)]
    asked = [f"{row['instruction']}\n{row['input']}".strip() for row in rows]
    users = [turn_of("user", text, [asked[n - 1], rows[n - 1]["output"]]) for n, text in enumerate(asked)]
    assistants = [turn_of("assistant", row["output"], [text]) for row, text in zip(rows, asked, strict=True)]
    return [sum(guard.check(turn) is not None for turn in turns) / len(turns) for turns in (users, assistants)]
