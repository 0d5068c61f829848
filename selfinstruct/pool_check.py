"""Which models of a pool can be asked from here, what keeps the others from it, and what a run would cost.

Nothing is loaded, downloaded or paid. Only servers are asked, for the list of their models, and only where a key they
need is there.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from selfinstruct import fitting, naming, pool_recipes, pools, pricing
from selfinstruct.base_url import ApiKey
from selfinstruct.config import Settings
from selfinstruct.engine import options
from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    NotSent,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnknownModel,
)
from selfinstruct.fitting import Here, Verdict
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models import opening
from selfinstruct.models.listing import Listing, list_models
from selfinstruct.money import Price, parse_price, show_price
from selfinstruct.pools import Pool, PoolModel
from selfinstruct.recipe import Recipe

DEADLINE = 10.0
"""Seconds for all servers together to list their models."""


class Usage(NamedTuple):
    """What a run is: so many answers in all, each with so many tokens in and out."""

    answers: int
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Report:
    """A pool as it is found from here. ``base`` is the pool without a choice of its models, as ``--pool`` takes it, and
    ``names`` are all of those.

    ``renderings`` says by name how those are asked that are not mistaken: by messages, or by a text to continue.
    """

    pool: Pool
    base: str
    names: tuple[str, ...]
    here: Here
    verdicts: tuple[Verdict, ...]
    usage: Usage
    renderings: Mapping[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> list[Verdict]:
        """Those a run may ask, in the order of the pool."""
        return [verdict for verdict in self.verdicts if verdict.usable]

    @property
    def answers(self) -> dict[str, int]:
        """How many answers each of them gives where they are spread evenly."""
        names = [verdict.name for verdict in self.usable]
        each, left = divmod(self.usage.answers, len(names)) if names else (0, 0)
        return {name: each + (number < left) for number, name in enumerate(names)}

    @property
    def costs(self) -> dict[str, int]:
        """What they cost, by currency, in pico-units; those whose price is not known are missing from it."""
        costs: dict[str, int] = {}
        for verdict in self.usable:
            if verdict.price is not None:
                count, currency = self.answers[verdict.name], verdict.price.currency
                cost = verdict.price.cost(count * self.usage.prompt_tokens, count * self.usage.answer_tokens)
                costs[currency] = costs.get(currency, 0) + cost
        return costs

    @property
    def clashes(self) -> list[str]:
        """Why a run of all that can be asked would stop before it asks one: they do not go together."""
        currencies = sorted({verdict.price.currency for verdict in self.usable if verdict.price})
        found = [f"prices in {' and '.join(currencies)} do not add up"] if len(currencies) > 1 else []
        ways = {name: self.renderings[name] for name in self.answers if name in self.renderings}
        (usual, _), *others = Counter(ways.values()).most_common() or [("", 0)]
        for way, _ in others:
            names = ", ".join(name for name, its in ways.items() if its == way)
            found.append(f"they are not all asked in one way: {way} is for {names}, {usual} for the others")
        return found

    @property
    def remedies(self) -> dict[str, list[str]]:
        """What would let more of them be asked, and which; what is for the smallest models comes first."""
        helped: dict[str, list[Verdict]] = {}
        for verdict in self.verdicts:
            if verdict.fix and not verdict.usable and verdict.state != "retired":
                helped.setdefault(verdict.fix, []).append(verdict)
        in_order = sorted(helped.items(), key=lambda item: max(verdict.weights for verdict in item[1]))
        return {fix: [verdict.name for verdict in verdicts] for fix, verdicts in in_order}

    def option(self, wanted: Iterable[Verdict]) -> str:
        """What ``--pool`` takes for only these: the shorter of both ways to say it."""
        names = [verdict.name for verdict in wanted]
        others = [name for name in self.names if name not in names]
        if not others:
            return self.base
        return min(f"{self.base}:{','.join(names)}", f"{self.base}:-{',-'.join(others)}", key=len)

    @property
    def room_missing(self) -> int:
        """Bytes that the downloads need and the disk of the Hub's cache has not; 0 where there is room."""
        cache = self.here.cache.absolute()
        folder = next(path for path in (cache, *cache.parents) if path.exists())
        return max(0, sum(verdict.download for verdict in self.usable) - shutil.disk_usage(folder).free)


def examine(source: str, settings: Settings, usage: Usage) -> Report:
    """Look at every model of a pool, as `pools.load` takes it, and ask all servers at once.

    Raises `ConfigProblem` for a pool that is not there or broken, `UsageProblem` for GPUs that are not there.
    """
    base, *_ = pools.split(source)
    pool, names = pools.load(source), tuple(model.name for model in pools.load(base).models)
    here = fitting.look_around(settings, os.environ)
    recipes = {model.name: _recipe(pool, model) for model in pool.models}
    sound = [recipe for recipe in recipes.values() if isinstance(recipe, ModelRecipe)]
    renderings = {recipe.alias: opening.rendering_of(recipe) for recipe in sound}
    run = Recipe(pool=tuple(sorted(sound, key=lambda recipe: recipe.alias)))
    found: list[Verdict | _Server] = []
    for model in pool.models:
        recipe = recipes[model.name]
        if isinstance(recipe, Verdict):
            found.append(recipe)
        elif recipe.api == "vllm":
            found.append(fitting.of_vllm(model, recipe, here))
        else:
            found.append(_opened(run, recipe, settings))
    listings = asyncio.run(_listings([one for one in found if isinstance(one, _Server)]))
    verdicts = tuple(_of_server(one, listings) if isinstance(one, _Server) else one for one in found)
    return Report(pool, base, names, here, verdicts, usage, renderings)


