"""Files are read line by line, with exact numbers and places; what is wrong is said with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct import text_lines
from selfinstruct.errors import BadData
from selfinstruct.text_lines import Line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file that is read."""
    return tmp_path / "notes.txt"


def test_lines_have_numbers_and_the_bytes_they_begin_at(path: Path) -> None:
    """Behind a byte order mark, with Windows line ends, and without a last line feed."""
    path.write_bytes("\ufeff茶\r\n\r\nb\u2028c\x0bd\ne".encode())
    lines = list(text_lines.of_path(path))
    assert lines == [Line("茶\r\n", 3, 1), Line("\r\n", 8, 2), Line("b\u2028c\x0bd\n", 10, 3), Line("e", 18, 4)]
    assert [text_lines.at(path, line.offset) for line in lines] == [line.text for line in lines]
    assert text_lines.at(path, 3, 3) == "茶"


def test_what_is_not_utf_8_is_told_with_its_line(path: Path) -> None:
    """After the lines before it were read."""
    path.write_bytes(b"fine\n\nca\xe9\n")
    with pytest.raises(BadData, match=r"notes\.txt:3: not UTF-8; convert the file, for instance with iconv"):
        list(text_lines.of_path(path))


def test_a_line_that_would_fill_the_memory_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte more than the longest."""
    monkeypatch.setattr(text_lines, "LONGEST", 5)
    path.write_bytes(b"1234\n12345\n")
    with pytest.raises(BadData, match=r"notes\.txt:2: a line of more than 5 bytes"):
        list(text_lines.of_path(path))


def test_a_file_that_cannot_be_read_is_one_line(path: Path) -> None:
    """When it is read first, and later."""
    with pytest.raises(BadData, match=r"^\S*notes\.txt: cannot be read: No such file or directory$"):
        list(text_lines.of_path(path))
    with pytest.raises(BadData, match=r"^\S*notes\.txt: cannot be read: No such file or directory$"):
        text_lines.at(path, 0)


def test_a_place_that_holds_no_text_any_more_was_changed(path: Path) -> None:
    """Bytes of which none is a character."""
    path.write_bytes("茶".encode()[1:])
    with pytest.raises(BadData, match=r"notes\.txt: was changed while it was in use"):
        text_lines.at(path, 0, 2)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"text": "a"', "a.jsonl:7: not JSON: "),
        ('{"text": "\\ud800"}', "a.jsonl:7: not JSON: "),
        ("[1]", "a.jsonl:7: not a JSON object but list"),
        ('"a"', "a.jsonl:7: not a JSON object but str"),
        ("[" * 100_000, "a.jsonl:7: not JSON: "),
    ],
)
def test_a_line_that_is_no_object_is_told_with_its_place(text: str, why: str) -> None:
    """Cut, half a character, of another kind, or nested too deeply."""
    with pytest.raises(BadData, match=why):
        text_lines.row_of(text, "a.jsonl:7")


def test_the_keys_of_a_row_are_shown_up_to_twenty() -> None:
    """A row may have none, or hundreds."""
    assert text_lines.keys_of({}) == "none at all"
    assert text_lines.keys_of({"a": 1, "b": 2}) == "a, b"
    assert text_lines.keys_of({str(n): n for n in range(21)}).endswith(", 18, 19, …")
