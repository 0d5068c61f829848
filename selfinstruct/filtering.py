"""From files to files: rows in, a chain of filters over them, what is kept and what is refused out.

    rows ─► records ─► filters ─► DIR/kept.jsonl      the rows, byte for byte, in their order
    Row   TaskInstance  Drop?     DIR/rejects.jsonl   reason, detail, score, against, filter, line, record
                                  DIR/summary.json    counts, seconds, memory, the chain, hashes

Memory does not grow with the rows, but for the filters that compare them. All three files appear at the end, whole.
"""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson

from selfinstruct import __version__, run_lock
from selfinstruct.errors import OutputFailed, RunLocked, UsageProblem
from selfinstruct.rows import Source
from selfinstruct.screening import Counts, Reading, Screen, Verdict
from selfinstruct.store_files import Spool, pretty, write_whole
from selfinstruct.suite import Chosen

KEPT, REJECTS, SUMMARY = "kept.jsonl", "rejects.jsonl", "summary.json"


@dataclass(frozen=True)
class Order:
    """What is asked for: these rows, less those that the chain refuses, compared with a ``pool`` of rows owned."""

    sources: Sequence[Source]
    chain: Sequence[Chosen]
    reading: Reading
    pool: Sequence[Source] = ()
    reject_bad_rows: bool = False


def filter_into(folder: Path, order: Order, watch: Callable[[Counts], None], *, force: bool = False) -> dict[str, Any]:
    """Screen everything and write the three files; returns the summary. ``watch`` is called after each block.

    Raises `UsageProblem` for a folder that has output already, unless ``force`` says to replace it, and for one whose
    files are read from; `RunLocked` where another process filters into it; `OutputFailed` where it cannot be written;
    and what reading and the filters raise. Whatever is raised, nothing of this try is left.
    """
    with _held(folder, order, force=force):
        started = time.monotonic()
        screen = Screen(order.chain, order.reading, reject_bad_rows=order.reject_bad_rows)
        for source in order.pool:
            for _ in screen.own(source):
                watch(screen.counts)
        kept, rejects = Spool(folder / KEPT), Spool(folder / REJECTS)
        rows = []
        for source in order.sources:
            before = screen.counts.rows
            for verdicts in screen.judge(source):
                kept.append(b"".join(one.row.raw for one in verdicts if one.drop is None))
                rejects.append(b"".join(_reject_line(one, order.chain) for one in verdicts if one.drop is not None))
                watch(screen.counts)
            rows.append(screen.counts.rows - before)
        (folder / SUMMARY).unlink(missing_ok=True)  # where it is, the other two are those it tells of
        digests = {REJECTS: rejects.publish(), KEPT: kept.publish()}
        summary = _summary(order, screen.counts, rows, time.monotonic() - started) | {"outputs": digests}
        write_whole(folder / SUMMARY, pretty(summary))
        return summary


@contextmanager
def _held(folder: Path, order: Order, *, force: bool) -> Iterator[None]:
    """Hold the folder's lock; afterwards no temporary file is left."""
    outputs = [folder / name for name in (KEPT, REJECTS, SUMMARY)]
    try:
        free = run_lock.take(str(folder))
    except OSError as error:
        raise OutputFailed(f"{folder}: cannot write here: {error.strerror}") from error
    if not free:
        raise RunLocked(f"{folder}: another process filters into it; wait for it, or choose another --out")
    try:
        there = [path for path in outputs if path.exists()]
        for source in (*order.pool, *order.sources):
            if any(source.path is not None and path.samefile(source.path) for path in there):
                raise UsageProblem(f"{source.path}: is read from, so it cannot be written to; choose another --out")
        if there and not force:
            raise UsageProblem(f"{folder}: has a {there[0].name} already; choose another --out, or replace it: --force")
        yield
    finally:
        for path in outputs:
            Spool(path).temporary.unlink(missing_ok=True)
        run_lock.release(str(folder))


# --- what is written --------------------------------------------------------------------------------------------------


def _reject_line(verdict: Verdict, chain: Sequence[Chosen]) -> bytes:
    """A refused row, whole, and why. One that is no JSON is told as text."""
    assert verdict.drop is not None
    drop, row, raw = verdict.drop, verdict.row, verdict.row.raw.strip()
    nearest = drop.nearest[0] if drop.nearest else None
    line = {
        "reason": drop.reason,
        "detail": drop.detail,
        "score": nearest.score if nearest else None,
        "against": nearest.id if nearest else None,
        "filter": None if verdict.by is None else chain[verdict.by].use,
        "line": row.place,
        "record": raw.decode("utf-8", "replace") if row.value is None else orjson.Fragment(raw),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _summary(order: Order, counts: Counts, rows: Sequence[int], seconds: float) -> dict[str, Any]:
    libraries = {name for chosen in order.chain for name in chosen.entry.libraries}
    return {
        "rows": counts.rows,
        "kept": counts.kept,
        "refused": counts.rows - counts.kept,
        "reasons": dict(counts.reasons.most_common()),
        "languages": dict(counts.languages.most_common()),
        "seconds": round(seconds, 3),
        "rows_per_second": round(counts.rows / seconds) if seconds else None,
        "peak_memory_mib": round(peak_memory() / 2**20, 1),
        "chain": [
            {
                "use": chosen.use,
                "refused": counts.refused[place],
                "seconds": round(counts.seconds.get(place, 0.0), 3),
                "data": chosen.data,
                "warning": counts.warnings.get(place),
            }
            for place, chosen in enumerate(order.chain)
        ],
        "fields": list(order.reading.fields),
        "answer": order.reading.answer,
        "lang": order.reading.lang,
        "on_bad_row": "reject" if order.reject_bad_rows else "stop",
        "inputs": [{**_read(source), "rows": count} for source, count in zip(order.sources, rows, strict=True)],
        "pool": [_read(source) for source in order.pool],
        "pool_rows": counts.owned,
        "pool_bad_rows": counts.unread,
        "versions": {
            "selfinstruct": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in sorted(libraries)},
        },
    }


def _read(source: Source) -> dict[str, Any]:
    return {"path": str(source.path) if source.path else source.label, "bytes": source.done, "sha256": source.sha256}


def peak_memory() -> int:
    """The most bytes of memory this process has had at once."""
    try:
        status = Path("/proc/self/status").read_text("ascii", "replace")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS has no /proc, and counts in bytes
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
