"""Two models talk: what each is shown and in which order, what ends a dialogue, and what is kept of it."""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.errors import RequestRefused, Verdict
from selfinstruct.protocols import Drop, Job, Turn
from selfinstruct.schema import Completion, Dialogue, Message, Provenance, Record, Reject, Request
from selfinstruct.stages.dialogue import Dialogues
from selfinstruct.token_estimate import estimate
from tests.stages.dialogue_parts import BEFORE, CONTEXT, Refuses, Script, dialogues, job, opener, persona, sides, talked

ASKED = "Why do bees dance?"


def texts(record: Record | Reject) -> list[str]:
    """The turns of a dialogue."""
    assert isinstance(record, Dialogue)
    return [message.content for message in record.messages]


def shown(request: Request) -> list[str]:
    """The messages of a chat request, each as role and text."""
    return [f"{message.role}: {message.content}" for message in request.messages or ()]


def only(outcome: list[Record | Reject]) -> Dialogue:
    """The dialogue that is all that came of a job."""
    [dialogue] = outcome
    assert isinstance(dialogue, Dialogue)
    return dialogue


def why(outcome: list[Record | Reject]) -> list[tuple[str, str, bool]]:
    """Id, reason and usability of each reject."""
    return [(one.id, one.reason, one.unusable) for one in outcome if isinstance(one, Reject)]


# --- a dialogue that nothing ends -----------------------------------------------------------------------------------


async def test_the_opener_is_the_first_turn_and_an_answer_is_the_last(tmp_path: Path) -> None:
    """Three rounds are six turns, user first; the record says who played the user and what it began with."""
    dialogue = only(await talked(dialogues(tmp_path)))
    assert dialogue.messages == (
        Message(role="user", content=ASKED),
        Message(role="assistant", content="text 0.0"),
        Message(role="user", content="text 1.0"),
        Message(role="assistant", content="text 2.0"),
        Message(role="user", content="text 3.0"),
        Message(role="assistant", content="text 4.0"),
    )
    assert (dialogue.id, dialogue.lang, dialogue.sector, dialogue.persona) == (
        "dialogue-4-2-0",
        "en",
        "world",
        "p-calm",
    )
    assert (dialogue.rounds, dialogue.planned, dialogue.ended) == (3, 3, "")
    assert dialogue.opener.model_dump() == {
        "id": "openers-0-2-1",
        "origin": "question",
        "topic": "Animals",
        "subtopic": "Insects",
    }


async def test_each_turn_is_a_draw_of_its_own_and_sides_take_turns(tmp_path: Path) -> None:
    """Even steps are the assistant's, odd ones the user's; nobody is asked twice for a good turn."""
    assistant, user = Script(), Script()
    await talked(dialogues(tmp_path), assistant, user)
    assert [str(request.draw) for request in assistant.asked] == [f"dialogue/4/2/{step}/0" for step in (0, 2, 4)]
    assert [str(request.draw) for request in user.asked] == [f"dialogue/4/2/{step}/0" for step in (1, 3)]
    assert {request.sampling.max_tokens for request in assistant.asked} == {100}
    assert {request.sampling.max_tokens for request in user.asked} == {50}


async def test_the_instruction_of_the_user_stands_behind_the_history(tmp_path: Path) -> None:
    """Both see what was said, oldest first; the assistant's own words come before it, the user's after it."""
    assistant, user = Script(), Script()
    await talked(dialogues(tmp_path, rounds=3), assistant, user)
    said = [f"user: {ASKED}", "assistant: text 0.0", "user: text 1.0", "assistant: text 2.0", "user: text 3.0"]
    assert [shown(request) for request in assistant.asked] == [
        ["system: Be brief.", *said[:count]] for count in (1, 3, 5)
    ]
    assert [shown(request) for request in user.asked] == [
        [*said[:2], "user: You are calm; write message 2 of 3."],
        [*said[:4], "user: You are calm; write message 3 of 3."],
    ]


