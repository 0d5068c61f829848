"""Rows come one at a time, as they were written, from whatever holds them; what is none says where and why."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct import rows
from selfinstruct.errors import BadData, ConfigProblem
from selfinstruct.rows import Row, TextRows, open_sources, row_of, text_of
from tests.command import invoke

TASKS = '{"id": "t1", "instruction": "Name a tree."}\n{"instruction": "说出一种树。"}\n'.encode()


def read(path: Path) -> list[Row]:
    """All rows of a file."""
    (source,) = open_sources([str(path)], path.parent)
    return list(source)


def written(path: Path, data: bytes) -> Path:
    """A file of these bytes."""
    path.write_bytes(data)
    return path


# --- JSON Lines -----------------------------------------------------------------------------------------------------


def test_a_row_knows_its_place_its_name_and_its_bytes(tmp_path: Path) -> None:
    """Its name is its id, where it has one, else the file and line."""
    found = read(written(tmp_path / "t.jsonl", TASKS))
    assert [row.place for row in found] == ["t.jsonl:1", "t.jsonl:2"]
    assert [row.name for row in found] == ["t1", "t.jsonl:2"]
    assert b"".join(row.raw for row in found) == TASKS


@pytest.mark.parametrize(
    ("given_id", "name"),
    [(7, "7"), (0, "0"), ("", "f:1"), (True, "f:1"), (None, "f:1"), (["a"], "f:1"), ("a b", "a b")],
)
def test_only_a_number_or_a_text_is_a_name(given_id: Any, name: str) -> None:
    """Anything else, or nothing, names no row."""
    assert row_of("f", 1, orjson.dumps({"id": given_id})).name == name


def test_byte_order_mark_blank_lines_and_either_line_end_are_fine(tmp_path: Path) -> None:
    """Lines are counted with the blank ones; a last line without its end gets one."""
    found = read(written(tmp_path / "t.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\n  \r\n\t\n{"a": 2}'))
    assert [(row.line, row.raw) for row in found] == [(1, b'{"a": 1}\r\n'), (5, b'{"a": 2}\n')]


@pytest.mark.parametrize("data", [b"", b"\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n \n"])
def test_a_file_of_nothing_has_no_rows(tmp_path: Path, data: bytes) -> None:
    """It is no mistake."""
    assert read(written(tmp_path / "t.jsonl", data)) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": 1', "not JSON: unexpected end of data (character 9 of the row)"),
        (b"hello", "not JSON: unexpected character, expected a JSON value (character 1 of the row)"),
        (b'{"a": "\xff"}', "not UTF-8; convert the file, for instance with iconv -t UTF-8"),
        (b"[1, 2]", "a row must be an object, and this is a list"),
        (b"null", "a row must be an object, and this is null"),
        (b"12", "a row must be an object, and this is a number"),
        (b"1.5", "a row must be an object, and this is a number"),
        (b'"x"', "a row must be an object, and this is a text"),
        (b"true", "a row must be an object, and this is a truth value"),
    ],
)
def test_a_line_that_is_no_object_is_a_row_with_a_problem(line: bytes, problem: str) -> None:
    """It has no value, keeps its bytes, and asking for its text says where it stands."""
    row = row_of("t.jsonl", 3, line)
    assert (row.value, row.raw, row.problem) == (None, line + b"\n", problem)
    with pytest.raises(BadData) as caught:
        text_of(row, ["instruction"])
    assert str(caught.value) == f"t.jsonl:3: {problem}"


@given(st.binary(max_size=60))
def test_any_line_is_a_row(line: bytes) -> None:
    """Whatever stands there: an object, or a problem."""
    row = row_of("f", 1, line)
    assert (row.value is None) == (row.problem != "")
    assert row.raw.rstrip(b"\n") == line.rstrip(b"\n")


def test_a_line_beyond_the_limit_is_refused_before_it_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without line ends must not fill the memory."""
    monkeypatch.setattr(rows, "LONGEST", 1000)
    (source,) = open_sources([str(written(tmp_path / "t.jsonl", b"{}\n" + b"x" * 10**7))], tmp_path)
    with pytest.raises(BadData, match=r"t.jsonl:2: a row of more than 1000 bytes"):
        list(source)
    assert source.done < 10**6


