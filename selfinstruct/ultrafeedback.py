"""UltraFeedback: instructions, several answers to each, what a judge says of them, pairs. A chain for `methods`.

instructions (a file, or another run) ─► sample (a pool) ─► rate (a judge) ─► critique (the judge) ─► binarize
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from selfinstruct import principles, sampling_design, sources
from selfinstruct.audit import Audit
from selfinstruct.errors import UsageProblem
from selfinstruct.feedback_schema import ASPECTS, RatedInstruction
from selfinstruct.filters.exact import ExactDuplicates, whole_request
from selfinstruct.filters.numbered import Numbered
from selfinstruct.instruction_file import OTHER, InstructionFile
from selfinstruct.instruction_language import check_language
from selfinstruct.instruction_run import InstructionRun
from selfinstruct.links import Link, Parts, sampling_of
from selfinstruct.protocols import Drop, Filter
from selfinstruct.recipe import Recipe
from selfinstruct.schema import Rendering
from selfinstruct.stages.binarize import Binarize
from selfinstruct.stages.brought import Instructions
from selfinstruct.stages.critique import Critiques
from selfinstruct.stages.rate import Ratings
from selfinstruct.stages.sample import Design, Samples, Wording

_TOKENS_OF_RATING = 100
"""Of the rating of one text in one aspect, about: a sentence or two."""

_TOKENS_OF_CRITIQUE = 250


class Audited:
    """Refuses nothing: sees every annotated record of a stage, and tells of them all in its manifest."""

    def __init__(self) -> None:
        self._audit = Audit()

    def check(self, record: RatedInstruction) -> Drop | None:
        """None: what an audit has to say is said of all of them."""
        return None

    def admit(self, record: RatedInstruction) -> RatedInstruction:
        """Take the record into the audit."""
        self._audit.add(record)
        return record

    def summary(self) -> dict[str, Any]:
        """The audit, with its warnings."""
        return {**self._audit.row(), "warnings": self._audit.warnings()}


def check(recipe: Recipe) -> None:
    """Raise `UsageProblem` or `ConfigProblem` for a recipe that asks nothing, or too few: before anybody is opened."""
    if not recipe.instructions.source:
        raise UsageProblem("what are the models to be asked? --instructions FILE.jsonl, or --from RUN")
    if recipe.binarize.score == "overall" and not recipe.critique.enabled:
        raise UsageProblem("--score overall needs the critiques' scores: leave --no-critique out, or take --score mean")
    _design(recipe)
    for source in recipe.sample.shares:
        principles.shares_of(recipe.sample.principles, source, recipe.sample.shares)


def chain(parts: Parts) -> list[Link]:
    """The stages in their order. Raises as `check` does, and `BadData` for a file that cannot be asked."""
    check(parts.recipe)
    makers: list[Callable[[Parts], Link]] = [_instructions, _sample, _rate]
    makers += [_critique] if parts.recipe.critique.enabled else []
    return [*(make(parts) for make in makers), _binarize(parts)]


def _instructions(parts: Parts) -> Link:
    recipe = parts.recipe.instructions
    opening = InstructionFile.open if recipe.entry == "file" else InstructionRun.open
    brought = opening(Path(recipe.source))
    check_language(brought, parts.recipe.lang)
    stage = Instructions(brought, parts.recipe.lang, parts.recipe.round_size)
    filters: list[Filter[Any]] = [ExactDuplicates(key=whole_request), Numbered()]
    return Link(
        stage, (), filters, data={"instructions": brought.digest}, most=len(brought), notes=_notes(parts, brought)
    )


def _notes(parts: Parts, brought: InstructionFile | InstructionRun) -> tuple[str, ...]:
    """Sources that no table of principles has, and sources to leave out that there are none of."""
    recipe, there = parts.recipe, brought.sources
    for source in recipe.binarize.exclude_source:
        if source not in there:
            raise UsageProblem(
                f"--exclude-source {source}: no instruction is from there; {sources.instead(source, there)}"
            )
    table, own = recipe.sample.principles, recipe.sample.shares
    unknown = [name for name in there if name != OTHER and not principles.known(table, name, own)]
    if not unknown or recipe.sample.principles == "none":
        return ()
    told = ", ".join(unknown[:5]) + (" …" if len(unknown) > 5 else "")
    return (
        f"no table has principles for the source {told}: its answers are asked for with helpfulness alone;"
        " --set 'sample.shares={…}' says otherwise",
    )


def _sample(parts: Parts) -> Link:
    recipe = parts.recipe.sample
    names = [model.alias for model in parts.recipe.pool]
    prompt = parts.prompt("sample", "answer")
    stage = Samples(
        design=_design(parts.recipe),
        wording=_wording(parts, prompt.demos),
        prompt_file=prompt,
        renderings={name: parts.roles.get(f"assistant/{name}", parts.rendering) for name in names},
        sampling=sampling_of(recipe),
        models=recipe.models,
        resamples=recipe.resamples,
        seed=parts.recipe.seed,
    )
    return Link(stage, (prompt,), [])


def _design(recipe: Recipe) -> Design:
    names = [model.alias for model in recipe.pool]
    return sampling_design.design(recipe.sample.design, names, recipe.sample.models, recipe.seed)


def _wording(parts: Parts, wordings: Sequence[dict[str, Any]]) -> Callable[[str, Random], Wording]:
    """Draws what a model is told, by the source of the instruction."""
    recipe = parts.recipe.sample

    def draw(source: str, rng: Random) -> Wording:
        shares = principles.shares_of(recipe.principles, source, recipe.shares)
        if shares is None:
            return Wording(None, "")
        principle = principles.draw(rng, shares)
        return Wording(principle, principles.wording(rng, principle, wordings)["text"])

    return draw


def _rate(parts: Parts) -> Link:
    recipe = parts.recipe.rate
    files = {aspect: parts.prompt("rate", aspect) for aspect in ASPECTS}
    repair = parts.prompt("rate", "repair")
    stage = Ratings(
        prompt_files=files,
        repair=repair,
        rendering=_of_judge(parts),
        sampling=sampling_of(recipe),
        form=recipe.format,
        rationale_first=recipe.rationale_first,
        max_reasks=recipe.max_reasks,
        swap_check=recipe.swap_check,
        not_applicable=recipe.not_applicable,
        seed=parts.recipe.seed,
    )
    last = not parts.recipe.critique.enabled
    audited: list[Filter[Any]] = [Audited()] if last else []
    data = {"critique": "left out"} if last else {}
    tokens = _TOKENS_OF_RATING * parts.recipe.sample.models
    return Link(stage, (*files.values(), repair), audited, len(ASPECTS), tokens, data)


def _critique(parts: Parts) -> Link:
    recipe = parts.recipe.critique
    feedback, repair, score = (parts.prompt("critique", name) for name in ("feedback", "repair", "score"))
    wordings = parts.prompt("sample", "answer").demos
    stage = Critiques(
        prompt_file=feedback,
        repair=repair,
        reconsider=score,
        rendering=_of_judge(parts),
        sampling=sampling_of(recipe),
        form=recipe.format,
        max_reasks=recipe.max_reasks,
        seed=parts.recipe.seed,
        without_example={one["text"]: one["without_example"] for one in wordings if "without_example" in one},
    )
    return Link(stage, (feedback, repair, score), [Audited()], parts.recipe.sample.models, _TOKENS_OF_CRITIQUE)


def _of_judge(parts: Parts) -> Rendering:
    return parts.roles.get("judge", parts.rendering)


def _binarize(parts: Parts) -> Link:
    recipe = parts.recipe.binarize
    stage = Binarize(recipe.score, recipe.rejected, recipe.exclude_source, parts.recipe.seed)
    return Link(stage, (), [])
