"""Takes a JSON array apart, one element at a time, however long it is."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO

from selfinstruct.errors import BadData

_CHUNK = 2**20
_SPACE = re.compile(r"[ \t\n\r]*")
_LINE_BREAK = re.compile(r"[ \t\r]*\n[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_CUT = 16
"""What is wrong so near to the end of what was read may be cut: a word, a number, an escape."""


def elements(file: IO[bytes], label: str, longest: int) -> Iterator[tuple[int, bytes]]:
    """The line on which each element starts, and its own text on one line: UTF-8, white space as it was otherwise.

    No more than an element is held, and at most ``longest`` characters. Raises `BadData`, which names file and line,
    where the array breaks off or is none: behind that place nothing can be told apart.
    """
    window = _Window(file, label, longest)
    window.take("[")
    while window.next() != "]":
        line, text = window.element()
        # A line feed in JSON always stands between tokens, never inside of a text.
        yield line, _LINE_BREAK.sub("", text).encode()
        if window.next() == ",":
            window.take(",")
            if window.next() == "]":
                window.fail("a comma, and then nothing")
    window.take("]")
    if window.next():
        window.fail("something behind the array's end")


class _Window:
    """The part of a file that is being looked at."""

    def __init__(self, file: IO[bytes], label: str, longest: int) -> None:
        self._file = file
        self._label = label
        self._longest = longest
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._line = 1
        self._ended = False

    def fail(self, what: str) -> None:
        """Raise `BadData` about this place."""
        raise BadData(f"{self._label}:{self._line}: not a JSON array: {what}")

    def next(self) -> str:
        """The next character that is not white space; empty at the end. It is not passed."""
        while True:
            self._pass(_SPACE.match(self._text, self._at).end())  # type: ignore[union-attr]
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read()

    def take(self, char: str) -> None:
        """Pass this character, which must be next."""
        if self.next() != char:
            self.fail(f"expected {char}")
        self._pass(self._at + 1)

    def element(self) -> tuple[int, str]:
        """The line and the text of the next value, which is passed; behind it is a comma or the end."""
        self.next()
        while True:
            end = self._end()
            if end is not None:
                line, text = self._line, self._text[self._at : end]
                self._pass(end)
                if self.next() not in (",", "]"):
                    self.fail("expected , or ]")
                return line, text
            self._read()

    def _end(self) -> int | None:
        """Where the value ends that starts here; None where more must be read to know."""
        try:
            _, end = _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            cut = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - _CUT
            if self._ended or not cut:
                self._pass(error.pos)
                self.fail(error.msg)
            if len(self._text) - self._at > self._longest:
                self.fail(f"an element of more than {self._longest} characters")
            return None
        except RecursionError:
            self.fail("nested too deeply")
        # A number that ends where the text does may go on: behind 1, .5 or e-7.
        return end if end < len(self._text) - _CUT or self._ended else None

    def _pass(self, at: int) -> None:
        self._line += self._text.count("\n", self._at, at)
        self._at = at

    def _read(self) -> None:
        """Read on; as much again as is waited for, so that a long element is not tried at every step."""
        left = self._text[self._at :]
        chunk = self._file.read(max(_CHUNK, len(left)))
        try:
            self._text, self._at = left + self._decoder.decode(chunk, final=not chunk), 0
        except UnicodeDecodeError:
            self.fail("not UTF-8")
        self._ended = not chunk
