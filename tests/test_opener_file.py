"""A user's own openers are read from text and from the usual layouts of JSON Lines; what is wrong is said with line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfinstruct.errors import BadData
from selfinstruct.opener_file import FIELDS, Given, OpenerFile

WHY = "Why is the sea salty?"
TEA = "怎么泡一壶好茶？"
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of that name and text."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return write


def rows(*values: object) -> str:
    """JSON Lines."""
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def test_text_has_an_opener_a_line(write: Write) -> None:
    """Blank lines are none; byte order mark, line ends and white space around are not part of it."""
    openers = OpenerFile.open(write("mine.txt", f"\ufeff\r\n  {WHY}\t\r\n\r\n{TEA}"))
    assert list(openers) == [Given(WHY, "mine.txt:2"), Given(TEA, "mine.txt:4")]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        *(({"id": 1, name: WHY, "answer": "Rivers."}, WHY) for name in FIELDS[:4]),
        ({"instruction": "Translate.", "input": "好茶"}, "Translate.\n\n好茶"),
        ({"instruction": " Sing.\n", "input": " "}, "Sing."),
        ({"instruction": "Sing.", "input": None, "output": "La."}, "Sing."),
        ({"question": WHY, "input": "not of a question"}, WHY),
        ({"prompt": "", "question": WHY}, WHY),
        ({"prompt": None, "messages": [], "data": [WHY, "Rivers."]}, WHY),
        ({"messages": [{"role": "user", "content": WHY}, {"role": "assistant", "content": "Rivers."}]}, WHY),
        ({"prompt": [{"role": "user", "content": WHY}]}, WHY),
        ({"conversations": [{"from": "human", "value": WHY}, {"from": "gpt", "value": "Rivers."}]}, WHY),
        ({"conversations": [{"from": "user", "value": TEA}]}, TEA),
        ({"messages": [{"role": "prompter", "content": f"{WHY}\n\n```\nx\n```"}]}, f"{WHY}\n\n```\nx\n```"),
    ],
)
def test_a_row_holds_its_opener_in_one_of_the_usual_ways(write: Write, row: object, text: str) -> None:
    """A field of that name, an instruction and its input, or the first turn of a dialogue."""
    path = write("mine.jsonl", "\ufeff\n" + rows({"opener": TEA}) + "\r\n" + rows(row))
    assert list(OpenerFile.open(path)) == [Given(TEA, "mine.jsonl:2"), Given(text, "mine.jsonl:4")]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (
            {"title": WHY, "prompt": ""},
            "no opener in a field opener, prompt, instruction, question, messages, conversations, data;"
            " the row has: title, prompt",
        ),
        ({}, "no opener in a field .* the row has: none at all"),
        ({"prompt": " "}, "'prompt' holds no text; mend or drop the line"),
        ({"opener": 7}, "'opener' holds no text; mend or drop the line"),
        ({"messages": {"role": "user"}}, "'messages' holds no text; mend or drop the line"),
        ({"messages": [{"role": "user"}]}, "'messages' holds no text; mend or drop the line"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "'messages' holds no text"),
        ({"instruction": "Sing.", "input": ["a"]}, "'input' holds no text; mend or drop the line"),
        (
            {"messages": [{"role": "system", "content": "Be kind."}]},
            "'messages' begins with a turn of 'system', not of the user; drop that turn, or the line",
        ),
        ({"conversations": [{"from": "gpt", "value": "Hi."}]}, "'conversations' begins with a turn of 'gpt', not of"),
        ({"conversations": [{"value": "Hi."}]}, "'conversations' begins with a turn of 'None', not of the user"),
        (
            {"messages": [{"role": ["user"], "content": "Hi."}]},
            r"'messages' begins with a turn of '\['user'\]', not of",
        ),
        ({"data": [["Hi."]]}, "'data' begins with no turn, but list; mend or drop the line"),
        ([WHY], "not a JSON object but list; one JSON object a line"),
    ],
)
def test_a_row_without_an_opener_is_told_with_its_line(write: Write, row: object, why: str) -> None:
    """And what it has instead."""
    path = write("mine.jsonl", rows({"opener": TEA}) + "\n" + rows(row))
    with pytest.raises(BadData, match=rf"^{path}:3: {why}"):
        OpenerFile.open(path)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.txt", b"", "is empty; write one opener a line$"),
        ("a.jsonl", b"\xef\xbb\xbf\r\n \n", "is empty; write one opener a line$"),
        ("a.csv", b"a", r"not a file of openers; convert it to txt \(one a line\) or jsonl$"),
        ("a.json", b"[]", r"not a file of openers; convert it to txt \(one a line\) or jsonl$"),
        ("a.txt", b"fine\nca\xe9", ""),
        ("a.jsonl", b'{"opener": "a"}\n{"opener": "ca\xe9"}', ""),
        ("a.jsonl", b'{"opener": "a"}\n\n{"opener"\n', ""),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    """Empty, of another kind, not UTF-8, not JSON."""
    path = tmp_path / name
    path.write_bytes(data)
    place = "" if why else f":{len(data.split(bytes([10]), 2))}: not (UTF-8|JSON)"
    with pytest.raises(BadData, match=rf"^{path}{place or f': {why}'}"):
        OpenerFile.open(path)


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path) -> None:
    """A folder is no file of openers."""
    with pytest.raises(BadData, match=r"/none\.txt: cannot be read: No such file or directory$"):
        OpenerFile.open(tmp_path / "none.txt")
    with pytest.raises(BadData, match=r"not a file of openers; convert it to txt"):
        OpenerFile.open(tmp_path)


def test_a_file_that_changes_while_it_is_in_use_is_told(write: Write) -> None:
    """An opener is never something else than what the digest was made from."""
    openers = OpenerFile.open(write("a.txt", f"{WHY}\n{TEA}\n"))
    write("a.txt", f"{TEA}\n{WHY}\n")
    with pytest.raises(BadData, match=r"a\.txt: was changed while it was in use"):
        openers[0]


def test_the_digest_is_that_of_the_openers_and_where_they_stand(write: Write) -> None:
    """Another text, order, line or name is another."""
    digests = [
        OpenerFile.open(write(name, text)).digest
        for name, text in [
            ("a.txt", f"{WHY}\n{TEA}\n"),
            ("a.txt", f" {WHY}\r\n{TEA}"),
            ("a.txt", f"{TEA}\n{WHY}\n"),
            ("a.txt", f"{WHY}\n\n{TEA}\n"),
            ("b.txt", f"{WHY}\n{TEA}\n"),
        ]
    ]
    assert digests[0].startswith("2 openers, sha256 ")
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), max_size=9), st.booleans())
def test_any_opener_comes_back_and_twice_the_same(tmp_path: Path, texts: list[str], as_json: bool) -> None:
    """Each line or row, in order, in slices and from the end."""
    wanted = [text.strip().replace("\n", " ").strip("\ufeff").strip() for text in texts]
    wanted = [text for text in wanted if text] + [WHY]
    path = tmp_path / ("a.jsonl" if as_json else "a.txt")
    path.write_bytes((rows(*({"prompt": text} for text in wanted)) if as_json else "\n".join(wanted)).encode())
    openers = OpenerFile.open(path)
    assert [given.text for given in openers] == wanted
    assert openers[::-1] == [openers[index] for index in range(-1, -len(wanted) - 1, -1)]
    with pytest.raises(IndexError):
        openers[len(wanted)]
