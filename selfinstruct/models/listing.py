"""Which models a server has: asked to help a user who named one it does not have, and by `selfinstruct doctor`."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import httpx
import tenacity

from selfinstruct.base_url import ApiKey, is_loopback
from selfinstruct.errors import ConfigProblem, NotSent, SelfinstructError
from selfinstruct.wire_errors import fault, one_line

_SECONDS, _TRIES = 5.0, 2
_TOTAL_SECONDS = 15.0  # both tries, bodies that trickle included


class Listing(NamedTuple):
    """What came of asking: the models' names, sorted, or the problem, which never holds the key; and the seconds."""

    names: tuple[str, ...]
    seconds: float
    problem: SelfinstructError | None = None


async def served_models(base_url: str, api_key: ApiKey | None = None) -> list[str]:
    """The names of the models behind a base URL (in its normal form), sorted; ``[]`` when they cannot be had."""
    return list((await list_models(base_url, api_key)).names)


async def list_models(base_url: str, api_key: ApiKey | None = None) -> Listing:
    """Ask ``/models`` below a base URL (in its normal form). Raises nothing: what went wrong is in the listing.

    Nobody there is a `NotSent`, an answer that is no list of models a `ConfigProblem`, an error answer what
    `wire_errors` says of its status.
    """
    api_key = api_key or ApiKey("")
    url, key = f"{base_url}/models", api_key.value.strip()
    started = time.perf_counter()
    try:
        async with asyncio.timeout(_TOTAL_SECONDS):
            response = await _get(url, key)
    except (httpx.HTTPError, TimeoutError, ValueError) as error:  # no answer; or a key no header can carry
        said = one_line(_without(key, str(error)) or type(error).__name__)
        return Listing((), time.perf_counter() - started, NotSent(f"{url}: no answer: {said}"))
    seconds = time.perf_counter() - started
    if response.status_code != httpx.codes.OK:
        answer = _without(key, response.text).encode("utf-8", "replace")
        problem = fault(max(300, response.status_code), answer, where=url, key=api_key.variable)
        return Listing((), seconds, problem)
    try:
        names = tuple(sorted({str(model["id"]) for model in response.json()["data"]}))
    except (ValueError, LookupError, TypeError):  # no JSON, no such keys
        return Listing((), seconds, ConfigProblem(f"{url}: the answer is no list of models; is --base-url right?"))
    return Listing(names, seconds)


async def _get(url: str, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(headers=headers, timeout=_SECONDS, trust_env=not is_loopback(url)) as client:
        return await _fetch(client, url)


@tenacity.retry(
    stop=tenacity.stop_after_attempt(_TRIES),
    retry=tenacity.retry_if_exception_type(httpx.TransportError),
    reraise=True,
)
async def _fetch(client: httpx.AsyncClient, url: str) -> httpx.Response:
    return await client.get(url)


def _without(key: str, text: str) -> str:
    return text.replace(key, "[key]") if key else text
