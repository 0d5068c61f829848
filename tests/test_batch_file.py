"""The OpenAI Batch format: requests are checked to the last line before anything is paid; results are whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, ConfigDict

from selfinstruct import batch_file, wire
from selfinstruct.batch_file import Place, RequestLine, check, error_line, read_lines, result_line, sealed_body
from selfinstruct.errors import BadData

CHAT_BODY: dict[str, Any] = {"model": "some-model", "messages": [{"role": "user", "content": "Name a tree."}]}
KEY = "0123456789abcdef" * 4
ID = "0123456789abcdef01234567"
ANSWER = (
    b'{"id":"c-1","object":"chat.completion","created":1700000000,"model":"some-model","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Oak."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}'
)


def row(custom_id: object = "a", **other: object) -> bytes:
    """A request line without its end; a value of ``...`` leaves the key out."""
    fields = {"custom_id": custom_id, "method": "POST", "url": wire.CHAT, "body": CHAT_BODY} | other
    return orjson.dumps({name: value for name, value in fields.items() if value is not ...})


def with_body(**other: object) -> bytes:
    """A request line with these fields in its body; a value of ``...`` leaves the field out."""
    return row(body={name: value for name, value in (CHAT_BODY | other).items() if value is not ...})


GOOD = row()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's request file is."""
    return tmp_path / "requests.jsonl"


def read(path: Path, content: bytes, model: str | None = None) -> list[RequestLine]:
    """The requests of a file with this content."""
    path.write_bytes(content)
    return list(read_lines(path, model=model))


def why(path: Path, content: bytes, reader: Callable[[Path], object] = check) -> str:
    """What `check`, or another reader, says of a file with this content."""
    path.write_bytes(content)
    with pytest.raises(BadData) as problem:
        reader(path)
    return str(problem.value)


# --- reading --------------------------------------------------------------------------------------------------------


def test_requests_come_in_order_with_their_draw_and_their_line(path: Path) -> None:
    """Draws count requests from 0, lines count from 1 and blank ones too; unknown keys are left alone."""
    prompt = {"model": "some-model", "prompt": "A tree is", "stream": False}
    content = GOOD + b"\n\n" + row("b", url=wire.COMPLETIONS, body=prompt, note=1) + b"\n"
    assert read(path, content) == [
        RequestLine(0, 1, "a", "/v1/chat/completions", CHAT_BODY, len(GOOD) + 1),
        RequestLine(1, 3, "b", "/v1/completions", prompt, len(content)),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + row("甲") + b"\n" + row("b") + b"\n",
        row("甲") + b"\r\n" + row("b") + b"\r\n",
        b"\n \t\n" + row("甲") + b"\n\r\n" + row("b"),
    ],
    ids=["byte order mark", "CRLF", "blank lines and no last line feed"],
)
def test_what_editors_do_to_a_request_file_changes_nothing(path: Path, content: bytes) -> None:
    """The same requests with the same draws, and a file that passes."""
    assert [(line.number, line.custom_id, line.body) for line in read(path, content)] == [
        (0, "甲", CHAT_BODY),
        (1, "b", CHAT_BODY),
    ]
    assert check(path).requests == 2


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True))
def test_any_text_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    """As id and as prompt, written raw (U+2028, U+0085 and the like stand in the file as they are)."""
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    lines = [row(text, url=wire.COMPLETIONS, body={"model": "m", "prompt": text}) for text in texts]
    found = read(path, b"\n".join(lines))
    assert [(line.custom_id, line.body["prompt"]) for line in found] == [(text, text) for text in texts]
    assert check(path).requests == len(texts)


def test_reading_goes_on_where_it_stopped(path: Path) -> None:
    """From the place behind any request come the rest, with the same draws, lines and ends."""
    every = read(path, b"\xef\xbb\xbf\n" + GOOD + b"\r\n\n" + row("b") + b"\n" + row("c"))
    for request in every:
        assert list(read_lines(path, start=request.place)) == every[request.number + 1 :]
    assert every[1].place == Place(every[1].end, 4, 2)


@pytest.mark.parametrize("ended", [True, False])
def test_lines_behind_the_bytes_that_were_checked_are_not_read(path: Path, ended: bool) -> None:
    """Somebody may be writing more of them, half a line at a time."""
    content = row("a") + b"\n\n" + row("b") + (b"\n" if ended else b"")
    path.write_bytes(content + (b"" if ended else b"\n") + row("c")[:20])
    assert [line.custom_id for line in read_lines(path, size=len(content))] == ["a", "b"]
    assert [line.custom_id for line in read_lines(path, size=len(content), skip=lambda number: number == 0)] == ["b"]
    assert list(read_lines(path, size=0)) == []


