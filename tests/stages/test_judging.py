"""What the stages of a judge share: when to give up on it, how to ask again, what an answer says as a whole."""

from __future__ import annotations

import pytest

from selfinstruct.errors import ConfigProblem, ParseError, RequestRefused, Verdict
from selfinstruct.prompts import Rendered
from selfinstruct.schema import Completion, Draw, Message, Request, Sampling
from selfinstruct.stages.judging import GIVE_UP_AFTER, FirstAnswers, again, fence_of, problem_of, refused, whole

DRAW = Draw(stage="rate", round=1, slot=2, step=3)
PROBLEM = ParseError("no_sections", "nothing is marked in it")


def said(text: str, finish_reason: str = "stop", reasoning: str = "") -> Completion:
    """An answer."""
    return Completion(text=text, finish_reason=finish_reason, reasoning=reasoning)


# --- giving up --------------------------------------------------------------------------------------------------------


def test_twenty_answers_of_which_none_says_anything_end_the_run() -> None:
    """Not nineteen; the message has the first of them, the last reason, and what to do."""
    seen = FirstAnswers("rate")
    for number in range(GIVE_UP_AFTER - 1):
        seen.note(said(f"  I like boats ({number}). \n"), PROBLEM)
    with pytest.raises(ConfigProblem) as raised:
        seen.note(said("And ships."), ParseError("truncated"))
    assert str(raised.value) == (
        "rate: none of the judge's first 20 answers says what was asked for (truncated): take another judge with"
        " --judge-model, or another --format (json where its server keeps to a schema); its first answer was:"
        "\nI like boats (0)."
    )
    assert GIVE_UP_AFTER == 20


@pytest.mark.parametrize("at", [0, 7, 18])
def test_after_one_answer_that_was_read_nothing_ends_the_run(at: int) -> None:
    """Wherever it stands among the first: from then on it is bad luck."""
    seen = FirstAnswers("rate")
    for number in range(60):
        seen.note(said("hm"), None if number == at else PROBLEM)
    assert seen.unread == at


@pytest.mark.parametrize(("text", "shown"), [("", "(nothing)"), (" \n", "(nothing)"), ("x" * 1001, f"{'x' * 1000} …")])
def test_the_first_answer_is_shown_as_far_as_it_goes(text: str, shown: str) -> None:
    """An empty one says so, a long one is cut."""
    seen = FirstAnswers("critique", unread=GIVE_UP_AFTER - 1)
    with pytest.raises(ConfigProblem) as raised:
        seen.note(said(text), PROBLEM)
    assert str(raised.value).partition("was:\n")[2] == shown


# --- what need not be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (said("fine"), None),
        (said("cut", "length"), "truncated"),
        (said("cut", "content_filter"), "content_filter"),
        (said("", "refusal"), "refusal"),
        (said("", "length", "let me see"), "thinking_cut"),
        (said("", "length"), "thinking_cut"),
    ],
)
def test_a_cut_or_withheld_answer_need_not_be_read(completion: Completion, reason: str | None) -> None:
    """Withheld comes first: such an answer is not asked for again."""
    problem = problem_of(completion)
    assert (problem.reason if problem else None) == reason


@pytest.mark.parametrize(
    ("verdict", "reason"), [("refused", "request_refused"), ("unusable", "unusable_response"), ("skipped", "skipped")]
)
def test_a_verdict_is_what_is_wrong_with_the_answer(verdict: Verdict, reason: str) -> None:
    """With what the server said."""
    refusal = RequestRefused("context too long")
    refusal.verdict = verdict
    assert (refused(refusal).reason, refused(refusal).detail) == (reason, "context too long")


