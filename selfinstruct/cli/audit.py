"""`selfinstruct audit`: what there is to know of a run's annotated answers before training on them. It only reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfinstruct.cli.options import Json, OutputDir
from selfinstruct.errors import BadData, DamagedRun

if TYPE_CHECKING:
    from selfinstruct.audit import Audit
    from selfinstruct.store_manifest import Manifest


def audit(
    run: Annotated[
        str, typer.Argument(help="The name of a run of 'selfinstruct feedback', or the path of its folder.")
    ],
    output_dir: OutputDir = None,
    json: Json = False,
) -> None:
    """Tell how a run's answers were rated: by model, aspect, place and length, and what speaks against training.

    Warnings do not change the exit code: what they mean for the data is for people to decide.
    """
    from selfinstruct import audit_lines
    from selfinstruct.config import settings
    from selfinstruct.run_folder import find

    path = find(settings({"output_dir": output_dir}).output_dir, run)
    folder, manifest = _annotated(path)
    if manifest.state == "running":
        typer.echo(f"selfinstruct: run '{run}' is not finished; this is of the shards it has", err=True)
    audited = _audited(folder, manifest)
    row, warnings = audited.row(), audited.warnings()
    if json:
        import orjson

        whole = {"run": path.name or path.resolve().name, "stage": folder.name, **row, "warnings": warnings}
        typer.echo(orjson.dumps(whole, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo("\n".join(audit_lines.lines(row)))
    if warnings:
        typer.echo("\n" + "\n".join(f"warning: {line}" for line in warnings))


def _annotated(path: Path) -> tuple[Path, Manifest]:
    """The folder of the run's last annotated stage, and its manifest. Raises `BadData` where there is none."""
    from selfinstruct import identity
    from selfinstruct.store_manifest import read_manifest

    if "ultrafeedback" not in {started.identity.get("method") for started in identity.of_run(path)}:
        raise BadData(f"{path}: has no ratings to audit; only runs of 'selfinstruct feedback' have")
    for stage in ("critique", "rate"):
        manifest = read_manifest(path / stage)
        if manifest is not None and manifest.accepted:
            return path / stage, manifest
    raise BadData(f"{path}: nothing is annotated yet that is in shards; run the same 'selfinstruct feedback' to go on")


def _audited(folder: Path, manifest: Manifest) -> Audit:
    """The audit of a stage's shards. Raises `DamagedRun` for a shard that is damaged."""
    from pydantic import ValidationError

    from selfinstruct.audit import Audit
    from selfinstruct.feedback_schema import CritiquedInstruction, RatedInstruction
    from selfinstruct.store import lines_of

    kind = CritiquedInstruction if manifest.kind == CritiquedInstruction.__name__ else RatedInstruction
    audited = Audit()
    try:
        for line in lines_of(folder, "shard"):
            audited.add(kind.model_validate_json(line))
    except ValidationError as error:
        raise DamagedRun(f"{folder}: holds what is no annotated instruction: {error.errors()[0]['msg']}") from error
    return audited
