"""`selfinstruct complete`: results in OpenAI's shape and the requests' order, each paid for once, whatever happens."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from selfinstruct.models import retrying
from selfinstruct.wire import CHAT, COMPLETIONS
from tests.command import Ended, invoke
from tests.models.loopback import Loopback, Reply, Script, chat, continuation, problem
from tests.request_files import answers, errors, mark, marking, numbered, request, rows, write

GONE = ...


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A server that marks each answer with its request's body."""
    with Loopback(marking) as started:
        yield started


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the test's request file is."""
    return tmp_path / "requests.jsonl"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of the results."""
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two attempts of a call; their number stays."""
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)


@pytest.fixture(autouse=True)
def few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three requests one may fail: what share is too much has a test of its own."""
    monkeypatch.setenv("SELFINSTRUCT_MAX_UNUSABLE", "1")


def served(server: Loopback, file: Path, out: Path, *args: object) -> Ended:
    """``complete`` against the server."""
    return invoke("complete", file, "--out", out, "--base-url", f"{server.url}/v1", *args)


def asked(server: Loopback) -> list[str]:
    """What the users of the requests said that the server has received, sorted: the order of arrival is chance."""
    return sorted(one.json["messages"][0]["content"] for one in server.received)


def failing(troubles: dict[str, Reply]) -> Script:
    """A script that marks each answer, but for requests whose text begins with one of these words."""

    def script(path: str, body: Any, number: int) -> Reply:
        text = body["messages"][0]["content"] if "messages" in body else body["prompt"]
        trouble = next((reply for word, reply in troubles.items() if text.startswith(word)), None)
        return trouble or marking(path, body, number)

    return script


# --- results --------------------------------------------------------------------------------------------------------


def test_concurrency_never_reaches_the_results(file: Path, tmp_path: Path) -> None:
    """One call at a time, 8 and 64, over answers that overtake each other: the same bytes, in the requests' order."""

    async def shuffled(path: str, body: Any, number: int) -> Reply:
        await asyncio.sleep(int(mark(body)[0], 16) / 1000)
        return marking(path, body, number)

    requests = numbered(70)
    write(file, requests)
    written = []
    with Loopback(shuffled) as server:
        for concurrency in (1, 8, 64):
            out = tmp_path / str(concurrency)
            assert served(server, file, out, "--concurrency", concurrency).code == 0
            written.append((out / "results.jsonl").read_bytes())
        assert len(server.received) == 3 * 70
    assert written[0] == written[1] == written[2]
    assert answers(tmp_path / "64") == {one["custom_id"]: mark(one["body"]) for one in requests}
    assert list(answers(tmp_path / "64")) == [one["custom_id"] for one in requests]


def test_a_result_is_the_server_s_answer_in_openai_s_frame(server: Loopback, file: Path, out: Path) -> None:
    """Four keys, the body as it came, and ids that lead to the call in the ledger."""
    one = request("first")
    write(file, [one])
    assert served(server, file, out).code == 0
    (row,) = rows(out / "results.jsonl")
    key = row["id"].removeprefix("batch_req_")
    assert row == {
        "id": f"batch_req_{key}",
        "custom_id": "first",
        "response": {
            "status_code": 200,
            "request_id": f"req_{key}",
            "body": orjson.loads(chat(mark(one["body"]))),
        },
        "error": None,
    }
    assert list(row) == ["id", "custom_id", "response", "error"]
    shown = invoke("show", key, "--run", out.name, "--output-dir", out.parent, "--json")
    assert json.loads(shown.out)["calls"][0]["answer"]["text"] == mark(one["body"])


IDS = [" ", "\t\n\r", "\0", "a\u2028b\u2029c\x85", '"}{\\', "../../etc", "数据 🌲", "é", "e\u0301", "x" * 5000, "null"]


def test_an_id_may_be_any_text(server: Loopback, file: Path, out: Path) -> None:
    """It comes back to the last character, and ends no line."""
    write(file, [request(id, f"Question {n}?") for n, id in enumerate(IDS)])
    assert served(server, file, out).code == 0
    assert [row["custom_id"] for row in rows_by_line_feed(out / "results.jsonl")] == IDS


