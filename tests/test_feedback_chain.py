"""Which stages make feedback of a recipe, what they are made of, and what is wrong before anything is asked."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from selfinstruct import identity, resources, ultrafeedback
from selfinstruct.errors import BadData, ConfigProblem, UsageProblem
from selfinstruct.feedback_schema import (
    ASPECTS,
    CritiquedInstruction,
    PreferencePair,
    RatedInstruction,
    SampledInstruction,
    SourcedInstruction,
)
from selfinstruct.filters.exact import ExactDuplicates
from selfinstruct.filters.numbered import Numbered
from selfinstruct.links import Link, Parts
from selfinstruct.recipe import Recipe
from selfinstruct.sampling_design import Balanced, Uniform
from selfinstruct.schema import Endpoint, Rendering
from selfinstruct.stages.binarize import Binarize
from selfinstruct.stages.brought import Instructions
from selfinstruct.stages.critique import Critiques
from selfinstruct.stages.rate import Ratings
from selfinstruct.stages.sample import Samples, Wording
from selfinstruct.ultrafeedback import Audited
from tests.annotated import record, sample

POOL = ("ash", "birch", "cedar", "elm", "fir")
URL = "http://127.0.0.1:1/v1"
ROWS = (
    {"instruction": "Why does wood float?", "source": "evol_instruct"},
    {"instruction": "How heavy is oak?", "source": "sharegpt"},
    {"instruction": "Is pine a hardwood?", "source": "flan_v2_cot"},
)


def instructions(folder: Path, *rows: dict[str, Any]) -> dict[str, Any]:
    """A file of these, as the recipe names it."""
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows or ROWS))
    return {"source": str(path)}


def parts(roles: dict[str, Rendering] | None = None, **tables: Any) -> Parts:
    """What a chain is built from: a pool of five, asked by chat."""
    pool = [{"api": "chat", "name": f"{name}-7b", "base_url": URL, "alias": name} for name in POOL]
    recipe = Recipe.model_validate({"method": "ultrafeedback", "pool": pool, **tables})
    return Parts(recipe, [], "chat", resources.prompts_dir(), roles or {})


def chain(folder: Path, roles: dict[str, Rendering] | None = None, **tables: Any) -> list[Link]:
    """The chain over a file of three instructions, unless a test says another."""
    given = tables if "instructions" in tables else {"instructions": instructions(folder), **tables}
    return ultrafeedback.chain(parts(roles, **given))


def sampling(links: list[Link]) -> Samples:
    """The stage that asks the pool."""
    assert isinstance(links[1].stage, Samples)
    return links[1].stage


# --- links ------------------------------------------------------------------------------------------------------------


def test_feedback_goes_from_instructions_over_samples_and_ratings_to_critiques_and_pairs(tmp_path: Path) -> None:
    """Each stage reads what the one before writes; only pool and judge are asked."""
    links = chain(tmp_path)
    assert [link.stage.name for link in links] == ["instructions", "sample", "rate", "critique", "binarize"]
    assert [link.stage.writes for link in links] == [
        SourcedInstruction,
        SampledInstruction,
        RatedInstruction,
        CritiquedInstruction,
        PreferencePair,
    ]
    written = [link.stage.writes for link in links[:-1]]
    reads = [link.stage.reads for link in links]
    assert reads[0] is None
    assert all(kind is not None and issubclass(made, kind) for made, kind in zip(written, reads[1:], strict=True))
    assert [link.stage.roles for link in links] == [(), ("assistant",), ("judge",), ("judge",), ()]
    assert {link.waits for link in links} == {False}
    assert [link.most for link in links] == [3, None, None, None, None]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_stage_sends_its_prompts_in_the_language_of_the_run(tmp_path: Path, lang: str) -> None:
    """Four rubrics, and a repair for either of the judge's stages."""
    rows = [{"instruction": "木头为什么会浮在水上？请讲讲其中的道理。", "source": "belle"}] if lang == "zh" else ROWS
    links = chain(tmp_path, lang=lang, instructions=instructions(tmp_path, *rows))
    assert [[prompt.name for prompt in link.prompts] for link in links] == [
        [],
        [f"sample/{lang}/answer"],
        [*(f"rate/{lang}/{aspect}" for aspect in ASPECTS), f"rate/{lang}/repair"],
        [f"critique/{lang}/{name}" for name in ("feedback", "repair", "score")],
        [],
    ]


