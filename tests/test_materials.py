"""A user's files become passages: each knows its file and line, fits its budget, and is read when it is asked for."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfinstruct.errors import BadData
from selfinstruct.materials import FIELDS, Materials, Passage
from selfinstruct.token_estimate import estimate

FOX = "The quick fox ran off."  # 6 tokens
RAIN = "昨天下了一夜的雨。"  # 9 tokens
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of that name and text, in a folder if its name says so."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    return write


def rows(*values: object) -> str:
    """JSON Lines."""
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


# --- what becomes a passage -------------------------------------------------------------------------------------------


def test_a_passage_tells_its_file_and_line(write: Write) -> None:
    """Also with Windows line ends and a byte order mark; the text has plain line ends."""
    path = write("notes.md", f"\ufeff\r\n# 天气\r\n\r\n{RAIN}\r\n\r\n\r\n{FOX}\r\n{FOX}\r\n")
    passages = Materials.open([path], tokens=14)
    assert list(passages) == [
        Passage(f"# 天气\n\n{RAIN}", "notes.md:2"),
        Passage(f"{FOX}\n{FOX}", "notes.md:7"),
    ]
    assert (passages.skipped, passages.notes) == (0, [])


def test_files_are_never_mixed(write: Write) -> None:
    """However short they are; they stay in the order they were given in."""
    b, a = write("b.txt", FOX), write("a.txt", RAIN)
    assert list(Materials.open([b, a], tokens=600)) == [Passage(FOX, "b.txt:1"), Passage(RAIN, "a.txt:1")]


def test_each_row_of_json_lines_is_for_itself(write: Write) -> None:
    """One larger than a passage becomes several, all on the row's line; blank lines are no rows."""
    path = write("a.jsonl", "\ufeff" + rows({"text": RAIN}) + "\r\n" + rows({"text": f"{FOX}\r\n\r\n{FOX}\n\n{FOX}"}))
    assert list(Materials.open([path], tokens=12)) == [
        Passage(RAIN, "a.jsonl:1"),
        Passage(f"{FOX}\n\n{FOX}", "a.jsonl:3"),
        Passage(FOX, "a.jsonl:3"),
    ]


@pytest.mark.parametrize("field", FIELDS)
def test_a_row_may_keep_its_text_in_any_known_field(write: Write, field: str) -> None:
    """What other fields hold does not matter."""
    path = write("a.jsonl", rows({"id": 7, field: FOX, "meta": {"text": RAIN}}))
    assert Materials.open([path], tokens=600)[0].text == FOX


def test_of_several_fields_the_first_that_holds_text_is_read(write: Write) -> None:
    """An empty text and one that is none are passed over for another; a row of empty ones is noted."""
    path = write(
        "a.jsonl",
        rows({"body": RAIN, "text": FOX}, {"text": "", "content": None, "body": RAIN}, {"text": " "}, {"text": FOX}),
    )
    passages = Materials.open([path], tokens=600)
    assert [(passage.text, passage.where) for passage in passages] == [
        (FOX, "a.jsonl:1"),
        (RAIN, "a.jsonl:2"),
        (FOX, "a.jsonl:4"),
    ]
    assert passages.notes == ["1 rows of the materials hold an empty text: passed over"]


def test_a_folder_is_read_to_the_bottom_in_order(write: Write, tmp_path: Path) -> None:
    """Files of the three kinds by their paths within it; what is hidden, and all else, is left out."""
    write("in/b.txt", "b")
    write("in/a/z.MD", "z")
    write("in/a/b/c.jsonl", rows({"text": "c"}))
    for name in ("in/.hidden.txt", "in/.git/d.txt", "in/e.pdf", "in/README"):
        write(name, "no")
    (tmp_path / "in/folder.txt").mkdir()
    passages = Materials.open([tmp_path / "in"], tokens=600)
    assert list(passages) == [Passage("c", "a/b/c.jsonl:1"), Passage("z", "a/z.MD:1"), Passage("b", "b.txt:1")]


def test_a_file_named_twice_is_read_once(write: Write, tmp_path: Path) -> None:
    """By its own name, through its folder, or through a link."""
    path = write("in/a.txt", FOX)
    (tmp_path / "in/link.txt").symlink_to(path)
    assert list(Materials.open([path, tmp_path / "in", path], tokens=600)) == [Passage(FOX, "a.txt:1")]


def test_files_of_one_name_are_told_apart_by_their_paths(write: Write) -> None:
    """Those of other names are not."""
    a, b, c = write("a/notes.txt", FOX), write("b/notes.txt", FOX), write("b/c.txt", FOX)
    assert [passage.where for passage in Materials.open([a, b, c], tokens=600)] == [f"{a}:1", f"{b}:1", "c.txt:1"]


