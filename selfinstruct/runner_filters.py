"""What a chain of filters does with the candidates of a round, and what it has to tell at the end of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selfinstruct.protocols import Filter, Foreseeing, Summing
from selfinstruct.schema import Record, Reject


def told(filters: Sequence[Filter[Any]]) -> dict[str, Any] | None:
    """What the filters have to tell of all records of a stage; None where none does."""
    summaries = (item.summary() for item in filters if isinstance(item, Summing))
    return {key: value for one in summaries for key, value in one.items()} or None


def foresee(filters: Sequence[Filter[Any]], outcomes: Sequence[Sequence[Record | Reject]]) -> None:
    """Let filters that compare with a memory look at the whole round at once."""
    candidates = [record for outcome in outcomes for record in outcome if not isinstance(record, Reject)]
    for item in filters:
        if isinstance(item, Foreseeing):
            item.foresee(candidates)


def screen(filters: Sequence[Filter[Any]], outcome: Sequence[Record | Reject]) -> list[Record | Reject]:
    """One job's candidates through the chain, in order; a survivor is admitted before the next is looked at."""
    return [record if isinstance(record, Reject) else _judge(filters, record) for record in outcome]


def _judge(filters: Sequence[Filter[Any]], record: Record) -> Record | Reject:
    for item in filters:
        drop = item.check(record)
        if drop is not None:
            return Reject(
                id=record.id,
                provenance=record.provenance,
                stage=record.id.partition("-")[0],
                reason=drop.reason,
                detail=drop.detail,
                candidate=record.model_dump(exclude={"id", "provenance"}),
                nearest=drop.nearest,
            )
    for item in filters:
        record = item.admit(record)
    return record
