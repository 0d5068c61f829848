"""A model of ours behind somebody else's OpenAI-compatible server, for as long as it is wanted.

Three servers are known, and none is ours: vLLM where there is a GPU, llama.cpp's for a .gguf file, and transformers'
(``transformers serve``) for everything else. Each is a process that ends when this one does, however this one ends. It
asks for no key, so it listens on this machine alone unless told otherwise.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

import httpx
import orjson

from selfinstruct import gpus, served_model
from selfinstruct.engine import interpreter, last_words, launch
from selfinstruct.engine.guarded import Guarded, end_stale
from selfinstruct.errors import ConfigProblem, Interrupted, ModelError, OutputFailed, SelfinstructError, UsageProblem
from selfinstruct.models.llama_cpp import default_threads
from selfinstruct.served_model import ServedModel
from selfinstruct.wire_errors import one_line

Backend = Literal["auto", "vllm", "llama-cpp", "transformers"]
Tell = Callable[[str], None]

LOOK_EVERY = 0.5
"""Seconds between two looks at a server."""

PROBE_SECONDS = 300.0
"""How long one token may take: it may stand behind whole answers."""

REFUSALS = 10
"""So many probes in a row may be answered by an error before a server is given up: one that loads says 503."""

CONTEXT = 4096
"""The longest prompt and answer together from a .gguf file, in tokens; as for ``--api local``."""

STOP_SECONDS = 10.0
"""How long a server may take to end by itself, before it is killed."""

_GGUF_SERVER = Path(launch.__file__).with_name("gguf_server.py")
_SERVING = ("torch", "transformers", "accelerate", "fastapi", "uvicorn", "openai")  # transformers[serving]
# A rank is stored in one of these widths (vLLM 0.32, config/lora.py).
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class Wish:
    """How a model is to be served. A ``port`` of 0 is any free one, an empty ``name`` the model's own.

    ``engine`` are options of vLLM's, ``vllm_python`` the interpreter that has it (empty: where it is usually found),
    ``patience`` the seconds a start may take, ``threads`` those of llama.cpp (0: all cores but one), ``state`` the
    folder of logs and of records of servers.
    """

    backend: Backend = "auto"
    host: str = "127.0.0.1"
    port: int = 8000
    name: str = ""
    vllm_python: str = ""
    engine: Mapping[str, Any] = field(default_factory=dict)
    patience: float = 1800.0
    threads: int = 0
    state: Path = field(default_factory=launch.state_folder)


class Served(NamedTuple):
    """A server that answers: where, under which name, and how it is asked by this package.

    ``together`` is how many requests it works on at once; None where that is its own affair.
    """

    base_url: str
    name: str
    backend: Backend
    api: Literal["chat", "completion"]
    together: int | None
    log: Path

    @property
    def words(self) -> list[str]:
        """The options by which `generate`, `complete` and every other command ask it."""
        words = ["--api", self.api, "--base-url", self.base_url, "--model", self.name]
        return [*words, "--concurrency", str(self.together)] if self.together else words


class Running(NamedTuple):
    """A server and its process."""

    served: Served
    child: Guarded
    begins_at: int  # the byte of the log where its words begin

    def wait(self) -> None:
        """Until it ends by itself, which it should not: raises why. A signal raises through this."""
        while (status := self.child.poll()) is None:
            time.sleep(LOOK_EVERY)
        served = self.served
        how = last_words.of_end(status, last_words.tail(served.log, self.begins_at))
        raise ModelError(f"{served.name}: {served.backend} is gone: {how}; its log is {served.log}")


@contextmanager
def started(model: str, wish: Wish, tell: Tell = lambda line: None) -> Iterator[Running]:
    """A server for a model, by its path or name, that has answered a probe of one token; ended with the block.

    SIGINT, SIGTERM and SIGHUP raise `Interrupted` meanwhile. Raises `ConfigProblem` for a model that is none, a server
    that is not installed or does not start, or a port that is taken; `ModelError` where it does not answer in time.
    """
    found = served_model.find(model)
    backend = choose(found, wish)
    with ExitStack() as stack:
        stack.enter_context(_signals_raise())
        for line in end_stale(wish.state):
            tell(line)
        launch.forget_old_logs(wish.state)
        port = free_port(wish.host, wish.port)
        loaded = found if backend == "vllm" and _is_served_as_adapter(found) else served_model.whole(found, tell)
        name = wish.name or found.name
        command, environment = _start_of(backend, loaded, name, wish, port, stack)
        log = wish.state / f"{name.replace('/', '--')}-{backend}-{os.getpid()}.log"
        together = None if backend == "vllm" else 1
        api: Literal["chat", "completion"] = "chat" if found.has_template else "completion"
        served = Served(f"http://{_reached(wish.host)}:{port}/v1", name, backend, api, together, log)
        begins_at = last_words.size(log)
        tell(f"{name}: starting {backend}; its log is {log}")
        child = Guarded.start(command, environment, log, wish.state, name)
        stack.callback(child.stop, STOP_SECONDS)
        running = Running(served, child, begins_at)
        _until_it_answers(running, wish.patience)
        yield running


def choose(model: ServedModel, wish: Wish) -> Backend:
    """The server for a model: the one that is wanted, else llama.cpp for a .gguf file, vLLM where there is a GPU and a
    vLLM, and transformers for the rest.

    Raises `ConfigProblem` for a server that cannot load it, or is not installed: with the command that installs it.
    """
    backend = wish.backend
    if backend == "auto":
        seen = gpus.visible(gpus.listed(), os.environ) if model.kind != "gguf" else []
        on_gpu = bool(seen) and interpreter.find(wish.vllm_python) is not None
        backend = "llama-cpp" if model.kind == "gguf" else "vllm" if on_gpu else "transformers"
    if (backend == "llama-cpp") != (model.kind == "gguf"):
        fit = "llama-cpp" if model.kind == "gguf" else "vllm and transformers"
        raise ConfigProblem(f"{model.path}: {backend} does not serve it here; --backend {fit} would")
    if wish.engine and backend != "vllm":
        raise UsageProblem(f"--engine is vLLM's, and {backend} serves this model; take --backend vllm")
    if backend == "vllm":
        interpreter.required(wish.vllm_python)
    else:
        served_model.require(*(_SERVING if backend == "transformers" else ("xllamacpp",)))
    return backend


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let the signals that end a program raise `Interrupted`, so that what was started is ended in order."""

    def raise_(number: int, frame: FrameType | None) -> None:
        raise Interrupted("stopped", number)

    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # under nohup
    numbers = [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]
    before = {number: signal.signal(number, raise_) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- what each is started with --------------------------------------------------------------------------------------


def _start_of(
    backend: Backend, model: ServedModel, name: str, wish: Wish, port: int, stack: ExitStack
) -> tuple[list[str], dict[str, str]]:
    """The words of a server's command line, and its environment."""
    if backend == "vllm":
        return vllm_command(model, name, wish, port)
    if backend == "llama-cpp":
        words = [str(model.path), wish.host, str(port), name, str(wish.threads or default_threads()), str(CONTEXT)]
        return [sys.executable, "-P", str(_GGUF_SERVER), *words], _environment()
    folder = stack.enter_context(_as_transformers_wants(model.path, name))
    # It is pinned to one model, and a request has to name it as it was named here; hence no path.
    go = "import os, sys; os.chdir(sys.argv.pop(1)); from transformers.cli.transformers import main; main()"
    words = [str(folder), "serve", name, "--host", wish.host, "--port", str(port)]
    return [sys.executable, "-P", "-c", go, *words], _environment()


def vllm_command(model: ServedModel, name: str, wish: Wish, port: int) -> tuple[list[str], dict[str, str]]:
    """vLLM's command line and environment; an adapter is added to its base by vLLM itself, under this name."""
    path, served_as, engine = str(model.path), name, dict(wish.engine)
    if model.kind == "adapter":
        path, served_as = served_model.base_of(model), f"{name}-base"
        rank = next(width for width in _RANKS if width >= served_model.rank_of(model))
        adapter = {"enable_lora": True, "lora_modules": [f"{name}={model.path}"], "max_lora_rank": rank}
        engine = {**adapter, "tokenizer": str(model.path), **engine}  # whose chat template is the one of the training
    start = launch.Launch(interpreter.required(wish.vllm_python), path, served_as, engine, state=wish.state)
    words = start.command(port)
    words[words.index("--host") + 1] = wish.host
    return words, start.environment("")


def _is_served_as_adapter(model: ServedModel) -> bool:
    return model.kind == "adapter" and served_model.is_plain_lora(model) and served_model.rank_of(model) <= _RANKS[-1]


@contextmanager
def _as_transformers_wants(model: Path, name: str) -> Iterator[Path]:
    """A folder that holds, under the name it is served as, links to the model's files, and how it samples.

    transformers' server takes a request's temperature only where the model's own ``generation_config.json`` says that
    it samples at all, and else always gives the likeliest answer; and it keeps to the 50 likeliest tokens where
    ``top_k`` does not say otherwise (5.23, ``cli/serving/utils.py``). A request means neither.
    """
    if "@" in name or "/" in name:
        raise UsageProblem(f"--name {name}: transformers serves no model whose name has an '@' or a '/'")
    with tempfile.TemporaryDirectory(prefix="selfinstruct-serve-") as folder:
        links = Path(folder) / name
        try:
            links.mkdir()
            for path in model.iterdir():
                if path.is_file() and path.name != "generation_config.json":
                    (links / path.name).symlink_to(path)
            sampling = {"top_k": 0, **served_model.generation_of(model), "do_sample": True}
            (links / "generation_config.json").write_bytes(orjson.dumps(sampling))
        except OSError as error:
            raise OutputFailed(f"{links}: cannot write: {error.strerror}") from error
        yield Path(folder)


def _environment() -> dict[str, str]:
    """Ours, less what looks like a key, and no report to anybody: all of the model is on this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_TOKEN"))}
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
    return {**kept, **quiet, "TOKENIZERS_PARALLELISM": "false"}


# --- until it answers -----------------------------------------------------------------------------------------------


def _until_it_answers(running: Running, patience: float) -> None:
    """Ask for one token again and again, until it comes."""
    served, silence, refused = running.served, "it does not listen yet", 0
    body = {"model": served.name, "prompt": "1", "max_tokens": 1}
    give_up = time.monotonic() + patience
    with httpx.Client(timeout=PROBE_SECONDS, trust_env=False) as client:
        while time.monotonic() < give_up and refused < REFUSALS:
            status = running.child.poll()
            if status is not None:
                raise _not_started(served, status, last_words.tail(served.log, running.begins_at))
            try:
                answer = client.post(f"{served.base_url}/completions", json=body)
            except httpx.HTTPError as problem:
                silence = one_line(str(problem)) or type(problem).__name__
            else:
                if answer.status_code == httpx.codes.OK:
                    return
                silence = f"it says {answer.status_code}: {one_line(answer.text, 200)}"
                refused += answer.status_code != httpx.codes.SERVICE_UNAVAILABLE
            time.sleep(LOOK_EVERY)
    raise ModelError(f"{served.name}: {served.backend} gives no answer ({silence}); its log is {served.log}")


def _not_started(served: Served, status: int, said: str) -> SelfinstructError:
    """Why a server ended before it answered, as far as its log tells."""
    if served.backend == "vllm":
        problem = last_words.of_start(served.name, status, said, served.log)
        return problem if isinstance(problem, SelfinstructError) else ConfigProblem(str(problem))
    about, where = f"{served.name}: {served.backend} did not start", f"its log is {served.log}"
    if status < 0:
        return ModelError(f"{about}: {last_words.of_end(status, '')}; {where}")
    guess = ": is it a whole GGUF file?" if served.backend == "llama-cpp" else ""
    words = last_words.last_line(said) or "none"
    return ConfigProblem(f"{about} (exit code {status}){guess}; its last words: {words}; {where}")


# --- addresses ------------------------------------------------------------------------------------------------------


def free_port(host: str = "127.0.0.1", port: int = 0) -> int:
    """The port, found free; for 0 any one that is. Raises `ConfigProblem` where nobody can listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was left a moment ago is free
        try:
            probe.bind((host, port))
        except OSError as error:
            why = error.strerror or error
            raise ConfigProblem(
                f"{host}:{port}: cannot listen there: {why}; choose another --port or --host"
            ) from error
        found: int = probe.getsockname()[1]
        return found


def _reached(host: str) -> str:
    """The host of a URL that leads to a server which listens there."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{reached}]" if ":" in reached else reached
