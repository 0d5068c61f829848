"""Options of the engine, as ``--engine KEY=VALUE`` and a recipe's ``[model.engine]`` give them.

They are vLLM's own (``tensor_parallel_size``, ``dtype``, ``max_model_len``, ``quantization``, …), passed through as
they are; what we set ourselves, and what would run code of a model's, is refused.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from selfinstruct.errors import ConfigProblem, UsageProblem

Engine = Mapping[str, Any]

OPERATIONAL = frozenset(
    """tensor_parallel_size pipeline_parallel_size data_parallel_size data_parallel_size_local data_parallel_backend
    enable_expert_parallel distributed_executor_backend max_parallel_loading_workers
    gpu_memory_utilization kv_cache_memory_bytes swap_space cpu_offload_gb max_num_seqs max_num_batched_tokens
    enable_prefix_caching enable_chunked_prefill async_scheduling block_size enforce_eager compilation_config
    cudagraph_capture_sizes optimization_level attention_backend attention_config
    download_dir use_tqdm_on_load
    disable_log_stats enable_log_requests max_log_len uvicorn_log_level disable_uvicorn_access_log
    api_server_count""".split()
)
"""Options that say where and how fast the engine works. All others may change a text, and are part of its identity."""

_OURS = {
    "model": "--model names it",
    "served_model_name": "it is the model's name, or its name in the pool",
    "host": "the server listens on this machine alone",
    "port": "it is chosen for each start",
    "uds": "the server listens on a port",
    "api_key": "it is made for each start",
    "trust_remote_code": "it would run code that comes with the weights",
    "hf_token": "every user of the machine could read it; set HF_TOKEN instead",
    "allowed_origins": "no browser asks this server",
    "root_path": "the server's addresses are known",
    "config": "a file of options could hold any of those above; give them one by one",
}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FOREIGN_CODE = re.compile(r".*_(plugin|cls|class_overrides)|middleware|logits_processors")
_NUMBER = re.compile(r"-[0-9.]+")


def parse(items: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` items as options; a bare ``KEY`` is true. Raises `UsageProblem` naming the item."""
    engine: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        name = key.strip().removeprefix("--").replace("-", "_")
        if not _NAME.fullmatch(name):
            raise UsageProblem(f"--engine '{item}': expected KEY=VALUE, such as tensor_parallel_size=2")
        engine[name] = _value(text.strip()) if equals else True
    return engine


def check(engine: Engine) -> None:
    """Raise `ConfigProblem` for an option that is not the user's to set, or for a value that would be one."""
    for name, value in engine.items():
        if not _NAME.fullmatch(name):
            raise ConfigProblem(f"engine option '{name}': a name is written like tensor_parallel_size")
        if name.startswith("ssl_"):
            raise ConfigProblem(f"engine option '{name}' cannot be set: the server is local")
        if _FOREIGN_CODE.fullmatch(name):
            raise ConfigProblem(f"engine option '{name}' cannot be set: it would run code of its own")
        for word in value if isinstance(value, list | tuple) else [value]:
            if str(word).startswith("-") and not _NUMBER.fullmatch(str(word)):
                raise ConfigProblem(f"engine option '{name}': {word} is no value, but another option")
        for ours, why in _OURS.items():
            if ours.startswith(name):  # a part of a name will do for vLLM
                raise ConfigProblem(f"engine option '{name}' cannot be set: {why}")


def argv(engine: Engine) -> list[str]:
    """The options as words of a command line: true is a flag, false its negation, a table JSON."""
    words: list[str] = []
    for name, value in engine.items():
        option = name.replace("_", "-")
        match value:
            case True:
                words.append(f"--{option}")
            case False:
                words.append(f"--no-{option}")
            case dict():
                words.append(f"--{option}={orjson.dumps(value).decode()}")
            case list() | tuple():
                words += [f"--{option}", *map(str, value)]
            case _:
                words.append(f"--{option}={value}")  # in one word, so that a flag can be given no value
    return words


def of_text(engine: Engine) -> dict[str, str]:
    """The options that may change a text, by name, in order; a chat template that is a file counts by its bytes."""
    return {name: _spelled(name, engine[name]) for name in sorted(engine.keys() - OPERATIONAL)}


def _spelled(name: str, value: Any) -> str:
    if name == "chat_template" and isinstance(value, str) and "{" not in value:
        try:
            return f"sha256:{hashlib.sha256(Path(value).read_bytes()).hexdigest()}"
        except OSError as error:
            raise ConfigProblem(f"engine option 'chat_template': {value}: {error.strerror}") from error
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _value(text: str) -> Any:
    """A TOML value, or a truth as Python writes it; anything else is a string."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
