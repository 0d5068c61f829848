"""Screens rows of anybody's data with a chain of filters: which are kept, which refused, by which filter and why.

A row becomes a record, because that is what filters look at; what is kept is the row.
"""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import orjson

from selfinstruct.errors import BadData
from selfinstruct.filters import language_id
from selfinstruct.protocols import Drop, Foreseeing, Straining
from selfinstruct.rows import Row, text_of, value_of
from selfinstruct.schema import Lang, Novelty, Provenance, TaskInstance
from selfinstruct.suite import Chosen, Spoken

BLOCK = 512
"""Rows that are looked at together, so that a filter can compare many at once."""

BAD_ROW = "bad_row"
"""The reason of a row that cannot be read."""

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LATIN = re.compile(r"[A-Za-z]")
_LETTERS_A_HAN = 4
"""A Chinese character says about as much as four letters, so terms in Latin letters do not make a text English."""

_CLAUSE = 4
"""So many Chinese characters are a clause that frames what follows; fewer may be a name, or a word in quotes."""

_NOWHERE = Provenance()
_OWNED = Novelty(mode="off")  # a record that has its novelty is taken into memory without being measured


class Verdict(NamedTuple):
    """A row, and why it is refused, by which filter of the chain (its place, None for a row that cannot be read)."""

    row: Row
    drop: Drop | None = None
    by: int | None = None


@dataclass
class Counts:
    """What happened to the rows so far; ``refused``, ``seconds`` and ``warnings`` are of each filter of the chain.

    ``owned`` rows are the pool's, and ``unread`` are those of it that could not be read.
    """

    rows: int = 0
    owned: int = 0
    unread: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    warnings: dict[int, str] = field(default_factory=dict)

    def add(self, verdict: Verdict) -> None:
        """Count a verdict."""
        self.rows += 1
        if verdict.drop is None:
            self.kept += 1
            return
        self.reasons[verdict.drop.reason] += 1
        if verdict.by is not None:
            self.refused[verdict.by] += 1


@dataclass(frozen=True)
class Reading:
    """How a row becomes what filters look at: the text is that of ``fields``; ``auto`` tells each row's language.

    ``answer`` is the field of the answer, which every row has to have; None: ``output``, where a row has one.
    """

    fields: tuple[str, ...] = ("instruction",)
    lang: Spoken = "auto"
    answer: str | None = None

    def record(self, row: Row) -> TaskInstance:
        """The record a row stands for. Raises `BadData` for a row that is none, or lacks a field.

        Nothing is validated a second time: there may be millions.
        """
        text = text_of(row, self.fields)
        value = row.value or {}
        answer = value_of(row, self.answer, "--answer") if self.answer else value.get("output")
        return TaskInstance.model_construct(
            id=row.name,
            provenance=_NOWHERE,
            instruction=text,
            input="" if "input" in self.fields else _as_text(value.get("input")),
            output=_as_text(answer),
            lang=language_of(text) if self.lang == "auto" else self.lang,
            is_classification=None,
            novelty=None,
        )


