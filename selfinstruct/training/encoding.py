"""Rows become token ids, and which of them are learned: what a trainer reads, and a count of what was cut or left out.

Nothing is padded here, and nothing is shuffled. A record without a supervised token is never handed on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np

from selfinstruct.errors import BadData
from selfinstruct.schema import Message
from selfinstruct.training.data import Conversation, Preference
from selfinstruct.training.recipe import Tuning
from selfinstruct.training.rendering import Rendered, Renderer

MASKED: Final = -100
"""The label of a token that is not learned, as PyTorch's cross entropy has it."""

T = TypeVar("T")

_Ids = list[int]
_BATCH = 512  # rows that are tokenized at once
_SHOWN = 3
_KEPT_AS: Final = {"weights": np.float32}


@dataclass
class Encoded:
    """Columns of equal length, by name; ``places`` and ``sources`` say where each row came from.

    Token ids, labels and weights are numpy arrays of 4 bytes a token: as lists of Python they would take forty.

    ``tokens`` and ``supervised`` count over all rows; ``cut`` how many were shortened; ``left_out`` are the places of
    those that were not taken, by reason.
    """

    columns: dict[str, list[Any]]
    places: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    tokens: int = 0
    supervised: int = 0
    cut: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.places)

    def add(self, row: Conversation | Preference, **values: Any) -> None:
        """One more row."""
        for name, value in values.items():
            kept = np.array(value, _KEPT_AS.get(name, np.int32)) if isinstance(value, list) else value
            self.columns[name].append(kept)
        self.places.append(row.place)
        self.sources.append(row.source)

    def scale(self, factor: float) -> None:
        """Let everything weigh so many times as much."""
        self.columns["weights"] = [weights * np.float32(factor) for weights in self.columns["weights"]]

    def extend(self, other: Encoded) -> None:
        """The rows of another one with the same columns, behind these."""
        for name, values in other.columns.items():
            self.columns[name] += values
        self.places += other.places
        self.sources += other.sources
        self.tokens += other.tokens
        self.supervised += other.supervised
        self.cut += other.cut
        for reason, places in other.left_out.items():
            self.left_out.setdefault(reason, []).extend(places)

    def leave_out(self, row: Conversation | Preference, reason: str) -> None:
        """A row that is not taken."""
        self.left_out.setdefault(reason, []).append(row.place)

    def dataset(self) -> Any:
        """What trainers take; the sources are no part of it."""
        from datasets import Dataset

        return Dataset.from_dict(self.columns)

    def notes(self) -> Iterator[str]:
        """What was cut and left out, a line each, for people."""
        if self.cut:
            yield f"{_records(self.cut)} cut to fit --max-length"
        for reason, places in self.left_out.items():
            more = ", …" if len(places) > _SHOWN else ""
            yield f"{_records(len(places))} left out, {reason}: {', '.join(places[:_SHOWN])}{more}"


def conversations(
    rows: Sequence[Conversation], renderer: Renderer, tuning: Tuning, *, weighted: bool = False
) -> Encoded:
    """``input_ids`` and ``labels``, and ``weights`` where not all tokens weigh the same, or where they are wanted.

    Raises `BadData` for none.
    """
    weigh = _Weights(tuning, rows, weighted)
    columns = ["input_ids", "labels", *(["weights"] if weigh.needed else [])]
    made = Encoded({name: [] for name in columns})
    for row, shown in _rendered(rows, renderer):
        _add_conversation(made, row, shown, tuning, weigh)
    return _some(made, tuning)


def _add_conversation(made: Encoded, row: Conversation, shown: Rendered, tuning: Tuning, weigh: _Weights) -> None:
    most = tuning.max_length
    if len(shown.ids) > most and tuning.too_long == "drop":
        return made.leave_out(row, "too long")
    ids, turns = shown.ids[:most], shown.turns[:most]
    read = [tuning.loss_on == "assistant" and turn < 0 for turn in turns]
    if all(read[1:]):  # nothing predicts the first token
        return made.leave_out(row, "the prompt alone is longer than --max-length")
    weights = [0.0 if only else weigh.of(row, turn) for turn, only in zip(turns, read, strict=True)]
    if not any(weights[1:]):
        return made.leave_out(row, "all of it weighs nothing")
    made.cut += len(shown.ids) > most
    made.tokens += len(ids)
    made.supervised += sum(weight > 0 for weight in weights)
    values: dict[str, list[Any]] = {
        "input_ids": ids,
        "labels": [token if weight else MASKED for token, weight in zip(ids, weights, strict=True)],
    }
    if weigh.needed:
        values["weights"] = weights
    made.add(row, **values)


class _Weights:
    """What a token of a row weighs in the loss Σ w·CE / Σ w (OpenChat, systems §7.3)."""

    def __init__(self, tuning: Tuning, rows: Sequence[Conversation], wanted: bool) -> None:
        self._by_class: dict[str, float] | None = None
        if tuning.weighting == "class":
            self._by_class = tuning.class_weights
            _see_all_weighed(rows, self._by_class)
        elif tuning.weighting == "balanced":  # each class counts the same in all (OpenChat v2): total / class count
            counts = Counter(row.condition for row in rows)
            self._by_class = {name: len(rows) / count for name, count in counts.items()}
        self._given = tuning.weighting == "given"
        self.needed = wanted or weighted(tuning, rows)

    def of(self, row: Conversation, turn: int) -> float:
        """The weight of a token that belongs to message ``turn``; -1 is none of the assistant's.

        What the data give a weight of nothing is never learned, whatever else is said of weights.
        """
        own = row.weight * (row.weights[turn] if row.weights and turn >= 0 else 1.0)
        if self._by_class is not None:
            return self._by_class[row.condition] * own
        return own if self._given else float(own > 0)


