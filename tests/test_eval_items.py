"""An evaluation set is read from the formats that people publish them in; what is wrong is said with file and line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selfinstruct.errors import BadData
from selfinstruct.eval_items import FIELDS, EvalItem, load

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of that name and text."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return write


def _items(source: Path | str) -> list[tuple[str, str]]:
    return [(item.where, item.text) for item in load(str(source))]


TWO = [("2 + 2 = ?", 1), ("法国的首都是哪里？", 3)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("set.jsonl", '{"question": "2 + 2 = ?", "answer": "4"}\n\n{"question": "法国的首都是哪里？"}\n'),
        ("set.ndjson", '"2 + 2 = ?"\n\n"法国的首都是哪里？"'),
        ("set.json", '[{"question": "2 + 2 = ?"},\n\n {"question": "法国的首都是哪里？"}]'),
        ("set.txt", "2 + 2 = ?\n\n  法国的首都是哪里？\r\n"),
        ("set", "\ufeff2 + 2 = ?\n \n法国的首都是哪里？"),
        ("set.csv", "id,question,A,B\n1,2 + 2 = ?,3,4\n2,法国的首都是哪里？,巴黎,里昂\n"),
        ("set.tsv", "question\tanswer\n2 + 2 = ?\t4\n法国的首都是哪里？\t巴黎\n"),
    ],
)
def test_every_format_gives_the_questions_and_their_lines(write: Write, name: str, text: str) -> None:
    """JSON Lines, an array, tables and plain text hold the same two items; blank lines count as lines."""
    lines = (2, 3) if "\t" in text or "A,B" in text else (1, 3)
    expected = [(f"{name}:{line}", question) for line, (question, _) in zip(lines, TWO, strict=True)]
    assert _items(write(name, text)) == expected


def test_packed_files_are_read_by_what_they_hold(tmp_path: Path) -> None:
    """A gzip file is unpacked whatever its name; the name below .gz says what is in it."""
    packed = gzip.compress(b'{"prompt": "Name a colour."}\n')
    for name in ("set.jsonl.gz", "set.jsonl"):
        (tmp_path / name).write_bytes(packed)
        assert _items(tmp_path / name) == [(f"{name}:1", "Name a colour.")]


@pytest.mark.parametrize("field", FIELDS)
def test_known_fields_are_found_by_themselves(write: Write, field: str) -> None:
    """The question may stand under any of the names that published sets use."""
    assert _items(write("a.jsonl", json.dumps({"id": "7", field: "Who?", "answer": "Nobody"})))[0][1] == "Who?"


def test_a_named_field_comes_before_known_ones(write: Write) -> None:
    """FILE#FIELD reads that field alone; a file whose own name holds the mark is a file."""
    path = write("a.jsonl", '{"question": "Who?", "stem": "Which of these?"}')
    assert _items(f"{path}#stem") == [("a.jsonl:1", "Which of these?")]
    assert _items(write("b#stem", "Who?")) == [("b#stem:1", "Who?")]


def test_an_instruction_and_its_input_are_one_item(write: Write) -> None:
    """The form of a task without what it is about is no item, except where the field is named."""
    path = write("a.jsonl", '{"instruction": "Translate.", "input": "Bonjour"}\n{"instruction": "Sing.", "input": ""}')
    assert [text for _, text in _items(path)] == ["Translate.\nBonjour", "Sing."]
    assert [text for _, text in _items(f"{path}#instruction")] == ["Translate.", "Sing."]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"question": "Who?"}\n{"question": \n', ":2: not JSON"),
        ("a.jsonl", "[]", ":1: an item must be an object or a text"),
        ("a.jsonl", '{"task": "Who?", "id": 3}', ":1: no field question, prompt, .* the fields are task, id; name one"),
        ("a.jsonl", '{"question": ["Who?"]}', ":1: no text in the field 'question'"),
        ("a.jsonl", '"Who?"\n{"question": "?!"}', ":2: an item without a letter or digit"),
        ("a.jsonl", '"   "', ":1: an item without a letter or digit"),
        ("a.json", '[{"question": "Who?"},\n', ":2: not a JSON array"),
        ("a.json", '{"question": "Who?"}', ":1: not a JSON array"),
        ("a.csv", "task,answer\nWho?,me\n", ":2: no field question"),
        ("a.csv", 'question\n"Who?" is it\n', ":2: not a row of the table"),
        ("a.txt", "\n \n", ": holds no evaluation item"),
        ("a.jsonl", "", ": holds no evaluation item"),
        ("a.json", "[]", ": holds no evaluation item"),
        ("a.csv", "question\n", ": holds no evaluation item"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(write: Write, name: str, text: str, said: str) -> None:
    """Broken lines, rows without a question, questions that say nothing, and empty files are errors."""
    path = write(name, text)
    with pytest.raises(BadData, match=f"^{path}{said}"):
        list(load(str(path)))


def test_a_named_field_that_is_not_there_is_named(write: Write) -> None:
    """The error says which field was asked for, and which there are."""
    path = write("a.jsonl", '{"question": "Who?"}')
    with pytest.raises(BadData, match=r"a.jsonl:1: no text in the field 'stem'; the fields are question; name one"):
        list(load(f"{path}#stem"))
    with pytest.raises(BadData, match=r"b.txt:1: an item must be an object$"):
        list(load(f"{write('b.txt', 'Who?')}#stem"))


def test_bytes_that_are_no_text_are_said_with_their_line(tmp_path: Path) -> None:
    """Latin-1 in line 2, a gzip file cut short, a missing file and a folder are one clear line each."""
    latin, cut = tmp_path / "latin.txt", tmp_path / "cut.txt.gz"
    latin.write_bytes("Who?\nCafé?\n".encode("latin-1"))
    cut.write_bytes(gzip.compress(b"Who is it?\n" * 100)[:-12])
    for path, said in (
        (latin, "latin.txt:2: not UTF-8"),
        (cut, "cut.txt.gz: damaged gzip"),
        (tmp_path / "none.txt", "none.txt: cannot read the evaluation set: No such file"),
        (tmp_path, "cannot read the evaluation set: Is a directory"),
    ):
        with pytest.raises(BadData, match=said):
            list(load(str(path)))


def test_items_come_one_at_a_time(write: Write) -> None:
    """The first item is there before a broken second line is read: a set need not fit the memory."""
    items = load(str(write("a.jsonl", '{"question": "Who?"}\n{')))
    assert next(items) == EvalItem("a.jsonl:1", "Who?")
    with pytest.raises(BadData, match=r"a\.jsonl:2"):
        next(items)