def rows_by_line_feed(path: Path) -> list[dict[str, Any]]:
    """The lines as a program reads them that takes nothing but a line feed for a line's end."""
    return [orjson.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_one_file_may_ask_both_endpoints(server: Loopback, file: Path, out: Path) -> None:
    """Each line goes where its url says, and its result has the shape of that endpoint."""
    write(file, [request("chat", "Hello"), request("raw", "Once upon", url=COMPLETIONS, max_tokens=7)])
    assert served(server, file, out).code == 0
    assert sorted((one.path, sorted(one.json)) for one in server.received) == [
        (CHAT, ["messages", "model"]),
        (COMPLETIONS, ["max_tokens", "model", "prompt"]),
    ]
    kinds = {row["custom_id"]: row["response"]["body"]["object"] for row in rows(out / "results.jsonl")}
    assert kinds == {"chat": "chat.completion", "raw": "text_completion"}


def whole(**body: Any) -> bytes:
    """An answer with these fields."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return orjson.dumps({"id": "a", "object": "chat.completion", "choices": [choice], "usage": usage} | body)


ANSWERS = {
    "several choices": whole(
        choices=[{"index": k, "message": {"role": "assistant", "content": f"{k}!"}} for k in range(5)]
    ),
    "reasoning of its own": whole(
        choices=[{"index": 0, "message": {"role": "assistant", "content": "4", "reasoning_content": "2 + 2 …"}}]
    ),
    "reasoning in the text": chat("<think>\n2 + 2\n</think>\n\n4"),
    "a long text": chat("Löwe 🦁 " * 100_000),
    "every language": chat("\u2028 \u0000 \ufeff 中文 עברית \U0001f9d1\u200d\U0001f33e é e\u0301"),
    "a call of a tool": whole(
        choices=[{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [{"id": "t"}]}}]
    ),
    "no text at all": chat(""),
    "unheard-of fields": whole(service_tier="x", choices=[*orjson.loads(whole())["choices"]], created=10**19, f=1.50),
}


def test_an_answer_stands_in_its_result_as_it_came(file: Path, out: Path) -> None:
    """Several choices, reasoning, a megabyte, any script: nothing is parsed out of it, nothing left out."""
    write(file, [request(name, name, n=5) for name in ANSWERS])
    with Loopback(lambda path, body, number: (200, {}, ANSWERS[body["messages"][0]["content"]])) as server:
        assert served(server, file, out).code == 0
    lines = (out / "results.jsonl").read_bytes().split(b"\n")
    for (name, answer), line in zip(ANSWERS.items(), lines, strict=False):
        assert orjson.loads(line)["custom_id"] == name
        assert b'"body":' + answer + b"}" in line
    assert len(lines) == len(ANSWERS) + 1


@pytest.mark.parametrize(
    ("before", "between", "after"),
    [
        (b"\xef\xbb\xbf", b"\r\n", b"\r\n"),
        (b"\n\n", b"\n \t\n\n", b""),
        (b"", b"\n", b"\n\n\n"),
    ],
    ids=["Windows", "blank lines and no last line feed", "plain"],
)
def test_what_editors_do_to_a_file_reaches_no_request(
    server: Loopback, file: Path, out: Path, before: bytes, between: bytes, after: bytes
) -> None:
    """Byte order mark, line ends, blank lines; and U+2028 within a text ends no line."""
    requests = [request("a", "one\u2028two"), request("b", "three\x85four")]
    file.write_bytes(before + between.join(json.dumps(one, ensure_ascii=False).encode() for one in requests) + after)
    assert served(server, file, out).code == 0
    assert answers(out) == {one["custom_id"]: mark(one["body"]) for one in requests}


def test_results_belong_to_the_owner(server: Loopback, file: Path, tmp_path: Path) -> None:
    """They are as private as the ledger, also in a folder that was there before and is open to others."""
    write(file, [request("good"), request("bad", "flagged")])
    out = tmp_path / "open"
    out.mkdir(mode=0o755)
    with Loopback(failing({"flagged": (400, {}, problem("flagged by our content policy"))})) as server:
        assert served(server, file, out).code == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
    assert {modes[name] for name in ("results.jsonl", "errors.jsonl", "ledger.sqlite3")} == {0o600}
    assert stat.S_IMODE(out.stat().st_mode) == 0o755


# --- what cannot be answered ----------------------------------------------------------------------------------------

LONG: Reply = (400, {}, problem("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"))
FLAGGED: Reply = (400, {}, problem("Your request was rejected by our safety system.", code="content_policy_violation"))
HTML: Reply = (200, {"Content-Type": "text/html"}, b"<html>Welcome to the hotel</html>")


def test_what_will_never_be_answered_is_in_errors_with_its_class(file: Path, out: Path) -> None:
    """Too long, against a policy, no completion at every try: three verdicts, and none of them keeps the others."""
    write(file, [request("long", "long"), request("flagged", "flagged"), request("html", "html"), request("good")])
    with Loopback(failing({"long": LONG, "flagged": FLAGGED, "html": HTML})) as server:
        ended = served(server, file, out)
        tried = {text: asked(server).count(text) for text in ("long", "flagged", "html")}
        again = served(server, file, out)
        assert len(server.received) == sum(tried.values()) + 1
    assert (ended.code, again.code) == (0, 0)
    assert ended.out.startswith("1 of 4 requests answered, 3 failed, 0 waiting\n")
    assert f"errors   {out}/errors.jsonl\n" in ended.out
    assert tried == {"long": 1, "flagged": 1, "html": retrying.BUDGETS["unusable"]}
    assert errors(out) == {
        "long": ("request_refused", 400),
        "flagged": ("request_refused", 400),
        "html": ("unusable_response", None),
    }
    assert "maximum context length is 8192" in rows(out / "errors.jsonl")[0]["error"]["message"]
    assert list(answers(out)) == ["good"]


def test_more_failures_than_max_unusable_are_an_exit_code(file: Path, out: Path) -> None:
    """3, done all the same."""
    write(file, [request("long", "long"), request("good"), request("fine"), request("well")])
    with Loopback(failing({"long": LONG})) as server:
        ended = served(server, file, out, "--max-unusable", 0.2)
        lenient = served(server, file, out, "--max-unusable", 0.25)
    assert (ended.code, lenient.code) == (3, 0)
    assert "done, but 1 of 4 requests have no answer and will get none (--max-unusable is 20%)" in ended.err
    assert sorted(answers(out)) == ["fine", "good", "well"]


def test_there_is_no_file_of_errors_without_one(server: Loopback, file: Path, out: Path) -> None:
    """And one that is no longer true goes away."""
    write(file, [request("a", "flagged")])
    with Loopback(failing({"flagged": FLAGGED})) as server:
        served(server, file, out)
        assert list(errors(out)) == ["a"]
        write(file, [request("a", "harmless")])
        assert served(server, file, out).code == 0
    assert not (out / "errors.jsonl").exists()
    assert list(answers(out)) == ["a"]


def test_twenty_refusals_and_no_answer_end_the_run_at_once(file: Path, out: Path) -> None:
    """So many bad requests in a row are a wrong setting: 78, long before the money for a thousand of them is gone."""
    write(file, numbered(1000))

    def refusing(path: str, body: Any, number: int) -> Reply:
        right = body.get("temperature") == 0
        return marking(path, body, number) if right else (400, {}, problem("temperature must be 0 for this model"))

    with Loopback(refusing) as server:
        ended = served(server, file, out, "--concurrency", 4)
        assert ended.code == 78
        assert 20 <= len(server.received) <= 24
        assert "the first 20 requests were refused and none answered; the last: " in ended.err
        assert "temperature must be 0 for this model" in ended.err

        # Nothing was answered, so there is nothing to protect: the setting is mended and the same folder goes on.
        refused = len(server.received)
        mended = served(server, file, out, "--extra-body", '{"temperature": 0}')
        assert (mended.code, mended.err) == (0, "")
        assert len(server.received) == refused + 1000
        assert (len(answers(out)), errors(out)) == (1000, {})


@pytest.mark.parametrize("field", ['"stream": true', '"messages": [{"role": "user", "content": "the same"}]'])
def test_what_no_file_of_requests_can_want_is_not_laid_over_it(file: Path, out: Path, field: str) -> None:
    """Every answer would be unreadable, or the same: a usage error, and nothing is made."""
    write(file, [request("a")])
    ended = invoke("complete", file, "--out", out, "--api", "fake", "--extra-body", f"{{{field}}}")
    assert ended.code == 2
    assert "is not for every request" in ended.err
    assert not out.exists()


def test_a_poisoned_request_keeps_no_other_from_its_answer(file: Path, out: Path) -> None:
    """One line that is a server error for ever: the others are answered, exit code 75 with the way to give it up."""
    write(file, [*numbered(30), request("poison", "poison"), *numbered(30, 30)])
    with Loopback(failing({"poison": (500, {}, problem("internal error"))})) as server:
        ended = served(server, file, out, "--concurrency", 4)
        assert asked(server).count("poison") == retrying.BUDGETS["server error"]
    assert ended.code == 75
    assert ended.out.startswith("60 of 61 requests answered, 0 failed, 1 waiting\n")
    assert ended.out.endswith("next     run the same command again to go on\n")
    assert "1 requests have no answer yet; line 31: " in ended.err
    assert len(answers(out)) == 60
    advice = ended.err.rpartition("give this one up with  selfinstruct ")[2].split()
    assert advice[:2] == ["skip", str(out)]
    assert invoke(*advice).code == 0
    with Loopback(marking) as nobody:
        assert served(server, file, out).code == 0
        assert nobody.received == []
    assert (len(answers(out)), errors(out)) == (60, {"poison": ("skipped", None)})


def test_a_provider_that_wants_to_be_left_alone_for_long_ends_the_run(file: Path, out: Path) -> None:
    """75 at once, with how long it asks for; an hour is not waited for."""
    write(file, numbered(50))
    with Loopback(lambda *_: (429, {"Retry-After": "3600"}, problem("come back later"))) as server:
        ended = served(server, file, out, "--concurrency", 2)
        assert len(server.received) <= 2
    assert ended.code == 75
    assert "the server asks to wait 3600 s" in ended.err


def test_a_model_the_server_does_not_have_is_one_line_with_those_it_has(file: Path, out: Path) -> None:
    """78, and nothing is held against the requests."""

    def script(path: str, body: Any, number: int) -> Reply:
        if path.endswith("/models"):
            return 200, {}, orjson.dumps({"data": [{"id": "qwen3-8b"}, {"id": "llama"}]})
        return 404, {}, problem("The model `qwen3-8` does not exist", code="model_not_found")

    write(file, numbered(50))
    with Loopback(script) as server:
        ended = served(server, file, out, "--model", "qwen3-8", "--concurrency", 2)
    assert ended.code == 78
    assert "does not exist" in ended.err
    assert "the server offers qwen3-8b" in ended.err
    assert errors(out) == {}


# --- again ----------------------------------------------------------------------------------------------------------


def test_the_same_command_again_asks_nothing_and_writes_nothing(server: Loopback, file: Path, out: Path) -> None:
    """What was recorded is what is there, to the file's very inode."""
    write(file, numbered(20))
    first = served(server, file, out)
    before = (out / "results.jsonl").stat()
    again = served(server, file, out)
    after = (out / "results.jsonl").stat()
    assert (first.code, again.code, len(server.received)) == (0, 0, 20)
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert "20 new calls, 200 tokens" in first.out
    assert "0 new calls, 0 tokens" in again.out


def test_appended_lines_alone_are_asked(server: Loopback, file: Path, out: Path) -> None:
    """Also behind a last line that had no line feed; the results of the others stay as they are, in front."""
    write(file, numbered(5))
    file.write_bytes(file.read_bytes().rstrip())
    assert served(server, file, out).code == 0
    before = (out / "results.jsonl").read_bytes()
    server.received.clear()
    with file.open("ab") as more:
        more.write(b"\n" + orjson.dumps(request("r-5", "Question 5?")))
    assert served(server, file, out).code == 0
    assert asked(server) == ["Question 5?"]
    assert (out / "results.jsonl").read_bytes().startswith(before)
    assert list(answers(out)) == [f"r-{n}" for n in range(6)]


def test_an_edited_line_alone_is_asked_again(server: Loopback, file: Path, out: Path) -> None:
    """Its old answer is never served for it; edited back, the line has its old answer again, for nothing."""
    requests = numbered(6)
    write(file, requests)
    assert served(server, file, out).code == 0
    first = (out / "results.jsonl").read_bytes()
    server.received.clear()

    edited = [*requests[:2], request("r-2", "Something else?"), *requests[3:]]
    write(file, edited)
    assert served(server, file, out).code == 0
    assert asked(server) == ["Something else?"]
    assert answers(out) == {one["custom_id"]: mark(one["body"]) for one in edited}

    write(file, requests)
    assert served(server, file, out).code == 0
    assert asked(server) == ["Something else?"]
    assert (out / "results.jsonl").read_bytes() == first


def test_an_edited_line_that_is_refused_has_no_result(file: Path, out: Path) -> None:
    """The answer to what stood there before is not one to what stands there now."""
    write(file, numbered(3))
    with Loopback(failing({"flagged": FLAGGED})) as server:
        assert served(server, file, out).code == 0
        write(file, [*numbered(2), request("r-2", "flagged")])
        assert served(server, file, out).code == 0
    assert list(answers(out)) == ["r-0", "r-1"]
    assert list(errors(out)) == ["r-2"]


def test_an_id_or_a_blank_line_is_no_part_of_a_call(server: Loopback, file: Path, out: Path) -> None:
    """Renamed, or moved down by an empty line, a request has the answer it had."""
    write(file, numbered(3))
    assert served(server, file, out).code == 0
    renamed = [one | {"custom_id": f"new {n}"} for n, one in enumerate(numbered(3))]
    file.write_bytes(b"\n\n" + write(file, renamed).read_bytes())
    assert served(server, file, out).code == 0
    assert len(server.received) == 3
    assert list(answers(out).values()) == [mark(one["body"]) for one in numbered(3)]
    assert list(answers(out)) == ["new 0", "new 1", "new 2"]


RICH: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.9,
    "max_tokens": 100,
    "n": 2,
    "seed": 7,
    "stop": ["\n\n"],
    "presence_penalty": 0,
    "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}],
    "response_format": {"type": "json_object"},
    "user": "somebody",
    "metadata": {"batch": "1"},
}
FLIPS: list[dict[str, Any]] = [
    {"model": "another-model"},
    {"messages": [{"role": "user", "content": "Name a tree!"}]},
    {"messages": [{"role": "system", "content": "Name a tree."}]},
    {"messages": [{"role": "user", "content": "Name a tree.", "name": "ann"}]},
    {"messages": [{"role": "user", "content": "Name a tree."}, {"role": "user", "content": ""}]},
    {"temperature": 0.71},
    {"temperature": GONE},
    {"temperature": None},
    {"top_p": 0.91},
    {"max_tokens": 101},
    {"max_tokens": GONE, "max_completion_tokens": 100},
    {"n": 1},
    {"seed": 8},
    {"stop": ["\n"]},
    {"stop": "\n\n"},
    {"presence_penalty": 0.5},
    {"tools": []},
    {"tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "array"}}}]},
    {"response_format": {"type": "text"}},
    {"user": "Somebody"},
    {"metadata": {"batch": 1}},
    {"logprobs": True},
]


def test_every_field_of_a_body_is_part_of_its_call(server: Loopback, file: Path, out: Path) -> None:
    """Whichever is changed, added or taken away: the request is asked anew, and the unchanged one beside it is not."""
    before = [request(f"r-{n}", **RICH) for n in range(len(FLIPS) + 1)]
    after = [before[0], *(request(f"r-{n}", **RICH | flip) for n, flip in enumerate(FLIPS, 1))]
    write(file, before)
    assert served(server, file, out).code == 0
    server.received.clear()
    write(file, after)
    assert served(server, file, out).code == 0
    received = [one.body for one in server.received]
    assert sorted(received) == sorted(orjson.dumps(one["body"], option=orjson.OPT_SORT_KEYS) for one in after[1:])
    assert answers(out) == {one["custom_id"]: mark(one["body"]) for one in after}


def test_the_order_of_a_body_s_fields_is_no_part_of_its_call(server: Loopback, file: Path, out: Path) -> None:
    """A program that writes the same request with its keys in another order has not changed it."""
    write(file, [request(**RICH)])
    assert served(server, file, out).code == 0
    one = request(**RICH)
    write(file, [{name: one[name] for name in reversed(one)} | {"body": dict(reversed(one["body"].items()))}])
    assert served(server, file, out).code == 0
    assert len(server.received) == 1


def test_a_presets_oddities_are_no_part_of_the_run(
    server: Loopback, file: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies are sent as they were written, so a preset that learns more must not stop a run that goes on."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "k")
    write(file, [request(model="qwen-plus", top_p=0.0)])
    assert served(server, file, out, "--endpoint", "dashscope").code == 0
    assert server.received[0].json["top_p"] == 0.0
    model = json.loads((out / "complete" / "stage.json").read_bytes())["identity"]["model"]
    assert (model["limits"], model["omit"], model["json_mode"]) == ({}, [], "json_schema")


def test_the_endpoint_is_part_of_its_call(server: Loopback, file: Path, out: Path) -> None:
    """The same body sent to the other path is another call."""
    both = request(prompt="Name a tree.")
    write(file, [both])
    assert served(server, file, out).code == 0
    write(file, [both | {"url": COMPLETIONS}])
    assert served(server, file, out).code == 0
    assert [one.path for one in server.received] == [CHAT, COMPLETIONS]


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        ((), ("--model", "other"), "model.model: '' -> 'other'"),
        (("--model", "some"), ("--model", "other"), "model.model: 'some' -> 'other'"),
        ((), ("--extra-body", '{"top_k": 3}'), "model.extra_body"),
        (("--extra-body", '{"a": {"b": 1}}'), ("--extra-body", '{"a": {"b": 2}}'), "model.extra_body.a.b: 1 -> 2"),
        ((), ("--max-tokens", 5), "max_tokens: None -> 5"),
        (("--max-tokens", 5), ("--max-tokens", 6), "max_tokens: 5 -> 6"),
        ((), ("--api", "completion"), "model.api: 'chat' -> 'completion'"),
    ],
)
def test_a_folder_keeps_the_settings_its_answers_were_made_with(
    server: Loopback, file: Path, out: Path, first: tuple[object, ...], second: tuple[object, ...], difference: str
) -> None:
    """78 with the difference, before a call is made; nothing in the folder changes."""
    write(file, numbered(3))
    assert served(server, file, out, *first).code == 0
    before = {path.name: path.read_bytes() for path in out.rglob("*") if path.suffix in (".json", ".jsonl")}
    ended = served(server, file, out, *second)
    assert (ended.code, ended.out) == (78, "")
    assert difference in ended.err
    assert len(server.received) == 3
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.suffix in (".json", ".jsonl")} == before