def test_a_model_for_all_requests_makes_the_bodies_own_unnecessary(path: Path) -> None:
    """Without it a body has to name one."""
    (line,) = read(path, with_body(model=...), model="other")
    assert line.body == {"messages": CHAT_BODY["messages"]}
    assert check(path, "other").requests == 1
    assert why(path, with_body(model=...)).startswith(f"{path}:1: 'body.model' is missing; name one there, or")


DEEP = b"[" * 300 + b"]" * 300  # orjson reads 1024 levels and writes 254
SERVED = "; served are /v1/chat/completions and /v1/completions, and --base-url"
BAD_LINES: list[tuple[str, bytes, str]] = [
    ("cut off", GOOD[:-9], f"not JSON near column {len(GOOD) - 8}: unexpected end of data; mend or drop the line"),
    ("two objects", GOOD + b" " + GOOD, f"not JSON near column {len(GOOD) + 2}: unexpected content after document"),
    ("not a number", GOOD.replace(b'"POST"', b"NaN"), "not JSON near column 27: "),
    ("half a surrogate pair", GOOD.replace(b"tree", b"\\ud83d"), "not JSON near column "),
    (
        "a byte that is not UTF-8",
        GOOD.replace(b"tree", b"\xff"),
        "not UTF-8; convert the file, for instance with iconv",
    ),
    ("GB 18030", GOOD.replace(b"tree", "树".encode("gb18030")), "not UTF-8; convert the file"),
    ("too deep to read", b"[" * 5000, "not JSON near column 1026: depth limit exceeded; mend or drop"),
    ("too deep to write", GOOD.replace(b'"some-model"', b'"m","x":' + DEEP), "'body' is nested too deep; mend or drop"),
    ("a list", b"[1]", "not a JSON object but list; one request a line"),
    ("null", b"null", "not a JSON object but NoneType; one request a line"),
    ("no custom_id", row(...), "'custom_id' is missing; give each request"),
    ("an empty custom_id", row(""), "'custom_id' is ''; give each request"),
    ("a number as custom_id", row(7), "'custom_id' is 7; give each request"),
    ("no method", row(method=...), "'method' is missing; write \"POST\""),
    ("another method", row(method="GET"), "'method' is 'GET'; write \"POST\""),
    ("no url", row(url=...), "'url' is missing" + SERVED),
    ("an API we do not serve", row(url="/v1/embeddings"), "'url' is '/v1/embeddings'" + SERVED),
    ("a whole url", row(url="https://a.b/v1/completions"), "'url' is 'https://a.b/v1/completions'" + SERVED),
    ("a url with a query", row(url=wire.CHAT + "?x=1"), "'url' is '/v1/chat/completions?x=1'" + SERVED),
    ("a url that is a list", row(url=[wire.CHAT]), "'url' is [\"/v1/chat/completions\"]" + SERVED),
    ("a url that would garble the terminal", row(url="\x1b[2J\n"), "'url' is '[2J'" + SERVED),
    ("no body", row(body=...), "'body' is missing; it is the JSON object to send"),
    ("a body that is text", row(body="{}"), "'body' is '{}'; it is the JSON object to send"),
    ("no messages", with_body(messages=..., prompt="A"), "'body.messages' is missing; /v1/chat/completions wants"),
    ("empty messages", with_body(messages=[]), "'body.messages' is []; /v1/chat/completions wants"),
    ("messages that are text", with_body(messages="Hi"), "'body.messages' is 'Hi'; /v1/chat/completions wants"),
    ("a message that is text", with_body(messages=["Hi"]), "'body.messages' is [\"Hi\"]; /v1/chat/completions wants"),
    ("no prompt", row(url=wire.COMPLETIONS), "'body.prompt' is missing; /v1/completions wants a text"),
    ("no prompts", row(url=wire.COMPLETIONS, body={"prompt": []}), "'body.prompt' is []; /v1/completions wants"),
    ("a prompt of no type", row(url=wire.COMPLETIONS, body={"prompt": 1}), "'body.prompt' is 1; /v1/completions wants"),
    ("a stream", with_body(stream=True), "'body.stream' is true, and a stream cannot be recorded; leave it out"),
    ("no model", with_body(model=...), "'body.model' is missing; name one there, or for all requests with --model"),
    ("an empty model", with_body(model=""), "'body.model' is ''; name one there"),
    ("a number as model", with_body(model=4), "'body.model' is 4; name one there"),
]