async def test_a_model_that_continues_is_shown_a_transcript_and_its_turn_ends_with_the_next_label(
    tmp_path: Path,
) -> None:
    """Each side by its own rendering; what a base model goes on with for the other side is no part of its turn."""
    stage = replace(dialogues(tmp_path, rounds=2), sides=sides(tmp_path, renderings=("completion", "completion")))
    script = Script({(0, 0): " They point.\nUser: Where to?", (1, 0): " User: Where to?\nAssistant: To food."})
    dialogue = only(await talked(stage, script))
    assert texts(dialogue) == [ASKED, "They point.", "Where to?", "text 2.0"]
    first, second, third = script.asked
    assert (first.prompt, first.messages) == (f"user> {ASKED}\n\nassistant>", None)
    assert second.prompt == f"user> {ASKED}\nassistant> They point.\n\n(calm, 2 of 2)\nuser>"
    assert third.prompt == f"user> {ASKED}\nassistant> They point.\nuser> Where to?\n\nassistant>"
    assert (first.stop, second.stop) == (("\nuser>",), ())


async def test_a_chat_answer_may_hold_a_line_that_begins_like_a_label(tmp_path: Path) -> None:
    """Only in a transcript does a label end the turn."""
    script = Script({(0, 0): "A scene:\nUser: hello"})
    assert texts(only(await talked(dialogues(tmp_path, rounds=1), script))) == [ASKED, "A scene:\nUser: hello"]


async def test_a_dialogue_of_one_round_has_no_turn_of_the_user_model(tmp_path: Path) -> None:
    """The opener and one answer: the user's model and its prompt had no part in it."""
    assistant, user = Script(), Script()
    stage = dialogues(tmp_path, rounds=1)
    dialogue = only(await talked(stage, assistant, user))
    assert (texts(dialogue), dialogue.rounds, dialogue.planned) == ([ASKED, "text 0.0"], 1, 1)
    assert (len(assistant.asked), user.asked) == (1, [])
    assert dialogue.provenance.prompts == ("q@1:aa", stage.sides[0].prompt_file.ref)


async def test_a_passage_and_the_request_about_it_are_one_turn(tmp_path: Path) -> None:
    """Put together by the opener's own template, in the first request as in the record."""
    stage, script = dialogues(tmp_path, rounds=1), Script()
    dialogue = only(await talked(stage, script, about=opener("Sum it up.", passage="Bees dance.")))
    assert texts(dialogue)[0] == "Sum it up.\n\nBees dance."
    assert shown(script.asked[0]) == ["system: Be brief.", "user: Sum it up.\n\nBees dance."]
    assert dialogue.sector == "materials"


async def test_the_first_request_can_be_had_without_a_run(tmp_path: Path) -> None:
    """It is the one that a run sends first."""
    stage, script = dialogues(tmp_path), Script()
    await talked(stage, script)
    assert stage.prompt(job()) == script.asked[0]


async def test_what_was_said_earlier_is_never_changed_by_what_is_said_later(tmp_path: Path) -> None:
    """Every request's history is the beginning of the next one's."""
    script = Script()
    await talked(dialogues(tmp_path, rounds=4), script)
    histories = [
        [line for line in shown(r) if "You are calm" not in line and "Be brief" not in line] for r in script.asked
    ]
    assert [len(history) for history in histories] == [1, 2, 3, 4, 5, 6, 7]
    assert all(histories[-1][: len(history)] == history for history in histories)


# --- guards ---------------------------------------------------------------------------------------------------------


async def test_guards_see_each_turn_without_its_label_and_all_that_was_said_before_it(tmp_path: Path) -> None:
    """Role, text, history from the opener on, language; the opener itself is nobody's turn to judge."""
    guard = Refuses()
    stage = replace(dialogues(tmp_path, rounds=2), guards=(guard,))
    await talked(stage, Script({(0, 0): "Assistant: They point.", (1, 0): '"Where to?"'}))
    said = [
        Message(role="user", content=ASKED),
        Message(role="assistant", content="They point."),
        Message(role="user", content="Where to?"),
    ]
    assert guard.turns == [
        Turn("assistant", "They point.", tuple(said[:1]), "en"),
        Turn("user", "Where to?", tuple(said[:2]), "en"),
        Turn("assistant", "text 2.0", tuple(said[:3]), "en"),
    ]


