"""Recipes and settings: the papers' defaults, one order of precedence, and mistakes that name their key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import resources
from selfinstruct.config import Settings, resolve, settings
from selfinstruct.errors import ConfigProblem, UsageProblem
from selfinstruct.money import Amount, Price
from selfinstruct.recipe import STAGES, Recipe, known_keys
from selfinstruct.rules import Rules, shipped

# Self-Instruct's values, from its code (systems §1.1 to §1.4).
PAPER: dict[str, Any] = {
    "bootstrap.temperature": 0.7,
    "bootstrap.top_p": 0.5,
    "bootstrap.presence_penalty": 2.0,
    "bootstrap.frequency_penalty": 0.0,
    "bootstrap.max_tokens": 1024,
    "bootstrap.num_demos": 8,
    "bootstrap.machine_demos": 2,
    "bootstrap.new_tasks": 7,  # after 8 demos the list goes on to item 15
    "bootstrap.threshold": "0.7",
    "bootstrap.rules": Rules(**shipped("bootstrap", "en")),
    "classify.temperature": 0.0,
    "classify.top_p": 0.0,
    "classify.presence_penalty": 0.0,
    "classify.frequency_penalty": 0.0,
    "classify.max_tokens": 3,
    "classify.demos": 31,
    "instances.temperature": 0.0,
    "instances.top_p": 0.0,
    "instances.presence_penalty": 1.5,
    "instances.frequency_penalty": 0.0,
    "instances.max_tokens": 350,
    "instances.max_tokens_classification": 300,
    "instances.demos_output_first": 16,
    "instances.demos_input_first": 11,
    "instances.max_instances": 5,
    "instances.keep": 5,
    "seed": 42,
}
# Stanford Alpaca's values, from its code (systems §2.1); BELLE's, of its first version (§3.1), where they differ.
for _name in ("alpaca", "belle"):
    PAPER |= {
        f"{_name}.temperature": 1.0,
        f"{_name}.top_p": 1.0,
        f"{_name}.presence_penalty": 0.0,
        f"{_name}.frequency_penalty": 0.0,
        f"{_name}.max_tokens": 3072,
        f"{_name}.num_demos": 3,
        f"{_name}.machine_demos": 0,
        f"{_name}.tasks": {"alpaca": 20, "belle": 10}[_name],
        f"{_name}.threshold": "0.7",
        f"{_name}.rules": Rules(**shipped(_name, "en" if _name == "alpaca" else "zh")),
    }
# Where the paper has no such setting, or the design decides otherwise (round size: 5 requests a batch in the paper).
OURS: dict[str, Any] = {
    "method": "self-instruct",
    "lang": "en",
    "seed_tasks": "",
    "round_size": 8,
    "rounds_per_shard": 128,
    "lag": 4,
    "in_step": False,
    "model.api": "local",
    "model.name": "",
    "model.base_url": "",
    "model.endpoint": "",
    "model.token_field": None,
    "model.limits": {},
    "model.json_mode": None,
    "model.omit": (),
    "model.extra_body": {},
    "model.send_seed": False,
    "model.reproducible": False,
    "model.context": 4096,
    "bootstrap.similar": "above:0.5",
    "classify.resamples": 2,
    "classify.resample_temperature": 0.7,
    "instances.min_output_words": 0,
    "instances.max_ngram_repeats": None,
    "instances.use": (),
    "bootstrap.use": (),
}
for _name in ("alpaca", "belle"):
    OURS |= {
        f"{_name}.format": "text",
        f"{_name}.similar": "above:0.5",
        f"{_name}.min_output_words": 0,
        f"{_name}.max_ngram_repeats": None,
        f"{_name}.use": (),
    }
# UltraChat's numbers as far as it tells them (systems §5.1); its prompts and decoding were never published.
PAPER |= {
    "topics.subtopics": 37,  # 1100 of 30 meta topics
    "openers.questions": 10,
    "openers.related": 10,
    "openers.requests": 5,
    "expand.share": 0.8,
    "dialogue.rounds": (3, 7),
}
OURS |= {
    "user": None,
    "assistant": None,
    "topics.file": "",
    "openers.entry": "topics",
    "openers.source": (),
    "openers.related_share": 0.25,
    "openers.types": "",
    "openers.instructions": 10,
    "openers.passage_tokens": 600,
    "openers.too_long": "error",
    "openers.use": (),
    "dialogue.sector": "world",
    "dialogue.user_temperature": 1.0,
    "dialogue.user_top_p": 1.0,
    "dialogue.user_max_tokens": 256,
    "dialogue.assistant_context": 16384,
    "dialogue.user_context": 16384,
    "dialogue.resamples": 1,
    "dialogue.personas": "",
    "pool": (),
    "model.engine": {},
    "model.rendering": None,
    "model.alias": "",
    "model.replicas": (),
    "model.key_variable": "",
    "model.price": "",
}
for _name, _tokens in (("topics", 1024), ("openers", 1024), ("expand", 400), ("dialogue", 1024)):
    OURS |= {
        f"{_name}.temperature": 0.7 if _name == "dialogue" else 1.0,
        f"{_name}.top_p": 1.0,
        f"{_name}.presence_penalty": None,
        f"{_name}.frequency_penalty": None,
        f"{_name}.max_tokens": _tokens,
    }
for _name in ("topics", "openers"):
    OURS |= {f"{_name}.threshold": "0.7", f"{_name}.similar": "above:0.5"}


# UltraFeedback (systems §6.2-§6.5), and what it leaves open.
PAPER |= {
    "sample.temperature": 1.0,
    "sample.top_p": 1.0,
    "sample.max_tokens": 1024,
    "sample.models": 4,
    "sample.design": "uniform",
    "sample.principles": "readme",
    "rate.temperature": 0.0,
    "rate.top_p": 0.6,
    "rate.not_applicable": ("honesty",),
    "critique.temperature": 0.0,
    "critique.top_p": 0.6,
    "critique.max_tokens": 1024,
}
OURS |= {
    "instructions.entry": "file",
    "instructions.source": "",
    "sample.shares": {},
    "sample.resamples": 1,
    "rate.max_tokens": 2048,
    "rate.format": "text",
    "rate.rationale_first": False,
    "rate.max_reasks": 2,
    "rate.swap_check": 0.0,
    "critique.enabled": True,
    "critique.format": "text",
    "critique.max_reasks": 2,
    "binarize.score": "mean",
    "binarize.rejected": "random",
    "binarize.exclude_source": (),
    "judge": None,
}
for _name in ("sample", "rate", "critique"):
    OURS |= {f"{_name}.presence_penalty": None, f"{_name}.frequency_penalty": None}

NOBODY_ASKED = {"instructions", "binarize"}
"""Stages without prompts."""


def value(recipe: Recipe, key: str) -> Any:
    """What a recipe holds under a dotted key."""
    found: Any = recipe
    for part in key.split("."):
        found = getattr(found, part)
    return found


# --- defaults -------------------------------------------------------------------------------------------------------


def test_every_default_is_the_papers_or_written_down_as_ours() -> None:
    """A new key needs a line in one of the two tables."""
    assert sorted(PAPER | OURS) == sorted({re.sub(r"\.rules\..*", ".rules", key) for key in known_keys(Recipe)})
    recipe = resolve(None, [], {})
    assert {key: value(recipe, key) for key in PAPER | OURS} == PAPER | OURS
    assert recipe == Recipe()


@pytest.mark.parametrize("name", sorted(path.stem for path in resources.recipes_dir().glob("*.toml")))
def test_every_shipped_recipe_is_valid(name: str) -> None:
    """It is found by its name, and changes something; but Self-Instruct's states the defaults."""
    assert (resolve(name, [], {}) == Recipe()) == (name == "self-instruct")