@pytest.mark.parametrize(("line", "says"), [bad[1:] for bad in BAD_LINES], ids=[bad[0] for bad in BAD_LINES])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_what_is_wrong_with_a_request_names_file_and_line(path: Path, line: bytes, says: str, end: bytes) -> None:
    """Once for the check and once for reading, which gives the requests before it."""
    content = row("z") + end + end + line + end + GOOD + end
    assert why(path, content).startswith(f"{path}:3: {says}")
    requests = read_lines(path)
    assert next(requests).custom_id == "z"
    with pytest.raises(BadData) as problem:
        next(requests)
    assert str(problem.value).startswith(f"{path}:3: {says}")


def test_a_line_of_no_end_is_refused_before_it_fills_the_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the limit, line feed included, it is a request."""
    assert batch_file.LONGEST_LINE == 16 * 2**20
    monkeypatch.setattr(batch_file, "LONGEST_LINE", 2**20)
    longest = with_body(user="x" * (2**20 - 1 - len(with_body(user=""))))
    assert [line.end for line in read(path, longest + b"\n")] == [2**20]
    says = "longer than 1 MiB; one request a line, each line ended"
    assert why(path, b"\n" + longest[:-3] + b'x"}}' + b"\n\n") == f"{path}:2: {says}"
    assert why(path, b" " * 2**21) == f"{path}:1: {says}"


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_a_file_without_a_request_is_no_request_file(path: Path, content: bytes) -> None:
    """It would start a run that has nothing to do."""
    assert why(path, content) == f"{path}: holds no request; expected one JSON object a line"


def test_a_request_file_that_cannot_be_read_says_why(path: Path, tmp_path: Path) -> None:
    """Missing, or a folder; from every reader."""

    def beginning(path: Path) -> bool:
        return batch_file.same_beginning(path, 1, "")

    for reader in (check, beginning, lambda path: list(read_lines(path))):
        with pytest.raises(BadData, match=r"requests\.jsonl: cannot read the requests: No such file"):
            reader(path)
        with pytest.raises(BadData, match="cannot read the requests: Is a directory"):
            reader(tmp_path)


def test_a_pipe_is_refused_since_it_would_be_empty_the_second_time(path: Path) -> None:
    """Otherwise a check would pass and no request would be sent."""
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)  # opened for both, a pipe waits for nobody
    with pytest.raises(BadData, match="is no regular file, and requests are read more than once; save them to a file"):
        check(path)
    os.close(writer)


# --- the check of the whole file ------------------------------------------------------------------------------------


def test_the_check_tells_how_many_requests_and_which_bytes(path: Path) -> None:
    """Size and sha256 are those of the file, blank lines and byte order mark included."""
    content = b"\xef\xbb\xbf\n" + GOOD + b"\r\n\n" + row("b")
    path.write_bytes(content)
    assert check(path) == (2, len(content), hashlib.sha256(content).hexdigest())


def test_an_id_that_stands_twice_names_both_lines(path: Path) -> None:
    """The first such line of the file, however many there are; ids that differ in case or form are different."""
    ids = ["c", "a", "A", "é", "e\u0301", "b", "a", "b", "a", "c"]
    assert why(path, b"\n".join(row(custom_id) for custom_id in ids)) == (
        f"{path}:7: the custom_id 'a' stands in line 2 already; give each request one of its own, it names the result"
    )
    many = b"".join(row(str(number % 500)) + b"\n" for number in range(1500))
    assert why(path, many).startswith(f"{path}:501: the custom_id '0' stands in line 1 already")
    assert why(path, (GOOD + b"\n\n") * 2).startswith(f"{path}:3: the custom_id 'a' stands in line 1 already")


def test_ids_that_only_share_a_hash_are_no_repeat(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hash of one value every id meets every other, and only the equal ones are refused."""
    monkeypatch.setattr(batch_file, "hash", lambda text: 7, raising=False)
    path.write_bytes(b"\n".join(row(custom_id) for custom_id in "abcd"))
    assert check(path).requests == 4
    assert ":5: the custom_id 'b' stands in line 2" in why(path, b"\n".join(row(name) for name in "abcdbc"))


