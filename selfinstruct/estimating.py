"""What a run would come to, before anything is sent: calls, tokens, cost, disk and time, at least, likely and at most.

complete   each request is measured as it would be sent; ``high`` is what the run would set aside for it, to the token
generate   the prompts of the first round as they would be sent, those of later stages with seed tasks in them, and a
           guess at how much is kept

What a run folder holds already is not counted again. Nothing is sent, nothing written; memory does not grow with the
file of requests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from selfinstruct import batch_file, call_path, dialogue_forecast, identity, role_prices, wire
from selfinstruct.batch import STAGE, Batch, waiting
from selfinstruct.config import Settings
from selfinstruct.engine import model_folder
from selfinstruct.forecast import Estimate, Forecast, Measure, Reach, common_assumptions
from selfinstruct.launch import Plan, has_no_more
from selfinstruct.ledger_reader import LedgerReader
from selfinstruct.links import Link
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models import opening
from selfinstruct.models.drawn import drawn
from selfinstruct.models.opening import Opened
from selfinstruct.money import Price
from selfinstruct.protocols import Job
from selfinstruct.recipe import Recipe
from selfinstruct.schema import Endpoint, Provenance, Record, Request, SeedTask
from selfinstruct.stages.dialogue import Dialogues
from selfinstruct.store import Manifest, read_manifest

_SAMPLE = 24  # seed tasks that stand for the instructions a later stage will be asked about


def unopened(recipe: ModelRecipe, settings: Settings) -> Opened:
    """The backend of a `named` recipe as far as a plan needs it: how it is asked, not who answers.

    Needs no key and no weights. A recorded run is opened: it alone knows how its model was asked.
    """
    if recipe.api == "replay":
        return opening.open_model(recipe, settings)
    script = opening.open_model(recipe.model_copy(update={"api": "fake"}), settings)
    known = {"identity": recipe.base_url or recipe.api}
    if recipe.api == "vllm":
        known["model"] = recipe.alias or model_folder.display_name(recipe.name)
    endpoint = script.endpoint.model_copy(update=known)
    return script._replace(endpoint=endpoint, rendering=opening.rendering_of(recipe))


def unopened_roles(recipe: Recipe, settings: Settings, roles: Collection[str]) -> dict[str, Opened]:
    """The backends of a recipe with named roles, each as `unopened` gives it."""
    if recipe.model.api == "replay":
        return opening.open_models(recipe, settings, roles)
    return {role: unopened(recipe.played_by(role), settings) for role in roles}


def first_request(plan: Plan) -> tuple[Endpoint, Request]:
    """The first call that a run would make, and who would get it. Openers that are given need none."""
    link = next(link for link in plan.links if link.stage.roles)
    if isinstance(link.stage, Dialogues):
        request, role = link.stage.prompt(dialogue_forecast.first_job(plan)), "assistant"
    else:
        request, role = link.stage.prompt(link.stage.plan(0, _inputs(plan, link), ())[0]), "teacher"  # type: ignore[attr-defined]
    if plan.recipe.pool and role == plan.recipe.pool_role:
        role = drawn(plan.recipe.pool_roles, request.draw, plan.recipe.seed)
    return plan.answering[role].endpoint, request


# --- complete -------------------------------------------------------------------------------------------------------


def of_batch(batch: Batch) -> Forecast:
    """What `completing.run` would still have to do. ``batch.opened`` may be `unopened`.

    Raises `BadData` for a broken file and, where a cap is set, for a request without a bound; `ConfigProblem` where
    ``--max-cost`` is set and a price is not known: as the run would.
    """
    batch_file.check(batch.requests, batch.recipe.name or None)
    rows = _ledger(batch.out)
    try:
        return _of_batch(batch, rows)
    finally:
        if rows is not None:
            rows.close()


def _of_batch(batch: Batch, rows: LedgerReader | None) -> Forecast:
    caps = call_path.caps_of(batch.settings)
    price_of = call_path.price_of_role(batch.opened, batch.settings)
    of_pool = role_prices.of_roles(batch.answering, batch.settings) if batch.pool else {}
    measure = Measure(capped=caps.rest_on_bounds)
    forecast = Forecast("requests", 0, {}, {}, caps, batch.settings)
    if rows is not None:
        forecast.count_recorded(rows.spending())
    total, reach = Estimate(), Reach(caps, forecast.used)
    for line in waiting(_as_recorded(batch), rows):
        sent = batch.request(line).body or b""
        body = orjson.loads(sent)
        role = batch.role_of(line)
        model = role.partition("/")[2] or str(body.get("model", ""))
        if model not in forecast.prices:
            forecast.prices[model] = of_pool[role] if batch.pool else price_of(model)
        price = forecast.prices[model]
        estimate = measure.call(body, price, f"{batch.requests}:{line.line}")
        total = total.plus(estimate)
        reach.add(estimate, price)
        forecast.wanted += 1
        forecast.unpriced += price is None
    forecast.stages[STAGE] = total
    forecast.notes += role_prices.mixed(forecast.prices)
    forecast.reach = reach.calls if caps.any else None
    forecast.assumptions += [*measure.assumptions(), *common_assumptions(batch.settings)]
    return forecast


def _as_recorded(batch: Batch) -> Batch:
    """The batch with the endpoint identities its calls are recorded under: weights need not be opened to find them."""
    started = identity.read(batch.out / STAGE)
    if started is None:
        return batch
    blocks = {"teacher": started.identity.get("model", {}), **started.identity.get("roles", {})}

    def as_recorded(role: str, one: Opened) -> Opened:
        known = blocks.get(role, {}).get("identity") or one.endpoint.identity
        return one._replace(endpoint=one.endpoint.model_copy(update={"identity": known}))

    pool = {name: as_recorded(f"teacher/{name}", one) for name, one in batch.pool.items()}
    return replace(batch, opened=as_recorded("teacher", batch.opened), pool=pool)


# --- generate -------------------------------------------------------------------------------------------------------


class _Guess(NamedTuple):
    """How a run may go. ``kept`` of the candidates are accepted; ``surplus`` of a whole round comes on top in the last
    one; ``ahead`` of the rounds the lag allows are asked in vain; ``again`` of the allowed repeats of a verdict happen.
    """

    kept: Fraction
    surplus: Fraction
    ahead: int
    again: Fraction


_GUESSES = (
    _Guess(Fraction(1), Fraction(0), 0, Fraction(0)),
    _Guess(Fraction(1, 2), Fraction(1, 4), 0, Fraction(1, 40)),
    _Guess(Fraction(1, 5), Fraction(1), 1, Fraction(1)),
)
_GUESSED = (
    "low: every candidate is kept; likely: half, and one verdict in twenty asked again; high: one in five, every"
    " verdict asked as often as it may be, and the last round whole"
)


def of_run(plan: Plan, target: int) -> Forecast:
    """What `launch.run` would still have to do to bring the counted records to ``target``.

    ``plan.opened`` may be `unopened`. Raises `ConfigProblem` where ``--max-cost`` is set and the price is not known.
    """
    settings = plan.settings
    caps = call_path.caps_of(settings)
    prices = role_prices.of_plan(plan)
    manifests = [read_manifest(plan.path / link.stage.name) for link in plan.links]
    made = "openers" if plan.recipe.method == "ultrachat" else "instructions"
    forecast = Forecast(
        made, _still_wanted(plan, manifests, target), {}, role_prices.by_model(plan, prices), caps, settings
    )
    forecast.notes += role_prices.mixed(forecast.prices)
    rows = _ledger(plan.path)
    so_far = dialogue_forecast.NOTHING
    if rows is not None:
        forecast.count_recorded(rows.spending())
        so_far = dialogue_forecast.so_far(rows, manifests[-1])
        rows.close()
    calls: dict[str, tuple[int, ...]] = {}
    if _finished(plan, manifests, target):
        forecast.wanted = 0
        forecast.notes.append("this run is done: nothing would be sent")
    else:
        calls = _calls(plan, manifests, forecast)
    measure = Measure(capped=caps.rest_on_bounds)
    for link in plan.links:
        wanted = calls.get(link.stage.name, (0, 0, 0))
        if isinstance(link.stage, Dialogues):
            sides = dialogue_forecast.Sides(prices["assistant"], prices["user"])
            thousand, lengths = dialogue_forecast.of_dialogues(plan, so_far, sides, wanted[1])
            forecast.stages[link.stage.name] = dialogue_forecast.still(thousand, wanted, so_far)
            forecast.assumptions += [dialogue_forecast.ASSUMPTIONS, lengths]
        else:
            forecast.stages[link.stage.name] = _of_link(plan, link, wanted, measure, prices.get("teacher"))
    forecast.unpriced = 0 if all(prices.values()) else forecast.total.likely.calls
    forecast.reach = _share(forecast) if caps.any else None
    forecast.assumptions += [
        *([_GUESSED] if plan.links[plan.counted].stage.roles else []),
        *measure.assumptions(),
        *common_assumptions(settings),
    ]
    return forecast


def _still_wanted(plan: Plan, manifests: Sequence[Manifest | None], target: int) -> int:
    """How many more records of the counted stage are asked for, or can be had."""
    counted = manifests[plan.counted]
    there_can_be = target if plan.most is None else min(target, plan.most)
    return max(0, there_can_be - (counted.accepted if counted else 0))


def _of_link(plan: Plan, link: Link, wanted: Sequence[int], measure: Measure, price: Price | None) -> Estimate:
    """So many calls of a stage, at each of the guesses, as long as those of its first round."""
    summed = Estimate()
    for job in _jobs(plan, link):
        summed = summed.plus(_call(plan, link, job, measure, price))
    return Estimate(*(use.scaled(calls) for use, calls in zip(summed, wanted, strict=True)))


def of_refiltered(plan: Plan, waiting: Iterable[tuple[int, Record]]) -> Forecast:
    """What it would come to to ask about records for which no answer was recorded.

    Each comes with the number of the stage, in the plan's chain, from which on it is still to be asked about.
    """
    settings, endpoint = plan.settings, plan.opened.endpoint
    caps = call_path.caps_of(settings)
    price = call_path.price_finder(endpoint.identity, settings)(endpoint.model)
    forecast = Forecast("records", 0, {}, {endpoint.model: price}, caps, settings)
    if (rows := _ledger(plan.path)) is not None:
        forecast.count_recorded(rows.spending())
        rows.close()
    measure = Measure(capped=caps.rest_on_bounds)
    again = 1 + plan.recipe.classify.resamples
    for number, record in waiting:
        forecast.wanted += 1
        for link in plan.links[number:]:
            job = Job(link.stage.name, 0, 0, _as_read(link, record))
            once = _call(plan, link, job, measure, price)
            if link.table == "classify":
                once = once._replace(high=once.high.scaled(again))
            forecast.stages[link.stage.name] = forecast.stages.get(link.stage.name, Estimate()).plus(once)
    forecast.unpriced = 0 if price else forecast.total.likely.calls
    forecast.reach = _share(forecast) if caps.any else None
    forecast.assumptions += ["low and likely: each verdict asked once, high: as often as it may be"]
    forecast.assumptions += [*measure.assumptions(), *common_assumptions(settings)]
    return forecast


def _as_read(link: Link, record: Record) -> Record:
    """A record that feeds an earlier stage, as this one would read it; a task nobody classified yet counts as none."""
    assert link.stage.reads is not None
    known = {"is_classification": False} | record.model_dump()
    return link.stage.reads.model_validate({name: known[name] for name in link.stage.reads.model_fields})


def _finished(plan: Plan, manifests: Sequence[Manifest | None], target: int) -> bool:
    """Is everything on disk that was asked for, or nothing more to be had? Then the next start sends nothing."""
    there = [manifest for manifest in manifests if manifest is not None and manifest.state != "running"]
    if len(there) < len(manifests) or len({manifest.rounds for manifest in there[plan.counted :]}) > 1:
        return False
    counted = there[plan.counted]
    return counted.accepted >= target or counted.state == "exhausted" or has_no_more(plan.links[plan.counted], counted)


def _calls(plan: Plan, manifests: Sequence[Manifest | None], forecast: Forecast) -> dict[str, tuple[int, ...]]:
    """Calls still to make, by stage, at each of the guesses: those of the whole run, less those recorded.

    Of the stage `dialogue`, where one job is many calls, it is the number of dialogues of the whole run.
    """
    recipe, head = plan.recipe, plan.links[plan.counted]
    first = manifests[plan.counted]
    given = not head.stage.roles
    whole_round = recipe.round_size * head.asks_for
    asked = sum(shard.jobs for shard in first.shards) if first else 0
    accepted = first.accepted if first else 0
    under_way = forecast.wanted > 0  # else only later stages have something left to do
    calls: dict[str, tuple[int, ...]] = {}
    for position, link in enumerate(plan.links):
        name, each = link.stage.name, []
        for guess in _GUESSES:
            kept, surplus = (Fraction(1), Fraction(0)) if given else (guess.kept, guess.surplus)
            rounds = ceil(forecast.wanted / (whole_round * kept)) + under_way * guess.ahead * recipe.lag
            final = accepted + forecast.wanted + under_way * ceil(whole_round * surplus)
            again = recipe.classify.resamples * guess.again if name == "classify" else 0
            if position < plan.counted:
                whole = _jobs_of_all(link)
            elif position == plan.counted:
                whole = 0 if given else asked + rounds * recipe.round_size
            else:
                whole = ceil(final * (recipe.expand.share if name == "expand" else 1 + again))
            each.append(whole if name == "dialogue" else max(0, whole - forecast.recorded.get(name, 0)))
        calls[name] = tuple(each)
    return calls


def _jobs_of_all(link: Link) -> int:
    """How many jobs a stage has that ends by itself."""
    jobs = count = 0
    while found := len(link.stage.plan(count, (), ())):
        jobs, count = jobs + found, count + 1
    return jobs


def _jobs(plan: Plan, link: Link) -> list[Job]:
    """Jobs that stand for all of a stage: its first round, fed with seed tasks where it is fed with records."""
    return link.stage.plan(0, _inputs(plan, link), ()) if link.stage.roles else []


def _inputs(plan: Plan, link: Link) -> list[Record]:
    reads = link.stage.reads
    if reads is None:
        return []
    if not plan.seeds:
        return dialogue_forecast.like(reads, plan)
    step = max(1, len(plan.seeds) // _SAMPLE)
    return [_as_record(reads, seed, plan.recipe.lang) for seed in plan.seeds[::step]]


def _as_record(kind: type[Record], seed: SeedTask, lang: str) -> Record:
    known: dict[str, Any] = {
        "id": seed.id,
        "provenance": Provenance(),
        "instruction": seed.instruction,
        "lang": lang,
        "is_classification": seed.is_classification,
    }
    return kind.model_validate({name: value for name, value in known.items() if name in kind.model_fields})


def _call(plan: Plan, link: Link, job: Job, measure: Measure, price: Price | None) -> Estimate:
    request: Request = link.stage.prompt(job)  # type: ignore[attr-defined]
    body = wire.body(plan.opened.endpoint, request)
    return measure.call(body, price, f"stage {link.stage.name}", link.answer)


def _share(forecast: Forecast) -> tuple[int, int, int]:
    """How many of the wanted the caps leave room for, the stages of one instruction going together."""
    caps, used, reach = forecast.caps, forecast.used, []
    for use in forecast.total:
        tokens = use.prompt_tokens + use.completion_tokens
        limits = [(caps.calls, used.calls, use.calls), (caps.tokens, used.tokens, tokens)]
        limits.append((caps.cost.pico if caps.cost else None, used.cost, use.cost))
        shares = [Fraction(max(0, cap - spent), new) for cap, spent, new in limits if cap is not None and new]
        reach.append(int(forecast.wanted * min([Fraction(1), *shares])))
    return reach[0], reach[1], reach[2]


# --- a run that was started before ----------------------------------------------------------------------------------


def _ledger(path: Path) -> LedgerReader | None:
    file = path / "ledger.sqlite3"
    return LedgerReader(file) if file.exists() else None