@pytest.mark.parametrize("name", ["alpaca", "belle"])
def test_a_methods_recipe_states_what_the_method_does_anyway(name: str) -> None:
    """So that the published parameters can be read in one place."""
    assert resolve(name, [], {}) == resolve(None, [], {"method": name})


# --- precedence -----------------------------------------------------------------------------------------------------


def test_flag_beats_set_beats_file_beats_default(tmp_path: Path) -> None:
    """Value by value; a flag that was not given does not count."""
    path = tmp_path / "mine.toml"
    path.write_text("seed = 1\nlag = 1\nround_size = 1\n[bootstrap]\ntop_p = 0.1\nmax_tokens = 10\n")
    flags = {"seed": 3, "lag": None, "bootstrap.top_p": 0.3}
    recipe = resolve(str(path), ["seed=2", "lag=2", "bootstrap.top_p=0.2"], flags)
    keys = ("seed", "lag", "round_size", "rounds_per_shard", "bootstrap.top_p", "bootstrap.max_tokens")
    assert [value(recipe, key) for key in keys] == [3, 2, 1, 128, 0.3, 10]
    assert value(recipe, "bootstrap.temperature") == 0.7
    assert value(resolve(None, ["seed=1", "seed=2"], {}), "seed") == 2


@pytest.mark.parametrize(
    ("sets", "flags", "address"),
    [
        ((), {}, "http://127.0.0.1:9"),
        (("model.base_url=http://127.0.0.1:7",), {}, "http://127.0.0.1:9"),
        ((), {"model.base_url": "http://127.0.0.1:8"}, "http://127.0.0.1:8"),
        (("model.endpoint=deepseek",), {}, ""),
        ((), {"model.endpoint": "deepseek"}, ""),
        (("model.endpoint=deepseek",), {"model.base_url": "http://127.0.0.1:8"}, "http://127.0.0.1:8"),
    ],
)
def test_the_environments_address_is_not_for_an_endpoint(
    sets: tuple[str, ...], flags: dict[str, str], address: str
) -> None:
    """However the endpoint is named: its key would go to an address meant for another."""
    recipe = resolve(None, sets, {"environment.base_url": "http://127.0.0.1:9", **flags})
    assert recipe.model.base_url == address


