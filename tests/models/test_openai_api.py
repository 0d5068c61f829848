"""The backend for OpenAI-compatible servers: what it sends, what it makes of every way to fail, what it never leaks."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.base_url import ApiKey
from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    MaybeExecuted,
    ModelError,
    NotSent,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnknownModel,
    UnusableResponse,
)
from selfinstruct.models.openai_api import OpenAIModel, retry_after
from selfinstruct.schema import Completion, Draw, Endpoint, Message, Request
from tests.models.loopback import Loopback, Reply, chat, continuation, problem

ENDPOINT = Endpoint(identity="configured", model="m")
DRAW = Draw(stage="s", round=0, slot=0)
RAW = Request(draw=DRAW, prompt="Once")
CHAT = Request(draw=DRAW, messages=(Message(role="user", content="Hi"),))
KEY = "sk-canary-0123456789"


async def ask(
    url: str, request: Request = RAW, *, key: str | None = KEY, timeout: float = 20, max_bytes: int = 2**20
) -> Completion:
    """One request through a model of its own."""
    model = OpenAIModel(ENDPOINT, url, ApiKey(key) if key else None, timeout=timeout, max_bytes=max_bytes)
    try:
        return await model.complete(request)
    finally:
        await model.aclose()


@asynccontextmanager
async def raw_server(answer: bytes, *, pause: float = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that reads a request and then says these bytes, HTTP or not, and hangs up; ``pause`` after each byte."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            try:
                await reader.read(1)
                for piece in [bytes([byte]) for byte in answer] if pause else [answer]:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)
            finally:
                writer.close()
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(serve(reader, writer)))

    tasks: list[asyncio.Future[None]] = []
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- what is sent ---------------------------------------------------------------------------------------------------


async def test_a_request_goes_to_its_path_with_the_key_in_one_header() -> None:
    """And with nothing else that could tell who sent it."""
    with Loopback(lambda path, body, n: (200, {}, chat("Hello"))) as server:
        completion = await ask(server.url, CHAT)
    (received,) = server.received
    assert completion.text == "Hello"
    assert received.path == "/v1/chat/completions"
    assert received.body == b'{"max_tokens":1024,"messages":[{"content":"Hi","role":"user"}],"model":"m"}'
    assert received.headers["Authorization"] == f"Bearer {KEY}"
    assert received.headers["Content-Type"] == "application/json"
    assert set(received.headers) - {"Host", "Accept", "Accept-Encoding", "Content-Length"} == {
        "Authorization",
        "Content-Type",
        "User-Agent",
    }


@pytest.mark.parametrize(("base", "path"), [("", "/v1"), ("/v1/", "/v1"), ("/api/paas/v4", "/api/paas/v4")])
async def test_the_path_follows_the_base_url(base: str, path: str) -> None:
    """With or without ``/v1``, and for APIs that count differently."""
    with Loopback(lambda path, body, n: (200, {}, continuation(" upon"))) as server:
        assert (await ask(server.url + base)).text == " upon"
    assert server.received[0].path == f"{path}/completions"


async def test_without_a_key_no_key_is_sent() -> None:
    """A server of one's own needs none."""
    with Loopback(lambda path, body, n: (200, {}, continuation("a"))) as server:
        await ask(server.url, key=None)
        await ask(server.url, key=" \n")
    assert ["Authorization" in received.headers for received in server.received] == [False, False]


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\r\nX-Evil: 1", "sk-ключ"])
def test_a_key_no_header_can_carry_is_refused_before_anything_is_sent(key: str) -> None:
    """Most often it was pasted with something else; it is not repeated."""
    with pytest.raises(AccessDenied) as refusal:
        OpenAIModel(ENDPOINT, "https://api.example.com", ApiKey(key))
    assert key not in str(refusal.value)


def test_a_key_never_leaves_this_machine_unencrypted() -> None:
    """Not even once, to find out."""
    with pytest.raises(ConfigProblem, match="unencrypted"):
        OpenAIModel(ENDPOINT, "http://api.example.com", ApiKey(KEY))


async def test_cookies_are_neither_kept_nor_sent() -> None:
    """Requests do not depend on those before."""
    with Loopback(lambda path, body, n: (200, {"Set-Cookie": "who=you"}, continuation("a"))) as server:
        model = OpenAIModel(ENDPOINT, server.url.replace("127.0.0.1", "localhost"))  # addresses have no cookies anyway
        await model.complete(RAW)
        await model.complete(RAW)
        await model.aclose()
    assert ["Cookie" in received.headers for received in server.received] == [False, False]


