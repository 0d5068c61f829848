"""Start or resume a run: folder, lock, identity, ledger, models, chain; then the runner; then the account of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from selfinstruct import call_path, identity, links, resources, run_folder, seed_tasks, settling
from selfinstruct.admission.budget import Budget
from selfinstruct.config import Settings
from selfinstruct.errors import BadData, ConfigProblem, LimitReached, UnusableAnswers
from selfinstruct.filters.language import LanguageMatch
from selfinstruct.ledger import Ledger
from selfinstruct.ledger_reader import Spending
from selfinstruct.links import Link, Parts
from selfinstruct.methods import METHODS
from selfinstruct.models.drawn import Drawn
from selfinstruct.models.opening import Opened
from selfinstruct.protocols import Model, Straining
from selfinstruct.recipe import Recipe
from selfinstruct.runner import Runner, StageRun
from selfinstruct.schema import Completion, Endpoint, Instruction, Lang, Provenance, Rendering, SeedTask
from selfinstruct.store import StageStore, Tally
from selfinstruct.store_manifest import Manifest, read_manifest


@dataclass(frozen=True)
class Plan:
    """Everything a run needs, checked, before anything is written or sent.

    ``opened`` is who answers, ``roles`` who answers in a role of a dialogue. ``refiltered`` says whose candidates a
    refiltered run judges anew, stage by stage.
    """

    path: Path
    recipe: Recipe
    settings: Settings
    seeds: list[SeedTask]
    opened: Opened
    links: list[Link]
    refiltered: Sequence[identity.Refiltered] = ()
    roles: Mapping[str, Opened] = field(default_factory=dict)

    @property
    def answering(self) -> dict[str, Opened]:
        """Who answers, by role."""
        return {"teacher": self.opened, **self.roles}

    @property
    def asking(self) -> dict[str, Opened]:
        """Those of them whom a stage asks."""
        roles = {role for link in self.links for role in link.stage.roles}
        return {role: opened for role, opened in self.answering.items() if role.partition("/")[0] in roles}

    @property
    def asked(self) -> dict[str, tuple[Endpoint, Rendering]]:
        """Who answers, by role, as far as it decides bytes."""
        return {role: (opened.endpoint, opened.rendering) for role, opened in self.answering.items()}

    @property
    def all_there_is(self) -> int:
        """How many openers a file or run holds; 100, as for other runs, where a model makes them."""
        return 100 if self.most is None or self.links[self.counted].stage.roles else self.most

    @property
    def most(self) -> int | None:
        """How many records of the counted stage there can be; None where a model makes up ever more."""
        return self.links[self.counted].most

    @property
    def notes(self) -> list[str]:
        """What its stages have to say of the files they were made of."""
        return [note for link in self.links for note in link.notes]

    @property
    def counted(self) -> int:
        """The place of the stage whose records are counted."""
        return links.counted(link.waits for link in self.links)


@dataclass
class Account:
    """What a run has done so far: counts a stage, calls and tokens of the whole run, and what this start added.

    ``counted`` is the stage whose records the target counts, by default the first; ``through`` says that this stage had
    nothing more to ask. ``asking`` are the stages that ask a model.
    """

    run: str
    target: int
    counted: str = ""
    tallies: dict[str, Tally] = field(default_factory=dict)
    spending: list[Spending] = field(default_factory=list)
    budget: Budget | None = None
    currency: str = "usd"
    new_calls: int = 0
    new_tokens: int = 0
    seconds: float = 0.0
    exhausted: bool = False
    through: bool = False
    stopping: bool = False
    notes: list[str] = field(default_factory=list)
    asking: set[str] = field(default_factory=set)

    def calls_of(self, stage: str) -> tuple[int, int, int]:
        """How many calls of a stage have been answered, and with how many tokens in and out."""
        rows = [row for row in self.spending if row.stage == stage and row.state == "settled"]
        calls = sum(row.attempts for row in rows)
        return calls, sum(row.prompt_tokens for row in rows), sum(row.completion_tokens for row in rows)

    @property
    def main(self) -> Tally:
        """The stage whose records the target counts."""
        return self.tallies[self.counted] if self.counted else next(iter(self.tallies.values()))

    @property
    def unusable_share(self) -> float:
        """Answers of which nothing could be used, as a share of all, 0 to 1: several tasks of one may be counted."""
        asking = [self.tallies[name] for name in self.tallies if name in self.asking]
        jobs = sum(tally.jobs for tally in asking)
        return min(1.0, sum(tally.unusable for tally in asking) / jobs) if jobs else 0.0


_BRING_THEIR_OWN = ("ultrachat", "ultrafeedback")
"""Methods that start from no seed tasks."""

_ROOM = 8
"""Jobs of a stage that are under way for each call that may be in flight: some of them wait for slower ones."""

Watch = Callable[[Sequence[StageRun]], None]
"""Called when the chain is ready, after each new answer and after each screened round."""


def load_seeds(recipe: Recipe) -> list[SeedTask]:
    """The recipe's seed tasks: its own file, or the shipped one of its language.

    Raises `BadData` for a broken file, and for one of which most is in another language than the run's.
    """
    shipped = resources.seeds_dir() / f"{recipe.lang}_seed_tasks.jsonl"
    path = Path(recipe.seed_tasks) if recipe.seed_tasks else shipped
    seeds = seed_tasks.load(path)
    spoken = LanguageMatch(recipe.lang)
    foreign = [seed for seed in seeds if spoken.check(_as_instruction(seed, recipe.lang)) is not None]
    if 2 * len(foreign) > len(seeds):
        remedy = "" if recipe.method == "belle" else f"add --lang {'zh' if recipe.lang == 'en' else 'en'}, or "
        raise BadData(
            f"{path}: {len(foreign)} of {len(seeds)} seed tasks are not in the language of the run ({recipe.lang}),"
            f" such as '{foreign[0].id}': {remedy}name other seeds with --seed-tasks"
        )
    return seeds


def _as_instruction(seed: SeedTask, lang: Lang) -> Instruction:
    return Instruction(id=seed.id, instruction=seed.instruction, lang=lang, provenance=Provenance())


def plan(
    recipe: Recipe, settings: Settings, opened: Opened, path: Path, roles: Mapping[str, Opened] | None = None
) -> Plan:
    """Read seeds and prompts and build the chain. Raises `BadData` or `ConfigProblem`; touches nothing."""
    seeds = load_seeds(recipe) if recipe.method not in _BRING_THEIR_OWN else []
    asked = {role: one.rendering for role, one in (roles or {}).items()}
    if recipe.method != "ultrafeedback":  # which asks each of its models in its own way
        _check_renderings({role.partition("/")[2]: way for role, way in asked.items() if "/" in role})
    asked |= {role.partition("/")[0]: way for role, way in asked.items()}
    chain = METHODS[recipe.method](Parts(recipe, seeds, opened.rendering, resources.prompts_dir(), asked))
    if settings.until:
        last = next((place for place, link in enumerate(chain) if link.stage.name == settings.until), len(chain))
        chain = chain[: last + 1]
    return Plan(path, recipe, settings, seeds, opened, chain, roles=roles or {})


def _check_renderings(pool: Mapping[str, Rendering]) -> None:
    """Raise `ConfigProblem` where the models of a pool are asked in different ways: a prompt is written for one."""
    ways = {way: [name for name, its in pool.items() if its == way] for way in sorted(set(pool.values()))}
    if len(ways) > 1:
        fewest = min(ways.values(), key=len)
        told = "; ".join(f"{way}: {', '.join(names)}" for way, names in ways.items())
        raise ConfigProblem(
            f"the pool's models are not all asked in one way ({told}),"
            f" and prompts are written for one: leave some out, as in --pool NAME:{','.join('-' + n for n in fewest)},"
            ' or say rendering = "chat" or "completion" of each in a pool of your own'
        )


def target_of(plan: Plan, wanted: int, *, more: bool) -> int:
    """How many accepted records are asked for. ``more`` extends what is there, once it is finished.

    A nightly ``+1000`` that was cut short one night so goes on to the same number the next night, and does not pile up.
    """
    folders = [plan.path / link.stage.name for link in plan.links[plan.counted :]]
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
    held = run_folder.held(plan.path, allow_network=plan.settings.allow_network_fs)
    with held, Ledger(plan.path / "ledger.sqlite3", sync=plan.settings.sync) as ledger:
        begun = settling.hardly_begun(plan, ledger.rows)
        settling.settle(plan, account, started_before=ledger.rows.has_answers(), hardly_begun=begun)
        work(plan, ledger, account, watch)


def work(plan: Plan, ledger: Ledger, account: Account, watch: Watch) -> None:
    """What `run` does once folder and ledger are held, and the folder says what the run is."""
    started = time.monotonic()
    try:
        with asyncio.Runner(loop_factory=call_path.loop_factory()) as loop:
            loop.run(_run(plan, ledger, account, watch))
    finally:
        account.spending, account.currency = ledger.rows.spending(), ledger.rows.currency()
        account.seconds = time.monotonic() - started
    check_usable(plan, account)


def check_usable(plan: Plan, account: Account) -> None:
    """Raise `UnusableAnswers` where more of a finished run's answers are unusable than the settings allow."""
    if account.unusable_share > plan.settings.max_unusable:
        raise UnusableAnswers(
            f"done, but {account.unusable_share:.0%} of the answers could not be used"
            f" (--max-unusable is {plan.settings.max_unusable:.0%});"
            f" 'selfinstruct status {account.run}' counts the reasons"
        )