def test_flag_beats_environment_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the settings; a flag that was not given does not count."""
    assert settings({}) == Settings()
    assert (settings({}).output_dir, settings({}).concurrency, settings({}).timeout) == (Path("output"), None, 600.0)
    monkeypatch.setenv("SELFINSTRUCT_CONCURRENCY", "5")
    monkeypatch.setenv("SELFINSTRUCT_OUTPUT_DIR", "/data/runs")
    assert settings({"concurrency": None}).concurrency == 5
    chosen = settings({"concurrency": 7})
    assert (chosen.concurrency, chosen.output_dir) == (7, Path("/data/runs"))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("rpm", "90.5", 90.5),
        ("tpm", "1e6", 1e6),
        ("give_up_after", "20m", 1200.0),
        ("deadline", "1h30m", 5400.0),
        ("deadline", "90", 90.0),
        ("max_cost", "20usd", Amount("usd", 20 * 10**12)),
        ("max_cost", "20", Amount("usd", 20 * 10**12)),
        ("max_cost", "¥0.5", Amount("cny", 5 * 10**11)),
        ("max_calls", "1000", 1000),
        ("max_tokens_total", "5", 5),
        ("price", "in=0.5,out=1.5", Price(500_000, 1_500_000, "usd", "--price", "")),
        ("price", "in=2,out=8,currency=cny", Price(2_000_000, 8_000_000, "cny", "--price", "")),
        ("sync", "false", False),
    ],
)
def test_limits_and_money_are_read_alike_from_flags_and_variables(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: object
) -> None:
    """As people write amounts, prices and durations; without any there is no limit."""
    assert getattr(settings({}), name) == (True if name == "sync" else None)
    assert getattr(settings({name: text}), name) == expected
    monkeypatch.setenv(f"SELFINSTRUCT_{name.upper()}", text)
    assert getattr(settings({}), name) == expected


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("give_up_after", "soon", "--give-up-after 'soon': it must be more than 0 and look like 6h"),
        ("deadline", "0", "--deadline '0': it must be more than 0"),
        ("max_cost", "much", "--max-cost 'much': it must be more than 0 and look like 20usd"),
        ("max_cost", "-1usd", "--max-cost '-1usd': it must be more than 0"),
        ("price", "1.5", "--price '1.5': it must look like in=0.5,out=1.5"),
    ],
)
def test_what_is_no_amount_price_or_duration_names_its_option(name: str, text: str, why: str) -> None:
    """With an example of what is meant."""
    with pytest.raises(UsageProblem) as problem:
        settings({name: text})
    assert str(problem.value).startswith(why)


def test_openais_own_variables_are_read_and_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the names every OpenAI client uses."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    read = settings({})
    assert read.openai_api_key is not None
    assert read.openai_api_key.get_secret_value() == "sk-secret"
    assert read.openai_base_url == "http://127.0.0.1:8000/v1"
    assert "sk-secret" not in repr(read) + str(read) + read.model_dump_json()


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("SELFINSTRUCT_CONCURRENCY", "many", "unable to parse string as an integer"),
        ("SELFINSTRUCT_CONCURRENCY", "0", "greater than or equal to 1"),
        ("SELFINSTRUCT_TIMEOUT", "-1", "greater than 0"),
        ("SELFINSTRUCT_MAX_UNUSABLE", "20", "less than or equal to 1"),
        ("SELFINSTRUCT_ALLOW_NETWORK_FS", "maybe", "unable to interpret input"),
        ("SELFINSTRUCT_THREADS", "", "unable to parse string as an integer"),
        ("SELFINSTRUCT_RPM", "0", "greater than 0"),
        ("SELFINSTRUCT_TPM", "nan", "finite number"),
        ("SELFINSTRUCT_MAX_CALLS", "0", "greater than or equal to 1"),
        ("SELFINSTRUCT_MAX_TOKENS_TOTAL", "1.5", "unable to parse string as an integer"),
    ],
)
def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str, why: str) -> None:
    """As it stands in the environment, with its value."""
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigProblem) as problem:
        settings({})
    assert str(problem.value).startswith(f"{name}={text!r}: ")
    assert why in str(problem.value)


def test_no_variable_reaches_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may change a byte is in the recipe, where it is compared."""
    for name in ("SEED", "LAG", "METHOD", "MODEL", "BOOTSTRAP", "BOOTSTRAP__TOP_P"):
        monkeypatch.setenv(f"SELFINSTRUCT_{name}", "7")
    assert resolve(None, [], {}) == Recipe()


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "key", "expected"),
    [
        ("lag=8", "lag", 8),
        (" lag = 8 ", "lag", 8),
        ("bootstrap.temperature=1", "bootstrap.temperature", 1.0),
        ("instances.temperature=2e-1", "instances.temperature", 0.2),
        ("model.send_seed=true", "model.send_seed", True),
        ("model.name=qwen3-8b", "model.name", "qwen3-8b"),
        ('model.name="true"', "model.name", "true"),
        ("model.name=models/a b=c.gguf", "model.name", "models/a b=c.gguf"),
        ("model.name=", "model.name", ""),
        ('model.omit=["stop", "top_p"]', "model.omit", ("stop", "top_p")),
        ("model.extra_body={think = false}", "model.extra_body", {"think": False}),
        ("model.extra_body.think=false", "model.extra_body", {"think": False}),
        ("bootstrap.rules.blacklist=[]", "bootstrap.rules.blacklist", ()),
        ("bootstrap.similar=above:0.4", "bootstrap.similar", "above:0.4"),
        ("bootstrap.threshold=0.8", "bootstrap.threshold", "0.8"),
        ("bootstrap.threshold=7/10", "bootstrap.threshold", "7/10"),
        ("bootstrap.threshold=1", "bootstrap.threshold", "1"),
    ],
)
def test_set_values_are_typed_as_toml(item: str, key: str, expected: Any) -> None:
    """Numbers, truths, lists and tables as in a file; a bare word is a string, and so is what a path looks like."""
    found = value(resolve(None, [item], {}), key)
    assert found == expected
    assert type(found) is type(expected)