def test_utf_16_is_told_from_broken_json(tmp_path: Path) -> None:
    """As Windows programs write it."""
    with pytest.raises(BadData, match=r"t.jsonl: is UTF-16; write it as UTF-8"):
        read(written(tmp_path / "t.jsonl", '{"a": 1}\n'.encode("utf-16")))


# --- packed, arrays, standard input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.jsonl.gz", "t.jsonl"])
def test_a_packed_file_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    """Rows are those of the plain file; size and hash are of the file itself."""
    path = written(tmp_path / name, gzip.compress(TASKS))
    (source,) = open_sources([str(path)], tmp_path)
    assert b"".join(row.raw for row in source) == TASKS
    assert source.done == source.size == path.stat().st_size
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_damaged_packed_file_is_bad_data(tmp_path: Path) -> None:
    """Cut short, changed in the middle, or followed by something else."""
    whole = gzip.compress(TASKS * 500)
    for number, data in enumerate((whole[:-20], whole[:40] + b"\0\0\0\0" + whole[44:], whole + b"rest")):
        with pytest.raises(BadData, match="damaged gzip"):
            read(written(tmp_path / f"{number}.jsonl.gz", data))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_rows_as_its_lines_would_be(tmp_path: Path, packed: bool, indent: int | None) -> None:
    """Each element becomes a line; its place is the line where it starts."""
    tasks = [json.loads(line) for line in TASKS.splitlines()]
    data = json.dumps(tasks, indent=indent, ensure_ascii=False).encode()
    name = "t.json.gz" if packed else "t.json"
    found = read(written(tmp_path / name, gzip.compress(data) if packed else data))
    assert [row.value for row in found] == tasks
    assert [row.line for row in found] == ([2, 6] if indent else [1, 1])
    assert [row.raw.count(b"\n") for row in found] == [1, 1]


def test_a_json_file_may_hold_lines_and_a_jsonl_file_no_array(tmp_path: Path) -> None:
    """What is in it decides, where its name says no more than JSON."""
    assert [row.value for row in read(written(tmp_path / "t.json", b'{"a": 1}\n{"a": 2}\n'))] == [{"a": 1}, {"a": 2}]
    (row,) = read(written(tmp_path / "t.jsonl", b'[{"a": 1}]\n'))
    assert row.problem == "a row must be an object, and this is a list"


