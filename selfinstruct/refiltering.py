"""`selfinstruct refilter`: the candidates a run has recorded, judged anew by another chain of filters.

    parent's ledger ─► the parent, derived anew (nobody asked) ─► its candidates, round by round, as they were drawn
                                                                              │ new filters, in job order
    answers taken over ─► RUN2/ledger.sqlite3 ─► later stages ─► RUN2/<stage>/shard-N.jsonl + rejects-N.jsonl

A record keeps the id it has in the parent, and so do its later calls: that is how their answers are found. A record
that the parent did not have goes through the later stages under slots behind the parent's; its answers are recorded
nowhere, so it is left out, as a reject called `NOT_ASKED`, until somebody pays for them. A refiltered run can be a
parent, too: what was paid for there is found by the slots that it gave.

The new run has a ledger of its own, into which the parent's answers are copied by one transaction before anything is
derived: it stays what it is when the parent goes on, and is shown, verified and exported like any other run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selfinstruct import config, deriving, identity, launch, ledger_file, run_folder, settling
from selfinstruct.batch import STAGE as COMPLETE
from selfinstruct.config import Settings
from selfinstruct.deriving import AsRecorded
from selfinstruct.errors import BadData, ConfigProblem, DamagedRun, IdentityChanged, UsageProblem, Withdrawn
from selfinstruct.identity import Refiltered, StageIdentity
from selfinstruct.launch import Account, Plan, Watch
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.links import Link
from selfinstruct.models import opening
from selfinstruct.models.opening import Opened
from selfinstruct.protocols import Model
from selfinstruct.recipe import STAGES, Recipe
from selfinstruct.redrawing import NOT_ASKED, Redrawn, Renumbered, Slots, slots_of
from selfinstruct.schema import Completion, Reject, Request
from selfinstruct.store import StageStore, Tally, lines_of
from selfinstruct.store_manifest import read_manifest

_LEDGER = "ledger.sqlite3"
_WORKPLACE = ".parent"
"""The folder below the run's in which its parent is derived, and which a crash may leave behind."""

_FILTERS = frozenset("threshold similar use min_output_words max_ngram_repeats".split())
"""What a stage's table says of its filters alone, beside its ``rules``."""


@dataclass(frozen=True)
class Refilter:
    """What to refilter, and how, checked. ``plan`` is the new run's, with the parent's name and calls in it."""

    parent: Path
    plan: Plan
    pay: bool


# --- before anything is written ---------------------------------------------------------------------------------------


def prepare(parent: Path, path: Path, sets: Sequence[str], settings: Settings, *, pay: bool) -> Refilter:
    """Plan a run at ``path`` over the candidates of ``parent``, with ``key=value`` changes to its filters.

    Writes and sends nothing; only with ``pay`` is a model opened. Raises `BadData` where there are no candidates,
    `ConfigProblem` for a change to anything but filters, `UsageProblem` for a bad value, and what `open_model` raises.
    """
    started = _started(parent, path)
    before, target = identity.recipe_of(parent)
    recipe, keys = config.reset(before, sets)
    for key in keys:
        _check_key(key, recipe)
    endpoint, rendering = started[0].endpoint
    opened = opening.open_model(recipe.model, settings) if pay else Opened(_Nobody(), endpoint, rendering, 1)
    changed = {key: value for key in sorted(keys) if (value := _value(recipe, key)) != _value(before, key)}
    there = read_manifest(parent / started[0].stage)  # before the ledger, which is always ahead of it
    told = Refiltered(
        run=parent.resolve().name,
        parent="",
        target=max(target, there.accepted if there else 0),
        rounds=there.rounds if there else 0,
        calls=_last_call(parent),
        changed=changed,
    )
    refiltered = [told.model_copy(update={"parent": each.digest}) for each in started]
    return Refilter(parent, replace(launch.plan(recipe, settings, opened, path), refiltered=refiltered), pay)


class _Nobody:
    """In the place of a model where nobody is to be asked."""

    async def complete(self, request: Request) -> Completion:
        """Raise `Withdrawn`."""
        raise Withdrawn(f"{request.draw} is not asked without --pay")

    async def aclose(self) -> None:
        """Nothing to let go of."""


def _started(parent: Path, path: Path) -> list[StageIdentity]:
    """What the parent's stages were started with."""
    if parent.resolve() == path.resolve():
        raise UsageProblem(f"--out {path}: is the run itself; the refiltered records need a folder of their own")
    started = identity.of_run(parent)
    if not started or started[0].stage == COMPLETE:
        raise BadData(f"{parent}: holds no run of 'selfinstruct generate', so there are no candidates to filter")
    if (command := config.COMMANDS.get(started[0].identity["method"])) is not None:
        raise BadData(f"{parent}: is a run of 'selfinstruct {command}'; only instructions can be refiltered so far")
    if any("/" in role for role in started[-1].asked):
        raise BadData(f"{parent}: was made by a pool of models; such runs cannot be refiltered so far")
    if (above := started[0].refiltered) is not None:
        if not above.beside(parent).is_dir():
            raise BadData(f"{parent}: is '{above.run}' refiltered, which is not beside it: put both into one folder")
        _started(above.beside(parent), path)
    return started