async def _run(plan: Plan, ledger: Ledger, account: Account, watch: Watch) -> None:
    chain: list[StageRun] = []

    def answered(completion: Completion) -> None:
        account.new_calls += 1
        account.new_tokens += completion.prompt_tokens + completion.completion_tokens
        watch(chain)

    path = call_path.build_roles(plan.asking, ledger, plan.settings, answered)
    account.budget = path.budget
    chain += _chain(plan, drawn(path.models, plan.recipe), account)
    runner_of = partial(
        Runner,
        gate=path.gate,
        target=None if plan.refiltered else account.target,
        lag=plan.recipe.lag,
        in_step=plan.recipe.in_step,
        screened=lambda: watch(chain),
    )
    runner = runner_of(chain)
    watch(chain)

    def stopping() -> None:
        account.stopping = True
        watch(chain)

    with call_path.stopping(path.gate, plan.settings.deadline, stopping):
        try:
            if plan.recipe.method == "ultrafeedback":
                from selfinstruct import passes

                await passes.ask_ahead(chain, runner_of, path, plan.asking, max(1, len(plan.settings.gpus)))
            await runner.run()
        finally:
            await path.aclose()
    account.notes += [
        line for run in chain for item in run.filters if isinstance(item, Straining) and (line := item.strain())
    ]
    account.notes += [
        f"warning: {line}" for run in chain for line in (run.store.manifest.audit or {}).get("warnings", ())
    ]
    account.exhausted, account.through = runner.exhausted, runner.through
    _tell_what_is_short(plan, account, chain[plan.counted].store.accepted)