def test_a_threshold_is_the_decimal_that_was_typed(tmp_path: Path) -> None:
    """Unquoted in a file as well; no float gets between the digits and the decision."""
    path = tmp_path / "mine.toml"
    path.write_text("[bootstrap]\nthreshold = 0.65\n")
    assert value(resolve(str(path), [], {}), "bootstrap.threshold") == "0.65"


def test_tables_of_one_set_do_not_clear_the_file(tmp_path: Path) -> None:
    """A key changes itself and nothing beside it."""
    path = tmp_path / "mine.toml"
    path.write_text("[bootstrap]\ntop_p = 0.1\n[model.extra_body]\na = 1\n")
    recipe = resolve(str(path), ["bootstrap.max_tokens=5", "model.extra_body.b=2"], {})
    assert (value(recipe, "bootstrap.top_p"), value(recipe, "bootstrap.max_tokens")) == (0.1, 5)
    assert value(recipe, "model.extra_body") == {"a": 1, "b": 2}


# --- mistakes -------------------------------------------------------------------------------------------------------

UNKNOWN = [
    ("round_sise", "round_size"),
    ("rounds_size", "round_size"),
    ("bootstrap.temprature", "bootstrap.temperature"),
    ("instances.max_token", "instances.max_tokens"),
    ("bootstap.temperature", "bootstrap"),
    ("bootstrap.keep", "instances.keep"),
    ("classify.demos_input_first", "instances.demos_input_first"),
    ("num_demos", "bootstrap.num_demos"),
    ("bootstrap.lag", "lag"),
    ("model.lang", "lang"),
    ("xyz", None),
    ("bootstrap.xyz", None),
]


