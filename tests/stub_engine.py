"""What a test needs to have vLLM stood in for: tests/vllm_stub, an environment that finds it, models that misbehave.

folder = model_folder(tmp_path / "small", completions="die-after:5")
subprocess.Popen([sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), ...],
                 env=os.environ | environment())
"""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from selfinstruct.engine import server
from tests.vllm_stub.vllm.modes import Modes
from tests.vllm_stub.vllm.start_failures import FAILURES, UNFINISHED

STUB = Path(__file__).resolve().parent / "vllm_stub"
"""The folder to stand first on ``PYTHONPATH``."""

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 256,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}
TEMPLATE = "{% for message in messages %}<|{{ message.role }}|> {{ message.content }} <|end|>{% endfor %}<|assistant|>"


class Start(NamedTuple):
    """One start of the stand-in, as it wrote it down itself."""

    pid: int
    gpus: str | None
    arguments: list[str]


def stands_in(patch: pytest.MonkeyPatch, state: Path) -> None:
    """From here on the stand-in is vLLM, its logs and records are below ``state``, and looks at it come often."""
    for name, value in {**environment(), "XDG_STATE_HOME": str(state)}.items():
        patch.setenv(name, value)
    patch.setattr(server, "LOOK_EVERY", 0.02)


def environment() -> dict[str, str]:
    """The variables with which the stand-in is found in vLLM's place, by this interpreter."""
    path = os.pathsep.join(filter(None, [str(STUB), os.environ.get("PYTHONPATH", "")]))
    return {"PYTHONPATH": path, "SELFINSTRUCT_VLLM_PYTHON": sys.executable}


def model_folder(path: Path, **modes: Any) -> Path:
    """A folder as the Hub has them, of a Llama with one tensor; ``modes`` are the fields of `Modes`."""
    assert Modes(**modes).start in ("", *FAILURES, *UNFINISHED), "no such way to fail"
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048, "chat_template": TEMPLATE}
    files: dict[str, object] = {
        "config.json": CONFIG | {"max_position_embeddings": modes.get("context", CONFIG["max_position_embeddings"])},
        "tokenizer_config.json": tokenizer,
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2},
        "stub.json": modes,
    }
    for name, content in files.items():
        (path / name).write_text(json.dumps(content, default=str))
    (path / "model.safetensors").write_bytes(_safetensors())
    return path


def starts(path: Path) -> list[Start]:
    """The starts written to the file of the mode ``starts``, in order."""
    return [Start(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def engine_of(pid: int) -> int | None:
    """The process id of the engine of an API server; only where /proc is."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = children.read_text().split() if children.exists() else []
    return int(found[0]) if found else None


def _safetensors() -> bytes:
    """One tensor of 64 numbers in the format of safetensors: the header's length, the header, the numbers."""
    tensor = {"model.norm.weight": {"dtype": "BF16", "shape": [64], "data_offsets": [0, 128]}}
    header = json.dumps(tensor).encode()
    return struct.pack("<Q", len(header)) + header + bytes(128)
