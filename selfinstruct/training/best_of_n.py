"""Best-of-n: of n answers to a prompt, the one that a reward model likes best (UltraRM's best-of-16, systems §5.4).

Drawn ─► score ─► Judged ─► samples.jsonl  every answer with its score, or with why it has none
                          + kept.jsonl     the best answer of each prompt, as `finetune sft` reads it
                          + curve.json     what fewer answers a prompt would have come to, and best-of-n.png

Nothing here asks a model: answers come in, files go out. Equal answers and scores give equal bytes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from math import comb, fsum
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from selfinstruct.errors import OutputFailed
from selfinstruct.schema import Message
from selfinstruct.store_files import Spool, pretty, write_whole

SAMPLES, KEPT, CURVE, PLOT = "samples.jsonl", "kept.jsonl", "curve.json", "best-of-n.png"
SCORES: Final = "scores.jsonl"

PROMPTS_AT_ONCE: Final = 16
"""Prompts whose answers are scored together, and whose scores are written down together."""

_DECIMALS: Final = 6
"""Of a score: what float32 can tell apart. Below that, a score depends on which texts stand in one batch with it."""

Score = Callable[[Sequence[Sequence[Message]]], list[float]]
"""From conversations, whose last message is the answer, to one score each; more is better."""


class Answer(NamedTuple):
    """One of the n: its text, the key of the call it came by, who gave it, and why it cannot be kept ("" if it can)."""

    text: str
    call: str
    model: str = ""
    problem: str = ""


class Drawn(NamedTuple):
    """A prompt with its n answers, in the order they were drawn; ``source`` is where it stands, "mine.jsonl:12"."""

    id: str
    prompt: tuple[Message, ...]
    source: str
    answers: tuple[Answer, ...]

    @property
    def conversations(self) -> list[tuple[Message, ...]]:
        """What there is to score: each usable answer with its prompt."""
        return [self.with_answer(one) for one in self.answers if not one.problem]

    def with_answer(self, answer: Answer) -> tuple[Message, ...]:
        """The prompt, answered."""
        return (*self.prompt, Message(role="assistant", content=answer.text))


class Judged(NamedTuple):
    """A prompt whose answers have their scores; None where there is nothing to score."""

    drawn: Drawn
    scores: tuple[float | None, ...]

    @property
    def best(self) -> int | None:
        """The place of the best answer, the first of equals; None where no answer can be kept."""
        usable = [(score, -place) for place, score in enumerate(self.scores) if score is not None]
        return -max(usable)[1] if usable else None


class Point(NamedTuple):
    """What n answers a prompt come to.

    ``score`` is the expected best score, over prompts (None where no answer can be kept at all); ``answered`` the
    expected share of prompts that have an answer to keep.
    """

    n: int
    score: float | None
    answered: float


class Outcome(NamedTuple):
    """What was written: prompts, those that kept an answer, answers, why some could not be kept, and the curve."""

    prompts: int
    kept: int
    answers: int
    problems: dict[str, int]
    curve: tuple[Point, ...]


# --- scores ---------------------------------------------------------------------------------------------------------


def judge(drawn: Iterable[Drawn], score: Score, book: ScoreBook, done: Callable[[int], None]) -> Iterator[Judged]:
    """Score every answer that can be kept; ``done`` hears how many prompts are. What the book has is not scored anew.

    Answers are scored `PROMPTS_AT_ONCE` prompts at a time, always the same ones together, so that a start which was
    cut short leaves no trace in a score.
    """
    count, rest = 0, iter(drawn)
    while together := list(islice(rest, PROMPTS_AT_ONCE)):
        conversations = [conversation for one in together for conversation in one.conversations]
        scores = iter(book.scores(conversations, score))
        for one in together:
            count += 1
            yield Judged(one, tuple(None if answer.problem else next(scores) for answer in one.answers))
        done(count)


class ScoreBook:
    """``scores.jsonl``: scores that a reward model has given, so that a start which goes on need not score anew.

    ``judge`` names the reward model; another one finds nothing of its own here. A last line that a kill cut short is
    none.
    """

    def __init__(self, folder: Path, judge: str) -> None:
        self._path = folder / SCORES
        self._judge = judge
        self._known: dict[str, list[float]] = {}
        self._cut_short = False
        if self._path.exists():
            for line in self._path.read_bytes().splitlines(keepends=True):
                self._cut_short = not line.endswith(b"\n")
                with suppress(orjson.JSONDecodeError, KeyError, TypeError):
                    row = orjson.loads(line)
                    self._known[row["of"]] = row["scores"]

    def scores(self, conversations: Sequence[Sequence[Message]], score: Score) -> list[float]:
        """The scores of conversations, from the book or by ``score``, rounded. Raises `OutputFailed`."""
        said = [[[message.role, message.content] for message in one] for one in conversations]
        key = hashlib.sha256(orjson.dumps([self._judge, said])).hexdigest()
        if conversations and key not in self._known:
            self._known[key] = [round(value, _DECIMALS) for value in score(conversations)]
            self._append(orjson.dumps({"of": key, "scores": self._known[key]}) + b"\n")
        return self._known.get(key, [])

    def _append(self, line: bytes) -> None:
        try:
            with self._path.open("ab") as file:
                file.write(b"\n" + line if self._cut_short else line)
        except OSError as error:
            raise OutputFailed(f"{self._path}: cannot write: {error.strerror}; run again to go on") from error
        self._cut_short = False


# --- the curve ------------------------------------------------------------------------------------------------------


def expected_best(scores: Sequence[float | None], n: int) -> tuple[float | None, float]:
    """The expected best score of ``n`` of these answers, and the chance that one of them can be kept at all.

    The mean over all ways to choose ``n`` of them, exact, and not of some that were drawn: the i-th best (from 0) of N
    is the best of C(N-1-i, n-1) choices of C(N, n). Over choices that hold an answer which can be kept; None where
    none does.
    """
    usable = sorted((score for score in scores if score is not None), reverse=True)
    best_in = [comb(len(scores) - 1 - place, n - 1) for place in range(len(usable))]
    held = sum(best_in)
    chance = held / comb(len(scores), n)
    if not held:
        return None, chance
    return fsum(score * (ways / held) for score, ways in zip(usable, best_in, strict=True)), chance


class Curve:
    """The mean over prompts of what 1, 2, 4 … n answers each would have come to. All have n of them."""

    def __init__(self, n: int) -> None:
        self._scores: dict[int, list[float]] = {points: [] for points in _doubling(n)}
        self._chances: dict[int, list[float]] = {points: [] for points in self._scores}

    def add(self, scores: Sequence[float | None]) -> None:
        """One more prompt."""
        for n, chances in self._chances.items():
            best, chance = expected_best(scores, n)
            chances.append(chance)
            if best is not None:
                self._scores[n].append(best)

    def points(self) -> tuple[Point, ...]:
        """The curve so far."""
        return tuple(Point(n, _mean(self._scores[n]), _mean(chances) or 0.0) for n, chances in self._chances.items())


def _doubling(n: int) -> list[int]:
    return [*(1 << power for power in range((n - 1).bit_length())), n]


def _mean(values: Sequence[float]) -> float | None:
    return round(fsum(values) / len(values), _DECIMALS) if values else None


# --- files ----------------------------------------------------------------------------------------------------------


def write(folder: Path, judged: Iterable[Judged], n: int, judge: dict[str, str]) -> Outcome:
    """Write `SAMPLES`, `KEPT` and `CURVE` into a folder; ``judge`` says in the last which reward model it was.

    Prompts of which no answer can be kept have their line in `SAMPLES` alone. Raises `OutputFailed`.
    """
    samples, kept = Spool(folder / SAMPLES), Spool(folder / KEPT)
    curve, problems = Curve(n), Counter[str]()
    prompts = keeping = 0
    for spool in (samples, kept):
        spool.append(b"")  # takes the place of what a kill left behind
    for one in judged:
        prompts += 1
        keeping += one.best is not None
        samples.append(_line(_sampled(one)))
        kept.append(_line(_kept(one)) if one.best is not None else b"")
        problems.update(answer.problem for answer in one.drawn.answers if answer.problem)
        curve.add(one.scores)
    outcome = Outcome(prompts, keeping, prompts * n, dict(sorted(problems.items())), curve.points())
    samples.publish()
    kept.publish()
    write_whole(folder / CURVE, pretty({"n": n, **as_json(outcome), "reward_model": judge}))
    return outcome


def as_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON's own types."""
    return {**outcome._asdict(), "curve": [point._asdict() for point in outcome.curve]}