async def test_the_first_guard_that_refuses_gives_the_reason(tmp_path: Path) -> None:
    """The others are not asked about that turn any more."""
    first, second, third = Refuses(), Refuses({"text 0.0": "early"}), Refuses({"text 0.0": "late"})
    stage = replace(dialogues(tmp_path), guards=(first, second, third))
    assert why(await talked(stage)) == [("dialogue-4-2-0", "early", True)]
    assert [len(guard.turns) for guard in (first, second, third)] == [1, 1, 0]


async def test_a_refused_turn_of_the_user_ends_the_dialogue_with_the_round_before(tmp_path: Path) -> None:
    """Nothing is asked after it; the turn is a reject beside the dialogue, with what it was and what it followed."""
    script = Script()
    dialogue, reject = await talked(dialogues(tmp_path, {"text 3.0": "answers"}), script)
    assert texts(dialogue) == [ASKED, "text 0.0", "text 1.0", "text 2.0"]
    assert isinstance(dialogue, Dialogue)
    assert (dialogue.rounds, dialogue.planned, dialogue.ended) == (2, 3, "answers")
    assert isinstance(reject, Reject)
    assert (reject.id, reject.stage, reject.reason) == ("dialogue-4-2-1", "dialogue", "answers")
    assert (reject.detail, reject.unusable) == ("about 'text 3.0'", False)
    assert reject.candidate == {"role": "user", "turn": 4, "text": "text 3.0", "after": "text 2.0"}
    assert len(script.asked) == 4


async def test_a_refused_answer_takes_the_turn_it_answers_with_it(tmp_path: Path) -> None:
    """An even number of turns is kept; the question that goes is in the reject."""
    dialogue, reject = await talked(dialogues(tmp_path, {"text 2.0": "refusal"}))
    assert texts(dialogue) == [ASKED, "text 0.0"]
    assert isinstance(reject, Reject)
    assert reject.candidate == {"role": "assistant", "turn": 3, "text": "text 2.0", "after": "text 1.0"}
    assert reject.unusable is False


async def test_where_the_first_answer_is_refused_nothing_is_left(tmp_path: Path) -> None:
    """The reject stands alone, under the number the dialogue would have had, and counts as unusable."""
    [reject] = await talked(dialogues(tmp_path, {"text 0.0": "refusal"}))
    assert isinstance(reject, Reject)
    assert (reject.id, reject.reason, reject.unusable) == ("dialogue-4-2-0", "refusal", True)
    assert reject.candidate == {"role": "assistant", "turn": 1, "text": "text 0.0", "after": ASKED}


async def test_a_refused_turn_of_the_user_after_the_first_answer_leaves_one_round(tmp_path: Path) -> None:
    """At least one round is kept wherever there is one answer."""
    dialogue, reject = await talked(dialogues(tmp_path, {"text 1.0": "empty"}))
    assert texts(dialogue) == [ASKED, "text 0.0"]
    assert isinstance(reject, Reject)
    assert reject.unusable is False


# --- asked again ----------------------------------------------------------------------------------------------------


async def test_a_refused_turn_is_asked_for_again_with_another_draw_of_the_same_step(tmp_path: Path) -> None:
    """The same prompt, sample 1; where that is good the dialogue goes on and the first try is a reject beside it."""
    script = Script()
    dialogue, reject = await talked(dialogues(tmp_path, {"text 1.0": "empty"}, resamples=1), script)
    assert texts(dialogue) == [ASKED, "text 0.0", "text 1.1", "text 2.0", "text 3.0", "text 4.0"]
    assert isinstance(dialogue, Dialogue)
    assert (dialogue.rounds, dialogue.ended) == (3, "")
    assert why([reject]) == [("dialogue-4-2-1", "empty", False)]
    places = [(request.draw.step, request.draw.k) for request in script.asked]
    assert places == [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0), (4, 0)]
    assert script.asked[1].messages == script.asked[2].messages


