"""A user's own instructions: a file with one a line, or JSON Lines in the layouts of instruction and chat data.

The file is read once to learn where each instruction stands; one is read when it is asked for. Memory: 20 bytes each.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, overload

import orjson

from selfinstruct import text_lines
from selfinstruct.errors import BadData
from selfinstruct.schema import Message
from selfinstruct.text_lines import Line

FIELDS: Final = ("instruction", "messages", "conversations", "prompt", "question", "data")
"""Where a row of JSON Lines may keep its instruction, tried in this order; of a list, its last turn of the user is it.

``messages`` stand before ``prompt``: where a row has both, the prompt is only how they begin.
"""

OTHER: Final = "other"
"""The source of an instruction that does not say where it is from (systems §6.3)."""

_Role = Literal["system", "user", "assistant"]
_ROLES: Final[dict[str, _Role]] = {  # as chat data call those who speak: OpenAI, ShareGPT, OASST
    "system": "system",
    "developer": "system",
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard"), "assistant"),
}
_IN_TURN: Final[tuple[_Role, _Role]] = ("user", "assistant")

_NO_ANSWERS: Final = [["None"], "None"]  # what UltraFeedback's rows say where there are none


class Brought(NamedTuple):
    """What several models are to be asked, as the user brought it: ``where`` is "mine.jsonl:12", or a run and a record.

    ``history`` is what was said before it, of a dialogue: a system message perhaps, then user and assistant in turn.
    """

    instruction: str
    source: str
    where: str
    history: tuple[Message, ...] = ()
    correct_answers: tuple[str, ...] = ()
    incorrect_answers: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What shows its language."""
        return self.instruction


class InstructionFile(Sequence[Brought]):
    """The instructions of a file, in its order; ``sources`` counts those of each source.

    ``digest`` says how many there are, and the sha256 of all that they are and where they stand.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_json = path.suffix.lower() == ".jsonl"
        self._places = text_lines.Places(path)
        self._sha256 = hashlib.sha256()
        self.sources: Counter[str] = Counter()

    @classmethod
    def open(cls, path: Path) -> InstructionFile:
        """The instructions of a ``.txt`` file, one a line, or of a ``.jsonl`` file, one a row. Blank lines are none.

        A row has its instruction in a field of `FIELDS`: a text, which an ``input`` follows behind a blank line and a
        ``history`` precedes, or a dialogue. Of that the last turn of the user is the instruction, and what stands
        before it the history; a closing answer is dropped, since it is what models will be asked for. ``source``,
        ``correct_answers`` and ``incorrect_answers`` are read beside it; other fields are not.

        Raises `BadData` for a file that cannot be read or is empty, and for a row that is not like that.
        """
        if path.is_dir() or (path.exists() and path.suffix.lower() not in (".txt", ".jsonl")):
            raise BadData(f"{path}: not a file of instructions; convert it to jsonl or txt (one a line)")
        brought = cls(path)
        for line in text_lines.of_path(path):
            if line.text.strip():
                brought._add(line)
        if not brought:
            raise BadData(f"{path}: is empty; write one instruction a line")
        return brought

    @property
    def digest(self) -> str:
        """What the instructions are, for the identity of a run that uses them."""
        return f"{len(self)} instructions, sha256 {self._sha256.hexdigest()}"

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Brought: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Brought]: ...
    def __getitem__(self, index: int | slice) -> Brought | Sequence[Brought]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._brought(self._places.line(index))

    def _add(self, line: Line) -> None:
        brought = self._brought(line)
        history = [[said.role, said.content] for said in brought.history]
        self._sha256.update(orjson.dumps([*brought[:3], history, *brought[4:]]) + b"\n")
        self.sources[brought.source] += 1
        self._places.add(line)

    def _brought(self, line: Line) -> Brought:
        where = f"{self._path.name}:{line.number}"
        if self._is_json:
            place = f"{self._path}:{line.number}"
            return _of_row(text_lines.row_of(line.text, place), place, where)
        return Brought(line.text.strip(), OTHER, where)


# --- a row ------------------------------------------------------------------------------------------------------------


def _of_row(row: dict[str, Any], place: str, where: str) -> Brought:
    """What a row asks. Raises `BadData` for a row that does not say."""
    name = next((name for name in FIELDS if row.get(name) not in (None, "", [])), None)
    if name is None:
        raise BadData(f"{place}: no instruction in a field {', '.join(FIELDS)}; the row has: {text_lines.keys_of(row)}")
    value = row[name]
    if not isinstance(value, list):
        value = [*_before(row, place), {"role": "user", "content": _request(row, name, place)}]
    *history, asked = _turns(value, f"{place}: '{name if value is row[name] else 'history'}'")
    return Brought(
        asked.content.strip(),
        _source(row, place),
        where,
        tuple(history),
        _answers(row, "correct_answers", place),
        _answers(row, "incorrect_answers", place),
    )


def _request(row: dict[str, Any], name: str, place: str) -> str:
    """The text of a field, an instruction's input behind a blank line."""
    text = _text(row, name, place).strip()
    if not text:
        raise BadData(f"{place}: '{name}' holds no text; mend or drop the line")
    more = _text(row, "input", place).strip() if name == "instruction" else ""
    return f"{text}\n\n{more}" if more else text


