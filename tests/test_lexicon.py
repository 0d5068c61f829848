"""Lexicon: entries mean what they say, and the glance that looks them up never misses one."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

import pytest

from selfinstruct import rules
from selfinstruct.filters.toxicity import CATEGORIES
from selfinstruct.lexicon import Entry, Grammar, Scout, fold, in_atoms

TABLES: list[Mapping[str, Any]] = [
    {key: rule.value for key, rule in rules.explained(name).items()} for name in ("toxicity.en", "toxicity.zh")
]
GRAMMAR = Grammar([{"classes": {"fruit": ["apple", "red plum", "{dry}"], "dry": ["raisin"]}, "variants": {"马": "馬"}}])
PART = re.compile(r"\{(\w+)\}|\[([^\]]*)\]|\(([^)]*)\)|~(\d+)|([^\s{}\[\]()~]+)")


def _found(entry: str, text: str) -> bool:
    reading = GRAMMAR.read(entry)
    whole = Entry("name", "strong", reading)
    matches = whole.pattern.search(in_atoms(fold(text))) is not None
    seen = Scout([whole], GRAMMAR.frequency).entries(fold(text)) == [whole]
    assert seen or not matches, "the scout missed an entry that is there"
    return matches


@pytest.mark.parametrize(
    ("entry", "text", "found"),
    [
        pytest.param("eat plums", "He will EAT plums.", True, id="words in a row, without case"),
        pytest.param("eat plums", "He will eat three plums.", False, id="nothing between them"),
        pytest.param("eat", "heat", False, id="whole words"),
        pytest.param("eat plums", "eat, plums", True, id="a comma joins English words"),
        pytest.param("eat plums", "I eat. Plums are blue.", False, id="a full stop parts them"),
        pytest.param("eat {fruit}", "eat red plum", True, id="a class"),
        pytest.param("eat {fruit}", "eat raisin", True, id="a class within a class"),
        pytest.param("eat {fruit}", "eat plum", False, id="part of a member is no member"),
        pytest.param("(eat|drink up) [the|a] plum", "drink up plum", True, id="a choice, an option left out"),
        pytest.param("(eat|drink up) [the|a] plum", "eat the plum", True, id="an option taken"),
        pytest.param("(eat|drink up) [the|a] plum", "eat my plum", False, id="another word is no option"),
        pytest.param("eat ~2 plum", "eat two big plum", True, id="a gap of two"),
        pytest.param("eat ~2 plum", "eat two very big plum", False, id="a gap is no longer than it says"),
        pytest.param("eat ~2 plum", "eat! a plum", False, id="a gap stays in its clause"),
        pytest.param("plum (.|cake)", "I like plum!", True, id="the end of a clause"),
        pytest.param("plum (.|cake)", "I like plum", True, id="the end of the text ends a clause"),
        pytest.param("plum (.|cake)", "plum tree", False, id="no end of a clause"),
        pytest.param("吃[了]苹果", "他吃了苹果。", True, id="Chinese needs no spaces"),
        pytest.param("吃[了]苹果", "他吃，苹果熟了。", False, id="a Chinese comma parts"),
        pytest.param("吃苹果", "吃 苹*果", True, id="separators between characters are seen through"),
        pytest.param("马车", "馬车来了", True, id="a variant"),
        pytest.param("吃plum", "他吃plum了", True, id="scripts meet"),
        pytest.param("plum", "ＰＬＵ\u200bＭ", True, id="full width, and an invisible character"),
        pytest.param("🖕", "so: 🖕🖕", True, id="an emoji is an atom"),
        pytest.param("café", "un CAFÉ noir", True, id="letters with marks make words"),
    ],
)
def test_an_entry_means_what_it_says(entry: str, text: str, found: bool) -> None:
    """Each form of the syntax, where it matches and where it must not."""
    assert _found(entry, text) is found


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("eat (plums", "'eat \\(plums': '\\(' is not opened or not closed"),
        ("eat {plums and", "'{' is not opened or not closed"),
        ("eat {nut}", "no class 'nut'; there are: dry, fruit"),
        ("...", "'...' holds no letter and no character"),
        ("", "'': nothing in it must be there"),
        ("[a] ~3", "nothing in it must be there"),
        ("(eat|)", "'' holds no letter"),
    ],
)
def test_what_is_no_entry_is_refused_with_the_reason(entry: str, why: str) -> None:
    """An entry that could not match, or would match anything, is a slip of the pen."""
    with pytest.raises(ValueError, match=why):
        GRAMMAR.read(entry)


def test_a_class_that_holds_itself_is_refused() -> None:
    """It would have no end."""
    grammar = Grammar([{"classes": {"one": ["{two}"], "two": ["{one}"]}}])
    with pytest.raises(ValueError, match="the class 'one' holds itself"):
        grammar.read("{one}")


def test_classes_of_one_name_add_up() -> None:
    """A list of the user's own can add a member to a class of ours."""
    grammar = Grammar([{"classes": {"fruit": ["apple"]}}, {"classes": {"fruit": ["quince"]}}])
    assert grammar.read("{fruit}").keys == [frozenset({("apple",), ("quince",)})]


def test_an_entry_is_looked_up_by_what_is_rarest() -> None:
    """A common word costs more than a rare pair."""
    grammar = Grammar([{"common": ["the", "a"]}])
    assert grammar.read("the (quince|medlar) [a]").keys[0] == frozenset({("the", "quince"), ("the", "medlar")})
    assert grammar.read("(the|a) ~2 quince").keys[0] == frozenset({("quince",)})


# --- the shipped lists ----------------------------------------------------------------------------------------------


def _sample(entry: str, draw: random.Random, classes: Mapping[str, list[str]]) -> str:
    """A text that the entry describes, its alternatives and options drawn by chance."""
    words = []
    for name, optional, choice, gap, literal in PART.findall(entry):
        if gap or (optional and draw.random() < 0.5):
            continue
        picked = literal or draw.choice(classes[name] if name else (optional or choice).split("|"))
        words.append(picked if literal or "{" not in picked else _sample(picked, draw, classes))
    return " ".join(words)


def test_every_shipped_entry_is_found_in_texts_made_from_it() -> None:
    """No entry is dead: the pattern matches ten texts drawn from it, and the scout sees each."""
    grammar, draw = Grammar(TABLES), random.Random(0)
    classes = {name: members for table in TABLES for name, members in table["classes"].items()}
    lines = [line for table in TABLES for name in CATEGORIES for group in table[name].values() for line in group]
    entries = {line: Entry("name", "strong", grammar.read(line)) for line in lines}
    scout = Scout(list(entries.values()), grammar.frequency)
    missed = []
    for line, entry in entries.items():
        for text in (fold(f"So, {_sample(line, draw, classes)}.") for _ in range(10)):
            if not entry.pattern.search(in_atoms(text)) or entry not in scout.entries(text):
                missed.append((line[:80], text))
    assert missed == []
    assert len(lines) > 250