def test_an_empty_file_of_a_folder_is_passed_over_and_noted(write: Write, tmp_path: Path) -> None:
    """As long as another holds something."""
    empty = write("in/a.txt", "\n \r\n")
    write("in/b.txt", FOX)
    passages = Materials.open([tmp_path / "in"], tokens=600)
    assert (len(passages), passages.notes) == (1, [f"{empty}: is empty, and passed over"])


# --- too long ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_sentence_larger_than_a_passage_is_refused_with_its_line(write: Write, name: str) -> None:
    """And what to do about it."""
    long = "long " * 20 + "end."
    table = rows({"text": FOX}) + "\n" + rows({"text": f"{FOX}\n{long}"})
    path = write(name, table if name == "a.jsonl" else f"{FOX}\n\n{long}\n")
    with pytest.raises(BadData) as refused:
        Materials.open([path], tokens=20)
    assert str(refused.value) == (
        f"{path}:3: one sentence of about 26 tokens is larger than a passage may be (20): raise --set"
        " openers.passage_tokens, cut the text, or --set openers.too_long=skip"
    )


def test_a_sentence_larger_than_a_passage_may_be_skipped(write: Write) -> None:
    """It is counted and noted; the text around it stays."""
    path = write("a.txt", f"{FOX} {'long ' * 20}end. {FOX}\n\n{'雨' * 21}\n")
    passages = Materials.open([path], tokens=20, too_long="skip")
    assert [passage.text for passage in passages] == [FOX, FOX]
    assert passages.skipped == 2
    assert passages.notes == [
        "sentences of the materials left out, since each is larger than a passage may be (20 tokens): 2"
    ]


def test_materials_of_which_nothing_is_left_are_refused(write: Write) -> None:
    """Every sentence skipped leaves nothing to talk about."""
    path = write("a.txt", "long " * 60)
    with pytest.raises(BadData, match=r"a\.txt: holds no passage$"):
        Materials.open([path], tokens=20, too_long="skip")


# --- what is wrong with a file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.pdf", "%PDF", "a.pdf: files of the kind '.pdf' are not read; convert it to txt, md or jsonl"),
        ("README", "hello", "README: files of the kind '' are not read; convert it to txt, md or jsonl"),
        ("a.txt", "", "a.txt: is empty; name a file that holds text"),
        ("a.md", "\ufeff \r\n\n", "a.md: is empty; name a file that holds text"),
        ("a.jsonl", "\n", "a.jsonl: is empty; name a file that holds text"),
        ("a.jsonl", rows({"text": ""}), "a.jsonl: is empty; name a file that holds text"),
        ("a.jsonl", rows({"text": FOX}) + "\n{", "a.jsonl:3: not JSON: unexpected end of data; mend or drop the line"),
        ("a.jsonl", rows({"text": FOX}, [FOX]), "a.jsonl:2: not a JSON object but list; one JSON object a line"),
        (
            "a.jsonl",
            rows({"title": FOX, "text": None}),
            "a.jsonl:1: no text in a field text, content, passage, body; the row has: title, text",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(write: Write, name: str, text: str, why: str) -> None:
    """Which file, which line, what to do."""
    path = write(name, text)
    with pytest.raises(BadData) as refused:
        Materials.open([path], tokens=600)
    assert str(refused.value) == f"{path.parent}/{why}"


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path: Path, name: str) -> None:
    """In text as in JSON Lines."""
    path = tmp_path / name
    path.write_bytes(rows({"text": FOX}).encode() + b'{"text": "caf\xe9"}\n')
    with pytest.raises(BadData, match=rf"{name}:2: not UTF-8; convert the file, for instance with iconv -t UTF-8$"):
        Materials.open([path], tokens=600)


def test_what_is_missing_or_no_file_is_one_line(tmp_path: Path) -> None:
    """A missing one, a pipe, and a folder without files."""
    with pytest.raises(BadData, match=r"/none\.txt: cannot be read: No such file or directory$"):
        Materials.open([tmp_path / "none.txt"], tokens=600)
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(BadData, match=r"/pipe\.txt: is not a file; it has to be read more than once"):
        Materials.open([tmp_path / "pipe.txt"], tokens=600)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match=r"/empty: holds no file of text; looked for \.txt, \.md, \.jsonl in it and bel"):
        Materials.open([tmp_path / "empty"], tokens=600)


