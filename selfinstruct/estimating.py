"""What a run would come to, before anything is sent: calls, tokens, cost, disk and time, at least, likely and at most.

complete   each request is measured as it would be sent; ``high`` is what the run would set aside for it, to the token
generate   the prompts of the first round as they would be sent, those of later stages with seed tasks in them, and a
           guess at how much is kept

What a run folder holds already is not counted again. Nothing is sent, nothing written; memory does not grow with the
file of requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from selfinstruct import batch_file, call_path, completing, identity, money, wire
from selfinstruct.admission.budget import Budget, Caps, Totals
from selfinstruct.batch_file import RequestLine
from selfinstruct.completing import Batch
from selfinstruct.config import ModelRecipe, Settings
from selfinstruct.errors import BadData
from selfinstruct.launch import Plan
from selfinstruct.ledger import LedgerReader, Spending
from selfinstruct.methods import Link
from selfinstruct.models import opening
from selfinstruct.models.opening import Opened
from selfinstruct.money import Bound, Price, TokenBound
from selfinstruct.protocols import Job
from selfinstruct.schema import Provenance, Record, Request, SeedTask
from selfinstruct.store import Manifest, read_manifest

SECONDS_TO_BEGIN, TOKENS_A_SECOND = 0.5, 50
"""How fast a model answers where only the concurrency is told: rules of thumb for hosted chat models."""

_ROW_BYTES = 450  # of an answered call in the ledger beside body and text: key, digest, indexes, JSON around it
_BYTES_A_TOKEN = 4
_COPIES = 2  # an answer stands in the ledger, and once more in the results
_SAMPLE = 24  # seed tasks that stand for the instructions a later stage will be asked about


class Use(NamedTuple):
    """What a number of calls come to: ``cost`` in pico-units, ``disk`` in bytes."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int = 0
    disk: int = 0

    def plus(self, other: Use) -> Use:
        """Both together."""
        return Use(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
            self.disk + other.disk,
        )

    def scaled(self, calls: int) -> Use:
        """So many calls of the same kind."""
        return Use(*(-(-value * calls // self.calls) for value in self)) if self.calls else Use()


class Estimate(NamedTuple):
    """The same calls, reckoned three times."""

    low: Use = Use()
    likely: Use = Use()
    high: Use = Use()

    def plus(self, other: Estimate) -> Estimate:
        """Both together."""
        return Estimate(self.low.plus(other.low), self.likely.plus(other.likely), self.high.plus(other.high))


@dataclass
class Forecast:
    """What is still to do. ``wanted`` counts what the user asked for and does not have yet, in ``unit``.

    ``used`` is what the run's ledger counts already, ``recorded`` its answered calls by stage. ``reach`` is how many
    of the wanted the caps allow at the low, the likely and the high reckoning; None without caps. ``unpriced`` calls
    are of models without a known price, and missing from the costs.
    """

    unit: str
    wanted: int
    stages: dict[str, Estimate]
    prices: dict[str, Price | None]
    caps: Caps
    settings: Settings
    used: Totals = field(default_factory=Totals)
    recorded: dict[str, int] = field(default_factory=dict)
    reach: tuple[int, int, int] | None = None
    unpriced: int = 0
    assumptions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> Estimate:
        """All stages together."""
        total = Estimate()
        for estimate in self.stages.values():
            total = total.plus(estimate)
        return total

    @property
    def currency(self) -> str:
        """The currency of all costs."""
        return next((price.currency for price in self.prices.values() if price), "usd")

    @property
    def seconds(self) -> tuple[float, ...] | None:
        """How long it takes at the limits the user has told; None where none is told."""
        settings = self.settings
        if not (settings.rpm or settings.tpm or settings.concurrency):
            return None
        return tuple(_seconds(use, settings) for use in self.total)


def unopened(recipe: ModelRecipe, settings: Settings) -> Opened:
    """The backend of a `named` recipe as far as a plan needs it: how it is asked, not who answers.

    Needs no key and no weights. A recorded run is opened: it alone knows how its model was asked.
    """
    if recipe.api == "replay":
        return opening.open_model(recipe, settings)
    script = opening.open_model(recipe.model_copy(update={"api": "fake"}), settings)
    endpoint = script.endpoint.model_copy(update={"identity": recipe.base_url or recipe.api})
    return script._replace(endpoint=endpoint, rendering=opening.rendering_of(recipe))


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
    price_of = call_path.price_finder(batch.opened.endpoint.identity, batch.settings)
    measure = _Measure(capped=caps.any)
    forecast = Forecast("requests", 0, {}, {}, caps, batch.settings)
    if rows is not None:
        _count_recorded(forecast, rows.spending())
    total, reach = Estimate(), _Reach(caps, forecast.used)
    for line in _waiting(batch, rows):
        sent = batch.request(line).body or b""
        body = orjson.loads(sent)
        model = str(body.get("model", ""))
        if model not in forecast.prices:
            forecast.prices[model] = price_of(model)
        price = forecast.prices[model]
        estimate = measure.call(body, price, len(sent), f"{batch.requests}:{line.line}")
        total = total.plus(estimate)
        reach.add(estimate, price)
        forecast.wanted += 1
        forecast.unpriced += price is None
    forecast.stages[completing.STAGE] = total
    forecast.reach = reach.calls if caps.any else None
    forecast.assumptions += [*measure.assumptions(), *_common_assumptions(batch.settings)]
    return forecast


def _waiting(batch: Batch, rows: LedgerReader | None) -> Iterator[RequestLine]:
    """The requests without an answer, as they stand in the file now."""
    batch = _as_recorded(batch)
    answered = iter(rows.answered(completing.STAGE)) if rows is not None else iter(())
    ahead = next(answered, None)
    for line in batch_file.read_lines(batch.requests, model=batch.recipe.name or None):
        keys = set()
        while ahead is not None and ahead[0].slot <= line.number:
            if ahead[0].slot == line.number:
                keys.add(ahead[1])
            ahead = next(answered, None)
        if not keys or keys.isdisjoint(batch.keys(line)):
            yield line


def _as_recorded(batch: Batch) -> Batch:
    """The batch with the endpoint identity its calls are recorded under: weights need not be opened to find them."""
    started = identity.read(batch.out / completing.STAGE)
    known = started.identity.get("model", {}).get("identity") if started else None
    if known is None:
        return batch
    endpoint = batch.opened.endpoint.model_copy(update={"identity": known})
    opened = batch.opened._replace(endpoint=endpoint)
    return Batch(batch.requests, batch.out, batch.recipe, batch.max_tokens, batch.settings, opened)


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
    """What `launch.run` would still have to do to bring the accepted instructions to ``target``.

    ``plan.opened`` may be `unopened`. Raises `ConfigProblem` where ``--max-cost`` is set and the price is not known.
    """
    settings, endpoint = plan.settings, plan.opened.endpoint
    caps = call_path.caps_of(settings)
    price = call_path.price_finder(endpoint.identity, settings)(endpoint.model)
    manifests = [read_manifest(plan.path / link.stage.name) for link in plan.links]
    accepted = manifests[0].accepted if manifests[0] else 0
    forecast = Forecast("instructions", max(0, target - accepted), {}, {endpoint.model: price}, caps, settings)
    rows = _ledger(plan.path)
    if rows is not None:
        _count_recorded(forecast, rows.spending())
        rows.close()
    finished = _finished(manifests, target)
    if finished:
        forecast.wanted = 0
        forecast.notes.append("this run is done: nothing would be sent")
    measure = _Measure(capped=caps.any)
    calls = {} if finished else _calls(plan, manifests[0], forecast)
    for link in plan.links:
        sample = [_call(plan, link, job, measure, price) for job in _jobs(plan, link)]
        summed = Estimate()
        for estimate in sample:
            summed = summed.plus(estimate)
        wanted = calls.get(link.stage.name, (0, 0, 0))
        forecast.stages[link.stage.name] = Estimate(*(u.scaled(n) for u, n in zip(summed, wanted, strict=True)))
    forecast.unpriced = 0 if price else forecast.total.likely.calls
    forecast.reach = _share(forecast) if caps.any else None
    forecast.assumptions += [_GUESSED, *measure.assumptions(), *_common_assumptions(settings)]
    return forecast


def _finished(manifests: Sequence[Manifest | None], target: int) -> bool:
    """Is everything on disk that was asked for, or nothing more to be had? Then the next start sends nothing."""
    there = [manifest for manifest in manifests if manifest is not None and manifest.state != "running"]
    whole = len(there) == len(manifests) and len({manifest.rounds for manifest in there}) == 1
    return whole and (there[0].accepted >= target or there[0].state == "exhausted")


def _calls(plan: Plan, first: Manifest | None, forecast: Forecast) -> dict[str, tuple[int, ...]]:
    """Calls still to make, by stage, at each of the guesses: those of the whole run, less those recorded."""
    recipe = plan.recipe
    whole_round = recipe.round_size * recipe.bootstrap.new_tasks
    asked = sum(shard.jobs for shard in first.shards) if first else 0
    accepted = first.accepted if first else 0
    under_way = forecast.wanted > 0  # else only later stages have something left to do
    calls: dict[str, tuple[int, ...]] = {}
    for position, link in enumerate(plan.links):
        name, each = link.stage.name, []
        for guess in _GUESSES:
            rounds = ceil(forecast.wanted / (whole_round * guess.kept)) + under_way * guess.ahead * recipe.lag
            final = accepted + forecast.wanted + under_way * ceil(whole_round * guess.surplus)
            again = recipe.classify.resamples * guess.again if name == "classify" else 0
            whole = asked + rounds * recipe.round_size if position == 0 else ceil(final * (1 + again))
            each.append(max(0, whole - forecast.recorded.get(name, 0)))
        calls[name] = tuple(each)
    return calls


def _jobs(plan: Plan, link: Link) -> list[Job]:
    """Jobs that stand for all of a stage: its first round, fed with seed tasks where it is fed with records."""
    reads = link.stage.reads
    if reads is None:
        return link.stage.plan(0, (), ())
    step = max(1, len(plan.seeds) // _SAMPLE)
    return link.stage.plan(0, [_as_record(reads, seed, plan.recipe.lang) for seed in plan.seeds[::step]], ())


def _as_record(kind: type[Record], seed: SeedTask, lang: str) -> Record:
    known: dict[str, Any] = {
        "id": seed.id,
        "provenance": Provenance(),
        "instruction": seed.instruction,
        "lang": lang,
        "is_classification": seed.is_classification,
    }
    return kind.model_validate({name: value for name, value in known.items() if name in kind.model_fields})


def _call(plan: Plan, link: Link, job: Job, measure: _Measure, price: Price | None) -> Estimate:
    request: Request = link.stage.prompt(job)  # type: ignore[attr-defined]
    body = wire.body(plan.opened.endpoint, request)
    return measure.call(body, price, len(wire.canonical(body)), f"stage {link.stage.name}")


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


# --- one call -------------------------------------------------------------------------------------------------------


class _Measure:
    """Reckons calls, and remembers what it had to assume."""

    def __init__(self, *, capped: bool) -> None:
        self._capped = capped
        self._unlimited = self._unknown = 0

    def call(self, body: Mapping[str, Any], price: Price | None, size: int, where: str) -> Estimate:
        """A call with this body of ``size`` bytes. Raises `BadData`, naming ``where``, if a cap needs a bound."""
        try:
            tokens = _tokens(body)
        except BadData as problem:
            if self._capped:
                raise BadData(f"{where}: {problem}") from problem
            tokens = self._without_bound(body)
        return Estimate(*(_use(each, price, size) for each in tokens))

    def assumptions(self) -> list[str]:
        """What the estimate rests on, for people."""
        lines = []
        if self._unlimited:
            limit = completing.DEFAULT_MAX_TOKENS
            lines.append(f"{self._unlimited} requests set no token limit: reckoned with {limit}, as a cap would send")
        if self._unknown:
            lines.append(f"{self._unknown} requests cannot be measured beforehand: their tokens are not counted")
        return lines

    def _without_bound(self, body: Mapping[str, Any]) -> tuple[TokenBound, ...]:
        try:
            tokens = _tokens({**body, "max_tokens": completing.DEFAULT_MAX_TOKENS})
        except BadData:
            self._unknown += 1
            return (TokenBound(0, 0),) * 3
        self._unlimited += 1
        return tokens


def _tokens(body: Mapping[str, Any]) -> tuple[TokenBound, ...]:
    """Low, likely, high. For low: tokenizers save up to a quarter, and short answers are an eighth of likely ones."""
    likely = money.likely_of(body)
    return TokenBound(likely.prompt * 3 // 4, likely.completion // 8), likely, money.bound_of(body)


def _use(tokens: TokenBound, price: Price | None, size: int) -> Use:
    disk = size + _ROW_BYTES + _COPIES * _BYTES_A_TOKEN * tokens.completion
    return Use(1, tokens.prompt, tokens.completion, price.cost(*tokens) if price else 0, disk)


class _Reach:
    """How many calls the caps let through, one after the other, at each of the three reckonings."""

    def __init__(self, caps: Caps, used: Totals) -> None:
        self._capped = caps.any
        self._budgets = [Budget(caps, used) for _ in range(3)]
        self._open = [True] * 3
        self._calls = [0] * 3

    @property
    def calls(self) -> tuple[int, int, int]:
        """At the low, the likely and the high reckoning."""
        return self._calls[0], self._calls[1], self._calls[2]

    def add(self, estimate: Estimate, price: Price | None) -> None:
        """The next call; as in a run, it leaves only if its upper bound still fits."""
        if not self._capped or not any(self._open):
            return
        bound = Bound(TokenBound(estimate.high.prompt_tokens, estimate.high.completion_tokens), price)
        for number, (budget, use) in enumerate(zip(self._budgets, estimate, strict=True)):
            self._open[number] = self._open[number] and budget.fits(bound)
            if self._open[number]:
                self._calls[number] += 1
                budget.spent = budget.spent.plus(Totals(1, use.prompt_tokens + use.completion_tokens, use.cost))


# --- a run that was started before ----------------------------------------------------------------------------------


def _ledger(path: Path) -> LedgerReader | None:
    file = path / "ledger.sqlite3"
    return LedgerReader(file) if file.exists() else None


def _count_recorded(forecast: Forecast, spending: Sequence[Spending]) -> None:
    for row in spending:
        if row.state in ("settled", "refused"):
            forecast.recorded[row.stage] = forecast.recorded.get(row.stage, 0) + row.attempts
    forecast.used = call_path.spent_so_far(spending)


def _seconds(use: Use, settings: Settings) -> float:
    seconds = [0.0]
    if settings.rpm:
        seconds.append(60 * use.calls / settings.rpm)
    if settings.tpm:
        seconds.append(60 * (use.prompt_tokens + use.completion_tokens) / settings.tpm)
    if settings.concurrency:
        each = use.calls * SECONDS_TO_BEGIN + use.completion_tokens / TOKENS_A_SECOND
        seconds.append(each / settings.concurrency)
    return max(seconds)


def _common_assumptions(settings: Settings) -> list[str]:
    lines = [
        "low and likely: about 4 bytes a token, answers about half as long as they may be, at most 400 tokens; high:"
        " each byte a token, each answer as long as it may be; without repeated attempts"
    ]
    if settings.concurrency:
        lines.append(f"a model that writes {TOKENS_A_SECOND} tokens a second after {SECONDS_TO_BEGIN} s")
    return lines