@pytest.mark.parametrize(
    "data",
    [TASKS, gzip.compress(TASKS, mtime=0), b"[" + TASKS.strip().replace(b"\n", b",") + b"]"],
    ids=["lines", "packed", "array"],
)
def test_standard_input_is_read_in_every_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: bytes) -> None:
    """Its name is stdin, its size is not known, and its hash is that of what came."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    (source,) = open_sources(["-"], tmp_path)
    found = list(source)
    assert [row.name for row in found] == ["t1", f"stdin:{found[1].line}"]
    assert (source.size, source.done, source.sha256) == (None, len(data), hashlib.sha256(data).hexdigest())


# --- which source ---------------------------------------------------------------------------------------------------


def test_closed_standard_input_is_bad_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell's ``<&-`` leaves it: there is no stream at all."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(BadData, match="stdin: is closed; pipe the rows into it, or name a file"):
        list(TextRows("stdin", None))


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others go by their name alone."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/t.jsonl", "b/t.jsonl", "b/u.jsonl"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(TASKS)
    found = open_sources(["a/t.jsonl", "b/t.jsonl", "b/u.jsonl"], tmp_path)
    assert [source.label for source in found] == ["a/t.jsonl", "b/t.jsonl", "u.jsonl"]


def test_a_name_that_is_nothing_is_bad_data(tmp_path: Path) -> None:
    """Neither file nor run; a folder without a run; a file nobody may read."""
    with pytest.raises(BadData, match=r"nothing.jsonl: no such file, and no run of that name below"):
        open_sources(["nothing.jsonl"], tmp_path)
    with pytest.raises(BadData, match="a folder that holds no run; name its files"):
        open_sources([str(tmp_path)], tmp_path)
    with pytest.raises(BadData, match="t: cannot read: Is a directory"):
        list(TextRows("t", tmp_path))


def test_a_run_is_the_records_of_its_last_stage(tmp_path: Path) -> None:
    """By its name or its folder; each row is the line of its shard."""
    made = invoke("generate", "--api", "fake", "-n", 8, "--run", "r", "--output-dir", tmp_path, "-q")
    assert made.code == 0
    shard = (tmp_path / "r" / "instances" / "shard-0.jsonl").read_bytes()
    for name in ("r", str(tmp_path / "r")):
        (source,) = open_sources([name], tmp_path)
        found = list(source)
        assert b"".join(row.raw for row in found) == shard
        assert found[0].place == "r/instances:1"
        assert found[0].name == found[0].value["id"]  # type: ignore[index]
        assert (source.size, source.done) == (len(shard), len(shard))
        assert source.sha256 == hashlib.sha256(shard).hexdigest()
    (tmp_path / "r" / "instances" / "manifest.json").unlink()
    with pytest.raises(BadData, match="no finished records here"):
        open_sources(["r"], tmp_path)


def test_parquet_rows_are_lines_of_json(tmp_path: Path) -> None:
    """With what JSON lacks as text; size and hash are of the file."""
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    table = pyarrow.table({"id": [1, 2], "instruction": ["Name a tree.", "说"], "blob": [b"\xff", None]})
    parquet.write_table(table, path)
    (source,) = open_sources([str(path)], tmp_path)
    found = list(source)
    assert [row.value for row in found] == [
        {"id": 1, "instruction": "Name a tree.", "blob": "/w=="},
        {"id": 2, "instruction": "说", "blob": None},
    ]
    assert [row.place for row in found] == ["t.parquet:1", "t.parquet:2"]
    assert found[1].raw == '{"id":2,"instruction":"说","blob":null}\n'.encode()
    assert source.done == source.size == path.stat().st_size
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(BadData, match=r"u.parquet: cannot be read as Parquet"):
        read(written(tmp_path / "u.parquet", b"PAR1 no more"))


def test_parquet_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read."""
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "selfinstruct.parquet_file", raising=False)
    monkeypatch.delattr("selfinstruct.parquet_file", raising=False)
    with pytest.raises(ConfigProblem, match=r"pip install 'selfinstruct\[parquet\]'"):
        open_sources([str(written(tmp_path / "t.parquet", b"PAR1"))], tmp_path)


# --- the fields of a row ----------------------------------------------------------------------------------------------

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"content": "Hello"}], "a.b": "dotted", "n": 3, "empty": ""}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (["messages.0.content"], "Hi"),
        (["messages.1.content", "messages.0.role"], "Hello\nuser"),
        (["a.b"], "dotted"),
        (["empty"], ""),
    ],
)
def test_a_field_may_be_deep_and_several_are_joined(fields: list[str], text: str) -> None:
    """By dots and numbers; a name that holds a dot itself is found as it is."""
    assert text_of(Row("f", 1, b"", CHAT), fields) == text


@pytest.mark.parametrize(
    "path", ["instruction", "messages.2.content", "messages.-1", "messages.x", "n.0", "messages.²", ""]
)
def test_a_field_that_is_not_there_is_told_with_those_that_are(path: str) -> None:
    """With the place, and the option that names another."""
    with pytest.raises(BadData) as caught:
        text_of(Row("f.jsonl", 2, b"", CHAT), [path])
    shown = "messages, a.b, n, empty"
    assert str(caught.value) == f"f.jsonl:2: no field '{path}'; the row has: {shown} (say --field NAME)"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(3, "a number"), (None, "null"), (["x"], "a list"), ({"x": "y"}, "an object"), (True, "a truth value")],
)
def test_a_field_that_holds_no_text_is_told(value: Any, kind: str) -> None:
    """A number is not read as if it were one."""
    with pytest.raises(BadData) as caught:
        text_of(Row("f", 1, b"", {"instruction": value}), ["instruction"])
    assert str(caught.value) == f"f:1: the field 'instruction' is {kind}, and no text"


def test_a_row_of_very_many_fields_names_the_first() -> None:
    """An error is a line, not a page."""
    with pytest.raises(BadData) as caught:
        text_of(Row("f", 1, b"", {f"k{n}": "" for n in range(1000)}), ["x"])
    assert str(caught.value).endswith("k19, … (say --field NAME)")
