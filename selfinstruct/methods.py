"""What each ``--method`` is made of: a chain of stages, each with its prompts and its filters, built from a recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from selfinstruct import suite
from selfinstruct.errors import BadData, ConfigProblem, UsageProblem
from selfinstruct.filters.heuristics import Heuristics
from selfinstruct.filters.language import LanguageMatch
from selfinstruct.filters.output_checks import OutputChecks
from selfinstruct.filters.rouge_l import RougeLNovelty
from selfinstruct.links import Link, Parts, sampling_of
from selfinstruct.protocols import Filter
from selfinstruct.schema import Instruction, Lang, Novelty, Provenance, SeedTask
from selfinstruct.stage_recipes import AlpacaRecipe, BootstrapRecipe
from selfinstruct.stages.alpaca import Alpaca
from selfinstruct.stages.bootstrap import Bootstrap
from selfinstruct.stages.classify import Classify
from selfinstruct.stages.instances import Instances, Order

_TOKENS_A_TASK = 150
"""Of a whole task: at most 100 words of output are asked for, and half of the tasks have an input."""


def self_instruct(parts: Parts) -> list[Link]:
    """Self-Instruct: ``bootstrap`` → ``classify`` → ``instances``."""
    return [_bootstrap(parts), _classify(parts), _instances(parts)]


def alpaca(parts: Parts) -> list[Link]:
    """Stanford Alpaca: one stage that asks for whole tasks."""
    return [_whole_tasks(parts, "alpaca", parts.recipe.alpaca)]


def belle(parts: Parts) -> list[Link]:
    """BELLE: Alpaca's way in Chinese, with prompts and rules of its own."""
    return [_whole_tasks(parts, "belle", parts.recipe.belle)]


def ultrachat(parts: Parts) -> list[Link]:
    """UltraChat: openers of a sector, then a dialogue of two models."""
    from selfinstruct import ultrachat  # with its guards and readers of files: other methods do without them

    return ultrachat.chain(parts)


def ultrafeedback(parts: Parts) -> list[Link]:
    """UltraFeedback: several models answer, a judge rates and criticizes, pairs are made."""
    from selfinstruct import ultrafeedback  # with what only it reads

    return ultrafeedback.chain(parts)


METHODS: dict[str, Callable[[Parts], list[Link]]] = {
    "self-instruct": self_instruct,
    "alpaca": alpaca,
    "belle": belle,
    "ultrachat": ultrachat,
    "ultrafeedback": ultrafeedback,
}


def _whole_tasks(parts: Parts, name: str, recipe: AlpacaRecipe) -> Link:
    _enough_seeds(parts, name, recipe.num_demos)
    prompt = parts.prompt(name, "tasks" if recipe.format == "text" else "tasks_json")
    stage = Alpaca(
        name=name,
        seeds=parts.seeds,
        prompt_file=prompt,
        rendering=parts.rendering,
        form=recipe.format,
        sampling=sampling_of(recipe),
        lang=parts.recipe.lang,
        seed=parts.recipe.seed,
        round_size=parts.recipe.round_size,
        num_demos=recipe.num_demos,
        machine_demos=recipe.machine_demos,
        tasks=recipe.tasks,
        phrases=recipe.rules.phrases,
    )
    checks = OutputChecks(min_words=recipe.min_output_words, max_ngram_repeats=recipe.max_ngram_repeats)
    cheap: list[Filter[Any]] = [Heuristics(recipe.rules), LanguageMatch(parts.recipe.lang), checks]
    more, data = _used(parts, name, recipe.use)
    new = recipe.tasks - recipe.num_demos
    # Novelty last: it costs the most.
    return Link(stage, (prompt,), [*cheap, *more, _novelty(parts, name, recipe)], new, new * _TOKENS_A_TASK, data)


