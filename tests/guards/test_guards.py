"""The chain of guards: its order, what it goes by, and what no guard refuses."""

from __future__ import annotations

import pytest

from selfinstruct import resources, rules
from selfinstruct.guards import RULES, guards
from selfinstruct.protocols import Drop
from selfinstruct.schema import Lang
from tests.guards.turns import TALK, turn_of


def _first(lang: Lang, text: str) -> Drop | None:
    """What the chain says of a user's second turn."""
    turn = turn_of("user", text, lang=lang)
    return next((drop for guard in guards(lang) if (drop := guard.check(turn))), None)


@pytest.mark.parametrize(
    ("lang", "text", "reason"),
    [
        pytest.param("en", " ", "empty", id="empty-en"),
        pytest.param("zh", "……", "empty", id="empty-zh"),
        pytest.param("en", TALK["en"][0], "repeated", id="repeated-en"),
        pytest.param("zh", TALK["zh"][0], "repeated", id="repeated-zh"),
        pytest.param("en", "I'm glad I could help! What else would you like to know?", "role_inversion", id="role-en"),
        pytest.param("zh", "很高兴能帮到您！请问还有什么可以帮您的吗？", "role_inversion", id="role-zh"),
        pytest.param("en", "Thank you so much, that is all. Goodbye!", "farewell", id="farewell-en"),
        pytest.param("zh", "好的，非常感谢，再见！", "farewell", id="farewell-zh"),
        pytest.param("en", "I'm sorry, but I cannot pretend to be the user.", "refusal", id="refusal-en"),
        pytest.param("zh", "抱歉，我不能扮演用户。", "refusal", id="refusal-zh"),
        pytest.param("en", "As an AI, I have no nose. How far can a bee smell?", "as_an_ai", id="ai-en"),
        pytest.param("zh", "作为AI，我没有鼻子。蜜蜂能闻多远？", "as_an_ai", id="ai-zh"),
        pytest.param("en", "蜜蜂能闻到多远的气味？", "language", id="language-en"),
        pytest.param("zh", "How far away can a bee smell a flower?", "language", id="language-zh"),
        pytest.param("en", "How far away can a bee smell a flower?", None, id="good-en"),
        pytest.param("zh", "蜜蜂能闻到多远的气味？", None, id="good-zh"),
        pytest.param("en", "thx! and wasps?", None, id="good-short-en"),
        pytest.param("zh", "谢谢，那马蜂呢？", None, id="good-short-zh"),
    ],
)
def test_each_kind_of_turn_gets_its_reason_from_the_chain(lang: Lang, text: str, reason: str | None) -> None:
    """A turn that several guards would refuse is told by the first of them."""
    drop = _first(lang, text)
    assert (drop.reason if drop else None) == reason


def test_the_guards_are_asked_in_this_order() -> None:
    """What is asked first gives the reason; both languages have the same chain."""
    order = ["Empty", "Repeated", "RoleInversion", "Answering", "Farewell", "Declining", "Drift"]
    for lang in TALK:
        assert [type(guard).__name__ for guard in guards(lang)] == order


def test_every_rule_file_that_is_read_counts_for_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose rules were changed is another run, so no file may be missing, nor one that nobody reads."""
    read: set[str] = set()
    explained = rules.explained

    def noting(name: str) -> dict[str, rules.Rule]:
        read.add(name)
        return explained(name)

    monkeypatch.setattr(rules, "explained", noting)
    for lang in TALK:
        guards(lang)
    assert read == set(RULES)
    assert all((resources.rules_dir() / f"{name}.toml").is_file() for name in RULES)
