"""Start or resume a run: folder, lock, identity, ledger, models, chain; then the runner; then the account of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from selfinstruct import __version__, identity, resources, run_folder, seed_tasks
from selfinstruct.config import Recipe, Settings
from selfinstruct.errors import Interrupted, LimitReached, UnusableAnswers, Withdrawn
from selfinstruct.ledger import Ledger, StageCalls
from selfinstruct.methods import METHODS, Link, Parts
from selfinstruct.models.admitted import Admitted, Gate
from selfinstruct.models.opening import Opened
from selfinstruct.models.recorded import Recorded
from selfinstruct.models.retrying import Retrying
from selfinstruct.runner import Runner, StageRun
from selfinstruct.schema import Completion, SeedTask
from selfinstruct.store import StageStore, Tally, read_manifest


@dataclass(frozen=True)
class Plan:
    """Everything a run needs, checked, before anything is written or sent."""

    path: Path
    recipe: Recipe
    settings: Settings
    seeds: list[SeedTask]
    opened: Opened
    links: list[Link]


@dataclass
class Account:
    """What a run has done so far: counts a stage, calls and tokens of the whole run, and what this start added."""

    run: str
    target: int
    tallies: dict[str, Tally] = field(default_factory=dict)
    calls: list[StageCalls] = field(default_factory=list)
    ambiguous: int = 0
    new_calls: int = 0
    new_tokens: int = 0
    seconds: float = 0.0
    exhausted: bool = False
    stopping: bool = False
    notes: list[str] = field(default_factory=list)

    def calls_of(self, stage: str) -> StageCalls:
        """What a stage has been answered so far; zeros before its first answer."""
        return next((row for row in self.calls if row.stage == stage), StageCalls(stage, 0, 0, 0))

    @property
    def unusable_share(self) -> float:
        """Answers of which nothing could be used, as a share of all, 0 to 1."""
        jobs = sum(tally.jobs for tally in self.tallies.values())
        return sum(tally.unusable for tally in self.tallies.values()) / jobs if jobs else 0.0


Watch = Callable[[Sequence[StageRun]], None]
"""Called when the chain is ready, after each new answer and after each screened round."""


def load_seeds(recipe: Recipe) -> list[SeedTask]:
    """The recipe's seed tasks: its own file, or the shipped one of its language."""
    shipped = resources.seeds_dir() / f"{recipe.lang}_seed_tasks.jsonl"
    return seed_tasks.load(Path(recipe.seed_tasks) if recipe.seed_tasks else shipped)


def plan(recipe: Recipe, settings: Settings, opened: Opened, path: Path) -> Plan:
    """Read seeds and prompts and build the chain. Raises `BadData` or `ConfigProblem`; touches nothing."""
    seeds = load_seeds(recipe)
    links = METHODS[recipe.method](Parts(recipe, seeds, opened.rendering, resources.prompts_dir()))
    return Plan(path, recipe, settings, seeds, opened, links)


def target_of(plan: Plan, wanted: int, *, more: bool) -> int:
    """How many accepted records are asked for. ``more`` extends what is there, once it is finished.

    A nightly ``+1000`` that was cut short one night so goes on to the same number the next night, and does not pile up.
    """
    folders = [plan.path / link.stage.name for link in plan.links]
    started = identity.read(folders[0]) if more else None
    if started is None:
        return wanted
    manifests = [manifest for folder in folders if (manifest := read_manifest(folder)) and manifest.state != "running"]
    through = len(manifests) == len(folders) and len({manifest.rounds for manifest in manifests}) == 1
    if not through or manifests[0].accepted < started.target:
        return started.target
    return manifests[0].accepted + wanted