@pytest.mark.parametrize(("key", "meant"), UNKNOWN)
def test_an_unknown_key_is_an_error_with_a_suggestion(tmp_path: Path, key: str, meant: str | None) -> None:
    """In --set as in a file; also the right name in the wrong table. Without a likely one nothing is suggested."""
    named = key.partition(".")[0] if key.startswith("bootstap") else key
    suggestion = f"; did you mean '{meant}'?" if meant else ""
    with pytest.raises(ConfigProblem) as problem:
        resolve(None, [f"{key}=1"], {})
    assert str(problem.value) == f"--set '{key}=1': unknown recipe key '{named}'{suggestion}"
    path = tmp_path / "mine.toml"
    path.write_text(f"{key} = 1\n")
    with pytest.raises(ConfigProblem) as problem:
        resolve(str(path), [], {})
    assert str(problem.value) == f"{path}: unknown recipe key '{named}'{suggestion}"


BAD_VALUES = [
    ("lag=0", "lag: Input should be greater than or equal to 1 (got 0)"),
    ("lag=two", "lag: Input should be a valid integer, unable to parse string as an integer (got 'two')"),
    ("bootstrap.temperature=3", "bootstrap.temperature: Input should be less than or equal to 2 (got 3)"),
    ("classify.top_p=1.01", "classify.top_p: Input should be less than or equal to 1 (got 1.01)"),
    ("instances.top_p=nan", "instances.top_p: Input should be "),
    ("instances.presence_penalty=-2.5", "instances.presence_penalty: Input should be greater than or equal to -2"),
    ("bootstrap.frequency_penalty=2.5", "bootstrap.frequency_penalty: Input should be less than or equal to 2"),
    (
        "model.api=tgi",
        "model.api: Input should be 'local', 'vllm', 'chat', 'completion', 'fake' or 'replay' (got 'tgi')",
    ),
    ("bootstrap.rules.blacklist=[1]", "bootstrap.rules.blacklist.0: Input should be a valid string (got 1)"),
    ("model.limits.temprature=[0, 1]", "model.limits.temprature.[key]: Input should be 'temperature', "),
    ("model.limits.top_p=[1, 0.5]", "model.limits.top_p: no value is at least 1 and at most 0.5 (got [1, 0.5])"),
    ("model.limits.top_p=[0, inf]", "model.limits.top_p.1: Input should be a finite number (got inf)"),
    ("bootstrap.threshold=true", "bootstrap.threshold: Input should be a valid string (got True)"),
    ("bootstrap=3", "bootstrap: Input should be a valid dictionary"),
    ("seed.x=3", "seed: Input should be a valid integer (got {'x': 3})"),
]


