"""A JSON array is taken apart: every element as it stands there, wherever the pieces that are read end."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.errors import BadData
from selfinstruct.json_array import elements

LONGEST = 2**20
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


class Drip(io.BytesIO):
    """A file that gives a few bytes at a time, whatever it is asked for."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self.step = step

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes."""
        return super().read(self.step)


def taken(text: str | bytes, step: int = 2**20) -> list[tuple[int, bytes]]:
    """The elements of an array, with their lines."""
    data = text if isinstance(text, bytes) else text.encode()
    return list(elements(Drip(data, step), "a.json", LONGEST))


@given(st.lists(VALUES, max_size=5), st.integers(1, 9), st.sampled_from([None, 0, 2]), st.booleans(), st.booleans())
def test_every_element_comes_back_however_the_array_is_written_and_read(
    array: list[Any], step: int, indent: int | None, escaped: bool, crlf: bool
) -> None:
    """Indented or not, in pieces of a few bytes, with line ends of either kind: equal values, each on one line."""
    text = json.dumps(array, indent=indent, ensure_ascii=escaped).encode("utf-8", "replace")
    array = json.loads(text)
    found = [element for _, element in taken(text.replace(b"\n", b"\r\n") if crlf else text, step)]
    assert [json.loads(element) for element in found] == array
    assert not [element for element in found if b"\n" in element]


def test_numbers_and_spelling_are_as_they_were() -> None:
    """What a program would write otherwise stands there as the author wrote it."""
    text = '[{"a": 1.50, "b": 12345678901234567890123, "c": "\\u4f60"},\n {"a":  1e3}]'
    assert taken(text) == [
        (1, b'{"a": 1.50, "b": 12345678901234567890123, "c": "\\u4f60"}'),
        (2, b'{"a":  1e3}'),
    ]


@pytest.mark.parametrize("text", ["[]", " [ ] \n", "\ufeff[]"])
def test_an_empty_array_has_no_elements(text: str) -> None:
    """With a byte order mark and white space, too."""
    assert taken(text) == []


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('[{"a": 1}\n', 2, "expected , or ]"),
        ('[{"a": 1},\n{"a": 2', 2, "Expecting ',' delimiter"),
        ('[{"a": 1},\n\n]', 3, "a comma, and then nothing"),
        ('[{"a": 1} {"a": 2}]', 1, "expected , or ]"),
        ("[1]\n[2]", 2, "something behind the array's end"),
        ("[nul]", 1, "Expecting value"),
        ('["\n"]', 1, "Invalid control character at"),
        ('["' + "x" * 99, 1, "Unterminated string starting at"),
        ("[" * 100_000, 1, "nested too deeply"),
        ('{"a": 1}', 1, "expected ["),
        ("", 1, "expected ["),
    ],
)
def test_what_is_no_array_is_refused_with_its_line(text: str, line: int, what: str) -> None:
    """What stands before the place is told by then; nothing behind it can be."""
    with pytest.raises(BadData) as caught:
        taken(text)
    assert str(caught.value) == f"a.json:{line}: not a JSON array: {what}"


def test_bytes_that_are_no_utf_8_are_refused() -> None:
    """Also where a character is cut at the end."""
    with pytest.raises(BadData, match=r"a\.json:1: not a JSON array: not UTF-8"):
        taken(b'["\xff"]')
    with pytest.raises(BadData, match="not UTF-8"):
        taken('["é'.encode()[:-1])


def test_an_element_beyond_the_limit_is_refused_before_it_is_in_memory() -> None:
    """A file that never closes a text must not be read to its end."""
    file = Drip(b'["' + b"x" * (64 * LONGEST), 2**20)
    with pytest.raises(BadData, match=f"more than {LONGEST} characters"):
        list(elements(file, "a.json", LONGEST))
    assert file.tell() <= 4 * LONGEST


def test_a_mistake_is_told_without_reading_on() -> None:
    """A missing comma at the top of a large file is found at once."""
    file = Drip(b'[{"a": 1 "b": 2}, ' + b'{"a": 1}, ' * 10**6, 2**16)
    with pytest.raises(BadData, match="Expecting ',' delimiter"):
        list(elements(file, "a.json", LONGEST))
    assert file.tell() == 2**16
