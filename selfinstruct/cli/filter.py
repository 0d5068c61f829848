"""`selfinstruct filter`: screens rows of anybody's data with the filters of the suite."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfinstruct.cli.options import Json, OutputDir, Quiet
from selfinstruct.errors import Interrupted, UsageProblem

if TYPE_CHECKING:
    from tqdm import tqdm

    from selfinstruct.filtering import Order
    from selfinstruct.screening import Counts


class Lang(StrEnum):
    """The language of the rows."""

    auto = "auto"
    en = "en"
    zh = "zh"


class OnBadRow(StrEnum):
    """What a row that cannot be read does."""

    stop = "stop"
    reject = "reject"


def filter(
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|RUN…",
            help="JSON Lines, a .json array or .parquet, the first two also as .gz; - is standard input; or a run.",
        ),
    ] = None,
    use: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:PARAMETER]",
            help="A filter, such as rouge-l:0.7. Repeat it for a chain, cheap ones first; --list shows all.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The folder for kept.jsonl, rejects.jsonl and summary.json."),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="The field whose text is judged, such as prompt or messages.0.content; several are joined."
            " [default: instruction]",
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The field of the answer, which filters of content judge, too, such as target or messages.1.content."
            " [default: output, where a row has one]",
        ),
    ] = None,
    lang: Annotated[Lang, typer.Option(help="The language of the rows; auto tells it row by row.")] = Lang.auto,
    pool: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|RUN", help="Rows you own already: new ones are compared with them; they are not written."
        ),
    ] = None,
    on_bad_row: Annotated[
        OnBadRow, typer.Option(help="A row that cannot be read stops the command (65), or is refused as bad_row.")
    ] = OnBadRow.stop,
    force: Annotated[bool, typer.Option("--force", help="Replace the output that is in the folder.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Print the table of filters and exit.")] = False,
    output_dir: OutputDir = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Screen rows of any data: what passes the filters is kept as it came, what does not is kept with the reason.

    Nothing is written before the end: the three files appear whole, or not at all.
    """
    from selfinstruct.filtering import filter_into
    from selfinstruct.store_files import pretty

    if list_:
        _print_table()
        return
    if not source or not use or out is None:
        raise UsageProblem("say what to filter, by what and into what: FILE --use NAME --out DIR; --list shows names")
    read = (field or ["instruction"], answer, lang.value, on_bad_row is OnBadRow.reject)
    order = _order((source, pool or [], output_dir), use, read)
    with _signals_stop(), _bar(order, quiet=quiet) as bar:
        warned: set[int] = set()

        def watch(counts: Counts) -> None:
            _warn(counts, warned)
            _show(bar, order, counts)

        summary = filter_into(out, order, watch, force=force)
    if json:
        typer.echo(pretty(summary), nl=False)
    elif not quiet:
        _print_summary(out, summary)


def _order(
    named: tuple[list[str], list[str], Path | None], uses: list[str], read: tuple[list[str], str | None, Any, bool]
) -> Order:
    from selfinstruct import suite
    from selfinstruct.config import settings
    from selfinstruct.filtering import Order
    from selfinstruct.rows import open_sources
    from selfinstruct.screening import Reading

    names, pool, output_dir = named
    fields, answer, lang, reject_bad_rows = read
    if (names + pool).count("-") > 1:
        raise UsageProblem("standard input can be read once")
    chain = suite.choose(uses, lang)
    if pool and not any(chosen.entry.compares for chosen in chain):
        raise UsageProblem(f"--pool: none of {', '.join(uses)} compares rows with one another")
    sources = open_sources(names + pool, settings({"output_dir": output_dir}).output_dir)
    if judges := [chosen.use for chosen in chain if chosen.entry.judges_output]:
        answer = answer or "output"
        if answer in fields:
            raise UsageProblem(f"--field {answer}: {judges[0]} judges it as the answer; name the question's field")
    reading = Reading(tuple(fields), lang, answer)
    return Order(sources[: len(names)], chain, reading, sources[len(names) :], reject_bad_rows)


# --- while it works ---------------------------------------------------------------------------------------------------


@contextmanager
def _signals_stop() -> Iterator[None]:
    """A signal ends the command as an error of ours does: what it has written so far is taken away."""

    def stop(number: int, _: object) -> None:
        raise Interrupted("stopped; nothing was written", number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # under nohup, which ignores it, SIGHUP stays ignored
    before = {number: signal.signal(number, stop) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bar(order: Order, *, quiet: bool) -> tqdm[Any]:
    """How much is read, in bytes, on a terminal."""
    from tqdm import tqdm

    sizes = [source.size for source in (*order.pool, *order.sources)]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    return tqdm(total=total, unit="B", unit_scale=True, dynamic_ncols=True, disable=quiet or None, leave=False)


def _warn(counts: Counts, warned: set[int]) -> None:
    """Say once of each filter what makes it slow, when it does."""
    for place in counts.warnings.keys() - warned:
        typer.echo(f"selfinstruct: {counts.warnings[place]}", err=True)
        warned.add(place)


def _show(bar: tqdm[Any], order: Order, counts: Counts) -> None:
    if bar.disable:
        return
    bar.set_postfix_str(f"{counts.kept} of {counts.rows} rows kept", refresh=False)
    bar.update(sum(source.done for source in (*order.pool, *order.sources)) - bar.n)


# --- what is printed --------------------------------------------------------------------------------------------------


def _print_table() -> None:
    from selfinstruct import suite

    for takes, refuses in suite.table():
        typer.echo(f"{takes:<24}{refuses}")


def _print_summary(folder: Path, summary: dict[str, Any]) -> None:
    """The chain with what each filter refused, the reasons, time and memory."""
    typer.echo(f"{'filter':<28}{'refused':>10}{'seconds':>10}")
    for link in summary["chain"]:
        typer.echo(f"{link['use']:<28}{link['refused']:>10}{link['seconds']:>10.1f}")
    for reason, count in summary["reasons"].items():
        typer.echo(f"  {reason:<26}{count:>10}")
    if summary["pool"]:
        unread = f", {summary['pool_bad_rows']} that cannot be read" if summary["pool_bad_rows"] else ""
        typer.echo(f"compared with {summary['pool_rows']} rows of the pool{unread}")
    rows, kept = summary["rows"], summary["kept"]
    share = f", {kept / rows:.2%}" if rows else ""
    typer.echo(f"{kept} of {rows} rows kept{share}; " + ", ".join(f"{k} {n}" for k, n in summary["languages"].items()))
    speed = f"{summary['rows_per_second']} rows/s, " if summary["rows_per_second"] else ""
    typer.echo(f"{summary['seconds']:.1f} s, {speed}at most {summary['peak_memory_mib']:.0f} MiB of memory")
    typer.echo(f"\nkept     {folder}/kept.jsonl\nrejects  {folder}/rejects.jsonl\nsummary  {folder}/summary.json")