@pytest.mark.parametrize("size", [0, 5, 2**20, 2**20 + 1, 3 * 2**20])
def test_a_file_begins_as_it_was_unless_a_checked_byte_changed(path: Path, size: int) -> None:
    """Appended lines do not matter; a changed or missing byte does, wherever it is."""
    was = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    sha256 = hashlib.sha256(was).hexdigest()
    for now, same in [
        (was, True),
        (was + b"more", True),
        (was[:-1] + b"!", size == 0),
        (b"!" + was[1:], size == 0),
        (was[:-1], size == 0),
    ]:
        path.write_bytes(now)
        assert batch_file.same_beginning(path, size, sha256) is same


# --- sending --------------------------------------------------------------------------------------------------------


def line_with(url: str = wire.CHAT, **body: object) -> RequestLine:
    """A request with this body."""
    return RequestLine(0, 1, "a", url, body, 0)


def test_a_body_is_sealed_with_sorted_keys_and_otherwise_as_it_is() -> None:
    """Two spellings of one body are one call."""
    sealed = b'{"messages":[{"content":"\xe6\xa0\x91","role":"user"}],"model":"m","top_p":0.9}'
    messages = [{"role": "user", "content": "树"}]
    assert sealed_body(line_with(top_p=0.9, model="m", messages=messages)) == sealed
    assert sealed_body(line_with(messages=[dict(reversed(messages[0].items()))], model="m", top_p=0.9)) == sealed


def test_the_options_go_over_the_body() -> None:
    """The model replaces the line's, extra fields go over everything, and the line itself stays as it was."""
    line = line_with(model="m", temperature=1, prompt="A")
    sealed = sealed_body(line, model="other", extra_body={"temperature": 0, "top_k": 5})
    assert orjson.loads(sealed) == {"model": "other", "temperature": 0, "top_k": 5, "prompt": "A"}
    assert line.body == {"model": "m", "temperature": 1, "prompt": "A"}
    assert orjson.loads(sealed_body(line, model="other", extra_body={"model": "third"}))["model"] == "third"