def test_a_folder_keeps_the_address_its_answers_came_from(server: Loopback, file: Path, out: Path) -> None:
    """78 with both addresses, and neither server is asked."""
    write(file, numbered(3))
    assert served(server, file, out).code == 0
    with Loopback(marking) as other:
        ended = served(other, file, out)
        assert (ended.code, other.received, len(server.received)) == (78, [], 3)
        assert f"model.identity: '{server.url}/v1' -> '{other.url}/v1'" in ended.err


def test_what_is_no_part_of_an_answer_may_change_between_two_starts(server: Loopback, file: Path, out: Path) -> None:
    """Pace, patience and caps; and the file of requests may have moved."""
    write(file, numbered(3))
    assert served(server, file, out).code == 0
    moved = file.rename(file.with_name("moved.jsonl"))
    changed = ("--concurrency", 3, "--rpm", 6000, "--tpm", 10**9, "--timeout", 9, "--deadline", "1h")
    assert served(server, moved, out, *changed, "--give-up-after", "5m", "--max-calls", 9).code == 0
    assert len(server.received) == 3
    assert json.loads((out / "complete" / "requests.json").read_bytes())["path"] == str(moved)


# --- what is sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "own", "sent"),
    [
        ((), {}, {}),
        (("--max-tokens", 50), {}, {"max_tokens": 50}),
        (("--max-calls", 9), {}, {"max_tokens": 1024}),
        (("--max-tokens-total", 10**6), {}, {"max_tokens": 1024}),
        (("--max-cost", "1usd", "--price", "in=1,out=1"), {}, {"max_tokens": 1024}),
        (("--max-calls", 9, "--max-tokens", 50), {}, {"max_tokens": 50}),
        (("--max-calls", 9), {"max_tokens": 3}, {"max_tokens": 3}),
        (("--max-tokens", 50), {"max_completion_tokens": 3}, {"max_completion_tokens": 3}),
        (("--max-tokens", 50), {"max_tokens": None}, {"max_tokens": 50}),
        (("--max-calls", 9, "--extra-body", '{"max_tokens": 4}'), {}, {"max_tokens": 4}),
    ],
)
def test_a_token_limit_is_sent_where_a_cap_or_the_user_wants_one(
    server: Loopback, file: Path, out: Path, args: tuple[object, ...], own: dict[str, Any], sent: dict[str, Any]
) -> None:
    """And the body's own limit stays what it is."""
    write(file, [request(**own)])
    assert served(server, file, out, *args).code == 0
    (received,) = server.received
    assert received.json == request(**sent)["body"]


