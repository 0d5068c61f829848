"""``EngineCore``: the process beside the API server, without which that one cannot answer.

As the real one it does not notice its parent's death; it ends by itself after ten minutes, whatever a test forgets.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

from . import __version__
from .modes import Modes
from .start_failures import Failure, traceback

LONGEST_LIFE = 600  # seconds


def log(process: str, words: str, *, level: str = "INFO", place: str = "entry.py:126") -> None:
    """A record as the real one writes it, on standard output: every line of it begins with who and when."""
    start = f"({process} pid={os.getpid()}) {level} {time.strftime('%m-%d %H:%M:%S')} [{place}] "
    sys.stdout.write(start + words.replace("\n", "\r\n" + start) + "\n")
    sys.stdout.flush()


class Engine(NamedTuple):
    """The child, and the end of a pipe that closes when it dies."""

    pid: int
    pipe: int

    def ended(self) -> int:
        """Wait for its end, and give its exit code, or the signal with a minus."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start_engine(modes: Modes, failure: Failure | None, words: str, bound: socket.socket) -> Engine:
    """Start the child and wait until it is ready; raises `RuntimeError` where it ends instead."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        bound.close()
        os.close(reading)
        _engine(modes, failure, words, writing)
    os.close(writing)
    engine = Engine(pid, reading)
    try:
        if os.read(reading, 1):
            return engine
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGKILL)
        raise
    raise RuntimeError(
        "Engine core initialization failed. See root cause above. "
        f"Failed core proc(s): {{'EngineCore': {engine.ended()}}}"
    )


def _engine(modes: Modes, failure: Failure | None, words: str, ready: int) -> NoReturn:
    """The child: loads, says that it is ready, and waits for its end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(LONGEST_LIFE)
    if Path("/proc/self/comm").exists():
        Path("/proc/self/comm").write_text("VLLM::EngineCore")
    log("EngineCore", f"Initializing a V1 LLM engine (v{__version__}) with config: ...", place="core.py:134")
    time.sleep(modes.start_seconds)
    while modes.start == "hang":
        signal.pause()
    if modes.start == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if failure is not None:
        text = traceback(("vllm/v1/engine/core.py run_engine_core", *failure.calls), words)
        log("EngineCore", f"EngineCore failed to start.\n{text}", level="ERROR", place="core.py:1510")
        sys.stderr.write(f"Process EngineCore:\n{text}\n")
        sys.stderr.flush()
        os._exit(1)
    sys.stderr.write("Loading safetensors checkpoint shards: 100% Completed | 1/1 [00:00<00:00, 46.03it/s]\n\n")
    log("EngineCore", "GPU KV cache size: 21,840 tokens, Maximum concurrency for 512 tokens per request: 42.66x")
    os.write(ready, b"1")
    while True:
        signal.pause()