def test_filters_number_what_is_kept_and_audit_what_is_annotated_last(tmp_path: Path) -> None:
    """What comes twice is asked about once; nothing that a judge has said is refused."""
    kinds = [[type(item) for item in link.filters] for link in chain(tmp_path)]
    assert kinds == [[ExactDuplicates, Numbered], [], [], [Audited], []]


def test_without_critiques_pairs_are_made_of_ratings(tmp_path: Path) -> None:
    """Then the audit is of these."""
    links = chain(tmp_path, critique={"enabled": False})
    assert [link.stage.name for link in links] == ["instructions", "sample", "rate", "binarize"]
    assert [[type(item) for item in link.filters] for link in links][2:] == [[Audited], []]
    with pytest.raises(UsageProblem, match="--score overall needs the critiques' scores"):
        chain(tmp_path, critique={"enabled": False}, binarize={"score": "overall"})
    assert chain(tmp_path, binarize={"score": "overall"})[-1].stage.name == "binarize"


def test_an_audit_sees_every_annotated_record_and_refuses_none() -> None:
    """Its summary has a warning for what should stop somebody, and a count."""
    audited = Audited()
    empty = audited.summary()
    for number in range(3):
        one = record(number, [sample_of("owl"), sample_of("heron")])
        assert audited.check(one) is None
        assert audited.admit(one) is one
    told = audited.summary()
    assert isinstance(told["warnings"], list)
    assert json.loads(json.dumps(told)) == told != empty


def sample_of(model: str) -> Any:
    """An answer that was rated 3 in everything."""
    return sample(model, 3)


# --- what they are made of --------------------------------------------------------------------------------------------


def test_the_recipe_decides_what_each_stage_asks_for(tmp_path: Path) -> None:
    """Table by table."""
    links = chain(
        tmp_path,
        seed=7,
        sample={"models": 3, "resamples": 2, "temperature": 0.5, "max_tokens": 11},
        rate={"format": "json", "rationale_first": True, "max_reasks": 4, "swap_check": 0.5, "max_tokens": 12},
        critique={"max_reasks": 0, "max_tokens": 13},
        binarize={"score": "overall", "rejected": "all"},
    )
    _, samples, ratings, critiques, pairs = (link.stage for link in links)
    assert isinstance(samples, Samples) and isinstance(ratings, Ratings)
    assert isinstance(critiques, Critiques) and isinstance(pairs, Binarize)
    assert (samples.models, samples.resamples, samples.sampling.temperature, samples.sampling.max_tokens) == (
        3,
        2,
        0.5,
        11,
    )
    assert (ratings.form, ratings.rationale_first, ratings.max_reasks, ratings.swap_check) == ("json", True, 4, 0.5)
    assert (ratings.sampling.max_tokens, ratings.not_applicable) == (12, ("honesty",))
    assert (critiques.form, critiques.max_reasks, critiques.sampling.max_tokens) == ("text", 0, 13)
    assert (pairs.score, pairs.rejected, pairs.exclude_source) == ("overall", "all", ())
    assert {samples.seed, ratings.seed, critiques.seed, pairs.seed} == {7}
    assert [link.asks_for for link in links] == [1, 1, 4, 3, 1]


def test_the_judge_shows_of_a_principle_what_is_no_example(tmp_path: Path) -> None:
    """By the wording that was given to the model."""
    links = chain(tmp_path)
    stage = links[3].stage
    assert isinstance(stage, Critiques)
    ((told, shown),) = stage.without_example.items()
    assert told.startswith(shown) and "80%" in told and "80%" not in shown


@pytest.mark.parametrize(("design", "kind"), [("uniform", Uniform), ("balanced", Balanced)])
def test_the_design_is_the_recipes_over_the_names_of_the_pool(tmp_path: Path, design: str, kind: type) -> None:
    """By alias; all of them, whoever is asked first."""
    links = chain(tmp_path, sample={"design": design})
    assert isinstance(sampling(links).design, kind)
    assert sorted(sampling(links).design.order(0)) == list(POOL)
    assert sampling(links).design.order(5) == kind(POOL, 4, 42).order(5)
    assert sampling(links).design.order(0) != sampling(chain(tmp_path, seed=43)).design.order(0)


