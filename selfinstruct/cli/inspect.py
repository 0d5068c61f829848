"""`selfinstruct status`: what runs have accepted, rejected and spent. It only reads."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli.options import Json, OutputDir
from selfinstruct.errors import DamagedRun

if TYPE_CHECKING:
    from selfinstruct.cli.figures import Money
    from selfinstruct.yields import Span


def status(
    run: Annotated[
        str | None, typer.Argument(help="The run's name, or the path of its folder; without it, every run is listed.")
    ] = None,
    output_dir: OutputDir = None,
    json: Json = False,
) -> None:
    """Show what runs have accepted, rejected and spent, or how many requests are answered.

    Of a run that is named, its yield over time as well: when new calls bring little that is new, it is time to stop.
    """
    from selfinstruct.cli import figures
    from selfinstruct.config import settings
    from selfinstruct.run_folder import find, runs_in

    root = settings({"output_dir": output_dir}).output_dir
    paths = [find(root, run)] if run is not None else runs_in(root)
    found = [_status(path) for path in paths]
    spans = _spans(paths[0], found[0][0]) if run is not None else None
    if json:
        import orjson

        rows = [{**row, "money": figures.money_json(money)} for row, money in found]
        if spans is not None:
            rows[0]["yield"] = [_span_json(span, found[0][1].currency) for span in spans]
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    if not found:
        typer.echo(f"no runs in {root}; 'selfinstruct generate' starts one")
    for row, money in found:
        typer.echo(_status_text(row, figures.money_lines(money)))
        if spans:
            typer.echo("\n".join(_yield_lines(spans, row, money.currency)))


def _status(path: Path) -> tuple[dict[str, Any], Money]:
    from selfinstruct import identity
    from selfinstruct.batch import STAGE
    from selfinstruct.cli import figures
    from selfinstruct.ledger_reader import LedgerReader

    with closing(LedgerReader(path / "ledger.sqlite3")) as reader:
        spending, money = reader.spending(), figures.money_of(reader.spending(), reader.currency())
    stages: list[dict[str, Any]] = []
    target, parent = 0, None
    for started in identity.of_run(path):
        target, parent = started.target, started.refiltered.run if started.refiltered else None
        settled = [row for row in spending if row.stage == started.stage and row.state == "settled"]
        counted = _answered(path, target) if started.stage == STAGE else _accepted(path / started.stage)
        stages.append(
            {
                "stage": started.stage,
                **counted,
                "calls": sum(row.attempts for row in settled),
                "tokens": sum(row.prompt_tokens + row.completion_tokens for row in settled),
            }
        )
    return {"run": path.name or path.resolve().name, "target": target, "parent": parent, "stages": stages}, money


def _accepted(folder: Path) -> dict[str, Any]:
    from selfinstruct.store import Tally
    from selfinstruct.store_manifest import read_manifest

    tally, manifest = Tally(), read_manifest(folder)
    for shard in manifest.shards if manifest else ():
        tally.add(shard)
    return {
        "state": manifest.state if manifest else "running",
        "accepted": tally.accepted,
        "rejects": dict(sorted(tally.rejects.items())),
        "barren": tally.barren,
    }


def _answered(path: Path, requests: int) -> dict[str, Any]:
    """Of a folder of `complete`: its requests, counted by what became of them when its results were written last.

    The ledger, which has answers of lines too that were changed since, tells only until there are results.
    """
    from selfinstruct import results
    from selfinstruct.batch import STAGE
    from selfinstruct.ledger_audit import answers_by_state

    written = results.read(path / STAGE)
    if written is not None:
        answered, failed = written.answered, written.failed
    else:
        ended = answers_by_state(path / "ledger.sqlite3")
        answered = ended.pop("settled", 0)
        failed = sum(ended.values())
    waiting = max(0, requests - answered - failed)
    state = "running" if waiting else "complete"
    return {"state": state, "answered": answered, "failed": failed, "waiting": waiting}


def _status_text(row: dict[str, Any], money: list[str]) -> str:
    what = f"{row['parent']} refiltered" if row["parent"] else f"target {row['target']}"
    lines = [f"{row['run']}  ({what})"]
    wide = max(12, *(len(stage["stage"]) + 1 for stage in row["stages"]))
    for stage in row["stages"]:
        if "answered" in stage:
            counts = f"{stage['answered']:>8} answered{stage['failed']:>7} failed{stage['waiting']:>8} waiting"
        else:
            counts = f"{stage['accepted']:>8} in shards{sum(stage['rejects'].values()):>8} rejects"
        paid = f"{stage['calls']:>8} calls{stage['tokens']:>11} tokens"
        lines.append(f"  {stage['stage']:<{wide}}{stage['state']:<10}{counts}{paid}")
        if stage.get("rejects"):
            lines.append("    " + ", ".join(f"{reason} {count}" for reason, count in stage["rejects"].items()))
    lines += [f"  {line}" for line in money]
    if any(stage["state"] == "running" for stage in row["stages"]):
        kept = "" if "answered" in row["stages"][0] else " what is not yet in a shard is in the ledger;"
        lines.append(f"  not finished:{kept} run the same command again to go on")
    return "\n".join(lines)


def _spans(path: Path, row: dict[str, Any]) -> list[Span] | None:
    """The yield over time of a run of `generate`, empty for fewer than two spans.

    None for another run, or, once it was said why, where a shard is damaged: what else there is to see is shown.
    """
    from selfinstruct import identity, yields
    from selfinstruct.ledger_reader import LedgerReader

    chain = identity.of_run(path)
    stages = [started.stage for started in chain[identity.counted(chain) :]]
    if not stages or "answered" in row["stages"][0] or row["parent"]:
        return None  # nobody was asked, or, for a refiltered run, mostly somewhere else
    try:
        with closing(LedgerReader(path / "ledger.sqlite3")) as reader:
            spans = yields.spans(path, stages, reader)
    except DamagedRun as error:
        typer.echo(f"no yield over time: {error}", err=True)
        return None
    return spans if len(spans) > 1 else []


def _yield_lines(spans: list[Span], row: dict[str, Any], currency: str) -> list[str]:
    """The yield over time for people: a table, and what its first and last line say."""
    from selfinstruct.money import show_money
    from selfinstruct.yields import UNIT

    stages = [stage["stage"] for stage in row["stages"]]
    running = any(stage["state"] == "running" for stage in row["stages"])
    left_out = "; rounds not yet in shards are not counted" if running else ""
    final = f", final by {stages[-1]}, calls of all stages" if len(stages) > 1 else ""
    unit = show_money(UNIT, currency)
    head = ["rounds", "calls", "accepted", "final", "per 100 calls", "spent", f"per {unit}", "largest reject"]
    table = [head, *(_yield_cells(span, currency) for span in spans)]
    if len(stages) == 1:
        for cells in table:
            del cells[3]  # the same numbers as those before
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [f"  yield over time (accepted by {stages[0]}{final}{left_out})"]
    for cells in table:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("    " + "  ".join([cells[0].ljust(widths[0]), *padded[1:-1], cells[-1]]))
    rates = {"100 calls": [span.per_100_calls for span in spans], unit: [span.per_unit for span in spans]}
    told = [
        f"{what} brought {_rate(rate[0])} accepted at first, {_rate(rate[-1])} at last"
        for what, rate in rates.items()
        if None not in (rate[0], rate[-1])
    ]
    return [*lines, f"  {'; '.join(told)}"] if told else lines


def _yield_cells(span: Span, currency: str) -> list[str]:
    from selfinstruct.money import show_money

    rounds = f"{span.first}-{span.last}" if span.last > span.first else str(span.first)
    more = f" + {span.unpriced} unpriced" if span.unpriced else ""
    spent = "-" if span.cost is None else show_money(span.cost, currency) + more
    reject = span.largest_reject
    lost = f"{reject[0]}, {reject[2]:.0%} of candidates" if reject else "-"
    counts = [str(count) for count in (span.calls, span.accepted, span.final)]
    return [rounds, *counts, _rate(span.per_100_calls), spent, _rate(span.per_unit), lost]


def _rate(value: float | None) -> str:
    """Three digits, or all before the point; ``-`` for none."""
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _span_json(span: Span, currency: str) -> dict[str, Any]:
    """A span for machines: money as a decimal string in whole units, null where it is not known."""
    from selfinstruct.money import Amount

    reject = span.largest_reject
    return {
        "first_round": span.first,
        "last_round": span.last,
        "calls": span.calls,
        "accepted": span.accepted,
        "final": span.final,
        "accepted_per_100_calls": span.per_100_calls,
        "spent": None if span.cost is None else Amount(currency, span.cost).units,
        "unpriced_calls": span.unpriced,
        "accepted_per_unit": span.per_unit,
        "largest_reject": dict(zip(("reason", "count", "share"), reject, strict=True)) if reject else None,
    }