@pytest.mark.parametrize(("item", "why"), BAD_VALUES)
def test_a_bad_value_names_its_key(tmp_path: Path, item: str, why: str) -> None:
    """A wrong --set is a wrong command line (2), a wrong file is a wrong configuration (78)."""
    with pytest.raises(UsageProblem) as usage:
        resolve(None, [item], {})
    assert str(usage.value).startswith(f"--set '{item}': {why}")
    path = tmp_path / "mine.toml"
    key, _, text = item.partition("=")
    bare = text.isalpha() and text not in ("true", "nan")
    path.write_text(f'{key} = "{text}"\n' if bare else f"{key} = {text}\n")
    with pytest.raises(ConfigProblem) as problem:
        resolve(str(path), [], {})
    assert str(problem.value).startswith(f"{path}: {why}")


@pytest.mark.parametrize("method", STAGES)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_language_is_served_with_seeds_prompts_and_rules(method: str, lang: str) -> None:
    """By every method but BELLE's, which is Chinese: 2, and not a missing file later."""
    if (method, lang) == ("belle", "en"):
        with pytest.raises(UsageProblem, match=r"^--lang: the method belle is Chinese: leave --lang out"):
            resolve(None, [], {"method": method, "lang": lang})
        return
    recipe = resolve(None, [], {"method": method, "lang": lang})
    assert (recipe.method, recipe.lang) == (method, lang)
    first = getattr(recipe, STAGES[method][0])
    if method not in ("ultrachat", "ultrafeedback"):  # which look at turns, or at what was brought to them
        assert first.rules == Rules(**shipped(STAGES[method][0], "zh" if lang == "zh" else "en"))
    assert (resources.seeds_dir() / f"{lang}_seed_tasks.jsonl").is_file()
    asking = set(STAGES[method]) - NOBODY_ASKED
    assert {path.parent.name for path in resources.prompts_dir().glob(f"*/{lang}")} >= asking


def test_no_other_language_is_served() -> None:
    """2, with the languages there are."""
    with pytest.raises(UsageProblem, match=r"^--lang: lang: Input should be 'en' or 'zh' \(got 'fr'\)"):
        resolve(None, [], {"lang": "fr"})


def test_a_language_brings_its_own_numbers() -> None:
    """BELLE is Chinese unasked; in Chinese Alpaca asks for ten tasks; what is given stands."""
    assert resolve(None, [], {"method": "belle"}).lang == "zh"
    asked = [resolve(None, [], {"method": "alpaca", "lang": lang}).alpaca.tasks for lang in ("en", "zh")]
    assert asked == [20, 10]
    given = resolve(None, ["alpaca.tasks=5", "alpaca.rules.min_length=2"], {"method": "alpaca", "lang": "zh"}).alpaca
    assert (given.tasks, given.rules) == (5, Rules(**{**shipped("alpaca", "zh"), "min_length": 2}))


def test_a_flag_for_the_first_stage_goes_to_the_methods_own() -> None:
    """``first.`` is bootstrap, alpaca or belle, whoever names the method."""
    flags = {"method": "belle", "first.temperature": 0.3, "first.format": "json"}
    recipe = resolve(None, [], flags)
    assert (recipe.belle.temperature, recipe.belle.format) == (0.3, "json")
    assert (recipe.bootstrap.temperature, recipe.alpaca.temperature) == (0.7, 1.0)
    assert resolve("belle", [], {"first.top_p": 0.9}).belle.top_p == 0.9
    assert resolve(None, [], {"first.top_p": 0.9, "first.format": "text"}).bootstrap.top_p == 0.9
    with pytest.raises(UsageProblem, match=r"^--format json is for --method alpaca and belle"):
        resolve(None, [], {"first.format": "json"})


