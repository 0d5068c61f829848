"""`ReplayModel`: answers what a ledger has recorded; anything else is an error that shows the nearest recorded call."""

from __future__ import annotations

import difflib

import orjson

from selfinstruct import wire
from selfinstruct.errors import ConfigProblem
from selfinstruct.ledger_reader import Call, LedgerReader
from selfinstruct.schema import Completion, Endpoint, Request


class ReplayModel:
    """A recorded run as a model. ``endpoint`` must be the recorded one, since it is part of every call's key."""

    def __init__(self, endpoint: Endpoint, ledger: LedgerReader) -> None:
        self._endpoint = endpoint
        self._ledger = ledger

    async def complete(self, request: Request) -> Completion:
        """The recorded answer. Raises `ConfigProblem` with a diff when this request was never made."""
        call = self._ledger.find(request.draw, wire.call_key(self._endpoint, request))
        if call is None or call.state == "open":
            raise ConfigProblem(self._unknown(request))
        return call.completion()

    async def aclose(self) -> None:
        """Close the ledger that is replayed."""
        self._ledger.close()

    def _unknown(self, request: Request) -> str:
        message = f"{self._ledger.path} holds no answer for {request.draw}"
        nearest = self._ledger.find_draw(request.draw)
        if nearest is None:
            return f"{message}, nor any call of that draw; had that run other settings, or a smaller target?"
        return f"{message}; the call recorded there differs:\n{_diff(nearest, wire.body(self._endpoint, request))}"


def _diff(recorded: Call, asked: dict[str, object]) -> str:
    before = orjson.dumps(orjson.loads(recorded.body), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    after = orjson.dumps(asked, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    lines = difflib.unified_diff(_unfold(before), _unfold(after), "recorded", "asked now", lineterm="", n=1)
    return "\n".join(list(lines)[:40])


def _unfold(text: str) -> list[str]:
    """One line for each line of the prompt, so that the diff shows the line that changed and not the whole prompt."""
    return text.replace("\\n", "\n").splitlines()
