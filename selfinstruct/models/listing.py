"""Which models a server has: asked only to help a user who named one it does not have."""

from __future__ import annotations

import httpx
import tenacity

from selfinstruct.base_url import is_loopback

_SECONDS, _TRIES = 5.0, 2


async def served_models(base_url: str, api_key: str | None = None) -> list[str]:
    """The names of the models behind a base URL (in its normal form), sorted; ``[]`` when they cannot be had."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        async with httpx.AsyncClient(headers=headers, timeout=_SECONDS, trust_env=not is_loopback(base_url)) as client:
            listing = (await _fetch(client, f"{base_url}/models")).json()["data"]
            return sorted({str(model["id"]) for model in listing})
    except (httpx.HTTPError, ValueError, LookupError, TypeError):  # no answer, no JSON, no such keys
        return []


@tenacity.retry(
    stop=tenacity.stop_after_attempt(_TRIES),
    retry=tenacity.retry_if_exception_type(httpx.TransportError),
    reraise=True,
)
async def _fetch(client: httpx.AsyncClient, url: str) -> httpx.Response:
    return (await client.get(url)).raise_for_status()