async def test_a_turn_is_asked_for_as_often_as_the_recipe_says_and_no_more(tmp_path: Path) -> None:
    """Each try is a reject, in order; the last one's reason is the dialogue's end."""
    script = Script()
    reasons = {"text 1.0": "empty", "text 1.1": "answers", "text 1.2": "language", "text 1.3": "never seen"}
    outcome = await talked(dialogues(tmp_path, reasons, resamples=2), script)
    assert why(outcome) == [
        ("dialogue-4-2-1", "empty", False),
        ("dialogue-4-2-2", "answers", False),
        ("dialogue-4-2-3", "language", False),
    ]
    assert isinstance(outcome[0], Dialogue)
    assert (outcome[0].ended, outcome[0].rounds) == ("language", 1)
    assert len(script.asked) == 4


async def test_of_a_first_answer_refused_again_and_again_one_reject_counts_as_unusable(tmp_path: Path) -> None:
    """It is one job of which nothing could be used, not two."""
    outcome = await talked(dialogues(tmp_path, {"text 0.0": "refusal", "text 0.1": "refusal"}, resamples=1))
    assert why(outcome) == [("dialogue-4-2-0", "refusal", False), ("dialogue-4-2-1", "refusal", True)]


async def test_a_first_answer_that_is_good_at_the_second_try_is_no_loss(tmp_path: Path) -> None:
    """The dialogue has the number 0, the refused try the number behind it."""
    outcome = await talked(dialogues(tmp_path, {"text 0.0": "refusal"}, resamples=1, rounds=1))
    assert texts(outcome[0]) == [ASKED, "text 0.1"]
    assert why(outcome) == [("dialogue-4-2-1", "refusal", False)]


@pytest.mark.parametrize("resamples", [0, 1, 5])
async def test_a_farewell_ends_the_dialogue_and_is_never_asked_for_again(tmp_path: Path, resamples: int) -> None:
    """The user is done: the farewell goes, and no answer to it is asked for."""
    script = Script()
    outcome = await talked(dialogues(tmp_path, {"text 3.0": "farewell"}, resamples=resamples), script)
    assert texts(outcome[0]) == [ASKED, "text 0.0", "text 1.0", "text 2.0"]
    assert isinstance(outcome[0], Dialogue)
    assert outcome[0].ended == "farewell"
    assert why(outcome) == [("dialogue-4-2-1", "farewell", False)]
    assert len(script.asked) == 4


async def test_a_farewell_at_the_second_try_ends_the_dialogue_too(tmp_path: Path) -> None:
    """Whatever was wrong with the first."""
    script = Script()
    reasons = {"text 1.0": "repeated", "text 1.1": "farewell"}
    outcome = await talked(dialogues(tmp_path, reasons, resamples=3), script)
    assert [reason for _, reason, _ in why(outcome)] == ["repeated", "farewell"]
    assert isinstance(outcome[0], Dialogue)
    assert (outcome[0].ended, len(script.asked)) == ("farewell", 3)


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (Completion(text="They point to", finish_reason="length"), "truncated"),
        (Completion(text="They", finish_reason="content_filter"), "content_filter"),
        (Completion(text="No.", finish_reason="refusal"), "refusal"),
        (Completion(text="", reasoning="Let me see", finish_reason="stop"), "thinking_cut"),
        (Completion(text="", finish_reason="length"), "thinking_cut"),
    ],
    ids=["cut", "filtered", "declined", "only-thought", "cut-before-its-first-word"],
)
async def test_a_turn_that_is_not_whole_is_no_turn(tmp_path: Path, completion: Completion, reason: str) -> None:
    """Cut or withheld: asked for again, refused without asking the guards, kept as a reject as far as it goes."""
    guard = Refuses()
    stage = replace(dialogues(tmp_path, rounds=2, resamples=1), guards=(guard,))
    dialogue, reject = await talked(stage, Script({(2, 0): completion}))
    assert texts(dialogue) == [ASKED, "text 0.0", "text 1.0", "text 2.1"]
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.detail, reject.candidate["text"]) == (reason, "", completion.text)
    assert [turn.text for turn in guard.turns] == ["text 0.0", "text 1.0", "text 2.1"]


