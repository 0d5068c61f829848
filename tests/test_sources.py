"""What a source is: the same data set under all its spellings, and what is meant by one that is not there."""

from __future__ import annotations

import pytest

from selfinstruct.principles import SHARES
from selfinstruct.sources import FAMILIES, family, for_evaluation, instead


@pytest.mark.parametrize(
    ("source", "of"),
    [
        *[
            (name, "flan")
            for name in ("flan", "FLAN", "flan_v2_cot", "flan_v2_niv2", "flan_cot", "FLAN-v2", "flan2021")
        ],
        *[(name, "truthful_qa") for name in ("truthful_qa", "TruthfulQA", "truthful-qa", "TruthfulQA-zh")],
        *[(name, "truthful_qa") for name in ("truthful_qa/generation", "TRUTHFUL_QA")],
        *[(name, "false_qa") for name in ("false_qa", "FalseQA", "false-qa")],
        *[(name, "evol_instruct") for name in ("evol_instruct", "Evol-Instruct", "evolinstruct")],
        *[(name, "sharegpt") for name in ("sharegpt", "ShareGPT", "share_gpt")],
        ("UltraChat", "ultrachat"),
        ("self_instruct", "self-instruct"),
    ],
)
def test_a_source_is_known_however_it_is_spelled(source: str, of: str) -> None:
    """Case and whatever is no letter make no difference; parts of FLAN and of the question sets are those."""
    assert family(source) == of


@pytest.mark.parametrize("source", ["", "flange", "flannel_v2", "my_flan", "ultrachat_200k", "my_truthful_qa", "自备"])
def test_any_other_source_is_its_own_family(source: str) -> None:
    """As it is written; what merely holds or begins like a name is no part of it."""
    assert family(source) == source


def test_the_families_are_those_that_the_tables_of_principles_have() -> None:
    """Each is its own family, and both tables have them all."""
    assert [family(name) for name in FAMILIES] == list(FAMILIES)
    assert [sorted(table) for table in SHARES.values()] == [sorted(FAMILIES)] * 2


def test_truthful_qa_alone_is_for_evaluation() -> None:
    """FalseQA is not, though the code treats it alike otherwise."""
    assert [name for name in FAMILIES if for_evaluation(name)] == ["truthful_qa"]


@pytest.mark.parametrize(
    ("source", "there", "told"),
    [
        ("TRUTHFULQA", {"truthful_qa": 3, "flan": 1}, "did you mean 'truthful_qa'?"),
        ("evol_instuct", ["flan", "Evol-Instruct"], "did you mean 'Evol-Instruct'?"),
        ("x", {"flan", "evol_instruct"}, "sources: evol_instruct, flan"),
        ("x", [], "there is none yet"),
        ("x", [f"source {n:02}" for n in range(11)], f"sources: {', '.join(f'source {n:02}' for n in range(10))} …"),
    ],
)
def test_in_place_of_a_source_that_is_not_there_one_is_named(source: str, there: list[str], told: str) -> None:
    """The one that is meant, as it is written there; else those there are, ten at most."""
    assert instead(source, there) == told
