"""Rules: every number and word is data with a source and a reason, and the English ones are the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from selfinstruct import resources, rules
from selfinstruct.errors import ConfigProblem
from selfinstruct.rules import Rules, shipped
from selfinstruct.schema import Lang

FILES: list[tuple[str, Lang]] = [
    ("bootstrap", "en"),
    ("bootstrap", "zh"),
    ("alpaca", "en"),
    ("alpaca", "zh"),
    ("belle", "zh"),
]
OTHERS = [
    *("language_id", "languages", "personal_data", "secrets"),
    *(f"{filter}.{lang}" for filter in ("declines", "links", "toxicity") for lang in ("en", "zh")),
    *(f"{guard}.{lang}" for guard in ("answering", "declining", "drift", "farewell") for lang in ("en", "zh")),
    *(f"{guard}.{lang}" for guard in ("nothing_new", "role_inversion") for lang in ("en", "zh")),
]
SELF_INSTRUCT = [*"image images graph graphs picture pictures file files map maps draw plot".split(), "go to"]
BELLE = (
    "图像 图片 照片 文件 图表 图层 曲线图 折线图 直线图 柱形图 饼状图 链接 http OpenAI chatgpt gpt-3 gpt-3.5 gpt-4"
).split()
LISTS = ("example_words", "blacklist", "blacklist_except", "openings", "opening_marks", "phrases")


def _rules(**changed: Any) -> Rules:
    return Rules(**(shipped("bootstrap", "en") | changed))


# --- what we ship ---------------------------------------------------------------------------------------------------


def test_these_and_no_other_rules_are_shipped() -> None:
    """One file a stage and language, and those that a filter of the suite goes by."""
    names = sorted(path.stem for path in resources.rules_dir().glob("*.toml"))
    assert names == sorted([*(f"{stage}.{lang}" for stage, lang in FILES), *OTHERS])


@pytest.mark.parametrize(("stage", "lang"), FILES)
def test_every_shipped_file_makes_rules(stage: str, lang: Lang) -> None:
    """Its values are whole: nothing but optional limits is left out."""
    values = shipped(stage, lang)
    assert Rules.model_validate(values).model_dump(include=set(values)) == values


@pytest.mark.parametrize("name", [*(f"{stage}.{lang}" for stage, lang in FILES), *OTHERS])
def test_every_rule_says_where_it_comes_from_and_why(name: str) -> None:
    """In sentences: they end with a full stop."""
    for key, rule in rules.explained(name).items():
        assert rule.source.endswith("."), key
        assert rule.reason.endswith("."), key


@pytest.mark.parametrize(("stage", "lang"), FILES)
def test_no_list_names_an_entry_twice(stage: str, lang: Lang) -> None:
    """A repeated entry hides a slip of the pen."""
    values = shipped(stage, lang)
    for name in LISTS:
        entries = values.get(name, ())
        assert len(set(entries)) == len(entries), name


@pytest.mark.parametrize(("stage", "lang"), FILES)
def test_every_exception_holds_a_refused_entry_or_its_beginning(stage: str, lang: Lang) -> None:
    """An exception to nothing would be dead."""
    values = shipped(stage, lang)
    for word in values.get("blacklist_except", ()):
        beginnings = {entry[:length] for entry in values["blacklist"] for length in range(2, len(entry))}
        assert any(entry in word for entry in values["blacklist"]) or word.endswith(tuple(beginnings)), word


def test_self_instruct_s_rules_are_the_published_ones() -> None:
    """`bootstrap_instructions.py`: 4 to 150 words, thirteen black-listed words, one opening, ASCII first."""
    assert shipped("bootstrap", "en") == {
        "unit": "words",
        "min_length": 4,
        "max_length": 150,
        "blacklist": tuple(SELF_INSTRUCT),
        "blacklist_match": "word",
        "blacklist_scope": "instruction",
        "openings": ("Write a program",),
        "openings_match_case": False,
        "first_character": "ascii",
    }


def test_alpaca_adds_five_words_and_minds_the_case() -> None:
    """`generate_instruction.py`: all else is Self-Instruct's."""
    assert shipped("alpaca", "en") == shipped("bootstrap", "en") | {
        "blacklist": (*SELF_INSTRUCT, "video", "audio", "music", "flowchart", "diagram"),
        "openings_match_case": True,
    }


def test_belle_s_list_begins_with_the_published_eighteen() -> None:
    """`generate_instruction.py`: substrings of the whole record; fewer than 100 characters with an input, 150 with an
    example."""
    belle = Rules(**shipped("belle", "zh"))
    assert belle.blacklist[:18] == tuple(BELLE)
    assert (belle.min_length, belle.max_length) == (4, None)
    assert (belle.max_length_with_input, belle.max_length_with_example) == (99, 149)
    assert (belle.blacklist_match, belle.blacklist_scope) == ("substring", "record")


