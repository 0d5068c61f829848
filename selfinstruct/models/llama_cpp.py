"""llama.cpp in this process, through xllamacpp: no key, no GPU, no server to start."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from selfinstruct import wire
from selfinstruct.errors import ConfigProblem, RequestRefused
from selfinstruct.schema import Completion, Endpoint, Request


class LlamaModel:
    """Answers come from a GGUF file, one after the other, on a thread of their own; the event loop stays free.

    ``context`` is the longest prompt and answer together, in tokens. ``cache_prompt`` keeps the common beginning of
    two prompts from being read twice, at the price that a text may depend on the one before it. The file is loaded on
    the first call. A cancelled call is computed to its end, its answer lost; the next one waits for that.
    """

    def __init__(
        self, endpoint: Endpoint, gguf: Path, *, threads: int, context: int = 4096, cache_prompt: bool = True
    ) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise ConfigProblem(
                "the embedded model needs the extra 'local': run  pip install 'selfinstruct[local]'"
                "  and then  selfinstruct models fetch"
            )
        if not gguf.is_file():
            raise ConfigProblem(f"{gguf}: no such model file; run  selfinstruct models fetch  for the default one")
        self._endpoint = endpoint
        self._gguf = gguf
        self._threads = threads
        self._context = context
        self._cache_prompt = cache_prompt
        # One thread: llama.cpp's own threads spin while they wait, and a second slot brings no throughput on a CPU.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="llama")
        self._server: Any = None

    async def complete(self, request: Request) -> Completion:
        """One answer. Raises `RequestRefused` where it cannot fit into the context, `ConfigProblem` for a bad file."""
        chat = wire.path(request) == wire.CHAT
        body = {"cache_prompt": self._cache_prompt} | wire.body(self._endpoint, request)
        answer = await asyncio.get_running_loop().run_in_executor(self._worker, self._answer, body, chat)
        return wire.completion(orjson.dumps(answer), chat=chat)

    async def aclose(self) -> None:
        """Wait for the call being computed, if there is one, and free the model."""
        await asyncio.to_thread(self._worker.shutdown, cancel_futures=True)
        self._server = None

    def _answer(self, body: dict[str, Any], chat: bool) -> Any:
        if self._server is None:
            self._server = self._load()
        handle = self._server.handle_chat_completions if chat else self._server.handle_completions
        try:
            return handle(body)
        except ValueError as problem:  # a conversation its chat template cannot render
            raise RequestRefused(f"llama.cpp: {problem}", status=400) from problem

    def _load(self) -> Any:
        xllamacpp = importlib.import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(self._gguf)
        params.model_alias = {self._endpoint.model}  # else answers carry the path of the file as their model's name
        params.n_ctx = self._context
        params.n_parallel = 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        params.verbosity = 0
        params.cache_ram_mib = 0  # else it keeps the state of every prompt it has seen, up to 8 GiB (5 MB a prompt)
        # The binding cannot be kept from listening on a loopback port: let nobody in.
        params.api_keys = [secrets.token_hex(16)]
        try:
            return xllamacpp.Server(params)
        except RuntimeError as problem:
            raise ConfigProblem(f"{self._gguf}: llama.cpp cannot load it; is it a whole GGUF file?") from problem


def default_threads(cores: int | None = None) -> int:
    """How many threads compute: all cores this process may use but one.

    llama.cpp's threads spin while they wait for each other; with none to spare, two of them were ten times slower
    than one (4 against 42 tokens a second, on two busy cores).
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) - 1)


def gguf_identity(gguf: Path) -> str:
    """The endpoint identity of a model file: ``gguf:`` and the sha256 of its bytes."""
    with gguf.open("rb") as file:
        return f"gguf:{hashlib.file_digest(file, 'sha256').hexdigest()}"