# --- a server that refuses ------------------------------------------------------------------------------------------


def refusal(call: str = "dead", verdict: Verdict = "refused") -> RequestRefused:
    """The server's verdict on a request."""
    error = RequestRefused("context too long", status=400)
    error.call, error.verdict = call, verdict
    return error


async def test_a_first_answer_that_the_server_refuses_leaves_a_reject_alone(tmp_path: Path) -> None:
    """Under the number the dialogue would have had, with its opener; it is not asked again."""
    script = Script({(0, 0): refusal()})
    outcome = await talked(dialogues(tmp_path, resamples=2), script)
    assert why(outcome) == [("dialogue-4-2-0", "request_refused", True)]
    assert outcome[0].provenance.parents == ("topics-0-0-0", "openers-0-2-1")
    assert outcome[0].provenance.calls == ("dead",)
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("verdict", "reason"), [("refused", "request_refused"), ("unusable", "unusable_response"), ("skipped", "skipped")]
)
@pytest.mark.parametrize("step", [1, 2, 3, 4])
async def test_a_request_refused_later_ends_the_dialogue_with_the_round_before(
    tmp_path: Path, step: int, verdict: Verdict, reason: str
) -> None:
    """A verdict on one request, mostly on its length: it is not asked again, and the rounds before it are kept."""
    script = Script({(step, 0): refusal("dead", verdict)})
    dialogue, reject = await talked(dialogues(tmp_path, resamples=2), script)
    assert isinstance(dialogue, Dialogue)
    assert (dialogue.rounds, dialogue.ended) == ((step + 1) // 2, reason)
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.detail, reject.provenance.calls) == (reason, "context too long", ("dead",))
    assert reject.candidate["text"] == ""
    assert len(script.asked) == step + 1


@pytest.mark.parametrize("step", [0, 1])
async def test_a_second_try_that_the_server_refuses_loses_nothing_of_the_first(tmp_path: Path, step: int) -> None:
    """The side has answered once, so it can be asked; both its failures are kept, and so is the round before."""
    script = Script({(step, 1): refusal()})
    outcome = await talked(dialogues(tmp_path, {f"text {step}.0": "empty"}, resamples=2), script)
    assert [(reason, unusable) for _, reason, unusable in why(outcome)] == [
        ("empty", False),
        ("request_refused", step == 0),
    ]
    assert [texts(one) for one in outcome if isinstance(one, Dialogue)] == [[ASKED, "text 0.0"]] * step


# --- what fits ------------------------------------------------------------------------------------------------------


def sized(tokens: int, mark: str) -> str:
    """A text of so many tokens, by our estimate, that is known by its first character."""
    text = mark + "x" * (4 * tokens - 1)
    assert estimate(text) == tokens
    return text


SIZES = (40, 30, 20, 25, 35, 15, 45)
"""Tokens of the turns of a dialogue that has many; a message takes 8 more."""

TURNS = tuple(sized(tokens, mark) for tokens, mark in zip(SIZES, "ABCDEFG", strict=True))


