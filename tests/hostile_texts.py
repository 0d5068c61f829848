"""Texts that regular expressions like least, read in a process of its own that may use so much processor time only."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SECONDS = 120

_READ_ALL = f"""
import json, resource, sys
from selfinstruct import parsing
from selfinstruct.errors import ParseError
resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
%s
for text in json.load(sys.stdin):
    for read in READERS:
        try:
            read(text)
        except ParseError:
            pass
print("done")
"""


def read_in_time(repeated: Sequence[str], size: int, alone: Sequence[str], readers: str) -> None:
    """Read each piece, repeated up to ``size`` characters, and each text ``alone``; ``readers`` defines READERS."""
    texts = [(piece * size)[:size] for piece in repeated] + list(alone)
    command = [sys.executable, "-c", _READ_ALL % readers]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, input=json.dumps(texts), cwd=root, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
