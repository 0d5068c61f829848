"""How a model of the stand-in misbehaves: what ``stub.json`` in its folder may say."""

from __future__ import annotations

from typing import NamedTuple


class Modes(NamedTuple):
    """What ``stub.json`` may say."""

    start: str = ""  # a name of FAILURES or UNFINISHED
    start_seconds: float = 0.0  # how long the engine loads
    completions: str = ""  # "fail", "die-after:N", "dead-engine-after:N", "hang-after:N": N answers first
    schema: str = ""  # "ignored": text where JSON was asked for
    delay: float = 0.0  # seconds for each completion
    context: int = 0  # tokens; 0: what config.json says
    starts: str = ""  # a file that gets a line of JSON for each start
    stop: str = ""  # "ignored": SIGTERM does nothing
