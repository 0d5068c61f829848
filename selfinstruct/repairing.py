"""`selfinstruct rebuild` and `selfinstruct skip`: what can be derived anew, and a verdict that a person gives.

ledger.sqlite3 ─► the same loop as a run's, nobody asked ─► .rebuilt/<stage>/ ─► <stage>/, file by file
"""

from __future__ import annotations

import asyncio
import filecmp
import hashlib
import re
import shutil
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from selfinstruct import batch_file, deriving, identity, results, run_folder, verifying
from selfinstruct.batch import STAGE as COMPLETE
from selfinstruct.batch import Batch, draw_of
from selfinstruct.errors import BadData, ConfigProblem, DamagedRun
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_audit import LEDGER, calls_of, calls_with
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.results import ANSWERS, ERRORS, Written
from selfinstruct.schema import Draw
from selfinstruct.shard_audit import DATA_FILE, TEMPORARY_FILE
from selfinstruct.store_manifest import Manifest, read_manifest

_WORKPLACE = ".rebuilt"
"""The folder below the run's in which its files are derived, and which a crash may leave behind."""

_DRAW = re.compile(r"([a-z_]+)/(\d+)/(\d+)/(\d+)/(\d+)")


@dataclass
class Rebuilt:
    """What a rebuild did: files that are other than before, files removed, and how many stayed the same."""

    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    same: int = 0


def rebuild(path: Path) -> Rebuilt:
    """Derive a run's shards, rejects and manifests, or the results of `complete`, from its ledger; call nobody.

    Nothing is replaced before everything is derived. A run that was not finished is derived as far as its ledger
    reaches. Raises `RunLocked`, `DamagedRun` naming the call that the ledger has lost or that is damaged in it,
    `IdentityChanged` where prompts or seeds are no longer those of the run, `BadData` where the file of requests is
    gone, is not the one that was checked, or is another one, with fewer answers, than the results were made of, and
    `ConfigProblem` for a refiltered run, which its own command derives anew.
    """
    if refiltered := next((started.refiltered for started in identity.of_run(path) if started.refiltered), None):
        raise ConfigProblem(f"{path}: is {refiltered.advice(path)}")
    with run_folder.held(path), closing(LedgerReader(path / LEDGER)) as rows:
        if (path / COMPLETE).is_dir():
            return _rebuild_results(path, rows)
        with deriving.workplace(path, _WORKPLACE) as place:
            manifests = _derive(path, place, rows)
            done = Rebuilt()
            for stage, manifest in manifests.items():
                _replace(path / stage, place / stage, manifest, done)
            return done


# --- generate ---------------------------------------------------------------------------------------------------------


def _derive(path: Path, place: Path, rows: LedgerReader) -> dict[str, Manifest]:
    """Derive the run's files below ``place``; returns what each stage has now."""
    _, target = identity.recipe_of(path)
    stages = identity.of_run(path)
    first = stages[identity.counted(stages)]
    before = read_manifest(path / first.stage)
    if before is not None and before.state == "complete" and before.accepted < target:
        # A run that was being extended: its shards may still be those of the smaller target.
        found = _manifests(asyncio.run(deriving.derive(path, place, rows, before.accepted)))
        if found[first.stage].accepted == before.accepted and found[first.stage].rounds == before.rounds:
            return found
        shutil.rmtree(place)
        place.mkdir(mode=0o700)
    derived = asyncio.run(deriving.derive(path, place, rows, target))
    found = _manifests(derived)
    for stage, manifest in found.items():
        if manifest.state == "running" and _shards_at(path / stage) > len(manifest.shards):
            call = min(derived.lost, key=lambda draw: (draw.round, draw.slot), default="")
            raise DamagedRun(
                f"{path / LEDGER}: has lost the answer of call {call}, so {stage}/shard-{len(manifest.shards)}.jsonl"
                " cannot be derived; nothing was changed; put the ledger back from a copy"
            )
    return found


def _manifests(derived: deriving.Derived) -> dict[str, Manifest]:
    """What is in whole shards, by stage."""
    return {run.stage.name: run.store.manifest for run in derived.chain}


def _shards_at(folder: Path) -> int:
    """How many shards a stage has: those its manifest names, or all there are where it cannot be read."""
    manifest = read_manifest(folder)
    return len(list(folder.glob("shard-*.jsonl"))) if manifest is None else len(manifest.shards)