def _text(row: dict[str, Any], name: str, place: str) -> str:
    value = row.get(name)
    if not isinstance(value, str | None):
        raise BadData(f"{place}: '{name}' holds no text; mend or drop the line")
    return value or ""


def _source(row: dict[str, Any], place: str) -> str:
    source = _text(row, "source", place).strip()
    if any(unicodedata.category(mark) in ("Cc", "Zl", "Zp") for mark in source):
        raise BadData(f"{place}: 'source' is the name of a data set, and has no line ends or control characters")
    return source or OTHER


def _answers(row: dict[str, Any], name: str, place: str) -> tuple[str, ...]:
    """Answers as a list or a single one, under our name or TruthfulQA's ("Correct Answers")."""
    value = row.get(name) or row.get(name.replace("_", " ").title()) or []
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadData(f"{place}: '{name}' is no list of texts; mend or drop the line")
    return () if value in _NO_ANSWERS else tuple(text.strip() for text in texts if text.strip())


def _before(row: dict[str, Any], place: str) -> list[Any]:
    """The turns before an instruction, which may come in pairs of a question and its answer."""
    value = row.get("history") or []
    if not isinstance(value, list):
        raise BadData(f"{place}: 'history' is no list of turns; mend or drop the line")
    pairs = bool(value) and all(isinstance(pair, list) for pair in value)
    return [turn for pair in value for turn in pair] if pairs else value


# --- a dialogue -------------------------------------------------------------------------------------------------------


def _turns(turns: list[Any], place: str) -> Iterator[Message]:
    """What was said up to the last turn of the user: a system message perhaps, then user and assistant in turn.

    Turns are texts, the user's first (UltraChat), or name who speaks (OpenAI, ShareGPT). Raises `BadData` for others.
    """
    roles = [_role(turn, number, place) for number, turn in enumerate(turns)]
    while roles and roles[-1] == "assistant":
        roles.pop()  # what models will answer anew
    if "user" not in roles:
        raise BadData(f"{place} has no turn of the user that could be answered; mend or drop the line")
    spoken = 0
    for number, (role, turn) in enumerate(zip(roles, turns, strict=False), start=1):
        text = turn if isinstance(turn, str) else turn.get("content", turn.get("value"))
        if role == "system" and number == 1:
            if isinstance(text, str) and text.strip():
                yield Message(role=role, content=text)
            continue
        if role != _IN_TURN[spoken % 2]:
            raise BadData(f"{place}: {_out_of_turn(role, number, spoken)}")
        if not isinstance(text, str) or not text.strip():
            raise BadData(f"{place}: turn {number} holds no text; mend or drop the line")
        spoken += 1
        yield Message(role=role, content=text)


def _role(turn: Any, number: int, place: str) -> _Role:
    if isinstance(turn, str):
        return _IN_TURN[number % 2]
    if not isinstance(turn, dict):
        raise BadData(f"{place}: turn {number + 1} is no turn, but {type(turn).__name__}; mend or drop the line")
    name = turn.get("role", turn.get("from"))
    role = _ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise BadData(
            f"{place}: turn {number + 1} is of '{name}', and only system, user and assistant can be told to a model;"
            " mend or drop the line"
        )
    return role


def _out_of_turn(role: _Role, number: int, spoken: int) -> str:
    """What to say of a turn that is not of the one whose turn it is."""
    if not spoken and role == "assistant":
        return "begins with a turn of the assistant, and not of the user; drop that turn, or the line"
    if role == "system":
        return f"turn {number} is of the system, which speaks only before all others; mend or drop the line"
    return f"turns {number - 1} and {number} are both of the {role}; join them, or drop the line"