def test_a_cap_that_comes_later_asks_nothing_again(server: Loopback, file: Path, out: Path) -> None:
    """Though what is sent now carries a limit: answers without one stay those of their lines, and so the other way."""
    write(file, numbered(3))
    assert served(server, file, out).code == 0
    write(file, numbered(5))
    assert served(server, file, out, "--max-calls", 100).code == 0
    limits = [one.json.get("max_tokens") for one in server.received]
    assert sorted(limits, key=str) == [1024, 1024, None, None, None]

    write(file, [*numbered(2), request("r-2", "edited"), *numbered(3, 3)])
    assert served(server, file, out).code == 0
    assert [one.json["messages"][0]["content"] for one in server.received[5:]] in (
        ["edited", "Question 5?"],
        ["Question 5?", "edited"],
    )
    assert served(server, file, out, "--max-calls", 100).code == 0
    assert len(server.received) == 7
    assert list(answers(out)) == [f"r-{n}" for n in range(6)]


def test_fields_of_extra_body_go_over_every_body(server: Loopback, file: Path, out: Path) -> None:
    """They are added where a body has none and replace what it has, whole."""
    extra: dict[str, Any] = {"temperature": 0, "chat_template_kwargs": {"enable_thinking": False}, "metadata": {"a": 1}}
    write(file, [request("a"), request("b", temperature=1, metadata={"b": 2}, top_p=1)])
    assert served(server, file, out, "--extra-body", json.dumps(extra), "--concurrency", 1).code == 0
    assert [one.json for one in server.received] == [request(**extra)["body"], request(**extra, top_p=1)["body"]]


