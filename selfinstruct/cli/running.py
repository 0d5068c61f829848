"""What commands do that run a chain of stages: open the models, plan, run beside a progress bar, print the account."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import typer

from selfinstruct.cli import options
from selfinstruct.errors import SelfinstructError, UnknownModel, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import Any

    from selfinstruct.cli.report import Progress
    from selfinstruct.config import Settings
    from selfinstruct.launch import Plan
    from selfinstruct.model_recipe import ModelRecipe
    from selfinstruct.models.opening import Opened
    from selfinstruct.recipe import Recipe
    from selfinstruct.runner import StageRun


class Asked(NamedTuple):
    """What was asked for: the run's name, empty for the default one; how many records, None for all there are; and
    whether that many ``more``.
    """

    run: str
    wanted: int | None
    more: bool


class Shows(NamedTuple):
    """How a command tells what it does."""

    as_json: bool
    quiet: bool
    as_events: bool


def number_of(text: str, option: str) -> tuple[int, bool]:
    """``N`` or ``+N`` as a number, and whether it had a plus. Raises `UsageProblem` naming the option."""
    if not re.fullmatch(r"\+?[0-9]+", text) or int(text) == 0:
        raise UsageProblem(f"{option} '{text}': expected a number above 0, or +N to extend a run by N")
    return int(text), text.startswith("+")


def engine_of(items: Sequence[str] | None) -> dict[str, Any] | None:
    """The ``--engine`` items as options. Raises `UsageProblem` naming the item."""
    from selfinstruct.engine import options as engine_options

    return engine_options.parse(items) if items else None


def pool_of(source: str | None, engine: Sequence[str] | None) -> tuple[ModelRecipe, ...] | None:
    """The models of ``--pool``, with the ``--engine`` items over what vLLM is told of each."""
    from selfinstruct import pool_recipes

    return pool_recipes.pooled(source, engine_of(engine)) if source else None


def check_who_answers(context: typer.Context, recipe: Recipe, of_pool: Collection[str]) -> None:
    """See that no option which says who answers would go unheard. Raises `UsageProblem` naming the option.

    ``of_pool`` are the parameters that a pool takes the place of. A vLLM of ours has an address of its own.
    """
    sources = {name: context.get_parameter_source(name) for name, value in context.params.items() if value}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    for name in of_pool:
        if recipe.pool and name in given:
            pool = "--pool" if "pool" in given else "the pool of the recipe"
            raise UsageProblem(f"{pool} says who answers: leave --{name.replace('_', '-')} out")
    sides = {"user_": recipe.user, "assistant_": recipe.assistant, "judge_": recipe.judge}
    asked = {one.base_url for one in sides.values() if one is not None and one.api in ("chat", "completion")}
    for of_role, one in ({"": recipe.model} | sides).items():
        heard = not of_role and recipe.model.base_url in asked  # by a side that has the run's address
        if one is not None and one.api == "vllm" and f"{of_role}base_url" in given and not heard:
            role = of_role.replace("_", "-")
            raise UsageProblem(
                f"--{role}api vllm starts a server of ours, and --{role}base-url names one that runs: such a server is"
                f" asked by --{role}api chat --{role}base-url …"
            )


def run_chain(recipe: Recipe, settings: Settings, asked: Asked, shows: Shows) -> None:
    """Start a run, or go on with it. Raises what stopped it, once the account is printed."""
    from selfinstruct import launch, naming
    from selfinstruct.cli import report
    from selfinstruct.models import opening
    from selfinstruct.run_folder import run_path

    recipe = naming.named_roles(recipe)
    opened = opening.open_models(recipe, settings, _roles(recipe, settings))
    opened |= _unasked(recipe, settings)
    run = asked.run or default_run(recipe, opened)
    recipe, teacher = _stood_in(recipe, opened)
    plan = launch.plan(recipe, settings, teacher, run_path(settings.output_dir, run), opened)
    account = launch.Account(run, _target(plan, asked), counted=plan.links[plan.counted].stage.name)
    account.notes += plan.notes
    if not (shows.quiet or shows.as_events):
        _print_notes(plan, account.target)
    stop: SelfinstructError | None = None
    unit = {"ultrachat": "dialogue", "ultrafeedback": "instruction"}.get(recipe.method, "task")
    with report.Progress(run, unit, quiet=shows.quiet, as_json=shows.as_events) as progress:
        tell_starts(plan.answering.values(), progress)

        def watch(chain: Sequence[StageRun]) -> None:
            if chain:
                progress.update(lambda: report.generating(account, chain), stopping=account.stopping)

        try:
            launch.run(plan, account, watch)
        except UnknownModel as error:
            # Of several models the message tells which it is; what to choose from is told where there is but one.
            alone = not (recipe.user or recipe.assistant or recipe.judge or recipe.pool)
            stop = UnknownModel(f"{error}{options.offered(recipe.model, settings) if alone else ''}")
        except SelfinstructError as error:
            stop = error
        progress.stopped(stop)
    if account.tallies and (shows.as_json or not shows.quiet):
        report.print_account(account, plan, stop, as_json=shows.as_json)
    if stop is not None:
        if shows.as_events:
            raise typer.Exit(stop.exit_code)  # the last event has said why
        raise stop


def tell_starts(opened: Iterable[Opened], progress: Progress) -> None:
    """Let the models that have to be started first say how that gets on."""
    for one in opened:
        if one.guest is not None:
            one.guest.tell = progress.say


def show_plan(recipe: Recipe, settings: Settings, asked: Asked, *, as_json: bool) -> None:
    """--dry-run: what would be sent first, and what all that is left to do would come to."""
    from selfinstruct import estimating, launch, naming, wire
    from selfinstruct.cli import estimates
    from selfinstruct.run_folder import run_path

    recipe = naming.named_roles(recipe)
    opened = estimating.unopened_roles(recipe, settings, _roles(recipe, settings)) | _unasked(recipe, settings)
    run = asked.run or default_run(recipe, opened)
    recipe, teacher = _stood_in(recipe, opened)
    plan = launch.plan(recipe, settings, teacher, run_path(settings.output_dir, run), opened)
    endpoint, request = estimating.first_request(plan)
    forecast = estimating.of_run(plan, _target(plan, asked))
    estimates.print_forecast(forecast, wire.body(endpoint, request), as_json=as_json)


def default_run(recipe: Recipe, opened: dict[str, Opened]) -> str:
    """The name of a run that was given none: what makes it, its language, its model, or the first of a pool's."""
    from selfinstruct.run_folder import slug

    asked = opened[_MAKERS.get(recipe.method, "teacher")]
    model = asked.endpoint.model
    if recipe.method == "ultrafeedback":
        return f"feedback-{recipe.lang}-{slug(model)}"
    if recipe.pool:
        model = f"{recipe.pool[0].alias}-and-{len(recipe.pool) - 1}-more"
    replayed = "-replay" if recipe.model.api == "replay" else ""
    made_by = f"dialogue-{_began(recipe)}" if recipe.method == "ultrachat" else recipe.method
    return f"{made_by}-{recipe.lang}-{slug(model)}{replayed}"