def weighted(tuning: Tuning, rows: Iterable[Conversation]) -> bool:
    """Whether tokens weigh differently: by the class of their row, or as the data say; nothing or all is no weight."""
    if tuning.weighting != "given":
        return tuning.weighting != "none"
    return any(weight not in (0.0, 1.0) for row in rows for weight in (row.weight, *_said(row)))


def _said(row: Conversation) -> Iterator[float]:
    """The weights of a row's assistant messages, where it gives any."""
    return (weight for weight, message in zip(row.weights, row.messages, strict=False) if message.role == "assistant")


def _see_all_weighed(rows: Sequence[Conversation], weights: dict[str, float]) -> None:
    for row in rows:
        if row.condition not in weights:
            named = f"the class '{row.condition}'" if row.condition else "no class (its field 'condition')"
            raise BadData(f"{row.place}: has {named}, and class_weights knows only {', '.join(weights)}")


def preferences(rows: Sequence[Preference], renderer: Renderer, tuning: Tuning) -> Encoded:
    """For DPO: ``prompt_ids`` cut from the left to ``max_prompt``, ``chosen_ids`` and ``rejected_ids`` from the right.

    Raises `BadData` where no pair is left.
    """
    made = Encoded({"prompt_ids": [], "chosen_ids": [], "rejected_ids": []})
    for row, prompt, chosen, rejected in _sides(rows, renderer):
        kept = prompt[-tuning.max_prompt :] if tuning.max_prompt else prompt
        room = tuning.max_length - len(kept)
        too_long = len(kept) < len(prompt) or max(len(chosen), len(rejected)) > room
        if room < 1 or (too_long and tuning.too_long == "drop"):
            made.leave_out(row, "too long")
        elif chosen[:room] == rejected[:room]:
            made.leave_out(row, "nothing of what differs fits --max-length")
        else:
            made.cut += too_long
            made.add(row, prompt_ids=kept, chosen_ids=chosen[:room], rejected_ids=rejected[:room])
            made.supervised += len(chosen[:room]) + len(rejected[:room])
            made.tokens += 2 * len(kept) + len(chosen[:room]) + len(rejected[:room])
    return _some(made, tuning)


def comparisons(rows: Sequence[Preference], renderer: Renderer, tuning: Tuning) -> Encoded:
    """For a reward model: ``chosen_ids`` and ``rejected_ids``, prompt included, and ``margin`` where that is wanted.

    A pair of which one side is too long is left out: a reward is read at the last token. Raises `BadData` where no
    pair is left, or one lacks the margin.
    """
    columns = ["chosen_ids", "rejected_ids", *(["margin"] if tuning.margin else [])]
    made = Encoded({name: [] for name in columns})
    for row, prompt, chosen, rejected in _sides(rows, renderer):
        sides = prompt + chosen, prompt + rejected
        if max(map(len, sides)) > tuning.max_length:
            made.leave_out(row, "too long")
            continue
        values: dict[str, Any] = {"chosen_ids": sides[0], "rejected_ids": sides[1]}
        if tuning.margin:
            if row.margin is None:
                raise BadData(f"{row.place}: has no 'margin'; leave --margin out, or give each pair one")
            values["margin"] = float(row.margin)
        made.add(row, **values)
        made.tokens += sum(map(len, sides))
        made.supervised += 2
    return _some(made, tuning)


def _sides(rows: Sequence[Preference], renderer: Renderer) -> Iterator[tuple[Preference, _Ids, _Ids, _Ids]]:
    """Each pair as its prompt, with the header of the answer, and what follows it on either side."""
    for some in _some_at_once(rows):
        chosen = renderer.encode_many([_answered(row, row.chosen) for row in some])
        rejected = renderer.encode_many([_answered(row, row.rejected) for row in some])
        for row, better, worse in zip(some, chosen, rejected, strict=True):
            prompt = renderer.prompt(row.prompt)
            same = _same(prompt, better.ids, worse.ids)
            yield row, prompt[:same], better.ids[same:], worse.ids[same:]


def _answered(row: Preference, answer: str) -> tuple[Message, ...]:
    return *row.prompt, Message(role="assistant", content=answer)


def _same(prompt: list[int], chosen: list[int], rejected: list[int]) -> int:
    """How many tokens all three begin with: tokens may merge where the answer begins, in one answer or in both."""
    for place, tokens in enumerate(zip(prompt, chosen, rejected, strict=False)):
        if len(set(tokens)) > 1:
            return place
    return min(len(prompt), len(chosen), len(rejected))


def _rendered(rows: Sequence[Conversation], renderer: Renderer) -> Iterator[tuple[Conversation, Rendered]]:
    for some in _some_at_once(rows):
        yield from zip(some, renderer.encode_many(some), strict=True)


def _some_at_once(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))


def _some(made: Encoded, tuning: Tuning) -> Encoded:
    """Raise `BadData` where nothing is left to learn from."""
    if not made:
        notes = "; ".join(made.notes())
        why = f"{notes}; raise --max-length" if notes else "there are no rows"
        raise BadData(f"nothing to learn from within --max-length {tuning.max_length}: {why}")
    return made


def _records(number: int) -> str:
    return "1 record" if number == 1 else f"{number} records"