def test_a_model_for_all_takes_the_place_of_each_body_s_own(server: Loopback, file: Path, out: Path) -> None:
    """And of none at all."""
    write(file, [request("a"), request("b", model=GONE)])
    assert served(server, file, out, "--model", "the-one").code == 0
    assert [one.json["model"] for one in server.received] == ["the-one", "the-one"]


def test_a_cap_ends_the_run_and_a_larger_one_goes_on(server: Loopback, file: Path, out: Path) -> None:
    """Exit code 4 with the calls that were allowed, over all starts; then the rest, and no call twice."""
    write(file, numbered(10))
    ended = served(server, file, out, "--max-calls", 4)
    assert (ended.code, len(server.received), len(answers(out))) == (4, 4, 4)
    assert ended.out.startswith("4 of 10 requests answered, 0 failed, 6 waiting\n")
    assert "--max-calls 4 is reached: 4 calls made" in ended.err
    assert (served(server, file, out, "--max-calls", 4).code, len(server.received)) == (4, 4)
    assert (served(server, file, out, "--max-calls", 10).code, len(server.received)) == (0, 10)
    assert list(answers(out)) == [f"r-{n}" for n in range(10)]


def test_a_deadline_waits_for_what_is_in_flight(file: Path, out: Path) -> None:
    """Exit code 4; each call that had left is answered and recorded, no other leaves, and that is said."""

    async def slow(path: str, body: Any, number: int) -> Reply:
        await asyncio.sleep(0.5)
        return marking(path, body, number)

    write(file, numbered(50))
    with Loopback(slow) as server:
        ended = served(server, file, out, "--deadline", 0.2, "--concurrency", 3, "--json")
        assert len(server.received) == 3
    account = json.loads(ended.out)
    assert (ended.code, account["answered"], account["waiting"]) == (4, 3, 47)
    assert ended.err.splitlines()[0].startswith("stopping: waiting for the calls in flight")
    assert "--deadline is reached" in ended.err.splitlines()[1]
    assert len(answers(out)) == 3