def test_each_model_and_the_judge_are_asked_in_their_own_rendering(tmp_path: Path) -> None:
    """Where nothing is said of one it is asked as the run's model is."""
    roles: dict[str, Rendering] = {"assistant/birch": "completion", "judge": "completion"}
    links = chain(tmp_path, roles)
    assert sampling(links).renderings == {**dict.fromkeys(POOL, "chat"), "birch": "completion"}
    ratings, critiques = links[2].stage, links[3].stage
    assert isinstance(ratings, Ratings) and isinstance(critiques, Critiques)
    assert (ratings.rendering, critiques.rendering) == ("completion", "completion")


def drawn(stage: Samples, source: str, many: int = 400) -> set[str | None]:
    """The principles that so many draws give a source."""
    return {stage.wording(source, Random(number)).principle for number in range(many)}


def test_principles_are_drawn_by_source_from_the_table_of_the_recipe(tmp_path: Path) -> None:
    """The README's by default; the code's by name; own shares before either; or none."""
    stage = sampling(chain(tmp_path))
    assert drawn(stage, "truthful_qa") == {"truthfulness"}
    assert drawn(stage, "flan_v2_cot") == {"helpfulness", "truthfulness", "verbalized_calibration"}
    code = sampling(chain(tmp_path, sample={"principles": "code"}))
    assert drawn(code, "truthful_qa") == {"truthfulness", "honesty", "verbalized_calibration"}
    own = sampling(chain(tmp_path, sample={"shares": {"truthful_qa": {"harmlessness": 1.0}}}))
    assert drawn(own, "truthful_qa") == {"harmlessness"}
    none = sampling(chain(tmp_path, sample={"principles": "none"}))
    assert none.wording("truthful_qa", Random(1)) == Wording(None, "")


def test_each_wording_of_a_principle_is_drawn(tmp_path: Path) -> None:
    """All eleven, and only those of that principle; the same draw gives the same one."""
    links = chain(tmp_path)
    stage = sampling(links)
    rows = {row["text"] for row in links[1].prompts[0].demos if row["principle"] == "truthfulness"}
    found = {stage.wording("truthful_qa", Random(number)).text for number in range(300)}
    assert len(rows) == 11 and found == rows
    assert stage.wording("truthful_qa", Random(5)) == stage.wording("truthful_qa", Random(5))


# --- identities -------------------------------------------------------------------------------------------------------


def digests(links: list[Link], made: Parts) -> list[str]:
    """The identity of each stage of a chain, built on the one before."""
    asked: Any = {f"assistant/{name}": (Endpoint(identity=URL, model=name), "chat") for name in POOL}
    everybody: Any = {
        "teacher": (Endpoint(identity=URL, model="m"), "chat"),
        "judge": (Endpoint(identity=URL, model="j"), "chat"),
    }
    upstream, found = None, []
    for link in links:
        upstream = identity.of_stage(link, made.recipe, [], {**everybody, **asked}, upstream, 3)
        found.append(upstream.digest)
    return found


STAGES = ("instructions", "sample", "rate", "critique", "binarize")


@pytest.mark.parametrize(
    ("tables", "first"),
    [
        ({}, None),
        ({"seed": 43}, "instructions"),
        ({"sample": {"models": 3}}, "sample"),
        ({"sample": {"design": "balanced"}}, "sample"),
        ({"sample": {"principles": "code"}}, "sample"),
        ({"rate": {"swap_check": 0.1}}, "rate"),
        ({"rate": {"format": "json"}}, "rate"),
        ({"critique": {"format": "json"}}, "critique"),
        ({"binarize": {"rejected": "all"}}, "binarize"),
        ({"binarize": {"exclude_source": ["sharegpt"]}}, "binarize"),
    ],
)
def test_what_is_set_otherwise_makes_other_stages_from_there_on(
    tmp_path: Path, tables: dict[str, Any], first: str | None
) -> None:
    """Those before go on as they are."""
    given = {"instructions": instructions(tmp_path)}
    one, other = parts(**given), parts(**given, **tables)
    before, now = digests(ultrafeedback.chain(one), one), digests(ultrafeedback.chain(other), other)
    changed = [stage for stage, a, b in zip(STAGES, before, now, strict=True) if a != b]
    assert changed == (list(STAGES[STAGES.index(first) :]) if first else [])