def _began(recipe: Recipe) -> str:
    """The sector, and what dialogues began with where that is the user's own."""
    entry = {"file": "-openers", "run": "-from", "entities": "-entities"}.get(recipe.openers.entry, "")
    return recipe.dialogue.sector + entry


def _stood_in(recipe: Recipe, opened: dict[str, Opened]) -> tuple[Recipe, Opened]:
    """The recipe and the run's own model, taken out of ``opened``; where no stage asks it, whoever makes the run.

    Only once all are opened: whose key goes where is decided by what the user has named.
    """

    if (teacher := opened.pop("teacher", None)) is not None:
        return recipe, teacher
    stands_in = _MAKERS[recipe.method]
    return recipe.model_copy(update={"model": recipe.played_by(stands_in)}), opened[stands_in]


_MAKERS = {"ultrachat": "assistant", "ultrafeedback": "judge"}
"""Who stands for a run whose own model is not asked."""


def _unasked(recipe: Recipe, settings: Settings) -> dict[str, Opened]:
    """Who is part of what a run is, and asked by no stage up to the last that is to run: needs no key yet."""
    if recipe.judge is None or "judge" in _roles(recipe, settings):
        return {}
    from selfinstruct import estimating

    return {"judge": estimating.unopened(recipe.judge, settings)}


def _roles(recipe: Recipe, settings: Settings) -> Collection[str]:
    """Who is asked by the stages of a recipe, as far as they are to run."""
    if recipe.method == "ultrafeedback":
        return (*recipe.pool_roles, *(("judge",) if settings.until != "sample" else ()))
    if recipe.method != "ultrachat":
        return ("teacher", *recipe.pool_roles)
    first = () if recipe.openers.entry in ("file", "run") else ("teacher",)
    return (*first, "user", "assistant", *recipe.pool_roles)


def _target(plan: Plan, asked: Asked) -> int:
    from selfinstruct import launch

    if asked.wanted is not None:
        return launch.target_of(plan, asked.wanted, more=asked.more)
    return plan.all_there_is


def _print_notes(plan: Plan, target: int) -> None:
    """Say of a run that has something left to do what will hold it up."""
    notes = [*_idle_concurrency(plan), *_turns(plan)]
    if notes:
        from selfinstruct import left_to_do

        if not left_to_do.finished(plan, left_to_do.manifests_of(plan), target):
            for note in notes:
                typer.echo(f"selfinstruct: {note}", err=True)


def _idle_concurrency(plan: Plan) -> Iterator[str]:
    """More calls could be in flight than the first stage has."""
    most = plan.recipe.round_size * plan.recipe.lag
    own = [one.concurrency for one in plan.answering.values() if one.guest is not None]
    asked = plan.settings.concurrency or max(own, default=0)
    if plan.recipe.method not in _MAKERS and asked > most:
        has = f"--concurrency {asked}" if plan.settings.concurrency else f"vLLM is sent {asked} calls at once"
        yield (
            f"{has}, but the first stage has at most {most} calls in flight"
            f" (round_size {plan.recipe.round_size} x lag {plan.recipe.lag}); a new run with"
            f" --set lag={-(-asked // plan.recipe.round_size)} keeps more"
        )


def _turns(plan: Plan) -> Iterator[str]:
    """Two models that need each other's answers, and never fit beside each other, change places all the time."""
    models = len({id(one.guest) for one in plan.asking.values() if one.guest is not None})
    places = max(1, len(plan.settings.gpus))
    if models > places:
        sets = "one set of GPUs" if places == 1 else f"{places} sets of GPUs"
        if plan.recipe.method == "ultrafeedback":
            yield f"{models} models take turns on {sets}: each is loaded, and asked all there is for it to answer"
            return
        yield (
            f"{models} models take turns on {sets}, and are loaded anew for each turn; --gpus, once for each server,"
            " keeps more of them loaded"
        )
