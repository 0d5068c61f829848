"""What a run would come to, before anything is sent: calls, tokens, cost, disk and time, at least, likely and at most.

complete   each request is measured as it would be sent; ``high`` is what the run would set aside for it, to the token
generate   the prompts of the first round as they would be sent, those of later stages with seed tasks in them, and a
           guess at how much is kept

What a run folder holds already is not counted again. Nothing is sent, nothing written; memory does not grow with the
file of requests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import orjson

from selfinstruct import batch_file, call_path, dialogue_forecast, identity, left_to_do, role_prices, wire
from selfinstruct.batch import STAGE, Batch, waiting
from selfinstruct.config import Settings
from selfinstruct.forecast import Estimate, Forecast, Measure, Reach, common_assumptions
from selfinstruct.launch import Plan
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

_SAMPLE = 24  # seed tasks that stand for the instructions a later stage will be asked about


def unopened(recipe: ModelRecipe, settings: Settings) -> Opened:
    """The backend of a `named` recipe as far as a plan needs it: how it is asked, not who answers.

    Needs no key, no weights of the embedded model and no vLLM; but the model that vLLM would load is looked at as the
    run would. A recorded run is opened: it alone knows how its model was asked.
    """
    if recipe.api == "replay":
        return opening.open_model(recipe, settings)
    script = opening.open_model(recipe.model_copy(update={"api": "fake"}), settings)
    endpoint = script.endpoint.model_copy(update={"identity": recipe.base_url or recipe.api})
    if recipe.api == "vllm":
        _, endpoint = opening.loaded_by_vllm(recipe)
    return script._replace(endpoint=endpoint, rendering=opening.rendering_of(recipe))


def unopened_roles(recipe: Recipe, settings: Settings, roles: Collection[str]) -> dict[str, Opened]:
    """The backends of a recipe with named roles, each as `unopened` gives it."""
    if recipe.model.api == "replay":
        return opening.open_models(recipe, settings, roles)
    return {role: unopened(recipe.played_by(role), settings) for role in roles}


def first_request(plan: Plan) -> tuple[Endpoint, Request]:
    """The first call that a run would make, and who would get it. Openers that are given need none."""
    link = next(link for link in plan.links if link.stage.roles)
    if plan.recipe.method == "ultrafeedback":
        from selfinstruct import feedback_stand_ins  # with what only it reads

        role, request = feedback_stand_ins.first_request(plan)
        return plan.answering[role].endpoint, request
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
    batch_file.check(batch.requests, batch.model)
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
    if apart := role_prices.mixed(of_pool):
        of_pool = dict.fromkeys(of_pool)
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
    forecast.notes += apart
    forecast.prices = {} if apart else forecast.prices
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


def of_run(plan: Plan, target: int) -> Forecast:
    """What `launch.run` would still have to do to bring the counted records to ``target``.

    ``plan.opened`` may be `unopened`. Raises `ConfigProblem` where ``--max-cost`` is set and the price is not known.
    """
    settings = plan.settings
    caps = call_path.caps_of(settings)
    prices = role_prices.of_plan(plan)
    by_model = role_prices.by_model(plan, prices)
    if apart := role_prices.mixed(by_model):
        prices, by_model = dict.fromkeys(prices), {}
    manifests = left_to_do.manifests_of(plan)
    made = "openers" if plan.recipe.method == "ultrachat" else "instructions"
    forecast = Forecast(made, left_to_do.records(plan, manifests, target), {}, by_model, caps, settings)
    forecast.notes += apart
    rows = _ledger(plan.path)
    so_far = dialogue_forecast.NOTHING
    if rows is not None:
        forecast.count_recorded(rows.spending())
        so_far = dialogue_forecast.so_far(rows, manifests[-1])
        rows.close()
    calls: dict[str, tuple[int, ...]] = {}
    if done := left_to_do.finished(plan, manifests, target):
        forecast.wanted = 0
        forecast.notes.append("this run is done: nothing would be sent")
    if plan.recipe.method == "ultrafeedback":
        forecast.stages = {link.stage.name: Estimate() for link in plan.links if link.stage.roles}
        return forecast if done else _of_feedback(plan, manifests, target, forecast, prices)
    if not done:
        calls = left_to_do.calls(plan, manifests, forecast)
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
        *([left_to_do.GUESSED] if plan.links[plan.counted].stage.roles else []),
        *measure.assumptions(),
        *common_assumptions(settings),
    ]
    return forecast


def _of_feedback(
    plan: Plan, manifests: left_to_do.Manifests, target: int, forecast: Forecast, prices: Mapping[str, Price | None]
) -> Forecast:
    """The forecast, filled in for a run of feedback that is not done."""
    from selfinstruct import feedback_forecast  # with what only it reads

    measure = Measure(capped=forecast.caps.rest_on_bounds)
    whole = feedback_forecast.instructions(plan, manifests[plan.counted], target)
    rows = _ledger(plan.path)
    try:
        found = feedback_forecast.of_feedback(plan, whole, manifests, prices, rows, measure)
    finally:
        if rows is not None:
            rows.close()
    here = sum(model.api in ("local", "vllm") for model in plan.recipe.pool)  # which take turns on their GPUs
    side_by_side = len(plan.recipe.pool) / max(1, here / max(1, len(plan.settings.gpus)))
    forecast.queues = [(("sample",), side_by_side), (("rate", "critique"), 1)]
    forecast.wanted, forecast.stages, forecast.unpriced = found.instructions, found.stages, found.unpriced
    forecast.reach = _share(forecast) if forecast.caps.any else None
    forecast.assumptions += [feedback_forecast.ASSUMPTIONS, found.lengths]
    forecast.assumptions += [*measure.assumptions(), *common_assumptions(plan.settings)]
    return forecast


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