def test_other_instructions_are_another_run_and_the_place_of_the_file_is_not(tmp_path: Path) -> None:
    """What they are counts."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    files = {name: instructions(tmp_path / name) for name in ("a", "b")}
    files["c"] = instructions(tmp_path / "c", *ROWS[:2], {**ROWS[2], "source": "ultrachat"})
    links = {name: ultrafeedback.chain(parts(instructions=file)) for name, file in files.items()}
    data = {name: dict(found[0].data) for name, found in links.items()}
    assert data["a"] == data["b"] != data["c"]
    assert list(data["a"]) == ["instructions"] and data["a"]["instructions"].startswith("3 instructions, sha256 ")


# --- what is wrong, and what is told ----------------------------------------------------------------------------------


def test_without_instructions_there_is_nothing_to_ask() -> None:
    """It says how to give some."""
    with pytest.raises(UsageProblem, match=r"--instructions FILE\.jsonl, or --from RUN"):
        ultrafeedback.chain(parts())


@pytest.mark.parametrize("entry", ["file", "run"])
def test_instructions_that_are_not_there_are_bad_data(tmp_path: Path, entry: str) -> None:
    """Before anybody is asked."""
    with pytest.raises((BadData, UsageProblem)) as raised:
        ultrafeedback.chain(parts(instructions={"entry": entry, "source": str(tmp_path / "nowhere")}))
    assert "nowhere" in str(raised.value)


def test_instructions_in_another_language_than_the_runs_are_refused(tmp_path: Path) -> None:
    """With what to do about it."""
    with pytest.raises(BadData, match="--lang en"):
        chain(tmp_path, lang="zh")


def test_a_pool_that_is_too_small_is_refused(tmp_path: Path) -> None:
    """Five models cannot give six answers."""
    with pytest.raises(UsageProblem, match="6 models are to answer each instruction, and the pool has 5"):
        chain(tmp_path, sample={"models": 6})


def test_a_source_that_no_table_knows_is_told(tmp_path: Path) -> None:
    """With what it gets instead, and how to say otherwise; where that is said, or no source is, there is no note."""
    rows = [*ROWS, {"instruction": "Where do cork oaks grow?", "source": "forestry"}, {"instruction": "What is bark?"}]
    source = instructions(tmp_path, *rows)
    (note,) = chain(tmp_path, instructions=source)[0].notes
    assert note == (
        "no table has principles for the source forestry: its answers are asked for with helpfulness alone;"
        " --set 'sample.shares={…}' says otherwise"
    )
    assert drawn(sampling(chain(tmp_path, instructions=source)), "forestry") == {"helpfulness"}
    shares = {"forestry": {"honesty": 1.0}, "other": {"honesty": 1.0}}
    assert chain(tmp_path, instructions=source, sample={"shares": shares})[0].notes == ()
    assert chain(tmp_path, instructions=source, sample={"principles": "none"})[0].notes == ()
    assert chain(tmp_path, instructions=instructions(tmp_path))[0].notes == ()


def test_of_many_unknown_sources_the_first_five_are_told(tmp_path: Path) -> None:
    """The rest is dots."""
    rows = [{"instruction": f"What is wood number {n} good for?", "source": f"s{n}"} for n in range(7)]
    (note,) = chain(tmp_path, instructions=instructions(tmp_path, *rows))[0].notes
    assert "for the source s0, s1, s2, s3, s4 …: its" in note


def test_to_leave_out_a_source_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    """It names those that are; one that is there is left out of the pairs."""
    with pytest.raises(UsageProblem, match="--exclude-source truthful_qa: no instruction is from there") as raised:
        chain(tmp_path, binarize={"exclude_source": ["sharegpt", "truthful_qa"]})
    assert str(raised.value).endswith("sources: evol_instruct, flan_v2_cot, sharegpt")
    stage = chain(tmp_path, binarize={"exclude_source": ["sharegpt"]})[-1].stage
    assert isinstance(stage, Binarize) and stage.exclude_source == ("sharegpt",)


def test_own_shares_that_do_not_sum_to_one_are_refused(tmp_path: Path) -> None:
    """When they are drawn from, at the latest; the message names the source."""
    own = {"sharegpt": {"honesty": 0.5, "helpfulness": 0.4}}
    with pytest.raises(ConfigProblem, match="'sharegpt'"):
        sampling(chain(tmp_path, sample={"shares": own})).wording("sharegpt", Random(1))


def test_the_first_stage_is_made_of_the_instructions_in_their_order(tmp_path: Path) -> None:
    """In rounds of the recipe's size."""
    stage = chain(tmp_path, round_size=2)[0].stage
    assert isinstance(stage, Instructions)
    assert [[job.material.instruction for job in stage.plan(n, (), ())] for n in range(3)] == [
        [row["instruction"] for row in ROWS[:2]],
        [ROWS[2]["instruction"]],
        [],
    ]