def _recipe(pool: Pool, model: PoolModel) -> ModelRecipe | Verdict:
    """The model as a run would be given it, or why there is nothing to look at."""
    if model.retired:
        why, _, instead = model.retired.rpartition("; ")
        return Verdict(model.name, "retired", why or instead, instead if why else "")
    try:
        recipe = pool_recipes.recipe_of(pool, model)
        options.check(recipe.engine)
        return naming.named(recipe)
    except ConfigProblem as error:
        return Verdict(model.name, "mistaken", str(error), "mend its entry in the pool")


# --- models that a server has, or the embedded runtime ------------------------------------------------------------


class _Server(NamedTuple):
    """A model that servers have: all their addresses, the key for them, and the price."""

    name: str
    model: str
    urls: tuple[str, ...]
    key: ApiKey
    price: Price | None


_Listings = Mapping[tuple[str, ApiKey], Listing]


def _opened(run: Recipe, recipe: ModelRecipe, settings: Settings) -> Verdict | _Server:
    """The model as a run would open it; nobody is asked yet."""
    name, role = recipe.alias, f"{run.pool_role}/{recipe.alias}"
    own = replace(parse_price(recipe.price), source="the pool") if recipe.price else settings.price
    billed = recipe.api != "local"
    price = (own or pricing.price_of(recipe.name, recipe.base_url)) if billed else None
    try:
        key = naming.key_of(run, role, settings)
        opening.open_models(run, settings, (role,))
    except AccessDenied:
        variable = _key_variable(recipe)
        why = f"{variable} is not set; {_shown(price)}"
        return Verdict(name, "no key", why, f"export {variable}=…", billed=True, price=price)
    except SelfinstructError as error:
        if billed or isinstance(error, UnknownModel):
            return Verdict(name, "mistaken", str(error), "mend its entry in the pool", billed=billed, price=price)
        return Verdict(name, "incomplete", str(error), "pip install 'selfinstruct[local]'; selfinstruct models fetch")
    if not billed:
        return Verdict(name, "loadable", "the embedded runtime and its weights are here")
    return _Server(name, recipe.name, (recipe.base_url, *recipe.replicas), key, price)


def _key_variable(recipe: ModelRecipe) -> str:
    preset = naming.preset_for(recipe)
    return recipe.key_variable or (preset.key_variable if preset else "OPENAI_API_KEY")


def _shown(price: Price | None) -> str:
    return show_price(price).partition(" (")[0] if price else "price unknown"


async def _listings(servers: Sequence[_Server]) -> _Listings:
    """What each address lists, asked once for each key; those that take too long are left."""
    places = dict.fromkeys((url, server.key) for server in servers for url in server.urls)
    tasks = {place: asyncio.create_task(list_models(*place)) for place in places}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=DEADLINE)
    late = NotSent(f"no answer within {DEADLINE:g} s")
    found = {place: task.result() if task.done() else Listing((), DEADLINE, late) for place, task in tasks.items()}
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    return found


def _of_server(server: _Server, listings: _Listings) -> Verdict:
    """Of several addresses one that has the model is enough; else the first one's answer is told."""
    verdicts = [_of_listing(server, listings[url, server.key]) for url in server.urls]
    usable = [verdict for verdict in verdicts if verdict.usable]
    first = (usable or verdicts)[0]
    if len(verdicts) == 1 or not usable:
        return first
    return Verdict(
        first.name,
        first.state,
        f"{len(usable)} of {len(verdicts)} addresses: {first.why}",
        billed=True,
        price=server.price,
    )


def _of_listing(server: _Server, listing: Listing) -> Verdict:
    """As `doctor` judges: many servers list more or less than they have, so only a missing name counts."""

    def verdict(state: str, why: str, fix: str = "") -> Verdict:
        return Verdict(server.name, state, why, fix, billed=True, price=server.price)

    match listing.problem:
        case None if server.model in listing.names:
            return verdict(
                "reachable", f"answers in {1000 * listing.seconds:.0f} ms and lists it; {_shown(server.price)}"
            )
        case None:
            close = difflib.get_close_matches(server.model, listing.names, n=3) or listing.names[:3]
            why = f"no {server.model} at {server.urls[0]}; it lists {', '.join(close) or 'nothing'}"
            return verdict("not listed", why, "the name it has there (model = …) in its entry")
        case AccessDenied() as problem:
            return verdict("no key", str(problem), f"another {server.key.variable}")
        case ConfigProblem() | RequestRefused() | Rejected():
            return verdict("reachable", f"answers, and lists no models; {_shown(server.price)}")
        case problem:
            return verdict("no answer", str(problem), "start the server, or look at its address and the proxy")