def least_context(stage: Dialogues, side: int, kept: str) -> int:
    """The smallest context in which the turns with these marks fit, beside prompt and answer, a quarter to spare."""
    tokens = sum(tokens + 8 for tokens, mark in zip(SIZES, "ABCDEFG", strict=True) if mark in kept)
    tokens += estimate(stage.sides[side].prompt_file.text)
    return stage.sides[side].sampling.max_tokens + -(-5 * tokens // 4)


async def shown_at(folder: Path, step: int, context: int) -> str | None:
    """The marks of the turns that are shown at a step, where that side has so large a context; None where none are."""
    contexts = (context, CONTEXT) if step % 2 == 0 else (CONTEXT, context)
    stage = replace(dialogues(folder, rounds=step // 2 + 1 + step % 2), sides=sides(folder, contexts=contexts))
    script = Script({(n, 0): text for n, text in enumerate(TURNS[1:])})
    await talked(stage, script, about=opener(TURNS[0]))
    lines = next((shown(request) for request in script.asked if request.draw.step == step), None)
    return None if lines is None else "".join(line.partition(": ")[2][0] for line in lines if "xxx" in line)


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (0, ["A"]),
        (1, ["AB"]),
        (2, ["ABC"]),
        (3, ["ABCD"]),
        (4, ["ABCDE", "ABE"]),
        (5, ["ABCDEF", "ABEF"]),
        (6, ["ABCDEFG", "ABEFG", "ABG"]),
    ],
)
async def test_the_oldest_rounds_but_the_first_are_left_out_whole_and_only_when_they_must(
    tmp_path: Path, step: int, kept: list[str]
) -> None:
    """At the very token where they fit all turns are shown; one less, and a round goes. No turn is ever cut."""
    stage = dialogues(tmp_path)
    borders = [least_context(stage, step % 2, marks) for marks in kept]
    assert [await shown_at(tmp_path, step, border) for border in borders] == kept
    assert [await shown_at(tmp_path, step, border - 1) for border in borders[:-1]] == kept[1:]


@pytest.mark.parametrize(("step", "least"), [(0, "A"), (2, "ABC"), (3, "ABCD"), (4, "ABE"), (5, "ABEF"), (6, "ABG")])
async def test_where_not_even_the_first_round_and_the_last_turn_fit_the_dialogue_ends(
    tmp_path: Path, step: int, least: str
) -> None:
    """One token less than they take: nothing is asked, nothing cut, and the rounds before are kept."""
    side = step % 2
    context = least_context(dialogues(tmp_path), side, least) - 1
    contexts = (context, CONTEXT) if side == 0 else (CONTEXT, context)
    stage = replace(dialogues(tmp_path, rounds=4, resamples=3), sides=sides(tmp_path, contexts=contexts))
    script = Script({(n, 0): text for n, text in enumerate(TURNS[1:])})
    outcome = await talked(stage, script, about=opener(TURNS[0]))
    reject = outcome[-1]
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.detail) == ("context", f"what was said does not fit into {context} tokens")
    assert (reject.candidate["role"], reject.candidate["text"]) == (("assistant", "user")[side], "")
    assert (reject.unusable, reject.provenance.calls) == (step == 0, ())
    assert max((request.draw.step for request in script.asked), default=-1) < step
    if outcome[:-1]:
        assert isinstance(outcome[0], Dialogue)
        assert (outcome[0].ended, texts(outcome[0])) == ("context", list(TURNS[: 2 * outcome[0].rounds]))


async def test_what_one_side_cannot_read_the_other_still_sees(tmp_path: Path) -> None:
    """Each side is measured by its own context; the record has every turn as it was said."""
    stage = dialogues(tmp_path)
    contexts = (CONTEXT, least_context(stage, 1, "ABEF"))
    stage = replace(dialogues(tmp_path, rounds=4), sides=sides(tmp_path, contexts=contexts))
    script = Script({(n, 0): text for n, text in enumerate(TURNS[1:])})
    dialogue = only(await talked(stage, script, about=opener(TURNS[0])))
    by_step = {request.draw.step: request for request in script.asked}
    assert [len([line for line in shown(by_step[step]) if "xxx" in line]) for step in (5, 6)] == [4, 7]
    assert texts(dialogue)[:7] == list(TURNS)