def _last_call(parent: Path) -> int:
    with closing(LedgerReader(parent / _LEDGER)) as rows:
        if not rows.has_answers():
            raise BadData(f"{parent}: no answer is recorded yet, so there are no candidates to filter")
        return rows.last_call()


def _check_key(key: str, recipe: Recipe) -> None:
    """Raise `ConfigProblem` for a key that does more than say what the filters refuse."""
    table, _, name = key.partition(".")
    first, _, rest = name.partition(".")
    if table in STAGES[recipe.method] and (first in _FILTERS or (first == "rules" and rest not in ("", "phrases"))):
        return
    why = "decides what was asked, or how"
    if first == "rules":
        why = "decides how the answers were read" if rest else "holds 'phrases', too: set single rules, as"
        why += "" if rest else f" {table}.rules.min_length=4"
    elif table in {each for tables in STAGES.values() for each in tables} - set(STAGES[recipe.method]):
        why = f"is read by another method than this run's, {recipe.method}"
    raise ConfigProblem(
        f"--set {key}: {why}; refilter keeps the candidates as they were drawn and changes filters alone:"
        f" {', '.join(sorted(_FILTERS))}, rules.*; anything else needs a run of its own ('selfinstruct generate --run')"
    )


def _value(recipe: Recipe, key: str) -> Any:
    value: Any = recipe.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


# --- the run ----------------------------------------------------------------------------------------------------------


def run(refilter: Refilter, account: Account, watch: Watch) -> None:
    """Filter everything the parent has recorded, or go on where an earlier start was cut off.

    Raises what stopped it, as `launch.run` does; `IdentityChanged` where the folder holds another run, or the same
    refiltered otherwise.
    """
    plan = refilter.plan
    ledger_path = plan.path / _LEDGER
    with run_folder.held(plan.path, allow_network=plan.settings.allow_network_fs):
        started_before = not _is_empty(ledger_path)
        if not started_before:
            _check_parent(refilter.parent)
        plan = _settled(plan, account, started_before=started_before)
        if not started_before:
            if run_folder.in_use(refilter.parent):
                account.notes.append(f"{refilter.parent} is at work; what it has recorded so far is filtered")
            ledger_file.take_over(ledger_path, refilter.parent / _LEDGER, plan.refiltered[0].calls)
        with Ledger(ledger_path, sync=plan.settings.sync) as ledger:
            if _is_done(plan, account, pay=refilter.pay):
                account.spending, account.currency = ledger.rows.spending(), ledger.rows.currency()
                launch.check_usable(plan, account)
                return
            if refilter.pay:
                _start_over(plan)
            with deriving.workplace(plan.path, _WORKPLACE) as place:
                parent = _recorded(refilter.parent, place, ledger.rows, plan.refiltered[0])
                model = AsRecorded(ledger.rows, plan.opened.endpoint)
                plan = replace(plan, links=list(_links(plan, model, parent, pay=refilter.pay)))
                launch.work(plan, ledger, account, watch)


def _check_parent(path: Path) -> None:
    """Raise `IdentityChanged`, before anything is written, where a parent's candidates cannot be found any more."""
    recipe, _ = identity.recipe_of(path)
    started = identity.of_run(path)
    plan = launch.plan(recipe, config.settings({}), Opened(_Nobody(), *started[0].endpoint, 1), path)
    try:
        list(deriving.unchanged(plan, plan.links))
    except IdentityChanged as error:
        changed = str(error).partition("\n")[2]
        raise IdentityChanged(
            f"{path}: its candidates are found by asking as it asked, and what it asked by has changed; put it back\n"
            + changed
        ) from error
    if (above := started[0].refiltered) is not None:
        _check_parent(above.beside(path))


def _settled(plan: Plan, account: Account, *, started_before: bool) -> Plan:
    """The plan with what an earlier start took over of the parent: later answers of the parent are not for this run."""
    then = next((started.refiltered for started in identity.of_run(plan.path)), None)
    if then is None and (started_before or any(plan.path.glob("*/stage.json"))):
        raise IdentityChanged(f"{plan.path}: is another run, and none that was refiltered; name another --out")
    if then is not None and started_before:
        kept = then.model_dump(include={"target", "rounds", "calls", "meaning"})
        if plan.refiltered[0].calls > then.calls and plan.refiltered[0].run == then.run:
            account.notes.append(
                f"{then.run} has gone on since its answers were taken over; another --out filters all it has now"
            )
        plan = replace(plan, refiltered=[each.model_copy(update=kept) for each in plan.refiltered])
    settling.settle(plan, account, started_before=started_before)
    return plan


