"""Files in the OpenAI Batch format, line by line in both directions: requests in, results and errors out.

A request: ``{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": …, "messages": …}}``.

A result, or an error, has OpenAI's four keys in OpenAI's order: ``id``, ``custom_id``, ``response`` (``status_code``,
``request_id``, ``body``) and ``error`` (``code``, ``message``). Ours adds to it:

* ``id`` and ``request_id`` are ``batch_req_`` and ``req_`` with the first 24 digits of the call's key, so a line leads
  to its call in the ledger, and deriving the file again gives the same bytes;
* lines stand in the order of the requests;
* where a server refused a request, ``error`` says so too; OpenAI says it in ``response.body.error`` alone.

Memory does not grow with the file, but for 8 bytes a request while it is checked.
"""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson

from selfinstruct.errors import BadData
from selfinstruct.wire import CHAT, COMPLETIONS, canonical
from selfinstruct.wire_errors import one_line, shown

LONGEST_LINE = 16 * 2**20
"""Bytes. A request larger than that is a broken file (one without line ends, most often): no API takes such a body."""

_BUFFER = 2**20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ID_DIGITS = 24  # of the key's 64: 96 bits, so that ids are unique in any file


# --- reading --------------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """How far a file has been read: bytes, lines (blank ones too) and requests."""

    offset: int = 0
    lines: int = 0
    requests: int = 0


class RequestLine(NamedTuple):
    """A request of the file. ``number`` counts requests from 0 and is the draw; ``line`` counts lines from 1.

    ``end`` is the byte offset behind the line.
    """

    number: int
    line: int
    custom_id: str
    url: str
    body: dict[str, Any]
    end: int

    @property
    def place(self) -> Place:
        """Where reading goes on after this request."""
        return Place(self.end, self.line, self.number + 1)


class Checked(NamedTuple):
    """What a faultless file holds: requests, bytes, and the hex sha256 of those bytes."""

    requests: int
    size: int
    sha256: str


def read_lines(
    path: Path,
    *,
    model: str | None = None,
    start: Place | None = None,
    skip: Callable[[int], bool] | None = None,
    size: int | None = None,
) -> Iterator[RequestLine]:
    """The requests of a file in its order, from ``start`` on. ``model`` is for bodies that name none.

    Requests of a file that was checked before, whose number ``skip`` says so of, are passed over unread; and so are
    lines that begin behind its first ``size`` bytes: somebody may be adding to it.

    A byte order mark, Windows line ends, blank lines and a missing last line feed are tolerated. Everything else that
    is wrong raises `BadData` naming file, line and what to do. Numbers are read as 64 bits: a larger integer, which no
    field of these APIs takes, becomes a float.
    """
    start = start or Place()
    with _opened(path) as file:
        file.seek(start.offset)

        def readline(limit: int) -> bytes:
            return file.readline(limit) if size is None or file.tell() < size else b""

        yield from _requests(path, readline, model, start, skip)


def check(path: Path, model: str | None = None) -> Checked:
    """Read the whole file once, before anything is paid for. Raises `BadData` like `read_lines`.

    Also for a ``custom_id`` that stands twice, which would leave two results nobody can tell apart, and for a file
    that holds no request.
    """
    digest = hashlib.sha256()
    hashes = array("q")
    with _opened(path) as file:

        def readline(limit: int) -> bytes:
            raw = file.readline(limit)
            digest.update(raw)
            return raw

        for request in _requests(path, readline, model, Place()):
            hashes.append(hash(request.custom_id))  # 64 bits; those that meet are compared by the ids themselves
        size = file.tell()
    if not hashes:
        raise BadData(f"{path}: holds no request; expected one JSON object a line")
    _refuse_repeated_ids(path, model, hashes)
    return Checked(len(hashes), size, digest.hexdigest())


