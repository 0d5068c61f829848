"""`selfinstruct verify`: does everything a run has written still agree? It only reads, and finds; it mends nothing.

ledger.sqlite3 ─► calls, answers, attempts      stage.json ─► the keys of the calls, the rounds
shard-N.jsonl + rejects-N.jsonl ─► manifest.json, record by record ─► the calls that made it
requests ─► results.jsonl + errors.jsonl, byte for byte            (for a folder of `complete`)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from selfinstruct import batch_file, config, identity, run_folder
from selfinstruct.completing import STAGE as COMPLETE
from selfinstruct.completing import Batch, Requests, draw_of
from selfinstruct.errors import BadData, DamagedRun
from selfinstruct.findings import Report
from selfinstruct.identity import StageIdentity
from selfinstruct.ledger import LedgerReader
from selfinstruct.ledger_audit import LEDGER, LedgerAudit
from selfinstruct.models.opening import Opened
from selfinstruct.models.replay import ReplayModel
from selfinstruct.runner import REFUSALS
from selfinstruct.schema import Endpoint
from selfinstruct.shard_audit import TEMPORARY_FILE, StageAudit

WRITE_ANEW = (
    "nothing else knows the run's settings: put it back from a copy, or delete it and run the run's own command again,"
    " which writes it anew"
)
"""What to do about a damaged ``stage.json``."""


def check(path: Path) -> Report:
    """Everything that can be checked of the run in a folder.

    May run beside a process that works on the run, and on a copy. Raises `ConfigProblem` for a ledger of another
    version.
    """
    report = Report(path, in_use=run_folder.in_use(path))
    if report.in_use:
        report.notes.append("the run is in use: open rounds, results and temporary files are not checked")
    folders = _stage_folders(path)
    chain, endpoints = _chain(folders, report)
    audits = [StageAudit(folder, chain.get(folder.name), report) for folder in folders if folder.name != COMPLETE]
    with LedgerAudit(report) as ledger:
        ledger.check(endpoints)
        for stage in ledger.stages():
            if path / stage not in folders:
                report.found(f"{stage}/stage.json", "is missing", WRITE_ANEW)
        _check_stages(audits, chain, ledger)
        if COMPLETE in chain:
            _check_results(path, ledger, report)
    report.close()
    return report


# --- the stages -----------------------------------------------------------------------------------------------------


def _stage_folders(path: Path) -> list[Path]:
    files = ("stage.json", "manifest.json", "shard-0.jsonl")
    return sorted(folder for folder in path.iterdir() if any((folder / name).exists() for name in files))


def _chain(folders: list[Path], report: Report) -> tuple[dict[str, StageIdentity], dict[str, Endpoint]]:
    """What each stage was started with, and who answers it; where that is damaged, a finding."""
    found: dict[str, StageIdentity] = {}
    endpoints: dict[str, Endpoint] = {}
    for folder in folders:
        where = f"{folder.name}/stage.json"
        if not (folder / "stage.json").exists():
            report.found(where, "is missing", WRITE_ANEW)
            continue
        with suppress(DamagedRun):
            started = identity.read(folder)
            if started and started.stage == folder.name and identity.is_intact(folder):
                endpoints[folder.name] = started.endpoint[0]
                found[folder.name] = started
        if folder.name not in found:
            report.found(where, "is not what was written", WRITE_ANEW)
    return found, endpoints


def _check_stages(audits: list[StageAudit], chain: dict[str, StageIdentity], ledger: LedgerAudit) -> None:
    """Each stage after the one that feeds it: that is the one whose digest it names."""
    by_digest = {started.digest: name for name, started in chain.items()}
    waiting = {audit.name: audit for audit in audits}
    checked: dict[str, StageAudit] = {}
    while waiting:
        name = next((name for name in waiting if _upstream(chain.get(name), by_digest) not in waiting), min(waiting))
        audit = waiting.pop(name)
        audit.check(ledger, checked.get(_upstream(chain.get(name), by_digest) or ""))
        checked[name] = audit


def _upstream(started: StageIdentity | None, by_digest: dict[str, str]) -> str | None:
    return by_digest.get(started.identity.get("upstream") or "") if started else None


# --- a folder of `complete` -------------------------------------------------------------------------------------------


def recorded_batch(path: Path, rows: LedgerReader) -> Batch:
    """What the last start of `complete` in this folder was given, as far as its results depend on it.

    Raises `BadData` when the file of requests is gone or was changed since, `DamagedRun` when the folder does not say.
    """
    started = identity.read(path / COMPLETE)
    try:
        requests = Requests.model_validate_json((path / COMPLETE / "requests.json").read_bytes())
    except (OSError, ValueError) as error:
        raise DamagedRun(f"{path / COMPLETE}/requests.json: cannot be read; run the run's command again") from error
    if started is None:
        raise DamagedRun(f"{path / COMPLETE}/stage.json: is missing; {WRITE_ANEW}")
    file = Path(requests.path)
    if not batch_file.same_beginning(file, requests.size, requests.sha256) or file.stat().st_size != requests.size:
        raise BadData(f"{file}: was changed since its requests were sent; run the run's command again")
    endpoint, rendering = started.endpoint
    opened = Opened(ReplayModel(endpoint, rows), endpoint, rendering, 1)
    recipe, limit = identity.model_recipe_of(started), started.identity.get("max_tokens")
    return Batch(file, path, recipe, limit, config.settings({}), opened)


def _check_results(path: Path, ledger: LedgerAudit, report: Report) -> None:
    if report.in_use or not ledger.readable:
        return
    report.notes += [
        f"{file.name}: left behind by a crash; the next start removes it"
        for file in sorted(path.glob(".*.tmp"))
        if TEMPORARY_FILE.fullmatch(file.name)
    ]
    with closing(LedgerReader(path / LEDGER)) as rows:
        try:
            _compare_results(recorded_batch(path, rows), rows, ledger, report)
        except BadData as error:
            report.notes.append(f"results.jsonl and errors.jsonl were not compared: {error}")
        except DamagedRun as error:
            file, _, what = str(error).partition(": ")
            if LEDGER not in file:  # that the ledger is damaged is said already
                report.found(f"{COMPLETE}/{Path(file).name}", *what.split("; ", 1))


def _compare_results(batch: Batch, rows: LedgerReader, ledger: LedgerAudit, report: Report) -> None:
    """Both files against what they should be, line by line.

    A process that was killed has not written its results: its answers may be missing from the files, but nothing else.
    """
    for name, of_results in (("results.jsonl", True), ("errors.jsonl", False)):
        expected = (line for is_result, line in _result_lines(batch, rows) if is_result is of_results)
        missing = number = 0
        for number, line in enumerate(_lines(batch.out / name), 1):
            while (true := next(expected, None)) is not None and true != line and ledger.reserved:
                missing += 1
            if true != line:
                report.found(name, "is not what the ledger gives", report.rebuild, number)
                break
        else:
            missing += sum(1 for _ in expected)
        report.counts["result lines" if of_results else "error lines"] = number
        if missing and ledger.reserved:
            report.notes.append(f"{name}: {missing} lines were not written when the process died; {report.rebuild}")
        elif missing:
            report.found(name, f"lacks {missing} lines behind line {number}", report.rebuild)


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; none where it does not exist."""
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return


def _result_lines(batch: Batch, rows: LedgerReader) -> Iterator[tuple[bool, bytes]]:
    """Whether it belongs into results.jsonl, and the line, for each request that has an answer or a verdict."""
    for line in batch_file.read_lines(batch.requests, model=batch.recipe.name or None):
        calls = (rows.find(draw_of(line.number), key) for key in batch.keys(line))
        call = next((call for call in calls if call is not None and call.state != "open"), None)
        if call is None:
            continue
        if call.state == "settled":
            yield True, batch_file.result_line(line.custom_id, call.key, call.answer)
        else:
            said = call.answer.decode()
            yield False, batch_file.error_line(line.custom_id, call.key, REFUSALS[call.state], said, call.status)
