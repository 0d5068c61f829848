"""Read a seed file: JSON Lines in the schema Self-Instruct published, ours or anybody's, unchanged.

Unknown keys are kept, blank lines and a byte order mark are tolerated (published files have them); everything else
that is wrong is one `BadData` with file and line.
"""

from __future__ import annotations

from pathlib import Path

from selfinstruct import jsonl_file
from selfinstruct.errors import BadData
from selfinstruct.schema import SeedTask


def load(path: Path) -> list[SeedTask]:
    """The seed tasks of a file, in its order. Raises `BadData` naming file, line and what to do."""
    tasks = jsonl_file.records(path, SeedTask, "seed file")
    if not tasks:
        raise BadData(f"{path}: holds no seed task; expected one JSON object a line")
    jsonl_file.refuse_twins(path, ((number, task.id) for number, task in tasks))
    return [task for _, task in tasks]
