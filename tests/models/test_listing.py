"""Asking a server for its models, to help a user who named one it does not have."""

from __future__ import annotations

import orjson
import pytest

from selfinstruct.base_url import ApiKey
from selfinstruct.models.listing import served_models
from tests.models.loopback import Loopback, Reply

LISTED = orjson.dumps({"object": "list", "data": [{"id": "b"}, {"id": "a"}, {"id": "b"}]})


async def test_the_names_come_sorted_and_once_each() -> None:
    """From ``/models`` below the base URL, asked with the key."""
    with Loopback(lambda path, body, n: (200, {}, LISTED)) as server:
        assert await served_models(f"{server.url}/v1", ApiKey("sk-1")) == ["a", "b"]
    assert [(received.path, received.headers["Authorization"]) for received in server.received] == [
        ("/v1/models", "Bearer sk-1")
    ]


async def test_a_lost_connection_is_tried_once_more() -> None:
    """It is a question to a person's help, not worth more."""
    with Loopback(lambda path, body, n: (200, {}, LISTED) if n else None) as server:
        assert await served_models(f"{server.url}/v1") == ["a", "b"]
    assert len(server.received) == 2


@pytest.mark.parametrize(
    "reply",
    [
        None,
        (401, {}, LISTED),
        (307, {"Location": "http://other.invalid/"}, b""),
        (200, {}, b"<html>"),
        (200, {}, b"[]"),
        (200, {}, b"{}"),
        (200, {}, b'{"data": null}'),
        (200, {}, b'{"data": [{"name": "a"}]}'),
        (200, {}, b'{"data": ["a"]}'),
    ],
)
async def test_what_cannot_be_had_is_no_names(reply: Reply | None) -> None:
    """The error that led here is the one to show."""
    with Loopback(lambda path, body, n: reply) as server:
        assert await served_models(f"{server.url}/v1") == []


async def test_nobody_there_is_no_names() -> None:
    """A closed port."""
    with Loopback(lambda path, body, n: None) as server:
        pass
    assert await served_models(f"{server.url}/v1") == []
