"""A user's own files as passages that dialogues are about: text, Markdown, JSON Lines, or folders of them.

Files are read once, line by line, to learn where each passage begins and ends; a passage is read when it is asked for.
Memory: 28 bytes a passage, and the names of the files.
"""

from __future__ import annotations

import hashlib
import io
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, overload

from selfinstruct import passages, text_lines
from selfinstruct.errors import BadData
from selfinstruct.text_lines import Line

FIELDS: Final = ("text", "content", "passage", "body")
"""Where a row of JSON Lines may keep its text, tried in this order."""

SUFFIXES: Final = (".txt", ".md", ".jsonl")
"""What is read."""

_OFFSET_BITS = 40  # a place is the number of a file in the upper 24 bits, and the offset in it


class Passage(NamedTuple):
    """A part of a file: ``where`` is "notes.md:12", the file and the line that it begins in."""

    text: str
    where: str


class Materials(Sequence[Passage]):
    """The passages of files, in order. ``skipped`` counts the sentences left out, ``notes`` are lines for people.

    ``digest`` says how many passages there are, and the sha256 of all texts and where they stand.
    """

    def __init__(self, tokens: int, too_long: Literal["error", "skip"]) -> None:
        self.skipped = 0
        self.notes: list[str] = []
        self._tokens = tokens
        self._too_long = too_long
        self._files: list[tuple[Path, str]] = []
        self._places = array("Q")
        self._starts = array("I")  # in a row of JSON Lines: where in its text, in bytes; 0 elsewhere
        self._sizes = array("I")
        self._lines = array("I")
        self._hashes = array("q")
        self._row = (-1, b"")  # place and text of the row that was read last: long rows hold many passages
        self._without_text = 0
        self._sha256 = hashlib.sha256()

    @classmethod
    def open(cls, paths: Sequence[Path], *, tokens: int, too_long: Literal["error", "skip"] = "error") -> Materials:
        """The passages of ``paths``, in their order, of at most ``tokens`` tokens (`token_estimate`) each.

        A folder stands for all files below it, sorted, hidden ones left out. A file named twice is read once. A
        sentence, or a line of code, that is larger than a passage may be is left out where ``too_long`` says "skip".

        Raises `BadData` for what cannot be read or is empty, for a row without a text, and for such a sentence.
        """
        materials = cls(tokens, too_long)
        for path, label in _labelled(paths):
            if not materials._index(path, label):
                if path in paths:
                    raise BadData(f"{path}: is empty; name a file that holds text")
                materials.notes.append(f"{path}: is empty, and passed over")
        if not materials:
            raise BadData(f"{', '.join(map(str, paths))}: holds no passage")
        materials._tell()
        return materials

    @property
    def digest(self) -> str:
        """What the passages are, for the identity of a run that uses them."""
        return f"{len(self)} passages, sha256 {self._sha256.hexdigest()}"

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Passage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Passage]: ...
    def __getitem__(self, index: int | slice) -> Passage | Sequence[Passage]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        path, label = self._files[self._places[index] >> _OFFSET_BITS]
        text = self._read(path, index)
        if hash(text) != self._hashes[index]:
            raise text_lines.changed(path)
        return Passage(text, f"{label}:{self._lines[index]}")

    def _read(self, path: Path, index: int) -> str:
        place, start, size = self._places[index], self._starts[index], self._sizes[index]
        offset = place & ((1 << _OFFSET_BITS) - 1)
        if path.suffix.lower() != ".jsonl":
            return passages.tidy(text_lines.at(path, offset, size))
        if self._row[0] != place:
            row = text_lines.row_of(text_lines.at(path, offset), f"{path}:{self._lines[index]}")
            self._row = place, (_text_of(row) or "").encode()
        # A row that was changed may end within a character; its hash tells.
        return passages.tidy(self._row[1][start : start + size].decode(errors="replace"))

    # --- reading the files once ---------------------------------------------------------------------------------------

    def _index(self, path: Path, label: str) -> bool:
        """Take up a file's passages; False where it holds no text."""
        number = len(self._files)
        self._files.append((path, label))
        before = len(self), self.skipped
        file = number << _OFFSET_BITS
        if path.suffix.lower() == ".jsonl":
            for line in text_lines.of_path(path):
                if line.text.strip():
                    self._add_row(path, line, file | line.offset)
        else:
            for cut in self._packed(text_lines.of_path(path), path):
                self._add(cut, file | cut.start, 0)
        return before != (len(self), self.skipped)

    def _add_row(self, path: Path, line: Line, place: int) -> None:
        row = text_lines.row_of(line.text, f"{path}:{line.number}")
        text = _text_of(row)
        if text is None:
            raise BadData(
                f"{path}:{line.number}: no text in a field {', '.join(FIELDS)}; the row has: {text_lines.keys_of(row)}"
            )
        self._without_text += not text.strip()
        lines = text_lines.of_file(io.BytesIO(text.encode()), f"{path}:{line.number}")
        for cut in self._packed((part._replace(number=line.number) for part in lines), path):
            self._add(cut, place, cut.start)

    def _packed(self, lines: Iterable[Line], path: Path) -> Iterator[passages.Cut]:
        def too_long(line: int, tokens: int) -> None:
            if self._too_long == "error":
                raise BadData(
                    f"{path}:{line}: one sentence of about {tokens} tokens is larger than a passage may be"
                    f" ({self._tokens}): raise --set openers.passage_tokens, cut the text, or"
                    " --set openers.too_long=skip"
                )
            self.skipped += 1

        return passages.pack(lines, self._tokens, too_long)

    def _add(self, cut: passages.Cut, place: int, start: int) -> None:
        self._places.append(place)
        self._starts.append(start)
        self._sizes.append(cut.end - cut.start)
        self._lines.append(cut.line)
        self._hashes.append(hash(cut.text))
        where = f"{self._files[-1][1]}:{cut.line}"
        for part in (where, cut.text):
            data = part.encode()
            self._sha256.update(len(data).to_bytes(8, "big") + data)

    def _tell(self) -> None:
        if self.skipped:
            self.notes.append(
                f"sentences of the materials left out, since each is larger than a passage may be ({self._tokens}"
                f" tokens): {self.skipped}"
            )
        if self._without_text:
            self.notes.append(f"{self._without_text} rows of the materials hold an empty text: passed over")


