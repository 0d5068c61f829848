"""What every test stands on: a known environment, no network beyond this machine, the same examples every time."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.command import CANARY

# Hypothesis' own profile for CI: the same examples in every run and no deadlines, since a busy machine is no bug.
# `pytest --hypothesis-profile=default` looks for new examples.
settings.load_profile("ci")

SCRUBBED = ("OPENAI_", "SELFINSTRUCT_", "HF_", "HUGGING")
FIXED = {
    "NO_COLOR": "1",
    "COLUMNS": "120",  # help texts and tables are wrapped to it
    "LC_ALL": "C.UTF-8",
    "LANG": "C.UTF-8",
    "TZ": "XXX-05:45",  # no zone of any developer, so a local time written as UTC shows
}


@pytest.fixture(autouse=True, scope="session")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After the last test, search every file the tests have written for the key that their commands were given."""
    yield
    found = [path for path in sorted(tmp_path_factory.getbasetemp().rglob("*")) if _holds_canary(path)]
    assert not found, f"the API key stands in {', '.join(map(str, found))}"


def _holds_canary(path: Path) -> bool:
    if not path.is_file() or path.is_symlink():
        return False
    wanted, before = CANARY.encode(), b""
    with path.open("rb") as file:
        while block := file.read(2**20):
            if wanted in before + block:
                return True
            before = block[-len(wanted) :]
    return False


@pytest.fixture(autouse=True)
def known_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the developer's keys, caches and proxies; fix colour, width, locale and time zone."""
    with monkeypatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(SCRUBBED) or name.upper().endswith("_PROXY"):
                patch.delenv(name)
        for name, value in FIXED.items():
            patch.setenv(name, value)
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test connect to this machine only; what a child process does is not seen here.

    The failure is pytest's own, which no ``except OSError`` and no retry under test can swallow.
    """

    def guarded(name: str) -> None:
        connect = getattr(socket.socket, name)

        def connect_here(self: socket.socket, address: Any) -> Any:
            if not _on_this_machine(self.family, address):
                pytest.fail(f"a test tried to connect to {address!r}; tests reach loopback and Unix sockets only")
            return connect(self, address)

        monkeypatch.setattr(socket.socket, name, connect_here)

    guarded("connect")
    guarded("connect_ex")


def _on_this_machine(family: int, address: Any) -> bool:
    if family == socket.AF_UNIX:
        return True
    host = str(address[0]).partition("%")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: resolving it would ask the network
        return host == "localhost"
