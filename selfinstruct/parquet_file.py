"""Reads Parquet files; the one module that needs the extra ``parquet``."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import orjson

from selfinstruct.errors import BadData, ConfigProblem

try:
    import pyarrow
    from pyarrow import parquet
except ImportError as error:
    raise ConfigProblem("Parquet files need pyarrow: pip install 'selfinstruct[parquet]'") from error

_BATCH = 1024
"""Rows that are unpacked at once."""


def lines(path: Path, label: str) -> Iterator[tuple[float, bytes]]:
    """Each row as a line of JSON, after the share of the file, 0 to 1, that is read with it.

    Bytes become base64, times ISO 8601, other values that JSON lacks their text. Raises `BadData` for a file that is
    not Parquet.
    """
    try:
        with parquet.ParquetFile(path) as file:
            whole, number = file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number / whole, orjson.dumps(row, default=_in_json) + b"\n"
    except (pyarrow.ArrowException, OSError) as error:
        raise BadData(f"{label}: cannot be read as Parquet: {error}") from error


def _in_json(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
