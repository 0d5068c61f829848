"""A user's own openers: a file with one a line, or JSON Lines in the layouts that instruction and chat data come in.

The file is read once to learn where each opener stands; an opener is read when it is asked for. Memory: 20 bytes each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, overload

from selfinstruct import text_lines
from selfinstruct.errors import BadData
from selfinstruct.text_lines import Line

FIELDS: Final = ("opener", "prompt", "instruction", "question", "messages", "conversations", "data")
"""Where a row of JSON Lines may keep its opener, tried in this order; of a list, its first turn is it."""

_USERS = ("user", "human", "prompter")  # as chat data call the one who asks: OpenAI, ShareGPT, OASST


class Given(NamedTuple):
    """What a dialogue begins with, as the user brought it: ``where`` is "openers.txt:12", or a run and a record."""

    text: str
    where: str


class OpenerFile(Sequence[Given]):
    """The openers of a file, in its order.

    ``digest`` says how many there are, and the sha256 of all texts and where they stand.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_json = path.suffix.lower() == ".jsonl"
        self._places = text_lines.Places(path)
        self._sha256 = hashlib.sha256()

    @classmethod
    def open(cls, path: Path) -> OpenerFile:
        """The openers of a ``.txt`` file, one a line, or of a ``.jsonl`` file, one a row. Blank lines are none.

        A row has its opener in a field of `FIELDS`. An ``input`` follows its ``instruction`` behind a blank line.

        Raises `BadData` for a file that cannot be read or is empty, and for a row without an opener.
        """
        if path.is_dir() or (path.exists() and path.suffix.lower() not in (".txt", ".jsonl")):
            raise BadData(f"{path}: not a file of openers; convert it to txt (one a line) or jsonl")
        openers = cls(path)
        for line in text_lines.of_path(path):
            if line.text.strip():
                openers._add(line)
        if not openers:
            raise BadData(f"{path}: is empty; write one opener a line")
        return openers

    @property
    def digest(self) -> str:
        """What the openers are, for the identity of a run that uses them."""
        return f"{len(self)} openers, sha256 {self._sha256.hexdigest()}"

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Given: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Given]: ...
    def __getitem__(self, index: int | slice) -> Given | Sequence[Given]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._given(self._places.line(index))

    def _add(self, line: Line) -> None:
        given = self._given(line)
        self._places.add(line)
        for part in given:
            data = part.encode()
            self._sha256.update(len(data).to_bytes(8, "big") + data)

    def _given(self, line: Line) -> Given:
        text = line.text.strip()
        if self._is_json:
            text = _opener_of(text_lines.row_of(text, place := f"{self._path}:{line.number}"), place)
        return Given(text, f"{self._path.name}:{line.number}")


def _opener_of(row: dict[str, Any], place: str) -> str:
    """What a row's dialogue begins with. Raises `BadData` for a row that does not say."""
    name = next((name for name in FIELDS if row.get(name) not in (None, "", [])), None)
    if name is None:
        raise BadData(f"{place}: no opener in a field {', '.join(FIELDS)}; the row has: {text_lines.keys_of(row)}")
    value = row[name]
    text = _first_turn(value, f"{place}: '{name}'") if isinstance(value, list) else value
    if not isinstance(text, str) or not text.strip():
        raise BadData(f"{place}: '{name}' holds no text; mend or drop the line")
    more = row.get("input") if name == "instruction" else None
    if more is not None and not isinstance(more, str):
        raise BadData(f"{place}: 'input' holds no text; mend or drop the line")
    return "\n\n".join(part.strip() for part in (text, more or "") if part.strip())


def _first_turn(turns: list[Any], place: str) -> Any:
    """What is said first: turns are texts, the user's first (UltraChat), or name who speaks (OpenAI, ShareGPT).

    A system message is no turn, and passed over.
    """
    said = [turn for turn in turns if not (isinstance(turn, dict) and _speaker(turn) == "system")]
    first = said[0] if said else turns[0]
    if isinstance(first, str):
        return first
    if not isinstance(first, dict):
        raise BadData(f"{place} begins with no turn, but {type(first).__name__}; mend or drop the line")
    speaker = _speaker(first)
    if speaker not in _USERS:
        raise BadData(f"{place} begins with a turn of '{speaker}', not of the user; drop that turn, or the line")
    return first.get("content", first.get("value"))


def _speaker(turn: dict[str, Any]) -> Any:
    return turn.get("role", turn.get("from"))