def test_alpaca_in_chinese_is_the_bootstrap_stage_s() -> None:
    """Its list names sound, film and diagrams already."""
    assert shipped("alpaca", "zh") == shipped("bootstrap", "zh")


# --- the noun -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["max_length", "max_length_with_input", "max_length_with_example"])
def test_limits_no_text_can_meet_are_refused(limit: str) -> None:
    """A most below the least would refuse everything."""
    with pytest.raises(ValidationError, match="at least 4 and at most 3 words"):
        _rules(**{limit: 3})
    assert getattr(_rules(**{limit: 4}), limit) == 4


@pytest.mark.parametrize("name", LISTS)
def test_an_empty_entry_is_refused(name: str) -> None:
    """It would be found in any text."""
    with pytest.raises(ValidationError, match=f"an entry of {name} is empty"):
        _rules(**{name: ("word", " ")})


@pytest.mark.parametrize(
    ("key", "value"), [("unit", "bytes"), ("blacklist_match", "regex"), ("min_length", 0), ("min_lenght", 3)]
)
def test_an_unknown_value_or_key_is_refused(key: str, value: Any) -> None:
    """A slip in a recipe is an error, not a rule that does nothing."""
    with pytest.raises(ValidationError):
        _rules(**{key: value})


# --- the loader -----------------------------------------------------------------------------------------------------

GOOD = 'value = 1\nsource = "Ours."\nreason = "It is small."\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the shipped one."""
    monkeypatch.setattr(resources, "rules_dir", lambda: tmp_path)
    return tmp_path


def test_a_stage_without_rules_is_told_what_there_is(folder: Path) -> None:
    """BELLE, for instance, has none in English."""
    (folder / "belle.zh.toml").write_text("")
    with pytest.raises(ConfigProblem, match=r"^no rules 'belle\.en'; there are: belle\.zh$"):
        shipped("belle", "en")


@pytest.mark.parametrize("missing", ["value", "source", "reason"])
def test_a_rule_without_value_source_or_reason_is_refused(folder: Path, missing: str) -> None:
    """Nobody could check it."""
    lines = "".join(line + "\n" for line in GOOD.splitlines() if not line.startswith(missing))
    (folder / "x.en.toml").write_text(f"[min_length]\n{lines}")
    with pytest.raises(ConfigProblem, match=rf"^rules x\.en: min_length: {missing}: Field required$"):
        rules.explained("x.en")


@pytest.mark.parametrize("empty", ["source", "reason"])
def test_an_empty_source_or_reason_is_refused(folder: Path, empty: str) -> None:
    """An empty sentence says nothing."""
    (folder / "x.en.toml").write_text(
        f"[min_length]\n{GOOD}".replace({"source": "Ours.", "reason": "It is small."}[empty], "")
    )
    with pytest.raises(ConfigProblem, match=rf"^rules x\.en: min_length: {empty}: "):
        rules.explained("x.en")


def test_the_digest_is_of_values_alone(folder: Path) -> None:
    """Another word list is another run; another reason for the same one is not."""
    table = "[words]\nvalue = ['{}']\nsource = 's'\nreason = '{}'\n"
    digests = []
    for word, reason in (("a", "r"), ("a", "because"), ("b", "r")):
        (folder / "made.toml").write_text(table.format(word, reason), "utf-8")
        digests.append(rules.digest("made"))
    assert digests[0] == digests[1] != digests[2]


def test_a_value_that_is_no_table_is_refused(folder: Path) -> None:
    """A bare number has neither source nor reason."""
    (folder / "x.en.toml").write_text("min_length = 3\n")
    with pytest.raises(ConfigProblem, match=r"^rules x\.en: min_length: "):
        rules.explained("x.en")


def test_what_is_not_toml_is_refused(folder: Path) -> None:
    """With the file's name."""
    (folder / "x.en.toml").write_text("[min_length\n")
    with pytest.raises(ConfigProblem, match=r"x\.en\.toml: not TOML: "):
        shipped("x", "en")


def test_a_file_whose_rules_are_not_whole_is_refused(folder: Path) -> None:
    """What it lacks, or what is wrong, is told."""
    (folder / "x.en.toml").write_text(f"[min_length]\n{GOOD}")
    with pytest.raises(ConfigProblem, match=r"^rules x\.en: unit: Field required$"):
        shipped("x", "en")


def test_a_file_like_another_states_only_what_differs(folder: Path) -> None:
    """A rule it states replaces the other file's, source and reason included."""
    (folder / "x.en.toml").write_text(f"[min_length]\n{GOOD}[max_length]\n{GOOD}")
    (folder / "y.en.toml").write_text(
        f'like = "x.en"\n[max_length]\n{GOOD.replace("1", "2").replace("Ours", "Theirs")}'
    )
    found = rules.explained("y.en")
    assert {key: rule.value for key, rule in found.items()} == {"min_length": 1, "max_length": 2}
    assert (found["min_length"].source, found["max_length"].source) == ("Ours.", "Theirs.")
