"""UltraChat: which stages make openers of each sector, and who talks. A chain for `selfinstruct.methods`.

world       topics ─► openers (questions, related questions) ─► dialogue
writing     openers (instructions by type of text) ─► expand ─► dialogue
materials   openers (requests by passage) ─► dialogue
any         openers (lines of a file, entities, another run's records) ─► dialogue
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from selfinstruct import dialogue_seeds, guards, rules, suite
from selfinstruct.errors import ConfigProblem, UsageProblem
from selfinstruct.filters.exact import ExactDuplicates
from selfinstruct.filters.language import LanguageMatch
from selfinstruct.filters.rouge_l import RougeLNovelty
from selfinstruct.instruction_language import check_language
from selfinstruct.links import Link, Parts, sampling_of
from selfinstruct.materials import Materials
from selfinstruct.opener_file import OpenerFile
from selfinstruct.opener_run import OpenerRun
from selfinstruct.prompts import Prompt
from selfinstruct.protocols import Filter
from selfinstruct.schema import Rendering, Sampling
from selfinstruct.similarity.thresholds import exactly
from selfinstruct.stage_recipes import OpenersRecipe, TopicsRecipe
from selfinstruct.stages.dialogue import Dialogues, Side
from selfinstruct.stages.expand import Expand
from selfinstruct.stages.given import Given
from selfinstruct.stages.lists import Lists
from selfinstruct.stages.questions import Counts, Questions
from selfinstruct.stages.requests import Requests
from selfinstruct.stages.topics import Topics
from selfinstruct.stages.writings import Writings
from selfinstruct.token_estimate import estimate

_TOKENS_A_TOPIC, _TOKENS_A_QUESTION, _TOKENS_AN_INSTRUCTION, _TOKENS_EXPANDED = 8, 25, 35, 120
"""Of one item of a list, about; a question and an instruction are a sentence or two."""

_STEPS = 10**9
"""Of the scale from 0 to 1; scores of two texts are much coarser."""


def chain(parts: Parts) -> list[Link]:
    """The stages of the recipe's sector and entry, the dialogue last."""
    makers = {
        "topics": (_topics, _questions),
        "entities": (_questions,),
        "types": (_writings, _expand),
        "materials": (_requests,),
        "file": (_given,),
        "run": (_given,),
    }[parts.recipe.openers.entry]
    return [*(make(parts) for make in makers), _dialogue(parts)]


# --- openers ----------------------------------------------------------------------------------------------------------


def _topics(parts: Parts) -> Link:
    recipe = parts.recipe.topics
    metas = dialogue_seeds.topics(parts.recipe.lang, _path(recipe.file))
    prompt = parts.prompt("topics", "subtopics")
    stage = Topics(metas, prompt, _lists(parts, recipe), recipe.subtopics)
    data = {"topics": dialogue_seeds.digest(metas)}
    filters: list[Filter[Any]] = [LanguageMatch(parts.recipe.lang), _novelty(parts, "topics", recipe)]
    return Link(stage, (prompt,), filters, recipe.subtopics, recipe.subtopics * _TOKENS_A_TOPIC, data)


def _questions(parts: Parts) -> Link:
    recipe = parts.recipe.openers
    entities = dialogue_seeds.entities(_source(recipe)) if recipe.entry == "entities" else None
    about = parts.prompt("openers", "questions" if entities is None else "entity")
    related = parts.prompt("openers", "related")
    counts = Counts(recipe.questions, recipe.related, Fraction(str(recipe.related_share)))
    stage = Questions(entities, about, related, _lists(parts, recipe), counts)
    filters, data = _opener_filters(parts)
    if entities is not None:
        data["entities"] = dialogue_seeds.digest(entities)
    tokens = recipe.questions * _TOKENS_A_QUESTION
    return Link(stage, (about, related), filters, recipe.questions, tokens, data, waits=entities is None)


def _writings(parts: Parts) -> Link:
    recipe = parts.recipe.openers
    types = dialogue_seeds.text_types(parts.recipe.lang, _path(recipe.types))
    topics = dialogue_seeds.topics(parts.recipe.lang, _path(parts.recipe.topics.file))
    prompt = parts.prompt("openers", "instructions")
    stage = Writings(types, topics, prompt, _lists(parts, recipe), recipe.instructions)
    filters, data = _opener_filters(parts)
    data |= {"types": dialogue_seeds.digest(types), "topics": dialogue_seeds.digest(topics)}
    return Link(stage, (prompt,), filters, recipe.instructions, recipe.instructions * _TOKENS_AN_INSTRUCTION, data)


def _expand(parts: Parts) -> Link:
    recipe = parts.recipe.expand
    prompt = parts.prompt("expand", "detail")
    stage = Expand(prompt, _lists(parts, recipe), recipe.share)
    return Link(stage, (prompt,), [LanguageMatch(parts.recipe.lang)], 1, _TOKENS_EXPANDED)


def _requests(parts: Parts) -> Link:
    recipe = parts.recipe.openers
    _check_room(parts)
    paths = [Path(path) for path in recipe.source]
    if not paths:
        raise UsageProblem("the sector materials needs files: name them with --materials")
    materials = Materials.open(paths, tokens=recipe.passage_tokens, too_long=recipe.too_long)
    check_language(materials, parts.recipe.lang, "passages")
    joins = dialogue_seeds.joins(parts.recipe.lang)
    prompt = parts.prompt("openers", "requests")
    stage = Requests(materials, joins, prompt, _lists(parts, recipe), recipe.requests)
    filters, data = _opener_filters(parts)
    data |= {"materials": materials.digest, "joins": dialogue_seeds.digest(joins)}
    tokens, most = recipe.requests * _TOKENS_A_QUESTION, recipe.requests * len(materials)
    return Link(stage, (prompt,), filters, recipe.requests, tokens, data, most, notes=tuple(materials.notes))