def drawn(models: Mapping[str, Model], recipe: Recipe) -> Mapping[str, Model]:
    """The models by role; where a pool stands for one, each job draws who of it answers."""
    if recipe.method == "ultrafeedback":
        return models  # each job asks several of them, by name
    pool = {role.partition("/")[2]: model for role, model in models.items() if role in recipe.pool_roles}
    return {**models, recipe.pool_role: Drawn(pool, recipe.seed)} if pool else models


def _tell_what_is_short(plan: Plan, account: Account, accepted: int) -> None:
    """Say why there are fewer records than asked for. Raises `LimitReached` where the model has nothing new to say."""
    if account.through and accepted < account.target:
        given = "instructions" if plan.recipe.method == "ultrafeedback" else "openers"
        account.notes.append(f"{accepted} of {account.target}: there are no more {given} where these came from")
    if account.exhausted:
        other = "topics" if plan.recipe.method == "ultrachat" else "seed tasks"
        raise LimitReached(
            f"exhausted at {accepted} of {account.target}: fewer than 1 % of the last 500 candidates were new;"
            f" a stronger model, other {other} or a warmer recipe (a run of its own: --run) bring more"
        )


# --- the chain as it stands on disk -----------------------------------------------------------------------------------


def _chain(plan: Plan, models: Mapping[str, Model], account: Account) -> list[StageRun]:
    chain: list[StageRun] = []
    limit = max(opened.concurrency for opened in plan.answering.values())
    room = _ROOM * limit if limit > 1 else 1  # one call after the other: one job after the other, by the prompt cache
    for place, link in enumerate(plan.links):
        folder = plan.path / link.stage.name
        store = StageStore(folder, link.stage.writes, plan.recipe.rounds_per_shard)
        account.notes += store.load(whole_shards_only=not _finished(plan, place, chain, account.target))
        account.tallies[link.stage.name] = store.tally
        account.asking |= {link.stage.name} if link.stage.roles else set()
        chain.append(StageRun(link.stage, link.filters, store, models, waits=link.waits, room=room))
    if not all(run.store.manifest.state == "complete" for run in chain):
        for run in chain:
            _recall(run)
    return chain


def _finished(plan: Plan, place: int, before: Sequence[StageRun], target: int) -> bool:
    """Is what is on disk all that is asked for? Then a last, shorter shard stays; else its rounds are derived again."""
    manifest = read_manifest(plan.path / plan.links[place].stage.name)
    if manifest is None or manifest.state == "running":
        return False
    if place < plan.counted:
        return True
    if place > plan.counted:
        return manifest.rounds == before[plan.counted].store.rounds
    return manifest.accepted >= target or manifest.state == "exhausted" or has_no_more(plan.links[place], manifest)


def has_no_more(link: Link, manifest: Manifest) -> bool:
    """True where a stage that starts from files has asked about all that is in them."""
    return link.stage.reads is None and not link.stage.plan(manifest.rounds, (), ())


def _recall(run: StageRun) -> None:
    """Give the filters back what earlier starts admitted."""
    for record in run.store.upto(run.store.rounds):
        for item in run.filters:
            item.admit(record)
