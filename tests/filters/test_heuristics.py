"""Heuristics: every boundary of Self-Instruct's rules, one example a side."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct.filters.heuristics import Heuristics
from selfinstruct.protocols import Drop, Filter
from selfinstruct.recipe import BootstrapRecipe
from selfinstruct.schema import ClassifiedInstruction, Instruction, Provenance, TaskInstance

SELF_INSTRUCT_BLACKLIST = BootstrapRecipe().blacklist
ALPACA_BLACKLIST = (*SELF_INSTRUCT_BLACKLIST, "video", "audio", "music", "flowchart", "diagram")


def heuristics(**options: Any) -> Heuristics:
    """Self-Instruct's rules, but for what ``options`` say."""
    return Heuristics(**{"blacklist": SELF_INSTRUCT_BLACKLIST} | options)


def _instruction(text: str) -> Instruction:
    return Instruction(id="bootstrap-0-0-0", provenance=Provenance(), instruction=text, lang="en")


def _reason(text: str, rules: Heuristics | None = None) -> str | None:
    drop = (rules or heuristics()).check(_instruction(text))
    return drop.reason if drop else None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Name four old trees.", id="four words"),
        pytest.param(" ".join(["word"] * 150), id="150 words"),
        pytest.param("Explain what mapping means in algebra.", id="mapping is not map"),
        pytest.param("Write a profile of a baker.", id="profile is not file"),
        pytest.param("Say how a photograph is developed.", id="photograph is not graph"),
        pytest.param("Rename the field file_name in this text.", id="an underscore is part of a word"),
        pytest.param("List plots of three well-known novels.", id="plots is not plot"),
        pytest.param("Say who goes to market first.", id="goes to is not go to"),
        pytest.param("Suggest a title for a video about bees.", id="video is Alpaca's word"),
        pytest.param("Write programs that sort a list.", id="another opening"),
        pytest.param("Please write a program that sorts.", id="the words, but not as the opening"),
        pytest.param("3 friends share 12 plums; explain how.", id="a digit first"),
        pytest.param("Is naïve an English word?", id="non-ASCII later on"),
        pytest.param("Explain what (a) and [b] mean.", id="punctuation later on"),
    ],
)
def test_a_text_on_the_good_side_of_a_rule_is_kept(text: str) -> None:
    """Limits are inclusive, words count whole, and openings are openings."""
    assert heuristics().check(_instruction(text)) is None


@pytest.mark.parametrize(
    ("text", "drop"),
    [
        pytest.param("", Drop("too_short", "0 words, at least 4"), id="empty"),
        pytest.param(" \n\t ", Drop("too_short", "0 words, at least 4"), id="whitespace only"),
        pytest.param("Name three trees.", Drop("too_short", "3 words, at least 4"), id="three words"),
        pytest.param(" ".join(["word"] * 151), Drop("too_long", "151 words, at most 150"), id="151 words"),
        pytest.param("Explain the Map to a child.", Drop("blacklisted_word", "Map"), id="capital"),
        pytest.param("Describe the IMAGES you were shown.", Drop("blacklisted_word", "IMAGES"), id="all capitals"),
        pytest.param("Summarise report.txt, a short file.", Drop("blacklisted_word", "file"), id="before a full stop"),
        pytest.param("Go to the shop and buy milk.", Drop("blacklisted_word", "Go to"), id="phrase"),
        pytest.param("Decide whether to go  to town.", Drop("blacklisted_word", "go to"), id="phrase, two spaces"),
        pytest.param("Decide whether to go\nto town.", Drop("blacklisted_word", "go to"), id="phrase over two lines"),
        pytest.param("Write a program that sorts.", Drop("program_request", "Write a program"), id="opening"),
        pytest.param("write a PROGRAM that sorts.", Drop("program_request", "write a PROGRAM"), id="opening, any case"),
        pytest.param(
            "Write a programme for our village fair.", Drop("program_request", "Write a program"), id="plain prefix"
        ),
        pytest.param('"Good day" in five languages.', Drop("starts_with_punctuation", '"'), id="quote"),
        pytest.param("- name five kinds of bread", Drop("starts_with_punctuation", "-"), id="dash"),
        pytest.param("(Optional) name five kinds of bread", Drop("starts_with_punctuation", "("), id="bracket"),
        pytest.param("  `ls` lists what, and how?", Drop("starts_with_punctuation", "`"), id="after leading spaces"),
        pytest.param("¿Cómo se dice bread in French?", Drop("starts_non_ascii", "¿"), id="inverted question mark"),
        pytest.param("«Bread» means what in French?", Drop("starts_non_ascii", "«"), id="guillemet"),
        pytest.param("请 用 一句话 介绍 北京", Drop("starts_non_ascii", "请"), id="Chinese"),
        pytest.param("Écrire is a French word for what?", Drop("starts_non_ascii", "É"), id="accented letter"),
    ],
)
def test_a_text_on_the_bad_side_of_a_rule_is_dropped_with_its_reason(text: str, drop: Drop) -> None:
    """Each rule has a reason of its own, and the detail says what broke it."""
    assert heuristics().check(_instruction(text)) == drop