# --- the whole of an answer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opened", "text", "expected"),
    [
        ("#### Output for Text 1\nRating:", " 4\nRationale: so", "#### Output for Text 1\nRating: 4\nRationale: so"),
        ("#### Output for Text 1\nRating:", "\n4", "#### Output for Text 1\nRating: 4"),
        (
            "#### Output for Text 1\nRating:",
            "\n#### Output for Text 1\nRating: 4",
            "\n#### Output for Text 1\nRating: 4",
        ),
        ("#### 文本1的输出\n评分：", "4", "#### 文本1的输出\n评分： 4"),
        ('{"texts": [\n{"text": 1, "rating":', ' 4, "rat', '{"texts": [\n{"text": 1, "rating": 4, "rat'),
        ('{"texts": [\n{"text": 1, "rating":', '{"texts": []}', '{"texts": []}'),
        ("Overall Score:", " 7", "Overall Score: 7"),
        ("Overall Score:", "Overall Score: 7", "Overall Score: 7"),
    ],
)
def test_what_a_prompt_has_begun_is_part_of_the_answer(opened: str, text: str, expected: str) -> None:
    """Unless the model begins anew; only the last paragraph of the prompt is its beginning."""
    request = Request(draw=DRAW, prompt=f"Rate them.\n\nIn this form:\n\n{opened}")
    assert whole(request, said(text)) == expected


def test_a_chat_answer_is_whole_as_it_is() -> None:
    """Nothing was begun for it."""
    request = Request(draw=DRAW, messages=(Message(role="user", content="Rate.\n\nOverall Score:"),))
    assert whole(request, said(" 7")) == " 7"


# --- asking again -----------------------------------------------------------------------------------------------------


def test_asking_again_by_chat_says_all_there_was_and_what_is_wrong() -> None:
    """A draw further; sampling, stops and schema stay."""
    first = Request(
        draw=DRAW,
        messages=(Message(role="system", content="s"), Message(role="user", content="u")),
        sampling=Sampling(max_tokens=9),
        stop=("x",),
        answer_schema={"type": "object"},
    )
    repair = Rendered(None, (Message(role="user", content="once more"),), (), None)
    found = again(first, said("  hm \n"), repair, 2)
    assert found == first.model_copy(
        update={
            "draw": DRAW.model_copy(update={"k": 2}),
            "messages": (
                *(first.messages or ()),
                Message(role="assistant", content="hm"),
                Message(role="user", content="once more"),
            ),
        }
    )


def test_an_empty_answer_is_shown_as_dots() -> None:
    """Servers refuse a message without content."""
    first = Request(draw=DRAW, messages=(Message(role="user", content="u"),))
    repair = Rendered(None, (Message(role="user", content="once more"),), (), None)
    messages = again(first, said(" \n"), repair, 1).messages or ()
    assert [message.content for message in messages] == ["u", "…", "once more"]


def test_asking_again_of_a_model_that_continues_goes_on_behind_its_answer() -> None:
    """And ends as the repair does, so that its beginning is part of the next answer."""
    first = Request(draw=DRAW, prompt="p\n\nOverall Score:", stop=("x",))
    found = again(first, said(" hm\n"), Rendered("No.\n\nOverall Score:", None, (), None), 1)
    assert (found.prompt, found.messages, found.stop) == (
        "p\n\nOverall Score: hm\n\nNo.\n\nOverall Score:",
        None,
        ("x",),
    )
    assert whole(found, said(" 7")) == "Overall Score: 7"


def test_stops_of_what_is_asked_again_come_behind_those_there_were() -> None:
    """Each once; an answer that keeps to a schema ends by itself, and may have lines."""
    first = Request(draw=DRAW, prompt="p", stop=("\n#### 5", "\n["))
    repair = Rendered("No.", None, ("\n#### 5", "\n"), None)
    assert again(first, said("hm"), repair, 1).stop == ("\n#### 5", "\n[", "\n")
    assert again(first.model_copy(update={"answer_schema": {}}), said("hm"), repair, 1).stop == ("\n#### 5", "\n[")


# --- markers ----------------------------------------------------------------------------------------------------------


def test_a_fence_is_a_word_of_eight_hex_digits_by_seed_and_draw() -> None:
    """The same for the same call, another for each other one."""
    draws = [
        Draw(stage=stage, round=round, slot=slot)
        for stage in ("rate", "critique")
        for round in (0, 1)
        for slot in (0, 1)
    ]
    words = [fence_of(seed, draw) for seed in (1, 2) for draw in draws]
    assert len(set(words)) == 16 and words == [fence_of(seed, draw) for seed in (1, 2) for draw in draws]
    assert all(len(word) == 8 and int(word, 16) >= 0 for word in words)