def _sampled(judged: Judged) -> dict[str, Any]:
    drawn = judged.drawn
    return {
        "id": drawn.id,
        "source": drawn.source,
        "prompt": [message.model_dump() for message in drawn.prompt],
        "best": judged.best,
        "samples": [
            {"k": k, "text": answer.text, "score": score, "problem": answer.problem or None, "call": answer.call}
            for k, (answer, score) in enumerate(zip(drawn.answers, judged.scores, strict=True))
        ],
    }


def _kept(judged: Judged) -> dict[str, Any]:
    drawn, best = judged.drawn, judged.best
    assert best is not None
    return {
        "id": drawn.id,
        "messages": [message.model_dump() for message in drawn.with_answer(drawn.answers[best])],
        "score": judged.scores[best],
        "scores": list(judged.scores),
        "n": len(judged.scores),
        "best": best,
        "source": drawn.source,
        "provenance": {
            "models": list(dict.fromkeys(answer.model for answer in drawn.answers if answer.model)),
            "calls": [answer.call for answer in drawn.answers],
        },
    }


def _line(row: dict[str, Any]) -> bytes:
    return orjson.dumps(row) + b"\n"


def plot(folder: Path, outcome: Outcome) -> None:
    """Draw the curve as `PLOT`, by matplotlib. Raises `OutputFailed`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    points = [(point.n, point.score) for point in outcome.curve if point.score is not None]
    figure = Figure(figsize=(6, 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([n for n, _ in points], [score for _, score in points], marker="o")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([n for n, _ in points]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("answers a prompt (n)")
    axes.set_ylabel("expected score of the best")
    axes.set_title(f"best of n, {outcome.prompts} prompts")
    axes.grid(alpha=0.3)
    try:
        # No name and version of the program that drew it: the same curve is the same file.
        canvas.print_figure(folder / PLOT, dpi=120, metadata={"Software": None})
    except OSError as error:
        raise OutputFailed(f"{folder / PLOT}: cannot write: {error.strerror}; run again to go on") from error
