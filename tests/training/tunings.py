"""Tunings small enough for a test: rows that a tiny model can learn something of, the command, and what it logged."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.command import Ended, invoke

WORDS = "red blue green stone river table window paper horse cloud lamp seven".split()

Row = dict[str, Any]


def said(rng: random.Random, most: int = 6) -> str:
    """One to so many words: records have different lengths."""
    return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))


def dialogues(number: int, seed: int = 0) -> list[Row]:
    """What is said, in capitals; every third has two turns."""
    rng = random.Random(seed)
    rows = []
    for place in range(number):
        messages = []
        for _ in range(2 if place % 3 == 0 else 1):
            asked = said(rng)
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": asked.upper()}]
        rows.append({"messages": messages})
    return rows


def pairs(number: int, seed: int = 0) -> list[Row]:
    """Chosen is in capitals, rejected is not; which of them is longer is drawn."""
    rng = random.Random(seed)
    return [{"prompt": said(rng), "chosen": said(rng).upper(), "rejected": said(rng)} for _ in range(number)]


def critiques(number: int, seed: int = 0) -> list[Row]:
    """Answers that are nothing but words, and what to say of them."""
    rng = random.Random(seed)
    return [
        {"instruction": said(rng, 2), "response": said(rng, 2), "critique": f"More {word}.", "score": rng.randint(1, 9)}
        for word in rng.choices(WORDS, k=number)
    ]


def classed(number: int, seed: int = 0) -> list[Row]:
    """OpenChat's rows: of two classes, with a weight for each message."""
    rng = random.Random(seed)
    return [
        {
            "items": [
                {"role": "user", "content": (asked := said(rng)), "weight": 0.0},
                {"role": "assistant", "content": asked.upper(), "weight": 1.0},
            ],
            "condition": rng.choice(["GPT4", "GPT3"]),
        }
        for _ in range(number)
    ]


def rationales(number: int, seed: int = 0) -> list[Row]:
    """A label, and why."""
    rng = random.Random(seed)
    asked = [said(rng) for _ in range(number)]
    return [{"input": one, "rationale": f"first comes {one.split()[0]}", "label": one.split()[0]} for one in asked]


def written(path: Path, rows: Iterable[Row]) -> Path:
    """JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def words(kind: str, data: Path, base: Path, out: Path, *more: object) -> tuple[object, ...]:
    """The command: four records a step, a learning rate that a tiny model wants, few checkpoints."""
    few = ("--global-batch", 4, "--lr", "5e-3", "--save-steps", 100)
    return "finetune", kind, data, "--model", base, "--out", out, *few, *more


def tune(kind: str, data: Path, base: Path, out: Path, *more: object) -> Ended:
    """The command in this process; it has to end well."""
    ended = invoke(*words(kind, data, base, out, *more))
    assert ended.code == 0, ended.err
    return ended


def logged(out: Path) -> list[Row]:
    """The lines of ``log.jsonl``."""
    return [json.loads(line) for line in (out / "log.jsonl").read_bytes().splitlines()]


def curve(out: Path, key: str = "loss") -> dict[int, float]:
    """A figure by the step it was logged at."""
    return {entry["step"]: entry[key] for entry in logged(out) if key in entry}


def apart(one: dict[int, float], other: dict[int, float]) -> float:
    """How far two curves are from each other; they have the same steps."""
    assert one.keys() == other.keys()
    assert len(one) > 2
    return max(abs(one[step] - other[step]) for step in one)


def first_and_last(out: Path, key: str) -> tuple[float, float]:
    """Of a figure in ``training.json``."""
    figure = json.loads((out / "training.json").read_bytes())["results"][key]
    return figure["first"], figure["last"]


def at_step(step: int, act: Callable[[], None]) -> Callable[..., None]:
    """`Progress.on_log`, but for something that happens once a step was logged."""
    from selfinstruct.training.progress import Progress

    before = Progress.on_log

    def on_log(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        before(self, args, state, control, **more)
        if state.global_step == step and "loss" in state.log_history[-1]:
            act()

    return on_log