@pytest.mark.parametrize(
    ("url", "own", "sent"),
    [
        (wire.CHAT, {}, {"max_completion_tokens": 9}),
        (wire.CHAT, {"max_tokens": 5}, {"max_tokens": 5}),
        (wire.CHAT, {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        (wire.CHAT, {"max_tokens": None}, {"max_tokens": None, "max_completion_tokens": 9}),
        (wire.CHAT, {"max_completion_tokens": None}, {"max_completion_tokens": 9}),
        (wire.COMPLETIONS, {}, {"max_tokens": 9}),
        (wire.COMPLETIONS, {"max_tokens": 5}, {"max_tokens": 5}),
        (wire.COMPLETIONS, {"max_completion_tokens": 5}, {"max_completion_tokens": 5, "max_tokens": 9}),
    ],
)
def test_a_token_limit_is_added_only_where_a_body_has_none(url: str, own: dict[str, Any], sent: dict[str, Any]) -> None:
    """Under the endpoint's name for chat; null is no limit; the older API knows one name and ignores the other."""
    sealed = sealed_body(line_with(url, **own), max_tokens=9, token_field="max_completion_tokens")
    assert orjson.loads(sealed) == sent
    assert orjson.loads(sealed_body(line_with(url, **own), token_field="max_completion_tokens")) == own


def test_extra_fields_that_no_request_can_carry_are_refused() -> None:
    """Half a surrogate pair on the command line."""
    with pytest.raises(BadData, match="cannot be written as JSON"):
        sealed_body(line_with(model="m"), extra_body={"user": "\ud83d"})


# --- writing --------------------------------------------------------------------------------------------------------


class Strict(BaseModel):
    """No key missing, none too many, no value of a neighbouring type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Response(Strict):
    """What OpenAI documents as ``response``."""

    status_code: int
    request_id: str
    body: dict[str, Any]


class Error(Strict):
    """What OpenAI documents as ``error``."""

    code: str
    message: str


class OutputLine(Strict):
    """A line of an output or error file as OpenAI's API reference documents it; the official client has no type."""

    id: str
    custom_id: str
    response: Response | None
    error: Error | None


def parsed(line: bytes) -> OutputLine:
    """The one line that these bytes are."""
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    return OutputLine.model_validate(json.loads(line))


def test_a_result_is_the_answer_in_openai_s_frame() -> None:
    """Keys in the documented order, and a body the official client's type accepts."""
    line = result_line("a", KEY, ANSWER)
    assert (
        line
        == (
            f'{{"id":"batch_req_{ID}","custom_id":"a","response":{{"status_code":200,"request_id":"req_{ID}","body":'
        ).encode()
        + ANSWER
        + b'},"error":null}\n'
    )
    response = parsed(line).response
    assert response is not None
    assert ChatCompletion.model_validate(response.body).choices[0].message.content == "Oak."


def test_an_answer_stands_in_its_line_digit_for_digit() -> None:
    """Numbers beyond 64 bits or with a zero at the end, repeated keys, escapes and inner blanks are the server's."""
    answer = b'{"a": 123456789012345678901234567890, "b":1.50,"b":1e400, "c":"\\u6811\\ud83d\\ude00\xe2\x80\xa8"}'
    assert b'"body":' + answer + b'},"error":null}\n' in result_line("a", KEY, b" \r\n" + answer + b"\n\n")


def test_an_answer_in_many_lines_comes_in_one() -> None:
    """Line ends and the indentation between its parts go; what is in its texts stays."""
    answer = b'{\r\n  "a": [\n    1.50,\n    12345678901234567890123\n  ],\r  "b": "two  blanks \\n and  more"\n}'
    compact = b'{"a": [1.50,12345678901234567890123],"b": "two  blanks \\n and  more"}'
    assert b'"body":' + compact + b"}," in result_line("a", KEY, answer)
    assert b'"body":{"a":[1]}},' in result_line("a", KEY, b'{"a":[\r1]}')


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.dictionaries(st.text(), json_values, max_size=4),
    st.sampled_from([None, 2, "\t", "\r\n "]),
    st.booleans(),
)
def test_any_id_and_any_answer_survive(
    custom_id: str, answer: dict[str, Any], indent: int | str | None, escape: bool
) -> None:
    """However the server lays its JSON out, the line holds what it said."""
    raw = json.dumps(answer, indent=indent, ensure_ascii=escape).encode("utf-8", "surrogatepass")
    try:
        orjson.loads(raw)  # the gate lets no half surrogate pairs through, nor their bytes
    except orjson.JSONDecodeError:
        return
    line = parsed(result_line(custom_id, KEY, raw))
    assert line.custom_id == custom_id
    assert line.response is not None
    assert line.response.body == answer


@pytest.mark.parametrize("answer", [b"", b"  ", b"[1]", b"<html>", b'{"cut": '])
def test_what_is_no_answer_never_becomes_a_line(answer: bytes) -> None:
    """The gate lets no such thing through; a slip would spoil the whole file for its reader."""
    with pytest.raises(ValueError, match="the answer is no JSON object"):
        result_line("a", KEY, answer)


def test_a_request_that_got_no_response_is_an_error_without_one() -> None:
    """OpenAI's shape for requests that never ran, with our word for why."""
    assert (
        error_line("甲", KEY, "not_sent", "connection refused")
        == (
            f'{{"id":"batch_req_{ID}","custom_id":"甲","response":null,'
            '"error":{"code":"not_sent","message":"connection refused"}}\n'
        ).encode()
    )


def test_a_request_the_server_refused_shows_its_status() -> None:
    """In the response, as OpenAI does, and in the error, where one looks first."""
    error = Error(code="request_refused", message="context too long")
    line = parsed(error_line("a", KEY, "request_refused", "context too long", 400))
    assert line.error == error
    assert line.response == Response(status_code=400, request_id=f"req_{ID}", body={"error": error.model_dump()})


@given(st.text(), st.sampled_from([None, 400, 429]))
def test_any_message_becomes_one_error_line(message: str, status: int | None) -> None:
    """Control characters and half surrogate pairs, from whoever wrote it, reach no file and no terminal."""
    error = parsed(error_line("a", KEY, "code", message, status)).error
    assert error is not None
    assert error.message == "".join(error.message.splitlines())
    assert "\x1b" not in error.message


def test_results_can_be_read_back_by_line_feeds(path: Path) -> None:
    """Texts full of what other readers take for line ends; each line is found again by its id."""
    ends = "\u2028\u2029\x85\x0b\x0c\x1c"
    answers = {f"{number}{ends}": {"text": ends * number} for number in range(3)}
    path.write_bytes(b"".join(result_line(name, KEY, orjson.dumps(answer)) for name, answer in answers.items()))
    with path.open(encoding="utf-8", newline="\n") as file:
        lines = [json.loads(line) for line in file]
    assert {line["custom_id"]: line["response"]["body"] for line in lines} == answers
