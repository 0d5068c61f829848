"""Which stages make dialogues of a recipe, what they are made of, and what is wrong before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfinstruct import guards, resources, ultrachat
from selfinstruct.errors import BadData, ConfigProblem, UsageProblem
from selfinstruct.filters.exact import ExactDuplicates
from selfinstruct.filters.language import LanguageMatch
from selfinstruct.filters.rouge_l import RougeLNovelty
from selfinstruct.links import Link, Parts
from selfinstruct.recipe import Recipe
from selfinstruct.schema import Opener, Rendering
from selfinstruct.stages.dialogue import Dialogues
from selfinstruct.stages.questions import Questions
from selfinstruct.token_estimate import estimate

EN = "Why do bees dance at night? How far do they fly for a single drop?"
CHAT = {"api": "chat", "name": "m", "base_url": "http://127.0.0.1:1/v1"}
ZH = "蜜蜂为什么在夜里跳舞？它们为了一滴花蜜要飞多远？"


def chain(roles: dict[str, Rendering] | None = None, **tables: Any) -> list[Link]:
    """The chain of a recipe with these tables, as a chat model is asked."""
    recipe = Recipe.model_validate({"method": "ultrachat", "model": CHAT, **tables})
    return ultrachat.chain(Parts(recipe, [], "chat", resources.prompts_dir(), roles or {}))


def talk(links: list[Link]) -> Dialogues:
    """The last stage."""
    assert isinstance(links[-1].stage, Dialogues)
    return links[-1].stage


def source(folder: Path, name: str = "lines.txt", text: str = f"{EN}\n{EN} Really?\n") -> dict[str, Any]:
    """A file, as the recipe names it."""
    (folder / name).write_text(text, "utf-8")
    return {"source": [str(folder / name)]}


# --- stages ---------------------------------------------------------------------------------------------------------


def test_the_world_goes_from_topics_over_questions_to_dialogues() -> None:
    """Questions wait for all sub-topics, so that they can go all over them; each level is filtered for novelty."""
    links = chain()
    assert [link.stage.name for link in links] == ["topics", "openers", "dialogue"]
    assert [link.waits for link in links] == [False, True, False]
    kinds = [[type(item) for item in link.filters] for link in links]
    assert kinds == [[LanguageMatch, RougeLNovelty], [LanguageMatch, RougeLNovelty], []]
    assert [prompt.name for link in links for prompt in link.prompts] == [
        "topics/en/subtopics",
        "openers/en/questions",
        "openers/en/related",
        "dialogue/en/assistant",
        "dialogue/en/user_world",
    ]
    assert [(link.asks_for, link.answer) for link in links] == [(37, 37 * 8), (10, 10 * 25), (1, 400)]


def test_writing_goes_from_instructions_over_their_expansion_to_dialogues() -> None:
    """Nobody waits: each instruction is expanded as soon as it is kept."""
    links = chain(lang="zh", dialogue={"sector": "writing"})
    assert [link.stage.name for link in links] == ["openers", "expand", "dialogue"]
    assert [link.waits for link in links] == [False, False, False]
    assert [[type(item) for item in link.filters] for link in links[:2]] == [
        [LanguageMatch, RougeLNovelty],
        [LanguageMatch],
    ]
    assert links[-1].prompts[1].name == "dialogue/zh/user_writing"
    assert set(links[0].data) == {"types", "topics"}


def test_materials_are_asked_about_at_once(tmp_path: Path) -> None:
    """Their digest decides the run, and what was left out of them is told."""
    links = chain(dialogue={"sector": "materials"}, openers=source(tmp_path))
    assert [link.stage.name for link in links] == ["openers", "dialogue"]
    assert set(links[0].data) == {"materials", "joins"}
    (tmp_path / "lines.txt").write_text(f"{EN}\nAnd so on.\n")
    again = chain(dialogue={"sector": "materials"}, openers={"source": [str(tmp_path / "lines.txt")]})
    assert again[0].data["materials"] != links[0].data["materials"]
    assert again[0].data["joins"] == links[0].data["joins"]


def test_openers_of_a_file_pass_but_for_those_that_come_twice(tmp_path: Path) -> None:
    """They are the user's own words: no novelty, no language, no rule of ours."""
    links = chain(openers={"entry": "file", **source(tmp_path)})
    assert [link.stage.name for link in links] == ["openers", "dialogue"]
    assert [type(item) for item in links[0].filters] == [ExactDuplicates]
    assert (links[0].prompts, links[0].stage.roles, set(links[0].data)) == ((), (), {"openers"})