@pytest.mark.parametrize("word", SELF_INSTRUCT_BLACKLIST)
def test_each_word_of_the_list_is_dropped(word: str) -> None:
    """The list is Self-Instruct's: thirteen words and phrases."""
    assert _reason(f"Please describe this {word} for me.") == "blacklisted_word"
    assert len(SELF_INSTRUCT_BLACKLIST) == 13


def test_rules_are_tried_in_the_order_of_self_instruct() -> None:
    """Of several broken rules the first is the reason: length, words, opening, first character."""
    assert _reason("- draw maps") == "too_short"
    assert _reason("Write a program to draw a circle.") == "blacklisted_word"
    assert _reason("- draw a circle and a square") == "blacklisted_word"


@pytest.mark.parametrize("word", ["video", "audio", "music", "flowchart", "diagram"])
def test_alpacas_five_words_are_a_longer_list(word: str) -> None:
    """The Alpaca variant is made by constructor values alone."""
    alpaca = heuristics(blacklist=ALPACA_BLACKLIST, match_case=True)
    assert _reason(f"Suggest a name for this {word}.", alpaca) == "blacklisted_word"
    assert _reason(f"Suggest a name for this {word}.") is None


def test_alpaca_drops_the_opening_only_as_written() -> None:
    """Alpaca did not capitalise first, so its prefix test depends on the case."""
    alpaca = heuristics(blacklist=ALPACA_BLACKLIST, match_case=True)
    assert _reason("write a program that sorts.", alpaca) is None
    assert _reason("Write a program that sorts.", alpaca) == "program_request"


def test_every_limit_is_a_constructor_value() -> None:
    """Other limits, an empty list and no opening forbid exactly what they say."""
    rules = heuristics(min_words=2, max_words=4, blacklist=(), program_opening="")
    assert _reason("Sing", rules) == "too_short"
    assert _reason("Sing a short song now", rules) == "too_long"
    assert _reason("Draw a map", rules) is None
    assert _reason("Write a program now", rules) is None


def test_a_blacklisted_word_is_taken_literally() -> None:
    """A dot in the list is a dot, not any character."""
    rules = heuristics(blacklist=("node.js",))
    assert _reason("Explain what node.js is good for.", rules) == "blacklisted_word"
    assert _reason("Explain what nodexjs is good for.", rules) is None


def test_admit_returns_the_very_record() -> None:
    """The filter adds nothing to a record, of whatever kind."""
    rules: Filter[Instruction] = heuristics()
    plain = _instruction("Name four old trees.")
    classified = ClassifiedInstruction(**plain.model_dump(), is_classification=False)
    assert rules.admit(plain) is plain
    assert heuristics().admit(classified) is classified


def test_a_whole_task_is_judged_by_its_instruction_only() -> None:
    """Input and output may name files and maps; Alpaca's filters did not look there either."""
    rules: Filter[TaskInstance] = heuristics()
    task = TaskInstance(
        id="instances-0-0-0",
        provenance=Provenance(),
        instruction="Say which word is longest.",
        input="map, file, picture",
        output="picture",
        lang="en",
        is_classification=False,
    )
    assert rules.check(task) is None
