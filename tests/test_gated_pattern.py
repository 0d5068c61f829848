"""GatedPattern: finds what the joined expressions find, and reads no text in which they cannot be."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct import gated_pattern
from selfinstruct.gated_pattern import GatedPattern, stems
from selfinstruct.guards.answering import Answering
from selfinstruct.guards.declining import Declining
from selfinstruct.guards.role_inversion import RoleInversion
from selfinstruct.turn_text import folded

SENTENCES = Path(__file__).parent / "guards/sentences"
SIGNS = r"aAbiſ的您， ,'\n"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param(r"\bhelp(?:ing)? you\b", {"help you", "helping you"}, id="each spelling"),
        pytest.param(r"(?:can|could) \w+ translat\w*", {"translat"}, id="the longest part"),
        pytest.param(r"analy[sz]e", {"analyse", "analyze"}, id="a small class"),
        pytest.param(r"(?:please )*(?:Write|draft)", {"write", "draft"}, id="what need not be is none"),
        pytest.param(r"(?:as )+an", {"as"}, id="what may come again is one"),
        pytest.param(r"as an ?ai(?! tool)", {"as an ai", "as anai"}, id="what may not follow is none"),
        pytest.param(r"您(?:还)?需要", {"您需要", "您还需要"}, id="Chinese"),
        pytest.param(r"help|\w+", set(), id="one branch without"),
        pytest.param(r"\d+", set(), id="no letters"),
        pytest.param(r"é\tÉ", set(), id="letters whose case is not sure, and white space that is folded"),
        pytest.param(r" +", set(), id="a space alone"),
    ],
)
def test_stems_are_what_every_match_must_hold(pattern: str, expected: set[str]) -> None:
    """They are read off the expression: of its parts the one that tells most."""
    assert stems(pattern) == expected


def _patterns() -> st.SearchStrategy[str]:
    """Small expressions of all the kinds that the rules are made of."""
    atoms = st.sampled_from(
        [
            *"abi的， ",
            "ab",
            "A",
            r"\w",
            r"\s",
            ".",
            "[ab]",
            "[^a]",
            "[a-b的]",
            r"\b",
            "^",
            "$",
            "(?!a)",
            "(?<=b)",
            "(?=a)",
        ]
    )
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.lists(inner, min_size=2, max_size=4).map(lambda found: f"(?:{'|'.join(found)})"),
            st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{0,2}", "*?", "++"])).map(
                lambda pair: f"(?:{pair[0]}){pair[1]}"
            ),
            inner.map(lambda found: f"(?>{found})"),
        ),
        max_leaves=8,
    )


@settings(max_examples=1500, deadline=None)
@given(st.lists(_patterns(), min_size=1, max_size=3), st.text(SIGNS, max_size=12), st.booleans())
def test_it_finds_what_the_joined_expressions_find(entries: list[str], text: str, cased: bool) -> None:
    """The same place, the same words, and all of them, with and without case."""
    flags = re.MULTILINE | (0 if cased else re.IGNORECASE)
    joined = re.compile("|".join(f"(?:{entry})" for entry in entries), flags)
    gated = GatedPattern(entries, flags)
    found, expected = gated.search(text), joined.search(text)
    assert (found and (found.span(), found.string)) == (expected and (expected.span(), expected.string))
    assert [match.span() for match in gated.finditer(text)] == [match.span() for match in joined.finditer(text)]
    assert gated.may_be_in(f"So? {text}  Yes.") or not joined.search(" ".join(text.split()))


@pytest.mark.slow
def test_a_letter_is_folded_to_whatever_a_pattern_takes_it_for() -> None:
    """Of all characters there are, those that match an ASCII letter without case are folded to it."""
    for letter in "abcdefghijklmnopqrstuvwxyz":
        taken = re.compile(letter, re.IGNORECASE)
        others = (chr(code) for code in range(sys.maxunicode + 1) if taken.match(chr(code)))
        assert {folded(f"x{other}x") for other in others} == {f"x{letter}x"}


def _gated(holder: object) -> Iterator[GatedPattern]:
    for value in vars(holder).values():
        if isinstance(value, GatedPattern):
            yield value
        elif isinstance(value, dict):
            yield from (entry for entry in value.values() if isinstance(entry, GatedPattern))
        elif type(value).__module__.startswith("selfinstruct"):
            yield from _gated(value)


def test_no_gate_of_the_guards_is_closed_to_a_match() -> None:
    """Every rule of theirs, on every sentence written for any of them: found where the joined rule finds."""
    lines = [line for path in SENTENCES.glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
    texts = [json.loads(line)["text"] for line in lines]
    patterns = [found for guard in (RoleInversion(), Answering(), Declining()) for found in _gated(guard)]
    assert (len(patterns), len(texts) > 1000) == (35, True)
    for pattern in patterns:
        joined = pattern._joined
        found = [match and match.span() for match in map(pattern.search, texts)]
        assert found == [match and match.span() for match in map(joined.search, texts)]


def test_a_text_without_stems_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what makes it cheap."""
    asked: list[str] = []
    gated = GatedPattern([r"\btranslat\w*", r"\w+ing you\b"])
    noting = [(gate, _Noting(pattern.pattern, asked)) for gate, pattern in gated._entries]
    monkeypatch.setattr(gated, "_entries", noting)
    for text in ("What is salt?", "Thank you.", "I am translating.", "helping you"):
        gated.search(text)
    assert asked == [r"\btranslat\w*", r"\w+ing you\b"]
    assert gated_pattern.stems(r"\w+ing you\b") == {"ing you"}


class _Noting:
    """A pattern that notes when it is asked."""

    def __init__(self, pattern: str, asked: list[str]) -> None:
        self.pattern = pattern
        self._asked = asked

    def search(self, text: str) -> None:
        self._asked.append(self.pattern)