@pytest.mark.parametrize(
    ("method", "shown", "seeds_only"), [("self-instruct", 2, 0), ("alpaca", 1, 0), ("belle", 1, 0)]
)
def test_bootstrap_shows_accepted_tasks_and_seeds_only_none(method: str, shown: int, seeds_only: int) -> None:
    """Self-Instruct's two, one of Alpaca's three; as many as the recipe says where it says so."""
    table = STAGES[method][0]

    def demos(wanted: bool, *sets: str) -> int:
        recipe = resolve(None, sets, {"method": method, "first.bootstrap": wanted})
        return int(getattr(recipe, table).machine_demos)

    assert (demos(True), demos(False)) == (shown, seeds_only)
    assert (demos(True, f"{table}.machine_demos=3"), demos(False, f"{table}.machine_demos=3")) == (3, 0)


def test_a_recipe_of_another_method_is_refused(tmp_path: Path) -> None:
    """78: by the method it names, or by a table that this method does not read."""
    with pytest.raises(ConfigProblem, match=r"^belle is a recipe of --method belle: leave --method out"):
        resolve("belle", [], {"method": "alpaca"})
    with pytest.raises(ConfigProblem, match=r"^demo: \[bootstrap\] is a table of --method self-instruct, and this run"):
        resolve("demo", [], {"method": "alpaca"})
    with pytest.raises(ConfigProblem, match=r"^--set: \[alpaca\] is a table of --method alpaca, and this run"):
        resolve(None, ["alpaca.tasks=5"], {})
    assert resolve("belle", [], {"method": "belle"}).method == "belle"


def test_demos_leave_something_to_ask_for() -> None:
    """78 in a file, 2 on the command line."""
    with pytest.raises(
        UsageProblem, match=r"^--set 'alpaca.tasks=3': alpaca: 3 demos leave nothing to ask for up to task 3"
    ):
        resolve(None, ["alpaca.tasks=3"], {"method": "alpaca"})


def test_a_bad_flag_names_itself() -> None:
    """As it is typed."""
    with pytest.raises(UsageProblem, match=r"^--top-p: bootstrap\.top_p: Input should be less than or equal to 1 "):
        resolve(None, [], {"bootstrap.top_p": 1.5})


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("lag", "--set 'lag': expected key=value, such as instances.temperature=0.5"),
        ("", "--set '': expected key=value, such as instances.temperature=0.5"),
    ],
)
def test_a_set_without_a_value_is_a_usage_error(item: str, why: str) -> None:
    """With an example of how it is meant."""
    with pytest.raises(UsageProblem) as problem:
        resolve(None, [item], {})
    assert str(problem.value) == why


def test_a_value_is_no_table() -> None:
    """One cannot set a part of a number."""
    with pytest.raises(UsageProblem, match=r"'seed\.x': 'seed' is a value, not a table"):
        resolve(None, ["seed=3", "seed.x=4"], {})


# --- recipe files ---------------------------------------------------------------------------------------------------


def test_a_folder_of_that_name_does_not_hide_a_shipped_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run called demo leaves a folder called demo."""
    by_name = resolve("demo", [], {})
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("demo", [], {}) == by_name
    (tmp_path / "mine").write_text("seed = 5\n")
    assert resolve("mine", [], {}).seed == 5


@pytest.mark.parametrize("source", ["nightly", "nightly.toml", "no/such/recipe"])
def test_a_recipe_that_is_not_there_lists_those_that_are(source: str) -> None:
    """By the name that was asked for."""
    with pytest.raises(
        ConfigProblem, match=rf"^{source}: cannot read the recipe: No such file.*; shipped recipes: .*demo"
    ):
        resolve(source, [], {})


@pytest.mark.parametrize("content", [b"seed: 5\n", b"seed = 5\nseed = 6\n", b"\xff"])
def test_a_file_that_is_no_toml_says_so(tmp_path: Path, content: bytes) -> None:
    """YAML, a key twice, another encoding."""
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigProblem, match=rf"^{path}: not TOML: "):
        resolve(str(path), [], {})