def test_a_request_whose_cost_has_no_bound_is_named_under_a_cap(server: Loopback, file: Path, out: Path) -> None:
    """65 with file and line: a cap that does not count it would be none. Without a cap it is asked like any other."""
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    write(file, [request("a"), request("b", messages=[{"role": "user", "content": picture}])])
    ended = served(server, file, out, "--max-tokens-total", 9999)
    assert ended.code == 65
    assert f"{file}:2: a message has a part of type 'image_url'" in ended.err
    assert picture not in [one.json["messages"][0]["content"] for one in server.received]
    assert served(server, file, out).code == 0
    assert list(answers(out)) == ["a", "b"]


# --- before anything is sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"custom_id": "r-1", "method": "POST"', ":4: not JSON near column 38"),
        (orjson.dumps(request("r-1")), ":4: the custom_id 'r-1' stands in line 2 already"),
        (orjson.dumps(request("x") | {"url": "/v1/embeddings"}), ":4: 'url' is '/v1/embeddings'; served are"),
        (orjson.dumps(request("x", stream=True)), ":4: 'body.stream' is true"),
        (orjson.dumps(request("x", model=GONE)), ":4: 'body.model' is missing"),
        (b"\xff\xfe{}", ":4: not UTF-8"),
    ],
)
def test_a_bad_line_is_found_before_anything_is_paid(
    server: Loopback, file: Path, tmp_path: Path, line: bytes, says: str
) -> None:
    """65 with file and line, no call, and no folder left behind."""
    write(file, numbered(3))
    file.write_bytes(file.read_bytes() + line + b"\n")
    ended = served(server, file, tmp_path / "deep" / "out")
    assert (ended.code, ended.out, server.received) == (65, "", [])
    assert f"{file}{says}" in ended.err
    assert ended.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [file]


