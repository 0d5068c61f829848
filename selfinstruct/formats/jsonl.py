"""Our own records, whole: one JSON object a line, provenance and novelty included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from selfinstruct.schema import TaskInstance
from selfinstruct.store_files import line_of


def jsonl(records: Iterable[TaskInstance]) -> Iterator[bytes]:
    """Each record as its shard holds it."""
    return map(line_of, records)
