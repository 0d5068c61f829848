"""Any server that speaks the OpenAI API: https://api.openai.com, vLLM, llama.cpp, Ollama, and most others.

One attempt is one POST with one deadline, over aiohttp (0.2-0.4 ms of CPU a request; the official client takes ten
times that). It ends in a completion, or in an exception that says whether it may have been billed (see `errors`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime

import aiohttp
from aiohttp.http_exceptions import BadHttpMessage, ContentEncodingError, PayloadEncodingError

from selfinstruct import wire
from selfinstruct.base_url import ApiKey, normal_base_url, proxy_of
from selfinstruct.errors import AccessDenied, ConfigProblem, MaybeExecuted, ModelError, NotSent, UnusableResponse
from selfinstruct.schema import Completion, Endpoint, Request
from selfinstruct.wire_errors import fault, one_line

_CONNECT_SECONDS = 30.0  # the usual 5 s are too short for hundreds of first connects at once on a busy machine
_KEEP_ALIVE_SECONDS = 4.0  # shorter than uvicorn's 5 s, so that no request is sent into a connection just being closed
_LONGEST_WAIT_SECONDS = 86_400.0  # a server that asks for more than a day is not believed
_SHORTEST_SECRET = 8  # shorter keys are placeholders for servers without one ("EMPTY"): nothing to hide


class OpenAIModel:
    """Answers come from an OpenAI-compatible server.

    ``timeout`` is the total deadline of one attempt in seconds, body included; ``max_bytes`` caps the decompressed
    body (aiohttp inflates 256 KiB at a time, so a small bomb stays small); ``connections`` is how many requests can be
    on the wire at once. The key is sent to ``base_url`` and nowhere else: redirects are not followed. Must be used on
    one event loop.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        base_url: str,
        api_key: ApiKey | None = None,
        *,
        timeout: float = 600.0,
        max_bytes: int = 8 * 2**20,
        connections: int = 100,
    ) -> None:
        self._endpoint = endpoint
        self._key = _checked_key(api_key)
        self._key_variable = (api_key or ApiKey("")).variable
        self._base_url = normal_base_url(base_url, key=self._key is not None)
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def complete(self, request: Request) -> Completion:
        """One attempt. Raises what `wire_errors` says of error answers, and the `ModelError` family for the rest."""
        path = wire.path(request)
        url = self._base_url + path.removeprefix("/v1")
        status, headers, answer = await self._post(url, wire.written(self._endpoint, request))
        if not 200 <= status < 300:
            # What we wrote, the recipe can mend; what stands in a user's own request is for them to mend there.
            ours = () if request.prompt is None and request.messages is None else wire.body(self._endpoint, request)
            wish = retry_after(headers)
            raise fault(status, answer, where=url, fields=ours, retry_after=wish, key=self._key_variable)
        try:
            return wire.completion(answer, chat=path == wire.CHAT)
        except ModelError as problem:  # of an error object inside a 200, too
            wish = retry_after(headers)
            raise type(problem)(f"{url}: {problem}", status=problem.status, retry_after=wish) from problem

    async def aclose(self) -> None:
        """Close the connections; a second time does nothing."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, url: str, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._open().post(url, data=body, allow_redirects=False) as response,
            ):
                return response.status, response.headers, self._without_key(await self._read(response))
        except aiohttp.ClientConnectorCertificateError as problem:
            message = f"{url}: {self._quoted(problem)}; a certificate authority of your own goes into SSL_CERT_FILE"
            raise ConfigProblem(message) from problem
        except aiohttp.ClientHttpProxyError as problem:  # its text holds the proxy's address, password included
            raise NotSent(f"{url}: the proxy answered {problem.status} {one_line(problem.message, 100)}") from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as problem:
            why = getattr(problem, "strerror", None) or self._quoted(problem)
            raise NotSent(f"{url}: no connection: {why}; is a server running there?") from problem
        except TimeoutError as problem:
            raise MaybeExecuted(f"{url}: no answer within {self._timeout:g} s") from problem
        except aiohttp.ClientResponseError as problem:  # bytes that are no HTTP
            raise UnusableResponse(f"{url}: the answer is not HTTP: {self._quoted(problem.message)}") from problem
        except aiohttp.ClientError as problem:
            cause = problem.__cause__
            if isinstance(cause, ContentEncodingError):
                raise UnusableResponse(f"{url}: the answer's compression is broken") from problem
            # The same as above, where the body had begun to arrive; a body cut short is a lost one.
            if isinstance(cause, BadHttpMessage) and not isinstance(cause, PayloadEncodingError):
                raise UnusableResponse(f"{url}: the answer is not HTTP: {self._quoted(cause.message)}") from problem
            raise MaybeExecuted(f"{url}: the connection was lost: {self._quoted(problem)}") from problem

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        answer = bytearray()
        async for chunk in response.content.iter_any():
            answer += chunk
            if len(answer) > self._max_bytes:
                raise UnusableResponse(f"{response.url}: the answer is longer than {self._max_bytes} bytes")
        return bytes(answer)

    def _open(self) -> aiohttp.ClientSession:
        """The session, made on first use because it belongs to the running loop."""
        if self._session is None:
            headers = {"Content-Type": "application/json", "User-Agent": "selfinstruct"}
            if self._key is not None:
                headers["Authorization"] = f"Bearer {self._key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_KEEP_ALIVE_SECONDS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_SECONDS, self._timeout / 2)),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
                proxy=proxy_of(self._base_url),  # aiohttp's own look-up also reads ~/.netrc
            )
        return self._session

    def _without_key(self, answer: bytes) -> bytes:
        """The body, the key struck out: a server that echoes it must not put it into our ledger or messages."""
        if self._key is None or len(self._key) < _SHORTEST_SECRET:
            return answer
        return answer.replace(self._key.encode(), b"[key]")

    def _quoted(self, problem: object) -> str:
        return one_line(self._without_key(str(problem).encode("utf-8", "replace")) or type(problem).__name__)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How long the server asks to wait, in seconds, or None where it does not say or says nonsense.

    Reads ``retry-after-ms``, then ``Retry-After`` in seconds or as an HTTP date; a date counts from the server's own
    ``Date``, so a wrong clock on this machine does no harm (a server without one is believed to have our time).
    Negative, endless and more than a day are nonsense.
    """
    milliseconds, seconds = headers.get("retry-after-ms"), headers.get("Retry-After")
    date = _seconds_between(headers.get("Date") or formatdate(usegmt=True), seconds)
    wishes = (_number(milliseconds, 0.001), _number(seconds, 1.0), date)
    return next((wish for wish in wishes if wish is not None and 0 <= wish <= _LONGEST_WAIT_SECONDS), None)


def _number(text: str | None, unit: float) -> float | None:
    return float(text) * unit if text and re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?", text.strip()) else None


def _seconds_between(start: str, end: str | None) -> float | None:
    if not end:
        return None
    try:
        return (parsedate_to_datetime(end) - parsedate_to_datetime(start)).total_seconds()
    except (ValueError, TypeError, OverflowError):  # no date; one with and one without a time zone; year 100000
        return None


def _checked_key(api_key: ApiKey | None) -> str | None:
    key = (api_key or ApiKey("")).value.strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise AccessDenied("the API key holds a space, a line break or a character outside ASCII; was it pasted whole?")
    return key or None
