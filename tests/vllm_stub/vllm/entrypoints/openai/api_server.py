"""Starts the stand-in as the real server is started, and goes wrong where ``stub.json`` in the model's folder says.

What is wrong with the folder itself is noticed too, in the words of the real server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from ... import __version__
from ...engine import LONGEST_LIFE, log, start_engine
from ...modes import Modes
from ...server import Server
from ...start_failures import FAILURES, UNFINISHED, Failure, traceback


def main() -> None:
    """Start, serve, end; the exit codes are the real ones."""
    signal.alarm(LONGEST_LIFE)
    given = options()
    folder = model_folder(given.model, given.revision)
    modes = Modes()
    if folder and (folder / "stub.json").is_file():
        modes = Modes(**json.loads((folder / "stub.json").read_bytes()))
    if modes.starts:
        line = {"pid": os.getpid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "arguments": sys.argv[1:]}
        with Path(modes.starts).open("a") as file:
            file.write(json.dumps(line) + "\n")
    wrong = what_is_wrong(given, folder, modes)
    failure = None if wrong in ("", *UNFINISHED) else FAILURES[wrong]
    words = failure.words % _values(given, folder, modes) if failure else ""
    if wrong == "exit":
        raise SystemExit(1)
    if failure and failure.where == "options":
        end(failure, words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    log("APIServer", f"vLLM server version {__version__}, serving model {given.model}", place="api_utils.py:347")
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((given.host, given.port))
    if failure and failure.where == "server":
        end(failure, words)
    engine = start_engine(modes, failure, words, bound)
    log("APIServer", f"Starting vLLM server on http://{given.host}:{given.port}")
    assert folder is not None
    asyncio.run(Server(given, folder, modes, engine).run(bound))


def options() -> argparse.Namespace:
    """Those that matter here; every other is accepted, with or without a value."""
    parser = argparse.ArgumentParser(prog="api_server.py", allow_abbrev=False)
    parser.add_argument("--model", default="Qwen/Qwen3-0.6B")
    parser.add_argument("--served-model-name", nargs="+", default=[])
    parser.add_argument("--host", default="")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-model-len", type=lambda text: 0 if text == "auto" else int(text))
    parser.add_argument("--revision", default="*")
    parser.add_argument("--chat-template", default="")
    parser.add_argument("--disable-uvicorn-access-log", action="store_true")
    return parser.parse_known_args()[0]


def model_folder(model: str, revision: str) -> Path | None:
    """The folder of a model, or of its snapshot in the Hub's cache."""
    if Path(model).is_dir():
        return Path(model)
    cache = Path(os.environ.get("HF_HOME", Path.home() / ".cache/huggingface"), "hub")
    return next(cache.glob(f"models--{model.replace('/', '--')}/snapshots/{revision}"), None)


def what_is_wrong(given: argparse.Namespace, folder: Path | None, modes: Modes) -> str:
    """The name of the failure that the real server would end with, or nothing."""
    if modes.start:
        return modes.start
    if folder is None:
        if os.environ.get("HF_HUB_OFFLINE") == "1":
            return "hub-offline"
        return "no-such-folder" if given.model.startswith((".", "/")) else "hub-unreachable"
    if not (folder / "config.json").is_file():
        return "missing-config"
    config = json.loads((folder / "config.json").read_bytes())
    if not str(config["architectures"][0]).endswith(("ForCausalLM", "LMHeadModel")):
        return "unknown-architecture"
    if given.max_model_len and given.max_model_len > (modes.context or config["max_position_embeddings"]):
        return "too-long"
    if given.chat_template.endswith(".jinja") and not Path(given.chat_template).is_file():
        return "missing-template"
    weights = [path for kind in ("*.safetensors", "*.bin", "*.pt") for path in folder.glob(kind)]
    return "missing-weights" if not weights else "broken-weights" if not all(map(_whole, weights)) else ""


def _whole(weights: Path) -> bool:
    """Whether a safetensors file is as long as its header says; other kinds are not looked into."""
    if weights.suffix != ".safetensors":
        return True
    data = weights.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 + length or not length:
        return False
    tensors = json.loads(data[8 : 8 + length])
    return len(data) == 8 + length + max(int(tensor["data_offsets"][1]) for tensor in tensors.values())


def end(failure: Failure, words: str) -> NoReturn:
    """Say the last words on standard error, and be gone."""
    sys.stderr.write(traceback(failure.calls, words) + "\n")
    raise SystemExit(failure.code)


def _values(given: argparse.Namespace, folder: Path | None, modes: Modes) -> dict[str, Any]:
    """What the places in a failure's words are filled with."""
    config: dict[str, Any] = {}
    if folder and (folder / "config.json").is_file():
        config = json.loads((folder / "config.json").read_bytes())
    derived = modes.context or config.get("max_position_embeddings", 2048)
    named = {"model": given.model, "template": given.chat_template}
    architecture = config.get("architectures", ["FlyingForCausalLM"])[0]
    return named | {"derived": derived, "length": given.max_model_len or derived, "architecture": architecture}


if __name__ == "__main__":
    main()