def _given(parts: Parts) -> Link:
    recipe = parts.recipe.openers
    texts = OpenerFile.open(_source(recipe)) if recipe.entry == "file" else OpenerRun.open(_source(recipe))
    origin: Any = "given" if recipe.entry == "file" else "run"
    check_language(texts, parts.recipe.lang, "openers")
    stage = Given(texts, origin, parts.recipe.dialogue.sector, parts.recipe.lang, parts.recipe.round_size)
    more, data = _used(parts)
    # They are the user's own words: nothing is refused but what would be asked twice.
    data |= {"openers": texts.digest}
    return Link(stage, (), [ExactDuplicates(folded=True), *more], data=data, most=len(texts))


def _lists(parts: Parts, recipe: Sampling) -> Lists:
    """How the stage of a recipe's table asks."""
    whole = parts.recipe
    return Lists(parts.rendering, sampling_of(recipe), whole.lang, whole.seed, whole.round_size)


def _opener_filters(parts: Parts) -> tuple[list[Filter[Any]], dict[str, str]]:
    """What openers that a model wrote have to pass; novelty last: it costs the most."""
    more, data = _used(parts)
    return [LanguageMatch(parts.recipe.lang), *more, _novelty(parts, "openers", parts.recipe.openers)], data


def _used(parts: Parts) -> tuple[list[Filter[Any]], dict[str, str]]:
    """The filters that ``openers.use`` names, and what they go by."""
    used = suite.of_recipe("openers", parts.recipe.openers.use, parts.recipe.lang, outputs=False)
    return [chosen.filter for chosen in used], suite.data_of(used)


def _novelty(parts: Parts, table: str, recipe: TopicsRecipe | OpenersRecipe) -> RougeLNovelty:
    try:
        # The filter refuses what is above: so a score that equals the threshold, which no step is nearer to, is, too.
        below = Fraction(max(0, ceil(exactly("threshold", recipe.threshold) * _STEPS) - 1), _STEPS)
        return RougeLNovelty(str(below), tokenizer=parts.recipe.lang, similar=recipe.similar)
    except ValueError as error:
        raise UsageProblem(f"{table}.{error}") from error


def _path(name: str) -> Path | None:
    return Path(name) if name else None


def _source(recipe: OpenersRecipe) -> Path:
    if len(recipe.source) != 1:
        raise UsageProblem(f"openers from {recipe.entry}: name one source, openers.source has {len(recipe.source)}")
    return Path(recipe.source[0])


def _check_room(parts: Parts) -> None:
    """Raise `ConfigProblem` where a passage would not leave the models room to speak of it."""
    recipe, talk = parts.recipe.openers, parts.recipe.dialogue
    needs = 2 * recipe.passage_tokens + talk.max_tokens  # an estimate may be short, and an answer follows
    for name, context in (("assistant_context", talk.assistant_context), ("user_context", talk.user_context)):
        if needs > _context(parts, name.partition("_")[0], context):
            raise ConfigProblem(
                f"a passage of {recipe.passage_tokens} tokens is larger than what a context of"
                f" {_context(parts, name.partition('_')[0], context)} has room for beside an answer of"
                f" {talk.max_tokens}: lower openers.passage_tokens, or raise dialogue.{name} if the model can read more"
            )


# --- the dialogue -----------------------------------------------------------------------------------------------------


def _dialogue(parts: Parts) -> Link:
    recipe = parts.recipe.dialogue
    lang = parts.recipe.lang
    sampling = Sampling(temperature=recipe.user_temperature, top_p=recipe.user_top_p, max_tokens=recipe.user_max_tokens)
    sides = (
        _side(parts, "assistant", "assistant", sampling_of(recipe), recipe.assistant_context),
        _side(parts, "user", f"user_{recipe.sector}", sampling, recipe.user_context),
    )
    personas = dialogue_seeds.personas(lang, _path(recipe.personas))
    joins = dialogue_seeds.joins(lang)
    stage = Dialogues(
        sides=sides,
        personas=personas,
        joins={join.id: join for join in joins},
        guards=guards.guards(lang),
        rounds=recipe.rounds,
        resamples=recipe.resamples,
        seed=parts.recipe.seed,
    )
    data = {f"rules/{name}": rules.digest(name) for name in guards.RULES}
    data |= {"personas": dialogue_seeds.digest(personas), "joins": dialogue_seeds.digest(joins)}
    return Link(stage, tuple(side.prompt_file for side in sides), [], data=data)


def _side(parts: Parts, role: Any, name: str, sampling: Sampling, context: int) -> Side:
    prompt: Prompt = parts.prompt("dialogue", name)
    rendering: Rendering = parts.roles.get(role, parts.rendering)
    context = _context(parts, role, context)
    if context <= sampling.max_tokens + estimate(prompt.text):
        option = "user_max_tokens" if role == "user" else "max_tokens"
        raise ConfigProblem(
            f"a context of {context} tokens leaves the {role} no room beside an answer of {sampling.max_tokens}:"
            f" lower dialogue.{option}, or raise dialogue.{role}_context if the model can read more"
        )
    return Side(role, prompt, rendering, sampling, context)


def _context(parts: Parts, role: str, context: int) -> int:
    """What a model can read and write: for the embedded one what it is opened with."""
    model = {"user": parts.recipe.user, "assistant": parts.recipe.assistant}[role] or parts.recipe.model
    return min(context, model.context) if model.api == "local" else context
