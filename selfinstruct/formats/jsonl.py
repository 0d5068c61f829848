"""Our own records, whole: one JSON object a line, provenance included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from selfinstruct.schema import Record
from selfinstruct.store_files import line_of


def jsonl(records: Iterable[Record]) -> Iterator[bytes]:
    """Each record as its shard holds it."""
    return map(line_of, records)