def _bootstrap(parts: Parts) -> Link:
    recipe = parts.recipe.bootstrap
    _enough_seeds(parts, "bootstrap", recipe.num_demos)
    prompt = parts.prompt("bootstrap", "list")
    stage = Bootstrap(
        seeds=parts.seeds,
        prompt_file=prompt,
        rendering=parts.rendering,
        sampling=sampling_of(recipe),
        lang=parts.recipe.lang,
        seed=parts.recipe.seed,
        round_size=parts.recipe.round_size,
        num_demos=recipe.num_demos,
        machine_demos=recipe.machine_demos,
        new_tasks=recipe.new_tasks,
    )
    cheap: list[Filter[Any]] = [Heuristics(recipe.rules), LanguageMatch(parts.recipe.lang)]
    more, data = _used(parts, "bootstrap", recipe.use)
    filters = [*cheap, *more, _novelty(parts, "bootstrap", recipe)]
    return Link(stage, (prompt,), filters, recipe.new_tasks, data=data)


def _enough_seeds(parts: Parts, table: str, needed: int) -> None:
    if len(parts.seeds) < needed:
        raise BadData(
            f"{len(parts.seeds)} seed tasks, but a prompt shows {needed}: add some or lower {table}.num_demos"
        )


def _used(parts: Parts, table: str, uses: Sequence[str]) -> tuple[list[Filter[Any]], dict[str, str]]:
    """The filters a table's ``use`` names, those that compare knowing the seeds, and what they go by."""
    chain = suite.of_recipe(table, uses, parts.recipe.lang, outputs=table != "bootstrap")
    for chosen in chain:
        if table == "instances" and chosen.entry.compares:
            raise ConfigProblem(
                f"instances.use: '{chosen.use}' compares instructions, which are new: use it in bootstrap"
            )
        if chosen.entry.compares:
            for seed in parts.seeds:
                chosen.filter.admit(_known(seed, parts.recipe.lang))
    return [chosen.filter for chosen in chain], suite.data_of(chain)


def _known(seed: SeedTask, lang: Lang) -> Instruction:
    """A seed as a record that need not be measured."""
    novelty = Novelty(mode="off")
    return Instruction(id=seed.id, instruction=seed.instruction, lang=lang, provenance=Provenance(), novelty=novelty)


def _novelty(parts: Parts, table: str, recipe: AlpacaRecipe | BootstrapRecipe) -> RougeLNovelty:
    try:
        novelty = RougeLNovelty(recipe.threshold, tokenizer=parts.recipe.lang, similar=recipe.similar)
    except ValueError as error:
        raise UsageProblem(f"{table}.{error}") from error
    for seed in parts.seeds:  # seeds are never filtered, only compared with
        novelty.add(seed.id, seed.instruction)
    return novelty


def _classify(parts: Parts) -> Link:
    recipe = parts.recipe.classify
    prompt = parts.prompt("classify", "is_classification")
    stage = Classify(
        prompt_file=prompt,
        rendering=parts.rendering,
        sampling=sampling_of(recipe),
        demos=recipe.demos,
        resamples=recipe.resamples,
        resample_temperature=recipe.resample_temperature,
    )
    return Link(stage, (prompt,), [])


def _instances(parts: Parts) -> Link:
    recipe = parts.recipe.instances
    output_first, input_first = (parts.prompt("instances", name) for name in ("output_first", "input_first"))
    sampling = sampling_of(recipe)
    for_labels = sampling.model_copy(update={"max_tokens": recipe.max_tokens_classification})
    stage = Instances(
        output_first=Order(output_first, recipe.demos_output_first, for_labels),
        input_first=Order(input_first, recipe.demos_input_first, sampling),
        rendering=parts.rendering,
        max_instances=recipe.max_instances,
        keep=recipe.keep,
        seed=parts.recipe.seed,
    )
    shown = [example for prompt in (output_first, input_first) for demo in prompt.demos for example in demo["examples"]]
    checks = OutputChecks(
        min_words=recipe.min_output_words,
        max_ngram_repeats=recipe.max_ngram_repeats,
        worked_examples=[example["output"] for example in shown if "output" in example],
    )
    more, data = _used(parts, "instances", recipe.use)
    return Link(stage, (output_first, input_first), [LanguageMatch(parts.recipe.lang), checks, *more], data=data)
