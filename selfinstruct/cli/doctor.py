"""`selfinstruct doctor`: is everything there that a run needs?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from selfinstruct.cli import options
from selfinstruct.cli.options import Api

if TYPE_CHECKING:
    from selfinstruct.machine_checks import Finding


def doctor(
    context: typer.Context,
    api: Annotated[Api | None, typer.Option(help="Who is to answer. [default: as for generate]")] = None,
    endpoint: options.EndpointOption = None,
    base_url: options.BaseUrl = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model's name. [default: as for generate]")
    ] = None,
    engine: options.EngineOption = None,
    vllm_python: options.VllmPython = None,
    gpus: options.Gpus = None,
    replay_from: options.ReplayFrom = None,
    output_dir: options.OutputDir = None,
    concurrency: options.Concurrency = None,
    timeout: options.Timeout = None,
    max_cost: options.MaxCost = None,
    price: options.PriceOption = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Send one real request of one token (a thinking model's is longer); APIs bill it."
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Check this machine, the output folder, the key, the server, the model and its price; say what to do.

    Exits 0 when nothing fails, warnings or not; else with the code a run would end with.
    """
    from selfinstruct import checkup
    from selfinstruct.cli import running
    from selfinstruct.model_recipe import ModelRecipe

    settings = options.settings_of(context)
    address = base_url or ("" if endpoint else settings.openai_base_url)
    said = {"endpoint": endpoint, "name": model, "base_url": address, "engine": running.engine_of(engine)}
    given = {"api": api and api.value, **said}
    recipe = ModelRecipe.model_validate({key: value for key, value in given.items() if value})
    findings = []
    for finding in checkup.examine(checkup.Subject(recipe, settings, probe)):
        findings.append(finding)
        if not json:
            typer.echo(_line(finding))
    if json:
        import orjson

        rows = [{"check": f.check, "state": f.state, "found": f.found, "fix": f.fix} for f in findings]
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
    raise typer.Exit(checkup.exit_code(findings))


def _line(finding: Finding) -> str:
    mark = "FAIL" if finding.state == "fail" else finding.state
    fix = f"; fix: {finding.fix}" if finding.fix else ""
    return f"{mark:<6}{finding.check:<15}{finding.found}{fix}"
