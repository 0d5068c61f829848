"""Which server a model is served by, as an option of the commands that serve one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Server(StrEnum):
    """Whose server it is."""

    auto = "auto"
    vllm = "vllm"
    llama_cpp = "llama-cpp"
    transformers = "transformers"


BackendOption = Annotated[
    Server,
    typer.Option(
        "--backend",
        help="Whose server it is. auto: llama.cpp's for a .gguf file, vLLM where there is a GPU and a vLLM, else"
        " transformers'.",
    ),
]