async def test_roles_take_turns_in_whatever_is_shown(tmp_path: Path) -> None:
    """Leaving rounds out never puts two turns of a side next to each other: some APIs refuse that."""
    stage = dialogues(tmp_path)
    contexts = (least_context(stage, 0, "ABG"), least_context(stage, 1, "ABEF"))
    stage = replace(dialogues(tmp_path, rounds=4), sides=sides(tmp_path, contexts=contexts))
    script = Script({(n, 0): text for n, text in enumerate(TURNS[1:])})
    await talked(stage, script, about=opener(TURNS[0]))
    for request in script.asked:
        said = [message.role for message in request.messages or () if "xxx" in message.content]
        assert said == ["user" if place % 2 == 0 else "assistant" for place in range(len(said))]
        assert said[-1] == ("user" if request.draw.step % 2 == 0 else "assistant")


# --- who talks, and for how long ------------------------------------------------------------------------------------


def crowd(folder: Path, seed: int = 1) -> Dialogues:
    """A stage with eight personas and three to seven rounds."""
    personas = tuple(persona(mood) for mood in "calm curt glad keen meek sad sly wry".split())
    return replace(dialogues(folder, seed=seed), personas=personas, rounds=(3, 7))


def test_persona_and_rounds_depend_on_seed_and_opener_and_on_nothing_else(tmp_path: Path) -> None:
    """Not on its place, its text or its neighbours: an extension and a resumed run draw the same."""
    stage = crowd(tmp_path)
    one, other = opener("Why?", id="openers-3-1-0"), opener("Why not?", id="openers-3-1-0")
    assert stage.cast(one) == stage.cast(other) == crowd(tmp_path).cast(one)
    ids = [opener(id=f"openers-0-0-{n}") for n in range(40)]
    assert [crowd(tmp_path, 2).cast(one) for one in ids] != [stage.cast(one) for one in ids]


def test_every_persona_and_every_number_of_rounds_is_drawn(tmp_path: Path) -> None:
    """Both ends of the rounds included, each about as often as the others."""
    casts = [crowd(tmp_path).cast(opener(id=f"openers-0-0-{n}")) for n in range(800)]
    drawn = [cast.rounds for cast in casts]
    assert sorted(set(drawn)) == [3, 4, 5, 6, 7]
    assert min(drawn.count(rounds) for rounds in range(3, 8)) > 110
    moods = [cast.persona.mood for cast in casts]
    assert min(moods.count(mood) for mood in set(moods)) > 60
    assert len(set(moods)) == 8


def test_a_round_has_one_job_an_opener(tmp_path: Path) -> None:
    """In their order, of none there is none; the pool of dialogues plays no part."""
    stage = dialogues(tmp_path)
    first, second = opener(id="openers-7-0-0"), opener(id="openers-7-3-1")
    assert stage.plan(7, [first, second], ()) == [Job("dialogue", 7, 0, first), Job("dialogue", 7, 1, second)]
    assert stage.plan(7, [], ()) == []


async def test_one_stage_holds_all_dialogues_and_mixes_nothing_up(tmp_path: Path) -> None:
    """Persona, round and rounds of each request are its own dialogue's, whatever was asked before."""
    stage, together, alone = crowd(tmp_path), Script(), Script()
    for number in range(30):
        await talked(stage, together, about=opener(id=f"openers-0-0-{number}"))
        await talked(crowd(tmp_path), alone, about=opener(id=f"openers-0-0-{number}"))
    assert together.asked == alone.asked
    instructions = {shown(request)[-1] for request in together.asked if request.draw.step % 2}
    assert len(instructions) > 40


# --- where it came from ---------------------------------------------------------------------------------------------