async def test_the_environments_proxy_serves_other_machines_and_not_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without looking a name up: that is the proxy's business. ``NO_PROXY`` holds."""
    with Loopback(lambda path, body, n: (200, {}, continuation("a"))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        await ask("http://model.invalid", key=None)
        with Loopback(lambda path, body, n: (200, {}, continuation("a"))) as server:
            await ask(server.url)
        monkeypatch.setenv("no_proxy", "model.invalid")
        with pytest.raises(NotSent):
            await ask("http://model.invalid", key=None)
    assert [received.headers["Host"] for received in proxy.received] == ["model.invalid"]
    assert len(server.received) == 1


# --- every way to fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (429, problem("slow down"), Rejected),
        (503, problem("overloaded"), Rejected),
        (500, problem("oops"), MaybeExecuted),
        (429, problem("all spent", code="insufficient_quota"), AccessDenied),
        (401, problem("wrong key"), AccessDenied),
        (404, problem("no such model", code="model_not_found"), UnknownModel),
        (404, b"Not Found", ConfigProblem),
        (400, problem("too long", code="context_length_exceeded"), RequestRefused),
        (200, b"<html>Welcome</html>", UnusableResponse),
        (200, b"", UnusableResponse),
        (204, b"", UnusableResponse),
    ],
)
async def test_an_error_answer_becomes_the_error_it_means(status: int, answer: bytes, kind: type[Exception]) -> None:
    """And says which URL gave it; the whole table is tested with `wire_errors`."""
    with Loopback(lambda path, body, n: (status, {}, answer)) as server, pytest.raises(kind) as raised:
        await ask(server.url)
    assert type(raised.value) is kind
    assert server.url in str(raised.value)
    assert len(server.received) == 1


async def test_a_refused_field_names_the_line_that_cures_it() -> None:
    """The fields that were sent are known here."""
    answer = problem("Unsupported parameter", param="max_tokens")
    with (
        Loopback(lambda path, body, n: (400, {}, answer)) as server,
        pytest.raises(ConfigProblem, match='write token_field = "max_completion_tokens"'),
    ):
        await ask(server.url, CHAT)


async def test_the_servers_wish_comes_with_the_error() -> None:
    """For whoever tries again."""
    with Loopback(lambda path, body, n: (429, {"Retry-After": "12"}, b"")) as server, pytest.raises(Rejected) as raised:
        await ask(server.url)
    assert raised.value.retry_after == 12.0


async def test_the_key_is_in_no_message_and_no_completion() -> None:
    """Also where a server sends it back: in an error, in a page, in a text."""
    echo = f"You said: Bearer {KEY}"
    replies: list[Reply] = [(401, {}, problem(echo)), (500, {}, echo.encode()), (200, {}, echo.encode())]
    with Loopback(lambda path, body, n: replies[n] if n < 3 else (200, {}, continuation(echo))) as server:
        for _ in replies:
            with pytest.raises(SelfinstructError) as raised:
                await ask(server.url)
            assert KEY not in str(raised.value)
            assert "[key]" in str(raised.value)
        completion = await ask(server.url)
    assert completion.text == "You said: Bearer [key]"
    assert KEY.encode() not in completion.raw


async def test_a_redirect_is_not_followed() -> None:
    """Neither key nor prompt goes to a host that was not configured."""
    with Loopback(lambda path, body, n: (200, {}, continuation("a"))) as other:
        moved: Reply = (307, {"Location": f"{other.url}/v1/completions"}, b"")
        with Loopback(lambda path, body, n: moved) as server, pytest.raises(ConfigProblem, match="--base-url"):
            await ask(server.url)
    assert other.received == []


async def test_nobody_there_means_nothing_was_sent() -> None:
    """A closed port, an unknown name, a server without TLS: all free to try again."""
    with Loopback(lambda path, body, n: None) as server:
        closed = server.url
        with pytest.raises(NotSent, match="no connection"):
            await ask(closed.replace("http:", "https:"))
    for url in (closed, "https://no-such-host.invalid"):
        with pytest.raises(NotSent, match="no connection"):
            await ask(url)
    assert server.received == []