def same_beginning(path: Path, size: int, sha256: str) -> bool:
    """Whether the file still begins with the bytes that were checked: unchanged, or with lines appended.

    Parses nothing. Raises `BadData` when the file cannot be read.
    """
    digest = hashlib.sha256()
    with _opened(path) as file:
        while size > 0 and (block := file.read(min(size, _BUFFER))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest() == sha256


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb", buffering=_BUFFER) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # a pipe would be empty the second time
                raise BadData(f"{path}: is no regular file, and requests are read more than once; save them to a file")
            yield file
    except OSError as error:
        raise BadData(f"{path}: cannot read the requests: {error.strerror}") from error


def _requests(
    path: Path,
    readline: Callable[[int], bytes],
    model: str | None,
    start: Place,
    skip: Callable[[int], bool] | None = None,
) -> Iterator[RequestLine]:
    # Lines end at line feeds only: JSON may hold U+2028 and other characters that str.splitlines takes for line ends.
    offset, line, number = start
    for raw in iter(partial(readline, LONGEST_LINE + 1), b""):
        line += 1
        if len(raw) > LONGEST_LINE:
            raise BadData(f"{path}:{line}: longer than {LONGEST_LINE >> 20} MiB; one request a line, each line ended")
        row = (raw if offset else raw.removeprefix(_BYTE_ORDER_MARK)).rstrip()
        offset += len(raw)
        if not row:
            continue
        if skip is not None and skip(number):
            number += 1
            continue
        try:
            request = orjson.loads(row)
        except orjson.JSONDecodeError as problem:
            raise BadData(f"{path}:{line}: {_why_not_json(row, problem)}") from problem
        if complaint := _complaint(request, model):
            raise BadData(f"{path}:{line}: {complaint}")
        yield RequestLine(number, line, request["custom_id"], request["url"], request["body"], offset)
        number += 1


def _why_not_json(row: bytes, problem: orjson.JSONDecodeError) -> str:
    try:
        row.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8; convert the file, for instance with iconv -t UTF-8"
    return f"not JSON near column {problem.colno}: {problem.msg}; mend or drop the line"


def _complaint(request: Any, model: str | None) -> str | None:
    """What is wrong with a line's value, and what to do; None when nothing is."""
    if not isinstance(request, dict):
        return f"not a JSON object but {type(request).__name__}; one request a line"
    custom_id, url, body = request.get("custom_id"), request.get("url"), request.get("body")
    if not isinstance(custom_id, str) or not custom_id:
        return f"'custom_id' {_is(custom_id)}; give each request a text of its own, it names the result"
    if request.get("method") != "POST":
        return f"'method' {_is(request.get('method'))}; write \"POST\""
    if url not in (CHAT, COMPLETIONS):
        return f"'url' {_is(url)}; served are {CHAT} and {COMPLETIONS}, and --base-url says where"
    if not isinstance(body, dict):
        return f"'body' {_is(body)}; it is the JSON object to send"
    return _body_complaint(body, model, chat=url == CHAT)


def _body_complaint(body: dict[str, Any], model: str | None, *, chat: bool) -> str | None:
    prompt = body.get("messages" if chat else "prompt")
    if chat and not (isinstance(prompt, list) and prompt and all(isinstance(message, dict) for message in prompt)):
        return f"'body.messages' {_is(prompt)}; {CHAT} wants a list of messages"
    if not chat and (not isinstance(prompt, (str, list)) or prompt == []):
        return f"'body.prompt' {_is(prompt)}; {COMPLETIONS} wants a text"
    if body.get("stream"):
        return "'body.stream' is true, and a stream cannot be recorded; leave it out"
    named = body.get("model")
    if not model and not (isinstance(named, str) and named):
        return f"'body.model' {_is(named)}; name one there, or for all requests with --model"
    try:
        orjson.dumps(body)  # which writes less deep nesting than it reads: better found now than when it is sent
    except TypeError:
        return "'body' is nested too deep; mend or drop the line"
    return None


def _is(value: object) -> str:
    if value is None:
        return "is missing"
    return f"is '{one_line(value, 60)}'" if isinstance(value, str) else f"is {shown(value, 60)}"


def _refuse_repeated_ids(path: Path, model: str | None, hashes: array[int]) -> None:
    """Raise `BadData` for the first id that stands in an earlier line already."""
    values = np.frombuffer(hashes, dtype=np.int64)
    ordered = np.sort(values)
    if not (ordered[1:] == ordered[:-1]).any():
        return
    order = np.argsort(values, kind="stable")
    repeats = order[1:][values[order[1:]] == values[order[:-1]]]
    for number in np.sort(repeats).tolist():  # more than one only if two ids share a hash by chance
        alike = set(np.flatnonzero(values[: number + 1] == values[number]).tolist())
        lines: dict[str, int] = {}
        for request in (request for request in read_lines(path, model=model) if request.number in alike):
            first = lines.setdefault(request.custom_id, request.line)
            if first != request.line:
                raise BadData(
                    f"{path}:{request.line}: the custom_id '{one_line(request.custom_id, 80)}' stands in line {first}"
                    " already; give each request one of its own, it names the result"
                )


# --- sending --------------------------------------------------------------------------------------------------------


def sealed_body(
    line: RequestLine,
    *,
    model: str | None = None,
    extra_body: Mapping[str, Any] | None = None,
    max_tokens: int | None = None,
    token_field: str = "max_tokens",
) -> bytes:
    """The body to send, in the canonical bytes its key is made of.

    ``model`` takes the place of the line's, then ``extra_body`` goes over everything. ``max_tokens`` is for bodies
    that set no limit of their own (null is none), under the name ``token_field``; `COMPLETIONS` knows ``max_tokens``
    alone. Raises `BadData` for text in ``extra_body`` that UTF-8 cannot carry.
    """
    body = {**line.body, **({"model": model} if model else {}), **(extra_body or {})}
    if max_tokens is not None and body.get("max_tokens") is None:
        if line.url == COMPLETIONS:
            body["max_tokens"] = max_tokens
        elif body.get("max_completion_tokens") is None:
            body[token_field] = max_tokens
    return canonical(body)


# --- writing --------------------------------------------------------------------------------------------------------


def result_line(custom_id: str, key_hex: str, answer: bytes) -> bytes:
    """The line of an answered request. ``answer`` is a body that `wire.completion` has let through.

    It is not parsed again but stands in the line as it came, digit for digit; only line ends between its parts go.
    Raises `ValueError` for what cannot be such a body.
    """
    answer = answer.strip()
    if not (answer.startswith(b"{") and answer.endswith(b"}")):
        raise ValueError("the answer is no JSON object")
    if b"\n" in answer or b"\r" in answer:  # never within a string: there JSON wants them escaped
        answer = b"".join(part.strip() for part in answer.splitlines())
    return _line(custom_id, key_hex, _response(key_hex, 200, orjson.Fragment(answer)), None)


def error_line(custom_id: str, key_hex: str, code: str, message: str, status: int | None = None) -> bytes:
    """The line of a request that has no answer and will get none; ``status`` is the server's, if it said one.

    The message becomes one line without control characters.
    """
    error = {"code": code, "message": one_line(message, 2000)}
    return _line(custom_id, key_hex, _response(key_hex, status, {"error": error}) if status else None, error)


def _response(key_hex: str, status: int, body: object) -> dict[str, object]:
    return {"status_code": status, "request_id": f"req_{key_hex[:_ID_DIGITS]}", "body": body}


def _line(custom_id: str, key_hex: str, response: object, error: object) -> bytes:
    line = {
        "id": f"batch_req_{key_hex[:_ID_DIGITS]}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