def test_a_folder_that_may_not_be_listed_is_told(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One within the given one, too: what is in it would be missing without a word."""
    write("in/locked/a.txt", FOX)
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(BadData, match=r"/in/locked: cannot be read: Permission denied$"):
        Materials.open([tmp_path / "in"], tokens=600)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.txt", f"{FOX}\n\n{FOX}", f"{FOX}\n\n{FOX.upper()}"),
        ("a.txt", f"{RAIN}\n\n{RAIN}", f"ab{RAIN}\n\n{RAIN}"),
        ("a.jsonl", rows({"text": FOX}, {"text": RAIN}), rows({"text": FOX}, {"text": RAIN[::-1]})),
        ("a.jsonl", rows({"text": FOX}, {"text": RAIN}), rows({"text": FOX}, {"title": RAIN})),
    ],
)
def test_a_file_that_changes_while_it_is_in_use_is_told(write: Write, name: str, before: str, after: str) -> None:
    """A passage is never something else than what its digest was made from."""
    passages = Materials.open([write(name, before)], tokens=9)
    write(name, after)
    with pytest.raises(BadData, match=rf"{name}: was changed while it was in use"):
        passages[1]


# --- as a sequence ----------------------------------------------------------------------------------------------------


def test_a_passage_is_found_by_its_number_from_either_end(write: Write) -> None:
    """Like an item of a list; a slice is one."""
    passages = Materials.open([write("a.txt", "\n\n".join(f"Number {n}." for n in range(5)))], tokens=3)
    assert [passages[n].text for n in (0, 4, -1, -5)] == ["Number 0.", "Number 4.", "Number 4.", "Number 0."]
    assert [passage.text for passage in passages[1:4:2]] == ["Number 1.", "Number 3."]
    for index in (5, -6):
        with pytest.raises(IndexError):
            passages[index]


def test_the_digest_is_that_of_the_texts_and_where_they_stand(write: Write, tmp_path: Path) -> None:
    """It is the same wherever the files are; a changed text, line, name or budget is another."""

    def digest(name: str, text: str, tokens: int = 12) -> str:
        return Materials.open([write(name, text)], tokens=tokens).digest

    text = f"{FOX}\n\n{FOX}\n\n{FOX}"
    first = digest("a.txt", text)
    assert first.startswith("2 passages, sha256 ")
    assert len(first) == len("2 passages, sha256 ") + 64
    assert digest("elsewhere/a.txt", text.replace("\n", "\r\n")) == first
    others = {
        digest("a.txt", text, tokens=6),
        digest("a.txt", text.replace("fox", "cat")),
        digest("a.txt", f"\n{text}"),
        digest("b.txt", text),
    }
    assert len(others | {first}) == 5


LINES = st.sampled_from(
    ["", FOX, RAIN, "# 天气", "- item", "```", "no end in sight", f"{RAIN}{RAIN}", "| a | b |", "…"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(LINES, min_size=1, max_size=12), min_size=1, max_size=3), st.sampled_from([12, 20, 40]))
def test_passages_hold_every_line_in_order_and_fit(tmp_path: Path, files: list[list[str]], tokens: int) -> None:
    """Of any files; and reading one twice gives the same."""
    paths = []
    for number, lines in enumerate(files):
        path = tmp_path / f"{number}.{('md', 'jsonl')[number % 2]}"
        text = "\n".join([*lines, FOX])
        path.write_text(text if number % 2 == 0 else rows({"text": text}), "utf-8")
        paths.append(path)
    passages = Materials.open(paths, tokens=tokens)
    found = list(passages)
    assert [passages[index] for index in range(len(found))] == found == list(Materials.open(paths, tokens=tokens))
    assert max(estimate(passage.text) for passage in found) <= tokens
    for number, lines in enumerate(files):
        own = "".join(passage.text for passage in found if passage.where.startswith(f"{number}."))
        assert "".join(own.split()) == "".join("".join([*lines, FOX]).split())


def test_memory_does_not_grow_with_the_bytes_of_the_files(tmp_path: Path) -> None:
    """20 MB of passages and of rows are indexed, and all read again, in less than 1 MB."""
    text, table = tmp_path / "big.txt", tmp_path / "big.jsonl"
    line = " ".join([FOX.replace(".", ",")] * 60) + ".\n\n"
    text.write_text(line * (10_000_000 // len(line)), "utf-8")
    table.write_text(rows({"text": line * 2}) * (10_000_000 // len(line) // 2), "utf-8")
    tracemalloc.start()
    try:
        passages = Materials.open([text, table], tokens=600)
        read = sum(len(passage.text) for passage in passages)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 19_900_000 < read < 20_000_000
    assert peak < 1_000_000