def _is_empty(ledger: Path) -> bool:
    if not ledger.exists():
        return True
    try:
        with closing(LedgerReader(ledger)) as rows:
            return rows.is_empty()
    except BadData:  # a process was killed before it had made the tables
        return True


def _is_done(plan: Plan, account: Account, *, pay: bool) -> bool:
    """Is everything on disk, whole, and nothing left to pay for? Then the account is filled, and nothing else done."""
    tallies: dict[str, Tally] = {}
    for link in plan.links:
        store = StageStore(plan.path / link.stage.name, link.stage.writes, plan.recipe.rounds_per_shard)
        if store.load(whole_shards_only=False) or store.manifest.state != "complete":
            return False
        tallies[link.stage.name] = store.tally
    if len({tally.rounds for tally in tallies.values()}) > 1 or (pay and any(map(_not_asked, tallies.values()))):
        return False
    account.tallies = tallies
    return True


def _not_asked(tally: Tally) -> int:
    return tally.rejects.get(NOT_ASKED, 0)


def _start_over(plan: Plan) -> None:
    """Remove the files of every stage from the first on that left records out: these are going to be paid for.

    The last stage first, so that a crash in between leaves no stage without the one that feeds it.
    """
    folders = [plan.path / link.stage.name for link in plan.links]
    left_out = [
        (manifest := read_manifest(folder)) is not None and any(NOT_ASKED in shard.rejects for shard in manifest.shards)
        for folder in folders
    ]
    if True not in left_out:
        return
    for folder in reversed(folders[left_out.index(True) :]):
        for file in [folder / "manifest.json", *folder.glob("shard-*.jsonl"), *folder.glob("rejects-*.jsonl")]:
            file.unlink(missing_ok=True)


# --- the chain --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Recorded:
    """What a run has on record. Its first stage's prompts were drawn from ``pool``; ``slots`` are the later stages'."""

    pool: StageStore[Any]
    slots: list[Slots]


def _recorded(path: Path, place: Path, rows: LedgerReader, told: Refiltered) -> _Recorded:
    """Derive a parent from the answers taken over, and before it its own parent where it is a refiltered run itself.

    Raises `DamagedRun` where the answers do not reach as far as its shards did.
    """
    above = next(started.refiltered for started in identity.of_run(path))
    before = None
    if above is not None:
        (place / _WORKPLACE).mkdir(mode=0o700)
        before = _recorded(above.beside(path), place / _WORKPLACE, rows, above)

    def rewire(plan: Plan, model: Model) -> Iterable[Link]:
        return _links(plan, model, before, pay=False) if before else plan.links

    target = None if above else told.target
    found = asyncio.run(deriving.derive(path, place, rows, target, told.calls, rewire))
    stores = [run.store for run in found.chain]
    if stores[0].rounds < told.rounds:
        call = min(found.lost, key=lambda draw: (draw.round, draw.slot), default="")
        raise DamagedRun(
            f"{rows.path}: lacks the answer of call {call}, which was to be taken over from {path}, so round"
            f" {stores[0].rounds} cannot be filtered; mend that run if it is lost there, too ('selfinstruct verify"
            f" {path}'), and refilter into another folder"
        )
    earlier = before.slots if before else [None] * (len(stores) - 1)
    slots = [slots_of(*both) for both in zip(stores[:-1], earlier, strict=True)]
    return _Recorded(before.pool if before else stores[0], slots)


def _links(plan: Plan, recorded: Model, parent: _Recorded, *, pay: bool) -> Iterator[Link]:
    """The plan's stages, each asking as the parent asked."""
    first, *later = plan.links
    yield replace(first, stage=Redrawn(first.stage, parent.pool, plan.recipe.lag, recorded))
    for link, slots in zip(later, parent.slots, strict=True):
        yield replace(link, stage=Renumbered(link.stage, slots, None if pay else recorded))


# --- what is left to pay for ------------------------------------------------------------------------------------------


def waiting(plan: Plan) -> Iterator[tuple[int, Any]]:
    """What was left out for want of an answer: the number of the stage in the chain, and the record as it reads it."""
    for number, link in enumerate(plan.links):
        for line in lines_of(plan.path / link.stage.name, "rejects"):
            reject = Reject.model_validate_json(line)
            if reject.reason == NOT_ASKED and link.stage.reads is not None:
                yield number, link.stage.reads.model_validate({**reject.candidate, "provenance": reject.provenance})
