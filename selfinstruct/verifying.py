"""`selfinstruct verify`: does everything a run has written still agree? It only reads, and finds; it mends nothing.

ledger.sqlite3 ─► calls, answers, attempts      stage.json ─► the keys of the calls, the rounds
shard-N.jsonl + rejects-N.jsonl ─► manifest.json, record by record ─► the calls that made it
requests ─► results.jsonl + errors.jsonl, byte for byte            (for a folder of `complete`)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import zip_longest
from pathlib import Path

from selfinstruct import batch_file, config, identity, results, run_folder
from selfinstruct.batch import STAGE as COMPLETE
from selfinstruct.batch import Batch, Requests, answered
from selfinstruct.errors import BadData, DamagedRun
from selfinstruct.findings import Report
from selfinstruct.identity import StageIdentity
from selfinstruct.ledger_audit import LEDGER, LedgerAudit
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models.opening import Opened
from selfinstruct.models.replay import ReplayModel
from selfinstruct.results import ANSWERS, ERRORS, Mark
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
        ledger.check(endpoints, _taken_over(chain, report))
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


def _chain(folders: list[Path], report: Report) -> tuple[dict[str, StageIdentity], dict[str, tuple[Endpoint, ...]]]:
    """What each stage was started with, and who answer it; where that is damaged, a finding."""
    found: dict[str, StageIdentity] = {}
    endpoints: dict[str, tuple[Endpoint, ...]] = {}
    for folder in folders:
        where = f"{folder.name}/stage.json"
        if not (folder / "stage.json").exists():
            report.found(where, "is missing", WRITE_ANEW)
            continue
        with suppress(DamagedRun):
            started = identity.read(folder)
            if started and started.stage == folder.name and identity.is_intact(folder):
                endpoints[folder.name] = tuple(endpoint for endpoint, _ in started.asked.values())
                found[folder.name] = started
        if folder.name not in found:
            report.found(where, "is not what was written", WRITE_ANEW)
    return found, endpoints


def _taken_over(chain: dict[str, StageIdentity], report: Report) -> int:
    """The number of the last call that a refiltered run took over from its parent; 0 for a run of its own."""
    of_refiltered = [refiltered for started in chain.values() if (refiltered := started.refiltered)]
    if not of_refiltered:
        return 0
    report.command = of_refiltered[0].command(report.path)
    return of_refiltered[0].calls


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


def recorded_requests(path: Path) -> Requests:
    """The file of requests that the last start of `complete` in this folder has checked, as it was then.

    Raises `DamagedRun` when the folder does not say.
    """
    try:
        return Requests.model_validate_json((path / COMPLETE / "requests.json").read_bytes())
    except (OSError, ValueError) as error:
        raise DamagedRun(f"{path / COMPLETE}/requests.json: cannot be read; run the run's command again") from error


def recorded_batch(path: Path, rows: LedgerReader) -> Batch:
    """What the last start of `complete` in this folder was given, as far as its results depend on it.

    Raises `BadData` when the file of requests is gone or was changed since, `DamagedRun` when the folder does not say.
    """
    started, requests = identity.read(path / COMPLETE), recorded_requests(path)
    if started is None:
        raise DamagedRun(f"{path / COMPLETE}/stage.json: is missing; {WRITE_ANEW}")
    file = Path(requests.path)
    hint = f"{path / COMPLETE}/requests.json says what was checked; run the run's command again"
    try:
        unchanged = _has_bytes(file, requests.size, requests.sha256)
    except BadData as error:
        raise BadData(f"{error}; {hint}") from error
    if not unchanged:
        raise BadData(f"{file}: was changed since its requests were checked; {hint}")
    answering = {
        role: Opened(ReplayModel(endpoint, rows), endpoint, rendering, 1)
        for role, (endpoint, rendering) in started.asked.items()
    }
    opened = answering.pop("teacher")
    pool = {role.partition("/")[2]: one for role, one in answering.items()}
    recipe, limit = identity.model_recipe_of(started), started.identity.get("max_tokens")
    if pool:  # each has its own; what was laid over every body is the batch's
        recipe = ModelRecipe(api=recipe.api, extra_body=started.identity.get("extra_body", {}))
    return Batch(file, path, recipe, limit, config.settings({}), opened, pool)


def result_lines(batch: Batch, rows: LedgerReader) -> Iterator[tuple[bool, bytes]]:
    """Whether it belongs into results.jsonl, and the line, for each request that has an answer or a verdict."""
    return (results.line_of(line, call) for line, call in answered(batch, rows))


def _has_bytes(file: Path, size: int, sha256: str) -> bool:
    return batch_file.same_beginning(file, size, sha256) and file.stat().st_size == size


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
            _compare_results(recorded_batch(path, rows), rows, report)
        except BadData as error:
            report.notes.append(f"results.jsonl and errors.jsonl were not compared: {error}")
        except DamagedRun as error:
            file, _, what = str(error).partition(": ")
            if LEDGER not in file:  # that the ledger is damaged is said already
                report.found(f"{COMPLETE}/{Path(file).name}", *what.split("; ", 1))


def _compare_results(batch: Batch, rows: LedgerReader, report: Report) -> None:
    """Both files against what they should be, line by line; one that is not may be whole and older.

    Results are written when a start ends, and their marks after them. So where a start was cut off, a file is as its
    mark says although the ledger has more by now, or there is neither.
    """
    marks = batch.out / COMPLETE / results.MARKS
    written = results.read(marks.parent)
    for name, of_results in ((ANSWERS, True), (ERRORS, False)):
        file = batch.out / name
        expected = (line for is_result, line in result_lines(batch, rows) if is_result is of_results)
        number, differs = _first_difference(_lines(file), expected)
        report.counts["result lines" if of_results else "error lines"] = number
        if differs is None and (file.exists() or not of_results):  # without errors there is no file of them
            continue
        if not file.exists() and not marks.exists():
            report.notes.append(f"{name}: is not written yet")
        elif written is not None and _is_marked(file, written.files.get(name)):
            report.notes.append(
                f"{name}: is older than the ledger (a start was cut off, or is going on); the next start or"
                f" 'selfinstruct rebuild {report.path}' writes it anew"
            )
        elif not file.exists():
            report.found(name, "is missing", report.rebuild)
        else:
            report.found(name, "is not what the ledger gives", report.rebuild, differs)


def _first_difference(there: Iterator[bytes], expected: Iterator[bytes]) -> tuple[int, int | None]:
    """How many lines are there, and the number of the first that is not as expected; None where all are."""
    count, differs = 0, None
    for number, (line, true) in enumerate(zip_longest(there, expected), 1):
        count += line is not None
        if differs is None and line != true:
            differs = number
    return count, differs


def _is_marked(file: Path, mark: Mark | None) -> bool:
    """Whether the file is as it was written down; without a mark, whether there is none."""
    if mark is None or not file.exists():
        return mark is None and not file.exists()
    return _has_bytes(file, mark.size, mark.sha256)


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; none where it does not exist."""
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return