async def test_a_certificate_nobody_vouches_for_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    """Trying again cannot mend it, and checks cannot be switched off."""
    files = [str(tmp_path / name) for name in ("key.pem", "cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "1"]
    try:
        subprocess.run([*command, "-keyout", files[0], "-out", files[1]], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(files[1], files[0])
    async with raw_server(b"", tls=tls) as url:
        with pytest.raises(ConfigProblem, match="SSL_CERT_FILE"):
            await ask(url)


async def test_a_dropped_connection_may_have_been_billed() -> None:
    """The request had left."""
    with Loopback(lambda path, body, n: None) as server, pytest.raises(MaybeExecuted, match="the connection was lost"):
        await ask(server.url)
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"",
    ],
)
async def test_a_truncated_answer_may_have_been_billed(answer: bytes) -> None:
    """Half an answer is never taken for one."""
    async with raw_server(answer) as url:
        with pytest.raises(MaybeExecuted, match="the connection was lost"):
            await ask(url)


@pytest.mark.parametrize("answer", [b"220 mail.example.com ESMTP\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100])
async def test_bytes_that_are_no_http_are_unusable(answer: bytes) -> None:
    """Something else listens on that port."""
    async with raw_server(answer) as url:
        with pytest.raises(UnusableResponse, match="the answer is not HTTP"):
            await ask(url)


async def test_bytes_that_are_no_http_are_unusable_however_far_the_body_has_come() -> None:
    """Trailers without end, met while the body is being read: the same as if all had come at once."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 200
    async with raw_server(answer, pause=0.0001) as url:
        with pytest.raises(UnusableResponse, match="the answer is not HTTP: Too many headers received"):
            await ask(url)


async def test_a_server_that_never_answers_meets_the_deadline() -> None:
    """The request had left, so it may have been billed."""

    async def never(path: str, body: Any, n: int) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    with Loopback(never) as server, pytest.raises(MaybeExecuted, match=r"no answer within 0\.2 s"):
        async with asyncio.timeout(3):
            await ask(server.url, timeout=0.2)


async def test_a_server_that_drips_meets_the_same_deadline() -> None:
    """One deadline for the whole attempt: a byte now and then does not extend it."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b" " * 1000
    async with raw_server(answer, pause=0.01) as url:
        with pytest.raises(MaybeExecuted, match=r"no answer within 0\.3 s"):
            async with asyncio.timeout(3):
                await ask(url, timeout=0.3)


@pytest.mark.parametrize("encode", [bytes, gzip.compress])
async def test_a_body_beyond_the_cap_is_not_read_to_its_end(encode: Callable[[bytes], bytes]) -> None:
    """The cap counts decompressed bytes, so a small bomb does not become a large one."""
    headers = {"Content-Encoding": "gzip"} if encode is gzip.compress else {}
    body = encode(b" " * 2_000_000)
    with (
        Loopback(lambda path, body_, n: (200, headers, body)) as server,
        pytest.raises(UnusableResponse, match="longer than 100000 bytes"),
    ):
        await ask(server.url, max_bytes=100_000)


async def test_an_answer_as_long_as_the_cap_is_read() -> None:
    """Compressed or not."""
    body = continuation("a" * 1000)
    packed = (200, {"Content-Encoding": "gzip"}, gzip.compress(body))
    with Loopback(lambda path, body_, n: packed) as server:
        assert (await ask(server.url, max_bytes=len(body))).text == "a" * 1000


async def test_no_more_connections_than_asked_for() -> None:
    """The rest waits for its turn."""
    in_flight, highest = 0, 0

    async def slow(path: str, body: Any, n: int) -> Reply:
        nonlocal in_flight, highest
        in_flight += 1
        highest = max(highest, in_flight)
        await asyncio.sleep(0.01)
        in_flight -= 1
        return 200, {}, continuation("a")

    with Loopback(slow) as server:
        model = OpenAIModel(ENDPOINT, server.url, connections=3)
        await asyncio.gather(*(model.complete(RAW) for _ in range(20)))
        await model.aclose()
    assert (len(server.received), highest) == (20, 3)


# --- Retry-After ----------------------------------------------------------------------------------------------------

NOON = "Wed, 21 Oct 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
        ({"retry-after-ms": "soon", "Retry-After": "1"}, 1.0),
        ({"Retry-After": "86400"}, 86400.0),
        ({"Retry-After": "86401"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "1e3"}, None),
        ({"Retry-After": "9" * 30}, None),
        ({"Retry-After": "١٢"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "Wed, 21 Oct 2026 12:00:30 GMT", "Date": NOON}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2026 14:00:30 +0200", "Date": NOON}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2026 11:59:59 GMT", "Date": NOON}, None),
        ({"Retry-After": "Wed, 21 Oct 100000 12:00:00 GMT", "Date": NOON}, None),
        ({"Retry-After": "Wed, 21 Oct 2026 12:00:30 -0000", "Date": NOON}, None),
        ({"Retry-After": "Wed, 21 Oct 2026 12:00:30 GMT"}, None),
    ],
)
def test_what_a_server_may_wish(headers: Mapping[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds or a date; nonsense counts as no wish at all."""
    assert retry_after(headers) == seconds


def test_errors_of_the_model_are_all_ones_the_runner_knows() -> None:
    """A guard for this file: the kinds used above that leave a round open are model errors."""
    assert all(issubclass(kind, ModelError) for kind in (NotSent, Rejected, MaybeExecuted, UnusableResponse))