def test_a_bad_line_that_is_appended_leaves_the_folder_as_it_was(server: Loopback, file: Path, out: Path) -> None:
    """65; mended, the run goes on."""
    write(file, numbered(3))
    assert served(server, file, out).code == 0
    before = {path.name: path.read_bytes() for path in out.rglob("*.json*")}
    good = file.read_bytes()
    file.write_bytes(good + b"{")
    ended = served(server, file, out)
    assert (ended.code, ended.out) == (65, "")
    assert {path.name: path.read_bytes() for path in out.rglob("*.json*")} == before
    file.write_bytes(good + orjson.dumps(request("r-3", "Question 3?")))
    assert served(server, file, out).code == 0
    assert (len(server.received), len(answers(out))) == (4, 4)


@pytest.mark.parametrize(("name", "why"), [("gone.jsonl", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_one_line(server: Loopback, tmp_path: Path, name: str, why: str) -> None:
    """65, naming it."""
    ended = served(server, tmp_path / name, tmp_path / "out")
    assert (ended.code, ended.out, server.received) == (65, "", [])
    assert f"{tmp_path / name}: cannot read the requests: {why}" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(server: Loopback, file: Path, tmp_path: Path) -> None:
    """74: a file in its place, or in its way."""
    write(file, numbered(3))
    for out in (file, file / "deep" / "out"):
        ended = served(server, file, out)
        assert (ended.code, ended.out, server.received) == (74, "", [])
        assert f"{out}: cannot write here" in ended.err
    assert list(tmp_path.iterdir()) == [file]


def test_results_that_cannot_be_written_lose_no_answer(server: Loopback, file: Path, out: Path) -> None:
    """74, and once the way is free the same command writes them without a call."""
    write(file, numbered(3))
    (out / "results.jsonl").mkdir(parents=True)
    ended = served(server, file, out)
    assert (ended.code, len(server.received)) == (74, 3)
    assert f"{out}/results.jsonl: cannot write: Is a directory; nothing recorded is lost" in ended.err
    (out / "results.jsonl").rmdir()
    assert served(server, file, out).code == 0
    assert (len(server.received), len(answers(out))) == (3, 3)


def test_results_that_are_read_only_are_replaced(server: Loopback, file: Path, out: Path) -> None:
    """By one rename, so whoever reads the old ones goes on reading them."""
    write(file, numbered(3))
    assert served(server, file, out).code == 0
    (out / "results.jsonl").chmod(0o400)
    with (out / "results.jsonl").open("rb") as reader:
        write(file, numbered(4))
        assert served(server, file, out).code == 0
        assert len(reader.readlines()) == 3
    assert len(answers(out)) == 4


def test_a_key_is_asked_for_before_a_folder_is_made(file: Path, tmp_path: Path) -> None:
    """77 for OpenAI's own address without one."""
    write(file, numbered(3))
    ended = invoke("complete", file, "--out", tmp_path / "out", OPENAI_API_KEY="")
    assert (ended.code, ended.out) == (77, "")
    assert "OPENAI_API_KEY" in ended.err
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "--out is missing"),
        (("--out", "o", "--extra-body", "{"), "--extra-body: not JSON"),
        (("--out", "o", "--extra-body", "[1]"), "--extra-body: expected a JSON object"),
        (("--out", "o", "--max-tokens", "0"), "--max-tokens"),
        (("--out", "o", "--max-cost", "much"), "--max-cost"),
        (("--out", "o", "--api", "carrier-pigeon"), "--api"),
    ],
)
def test_an_option_that_makes_no_sense_is_a_usage_error(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], says: str
) -> None:
    """2, or 78 where the same value could stand in the environment; one line that names it."""
    monkeypatch.chdir(tmp_path)
    write(file, numbered(1))
    ended = invoke("complete", file, *args)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert list(tmp_path.iterdir()) == [file]


# --- what is printed ------------------------------------------------------------------------------------------------


