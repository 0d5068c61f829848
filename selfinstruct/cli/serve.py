"""`selfinstruct serve`: a model behind somebody else's OpenAI-compatible server."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from selfinstruct.cli import options
from selfinstruct.cli.servers import BackendOption, Server


def serve(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="What a finetune wrote, a model folder, a .gguf file, a Hub id, or smollm2 (embedded)."
        ),
    ],
    backend: BackendOption = Server.auto,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0 for any free port.")] = 8000,
    host: Annotated[
        str, typer.Option(help="On which address. No key is asked for: 0.0.0.0 lets in everybody in the network.")
    ] = "127.0.0.1",
    name: Annotated[str, typer.Option(help="The name requests give. [default: that of the folder]")] = "",
    engine: options.EngineOption = None,
    vllm_python: options.VllmPython = None,
) -> None:
    """Serve a tuned model with an OpenAI-compatible server until Ctrl-C; print the command that asks it.

    An adapter is merged into its base first, in DIR/merged, unless vLLM takes it as it is.
    """
    from selfinstruct import serving
    from selfinstruct.cli import running

    settings = options.settings_of(context)
    wish = serving.Wish(
        backend=backend.value,
        host=host,
        port=port,
        name=name,
        vllm_python=settings.vllm_python,
        engine=running.engine_of(engine) or {},
        patience=settings.vllm_start_timeout,
        threads=settings.threads or 0,
    )
    with serving.started(model, wish, _say) as server:
        served = server.served
        typer.echo(f"{served.name} answers at {served.base_url} ({served.backend})")
        _say("Ctrl-C ends it")
        typer.echo(f"next: selfinstruct generate {shlex.join(served.words)}")
        server.wait()


def _say(line: str) -> None:
    typer.echo(f"selfinstruct: {line}", err=True)