def _text_of(row: dict[str, Any]) -> str | None:
    """The text of a row: the first field that holds one; an empty one where all are empty, None without any."""
    texts = [row[name] for name in FIELDS if isinstance(row.get(name), str)]
    return next((text for text in texts if text.strip()), texts[0] if texts else None)


# --- which files ------------------------------------------------------------------------------------------------------


def _labelled(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Every file once, with the name its passages are known by: from what the user gave on, if no other has it."""
    found: dict[Path, tuple[Path, str]] = {}
    for given in paths:
        for path in _files_of(given):
            label = path.relative_to(given).as_posix() if path != given else path.name
            found.setdefault(path.resolve(), (path, label))
    shared = Counter(label for _, label in found.values())
    return [(path, label if shared[label] == 1 else str(path)) for path, label in found.values()]


def _files_of(given: Path) -> list[Path]:
    try:
        given.stat()
    except OSError as error:
        raise text_lines.cannot_read(given, error) from error
    if given.is_dir():
        return _below(given)
    if given.suffix.lower() not in SUFFIXES:
        raise BadData(f"{given}: files of the kind '{given.suffix}' are not read; convert it to txt, md or jsonl")
    if not given.is_file():
        raise BadData(f"{given}: is not a file; it has to be read more than once, so write what it gives into one")
    return [given]


def _below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise text_lines.cannot_read(Path(error.filename), error) from error

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    files = sorted(file for file in files if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise BadData(f"{folder}: holds no file of text; looked for {', '.join(SUFFIXES)} in it and below")
    return files