def run(plan: Plan, account: Account, watch: Watch) -> None:
    """Run to the account's target, or resume. Raises what stopped it; the account is true either way."""
    started = time.monotonic()
    held = run_folder.held(plan.path, allow_network=plan.settings.allow_network_fs)
    with held, Ledger(plan.path / "ledger.sqlite3") as ledger:
        _settle_identity(plan, account, started_before=ledger.rows.has_answers())
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as loop:
                loop.run(_run(plan, ledger, account, watch))
        finally:
            account.calls = ledger.rows.by_stage()
            account.ambiguous = ledger.rows.attempts("ambiguous")
            account.seconds = time.monotonic() - started
    if account.unusable_share > plan.settings.max_unusable:
        raise UnusableAnswers(
            f"done, but {account.unusable_share:.0%} of the answers could not be used"
            f" (--max-unusable is {plan.settings.max_unusable:.0%});"
            f" 'selfinstruct status {account.run}' counts the reasons"
        )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it exists: less CPU a call."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(plan: Plan, ledger: Ledger, account: Account, watch: Watch) -> None:
    gate, opened = Gate(), plan.opened
    admitted = Admitted(opened.model, ledger, opened.endpoint, gate, opened.concurrency)
    chain: list[StageRun] = []

    def answered(completion: Completion) -> None:
        account.new_calls += 1
        account.new_tokens += completion.prompt_tokens + completion.completion_tokens
        watch(chain)

    model = Recorded(Retrying(admitted), ledger, opened.endpoint, answered)
    chain += _chain(plan, model, account)
    runner = Runner(
        chain,
        gate,
        target=account.target,
        lag=plan.recipe.lag,
        in_step=plan.recipe.in_step,
        screened=lambda: watch(chain),
    )
    watch(chain)

    def stopping() -> None:
        account.stopping = True
        watch(chain)

    with _draining(gate, stopping) as signals:
        try:
            await runner.run()
        except Withdrawn as stop:
            number = signals[0] if signals else signal.SIGINT
            raise Interrupted("stopped; every answer received is recorded, running again goes on", number) from stop
        finally:
            await model.aclose()
    account.exhausted = runner.exhausted
    if runner.exhausted:
        accepted = chain[0].store.accepted
        raise LimitReached(
            f"exhausted at {accepted} of {account.target}: fewer than 1 % of the last 500 candidates were new;"
            " a stronger model, other seed tasks or a warmer recipe (a run of its own: --run) bring more"
        )


# --- the chain as it stands on disk -----------------------------------------------------------------------------------


def _settle_identity(plan: Plan, account: Account, *, started_before: bool) -> None:
    """Compare with, or write, every stage's ``stage.json``. Raises `IdentityChanged` before anything is spent.

    A run without a single recorded answer has no bytes to protect: a mistaken address or parameter can be mended.
    """
    upstream: identity.StageIdentity | None = None
    both = (plan.opened.endpoint, plan.opened.rendering)
    pending = []
    for link in plan.links:
        folder = plan.path / link.stage.name
        now = identity.of_stage(link, plan.recipe, plan.seeds, both, upstream, account.target)
        before = identity.read(folder) if started_before else None
        if before is not None:
            identity.compare(folder, before, now)
            if before.selfinstruct != now.selfinstruct:
                account.notes.append(f"{folder}: started by selfinstruct {before.selfinstruct}, this is {__version__}")
        pending.append((folder, now))
        upstream = now
    for folder, now in pending:
        folder.mkdir(mode=0o700, exist_ok=True)
        identity.write(folder, now)


def _chain(plan: Plan, model: Recorded, account: Account) -> list[StageRun]:
    chain: list[StageRun] = []
    for link in plan.links:
        folder = plan.path / link.stage.name
        store = StageStore(folder, link.stage.writes, plan.recipe.rounds_per_shard)
        first_rounds = chain[0].store.rounds if chain else None
        account.notes += store.load(whole_shards_only=not _finished(folder, account, first_rounds))
        account.tallies[link.stage.name] = store.tally
        chain.append(StageRun(link.stage, link.filters, store, {"teacher": model}))
    if not all(run.store.manifest.state == "complete" for run in chain):
        for run in chain:
            _recall(run)
    return chain


def _finished(folder: Path, account: Account, first_rounds: int | None) -> bool:
    """Is what is on disk all that is asked for? Then a last, shorter shard stays; else its rounds are derived again."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.state == "running":
        return False
    if first_rounds is not None:
        return manifest.rounds == first_rounds
    return manifest.accepted >= account.target or manifest.state == "exhausted"


def _recall(run: StageRun) -> None:
    """Give the filters back what earlier starts admitted."""
    for record in run.store.upto(run.store.rounds):
        for item in run.filters:
            item.admit(record)


@contextmanager
def _draining(gate: Gate, stopping: Callable[[], None]) -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM closes the gate, the second ends the process at once; yields the signals received."""
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def handle(number: int) -> None:
        if received:
            os._exit(128 + number)  # what is durable stays; what is in flight becomes ambiguous
        received.append(number)
        gate.close()
        stopping()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle, number)
    try:
        yield received
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