def test_openers_that_are_there_and_passages_come_to_an_end(tmp_path: Path) -> None:
    """A line is an opener, and a passage is asked about once; a model makes up ever more."""
    entities = {"entry": "entities", **source(tmp_path, "entities.txt", "the Nile\njazz\n")}
    given = chain(openers={"entry": "file", **source(tmp_path)})
    about = chain(dialogue={"sector": "materials"}, openers={"requests": 4, **source(tmp_path, "one.txt", f"{EN}\n")})
    made = [chain(), chain(openers=entities), chain(dialogue={"sector": "writing"})]
    assert [given[0].most, about[0].most] == [2, 4]
    assert {link.most for links in made for link in links} == {None}


def test_entities_take_the_place_of_topics(tmp_path: Path) -> None:
    """No stage before the questions, so these wait for nobody."""
    links = chain(openers={"entry": "entities", **source(tmp_path, text="the Nile\njazz\n")})
    assert [link.stage.name for link in links] == ["openers", "dialogue"]
    assert isinstance(links[0].stage, Questions)
    assert (links[0].waits, links[0].stage.reads) == (False, None)
    assert links[0].prompts[0].name == "openers/en/entity"
    assert set(links[0].data) == {"entities"}


@pytest.mark.parametrize("sector", ["world", "writing", "materials"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_stage_reads_what_the_one_before_writes(tmp_path: Path, sector: str, lang: str) -> None:
    """And the first one starts from files."""
    text = {"en": EN, "zh": "池塘在一月的头一个星期结了冰，三月里化开。"}[lang]
    more = source(tmp_path, text=f"{text}\n") if sector == "materials" else {}
    links = chain(lang=lang, dialogue={"sector": sector}, openers=more)
    assert [link.stage.reads for link in links] == [None, *(link.stage.writes for link in links[:-1])]


def test_filters_that_the_user_chose_come_before_novelty_which_costs_the_most(tmp_path: Path) -> None:
    """In their order; their rules are part of what decides the run."""
    use = ["exact", "fences"]
    given = chain(openers={"use": use, "entry": "file", **source(tmp_path)})[0]
    made = chain(openers={"use": use})[1]
    names = [[type(item).__name__ for item in link.filters] for link in (given, made)]
    chosen = names[0][1:]
    assert len(chosen) == 2
    assert names == [["ExactDuplicates", *chosen], ["LanguageMatch", *chosen, "RougeLNovelty"]]


# --- the dialogue ---------------------------------------------------------------------------------------------------


def test_each_side_has_its_own_sampling_context_and_rendering() -> None:
    """The table's own is the assistant's."""
    table = {"temperature": 0.2, "max_tokens": 700, "user_temperature": 0.9, "user_max_tokens": 99}
    stage = talk(chain(roles={"user": "completion"}, dialogue={**table, "assistant_context": 4000}))
    assistant, user = stage.sides
    assert (assistant.role, assistant.sampling.temperature, assistant.sampling.max_tokens) == ("assistant", 0.2, 700)
    assert (user.role, user.sampling.temperature, user.sampling.max_tokens) == ("user", 0.9, 99)
    assert (assistant.rendering, user.rendering) == ("chat", "completion")
    assert (assistant.context, user.context) == (4000, 16384)


@pytest.mark.parametrize(("sector", "rounds"), [("world", (3, 7)), ("writing", (2, 4))])
def test_rounds_are_ultrachats_unless_they_are_said(sector: str, rounds: tuple[int, int]) -> None:
    """3 to 7 about the world, 2 to 4 of writing."""
    assert talk(chain(dialogue={"sector": sector})).rounds == rounds
    assert talk(chain(dialogue={"sector": sector, "rounds": (1, 9)})).rounds == (1, 9)


def test_an_embedded_model_reads_no_more_than_it_is_opened_with() -> None:
    """Whatever the recipe says of the dialogue; of two models each by itself."""
    local = {"api": "local", "context": 2048}
    table = {"max_tokens": 200}
    assert [side.context for side in talk(chain(model=local, dialogue=table)).sides] == [2048, 2048]
    mixed = talk(chain(user=local, dialogue=table))
    assert [side.context for side in mixed.sides] == [16384, 2048]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_guards_personas_and_templates_decide_the_run(lang: Any) -> None:
    """Each rule file by its digest, so that a changed rule is a changed run."""
    link = chain(lang=lang)[-1]
    assert set(link.data) == {f"rules/{name}" for name in guards.RULES} | {"personas", "joins"}
    stage = talk([link])
    assert [type(guard) for guard in stage.guards] == [type(guard) for guard in guards.guards(lang)]
    assert len(stage.personas) >= 60
    assert all(persona.id.startswith(f"{lang}-") for persona in stage.personas)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("rendering", ["chat", "completion"])
@pytest.mark.parametrize("sector", ["world", "writing", "materials"])
def test_every_prompt_of_a_chain_can_be_rendered(tmp_path: Path, lang: str, rendering: Rendering, sector: str) -> None:
    """With the variables that its stage fills in: a missing one is an error."""
    lines = {"en": f"{EN}\n", "zh": f"{ZH}\n"}[lang]
    more = source(tmp_path, text=lines) if sector == "materials" else {}
    tables = {"lang": lang, "dialogue": {"sector": sector}, "openers": more, "method": "ultrachat"}
    parts = Parts(Recipe.model_validate(tables), [], rendering, resources.prompts_dir())
    links = ultrachat.chain(parts)
    if sector != "world":
        stage: Any = links[0].stage
        request = stage.prompt(stage.plan(0, (), ())[0])
        assert (request.prompt is None) == (rendering == "chat")
    stage = talk(links)
    request = stage.prompt(stage.plan(0, [_opener(lang)], ())[0])
    assert (request.prompt is None) == (rendering == "chat")


def _opener(lang: str) -> Opener:
    fields = {"id": "openers-0-0-0", "provenance": {}, "instruction": "…", "lang": lang, "sector": "world"}
    return Opener.model_validate({**fields, "origin": "given"})


# --- what is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "error", "told"),
    [
        ({"dialogue": {"sector": "materials"}}, UsageProblem, "name them with --materials"),
        ({"openers": {"entry": "file"}}, UsageProblem, "openers from file: name one source, openers.source has 0"),
        ({"openers": {"entry": "run", "source": ["a", "b"]}}, UsageProblem, "openers from run: name one source"),
        ({"openers": {"use": ["nothing_like_it"]}}, ConfigProblem, "openers.use: "),
        ({"openers": {"use": ["output"]}}, ConfigProblem, "judges an output, and this stage has none"),
        ({"openers": {"threshold": "1.5"}}, UsageProblem, "openers."),
        ({"topics": {"similar": "some"}}, UsageProblem, "topics."),
        ({"dialogue": {"user_context": 300}}, ConfigProblem, "leaves the user no room beside an answer of 256"),
        ({"dialogue": {"assistant_context": 1024}}, ConfigProblem, "lower dialogue.max_tokens, or raise dialogue.ass"),
        ({"topics": {"file": "/nowhere/topics.txt"}}, BadData, "/nowhere/topics.txt"),
        ({"dialogue": {"personas": "/nowhere/personas.jsonl"}}, BadData, "/nowhere/personas.jsonl"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_work_is_said_at_once(tables: dict[str, Any], error: type[Exception], told: str) -> None:
    """The key or the option is named."""
    with pytest.raises(error) as raised:
        chain(**tables)
    assert told in str(raised.value)


def test_a_context_has_room_for_one_token_beside_prompt_and_answer() -> None:
    """That much is checked before the run; how much a dialogue needs shows in it."""
    prompt = talk(chain()).sides[0].prompt_file
    border = 1024 + estimate(prompt.text)
    with pytest.raises(ConfigProblem, match=f"a context of {border} tokens leaves the assistant no room"):
        chain(dialogue={"assistant_context": border})
    assert talk(chain(dialogue={"assistant_context": border + 1})).sides[0].context == border + 1


@pytest.mark.parametrize("name", ["assistant_context", "user_context"])
def test_a_passage_has_to_fit_twice_beside_an_answer(tmp_path: Path, name: str) -> None:
    """600 tokens may be twice as many by the model's own count; 1024 are the answer's. Of both sides."""
    tables: dict[str, Any] = {"openers": source(tmp_path), "dialogue": {"sector": "materials", name: 2223}}
    with pytest.raises(ConfigProblem, match=f"a passage of 600 tokens .* a context of 2223 .* dialogue.{name}"):
        chain(**tables)
    tables["dialogue"][name] = 2224
    assert len(chain(**tables)) == 2


def test_openers_most_of_which_are_in_another_language_are_refused(tmp_path: Path) -> None:
    """More than half of those looked at: the first is named, and the option that is missing."""
    with pytest.raises(BadData, match=r"lines.txt:2: 2 of 3 openers .* language of the run \(en\).*--lang zh"):
        chain(openers={"entry": "file", **source(tmp_path, text=f"{EN}\n{ZH}\n{ZH}呢？\n")})
    half = chain(openers={"entry": "file", **source(tmp_path, text=f"{EN}\n{ZH}\n")})
    assert len(half) == 2
    with pytest.raises(BadData, match=r"language of the run \(zh\).*--lang en"):
        chain(lang="zh", openers={"entry": "file", **source(tmp_path, text=f"{EN}\n")})


def test_a_sample_of_a_long_file_shows_its_language(tmp_path: Path) -> None:
    """Spread over the whole of it: a Chinese beginning does not decide."""
    lines = [f"{ZH}{number}\n" for number in range(150)] + [f"{EN} {number}\n" for number in range(4000)]
    assert len(chain(openers={"entry": "file", **source(tmp_path, text="".join(lines))})) == 2