def _replace(folder: Path, derived: Path, manifest: Manifest, done: Rebuilt) -> None:
    """Let a stage's derived files take the place of what is there, the manifest last; remove what it does not name.

    Files of other names are left where they are.
    """
    names = [f"{kind}-{shard.number}.jsonl" for shard in manifest.shards for kind in ("rejects", "shard")]
    for name in [*names, *(["manifest.json"] if manifest.shards else [])]:
        old, new = folder / name, derived / name
        if old.is_file() and filecmp.cmp(old, new, shallow=False):
            done.same += 1
            continue
        new.replace(old)
        done.changed.append(f"{folder.name}/{name}")
    for path in sorted(folder.iterdir()):
        ours = DATA_FILE.fullmatch(path.name) or TEMPORARY_FILE.fullmatch(path.name)
        if (ours and path.name not in names) or (path.name == "manifest.json" and not manifest.shards):
            path.unlink()
            done.removed.append(f"{folder.name}/{path.name}")


# --- complete ---------------------------------------------------------------------------------------------------------


def _rebuild_results(path: Path, rows: LedgerReader) -> Rebuilt:
    batch, requests = verifying.recorded_batch(path, rows), verifying.recorded_requests(path)
    _keep_results(batch, rows, requests.sha256, results.read(path / COMPLETE))
    before = {name: _digest(path / name) for name in (ANSWERS, ERRORS)}
    results.derive(batch, rows, requests)
    done = Rebuilt()
    for name in before:
        after = _digest(path / name)
        if after is None:
            done.removed += [name] if before[name] is not None else []
        elif after == before[name]:
            done.same += 1
        else:
            done.changed.append(name)
    return done


def _keep_results(batch: Batch, rows: LedgerReader, requests: str, last: Written | None) -> None:
    """Raise `BadData` where results would get fewer because they were made of another file of requests."""
    if last is None or last.requests == requests:
        return
    have, gives = last.answered + last.failed, sum(1 for _ in verifying.result_lines(batch, rows))
    if gives < have:
        raise BadData(
            f"{batch.requests}: has {gives} answers, and the results in {batch.out} are the {have} of another file of"
            " requests; nothing was changed; run the run's command again with the file that is meant"
        )


def _digest(file: Path) -> bytes | None:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except FileNotFoundError:
        return None


# --- skip -------------------------------------------------------------------------------------------------------------


def skip(path: Path, name: str, reason: str) -> tuple[str, Draw]:
    """Record the verdict ``skipped`` on a call without an answer; returns its key and draw.

    ``name`` is a ``custom_id`` of a `complete` run, at least 6 digits of the key, or the draw stage/round/slot/step/k.
    What is derived from it is up to date at once for `complete`, and when the run goes on for other runs. Raises
    `BadData` where no call is called so, more than one is, or it has an answer; `RunLocked`.
    """
    with run_folder.held(path):
        key, draw, state = _the_call(path, name)
        if state != "open":
            raise BadData(f"call {key[:12]} ({draw}) is {state} already; only a call without an answer can be skipped")
        with Ledger(path / LEDGER) as ledger:
            asyncio.run(_refuse(ledger, key, draw, reason))
            if draw.stage == COMPLETE:
                with suppress(BadData):  # the file of requests is gone: the next start, which has it, writes them
                    _rebuild_results(path, ledger.rows)
        return key, draw


async def _refuse(ledger: Ledger, key: str, draw: Draw, reason: str) -> None:
    ledger.find(draw, key)
    await ledger.refuse(key, reason, None, "skipped")


def _the_call(path: Path, name: str) -> tuple[str, Draw, str]:
    """Key, draw and state of the one call that is called so."""
    found = _by_custom_id(path, name)
    if not found and (parts := _DRAW.fullmatch(name)):
        stage, *numbers = parts.groups()
        round, slot, step, k = map(int, numbers)
        found = calls_of(path / LEDGER, Draw(stage=stage, round=round, slot=slot, step=step, k=k))
        found = [call for call in found if call[2] == "open"] or found
    elif not found and re.fullmatch("[0-9a-fA-F]{6,64}", name):
        found = calls_with(path / LEDGER, name.lower())
    if len(found) == 1:
        return found[0]
    if found:
        keys = ", ".join(f"{key[:12]} ({draw}, {state})" for key, draw, state in found)
        raise BadData(f"'{name}' may be any of {keys}: name one by more digits of its key")
    raise BadData(
        f"no call of {path} is called '{name}': expected at least 6 digits of its key, its draw as"
        " stage/round/slot/step/k, or the custom_id of a request that was sent"
    )


def _by_custom_id(path: Path, name: str) -> list[tuple[str, Draw, str]]:
    if not (path / COMPLETE).is_dir():
        return []
    with closing(LedgerReader(path / LEDGER)) as rows:
        try:
            batch = verifying.recorded_batch(path, rows)
        except BadData:
            return []
        lines = batch_file.read_lines(batch.requests, model=batch.recipe.name or None)
        line = next((line for line in lines if line.custom_id == name), None)
        if line is None:
            return []
        keys = dict.fromkeys(batch.keys(line))
        calls = (rows.find(draw_of(line.number), key) for key in keys)
        return [(call.key, call.draw, call.state) for call in calls if call]
