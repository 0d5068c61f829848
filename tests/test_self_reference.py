"""Where a text speaks of itself as a model; the sentences of the filter and the guard say the rest."""

from __future__ import annotations

from selfinstruct.self_reference import SelfReference, shown
from selfinstruct.turn_text import unquoted

SELF = SelfReference()


def test_every_place_is_found_the_surest_first() -> None:
    """What only a model says comes before what a voice in a story may say."""
    text = "I am an AI model. As an AI, I enjoy it. As an AI, I have no nose."
    assert [match.group().lower() for match in SELF.every(text)] == [
        "as an ai, i have no",
        "as an ai, i",
        "as an ai, i",
        "i am an ai model",
    ]


def test_a_task_that_names_a_machine_allows_its_voice_and_no_more() -> None:
    """Without a task, being one is not looked for: an instruction may set a scene."""
    voice, own = "I am an AI model. Ahoy!", "Ahoy! As an AI, I have no nose."
    first = [SELF.first(voice, "Greet me."), SELF.first(voice, "Greet me as a robot."), SELF.first(voice)]
    assert [match is not None for match in first] == [True, False, False]
    assert [SELF.first(own, task) is not None for task in ("Greet me as a robot.", None)] == [True, True]


def test_what_is_quoted_is_left_out_and_what_was_found_is_shown_with_what_follows() -> None:
    """Forty characters from where it begins, on one line."""
    assert unquoted("He said “as an AI, I”, and `x`") == "He said  , and  "
    match = SELF.first("Two.\nAs an AI, I have\nno nose. What would I do with one?")
    assert match is not None
    assert shown(match) == "As an AI, I have no nose. What would I d"