async def test_a_dialogue_names_all_that_made_it(tmp_path: Path) -> None:
    """Seeds and parents with its opener behind them; prompts, models, calls: the opener's, then its own in order."""
    stage = dialogues(tmp_path, {"text 1.0": "empty", "text 4.0": "refusal"}, resamples=1)
    outcome = await talked(stage, Script({(4, 1): refusal()}, name="answering"), Script(name="asking"))
    dialogue, empty, refused, unsent = outcome
    assistant, user = (side.prompt_file.ref for side in stage.sides)
    assert dialogue.provenance == Provenance(
        seeds=("topic-1",),
        parents=("topics-0-0-0", "openers-0-2-1"),
        prompts=("q@1:aa", assistant, user),
        models=("old", "answering", "asking"),
        calls=("c0", "call-0.0", "call-1.0", "call-1.1", "call-2.0", "call-3.0", "call-4.0"),
    )
    assert [one.provenance.calls for one in (empty, refused, unsent)] == [("call-1.0",), ("call-4.0",), ("dead",)]
    assert {one.provenance.seeds for one in (empty, refused, unsent)} == {("topic-1",)}
    assert [one.provenance.prompts for one in (empty, refused)] == [("q@1:aa", user), ("q@1:aa", assistant)]
    assert BEFORE.parents == ("topics-0-0-0",)


async def test_a_reject_names_the_opener_of_its_dialogue(tmp_path: Path) -> None:
    """Where nothing else is left of it, nothing else would say how it began."""
    [reject] = await talked(dialogues(tmp_path, {"text 0.0": "refusal"}))
    assert reject.provenance.parents == ("topics-0-0-0", "openers-0-2-1")


# --- whatever is said -----------------------------------------------------------------------------------------------


class Moody:
    """A guard that refuses some turns for reasons that depend on their text alone."""

    def __init__(self, seed: int, often: float) -> None:
        self._seed, self._often = seed, often

    def check(self, turn: Turn) -> Drop | None:
        """One of three reasons, or none."""
        rng = random.Random(f"{self._seed} {turn.text}")
        return Drop(rng.choice(("empty", "answers", "farewell"))) if rng.random() < self._often else None


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**16),
    often=st.sampled_from([0.1, 0.3, 0.7]),
    rounds=st.integers(1, 5),
    resamples=st.integers(0, 2),
    context=st.sampled_from([500, 700, CONTEXT]),
)
def test_whatever_is_refused_the_outcome_is_sound(
    seed: int, often: float, rounds: int, resamples: int, context: int
) -> None:
    """Even turns, sides in turn, numbers without a gap, the end told by the last reject, the same again each time."""
    with tempfile.TemporaryDirectory() as folder:
        stage = replace(
            dialogues(Path(folder), rounds=rounds, resamples=resamples),
            guards=(Moody(seed, often),),
            sides=sides(Path(folder), contexts=(context, context)),
        )
        script = Script({(n, 0): f"{seed} {n} " + "long " * 60 for n in range(10)})
        outcome: list[Any] = asyncio.run(talked(stage, script))
        assert outcome == asyncio.run(talked(stage, script))
    assert [one.id for one in outcome] == [f"dialogue-4-2-{n}" for n in range(len(outcome))]
    assert all(isinstance(one, Reject) for one in outcome[1:])
    lost = isinstance(outcome[0], Reject)
    rejects = outcome if lost else outcome[1:]
    assert [one.unusable for one in rejects] == [lost and one is rejects[-1] for one in rejects]
    if isinstance(outcome[0], Dialogue):
        dialogue = outcome[0]
        assert len(dialogue.messages) == 2 * dialogue.rounds
        assert [message.role for message in dialogue.messages] == ["user", "assistant"] * dialogue.rounds
        assert (dialogue.rounds == rounds) == (dialogue.ended == "")
        assert dialogue.ended in ("", outcome[-1].reason if len(outcome) > 1 else "")
        assert list(dialogue.provenance.calls[1:]) == [
            f"call-{draw.step}.{draw.k}"
            for draw in (request.draw for request in script.asked[: len(script.asked) // 2])
        ]