def test_json_is_the_whole_of_standard_output(file: Path, out: Path) -> None:
    """One value, with the counts of the files, and the money where a price is known."""
    write(file, [request("long", "long"), *(request(f"r-{n}", f"{n}?", max_tokens=9) for n in range(3))])
    with Loopback(failing({"long": LONG})) as server:
        ended = served(server, file, out, "--json", "--price", "in=1,out=2")
    assert (ended.code, ended.err) == (0, "")
    account = json.loads(ended.out)
    seconds = account.pop("seconds")
    assert account == {
        "path": str(out),
        "requests": 4,
        "answered": 3,
        "failed": 1,
        "waiting": 0,
        "new_calls": 3,
        "new_tokens": 30,
        "money": {
            "currency": "usd",
            "spent": "0.000039",  # three answers of 7 and 3 tokens
            "reserved": "0",
            "ambiguous": "0",
            "waste": {},
            "unpriced_calls": 0,
        },
        "stopped_by": None,
        "next": "",
    }
    assert 0 < seconds < 60


def test_json_stays_json_when_the_run_fails(file: Path, out: Path) -> None:
    """The error goes to standard error, the account so far to standard output."""
    write(file, numbered(50))

    def script(path: str, body: Any, number: int) -> Reply:
        return marking(path, body, number) if number < 10 else (401, {}, problem("bad key"))

    with Loopback(script) as server:
        ended = served(server, file, out, "--json", "--concurrency", 1)
    assert ended.code == 77
    account = json.loads(ended.out)
    assert (account["answered"], account["waiting"], account["failed"]) == (10, 40, 0)
    assert account["next"] == "mend what the last line says; then the same command goes on"
    assert "bad key" in account["stopped_by"]
    assert ended.err == f"selfinstruct: {account['stopped_by']}\n"
    assert len(answers(out)) == 10


def test_quiet_prints_nothing(server: Loopback, file: Path, out: Path) -> None:
    """For cron, which mails what is printed."""
    write(file, numbered(3))
    assert served(server, file, out, "--quiet") == Ended(0, "", "")


def test_events_are_json_on_standard_error(server: Loopback, file: Path, out: Path) -> None:
    """The start and the end at least, each one object a line; standard output is the table as ever."""
    write(file, numbered(3))
    ended = served(server, file, out, "--log-format", "json")
    events = [json.loads(line) for line in ended.err.splitlines()]
    assert [event["event"] for event in events] == ["started", "stopped"]
    assert {event["run"] for event in events} == {str(out)}
    assert (events[-1]["exit_code"], events[-1]["reason"]) == (0, None)
    assert ended.out.startswith("3 of 3 requests answered")


# --- without a server -----------------------------------------------------------------------------------------------


def test_the_script_answers_without_a_server(file: Path, out: Path) -> None:
    """`--api fake`: the same path, the same files, no network and no key."""
    write(file, [*numbered(30), request("raw", "Once", url=COMPLETIONS)])
    ended = invoke("complete", file, "--out", out, "--api", "fake", OPENAI_API_KEY="")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("31 of 31 requests answered, 0 failed, 0 waiting\n")
    assert list(answers(out)) == [*(f"r-{n}" for n in range(30)), "raw"]
    assert all("(scripted)" in text for text in answers(out).values())


def test_a_replay_needs_no_server_and_gives_the_same_files(file: Path, out: Path, tmp_path: Path) -> None:
    """Answers and verdicts of every class come from the recorded ledger, which is not touched."""
    write(file, [request("long", "long"), *numbered(5), request("html", "html"), request("raw", "x", url=COMPLETIONS)])
    settings = ("--max-tokens", 60, "--extra-body", '{"top_k": 4}')
    with Loopback(failing({"long": LONG, "html": HTML})) as server:
        assert served(server, file, out, *settings).code == 0
    recorded = (out / "ledger.sqlite3").read_bytes()
    again = tmp_path / "again"
    ended = invoke("complete", file, "--out", again, "--api", "replay", "--replay-from", out, *settings)
    assert (ended.code, ended.err) == (0, "")
    for name in ("results.jsonl", "errors.jsonl"):
        assert (again / name).read_bytes() == (out / name).read_bytes()
    assert (out / "ledger.sqlite3").read_bytes() == recorded


def test_a_replay_of_another_request_shows_the_difference(server: Loopback, file: Path, out: Path) -> None:
    """78, and what was asked there then; the requests that are the same are answered."""
    write(file, numbered(3))
    assert served(server, file, out).code == 0
    write(file, [*numbered(2), request("r-2", "Question 2!")])
    ended = invoke("complete", file, "--out", out / "again", "--api", "replay", "--replay-from", out)
    assert ended.code == 78
    assert "holds no answer for complete/0/2/0/0; the call recorded there differs:" in ended.err
    assert '-      "content": "Question 2?",' in ended.err
    assert '+      "content": "Question 2!",' in ended.err


def test_text_of_a_raw_answer_is_a_result_too(file: Path, out: Path) -> None:
    """An answer of the older endpoint stands in its result as it came."""
    write(file, [request("raw", "Once", url=COMPLETIONS)])
    with Loopback(lambda *_: (200, {}, continuation(" upon a time"))) as server:
        assert served(server, file, out).code == 0
    assert answers(out) == {"raw": " upon a time"}