def _as_text(value: Any) -> str:
    """A text as it is, nothing for null, and anything else as the JSON it is: a secret in a list is one, too."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()


def language_of(text: str) -> Lang:
    """Whether a text is better judged as Chinese or as English; one in another language counts as what it looks like.

    A text is Chinese that begins with a Chinese clause, or says more in Chinese than in Latin letters; where neither is
    so, but it holds both, `language_id` is asked, which needs its model.
    """
    han = () if text.isascii() else _HAN.findall(text)
    letters = _LATIN.findall(text) if han else ()
    if not (han and letters):
        return "zh" if han else "en"
    opening = len(_HAN.findall(text[: text.index(letters[0])]))
    if opening >= _CLAUSE or len(han) * _LETTERS_A_HAN >= len(letters):
        return "zh"
    code, _ = language_id.detect(text) or ("", 0)
    return "zh" if code == "zh" else "en"


class Screen:
    """A chain of filters at work on rows. ``reject_bad_rows``: one that cannot be read is refused, and stops nothing.

    Filters that only look at a record go over a whole block first; from the first one on that compares records with
    one another, each record passes the rest of the chain, and is taken into memory, before the next is looked at.
    """

    def __init__(self, chain: Sequence[Chosen], reading: Reading, *, reject_bad_rows: bool = False) -> None:
        self.counts = Counts()
        self._reading = reading
        self._reject_bad_rows = reject_bad_rows
        self._filters = [chosen.filter for chosen in chain]
        comparing = [place for place, chosen in enumerate(chain) if chosen.entry.compares]
        self._first_comparing = comparing[0] if comparing else len(chain)
        self._memories = [self._filters[place] for place in comparing]

    def own(self, rows: Iterable[Row]) -> Iterator[int]:
        """Take rows into memory that are ours already: compared with, never judged. Yields how many, block by block.

        Raises `BadData` for a row that cannot be read, unless such rows are refused; then it is passed over.
        """
        rows = iter(rows)
        while block := list(islice(rows, BLOCK)):
            verdicts = [Verdict(row) for row in block]
            records = [record.model_copy(update={"novelty": _OWNED}) for _, record in self._records(verdicts)]
            for item in self._memories:
                if isinstance(item, Foreseeing):
                    item.foresee(records)
                for record in records:
                    item.admit(record)
            self.counts.owned += len(records)
            self.counts.unread += len(block) - len(records)
            yield len(records)

    def judge(self, rows: Iterable[Row]) -> Iterator[list[Verdict]]:
        """The verdict on each row, in order, a block at a time.

        Raises `BadData` for a row that cannot be read, unless such rows are refused.
        """
        rows = iter(rows)
        while block := list(islice(rows, BLOCK)):
            yield self._judge_block(block)

    def _judge_block(self, block: Sequence[Row]) -> list[Verdict]:
        verdicts = [Verdict(row) for row in block]
        waiting = list(self._records(verdicts))
        self.counts.languages.update(record.lang for _, record in waiting)
        for place in range(self._first_comparing):
            waiting = list(self._sift(place, waiting, verdicts))
        rest = range(self._first_comparing, len(self._filters))
        for place in rest:
            item = self._filters[place]
            if isinstance(item, Foreseeing):
                started = time.perf_counter()
                item.foresee([record for _, record in waiting])
                self._spent(place, started)
        for at, record in waiting if rest else ():
            refused = self._pass(record, rest)
            if refused is not None:
                verdicts[at] = Verdict(block[at], *refused)
        for verdict in verdicts:
            self.counts.add(verdict)
        for place in rest:
            item = self._filters[place]
            if isinstance(item, Straining) and (line := item.strain()):
                self.counts.warnings[place] = line
        return verdicts

    def _records(self, verdicts: list[Verdict]) -> Iterator[tuple[int, TaskInstance]]:
        for at, verdict in enumerate(verdicts):
            try:
                yield at, self._reading.record(verdict.row)
            except BadData as error:
                if not self._reject_bad_rows:
                    raise
                verdicts[at] = Verdict(verdict.row, Drop(BAD_ROW, str(error)))

    def _sift(
        self, place: int, waiting: Sequence[tuple[int, TaskInstance]], verdicts: list[Verdict]
    ) -> Iterator[tuple[int, TaskInstance]]:
        check = self._filters[place].check
        started = time.perf_counter()
        for at, record in waiting:
            drop = check(record)
            if drop is None:
                yield at, record
            else:
                verdicts[at] = Verdict(verdicts[at].row, drop, place)
        self._spent(place, started)

    def _pass(self, record: TaskInstance, places: range) -> tuple[Drop, int] | None:
        """What refuses a record; one that nothing refuses is taken into memory."""
        then = time.perf_counter()
        for place in places:
            drop = self._filters[place].check(record)
            then = self._spent(place, then)
            if drop is not None:
                return drop, place
        for place in places:
            record = self._filters[place].admit(record)
            then = self._spent(place, then)
        return None

    def _spent(self, place: int, since: float) -> float:
        now = time.perf_counter()
        self.counts.seconds[place] += now - since
        return now
