"""Read a seed file: JSON Lines in the schema Self-Instruct published, ours or anybody's, unchanged.

Unknown keys are kept, blank lines and a byte order mark are tolerated (published files have them); everything else
that is wrong is one `BadData` with file and line.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import jsonlines
from pydantic import ValidationError

from selfinstruct.errors import BadData
from selfinstruct.schema import SeedTask


def load(path: Path) -> list[SeedTask]:
    """The seed tasks of a file, in its order. Raises `BadData` naming file, line and what to do."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadData(f"{path}:{line}: not UTF-8; convert the file, for instance with iconv -t UTF-8") from error
    except OSError as error:
        raise BadData(f"{path}: cannot read the seed file: {error.strerror}") from error
    tasks = [(number, _task(path, number, row)) for number, row in _rows(path, text)]
    if not tasks:
        raise BadData(f"{path}: holds no seed task; expected one JSON object a line")
    _unique(path, tasks)
    return [task for _, task in tasks]


def _rows(path: Path, text: str) -> list[tuple[int, object]]:
    # Cut at line feeds only: JSON may hold U+2028 and other characters that str.splitlines takes for line ends.
    rows: list[tuple[int, object]] = []
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        if not line.strip():
            continue
        try:
            with jsonlines.Reader([line]) as reader:
                rows.append((number, reader.read()))
        except jsonlines.InvalidLineError as error:
            reason = re.sub(r":? (?:line|\(line) \d+.*", "", str(error))  # its "line 1" is not the file's
            raise BadData(f"{path}:{number}: not a JSON object: {reason}; mend or drop the line") from error
    return rows


def _task(path: Path, number: int, row: object) -> SeedTask:
    if not isinstance(row, dict):
        raise BadData(f"{path}:{number}: not a JSON object but {type(row).__name__}; one seed task a line")
    try:
        return SeedTask.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadData(f"{path}:{number}: '{where}': {first['msg']}; mend or drop the line") from error


def _unique(path: Path, tasks: list[tuple[int, SeedTask]]) -> None:
    seen: dict[str, int] = {}
    for number, task in tasks:
        first = seen.setdefault(task.id, number)
        if first != number:
            raise BadData(
                f"{path}:{number}: the id '{task.id}' stands in line {first} already;"
                " ids name the seeds in every record's provenance"
            )
