"""`selfinstruct verify`, `rebuild` and `skip`: is a run sound, derive it anew, give up on a call that never answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfinstruct.cli.options import Json, OutputDir
from selfinstruct.errors import DamagedRun

if TYPE_CHECKING:
    from selfinstruct.findings import Report

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's name, or the path of its folder.")]


def verify(run: Run, output_dir: OutputDir = None, json: Json = False) -> None:
    """Check a run: ledger, stage.json, manifests, shards, results. Writes nothing; exit 5 when something is damaged.

    Each finding is one line: where, what is wrong, what to do. Works beside a process that works on the run.
    """
    from selfinstruct import verifying

    path = _path(run, output_dir)
    report = verifying.check(path)
    typer.echo(_as_json(report) if json else _as_text(report))
    if not report.sound:
        raise DamagedRun(f"{path}: {_many(len(report.findings), 'place')} damaged")


def rebuild(run: Run, output_dir: OutputDir = None) -> None:
    """Derive a run's shards, rejects, manifests or results anew from its ledger; nobody is called, nothing is paid.

    What was not damaged comes out byte for byte as before. A run that is not finished is derived as far as its ledger
    reaches.
    """
    from selfinstruct import repairing

    path = _path(run, output_dir)
    done = repairing.rebuild(path)
    for file in done.changed:
        typer.echo(f"written anew: {file}")
    for file in done.removed:
        typer.echo(f"removed: {file}")
    counts = f"{len(done.changed)} written anew, {len(done.removed)} removed"
    typer.echo(f"{path}: {_many(done.same, 'file')} as before, {counts}")


def skip(
    run: Run,
    call: Annotated[
        str,
        typer.Argument(
            metavar="CALL",
            help="At least 6 digits of the call's key, its draw (stage/round/slot/step/k), or a request's custom_id.",
        ),
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept with the verdict.")] = "skipped by hand",
    output_dir: OutputDir = None,
) -> None:
    """Give up on one call that has no answer, so that it stops holding up its run; run the run again afterwards.

    It becomes a reject called 'skipped', or a line of errors.jsonl.
    """
    from selfinstruct import repairing

    path = _path(run, output_dir)
    key, draw = repairing.skip(path, call, reason)
    typer.echo(f"{path}: call {key[:12]} ({draw}) will not be sent again; run the run's command again to go on")


def _path(run: str, output_dir: Path | None) -> Path:
    from selfinstruct.config import settings
    from selfinstruct.run_folder import find

    return find(settings({"output_dir": output_dir}).output_dir, run)


def _as_text(report: Report) -> str:
    lines = [str(finding) for finding in report.findings] + [f"note: {note}" for note in report.notes]
    checked = ", ".join(f"{count} {what}" for what, count in report.counts.items()) or "nothing"
    verdict = "sound" if report.sound else "damaged"
    return "\n".join([*lines, f"{report.path}: {verdict}; checked {checked}"])


def _as_json(report: Report) -> str:
    import orjson

    row = {
        "path": str(report.path),
        "sound": report.sound,
        "in_use": report.in_use,
        "findings": [finding._asdict() for finding in report.findings],
        "notes": report.notes,
        "checked": dict(report.counts),
    }
    return orjson.dumps(row, option=orjson.OPT_INDENT_2).decode()


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
